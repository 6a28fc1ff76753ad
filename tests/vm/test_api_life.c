/* SPDX-License-Identifier: Apache-2.0 */
/* The life of real boxes through <boxlite.h>: restart, figures, what they may take. */
#include "api_boxes.h"

/* ---- restart ---- */

static void restart_is_another_start_with_the_same_disk_and_the_same_handle(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, "again");
    struct answer a = {0}, wait = {0};
    CExecutionHandle *x;
    char *first, *second;

    expect(rt, box, "echo kept > /root/file; echo lost > /dev/shm/file", "");
    first = sh(rt, box, "cat /proc/sys/kernel/random/boot_id /proc/uptime", 0);
    x = sh_start(box, "sleep 1000");
    boxlite_execution_wait(x, on_wait, &wait, NULL);
    assert_int_equal(boxlite_restart_box(box, on_plain, &a, NULL), Ok);
    /* It waits for the new start, as restart itself does. */
    expect(rt, box, "cat /root/file; test ! -e /dev/shm/file", "kept\n");
    DRAIN_UNTIL(rt, a.done && wait.done);
    ASSERT_ANSWER(a, Ok);
    assert_int_equal(wait.number, 128 + SIGTERM);
    second = sh(rt, box, "cat /proc/sys/kernel/random/boot_id /proc/uptime", 0);
    assert_string_not_equal(first, second);
    assert_fact(rt, box, "status", "running");
    free(first);
    free(second);
    boxlite_execution_free(x);
    boxlite_box_free(box);
}

static void restart_starts_a_box_that_does_not_run(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, "fresh");
    struct answer a = {0};

    plain(rt, boxlite_restart_box(box, on_plain, &a, NULL), &a, Ok);
    assert_fact(rt, box, "status", "running");
    boxlite_box_free(box);
}

static void restart_keeps_a_box_that_is_removed_when_it_stops(void **state)
{
    CBoxliteRuntime *rt = *state, *other = open_runtime(home_path);
    CBoxliteOptions *o = options_of(IMAGE, "fleeting");
    struct answer a = {0};
    CBoxHandle *box;
    double end = seconds() + 60;

    boxlite_options_set_memory(o, 256);
    boxlite_options_set_auto_delete_interval(o, 1);
    box = make_box(rt, o);
    expect(rt, box, "echo kept > /root/file; sync", "");
    boxlite_restart_box(box, on_plain, &a, NULL);
    while (!a.done && seconds() < end) { /* another program that looks all the time does not remove it */
        struct answer list = {0};

        boxlite_runtime_drain(rt, 5, NULL);
        boxlite_list_info(other, on_box_list, &list, NULL);
        DRAIN_UNTIL(other, list.done);
        assert_int_equal(((CBoxInfoList *)list.result)->count, 1);
        boxlite_free_box_info_list(list.result);
    }
    ASSERT_ANSWER(a, Ok);
    expect(rt, box, "cat /root/file", "kept\n");
    a = (struct answer){0};
    plain(rt, boxlite_stop_box(box, on_plain, &a, NULL), &a, Ok);
    boxlite_box_free(box);
    boxlite_get(rt, "fleeting", on_box, &a, NULL);
    DRAIN_UNTIL(rt, a.done);
    ASSERT_ANSWER(a, NotFound);
    boxlite_runtime_free(other);
}

static void a_main_process_runs_again_after_a_restart(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxliteOptions *o = options_of(IMAGE, "main");
    const char *cmd[] = {"sh", "-c", "echo start >> /starts; exec sleep 1000"};
    struct answer a = {0};
    CBoxHandle *box;

    boxlite_options_set_cmd(o, cmd, 3);
    boxlite_options_set_memory(o, 256);
    box = make_box(rt, o);
    plain(rt, boxlite_start_box(box, on_plain, &a, NULL), &a, Ok);
    expect(rt, box, "while [ ! -s /starts ]; do :; done", "");
    plain(rt, boxlite_restart_box(box, on_plain, &a, NULL), &a, Ok);
    expect(rt, box, "while [ $(wc -l < /starts) -lt 2 ]; do :; done; cat /starts", "start\nstart\n");
    boxlite_box_free(box);
}

