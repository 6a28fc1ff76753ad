/* SPDX-License-Identifier: Apache-2.0 */
/* What untrusted code may take: limits of the box and of one command, capabilities, and out of memory told apart. */
#include "example.h"

static void show_end(CExecutionHandle *execution)
{
    BoxliteExecutionResult result = BOXLITE_EXECUTION_RESULT_INIT;
    struct ended ended = {0, 0};

    CHECK(boxlite_execution_on_stdout(execution, print_output, NULL, &error));
    CHECK(boxlite_execution_on_exit(execution, on_exit_code, &ended, &error));
    wait_for(&ended.done);
    CHECK(boxlite_execution_result(execution, &result, &error));
    printf("exit code %d%s%s%s\n", result.exit_code, result.oom ? ", out of memory" : "",
           result.message[0] ? ": " : "", result.message);
    boxlite_execution_free(execution);
}

int main(int argc, char **argv)
{
    const char *drop[] = {"ALL"}, *add[] = {"CHOWN", "SETUID"}, *args[] = {"-c", "while :; do :; done"};
    CBoxliteOptions *options;
    CAdvancedBoxOptions *advanced = NULL;
    BoxliteExecOptions limits = BOXLITE_EXEC_OPTIONS_INIT;
    BoxliteCommand command = {0};
    struct answer started = {0, NULL};
    CBoxHandle *box;

    open_runtime();
    options = options_of(argc > 1 ? argv[1] : NULL);
    CHECK(boxlite_advanced_options_new(&advanced, &error));
    CHECK(boxlite_advanced_options_set_security_preset(advanced, "maximum", &error));
    boxlite_advanced_options_set_max_open_files(advanced, 2048);
    boxlite_advanced_options_set_network_enabled(advanced, 0);
    CHECK(boxlite_advanced_options_set_capabilities_drop(advanced, drop, 1));
    CHECK(boxlite_advanced_options_set_capabilities_add(advanced, add, 2));
    boxlite_options_set_advanced(options, advanced);
    boxlite_advanced_options_free(advanced);
    box = make_box(options);

    printf("open files: ");
    fflush(stdout);
    run_script(box, "ulimit -n");
    printf("capabilities: ");
    fflush(stdout);
    run_script(box, "sed -n 's/CapEff:.0*//p' /proc/self/status");

    printf("too much memory: ");
    fflush(stdout);
    show_end(start_script(box, "exec tail /dev/zero", 0));

    command.command = "sh";
    command.args = args;
    command.argc = 2;
    limits.stdin_closed = 1;
    limits.max_cpu_time = 1; /* of this command alone */
    CHECK(boxlite_box_exec_post(box, &command, &limits, on_execution, &started, &error));
    wait_for(&started.done);
    printf("a second of processor time: ");
    fflush(stdout);
    show_end(started.result);

    printf("the box goes on: ");
    fflush(stdout);
    run_script(box, "echo yes");
    remove_box(box);
    boxlite_runtime_free(runtime);
    return 0;
}
