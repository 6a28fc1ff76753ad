/* SPDX-License-Identifier: Apache-2.0 */
/* conn.c - see connection.h. */
#include "guest/connection.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "guest/netlink.h"

#define AGENTS_OWN 0x80000000u        /* set in the number of a stream that the agent has opened */
#define SILENCE_NS (90 * BX_SEC)      /* of a flow of datagrams: then it is forgotten */

/* --- tables --- */

static struct bx_connection **stream_bucket(struct bx_connections *cs, uint32_t stream)
{
    return &cs->streams[stream % BX_CONNECTION_BUCKETS];
}

static struct bx_connection **flow_bucket(struct bx_connections *cs, const struct bx_flow *f)
{
    uint32_t h = f->src_port * 0x9e3779b1u ^ f->dst ^ (uint32_t)f->dst_port << 16 ^ f->protocol;

    return &cs->flows[(h ^ h >> 16 ^ h >> 8) % BX_CONNECTION_BUCKETS];
}

static struct bx_connection *by_stream(struct bx_connections *cs, uint32_t stream)
{
    struct bx_connection *c = *stream_bucket(cs, stream);

    while (c && c->relay.stream != stream)
        c = c->chain;
    return c;
}

static bool same_flow(const struct bx_flow *a, const struct bx_flow *b)
{
    return a->src == b->src && a->dst == b->dst && a->src_port == b->src_port && a->dst_port == b->dst_port &&
           a->protocol == b->protocol;
}

struct bx_connection *bx_connection_find(struct bx_connections *cs, const struct bx_flow *flow)
{
    struct bx_connection *c = *flow_bucket(cs, flow);

    while (c && !same_flow(&c->flow, flow))
        c = c->flow_chain;
    return c;
}

static struct bx_connection *conn_new(struct bx_connections *cs, uint32_t stream, enum bx_connection_state state, const struct bx_flow *flow,
                                bool outward)
{
    struct bx_connection *c, **bucket;

    if (cs->count == BX_CONNECTIONS_MAX)
        return NULL;
    c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    bx_relay_init(&c->relay, &cs->relays, stream, flow->protocol == IPPROTO_UDP);
    c->all = cs;
    c->state = state;
    c->outward = outward;
    c->flow = *flow;
    c->dial_fd = -1;
    bucket = stream_bucket(cs, stream);
    c->chain = *bucket;
    *bucket = c;
    if (outward) {
        bucket = flow_bucket(cs, flow);
        c->flow_chain = *bucket;
        *bucket = c;
    }
    cs->count++;
    return c;
}

static void conn_free(struct bx_connection *c)
{
    struct bx_connections *cs = c->all;
    struct bx_connection **p;

    bx_relay_done(&c->relay);
    c->timer = bx_source_remove(c->timer);
    c->dial_source = bx_source_remove(c->dial_source);
    bx_close(c->dial_fd);
    for (p = stream_bucket(cs, c->relay.stream); *p != c; p = &(*p)->chain)
        ;
    *p = c->chain;
    if (c->outward) {
        for (p = flow_bucket(cs, &c->flow); *p != c; p = &(*p)->flow_chain)
            ;
        *p = c->flow_chain;
    }
    cs->count--;
    free(c);
}

/* --- failure --- */

static void refuse(struct bx_connections *cs, uint32_t stream, const struct bx_err *why)
{
    bx_relays_told(&cs->relays, bx_msg_send_error(cs->relays.link, stream, 0, why));
}

void bx_connection_fail(struct bx_connection *c, int sys_errno, const char *what)
{
    struct bx_err err;

    bx_fail(&err, BX_ENETWORK, sys_errno, "%s", what);
    refuse(c->all, c->relay.stream, &err);
    conn_free(c);
}

static void on_relay_failed(struct bx_relay *r, const struct bx_err *why)
{
    struct bx_connection *c = (struct bx_connection *)r;

    refuse(c->all, r->stream, why);
    conn_free(c);
}

