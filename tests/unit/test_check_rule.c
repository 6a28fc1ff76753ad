/* SPDX-License-Identifier: Apache-2.0 */
/* What results of a health check make of a box's health. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shim/check_rule.h"

static void one_success_is_healthy_and_so_many_failures_in_a_row_are_not(void **state)
{
    struct bx_check c;

    (void)state;
    bx_check_begin(&c, 3, 100, 0);
    assert_int_equal(c.state, BX_HEALTH_STARTING);
    assert_true(bx_check_result(&c, true, 101));
    assert_int_equal(c.state, BX_HEALTH_HEALTHY);
    assert_false(bx_check_result(&c, true, 102));
    assert_false(bx_check_result(&c, false, 103));
    assert_false(bx_check_result(&c, false, 104));
    assert_false(bx_check_result(&c, true, 105)); /* the row is broken */
    assert_int_equal(c.failures, 0);
    assert_false(bx_check_result(&c, false, 106));
    assert_false(bx_check_result(&c, false, 107));
    assert_true(bx_check_result(&c, false, 108));
    assert_int_equal(c.state, BX_HEALTH_UNHEALTHY);
    assert_false(bx_check_result(&c, false, 109));
    assert_int_equal(c.failures, 4);
    assert_true(bx_check_result(&c, true, 110));
    assert_int_equal(c.state, BX_HEALTH_HEALTHY);
}

static void one_that_never_succeeds_becomes_unhealthy(void **state)
{
    struct bx_check c;

    (void)state;
    bx_check_begin(&c, 1, 100, 0);
    assert_true(bx_check_result(&c, false, 100));
    assert_int_equal(c.state, BX_HEALTH_UNHEALTHY);
}

static void failures_within_the_start_period_do_not_count(void **state)
{
    struct bx_check c;

    (void)state;
    bx_check_begin(&c, 2, 100, 50);
    for (int64_t t = 100; t < 150; t += 10)
        assert_false(bx_check_result(&c, false, t));
    assert_int_equal(c.failures, 0);
    assert_false(bx_check_result(&c, false, 150));
    assert_true(bx_check_result(&c, false, 151));
    assert_int_equal(c.state, BX_HEALTH_UNHEALTHY);
}

static void a_success_ends_the_start_period(void **state)
{
    struct bx_check c;

    (void)state;
    bx_check_begin(&c, 1, 100, 50);
    assert_true(bx_check_result(&c, true, 110));
    assert_true(bx_check_result(&c, false, 120));
    assert_int_equal(c.state, BX_HEALTH_UNHEALTHY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_success_is_healthy_and_so_many_failures_in_a_row_are_not),
        cmocka_unit_test(one_that_never_succeeds_becomes_unhealthy),
        cmocka_unit_test(failures_within_the_start_period_do_not_count),
        cmocka_unit_test(a_success_ends_the_start_period),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
