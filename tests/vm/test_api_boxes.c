/* SPDX-License-Identifier: Apache-2.0 */
/* Real boxes through <boxlite.h> and nothing else, as a program that embeds the library sees them. */
#include "api_boxes.h"

/* ---- tests ---- */

static void a_box_starts_by_its_first_command_and_keeps_its_disk(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, "keeper");
    struct answer a = {0};
    char *engine, *jail;

    expect(rt, box, "echo kept > /root/file; sync; echo $((6 * 7))", "42\n");
    engine = boxlite_box_engine(box);
    assert_true(strcmp(engine, "tcg") == 0 || strcmp(engine, "kvm") == 0);
    boxlite_free_string(engine);
    assert_fact(rt, box, "status", "running");
    jail = fact(rt, box, "jail");
    assert_non_null(strstr(jail, "seccomp"));
    free(jail);
    plain(rt, boxlite_start_box(box, on_plain, &a, NULL), &a, Ok); /* it runs already */
    plain(rt, boxlite_stop_box(box, on_plain, &a, NULL), &a, Ok);
    assert_int_equal(boxlite_stop_box(box, on_plain, &a, NULL), Stopped);
    boxlite_box_free(box);
    box = again(rt, "keeper");
    assert_fact(rt, box, "status", "stopped");
    expect(rt, box, "cat /root/file", "kept\n");
    boxlite_box_free(box);
}

static void two_starts_of_one_image_are_two_machines(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *a = idle_box(rt, "a"), *b = idle_box(rt, "b");
    char *ra = sh(
        rt, a,
        "hostname; cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | md5sum; echo x > /mine", 0);
    char *rb =
        sh(rt, b,
           "hostname; cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | md5sum; test ! -e /mine",
           0);
    char *la = strchr(ra, '\n') + 1, *lb = strchr(rb, '\n') + 1;

    assert_int_equal(strncmp(ra, "a\n", 2), 0);
    assert_int_equal(strncmp(rb, "b\n", 2), 0);
    assert_string_not_equal(strchr(la, '\n'), strchr(lb, '\n')); /* random bytes */
    free(ra);
    free(rb);
    boxlite_box_free(a);
    boxlite_box_free(b);
}

static void the_main_process_is_held_before_it_starts_and_ends_the_box(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxliteOptions *o = options_of(IMAGE, "main");
    const char *cmd[] = {"sh", "-c", "read line; echo got $line; exit 5"};
    struct answer a = {0};
    struct output out = {0};
    CExecutionHandle *x;
    CBoxHandle *box;
    char *id;

    boxlite_options_set_cmd(o, cmd, 3);
    boxlite_options_set_stdin_open(o, 1);
    boxlite_options_set_auto_remove(o, 0);
    boxlite_options_set_memory(o, 256);
    box = make_box(rt, o);
    boxlite_box_attach_execution(box, NULL, on_exec, &a, NULL);
    DRAIN_UNTIL(rt, a.done);
    ASSERT_ANSWER(a, Ok);
    x = a.result;
    id = boxlite_execution_id(x);
    assert_string_equal(id, "main");
    boxlite_free_string(id);
    boxlite_execution_on_stdout(x, collect, &out, NULL);
    boxlite_execution_on_exit(x, ended, &out, NULL);
    assert_int_equal(boxlite_execution_stdin_write(x, (const uint8_t *)"early\n", 6, NULL),
                     Ok); /* before there is a machine */
    a = (struct answer){0};
    plain(rt, boxlite_start_box(box, on_plain, &a, NULL), &a, Ok);
    DRAIN_UNTIL(rt, out.exits);
    assert_string_equal(out.data, "got early\n");
    assert_int_equal(out.code, 5);
    free(out.data);
    plain(rt, boxlite_stop_box(box, on_plain, &a, NULL), &a, Ok); /* waits for its end */
    boxlite_execution_free(x);
    boxlite_box_free(box);
    box = again(rt, "main");
    assert_fact(rt, box, "exit_code", "5");
    boxlite_box_free(box);
}

