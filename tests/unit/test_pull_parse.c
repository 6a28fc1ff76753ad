/* SPDX-License-Identifier: Apache-2.0 */
/* What registries say outside of documents: challenges, ranges, waiting times, tokens, errors, media types,
 * addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "pull/parse.h"
#include "pull/url.h"

static void challenges_are_read(void **state)
{
    static const struct {
        const char *header;
        bool basic, bearer;
        const char *realm, *service, *scope;
    } rows[] = {
        {"Basic realm=\"x\"", true, false, "", "", ""},
        {"basic", true, false, "", "", ""},
        {"Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:a/b:pull\"", false, true,
         "https://a/t", "s", "repository:a/b:pull"},
        {"bearer realm = https://a , service=s", false, true, "https://a", "s", ""},
        {"Bearer scope=\"a b\", realm=\"a\\\"b\\\\c\"", false, true, "a\"b\\c", "", "a b"},
        {"Basic realm=\"r\", Bearer realm=\"t\", service=\"s\"", true, true, "t", "s", ""},
        {"Bearer realm=\"t\", Basic realm=\"r\"", true, true, "t", "", ""},
        {"Bearer realm=\"first\", Bearer realm=\"second\"", false, true, "first", "", ""},
        {"Negotiate YII=, Basic realm=\"r\"", true, false, "", "", ""},
        {"Digest realm=\"d\", nonce=\"Bearer realm=x\"", false, false, "", "", ""},
        {"Bearer realm=\"unterminated", false, true, "unterminated", "", ""},
        {"Bearer", false, false, "", "", ""},
        {"realm=\"x\"", false, false, "", "", ""},
        {"", false, false, "", "", ""},
        {",,, ,", false, false, "", "", ""},
        {"\"\\", false, false, "", "", ""},
        {"Bearer realm=\"a\\", false, true, "a\\", "", ""},
    };

    for (size_t i = 0; i < BX_ARRAY_SIZE(rows); i++) {
        struct bx_challenge c = {0};

        bx_challenge_add(&c, rows[i].header);
        if (c.basic != rows[i].basic || c.bearer != rows[i].bearer || !bx_streq(c.realm, rows[i].realm) ||
            !bx_streq(c.service, rows[i].service) || !bx_streq(c.scope, rows[i].scope) || c.cut)
            fail_msg("%s: basic %d bearer %d realm <%s> service <%s> scope <%s>", rows[i].header, c.basic,
                     c.bearer, c.realm, c.service, c.scope);
    }
}

static void several_headers_make_one_challenge(void **state)
{
    struct bx_challenge c = {0};

    bx_challenge_add(&c, "Basic realm=\"x\"");
    bx_challenge_add(&c, "Bearer realm=\"https://a\"");
    bx_challenge_add(&c, "Bearer realm=\"https://b\",service=\"b\"");
    assert_true(c.basic && c.bearer);
    assert_string_equal(c.realm, "https://a");
    assert_string_equal(c.service, "");
}

static void a_challenge_that_is_too_long_is_marked(void **state)
{
    struct bx_challenge c = {0};
    char header[4096];

    memcpy(header, "Bearer realm=\"", 14);
    memset(header + 14, 'x', 3000);
    memcpy(header + 3014, "\"", 2);
    bx_challenge_add(&c, header);
    assert_true(c.cut);
    assert_int_equal(strlen(c.realm), sizeof(c.realm) - 1);
}

static void waiting_times_are_seconds_or_dates(void **state)
{
    static const struct {
        const char *value;
        bool ok;
        uint64_t seconds;
    } rows[] = {
        {"0", true, 0},
        {" 120 ", true, 120},
        {"99999999999999999999999", true, UINT64_MAX},
        {"Sun, 06 Nov 1994 08:49:37 GMT", true, 10},
        {"Sun, 06 Nov 1994 08:49:27 GMT", true, 0},
        {"Sat, 05 Nov 1994 08:49:27 GMT", true, 0},
        {"-1", false, 0},
        {"1.5", false, 0},
        {"12x", false, 0},
        {"soon", false, 0},
        {"", false, 0},
        {"Sun, 06 Nov 1994 08:49:37 GMT+1", false, 0},
        {"Sun, 99 Nov 1994 08:49:37 GMT", false, 0},
    };

    for (size_t i = 0; i < BX_ARRAY_SIZE(rows); i++) {
        uint64_t seconds = 0;
        bool ok = bx_retry_after_parse(rows[i].value, 784111767, &seconds);

        if (ok != rows[i].ok || (ok && seconds != rows[i].seconds))
            fail_msg("%s: %d %llu", rows[i].value, ok, (unsigned long long)seconds);
    }
}

static void ranges_must_make_sense(void **state)
{
    static const char *const bad[] = {"",
                                      "bytes",
                                      "bytes */10",
                                      "bytes 0-9",
                                      "bytes 0-9/",
                                      "bytes 5-4/10",
                                      "bytes 0-10/10",
                                      "items 0-9/10",
                                      "bytes 0-9/10 x",
                                      "bytes -9/10",
                                      "bytes 0-18446744073709551616/*",
                                      "bytes 0-18446744073709551615/*"};
    struct bx_content_range r;

    assert_true(bx_content_range_parse("bytes 3-9/10", &r));
    assert_true(r.first == 3 && r.last == 9 && r.total == 10);
    assert_true(bx_content_range_parse("Bytes  0-0/*", &r));
    assert_true(r.first == 0 && r.last == 0 && r.total == UINT64_MAX);
    for (size_t i = 0; i < BX_ARRAY_SIZE(bad); i++) {
        if (bx_content_range_parse(bad[i], &r))
            fail_msg("%s is taken", bad[i]);
    }
}

