/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blob.c - see blob.h.
 *
 * Theory of operation
 *
 *      lock partial/HEX ──busy──▶ wait for it (beside the loop) ─┐
 *        │ ▲                                                     │
 *        │ └─────────────────────────────────────────────────────┘
 *        ├─ sha256/HEX is there meanwhile ─▶ done
 *        ▼
 *      hash what an earlier pull left (beside) ─▶ fetch the rest ─▶ digest ─▶ sync, rename (beside) ─▶ done
 *
 *  The file partial/HEX belongs to whoever holds its lock. It is renamed to sha256/HEX while locked, so
 *  whoever waited for the lock finds either the blob or an unfinished file that is its own now. A name that
 *  no longer leads to the locked file was published or collected: it is opened anew.
 *
 *  Bytes are hashed as they come and written in pieces of WRITE_SIZE. Every SYNC_STEP the disk is told to
 *  begin writing, so that the one fsync before the rename has little left to do. What survives a crash of
 *  the host in an unfinished file may be anything: its digest decides at the end, and then all is fetched
 *  once more, from zero.
 */
#include "pull/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"

#define WRITE_SIZE  (128 * 1024)
#define SYNC_STEP   (8 * 1024 * 1024)
#define HASH_PIECE  (1024 * 1024)
#define PROGRESS_NS (50 * BX_MSEC)
#define REOPEN_MAX  100

static const char *hex_of(const char *digest)
{
    return digest + 7;
}

/* "layer sha256:0123456789ab" */
static const char *name_of(const struct bx_blob *b, char dst[48])
{
    (void)snprintf(dst, 48, "%s %.19s", b->index >= 0 ? "layer" : "configuration", b->digest);
    return dst;
}

