/* SPDX-License-Identifier: Apache-2.0 */
/* files.h - what FileOp asks for, done (files_ops.c) and, by files.c, in a process of its own. */
#ifndef BX_GUEST_FILES_H
#define BX_GUEST_FILES_H

#include "files/out.h"
#include "files/place.h"
#include "wire/messages.h"

/* Records from `in`, records to `out`, which gets its END whatever happens. Blocking. */
void bx_files_work(const struct bx_place *place, const boxlite_FileOp *op, int in, int out);

#endif
