/* SPDX-License-Identifier: Apache-2.0 */
/* bad_calls_boxes.h - functions about boxes and commands, called wrongly. */
#ifndef BX_TESTS_BAD_CALLS_BOXES_H
#define BX_TESTS_BAD_CALLS_BOXES_H

#include "bad_calls.h"

/* ---- boxes ---- */

ROW(boxlite_create_box)
{
    BAD(boxlite_create_box(NULL, b->options, no_box, NULL, E));
    BAD(boxlite_create_box(b->rt, NULL, no_box, NULL, E));
    BAD(boxlite_create_box(b->rt, b->options, NULL, NULL, E));
    STALE(boxlite_create_box(b->closed, b->options, no_box, NULL, E));
}
ROW(boxlite_get_or_create_box)
{
    BAD(boxlite_get_or_create_box(NULL, b->options, no_made, NULL, E));
    BAD(boxlite_get_or_create_box(b->rt, NULL, no_made, NULL, E));
    BAD(boxlite_get_or_create_box(b->rt, b->options, NULL, NULL, E));
    STALE(boxlite_get_or_create_box(b->closed, b->options, no_made, NULL, E));
}
ROW(boxlite_get)
{
    BAD(boxlite_get(NULL, "x", no_box, NULL, E));
    BAD(boxlite_get(b->rt, NULL, no_box, NULL, E));
    BAD(boxlite_get(b->rt, "x", NULL, NULL, E));
    STALE(boxlite_get(b->closed, "x", no_box, NULL, E));
    b->a = (struct answer){0}; /* names that are none are no box, whatever their length */
    assert_int_equal(boxlite_get(b->rt, long_text, on_box, &b->a, NULL), Ok);
    DRAIN_UNTIL(b->rt, b->a.done);
    ASSERT_ANSWER(b->a, NotFound);
    b->a = (struct answer){0};
    assert_int_equal(boxlite_get(b->rt, "", on_box, &b->a, NULL), Ok);
    DRAIN_UNTIL(b->rt, b->a.done);
    ASSERT_ANSWER(b->a, NotFound);
}
ROW(boxlite_get_info)
{
    BAD(boxlite_get_info(NULL, "x", no_box_info, NULL, E));
    BAD(boxlite_get_info(b->rt, NULL, no_box_info, NULL, E));
    BAD(boxlite_get_info(b->rt, "x", NULL, NULL, E));
    STALE(boxlite_get_info(b->closed, "x", no_box_info, NULL, E));
}
ROW(boxlite_list_info)
{
    BAD(boxlite_list_info(NULL, no_box_list, NULL, E));
    BAD(boxlite_list_info(b->rt, NULL, NULL, E));
    STALE(boxlite_list_info(b->closed, no_box_list, NULL, E));
}
ROW(boxlite_remove)
{
    BAD(boxlite_remove(NULL, "x", 0, no_plain, NULL, E));
    BAD(boxlite_remove(b->rt, NULL, 0, no_plain, NULL, E));
    BAD(boxlite_remove(b->rt, "x", 0, NULL, NULL, E));
    STALE(boxlite_remove(b->closed, "x", 0, no_plain, NULL, E));
}
#define BOX_PLAIN(name)                                                                                      \
    ROW(name)                                                                                                \
    {                                                                                                        \
        BAD(name(NULL, no_plain, NULL, E));                                                                  \
        BAD(name(b->box, NULL, NULL, E));                                                                    \
        STALE(name(b->stopped_box, no_plain, NULL, E));                                                      \
        STALE(name(b->stale_box, no_plain, NULL, E));                                                        \
    }
