/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.h - where a path leads: on the host as its user means it, in a container never out of its root.
 *
 * With a root every step is openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS) against it, so links, ".." and
 * absolute names end inside whatever anybody does to the tree meanwhile. Without one (root -1) the path is
 * that of a person at this machine, and means what it means to the kernel. All functions return -errno.
 */
#ifndef BX_FILES_PLACE_H
#define BX_FILES_PLACE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/fd.h"
#include "wire/record.h"

struct bx_place {
    int root; /* borrowed; -1: the host */
};

/* A directory entry: the folder, held open as O_PATH, and a name in it that is one component. "" is the
 * folder itself
 * ("/", "..", "a/."). */
struct bx_where {
    int dir;
    char name[BX_REC_NAME_MAX + 1];
};
#define BX_WHERE_INIT ((struct bx_where){.dir = -1})
void bx_where_done(struct bx_where *w);

/* Follows links. Descriptor or -errno. */
int bx_place_open(const struct bx_place *p, const char *path, int flags);

#define BX_WHERE_FOLLOW  0x1u /* a link at the end stands for what it leads to, which need not exist */
#define BX_WHERE_PARENTS 0x2u /* folders that are missing on the way are made, 0755 */
int bx_place_find(const struct bx_place *p, const char *path, unsigned flags, struct bx_where *ret);

/* The folder `path` itself, made with its parents when it is missing. O_PATH descriptor or -errno. */
int bx_place_make_dir(const struct bx_place *p, const char *path);

/* The name a copy of `path` has: its last component, "" where that is none ("/", "a/.", ".."). -ENAMETOOLONG.
 */
int bx_place_name(const char *path, char ret[BX_REC_NAME_MAX + 1]);

/* "a/", "a/.", "a/..": what is meant can only be a folder. */
bool bx_place_means_dir(const char *path);

#endif
