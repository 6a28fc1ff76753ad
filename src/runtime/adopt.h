/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adopt.h - an image whose blobs have come into the store, by whatever way, becomes a row (private).
 *
 * Whoever brought the blobs has verified their digests and holds the image lease. What the documents say is a
 * stranger's word all the same: platform, counts and sizes are checked here, once for every way.
 */
#ifndef BX_RUNTIME_ADOPT_H
#define BX_RUNTIME_ADOPT_H

#include "image/manifest.h"
#include "runtime/runtime.h"

/* What this host runs. */
#define BX_IMAGE_OS "linux"
#if defined(__aarch64__)
#define BX_IMAGE_ARCH "arm64"
#else
#define BX_IMAGE_ARCH "amd64"
#endif

struct bx_adopt {
    char digest[72]; /* of the manifest */
    char *text;
    struct bx_manifest manifest;
};
void bx_adopt_done(struct bx_adopt *a);
#define bx_cleanup_adopt BX_CLEANUP(bx_adopt_done)

/* Reads the manifest of this digest from the store. An image without layers is refused. */
int bx_adopt_manifest(struct CBoxliteRuntime *rt, const char *digest, struct bx_adopt *ret,
                      struct bx_err *err);
/* Reads the configuration: is the image for this host, and does it tell of as many layers? */
int bx_adopt_check(struct CBoxliteRuntime *rt, const struct bx_adopt *a, struct bx_err *err);
/* All blobs are there, with the sizes the manifest says: the row is written, under this canonical reference.
 */
int bx_adopt_put(struct CBoxliteRuntime *rt, const struct bx_adopt *a, const char *reference,
                 struct bx_err *err);

/* For callbacks; NULL when out of memory. */
CImagePullResult *bx_pull_result(const char *reference, const char *config_digest, int layer_count);

#endif
