/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest and two clients who send each other anything through the mux. Input: records of four bytes {who,
 * what, stream, value}
 * ("raw" takes `value` bytes that follow as they are). Whatever happens, queues stay within their bounds, and
 * a link that is not broken brings frames that are frames.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shim/mux.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int ignore_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *p, size_t len,
                          struct bx_err *err)
{
    (void)l;
    (void)type;
    (void)stream;
    (void)p;
    (void)len;
    (void)err;
    return 0;
}

static int ignore_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *p, size_t len,
                       struct bx_err *err)
{
    (void)l;
    (void)p;
    (void)err;
    bx_assert(stream != 0 && lane < BX_LANES && len > 0);
    return 0;
}

static int ignore_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    (void)l;
    (void)err;
    bx_assert(stream != 0 && lane < BX_LANES);
    return 0;
}

static const struct bx_link_ops peer_ops = {ignore_message, ignore_data, ignore_eof};

static int owner_guest(void *ud, uint16_t type, const uint8_t *p, size_t len, struct bx_err *err)
{
    (void)ud;
    (void)type;
    (void)p;
    (void)len;
    (void)err;
    return 0;
}

static int owner_client(void *ud, struct bx_mux_client *c, uint16_t type, const uint8_t *p, size_t len,
                        struct bx_err *err)
{
    (void)c;
    return owner_guest(ud, type, p, len, err);
}

static void owner_main_exit(void *ud, const boxlite_Exit *e)
{
    (void)e;
    bx_assert(++*(int *)ud == 1);
}

static void owner_main_output(void *ud, unsigned lane, const uint8_t *p, size_t len)
{
    (void)ud;
    (void)p;
    bx_assert(len > 0 && (lane == BX_LANE_STDOUT || lane == BX_LANE_STDERR));
}

static void owner_exec_ended(void *ud, const char *id, const char *program, const boxlite_Exit *e)
{
    (void)ud;
    (void)e;
    bx_assert(strlen(id) < 64 && strlen(program) < 64);
}

static void own_output(void *ud, const uint8_t *p, size_t len)
{
    (void)ud;
    (void)p;
    bx_assert(len > 0);
}

static void own_ended(void *ud, const boxlite_Exit *e, const struct bx_err *err)
{
    (void)ud;
    bx_assert(!e != !err);
}

static const struct bx_mux_exec_ops own_ops = {own_output, own_ended};
static const struct bx_mux_ops owner_ops = {
    .guest = owner_guest,
    .client = owner_client,
    .main_exit = owner_main_exit,
    .main_output = owner_main_output,
    .exec_ended = owner_exec_ended,
};

struct world {
    int main_exits;
    struct bx_mux *mux;
    struct bx_mux_client *c[2];
    struct bx_link from[3]; /* what guest and clients send */
    struct bx_link sink[3]; /* what comes to them */
    bool broken[3];
};

static struct bx_link *mux_side(struct world *w, unsigned who)
{
    if (who == 0)
        return bx_mux_guest(w->mux);
    return w->c[who - 1] ? bx_mux_client_link(w->c[who - 1]) : NULL;
}

static void transfer(struct bx_link *from, struct bx_link *to, bool *broken)
{
    const uint8_t *p;
    size_t len;

    while (bx_link_output(from, &p, &len)) {
        if (!*broken && bx_link_input(to, p, len, NULL) < 0)
            *broken = true;
        bx_link_sent(from, len);
    }
}

static void drop_client(struct world *w, unsigned who)
{
    if (w->c[who - 1])
        bx_mux_client_remove(w->c[who - 1]);
    w->c[who - 1] = NULL;
}

static void from_peer(struct world *w, unsigned who)
{
    struct bx_link *to = mux_side(w, who);

    if (!to || w->broken[who] || (who > 0 && !bx_mux_may_read(w->mux)))
        return;
    transfer(&w->from[who], to, &w->broken[who]);
    if (who > 0 && w->broken[who])
        drop_client(w, who);
    for (unsigned i = 1; i <= 2; i++)
        if (w->c[i - 1] && bx_mux_client_condemned(w->c[i - 1]))
            drop_client(w, i);
}

static void to_peer(struct world *w, unsigned who)
{
    struct bx_link *from = mux_side(w, who);
    bool broken = false;
    size_t before;

    if (!from)
        return;
    do {
        if (who > 0)
            bx_mux_client_refill(w->c[who - 1]);
        before = who > 0 ? bx_mux_client_queued(w->c[who - 1]) : 0;
        transfer(from, &w->sink[who], &broken);
    } while (who > 0 && bx_mux_client_queued(w->c[who - 1]) > 0 &&
             bx_mux_client_queued(w->c[who - 1]) < before);
    bx_assert(!broken);
}

