/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.h - the lines of host/pull_plan.h on their way to the library.
 *
 * Writing never blocks: what the pipe does not take waits in a bounded buffer; progress that the library is
 * too slow for is left out. When nobody reads any more the process ends at once: the pull has lost its
 * purpose, and its partial files stay for the next one.
 */
#ifndef BX_PULL_STATUS_H
#define BX_PULL_STATUS_H

#include <stdint.h>

#include "base/err.h"
#include "loop/loop.h"

#define BX_PULL_EXIT_UNREAD 3

struct bx_status;

/* fd is borrowed and becomes non-blocking. NULL with errno. */
struct bx_status *bx_status_new(struct bx_loop *loop, int fd);
/* One line, made printable and cut to BX_PULL_LINE_MAX. */
void bx_status_line(struct bx_status *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Left out while earlier lines wait. */
void bx_status_progress(struct bx_status *s, size_t index, uint64_t done);
void bx_status_error(struct bx_status *s, const struct bx_err *err);
/* After the last line: waits (at most some seconds) until all is written; what is said later is dropped. */
void bx_status_end(struct bx_status *s);

#endif
