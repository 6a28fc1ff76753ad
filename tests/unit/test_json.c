/* SPDX-License-Identifier: Apache-2.0 */
/* JSON is read strictly, errors name the path, and what is written is read back the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "host/json.h"

static int parse(const char *text, struct bx_json *ret, struct bx_err *err)
{
    return bx_json_parse(text, strlen(text), NULL, "doc", ret, err);
}

static void refused(const char *text, const char *needle)
{
    struct bx_json j = {0};
    struct bx_err err = BX_ERR_INIT;

    assert_int_equal(parse(text, &j, &err), -BX_EINVALID);
    assert_int_equal(err.code, BX_EINVALID);
    if (!strstr(err.msg, needle))
        fail_msg("%s: no '%s' in '%s'", text, needle, err.msg);
}

static void text_that_is_not_strict_json_is_refused(void **state)
{
    refused("", "doc");
    refused("{", "doc");
    refused("{}x", "doc");
    refused("{\"a\":1,\"a\":2}", "duplicate");
    refused("{'a':1}", "doc");
    refused("[1,]", "doc");
    refused("\"a\"", "doc"); /* a document is an object or an array */
    refused("{\"a\":\"\\u0000\"}", "doc");
    refused("{\"a\":\"\xff\"}", "doc");
    refused("{\"a\":NaN}", "doc");
    refused("{\"a\":99999999999999999999999}", "doc");
}

static void depth_size_and_number_of_values_are_bounded(void **state)
{
    struct bx_json j = {0};
    struct bx_err err = BX_ERR_INIT;
    char deep[200];
    struct bx_json_limits small = {.bytes = 20, .depth = 4, .values = 8};

    memset(deep, '[', 33);
    memset(deep + 33, ']', 33);
    deep[66] = '\0';
    refused(deep, "nested deeper than 32");
    assert_int_equal(bx_json_parse("[1,2,3,4,5,6,7,8,9]", 19, &small, "doc", &j, &err), -BX_EINVALID);
    assert_non_null(strstr(err.msg, "8 values"));
    assert_int_equal(bx_json_parse("[1                   ]", 22, &small, "doc", &j, &err), -BX_EINVALID);
    assert_non_null(strstr(err.msg, "22 bytes"));
    /* brackets in strings do not count */
    assert_int_equal(bx_json_parse("[\"[[[[[[\\\"[[,,,\"]", 17, &small, "doc", &j, &err), 0);
    bx_json_done(&j);
}

static void getters_check_type_and_range_and_name_the_path(void **state)
{
    bx_cleanup_json struct bx_json j = {0};
    struct bx_json a, item, o;
    struct bx_err err = BX_ERR_INIT;
    const char *s;
    uint64_t u;
    int64_t i;
    bool b;
    size_t n;

    assert_int_equal(
        parse("{\"n\":-5,\"s\":\"text\",\"t\":true,\"z\":null,\"l\":[{\"k\":300},\"x\"],\"f\":1.5}", &j,
              &err),
        0);
    assert_int_equal(bx_json_str(&j, "s", 4, &s, &err), 0);
    assert_string_equal(s, "text");
    assert_int_equal(bx_json_i64(&j, "n", -5, 5, &i, &err), 0);
    assert_int_equal(i, -5);
    assert_int_equal(bx_json_bool(&j, "t", &b, &err), 0);
    assert_true(b);

    assert_int_equal(bx_json_str(&j, "s", 3, &s, &err), -BX_EINVALID);
    assert_string_equal(err.msg, "doc: s is longer than 3 bytes");
    assert_int_equal(bx_json_u64(&j, "n", 0, 5, &u, &err), -BX_EINVALID);
    assert_string_equal(err.msg, "doc: n must be 0 to 5, not -5");
    assert_int_equal(bx_json_u64(&j, "f", 0, 5, &u, &err), -BX_EINVALID);
    assert_string_equal(err.msg, "doc: f must be a whole number");
    assert_int_equal(bx_json_str(&j, "missing", 3, &s, &err), -BX_EINVALID);
    assert_string_equal(err.msg, "doc: missing is missing");
    assert_int_equal(bx_json_bool(&j, "z", &b, &err), -BX_EINVALID);
    assert_string_equal(err.msg, "doc: z is missing");

    assert_int_equal(bx_json_arr(&j, "l", 1, &a, &n, &err), -BX_EINVALID);
    assert_int_equal(bx_json_arr(&j, "l", 2, &a, &n, &err), 0);
    assert_int_equal(n, 2);
    item = bx_json_item(&a, 0);
    assert_int_equal(bx_json_u64(&item, "k", 0, 255, &u, &err), -BX_EINVALID);
    assert_string_equal(err.msg, "doc: l[0].k must be 0 to 255, not 300");
    item = bx_json_item(&a, 1);
    assert_int_equal(bx_json_obj(&item, "k", &o, &err), -BX_EINVALID);
    assert_string_equal(err.msg, "doc: l[1] must be an object");
}

