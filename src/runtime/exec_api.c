/* SPDX-License-Identifier: Apache-2.0 */
/* exec_api.c - the calls about commands: run, attach, callbacks, stdin, wait, signals, results. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime/conn.h"
#include "runtime/exec.h"

#define TTY_SIZE_MAX  65535
#define SIGNAL_MAX    64
#define TIMEOUT_MAX_S (10.0 * 365 * 86400)

/* ---- what is to be run ---- */

static int add_string(struct bx_buf *b, const char *field, const char *s, struct bx_err *err)
{
    size_t len = strlen(s);

    if (len >= BX_ARG_MAX)
        return bx_fail(err, BX_EINVALID, E2BIG, "%s: one string of %zu bytes (the limit is %d)", field, len,
                       BX_ARG_MAX - 1);
    if (bx_buf_add(b, s, len + 1) < 0)
        return bx_fail(err, BX_EINVALID, E2BIG, "%s: more than %d bytes", field, BX_MESSAGE_MAX);
    return 0;
}

static int take_args(struct CExecutionHandle *x, const BoxliteCommand *c, struct bx_err *err)
{
    int i, r;

    if (!c->command || !*c->command)
        return bx_fail(err, BX_EINVALID, 0, "command: is empty");
    if (c->argc < 0 || c->argc >= BX_ARGS_MAX || (c->argc > 0 && !c->args))
        return bx_fail(err, BX_EINVALID, c->argc > 0 && c->args ? E2BIG : 0, "args: %d of them", c->argc);
    r = add_string(&x->args, "command", c->command, err);
    for (i = 0; i < c->argc && r == 0; i++)
        r = c->args[i] ? add_string(&x->args, "args", c->args[i], err)
                       : bx_fail(err, BX_EINVALID, 0, "args: number %d is NULL", i);
    x->n_args = (size_t)c->argc + 1;
    return r;
}

static bool is_term(const char *key)
{
    return bx_streq(key, "TERM");
}

static int take_env(struct CExecutionHandle *x, const BoxliteCommand *c, struct bx_err *err)
{
    bool has_term = false;
    int i, r = 0;

    if (c->env_count < 0 || c->env_count % 2 != 0 || c->env_count / 2 >= BX_ARGS_MAX ||
        (c->env_count > 0 && !c->env_pairs))
        return bx_fail(err, BX_EINVALID, 0, "env_pairs: %d strings, they must be name and value in turn",
                       c->env_count);
    for (i = 0; i + 1 < c->env_count && r == 0; i += 2) {
        bx_cleanup_free char *pair = NULL;
        const char *key = c->env_pairs[i], *value = c->env_pairs[i + 1];

        if (!key || !value || !*key || strchr(key, '='))
            return bx_fail(err, BX_EINVALID, 0, "env_pairs: \"%.60s\" is no name", key ? key : "");
        pair = bx_strf("%s=%s", key, value);
        r = pair ? add_string(&x->env, "env", pair, err) : bx_fail(err, BX_ERESOURCE, ENOMEM, "env");
        x->n_env++;
        has_term = has_term || is_term(key);
    }
    if (r == 0 && x->tty && !has_term) { /* as docker does */
        r = add_string(&x->env, "env", "TERM=xterm", err);
        x->n_env++;
    }
    return r;
}

static int take_place(struct CExecutionHandle *x, const BoxliteCommand *c, struct bx_err *err)
{
    if (c->workdir && (strlen(c->workdir) > 4095 || (*c->workdir && *c->workdir != '/')))
        return bx_fail(err, BX_EINVALID, 0, "workdir: must be absolute and shorter than 4096 bytes");
    if (c->user && strlen(c->user) > 255)
        return bx_fail(err, BX_EINVALID, 0, "user: longer than 255 bytes");
    if (!(c->timeout_secs >= 0) || c->timeout_secs > TIMEOUT_MAX_S)
        return bx_fail(err, BX_EINVALID, 0, "timeout_secs: must be a number of seconds, or 0");
    x->cwd = c->workdir ? bx_strf("%s", c->workdir) : NULL;
    x->user = c->user ? bx_strf("%s", c->user) : NULL;
    if ((c->workdir && !x->cwd) || (c->user && !x->user))
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "run a command");
    x->timeout_ms = (uint64_t)ceil(c->timeout_secs * 1000.0);
    return 0;
}

