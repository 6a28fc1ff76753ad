/* SPDX-License-Identifier: Apache-2.0 */
/* import.h - a plain archive of a root file system, on its way to be an image's only layer. */
#ifndef BX_UNPACK_IMPORT_H
#define BX_UNPACK_IMPORT_H

#include "unpack/lockdown.h"
#include "unpack/stream.h"

struct bx_import_result {
    uint64_t size; /* of the archive as it came */
    uint8_t blob[BX_SHA256_LEN];
    uint64_t content_size; /* of the tar in it */
    uint8_t content[BX_SHA256_LEN];
    const char *packing; /* of bx_stream_packing */
    uint64_t entries;
    int64_t newest; /* latest time of an entry: seconds since 1970, 0 when none is later */
};

struct bx_import_files {
    int in;      /* the archive, from where it stands: a regular file, a pipe or a socket, blocking or not */
    bool stream; /* it is no regular file */
    int out;     /* empty and regular: becomes the layer */
    int scratch; /* empty and regular: for what is not kept in memory */
};

/*
 * Copies the archive, then reads the copy as a tar: plain, gzip or zstd, whole, and such as makes a tree within the limits of layers.
 * max_bytes bounds the archive and, by itself, what it unpacks to.
 */
int bx_import(const struct bx_import_files *files, uint64_t max_bytes, struct bx_progress *progress, struct bx_import_result *ret,
              struct bx_err *err);

/* What bx_import may need. */
void bx_import_limits(uint64_t max_bytes, struct bx_lockdown_limits *ret);

#endif
