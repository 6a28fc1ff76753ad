/* SPDX-License-Identifier: Apache-2.0 */
/* Commands as a program sees them: claims, credit, kept output, stdin, the order of events. */
#include "fake_box.h"

static void output_comes_before_waits_and_the_exit_is_last(void **state)
{
    struct world *w = *state;
    struct seen s = {0};
    CExecutionHandle *x = run(w, "echo", "hello");
    BoxliteExecutionResult r = BOXLITE_EXECUTION_RESULT_INIT;
    char *id = boxlite_execution_id(x);

    assert_int_equal(strlen(id), 12);
    boxlite_free_string(id);
    /* The exit is there before anybody registered: the order holds all the same. */
    assert_int_equal(boxlite_execution_on_exit(x, on_exit_seen, &s, NULL), Ok);
    assert_int_equal(boxlite_execution_wait(x, on_wait_seen, &s, NULL), Ok);
    assert_int_equal(boxlite_execution_wait(x, on_wait_seen, &s, NULL), Ok);
    assert_int_equal(boxlite_execution_on_stdout(x, on_out, &s, NULL), Ok);
    assert_int_equal(boxlite_execution_on_stderr(x, on_err, &s, NULL), Ok);
    assert_int_equal(boxlite_execution_on_stdout(x, on_out, &s, NULL), InvalidState); /* once */
    assert_int_equal(boxlite_execution_on_exit(x, on_exit_seen, &s, NULL), InvalidState);
    DRAIN_UNTIL(w->home.rt, s.exits);
    assert_string_equal(s.out, "hello");
    assert_string_equal(s.err, "err");
    assert_string_equal(s.order, "oewx");
    assert_int_equal(s.waits, 2);
    assert_int_equal(s.wait_code, 3);
    assert_int_equal(s.code, 3);
    assert_int_equal(boxlite_execution_result(x, &r, NULL), Ok);
    assert_int_equal(r.exit_code, 3);
    assert_int_equal(r.user_us, 1234);
    assert_int_equal(r.max_rss_bytes, 4096);
    /* A wait after the end is answered at once; a kill has nothing to do. */
    struct answer a = {0}, k = {0};
    boxlite_execution_wait(x, on_wait, &a, NULL);
    boxlite_execution_kill(x, on_plain, &k, NULL);
    DRAIN_UNTIL(w->home.rt, a.done && k.done);
    assert_int_equal(a.number, 3);
    ASSERT_ANSWER(k, Ok);
    boxlite_execution_free(x);
    assert_int_equal(boxlite_runtime_drain(w->home.rt, 0, NULL), 0);
    assert_int_equal(s.exits, 1);
}

static void output_nobody_asked_for_can_be_had_at_the_end(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    CExecutionHandle *x = run(w, "echo", "quiet");
    char *data = NULL;
    size_t len = 0;

    boxlite_execution_wait(x, on_wait, &a, NULL);
    DRAIN_UNTIL(w->home.rt, a.done);
    assert_int_equal(boxlite_execution_kept(x, 1, &data, &len, NULL), Ok);
    assert_int_equal(len, 5);
    assert_string_equal(data, "quiet");
    boxlite_free_string(data);
    assert_int_equal(boxlite_execution_kept(x, 3, &data, &len, NULL), InvalidArgument);
    boxlite_execution_free(x);
}

static void a_slow_reader_stops_the_writer_and_loses_nothing(void **state)
{
    struct world *w = *state;
    struct seen s = {0};
    CExecutionHandle *x = run(w, "flood", "20000000");
    char c;

    boxlite_execution_on_stdout(x, on_out, &s, NULL);
    boxlite_execution_on_exit(x, on_exit_seen, &s, NULL);
    /* Only what the window allows is under way before the first drain, however long that comes after. */
    assert_int_equal(read(stuck_pipe[0], &c, 1), 1);
    boxlite_runtime_drain(w->home.rt, 0, NULL);
    assert_true(s.out_len <= 2 * BX_WINDOW);
    DRAIN_UNTIL(w->home.rt, s.exits);
    assert_int_equal(s.out_len, 20000000);
    boxlite_execution_free(x);
}

