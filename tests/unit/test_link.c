/* SPDX-License-Identifier: Apache-2.0 */
/* One end of a link and two ends together: order, bounds, messages in parts, hostile bytes, credit. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "wire/link.h"
#include "../lib/one_frame.h"

#define FRAME_MAX (BX_FRAME_HEADER + BX_FRAME_PAYLOAD_MAX)
#define DATA_MAX (4 * FRAME_MAX)

/* Writes down what the handlers were given: "EXEC 1 5|DATA 1.1 3|EOF 1.1|", lengths only; contents are
 * hashed. */
struct record {
    char events[4096];
    size_t used;
    uint64_t hash;
    size_t data_bytes;
    int refuse_type; /* message: answer with an error */
    int reset_type;  /* message: reset the link */
};

static void note(struct record *r, const char *text)
{
    int n = snprintf(r->events + r->used, sizeof(r->events) - r->used, "%s|", text);

    if (n > 0 && (size_t)n < sizeof(r->events) - r->used)
        r->used += (size_t)n;
}

static void hash(struct record *r, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        r->hash = (r->hash ^ p[i]) * 0x100000001b3ULL;
}

static int on_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *p, size_t n,
                      struct bx_err *err)
{
    struct record *r = l->ud;
    char text[64];

    snprintf(text, sizeof(text), "%s %u %zu", bx_msg_type_name(type), stream, n);
    note(r, text);
    hash(r, p, n);
    if (r->reset_type == type)
        bx_link_reset(l);
    if (r->refuse_type == type)
        return bx_fail(err, BX_ESTATE, 0, "refused");
    return 0;
}

static int on_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *p, size_t n,
                   struct bx_err *err)
{
    struct record *r = l->ud;
    char text[64];

    (void)err;
    snprintf(text, sizeof(text), "DATA %u.%u %zu", stream, lane, n);
    note(r, text);
    hash(r, p, n);
    r->data_bytes += n;
    return 0;
}

static int on_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    char text[64];

    (void)err;
    snprintf(text, sizeof(text), "EOF %u.%u", stream, lane);
    note(l->ud, text);
    return 0;
}

static const struct bx_link_ops ops = { on_message, on_data, on_eof };

struct ends {
    struct bx_link a, b;
    struct record at_a, at_b;
};

static int setup(void **state)
{
    struct ends *e = calloc(1, sizeof(*e));

    bx_link_init(&e->a, &ops, &e->at_a, DATA_MAX);
    bx_link_init(&e->b, &ops, &e->at_b, DATA_MAX);
    *state = e;
    return 0;
}

static int teardown(void **state)
{
    struct ends *e = *state;

    bx_link_done(&e->a);
    bx_link_done(&e->b);
    free(e);
    return 0;
}

/* Carries at most `most` bytes from one end to the other, in one piece. Bytes carried. */
static size_t carry_some(struct bx_link *from, struct bx_link *to, size_t most)
{
    const uint8_t *p;
    size_t n, room;
    uint8_t *dst;

    if (!bx_link_output(from, &p, &n))
        return 0;
    dst = bx_link_rx_reserve(to, &room);
    assert_non_null(dst);
    assert_true(room >= FRAME_MAX);
    n = BX_MIN(BX_MIN(n, most), room);
    memcpy(dst, p, n);
    bx_link_sent(from, n);
    assert_int_equal(bx_link_rx_commit(to, n, NULL), 0);
    return n;
}

static void carry(struct bx_link *from, struct bx_link *to)
{
    while (carry_some(from, to, SIZE_MAX) > 0)
        ;
    assert_false(bx_link_wants_write(from));
}

