/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - the states of a box's row and the moves between them (private).
 *
 *      configured ──start──▶ running ◀──pause, resume──▶ paused
 *                              │  ╲                    ╱  │
 *                              │   ╲──stop──▶ stopping ◀──╱
 *        ▲ start               ▼              ▼           ▼
 *        └────────────── stopped, failed ◀──── its end ────
 *
 * A row is written by whoever holds boxes/<id>/start.lock, but for "stopping", which the program writes that asked for it.
 * "Paused" is in no row: it is a file of the supervisor's beside one that says "running" (bx_row_state). A move that the table does not have is refused by the store in the same transaction that would make it.
 * Removing is no move: the row goes.
 */
#ifndef BX_RUNTIME_STATE_H
#define BX_RUNTIME_STATE_H

#include <stdbool.h>

#include "wire/frame.h"

/* May a box go from one state (enum bx_box_state) to the other? */
bool bx_state_may(int from, int to);
/* The states it may come from, as bx_store_box_change wants them: bit mask of 1u << state. */
unsigned bx_state_before(int to);
/* Has it a supervisor, as far as the row knows? */
bool bx_state_active(int state);
/* "running" ...; "unknown" for what is none. */
const char *bx_state_name(int state);

#endif
