/* SPDX-License-Identifier: Apache-2.0 */
/* One box without callbacks. */
#include "api_boxes.h"

#include <sys/stat.h>

static int simple_setup(void **state)
{
    assert_int_equal(setenv("BOXLITE_HOME", home_path, 1), 0);
    return setup(state);
}

static CBoxliteExecResult *run(CBoxliteSimple *s, const char *script)
{
    const char *args[] = {"-c", script};
    CBoxliteExecResult *r = NULL;
    CBoxliteError e = {Ok, NULL};

    if (boxlite_simple_run(s, "sh", args, 2, &r, &e) != Ok)
        fail_msg("%s", e.message);
    return r;
}

static void commands_run_one_after_another_in_one_box_that_goes_at_the_end(void **state)
{
    CBoxliteSimple *s = NULL;
    CBoxliteExecResult *r;
    struct answer a = {0};

    assert_int_equal(boxlite_simple_new(IMAGE, 0, 256, &s, NULL), Ok);
    assert_int_equal(count_entries("boxes"), 0); /* nothing yet */
    r = run(s, "printf 'a\\nb'; printf 'c\\n'; echo wrong >&2; exit 3");
    assert_string_equal(r->stdout_text, "a\nbc\n");
    assert_string_equal(r->stderr_text, "wrong\n");
    assert_int_equal(r->exit_code, 3);
    boxlite_result_free(r);
    assert_int_equal(count_entries("boxes"), 1);
    r = run(s, "echo kept > /file; cat"); /* stdin is at its end */
    assert_string_equal(r->stdout_text, "");
    boxlite_result_free(r);
    r = run(s, "cat /file");
    assert_string_equal(r->stdout_text, "kept\n");
    assert_int_equal(r->exit_code, 0);
    boxlite_result_free(r);
    r = run(s, "kill -9 $$");
    assert_int_equal(r->exit_code, 137);
    boxlite_result_free(r);
    boxlite_simple_free(s);
    boxlite_list_info(*state, on_box_list, &a, NULL);
    DRAIN_UNTIL((CBoxliteRuntime *)*state, a.done);
    assert_int_equal(((CBoxInfoList *)a.result)->count, 0);
    boxlite_free_box_info_list(a.result);
}

static void large_output_comes_whole_and_endless_output_is_ended(void **state)
{
    CBoxliteSimple *s = NULL;
    CBoxliteExecResult *r;
    CBoxliteError e = {Ok, NULL};

    (void)state;
    assert_int_equal(boxlite_simple_new(IMAGE, 0, 256, &s, NULL), Ok);
    r = run(s, "head -c 9000000 /dev/zero | tr '\\0' x");
    assert_int_equal(strlen(r->stdout_text), 9000000);
    boxlite_result_free(r);
    r = NULL;
    assert_int_equal(boxlite_simple_run(s, "yes", NULL, 0, &r, &e), ResourceExhausted);
    assert_null(r);
    assert_non_null(strstr(e.message, "stdout"));
    boxlite_error_free(&e);
    r = run(s, "pidof yes || echo none"); /* and the box is good for more */
    assert_string_equal(r->stdout_text, "none\n");
    boxlite_result_free(r);
    boxlite_simple_free(s);
}

static void what_cannot_run_is_an_error(void **state)
{
    CBoxliteSimple *s = NULL;
    CBoxliteExecResult *r = NULL;
    CBoxliteError e = {Ok, NULL};

    (void)state;
    assert_int_equal(boxlite_simple_new(IMAGE, 0, 256, &s, NULL), Ok);
    assert_int_equal(boxlite_simple_run(s, "no-such-program", NULL, 0, &r, &e), Execution);
    assert_non_null(strstr(e.message, "Execution error: "));
    boxlite_error_free(&e);
    assert_int_equal(boxlite_simple_run(s, "", NULL, 0, &r, &e), InvalidArgument);
    boxlite_error_free(&e);
    boxlite_simple_free(s);
    s = NULL;
    assert_int_equal(boxlite_simple_new(IMAGE, 99, 0, &s, &e), InvalidArgument);
    assert_non_null(strstr(e.message, "cpus"));
    assert_null(s);
    boxlite_error_free(&e);
}

int main(void)
{
#define V(f) cmocka_unit_test_setup_teardown(f, simple_setup, teardown)
    const struct CMUnitTest tests[] = {
        V(commands_run_one_after_another_in_one_box_that_goes_at_the_end),
        V(large_output_comes_whole_and_endless_output_is_ended),
        V(what_cannot_run_is_an_error),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
