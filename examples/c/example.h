/* SPDX-License-Identifier: Apache-2.0 */
/*
 * example.h - what the examples share: an answer that a posted call fills, waiting for it, and a box.
 *
 * Each program takes the name of an image that is in the store: `./run python:slim-debian`. They are compiled with
 *
 *     cc run.c $(pkg-config --cflags --libs boxlite)
 */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <boxlite.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static CBoxliteRuntime *runtime;

/* What a posted call is answered with. */
struct answer {
    int done;
    void *result;
};

static inline void fail(const char *what, CBoxliteError *error)
{
    fprintf(stderr, "%s: %s\n", what, error && error->message ? error->message : "failed");
    exit(1);
}

/* For calls that return a code: those that post and those that do not. */
#define CHECK(call)                                                                                          \
    do {                                                                                                     \
        CBoxliteError error = {Ok, NULL};                                                                    \
        if ((call) != Ok)                                                                                    \
            fail(#call, &error);                                                                             \
    } while (0)

static inline void on_done(CBoxliteError *error, void *user_data)
{
    if (error)
        fail("a posted call", error);
    ((struct answer *)user_data)->done = 1;
}

static inline void on_box(CBoxHandle *box, CBoxliteError *error, void *user_data)
{
    on_done(error, user_data);
    ((struct answer *)user_data)->result = box;
}

static inline void on_execution(CExecutionHandle *execution, CBoxliteError *error, void *user_data)
{
    on_done(error, user_data);
    ((struct answer *)user_data)->result = execution;
}

/* All callbacks are made in here, on this thread. */
static inline void wait_for(const int *done)
{
    while (!*done)
        if (boxlite_runtime_drain(runtime, -1, NULL) < 0)
            fail("drain", NULL);
}

static inline void open_runtime(void)
{
    CHECK(boxlite_runtime_new(NULL, NULL, 0, &runtime, &error));
}

/* Takes the options. */
static inline CBoxHandle *make_box(CBoxliteOptions *options)
{
    struct answer made = {0, NULL};

    CHECK(boxlite_create_box(runtime, options, on_box, &made, &error));
    wait_for(&made.done);
    return made.result;
}

static inline CBoxliteOptions *options_of(const char *image)
{
    CBoxliteOptions *options = NULL;

    CHECK(boxlite_options_new(image, &options, &error));
    boxlite_options_set_memory(options, 256);
    return options;
}

static inline void remove_box(CBoxHandle *box)
{
    struct answer removed = {0, NULL};
    char *id = boxlite_box_id(box);

    CHECK(boxlite_remove(runtime, id, 1, on_done, &removed, &error));
    wait_for(&removed.done);
    boxlite_free_string(id);
    boxlite_box_free(box);
}

/* ---- commands ---- */

static inline void print_output(const uint8_t *data, size_t len, void *user_data)
{
    (void)user_data;
    fwrite(data, 1, len, stdout);
}

struct ended {
    int done, code;
};

static inline void on_exit_code(int code, void *user_data)
{
    ((struct ended *)user_data)->code = code;
    ((struct ended *)user_data)->done = 1;
}

/* Starts `sh -c script`; its stdin is at its end. The box is started where it does not run. */
static inline CExecutionHandle *start_script(CBoxHandle *box, const char *script, double timeout_secs)
{
    const char *args[2];
    BoxliteCommand command = {0};
    BoxliteExecOptions options = BOXLITE_EXEC_OPTIONS_INIT;
    struct answer started = {0, NULL};

    args[0] = "-c";
    args[1] = script;
    command.command = "sh";
    command.args = args;
    command.argc = 2;
    command.timeout_secs = timeout_secs;
    options.stdin_closed = 1;
    CHECK(boxlite_box_exec_post(box, &command, &options, on_execution, &started, &error));
    wait_for(&started.done);
    return started.result;
}

/* Runs it to its end, its output on our stdout. Gives its exit code. */
static inline int run_script(CBoxHandle *box, const char *script)
{
    CExecutionHandle *execution = start_script(box, script, 0);
    struct ended ended = {0, 0};

    CHECK(boxlite_execution_on_stdout(execution, print_output, NULL, &error));
    CHECK(boxlite_execution_on_exit(execution, on_exit_code, &ended, &error));
    wait_for(&ended.done);
    boxlite_execution_free(execution);
    return ended.code;
}

#endif
