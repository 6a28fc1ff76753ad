/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import.c - see import.h.
 *
 * The index of layers judges the tree, so that what is refused is refused now and not at a box's first start; data is only passed over.
 *
 * A layer comes with digests that say whether it is whole; an archive from a pipe comes with nothing, and when the program that writes it
 * dies, the pipe just ends. So what is imported must say itself that it is complete: a tar without its end mark is refused, although a
 * layer may lack it. (GNU tar, bsdtar, busybox, Go and Python all write the mark.)
 */
#include "unpack/import.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "unpack/convert.h"
#include "unpack/tar.h"

#define COPY_SIZE (1U << 20)
#define TAR_BLOCK 512

/* Bytes, 0 at the end. A descriptor of somebody else's program may be non-blocking, and a pipe that was opened before its writer came reads
 * as ended: all but regular files are waited for. */
static ssize_t read_some(const struct bx_import_files *f, void *buf, struct bx_err *err)
{
    for (;;) {
        struct pollfd p = { .fd = f->in, .events = POLLIN };
        if (f->stream && ppoll(&p, 1, NULL, NULL) < 0 && errno != EINTR)
            return bx_fail(err, BX_ESTORAGE, errno, "wait for the archive");
        ssize_t n = read(f->in, buf, COPY_SIZE);
        if (n >= 0)
            return n;
        if (errno != EINTR && errno != EAGAIN)
            return bx_fail(err, BX_ESTORAGE, errno, "read the archive");
    }
}

static int copy(const struct bx_import_files *f, uint64_t max_bytes, struct bx_progress *progress, uint64_t *ret_size, struct bx_err *err)
{
    bx_cleanup_free uint8_t *buf = malloc(COPY_SIZE);
    uint64_t size = 0;
    ssize_t n;
    if (!buf)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "read the archive");
    while ((n = read_some(f, buf, err)) > 0) {
        if ((uint64_t)n > max_bytes || size > max_bytes - (uint64_t)n)
            return bx_fail(err, BX_ERESOURCE, 0, "the archive is larger than the %llu bytes allowed", (unsigned long long)max_bytes);
        int w = bx_pwrite_full(f->out, buf, (size_t)n, (off_t)size);
        if (w < 0)
            return bx_fail(err, BX_ESTORAGE, -w, "copy the archive");
        size += (uint64_t)n;
        bx_progress_add(progress, (uint64_t)n);
    }
    *ret_size = size;
    return (int)n;
}

static int take_entry(struct bx_index *index, const struct bx_tar_entry *e, struct bx_import_result *ret, struct bx_err *err)
{
    const char *name = bx_starts_with(e->item.path, "./") ? e->item.path + 2 : e->item.path;
    uint32_t file = 0;
    if (bx_streq(name, "oci-layout") && S_ISREG(e->item.mode))
        return bx_fail(err, BX_EIMAGE, 0, "this is an image in an archive, not a root file system: `boxlite load` takes it");
    ret->entries++;
    ret->newest = BX_MAX(ret->newest, e->item.mtime.sec);
    int r = bx_index_add(index, &e->item, &file, err);
    return r < 0 || !file ? r : bx_index_set_data(index, file, e->size, NULL, 0, err);
}

static void release_nothing(void *user, const struct bx_ext4_extent *extents, size_t n)
{
    (void)user, (void)extents, (void)n; /* no data is kept */
}

static int read_entries(struct bx_tar *tar, int scratch, struct bx_import_result *ret, struct bx_err *err)
{
    const struct bx_index_options options = {
        .max_entries = BX_MAX_ENTRIES,
        .memory_limit = BX_INDEX_MEMORY,
        .scratch_limit = BX_SCRATCH_MAX,
        .scratch_fd = scratch,
        .release = release_nothing,
    };
    struct bx_index *index = NULL;
    struct bx_tar_entry entry;
    int r = bx_index_new(&options, &index, err);
    if (r >= 0)
        r = bx_index_begin_layer(index, err);
    while (r >= 0 && (r = bx_tar_next(tar, &entry, err)) > 0)
        r = take_entry(index, &entry, ret, err);
    bx_index_free(index);
    if (r == 0 && ret->entries == 0)
        return bx_fail(err, BX_EIMAGE, 0, "there is nothing in the archive");
    return r;
}

static int read_archive(struct bx_stream *stream, int scratch, struct bx_import_result *ret, struct bx_err *err)
{
    struct bx_tar *tar = NULL;
    int r = bx_tar_open(stream, &tar, err);
    if (r >= 0)
        r = read_entries(tar, scratch, ret, err);
    if (r >= 0)
        r = bx_stream_drain(stream, true, err);
    ret->content_size = bx_stream_bytes(stream);
    if (r >= 0 && ret->content_size < bx_tar_position(tar) + TAR_BLOCK)
        r = bx_fail(err, BX_EIMAGE, 0, "the archive was cut off: it has no end");
    bx_tar_free(tar);
    return r;
}

int bx_import(const struct bx_import_files *files, uint64_t max_bytes, struct bx_progress *progress, struct bx_import_result *ret,
              struct bx_err *err)
{
    struct bx_stream_limits limits = { .max_bytes = max_bytes, .max_ratio = BX_MAX_RATIO };
    struct bx_stream *stream = NULL;
    struct bx_import_result result = { 0 };
    int r = copy(files, max_bytes, progress, &result.size, err);
    if (r >= 0 && result.size == 0)
        r = bx_fail(err, BX_EIMAGE, 0, "the archive is empty: nothing came");
    progress->total = progress->done + result.size; /* it is read once more */
    if (r >= 0)
        r = bx_stream_open(files->out, result.size, &limits, progress, &stream, err);
    if (r < 0)
        return r;
    r = read_archive(stream, files->scratch, &result, err);
    if (r >= 0) {
        bx_stream_digests(stream, result.blob, result.content);
        result.packing = bx_stream_packing(stream);
    }
    bx_stream_free(stream);
    if (r >= 0 && fsync(files->out) < 0)
        r = bx_fail(err, BX_ESTORAGE, errno, "write the archive to stable storage");
    if (r >= 0)
        *ret = result;
    return r;
}

void bx_import_limits(uint64_t max_bytes, struct bx_lockdown_limits *ret)
{
    const struct bx_request like_a_layer = { .memory = BX_INDEX_MEMORY, .max_entries = BX_MAX_ENTRIES };
    bx_convert_limits(&like_a_layer, ret);
    ret->polled = 1;
    ret->file_size = BX_MAX(max_bytes + 1, ret->file_size); /* one more: what is too large is said in words */
}
