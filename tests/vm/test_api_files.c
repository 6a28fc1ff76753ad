/* SPDX-License-Identifier: Apache-2.0 */
/* Files of real boxes through <boxlite.h> and nothing else. */
#include "api_boxes.h"

#include <fcntl.h>

/* ---- answers ---- */

struct file_answer {
    struct answer a;
    char data[256];
    size_t len;
    CBoxFileInfo info; /* name and link_target copied below */
    char name[256], link[256];
    char list[4096]; /* "name:type " */
    CBoxCopyResult copied;
};

static void on_data(const uint8_t *data, size_t len, CBoxliteError *e, void *ud)
{
    struct file_answer *f = ud;

    answer_take(&f->a, e);
    f->len = len;
    if (data)
        memcpy(f->data, data, len < sizeof(f->data) ? len : sizeof(f->data));
}

static void on_file_info(const CBoxFileInfo *info, CBoxliteError *e, void *ud)
{
    struct file_answer *f = ud;

    answer_take(&f->a, e);
    if (!info)
        return;
    f->info = *info;
    snprintf(f->name, sizeof(f->name), "%s", info->name);
    snprintf(f->link, sizeof(f->link), "%s", info->link_target);
}

static void on_file_list(const CBoxFileInfoList *l, CBoxliteError *e, void *ud)
{
    struct file_answer *f = ud;

    answer_take(&f->a, e);
    for (int i = 0; l && i < l->count; i++) {
        size_t n = strlen(f->list);

        snprintf(f->list + n, sizeof(f->list) - n, "%s:%d ", l->items[i]->name, l->items[i]->type);
    }
}

static void on_copied(const CBoxCopyResult *r, CBoxliteError *e, void *ud)
{
    struct file_answer *f = ud;

    answer_take(&f->a, e);
    if (r)
        f->copied = *r;
}

#define ANSWERED(f, want)                                                                                    \
    do {                                                                                                     \
        DRAIN_UNTIL(rt, (f).a.done);                                                                         \
        ASSERT_ANSWER((f).a, want);                                                                          \
    } while (0)

static struct file_answer read_file(CBoxliteRuntime *rt, CBoxHandle *box, const char *path,
                                    BoxliteErrorCode want)
{
    struct file_answer f = {0};

    assert_int_equal(boxlite_box_read_file(box, path, NULL, on_data, &f, NULL), Ok);
    ANSWERED(f, want);
    return f;
}

static void write_file(CBoxliteRuntime *rt, CBoxHandle *box, const char *path, const char *text,
                       const BoxliteFileOptions *o, BoxliteErrorCode want)
{
    struct answer a = {0};

    plain(rt, boxlite_box_write_file(box, path, (const uint8_t *)text, strlen(text), o, on_plain, &a, NULL),
          &a, want);
}

/* ---- tests ---- */

static void the_first_call_starts_the_box(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, "files");
    struct file_answer f;

    f = read_file(rt, box, "/etc/hostname", Ok);
    assert_int_equal(f.len, 6);
    assert_memory_equal(f.data, "files\n", 6);
    write_file(rt, box, "/root/new", "text", NULL, Ok);
    expect(rt, box, "cat /root/new; stat -c '%a %u' /root/new", "text644 0\n");
    boxlite_box_free(box);
}

static void a_box_with_a_main_process_is_started_by_start_alone(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxliteOptions *o = options_of(IMAGE, "mainfiles");
    const char *cmd[] = {"sleep", "1000"};
    struct file_answer f;
    struct answer a = {0};
    CBoxHandle *box;

    boxlite_options_set_cmd(o, cmd, 2);
    boxlite_options_set_memory(o, 256);
    box = make_box(rt, o);
    f = read_file(rt, box, "/etc/hostname", InvalidState);
    assert_non_null(strstr(f.a.message, "start it"));
    plain(rt, boxlite_start_box(box, on_plain, &a, NULL), &a, Ok);
    read_file(rt, box, "/etc/hostname", Ok);
    boxlite_box_free(box);
}

