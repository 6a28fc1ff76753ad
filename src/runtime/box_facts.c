/* SPDX-License-Identifier: Apache-2.0 */
/* box_facts.c - what boxes are, from their rows. */
#include "runtime/box.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "host/shim_plan.h"

/* The supervisor of a box says that it is paused; its row does not, because there may be no program left to write it. */
int bx_row_state(const struct CBoxliteRuntime *rt, const struct bx_box_row *row)
{
    char mark[BX_ID_LEN + sizeof("/" BX_PAUSED_MARK)];

    if (!bx_state_may(row->state, BX_BOX_PAUSED))
        return row->state;
    snprintf(mark, sizeof(mark), "%s/" BX_PAUSED_MARK, row->id);
    return faccessat(rt->boxes_fd, mark, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ? BX_BOX_PAUSED : row->state;
}

/* A row says "running" until the box's end was settled; this runtime may know better. */
static int state_of(struct CBoxliteRuntime *rt, const struct bx_box_row *row)
{
    const struct bx_box *b;

    for (b = rt->boxes; b && bx_state_active(row->state); b = b->next)
        if (b->phase == BX_PHASE_ENDING && bx_streq(b->id, row->id))
            return BX_BOX_STOPPING;
    return bx_row_state(rt, row);
}

/* With the ports that the box has told, when this runtime has a link to it. */
static CNetworkInfo *network_of(const struct CBoxliteRuntime *rt, const struct bx_box_row *row, const struct CBoxliteOptions *o)
{
    for (const struct bx_box *b = rt->boxes; b; b = b->next)
        if (b->conn && b->info.ports_count > 0 && bx_streq(b->id, row->id))
            return bx_network_info(&o->network, b->info.ports, b->info.ports_count);
    return bx_network_info(&o->network, NULL, 0);
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
    ret->image = bx_strf("%s", o->rootfs_path ? o->rootfs_path : o->image);
    ret->status = bx_strf("%s", bx_state_name(state));
    ret->network = network_of(rt, row, o);
    if (!ret->id || !ret->image || !ret->status || !ret->network || (row->name && !ret->name))
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "box %s", row->id);
    ret->running = state == BX_BOX_RUNNING;
    ret->pid = ret->running || state == BX_BOX_PAUSED ? row->pid : 0;
    ret->cpus = o->cpus;
    ret->memory_mib = o->memory_mib;
    ret->auto_delete = bx_options_remove_on_stop(o) ? BX_MAX(o->auto_delete, 1u) : 0;
    ret->auto_resume = !o->no_auto_resume;
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
