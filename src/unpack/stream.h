/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.h - reads one blob from a descriptor: hashed as it is, decompressed (gzip, zstd, or plain), hashed again.
 */
#ifndef BX_UNPACK_STREAM_H
#define BX_UNPACK_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "unpack/status.h"

#define BX_SHA256_LEN 32

struct bx_stream_limits {
    uint64_t max_bytes; /* after decompression */
    uint64_t max_ratio; /* of decompressed to compressed size, counted from the first GiB on; 0: none */
};

struct bx_stream;

/* fd stays the caller's and is read from its start; size is that of the file. progress may be NULL. */
int bx_stream_open(int fd, uint64_t size, const struct bx_stream_limits *limits, struct bx_progress *progress,
                   struct bx_stream **ret, struct bx_err *err);
void bx_stream_free(struct bx_stream *s);

/* The next piece of decompressed content, owned by the stream until the next call. Its length, 0 at the end. */
ssize_t bx_stream_read(struct bx_stream *s, const void **ret, struct bx_err *err);

/* Reads the compressed blob to its end, so that its digest is known; with content, also what is left of that. */
int bx_stream_drain(struct bx_stream *s, bool content, struct bx_err *err);

const char *bx_stream_packing(const struct bx_stream *s); /* "plain", "gzip" or "zstd" */
uint64_t bx_stream_bytes(const struct bx_stream *s); /* decompressed so far */

/* Digests of the blob and of its content; after bx_stream_drain, once. */
void bx_stream_digests(struct bx_stream *s, uint8_t ret_blob[BX_SHA256_LEN], uint8_t ret_content[BX_SHA256_LEN]);

/* At least how many bytes the blob has when decompressed, as far as its header or trailer tells. */
uint64_t bx_stream_estimate(int fd, uint64_t size);

/* SHA-256 in pieces. */
struct evp_md_ctx_st;
struct evp_md_ctx_st *bx_sha256_new(void); /* NULL: out of memory */
void bx_sha256_free(struct evp_md_ctx_st *ctx);
void bx_sha256_restart(struct evp_md_ctx_st *ctx);
void bx_sha256_add(struct evp_md_ctx_st *ctx, const void *data, size_t len);
void bx_sha256_end(struct evp_md_ctx_st *ctx, uint8_t ret[BX_SHA256_LEN]);

#endif
