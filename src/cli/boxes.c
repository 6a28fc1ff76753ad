/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boxes.c - `boxlite ps`, `start`, `stop`, `restart`, `pause`, `unpause` and `rm`.
 */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"

static void keep_list(CBoxInfoList *list, CBoxliteError *error, void *ud)
{
    bx_call_answer(ud, list, error);
}

static CBoxInfoList *list_boxes(CBoxliteRuntime *rt, int *ret_exit)
{
    struct bx_call call = BX_CALL_INIT;
    if (bx_call_wait(rt, &call, boxlite_list_info(rt, keep_list, &call, &call.error)))
        return call.result;
    *ret_exit = bx_cli_fail(&call.error, NULL);
    return NULL;
}

/* "3 minutes ago" */
static void format_age(int64_t then, char *dst, size_t size)
{
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = { { 86400 * 365, "year" }, { 86400 * 30, "month" }, { 86400, "day" },
                  { 3600, "hour" },        { 60, "minute" },        { 1, "second" } };
    int64_t age = BX_MAX((int64_t)time(NULL) - then, (int64_t)0);
    for (size_t i = 0; i < BX_ARRAY_SIZE(units); i++) {
        int64_t n = age / units[i].seconds;
        if (n > 0 || units[i].seconds == 1) {
            snprintf(dst, size, "%lld %s%s ago", (long long)n, units[i].name, n == 1 ? "" : "s");
            return;
        }
    }
}

static bool active(const CBoxInfo *b)
{
    return bx_streq(b->status, "running") || bx_streq(b->status, "paused") || bx_streq(b->status, "stopping");
}

static enum bx_color status_color(const CBoxInfo *b)
{
    return bx_streq(b->status, "failed") ? BX_COLOR_BAD : b->running ? BX_COLOR_GOOD : active(b) ? BX_COLOR_MIDDLE : BX_COLOR_NONE;
}

struct row_text {
    char age[40], created[40], status[24];
};

enum { PS_FIELDS = 8 };

static void fill_row(const CBoxInfo *b, struct bx_field *f, struct row_text *t)
{
    format_age(b->created_at, t->age, sizeof(t->age));
    bx_cli_time(t->created, sizeof(t->created), b->created_at * 1000);
    bx_cli_status(t->status, sizeof(t->status), b->status);
    const struct bx_field row[PS_FIELDS] = {
        { "ID", "ID", BX_FIELD_STR, b->id, 0 },
        { "Image", "IMAGE", BX_FIELD_STR, b->image, 0 },
        { "Status", "STATUS", BX_FIELD_STR, t->status, 0, status_color(b) },
        { "CreatedAt", NULL, BX_FIELD_STR, t->created, 0 },
        { "Pid", NULL, BX_FIELD_INT, NULL, b->pid },
        { "Cpus", NULL, BX_FIELD_INT, NULL, b->cpus },
        { "MemoryMib", NULL, BX_FIELD_INT, NULL, b->memory_mib },
        { "Names", "NAMES", BX_FIELD_STR, b->name ? b->name : "", 0 },
    };
    memcpy(f, row, sizeof(row));
    /* The table says how long ago; other formats say when. */
    f[3].title = "CREATED";
}

static int print_boxes(const CBoxInfoList *list, bool all, bool quiet, enum bx_format format)
{
    size_t n = 0;
    struct bx_field *fields = calloc((size_t)list->count + 1, PS_FIELDS * sizeof(*fields));
    struct row_text *texts = calloc((size_t)list->count + 1, sizeof(*texts));
    if (!fields || !texts)
        abort();
    CBoxInfo nothing = { .status = (char *)(uintptr_t) "" };
    fill_row(&nothing, fields, texts);
    for (int i = 0; i < list->count; i++) {
        const CBoxInfo *b = &list->items[i];
        if (!all && !active(b))
            continue;
        if (quiet) {
            printf("%s\n", b->id);
            continue;
        }
        fill_row(b, fields + n * PS_FIELDS, &texts[n]);
        if (format == BX_FORMAT_TABLE)
            fields[n * PS_FIELDS + 3].str = texts[n].age;
        n++;
    }
    int code = quiet ? 0 : bx_print_records(format, fields, PS_FIELDS, n, false);
    free(fields);
    free(texts);
    return code;
}

