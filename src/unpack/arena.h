/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena.h - growing regions for the layer index: addresses never move, memory is bounded, the rest goes to a file.
 *
 * A region reserves its address range at once and takes pages as it grows: anonymous ones until the pool's memory
 * limit, then pages of a scratch file (unlinked, given by the caller), which is allocated before it is mapped so that
 * a full disk is an error and not a signal. Things in a region are named by their offset.
 */
#ifndef BX_UNPACK_ARENA_H
#define BX_UNPACK_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct bx_pool {
    uint64_t memory_limit;  /* bytes of anonymous memory over all regions */
    uint64_t scratch_limit; /* bytes of the scratch file */
    int scratch_fd;         /* -1: none, the memory limit is final */
    uint64_t memory_used;
    uint64_t scratch_used;
};

struct bx_arena {
    struct bx_pool *pool;
    uint8_t *base;
    size_t reserved;
    size_t committed;
    size_t used;
};

/* Reserves address space for at most max bytes. Offset 0 is never handed out: it can mean "none". */
int bx_arena_init(struct bx_arena *a, struct bx_pool *pool, size_t max, struct bx_err *err);
void bx_arena_done(struct bx_arena *a);

/* size zeroed bytes at an offset that is a multiple of align (a power of two). BX_ERESOURCE when a limit is reached. */
int bx_arena_alloc(struct bx_arena *a, size_t size, size_t align, size_t *ret_offset, struct bx_err *err);

static inline void *bx_arena_at(const struct bx_arena *a, size_t offset)
{
    return a->base + offset;
}

#endif
