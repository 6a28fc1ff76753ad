/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stop.c - Stop: end what runs, then leave the disk as one finds it after an orderly shutdown.
 *
 * TERM to all, after the grace KILL to what is left. The box's cgroup says, by event, when nothing lives in
 * it any more. The streams hear their Exits first, Stopped is last. A box in which nothing runs waits for
 * nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "guest/agent.h"

#define KILL_WAIT_NS (5 * BX_SEC) /* for killed processes to be gone: they may be in the middle of a write   \
                                   */
#define GRACE_MAX_MS (10u * 60 * 1000)

static void unmount_root(struct bx_agent *a)
{
    int fd;

    a->execs.box = NULL;
    a->box.root_fd = a->box.pts_fd = a->box.ns_pidfd = -1;
    bx_container_stop(&a->container);
    if (umount2(BX_CONTAINER_ROOT, 0) < 0) {
        bx_error("unmount the root: %m");
        sync(); /* as good as it gets: the journal does the rest */
        return;
    }
    /* Past the disk's own cache too. */
    fd = open("/dev/vda", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && fsync(fd) < 0)
        bx_error("flush the disk: %m");
    bx_close(fd);
}

static void finish_stop(struct bx_agent *a)
{
    boxlite_Stopped msg = {.forced = a->stop_forced};

    a->stop_events = bx_source_remove(a->stop_events);
    a->stop_timer = bx_source_remove(a->stop_timer);
    a->state = BX_AGENT_STOPPED;
    bx_execs_done(&a->execs);
    unmount_root(a);
    /* Behind the Exits, which went through the data queue. */
    bx_execs_told(&a->execs, bx_msg_send_ordered(&a->control.link, BX_MSG_STOPPED, 0, &msg, NULL));
}

bool bx_agent_box_runs(struct bx_agent *a)
{
    return a->execs.active > 0 || bx_cgroups_populated(&a->cgroups) != 0;
}

/* What writes for rest.c holds the root too. */
static bool nothing_runs(struct bx_agent *a)
{
    return !bx_agent_box_runs(a) && !a->rest_child;
}

void bx_agent_stop_check(struct bx_agent *a)
{
    if (a->state == BX_AGENT_STOPPING && nothing_runs(a))
        finish_stop(a);
}

static void on_cgroup_event(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    (void)s;
    (void)fd;
    (void)events;
    bx_agent_stop_check(ud);
}

static void on_exec_ended(struct bx_execs *xs, void *ud)
{
    (void)xs;
    bx_agent_stop_check(ud);
}

static void kill_rest(struct bx_agent *a)
{
    a->stop_forced = true;
    bx_execs_mark_killed(&a->execs);
    bx_cgroups_kill(&a->cgroups);
    bx_timer_after(a->stop_timer, KILL_WAIT_NS);
}

static void on_timer(struct bx_source *s, void *ud)
{
    struct bx_agent *a = ud;

    (void)s;
    if (!a->stop_forced) {
        kill_rest(a);
        return;
    }
    bx_error("stop: killed processes do not end");
    finish_stop(a);
}

static int begin_stop(struct bx_agent *a, const boxlite_Stop *msg, struct bx_err *err)
{
    if (a->state != BX_AGENT_READY)
        return bx_fail(err, BX_ESTATE, 0, "the box is not running");
    if (msg->signo > 64)
        return bx_fail(err, BX_EINVALID, 0, "no signal %u", msg->signo);
    bx_agent_rest_end(a);
    a->stop_timer = bx_loop_add_timer(a->loop, on_timer, a);
    /* No events asked for: the kernel reports a change of this file as an error condition, which is always
     * told. */
    a->stop_events = bx_loop_add_fd(a->loop, a->cgroups.events, 0, on_cgroup_event, a);
    if (!a->stop_timer || !a->stop_events)
        return bx_fail(err, BX_EENGINE, errno, "watch the box's processes");
    a->state = BX_AGENT_STOPPING;
    a->execs.box = NULL; /* no new commands */
    a->execs.ended = on_exec_ended;
    a->execs.ud = a;
    if (msg->grace_ms == 0 && bx_agent_box_runs(a)) {
        kill_rest(a);
    } else {
        bx_execs_terminate(&a->execs, (int)msg->signo);
        bx_timer_after(a->stop_timer, msg->grace_ms == 0 ? KILL_WAIT_NS : (int64_t)BX_MIN(msg->grace_ms, GRACE_MAX_MS) * BX_MSEC);
    }
    return 0;
}

void bx_agent_stop(struct bx_agent *a, const uint8_t *payload, size_t len)
{
    boxlite_Stop msg = boxlite_Stop_init_zero;
    struct bx_err err;
    int r = bx_msg_decode(BX_MSG_STOP, payload, len, &msg, &err);

    if (r >= 0)
        r = begin_stop(a, &msg, &err);
    if (r < 0) {
        bx_execs_told(&a->execs, bx_msg_send_error(&a->control.link, 0, 0, &err));
        return;
    }
    bx_agent_stop_check(a);
}
