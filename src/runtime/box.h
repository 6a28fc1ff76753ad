/* SPDX-License-Identifier: Apache-2.0 */
/*
 * box.h - a box while this runtime has to do with it (private).
 *
 * Theory of operation
 *
 *  A bx_box exists while a handle, an execution, a connection or a piece of work refers to it; the row in the
 *  store is the box itself. Its phase says what this runtime does with it:
 *
 *      IDLE ──> STARTING ──> CONNECTING ──> UP ──> ENDING ──> IDLE
 *        └──────────────────────^
 *
 *  STARTING: start.c prepares image, disk, engine and template and spawns the shim; other programs that want
 *  the same box wait for boxes/<id>/start.lock. CONNECTING: the link exists and the box has not said yet that
 *  it runs. UP: it has. ENDING: the link is gone or going, and settle.c brings row and directory in order.
 *  Who wants the box up waits in up_ops or as an execution that was not sent yet; who wants it down waits in
 *  down_ops.
 *
 *  Two files are locked with flock: `lock` by the shim for its life, `start.lock` by whoever starts, settles
 *  or removes the box, for as long as that takes. Nobody looks at `lock` without holding `start.lock`, so
 *  looking never disturbs a shim.
 */
#ifndef BX_RUNTIME_BOX_H
#define BX_RUNTIME_BOX_H

#include "runtime/job.h"
#include "runtime/options.h"
#include "runtime/runtime.h"
#include "runtime/state.h"
#include "wire/messages.h"

enum bx_phase { BX_PHASE_IDLE, BX_PHASE_STARTING, BX_PHASE_CONNECTING, BX_PHASE_UP, BX_PHASE_ENDING };

/* The processor time of a box when it was last looked at, and the rate that came of it. */
struct bx_cpu_sample {
    int64_t at; /* bx_now(); 0: not yet */
    uint64_t cpu_ns;
    double percent;
};

struct bx_box {
    struct bx_box *next; /* in rt->boxes */
    struct CBoxliteRuntime *rt;
    unsigned refs;
    char id[BX_ID_LEN + 1];
    char *name;
    struct CBoxliteOptions *options;
    int dir_fd; /* boxes/<id>; opened when needed, else -1 */

    enum bx_phase phase;
    bool detach;      /* what a start from here gives: the options', or boxlite_box_set_detached's */
    bool owned;       /* our shim, and not detached: it ends with our connection */
    bool down_wanted; /* somebody waits in down_ops */
    bool down_forced;
    bool stop_sent; /* ... and was sent on this connection */
    bool remove;    /* when it is down */
    bool gone;      /* row and directory were removed */
    struct bx_start *start;
    struct bx_settle *settle;
    struct bx_conn *conn;
    struct bx_op_list up_ops;
    struct bx_op_list down_ops;
    struct bx_op_list restart_ops; /* who wants it down and then up; becomes up_ops when it is down */
    struct bx_op_list live_ops;    /* who asks it something once it is connected */
    struct bx_op_list wait_ops;    /* who waits for its end (wait.c) ... */
    int wait_fd;                   /* ... by its supervisor, where that is another program's; else -1 */
    struct bx_source *wait_source;
    struct bx_lock_wait *wait_lock; /* its end is being settled by another program */
    int restart_fd; /* start.lock, from when it is told to stop until settle.c has it; -1: not ours */
    struct CExecutionHandle *execs; /* each holds a reference */
    struct bx_files *files;         /* work on its files, in the order in which it was asked for; likewise */
    struct bx_tunnels *tunnels;     /* connections to its ports; NULL: there were none; likewise */
    struct CExecutionHandle *main; /* of them: the main process, to come or running */
    char **main_argv;  /* of this start; NULL: the box idles */
    bool main_pending; /* sent, neither accepted nor refused */
    boxlite_BoxInfo info; /* of the running box */
    struct bx_cpu_sample cpu;
};

struct CBoxHandle {
    struct CBoxliteRuntime *rt;
    struct bx_box *box;
    bool stopped; /* void since a stop through it */
};

/* ---- box.c ---- */

