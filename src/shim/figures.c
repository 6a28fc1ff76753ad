/* SPDX-License-Identifier: Apache-2.0 */
/*
 * figures.c - what the box takes: asked of the agent by Ping and of boxlite-net, for the answer to BoxInfoGet.
 *
 * Who asks waits for both, but not long: an agent that is busy, paused or older answers late or never, and then
 * the host's own figures go out alone.
 */
#include "base/clock.h"
#include "base/str.h"
#include "shim/box.h"

#define PATIENCE (500 * BX_MSEC)
#define ASKS_MAX 64 /* of one client at a time; more are answered at once, without the agent */

static void answer_all(struct box *b)
{
    b->figures_token = 0;
    b->figures_net = false;
    bx_timer_set(b->figures_late, 0);
    for (struct client *c = b->clients; c; c = c->next)
        for (; c->asks > 0; c->asks--)
            if (b->phase != BOX_GONE) /* BoxGone was the last message */
                clients_send_info(b, c, true);
    b->guest_figures = (boxlite_Figures)boxlite_Figures_init_zero;
    box_touch(b);
}

static void on_late(struct bx_source *s, void *ud)
{
    (void)s;
    answer_all(ud);
}

void figures_give_up(struct box *b)
{
    if (b->figures_token != 0 || b->figures_net)
        answer_all(b);
}

int figures_init(struct box *b, struct bx_err *err)
{
    b->figures_late = bx_loop_add_timer(b->loop, on_late, b);
    return b->figures_late ? 0 : bx_fail(err, BX_ERESOURCE, 0, "timer");
}

void figures_done(struct box *b)
{
    b->figures_late = bx_source_remove(b->figures_late);
}

/* Nothing runs, and the guest has said what it takes: it is left alone. */
static void ask_idle(struct client *c)
{
    struct box *b = c->b;

    c->asks++;
    if (b->figures_net)
        return;
    b->guest_figures = b->idle_figures;
    b->figures_net = net_ask(b);
    if (b->figures_net)
        bx_timer_after(b->figures_late, PATIENCE);
    else
        answer_all(b);
}

void figures_ask(struct client *c)
{
    struct box *b = c->b;
    boxlite_Ping ping = {.figures = true};

    if (b->idle && b->phase == BOX_RUNNING && c->asks < ASKS_MAX) {
        ask_idle(c);
        return;
    }
    if (b->phase != BOX_RUNNING || b->paused || !b->guest_has_figures || c->asks == ASKS_MAX) {
        clients_send_info(b, c, true);
        return;
    }
    c->asks++;
    if (b->figures_token != 0 || b->figures_net)
        return; /* asked already */
    bx_random(&ping.token, sizeof(ping.token));
    ping.token |= 1; /* not 0, which is "none" */
    b->figures_token = ping.token;
    bx_timer_after(b->figures_late, PATIENCE);
    b->figures_net = net_ask(b);
    if (bx_msg_send(bx_mux_guest(b->mux), BX_MSG_PING, 0, &ping, NULL) < 0)
        answer_all(b);
    box_touch(b);
}

void figures_pong(struct box *b, const boxlite_Pong *pong)
{
    if (b->figures_token == 0 || pong->token != b->figures_token)
        return;
    b->guest_figures = pong->figures;
    b->figures_token = 0;
    if (!b->figures_net)
        answer_all(b);
}

void figures_counted(struct box *b)
{
    if (!b->figures_net)
        return;
    b->figures_net = false;
    if (b->figures_token == 0)
        answer_all(b);
}
