/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lanes.c - bytes between the pipes (or the terminal) of an exec and the link. exec.h tells the rules.
 *
 * What costs is changing between the writer's process and this one: 25 us under emulation, with all that the
 * processor then has to look up again. Two rules keep the changes few.
 *
 *  - A pipe is read in one call, as many frames as there are bytes, credit and room (at most TURN_MAX): the
 *    kernel wakes a writer that waits for room at the end of each call, and lets it run before its reader.
 *  - A pipe that was read less than GATHER_GAP ago and holds little is left to fill for GATHER_NS. The first
 *    bytes after a silence, and the last, never wait.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "guest/exec.h"

#define TURN_FRAMES    16 /* read from one pipe before others have their turn */
#define TURN_MAX       ((size_t)TURN_FRAMES * BX_FRAME_PAYLOAD_MAX)
#define SCRATCH_READS  4 /* the same for bytes that go nowhere, or are kept */
#define DRAIN_READS    64
#define GATHER_GAP     (2 * BX_MSEC)
#define GATHER_NS      (1 * BX_MSEC)
#define TTY_ENOUGH     (32 * 1024)
#define IN_PENDING_MAX (2 * (size_t)BX_WINDOW)

/* One piece for lanes that nobody has claimed. Single thread, used within a call only. */
static uint8_t scratch[BX_FRAME_PAYLOAD_MAX];

static void out_readable(struct bx_source *s, int fd, uint32_t events, void *ud);

void bx_out_init(struct bx_out *o, struct bx_exec *x, unsigned id)
{
    *o = (struct bx_out){.exec = x, .id = id, .fd = -1};
    bx_keep_init(&o->keep, BX_KEEP_HEAD, BX_KEEP_TAIL);
}

void bx_out_done(struct bx_out *o)
{
    bx_out_forget_wait(o);
    o->source = bx_source_remove(o->source);
    o->gather = bx_source_remove(o->gather);
    o->fd = bx_close(o->fd);
    o->exec->all->kept -= bx_keep_len(&o->keep);
    bx_keep_done(&o->keep);
}

static void wait_for_room(struct bx_out *o)
{
    struct bx_execs *xs = o->exec->all;

    xs->starved = true;
    if (o->waiting)
        return;
    o->waiting = true;
    o->next_waiting = NULL;
    if (xs->first_waiting)
        xs->last_waiting->next_waiting = o;
    else
        xs->first_waiting = o;
    xs->last_waiting = o;
}

void bx_out_forget_wait(struct bx_out *o)
{
    struct bx_execs *xs = o->exec->all;
    struct bx_out **p = &xs->first_waiting, *before = NULL;

    if (!o->waiting)
        return;
    for (; *p != o; p = &(*p)->next_waiting)
        before = *p;
    *p = o->next_waiting;
    if (xs->last_waiting == o)
        xs->last_waiting = before;
    o->waiting = false;
    xs->starved = xs->first_waiting != NULL;
}

/* How much of a claimed lane may be read straight into the link, if that has room. */
static size_t sendable(const struct bx_out *o)
{
    if (!o->claimer || bx_keep_len(&o->keep) > 0)
        return 0;
    return BX_MIN((size_t)o->lane.credit, TURN_MAX);
}

static void update_source(struct bx_out *o)
{
    bool want = o->fd >= 0 && o->exec->state != BX_EXEC_STARTING &&
                (o->dropping || !o->claimer || (sendable(o) > 0 && !o->waiting));

    if (want && !o->source)
        o->source = bx_loop_add_fd(o->exec->all->loop, o->fd, BX_READ, out_readable, o);
    else if (!want)
        o->source = bx_source_remove(o->source);
}

static void keep(struct bx_out *o, const uint8_t *data, size_t len)
{
    struct bx_execs *xs = o->exec->all;
    size_t before = bx_keep_len(&o->keep);

    if (xs->kept + len > xs->kept_max && before + len > BX_FRAME_PAYLOAD_MAX) {
        /* Other execs have used the budget up; each may still keep a little. */
        o->keep.dropped += len;
        o->keep.truncated = true;
        return;
    }
    bx_keep_add(&o->keep, data, len);
    xs->kept += bx_keep_len(&o->keep) - before;
}