static void a_detached_box_stays_detached_when_another_program_restarts_it(void **state)
{
    CBoxliteRuntime *rt = *state, *other = open_runtime(home_path), *third;
    CBoxHandle *box = idle_box(rt, "daemon"), *there;
    struct answer a = {0};

    boxlite_box_set_detached(box, 1, NULL);
    expect(rt, box, "echo up", "up\n");
    there = again(other, "daemon");
    plain(other, boxlite_restart_box(there, on_plain, &a, NULL), &a, Ok);
    expect(other, there, "echo up > /dev/shm/mark", "");
    boxlite_box_free(there);
    boxlite_runtime_free(other);
    third = open_runtime(home_path);
    there = again(third, "daemon");
    expect(third, there, "cat /dev/shm/mark", "up\n");
    /* Who started it first sees the end of that machine only now, and does not take the new one for it. */
    assert_fact(rt, box, "status", "running");
    expect(rt, box, "cat /dev/shm/mark", "up\n");
    boxlite_box_free(there);
    boxlite_runtime_free(third);
    boxlite_box_free(box);
}

static void a_box_that_is_not_to_be_resumed_is_started_by_start_only(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxliteOptions *o = options_of(IMAGE, "asleep");
    CExecutionHandle *x = NULL;
    struct answer a = {0};
    CBoxliteError e = {Ok, NULL};
    CBoxHandle *box;

    boxlite_options_set_memory(o, 256);
    boxlite_options_set_auto_resume_enabled(o, 0);
    box = make_box(rt, o);
    expect(rt, box, "echo first", "first\n"); /* the first use starts it */
    plain(rt, boxlite_stop_box(box, on_plain, &a, NULL), &a, Ok);
    boxlite_box_free(box);
    box = again(rt, "asleep");
    assert_int_equal(boxlite_box_exec(box, &(BoxliteCommand){.command = "true"}, &x, &e), InvalidState);
    assert_non_null(strstr(e.message, "start it first"));
    boxlite_error_free(&e);
    plain(rt, boxlite_start_box(box, on_plain, &a, NULL), &a, Ok);
    expect(rt, box, "echo again", "again\n");
    boxlite_box_free(box);
}

static void a_box_that_takes_its_time_to_stop_is_stopping_for_everybody(void **state)
{
    CBoxliteRuntime *rt = *state, *other = open_runtime(home_path);
    CBoxliteOptions *o = options_of(IMAGE, "slow");
    static const char script[] = "trap 'while [ ! -e /go ]; do :; done; exit 4' TERM; echo ready > /ready; "
                                 "while :; do sleep 0.1; done";
    const char *cmd[] = {"sh", "-c", script};
    struct answer a = {0}, stop = {0}, again_ = {0};
    CBoxHandle *box, *there;

    boxlite_options_set_cmd(o, cmd, 3);
    boxlite_options_set_memory(o, 256);
    box = make_box(rt, o);
    plain(rt, boxlite_start_box(box, on_plain, &a, NULL), &a, Ok);
    expect(rt, box, "while [ ! -e /ready ]; do :; done", "");
    there = again(other, "slow");
    assert_fact(other, there, "status", "running");
    boxlite_stop_box(box, on_plain, &stop, NULL);
    assert_fact(other, there, "status", "stopping");
    plain(other, boxlite_remove(other, "slow", 0, on_plain, &again_, NULL), &again_, InvalidState);
    DRAIN_UNTIL(rt, stop.done); /* its grace is over */
    ASSERT_ANSWER(stop, Ok);
    assert_fact(other, there, "status", "stopped");
    plain(other, boxlite_start_box(there, on_plain, &a, NULL), &a, Ok);
    assert_fact(other, there, "status", "running");
    boxlite_box_free(there);
    boxlite_box_free(box);
    boxlite_runtime_free(other);
}

/* ---- figures ---- */

struct metrics {
    struct answer a;
    CBoxMetrics box;
};

static void on_box_metrics(CBoxMetrics *m, CBoxliteError *e, void *ud)
{
    answer_take(ud, e);
    if (m)
        ((struct metrics *)ud)->box = *m;
}

static CBoxMetrics metrics_of(CBoxliteRuntime *rt, CBoxHandle *box)
{
    struct metrics m = {0};

    assert_int_equal(boxlite_box_metrics(box, on_box_metrics, &m, NULL), Ok);
    DRAIN_UNTIL(rt, m.a.done);
    ASSERT_ANSWER(m.a, Ok);
    return m.box;
}