static int take_options(struct CExecutionHandle *x, const BoxliteExecOptions *given, struct bx_err *err)
{
    BoxliteExecOptions o = BOXLITE_EXEC_OPTIONS_INIT;
    size_t i;

    if (!given)
        return 0;
    if (given->size < sizeof(size_t))
        return bx_fail(err, BX_EINVALID, 0, "options: size is not set");
    for (i = sizeof(o); i < given->size; i++) /* of a newer program: harmless as long as it is not used */
        if (((const unsigned char *)given)[i] != 0)
            return bx_fail(err, BX_EINVALID, 0, "options: has a field that this library (%s) does not know",
                           BX_VERSION);
    memcpy(&o, given, BX_MIN(given->size, sizeof(o)));
    if (o.rows > TTY_SIZE_MAX || o.cols > TTY_SIZE_MAX)
        return bx_fail(err, BX_EINVALID, 0, "options: rows and cols must be at most %d", TTY_SIZE_MAX);
    x->stdin_at_end = o.stdin_closed != 0;
    x->in_closed = x->stdin_at_end;
    x->in_eof_sent = x->stdin_at_end;
    x->detached = o.detached != 0;
    if (x->detached)
        x->out[0].mode = x->out[1].mode = BX_OUT_UNCLAIMED;
    x->rows = o.rows;
    x->cols = o.cols;
    return 0;
}

/* A new execution as the command says, not sent. NULL with err. */
static struct CExecutionHandle *exec_of_command(struct bx_box *b, const BoxliteCommand *c,
                                                const BoxliteExecOptions *o, struct bx_err *err)
{
    struct CExecutionHandle *x = bx_exec_new(b, err);

    if (!x)
        return NULL;
    x->tty = c->tty != 0;
    if (take_options(x, o, err) == 0 && take_args(x, c, err) == 0 && take_env(x, c, err) == 0 &&
        take_place(x, c, err) == 0)
        return x;
    bx_exec_abandon(x);
    return NULL;
}

/* Sends it, now or when the box is up; x->start_op is answered then. Lock held. */
static void exec_launch(struct CExecutionHandle *x)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_box *b = x->box;

    if (b->phase == BX_PHASE_UP && !b->down_wanted) {
        bx_exec_send(x);
        bx_conn_flush(b->conn);
    } else if (bx_box_want_up(b, true, &err) < 0) {
        bx_exec_fail(x, &err);
    }
}

