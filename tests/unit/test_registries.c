/* SPDX-License-Identifier: Apache-2.0 */
/* Where an image is asked for, in which order, and as whom; no credential goes to a place that it was not
 * given for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "runtime/credentials.h"
#include "runtime/registries.h"

#define bx_cleanup_registries BX_CLEANUP(bx_registries_done)

static void make(const BoxliteImageRegistry *given, size_t n, const char *file, struct bx_registries *ret)
{
    bx_cleanup_config struct bx_config c = {0};
    struct bx_err err = BX_ERR_INIT;

    if (bx_config_parse(file, strlen(file), "file", &c, &err) < 0 ||
        bx_registries_make(given, n, &c, ret, &err) < 0)
        fail_msg("%s", err.msg);
}

static int make_fails(const BoxliteImageRegistry *given, size_t n, struct bx_err *err)
{
    struct bx_config none = {0};
    struct bx_registries g = {0};

    return bx_registries_make(given, n, &none, &g, err);
}

/* ---- both made one ---- */

static void the_programs_word_goes_before_the_files(void **state)
{
    const BoxliteImageRegistry given[] = {
        {.host = "a.example", .search = 1},
        {.host = "b.example", .transport = BoxliteRegistryTransportHttp, .username = "u", .password = "p"},
    };
    bx_cleanup_registries struct bx_registries g = {0};
    const struct bx_registry *r;

    make(given, 2,
         "{\"image_registries\": ["
         "{\"host\": \"c.example\", \"transport\": \"http\"},"
         "{\"host\": \"A.example\", \"transport\": \"http\", \"mirrors\": [\"m\"], \"ca_file\": \"/ca\","
         " \"auth\": {\"type\": \"bearer\", \"token\": \"t\"}},"
         "{\"host\": \"b.example\", \"auth\": {\"type\": \"anonymous\"}}]}",
         &g);
    assert_int_equal(g.n, 3);
    r = bx_registry_find(&g, "a.example");
    assert_false(r->plain_http);
    assert_true(r->search);
    assert_string_equal(r->mirrors[0], "m");
    assert_string_equal(r->ca_file, "/ca");
    assert_string_equal(r->token, "t");
    r = bx_registry_find(&g, "b.example");
    assert_true(r->plain_http);
    assert_int_equal(r->auth, BX_AUTH_BASIC);
    assert_true(bx_registry_find(&g, "c.example")->plain_http);
    assert_null(bx_registry_find(&g, "d.example"));
}

static void what_the_program_gives_is_checked(void **state)
{
    static const struct {
        BoxliteImageRegistry g;
        const char *says;
    } cases[] = {
        {{.host = NULL}, "host is required"},
        {{.host = ""}, "host is required"},
        {{.host = "https://a"}, "host[:port]"},
        {{.host = "a/b"}, "host[:port]"},
        {{.host = "a", .transport = (BoxliteRegistryTransport)7}, "unsupported registry transport"},
        {{.host = "a", .username = "u"}, "username and password must be provided together"},
        {{.host = "a", .username = "u", .password = "p", .bearer_token = "t"}, "either"},
        {{.host = "plain", .search = 1}, "cannot be searched"},
    };
    const BoxliteImageRegistry twice[] = {{.host = "docker.io"}, {.host = "index.docker.io"}};
    size_t i;

    for (i = 0; i < BX_ARRAY_SIZE(cases); i++) {
        struct bx_err err = BX_ERR_INIT;

        assert_int_equal(make_fails(&cases[i].g, 1, &err), -BX_ECONFIG);
        if (!strstr(err.msg, cases[i].says))
            fail_msg("%zu: %s", i, err.msg);
    }
    assert_int_equal(make_fails(twice, 2, NULL), -BX_ECONFIG);
}

/* ---- names ---- */

static void expect_names(const struct bx_registries *g, const char *name, const char *expected)
{
    bx_cleanup_strv char **list = NULL;
    struct bx_err err = BX_ERR_INIT;
    char all[512] = "";
    size_t i;

    if (bx_registries_candidates(g, name, &list, &err) < 0)
        fail_msg("%s: %s", name, err.msg);
    for (i = 0; list[i]; i++)
        snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? " " : "", list[i]);
    assert_string_equal(all, expected);
}

static void names_without_a_registry_are_searched_for_in_order(void **state)
{
    const BoxliteImageRegistry given[] = {{.host = "first.example:5000", .search = 1},
                                          {.host = "never.example"},
                                          {.host = "docker.io", .search = 1}};
    bx_cleanup_registries struct bx_registries g = {0}, none = {0};

    make(given, 3, "{\"image_registries\": [{\"host\": \"localhost\", \"search\": true}]}", &g);
    make(NULL, 0, "{}", &none);
    expect_names(&g, "python:slim",
                 "first.example:5000/python:slim docker.io/library/python:slim localhost/python:slim");
    expect_names(&g, "team/tool",
                 "first.example:5000/team/tool:latest docker.io/team/tool:latest "
                 "localhost/team/tool:latest");
    expect_names(&g, "never.example/x", "never.example/x:latest");
    expect_names(&g, "docker.io/python", "docker.io/library/python:latest");
    expect_names(&none, "python", "docker.io/library/python:latest");
    expect_names(&none, "team/tool:1", "docker.io/team/tool:1");
    assert_int_equal(bx_registries_candidates(&g, "Upper", &(char **){NULL}, NULL), -BX_EINVALID);
}

