/* SPDX-License-Identifier: Apache-2.0 */
/* mux.c - the mux as a whole, its clients and the table of streams. mux.h tells the theory of operation. */
#include "shim/mux.h"

#include <stdio.h>
#include <string.h>

#include "shim/mux_priv.h"

/* --- streams --- */

static struct stream **bucket(struct bx_mux_client *c, uint32_t cs)
{
    return &c->buckets[(cs * 2654435761u) >> 26];
}

struct stream *mux_client_stream(struct bx_mux_client *c, uint32_t cs)
{
    struct stream *s = *bucket(c, cs);

    while (s && s->cs != cs)
        s = s->next;
    return s;
}

struct stream *mux_guest_stream(struct bx_mux *m, uint32_t gs)
{
    struct stream *s = m->streams[gs % BX_STREAMS_MAX];

    return s && s->gs == gs ? s : NULL;
}

struct stream *mux_stream_new(struct bx_mux *m, struct bx_mux_client *c, uint32_t cs)
{
    struct stream *s;

    if (m->n_streams == BX_STREAMS_MAX)
        return NULL;
    s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    /* Numbers only grow: a frame for a stream that has just ended never meets a new one. 0 is the link. */
    do {
        m->next_gs++;
    } while (m->next_gs == 0 || m->streams[m->next_gs % BX_STREAMS_MAX]);
    s->gs = m->next_gs;
    s->cs = cs;
    s->c = c;
    m->streams[s->gs % BX_STREAMS_MAX] = s;
    m->n_streams++;
    if (c) {
        s->next = *bucket(c, cs);
        *bucket(c, cs) = s;
        c->n_streams++;
    }
    return s;
}

void mux_stream_answered(struct stream *s, struct bx_mux *m)
{
    if (s->opening) {
        s->opening = false;
        m->pending--;
    }
}

void mux_stream_stopped(struct stream *s, struct bx_mux *m)
{
    if (s->running) {
        s->running = false;
        m->execs_running--;
    }
}

void mux_stream_free(struct bx_mux *m, struct stream *s)
{
    mux_stream_answered(s, m);
    mux_stream_stopped(s, m);
    m->pending -= s->requests;
    if (s->main)
        mux_main_leave(m, s);
    if (s == m->watch)
        m->watch = NULL;
    if (s->c) {
        struct stream **p = bucket(s->c, s->cs);

        while (*p != s)
            p = &(*p)->next;
        *p = s->next;
        s->c->n_streams--;
    }
    m->streams[s->gs % BX_STREAMS_MAX] = NULL;
    m->n_streams--;
    free(s);
}

/* --- commands --- */

void mux_exec_ended(struct bx_mux *m, const struct stream *s, const boxlite_Exit *exit)
{
    if (m->ops->exec_ended)
        m->ops->exec_ended(m->ud, s->id, s->program, exit);
}

/* Its client has gone and it goes on: a stream of ours tells when it ends. Without room for one nobody hears of that. */
static void watch_detached(struct bx_mux *m, const struct stream *left)
{
    boxlite_Attach attach = {0};
    struct stream *s = mux_stream_new(m, NULL, 0);

    if (!s)
        return;
    s->own = OWN_DETACHED;
    s->opening = true;
    m->pending++;
    memcpy(s->id, left->id, sizeof(s->id));
    memcpy(s->program, left->program, sizeof(s->program));
    memcpy(attach.exec_id, left->id, sizeof(attach.exec_id));
    if (bx_msg_send(&m->guest, BX_MSG_ATTACH, s->gs, &attach, NULL) < 0)
        m->guest.dead = true;
}

void mux_stream_close(struct bx_mux *m, struct stream *s)
{
    bool client_exec = s->c && s->exec && !s->main && s->running;

    if (s->dial && s->lanes[BX_LANE_STDIN].eof) /* in order: it must not overtake the last bytes */
        (void)bx_link_send_ordered(&m->guest, BX_MSG_CLOSE, s->gs, NULL, 0);
    else
        mux_control_to_guest(m, BX_MSG_CLOSE, s->gs, NULL, 0);
    if (client_exec && s->detached)
        watch_detached(m, s);
    else if (client_exec)
        mux_exec_ended(m, s, NULL);
    mux_stream_free(m, s);
}

uint32_t bx_mux_exec(struct bx_mux *m, struct bx_msg_exec *exec, const struct bx_mux_exec_ops *ops, void *ud)
{
    struct stream *s = mux_stream_new(m, NULL, 0);

    if (!s)
        return 0;
    s->own = OWN_EXEC;
    s->own_ops = ops;
    s->own_ud = ud;
    s->opening = true;
    m->pending++;
    exec->pb.claim = 1u << BX_LANE_STDOUT | 1u << BX_LANE_STDERR;
    bx_lane_init(&s->lanes[BX_LANE_STDOUT], BX_WINDOW);
    bx_lane_init(&s->lanes[BX_LANE_STDERR], BX_WINDOW);
    if (bx_msg_send_exec(&m->guest, s->gs, exec, NULL) < 0)
        m->guest.dead = true;
    return s->gs;
}

