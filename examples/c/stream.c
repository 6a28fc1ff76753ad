/* SPDX-License-Identifier: Apache-2.0 */
/* Output as it comes, both streams apart; the exit is the last that is told. */
#include "example.h"

static void piece(const char *stream, const uint8_t *data, size_t len)
{
    printf("%s: %.*s", stream, (int)len, (const char *)data);
    fflush(stdout);
}

static void on_stdout(const uint8_t *data, size_t len, void *user_data)
{
    (void)user_data;
    piece("stdout", data, len);
}

static void on_stderr(const uint8_t *data, size_t len, void *user_data)
{
    (void)user_data;
    piece("stderr", data, len);
}

int main(int argc, char **argv)
{
    struct ended ended = {0, 0};
    CExecutionHandle *execution;
    CBoxHandle *box;

    open_runtime();
    box = make_box(options_of(argc > 1 ? argv[1] : NULL));
    execution = start_script(box, "echo one; sleep 1; echo wrong >&2; sleep 1; echo two", 0);
    CHECK(boxlite_execution_on_stdout(execution, on_stdout, NULL, &error));
    CHECK(boxlite_execution_on_stderr(execution, on_stderr, NULL, &error));
    CHECK(boxlite_execution_on_exit(execution, on_exit_code, &ended, &error));
    wait_for(&ended.done);
    printf("exit: %d\n", ended.code);
    boxlite_execution_free(execution);
    remove_box(box);
    boxlite_runtime_free(runtime);
    return 0;
}
