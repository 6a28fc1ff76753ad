/* SPDX-License-Identifier: Apache-2.0 */
/* shim_mux_world.h - a mux with a guest and two clients, real links at all ends. */
#ifndef BX_TESTS_SHIM_MUX_WORLD_H
#define BX_TESTS_SHIM_MUX_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shim/mux.h"

/* One end that is not the mux: remembers what came, as one line per frame. */
struct peer {
    struct bx_link link;
    char seen[8192];
    size_t data_bytes; /* of lanes, not written to seen when large */
    uint32_t last_stream;
    boxlite_Error error;
};

__attribute__((format(printf, 2, 3))) static inline void note(struct peer *p, const char *fmt, ...)
{
    size_t n = strlen(p->seen);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(p->seen + n, sizeof(p->seen) - n, fmt, ap);
    va_end(ap);
}

static inline int peer_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *payload, size_t len,
                        struct bx_err *err)
{
    struct peer *p = l->ud;
    boxlite_Credit credit;

    p->last_stream = stream;
    if (type == BX_MSG_ERROR)
        assert_int_equal(bx_msg_decode(type, payload, len, &p->error, err), 0);
    if (type == BX_MSG_CREDIT) {
        assert_int_equal(bx_msg_decode(type, payload, len, &credit, err), 0);
        note(p, "CREDIT %u lane %u %u;", stream, credit.lane, credit.bytes);
    } else {
        note(p, "%s %u;", bx_msg_type_name(type), stream);
    }
    return 0;
}

static inline int peer_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *data, size_t len,
                     struct bx_err *err)
{
    struct peer *p = l->ud;

    (void)err;
    p->data_bytes += len;
    if (len < 40)
        note(p, "DATA %u.%u %.*s;", stream, lane, (int)len, (const char *)data);
    return 0;
}

static inline int peer_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    (void)err;
    note(l->ud, "EOF %u.%u;", stream, lane);
    return 0;
}

static const struct bx_link_ops peer_ops = {peer_message, peer_data, peer_eof};

struct world {
    struct bx_mux *mux;
    struct peer guest, a, b;
    struct bx_mux_client *ca, *cb;
    char events[1024]; /* what the mux's owner was told */
    char logged[1024]; /* of the main process */
    size_t logged_bytes;
    int guest_error, client_error;
};

static inline int owner_guest(void *ud, uint16_t type, const uint8_t *payload, size_t len, struct bx_err *err)
{
    struct world *w = ud;

    (void)payload;
    (void)len;
    (void)err;
    snprintf(w->events, sizeof(w->events), "guest %s;", bx_msg_type_name(type));
    return 0;
}

static inline int owner_client(void *ud, struct bx_mux_client *c, uint16_t type, const uint8_t *payload, size_t len,
                        struct bx_err *err)
{
    struct world *w = ud;

    (void)payload;
    (void)len;
    (void)err;
    snprintf(w->events, sizeof(w->events), "%s %s;", (char *)bx_mux_client_ud(c), bx_msg_type_name(type));
    return 0;
}

static inline void owner_main_exit(void *ud, const boxlite_Exit *e)
{
    struct world *w = ud;
    size_t n = strlen(w->events);

    snprintf(w->events + n, sizeof(w->events) - n, "main %d;", e ? e->code : -1);
}

static inline void owner_output(void *ud, unsigned lane, const uint8_t *data, size_t len)
{
    struct world *w = ud;
    size_t n = strlen(w->logged);

    w->logged_bytes += len;
    if (len < 40)
        snprintf(w->logged + n, sizeof(w->logged) - n, "%u %.*s;", lane, (int)len, (const char *)data);
}

static inline void owner_hole(void *ud, uint64_t dropped)
{
    struct world *w = ud;
    size_t n = strlen(w->logged);

    snprintf(w->logged + n, sizeof(w->logged) - n, "hole %llu;", (unsigned long long)dropped);
}

static inline void owner_started(void *ud, const char *id, const char *program)
{
    struct world *w = ud;
    size_t n = strlen(w->events);

    snprintf(w->events + n, sizeof(w->events) - n, "%s %s runs;", id, program);
}

static inline void owner_ended(void *ud, const char *id, const char *program, const boxlite_Exit *e)
{
    struct world *w = ud;
    size_t n = strlen(w->events);

    snprintf(w->events + n, sizeof(w->events) - n, "%s %s ended %d;", id, program, e ? e->code : -1);
}

