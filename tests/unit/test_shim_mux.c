/* SPDX-License-Identifier: Apache-2.0 */
/* The mux between clients and a guest, with real links at all ends: numbers, credit, bounds, farewells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shim_mux_world.h"

static void two_clients_may_use_the_same_number(void **state)
{
    struct world *w = *state;
    uint32_t ga, gb;

    send_exec(&w->a, 7, false, 6, false);
    ga = opened(w);
    send_exec(&w->b, 7, false, 6, false);
    gb = opened(w);
    assert_int_not_equal(ga, gb);
    send_started(w, gb);
    send_started(w, ga);
    bx_link_send_data(&w->guest.link, ga, 1, "for a", 5);
    bx_link_send_data(&w->guest.link, gb, 2, "for b", 5);
    bx_link_send_eof(&w->guest.link, gb, 2);
    send_exit(w, ga, 0);
    round_trip(w);
    assert_string_equal(w->a.seen, "STARTED 7;DATA 7.1 for a;EXIT 7;");
    assert_string_equal(w->b.seen, "STARTED 7;DATA 7.2 for b;EOF 7.2;");
    assert_int_equal(bx_mux_counts(w->mux).execs_total, 2);
    assert_int_equal(bx_mux_counts(w->mux).execs_running, 1);
    assert_int_equal(bx_mux_pending(w->mux), 0);
    assert_int_equal(w->guest_error, 0);
}

static void stdin_and_its_credit_pass_and_more_than_allowed_does_not(void **state)
{
    struct world *w = *state;
    uint32_t gs;
    char *data = calloc(1, BX_WINDOW);

    send_exec(&w->a, 1, true, 6, false);
    gs = opened(w);
    send_started(w, gs);
    assert_int_equal(bx_link_send_data(&w->a.link, 1, 0, data, BX_WINDOW), 0);
    round_trip(w);
    assert_int_equal(w->guest.data_bytes, BX_WINDOW);
    assert_int_equal(bx_msg_send_credit(&w->guest.link, gs, 0, 100), 0);
    round_trip(w);
    assert_non_null(strstr(w->a.seen, "CREDIT 1 lane 0 100;"));
    assert_int_equal(bx_link_send_data(&w->a.link, 1, 0, data, 100), 0);
    bx_link_send_eof(&w->a.link, 1, 0);
    round_trip(w);
    assert_int_equal(w->guest.data_bytes, BX_WINDOW + 100);
    assert_non_null(strstr(w->guest.seen, "EOF"));
    assert_int_equal(w->client_error, 0);
    assert_int_equal(bx_link_send_data(&w->a.link, 1, 0, data, 1), 0);
    to_guest(w);
    assert_int_not_equal(w->client_error, 0);
    free(data);
}

static void a_guest_that_sends_more_than_allowed_is_found_out(void **state)
{
    struct world *w = *state;
    uint32_t gs;

    send_exec(&w->a, 1, false, 2, false);
    gs = opened(w);
    send_started(w, gs);
    send_output(w, gs, BX_WINDOW);
    from_guest(w);
    assert_int_equal(w->guest_error, 0);
    send_output(w, gs, 1);
    from_guest(w);
    assert_int_not_equal(w->guest_error, 0);
}

static void output_of_a_lane_nobody_claimed_is_refused(void **state)
{
    struct world *w = *state;
    uint32_t gs;

    send_exec(&w->a, 1, false, 2, false);
    gs = opened(w);
    assert_int_equal(bx_link_send_data(&w->guest.link, gs, 2, "x", 1), 0);
    from_guest(w);
    assert_int_not_equal(w->guest_error, 0);
}

static void a_claim_gives_a_window_once(void **state)
{
    struct world *w = *state;
    boxlite_Claim claim = {.lane = 2};
    uint32_t gs;

    send_exec(&w->a, 1, false, 0, false);
    gs = opened(w);
    send_started(w, gs);
    assert_int_equal(bx_msg_send(&w->a.link, BX_MSG_CLAIM, 1, &claim, NULL), 0);
    to_guest(w);
    assert_int_equal(bx_link_send_data(&w->guest.link, gs, 2, "late", 4), 0);
    round_trip(w);
    assert_non_null(strstr(w->a.seen, "DATA 1.2 late;"));
    assert_int_equal(w->guest_error, 0);
}

static void a_client_that_does_not_read_stops_its_own_stream_only(void **state)
{
    struct world *w = *state;
    uint32_t ga, gb;
    size_t sent = 0;

    send_exec(&w->a, 1, false, 2, false);
    ga = opened(w);
    send_exec(&w->b, 1, false, 2, false);
    gb = opened(w);
    send_started(w, ga);
    send_started(w, gb);
    /* a grants credit for ever and never reads */
    for (int i = 0; i < 64; i++) {
        send_output(w, ga, BX_WINDOW / 4);
        sent += BX_WINDOW / 4;
        from_guest(w);
        assert_int_equal(bx_msg_send_credit(&w->a.link, 1, 1, BX_WINDOW / 4), 0);
        w->guest.seen[0] = '\0';
        to_guest(w);
        if (!strstr(w->guest.seen, "CREDIT"))
            break;
    }
    assert_int_equal(w->guest_error, 0);
    assert_true(sent <= BX_MUX_HOLD + BX_WINDOW);
    assert_true(bx_mux_client_queued(w->ca) <= BX_MUX_HOLD + 2 * BX_WINDOW);
    /* b is served meanwhile */
    bx_link_send_data(&w->guest.link, gb, 1, "hello", 5);
    from_guest(w);
    client_reads(w->cb, &w->b, ALL);
    assert_non_null(strstr(w->b.seen, "DATA 1.1 hello;"));
    /* when a reads again, everything arrives in order and its credit is released */
    w->guest.seen[0] = '\0';
    client_reads(w->ca, &w->a, ALL);
    assert_int_equal(w->a.data_bytes, sent);
    to_guest(w);
    assert_non_null(strstr(w->guest.seen, "CREDIT"));
    assert_null(bx_mux_client_condemned(w->ca));
}

