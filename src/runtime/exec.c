/* SPDX-License-Identifier: Apache-2.0 */
/* exec.c - a command in a box: its stream, its stdin, its end. How it works is told in exec.h. */
#include "runtime/exec.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime/conn.h"

/* How long output waits for somebody to register for it before only its ends are kept. */
#define HOLD_TIME      BX_SEC
#define CODE_LOST      (-1)
#define CODE_ABANDONED (-129)

/* ---- references and events ---- */

static bool exit_deliver(struct CBoxliteRuntime *rt, struct bx_ev *ev);
static bool writable_deliver(struct CBoxliteRuntime *rt, struct bx_ev *ev);

static void exit_drop(struct CBoxliteRuntime *rt, struct bx_ev *ev)
{
    (void)rt;
    bx_exec_unref(BX_CONTAINER_OF(ev, struct CExecutionHandle, exit_ev));
}

static void writable_drop(struct CBoxliteRuntime *rt, struct bx_ev *ev)
{
    (void)rt;
    bx_exec_unref(BX_CONTAINER_OF(ev, struct CExecutionHandle, writable_ev));
}

void bx_exec_queue(struct CExecutionHandle *x, struct bx_ev *ev)
{
    if (ev->queued || x->rt->freed)
        return;
    x->refs++;
    bx_queue_event(x->rt, ev);
}

static void exec_link(struct CExecutionHandle *x)
{
    x->linked = true;
    x->refs++;
    x->next = x->box->execs;
    x->box->execs = x;
}

/* The stream is done: nothing comes for it any more. */
static void exec_unlink(struct CExecutionHandle *x)
{
    struct CExecutionHandle **p;

    if (!x->linked)
        return;
    for (p = &x->box->execs; *p != x; p = &(*p)->next)
        ;
    *p = x->next;
    x->linked = false;
    x->stream = 0;
    if (x->exit_known && !x->exit_settled)
        bx_exec_queue(x, &x->exit_ev);
    if (x->box->main == x)
        x->box->main = NULL;
    x->hold_timer = bx_source_remove(x->hold_timer);
    bx_exec_unref(x);
}

struct CExecutionHandle *bx_exec_new(struct bx_box *b, struct bx_err *err)
{
    struct CExecutionHandle *x = calloc(1, sizeof(*x));

    if (!x) {
        bx_fail(err, BX_ERESOURCE, ENOMEM, "run a command");
        return NULL;
    }
    x->rt = b->rt;
    x->box = b;
    x->refs = 1;
    x->exit_code = CODE_LOST;
    bx_random_id(x->id);
    bx_buf_init(&x->args, BX_MESSAGE_MAX);
    bx_buf_init(&x->env, BX_MESSAGE_MAX);
    bx_buf_init(&x->in, BX_STDIN_QUEUE_MAX);
    bx_lane_init(&x->in_lane, BX_WINDOW);
    bx_out_init(&x->out[0], x, BX_LANE_STDOUT);
    bx_out_init(&x->out[1], x, BX_LANE_STDERR);
    bx_op_list_init(&x->waits);
    x->exit_ev.deliver = exit_deliver;
    x->exit_ev.drop = exit_drop;
    x->writable_ev.deliver = writable_deliver;
    x->writable_ev.drop = writable_drop;
    bx_box_ref(b);
    bx_rt_ref(b->rt);
    exec_link(x);
    return x;
}

void bx_exec_ref(struct CExecutionHandle *x)
{
    x->refs++;
}

void bx_exec_unref(struct CExecutionHandle *x)
{
    struct bx_op *op;

    bx_assert(x->refs > 0);
    if (--x->refs > 0)
        return;
    while ((op = bx_op_list_take(&x->waits))) /* only after the runtime's end: their callbacks are dropped */
        bx_op_cancel(op);
    bx_assert(x->rt->refs > 1); /* who frees the last handle holds the runtime meanwhile */
    x->rt->refs--;
    bx_box_unref(x->box);
    bx_out_done(&x->out[0]);
    bx_out_done(&x->out[1]);
    bx_buf_done(&x->args);
    bx_buf_done(&x->env);
    bx_buf_done(&x->in);
    free(x->cwd);
    free(x->user);
    free(x);
}

