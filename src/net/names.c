/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names.c - the DNS server that the box sees at its gateway, over UDP and TCP.
 *
 * A name that the policy allows is asked for at the host's name servers; of its addresses the box gets those that it may
 * dial. A name that is denied has the address 0.0.0.0 (as the existing BoxLite answers), and nothing of the question leaves
 * the host. There is no IPv6 in a box yet: a question for such addresses has an empty answer, so nobody waits for one.
 */
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>

#include "net/net.h"

#define QUERIES_MAX 256
#define TTL_OURS    60 /* of names of our own */
#define TTL_DENIED  5

struct query {
    struct query *prev, *next;
    struct flow *f;
    struct bx_lookup *lookup;
    struct bx_dns_question q;
    uint8_t msg[BX_DNS_HEADER + BX_HOST_NAME_MAX + 8]; /* header and question as they came */
};

static void reply(struct flow *f, const struct bx_dns_question *q, uint8_t *msg, size_t len)
{
    uint8_t framed[2 + BX_DNS_MAX];

    if (f->protocol == IPPROTO_UDP) {
        bx_relay_datagram(&f->relay, msg, bx_dns_truncate(q, msg, len));
        return;
    }
    framed[0] = (uint8_t)(len >> 8);
    framed[1] = (uint8_t)len;
    memcpy(framed + 2, msg, len);
    bx_relay_datagram(&f->relay, framed, len + 2);
}

static void reply_code(struct flow *f, const uint8_t *msg, const struct bx_dns_question *q, unsigned rcode)
{
    uint8_t out[BX_DNS_MAX];

    reply(f, q, out, bx_dns_write_code(msg, q, rcode, out));
}

static void reply_addrs(struct flow *f, const uint8_t *msg, const struct bx_dns_question *q, const uint32_t *addrs, size_t n,
                        uint32_t ttl)
{
    uint8_t out[BX_DNS_MAX];

    reply(f, q, out, bx_dns_write_addrs(msg, q, addrs, n, ttl, out));
}

/* Of what a name leads to, what may be dialled by name or by a rule of its own. */
static void reply_allowed(struct flow *f, const uint8_t *msg, const struct bx_dns_question *q, const uint32_t *addrs, size_t n,
                          uint32_t ttl)
{
    const struct bx_policy *p = &f->net->plan.policy;
    uint32_t open[BX_DNS_ADDRS_MAX];
    size_t n_open = 0;

    for (size_t i = 0; i < n; i++)
        if (!bx_policy_guarded(p, addrs[i]) || bx_policy_addr(p, addrs[i], 0).allowed)
            open[n_open++] = addrs[i];
    if (n > 0 && n_open == 0) {
        net_refused(f->net, 0, addrs[0], 0, q->name, "its name leads to a guarded address");
        open[n_open++] = 0;
        ttl = TTL_DENIED;
    }
    reply_addrs(f, msg, q, open, n_open, ttl);
}

static void reply_denied(struct flow *f, const uint8_t *msg, const struct bx_dns_question *q)
{
    static const uint32_t nowhere = 0;

    net_refused(f->net, 0, 0, 0, q->name, "no rule allows it");
    reply_addrs(f, msg, q, &nowhere, q->type == BX_DNS_A, TTL_DENIED);
}

static void query_free(struct query *query)
{
    struct net *n = query->f->net;

    bx_lookup_cancel(query->lookup);
    if (query->prev)
        query->prev->next = query->next;
    else
        n->queries = query->next;
    if (query->next)
        query->next->prev = query->prev;
    n->n_queries--;
    free(query);
}

