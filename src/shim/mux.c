/* SPDX-License-Identifier: Apache-2.0 */
/* mux.c - see mux.h for the theory of operation. */
#include "shim/mux.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BUCKETS 64
/* What one read of a client can add to the guest's queues: a receive buffer, or the end of a long message. */
#define READ_DATA_MAX    BX_LINK_RX_SIZE
#define READ_CONTROL_MAX (BX_MESSAGE_MAX + BX_LINK_RX_SIZE + 64 * 1024)

/* A frame that waits for room in its client's link. */
struct waiting {
    struct waiting *next;
    uint16_t type;
    uint8_t lane;
    uint32_t cs;
    size_t len;
    uint8_t data[];
};

struct bx_mux_client {
    struct bx_mux *m;
    struct bx_mux_client *next;
    void *ud;
    struct bx_link link;
    struct stream *buckets[BUCKETS]; /* by client stream number */
    struct waiting *first, **last;
    size_t backlog; /* bytes of the frames that wait, headers included */
    bool holding;   /* credit is held back */
    const char *condemned;
};

struct stream {
    struct stream *next;     /* in its bucket */
    struct bx_mux_client *c; /* NULL: the mux's own watch of the main process */
    uint32_t cs, gs;
    struct bx_lane lanes[BX_LANES]; /* stdin: what the client may send; others: what the guest may send */
    uint32_t held[BX_LANES];        /* granted by the client, not yet relayed */
    unsigned requests;              /* not answered */
    bool opening;                   /* not answered */
    bool exec;                      /* opened by Exec */
    bool running;
};

struct bx_mux {
    const struct bx_mux_ops *ops;
    void *ud;
    struct bx_link guest;
    struct bx_mux_client *clients;
    unsigned n_clients;
    struct stream *streams[BX_STREAMS_MAX]; /* slot: number modulo BX_STREAMS_MAX */
    unsigned n_streams;
    uint32_t next_gs;
    uint32_t main_gs; /* stream that will bring the main process's Exit, open or just closed; 0 = none */
    bool main_over;
    const char *gate;
    unsigned pending;
    unsigned execs_total;
    unsigned execs_running;
    size_t backlog;
};

/* --- streams --- */

static struct stream **bucket(struct bx_mux_client *c, uint32_t cs)
{
    return &c->buckets[(cs * 2654435761u) >> 26];
}

static struct stream *client_stream(struct bx_mux_client *c, uint32_t cs)
{
    struct stream *s = *bucket(c, cs);

    while (s && s->cs != cs)
        s = s->next;
    return s;
}

static struct stream *guest_stream(struct bx_mux *m, uint32_t gs)
{
    struct stream *s = m->streams[gs % BX_STREAMS_MAX];

    return s && s->gs == gs ? s : NULL;
}

static struct stream *stream_new(struct bx_mux *m, struct bx_mux_client *c, uint32_t cs)
{
    struct stream *s;

    if (m->n_streams == BX_STREAMS_MAX)
        return NULL;
    s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    /* Numbers only grow: a frame for a stream that has just ended never meets a new one. 0 is the link. */
    do {
        m->next_gs++;
    } while (m->next_gs == 0 || m->streams[m->next_gs % BX_STREAMS_MAX]);
    s->gs = m->next_gs;
    s->cs = cs;
    s->c = c;
    m->streams[s->gs % BX_STREAMS_MAX] = s;
    m->n_streams++;
    if (c) {
        s->next = *bucket(c, cs);
        *bucket(c, cs) = s;
    }
    return s;
}

static void stream_answered(struct stream *s, struct bx_mux *m)
{
    if (s->opening) {
        s->opening = false;
        m->pending--;
    }
}

static void stream_stopped(struct stream *s, struct bx_mux *m)
{
    if (s->running) {
        s->running = false;
        m->execs_running--;
    }
}

static void stream_free(struct bx_mux *m, struct stream *s)
{
    stream_answered(s, m);
    stream_stopped(s, m);
    m->pending -= s->requests;
    if (s->c) {
        struct stream **p = bucket(s->c, s->cs);

        while (*p != s)
            p = &(*p)->next;
        *p = s->next;
    }
    m->streams[s->gs % BX_STREAMS_MAX] = NULL;
    m->n_streams--;
    free(s);
}

/* --- towards clients --- */

