/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.c - `boxlite stats`: what a box takes, once or as it changes.
 */
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

#define PAUSE BX_SEC /* between two looks with --stream */

struct stats {
    struct bx_call call;
    CBoxMetrics metrics;
    bool running;
};

static void keep_metrics(CBoxMetrics *m, CBoxliteError *error, void *ud)
{
    struct stats *s = ud;
    if (m)
        s->metrics = *m;
    bx_call_answer(&s->call, NULL, error);
}

static void keep_info(CBoxInfo *info, CBoxliteError *error, void *ud)
{
    struct stats *s = ud;
    s->running = info && (info->running || bx_streq(info->status, "paused"));
    boxlite_free_box_info(info);
    bx_call_answer(&s->call, NULL, error);
}

/* False after having printed why. */
static bool look(CBoxliteRuntime *rt, CBoxHandle *box, struct stats *s)
{
    *s = (struct stats){ 0 };
    bool ok = bx_call_wait(rt, &s->call, boxlite_box_metrics(box, keep_metrics, s, &s->call.error));
    if (ok) {
        s->call = BX_CALL_INIT;
        ok = bx_call_wait(rt, &s->call, boxlite_box_info(box, keep_info, s, &s->call.error));
    }
    if (!ok)
        bx_cli_fail(&s->call.error, NULL);
    return ok;
}

enum { METRICS = 9, FIELDS = 2 };

static int print_stats(const struct stats *s, enum bx_format format)
{
    const CBoxMetrics *m = &s->metrics;
    char values[METRICS][32];
    static const char *const names[METRICS] = { "CPU",      "Memory",   "Commands",        "Errors",    "Boot Time",
                                                "Net Sent", "Net Recv", "TCP Connections", "TCP Errors" };
    struct bx_field fields[METRICS * FIELDS];
    snprintf(values[0], sizeof(values[0]), "%.1f%%", m->cpu_percent);
    bx_cli_bytes(values[1], (unsigned long long)m->memory_bytes);
    snprintf(values[2], sizeof(values[2]), "%d", m->commands_executed);
    snprintf(values[3], sizeof(values[3]), "%d", m->exec_errors);
    snprintf(values[4], sizeof(values[4]), "%lld ms", (long long)m->boot_duration_ms);
    bx_cli_bytes(values[5], (unsigned long long)m->network_bytes_sent);
    bx_cli_bytes(values[6], (unsigned long long)m->network_bytes_received);
    snprintf(values[7], sizeof(values[7]), "%d", m->network_tcp_connections);
    snprintf(values[8], sizeof(values[8]), "%d", m->network_tcp_errors);
    for (size_t i = 0; i < METRICS; i++) {
        fields[i * FIELDS] = (struct bx_field){ "Metric", "METRIC", BX_FIELD_STR, names[i], 0, BX_COLOR_NONE };
        fields[i * FIELDS + 1] = (struct bx_field){ "Value", "VALUE", BX_FIELD_STR, s->running ? values[i] : "N/A", 0, BX_COLOR_NONE };
    }
    return bx_print_records(format, fields, FIELDS, METRICS, false);
}

/* Until it is time for the next look. False: somebody has said that it is enough. */
static bool pause_or_stop(CBoxliteRuntime *rt)
{
    int64_t until = bx_now() + PAUSE;
    struct pollfd fds[] = { { .fd = boxlite_runtime_fd(rt), .events = POLLIN }, { .fd = bx_signals_open(), .events = POLLIN } };
    for (int64_t now = bx_now(); now < until; now = bx_now()) {
        if (poll(fds, BX_ARRAY_SIZE(fds), (int)((until - now + BX_MSEC - 1) / BX_MSEC)) < 0 && errno != EINTR)
            return false;
        if (fds[1].revents && bx_signals_pending())
            return false;
        if (fds[0].revents && boxlite_runtime_drain(rt, 0, NULL) < 0)
            return false;
    }
    return true;
}

static int show(CBoxliteRuntime *rt, CBoxHandle *box, bool stream, enum bx_format format)
{
    bool redraw = stream && format == BX_FORMAT_TABLE && isatty(STDOUT_FILENO);
    struct stats s;
    int code = 0;
    do {
        if (!look(rt, box, &s))
            return BX_EXIT_FAILURE;
        if (redraw)
            fputs("\033[H\033[J", stdout); /* from the top of the screen */
        code = print_stats(&s, format);
        if (code == 0)
            code = bx_cli_finish(0);
    } while (stream && s.running && code == 0 && pause_or_stop(rt));
    return code;
}

int bx_verb_stats(int argc, char **argv)
{
    bool stream = false;
    enum bx_format format = BX_FORMAT_TABLE;
    const struct bx_opt opts[] = {
        BX_OPT_FLAG('s', "stream", &stream, "again each second, until the box stops or Ctrl-C"),
        BX_FORMAT_OPT(0, "format", format),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("stats", opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (n != 1)
        return bx_cli_usage("stats", n == 0 ? "of which box?" : "one box at a time");
    CBoxliteRuntime *rt = bx_cli_open();
    if (!rt)
        return BX_EXIT_FAILURE;
    CBoxHandle *box = bx_cli_box(rt, argv[1], &code);
    if (box)
        code = show(rt, box, stream, format);
    boxlite_box_free(box);
    boxlite_runtime_free(rt);
    return bx_cli_finish(code);
}