static void on_answer(void *ud, const struct bx_dns_answer *a, const uint8_t *raw, size_t len)
{
    struct query *query = ud;
    struct flow *f = query->f;
    uint8_t out[BX_DNS_MAX];

    query->lookup = NULL;
    if (!a) {
        reply_code(f, query->msg, &query->q, BX_DNS_SERVFAIL);
    } else if (!bx_policy_resolve(&f->net->plan.policy, query->q.name).allowed) { /* the rules have changed since */
        reply_denied(f, query->msg, &query->q);
    } else if (a->rcode != BX_DNS_OK) {
        reply_code(f, query->msg, &query->q, a->rcode);
    } else if (query->q.type == BX_DNS_A) {
        reply_allowed(f, query->msg, &query->q, a->addrs, a->n, a->ttl);
    } else { /* as it came, under the number that the box has given it */
        memcpy(out, raw, len);
        out[0] = (uint8_t)(query->q.id >> 8);
        out[1] = (uint8_t)query->q.id;
        reply(f, &query->q, out, len);
    }
    query_free(query);
    net_touch(f->net);
}

static void ask(struct flow *f, const uint8_t *msg, const struct bx_dns_question *q)
{
    struct net *n = f->net;
    const struct bx_resolved *known = q->type == BX_DNS_A ? bx_resolver_fresh(&n->resolver, q->name) : NULL;
    struct query *query;

    if (known) {
        reply_allowed(f, msg, q, known->addrs, known->n, known->ttl);
        return;
    }
    query = n->n_queries < QUERIES_MAX ? calloc(1, sizeof(*query)) : NULL;
    if (!query || q->end > sizeof(query->msg)) {
        free(query);
        reply_code(f, msg, q, BX_DNS_SERVFAIL);
        return;
    }
    *query = (struct query){.f = f, .q = *q, .next = n->queries};
    memcpy(query->msg, msg, q->end);
    if (n->queries)
        n->queries->prev = query;
    n->queries = query;
    n->n_queries++;
    query->lookup = bx_resolver_ask(&n->resolver, q->name, q->type, on_answer, query);
    if (!query->lookup) {
        query_free(query);
        reply_code(f, msg, q, BX_DNS_SERVFAIL);
    }
}

static void answer(struct flow *f, const uint8_t *msg, size_t len)
{
    static const uint32_t host = NET_HOST;
    struct bx_dns_question q;
    int r = bx_dns_read_question(msg, len, &q);

    if (r < 0)
        return;
    if (r > 0) {
        reply_code(f, msg, &q, (unsigned)r);
    } else if (q.name[0] == '\0') {
        reply_code(f, msg, &q, BX_DNS_REFUSED); /* no name of a host */
    } else if (!bx_policy_resolve(&f->net->plan.policy, q.name).allowed) {
        reply_denied(f, msg, &q);
    } else if (strcmp(q.name, BX_POLICY_HOST_NAME) == 0) {
        reply_addrs(f, msg, &q, &host, q.type == BX_DNS_A, TTL_OURS);
    } else if (q.type == BX_DNS_AAAA || q.type == BX_DNS_HTTPS || q.type == BX_DNS_SVCB) {
        reply_addrs(f, msg, &q, NULL, 0, TTL_OURS);
    } else {
        ask(f, msg, &q);
    }
}

void names_input(struct flow *f, const uint8_t *data, size_t len)
{
    if (f->protocol == IPPROTO_UDP) {
        answer(f, data, len);
        return;
    }
    if (bx_buf_add(&f->input, data, len) < 0) {
        flow_fail(f, BX_ERPC, 0, "a question that is too long");
        return;
    }
    while (bx_buf_len(&f->input) >= 2) {
        const uint8_t *p = bx_buf_data(&f->input);
        size_t n = (size_t)(p[0] << 8 | p[1]);

        if (bx_buf_len(&f->input) - 2 < n)
            return;
        answer(f, p + 2, n);
        bx_buf_consume(&f->input, n + 2);
    }
}

void names_drop(struct flow *f)
{
    struct query *next;

    for (struct query *q = f->net->queries; q; q = next) {
        next = q->next;
        if (q->f == f)
            query_free(q);
    }
}

void names_done(struct net *n)
{
    while (n->queries)
        query_free(n->queries);
}
