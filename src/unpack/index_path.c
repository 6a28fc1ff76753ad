/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index_path.c - what a path in a layer means: its components, whiteout names, links on the way.
 *
 * Paths are taken below the root whether they begin with "/", "./" or neither; ".." is refused outright, no archive
 * needs it. A symbolic link in the middle of a path is followed inside the tree, as extraction in a chroot would do:
 * "lib/x" in a later layer lands in usr/lib when lib is a link there. ".." in a link's target stops at the root.
 */
#include "unpack/index_priv.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/str.h"

#define WHITEOUT     ".wh."
#define META         ".wh..wh." /* AUFS's own files; one of them is the opaque mark */
#define OPAQUE       ".wh..wh..opq"
#define WALK_MAX     (2 * BX_INDEX_PATH_MAX)

const char *bx_index_shown(char buf[BX_SHOWN_MAX], const char *path)
{
    size_t len = strlen(path);
    bx_str_printable(buf, BX_SHOWN_MAX - 3, path, BX_MIN(len, (size_t)180));
    if (len > 180)
        memcpy(buf + strlen(buf), "...", 4);
    return buf;
}

static bool has_prefix(const char *name, size_t len, const char *prefix)
{
    size_t n = strlen(prefix);
    return len >= n && memcmp(name, prefix, n) == 0;
}