void bx_mux_exec_close(struct bx_mux *m, uint32_t stream)
{
    struct stream *s = mux_guest_stream(m, stream);

    if (s && s->own == OWN_EXEC)
        mux_stream_close(m, s);
}

/* --- the whole --- */

int mux_ping(struct bx_link *l, const uint8_t *p, size_t len, struct bx_err *err)
{
    boxlite_Ping msg;
    boxlite_Pong pong;
    int r = bx_msg_decode(BX_MSG_PING, p, len, &msg, err);

    if (r < 0)
        return r;
    pong = (boxlite_Pong){.token = msg.token};
    return bx_msg_send(l, BX_MSG_PONG, 0, &pong, err);
}

struct bx_mux *bx_mux_new(const struct bx_mux_ops *ops, void *ud)
{
    struct bx_mux *m = calloc(1, sizeof(*m));

    if (!m)
        return NULL;
    m->ops = ops;
    m->ud = ud;
    mux_main_init(m);
    bx_link_init(&m->guest, &mux_guest_ops, m, BX_MUX_GUEST_DATA);
    return m;
}

static void client_free(struct bx_mux_client *c)
{
    while (c->first)
        mux_backlog_pop(c);
    bx_link_done(&c->link);
    free(c);
}

struct bx_mux *bx_mux_free(struct bx_mux *m)
{
    if (!m)
        return NULL;
    m->main_over = true;
    for (size_t i = 0; i < BX_STREAMS_MAX; i++)
        if (m->streams[i])
            mux_stream_free(m, m->streams[i]);
    mux_main_done(m);
    while (m->clients) {
        struct bx_mux_client *c = m->clients;

        m->clients = c->next;
        client_free(c);
    }
    bx_link_done(&m->guest);
    free(m);
    return NULL;
}

struct bx_link *bx_mux_guest(struct bx_mux *m)
{
    return &m->guest;
}

struct bx_mux_client *bx_mux_client_add(struct bx_mux *m, void *ud)
{
    struct bx_mux_client *c;

    if (m->n_clients == BX_CLIENTS_MAX)
        return NULL;
    c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->m = m;
    c->ud = ud;
    c->last = &c->first;
    bx_link_init(&c->link, &mux_client_ops, c, BX_MUX_CLIENT_DATA);
    c->next = m->clients;
    m->clients = c;
    m->n_clients++;
    return c;
}

void bx_mux_client_remove(struct bx_mux_client *c)
{
    struct bx_mux *m = c->m;
    struct bx_mux_client **p = &m->clients;

    for (size_t i = 0; i < BUCKETS; i++)
        while (c->buckets[i])
            mux_stream_close(m, c->buckets[i]);
    while (*p != c)
        p = &(*p)->next;
    *p = c->next;
    m->n_clients--;
    client_free(c);
}

void *bx_mux_client_ud(const struct bx_mux_client *c)
{
    return c->ud;
}

struct bx_link *bx_mux_client_link(struct bx_mux_client *c)
{
    return &c->link;
}

const char *bx_mux_client_condemned(const struct bx_mux_client *c)
{
    return c->condemned;
}

void bx_mux_close_gate(struct bx_mux *m, enum bx_code code, const char *why)
{
    m->gate = why;
    m->gate_code = code;
}

void bx_mux_fail_streams(struct bx_mux *m, const struct bx_err *why)
{
    m->main_over = true;
    for (size_t i = 0; i < BX_STREAMS_MAX; i++) {
        struct stream *s = m->streams[i];
        boxlite_Error e = {.code = (uint32_t)why->code};

        if (!s)
            continue;
        if (s->own == OWN_EXEC) {
            s->own_ops->ended(s->own_ud, NULL, why);
            s = m->streams[i]; /* it may have closed it */
            if (!s)
                continue;
        }
        if (s->c) {
            snprintf(e.message, sizeof(e.message), "%s", why->msg);
            mux_message_to_client(s->c, BX_MSG_ERROR, s->cs, &e);
        }
        mux_stream_free(m, s);
    }
}

unsigned bx_mux_pending(const struct bx_mux *m)
{
    return m->pending;
}

struct bx_mux_counts bx_mux_counts(const struct bx_mux *m)
{
    return (struct bx_mux_counts){
        .clients = m->n_clients,
        .streams = m->n_streams,
        .execs_total = m->execs_total,
        .execs_running = m->execs_running,
        .exec_errors = m->exec_errors,
        .bytes_in = m->bytes_in,
        .bytes_out = m->bytes_out,
    };
}
