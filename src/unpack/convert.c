/* SPDX-License-Identifier: Apache-2.0 */
/*
 * convert.c - reads each layer once, lowest first, and writes one ext4 file system.
 *
 * Theory of operation
 *
 * File data goes into the image as it is decompressed; the index remembers where. What a later layer hides is released
 * again. When all layers are read and their digests are right, the tree is known: inodes and directories are written,
 * each once. (docs/decisions/0003-image-conversion.md tells why not two passes, and why not from the top.)
 *
 * The number of inodes and the size of the file system have to be chosen before the first block is written. They nearly
 * always suffice: one inode per 16 KiB, ten GiB. When they do not, the rest of the layers is read without writing, which
 * tells what is needed, and the conversion starts over with that: a second reading, for very large images only.
 *
 * An error in a layer whose digest turns out to be wrong is reported as the wrong digest: that is the cause.
 */
#include "unpack/convert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "unpack/tar.h"

#define ATTEMPTS        3
#define BYTES_PER_INODE 16384 /* to spare, beyond the image's own */
#define XATTRS_MAX      512

struct convert {
    const struct bx_request *req;
    struct bx_progress *progress;
    struct bx_index *index;
    struct bx_ext4 *ext4;
    uint64_t size;
    uint32_t inodes; /* 0: by size */
    uint64_t data;   /* bytes of file data, in whole blocks, over all layers */
    uint64_t unpacked;
    bool full; /* only counting from here on */
};

static void release(void *user, const struct bx_ext4_extent *extents, size_t n)
{
    struct convert *c = user;
    bx_ext4_release(c->ext4, extents, n);
}

/* Passes on how the writer fared; that the file system is too small is taken note of and is no error yet. */
static int note_full(struct convert *c, int r, const struct bx_err *why, struct bx_err *err)
{
    if (r >= 0)
        return r;
    if (r == -BX_ERESOURCE && bx_ext4_is_full(c->ext4)) {
        c->full = true;
        return 0;
    }
    *err = *why;
    return -err->code;
}

static int write_piece(struct convert *c, const void *data, size_t len, uint64_t offset, uint64_t size,
                       struct bx_err *err)
{
    if (offset > size || len > size - offset)
        return bx_fail(err, BX_EIMAGE, 0, "damaged tar archive: a file has more data than its size");
    if (c->full)
        return 0;
    struct bx_err why = BX_ERR_INIT;
    int r = bx_ext4_file_write(c->ext4, offset, data, len, &why);
    if (r == -BX_EINVALID)
        why.code = BX_EIMAGE; /* a sparse map that goes backwards */
    return note_full(c, r, &why, err);
}

