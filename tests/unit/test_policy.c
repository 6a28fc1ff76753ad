/* SPDX-License-Identifier: Apache-2.0 */
/* Network policy: one spelling of names, what rules mean, what is guarded, and the name a connection asks for. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "policy/peek.h"
#include "policy/policy.h"

static void names_have_one_spelling(void **state)
{
    static const struct {
        const char *text, *canonical;
    } names[] = {
        {"example.com", "example.com"}, {"Example.COM.", "example.com"}, {"localhost", "localhost"},
        {"xn--bcher-kva.example", "xn--bcher-kva.example"}, {"_srv.a-b.c", "_srv.a-b.c"}, {"3com.com", "3com.com"},
    };
    static const char *const none[] = {
        "", ".", "a..b", ".a", "a b", "a\tb", "b\xc3\xbc.de", "-a.de", "a-.de", "127.1", "1.2.3.4", "a.0x7f", "2130706433",
        "0x7f000001", "a/b", "a:b", "a@b", "*.a",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.de",
    };
    char got[BX_HOST_NAME_MAX + 1], big[300];

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(bx_name_canonical(names[i].text, strlen(names[i].text), got), 0);
        assert_string_equal(got, names[i].canonical);
    }
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        assert_int_equal(bx_name_canonical(none[i], strlen(none[i]), got), -EINVAL);
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = i % 2 ? '.' : 'a';
    assert_int_equal(bx_name_canonical(big, 253, got), 0);
    assert_int_equal(bx_name_canonical(big, 255, got), -EINVAL);
    assert_int_equal(bx_name_canonical("a\0b", 3, got), -EINVAL);
}

static void addresses_are_four_decimal_numbers(void **state)
{
    static const char *const none[] = {"", "1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256", "1.2.3.4 ", "0x1.2.3.4", "1..2.3",
                                       "1.2.3.1000", "-1.2.3.4"};
    uint32_t addr = 0;
    char text[BX_IPV4_TEXT_MAX];

    (void)state;
    assert_int_equal(bx_ipv4_parse("192.0.2.255", 11, &addr), 0);
    assert_int_equal(addr, 0xc00002ff);
    bx_ipv4_format(addr, text);
    assert_string_equal(text, "192.0.2.255");
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        assert_int_equal(bx_ipv4_parse(none[i], strlen(none[i]), &addr), -EINVAL);
}

static void a_rule_that_is_none_says_why(void **state)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"", "empty"},
        {"a b", "not a host name"},
        {"b\xc3\xbc.de", "xn--"},
        {"*.*.de", "star"},
        {"a*.de", "star"},
        {"10.0.0.1/8", "behind its prefix"},
        {"10.0.0.0/33", "prefix"},
        {"10.0.0.0/", "prefix"},
        {"10.0.0/8", "block"},
        {"a.de:0", "port"},
        {"a.de:65536", "port"},
        {"a.de:", "port"},
        {"a.de:http", "port"},
        {"2001:db8::1", "IPv6"},
        {"[::1]:80", "IPv6"},
        {"127.1", "not a host name"},
        {"https://a.de", "port"},
    };
    struct bx_rule rule;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct bx_err err = BX_ERR_INIT;

        assert_int_equal(bx_rule_parse(bad[i].text, strlen(bad[i].text), &rule, &err), -BX_EINVALID);
        if (!strstr(err.msg, bad[i].why))
            fail_msg("\"%s\": %s (expected \"%s\")", bad[i].text, err.msg, bad[i].why);
    }
}

static void a_rule_is_written_as_it_was_meant(void **state)
{
    static const struct {
        const char *text, *again;
    } rules[] = {
        {"Example.com", "example.com"}, {"*.Example.com:443", "*.example.com:443"}, {"10.0.0.0/8", "10.0.0.0/8"},
        {"192.0.2.1/32", "192.0.2.1"},  {"192.0.2.1:80", "192.0.2.1:80"},           {"*", "*"},
        {"*:53", "*:53"},               {"0.0.0.0/0", "0.0.0.0/0"},
    };
    char text[BX_RULE_TEXT_MAX];
    struct bx_rule rule;

    (void)state;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        assert_int_equal(bx_rule_parse(rules[i].text, strlen(rules[i].text), &rule, NULL), 0);
        bx_rule_format(&rule, text);
        assert_string_equal(text, rules[i].again);
    }
}

static uint32_t ip(const char *text)
{
    uint32_t addr = 0;

    assert_int_equal(bx_ipv4_parse(text, strlen(text), &addr), 0);
    return addr;
}

static void make(struct bx_policy *p, const char *const *rules)
{
    bx_policy_init(p);
    for (; *rules; rules++)
        assert_int_equal(bx_policy_add(p, *rules, NULL), 0);
}

static void no_rule_means_all_but_what_is_guarded(void **state)
{
    static const char *const guarded[] = {"127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255",
                                          "100.100.100.200", "168.63.129.16", "192.0.0.192", "10.1.2.3"};
    struct bx_policy p;

    (void)state;
    make(&p, (const char *const[]){NULL});
    assert_int_equal(bx_policy_guard(&p, ip("10.1.2.99"), 24, "the host's network"), 0);
    assert_true(bx_policy_name(&p, "example.com", 443).allowed);
    assert_true(bx_policy_addr(&p, ip("192.0.2.1"), 443).allowed);
    assert_true(bx_policy_addr(&p, ip("10.1.3.3"), 443).allowed);
    assert_false(bx_policy_name(&p, BX_POLICY_HOST_NAME, 80).allowed);
    for (size_t i = 0; i < sizeof(guarded) / sizeof(guarded[0]); i++) {
        assert_false(bx_policy_addr(&p, ip(guarded[i]), 80).allowed);
        assert_non_null(bx_policy_guarded(&p, ip(guarded[i])));
    }
    assert_string_equal(bx_policy_addr(&p, ip("10.1.2.3"), 80).why, "the host's network");
    bx_policy_done(&p);
}

static void rules_mean_only_what_they_name(void **state)
{
    static const char *const rules[] = {"pypi.org", "*.pythonhosted.org:443", "192.0.2.0/24", "198.51.100.7:8080", NULL};
    struct bx_policy p;

    (void)state;
    make(&p, rules);
    assert_int_equal(bx_policy_name(&p, "pypi.org", 80).rule, 0);
    assert_true(bx_policy_name(&p, "pypi.org", 443).allowed);
    assert_false(bx_policy_name(&p, "www.pypi.org", 443).allowed);
    assert_false(bx_policy_name(&p, "evilpypi.org", 443).allowed);
    assert_int_equal(bx_policy_name(&p, "files.pythonhosted.org", 443).rule, 1);
    assert_true(bx_policy_name(&p, "a.b.pythonhosted.org", 443).allowed);
    assert_false(bx_policy_name(&p, "files.pythonhosted.org", 80).allowed);
    assert_true(bx_policy_resolve(&p, "files.pythonhosted.org").allowed);
    assert_false(bx_policy_name(&p, "pythonhosted.org", 443).allowed);
    assert_false(bx_policy_name(&p, "xpythonhosted.org", 443).allowed);
    assert_true(bx_policy_addr(&p, ip("192.0.2.200"), 1).allowed);
    assert_false(bx_policy_addr(&p, ip("192.0.3.0"), 1).allowed);
    assert_true(bx_policy_addr(&p, ip("198.51.100.7"), 8080).allowed);
    assert_false(bx_policy_addr(&p, ip("198.51.100.7"), 80).allowed);
    bx_policy_done(&p);
}

static void a_guarded_address_needs_a_rule_that_names_it(void **state)
{
    static const char *const wide[] = {"*", "0.0.0.0/0", "10.0.0.0/8", NULL};
    static const char *const narrow[] = {"127.0.0.1:5432", "host.boxlite.internal", "*.boxlite.internal", NULL};
    struct bx_policy p;

    (void)state;
    make(&p, wide);
    bx_policy_guard(&p, ip("10.0.0.0"), 8, "the host's network");
    bx_policy_guard(&p, ip("192.168.0.0"), 16, "the host's network");
    assert_true(bx_policy_addr(&p, ip("192.0.2.1"), 80).allowed);
    assert_false(bx_policy_addr(&p, ip("127.0.0.1"), 80).allowed);
    assert_false(bx_policy_addr(&p, ip("192.168.1.1"), 80).allowed);
    assert_true(bx_policy_addr(&p, ip("10.9.9.9"), 80).allowed);
    assert_true(bx_policy_name(&p, "anything.example", 80).allowed);
    assert_false(bx_policy_name(&p, BX_POLICY_HOST_NAME, 80).allowed);
    bx_policy_done(&p);

    make(&p, narrow);
    assert_true(bx_policy_addr(&p, ip("127.0.0.1"), 5432).allowed);
    assert_false(bx_policy_addr(&p, ip("127.0.0.1"), 22).allowed);
    assert_true(bx_policy_addr(&p, ip("127.0.0.1"), 0).allowed); /* some port */
    assert_false(bx_policy_addr(&p, ip("127.0.0.2"), 0).allowed);
    assert_true(bx_policy_name(&p, BX_POLICY_HOST_NAME, 80).allowed);
    bx_policy_done(&p);
}