static void a_main_process_that_cannot_run_fails_the_start(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxliteOptions *o = options_of(IMAGE, "nomain");
    const char *cmd[] = {"no-such-program"};
    struct answer a = {0};
    CBoxHandle *box;

    boxlite_options_set_cmd(o, cmd, 1);
    boxlite_options_set_auto_remove(o, 0);
    boxlite_options_set_memory(o, 256);
    box = make_box(rt, o);
    boxlite_start_box(box, on_plain, &a, NULL);
    DRAIN_UNTIL(rt, a.done);
    ASSERT_ANSWER(a, Execution);
    assert_non_null(strstr(a.message, "not found"));
    boxlite_box_free(box);
}

static void fifty_posted_commands_all_answer(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);
    struct answer started[50] = {0}, waits[50] = {0};
    BoxliteExecOptions closed = BOXLITE_EXEC_OPTIONS_INIT;
    int i;

    closed.stdin_closed = 1;
    for (i = 0; i < 50; i++) {
        char script[32];
        const char *args[] = {"-c", script};

        snprintf(script, sizeof(script), "exit %d", i);
        assert_int_equal(boxlite_box_exec_post(box,
                                               &(BoxliteCommand){.command = "sh", .args = args, .argc = 2},
                                               &closed, on_exec, &started[i], NULL),
                         Ok);
    }
    for (i = 0; i < 50; i++) {
        DRAIN_UNTIL(rt, started[i].done);
        ASSERT_ANSWER(started[i], Ok);
        boxlite_execution_wait(started[i].result, on_wait, &waits[i], NULL);
    }
    for (i = 0; i < 50; i++) {
        DRAIN_UNTIL(rt, waits[i].done);
        assert_int_equal(waits[i].number, i);
        boxlite_execution_free(started[i].result);
    }
    boxlite_box_free(box);
}

static void results_tell_how_a_command_ended(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);
    BoxliteExecutionResult r = BOXLITE_EXECUTION_RESULT_INIT;
    const char *args[] = {"100"};
    struct answer a = {0};
    CExecutionHandle *x = NULL;
    double began;

    assert_int_equal(
        boxlite_box_exec(box,
                         &(BoxliteCommand){.command = "sleep", .args = args, .argc = 1, .timeout_secs = 0.5},
                         &x, NULL),
        Ok);
    boxlite_execution_wait(x, on_wait, &a, NULL);
    DRAIN_UNTIL(rt, a.done);
    assert_int_equal(a.number, 143);
    boxlite_execution_result(x, &r, NULL);
    assert_int_equal(r.timed_out, 1);
    assert_true(r.wall_us >= 400000);
    boxlite_execution_free(x);

    x = sh_start(box, "sleep 100 & sleep 100 & wait");
    a = (struct answer){0};
    plain(rt, boxlite_execution_kill(x, on_plain, &a, NULL), &a, Ok);
    boxlite_execution_wait(x, on_wait, &a, NULL);
    DRAIN_UNTIL(rt, a.done);
    assert_int_equal(a.number, 137);
    boxlite_execution_result(x, &r, NULL);
    assert_int_equal(r.killed, 1);
    assert_int_equal(r.signal, 9);
    boxlite_execution_free(x);
    expect(rt, box, "pidof sleep; true", ""); /* the whole tree */

    x = sh_start(box, "trap 'exit 9' USR1; echo ready; while :; do sleep 0.05; done");
    struct output out = {0};
    boxlite_execution_on_stdout(x, collect, &out, NULL);
    boxlite_execution_on_exit(x, ended, &out, NULL);
    DRAIN_UNTIL(rt, out.len > 0);
    a = (struct answer){0};
    plain(rt, boxlite_execution_signal(x, SIGUSR1, on_plain, &a, NULL), &a, Ok);
    DRAIN_UNTIL(rt, out.exits);
    assert_int_equal(out.code, 9);
    free(out.data);
    boxlite_execution_free(x);

    x = sh_start(box, "sleep 1000");
    boxlite_execution_free(x); /* kills it */
    began = seconds();
    expect(rt, box, "while pidof sleep; do :; done", "");
    assert_true(seconds() - began < 20);
    boxlite_box_free(box);
}

struct feeder {
    CExecutionHandle *x;
    size_t sent, total;
};