static void order_is_kept_through_the_backlog(void **state)
{
    struct world *w = *state;
    uint32_t gs;

    send_exec(&w->a, 1, false, 2, false);
    gs = opened(w);
    send_started(w, gs);
    send_output(w, gs, BX_WINDOW - 4); /* beyond the link's own queue */
    bx_link_send_data(&w->guest.link, gs, 1, "last", 4);
    bx_link_send_eof(&w->guest.link, gs, 1);
    send_exit(w, gs, 3);
    from_guest(w);
    client_reads(w->ca, &w->a, 300000);
    assert_null(strstr(w->a.seen, "EXIT"));
    client_reads(w->ca, &w->a, ALL);
    assert_string_equal(w->a.seen, "STARTED 1;DATA 1.1 last;EOF 1.1;EXIT 1;");
    assert_int_equal(w->a.data_bytes, BX_WINDOW);
}

static void unread_output_of_very_many_streams_ends_the_client(void **state)
{
    struct world *w = *state;

    for (uint32_t i = 1; i <= 200 && !bx_mux_client_condemned(w->ca); i++) {
        uint32_t gs;

        send_exec(&w->a, i, false, 2, false);
        gs = opened(w);
        send_started(w, gs);
        send_output(w, gs, BX_WINDOW);
        from_guest(w);
    }
    assert_non_null(bx_mux_client_condemned(w->ca));
    assert_int_equal(w->guest_error, 0);
    assert_true(bx_mux_client_queued(w->ca) <=
                BX_MUX_CLIENT_MAX + BX_MUX_CLIENT_DATA + BX_LINK_ORDERED_MAX + 65536);
    bx_mux_client_remove(w->ca);
    w->ca = NULL;
    assert_int_equal(bx_mux_counts(w->mux).streams, 0);
}