/* What is left of a lane whose exec has ended is read; what survivors write from now on is dropped. */
static void rest_over(struct bx_out *o)
{
    o->resting = false;
    if (o->exec->tty) {
        o->source = bx_source_remove(o->source);
        o->fd = bx_close(o->fd); /* hangs the terminal up */
    } else {
        o->dropping = true;
    }
}

/* How many of n bytes may be read: all, or the rest of what counts. */
static size_t wanted(const struct bx_out *o, size_t n)
{
    return o->resting ? BX_MIN(n, o->rest) : n;
}

/* One call: more than 0, 0 at the end, -EAGAIN when there is nothing now. */
static ssize_t read_some(struct bx_out *o, const struct iovec *places, unsigned n)
{
    ssize_t r = readv(o->fd, places, (int)n);

    if (r > 0 && o->resting)
        o->rest -= (size_t)r;
    if (r < 0)
        return errno == EAGAIN || errno == EINTR ? -EAGAIN : 0; /* EIO: nobody has the terminal any more */
    return r;
}

/* One read of a claimed lane; -EBUSY when it has to wait for room, behind the lanes that do already. */
static ssize_t read_to_link(struct bx_out *o, size_t len)
{
    struct bx_link *l = o->exec->all->link;
    struct iovec places[TURN_FRAMES];
    unsigned n = 0;
    ssize_t r;

    if (!o->exec->all->starved)
        n = bx_link_data_reserve(l, BX_MIN(len, bx_link_data_room(l)), places, TURN_FRAMES);
    if (n == 0) {
        wait_for_room(o);
        return -EBUSY;
    }
    r = read_some(o, places, n);
    bx_link_data_commit(l, o->claimer->stream, o->id, r > 0 ? (size_t)r : 0);
    if (r > 0)
        bx_lane_spend(&o->lane, (size_t)r);
    return r;
}

/* One read into the place where the bytes belong; -EBUSY when they may not be read now. */
static ssize_t read_once(struct bx_out *o)
{
    struct iovec place = {scratch, wanted(o, sizeof(scratch))};
    size_t len = sendable(o);
    ssize_t r;

    if (o->claimer && !o->dropping)
        return len > 0 ? read_to_link(o, wanted(o, len)) : -EBUSY;
    r = read_some(o, &place, 1);
    if (r > 0 && !o->dropping)
        keep(o, scratch, (size_t)r);
    return r;
}

/* Reads at most so often; then does what that means for the lane. May free the exec. */
static void read_lane(struct bx_out *o, int reads)
{
    ssize_t r = -EBUSY;

    for (int i = 0; o->fd >= 0 && i < reads; i++) {
        r = read_once(o);
        if (o->resting && (r == -EAGAIN || (r > 0 && o->rest == 0))) {
            rest_over(o);
            r = -EAGAIN;
        }
        if (r <= 0)
            break;
    }
    if (r == 0) {
        o->source = bx_source_remove(o->source);
        o->fd = bx_close(o->fd);
    }
    bx_out_pump(o);
    if (o->fd < 0)
        bx_exec_lane_ended(o->exec);
}

static void read_turn(struct bx_out *o)
{
    read_lane(o, o->claimer || o->dropping ? 1 : SCRATCH_READS);
}

static void gathered(struct bx_source *s, void *ud)
{
    struct bx_out *o = ud;

    (void)s;
    if (o->fd < 0 || !o->source)
        return;
    bx_source_set_events(o->source, BX_READ);
    o->read_ns = bx_now();
    read_turn(o);
}

/* Half of what it takes: its writer should not have to wait. */
static int enough(int fd)
{
    int size = fcntl(fd, F_GETPIPE_SZ);

    return size > 0 ? size / 2 : TTY_ENOUGH;
}

/* Is it better to read this pipe a little later? Then that is arranged. */
static bool gathers(struct bx_out *o)
{
    int64_t now = bx_now(), since = now - o->read_ns;
    int there = 0;

    o->read_ns = now;
    if (since > GATHER_GAP || o->resting || o->dropping || ioctl(o->fd, FIONREAD, &there) < 0 ||
        there >= enough(o->fd))
        return false;
    if (!o->gather)
        o->gather = bx_loop_add_timer(o->exec->all->loop, gathered, o);
    if (!o->gather || bx_source_set_events(o->source, 0) < 0)
        return false;
    bx_timer_after(o->gather, GATHER_NS);
    return true;
}

