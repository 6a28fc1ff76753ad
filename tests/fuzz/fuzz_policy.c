/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anybody's text as a network rule, and anybody's bytes as the beginning of a connection.
 * A rule that is read means the same when written and read again; a name that is found is canonical; more bytes never
 * change a name that was found.
 */
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "policy/peek.h"
#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_rule(const char *text, size_t len)
{
    char once[BX_RULE_TEXT_MAX], twice[BX_RULE_TEXT_MAX];
    struct bx_err err = BX_ERR_INIT;
    struct bx_rule rule;

    if (bx_rule_parse(text, len, &rule, &err) < 0) {
        bx_assert(err.msg[0]);
        return;
    }
    bx_rule_format(&rule, once);
    bx_assert(bx_rule_parse(once, strlen(once), &rule, NULL) == 0);
    bx_rule_format(&rule, twice);
    bx_assert(bx_streq(once, twice));
}

static void check_peek(const uint8_t *data, size_t len)
{
    char name[BX_HOST_NAME_MAX + 1], again[BX_HOST_NAME_MAX + 1];
    enum bx_peek all = bx_peek_name(data, len, name), half = bx_peek_name(data, len / 2, again);
    uint32_t addr;

    bx_assert(all != BX_PEEK_MORE || len < BX_PEEK_MAX);
    if (all == BX_PEEK_NAME && bx_ipv4_parse(name, strlen(name), &addr) < 0)
        bx_assert(bx_name_canonical(name, strlen(name), again) == 0 && bx_streq(name, again));
    half = bx_peek_name(data, len / 2, again);
    if (half == BX_PEEK_NAME)
        bx_assert(all == BX_PEEK_NAME && bx_streq(name, again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_rule((const char *)data, size);
    check_peek(data, size);
    return 0;
}
