/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define EXPLICIT_PREFIX 8 /* a larger block names nothing in particular */

/* Closed everywhere, on every host. */
static const struct bx_guard everywhere[] = {
    {0x00000000, 0xff000000, "this network"},                     /* RFC 791 */
    {0x7f000000, 0xff000000, "loopback of the host"},             /* RFC 1122 */
    {0xa9fe0000, 0xffff0000, "link-local, cloud metadata"},       /* RFC 3927, 169.254.169.254 */
    {0x646464c8, 0xffffffff, "cloud metadata"},                   /* 100.100.100.200, Alibaba */
    {0xa83f8110, 0xffffffff, "cloud metadata"},                   /* 168.63.129.16, Azure */
    {0xc00000c0, 0xffffffff, "cloud metadata"},                   /* 192.0.0.192, Oracle */
    {0xe0000000, 0xf0000000, "multicast"},                        /* RFC 5771 */
    {0xf0000000, 0xf0000000, "reserved, broadcast"},              /* RFC 1112 */
};

static uint32_t mask_of(unsigned prefix)
{
    return prefix == 0 ? 0 : UINT32_MAX << (32 - prefix);
}

static unsigned prefix_of(uint32_t mask)
{
    return (unsigned)__builtin_popcount(mask);
}

/* --- one rule --- */

static int bad_rule(struct bx_err *err, const char *text, size_t len, const char *why)
{
    char shown[128];

    bx_str_printable(shown, sizeof(shown), text, len);
    return bx_fail(err, BX_EINVALID, 0, "network rule \"%s\": %s", shown, why);
}

/* Cuts ":port" off the end. */
static int take_port(const char *text, size_t *len, uint16_t *ret, struct bx_err *err)
{
    const char *colon = memrchr(text, ':', *len);
    char digits[6];
    size_t n;
    uint64_t port;

    *ret = 0;
    if (!colon)
        return 0;
    n = *len - (size_t)(colon + 1 - text);
    if (memchr(text, ':', (size_t)(colon - text)))
        return bad_rule(err, text, *len, "IPv6 addresses are not supported; name hosts, or IPv4 addresses");
    if (n == 0 || n > 5)
        return bad_rule(err, text, *len, "a port is 1 to 65535");
    memcpy(digits, colon + 1, n);
    digits[n] = '\0';
    if (bx_parse_u64(digits, 1, 65535, &port) < 0)
        return bad_rule(err, text, *len, "a port is 1 to 65535");
    *ret = (uint16_t)port;
    *len = (size_t)(colon - text);
    return 0;
}

/* "10.0.0.0/8" or "10.1.2.3"; 1 when it is neither and may be a name. */
static int parse_block(const char *text, size_t len, struct bx_rule *rule, struct bx_err *err)
{
    const char *slash = memchr(text, '/', len);
    size_t addr_len = slash ? (size_t)(slash - text) : len;
    size_t n = slash ? len - addr_len - 1 : 0;
    char digits[3] = "";
    uint64_t prefix = 32;

    if (bx_ipv4_parse(text, addr_len, &rule->addr) < 0)
        return slash ? bad_rule(err, text, len, "a block of addresses is written as 10.0.0.0/8") : 1;
    if (slash) {
        if (n > 0 && n <= 2)
            memcpy(digits, slash + 1, n);
        if (n == 0 || n > 2 || bx_parse_u64(digits, 0, 32, &prefix) < 0)
            return bad_rule(err, text, len, "the length of a prefix is 0 to 32");
    }
    rule->kind = BX_RULE_BLOCK;
    rule->mask = mask_of((unsigned)prefix);
    if (rule->addr & ~rule->mask)
        return bad_rule(err, text, len, "bits of the address are set behind its prefix");
    return 0;
}