static void condemn(struct bx_mux_client *c, const char *why)
{
    if (!c->condemned)
        c->condemned = why;
}

size_t bx_mux_client_queued(const struct bx_mux_client *c)
{
    return c->backlog + bx_buf_len(&c->link.data) + bx_buf_len(&c->link.control);
}

static void control_to_client(struct bx_mux_client *c, uint16_t type, uint32_t cs, const void *p, size_t len)
{
    if (!c->condemned && bx_link_send(&c->link, type, cs, p, len) < 0)
        condemn(c, "it does not read");
}

static void backlog_add(struct bx_mux_client *c, uint16_t type, unsigned lane, uint32_t cs, const void *p,
                        size_t len)
{
    size_t cost = sizeof(struct waiting) + len;
    struct waiting *w;

    if (c->backlog + cost > BX_MUX_CLIENT_MAX || c->m->backlog + cost > BX_MUX_TOTAL_MAX) {
        condemn(c, "too much output it does not read");
        return;
    }
    w = malloc(cost);
    if (!w) {
        condemn(c, "out of memory");
        return;
    }
    *w = (struct waiting){.type = type, .lane = (uint8_t)lane, .cs = cs, .len = len};
    if (len > 0)
        memcpy(w->data, p, len);
    *c->last = w;
    c->last = &w->next;
    c->backlog += cost;
    c->m->backlog += cost;
}

/* Data, EOF, or a message that keeps its place among them, into the link. False when there is no room now. */
static bool ordered_to_link(struct bx_link *l, uint16_t type, unsigned lane, uint32_t cs, const void *p,
                            size_t len)
{
    /* EOF and messages have room of their own in the link, but not without end. */
    if (type != BX_MSG_DATA && bx_buf_len(&l->data) >= BX_MUX_CLIENT_DATA)
        return false;
    if (type == BX_MSG_DATA)
        return bx_link_send_data(l, cs, lane, p, len) == 0;
    if (type == BX_MSG_EOF)
        return bx_link_send_eof(l, cs, lane) == 0;
    return bx_link_send_ordered(l, type, cs, p, len) == 0;
}

static void ordered_to_client(struct bx_mux_client *c, uint16_t type, unsigned lane, uint32_t cs,
                              const void *p, size_t len)
{
    if (c->condemned)
        return;
    if (c->first || !ordered_to_link(&c->link, type, lane, cs, p, len))
        backlog_add(c, type, lane, cs, p, len);
    if (bx_mux_client_queued(c) >= BX_MUX_HOLD)
        c->holding = true;
}

static void backlog_pop(struct bx_mux_client *c)
{
    struct waiting *w = c->first;
    size_t cost = sizeof(*w) + w->len;

    c->first = w->next;
    if (!c->first)
        c->last = &c->first;
    c->backlog -= cost;
    c->m->backlog -= cost;
    free(w);
}

/* --- towards the guest --- */

/* Can only fail for want of memory: bx_mux_may_read keeps room. Then the guest's link is out of step and must
 * end. */
static void control_to_guest(struct bx_mux *m, uint16_t type, uint32_t gs, const void *p, size_t len)
{
    if (bx_link_send(&m->guest, type, gs, p, len) < 0)
        m->guest.dead = true;
}

static void relay_credit(struct bx_mux *m, struct stream *s, unsigned lane)
{
    struct bx_lane *l = &s->lanes[lane];
    uint32_t room = l->credit < BX_MUX_LANE_MAX ? BX_MUX_LANE_MAX - l->credit : 0;
    uint32_t n = BX_MIN(s->held[lane], room);

    if (n == 0 || bx_lane_grant(l, n) < 0)
        return;
    s->held[lane] -= n;
    if (bx_msg_send_credit(&m->guest, s->gs, lane, n) < 0)
        m->guest.dead = true;
}

static void release_held(struct bx_mux_client *c)
{
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct stream *s = c->buckets[i]; s; s = s->next)
            for (unsigned lane = BX_LANE_STDOUT; lane < BX_LANES; lane++)
                if (s->held[lane] > 0)
                    relay_credit(c->m, s, lane);
}

void bx_mux_client_refill(struct bx_mux_client *c)
{
    while (c->first && ordered_to_link(&c->link, c->first->type, c->first->lane, c->first->cs, c->first->data,
                                       c->first->len))
        backlog_pop(c);
    /* Half the mark: or credit would go back and forth at each frame. */
    if (c->holding && bx_mux_client_queued(c) < BX_MUX_HOLD / 2) {
        c->holding = false;
        release_held(c);
    }
}

