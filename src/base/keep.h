/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep.h - the first and the last bytes of a stream that nobody reads yet.
 *
 * Up to head_max bytes are kept from the start and tail_max from the end; what lies between is counted and let
 * go. Reading gives the kept bytes in order: peek a piece, use some or all of it, consume that much, until peek
 * gives 0. Adding goes on working in between. Once read empty, keeping starts anew (the counts stay).
 * Memory grows with what is kept. When there is none, bytes count as dropped: output of a guest is no reason
 * for its agent to fail.
 */
#ifndef BX_BASE_KEEP_H
#define BX_BASE_KEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/mem.h"

struct bx_keep {
    struct bx_buf head;
    size_t head_used; /* bytes that head has taken since it was empty, read ones included */
    uint8_t *ring;    /* the tail: ring_len bytes from ring_at on, wrapping at ring_cap */
    size_t ring_at, ring_len, ring_cap, ring_max;
    uint64_t dropped; /* bytes not kept, ever */
    bool truncated;   /* dropped > 0 */
};

/* head_max, tail_max: as a rule BX_KEEP_HEAD and BX_KEEP_TAIL. */
void bx_keep_init(struct bx_keep *k, size_t head_max, size_t tail_max);
void bx_keep_done(struct bx_keep *k);
#define bx_cleanup_keep BX_CLEANUP(bx_keep_done)

void bx_keep_add(struct bx_keep *k, const void *data, size_t len);

/* Bytes that are kept now. */
size_t bx_keep_len(const struct bx_keep *k);

/* The next piece, valid until the next add or consume; its length, 0 when nothing is left. */
size_t bx_keep_peek(const struct bx_keep *k, const uint8_t **ret_data);
/* Drops n bytes of that piece (n <= its length). */
void bx_keep_consume(struct bx_keep *k, size_t n);

#endif
