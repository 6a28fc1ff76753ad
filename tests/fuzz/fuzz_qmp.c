/* SPDX-License-Identifier: Apache-2.0 */
/* What a captured QEMU may write on its control connection: every command is answered exactly once, the end is told exactly once, and
 * nothing is told after it. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "vm/qmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COMMANDS 3

struct seen {
    int replies[COMMANDS];
    int gone;
};

static struct seen seen;

static void on_event(void *ud, const char *name, const char *json)
{
    (void)ud;
    bx_assert(name && json && !seen.gone);
}

static void on_gone(void *ud, const struct bx_err *why)
{
    (void)ud;
    bx_assert(why && why->code && why->msg[0]);
    seen.gone++;
}

static void on_reply(void *ud, const char *text, const struct bx_err *err)
{
    bx_assert(text && (!err || err->msg[0]) && !seen.gone);
    (*(int *)ud)++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bx_loop *loop = bx_loop_new();
    struct bx_err err = BX_ERR_INIT;
    struct bx_qmp *q;
    int pair[2];
    size_t at = 0;

    seen = (struct seen){ 0 };
    if (!loop || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
        return 0;
    q = bx_qmp_new(loop, pair[0], on_event, on_gone, NULL, &err);
    bx_assert(q);
    for (int i = 0; i < COMMANDS; i++)
        bx_assert(bx_qmp_send(q, "stop", NULL, -1, on_reply, &seen.replies[i], &err) == 0);
    while (at < size && !seen.gone) {
        ssize_t n = send(pair[1], data + at, size - at, MSG_NOSIGNAL);

        if (n > 0)
            at += (size_t)n;
        else if (errno != EAGAIN)
            break;
        (void)bx_loop_dispatch(loop, 0);
    }
    bx_close(pair[1]);
    while (!seen.gone)
        bx_assert(bx_loop_dispatch(loop, 1000) > 0);
    bx_assert(seen.gone == 1);
    for (int i = 0; i < COMMANDS; i++)
        bx_assert(seen.replies[i] == 1);
    (void)bx_qmp_free(q);
    (void)bx_loop_free(loop);
    return 0;
}
