/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ends of a link and the lanes of two streams between them, driven by a list of operations (two bytes
 * each). A model knows what must come: on each lane every byte once and in order, no byte after the end, what
 * was ordered behind data stays behind it, control in its own order; never more under way than was allowed;
 * queues within their bounds.
 */
#include <errno.h>
#include <string.h>

#include "wire/messages.h"
#include "../lib/one_frame.h"

#define DATA_MAX (80 * 1024)
#define WINDOW 50000
#define STREAMS 2

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct end {
    struct bx_lane lane;
    uint64_t bytes;  /* sent or received */
    uint64_t unused; /* receiver: not yet consumed */
    uint64_t marks;  /* ordered messages */
};

struct world {
    struct bx_link a, b;
    struct end out[STREAMS][BX_LANES], in[STREAMS][BX_LANES];
    uint32_t control_sent, control_got;
};

/* Byte number n of any lane. */
static uint8_t pattern(uint64_t n)
{
    return (uint8_t)(n * 7 + (n >> 8));
}

static struct end *end_of(struct end ends[STREAMS][BX_LANES], uint32_t stream, unsigned lane)
{
    bx_assert(stream >= 1 && stream <= STREAMS && lane < BX_LANES);
    return &ends[stream - 1][lane];
}

/* At B: control carries its number; Truncated stands for any ordered message and tells how many bytes went
 * before it. */
static int b_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *p, size_t n,
                     struct bx_err *err)
{
    struct world *w = l->ud;

    if (type == BX_MSG_TRUNCATED) {
        boxlite_Truncated t;
        struct end *e;

        bx_assert(bx_msg_decode(type, p, n, &t, err) == 0);
        e = end_of(w->in, stream, t.lane);
        bx_assert(t.dropped == e->bytes);
        e->marks++;
        return 0;
    }
    bx_assert(type == BX_MSG_BOX_INFO_GET || type == BX_MSG_EXEC);
    if (type == BX_MSG_BOX_INFO_GET) {
        boxlite_BoxInfoGet m;

        bx_assert(bx_msg_decode(type, p, n, &m, err) == 0 && m.request == w->control_got);
    }
    w->control_got++;
    return 0;
}

static int b_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *p, size_t n,
                  struct bx_err *err)
{
    struct world *w = l->ud;
    struct end *e = end_of(w->in, stream, lane);

    (void)err;
    bx_assert(bx_lane_receive(&e->lane, n) == 0);
    for (size_t i = 0; i < n; i++)
        bx_assert(p[i] == pattern(e->bytes + i));
    e->bytes += n;
    e->unused += n;
    return 0;
}

static int b_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    struct world *w = l->ud;
    struct end *e = end_of(w->in, stream, lane);

    (void)err;
    bx_assert(!e->lane.eof && e->bytes == end_of(w->out, stream, lane)->bytes);
    e->lane.eof = true;
    return 0;
}

/* At A: nothing but credit comes. */
static int a_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *p, size_t n,
                     struct bx_err *err)
{
    struct world *w = l->ud;
    boxlite_Credit c;

    bx_assert(type == BX_MSG_CREDIT && bx_msg_decode(type, p, n, &c, err) == 0);
    return bx_lane_grant(&end_of(w->out, stream, c.lane)->lane, c.bytes);
}

static int a_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *p, size_t n,
                  struct bx_err *err)
{
    (void)l, (void)stream, (void)lane, (void)p, (void)n;
    return bx_fail(err, BX_EINTERNAL, 0, "data at the sender");
}

static int a_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    (void)l, (void)stream, (void)lane;
    return bx_fail(err, BX_EINTERNAL, 0, "end at the sender");
}

static const struct bx_link_ops a_ops = { a_message, a_data, a_eof };
static const struct bx_link_ops b_ops = { b_message, b_data, b_eof };

static size_t carry(struct bx_link *from, struct bx_link *to, size_t most, bool direct)
{
    const uint8_t *p;
    size_t n, room;

    if (!bx_link_output(from, &p, &n))
        return 0;
    n = BX_MIN(n, most);
    if (direct) {
        bx_assert(bx_link_input(to, p, n, NULL) == 0);
    } else {
        uint8_t *dst = bx_link_rx_reserve(to, &room);

        n = BX_MIN(n, room);
        memcpy(dst, p, n);
        bx_assert(bx_link_rx_commit(to, n, NULL) == 0);
    }
    bx_link_sent(from, n);
    return n;
}