static void a_client_that_leaves_closes_its_streams_and_late_frames_are_dropped(void **state)
{
    struct world *w = *state;
    uint32_t gs;

    send_exec(&w->a, 1, false, 2, false);
    gs = opened(w);
    send_exec(&w->b, 1, false, 2, false);
    to_guest(w);
    w->guest.seen[0] = '\0';
    bx_mux_client_remove(w->ca);
    w->ca = NULL;
    to_guest(w);
    assert_string_equal(w->guest.seen, "CLOSE 1;");
    bx_link_send_data(&w->guest.link, gs, 1, "late", 4);
    send_exit(w, gs, 0);
    round_trip(w);
    assert_string_equal(w->b.seen, "");
    assert_int_equal(w->guest_error, 0);
    assert_int_equal(bx_mux_pending(w->mux), 1); /* that of b */
}

static void requests_are_counted_until_they_are_answered(void **state)
{
    struct world *w = *state;
    boxlite_Signal s = {.request = 5, .signo = 15}, silent = {.signo = 15};
    boxlite_Error e = {.request = 5, .code = BX_ENOTFOUND};
    uint32_t gs;

    send_exec(&w->a, 1, false, 0, false);
    gs = opened(w);
    assert_int_equal(bx_mux_pending(w->mux), 1);
    send_started(w, gs);
    from_guest(w);
    assert_int_equal(bx_msg_send(&w->a.link, BX_MSG_SIGNAL, 1, &s, NULL), 0);
    assert_int_equal(bx_msg_send(&w->a.link, BX_MSG_SIGNAL, 1, &s, NULL), 0);
    assert_int_equal(bx_msg_send(&w->a.link, BX_MSG_SIGNAL, 1, &silent, NULL), 0);
    to_guest(w);
    assert_int_equal(bx_mux_pending(w->mux), 2);
    assert_int_equal(bx_msg_send_ok(&w->guest.link, gs, 5), 0);
    assert_int_equal(bx_msg_send(&w->guest.link, BX_MSG_ERROR, gs, &e, NULL), 0);
    round_trip(w);
    assert_int_equal(bx_mux_pending(w->mux), 0);
    assert_string_equal(w->a.seen, "STARTED 1;OK 1;ERROR 1;");
    assert_int_equal(bx_mux_counts(w->mux).streams, 1); /* the refusal of a signal does not close it */
}

/* A hostile guest cannot fill the queues of a client with what no credit bounds. */
static void what_may_come_once_comes_once(void **state)
{
    struct world *w = *state;
    boxlite_Truncated hole = {.lane = 1, .dropped = 9}, other = {.lane = 2, .dropped = 9};
    boxlite_Error e = {.request = 3, .code = BX_ENOTFOUND};
    uint32_t gs;

    send_exec(&w->a, 1, false, 6, false);
    gs = opened(w);
    for (int i = 0; i < 3; i++) {
        send_started(w, gs);
        assert_int_equal(bx_msg_send_ok(&w->guest.link, gs, 5), 0);
        assert_int_equal(bx_msg_send(&w->guest.link, BX_MSG_ERROR, gs, &e, NULL), 0);
    }
    assert_int_equal(bx_msg_send_ordered(&w->guest.link, BX_MSG_TRUNCATED, gs, &hole, NULL), 0);
    assert_int_equal(bx_msg_send_ordered(&w->guest.link, BX_MSG_TRUNCATED, gs, &other, NULL), 0);
    send_exit(w, gs, 0);
    round_trip(w);
    assert_string_equal(w->a.seen, "STARTED 1;TRUNCATED 1;TRUNCATED 1;EXIT 1;");
    assert_int_equal(bx_mux_counts(w->mux).execs_total, 1);
    assert_int_equal(w->guest_error, 0);
    assert_int_equal(bx_msg_send_ordered(&w->guest.link, BX_MSG_TRUNCATED, gs, &hole, NULL), 0);
    from_guest(w);
    assert_int_not_equal(w->guest_error, 0);
}

static void a_command_ends_once(void **state)
{
    struct world *w = *state;
    uint32_t gs;

    send_exec(&w->a, 1, false, 6, false);
    gs = opened(w);
    send_started(w, gs);
    send_exit(w, gs, 0);
    from_guest(w);
    assert_int_equal(w->guest_error, 0);
    send_exit(w, gs, 0);
    from_guest(w);
    assert_int_not_equal(w->guest_error, 0);
}

