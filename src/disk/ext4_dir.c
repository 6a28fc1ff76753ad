/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ext4_dir.c - writes one directory's blocks from the complete list of its entries.
 *
 * Theory of operation
 *
 * Up to LINEAR_BLOCKS blocks a directory is a plain list, in the order given. Beyond, it gets ext4's hash index (htree):
 *
 *   block 0        "." and "..", then the root of the index: (lowest hash, block) pairs
 *   blocks 1..m    index nodes, only when the leaves are more than the root can name
 *   then           leaves: entries in the order of their hashes
 *
 * Entries are sorted by hash, cut into leaves, and everything is written once, front to back. When a run of equal
 * hashes is cut, the second leaf's hash gets its lowest bit set, which tells the kernel to look on. Each block ends in a
 * checksum: a fake entry in leaves, a tail in index blocks; ext2fs_dir_block_csum_set knows both.
 */
#include "disk/ext4_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"

#define LINEAR_BLOCKS 2
#define LEAF_BYTES    (BX_EXT4_BLOCK - sizeof(struct ext2_dir_entry_tail))
#define DOTS_BYTES    24 /* "." and ".." */
#define ROOT_AT       32 /* of the index's entries in block 0; in a node 8 */
#define NODE_AT       8
#define ROOT_LIMIT    ((BX_EXT4_BLOCK - ROOT_AT - sizeof(struct ext2_dx_tail)) / sizeof(struct ext2_dx_entry))
#define NODE_LIMIT    ((BX_EXT4_BLOCK - NODE_AT - sizeof(struct ext2_dx_tail)) / sizeof(struct ext2_dx_entry))

struct hashed {
    uint32_t hash;
    uint32_t minor;
    uint32_t index; /* into the caller's entries */
};

struct leaf {
    uint32_t first; /* into the sorted entries */
    uint32_t hash;  /* as the index names it */
};

struct dir {
    struct bx_ext4 *w;
    uint32_t ino;
    uint32_t parent;
    const struct bx_ext4_dirent *entries;
    size_t n;
    struct hashed *sorted; /* NULL: linear */
    struct leaf *leaves;
    size_t n_leaves;
};

static size_t rec_len(size_t name_len)
{
    return BX_ALIGN_UP(8 + name_len, (size_t)4);
}

static uint8_t file_type(uint16_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return EXT2_FT_REG_FILE;
    case S_IFDIR:
        return EXT2_FT_DIR;
    case S_IFCHR:
        return EXT2_FT_CHRDEV;
    case S_IFBLK:
        return EXT2_FT_BLKDEV;
    case S_IFIFO:
        return EXT2_FT_FIFO;
    case S_IFSOCK:
        return EXT2_FT_SOCK;
    case S_IFLNK:
        return EXT2_FT_SYMLINK;
    default:
        return EXT2_FT_UNKNOWN;
    }
}

/* Writes an entry that takes `len` bytes of the block. */
static void put_entry(uint8_t *at, uint32_t ino, const char *name, uint8_t name_len, uint8_t type, size_t len)
{
    bx_put_le32(at, ino);
    bx_put_le16(at + 4, (uint16_t)len);
    at[6] = name_len;
    at[7] = type;
    memcpy(at + 8, name, name_len);
}

static void put_dots(const struct dir *d, uint8_t *block, size_t second_len)
{
    put_entry(block, d->ino, ".", 1, EXT2_FT_DIR, 12);
    put_entry(block + 12, d->parent, "..", 2, EXT2_FT_DIR, second_len);
}

/* Seals a block of plain entries: the last one reaches to the tail. `last` is its offset, `used` where it ends. */
static void seal_leaf(const struct dir *d, uint8_t *block, size_t last, size_t used)
{
    if (used > 0)
        bx_put_le16(block + last + 4, (uint16_t)(LEAF_BYTES - last));
    else
        bx_put_le16(block + 4, LEAF_BYTES); /* nothing here: one unused entry */
    ext2fs_initialize_dirent_tail(d->w->fs, (void *)(block + LEAF_BYTES));
    ext2fs_dir_block_csum_set(d->w->fs, d->ino, (void *)block);
}

static int append(struct dir *d, const uint8_t *block, struct bx_err *err)
{
    return bx_ext4_append_blocks(d->w, block, 1, err);
}

