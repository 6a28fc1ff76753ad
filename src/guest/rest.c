/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rest.c - GuestIdle: the host wants to stop the machine while nothing of the box runs, and asks to be told when that is.
 *
 * What counts are the processes of the box, those that commands have left behind included, and connections, which may
 * outlive them by what is still on its way. What they wrote must be on the disk before: a machine that stands still
 * writes nothing back, and the host may lose it in that state. A child does it, because that may take long. The box's
 * cgroup tells, by event, when the last process has gone; nothing is looked at again and again.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "guest/agent.h"
#include "guest/spawn.h"

static bool nothing_runs(struct bx_agent *a)
{
    return a->state == BX_AGENT_READY && a->conns.count == 0 && a->tunnels.count == 0 && !bx_agent_box_runs(a);
}

void bx_agent_rest_end(struct bx_agent *a)
{
    a->rest_token = 0;
    a->rest_written = false;
    a->rest_events = bx_source_remove(a->rest_events);
}

static int child_main(void *unused)
{
    int root = open(BX_CONTAINER_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    (void)unused;
    _exit(root < 0 || syncfs(root) < 0);
}

static void on_written(struct bx_source *s, int status, void *ud)
{
    struct bx_agent *a = ud;

    a->rest_child = bx_source_remove(s);
    a->rest_written = status == 0 && a->rest_writing == a->rest_token;
    if (status != 0) {
        bx_error("what was written cannot be brought to the disk: the box is not idle");
        bx_agent_rest_end(a);
    }
    bx_agent_stop_check(a);
}

static void begin_to_write(struct bx_agent *a)
{
    int pidfd = -1;
    struct clone_args ca = {.flags = CLONE_PIDFD, .exit_signal = SIGCHLD, .pidfd = (uint64_t)(uintptr_t)&pidfd};
    long pid = bx_clone3(&ca, child_main, NULL);

    if (pid >= 0)
        a->rest_child = bx_loop_add_child(a->loop, pidfd, on_written, a);
    if (!a->rest_child) {
        bx_error("idle: make a process: %s", strerror(pid < 0 ? (int)-pid : errno));
        bx_agent_rest_end(a);
    }
    a->rest_writing = a->rest_token;
}

void bx_agent_rest_check(struct bx_agent *a)
{
    boxlite_GuestIdle msg = {.token = a->rest_token};

    if (a->rest_token == 0 || a->rest_child)
        return;
    if (!nothing_runs(a)) {
        a->rest_written = false;
    } else if (!a->rest_written) {
        begin_to_write(a);
    } else {
        bx_agent_figures(a, &msg.figures);
        bx_agent_send(a, BX_MSG_GUEST_IDLE, &msg);
        bx_agent_rest_end(a);
    }
}

static void on_cgroup_event(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    (void)s, (void)fd, (void)events, (void)ud; /* bx_agent_rest_check comes after each round */
}

void bx_agent_rest_asked(struct bx_agent *a, const uint8_t *payload, size_t len)
{
    boxlite_GuestIdle msg = boxlite_GuestIdle_init_zero;

    if (bx_msg_decode(BX_MSG_GUEST_IDLE, payload, len, &msg, NULL) < 0 || a->state != BX_AGENT_READY)
        return;
    bx_agent_rest_end(a);
    if (msg.token == 0)
        return;
    a->rest_events = bx_loop_add_fd(a->loop, a->cgroups.events, 0, on_cgroup_event, a);
    if (a->rest_events)
        a->rest_token = msg.token;
    else
        bx_error("idle: watch the box's processes: %m");
}
