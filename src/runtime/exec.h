/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec.h - a command in a box, seen from the program (private).
 *
 * Theory of operation
 *
 *  An execution is a stream of the box's link. Output lanes are claimed from the start, so nothing is lost
 *  before the program has registered its callbacks. What arrives waits in `pending`, at most the window
 *  (credit is given back as callbacks consume it): a program that does not drain stops its own stream's
 *  writer and nobody else's. A lane nobody registered for within a second (or that is full before) is kept by
 *  its ends, with credit flowing, so that it never stops its writer.
 *
 *  Each lane, the exit, and the writable notice are one event each, however much is behind it. The exit is
 *  delivered when both lanes have nothing more to deliver.
 */
#ifndef BX_RUNTIME_EXEC_H
#define BX_RUNTIME_EXEC_H

#include "base/keep.h"
#include "runtime/box.h"
#include "runtime/runtime.h"
#include "wire/link.h"

#define BX_STDIN_QUEUE_MAX (1024 * 1024)
#define BX_TTY_SIZE_MAX    65535

enum bx_exec_state {
    BX_EXEC_WAITING, /* for the box to be up */
    BX_EXEC_SENT,    /* Exec or Attach sent */
    BX_EXEC_RUNNING, /* Started came */
    BX_EXEC_ENDED,   /* Exit came */
    BX_EXEC_FAILED,  /* refused, or the box was lost: `err` */
};

enum bx_out_mode {
    BX_OUT_UNCLAIMED, /* kept in the box */
    BX_OUT_HELD,      /* claimed, nobody registered yet: pending fills */
    BX_OUT_KEPT,      /* claimed, nobody registered in time: ends are kept here */
    BX_OUT_LIVE,      /* delivered to cb */
};

struct bx_out {
    struct bx_ev ev;
    struct CExecutionHandle *exec;
    unsigned lane_id;
    enum bx_out_mode mode;
    struct bx_lane lane;
    struct bx_buf pending; /* not yet delivered */
    struct bx_buf spare;   /* being delivered */
    size_t uncounted;      /* bytes at the front of pending that are not owed as credit */
    struct bx_keep keep;
    bool keep_used;
    bool truncated;
    bool paused; /* not delivered now, at the program's wish */
    bool to_end; /* claimed late: its end may come behind Exit, and on_exit waits for it */
    CBoxStdoutCb cb;
    void *ud;
};

struct CExecutionHandle {
    struct CBoxliteRuntime *rt;
    struct bx_box *box;
    struct CExecutionHandle *next; /* in box->execs, while linked */
    unsigned refs;                 /* of the handle, of the stream, of queued events */
    bool linked;
    bool handle_freed;
    char id[64];
    uint32_t stream;
    enum bx_exec_state state;
    bool attached, detached, is_main, tty, stdin_at_end;
    uint32_t rows, cols;
    struct bx_buf args, env; /* NUL-separated, until sent */
    size_t n_args, n_env;
    char *cwd, *user;
    uint64_t timeout_ms;
    boxlite_Limits limits;

    struct bx_op *start_op; /* who waits for Started */
    struct bx_op_list waits;
    struct bx_source *hold_timer;
    struct bx_out out[2]; /* stdout, stderr */

    struct bx_buf in; /* stdin not yet on the link */
    struct bx_lane in_lane;
    bool in_closed; /* by us */
    bool in_eof_sent;
    bool in_broken; /* the other end does not read any more */
    bool in_low;    /* room went below half: tell when it is back */
    CExecutionWritableCb writable_cb;
    void *writable_ud;
    struct bx_ev writable_ev;

    struct bx_err err;
    boxlite_Exit exit;
    CBoxExitCb exit_cb;
    void *exit_ud;
    int exit_code;
    bool exit_known, exit_settled, exit_delivered; /* it ended; output was delivered; on_exit was called */
    struct bx_ev exit_ev;
};

/* A new execution of this box, linked to it; the reference belongs to the caller. NULL with err. */
struct CExecutionHandle *bx_exec_new(struct bx_box *b, struct bx_err *err);
void bx_exec_ref(struct CExecutionHandle *x);
void bx_exec_unref(struct CExecutionHandle *x);
/* The handle is given up: kills what is to be killed. Lock held. */
void bx_exec_abandon(struct CExecutionHandle *x);

/* Sends it, now or when the box is up; x->start_op is answered then. */
void bx_exec_launch(struct CExecutionHandle *x);
/* The box is up: send what waits. The box is not to be had: fail it. */
void bx_exec_send(struct CExecutionHandle *x);
void bx_exec_fail(struct CExecutionHandle *x, const struct bx_err *err);
/* The main process of a box that comes up: the one somebody took hold of, or a new one. 0 or negative. */
int bx_exec_send_main(struct bx_box *b, char *const *argv, struct bx_err *err);
/* Queues an event of the execution, which holds a reference while it waits. */
void bx_exec_queue(struct CExecutionHandle *x, struct bx_ev *ev);

/* From the link. Negative ends the link. */
int bx_exec_message(struct CExecutionHandle *x, uint16_t type, const uint8_t *payload, size_t len,
                    struct bx_err *err);
int bx_exec_data(struct CExecutionHandle *x, unsigned lane, const uint8_t *data, size_t len,
                 struct bx_err *err);
int bx_exec_eof(struct CExecutionHandle *x, unsigned lane, struct bx_err *err);
/* The link has room for data again. */
void bx_exec_pump(struct CExecutionHandle *x);

/* output.c */
void bx_out_init(struct bx_out *o, struct CExecutionHandle *x, unsigned lane_id);
void bx_out_done(struct bx_out *o);
int bx_out_data(struct bx_out *o, const uint8_t *data, size_t len, struct bx_err *err);
int bx_out_register(struct bx_out *o, CBoxStdoutCb cb, void *ud, struct bx_err *err);
void bx_out_pause(struct bx_out *o, bool paused);
/* The handle is going: no callback any more. */
void bx_out_unregister(struct bx_out *o);
/* Nobody registered in time. */
void bx_out_keep(struct bx_out *o);
bool bx_out_busy(const struct bx_out *o); /* has something to deliver to its callback, now or when it is not paused any more */

#endif
