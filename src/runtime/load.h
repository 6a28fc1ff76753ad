/* SPDX-License-Identifier: Apache-2.0 */
/* load.h - taking an image from a folder or an archive into the store, for a call or for the start of a box
 * (private). */
#ifndef BX_RUNTIME_LOAD_H
#define BX_RUNTIME_LOAD_H

#include "runtime/runtime.h"

/* An image that nobody named, but for what it contains: localhost/rootfs@sha256:<its manifest>. */
#define BX_ROOTFS_NAME "localhost/rootfs"

struct bx_load;
/* err NULL: the image is in the store, and the result is the callee's. */
typedef void bx_load_fn(void *ud, CImagePullResult *result, const struct bx_err *err);

/* fn is called from the loop, never from within. by_content: of a folder, called BX_ROOTFS_NAME. NULL with err. */
struct bx_load *bx_load_start(struct CBoxliteRuntime *rt, const char *path, const char *name, bool by_content,
                              bx_load_fn *fn, void *ud, struct bx_err *err);
/* Gives up. Accepts NULL; returns NULL. */
struct bx_load *bx_load_free(struct bx_load *l);

/* A load for a call: the op is answered. Negative: it was not taken. */
int bx_load_begin(struct CBoxliteRuntime *rt, const char *path, const char *name, struct bx_op *op,
                  struct bx_err *err);
/* Ends those of calls. */
void bx_loads_end(struct CBoxliteRuntime *rt);

#endif
