/* SPDX-License-Identifier: Apache-2.0 */
/* Boxes that run, as a program sees them: what they say of themselves, their end. */
#include "fake_box.h"

static void details_of_a_running_box_are_made_printable(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    CExecutionHandle *x = run(w, "echo", "x");

    boxlite_box_details(w->box, on_info, &a, NULL);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Ok);
    assert_string_equal(boxlite_info_get(a.result, "status"), "running");
    assert_string_equal(boxlite_info_get(a.result, "kernel"), "6.1");
    assert_string_equal(boxlite_info_get(a.result, "execs_total"), "9");
    assert_null(strchr(boxlite_info_get(a.result, "jail"), 0x1b));
    assert_string_equal(boxlite_info_key(a.result, 0), "id");
    assert_null(boxlite_info_key(a.result, 1000));
    assert_string_equal(boxlite_info_get(a.result, "guest_processes"), "3");
    assert_string_equal(boxlite_info_get(a.result, "network_connections_total"), "9");
    assert_string_equal(boxlite_info_get(a.result, "stage_image_prepare_us"), "2000");
    boxlite_info_free(a.result);
    boxlite_execution_free(x);
}

static CBoxInfo *info_of(struct world *w)
{
    struct answer a = {0};

    boxlite_box_info(w->box, on_box_info, &a, NULL);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Ok);
    return a.result;
}

static void a_box_that_dies_fails_every_wait_and_its_row(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    struct seen s = {0};
    CExecutionHandle *x = run(w, "sleep", NULL), *y;
    CBoxInfo *info = info_of(w);

    assert_string_equal(info->status, "running");
    assert_int_equal(info->pid, w->pid);
    boxlite_free_box_info(info);
    y = run(w, "die", NULL);
    boxlite_execution_on_exit(x, on_exit_seen, &s, NULL);
    boxlite_execution_wait(x, on_wait, &a, NULL);
    DRAIN_UNTIL(w->home.rt, a.done && s.exits);
    assert_int_not_equal(a.code, Ok);
    assert_int_equal(a.number, -1);
    assert_int_equal(s.code, -1);
    for (info = info_of(w); strcmp(info->status, "stopping") == 0;
         info = info_of(w)) { /* until its end is settled */
        boxlite_free_box_info(info);
        boxlite_runtime_drain(w->home.rt, 1000, NULL);
    }
    assert_string_equal(info->status, "failed");
    assert_int_equal(info->pid, 0);
    boxlite_free_box_info(info);
    boxlite_execution_free(x);
    boxlite_execution_free(y);
}

/* One program's connection is no reason to end a box that others use. */
static void a_box_that_drops_a_client_is_left_alone(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    CExecutionHandle *x = run(w, "sleep", NULL), *y = run(w, "drop", NULL);
    CBoxInfo *info;
    int status;

    boxlite_execution_wait(x, on_wait, &a, NULL);
    DRAIN_UNTIL(w->home.rt, a.done);
    assert_int_not_equal(a.code, Ok);
    for (info = info_of(w); strcmp(info->status, "stopping") == 0; info = info_of(w)) {
        boxlite_free_box_info(info);
        boxlite_runtime_drain(w->home.rt, 1000, NULL);
    }
    assert_string_equal(info->status, "running");
    boxlite_free_box_info(info);
    assert_int_equal(waitpid(w->pid, &status, WNOHANG), 0);
    boxlite_execution_free(x);
    boxlite_execution_free(y);
}

static void stop_of_another_programs_box_settles_its_row(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    CBoxInfo *info;

    boxlite_stop_box(w->box, on_plain, &a, NULL);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Ok);
    info = info_of(w);
    assert_int_equal(info->running, 0);
    boxlite_free_box_info(info);
}

static int world_that_pauses(void **state)
{
    int r;

    fake_pauses = true;
    r = world_setup(state);
    fake_pauses = false;
    return r;
}