static void output_nobody_reads_never_stops_the_writer_and_its_ends_are_kept(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    CExecutionHandle *x = run(w, "flood", "5000000");
    BoxliteExecutionResult r = BOXLITE_EXECUTION_RESULT_INIT;
    char *data = NULL;
    size_t len = 0;

    boxlite_execution_wait(x, on_wait, &a, NULL);
    assert_int_equal(boxlite_execution_kept(x, 1, &data, &len, NULL), InvalidState); /* not over */
    DRAIN_UNTIL(w->home.rt, a.done);
    assert_int_equal(boxlite_execution_result(x, &r, NULL), Ok);
    assert_int_equal(r.stdout_truncated, 1);
    assert_int_equal(r.stderr_truncated, 0);
    assert_int_equal(boxlite_execution_kept(x, 1, &data, &len, NULL), Ok);
    assert_int_equal(len, BX_KEEP_HEAD + BX_KEEP_TAIL);
    boxlite_free_string(data);
    boxlite_execution_free(x);
}

struct writer {
    CExecutionHandle *x;
    size_t sent, total;
    int calls;
};

static void feed(struct writer *wr)
{
    static uint8_t block[65536];
    size_t room;

    while (wr->sent < wr->total && (room = boxlite_execution_stdin_room(wr->x)) > 0) {
        size_t n = room < sizeof(block) ? room : sizeof(block);

        n = n < wr->total - wr->sent ? n : wr->total - wr->sent;
        assert_int_equal(boxlite_execution_stdin_write(wr->x, block, n, NULL), Ok);
        wr->sent += n;
    }
    if (wr->sent == wr->total)
        assert_int_equal(boxlite_execution_stdin_close(wr->x, NULL), Ok);
}

static void on_writable(size_t room, void *ud)
{
    struct writer *wr = ud;

    assert_true(room >= 512 * 1024);
    wr->calls++;
    feed(wr);
}

static void stdin_is_bounded_and_arrives_whole(void **state)
{
    struct world *w = *state;
    static uint8_t big[2 * 1024 * 1024];
    struct writer wr = {.x = run(w, "cat", NULL), .total = 12000000};
    struct seen s = {0};
    CBoxliteError e = {Ok, NULL};

    boxlite_execution_on_stdout(wr.x, on_out, &s, NULL);
    boxlite_execution_on_exit(wr.x, on_exit_seen, &s, NULL);
    boxlite_execution_on_writable(wr.x, on_writable, &wr, NULL);
    assert_int_equal(boxlite_execution_stdin_write(wr.x, big, sizeof(big), &e), ResourceExhausted);
    boxlite_error_free(&e);
    assert_int_equal(boxlite_execution_stdin_write(wr.x, NULL, 0, NULL), Ok);
    feed(&wr);
    assert_true(wr.sent < wr.total);
    DRAIN_UNTIL(w->home.rt, s.exits);
    assert_int_equal(wr.sent, wr.total);
    assert_int_equal(s.out_len, wr.total);
    assert_true(wr.calls > 0);
    assert_int_equal(boxlite_execution_stdin_write(wr.x, big, 1, NULL), InvalidState);
    assert_int_equal(boxlite_execution_stdin_close(wr.x, NULL), Ok);
    assert_int_equal(boxlite_execution_stdin_room(wr.x), 0);
    boxlite_execution_free(wr.x);
}

static void kill_signal_and_resize_are_answered(void **state)
{
    struct world *w = *state;
    struct answer sig = {0}, kill_ = {0}, size = {0};
    struct seen s = {0};
    CExecutionHandle *x = run(w, "sleep", NULL);
    BoxliteExecutionResult r = BOXLITE_EXECUTION_RESULT_INIT;

    boxlite_execution_on_exit(x, on_exit_seen, &s, NULL);
    assert_int_equal(boxlite_execution_result(x, &r, NULL), InvalidState);
    boxlite_execution_signal(x, 10, on_plain, &sig, NULL);
    boxlite_execution_tty_resize(x, 10, 10, on_plain, &size, NULL);
    DRAIN_UNTIL(w->home.rt, sig.done && size.done);
    ASSERT_ANSWER(sig, Ok);
    ASSERT_ANSWER(size, InvalidState); /* no terminal */
    assert_int_equal(s.exits, 0);
    boxlite_execution_kill(x, on_plain, &kill_, NULL);
    DRAIN_UNTIL(w->home.rt, s.exits && kill_.done);
    assert_int_equal(s.code, 137);
    boxlite_execution_result(x, &r, NULL);
    assert_int_equal(r.signal, 9);
    boxlite_execution_free(x);
}

