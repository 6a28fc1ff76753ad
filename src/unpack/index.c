/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index.c - applies the entries of layers to the tree, by the rules of the OCI image specification (layer.md).
 *
 * Theory of operation
 *
 * The tree always is what the layers so far make together; an entry changes it at once:
 *
 *  - a whiteout ".wh.NAME" removes what lower layers have at NAME; what its own layer gave stays, whichever of the two
 *    comes first in the archive. An opaque mark does this for all names of its directory. For that, every name knows
 *    the last layer that gave it or something below it (`touched`).
 *  - a directory over a directory changes its attributes and keeps its content; any other entry replaces what was
 *    there, with all that was below it;
 *  - a hard link is a second name of the object that its target names at that moment, in this layer or a lower one.
 *
 * An object lives as long as it has a name. Objects carry where their data was written, so each layer is read once:
 * data goes into the image as it comes, and what a later entry hides is released.
 *
 *  index_table.c  names and objects      index_path.c  what a path means      index_out.c  numbers, and the way out
 */
#include "unpack/index_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define WHITEOUT_LEN 4 /* ".wh." */

static int make_root(struct bx_index *ix, struct bx_err *err)
{
    uint32_t object = 0;
    size_t offset = 0;
    int r = bx_index_new_object(ix, &object, err);
    if (r >= 0)
        r = bx_arena_alloc(&ix->entries, sizeof(struct entry), 1, &offset, err);
    if (r < 0)
        return r;
    struct object *o = bx_object(ix, object);
    o->mode = S_IFDIR | 0755;
    o->links = 1;
    o->entry = ROOT_ENTRY;
    *bx_entry(ix, ROOT_ENTRY) = (struct entry){ .parent = ROOT_ENTRY, .object = object };
    return 0;
}

int bx_index_new(const struct bx_index_options *options, struct bx_index **ret, struct bx_err *err)
{
    struct bx_index *ix = calloc(1, sizeof(*ix));
    if (!ix)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "layer index");
    ix->opt = *options;
    ix->pool = (struct bx_pool){
        .memory_limit = options->memory_limit,
        .scratch_limit = options->scratch_limit,
        .scratch_fd = options->scratch_fd,
    };
    int r = 0;
    if (options->scratch_fd >= 0 && ftruncate(options->scratch_fd, 0) < 0)
        r = bx_fail(err, BX_ESTORAGE, errno, "scratch file of the layer index");
    if (r >= 0)
        r = bx_index_table_init(ix, err);
    if (r >= 0)
        r = make_root(ix, err);
    if (r < 0) {
        bx_index_free(ix);
        return r;
    }
    *ret = ix;
    return 0;
}

void bx_index_free(struct bx_index *ix)
{
    if (!ix)
        return;
    bx_arena_done(&ix->entries);
    bx_arena_done(&ix->objects);
    bx_arena_done(&ix->bytes);
    free(ix->buckets);
    free(ix);
}

int bx_index_begin_layer(struct bx_index *ix, struct bx_err *err)
{
    if (ix->layer >= BX_INDEX_LAYERS_MAX)
        return bx_fail(err, BX_EIMAGE, 0, "the image has more than %d layers", BX_INDEX_LAYERS_MAX);
    ix->layer++;
    return 0;
}

/* Count, then for each: length of the name, length of the value, name, value. */
static int keep_xattrs(struct bx_index *ix, const struct bx_index_item *item, uint32_t *ret, struct bx_err *err)
{
    size_t size = 2, offset = 0;
    for (size_t i = 0; i < item->n_xattrs; i++)
        size += 3 + item->xattrs[i].name_len + item->xattrs[i].value_len;
    *ret = 0;
    if (item->n_xattrs == 0)
        return 0;
    int r = bx_arena_alloc(&ix->bytes, size, 1, &offset, err);
    if (r < 0)
        return r;
    uint8_t *p = bx_arena_at(&ix->bytes, offset);
    bx_put_le16(p, (uint16_t)item->n_xattrs);
    p += 2;
    for (size_t i = 0; i < item->n_xattrs; i++) {
        const struct bx_ext4_xattr *x = &item->xattrs[i];
        p[0] = (uint8_t)x->name_len;
        bx_put_le16(p + 1, (uint16_t)x->value_len);
        memcpy(p + 3, x->name, x->name_len);
        if (x->value_len)
            memcpy(p + 3 + x->name_len, x->value, x->value_len);
        p += 3 + x->name_len + x->value_len;
    }
    *ret = (uint32_t)offset;
    return 0;
}

static int set_attributes(struct bx_index *ix, uint32_t object, const struct bx_index_item *item, struct bx_err *err)
{
    uint32_t xattrs = 0;
    int r = keep_xattrs(ix, item, &xattrs, err);
    if (r < 0)
        return r;
    struct object *o = bx_object(ix, object);
    o->mode = item->mode;
    o->uid = item->uid;
    o->gid = item->gid;
    o->mtime = item->mtime.sec;
    o->mtime_nsec = item->mtime.nsec;
    o->xattrs = xattrs;
    return 0;
}