static void after_the_gate_is_closed_new_streams_are_answered_with_the_reason(void **state)
{
    struct world *w = *state;

    bx_mux_close_gate(w->mux, BX_ESTOPPED, "the box is stopping");
    send_exec(&w->a, 1, false, 0, false);
    round_trip(w);
    assert_string_equal(w->guest.seen, "");
    assert_int_equal(w->a.error.code, BX_ESTOPPED);
    assert_string_equal(w->a.error.message, "the box is stopping");
}

static void the_last_message_comes_after_all_output(void **state)
{
    struct world *w = *state;
    struct bx_err why = BX_ERR_INIT;
    boxlite_BoxGone gone = {.state = BX_BOX_FAILED};
    uint32_t gs;

    send_exec(&w->a, 1, false, 2, false);
    gs = opened(w);
    send_output(w, gs, BX_WINDOW - 4);
    bx_link_send_data(&w->guest.link, gs, 1, "last", 4);
    from_guest(w);
    bx_fail(&why, BX_EENGINE, 0, "the machine ended");
    bx_mux_fail_streams(w->mux, &why);
    bx_mux_client_send_last(w->ca, BX_MSG_BOX_GONE, &gone);
    client_reads(w->ca, &w->a, ALL);
    assert_string_equal(w->a.seen, "DATA 1.1 last;ERROR 1;BOX_GONE 0;");
    assert_string_equal(w->a.error.message, "the machine ended");
    assert_int_equal(w->a.data_bytes, BX_WINDOW);
    assert_int_equal(bx_mux_counts(w->mux).streams, 0);
}

/* Nothing reaches a guest that is paused; whoever can end the pause is heard all the same. */
static void a_paused_guest_gets_no_signals_and_its_clients_stay_heard(void **state)
{
    struct world *w = *state;
    boxlite_Signal sig = {.request = 9, .signo = 15};
    char *data = calloc(1, BX_WINDOW);
    uint32_t gs;

    bx_mux_pause(w->mux, true);
    bx_mux_close_gate(w->mux, BX_ESTATE, "the box is paused");
    send_exec(&w->b, 1, false, 2, false);
    to_guest(w);
    client_reads(w->cb, &w->b, ALL);
    assert_string_equal(w->b.seen, "ERROR 1;");
    assert_int_equal(w->b.error.code, BX_ESTATE);
    assert_string_equal(w->b.error.message, "the box is paused");
    bx_mux_pause(w->mux, false);
    bx_mux_close_gate(w->mux, BX_ESTATE, NULL);

    for (uint32_t n = 1; n <= 4; n++) {
        send_exec(&w->a, n, true, 2, false);
        gs = opened(w);
        send_started(w, gs);
    }
    round_trip(w);
    bx_mux_pause(w->mux, true);
    bx_mux_close_gate(w->mux, BX_ESTATE, "the box is paused");
    w->a.seen[0] = '\0';
    assert_int_equal(bx_msg_send(&w->a.link, BX_MSG_SIGNAL, 1, &sig, NULL), 0);
    for (uint32_t n = 1; n <= 4; n++) { /* twice what waits for a guest that runs */
        assert_int_equal(bx_link_send_data(&w->a.link, n, 0, data, BX_WINDOW), 0);
        assert_int_equal(move(&w->a.link, bx_mux_client_link(w->ca), ALL), 0);
        assert_true(bx_mux_client_may_read(w->ca));
    }
    client_reads(w->ca, &w->a, ALL);
    assert_string_equal(w->a.seen, "ERROR 1;");
    assert_int_equal(w->a.error.request, 9);
    assert_int_equal(bx_mux_pending(w->mux), 0);

    bx_mux_pause(w->mux, false);
    assert_false(bx_mux_client_may_read(w->ca)); /* until the guest has taken what waits */
    assert_false(bx_mux_client_may_read(w->cb));
    w->guest.data_bytes = 0;
    round_trip(w);
    assert_int_equal(w->guest.data_bytes, 4 * BX_WINDOW);
    assert_true(bx_mux_client_may_read(w->ca));
    assert_int_equal(bx_mux_guest(w->mux)->data_max, BX_MUX_GUEST_DATA);
    free(data);
}

