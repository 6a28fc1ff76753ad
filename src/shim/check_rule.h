/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_rule.h - what results of a health check make of a box's health. Pure.
 *
 *   starting ──success──▶ healthy ◀──success── unhealthy
 *      └──retries failures in a row──▶ unhealthy ◀──┘ retries failures in a row
 *
 *  Failures within the start period do not count; a success ends it.
 */
#ifndef BX_SHIM_CHECK_RULE_H
#define BX_SHIM_CHECK_RULE_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/frame.h"

struct bx_check {
    enum bx_health_state state;
    unsigned failures; /* in a row */
    unsigned retries;
    int64_t grace_until; /* bx_now() until which failures do not count */
};

void bx_check_begin(struct bx_check *c, unsigned retries, int64_t now, int64_t start_period_ns);
/* True when the state has changed. */
bool bx_check_result(struct bx_check *c, bool ok, int64_t now);

#endif
