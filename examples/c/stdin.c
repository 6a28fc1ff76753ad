/* SPDX-License-Identifier: Apache-2.0 */
/* A hundred megabytes into a command that reads at its own pace: never more than a window of it waits in our memory. */
#include "example.h"

#define TOTAL (100 * 1000 * 1000)

static size_t sent;

/* Writes as much as there is room for. Called at first, and whenever there is room again. */
static void feed(size_t room, void *user_data)
{
    static uint8_t block[64 * 1024];
    CExecutionHandle *execution = *(CExecutionHandle **)user_data;

    while (sent < TOTAL && (room = boxlite_execution_stdin_room(execution)) > 0) {
        size_t n = room < sizeof(block) ? room : sizeof(block);

        if (n > TOTAL - sent)
            n = TOTAL - sent;
        CHECK(boxlite_execution_stdin_write(execution, block, n, &error));
        sent += n;
    }
    if (sent == TOTAL)
        CHECK(boxlite_execution_stdin_close(execution, &error));
}

int main(int argc, char **argv)
{
    const char *args[] = {"-c"};
    BoxliteCommand command = {0};
    struct answer started = {0, NULL};
    struct ended ended = {0, 0};
    CExecutionHandle *execution;
    CBoxHandle *box;

    open_runtime();
    box = make_box(options_of(argc > 1 ? argv[1] : NULL));
    command.command = "wc";
    command.args = args;
    command.argc = 1;
    CHECK(boxlite_box_exec_post(box, &command, NULL, on_execution, &started, &error));
    wait_for(&started.done);
    execution = started.result;
    CHECK(boxlite_execution_on_stdout(execution, print_output, NULL, &error));
    CHECK(boxlite_execution_on_exit(execution, on_exit_code, &ended, &error));
    CHECK(boxlite_execution_on_writable(execution, feed, &execution, &error));
    feed(0, &execution);
    wait_for(&ended.done);
    boxlite_execution_free(execution);
    remove_box(box);
    boxlite_runtime_free(runtime);
    return ended.code;
}
