/* SPDX-License-Identifier: Apache-2.0 */
/* load.h - taking an image from a folder or an archive into the store (private). */
#ifndef BX_RUNTIME_LOAD_H
#define BX_RUNTIME_LOAD_H

#include "runtime/runtime.h"

/* Begins; the op is answered from the loop. Negative: it was not taken. */
int bx_load_begin(struct CBoxliteRuntime *rt, const char *path, const char *name, struct bx_op *op,
                  struct bx_err *err);
void bx_loads_end(struct CBoxliteRuntime *rt);

#endif