static void out_readable(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct bx_out *o = ud;

    (void)s;
    (void)fd;
    if (!(events & BX_HUP) && gathers(o))
        return;
    read_turn(o);
}

void bx_out_drain(struct bx_out *o)
{
    if (o->fd >= 0)
        read_lane(o, DRAIN_READS);
}

void bx_out_rest(struct bx_out *o)
{
    int left = 0;

    if (o->fd >= 0) {
        /* The reader may be slow: what it has not had credit for yet stays where it is and waits for it. */
        o->resting = true;
        o->rest = ioctl(o->fd, FIONREAD, &left) < 0 || left < 0 ? 0 : (size_t)left;
        if (o->rest == 0)
            rest_over(o);
    }
    bx_out_pump(o);
}

/* Nothing more will come of this lane. */
static bool over(const struct bx_out *o)
{
    return o->exec->state != BX_EXEC_STARTING && (o->fd < 0 || o->dropping);
}

/* What comes next lies behind a hole: who reads across it is told, once. */
static void send_truncated(struct bx_out *o)
{
    boxlite_Truncated msg = {.lane = o->id, .dropped = o->keep.dropped - o->told};

    if (msg.dropped == 0)
        return;
    o->told = o->keep.dropped;
    bx_execs_told(o->exec->all,
                  bx_msg_send_ordered(o->exec->all->link, BX_MSG_TRUNCATED, o->claimer->stream, &msg, NULL));
}

static void send_kept(struct bx_out *o)
{
    struct bx_execs *xs = o->exec->all;
    const uint8_t *data;
    size_t n;

    while (o->lane.credit > 0 && (n = bx_keep_peek(&o->keep, &data)) > 0) {
        if (bx_link_data_room(xs->link) > 0 && bx_buf_len(&o->keep.head) == 0)
            send_truncated(o);
        n = BX_MIN(n, BX_MIN((size_t)o->lane.credit, (size_t)BX_FRAME_PAYLOAD_MAX));
        n = BX_MIN(n, bx_link_data_room(xs->link));
        if (n == 0 || bx_link_send_data(xs->link, o->claimer->stream, o->id, data, n) < 0) {
            wait_for_room(o);
            return;
        }
        bx_lane_spend(&o->lane, n);
        bx_keep_consume(&o->keep, n);
        xs->kept -= n;
    }
}

void bx_out_pump(struct bx_out *o)
{
    if (o->claimer) {
        send_kept(o);
        if (bx_keep_len(&o->keep) == 0)
            send_truncated(o);
        if (bx_keep_len(&o->keep) == 0 && over(o) && !o->eof_sent) {
            bx_execs_told(o->exec->all, bx_link_send_eof(o->exec->all->link, o->claimer->stream, o->id));
            o->eof_sent = true;
            bx_exec_try_exit(o->exec);
        }
    }
    update_source(o);
}

void bx_out_claim(struct bx_out *o, struct bx_attach *a)
{
    o->claimer = a;
    o->eof_sent = false;
    bx_lane_init(&o->lane, BX_WINDOW);
    bx_out_pump(o);
}

void bx_out_unclaim(struct bx_out *o)
{
    o->claimer = NULL;
    update_source(o);
}

void bx_out_grant(struct bx_out *o, uint32_t bytes)
{
    /* More than a window's worth of windows is no use to an honest peer: the surplus is left out. */
    if (bx_lane_grant(&o->lane, bytes) == 0)
        bx_out_pump(o);
}

/* --- input --- */

void bx_in_init(struct bx_in *in)
{
    *in = (struct bx_in){.fd = -1};
    bx_buf_init(&in->pending, IN_PENDING_MAX);
    bx_lane_init(&in->lane, BX_WINDOW);
}

void bx_in_done(struct bx_in *in)
{
    in->source = bx_source_remove(in->source);
    in->fd = bx_close(in->fd);
    bx_buf_done(&in->pending);
}