static void metrics_are_of_this_machine_and_seen_by_every_program(void **state)
{
    CBoxliteRuntime *rt = *state, *other = open_runtime(home_path);
    CBoxHandle *box = idle_box(rt, "measured"), *there = again(other, "measured");
    CBoxMetrics m = metrics_of(rt, box), zero = {0};
    CExecutionHandle *x, *none = NULL;
    long before;

    assert_memory_equal(&m, &zero, sizeof(m)); /* asking does not start it */
    expect(rt, box, "echo 123456789", "123456789\n");
    assert_int_equal(boxlite_box_exec(box, &(BoxliteCommand){.command = "no-such-program"}, &none, NULL), Execution);
    x = sh_start(box, "read line; while :; do :; done");
    boxlite_execution_stdin_write(x, (const uint8_t *)"12345\n", 6, NULL);
    before = number(rt, box, "guest_cpu_us");
    assert_true(before >= 0);
    while (number(rt, box, "guest_cpu_us") < before + 300000)
        boxlite_runtime_drain(rt, 100, NULL);
    m = metrics_of(other, there);
    assert_true(m.cpu_percent > 1);
    assert_true(m.memory_bytes > 10 << 20);
    assert_int_equal(m.commands_executed, 2);
    assert_int_equal(m.exec_errors, 1);
    assert_int_equal(m.bytes_sent, 6);
    assert_int_equal(m.bytes_received, 10);
    assert_true(m.boot_duration_ms > 0 && m.boot_duration_ms <= m.create_duration_ms);
    assert_true(number(other, there, "guest_memory_max") > 128 << 20);
    assert_true(number(other, there, "guest_processes") >= 1);
    assert_true(number(other, there, "stage_container_init_us") > 0);
    boxlite_execution_free(x);
    boxlite_box_free(box);
    boxlite_box_free(there);
    boxlite_runtime_free(other);
}

static void memory_of_the_workload_is_counted_apart_from_the_hosts(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);
    struct output out = {0};
    long before;
    CExecutionHandle *x;

    expect(rt, box, "true", "");
    before = number(rt, box, "guest_memory_bytes");
    x = sh_start(box, "dd if=/dev/zero of=/dev/shm/block bs=1M count=32 2>/dev/null; echo made; sleep 1000");
    boxlite_execution_on_stdout(x, collect, &out, NULL);
    DRAIN_UNTIL(rt, out.len > 0);
    assert_true(number(rt, box, "guest_memory_bytes") >= before + (30 << 20));
    free(out.data);
    boxlite_execution_free(x);
    boxlite_box_free(box);
}

static void the_network_is_counted(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);
    CBoxMetrics m;

    expect(rt, box, "true", "");
    m = metrics_of(rt, box);
    assert_int_equal(m.network_tcp_errors, 0);
    /* The host is guarded: no rule names it. */
    expect(rt, box, "nc -w 5 192.168.127.254 9 < /dev/null 2>/dev/null || echo refused", "refused\n");
    m = metrics_of(rt, box);
    assert_int_equal(m.network_tcp_errors, 1);
    assert_int_equal(m.network_tcp_connections, 0);
    assert_int_equal(number(rt, box, "network_refused"), 1);
    boxlite_box_free(box);
}

static void a_box_that_went_when_it_failed_can_be_stopped_all_the_same(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxliteOptions *o = options_of(IMAGE, "gone");
    struct answer a = {0}, wait = {0};
    CExecutionHandle *x;
    CBoxHandle *box;

    boxlite_options_set_auto_remove(o, 1);
    boxlite_options_set_memory(o, 256);
    box = make_box(rt, o);
    x = sh_start(box, "sleep 1000");
    boxlite_execution_wait(x, on_wait, &wait, NULL);
    kill((pid_t)number(rt, box, "pid"), SIGKILL);
    DRAIN_UNTIL(rt, wait.done);
    assert_int_not_equal(wait.code, Ok);
    while (count_entries("boxes") > 0)
        boxlite_runtime_drain(rt, 100, NULL);
    plain(rt, boxlite_stop_box(box, on_plain, &a, NULL), &a, Ok);
    boxlite_execution_free(x);
    boxlite_box_free(box);
}

int main(void)
{
#define V(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        V(restart_is_another_start_with_the_same_disk_and_the_same_handle),
        V(restart_starts_a_box_that_does_not_run),
        V(restart_keeps_a_box_that_is_removed_when_it_stops),
        V(a_main_process_runs_again_after_a_restart),
        V(a_detached_box_stays_detached_when_another_program_restarts_it),
        V(a_box_that_is_not_to_be_resumed_is_started_by_start_only),
        V(a_box_that_takes_its_time_to_stop_is_stopping_for_everybody),
        V(a_box_that_went_when_it_failed_can_be_stopped_all_the_same),
        V(metrics_are_of_this_machine_and_seen_by_every_program),
        V(the_network_is_counted),
        V(memory_of_the_workload_is_counted_apart_from_the_hosts),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
