/* SPDX-License-Identifier: Apache-2.0 */
/* Small parts of the agent: environments, where a command is looked for, cgroup files. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "guest/cgroup.h"
#include "guest/env.h"
#include "guest/spawn.h"

#define LIST(s) s, sizeof(s)

static void own_variables_win_over_the_box_and_defaults_fill_up(void **state)
{
    struct bx_env e;

    assert_int_equal(
        bx_env_make("A=1\0B=box\0PATH=/image", 3, "B=own\0C=\0B=last", 3, "/home/u", "host", false, &e), 0);
    assert_int_equal(e.n, 6);
    assert_string_equal(bx_env_get(&e, "A"), "1");
    assert_string_equal(bx_env_get(&e, "B"), "last");
    assert_string_equal(bx_env_get(&e, "C"), "");
    assert_string_equal(bx_env_get(&e, "PATH"), "/image");
    assert_string_equal(bx_env_get(&e, "HOME"), "/home/u");
    assert_string_equal(bx_env_get(&e, "HOSTNAME"), "host");
    assert_null(bx_env_get(&e, "TERM"));
    assert_null(e.v[e.n]);
    for (size_t i = 1; i < e.n; i++)
        assert_true(strcmp(e.v[i - 1], e.v[i]) < 0);
    bx_env_done(&e);
}

static void names_that_begin_alike_are_different(void **state)
{
    struct bx_env e;

    assert_int_equal(bx_env_make("AB=1\0A=2\0ABC=3", 3, "A=4\0=x\0noequals", 3, "/", "h", true, &e), 0);
    assert_string_equal(bx_env_get(&e, "A"), "4");
    assert_string_equal(bx_env_get(&e, "AB"), "1");
    assert_string_equal(bx_env_get(&e, "ABC"), "3");
    assert_string_equal(bx_env_get(&e, "TERM"), "xterm");
    assert_string_equal(bx_env_get(&e, "PATH"), BX_ENV_PATH);
    assert_int_equal(e.n, 7);
    bx_env_done(&e);
}

static void home_of_the_caller_wins(void **state)
{
    struct bx_env e;

    assert_int_equal(bx_env_make(NULL, 0, "HOME=/mine\0TERM=dumb", 2, "/passwd", "h", true, &e), 0);
    assert_string_equal(bx_env_get(&e, "HOME"), "/mine");
    assert_string_equal(bx_env_get(&e, "TERM"), "dumb");
    bx_env_done(&e);
}

static void many_doubles_are_no_work(void **state)
{
    size_t n = 16384, at = 0;
    char *list = malloc(n * 8);
    struct bx_env e;

    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(list + at, n * 8 - at, "K=%zu", i) + 1;
    assert_int_equal(bx_env_make(list, n, list, n, "/", "h", false, &e), 0);
    assert_int_equal(e.n, 4);
    assert_string_equal(bx_env_get(&e, "K"), "16383");
    bx_env_done(&e);
    free(list);
}

static void check_programs(const char *command, const char *path, const char *want, size_t len)
{
    char *list = bx_spawn_programs(command, path);

    assert_non_null(list);
    assert_memory_equal(list, want, len);
    free(list);
}

static void a_command_is_looked_for_along_path(void **state)
{
    check_programs("sh", "/bin:/usr/bin", LIST("/bin/sh\0/usr/bin/sh\0"));
    check_programs("./sh", "/bin", LIST("./sh\0"));
    check_programs("/x/y", "", LIST("/x/y\0"));
    check_programs("sh", "", LIST("./sh\0"));
    check_programs("sh", ":/a:", LIST("./sh\0/a/sh\0./sh\0"));
}

static void absurd_paths_are_refused(void **state)
{
    char *path = malloc(100001), *command = malloc(100001);

    memset(path, ':', 100000);
    memset(command, 'c', 100000);
    path[100000] = command[100000] = '\0';
    errno = 0;
    assert_null(bx_spawn_programs(command, path));
    assert_int_equal(errno, E2BIG);
    assert_null(bx_spawn_programs("", "/bin"));
    assert_int_equal(errno, ENOENT);
    free(path);
    free(command);
}

static void keys_of_flat_files_are_found_whole(void **state)
{
    const char *text = "low 0\nhigh 1\nmax 22\noom 3\noom_kill 18446744073709551615\noom_group_kill 5\n";
    uint64_t v;

    assert_true(bx_cgroup_parse_key(text, "oom_kill", &v));
    assert_true(v == UINT64_MAX);
    assert_true(bx_cgroup_parse_key(text, "oom", &v));
    assert_int_equal(v, 3);
    assert_false(bx_cgroup_parse_key(text, "oom_", &v));
    assert_false(bx_cgroup_parse_key(text, "ow", &v));
    assert_false(bx_cgroup_parse_key("oom x\n", "oom", &v));
    assert_false(bx_cgroup_parse_key("oom 18446744073709551616\n", "oom", &v));
    assert_false(bx_cgroup_parse_key("oom", "oom", &v));
    assert_false(bx_cgroup_parse_key("", "oom", &v));
    assert_true(bx_cgroup_parse_key("populated 1", "populated", &v));
    assert_int_equal(v, 1);
}

static void sum(int pid, void *ud)
{
    *(long *)ud += pid;
}

static void lists_of_processes_may_be_cut_anywhere(void **state)
{
    const char *text = "1\n22\n333\n4444";
    size_t len = strlen(text);

    for (size_t cut = 0; cut <= len; cut++) {
        uint32_t carry = 0;
        long total = 0;
        size_t n = 0;

        if (cut > 0)
            n += bx_cgroup_parse_pids(text, cut, &carry, sum, &total);
        if (cut < len)
            n += bx_cgroup_parse_pids(text + cut, len - cut, &carry, sum, &total);
        n += bx_cgroup_parse_pids("", 0, &carry, sum, &total);
        assert_int_equal(n, 4);
        assert_int_equal(total, 4800);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_variables_win_over_the_box_and_defaults_fill_up),
        cmocka_unit_test(names_that_begin_alike_are_different),
        cmocka_unit_test(home_of_the_caller_wins),
        cmocka_unit_test(many_doubles_are_no_work),
        cmocka_unit_test(a_command_is_looked_for_along_path),
        cmocka_unit_test(absurd_paths_are_refused),
        cmocka_unit_test(keys_of_flat_files_are_found_whole),
        cmocka_unit_test(lists_of_processes_may_be_cut_anywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
