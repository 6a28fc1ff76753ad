/* SPDX-License-Identifier: Apache-2.0 */
/* net.c - links and flows. net.h tells the theory of operation. */
#include "net/net.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

#define GUEST_DATA_MAX (1024 * 1024)
#define READS_A_TURN   16
#define RESUME_ROOM    (GUEST_DATA_MAX / 2)
#define DATAGRAMS_NS   (60 * BX_SEC)
#define NAMES_NS       (10 * BX_SEC) /* of questions: most programs take a socket for each; longer than the servers are waited for */
#define REFUSED_BURST  256 /* told to the shim in a second */
#define RESOLV_MAX     65536

/* --- flows --- */

static struct flow **bucket(struct net *n, uint32_t stream)
{
    return &n->flows[stream % NET_BUCKETS];
}

struct flow *flow_find(struct net *n, uint32_t stream)
{
    struct flow *f = *bucket(n, stream);

    while (f && f->relay.stream != stream)
        f = f->chain;
    return f;
}

uint32_t net_new_stream(struct net *n)
{
    do {
        n->last_stream = (n->last_stream + 1) & 0x7fffffffu; /* the highest bit is for those of the agent */
    } while (n->last_stream == 0 || flow_find(n, n->last_stream));
    return n->last_stream;
}

struct flow *flow_new(struct net *n, uint32_t stream, enum flow_kind kind, uint8_t protocol, uint32_t addr, uint16_t port)
{
    struct flow *f;

    if (n->n_flows == NET_FLOWS_MAX)
        return NULL;
    f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    bx_relay_init(&f->relay, &n->relays, stream, protocol == IPPROTO_UDP || kind == FLOW_NAMES);
    f->net = n;
    f->kind = kind;
    f->protocol = protocol;
    f->addr = addr;
    f->port = port;
    f->fd = -1;
    bx_buf_init(&f->input, BX_DNS_MAX + 2);
    f->chain = *bucket(n, stream);
    *bucket(n, stream) = f;
    n->n_flows++;
    n->report.connections = n->n_flows;
    n->report.connections_total++;
    return f;
}

void flow_free(struct flow *f)
{
    struct net *n = f->net;
    struct flow **p = bucket(n, f->relay.stream);

    if (f->kind == FLOW_NAMES)
        names_drop(f);
    else
        n->report.bytes_sent += f->relay.bytes_in, n->report.bytes_received += f->relay.bytes_out;
    bx_relay_done(&f->relay);
    bx_lookup_cancel(f->lookup);
    f->source = bx_source_remove(f->source);
    f->timer = bx_source_remove(f->timer);
    bx_close(f->fd);
    bx_buf_done(&f->input);
    while (*p != f)
        p = &(*p)->chain;
    *p = f->chain;
    n->n_flows--;
    n->report.connections = n->n_flows;
    free(f);
}

/* In order: behind what was sent before. Otherwise the box sees a reset, whatever was still on the way. */
static void say_close(struct flow *f, bool in_order)
{
    boxlite_Close msg = boxlite_Close_init_zero;
    struct bx_link *l = f->relay.all->link;

    bx_relays_told(&f->net->relays, in_order ? bx_msg_send_ordered(l, BX_MSG_CLOSE, f->relay.stream, &msg, NULL)
                                             : bx_msg_send(l, BX_MSG_CLOSE, f->relay.stream, &msg, NULL));
}

void flow_fail(struct flow *f, enum bx_code code, int sys_errno, const char *what)
{
    struct bx_err err;

    bx_fail(&err, code, sys_errno, "%s", what);
    err.sys_errno = sys_errno;
    if (f->kind == FLOW_OUT && !f->open)
        bx_relays_told(&f->net->relays, bx_msg_send_error(f->relay.all->link, f->relay.stream, 0, &err));
    else
        say_close(f, false);
    net_touch(f->net);
    flow_free(f);
}

static void flow_close(struct flow *f)
{
    say_close(f, true);
    net_touch(f->net);
    flow_free(f);
}

static void on_silence(struct bx_source *s, void *ud)
{
    (void)s;
    flow_close(ud);
}

static void watch_silence(struct flow *f)
{
    if (f->timer)
        bx_timer_after(f->timer, f->kind == FLOW_NAMES ? NAMES_NS : DATAGRAMS_NS);
}

