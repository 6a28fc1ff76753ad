/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qmp.c - the client of QEMU's control protocol.
 *
 * Theory of operation
 *
 *  Commands are written as they come, without waiting for the greeting: QEMU reads them in order, and a restored start saves
 *  the round trips. Answers come in the order of the commands, so the outstanding ones are a ring. A command with a descriptor
 *  must not share its sendmsg with bytes of another, so commands wait in a queue of whole messages when the socket is full.
 *
 *  QEMU is on the other side of the wall: lines are bounded, parsed strictly, and the first violation ends the connection.
 */
#include "vm/qmp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/str.h"
#include "host/json.h"

#define LINE_MAX_BYTES 65536
#define OUTSTANDING_MAX 64
#define READ_ROUNDS 16 /* per wake-up, so that a flood of events does not starve the loop */

struct pending {
    bx_qmp_reply_fn *fn;
    void *ud;
    char *text; /* not yet (wholly) written; NULL when it is */
    size_t sent;
    size_t len;
    int fd;     /* to pass along with the first byte */
};

struct bx_qmp {
    struct bx_loop *loop;
    int fd;
    struct bx_source *source;
    bx_qmp_event_fn *on_event;
    bx_qmp_gone_fn *on_gone;
    void *ud;
    struct bx_buf in;
    struct pending ring[OUTSTANDING_MAX];
    unsigned head;    /* oldest unanswered */
    unsigned n;       /* unanswered */
    unsigned written; /* of them, from head on */
    bool *freed;      /* set when q is freed inside a callback */
};

static struct pending *at(struct bx_qmp *q, unsigned i)
{
    return &q->ring[(q->head + i) % OUTSTANDING_MAX];
}

static void pending_done(struct pending *p)
{
    free(p->text);
    bx_close(p->fd);
    *p = (struct pending){ .fd = -1 };
}

static struct pending take_oldest(struct bx_qmp *q)
{
    struct pending p = *at(q, 0);

    *at(q, 0) = (struct pending){ .fd = -1 };
    q->head = (q->head + 1) % OUTSTANDING_MAX;
    q->n--;
    if (q->written)
        q->written--;
    return p;
}

/* Ends the connection: everything outstanding is answered, then the owner told. q may be gone afterwards. */
static void gone(struct bx_qmp *q, const struct bx_err *why)
{
    bool freed = false;
    bool *outer = q->freed;

    q->source = bx_source_remove(q->source);
    q->fd = bx_close(q->fd);
    q->freed = &freed;
    while (q->n) {
        struct pending p = take_oldest(q);

        if (p.fn)
            p.fn(p.ud, "", why);
        pending_done(&p);
        if (freed)
            goto out;
    }
    q->freed = outer;
    if (q->on_gone)
        q->on_gone(q->ud, why); /* may free q */
    return;
out:
    if (outer)
        *outer = true;
}

