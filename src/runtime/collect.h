/* SPDX-License-Identifier: Apache-2.0 */
/* collect.h - removing images, and what nothing refers to (private). */
#ifndef BX_RUNTIME_COLLECT_H
#define BX_RUNTIME_COLLECT_H

#include "runtime/runtime.h"

struct bx_collect_plan {
    const char *remove; /* this image's names, by name or id; NULL: what prune removes */
    bool force;         /* ... boxes or not */
    bool all;           /* images that no box needs, too */
    int64_t older_ms;   /* ... of these, those that were not used for so long; 0: any */
    uint64_t keep; /* ... longest unused first, until everything holds no more than this; 0: all of them */
    bool dry_run;
};

/* Begins; the op (BX_OP_PRUNED) is answered from the loop. Negative: it was not taken. */
int bx_collect_begin(struct CBoxliteRuntime *rt, const struct bx_collect_plan *plan, struct bx_op *op,
                     struct bx_err *err);
void bx_collects_end(struct CBoxliteRuntime *rt);
/* Of a BX_OP_PRUNED. */
void bx_prune_result_free(CImagePruneResult *result);

#endif