static int write_linear(struct dir *d, struct bx_err *err)
{
    uint8_t block[BX_EXT4_BLOCK] __attribute__((aligned(8))) = { 0 };
    size_t used = DOTS_BYTES, last = 12;
    put_dots(d, block, 12);
    for (size_t i = 0; i < d->n; i++) {
        const struct bx_ext4_dirent *e = &d->entries[i];
        size_t len = rec_len(e->name_len);
        if (used + len > LEAF_BYTES) {
            seal_leaf(d, block, last, used);
            int r = append(d, block, err);
            if (r < 0)
                return r;
            memset(block, 0, sizeof(block));
            used = 0;
        }
        put_entry(block + used, e->ino, e->name, e->name_len, file_type(e->mode), len);
        last = used;
        used += len;
    }
    seal_leaf(d, block, last, used);
    return append(d, block, err);
}

static bool before(const struct hashed *a, const struct hashed *b)
{
    return a->hash != b->hash ? a->hash < b->hash : a->minor < b->minor;
}

static void merge(struct hashed *to, const struct hashed *a, const struct hashed *a_end, const struct hashed *b,
                  const struct hashed *b_end)
{
    while (a < a_end && b < b_end)
        *to++ = before(b, a) ? *b++ : *a++;
    while (a < a_end)
        *to++ = *a++;
    while (b < b_end)
        *to++ = *b++;
}

/* Merge sort, stable. Not qsort: the C library's asks the system for the size of its memory, which is forbidden where
 * this runs. *items and spare have n elements; the result is in *items, which may have changed places with spare. */
static void sort_hashed(struct hashed **items, struct hashed **spare, size_t n)
{
    for (size_t width = 1; width < n; width *= 2) {
        struct hashed *from = *items, *to = *spare;
        for (size_t at = 0; at < n; at += 2 * width) {
            size_t mid = BX_MIN(at + width, n), end = BX_MIN(at + 2 * width, n);
            merge(to + at, from + at, from + mid, from + mid, from + end);
        }
        *items = to;
        *spare = from;
    }
}

static int sort_entries(struct dir *d, struct bx_err *err)
{
    const struct ext2_super_block *sb = d->w->fs->super;
    d->sorted = calloc(d->n, sizeof(*d->sorted));
    struct hashed *spare = calloc(d->n, sizeof(*spare));
    if (!d->sorted || !spare) {
        free(spare);
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "index of a directory with %zu entries", d->n);
    }
    for (size_t i = 0; i < d->n; i++) {
        struct hashed *h = &d->sorted[i];
        /* fails for unknown versions only */
        bx_assert(ext2fs_dirhash2(EXT2_HASH_HALF_MD4_UNSIGNED, d->entries[i].name, d->entries[i].name_len, NULL, 0,
                                  sb->s_hash_seed, &h->hash, &h->minor) == 0);
        h->index = (uint32_t)i;
    }
    sort_hashed(&d->sorted, &spare, d->n);
    free(spare);
    return 0;
}

/* Cuts the sorted entries into leaves. */
static int cut_leaves(struct dir *d, struct bx_err *err)
{
    size_t used = 0, cap = 0;
    for (size_t i = 0; i < d->n; i++) {
        size_t len = rec_len(d->entries[d->sorted[i].index].name_len);
        if (i > 0 && used + len <= LEAF_BYTES) {
            used += len;
            continue;
        }
        if (d->n_leaves == cap) {
            cap = cap ? cap * 2 : 64;
            struct leaf *grown = reallocarray(d->leaves, cap, sizeof(*grown));
            if (!grown)
                return bx_fail(err, BX_ERESOURCE, ENOMEM, "index of a directory with %zu entries", d->n);
            d->leaves = grown;
        }
        uint32_t hash = d->sorted[i].hash;
        bool continued = i > 0 && d->sorted[i - 1].hash == hash;
        d->leaves[d->n_leaves++] = (struct leaf){ .first = (uint32_t)i, .hash = hash | (continued ? 1 : 0) };
        used = len;
    }
    if (d->n_leaves > ROOT_LIMIT * NODE_LIMIT)
        return bx_fail(err, BX_EINVALID, 0, "a directory with %zu entries is larger than ext4's index can hold", d->n);
    return 0;
}

/* count pairs (hash, block) at `at`; the first pair's hash is replaced by limit and count. */
static void put_index(uint8_t *at, size_t limit, size_t count, const struct leaf *leaves, size_t step, uint32_t block)
{
    for (size_t i = 0; i < count; i++) {
        bx_put_le32(at + 8 * i, leaves[i * step].hash);
        bx_put_le32(at + 8 * i + 4, block + (uint32_t)i);
    }
    bx_put_le16(at, (uint16_t)limit);
    bx_put_le16(at + 2, (uint16_t)count);
}

