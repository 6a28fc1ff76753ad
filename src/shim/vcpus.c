/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vcpus.c - the machine runs, or stands still: paused because a program has asked for it, or because nothing runs in
 * the box (idle.c), of which nobody is told anything.
 *
 * What is wanted (b->paused, b->idle) and what QEMU has done (b->vcpus) are apart: one command at a time goes to QEMU, and its
 * answer leads on to what is wanted by then. Whoever has asked is answered when QEMU has done it, in whatever order
 * programs ask.
 *
 * A paused box takes no new work: nobody could tell when it would be done. What was under way waits with the machine,
 * and so do the clocks of its commands; nobody takes its silence for death. That it is paused is told to other
 * programs by a file, which is there exactly while it is: the shim alone knows, and it outlives whoever has asked.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "shim/box.h"

#define PATIENCE (10 * BX_SEC) /* with QEMU, which takes a millisecond */

/* --- who has asked --- */

static void send_answer(struct client *c, uint32_t request, const struct bx_err *why)
{
    struct bx_link *l = bx_mux_client_link(c->mc);

    if (request == 0)
        return;
    if ((why ? bx_msg_send_error(l, 0, request, why) : bx_msg_send_ok(l, 0, request)) < 0)
        c->drop = "it does not read";
}

/* Those who asked for this. */
static void answer_all(struct box *b, bool pause, const struct bx_err *why)
{
    for (struct client *c = b->clients; c; c = c->next) {
        unsigned kept = 0;

        for (unsigned i = 0; i < c->n_pauses; i++)
            if (c->pauses[i].pause == pause)
                send_answer(c, c->pauses[i].request, why);
            else
                c->pauses[kept++] = c->pauses[i];
        c->n_pauses = kept;
    }
}

/* QEMU has done something, or has refused to. Whoever asked for the opposite before somebody else asked for this, and
 * was not served until now, will not be. */
static void answer(struct box *b, bool paused, const struct bx_err *why)
{
    struct bx_err overtaken = BX_ERR_INIT;

    bx_fail(&overtaken, BX_ESTATE, 0, paused ? "somebody has paused the box again" : "somebody has let the box go on again");
    answer_all(b, paused, why);
    if (b->paused == paused)
        answer_all(b, !paused, &overtaken);
}

/* --- what others see --- */

static int mark(struct box *b, struct bx_err *err)
{
    bx_cleanup_close int fd =
        openat(b->dir_fd, BX_PAUSED_MARK, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "make %s/" BX_PAUSED_MARK, b->plan->box_dir);
    b->marked = true;
    return 0;
}

static void unmark(struct box *b)
{
    if (unlinkat(b->dir_fd, BX_PAUSED_MARK, 0) < 0 && errno != ENOENT)
        bx_warn("%s/" BX_PAUSED_MARK ": %s", b->plan->box_dir, strerror(errno));
}

/* The gate of a box that is ending says so itself. */
static void set_gate(struct box *b)
{
    bx_mux_pause(b->mux, b->paused);
    if (b->phase == BOX_RUNNING)
        bx_mux_close_gate(b->mux, BX_ESTATE, b->paused ? b->paused_text : NULL);
}

static void tell(struct box *b, const char *event)
{
    if (b->phase != BOX_RUNNING)
        return; /* it goes on to stop */
    b->told_paused = b->paused;
    events_tell(b, (struct bx_event){.type = event});
    figures_give_up(b); /* who waits for the agent's */
    for (struct client *c = b->clients; c; c = c->next)
        if (c->hello)
            clients_send_info(b, c, true);
}

/* A pause has ended, if there was one. */
static void go_on(struct box *b)
{
    if (!b->marked)
        return;
    b->marked = false;
    unmark(b);
    set_gate(b);
    check_hold(b, false);
}

/* --- QEMU --- */

static void on_late(struct bx_source *s, void *ud)
{
    struct box *b = ud;
    struct bx_err err = BX_ERR_INIT;

    (void)s;
    bx_fail(&err, BX_EENGINE, 0, "QEMU does not answer any more");
    box_fail(b, &err);
}

