/* SPDX-License-Identifier: Apache-2.0 */
/* pause.c - boxlite_box_pause and boxlite_box_resume: asked of the box's supervisor, over a link that is there or is made. */
#include "runtime/live.h"

#include "runtime/conn.h"

static const char *name_of(const struct bx_box *b)
{
    return b->name ? b->name : b->id;
}

static void on_answer(void *ud, const struct bx_err *err)
{
    bx_live_finish(ud, err);
}

void bx_pause_not_up(struct bx_op *op, struct bx_box *b)
{
    struct bx_err err = BX_ERR_INIT;

    if (b->gone)
        bx_fail(&err, BX_ENOTFOUND, 0, "%s", b->id);
    else
        bx_fail(&err, BX_ESTATE, 0, "box %s does not run", name_of(b));
    bx_live_finish(op, &err);
}

void bx_pause_ask(struct bx_op *op, struct bx_box *b)
{
    union {
        boxlite_BoxPause pause;
        boxlite_BoxResume resume;
    } m = {.pause = boxlite_BoxPause_init_zero};
    bool pause = op->kind == BX_OP_PAUSE;
    struct bx_err err = BX_ERR_INIT;
    uint32_t request;
    int r;

    if (!b->conn->has_pause) { /* it would take the message for the end of the link */
        bx_fail(&err, BX_EUNSUPPORTED, 0, "box %s was started by an older version of BoxLite, which cannot pause it: restart it first",
                name_of(b));
        bx_live_finish(op, &err);
        return;
    }
    request = bx_conn_request(b->conn, on_answer, op);
    if (request == 0) {
        bx_fail(&err, BX_ERESOURCE, 0, "%s box %s: out of memory", pause ? "pause" : "resume", name_of(b));
        bx_live_finish(op, &err);
        return;
    }
    if (pause)
        m.pause.request = request;
    else
        m.resume.request = request;
    r = bx_msg_send(&b->conn->link, pause ? BX_MSG_BOX_PAUSE : BX_MSG_BOX_RESUME, 0, &m, &err);
    if (r < 0)
        bx_conn_answer(b->conn, request, &err);
    bx_conn_flush(b->conn);
}

bool bx_pause_refuses(const struct bx_box *b, struct bx_err *err)
{
    if (b->phase != BX_PHASE_UP || b->info.state != BX_BOX_PAUSED)
        return false;
    bx_fail(err, BX_ESTATE, 0, "box %s is paused: `boxlite unpause %s`, or boxlite_box_resume, lets it go on", name_of(b), name_of(b));
    return true;
}

static BoxliteErrorCode post(CBoxHandle *box, enum bx_op_kind kind, CBoxPauseCb cb, void *user_data, CBoxliteError *out_error)
{
    if (!box || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !box ? "box" : "cb");
    return bx_live_post(box, kind, (union bx_op_cb){.plain = cb}, user_data, out_error);
}

BoxliteErrorCode boxlite_box_pause(CBoxHandle *box, CBoxPauseCb cb, void *user_data, CBoxliteError *out_error)
{
    return post(box, BX_OP_PAUSE, cb, user_data, out_error);
}

BoxliteErrorCode boxlite_box_resume(CBoxHandle *box, CBoxPauseCb cb, void *user_data, CBoxliteError *out_error)
{
    return post(box, BX_OP_RESUME, cb, user_data, out_error);
}
