/* SPDX-License-Identifier: Apache-2.0 */
/* Ending commands: by a time limit, by a signal, with everything they started. */
#include "example.h"

int main(int argc, char **argv)
{
    BoxliteExecutionResult result = BOXLITE_EXECUTION_RESULT_INIT;
    struct ended ended = {0, 0}, killed = {0, 0};
    struct answer signalled = {0, NULL}, kill = {0, NULL};
    CExecutionHandle *execution;
    CBoxHandle *box;

    open_runtime();
    box = make_box(options_of(argc > 1 ? argv[1] : NULL));

    /* TERM when the time is up, and KILL to what is left of its tree 2 seconds later. */
    execution = start_script(box, "sleep 1000 & setsid sleep 1000 & wait", 0.5);
    CHECK(boxlite_execution_on_exit(execution, on_exit_code, &ended, &error));
    wait_for(&ended.done);
    CHECK(boxlite_execution_result(execution, &result, &error));
    printf("exit code %d, timed out: %s\n", ended.code, result.timed_out ? "yes" : "no");
    boxlite_execution_free(execution);

    /* A signal goes to the command alone: it may clean up. */
    ended.done = 0;
    execution = start_script(box, "trap 'echo cleaning up; exit 7' USR1; echo ready; while :; do sleep 0.1; done", 0);
    CHECK(boxlite_execution_on_stdout(execution, print_output, NULL, &error));
    CHECK(boxlite_execution_on_exit(execution, on_exit_code, &ended, &error));
    boxlite_runtime_drain(runtime, -1, NULL); /* "ready" */
    CHECK(boxlite_execution_signal(execution, 10, on_done, &signalled, &error));
    wait_for(&ended.done);
    printf("exit code %d\n", ended.code);
    boxlite_execution_free(execution);

    /* Kill takes the whole tree, also what began a session of its own. */
    execution = start_script(box, "setsid sleep 1000 & sleep 1000 & wait", 0);
    CHECK(boxlite_execution_on_exit(execution, on_exit_code, &killed, &error));
    CHECK(boxlite_execution_kill(execution, on_done, &kill, &error));
    wait_for(&killed.done);
    printf("exit code %d; left behind: ", killed.code);
    fflush(stdout);
    run_script(box, "pidof sleep || echo nothing");
    boxlite_execution_free(execution);
    remove_box(box);
    boxlite_runtime_free(runtime);
    return 0;
}
