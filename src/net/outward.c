/* SPDX-License-Identifier: Apache-2.0 */
/* outward.c - what the box wants to reach. net.h tells how it is decided. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "net/net.h"
#include "policy/peek.h"

#define DIAL_NS (30 * BX_SEC)

/* --- dialling --- */

static void failed(struct flow *f, int sys_errno)
{
    f->net->report.failed++;
    flow_fail(f, BX_ENETWORK, sys_errno, "dial");
}

static void on_dialled(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct flow *f = ud;
    socklen_t len = sizeof(int);
    int e = 0;

    (void)s;
    (void)events;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0)
        e = errno;
    if (e)
        failed(f, e);
    else
        flow_open(f, BX_TAKE_FD(f->fd));
}

static void on_dial_late(struct bx_source *s, void *ud)
{
    (void)s;
    failed(ud, ETIMEDOUT);
}

static void dial(struct flow *f, uint32_t addr)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(f->port), .sin_addr.s_addr = htonl(addr)};
    int type = f->protocol == IPPROTO_UDP ? SOCK_DGRAM : SOCK_STREAM;

    f->dialled = addr;
    f->fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (f->fd >= 0 && connect(f->fd, (struct sockaddr *)&to, sizeof(to)) == 0) {
        flow_open(f, BX_TAKE_FD(f->fd));
        return;
    }
    if (f->fd < 0 || errno != EINPROGRESS) {
        failed(f, errno);
        return;
    }
    f->source = bx_loop_add_fd(f->net->loop, f->fd, BX_WRITE, on_dialled, f);
    f->timer = bx_loop_add_timer(f->net->loop, on_dial_late, f);
    if (f->source && f->timer)
        bx_timer_after(f->timer, DIAL_NS);
    else
        failed(f, ENOMEM);
}

/* --- by name --- */

static bool is_allowed(const char *name, void *ud)
{
    struct flow *f = ud;

    if (!bx_policy_name(&f->net->plan.policy, name, f->port).allowed)
        return false;
    memcpy(f->name, name, strlen(name) + 1);
    return true;
}

/* The name's addresses of now: the one that the box has, if it is still among them. */
static void dial_one_of(struct flow *f, const uint32_t *addrs, size_t n)
{
    const struct bx_policy *p = &f->net->plan.policy;
    uint32_t chosen = 0;

    for (size_t i = 0; i < n; i++) {
        if (bx_policy_guarded(p, addrs[i]))
            continue;
        if (chosen == 0 || addrs[i] == f->addr)
            chosen = addrs[i];
    }
    if (chosen)
        dial(f, chosen);
    else
        flow_refuse(f, "its name leads to a guarded address");
}

static void on_resolved(void *ud, const struct bx_dns_answer *answer, const uint8_t *raw, size_t len)
{
    struct flow *f = ud;

    (void)raw;
    (void)len;
    f->lookup = NULL;
    if (answer && answer->n > 0)
        dial_one_of(f, answer->addrs, answer->n);
    else
        failed(f, EHOSTUNREACH);
}

/* False: no name allows it. */
static bool connect_by_name(struct flow *f)
{
    struct bx_resolver *r = &f->net->resolver;
    const struct bx_resolved *e;

    /* What TLS and HTTP ask for can be seen; what a datagram asks for cannot, so names do not open ports of UDP. */
    if (f->protocol != IPPROTO_TCP || bx_policy_guarded(&f->net->plan.policy, f->addr) ||
        !bx_resolver_names_of(r, f->addr, is_allowed, f))
        return false;
    f->peeking = true;
    e = bx_resolver_fresh(r, f->name);
    if (e) {
        dial_one_of(f, e->addrs, e->n);
        return true;
    }
    f->lookup = bx_resolver_ask(r, f->name, BX_DNS_A, on_resolved, f);
    if (!f->lookup)
        failed(f, EAGAIN);
    return true;
}

/* --- Connect --- */

/* Addresses of the box's own network: the gateway has the names, .254 is the host. */
static void connect_own(struct flow *f)
{
    if (f->addr == NET_GATEWAY && f->port == 53) {
        f->kind = FLOW_NAMES;
        f->relay.datagrams = true;
        flow_open(f, -1);
    } else if (f->addr != NET_HOST) {
        failed(f, ECONNREFUSED);
    } else {
        memcpy(f->name, BX_POLICY_HOST_NAME, sizeof(BX_POLICY_HOST_NAME));
        if (bx_policy_name(&f->net->plan.policy, f->name, f->port).allowed)
            dial(f, INADDR_LOOPBACK);
        else
            flow_refuse(f, "no rule allows the host");
    }
}

void outward_connect(struct net *n, uint32_t stream, const boxlite_Connect *msg)
{
    struct flow *f = flow_new(n, stream, FLOW_OUT, (uint8_t)msg->protocol, msg->address, (uint16_t)msg->port);
    struct bx_verdict verdict;
    struct bx_err err;

    if (!f) {
        bx_fail(&err, BX_ERESOURCE, ECONNREFUSED, "too many connections of this box (at most %d)", NET_FLOWS_MAX);
        bx_relays_told(&n->relays, bx_msg_send_error(&n->guest_link, stream, 0, &err));
        return;
    }
    if ((f->addr & NET_MASK) == (NET_BOX & NET_MASK)) {
        connect_own(f);
        return;
    }
    verdict = bx_policy_addr(&n->plan.policy, f->addr, f->port);
    if (verdict.allowed)
        dial(f, f->addr);
    else if (n->plan.policy.n_rules == 0 || !connect_by_name(f))
        flow_refuse(f, verdict.why);
}

void outward_peek(struct flow *f)
{
    char name[BX_HOST_NAME_MAX + 1];
    enum bx_peek found = bx_peek_name(bx_buf_data(&f->relay.pending), bx_buf_len(&f->relay.pending), name);

    if (found == BX_PEEK_MORE)
        return;
    if (found == BX_PEEK_BAD) {
        flow_refuse(f, "it does not tell whom it asks for");
    } else if (found == BX_PEEK_NAME && (!bx_policy_name(&f->net->plan.policy, name, f->port).allowed ||
                                         !bx_resolver_led_to(&f->net->resolver, name, f->addr))) {
        memcpy(f->name, name, strlen(name) + 1);
        flow_refuse(f, "it asks for another name than the one that was looked up");
    } else {
        if (found == BX_PEEK_NAME)
            memcpy(f->name, name, strlen(name) + 1);
        f->peeking = f->relay.hold = false;
        bx_relay_pump(&f->relay);
    }
}
