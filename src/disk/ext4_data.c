/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ext4_data.c - places and writes data: one cursor runs through the free blocks, a stage gathers what is contiguous.
 *
 * Files come one after the other and are laid down one after the other, so that small files cost no system call and
 * large ones get extents as long as ext4 allows. Blocks that are given back stay behind the cursor; it returns to
 * them only when it has reached the end.
 */
#include "disk/ext4_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define EXTENT_MAX   32768U        /* blocks: EXT_INIT_MAX_LEN */
#define DIRECT_BYTES (256U << 10)  /* this much in one piece is written without being copied */

static int find_run(struct bx_ext4 *w, struct bx_err *err)
{
    blk64_t start = 0, end = 0;
    for (;;) {
        errcode_t e = w->cursor >= w->blocks
                          ? ENOENT
                          : ext2fs_find_first_zero_block_bitmap2(w->fs->block_map, w->cursor, w->blocks - 1, &start);
        if (!e)
            break;
        if (e != ENOENT)
            return bx_ext4_fail(w, e, err, "look for free blocks");
        if (!w->released) {
            w->full = true;
            return bx_fail(err, BX_ERESOURCE, 0, "the file system of %llu bytes is full",
                           (unsigned long long)w->opt.size);
        }
        w->released = 0;
        w->cursor = 1;
    }
    errcode_t e = ext2fs_find_first_set_block_bitmap2(w->fs->block_map, start, w->blocks - 1, &end);
    if (e && e != ENOENT)
        return bx_ext4_fail(w, e, err, "look for free blocks");
    w->cursor = start;
    w->run_end = e == ENOENT ? w->blocks : end;
    return 0;
}

int bx_ext4_alloc(struct bx_ext4 *w, uint64_t want, uint64_t *ret_block, uint64_t *ret_n, struct bx_err *err)
{
    if (w->cursor == w->run_end) {
        int r = find_run(w, err);
        if (r < 0)
            return r;
    }
    uint64_t n = BX_MIN(want, w->run_end - w->cursor);
    ext2fs_mark_block_bitmap_range2(w->fs->block_map, w->cursor, (unsigned)n);
    *ret_block = w->cursor;
    *ret_n = n;
    w->cursor += n;
    return 0;
}

int bx_ext4_stage_flush(struct bx_ext4 *w, struct bx_err *err)
{
    if (w->stage_len == 0)
        return 0;
    int r = bx_ext4_io_write(&w->io, w->stage, w->stage_len, w->stage_block * BX_EXT4_BLOCK);
    w->stage_len = 0;
    return r < 0 ? bx_ext4_fail_sys(w, r, err, "write to the disk image") : 0;
}

int bx_ext4_stage(struct bx_ext4 *w, uint64_t block, uint8_t **ret, struct bx_err *err)
{
    if (w->stage_len == BX_EXT4_STAGE || w->stage_block + w->stage_len / BX_EXT4_BLOCK != block) {
        int r = bx_ext4_stage_flush(w, err);
        if (r < 0)
            return r;
        w->stage_block = block;
    }
    *ret = w->stage + w->stage_len;
    w->stage_len += BX_EXT4_BLOCK;
    return 0;
}

/* n blocks of content at `block`: through the stage, or at once when they are many. */
static int put_blocks(struct bx_ext4 *w, uint64_t block, const uint8_t *data, uint64_t n, struct bx_err *err)
{
    int r;
    if (data && n * BX_EXT4_BLOCK >= DIRECT_BYTES) {
        r = bx_ext4_stage_flush(w, err);
        if (r < 0)
            return r;
        r = bx_ext4_io_write(&w->io, data, n * BX_EXT4_BLOCK, block * BX_EXT4_BLOCK);
        return r < 0 ? bx_ext4_fail_sys(w, r, err, "write to the disk image") : 0;
    }
    for (uint64_t i = 0; i < n; i++) {
        uint8_t *p = NULL;
        r = bx_ext4_stage(w, block + i, &p, err);
        if (r < 0)
            return r;
        if (data)
            memcpy(p, data + i * BX_EXT4_BLOCK, BX_EXT4_BLOCK);
        else
            memset(p, 0, BX_EXT4_BLOCK);
    }
    return 0;
}

