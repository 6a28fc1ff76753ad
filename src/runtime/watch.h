/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h - to be told when other programs write into files and folders of the home (private).
 *
 * One inotify descriptor for each runtime, only while somebody watches. It tells that something may be new, never what:
 * who is told looks for himself.
 */
#ifndef BX_RUNTIME_WATCH_H
#define BX_RUNTIME_WATCH_H

#include "runtime/runtime.h"

struct bx_watch;

/* May not add or remove watches. */
typedef void bx_watch_fn(void *ud);

/* Watches what fd is open on, a file or a folder (its names and the content of its files). NULL with err; ResourceExhausted
 * when the user's inotify limits are reached. */
struct bx_watch *bx_watch_add(struct CBoxliteRuntime *rt, int fd, bx_watch_fn *fn, void *ud, struct bx_err *err);
/* NULL is fine; returns NULL. */
struct bx_watch *bx_watch_remove(struct bx_watch *w);

#endif
