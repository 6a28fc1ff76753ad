/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.c - counters and figures of a box and of a runtime. */
#include <errno.h>

#include "runtime/live.h"

/* Two looks at a box must be this far apart to give a rate. */
#define SAMPLE_MIN (50 * BX_MSEC)

static int as_int(uint64_t n)
{
    return (int)BX_MIN(n, (uint64_t)INT32_MAX);
}

void bx_metrics_sample(struct bx_box *b)
{
    struct bx_cpu_sample *s = &b->cpu;
    int64_t now = bx_now(), since = s->at, before = (int64_t)s->cpu_ns;

    if (b->info.cpu_ns == 0) /* a BoxInfo without figures */
        return;
    if (since == 0) { /* the first look: its whole life */
        since = now - (int64_t)b->info.uptime_ms * BX_MSEC;
        before = 0;
    }
    if (now - since < SAMPLE_MIN)
        return;
    s->percent = BX_MAX(100.0 * (double)((int64_t)b->info.cpu_ns - before) / (double)(now - since), 0.0);
    s->cpu_ns = b->info.cpu_ns;
    s->at = now;
}

static void metrics_of_info(const struct bx_box *b, CBoxMetrics *m)
{
    const boxlite_BoxInfo *i = &b->info;
    int64_t boot_us = (int64_t)i->spawn_us + i->restore_us + i->start_us;

    m->cpu_percent = b->cpu.percent;
    m->memory_bytes = (int64_t)i->memory_bytes;
    m->commands_executed = as_int(i->execs_total);
    m->exec_errors = as_int(i->exec_errors);
    m->bytes_sent = (int64_t)i->bytes_sent;
    m->bytes_received = (int64_t)i->bytes_received;
    m->network_bytes_sent = (int64_t)i->net.bytes_sent;
    m->network_bytes_received = (int64_t)i->net.bytes_received;
    m->network_tcp_connections = as_int(i->net.connections);
    m->network_tcp_errors = as_int(i->net.refused + i->net.failed);
    m->boot_duration_ms = boot_us / 1000;
    m->create_duration_ms =
        (boot_us + (int64_t)i->setup_us + i->image_us + i->template_us + i->config_us) / 1000;
}

void bx_metrics_answer(struct bx_op *op, struct bx_box *b, bool live)
{
    struct bx_err err = BX_ERR_INIT;
    CBoxMetrics *m = calloc(1, sizeof(*m));
    int r = m ? 0 : bx_fail(&err, BX_ERESOURCE, ENOMEM, "box metrics");

    if (m && live)
        metrics_of_info(b, m);
    else if (m && b->gone)
        r = bx_fail(&err, BX_ENOTFOUND, 0, "%s", b->id);
    op->result = m;
    bx_op_answer(op, r < 0 ? &err : NULL);
}

BoxliteErrorCode boxlite_box_metrics(CBoxHandle *box, CBoxMetricsCb cb, void *user_data,
                                     CBoxliteError *out_error)
{
    if (!box || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !box ? "box" : "cb");
    return bx_live_post(box, BX_OP_BOX_METRICS, (union bx_op_cb){.box_metrics = cb}, user_data, out_error);
}

static int count_running(struct CBoxliteRuntime *rt, int *ret, struct bx_err *err)
{
    struct bx_box_row *rows = NULL;
    size_t n = 0, i;
    int r = bx_store_box_list(rt->store, &rows, &n, err);

    if (r < 0)
        return r;
    for (i = 0; i < n; i++) {
        bx_repair_row(rt, &rows[i]);
        *ret += rows[i].state == BX_BOX_RUNNING;
    }
    bx_box_rows_free(rows, n);
    return 0;
}

BoxliteErrorCode boxlite_runtime_metrics(CBoxliteRuntime *rt, CRuntimeMetricsCb cb, void *user_data,
                                         CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    CRuntimeMetrics *m;
    struct bx_op *op;
    int r;

    if (!rt || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !rt ? "runtime" : "cb");
    if (bx_enter(rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(rt, BX_OP_RUNTIME_METRICS, (union bx_op_cb){.runtime_metrics = cb}, user_data, &err);
    if (op) {
        m = calloc(1, sizeof(*m));
        r = m ? count_running(rt, &m->num_running_boxes, &why)
              : bx_fail(&why, BX_ERESOURCE, ENOMEM, "runtime metrics");
        if (m) {
            m->boxes_created_total = as_int(rt->counts.created);
            m->boxes_failed_total = as_int(rt->counts.failed);
            m->total_commands_executed = as_int(rt->counts.commands);
            m->total_exec_errors = as_int(rt->counts.exec_errors);
        }
        op->result = m;
        bx_op_answer(op, r < 0 ? &why : NULL);
    }
    bx_leave(rt);
    return op ? Ok : bx_api_error(out_error, &err);
}
