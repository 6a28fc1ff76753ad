/* SPDX-License-Identifier: Apache-2.0 */
/* out.h - records to a descriptor, a good piece at a time. Blocking. */
#ifndef BX_FILES_OUT_H
#define BX_FILES_OUT_H

#include "wire/record.h"

#define BX_OUT_PIECE (256 * 1024)

struct bx_rec_out {
    int fd; /* borrowed */
    struct bx_buf buf;
    int failed; /* -errno of the first write that did; nothing is written after it */
};

void bx_rec_out_init(struct bx_rec_out *o, int fd);
void bx_rec_out_done(struct bx_rec_out *o);

/* 0 or -errno: the reader is gone (-EPIPE), memory is short; -EINVAL: what was to be said is no record. */
int bx_rec_out_entry(struct bx_rec_out *o, const struct bx_rec_entry *e);
int bx_rec_out_close(struct bx_rec_out *o, uint64_t size);
int bx_rec_out_up(struct bx_rec_out *o);
/* Reads up to `max` bytes of fd, from `offset` of it (or, offset < 0, from where it stands, as what is at
 * `at`) and sends them. How many, 0 at the end, -errno: of reading -errno, of writing o->failed. */
ssize_t bx_rec_out_data(struct bx_rec_out *o, int fd, int64_t offset, uint64_t at, size_t max);
/* Writes all that waits. */
int bx_rec_out_flush(struct bx_rec_out *o);
/* END, and out with it. */
int bx_rec_out_end(struct bx_rec_out *o, const struct bx_err *err, const struct bx_rec_counts *counts);

#endif
