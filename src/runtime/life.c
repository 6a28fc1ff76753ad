/* SPDX-License-Identifier: Apache-2.0 */
/*
 * life.c - what moves a box from phase to phase (the picture is in box.h).
 *
 * Nothing here closes a link from inside one of its handlers: they return an error instead, and conn.c ends
 * the link when the stack is its own again.
 */
#include <errno.h>

#include "runtime/box.h"
#include "runtime/conn.h"
#include "runtime/exec.h"
#include "runtime/files.h"
#include "runtime/job.h"
#include "runtime/live.h"
#include "runtime/logs.h"
#include "runtime/tunnel.h"

#define STOP_GRACE_MS        5000
#define STOP_DEADLINE        (20 * BX_SEC)
#define STOP_FORCED_DEADLINE (5 * BX_SEC)

static void fail_waiting_execs(struct bx_box *b, const struct bx_err *err)
{
    struct CExecutionHandle *x, *next;

    for (x = b->execs; x; x = next) {
        next = x->next;
        if (x->state == BX_EXEC_WAITING)
            bx_exec_fail(x, err);
    }
    bx_files_fail(b, BX_FILES_WAITING, err);
    bx_tunnels_fail(b, true);
}

int bx_box_want_up(struct bx_box *b, bool implicit, struct bx_err *err)
{
    if (b->gone)
        return bx_fail(err, BX_ENOTFOUND, 0, "%s", b->id);
    if (b->rt->closing) /* for who waited until it was down */
        return bx_fail(err, BX_ESTOPPED, 0, "the runtime was shut down");
    if (b->down_wanted && b->phase != BX_PHASE_IDLE && !b->restart_ops.first)
        return bx_fail(err, BX_ESTATE, 0, "box %s is being stopped", b->id);
    if (b->phase == BX_PHASE_IDLE)
        return bx_start_begin(b, implicit, err);
    if (!implicit)
        bx_start_explicit(b);
    return 0; /* ENDING: bx_box_is_down goes on with who waits */
}

static void answer_up(struct bx_box *b, const struct bx_err *err)
{
    bx_op_list_answer(&b->up_ops, err);
}

/* Between its end and its next start the box is nobody else's: another program that sees it down would remove one
 * that is to go when it stops. It goes on as what it was, detached or not. */
static void keep_for_restart(struct bx_box *b)
{
    struct bx_err ignored;

    if (bx_box_dir(b, &ignored) >= 0 && b->restart_fd < 0)
        b->restart_fd = bx_lock_try(b->dir_fd, "start.lock");
    b->detach = b->detach || b->info.detached;
}

/* For other programs to see. Only once the shim has it for sure: a row may not say "stopping" of a box that was never told. */
static void note_stopping(struct bx_box *b)
{
    struct bx_box_change change = BX_BOX_CHANGE_INIT;

    change.state = BX_BOX_STOPPING;
    if (!b->conn->broken && !bx_link_wants_write(&b->conn->link))
        (void)bx_store_box_change(b->rt->store, b->id, bx_state_before(BX_BOX_STOPPING), &change, NULL);
}

/* Stop goes as a request; its answer is the end of the link. */
static int send_stop(struct bx_box *b, struct bx_err *err)
{
    boxlite_BoxStop stop = boxlite_BoxStop_init_zero;
    int r;

    if (b->restart_ops.first)
        keep_for_restart(b);
    stop.request = bx_conn_request(b->conn, NULL, NULL);
    stop.grace_ms = STOP_GRACE_MS;
    stop.force = b->down_forced;
    r = bx_msg_send(&b->conn->link, BX_MSG_BOX_STOP, 0, &stop, err);
    if (r < 0)
        return r;
    b->stop_sent = true;
    bx_timer_after(b->conn->timer, b->down_forced ? STOP_FORCED_DEADLINE : STOP_DEADLINE);
    bx_conn_flush(b->conn);
    if (!b->down_forced) /* that is over in no time */
        note_stopping(b);
    return 0;
}

int bx_box_is_up(struct bx_box *b, struct bx_err *err)
{
    struct CExecutionHandle *x, *next;
    struct bx_err why = BX_ERR_INIT;
    bool started = b->start != NULL;
    int r;

    if (started) {
        r = bx_start_done(b, err);
        if (r < 0)
            return r;
    }
    b->phase = BX_PHASE_UP;
    if (b->down_wanted) {
        bx_fail(&why, BX_ESTOPPED, 0, "the box was stopped");
        if (!b->restart_ops.first) {
            answer_up(b, &why);
            fail_waiting_execs(b, &why);
        }
        bx_live_up(b);
        return send_stop(b, err);
    }
    if (started && b->main_argv) {
        b->main_pending = true; /* who waits for the start is answered when it runs */
        r = bx_exec_send_main(b, b->main_argv, err);
        if (r < 0)
            return r;
    }
    for (x = b->execs; x; x = next) {
        next = x->next;
        if (x->state == BX_EXEC_WAITING)
            bx_exec_send(x);
    }
    bx_files_send_waiting(b);
    bx_tunnels_send_waiting(b);
    if (!b->main_pending)
        answer_up(b, bx_pause_refuses(b, &why) ? &why : NULL);
    bx_live_up(b);
    bx_conn_flush(b->conn);
    return 0;
}

void bx_box_main_started(struct bx_box *b, const struct bx_err *err)
{
    struct bx_err ignored;

    if (!b->main_pending)
        return;
    b->main_pending = false;
    answer_up(b, err);
    if (err && !b->down_wanted && b->conn) {
        b->down_wanted = b->down_forced = true; /* a box without its main process is no box */
        if (!b->stop_sent)
            (void)send_stop(b, &ignored);
    }
}