static void a_file_is_written_read_moved_and_removed(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);
    BoxliteFileOptions o = BOXLITE_FILE_OPTIONS_INIT;
    struct file_answer f = {0};
    struct answer a = {0};

    write_file(rt, box, "/a/b/f", "x", NULL, NotFound);
    o.parents = 1;
    o.mode = 0600;
    write_file(rt, box, "/a/b/f", "0123456789", &o, Ok);
    o = (BoxliteFileOptions)BOXLITE_FILE_OPTIONS_INIT;
    o.no_overwrite = 1;
    write_file(rt, box, "/a/b/f", "again", &o, AlreadyExists);
    write_file(rt, box, "/a/b/f", "abcdefghij", NULL, Ok); /* its mode stays */
    o = (BoxliteFileOptions)BOXLITE_FILE_OPTIONS_INIT;
    o.offset = 3;
    o.length = 4;
    assert_int_equal(boxlite_box_read_file(box, "/a/b/f", &o, on_data, &f, NULL), Ok);
    ANSWERED(f, Ok);
    assert_int_equal(f.len, 4);
    assert_memory_equal(f.data, "defg", 4);
    f = (struct file_answer){0};
    assert_int_equal(boxlite_box_stat(box, "a/b/f", NULL, on_file_info, &f, NULL), Ok);
    ANSWERED(f, Ok);
    assert_string_equal(f.name, "f");
    assert_int_equal(f.info.type, BoxliteFileTypeFile);
    assert_int_equal(f.info.mode, 0600);
    assert_int_equal(f.info.bytes, 10);
    assert_true(f.info.mtime_ns > 1600000000LL * 1000000000);
    plain(rt, boxlite_box_rename(box, "/a/b/f", "/tmp/g", NULL, on_plain, &a, NULL), &a, Ok); /* to a tmpfs */
    expect(rt, box, "cat /tmp/g; stat -c %a /tmp/g; ls /a/b", "abcdefghij600\n");
    plain(rt, boxlite_box_rename(box, "/a", "/tmp/a", NULL, on_plain, &a, NULL), &a, Unsupported);
    plain(rt, boxlite_box_remove_file(box, "/a", NULL, on_plain, &a, NULL), &a, InvalidState);
    o = (BoxliteFileOptions)BOXLITE_FILE_OPTIONS_INIT;
    o.recursive = 1;
    plain(rt, boxlite_box_remove_file(box, "/a", &o, on_plain, &a, NULL), &a, Ok);
    plain(rt, boxlite_box_remove_file(box, "/a", &o, on_plain, &a, NULL), &a, NotFound);
    boxlite_box_free(box);
}

static void folders_are_listed_by_name(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);
    BoxliteFileOptions o = BOXLITE_FILE_OPTIONS_INIT;
    struct file_answer f = {0};
    struct answer a = {0};

    o.parents = 1;
    plain(rt, boxlite_box_mkdir(box, "/d/c", &o, on_plain, &a, NULL), &a, Ok);
    plain(rt, boxlite_box_mkdir(box, "/d/c", NULL, on_plain, &a, NULL), &a, AlreadyExists);
    expect(rt, box, "cd /d; ln -s nowhere b; mkfifo a; echo > d", "");
    assert_int_equal(boxlite_box_list_dir(box, "/d", NULL, on_file_list, &f, NULL), Ok);
    ANSWERED(f, Ok);
    assert_string_equal(f.list, "a:4 b:3 c:2 d:1 ");
    f = (struct file_answer){0};
    assert_int_equal(boxlite_box_stat(box, "/d/b", NULL, on_file_info, &f, NULL), Ok);
    ANSWERED(f, Ok);
    assert_string_equal(f.link, "nowhere");
    o.follow_symlinks = 1;
    f = (struct file_answer){0};
    assert_int_equal(boxlite_box_stat(box, "/d/b", &o, on_file_info, &f, NULL), Ok);
    ANSWERED(f, NotFound);
    boxlite_box_free(box);
}

