/* SPDX-License-Identifier: Apache-2.0 */
/* What commands of real boxes may take and do, through <boxlite.h>: limits, capabilities, how they end. */
#include "api_boxes.h"

#include <signal.h>

static CBoxHandle *box_with(CBoxliteRuntime *rt, const char *name, const CAdvancedBoxOptions *a)
{
    CBoxliteOptions *o = options_of(IMAGE, name);

    boxlite_options_set_memory(o, 256);
    boxlite_options_set_advanced(o, a);
    return make_box(rt, o);
}

static CAdvancedBoxOptions *preset(const char *name)
{
    CAdvancedBoxOptions *a = NULL;

    assert_int_equal(boxlite_advanced_options_new(&a, NULL), Ok);
    assert_int_equal(boxlite_advanced_options_set_security_preset(a, name, NULL), Ok);
    return a;
}

/* Runs a script under limits of its own; gives how it ended. */
static BoxliteExecutionResult run_limited(CBoxliteRuntime *rt, CBoxHandle *box, const char *script,
                                          const BoxliteExecOptions *options, char *out, size_t size)
{
    const char *args[] = {"-c", script};
    BoxliteExecutionResult r = BOXLITE_EXECUTION_RESULT_INIT;
    struct answer a = {0};
    struct output o = {0};

    assert_int_equal(boxlite_box_exec_post(box, &(BoxliteCommand){.command = "sh", .args = args, .argc = 2}, options,
                                           on_exec, &a, NULL),
                     Ok);
    DRAIN_UNTIL(rt, a.done);
    ASSERT_ANSWER(a, Ok);
    boxlite_execution_on_stdout(a.result, collect, &o, NULL);
    boxlite_execution_on_exit(a.result, ended, &o, NULL);
    DRAIN_UNTIL(rt, o.exits);
    assert_int_equal(boxlite_execution_result(a.result, &r, NULL), Ok);
    r.message = NULL; /* of a handle that goes */
    snprintf(out, size, "%s", o.data ? o.data : "");
    free(o.data);
    boxlite_execution_free(a.result);
    return r;
}

#define LIMITS(...)                                                                                          \
    &(BoxliteExecOptions)                                                                                    \
    {                                                                                                        \
        .size = sizeof(BoxliteExecOptions), .stdin_closed = 1, __VA_ARGS__                                   \
    }

/* ---- limits of the box ---- */

static const char ask_limits[] = "ulimit -n; ulimit -f";

static void the_maximum_preset_limits_every_command_of_every_program_and_start(void **state)
{
    CBoxliteRuntime *rt = *state, *other;
    CAdvancedBoxOptions *a = preset("maximum");
    CBoxHandle *box = box_with(rt, "strict", a), *there;
    struct answer done = {0};

    boxlite_advanced_options_free(a);
    boxlite_box_set_detached(box, 1, NULL);
    expect(rt, box, ask_limits, "1024\n2097152\n"); /* blocks of 512 bytes */
    assert_fact(rt, box, "max_processes", "100");
    other = open_runtime(home_path);
    there = again(other, "strict");
    expect(other, there, ask_limits, "1024\n2097152\n");
    boxlite_box_free(there);
    boxlite_runtime_free(other);
    plain(rt, boxlite_restart_box(box, on_plain, &done, NULL), &done, Ok);
    expect(rt, box, ask_limits, "1024\n2097152\n");
    boxlite_box_free(box);
}

static void processes_are_limited_for_the_whole_box(void **state)
{
    CBoxliteRuntime *rt = *state;
    CAdvancedBoxOptions *a = preset("standard");
    CExecutionHandle *x, *none = NULL;
    struct output out = {0};
    CBoxliteError e = {Ok, NULL};
    CBoxHandle *box;

    boxlite_advanced_options_set_max_processes(a, 20);
    box = box_with(rt, NULL, a);
    boxlite_advanced_options_free(a);
    x = sh_start(box, "for i in $(seq 40); do sleep 1000 & done; wait");
    boxlite_execution_on_stderr(x, collect, &out, NULL);
    boxlite_execution_on_exit(x, ended, &out, NULL);
    DRAIN_UNTIL(rt, out.exits);
    assert_non_null(strstr(out.data, "fork"));
    free(out.data);
    boxlite_execution_free(x);
    /* What it left counts: there is room for one, and not for another. */
    assert_int_equal(number(rt, box, "guest_processes"), 19);
    x = sh_start(box, "exec sleep 1000");
    assert_int_equal(boxlite_box_exec(box, &(BoxliteCommand){.command = "true"}, &none, &e), ResourceExhausted);
    assert_non_null(strstr(e.message, "as many processes as it may have"));
    boxlite_error_free(&e);
    boxlite_execution_free(x);
    boxlite_box_free(box);
}