static void optional_values_may_be_missing_but_not_wrong(void **state)
{
    bx_cleanup_json struct bx_json j = {0};
    struct bx_err err = BX_ERR_INIT;
    bx_cleanup_strv char **v = NULL;
    const char *s = "untouched";
    uint64_t u = 7;

    assert_int_equal(parse("{\"a\":1,\"v\":[\"x\",\"y\"],\"w\":[\"x\",1],\"z\":null}", &j, &err), 0);
    assert_int_equal(bx_json_opt_u64(&j, "b", 0, 9, &u, &err), 0);
    assert_int_equal(u, 7);
    assert_int_equal(bx_json_opt_u64(&j, "a", 0, 9, &u, &err), 1);
    assert_int_equal(u, 1);
    assert_int_equal(bx_json_opt_str(&j, "z", 9, &s, &err), 0);
    assert_null(s);
    assert_int_equal(bx_json_opt_str(&j, "a", 9, &s, &err), -BX_EINVALID);
    assert_int_equal(bx_json_opt_strv(&j, "v", 2, 9, &v, &err), 1);
    assert_string_equal(v[1], "y");
    assert_null(v[2]);
    char **none = v;
    assert_int_equal(bx_json_opt_strv(&j, "w", 2, 9, &none, &err), -BX_EINVALID);
    assert_string_equal(err.msg, "doc: w[1] must be a string");
}

static void an_unknown_key_is_named(void **state)
{
    static const char *const known[] = {"a", NULL};
    bx_cleanup_json struct bx_json j = {0};
    struct bx_err err = BX_ERR_INIT;

    assert_int_equal(parse("{\"a\":1,\"bad\\nkey\":2}", &j, &err), 0);
    assert_int_equal(bx_json_only_keys(&j, known, &err), -BX_EINVALID);
    assert_non_null(strstr(err.msg, "key is not known"));
    assert_null(strchr(err.msg, '\n'));
}

static void what_is_written_is_read_back(void **state)
{
    static const char nasty[] = "quote \" backslash \\ newline \n bell \a del \x7f euro \xe2\x82\xac";
    char *list[] = {(char *)"one", (char *)"", NULL};

    for (int pretty = 0; pretty < 2; pretty++) {
        bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(4096);
        bx_cleanup_json struct bx_json j = {0};
        bx_cleanup_strv char **v = NULL;
        struct bx_err err = BX_ERR_INIT;
        struct bx_json o;
        struct bx_jw w;
        const char *s;
        int64_t i;
        uint64_t u;

        bx_jw_init(&w, &out, pretty);
        bx_jw_obj(&w, NULL);
        bx_jw_str(&w, "s", nasty);
        bx_jw_strv(&w, "v", list);
        bx_jw_obj(&w, "o");
        bx_jw_i64(&w, "min", INT64_MIN);
        bx_jw_u64(&w, "max", INT64_MAX);
        bx_jw_end(&w);
        bx_jw_arr(&w, "empty");
        bx_jw_end(&w);
        bx_jw_str(&w, "null", NULL);
        bx_jw_raw(&w, "raw", "{\"a\":[1]}");
        bx_jw_end(&w);
        assert_int_equal(bx_jw_finish(&w, &err), 0);
        assert_int_equal(parse(bx_buf_str(&out), &j, &err), 0);
        assert_int_equal(bx_json_str(&j, "s", 200, &s, &err), 0);
        assert_string_equal(s, nasty);
        assert_int_equal(bx_json_opt_strv(&j, "v", 2, 9, &v, &err), 1);
        assert_string_equal(v[0], "one");
        assert_string_equal(v[1], "");
        assert_int_equal(bx_json_obj(&j, "o", &o, &err), 0);
        assert_int_equal(bx_json_i64(&o, "min", INT64_MIN, 0, &i, &err), 0);
        assert_int_equal(bx_json_u64(&o, "max", 0, UINT64_MAX, &u, &err), 0);
        assert_true(u == INT64_MAX);
        assert_int_equal(bx_json_opt_str(&j, "null", 9, &s, &err), 0);
    }
}

static void a_writer_that_cannot_finish_says_so(void **state)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(16), big = BX_BUF_INIT(100);
    struct bx_err err = BX_ERR_INIT;
    struct bx_jw w;

    bx_jw_init(&w, &out, false);
    bx_jw_arr(&w, NULL);
    for (int i = 0; i < 20; i++)
        bx_jw_u64(&w, NULL, 1);
    bx_jw_end(&w);
    assert_int_equal(bx_jw_finish(&w, &err), -BX_ERESOURCE);
    bx_jw_init(&w, &big, false);
    bx_jw_obj(&w, NULL);
    bx_jw_str(&w, "a", "\xff");
    bx_jw_end(&w);
    assert_int_equal(bx_jw_finish(&w, &err), -BX_EINVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_that_is_not_strict_json_is_refused),
        cmocka_unit_test(depth_size_and_number_of_values_are_bounded),
        cmocka_unit_test(getters_check_type_and_range_and_name_the_path),
        cmocka_unit_test(optional_values_may_be_missing_but_not_wrong),
        cmocka_unit_test(an_unknown_key_is_named),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(a_writer_that_cannot_finish_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