/* ---- endpoints ---- */

static void mirrors_come_first_and_get_their_own_credentials_only(void **state)
{
    bx_cleanup_registries struct bx_registries g = {0};
    bx_cleanup_pull_plan struct bx_pull_plan plan = BX_PULL_PLAN_INIT;
    struct bx_credential_key keys[BX_PULL_ENDPOINTS_MAX];
    struct bx_err err = BX_ERR_INIT;
    struct bx_reference ref;
    const struct bx_pull_endpoint *e;

    make(NULL, 0,
         "{\"image_registries\": ["
         "{\"host\": \"docker.io\", \"mirrors\": [\"127.0.0.1:5000\", \"harbor.example/hub\"],"
         " \"auth\": {\"type\": \"basic\", \"username\": \"u\", \"password\": \"p\"}},"
         "{\"host\": \"127.0.0.1:5000\", \"transport\": \"http\", \"auth\": {\"type\": \"anonymous\"},"
         " \"mirrors\": [\"other\"]}]}",
         &g);
    assert_int_equal(bx_reference_parse("python:slim", &ref, &err), 0);
    plan.repository = strdup(ref.path);
    assert_int_equal(bx_registries_endpoints(&g, &ref, &plan, keys, &err), 0);
    assert_int_equal(plan.n_endpoints, 3);
    e = plan.endpoints;
    assert_string_equal(e[0].host, "127.0.0.1:5000");
    assert_true(e[0].plain_http);
    assert_null(e[0].prefix);
    assert_null(e[0].username);
    assert_string_equal(keys[0].host, ""); /* anonymous: nobody is asked */
    assert_string_equal(e[1].host, "harbor.example");
    assert_string_equal(e[1].prefix, "hub");
    assert_false(e[1].plain_http);
    assert_null(e[1].username);
    assert_string_equal(keys[1].host, "harbor.example");
    assert_string_equal(keys[1].path, "hub/library/python");
    assert_string_equal(e[2].host, "registry-1.docker.io");
    assert_string_equal(e[2].username, "u");
    assert_string_equal(keys[2].host, "");
}

static void certificates_are_read_and_a_missing_file_is_named(void **state)
{
    char path[] = "/tmp/bx-ca-XXXXXX", file[256];
    bx_cleanup_close int fd = mkstemp(path);
    const char pem[] = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    bx_cleanup_registries struct bx_registries g = {0};
    bx_cleanup_pull_plan struct bx_pull_plan plan = BX_PULL_PLAN_INIT, without = BX_PULL_PLAN_INIT;
    struct bx_credential_key keys[BX_PULL_ENDPOINTS_MAX];
    struct bx_err err = BX_ERR_INIT;
    struct bx_reference ref;

    assert_true(fd >= 0);
    assert_int_equal(bx_write_full(fd, pem, strlen(pem)), 0);
    snprintf(file, sizeof(file), "{\"image_registries\": [{\"host\": \"r.example\", \"ca_file\": \"%s\"}]}",
             path);
    make(NULL, 0, file, &g);
    assert_int_equal(bx_reference_parse("r.example/x", &ref, &err), 0);
    plan.repository = strdup("x");
    assert_int_equal(bx_registries_endpoints(&g, &ref, &plan, keys, &err), 0);
    assert_string_equal(plan.endpoints[0].ca_pem, pem);
    assert_int_equal(unlink(path), 0);
    without.repository = strdup("x");
    assert_int_equal(bx_registries_endpoints(&g, &ref, &without, keys, &err), -BX_ECONFIG);
    assert_non_null(strstr(err.msg, path));
}

/* ---- docker's configuration ---- */

/* "user:password", "identity X", "bearer X", "helper X" or "-" */
static void expect_login(const char *json, const char *host, const char *path, const char *expected)
{
    bx_cleanup_docker_login struct bx_docker_login l = {0};
    struct bx_credential_key key = {0};
    struct bx_err err = BX_ERR_INIT;
    char got[256];

    snprintf(key.host, sizeof(key.host), "%s", host);
    snprintf(key.path, sizeof(key.path), "%s", path);
    if (bx_docker_config_parse(json, strlen(json), "config.json", &key, &l, &err) < 0)
        snprintf(got, sizeof(got), "%.200s", err.msg);
    else if (l.helper)
        snprintf(got, sizeof(got), "helper %s", l.helper);
    else if (l.bearer_token)
        snprintf(got, sizeof(got), "bearer %s", l.bearer_token);
    else if (l.identity_token)
        snprintf(got, sizeof(got), "identity %s", l.identity_token);
    else
        snprintf(got, sizeof(got), "%s%s%s", l.username ? l.username : "-", l.password ? ":" : "",
                 l.password ? l.password : "");
    assert_string_equal(got, expected);
}