/* n bytes have been used (or dropped): those of the present owner give it credit. */
static void used(struct bx_exec *x, size_t n)
{
    struct bx_in *in = &x->in;
    size_t foreign = BX_MIN(n, in->foreign);
    uint32_t grant;

    in->foreign -= foreign;
    if (n == foreign || !in->owner)
        return;
    grant = bx_lane_consume(&in->lane, n - foreign);
    if (grant > 0)
        bx_execs_told(x->all, bx_msg_send_credit(x->all->link, in->owner->stream, BX_LANE_STDIN, grant));
}

/* The reader has gone, or the end has been reached. */
static void in_close(struct bx_exec *x)
{
    size_t n = bx_buf_len(&x->in.pending);

    x->in.source = bx_source_remove(x->in.source);
    x->in.fd = bx_close(x->in.fd);
    bx_buf_done(&x->in.pending);
    used(x, n);
}

static void in_writable(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    (void)s;
    (void)fd;
    (void)events;
    bx_in_flush(ud);
}

/* Bytes written, 0 when the pipe is full, negative when nobody reads. */
static ssize_t try_write(int fd, const void *data, size_t len)
{
    ssize_t n;

    do {
        n = write(fd, data, len);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? 0 : -errno;
    return n;
}

/* True when the end has been passed on. */
static bool send_end(struct bx_exec *x)
{
    struct termios t;
    uint8_t c = 4;

    if (!x->tty) {
        in_close(x);
        return true;
    }
    if (tcgetattr(x->in.fd, &t) == 0)
        c = t.c_cc[VEOF];
    if (try_write(x->in.fd, &c, 1) == 0)
        return false;
    in_close(x);
    return true;
}

void bx_in_flush(struct bx_exec *x)
{
    struct bx_in *in = &x->in;
    bool waits = false;

    if (in->fd < 0)
        return;
    while (bx_buf_len(&in->pending) > 0) {
        ssize_t n = try_write(in->fd, bx_buf_data(&in->pending), bx_buf_len(&in->pending));

        if (n < 0) {
            in_close(x);
            return;
        }
        if (n == 0) {
            waits = true;
            break;
        }
        bx_buf_consume(&in->pending, (size_t)n);
        used(x, (size_t)n);
    }
    if (!waits && in->eof && send_end(x))
        return;
    waits = waits || in->eof;
    if (waits && !in->source)
        in->source = bx_loop_add_fd(x->all->loop, in->fd, BX_WRITE, in_writable, x);
    else if (!waits)
        in->source = bx_source_remove(in->source);
}

/* A stream that writes while no other does becomes the owner, with a window of its own. */
static bool take_over(struct bx_exec *x, struct bx_attach *a)
{
    struct bx_in *in = &x->in;

    if (in->owner == a)
        return true;
    if (in->owner || in->eof)
        return false;
    in->owner = a;
    in->foreign = bx_buf_len(&in->pending);
    bx_lane_init(&in->lane, BX_WINDOW);
    return true;
}

void bx_in_data(struct bx_exec *x, struct bx_attach *a, const uint8_t *data, size_t len,
                struct bx_err *ret_refused)
{
    struct bx_in *in = &x->in;
    ssize_t n = 0;

    if (!take_over(x, a)) {
        bx_fail(ret_refused, BX_ESTATE, 0, "standard input of %s is closed, or another client's", x->id);
        return;
    }
    if (bx_lane_receive(&in->lane, len) < 0) {
        bx_fail(ret_refused, BX_ERPC, 0, "standard input of %s: more than its credit, or behind its end",
                x->id);
        return;
    }
    if (in->fd < 0) {
        used(x, len);
        return;
    }
    if (bx_buf_len(&in->pending) == 0) {
        n = try_write(in->fd, data, len);
        if (n < 0) {
            in_close(x);
            used(x, len);
            return;
        }
        used(x, (size_t)n);
    }
    if ((size_t)n < len && bx_buf_add(&in->pending, data + n, len - (size_t)n) < 0) {
        bx_fail(ret_refused, BX_ERESOURCE, 0, "standard input of %s: no room", x->id);
        in_close(x);
        return;
    }
    bx_in_flush(x);
}

void bx_in_eof(struct bx_exec *x)
{
    x->in.eof = true;
    x->in.lane.eof = true;
    bx_in_flush(x);
}
