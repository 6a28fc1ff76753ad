/* SPDX-License-Identifier: Apache-2.0 */
/* queue.c - events waiting for drain, and posted calls: see the theory of operation in runtime.h. */
#include "runtime/runtime.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "runtime/box.h"
#include "runtime/collect.h"
#include "runtime/doctor.h"
#include "runtime/exec.h"
#include "runtime/files.h"
#include "runtime/processes.h"

void bx_queue_event(struct CBoxliteRuntime *rt, struct bx_ev *ev)
{
    if (ev->queued || rt->freed)
        return;
    ev->queued = true;
    ev->next = NULL;
    *rt->ev_tail = ev;
    rt->ev_tail = &ev->next;
    rt->ev_count++;
}

bool bx_unqueue_event(struct CBoxliteRuntime *rt, struct bx_ev *ev)
{
    struct bx_ev **p;

    if (!ev->queued)
        return false;
    for (p = &rt->ev_first; *p != ev; p = &(*p)->next)
        ;
    *p = ev->next;
    if (!*p)
        rt->ev_tail = p;
    ev->queued = false;
    rt->ev_count--;
    return true;
}

/* What an op's result is freed with when nobody is there to take it. Lock held. */
static void op_drop_result(struct bx_op *op)
{
    if (!op->result)
        return;
    switch (op->kind) {
    case BX_OP_BOX:
    case BX_OP_BOX_MADE:
        bx_handle_free_locked(op->result);
        break;
    case BX_OP_BOX_INFO:
        boxlite_free_box_info(op->result);
        break;
    case BX_OP_BOX_LIST:
        boxlite_free_box_info_list(op->result);
        break;
    case BX_OP_EXEC:
    case BX_OP_SYNC:
        bx_exec_abandon(op->result);
        break;
    case BX_OP_PULLED:
        boxlite_free_image_pull_result(op->result);
        break;
    case BX_OP_IMAGE_LIST:
        boxlite_free_image_info_list(op->result);
        break;
    case BX_OP_INFO:
        boxlite_info_free(op->result);
        break;
    case BX_OP_PRUNED:
        bx_prune_result_free(op->result);
        break;
    case BX_OP_BOX_METRICS:
    case BX_OP_RUNTIME_METRICS:
        free(op->result);
        break;
    case BX_OP_COPIED:
    case BX_OP_FILE_DATA:
    case BX_OP_FILE_INFO:
    case BX_OP_FILE_LIST:
        bx_files_result_free(op->kind, op->result);
        break;
    case BX_OP_PROCESSES:
        bx_processes_free(op->result);
        break;
    case BX_OP_DOCTOR:
        bx_doctor_report_free(op->result);
        break;
    case BX_OP_RULES:
        bx_strv_free(op->result);
        break;
    case BX_OP_PLAIN:
    case BX_OP_PAUSE:
    case BX_OP_RESUME:
    case BX_OP_WAIT:
        break;
    }
    op->result = NULL;
}

static void op_drop(struct CBoxliteRuntime *rt, struct bx_ev *ev)
{
    struct bx_op *op = BX_CONTAINER_OF(ev, struct bx_op, ev);

    op_drop_result(op);
    rt->ops--;
    free(op);
}