/* So many that no more is taken: who has no streams is read on. */
static void a_client_without_streams_is_read_whatever_waits_for_a_paused_guest(void **state)
{
    struct world *w = *state;
    char *data = calloc(1, BX_WINDOW);
    uint32_t n = 0;

    for (n = 1; n <= 80; n++) {
        send_exec(&w->a, n, true, 0, false);
        send_started(w, opened(w));
        round_trip(w);
        w->a.seen[0] = w->guest.seen[0] = '\0';
    }
    bx_mux_pause(w->mux, true);
    bx_mux_close_gate(w->mux, BX_ESTATE, "the box is paused");
    for (n = 1; n <= 80 && bx_mux_client_may_read(w->ca); n++) {
        assert_int_equal(bx_link_send_data(&w->a.link, n, 0, data, BX_WINDOW), 0);
        while (bx_link_wants_write(&w->a.link) && bx_mux_client_may_read(w->ca))
            assert_int_equal(move(&w->a.link, bx_mux_client_link(w->ca), BX_LINK_RX_SIZE), 0);
    }
    assert_in_range(n, 60, 70);
    assert_false(bx_mux_client_may_read(w->ca));
    assert_true(bx_mux_client_may_read(w->cb));
    free(data);
}

static void a_number_in_use_or_a_message_in_the_wrong_direction_is_a_protocol_error(void **state)
{
    struct world *w = *state;
    uint32_t gs;

    send_exec(&w->a, 1, false, 0, false);
    gs = opened(w);
    send_exec(&w->a, 1, false, 0, false);
    to_guest(w);
    assert_int_not_equal(w->client_error, 0);
    w->client_error = 0;
    bx_link_send_data(&w->b.link, 3, 1, "x", 1); /* output from a client */
    to_guest(w);
    assert_int_not_equal(w->client_error, 0);
    bx_link_send_data(&w->guest.link, gs, 0, "x", 1); /* stdin from the guest */
    from_guest(w);
    assert_int_not_equal(w->guest_error, 0);
}

static void an_unknown_message_is_answered_and_others_go_on(void **state)
{
    struct world *w = *state;

    send_exec(&w->a, 1, false, 0, false);
    send_exec(&w->a, 2, false, 0, false);
    to_guest(w);
    w->guest.seen[0] = '\0';
    assert_int_equal(bx_link_send(&w->a.link, 0x99, 1, "?", 1), 0);
    round_trip(w);
    assert_string_equal(w->a.seen, "ERROR 1;");
    assert_int_equal(w->a.error.code, BX_EUNSUPPORTED);
    assert_string_equal(w->guest.seen, "CLOSE 1;");
    assert_int_equal(bx_mux_counts(w->mux).streams, 1);
    assert_int_equal(w->client_error, 0);
    assert_int_equal(bx_link_send(&w->guest.link, 0x99, w->guest.last_stream + 1, "?", 1), 0);
    round_trip(w);
    assert_string_equal(w->a.seen, "ERROR 1;ERROR 2;");
    assert_int_equal(w->guest_error, 0);
}

static void streams_and_clients_are_limited(void **state)
{
    struct world *w = *state;
    struct bx_mux_client *more[BX_CLIENTS_MAX];
    size_t n = 0;

    for (uint32_t i = 1; i <= BX_STREAMS_MAX; i++)
        send_exec(&w->a, i, false, 0, false);
    round_trip(w);
    assert_string_equal(w->a.seen, "");
    send_exec(&w->b, 1, false, 0, false);
    round_trip(w);
    assert_int_equal(w->b.error.code, BX_ERESOURCE);
    while (n < BX_CLIENTS_MAX && (more[n] = bx_mux_client_add(w->mux, NULL)))
        n++;
    assert_int_equal(n, BX_CLIENTS_MAX - 2);
}

