/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.c - `boxlite events`: what happens in the home, a line each.
 */
#include "cli/cli.h"

#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/str.h"
#include "base/when.h"
#include "host/json.h"

#define LINE_MAX_BYTES 65536

struct watching {
    char **filters;
    enum bx_format format;
    bool once; /* not what comes */
    struct bx_call call;
};

/* ---- filters */

static const char *const filter_keys[] = { "type", "box", "image", "exec" };

static bool check_filters(char **filters)
{
    for (char **f = filters; f && *f; f++) {
        bool known = false;
        for (size_t i = 0; i < BX_ARRAY_SIZE(filter_keys); i++)
            known = known || (bx_starts_with(*f, filter_keys[i]) && (*f)[strlen(filter_keys[i])] == '=');
        if (!known)
            return false;
    }
    return true;
}

/* "box.started", and "box" for all that begin with "box." */
static bool type_matches(const char *type, const char *value)
{
    size_t n = strlen(value);
    return bx_starts_with(type, value) && (type[n] == '\0' || type[n] == '.');
}

static bool value_matches(const CBoxliteEvent *e, size_t key, const char *value)
{
    switch (key) {
    case 0:
        return type_matches(e->type, value);
    case 1:
        return bx_streq(e->box_name, value) || (strlen(value) >= 4 && bx_starts_with(e->box_id, value));
    case 2:
        return bx_streq(e->image, value);
    default:
        return bx_streq(e->execution_id, value);
    }
}

/* Of each key that is asked for, one of the values. */
static bool wanted(const CBoxliteEvent *e, char **filters)
{
    for (size_t key = 0; key < BX_ARRAY_SIZE(filter_keys); key++) {
        bool asked = false, matches = false;
        for (char **f = filters; f && *f; f++) {
            size_t n = strlen(filter_keys[key]);
            if (!bx_starts_with(*f, filter_keys[key]) || (*f)[n] != '=')
                continue;
            asked = true;
            matches = matches || value_matches(e, key, *f + n + 1);
        }
        if (asked && !matches)
            return false;
    }
    return true;
}

/* ---- printing */

static void print_line(const CBoxliteEvent *e)
{
    const struct {
        const char *key, *value;
    } parts[] = { { "name", e->box_name }, { "image", e->image },   { "exec", e->execution_id },
                  { "program", e->program }, { "health", e->health } };
    char when[BX_WHEN_LEN], text[1024];
    bx_format_when(when, e->time_ns);
    printf("%s %s", when, e->type);
    if (*e->box_id)
        printf(" %s", e->box_id);
    for (size_t i = 0; i < BX_ARRAY_SIZE(parts); i++) {
        bx_str_printable(text, sizeof(text), parts[i].value, strlen(parts[i].value));
        if (*text)
            printf(" %s=%s", parts[i].key, text);
    }
    if (e->has_exit_code)
        printf(" exit_code=%d", e->exit_code);
    if (e->oom)
        printf(" oom");
    bx_str_printable(text, sizeof(text), e->message, strlen(e->message));
    printf("%s%s\n", *text ? ": " : "", text);
}

static int print_record(const CBoxliteEvent *e, enum bx_format format)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(LINE_MAX_BYTES);
    char when[BX_WHEN_LEN];
    struct bx_jw w;
    bx_format_when(when, e->time_ns);
    bx_jw_init(&w, &out, false);
    bx_jw_obj(&w, NULL);
    bx_jw_str(&w, "Time", when);
    bx_jw_str(&w, "Type", e->type);
    bx_jw_str(&w, "Box", e->box_id);
    bx_jw_str(&w, "Name", e->box_name);
    bx_jw_str(&w, "Image", e->image);
    bx_jw_str(&w, "Exec", e->execution_id);
    bx_jw_str(&w, "Program", e->program);
    bx_jw_str(&w, "Health", e->health);
    if (e->has_exit_code)
        bx_jw_i64(&w, "ExitCode", e->exit_code);
    else
        bx_jw_null(&w, "ExitCode");
    bx_jw_bool(&w, "Oom", e->oom != 0);
    bx_jw_str(&w, "Message", e->message);
    bx_jw_end(&w);
    if (format == BX_FORMAT_YAML)
        puts("---");
    return bx_print_json(format, &w);
}

static void on_event(const CBoxliteEvent *e, void *ud)
{
    struct watching *p = ud;
    int code = 0;
    if (p->call.done)
        return;
    if (bx_streq(e->type, "events.current")) {
        if (p->once)
            bx_call_answer(&p->call, NULL, NULL);
        return;
    }
    if (!wanted(e, p->filters))
        return;
    if (p->format == BX_FORMAT_TABLE)
        print_line(e);
    else
        code = print_record(e, p->format);
    /* Who reads wants to see it now; one that has gone is no reason to go on. A template that does not fit is told once. */
    if (code || fflush(stdout) != 0 || ferror(stdout))
        bx_call_answer(&p->call, (void *)(intptr_t)code, NULL);
}

int bx_verb_events(int argc, char **argv)
{
    struct watching p = { .call = BX_CALL_INIT };
    int64_t since = -1;
    const struct bx_opt opts[] = {
        BX_OPT_CALL(0, "since", &since, bx_when_parse, "TIME", "first what has happened since: 10m, 1h30m, 2025-11-29T15:04:05Z"),
        BX_OPT_FLAG(0, "no-follow", &p.once, "only what has happened, not what comes"),
        BX_OPT_LIST('f', "filter", &p.filters, "KEY=VALUE", "only these: type=box.started or type=box, box=NAME, image=NAME, exec=ID"),
        BX_FORMAT_OPT(0, "format", p.format),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("events", opts, 0, argc, argv, &code);
    if (n > 0)
        code = bx_cli_usage("events", "it takes no arguments: '%s'", argv[1]);
    else if (n == 0 && !check_filters(p.filters))
        code = bx_cli_usage("events", "--filter: must be type=, box=, image= or exec= and a value");
    CBoxliteRuntime *rt = n == 0 && code == 0 ? bx_cli_open() : NULL;
    if (n == 0 && code == 0 && !rt)
        code = BX_EXIT_FAILURE;
    if (rt) {
        BoxliteErrorCode rc = since >= 0 || p.once
                                  ? boxlite_runtime_on_event_since(rt, since >= 0 ? since / BX_MSEC : 0, on_event, &p, &p.call.error)
                                  : boxlite_runtime_on_event(rt, on_event, &p, &p.call.error);
        if (!bx_call_wait(rt, &p.call, rc))
            code = bx_cli_fail(&p.call.error, NULL);
        else
            code = (int)(intptr_t)p.call.result;
        boxlite_runtime_free(rt);
        code = bx_cli_finish(code);
    }
    bx_strv_free(p.filters);
    return code;
}
