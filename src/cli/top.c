/* SPDX-License-Identifier: Apache-2.0 */
/*
 * top.c - `boxlite top`: the processes of a box, as its agent sees them.
 */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

enum { TOP_FIELDS = 13 };

struct row_text {
    char state[2], cpu[24], memory[BX_CLI_BYTES_LEN], age[24];
};

/* "1:02:03", "2:03", "3.4s" */
static void format_span(char *dst, size_t size, uint64_t ms)
{
    unsigned long long s = ms / 1000;
    if (s < 60)
        snprintf(dst, size, "%llu.%llus", s, (unsigned long long)(ms % 1000 / 100));
    else if (s < 3600)
        snprintf(dst, size, "%llu:%02llu", s / 60, s % 60);
    else
        snprintf(dst, size, "%llu:%02llu:%02llu", s / 3600, s / 60 % 60, s % 60);
}

static void fill_row(const CBoxProcess *p, struct bx_field *f, struct row_text *t)
{
    snprintf(t->state, sizeof(t->state), "%c", p->state);
    format_span(t->cpu, sizeof(t->cpu), p->cpu_us / 1000);
    format_span(t->age, sizeof(t->age), p->age_ms);
    bx_cli_bytes(t->memory, p->memory_bytes);
    const struct bx_field row[TOP_FIELDS] = {
        { "Pid", "PID", BX_FIELD_INT, NULL, p->pid },
        { "Parent", "PPID", BX_FIELD_INT, NULL, p->parent },
        { "Uid", "UID", BX_FIELD_INT, NULL, p->uid },
        { "State", "STATE", BX_FIELD_STR, t->state, 0 },
        { "Threads", "THREADS", BX_FIELD_INT, NULL, p->threads },
        { NULL, "CPU", BX_FIELD_STR, t->cpu, 0 },
        { "CpuUs", NULL, BX_FIELD_INT, NULL, (long long)p->cpu_us },
        { NULL, "MEMORY", BX_FIELD_STR, t->memory, 0 },
        { "MemoryBytes", NULL, BX_FIELD_INT, NULL, (long long)p->memory_bytes },
        { NULL, "AGE", BX_FIELD_STR, t->age, 0 },
        { "AgeMs", NULL, BX_FIELD_INT, NULL, (long long)p->age_ms },
        { "Name", NULL, BX_FIELD_STR, p->name, 0 },
        { "Command", "COMMAND", BX_FIELD_STR, *p->command ? p->command : p->name, 0 },
    };
    memcpy(f, row, sizeof(row));
}

struct top {
    struct bx_call call;
    enum bx_format format;
    int code;
};

/* The list is borrowed: it is printed here. */
static void print_list(const CBoxProcessList *list, CBoxliteError *error, void *ud)
{
    struct top *top = ud;
    bx_call_answer(&top->call, NULL, error);
    if (error)
        return;
    struct bx_field *fields = calloc((size_t)list->count + 1, TOP_FIELDS * sizeof(*fields));
    struct row_text *texts = calloc((size_t)list->count + 1, sizeof(*texts));
    CBoxProcess nothing = { .name = "", .command = "" };
    if (!fields || !texts)
        abort();
    fill_row(&nothing, fields, texts);
    for (int i = 0; i < list->count; i++)
        fill_row(list->items[i], fields + (size_t)i * TOP_FIELDS, &texts[i]);
    top->code = bx_print_records(top->format, fields, TOP_FIELDS, (size_t)list->count, false);
    if (list->left_out > 0)
        fprintf(stderr, "Left out: %d more\n", list->left_out);
    free(fields);
    free(texts);
}

int bx_verb_top(int argc, char **argv)
{
    struct top top = { .format = BX_FORMAT_TABLE };
    const struct bx_opt opts[] = {
        BX_FORMAT_OPT(0, "format", top.format),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("top", opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (n != 1)
        return bx_cli_usage("top", n == 0 ? "of which box?" : "one box at a time");
    CBoxliteRuntime *rt = bx_cli_open();
    if (!rt)
        return BX_EXIT_FAILURE;
    CBoxHandle *box = bx_cli_box(rt, argv[1], &code);
    if (box) {
        bool ok = bx_call_wait(rt, &top.call, boxlite_box_processes(box, print_list, &top, &top.call.error));
        code = ok ? top.code : bx_cli_fail(&top.call.error, NULL);
    }
    boxlite_box_free(box);
    boxlite_runtime_free(rt);
    return bx_cli_finish(code);
}