static void tokens_fit_a_header_or_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "{}",
                                      "[]",
                                      "1",
                                      "{\"token\":1}",
                                      "{\"token\":\"\"}",
                                      "{\"token\":\"a b\"}",
                                      "{\"token\":\"a\\r\\nX: y\"}",
                                      "{\"token\":\"\\u00e4\"}",
                                      "{\"access_token\":\"a\\tb\"}",
                                      "{\"token\":\"a\",\"token\":\"b\"}"};
    static const char *const good[] = {"{\"token\":\"a.b-c\",\"expires_in\":60}",
                                       "{\"access_token\":\"x\",\"token\":null}"};
    struct bx_err err = BX_ERR_INIT;
    char *token = NULL;

    assert_int_equal(bx_token_parse(good[0], strlen(good[0]), &token, &err), 0);
    assert_string_equal(token, "a.b-c");
    free(token);
    assert_int_equal(bx_token_parse(good[1], strlen(good[1]), &token, &err), 0);
    assert_string_equal(token, "x");
    free(token);
    for (size_t i = 0; i < BX_ARRAY_SIZE(bad); i++) {
        err = BX_ERR_INIT;
        if (bx_token_parse(bad[i], strlen(bad[i]), &token, &err) >= 0 || !err.msg[0])
            fail_msg("%s is taken", bad[i]);
    }
}

static void errors_say_something_printable_or_nothing(void **state)
{
    static const char *const rows[][2] = {
        {"{\"errors\":[{\"code\":\"DENIED\",\"message\":\"no \\u001b[31mway\"}]}", "no \\x1b[31mway"},
        {"{\"errors\":[{\"code\":\"DENIED\"}]}", "DENIED"},
        {"{\"errors\":[]}", ""},
        {"{\"errors\":[1]}", ""},
        {"{\"details\":\"wrong password\"}", "wrong password"},
        {"{\"message\":\"m\"}", "m"},
        {"<html>", ""},
        {"[]", ""},
        {"", ""},
    };
    char text[64];

    for (size_t i = 0; i < BX_ARRAY_SIZE(rows); i++) {
        bx_error_text(rows[i][0], strlen(rows[i][0]), text, sizeof(text));
        assert_string_equal(text, rows[i][1]);
    }
}

static void media_types_that_are_no_layers_are_named(void **state)
{
    struct bx_err err = BX_ERR_INIT;

    assert_int_equal(bx_layer_type_check("application/vnd.oci.image.layer.v1.tar+zstd", &err), 0);
    assert_int_equal(bx_layer_type_check("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", &err),
                     -BX_EIMAGE);
    assert_non_null(strstr(err.msg, "only the registry"));
    assert_int_equal(bx_layer_type_check("text/plain", &err), -BX_EIMAGE);
    assert_non_null(strstr(err.msg, "text/plain"));
    assert_int_equal(bx_config_type_check("application/vnd.oci.image.config.v1+json", &err), 0);
    assert_int_equal(bx_config_type_check("application/vnd.wasm.config.v1+json", &err), -BX_EIMAGE);
}

