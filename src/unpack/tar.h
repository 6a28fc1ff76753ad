/* SPDX-License-Identifier: Apache-2.0 */
/* tar.h - the entries of a tar stream, as the layer index and the archive scan want them. */
#ifndef BX_UNPACK_TAR_H
#define BX_UNPACK_TAR_H

#include "base/err.h"
#include "unpack/index.h"
#include "unpack/stream.h"

struct bx_tar;

struct bx_tar_entry {
    struct bx_index_item item; /* strings valid until the next entry */
    uint64_t size;             /* of a regular file */
};

/* The stream stays the caller's. */
int bx_tar_open(struct bx_stream *stream, struct bx_tar **ret, struct bx_err *err);
void bx_tar_free(struct bx_tar *t);

/* 1: an entry, 0: the end. */
int bx_tar_next(struct bx_tar *t, struct bx_tar_entry *ret, struct bx_err *err);

/* Of the entry that bx_tar_next gave last, or, behind the last one, where it found the end: bytes from the start of the stream. */
uint64_t bx_tar_position(const struct bx_tar *t);

/* A piece of the current entry's data and its offset in the file; 1, or 0 at the end. */
int bx_tar_data(struct bx_tar *t, const void **ret, size_t *ret_len, uint64_t *ret_offset, struct bx_err *err);

/* Reads a small archive made here, so that whatever libarchive and the C library load on first use (character set
 * tables) is loaded. To be called before the program locks itself down. */
int bx_tar_warm_up(struct bx_err *err);

#endif