static void it_is_done_as_the_user_who_is_named(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);
    BoxliteFileOptions o = BOXLITE_FILE_OPTIONS_INIT;

    expect(rt, box, "mkdir -m 777 /open; mkdir -m 700 /closed", "");
    o.user = "1000:1001";
    write_file(rt, box, "/open/f", "x", &o, Ok);
    expect(rt, box, "stat -c '%u:%g' /open/f", "1000:1001\n");
    write_file(rt, box, "/closed/f", "x", &o, Storage);
    o.user = "nobody-of-that-name";
    write_file(rt, box, "/open/g", "x", &o, Execution);
    boxlite_box_free(box);
}

static void proc_can_be_read_and_what_is_mounted_on_is_written(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);
    struct file_answer f = read_file(rt, box, "/proc/version", Ok);

    assert_memory_equal(f.data, "Linux version", 13);
    write_file(rt, box, "/etc/hosts", "1.2.3.4 here\n", NULL, Ok);
    expect(rt, box, "cat /etc/hosts", "1.2.3.4 here\n");
    boxlite_box_free(box);
}

static void a_cancelled_call_is_answered_and_leaves_nothing(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);
    struct file_answer f = {0}, g = {0};
    char path[64];
    int ends[2];

    expect(rt, box, "mkdir /d", "");
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    snprintf(path, sizeof(path), "/dev/fd/%d", ends[0]);
    assert_int_equal(boxlite_box_copy_in(box, path, "/d/f", NULL, on_copied, &f, NULL), Ok);
    assert_int_equal(write(ends[1], "half", 4), 4); /* and it does not end */
    assert_int_equal(boxlite_box_stat(box, "/d", NULL, on_file_info, &g, NULL), Ok);
    ANSWERED(g, Ok); /* others go on meanwhile */
    assert_int_equal(f.a.done, 0);
    assert_int_equal(boxlite_box_cancel_files(box, &g, NULL), Ok); /* there is nothing of it any more */
    assert_int_equal(boxlite_box_cancel_files(box, &f, NULL), Ok);
    ANSWERED(f, Stopped);
    close(ends[0]);
    close(ends[1]);
    expect(rt, box, "ls -A /d", "");
    boxlite_box_free(box);
}

static void descriptors_stand_for_files(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);
    struct file_answer f = {0};
    char path[64], got[16] = "";
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    snprintf(path, sizeof(path), "/dev/fd/%d", ends[0]);
    assert_int_equal(boxlite_box_copy_in(box, path, "/root/f", NULL, on_copied, &f, NULL), Ok);
    assert_int_equal(write(ends[1], "streamed", 8), 8);
    close(ends[1]);
    close(ends[0]); /* the library has its own */
    ANSWERED(f, Ok);
    assert_int_equal(f.copied.bytes, 8);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    snprintf(path, sizeof(path), "/dev/fd/%d", ends[1]);
    f = (struct file_answer){0};
    assert_int_equal(boxlite_box_copy_out(box, "/root/f", path, NULL, on_copied, &f, NULL), Ok);
    ANSWERED(f, Ok);
    close(ends[1]);
    assert_int_equal(read(ends[0], got, sizeof(got)), 8);
    assert_string_equal(got, "streamed");
    close(ends[0]);
    f = (struct file_answer){0};
    assert_int_equal(boxlite_box_copy_out(box, "/root", "/dev/null", NULL, on_copied, &f, NULL), Ok);
    ANSWERED(f, InvalidArgument); /* a folder is no stream */
    boxlite_box_free(box);
}

