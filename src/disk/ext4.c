/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ext4.c - makes a new ext4 file system: layout at the start, bitmaps and descriptors at the end.
 *
 * Theory of operation
 *
 * libext2fs lays out superblocks, descriptors, bitmaps and inode tables, makes the journal, and knows every checksum.
 * What grows with the content is ours, because the library looks things up on disk for each entry (a directory of
 * 100,000 names takes minutes that way) and a hostile layer could make it take hours:
 *
 *  ext4_data.c   blocks in the order in which data comes, gathered and written once
 *  ext4_inode.c  inodes in ascending order through a window over the inode table; extent trees, built bottom-up
 *  ext4_dir.c    directory blocks from a complete list of entries, with the htree index
 *  ext4_xattr.c  extended attributes in the inode and in one block
 *
 * Everything is a function of the options and the calls: the UUID, the hash seed and all times are given. The file is
 * sparse; what nobody wrote is never touched (BG_INODE_ZEROED keeps the guest's kernel from zeroing inode tables).
 * There is no resize_inode and the journal is small: such a file system can be grown online beyond its size cheaply.
 */
#include "disk/ext4_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define FLEX_LOG           4     /* groups of 16: metadata together, 2 GiB of data in between */
#define BYTES_PER_INODE    16384
#define JOURNAL_SMALL      1024U /* blocks */
#define JOURNAL_NORMAL     4096U
#define JOURNAL_NORMAL_MIN (1ULL << 30)

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "on-disk structures are written as they lie in memory");

int bx_ext4_fail(struct bx_ext4 *w, errcode_t code, struct bx_err *err, const char *what)
{
    if (w->io.limit_hit)
        return bx_fail(err, BX_ERESOURCE, ENOSPC, "%s: more than the %llu bytes that may be written", what,
                       (unsigned long long)w->io.limit);
    if (code > 0 && code < 256)
        return bx_fail(err, BX_ESTORAGE, (int)code, "%s", what);
    return bx_fail(err, code == EXT2_ET_BLOCK_ALLOC_FAIL ? BX_ERESOURCE : BX_EINTERNAL, 0, "%s: %s", what,
                   error_message(code));
}

int bx_ext4_fail_sys(struct bx_ext4 *w, int r, struct bx_err *err, const char *what)
{
    return bx_ext4_fail(w, -r, err, what);
}

static void fill_param(struct ext2_super_block *sb, const struct bx_ext4_options *o)
{
    uint64_t blocks = o->size / BX_EXT4_BLOCK;
    uint64_t inodes = o->inodes ? o->inodes : o->size / BYTES_PER_INODE;
    sb->s_rev_level = EXT2_DYNAMIC_REV;
    sb->s_log_block_size = 2;
    sb->s_log_cluster_size = 2;
    ext2fs_blocks_count_set(sb, blocks);
    sb->s_inodes_count = (uint32_t)BX_MAX(inodes, 64ULL);
    sb->s_inode_size = BX_EXT4_INODE_SIZE;
    sb->s_log_groups_per_flex = FLEX_LOG;
    sb->s_max_mnt_count = -1;
    ext2fs_set_feature_dir_index(sb);
    ext2fs_set_feature_xattr(sb);
    ext2fs_set_feature_filetype(sb);
    ext2fs_set_feature_extents(sb);
    ext2fs_set_feature_64bit(sb);
    ext2fs_set_feature_flex_bg(sb);
    ext2fs_set_feature_sparse_super(sb);
    ext2fs_set_feature_large_file(sb);
    ext2fs_set_feature_huge_file(sb);
    ext2fs_set_feature_dir_nlink(sb);
    ext2fs_set_feature_extra_isize(sb);
    ext2fs_set_feature_metadata_csum(sb);
}

