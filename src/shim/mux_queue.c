/* SPDX-License-Identifier: Apache-2.0 */
/* mux_queue.c - what waits: for clients, in their links and behind them; credit that is held back; room
 * towards the guest. */
#include <string.h>

#include "shim/mux_priv.h"

/* What one read of a client can add to the guest's queues: a receive buffer, or the end of a long message. */
#define READ_DATA_MAX    BX_LINK_RX_SIZE
#define READ_CONTROL_MAX (BX_MESSAGE_MAX + BX_LINK_RX_SIZE + 64 * 1024)

/* --- towards clients --- */

void mux_condemn(struct bx_mux_client *c, const char *why)
{
    if (!c->condemned)
        c->condemned = why;
}

size_t bx_mux_client_queued(const struct bx_mux_client *c)
{
    return c->backlog + bx_buf_len(&c->link.data) + bx_buf_len(&c->link.control);
}

void mux_control_to_client(struct bx_mux_client *c, uint16_t type, uint32_t cs, const void *p, size_t len)
{
    if (!c->condemned && bx_link_send(&c->link, type, cs, p, len) < 0)
        mux_condemn(c, "it does not read");
}

static void backlog_add(struct bx_mux_client *c, uint16_t type, unsigned lane, uint32_t cs, const void *p,
                        size_t len)
{
    size_t cost = sizeof(struct waiting) + len;
    struct waiting *w;

    if (c->backlog + cost > BX_MUX_CLIENT_MAX || c->m->backlog + cost > BX_MUX_TOTAL_MAX) {
        mux_condemn(c, "too much output it does not read");
        return;
    }
    w = malloc(cost);
    if (!w) {
        mux_condemn(c, "out of memory");
        return;
    }
    *w = (struct waiting){.type = type, .lane = (uint8_t)lane, .cs = cs, .len = len};
    if (len > 0)
        memcpy(w->data, p, len);
    *c->last = w;
    c->last = &w->next;
    c->backlog += cost;
    c->m->backlog += cost;
}

/* Data, EOF, or a message that keeps its place among them, into the link. False when there is no room now. */
static bool ordered_to_link(struct bx_link *l, uint16_t type, unsigned lane, uint32_t cs, const void *p,
                            size_t len)
{
    /* EOF and messages have room of their own in the link, but not without end. */
    if (type != BX_MSG_DATA && bx_buf_len(&l->data) >= BX_MUX_CLIENT_DATA)
        return false;
    if (type == BX_MSG_DATA)
        return bx_link_send_data(l, cs, lane, p, len) == 0;
    if (type == BX_MSG_EOF)
        return bx_link_send_eof(l, cs, lane) == 0;
    return bx_link_send_ordered(l, type, cs, p, len) == 0;
}

void mux_ordered_to_client(struct bx_mux_client *c, uint16_t type, unsigned lane, uint32_t cs,
                              const void *p, size_t len)
{
    if (c->condemned)
        return;
    if (c->first || !ordered_to_link(&c->link, type, lane, cs, p, len))
        backlog_add(c, type, lane, cs, p, len);
    if (bx_mux_client_queued(c) >= BX_MUX_HOLD)
        c->holding = true;
}

void mux_backlog_pop(struct bx_mux_client *c)
{
    struct waiting *w = c->first;
    size_t cost = sizeof(*w) + w->len;

    c->first = w->next;
    if (!c->first)
        c->last = &c->first;
    c->backlog -= cost;
    c->m->backlog -= cost;
    free(w);
}

/* A message of our own, behind all that waits. */
void mux_message_to_client(struct bx_mux_client *c, uint16_t type, uint32_t cs, const void *msg)
{
    struct bx_link scratch;
    struct bx_frame f;

    bx_link_init(&scratch, NULL, NULL, BX_FRAME_HEADER + BX_FRAME_PAYLOAD_MAX);
    if (bx_msg_send(&scratch, type, cs, msg, NULL) < 0 ||
        bx_frame_parse(bx_buf_data(&scratch.control), bx_buf_len(&scratch.control), &f, NULL) <= 0)
        mux_condemn(c, "out of memory");
    else
        mux_ordered_to_client(c, type, 0, cs, f.payload, f.length);
    bx_link_done(&scratch);
}

void bx_mux_client_send_last(struct bx_mux_client *c, uint16_t type, const void *msg)
{
    mux_message_to_client(c, type, 0, msg);
}

int mux_error_to_client(struct bx_mux_client *c, uint32_t cs, const struct bx_err *why)
{
    if (bx_msg_send_error(&c->link, cs, 0, why) < 0)
        mux_condemn(c, "it does not read");
    return 0;
}

/* --- towards the guest --- */

/* Can only fail for want of memory: bx_mux_may_read keeps room. Then the guest's link is out of step and must
 * end. */
void mux_control_to_guest(struct bx_mux *m, uint16_t type, uint32_t gs, const void *p, size_t len)
{
    if (bx_link_send(&m->guest, type, gs, p, len) < 0)
        m->guest.dead = true;
}

void mux_relay_credit(struct bx_mux *m, struct stream *s, unsigned lane)
{
    struct bx_lane *l = &s->lanes[lane];
    uint32_t room = l->credit < BX_MUX_LANE_MAX ? BX_MUX_LANE_MAX - l->credit : 0;
    uint32_t n = BX_MIN(s->held[lane], room);

    if (n == 0 || bx_lane_grant(l, n) < 0)
        return;
    s->held[lane] -= n;
    if (bx_msg_send_credit(&m->guest, s->gs, lane, n) < 0)
        m->guest.dead = true;
}

static void release_held(struct bx_mux_client *c)
{
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct stream *s = c->buckets[i]; s; s = s->next)
            for (unsigned lane = BX_LANE_STDOUT; lane < BX_LANES; lane++)
                if (s->held[lane] > 0)
                    mux_relay_credit(c->m, s, lane);
    mux_main_release(c);
}

void bx_mux_client_refill(struct bx_mux_client *c)
{
    while (c->first && ordered_to_link(&c->link, c->first->type, c->first->lane, c->first->cs, c->first->data,
                                       c->first->len))
        mux_backlog_pop(c);
    /* Half the mark: or credit would go back and forth at each frame. */
    if (c->holding && bx_mux_client_queued(c) < BX_MUX_HOLD / 2) {
        c->holding = false;
        release_held(c);
    }
}

/* When it goes on it first takes what is queued beyond the usual: nobody is read until then. */
void bx_mux_pause(struct bx_mux *m, bool paused)
{
    m->paused = paused;
    bx_link_set_data_max(&m->guest, paused ? BX_MUX_PAUSED_DATA : BX_MUX_GUEST_DATA);
}

bool bx_mux_client_may_read(const struct bx_mux_client *c)
{
    return bx_mux_may_read(c->m) || (c->m->paused && c->n_streams == 0);
}

bool bx_mux_may_read(const struct bx_mux *m)
{
    return bx_buf_len(&m->guest.data) + READ_DATA_MAX <= (m->paused ? BX_MUX_PAUSED_DATA : BX_MUX_GUEST_DATA) &&
           bx_buf_len(&m->guest.control) + READ_CONTROL_MAX <= BX_LINK_CONTROL_MAX;
}
