/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qmp.h - the client of QEMU's control protocol: one JSON object per line, answers in order, events between.
 *
 * What comes from QEMU is hostile (a captured QEMU can write anything): a line is at most 64 KiB, nesting is bounded, an
 * answer nobody asked for ends the connection.
 */
#ifndef BX_VM_QMP_H
#define BX_VM_QMP_H

#include "base/err.h"
#include "loop/loop.h"

struct bx_qmp;

/* Answer of a command: err is NULL on success; text is the JSON of "return" (or of "error"). */
typedef void bx_qmp_reply_fn(void *ud, const char *text, const struct bx_err *err);
/* An event: its name ("SHUTDOWN", "STOP", ...) and the JSON of its data ("{}" when none). */
typedef void bx_qmp_event_fn(void *ud, const char *name, const char *data);
/* The connection ended or broke the protocol; no callback after it. Outstanding commands were answered with an error. */
typedef void bx_qmp_gone_fn(void *ud, const struct bx_err *why);

/* Takes fd (also on failure). Capabilities are negotiated by itself, pipelined. */
struct bx_qmp *bx_qmp_new(struct bx_loop *loop, int fd, bx_qmp_event_fn *on_event, bx_qmp_gone_fn *on_gone, void *ud,
                          struct bx_err *err);
struct bx_qmp *bx_qmp_free(struct bx_qmp *q);
BX_DEFINE_CLEANUP(struct bx_qmp *, bx_qmp_free)

/*
 * Sends a command. `args` is a JSON object or NULL; `fn` may be NULL. pass_fd >= 0 goes along (SCM_RIGHTS) and is closed
 * in any case. At most 64 commands outstanding. 0 or negative.
 */
int bx_qmp_send(struct bx_qmp *q, const char *command, const char *args, int pass_fd, bx_qmp_reply_fn *fn, void *ud,
                struct bx_err *err);

#endif
