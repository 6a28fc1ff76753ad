/* SPDX-License-Identifier: Apache-2.0 */
/* The mux and the main process: its output is logged and one client's, its end the box's; commands of the owner. */
#include "shim_mux_world.h"

#define EXEC_MAIN  1u /* the guest's numbers in a new world */
#define WATCH      2u

static void say(struct world *w, unsigned lane, const char *text)
{
    assert_int_equal(bx_link_send_data(&w->guest.link, WATCH, lane, text, strlen(text)), 0);
}

static void flood(struct world *w, size_t len)
{
    send_output(w, WATCH, len);
}

/* Main runs; claimed: by client a, whose stream is 1. */
static void main_runs(struct world *w, uint32_t claimed)
{
    send_exec(&w->a, 1, false, claimed, true);
    to_guest(w);
    send_started(w, EXEC_MAIN);
    send_started(w, WATCH);
    round_trip(w);
    w->a.seen[0] = w->guest.seen[0] = '\0';
}

static void send_attach(struct peer *p, uint32_t stream)
{
    boxlite_Attach m = {.exec_id = "main"};

    assert_int_equal(bx_msg_send(&p->link, BX_MSG_ATTACH, stream, &m, NULL), 0);
}

static void send_claim(struct peer *p, uint32_t stream, unsigned lane)
{
    boxlite_Claim m = {.lane = lane};

    assert_int_equal(bx_msg_send(&p->link, BX_MSG_CLAIM, stream, &m, NULL), 0);
}

/* Client b takes hold of both lanes, on its stream 9. */
static void b_attaches(struct world *w)
{
    send_attach(&w->b, 9);
    send_started(w, opened(w));
    send_claim(&w->b, 9, 1);
    send_claim(&w->b, 9, 2);
    round_trip(w);
}

static void ends(struct world *w, int code)
{
    assert_int_equal(bx_link_send_eof(&w->guest.link, WATCH, 1), 0);
    assert_int_equal(bx_link_send_eof(&w->guest.link, WATCH, 2), 0);
    send_exit(w, EXEC_MAIN, code);
    send_exit(w, WATCH, code);
}

static void the_mux_has_a_stream_of_its_own_from_the_start(void **state)
{
    struct world *w = *state;

    send_exec(&w->a, 1, false, 6, true);
    to_guest(w);
    assert_string_equal(w->guest.seen, "EXEC 1;ATTACH 2;CLAIM 2;CLAIM 2;");
    send_started(w, EXEC_MAIN);
    send_started(w, WATCH);
    round_trip(w);
    assert_string_equal(w->a.seen, "STARTED 1;");
    assert_int_equal(bx_mux_pending(w->mux), 0);
    assert_int_equal(bx_mux_counts(w->mux).execs_running, 1);
    bx_mux_client_remove(w->ca);
    w->ca = NULL;
    w->guest.seen[0] = '\0';
    to_guest(w);
    assert_string_equal(w->guest.seen, "CLOSE 1;");
    send_exit(w, WATCH, 42);
    from_guest(w);
    assert_string_equal(w->events, "main 42;");
    assert_int_equal(w->guest_error, 0);
}

static void all_output_is_logged_and_the_claimer_has_it_too(void **state)
{
    struct world *w = *state;

    main_runs(w, 6);
    say(w, 1, "out");
    say(w, 2, "err");
    round_trip(w);
    assert_string_equal(w->logged, "1 out;2 err;");
    assert_string_equal(w->a.seen, "DATA 1.1 out;DATA 1.2 err;");
    assert_int_equal(bx_mux_counts(w->mux).bytes_out, 6);
    ends(w, 3);
    round_trip(w);
    assert_string_equal(w->a.seen, "DATA 1.1 out;DATA 1.2 err;EOF 1.1;EOF 1.2;EXIT 1;");
    assert_string_equal(w->events, "main 3;");
}

static void what_nobody_claimed_never_stops_the_writer(void **state)
{
    struct world *w = *state;

    main_runs(w, 0);
    for (int i = 0; i < 20; i++) {
        flood(w, BX_WINDOW / 2);
        from_guest(w);
        to_guest(w); /* credit */
    }
    assert_int_equal(w->guest_error, 0);
    assert_int_equal(w->logged_bytes, 10 * BX_WINDOW);
    assert_string_equal(w->a.seen, "");
    assert_int_equal(w->a.data_bytes, 0);
}

