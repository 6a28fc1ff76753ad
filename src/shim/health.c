/* SPDX-License-Identifier: Apache-2.0 */
/*
 * health.c - does the agent still answer, and is its clock right.
 *
 * A request that is not answered is no proof of a hung agent (it may be busy), silence is suspicious: after
 * QUIET without any byte while requests are open, Ping is sent, and if then nothing at all comes within
 * PATIENCE, the box has failed. Nothing is sent, and no timer runs, while nobody waits for the agent or the machine stands still.
 *
 * The guest's clock is set when the host's was set (the kernel cancels a timer of ours then, and also after
 * suspend), when the machine has stood still, and now and then against drift, since the guest's idea of the TSC's
 * frequency is rounded.
 */
#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "shim/box.h"

#define QUIET       (10 * BX_SEC)
#define PATIENCE    (10 * BX_SEC)
#define CLOCK_EVERY (300 * BX_SEC)
#define CLOCK_LATE  (50 * BX_MSEC) /* a start slower than this gets its clock set once more */

/* --- answers --- */

void health_heard(struct box *b)
{
    b->last_rx = bx_now();
    b->ping_sent = false;
}

/* Does anybody wait for an agent that can answer? */
static bool waits(const struct box *b)
{
    return b->phase == BOX_RUNNING && b->vcpus == VCPUS_RUN && bx_mux_pending(b->mux) > 0;
}

static void on_health(struct bx_source *s, void *ud)
{
    struct box *b = ud;
    int64_t quiet = bx_now() - b->last_rx;
    boxlite_Ping ping = {0};
    struct bx_err err = BX_ERR_INIT;

    box_touch(b);
    if (!waits(b))
        return;
    if (b->ping_sent) {
        bx_fail(&err, BX_EPORTAL, 0, "the agent in the box does not answer any more");
        box_fail(b, &err);
        return;
    }
    if (quiet < QUIET) {
        bx_timer_after(s, QUIET - quiet);
        return;
    }
    bx_random(&ping.token, sizeof(ping.token));
    if (bx_msg_send(bx_mux_guest(b->mux), BX_MSG_PING, 0, &ping, &err) < 0) {
        box_fail(b, &err);
        return;
    }
    b->ping_sent = true;
    bx_timer_after(s, PATIENCE);
}

void health_settle(struct box *b)
{
    if (!waits(b)) {
        if (b->health && bx_timer_armed(b->health))
            bx_timer_set(b->health, 0);
        b->ping_sent = false;
        return;
    }
    if (!bx_timer_armed(b->health)) {
        b->last_rx = bx_now(); /* the silence counts from the first open request */
        bx_timer_after(b->health, QUIET);
    }
}

/* --- the clock --- */

static void send_clock(struct box *b, bool first)
{
    boxlite_Clock clock = {.request = 1, .realtime_ns = bx_realtime()};
    struct bx_link *l = bx_mux_guest(b->mux);
    struct bx_err err = BX_ERR_INIT;
    int r;

    if (b->vcpus != VCPUS_RUN)
        return; /* it is set when the machine goes on */
    if (b->phase != BOX_RUNNING && b->phase != BOX_ENDING)
        return;
    r = first ? bx_msg_send_first(l, BX_MSG_CLOCK, &clock, &err) : bx_msg_send(l, BX_MSG_CLOCK, 0, &clock, &err);
    if (r < 0)
        box_fail(b, &err);
    box_touch(b);
}

static int watch_clock(struct box *b)
{
    /* Far away: it only ever fires by being cancelled. */
    struct itimerspec never = {.it_value = {.tv_sec = (time_t)1 << 40}};

    return timerfd_settime(b->clock_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0
               ? -errno
               : 0;
}

static void on_clock_set(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct box *b = ud;
    uint64_t n;

    (void)s;
    (void)events;
    if (read(fd, &n, sizeof(n)) < 0 && errno == ECANCELED)
        send_clock(b, false);
    (void)watch_clock(b);
}

static void on_clock_tick(struct bx_source *s, void *ud)
{
    send_clock(ud, false);
    bx_timer_after(s, CLOCK_EVERY);
}

int health_init(struct box *b, struct bx_err *err)
{
    b->health = bx_loop_add_timer(b->loop, on_health, b);
    b->clock_tick = bx_loop_add_timer(b->loop, on_clock_tick, b);
    b->clock_fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (b->clock_fd >= 0)
        b->clock_set = bx_loop_add_fd(b->loop, b->clock_fd, BX_READ, on_clock_set, b);
    if (!b->health || !b->clock_tick || !b->clock_set || watch_clock(b) < 0)
        return bx_fail(err, BX_ERESOURCE, errno, "timers");
    return 0;
}

void health_started(struct box *b)
{
    bx_timer_after(b->clock_tick, CLOCK_EVERY);
    if (bx_realtime() - b->start_realtime > CLOCK_LATE)
        send_clock(b, false);
}

void health_resumed(struct box *b, bool first)
{
    send_clock(b, first);
}

void health_done(struct box *b)
{
    b->health = bx_source_remove(b->health);
    b->clock_tick = bx_source_remove(b->clock_tick);
    b->clock_set = bx_source_remove(b->clock_set);
    b->clock_fd = bx_close(b->clock_fd);
}
