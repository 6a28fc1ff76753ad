/* SPDX-License-Identifier: Apache-2.0 */
/* blob.h - one blob into the store: lock, resume, fetch, verify, publish. */
#ifndef BX_PULL_BLOB_H
#define BX_PULL_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pull/digest.h"
#include "pull/fetch.h"
#include "pull/work.h"

/* Where blobs come from and go to; the same for all of a pull. */
struct bx_blob_place {
    struct bx_fetcher *fetcher;
    struct bx_work_pool *work;
    int blobs_fd;   /* the store's directory ... */
    int sha256_fd;  /* ... its blobs ... */
    int partial_fd; /* ... and its unfinished ones */
    struct bx_endpoint *endpoints;
    size_t n_endpoints;
    size_t first; /* the endpoint that had the manifest; later ones are asked when it has not a blob */
    unsigned retries;
};

enum bx_blob_event {
    BX_BLOB_WAITS, /* another program has the lock */
    BX_BLOB_RUNS,  /* no longer */
    BX_BLOB_DONE,  /* in the store */
    BX_BLOB_FAILED,
};

struct bx_blob;
typedef void bx_blob_fn(void *ud, struct bx_blob *b, enum bx_blob_event event, const struct bx_err *err);

struct bx_blob {
    const struct bx_blob_place *place;
    char digest[BX_DIGEST_SIZE];
    uint64_t size;
    int index; /* first layer that it is; -1: the configuration */
    bx_blob_fn *fn;
    void *ud;

    /* private */
    int fd;
    struct bx_sha *sha;
    uint8_t *buf;
    size_t buffered;
    uint64_t done;    /* bytes in the file and in the hash */
    uint64_t synced;  /* bytes that the disk was told to write */
    uint64_t on_disk; /* of an unfinished file, when it is hashed again */
    bool from_zero;   /* all of it came in one go */
    bool once_more;   /* it was fetched again from zero because of its digest */
    bool no_range;    /* ranges are answered wrongly */
    size_t endpoint;
    int64_t told;      /* time of the last progress line */
    struct bx_err err; /* of work beside the loop */
    int result;
};

/* Is it in the store, with this size? */
bool bx_blob_have(int sha256_fd, const char *digest, uint64_t size);
/* How much of it an unfinished file has. */
uint64_t bx_blob_partial(int partial_fd, const char *digest);

/* Begins; fn may be called from within. The caller owns b and keeps it until DONE or FAILED. */
void bx_blob_start(struct bx_blob *b, const struct bx_blob_place *place, bx_blob_fn *fn, void *ud);

/* A small document that is known to have this digest; fine when it is there already. 0 or -BX_ESTORAGE. */
int bx_blob_put(const struct bx_blob_place *place, const char *digest, const void *data, size_t len,
                struct bx_err *err);

#endif
