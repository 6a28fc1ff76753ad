/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mux_main.c - the main process's output, which is everybody's: it goes into the box's log and to whoever has
 * claimed it.
 *
 * Theory of operation
 *
 *  Beside the client's Exec the mux opens a stream of its own onto the main process, its watch, and claims both output
 *  lanes there before the process can write. What arrives is shown to the owner (the log), then is one client's: the
 *  lanes of streams that clients have onto the main process are served from here, and to them all is as the protocol
 *  says of an agent. Nobody has claimed a lane: its first and last bytes are kept, and credit is given back at once.
 *  Somebody has: bytes wait in `pending`, at most the watch's window, until the claimer's credit lets them go, and only
 *  then is credit given back: a claimer that does not read stops the writer, as it would without us.
 *
 *  A client hears of the end behind its last byte, so its Exit is held here until then; and the box ends with its main
 *  process only when all claimers have heard of that.
 */
#include "shim/mux_priv.h"

#include <errno.h>
#include <string.h>

#define PENDING_MAX (BX_WINDOW + BX_FRAME_PAYLOAD_MAX)

static struct main_lane *lane_of(struct bx_mux *m, unsigned lane)
{
    return &m->main[lane - BX_LANE_STDOUT];
}

void mux_main_init(struct bx_mux *m)
{
    for (unsigned i = 0; i < BX_ARRAY_SIZE(m->main); i++) {
        bx_keep_init(&m->main[i].keep, BX_KEEP_HEAD, BX_KEEP_TAIL);
        bx_buf_init(&m->main[i].pending, PENDING_MAX);
    }
}

void mux_main_done(struct bx_mux *m)
{
    for (unsigned i = 0; i < BX_ARRAY_SIZE(m->main); i++) {
        bx_keep_done(&m->main[i].keep);
        bx_buf_done(&m->main[i].pending);
        m->main[i] = (struct main_lane){0};
    }
}

int mux_main_open(struct bx_mux *m)
{
    struct stream *s = mux_stream_new(m, NULL, 0);

    if (!s)
        return -ENOMEM;
    mux_main_done(m); /* of one that could not be started */
    mux_main_init(m);
    s->own = OWN_MAIN;
    s->opening = true;
    m->pending++;
    m->watch = s;
    return 0;
}

void mux_main_attach(struct bx_mux *m)
{
    boxlite_Attach attach = {.exec_id = "main"};
    boxlite_Claim claim = {0};

    if (bx_msg_send(&m->guest, BX_MSG_ATTACH, m->watch->gs, &attach, NULL) < 0)
        m->guest.dead = true;
    for (claim.lane = BX_LANE_STDOUT; claim.lane < BX_LANES; claim.lane++) {
        bx_lane_init(&m->watch->lanes[claim.lane], BX_WINDOW);
        if (bx_msg_send(&m->guest, BX_MSG_CLAIM, m->watch->gs, &claim, NULL) < 0)
            m->guest.dead = true; /* out of memory: the box could not end with its main process */
    }
}

/* ---- its end ---- */

static bool waits_for_lanes(const struct bx_mux *m, const struct stream *s)
{
    for (unsigned i = 0; i < BX_ARRAY_SIZE(m->main); i++)
        if (m->main[i].claimer && (!s || m->main[i].claimer == s) && !m->main[i].eof_sent)
            return true;
    return false;
}

static void try_end(struct bx_mux *m)
{
    if (m->main_exited && !m->main_over && !waits_for_lanes(m, NULL))
        mux_main_over(m, &m->main_exit);
}

/* Something that an end may have waited for is done. */
static void try_exit(struct bx_mux *m, struct stream *claimer)
{
    if (claimer && claimer->held_exit && !waits_for_lanes(m, claimer)) {
        mux_ordered_to_client(claimer->c, BX_MSG_EXIT, 0, claimer->cs, claimer->held_exit, claimer->held_exit_len);
        free(BX_TAKE_PTR(claimer->held_exit));
    }
    try_end(m);
}

int mux_main_client_exit(struct bx_mux *m, struct stream *s, const uint8_t *p, size_t len, struct bx_err *err)
{
    if (!waits_for_lanes(m, s)) {
        mux_ordered_to_client(s->c, BX_MSG_EXIT, 0, s->cs, p, len);
        return 0;
    }
    s->held_exit = malloc(len + 1);
    if (!s->held_exit)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "end of the main process");
    memcpy(s->held_exit, p, len);
    s->held_exit_len = len;
    return 0;
}

void mux_main_exited(struct bx_mux *m, const boxlite_Exit *e)
{
    m->main_exited = true;
    m->main_exit = *e;
    try_end(m);
}

/* ---- to its claimer ---- */

static void tell_hole(struct main_lane *ml, unsigned lane)
{
    boxlite_Truncated msg = {.lane = lane, .dropped = ml->keep.dropped - ml->told};

    if (msg.dropped == 0)
        return;
    ml->told = ml->keep.dropped;
    if (ml->claimer->truncated & 1u << lane)
        return; /* at most once to a stream */
    ml->claimer->truncated |= 1u << lane;
    mux_message_to_client(ml->claimer->c, BX_MSG_TRUNCATED, ml->claimer->cs, &msg);
}

