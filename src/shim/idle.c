/* SPDX-License-Identifier: Apache-2.0 */
/*
 * idle.c - a box in which nothing runs takes no processor time: its machine stands still, and nobody notices.
 *
 *   BUSY ──quiet for QUIET──▶ ASKED ──GuestIdle──▶ IDLE (vcpus.c stops the machine)
 *     ▲                         │                    │
 *     └── a stream, a frame to the guest, NetWake ───┘   (vcpus.c lets it go on)
 *
 * Quiet is what has no stream and no request open and no byte on its way to the guest; the main process and commands
 * that go on without their client have a stream. Whether something else runs that commands have left behind the guest
 * knows: it is asked once, and says when nothing does and all that was written is on the disk.
 *
 * What is sent to a machine that stands still waits here (box_may_write) until it runs, behind the time. boxlite-net
 * writes to the guest by itself, but only on connections, of which an idle guest has none, or to open one: then it
 * says so to the shim, which cannot be too late, because what was written is there when the machine goes on.
 */
#include "shim/box.h"

#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

/* A client that runs one command after the other, each begun by a person or a model, pays for the start of the machine (a
 * few milliseconds) only when it has thought for longer than this. */
#define QUIET BX_SEC

static bool quiet(const struct box *b)
{
    return b->phase == BOX_RUNNING && !b->paused && bx_mux_counts(b->mux).streams == 0 && bx_mux_pending(b->mux) == 0 &&
           b->check_token == 0 && b->figures_token == 0 && !bx_link_wants_write(bx_mux_guest(b->mux));
}

static void on_quiet(struct bx_source *s, void *ud)
{
    struct box *b = ud;
    boxlite_GuestIdle ask = {0};

    (void)s;
    box_touch(b);
    if (!quiet(b) || b->vcpus != VCPUS_RUN)
        return;
    bx_random(&ask.token, sizeof(ask.token));
    ask.token |= 1; /* not 0, which is "none" */
    if (bx_msg_send(bx_mux_guest(b->mux), BX_MSG_GUEST_IDLE, 0, &ask, NULL) < 0 || bx_conn_flush(&b->guest, NULL) < 0)
        return; /* box.c sees it too */
    b->idle_token = ask.token;
}

void idle_guest(struct box *b, const boxlite_GuestIdle *msg)
{
    if (b->idle_token == 0 || msg->token != b->idle_token || !quiet(b))
        return;
    b->idle_token = 0;
    b->idle = true;
    b->idle_figures = msg->figures;
    box_touch(b);
}

void idle_wake(struct box *b)
{
    b->idle = false;
    b->idle_token = 0;
    bx_timer_set(b->idle_timer, 0); /* the quiet begins anew */
    box_touch(b);
}

void idle_settle(struct box *b)
{
    if (!b->guest_has_idle)
        return;
    if (!quiet(b)) {
        if (b->idle || b->idle_token != 0 || bx_timer_armed(b->idle_timer))
            idle_wake(b);
    } else if (!b->idle && b->idle_token == 0 && !bx_timer_armed(b->idle_timer)) {
        bx_timer_after(b->idle_timer, QUIET);
    }
}

int idle_init(struct box *b, struct bx_err *err)
{
    b->idle_timer = bx_loop_add_timer(b->loop, on_quiet, b);
    return b->idle_timer ? 0 : bx_fail(err, BX_ERESOURCE, errno, "timer");
}

void idle_done(struct box *b)
{
    b->idle_timer = bx_source_remove(b->idle_timer);
}
