/* SPDX-License-Identifier: Apache-2.0 */
/* The byte buffer: order, its maximum, and what a refused append leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

static void bytes_come_out_in_order(void **state)
{
    bx_cleanup_buf struct bx_buf b = BX_BUF_INIT(5000);
    unsigned in = 0, out = 0;

    /* Uneven adds and consumes drive it through moving and growing. */
    for (int round = 0; round < 3000; round++) {
        size_t n = (size_t)(round * 7 % 61), take;

        for (size_t i = 0; i < n && bx_buf_room(&b) > 0; i++) {
            uint8_t c = (uint8_t)(in++ % 251);

            assert_int_equal(bx_buf_add(&b, &c, 1), 0);
        }
        take = bx_buf_len(&b) < 29 ? bx_buf_len(&b) : 29;
        for (size_t i = 0; i < take; i++)
            assert_int_equal(bx_buf_data(&b)[i], out++ % 251);
        bx_buf_consume(&b, take);
    }
    assert_int_equal(bx_buf_len(&b), in - out);
    assert_true(in > 80000);
}

static void maximum_is_reached_exactly_and_never_passed(void **state)
{
    bx_cleanup_buf struct bx_buf b = BX_BUF_INIT(1000);
    char block[1000];

    memset(block, 'x', sizeof(block));
    assert_int_equal(bx_buf_add(&b, block, 999), 0);
    assert_int_equal(bx_buf_room(&b), 1);
    assert_int_equal(bx_buf_add(&b, "y", 1), 0);
    assert_int_equal(bx_buf_room(&b), 0);
    assert_int_equal(strlen(bx_buf_str(&b)), 1000);
    assert_false(bx_buf_failed(&b));
    assert_int_equal(bx_buf_add(&b, "z", 1), -ENOBUFS);
    assert_int_equal(bx_buf_len(&b), 1000);
    assert_true(b.cap <= 1001);
}

static void failed_buffer_refuses_until_cleared(void **state)
{
    bx_cleanup_buf struct bx_buf b = BX_BUF_INIT(4);

    assert_int_equal(bx_buf_addstr(&b, "abc"), 0);
    assert_int_equal(bx_buf_addf(&b, "%d", 12), -ENOBUFS);
    assert_true(bx_buf_failed(&b));
    assert_int_equal(bx_buf_add(&b, "d", 1), -ENOBUFS);
    assert_null(bx_buf_reserve(&b, 0));
    assert_null(bx_buf_str(&b));
    assert_int_equal(bx_buf_len(&b), 3);
    assert_memory_equal(bx_buf_data(&b), "abc", 3);
    bx_buf_clear(&b);
    assert_int_equal(bx_buf_addf(&b, "%s%d", "ab", 12), 0);
    assert_string_equal(bx_buf_str(&b), "ab12");
}

static void formatted_text_of_any_length_fits(void **state)
{
    bx_cleanup_buf struct bx_buf b = BX_BUF_INIT(100000);
    size_t want = 0;

    for (int width = 0; width < 400; width++) {
        assert_int_equal(bx_buf_addf(&b, "%*d", width, 7), 0);
        want += width > 1 ? (size_t)width : 1;
        assert_int_equal(bx_buf_len(&b), want);
        assert_int_equal(bx_buf_data(&b)[want - 1], '7');
    }
    assert_int_equal(strlen(bx_buf_str(&b)), want);
}

static void reserved_space_is_written_in_place(void **state)
{
    bx_cleanup_buf struct bx_buf b = BX_BUF_INIT(300);
    uint8_t *p = bx_buf_reserve(&b, 300);

    assert_non_null(p);
    memset(p, 'r', 200);
    bx_buf_commit(&b, 200);
    assert_int_equal(bx_buf_len(&b), 200);
    assert_null(bx_buf_reserve(&b, 101));
    bx_buf_clear(&b);
    assert_non_null(bx_buf_reserve(&b, 0));
}

static void taken_string_belongs_to_the_caller(void **state)
{
    bx_cleanup_buf struct bx_buf b = BX_BUF_INIT(100);
    char *s;

    bx_buf_addstr(&b, "skipped,kept");
    bx_buf_consume(&b, 8);
    s = bx_buf_take_str(&b);
    assert_string_equal(s, "kept");
    free(s);
    assert_int_equal(bx_buf_len(&b), 0);
    s = bx_buf_take_str(&b);
    assert_string_equal(s, "");
    free(s);
    assert_int_equal(bx_buf_room(&b), 100);
}

static void buffer_of_nothing_holds_nothing(void **state)
{
    bx_cleanup_buf struct bx_buf b = BX_BUF_INIT(0);

    assert_string_equal(bx_buf_str(&b), "");
    assert_int_equal(bx_buf_add(&b, "", 0), 0);
    assert_int_equal(bx_buf_add(&b, "a", 1), -ENOBUFS);
}

static void enormous_requests_fail_cleanly(void **state)
{
    bx_cleanup_buf struct bx_buf b = BX_BUF_INIT(SIZE_MAX);

    assert_int_equal(bx_buf_addstr(&b, "abc"), 0);
    assert_null(bx_buf_reserve(&b, SIZE_MAX - 3));
    assert_memory_equal(bx_buf_data(&b), "abc", 3);
    bx_buf_clear(&b);
    assert_null(bx_buf_reserve(&b, SIZE_MAX / 2));
    bx_buf_clear(&b);
    assert_int_equal(bx_buf_addstr(&b, "again"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_out_in_order),
        cmocka_unit_test(maximum_is_reached_exactly_and_never_passed),
        cmocka_unit_test(failed_buffer_refuses_until_cleared),
        cmocka_unit_test(formatted_text_of_any_length_fits),
        cmocka_unit_test(reserved_space_is_written_in_place),
        cmocka_unit_test(taken_string_belongs_to_the_caller),
        cmocka_unit_test(buffer_of_nothing_holds_nothing),
        cmocka_unit_test(enormous_requests_fail_cleanly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* One test asks for impossible amounts: let the sanitizer's allocator refuse as the ordinary one does. */
const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
