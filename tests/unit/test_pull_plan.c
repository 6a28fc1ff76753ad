/* SPDX-License-Identifier: Apache-2.0 */
/* What the library writes into a plan is what boxlite-pull reads; nothing of a plan can become a path, a
 * header or a request of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "host/pull_plan.h"

#define S(text) ((char *)(uintptr_t)(text))
#define DIGEST  "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct bx_pull_endpoint endpoints[2];

static struct bx_pull_plan full_plan(void)
{
    endpoints[0] = (struct bx_pull_endpoint){
        .host = S("127.0.0.1:5000"),
        .prefix = S("mirror/docker.io"),
        .plain_http = true,
        .username = S("user"),
        .password = S("p\xc3\xa4ss \"word\":"),
    };
    endpoints[1] = (struct bx_pull_endpoint){
        .host = S("registry-1.docker.io"),
        .skip_verify = true,
        .ca_pem = S("-----BEGIN CERTIFICATE-----\nAAAA\n"),
        .identity_token = S("abc"),
        .bearer_token = S("x.y.z"),
    };
    return (struct bx_pull_plan){
        .blobs_fd = 3,
        .status_fd = 4,
        .name = S("python:slim"),
        .repository = S("library/python"),
        .tag = S("slim"),
        .os = S("linux"),
        .arch = S("arm64"),
        .variant = S("v8"),
        .endpoints = endpoints,
        .n_endpoints = 2,
        .https_proxy = S("http://proxy:3128"),
        .no_proxy = S("127.0.0.1,.example"),
        .concurrent = 3,
        .max_bytes = 1ull << 40,
        .stall_ms = 30000,
        .retries = 5,
    };
}

static void a_plan_survives_writing_and_reading(void **state)
{
    struct bx_pull_plan p = full_plan();
    bx_cleanup_pull_plan struct bx_pull_plan q = BX_PULL_PLAN_INIT;
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(BX_PULL_PLAN_MAX);
    bx_cleanup_buf struct bx_buf again = BX_BUF_INIT(BX_PULL_PLAN_MAX);
    struct bx_err err = BX_ERR_INIT;

    if (bx_pull_plan_write(&p, &out, &err) < 0 ||
        bx_pull_plan_parse((const char *)bx_buf_data(&out), bx_buf_len(&out), &q, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(q.blobs_fd, 3);
    assert_int_equal(q.status_fd, 4);
    assert_string_equal(q.repository, "library/python");
    assert_string_equal(q.tag, "slim");
    assert_null(q.digest);
    assert_null(q.http_proxy);
    assert_string_equal(q.no_proxy, "127.0.0.1,.example");
    assert_true(q.max_bytes == 1ull << 40);
    assert_int_equal(q.n_endpoints, 2);
    assert_true(q.endpoints[0].plain_http);
    assert_string_equal(q.endpoints[0].password, endpoints[0].password);
    assert_null(q.endpoints[0].ca_pem);
    assert_true(q.endpoints[1].skip_verify);
    assert_string_equal(q.endpoints[1].ca_pem, endpoints[1].ca_pem);
    assert_int_equal(bx_pull_plan_write(&q, &again, &err), 0);
    assert_int_equal(bx_buf_len(&out), bx_buf_len(&again));
    assert_memory_equal(bx_buf_data(&out), bx_buf_data(&again), bx_buf_len(&out));
}

static void refuse(const struct bx_pull_plan *p, const char *word)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(BX_PULL_PLAN_MAX);
    struct bx_err err = BX_ERR_INIT;

    assert_int_equal(bx_pull_plan_write(p, &out, &err), -BX_EINVALID);
    if (!strstr(err.msg, word))
        fail_msg("\"%s\" does not name %s", err.msg, word);
}

static void what_would_change_a_request_is_refused(void **state)
{
    static const struct {
        const char *word;
        size_t offset;
        const char *values[8];
    } in_plan[] =
        {
            {"repository",
             offsetof(struct bx_pull_plan, repository),
             {"", "a/../b", "/a", "a/", "a//b", "a?b", "a b", ".a"}},
            {"tag",
             offsetof(struct bx_pull_plan, tag),
             {"", "a/b", "../x", "a b", "a\r\nb", "-a", "a?b", "a#"}},
            {"os", offsetof(struct bx_pull_plan, os), {"", "a b"}},
            {"https_proxy", offsetof(struct bx_pull_plan, https_proxy), {"http://a\nb"}},
        },
      in_endpoint[] = {
          {"host",
           offsetof(struct bx_pull_endpoint, host),
           {"", "a/b", "user@a", "a:0", "a:65536", "a:1:2", "a b", "[::1"}},
          {"prefix", offsetof(struct bx_pull_endpoint, prefix), {"", "/a", "../a", "a?b="}},
          {"username", offsetof(struct bx_pull_endpoint, username), {"a:b", "a\nb", ""}},
          {"password", offsetof(struct bx_pull_endpoint, password), {"a\r\nX-Y: z"}},
          {"bearer_token",
           offsetof(struct bx_pull_endpoint, bearer_token),
           {"a\r\nX-Y: z", "a b", "", "\xc3\xa4"}},
      };

    for (size_t i = 0; i < BX_ARRAY_SIZE(in_plan); i++) {
        for (size_t j = 0; j < 8 && in_plan[i].values[j]; j++) {
            struct bx_pull_plan p = full_plan();

            *(char **)(void *)((char *)&p + in_plan[i].offset) = S(in_plan[i].values[j]);
            refuse(&p, in_plan[i].word);
        }
    }
    for (size_t i = 0; i < BX_ARRAY_SIZE(in_endpoint); i++) {
        for (size_t j = 0; j < 8 && in_endpoint[i].values[j]; j++) {
            struct bx_pull_plan p = full_plan();

            *(char **)(void *)((char *)&endpoints[1] + in_endpoint[i].offset) = S(in_endpoint[i].values[j]);
            refuse(&p, in_endpoint[i].word);
        }
    }
}

static void hosts_are_names_and_addresses_with_ports(void **state)
{
    static const char *const hosts[] = {"registry-1.docker.io", "localhost", "127.0.0.1:5000", "[::1]",
                                        "[fe80::1]:443",        "my_host:1"};

    for (size_t i = 0; i < BX_ARRAY_SIZE(hosts); i++) {
        struct bx_pull_plan p = full_plan();
        bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(BX_PULL_PLAN_MAX);
        struct bx_err err = BX_ERR_INIT;

        endpoints[0].host = S(hosts[i]);
        if (bx_pull_plan_write(&p, &out, &err) < 0)
            fail_msg("%s: %s", hosts[i], err.msg);
    }
}

static void numbers_out_of_range_are_refused(void **state)
{
    struct bx_pull_plan p = full_plan();

    p.concurrent = BX_PULL_CONCURRENT_MAX + 1;
    refuse(&p, "concurrent");
    p = full_plan();
    p.concurrent = 0;
    refuse(&p, "concurrent");
    p = full_plan();
    p.stall_ms = 0;
    refuse(&p, "stall_ms");
    p = full_plan();
    p.max_bytes = 0;
    refuse(&p, "max_bytes");
    p = full_plan();
    p.blobs_fd = -1;
    refuse(&p, "blobs_fd");
    p = full_plan();
    p.n_endpoints = 0;
    refuse(&p, "endpoints");
}

static void an_image_is_named_by_tag_or_by_digest(void **state)
{
    struct bx_pull_plan p = full_plan();

    p.digest = S(DIGEST);
    refuse(&p, "tag or digest");
    p.tag = NULL;
    p.digest = S("sha256:0123");
    refuse(&p, "digest");
    p.digest = NULL;
    refuse(&p, "tag or digest");
}

static void unknown_keys_and_versions_are_refused_by_name(void **state)
{
    static const struct {
        const char *text;
        int code;
        const char *word;
    } rows[] = {
        {"{\"version\":2}", BX_EUNSUPPORTED, "version 2"},
        {"{\"version\":1,\"colour\":1}", BX_EINVALID, "colour"},
        {"{\"version\":1,\"version\":1}", BX_EINVALID, ""},
        {"[]", BX_EINVALID, "object"},
        {"", BX_EINVALID, "pull plan"},
    };

    for (size_t i = 0; i < BX_ARRAY_SIZE(rows); i++) {
        bx_cleanup_pull_plan struct bx_pull_plan p = BX_PULL_PLAN_INIT;
        struct bx_err err = BX_ERR_INIT;

        assert_int_equal(bx_pull_plan_parse(rows[i].text, strlen(rows[i].text), &p, &err), -rows[i].code);
        if (!strstr(err.msg, rows[i].word))
            fail_msg("%s: %s", rows[i].text, err.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_survives_writing_and_reading),
        cmocka_unit_test(what_would_change_a_request_is_refused),
        cmocka_unit_test(hosts_are_names_and_addresses_with_ports),
        cmocka_unit_test(numbers_out_of_range_are_refused),
        cmocka_unit_test(an_image_is_named_by_tag_or_by_digest),
        cmocka_unit_test(unknown_keys_and_versions_are_refused_by_name),
    };

    return cmocka_run_group_tests_name("pull_plan", tests, NULL, NULL);
}
