/* SPDX-License-Identifier: Apache-2.0 */
/* conn.c - the link to a running box: greeting, requests, streams handed to executions, its end. */
#include "runtime/conn.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/exec.h"
#include "runtime/files.h"
#include "runtime/live.h"
#include "runtime/tunnel.h"

/* Several frames of data may wait for the socket; more waits in the executions. */
#define CONN_DATA_MAX (1024 * 1024)
/* One turn of the loop reads at most this often, so that one box does not starve the others. */
#define CONN_READS_MAX 16

struct bx_request {
    struct bx_request *next;
    uint32_t id;
    bool info; /* answered by BoxInfo */
    bx_answer_fn *fn;
    void *ud;
};

static struct CExecutionHandle *exec_of(struct bx_conn *c, uint32_t stream)
{
    struct CExecutionHandle *x;

    for (x = c->box->execs; x; x = x->next)
        if (x->stream == stream && stream != 0)
            return x;
    return NULL;
}

uint32_t bx_conn_request(struct bx_conn *c, bx_answer_fn *fn, void *ud)
{
    struct bx_request *q = calloc(1, sizeof(*q));

    if (!q)
        return 0;
    if (++c->next_request == 0)
        c->next_request = 1;
    q->id = c->next_request;
    q->fn = fn;
    q->ud = ud;
    q->next = c->requests;
    c->requests = q;
    return q->id;
}

uint32_t bx_conn_request_info(struct bx_conn *c, bx_answer_fn *fn, void *ud)
{
    uint32_t id = bx_conn_request(c, fn, ud);

    if (id != 0)
        c->requests->info = true;
    return id;
}

void bx_conn_forget(struct bx_conn *c, void *ud)
{
    struct bx_request *q;

    for (q = c->requests; q; q = q->next)
        if (q->ud == ud)
            q->fn = NULL;
}

uint32_t bx_conn_stream(struct bx_conn *c)
{
    return ++c->next_stream;
}

void bx_conn_answer(struct bx_conn *c, uint32_t id, const struct bx_err *err)
{
    struct bx_request **p, *q;

    for (p = &c->requests; *p && (*p)->id != id; p = &(*p)->next)
        ;
    q = *p;
    if (!q)
        return; /* of a request nobody made, or answered twice: harmless */
    *p = q->next;
    if (q->fn)
        q->fn(q->ud, err);
    free(q);
}

void bx_conn_error(const boxlite_Error *m, struct bx_err *ret)
{
    *ret = BX_ERR_INIT;
    ret->code = m->code > 0 && m->code < BX_ECODE_MAX ? (int)m->code : BX_ERPC;
    ret->sys_errno = (int)m->sys_errno;
    bx_str_printable(ret->msg, sizeof(ret->msg), m->message, strlen(m->message));
}

/* The box runs, or it is not yet or no more running. */
static int on_box_info(struct bx_conn *c, const boxlite_BoxInfo *info, struct bx_err *err)
{
    struct bx_request *q, *next;

    c->box->info = *info;
    bx_metrics_sample(c->box);
    for (q = c->requests; q; q = next) {
        next = q->next;
        if (q->info)
            bx_conn_answer(c, q->id, NULL);
    }
    if (c->up)
        return 0;
    if (info->state == BX_BOX_STOPPING)
        return 0; /* BoxGone follows */
    if (info->state != BX_BOX_RUNNING && info->state != BX_BOX_PAUSED)
        return bx_fail(err, BX_ERPC, 0, "the box says that it is in state %u", info->state);
    c->up = true;
    bx_timer_set(c->timer, 0);
    return bx_box_is_up(c->box, err);
}

static int on_hello(struct bx_conn *c, const uint8_t *payload, size_t len, struct bx_err *err)
{
    bx_cleanup_buf struct bx_buf arena = BX_BUF_INIT(64 * 1024);
    struct bx_msg_hello hello;
    int r;

    r = bx_msg_decode_hello(payload, len, &arena, &hello, err);
    if (r < 0)
        return r;
    if (hello.pb.version != BX_WIRE_VERSION)
        return bx_fail(
            err, BX_EPORTAL, 0,
            "%s speaks version %u of the box protocol, this library (%s) version %d: stop the box with the "
            "programs that started it",
            hello.pb.program, hello.pb.version, BX_VERSION, BX_WIRE_VERSION);
    c->hello = true;
    for (const char *f = bx_strs_first(&hello.features); f; f = bx_strs_next(&hello.features, f)) {
        c->has_files = c->has_files || bx_streq(f, "files");
        c->has_pause = c->has_pause || bx_streq(f, "pause");
        c->has_policy = c->has_policy || bx_streq(f, "net-policy");
    }
    return 0;
}

/* Messages of stream 0. */
static int link_message(struct bx_conn *c, uint16_t type, const uint8_t *payload, size_t len,
                        struct bx_err *err)
{
    union {
        boxlite_Ok ok;
        boxlite_Error error;
        boxlite_Ping ping;
        boxlite_BoxInfo info;
    } m;
    boxlite_Pong pong = boxlite_Pong_init_zero;
    struct bx_err why;
    int r;

