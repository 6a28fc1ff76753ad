/* SPDX-License-Identifier: Apache-2.0 */
/* output.c - one output lane of an execution, from the link to the program's callback. Modes and why:
 * exec.h. */
#include <string.h>

#include "runtime/conn.h"
#include "runtime/exec.h"

static bool out_deliver(struct CBoxliteRuntime *rt, struct bx_ev *ev);

static void out_drop(struct CBoxliteRuntime *rt, struct bx_ev *ev)
{
    (void)rt;
    bx_exec_unref(BX_CONTAINER_OF(ev, struct bx_out, ev)->exec);
}

void bx_out_init(struct bx_out *o, struct CExecutionHandle *x, unsigned lane_id)
{
    o->ev.deliver = out_deliver;
    o->ev.drop = out_drop;
    o->exec = x;
    o->lane_id = lane_id;
    o->mode = BX_OUT_HELD;
    bx_lane_init(&o->lane, BX_WINDOW);
    bx_buf_init(&o->pending, 2 * BX_WINDOW + BX_FRAME_PAYLOAD_MAX); /* a window, and what was kept before */
    bx_buf_init(&o->spare, 2 * BX_WINDOW + BX_FRAME_PAYLOAD_MAX);
    bx_keep_init(&o->keep, BX_KEEP_HEAD, BX_KEEP_TAIL);
}

void bx_out_done(struct bx_out *o)
{
    bx_buf_done(&o->pending);
    bx_buf_done(&o->spare);
    bx_keep_done(&o->keep);
}

bool bx_out_busy(const struct bx_out *o)
{
    return o->mode == BX_OUT_LIVE && bx_buf_len(&o->pending) > 0;
}

/* Something is to be delivered now. */
static bool out_due(const struct bx_out *o)
{
    return bx_out_busy(o) && !o->paused;
}

/* n bytes were used: the peer may send as many again. */
static void out_credit(struct bx_out *o, size_t n)
{
    size_t free_bytes = BX_MIN(n, o->uncounted);
    struct bx_conn *c = o->exec->linked ? o->exec->box->conn : NULL;
    uint32_t credit;

    o->uncounted -= free_bytes;
    credit = bx_lane_consume(&o->lane, n - free_bytes);
    if (credit == 0 || !c || o->exec->state != BX_EXEC_RUNNING)
        return;
    (void)bx_msg_send_credit(&c->link, o->exec->stream, o->lane_id, credit); /* a full link is dead anyway */
    bx_conn_flush(c);
}

static bool out_deliver(struct CBoxliteRuntime *rt, struct bx_ev *ev)
{
    struct bx_out *o = BX_CONTAINER_OF(ev, struct bx_out, ev);
    struct CExecutionHandle *x = o->exec;
    struct bx_buf full = o->pending;
    CBoxStdoutCb cb = o->cb;
    void *ud = o->ud;
    bool called = false;

    if (cb && out_due(o)) {
        o->pending = o->spare; /* what arrives meanwhile does not move what the callback reads */
        o->spare = (struct bx_buf){0};
        called = true;
        bx_user_begin(rt);
        cb(bx_buf_data(&full), bx_buf_len(&full), ud);
        bx_user_end(rt);
        out_credit(o, bx_buf_len(&full));
        bx_buf_clear(&full);
        o->spare = full;
        if (out_due(o))
            bx_exec_queue(x, &o->ev);
    }
    bx_exec_unref(x);
    return called;
}

static void keep_add(struct bx_out *o, const uint8_t *data, size_t len)
{
    bx_keep_add(&o->keep, data, len);
    o->truncated = o->truncated || o->keep.truncated;
}

int bx_out_data(struct bx_out *o, const uint8_t *data, size_t len, struct bx_err *err)
{
    if (bx_lane_receive(&o->lane, len) < 0)
        return bx_fail(err, BX_ERPC, 0, "the box sent more output than it was allowed to");
    switch (o->mode) {
    case BX_OUT_UNCLAIMED:
        return bx_fail(err, BX_ERPC, 0, "the box sent output that was not asked for");
    case BX_OUT_KEPT:
        keep_add(o, data, len);
        out_credit(o, len);
        return 0;
    case BX_OUT_HELD:
    case BX_OUT_LIVE:
        if (bx_buf_add(&o->pending, data, len) < 0)
            return bx_fail(err, BX_ERESOURCE, 0, "output of a command");
        if (out_due(o))
            bx_exec_queue(o->exec, &o->ev);
        return 0;
    }
    return 0;
}

void bx_out_keep(struct bx_out *o)
{
    size_t len = bx_buf_len(&o->pending);

    if (o->mode != BX_OUT_HELD)
        return;
    o->mode = BX_OUT_KEPT;
    keep_add(o, bx_buf_data(&o->pending), len);
    bx_buf_done(&o->pending);
    out_credit(o, len);
}

static int claim(struct bx_out *o, struct bx_err *err)
{
    struct CExecutionHandle *x = o->exec;
    boxlite_Claim m = boxlite_Claim_init_zero;
    int r = 0;

    m.lane = o->lane_id;
    bx_lane_init(&o->lane, BX_WINDOW);
    o->to_end = x->linked;
    if (x->linked && x->box->conn && (x->state == BX_EXEC_RUNNING || x->state == BX_EXEC_ENDED)) {
        r = bx_msg_send(&x->box->conn->link, BX_MSG_CLAIM, x->stream, &m, err);
        bx_conn_flush(x->box->conn);
    }
    return r;
}

int bx_out_register(struct bx_out *o, CBoxStdoutCb cb, void *ud, struct bx_err *err)
{
    const uint8_t *piece;
    size_t n;
    int r = 0;

    if (o->cb)
        return bx_fail(err, BX_ESTATE, 0, "%s was registered already",
                       o->lane_id == BX_LANE_STDOUT ? "stdout" : "stderr");
    if (o->mode == BX_OUT_UNCLAIMED)
        r = claim(o, err);
    if (r < 0)
        return r;
    o->cb = cb;
    o->ud = ud;
    while ((n = bx_keep_peek(&o->keep, &piece)) > 0) {
        if (bx_buf_add(&o->pending, piece, n) < 0)
            return bx_fail(err, BX_ERESOURCE, 0, "output of a command");
        o->uncounted += n;
        bx_keep_consume(&o->keep, n);
    }
    o->mode = BX_OUT_LIVE;
    if (out_due(o))
        bx_exec_queue(o->exec, &o->ev);
    return 0;
}

void bx_out_pause(struct bx_out *o, bool paused)
{
    struct CExecutionHandle *x = o->exec;

    o->paused = paused;
    if (out_due(o))
        bx_exec_queue(x, &o->ev);
    if (!paused && x->exit_known && !x->exit_settled) /* it waited for this output */
        bx_exec_queue(x, &x->exit_ev);
}

void bx_out_unregister(struct bx_out *o)
{
    o->cb = NULL;
    o->paused = false;
    if (o->mode == BX_OUT_LIVE)
        o->mode = BX_OUT_KEPT;
    bx_buf_clear(&o->pending);
}
