/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index.h - the tree that all layers of an image make together.
 *
 * Layers are given lowest first, entries in the order of their archives. Whiteouts, opaque directories, replaced types
 * and hard links across layers are resolved as they come; what a later entry hides is gone at once, and its data is
 * handed to the `release` call. No path in it means anything outside: symbolic links are followed inside the tree only.
 * Every limit is stated, every refusal names the path.
 */
#ifndef BX_UNPACK_INDEX_H
#define BX_UNPACK_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "disk/ext4.h"

#define BX_INDEX_PATH_MAX   4096 /* bytes of one path, as in Linux */
#define BX_INDEX_DEPTH_MAX  256  /* directories below each other */
#define BX_INDEX_LINKS_MAX  40   /* symbolic links followed in one path, as in Linux */
#define BX_INDEX_LAYERS_MAX 1000

struct bx_index;

struct bx_index_options {
    uint32_t max_entries;   /* names in the tree at one time, and entries over all layers */
    uint64_t memory_limit;  /* bytes, for names and objects */
    uint64_t scratch_limit; /* bytes of scratch_fd to use beyond */
    int scratch_fd;         /* -1: none */
    /* Data of a file that is gone. */
    void (*release)(void *user, const struct bx_ext4_extent *extents, size_t n);
    void *user;
};

/* One entry of a layer. Strings are borrowed. */
struct bx_index_item {
    const char *path;
    const char *target; /* of a symbolic link; of a hard link when `hardlink` */
    bool hardlink;
    uint16_t mode; /* with the type */
    uint32_t uid;
    uint32_t gid;
    struct bx_ext4_time mtime;
    uint32_t major;
    uint32_t minor;
    const struct bx_ext4_xattr *xattrs; /* checked: bx_ext4_xattr_check */
    size_t n_xattrs;
};

int bx_index_new(const struct bx_index_options *options, struct bx_index **ret, struct bx_err *err);
void bx_index_free(struct bx_index *ix);

int bx_index_begin_layer(struct bx_index *ix, struct bx_err *err);

/* Takes one entry. *ret_file is the object to which a regular file's data belongs, 0 for everything else. */
int bx_index_add(struct bx_index *ix, const struct bx_index_item *item, uint32_t *ret_file, struct bx_err *err);

/* The data of a regular file that bx_index_add has just returned. */
int bx_index_set_data(struct bx_index *ix, uint32_t file, uint64_t size, const struct bx_ext4_extent *extents,
                      size_t n, struct bx_err *err);

/* Objects (inodes) and names now in the tree. */
uint32_t bx_index_objects(const struct bx_index *ix);
uint32_t bx_index_names(const struct bx_index *ix);

/*
 * Numbers the objects for ext4 and adds lost+found if the image has none. Then objects can be visited in ascending
 * order of their numbers: first = bx_index_first, bx_index_next until 0.
 */
int bx_index_number(struct bx_index *ix, struct bx_err *err);
uint32_t bx_index_first(const struct bx_index *ix);
uint32_t bx_index_next(const struct bx_index *ix, uint32_t object);

/* An object as the ext4 writer wants it. Pointers belong to the index. */
struct bx_index_object {
    uint32_t ino;
    uint16_t mode;
    uint32_t links;
    uint32_t uid;
    uint32_t gid;
    struct bx_ext4_time mtime;
    uint64_t size; /* of a regular file */
    const struct bx_ext4_extent *extents;
    size_t n_extents;
    const char *target; /* of a symbolic link */
    size_t target_len;
    uint32_t major;
    uint32_t minor;
    uint32_t n_children; /* of a directory */
    uint32_t parent_ino;
    size_t n_xattrs;
};
void bx_index_get(const struct bx_index *ix, uint32_t object, struct bx_index_object *ret);
/* Fills n_xattrs and n_children elements. */
void bx_index_get_xattrs(const struct bx_index *ix, uint32_t object, struct bx_ext4_xattr *ret);
void bx_index_get_children(const struct bx_index *ix, uint32_t object, struct bx_ext4_dirent *ret);

/* The object at a path, links not followed; 0 when there is none. For tests. */
uint32_t bx_index_find(const struct bx_index *ix, const char *path);
/* Whether every link of the tree is consistent: counts, siblings, hash table. For tests and the fuzzer. */
bool bx_index_check(const struct bx_index *ix);

/* For messages: a path of at most 200 bytes without control characters. */
#define BX_SHOWN_MAX 204
const char *bx_index_shown(char buf[BX_SHOWN_MAX], const char *path);

#endif
