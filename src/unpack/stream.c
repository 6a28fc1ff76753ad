/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.c - a blob as a stream of decompressed pieces, with the digests of both.
 *
 * libarchive does the decompression: a "raw" archive with exactly the one filter that the magic number names, so that
 * filters cannot be nested. Its pieces are handed on without a copy.
 */
#include "unpack/stream.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

#define READ_SIZE   (1U << 20)
#define RATIO_AFTER (1ULL << 30)

enum coding { PLAIN, GZIP, ZSTD };

struct bx_stream {
    int fd;
    uint64_t size;
    uint64_t pos; /* of the blob, as read */
    uint64_t out;
    enum coding coding;
    struct bx_stream_limits limits;
    struct bx_progress *progress;
    struct archive *raw; /* NULL: plain */
    bool opened;         /* raw: the header has been read */
    bool ended;
    bool read_failed;
    struct bx_err read_err;
    EVP_MD_CTX *blob;
    EVP_MD_CTX *content; /* NULL: plain, the same as blob */
    uint8_t *buf;
};

EVP_MD_CTX *bx_sha256_new(void)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

void bx_sha256_free(EVP_MD_CTX *ctx)
{
    EVP_MD_CTX_free(ctx);
}

/* None of these can fail for SHA-256 in a context that was made. */
void bx_sha256_restart(EVP_MD_CTX *ctx)
{
    bx_assert(EVP_DigestInit_ex(ctx, NULL, NULL) == 1);
}

void bx_sha256_add(EVP_MD_CTX *ctx, const void *data, size_t len)
{
    bx_assert(EVP_DigestUpdate(ctx, data, len) == 1);
}

void bx_sha256_end(EVP_MD_CTX *ctx, uint8_t ret[BX_SHA256_LEN])
{
    unsigned len = BX_SHA256_LEN;
    bx_assert(EVP_DigestFinal_ex(ctx, ret, &len) == 1);
}

/* The next piece of the blob as it is: its length, 0 at the end. */
static ssize_t read_blob(struct bx_stream *s, struct bx_err *err)
{
    ssize_t n;
    do
        n = pread(s->fd, s->buf, READ_SIZE, (off_t)s->pos);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "read the blob");
    if (n > 0) {
        bx_sha256_add(s->blob, s->buf, (size_t)n);
        s->pos += (uint64_t)n;
        if (s->progress)
            bx_progress_add(s->progress, (uint64_t)n);
    }
    return n;
}

static la_ssize_t read_callback(struct archive *a, void *user, const void **ret)
{
    struct bx_stream *s = user;
    ssize_t n = read_blob(s, &s->read_err);
    *ret = s->buf;
    if (n >= 0)
        return n;
    s->read_failed = true;
    archive_set_error(a, EIO, "%s", s->read_err.msg);
    return -1;
}

static int fail_raw(struct bx_stream *s, struct bx_err *err)
{
    if (s->read_failed) {
        if (err)
            *err = s->read_err;
        return -s->read_err.code;
    }
    const char *why = archive_error_string(s->raw);
    if (archive_errno(s->raw) == ENOMEM)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "decompress the layer");
    return bx_fail(err, BX_EIMAGE, 0, "damaged or truncated %s data: %s", s->coding == GZIP ? "gzip" : "zstd",
                   why ? why : "no reason given");
}

static int sniff(struct bx_stream *s, struct bx_err *err)
{
    uint8_t m[6] = { 0 };
    ssize_t n = pread(s->fd, m, sizeof(m), 0);
    if (n < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "read the blob");
    if (n == 0)
        return bx_fail(err, BX_EIMAGE, 0, "the blob is empty");
    uint32_t magic = bx_get_le32(m);
    if (m[0] == 0x1f && m[1] == 0x8b)
        s->coding = GZIP;
    else if (magic == 0xfd2fb528U || (magic & 0xfffffff0U) == 0x184d2a50U) /* a frame, or one to skip */
        s->coding = ZSTD;
    else if (memcmp(m, "\xfd" "7zXZ", 6) == 0 || memcmp(m, "BZh", 3) == 0)
        return bx_fail(err, BX_EUNSUPPORTED, 0, "compressed with %s; only gzip, zstd and plain tar are supported",
                       m[0] == 'B' ? "bzip2" : "xz");
    else
        s->coding = PLAIN;
    return 0;
}

static int open_raw(struct bx_stream *s, struct bx_err *err)
{
    s->content = bx_sha256_new();
    s->raw = archive_read_new();
    if (!s->content || !s->raw)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "read the blob");
    if (archive_read_support_format_raw(s->raw) != ARCHIVE_OK ||
        archive_read_append_filter(s->raw, s->coding == GZIP ? ARCHIVE_FILTER_GZIP : ARCHIVE_FILTER_ZSTD) != ARCHIVE_OK)
        return bx_fail(err, BX_EUNSUPPORTED, 0, "libarchive here cannot read %s", s->coding == GZIP ? "gzip" : "zstd");
    return 0;
}

