/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay.h - one socket and one stream of a link, bytes both ways. The agent has one at each connection's end in the box,
 * boxlite-net one at the end on the host.
 *
 * Theory of operation
 *
 *  A relay reads its socket straight into the link's queue, as far as its peer's credit and the queue's room go, and
 * writes to the socket what came on the stream; what the socket does not take waits, at most the window that the peer was
 * given, and credit goes back as it drains. Each direction ends by itself (half-close). Relays that wait for room on the
 * link stand in a line and go on in turn (bx_relays_resume).
 *
 *  Datagrams: one is one Data frame. There is no waiting: without credit or room it is lost. No direction ends.
 *
 *  A relay may be told to hold what came for its socket (hold): the owner looks at it first.
 */
#ifndef BX_RELAY_RELAY_H
#define BX_RELAY_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "loop/loop.h"
#include "wire/messages.h"

struct bx_relay;

struct bx_relay_ops {
    /* The socket has failed, or the peer broke the rules (code BX_ERPC): the owner ends the stream and the relay. */
    void (*failed)(struct bx_relay *r, const struct bx_err *why);
    /* Something is read from the socket or came for it: for a timer of silence, and to write what is queued. May be NULL. */
    void (*moved)(struct bx_relay *r);
    /* Both directions have ended; may free it. May be NULL. */
    void (*over)(struct bx_relay *r);
};

/* What the relays of one link have in common. */
struct bx_relays {
    struct bx_loop *loop;
    struct bx_link *link;
    const struct bx_relay_ops *ops;
    unsigned in_lane, out_lane; /* whose data goes to the socket; whose data the socket gives */
    struct bx_relay *first_starved, *last_starved;
    unsigned starved;
    bool link_failed; /* the peer reads too little: the owner drops the link */
};

struct bx_relay {
    struct bx_relays *all;
    uint32_t stream;
    bool datagrams;
    int fd;                   /* -1: not yet */
    struct bx_source *source; /* only while something is to be read or written */
    struct bx_lane in, out;
    struct bx_buf pending; /* for the socket */
    bool hold;
    bool in_eof, in_shut, out_eof;
    bool waiting; /* in the line for room */
    struct bx_relay *next_starved;
    uint64_t bytes_in, bytes_out; /* into and out of the socket */
};

/* in_lane is received, out_lane sent; both begin with BX_CONN_WINDOW of credit. */
void bx_relays_init(struct bx_relays *all, struct bx_loop *loop, struct bx_link *link, const struct bx_relay_ops *ops,
                    unsigned in_lane, unsigned out_lane);
/* The link has room again. */
void bx_relays_resume(struct bx_relays *all);
/* Takes the result of a send. */
void bx_relays_told(struct bx_relays *all, int r);

void bx_relay_init(struct bx_relay *r, struct bx_relays *all, uint32_t stream, bool datagrams);
/* Closes the socket; in the middle of a connection with a reset. */
void bx_relay_done(struct bx_relay *r);
/* Takes fd (non-blocking) and begins. May call failed. */
void bx_relay_attach(struct bx_relay *r, int fd);
/* Goes on, after hold was lifted. May call failed. */
void bx_relay_pump(struct bx_relay *r);

/* What came on the stream. May call failed. */
void bx_relay_data(struct bx_relay *r, unsigned lane, const uint8_t *data, size_t len);
void bx_relay_eof(struct bx_relay *r, unsigned lane);
void bx_relay_credit(struct bx_relay *r, const uint8_t *payload, size_t len);
/* One datagram that was read elsewhere. */
void bx_relay_datagram(struct bx_relay *r, const void *data, size_t len);

/* Has each direction come to its end? */
static inline bool bx_relay_over(const struct bx_relay *r)
{
    return r->in_shut && r->out_eof;
}

#endif
