/* SPDX-License-Identifier: Apache-2.0 */
/* pull.h - fetching an image from a registry, for a call or for the start of a box (private). */
#ifndef BX_RUNTIME_PULL_H
#define BX_RUNTIME_PULL_H

#include "runtime/runtime.h"

struct bx_pull;
/* err NULL: the image is in the store; the result is the callee's, with the name as it was asked for. */
typedef void bx_pull_fn(void *ud, CImagePullResult *result, const struct bx_err *err);

/* fn is called from the loop, never from within. box_id: whose start wants it, or "". NULL with err. */
struct bx_pull *bx_pull_start(struct CBoxliteRuntime *rt, const char *box_id, const char *name,
                              bx_pull_fn *fn, void *ud, struct bx_err *err);
/* Gives up: what has come stays, and the next pull goes on from there. Accepts NULL; returns NULL. */
struct bx_pull *bx_pull_free(struct bx_pull *p);

/* A pull for a call: the op is answered. Negative: it was not taken. */
int bx_pull_begin(struct CBoxliteRuntime *rt, const char *name, struct bx_op *op, struct bx_err *err);
/* Ends those of calls, which are answered with `why`. */
void bx_pulls_end(struct CBoxliteRuntime *rt, const char *why);

#endif
