/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When the agent reads what a command writes: small writes are gathered, the first and the last are not kept
 * waiting, and no lane waits for ever behind the others. Lanes on pipes whose other ends this test holds, and no
 * process.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "guest/exec.h"
#include "../lib/one_frame.h"

#define LANES     12
#define LINK_MAX  (1024 * 1024)
#define FAR_AHEAD (3600 * BX_SEC)

struct lane {
    struct bx_exec exec;
    struct bx_attach attach;
    int writer;
    size_t got;
    unsigned frames, holes;
    uint64_t missing;
    bool ended;
};

struct world {
    struct bx_loop *loop;
    struct bx_link agent, client;
    struct bx_execs xs;
    struct lane lanes[LANES];
    bool grants; /* the client gives back credit for what it gets */
};

/* The only message of a lane: a hole. */
static int client_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *p, size_t n,
                          struct bx_err *err)
{
    struct world *w = l->ud;
    struct lane *a = &w->lanes[stream - 1];
    boxlite_Truncated msg;

    assert_int_equal(type, BX_MSG_TRUNCATED);
    assert_int_equal(bx_msg_decode(type, p, n, &msg, err), 0);
    assert_int_equal(msg.lane, BX_LANE_STDOUT);
    assert_true(msg.dropped > 0);
    a->missing += msg.dropped;
    a->holes++;
    return 0;
}

static int client_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *p, size_t n,
                       struct bx_err *err)
{
    struct world *w = l->ud;
    struct lane *a = &w->lanes[stream - 1];

    (void)p, (void)err;
    assert_int_equal(lane, BX_LANE_STDOUT);
    a->got += n;
    a->frames++;
    if (w->grants)
        bx_out_grant(&a->exec.out[0], (uint32_t)n);
    return 0;
}

static int client_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    struct world *w = l->ud;

    (void)lane, (void)err;
    w->lanes[stream - 1].ended = true;
    return 0;
}

static const struct bx_link_ops ops = {client_message, client_data, client_eof};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    w->loop = bx_loop_new();
    bx_link_init(&w->agent, &ops, w, LINK_MAX);
    bx_link_init(&w->client, &ops, w, LINK_MAX);
    bx_execs_init(&w->xs, w->loop, &w->agent, NULL);
    for (unsigned i = 0; i < LANES; i++) {
        struct lane *a = &w->lanes[i];
        int ends[2];

        a->exec = (struct bx_exec){.all = &w->xs, .state = BX_EXEC_RUNNING, .pidfd = -1};
        a->attach = (struct bx_attach){.exec = &a->exec, .stream = i + 1};
        bx_out_init(&a->exec.out[0], &a->exec, BX_LANE_STDOUT);
        bx_out_init(&a->exec.out[1], &a->exec, BX_LANE_STDERR);
        assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
        a->exec.out[0].fd = ends[0];
        a->writer = ends[1];
        bx_out_claim(&a->exec.out[0], &a->attach);
    }
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    for (unsigned i = 0; i < LANES; i++) {
        bx_close(w->lanes[i].writer);
        bx_out_done(&w->lanes[i].exec.out[0]);
        bx_out_done(&w->lanes[i].exec.out[1]);
    }
    bx_link_done(&w->agent);
    bx_link_done(&w->client);
    bx_loop_free(w->loop);
    free(w);
    return 0;
}

/* Carries at most so many bytes to the client. */
static void carry(struct world *w, size_t most)
{
    const uint8_t *data;
    size_t len;

    while (most > 0 && bx_link_output(&w->agent, &data, &len)) {
        size_t n = BX_MIN(len, most);

        assert_int_equal(bx_link_input(&w->client, data, n, NULL), 0);
        bx_link_sent(&w->agent, n);
        most -= n;
    }
}

static void turn(struct world *w)
{
    assert_true(bx_loop_dispatch(w->loop, 0) >= 0);
    carry(w, SIZE_MAX);
}

static void until(struct world *w, const struct lane *a, size_t got)
{
    while (a->got < got) {
        assert_true(bx_loop_dispatch(w->loop, 10000) > 0);
        carry(w, SIZE_MAX);
    }
}

static void put(struct lane *a, const char *text)
{
    assert_int_equal(write(a->writer, text, strlen(text)), strlen(text));
}

static void fill(int fd)
{
    static uint8_t zeros[65536];

    while (write(fd, zeros, sizeof(zeros)) > 0)
        ;
}

static void the_first_bytes_do_not_wait(void **state)
{
    struct world *w = *state;

    put(&w->lanes[0], "first");
    turn(w);
    assert_int_equal(w->lanes[0].got, 5);
}

static void small_writes_that_follow_are_gathered(void **state)
{
    struct world *w = *state;
    struct lane *a = &w->lanes[0];
    struct bx_out *o = &a->exec.out[0];

    o->read_ns = bx_now() + FAR_AHEAD; /* it was read just now, however slow this machine is */
    put(a, "a");
    turn(w);
    assert_int_equal(a->got, 0);
    assert_true(bx_timer_armed(o->gather));
    assert_int_equal(bx_source_events(o->source), 0); /* more writes wake nobody */
    put(a, "b");
    until(w, a, 2);
    assert_int_equal(bx_source_events(o->source), BX_READ);
}

static void a_half_full_pipe_does_not_wait(void **state)
{
    struct world *w = *state;
    struct lane *a = &w->lanes[0];

    a->exec.out[0].read_ns = bx_now() + FAR_AHEAD;
    fill(a->writer);
    turn(w);
    assert_true(a->got >= 65536);
    assert_null(a->exec.out[0].gather);
}

