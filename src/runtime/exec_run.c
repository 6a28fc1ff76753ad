/* SPDX-License-Identifier: Apache-2.0 */
/* exec_run.c - the calls that run commands: what is to be run, checked; sent, now or when the box is up. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime/conn.h"
#include "runtime/exec.h"

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

static int take_limits(struct CExecutionHandle *x, const BoxliteExecOptions *o, struct bx_err *err)
{
    struct CAdvancedBoxOptions a;
    int r;

    bx_advanced_init(&a); /* the ranges are those of a box */
    a.max_open_files = x->limits.nofile = o->max_open_files;
    a.max_file_size = x->limits.fsize = o->max_file_size;
    a.max_processes = x->limits.pids = o->max_processes;
    a.max_memory = x->limits.as = o->max_memory;
    a.max_cpu_time = x->limits.cpu_seconds = o->max_cpu_time;
    r = bx_advanced_check(&a, err);
    return r < 0 ? bx_prefix(err, "options") : 0;
}

static int take_options(struct CExecutionHandle *x, const BoxliteExecOptions *given, struct bx_err *err)
{
    BoxliteExecOptions o = BOXLITE_EXEC_OPTIONS_INIT;
    int r;

    if (!given)
        return 0;
    r = bx_api_options(&o, sizeof(o), given, err);
    if (r < 0)
        return r;
    if (o.rows > BX_TTY_SIZE_MAX || o.cols > BX_TTY_SIZE_MAX)
        return bx_fail(err, BX_EINVALID, 0, "options: rows and cols must be at most %d", BX_TTY_SIZE_MAX);
    r = take_limits(x, &o, err);
    if (r < 0)
        return r;
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

void bx_exec_launch(struct CExecutionHandle *x)
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
        bx_exec_launch(x);
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
    bx_exec_launch(x);
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
