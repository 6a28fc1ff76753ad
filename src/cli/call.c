/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.c - posted calls waited for, errors of the library, signals while waiting.
 */
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"

int bx_cli_fail(CBoxliteError *e, const char *about)
{
    const char *text = e->message ? e->message : bx_code_info(e->code)->name;
    const char *no_box = bx_code_info(BX_ENOTFOUND)->prefix;
    bx_cli_trace(BX_LOG_INFO, "failed (%s): %s", bx_code_info(e->code)->name, text);
    if (e->code == NotFound && bx_starts_with(text, no_box)) {
        bx_cli_error("No such box: %s", text + strlen(no_box));
        boxlite_error_free(e);
        return BX_EXIT_FAILURE;
    }
    if (about)
        bx_cli_error("%s: %s", about, text);
    else
        bx_cli_error("%s", text);
    boxlite_error_free(e);
    return BX_EXIT_FAILURE;
}

int bx_process_start_failed(CBoxliteError *e)
{
    int code = BX_EXIT_FAILURE;
    if (e->code == Execution)
        code = e->message && strstr(e->message, "not found") ? BX_EXIT_NOT_FOUND : BX_EXIT_CANNOT_RUN;
    bx_cli_fail(e, NULL);
    return code;
}

void bx_call_answer(struct bx_call *call, void *result, CBoxliteError *error)
{
    call->done = true;
    call->result = result;
    if (error) {
        call->error.code = error->code;
        call->error.message = error->message ? strdup(error->message) : NULL;
    }
}

void bx_call_plain(CBoxliteError *error, void *ud)
{
    bx_call_answer(ud, NULL, error);
}

void bx_call_box(CBoxHandle *box, CBoxliteError *error, void *ud)
{
    bx_call_answer(ud, box, error);
}

void bx_call_exec(CExecutionHandle *execution, CBoxliteError *error, void *ud)
{
    bx_call_answer(ud, execution, error);
}

void bx_call_info(CBoxliteInfo *info, CBoxliteError *error, void *ud)
{
    bx_call_answer(ud, info, error);
}

int bx_signals_open(void)
{
    static int fd = -1;
    if (fd >= 0)
        return fd;
    sigset_t set;
    sigemptyset(&set);
    const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH };
    for (size_t i = 0; i < BX_ARRAY_SIZE(signals); i++)
        sigaddset(&set, signals[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd;
}

int bx_signals_pending(void)
{
    struct signalfd_siginfo si;
    while (read(bx_signals_open(), &si, sizeof(si)) == (ssize_t)sizeof(si)) {
        if (si.ssi_signo != SIGWINCH)
            return 128 + (int)si.ssi_signo;
    }
    return 0;
}

static void (*leave_hook)(void *);
static void *leave_ud;

void bx_cli_on_leave(void (*fn)(void *), void *ud)
{
    leave_hook = fn;
    leave_ud = ud;
}

/* What was begun is abandoned by ending: boxes that this program started and that are not detached end with it. The hook runs once: a
 * second signal ends the program while it cleans up. */
static void leave_on_signal(void)
{
    int code = bx_signals_pending();
    if (code == 0)
        return;
    bx_cli_progress_clear();
    void (*hook)(void *) = leave_hook;
    leave_hook = NULL;
    if (hook)
        hook(leave_ud);
    _exit(code);
}

bool bx_call_wait(CBoxliteRuntime *rt, struct bx_call *call, BoxliteErrorCode rc)
{
    if (rc != Ok) {
        call->done = true;
        return false;
    }
    struct pollfd fds[] = { { .fd = boxlite_runtime_fd(rt), .events = POLLIN }, { .fd = bx_signals_open(), .events = POLLIN } };
    while (!call->done) {
        if (boxlite_runtime_drain(rt, 0, &call->error) < 0)
            return false;
        if (call->done)
            break;
        if (poll(fds, BX_ARRAY_SIZE(fds), bx_cli_progress_wait()) < 0 && errno != EINTR)
            break;
        if (fds[1].revents)
            leave_on_signal();
    }
    return call->done && call->error.code == Ok;
}

CBoxHandle *bx_cli_box(CBoxliteRuntime *rt, const char *name, int *ret_exit)
{
    struct bx_call call = BX_CALL_INIT;
    if (bx_call_wait(rt, &call, boxlite_get(rt, name, bx_call_box, &call, &call.error)))
        return call.result;
    *ret_exit = bx_cli_fail(&call.error, NULL);
    return NULL;
}

int bx_cli_each_box(int n, char **names, bx_box_action *fn, void *ud)
{
    CBoxliteRuntime *rt = bx_cli_open();
    if (!rt)
        return BX_EXIT_FAILURE;
    bx_cli_progress(rt);
    int code = 0;
    for (int i = 0; i < n; i++) {
        struct bx_call call = BX_CALL_INIT;
        if (fn(rt, names[i], &call, ud)) {
            bx_cli_progress_clear();
            printf("%s\n", names[i]);
        } else {
            code = bx_cli_fail(&call.error, NULL);
        }
    }
    boxlite_runtime_free(rt);
    return bx_cli_finish(code);
}