bool bx_mux_may_read(const struct bx_mux *m)
{
    return bx_buf_len(&m->guest.data) + READ_DATA_MAX <= BX_MUX_GUEST_DATA &&
           bx_buf_len(&m->guest.control) + READ_CONTROL_MAX <= BX_LINK_CONTROL_MAX;
}

/* --- from clients --- */

/* A message of our own, behind all that waits. */
static void ordered_msg_to_client(struct bx_mux_client *c, uint16_t type, uint32_t cs, const void *msg)
{
    struct bx_link scratch;
    struct bx_frame f;

    bx_link_init(&scratch, NULL, NULL, BX_FRAME_HEADER + BX_FRAME_PAYLOAD_MAX);
    if (bx_msg_send(&scratch, type, cs, msg, NULL) < 0 ||
        bx_frame_parse(bx_buf_data(&scratch.control), bx_buf_len(&scratch.control), &f, NULL) <= 0)
        condemn(c, "out of memory");
    else
        ordered_to_client(c, type, 0, cs, f.payload, f.length);
    bx_link_done(&scratch);
}

void bx_mux_client_send_last(struct bx_mux_client *c, uint16_t type, const void *msg)
{
    ordered_msg_to_client(c, type, 0, msg);
}

static int error_to_client(struct bx_mux_client *c, uint32_t cs, const struct bx_err *why)
{
    if (bx_msg_send_error(&c->link, cs, 0, why) < 0)
        condemn(c, "it does not read");
    return 0;
}

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
    if (client_stream(c, cs))
        return bx_fail(err, BX_ERPC, 0, "stream %u is open already", cs);
    if (m->gate) {
        bx_fail(&why, BX_ESTOPPED, 0, "%s", m->gate);
        return error_to_client(c, cs, &why);
    }
    *ret = stream_new(m, c, cs);
    if (!*ret) {
        bx_fail(&why, BX_ERESOURCE, 0, "too many streams in this box (at most %d)", BX_STREAMS_MAX);
        return error_to_client(c, cs, &why);
    }
    (*ret)->opening = true;
    m->pending++;
    return 0;
}

static int client_exec(struct bx_mux_client *c, uint32_t cs, const uint8_t *p, size_t len, struct bx_err *err)
{
    bx_cleanup_buf struct bx_buf arena = BX_BUF_INIT(BX_MESSAGE_MAX);
    struct bx_msg_exec exec;
    struct bx_err why = BX_ERR_INIT;
    struct stream *s;
    int r = bx_msg_decode_exec(p, len, &arena, &exec, &why);

    if (r == -BX_EINVALID)
        return error_to_client(c, cs, &why);
    if (r < 0)
        return bx_fail(err, BX_ERPC, 0, "%s", why.msg);
    r = open_stream(c, cs, &s, err);
    if (r < 0 || !s)
        return r;
    s->exec = true;
    if (exec.pb.stdin)
        bx_lane_init(&s->lanes[BX_LANE_STDIN], BX_WINDOW);
    for (unsigned lane = BX_LANE_STDOUT; lane < BX_LANES; lane++)
        if (exec.pb.claim & (1u << lane))
            claim(s, lane);
    if (exec.pb.main)
        c->m->main_gs = s->gs;
    control_to_guest(c->m, BX_MSG_EXEC, s->gs, p, len);
    return 0;
}

static int client_attach(struct bx_mux_client *c, uint32_t cs, const uint8_t *p, size_t len,
                         struct bx_err *err)
{
    struct stream *s;
    int r = open_stream(c, cs, &s, err);

    if (r < 0 || !s)
        return r;
    bx_lane_init(&s->lanes[BX_LANE_STDIN], BX_WINDOW);
    control_to_guest(c->m, BX_MSG_ATTACH, s->gs, p, len);
    return 0;
}

/* The mux watches the main process by a stream of its own, from when its client has closed the one it had. */
static void watch_main(struct bx_mux *m)
{
    boxlite_Attach attach = {.exec_id = "main"};
    struct stream *s;

    if (m->main_over)
        return;
    s = stream_new(m, NULL, 0);
    if (!s || bx_msg_send(&m->guest, BX_MSG_ATTACH, s->gs, &attach, NULL) < 0) {
        m->guest.dead = true; /* out of memory: the box could not end with its main process */
        return;
    }
    s->opening = true;
    m->pending++;
    /* main_gs stays with the old stream until this one is answered: its Exit may be on the way. */
}

