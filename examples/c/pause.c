/* SPDX-License-Identifier: Apache-2.0 */
/* A box is paused: it stands still with all that runs in it, refuses work, and goes on where it was. */
#include "example.h"

static void on_refused(CExecutionHandle *execution, CBoxliteError *error, void *user_data)
{
    (void)execution; /* NULL: there is an error */
    printf("%s\n", error && error->code == InvalidState ? "refused: it is paused" : "not refused");
    ((struct answer *)user_data)->done = 1;
}

static void on_info(CBoxInfo *info, CBoxliteError *error, void *user_data)
{
    on_done(error, user_data);
    printf("%s\n", info->status);
    boxlite_free_box_info(info);
}

int main(int argc, char **argv)
{
    struct answer paused = {0, NULL}, told = {0, NULL}, refused = {0, NULL}, resumed = {0, NULL};
    BoxliteCommand command = {0};
    CBoxHandle *box;

    open_runtime();
    box = make_box(options_of(argc > 1 ? argv[1] : NULL));
    run_script(box, "echo in memory > /dev/shm/note");

    CHECK(boxlite_box_pause(box, on_done, &paused, &error));
    wait_for(&paused.done);
    CHECK(boxlite_box_info(box, on_info, &told, &error));
    wait_for(&told.done);
    command.command = "true";
    CHECK(boxlite_box_exec_post(box, &command, NULL, on_refused, &refused, &error));
    wait_for(&refused.done);

    CHECK(boxlite_box_resume(box, on_done, &resumed, &error));
    wait_for(&resumed.done);
    run_script(box, "cat /dev/shm/note");
    remove_box(box);
    boxlite_runtime_free(runtime);
    return 0;
}