/* ---- its end ---- */

/* First when it is known; then again until all output was delivered; on_exit is the very last call. */
static bool exit_deliver(struct CBoxliteRuntime *rt, struct bx_ev *ev)
{
    struct CExecutionHandle *x = BX_CONTAINER_OF(ev, struct CExecutionHandle, exit_ev);
    CBoxExitCb cb = x->exit_cb;
    void *ud = x->exit_ud;
    bool called = false;
    struct bx_op *op;

    if (bx_out_busy(&x->out[0]) || bx_out_busy(&x->out[1])) {
        /* Behind the output's events, which are in the queue; those of a paused stream come with bx_out_pause. */
        if ((bx_out_busy(&x->out[0]) && !x->out[0].paused) || (bx_out_busy(&x->out[1]) && !x->out[1].paused))
            bx_exec_queue(x, &x->exit_ev);
    } else if (x->linked && (x->out[0].to_end || x->out[1].to_end)) {
        called = false; /* bx_exec_eof, or the end of the link, queues it again */
    } else if (!x->exit_settled) {
        x->exit_settled = true;
        while ((op = bx_op_list_take(&x->waits))) {
            op->code = x->exit_code;
            bx_op_answer(op, x->state == BX_EXEC_FAILED ? &x->err : NULL);
        }
        bx_exec_queue(x, &x->exit_ev);
    } else if (cb && !x->exit_delivered) {
        x->exit_delivered = true;
        called = true;
        bx_user_begin(rt);
        cb(x->exit_code, ud);
        bx_user_end(rt);
    }
    bx_exec_unref(x);
    return called;
}

static void exec_over(struct CExecutionHandle *x, enum bx_exec_state state, int code)
{
    x->state = state;
    x->exit_code = code;
    x->exit_known = true;
    x->in_broken = true;
    bx_buf_clear(&x->in);
    bx_exec_queue(x, &x->exit_ev);
}

/* What a shell says about a command that cannot be run. */
static int code_of_failure(const struct bx_err *err)
{
    if (err->code != BX_EEXEC)
        return CODE_LOST;
    return err->sys_errno == ENOENT ? 127 : 126;
}

static void close_stream(struct CExecutionHandle *x)
{
    boxlite_Close m = boxlite_Close_init_zero;
    struct bx_conn *c = x->box->conn;

    if (!x->linked || !c || x->stream == 0)
        return;
    (void)bx_msg_send(&c->link, BX_MSG_CLOSE, x->stream, &m, NULL);
    bx_conn_flush(c);
}

void bx_exec_fail(struct CExecutionHandle *x, const struct bx_err *err)
{
    bool main_failed = x->is_main && x->state == BX_EXEC_SENT;
    struct bx_op *op = x->start_op;

    x->refs++;
    if (x->state != BX_EXEC_ENDED && x->state != BX_EXEC_FAILED) {
        x->err = *err;
        exec_over(x, BX_EXEC_FAILED, code_of_failure(err));
        if (op) { /* nobody got the handle */
            x->start_op = NULL;
            x->handle_freed = true;
            bx_op_answer(op, err);
            bx_exec_unref(x);
        }
    }
    exec_unlink(x);
    if (main_failed)
        bx_box_main_started(x->box, err);
    bx_exec_unref(x);
}

void bx_exec_abandon(struct CExecutionHandle *x)
{
    struct bx_err why = BX_ERR_INIT;

    bx_assert(!x->handle_freed);
    x->handle_freed = true;
    bx_out_unregister(&x->out[0]);
    bx_out_unregister(&x->out[1]);
    x->writable_cb = NULL;
    if (bx_unqueue_event(x->rt, &x->writable_ev))
        bx_exec_unref(x);
    close_stream(x);
    if (!x->exit_known) {
        bx_fail(&why, BX_ESTOPPED, 0, "the execution was freed");
        x->err = why;
        exec_over(x, BX_EXEC_FAILED, CODE_ABANDONED);
    } else if (!x->exit_settled) { /* it may have waited for a paused stream */
        bx_exec_queue(x, &x->exit_ev);
    }
    exec_unlink(x);
    bx_exec_unref(x);
}

