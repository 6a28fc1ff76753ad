/* SPDX-License-Identifier: Apache-2.0 */
/* mux_guest.c - what the guest sends. All of it is hostile: a failure here ends the machine. */
#include <string.h>

#include "base/str.h"
#include "shim/mux_priv.h"

void mux_main_over(struct bx_mux *m, const boxlite_Exit *e)
{
    if (m->main_over)
        return;
    m->main_over = true;
    m->ops->main_exit(m->ud, e);
}

/* On a stream of our own. */
static void own_exit(struct bx_mux *m, struct stream *s, const boxlite_Exit *e)
{
    switch (s->own) {
    case OWN_MAIN:
        if (s == m->watch)
            mux_main_exited(m, e);
        break;
    case OWN_DETACHED:
        mux_exec_ended(m, s, e);
        mux_stream_close(m, s);
        break;
    case OWN_EXEC:
        s->own_ops->ended(s->own_ud, e, NULL); /* closes it, or what it wants */
        break;
    case OWN_NONE:
        break;
    }
}

static int guest_exit(struct bx_mux *m, struct stream *s, uint32_t gs, const uint8_t *p, size_t len,
                      struct bx_err *err)
{
    boxlite_Exit e;
    int r = bx_msg_decode(BX_MSG_EXIT, p, len, &e, err);

    if (r < 0)
        return r;
    if (s->exited)
        return bx_fail(err, BX_ERPC, 0, "a second end of the command on stream %u", gs);
    s->exited = true;
    if (s->running && s->exec && !s->main)
        mux_exec_ended(m, s, &e);
    mux_stream_stopped(s, m);
    if (!s->c)
        own_exit(m, s, &e);
    else if (s->main)
        return mux_main_client_exit(m, s, p, len, err);
    else
        mux_ordered_to_client(s->c, BX_MSG_EXIT, 0, s->cs, p, len);
    return 0;
}

static int guest_started(struct bx_mux *m, struct stream *s, const uint8_t *p, size_t len)
{
    if (!s->opening)
        return 0; /* said before */
    mux_stream_answered(s, m);
    if (s->exec) {
        s->running = true;
        m->execs_total++;
        m->execs_running++;
        if (!s->main && m->ops->exec_started)
            m->ops->exec_started(m->ud, s->id, s->program);
    }
    if (s->c)
        mux_control_to_client(s->c, BX_MSG_STARTED, s->cs, p, len);
    s->started = true;
    return 0;
}

/* False: nobody has asked. */
static bool request_answered(struct bx_mux *m, struct stream *s)
{
    if (s->requests == 0)
        return false;
    s->requests--;
    m->pending--;
    return true;
}

static int guest_connected(struct bx_mux *m, struct stream *s, const uint8_t *p, size_t len)
{
    if (!s->dial || !s->opening)
        return 0;
    mux_stream_answered(s, m);
    mux_control_to_client(s->c, BX_MSG_CONNECTED, s->cs, p, len);
    return 0;
}

static int guest_ok(struct bx_mux *m, struct stream *s, const uint8_t *p, size_t len)
{
    if (request_answered(m, s) && s->c)
        mux_control_to_client(s->c, BX_MSG_OK, s->cs, p, len);
    return 0;
}

/* Beyond credit, so not without end. */
static int guest_truncated(struct bx_mux *m, struct stream *s, const uint8_t *p, size_t len, struct bx_err *err)
{
    boxlite_Truncated msg;
    int r = bx_msg_decode(BX_MSG_TRUNCATED, p, len, &msg, err);

    if (r < 0)
        return r;
    if ((msg.lane != BX_LANE_STDOUT && msg.lane != BX_LANE_STDERR) || s->truncated & 1u << msg.lane)
        return bx_fail(err, BX_ERPC, 0, "a hole in lane %u, or a second one", msg.lane);
    if (s->main)
        return bx_fail(err, BX_ERPC, 0, "a hole in lane %u, which was not claimed", msg.lane);
    s->truncated |= 1u << msg.lane;
    if (s->c)
        mux_ordered_to_client(s->c, BX_MSG_TRUNCATED, 0, s->cs, p, len);
    else if (s == m->watch)
        mux_main_hole(m, msg.lane, msg.dropped);
    return 0;
}

static void own_error(struct bx_mux *m, struct stream *s, const boxlite_Error *e)
{
    struct bx_err why = BX_ERR_INIT;
    char text[sizeof(e->message)];

    /* A main process that could not be started is its client's matter, who may try again. */
    if (s == m->watch && s->started)
        mux_main_over(m, NULL);
    if (s->own == OWN_DETACHED)
        mux_exec_ended(m, s, NULL);
    if (s->own == OWN_EXEC) {
        bx_str_printable(text, sizeof(text), e->message, strlen(e->message));
        bx_fail(&why, e->code > 0 && e->code < BX_ECODE_MAX ? (enum bx_code)e->code : BX_EEXEC, 0, "%s", text);
        s->own_ops->ended(s->own_ud, NULL, &why);
    }
}

