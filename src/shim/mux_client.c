/* SPDX-License-Identifier: Apache-2.0 */
/* mux_client.c - what clients send: the streams they open, what is forwarded, what ends their connection. */
#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "shim/mux_priv.h"

/* A lane that is claimed starts with a window of credit without saying so; one without a window was not
 * claimed. */
static void claim(struct stream *s, unsigned lane)
{
    if (s->lanes[lane].window == 0)
        bx_lane_init(&s->lanes[lane], BX_WINDOW);
}

static int open_stream(struct bx_mux_client *c, uint32_t cs, struct stream **ret, struct bx_err *err)
{
    struct bx_mux *m = c->m;
    struct bx_err why = BX_ERR_INIT;

    *ret = NULL;
    if (mux_client_stream(c, cs))
        return bx_fail(err, BX_ERPC, 0, "stream %u is open already", cs);
    if (m->gate) {
        bx_fail(&why, m->gate_code, 0, "%s", m->gate);
        return mux_error_to_client(c, cs, &why);
    }
    *ret = mux_stream_new(m, c, cs);
    if (!*ret) {
        bx_fail(&why, BX_ERESOURCE, 0, "too many streams in this box (at most %d)", BX_STREAMS_MAX);
        return mux_error_to_client(c, cs, &why);
    }
    (*ret)->opening = true;
    m->pending++;
    return 0;
}

/* What the main process writes comes to the mux, which gives its clients what they have claimed. */
static int open_main(struct stream *s, struct bx_msg_exec *exec, struct bx_err *err)
{
    struct bx_mux *m = s->c->m;
    struct bx_err why = BX_ERR_INIT;
    uint32_t claimed = exec->pb.claim;

    if (mux_main_open(m) < 0) {
        bx_fail(&why, BX_ERESOURCE, 0, "too many streams in this box (at most %d)", BX_STREAMS_MAX);
        (void)mux_error_to_client(s->c, s->cs, &why);
        mux_stream_free(m, s);
        return 0;
    }
    s->main = true;
    for (unsigned lane = BX_LANE_STDOUT; lane < BX_LANES; lane++)
        if (claimed & 1u << lane)
            (void)mux_main_claim(s, lane); /* a new one's lanes are free */
    exec->pb.claim = 0;
    if (bx_msg_send_exec(&m->guest, s->gs, exec, err) < 0)
        m->guest.dead = true;
    mux_main_attach(m);
    return 0;
}

/* What the owner is told of it. */
static void note_command(struct stream *s, const struct bx_msg_exec *exec)
{
    const char *program = bx_strs_first(&exec->args);

    s->exec = true;
    s->detached = exec->pb.detached;
    memcpy(s->id, exec->pb.exec_id, sizeof(s->id));
    bx_str_printable(s->program, sizeof(s->program), program ? program : "", program ? strlen(program) : 0);
}

static int client_exec(struct bx_mux_client *c, uint32_t cs, const uint8_t *p, size_t len, struct bx_err *err)
{
    bx_cleanup_buf struct bx_buf arena = BX_BUF_INIT(BX_MESSAGE_MAX);
    struct bx_msg_exec exec;
    struct bx_err why = BX_ERR_INIT;
    struct stream *s;
    int r = bx_msg_decode_exec(p, len, &arena, &exec, &why);

    if (r == -BX_EINVALID) {
        c->m->exec_errors++;
        return mux_error_to_client(c, cs, &why);
    }
    if (r < 0)
        return bx_fail(err, BX_ERPC, 0, "%s", why.msg);
    r = open_stream(c, cs, &s, err);
    if (r == 0 && !s)
        c->m->exec_errors++;
    if (r < 0 || !s)
        return r;
    note_command(s, &exec);
    if (exec.pb.stdin)
        bx_lane_init(&s->lanes[BX_LANE_STDIN], BX_WINDOW);
    if (exec.pb.main)
        return open_main(s, &exec, err);
    for (unsigned lane = BX_LANE_STDOUT; lane < BX_LANES; lane++)
        if (exec.pb.claim & (1u << lane))
            claim(s, lane);
    mux_control_to_guest(c->m, BX_MSG_EXEC, s->gs, p, len);
    return 0;
}

static int client_attach(struct bx_mux_client *c, uint32_t cs, const uint8_t *p, size_t len,
                         struct bx_err *err)
{
    struct bx_err why = BX_ERR_INIT;
    boxlite_Attach msg;
    struct stream *s;
    int r = bx_msg_decode(BX_MSG_ATTACH, p, len, &msg, &why);