static void redirects_lead_only_where_they_may(void **state)
{
    static const struct {
        const char *base, *location, *want; /* NULL: refused */
    } rows[] = {
        {"https://a/v2/x/blobs/1", "/other?q=1", "https://a/other?q=1"},
        {"https://a/v2/x/blobs/1", "y", "https://a/v2/x/blobs/y"},
        {"https://a/v2/x", "//b/y", "https://b/y"},
        {"https://a/v2/x", "https://b:444/y#frag", "https://b:444/y"},
        {"http://a/v2/x", "https://b/y", "https://b/y"},
        {"http://a/v2/x", "http://b/y", "http://b/y"},
        {"https://a/v2/x", "http://a/v2/x", NULL},
        {"https://a/v2/x", "HTTP://a/", NULL},
        {"https://a/v2/x", "https://u:p@b/", NULL},
        {"https://a/v2/x", "file:///etc/passwd", NULL},
        {"https://a/v2/x", "gopher://b/", NULL},
        {"https://a/v2/x", "https://b/\r\nX: y", NULL},
        {"https://a/v2/x", "", NULL},
    };

    for (size_t i = 0; i < BX_ARRAY_SIZE(rows); i++) {
        bx_cleanup_free char *to = NULL;
        struct bx_err err = BX_ERR_INIT;
        int r = bx_url_follow(rows[i].base, rows[i].location, &to, &err);

        if ((r == 0) != (rows[i].want != NULL) || (r == 0 && !bx_streq(to, rows[i].want)) ||
            (r < 0 && r != -err.code))
            fail_msg("%s -> %s: %s %s", rows[i].base, rows[i].location, to ? to : "refused", err.msg);
    }
}

static void origins_are_scheme_host_and_port(void **state)
{
    assert_true(bx_url_same_origin("https://A/x", "https://a:443/y?z"));
    assert_true(bx_url_same_origin("http://a:80/", "http://a/"));
    assert_false(bx_url_same_origin("https://a/", "http://a/"));
    assert_false(bx_url_same_origin("https://a/", "https://a:444/"));
    assert_false(bx_url_same_origin("https://a/", "https://a.b/"));
    assert_false(bx_url_same_origin("https://a/", "nonsense"));
    assert_true(bx_url_is_loopback("http://127.0.0.1:5000/"));
    assert_true(bx_url_is_loopback("https://LOCALHOST/"));
    assert_true(bx_url_is_loopback("https://[::1]:1/"));
    assert_false(bx_url_is_loopback("https://localhost.example/"));
}

static void a_token_service_has_an_address_of_its_own(void **state)
{
    struct bx_err err = BX_ERR_INIT;
    char *to = NULL;

    assert_int_equal(bx_url_realm("https://a", "https://auth.b/token?x=1", &to, &err), 0);
    to = bx_url_add_query(to, "scope", "repository:a/b:pull");
    assert_string_equal(to, "https://auth.b/token?x=1&scope=repository%3Aa%2Fb%3Apull");
    free(to);
    assert_int_equal(bx_url_realm("https://a", "/token", &to, &err), -BX_ENETWORK);
    assert_int_equal(bx_url_realm("https://a", "http://auth.b/token", &to, &err), -BX_ENETWORK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(challenges_are_read),
        cmocka_unit_test(several_headers_make_one_challenge),
        cmocka_unit_test(a_challenge_that_is_too_long_is_marked),
        cmocka_unit_test(waiting_times_are_seconds_or_dates),
        cmocka_unit_test(ranges_must_make_sense),
        cmocka_unit_test(tokens_fit_a_header_or_are_refused),
        cmocka_unit_test(errors_say_something_printable_or_nothing),
        cmocka_unit_test(media_types_that_are_no_layers_are_named),
        cmocka_unit_test(redirects_lead_only_where_they_may),
        cmocka_unit_test(origins_are_scheme_host_and_port),
        cmocka_unit_test(a_token_service_has_an_address_of_its_own),
    };

    return cmocka_run_group_tests_name("pull_parse", tests, NULL, NULL);
}