static void fill_super(ext2_filsys fs, const struct bx_ext4_options *o)
{
    struct ext2_super_block *sb = fs->super;
    fs->now = o->time > 0 ? o->time : 1; /* 0 would mean the current time */
    memcpy(sb->s_uuid, o->uuid, sizeof(sb->s_uuid));
    memcpy(sb->s_hash_seed, o->uuid, sizeof(sb->s_hash_seed));
    sb->s_checksum_type = EXT2_CRC32C_CHKSUM;
    ext2fs_init_csum_seed(fs);
    sb->s_def_hash_version = EXT2_HASH_HALF_MD4;
    sb->s_flags = (sb->s_flags & ~(uint32_t)EXT2_FLAGS_SIGNED_HASH) | EXT2_FLAGS_UNSIGNED_HASH;
    sb->s_min_extra_isize = BX_EXT4_EXTRA_ISIZE;
    sb->s_want_extra_isize = BX_EXT4_EXTRA_ISIZE;
    sb->s_default_mount_opts = EXT2_DEFM_XATTR_USER | EXT2_DEFM_ACL;
    sb->s_max_mnt_count = -1;
    sb->s_checkinterval = 0;
    sb->s_mkfs_time = (uint32_t)fs->now;
    sb->s_lastcheck = (uint32_t)fs->now;
    sb->s_wtime = (uint32_t)fs->now;
    sb->s_mkfs_time_hi = sb->s_lastcheck_hi = sb->s_wtime_hi = (uint8_t)((uint64_t)fs->now >> 32);
    sb->s_creator_os = EXT2_OS_LINUX;
}

static blk_t journal_blocks(const struct bx_ext4 *w)
{
    return w->opt.size >= JOURNAL_NORMAL_MIN ? JOURNAL_NORMAL : JOURNAL_SMALL;
}

/* libext2fs's own ext2fs_add_journal_inode reads the host's mount table, which this program may not. */
static int make_journal(struct bx_ext4 *w, struct bx_err *err)
{
    struct ext2_super_block *sb = w->fs->super;
    struct ext2fs_journal_params params = {
        .num_journal_blocks = journal_blocks(w),
    };
    struct bx_ext4_time now = { .sec = w->fs->now };
    struct bx_ext4_attr attr = {
        .mode = S_IFREG | 0600,
        .links = 1,
        .atime = now,
        .mtime = now,
        .ctime = now,
        .crtime = now,
    };
    char *jsb = NULL;
    bx_ext4_file_begin(w);
    int r = bx_ext4_append_unwritten(w, params.num_journal_blocks, err);
    if (r < 0)
        return r;
    errcode_t e = ext2fs_create_journal_superblock2(w->fs, &params, 0, &jsb);
    if (e)
        return bx_ext4_fail(w, e, err, "make the journal");
    r = bx_ext4_io_write(&w->io, jsb, BX_EXT4_BLOCK, (uint64_t)w->extents[0].physical * BX_EXT4_BLOCK);
    ext2fs_free_mem(&jsb);
    if (r < 0)
        return bx_ext4_fail_sys(w, r, err, "make the journal");
    r = bx_ext4_put_file(w, EXT2_JOURNAL_INO, &attr, w->pos, w->extents, w->n_extents, err);
    if (r < 0)
        return r;
    const struct ext2_inode_large *in =
        (const void *)(w->window + (EXT2_JOURNAL_INO - 1) * BX_EXT4_INODE_SIZE); /* the window's first inode is 1 */
    sb->s_journal_inum = EXT2_JOURNAL_INO;
    sb->s_jnl_backup_type = EXT3_JNL_BACKUP_BLOCKS;
    memcpy(sb->s_jnl_blocks, in->i_block, sizeof(in->i_block));
    sb->s_jnl_blocks[15] = in->i_size_high;
    sb->s_jnl_blocks[16] = in->i_size;
    ext2fs_set_feature_journal(sb);
    w->last_ino = 0; /* the caller's numbers begin with the root's */
    return 0;
}

static int lay_out(struct bx_ext4 *w, struct bx_err *err)
{
    ext2_filsys fs = w->fs;
    errcode_t e = ext2fs_allocate_tables(fs);
    if (e)
        return bx_ext4_fail(w, e, err, "lay out the file system");
    for (uint32_t ino = 1; ino < EXT2_FIRST_INODE(fs->super); ino++)
        ext2fs_mark_inode_bitmap2(fs->inode_map, ino);
    for (dgrp_t g = 0; g < fs->group_desc_count; g++)
        ext2fs_bg_flags_set(fs, g, EXT2_BG_INODE_ZEROED);

    return make_journal(w, err);
}