static void message(struct world *w, unsigned who, uint8_t what, uint32_t stream, uint8_t value)
{
    static uint8_t bytes[BX_FRAME_PAYLOAD_MAX];
    struct bx_link *l = &w->from[who];
    struct bx_msg_exec exec = {.args = {"true", 5, 1},
                               .pb = {.stdin = value & 1, .claim = value & 6, .main = value & 8, .detached = value & 16}};
    boxlite_Attach attach = {.exec_id = "main"};
    boxlite_Truncated hole = {.lane = value & 3, .dropped = value};
    boxlite_Exit exit = {.code = value};
    boxlite_Error error = {.request = value & 1};
    boxlite_Claim claim = {.lane = value & 3};
    boxlite_FileOp file_op = {.op = value, .path = "/x"};
    boxlite_Signal signal = {.request = value, .signo = 9};

    switch (what % 16) {
    case 0:
        (void)bx_msg_send_exec(l, stream, &exec, NULL);
        break;
    case 1:
        (void)bx_msg_send(l, BX_MSG_ATTACH, stream, value & 1 ? &attach : &(boxlite_Attach){0}, NULL);
        break;
    case 2:
        (void)bx_link_send(l, BX_MSG_STARTED, stream, NULL, 0);
        break;
    case 3:
        (void)bx_msg_send_ordered(l, BX_MSG_EXIT, stream, &exit, NULL);
        break;
    case 4:
        (void)bx_msg_send(l, BX_MSG_ERROR, stream, &error, NULL);
        break;
    case 5:
        (void)bx_msg_send(l, BX_MSG_CLAIM, stream, &claim, NULL);
        break;
    case 6:
        (void)bx_msg_send_credit(l, stream, value & 3, 1u << (value >> 2 & 31));
        break;
    case 7:
        (void)bx_link_send(l, BX_MSG_CLOSE, stream, NULL, 0);
        break;
    case 8:
        (void)bx_msg_send(l, BX_MSG_SIGNAL, stream, &signal, NULL);
        break;
    case 9:
        (void)bx_msg_send_ok(l, stream, value);
        break;
    case 10:
        if (stream)
            (void)bx_link_send_data(l, stream, value % 3, bytes, (size_t)1 << (value >> 2) % 17);
        break;
    case 11:
        if (stream)
            (void)bx_link_send_eof(l, stream, value % 3);
        break;
    case 12:
        (void)bx_msg_send(l, BX_MSG_FILE_OP, stream, &file_op, NULL);
        break;
    case 13:
        (void)bx_msg_send_ordered(l, BX_MSG_TRUNCATED, stream, &hole, NULL);
        break;
    default:
        (void)bx_link_send(l, what, stream, bytes, value);
        break;
    }
}

static void check(struct world *w)
{
    for (unsigned i = 0; i < 2; i++)
        if (w->c[i])
            bx_assert(bx_mux_client_queued(w->c[i]) <= (size_t)BX_MUX_CLIENT_MAX + BX_MUX_CLIENT_DATA +
                                                           BX_LINK_ORDERED_MAX + BX_LINK_CONTROL_MAX);
    bx_assert(bx_mux_counts(w->mux).streams <= BX_STREAMS_MAX);
}

static void step(struct world *w, const uint8_t *r, const uint8_t *raw, size_t raw_len)
{
    unsigned who = r[0] % 3;

    switch (r[0] / 3 % 6) {
    case 0:
    case 1:
        message(w, who, r[1], r[2], r[3]);
        from_peer(w, who);
        break;
    case 2:
        to_peer(w, who);
        break;
    case 3:
        if (mux_side(w, who) && !w->broken[who] && bx_link_input(mux_side(w, who), raw, raw_len, NULL) < 0) {
            w->broken[who] = true;
            if (who > 0)
                drop_client(w, who);
        }
        break;
    case 4:
        if (who > 0 && !w->c[who - 1]) {
            w->c[who - 1] = bx_mux_client_add(w->mux, NULL);
            w->broken[who] = false;
        } else if (who > 0) {
            drop_client(w, who);
        }
        break;
    default:
        if (r[1] == 0xff)
            bx_mux_close_gate(w->mux, BX_ESTOPPED, "closed");
        else if (r[1] & 1)
            (void)bx_mux_exec(w->mux, &(struct bx_msg_exec){.args = {"true", 5, 1}}, &own_ops, NULL);
        else
            bx_mux_exec_close(w->mux, r[2]);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w = {0};
    struct bx_err why = BX_ERR_INIT;

    w.mux = bx_mux_new(&owner_ops, &w.main_exits);
    for (unsigned i = 0; i < 3; i++) {
        bx_link_init(&w.from[i], &peer_ops, NULL, 256 * 1024);
        bx_link_init(&w.sink[i], &peer_ops, NULL, 256 * 1024);
        if (i > 0)
            w.c[i - 1] = bx_mux_client_add(w.mux, NULL);
    }
    for (size_t at = 0; at + 4 <= size; at += 4) {
        const uint8_t *r = data + at;
        size_t raw = r[0] / 3 % 6 == 3 ? BX_MIN((size_t)r[3], size - at - 4) : 0;

        step(&w, r, r + 4, raw);
        at += raw;
        check(&w);
    }
    bx_fail(&why, BX_EENGINE, 0, "over");
    bx_mux_fail_streams(w.mux, &why);
    bx_assert(bx_mux_counts(w.mux).streams == 0 && bx_mux_pending(w.mux) == 0);
    bx_mux_free(w.mux);
    for (unsigned i = 0; i < 3; i++) {
        bx_link_done(&w.from[i]);
        bx_link_done(&w.sink[i]);
    }
    return 0;
}
