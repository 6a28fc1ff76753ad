/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection.h - connections of the box's programs, each a stream towards the host.
 *
 * Theory of operation
 *
 *  Outward: catch.c holds what a program wants to reach. The agent opens a stream (Connect: protocol, address, port) and
 * the host, boxlite-net, dials by its policy and answers Connected or Error. Only then does the program's connection
 * come about, so that it sees what the host saw: connected, refused, unreachable, or nothing.
 *
 *  Inward: the host opens a stream (Dial: port) and the agent connects to the program that listens in the box.
 *
 *   Connect ─▶ ASKED ─Connected─▶ WAITING ─the program's connection is there─▶ OPEN ─▶ both ends, Close
 *   (datagrams: OPEN at once, the first goes along with Connect)
 *   Dial ─────────────▶ DIALLING ─connected─────────────────────────────────────▶ OPEN
 *
 *  Lane 0 carries bytes into the box, lane 1 out of it, as with an exec (relay.h moves them). Numbers of streams that the
 * agent opens have their highest bit set and only grow, so a late frame never meets a new connection.
 */
#ifndef BX_GUEST_CONNECTION_H
#define BX_GUEST_CONNECTION_H

#include "relay/relay.h"

#define BX_CONNECTIONS_MAX    1024
#define BX_CONNECTION_BUCKETS 256
#define BX_CONNECTION_PACKET  120 /* an IPv4 and a TCP header with all their options */

enum bx_connection_state {
    BX_CONNECTION_ASKED,
    BX_CONNECTION_WAITING,
    BX_CONNECTION_DIALLING,
    BX_CONNECTION_OPEN,
};

/* Addresses and ports in network byte order, as packets have them. */
struct bx_flow {
    uint32_t src, dst;
    uint16_t src_port, dst_port;
    uint8_t protocol;
};

struct bx_connections;

struct bx_connection {
    struct bx_relay relay;      /* first: one is the other */
    struct bx_connections *all;
    struct bx_connection *chain;      /* same bucket by stream */
    struct bx_connection *flow_chain; /* same bucket by flow; outward only */
    enum bx_connection_state state;
    bool outward;
    bool answered; /* outward: Connected, or Error, has come */
    bool closed;   /* by the host, in order: it goes when the program has read everything */
    struct bx_flow flow;
    struct bx_source *timer; /* of what does not last: waiting, silence */
    uint8_t packet[BX_CONNECTION_PACKET]; /* the held one; headers of one, for datagrams */
    size_t packet_len;
    int dial_fd; /* DIALLING */
    struct bx_source *dial_source;
    bool tried_own; /* the second address was tried */
};

struct bx_connection_ops {
    /* An outward one was answered: Connected (why NULL), or not, and it is freed after the call. */
    void (*answered)(struct bx_connection *c, const boxlite_Error *why, void *ud);
};

struct bx_connections {
    struct bx_relays relays; /* first */
    const struct bx_connection_ops *ops;
    void *ud;
    struct bx_connection *streams[BX_CONNECTION_BUCKETS], *flows[BX_CONNECTION_BUCKETS];
    unsigned count;
    uint32_t last_stream;
};

void bx_connections_init(struct bx_connections *cs, struct bx_loop *loop, struct bx_link *link, const struct bx_connection_ops *ops, void *ud);
/* Ends them all (the peer is gone, or the box). Programs see a reset. */
void bx_connections_drop(struct bx_connections *cs);

/* What the host sends on streams of connections. Errors of a stream are answered here. */
void bx_connections_message(struct bx_connections *cs, uint16_t type, uint32_t stream, const uint8_t *payload, size_t len);
void bx_connections_data(struct bx_connections *cs, uint32_t stream, unsigned lane, const uint8_t *data, size_t len);
void bx_connections_eof(struct bx_connections *cs, uint32_t stream, unsigned lane);

/* Is this stream a connection's? */
bool bx_connections_have(struct bx_connections *cs, uint32_t stream);

/* --- for catch.c --- */

struct bx_connection *bx_connection_find(struct bx_connections *cs, const struct bx_flow *flow);
/* Asks the host for flow->dst. NULL when there are too many. */
struct bx_connection *bx_connection_ask(struct bx_connections *cs, const struct bx_flow *flow);
/* The program's side is there; takes fd (non-blocking). */
void bx_connection_open(struct bx_connection *c, int fd);
/* Tells the host that the program's side failed, and frees. */
void bx_connection_fail(struct bx_connection *c, int sys_errno, const char *what);

#endif
