/* SPDX-License-Identifier: Apache-2.0 */
/* A spawned program gets what it is given and nothing else, and leaves nothing behind in the process that
 * started it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "host/companion.h"
#include "host/spawn.h"

/* Runs `sh -c script` with its stdout (1) and, when extra >= 0, descriptor 9. Output without its last
 * newline. */
static int run(const char *script, char *const *envp, int extra, bool session, char *out, size_t size)
{
    char *argv[] = {(char *)"sh", (char *)"-c", (char *)(uintptr_t)script, NULL};
    int pipefd[2], status, pidfd;
    struct bx_err err = BX_ERR_INIT;
    ssize_t n, len = 0;

    assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
    struct bx_spawn_fd fds[] = {{pipefd[1], 1}, {extra, 9}};
    struct bx_spawn s = {.path = "/bin/sh",
                         .argv = argv,
                         .envp = envp,
                         .fds = fds,
                         .n_fds = extra >= 0 ? 2 : 1,
                         .cwd = "/usr",
                         .new_session = session};

    pidfd = bx_spawn(&s, NULL, &err);
    if (pidfd < 0)
        fail_msg("%s", err.msg);
    close(pipefd[1]);
    while ((n = read(pipefd[0], out + len, size - 1 - (size_t)len)) > 0)
        len += n;
    close(pipefd[0]);
    if (len > 0 && out[len - 1] == '\n')
        len--;
    out[len] = '\0';
    status = bx_spawn_wait(pidfd);
    close(pidfd);
    return status;
}

static void exit_codes_and_signals_are_told_apart(void **state)
{
    char out[100];

    assert_int_equal(run("exit 7", NULL, -1, false, out, sizeof(out)), 7);
    assert_int_equal(run("kill -9 $$", NULL, -1, false, out, sizeof(out)), 128 + 9);
}

static void only_named_descriptors_are_there(void **state)
{
    int leak = open("/dev/null", O_RDONLY); /* without close-on-exec, as a foreign program may have */
    char out[200];

    assert_true(leak >= 0);
    assert_int_equal(
        run("cd /proc/self/fd; for f in *; do [ -e $f ] && echo $f $(readlink $f); done | sort -n | "
            "sed 's/pipe:.*/pipe/' | grep -v '/proc' | cut -d: -f1 | tr '\\n' ' '",
            NULL, leak, false, out, sizeof(out)),
        0);
    close(leak);
    /* 0 and 2 are /dev/null, 1 is ours, 9 as asked; the shell's own are none of these */
    assert_non_null(strstr(out, "0 /dev/null"));
    assert_non_null(strstr(out, "1 pipe"));
    assert_non_null(strstr(out, "2 /dev/null"));
    assert_non_null(strstr(out, "9 /dev/null"));
    char number[20];
    snprintf(number, sizeof(number), "%d /dev/null", leak);
    if (leak > 2 && leak != 9)
        assert_null(strstr(out, number));
}

static void descriptors_may_change_places(void **state)
{
    int a[2], b[2], pidfd;
    char *argv[] = {(char *)"sh", (char *)"-c", NULL, NULL};
    char script[100], x = 0, y = 0;

    assert_int_equal(pipe2(a, O_CLOEXEC), 0);
    assert_int_equal(pipe2(b, O_CLOEXEC), 0);
    /* each under the number of the other */
    struct bx_spawn_fd fds[] = {{a[1], b[1]}, {b[1], a[1]}};
    snprintf(script, sizeof(script), "echo A >&%d; echo B >&%d", b[1], a[1]);
    argv[2] = script;
    struct bx_spawn s = {.path = "/bin/sh", .argv = argv, .fds = fds, .n_fds = 2};
    pidfd = bx_spawn(&s, NULL, NULL);
    assert_true(pidfd >= 0);
    assert_int_equal(bx_spawn_wait(pidfd), 0);
    assert_int_equal(read(a[0], &x, 1), 1);
    assert_int_equal(read(b[0], &y, 1), 1);
    assert_int_equal(x, 'A');
    assert_int_equal(y, 'B');
    close(pidfd);
    for (int i = 0; i < 2; i++) {
        close(a[i]);
        close(b[i]);
    }
}

static void environment_directory_and_session_are_as_asked(void **state)
{
    char *envp[] = {(char *)"A=b c", NULL};
    char out[200];

    assert_int_equal(run("echo \"$A|$HOME|$PWD\"; [ $$ = $(cut -d' ' -f6 /proc/$$/stat) ]", envp, -1, true,
                         out, sizeof(out)),
                     0);
    assert_string_equal(out, "b c||/usr");
}

static void on_usr1(int signo)
{
    (void)signo;
}

