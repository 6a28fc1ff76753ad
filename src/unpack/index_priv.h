/* SPDX-License-Identifier: Apache-2.0 */
/* index_priv.h - the parts of the layer index; see index.c for how they fit together. */
#ifndef BX_UNPACK_INDEX_PRIV_H
#define BX_UNPACK_INDEX_PRIV_H

#include "unpack/arena.h"
#include "unpack/index.h"

#define ROOT_ENTRY 1U /* the root's name and object; 0 is "none" for both */

/* A name in a directory. */
struct entry {
    uint32_t parent; /* entry of the directory; the root's is itself */
    uint32_t next;   /* siblings, in the order in which they came; also the list of free entries */
    uint32_t prev;
    uint32_t chain; /* next in the hash bucket */
    uint32_t object;
    uint32_t name; /* offset in bytes */
    uint16_t touched; /* the last layer that gave this name or one below it */
    uint8_t name_len;
};

/* An inode. */
struct object {
    uint16_t mode;
    uint16_t depth; /* of a directory: 0 is the root */
    uint32_t links; /* names */
    uint32_t uid;
    uint32_t gid;
    int64_t mtime;
    uint32_t mtime_nsec;
    uint32_t xattrs; /* offset in bytes, 0: none */
    uint32_t ino;    /* once numbered */
    uint32_t order;  /* next object by number; also the list of free objects */
    union {
        struct {
            uint64_t size;
            uint32_t extents; /* offset in bytes */
            uint32_t n_extents;
        } file;
        struct {
            uint32_t first; /* children */
            uint32_t last;
            uint32_t count;
            uint32_t subdirs;
        } dir;
        struct {
            uint32_t target; /* offset in bytes */
            uint32_t len;
        } symlink;
        struct {
            uint32_t major;
            uint32_t minor;
        } device;
    } u;
    uint32_t entry; /* of a directory: its only name */
};

struct bx_index {
    struct bx_index_options opt;
    struct bx_pool pool;
    struct bx_arena entries;
    struct bx_arena objects;
    struct bx_arena bytes;
    uint32_t free_entry;
    uint32_t free_object;
    uint32_t n_names;
    uint32_t n_objects;
    uint64_t n_seen; /* entries of all layers */
    uint32_t *buckets;
    uint32_t n_buckets; /* a power of two */
    uint64_t key[2];    /* of the hash: names are hostile */
    uint16_t layer;
    uint32_t first_ordered;
};

static inline struct entry *bx_entry(const struct bx_index *ix, uint32_t id)
{
    return (struct entry *)bx_arena_at(&ix->entries, 0) + id;
}

static inline struct object *bx_object(const struct bx_index *ix, uint32_t id)
{
    return (struct object *)bx_arena_at(&ix->objects, 0) + id;
}

static inline struct object *bx_entry_object(const struct bx_index *ix, uint32_t entry)
{
    return bx_object(ix, bx_entry(ix, entry)->object);
}

bool bx_entry_is_dir(const struct bx_index *ix, uint32_t entry);

/* index_table.c: names and objects, without any meaning of layers. */
int bx_index_table_init(struct bx_index *ix, struct bx_err *err);
uint32_t bx_index_lookup(const struct bx_index *ix, uint32_t dir, const char *name, size_t len);
int bx_index_new_object(struct bx_index *ix, uint32_t *ret, struct bx_err *err);
/* Gives back an object that has got no name. */
void bx_index_drop_new(struct bx_index *ix, uint32_t object);
/* A new name for object (its link count grows); the directory must not have the name. */
int bx_index_link(struct bx_index *ix, uint32_t dir, const char *name, size_t len, uint32_t object, uint32_t *ret,
                  struct bx_err *err);
/* Removes a name, and what is below it when it is a directory. */
void bx_index_unlink(struct bx_index *ix, uint32_t entry);
/* Removes what is below a directory (or the name itself, when it is none) and was not given by the current layer. */
void bx_index_hide_lower(struct bx_index *ix, uint32_t entry);
/* Marks a name and its directories as given by the current layer. */
void bx_index_touch(struct bx_index *ix, uint32_t entry);

/* index_path.c */
struct bx_index_place {
    uint32_t dir; /* entry */
    const char *name;
    size_t name_len; /* 0: the path is the root itself */
};
/* The kinds of names that an archive can give. */
enum bx_index_name { BX_NAME_PLAIN, BX_NAME_WHITEOUT, BX_NAME_OPAQUE, BX_NAME_IGNORED };
/* Refuses what cannot be a path inside an image; says what its last component means. */
int bx_index_classify(const char *path, enum bx_index_name *ret, struct bx_err *err);
/*
 * Finds the directory of the last component, following symbolic links inside the tree. Missing directories are made
 * when `like` is given (0755, root's, with its time); else -BX_ENOTFOUND. *ret points into path.
 */
int bx_index_resolve(struct bx_index *ix, const char *path, const struct bx_index_item *like,
                     struct bx_index_place *ret, struct bx_err *err);
/* A directory of nobody's own: its parent's entry, 0755, root's. */
int bx_index_make_dir(struct bx_index *ix, uint32_t dir, const char *name, size_t len, const struct bx_ext4_time *time,
                      uint32_t *ret, struct bx_err *err);

#endif
