/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.h - one end of a link: frames, whole messages, and what waits to be sent.
 *
 * Theory of operation
 *
 *  A link does no I/O. What arrived is given to bx_link_input, which calls the handlers with whole messages
 *  and pieces of data; what is to be sent is taken with bx_link_output / bx_link_sent. Two queues leave it:
 *  control messages go first, data after them; they change places only between frames.
 *
 *  Both queues are bounded. Data: a sender asks bx_link_data_room before it reads from its pipe, reserves
 *  space in the queue itself (no copy between a pipe and the queue) and commits what it got. Control:
 *  BX_LINK_CONTROL_MAX; when a peer makes us answer more than it reads, the send fails with -BX_ERESOURCE and
 *  the owner drops the link.
 *
 *  Credit is the business of the two ends of a stream (struct bx_lane), not of the link: the shim forwards
 *  it.
 */
#ifndef BX_WIRE_LINK_H
#define BX_WIRE_LINK_H

#include <stdbool.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "wire/frame.h"

#define BX_LINK_CONTROL_MAX (8 * 1024 * 1024)
/* What EOF and ordered messages may take in the data queue beyond data_max. */
#define BX_LINK_ORDERED_MAX (1024 * 1024)
#define BX_LINK_RX_SIZE (4 * BX_FRAME_PAYLOAD_MAX)

struct bx_link;

struct bx_link_ops {
    /* A whole control message; payload valid during the call. A negative return (-BX_E*, err set) kills
     * the link. */
    int (*message)(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *payload, size_t len,
                   struct bx_err *err);
    /* Bytes of a lane (len > 0), at most one frame's worth. */
    int (*data)(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *data, size_t len,
                struct bx_err *err);
    int (*eof)(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err);
};

struct bx_link {
    const struct bx_link_ops *ops;
    void *ud;              /* the owner's */
    struct bx_buf rx;      /* bytes not yet parsed: less than one frame between calls */
    struct bx_buf message; /* a message of several frames, growing */
    uint16_t message_type;
    uint32_t message_stream;
    struct bx_buf control; /* whole frames to send first */
    struct bx_buf data;    /* whole frames to send after */
    size_t data_max;
    size_t data_max_next; /* a smaller one, that waits for an empty queue; 0: none */
    size_t sending_data; /* bytes left of the data frame that is partly sent: it ends before control goes */
    size_t reserved;     /* payload bytes handed out, between reserve and commit */
    uint32_t resets;     /* counts bx_link_reset, so that a handler may call it */
    bool output_is_data; /* which queue bx_link_output showed last */
    bool dead;           /* nothing more is received */
};

/* data_max bounds the data queue (>= one frame). */
void bx_link_init(struct bx_link *l, const struct bx_link_ops *ops, void *ud, size_t data_max);
/* Another bound of the data queue: a larger one from now on, a smaller one from when the queue is empty, or would be. */
void bx_link_set_data_max(struct bx_link *l, size_t data_max);
void bx_link_done(struct bx_link *l);
/* Forgets what was received and what waits to be sent: a new peer starts from HELLO. A handler may call it:
 * what arrived behind the message being handled is dropped too. */
void bx_link_reset(struct bx_link *l);

/* Feeds received bytes. 0, or negative with err set: protocol error or a handler's refusal; the link is
 * dead then. */
int bx_link_input(struct bx_link *l, const void *data, size_t len, struct bx_err *err);

/* Same without a copy: room for a read() straight into the receive buffer, then how many bytes came. The room
 * is at least one frame. */
uint8_t *bx_link_rx_reserve(struct bx_link *l, size_t *ret_room);
int bx_link_rx_commit(struct bx_link *l, size_t len, struct bx_err *err);

/* Queues one message (payload already encoded, cut into frames here). 0 or -BX_ERESOURCE/-BX_EINVALID. */
int bx_link_send(struct bx_link *l, uint16_t type, uint32_t stream, const void *payload, size_t len);

/* As bx_link_send, ahead of all that waits: only while no byte of that has been taken out. */
int bx_link_send_first(struct bx_link *l, uint16_t type, uint32_t stream, const void *payload, size_t len);

/* How many data bytes (payload) may be queued now; 0 = wait until the queue drains. */
size_t bx_link_data_room(const struct bx_link *l);
/* Room for `want` bytes of payload of DATA frames, at most `max` frames: where the payload of each goes, in the order in
 * which they are to be filled, all but the last BX_FRAME_PAYLOAD_MAX long. Number of places; 0 when there is no room for
 * all of them. Then commit how much was filled in all (0 = give back). Nothing else may be queued between. */
unsigned bx_link_data_reserve(struct bx_link *l, size_t want, struct iovec *places, unsigned max);
void bx_link_data_commit(struct bx_link *l, uint32_t stream, unsigned lane, size_t len);
/* Copying form. All or nothing: 0 or -ENOBUFS. */
int bx_link_send_data(struct bx_link *l, uint32_t stream, unsigned lane, const void *data, size_t len);
/* EOF goes through the data queue, behind the lane's bytes. It needs no room; -BX_ERESOURCE as for
 * bx_link_send. */
int bx_link_send_eof(struct bx_link *l, uint32_t stream, unsigned lane);
/* A control message that must not overtake data queued before it (Exit): goes through the data queue. */
int bx_link_send_ordered(struct bx_link *l, uint16_t type, uint32_t stream, const void *payload, size_t len);

/* The next contiguous bytes to write; false when there is nothing. Then say how many were written. */
bool bx_link_output(struct bx_link *l, const uint8_t **ret_data, size_t *ret_len);
void bx_link_sent(struct bx_link *l, size_t len);
bool bx_link_wants_write(const struct bx_link *l);

/*
 * Credit of one lane at one end.
 *
 *  Sender: may send `credit` more bytes; bx_lane_spend after sending; bx_lane_grant when Credit arrives
 *  (refuses, with -BX_ERPC, more than BX_LANE_CREDIT_MAX outstanding).
 *  Receiver: counts what it allowed; bx_lane_receive when data arrives (-BX_ERPC when the peer sent more than
 *  allowed); bx_lane_consume when the owner has used bytes: gives the amount of Credit to send now, 0 while it
 *  is less than a quarter of the window (so that credits stay few).
 */
#define BX_LANE_CREDIT_MAX (16u * 1024 * 1024)

struct bx_lane {
    uint32_t credit;   /* sender: may send; receiver: the peer may send */
    uint32_t consumed; /* receiver: used and not yet granted again */
    uint32_t window;   /* receiver: its size */
    bool eof;          /* seen or sent */
};

void bx_lane_init(struct bx_lane *lane, uint32_t window);
int bx_lane_grant(struct bx_lane *lane, uint32_t bytes);
void bx_lane_spend(struct bx_lane *lane, size_t bytes);
int bx_lane_receive(struct bx_lane *lane, size_t bytes);
uint32_t bx_lane_consume(struct bx_lane *lane, size_t bytes);

#endif
