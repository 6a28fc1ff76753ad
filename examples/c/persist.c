/* SPDX-License-Identifier: Apache-2.0 */
/* A box with a name outlives this program: its disk over stop, start and restart, and, detached, its processes too. */
#include "example.h"

static void on_got(CBoxHandle *box, bool created, CBoxliteError *error, void *user_data)
{
    on_done(error, user_data);
    ((struct answer *)user_data)->result = box;
    printf("%s\n", created ? "made" : "found");
}

/* The box of that name, made when it is not there. */
static CBoxHandle *get(const char *image)
{
    CBoxliteOptions *options = options_of(image);
    struct answer got = {0, NULL};

    boxlite_options_set_name(options, "example-persist");
    boxlite_options_set_detach(options, 1);
    CHECK(boxlite_get_or_create_box(runtime, options, on_got, &got, &error));
    wait_for(&got.done);
    return got.result;
}

int main(int argc, char **argv)
{
    const char *image = argc > 1 ? argv[1] : NULL;
    struct answer stopped = {0, NULL}, restarted = {0, NULL};
    CBoxHandle *box;

    open_runtime();
    box = get(image);
    run_script(box, "echo written before the stop > /root/note");
    CHECK(boxlite_stop_box(box, on_done, &stopped, &error));
    wait_for(&stopped.done);
    boxlite_box_free(box); /* a handle is void after a stop */

    box = get(image);
    run_script(box, "cat /root/note; echo and added to >> /root/note");
    CHECK(boxlite_restart_box(box, on_done, &restarted, &error));
    wait_for(&restarted.done);
    run_script(box, "cat /root/note; echo in memory > /dev/shm/note");
    boxlite_box_free(box);
    boxlite_runtime_free(runtime); /* the box goes on */

    open_runtime();
    box = get(image);
    run_script(box, "cat /dev/shm/note");
    remove_box(box);
    boxlite_runtime_free(runtime);
    return 0;
}
