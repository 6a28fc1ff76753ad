/* SPDX-License-Identifier: Apache-2.0 */
/* box_facts.c - what boxes are: from their rows, and, of one that runs, from its shim. */
#include "runtime/box.h"

#include <errno.h>
#include <string.h>

#include "runtime/conn.h"

static const char *state_name(int state)
{
    switch (state) {
    case BX_BOX_CONFIGURED:
        return "configured";
    case BX_BOX_RUNNING:
        return "running";
    case BX_BOX_STOPPING:
        return "stopping";
    case BX_BOX_STOPPED:
        return "stopped";
    case BX_BOX_PAUSED:
        return "paused";
    case BX_BOX_FAILED:
        return "failed";
    default:
        return "unknown";
    }
}

/* A row says "running" until the box's end was settled; this runtime may know better. */
static int state_of(struct CBoxliteRuntime *rt, const struct bx_box_row *row)
{
    const struct bx_box *b;

    for (b = rt->boxes; b && row->state == BX_BOX_RUNNING; b = b->next)
        if (b->phase == BX_PHASE_ENDING && bx_streq(b->id, row->id))
            return BX_BOX_STOPPING;
    return row->state;
}

static int info_of_row(struct CBoxliteRuntime *rt, const struct bx_box_row *row, CBoxInfo *ret,
                       struct bx_err *err)
{
    int state = state_of(rt, row);
    BX_CLEANUP(boxlite_options_free_p) struct CBoxliteOptions *o = NULL;
    int r = bx_options_from_json(row->options, &o, err);

    if (r < 0)
        return bx_prefix(err, "box %s", row->id);
    ret->id = bx_strf("%s", row->id);
    ret->name = row->name ? bx_strf("%s", row->name) : NULL;
    ret->image = bx_strf("%s", o->image);
    ret->status = bx_strf("%s", state_name(state));
    ret->network = calloc(1, sizeof(*ret->network));
    if (!ret->id || !ret->image || !ret->status || !ret->network || (row->name && !ret->name))
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "box %s", row->id);
    ret->network->mode = BoxliteNetworkModeDisabled;
    ret->running = state == BX_BOX_RUNNING;
    ret->pid = ret->running ? row->pid : 0;
    ret->cpus = o->cpus;
    ret->memory_mib = o->memory_mib;
    ret->auto_delete = bx_options_remove_on_stop(o) ? BX_MAX(o->auto_delete, 1u) : 0;
    ret->auto_resume = 1;
    ret->created_at = row->created_ms / 1000;
    ret->started_at = row->started_ms;
    return 0;
}

/* The info of one box as an op's answer. */
static void answer_info(struct CBoxliteRuntime *rt, const char *id_or_name, struct bx_op *op)
{
    struct bx_box_row row = {0};
    struct bx_err err = BX_ERR_INIT;
    CBoxInfo *info = calloc(1, sizeof(*info));
    int r;

    r = info ? bx_row_get(rt, id_or_name, &row, &err) : bx_fail(&err, BX_ERESOURCE, ENOMEM, "box info");
    if (r >= 0)
        r = info_of_row(rt, &row, info, &err);
    bx_box_row_done(&row);
    op->result = info;
    bx_op_answer(op, r < 0 ? &err : NULL);
}

