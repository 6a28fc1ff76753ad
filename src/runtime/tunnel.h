/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel.h - connections from this program to ports of a box (private).
 *
 * Theory of operation
 *
 *  A tunnel is a name: a box and a port. Each connection through it is a stream of the box's link, opened by Dial, and a
 * socket here: one end of a pair, whose other end the caller has, or what a forwarder accepted. relay/relay.h moves the
 * bytes, inside drain. It needs no network of the box: the guest only answers.
 *
 *  A connection waits when the box is not up yet (its start is asked for), as a command does. Who has the other end learns
 * of a failure as of any connection that could not be made: it is closed.
 */
#ifndef BX_RUNTIME_TUNNEL_H
#define BX_RUNTIME_TUNNEL_H

#include "relay/relay.h"
#include "runtime/box.h"

#define BX_TUNNEL_MAX 256 /* connections of one box in this program */

struct bx_tunneled {
    struct bx_relay relay; /* first: one is the other */
    struct bx_tunneled *next; /* in the box's list */
    struct bx_box *box;       /* holds a reference */
    uint16_t port;
    int fd;    /* until it is the relay's */
    bool open; /* Connected has come */
};

/* The connections of one box. */
struct bx_tunnels {
    struct bx_relays relays; /* of the present link */
    struct bx_source *settle; /* deferred: writes what was queued */
    struct bx_tunneled *first;
    unsigned count;
};

/* A connection to port; takes fd, also on failure. */
int bx_tunnel_dial(struct bx_box *b, uint16_t port, int fd, struct bx_err *err);

/* From life.c and conn.c, as for work on files (files.h). */
void bx_tunnels_send_waiting(struct bx_box *b);
void bx_tunnels_fail(struct bx_box *b, bool waiting_too);
bool bx_tunnels_wait(const struct bx_box *b);
struct bx_tunneled *bx_tunneled_of(struct bx_box *b, uint32_t stream);
void bx_tunneled_message(struct bx_tunneled *t, uint16_t type, const uint8_t *payload, size_t len);
void bx_tunneled_data(struct bx_tunneled *t, unsigned lane, const uint8_t *data, size_t len);
void bx_tunneled_eof(struct bx_tunneled *t, unsigned lane);
void bx_tunnels_pump(struct bx_box *b);

/* network_api.c: a runtime ends, its forwarders with it. */
void bx_forwarders_end(struct CBoxliteRuntime *rt);

#endif
