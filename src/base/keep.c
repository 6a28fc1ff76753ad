/* SPDX-License-Identifier: Apache-2.0 */
/* keep.c - keeps the first and last bytes of a stream: a buffer for the head, a ring for the tail. */
#include "base/keep.h"

#include <string.h>

#include "base/err.h"

void bx_keep_init(struct bx_keep *k, size_t head_max, size_t tail_max)
{
    *k = (struct bx_keep){ .head = BX_BUF_INIT(head_max), .ring_max = tail_max };
}

void bx_keep_done(struct bx_keep *k)
{
    bx_buf_done(&k->head);
    free(k->ring);
    bx_keep_init(k, k->head.max, k->ring_max);
}

static void drop(struct bx_keep *k, size_t n)
{
    k->dropped += n;
    k->truncated = k->dropped > 0;
}

/* Takes what still fits into the head; the number of bytes taken. */
static size_t add_head(struct bx_keep *k, const uint8_t *data, size_t len)
{
    size_t n;

    if (k->ring_len > 0) /* order: the tail is already in use */
        return 0;
    n = BX_MIN(len, k->head.max - k->head_used);
    if (n == 0)
        return 0;
    if (bx_buf_add(&k->head, data, n) < 0) {
        k->head.failed = false; /* unchanged by the failure; the tail may still take these bytes */
        return 0;
    }
    k->head_used += n;
    return n;
}

/* Copies the ring's content to dst, in order. */
static void ring_copy(const struct bx_keep *k, uint8_t *dst)
{
    size_t first = BX_MIN(k->ring_len, k->ring_cap - k->ring_at);

    if (first > 0)
        memcpy(dst, k->ring + k->ring_at, first);
    if (k->ring_len > first)
        memcpy(dst + first, k->ring, k->ring_len - first);
}

/* Grows the ring so that it holds `need` bytes, as far as its maximum and memory go. */
static void ring_grow(struct bx_keep *k, size_t need)
{
    size_t cap = BX_MAX(k->ring_cap, (size_t)4096);
    uint8_t *ring;

    need = BX_MIN(need, k->ring_max);
    if (need <= k->ring_cap)
        return;
    while (cap < need && cap <= SIZE_MAX / 2)
        cap *= 2;
    cap = BX_MIN(BX_MAX(cap, need), k->ring_max);
    ring = malloc(cap);
    if (!ring)
        return;
    ring_copy(k, ring);
    free(k->ring);
    k->ring = ring;
    k->ring_cap = cap;
    k->ring_at = 0;
}

static void ring_add(struct bx_keep *k, const uint8_t *data, size_t len)
{
    size_t at, first;

    ring_grow(k, len > SIZE_MAX - k->ring_len ? SIZE_MAX : k->ring_len + len);
    if (len > k->ring_cap) { /* more than fits: only its end counts */
        drop(k, len - k->ring_cap);
        data += len - k->ring_cap;
        len = k->ring_cap;
    }
    if (len == 0)
        return;
    if (len > k->ring_cap - k->ring_len) { /* the oldest give way */
        size_t excess = len - (k->ring_cap - k->ring_len);

        drop(k, excess);
        k->ring_at = (k->ring_at + excess) % k->ring_cap;
        k->ring_len -= excess;
    }
    at = (k->ring_at + k->ring_len) % k->ring_cap;
    first = BX_MIN(len, k->ring_cap - at);
    memcpy(k->ring + at, data, first);
    memcpy(k->ring, data + first, len - first);
    k->ring_len += len;
}

void bx_keep_add(struct bx_keep *k, const void *data, size_t len)
{
    size_t n = add_head(k, data, len);

    if (len > n)
        ring_add(k, (const uint8_t *)data + n, len - n);
}

size_t bx_keep_len(const struct bx_keep *k)
{
    return bx_buf_len(&k->head) + k->ring_len;
}

size_t bx_keep_peek(const struct bx_keep *k, const uint8_t **ret_data)
{
    if (bx_buf_len(&k->head) > 0) {
        *ret_data = bx_buf_data(&k->head);
        return bx_buf_len(&k->head);
    }
    *ret_data = k->ring ? k->ring + k->ring_at : (const uint8_t *)"";
    return BX_MIN(k->ring_len, k->ring_cap - k->ring_at);
}

void bx_keep_consume(struct bx_keep *k, size_t n)
{
    const uint8_t *data;

    bx_assert(n <= bx_keep_peek(k, &data));
    if (n == 0)
        return;
    if (bx_buf_len(&k->head) > 0) {
        bx_buf_consume(&k->head, n);
    } else {
        k->ring_at = (k->ring_at + n) % k->ring_cap;
        k->ring_len -= n;
    }
    if (bx_keep_len(k) == 0) { /* read empty: give the memory back, start anew */
        bx_buf_done(&k->head);
        free(k->ring);
        k->ring = NULL;
        k->ring_cap = k->ring_at = 0;
        k->head_used = 0;
    }
}