static void a_late_claimer_gets_the_ends_of_what_was_kept_and_what_comes(void **state)
{
    struct world *w = *state;

    main_runs(w, 0);
    say(w, 1, "first");
    for (int i = 0; i < 8; i++) {
        flood(w, BX_WINDOW / 2);
        from_guest(w);
        to_guest(w);
    }
    say(w, 1, "last");
    from_guest(w);
    b_attaches(w);
    say(w, 1, "live");
    round_trip(w);
    assert_non_null(strstr(w->b.seen, "STARTED 9;"));
    assert_non_null(strstr(w->b.seen, "TRUNCATED 9;"));
    assert_int_equal(w->b.data_bytes, BX_KEEP_HEAD + BX_KEEP_TAIL);
    /* He had a window of credit, and what came live waits for more. */
    assert_null(strstr(w->b.seen, "live"));
    assert_int_equal(bx_msg_send_credit(&w->b.link, 9, 1, 100), 0);
    round_trip(w);
    assert_non_null(strstr(w->b.seen, "DATA 9.1 live;"));
    assert_int_equal(w->guest_error, 0);
    assert_int_equal(w->client_error, 0);
}

static void a_claimer_that_gives_no_credit_stops_the_writer(void **state)
{
    struct world *w = *state;

    main_runs(w, 2);
    flood(w, BX_WINDOW);
    round_trip(w);
    assert_int_equal(w->a.data_bytes, BX_WINDOW);
    flood(w, BX_WINDOW);
    round_trip(w);
    assert_int_equal(w->a.data_bytes, BX_WINDOW); /* it waits here */
    w->guest.seen[0] = '\0';
    to_guest(w);
    assert_string_equal(w->guest.seen, ""); /* no credit beyond what the claimer has taken */
    flood(w, 1);
    from_guest(w);
    assert_int_not_equal(w->guest_error, 0);
}

static void a_claimer_that_goes_leaves_what_he_had_no_credit_for_to_the_next(void **state)
{
    struct world *w = *state;

    main_runs(w, 6);
    flood(w, BX_WINDOW);
    round_trip(w);
    say(w, 1, "unread");
    from_guest(w);
    bx_mux_client_remove(w->ca);
    w->ca = NULL;
    b_attaches(w);
    assert_string_equal(w->b.seen, "STARTED 9;DATA 9.1 unread;");
    assert_int_equal(w->guest_error, 0);
}

static void a_lane_is_one_clients_at_a_time(void **state)
{
    struct world *w = *state;

    main_runs(w, 6);
    send_attach(&w->b, 9);
    send_started(w, opened(w));
    round_trip(w);
    send_claim(&w->b, 9, 1);
    round_trip(w);
    assert_string_equal(w->b.seen, "STARTED 9;ERROR 9;");
    assert_int_equal(w->b.error.code, BX_ESTATE);
    say(w, 1, "x");
    round_trip(w);
    assert_string_equal(w->a.seen, "DATA 1.1 x;");
    assert_int_equal(w->client_error, 0);
}

static void the_box_ends_when_the_claimer_has_heard_of_the_end(void **state)
{
    struct world *w = *state;

    main_runs(w, 2);
    flood(w, BX_WINDOW);
    round_trip(w);
    say(w, 1, "last");
    ends(w, 7);
    round_trip(w);
    assert_string_equal(w->events, "");
    assert_null(strstr(w->a.seen, "EXIT"));
    assert_int_equal(bx_msg_send_credit(&w->a.link, 1, 1, 10), 0);
    round_trip(w);
    assert_string_equal(w->a.seen, "DATA 1.1 last;EOF 1.1;EXIT 1;");
    assert_string_equal(w->events, "main 7;");
}

static void a_claimer_that_goes_does_not_hold_the_end_up(void **state)
{
    struct world *w = *state;

    main_runs(w, 2);
    flood(w, BX_WINDOW);
    round_trip(w);
    say(w, 1, "last");
    ends(w, 7);
    round_trip(w);
    assert_string_equal(w->events, "");
    bx_mux_client_remove(w->ca);
    w->ca = NULL;
    assert_string_equal(w->events, "main 7;");
}

static void kept_output_can_be_claimed_after_the_end(void **state)
{
    struct world *w = *state;

    main_runs(w, 0);
    say(w, 2, "was here");
    ends(w, 1);
    round_trip(w);
    assert_string_equal(w->a.seen, "EXIT 1;"); /* it has claimed nothing */
    send_claim(&w->a, 1, 2);
    round_trip(w);
    assert_string_equal(w->a.seen, "EXIT 1;DATA 1.2 was here;EOF 1.2;");
}

