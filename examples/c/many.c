/* SPDX-License-Identifier: Apache-2.0 */
/* Ten boxes at once, one thread: everything is posted, and the answers come as they come. */
#include "example.h"

#define BOXES 10

struct agent {
    int number;
    CBoxHandle *box;
    CExecutionHandle *execution;
    char output[64];
};

static int running;

static void on_output(const uint8_t *data, size_t len, void *user_data)
{
    struct agent *agent = user_data;
    size_t at = strlen(agent->output);

    if (at + len < sizeof(agent->output))
        memcpy(agent->output + at, data, len);
}

static void on_end(int code, void *user_data)
{
    (void)user_data;
    if (code != 0)
        fail("an agent", NULL);
    running--;
}

/* Its first command is what starts a box. */
static void on_started(CExecutionHandle *execution, CBoxliteError *error_, void *user_data)
{
    struct agent *agent = user_data;

    if (error_)
        fail("start", error_);
    agent->execution = execution;
    CHECK(boxlite_execution_on_stdout(execution, on_output, agent, &error));
    CHECK(boxlite_execution_on_exit(execution, on_end, agent, &error));
}

static void on_made(CBoxHandle *box, CBoxliteError *error_, void *user_data)
{
    struct agent *agent = user_data;
    char script[64];
    const char *args[2];
    BoxliteCommand command = {0};

    if (error_)
        fail("create", error_);
    agent->box = box;
    snprintf(script, sizeof(script), "echo $((%d * %d))", agent->number, agent->number);
    args[0] = "-c";
    args[1] = script;
    command.command = "sh";
    command.args = args;
    command.argc = 2;
    CHECK(boxlite_box_exec_post(box, &command, NULL, on_started, agent, &error));
}

int main(int argc, char **argv)
{
    static struct agent agents[BOXES];
    int i;

    open_runtime();
    for (i = 0; i < BOXES; i++) {
        agents[i].number = i;
        running++;
        CHECK(boxlite_create_box(runtime, options_of(argc > 1 ? argv[1] : NULL), on_made, &agents[i], &error));
    }
    while (running > 0)
        boxlite_runtime_drain(runtime, -1, NULL);
    for (i = 0; i < BOXES; i++) {
        printf("%d: %s", i, agents[i].output);
        boxlite_execution_free(agents[i].execution);
        remove_box(agents[i].box);
    }
    boxlite_runtime_free(runtime);
    return 0;
}