bool bx_blob_have(int sha256_fd, const char *digest, uint64_t size)
{
    struct stat st;

    if (fstatat(sha256_fd, hex_of(digest), &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
        (uint64_t)st.st_size != size)
        return false;
    /* writable: whoever published it was killed in between; not ours to be mended: fetched anew */
    return !(st.st_mode & 0222) || fchmodat(sha256_fd, hex_of(digest), 0444, 0) == 0;
}

uint64_t bx_blob_partial(int partial_fd, const char *digest)
{
    struct stat st;

    return fstatat(partial_fd, hex_of(digest), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode)
               ? (uint64_t)st.st_size
               : 0;
}

/* Does the name still lead to the file that we have locked? */
static bool is_current(const struct bx_blob *b)
{
    struct stat named;
    struct stat held;

    return fstatat(b->place->partial_fd, hex_of(b->digest), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           fstat(b->fd, &held) == 0 && named.st_ino == held.st_ino && named.st_dev == held.st_dev &&
           S_ISREG(held.st_mode);
}

/* --- the ends --- */

static void release(struct bx_blob *b)
{
    b->fd = bx_close(b->fd); /* and the lock */
    b->sha = bx_sha_free(b->sha);
    free(BX_TAKE_PTR(b->buf));
}

static void finish(struct bx_blob *b)
{
    release(b);
    b->fn(b->ud, b, BX_BLOB_DONE, NULL);
}

static void fail(struct bx_blob *b, const struct bx_err *err)
{
    struct bx_err why = *err;

    release(b);
    b->fn(b->ud, b, BX_BLOB_FAILED, &why);
}

/* Its content is known to be wrong: nobody shall go on with it. */
static void fail_bad(struct bx_blob *b, const struct bx_err *err)
{
    if (is_current(b))
        (void)unlinkat(b->place->partial_fd, hex_of(b->digest), 0);
    fail(b, err);
}

static void tell_progress(struct bx_blob *b, bool now)
{
    int64_t t = bx_now();

    if (b->index < 0 || (!now && t - b->told < PROGRESS_NS))
        return;
    b->told = t;
    bx_status_progress(b->place->fetcher->status, (size_t)b->index, b->done + b->buffered);
}

static uint64_t mib(uint64_t bytes)
{
    return (bytes >> 20) + ((bytes & 0xfffff) != 0);
}

/* Failures to write, with what would help. */
static int write_failed(const struct bx_blob *b, int e, struct bx_err *err)
{
    char name[48];

    if (e != ENOSPC && e != EDQUOT)
        return bx_fail(err, BX_ESTORAGE, e, "write %s", name_of(b, name));
    return bx_fail(err, BX_ESTORAGE, 0,
                   "%s left where images are kept: %s has %" PRIu64 " MiB, %" PRIu64
                   " MiB of it are missing; free space and pull again",
                   e == ENOSPC ? "no space is" : "no quota is", name_of(b, name), mib(b->size),
                   mib(b->size - b->done));
}

static int flush(struct bx_blob *b, struct bx_err *err)
{
    int r = b->buffered ? bx_pwrite_full(b->fd, b->buf, b->buffered, (off_t)b->done) : 0;

    if (r < 0)
        return write_failed(b, -r, err);
    b->done += b->buffered;
    b->buffered = 0;
    if (b->done - b->synced >= SYNC_STEP) {
        (void)sync_file_range(b->fd, (off_t)b->synced, (off_t)(b->done - b->synced),
                              SYNC_FILE_RANGE_WRITE); /* a hint */
        b->synced = b->done;
    }
    return 0;
}

static int start_over(struct bx_blob *b, struct bx_err *err)
{
    b->buffered = 0;
    b->done = 0;
    b->synced = 0;
    b->from_zero = true;
    bx_sha_reset(b->sha);
    return ftruncate(b->fd, 0) < 0 ? write_failed(b, errno, err) : 0;
}

/* --- publishing --- */

static void publish_work(void *ud)
{
    struct bx_blob *b = ud;
    const char *hex = hex_of(b->digest);
    int r;

    if (fsync(b->fd) < 0) {
        b->result = write_failed(b, errno, &b->err);
        return;
    }
    /* a blob of this name with another size is not what it says: replaced */
    if (!is_current(b)) {
        b->result = bx_fail(&b->err, BX_ESTORAGE, 0, "partial/%s was removed by another program", hex);
        return;
    }
    if (renameat(b->place->partial_fd, hex, b->place->sha256_fd, hex) < 0 || fchmod(b->fd, 0444) < 0)
        r = -errno;
    else
        r = bx_fsync_dir(b->place->sha256_fd);
    b->result = r < 0 ? bx_fail(&b->err, BX_ESTORAGE, -r, "publish %s", b->digest) : 0;
}

static void publish_done(void *ud)
{
    struct bx_blob *b = ud;

    if (b->result < 0)
        fail(b, &b->err);
    else
        finish(b);
}

static void start_fetch(struct bx_blob *b);

static void verify(struct bx_blob *b)
{
    struct bx_err err = BX_ERR_INIT;
    char found[BX_DIGEST_SIZE];
    char name[48];

    bx_sha_end(b->sha, found);
    if (strcmp(found, b->digest) == 0) {
        tell_progress(b, true);
        b->result = 0;
        if (bx_work_start(b->place->work, publish_work, publish_done, b, &err) < 0)
            fail(b, &err);
        return;
    }
    if (!b->from_zero &&
        !b->once_more) { /* the unfinished file was spoilt, or its parts are of two sources that differ */
        b->once_more = true;
        if (start_over(b, &err) < 0)
            fail(b, &err);
        else
            start_fetch(b);
        return;
    }
    bx_fail(&err, BX_EIMAGE, 0, "%s: %s sent other content than the image names (%.19s)", name_of(b, name),
            b->place->endpoints[b->endpoint].conf->host, found);
    fail_bad(b, &err);
}

/* --- fetching --- */

static uint64_t fetch_offset(void *ud)
{
    struct bx_blob *b = ud;
    struct bx_err err;

    /* what cannot be written here fails at the next piece, in words */
    if (flush(b, &err) < 0 || b->no_range)
        (void)start_over(b, &err);
    return b->done;
}

static int bad_range(struct bx_blob *b, const char *what, struct bx_err *err)
{
    char name[48];

    b->no_range = true;
    if (start_over(b, err) < 0)
        return -BX_ESTORAGE;
    bx_fail(err, BX_ENETWORK, 0, "%s: %s; once more from the start", name_of(b, name), what);
    return BX_FETCH_AGAIN;
}

static int fetch_head(void *ud, const struct bx_http_head *head, uint64_t offset, struct bx_err *err)
{
    struct bx_blob *b = ud;
    struct bx_content_range range;
    char name[48];
    uint64_t expect;

    if (head->status == 416)
        return bad_range(b, "the registry has not the rest", err);
    if (head->status == 206) {
        if (offset == 0 || !head->content_range || !bx_content_range_parse(head->content_range, &range) ||
            range.first != offset || range.last >= b->size ||
            (range.total != UINT64_MAX && range.total != b->size))
            return bad_range(b, "the registry sent another part than was asked for", err);
        b->from_zero = false;
    } else if (offset > 0 && start_over(b, err) < 0) {
        return -BX_ESTORAGE;
    }
    expect = b->size - b->done;
    if (head->length == BX_HTTP_UNKNOWN || head->length == expect ||
        (head->status == 206 && head->length < expect))
        return 0;
    return bx_fail(err, BX_EIMAGE, 0, "%s: the registry has %" PRIu64 " bytes, the image says %" PRIu64,
                   name_of(b, name), b->done + head->length, b->size);
}

static int fetch_body(void *ud, const uint8_t *data, size_t len, struct bx_err *err)
{
    struct bx_blob *b = ud;
    char name[48];

    if (len > b->size - b->done - b->buffered)
        return bx_fail(err, BX_EIMAGE, 0,
                       "%s: the registry sends more than the %" PRIu64 " bytes that the image says",
                       name_of(b, name), b->size);
    bx_sha_add(b->sha, data, len);
    while (len) {
        size_t n = BX_MIN(len, WRITE_SIZE - b->buffered);

        memcpy(b->buf + b->buffered, data, n);
        b->buffered += n;
        data += n;
        len -= n;
        if (b->buffered == WRITE_SIZE) {
            int r = flush(b, err);

            if (r < 0)
                return r;
        }
    }
    tell_progress(b, false);
    return 0;
}

static int fetch_end(void *ud, struct bx_err *err)
{
    struct bx_blob *b = ud;
    char name[48];
    int r = flush(b, err);

    if (r < 0 || b->done == b->size)
        return r;
    bx_fail(err, BX_ENETWORK, 0, "%s: the transfer ended after %" PRIu64 " of %" PRIu64 " bytes",
            name_of(b, name), b->done, b->size);
    return BX_FETCH_AGAIN;
}

static void fetch_done(void *ud, enum bx_fetch_result result, const struct bx_err *err)
{
    struct bx_blob *b = ud;
    struct bx_err why = *err;
    char name[48];

    if (result == BX_FETCH_OK) {
        verify(b);
        return;
    }
    if (result == BX_FETCH_NEXT && b->endpoint + 1 < b->place->n_endpoints) {
        b->endpoint++;
        b->no_range = false;
        start_fetch(b);
        return;
    }
    if (result == BX_FETCH_NEXT) {
        if (b->buffered)
            (void)flush(b, NULL); /* the next pull goes on from here */
        bx_prefix(&why, "%s", name_of(b, name));
        fail(b, &why);
    } else if (why.code == BX_EIMAGE) {
        fail_bad(b, &why);
    } else {
        fail(b, &why);
    }
}

static void start_fetch(struct bx_blob *b)
{
    static const struct bx_fetch_ops ops = {
        .offset = fetch_offset, .head = fetch_head, .body = fetch_body, .end = fetch_end, .done = fetch_done};
    struct bx_endpoint *e = &b->place->endpoints[b->endpoint];
    bx_cleanup_free char *url = bx_endpoint_url(e, "blobs", b->digest);
    struct bx_fetch_spec spec = {.endpoint = e, .url = url, .retries = b->place->retries, .index = b->index};
    struct bx_err err = BX_ERR_INIT;

    if (!b->buf)
        b->buf = malloc(WRITE_SIZE);
    if (!url || !b->buf)
        bx_fail(&err, BX_ERESOURCE, ENOMEM, "fetch");
    else
        (void)bx_fetch_start(b->place->fetcher, &spec, &ops, b, &err);
    if (err.code)
        fail(b, &err);
}

/* --- what an earlier pull left --- */

static void hash_work(void *ud)
{
    struct bx_blob *b = ud;
    bx_cleanup_free uint8_t *piece = malloc(HASH_PIECE);
    uint64_t at = 0;

    if (!piece) {
        b->result = bx_fail(&b->err, BX_ERESOURCE, ENOMEM, "read what was fetched before");
        return;
    }
    while (at < b->on_disk) {
        size_t n = (size_t)BX_MIN(b->on_disk - at, (uint64_t)HASH_PIECE);
        int r = bx_pread_full(b->fd, piece, n, (off_t)at);

        if (r < 0) {
            b->result = bx_fail(&b->err, BX_ESTORAGE, -r, "read what was fetched before of %s", b->digest);
            return;
        }
        bx_sha_add(b->sha, piece, n);
        at += n;
    }
}

static void hash_done(void *ud)
{
    struct bx_blob *b = ud;

    if (b->result < 0) {
        fail(b, &b->err);
        return;
    }
    b->done = b->on_disk;
    b->synced = b->on_disk;
    b->from_zero = false;
    tell_progress(b, true);
    if (b->done == b->size)
        verify(b);
    else
        start_fetch(b);
}

/* The file is ours. */
static void begin(struct bx_blob *b)
{
    struct bx_err err = BX_ERR_INIT;
    struct stat st;

    b->sha = bx_sha_new();
    if (!b->sha) {
        bx_fail(&err, BX_ERESOURCE, ENOMEM, "fetch");
    } else if (fstat(b->fd, &st) < 0) {
        bx_fail(&err, BX_ESTORAGE, errno, "fetch");
    } else if (st.st_size > 0 && (uint64_t)st.st_size <= b->size) {
        b->on_disk = (uint64_t)st.st_size;
        b->result = 0;
        if (bx_work_start(b->place->work, hash_work, hash_done, b, &err) == 0)
            return;
    } else if (start_over(b, &err) == 0) {
        if (b->size == 0)
            verify(b);
        else
            start_fetch(b);
        return;
    }
    fail(b, &err);
}

/* --- the lock --- */

/* Opens the unfinished file. 0, or negative with err. */
static int open_partial(struct bx_blob *b, struct bx_err *err)
{
    b->fd = openat(b->place->partial_fd, hex_of(b->digest), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (b->fd >= 0)
        return 0;
    return errno == ENOSPC || errno == EDQUOT
               ? write_failed(b, errno, err)
               : bx_fail(err, BX_ESTORAGE, errno, "open partial/%s", hex_of(b->digest));
}

static void lock_work(void *ud)
{
    struct bx_blob *b = ud;
    int r;

    do
        r = flock(b->fd, LOCK_EX);
    while (r < 0 && errno == EINTR);
    b->result = r < 0 ? bx_fail(&b->err, BX_ESTORAGE, errno, "wait for partial/%s", hex_of(b->digest)) : 0;
}

static void take(struct bx_blob *b);

static void lock_done(void *ud)
{
    struct bx_blob *b = ud;

    b->fn(b->ud, b, BX_BLOB_RUNS, NULL);
    if (b->result < 0)
        fail(b, &b->err);
    else
        take(b);
}

/* We hold the lock of some file that had the name. */
static void take(struct bx_blob *b)
{
    struct bx_err err = BX_ERR_INIT;

    for (unsigned i = 0; i < REOPEN_MAX; i++) {
        bool current = is_current(b);

        if (bx_blob_have(b->place->sha256_fd, b->digest, b->size)) {
            if (current)
                (void)unlinkat(b->place->partial_fd, hex_of(b->digest), 0);
            finish(b);
            return;
        }
        if (current) {
            begin(b);
            return;
        }
        b->fd = bx_close(b->fd);
        if (open_partial(b, &err) < 0) {
            fail(b, &err);
            return;
        }
        if (flock(b->fd, LOCK_EX | LOCK_NB) == 0)
            continue;
        b->fn(b->ud, b, BX_BLOB_WAITS, NULL);
        if (bx_work_start(b->place->work, lock_work, lock_done, b, &err) < 0)
            fail(b, &err);
        return;
    }
    bx_fail(&err, BX_ESTORAGE, 0, "partial/%s is removed again and again by another program",
            hex_of(b->digest));
    fail(b, &err);
}

void bx_blob_start(struct bx_blob *b, const struct bx_blob_place *place, bx_blob_fn *fn, void *ud)
{
    b->place = place;
    b->fn = fn;
    b->ud = ud;
    b->fd = -1;
    b->endpoint = place->first;
    take(b);
}

int bx_blob_put(const struct bx_blob_place *place, const char *digest, const void *data, size_t len,
                struct bx_err *err)
{
    char name[32];
    bx_cleanup_close int fd = -1;
    int r;

    if (bx_blob_have(place->sha256_fd, digest, len))
        return 0;
    fd = bx_tmpfile_at(place->partial_fd, "manifest", 0444, name, sizeof(name));
    if (fd < 0)
        return bx_fail(err, BX_ESTORAGE, -fd, "make a file where images are kept");
    (void)flock(fd, LOCK_EX | LOCK_NB); /* nobody else's garbage while we live */
    r = bx_write_full(fd, data, len);
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    if (r == 0 && renameat(place->partial_fd, name, place->sha256_fd, hex_of(digest)) < 0)
        r = -errno;
    if (r < 0)
        (void)unlinkat(place->partial_fd, name, 0);
    else
        r = bx_fsync_dir(place->sha256_fd);
    return r < 0 ? bx_fail(err, BX_ESTORAGE, -r, "keep the manifest %s", digest) : 0;
}