static void feed(size_t room, void *ud)
{
    struct feeder *f = ud;
    static uint8_t block[65536];

    (void)room;
    while (f->sent < f->total && (room = boxlite_execution_stdin_room(f->x)) > 0) {
        size_t n = room < sizeof(block) ? room : sizeof(block);

        n = n < f->total - f->sent ? n : f->total - f->sent;
        memset(block, (int)(f->sent / 65536), n);
        assert_int_equal(boxlite_execution_stdin_write(f->x, block, n, NULL), Ok);
        f->sent += n;
    }
    if (f->sent == f->total)
        boxlite_execution_stdin_close(f->x, NULL);
}

static void stdin_and_output_carry_megabytes(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);
    struct feeder f = {.x = sh_start(box, "tee /dev/stderr | wc -c"), .total = 8 << 20};
    struct output out = {0}, err = {0};

    boxlite_execution_on_stdout(f.x, collect, &out, NULL);
    boxlite_execution_on_stderr(f.x, collect, &err, NULL);
    boxlite_execution_on_exit(f.x, ended, &out, NULL);
    boxlite_execution_on_writable(f.x, feed, &f, NULL);
    feed(0, &f);
    DRAIN_UNTIL(rt, out.exits);
    assert_int_equal(atol(out.data), f.total);
    assert_int_equal(err.len, f.total);
    free(out.data);
    free(err.data);
    boxlite_execution_free(f.x);
    boxlite_box_free(box);
}

static void a_detached_command_is_taken_up_by_another_runtime(void **state)
{
    CBoxliteRuntime *rt = *state, *other = open_runtime(home_path);
    CBoxHandle *box = idle_box(rt, "shared"), *there;
    const char *args[] = {"-c", "echo before; sleep 1; echo after; exit 4"};
    BoxliteExecOptions options = BOXLITE_EXEC_OPTIONS_INIT;
    struct answer a = {0};
    struct output out = {0};
    char *id;

    options.detached = 1;
    boxlite_box_exec_post(box, &(BoxliteCommand){.command = "sh", .args = args, .argc = 2}, &options, on_exec,
                          &a, NULL);
    DRAIN_UNTIL(rt, a.done);
    ASSERT_ANSWER(a, Ok);
    id = boxlite_execution_id(a.result);
    boxlite_execution_free(a.result);
    boxlite_runtime_drain(rt, 50, NULL);
    there = again(other, "shared");
    a = (struct answer){0};
    boxlite_box_attach_execution(there, id, on_exec, &a, NULL);
    DRAIN_UNTIL(other, a.done);
    ASSERT_ANSWER(a, Ok);
    boxlite_execution_on_stdout(a.result, collect, &out, NULL);
    boxlite_execution_on_exit(a.result, ended, &out, NULL);
    DRAIN_UNTIL(other, out.exits);
    assert_string_equal(out.data, "before\nafter\n");
    assert_int_equal(out.code, 4);
    free(out.data);
    boxlite_free_string(id);
    boxlite_execution_free(a.result);
    boxlite_box_free(there);
    boxlite_box_free(box);
    boxlite_runtime_free(other);
}

static void boxes_end_with_their_runtime_unless_detached(void **state)
{
    CBoxliteRuntime *rt = *state, *other = open_runtime(home_path);
    CBoxHandle *mine = idle_box(other, "mine"), *free_ = idle_box(other, "free");
    double end = seconds() + 30;
    CBoxHandle *box;
    char *status;

    boxlite_box_set_detached(free_, 1, NULL);
    expect(other, mine, "echo up", "up\n");
    expect(other, free_, "echo up > /tmp/mark", "");
    boxlite_box_free(mine);
    boxlite_box_free(free_);
    boxlite_runtime_free(other);
    box = again(rt, "free");
    expect(rt, box, "cat /tmp/mark", "up\n"); /* the same machine */
    boxlite_box_free(box);
    box = again(rt, "mine");
    for (status = fact(rt, box, "status"); strcmp(status, "running") == 0 && seconds() < end;
         status = fact(rt, box, "status")) {
        free(status);
        boxlite_runtime_drain(rt, 20, NULL); /* the other program's end is no event of ours */
    }
    assert_string_equal(status, "stopped");
    free(status);
    boxlite_box_free(box);
}

