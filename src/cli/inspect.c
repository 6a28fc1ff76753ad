/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inspect.c - `boxlite inspect`: all there is to know of boxes.
 */
#include "cli/cli.h"

#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "host/json.h"

#define OUTPUT_MAX (64u * 1024 * 1024)

/* --- values of facts --- */

static long long number(const CBoxliteInfo *d, const char *fact)
{
    const char *text = boxlite_info_get(d, fact);
    uint64_t n = 0;
    return text && bx_parse_u64(text, 0, INT64_MAX, &n) == 0 ? (long long)n : 0;
}

static void write_number(struct bx_jw *w, const char *key, const CBoxliteInfo *d, const char *fact)
{
    if (boxlite_info_get(d, fact))
        bx_jw_i64(w, key, number(d, fact));
    else
        bx_jw_null(w, key);
}

static void write_time(struct bx_jw *w, const char *key, const CBoxliteInfo *d, const char *fact)
{
    char text[40];
    long long ms = number(d, fact);
    if (ms > 0)
        bx_cli_time(text, sizeof(text), ms);
    bx_jw_str(w, key, ms > 0 ? text : NULL);
}

static void write_bool(struct bx_jw *w, const char *key, const CBoxliteInfo *d, const char *fact)
{
    bx_jw_bool(w, key, bx_streq(boxlite_info_get(d, fact), "1"));
}

/* --- parts --- */

/* Of a box that runs and has a health check. */
static void write_health(struct bx_jw *w, const CBoxliteInfo *d)
{
    if (!boxlite_info_get(d, "health")) {
        bx_jw_null(w, "Health");
        return;
    }
    bx_jw_obj(w, "Health");
    bx_jw_str(w, "Status", boxlite_info_get(d, "health"));
    bx_jw_i64(w, "FailingStreak", number(d, "health_failures"));
    write_time(w, "CheckedAt", d, "health_checked_at_ms");
    bx_jw_str(w, "Output", boxlite_info_get(d, "health_output"));
    bx_jw_end(w);
}

static void write_state(struct bx_jw *w, const CBoxInfo *b, const CBoxliteInfo *d, const char *status)
{
    int64_t code = 0;
    const char *text = boxlite_info_get(d, "exit_code");
    if (text && bx_parse_i64(text, INT32_MIN, INT32_MAX, &code) < 0)
        code = 0;
    bx_jw_obj(w, "State");
    bx_jw_str(w, "Status", status);
    bx_jw_bool(w, "Running", b->running);
    bx_jw_bool(w, "Paused", bx_streq(b->status, "paused"));
    bx_jw_i64(w, "Pid", b->pid);
    bx_jw_i64(w, "ExitCode", code);
    write_time(w, "StartedAt", d, "started_at_ms");
    write_time(w, "FinishedAt", d, "stopped_at_ms");
    bx_jw_str(w, "Error", boxlite_info_get(d, "message"));
    write_health(w, d);
    bx_jw_end(w);
}

/* "pid_ns root; without cgroup (Permission denied), ...; switched off: seccomp": words, then clauses. */
static void write_jail(struct bx_jw *w, const char *text)
{
    bx_jw_obj(w, "Jail");
    bx_jw_arr(w, "Applied");
    const char *end = strchrnul(text, ';');
    for (const char *p = text; p < end; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ;");
        bx_jw_strn(w, NULL, p, n);
        p += n;
    }
    bx_jw_end(w);
    bx_jw_arr(w, "NotApplied");
    const char *without = strstr(text, "; without ");
    for (const char *p = without ? without + strlen("; without ") : ""; *p && *p != ';';) {
        const char *open = strstr(p, " ("), *close = open ? strchr(open, ')') : NULL;
        if (!close)
            break;
        bx_jw_obj(w, NULL);
        bx_jw_strn(w, "Layer", p, (size_t)(open - p));
        bx_jw_strn(w, "Why", open + 2, (size_t)(close - open - 2));
        bx_jw_end(w);
        p = close + 1;
        p += strspn(p, ", ");
    }
    bx_jw_end(w);
    const char *off = strstr(text, "; switched off:");
    bx_jw_arr(w, "SwitchedOff");
    for (const char *p = off ? off + strlen("; switched off:") : ""; *(p += strspn(p, " "));) {
        size_t n = strcspn(p, " ");
        bx_jw_strn(w, NULL, p, n);
        p += n;
    }
    bx_jw_end(w);
    bx_jw_end(w);
}

