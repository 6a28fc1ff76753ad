/* SPDX-License-Identifier: Apache-2.0 */
/* Points in time and lengths of time as people write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "base/clock.h"
#include "base/when.h"

#define NOW (1764428645 * BX_SEC + 500) /* 2025-11-29T15:04:05.0000005Z */

static void lengths_of_time_are_read(void **state)
{
    static const struct {
        const char *text;
        int64_t ns;
    } good[] = {{"0", 0},
                {"10", 10 * BX_SEC},
                {"1.5", 1500 * BX_MSEC},
                {"250ms", 250 * BX_MSEC},
                {"90s", 90 * BX_SEC},
                {"1h30m", 5400 * BX_SEC},
                {"1.5h", 5400 * BX_SEC},
                {"2d", 172800 * BX_SEC},
                {"1d1h1m1s1ms", 90061 * BX_SEC + BX_MSEC}};
    static const char *const bad[] = {"", "s", "-1", "1x", "1m1h", "1s1s", "1h30", "1.", ".5s", "1.1234567890", "1 s", "9999999999999"};
    int64_t ns;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(bx_parse_duration(good[i].text, &ns), 0);
        assert_int_equal(ns, good[i].ns);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(bx_parse_duration(bad[i], &ns), -EINVAL);
    assert_int_equal(bx_parse_duration("999999d", &ns), -ERANGE);
    assert_int_equal(bx_parse_duration("36600d36600d", &ns), -EINVAL);
}

static void points_in_time_are_read(void **state)
{
    static const struct {
        const char *text;
        int64_t ns;
    } good[] = {{"2025-11-29T15:04:05Z", 1764428645 * BX_SEC},
                {"2025-11-29T15:04:05.25Z", 1764428645 * BX_SEC + 250 * BX_MSEC},
                {"2025-11-29T16:04:05+01:00", 1764428645 * BX_SEC},
                {"2025-11-29T13:34:05-0130", 1764428645 * BX_SEC},
                {"2025-11-29 15:04:05", 1764428645 * BX_SEC},
                {"2025-11-29T15:04", 1764428640 * BX_SEC},
                {"2025-11-29", 1764374400 * BX_SEC},
                {"1764428645", 1764428645 * BX_SEC},
                {"1764428645.25", 1764428645 * BX_SEC + 250 * BX_MSEC},
                {"10m", NOW - 600 * BX_SEC},
                {"30", NOW - 30 * BX_SEC}};
    static const char *const bad[] = {"",           "yesterday",           "2025-13-01", "2025-02-30", "2025-11-29T25:00Z", "2025-11-29T15:04:05X",
                                      "2025-11-29T15", "2025-11-29T15:04:05+1", "10m ago", "2025-11-2"};
    int64_t ns;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        if (bx_parse_when(good[i].text, NOW, &ns) != 0)
            fail_msg("%s", good[i].text);
        assert_int_equal(ns, good[i].ns);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (bx_parse_when(bad[i], NOW, &ns) != -EINVAL)
            fail_msg("%s", bad[i]);
    assert_int_equal(bx_parse_when("1900-01-01", NOW, &ns), -ERANGE);
    assert_int_equal(bx_parse_when("99999999999", NOW, &ns), -ERANGE);
}

static void points_in_time_are_written(void **state)
{
    char text[BX_WHEN_LEN];

    (void)state;
    bx_format_when(text, NOW);
    assert_string_equal(text, "2025-11-29T15:04:05.000000500Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_of_time_are_read),
        cmocka_unit_test(points_in_time_are_read),
        cmocka_unit_test(points_in_time_are_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