static void close_stream(struct bx_mux *m, struct stream *s)
{
    bool was_main = s->gs == m->main_gs;

    control_to_guest(m, BX_MSG_CLOSE, s->gs, NULL, 0);
    stream_free(m, s);
    if (was_main)
        watch_main(m);
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
    if (bx_add_overflow(s->held[credit.lane], credit.bytes, &s->held[credit.lane]))
        return bx_fail(err, BX_ERPC, 0, "credit without end");
    if (!s->c->holding)
        relay_credit(s->c->m, s, credit.lane);
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
    claim(s, msg.lane);
    control_to_guest(s->c->m, BX_MSG_CLAIM, s->gs, p, len);
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
    if ((type == BX_MSG_SIGNAL ? msg.signal.request : msg.resize.request) != 0) {
        s->requests++;
        s->c->m->pending++;
    }
    control_to_guest(s->c->m, type, s->gs, p, len);
    return 0;
}

static int unknown_from_client(struct bx_mux_client *c, uint16_t type, uint32_t cs)
{
    struct stream *s = client_stream(c, cs);
    struct bx_err why = BX_ERR_INIT;

    bx_fail(&why, BX_EUNSUPPORTED, 0, "message %s is not known here", bx_msg_type_name(type));
    if (s)
        close_stream(c->m, s);
    return error_to_client(c, cs, &why);
}

static int ping(struct bx_link *l, const uint8_t *p, size_t len, struct bx_err *err)
{
    boxlite_Ping msg;
    boxlite_Pong pong;
    int r = bx_msg_decode(BX_MSG_PING, p, len, &msg, err);

    if (r < 0)
        return r;
    pong = (boxlite_Pong){.token = msg.token};
    return bx_msg_send(l, BX_MSG_PONG, 0, &pong, err);
}

static int on_client_message(struct bx_link *l, uint16_t type, uint32_t cs, const uint8_t *p, size_t len,
                             struct bx_err *err)
{
    struct bx_mux_client *c = l->ud;
    struct stream *s;

    if (c->condemned)
        return bx_fail(err, BX_ERESOURCE, 0, "%s", c->condemned);
    if (cs == 0)
        return type == BX_MSG_PING ? ping(l, p, len, err) : c->m->ops->client(c->m->ud, c, type, p, len, err);
    if (type == BX_MSG_EXEC)
        return client_exec(c, cs, p, len, err);
    if (type == BX_MSG_ATTACH)
        return client_attach(c, cs, p, len, err);

    s = client_stream(c, cs);
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
            close_stream(c->m, s);
        return 0;
    default:
        return unknown_from_client(c, type, cs);
    }
}

static int on_client_data(struct bx_link *l, uint32_t cs, unsigned lane, const uint8_t *data, size_t len,
                          struct bx_err *err)
{
    struct bx_mux_client *c = l->ud;
    struct stream *s = client_stream(c, cs);

    if (lane != BX_LANE_STDIN)
        return bx_fail(err, BX_ERPC, 0, "data on lane %u", lane);
    if (!s)
        return 0; /* it ended, and the client does not know yet */
    if (bx_lane_receive(&s->lanes[lane], len) < 0)
        return bx_fail(err, BX_ERPC, 0, "more stdin than was allowed");
    /* Room is kept by bx_mux_may_read: this fails for want of memory only. */
    if (bx_link_send_data(&c->m->guest, s->gs, lane, data, len) < 0)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "stdin");
    return 0;
}

static int on_client_eof(struct bx_link *l, uint32_t cs, unsigned lane, struct bx_err *err)
{
    struct bx_mux_client *c = l->ud;
    struct stream *s = client_stream(c, cs);

    if (lane != BX_LANE_STDIN)
        return bx_fail(err, BX_ERPC, 0, "end of lane %u", lane);
    if (!s || s->lanes[lane].eof)
        return 0;
    s->lanes[lane].eof = true;
    if (bx_link_send_eof(&c->m->guest, s->gs, lane) < 0)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "end of stdin");
    return 0;
}

static const struct bx_link_ops client_ops = {on_client_message, on_client_data, on_client_eof};