static void shutdown_stops_what_is_not_detached_and_removes_what_goes_with_it(void **state)
{
    CBoxliteRuntime *rt = *state, *other = open_runtime(home_path);
    CBoxliteOptions *o = options_of(IMAGE, "fleeting");
    struct answer a = {0};
    CBoxHandle *box;

    boxlite_options_set_memory(o, 256);
    boxlite_options_set_auto_remove(o, 1);
    box = make_box(other, o);
    expect(other, box, "echo up", "up\n");
    assert_int_equal(boxlite_runtime_shutdown(other, 0, on_plain, &a, NULL), Ok);
    DRAIN_UNTIL(other, a.done);
    ASSERT_ANSWER(a, Ok);
    boxlite_box_free(box);
    boxlite_runtime_free(other);
    a = (struct answer){0};
    boxlite_get(rt, "fleeting", on_box, &a, NULL);
    DRAIN_UNTIL(rt, a.done);
    ASSERT_ANSWER(a, NotFound);
}

static void two_runtimes_that_start_one_box_get_the_same_machine(void **state)
{
    CBoxliteRuntime *rt = *state, *other = open_runtime(home_path);
    CBoxHandle *box = idle_box(rt, "wanted"), *there = again(other, "wanted");
    struct answer a = {0}, b = {0};
    double end = seconds() + 60;

    boxlite_start_box(box, on_plain, &a, NULL);
    boxlite_start_box(there, on_plain, &b, NULL);
    while (!(a.done && b.done)) {
        boxlite_runtime_drain(rt, 5, NULL);
        boxlite_runtime_drain(other, 5, NULL);
        assert_true(seconds() < end);
    }
    ASSERT_ANSWER(a, Ok);
    ASSERT_ANSWER(b, Ok);
    expect(rt, box, "echo one > /tmp/mark", "");
    expect(other, there, "cat /tmp/mark", "one\n");
    boxlite_box_free(box);
    boxlite_box_free(there);
    boxlite_runtime_free(other);
}

static void a_runtime_freed_in_the_middle_of_a_start_leaves_nothing_half_made(void **state)
{
    CBoxliteRuntime *rt = *state;
    double step = 0;
    int i;

    /* At ten moments: conversion, template (there already), machine on its way, running. */
    for (i = 0; i < 10; i++, step += 0.04) {
        CBoxliteRuntime *other = open_runtime(home_path);
        CBoxHandle *box = idle_box(other, NULL);
        struct answer a = {0};
        double end = seconds() + step;

        if (i % 3 == 0)
            run_program((const char *const[]){"find", home_path, "-name", "*.ext4", "-delete", NULL});
        boxlite_start_box(box, on_plain, &a, NULL);
        do
            boxlite_runtime_drain(other, 5, NULL);
        while (seconds() < end);
        boxlite_runtime_free(other);
        boxlite_box_free(box);
    }
    CBoxHandle *box = idle_box(rt, "after");
    expect(rt, box, "echo sound", "sound\n");
    boxlite_box_free(box);
}

static void a_paused_stream_stops_its_writer_and_loses_nothing(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);
    CExecutionHandle *x = sh_start(box, "yes | head -c 6000000; echo written >&2");
    struct output out = {0}, err = {0};
    struct answer wait = {0};
    int i;

    assert_int_equal(boxlite_execution_pause(x, 3, 1, NULL), InvalidArgument);
    assert_int_equal(boxlite_execution_pause(NULL, 1, 1, NULL), InvalidArgument);
    assert_int_equal(boxlite_execution_pause(x, 1, 1, NULL), Ok);
    boxlite_execution_on_stdout(x, collect, &out, NULL);
    boxlite_execution_on_stderr(x, collect, &err, NULL);
    boxlite_execution_on_exit(x, ended, &out, NULL);
    boxlite_execution_wait(x, on_wait, &wait, NULL);
    for (i = 0; i < 5; i++)
        boxlite_runtime_drain(rt, 200, NULL);
    assert_int_equal(out.len, 0);
    assert_int_equal(err.len, 0); /* it is still writing */
    assert_int_equal(wait.done, 0);
    boxlite_execution_pause(x, 1, 0, NULL);
    DRAIN_UNTIL(rt, err.len > 0);
    boxlite_execution_pause(x, 1, 1, NULL); /* at the very end, perhaps before and perhaps behind the last piece */
    boxlite_runtime_drain(rt, 200, NULL);
    boxlite_execution_pause(x, 1, 0, NULL);
    DRAIN_UNTIL(rt, out.exits && wait.done);
    assert_int_equal(out.len, 6000000);
    assert_string_equal(err.data, "written\n");
    free(out.data);
    free(err.data);
    boxlite_execution_free(x);
    boxlite_box_free(box);
}

