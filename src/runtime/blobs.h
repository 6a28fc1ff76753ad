/* SPDX-License-Identifier: Apache-2.0 */
/* blobs.h - making blobs: files in tmp, and boxlite-unpack that hashes them (private). */
#ifndef BX_RUNTIME_BLOBS_H
#define BX_RUNTIME_BLOBS_H

#include "runtime/job.h"
#include "runtime/runtime.h"

#define BX_BLOB_SIZE_MAX (256ULL << 30)
/* Up to so much is synced where it was written; boxlite-unpack waits for more. */
#define BX_SYNC_HERE_MAX (256u * 1024)

/* A blob to be: a file in tmp that is nobody's garbage as long as it is open. */
struct bx_new_blob {
    int fd;
    char tmp[64]; /* "": none */
};
#define BX_NEW_BLOB_INIT {.fd = -1}

int bx_new_blob_open(struct CBoxliteRuntime *rt, struct bx_new_blob *b, struct bx_err *err);
/* Under its digest. What was written is on the disk: whoever wrote it has seen to it. It is closed. */
int bx_new_blob_publish(struct CBoxliteRuntime *rt, struct bx_new_blob *b, const char *digest, struct bx_err *err);
/* Removes and closes what was not published. */
void bx_new_blob_drop(struct CBoxliteRuntime *rt, struct bx_new_blob *b);

/* boxlite-unpack MODE in out status max (unpack/main.c): in and out are borrowed, out may be -1. NULL with err. */
struct bx_job *bx_unpack_start(struct CBoxliteRuntime *rt, const char *mode, int in, int out, uint64_t max,
                               bx_job_fn *fn, void *ud, struct bx_err *err);
/* "file SIZE SHA256" (or another line of this form, by its first word) in what it said. ret_size may be NULL. */
int bx_unpack_digest(const char *text, size_t len, const char *word, char ret_digest[72], uint64_t *ret_size,
                     struct bx_err *err);

#endif