static int set_content(struct bx_index *ix, uint32_t object, const struct bx_index_item *item, struct bx_err *err)
{
    struct object *o = bx_object(ix, object);
    if (S_ISLNK(item->mode)) {
        size_t len = strlen(item->target), offset = 0;
        int r = bx_arena_alloc(&ix->bytes, len, 1, &offset, err);
        if (r < 0)
            return r;
        memcpy(bx_arena_at(&ix->bytes, offset), item->target, len);
        o->u.symlink.target = (uint32_t)offset;
        o->u.symlink.len = (uint32_t)len;
    } else if (S_ISCHR(item->mode) || S_ISBLK(item->mode)) {
        o->u.device.major = item->major;
        o->u.device.minor = item->minor;
    }
    return 0;
}

static int check_item(const struct bx_index_item *item, struct bx_err *err)
{
    char shown[BX_SHOWN_MAX];
    switch (item->mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFIFO:
    case S_IFSOCK:
        return 0;
    case S_IFLNK:
        if (!item->target || !*item->target || strlen(item->target) > BX_EXT4_SYMLINK_MAX)
            return bx_fail(err, BX_EIMAGE, 0, "a symbolic link without a target, or with one longer than %d bytes: %s",
                           BX_EXT4_SYMLINK_MAX, bx_index_shown(shown, item->path));
        return 0;
    case S_IFCHR:
    case S_IFBLK:
        if (item->major > 0xfff || item->minor > 0xfffff)
            return bx_fail(err, BX_EIMAGE, 0, "a device number that Linux does not have (%u:%u): %s", item->major,
                           item->minor, bx_index_shown(shown, item->path));
        return 0;
    default:
        return bx_fail(err, BX_EIMAGE, 0, "an entry of unknown type: %s", bx_index_shown(shown, item->path));
    }
}

static int add_root(struct bx_index *ix, const struct bx_index_item *item, struct bx_err *err)
{
    if (!S_ISDIR(item->mode) || item->hardlink)
        return bx_fail(err, BX_EIMAGE, 0, "the root of the image is not a directory");
    bx_index_touch(ix, ROOT_ENTRY);
    return set_attributes(ix, bx_entry(ix, ROOT_ENTRY)->object, item, err);
}

/* Anything but a directory, under a name that is free. */
static int make_leaf(struct bx_index *ix, const struct bx_index_place *at, const struct bx_index_item *item,
                     uint32_t *ret, struct bx_err *err)
{
    uint32_t object = 0;
    int r = bx_index_new_object(ix, &object, err);
    if (r < 0)
        return r;
    r = set_content(ix, object, item, err);
    if (r >= 0)
        r = bx_index_link(ix, at->dir, at->name, at->name_len, object, ret, err);
    if (r < 0)
        bx_index_drop_new(ix, object);
    return r;
}

static int add_plain(struct bx_index *ix, const struct bx_index_item *item, uint32_t *ret_file, struct bx_err *err)
{
    struct bx_index_place at;
    uint32_t id = 0;
    int r = check_item(item, err);
    if (r >= 0)
        r = bx_index_resolve(ix, item->path, item, &at, err);
    if (r < 0)
        return r;
    if (at.name_len == 0)
        return add_root(ix, item, err);
    id = bx_index_lookup(ix, at.dir, at.name, at.name_len);
    if (id && S_ISDIR(item->mode) && bx_entry_is_dir(ix, id)) {
        bx_index_touch(ix, id);
        return set_attributes(ix, bx_entry(ix, id)->object, item, err);
    }
    if (id)
        bx_index_unlink(ix, id);
    if (S_ISDIR(item->mode))
        r = bx_index_make_dir(ix, at.dir, at.name, at.name_len, &item->mtime, &id, err);
    else
        r = make_leaf(ix, &at, item, &id, err);
    if (r >= 0)
        r = set_attributes(ix, bx_entry(ix, id)->object, item, err);
    if (r < 0)
        return r;
    bx_index_touch(ix, id);
    if (S_ISREG(item->mode))
        *ret_file = bx_entry(ix, id)->object;
    return 0;
}