static int write_index(struct dir *d, struct bx_err *err)
{
    uint8_t block[BX_EXT4_BLOCK] __attribute__((aligned(8))) = { 0 };
    bool deep = d->n_leaves > ROOT_LIMIT;
    size_t nodes = deep ? (d->n_leaves + NODE_LIMIT - 1) / NODE_LIMIT : 0;

    put_dots(d, block, BX_EXT4_BLOCK - 12);
    struct ext2_dx_root_info info = {
        .hash_version = EXT2_HASH_HALF_MD4,
        .info_length = sizeof(info),
        .indirect_levels = deep ? 1 : 0,
    };
    memcpy(block + DOTS_BYTES, &info, sizeof(info));
    put_index(block + ROOT_AT, ROOT_LIMIT, deep ? nodes : d->n_leaves, d->leaves, deep ? NODE_LIMIT : 1, 1);
    ext2fs_dir_block_csum_set(d->w->fs, d->ino, (void *)block);
    int r = append(d, block, err);

    for (size_t i = 0; i < nodes && r >= 0; i++) {
        size_t from = i * NODE_LIMIT, count = BX_MIN(d->n_leaves - from, NODE_LIMIT);
        memset(block, 0, sizeof(block));
        bx_put_le16(block + 4, BX_EXT4_BLOCK & 0xffff); /* one unused entry over the whole block */
        put_index(block + NODE_AT, NODE_LIMIT, count, d->leaves + from, 1, (uint32_t)(1 + nodes + from));
        ext2fs_dir_block_csum_set(d->w->fs, d->ino, (void *)block);
        r = append(d, block, err);
    }
    return r;
}

static int write_leaves(struct dir *d, struct bx_err *err)
{
    uint8_t block[BX_EXT4_BLOCK] __attribute__((aligned(8)));
    for (size_t l = 0; l < d->n_leaves; l++) {
        size_t end = l + 1 < d->n_leaves ? d->leaves[l + 1].first : d->n;
        size_t used = 0, last = 0;
        memset(block, 0, sizeof(block));
        for (size_t i = d->leaves[l].first; i < end; i++) {
            const struct bx_ext4_dirent *e = &d->entries[d->sorted[i].index];
            size_t len = rec_len(e->name_len);
            put_entry(block + used, e->ino, e->name, e->name_len, file_type(e->mode), len);
            last = used;
            used += len;
        }
        seal_leaf(d, block, last, used);
        int r = append(d, block, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static bool fits_linear(const struct dir *d)
{
    size_t blocks = 1, used = DOTS_BYTES;
    for (size_t i = 0; i < d->n; i++) {
        size_t len = rec_len(d->entries[i].name_len);
        if (used + len > LEAF_BYTES) {
            if (++blocks > LINEAR_BLOCKS)
                return false;
            used = 0;
        }
        used += len;
    }
    return true;
}

static int write_blocks(struct dir *d, struct bx_err *err)
{
    if (fits_linear(d))
        return write_linear(d, err);
    int r = sort_entries(d, err);
    if (r >= 0)
        r = cut_leaves(d, err);
    if (r >= 0)
        r = write_index(d, err);
    if (r >= 0)
        r = write_leaves(d, err);
    return r;
}

int bx_ext4_put_dir(struct bx_ext4 *w, uint32_t ino, uint32_t parent_ino, const struct bx_ext4_attr *attr,
                    const struct bx_ext4_dirent *entries, size_t n, struct bx_err *err)
{
    struct dir d = { .w = w, .ino = ino, .parent = parent_ino, .entries = entries, .n = n };
    if (n > UINT32_MAX)
        return bx_fail(err, BX_EINVALID, 0, "a directory with %zu entries", n);
    bx_ext4_file_begin(w);
    int r = write_blocks(&d, err);
    if (r >= 0) {
        struct bx_ext4_content c = {
            .size = w->pos,
            .flags = EXT4_EXTENTS_FL | (d.sorted ? EXT2_INDEX_FL : 0U),
            .extents = w->extents,
            .n_extents = w->n_extents,
        };
        r = bx_ext4_put_inode(w, ino, attr, &c, err);
    }
    free(d.sorted);
    free(d.leaves);
    return r;
}