    if (r == -BX_EINVALID)
        return mux_error_to_client(c, cs, &why);
    if (r < 0)
        return bx_fail(err, BX_ERPC, 0, "%s", why.msg);
    r = open_stream(c, cs, &s, err);
    if (r < 0 || !s)
        return r;
    s->main = c->m->watch && bx_streq(msg.exec_id, "main");
    bx_lane_init(&s->lanes[BX_LANE_STDIN], BX_WINDOW);
    mux_control_to_guest(c->m, BX_MSG_ATTACH, s->gs, p, len);
    return 0;
}

/* Records in, records out: both lanes are open from the start. */
static int client_file_op(struct bx_mux_client *c, uint32_t cs, const uint8_t *p, size_t len, struct bx_err *err)
{
    boxlite_FileOp op;
    struct bx_err why = BX_ERR_INIT;
    struct stream *s;
    int r = bx_msg_decode(BX_MSG_FILE_OP, p, len, &op, &why);

    if (r == -BX_EINVALID)
        return mux_error_to_client(c, cs, &why);
    if (r < 0)
        return bx_fail(err, BX_ERPC, 0, "%s", why.msg);
    r = open_stream(c, cs, &s, err);
    if (r < 0 || !s)
        return r;
    bx_lane_init(&s->lanes[BX_LANE_STDIN], BX_WINDOW);
    claim(s, BX_LANE_STDOUT);
    mux_control_to_guest(c->m, BX_MSG_FILE_OP, s->gs, p, len);
    return 0;
}

/* Bytes both ways, to a port of the box. */
static int client_dial(struct bx_mux_client *c, uint32_t cs, const uint8_t *p, size_t len, struct bx_err *err)
{
    struct stream *s;
    int r = open_stream(c, cs, &s, err);

    if (r < 0 || !s)
        return r;
    s->dial = true;
    bx_lane_init(&s->lanes[BX_LANE_STDIN], BX_CONN_WINDOW);
    bx_lane_init(&s->lanes[BX_LANE_STDOUT], BX_CONN_WINDOW);
    mux_control_to_guest(c->m, BX_MSG_DIAL, s->gs, p, len);
    return 0;
}

static int client_credit(struct stream *s, const uint8_t *p, size_t len, struct bx_err *err)
{
    boxlite_Credit credit;
    int r = bx_msg_decode(BX_MSG_CREDIT, p, len, &credit, err);

    if (r < 0)
        return r;
    if (credit.lane != BX_LANE_STDOUT && credit.lane != BX_LANE_STDERR)
        return bx_fail(err, BX_ERPC, 0, "credit for lane %u", credit.lane);
    if (s->lanes[credit.lane].window == 0)
        return bx_fail(err, BX_ERPC, 0, "credit for lane %u, which was not claimed", credit.lane);
    if (s->main)
        return mux_main_credit(s, credit.lane, credit.bytes, err);
    if (bx_add_overflow(s->held[credit.lane], credit.bytes, &s->held[credit.lane]))
        return bx_fail(err, BX_ERPC, 0, "credit without end");
    if (!s->c->holding)
        mux_relay_credit(s->c->m, s, credit.lane);
    return 0;
}

static int claim_main(struct stream *s, unsigned lane)
{
    struct bx_mux_client *c = s->c;
    struct bx_err why = BX_ERR_INIT;

    if (mux_main_claim(s, lane))
        return 0;
    bx_fail(&why, BX_ESTATE, 0, "lane %u of exec main is another client's", lane);
    (void)mux_error_to_client(c, s->cs, &why);
    mux_stream_close(c->m, s);
    return 0;
}

static int client_claim(struct stream *s, const uint8_t *p, size_t len, struct bx_err *err)
{
    boxlite_Claim msg;
    int r = bx_msg_decode(BX_MSG_CLAIM, p, len, &msg, err);

    if (r < 0)
        return r;
    if (msg.lane != BX_LANE_STDOUT && msg.lane != BX_LANE_STDERR)
        return bx_fail(err, BX_ERPC, 0, "claim of lane %u", msg.lane);
    if (s->main)
        return claim_main(s, msg.lane);
    claim(s, msg.lane);
    mux_control_to_guest(s->c->m, BX_MSG_CLAIM, s->gs, p, len);
    return 0;
}