    switch (type) {
    case BX_MSG_OK:
        r = bx_msg_decode(type, payload, len, &m.ok, err);
        if (r == 0)
            bx_conn_answer(c, m.ok.request, NULL);
        return r;
    case BX_MSG_ERROR:
        r = bx_msg_decode(type, payload, len, &m.error, err);
        if (r < 0)
            return r;
        bx_conn_error(&m.error, &why);
        if (m.error.request == 0) {
            if (err)
                *err = why;
            return -why.code;
        }
        bx_conn_answer(c, m.error.request, &why);
        return 0;
    case BX_MSG_PING:
        r = bx_msg_decode(type, payload, len, &m.ping, err);
        pong.token = m.ping.token;
        return r < 0 ? r : bx_msg_send(&c->link, BX_MSG_PONG, 0, &pong, err);
    case BX_MSG_PONG:
        return 0;
    case BX_MSG_BOX_INFO:
        r = bx_msg_decode(type, payload, len, &m.info, err);
        return r < 0 ? r : on_box_info(c, &m.info, err);
    case BX_MSG_BOX_GONE:
        r = bx_msg_decode(type, payload, len, &c->gone_msg, err);
        if (r < 0)
            return r;
        c->has_gone = true; /* nothing follows: conn_lost tells what it said */
        return bx_fail(err, BX_ESTOPPED, 0, "the box has ended");
    default: /* of a newer box: not for us */
        return 0;
    }
}

static int on_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *payload, size_t len,
                      struct bx_err *err)
{
    struct bx_conn *c = l->ud;
    struct CExecutionHandle *x;
    struct bx_files *f;
    struct bx_tunneled *t;

    if (!c->hello) {
        if (type == BX_MSG_HELLO && stream == 0)
            return on_hello(c, payload, len, err);
        if (type != BX_MSG_ERROR && type != BX_MSG_BOX_GONE)
            return bx_fail(err, BX_ERPC, 0, "the box did not greet, but sent %s", bx_msg_type_name(type));
    }
    if (stream == 0)
        return link_message(c, type, payload, len, err);
    x = exec_of(c, stream);
    if (x)
        return bx_exec_message(x, type, payload, len, err);
    f = bx_files_of(c->box, stream);
    if (f)
        return bx_files_message(f, type, payload, len, err);
    t = bx_tunneled_of(c->box, stream);
    if (t)
        bx_tunneled_message(t, type, payload, len);
    return 0; /* or of a stream that was given up */
}

static int on_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *data, size_t len,
                   struct bx_err *err)
{
    struct bx_conn *c = l->ud;
    struct CExecutionHandle *x = exec_of(c, stream);
    struct bx_files *f = x ? NULL : bx_files_of(c->box, stream);
    struct bx_tunneled *t = x || f ? NULL : bx_tunneled_of(c->box, stream);

    if (f)
        return bx_files_data(f, lane, data, len, err);
    if (t)
        bx_tunneled_data(t, lane, data, len);
    return x ? bx_exec_data(x, lane, data, len, err) : 0;
}

static int on_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    struct bx_conn *c = l->ud;
    struct CExecutionHandle *x = exec_of(c, stream);
    struct bx_files *f = x ? NULL : bx_files_of(c->box, stream);
    struct bx_tunneled *t = x || f ? NULL : bx_tunneled_of(c->box, stream);

    if (f)
        return bx_files_eof(f, lane);
    if (t)
        bx_tunneled_eof(t, lane);
    return x ? bx_exec_eof(x, lane, err) : 0;
}

static const struct bx_link_ops conn_ops = {on_message, on_data, on_eof};

/* Of a long one the beginning, which says what happened, and the end, which is the end of the console. */
static void gone_text(char *dst, size_t size, const char *message)
{
    char text[2 * sizeof(((boxlite_BoxGone *)0)->message)];
    size_t len, head = size / 3, tail;

    bx_str_printable(text, sizeof(text), message, strlen(message));
    len = strlen(text);
    if (len < size) {
        memcpy(dst, text, len + 1);
        return;
    }
    tail = size - head - sizeof(" ... ");
    snprintf(dst, size, "%.*s ... %s", (int)head, text, text + len - tail);
}

/* What ends everything that depends on this box: what the box said about its end, else what we saw. */
static void conn_lost(struct bx_conn *c, const struct bx_err *seen)
{
    struct bx_err why = *seen;
    const boxlite_BoxGone *g = &c->gone_msg;

    if (c->has_gone) {
        why = BX_ERR_INIT;
        why.code = g->state != BX_BOX_FAILED               ? BX_ESTOPPED
                   : g->code > 0 && g->code < BX_ECODE_MAX ? (int)g->code
                                                           : BX_EENGINE;
        gone_text(why.msg, sizeof(why.msg), g->message);
        if (!why.msg[0])
            snprintf(why.msg, sizeof(why.msg), "%s",
                     g->state == BX_BOX_FAILED ? "the box failed" : "the box was stopped");
    }
    bx_box_lost(c->box, &why);
}