/* The next piece that waits, its length, 0 when there is none. */
static size_t next_piece(const struct main_lane *ml, const uint8_t **ret)
{
    size_t n = bx_keep_peek(&ml->keep, ret);

    if (n > 0)
        return n;
    *ret = bx_buf_data(&ml->pending);
    return bx_buf_len(&ml->pending);
}

static void give_back(struct bx_mux *m, unsigned lane, size_t n)
{
    uint32_t grant = m->watch ? bx_lane_consume(&m->watch->lanes[lane], n) : 0;

    if (grant > 0 && bx_msg_send_credit(&m->guest, m->watch->gs, lane, grant) < 0)
        m->guest.dead = true;
}

static void consume(struct bx_mux *m, struct main_lane *ml, unsigned lane, size_t n)
{
    if (bx_keep_len(&ml->keep) > 0) { /* that was given back when it came */
        bx_keep_consume(&ml->keep, n);
        return;
    }
    bx_buf_consume(&ml->pending, n);
    give_back(m, lane, n);
}

void mux_main_pump(struct bx_mux *m, unsigned lane)
{
    struct main_lane *ml = lane_of(m, lane);
    struct stream *s = ml->claimer;
    const uint8_t *data;
    size_t n;

    if (!s)
        return;
    while (s->lanes[lane].credit > 0 && !s->c->holding && (n = next_piece(ml, &data)) > 0) {
        if (bx_buf_len(&ml->keep.head) == 0)
            tell_hole(ml, lane);
        n = BX_MIN(BX_MIN(n, (size_t)s->lanes[lane].credit), (size_t)BX_FRAME_PAYLOAD_MAX);
        mux_ordered_to_client(s->c, BX_MSG_DATA, lane, s->cs, data, n);
        bx_lane_spend(&s->lanes[lane], n);
        m->bytes_out += n;
        consume(m, ml, lane, n);
    }
    if (next_piece(ml, &data) > 0)
        return;
    tell_hole(ml, lane);
    if (ml->eof && !ml->eof_sent) {
        ml->eof_sent = true;
        mux_ordered_to_client(s->c, BX_MSG_EOF, lane, s->cs, NULL, 0);
        try_exit(m, s);
    }
}

void mux_main_release(struct bx_mux_client *c)
{
    for (unsigned lane = BX_LANE_STDOUT; lane < BX_LANES; lane++)
        if (lane_of(c->m, lane)->claimer && lane_of(c->m, lane)->claimer->c == c)
            mux_main_pump(c->m, lane);
}

bool mux_main_claim(struct stream *s, unsigned lane)
{
    struct main_lane *ml = lane_of(s->c->m, lane);

    if (ml->claimer)
        return ml->claimer == s;
    ml->claimer = s;
    ml->eof_sent = false;
    bx_lane_init(&s->lanes[lane], BX_WINDOW);
    mux_main_pump(s->c->m, lane);
    return true;
}

int mux_main_credit(struct stream *s, unsigned lane, uint32_t bytes, struct bx_err *err)
{
    if (bx_lane_grant(&s->lanes[lane], bytes) < 0)
        return bx_fail(err, BX_ERPC, 0, "credit of more than %u bytes", BX_LANE_CREDIT_MAX);
    mux_main_pump(s->c->m, lane);
    return 0;
}

void mux_main_leave(struct bx_mux *m, struct stream *s)
{
    for (unsigned lane = BX_LANE_STDOUT; lane < BX_LANES; lane++) {
        struct main_lane *ml = lane_of(m, lane);
        size_t n = bx_buf_len(&ml->pending);

        if (ml->claimer != s)
            continue;
        ml->claimer = NULL;
        bx_keep_add(&ml->keep, bx_buf_data(&ml->pending), n); /* for the next */
        bx_buf_done(&ml->pending);
        give_back(m, lane, n);
    }
    free(BX_TAKE_PTR(s->held_exit));
    try_end(m);
}

/* ---- from the guest ---- */

int mux_main_data(struct bx_mux *m, unsigned lane, const uint8_t *data, size_t len, struct bx_err *err)
{
    struct main_lane *ml = lane_of(m, lane);

    if (m->ops->main_output)
        m->ops->main_output(m->ud, lane, data, len);
    if (!ml->claimer) {
        bx_keep_add(&ml->keep, data, len);
        give_back(m, lane, len);
        return 0;
    }
    if (bx_buf_add(&ml->pending, data, len) < 0) /* the window bounds it: memory is short */
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "output of the main process");
    mux_main_pump(m, lane);
    return 0;
}

void mux_main_eof(struct bx_mux *m, unsigned lane)
{
    lane_of(m, lane)->eof = true;
    mux_main_pump(m, lane);
}

void mux_main_hole(struct bx_mux *m, unsigned lane, uint64_t dropped)
{
    struct main_lane *ml = lane_of(m, lane);

    ml->keep.dropped += dropped;
    ml->keep.truncated = true;
    if (m->ops->main_hole)
        m->ops->main_hole(m->ud, dropped);
}
