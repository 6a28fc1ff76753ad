/* SPDX-License-Identifier: Apache-2.0 */
/* One command in one box, and what it cost. */
#include "example.h"

int main(int argc, char **argv)
{
    BoxliteExecutionResult result = BOXLITE_EXECUTION_RESULT_INIT;
    struct ended ended = {0, 0};
    CExecutionHandle *execution;
    CBoxHandle *box;
    char *engine;

    open_runtime();
    box = make_box(options_of(argc > 1 ? argv[1] : NULL));
    execution = start_script(box, "echo \"6 * 7 = $((6 * 7))\"; exit 3", 0);
    CHECK(boxlite_execution_on_stdout(execution, print_output, NULL, &error));
    CHECK(boxlite_execution_on_exit(execution, on_exit_code, &ended, &error));
    wait_for(&ended.done);
    CHECK(boxlite_execution_result(execution, &result, &error));
    engine = boxlite_box_engine(box);
    printf("exit code %d, on %s\n", ended.code, engine);
    fprintf(stderr, "%.1f ms, %.1f MB\n", (double)result.wall_us / 1e3, (double)result.max_rss_bytes / 1e6);
    boxlite_free_string(engine);
    boxlite_execution_free(execution);
    remove_box(box);
    boxlite_runtime_free(runtime);
    return 0;
}