static void control_goes_before_data(void **state)
{
    struct ends *e = *state;

    assert_false(bx_link_wants_write(&e->a));
    assert_int_equal(bx_link_send_data(&e->a, 1, 1, "abc", 3), 0);
    assert_int_equal(bx_link_send_eof(&e->a, 1, 1), 0);
    assert_int_equal(bx_link_send(&e->a, BX_MSG_SIGNAL, 1, "xy", 2), 0);
    assert_int_equal(bx_link_send(&e->a, BX_MSG_PING, 0, NULL, 0), 0);
    carry(&e->a, &e->b);
    assert_string_equal(e->at_b.events, "SIGNAL 1 2|PING 0 0|DATA 1.1 3|EOF 1.1|");
}

static void what_is_sent_first_goes_before_control_that_waits(void **state)
{
    struct ends *e = *state;

    assert_int_equal(bx_link_send_data(&e->a, 1, 1, "abc", 3), 0);
    assert_int_equal(bx_link_send(&e->a, BX_MSG_SIGNAL, 1, "xy", 2), 0);
    assert_int_equal(bx_link_send(&e->a, BX_MSG_PING, 0, NULL, 0), 0);
    assert_int_equal(bx_link_send_first(&e->a, BX_MSG_CLOCK, 0, "z", 1), 0);
    assert_int_equal(bx_link_send_first(&e->a, BX_MSG_DATA, 1, "z", 1), -BX_EINVALID); /* and changes nothing */
    carry(&e->a, &e->b);
    assert_string_equal(e->at_b.events, "CLOCK 0 1|SIGNAL 1 2|PING 0 0|DATA 1.1 3|");
}

/* A smaller bound waits until what is queued has gone, and gives its memory back. */
static void the_bound_of_the_data_queue_can_be_changed(void **state)
{
    struct ends *e = *state;
    static uint8_t data[BX_FRAME_PAYLOAD_MAX];

    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(bx_link_send_data(&e->a, 1, 1, data, sizeof(data)), 0);
    assert_int_equal(bx_link_send_data(&e->a, 1, 1, data, sizeof(data)), -ENOBUFS);
    bx_link_set_data_max(&e->a, 16 * FRAME_MAX);
    for (unsigned i = 0; i < 12; i++)
        assert_int_equal(bx_link_send_data(&e->a, 1, 1, data, sizeof(data)), 0);
    bx_link_set_data_max(&e->a, DATA_MAX);
    assert_int_equal(e->a.data_max, 16 * FRAME_MAX);
    assert_int_equal(bx_link_send_eof(&e->a, 1, 1), 0);
    carry(&e->a, &e->b);
    assert_int_equal(e->at_b.data_bytes, 16 * sizeof(data));
    assert_int_equal(e->a.data_max, DATA_MAX);
    assert_int_equal(e->a.data.cap, 0);
    assert_int_equal(bx_link_send_data(&e->a, 1, 1, data, sizeof(data)), 0);
}

static void control_waits_for_the_frame_that_is_under_way(void **state)
{
    struct ends *e = *state;

    assert_int_equal(bx_link_send_data(&e->a, 1, 1, "abc", 3), 0);
    assert_int_equal(bx_link_send_data(&e->a, 1, 2, "defg", 4), 0);
    assert_int_equal(carry_some(&e->a, &e->b, 1), 1);
    assert_int_equal(bx_link_send(&e->a, BX_MSG_SIGNAL, 1, "xy", 2), 0);
    carry(&e->a, &e->b);
    assert_string_equal(e->at_b.events, "DATA 1.1 3|SIGNAL 1 2|DATA 1.2 4|");
}

static void control_queued_between_output_and_sent_changes_nothing(void **state)
{
    struct ends *e = *state;
    const uint8_t *p;
    size_t n;

    assert_int_equal(bx_link_send_data(&e->a, 1, 1, "abc", 3), 0);
    assert_true(bx_link_output(&e->a, &p, &n));
    assert_int_equal(n, BX_FRAME_HEADER + 3);
    assert_int_equal(bx_link_input(&e->b, p, 5, NULL), 0);
    assert_int_equal(bx_link_send(&e->a, BX_MSG_SIGNAL, 1, "xy", 2), 0);
    bx_link_sent(&e->a, 5);
    carry(&e->a, &e->b);
    assert_string_equal(e->at_b.events, "DATA 1.1 3|SIGNAL 1 2|");
}

