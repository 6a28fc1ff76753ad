/* SPDX-License-Identifier: Apache-2.0 */
/* ending.c - how a box ends: in order, by failure, by its main process; what is recorded and who is told. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "shim/box.h"

#define SYNC_MS  20000 /* for sync and unmount, on top of the grace: a loaded host under emulation is slow */
#define FAREWELL (60 * BX_SEC) /* without any progress of any client */
#define TAIL_MAX 1200

/* The end of the console, if there is anything on it. */
static void add_tail(struct box *b)
{
    char tail[TAIL_MAX];
    size_t n = strlen(b->message);

    if (!b->qemu)
        return;
    bx_qemu_console_tail(b->qemu, tail, sizeof(tail));
    if (tail[0])
        snprintf(b->message + n, sizeof(b->message) - n, "; the console ends with: %s", tail);
}

static void decide(struct box *b, bool failed, int code, const char *message)
{
    b->decided = true;
    b->failed = failed;
    b->code = failed ? code : 0;
    snprintf(b->message, sizeof(b->message), "%s", message);
    if (failed) {
        add_tail(b);
        bx_error("%s", b->message);
    } else {
        bx_info("%s", b->message);
    }
}

void box_fail(struct box *b, const struct bx_err *why)
{
    box_touch(b);
    if (b->phase == BOX_GONE || b->decided)
        return;
    /* A machine that never spoke: the template is to blame as likely as anything else. */
    if (b->phase == BOX_STARTING && b->qemu && !b->guest_hello)
        b->template_suspect = true;
    decide(b, true, why->code, why->msg);
    b->phase = BOX_ENDING;
    bx_mux_close_gate(b->mux, BX_ESTOPPED, "the box has failed");
    bx_timer_set(b->deadline, 0);
    if (b->qemu)
        bx_qemu_kill(b->qemu);
}

static void kill_now(struct box *b, const char *why)
{
    if (!b->decided)
        decide(b, false, 0, why);
    bx_timer_set(b->deadline, 0);
    if (b->qemu)
        bx_qemu_kill(b->qemu);
}

static void ask_to_stop(struct box *b, unsigned grace_ms, const char *why)
{
    boxlite_Stop stop = {.grace_ms = grace_ms};
    struct bx_err err = BX_ERR_INIT;

    bx_info("stopping: %s", why);
    b->stop_sent = true;
    if (bx_msg_send(bx_mux_guest(b->mux), BX_MSG_STOP, 0, &stop, &err) < 0)
        kill_now(b, "the agent could not be asked to stop");
}

void box_stop(struct box *b, unsigned grace_ms, bool force, const char *why)
{
    int64_t until = bx_now() + ((int64_t)grace_ms + SYNC_MS) * BX_MSEC;

    box_touch(b);
    if (b->phase == BOX_GONE)
        return;
    bx_mux_close_gate(b->mux, BX_ESTOPPED, "the box is stopping");
    if (force || b->phase == BOX_STARTING) {
        b->phase = BOX_ENDING;
        kill_now(b, why);
        return;
    }
    if (b->phase == BOX_RUNNING) {
        b->phase = BOX_ENDING;
        ask_to_stop(b, grace_ms, why);
        bx_timer_set(b->deadline, until);
    }
}

void box_stopped(struct box *b, bool forced)
{
    if (b->phase != BOX_ENDING || !b->stop_sent || b->decided)
        return;
    kill_now(b, forced ? "stopped; processes that did not end in time were killed" : "stopped");
}

void box_main_exit(struct box *b, const boxlite_Exit *e)
{
    if (e) {
        b->has_exit_code = true;
        b->exit_code = e->code & 255;
        b->oom = e->oom;
    }
    /* As with PID 1 of a container: what is left is killed with it. */
    box_stop(b, 0, false, e ? "the main process has ended" : "the main process is gone");
}

