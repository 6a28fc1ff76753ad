/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration file says what it says, and nothing that is misspelt in it is passed over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "host/config.h"

static int parse(const char *text, struct bx_config *c, struct bx_err *err)
{
    return bx_config_parse(text, strlen(text), "the file", c, err);
}

static void everything_that_can_be_said_is_kept(void **state)
{
    bx_cleanup_config struct bx_config c = {0};
    struct bx_err err = BX_ERR_INIT;
    const struct bx_registry *g;

    assert_int_equal(
        parse(
            "{\"home_dir\": \"/h\", \"image_registries\": ["
            "{\"host\": \"index.docker.io\", \"mirrors\": [\"127.0.0.1:5000\", \"[::1]:5000/hub/x\"]},"
            "{\"host\": \"127.0.0.1:5000\", \"transport\": \"http\", \"search\": true,"
            " \"auth\": {\"type\": \"anonymous\"}},"
            "{\"host\": \"reg.example\", \"transport\": \"https\", \"skip_verify\": true, \"search\": false,"
            " \"ca_file\": \"/etc/ca.pem\","
            " \"auth\": {\"type\": \"basic\", \"username\": \"u\", \"password\": \"p:q\"}},"
            "{\"host\": \"b.example\", \"auth\": {\"type\": \"bearer\", \"token\": \"t\"}}],"
            " \"templates\": {\"limit\": \"2g\", \"days\": 30}}",
            &c, &err),
        0);
    assert_string_equal(c.home_dir, "/h");
    assert_true(c.templates_bytes == 2ull << 30);
    assert_int_equal(c.templates_days, 30);
    assert_int_equal(c.n_registries, 4);
    g = c.registries;
    assert_string_equal(g[0].host, "docker.io");
    assert_int_equal(bx_strv_len(g[0].mirrors), 2);
    assert_string_equal(g[0].mirrors[1], "[::1]:5000/hub/x");
    assert_int_equal(g[0].auth, BX_AUTH_UNSAID);
    assert_true(g[1].plain_http && g[1].search && !g[1].skip_verify);
    assert_int_equal(g[1].auth, BX_AUTH_ANONYMOUS);
    assert_true(!g[2].plain_http && g[2].skip_verify && !g[2].search);
    assert_string_equal(g[2].ca_file, "/etc/ca.pem");
    assert_int_equal(g[2].auth, BX_AUTH_BASIC);
    assert_string_equal(g[2].password, "p:q");
    assert_int_equal(g[3].auth, BX_AUTH_BEARER);
    assert_string_equal(g[3].token, "t");
}

static void what_is_wrong_is_named(void **state)
{
    static const char *const cases[][2] = {
        {"{\"image_registry\": []}", "image_registry"},
        {"{\"image_registries\": [{\"host\": \"a\", \"mirror\": []}]}", "image_registries[0].mirror"},
        {"{\"image_registries\": [{\"host\": \"a\", \"auth\": {\"type\": \"basic\", \"user\": \"u\"}}]}",
         "image_registries[0].auth.user"},
        {"{\"image_registries\": [{}]}", "host"},
        {"{\"image_registries\": {}}", "image_registries"},
        {"{\"image_registries\": [{\"host\": \"http://a\"}]}", "host[:port]"},
        {"{\"image_registries\": [{\"host\": \"a/b\"}]}", "host[:port]"},
        {"{\"image_registries\": [{\"host\": \"u@a\"}]}", "host[:port]"},
        {"{\"image_registries\": [{\"host\": \"a:0\"}]}", "host[:port]"},
        {"{\"image_registries\": [{\"host\": \"a\"}, {\"host\": \"A\"}]}", "entry already"},
        {"{\"image_registries\": [{\"host\": \"a\", \"transport\": \"ftp\"}]}", "https or http"},
        {"{\"image_registries\": [{\"host\": \"a\", \"search\": 1}]}", "image_registries[0].search"},
        {"{\"image_registries\": [{\"host\": \"a\", \"mirrors\": [\"https://b\"]}]}", "https://b"},
        {"{\"image_registries\": [{\"host\": \"a\", \"mirrors\": [\"b//c\"]}]}", "b//c"},
        {"{\"image_registries\": [{\"host\": \"a\", \"mirrors\": [\"b/../c\"]}]}", "b/../c"},
        {"{\"image_registries\": [{\"host\": \"a\", \"ca_file\": \"ca.pem\"}]}", "ca_file"},
        {"{\"image_registries\": [{\"host\": \"a\", \"auth\": {\"type\": \"basic\", \"username\": \"u\"}}]}",
         "username and password"},
        {"{\"image_registries\": [{\"host\": \"a\", \"auth\": {\"type\": \"anonymous\", \"token\": \"t\"}}]}",
         "nothing else"},
        {"{\"image_registries\": [{\"host\": \"a\", \"auth\": {\"type\": \"digest\"}}]}",
         "anonymous, basic or bearer"},
        {"{\"home_dir\": \"h\"}", "home_dir"},
        {"{\"templates\": \"2g\"}", "templates"},
        {"{\"templates\": {\"size\": \"2g\"}}", "templates.size"},
        {"{\"templates\": {\"limit\": 2}}", "limit"},
        {"{\"templates\": {\"limit\": \"2x\"}}", "such as 512m or 2g"},
        {"{\"templates\": {\"limit\": \"0\"}}", "such as 512m or 2g"},
        {"{\"templates\": {\"limit\": \"-1\"}}", "such as 512m or 2g"},
        {"{\"templates\": {\"limit\": \"16777215t\"}}", "such as 512m or 2g"},
        {"{\"templates\": {\"days\": 0}}", "days"},
        {"{\"templates\": {\"days\": 36501}}", "days"},
        {"{\"templates\": {\"days\": \"30\"}}", "days"},
        {"[]", "object"},
        {"{", "line 1"},
    };
    size_t i;

    for (i = 0; i < BX_ARRAY_SIZE(cases); i++) {
        struct bx_config c = {0};
        struct bx_err err = BX_ERR_INIT;

        assert_int_equal(parse(cases[i][0], &c, &err), -BX_ECONFIG);
        assert_true(bx_starts_with(err.msg, "the file"));
        if (!strstr(err.msg, cases[i][1]))
            fail_msg("%s: %s", cases[i][0], err.msg);
        assert_null(c.registries);
    }
}

