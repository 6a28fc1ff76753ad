/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link that receives anybody's bytes, three times: whole, through the receive buffer, and in pieces whose
 * sizes the input chooses. All three must tell the same story to their handlers and come to the same end.
 */
#include <string.h>

#include "wire/link.h"

#define DATA_MAX (128 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct story {
    uint64_t hash;
    size_t events;
    bool restarts; /* a HELLO resets the link, as the agent does */
};

static void mix(struct story *s, const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        s->hash = (s->hash ^ ((const uint8_t *)p)[i]) * 0x100000001b3ULL;
}

static void event(struct story *s, uint32_t a, uint32_t b, uint32_t c, const uint8_t *p, size_t n)
{
    uint32_t head[4] = { a, b, c, (uint32_t)n };

    s->events++;
    mix(s, head, sizeof(head));
    mix(s, p, n);
}

static int on_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *p, size_t n,
                      struct bx_err *err)
{
    struct story *s = l->ud;

    event(s, 1, type, stream, p, n);
    if (type == BX_MSG_HELLO && s->restarts)
        bx_link_reset(l);
    if (type == BX_MSG_BOX_GONE)
        return bx_fail(err, BX_ESTATE, 0, "refused");
    /* Answers pile up; nobody reads them. */
    if (bx_link_send(l, BX_MSG_ERROR, stream, p, BX_MIN(n, (size_t)100)) < 0)
        return bx_fail(err, BX_ERESOURCE, 0, "full");
    return 0;
}

static int on_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *p, size_t n,
                   struct bx_err *err)
{
    (void)err;
    bx_assert(n > 0 && n <= BX_FRAME_PAYLOAD_MAX && lane < BX_LANES && stream != 0);
    event(l->ud, 2, stream, lane, p, n);
    return 0;
}

static int on_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    (void)err;
    bx_assert(lane < BX_LANES && stream != 0);
    event(l->ud, 3, stream, lane, NULL, 0);
    return 0;
}

static const struct bx_link_ops ops = { on_message, on_data, on_eof };

static int feed(struct bx_link *l, const uint8_t *p, size_t n, bool direct, struct bx_err *err)
{
    size_t room;
    uint8_t *dst;

    if (direct)
        return bx_link_input(l, p, n, err);
    dst = bx_link_rx_reserve(l, &room);
    bx_assert(dst && room >= BX_FRAME_HEADER + BX_FRAME_PAYLOAD_MAX && n <= room);
    if (n > 0)
        memcpy(dst, p, n);
    return bx_link_rx_commit(l, n, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct story stories[3] = { 0 };
    int ends[3] = { 0 };
    uint8_t seed;
    bool restarts;

    if (size < 2 || size > BX_FRAME_PAYLOAD_MAX)
        return 0;
    seed = data[0];
    restarts = data[1] & 1; /* what comes behind the reset in the same piece is dropped: pieces then matter */
    data += 2;
    size -= 2;
    for (int way = 0; way < 3; way++) {
        struct bx_err err = BX_ERR_INIT;
        struct bx_link l;
        size_t at = 0, step;

        stories[way].restarts = restarts;
        bx_link_init(&l, &ops, &stories[way], DATA_MAX);
        for (step = 0; ends[way] == 0 && at < size; step++) {
            size_t n = way < 2 ? size : BX_MIN((size_t)(seed * (step + 1)) % 61 + 1, size - at);

            ends[way] = feed(&l, data + at, n, way == 0 || (way == 2 && step % 2), &err);
            at += n;
        }
        bx_assert(ends[way] == 0 || (l.dead && err.code == -ends[way] && err.msg[0]));
        bx_assert(bx_buf_len(&l.rx) < BX_FRAME_HEADER + BX_FRAME_PAYLOAD_MAX || l.dead);
        bx_link_done(&l);
    }
    bx_assert(ends[0] == ends[1] && stories[0].hash == stories[1].hash &&
              stories[0].events == stories[1].events);
    if (!restarts)
        bx_assert(ends[0] == ends[2] && stories[0].hash == stories[2].hash &&
                  stories[0].events == stories[2].events);
    return 0;
}
