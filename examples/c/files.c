/* SPDX-License-Identifier: Apache-2.0 */
/* Files of a box: written and read in place, copied in and out. */
#include "example.h"

static void on_content(const uint8_t *data, size_t len, CBoxliteError *error, void *user_data)
{
    on_done(error, user_data);
    printf("read: %.*s\n", (int)len, (const char *)data);
}

int main(int argc, char **argv)
{
    struct answer written = {0, NULL}, in = {0, NULL}, out = {0, NULL}, read = {0, NULL};
    const char *text = "from the host";
    CBoxHandle *box;

    if (argc < 3) {
        fprintf(stderr, "usage: files IMAGE FOLDER\n");
        return 2;
    }
    open_runtime();
    box = make_box(options_of(argv[1]));
    CHECK(boxlite_box_write_file(box, "/root/note", (const uint8_t *)text, strlen(text), NULL, on_done, &written, &error));
    wait_for(&written.done);
    run_script(box, "sed s/from/back\\ from/ /root/note > /root/answer; mkdir /root/results; cp /root/answer /root/results");
    CHECK(boxlite_box_read_file(box, "/root/answer", NULL, on_content, &read, &error));
    wait_for(&read.done);
    CHECK(boxlite_copy_into(box, argv[0], "/root/program", on_done, &in, &error));
    wait_for(&in.done);
    CHECK(boxlite_copy_out(box, "/root/results", argv[2], on_done, &out, &error));
    wait_for(&out.done);
    run_script(box, "test -s /root/program && echo copied");
    remove_box(box);
    boxlite_runtime_free(runtime);
    return 0;
}