BOX_PLAIN(boxlite_start_box)
BOX_PLAIN(boxlite_stop_box)
BOX_PLAIN(boxlite_restart_box)
BOX_PLAIN(boxlite_box_pause)
BOX_PLAIN(boxlite_box_resume)
ROW(boxlite_box_set_detached)
{
    BAD(boxlite_box_set_detached(NULL, 1, E));
    STALE(boxlite_box_set_detached(b->stopped_box, 1, E));
    STALE(boxlite_box_set_detached(b->stale_box, 1, E));
}
ROW(boxlite_box_id)
{
    char *id = boxlite_box_id(b->stale_box); /* that stays known */

    assert_null(boxlite_box_id(NULL));
    assert_int_equal(strlen(id), 12);
    boxlite_free_string(id);
}
ROW(boxlite_box_name)
{
    char *name = boxlite_box_name(b->stale_box);

    assert_null(boxlite_box_name(NULL));
    assert_string_equal(name, "fake");
    boxlite_free_string(name);
}
ROW(boxlite_box_engine)
{
    assert_null(boxlite_box_engine(NULL));
    assert_null(boxlite_box_engine(b->stale_box));
}
ROW(boxlite_box_free)
{
    UNUSED(b);
    boxlite_box_free(NULL);
}
ROW(boxlite_box_info)
{
    BAD(boxlite_box_info(NULL, no_box_info, NULL, E));
    BAD(boxlite_box_info(b->box, NULL, NULL, E));
    STALE(boxlite_box_info(b->stale_box, no_box_info, NULL, E));
}
ROW(boxlite_box_details)
{
    BAD(boxlite_box_details(NULL, no_info, NULL, E));
    BAD(boxlite_box_details(b->box, NULL, NULL, E));
    STALE(boxlite_box_details(b->stale_box, no_info, NULL, E));
}
ROW(boxlite_box_metrics)
{
    BAD(boxlite_box_metrics(NULL, no_box_metrics, NULL, E));
    BAD(boxlite_box_metrics(b->box, NULL, NULL, E));
    STALE(boxlite_box_metrics(b->stale_box, no_box_metrics, NULL, E));
}
ROW(boxlite_box_wait)
{
    BAD(boxlite_box_wait(NULL, no_wait, NULL, E));
    BAD(boxlite_box_wait(b->box, NULL, NULL, E));
    STALE(boxlite_box_wait(b->stale_box, no_wait, NULL, E));
}
ROW(boxlite_box_processes)
{
    BAD(boxlite_box_processes(NULL, no_processes, NULL, E));
    BAD(boxlite_box_processes(b->box, NULL, NULL, E));
    STALE(boxlite_box_processes(b->stale_box, no_processes, NULL, E));
}
ROW(boxlite_free_box_info)
{
    UNUSED(b);
    boxlite_free_box_info(NULL);
}
ROW(boxlite_free_box_info_list)
{
    UNUSED(b);
    boxlite_free_box_info_list(NULL);
}

/* ---- commands ---- */

#define BAD_COMMANDS(CALL)                                                                                   \
    CALL(&((BoxliteCommand){.command = NULL}));                                                              \
    CALL(&((BoxliteCommand){.command = ""}));                                                                \
    CALL(&((BoxliteCommand){.command = "x", .argc = -1}));                                                   \
    CALL(&((BoxliteCommand){.command = "x", .argc = 1}));                                                    \
    CALL(&((BoxliteCommand){.command = "x", .args = holes, .argc = 2}));                                     \
    CALL(&((BoxliteCommand){.command = "x", .args = one, .argc = INT_MAX}));                                 \
    CALL(&((BoxliteCommand){.command = "x", .env_pairs = holes, .env_count = 2}));                           \
    CALL(&((BoxliteCommand){.command = "x", .env_pairs = one, .env_count = 1}));                             \
    CALL(&((BoxliteCommand){.command = "x", .env_count = 2}));                                               \
    CALL(&((BoxliteCommand){.command = "x", .env_pairs = one, .env_count = -2}));                            \
    CALL(&((BoxliteCommand){.command = "x", .workdir = "relative"}));                                        \
    CALL(&((BoxliteCommand){.command = "x", .workdir = long_text}));                                         \
    CALL(&((BoxliteCommand){.command = "x", .user = long_text}));                                            \
    CALL(&((BoxliteCommand){.command = "x", .timeout_secs = -1}));                                           \
    CALL(&((BoxliteCommand){.command = "x", .timeout_secs = 0.0 / 0.0}));                                    \
    CALL(&((BoxliteCommand){.command = "x", .timeout_secs = 1e300}))