static void a_box_that_asked_for_nothing_has_a_ceiling_of_processes_and_many_files(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);

    expect(rt, box, ask_limits, "1048576\nunlimited\n");
    boxlite_box_free(box);
}

/* ---- limits of a command ---- */

static void a_command_has_limits_of_its_own_and_the_next_has_not(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);
    BoxliteExecutionResult r;
    char out[256];

    run_limited(rt, box, "ulimit -n", LIMITS(.max_open_files = 64), out, sizeof(out));
    assert_string_equal(out, "64\n");
    r = run_limited(rt, box, "while :; do :; done", LIMITS(.max_cpu_time = 1), out, sizeof(out));
    assert_int_equal(r.exit_code, 128 + SIGKILL);
    assert_int_equal(r.timed_out, 0);
    assert_true(r.user_us + r.system_us >= 800000);
    r = run_limited(rt, box, "dd if=/dev/zero of=/big bs=1024 count=100", LIMITS(.max_file_size = 10240), out,
                    sizeof(out));
    assert_int_equal(r.exit_code, 128 + SIGXFSZ);
    r = run_limited(rt, box, "wc -c < /big; dd if=/dev/zero of=/dev/null bs=64M count=1 || echo no memory",
                    LIMITS(.max_memory = 32 << 20), out, sizeof(out));
    assert_string_equal(out, "10240\nno memory\n");
    r = run_limited(rt, box, "(sleep 0 & sleep 0 & sleep 0 & sleep 0 & sleep 0 & wait) 2>/dev/null || echo no more",
                    LIMITS(.max_processes = 3), out, sizeof(out));
    assert_string_equal(out, "no more\n");
    /* The control group is used again: without the limit. */
    for (int i = 0; i < 3; i++) {
        r = run_limited(rt, box, "(sleep 0 & sleep 0 & sleep 0 & sleep 0 & sleep 0 & wait) && echo enough; ulimit -n",
                        LIMITS(.rows = 0), out, sizeof(out));
        assert_string_equal(out, "enough\n1048576\n");
    }
    boxlite_box_free(box);
}

static void limits_out_of_range_are_refused(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);
    CBoxliteError e = {Ok, NULL};
    struct answer a = {0};

    assert_int_equal(boxlite_box_exec_post(box, &(BoxliteCommand){.command = "true"}, LIMITS(.max_memory = UINT64_MAX),
                                           on_exec, &a, &e),
                     InvalidArgument);
    assert_non_null(strstr(e.message, "max_memory"));
    boxlite_error_free(&e);
    boxlite_box_free(box);
}

/* ---- capabilities ---- */

static void capabilities_are_those_that_were_asked_for(void **state)
{
    static const struct {
        const char *add, *drop, *mask;
    } cases[] = {
        {NULL, NULL, "00000000a80425fb\n"},
        {NULL, "ALL", "0000000000000000\n"},
        {"NET_ADMIN", "MKNOD", "00000000a00435fb\n"},
        {"ALL", "SYS_ADMIN", "000001ffffdfffff\n"},
    };
    CBoxliteRuntime *rt = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CAdvancedBoxOptions *a = preset("standard");
        CBoxHandle *box;

        assert_int_equal(boxlite_advanced_options_set_capabilities_add(a, &cases[i].add, cases[i].add != NULL), Ok);
        assert_int_equal(boxlite_advanced_options_set_capabilities_drop(a, &cases[i].drop, cases[i].drop != NULL), Ok);
        box = box_with(rt, NULL, a);
        boxlite_advanced_options_free(a);
        expect(rt, box, "awk '/CapEff/ { print $2 }' /proc/self/status", cases[i].mask);
        if (i == 1) /* root without any: not even another's file */
            expect(rt, box, "chown 5 /bin 2>/dev/null || echo refused", "refused\n");
        boxlite_box_free(box);
    }
}

