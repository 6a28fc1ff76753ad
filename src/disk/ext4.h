/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ext4.h - writes a new ext4 file system into a descriptor, without mounting and without a path.
 *
 * Two phases. First file data, in whatever order it comes: bx_ext4_file_begin, _write, _end gives the extents, which
 * the caller keeps (bx_ext4_release gives up those of a file that did not survive). Then, when the whole tree is known,
 * inodes in ascending order of number: bx_ext4_put_*; each directory is written once, with an index (htree) when it
 * is large. bx_ext4_finish writes bitmaps and descriptors. Same calls, same options: same bytes.
 *
 * The caller numbers inodes: 2 is the root, 11 is lost+found (the caller gives it like any other directory), others
 * start at BX_EXT4_FIRST_INO. Link counts are the caller's too.
 */
#ifndef BX_DISK_EXT4_H
#define BX_DISK_EXT4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define BX_EXT4_BLOCK        4096
#define BX_EXT4_ROOT_INO     2
#define BX_EXT4_LOST_INO     11
#define BX_EXT4_FIRST_INO    12
#define BX_EXT4_SIZE_MIN     (16ULL << 20)
#define BX_EXT4_SIZE_MAX     (8ULL << 40)
#define BX_EXT4_FILE_MAX     ((1ULL << 44) - BX_EXT4_BLOCK) /* 32-bit block numbers within a file */
#define BX_EXT4_SYMLINK_MAX  4095
#define BX_EXT4_LINK_MAX     65000
#define BX_EXT4_TIME_MIN     (-(1LL << 31))
#define BX_EXT4_TIME_MAX     ((1LL << 34) - (1LL << 31) - 1)

struct bx_ext4;

struct bx_ext4_options {
    int fd;               /* an empty regular file, open for reading and writing; stays the caller's */
    uint64_t size;        /* of the file system and of the file; sparse */
    uint32_t inodes;      /* at least this many; 0: one per 16 KiB */
    uint8_t uuid[16];     /* also the hash seed of directories */
    int64_t time;         /* of creation, in the superblock */
    uint64_t write_limit; /* most bytes that may be written into fd; 0: no limit */
};

/* count blocks, from block `logical` of the file on, lie at `physical`. */
struct bx_ext4_extent {
    uint32_t logical;
    uint32_t count;
    uint32_t physical;
};

struct bx_ext4_xattr {
    const char *name; /* whole: "user.x", "security.capability" */
    size_t name_len;
    const void *value;
    size_t value_len;
};

struct bx_ext4_time {
    int64_t sec; /* clamped to what ext4 holds: 1901 to 2446 */
    uint32_t nsec;
};

struct bx_ext4_attr {
    uint16_t mode; /* with the type: S_IFREG | 04755 */
    uint32_t uid;
    uint32_t gid;
    uint32_t links;
    struct bx_ext4_time atime;
    struct bx_ext4_time mtime;
    struct bx_ext4_time ctime;
    struct bx_ext4_time crtime;
    const struct bx_ext4_xattr *xattrs;
    size_t n_xattrs;
};

struct bx_ext4_dirent {
    const char *name; /* not terminated; 1 to 255 bytes, without '/' and NUL; not "." or ".." */
    uint8_t name_len;
    uint32_t ino;
    uint16_t mode; /* for the type */
};

/* BX_ERESOURCE when the file system itself is full or write_limit is reached; BX_ESTORAGE for the host's disk. */
int bx_ext4_new(const struct bx_ext4_options *options, struct bx_ext4 **ret, struct bx_err *err);
/* Drops the writer; without bx_ext4_finish the file is garbage. */
void bx_ext4_free(struct bx_ext4 *w);

/* Whether the last BX_ERESOURCE means that the file system has too few blocks: a larger `size` helps. */
bool bx_ext4_is_full(const struct bx_ext4 *w);
uint32_t bx_ext4_inodes(const struct bx_ext4 *w);
uint64_t bx_ext4_bytes_written(const struct bx_ext4 *w);

/* One file's data at a time. Offsets never go back; what is skipped, and long runs of zeros, become holes. */
void bx_ext4_file_begin(struct bx_ext4 *w);
int bx_ext4_file_write(struct bx_ext4 *w, uint64_t offset, const void *data, size_t len, struct bx_err *err);
/* The extents belong to the writer until the next _begin. */
int bx_ext4_file_end(struct bx_ext4 *w, const struct bx_ext4_extent **ret_extents, size_t *ret_n,
                     struct bx_err *err);
/* Gives up data: its blocks are free in the finished file system and a hole in the file. */
void bx_ext4_release(struct bx_ext4 *w, const struct bx_ext4_extent *extents, size_t n);

/* Extended attributes: 0, or the reason why ext4 cannot hold this set. Names in a namespace that Linux does not
 * know must not be given (bx_ext4_xattr_known). */
bool bx_ext4_xattr_known(const char *name, size_t name_len);
int bx_ext4_xattr_check(const struct bx_ext4_xattr *xattrs, size_t n, struct bx_err *err);

/* Inodes, numbers ascending. */
int bx_ext4_put_file(struct bx_ext4 *w, uint32_t ino, const struct bx_ext4_attr *attr, uint64_t size,
                     const struct bx_ext4_extent *extents, size_t n, struct bx_err *err);
int bx_ext4_put_dir(struct bx_ext4 *w, uint32_t ino, uint32_t parent_ino, const struct bx_ext4_attr *attr,
                    const struct bx_ext4_dirent *entries, size_t n, struct bx_err *err);
int bx_ext4_put_symlink(struct bx_ext4 *w, uint32_t ino, const struct bx_ext4_attr *attr, const char *target,
                        size_t len, struct bx_err *err);
/* Character and block devices, fifos, sockets. */
int bx_ext4_put_special(struct bx_ext4 *w, uint32_t ino, const struct bx_ext4_attr *attr, uint32_t major,
                        uint32_t minor, struct bx_err *err);

/* Writes what is buffered, bitmaps, descriptors and superblocks, and frees what was released. Does not fsync. */
int bx_ext4_finish(struct bx_ext4 *w, struct bx_err *err);

#endif