static void ordered_message_stays_behind_data(void **state)
{
    struct ends *e = *state;

    assert_int_equal(bx_link_send_data(&e->a, 1, 1, "abc", 3), 0);
    assert_int_equal(bx_link_send_ordered(&e->a, BX_MSG_EXIT, 1, "x", 1), 0);
    assert_int_equal(bx_link_send(&e->a, BX_MSG_PONG, 0, NULL, 0), 0);
    carry(&e->a, &e->b);
    assert_string_equal(e->at_b.events, "PONG 0 0|DATA 1.1 3|EXIT 1 1|");
}

static void ordered_message_in_parts_is_not_interrupted(void **state)
{
    struct ends *e = *state;
    uint8_t *big = calloc(1, 200000);

    assert_int_equal(bx_link_send_ordered(&e->a, BX_MSG_EXIT, 1, big, 200000), 0);
    assert_int_equal(carry_some(&e->a, &e->b, FRAME_MAX + 10), FRAME_MAX + 10);
    assert_int_equal(bx_link_send(&e->a, BX_MSG_PONG, 0, NULL, 0), 0);
    carry(&e->a, &e->b);
    assert_string_equal(e->at_b.events, "EXIT 1 200000|PONG 0 0|");
    free(big);
}

static void message_of_the_largest_size_arrives_whole(void **state)
{
    struct ends *e = *state;
    uint8_t *big = malloc(BX_MESSAGE_MAX + 1);
    struct record want = { 0 };
    char text[64];

    for (size_t i = 0; i < BX_MESSAGE_MAX; i++)
        big[i] = (uint8_t)(i * 31 + i / 251);
    hash(&want, big, BX_MESSAGE_MAX);
    assert_int_equal(bx_link_send(&e->a, BX_MSG_EXEC, 9, big, BX_MESSAGE_MAX + 1), -BX_EINVALID);
    assert_int_equal(bx_link_send(&e->a, BX_MSG_EXEC, 9, big, BX_MESSAGE_MAX), 0);
    carry(&e->a, &e->b);
    snprintf(text, sizeof(text), "EXEC 9 %d|", BX_MESSAGE_MAX);
    assert_string_equal(e->at_b.events, text);
    assert_true(e->at_b.hash == want.hash);
    /* and the memory for it is given back */
    assert_int_equal(e->b.message.cap, 0);
    assert_int_equal(e->a.control.cap, 0);
    free(big);
}

static void frame_inside_another_message_kills_the_link(void **state)
{
    struct ends *e = *state;
    uint8_t bytes[3 * BX_FRAME_HEADER + 2];
    struct bx_err err = BX_ERR_INIT;

    bx_frame_put_header(bytes, BX_MSG_EXEC, BX_FRAME_MORE, 1, 1);
    bytes[BX_FRAME_HEADER] = 'x';
    bx_frame_put_header(bytes + BX_FRAME_HEADER + 1, BX_MSG_EXEC, 0, 2, 0);
    assert_int_equal(bx_link_input(&e->b, bytes, 2 * BX_FRAME_HEADER + 1, &err), -BX_ERPC);
    assert_int_equal(err.code, BX_ERPC);
    assert_string_equal(e->at_b.events, "");
    assert_int_equal(bx_link_input(&e->b, bytes, 1, NULL), -BX_ERPC);
}

static void message_that_never_ends_kills_the_link_at_the_limit(void **state)
{
    struct ends *e = *state;
    uint8_t *frame = calloc(1, FRAME_MAX);
    size_t frames = 0;
    int r;

    bx_frame_put_header(frame, BX_MSG_EXEC, BX_FRAME_MORE, 1, BX_FRAME_PAYLOAD_MAX);
    while ((r = bx_link_input(&e->b, frame, FRAME_MAX, NULL)) == 0)
        frames++;
    assert_int_equal(r, -BX_ERPC);
    assert_int_equal(frames, BX_MESSAGE_MAX / BX_FRAME_PAYLOAD_MAX);
    assert_true(e->b.message.cap <= BX_MESSAGE_MAX + 1);
    free(frame);
}