static void a_paused_box_says_so_and_a_start_does_not_resume_it(void **state)
{
    struct world *w = *state;
    struct answer paused = {0}, started = {0}, resumed = {0}, again = {0};

    assert_int_equal(boxlite_box_pause(w->box, on_plain, &paused, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, paused.done);
    ASSERT_ANSWER(paused, Ok);
    boxlite_start_box(w->box, on_plain, &started, NULL);
    DRAIN_UNTIL(w->home.rt, started.done);
    ASSERT_ANSWER(started, InvalidState);
    assert_non_null(strstr(started.message, "box fake is paused: `boxlite unpause fake`"));
    assert_int_equal(boxlite_box_resume(w->box, on_plain, &resumed, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, resumed.done);
    ASSERT_ANSWER(resumed, Ok);
    boxlite_start_box(w->box, on_plain, &again, NULL);
    DRAIN_UNTIL(w->home.rt, again.done);
    ASSERT_ANSWER(again, Ok);
}

static void the_mark_of_its_supervisor_is_what_tells_that_a_box_is_paused(void **state)
{
    struct world *w = *state;
    char path[128];
    CBoxInfo *info;

    snprintf(path, sizeof(path), "%s/boxes/%s/paused", w->home.path, w->id);
    close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    info = info_of(w);
    assert_string_equal(info->status, "paused");
    assert_int_equal(info->running, 0);
    assert_int_equal(info->pid, w->pid);
    boxlite_free_box_info(info);
    assert_int_equal(unlink(path), 0);
    info = info_of(w);
    assert_string_equal(info->status, "running");
    boxlite_free_box_info(info);
}

/* It would take BoxPause for a reason to close the link. */
static void a_box_of_an_older_version_is_not_asked_to_pause(void **state)
{
    struct world *w = *state;
    struct answer a = {0}, b = {0};

    boxlite_box_pause(w->box, on_plain, &a, NULL);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Unsupported);
    assert_non_null(strstr(a.message, "older version"));
    boxlite_box_details(w->box, on_info, &b, NULL); /* the link is as it was */
    DRAIN_UNTIL(w->home.rt, b.done);
    ASSERT_ANSWER(b, Ok);
    boxlite_info_free(b.result);
}

static void the_rules_of_a_box_of_an_older_version_stay(void **state)
{
    static const char *const rules[] = {"a.example"};
    struct world *w = *state;
    struct answer a = {0};
    CBoxInfo *info;

    assert_int_equal(boxlite_box_set_allow_net(w->box, rules, 1, on_plain, &a, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Unsupported);
    assert_non_null(strstr(a.message, "older version"));
    info = info_of(w);
    assert_int_equal(info->network->allow_net_count, 0);
    boxlite_free_box_info(info);
}

static void remove_needs_force_while_it_runs(void **state)
{
    struct world *w = *state;
    struct answer a = {0}, b = {0};
    struct stat st;
    char path[128];

    boxlite_remove(w->home.rt, "fake", 0, on_plain, &a, NULL);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, InvalidState);
    boxlite_remove(w->home.rt, "fake", 1, on_plain, &b, NULL);
    DRAIN_UNTIL(w->home.rt, b.done);
    ASSERT_ANSWER(b, Ok);
    snprintf(path, sizeof(path), "%s/boxes/%s", w->home.path, w->id);
    assert_int_equal(stat(path, &st), -1);
}

static void a_runtime_freed_in_the_middle_drops_everything(void **state)
{
    struct world *w = *state;
    struct answer a = {0}, wait = {0};
    struct seen s = {0};
    CExecutionHandle *x = run(w, "flood", "9000000");
    BoxliteExecutionResult r = BOXLITE_EXECUTION_RESULT_INIT;

    boxlite_execution_on_stdout(x, on_out, &s, NULL);
    boxlite_execution_on_exit(x, on_exit_seen, &s, NULL);
    boxlite_execution_wait(x, on_wait, &wait, NULL);
    boxlite_box_exec_post(w->box, &(BoxliteCommand){.command = "sleep"}, NULL, on_exec, &a, NULL);
    boxlite_runtime_drain(w->home.rt, 0, NULL);
    boxlite_runtime_free(w->home.rt);
    w->home.rt = NULL;
    assert_int_equal(boxlite_execution_stdin_write(x, (const uint8_t *)"x", 1, NULL), Stopped);
    assert_int_equal(boxlite_execution_result(x, &r, NULL), Ok);
    assert_int_equal(wait.done, 0);
    assert_int_equal(s.exits, 0);
    if (a.result) /* the box may have been quicker */
        boxlite_execution_free(a.result);
    boxlite_execution_free(x);
}

/* ---- figures ---- */

struct metrics {
    struct answer a;
    CBoxMetrics box;
    CRuntimeMetrics runtime;
};

static void on_box_metrics(CBoxMetrics *m, CBoxliteError *e, void *ud)
{
    answer_take(ud, e);
    if (m)
        ((struct metrics *)ud)->box = *m;
}
static void on_runtime_metrics(CRuntimeMetrics *m, CBoxliteError *e, void *ud)
{
    answer_take(ud, e);
    if (m)
        ((struct metrics *)ud)->runtime = *m;
}

static struct metrics metrics_of(CBoxliteRuntime *rt, CBoxHandle *box)
{
    struct metrics m = {0};

    assert_int_equal(boxlite_box_metrics(box, on_box_metrics, &m, NULL), Ok);
    DRAIN_UNTIL(rt, m.a.done);
    ASSERT_ANSWER(m.a, Ok);
    return m;
}

static void metrics_are_asked_of_a_box_that_nobody_here_has_spoken_to(void **state)
{
    struct world *w = *state;
    struct metrics m = metrics_of(w->home.rt, w->box);

    /* 2 s of processor time in 8 s of life. */
    assert_true(m.box.cpu_percent > 20 && m.box.cpu_percent < 25.1);
    assert_int_equal(m.box.memory_bytes, 50 << 20);
    assert_int_equal(m.box.commands_executed, 9);
    assert_int_equal(m.box.exec_errors, 2);
    assert_int_equal(m.box.bytes_sent, 1000);
    assert_int_equal(m.box.bytes_received, 5000000000);
    assert_int_equal(m.box.boot_duration_ms, 60);
    assert_int_equal(m.box.create_duration_ms, 70);
    assert_int_equal(m.box.network_bytes_sent, 70);
    assert_int_equal(m.box.network_bytes_received, 80);
    assert_int_equal(m.box.network_tcp_connections, 2);
    assert_int_equal(m.box.network_tcp_errors, 7);
}

static void metrics_of_a_box_that_does_not_run_are_zero(void **state)
{
    struct world *w = *state;
    CBoxHandle *idle = make_box(w->home.rt, options_of("busybox", "idle"));
    struct metrics m = metrics_of(w->home.rt, idle), zero = {0};

    assert_memory_equal(&m.box, &zero.box, sizeof(m.box));
    boxlite_box_free(idle);
}

static void metrics_asked_in_the_last_moment_are_answered(void **state)
{
    struct world *w = *state;
    CExecutionHandle *x = run(w, "die", NULL);
    struct metrics m = {0};

    boxlite_box_metrics(w->box, on_box_metrics, &m, NULL);
    DRAIN_UNTIL(w->home.rt, m.a.done);
    ASSERT_ANSWER(m.a, Ok);
    boxlite_execution_free(x);
}

static void a_runtime_counts_what_went_through_it(void **state)
{
    struct world *w = *state;
    struct metrics m = {0};
    CExecutionHandle *x = run(w, "echo", "x"), *none = NULL;

    assert_int_equal(boxlite_box_exec(w->box, &(BoxliteCommand){.command = "nosuch"}, &none, NULL), Execution);
    assert_int_equal(boxlite_runtime_metrics(w->home.rt, on_runtime_metrics, &m, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, m.a.done);
    ASSERT_ANSWER(m.a, Ok);
    assert_int_equal(m.runtime.boxes_created_total, 1);
    assert_int_equal(m.runtime.boxes_failed_total, 0);
    assert_int_equal(m.runtime.num_running_boxes, 1);
    assert_int_equal(m.runtime.total_commands_executed, 1);
    assert_int_equal(m.runtime.total_exec_errors, 1);
    boxlite_execution_free(x);
}

static void a_stop_wins_over_a_restart(void **state)
{
    struct world *w = *state;
    struct answer again = {0}, stop = {0}, late = {0};
    CBoxInfo *info;

    assert_int_equal(boxlite_restart_box(w->box, on_plain, &again, NULL), Ok);
    assert_int_equal(boxlite_stop_box(w->box, on_plain, &stop, NULL), Ok);
    assert_int_equal(boxlite_restart_box(w->box, on_plain, &late, NULL), Stopped); /* the handle is void */
    DRAIN_UNTIL(w->home.rt, again.done && stop.done);
    ASSERT_ANSWER(again, Stopped);
    ASSERT_ANSWER(stop, Ok);
    info = info_of(w);
    assert_string_equal(info->status, "failed"); /* as this box leaves no record of its end */
    boxlite_free_box_info(info);
}

int main(void)
{
#define W(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        W(details_of_a_running_box_are_made_printable),
        W(a_box_that_dies_fails_every_wait_and_its_row),
        W(a_box_that_drops_a_client_is_left_alone),
        W(stop_of_another_programs_box_settles_its_row),
        W(remove_needs_force_while_it_runs),
        W(a_runtime_freed_in_the_middle_drops_everything),
        W(metrics_are_asked_of_a_box_that_nobody_here_has_spoken_to),
        W(metrics_of_a_box_that_does_not_run_are_zero),
        W(metrics_asked_in_the_last_moment_are_answered),
        W(a_runtime_counts_what_went_through_it),
        W(a_stop_wins_over_a_restart),
        cmocka_unit_test_setup_teardown(a_paused_box_says_so_and_a_start_does_not_resume_it, world_that_pauses, world_teardown),
        W(the_mark_of_its_supervisor_is_what_tells_that_a_box_is_paused),
        W(a_box_of_an_older_version_is_not_asked_to_pause),
        W(the_rules_of_a_box_of_an_older_version_stay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
