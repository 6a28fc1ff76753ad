/* SPDX-License-Identifier: Apache-2.0 */
/* tunnel.c - see tunnel.h. */
#include "runtime/tunnel.h"

#include <errno.h>
#include <netinet/in.h>

#include "runtime/conn.h"

static void tunneled_free(struct bx_tunneled *t)
{
    struct bx_box *b = t->box;
    struct bx_tunneled **p;

    for (p = &b->tunnels->first; *p != t; p = &(*p)->next)
        ;
    *p = t->next;
    b->tunnels->count--;
    bx_relay_done(&t->relay);
    bx_close(t->fd);
    free(t);
    bx_box_unref(b);
}

static void close_stream(struct bx_tunneled *t, bool in_order)
{
    boxlite_Close m = boxlite_Close_init_zero;
    struct bx_conn *c = t->box->conn;

    if (c && t->relay.stream && in_order)
        (void)bx_msg_send_ordered(&c->link, BX_MSG_CLOSE, t->relay.stream, &m, NULL);
    else if (c && t->relay.stream)
        (void)bx_msg_send(&c->link, BX_MSG_CLOSE, t->relay.stream, &m, NULL);
    if (c)
        bx_conn_flush(c);
    tunneled_free(t);
}

static void on_failed(struct bx_relay *r, const struct bx_err *why)
{
    (void)why; /* who has the other end sees it closed */
    close_stream((struct bx_tunneled *)r, false);
}

static void on_moved(struct bx_relay *r)
{
    struct bx_tunneled *t = (struct bx_tunneled *)r;

    if (t->box->tunnels->settle)
        bx_defer_set(t->box->tunnels->settle);
}

static void on_over(struct bx_relay *r)
{
    close_stream((struct bx_tunneled *)r, true);
}

static const struct bx_relay_ops relay_ops = {.failed = on_failed, .moved = on_moved, .over = on_over};

static void on_settle(struct bx_source *s, void *ud)
{
    struct bx_box *b = ud;

    (void)s;
    if (!b->conn)
        return;
    bx_conn_flush(b->conn);
    bx_tunnels_pump(b);
}

/* The relays of a new link. */
static void use_link(struct bx_box *b)
{
    struct bx_tunnels *ts = b->tunnels;

    if (ts->relays.link != &b->conn->link)
        bx_relays_init(&ts->relays, b->rt->loop, &b->conn->link, &relay_ops, BX_LANE_STDOUT, BX_LANE_STDIN);
    if (!ts->settle)
        ts->settle = bx_loop_add_defer(b->rt->loop, on_settle, b);
}

static void send_it(struct bx_tunneled *t)
{
    struct bx_box *b = t->box;
    boxlite_Dial msg = {.protocol = IPPROTO_TCP, .port = t->port};

    use_link(b);
    t->relay.stream = bx_conn_stream(b->conn);
    if (bx_msg_send(&b->conn->link, BX_MSG_DIAL, t->relay.stream, &msg, NULL) < 0)
        tunneled_free(t);
}

int bx_tunnel_dial(struct bx_box *b, uint16_t port, int fd, struct bx_err *err)
{
    struct bx_tunneled *t = NULL, **p;
    int r = 0;

    if (!b->tunnels)
        b->tunnels = calloc(1, sizeof(*b->tunnels));
    if (b->tunnels && b->tunnels->count == BX_TUNNEL_MAX)
        r = bx_fail(err, BX_ERESOURCE, 0, "more than %d connections to box %s", BX_TUNNEL_MAX, b->id);
    else if (b->tunnels)
        t = calloc(1, sizeof(*t));
    if (!t) {
        bx_close(fd);
        return r < 0 ? r : bx_fail(err, BX_ERESOURCE, ENOMEM, "connect to box %s", b->id);
    }
    bx_relay_init(&t->relay, &b->tunnels->relays, 0, false);
    t->box = b;
    t->port = port;
    t->fd = fd;
    bx_box_ref(b);
    for (p = &b->tunnels->first; *p; p = &(*p)->next)
        ;
    *p = t;
    b->tunnels->count++;
    if (b->phase == BX_PHASE_UP && !b->down_wanted) {
        send_it(t);
        bx_conn_flush(b->conn);
        return 0;
    }
    r = bx_box_want_up(b, true, err);
    if (r < 0)
        tunneled_free(t);
    return r;
}

void bx_tunnels_send_waiting(struct bx_box *b)
{
    struct bx_tunneled *t, *next;

    for (t = b->tunnels ? b->tunnels->first : NULL; t; t = next) {
        next = t->next;
        if (t->relay.stream == 0)
            send_it(t);
    }
}

void bx_tunnels_fail(struct bx_box *b, bool waiting_too)
{
    struct bx_tunneled *t, *next;

    for (t = b->tunnels ? b->tunnels->first : NULL; t; t = next) {
        next = t->next;
        if (t->relay.stream || waiting_too)
            tunneled_free(t);
    }
    if (b->tunnels) {
        b->tunnels->relays.link = NULL;
        b->tunnels->settle = bx_source_remove(b->tunnels->settle);
    }
}

bool bx_tunnels_wait(const struct bx_box *b)
{
    for (const struct bx_tunneled *t = b->tunnels ? b->tunnels->first : NULL; t; t = t->next)
        if (t->relay.stream == 0)
            return true;
    return false;
}

struct bx_tunneled *bx_tunneled_of(struct bx_box *b, uint32_t stream)
{
    struct bx_tunneled *t = b->tunnels ? b->tunnels->first : NULL;

    while (t && t->relay.stream != stream)
        t = t->next;
    return t;
}

void bx_tunneled_message(struct bx_tunneled *t, uint16_t type, const uint8_t *payload, size_t len)
{
    if (type == BX_MSG_CONNECTED && !t->open) {
        t->open = true;
        bx_relay_attach(&t->relay, BX_TAKE_FD(t->fd));
    } else if (type == BX_MSG_CREDIT) {
        bx_relay_credit(&t->relay, payload, len);
    } else if (type == BX_MSG_ERROR) {
        tunneled_free(t); /* the stream has ended there */
    }
}

void bx_tunneled_data(struct bx_tunneled *t, unsigned lane, const uint8_t *data, size_t len)
{
    bx_relay_data(&t->relay, lane, data, len);
}

void bx_tunneled_eof(struct bx_tunneled *t, unsigned lane)
{
    bx_relay_eof(&t->relay, lane);
}

void bx_tunnels_pump(struct bx_box *b)
{
    if (b->tunnels && b->tunnels->relays.link)
        bx_relays_resume(&b->tunnels->relays);
}