static void hosts_are_hosts(void **state)
{
    static const char *const good[] = {"a", "a.b-c:5000", "127.0.0.1", "[::1]", "[fe80::1]:443", "a_b"};
    static const char *const bad[] = {"",   ":5000", "a b", "a:",    "a:65536", "[::1",
                                      "[]", "-a",    "a\n", "a:1:2", "a?b"};
    size_t i;

    for (i = 0; i < BX_ARRAY_SIZE(good); i++)
        assert_true(bx_registry_host_valid(good[i]));
    for (i = 0; i < BX_ARRAY_SIZE(bad); i++)
        assert_false(bx_registry_host_valid(bad[i]));
    assert_true(bx_registry_host_same("docker.io", "Index.Docker.io"));
    assert_false(bx_registry_host_same("docker.io", "docker.io:443"));
}

/* A directory with config.json and named.json, removed by the teardown. */
static char dir[] = "/tmp/bx-config-XXXXXX";

static void put(const char *name, const char *text)
{
    bx_cleanup_free char *path = bx_path_join(dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(bx_write_full(fd, text, strlen(text)), 0);
    bx_close(fd);
}

static int setup(void **state)
{
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    unsetenv("BOXLITE_CONFIG");
    return bx_rm_rf(AT_FDCWD, dir);
}

static void the_named_file_wins_over_the_one_at_home(void **state)
{
    bx_cleanup_free char *named = bx_path_join(dir, "named.json"), *home = NULL, *other = NULL;
    bx_cleanup_config struct bx_config c = {0}, d = {0};
    struct bx_err err = BX_ERR_INIT;
    char text[128];

    unsetenv("BOXLITE_HOME");
    unsetenv("BOXLITE_CONFIG");
    put("config.json", "{\"image_registries\": [{\"host\": \"at.home\"}]}");
    assert_int_equal(bx_config_load(dir, &c, &home, &err), 0);
    assert_string_equal(home, dir);
    assert_string_equal(c.registries[0].host, "at.home");

    snprintf(text, sizeof(text), "{\"home_dir\": \"%s/elsewhere\"}", dir);
    put("named.json", text);
    setenv("BOXLITE_CONFIG", named, 1);
    assert_int_equal(bx_config_load(NULL, &d, &other, &err), 0);
    assert_int_equal(d.n_registries, 0);
    assert_true(bx_ends_with(other, "/elsewhere"));
    free(BX_TAKE_PTR(other));
    bx_config_done(&d);
    assert_int_equal(bx_config_load("/given", &d, &other, &err), 0);
    assert_string_equal(other, "/given");
    unsetenv("BOXLITE_CONFIG");
}

static void a_file_that_was_named_must_be_there(void **state)
{
    bx_cleanup_free char *home = NULL;
    bx_cleanup_config struct bx_config c = {0};
    struct bx_err err = BX_ERR_INIT;

    setenv("BOXLITE_CONFIG", "/nowhere/at/all.json", 1);
    assert_int_equal(bx_config_load(dir, &c, &home, &err), -BX_ECONFIG);
    assert_non_null(strstr(err.msg, "/nowhere/at/all.json"));
    unsetenv("BOXLITE_CONFIG");
}

static void a_home_does_not_say_that_it_is_elsewhere(void **state)
{
    bx_cleanup_free char *home = NULL;
    bx_cleanup_config struct bx_config c = {0};
    struct bx_err err = BX_ERR_INIT;

    put("config.json", "{\"home_dir\": \"/elsewhere\"}");
    assert_int_equal(bx_config_load(dir, &c, &home, &err), -BX_ECONFIG);
    assert_non_null(strstr(err.msg, "home_dir"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_that_can_be_said_is_kept),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(hosts_are_hosts),
        cmocka_unit_test(the_named_file_wins_over_the_one_at_home),
        cmocka_unit_test(a_file_that_was_named_must_be_there),
        cmocka_unit_test(a_home_does_not_say_that_it_is_elsewhere),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