static int parse_name(const char *text, size_t len, struct bx_rule *rule, struct bx_err *err)
{
    const char *name = text;
    size_t name_len = len;

    rule->kind = BX_RULE_NAME;
    if (len >= 2 && text[0] == '*' && text[1] == '.') {
        rule->kind = BX_RULE_SUFFIX;
        name += 2;
        name_len -= 2;
    }
    if (memchr(name, '*', name_len))
        return bad_rule(err, text, len, "a star stands alone, or for the first labels only, as in *.example.com");
    if (bx_name_canonical(name, name_len, rule->name) < 0)
        return bad_rule(err, text, len,
                        "not a host name, an IPv4 address or a block of them (names outside ASCII are written as xn--...)");
    rule->name_len = (uint16_t)strlen(rule->name);
    rule->hash = bx_fnv1a(BX_FNV1A_SEED, rule->name, rule->name_len);
    return 0;
}

int bx_rule_parse(const char *text, size_t len, struct bx_rule *ret, struct bx_err *err)
{
    struct bx_rule rule = {.kind = BX_RULE_ANY};
    size_t host_len = len;
    int r;

    if (len == 0)
        return bx_fail(err, BX_EINVALID, 0, "an empty network rule");
    r = take_port(text, &host_len, &rule.port, err);
    if (r < 0)
        return r;
    if (host_len != 1 || text[0] != '*') {
        r = parse_block(text, host_len, &rule, err);
        if (r > 0)
            r = parse_name(text, host_len, &rule, err);
        if (r < 0)
            return r;
    }
    *ret = rule;
    return 0;
}

void bx_rule_format(const struct bx_rule *rule, char ret[BX_RULE_TEXT_MAX])
{
    char host[BX_HOST_NAME_MAX + 3] = "*", addr[BX_IPV4_TEXT_MAX];

    if (rule->kind == BX_RULE_BLOCK) {
        bx_ipv4_format(rule->addr, addr);
        if (rule->mask == UINT32_MAX)
            snprintf(host, sizeof(host), "%s", addr);
        else
            snprintf(host, sizeof(host), "%s/%u", addr, prefix_of(rule->mask));
    } else if (rule->kind != BX_RULE_ANY) {
        snprintf(host, sizeof(host), "%s%s", rule->kind == BX_RULE_SUFFIX ? "*." : "", rule->name);
    }
    if (rule->port)
        snprintf(ret, BX_RULE_TEXT_MAX, "%s:%u", host, rule->port);
    else
        snprintf(ret, BX_RULE_TEXT_MAX, "%s", host);
}

/* --- the list --- */

void bx_policy_init(struct bx_policy *p)
{
    *p = (struct bx_policy){0};
    memcpy(p->guards, everywhere, sizeof(everywhere));
    p->n_guards = sizeof(everywhere) / sizeof(everywhere[0]);
}

void bx_policy_done(struct bx_policy *p)
{
    free(p->rules);
    *p = (struct bx_policy){0};
}

static bool same_rule(const struct bx_rule *a, const struct bx_rule *b)
{
    return a->kind == b->kind && a->port == b->port && a->addr == b->addr && a->mask == b->mask &&
           a->hash == b->hash && strcmp(a->name, b->name) == 0;
}

int bx_policy_add(struct bx_policy *p, const char *text, struct bx_err *err)
{
    struct bx_rule rule, *more;
    size_t room = p->room ? p->room * 2 : 8;
    int r = bx_rule_parse(text, strlen(text), &rule, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < p->n_rules; i++)
        if (same_rule(&p->rules[i], &rule))
            return 0;
    if (p->n_rules == BX_POLICY_RULES_MAX)
        return bx_fail(err, BX_ERESOURCE, 0, "more than %d network rules", BX_POLICY_RULES_MAX);
    if (p->n_rules == p->room) {
        more = realloc(p->rules, room * sizeof(*more));
        if (!more)
            return bx_fail(err, BX_ERESOURCE, ENOMEM, "network rules");
        p->rules = more;
        p->room = room;
    }
    p->rules[p->n_rules++] = rule;
    return 0;
}