static int check_options(const struct bx_ext4_options *o, struct bx_err *err)
{
    if (o->size < BX_EXT4_SIZE_MIN || o->size > BX_EXT4_SIZE_MAX || o->size % BX_EXT4_BLOCK)
        return bx_fail(err, BX_EINVALID, 0,
                       "a file system of %llu bytes: the size must be whole 4 KiB blocks, 16 MiB to 8 TiB",
                       (unsigned long long)o->size);
    if (ftruncate(o->fd, 0) < 0 || ftruncate(o->fd, (off_t)o->size) < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "set the size of the disk image");
    return 0;
}

int bx_ext4_new(const struct bx_ext4_options *options, struct bx_ext4 **ret, struct bx_err *err)
{
    int r = check_options(options, err);
    if (r < 0)
        return r;
    initialize_ext2_error_table();
    struct bx_ext4 *w = calloc(1, sizeof(*w));
    if (!w)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "ext4 writer");
    w->opt = *options;
    w->io = (struct bx_ext4_io){ .fd = options->fd, .limit = options->write_limit };
    w->stage = malloc(BX_EXT4_STAGE);
    w->window = malloc(BX_EXT4_WINDOW);
    if (!w->stage || !w->window) {
        bx_ext4_free(w);
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "ext4 writer");
    }
    struct ext2_super_block param = { 0 };
    fill_param(&param, options);
    bx_ext4_io_next = &w->io;
    /* the library looks at what its name names; the empty one names nothing anywhere */
    errcode_t e = ext2fs_initialize("", EXT2_FLAG_64BITS | EXT2_FLAG_EXCLUSIVE, &param, &bx_ext4_io_manager,
                                    &w->fs);
    bx_ext4_io_next = NULL;
    if (e) {
        r = bx_ext4_fail(w, e, err, "lay out the file system");
    } else {
        fill_super(w->fs, options);
        w->blocks = ext2fs_blocks_count(w->fs->super); /* a last group too small for its own tables is left out */
        w->group_dirs = calloc(w->fs->group_desc_count, sizeof(*w->group_dirs));
        r = w->group_dirs ? lay_out(w, err) : bx_fail(err, BX_ERESOURCE, ENOMEM, "ext4 writer");
    }
    if (r < 0) {
        bx_ext4_free(w);
        return r;
    }
    *ret = w;
    return 0;
}

void bx_ext4_free(struct bx_ext4 *w)
{
    if (!w)
        return;
    if (w->fs)
        ext2fs_free(w->fs);
    free(w->stage);
    free(w->window);
    free(w->extents);
    free(w->group_dirs);
    free(w);
}

bool bx_ext4_is_full(const struct bx_ext4 *w)
{
    return w->full;
}

uint32_t bx_ext4_inodes(const struct bx_ext4 *w)
{
    return w->fs->super->s_inodes_count;
}

uint64_t bx_ext4_bytes_written(const struct bx_ext4 *w)
{
    return w->io.written;
}

/* How many used blocks each group has, into used[]; with punch, free stretches become holes of the file. */
static int count_blocks(struct bx_ext4 *w, uint32_t *used, bool punch, struct bx_err *err)
{
    ext2_filsys fs = w->fs;
    uint32_t per_group = fs->super->s_blocks_per_group;
    blk64_t at = 0;
    while (at < w->blocks) {
        blk64_t first = 0, end = 0;
        if (ext2fs_find_first_set_block_bitmap2(fs->block_map, at, w->blocks - 1, &first))
            first = w->blocks;
        if (punch && first > at) {
            int r = bx_ext4_io_punch(&w->io, at * BX_EXT4_BLOCK, (first - at) * BX_EXT4_BLOCK);
            if (r < 0)
                return bx_ext4_fail_sys(w, r, err, "free what was overwritten in the disk image");
        }
        if (first == w->blocks)
            break;
        if (ext2fs_find_first_zero_block_bitmap2(fs->block_map, first, w->blocks - 1, &end))
            end = w->blocks;
        for (at = first; at < end;) {
            dgrp_t g = (dgrp_t)(at / per_group);
            blk64_t stop = BX_MIN((blk64_t)(g + 1ULL) * per_group, end);
            used[g] += (uint32_t)(stop - at);
            at = stop;
        }
    }
    return 0;
}