/* Of a box that runs, from the fact. */
static void write_refusals(struct bx_jw *w, const char *fact)
{
    static const char *const keys[][2] = { { "Protocol", "protocol" }, { "Address", "address" }, { "Name", "name" }, { "Reason", "reason" } };
    bx_cleanup_json struct bx_json list = { 0 };
    if (fact)
        (void)bx_json_parse(fact, strlen(fact), NULL, "refusals", &list, NULL); /* of our own library; else it stays empty */
    bx_jw_arr(w, "Refusals");
    for (size_t i = 0; i < bx_json_len(&list); i++) {
        const struct bx_json r = bx_json_item(&list, i);
        int64_t ms = 0, port = 0, times = 0;
        char when[40];
        (void)bx_json_opt_i64(&r, "time_ms", 0, INT64_MAX, &ms, NULL);
        (void)bx_json_opt_i64(&r, "port", 0, 65535, &port, NULL);
        (void)bx_json_opt_i64(&r, "times", 0, INT64_MAX, &times, NULL);
        bx_cli_time(when, sizeof(when), ms);
        bx_jw_obj(w, NULL);
        bx_jw_str(w, "Time", when);
        for (size_t k = 0; k < BX_ARRAY_SIZE(keys); k++) {
            const char *text = NULL;
            (void)bx_json_opt_str(&r, keys[k][1], 1024, &text, NULL);
            bx_jw_str(w, keys[k][0], text);
        }
        bx_jw_i64(w, "Port", port);
        bx_jw_i64(w, "Times", times);
        bx_jw_end(w);
    }
    bx_jw_end(w);
}

static void write_network(struct bx_jw *w, const CNetworkInfo *n, const CBoxliteInfo *d)
{
    bx_jw_obj(w, "Network");
    bx_jw_str(w, "Mode", n && n->mode == BoxliteNetworkModeEnabled ? "enabled" : "disabled");
    bx_jw_arr(w, "AllowNet");
    for (int i = 0; n && i < n->allow_net_count; i++)
        bx_jw_str(w, NULL, n->allow_net[i]);
    bx_jw_end(w);
    bx_jw_arr(w, "Ports");
    for (int i = 0; n && n->published_ports && i < n->published_ports->count; i++) {
        const CPublishedPort *p = &n->published_ports->items[i];
        bx_jw_obj(w, NULL);
        bx_jw_i64(w, "GuestPort", p->guest_port);
        bx_jw_str(w, "HostIp", p->host_ip);
        bx_jw_i64(w, "HostPort", p->host_port);
        bx_jw_str(w, "Protocol", p->protocol == BoxlitePortProtocolUdp ? "udp" : "tcp");
        bx_jw_end(w);
    }
    bx_jw_end(w);
    write_number(w, "Refused", d, "network_refused");
    write_refusals(w, boxlite_info_get(d, "network_refusals"));
    bx_jw_end(w);
}

static void write_disk(struct bx_jw *w, const CBoxliteInfo *d)
{
    bx_jw_obj(w, "Disk");
    bx_jw_str(w, "Path", boxlite_info_get(d, "disk"));
    bx_jw_str(w, "Base", boxlite_info_get(d, "disk_base"));
    write_number(w, "Size", d, "disk_size");
    write_number(w, "Used", d, "disk_bytes");
    bx_jw_end(w);
}

static void write_security(struct bx_jw *w, const CBoxliteInfo *d)
{
    static const char *const limits[][2] = { { "MaxOpenFiles", "max_open_files" },
                                             { "MaxFileSize", "max_file_size" },
                                             { "MaxProcesses", "max_processes" },
                                             { "MaxMemory", "max_memory" },
                                             { "MaxCpuTime", "max_cpu_time" } };
    const char *capabilities = boxlite_info_get(d, "capabilities");
    bx_jw_obj(w, "Security");
    write_bool(w, "Jailer", d, "jailer_enabled");
    write_bool(w, "Seccomp", d, "seccomp_enabled");
    if (capabilities)
        bx_jw_raw(w, "Capabilities", capabilities);
    for (size_t i = 0; i < BX_ARRAY_SIZE(limits); i++)
        write_number(w, limits[i][0], d, limits[i][1]);
    bx_jw_end(w);
}

