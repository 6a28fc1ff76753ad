/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.c - boxlite-net, as the shim sees it: a process that holds the guest's port for connections and the host's network,
 * and tells on a link of its own when it is ready, what its policy refuses, and how much went through.
 *
 * It is started beside QEMU's loading and has the port until the end; when it dies its outer process starts it again. When
 * that dies too the box goes on without a network.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "host/spawn.h"
#include "shim/box.h"

#define FD_GUEST 3 /* of boxlite-net (net/net.h) */
#define FD_SHIM  4
#define FD_PLAN  5
#define LINK_MAX (256 * 1024)
#define END_NS   (2 * BX_SEC)

static int on_ready(struct box *b, const uint8_t *p, size_t len, struct bx_err *err)
{
    boxlite_NetReady ready = boxlite_NetReady_init_zero;
    char text[BX_ERR_MSG_MAX];
    int r = bx_msg_decode(BX_MSG_NET_READY, p, len, &ready, err);

    idle_wake(b); /* it has greeted the guest */
    if (r < 0)
        return r;
    if (b->net_ready) { /* a second one: it was started again, with the same ports */
        net_rules_again(b);
        return 0;
    }
    if (ready.code) {
        bx_str_printable(text, sizeof(text), ready.message, strlen(ready.message));
        return bx_fail(err, ready.code < BX_ECODE_MAX ? (enum bx_code)ready.code : BX_ENETWORK, 0, "%s", text);
    }
    b->net_ports = ready;
    b->net_ready = true;
    return b->guest_ready && b->phase == BOX_STARTING ? box_ready(b, err) : 0;
}

/* Of a change of the rules: nothing else is asked for with a number. */
static int on_answer(struct box *b, uint16_t type, const uint8_t *p, size_t len, struct bx_err *err)
{
    boxlite_Error e = boxlite_Error_init_zero;
    boxlite_Ok ok = boxlite_Ok_init_zero;
    struct bx_err why;
    char text[BX_ERR_MSG_MAX];
    int r = bx_msg_decode(type, p, len, type == BX_MSG_OK ? (void *)&ok : (void *)&e, err);

    if (r < 0)
        return r;
    if (type == BX_MSG_OK) {
        net_rules_answered(b, ok.request, NULL);
        return 0;
    }
    bx_str_printable(text, sizeof(text), e.message, strlen(e.message));
    bx_fail(&why, e.code > 0 && e.code < BX_ECODE_MAX ? (enum bx_code)e.code : BX_ENETWORK, 0, "%s", text);
    net_rules_answered(b, e.request, &why);
    return 0;
}

static int on_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *p, size_t len, struct bx_err *err)
{
    struct box *b = l->ud;
    struct bx_err why = BX_ERR_INIT;
    int r;

    box_touch(b);
    if (stream != 0)
        return bx_fail(err, BX_ERPC, 0, "a stream on the link of boxlite-net");
    switch (type) {
    case BX_MSG_NET_READY:
        if (on_ready(b, p, len, &why) < 0)
            box_fail(b, &why);
        return 0;
    case BX_MSG_NET_WAKE:
        idle_wake(b);
        return 0;
    case BX_MSG_NET_REFUSED:
        return refusals_take(b, p, len, err);
    case BX_MSG_OK:
    case BX_MSG_ERROR:
        return on_answer(b, type, p, len, err);
    case BX_MSG_NET_REPORT:
        r = bx_msg_decode(type, p, len, &b->net_report, err);
        if (r == 0)
            figures_counted(b);
        return r;
    default:
        return 0; /* of a later version */
    }
}

static int on_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *data, size_t len, struct bx_err *err)
{
    (void)l, (void)stream, (void)lane, (void)data, (void)len;
    return bx_fail(err, BX_ERPC, 0, "data on the link of boxlite-net");
}

static int on_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    return on_data(l, stream, lane, NULL, 0, err);
}

static const struct bx_link_ops ops = {on_message, on_data, on_eof};

/* The network is gone, and why. A box that has not started yet does not start without it. */
static void lost(struct box *b, const char *why)
{
    struct bx_err err;

    bx_conn_done(&b->net_conn);
    bx_fail(&err, BX_ENETWORK, 0, "the box's network: %s", why);
    net_rules_lost(b, &err);
    if (b->phase == BOX_STARTING) {
        box_fail(b, &err);
    } else if (b->phase == BOX_RUNNING) {
        bx_error("the box has no network any more: %s", why);
    }
    figures_counted(b);
    box_touch(b);
}

