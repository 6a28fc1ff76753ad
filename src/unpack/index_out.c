/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index_out.c - the finished tree: numbers for its objects, and everything the ext4 writer asks for.
 *
 * Numbers go directory by directory, breadth first, in the order in which names came: what lies in one directory lies
 * together in the inode table, and the same layers give the same numbers.
 */
#include "unpack/index_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"

#define LOST_FOUND "lost+found"

uint32_t bx_index_objects(const struct bx_index *ix)
{
    return ix->n_objects;
}

uint32_t bx_index_names(const struct bx_index *ix)
{
    return ix->n_names;
}

static int ensure_lost_found(struct bx_index *ix, uint32_t *ret_object, struct bx_err *err)
{
    uint32_t id = bx_index_lookup(ix, ROOT_ENTRY, LOST_FOUND, strlen(LOST_FOUND));
    const struct object *root = bx_entry_object(ix, ROOT_ENTRY);
    if (!id) {
        struct bx_ext4_time time = { .sec = root->mtime, .nsec = root->mtime_nsec };
        int r = bx_index_make_dir(ix, ROOT_ENTRY, LOST_FOUND, strlen(LOST_FOUND), &time, &id, err);
        if (r < 0)
            return r;
        bx_entry_object(ix, id)->mode = S_IFDIR | 0700;
    }
    /* an image that has something else of that name keeps it; e2fsck would make its own */
    *ret_object = bx_entry_is_dir(ix, id) ? bx_entry(ix, id)->object : 0;
    return 0;
}

int bx_index_number(struct bx_index *ix, struct bx_err *err)
{
    uint32_t lost = 0, next = BX_EXT4_FIRST_INO;
    int r = ensure_lost_found(ix, &lost, err);
    if (r < 0)
        return r;
    uint32_t root = bx_entry(ix, ROOT_ENTRY)->object, tail = root;
    bx_object(ix, root)->ino = BX_EXT4_ROOT_INO;
    bx_object(ix, root)->order = lost;
    ix->first_ordered = root;
    if (lost) {
        bx_object(ix, lost)->ino = BX_EXT4_LOST_INO;
        bx_object(ix, lost)->order = 0;
        tail = lost;
    }
    for (uint32_t at = root; at; at = bx_object(ix, at)->order) {
        if (!S_ISDIR(bx_object(ix, at)->mode))
            continue;
        for (uint32_t e = bx_object(ix, at)->u.dir.first; e; e = bx_entry(ix, e)->next) {
            struct object *o = bx_entry_object(ix, e);
            if (o->ino)
                continue;
            o->ino = next++;
            o->order = 0;
            bx_object(ix, tail)->order = bx_entry(ix, e)->object;
            tail = bx_entry(ix, e)->object;
        }
    }
    return 0;
}

uint32_t bx_index_first(const struct bx_index *ix)
{
    return ix->first_ordered;
}

uint32_t bx_index_next(const struct bx_index *ix, uint32_t object)
{
    return bx_object(ix, object)->order;
}

void bx_index_get(const struct bx_index *ix, uint32_t object, struct bx_index_object *ret)
{
    const struct object *o = bx_object(ix, object);
    *ret = (struct bx_index_object){
        .ino = o->ino,
        .mode = o->mode,
        .links = o->links,
        .uid = o->uid,
        .gid = o->gid,
        .mtime = { .sec = o->mtime, .nsec = o->mtime_nsec },
        .n_xattrs = o->xattrs ? bx_get_le16(bx_arena_at(&ix->bytes, o->xattrs)) : 0,
    };
    switch (o->mode & S_IFMT) {
    case S_IFREG:
        ret->size = o->u.file.size;
        ret->n_extents = o->u.file.n_extents;
        ret->extents = o->u.file.n_extents ? bx_arena_at(&ix->bytes, o->u.file.extents) : NULL;
        break;
    case S_IFDIR:
        ret->n_children = o->u.dir.count;
        ret->links = 2 + o->u.dir.subdirs;
        ret->parent_ino = bx_entry_object(ix, bx_entry(ix, o->entry)->parent)->ino;
        break;
    case S_IFLNK:
        ret->target = bx_arena_at(&ix->bytes, o->u.symlink.target);
        ret->target_len = o->u.symlink.len;
        break;
    case S_IFCHR:
    case S_IFBLK:
        ret->major = o->u.device.major;
        ret->minor = o->u.device.minor;
        break;
    default:
        break;
    }
}

