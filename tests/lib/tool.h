/* SPDX-License-Identifier: Apache-2.0 */
/* tool.h - for tests: runs another program (e2fsck, qemu-img ...) and gives its output and exit code. */
#ifndef BX_TESTS_TOOL_H
#define BX_TESTS_TOOL_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs argv (searched in PATH and the sbin directories), stdin empty, stdout and stderr into out (cut at size - 1,
 * always terminated). Returns the exit code, 128+N for a signal, 127 when it cannot be run. */
static inline int bx_tool(char *out, size_t size, const char *const argv[])
{
    int p[2];
    size_t n = 0;
    if (pipe2(p, O_CLOEXEC) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        dup2(null, 0);
        dup2(p[1], 1);
        dup2(p[1], 2);
        setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    close(p[1]);
    for (;;) {
        char discard[4096];
        char *to = n + 1 < size ? out + n : discard;
        ssize_t got = read(p[0], to, n + 1 < size ? size - 1 - n : sizeof(discard));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        if (to != discard)
            n += (size_t)got;
    }
    out[n] = 0;
    close(p[0]);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* A new unnamed-to-be file for a test: its path in ret_path (>= 64 bytes), the descriptor returned. */
static inline int bx_test_file(char *ret_path, size_t size)
{
    const char *dir = getenv("TMPDIR");
    snprintf(ret_path, size, "%s/boxlite-test-XXXXXX", dir && *dir ? dir : "/tmp");
    return mkostemp(ret_path, O_CLOEXEC);
}

#endif