static void on_relay_moved(struct bx_relay *r)
{
    struct bx_connection *c = (struct bx_connection *)r;

    if (c->timer && r->datagrams)
        bx_timer_after(c->timer, SILENCE_NS);
}

static void on_relay_over(struct bx_relay *r)
{
    struct bx_connection *c = (struct bx_connection *)r;

    if (c->closed)
        conn_free(c);
}

static const struct bx_relay_ops relay_ops = {
    .failed = on_relay_failed, .moved = on_relay_moved, .over = on_relay_over};

/* --- outward --- */

struct bx_connection *bx_connection_ask(struct bx_connections *cs, const struct bx_flow *flow)
{
    boxlite_Connect msg = {.protocol = flow->protocol, .address = ntohl(flow->dst), .port = ntohs(flow->dst_port)};
    struct bx_connection *c;

    do {
        cs->last_stream = (cs->last_stream + 1) | AGENTS_OWN;
    } while (by_stream(cs, cs->last_stream));
    c = conn_new(cs, cs->last_stream, BX_CONNECTION_ASKED, flow, true);
    if (c)
        bx_relays_told(&cs->relays, bx_msg_send(cs->relays.link, BX_MSG_CONNECT, c->relay.stream, &msg, NULL));
    return c;
}

static void on_silence(struct bx_source *s, void *ud)
{
    (void)s;
    bx_connection_fail(ud, ETIMEDOUT, "nothing more came");
}

void bx_connection_open(struct bx_connection *c, int fd)
{
    c->state = BX_CONNECTION_OPEN;
    c->timer = bx_source_remove(c->timer);
    if (c->relay.datagrams) {
        c->timer = bx_loop_add_timer(c->relay.all->loop, on_silence, c);
        if (c->timer)
            bx_timer_after(c->timer, SILENCE_NS);
    }
    bx_relay_attach(&c->relay, fd);
}

static void on_answer(struct bx_connections *cs, struct bx_connection *c, const boxlite_Error *why)
{
    if (c->outward && !c->answered) {
        c->answered = true;
        if (!why && c->state == BX_CONNECTION_ASKED)
            c->state = BX_CONNECTION_WAITING;
        cs->ops->answered(c, why, cs->ud);
    }
    if (why)
        conn_free(c);
}

/* --- inward --- */

static void on_dialled(struct bx_source *s, int fd, uint32_t events, void *ud);

/* Connects to a program of the box: at the loopback address, then at eth0's. 1 = done, 0 = begun, or -errno. */
static int dial(struct bx_connection *c, uint32_t addr)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = c->flow.dst_port, .sin_addr.s_addr = htonl(addr)};

    c->dial_source = bx_source_remove(c->dial_source);
    bx_close(c->dial_fd);
    c->dial_fd = socket(AF_INET, (c->relay.datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->dial_fd < 0)
        return -errno;
    if (connect(c->dial_fd, (struct sockaddr *)&to, sizeof(to)) == 0)
        return 1;
    if (errno != EINPROGRESS)
        return -errno;
    c->dial_source = bx_loop_add_fd(c->relay.all->loop, c->dial_fd, BX_WRITE, on_dialled, c);
    return c->dial_source ? 0 : -errno;
}

static void dialled(struct bx_connection *c, int sys_errno)
{
    boxlite_Connected msg = boxlite_Connected_init_zero;

    if (sys_errno == ECONNREFUSED && !c->tried_own) {
        int r = dial(c, BX_NET_GUEST);

        c->tried_own = true;
        if (r == 0)
            return;
        sys_errno = r < 0 ? -r : 0;
    }
    if (sys_errno) {
        bx_connection_fail(c, sys_errno, "connect to the box");
        return;
    }
    c->dial_source = bx_source_remove(c->dial_source);
    bx_relays_told(c->relay.all, bx_msg_send(c->relay.all->link, BX_MSG_CONNECTED, c->relay.stream, &msg, NULL));
    bx_connection_open(c, BX_TAKE_FD(c->dial_fd));
}

