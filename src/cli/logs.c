/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logs.c - `boxlite logs`: what a box's main process has written, each stream to ours, or the machine's console.
 */
#include "cli/cli.h"

#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/when.h"

struct logs_opts {
    int64_t tail, since_ns;
    bool has_tail, follow, console, timestamps;
};

/* What is being printed: does a line begin, on each stream? */
struct printing {
    const struct logs_opts *o;
    bool inside[BoxliteLogNotice + 1];
    struct bx_call call;
};

static int take_tail(void *target, const char *value, struct bx_err *err)
{
    struct logs_opts *o = target;
    o->has_tail = true;
    if (bx_streq(value, "all"))
        o->has_tail = false;
    else if (bx_parse_i64(value, 0, INT64_MAX, &o->tail) < 0)
        return bx_fail(err, BX_EINVALID, 0, "'%s' is not a number of lines, or all", value);
    return 0;
}

int bx_when_parse(void *target, const char *value, struct bx_err *err)
{
    if (bx_parse_when(value, bx_realtime(), target) < 0)
        return bx_fail(err, BX_EINVALID, 0, "'%s' is not a time: a length of time like 10m or 1h30m, a date like 2025-11-29T15:04:05Z, or seconds since 1970", value);
    return 0;
}

static void print_stamped(FILE *out, bool *inside, int64_t time_ns, const uint8_t *data, size_t len)
{
    char stamp[BX_WHEN_LEN];
    bx_format_when(stamp, time_ns);
    while (len > 0) {
        const uint8_t *nl = memchr(data, '\n', len);
        size_t n = nl ? (size_t)(nl - data) + 1 : len;
        if (!*inside)
            fprintf(out, "%s ", stamp);
        fwrite(data, 1, n, out);
        *inside = !nl;
        data += n;
        len -= n;
    }
}

static void on_chunk(int stream, int64_t time_ns, const uint8_t *data, size_t len, void *ud)
{
    struct printing *p = ud;
    FILE *out = stream == BoxliteLogStdout || stream == BoxliteLogConsole ? stdout : stderr;
    if (stream == BoxliteLogNotice)
        bx_cli_error("%.*s", (int)(len - (data[len - 1] == '\n')), (const char *)data);
    else if (p->o->timestamps && stream >= 0 && stream < BoxliteLogNotice)
        print_stamped(out, &p->inside[stream], time_ns, data, len);
    else
        fwrite(data, 1, len, out);
    /* Who follows wants to see it now; a reader that has gone is no reason to go on. */
    if (p->o->follow && (fflush(out) != 0 || ferror(out)) && !p->call.done)
        bx_call_answer(&p->call, NULL, NULL);
}

static void on_done(CBoxliteError *error, void *ud)
{
    struct printing *p = ud;
    if (!p->call.done)
        bx_call_answer(&p->call, NULL, error);
}

static int show(CBoxliteRuntime *rt, CBoxHandle *box, const struct logs_opts *o)
{
    BoxliteLogOptions options = BOXLITE_LOG_OPTIONS_INIT;
    struct printing p = { .o = o, .call = BX_CALL_INIT };
    options.tail = !o->has_tail ? 0 : o->tail == 0 ? -1 : o->tail;
    options.since_ms = o->since_ns / BX_MSEC;
    options.follow = o->follow;
    options.console = o->console;
    if (!bx_call_wait(rt, &p.call, boxlite_box_logs(box, &options, on_chunk, on_done, &p, &p.call.error)))
        return bx_cli_fail(&p.call.error, NULL);
    return 0;
}

int bx_verb_logs(int argc, char **argv)
{
    struct logs_opts o = { 0 };
    const struct bx_opt opts[] = {
        BX_OPT_CALL('n', "tail", &o, take_tail, "LINES|all", "only so many lines of the end (all)"),
        BX_OPT_FLAG('f', "follow", &o.follow, "go on with what is written, until the box stops"),
        BX_OPT_CALL(0, "since", &o.since_ns, bx_when_parse, "TIME", "only what is as young: 10m, 1h30m, 2025-11-29T15:04:05Z"),
        BX_OPT_FLAG('t', "timestamps", &o.timestamps, "begin each line with its time"),
        BX_OPT_FLAG(0, "console", &o.console, "the console of the machine instead: its kernel and the agent"),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("logs", opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (n == 0)
        return bx_cli_usage("logs", "which box?");
    if (n > 1)
        return bx_cli_usage("logs", "one box at a time: '%s'", argv[2]);
    if (o.console && (o.timestamps || o.since_ns))
        return bx_cli_usage("logs", "--console and %s exclude each other: the console has no times", o.timestamps ? "--timestamps" : "--since");
    CBoxliteRuntime *rt = bx_cli_open();
    if (!rt)
        return BX_EXIT_FAILURE;
    CBoxHandle *box = bx_cli_box(rt, argv[1], &code);
    if (box)
        code = show(rt, box, &o);
    boxlite_box_free(box);
    boxlite_runtime_free(rt);
    return bx_cli_finish(code);
}