static int take_data(struct convert *c, struct bx_tar *tar, uint32_t file, uint64_t size, struct bx_err *err)
{
    const void *data = NULL;
    size_t len = 0;
    uint64_t offset = 0, bytes = 0;
    int r;
    if (!c->full)
        bx_ext4_file_begin(c->ext4);
    while ((r = bx_tar_data(tar, &data, &len, &offset, err)) > 0) {
        bytes += len;
        r = write_piece(c, data, len, offset, size, err);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return r;
    c->data += BX_ALIGN_UP(bytes, (uint64_t)BX_EXT4_BLOCK);
    const struct bx_ext4_extent *extents = NULL;
    size_t n = 0;
    if (!c->full) {
        struct bx_err why = BX_ERR_INIT;
        r = note_full(c, bx_ext4_file_end(c->ext4, &extents, &n, &why), &why, err);
        if (r < 0)
            return r;
    }
    return bx_index_set_data(c->index, file, size, c->full ? NULL : extents, c->full ? 0 : n, err);
}

static int take_entries(struct convert *c, struct bx_stream *stream, struct bx_err *err)
{
    struct bx_tar *tar = NULL;
    struct bx_tar_entry entry;
    int r = bx_tar_open(stream, &tar, err);
    while (r >= 0 && (r = bx_tar_next(tar, &entry, err)) > 0) {
        uint32_t file = 0;
        r = bx_index_add(c->index, &entry.item, &file, err);
        if (r >= 0 && file) {
            char shown[BX_SHOWN_MAX];
            r = take_data(c, tar, file, entry.size, err);
            if (r < 0)
                r = bx_prefix(err, "%s", bx_index_shown(shown, entry.item.path));
        }
    }
    bx_tar_free(tar);
    return r;
}

static int wrong_digest(const char *what, const uint8_t want[BX_SHA256_LEN], const uint8_t got[BX_SHA256_LEN],
                        struct bx_err *err)
{
    char w[2 * BX_SHA256_LEN + 1], g[2 * BX_SHA256_LEN + 1];
    bx_hex(w, want, BX_SHA256_LEN);
    bx_hex(g, got, BX_SHA256_LEN);
    return bx_fail(err, BX_EIMAGE, 0, "%s: expected sha256:%s, found sha256:%s", what, w, g);
}

static bool is_about_content(int r)
{
    return r == -BX_EIMAGE || r == -BX_EUNSUPPORTED;
}

/* r: how reading the entries went. */
static int check_digests(struct bx_stream *s, const struct bx_layer *l, int r, struct bx_err *err)
{
    uint8_t blob[BX_SHA256_LEN], content[BX_SHA256_LEN];
    struct bx_err why = BX_ERR_INIT;
    int drained = bx_stream_drain(s, r >= 0, &why);
    if (drained < 0 && !is_about_content(drained)) {
        *err = why;
        return drained;
    }
    if (drained < 0)
        (void)bx_stream_drain(s, false, NULL);
    bx_stream_digests(s, blob, content);
    if (memcmp(blob, l->digest, sizeof(blob)) != 0)
        return wrong_digest("wrong digest", l->digest, blob, err);
    if (r >= 0 && drained < 0) {
        *err = why;
        return drained;
    }
    if (r >= 0 && l->has_diff_id && memcmp(content, l->diff_id, sizeof(content)) != 0)
        return wrong_digest("wrong digest of the unpacked layer (diff_id)", l->diff_id, content, err);
    return r;
}

static int read_layer(struct convert *c, const struct bx_layer *l, struct bx_err *err)
{
    struct bx_stream *stream = NULL;
    struct bx_stream_limits limits = {
        .max_bytes = c->req->max_bytes - c->unpacked,
        .max_ratio = c->req->max_ratio,
    };
    int r = bx_index_begin_layer(c->index, err);
    if (r >= 0)
        r = bx_stream_open(l->fd, l->size, &limits, c->progress, &stream, err);
    if (r < 0)
        return r;
    r = take_entries(c, stream, err);
    if (r >= 0 || is_about_content(r))
        r = check_digests(stream, l, r, err);
    c->unpacked += bx_stream_bytes(stream);
    bx_stream_free(stream);
    return r;
}

static int read_layers(struct convert *c, struct bx_err *err)
{
    for (size_t i = 0; i < c->req->n_layers; i++) {
        const struct bx_layer *l = &c->req->layers[i];
        int r = read_layer(c, l, err);
        if (r < 0) {
            char hex[13];
            bx_hex(hex, l->digest, 6);
            return bx_prefix(err, "layer %zu of %zu (%s)", i + 1, c->req->n_layers, hex);
        }
    }
    return 0;
}

static int write_directory(struct convert *c, uint32_t object, const struct bx_index_object *o,
                           const struct bx_ext4_attr *attr, struct bx_err *err)
{
    bx_cleanup_free struct bx_ext4_dirent *children = calloc(o->n_children ? o->n_children : 1, sizeof(*children));
    if (!children)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "a directory with %u entries", o->n_children);
    bx_index_get_children(c->index, object, children);
    return bx_ext4_put_dir(c->ext4, o->ino, o->parent_ino, attr, children, o->n_children, err);
}

static int write_object(struct convert *c, uint32_t object, struct bx_ext4_xattr *xattrs, struct bx_err *err)
{
    struct bx_index_object o;
    bx_index_get(c->index, object, &o);
    bx_assert(o.n_xattrs <= XATTRS_MAX);
    bx_index_get_xattrs(c->index, object, xattrs);
    struct bx_ext4_attr attr = {
        .mode = o.mode,
        .uid = o.uid,
        .gid = o.gid,
        .links = o.links,
        .atime = o.mtime,
        .mtime = o.mtime,
        .ctime = o.mtime,
        .crtime = o.mtime,
        .xattrs = xattrs,
        .n_xattrs = o.n_xattrs,
    };
    switch (o.mode & S_IFMT) {
    case S_IFREG:
        return bx_ext4_put_file(c->ext4, o.ino, &attr, o.size, o.extents, o.n_extents, err);
    case S_IFDIR:
        return write_directory(c, object, &o, &attr, err);
    case S_IFLNK:
        return bx_ext4_put_symlink(c->ext4, o.ino, &attr, o.target, o.target_len, err);
    default:
        return bx_ext4_put_special(c->ext4, o.ino, &attr, o.major, o.minor, err);
    }
}

static int write_tree(struct convert *c, struct bx_err *err)
{
    bx_cleanup_free struct bx_ext4_xattr *xattrs = calloc(XATTRS_MAX, sizeof(*xattrs));
    if (!xattrs)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "write the tree");
    for (uint32_t o = bx_index_first(c->index); o; o = bx_index_next(c->index, o)) {
        int r = write_object(c, o, xattrs, err);
        if (r < 0)
            return r;
    }
    return bx_ext4_finish(c->ext4, err);
}

