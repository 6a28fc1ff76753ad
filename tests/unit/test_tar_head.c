/* SPDX-License-Identifier: Apache-2.0 */
/* Headers of tar archives, byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/tar_head.h"

static unsigned long octal(const uint8_t *field)
{
    return strtoul((const char *)field, NULL, 8);
}

static void check_sum(const uint8_t *h)
{
    unsigned sum = 0;

    for (size_t i = 0; i < BX_TAR_BLOCK; i++)
        sum += i >= 148 && i < 156 ? ' ' : h[i];
    assert_int_equal(octal(h + 148), sum);
}

static void test_a_file_and_a_directory(void **state)
{
    uint8_t h[BX_TAR_HEAD_MAX];

    (void)state;
    assert_int_equal(bx_tar_head(h, "index.json", 1234), BX_TAR_BLOCK);
    assert_string_equal((char *)h, "index.json");
    assert_memory_equal(h + 257, "ustar\00000", 8);
    assert_int_equal(h[156], '0');
    assert_int_equal(octal(h + 124), 1234);
    assert_int_equal(octal(h + 100), 0644);
    check_sum(h);
    assert_int_equal(bx_tar_head(h, "blobs/", 0), BX_TAR_BLOCK);
    assert_int_equal(h[156], '5');
    assert_int_equal(octal(h + 100), 0755);
    check_sum(h);
}

static void test_sizes_at_the_limit_of_ustar(void **state)
{
    uint8_t h[BX_TAR_HEAD_MAX];

    (void)state;
    assert_int_equal(bx_tar_head(h, "a", (1ULL << 33) - 1), BX_TAR_BLOCK);
    assert_int_equal(octal(h + 124), (1ULL << 33) - 1);
    assert_int_equal(bx_tar_head(h, "a", 1ULL << 33), 3 * BX_TAR_BLOCK);
    check_sum(h);
    assert_int_equal(h[156], 'x');
    assert_string_equal((char *)h + BX_TAR_BLOCK, "19 size=8589934592\n");
    assert_int_equal(octal(h + 124), 19);
    check_sum(h + 2 * BX_TAR_BLOCK);
    assert_int_equal(h[2 * BX_TAR_BLOCK + 156], '0');
    /* where the record's length gets another digit by counting itself */
    assert_int_equal(bx_tar_head(h, "a", UINT64_MAX), 3 * BX_TAR_BLOCK);
    assert_string_equal((char *)h + BX_TAR_BLOCK, "29 size=18446744073709551615\n");
}

static void test_padding(void **state)
{
    (void)state;
    assert_int_equal(bx_tar_padding(0), 0);
    assert_int_equal(bx_tar_padding(1), 511);
    assert_int_equal(bx_tar_padding(512), 0);
    assert_int_equal(bx_tar_padding((1ULL << 40) + 513), 511);
}

static void test_the_longest_name_fills_its_field(void **state)
{
    char name[BX_TAR_NAME_MAX + 1];
    uint8_t h[BX_TAR_HEAD_MAX];

    (void)state;
    memset(name, 'n', BX_TAR_NAME_MAX);
    name[BX_TAR_NAME_MAX] = '\0';
    bx_tar_head(h, name, 0);
    assert_memory_equal(h, name, BX_TAR_NAME_MAX);
    assert_memory_equal(h + 100, "0000644", 8);
    check_sum(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_file_and_a_directory),
        cmocka_unit_test(test_sizes_at_the_limit_of_ustar),
        cmocka_unit_test(test_padding),
        cmocka_unit_test(test_the_longest_name_fills_its_field),
    };

    return cmocka_run_group_tests_name("tar_head", tests, NULL, NULL);
}