/* --- from the guest --- */

static void main_ended(struct bx_mux *m, const boxlite_Exit *e)
{
    if (m->main_over)
        return;
    m->main_over = true;
    m->ops->main_exit(m->ud, e);
}

static int guest_exit(struct bx_mux *m, struct stream *s, uint32_t gs, const uint8_t *p, size_t len,
                      struct bx_err *err)
{
    boxlite_Exit e;
    int r = bx_msg_decode(BX_MSG_EXIT, p, len, &e, err);

    if (r < 0)
        return r;
    if (s) {
        stream_stopped(s, m);
        if (s->c)
            ordered_to_client(s->c, BX_MSG_EXIT, 0, s->cs, p, len);
    }
    if (gs == m->main_gs)
        main_ended(m, &e);
    return 0;
}

static int guest_started(struct bx_mux *m, struct stream *s, const uint8_t *p, size_t len)
{
    bool first = s->opening;

    stream_answered(s, m);
    if (s->exec && first) {
        s->running = true;
        m->execs_total++;
        m->execs_running++;
    }
    if (s->c)
        control_to_client(s->c, BX_MSG_STARTED, s->cs, p, len);
    else
        m->main_gs = s->gs;
    return 0;
}

static void request_answered(struct bx_mux *m, struct stream *s)
{
    if (s->requests > 0) {
        s->requests--;
        m->pending--;
    }
}

static int guest_error(struct bx_mux *m, struct stream *s, const uint8_t *p, size_t len, struct bx_err *err)
{
    boxlite_Error e;
    int r = bx_msg_decode(BX_MSG_ERROR, p, len, &e, err);

    if (r < 0)
        return r;
    if (e.request != 0) {
        request_answered(m, s);
        if (s->c)
            control_to_client(s->c, BX_MSG_ERROR, s->cs, p, len);
        return 0;
    }
    /* The stream is over. */
    if (s->c) {
        ordered_to_client(s->c, BX_MSG_ERROR, 0, s->cs, p, len);
        if (s->gs == m->main_gs)
            m->main_gs = 0; /* it could not be started: the client knows, and may try again */
    } else {
        main_ended(m, NULL);
    }
    stream_free(m, s);
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
        control_to_client(s->c, BX_MSG_CREDIT, s->cs, p, len);
    return 0;
}

static int unknown_from_guest(struct bx_mux *m, struct stream *s, uint16_t type)
{
    struct bx_err why = BX_ERR_INIT;

    bx_fail(&why, BX_EUNSUPPORTED, 0, "message %s is not known here", bx_msg_type_name(type));
    if (s->c)
        (void)error_to_client(s->c, s->cs, &why);
    close_stream(m, s);
    return 0;
}

static int on_guest_message(struct bx_link *l, uint16_t type, uint32_t gs, const uint8_t *p, size_t len,
                            struct bx_err *err)
{
    struct bx_mux *m = l->ud;
    struct stream *s;

    if (gs == 0)
        return type == BX_MSG_PING ? ping(l, p, len, err) : m->ops->guest(m->ud, type, p, len, err);
    s = guest_stream(m, gs);
    if (type == BX_MSG_EXIT)
        return guest_exit(m, s, gs, p, len, err);
    if (!s)
        return 0; /* closed from our side while this was under way */
    switch (type) {
    case BX_MSG_STARTED:
        return guest_started(m, s, p, len);
    case BX_MSG_ERROR:
        return guest_error(m, s, p, len, err);
    case BX_MSG_CREDIT:
        return guest_credit(s, p, len, err);
    case BX_MSG_OK:
        request_answered(m, s);
        if (s->c)
            control_to_client(s->c, type, s->cs, p, len);
        return 0;
    case BX_MSG_TRUNCATED:
        if (s->c)
            ordered_to_client(s->c, type, 0, s->cs, p, len);
        return 0;
    default:
        return unknown_from_guest(m, s, type);
    }
}

static int on_guest_data(struct bx_link *l, uint32_t gs, unsigned lane, const uint8_t *data, size_t len,
                         struct bx_err *err)
{
    struct bx_mux *m = l->ud;
    struct stream *s = guest_stream(m, gs);

