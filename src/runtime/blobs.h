/* SPDX-License-Identifier: Apache-2.0 */
/* blobs.h - making blobs: files in tmp, and boxlite-unpack that hashes them (private). */
#ifndef BX_RUNTIME_BLOBS_H
#define BX_RUNTIME_BLOBS_H

#include "runtime/job.h"
#include "runtime/runtime.h"

#define BX_BLOB_SIZE_MAX (256ULL << 30)
/* Up to so much is synced where it was written; boxlite-unpack waits for more. */
#define BX_SYNC_HERE_MAX (256u * 1024)

/* A blob to be: a file in tmp without a name. However its maker ends, nothing is left of it. */
struct bx_new_blob {
    int fd;
};
#define BX_NEW_BLOB_INIT {.fd = -1}

int bx_new_blob_open(struct CBoxliteRuntime *rt, struct bx_new_blob *b, struct bx_err *err);
/* Under its digest. What was written is on the disk: whoever wrote it has seen to it. It is closed. */
int bx_new_blob_publish(struct CBoxliteRuntime *rt, struct bx_new_blob *b, const char *digest, struct bx_err *err);
/* Closes what was not published, which ends it. */
void bx_new_blob_drop(struct bx_new_blob *b);

/* A document that was written here, on its way to be a blob. fn, which is called from the loop, gets its digest, or err; then it is freed. */
struct bx_made_blob;
typedef void bx_made_blob_fn(void *ud, const char *digest, const struct bx_err *err);
struct bx_made_blob *bx_made_blob_start(struct CBoxliteRuntime *rt, const void *text, size_t len, bx_made_blob_fn *fn, void *ud,
                                        struct bx_err *err);
/* Gives up. Accepts NULL; returns NULL. */
struct bx_made_blob *bx_made_blob_free(struct bx_made_blob *b);

/* boxlite-unpack MODE in out status max (unpack/main.c): in and out are borrowed, out may be -1. NULL with err. */
struct bx_job *bx_unpack_start(struct CBoxliteRuntime *rt, const char *mode, int in, int out, uint64_t max,
                               bx_job_fn *fn, void *ud, struct bx_err *err);
/* "file SIZE SHA256" (or another line of this form, by its first word) in what it said. ret_size may be NULL. */
int bx_unpack_digest(const char *text, size_t len, const char *word, char ret_digest[72], uint64_t *ret_size,
                     struct bx_err *err);

/* boxlite-unpack import: an archive from where `in` stands, to `out`. Both are borrowed. NULL with err. */
struct bx_job *bx_unpack_import(struct CBoxliteRuntime *rt, int in, int out, bx_job_fn *fn, void *ud, struct bx_err *err);
struct bx_imported {
    char layer[72], diff_id[72]; /* digests: as it came, and of the tar in it */
    uint64_t size;               /* as it came */
    char packing[8];             /* "", "gzip" or "zstd" */
    int64_t newest;              /* latest time in it: seconds since 1970 */
};
/* What it said. */
int bx_unpack_imported(const char *text, size_t len, struct bx_imported *ret, struct bx_err *err);

#endif
