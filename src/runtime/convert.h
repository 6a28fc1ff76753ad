/* SPDX-License-Identifier: Apache-2.0 */
/* convert.h - images of this home: found, read, made into disks (private). */
#ifndef BX_RUNTIME_CONVERT_H
#define BX_RUNTIME_CONVERT_H

#include "image/manifest.h"
#include "runtime/runtime.h"

/* disks/<hex of the manifest's digest>.ext4 */
#define BX_DISK_NAME_MAX 80
void bx_disk_name(char dst[BX_DISK_NAME_MAX], const char *manifest_digest);
/* Back: "sha256:<hex>"; false when the name is none of ours. */
bool bx_disk_digest(const char *disk_name, char *dst, size_t size);
bool bx_disk_exists(struct CBoxliteRuntime *rt, const char *disk_name);

/* The row of an image by what a user calls it: without a registry in the name, of the registries that are searched, in order,
 * then of docker.io. -BX_EIMAGE when it is not there. */
int bx_image_find(struct CBoxliteRuntime *rt, const char *reference, struct bx_image_row *ret,
                  struct bx_err *err);
/* The full form of a name that an image is to get: heap. -BX_EINVALID: it is none, or has a digest. */
int bx_image_new_name(const char *text, char **ret, struct bx_err *err);
/* Manifest, or configuration, of an image from the blob store. */
int bx_image_manifest(struct CBoxliteRuntime *rt, const char *digest, struct bx_manifest *ret,
                      struct bx_err *err);
int bx_image_config(struct CBoxliteRuntime *rt, const char *manifest_digest, struct bx_image_config *ret,
                    struct bx_err *err);

struct bx_convert;
/* err NULL: the disk is there. */
typedef void bx_convert_fn(void *ud, const struct bx_err *err);
/* Makes the disk of an image unless it is there; once, however many programs want it at the same time. fn is
 * called from the loop. */
struct bx_convert *bx_convert_start(struct CBoxliteRuntime *rt, const char *box_id,
                                    const char *manifest_digest, bx_convert_fn *fn, void *ud,
                                    struct bx_err *err);
/* Layers that are not in the store are read from this folder, which is an OCI layout: borrowed. 0, or negative: then give up. */
int bx_convert_from(struct bx_convert *c, int folder, struct bx_err *err);
/* Gives up. Accepts NULL; returns NULL. */
struct bx_convert *bx_convert_free(struct bx_convert *c);

#endif