void flow_open(struct flow *f, int fd)
{
    boxlite_Connected msg = boxlite_Connected_init_zero;

    f->open = true;
    f->source = bx_source_remove(f->source);
    f->timer = bx_source_remove(f->timer);
    if (f->kind != FLOW_IN)
        bx_relays_told(&f->net->relays, bx_msg_send(f->relay.all->link, BX_MSG_CONNECTED, f->relay.stream, &msg, NULL));
    if (f->relay.datagrams) {
        f->timer = bx_loop_add_timer(f->net->loop, on_silence, f);
        watch_silence(f);
    }
    f->relay.hold = f->peeking;
    net_touch(f->net);
    if (fd >= 0)
        bx_relay_attach(&f->relay, fd);
}

void net_refused(struct net *n, uint8_t protocol, uint32_t addr, uint16_t port, const char *name, const char *why)
{
    boxlite_NetRefused msg = {.protocol = protocol, .address = addr, .port = port};
    int64_t now = bx_now();

    n->report.refused++;
    if (now - n->refused_at > BX_SEC)
        n->refused_at = now, n->refused_told = 0;
    if (n->refused_told++ >= REFUSED_BURST)
        return; /* counted; a guest does not fill a log */
    snprintf(msg.name, sizeof(msg.name), "%s", name);
    snprintf(msg.why, sizeof(msg.why), "%s", why);
    (void)bx_msg_send(&n->shim_link, BX_MSG_NET_REFUSED, 0, &msg, NULL);
    net_touch(n);
}

void flow_refuse(struct flow *f, const char *why)
{
    net_refused(f->net, f->protocol, f->addr, f->port, f->name, why);
    flow_fail(f, BX_ENETWORK, EACCES, why);
}

static void on_relay_failed(struct bx_relay *r, const struct bx_err *why)
{
    flow_fail((struct flow *)r, (enum bx_code)why->code, why->sys_errno, why->msg);
}

static void on_relay_moved(struct bx_relay *r)
{
    struct flow *f = (struct flow *)r;

    if (r->datagrams)
        watch_silence(f);
    net_touch(f->net);
}

static void on_relay_over(struct bx_relay *r)
{
    flow_close((struct flow *)r);
}

static const struct bx_relay_ops relay_ops = {
    .failed = on_relay_failed, .moved = on_relay_moved, .over = on_relay_over};

/* --- the guest's link --- */

static int guest_hello(struct net *n, const uint8_t *p, size_t len, struct bx_err *err)
{
    bx_cleanup_buf struct bx_buf arena = BX_BUF_INIT(64 * 1024);
    struct bx_msg_hello hello;
    int r = bx_msg_decode_hello(p, len, &arena, &hello, err);

    if (r == 0 && hello.pb.epoch == n->epoch)
        n->hello = true;
    return r;
}

static void guest_error(struct flow *f)
{
    if (f->kind == FLOW_IN && !f->open)
        f->net->report.failed++;
    flow_free(f); /* the stream is over on that side */
}

static int guest_connect(struct net *n, uint32_t stream, const uint8_t *p, size_t len, struct bx_err *err)
{
    boxlite_Connect msg = boxlite_Connect_init_zero;
    int r = bx_msg_decode(BX_MSG_CONNECT, p, len, &msg, err);

    if (r < 0)
        return r;
    if (!(stream & 0x80000000u) || flow_find(n, stream) || msg.port == 0 || msg.port > 65535 ||
        (msg.protocol != IPPROTO_TCP && msg.protocol != IPPROTO_UDP))
        return bx_fail(err, BX_ERPC, 0, "a connection that makes no sense");
    outward_connect(n, stream, &msg);
    return 0;
}

static int on_guest_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *p, size_t len,
                            struct bx_err *err)
{
    struct net *n = l->ud;
    struct flow *f = stream ? flow_find(n, stream) : NULL;

    net_touch(n);
    if (type == BX_MSG_HELLO)
        return guest_hello(n, p, len, err);
    if (!n->hello)
        return 0; /* of a time before this process */
    if (type == BX_MSG_CONNECT)
        return guest_connect(n, stream, p, len, err);
    if (!f)
        return 0;
    if (type == BX_MSG_CREDIT) {
        bx_relay_credit(&f->relay, p, len);
    } else if (type == BX_MSG_CONNECTED && f->kind == FLOW_IN && !f->open) {
        inward_answered(f);
    } else if (type == BX_MSG_ERROR) {
        guest_error(f);
    }
    return 0;
}