static void put_data(struct world *w, uint32_t stream, unsigned lane, size_t want, bool copy)
{
    static uint8_t block[BX_FRAME_PAYLOAD_MAX];
    struct end *e = end_of(w->out, stream, lane);
    size_t n = BX_MIN(BX_MIN(want, (size_t)e->lane.credit), bx_link_data_room(&w->a));
    uint8_t *p = copy ? block : NULL;

    if (e->lane.eof || n == 0)
        return;
    n = BX_MIN(n, sizeof(block));
    if (!copy)
        p = one_frame(&w->a, n);
    bx_assert(p);
    for (size_t i = 0; i < n; i++)
        p[i] = pattern(e->bytes + i);
    if (copy)
        bx_assert(bx_link_send_data(&w->a, stream, lane, p, n) == 0);
    else
        bx_link_data_commit(&w->a, stream, lane, n);
    bx_lane_spend(&e->lane, n);
    e->bytes += n;
}

static void put_control(struct world *w, bool big)
{
    static const uint8_t zero[3 * BX_FRAME_PAYLOAD_MAX];
    boxlite_BoxInfoGet m = { w->control_sent };
    int r = big ? bx_link_send(&w->a, BX_MSG_EXEC, 1, zero, sizeof(zero))
                : bx_msg_send(&w->a, BX_MSG_BOX_INFO_GET, 0, &m, NULL);

    bx_assert(r == 0 || r == -BX_ERESOURCE);
    if (r == 0)
        w->control_sent++;
}

static void operate(struct world *w, uint8_t op, uint8_t arg)
{
    uint32_t stream = 1 + (op >> 3) % STREAMS;
    unsigned lane = (op >> 4) % BX_LANES;
    struct end *out = end_of(w->out, stream, lane), *in = end_of(w->in, stream, lane);
    boxlite_Truncated mark = { lane, out->bytes };
    uint32_t grant;
    size_t n;

    switch (op & 7) {
    case 0:
    case 1:
        put_data(w, stream, lane, ((size_t)arg << (op >> 5)) + 1, op & 1);
        break;
    case 2:
        if (arg % 8 == 0 && !out->lane.eof && bx_link_send_eof(&w->a, stream, lane) == 0)
            out->lane.eof = true;
        break;
    case 3:
        if (bx_msg_send_ordered(&w->a, BX_MSG_TRUNCATED, stream, &mark, NULL) == 0)
            out->marks++;
        break;
    case 4:
        put_control(w, arg > 250);
        break;
    case 5:
        carry(&w->a, &w->b, (size_t)arg * arg + 1, op & 8);
        break;
    case 6:
        carry(&w->b, &w->a, (size_t)arg + 1, op & 8);
        break;
    case 7:
        n = BX_MIN((size_t)arg * arg, (size_t)in->unused);
        in->unused -= n;
        grant = bx_lane_consume(&in->lane, n);
        if (grant > 0)
            bx_assert(bx_msg_send_credit(&w->b, stream, lane, grant) == 0);
        break;
    }
    bx_assert(bx_buf_len(&w->a.data) <= DATA_MAX + BX_LINK_ORDERED_MAX);
    bx_assert(bx_buf_len(&w->a.control) <= BX_LINK_CONTROL_MAX);
    bx_assert(w->in[stream - 1][lane].bytes <= w->out[stream - 1][lane].bytes);
}

static void check_end(struct world *w)
{
    while (carry(&w->a, &w->b, SIZE_MAX, false) > 0)
        ;
    while (carry(&w->b, &w->a, SIZE_MAX, true) > 0)
        ;
    bx_assert(w->control_got == w->control_sent && !bx_link_wants_write(&w->a) &&
              !bx_link_wants_write(&w->b));
    for (int s = 0; s < STREAMS; s++) {
        for (int k = 0; k < BX_LANES; k++) {
            struct end *out = &w->out[s][k], *in = &w->in[s][k];

            bx_assert(in->bytes == out->bytes && in->lane.eof == out->lane.eof && in->marks == out->marks);
            /* What the sender may send is what the receiver allowed, and with what is in use makes the
             * window. */
            bx_assert(in->lane.credit == out->lane.credit);
            bx_assert(in->lane.credit + in->lane.consumed + in->unused == WINDOW);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;

    if (size > 2000)
        return 0;
    memset(&w, 0, sizeof(w));
    bx_link_init(&w.a, &a_ops, &w, DATA_MAX);
    bx_link_init(&w.b, &b_ops, &w, DATA_MAX);
    for (int s = 0; s < STREAMS; s++) {
        for (int k = 0; k < BX_LANES; k++) {
            bx_lane_init(&w.out[s][k].lane, WINDOW);
            bx_lane_init(&w.in[s][k].lane, WINDOW);
        }
    }
    for (size_t i = 0; i + 1 < size; i += 2)
        operate(&w, data[i], data[i + 1]);
    check_end(&w);
    bx_link_done(&w.a);
    bx_link_done(&w.b);
    return 0;
}