/* The file's next blocks, from `logical` on, lie at block. */
static int add_extent(struct bx_ext4 *w, uint32_t logical, uint64_t block, uint64_t n, struct bx_err *err)
{
    while (n > 0) {
        struct bx_ext4_extent *last = w->n_extents ? &w->extents[w->n_extents - 1] : NULL;
        if (last && last->logical + last->count == logical && last->physical + last->count == block &&
            last->count < EXTENT_MAX) {
            uint32_t take = (uint32_t)BX_MIN(n, (uint64_t)(EXTENT_MAX - last->count));
            last->count += take;
            logical += take;
            block += take;
            n -= take;
            continue;
        }
        if (!w->extents || w->n_extents == w->cap_extents) {
            size_t cap = w->cap_extents ? w->cap_extents * 2 : 64;
            struct bx_ext4_extent *grown = reallocarray(w->extents, cap, sizeof(*grown));
            if (!grown)
                return bx_fail(err, BX_ERESOURCE, ENOMEM, "list of a file's extents");
            w->extents = grown;
            w->cap_extents = cap;
        }
        w->extents[w->n_extents++] =
            (struct bx_ext4_extent){ .logical = logical, .count = 0, .physical = (uint32_t)block };
    }
    return 0;
}

/* `logical` is the first block's number in the file. */
static int append_at(struct bx_ext4 *w, uint64_t logical, const uint8_t *data, uint64_t n, struct bx_err *err)
{
    while (n > 0) {
        uint64_t block = 0, got = 0;
        int r = bx_ext4_alloc(w, n, &block, &got, err);
        if (r >= 0)
            r = add_extent(w, (uint32_t)logical, block, got, err);
        if (r >= 0)
            r = put_blocks(w, block, data, got, err);
        if (r < 0)
            return r;
        logical += got;
        n -= got;
        if (data)
            data += got * BX_EXT4_BLOCK;
    }
    return 0;
}

int bx_ext4_append_blocks(struct bx_ext4 *w, const uint8_t *data, uint64_t n, struct bx_err *err)
{
    int r = append_at(w, w->pos / BX_EXT4_BLOCK, data, n, err);
    w->pos += n * BX_EXT4_BLOCK;
    return r;
}

int bx_ext4_append_unwritten(struct bx_ext4 *w, uint64_t n, struct bx_err *err)
{
    while (n > 0) {
        uint64_t block = 0, got = 0;
        int r = bx_ext4_alloc(w, n, &block, &got, err);
        if (r >= 0)
            r = add_extent(w, (uint32_t)(w->pos / BX_EXT4_BLOCK), block, got, err);
        if (r < 0)
            return r;
        w->pos += got * BX_EXT4_BLOCK;
        n -= got;
    }
    return 0;
}

