/* SPDX-License-Identifier: Apache-2.0 */
/* Text: numbers without partial parses, UTF-8, printable forms, lists, identities. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

static void numbers_are_whole_words_within_bounds(void **state)
{
    uint64_t u = 77;
    int64_t i = 77;

    assert_int_equal(bx_parse_u64("0", 0, 10, &u), 0);
    assert_int_equal(u, 0);
    assert_int_equal(bx_parse_u64("18446744073709551615", 0, UINT64_MAX, &u), 0);
    assert_true(u == UINT64_MAX);
    assert_int_equal(bx_parse_u64("18446744073709551616", 0, UINT64_MAX, &u), -ERANGE);
    assert_int_equal(bx_parse_u64("11", 0, 10, &u), -ERANGE);
    assert_int_equal(bx_parse_u64("1", 2, 10, &u), -ERANGE);
    static const char *const bad[] = { "", "-1", "+1", " 1", "1 ", "1x", "0x1", "1.0", "99999999999999999999999x" };
    for (size_t n = 0; n < BX_ARRAY_SIZE(bad); n++)
        assert_int_equal(bx_parse_u64(bad[n], 0, UINT64_MAX, &u), -EINVAL);
    assert_true(u == UINT64_MAX);

    assert_int_equal(bx_parse_i64("-9223372036854775808", INT64_MIN, INT64_MAX, &i), 0);
    assert_true(i == INT64_MIN);
    assert_int_equal(bx_parse_i64("9223372036854775807", INT64_MIN, INT64_MAX, &i), 0);
    assert_true(i == INT64_MAX);
    assert_int_equal(bx_parse_i64("9223372036854775808", INT64_MIN, INT64_MAX, &i), -ERANGE);
    assert_int_equal(bx_parse_i64("-9223372036854775809", INT64_MIN, INT64_MAX, &i), -ERANGE);
    assert_int_equal(bx_parse_i64("-1", 0, 5, &i), -ERANGE);
    assert_int_equal(bx_parse_i64("--1", -5, 5, &i), -EINVAL);
    assert_int_equal(bx_parse_i64("-", -5, 5, &i), -EINVAL);
}

static void sizes_know_their_suffixes(void **state)
{
    static const struct {
        const char *text;
        uint64_t want;
    } good[] = { { "4096", 4096 },    { "4096b", 4096 },      { "1k", 1024 },       { "512m", 512ULL << 20 },
                 { "10G", 10ULL << 30 }, { "2tB", 2ULL << 40 }, { "16777215t", 16777215ULL << 40 } };
    static const char *const bad[] = { "", "k", "1kk", "1mib", "-1k", "1.5g", "1 k", "1bb" };
    uint64_t v;

    for (size_t i = 0; i < BX_ARRAY_SIZE(good); i++) {
        assert_int_equal(bx_parse_size(good[i].text, &v), 0);
        assert_true(v == good[i].want);
    }
    for (size_t i = 0; i < BX_ARRAY_SIZE(bad); i++)
        assert_int_equal(bx_parse_size(bad[i], &v), -EINVAL);
    assert_int_equal(bx_parse_size("16777216t", &v), -ERANGE);
}

static void utf8_is_strict(void **state)
{
    static const char *const good[] = { "", "abc", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf" };
    static const char *const bad[] = { "\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
                                       "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xc3(" };

    for (size_t i = 0; i < BX_ARRAY_SIZE(good); i++)
        assert_true(bx_utf8_valid(good[i], strlen(good[i])));
    for (size_t i = 0; i < BX_ARRAY_SIZE(bad); i++)
        assert_false(bx_utf8_valid(bad[i], strlen(bad[i])));
    assert_false(bx_utf8_valid("a\0b", 3));
}

static void printable_form_cannot_move_a_cursor_or_forge_a_line(void **state)
{
    char out[200], small[10];

    bx_str_printable(out, sizeof(out), "a\nb\x1b[2J\x7f\0z", 10);
    assert_string_equal(out, "a\\x0ab\\x1b[2J\\x7f\\x00z");
    bx_str_printable(out, sizeof(out), "\xff\xc3\xa4\xc2\x9b\xe2\x80\xae", 8);
    assert_string_equal(out, "\\xff\xc3\xa4\\xc2\\x9b\\xe2\\x80\\xae");
    bx_str_printable(small, sizeof(small), "abcdefgh\xc3\xa4", 10); /* the last would not fit whole */
    assert_string_equal(small, "abcdefgh");
    bx_str_printable(small, sizeof(small), "123456\n", 7);
    assert_string_equal(small, "123456");
    bx_str_printable(small, 1, "abc", 3);
    assert_string_equal(small, "");
}

static void lists_grow_and_copy(void **state)
{
    static const char *const words[] = { "one", "two", "three" };
    bx_cleanup_strv char **v = NULL, **copy = NULL;

    assert_int_equal(bx_strv_len(v), 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(bx_strv_add(&v, words[i]), 0);
    assert_int_equal(bx_strv_len(v), 3);
    assert_string_equal(v[2], "three");
    copy = bx_strv_copy((const char *const *)v, 2);
    assert_int_equal(bx_strv_len(copy), 2);
    assert_string_equal(copy[1], "two");
    assert_null(copy[2]);
}

static void small_helpers_do_what_they_say(void **state)
{
    char hex[9];
    bx_cleanup_free char *s = bx_strf("%s-%d", "a", 5);

    assert_string_equal(s, "a-5");
    bx_hex(hex, "\x00\x9f\xab\xff", 4);
    assert_string_equal(hex, "009fabff");
    assert_true(bx_ends_with("a.tmp", ".tmp"));
    assert_false(bx_ends_with("mp", ".tmp"));
    assert_true(bx_streq(NULL, NULL));
    assert_false(bx_streq("a", NULL));
    /* Published value of the algorithm. */
    assert_true(bx_fnv1a(BX_FNV1A_SEED, "foobar", 6) == 0x85944171f73967e8ULL);
}

static void identities_are_base62_and_differ(void **state)
{
    char a[BX_ID_LEN + 1], b[BX_ID_LEN + 1];
    bool seen[256] = { false };
    unsigned kinds = 0;

    for (int i = 0; i < 500; i++) {
        bx_random_id(a);
        bx_random_id(b);
        assert_int_equal(strlen(a), BX_ID_LEN);
        assert_string_not_equal(a, b);
        for (int j = 0; j < BX_ID_LEN; j++)
            seen[(unsigned char)a[j]] = true;
    }
    for (int c = 0; c < 256; c++) {
        kinds += seen[c];
        if (seen[c])
            assert_non_null(strchr("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", c));
    }
    assert_int_equal(kinds, 62);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_whole_words_within_bounds),
        cmocka_unit_test(sizes_know_their_suffixes),
        cmocka_unit_test(utf8_is_strict),
        cmocka_unit_test(printable_form_cannot_move_a_cursor_or_forge_a_line),
        cmocka_unit_test(lists_grow_and_copy),
        cmocka_unit_test(small_helpers_do_what_they_say),
        cmocka_unit_test(identities_are_base62_and_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
