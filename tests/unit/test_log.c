/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines: their form, what hostile text becomes, and the limit per call site. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

static int log_fd;

static int open_log(void **state)
{
    log_fd = memfd_create("log", MFD_CLOEXEC);
    bx_log_setup(log_fd, "tester", BX_LOG_INFO);
    return log_fd < 0;
}

static int close_log(void **state)
{
    bx_log_setup(STDERR_FILENO, "tester", BX_LOG_INFO);
    bx_close(log_fd);
    return 0;
}

static char *logged(void)
{
    char *text = NULL;

    assert_int_equal(lseek(log_fd, 0, SEEK_SET), 0);
    assert_int_equal(bx_read_fd(log_fd, 1 << 20, &text, NULL), 0);
    return text;
}

static unsigned count_lines(const char *s)
{
    unsigned n = 0;

    for (; *s; s++)
        n += *s == '\n';
    return n;
}

static void line_has_level_time_program_and_text(void **state)
{
    bx_cleanup_free char *text = NULL;
    int year, ms;
    char level[8], program[16];

    errno = EBUSY;
    bx_warn("disk %d is %s", 3, "full");
    assert_int_equal(errno, EBUSY);
    text = logged();
    assert_int_equal(sscanf(text, "%7s %d-%*d-%*dT%*d:%*d:%*d.%dZ %15s", level, &year, &ms, program), 4);
    assert_string_equal(level, "WARN");
    assert_true(year >= 2024);
    assert_string_equal(program, "tester:");
    assert_true(bx_ends_with(text, "Z tester: disk 3 is full\n"));
}

static void lines_above_the_level_are_not_written(void **state)
{
    bx_cleanup_free char *text = NULL;

    bx_debug("no");
    bx_error("yes");
    text = logged();
    assert_int_equal(count_lines(text), 1);
}

static void text_cannot_forge_a_second_line(void **state)
{
    bx_cleanup_free char *text = NULL;

    bx_info("%s", "guest says\nERROR 2030-01-01T00:00:00.000Z shim: all is lost\x1b[0m");
    text = logged();
    assert_int_equal(count_lines(text), 1);
    assert_non_null(strstr(text, "guest says\\x0aERROR"));
    assert_null(strchr(text, '\x1b'));
}

static void very_long_text_is_cut_to_one_line(void **state)
{
    bx_cleanup_free char *text = NULL, *big = malloc(10000);

    memset(big, '\n', 9999);
    big[9999] = '\0';
    bx_info("%s", big);
    text = logged();
    assert_int_equal(count_lines(text), 1);
    assert_true(strlen(text) > 1000 && strlen(text) <= 2048);
}

static void flood_is_limited_and_counted(void **state)
{
    struct bx_ratelimit rl = { 0 };
    bx_cleanup_free char *text = NULL, *after = NULL;

    for (int i = 0; i < 500; i++)
        bx_log_ratelimited(&rl, BX_LOG_WARN, "bad frame %d", i);
    text = logged();
    assert_int_equal(count_lines(text), 10);
    assert_int_equal(rl.dropped, 490);
    rl.window_start_ms -= 1000; /* a second later */
    bx_log_ratelimited(&rl, BX_LOG_WARN, "one more");
    after = logged();
    assert_true(bx_ends_with(after, "one more (490 more like it dropped)\n"));
    assert_int_equal(rl.dropped, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(line_has_level_time_program_and_text, open_log, close_log),
        cmocka_unit_test_setup_teardown(lines_above_the_level_are_not_written, open_log, close_log),
        cmocka_unit_test_setup_teardown(text_cannot_forge_a_second_line, open_log, close_log),
        cmocka_unit_test_setup_teardown(very_long_text_is_cut_to_one_line, open_log, close_log),
        cmocka_unit_test_setup_teardown(flood_is_limited_and_counted, open_log, close_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
