/* SPDX-License-Identifier: Apache-2.0 */
/* exec_api.c - the calls about commands that run: attach, callbacks, stdin, wait, signals. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime/conn.h"
#include "runtime/exec.h"

#define SIGNAL_MAX 64

/* ---- attach ---- */

/* Does the box run, here or elsewhere? */
static int box_runs(struct bx_box *b, bool *ret, struct bx_err *err)
{
    struct bx_box_row row = {0};
    int r = 0;

    *ret = b->phase == BX_PHASE_UP || b->phase == BX_PHASE_CONNECTING;
    if (!*ret) {
        r = bx_row_get(b->rt, b->id, &row, err);
        *ret = r >= 0 && row.state == BX_BOX_RUNNING;
        bx_box_row_done(&row);
    }
    return r < 0 ? r : 0;
}

static int attach_locked(struct bx_box *b, const char *id, struct bx_op *op, struct bx_err *err)
{
    bool main = !id || bx_streq(id, "main"), runs = false;
    struct CExecutionHandle *x;
    int r;

    if (main && !bx_options_main(b->options))
        return bx_fail(err, BX_ESTATE, 0, "box %s has no main process", b->id);
    r = box_runs(b, &runs, err);
    if (r < 0)
        return r;
    if (!runs && !main)
        return bx_fail(err, BX_ESTATE, 0, "box %s does not run", b->id);
    if (!runs && b->main)
        return bx_fail(err, BX_ESTATE, 0, "somebody is attached to the main process of box %s already",
                       b->id);
    x = bx_exec_new(b, err);
    if (!x)
        return -err->code;
    snprintf(x->id, sizeof(x->id), "%s", main ? "main" : id);
    x->attached = true;
    x->is_main = main;
    x->tty = main && b->options->tty;
    if (!runs) { /* bx_exec_send_main makes it the main process's own stream */
        x->stdin_at_end = !b->options->stdin_open;
        x->in_closed = x->in_eof_sent = x->stdin_at_end;
        b->main = x;
        op->result = x;
        bx_op_answer(op, NULL);
        return 0;
    }
    x->out[0].mode = x->out[1].mode = BX_OUT_UNCLAIMED;
    x->start_op = op;
    bx_exec_launch(x);
    return 0;
}