BoxliteErrorCode boxlite_box_info(CBoxHandle *box, CBoxInfoCb cb, void *user_data, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_op *op;

    if (!box || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !box ? "box" : "cb");
    if (bx_enter(box->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(box->rt, BX_OP_BOX_INFO, (union bx_op_cb){.box_info = cb}, user_data, &err);
    if (op)
        answer_info(box->rt, box->box->id, op);
    bx_leave(box->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}

BoxliteErrorCode boxlite_get_info(CBoxliteRuntime *rt, const char *id_or_name, CBoxInfoCb cb, void *user_data,
                                  CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_op *op;

    if (!rt || !id_or_name || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !rt ? "runtime" : !id_or_name ? "id_or_name" : "cb");
    if (bx_enter(rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(rt, BX_OP_BOX_INFO, (union bx_op_cb){.box_info = cb}, user_data, &err);
    if (op)
        answer_info(rt, id_or_name, op);
    bx_leave(rt);
    return op ? Ok : bx_api_error(out_error, &err);
}

static int list_locked(struct CBoxliteRuntime *rt, CBoxInfoList *list, struct bx_err *err)
{
    struct bx_box_row *rows = NULL;
    size_t n = 0, i;
    int r = bx_store_box_list(rt->store, &rows, &n, err);

    if (r < 0)
        return r;
    list->items = calloc(n ? n : 1, sizeof(list->items[0]));
    if (!list->items) {
        bx_box_rows_free(rows, n);
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "list boxes");
    }
    for (i = 0; i < n && r >= 0; i++) {
        bx_repair_row(rt, &rows[i]);
        if (rows[i].state == 0)
            continue;  /* removed by that */
        list->count++; /* also half filled: it is freed with the list */
        r = info_of_row(rt, &rows[i], &list->items[list->count - 1], err);
    }
    bx_box_rows_free(rows, n);
    return r;
}

BoxliteErrorCode boxlite_list_info(CBoxliteRuntime *rt, CBoxInfoListCb cb, void *user_data,
                                   CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    CBoxInfoList *list;
    struct bx_op *op;
    int r;

    if (!rt || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !rt ? "runtime" : "cb");
    if (bx_enter(rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(rt, BX_OP_BOX_LIST, (union bx_op_cb){.box_list = cb}, user_data, &err);
    if (op) {
        list = calloc(1, sizeof(*list));
        r = list ? list_locked(rt, list, &why) : bx_fail(&why, BX_ERESOURCE, ENOMEM, "list boxes");
        op->result = list;
        bx_op_answer(op, r < 0 ? &why : NULL);
    }
    bx_leave(rt);
    return op ? Ok : bx_api_error(out_error, &err);
}

static void details_of_row(struct CBoxliteRuntime *rt, const struct bx_box_row *row, struct CBoxliteInfo *d)
{
    bx_info_add(d, "id", row->id);
    bx_info_add(d, "name", row->name);
    bx_info_add(d, "status", state_name(row->state));
    bx_info_add(d, "image", row->image);
    bx_info_add(d, "engine", row->engine);
    if (row->message && row->message[0])
        bx_info_add(d, "message", row->message);
    if (row->has_exit)
        bx_info_addf(d, "exit_code", "%d", row->exit_code);
    bx_info_add(d, "detached", row->detached ? "1" : "0");
    bx_info_addf(d, "created_at_ms", "%lld", (long long)row->created_ms);
    if (row->started_ms)
        bx_info_addf(d, "started_at_ms", "%lld", (long long)row->started_ms);
    if (row->stopped_ms)
        bx_info_addf(d, "stopped_at_ms", "%lld", (long long)row->stopped_ms);
    bx_info_addf(d, "dir", "%s/boxes/%s", rt->home, row->id);
}

static void details_of_info(const boxlite_BoxInfo *i, struct CBoxliteInfo *d)
{
    char text[sizeof(i->jail)];

    bx_info_addf(d, "pid", "%u", i->shim_pid);
    bx_info_addf(d, "qemu_pid", "%u", i->qemu_pid);
    bx_str_printable(text, sizeof(text), i->kernel, strlen(i->kernel));
    bx_info_add(d, "kernel", text);
    bx_str_printable(text, sizeof(text), i->jail, strlen(i->jail));
    bx_info_add(d, "jail", text);
    bx_info_addf(d, "spawn_us", "%u", i->spawn_us);
    bx_info_addf(d, "restore_us", "%u", i->restore_us);
    bx_info_addf(d, "start_us", "%u", i->start_us);
    bx_info_addf(d, "memory_bytes", "%llu", (unsigned long long)i->memory_bytes);
    bx_info_addf(d, "cpu_ns", "%llu", (unsigned long long)i->cpu_ns);
    bx_info_addf(d, "execs_total", "%u", i->execs_total);
    bx_info_addf(d, "execs_running", "%u", i->execs_running);
    bx_info_addf(d, "clients", "%u", i->clients);
}

static void details_answer(struct bx_op *op, struct bx_box *b, bool live)
{
    struct bx_box_row row = {0};
    struct bx_err err = BX_ERR_INIT;
    struct CBoxliteInfo *d = bx_info_new();
    int r = d ? bx_row_get(b->rt, b->id, &row, &err) : bx_fail(&err, BX_ERESOURCE, ENOMEM, "box details");

    if (r >= 0) {
        details_of_row(b->rt, &row, d);
        if (live)
            details_of_info(&b->info, d);
    }
    bx_box_row_done(&row);
    op->result = d;
    bx_op_answer(op, r < 0 ? &err : NULL);
}

/* BoxInfo came, or the box went. */
static void details_on_answer(void *ud, const struct bx_err *err)
{
    struct bx_op *op = ud;
    struct bx_box *b = op->handle->box;
    struct CBoxHandle *h = op->handle;

    details_answer(op, b, err == NULL);
    bx_handle_free_locked(h);
}

BoxliteErrorCode boxlite_box_details(CBoxHandle *box, CBoxliteInfoCb cb, void *user_data,
                                     CBoxliteError *out_error)
{
    boxlite_BoxInfoGet get = boxlite_BoxInfoGet_init_zero;
    struct bx_err err = BX_ERR_INIT;
    struct bx_conn *c;
    struct bx_op *op;

    if (!box || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !box ? "box" : "cb");
    if (bx_enter(box->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(box->rt, BX_OP_INFO, (union bx_op_cb){.info = cb}, user_data, &err);
    c = box->box->phase == BX_PHASE_UP ? box->box->conn : NULL;
    if (op && c)
        op->handle = bx_handle_new(box->box, NULL);
    if (op && op->handle) {
        get.request = bx_conn_request_info(c, details_on_answer, op);
        if (get.request == 0 || bx_msg_send(&c->link, BX_MSG_BOX_INFO_GET, 0, &get, NULL) < 0) {
            bx_conn_forget(c, op);
            details_on_answer(op, &err);
        }
        bx_conn_flush(c);
    } else if (op) {
        details_answer(op, box->box, false);
    }
    bx_leave(box->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}
