/* SPDX-License-Identifier: Apache-2.0 */
/* health.h - the health check of a box: what its creator asked for, in its row, for its supervisor (private). */
#ifndef BX_RUNTIME_HEALTH_H
#define BX_RUNTIME_HEALTH_H

#include <boxlite.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "host/json.h"
#include "host/shim_plan.h"

struct bx_health {
    bool enabled;
    char **cmd; /* NULL: the agent is asked whether it lives */
    uint32_t interval_ms, timeout_ms, start_period_ms;
    uint32_t retries;
};

void bx_health_done(struct bx_health *h);
/* 0, -BX_EINVALID naming the field, or -BX_ERESOURCE. */
int bx_health_take(struct bx_health *h, const BoxliteHealthCheck *given, struct bx_err *err);
void bx_health_write(const struct bx_health *h, struct bx_jw *w);                        /* the keys of an object */
int bx_health_read(const struct bx_json *o, struct bx_health *ret, struct bx_err *err);
int bx_health_facts(const struct bx_health *h, struct CBoxliteInfo *info);               /* 0 or -ENOMEM */
int bx_health_plan(const struct bx_health *h, struct bx_shim_plan *p);                   /* 0 or -ENOMEM */

#endif