static void clients_are_not_read_while_the_guest_does_not_read(void **state)
{
    struct world *w = *state;
    char *data = calloc(1, BX_WINDOW);
    uint32_t i;

    for (i = 1; bx_mux_may_read(w->mux) && i < 100; i++) {
        send_exec(&w->a, i, true, 0, false);
        move(&w->a.link, bx_mux_client_link(w->ca), ALL);
        assert_int_equal(bx_link_send_data(&w->a.link, i, 0, data, 200000), 0);
        w->client_error |= move(&w->a.link, bx_mux_client_link(w->ca), ALL);
    }
    assert_true(i > 5 && i < 100);
    assert_int_equal(w->client_error, 0);
    assert_int_equal(move(bx_mux_guest(w->mux), &w->guest.link, ALL), 0);
    assert_true(bx_mux_may_read(w->mux));
    free(data);
}

static void work_on_files_has_both_lanes_and_is_no_command(void **state)
{
    boxlite_FileOp op = {.op = 1, .path = "/x"};
    struct world *w = *state;
    uint32_t gs;

    assert_int_equal(bx_msg_send(&w->a.link, BX_MSG_FILE_OP, 3, &op, NULL), 0);
    gs = opened(w);
    send_started(w, gs);
    bx_link_send_data(&w->a.link, 3, BX_LANE_STDIN, "records", 7);
    bx_link_send_eof(&w->a.link, 3, BX_LANE_STDIN);
    bx_link_send_data(&w->guest.link, gs, BX_LANE_STDOUT, "more", 4);
    bx_link_send_eof(&w->guest.link, gs, BX_LANE_STDOUT);
    send_exit(w, gs, 0);
    round_trip(w);
    assert_string_equal(w->a.seen, "STARTED 3;DATA 3.1 more;EOF 3.1;EXIT 3;");
    assert_int_equal(bx_mux_counts(w->mux).execs_total, 0);
    assert_int_equal(w->guest_error, 0);
    assert_int_equal(w->client_error, 0);
    /* Nor has it a lane for errors, whatever the guest says. */
    bx_link_send_data(&w->guest.link, gs, BX_LANE_STDERR, "x", 1);
    from_guest(w);
    assert_int_not_equal(w->guest_error, 0);
}

static void a_path_that_is_none_is_refused_with_words(void **state)
{
    static const char bad[] = "\x08\x01\x12\x03/\0x";
    struct world *w = *state;

    assert_int_equal(bx_link_send(&w->a.link, BX_MSG_FILE_OP, 3, bad, sizeof(bad) - 1), 0);
    round_trip(w);
    assert_string_equal(w->a.seen, "ERROR 3;");
    assert_int_equal(w->a.error.code, BX_EINVALID);
    assert_int_equal(w->client_error, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(two_clients_may_use_the_same_number),
        T(work_on_files_has_both_lanes_and_is_no_command),
        T(a_path_that_is_none_is_refused_with_words),
        T(stdin_and_its_credit_pass_and_more_than_allowed_does_not),
        T(a_guest_that_sends_more_than_allowed_is_found_out),
        T(output_of_a_lane_nobody_claimed_is_refused),
        T(a_claim_gives_a_window_once),
        T(a_client_that_does_not_read_stops_its_own_stream_only),
        T(order_is_kept_through_the_backlog),
        T(unread_output_of_very_many_streams_ends_the_client),
        T(a_client_that_leaves_closes_its_streams_and_late_frames_are_dropped),
        T(requests_are_counted_until_they_are_answered),
        T(what_may_come_once_comes_once),
        T(a_command_ends_once),
        T(after_the_gate_is_closed_new_streams_are_answered_with_the_reason),
        T(the_last_message_comes_after_all_output),
        T(a_paused_guest_gets_no_signals_and_its_clients_stay_heard),
        T(a_client_without_streams_is_read_whatever_waits_for_a_paused_guest),
        T(a_number_in_use_or_a_message_in_the_wrong_direction_is_a_protocol_error),
        T(an_unknown_message_is_answered_and_others_go_on),
        T(streams_and_clients_are_limited),
        T(clients_are_not_read_while_the_guest_does_not_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