ROW(boxlite_box_exec)
{
    CExecutionHandle *x = NULL;

    BAD(boxlite_box_exec(NULL, &good, &x, E));
    BAD(boxlite_box_exec(b->box, NULL, &x, E));
    BAD(boxlite_box_exec(b->box, &good, NULL, E));
#define EXEC(command) BAD(boxlite_box_exec(b->box, command, &x, E))
    BAD_COMMANDS(EXEC);
    STALE(boxlite_box_exec(b->stopped_box, &good, &x, E));
    STALE(boxlite_box_exec(b->stale_box, &good, &x, E));
    assert_null(x);
}
ROW(boxlite_box_exec_post)
{
    struct {
        BoxliteExecOptions known;
        uint64_t later;
    } newer = {.known = {.size = sizeof(newer)}, .later = 1};

    BAD(boxlite_box_exec_post(NULL, &good, NULL, no_exec, NULL, E));
    BAD(boxlite_box_exec_post(b->box, NULL, NULL, no_exec, NULL, E));
    BAD(boxlite_box_exec_post(b->box, &good, NULL, NULL, NULL, E));
#define EXEC_POST(command) BAD(boxlite_box_exec_post(b->box, command, NULL, no_exec, NULL, E))
    BAD_COMMANDS(EXEC_POST);
#define EXEC_WITH(...)                                                                                       \
    BAD(boxlite_box_exec_post(b->box, &good, &((BoxliteExecOptions){__VA_ARGS__}), no_exec, NULL, E))
    EXEC_WITH(.size = 0);
    EXEC_WITH(.size = sizeof(BoxliteExecOptions), .rows = 65536);
    EXEC_WITH(.size = sizeof(BoxliteExecOptions), .cols = UINT32_MAX);
    EXEC_WITH(.size = sizeof(BoxliteExecOptions), .max_open_files = UINT64_MAX);
    EXEC_WITH(.size = sizeof(BoxliteExecOptions), .max_processes = UINT64_MAX);
    BAD(boxlite_box_exec_post(b->box, &good, &newer.known, no_exec, NULL, E));
    STALE(boxlite_box_exec_post(b->stopped_box, &good, NULL, no_exec, NULL, E));
    STALE(boxlite_box_exec_post(b->stale_box, &good, NULL, no_exec, NULL, E));
}
ROW(boxlite_box_attach_execution)
{
    BAD(boxlite_box_attach_execution(NULL, NULL, no_exec, NULL, E));
    BAD(boxlite_box_attach_execution(b->box, NULL, NULL, NULL, E));
    BAD(boxlite_box_attach_execution(b->box, "", no_exec, NULL, E));
    BAD(boxlite_box_attach_execution(b->box, long_text, no_exec, NULL, E));
    STALE(boxlite_box_attach_execution(b->stopped_box, NULL, no_exec, NULL, E));
    STALE(boxlite_box_attach_execution(b->stale_box, NULL, no_exec, NULL, E));
}
ROW(boxlite_execution_id)
{
    char *id = boxlite_execution_id(b->stale_exec);

    assert_null(boxlite_execution_id(NULL));
    assert_int_equal(strlen(id), 12);
    boxlite_free_string(id);
}
#define ON(name, cb)                                                                                         \
    ROW(name)                                                                                                \
    {                                                                                                        \
        BAD(name(NULL, cb, NULL, E));                                                                        \
        BAD(name(b->exec, NULL, NULL, E));                                                                   \
        STALE(name(b->stale_exec, cb, NULL, E));                                                             \
    }