static void rules_are_bounded_and_said_once(void **state)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_policy p;
    char rule[32];

    (void)state;
    bx_policy_init(&p);
    assert_int_equal(bx_policy_add(&p, "a.de", NULL), 0);
    assert_int_equal(bx_policy_add(&p, "A.de.", NULL), 0);
    assert_int_equal(p.n_rules, 1);
    for (int i = 1; i < BX_POLICY_RULES_MAX; i++) {
        snprintf(rule, sizeof(rule), "host-%d.example", i);
        assert_int_equal(bx_policy_add(&p, rule, NULL), 0);
    }
    assert_int_equal(bx_policy_add(&p, "one.more", &err), -BX_ERESOURCE);
    assert_non_null(strstr(err.msg, "4096"));
    bx_policy_done(&p);
}

/* A ClientHello of TLS 1.2 for the name; "" leaves the extension out. */
static size_t hello(uint8_t *ret, const char *name)
{
    size_t n = strlen(name), ext = n ? n + 9 : 0, body = 2 + 32 + 1 + 2 + 2 + 2 + 2 + ext, at = 0;

    memcpy(ret, (uint8_t[]){22, 3, 1, (uint8_t)((body + 4) >> 8), (uint8_t)(body + 4), 1, 0, (uint8_t)(body >> 8), (uint8_t)body, 3, 3}, 11);
    at = 11;
    memset(ret + at, 7, 32);
    at += 32;
    memcpy(ret + at, (uint8_t[]){0, 0, 2, 0x13, 1, 1, 0}, 7);
    at += 7;
    ret[at++] = (uint8_t)(ext >> 8);
    ret[at++] = (uint8_t)ext;
    if (n) {
        memcpy(ret + at, (uint8_t[]){0, 0, 0, (uint8_t)(n + 5), 0, (uint8_t)(n + 3), 0, 0, (uint8_t)n}, 9);
        memcpy(ret + at + 9, name, n);
        at += 9 + n;
    }
    return at;
}