static void a_command_that_is_not_there_is_an_execution_error(void **state)
{
    struct world *w = *state;
    CExecutionHandle *x = NULL;
    struct answer a = {0};
    CBoxliteError e = {Ok, NULL};
    BoxliteCommand c = {.command = "nosuch"};

    assert_int_equal(boxlite_box_exec(w->box, &c, &x, &e), Execution);
    assert_true(strncmp(e.message, "Execution error: ", 17) == 0);
    assert_non_null(strstr(e.message, "not found"));
    boxlite_error_free(&e);
    assert_null(x);
    boxlite_box_exec_post(w->box, &c, NULL, on_exec, &a, NULL);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Execution);
    assert_null(a.result);
}

static void environment_and_terminal_are_passed_on(void **state)
{
    struct world *w = *state;
    const char *pairs[] = {"A", "1", "B", "two words"};
    BoxliteCommand c = {.command = "env", .env_pairs = pairs, .env_count = 4, .tty = 1};
    struct seen s = {0};
    CExecutionHandle *x = NULL;

    assert_int_equal(boxlite_box_exec(w->box, &c, &x, NULL), Ok);
    boxlite_execution_on_stdout(x, on_out, &s, NULL);
    boxlite_execution_on_exit(x, on_exit_seen, &s, NULL);
    DRAIN_UNTIL(w->home.rt, s.exits);
    assert_string_equal(s.out, "A=1\nB=two words\nTERM=xterm\n");
    assert_int_equal(s.code, 1);
    boxlite_execution_free(x);
}

static void a_handle_freed_early_kills_the_command_and_says_so(void **state)
{
    struct world *w = *state;
    struct seen s = {0}, t = {0};
    struct answer a = {0};
    CExecutionHandle *x = run(w, "sleep", NULL), *y = run(w, "flood", "3000000");

    boxlite_execution_on_exit(x, on_exit_seen, &s, NULL);
    boxlite_execution_wait(x, on_wait, &a, NULL);
    boxlite_execution_free(x);
    DRAIN_UNTIL(w->home.rt, s.exits && a.done);
    assert_int_equal(s.code, -129);
    ASSERT_ANSWER(a, Stopped);
    /* From inside its own callback, too: no more output after it. */
    t.free_in_stdout = y;
    boxlite_execution_on_stdout(y, on_out, &t, NULL);
    boxlite_execution_on_exit(y, on_exit_seen, &t, NULL);
    DRAIN_UNTIL(w->home.rt, t.exits);
    assert_int_equal(t.code, -129);
    assert_string_equal(t.order, "ox");
}

static void attach_claims_what_was_kept_and_waits_for_its_end(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    struct seen s = {0};
    CExecutionHandle *x;

    boxlite_box_attach_execution(w->box, NULL, on_exec, &a, NULL);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Ok);
    x = a.result;
    boxlite_execution_on_stdout(x, on_out, &s, NULL);
    boxlite_execution_on_exit(x, on_exit_seen, &s, NULL);
    DRAIN_UNTIL(w->home.rt, s.exits);
    assert_string_equal(s.out, "kept in the box");
    assert_string_equal(s.order, "ox");
    assert_int_equal(s.code, 5);
    boxlite_execution_free(x);
}

int main(void)
{
#define W(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        W(output_comes_before_waits_and_the_exit_is_last),
        W(output_nobody_asked_for_can_be_had_at_the_end),
        W(a_slow_reader_stops_the_writer_and_loses_nothing),
        W(output_nobody_reads_never_stops_the_writer_and_its_ends_are_kept),
        W(stdin_is_bounded_and_arrives_whole),
        W(kill_signal_and_resize_are_answered),
        W(a_command_that_is_not_there_is_an_execution_error),
        W(environment_and_terminal_are_passed_on),
        W(a_handle_freed_early_kills_the_command_and_says_so),
        W(attach_claims_what_was_kept_and_waits_for_its_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
