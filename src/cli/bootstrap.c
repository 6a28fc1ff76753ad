/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bootstrap.c - `boxlite bootstrap`: an image of the host's own distribution packages, without a registry.
 *
 * boxlite-bootstrap writes a root file system to a pipe, whose other end is imported. The end of a tar does not say that what made it
 * succeeded: so the pipe is kept open here until boxlite-bootstrap has ended well. When it has not, the import is given up, and nothing of it
 * is stored.
 *
 * boxlite-bootstrap has a session of its own: it is ended as a group, and is then waited for, because what it has made by then is large and
 * is removed by itself only. That all of it has ended is seen by the end of its stderr.
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "host/companion.h"
#include "host/spawn.h"

#define PROGRAM       "boxlite-bootstrap"
#define PACKAGES      "python3,ca-certificates"
#define PATH_VARIABLE "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define LOG_MAX       8192
#define END_DEADLINE  (60 * BX_SEC)
#define REDRAW_MS     500 /* of a step that says nothing, on a terminal */

struct bootstrap {
    const char *distribution, *packages, *suite, *name;
    bool quiet;
};

struct maker {
    pid_t pid;
    int pidfd;
    int out_fd;  /* write end of its stdout, kept open until it has ended well */
    int log_fd;  /* its stderr */
    char log[LOG_MAX + 1]; /* the last of it */
    size_t log_len;
    char step[64];
    bool ended;
    int status;
};

/* --- what it says --- */

/* mmdebstrap tells each of its steps in a line: "I: installing remaining packages..." */
static void note_step(struct maker *m)
{
    const char *last = NULL;
    for (const char *line = m->log; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (bx_starts_with(line, "I: ") && strchr(line, '\n'))
            last = line + 3;
    }
    if (last)
        snprintf(m->step, sizeof(m->step), "%.*s", (int)BX_MIN(strcspn(last, ".\n"), sizeof(m->step) - 1), last);
}

/* False at the end. */
static bool read_log(struct maker *m)
{
    char buf[2048];
    ssize_t n = read(m->log_fd, buf, sizeof(buf));
    if (n <= 0)
        return n < 0 && (errno == EINTR || errno == EAGAIN);
    size_t over = m->log_len + (size_t)n > LOG_MAX ? m->log_len + (size_t)n - LOG_MAX : 0;
    memmove(m->log, m->log + over, m->log_len - over);
    m->log_len -= over;
    memcpy(m->log + m->log_len, buf, (size_t)n);
    m->log_len += (size_t)n;
    m->log[m->log_len] = '\0';
    note_step(m);
    return true;
}

/* Tools mark their errors so; one line by itself is boxlite-bootstrap's, which says what is missing. */
static bool print_errors(const char *log)
{
    bool any = false;
    for (const char *line = log; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!bx_starts_with(line, "E: "))
            continue;
        fprintf(stderr, "%.*s\n", (int)strcspn(line, "\n"), line);
        any = true;
    }
    return any;
}

static int tell_failure(struct maker *m)
{
    bx_cli_progress_clear();
    while (m->log_len > 0 && m->log[m->log_len - 1] == '\n')
        m->log[--m->log_len] = '\0';
    if (m->log_len > 0 && !strchr(m->log, '\n')) {
        bx_cli_error("%s", m->log);
        return BX_EXIT_FAILURE;
    }
    if (m->log_len > 0 && !print_errors(m->log))
        fprintf(stderr, "%s\n", m->log);
    bx_cli_error("the root file system could not be made%s (exit %d)", m->log_len > 0 ? ": above is why" : "", m->status);
    return BX_EXIT_FAILURE;
}

/* --- its life --- */

static int start(struct maker *m, const struct bootstrap *b, int *ret_in, struct bx_err *err)
{
    char path[PATH_MAX], program[] = PROGRAM;
    int out[2], log[2];
    int r = bx_companion_path(PROGRAM, path, sizeof(path), err);
    if (r < 0)
        return r;
    if (pipe2(out, O_CLOEXEC) < 0)
        return bx_fail(err, BX_ERESOURCE, errno, "start " PROGRAM);
    bx_cleanup_close int in = out[0];
    m->out_fd = out[1];
    if (pipe2(log, O_CLOEXEC) < 0)
        return bx_fail(err, BX_ERESOURCE, errno, "start " PROGRAM);
    bx_cleanup_close int log_end = log[1];
    m->log_fd = log[0];
    char *argv[] = { program, (char *)(uintptr_t)b->distribution, (char *)(uintptr_t)b->suite, (char *)(uintptr_t)b->packages, NULL };
    const struct bx_spawn_fd fds[] = { { m->out_fd, 1 }, { log_end, 2 } };
    const struct bx_spawn s = { .path = path, .argv = argv, .fds = fds, .n_fds = 2, .new_session = true };
    m->pidfd = bx_spawn(&s, &m->pid, err);
    if (m->pidfd < 0)
        return m->pidfd;
    *ret_in = BX_TAKE_FD(in);
    return 0;
}

static void reap(struct maker *m)
{
    m->status = bx_spawn_wait(m->pidfd);
    m->ended = true;
    if (m->status == 0)
        m->out_fd = bx_close(m->out_fd); /* now the archive may end */
}

/* The rest of what it has to say. A signal, or a minute, ends that too. */
static void read_to_end(struct maker *m)
{
    int64_t deadline = bx_now() + END_DEADLINE;
    for (;;) {
        struct pollfd fds[] = { { .fd = m->log_fd, .events = POLLIN }, { .fd = bx_signals_open(), .events = POLLIN } };
        int64_t left = deadline - bx_now();
        if (left <= 0 || (poll(fds, 2, (int)(left / BX_MSEC) + 1) > 0 && fds[1].revents && bx_signals_pending()))
            break;
        if (fds[0].revents && !read_log(m))
            break;
    }
}

