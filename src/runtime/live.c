/* SPDX-License-Identifier: Apache-2.0 */
/* live.c - what a box that runs says of itself: see live.h; and the facts of boxlite_box_details. */
#include "runtime/live.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "disk/qcow2.h"
#include "runtime/conn.h"
#include "runtime/network.h"

#define CONNECT_DEADLINE (10 * BX_SEC)

/* ---- details ---- */

static void details_of_row(struct CBoxliteRuntime *rt, const struct bx_box_row *row, struct CBoxliteInfo *d)
{
    bx_info_add(d, "id", row->id);
    bx_info_add(d, "name", row->name);
    bx_info_add(d, "status", bx_state_name(bx_row_state(rt, row)));
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

/* Made at the first start. */
static void details_of_disk(struct bx_box *b, const struct bx_box_row *row, struct CBoxliteInfo *d)
{
    int dir = bx_box_dir(b, NULL);
    bx_cleanup_close int fd = dir < 0 ? -1 : openat(dir, "disk.qcow2", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    uint64_t size;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return;
    bx_info_addf(d, "disk", "%s/boxes/%s/disk.qcow2", b->rt->home, b->id);
    bx_info_addf(d, "disk_bytes", "%llu", (unsigned long long)st.st_blocks * 512);
    if (bx_qcow2_size(fd, &size, NULL) == 0)
        bx_info_addf(d, "disk_size", "%llu", (unsigned long long)size);
    if (row->disk)
        bx_info_addf(d, "disk_base", "%s/disks/%s", b->rt->home, row->disk);
}

static void details_of_health(const boxlite_BoxInfo *i, struct CBoxliteInfo *d)
{
    char text[2 * sizeof(i->health_output)];

    if (i->health == BX_HEALTH_NONE)
        return;
    bx_info_add(d, "health", bx_health_name(i->health));
    bx_info_addf(d, "health_failures", "%u", i->health_failures);
    if (i->health_checked_ms)
        bx_info_addf(d, "health_checked_at_ms", "%lld", (long long)i->health_checked_ms);
    bx_str_printable(text, sizeof(text), i->health_output, strlen(i->health_output));
    bx_info_add(d, "health_output", text);
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
    bx_info_addf(d, "exec_errors", "%u", i->exec_errors);
    bx_info_addf(d, "bytes_sent", "%llu", (unsigned long long)i->bytes_sent);
    bx_info_addf(d, "bytes_received", "%llu", (unsigned long long)i->bytes_received);
    bx_info_addf(d, "clients", "%u", i->clients);
    bx_info_addf(d, "uptime_ms", "%u", i->uptime_ms);
    bx_info_addf(d, "stage_filesystem_setup_us", "%u", i->setup_us);
    bx_info_addf(d, "stage_image_prepare_us", "%u", i->image_us);
    bx_info_addf(d, "stage_guest_rootfs_us", "%u", i->template_us);
    bx_info_addf(d, "stage_box_config_us", "%u", i->config_us);
    bx_info_addf(d, "stage_box_spawn_us", "%u", i->spawn_us + i->restore_us);
    bx_info_addf(d, "stage_container_init_us", "%u", i->start_us);
    if (i->network) {
        bx_info_addf(d, "network_bytes_sent", "%llu", (unsigned long long)i->net.bytes_sent);
        bx_info_addf(d, "network_bytes_received", "%llu", (unsigned long long)i->net.bytes_received);
        bx_info_addf(d, "network_connections", "%u", i->net.connections);
        bx_info_addf(d, "network_connections_total", "%llu", (unsigned long long)i->net.connections_total);
        bx_info_addf(d, "network_refused", "%llu", (unsigned long long)i->net.refused);
        bx_info_addf(d, "network_failed", "%llu", (unsigned long long)i->net.failed);
        bx_network_refusals(i, d);
    }
    details_of_health(i, d);
    if (i->guest.memory_max == 0)
        return; /* the agent did not say in time */
    bx_info_addf(d, "guest_memory_bytes", "%llu", (unsigned long long)i->guest.memory_bytes);
    bx_info_addf(d, "guest_memory_max", "%llu", (unsigned long long)i->guest.memory_max);
    bx_info_addf(d, "guest_cpu_us", "%llu", (unsigned long long)i->guest.cpu_us);
    bx_info_addf(d, "guest_processes", "%u", i->guest.processes);
}

static int details_of_options(const struct bx_box_row *row, struct CBoxliteInfo *d, struct bx_err *err)
{
    BX_CLEANUP(boxlite_options_free_p) struct CBoxliteOptions *o = NULL;
    int r = bx_options_from_json(row->options, &o, err);

    if (r < 0)
        return bx_prefix(err, "box %s", row->id);
    return bx_advanced_facts(&o->advanced, d) < 0 || bx_health_facts(&o->health, d) < 0 ? bx_fail(err, BX_ERESOURCE, ENOMEM, "box details") : 0;
}

static void details_answer(struct bx_op *op, struct bx_box *b, bool live)
{
    struct bx_box_row row = {0};
    struct bx_err err = BX_ERR_INIT;
    struct CBoxliteInfo *d = bx_info_new();
    int r = d ? bx_row_get(b->rt, b->id, &row, &err) : bx_fail(&err, BX_ERESOURCE, ENOMEM, "box details");

    if (r >= 0) {
        details_of_row(b->rt, &row, d);
        details_of_disk(b, &row, d);
        r = details_of_options(&row, d, &err);
        if (live)
            details_of_info(&b->info, d);
    }
    bx_box_row_done(&row);
    op->result = d;
    bx_op_answer(op, r < 0 ? &err : NULL);
}

/* ---- asking ---- */

static void answer(struct bx_op *op, struct bx_box *b, bool live)
{
    struct CBoxHandle *h = op->handle;

    if (op->kind == BX_OP_PAUSE || op->kind == BX_OP_RESUME) {
        bx_pause_not_up(op, b);
        return;
    }
    if (op->kind == BX_OP_RULES) {
        bx_rules_not_up(op, b);
        return;
    }
    op->handle = NULL;
    if (op->kind == BX_OP_INFO)
        details_answer(op, b, live);
    else
        bx_metrics_answer(op, b, live);
    bx_handle_free_locked(h);
}

/* BoxInfo came, or the box went. */
static void on_box_info(void *ud, const struct bx_err *err)
{
    struct bx_op *op = ud;

    answer(op, op->handle->box, err == NULL);
}

static void ask(struct bx_op *op, struct bx_box *b)
{
    boxlite_BoxInfoGet get = boxlite_BoxInfoGet_init_zero;

    if (op->kind == BX_OP_PAUSE || op->kind == BX_OP_RESUME) {
        bx_pause_ask(op, b);
        return;
    }
    if (op->kind == BX_OP_RULES) {
        bx_rules_ask(op, b);
        return;
    }
    get.request = bx_conn_request_info(b->conn, on_box_info, op);
    if (get.request == 0 || bx_msg_send(&b->conn->link, BX_MSG_BOX_INFO_GET, 0, &get, NULL) < 0) {
        bx_conn_forget(b->conn, op);
        answer(op, b, false);
    }
    bx_conn_flush(b->conn);
}

void bx_live_up(struct bx_box *b)
{
    struct bx_op *op;

    while ((op = bx_op_list_take(&b->live_ops)))
        ask(op, b);
}

void bx_live_down(struct bx_box *b, const struct bx_err *why)
{
    struct bx_op *op;

    while ((op = bx_op_list_take(&b->live_ops))) {
        struct CBoxHandle *h = op->handle;

        if (!why) {
            answer(op, b, false);
            continue;
        }
        op->handle = NULL;
        bx_op_answer(op, why);
        bx_handle_free_locked(h);
    }
}

/* Another program's box, which this one has not spoken to yet. */
static bool runs_elsewhere(struct bx_box *b)
{
    struct bx_box_row row = {0};
    bool runs = bx_row_get(b->rt, b->id, &row, NULL) >= 0 &&
                bx_state_active(row.state);

    bx_box_row_done(&row);
    return runs;
}

int bx_live_connect(struct bx_box *b, struct bx_err *err)
{
    int r;

    if (b->gone)
        return bx_fail(err, BX_ENOTFOUND, 0, "%s", b->id);
    if (b->phase == BX_PHASE_STARTING || b->phase == BX_PHASE_CONNECTING || b->phase == BX_PHASE_UP)
        return 0;
    if (b->phase == BX_PHASE_ENDING || !runs_elsewhere(b))
        return bx_fail(err, BX_ESTATE, 0, "box %s does not run", b->name ? b->name : b->id);
    r = bx_box_connect(b, bx_now() + CONNECT_DEADLINE, err);
    if (r < 0)
        b->phase = BX_PHASE_IDLE;
    return r;
}

static void ask_or_connect(struct bx_op *op, struct bx_box *b)
{
    struct bx_err ignored;

    (void)bx_live_connect(b, &ignored); /* it has just ended, or is about to: whoever uses it next finds out */
    if (b->phase == BX_PHASE_UP)
        ask(op, b);
    else if (b->phase == BX_PHASE_CONNECTING || (b->phase == BX_PHASE_STARTING && op->kind == BX_OP_RULES))
        bx_op_list_add(&b->live_ops, op);
    else
        answer(op, b, false);
}

void bx_live_finish(struct bx_op *op, const struct bx_err *err)
{
    struct CBoxHandle *h = op->handle;

    op->handle = NULL;
    bx_op_answer(op, err);
    bx_handle_free_locked(h);
}

bool bx_live_begin(struct bx_op *op, CBoxHandle *box, struct bx_err *err)
{
    op->handle = bx_handle_new(box->box, err);
    if (!op->handle) {
        bx_op_cancel(op);
        return false;
    }
    ask_or_connect(op, box->box);
    return true;
}

BoxliteErrorCode bx_live_post(CBoxHandle *box, enum bx_op_kind kind, union bx_op_cb cb, void *user_data,
                              CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_op *op;
    int r = kind == BX_OP_PAUSE || kind == BX_OP_RESUME ? bx_handle_enter(box, &err) : bx_enter(box->rt, &err);

    if (r < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(box->rt, kind, cb, user_data, &err);
    if (op && !bx_live_begin(op, box, &err))
        op = NULL;
    bx_leave(box->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}

BoxliteErrorCode boxlite_box_details(CBoxHandle *box, CBoxliteInfoCb cb, void *user_data,
                                     CBoxliteError *out_error)
{
    if (!box || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !box ? "box" : "cb");
    return bx_live_post(box, BX_OP_INFO, (union bx_op_cb){.info = cb}, user_data, out_error);
}
