/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inward.c - published ports: whoever connects to one on the host reaches a program that listens in the box.
 *
 * The sockets are bound by the outer process and handed in: they survive this one, and ports below 1024 need no power here.
 * All clients of a UDP port share its socket; a flow is found by the client's address.
 */
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "net/net.h"

#define ACCEPT_TURN 16

static struct flow *dial_box(struct listener *l, int fd, const struct sockaddr_in *peer)
{
    struct net *n = l->net;
    boxlite_Dial msg = {.protocol = l->port->protocol, .port = l->port->box_port};
    boxlite_NetWake wake = boxlite_NetWake_init_zero;
    struct flow *f = flow_new(n, net_new_stream(n), FLOW_IN, l->port->protocol, ntohl(peer->sin_addr.s_addr),
                              ntohs(peer->sin_port));

    if (!f) {
        bx_close(fd);
        return NULL;
    }
    f->fd = fd;
    bx_relays_told(&n->relays, bx_msg_send(&n->guest_link, BX_MSG_DIAL, f->relay.stream, &msg, NULL));
    (void)bx_msg_send(&n->shim_link, BX_MSG_NET_WAKE, 0, &wake, NULL); /* without it the guest answers when it runs again */
    net_touch(n);
    return f;
}

void inward_answered(struct flow *f)
{
    flow_open(f, BX_TAKE_FD(f->fd));
}

static void on_client(struct bx_source *s, int listener, uint32_t events, void *ud)
{
    (void)s;
    (void)events;
    for (int i = 0; i < ACCEPT_TURN; i++) {
        struct sockaddr_in peer = {0};
        socklen_t len = sizeof(peer);
        int fd = accept4(listener, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0)
            return;
        dial_box(ud, fd, &peer);
    }
}

static struct flow *flow_of(struct listener *l, const struct sockaddr_in *peer)
{
    for (size_t i = 0; i < NET_BUCKETS; i++)
        for (struct flow *f = l->net->flows[i]; f; f = f->chain)
            if (f->listener == l && f->addr == ntohl(peer->sin_addr.s_addr) && f->port == ntohs(peer->sin_port))
                return f;
    return NULL;
}

static void on_datagram(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    static uint8_t data[BX_FRAME_PAYLOAD_MAX]; /* one thread */
    struct listener *l = ud;

    (void)s;
    (void)events;
    for (int i = 0; i < ACCEPT_TURN; i++) {
        struct sockaddr_in peer = {0};
        socklen_t len = sizeof(peer);
        ssize_t n = recvfrom(fd, data, sizeof(data), MSG_DONTWAIT, (struct sockaddr *)&peer, &len);
        struct flow *f;

        if (n < 0)
            return;
        f = flow_of(l, &peer);
        if (!f) {
            f = dial_box(l, -1, &peer);
            if (f)
                f->listener = l;
        }
        if (f)
            bx_relay_datagram(&f->relay, data, (size_t)n);
    }
}

void inward_send(struct flow *f, const uint8_t *data, size_t len)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(f->port), .sin_addr.s_addr = htonl(f->addr)};

    (void)!sendto(f->listener->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to));
}

int inward_listen(struct net *n, boxlite_NetReady *ready, struct bx_err *err)
{
    for (size_t i = 0; i < n->plan.n_ports; i++) {
        struct listener *l = &n->listeners[i];
        struct sockaddr_in here = {0};
        socklen_t len = sizeof(here);

        *l = (struct listener){.net = n, .port = &n->plan.ports[i], .fd = NET_PORTS_FD + (int)i};
        if (getsockname(l->fd, (struct sockaddr *)&here, &len) < 0)
            return bx_fail(err, BX_EINTERNAL, errno, "published port %zu", i);
        ready->ports[ready->ports_count++] = ntohs(here.sin_port);
        l->source = bx_loop_add_fd(n->loop, l->fd, BX_READ, l->port->protocol == IPPROTO_TCP ? on_client : on_datagram, l);
        if (!l->source)
            return bx_fail(err, BX_ERESOURCE, errno, "watch a published port");
    }
    return 0;
}

void inward_done(struct net *n)
{
    for (size_t i = 0; i < n->plan.n_ports; i++) {
        n->listeners[i].source = bx_source_remove(n->listeners[i].source);
        bx_close(NET_PORTS_FD + (int)i);
    }
}
