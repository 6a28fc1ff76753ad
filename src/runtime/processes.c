/* SPDX-License-Identifier: Apache-2.0 */
/* processes.c - boxlite_box_processes: asked as work on files is (files.h), because that is done beside the agent's loop. */
#include "runtime/processes.h"

#include <errno.h>
#include <string.h>

#include "runtime/files.h"
#include "runtime/live.h"

#define NUMBERS 8

/* ---- the list ---- */

/* The list, its pointers, its entries and their texts in one piece. */
struct list {
    CBoxProcessList pub;
    CBoxProcess *entries;
    char *texts;
};

void bx_processes_free(CBoxProcessList *list)
{
    struct list *l = (struct list *)list;

    if (!l)
        return;
    free((void *)(uintptr_t)l->pub.items);
    free(l->entries);
    free(l->texts);
    free(l);
}

static int lies(struct bx_err *err)
{
    return bx_fail(err, BX_ERPC, 0, "the box sent something else than a list of processes");
}

/* "pid parent uid state threads cpu_us memory_bytes age_ms\tname\tcommand" */
static int parse_line(char *line, CBoxProcess *ret, struct bx_err *err)
{
    char *name = strchr(line, '\t'), *command = name ? strchr(name + 1, '\t') : NULL, *save = NULL;
    uint64_t n[NUMBERS] = {0};
    size_t i = 0;

    if (!command)
        return lies(err);
    *name++ = *command++ = '\0';
    for (char *word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save), i++) {
        if (i == NUMBERS || (i != 3 && bx_parse_u64(word, 0, INT64_MAX, &n[i]) < 0))
            return lies(err);
        if (i == 3 && (!word[0] || word[1] || word[0] < 'A' || word[0] > 'z'))
            return lies(err);
        n[i] = i == 3 ? (uint64_t)word[0] : n[i];
    }
    if (i != NUMBERS || n[0] > INT32_MAX || n[1] > INT32_MAX || n[2] > UINT32_MAX || n[4] > INT32_MAX)
        return lies(err);
    *ret = (CBoxProcess){.size = sizeof(*ret),
                         .pid = (int32_t)n[0],
                         .parent = (int32_t)n[1],
                         .uid = (uint32_t)n[2],
                         .state = (int32_t)n[3],
                         .threads = (int32_t)n[4],
                         .cpu_us = n[5],
                         .memory_bytes = n[6],
                         .age_ms = n[7],
                         .name = name,
                         .command = command};
    return 0;
}

static int fill(struct list *l, size_t n, struct bx_err *err)
{
    const CBoxProcess **items = calloc(n ? n : 1, sizeof(CBoxProcess *));
    char *line = l->texts;

    l->pub.items = items;
    l->entries = calloc(n ? n : 1, sizeof(CBoxProcess));
    if (!items || !l->entries)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "list processes");
    for (size_t i = 0; i < n; i++) {
        char *end = strchr(line, '\n');
        int r;

        *end = '\0';
        r = parse_line(line, &l->entries[i], err);
        if (r < 0)
            return r;
        items[i] = &l->entries[i];
        line = end + 1;
    }
    l->pub.count = (int32_t)n;
    return *line ? lies(err) : 0;
}

/* What the box's agent writes has none: one that lies must not reach a terminal. */
static bool has_control(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if ((*p < ' ' && *p != '\t' && *p != '\n') || *p == 0x7f)
            return true;
    return false;
}

int bx_processes_parse(char *text, uint64_t left_out, CBoxProcessList **ret, struct bx_err *err)
{
    struct list *l = calloc(1, sizeof(*l));
    size_t n = 0;
    int r;

    if (!l || !(l->texts = strdup(text))) {
        free(l);
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "list processes");
    }
    for (const char *p = text; (p = strchr(p, '\n')); p++)
        n++;
    l->pub.size = sizeof(l->pub);
    l->pub.left_out = (int32_t)BX_MIN(left_out, (uint64_t)INT32_MAX);
    r = n > INT32_MAX || !bx_utf8_valid(text, strlen(text)) || has_control(text) ? lies(err) : fill(l, n, err);
    if (r < 0)
        bx_processes_free(&l->pub);
    else
        *ret = &l->pub;
    return r;
}

/* ---- the call ---- */

/* In the box that runs, and only there. */
static int ask(CBoxHandle *box, struct bx_op *op, struct bx_err *err)
{
    boxlite_FileOp msg = {.op = BX_FILE_PROCESSES, .path = "/proc"};
    struct bx_files *f;
    int r = bx_live_connect(box->box, err);

    if (r < 0)
        return r;
    f = bx_files_new(box->box, op, &msg, err);
    if (!f)
        return -err->code;
    bx_files_launch(f);
    return 0;
}

BoxliteErrorCode boxlite_box_processes(CBoxHandle *box, CBoxProcessListCb cb, void *user_data, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    struct bx_op *op;

    if (!box || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !box ? "box" : "cb");
    if (bx_handle_enter(box, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(box->rt, BX_OP_PROCESSES, (union bx_op_cb){.processes = cb}, user_data, &err);
    if (op && ask(box, op, &why) < 0)
        bx_op_answer(op, &why);
    bx_leave(box->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}