static int guest_error(struct bx_mux *m, struct stream *s, uint32_t gs, const uint8_t *p, size_t len, struct bx_err *err)
{
    boxlite_Error e;
    int r = bx_msg_decode(BX_MSG_ERROR, p, len, &e, err);

    if (r < 0)
        return r;
    if (e.request != 0) {
        if (request_answered(m, s) && s->c)
            mux_control_to_client(s->c, BX_MSG_ERROR, s->cs, p, len);
        return 0;
    }
    /* The stream is over. */
    m->exec_errors += s->exec && s->opening;
    if (s->running && s->exec && !s->main)
        mux_exec_ended(m, s, NULL);
    if (s->c)
        mux_ordered_to_client(s->c, BX_MSG_ERROR, 0, s->cs, p, len);
    else
        own_error(m, s, &e);
    if (mux_guest_stream(m, gs))
        mux_stream_free(m, s);
    return 0;
}

static int guest_credit(struct stream *s, const uint8_t *p, size_t len, struct bx_err *err)
{
    boxlite_Credit credit;
    int r = bx_msg_decode(BX_MSG_CREDIT, p, len, &credit, err);

    if (r < 0)
        return r;
    if (credit.lane != BX_LANE_STDIN || bx_lane_grant(&s->lanes[BX_LANE_STDIN], credit.bytes) < 0)
        return bx_fail(err, BX_ERPC, 0, "credit of %u bytes for lane %u", credit.bytes, credit.lane);
    if (s->c)
        mux_control_to_client(s->c, BX_MSG_CREDIT, s->cs, p, len);
    return 0;
}

static int unknown_from_guest(struct bx_mux *m, struct stream *s, uint16_t type)
{
    struct bx_err why = BX_ERR_INIT;

    bx_fail(&why, BX_EUNSUPPORTED, 0, "message %s is not known here", bx_msg_type_name(type));
    if (s->c)
        (void)mux_error_to_client(s->c, s->cs, &why);
    mux_stream_close(m, s);
    return 0;
}

static int on_guest_message(struct bx_link *l, uint16_t type, uint32_t gs, const uint8_t *p, size_t len,
                            struct bx_err *err)
{
    struct bx_mux *m = l->ud;
    struct stream *s;

    if (gs == 0)
        return type == BX_MSG_PING ? mux_ping(l, p, len, err) : m->ops->guest(m->ud, type, p, len, err);
    s = mux_guest_stream(m, gs);
    if (!s)
        return 0; /* closed from our side while this was under way */
    switch (type) {
    case BX_MSG_EXIT:
        return guest_exit(m, s, gs, p, len, err);
    case BX_MSG_STARTED:
        return guest_started(m, s, p, len);
    case BX_MSG_CONNECTED:
        return guest_connected(m, s, p, len);
    case BX_MSG_ERROR:
        return guest_error(m, s, gs, p, len, err);
    case BX_MSG_CREDIT:
        return guest_credit(s, p, len, err);
    case BX_MSG_OK:
        return guest_ok(m, s, p, len);
    case BX_MSG_TRUNCATED:
        return guest_truncated(m, s, p, len, err);
    default:
        return unknown_from_guest(m, s, type);
    }
}

static void own_output(struct bx_mux *m, struct stream *s, unsigned lane, const uint8_t *data, size_t len)
{
    uint32_t grant = bx_lane_consume(&s->lanes[lane], len);

    if (grant > 0 && bx_msg_send_credit(&m->guest, s->gs, lane, grant) < 0)
        m->guest.dead = true;
    s->own_ops->output(s->own_ud, data, len);
}

static int on_guest_data(struct bx_link *l, uint32_t gs, unsigned lane, const uint8_t *data, size_t len,
                         struct bx_err *err)
{
    struct bx_mux *m = l->ud;
    struct stream *s = mux_guest_stream(m, gs);

    if (!s)
        return 0;
    if (lane == BX_LANE_STDIN || s->main || bx_lane_receive(&s->lanes[lane], len) < 0)
        return bx_fail(err, BX_ERPC, 0, "output on lane %u that was not allowed", lane);
    if (s == m->watch)
        return mux_main_data(m, lane, data, len, err);
    if (s->own == OWN_EXEC)
        own_output(m, s, lane, data, len);
    if (s->c) {
        m->bytes_out += len;
        mux_ordered_to_client(s->c, BX_MSG_DATA, lane, s->cs, data, len);
        if (s->held[lane] > 0 && !s->c->holding)
            mux_relay_credit(m, s, lane);
    }
    return 0;
}

static int on_guest_eof(struct bx_link *l, uint32_t gs, unsigned lane, struct bx_err *err)
{
    struct bx_mux *m = l->ud;
    struct stream *s = mux_guest_stream(m, gs);

    if (!s)
        return 0;
    if (lane == BX_LANE_STDIN)
        return bx_fail(err, BX_ERPC, 0, "end of stdin from the guest");
    if (s->main)
        return bx_fail(err, BX_ERPC, 0, "end of lane %u, which was not claimed", lane);
    if (s->c && !s->lanes[lane].eof)
        mux_ordered_to_client(s->c, BX_MSG_EOF, lane, s->cs, NULL, 0);
    s->lanes[lane].eof = true;
    if (s == m->watch)
        mux_main_eof(m, lane);
    return 0;
}

const struct bx_link_ops mux_guest_ops = {on_guest_message, on_guest_data, on_guest_eof};