static void a_client_that_does_not_read_holds_credit_back(void **state)
{
    struct world *w = *state;
    size_t sent = 0;

    main_runs(w, 2);
    for (int i = 0; i < 64; i++) {
        flood(w, BX_WINDOW / 4);
        sent += BX_WINDOW / 4;
        from_guest(w);
        assert_int_equal(bx_msg_send_credit(&w->a.link, 1, 1, BX_WINDOW / 4), 0);
        w->guest.seen[0] = '\0';
        to_guest(w);
        if (i > 4 && !strstr(w->guest.seen, "CREDIT"))
            break;
    }
    assert_int_equal(w->guest_error, 0);
    assert_true(sent <= BX_MUX_HOLD + 2 * BX_WINDOW);
    assert_null(bx_mux_client_condemned(w->ca));
    client_reads(w->ca, &w->a, ALL);
    assert_int_equal(w->a.data_bytes, sent);
    w->guest.seen[0] = '\0';
    to_guest(w);
    assert_non_null(strstr(w->guest.seen, "CREDIT"));
}

static void one_that_cannot_be_started_does_not_end_the_box(void **state)
{
    struct world *w = *state;
    boxlite_Error e = {.code = BX_EEXEC, .message = "not found"};

    send_exec(&w->a, 1, false, 6, true);
    to_guest(w);
    assert_int_equal(bx_msg_send(&w->guest.link, BX_MSG_ERROR, EXEC_MAIN, &e, NULL), 0);
    assert_int_equal(bx_msg_send(&w->guest.link, BX_MSG_ERROR, WATCH, &e, NULL), 0);
    round_trip(w);
    assert_string_equal(w->a.seen, "ERROR 1;");
    assert_string_equal(w->a.error.message, "not found");
    assert_string_equal(w->events, "");
    assert_int_equal(bx_mux_counts(w->mux).streams, 0);
    /* and the number may be used again */
    send_exec(&w->a, 1, false, 6, true);
    to_guest(w);
    send_started(w, 3);
    send_started(w, 4);
    bx_link_send_data(&w->guest.link, 4, 1, "again", 5);
    send_exit(w, 4, 5);
    round_trip(w);
    assert_string_equal(w->a.seen, "ERROR 1;STARTED 1;DATA 1.1 again;");
    assert_string_equal(w->logged, "1 again;");
    assert_int_equal(w->client_error, 0);
    assert_int_equal(w->guest_error, 0);
}

static void one_that_the_guest_forgets_ends_the_box(void **state)
{
    struct world *w = *state;
    boxlite_Error e = {.code = BX_ENOTFOUND};

    main_runs(w, 0);
    assert_int_equal(bx_msg_send(&w->guest.link, BX_MSG_ERROR, WATCH, &e, NULL), 0);
    from_guest(w);
    assert_string_equal(w->events, "main -1;");
}

static void a_guest_that_writes_past_the_watch_is_found_out(void **state)
{
    struct world *w = *state;

    main_runs(w, 6);
    bx_link_send_data(&w->guest.link, EXEC_MAIN, 1, "x", 1);
    from_guest(w);
    assert_int_not_equal(w->guest_error, 0);
}

static void a_hole_in_the_guest_is_in_the_log_and_told(void **state)
{
    struct world *w = *state;
    boxlite_Truncated hole = {.lane = 1, .dropped = 99};

    main_runs(w, 6);
    say(w, 1, "a");
    assert_int_equal(bx_msg_send_ordered(&w->guest.link, BX_MSG_TRUNCATED, WATCH, &hole, NULL), 0);
    say(w, 1, "b");
    round_trip(w);
    assert_string_equal(w->logged, "1 a;hole 99;1 b;");
    assert_string_equal(w->a.seen, "DATA 1.1 a;TRUNCATED 1;DATA 1.1 b;");
}

/* ---- commands ---- */

static void the_owner_is_told_of_commands(void **state)
{
    struct world *w = *state;
    uint32_t gs;

    send_exec(&w->a, 1, false, 0, false);
    gs = opened(w);
    send_started(w, gs);
    send_exit(w, gs, 4);
    from_guest(w);
    assert_string_equal(w->events, "x true runs;x true ended 4;");
    w->events[0] = '\0';
    send_exec(&w->a, 2, false, 0, false);
    send_started(w, opened(w));
    from_guest(w);
    bx_mux_client_remove(w->ca);
    w->ca = NULL;
    assert_string_equal(w->events, "x true runs;x true ended -1;");
}