static void the_name_of_a_tls_connection_is_its_sni(void **state)
{
    uint8_t bytes[512], split[600];
    char name[BX_HOST_NAME_MAX + 1];
    size_t n = hello(bytes, "Files.Example.org");

    (void)state;
    assert_int_equal(bx_peek_name(bytes, n, name), BX_PEEK_NAME);
    assert_string_equal(name, "files.example.org");
    for (size_t i = 0; i < n; i++)
        assert_int_equal(bx_peek_name(bytes, i, name), BX_PEEK_MORE);
    /* The same in two records. */
    memcpy(split, bytes, 5);
    split[3] = 0, split[4] = 20;
    memcpy(split + 5, bytes + 5, 20);
    memcpy(split + 25, (uint8_t[]){22, 3, 1, 0, (uint8_t)(n - 25)}, 5);
    memcpy(split + 30, bytes + 25, n - 25);
    assert_int_equal(bx_peek_name(split, n + 5, name), BX_PEEK_NAME);
    assert_string_equal(name, "files.example.org");

    n = hello(bytes, "");
    assert_int_equal(bx_peek_name(bytes, n, name), BX_PEEK_NONE);
    n = hello(bytes, "bad name");
    assert_int_equal(bx_peek_name(bytes, n, name), BX_PEEK_BAD);
    n = hello(bytes, "example.org");
    bytes[n - 12] = 200; /* the name's length, beyond its list */
    assert_int_equal(bx_peek_name(bytes, n, name), BX_PEEK_BAD);
}

