/* SPDX-License-Identifier: Apache-2.0 */
/* check_rule.c - see check_rule.h. */
#include "shim/check_rule.h"

#include <limits.h>

void bx_check_begin(struct bx_check *c, unsigned retries, int64_t now, int64_t start_period_ns)
{
    *c = (struct bx_check){.state = BX_HEALTH_STARTING, .retries = retries, .grace_until = now + start_period_ns};
}

bool bx_check_result(struct bx_check *c, bool ok, int64_t now)
{
    enum bx_health_state before = c->state;

    if (ok) {
        c->failures = 0;
        c->grace_until = now;
        c->state = BX_HEALTH_HEALTHY;
    } else if (now >= c->grace_until) {
        c->failures += c->failures < UINT_MAX;
        if (c->failures >= c->retries)
            c->state = BX_HEALTH_UNHEALTHY;
    }
    return c->state != before;
}
