/* SPDX-License-Identifier: Apache-2.0 */
/* The network of a box in its options, and the plan, names and answers of boxlite-net: what can be tried without a box. */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "net/dns.h"
#include "net/plan.h"
#include "runtime/options.h"

static CBoxliteOptions *options(void)
{
    CBoxliteOptions *o = NULL;

    assert_int_equal(boxlite_options_new("busybox", &o, NULL), Ok);
    return o;
}

static void options_survive_the_row(void **state)
{
    CBoxliteOptions *o = options(), *back = NULL;
    char *json = NULL, *plan;
    CNetworkInfo *info;
    const uint32_t bound[] = {40001, 8080};

    (void)state;
    boxlite_options_add_network_allow(o, "*.PyPI.org:443");
    boxlite_options_add_network_allow(o, "10.0.0.0/8");
    assert_int_equal(boxlite_options_add_port(o, 0, 80, BoxlitePortProtocolTcp, NULL, NULL), Ok);
    assert_int_equal(boxlite_options_add_port(o, 8080, 53, BoxlitePortProtocolUdp, "0.0.0.0", NULL), Ok);
    assert_int_equal(bx_options_check(o, NULL), 0);
    assert_int_equal(bx_options_to_json(o, &json, NULL), 0);
    assert_int_equal(bx_options_from_json(json, &back, NULL), 0);
    plan = bx_network_plan(&back->network);
    assert_string_equal(plan, "boxlite-net 1\nrule *.PyPI.org:443\nrule 10.0.0.0/8\nport tcp 127.0.0.1 0 80\nport udp 0.0.0.0 8080 53\n");
    info = bx_network_info(&back->network, bound, 2);
    assert_int_equal(info->mode, BoxliteNetworkModeEnabled);
    assert_int_equal(info->allow_net_count, 2);
    assert_int_equal(info->published_ports->items[0].host_port, 40001);
    assert_string_equal(info->published_ports->items[1].host_ip, "0.0.0.0");
    bx_network_info_free(info);
    free(plan);
    free(json);
    boxlite_options_free(back);
    boxlite_options_free(o);
}

static void what_contradicts_is_refused_by_name(void **state)
{
    static const struct {
        bool enabled, disabled, port;
        const char *rule, *why;
    } bad[] = {
        {true, true, false, NULL, "at once"},
        {false, true, false, "a.de", "allow_net"},
        {false, true, true, NULL, "ports"},
        {false, false, false, "not a name", "not a name"},
    };
    struct bx_err err;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CBoxliteOptions *o = options();

        if (bad[i].enabled)
            boxlite_options_set_network_enabled(o);
        if (bad[i].disabled)
            boxlite_options_set_network_disabled(o);
        if (bad[i].port)
            assert_int_equal(boxlite_options_add_port(o, 80, 80, BoxlitePortProtocolTcp, NULL, NULL), Ok);
        if (bad[i].rule)
            boxlite_options_add_network_allow(o, bad[i].rule);
        err = BX_ERR_INIT;
        assert_int_equal(bx_options_check(o, &err), -BX_EINVALID);
        if (!strstr(err.msg, bad[i].why))
            fail_msg("%s (expected \"%s\")", err.msg, bad[i].why);
        boxlite_options_free(o);
    }
}

