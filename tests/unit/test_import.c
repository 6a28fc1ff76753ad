/* SPDX-License-Identifier: Apache-2.0 */
/* boxlite_image_import: misuse, what cannot be read, and what boxlite-unpack says, which is not trusted; and folders in place of images. */
#include "api_help.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "runtime/blobs.h"

#define HEX(c) c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c
#define A64    HEX("aa")
#define B64    HEX("bb")

static CBoxliteImageHandle *images_of(struct home *h)
{
    CBoxliteImageHandle *images = NULL;

    assert_int_equal(boxlite_runtime_images(h->rt, &images, NULL), Ok);
    return images;
}

static void misuse_is_told_at_once(void **state)
{
    static const char *const odd[] = {"a", NULL}, *const env[] = {"A=1", "B"}, *const nameless[] = {"=1"}, *const bytes[] = {"\xff"};
    const struct {
        const char *path, *reference, *needle;
        BoxliteImageImport o;
    } cases[] = {
        {NULL, "a", "path", BOXLITE_IMAGE_IMPORT_INIT},
        {"/a", NULL, "reference", BOXLITE_IMAGE_IMPORT_INIT},
        {"/a", "bad//name", "reference: ", BOXLITE_IMAGE_IMPORT_INIT},
        {"/a", "", "reference: ", BOXLITE_IMAGE_IMPORT_INIT},
        {"/a", "a@sha256:" A64, "digest", BOXLITE_IMAGE_IMPORT_INIT},
        {"/a", "a", "size", {.size = 0}},
        {"/a", "a", "cmd: ", {.size = sizeof(BoxliteImageImport), .cmd_count = 1}},
        {"/a", "a", "cmd: ", {.size = sizeof(BoxliteImageImport), .cmd = odd, .cmd_count = -1}},
        {"/a", "a", "entrypoint[1]", {.size = sizeof(BoxliteImageImport), .entrypoint = odd, .entrypoint_count = 2}},
        {"/a", "a", "env: ", {.size = sizeof(BoxliteImageImport), .env = env, .env_count = 2}},
        {"/a", "a", "env: ", {.size = sizeof(BoxliteImageImport), .env = nameless, .env_count = 1}},
        {"/a", "a", "cmd: ", {.size = sizeof(BoxliteImageImport), .cmd = bytes, .cmd_count = 1}},
        {"/a", "a", "workdir: ", {.size = sizeof(BoxliteImageImport), .workdir = "relative"}},
    };
    CBoxliteImageHandle *images = images_of(*state);

    assert_int_equal(boxlite_has_feature("image_import"), 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CBoxliteError e = {Ok, NULL};

        assert_int_equal(boxlite_image_import(images, cases[i].path, cases[i].reference, &cases[i].o, on_pulled, NULL, &e),
                         InvalidArgument);
        if (!strstr(e.message, cases[i].needle))
            fail_msg("case %zu: \"%s\" does not speak of %s", i, e.message, cases[i].needle);
        boxlite_error_free(&e);
    }
    assert_int_equal(boxlite_image_import(NULL, "/a", "a", NULL, on_pulled, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_import(images, "/a", "a", NULL, NULL, NULL, NULL), InvalidArgument);
    boxlite_image_free(images);
}

static void import_fails(struct home *h, const char *path, BoxliteErrorCode code, const char *needle)
{
    CBoxliteImageHandle *images = images_of(h);
    struct answer a = {0};

    assert_int_equal(boxlite_image_import(images, path, "a", NULL, on_pulled, &a, NULL), Ok);
    DRAIN_UNTIL(h->rt, a.done);
    ASSERT_ANSWER(a, code);
    assert_null(a.result);
    if (!strstr(a.message, needle))
        fail_msg("%s: \"%s\" does not speak of %s", path, a.message, needle);
    boxlite_image_free(images);
}

static void what_cannot_be_read_is_told_by_its_callback(void **state)
{
    struct home *h = *state;
    char written[64];
    int fd = open(h->path, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    snprintf(written, sizeof(written), "/dev/fd/%d", fd);
    import_fails(h, "/nonexistent/root.tar", Image, "No such file");
    import_fails(h, "/", Image, "folder");
    import_fails(h, "/dev/zero", Image, "neither a file nor a pipe");
    import_fails(h, "/dev/fd/4000", Image, "Bad file descriptor");
    import_fails(h, written, InvalidArgument, "writing only");
    close(fd);
}

static void no_file_is_left_of_an_import_that_could_not_begin(void **state)
{
    struct home *h = *state;
    char tmp[128];

    import_fails(h, "/bin/sh", NotFound, "is missing"); /* our programs are */
    snprintf(tmp, sizeof(tmp), "%s/tmp", h->path);
    assert_int_equal(rmdir(tmp), 0); /* nothing is in it */
    assert_int_equal(mkdir(tmp, 0700), 0);
}

static int imported(const char *text, struct bx_imported *ret, struct bx_err *err)
{
    *err = BX_ERR_INIT;
    return bx_unpack_imported(text, strlen(text), ret, err);
}

static void what_was_imported_is_read(void **state)
{
    struct bx_imported i;
    struct bx_err err;

    (void)state;
    assert_int_equal(imported("progress 1 2\nfile 12 " A64 "\ncontent 34 " B64 "\ntar zstd 5 1700000000\nok 1 12\n", &i, &err), 0);
    assert_string_equal(i.layer, "sha256:" A64);
    assert_string_equal(i.diff_id, "sha256:" B64);
    assert_string_equal(i.packing, "zstd");
    assert_true(i.size == 12 && i.newest == 1700000000);
    assert_int_equal(imported("file 12 " A64 "\ncontent 34 " B64 "\ntar plain 5 0\nok 1 12\n", &i, &err), 0);
    assert_string_equal(i.packing, "");
}

static void words_that_make_no_sense_are_refused(void **state)
{
    static const char *const cases[] = {
        "",
        "ok 1 12\n",
        "file 12 " A64 "\nok 1 12\n",
        "file 12 " A64 "\ncontent 34 " B64 "\nok 1 12\n",
        "file 12 " A64 "\ncontent 34 " B64 "\ntar\nok 1 12\n",
        "file 12 " A64 "\ncontent 34 " B64 "\ntar rar 5 0\nok 1 12\n",
        "file 12 " A64 "\ncontent 34 " B64 "\ntar gzip 5\nok 1 12\n",
        "file 12 " A64 "\ncontent 34 " B64 "\ntar gzip 5 -1\nok 1 12\n",
        "file 12 " A64 "\ncontent 34 ../../../etc/passwd\ntar gzip 5 0\nok 1 12\n",
        "file -1 " A64 "\ncontent 34 " B64 "\ntar gzip 5 0\nok 1 12\n",
        "file 12 " A64 "\ncontent 34 " B64 "\ntar gzip 5 0\n",
        "error 8\n",
        "error 99 it broke\n",
        "file 12 " A64 "\ncontent 34 " B64 "\ntar gzip 5 0\nerror 8 it broke\n",
    };
    struct bx_imported i;
    struct bx_err err;

    (void)state;
    for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
        if (imported(cases[k], &i, &err) == 0)
            fail_msg("taken: %s", cases[k]);
        assert_true(err.msg[0]);
    }
    assert_string_equal(err.msg, "it broke");
    assert_int_equal(err.code, BX_EIMAGE);
}

/* ---- rootfs_path ---- */

static void a_folder_takes_the_place_of_the_image(void **state)
{
    struct home *h = *state;
    CBoxliteOptions *o = options_of("bad//name is not looked at", NULL);
    char cwd[256], want[300];
    struct answer a = {0};
    CBoxliteError e = {Ok, NULL};
    CBoxHandle *box;
    CBoxInfo *info;

    assert_int_equal(boxlite_has_feature("rootfs_path"), 1);
    assert_non_null(getcwd(cwd, sizeof(cwd)));
    snprintf(want, sizeof(want), "%s/no/such folder", cwd);
    boxlite_options_set_rootfs_path(o, "no/such folder");
    box = make_box(h->rt, o);
    assert_int_equal(boxlite_box_info(box, on_box_info, &a, NULL), Ok);
    DRAIN_UNTIL(h->rt, a.done);
    info = a.result;
    assert_string_equal(info->image, want);
    boxlite_free_box_info(info);
    a = (struct answer){0};
    assert_int_equal(boxlite_start_box(box, on_plain, &a, NULL), Ok);
    DRAIN_UNTIL(h->rt, a.done);
    ASSERT_ANSWER(a, Image);
    assert_non_null(strstr(a.message, want)); /* the folder is looked for at the start */
    boxlite_box_free(box);
    boxlite_options_set_rootfs_path(NULL, "x");
    o = options_of(NULL, NULL);
    boxlite_options_set_rootfs_path(o, NULL); /* ignored */
    boxlite_options_set_rootfs_path(o, "");
    assert_int_equal(boxlite_create_box(h->rt, o, on_box, &a, &e), InvalidArgument);
    assert_non_null(strstr(e.message, "rootfs_path"));
    boxlite_error_free(&e);
    boxlite_options_free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(misuse_is_told_at_once, home_setup, home_teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_is_told_by_its_callback, home_setup, home_teardown),
        cmocka_unit_test_setup_teardown(no_file_is_left_of_an_import_that_could_not_begin, home_setup, home_teardown),
        cmocka_unit_test_setup_teardown(a_folder_takes_the_place_of_the_image, home_setup, home_teardown),
        cmocka_unit_test(what_was_imported_is_read),
        cmocka_unit_test(words_that_make_no_sense_are_refused),
    };

    setenv("BOXLITE_LIBEXEC", "/nonexistent", 1);
    return cmocka_run_group_tests_name("import", tests, NULL, NULL);
}