static void a_detached_command_is_watched_on(void **state)
{
    struct world *w = *state;
    struct bx_msg_exec e = {.pb = {.exec_id = "d", .detached = true}, .args = {"sleep", 6, 1}};
    uint32_t gs;

    assert_int_equal(bx_msg_send_exec(&w->a.link, 1, &e, NULL), 0);
    send_started(w, opened(w));
    from_guest(w);
    bx_mux_client_remove(w->ca);
    w->ca = NULL;
    w->guest.seen[0] = '\0';
    gs = opened(w);
    assert_string_equal(w->guest.seen, "CLOSE 1;ATTACH 2;");
    assert_string_equal(w->events, "d sleep runs;");
    send_started(w, gs);
    send_exit(w, gs, 6);
    from_guest(w);
    assert_string_equal(w->events, "d sleep runs;d sleep ended 6;");
    to_guest(w);
    assert_string_equal(w->guest.seen, "CLOSE 1;ATTACH 2;CLOSE 2;");
    assert_int_equal(bx_mux_counts(w->mux).streams, 0);
}

struct own {
    char seen[256];
    size_t bytes;
};

static void own_output(void *ud, const uint8_t *data, size_t len)
{
    struct own *o = ud;

    (void)data;
    o->bytes += len;
}

static void own_ended(void *ud, const boxlite_Exit *e, const struct bx_err *err)
{
    struct own *o = ud;

    snprintf(o->seen + strlen(o->seen), sizeof(o->seen) - strlen(o->seen), "%d %s;", e ? e->code : -1, err ? err->msg : "");
}

static const struct bx_mux_exec_ops own_ops = {own_output, own_ended};

static void a_command_of_the_owner_has_its_output_and_end(void **state)
{
    struct world *w = *state;
    struct bx_msg_exec e = {.pb = {.exec_id = "own"}, .args = {"true", 5, 1}};
    boxlite_Error refused = {.code = BX_EEXEC, .message = "no \x1b such"};
    struct own o = {0};
    uint32_t gs = bx_mux_exec(w->mux, &e, &own_ops, &o);

    assert_int_not_equal(gs, 0);
    to_guest(w);
    send_started(w, gs);
    for (int i = 0; i < 8; i++) { /* it gives credit back by itself */
        send_output(w, gs, BX_WINDOW / 2);
        round_trip(w);
    }
    send_exit(w, gs, 2);
    from_guest(w);
    assert_int_equal(w->guest_error, 0);
    assert_int_equal(o.bytes, 4 * BX_WINDOW);
    assert_string_equal(o.seen, "2 ;");
    assert_string_equal(w->events, ""); /* no client's */
    bx_mux_exec_close(w->mux, gs);
    assert_int_equal(bx_mux_counts(w->mux).streams, 0);
    gs = bx_mux_exec(w->mux, &e, &own_ops, &o);
    to_guest(w);
    assert_int_equal(bx_msg_send(&w->guest.link, BX_MSG_ERROR, gs, &refused, NULL), 0);
    from_guest(w);
    assert_string_equal(o.seen, "2 ;-1 no \\x1b such;");
    assert_int_equal(bx_mux_counts(w->mux).streams, 0);
}

static void a_command_of_the_owner_fails_with_the_box(void **state)
{
    struct world *w = *state;
    struct bx_msg_exec e = {.pb = {.exec_id = "own"}, .args = {"true", 5, 1}};
    struct bx_err why = BX_ERR_INIT;
    struct own o = {0};

    assert_int_not_equal(bx_mux_exec(w->mux, &e, &own_ops, &o), 0);
    bx_fail(&why, BX_EENGINE, 0, "it died");
    bx_mux_fail_streams(w->mux, &why);
    assert_string_equal(o.seen, "-1 it died;");
    assert_int_equal(bx_mux_counts(w->mux).streams, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_mux_has_a_stream_of_its_own_from_the_start),
        T(all_output_is_logged_and_the_claimer_has_it_too),
        T(what_nobody_claimed_never_stops_the_writer),
        T(a_late_claimer_gets_the_ends_of_what_was_kept_and_what_comes),
        T(a_claimer_that_gives_no_credit_stops_the_writer),
        T(a_claimer_that_goes_leaves_what_he_had_no_credit_for_to_the_next),
        T(a_lane_is_one_clients_at_a_time),
        T(the_box_ends_when_the_claimer_has_heard_of_the_end),
        T(a_claimer_that_goes_does_not_hold_the_end_up),
        T(kept_output_can_be_claimed_after_the_end),
        T(a_client_that_does_not_read_holds_credit_back),
        T(one_that_cannot_be_started_does_not_end_the_box),
        T(one_that_the_guest_forgets_ends_the_box),
        T(a_guest_that_writes_past_the_watch_is_found_out),
        T(a_hole_in_the_guest_is_in_the_log_and_told),
        T(the_owner_is_told_of_commands),
        T(a_detached_command_is_watched_on),
        T(a_command_of_the_owner_has_its_output_and_end),
        T(a_command_of_the_owner_fails_with_the_box),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