static void signals_are_in_their_default_state_in_the_program(void **state)
{
    char out[100];
    sigset_t set, old;

    const unsigned long ignored[4] = { (unsigned long)(uintptr_t)SIG_IGN, 0, 0, 0 };

    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(syscall(SYS_rt_sigaction, 32, ignored, NULL, 8), 0); /* libc's own, as some parents leave it */
    signal(SIGUSR1, on_usr1);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &old);
    assert_int_equal(
        run("grep -E 'SigBlk|SigIgn' /proc/self/status | tr -d '\\n\\t'", NULL, -1, false, out, sizeof(out)),
        0);
    assert_string_equal(out, "SigBlk:0000000000000000SigIgn:0000000000000000");
    /* and ours are as they were */
    sigprocmask(SIG_SETMASK, &old, &set);
    assert_true(sigismember(&set, SIGTERM));
    assert_true(signal(SIGUSR1, SIG_DFL) == on_usr1);
    signal(SIGPIPE, SIG_DFL);
}

static void a_program_that_cannot_be_run_is_an_error_at_once(void **state)
{
    char *argv[] = {(char *)"x", NULL};
    struct bx_spawn s = {.path = "/nonexistent/program", .argv = argv};
    struct bx_err err = BX_ERR_INIT;

    assert_int_equal(bx_spawn(&s, NULL, &err), -BX_ENOTFOUND);
    assert_non_null(strstr(err.msg, "/nonexistent/program"));
    s.path = "/etc/passwd";
    assert_int_equal(bx_spawn(&s, NULL, &err), -BX_EINTERNAL);
    assert_int_equal(err.sys_errno, EACCES);
    s.path = "/bin/sh";
    s.cwd = "/nonexistent";
    assert_int_equal(bx_spawn(&s, NULL, &err), -BX_ENOTFOUND);
}

static void a_host_that_waits_for_any_child_does_not_hide_the_end(void **state)
{
    char *argv[] = {(char *)"true", NULL};
    struct bx_spawn s = {.path = "/bin/true", .argv = argv};
    pid_t pid;
    int pidfd = bx_spawn(&s, &pid, NULL);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};

    assert_true(pidfd >= 0);
    assert_int_equal(waitpid(-1, NULL, 0), pid);
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_int_equal(bx_spawn_wait(pidfd), -ECHILD);
    close(pidfd);
}

static void waiting_for_ours_takes_no_child_of_the_host(void **state)
{
    char *argv[] = {(char *)"true", NULL};
    struct bx_spawn s = {.path = "/bin/true", .argv = argv};
    pid_t theirs = fork();
    int pidfd, status;

    if (theirs == 0)
        _exit(3);
    pidfd = bx_spawn(&s, NULL, NULL);
    assert_true(pidfd >= 0);
    assert_int_equal(bx_spawn_wait(pidfd), 0);
    close(pidfd);
    assert_int_equal(waitpid(theirs, &status, 0), theirs);
    assert_int_equal(WEXITSTATUS(status), 3);
}

static void a_missing_companion_is_named_with_the_remedy(void **state)
{
    struct bx_err err = BX_ERR_INIT;
    char path[4096];

    setenv("BOXLITE_LIBEXEC", "/nonexistent", 1);
    assert_int_equal(bx_companion_path("boxlite-shim", path, sizeof(path), &err), -BX_ENOTFOUND);
    assert_non_null(strstr(err.msg, "boxlite-shim is missing"));
    assert_non_null(strstr(err.msg, "/nonexistent"));
    assert_non_null(strstr(err.msg, "make"));
    setenv("BOXLITE_LIBEXEC", "/bin", 1);
    assert_int_equal(bx_companion_path("sh", path, sizeof(path), &err), 0);
    assert_int_equal(access(path, X_OK), 0);
    unsetenv("BOXLITE_LIBEXEC");
    /* beside this program */
    assert_int_equal(bx_companion_path("test_spawn", path, sizeof(path), &err), 0);
    assert_int_equal(path[0], '/');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_codes_and_signals_are_told_apart),
        cmocka_unit_test(only_named_descriptors_are_there),
        cmocka_unit_test(descriptors_may_change_places),
        cmocka_unit_test(environment_directory_and_session_are_as_asked),
        cmocka_unit_test(signals_are_in_their_default_state_in_the_program),
        cmocka_unit_test(a_program_that_cannot_be_run_is_an_error_at_once),
        cmocka_unit_test(a_host_that_waits_for_any_child_does_not_hide_the_end),
        cmocka_unit_test(waiting_for_ours_takes_no_child_of_the_host),
        cmocka_unit_test(a_missing_companion_is_named_with_the_remedy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