ON(boxlite_execution_on_stdout, no_output)
ON(boxlite_execution_on_stderr, no_output)
ON(boxlite_execution_on_exit, no_exit)
ON(boxlite_execution_on_writable, no_writable)
ON(boxlite_execution_wait, no_wait)
ON(boxlite_execution_kill, no_plain)
ROW(boxlite_execution_stdin_write)
{
    static uint8_t much[2 * 1024 * 1024];

    BAD(boxlite_execution_stdin_write(NULL, much, 1, E));
    BAD(boxlite_execution_stdin_write(b->exec, NULL, 1, E));
    REFUSED(ResourceExhausted, boxlite_execution_stdin_write(b->exec, much, sizeof(much), E));
    STALE(boxlite_execution_stdin_write(b->stale_exec, much, 1, E));
}
ROW(boxlite_execution_stdin_room)
{
    assert_int_equal(boxlite_execution_stdin_room(NULL), 0);
    assert_int_equal(boxlite_execution_stdin_room(b->stale_exec), 0);
}
ROW(boxlite_execution_stdin_close)
{
    BAD(boxlite_execution_stdin_close(NULL, E));
    STALE(boxlite_execution_stdin_close(b->stale_exec, E));
}
ROW(boxlite_execution_signal)
{
    BAD(boxlite_execution_signal(NULL, 15, no_plain, NULL, E));
    BAD(boxlite_execution_signal(b->exec, 15, NULL, NULL, E));
    BAD(boxlite_execution_signal(b->exec, 0, no_plain, NULL, E));
    BAD(boxlite_execution_signal(b->exec, 65, no_plain, NULL, E));
    BAD(boxlite_execution_signal(b->exec, -1, no_plain, NULL, E));
    STALE(boxlite_execution_signal(b->stale_exec, 15, no_plain, NULL, E));
}
ROW(boxlite_execution_tty_resize)
{
    BAD(boxlite_execution_tty_resize(NULL, 1, 1, no_plain, NULL, E));
    BAD(boxlite_execution_tty_resize(b->exec, 1, 1, NULL, NULL, E));
    BAD(boxlite_execution_tty_resize(b->exec, 0, 1, no_plain, NULL, E));
    BAD(boxlite_execution_tty_resize(b->exec, 1, 65536, no_plain, NULL, E));
    STALE(boxlite_execution_tty_resize(b->stale_exec, 1, 1, no_plain, NULL, E));
}
ROW(boxlite_execution_pause)
{
    BAD(boxlite_execution_pause(NULL, 1, 1, E));
    BAD(boxlite_execution_pause(b->exec, 0, 1, E));
    BAD(boxlite_execution_pause(b->exec, 3, 1, E));
    STALE(boxlite_execution_pause(b->stale_exec, 1, 1, E));
}
ROW(boxlite_execution_result)
{
    BoxliteExecutionResult r = BOXLITE_EXECUTION_RESULT_INIT, unset = {0};

    BAD(boxlite_execution_result(NULL, &r, E));
    BAD(boxlite_execution_result(b->exec, NULL, E));
    BAD(boxlite_execution_result(b->exec, &unset, E));
    REFUSED(InvalidState, boxlite_execution_result(b->exec, &r, E)); /* it runs */
}
ROW(boxlite_execution_kept)
{
    char *data = NULL;
    size_t len = 0;

    BAD(boxlite_execution_kept(NULL, 1, &data, &len, E));
    BAD(boxlite_execution_kept(b->exec, 1, NULL, &len, E));
    BAD(boxlite_execution_kept(b->exec, 1, &data, NULL, E));
    BAD(boxlite_execution_kept(b->exec, 0, &data, &len, E));
    BAD(boxlite_execution_kept(b->exec, 3, &data, &len, E));
    REFUSED(InvalidState, boxlite_execution_kept(b->exec, 1, &data, &len, E));
    STALE(boxlite_execution_kept(b->stale_exec, 1, &data, &len, E));
}
ROW(boxlite_execution_free)
{
    UNUSED(b);
    boxlite_execution_free(NULL);
}

#endif
