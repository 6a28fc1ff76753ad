/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logs.h - what a box's main process and its console have written, read for the program (private).
 *
 * Theory of operation
 *
 *  A reading is one event of the queue, which delivers a slice each time it comes to its turn and queues itself again:
 *  however much there is, drain does a bounded piece of work. With `tail` the files are read twice, first to count lines.
 *  Who follows waits at the end for the watch (watch.h) to tell that there is more. It is over when the box does not run
 *  any more, which the link to it tells: to follow is to be connected.
 */
#ifndef BX_RUNTIME_LOGS_H
#define BX_RUNTIME_LOGS_H

#include "runtime/box.h"

/* From life.c: the box does not run. Readings of it end when all is read. */
void bx_logs_down(struct bx_box *b);
/* The runtime ends, or works no more: all readings end with Stopped. */
void bx_logs_end(struct CBoxliteRuntime *rt);

#endif
