/* SPDX-License-Identifier: Apache-2.0 */
/* arena.c - see arena.h. */
#include "unpack/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "base/mem.h"

#define MEMORY_CHUNK  (1ULL << 20)
#define SCRATCH_CHUNK (16ULL << 20) /* large: each is a mapping of its own */

int bx_arena_init(struct bx_arena *a, struct bx_pool *pool, size_t max, struct bx_err *err)
{
    size_t reserved = BX_ALIGN_UP(max, (size_t)SCRATCH_CHUNK) + SCRATCH_CHUNK;
    void *base = mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return bx_fail(err, BX_ERESOURCE, errno, "address space for the layer index");
    *a = (struct bx_arena){ .pool = pool, .base = base, .reserved = reserved, .used = 16 };
    return 0;
}

void bx_arena_done(struct bx_arena *a)
{
    if (a->base)
        munmap(a->base, a->reserved);
    memset(a, 0, sizeof(*a));
}

static int allocate_scratch(struct bx_pool *p, struct bx_err *err)
{
    static const uint8_t zeros[65536];
    if (fallocate(p->scratch_fd, 0, (off_t)p->scratch_used, (off_t)SCRATCH_CHUNK) == 0)
        return 0;
    int e = errno;
    for (uint64_t at = 0; e == EOPNOTSUPP && at < SCRATCH_CHUNK; at += sizeof(zeros)) {
        int r = bx_pwrite_full(p->scratch_fd, zeros, sizeof(zeros), (off_t)(p->scratch_used + at));
        if (r < 0)
            e = -r;
    }
    return e == EOPNOTSUPP ? 0 : bx_fail(err, BX_ESTORAGE, e, "scratch file of the layer index");
}

static int grow(struct bx_arena *a, struct bx_err *err)
{
    struct bx_pool *p = a->pool;
    uint8_t *at = a->base + a->committed;
    if (p->memory_used + MEMORY_CHUNK <= p->memory_limit) {
        if (mprotect(at, MEMORY_CHUNK, PROT_READ | PROT_WRITE) < 0)
            return bx_fail(err, BX_ERESOURCE, errno, "memory for the layer index");
        p->memory_used += MEMORY_CHUNK;
        a->committed += MEMORY_CHUNK;
        return 0;
    }
    if (p->scratch_fd < 0 || p->scratch_used + SCRATCH_CHUNK > p->scratch_limit)
        return bx_fail(err, BX_ERESOURCE, 0, "the image has more file names than fit into %llu MiB of memory and disk",
                       (unsigned long long)((p->memory_limit + p->scratch_limit) >> 20));
    int r = allocate_scratch(p, err);
    if (r < 0)
        return r;
    if (mmap(at, SCRATCH_CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, p->scratch_fd,
             (off_t)p->scratch_used) == MAP_FAILED)
        return bx_fail(err, BX_ERESOURCE, errno, "map the scratch file of the layer index");
    p->scratch_used += SCRATCH_CHUNK;
    a->committed += SCRATCH_CHUNK;
    return 0;
}

int bx_arena_alloc(struct bx_arena *a, size_t size, size_t align, size_t *ret_offset, struct bx_err *err)
{
    size_t offset = BX_ALIGN_UP(a->used, align);
    if (size > a->reserved || offset + size > a->reserved - SCRATCH_CHUNK)
        return bx_fail(err, BX_ERESOURCE, 0, "the image's file names and attributes exceed %llu MiB",
                       (a->reserved - SCRATCH_CHUNK) >> 20);
    while (offset + size > a->committed) {
        int r = grow(a, err);
        if (r < 0)
            return r;
    }
    a->used = offset + size;
    *ret_offset = offset;
    return 0;
}
