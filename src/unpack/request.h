/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.h - what boxlite-unpack convert is asked to do: lines of text on a descriptor, written by the library.
 *
 *   boxlite-unpack 1                  first line: version
 *   output FD                         an empty regular file, read and write: becomes the ext4 file system
 *   scratch FD                        optional: an unlinked regular file for an index larger than `memory`
 *   size BYTES                        of the file system; made larger when the image needs it, up to ...
 *   max-size BYTES                    ... this
 *   free BYTES                        how much may be written, output and scratch together
 *   uuid HEX                          32 digits: of the file system, and seed of its directory hash
 *   time SECONDS                      of creation
 *   memory BYTES                      optional, default 32 MiB: of the index; what it needs beyond goes to the scratch file
 *   max-entries N                     optional, default 4,000,000: files
 *   max-bytes BYTES                   optional, default max-size: what all layers unpack to
 *   max-ratio N                       optional, default 1,000: of unpacked to packed, from the first GiB of a layer on
 *   layer FD SHA256 DIFF_ID           lowest first; DIFF_ID is the SHA-256 of the unpacked layer, or "-"
 *   end
 */
#ifndef BX_UNPACK_REQUEST_H
#define BX_UNPACK_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "unpack/index.h"
#include "unpack/stream.h"

#define BX_MAX_ENTRIES  4000000
#define BX_MAX_RATIO    1000
#define BX_INDEX_MEMORY (32ULL << 20)
#define BX_SCRATCH_MAX  (4ULL << 30)

struct bx_layer {
    int fd;
    uint64_t size; /* of the blob */
    uint8_t digest[BX_SHA256_LEN];
    bool has_diff_id;
    uint8_t diff_id[BX_SHA256_LEN];
};

struct bx_request {
    int output;
    int scratch; /* -1: none */
    uint64_t size;
    uint64_t max_size;
    uint64_t free;
    uint64_t memory;
    uint64_t max_entries;
    uint64_t max_bytes;
    uint64_t max_ratio;
    int64_t time;
    uint8_t uuid[16];
    bool has_uuid;
    struct bx_layer *layers;
    size_t n_layers;
};

/* Reads fd to its end. */
int bx_request_read(int fd, struct bx_request *ret, struct bx_err *err);
void bx_request_done(struct bx_request *req);

#endif