static void refusal_by_a_handler_kills_the_link(void **state)
{
    struct ends *e = *state;
    uint8_t bytes[2 * BX_FRAME_HEADER];
    struct bx_err err = BX_ERR_INIT;

    e->at_b.refuse_type = BX_MSG_PING;
    bx_frame_put_header(bytes, BX_MSG_PING, 0, 0, 0);
    bx_frame_put_header(bytes + BX_FRAME_HEADER, BX_MSG_PONG, 0, 0, 0);
    assert_int_equal(bx_link_input(&e->b, bytes, sizeof(bytes), &err), -BX_ESTATE);
    assert_string_equal(err.msg, "refused");
    assert_string_equal(e->at_b.events, "PING 0 0|");
    assert_int_equal(bx_link_input(&e->b, bytes, sizeof(bytes), NULL), -BX_ERPC);
    bx_link_reset(&e->b);
    e->at_b.refuse_type = 0;
    assert_int_equal(bx_link_input(&e->b, bytes, sizeof(bytes), NULL), 0);
}

/* Both ways in: from the caller's bytes, and from the receive buffer. */
static void handler_may_reset_the_link(void **state)
{
    struct ends *e = *state;
    uint8_t bytes[3 * BX_FRAME_HEADER + 4];
    size_t room;

    e->at_b.reset_type = BX_MSG_HELLO;
    bx_frame_put_header(bytes, BX_MSG_PING, 0, 0, 0);
    bx_frame_put_header(bytes + BX_FRAME_HEADER, BX_MSG_HELLO, 0, 0, 0);
    bx_frame_put_header(bytes + 2 * BX_FRAME_HEADER, BX_MSG_PONG, 0, 0, 0);
    memset(bytes + 3 * BX_FRAME_HEADER, 0xff, 4);
    assert_int_equal(bx_link_send(&e->b, BX_MSG_PONG, 0, NULL, 0), 0);
    assert_int_equal(bx_link_send_data(&e->b, 1, 1, "abc", 3), 0);
    assert_int_equal(bx_link_input(&e->b, bytes, sizeof(bytes), NULL), 0);
    assert_false(bx_link_wants_write(&e->b));
    memcpy(bx_link_rx_reserve(&e->b, &room), bytes, sizeof(bytes));
    assert_int_equal(bx_link_rx_commit(&e->b, sizeof(bytes), NULL), 0);
    assert_int_equal(bx_link_input(&e->b, bytes, BX_FRAME_HEADER, NULL), 0);
    assert_string_equal(e->at_b.events, "PING 0 0|HELLO 0 0|PING 0 0|HELLO 0 0|PING 0 0|");
}

static void bytes_may_come_in_any_pieces(void **state)
{
    struct ends *e = *state;
    uint8_t payload[300];
    uint8_t bytes[2048];
    const uint8_t *p;
    size_t len = 0, n;

    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)i;
    bx_link_send(&e->a, BX_MSG_EXEC, 1, payload, 300);
    bx_link_send(&e->a, BX_MSG_PING, 0, NULL, 0);
    bx_link_send_data(&e->a, 1, 0, payload, 100);
    bx_link_send_eof(&e->a, 1, 0);
    while (bx_link_output(&e->a, &p, &n)) {
        memcpy(bytes + len, p, n);
        len += n;
        bx_link_sent(&e->a, n);
    }
    assert_int_equal(bx_link_input(&e->a, bytes, len, NULL), 0);
    assert_string_equal(e->at_a.events, "EXEC 1 300|PING 0 0|DATA 1.0 100|EOF 1.0|");
    for (size_t piece = 1; piece < len; piece++) {
        memset(&e->at_b, 0, sizeof(e->at_b));
        for (size_t at = 0; at < len; at += piece)
            assert_int_equal(bx_link_input(&e->b, bytes + at, BX_MIN(piece, len - at), NULL), 0);
        assert_string_equal(e->at_b.events, e->at_a.events);
        assert_true(e->at_b.hash == e->at_a.hash);
    }
}