void bx_conn_flush(struct bx_conn *c)
{
    const uint8_t *data;
    size_t len;
    ssize_t n;

    while (!c->broken && bx_link_output(&c->link, &data, &len)) {
        n = send(c->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            c->broken = true; /* the reading side will see the end, after what was sent to us */
        if (n < 0)
            break;
        bx_link_sent(&c->link, (size_t)n);
    }
    if (c->source)
        bx_source_set_events(c->source,
                             BX_READ | (!c->broken && bx_link_wants_write(&c->link) ? BX_WRITE : 0));
}

/* 1: more may come; 0: not now; negative: the end. */
static int conn_read(struct bx_conn *c, struct bx_err *err)
{
    uint8_t *room;
    size_t size;
    ssize_t n;
    int r;

    room = bx_link_rx_reserve(&c->link, &size);
    if (!room)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "read from the box");
    n = recv(c->fd, room, size, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n < 0)
        return bx_fail(err, BX_ETRANSPORT, errno, "read from the box");
    if (n == 0)
        return bx_fail(err, BX_ETRANSPORT, 0, "the box's supervisor ended without a word");
    r = bx_link_rx_commit(&c->link, (size_t)n, err);
    return r < 0 ? r : (size_t)n == size;
}

static void conn_pump(struct bx_conn *c)
{
    struct CExecutionHandle *x, *next;

    for (x = c->box->execs; x; x = next) {
        next = x->next;
        bx_exec_pump(x);
    }
    bx_files_pump_all(c->box);
    bx_tunnels_pump(c->box);
}

static void conn_on_io(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct bx_conn *c = ud;
    struct bx_box *b = c->box;
    struct bx_err err = BX_ERR_INIT;
    int i, r = 1;

    (void)s, (void)fd, (void)events;
    bx_box_ref(b); /* what is read may end everything else */
    bx_conn_flush(c);
    for (i = 0; i < CONN_READS_MAX && r > 0 && b->conn == c; i++)
        r = conn_read(c, &err);
    if (b->conn == c && r < 0) {
        conn_lost(c, &err);
    } else if (b->conn == c) {
        conn_pump(c);
        bx_conn_flush(c);
    }
    bx_box_unref(b);
}

static void conn_on_late(struct bx_source *s, void *ud)
{
    struct bx_conn *c = ud;
    struct bx_err err = BX_ERR_INIT;

    (void)s;
    if (c->up)
        bx_fail(&err, BX_EPORTAL, 0, "the box did not stop in time");
    else if (c->ours)
        bx_fail(&err, BX_EENGINE, 0, "the box did not come up in time");
    else
        bx_fail(&err, BX_EPORTAL, 0, "the box's supervisor does not answer");
    conn_lost(c, &err);
}

static int conn_greet(struct bx_conn *c, struct bx_err *err)
{
    struct bx_msg_hello hello = {.pb = boxlite_Hello_init_zero};
    boxlite_BoxInfoGet get = boxlite_BoxInfoGet_init_zero;
    int r;

    hello.pb.version = BX_WIRE_VERSION;
    snprintf(hello.pb.program, sizeof(hello.pb.program), "libboxlite %s", BX_VERSION);
    r = bx_msg_send_hello(&c->link, &hello, err);
    if (r < 0 || c->ours)
        return r;
    get.request = bx_conn_request_info(c, NULL, NULL);
    return bx_msg_send(&c->link, BX_MSG_BOX_INFO_GET, 0, &get, err);
}

int bx_conn_open(struct bx_box *b, int fd, bool ours, int64_t deadline, struct bx_err *err)
{
    struct bx_conn *c = calloc(1, sizeof(*c));
    int r;

    if (!c) {
        bx_close(fd);
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "connect to the box");
    }
    c->box = b;
    c->fd = fd;
    c->ours = ours;
    bx_link_init(&c->link, &conn_ops, c, CONN_DATA_MAX);
    c->source = bx_loop_add_fd(b->rt->loop, fd, BX_READ, conn_on_io, c);
    c->timer = bx_loop_add_timer(b->rt->loop, conn_on_late, c);
    bx_box_ref(b);
    b->conn = c;
    b->phase = BX_PHASE_CONNECTING;
    b->stop_sent = false;
    b->info = (boxlite_BoxInfo)boxlite_BoxInfo_init_zero;
    b->cpu = (struct bx_cpu_sample){0};
    r = c->source && c->timer ? conn_greet(c, err) : bx_fail(err, BX_ERESOURCE, errno, "connect to the box");
    if (r < 0) {
        bx_conn_close(b, err);
        return r;
    }
    bx_timer_set(c->timer, deadline);
    bx_conn_flush(c);
    return 0;
}

void bx_conn_close(struct bx_box *b, const struct bx_err *why)
{
    struct bx_conn *c = b->conn;

    if (!c)
        return;
    bx_tunnels_fail(b, false); /* they are relayed over its link */
    b->conn = NULL;
    bx_source_remove(c->source);
    bx_source_remove(c->timer);
    bx_close(c->fd);
    while (c->requests)
        bx_conn_answer(c, c->requests->id, why);
    bx_link_done(&c->link);
    free(c);
    bx_box_unref(b);
}
