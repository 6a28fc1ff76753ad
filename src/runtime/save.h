/* SPDX-License-Identifier: Apache-2.0 */
/* save.h - images out of the store, into a folder or an archive (private). */
#ifndef BX_RUNTIME_SAVE_H
#define BX_RUNTIME_SAVE_H

#include "runtime/runtime.h"

/* Begins; the op is answered from the loop. Negative: it was not taken. */
int bx_save_begin(struct CBoxliteRuntime *rt, const char *const *references, size_t count, const char *path,
                  const char *format, struct bx_op *op, struct bx_err *err);
void bx_saves_end(struct CBoxliteRuntime *rt);

#endif