static void a_port_that_makes_no_sense_is_refused_at_once(void **state)
{
    CBoxliteOptions *o = options();
    CBoxliteError e = {Ok, NULL};
    struct bx_err err = BX_ERR_INIT;

    (void)state;
    assert_int_equal(boxlite_options_add_port(o, 1, 0, BoxlitePortProtocolTcp, NULL, &e), InvalidArgument);
    assert_non_null(strstr(e.message, "guest_port"));
    boxlite_error_free(&e);
    assert_int_equal(boxlite_options_add_port(o, 1, 1, (BoxlitePortProtocol)9, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_options_add_port(o, 1, 1, BoxlitePortProtocolTcp, "localhost", NULL), InvalidArgument);
    assert_int_equal(boxlite_options_add_port(NULL, 1, 1, BoxlitePortProtocolTcp, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_options_add_port(o, 80, 1, BoxlitePortProtocolTcp, "0.0.0.0", NULL), Ok);
    assert_int_equal(boxlite_options_add_port(o, 80, 2, BoxlitePortProtocolTcp, NULL, NULL), Ok);
    assert_int_equal(bx_options_check(o, &err), -BX_EINVALID);
    assert_non_null(strstr(err.msg, "80"));
    boxlite_options_free(o);
}

static void a_plan_is_read_or_refused(void **state)
{
    char good[] = "boxlite-net 1\nrule a.de\nport udp 127.0.0.1 0 53\nguard host 192.0.2.1/32\nguard network 10.0.0.0/8\n";
    static const char *const bad[] = {"", "boxlite-net 2\n", "boxlite-net 1\nrule a b\n", "boxlite-net 1\nport tcp 1.2.3.4 1\n",
                                      "boxlite-net 1\nport icmp 1.2.3.4 1 1\n", "boxlite-net 1\nport tcp 1.2.3.4 1 0\n",
                                      "boxlite-net 1\nguard host a.de\n", "boxlite-net 1\nguard x 1.2.3.4\n", "boxlite-net 1\nx\n"};
    struct bx_net_plan plan;

    (void)state;
    assert_int_equal(bx_net_plan_parse(good, &plan, NULL), 0);
    assert_int_equal(plan.policy.n_rules, 1);
    assert_int_equal(plan.ports[0].protocol, IPPROTO_UDP);
    assert_string_equal(bx_policy_guarded(&plan.policy, 0xc0000201), "the host itself");
    assert_non_null(bx_policy_guarded(&plan.policy, 0x0a010203));
    bx_net_plan_done(&plan);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char *text = strdup(bad[i]);

        if (bx_net_plan_parse(text, &plan, NULL) == 0)
            fail_msg("accepted: %s", bad[i]);
        bx_net_plan_done(&plan);
        free(text);
    }
}

/* A question as a client sends it. */
static size_t ask(uint8_t *msg, const char *name, uint16_t type)
{
    return bx_dns_write_question(name, type, 0x1234, msg);
}

static void a_question_is_answered_under_its_number(void **state)
{
    static const uint32_t addrs[] = {0xc0000201, 0xc0000202};
    uint8_t msg[BX_DNS_MAX], out[BX_DNS_MAX];
    struct bx_dns_question q;
    struct bx_dns_answer a;
    size_t n = ask(msg, "Files.Example.org", BX_DNS_A);

    (void)state;
    assert_int_equal(bx_dns_read_question(msg, n, &q), 0);
    assert_string_equal(q.name, "files.example.org");
    assert_true(q.recursion);
    n = bx_dns_write_addrs(msg, &q, addrs, 2, 60, out);
    assert_int_equal(bx_dns_read_answer(out, n, "files.example.org", BX_DNS_A, 0x1234, &a), 0);
    assert_int_equal(a.n, 2);
    assert_int_equal(a.addrs[1], 0xc0000202);
    assert_int_equal(a.ttl, 60);
    /* Of another number, name or type it is no answer. */
    assert_int_equal(bx_dns_read_answer(out, n, "files.example.org", BX_DNS_A, 0x1235, &a), -EINVAL);
    assert_int_equal(bx_dns_read_answer(out, n, "file.example.org", BX_DNS_A, 0x1234, &a), -EINVAL);
    assert_int_equal(bx_dns_read_answer(out, n, "files.example.org", BX_DNS_AAAA, 0x1234, &a), -EINVAL);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(bx_dns_read_answer(out, i, "files.example.org", BX_DNS_A, 0x1234, &a), -EINVAL);
    q.udp_size = 40;
    assert_int_equal(bx_dns_truncate(&q, out, n), q.end);
    assert_int_equal(bx_dns_read_answer(out, q.end, "files.example.org", BX_DNS_A, 0x1234, &a), 0);
    assert_true(a.truncated);
}

static size_t record(uint8_t *msg, size_t at, const char *owner, uint16_t type, const void *data, size_t len)
{
    uint8_t name[BX_DNS_MAX];
    size_t n = bx_dns_write_question(owner, type, 0, name) - BX_DNS_HEADER - 4;

    memcpy(msg + at, name + BX_DNS_HEADER, n);
    at += n;
    memcpy(msg + at, (uint8_t[]){0, (uint8_t)type, 0, 1, 0, 0, 0, 9, 0, (uint8_t)len}, 10);
    memcpy(msg + at + 10, data, len);
    msg[7]++;
    return at + 10 + len;
}

static void addresses_are_those_of_the_name_or_its_alias(void **state)
{
    uint8_t msg[BX_DNS_MAX];
    struct bx_dns_answer a;
    size_t n = bx_dns_write_question("a.de", BX_DNS_A, 7, msg);

    (void)state;
    msg[2] |= 0x80;
    n = record(msg, n, "evil.de", BX_DNS_A, "\x01\x01\x01\x01", 4);
    n = record(msg, n, "a.de", 5, "\x01" "b\x02" "de\x00", 6);
    n = record(msg, n, "a.de", BX_DNS_A, "\x02\x02\x02\x02", 4);
    n = record(msg, n, "b.de", BX_DNS_A, "\x03\x03\x03\x03", 4);
    assert_int_equal(bx_dns_read_answer(msg, n, "a.de", BX_DNS_A, 7, &a), 0);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.addrs[0], 0x03030303);
}

static void a_name_that_points_to_itself_is_none(void **state)
{
    uint8_t msg[BX_DNS_MAX] = {0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1};
    struct bx_dns_question q;

    (void)state;
    assert_int_equal(bx_dns_read_question(msg, 18, &q), BX_DNS_FORMERR);
    msg[13] = 40; /* forward */
    assert_int_equal(bx_dns_read_question(msg, 18, &q), BX_DNS_FORMERR);
    msg[2] = 0x80; /* an answer */
    assert_int_equal(bx_dns_read_question(msg, 18, &q), -EINVAL);
    msg[2] = 0x28; /* an update */
    assert_int_equal(bx_dns_read_question(msg, 18, &q), BX_DNS_NOTIMP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_survive_the_row),
        cmocka_unit_test(what_contradicts_is_refused_by_name),
        cmocka_unit_test(a_port_that_makes_no_sense_is_refused_at_once),
        cmocka_unit_test(a_plan_is_read_or_refused),
        cmocka_unit_test(a_question_is_answered_under_its_number),
        cmocka_unit_test(addresses_are_those_of_the_name_or_its_alias),
        cmocka_unit_test(a_name_that_points_to_itself_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