/* The object that a hard link's target names. */
static int find_target(struct bx_index *ix, const struct bx_index_item *item, uint32_t *ret, struct bx_err *err)
{
    char shown[BX_SHOWN_MAX], target[BX_SHOWN_MAX];
    struct bx_index_place to;
    enum bx_index_name kind = BX_NAME_PLAIN;
    int r = bx_index_classify(item->target, &kind, err);
    if (r >= 0)
        r = bx_index_resolve(ix, item->target, NULL, &to, err);
    if (r < 0 && r != -BX_ENOTFOUND)
        return bx_prefix(err, "hard link %s", bx_index_shown(shown, item->path));
    uint32_t id = r < 0 || to.name_len == 0 ? 0 : bx_index_lookup(ix, to.dir, to.name, to.name_len);
    if (id == 0)
        return bx_fail(err, BX_EIMAGE, 0, "hard link %s to a file that does not exist: %s",
                       bx_index_shown(shown, item->path), bx_index_shown(target, item->target));
    if (bx_entry_is_dir(ix, id))
        return bx_fail(err, BX_EIMAGE, 0, "hard link %s to a directory: %s", bx_index_shown(shown, item->path),
                       bx_index_shown(target, item->target));
    *ret = id;
    return 0;
}

static int add_hardlink(struct bx_index *ix, const struct bx_index_item *item, struct bx_err *err)
{
    char shown[BX_SHOWN_MAX];
    struct bx_index_place at;
    uint32_t source = 0, id = 0;
    int r = find_target(ix, item, &source, err);
    if (r >= 0)
        r = bx_index_resolve(ix, item->path, item, &at, err);
    if (r < 0)
        return r;
    if (at.name_len == 0)
        return bx_fail(err, BX_EIMAGE, 0, "the root of the image is not a directory");
    uint32_t object = bx_entry(ix, source)->object;
    if (bx_object(ix, object)->links >= BX_EXT4_LINK_MAX)
        return bx_fail(err, BX_EIMAGE, 0, "more than %d hard links to one file: %s", BX_EXT4_LINK_MAX,
                       bx_index_shown(shown, item->path));
    id = bx_index_lookup(ix, at.dir, at.name, at.name_len);
    if (id && bx_entry(ix, id)->object == object) { /* it is that file already */
        bx_index_touch(ix, id);
        return 0;
    }
    if (id) {
        bx_object(ix, object)->links++; /* the target may lie below what is replaced */
        bx_index_unlink(ix, id);
        bx_object(ix, object)->links--;
    }
    r = bx_index_link(ix, at.dir, at.name, at.name_len, object, &id, err);
    if (r >= 0)
        bx_index_touch(ix, id);
    return r;
}

static int add_whiteout(struct bx_index *ix, const struct bx_index_item *item, bool opaque, struct bx_err *err)
{
    struct bx_index_place at;
    struct bx_err ignored = BX_ERR_INIT;
    int r = bx_index_resolve(ix, item->path, NULL, &at, &ignored);
    if (r == -BX_ENOTFOUND)
        return 0; /* nothing there to hide */
    if (r < 0) {
        if (err)
            *err = ignored;
        return r;
    }
    if (opaque) {
        bx_index_hide_lower(ix, at.dir);
        return 0;
    }
    uint32_t id = bx_index_lookup(ix, at.dir, at.name + WHITEOUT_LEN, at.name_len - WHITEOUT_LEN);
    if (!id)
        return 0;
    if (bx_entry(ix, id)->touched == ix->layer)
        bx_index_hide_lower(ix, id);
    else
        bx_index_unlink(ix, id);
    return 0;
}

int bx_index_add(struct bx_index *ix, const struct bx_index_item *item, uint32_t *ret_file, struct bx_err *err)
{
    enum bx_index_name kind = BX_NAME_PLAIN;
    *ret_file = 0;
    if (++ix->n_seen > ix->opt.max_entries)
        return bx_fail(err, BX_EIMAGE, 0, "the image's layers have more than %u entries", ix->opt.max_entries);
    int r = bx_index_classify(item->path, &kind, err);
    if (r < 0)
        return r;
    switch (kind) {
    case BX_NAME_IGNORED:
        return 0;
    case BX_NAME_WHITEOUT:
    case BX_NAME_OPAQUE:
        return add_whiteout(ix, item, kind == BX_NAME_OPAQUE, err);
    case BX_NAME_PLAIN:
        break;
    }
    return item->hardlink ? add_hardlink(ix, item, err) : add_plain(ix, item, ret_file, err);
}

int bx_index_set_data(struct bx_index *ix, uint32_t file, uint64_t size, const struct bx_ext4_extent *extents,
                      size_t n, struct bx_err *err)
{
    struct object *o = bx_object(ix, file);
    bx_assert(S_ISREG(o->mode));
    o->u.file.size = size;
    if (n == 0)
        return 0;
    size_t offset = 0;
    int r = bx_arena_alloc(&ix->bytes, n * sizeof(*extents), sizeof(uint32_t), &offset, err);
    if (r < 0)
        return r;
    memcpy(bx_arena_at(&ix->bytes, offset), extents, n * sizeof(*extents));
    o->u.file.extents = (uint32_t)offset;
    o->u.file.n_extents = (uint32_t)n;
    return 0;
}