/* ---- to the box ---- */

static int send_exec(struct CExecutionHandle *x, struct bx_err *err)
{
    struct bx_msg_exec m = {.pb = boxlite_Exec_init_zero};
    unsigned i;

    snprintf(m.pb.exec_id, sizeof(m.pb.exec_id), "%s", x->id);
    snprintf(m.pb.cwd, sizeof(m.pb.cwd), "%s", x->cwd ? x->cwd : "");
    snprintf(m.pb.user, sizeof(m.pb.user), "%s", x->user ? x->user : "");
    m.pb.tty = x->tty;
    m.pb.rows = x->rows;
    m.pb.cols = x->cols;
    m.pb.timeout_ms = x->timeout_ms;
    m.pb.limits = x->limits;
    m.pb.main = x->is_main;
    m.pb.detached = x->detached;
    m.pb.stdin = !x->stdin_at_end;
    for (i = 0; i < 2; i++)
        if (x->out[i].mode != BX_OUT_UNCLAIMED)
            m.pb.claim |= 1u << x->out[i].lane_id;
    m.args = (struct bx_strs){(const char *)bx_buf_data(&x->args), bx_buf_len(&x->args), x->n_args};
    m.env = (struct bx_strs){(const char *)bx_buf_data(&x->env), bx_buf_len(&x->env), x->n_env};
    return bx_msg_send_exec(&x->box->conn->link, x->stream, &m, err);
}

static int send_attach(struct CExecutionHandle *x, struct bx_err *err)
{
    boxlite_Attach m = boxlite_Attach_init_zero;

    snprintf(m.exec_id, sizeof(m.exec_id), "%s", x->id);
    return bx_msg_send(&x->box->conn->link, BX_MSG_ATTACH, x->stream, &m, err);
}

void bx_exec_send(struct CExecutionHandle *x)
{
    struct bx_err err = BX_ERR_INIT;
    int r;

    x->stream = bx_conn_stream(x->box->conn);
    x->state = BX_EXEC_SENT;
    r = x->attached ? send_attach(x, &err) : send_exec(x, &err);
    bx_buf_done(&x->args);
    bx_buf_done(&x->env);
    if (r < 0)
        bx_exec_fail(x, &err);
}

int bx_exec_send_main(struct bx_box *b, char *const *argv, struct bx_err *err)
{
    struct CExecutionHandle *x = b->main;
    size_t i;

    if (!x) {
        x = bx_exec_new(b, err);
        if (!x)
            return -err->code;
        x->handle_freed = true;
        x->out[0].mode = x->out[1].mode = BX_OUT_UNCLAIMED; /* kept in the box for who attaches later */
        b->main = x;
        bx_exec_unref(x); /* the link's reference remains */
    }
    x->attached = false; /* it was waiting for exactly this */
    x->is_main = true;
    snprintf(x->id, sizeof(x->id), "main");
    x->tty = b->options->tty;
    x->stdin_at_end = !b->options->stdin_open;
    x->detached = b->detach;
    for (i = 0; argv[i]; i++)
        if (bx_buf_add(&x->args, argv[i], strlen(argv[i]) + 1) < 0)
            return bx_fail(err, BX_EINVALID, E2BIG, "the main process's arguments");
    x->n_args = i;
    if (x->tty) {
        (void)bx_buf_add(&x->env, "TERM=xterm", sizeof("TERM=xterm"));
        x->n_env = 1;
    }
    bx_exec_send(x);
    return 0;
}