static bool is_dots(const char *name, size_t len)
{
    return (len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.');
}

/* The next component of *at that is not "." and not empty; false at the end. */
static bool next_component(const char **at, const char **ret, size_t *ret_len)
{
    const char *p = *at;
    for (;;) {
        while (*p == '/')
            p++;
        size_t len = strcspn(p, "/");
        if (len == 0)
            return false;
        *at = p + len;
        if (len == 1 && p[0] == '.') {
            p += len;
            continue;
        }
        *ret = p;
        *ret_len = len;
        return true;
    }
}

static int classify_component(const char *path, const char *name, size_t len, bool last, enum bx_index_name *ret,
                              struct bx_err *err)
{
    char shown[BX_SHOWN_MAX];
    if (len == 2 && memcmp(name, "..", 2) == 0)
        return bx_fail(err, BX_EIMAGE, 0, "a path leads out of the image: %s", bx_index_shown(shown, path));
    if (len > 255)
        return bx_fail(err, BX_EIMAGE, 0, "a name is longer than 255 bytes: %s", bx_index_shown(shown, path));
    if (has_prefix(name, len, META)) {
        bool opaque = last && len == strlen(OPAQUE) && memcmp(name, OPAQUE, len) == 0;
        *ret = opaque ? BX_NAME_OPAQUE : BX_NAME_IGNORED;
    } else if (has_prefix(name, len, WHITEOUT)) {
        const char *hidden = name + strlen(WHITEOUT);
        size_t hidden_len = len - strlen(WHITEOUT);
        if (!last || hidden_len == 0 || is_dots(hidden, hidden_len))
            return bx_fail(err, BX_EIMAGE, 0, "not a valid whiteout: %s", bx_index_shown(shown, path));
        *ret = BX_NAME_WHITEOUT;
    }
    return 0;
}

int bx_index_classify(const char *path, enum bx_index_name *ret, struct bx_err *err)
{
    char shown[BX_SHOWN_MAX];
    enum bx_index_name kind = BX_NAME_PLAIN;
    const char *at = path, *name = NULL;
    size_t len = 0;
    unsigned depth = 0;
    if (strlen(path) >= BX_INDEX_PATH_MAX)
        return bx_fail(err, BX_EIMAGE, 0, "a path is longer than %d bytes: %s", BX_INDEX_PATH_MAX - 1,
                       bx_index_shown(shown, path));
    while (next_component(&at, &name, &len)) {
        const char *rest = at, *ignored_name;
        size_t ignored_len;
        bool last = !next_component(&rest, &ignored_name, &ignored_len);
        int r = classify_component(path, name, len, last, &kind, err);
        if (r < 0)
            return r;
        if (++depth > BX_INDEX_DEPTH_MAX)
            return bx_fail(err, BX_EIMAGE, 0, "a path is deeper than %d directories: %s", BX_INDEX_DEPTH_MAX,
                           bx_index_shown(shown, path));
    }
    *ret = kind;
    return 0;
}

int bx_index_make_dir(struct bx_index *ix, uint32_t dir, const char *name, size_t len, const struct bx_ext4_time *time,
                      uint32_t *ret, struct bx_err *err)
{
    uint32_t object = 0;
    if (bx_entry_object(ix, dir)->depth >= BX_INDEX_DEPTH_MAX)
        return bx_fail(err, BX_EIMAGE, 0, "directories are nested deeper than %d", BX_INDEX_DEPTH_MAX);
    int r = bx_index_new_object(ix, &object, err);
    if (r < 0)
        return r;
    struct object *o = bx_object(ix, object);
    o->mode = S_IFDIR | 0755;
    o->mtime = time->sec;
    o->mtime_nsec = time->nsec;
    r = bx_index_link(ix, dir, name, len, object, ret, err);
    if (r < 0)
        bx_index_drop_new(ix, object);
    return r;
}

/* The state of one walk. What is still to be walked lies in buf, which changes when a link is followed. */
struct walk {
    struct bx_index *ix;
    const char *path; /* for messages */
    const struct bx_index_item *like;
    uint32_t dir;
    unsigned links;
    const char *at;
    char buf[2][WALK_MAX];
    unsigned current; /* which buf `at` points into; any other value: the path itself */
};

/* Goes on with the link's target followed by what was left. */
static int follow(struct walk *k, const struct object *link, struct bx_err *err)
{
    char shown[BX_SHOWN_MAX];
    if (++k->links > BX_INDEX_LINKS_MAX)
        return bx_fail(err, BX_EIMAGE, 0, "too many symbolic links on the way to %s", bx_index_shown(shown, k->path));
    const char *target = bx_arena_at(&k->ix->bytes, link->u.symlink.target);
    unsigned into = k->current == 0 ? 1 : 0;
    int n = snprintf(k->buf[into], WALK_MAX, "%.*s/%s", (int)link->u.symlink.len, target, k->at);
    if (n < 0 || n >= WALK_MAX)
        return bx_fail(err, BX_EIMAGE, 0, "symbolic links make the path too long: %s",
                       bx_index_shown(shown, k->path));
    if (target[0] == '/')
        k->dir = ROOT_ENTRY;
    k->at = k->buf[into];
    k->current = into;
    return 0;
}

/* Enters one directory of the way. */
static int enter(struct walk *k, const char *name, size_t len, struct bx_err *err)
{
    struct bx_index *ix = k->ix;
    char shown[BX_SHOWN_MAX];
    if (len == 2 && memcmp(name, "..", 2) == 0) {
        k->dir = bx_entry(ix, k->dir)->parent;
        return 0;
    }
    if (len > 255)
        return bx_fail(err, BX_EIMAGE, 0, "a name is longer than 255 bytes on the way to %s",
                       bx_index_shown(shown, k->path));
    uint32_t id = bx_index_lookup(ix, k->dir, name, len);
    if (id == 0) {
        if (!k->like)
            return bx_fail(err, BX_ENOTFOUND, 0, "no such file in the image: %s", bx_index_shown(shown, k->path));
        int r = bx_index_make_dir(ix, k->dir, name, len, &k->like->mtime, &id, err);
        if (r < 0)
            return r;
    }
    const struct object *o = bx_entry_object(ix, id);
    if (S_ISLNK(o->mode))
        return follow(k, o, err);
    if (!S_ISDIR(o->mode))
        return bx_fail(err, k->like ? BX_EIMAGE : BX_ENOTFOUND, 0, "%.*s is not a directory on the way to %s", (int)len,
                       bx_index_shown((char[BX_SHOWN_MAX]){ 0 }, name), bx_index_shown(shown, k->path));
    k->dir = id;
    return 0;
}

int bx_index_resolve(struct bx_index *ix, const char *path, const struct bx_index_item *like,
                     struct bx_index_place *ret, struct bx_err *err)
{
    const char *name = NULL, *last = NULL, *at = path;
    size_t len = 0, last_len = 0;
    while (next_component(&at, &name, &len)) {
        last = name;
        last_len = len;
    }
    *ret = (struct bx_index_place){ .dir = ROOT_ENTRY, .name = last, .name_len = last_len };
    if (!last)
        return 0;
    if ((size_t)(last - path) >= WALK_MAX)
        return bx_fail(err, BX_EIMAGE, 0, "a path is too long");
    struct walk k = { .ix = ix, .path = path, .like = like, .dir = ROOT_ENTRY };
    memcpy(k.buf[0], path, (size_t)(last - path)); /* the way, without the last component */
    k.buf[0][last - path] = 0;
    k.at = k.buf[0];
    while (next_component(&k.at, &name, &len)) {
        int r = enter(&k, name, len, err);
        if (r < 0)
            return r;
    }
    ret->dir = k.dir;
    return 0;
}
