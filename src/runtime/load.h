/* SPDX-License-Identifier: Apache-2.0 */
/* load.h - taking an image from a folder or an archive into the store, for a call or for the start of a box
 * (private). */
#ifndef BX_RUNTIME_LOAD_H
#define BX_RUNTIME_LOAD_H

#include "runtime/runtime.h"

struct bx_adopt;
struct bx_load;
/* err NULL: the image is in the store, and the result is the callee's. */
typedef void bx_load_fn(void *ud, CImagePullResult *result, const struct bx_err *err);

/* fn is called from the loop, never from within. name NULL: the image's own. NULL with err. */
struct bx_load *bx_load_start(struct CBoxliteRuntime *rt, const char *path, const char *name,
                              bx_load_fn *fn, void *ud, struct bx_err *err);

/* The only image of a folder, which gets no name. Manifest and configuration come into the store; layers stay where they are. */
struct bx_load *bx_load_folder(struct CBoxliteRuntime *rt, const char *path, bx_load_fn *fn, void *ud,
                               struct bx_err *err);
/* Called before fn, while manifest and configuration are nobody's garbage: from then on a row must need them. `folder` is borrowed. */
typedef int bx_load_take_fn(void *ud, const struct bx_adopt *image, int folder, struct bx_err *err);
void bx_load_on_take(struct bx_load *l, bx_load_take_fn *take);

/* Gives up. Accepts NULL; returns NULL. */
struct bx_load *bx_load_free(struct bx_load *l);

/* A load for a call: the op is answered. Negative: it was not taken. */
int bx_load_begin(struct CBoxliteRuntime *rt, const char *path, const char *name, struct bx_op *op,
                  struct bx_err *err);
/* Ends those of calls. */
void bx_loads_end(struct CBoxliteRuntime *rt);

#endif
