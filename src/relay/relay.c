/* SPDX-License-Identifier: Apache-2.0 */
/* relay.c - see relay.h. */
#include "relay/relay.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"

#define TURN_FRAMES    16 /* read from one socket before others have their turn */
#define TURN_MAX       ((size_t)TURN_FRAMES * BX_FRAME_PAYLOAD_MAX)
#define DATAGRAMS_TURN 64

static void on_events(struct bx_source *s, int fd, uint32_t events, void *ud);

void bx_relays_init(struct bx_relays *all, struct bx_loop *loop, struct bx_link *link, const struct bx_relay_ops *ops,
                    unsigned in_lane, unsigned out_lane)
{
    *all = (struct bx_relays){.loop = loop, .link = link, .ops = ops, .in_lane = in_lane, .out_lane = out_lane};
}

void bx_relays_told(struct bx_relays *all, int r)
{
    if (r < 0)
        all->link_failed = true;
}

static void fail(struct bx_relay *r, enum bx_code code, int sys_errno, const char *what)
{
    struct bx_err err;

    bx_fail(&err, code, sys_errno, "%s", what);
    r->all->ops->failed(r, &err);
}

static void moved(struct bx_relay *r)
{
    if (r->all->ops->moved)
        r->all->ops->moved(r);
}

/* --- the line for room on the link --- */

static void wait_for_room(struct bx_relay *r)
{
    struct bx_relays *all = r->all;

    if (r->waiting)
        return;
    r->waiting = true;
    r->next_starved = NULL;
    if (all->first_starved)
        all->last_starved->next_starved = r;
    else
        all->first_starved = r;
    all->last_starved = r;
    all->starved++;
}

static void leave_line(struct bx_relay *r)
{
    struct bx_relays *all = r->all;
    struct bx_relay **p = &all->first_starved, *before = NULL;

    if (!r->waiting)
        return;
    for (; *p != r; p = &(*p)->next_starved)
        before = *p;
    *p = r->next_starved;
    if (all->last_starved == r)
        all->last_starved = before;
    r->waiting = false;
    all->starved--;
}

/* --- from the socket --- */

/* One call, straight into the link: more than 0, 0 at the end, or -errno; -EBUSY: no credit, or no room. */
static ssize_t read_stream(struct bx_relay *r)
{
    struct bx_link *l = r->all->link;
    struct iovec places[TURN_FRAMES];
    size_t want = BX_MIN((size_t)r->out.credit, TURN_MAX);
    unsigned n;
    ssize_t got;

    if (want == 0)
        return -EBUSY;
    n = bx_link_data_reserve(l, BX_MIN(want, bx_link_data_room(l)), places, TURN_FRAMES);
    if (n == 0) {
        wait_for_room(r);
        return -EBUSY;
    }
    got = readv(r->fd, places, (int)n);
    if (got < 0)
        got = -errno;
    bx_link_data_commit(l, r->stream, r->all->out_lane, got > 0 ? (size_t)got : 0);
    if (got > 0) {
        bx_lane_spend(&r->out, (size_t)got);
        r->bytes_out += (uint64_t)got;
    }
    return got;
}

void bx_relay_datagram(struct bx_relay *r, const void *data, size_t len)
{
    moved(r);
    if (len == 0 || len > r->out.credit || bx_link_send_data(r->all->link, r->stream, r->all->out_lane, data, len) < 0)
        return; /* lost */
    bx_lane_spend(&r->out, len);
    r->bytes_out += len;
}

static ssize_t read_datagram(struct bx_relay *r)
{
    static uint8_t datagram[BX_FRAME_PAYLOAD_MAX]; /* within a call only; the programs that relay have one thread */
    ssize_t got = recv(r->fd, datagram, sizeof(datagram), 0);

    if (got < 0)
        return -errno;
    bx_relay_datagram(r, datagram, (size_t)got);
    return 1;
}

/* False: the relay has failed and may be gone. */
static bool read_out(struct bx_relay *r)
{
    ssize_t got = 1;

    for (int i = 0; got > 0 && i < (r->datagrams ? DATAGRAMS_TURN : 1); i++)
        got = r->datagrams ? read_datagram(r) : read_stream(r);
    if (got == 0) {
        r->out_eof = true;
        bx_relays_told(r->all, bx_link_send_eof(r->all->link, r->stream, r->all->out_lane));
    } else if (got < 0 && got != -EAGAIN && got != -EINTR && got != -EBUSY && !r->datagrams) {
        fail(r, BX_ENETWORK, (int)-got, "read from a connection");
        return false;
    }
    return true;
}

/* --- to the socket --- */

static void used(struct bx_relay *r, size_t len)
{
    boxlite_Credit credit = {.lane = r->all->in_lane, .bytes = bx_lane_consume(&r->in, len)};

    r->bytes_in += len;
    if (credit.bytes > 0)
        bx_relays_told(r->all, bx_msg_send(r->all->link, BX_MSG_CREDIT, r->stream, &credit, NULL));
}

