/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.c - boxlite_box_wait: who wants to know when a box does not run any more, and how its main process ended.
 *
 * The end of a box of this runtime is seen by life.c and settle.c. That of another program's is the end of its supervisor, whose pid is in
 * the row: no link is needed to wait for it, and none that fails is taken for an end.
 */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/job.h"
#include "runtime/live.h"

static void answer(struct bx_op *op, const struct bx_box_row *row, const struct bx_err *err)
{
    struct CBoxHandle *h = op->handle;
    struct bx_err why = BX_ERR_INIT;

    op->handle = NULL;
    op->code = row && row->has_exit ? row->exit_code : 0;
    if (err)
        why = *err;
    else if (row->state == BX_BOX_FAILED)
        bx_fail(&why, BX_EENGINE, 0, "box %s failed: %s", row->name ? row->name : row->id, row->message ? row->message : "");
    bx_op_answer(op, why.code ? &why : NULL);
    bx_handle_free_locked(h);
}

/* Of the row, or err. */
static void answer_all(struct bx_box *b, const struct bx_box_row *row, const struct bx_err *err)
{
    struct bx_op *op;

    b->wait_source = bx_source_remove(b->wait_source);
    b->wait_fd = bx_close(b->wait_fd);
    b->wait_lock = bx_lock_wait_free(b->wait_lock);
    while ((op = bx_op_list_take(&b->wait_ops)))
        answer(op, row, err);
}

void bx_wait_fail(struct bx_box *b, const struct bx_err *err)
{
    answer_all(b, NULL, err);
}

/* The row, with what is known of the box now. False: it does not exist any more, and everybody was told. */
static bool read_row(struct bx_box *b, struct bx_box_row *ret)
{
    struct bx_box_row row = {0};
    struct bx_err err = BX_ERR_INIT;
    int r = bx_row_get(b->rt, b->id, &row, &err);

    bx_box_row_done(&row);
    if (r >= 0)
        r = bx_store_box_get(b->rt->store, b->id, ret, &err); /* once more: that may have settled it */
    if (r < 0)
        answer_all(b, NULL, &err);
    return r >= 0;
}

/* Whoever was at work on the box has done it. If it runs, they have started it again, and nobody can tell any more how it ended. */
static void on_settled(void *ud, int fd, const struct bx_err *err)
{
    struct bx_box *b = ud;
    struct bx_box_row row = {0};
    struct bx_err again = BX_ERR_INIT;

    b->wait_lock = NULL;
    bx_close(fd);
    bx_box_ref(b);
    if (fd < 0) {
        answer_all(b, NULL, err);
    } else if (read_row(b, &row)) {
        if (bx_state_active(row.state))
            bx_fail(&again, BX_ESTATE, 0, "box %s was started again by another program", row.name ? row.name : row.id);
        answer_all(b, &row, again.code ? &again : NULL);
    }
    bx_box_row_done(&row);
    bx_box_unref(b);
}

static void on_gone(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct bx_box *b = ud;
    struct bx_box_row row = {0};
    struct bx_err err;

    (void)s, (void)fd, (void)events;
    b->wait_source = bx_source_remove(b->wait_source);
    b->wait_fd = bx_close(b->wait_fd);
    bx_box_ref(b);
    if (b->phase == BX_PHASE_IDLE && read_row(b, &row)) { /* else settle.c is at it, or a start that will tell */
        if (!bx_state_active(row.state)) {
            answer_all(b, &row, NULL);
        } else if (bx_box_dir(b, &err) < 0 || !(b->wait_lock = bx_lock_wait(b->rt, b->dir_fd, "start.lock",
                                                                           bx_now() + b->rt->start_timeout_ns, on_settled, b, &err))) {
            answer_all(b, NULL, &err);
        }
    }
    bx_box_row_done(&row);
    bx_box_unref(b);
}

/* Watches the supervisor. Its pid is its own as long as it holds its lock, so a row that still says that it runs, after the pid
 * was taken hold of, was true of this process. */
static int watch(struct bx_box *b, int pid, struct bx_err *err)
{
    if (b->wait_source || b->wait_lock)
        return 0;
    b->wait_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (b->wait_fd < 0 && errno == ESRCH)
        return 0; /* it has just ended: the row tells */
    if (b->wait_fd < 0)
        return bx_fail(err, BX_ERESOURCE, errno, "watch box %s", b->id);
    b->wait_source = bx_loop_add_fd(b->rt->loop, b->wait_fd, BX_READ, on_gone, b);
    return b->wait_source ? 0 : bx_fail(err, BX_ERESOURCE, errno, "watch box %s", b->id);
}

void bx_wait_check(struct bx_box *b)
{
    struct bx_box_row row = {0};
    struct bx_err err = BX_ERR_INIT;
    int r = 0;

    if (!b->wait_ops.first)
        return;
    bx_box_ref(b);
    if (read_row(b, &row) && bx_state_active(row.state) && b->phase == BX_PHASE_IDLE) {
        r = watch(b, row.pid, &err);
        bx_box_row_done(&row);
        if (r < 0)
            answer_all(b, NULL, &err);
        else if (!read_row(b, &row))
            row.state = BX_BOX_RUNNING; /* they were told */
    }
    if (b->wait_ops.first && !bx_state_active(row.state) && (b->phase == BX_PHASE_IDLE || b->phase == BX_PHASE_ENDING))
        answer_all(b, &row, NULL); /* in another phase it is about to run */
    bx_box_row_done(&row);
    bx_box_unref(b);
}

BoxliteErrorCode boxlite_box_wait(CBoxHandle *box, CBoxWaitCb cb, void *user_data, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_op *op;

    if (!box || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !box ? "box" : "cb");
    if (bx_enter(box->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(box->rt, BX_OP_WAIT, (union bx_op_cb){.wait = cb}, user_data, &err);
    if (op && !(op->handle = bx_handle_new(box->box, &err))) {
        bx_op_cancel(op);
        op = NULL;
    }
    if (op) {
        bx_op_list_add(&box->box->wait_ops, op);
        bx_wait_check(box->box);
    }
    bx_leave(box->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}
