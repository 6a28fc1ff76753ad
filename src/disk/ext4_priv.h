/* SPDX-License-Identifier: Apache-2.0 */
/* ext4_priv.h - what the files of the ext4 writer share; see ext4.c for how they work together. */
#ifndef BX_DISK_EXT4_PRIV_H
#define BX_DISK_EXT4_PRIV_H

#include <ext2fs/ext2fs.h>

#include "disk/ext4.h"

#define BX_EXT4_INODE_SIZE  256
#define BX_EXT4_EXTRA_ISIZE 32
#define BX_EXT4_STAGE       (1U << 20) /* bytes gathered before they are written */
#define BX_EXT4_WINDOW      (64U << 10) /* of an inode table held in memory */
#define BX_EXT4_HOLE_BLOCKS 8          /* a run of zero blocks this long becomes a hole */

/* The descriptor behind libext2fs's io_channel, and the account of what was written. */
struct bx_ext4_io {
    int fd;
    uint64_t written;
    uint64_t limit; /* 0: none */
    bool limit_hit;
    uint64_t behind_at; /* written since the disk was last told to begin */
    size_t behind_len;
};

struct bx_ext4 {
    struct bx_ext4_options opt;
    ext2_filsys fs;
    struct bx_ext4_io io;
    uint64_t blocks;
    bool full;

    /* allocation: [cursor, run_end) is free; everything above run_end is not yet looked at */
    uint64_t cursor;
    uint64_t run_end;
    uint64_t released; /* blocks given back behind the cursor since it last wrapped */
    bool any_released;

    /* staging: stage_len bytes that belong at block stage_block */
    uint8_t *stage;
    uint64_t stage_block;
    size_t stage_len;

    /* the file being written */
    struct bx_ext4_extent *extents;
    size_t n_extents;
    size_t cap_extents;
    uint64_t pos;       /* bytes taken so far */
    uint64_t zero_run;  /* whole zero blocks before the current one, not yet given a place */
    uint8_t part[BX_EXT4_BLOCK]; /* the last block, not yet full: pos % BX_EXT4_BLOCK bytes of it */

    /* the window of the inode table */
    uint8_t *window;
    uint64_t window_block; /* 0: none */
    size_t window_len;
    uint32_t last_ino;
    uint32_t *group_dirs; /* directories in each group */
};

/* ext4_io.c */
extern struct struct_io_manager bx_ext4_io_manager;
/* The io that the next ext2fs_initialize (in this thread) shall open. */
extern _Thread_local struct bx_ext4_io *bx_ext4_io_next;
int bx_ext4_io_write(struct bx_ext4_io *io, const void *data, size_t len, uint64_t offset); /* 0 or -errno */
int bx_ext4_io_punch(struct bx_ext4_io *io, uint64_t offset, uint64_t len);                /* 0 or -errno */

/* ext4.c: failures of libext2fs and of the descriptor, in words. */
int bx_ext4_fail(struct bx_ext4 *w, errcode_t code, struct bx_err *err, const char *what);
int bx_ext4_fail_sys(struct bx_ext4 *w, int r, struct bx_err *err, const char *what);

/* ext4_data.c */
/* Up to want free blocks in one piece, marked as used. */
int bx_ext4_alloc(struct bx_ext4 *w, uint64_t want, uint64_t *ret_block, uint64_t *ret_n, struct bx_err *err);
/* Memory for block `block`, to be filled before the next call here; it is written in its turn. */
int bx_ext4_stage(struct bx_ext4 *w, uint64_t block, uint8_t **ret, struct bx_err *err);
int bx_ext4_stage_flush(struct bx_ext4 *w, struct bx_err *err);
/* Gives n blocks at the end of the current file a place and this content (NULL: zeros), without looking for holes. */
int bx_ext4_append_blocks(struct bx_ext4 *w, const uint8_t *data, uint64_t n, struct bx_err *err);
/* Gives n blocks at the end of the current file a place and writes nothing there. */
int bx_ext4_append_unwritten(struct bx_ext4 *w, uint64_t n, struct bx_err *err);

/* ext4_inode.c: completes and stores an inode; the extents of its data go into it. */
struct bx_ext4_content {
    uint64_t size;
    uint32_t flags;
    const struct bx_ext4_extent *extents; /* with EXT4_EXTENTS_FL */
    size_t n_extents;
    const void *inline_data; /* else these bytes into i_block: fast symlink, device number */
    size_t inline_len;
};
int bx_ext4_put_inode(struct bx_ext4 *w, uint32_t ino, const struct bx_ext4_attr *attr,
                      const struct bx_ext4_content *content, struct bx_err *err);
int bx_ext4_window_flush(struct bx_ext4 *w, struct bx_err *err);

/* ext4_xattr.c: fills the tail of the inode, and block (BX_EXT4_BLOCK bytes, zero) when it is needed. */
int bx_ext4_xattr_layout(const struct bx_ext4_xattr *xattrs, size_t n, uint8_t *inode, uint8_t *block,
                         bool *ret_block_used, struct bx_err *err);

#endif
