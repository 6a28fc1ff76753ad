/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.h - who may be dialled.
 *
 * Theory of operation
 *
 *  A policy is a list of rules, each a name, a suffix, an address or a block of addresses, with or without a port
 * ("pypi.org", "*.pypi.org", "192.0.2.7", "10.1.0.0/16", "api.example:443"). No rule at all means: everything but
 * what is guarded. Rules mean: only what they name.
 *
 *  Guarded addresses are those behind which a service may trust whoever can reach it: loopback, link-local with the
 * cloud's metadata, multicast, and what the owner of the policy adds (the host's own addresses and private networks).
 * They need a rule that names them as addresses, a block no larger than /8. A name never leads there, whatever it
 * resolves to: else who owns the name's DNS chooses (rebinding).
 *
 *  "*" allows every name and every address that is not guarded, beside rules that name guarded ones.
 *
 *  Pure: no I/O, no clock. Each verdict names the rule that decided, for the log.
 */
#ifndef BX_POLICY_POLICY_H
#define BX_POLICY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "policy/name.h"

#define BX_POLICY_RULES_MAX  4096
#define BX_POLICY_GUARDS_MAX 256
#define BX_RULE_TEXT_MAX     (BX_HOST_NAME_MAX + 9)

/* Names of our own, resolved by us alone. */
#define BX_POLICY_HOST_NAME "host.boxlite.internal"

enum bx_rule_kind {
    BX_RULE_ANY,     /* "*" */
    BX_RULE_NAME,    /* exactly */
    BX_RULE_SUFFIX,  /* "*.example.com": whatever ends in it, not itself */
    BX_RULE_BLOCK,   /* addresses */
};

struct bx_rule {
    enum bx_rule_kind kind;
    uint16_t port;     /* 0: any */
    uint32_t addr;     /* of a block, host byte order */
    uint32_t mask;
    uint16_t name_len;
    uint64_t hash;     /* of the name */
    char name[BX_HOST_NAME_MAX + 1];
};

struct bx_guard {
    uint32_t addr, mask;
    const char *what; /* static: "the host itself" */
};

struct bx_policy {
    struct bx_rule *rules;
    size_t n_rules, room;
    struct bx_guard guards[BX_POLICY_GUARDS_MAX];
    size_t n_guards;
};

struct bx_verdict {
    bool allowed;
    int rule;          /* index of the rule that allowed; -1: none */
    const char *why;   /* static text for the log, when not allowed */
};

/* Reads one rule: BX_EINVALID says what is wrong with it. text need not be terminated. */
int bx_rule_parse(const char *text, size_t len, struct bx_rule *ret, struct bx_err *err);
/* As a user would write it. */
void bx_rule_format(const struct bx_rule *rule, char ret[BX_RULE_TEXT_MAX]);

/* With the guards that hold everywhere. */
void bx_policy_init(struct bx_policy *p);
void bx_policy_done(struct bx_policy *p);
/* Adds a rule; a second one of the same meaning is not added. BX_EINVALID, or BX_ERESOURCE at BX_POLICY_RULES_MAX. */
int bx_policy_add(struct bx_policy *p, const char *text, struct bx_err *err);
/* Each gets the other's rules; guards stay where they are. */
void bx_policy_swap_rules(struct bx_policy *a, struct bx_policy *b);
/* Guards a block too. what: static. -ENOSPC at BX_POLICY_GUARDS_MAX. */
int bx_policy_guard(struct bx_policy *p, uint32_t addr, unsigned prefix, const char *what);

/* May this name (canonical) be resolved at all: is there a rule for it, with whatever port? */
struct bx_verdict bx_policy_resolve(const struct bx_policy *p, const char *name);
/* May port of this name be dialled? The address it resolves to is then asked for with bx_policy_guarded. */
struct bx_verdict bx_policy_name(const struct bx_policy *p, const char *name, uint16_t port);
/* May this address be dialled as an address? Port 0: some port of it. */
struct bx_verdict bx_policy_addr(const struct bx_policy *p, uint32_t addr, uint16_t port);
/* NULL, or by which guard it is closed to names. */
const char *bx_policy_guarded(const struct bx_policy *p, uint32_t addr);

#endif
