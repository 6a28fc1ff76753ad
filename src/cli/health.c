/* SPDX-License-Identifier: Apache-2.0 */
/* health.c - --health-cmd and what belongs to it. */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/when.h"

int bx_duration_parse(void *target, const char *value, struct bx_err *err)
{
    if (bx_parse_duration(value, target) < 0)
        return bx_fail(err, BX_EINVALID, 0, "'%s' is not a length of time like 500ms, 30s or 1m30s", value);
    return 0;
}

int bx_cli_health(CBoxliteOptions *options, const char *verb, const struct bx_health_opts *o)
{
    const char *const shell[] = { "/bin/sh", "-c", o->cmd };
    BoxliteHealthCheck check = BOXLITE_HEALTH_CHECK_INIT;
    CBoxliteError error = { Ok, NULL };
    if (!o->cmd && !o->agent) {
        if (o->interval || o->timeout || o->start_period >= 0 || o->retries)
            return bx_cli_usage(verb, "--health-interval and the like need --health-cmd or --health-agent");
        return 0;
    }
    if (o->cmd && o->agent)
        return bx_cli_usage(verb, "--health-cmd and --health-agent exclude each other");
    if (o->cmd) {
        check.cmd = shell;
        check.cmd_count = 3;
    }
    check.interval_ms = o->interval / BX_MSEC;
    check.timeout_ms = o->timeout / BX_MSEC;
    check.start_period_ms = o->start_period == 0 ? -1 : o->start_period < 0 ? 0 : o->start_period / BX_MSEC;
    check.retries = o->retries;
    if (boxlite_options_set_health_check(options, &check, &error) == Ok)
        return 0;
    bx_cli_fail(&error, NULL);
    return BX_EXIT_USAGE;
}
