/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.h - boxlite-net: a box's way to the world, one jailed process per box, the only one with the host's network.
 *
 *   main.c      the outer process: binds ports, makes the jail, starts it again
 *   net.c       links to the guest and to the shim, the table of flows
 *   outward.c   what the box wants to reach: policy, names, dialling
 *   names.c     the DNS server that the box sees
 *   rules.c     the rules change while the box runs
 *   inward.c    published ports
 *   resolver.c  the host's name servers
 *   dns.c, plan.c   pure
 *
 * Theory of operation
 *
 *  The guest's agent speaks to this program directly, by the box protocol on a port of its own (docs/PROTOCOL.md,
 * "Connections"): the shim hands the port over and never sees a byte of it. A flow is a stream of that link and a socket
 * of the host; relay.h moves the bytes. No packet, no address of a packet and no TCP of the guest is ever read here:
 * only messages that name what to dial, and bytes.
 *
 *  A connection is decided before it is dialled: by its address when a rule names that, else by the names that have led
 * the box to this address, looked up here and remembered. One that was allowed by a name is then held to it: what TLS or
 * HTTP asks for in its first bytes must be a name that is allowed and has led here as well (policy/peek.h); until that
 * is known nothing is passed on.
 */
#ifndef BX_NET_NET_H
#define BX_NET_NET_H

#include "net/plan.h"
#include "net/resolver.h"
#include "relay/conn.h"
#include "relay/relay.h"

/* Descriptors of the jailed program. */
#define NET_GUEST_FD  3 /* the guest's port */
#define NET_SHIM_FD   4
#define NET_PLAN_FD   5 /* plan.h */
#define NET_RESOLV_FD 6
#define NET_PORTS_FD  7 /* and up: bound sockets of the published ports, in the order of the plan */

#define NET_FLOWS_MAX 1024
#define NET_BUCKETS   256

/* What the box sees (docs/PROTOCOL.md). */
#define NET_BOX     0xc0a87f02u /* 192.168.127.2 */
#define NET_GATEWAY 0xc0a87f01u
#define NET_HOST    0xc0a87ffeu /* .254: host.boxlite.internal */
#define NET_MASK    0xffffff00u

struct net;

enum flow_kind {
    FLOW_OUT,     /* the box has begun it */
    FLOW_IN,      /* a client of a published port */
    FLOW_NAMES,   /* to the DNS server, here */
};

struct flow {
    struct bx_relay relay; /* first: one is the other */
    struct net *net;
    struct flow *chain;
    enum flow_kind kind;
    uint8_t protocol;
    uint32_t addr;  /* that the box named; of FLOW_IN: the client */
    uint32_t dialled; /* in its place; 0: not yet */
    uint16_t port;
    char name[BX_HOST_NAME_MAX + 1]; /* by which it was allowed, then that it asked for, or "" */
    bool open;      /* Connected was said, or heard */
    bool peeking;   /* its first bytes have still to tell whom it asks for */
    int fd;         /* until it is the relay's */
    struct bx_source *source, *timer;
    struct bx_lookup *lookup;
    struct bx_buf input; /* FLOW_NAMES over TCP */
    struct listener *listener; /* FLOW_IN of datagrams: their socket */
};

struct listener {
    struct net *net;
    const struct bx_net_port *port;
    int fd; /* not owned: it outlives this process */
    struct bx_source *source;
};

struct query;

struct net {
    struct bx_loop *loop;
    struct bx_net_plan plan;
    struct bx_link guest_link, shim_link;
    struct bx_conn guest, shim;
    uint64_t epoch;
    bool hello;
    bool serves; /* it knows its rules: ports are open, the guest is greeted */
    struct bx_source *settle;
    struct bx_source *resolv; /* brings the content of resolv.conf, one message each time it changes */
    struct bx_resolver resolver;
    struct bx_relays relays;
    struct flow *flows[NET_BUCKETS];
    unsigned n_flows;
    uint32_t last_stream;
    struct listener listeners[BX_NET_PORTS_MAX];
    struct query *queries;
    unsigned n_queries;
    boxlite_NetReport report;
    int64_t refused_at; /* when the shim was last told of refusals, and how often since */
    unsigned refused_told;
};

/* net.c */
/* Runs until the guest or the shim is gone, with the descriptors above. again: it was started again, and the rules of the plan may be
 * old: nothing goes through until the shim has told those that hold. Exit status: 0, or 1 to be started again. */
int net_run(bool again);
/* Opens ports and greets the guest. */
int net_serve(struct net *n, boxlite_NetReady *ready, struct bx_err *err);
struct flow *flow_new(struct net *n, uint32_t stream, enum flow_kind kind, uint8_t protocol, uint32_t addr, uint16_t port);
struct flow *flow_find(struct net *n, uint32_t stream);
/* A number for a stream of ours. */
uint32_t net_new_stream(struct net *n);
void flow_free(struct flow *f);
/* Ends a flow from this side: Error when the box waits for Connected, else Close. Frees. */
void flow_fail(struct flow *f, enum bx_code code, int sys_errno, const char *what);
/* Says Connected, when the box waits for it, and hands the socket to the relay. May free it. */
void flow_open(struct flow *f, int fd);
/* The policy says no: counts, tells the shim, and ends it. */
void flow_refuse(struct flow *f, const char *why);
void net_refused(struct net *n, uint8_t protocol, uint32_t addr, uint16_t port, const char *name, const char *why);
void net_touch(struct net *n);

/* outward.c */
void outward_connect(struct net *n, uint32_t stream, const boxlite_Connect *msg);
/* More has come from the box on a flow that is peeking. May free it. */
void outward_peek(struct flow *f);

/* rules.c */
/* NetPolicy of the shim. Negative: its link is broken. */
int rules_change(struct net *n, const uint8_t *payload, size_t len, struct bx_err *err);

/* names.c */
void names_input(struct flow *f, const uint8_t *data, size_t len);
/* The flow goes: nobody waits for its answers. */
void names_drop(struct flow *f);
void names_done(struct net *n);

/* inward.c */
int inward_listen(struct net *n, boxlite_NetReady *ready, struct bx_err *err);
/* The box's answer to Dial. */
void inward_answered(struct flow *f);
/* A datagram of the box for a client. */
void inward_send(struct flow *f, const uint8_t *data, size_t len);
void inward_done(struct net *n);

#endif