static bool write_in(struct bx_relay *r)
{
    while (bx_buf_len(&r->pending) > 0 && !r->hold) {
        ssize_t n = send(r->fd, bx_buf_data(&r->pending), bx_buf_len(&r->pending), MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n < 0) {
            fail(r, BX_ENETWORK, errno, "write to a connection");
            return false;
        }
        bx_buf_consume(&r->pending, (size_t)n);
        used(r, (size_t)n);
    }
    if (r->in_eof && !r->in_shut && !r->hold) {
        r->in_shut = true;
        shutdown(r->fd, SHUT_WR);
    }
    return true;
}

static void update_source(struct bx_relay *r)
{
    bool readable = !r->out_eof && !r->waiting && (r->datagrams || r->out.credit > 0);
    bool writable = bx_buf_len(&r->pending) > 0 && !r->hold;
    uint32_t want = (readable ? BX_READ : 0) | (writable ? BX_WRITE : 0);

    /* Without anything to do it is not watched: one that was hung up would wake us for ever. */
    if (want == 0) {
        r->source = bx_source_remove(r->source);
    } else if (r->source) {
        bx_source_set_events(r->source, want);
    } else {
        r->source = bx_loop_add_fd(r->all->loop, r->fd, want, on_events, r);
        if (!r->source)
            fail(r, BX_ERESOURCE, errno, "watch a connection");
    }
}

void bx_relay_pump(struct bx_relay *r)
{
    if (r->fd < 0 || !write_in(r))
        return;
    if (bx_relay_over(r) && r->all->ops->over)
        r->all->ops->over(r);
    else
        update_source(r);
}

static void on_events(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct bx_relay *r = ud;

    (void)s;
    (void)fd;
    moved(r);
    if ((events & (BX_READ | BX_HUP)) && !r->out_eof && !read_out(r))
        return;
    bx_relay_pump(r);
}

void bx_relays_resume(struct bx_relays *all)
{
    for (unsigned n = all->starved; n > 0 && all->first_starved && bx_link_data_room(all->link) > 0; n--) {
        struct bx_relay *r = all->first_starved;

        leave_line(r);
        if (r->out_eof || read_out(r))
            bx_relay_pump(r);
    }
}

/* --- from the stream --- */

void bx_relay_data(struct bx_relay *r, unsigned lane, const uint8_t *data, size_t len)
{
    if (lane != r->all->in_lane || r->in_eof || bx_lane_receive(&r->in, len) < 0) {
        fail(r, BX_ERPC, 0, "data that was not allowed");
        return;
    }
    moved(r);
    if (r->datagrams) {
        if (r->fd >= 0)
            (void)!send(r->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL); /* lost when it has no room */
        used(r, len);
    } else if (bx_buf_add(&r->pending, data, len) < 0) {
        fail(r, BX_ERESOURCE, ENOMEM, "data of a connection");
    } else {
        bx_relay_pump(r);
    }
}

void bx_relay_eof(struct bx_relay *r, unsigned lane)
{
    if (lane != r->all->in_lane || r->datagrams)
        return;
    r->in_eof = true;
    bx_relay_pump(r);
}

void bx_relay_credit(struct bx_relay *r, const uint8_t *payload, size_t len)
{
    boxlite_Credit credit = boxlite_Credit_init_zero;

    if (bx_msg_decode(BX_MSG_CREDIT, payload, len, &credit, NULL) < 0 || credit.lane != r->all->out_lane ||
        bx_lane_grant(&r->out, credit.bytes) < 0)
        fail(r, BX_ERPC, 0, "credit without sense");
    else
        bx_relay_pump(r);
}

/* --- its life --- */

void bx_relay_init(struct bx_relay *r, struct bx_relays *all, uint32_t stream, bool datagrams)
{
    *r = (struct bx_relay){.all = all, .stream = stream, .datagrams = datagrams, .fd = -1};
    bx_lane_init(&r->in, BX_CONN_WINDOW);
    bx_lane_init(&r->out, BX_CONN_WINDOW);
    bx_buf_init(&r->pending, BX_CONN_WINDOW);
}

void bx_relay_attach(struct bx_relay *r, int fd)
{
    int on = 1;

    r->fd = fd;
    if (!r->datagrams)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    bx_relay_pump(r);
}

void bx_relay_done(struct bx_relay *r)
{
    struct linger now = {.l_onoff = 1};

    leave_line(r);
    r->source = bx_source_remove(r->source);
    if (r->fd >= 0 && !r->datagrams && !bx_relay_over(r))
        setsockopt(r->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    r->fd = bx_close(r->fd);
    bx_buf_done(&r->pending);
}
