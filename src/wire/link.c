/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.c - one end of a link (link.h tells the theory).
 *
 * Memory, per link:
 *   rx       BX_LINK_RX_SIZE, allocated at the first byte: one read takes several frames; what is left at
 *            its end is part of one frame, the only bytes that are ever moved
 *   message  a message of several frames, at most BX_MESSAGE_MAX, given back when the message is done
 *   control  at most BX_LINK_CONTROL_MAX, given back when it runs empty
 *   data     twice data_max of address space, so that the queue is moved to the front at most once per
 *            data_max bytes that went through; never holds more than data_max + BX_LINK_ORDERED_MAX
 *
 * On the wire, nothing comes between the frames of one message. In the control queue that holds because it
 * goes before the data queue; in the data queue a message of several frames is one unit that control does not
 * interrupt.
 */
#include "wire/link.h"

#include <errno.h>
#include <string.h>

#define FRAME_MAX (BX_FRAME_HEADER + BX_FRAME_PAYLOAD_MAX)
/* An allocation up to this size is kept when its queue runs empty. */
#define KEEP_MAX (64 * 1024)
/* Less room than this is told as none while the queue holds something: reading a pipe in crumbs costs more
 * than waiting. */
#define ROOM_MIN 4096

void bx_link_init(struct bx_link *l, const struct bx_link_ops *ops, void *ud, size_t data_max)
{
    bx_assert(data_max >= FRAME_MAX);
    *l = (struct bx_link){ .ops = ops, .ud = ud, .data_max = data_max };
    bx_buf_init(&l->rx, BX_LINK_RX_SIZE);
    bx_buf_init(&l->message, BX_MESSAGE_MAX);
    bx_buf_init(&l->control, BX_LINK_CONTROL_MAX);
    bx_buf_init(&l->data, 2 * data_max + BX_LINK_ORDERED_MAX);
}

void bx_link_set_data_max(struct bx_link *l, size_t data_max)
{
    bx_assert(data_max >= FRAME_MAX && l->reserved == 0);
    l->data_max_next = 0;
    if (data_max < l->data_max && bx_buf_len(&l->data) > 0) {
        l->data_max_next = data_max;
        return;
    }
    if (data_max < l->data_max)
        bx_buf_done(&l->data); /* as large as the larger bound wanted it */
    l->data_max = data_max;
    l->data.max = 2 * data_max + BX_LINK_ORDERED_MAX;
}

void bx_link_done(struct bx_link *l)
{
    bx_buf_done(&l->rx);
    bx_buf_done(&l->message);
    bx_buf_done(&l->control);
    bx_buf_done(&l->data);
}

void bx_link_reset(struct bx_link *l)
{
    bx_buf_clear(&l->rx);
    bx_buf_clear(&l->message);
    bx_buf_clear(&l->control);
    bx_buf_clear(&l->data);
    l->message_type = 0;
    l->message_stream = 0;
    l->sending_data = 0;
    l->reserved = 0;
    l->resets++;
    l->dead = false;
}

/* --- receiving --- */

/* Empties a queue and gives back a large allocation. */
static void queue_drained(struct bx_buf *b)
{
    if (b->cap > KEEP_MAX)
        bx_buf_done(b);
    bx_buf_clear(b);
}

/* A frame of a message that came, or comes, in several. */
static int handle_part(struct bx_link *l, const struct bx_frame *f, struct bx_err *err)
{
    int r;

    l->message_type = f->type;
    l->message_stream = f->stream;
    r = bx_buf_add(&l->message, f->payload, f->length);
    if (r == -ENOBUFS)
        return bx_fail(err, BX_ERPC, 0, "message %s: more than %d bytes", bx_msg_type_name(f->type),
                       BX_MESSAGE_MAX);
    if (r < 0)
        return bx_fail(err, BX_ERESOURCE, -r, "message %s", bx_msg_type_name(f->type));
    if (f->flags & BX_FRAME_MORE)
        return 0;
    l->message_type = 0;
    r = l->ops->message(l, f->type, f->stream, bx_buf_data(&l->message), bx_buf_len(&l->message), err);
    queue_drained(&l->message);
    return r;
}