static void a_box_without_the_walls_says_so_and_runs(void **state)
{
    CBoxliteRuntime *rt = *state;
    CAdvancedBoxOptions *a = preset("development");
    CBoxHandle *box = box_with(rt, NULL, a);
    char *jail;

    boxlite_advanced_options_free(a);
    expect(rt, box, "echo runs", "runs\n");
    jail = fact(rt, box, "jail");
    assert_non_null(strstr(jail, "switched off: jailer seccomp"));
    free(jail);
    boxlite_box_free(box);
}

/* ---- how commands end ---- */

static void out_of_memory_is_told_apart_and_the_box_goes_on(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);
    CExecutionHandle *x = sh_start(box, "exec tail /dev/zero"), *y = sh_start(box, "kill -9 $$");
    BoxliteExecutionResult r = BOXLITE_EXECUTION_RESULT_INIT;
    struct answer a = {0}, b = {0};

    boxlite_execution_wait(x, on_wait, &a, NULL);
    boxlite_execution_wait(y, on_wait, &b, NULL);
    DRAIN_UNTIL(rt, a.done && b.done);
    assert_int_equal(a.number, 137);
    assert_int_equal(boxlite_execution_result(x, &r, NULL), Ok);
    assert_int_equal(r.oom, 1);
    assert_int_equal(r.killed, 0);
    assert_non_null(strstr(r.message, "out of memory"));
    assert_true(r.max_rss_bytes > 64 << 20);
    assert_true(r.wall_us > 0 && r.user_us + r.system_us > 0);
    assert_int_equal(b.number, 137);
    assert_int_equal(boxlite_execution_result(y, &r, NULL), Ok);
    assert_int_equal(r.oom, 0);
    assert_string_equal(r.message, "");
    boxlite_execution_free(x);
    boxlite_execution_free(y);
    expect(rt, box, "echo on", "on\n");
    boxlite_box_free(box);
}

/* Daemons of two generations, in sessions of their own, that ignore what can be ignored. */
#define TREE                                                                                                 \
    "trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM HUP INT; setsid sleep 1234 & sleep 1234' & "         \
    "sleep 1234 & echo up; while :; do sleep 1; done"

static void kill_ends_the_whole_tree_also_what_began_a_session_of_its_own(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);
    struct answer killed = {0};
    struct output out = {0};
    CExecutionHandle *x;

    expect(rt, box, "true", "");
    x = sh_start(box, TREE);
    boxlite_execution_on_stdout(x, collect, &out, NULL);
    boxlite_execution_on_exit(x, ended, &out, NULL);
    DRAIN_UNTIL(rt, out.len > 0);
    expect(rt, box, "while [ $(pidof sleep | wc -w) -lt 3 ]; do :; done", "");
    plain(rt, boxlite_execution_kill(x, on_plain, &killed, NULL), &killed, Ok);
    DRAIN_UNTIL(rt, out.exits);
    assert_int_equal(out.code, 137);
    expect(rt, box, "pidof sleep || echo none", "none\n");
    free(out.data);
    boxlite_execution_free(x);
    boxlite_box_free(box);
}

static void time_up_is_term_then_kill_two_seconds_later_for_the_whole_tree(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);
    BoxliteExecutionResult r = BOXLITE_EXECUTION_RESULT_INIT;
    const char *args[] = {"-c", TREE};
    CExecutionHandle *x = NULL;
    struct answer a = {0};

    assert_int_equal(boxlite_box_exec(box, &(BoxliteCommand){.command = "sh", .args = args, .argc = 2, .timeout_secs = 0.7},
                                      &x, NULL),
                     Ok);
    boxlite_execution_wait(x, on_wait, &a, NULL);
    DRAIN_UNTIL(rt, a.done);
    ASSERT_ANSWER(a, Ok);
    assert_int_equal(a.number, 137);
    assert_int_equal(boxlite_execution_result(x, &r, NULL), Ok);
    assert_int_equal(r.timed_out, 1);
    assert_true(r.wall_us >= 2700000); /* it had its grace */
    assert_non_null(strstr(r.message, "time limit"));
    expect(rt, box, "pidof sleep || echo none", "none\n");
    boxlite_execution_free(x);
    boxlite_box_free(box);
}

