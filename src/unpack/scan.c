/* SPDX-License-Identifier: Apache-2.0 */
/* scan.c - see scan.h. What the members mean (manifests, blobs) is the library's matter; here are only bytes. */
#include "unpack/scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "unpack/tar.h"

#define MEMBERS_MAX 10000
#define ENTRIES_MAX 20000 /* directories and links too */
#define SPOOL_ALIGN 4096
#define COPY_SIZE   (1U << 20)

struct scan {
    struct bx_tar *tar;
    struct evp_md_ctx_st *sha;
    struct bx_progress *progress;
    int spool;
    uint64_t at;
    uint64_t max_bytes;
    uint64_t members;
    uint64_t entries;
    char name[3 * BX_INDEX_PATH_MAX + 1];
    char target[3 * BX_INDEX_PATH_MAX + 1];
};

/* Data with holes (sparse members) is hashed with its zeros. */
static void hash_zeros(struct scan *s, uint64_t n)
{
    static const uint8_t zeros[65536];
    while (n > 0) {
        size_t len = (size_t)BX_MIN(n, (uint64_t)sizeof(zeros));
        bx_sha256_add(s->sha, zeros, len);
        n -= len;
    }
}

static int copy_member(struct scan *s, uint64_t size, struct bx_err *err)
{
    const void *data = NULL;
    size_t len = 0;
    uint64_t offset = 0, pos = 0;
    int r;
    if (size > s->max_bytes || s->at > s->max_bytes - size)
        return bx_fail(err, BX_ERESOURCE, 0, "the archive holds more than the %llu bytes allowed",
                       (unsigned long long)s->max_bytes);
    bx_sha256_restart(s->sha);
    while ((r = bx_tar_data(s->tar, &data, &len, &offset, err)) > 0) {
        if (offset < pos || offset > size || len > size - offset)
            return bx_fail(err, BX_EIMAGE, 0, "damaged tar archive: a member's data does not fit its size");
        hash_zeros(s, offset - pos);
        bx_sha256_add(s->sha, data, len);
        r = bx_pwrite_full(s->spool, data, len, (off_t)(s->at + offset));
        if (r < 0)
            return bx_fail(err, BX_ESTORAGE, -r, "copy out of the archive");
        pos = offset + len;
    }
    if (r < 0)
        return r;
    hash_zeros(s, size - pos);
    return 0;
}

static int take_member(struct scan *s, const struct bx_tar_entry *e, struct bx_err *err)
{
    uint8_t digest[BX_SHA256_LEN];
    char hex[2 * BX_SHA256_LEN + 1];
    if (++s->members > MEMBERS_MAX)
        return bx_fail(err, BX_EIMAGE, 0, "the archive has more than %d files", MEMBERS_MAX);
    bx_status_encode(s->name, e->item.path);
    int r = copy_member(s, e->size, err);
    if (r < 0)
        return r;
    bx_sha256_end(s->sha, digest);
    bx_hex(hex, digest, sizeof(digest));
    bx_status_line(s->progress->fd, "member %llu %llu %s %s", (unsigned long long)s->at,
                   (unsigned long long)e->size, hex, s->name);
    s->at = BX_ALIGN_UP(s->at + e->size, (uint64_t)SPOOL_ALIGN);
    return 0;
}

static int take_entry(struct scan *s, const struct bx_tar_entry *e, struct bx_err *err)
{
    char shown[BX_SHOWN_MAX];
    if (++s->entries > ENTRIES_MAX)
        return bx_fail(err, BX_EIMAGE, 0, "the archive has more than %d entries", ENTRIES_MAX);
    if (strlen(e->item.path) >= BX_INDEX_PATH_MAX ||
        (e->item.target && strlen(e->item.target) >= BX_INDEX_PATH_MAX))
        return bx_fail(err, BX_EIMAGE, 0, "a path is longer than %d bytes: %s", BX_INDEX_PATH_MAX - 1,
                       bx_index_shown(shown, e->item.path));
    if (e->item.target) {
        bx_status_encode(s->name, e->item.path);
        bx_status_encode(s->target, e->item.target);
        bx_status_line(s->progress->fd, "link %s %s", s->name, s->target);
        return 0;
    }
    return S_ISREG(e->item.mode) ? take_member(s, e, err) : 0;
}

int bx_scan(int in, uint64_t size, int spool, uint64_t max_bytes, struct bx_progress *progress, uint64_t *ret_members,
            uint64_t *ret_bytes, struct bx_err *err)
{
    bx_cleanup_free struct scan *s = calloc(1, sizeof(*s));
    struct bx_stream *stream = NULL;
    /* headers and padding come on top of what is spooled */
    struct bx_stream_limits limits = { .max_bytes = max_bytes < UINT64_MAX / 2 ? max_bytes + (1ULL << 30) : UINT64_MAX };
    if (!s)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "read the archive");
    s->progress = progress;
    s->spool = spool;
    s->max_bytes = max_bytes;
    s->sha = bx_sha256_new();
    int r = s->sha ? 0 : bx_fail(err, BX_ERESOURCE, ENOMEM, "read the archive");
    if (r >= 0)
        r = bx_stream_open(in, size, &limits, progress, &stream, err);
    if (r >= 0)
        r = bx_tar_open(stream, &s->tar, err);
    struct bx_tar_entry entry;
    while (r >= 0 && (r = bx_tar_next(s->tar, &entry, err)) > 0)
        r = take_entry(s, &entry, err);
    if (r >= 0 && ftruncate(spool, (off_t)s->at) < 0) /* the last member may end in a hole */
        r = bx_fail(err, BX_ESTORAGE, errno, "copy out of the archive");
    *ret_members = s->members;
    *ret_bytes = s->at;
    bx_tar_free(s->tar);
    bx_stream_free(stream);
    bx_sha256_free(s->sha);
    return r;
}

int bx_hash_file(int in, int out, uint64_t max_bytes, struct bx_progress *progress, uint64_t *ret_size,
                 char ret_hex[65], struct bx_err *err)
{
    uint8_t digest[BX_SHA256_LEN];
    uint64_t at = 0;
    bx_cleanup_free uint8_t *buf = malloc(COPY_SIZE);
    struct evp_md_ctx_st *sha = bx_sha256_new();
    int r = buf && sha ? 0 : bx_fail(err, BX_ERESOURCE, ENOMEM, "hash a file");
    while (r >= 0) {
        ssize_t n = pread(in, buf, COPY_SIZE, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            r = bx_fail(err, BX_ESTORAGE, errno, "read a file");
        if (n <= 0)
            break;
        bx_sha256_add(sha, buf, (size_t)n);
        if ((uint64_t)n > max_bytes || at > max_bytes - (uint64_t)n)
            r = bx_fail(err, BX_ERESOURCE, 0, "a file is larger than the %llu bytes allowed",
                        (unsigned long long)max_bytes);
        int w = r >= 0 && out >= 0 ? bx_pwrite_full(out, buf, (size_t)n, (off_t)at) : 0;
        if (w < 0)
            r = bx_fail(err, BX_ESTORAGE, -w, "copy a file");
        at += (uint64_t)n;
        bx_progress_add(progress, (uint64_t)n);
    }
    if (r >= 0) {
        bx_sha256_end(sha, digest);
        bx_hex(ret_hex, digest, sizeof(digest));
        *ret_size = at;
    }
    bx_sha256_free(sha);
    return r;
}