BoxliteErrorCode boxlite_box_exec_post(CBoxHandle *box, const BoxliteCommand *command,
                                       const BoxliteExecOptions *options, CBoxExecCb cb, void *user_data,
                                       CBoxliteError *out_error)
{
    struct CExecutionHandle *x = NULL;
    struct bx_err err = BX_ERR_INIT;
    struct bx_op *op;

    if (!box || !command || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !box ? "box" : !command ? "command" : "cb");
    if (bx_handle_enter(box, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(box->rt, BX_OP_EXEC, (union bx_op_cb){.exec = cb}, user_data, &err);
    if (op)
        x = exec_of_command(box->box, command, options, &err);
    if (x) {
        x->start_op = op;
        exec_launch(x);
    } else if (op) {
        bx_op_cancel(op);
    }
    bx_leave(box->rt);
    return x ? Ok : bx_api_error(out_error, &err);
}

BoxliteErrorCode boxlite_box_exec(CBoxHandle *box, const BoxliteCommand *command,
                                  CExecutionHandle **out_execution, CBoxliteError *out_error)
{
    bx_cleanup_close int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct CExecutionHandle *x = NULL;
    struct bx_err err = BX_ERR_INIT;
    struct CBoxliteRuntime *rt;
    struct bx_op *op;
    int r;

    if (!box || !command || !out_execution)
        return bx_api_invalid(out_error, "%s is NULL", !box ? "box" : !command ? "command" : "out_execution");
    *out_execution = NULL;
    if (wake < 0) {
        bx_fail(&err, BX_ERESOURCE, errno, "run a command");
        return bx_api_error(out_error, &err);
    }
    if (bx_handle_enter(box, &err) < 0)
        return bx_api_error(out_error, &err);
    rt = box->rt;
    op = bx_op_new(rt, BX_OP_SYNC, (union bx_op_cb){0}, NULL, &err);
    if (op)
        x = exec_of_command(box->box, command, NULL, &err);
    if (!x) {
        if (op)
            bx_op_cancel(op);
        bx_leave(rt);
        return bx_api_error(out_error, &err);
    }
    op->wake_fd = wake;
    x->start_op = op;
    exec_launch(x);
    bx_leave(rt);
    r = bx_wait_op(rt, op, &err);
    pthread_mutex_lock(&rt->lock);
    if (r < 0 && !op->done) { /* the loop is broken: nobody else will answer */
        x->start_op = NULL;
        bx_exec_abandon(x);
    } else if (op->err.code) {
        err = op->err;
        r = -err.code;
    } else {
        *out_execution = BX_TAKE_PTR(op->result);
    }
    bx_op_cancel(op);
    bx_leave(rt);
    return bx_api_result(out_error, r, &err);
}

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
    exec_launch(x);
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
    if (rows < 1 || rows > TTY_SIZE_MAX || cols < 1 || cols > TTY_SIZE_MAX)
        return bx_api_invalid(out_error, "rows and cols: must be 1 to %d", TTY_SIZE_MAX);
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

/* ---- results ---- */

static void result_of(const struct CExecutionHandle *x, BoxliteExecutionResult *r)
{
    r->exit_code = x->exit_code;
    r->stdout_truncated = x->out[0].truncated;
    r->stderr_truncated = x->out[1].truncated;
    if (x->state != BX_EXEC_ENDED)
        return;
    r->signal = (int32_t)x->exit.signal;
    r->oom = x->exit.oom;
    r->timed_out = x->exit.timed_out;
    r->killed = x->exit.killed;
    r->user_us = x->exit.usage.user_us;
    r->system_us = x->exit.usage.system_us;
    r->wall_us = x->exit.usage.wall_us;
    r->max_rss_bytes = x->exit.usage.max_rss_bytes;
}

BoxliteErrorCode boxlite_execution_result(CExecutionHandle *execution, BoxliteExecutionResult *result,
                                          CBoxliteError *out_error)
{
    BoxliteExecutionResult full = BOXLITE_EXECUTION_RESULT_INIT;
    struct bx_err err = BX_ERR_INIT;
    bool known;

    if (!execution || !result || result->size < sizeof(size_t))
        return bx_api_invalid(out_error, "%s",
                              !execution ? "execution is NULL" : "result: NULL, or its size is not set");
    pthread_mutex_lock(&execution->rt->lock); /* also after the runtime's end: it is known already */
    known = execution->exit_known;
    if (known)
        result_of(execution, &full);
    bx_leave(execution->rt);
    if (!known) {
        bx_fail(&err, BX_ESTATE, 0, "the command has not ended");
        return bx_api_error(out_error, &err);
    }
    full.size = result->size;
    memcpy(result, &full, BX_MIN(result->size, sizeof(full)));
    return Ok;
}

static int copy_kept(struct bx_out *o, char **ret, size_t *ret_len, struct bx_err *err)
{
    size_t len = bx_buf_len(&o->pending) + bx_keep_len(&o->keep), at = 0, n;
    const uint8_t *piece;
    char *copy = malloc(len + 1);

    if (!copy)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "kept output");
    while ((n = bx_keep_peek(&o->keep, &piece)) > 0) {
        memcpy(copy + at, piece, n);
        at += n;
        bx_keep_consume(&o->keep, n);
    }
    memcpy(copy + at, bx_buf_data(&o->pending), bx_buf_len(&o->pending));
    bx_buf_clear(&o->pending);
    copy[len] = '\0';
    *ret = copy;
    *ret_len = len;
    return 0;
}

BoxliteErrorCode boxlite_execution_kept(CExecutionHandle *execution, int stream, char **out_data,
                                        size_t *out_len, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_out *o;
    int r;

    if (!execution || !out_data || !out_len || (stream != 1 && stream != 2))
        return bx_api_invalid(out_error, "%s",
                              !execution              ? "execution is NULL"
                              : !out_data || !out_len ? "out is NULL"
                                                      : "stream: must be 1 or 2");
    if (bx_enter(execution->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    o = &execution->out[stream - 1];
    if (!execution->exit_known)
        r = bx_fail(&err, BX_ESTATE, 0, "the command has not ended");
    else if (o->mode == BX_OUT_UNCLAIMED)
        r = bx_fail(&err, BX_ESTATE, 0, "the output is kept in the box: register for it");
    else if (o->cb)
        r = bx_fail(&err, BX_ESTATE, 0, "the output goes to a callback");
    else
        r = copy_kept(o, out_data, out_len, &err);
    bx_leave(execution->rt);
    return bx_api_result(out_error, r, &err);
}
