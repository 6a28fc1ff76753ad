/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules.c - the rules change while the box runs.
 *
 * All of them at once: those that cannot be read leave the old ones as they were. Then every connection of the box is judged
 * anew. One that was allowed by a name, or has asked for one, is held to that name; one that was allowed by its address cannot
 * become one of a name, because nobody has looked whom it asks for.
 */
#include <string.h>

#include "net/net.h"

static void judge(struct flow *f)
{
    const struct bx_policy *p = &f->net->plan.policy;
    bool own = (f->addr & NET_MASK) == (NET_BOX & NET_MASK);
    bool by_name = f->name[0] && bx_policy_name(p, f->name, f->port).allowed;
    bool by_addr = !own && !f->lookup && bx_policy_addr(p, f->dialled ? f->dialled : f->addr, f->port).allowed;

    if (!by_name && !by_addr) {
        flow_refuse(f, "the rules were changed");
    } else if (f->peeking && (!by_name || p->n_rules == 0)) { /* it need not ask for a name any more */
        f->peeking = f->relay.hold = false;
        if (f->open)
            bx_relay_pump(&f->relay);
    }
}

static void judge_all(struct net *n)
{
    struct flow *next;

    for (size_t i = 0; i < NET_BUCKETS; i++)
        for (struct flow *f = n->flows[i]; f; f = next) {
            next = f->chain;
            if (f->kind == FLOW_OUT)
                judge(f);
        }
}

static int replace(struct net *n, const struct bx_strs *allow, struct bx_err *err)
{
    struct bx_policy fresh;
    int r = 0;

    bx_policy_init(&fresh);
    for (const char *s = bx_strs_first(allow); s && r == 0; s = bx_strs_next(allow, s))
        r = bx_policy_add(&fresh, s, err);
    if (r == 0)
        bx_policy_swap_rules(&n->plan.policy, &fresh);
    bx_policy_done(&fresh);
    return r;
}

int rules_change(struct net *n, const uint8_t *payload, size_t len, struct bx_err *err)
{
    bx_cleanup_buf struct bx_buf arena = BX_BUF_INIT(BX_MESSAGE_MAX);
    boxlite_NetReady ready = boxlite_NetReady_init_zero;
    boxlite_NetWake wake = boxlite_NetWake_init_zero;
    struct bx_err why = BX_ERR_INIT;
    struct bx_msg_net_policy msg;
    int r = bx_msg_decode_net_policy(payload, len, &arena, &msg, err), served;

    if (r < 0)
        return r;
    r = replace(n, &msg.allow, &why);
    if (r == 0)
        judge_all(n);
    if (r == 0 && !n->serves && (served = net_serve(n, &ready, err)) < 0)
        return served;
    (void)bx_msg_send(&n->shim_link, BX_MSG_NET_WAKE, 0, &wake, NULL); /* for the guest to hear what was closed, or the greeting */
    net_touch(n);
    if (msg.pb.request == 0)
        return 0;
    return r < 0 ? bx_msg_send_error(&n->shim_link, 0, msg.pb.request, &why) : bx_msg_send_ok(&n->shim_link, 0, msg.pb.request);
}