void bx_policy_swap_rules(struct bx_policy *a, struct bx_policy *b)
{
    struct bx_rule *rules = a->rules;
    size_t n_rules = a->n_rules, room = a->room;

    a->rules = b->rules;
    a->n_rules = b->n_rules;
    a->room = b->room;
    b->rules = rules;
    b->n_rules = n_rules;
    b->room = room;
}

int bx_policy_guard(struct bx_policy *p, uint32_t addr, unsigned prefix, const char *what)
{
    uint32_t mask = mask_of(prefix);

    for (size_t i = 0; i < p->n_guards; i++)
        if (p->guards[i].mask == mask && p->guards[i].addr == (addr & mask))
            return 0;
    if (p->n_guards == BX_POLICY_GUARDS_MAX)
        return -ENOSPC;
    p->guards[p->n_guards++] = (struct bx_guard){addr & mask, mask, what};
    return 0;
}

/* --- verdicts --- */

static const struct bx_verdict not_in_list = {false, -1, "no rule allows it"};

static bool is_subdomain(const struct bx_rule *rule, const char *name, size_t len)
{
    return len > rule->name_len + 1u && name[len - rule->name_len - 1] == '.' &&
           memcmp(name + len - rule->name_len, rule->name, rule->name_len) == 0;
}

static bool rule_has_name(const struct bx_rule *rule, const char *name, size_t len, uint64_t hash)
{
    switch (rule->kind) {
    case BX_RULE_ANY:
        return true;
    case BX_RULE_NAME:
        return rule->hash == hash && strcmp(rule->name, name) == 0;
    case BX_RULE_SUFFIX:
        return is_subdomain(rule, name, len);
    default:
        return false;
    }
}

/* port 0: any will do. */
static struct bx_verdict name_verdict(const struct bx_policy *p, const char *name, uint16_t port)
{
    size_t len = strlen(name);
    uint64_t hash = bx_fnv1a(BX_FNV1A_SEED, name, len);
    bool ours = strcmp(name, BX_POLICY_HOST_NAME) == 0; /* nobody means the host by "everything" */

    if (p->n_rules == 0 && !ours)
        return (struct bx_verdict){true, -1, NULL};
    for (size_t i = 0; i < p->n_rules; i++) {
        const struct bx_rule *rule = &p->rules[i];

        if (port && rule->port && rule->port != port)
            continue;
        if (rule_has_name(rule, name, len, hash) && !(ours && rule->kind != BX_RULE_NAME))
            return (struct bx_verdict){true, (int)i, NULL};
    }
    return not_in_list;
}

struct bx_verdict bx_policy_resolve(const struct bx_policy *p, const char *name)
{
    return name_verdict(p, name, 0);
}

struct bx_verdict bx_policy_name(const struct bx_policy *p, const char *name, uint16_t port)
{
    return name_verdict(p, name, port);
}

const char *bx_policy_guarded(const struct bx_policy *p, uint32_t addr)
{
    for (size_t i = 0; i < p->n_guards; i++)
        if ((addr & p->guards[i].mask) == p->guards[i].addr)
            return p->guards[i].what;
    return NULL;
}

struct bx_verdict bx_policy_addr(const struct bx_policy *p, uint32_t addr, uint16_t port)
{
    const char *guard = bx_policy_guarded(p, addr);

    if (p->n_rules == 0)
        return guard ? (struct bx_verdict){false, -1, guard} : (struct bx_verdict){true, -1, NULL};
    for (size_t i = 0; i < p->n_rules; i++) {
        const struct bx_rule *rule = &p->rules[i];
        bool covers = rule->kind == BX_RULE_ANY || (rule->kind == BX_RULE_BLOCK && (addr & rule->mask) == rule->addr);

        if (!covers || (port && rule->port && rule->port != port))
            continue;
        if (!guard || (rule->kind == BX_RULE_BLOCK && prefix_of(rule->mask) >= EXPLICIT_PREFIX))
            return (struct bx_verdict){true, (int)i, NULL};
    }
    return guard ? (struct bx_verdict){false, -1, guard} : not_in_list;
}