static void the_last_bytes_do_not_wait(void **state)
{
    struct world *w = *state;
    struct lane *a = &w->lanes[0];

    a->exec.out[0].read_ns = bx_now() + FAR_AHEAD;
    put(a, "last");
    a->writer = bx_close(a->writer);
    turn(w); /* the bytes */
    turn(w); /* the end */
    assert_int_equal(a->got, 4);
    assert_true(a->ended);
}

static void a_full_pipe_is_read_at_once_as_far_as_credit_goes(void **state)
{
    struct world *w = *state;
    struct lane *a = &w->lanes[0];
    int size = fcntl(a->writer, F_SETPIPE_SZ, 1024 * 1024);

    if (size < 1024 * 1024)
        size = fcntl(a->writer, F_GETPIPE_SZ); /* this user may not have one */
    fill(a->writer);
    w->grants = false;
    turn(w);
    assert_true(a->got >= BX_MIN((size_t)size, (size_t)LINK_MAX - 65536));
    assert_true(a->frames <= a->got / BX_FRAME_PAYLOAD_MAX + 1);
    assert_int_equal(a->exec.out[0].lane.credit, BX_WINDOW - a->got);
}

/* All write without end, and the port takes less than they write. */
static void no_lane_waits_behind_the_others_for_ever(void **state)
{
    struct world *w = *state;
    size_t total = 0, least = SIZE_MAX;

    w->grants = true;
    for (unsigned i = 0; i < LANES; i++)
        (void)fcntl(w->lanes[i].writer, F_SETPIPE_SZ, 1024 * 1024);
    while (total < 64u * 1024 * 1024) {
        total = 0;
        for (unsigned i = 0; i < LANES; i++) {
            fill(w->lanes[i].writer);
            total += w->lanes[i].got;
        }
        assert_true(bx_loop_dispatch(w->loop, 0) >= 0);
        carry(w, 256 * 1024);
        if (w->xs.starved && bx_link_data_room(&w->agent) >= LINK_MAX / 2)
            bx_execs_resume(&w->xs);
    }
    for (unsigned i = 0; i < LANES; i++)
        least = BX_MIN(least, w->lanes[i].got);
    assert_true(least >= total / LANES / 2);
}

/* Writes so much and lets the agent read it. */
static void pour(struct world *w, struct lane *a, size_t n)
{
    static uint8_t zeros[65536];

    while (n > 0) {
        ssize_t r = write(a->writer, zeros, BX_MIN(n, sizeof(zeros)));

        if (r > 0)
            n -= (size_t)r;
        assert_true(bx_loop_dispatch(w->loop, r > 0 ? 0 : 10000) >= 0);
    }
}

/* Two claim one after the other, and the first gives up before the hole, on it or behind it. */
static void a_hole_is_told_to_who_reads_across_it(void **state)
{
    struct world *w = *state;

    for (unsigned i = 0; i < 3; i++) {
        struct lane *a = &w->lanes[i];
        struct bx_out *o = &a->exec.out[0];

        bx_out_unclaim(o);
        pour(w, a, 3000000);
        /* Room for less than the head, for the head, for more. */
        for (size_t left = bx_link_data_room(&w->agent) - (i + 1) * (BX_KEEP_HEAD / 2) - 4096; left > 0;) {
            size_t n = BX_MIN(left, (size_t)BX_FRAME_PAYLOAD_MAX);

            assert_non_null(one_frame(&w->agent, n));
            bx_link_data_commit(&w->agent, LANES, BX_LANE_STDOUT, n);
            left -= n;
        }
        bx_out_claim(o, &a->attach);
        bx_out_unclaim(o);
        carry(w, SIZE_MAX);
        assert_true(a->got > 0 && a->got < 2 * BX_KEEP_HEAD);
        assert_int_equal(a->holes, i == 2);
        pour(w, a, 2000000);
        a->writer = bx_close(a->writer);
        bx_out_claim(o, &a->attach);
        while (!a->ended) {
            assert_true(bx_loop_dispatch(w->loop, w->xs.starved ? 0 : 10000) >= 0);
            carry(w, SIZE_MAX);
            if (w->xs.starved)
                bx_execs_resume(&w->xs);
        }
        assert_int_equal(a->got + a->missing, 5000000);
        assert_int_equal(a->holes, i == 2 ? 2 : 1);
    }
}

/* One that goes away while it waits for room leaves the queue of those who wait whole. */
static void a_lane_that_ends_leaves_the_queue(void **state)
{
    struct world *w = *state;
    uint8_t *p;

    while ((p = one_frame(&w->agent, 4096)))
        bx_link_data_commit(&w->agent, LANES, BX_LANE_STDOUT, 4096);
    for (unsigned i = 0; i < 4; i++)
        put(&w->lanes[i], "x");
    assert_true(bx_loop_dispatch(w->loop, 0) >= 0);
    assert_true(w->xs.starved);
    bx_out_done(&w->lanes[3].exec.out[0]); /* the last, the first, one between */
    bx_out_done(&w->lanes[0].exec.out[0]);
    bx_out_done(&w->lanes[1].exec.out[0]);
    carry(w, SIZE_MAX);
    bx_execs_resume(&w->xs);
    assert_false(w->xs.starved);
    until(w, &w->lanes[2], 1);
    for (unsigned i = 0; i < 4; i++)
        if (i != 2)
            bx_out_init(&w->lanes[i].exec.out[0], &w->lanes[i].exec, BX_LANE_STDOUT);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_first_bytes_do_not_wait),
        T(small_writes_that_follow_are_gathered),
        T(a_half_full_pipe_does_not_wait),
        T(the_last_bytes_do_not_wait),
        T(a_full_pipe_is_read_at_once_as_far_as_credit_goes),
        T(no_lane_waits_behind_the_others_for_ever),
        T(a_hole_is_told_to_who_reads_across_it),
        T(a_lane_that_ends_leaves_the_queue),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
