/* SPDX-License-Identifier: Apache-2.0 */
/* import.h - an archive of a root file system becomes an image (private). */
#ifndef BX_RUNTIME_IMPORT_H
#define BX_RUNTIME_IMPORT_H

#include "runtime/runtime.h"

/* Begins; the op is answered from the loop. `reference` is canonical; `config` (cmd, entrypoint, env, workdir, user) is taken over, also on
 * failure. Negative: it was not taken. */
int bx_import_begin(struct CBoxliteRuntime *rt, const char *path, const char *reference, struct CBoxliteOptions *config, struct bx_op *op,
                    struct bx_err *err);
void bx_imports_end(struct CBoxliteRuntime *rt);

#endif
