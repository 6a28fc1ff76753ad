/* SPDX-License-Identifier: Apache-2.0 */
/*
 * live.h - what a box that runs says of itself (private).
 *
 * Who asks is served over the link that this runtime has to the box, else one is made; a box that does not run, or does
 * not answer, is answered for from its row.
 */
#ifndef BX_RUNTIME_LIVE_H
#define BX_RUNTIME_LIVE_H

#include "runtime/box.h"

/* The link is up: who waited for it asks now. */
void bx_live_up(struct bx_box *b);
/* There will be none: they are answered without. `why`: with this error instead. */
void bx_live_down(struct bx_box *b, const struct bx_err *why);

/* Makes a link to a box that another program runs, when there is none. 0: there is one, or will be; -BX_ESTATE: it does not run. */
int bx_live_connect(struct bx_box *b, struct bx_err *err);

/* wait.c: something may have ended, or be about to go: who waits is told by the row, or goes on waiting. There will be no end to be seen. */
void bx_wait_check(struct bx_box *b);
void bx_wait_fail(struct bx_box *b, const struct bx_err *err);

/* pause.c: asks the box's supervisor, or answers that it does not run. The op has a handle of its own, which goes with it. */
void bx_pause_ask(struct bx_op *op, struct bx_box *b);
void bx_pause_not_up(struct bx_op *op, struct bx_box *b);
/* Is it paused? Says so then. */
bool bx_pause_refuses(const struct bx_box *b, struct bx_err *err);

/* network_rules.c: tells the box its rules, or writes them to the row of one that does not run. The op has a handle of its own, which
 * goes with it. */
void bx_rules_ask(struct bx_op *op, struct bx_box *b);
void bx_rules_not_up(struct bx_op *op, struct bx_box *b);

/* metrics.c: answers from b->info when `live`. */
void bx_metrics_answer(struct bx_op *op, struct bx_box *b, bool live);
/* A BoxInfo with figures has come: the processor time since the one before it. */
void bx_metrics_sample(struct bx_box *b);
/* Begins a call about a box. False with err: it was given up. */
bool bx_live_begin(struct bx_op *op, CBoxHandle *box, struct bx_err *err);
/* Answers one that bx_live_begin has begun, and lets go of its handle. err NULL: it is done. */
void bx_live_finish(struct bx_op *op, const struct bx_err *err);
/* Posts a call that is answered by the box. */
BoxliteErrorCode bx_live_post(CBoxHandle *box, enum bx_op_kind kind, union bx_op_cb cb, void *user_data,
                              CBoxliteError *out_error);

#endif
