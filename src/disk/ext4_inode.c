/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ext4_inode.c - fills inodes and writes them in ascending order through a window over the inode table.
 *
 * A file with more than four extents gets an extent tree. All of its extents are known, so the tree is built from the
 * leaves upwards, each block written once and full.
 */
#include "disk/ext4_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"

#define NODE_ENTRIES ((BX_EXT4_BLOCK - sizeof(struct ext3_extent_header) - 4) / sizeof(struct ext3_extent))
#define ROOT_ENTRIES 4

_Static_assert(sizeof(struct ext3_extent) == sizeof(struct ext3_extent_idx), "nodes of a tree look alike");

int bx_ext4_window_flush(struct bx_ext4 *w, struct bx_err *err)
{
    if (w->window_block == 0)
        return 0;
    int r = bx_ext4_io_write(&w->io, w->window, w->window_len, w->window_block * BX_EXT4_BLOCK);
    w->window_block = 0;
    return r < 0 ? bx_ext4_fail_sys(w, r, err, "write inodes") : 0;
}

/* The place of inode ino in the window, which is moved when needed. */
static int window_slot(struct bx_ext4 *w, uint32_t ino, uint8_t **ret, struct bx_err *err)
{
    ext2_filsys fs = w->fs;
    uint32_t per_group = fs->super->s_inodes_per_group;
    dgrp_t group = (ino - 1) / per_group;
    uint64_t offset = (uint64_t)((ino - 1) % per_group) * BX_EXT4_INODE_SIZE;
    uint64_t chunk = offset / BX_EXT4_WINDOW * BX_EXT4_WINDOW;
    uint64_t block = ext2fs_inode_table_loc(fs, group) + chunk / BX_EXT4_BLOCK;
    if (w->window_block != block) {
        int r = bx_ext4_window_flush(w, err);
        if (r < 0)
            return r;
        uint64_t table = (uint64_t)fs->inode_blocks_per_group * BX_EXT4_BLOCK;
        size_t len = (size_t)BX_MIN((uint64_t)BX_EXT4_WINDOW, table - chunk);
        errcode_t e = io_channel_read_blk64(fs->io, block, -(int)len, w->window);
        if (e)
            return bx_ext4_fail(w, e, err, "read inodes");
        w->window_block = block;
        w->window_len = len;
    }
    *ret = w->window + (offset - chunk);
    return 0;
}

static void put_time(const struct bx_ext4_time *t, uint32_t *ret_sec, uint32_t *ret_extra)
{
    int64_t sec = BX_MAX(BX_MIN(t->sec, (int64_t)BX_EXT4_TIME_MAX), (int64_t)BX_EXT4_TIME_MIN);
    uint32_t nsec = sec == t->sec ? t->nsec : sec < 0 ? 0 : 999999999;
    *ret_sec = (uint32_t)sec;
    /* the epoch counts how often the signed 32-bit seconds have wrapped */
    uint32_t epoch = (uint32_t)((sec - (int32_t)(uint32_t)sec) >> 32) & 3;
    *ret_extra = (nsec % 1000000000U) << 2 | epoch;
}

static void fill_header(struct ext3_extent_header *eh, size_t entries, size_t max, unsigned depth)
{
    *eh = (struct ext3_extent_header){
        .eh_magic = EXT3_EXT_MAGIC,
        .eh_entries = (uint16_t)entries,
        .eh_max = (uint16_t)max,
        .eh_depth = (uint16_t)depth,
    };
}

/* Writes n entries of one level into blocks and leaves in their place the entries of the level above. */
static int write_level(struct bx_ext4 *w, uint32_t ino, struct ext3_extent *entries, size_t *n, unsigned depth,
                       struct bx_err *err)
{
    size_t above = 0;
    for (size_t from = 0; from < *n; from += NODE_ENTRIES) {
        size_t count = BX_MIN(*n - from, NODE_ENTRIES);
        uint64_t block = 0, got = 0;
        uint8_t *p = NULL;
        int r = bx_ext4_alloc(w, 1, &block, &got, err);
        if (r >= 0)
            r = bx_ext4_stage(w, block, &p, err);
        if (r < 0)
            return r;
        memset(p, 0, BX_EXT4_BLOCK);
        fill_header((void *)p, count, NODE_ENTRIES, depth);
        memcpy(p + sizeof(struct ext3_extent_header), entries + from, count * sizeof(*entries));
        ext2fs_extent_block_csum_set(w->fs, ino, (void *)p);
        struct ext3_extent_idx idx = {
            .ei_block = entries[from].ee_block,
            .ei_leaf = (uint32_t)block,
            .ei_leaf_hi = (uint16_t)(block >> 32),
        };
        memcpy(&entries[above++], &idx, sizeof(idx));
    }
    *n = above;
    return 0;
}