static int on_guest_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *data, size_t len,
                         struct bx_err *err)
{
    struct net *n = l->ud;
    struct flow *f = flow_find(n, stream);

    (void)err;
    net_touch(n);
    if (!f)
        return 0;
    bx_relay_data(&f->relay, lane, data, len);
    f = flow_find(n, stream); /* it may have failed */
    if (f && f->kind == FLOW_NAMES)
        names_input(f, data, len);
    else if (f && f->listener)
        inward_send(f, data, len);
    else if (f && f->peeking)
        outward_peek(f);
    return 0;
}

static int on_guest_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    struct net *n = l->ud;
    struct flow *f = flow_find(n, stream);

    (void)err;
    net_touch(n);
    if (!f)
        return 0;
    if (f->kind == FLOW_NAMES) {
        flow_close(f);
    } else if (f->peeking && bx_buf_len(&f->relay.pending) > 0) {
        flow_refuse(f, "it ended before it told whom it asks for");
    } else {
        f->peeking = f->relay.hold = false; /* it asks for nobody */
        bx_relay_eof(&f->relay, lane);
    }
    return 0;
}

static const struct bx_link_ops guest_ops = {on_guest_message, on_guest_data, on_guest_eof};

/* --- the shim's link --- */

static int on_shim_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *p, size_t len,
                           struct bx_err *err)
{
    struct net *n = l->ud;
    boxlite_NetReport report = n->report;

    if (type == BX_MSG_NET_POLICY && stream == 0)
        return rules_change(n, p, len, err);
    if (type != BX_MSG_NET_REPORT_GET || stream != 0)
        return 0;
    for (size_t i = 0; i < NET_BUCKETS; i++)
        for (struct flow *f = n->flows[i]; f; f = f->chain)
            if (f->kind != FLOW_NAMES)
                report.bytes_sent += f->relay.bytes_in, report.bytes_received += f->relay.bytes_out;
    net_touch(n);
    return bx_msg_send(l, BX_MSG_NET_REPORT, 0, &report, err);
}

static int on_shim_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *data, size_t len,
                        struct bx_err *err)
{
    (void)l, (void)stream, (void)lane, (void)data, (void)len;
    return bx_fail(err, BX_ERPC, 0, "data from the shim");
}

static int on_shim_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    return on_shim_data(l, stream, lane, NULL, 0, err);
}

static const struct bx_link_ops shim_ops = {on_shim_message, on_shim_data, on_shim_eof};

/* --- the loop --- */

void net_touch(struct net *n)
{
    bx_defer_set(n->settle);
}

static void on_link(struct net *n, struct bx_conn *c, uint32_t events, const char *who)
{
    struct bx_err err = BX_ERR_INIT;
    int r = 1;

    for (int i = 0; r > 0 && i < READS_A_TURN && (events & (BX_READ | BX_HUP)); i++)
        r = bx_conn_read(c, &err);
    if (r < 0) {
        if (err.code != BX_ETRANSPORT)
            bx_error("%s: %s", who, err.msg);
        bx_loop_quit(n->loop, err.code == BX_ETRANSPORT ? 0 : 1);
    }
    net_touch(n);
}

static void on_guest(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct net *n = ud;

    (void)s, (void)fd;
    on_link(n, &n->guest, events, "the agent in the box broke the protocol");
}

static void on_shim(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct net *n = ud;

    (void)s, (void)fd;
    on_link(n, &n->shim, events, "the shim");
}

static void on_settle(struct bx_source *s, void *ud)
{
    struct net *n = ud;
    struct bx_err err = BX_ERR_INIT;

    (void)s;
    if (n->relays.link_failed) {
        bx_error("the agent in the box does not read its answers");
        bx_loop_quit(n->loop, 1);
        return;
    }
    if (bx_conn_flush(&n->guest, &err) < 0 || bx_conn_flush(&n->shim, &err) < 0) {
        bx_loop_quit(n->loop, 0);
        return;
    }
    if (n->relays.first_starved && bx_link_data_room(&n->guest_link) >= RESUME_ROOM) {
        bx_relays_resume(&n->relays);
        net_touch(n);
    }
}