    if (!s)
        return 0;
    if (lane == BX_LANE_STDIN || bx_lane_receive(&s->lanes[lane], len) < 0)
        return bx_fail(err, BX_ERPC, 0, "output on lane %u that was not allowed", lane);
    if (s->c) {
        ordered_to_client(s->c, BX_MSG_DATA, lane, s->cs, data, len);
        if (s->held[lane] > 0 && !s->c->holding)
            relay_credit(m, s, lane);
    }
    return 0;
}

static int on_guest_eof(struct bx_link *l, uint32_t gs, unsigned lane, struct bx_err *err)
{
    struct bx_mux *m = l->ud;
    struct stream *s = guest_stream(m, gs);

    if (!s)
        return 0;
    if (lane == BX_LANE_STDIN)
        return bx_fail(err, BX_ERPC, 0, "end of stdin from the guest");
    if (s->c && !s->lanes[lane].eof)
        ordered_to_client(s->c, BX_MSG_EOF, lane, s->cs, NULL, 0);
    s->lanes[lane].eof = true;
    return 0;
}

static const struct bx_link_ops guest_ops = {on_guest_message, on_guest_data, on_guest_eof};

/* --- the whole --- */

struct bx_mux *bx_mux_new(const struct bx_mux_ops *ops, void *ud)
{
    struct bx_mux *m = calloc(1, sizeof(*m));

    if (!m)
        return NULL;
    m->ops = ops;
    m->ud = ud;
    bx_link_init(&m->guest, &guest_ops, m, BX_MUX_GUEST_DATA);
    return m;
}

static void client_free(struct bx_mux_client *c)
{
    while (c->first)
        backlog_pop(c);
    bx_link_done(&c->link);
    free(c);
}

struct bx_mux *bx_mux_free(struct bx_mux *m)
{
    if (!m)
        return NULL;
    for (size_t i = 0; i < BX_STREAMS_MAX; i++)
        if (m->streams[i])
            stream_free(m, m->streams[i]);
    while (m->clients) {
        struct bx_mux_client *c = m->clients;

        m->clients = c->next;
        client_free(c);
    }
    bx_link_done(&m->guest);
    free(m);
    return NULL;
}

struct bx_link *bx_mux_guest(struct bx_mux *m)
{
    return &m->guest;
}

struct bx_mux_client *bx_mux_client_add(struct bx_mux *m, void *ud)
{
    struct bx_mux_client *c;

    if (m->n_clients == BX_CLIENTS_MAX)
        return NULL;
    c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->m = m;
    c->ud = ud;
    c->last = &c->first;
    bx_link_init(&c->link, &client_ops, c, BX_MUX_CLIENT_DATA);
    c->next = m->clients;
    m->clients = c;
    m->n_clients++;
    return c;
}

void bx_mux_client_remove(struct bx_mux_client *c)
{
    struct bx_mux *m = c->m;
    struct bx_mux_client **p = &m->clients;

    for (size_t i = 0; i < BUCKETS; i++)
        while (c->buckets[i])
            close_stream(m, c->buckets[i]);
    while (*p != c)
        p = &(*p)->next;
    *p = c->next;
    m->n_clients--;
    client_free(c);
}

void *bx_mux_client_ud(const struct bx_mux_client *c)
{
    return c->ud;
}

struct bx_link *bx_mux_client_link(struct bx_mux_client *c)
{
    return &c->link;
}

const char *bx_mux_client_condemned(const struct bx_mux_client *c)
{
    return c->condemned;
}

void bx_mux_close_gate(struct bx_mux *m, const char *why)
{
    m->gate = why;
}

void bx_mux_fail_streams(struct bx_mux *m, const struct bx_err *why)
{
    m->main_over = true;
    for (size_t i = 0; i < BX_STREAMS_MAX; i++) {
        struct stream *s = m->streams[i];
        boxlite_Error e = {.code = (uint32_t)why->code};

        if (!s)
            continue;
        if (s->c) {
            snprintf(e.message, sizeof(e.message), "%s", why->msg);
            ordered_msg_to_client(s->c, BX_MSG_ERROR, s->cs, &e);
        }
        stream_free(m, s);
    }
}

unsigned bx_mux_pending(const struct bx_mux *m)
{
    return m->pending;
}

struct bx_mux_counts bx_mux_counts(const struct bx_mux *m)
{
    return (struct bx_mux_counts){
        .clients = m->n_clients,
        .streams = m->n_streams,
        .execs_total = m->execs_total,
        .execs_running = m->execs_running,
    };
}