static void on_dialled(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    socklen_t len = sizeof(int);
    int e = 0;

    (void)s;
    (void)events;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0)
        e = errno;
    dialled(ud, e);
}

static void on_dial(struct bx_connections *cs, uint32_t stream, const uint8_t *payload, size_t len)
{
    boxlite_Dial msg = boxlite_Dial_init_zero;
    struct bx_flow flow = {0};
    struct bx_connection *c;
    struct bx_err err;
    int r;

    if (bx_msg_decode(BX_MSG_DIAL, payload, len, &msg, NULL) < 0 || msg.port == 0 || msg.port > 65535 ||
        (msg.protocol != IPPROTO_TCP && msg.protocol != IPPROTO_UDP)) {
        bx_fail(&err, BX_EINVALID, 0, "a port of the box is 1 to 65535, of TCP or UDP");
        refuse(cs, stream, &err);
        return;
    }
    flow.protocol = (uint8_t)msg.protocol;
    flow.dst_port = htons((uint16_t)msg.port);
    c = conn_new(cs, stream, BX_CONNECTION_DIALLING, &flow, false);
    if (!c) {
        bx_fail(&err, BX_ERESOURCE, 0, "too many connections of this box (at most %d)", BX_CONNECTIONS_MAX);
        refuse(cs, stream, &err);
        return;
    }
    r = dial(c, INADDR_LOOPBACK);
    if (r != 0)
        dialled(c, r < 0 ? -r : 0);
}

/* --- the stream --- */

void bx_connections_message(struct bx_connections *cs, uint16_t type, uint32_t stream, const uint8_t *payload, size_t len)
{
    struct bx_connection *c = by_stream(cs, stream);
    boxlite_Error error = boxlite_Error_init_zero;

    if (type == BX_MSG_DIAL && !c && !(stream & AGENTS_OWN)) {
        on_dial(cs, stream, payload, len);
    } else if (!c) {
        return; /* it has ended, and the host does not know yet */
    } else if (type == BX_MSG_CONNECTED) {
        on_answer(cs, c, NULL);
    } else if (type == BX_MSG_ERROR) {
        if (bx_msg_decode(type, payload, len, &error, NULL) < 0)
            error.sys_errno = ECONNRESET;
        on_answer(cs, c, &error);
    } else if (type == BX_MSG_CREDIT) {
        bx_relay_credit(&c->relay, payload, len);
    } else if (type == BX_MSG_CLOSE) {
        c->closed = true;
        if (!c->relay.in_eof || !c->relay.out_eof || bx_relay_over(&c->relay))
            conn_free(c); /* with a reset, unless both directions have ended */
    } else {
        bx_connection_fail(c, EPROTO, "not a message of a connection");
    }
}

bool bx_connections_have(struct bx_connections *cs, uint32_t stream)
{
    return by_stream(cs, stream) != NULL;
}

void bx_connections_data(struct bx_connections *cs, uint32_t stream, unsigned lane, const uint8_t *data, size_t len)
{
    struct bx_connection *c = by_stream(cs, stream);

    if (c)
        bx_relay_data(&c->relay, lane, data, len);
}

void bx_connections_eof(struct bx_connections *cs, uint32_t stream, unsigned lane)
{
    struct bx_connection *c = by_stream(cs, stream);

    if (c)
        bx_relay_eof(&c->relay, lane);
}

void bx_connections_init(struct bx_connections *cs, struct bx_loop *loop, struct bx_link *link, const struct bx_connection_ops *ops, void *ud)
{
    *cs = (struct bx_connections){.ops = ops, .ud = ud, .last_stream = AGENTS_OWN};
    bx_relays_init(&cs->relays, loop, link, &relay_ops, BX_LANE_STDIN, BX_LANE_STDOUT);
}

void bx_connections_drop(struct bx_connections *cs)
{
    for (unsigned i = 0; i < BX_CONNECTION_BUCKETS; i++)
        while (cs->streams[i])
            conn_free(cs->streams[i]);
}