static void write_box(struct bx_jw *w, const CBoxInfo *b, const CBoxliteInfo *d)
{
    char created[40], status[24];
    const char *jail = boxlite_info_get(d, "jail");
    bx_cli_time(created, sizeof(created), b->created_at * 1000);
    bx_cli_status(status, sizeof(status), b->status);
    bx_jw_obj(w, NULL);
    bx_jw_str(w, "Id", b->id);
    bx_jw_str(w, "Name", b->name ? b->name : "");
    bx_jw_str(w, "Image", b->image);
    bx_jw_str(w, "Created", created);
    bx_jw_str(w, "Status", status);
    write_state(w, b, d, status);
    bx_jw_i64(w, "Cpus", b->cpus);
    bx_jw_i64(w, "Memory", (int64_t)b->memory_mib * 1024 * 1024);
    bx_jw_str(w, "Engine", boxlite_info_get(d, "engine"));
    bx_jw_str(w, "Kernel", boxlite_info_get(d, "kernel"));
    write_bool(w, "Detached", d, "detached");
    bx_jw_i64(w, "AutoDelete", b->auto_delete);
    if (jail)
        write_jail(w, jail);
    else
        bx_jw_null(w, "Jail");
    write_security(w, d);
    write_network(w, b->network, d);
    write_disk(w, d);
    bx_jw_str(w, "Dir", boxlite_info_get(d, "dir"));
    bx_jw_end(w);
}

/* --- the verb --- */

static void keep_info(CBoxInfo *info, CBoxliteError *error, void *ud)
{
    bx_call_answer(ud, info, error);
}

/* False after having printed why. */
static bool inspect(CBoxliteRuntime *rt, const char *name, struct bx_jw *w)
{
    struct bx_call call = BX_CALL_INIT;
    int code = 0;
    CBoxHandle *box = bx_cli_box(rt, name, &code);
    if (!box)
        return false;
    CBoxliteInfo *details = NULL;
    bool ok = bx_call_wait(rt, &call, boxlite_box_details(box, bx_call_info, &call, &call.error));
    if (ok) {
        details = call.result;
        call = BX_CALL_INIT;
        ok = bx_call_wait(rt, &call, boxlite_box_info(box, keep_info, &call, &call.error));
    }
    if (ok)
        write_box(w, call.result, details);
    else
        bx_cli_fail(&call.error, NULL);
    boxlite_free_box_info(call.result);
    boxlite_info_free(details);
    boxlite_box_free(box);
    return ok;
}

static void keep_list(CBoxInfoList *list, CBoxliteError *error, void *ud)
{
    bx_call_answer(ud, list, error);
}

/* The id of the newest box; NULL after having printed why. */
static char *latest(CBoxliteRuntime *rt)
{
    struct bx_call call = BX_CALL_INIT;
    char *id = NULL;
    if (!bx_call_wait(rt, &call, boxlite_list_info(rt, keep_list, &call, &call.error))) {
        bx_cli_fail(&call.error, NULL);
        return NULL;
    }
    CBoxInfoList *list = call.result;
    if (list->count > 0)
        id = strdup(list->items[0].id);
    else
        bx_cli_error("there are no boxes");
    boxlite_free_box_info_list(list);
    return id;
}

static int inspect_all(CBoxliteRuntime *rt, enum bx_format format, bool newest, int n, char **names)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(OUTPUT_MAX);
    bx_cleanup_free char *id = newest ? latest(rt) : NULL;
    struct bx_jw w;
    int code = newest && !id ? BX_EXIT_FAILURE : 0;
    bx_jw_init(&w, &out, true);
    bx_jw_arr(&w, NULL);
    for (int i = 0; i < n; i++)
        code = inspect(rt, names[i], &w) ? code : BX_EXIT_FAILURE;
    if (id)
        code = inspect(rt, id, &w) ? code : BX_EXIT_FAILURE;
    bx_jw_end(&w);
    int printed = bx_print_json(format, &w);
    return printed ? printed : code;
}

int bx_verb_inspect(int argc, char **argv)
{
    enum bx_format format = BX_FORMAT_JSON;
    bool newest = false;
    const struct bx_opt opts[] = {
        BX_OPT_FLAG('l', "latest", &newest, "the newest box"),
        BX_OPT_CALL('f', "format", &format, bx_format_parse, "json|yaml|TEMPLATE",
                    "how to print (json); a template is like '{{.State.Status}}'"),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("inspect", opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (format == BX_FORMAT_TABLE)
        return bx_cli_usage("inspect", "--format: json, yaml or a template, no table");
    if (n == 0 && !newest)
        return bx_cli_usage("inspect", "which box?");
    if (n > 0 && newest)
        return bx_cli_usage("inspect", "--latest takes no names");
    CBoxliteRuntime *rt = bx_cli_open();
    if (!rt)
        return BX_EXIT_FAILURE;
    code = inspect_all(rt, format, newest, n, argv + 1);
    boxlite_runtime_free(rt);
    return bx_cli_finish(code);
}