/* Nobody can tell when it would arrive. */
static int refuse_signal(struct stream *s, uint32_t request)
{
    struct bx_err why = BX_ERR_INIT;

    bx_fail(&why, s->c->m->gate_code, 0, "%s", s->c->m->gate);
    if (request != 0 && bx_msg_send_error(&s->c->link, s->cs, request, &why) < 0)
        mux_condemn(s->c, "it does not read");
    return 0;
}

/* Signal and Resize: their answer carries their number; 0 is not answered. */
static int client_request(struct stream *s, uint16_t type, const uint8_t *p, size_t len, struct bx_err *err)
{
    union {
        boxlite_Signal signal;
        boxlite_Resize resize;
    } msg;
    int r = bx_msg_decode(type, p, len, &msg, err);

    if (r < 0)
        return r;
    if (type == BX_MSG_SIGNAL && s->c->m->paused)
        return refuse_signal(s, msg.signal.request);
    if ((type == BX_MSG_SIGNAL ? msg.signal.request : msg.resize.request) != 0) {
        s->requests++;
        s->c->m->pending++;
    }
    mux_control_to_guest(s->c->m, type, s->gs, p, len);
    return 0;
}

static int unknown_from_client(struct bx_mux_client *c, uint16_t type, uint32_t cs)
{
    struct stream *s = mux_client_stream(c, cs);
    struct bx_err why = BX_ERR_INIT;

    bx_fail(&why, BX_EUNSUPPORTED, 0, "message %s is not known here", bx_msg_type_name(type));
    if (s)
        mux_stream_close(c->m, s);
    return mux_error_to_client(c, cs, &why);
}

static int on_client_message(struct bx_link *l, uint16_t type, uint32_t cs, const uint8_t *p, size_t len,
                             struct bx_err *err)
{
    struct bx_mux_client *c = l->ud;
    struct stream *s;

    if (c->condemned)
        return bx_fail(err, BX_ERESOURCE, 0, "%s", c->condemned);
    if (cs == 0)
        return type == BX_MSG_PING ? mux_ping(l, p, len, err)
                                   : c->m->ops->client(c->m->ud, c, type, p, len, err);
    if (type == BX_MSG_EXEC)
        return client_exec(c, cs, p, len, err);
    if (type == BX_MSG_ATTACH)
        return client_attach(c, cs, p, len, err);
    if (type == BX_MSG_FILE_OP)
        return client_file_op(c, cs, p, len, err);
    if (type == BX_MSG_DIAL)
        return client_dial(c, cs, p, len, err);

    s = mux_client_stream(c, cs);
    switch (type) {
    case BX_MSG_SIGNAL:
    case BX_MSG_RESIZE:
        return s ? client_request(s, type, p, len, err) : 0;
    case BX_MSG_CREDIT:
        return s ? client_credit(s, p, len, err) : 0;
    case BX_MSG_CLAIM:
        return s ? client_claim(s, p, len, err) : 0;
    case BX_MSG_CLOSE:
        if (s)
            mux_stream_close(c->m, s);
        return 0;
    default:
        return unknown_from_client(c, type, cs);
    }
}

static int on_client_data(struct bx_link *l, uint32_t cs, unsigned lane, const uint8_t *data, size_t len,
                          struct bx_err *err)
{
    struct bx_mux_client *c = l->ud;
    struct stream *s = mux_client_stream(c, cs);

    if (lane != BX_LANE_STDIN)
        return bx_fail(err, BX_ERPC, 0, "data on lane %u", lane);
    if (!s)
        return 0; /* it ended, and the client does not know yet */
    if (bx_lane_receive(&s->lanes[lane], len) < 0)
        return bx_fail(err, BX_ERPC, 0, "more stdin than was allowed");
    /* Room is kept by bx_mux_may_read: this fails for want of memory only. */
    if (bx_link_send_data(&c->m->guest, s->gs, lane, data, len) < 0)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "stdin");
    c->m->bytes_in += len;
    return 0;
}

static int on_client_eof(struct bx_link *l, uint32_t cs, unsigned lane, struct bx_err *err)
{
    struct bx_mux_client *c = l->ud;
    struct stream *s = mux_client_stream(c, cs);

    if (lane != BX_LANE_STDIN)
        return bx_fail(err, BX_ERPC, 0, "end of lane %u", lane);
    if (!s || s->lanes[lane].eof)
        return 0;
    s->lanes[lane].eof = true;
    if (bx_link_send_eof(&c->m->guest, s->gs, lane) < 0)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "end of stdin");
    return 0;
}

const struct bx_link_ops mux_client_ops = {on_client_message, on_client_data, on_client_eof};