/* Writes as much as the socket takes. 0 or -errno. */
static int flush(struct bx_qmp *q)
{
    while (q->written < q->n) {
        struct pending *p = at(q, q->written);
        union {
            struct cmsghdr head;
            char space[CMSG_SPACE(sizeof(int))];
        } control = { 0 };
        struct iovec iov = { .iov_base = p->text + p->sent, .iov_len = p->len - p->sent };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
        ssize_t n;

        if (p->fd >= 0) {
            control.head = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
            memcpy(CMSG_DATA(&control.head), &p->fd, sizeof(int));
            msg.msg_control = &control;
            msg.msg_controllen = sizeof(control);
        }
        n = sendmsg(q->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return bx_source_set_events(q->source, BX_READ | BX_WRITE);
        if (n < 0)
            return -errno;
        p->fd = bx_close(p->fd);
        p->sent += (size_t)n;
        if (p->sent < p->len)
            continue;
        free(p->text);
        p->text = NULL;
        q->written++;
    }
    return bx_source_set_events(q->source, BX_READ);
}

static int answer(struct bx_qmp *q, const struct bx_json *value, bool failed, struct bx_err *err)
{
    bx_cleanup_free char *text = bx_json_dump(value);
    struct bx_err why = BX_ERR_INIT;
    struct pending p;

    if (!text)
        return bx_fail(err, BX_EINTERNAL, ENOMEM, "QMP");
    if (q->n == 0 || q->written == 0)
        return bx_fail(err, BX_ERPC, 0, "QMP: an answer nobody asked for");
    p = take_oldest(q);
    if (failed) {
        char shown[300];
        const char *desc = NULL;

        if (bx_json_opt_str(value, "desc", LINE_MAX_BYTES, &desc, NULL) != 1)
            desc = "no description";
        bx_str_printable(shown, sizeof(shown), desc, strlen(desc));
        (void)bx_fail(&why, BX_EENGINE, 0, "QEMU: %s", shown);
    }
    if (p.fn)
        p.fn(p.ud, text, failed ? &why : NULL);
    pending_done(&p);
    return 0;
}

static int event(struct bx_qmp *q, const struct bx_json *doc, const char *name, struct bx_err *err)
{
    bx_cleanup_free char *text = NULL;
    struct bx_json data;
    int r = bx_json_opt_obj(doc, "data", &data, err);

    if (r < 0)
        return r;
    if (r) {
        text = bx_json_dump(&data);
        if (!text)
            return bx_fail(err, BX_EINTERNAL, ENOMEM, "QMP");
    }
    if (q->on_event)
        q->on_event(q->ud, name, text ? text : "{}");
    return 0;
}

/* One line. q may be freed by a callback. */
static int line(struct bx_qmp *q, const char *text, size_t len, struct bx_err *err)
{
    static const struct bx_json_limits limits = { .bytes = LINE_MAX_BYTES, .depth = 16, .values = 4096 };
    bx_cleanup_json struct bx_json doc = { 0 };
    const char *name = NULL;
    int r = bx_json_parse(text, len, &limits, "QMP", &doc, err);

    if (r == 0)
        r = bx_json_as_obj(&doc, err);
    if (r)
        return r;
    if (bx_json_opt_str(&doc, "event", 128, &name, NULL) == 1)
        return event(q, &doc, name, err);
    for (void *it = NULL;;) {
        struct bx_json value;

        if (!bx_json_next(&doc, &it, &value))
            return bx_fail(err, BX_ERPC, 0, "QMP: neither answer nor event");
        if (bx_streq(value.key, "QMP"))
            return 0; /* the greeting */
        if (bx_streq(value.key, "return") || bx_streq(value.key, "error"))
            return answer(q, &value, bx_streq(value.key, "error"), err);
    }
}

/* Consumes whole lines. Negative: the connection is broken. *freed tells when q is gone. */
static int lines(struct bx_qmp *q, bool *freed, struct bx_err *err)
{
    for (;;) {
        const char *data = (const char *)bx_buf_data(&q->in);
        const char *nl = memchr(data, '\n', bx_buf_len(&q->in));
        bx_cleanup_free char *copy = NULL;
        size_t len;
        int r;

        if (!nl)
            return bx_buf_room(&q->in) ? 0 : bx_fail(err, BX_ERPC, 0, "QMP: a line over %d bytes", LINE_MAX_BYTES);
        len = (size_t)(nl - data);
        copy = malloc(len + 1);
        if (!copy)
            return bx_fail(err, BX_EINTERNAL, ENOMEM, "QMP");
        memcpy(copy, data, len);
        copy[len] = '\0';
        bx_buf_consume(&q->in, len + 1);
        r = line(q, copy, len, err);
        if (r || *freed)
            return r;
    }
}

/* 1: more may be there, 0: not now, negative: the end. */
static int receive(struct bx_qmp *q, struct bx_err *err)
{
    uint8_t *room = bx_buf_reserve(&q->in, BX_MIN(bx_buf_room(&q->in), (size_t)4096));
    ssize_t n;

    if (!room)
        return bx_fail(err, BX_EINTERNAL, ENOMEM, "QMP");
    n = recv(q->fd, room, BX_MIN(bx_buf_room(&q->in), (size_t)4096), MSG_DONTWAIT);
    if (n > 0) {
        bx_buf_commit(&q->in, (size_t)n);
        return 1;
    }
    if (n == 0)
        return bx_fail(err, BX_ETRANSPORT, 0, "QEMU closed its control connection");
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
        return 0;
    return bx_fail(err, BX_ETRANSPORT, errno, "QMP");
}

static void on_ready(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct bx_qmp *q = ud;
    struct bx_err err = BX_ERR_INIT;
    bool freed = false;
    int r = 1;

    (void)s;
    (void)fd;
    q->freed = &freed;
    if (events & BX_WRITE) {
        r = flush(q);
        r = r ? bx_fail(&err, BX_ETRANSPORT, -r, "QMP") : 1;
    }
    for (int i = 0; i < READ_ROUNDS && r > 0; i++) {
        r = receive(q, &err);
        if (r > 0) {
            int l = lines(q, &freed, &err);

            if (freed)
                return;
            r = l ? l : 1;
        }
    }
    q->freed = NULL;
    if (r < 0)
        gone(q, &err);
}

struct bx_qmp *bx_qmp_new(struct bx_loop *loop, int fd, bx_qmp_event_fn *on_event, bx_qmp_gone_fn *on_gone, void *ud,
                          struct bx_err *err)
{
    struct bx_qmp *q = calloc(1, sizeof(*q));

    if (!q) {
        bx_close(fd);
        (void)bx_fail(err, BX_EINTERNAL, ENOMEM, "QMP");
        return NULL;
    }
    q->loop = loop;
    q->fd = fd;
    q->on_event = on_event;
    q->on_gone = on_gone;
    q->ud = ud;
    bx_buf_init(&q->in, LINE_MAX_BYTES);
    for (unsigned i = 0; i < OUTSTANDING_MAX; i++)
        q->ring[i].fd = -1;
    q->source = bx_loop_add_fd(loop, fd, BX_READ, on_ready, q);
    if (!q->source) {
        (void)bx_fail(err, BX_ERESOURCE, errno, "QMP");
        return bx_qmp_free(q);
    }
    return bx_qmp_send(q, "qmp_capabilities", NULL, -1, NULL, NULL, err) ? bx_qmp_free(q) : q;
}

struct bx_qmp *bx_qmp_free(struct bx_qmp *q)
{
    if (!q)
        return NULL;
    if (q->freed)
        *q->freed = true;
    (void)bx_source_remove(q->source);
    bx_close(q->fd);
    for (unsigned i = 0; i < OUTSTANDING_MAX; i++)
        pending_done(&q->ring[i]);
    bx_buf_done(&q->in);
    free(q);
    return NULL;
}

int bx_qmp_send(struct bx_qmp *q, const char *command, const char *args, int pass_fd, bx_qmp_reply_fn *fn, void *ud,
                struct bx_err *err)
{
    struct pending *p;
    char *text;
    int r;

    if (q->fd < 0 || q->n == OUTSTANDING_MAX) {
        bx_close(pass_fd);
        return q->fd < 0 ? bx_fail(err, BX_ETRANSPORT, 0, "QEMU's control connection is gone")
                         : bx_fail(err, BX_ERESOURCE, 0, "QMP: %d commands outstanding", OUTSTANDING_MAX);
    }
    text = args ? bx_strf("{\"execute\":\"%s\",\"arguments\":%s}\n", command, args)
                : bx_strf("{\"execute\":\"%s\"}\n", command);
    if (!text) {
        bx_close(pass_fd);
        return bx_fail(err, BX_EINTERNAL, ENOMEM, "QMP");
    }
    p = at(q, q->n++);
    *p = (struct pending){ .fn = fn, .ud = ud, .text = text, .len = strlen(text), .fd = pass_fd };
    r = flush(q);
    if (r == 0)
        return 0;
    /* not sent: the caller hears it here and not in fn; the end of the connection is reported by the loop */
    q->n--;
    pending_done(p);
    if (q->written > q->n)
        q->written = q->n;
    return bx_fail(err, BX_ETRANSPORT, -r, "QMP");
}