static void everybody_who_waits_for_a_command_is_told_and_late_ones_get_its_output(void **state)
{
    CBoxliteRuntime *rt = *state, *other = open_runtime(home_path);
    CBoxHandle *box = idle_box(rt, "waited"), *there;
    const char *args[] = {"-c", "echo first; read x < /fifo; echo last; exit 6"};
    BoxliteExecOptions options = BOXLITE_EXEC_OPTIONS_INIT;
    struct answer a = {0}, waits[8] = {0}, attached[3] = {0};
    struct output out[3] = {0};
    char *id;

    options.detached = 1;
    options.stdin_closed = 1;
    expect(rt, box, "mkfifo /fifo", "");
    boxlite_box_exec_post(box, &(BoxliteCommand){.command = "sh", .args = args, .argc = 2}, &options, on_exec, &a, NULL);
    DRAIN_UNTIL(rt, a.done);
    ASSERT_ANSWER(a, Ok);
    id = boxlite_execution_id(a.result);
    for (int i = 0; i < 4; i++)
        boxlite_execution_wait(a.result, on_wait, &waits[i], NULL);
    /* While it runs, from this program and another. */
    there = again(other, "waited");
    boxlite_box_attach_execution(box, id, on_exec, &attached[0], NULL);
    boxlite_box_attach_execution(there, id, on_exec, &attached[1], NULL);
    DRAIN_UNTIL(rt, attached[0].done);
    DRAIN_UNTIL(other, attached[1].done);
    ASSERT_ANSWER(attached[0], Ok);
    ASSERT_ANSWER(attached[1], Ok);
    for (int i = 0; i < 2; i++) {
        boxlite_execution_wait(attached[0].result, on_wait, &waits[4 + i], NULL);
        boxlite_execution_wait(attached[1].result, on_wait, &waits[6 + i], NULL);
    }
    expect(rt, box, "echo go > /fifo", "");
    for (int i = 0; i < 8; i++) {
        DRAIN_UNTIL(i < 6 ? rt : other, waits[i].done);
        ASSERT_ANSWER(waits[i], Ok);
        assert_int_equal(waits[i].number, 6);
    }
    /* Nobody has claimed its output: who comes after its end gets all of it, and its code. */
    boxlite_box_attach_execution(there, id, on_exec, &attached[2], NULL);
    DRAIN_UNTIL(other, attached[2].done);
    ASSERT_ANSWER(attached[2], Ok);
    boxlite_execution_on_stdout(attached[2].result, collect, &out[2], NULL);
    boxlite_execution_on_exit(attached[2].result, ended, &out[2], NULL);
    DRAIN_UNTIL(other, out[2].exits);
    assert_string_equal(out[2].data, "first\nlast\n");
    assert_int_equal(out[2].code, 6);
    free(out[2].data);
    for (int i = 0; i < 3; i++)
        boxlite_execution_free(attached[i].result);
    boxlite_execution_free(a.result);
    boxlite_free_string(id);
    boxlite_box_free(there);
    boxlite_box_free(box);
    boxlite_runtime_free(other);
}

int main(void)
{
#define V(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        V(the_maximum_preset_limits_every_command_of_every_program_and_start),
        V(processes_are_limited_for_the_whole_box),
        V(a_box_that_asked_for_nothing_has_a_ceiling_of_processes_and_many_files),
        V(a_command_has_limits_of_its_own_and_the_next_has_not),
        V(limits_out_of_range_are_refused),
        V(capabilities_are_those_that_were_asked_for),
        V(a_box_without_the_walls_says_so_and_runs),
        V(out_of_memory_is_told_apart_and_the_box_goes_on),
        V(kill_ends_the_whole_tree_also_what_began_a_session_of_its_own),
        V(time_up_is_term_then_kill_two_seconds_later_for_the_whole_tree),
        V(everybody_who_waits_for_a_command_is_told_and_late_ones_get_its_output),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