static void a_paused_stream_that_is_given_up_ends_its_waits(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);
    CExecutionHandle *x = sh_start(box, "echo never read");
    struct output out = {0};
    struct answer wait = {0};

    boxlite_execution_pause(x, 1, 1, NULL);
    boxlite_execution_on_stdout(x, collect, &out, NULL);
    boxlite_execution_wait(x, on_wait, &wait, NULL);
    boxlite_runtime_drain(rt, 500, NULL);
    assert_int_equal(wait.done, 0);
    boxlite_execution_free(x);
    DRAIN_UNTIL(rt, wait.done);
    assert_int_equal(out.len, 0);
    boxlite_box_free(box);
}

static void a_kvm_that_is_demanded_and_not_to_be_had_is_refused_with_the_reason(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxliteOptions *o = options_of(IMAGE, NULL);
    struct answer a = {0};
    CBoxHandle *box;
    double began;
    char *reason;
    int usable;

    boxlite_runtime_info(rt, on_info, &a, NULL);
    DRAIN_UNTIL(rt, a.done);
    ASSERT_ANSWER(a, Ok);
    usable = strcmp(boxlite_info_get(a.result, "kvm"), "yes") == 0;
    reason = strdup(boxlite_info_get(a.result, "kvm.reason"));
    boxlite_info_free(a.result);
    boxlite_options_set_engine(o, "kvm");
    box = make_box(rt, o);
    a = (struct answer){0};
    began = seconds();
    boxlite_start_box(box, on_plain, &a, NULL);
    DRAIN_UNTIL(rt, a.done);
    if (!usable) {
        ASSERT_ANSWER(a, UnsupportedEngine);
        assert_non_null(strstr(a.message, reason));
        assert_true(seconds() - began < 10);
    }
    free(reason);
    boxlite_box_free(box);
}

static void remove_by_force_is_quick_and_leaves_no_child(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, "victim");
    CExecutionHandle *x = sh_start(box, "sleep 1000");
    struct answer a = {0}, wait = {0};
    double began;

    boxlite_execution_wait(x, on_wait, &wait, NULL);
    plain(rt, boxlite_remove(rt, "victim", 0, on_plain, &a, NULL), &a, InvalidState);
    began = seconds();
    plain(rt, boxlite_remove(rt, "victim", 1, on_plain, &a, NULL), &a, Ok);
    assert_true(seconds() - began < 5);
    DRAIN_UNTIL(rt, wait.done);
    assert_int_not_equal(wait.code, Ok);
    boxlite_execution_free(x);
    boxlite_box_free(box);
    /* Its supervisor was ours: reaped by the library, and a wait of the program's own never sees it. */
    boxlite_runtime_drain(rt, 200, NULL);
    errno = 0;
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

int main(void)
{
#define V(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        V(a_box_starts_by_its_first_command_and_keeps_its_disk),
        V(two_starts_of_one_image_are_two_machines),
        V(the_main_process_is_held_before_it_starts_and_ends_the_box),
        V(a_main_process_that_cannot_run_fails_the_start),
        V(fifty_posted_commands_all_answer),
        V(results_tell_how_a_command_ended),
        V(stdin_and_output_carry_megabytes),
        V(a_detached_command_is_taken_up_by_another_runtime),
        V(boxes_end_with_their_runtime_unless_detached),
        V(shutdown_stops_what_is_not_detached_and_removes_what_goes_with_it),
        V(two_runtimes_that_start_one_box_get_the_same_machine),
        V(a_runtime_freed_in_the_middle_of_a_start_leaves_nothing_half_made),
        V(a_paused_stream_stops_its_writer_and_loses_nothing),
        V(a_paused_stream_that_is_given_up_ends_its_waits),
        V(a_kvm_that_is_demanded_and_not_to_be_had_is_refused_with_the_reason),
        V(remove_by_force_is_quick_and_leaves_no_child),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