static void on_io(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct box *b = ud;
    struct bx_err err = BX_ERR_INIT;
    int r = 1;

    (void)s;
    (void)fd;
    while (r > 0 && b->net_conn.fd >= 0 && (events & (BX_READ | BX_HUP)))
        r = bx_conn_read(&b->net_conn, &err);
    if (r < 0)
        lost(b, err.msg);
    box_touch(b);
}

static void on_child(struct bx_source *s, int status, void *ud)
{
    struct box *b = ud;

    b->net_child = bx_source_remove(s);
    if (status != 0 && b->net_conn.fd < 0 && b->phase == BOX_RUNNING)
        bx_error("boxlite-net has ended with status %d", status);
}

static int spawn(struct box *b, int guest, int link, struct bx_err *err)
{
    char *const argv[] = {b->plan->net_program, NULL};
    bx_cleanup_close int plan = bx_memfd_sealed("net-plan", b->plan->net_plan, strlen(b->plan->net_plan));
    const struct bx_spawn_fd fds[] = {{bx_log_fd(), 2}, {guest, FD_GUEST}, {link, FD_SHIM}, {plan, FD_PLAN}};
    struct bx_spawn s = {.path = b->plan->net_program, .argv = argv, .fds = fds, .n_fds = BX_ARRAY_SIZE(fds)};
    int pidfd;

    if (plan < 0)
        return bx_fail(err, BX_EINTERNAL, -plan, "plan of boxlite-net");
    pidfd = bx_spawn(&s, NULL, err);
    if (pidfd < 0)
        return pidfd;
    b->net_child = bx_loop_add_child(b->loop, pidfd, on_child, b);
    return b->net_child ? 0 : bx_fail(err, BX_ERESOURCE, errno, "watch boxlite-net");
}

int net_start(struct box *b, struct bx_err *err)
{
    bx_cleanup_close int guest = -1, theirs = -1;
    int pair[2], r;

    if (!b->plan->net_plan)
        return 0;
    guest = bx_qemu_take_bulk(b->qemu);
    if (guest < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return bx_fail(err, BX_EINTERNAL, errno, "the link of boxlite-net");
    theirs = pair[1];
    bx_link_init(&b->net_link, &ops, b, LINK_MAX);
    r = bx_conn_init(&b->net_conn, b->loop, pair[0], &b->net_link, on_io, b);
    if (r < 0)
        return bx_fail(err, BX_EINTERNAL, -r, "the link of boxlite-net");
    bx_conn_want_read(&b->net_conn, true);
    r = net_rules_init(b, err);
    return r < 0 ? r : spawn(b, guest, theirs, err);
}

static void on_late(struct bx_source *s, void *ud)
{
    struct box *b = ud;

    (void)s;
    bx_warn("boxlite-net does not end: ports that were published may be taken for a while yet");
    bx_conn_done(&b->net_conn);
    box_touch(b);
}

bool net_ended(struct box *b)
{
    if (b->net_conn.fd < 0 || b->net_ports.ports_count == 0)
        return true;
    if (!b->net_late) {
        b->net_late = bx_loop_add_timer(b->loop, on_late, b);
        if (!b->net_late)
            return true;
        bx_timer_after(b->net_late, END_NS);
    }
    return false;
}

void net_done(struct box *b)
{
    if (!b->plan->net_plan)
        return;
    b->net_late = bx_source_remove(b->net_late);
    b->net_child = bx_source_remove(b->net_child);
    net_rules_done(b);
    bx_conn_done(&b->net_conn);
    bx_link_done(&b->net_link);
}

void net_settle(struct box *b)
{
    struct bx_err err = BX_ERR_INIT;

    if (b->net_conn.fd >= 0 && bx_conn_flush(&b->net_conn, &err) < 0)
        lost(b, err.msg);
}

bool net_ask(struct box *b)
{
    boxlite_NetReportGet ask = boxlite_NetReportGet_init_zero;

    return b->net_conn.fd >= 0 && bx_msg_send(&b->net_link, BX_MSG_NET_REPORT_GET, 0, &ask, NULL) >= 0 &&
           bx_conn_flush(&b->net_conn, NULL) >= 0;
}