/* The root of the extent tree into i_block; *blocks grows by the blocks of data and of the tree. */
static int put_extents(struct bx_ext4 *w, uint32_t ino, const struct bx_ext4_content *c, void *i_block,
                       uint64_t *blocks, struct bx_err *err)
{
    size_t n = c->n_extents;
    bx_cleanup_free struct ext3_extent *entries = calloc(n ? n : 1, sizeof(*entries));
    if (!entries)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "extents of a file");
    for (size_t i = 0; i < n; i++) {
        entries[i].ee_block = c->extents[i].logical;
        entries[i].ee_len = (uint16_t)c->extents[i].count;
        entries[i].ee_start = c->extents[i].physical;
        *blocks += c->extents[i].count;
    }
    unsigned depth = 0;
    while (n > ROOT_ENTRIES) {
        int r = write_level(w, ino, entries, &n, depth, err);
        if (r < 0)
            return r;
        *blocks += n;
        depth++;
    }
    fill_header(i_block, n, ROOT_ENTRIES, depth);
    memcpy((uint8_t *)i_block + sizeof(struct ext3_extent_header), entries, n * sizeof(*entries));
    return 0;
}

static void fill_attr(struct ext2_inode_large *in, const struct bx_ext4_attr *a)
{
    in->i_mode = a->mode;
    in->i_uid = (uint16_t)a->uid;
    in->i_gid = (uint16_t)a->gid;
    in->osd2.linux2.l_i_uid_high = (uint16_t)(a->uid >> 16);
    in->osd2.linux2.l_i_gid_high = (uint16_t)(a->gid >> 16);
    in->i_links_count = (uint16_t)(a->links > BX_EXT4_LINK_MAX ? 1 : a->links); /* dir_nlink: 1 is "many" */
    in->i_extra_isize = BX_EXT4_EXTRA_ISIZE;
    put_time(&a->atime, &in->i_atime, &in->i_atime_extra);
    put_time(&a->mtime, &in->i_mtime, &in->i_mtime_extra);
    put_time(&a->ctime, &in->i_ctime, &in->i_ctime_extra);
    put_time(&a->crtime, &in->i_crtime, &in->i_crtime_extra);
}

/* Attributes that do not fit into the inode go to a block of their own. */
static int put_xattrs(struct bx_ext4 *w, uint32_t ino, const struct bx_ext4_attr *attr, uint8_t *raw,
                      uint64_t *blocks, struct bx_err *err)
{
    struct ext2_inode_large *in = (void *)raw;
    uint8_t buf[BX_EXT4_BLOCK] __attribute__((aligned(8))) = { 0 };
    bool used = false;
    int r = bx_ext4_xattr_layout(attr->xattrs, attr->n_xattrs, raw, buf, &used, err);
    if (r < 0 || !used)
        return r;
    uint64_t block = 0, got = 0;
    uint8_t *p = NULL;
    r = bx_ext4_alloc(w, 1, &block, &got, err);
    if (r < 0)
        return r;
    ext2fs_ext_attr_block_csum_set(w->fs, ino, block, (void *)buf);
    r = bx_ext4_stage(w, block, &p, err);
    if (r < 0)
        return r;
    memcpy(p, buf, sizeof(buf));
    in->i_file_acl = (uint32_t)block;
    in->osd2.linux2.l_i_file_acl_high = (uint16_t)(block >> 32);
    *blocks += 1;
    return 0;
}

