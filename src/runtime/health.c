/* SPDX-License-Identifier: Apache-2.0 */
/* health.c - see health.h. */
#include "runtime/health.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/options.h"
#include "runtime/runtime.h"

/* As the reference has them. */
#define INTERVAL_DEFAULT     30000
#define TIMEOUT_DEFAULT      10000
#define RETRIES_DEFAULT      3
#define START_PERIOD_DEFAULT 60000

#define TIME_MIN    100 /* ms: more checks than that would be a workload */
#define TIME_MAX    (86400 * 1000)
#define RETRIES_MAX 1000

/* The numbers: in the caller's struct, in ours, in the row and the facts. */
static const struct number {
    const char *name;
    size_t given, ours;
    int64_t usual, min, max;
    bool may_be_none; /* less than 0 */
} numbers[] = {
    {"interval_ms", offsetof(BoxliteHealthCheck, interval_ms), offsetof(struct bx_health, interval_ms), INTERVAL_DEFAULT, TIME_MIN, TIME_MAX, false},
    {"timeout_ms", offsetof(BoxliteHealthCheck, timeout_ms), offsetof(struct bx_health, timeout_ms), TIMEOUT_DEFAULT, TIME_MIN, TIME_MAX, false},
    {"start_period_ms", offsetof(BoxliteHealthCheck, start_period_ms), offsetof(struct bx_health, start_period_ms), START_PERIOD_DEFAULT, 0, TIME_MAX, true},
    {"retries", offsetof(BoxliteHealthCheck, retries), offsetof(struct bx_health, retries), RETRIES_DEFAULT, 1, RETRIES_MAX, false},
};

static uint32_t *ours(const struct bx_health *h, const struct number *n)
{
    return (uint32_t *)((char *)(uintptr_t)h + n->ours);
}

void bx_health_done(struct bx_health *h)
{
    bx_strv_free(h->cmd);
    *h = (struct bx_health){0};
}

static int take_number(struct bx_health *h, const BoxliteHealthCheck *c, const struct number *n, struct bx_err *err)
{
    int64_t v;

    memcpy(&v, (const char *)c + n->given, sizeof(v));
    if (v == 0)
        v = n->usual;
    else if (v < 0 && n->may_be_none)
        v = 0;
    else if (v < n->min || v > n->max)
        return bx_fail(err, BX_EINVALID, 0, "health_check: %s must be %lld to %lld, is %lld", n->name, (long long)n->min, (long long)n->max,
                       (long long)v);
    *ours(h, n) = (uint32_t)v;
    return 0;
}

static int take_cmd(struct bx_health *h, const BoxliteHealthCheck *c, struct bx_err *err)
{
    size_t total = 0;

    if (c->cmd_count < 0 || (c->cmd_count > 0 && !c->cmd))
        return bx_fail(err, BX_EINVALID, 0, "health_check: cmd has %d strings, but the list is %s", c->cmd_count, c->cmd ? "there" : "NULL");
    for (int i = 0; i < c->cmd_count; i++) {
        if (!c->cmd[i] || (i == 0 && !*c->cmd[i]) || !bx_utf8_valid(c->cmd[i], strlen(c->cmd[i])))
            return bx_fail(err, BX_EINVALID, 0, "health_check: cmd[%d] is NULL, empty or not UTF-8", i);
        total += strlen(c->cmd[i]) + 1;
        if (total > BX_ARG_MAX)
            return bx_fail(err, BX_EINVALID, 0, "health_check: cmd is longer than %d bytes", BX_ARG_MAX);
    }
    if (c->cmd_count == 0)
        return 0;
    h->cmd = bx_strv_copy(c->cmd, (size_t)c->cmd_count);
    return h->cmd ? 0 : bx_fail(err, BX_ERESOURCE, ENOMEM, "health check");
}

int bx_health_take(struct bx_health *h, const BoxliteHealthCheck *given, struct bx_err *err)
{
    BoxliteHealthCheck c = BOXLITE_HEALTH_CHECK_INIT;
    struct bx_health taken = {.enabled = given != NULL};
    int r = bx_api_options(&c, sizeof(c), given, err);

    for (size_t i = 0; given && r == 0 && i < BX_ARRAY_SIZE(numbers); i++)
        r = take_number(&taken, &c, &numbers[i], err);
    if (r == 0 && given)
        r = take_cmd(&taken, &c, err);
    if (r < 0)
        return r;
    bx_health_done(h);
    *h = taken;
    return 0;
}

void bx_health_write(const struct bx_health *h, struct bx_jw *w)
{
    if (h->cmd)
        bx_jw_strv(w, "cmd", h->cmd);
    for (size_t i = 0; i < BX_ARRAY_SIZE(numbers); i++)
        bx_jw_u64(w, numbers[i].name, *ours(h, &numbers[i]));
}

int bx_health_read(const struct bx_json *o, struct bx_health *ret, struct bx_err *err)
{
    int r = bx_json_opt_strv(o, "cmd", BX_ARGS_MAX, BX_ARG_MAX, &ret->cmd, err);

    for (size_t i = 0; r >= 0 && i < BX_ARRAY_SIZE(numbers); i++) {
        uint64_t v = (uint64_t)numbers[i].usual;

        r = bx_json_opt_u64(o, numbers[i].name, (uint64_t)numbers[i].min, (uint64_t)numbers[i].max, &v, err);
        *ours(ret, &numbers[i]) = (uint32_t)v;
    }
    ret->enabled = r >= 0;
    return r < 0 ? r : 0;
}

int bx_health_facts(const struct bx_health *h, struct CBoxliteInfo *info)
{
    char key[32];
    int r = 0;

    if (!h->enabled)
        return 0;
    if (h->cmd)
        r = bx_info_add_list(info, "health_cmd", h->cmd);
    for (size_t i = 0; r >= 0 && i < BX_ARRAY_SIZE(numbers); i++) {
        snprintf(key, sizeof(key), "health_%s", numbers[i].name);
        r = bx_info_addf(info, key, "%u", *ours(h, &numbers[i]));
    }
    return r;
}

int bx_health_plan(const struct bx_health *h, struct bx_shim_plan *p)
{
    if (!h->enabled)
        return 0;
    p->health_interval_ms = h->interval_ms;
    p->health_timeout_ms = h->timeout_ms;
    p->health_start_period_ms = h->start_period_ms;
    p->health_retries = h->retries;
    if (!h->cmd)
        return 0;
    p->health_cmd = bx_strv_copy((const char *const *)h->cmd, bx_strv_len(h->cmd));
    return p->health_cmd ? 0 : -ENOMEM;
}

BoxliteErrorCode boxlite_options_set_health_check(CBoxliteOptions *options, const BoxliteHealthCheck *check,
                                                  CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;

    if (!options)
        return bx_api_invalid(out_error, "options is NULL");
    return bx_api_result(out_error, bx_health_take(&options->health, check, &err), &err);
}