static void data_queue_is_bounded_and_tells_its_room(void **state)
{
    struct ends *e = *state;
    uint8_t *block = calloc(1, BX_FRAME_PAYLOAD_MAX);
    size_t room;

    assert_int_equal(bx_link_data_room(&e->a), 4 * BX_FRAME_PAYLOAD_MAX);
    assert_int_equal(bx_link_send_data(&e->a, 1, 1, NULL, 0), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(bx_link_send_data(&e->a, 1, 1, block, BX_FRAME_PAYLOAD_MAX), 0);
    assert_int_equal(bx_link_data_room(&e->a), BX_FRAME_PAYLOAD_MAX);
    assert_int_equal(bx_link_send_data(&e->a, 1, 1, block, BX_FRAME_PAYLOAD_MAX - 100), 0);
    /* 84 bytes would fit still; that is told as none, so that nobody reads a pipe in crumbs */
    assert_int_equal(bx_link_data_room(&e->a), 0);
    assert_int_equal(bx_link_send_data(&e->a, 1, 1, block, 85), -ENOBUFS);
    assert_null(one_frame(&e->a, 85));
    assert_int_equal(bx_link_send_data(&e->a, 1, 1, block, 84), 0);
    assert_null(one_frame(&e->a, 1));
    /* what ends a lane needs no room */
    assert_int_equal(bx_link_send_eof(&e->a, 1, 1), 0);
    assert_int_equal(bx_link_send_ordered(&e->a, BX_MSG_EXIT, 1, block, 40), 0);
    carry(&e->a, &e->b);
    room = 4 * BX_FRAME_PAYLOAD_MAX;
    assert_int_equal(bx_link_data_room(&e->a), room);
    assert_int_equal(e->at_b.data_bytes, room - 16);
    free(block);
}

static void told_room_can_be_used_whole(void **state)
{
    struct ends *e = *state;
    uint8_t *block = calloc(1, DATA_MAX);

    for (size_t first = 1; first < 3 * BX_FRAME_PAYLOAD_MAX; first += 4999) {
        size_t room;

        assert_int_equal(bx_link_send_data(&e->a, 1, 1, block, first), 0);
        room = bx_link_data_room(&e->a);
        assert_true(room > 0);
        assert_int_equal(bx_link_send_data(&e->a, 1, 1, block, room), 0);
        bx_link_reset(&e->a);
    }
    free(block);
}

static void peer_that_does_not_read_is_found_out(void **state)
{
    struct ends *e = *state;
    uint8_t payload[1000] = { 0 };
    size_t sent = 0, ends = 0;
    int r;

    while ((r = bx_link_send(&e->a, BX_MSG_ERROR, 0, payload, sizeof(payload))) == 0)
        sent += sizeof(payload) + BX_FRAME_HEADER;
    assert_int_equal(r, -BX_ERESOURCE);
    assert_true(sent <= BX_LINK_CONTROL_MAX && sent > BX_LINK_CONTROL_MAX - 2000);
    while ((r = bx_link_send_eof(&e->a, 1, 1)) == 0)
        ends += BX_FRAME_HEADER;
    assert_int_equal(r, -BX_ERESOURCE);
    assert_true(ends <= DATA_MAX + BX_LINK_ORDERED_MAX);
    assert_true(e->a.data.cap <= 2 * DATA_MAX + BX_LINK_ORDERED_MAX + 1);
}

static void what_is_no_message_is_not_sent_as_one(void **state)
{
    struct ends *e = *state;

    assert_int_equal(bx_link_send(&e->a, 0, 0, NULL, 0), -BX_EINVALID);
    assert_int_equal(bx_link_send(&e->a, BX_MSG_DATA, 1, "x", 1), -BX_EINVALID);
    assert_int_equal(bx_link_send_ordered(&e->a, BX_MSG_EOF, 1, NULL, 0), -BX_EINVALID);
    assert_false(bx_link_wants_write(&e->a));
}

static void reserved_space_holds_what_was_committed(void **state)
{
    struct ends *e = *state;
    uint8_t *p;

    p = one_frame(&e->a, BX_FRAME_PAYLOAD_MAX);
    assert_non_null(p);
    memcpy(p, "hello", 5);
    bx_link_data_commit(&e->a, 3, 2, 5);
    p = one_frame(&e->a, 100);
    assert_non_null(p);
    bx_link_data_commit(&e->a, 3, 2, 0);
    struct iovec places[2];

    assert_int_equal(bx_link_data_reserve(&e->a, BX_FRAME_PAYLOAD_MAX + 1, places, 2), 2);
    assert_int_equal(places[0].iov_len, BX_FRAME_PAYLOAD_MAX);
    assert_int_equal(places[1].iov_len, 1);
    bx_link_data_commit(&e->a, 7, 1, 0);
    assert_int_equal(bx_link_data_reserve(&e->a, BX_FRAME_PAYLOAD_MAX + 1, places, 1), 1); /* no more than so many frames */
    assert_int_equal(places[0].iov_len, BX_FRAME_PAYLOAD_MAX);
    bx_link_data_commit(&e->a, 7, 1, 0);
    assert_null(one_frame(&e->a, 0));
    carry(&e->a, &e->b);
    assert_string_equal(e->at_b.events, "DATA 3.2 5|");
}

static void several_frames_are_filled_by_one_read(void **state)
{
    struct ends *e = *state;
    struct iovec places[3];
    struct record want = { 0 };
    uint8_t next = 0;

    assert_int_equal(bx_link_data_reserve(&e->a, 0, places, 3), 0);
    assert_int_equal(bx_link_data_reserve(&e->a, 2 * BX_FRAME_PAYLOAD_MAX + 10, places, 3), 3);
    assert_int_equal(places[0].iov_len, BX_FRAME_PAYLOAD_MAX);
    assert_int_equal(places[1].iov_len, BX_FRAME_PAYLOAD_MAX);
    assert_int_equal(places[2].iov_len, 10);
    for (int i = 0; i < 3; i++) {
        for (size_t k = 0; k < places[i].iov_len; k++)
            ((uint8_t *)places[i].iov_base)[k] = next++;
    }
    hash(&want, places[0].iov_base, BX_FRAME_PAYLOAD_MAX);
    hash(&want, places[1].iov_base, 7);
    bx_link_data_commit(&e->a, 3, 1, BX_FRAME_PAYLOAD_MAX + 7);
    carry(&e->a, &e->b);
    assert_string_equal(e->at_b.events, "DATA 3.1 65536|DATA 3.1 7|");
    assert_int_equal(e->at_b.hash, want.hash);
    /* No more than there are places for, and all of it or nothing. */
    assert_int_equal(bx_link_data_reserve(&e->a, 3 * BX_FRAME_PAYLOAD_MAX, places, 2), 2);
    bx_link_data_commit(&e->a, 3, 1, 0);
    assert_int_equal(bx_link_data_reserve(&e->a, bx_link_data_room(&e->a) + 1, places, 100), 0);
}

/* A slow reader and a fast writer, sizes from a fixed generator: every byte arrives once and in order. */
static void stream_survives_uneven_reads_and_writes(void **state)
{
    struct ends *e = *state;
    struct record want = { 0 };
    uint32_t seed = 12345;
    uint8_t next = 0;

    for (int i = 0; i < 4000; i++) {
        seed = seed * 1664525u + 1013904223u;
        size_t n = BX_MIN((size_t)(seed >> 8) % 20000 + 1, bx_link_data_room(&e->a));

        if (n > 0) {
            uint8_t *p = one_frame(&e->a, n);

            assert_non_null(p);
            for (size_t k = 0; k < n; k++)
                p[k] = next++;
            hash(&want, p, n);
            want.data_bytes += n;
            bx_link_data_commit(&e->a, 1, 1, n);
        }
        seed = seed * 1664525u + 1013904223u;
        carry_some(&e->a, &e->b, (seed >> 8) % 20000);
    }
    carry(&e->a, &e->b);
    assert_int_equal(e->at_b.data_bytes, want.data_bytes);
    assert_true(e->at_b.hash == want.hash);
    assert_true(e->a.data.cap <= 2 * DATA_MAX + 1);
    assert_true(e->b.rx.cap <= BX_LINK_RX_SIZE + 1);
}

/* --- credit --- */

static void sender_credit_has_a_limit(void **state)
{
    struct bx_lane lane;

    (void)state;
    bx_lane_init(&lane, 100);
    bx_lane_spend(&lane, 60);
    assert_int_equal(lane.credit, 40);
    assert_int_equal(bx_lane_grant(&lane, BX_LANE_CREDIT_MAX - 40), 0);
    assert_int_equal(bx_lane_grant(&lane, 1), -BX_ERPC);
    assert_int_equal(bx_lane_grant(&lane, UINT32_MAX), -BX_ERPC);
    assert_int_equal(lane.credit, BX_LANE_CREDIT_MAX);
}

static void receiver_refuses_more_than_it_allowed(void **state)
{
    struct bx_lane lane;

    (void)state;
    bx_lane_init(&lane, 100);
    assert_int_equal(bx_lane_receive(&lane, 100), 0);
    assert_int_equal(bx_lane_receive(&lane, 1), -BX_ERPC);
    bx_lane_init(&lane, 100);
    assert_int_equal(bx_lane_receive(&lane, SIZE_MAX), -BX_ERPC);
    lane.eof = true;
    assert_int_equal(bx_lane_receive(&lane, 1), -BX_ERPC);
}

static void credit_goes_back_in_quarters_of_the_window(void **state)
{
    struct bx_lane lane;

    (void)state;
    bx_lane_init(&lane, 100);
    assert_int_equal(bx_lane_receive(&lane, 100), 0);
    assert_int_equal(bx_lane_consume(&lane, 24), 0);
    assert_int_equal(bx_lane_consume(&lane, 1), 25);
    assert_int_equal(lane.credit, 25);
    assert_int_equal(bx_lane_consume(&lane, 75), 75);
    assert_int_equal(lane.credit, 100);
    assert_int_equal(bx_lane_receive(&lane, 50), 0);
    lane.eof = true;
    assert_int_equal(bx_lane_consume(&lane, 50), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        TEST(control_goes_before_data),
        TEST(what_is_sent_first_goes_before_control_that_waits),
        TEST(the_bound_of_the_data_queue_can_be_changed),
        TEST(control_waits_for_the_frame_that_is_under_way),
        TEST(control_queued_between_output_and_sent_changes_nothing),
        TEST(ordered_message_stays_behind_data),
        TEST(ordered_message_in_parts_is_not_interrupted),
        TEST(message_of_the_largest_size_arrives_whole),
        TEST(frame_inside_another_message_kills_the_link),
        TEST(message_that_never_ends_kills_the_link_at_the_limit),
        TEST(refusal_by_a_handler_kills_the_link),
        TEST(handler_may_reset_the_link),
        TEST(bytes_may_come_in_any_pieces),
        TEST(data_queue_is_bounded_and_tells_its_room),
        TEST(told_room_can_be_used_whole),
        TEST(peer_that_does_not_read_is_found_out),
        TEST(what_is_no_message_is_not_sent_as_one),
        TEST(several_frames_are_filled_by_one_read),
        TEST(reserved_space_holds_what_was_committed),
        TEST(stream_survives_uneven_reads_and_writes),
        cmocka_unit_test(sender_credit_has_a_limit),
        cmocka_unit_test(receiver_refuses_more_than_it_allowed),
        cmocka_unit_test(credit_goes_back_in_quarters_of_the_window),
    };

    return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