static enum bx_peek http(const char *text, char name[BX_HOST_NAME_MAX + 1])
{
    return bx_peek_name((const uint8_t *)text, strlen(text), name);
}

static void the_name_of_a_request_is_its_host(void **state)
{
    char name[BX_HOST_NAME_MAX + 1];

    (void)state;
    assert_int_equal(http("GET / HTTP/1.1\r\nAccept: x\r\nhost:  Example.ORG:8080 \r\n\r\n", name), BX_PEEK_NAME);
    assert_string_equal(name, "example.org");
    assert_int_equal(http("GET http://example.org/x HTTP/1.1\r\nHost: example.org\r\n\r\n", name), BX_PEEK_NAME);
    assert_int_equal(http("CONNECT example.org:443 HTTP/1.1\r\n\r\n", name), BX_PEEK_NAME);
    assert_string_equal(name, "example.org");
    assert_int_equal(http("GET / HTTP/1.1\r\nHost: 192.0.2.1:80\r\n\r\n", name), BX_PEEK_NAME);
    assert_string_equal(name, "192.0.2.1");
    assert_int_equal(http("GET / HTTP/1.0\r\n\r\n", name), BX_PEEK_NONE);
    assert_int_equal(http("GET / HTTP/1.1\r\nHost: a.de\r\n", name), BX_PEEK_MORE);
    assert_int_equal(http("GE", name), BX_PEEK_MORE);
    assert_int_equal(http("SSH-2.0-x\r\n", name), BX_PEEK_NONE);
    assert_int_equal(http("\x80\x2e\x01", name), BX_PEEK_NONE);
    assert_int_equal(http("GET / HTTP/1.1\r\nHost: a.de\r\nHost: b.de\r\n\r\n", name), BX_PEEK_BAD);
    assert_int_equal(http("GET http://a.de/ HTTP/1.1\r\nHost: b.de\r\n\r\n", name), BX_PEEK_BAD);
    assert_int_equal(http("GET / HTTP/1.1\r\nHost: a de\r\n\r\n", name), BX_PEEK_BAD);
}

static void a_connection_that_does_not_come_to_the_point_is_bad(void **state)
{
    char *text = malloc(BX_PEEK_MAX + 2);
    char name[BX_HOST_NAME_MAX + 1];

    (void)state;
    memset(text, 'a', BX_PEEK_MAX + 1);
    text[BX_PEEK_MAX + 1] = '\0';
    memcpy(text, "GET /", 5);
    assert_int_equal(bx_peek_name((uint8_t *)text, BX_PEEK_MAX - 1, name), BX_PEEK_MORE);
    assert_int_equal(bx_peek_name((uint8_t *)text, BX_PEEK_MAX, name), BX_PEEK_BAD);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_have_one_spelling),
        cmocka_unit_test(addresses_are_four_decimal_numbers),
        cmocka_unit_test(a_rule_that_is_none_says_why),
        cmocka_unit_test(a_rule_is_written_as_it_was_meant),
        cmocka_unit_test(no_rule_means_all_but_what_is_guarded),
        cmocka_unit_test(rules_mean_only_what_they_name),
        cmocka_unit_test(a_guarded_address_needs_a_rule_that_names_it),
        cmocka_unit_test(rules_are_bounded_and_said_once),
        cmocka_unit_test(the_name_of_a_tls_connection_is_its_sni),
        cmocka_unit_test(the_name_of_a_request_is_its_host),
        cmocka_unit_test(a_connection_that_does_not_come_to_the_point_is_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