/* Ends it, and waits until it has tidied up. */
static void stop(struct maker *m)
{
    kill(-m->pid, SIGTERM);
    m->out_fd = bx_close(m->out_fd);
    read_to_end(m);
    kill(-m->pid, SIGKILL);
    reap(m);
}

static void maker_done(struct maker *m)
{
    if (m->pidfd >= 0 && !m->ended)
        stop(m);
    bx_close(m->out_fd);
    bx_close(m->log_fd);
    bx_close(m->pidfd);
}

/* --- the verb --- */

static void keep_result(CImagePullResult *result, CBoxliteError *error, void *ud)
{
    bx_call_answer(ud, result, error);
}

/* Until the image is there, or one of the two has failed. 128+N when a signal came, else 0. */
static int wait_for_image(CBoxliteRuntime *rt, struct maker *m, struct bx_call *call)
{
    bool on_terminal = isatty(STDERR_FILENO), logs = true;
    while (!call->done && (!m->ended || m->status == 0)) {
        if (boxlite_runtime_drain(rt, 0, &call->error) < 0)
            break;
        if (call->done)
            break;
        struct pollfd fds[] = { { .fd = boxlite_runtime_fd(rt), .events = POLLIN },
                                { .fd = bx_signals_open(), .events = POLLIN },
                                { .fd = logs ? m->log_fd : -1, .events = POLLIN },
                                { .fd = m->ended ? -1 : m->pidfd, .events = POLLIN } };
        if (poll(fds, BX_ARRAY_SIZE(fds), on_terminal ? REDRAW_MS : -1) < 0 && errno != EINTR)
            break;
        int code = fds[1].revents ? bx_signals_pending() : 0;
        if (code)
            return code;
        if (fds[2].revents)
            logs = read_log(m);
        if (fds[3].revents)
            reap(m);
        if (!m->ended && m->step[0])
            bx_cli_step(m->step);
    }
    return 0;
}

/* What has Python is for Python; every Debian has bash. */
static bool has_python(const char *packages)
{
    for (const char *p = packages; p; p = strchr(p, ',')) {
        p += *p == ',';
        if (bx_starts_with(p, "python3"))
            return true;
    }
    return false;
}

static BoxliteErrorCode import(CBoxliteImageHandle *images, const struct bootstrap *b, int in, struct bx_call *call)
{
    static const char *const env[] = { PATH_VARIABLE };
    const char *const cmd[] = { has_python(b->packages) ? "python3" : "bash" };
    BoxliteImageImport o = BOXLITE_IMAGE_IMPORT_INIT;
    char path[32];
    o.env = env;
    o.env_count = 1;
    o.cmd = cmd;
    o.cmd_count = 1;
    o.workdir = "/";
    snprintf(path, sizeof(path), "/dev/fd/%d", in);
    return boxlite_image_import(images, path, b->name, &o, keep_result, call, &call->error);
}

static int make(CBoxliteRuntime *rt, CBoxliteImageHandle *images, const struct bootstrap *b, struct maker *m)
{
    bx_cleanup_close int in = -1;
    struct bx_call call = BX_CALL_INIT;
    struct bx_err err = BX_ERR_INIT;
    if (start(m, b, &in, &err) < 0) {
        bx_cli_error("%s", err.msg);
        return BX_EXIT_FAILURE;
    }
    if (import(images, b, in, &call) != Ok)
        return bx_cli_fail(&call.error, NULL);
    in = bx_close(in); /* the import has its own */
    int code = wait_for_image(rt, m, &call);
    if (code)
        return code;
    if (m->ended && m->status != 0) {
        read_to_end(m);
        return tell_failure(m);
    }
    if (call.error.code != Ok)
        return bx_cli_fail(&call.error, NULL);
    bx_cli_show_image("Made", call.result, b->quiet);
    return 0;
}

int bx_verb_bootstrap(int argc, char **argv)
{
    struct bootstrap b = { .packages = PACKAGES, .suite = "" };
    const struct bx_opt opts[] = {
        BX_OPT_STRING(0, "packages", &b.packages, "NAME,...", "what is in it besides the essential packages (" PACKAGES ")"),
        BX_OPT_STRING(0, "name", &b.name, "NAME", "call the image this (python:slim-debian; without python3 debian:slim)"),
        BX_OPT_STRING(0, "suite", &b.suite, "SUITE", "Debian's release: bookworm, trixie ... (the host's)"),
        BX_OPT_FLAG('q', "quiet", &b.quiet, "print its id only"),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("bootstrap", opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (n != 1)
        return bx_cli_usage("bootstrap", n == 0 ? "which distribution? `boxlite bootstrap debian`" : "one distribution at a time");
    if (!bx_streq(argv[1], "debian"))
        return bx_cli_usage("bootstrap", "there is no way to make an image of '%s': only of debian", argv[1]);
    b.distribution = argv[1];
    if (!b.name)
        b.name = has_python(b.packages) ? "python:slim-debian" : "debian:slim";
    CBoxliteRuntime *rt = bx_cli_open();
    if (!rt)
        return BX_EXIT_FAILURE;
    bx_signals_open();
    bx_cli_progress(rt);
    struct maker m = { .pidfd = -1, .out_fd = -1, .log_fd = -1 };
    CBoxliteImageHandle *images = bx_cli_images(rt, &code);
    if (images)
        code = make(rt, images, &b, &m);
    bx_cli_progress_clear();
    boxlite_image_free(images);
    boxlite_runtime_free(rt);
    maker_done(&m);
    return bx_cli_finish(code);
}