void bx_index_get_xattrs(const struct bx_index *ix, uint32_t object, struct bx_ext4_xattr *ret)
{
    const struct object *o = bx_object(ix, object);
    if (!o->xattrs)
        return;
    const uint8_t *p = bx_arena_at(&ix->bytes, o->xattrs);
    size_t n = bx_get_le16(p);
    p += 2;
    for (size_t i = 0; i < n; i++) {
        ret[i] = (struct bx_ext4_xattr){
            .name = (const char *)p + 3,
            .name_len = p[0],
            .value = p + 3 + p[0],
            .value_len = bx_get_le16(p + 1),
        };
        p += 3 + ret[i].name_len + ret[i].value_len;
    }
}

void bx_index_get_children(const struct bx_index *ix, uint32_t object, struct bx_ext4_dirent *ret)
{
    for (uint32_t id = bx_object(ix, object)->u.dir.first; id; id = bx_entry(ix, id)->next) {
        const struct entry *e = bx_entry(ix, id);
        const struct object *o = bx_object(ix, e->object);
        *ret++ = (struct bx_ext4_dirent){
            .name = bx_arena_at(&ix->bytes, e->name),
            .name_len = e->name_len,
            .ino = o->ino,
            .mode = o->mode,
        };
    }
}

uint32_t bx_index_find(const struct bx_index *ix, const char *path)
{
    uint32_t at = ROOT_ENTRY;
    while (*path) {
        size_t len = strcspn(path, "/");
        if (len) {
            if (!bx_entry_is_dir(ix, at))
                return 0;
            at = bx_index_lookup(ix, at, path, len);
            if (!at)
                return 0;
        }
        path += len;
        while (*path == '/')
            path++;
    }
    return bx_entry(ix, at)->object;
}

/* Counts names per object on the way; false when something does not fit. */
static bool check_dir(const struct bx_index *ix, uint32_t dir, uint32_t *links, uint32_t *names)
{
    const struct object *o = bx_entry_object(ix, dir);
    uint32_t prev = 0, count = 0, subdirs = 0;
    for (uint32_t id = o->u.dir.first; id; id = bx_entry(ix, id)->next) {
        const struct entry *e = bx_entry(ix, id);
        const struct object *child = bx_object(ix, e->object);
        if (e->parent != dir || e->prev != prev || e->name_len == 0 || links[e->object] >= child->links)
            return false;
        if (bx_index_lookup(ix, dir, bx_arena_at(&ix->bytes, e->name), e->name_len) != id)
            return false;
        links[e->object]++;
        (*names)++;
        count++;
        if (S_ISDIR(child->mode)) {
            subdirs++;
            if (child->entry != id || child->depth != o->depth + 1 || child->depth > BX_INDEX_DEPTH_MAX)
                return false;
            if (!check_dir(ix, id, links, names))
                return false;
        }
        prev = id;
    }
    return o->u.dir.last == prev && o->u.dir.count == count && o->u.dir.subdirs == subdirs;
}

bool bx_index_check(const struct bx_index *ix)
{
    size_t n = ix->objects.used / sizeof(struct object);
    uint32_t names = 0, objects = 0;
    bx_cleanup_free uint32_t *links = calloc(n, sizeof(*links));
    if (!links)
        return false;
    uint32_t root = bx_entry(ix, ROOT_ENTRY)->object;
    links[root] = 1;
    if (!check_dir(ix, ROOT_ENTRY, links, &names) || names != ix->n_names)
        return false;
    for (size_t i = 1; i < n; i++) {
        if (!links[i])
            continue;
        objects++;
        if (links[i] != bx_object(ix, (uint32_t)i)->links)
            return false;
    }
    return objects == ix->n_objects;
}