static void a_box_that_ends_answers_what_was_asked_of_it(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, "ends"), *other;
    struct file_answer f = {0};
    struct answer a = {0};
    char path[64];
    int ends[2];

    plain(rt, boxlite_start_box(box, on_plain, &a, NULL), &a, Ok);
    other = again(rt, "ends");
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    snprintf(path, sizeof(path), "/dev/fd/%d", ends[0]);
    assert_int_equal(boxlite_box_copy_in(box, path, "/f", NULL, on_copied, &f, NULL), Ok);
    plain(rt, boxlite_stop_box(other, on_plain, &a, NULL), &a, Ok);
    DRAIN_UNTIL(rt, f.a.done);
    assert_true(f.a.code == Stopped || f.a.code == Portal);
    close(ends[0]);
    close(ends[1]);
    boxlite_box_free(other);
    boxlite_box_free(box);
}

static void calls_that_make_no_sense_are_refused(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);
    BoxliteCopyOptions c = BOXLITE_COPY_OPTIONS_INIT;
    BoxliteFileOptions o = BOXLITE_FILE_OPTIONS_INIT;
    char longer[5000];

    (void)rt;
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(boxlite_copy_into(NULL, "/x", "/x", on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_copy_into(box, NULL, "/x", on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_copy_into(box, "", "/x", on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_copy_into(box, "/x", "", on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_copy_into(box, "/x", "/x", NULL, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_copy_out(box, NULL, "/x", on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_copy_out(box, "/x", NULL, on_plain, NULL, NULL), InvalidArgument);
    c.max_bytes = 1;
    assert_int_equal(boxlite_box_copy_in(box, "/x", "/x", &c, on_copied, NULL, NULL), InvalidArgument);
    c.size = 0;
    assert_int_equal(boxlite_box_copy_out(box, "/x", "/x", &c, on_copied, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_box_read_file(box, longer, NULL, on_data, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_box_read_file(box, NULL, NULL, on_data, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_box_write_file(box, "/x", NULL, 1, NULL, on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(
        boxlite_box_write_file(box, "/x", (const uint8_t *)"", (64u << 20) + 1, NULL, on_plain, NULL, NULL),
        ResourceExhausted);
    o.mode = 010000;
    assert_int_equal(boxlite_box_mkdir(box, "/x", &o, on_plain, NULL, NULL), InvalidArgument);
    o.mode = 0;
    o.user = longer;
    assert_int_equal(boxlite_box_remove_file(box, "/x", &o, on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_box_rename(box, "/x", NULL, NULL, on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_box_rename(box, "/x", longer, NULL, on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_box_list_dir(NULL, "/x", NULL, on_file_list, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_box_stat(box, "/x", NULL, NULL, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_box_cancel_files(NULL, NULL, NULL), InvalidArgument);
    boxlite_box_free(box);
}

static void a_source_that_is_not_there_starts_no_box(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxHandle *box = idle_box(rt, NULL);
    struct answer a = {0};

    assert_int_equal(boxlite_copy_into(box, "/not/there", "/x", on_plain, &a, NULL), Ok);
    DRAIN_UNTIL(rt, a.done);
    ASSERT_ANSWER(a, NotFound);
    assert_int_equal(strncmp(a.message, "not found: /not/there", 21), 0);
    assert_fact(rt, box, "status", "configured");
    boxlite_box_free(box);
}

int main(void)
{
#define V(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        V(the_first_call_starts_the_box),
        V(a_box_with_a_main_process_is_started_by_start_alone),
        V(a_file_is_written_read_moved_and_removed),
        V(folders_are_listed_by_name),
        V(it_is_done_as_the_user_who_is_named),
        V(proc_can_be_read_and_what_is_mounted_on_is_written),
        V(a_cancelled_call_is_answered_and_leaves_nothing),
        V(descriptors_stand_for_files),
        V(a_box_that_ends_answers_what_was_asked_of_it),
        V(calls_that_make_no_sense_are_refused),
        V(a_source_that_is_not_there_starts_no_box),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