static int handle_frame(struct bx_link *l, const struct bx_frame *f, struct bx_err *err)
{
    if (l->message_type != 0) {
        if (f->type != l->message_type || f->stream != l->message_stream)
            return bx_fail(err, BX_ERPC, 0, "frame %s of stream %u inside a message of stream %u",
                           bx_msg_type_name(f->type), f->stream, l->message_stream);
        return handle_part(l, f, err);
    }
    switch (f->type) {
    case BX_MSG_DATA:
        return l->ops->data(l, f->stream, bx_frame_lane(f), f->payload, f->length, err);
    case BX_MSG_EOF:
        return l->ops->eof(l, f->stream, bx_frame_lane(f), err);
    default:
        if (f->flags & BX_FRAME_MORE)
            return handle_part(l, f, err);
        return l->ops->message(l, f->type, f->stream, f->payload, f->length, err);
    }
}

/* Handles the whole frames at the front of data. *ret_used: their bytes, or all of them when a handler
 * reset the link. */
static int handle_frames(struct bx_link *l, const uint8_t *data, size_t len, size_t *ret_used,
                         struct bx_err *err)
{
    uint32_t resets = l->resets;
    size_t used = 0;

    for (;;) {
        struct bx_frame f;
        int n = bx_frame_parse(data + used, len - used, &f, err);
        int r = n > 0 ? handle_frame(l, &f, err) : n;

        if (r < 0) {
            l->dead = true;
            return r;
        }
        if (l->resets != resets)
            used = len;
        else
            used += (size_t)n;
        if (n == 0 || used == len)
            break;
    }
    *ret_used = used;
    return 0;
}

static int dead_link(struct bx_err *err)
{
    return bx_fail(err, BX_ERPC, 0, "bytes for a link that broke the protocol before");
}

uint8_t *bx_link_rx_reserve(struct bx_link *l, size_t *ret_room)
{
    size_t room = l->rx.cap - l->rx.end;
    uint8_t *p;

    /* Near the end of the allocation (or without one): all that the maximum allows, which moves the partial
     * frame to the front. It is shorter than a frame, so at least three frames' room is gained. */
    if (room < FRAME_MAX)
        room = BX_LINK_RX_SIZE - bx_buf_len(&l->rx);
    p = bx_buf_reserve(&l->rx, room);
    *ret_room = p ? room : 0;
    return p;
}

int bx_link_rx_commit(struct bx_link *l, size_t len, struct bx_err *err)
{
    size_t used = 0;
    int r;

    if (l->dead)
        return dead_link(err);
    bx_buf_commit(&l->rx, len);
    r = handle_frames(l, bx_buf_data(&l->rx), bx_buf_len(&l->rx), &used, err);
    if (r < 0)
        return r;
    /* Emptied by a reset in a handler, or here. */
    if (used >= bx_buf_len(&l->rx))
        bx_buf_clear(&l->rx);
    else
        bx_buf_consume(&l->rx, used);
    return 0;
}

int bx_link_input(struct bx_link *l, const void *data, size_t len, struct bx_err *err)
{
    const uint8_t *p = data;

    if (l->dead)
        return dead_link(err);
    if (bx_buf_len(&l->rx) == 0) {
        uint32_t resets = l->resets;
        size_t used = 0;
        int r = handle_frames(l, p, len, &used, err);

        if (r < 0 || l->resets != resets)
            return r;
        p += used;
        len -= used;
    }
    while (len > 0) {
        uint32_t resets = l->resets;
        size_t room;
        uint8_t *dst = bx_link_rx_reserve(l, &room);
        int r;

        if (!dst)
            return bx_fail(err, BX_ERESOURCE, ENOMEM, "receive buffer");
        room = BX_MIN(room, len);
        memcpy(dst, p, room);
        r = bx_link_rx_commit(l, room, err);
        if (r < 0 || l->resets != resets)
            return r;
        p += room;
        len -= room;
    }
    return 0;
}

/* --- queues --- */

static size_t framed_size(size_t len)
{
    size_t frames = len == 0 ? 1 : (len + BX_FRAME_PAYLOAD_MAX - 1) / BX_FRAME_PAYLOAD_MAX;

    return len + frames * BX_FRAME_HEADER;
}

/* Appends a payload cut into frames; `more` marks those that are not the last. The caller has checked the
 * size. */
static int queue_frames(struct bx_buf *q, uint16_t type, uint16_t flags, uint32_t stream, const uint8_t *p,
                        size_t len, bool more)
{
    size_t total = framed_size(len);
    uint8_t *dst = bx_buf_reserve(q, total);

    if (!dst)
        return -BX_ERESOURCE;
    do {
        size_t n = BX_MIN(len, (size_t)BX_FRAME_PAYLOAD_MAX);
        bool last = n == len;

        bx_frame_put_header(dst, type, (uint16_t)(flags | (more && !last ? BX_FRAME_MORE : 0)), stream,
                            (uint32_t)n);
        if (n > 0) {
            memcpy(dst + BX_FRAME_HEADER, p, n);
            p += n;
        }
        dst += BX_FRAME_HEADER + n;
        len -= n;
    } while (len > 0);
    bx_buf_commit(q, total);
    return 0;
}