static void docker_names_registries_in_several_ways(void **state)
{
    /* dTpw = u:p, aDpx = h:q, eDp5Onoo = x:y:z( */
    static const char json[] = "{\"HttpHeaders\": {\"a\": \"b\"}, \"auths\": {"
                               "\"https://index.docker.io/v1/\": {\"auth\": \"dTpw\"},"
                               "\"r.example:5000\": {\"auth\": \"aDpx\"},"
                               "\"r.example:5000/team\": {\"auth\": \"eDp5Onoo\"},"
                               "\"https://old.example/v2/\": {\"username\": \"a\", \"password\": \"b\"},"
                               "\"token.example\": {\"auth\": \"dTpw\", \"identitytoken\": \"I\"},"
                               "\"reg.example\": {\"registrytoken\": \"R\"},"
                               "\"empty.example\": {}}}";

    expect_login(json, "docker.io", "library/python", "u:p");
    expect_login(json, "r.example:5000", "other/x", "h:q");
    expect_login(json, "r.example:5000", "team/x", "x:y:z(");
    expect_login(json, "r.example:5000", "teams/x", "h:q");
    expect_login(json, "r.example", "team/x", "-");
    expect_login(json, "old.example", "x", "a:b");
    expect_login(json, "token.example", "x", "identity I");
    expect_login(json, "reg.example", "x", "bearer R");
    expect_login(json, "empty.example", "x", "-");
    expect_login(json, "index.docker.io.evil", "x", "-");
}

static void helpers_are_named_for_one_registry_or_for_all(void **state)
{
    static const char json[] = "{\"credHelpers\": {\"r.example\": \"one\"}, \"credsStore\": \"all\"}";

    expect_login(json, "r.example", "x", "helper one");
    expect_login(json, "other.example", "x", "helper all");
    expect_login("{\"credsStore\": \"\"}", "x.example", "x", "-");
    expect_login("{\"credsStore\": \"../../bin/sh\"}", "x.example", "x",
                 "config.json: '../../bin/sh' cannot be the name of a credential helper");
}

static void a_broken_configuration_names_its_file(void **state)
{
    expect_login("{\"auths\": {\"r.example\": {\"auth\": \"dTp\"}}}", "r.example", "x",
                 "u"); /* without a password: nobody */
    expect_login("{\"auths\": {\"r.example\": {\"auth\": \"!!!!\"}}}", "r.example", "x",
                 "config.json: auths.r.example auth must be USER:PASSWORD in base64");
    expect_login("{\"auths\": {\"r.example\": {\"auth\": \"dXA=\"}}}", "r.example", "x",
                 "config.json: auths.r.example auth must be USER:PASSWORD in base64");
    expect_login("{\"auths\": []}", "r.example", "x", "config.json: auths must be an object");
    /* of another registry: not ours to complain about */
    expect_login("{\"auths\": {\"r.example\": {\"auth\": \"!!!!\"}}}", "s.example", "x", "-");
}

static void helpers_answer_in_json_or_say_what_is_wrong(void **state)
{
    static const struct {
        const char *text;
        int r;
        const char *user, *password, *identity;
    } cases[] = {
        {"{\"ServerURL\": \"x\", \"Username\": \"u\", \"Secret\": \"s\"}\n", 1, "u", "s", NULL},
        {"{\"Username\": \"<token>\", \"Secret\": \"s\"}", 1, NULL, NULL, "s"},
        {"credentials not found in native keychain\n", 0, NULL, NULL, NULL},
        {"error getting credentials: no keyring\x1b[31m", -BX_ECONFIG, NULL, NULL, NULL},
        {"", -BX_ECONFIG, NULL, NULL, NULL},
        {"   ", -BX_ECONFIG, NULL, NULL, NULL},
        {"{\"Username\": \"u\"}", -BX_ECONFIG, NULL, NULL, NULL},
        {"{", -BX_ECONFIG, NULL, NULL, NULL},
    };
    size_t i;

    for (i = 0; i < BX_ARRAY_SIZE(cases); i++) {
        bx_cleanup_docker_login struct bx_docker_login l = {0};
        struct bx_err err = BX_ERR_INIT;

        assert_int_equal(bx_docker_helper_parse(cases[i].text, strlen(cases[i].text), &l, &err), cases[i].r);
        assert_null(strchr(err.msg, 0x1b));
        if (cases[i].r <= 0)
            continue;
        assert_true(bx_streq(l.username, cases[i].user));
        assert_true(bx_streq(l.password, cases[i].password));
        assert_true(bx_streq(l.identity_token, cases[i].identity));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_programs_word_goes_before_the_files),
        cmocka_unit_test(what_the_program_gives_is_checked),
        cmocka_unit_test(names_without_a_registry_are_searched_for_in_order),
        cmocka_unit_test(mirrors_come_first_and_get_their_own_credentials_only),
        cmocka_unit_test(certificates_are_read_and_a_missing_file_is_named),
        cmocka_unit_test(docker_names_registries_in_several_ways),
        cmocka_unit_test(helpers_are_named_for_one_registry_or_for_all),
        cmocka_unit_test(a_broken_configuration_names_its_file),
        cmocka_unit_test(helpers_answer_in_json_or_say_what_is_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