BoxliteErrorCode boxlite_box_attach_execution(CBoxHandle *box, const char *execution_id, CBoxExecCb cb,
                                              void *user_data, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    struct bx_op *op;

    if (!box || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !box ? "box" : "cb");
    if (execution_id && (!*execution_id || strlen(execution_id) > 63))
        return bx_api_invalid(out_error, "execution_id: must have 1 to 63 characters");
    if (bx_handle_enter(box, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(box->rt, BX_OP_EXEC, (union bx_op_cb){.exec = cb}, user_data, &err);
    if (op && attach_locked(box->box, execution_id, op, &why) < 0)
        bx_op_answer(op, &why);
    bx_leave(box->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}

char *boxlite_execution_id(CExecutionHandle *execution)
{
    return execution ? bx_strf("%s", execution->id) : NULL;
}

void boxlite_execution_free(CExecutionHandle *execution)
{
    struct CBoxliteRuntime *rt;

    if (!execution)
        return;
    rt = execution->rt;
    pthread_mutex_lock(&rt->lock);
    bx_rt_ref(rt); /* the execution's own may be the last */
    bx_exec_abandon(execution);
    if (!bx_rt_unref(rt))
        bx_leave(rt);
}

/* ---- callbacks ---- */

static BoxliteErrorCode register_output(CExecutionHandle *x, unsigned i, CBoxStdoutCb cb, void *ud,
                                        CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    int r;

    if (!x || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !x ? "execution" : "cb");
    if (bx_enter(x->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    r = bx_out_register(&x->out[i], cb, ud, &err);
    bx_leave(x->rt);
    return bx_api_result(out_error, r, &err);
}

BoxliteErrorCode boxlite_execution_on_stdout(CExecutionHandle *execution, CBoxStdoutCb cb, void *user_data,
                                             CBoxliteError *out_error)
{
    return register_output(execution, 0, cb, user_data, out_error);
}

BoxliteErrorCode boxlite_execution_on_stderr(CExecutionHandle *execution, CBoxStderrCb cb, void *user_data,
                                             CBoxliteError *out_error)
{
    return register_output(execution, 1, cb, user_data, out_error);
}

BoxliteErrorCode boxlite_execution_pause(CExecutionHandle *execution, int stream, int paused,
                                         CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;

    if (!execution || (stream != 1 && stream != 2))
        return bx_api_invalid(out_error, "%s", !execution ? "execution is NULL" : "stream: must be 1 or 2");
    if (bx_enter(execution->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    bx_out_pause(&execution->out[stream - 1], paused != 0);
    bx_leave(execution->rt);
    return Ok;
}

BoxliteErrorCode boxlite_execution_on_exit(CExecutionHandle *execution, CBoxExitCb cb, void *user_data,
                                           CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    int r = 0;

    if (!execution || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !execution ? "execution" : "cb");
    if (bx_enter(execution->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    if (execution->exit_cb) {
        r = bx_fail(&err, BX_ESTATE, 0, "on_exit was registered already");
    } else {
        execution->exit_cb = cb;
        execution->exit_ud = user_data;
        if (execution->exit_known)
            bx_exec_queue(execution, &execution->exit_ev);
    }
    bx_leave(execution->rt);
    return bx_api_result(out_error, r, &err);
}

BoxliteErrorCode boxlite_execution_wait(CExecutionHandle *execution, CExecutionWaitCb cb, void *user_data,
                                        CBoxliteError *out_error)
{
    struct CExecutionHandle *x = execution;
    struct bx_err err = BX_ERR_INIT;
    struct bx_op *op;

    if (!x || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !x ? "execution" : "cb");
    if (bx_enter(x->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(x->rt, BX_OP_WAIT, (union bx_op_cb){.wait = cb}, user_data, &err);
    if (op && x->exit_settled) {
        op->code = x->exit_code;
        bx_op_answer(op, x->state == BX_EXEC_FAILED ? &x->err : NULL);
    } else if (op) {
        bx_op_list_add(&x->waits, op);
    }
    bx_leave(x->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}

/* ---- stdin ---- */

static size_t stdin_room(const struct CExecutionHandle *x)
{
    return x->in_closed || x->in_broken || x->exit_known ? 0 : bx_buf_room(&x->in);
}

static int stdin_write(struct CExecutionHandle *x, const uint8_t *data, size_t len, struct bx_err *err)
{
    if (x->in_closed)
        return bx_fail(err, BX_ESTATE, 0, "stdin is closed");
    if (x->in_broken || x->exit_known)
        return bx_fail(err, BX_ESTATE, 0, "the command does not read its stdin any more");
    if (len > stdin_room(x)) {
        x->in_low = true;
        return bx_fail(err, BX_ERESOURCE, 0, "stdin takes %zu bytes now, not %zu", stdin_room(x), len);
    }
    if (len == 0)
        return 0;
    if (bx_buf_add(&x->in, data, len) < 0)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "stdin");
    if (bx_buf_room(&x->in) < BX_STDIN_QUEUE_MAX / 2)
        x->in_low = true;
    return 0;
}

static void pump_and_flush(struct CExecutionHandle *x)
{
    if (!x->linked || !x->box->conn)
        return;
    bx_exec_pump(x);
    bx_conn_flush(x->box->conn);
}

BoxliteErrorCode boxlite_execution_stdin_write(CExecutionHandle *execution, const uint8_t *data, size_t len,
                                               CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    int r;

    if (!execution || (len > 0 && !data))
        return bx_api_invalid(out_error, "%s is NULL", !execution ? "execution" : "data");
    if (bx_enter(execution->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    r = stdin_write(execution, data, len, &err);
    pump_and_flush(execution);
    bx_leave(execution->rt);
    return bx_api_result(out_error, r, &err);
}

size_t boxlite_execution_stdin_room(CExecutionHandle *execution)
{
    size_t room = 0;

    if (!execution || bx_enter(execution->rt, NULL) < 0)
        return 0;
    room = stdin_room(execution);
    bx_leave(execution->rt);
    return room;
}

BoxliteErrorCode boxlite_execution_on_writable(CExecutionHandle *execution, CExecutionWritableCb cb,
                                               void *user_data, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;

    if (!execution || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !execution ? "execution" : "cb");
    if (bx_enter(execution->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    execution->writable_cb = cb;
    execution->writable_ud = user_data;
    bx_leave(execution->rt);
    return Ok;
}

BoxliteErrorCode boxlite_execution_stdin_close(CExecutionHandle *execution, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;

    if (!execution)
        return bx_api_invalid(out_error, "execution is NULL");
    if (bx_enter(execution->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    execution->in_closed = true;
    pump_and_flush(execution);
    bx_leave(execution->rt);
    return Ok;
}

/* ---- signals ---- */

static void answer_plain(void *ud, const struct bx_err *err)
{
    bx_op_answer(ud, err);
}

/* Sends Signal or Resize for an op; a command that is not there any more needs neither. */
static void send_request(struct CExecutionHandle *x, struct bx_op *op, uint16_t type, void *msg,
                         uint32_t *request)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_conn *c = x->linked ? x->box->conn : NULL;

    if (x->exit_known) {
        bx_op_answer(op, NULL);
    } else if (!c || (x->state != BX_EXEC_RUNNING && x->state != BX_EXEC_SENT)) {
        bx_fail(&err, BX_ESTATE, 0, "the command does not run yet");
        bx_op_answer(op, &err);
    } else if ((*request = bx_conn_request(c, answer_plain, op)) == 0) {
        bx_fail(&err, BX_ERESOURCE, ENOMEM, "signal a command");
        bx_op_answer(op, &err);
    } else {
        if (bx_msg_send(&c->link, type, x->stream, msg, &err) < 0)
            bx_conn_answer(c, *request, &err);
        bx_conn_flush(c);
    }
}

static BoxliteErrorCode post_signal(CExecutionHandle *x, unsigned signo, bool tree,
                                    void (*cb)(CBoxliteError *, void *), void *ud, CBoxliteError *out_error)
{
    boxlite_Signal m = boxlite_Signal_init_zero;
    struct bx_err err = BX_ERR_INIT;
    struct bx_op *op;

    if (!x || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !x ? "execution" : "cb");
    if (bx_enter(x->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(x->rt, BX_OP_PLAIN, (union bx_op_cb){.plain = cb}, ud, &err);
    if (op) {
        m.signo = signo;
        m.tree = tree;
        send_request(x, op, BX_MSG_SIGNAL, &m, &m.request);
    }
    bx_leave(x->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}

BoxliteErrorCode boxlite_execution_kill(CExecutionHandle *execution, CExecutionKillCb cb, void *user_data,
                                        CBoxliteError *out_error)
{
    return post_signal(execution, 9, true, cb, user_data, out_error);
}

BoxliteErrorCode boxlite_execution_signal(CExecutionHandle *execution, int signal, CExecutionSignalCb cb,
                                          void *user_data, CBoxliteError *out_error)
{
    if (signal < 1 || signal > SIGNAL_MAX)
        return bx_api_invalid(out_error, "signal: must be 1 to %d, is %d", SIGNAL_MAX, signal);
    return post_signal(execution, (unsigned)signal, false, cb, user_data, out_error);
}

BoxliteErrorCode boxlite_execution_tty_resize(CExecutionHandle *execution, int rows, int cols,
                                              CExecutionResizeCb cb, void *user_data,
                                              CBoxliteError *out_error)
{
    boxlite_Resize m = boxlite_Resize_init_zero;
    struct CExecutionHandle *x = execution;
    struct bx_err err = BX_ERR_INIT;
    struct bx_op *op;

    if (!x || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !x ? "execution" : "cb");
    if (rows < 1 || rows > BX_TTY_SIZE_MAX || cols < 1 || cols > BX_TTY_SIZE_MAX)
        return bx_api_invalid(out_error, "rows and cols: must be 1 to %d", BX_TTY_SIZE_MAX);
    if (bx_enter(x->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(x->rt, BX_OP_PLAIN, (union bx_op_cb){.plain = cb}, user_data, &err);
    if (op && !x->tty && !(x->attached && !x->is_main)) {
        struct bx_err why = BX_ERR_INIT;

        bx_fail(&why, BX_ESTATE, 0, "the command has no terminal");
        bx_op_answer(op, &why);
    } else if (op && x->state == BX_EXEC_WAITING) { /* the size it begins with */
        x->rows = (uint32_t)rows;
        x->cols = (uint32_t)cols;
        bx_op_answer(op, NULL);
    } else if (op) {
        m.rows = (uint32_t)rows;
        m.cols = (uint32_t)cols;
        send_request(x, op, BX_MSG_RESIZE, &m, &m.request);
    }
    bx_leave(x->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}