static void on_stopped(void *ud, const char *text, const struct bx_err *failure)
{
    struct box *b = ud;

    (void)text;
    box_touch(b);
    bx_timer_set(b->vcpus_late, 0);
    if (failure) {
        b->vcpus = VCPUS_RUN;
        b->paused = b->idle = b->hold = b->guest_has_idle = false;
        go_on(b);
        answer_all(b, false, NULL);
    } else {
        b->vcpus = VCPUS_STOPPED;
        if (b->paused)
            tell(b, "box.paused");
    }
    answer(b, true, failure);
    vcpus_settle(b);
}

static void on_running(void *ud, const char *text, const struct bx_err *failure)
{
    struct box *b = ud;

    (void)text;
    box_touch(b);
    bx_timer_set(b->vcpus_late, 0);
    if (failure) {
        answer_all(b, false, failure);
        if (failure->code != BX_ETRANSPORT) /* else QEMU has ended, which is about to be told with a better reason */
            box_fail(b, failure);
        return;
    }
    b->vcpus = VCPUS_RUN;
    health_resumed(b, b->hold);
    b->hold = false;
    if (!b->paused)
        go_on(b);
    if (b->told_paused)
        tell(b, "box.resumed");
    answer(b, false, NULL);
    vcpus_settle(b);
}

static void command(struct box *b, bool stop)
{
    struct bx_err err = BX_ERR_INIT;

    if (stop)
        b->hold = !bx_link_wants_write(bx_mux_guest(b->mux)); /* else QEMU has part of a frame, which has to be ended */
    b->vcpus = stop ? VCPUS_STOPPING : VCPUS_RESUMING;
    bx_timer_after(b->vcpus_late, PATIENCE);
    if (bx_qmp_send(bx_qemu_qmp(b->qemu), stop ? "stop" : "cont", NULL, -1, stop ? on_stopped : on_running, b, &err) < 0)
        box_fail(b, &err);
}

void vcpus_settle(struct box *b)
{
    if (!b->qemu || b->decided)
        return;
    b->paused = b->paused && b->phase == BOX_RUNNING; /* to stop in order it has to run */
    b->idle = b->idle && b->phase == BOX_RUNNING;
    if ((b->paused || b->idle) && b->vcpus == VCPUS_RUN)
        command(b, true);
    else if (!b->paused && !b->idle && b->vcpus == VCPUS_STOPPED)
        command(b, false);
}

/* --- asked --- */

static int may_ask(const struct client *c, struct bx_err *err)
{
    if (c->b->phase != BOX_RUNNING)
        return bx_fail(err, BX_ESTATE, 0, "the box is stopping");
    if (c->n_pauses == BX_ARRAY_SIZE(c->pauses))
        return bx_fail(err, BX_ERESOURCE, 0, "too many requests to pause the box, or to let it go on");
    return 0;
}

void vcpus_ask(struct client *c, uint32_t request, bool pause)
{
    struct box *b = c->b;
    struct bx_err err = BX_ERR_INIT;
    int r = may_ask(c, &err);

    box_touch(b);
    if (r == 0 && pause && !b->paused)
        r = mark(b, &err);
    if (r < 0) {
        send_answer(c, request, &err);
        return;
    }
    if (pause && !b->paused) { /* the gate opens again when the machine runs */
        b->paused = true;
        set_gate(b);
        check_hold(b, true);
        if (b->vcpus == VCPUS_STOPPED) /* it was idle */
            tell(b, "box.paused");
    }
    b->paused = pause;
    if (pause ? b->vcpus == VCPUS_STOPPED : b->vcpus == VCPUS_RUN || b->idle) {
        send_answer(c, request, NULL);
        return;
    }
    b->idle = false;
    c->pauses[c->n_pauses].pause = pause;
    c->pauses[c->n_pauses++].request = request;
    vcpus_settle(b);
}

int vcpus_init(struct box *b, struct bx_err *err)
{
    const char *name = b->plan->box_name ? b->plan->box_name : b->plan->box_id;

    snprintf(b->paused_text, sizeof(b->paused_text),
             "the box is paused: `boxlite unpause %s`, or boxlite_box_resume, lets it go on", name);
    b->vcpus_late = bx_loop_add_timer(b->loop, on_late, b);
    return b->vcpus_late ? 0 : bx_fail(err, BX_ERESOURCE, errno, "timer");
}

void vcpus_done(struct box *b)
{
    b->vcpus_late = bx_source_remove(b->vcpus_late);
}
