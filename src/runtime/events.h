/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.h - what happens in the home: told to others, and read for the program (private).
 *
 * Events are lines in files of the home (host/event_log.h): shims and programs write them, and a program that wants to
 * know reads them, its own too, so that all who listen hear the same in the same order. What moves a box from state to
 * state is written by whoever did it: the shim while it lives, else the program that finds it dead.
 */
#ifndef BX_RUNTIME_EVENTS_H
#define BX_RUNTIME_EVENTS_H

#include "host/event_log.h"
#include "runtime/runtime.h"

/* Writes it; a failure is nobody's. */
void bx_event_tell(struct CBoxliteRuntime *rt, const struct bx_event *e);
/* Of a row of the store, and of an image by its reference. */
struct bx_box_row;
void bx_event_box(struct CBoxliteRuntime *rt, const char *type, const struct bx_box_row *row, const char *message);
void bx_event_image(struct CBoxliteRuntime *rt, const char *type, const char *reference);
/* The runtime ends: nobody is told any more. */
void bx_events_end(struct CBoxliteRuntime *rt);

#endif