void bx_exec_pump(struct CExecutionHandle *x)
{
    struct bx_conn *c = x->box->conn;
    size_t n;

    if (!x->linked || !c || x->state != BX_EXEC_RUNNING || x->in_broken || x->in_eof_sent)
        return;
    while ((n = bx_buf_len(&x->in)) > 0) {
        n = BX_MIN(n, (size_t)x->in_lane.credit);
        n = BX_MIN(n, bx_link_data_room(&c->link));
        n = BX_MIN(n, (size_t)BX_FRAME_PAYLOAD_MAX);
        if (n == 0 || bx_link_send_data(&c->link, x->stream, BX_LANE_STDIN, bx_buf_data(&x->in), n) < 0)
            break;
        bx_lane_spend(&x->in_lane, n);
        bx_buf_consume(&x->in, n);
    }
    if (bx_buf_len(&x->in) == 0 && x->in_closed && bx_link_send_eof(&c->link, x->stream, BX_LANE_STDIN) == 0)
        x->in_eof_sent = true;
    if (x->in_low && bx_buf_room(&x->in) >= BX_STDIN_QUEUE_MAX / 2) {
        x->in_low = false;
        if (x->writable_cb)
            bx_exec_queue(x, &x->writable_ev);
    }
}

/* ---- from the box ---- */

static void on_hold_over(struct bx_source *s, void *ud)
{
    struct CExecutionHandle *x = ud;

    (void)s;
    bx_out_keep(&x->out[0]);
    bx_out_keep(&x->out[1]);
}

static int on_started(struct CExecutionHandle *x, const boxlite_Started *m, struct bx_err *err)
{
    struct bx_op *op = x->start_op;

    if (x->state != BX_EXEC_SENT)
        return bx_fail(err, BX_ERPC, 0, "the box started a command twice");
    x->state = BX_EXEC_RUNNING;
    (void)m; /* its id is ours */
    if (x->out[0].mode == BX_OUT_HELD || x->out[1].mode == BX_OUT_HELD) {
        x->hold_timer = bx_loop_add_timer(x->rt->loop, on_hold_over, x);
        if (x->hold_timer)
            bx_timer_after(x->hold_timer, HOLD_TIME);
        else
            on_hold_over(NULL, x);
    }
    if (x->attached) {
        for (unsigned i = 0; i < 2; i++) /* registered before it was there */
            if (x->out[i].mode == BX_OUT_LIVE) {
                boxlite_Claim claim = boxlite_Claim_init_zero;

                claim.lane = x->out[i].lane_id;
                if (bx_msg_send(&x->box->conn->link, BX_MSG_CLAIM, x->stream, &claim, err) < 0)
                    return -err->code;
            }
    }
    if (op) {
        x->start_op = NULL;
        op->result = x;
        bx_op_answer(op, NULL);
    }
    x->rt->counts.commands += !x->attached;
    if (x->is_main && !x->attached)
        bx_box_main_started(x->box, NULL);
    if (x->in_closed || bx_buf_len(&x->in) > 0)
        bx_exec_pump(x);
    return 0;
}

static bool claims_open(const struct CExecutionHandle *x)
{
    return x->out[0].mode == BX_OUT_UNCLAIMED || x->out[1].mode == BX_OUT_UNCLAIMED;
}

static int on_exit_message(struct CExecutionHandle *x, struct bx_err *err)
{
    char text[sizeof(x->exit.message)];

    if (x->exit_known)
        return bx_fail(err, BX_ERPC, 0, "the box ended a command twice");
    if (x->state != BX_EXEC_RUNNING)
        return bx_fail(err, BX_ERPC, 0, "the box ended a command that it had not started");
    bx_str_printable(text, sizeof(text), x->exit.message, strlen(x->exit.message));
    memcpy(x->exit.message, text, sizeof(text));
    exec_over(x, BX_EXEC_ENDED, x->exit.code);
    if (!x->attached && (!claims_open(x) || x->handle_freed)) { /* all was said */
        close_stream(x);
        exec_unlink(x);
    }
    return 0;
}