static void on_resolv(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    static char text[RESOLV_MAX + 1];
    struct net *n = ud;
    ssize_t len = recv(fd, text, RESOLV_MAX, MSG_DONTWAIT);

    (void)events;
    if (len > 0) {
        text[len] = '\0';
        bx_resolver_config(&n->resolver, text);
    } else if (len == 0) {
        n->resolv = bx_source_remove(s);
    }
}

static int set_up(struct net *n, struct bx_err *err)
{
    int r;

    n->loop = bx_loop_new();
    if (!n->loop)
        return bx_fail(err, BX_ERESOURCE, errno, "event loop");
    bx_link_init(&n->guest_link, &guest_ops, n, GUEST_DATA_MAX);
    bx_link_init(&n->shim_link, &shim_ops, n, BX_FRAME_PAYLOAD_MAX * 2);
    bx_resolver_init(&n->resolver, n->loop);
    bx_relays_init(&n->relays, n->loop, &n->guest_link, &relay_ops, BX_LANE_STDOUT, BX_LANE_STDIN);
    n->settle = bx_loop_add_defer(n->loop, on_settle, n);
    r = bx_conn_init(&n->guest, n->loop, NET_GUEST_FD, &n->guest_link, on_guest, n);
    if (r == 0)
        r = bx_conn_init(&n->shim, n->loop, NET_SHIM_FD, &n->shim_link, on_shim, n);
    if (r < 0 || !n->settle)
        return bx_fail(err, BX_ERESOURCE, -r, "event loop");
    n->resolv = bx_loop_add_fd(n->loop, NET_RESOLV_FD, BX_READ, on_resolv, n);
    if (!n->resolv)
        return bx_fail(err, BX_ERESOURCE, errno, "event loop");
    bx_conn_want_read(&n->guest, true);
    bx_conn_want_read(&n->shim, true);
    return 0;
}

static int greet(struct net *n, struct bx_err *err)
{
    struct bx_msg_hello hello = {.pb = {.version = BX_WIRE_VERSION, .program = "boxlite-net " BX_VERSION}};

    bx_random(&n->epoch, sizeof(n->epoch));
    hello.pb.epoch = n->epoch;
    return bx_msg_send_hello(&n->guest_link, &hello, err);
}

int net_serve(struct net *n, boxlite_NetReady *ready, struct bx_err *err)
{
    int r = inward_listen(n, ready, err);

    n->serves = true;
    return r < 0 ? r : greet(n, err);
}

int net_run(bool again)
{
    struct net *n = calloc(1, sizeof(*n));
    boxlite_NetReady ready = boxlite_NetReady_init_zero;
    struct bx_err err = BX_ERR_INIT;
    int r, status = 1;

    if (!n)
        return 1;
    n->guest = n->shim = BX_CONN_INIT;
    r = set_up(n, &err);
    if (r == 0)
        r = bx_net_plan_read(NET_PLAN_FD, &n->plan, &err);
    if (r == 0 && !again)
        r = net_serve(n, &ready, &err);
    if (r < 0) {
        ready.code = (uint32_t)err.code;
        snprintf(ready.message, sizeof(ready.message), "%s", err.msg);
    }
    if (n->shim.fd >= 0 && bx_msg_send(&n->shim_link, BX_MSG_NET_READY, 0, &ready, &err) == 0 && r == 0) {
        net_touch(n);
        status = bx_loop_run(n->loop);
    } else {
        (void)bx_conn_flush(&n->shim, &err);
        status = 0; /* to be started again would not help */
    }
    inward_done(n); /* ports first: who sees the end of our links may take them */
    names_done(n);
    for (size_t i = 0; i < NET_BUCKETS; i++)
        while (n->flows[i])
            flow_free(n->flows[i]);
    bx_resolver_done(&n->resolver);
    n->resolv = bx_source_remove(n->resolv);
    n->settle = bx_source_remove(n->settle);
    bx_conn_done(&n->guest);
    bx_conn_done(&n->shim);
    bx_link_done(&n->guest_link);
    bx_link_done(&n->shim_link);
    n->loop = bx_loop_free(n->loop);
    bx_net_plan_done(&n->plan);
    free(n);
    return status;
}