/* The live box of a row; a new reference. NULL with err. */
struct bx_box *bx_box_of_row(struct CBoxliteRuntime *rt, const struct bx_box_row *row, struct bx_err *err);
/* By id or name, from the store. */
struct bx_box *bx_box_find(struct CBoxliteRuntime *rt, const char *id_or_name, struct bx_err *err);
void bx_box_ref(struct bx_box *b);
void bx_box_unref(struct bx_box *b);
/* boxes/<id>, opened; descriptor (borrowed) or negative. */
int bx_box_dir(struct bx_box *b, struct bx_err *err);
/* Deferred: frees live boxes without references. */
void bx_sweep(struct bx_source *s, void *ud);
/* How many boxes would end with this runtime; ends them; forgets all connections. */
unsigned bx_boxes_owned(struct CBoxliteRuntime *rt);
void bx_boxes_stop_owned(struct CBoxliteRuntime *rt, bool force);
void bx_boxes_end(struct CBoxliteRuntime *rt);
/* A handle on a box; NULL with err (which may be NULL). */
struct CBoxHandle *bx_handle_new(struct bx_box *b, struct bx_err *err);
void bx_handle_free_locked(struct CBoxHandle *h);
/* bx_enter, unless the handle is void. */
int bx_handle_enter(struct CBoxHandle *h, struct bx_err *err);
/* Row by id or name with the message users see. */
int bx_row_get(struct CBoxliteRuntime *rt, const char *id_or_name, struct bx_box_row *ret,
               struct bx_err *err);

/* box_facts.c: what the row says, or that it is paused. */
int bx_row_state(const struct CBoxliteRuntime *rt, const struct bx_box_row *row);

/* ---- life.c: what moves a box from phase to phase ---- */

/* Makes it run or joins it; when it does not at once, somebody is told through up_ops and executions.
 * `implicit`: by a command rather than by start: refused for a box with a main process that does not run. 0
 * or negative. */
int bx_box_want_up(struct bx_box *b, bool implicit, struct bx_err *err);
/* It runs: BoxInfo came. Negative when that could not be recorded: the link is to be given up. */
int bx_box_is_up(struct bx_box *b, struct bx_err *err);
/* The start failed, or the connection could not be made: everybody who waits is told. */
void bx_box_start_failed(struct bx_box *b, const struct bx_err *err);
/* The connection ended: why, as far as is known. */
void bx_box_lost(struct bx_box *b, const struct bx_err *why);
/* Stop it, then (b->remove) remove it. Answered through down_ops, also when it fails at once. */
void bx_box_want_down(struct bx_box *b, bool force);
/* Down, then up. Answered through restart_ops, or up_ops. Negative: not now. */
int bx_box_restart(struct bx_box *b, struct bx_op *op, struct bx_err *err);
/* Settled: row and directory are in order. */
void bx_box_is_down(struct bx_box *b, const struct bx_err *err);
/* The main process was accepted or refused. */
void bx_box_main_started(struct bx_box *b, const struct bx_err *err);

/* ---- settle.c ---- */

/* Connects to the box of a shim that runs. Phase CONNECTING. */
int bx_box_connect(struct bx_box *b, int64_t deadline, struct bx_err *err);
/* A descriptor that is connected to its shim. */
int bx_box_dial(struct bx_box *b, struct bx_err *err);
/*
 * A shim holds "lock", and bx_box_dial failed with err since nobody listens: it was started a moment ago by a program that
 * has been killed since, or it is ending. Calls fn (a bx_lock_fn), which looks again, when the lock is free or a little
 * later, for there is no event for both. NULL when that is no reason to, or was tried often enough.
 */
struct bx_lock_wait *bx_box_look_again(struct bx_box *b, unsigned *times, bx_lock_fn *fn, void *ud, struct bx_err *err);
/* Corrects a row that says the box runs while its shim does not; true when the row was changed or removed. */
bool bx_repair_row(struct CBoxliteRuntime *rt, struct bx_box_row *row);
unsigned bx_repair_all(struct CBoxliteRuntime *rt); /* how many */
unsigned bx_clean_tmp(struct CBoxliteRuntime *rt);  /* how many files and folders */
/* after_loss: the box ran and its link ended; waits for the shim's end (and enforces it), writes the row, and
 * removes the box where that is wanted; then bx_box_is_down. Otherwise: the same, but a shim that lives is
 * connected to, to be told to stop. */
int bx_settle_start(struct bx_box *b, bool after_loss, struct bx_err *err);
void bx_settle_free(struct bx_settle *s);
/* Brings a row that says "running" in line with the exit record; both locks held. */
int bx_settle_row(struct CBoxliteRuntime *rt, struct bx_box_row *row, int dir_fd, struct bx_err *err);
/* Removes row and directory; start.lock held. */
int bx_box_delete(struct CBoxliteRuntime *rt, const char *id, struct bx_err *err);

/* ---- start.c ---- */

int bx_start_begin(struct bx_box *b, bool implicit, struct bx_err *err);
/* Somebody asked for it by start: a main process is no obstacle. */
void bx_start_explicit(struct bx_box *b);
/* The new box's link ended or said no before it ran. Tries again where that helps, else
 * bx_box_start_failed. */
void bx_start_link_failed(struct bx_box *b, const struct bx_err *why, bool template_suspect);
/* It runs: writes the row. 0 or negative. */
int bx_start_done(struct bx_box *b, struct bx_err *err);
void bx_start_free(struct bx_start *s);

#endif