int bx_stream_open(int fd, uint64_t size, const struct bx_stream_limits *limits, struct bx_progress *progress,
                   struct bx_stream **ret, struct bx_err *err)
{
    struct bx_stream *s = calloc(1, sizeof(*s));
    if (!s)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "read the blob");
    s->fd = fd;
    s->size = size;
    s->limits = *limits;
    s->progress = progress;
    s->buf = malloc(READ_SIZE);
    s->blob = bx_sha256_new();
    int r = 0;
    if (!s->buf || !s->blob)
        r = bx_fail(err, BX_ERESOURCE, ENOMEM, "read the blob");
    if (r >= 0)
        r = sniff(s, err);
    if (r >= 0 && s->coding != PLAIN)
        r = open_raw(s, err);
    if (r < 0) {
        bx_stream_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

void bx_stream_free(struct bx_stream *s)
{
    if (!s)
        return;
    archive_read_free(s->raw);
    bx_sha256_free(s->blob);
    bx_sha256_free(s->content);
    free(s->buf);
    free(s);
}

static int check_limits(struct bx_stream *s, size_t n, struct bx_err *err)
{
    s->out += n;
    if (s->out > s->limits.max_bytes)
        return bx_fail(err, BX_EIMAGE, 0, "unpacks to more than %llu bytes",
                       (unsigned long long)s->limits.max_bytes);
    if (s->limits.max_ratio && s->out > RATIO_AFTER && s->out / s->limits.max_ratio > s->pos)
        return bx_fail(err, BX_EIMAGE, 0, "unpacks to more than %llu times its size: a decompression bomb",
                       (unsigned long long)s->limits.max_ratio);
    return 0;
}

static ssize_t read_raw(struct bx_stream *s, const void **ret, struct bx_err *err)
{
    size_t n = 0;
    la_int64_t offset = 0;
    if (!s->opened) {
        struct archive_entry *entry = NULL;
        if (archive_read_open(s->raw, s, NULL, read_callback, NULL) != ARCHIVE_OK ||
            archive_read_next_header(s->raw, &entry) != ARCHIVE_OK)
            return fail_raw(s, err);
        s->opened = true;
    }
    int r = archive_read_data_block(s->raw, ret, &n, &offset);
    if (r == ARCHIVE_EOF)
        return 0;
    if (r != ARCHIVE_OK)
        return fail_raw(s, err);
    bx_sha256_add(s->content, *ret, n);
    return (ssize_t)n;
}

ssize_t bx_stream_read(struct bx_stream *s, const void **ret, struct bx_err *err)
{
    ssize_t n = 0;
    if (s->ended)
        return 0;
    if (s->raw) {
        n = read_raw(s, ret, err);
    } else {
        n = read_blob(s, err);
        *ret = s->buf;
    }
    if (n > 0) {
        int r = check_limits(s, (size_t)n, err);
        if (r < 0)
            n = r;
    }
    if (n <= 0)
        s->ended = true;
    return n;
}

int bx_stream_drain(struct bx_stream *s, bool content, struct bx_err *err)
{
    const void *p = NULL;
    ssize_t n = 1;
    while (content && n > 0) {
        n = bx_stream_read(s, &p, err);
        if (n < 0)
            return (int)n;
    }
    do
        n = read_blob(s, err);
    while (n > 0);
    return (int)n;
}

const char *bx_stream_packing(const struct bx_stream *s)
{
    static const char *const names[] = { [PLAIN] = "plain", [GZIP] = "gzip", [ZSTD] = "zstd" };
    return names[s->coding];
}

uint64_t bx_stream_bytes(const struct bx_stream *s)
{
    return s->out;
}

void bx_stream_digests(struct bx_stream *s, uint8_t ret_blob[BX_SHA256_LEN], uint8_t ret_content[BX_SHA256_LEN])
{
    bx_sha256_end(s->blob, ret_blob);
    if (s->content)
        bx_sha256_end(s->content, ret_content);
    else
        memcpy(ret_content, ret_blob, BX_SHA256_LEN);
}

/* The content size in a zstd frame's header, 0 when it is not stated (RFC 8878, section 3.1.1.1). */
static uint64_t zstd_content_size(const uint8_t *h)
{
    static const size_t dict_bytes[] = { 0, 1, 2, 4 };
    unsigned flag = h[4] >> 6;
    bool single = h[4] & 0x20;
    const uint8_t *p = h + 5 + (single ? 0 : 1) + dict_bytes[h[4] & 3];
    switch (flag) {
    case 0:
        return single ? p[0] : 0;
    case 1:
        return bx_get_le16(p) + 256ULL;
    case 2:
        return bx_get_le32(p);
    default:
        return (uint64_t)bx_get_le32(p + 4) << 32 | bx_get_le32(p);
    }
}

uint64_t bx_stream_estimate(int fd, uint64_t size)
{
    uint8_t h[18] = { 0 };
    uint64_t stated = 0;
    if (size < sizeof(h) || bx_pread_full(fd, h, sizeof(h), 0) < 0)
        return size;
    if (h[0] == 0x1f && h[1] == 0x8b) {
        uint8_t t[4]; /* gzip ends in the size modulo 4 GiB */
        if (bx_pread_full(fd, t, sizeof(t), (off_t)(size - sizeof(t))) == 0)
            stated = bx_get_le32(t);
    } else if (bx_get_le32(h) == 0xfd2fb528U) {
        stated = zstd_content_size(h);
    }
    return BX_MAX(size, stated);
}