static void count_inodes(struct bx_ext4 *w, dgrp_t g, uint64_t *free_inodes)
{
    ext2_filsys fs = w->fs;
    uint32_t per_group = fs->super->s_inodes_per_group;
    ext2_ino_t first = g * per_group + 1, last = first + per_group - 1, at = first;
    uint32_t used = 0;
    while (at <= last) {
        ext2_ino_t start = 0, end = 0;
        if (ext2fs_find_first_set_inode_bitmap2(fs->inode_map, at, last, &start))
            break;
        if (ext2fs_find_first_zero_inode_bitmap2(fs->inode_map, start, last, &end))
            end = last + 1;
        used += end - start;
        at = end;
    }
    ext2fs_bg_free_inodes_count_set(fs, g, per_group - used);
    ext2fs_bg_used_dirs_count_set(fs, g, w->group_dirs[g]);
    *free_inodes += per_group - used;
}

/* What the kernel calls overhead: blocks that no file can ever have. It works the number out at each mount, and where ours differs it
 * writes the right one into every copy of the superblock: a dozen synchronous writes in a box's start. */
static uint32_t overhead(const struct bx_ext4 *w)
{
    ext2_filsys fs = w->fs;
    uint64_t n = fs->super->s_first_data_block + (uint64_t)fs->group_desc_count * (fs->inode_blocks_per_group + 2);
    for (dgrp_t g = 0; g < fs->group_desc_count; g++) {
        if (ext2fs_bg_has_super(fs, g))
            n += 1 + fs->desc_blocks;
    }
    return (uint32_t)(n + journal_blocks(w));
}

static int summarise(struct bx_ext4 *w, struct bx_err *err)
{
    ext2_filsys fs = w->fs;
    uint64_t free_blocks = 0, free_inodes = 0;
    bx_cleanup_free uint32_t *used = calloc(fs->group_desc_count, sizeof(*used));
    if (!used)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "ext4 writer");
    int r = count_blocks(w, used, w->any_released, err);
    if (r < 0)
        return r;
    for (dgrp_t g = 0; g < fs->group_desc_count; g++) {
        uint32_t total = (uint32_t)ext2fs_group_blocks_count(fs, g);
        ext2fs_bg_free_blocks_count_set(fs, g, total - used[g]);
        free_blocks += total - used[g];
        blk64_t super = 0, old = 0, new_ = 0;
        blk_t n = 0;
        ext2fs_super_and_bgd_loc2(fs, g, &super, &old, &new_, &n);
        uint32_t backup = (super || g == 0 ? 1 : 0) + n;
        if (used[g] > backup) /* more than the kernel can know of without a bitmap */
            ext2fs_bg_flags_clear(fs, g, EXT2_BG_BLOCK_UNINIT);
        count_inodes(w, g, &free_inodes);
    }
    ext2fs_free_blocks_count_set(fs->super, free_blocks);
    fs->super->s_free_inodes_count = (uint32_t)free_inodes;
    fs->super->s_overhead_clusters = overhead(w);
    return 0;
}

int bx_ext4_finish(struct bx_ext4 *w, struct bx_err *err)
{
    int r = bx_ext4_stage_flush(w, err);
    if (r >= 0)
        r = bx_ext4_window_flush(w, err);
    if (r >= 0)
        r = summarise(w, err);
    if (r < 0)
        return r;
    ext2fs_mark_bb_dirty(w->fs);
    ext2fs_mark_ib_dirty(w->fs);
    ext2fs_mark_super_dirty(w->fs);
    errcode_t e = ext2fs_set_gdt_csum(w->fs);
    if (!e)
        e = ext2fs_write_bitmaps(w->fs);
    if (!e)
        e = ext2fs_close2(w->fs, EXT2_FLAG_FLUSH_NO_SYNC);
    if (e)
        return bx_ext4_fail(w, e, err, "finish the disk image");
    w->fs = NULL;
    return 0;
}
