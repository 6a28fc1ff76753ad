/* SPDX-License-Identifier: Apache-2.0 */
/* rootfs.h - the disk of a box whose image is a folder in OCI layout (private). */
#ifndef BX_RUNTIME_ROOTFS_H
#define BX_RUNTIME_ROOTFS_H

#include "runtime/runtime.h"

struct bx_rootfs;
/* err NULL: the disk (a file under disks/) of the image with this manifest is there, and the box is pinned to it. */
typedef void bx_rootfs_fn(void *ud, const char *manifest_digest, const char *disk, const struct bx_err *err);

/*
 * Finds the image in the folder, pins the box to its disk, and makes that unless it is there. fn is called from the loop. `must_be`: only an
 * image with this manifest will do, for a box that has written to its disk already; or NULL. NULL with err.
 */
struct bx_rootfs *bx_rootfs_start(struct CBoxliteRuntime *rt, const char *box_id, const char *path, const char *must_be,
                                  bx_rootfs_fn *fn, void *ud, struct bx_err *err);
/* Gives up. Accepts NULL; returns NULL. */
struct bx_rootfs *bx_rootfs_free(struct bx_rootfs *f);

#endif