void box_deadline(struct box *b)
{
    struct bx_err err = BX_ERR_INIT;

    if (b->guest_eof && !b->decided) {
        bx_fail(&err, BX_EPORTAL, 0, "the connection to the agent in the box was closed");
        box_fail(b, &err);
    } else if (b->phase == BOX_STARTING) {
        bx_fail(&err, BX_EENGINE, 0, "the box did not start within %u ms: %s", b->plan->timeout_ms,
                !b->guest_hello ? "its agent did not answer"
                                : "its agent answered, but did not become ready");
        box_fail(b, &err);
    } else if (b->phase == BOX_ENDING) {
        kill_now(b, "the box did not stop in time and was killed");
    } else if (b->phase == BOX_GONE) {
        size_t left = 0;

        for (struct client *c = b->clients; c; c = c->next)
            left += bx_mux_client_queued(c->mc);
        if (left < b->farewell_left) {
            b->farewell_left = left;
            bx_timer_after(b->deadline, FAREWELL);
            return;
        }
        for (struct client *c = b->clients; c; c = c->next)
            c->drop = "it does not read";
    }
}

static void record(struct box *b)
{
    struct bx_exit_record r = {.failed = b->failed,
                               .has_exit_code = b->has_exit_code,
                               .exit_code = b->exit_code,
                               .oom = b->oom,
                               .code = b->code,
                               .time_ns = bx_realtime()};
    struct bx_err err = BX_ERR_INIT;

    snprintf(r.message, sizeof(r.message), "%s", b->message);
    if (bx_exit_record_write(b->dir_fd, &r, &err) < 0)
        bx_error("%s", err.msg);
}

static void say_goodbye(struct box *b)
{
    boxlite_BoxGone gone = {.state = b->failed ? BX_BOX_FAILED : BX_BOX_STOPPED,
                            .exit_code = b->exit_code,
                            .code = (uint32_t)b->code,
                            .template_suspect = b->template_suspect};
    struct bx_err why = BX_ERR_INIT;

    snprintf(gone.message, sizeof(gone.message), "%s", b->message);
    bx_fail(&why, b->failed ? (enum bx_code)b->code : BX_ESTOPPED, 0, "%s", b->message);
    bx_mux_fail_streams(b->mux, &why);
    for (struct client *c = b->clients; c; c = c->next) {
        for (unsigned i = 0; i < c->n_stops; i++)
            if (bx_msg_send_ok(bx_mux_client_link(c->mc), 0, c->stops[i]) < 0)
                c->drop = "it does not read";
        bx_mux_client_send_last(c->mc, BX_MSG_BOX_GONE, &gone);
        b->farewell_left += bx_mux_client_queued(c->mc);
    }
}

/* QEMU ended and nobody had asked it to. */
static void decide_death(struct box *b)
{
    struct bx_err err = BX_ERR_INIT;

    if (b->stop_sent) {
        decide(b, false, 0, "stopped; the machine ended before its agent had answered");
        return;
    }
    if (bx_qemu_why(b->qemu)[0])
        bx_fail(&err, BX_EENGINE, 0, "the machine was ended: %s", bx_qemu_why(b->qemu));
    else
        bx_fail(&err, BX_EENGINE, 0, "the machine ended by itself (QEMU: %s %d)",
                b->qemu_status > 128 ? "signal" : "exit code",
                b->qemu_status > 128 ? b->qemu_status - 128 : b->qemu_status);
    box_fail(b, &err);
}

void box_finish(struct box *b)
{
    if (b->qemu_dead)
        box_drain_guest(b);
    if (!b->decided)
        decide_death(b);
    b->phase = BOX_GONE;
    bx_conn_done(&b->guest);
    b->qemu = bx_qemu_free(b->qemu);
    b->listener = bx_source_remove(b->listener);
    b->listen_fd = bx_close(b->listen_fd);
    if (b->lock_fd >= 0) { /* else this box is another shim's */
        record(b);
        events_end(b);
        (void)unlinkat(b->dir_fd, "box.sock", 0);
        (void)unlinkat(b->dir_fd, BX_PAUSED_MARK, 0);
        b->lock_fd = bx_close(b->lock_fd); /* from here on it may be started or removed */
    }
    say_goodbye(b);
    bx_timer_after(b->deadline, FAREWELL);
}

bool box_farewell_done(struct box *b)
{
    for (struct client *c = b->clients; c; c = c->next)
        if (bx_mux_client_queued(c->mc) > 0)
            return false;
    return true;
}