int bx_verb_ps(int argc, char **argv)
{
    bool all = false, quiet = false;
    enum bx_format format = BX_FORMAT_TABLE;
    const struct bx_opt opts[] = {
        BX_OPT_FLAG('a', "all", &all, "also boxes that do not run"),
        BX_OPT_FLAG('q', "quiet", &quiet, "ids only"),
        BX_FORMAT_OPT(0, "format", format),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("ps", opts, 0, argc, argv, &code);
    if (n > 0)
        return bx_cli_usage("ps", "it takes no arguments: '%s'", argv[1]);
    if (n < 0)
        return code;
    CBoxliteRuntime *rt = bx_cli_open();
    if (!rt)
        return BX_EXIT_FAILURE;
    CBoxInfoList *list = list_boxes(rt, &code);
    if (list)
        code = print_boxes(list, all, quiet, format);
    boxlite_free_box_info_list(list);
    boxlite_runtime_free(rt);
    return bx_cli_finish(code);
}

static CBoxHandle *get_box(CBoxliteRuntime *rt, const char *name, struct bx_call *call)
{
    if (!bx_call_wait(rt, call, boxlite_get(rt, name, bx_call_box, call, &call->error)))
        return NULL;
    CBoxHandle *box = call->result;
    *call = BX_CALL_INIT;
    return box;
}

/* A box that is started here has to go on when we end, whatever it was made with. */
static bool start_one(CBoxliteRuntime *rt, const char *name, struct bx_call *call, void *ud)
{
    (void)ud;
    CBoxHandle *box = get_box(rt, name, call);
    bool ok = box && boxlite_box_set_detached(box, 1, &call->error) == Ok &&
              bx_call_wait(rt, call, boxlite_start_box(box, bx_call_plain, call, &call->error));
    boxlite_box_free(box);
    return ok;
}

static bool stop_one(CBoxliteRuntime *rt, const char *name, struct bx_call *call, void *ud)
{
    (void)ud;
    CBoxHandle *box = get_box(rt, name, call);
    bool ok = box && bx_call_wait(rt, call, boxlite_stop_box(box, bx_call_plain, call, &call->error));
    boxlite_box_free(box);
    return ok;
}

/* As with start_one. */
static bool restart_one(CBoxliteRuntime *rt, const char *name, struct bx_call *call, void *ud)
{
    (void)ud;
    CBoxHandle *box = get_box(rt, name, call);
    bool ok = box && boxlite_box_set_detached(box, 1, &call->error) == Ok &&
              bx_call_wait(rt, call, boxlite_restart_box(box, bx_call_plain, call, &call->error));
    boxlite_box_free(box);
    return ok;
}

static bool pause_one(CBoxliteRuntime *rt, const char *name, struct bx_call *call, void *ud)
{
    (void)ud;
    CBoxHandle *box = get_box(rt, name, call);
    bool ok = box && bx_call_wait(rt, call, boxlite_box_pause(box, bx_call_plain, call, &call->error));
    boxlite_box_free(box);
    return ok;
}

static bool resume_one(CBoxliteRuntime *rt, const char *name, struct bx_call *call, void *ud)
{
    (void)ud;
    CBoxHandle *box = get_box(rt, name, call);
    bool ok = box && bx_call_wait(rt, call, boxlite_box_resume(box, bx_call_plain, call, &call->error));
    boxlite_box_free(box);
    return ok;
}

static bool remove_one(CBoxliteRuntime *rt, const char *name, struct bx_call *call, void *force)
{
    return bx_call_wait(rt, call, boxlite_remove(rt, name, *(bool *)force, bx_call_plain, call, &call->error));
}

static int each_box_verb(const char *verb, int argc, char **argv, bx_box_action *fn)
{
    int code = 0;
    int n = bx_cli_parse(verb, bx_cli_global_opts, 0, argc, argv, &code);
    if (n == 0)
        return bx_cli_usage(verb, "which box?");
    return n < 0 ? code : bx_cli_each_box(n, argv + 1, fn, NULL);
}

int bx_verb_start(int argc, char **argv)
{
    return each_box_verb("start", argc, argv, start_one);
}

int bx_verb_stop(int argc, char **argv)
{
    return each_box_verb("stop", argc, argv, stop_one);
}

int bx_verb_restart(int argc, char **argv)
{
    return each_box_verb("restart", argc, argv, restart_one);
}

int bx_verb_pause(int argc, char **argv)
{
    return each_box_verb("pause", argc, argv, pause_one);
}

int bx_verb_unpause(int argc, char **argv)
{
    return each_box_verb("unpause", argc, argv, resume_one);
}

/* Asks before everything goes. Only "y" and "yes" are a yes. */
static bool confirmed(int count)
{
    char answer[16];
    fprintf(stderr, "Remove %d box%s and their disks? [y/N] ", count, count == 1 ? "" : "es");
    return fgets(answer, sizeof(answer), stdin) && (bx_streq(answer, "y\n") || bx_streq(answer, "yes\n"));
}

static int remove_all(bool force)
{
    int code = 0;
    CBoxliteRuntime *rt = bx_cli_open();
    if (!rt)
        return BX_EXIT_FAILURE;
    CBoxInfoList *list = list_boxes(rt, &code);
    char **ids = NULL;
    for (int i = 0; list && i < list->count; i++) {
        if (bx_strv_add(&ids, list->items[i].id) < 0)
            abort();
    }
    boxlite_free_box_info_list(list);
    boxlite_runtime_free(rt);
    int n = (int)bx_strv_len(ids);
    if (n > 0 && (force || confirmed(n))) {
        bool yes = true;
        code = bx_cli_each_box(n, ids, remove_one, &yes);
    }
    bx_strv_free(ids);
    return code;
}

int bx_verb_rm(int argc, char **argv)
{
    bool force = false, all = false;
    const struct bx_opt opts[] = {
        BX_OPT_FLAG('f', "force", &force, "also boxes that run: they are ended at once"),
        BX_OPT_FLAG('a', "all", &all, "all boxes; asks, unless --force is given"),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("rm", opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (all)
        return n ? bx_cli_usage("rm", "--all takes no names") : remove_all(force);
    return n == 0 ? bx_cli_usage("rm", "which box?") : bx_cli_each_box(n, argv + 1, remove_one, &force);
}