static bool message_ok(uint16_t type, size_t len)
{
    return type != 0 && type != BX_MSG_DATA && type != BX_MSG_EOF && len <= BX_MESSAGE_MAX;
}

int bx_link_send(struct bx_link *l, uint16_t type, uint32_t stream, const void *payload, size_t len)
{
    if (!message_ok(type, len))
        return -BX_EINVALID;
    if (framed_size(len) > BX_LINK_CONTROL_MAX - bx_buf_len(&l->control))
        return -BX_ERESOURCE;
    return queue_frames(&l->control, type, 0, stream, payload, len, true);
}

int bx_link_send_first(struct bx_link *l, uint16_t type, uint32_t stream, const void *payload, size_t len)
{
    struct bx_buf rest = l->control;
    int r;

    bx_assert(l->sending_data == 0);
    bx_buf_init(&l->control, BX_LINK_CONTROL_MAX);
    r = bx_link_send(l, type, stream, payload, len);
    if (r == 0 && bx_buf_add(&l->control, bx_buf_data(&rest), bx_buf_len(&rest)) < 0)
        r = -BX_ERESOURCE;
    if (r < 0)
        goto failed;
    bx_buf_done(&rest);
    return 0;
failed:
    bx_buf_done(&l->control);
    l->control = rest;
    return r;
}

/* The data queue's allocation is made whole at first use, so that it is moved seldom (see the top of the
 * file). */
static bool data_queue_ready(struct bx_link *l)
{
    bx_assert(l->reserved == 0);
    return l->data.cap >= 2 * l->data_max ||
           bx_buf_reserve(&l->data, 2 * l->data_max - bx_buf_len(&l->data)) != NULL;
}

static size_t data_space(const struct bx_link *l)
{
    size_t used = bx_buf_len(&l->data);

    return used < l->data_max ? l->data_max - used : 0;
}

size_t bx_link_data_room(const struct bx_link *l)
{
    size_t space = data_space(l);
    size_t rest = space % FRAME_MAX;
    size_t room =
        space / FRAME_MAX * BX_FRAME_PAYLOAD_MAX + (rest > BX_FRAME_HEADER ? rest - BX_FRAME_HEADER : 0);

    return room < ROOM_MIN ? 0 : room;
}

unsigned bx_link_data_reserve(struct bx_link *l, size_t want, struct iovec *places, unsigned max)
{
    unsigned n = 0;
    uint8_t *p;

    want = BX_MIN(want, (size_t)max * BX_FRAME_PAYLOAD_MAX);
    if (want == 0 || framed_size(want) > data_space(l) || !data_queue_ready(l))
        return 0;
    p = bx_buf_reserve(&l->data, framed_size(want));
    if (!p)
        return 0;
    l->reserved = want;
    for (size_t left = want; left > 0; left -= places[n++].iov_len) {
        places[n] = (struct iovec){ p + BX_FRAME_HEADER, BX_MIN(left, (size_t)BX_FRAME_PAYLOAD_MAX) };
        p += FRAME_MAX;
    }
    return n;
}

void bx_link_data_commit(struct bx_link *l, uint32_t stream, unsigned lane, size_t len)
{
    bx_assert(len <= l->reserved && lane < BX_LANES && stream != 0);
    l->reserved = 0;
    while (len > 0) {
        size_t n = BX_MIN(len, (size_t)BX_FRAME_PAYLOAD_MAX);

        bx_frame_put_header(l->data.data + l->data.end, BX_MSG_DATA,
                            (uint16_t)(lane << BX_FRAME_LANE_SHIFT), stream, (uint32_t)n);
        bx_buf_commit(&l->data, BX_FRAME_HEADER + n);
        len -= n;
    }
}

int bx_link_send_data(struct bx_link *l, uint32_t stream, unsigned lane, const void *data, size_t len)
{
    bx_assert(lane < BX_LANES && stream != 0);
    if (len == 0)
        return 0;
    if (len > l->data_max || framed_size(len) > data_space(l) || !data_queue_ready(l))
        return -ENOBUFS;
    if (queue_frames(&l->data, BX_MSG_DATA, (uint16_t)(lane << BX_FRAME_LANE_SHIFT), stream, data, len,
                     false) < 0)
        return -ENOBUFS;
    return 0;
}

