/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_rules.c - the rules of the box's network change while it runs.
 *
 * A client's NetPolicy is passed on to boxlite-net, one at a time, and answered when that has acknowledged it. The shim
 * remembers the rules that hold: a boxlite-net that was started again has the plan's, which may be old, and lets nothing
 * through until it was told.
 */
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "shim/box.h"

#define ANSWER_NS (10 * BX_SEC)

static void answer(struct client *c, uint32_t request, const struct bx_err *why)
{
    struct bx_link *l = bx_mux_client_link(c->mc);

    if (request != 0 && (why ? bx_msg_send_error(l, 0, request, why) : bx_msg_send_ok(l, 0, request)) < 0)
        c->drop = "it does not read";
    box_touch(c->b);
}

static int tell(struct box *b, const struct bx_buf *rules, size_t n, uint32_t request, struct bx_err *err)
{
    struct bx_msg_net_policy msg = {.pb = {.request = request},
                                    .allow = {.data = (const char *)bx_buf_data(rules), .len = bx_buf_len(rules), .count = n}};

    box_touch(b);
    return bx_msg_send_net_policy(&b->net_link, &msg, err);
}

/* It is over, one way or the other. */
static void finish(struct box *b, const struct bx_err *why)
{
    struct client *c = b->net_changer;

    b->net_change = 0;
    b->net_changer = NULL;
    bx_timer_set(b->net_change_late, 0);
    bx_buf_clear(&b->net_next);
    if (c)
        answer(c, b->net_changer_request, why);
}

static void on_late(struct bx_source *s, void *ud)
{
    struct bx_err why;

    (void)s;
    bx_fail(&why, BX_ENETWORK, 0, "boxlite-net does not answer: whether the box follows the new rules is not known");
    finish(ud, &why);
}

int net_rules_init(struct box *b, struct bx_err *err)
{
    const char *line = b->plan->net_plan;

    bx_buf_init(&b->net_rules, BX_MESSAGE_MAX);
    bx_buf_init(&b->net_next, BX_MESSAGE_MAX);
    b->net_change_late = bx_loop_add_timer(b->loop, on_late, b);
    for (; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        if (!bx_starts_with(line, "rule "))
            continue;
        bx_buf_add(&b->net_rules, line + 5, strcspn(line + 5, "\n"));
        bx_buf_add(&b->net_rules, "", 1);
        b->n_net_rules++;
    }
    return b->net_change_late && !bx_buf_failed(&b->net_rules) ? 0 : bx_fail(err, BX_ERESOURCE, 0, "rules of the network");
}

void net_rules_done(struct box *b)
{
    b->net_change_late = bx_source_remove(b->net_change_late);
    bx_buf_done(&b->net_rules);
    bx_buf_done(&b->net_next);
}

static int may_change(const struct box *b, struct bx_err *why)
{
    if (!b->plan->net_plan)
        return bx_fail(why, BX_ESTATE, 0, "the network of the box is disabled");
    if (b->phase != BOX_RUNNING)
        return bx_fail(why, BX_ESTOPPED, 0, "the box is stopping");
    if (b->net_conn.fd < 0)
        return bx_fail(why, BX_ENETWORK, 0, "the box has no network any more: its shim.log says why");
    if (b->net_change)
        return bx_fail(why, BX_ESTATE, 0, "the rules are being changed by another program: try again");
    return 0;
}

int net_rules_change(struct client *c, const uint8_t *p, size_t len, struct bx_err *err)
{
    struct box *b = c->b;
    bx_cleanup_buf struct bx_buf arena = BX_BUF_INIT(BX_MESSAGE_MAX);
    struct bx_msg_net_policy msg;
    struct bx_err why = BX_ERR_INIT;
    int r = bx_msg_decode_net_policy(p, len, &arena, &msg, err);

    if (r < 0)
        return r;
    if (may_change(b, &why) < 0) {
        answer(c, msg.pb.request, &why);
        return 0;
    }
    bx_buf_clear(&b->net_next);
    if (msg.allow.len > 0)
        bx_buf_add(&b->net_next, msg.allow.data, msg.allow.len);
    b->n_net_next = msg.allow.count;
    if (++b->net_changes == 0)
        b->net_changes = 1;
    r = bx_buf_failed(&b->net_next) ? bx_fail(&why, BX_ERESOURCE, 0, "rules of the network")
                                    : tell(b, &b->net_next, b->n_net_next, b->net_changes, &why);
    if (r < 0) {
        answer(c, msg.pb.request, &why);
        return 0;
    }
    b->net_change = b->net_changes;
    b->net_changer = c;
    b->net_changer_request = msg.pb.request;
    bx_timer_after(b->net_change_late, ANSWER_NS);
    return 0;
}

void net_rules_client_gone(struct client *c)
{
    if (c->b->net_changer == c)
        c->b->net_changer = NULL;
}

void net_rules_again(struct box *b)
{
    struct bx_err why = BX_ERR_INIT;

    if (tell(b, &b->net_rules, b->n_net_rules, 0, &why) < 0 ||
        (b->net_change && tell(b, &b->net_next, b->n_net_next, b->net_change, &why) < 0))
        net_rules_lost(b, &why); /* boxlite-net goes on waiting: nothing gets through */
}

void net_rules_answered(struct box *b, uint32_t request, const struct bx_err *why)
{
    if (request == 0 || request != b->net_change)
        return; /* of one that was told twice, or is given up */
    if (!why) {
        struct bx_buf old = b->net_rules;

        b->net_rules = b->net_next;
        b->n_net_rules = b->n_net_next;
        b->net_next = old;
    }
    finish(b, why);
}

void net_rules_lost(struct box *b, const struct bx_err *why)
{
    if (b->net_change)
        finish(b, why);
}