int bx_ext4_put_inode(struct bx_ext4 *w, uint32_t ino, const struct bx_ext4_attr *attr,
                      const struct bx_ext4_content *c, struct bx_err *err)
{
    if (ino <= w->last_ino || ino > w->fs->super->s_inodes_count)
        return bx_fail(err, BX_EINTERNAL, 0, "inode %u out of order or range", ino);
    uint8_t raw[BX_EXT4_INODE_SIZE] __attribute__((aligned(8))) = { 0 };
    struct ext2_inode_large *in = (void *)raw;
    uint64_t blocks = 0;
    int r = 0;

    fill_attr(in, attr);
    in->i_flags = c->flags;
    in->i_size = (uint32_t)c->size;
    in->i_size_high = (uint32_t)(c->size >> 32);
    if (c->flags & EXT4_EXTENTS_FL)
        r = put_extents(w, ino, c, in->i_block, &blocks, err);
    else if (c->inline_len)
        memcpy(in->i_block, c->inline_data, c->inline_len);
    if (r >= 0 && attr->n_xattrs)
        r = put_xattrs(w, ino, attr, raw, &blocks, err);
    if (r < 0)
        return r;
    blocks *= BX_EXT4_BLOCK / 512;
    in->i_blocks = (uint32_t)blocks;
    in->osd2.linux2.l_i_blocks_hi = (uint16_t)(blocks >> 32);

    uint8_t *slot = NULL;
    r = window_slot(w, ino, &slot, err);
    if (r < 0)
        return r;
    bx_assert(slot);
    ext2fs_inode_csum_set(w->fs, ino, in);
    memcpy(slot, raw, sizeof(raw));
    w->last_ino = ino;
    ext2fs_mark_inode_bitmap2(w->fs->inode_map, ino);
    if (S_ISDIR(attr->mode))
        w->group_dirs[(ino - 1) / w->fs->super->s_inodes_per_group]++;
    return 0;
}

int bx_ext4_put_file(struct bx_ext4 *w, uint32_t ino, const struct bx_ext4_attr *attr, uint64_t size,
                     const struct bx_ext4_extent *extents, size_t n, struct bx_err *err)
{
    struct bx_ext4_content c = {
        .size = size,
        .flags = EXT4_EXTENTS_FL,
        .extents = extents,
        .n_extents = n,
    };
    return bx_ext4_put_inode(w, ino, attr, &c, err);
}

int bx_ext4_put_symlink(struct bx_ext4 *w, uint32_t ino, const struct bx_ext4_attr *attr, const char *target,
                        size_t len, struct bx_err *err)
{
    struct bx_ext4_content c = { .size = len };
    if (len == 0 || len > BX_EXT4_SYMLINK_MAX)
        return bx_fail(err, BX_EINVALID, 0, "a symbolic link's target has %zu bytes; 1 to %d are possible", len,
                       BX_EXT4_SYMLINK_MAX);
    if (len < sizeof(((struct ext2_inode_large *)0)->i_block)) {
        c.inline_data = target;
        c.inline_len = len;
        return bx_ext4_put_inode(w, ino, attr, &c, err);
    }
    uint8_t block[BX_EXT4_BLOCK] = { 0 };
    memcpy(block, target, len);
    bx_ext4_file_begin(w);
    int r = bx_ext4_append_blocks(w, block, 1, err);
    if (r < 0)
        return r;
    c.flags = EXT4_EXTENTS_FL;
    c.extents = w->extents;
    c.n_extents = w->n_extents;
    return bx_ext4_put_inode(w, ino, attr, &c, err);
}

int bx_ext4_put_special(struct bx_ext4 *w, uint32_t ino, const struct bx_ext4_attr *attr, uint32_t major,
                        uint32_t minor, struct bx_err *err)
{
    uint32_t dev[2] = { 0, 0 };
    if (S_ISCHR(attr->mode) || S_ISBLK(attr->mode)) {
        if (major > 0xfff || minor > 0xfffff)
            return bx_fail(err, BX_EINVALID, 0, "device number %u:%u is larger than Linux has", major, minor);
        if (major < 256 && minor < 256) /* the kernel's old_encode_dev, else new_encode_dev */
            dev[0] = major << 8 | minor;
        else
            dev[1] = (minor & 0xff) | major << 8 | (minor & ~0xffU) << 12;
    }
    struct bx_ext4_content c = { .inline_data = dev, .inline_len = sizeof(dev) };
    return bx_ext4_put_inode(w, ino, attr, &c, err);
}