static bool is_zero(const uint8_t *p, size_t len)
{
    return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

/* Whole blocks, the first of which is number `logical` of the file; finds the holes among them. */
static int take_blocks(struct bx_ext4 *w, uint64_t logical, const uint8_t *data, uint64_t n, struct bx_err *err)
{
    uint64_t i = 0;
    while (i < n) {
        while (i < n && is_zero(data + i * BX_EXT4_BLOCK, BX_EXT4_BLOCK)) {
            w->zero_run++;
            i++;
        }
        uint64_t first = i;
        while (i < n && !is_zero(data + i * BX_EXT4_BLOCK, BX_EXT4_BLOCK))
            i++;
        if (i == first)
            break;
        int r = 0;
        if (w->zero_run > 0 && w->zero_run < BX_EXT4_HOLE_BLOCKS)
            r = append_at(w, logical + first - w->zero_run, NULL, w->zero_run, err);
        w->zero_run = 0;
        if (r >= 0)
            r = append_at(w, logical + first, data + first * BX_EXT4_BLOCK, i - first, err);
        if (r < 0)
            return r;
    }
    return 0;
}

void bx_ext4_file_begin(struct bx_ext4 *w)
{
    w->n_extents = 0;
    w->pos = 0;
    w->zero_run = 0;
}

/* Moves on by less than what is missing to the end of the current block, or to it. data NULL: zeros. */
static int fill_part(struct bx_ext4 *w, const uint8_t *data, size_t len, struct bx_err *err)
{
    size_t have = w->pos % BX_EXT4_BLOCK;
    if (data)
        memcpy(w->part + have, data, len);
    else
        memset(w->part + have, 0, len);
    w->pos += len;
    if (have + len < BX_EXT4_BLOCK)
        return 0;
    return take_blocks(w, w->pos / BX_EXT4_BLOCK - 1, w->part, 1, err);
}

static int skip_to(struct bx_ext4 *w, uint64_t offset, struct bx_err *err)
{
    int r = 0;
    size_t have = w->pos % BX_EXT4_BLOCK;
    if (have && offset > w->pos)
        r = fill_part(w, NULL, (size_t)BX_MIN(offset - w->pos, (uint64_t)(BX_EXT4_BLOCK - have)), err);
    if (r < 0 || offset == w->pos)
        return r;
    uint64_t whole = (offset - w->pos) / BX_EXT4_BLOCK;
    w->zero_run += whole;
    w->pos += whole * BX_EXT4_BLOCK;
    return offset > w->pos ? fill_part(w, NULL, (size_t)(offset - w->pos), err) : 0;
}

int bx_ext4_file_write(struct bx_ext4 *w, uint64_t offset, const void *data, size_t len, struct bx_err *err)
{
    const uint8_t *p = data;
    if (offset < w->pos)
        return bx_fail(err, BX_EINVALID, 0, "data of a file goes backwards");
    if (offset > BX_EXT4_FILE_MAX || len > BX_EXT4_FILE_MAX - offset)
        return bx_fail(err, BX_EINVALID, 0, "a file is larger than ext4 can hold (16 TiB)");
    int r = skip_to(w, offset, err);
    while (r >= 0 && len > 0) {
        size_t have = w->pos % BX_EXT4_BLOCK;
        if (have || len < BX_EXT4_BLOCK) {
            size_t n = BX_MIN(len, (size_t)BX_EXT4_BLOCK - have);
            r = fill_part(w, p, n, err);
            p += n;
            len -= n;
            continue;
        }
        uint64_t n = len / BX_EXT4_BLOCK;
        r = take_blocks(w, w->pos / BX_EXT4_BLOCK, p, n, err);
        w->pos += n * BX_EXT4_BLOCK;
        p += n * BX_EXT4_BLOCK;
        len -= n * BX_EXT4_BLOCK;
    }
    return r;
}

int bx_ext4_file_end(struct bx_ext4 *w, const struct bx_ext4_extent **ret_extents, size_t *ret_n,
                     struct bx_err *err)
{
    int r = 0;
    size_t have = w->pos % BX_EXT4_BLOCK;
    if (have)
        r = fill_part(w, NULL, BX_EXT4_BLOCK - have, err);
    if (r >= 0 && w->zero_run > 0 && w->zero_run < BX_EXT4_HOLE_BLOCKS)
        r = append_at(w, w->pos / BX_EXT4_BLOCK - w->zero_run, NULL, w->zero_run, err);
    w->zero_run = 0;
    if (r < 0)
        return r;
    *ret_extents = w->extents;
    *ret_n = w->n_extents;
    return 0;
}

void bx_ext4_release(struct bx_ext4 *w, const struct bx_ext4_extent *extents, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ext2fs_unmark_block_bitmap_range2(w->fs->block_map, extents[i].physical, extents[i].count);
        w->released += extents[i].count;
        w->any_released = true;
    }
}