static int start(struct convert *c, struct bx_err *err)
{
    uint64_t scratch = c->req->scratch >= 0 ? BX_MIN(c->req->free / 8, BX_SCRATCH_MAX) : 0;
    struct bx_index_options io = {
        .max_entries = (uint32_t)c->req->max_entries,
        .memory_limit = c->req->memory,
        .scratch_limit = scratch,
        .scratch_fd = c->req->scratch,
        .release = release,
        .user = c,
    };
    struct bx_ext4_options eo = {
        .fd = c->req->output,
        .size = c->size,
        .inodes = c->inodes,
        .time = c->req->time,
        .write_limit = c->req->free - scratch,
    };
    memcpy(eo.uuid, c->req->uuid, sizeof(eo.uuid));
    c->data = 0;
    c->unpacked = 0;
    c->full = false;
    int r = bx_index_new(&io, &c->index, err);
    if (r >= 0)
        r = bx_ext4_new(&eo, &c->ext4, err);
    return r;
}

static bool too_few_inodes(const struct convert *c)
{
    uint64_t have = bx_ext4_inodes(c->ext4);
    return bx_index_objects(c->index) > have - have / 4;
}

/* A layout that holds what was counted. Inodes need room too, and a group has 32,768 of them at most. */
static int choose_larger(struct convert *c, struct bx_err *err)
{
    uint64_t objects = bx_index_objects(c->index), names = bx_index_names(c->index);
    uint64_t needed = c->data + c->data / 32 + names * 512 + objects * 512 + (64ULL << 20);
    uint64_t size = c->full ? BX_MAX(needed, c->size + c->size / 4) : c->size;
    uint64_t inodes = objects + size / BYTES_PER_INODE + objects / 2;
    size = BX_MAX(size, inodes * BX_EXT4_BLOCK);
    size = BX_ALIGN_UP(size, 64ULL << 20);
    if (size > c->req->max_size)
        return bx_fail(err, BX_ERESOURCE, 0, "the image needs a disk of about %llu MiB; %llu MiB is the limit",
                       (unsigned long long)(size >> 20), (unsigned long long)(c->req->max_size >> 20));
    c->size = size;
    c->inodes = (uint32_t)inodes;
    return 0;
}

static void drop(struct convert *c)
{
    bx_ext4_free(c->ext4);
    bx_index_free(c->index);
    c->ext4 = NULL;
    c->index = NULL;
}

/* *ret_again: start over with the layout that c has now. */
static int attempt(struct convert *c, bool *ret_again, struct bx_err *err)
{
    int r = start(c, err);
    if (r >= 0)
        r = read_layers(c, err);
    if (r < 0)
        return r;
    if (!c->full && !too_few_inodes(c)) {
        struct bx_err why = BX_ERR_INIT;
        r = bx_index_number(c->index, &why);
        if (r >= 0)
            r = write_tree(c, &why);
        r = note_full(c, r, &why, err);
        if (r < 0 || !c->full)
            return r;
    }
    *ret_again = true;
    return choose_larger(c, err);
}

int bx_convert(const struct bx_request *req, struct bx_progress *progress, struct bx_convert_result *ret,
               struct bx_err *err)
{
    struct convert c = { .req = req, .progress = progress, .size = req->size };
    int r = 0;
    bool again = true;
    for (int i = 0; i < ATTEMPTS && again && r >= 0; i++) {
        again = false;
        drop(&c);
        progress->done = progress->told = 0;
        r = attempt(&c, &again, err);
    }
    if (r >= 0 && again)
        r = bx_fail(err, BX_EINTERNAL, 0, "no layout found that holds the image");
    if (r >= 0 && fsync(req->output) < 0)
        r = bx_fail(err, BX_ESTORAGE, errno, "write the disk image to stable storage");
    if (r >= 0)
        *ret = (struct bx_convert_result){
            .entries = bx_index_names(c.index),
            .bytes = bx_ext4_bytes_written(c.ext4),
            .size = c.size,
        };
    drop(&c);
    return r;
}

int bx_convert_check_space(const struct bx_request *req, struct bx_err *err)
{
    uint64_t needed = 0;
    for (size_t i = 0; i < req->n_layers; i++)
        needed += bx_stream_estimate(req->layers[i].fd, req->layers[i].size);
    if (needed <= req->free)
        return 0;
    return bx_fail(err, BX_ESTORAGE, ENOSPC, "the image needs at least %llu MiB of disk, %llu MiB are free",
                   (unsigned long long)(needed >> 20) + 1, (unsigned long long)(req->free >> 20));
}

void bx_convert_limits(const struct bx_request *req, struct bx_lockdown_limits *ret)
{
    *ret = (struct bx_lockdown_limits){
        /* reservations of the index, its tables, and a GiB for libraries, directories and the decompressor */
        .address_space = req->max_entries * (128 + 512 + 48) + (5ULL << 30) + (req->size >> 10),
        /* the index, its hash table, one directory of all files, and what zstd may ask for */
        .memory = req->memory + req->max_entries * 64 + (384ULL << 20) + (req->max_size >> 11),
        .file_size = BX_MAX(req->max_size, BX_SCRATCH_MAX),
    };
}