void bx_box_start_failed(struct bx_box *b, const struct bx_err *err)
{
    struct bx_err ignored;

    bx_box_ref(b);
    bx_conn_close(b, err);
    b->rt->counts.failed += b->start && err->code != BX_ESTOPPED && err->code != BX_ENOTFOUND;
    bx_start_free(b->start);
    b->start = NULL;
    b->phase = BX_PHASE_IDLE;
    b->main_pending = false;
    answer_up(b, err);
    fail_waiting_execs(b, err);
    bx_live_down(b, NULL);
    bx_wait_check(b);
    bx_logs_down(b);
    if (b->down_wanted && bx_settle_start(b, true, &ignored) < 0)
        bx_box_is_down(b, &ignored);
    bx_shutdown_check(b->rt);
    bx_box_unref(b);
}

void bx_box_lost(struct bx_box *b, const struct bx_err *why)
{
    bool was_up = b->conn->up && b->phase == BX_PHASE_UP, ours = b->conn->ours;
    bool ended = b->conn->has_gone, suspect = ended && b->conn->gone_msg.template_suspect;
    struct CExecutionHandle *x, *next;
    struct bx_err err;

    bx_box_ref(b);
    bx_conn_close(b, why);
    if (!was_up && ours && b->start) {
        bx_start_link_failed(b, why, suspect);
    } else if (!was_up && !ended) {
        bx_box_start_failed(b, why);
    } else { /* it ran, or another program's was just ending: who waits is served by the next start */
        b->phase = BX_PHASE_ENDING;
        b->rt->counts.failed += was_up && why->code != BX_ESTOPPED;
        bx_live_down(b, NULL);
        if (b->main_pending)
            bx_box_main_started(b, why);
        for (x = b->execs; x; x = next) {
            next = x->next;
            if (x->state != BX_EXEC_WAITING || (was_up && !b->restart_ops.first))
                bx_exec_fail(x, why); /* those that have ended stay as they are */
        }
        bx_files_fail(b, BX_FILES_SENT | (was_up && !b->restart_ops.first ? BX_FILES_WAITING : 0), why);
        bx_tunnels_fail(b, was_up && !b->restart_ops.first);
        if (bx_settle_start(b, true, &err) < 0)
            bx_box_is_down(b, &err);
    }
    bx_box_unref(b);
}

static void want_down(struct bx_box *b, bool force)
{
    bool more = force && !b->down_forced;
    struct bx_err why = BX_ERR_INIT, *err = &why;
    int r = 0;

    b->down_wanted = true;
    b->down_forced = b->down_forced || force;
    switch (b->phase) {
    case BX_PHASE_IDLE:
        r = bx_settle_start(b, false, err);
        break;
    case BX_PHASE_STARTING:
        bx_fail(&why, BX_ESTOPPED, 0, "the box was stopped");
        bx_box_start_failed(b, &why); /* goes on to settle */
        break;
    case BX_PHASE_UP:
        r = !b->stop_sent || more ? send_stop(b, err) : 0;
        break;
    case BX_PHASE_CONNECTING: /* bx_box_is_up sends it */
    case BX_PHASE_ENDING:
        break;
    }
    if (r < 0)
        bx_box_is_down(b, err);
}

void bx_box_want_down(struct bx_box *b, bool force)
{
    struct bx_err why = BX_ERR_INIT;

    bx_fail(&why, BX_ESTOPPED, 0, "the box was stopped");
    bx_op_list_answer(&b->restart_ops, &why); /* the later wish counts */
    want_down(b, force);
}

int bx_box_restart(struct bx_box *b, struct bx_op *op, struct bx_err *err)
{
    if (b->gone)
        return bx_fail(err, BX_ENOTFOUND, 0, "%s", b->id);
    if (b->down_wanted && !b->restart_ops.first)
        return bx_fail(err, BX_ESTATE, 0, "box %s is being stopped", b->id);
    if (b->phase == BX_PHASE_STARTING || b->phase == BX_PHASE_ENDING) { /* this start, or the next, is anew */
        bx_op_list_add(&b->up_ops, op);
        if (b->phase == BX_PHASE_STARTING)
            bx_start_explicit(b);
        return 0;
    }
    bx_op_list_add(&b->restart_ops, op);
    want_down(b, false);
    return 0;
}

void bx_box_is_down(struct bx_box *b, const struct bx_err *err)
{
    struct bx_err failed = BX_ERR_INIT;
    struct bx_op *op;

    bx_box_ref(b);
    bx_settle_free(b->settle);
    b->settle = NULL;
    b->phase = BX_PHASE_IDLE;
    b->down_wanted = b->down_forced = b->stop_sent = b->owned = false;
    if (err && b->remove)
        b->remove = false;
    b->restart_fd = bx_close(b->restart_fd);
    bx_logs_down(b);
    bx_op_list_answer(&b->down_ops, err);
    if (err)
        bx_op_list_answer(&b->restart_ops, err);
    bx_wait_check(b);
    while ((op = bx_op_list_take(&b->restart_ops)))
        bx_op_list_add(&b->up_ops, op);
    if (b->up_ops.first || b->execs || b->files || bx_tunnels_wait(b)) {
        bool waiting = b->up_ops.first || bx_files_wait(b) || bx_tunnels_wait(b);
        struct CExecutionHandle *x;

        for (x = b->execs; x && !waiting; x = x->next)
            waiting = x->state == BX_EXEC_WAITING && x != b->main;
        if (waiting && bx_box_want_up(b, !b->up_ops.first, &failed) < 0)
            bx_box_start_failed(b, &failed);
    }
    bx_shutdown_check(b->rt);
    bx_box_unref(b);
}