static const struct bx_mux_ops owner_ops = {
    .guest = owner_guest,
    .client = owner_client,
    .main_exit = owner_main_exit,
    .main_output = owner_output,
    .main_hole = owner_hole,
    .exec_started = owner_started,
    .exec_ended = owner_ended,
};

static inline int setup(void **state)
{
    static char name_a[] = "a", name_b[] = "b";
    struct world *w = calloc(1, sizeof(*w));

    w->mux = bx_mux_new(&owner_ops, w);
    w->ca = bx_mux_client_add(w->mux, name_a);
    w->cb = bx_mux_client_add(w->mux, name_b);
    bx_link_init(&w->guest.link, &peer_ops, &w->guest, 8 * 1024 * 1024);
    bx_link_init(&w->a.link, &peer_ops, &w->a, 8 * 1024 * 1024);
    bx_link_init(&w->b.link, &peer_ops, &w->b, 8 * 1024 * 1024);
    *state = w;
    return 0;
}

static inline int teardown(void **state)
{
    struct world *w = *state;

    bx_mux_free(w->mux);
    bx_link_done(&w->guest.link);
    bx_link_done(&w->a.link);
    bx_link_done(&w->b.link);
    free(w);
    return 0;
}

/* At most `max` bytes from one end to the other. */
static inline int move(struct bx_link *from, struct bx_link *to, size_t max)
{
    const uint8_t *data;
    size_t len;
    int r = 0;

    while (r == 0 && max > 0 && bx_link_output(from, &data, &len)) {
        len = len < max ? len : max;
        len = len < 100000 ? len : 100000;
        r = bx_link_input(to, data, len, NULL);
        bx_link_sent(from, len);
        max -= len;
    }
    return r;
}

#define ALL ((size_t)-1)

static inline void to_guest(struct world *w)
{
    struct bx_link *g = bx_mux_guest(w->mux);

    if (w->ca)
        w->client_error |= move(&w->a.link, bx_mux_client_link(w->ca), ALL);
    if (w->cb)
        w->client_error |= move(&w->b.link, bx_mux_client_link(w->cb), ALL);
    assert_int_equal(move(g, &w->guest.link, ALL), 0);
}

static inline void from_guest(struct world *w)
{
    w->guest_error |= move(&w->guest.link, bx_mux_guest(w->mux), ALL);
}

/* The client reads `max` bytes. */
static inline void client_reads(struct bx_mux_client *c, struct peer *p, size_t max)
{
    size_t before;

    if (!c)
        return;
    do {
        bx_mux_client_refill(c);
        before = bx_mux_client_queued(c);
        assert_int_equal(move(bx_mux_client_link(c), &p->link, max < 200000 ? max : 200000), 0);
        max -= before - bx_mux_client_queued(c);
    } while (max > 0 && bx_mux_client_queued(c) > 0 && bx_mux_client_queued(c) < before);
    bx_mux_client_refill(c);
}

static inline void round_trip(struct world *w)
{
    to_guest(w);
    from_guest(w);
    client_reads(w->ca, &w->a, ALL);
    client_reads(w->cb, &w->b, ALL);
}

static inline void send_exec(struct peer *p, uint32_t stream, bool in, uint32_t claimed, bool main)
{
    struct bx_msg_exec e = {.args = {"true", 5, 1}};

    snprintf(e.pb.exec_id, sizeof(e.pb.exec_id), "x");
    e.pb.stdin = in;
    e.pb.claim = claimed;
    e.pb.main = main;
    assert_int_equal(bx_msg_send_exec(&p->link, stream, &e, NULL), 0);
}

/* The guest's number of the stream that was opened last. */
static inline uint32_t opened(struct world *w)
{
    to_guest(w);
    return w->guest.last_stream;
}

static inline void send_started(struct world *w, uint32_t gs)
{
    boxlite_Started s = {.pid = 5};

    assert_int_equal(bx_msg_send(&w->guest.link, BX_MSG_STARTED, gs, &s, NULL), 0);
}

static inline void send_exit(struct world *w, uint32_t gs, int code)
{
    boxlite_Exit e = {.code = code};

    assert_int_equal(bx_msg_send_ordered(&w->guest.link, BX_MSG_EXIT, gs, &e, NULL), 0);
}

static inline void send_output(struct world *w, uint32_t gs, size_t len)
{
    char *data = calloc(1, len);

    assert_int_equal(bx_link_send_data(&w->guest.link, gs, BX_LANE_STDOUT, data, len), 0);
    free(data);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