/* EOF and ordered messages: behind the data, in space of their own. */
static int queue_ordered(struct bx_link *l, uint16_t type, uint16_t flags, uint32_t stream,
                         const void *payload, size_t len)
{
    if (framed_size(len) > l->data_max + BX_LINK_ORDERED_MAX - bx_buf_len(&l->data) || !data_queue_ready(l))
        return -BX_ERESOURCE;
    return queue_frames(&l->data, type, flags, stream, payload, len, true);
}

int bx_link_send_eof(struct bx_link *l, uint32_t stream, unsigned lane)
{
    bx_assert(lane < BX_LANES && stream != 0);
    return queue_ordered(l, BX_MSG_EOF, (uint16_t)(lane << BX_FRAME_LANE_SHIFT), stream, NULL, 0);
}

int bx_link_send_ordered(struct bx_link *l, uint16_t type, uint32_t stream, const void *payload, size_t len)
{
    if (!message_ok(type, len))
        return -BX_EINVALID;
    return queue_ordered(l, type, 0, stream, payload, len);
}

/* --- sending --- */

bool bx_link_wants_write(const struct bx_link *l)
{
    return bx_buf_len(&l->control) > 0 || bx_buf_len(&l->data) > 0;
}

bool bx_link_output(struct bx_link *l, const uint8_t **ret_data, size_t *ret_len)
{
    size_t control = bx_buf_len(&l->control);
    const struct bx_buf *q;

    bx_assert(l->reserved == 0);
    l->output_is_data = l->sending_data > 0 || control == 0;
    q = l->output_is_data ? &l->data : &l->control;
    if (bx_buf_len(q) == 0)
        return false;
    *ret_data = bx_buf_data(q);
    /* With control waiting, only the rest of the frame that is under way. */
    *ret_len = control > 0 && l->output_is_data ? l->sending_data : bx_buf_len(q);
    return true;
}

/* Bytes of the unit at p: a frame, or all frames of a message. They were put there by this file. */
static size_t unit_size(const uint8_t *p)
{
    size_t n = 0;
    bool more;

    do {
        more = bx_get_le16(p + n + 6) & BX_FRAME_MORE;
        n += BX_FRAME_HEADER + bx_get_le32(p + n);
    } while (more);
    return n;
}

/* Where in a unit the data queue stands after len bytes more. */
static void data_sent(struct bx_link *l, size_t len)
{
    const uint8_t *p = bx_buf_data(&l->data);
    size_t at = l->sending_data; /* the next unit's offset */

    while (at < len)
        at += unit_size(p + at);
    l->sending_data = at - len;
    bx_buf_consume(&l->data, len);
}

void bx_link_sent(struct bx_link *l, size_t len)
{
    struct bx_buf *q = l->output_is_data ? &l->data : &l->control;

    bx_assert(len <= bx_buf_len(q) && l->reserved == 0);
    if (l->output_is_data)
        data_sent(l, len);
    else
        bx_buf_consume(q, len);
    if (bx_buf_len(q) > 0)
        return;
    if (l->output_is_data && l->data_max_next)
        bx_link_set_data_max(l, l->data_max_next);
    else if (l->output_is_data)
        bx_buf_clear(q);
    else
        queue_drained(q);
}

/* --- credit --- */

void bx_lane_init(struct bx_lane *lane, uint32_t window)
{
    *lane = (struct bx_lane){ .credit = window, .window = window };
}

int bx_lane_grant(struct bx_lane *lane, uint32_t bytes)
{
    if (bytes > BX_LANE_CREDIT_MAX || lane->credit > BX_LANE_CREDIT_MAX - bytes)
        return -BX_ERPC;
    lane->credit += bytes;
    return 0;
}

void bx_lane_spend(struct bx_lane *lane, size_t bytes)
{
    bx_assert(bytes <= lane->credit);
    lane->credit -= (uint32_t)bytes;
}

int bx_lane_receive(struct bx_lane *lane, size_t bytes)
{
    if (lane->eof || bytes > lane->credit)
        return -BX_ERPC;
    lane->credit -= (uint32_t)bytes;
    return 0;
}

uint32_t bx_lane_consume(struct bx_lane *lane, size_t bytes)
{
    uint32_t grant;

    /* What is used was received: allowed, in use and used add up to the window. */
    bx_assert(bytes <= lane->window - lane->credit - lane->consumed);
    lane->consumed += (uint32_t)bytes;
    if (lane->eof || lane->consumed < lane->window / 4)
        return 0;
    grant = lane->consumed;
    lane->consumed = 0;
    lane->credit += grant;
    return grant;
}