static void op_call(struct bx_op *op, CBoxliteError *e)
{
    switch (op->kind) {
    case BX_OP_PLAIN:
    case BX_OP_PAUSE:
    case BX_OP_RESUME:
        op->cb.plain(e, op->ud);
        break;
    case BX_OP_BOX:
        op->cb.box(op->result, e, op->ud);
        break;
    case BX_OP_BOX_MADE:
        op->cb.made(op->result, op->flag, e, op->ud);
        break;
    case BX_OP_BOX_INFO:
        op->cb.box_info(op->result, e, op->ud);
        break;
    case BX_OP_BOX_LIST:
        op->cb.box_list(op->result, e, op->ud);
        break;
    case BX_OP_EXEC:
        op->cb.exec(op->result, e, op->ud);
        break;
    case BX_OP_WAIT:
        op->cb.wait(op->code, e, op->ud);
        break;
    case BX_OP_PULLED:
        op->cb.pulled(op->result, e, op->ud);
        break;
    case BX_OP_IMAGE_LIST:
        op->cb.image_list(op->result, e, op->ud);
        break;
    case BX_OP_INFO:
        op->cb.info(op->result, e, op->ud);
        break;
    case BX_OP_PRUNED:
        op->cb.pruned(op->result, e, op->ud);
        bx_prune_result_free(op->result);
        break;
    case BX_OP_COPIED:
    case BX_OP_FILE_DATA:
    case BX_OP_FILE_INFO:
    case BX_OP_FILE_LIST:
        bx_files_call(op, e);
        break;
    case BX_OP_PROCESSES:
        op->cb.processes(op->result, e, op->ud);
        bx_processes_free(op->result);
        break;
    case BX_OP_DOCTOR:
        op->cb.doctor(op->result, e, op->ud);
        bx_doctor_report_free(op->result);
        break;
    case BX_OP_RULES:
        op->cb.plain(e, op->ud);
        bx_strv_free(op->result);
        break;
    case BX_OP_BOX_METRICS:
        op->cb.box_metrics(op->result, e, op->ud);
        free(op->result);
        break;
    case BX_OP_RUNTIME_METRICS:
        op->cb.runtime_metrics(op->result, e, op->ud);
        free(op->result);
        break;
    case BX_OP_SYNC:
        break;
    }
}

static bool op_deliver(struct CBoxliteRuntime *rt, struct bx_ev *ev)
{
    struct bx_op *op = BX_CONTAINER_OF(ev, struct bx_op, ev);
    CBoxliteError e = {Ok, NULL};
    bool failed = op->err.code != 0;

    if (failed) {
        op_drop_result(op);
        e.code = (BoxliteErrorCode)op->err.code;
        e.message = bx_api_message(&op->err);
    }
    rt->ops--;
    bx_user_begin(rt);
    op_call(op, failed ? &e : NULL);
    bx_user_end(rt);
    free(e.message);
    free(op);
    return true;
}

struct bx_op *bx_op_new(struct CBoxliteRuntime *rt, enum bx_op_kind kind, union bx_op_cb cb, void *ud,
                        struct bx_err *err)
{
    struct bx_op *op;

    if (rt->ops >= QUEUE_CAPACITY) {
        bx_fail(err, BX_ERESOURCE, 0, "%d calls are unanswered: drain the runtime", QUEUE_CAPACITY);
        return NULL;
    }
    op = calloc(1, sizeof(*op));
    if (!op) {
        bx_fail(err, BX_ERESOURCE, ENOMEM, "post a call");
        return NULL;
    }
    op->ev.deliver = op_deliver;
    op->ev.drop = op_drop;
    op->kind = kind;
    op->cb = cb;
    op->ud = ud;
    op->rt = rt;
    op->code = -1;
    op->wake_fd = -1;
    rt->ops++;
    return op;
}

void bx_op_answer(struct bx_op *op, const struct bx_err *err)
{
    if (err && err->code)
        op->err = *err;
    if (op->kind == BX_OP_SYNC) {
        const uint64_t one = 1;

        op->done = true;
        (void)!write(op->wake_fd, &one, sizeof(one)); /* cannot fail: a counter that was 0 */
        return;
    }
    if (op->rt->freed)
        op_drop(op->rt, &op->ev);
    else
        bx_queue_event(op->rt, &op->ev);
}

void bx_op_cancel(struct bx_op *op)
{
    op_drop_result(op);
    op->rt->ops--;
    free(op);
}

void bx_op_list_init(struct bx_op_list *l)
{
    l->first = NULL;
    l->tail = &l->first;
}

void bx_op_list_add(struct bx_op_list *l, struct bx_op *op)
{
    op->next = NULL;
    *l->tail = op;
    l->tail = &op->next;
}

struct bx_op *bx_op_list_take(struct bx_op_list *l)
{
    struct bx_op *op = l->first;

    if (!op)
        return NULL;
    l->first = op->next;
    if (!l->first)
        l->tail = &l->first;
    op->next = NULL;
    return op;
}

void bx_op_list_answer(struct bx_op_list *l, const struct bx_err *err)
{
    struct bx_op *op;

    while ((op = bx_op_list_take(l)))
        bx_op_answer(op, err);
}