/* The failure of a request on this stream, or of the stream itself. */
static int on_error(struct CExecutionHandle *x, const boxlite_Error *m)
{
    struct bx_err why;

    bx_conn_error(m, &why);
    if (m->request != 0) {
        bx_conn_answer(x->box->conn, m->request, &why);
        return 0;
    }
    x->rt->counts.exec_errors += x->state == BX_EXEC_SENT && !x->attached;
    bx_exec_fail(x, &why);
    return 0;
}

int bx_exec_message(struct CExecutionHandle *x, uint16_t type, const uint8_t *payload, size_t len,
                    struct bx_err *err)
{
    union {
        boxlite_Started started;
        boxlite_Error error;
        boxlite_Credit credit;
        boxlite_Truncated truncated;
        boxlite_Ok ok;
    } m;
    int r;

    switch (type) {
    case BX_MSG_STARTED:
        r = bx_msg_decode(type, payload, len, &m.started, err);
        return r < 0 ? r : on_started(x, &m.started, err);
    case BX_MSG_ERROR:
        r = bx_msg_decode(type, payload, len, &m.error, err);
        return r < 0 ? r : on_error(x, &m.error);
    case BX_MSG_OK:
        r = bx_msg_decode(type, payload, len, &m.ok, err);
        if (r == 0)
            bx_conn_answer(x->box->conn, m.ok.request, NULL);
        return r;
    case BX_MSG_EXIT:
        r = bx_msg_decode(type, payload, len, &x->exit, err);
        return r < 0 ? r : on_exit_message(x, err);
    case BX_MSG_CREDIT:
        r = bx_msg_decode(type, payload, len, &m.credit, err);
        if (r < 0 || m.credit.lane != BX_LANE_STDIN)
            return r;
        if (bx_lane_grant(&x->in_lane, m.credit.bytes) < 0)
            return bx_fail(err, BX_ERPC, 0, "the box gave too much credit");
        bx_exec_pump(x);
        return 0;
    case BX_MSG_TRUNCATED:
        r = bx_msg_decode(type, payload, len, &m.truncated, err);
        if (r == 0 && (m.truncated.lane == BX_LANE_STDOUT || m.truncated.lane == BX_LANE_STDERR))
            x->out[m.truncated.lane - 1].truncated = true;
        return r;
    default:
        return 0;
    }
}

int bx_exec_data(struct CExecutionHandle *x, unsigned lane, const uint8_t *data, size_t len,
                 struct bx_err *err)
{
    if (lane != BX_LANE_STDOUT && lane != BX_LANE_STDERR)
        return bx_fail(err, BX_ERPC, 0, "the box sent data of lane %u", lane);
    return bx_out_data(&x->out[lane - 1], data, len, err);
}

int bx_exec_eof(struct CExecutionHandle *x, unsigned lane, struct bx_err *err)
{
    (void)err;
    if (lane == BX_LANE_STDIN) { /* nobody reads it any more */
        x->in_broken = true;
        bx_buf_clear(&x->in);
    } else if (lane < BX_LANES) {
        x->out[lane - 1].lane.eof = true;
        x->out[lane - 1].to_end = false;
        if (x->exit_known)
            bx_exec_queue(x, &x->exit_ev);
    }
    return 0;
}

/* ---- stdin's notice ---- */

static bool writable_deliver(struct CBoxliteRuntime *rt, struct bx_ev *ev)
{
    struct CExecutionHandle *x = BX_CONTAINER_OF(ev, struct CExecutionHandle, writable_ev);
    CExecutionWritableCb cb = x->writable_cb;
    void *ud = x->writable_ud;
    size_t room = bx_buf_room(&x->in);
    bool open = cb && !x->in_closed && !x->in_broken, call = open && room >= BX_STDIN_QUEUE_MAX / 2;

    x->in_low = open && !call; /* it was filled again since: told the next time */
    if (call) {
        bx_user_begin(rt);
        cb(room, ud);
        bx_user_end(rt);
    }
    bx_exec_unref(x);
    return call;
}
