/* SPDX-License-Identifier: Apache-2.0 */
/* The documents of an image that is made here: to the byte, and read back by who reads strangers' ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "image/compose.h"

#define HEX(c) c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c
#define DIFF   "sha256:" HEX("ab")
#define ROOM   (1u << 20)

#define LIST(...) ((char *const *)(uintptr_t)(const char *const[]){__VA_ARGS__, NULL})
#define ENV       LIST("PATH=/bin", "A=\xc3\xa9\"\n")
#define CMD       LIST("sh", "-c", "")

static char *config_of(const struct bx_compose *c)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(ROOM);
    struct bx_err err = BX_ERR_INIT;

    if (bx_compose_config(c, &out, &err) < 0)
        fail_msg("%s", err.msg);
    return bx_buf_take_str(&out);
}

static void the_configuration_to_the_byte(void **state)
{
    const struct bx_compose c = {.os = "linux", .arch = "amd64", .created = 1700000000, .created_by = "me", .diff_id = DIFF,
                                 .env = ENV, .cmd = CMD, .working_dir = "/w", .user = "1:2"};
    bx_cleanup_free char *text = config_of(&c);

    (void)state;
    assert_string_equal(text, "{\"created\":\"2023-11-14T22:13:20Z\",\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"User\":\"1:2\","
                              "\"Env\":[\"PATH=/bin\",\"A=\xc3\xa9\\\"\\n\"],\"Cmd\":[\"sh\",\"-c\",\"\"],\"WorkingDir\":\"/w\"},"
                              "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" DIFF "\"]},"
                              "\"history\":[{\"created\":\"2023-11-14T22:13:20Z\",\"created_by\":\"me\"}]}");
}

static void what_was_written_is_read_back(void **state)
{
    const struct bx_compose c = {.os = "linux", .arch = "arm64", .diff_id = DIFF, .created_by = "me", .env = ENV,
                                 .entrypoint = CMD, .cmd = LIST(NULL)};
    bx_cleanup_free char *text = config_of(&c);
    struct bx_image_config read = {0};

    (void)state;
    assert_int_equal(bx_image_config_parse(text, strlen(text), &read, NULL), 0);
    assert_string_equal(read.os, "linux");
    assert_string_equal(read.arch, "arm64");
    assert_string_equal(read.diff_ids[0], DIFF);
    assert_null(read.diff_ids[1]);
    assert_string_equal(read.env[1], ENV[1]);
    assert_int_equal(bx_strv_len(read.entrypoint), 3);
    assert_null(read.cmd); /* an empty list says nothing */
    assert_null(read.user);
    assert_null(read.working_dir);
    bx_image_config_done(&read);
}

static void times_without_a_year_of_four_digits_are_cut(void **state)
{
    const struct {
        int64_t seconds;
        const char *text;
    } cases[] = {{0, "1970-01-01T00:00:00Z"}, {-1, "1970-01-01T00:00:00Z"}, {INT64_MIN, "1970-01-01T00:00:00Z"},
                 {253402300799, "9999-12-31T23:59:59Z"}, {253402300800, "9999-12-31T23:59:59Z"}, {INT64_MAX, "9999-12-31T23:59:59Z"}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct bx_compose c = {.os = "linux", .arch = "amd64", .created = cases[i].seconds, .created_by = "me", .diff_id = DIFF};
        bx_cleanup_free char *text = config_of(&c);

        assert_non_null(strstr(text, cases[i].text));
    }
}

static void a_manifest_is_read_back(void **state)
{
    const struct bx_descriptor config = {.digest = "sha256:" HEX("01"), .media_type = BX_OCI_CONFIG, .size = 7};
    const struct bx_descriptor layers[] = {{.digest = "sha256:" HEX("02"), .media_type = BX_OCI_LAYER "+gzip", .size = 1ull << 40},
                                           {.digest = "sha256:" HEX("03"), .media_type = BX_OCI_LAYER}};
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(ROOM);
    struct bx_manifest m = {0};

    (void)state;
    assert_int_equal(bx_compose_manifest(&config, layers, 2, &out, NULL), 0);
    assert_int_equal(bx_doc_kind((const char *)bx_buf_data(&out), bx_buf_len(&out)), BX_DOC_MANIFEST);
    assert_int_equal(bx_manifest_parse((const char *)bx_buf_data(&out), bx_buf_len(&out), &m, NULL), 0);
    assert_string_equal(m.media_type, BX_OCI_MANIFEST);
    assert_string_equal(m.config.digest, config.digest);
    assert_int_equal(m.layer_count, 2);
    assert_string_equal(m.layers[0].media_type, layers[0].media_type);
    assert_true(m.layers[0].size == 1ull << 40);
    assert_string_equal(m.layers[1].digest, layers[1].digest);
    bx_manifest_done(&m);
}

static void what_does_not_fit_or_is_not_utf8_is_refused(void **state)
{
    struct bx_compose c = {.os = "linux", .arch = "amd64", .created_by = "me", .diff_id = DIFF, .cmd = LIST("\xff")};
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(ROOM), small = BX_BUF_INIT(64);
    struct bx_err err = BX_ERR_INIT;

    (void)state;
    assert_int_equal(bx_compose_config(&c, &out, &err), -BX_EINVALID);
    c.cmd = NULL;
    assert_int_equal(bx_compose_config(&c, &small, &err), -BX_ERESOURCE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_configuration_to_the_byte),
        cmocka_unit_test(what_was_written_is_read_back),
        cmocka_unit_test(times_without_a_year_of_four_digits_are_cut),
        cmocka_unit_test(a_manifest_is_read_back),
        cmocka_unit_test(what_does_not_fit_or_is_not_utf8_is_refused),
    };

    return cmocka_run_group_tests_name("compose", tests, NULL, NULL);
}
