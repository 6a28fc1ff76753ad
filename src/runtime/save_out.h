/* SPDX-License-Identifier: Apache-2.0 */
/* save_out.h - where a saved image goes: a folder, an archive, or a stream (private). */
#ifndef BX_RUNTIME_SAVE_OUT_H
#define BX_RUNTIME_SAVE_OUT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct bx_save_out;

/* format: "oci-dir", "oci-archive", or NULL for what the path tells. What is there already stays as it is until
 * bx_save_out_publish. -BX_EEXISTS, -BX_EINVALID, -BX_ESTORAGE. */
int bx_save_out_open(const char *path, const char *format, struct bx_save_out **ret, struct bx_err *err);
/* Removes what was not published. Accepts NULL. */
void bx_save_out_free(struct bx_save_out *o);

/*
 * One file after another: begin, then its `size` bytes by add or copy, then (bx_save_out_push has said 1) end.
 */
int bx_save_out_begin(struct bx_save_out *o, const char *name, uint64_t size, struct bx_err *err);
int bx_save_out_add(struct bx_save_out *o, const void *data, size_t len, struct bx_err *err);
/* Up to len bytes of in, from `at`: how many it took; not more than a few MiB. Only after push has said 1. */
ssize_t bx_save_out_copy(struct bx_save_out *o, int in, uint64_t at, uint64_t len, struct bx_err *err);
int bx_save_out_end(struct bx_save_out *o, struct bx_err *err);
/* After the last file. */
int bx_save_out_finish(struct bx_save_out *o, struct bx_err *err);

/* Writes what waits to be written. 1: all; 0: bx_save_out_fd is to be waited for. */
int bx_save_out_push(struct bx_save_out *o, struct bx_err *err);
int bx_save_out_fd(const struct bx_save_out *o);
/* Of what was ended or finished: must it be brought to the disk (bx_save_out_fd) before going on? */
bool bx_save_out_unsynced(const struct bx_save_out *o);
void bx_save_out_synced(struct bx_save_out *o);

/* All of it is there: it gets its name. */
int bx_save_out_publish(struct bx_save_out *o, struct bx_err *err);

#endif
