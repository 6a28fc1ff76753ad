/* SPDX-License-Identifier: Apache-2.0 */
/*
 * work.h - what blocks, beside the loop: waiting for a lock, hashing what a killed pull left, syncing to the
 * disk.
 *
 * A piece of work runs on a thread of its own; its end is an event of the loop. The work touches nothing but
 * its own `ud`, which the loop leaves alone until then. There is no cancelling: the process ends instead.
 */
#ifndef BX_PULL_WORK_H
#define BX_PULL_WORK_H

#include "base/err.h"
#include "loop/loop.h"

struct bx_work_pool;

typedef void bx_work_fn(void *ud);

/* NULL with errno. */
struct bx_work_pool *bx_work_pool_new(struct bx_loop *loop);
/* Runs fn(ud) beside the loop, then done(ud) in it. 0 or negative: nothing was started. */
int bx_work_start(struct bx_work_pool *p, bx_work_fn *fn, bx_work_fn *done, void *ud, struct bx_err *err);

#endif
