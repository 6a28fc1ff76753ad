/* SPDX-License-Identifier: Apache-2.0 */
/* box.c - live boxes and handles on them; the calls that make, find, start, stop and remove boxes. */
#include "runtime/box.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/conn.h"
#include "runtime/events.h"
#include "runtime/exec.h"
#include "runtime/files.h"
#include "runtime/tunnel.h"
#include "runtime/live.h"

/* ---- live boxes ---- */

static struct bx_box *box_new(struct CBoxliteRuntime *rt, const struct bx_box_row *row, struct bx_err *err)
{
    struct bx_box *b = calloc(1, sizeof(*b));

    if (!b) {
        bx_fail(err, BX_ERESOURCE, ENOMEM, "box %s", row->id);
        return NULL;
    }
    if (bx_options_from_json(row->options, &b->options, err) < 0) {
        bx_prefix(err, "box %s", row->id);
        free(b);
        return NULL;
    }
    b->rt = rt;
    b->dir_fd = b->restart_fd = b->wait_fd = -1;
    b->detach = b->options->detach;
    memcpy(b->id, row->id, BX_MIN(strlen(row->id), (size_t)BX_ID_LEN));
    b->name = row->name ? bx_strf("%s", row->name) : NULL;
    bx_op_list_init(&b->up_ops);
    bx_op_list_init(&b->down_ops);
    bx_op_list_init(&b->restart_ops);
    bx_op_list_init(&b->live_ops);
    bx_op_list_init(&b->wait_ops);
    b->next = rt->boxes;
    rt->boxes = b;
    return b;
}

struct bx_box *bx_box_of_row(struct CBoxliteRuntime *rt, const struct bx_box_row *row, struct bx_err *err)
{
    struct bx_box *b;

    for (b = rt->boxes; b; b = b->next)
        if (bx_streq(b->id, row->id) && !b->gone)
            break;
    if (!b)
        b = box_new(rt, row, err);
    if (b)
        b->refs++;
    return b;
}

int bx_row_get(struct CBoxliteRuntime *rt, const char *id_or_name, struct bx_box_row *ret, struct bx_err *err)
{
    int r = bx_store_box_get(rt->store, id_or_name, ret, err);

    if (r == -BX_ENOTFOUND)
        return bx_fail(err, BX_ENOTFOUND, 0, "%.200s", id_or_name);
    if (r >= 0 && bx_repair_row(rt, ret) && ret->state == 0) { /* it was to go when it stopped */
        bx_box_row_done(ret);
        return bx_fail(err, BX_ENOTFOUND, 0, "%.200s", id_or_name);
    }
    return r;
}

struct bx_box *bx_box_find(struct CBoxliteRuntime *rt, const char *id_or_name, struct bx_err *err)
{
    struct bx_box_row row = {0};
    struct bx_box *b;

    if (bx_row_get(rt, id_or_name, &row, err) < 0)
        return NULL;
    b = bx_box_of_row(rt, &row, err);
    bx_box_row_done(&row);
    return b;
}

static void box_free(struct bx_box *b)
{
    bx_close(b->dir_fd);
    bx_close(b->restart_fd);
    bx_strv_free(b->main_argv);
    free(b->tunnels);
    boxlite_options_free(b->options);
    free(b->name);
    free(b);
}

void bx_box_ref(struct bx_box *b)
{
    b->refs++;
}

void bx_box_unref(struct bx_box *b)
{
    bx_assert(b->refs > 0);
    if (--b->refs > 0)
        return;
    if (b->rt->freed)
        box_free(b);
    else
        bx_defer_set(b->rt->sweep); /* not at once: the caller may be in the middle of it */
}

int bx_box_dir(struct bx_box *b, struct bx_err *err)
{
    if (b->dir_fd >= 0)
        return b->dir_fd;
    b->dir_fd = openat(b->rt->boxes_fd, b->id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (b->dir_fd < 0)
        return bx_fail(err, errno == ENOENT ? BX_ENOTFOUND : BX_ESTORAGE, errno, "open %s/boxes/%s",
                       b->rt->home, b->id);
    return b->dir_fd;
}

static bool box_needed(const struct bx_box *b)
{
    return b->refs > 0 || b->start || b->settle || b->conn || b->up_ops.first || b->down_ops.first ||
           b->restart_ops.first;
}

void bx_sweep(struct bx_source *s, void *ud)
{
    struct CBoxliteRuntime *rt = ud;
    struct bx_box **p = &rt->boxes, *b;

    (void)s;
    while ((b = *p)) {
        if (box_needed(b)) {
            p = &b->next;
            continue;
        }
        *p = b->next;
        box_free(b);
    }
}

unsigned bx_boxes_owned(struct CBoxliteRuntime *rt)
{
    const struct bx_box *b;
    unsigned n = 0;

    for (b = rt->boxes; b; b = b->next)
        n += b->phase != BX_PHASE_IDLE &&
             (b->owned || b->phase == BX_PHASE_STARTING || b->phase == BX_PHASE_ENDING);
    return n;
}

void bx_boxes_stop_owned(struct CBoxliteRuntime *rt, bool force)
{
    struct bx_box *b;

    for (b = rt->boxes; b; b = b->next)
        if (b->phase != BX_PHASE_IDLE && (b->owned || b->phase == BX_PHASE_STARTING))
            bx_box_want_down(b, force);
}

void bx_boxes_end(struct CBoxliteRuntime *rt)
{
    struct bx_err why = BX_ERR_INIT;
    struct bx_box *b, *next;

    bx_fail(&why, BX_ESTOPPED, 0, "the runtime was freed");
    for (b = rt->boxes; b; b = b->next) {
        b->refs++;
        bx_start_free(b->start);
        b->start = NULL;
        bx_settle_free(b->settle);
        b->settle = NULL;
        bx_conn_close(b, &why);
        while (b->execs)
            bx_exec_fail(b->execs, &why);
        bx_files_fail(b, BX_FILES_WAITING | BX_FILES_SENT, &why);
        bx_tunnels_fail(b, true);
        bx_op_list_answer(&b->up_ops, &why);
        bx_op_list_answer(&b->down_ops, &why);
        bx_op_list_answer(&b->restart_ops, &why);
        bx_live_down(b, &why);
        bx_wait_fail(b, &why);
        b->phase = BX_PHASE_IDLE;
        b->refs--;
    }
    for (b = rt->boxes; b; b = next) { /* those of handles stay, for their id */
        next = b->next;
        b->next = NULL;
        if (b->refs == 0)
            box_free(b);
    }
    rt->boxes = NULL;
}

/* ---- handles ---- */

struct CBoxHandle *bx_handle_new(struct bx_box *b, struct bx_err *err)
{
    struct CBoxHandle *h = calloc(1, sizeof(*h));

    if (!h) {
        bx_fail(err, BX_ERESOURCE, ENOMEM, "box %s", b->id);
        return NULL;
    }
    h->rt = b->rt;
    h->box = b;
    bx_box_ref(b);
    bx_rt_ref(b->rt);
    return h;
}

/* Drops the handle's references but that on the runtime. */
static void handle_release(struct CBoxHandle *h)
{
    bx_box_unref(h->box);
    free(h);
}

/* Where somebody else holds a reference on the runtime. */
void bx_handle_free_locked(struct CBoxHandle *h)
{
    struct CBoxliteRuntime *rt = h->rt;

    handle_release(h);
    bx_assert(rt->refs > 1);
    rt->refs--;
}

void boxlite_box_free(CBoxHandle *box)
{
    struct CBoxliteRuntime *rt;

    if (!box)
        return;
    rt = box->rt;
    pthread_mutex_lock(&rt->lock);
    handle_release(box);
    if (!bx_rt_unref(rt))
        bx_leave(rt);
}

int bx_handle_enter(struct CBoxHandle *h, struct bx_err *err)
{
    int r = bx_enter(h->rt, err);

    if (r < 0)
        return r;
    if (!h->stopped)
        return 0;
    bx_leave(h->rt);
    return bx_fail(err, BX_ESTOPPED, 0,
                   "Handle invalidated after stop(). Use runtime.get() to get a new handle.");
}

BoxliteErrorCode boxlite_box_set_detached(CBoxHandle *box, int detached, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;

    if (!box)
        return bx_api_invalid(out_error, "box is NULL");
    if (bx_handle_enter(box, &err) < 0)
        return bx_api_error(out_error, &err);
    box->box->detach = detached != 0;
    bx_leave(box->rt);
    return Ok;
}

char *boxlite_box_id(CBoxHandle *box)
{
    return box ? bx_strf("%s", box->box->id) : NULL;
}

char *boxlite_box_name(CBoxHandle *box)
{
    return box && box->box->name ? bx_strf("%s", box->box->name) : NULL;
}

char *boxlite_box_engine(CBoxHandle *box)
{
    struct bx_box_row row = {0};
    char *engine = NULL;

    if (!box)
        return NULL;
    pthread_mutex_lock(&box->rt->lock);
    if (!box->rt->freed && bx_store_box_get(box->rt->store, box->box->id, &row, NULL) >= 0 && row.engine)
        engine = bx_strf("%s", row.engine);
    bx_box_row_done(&row);
    bx_leave(box->rt);
    return engine;
}

/* ---- making ---- */

static int insert_row(struct CBoxliteRuntime *rt, struct CBoxliteOptions *o, struct bx_box_row *row,
                      struct bx_err *err)
{
    char id[BX_ID_LEN + 1];
    int r;

    bx_random_id(id);
    row->id = bx_strf("%s", id);
    row->name = o->name ? bx_strf("%s", o->name) : NULL;
    row->image = bx_strf("%s", o->rootfs_path ? o->rootfs_path : o->image);
    row->boot_id = bx_strf("%s", rt->boot_id);
    row->state = BX_BOX_CONFIGURED;
    row->detached = o->detach;
    row->created_ms = bx_realtime() / BX_MSEC;
    if (!row->id || !row->image || !row->boot_id || (o->name && !row->name))
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "make a box");
    r = bx_options_to_json(o, &row->options, err);
    if (r < 0)
        return r;
    r = bx_store_box_insert(rt->store, row, err);
    if (r == -BX_EEXISTS && o->name)
        return bx_fail(err, BX_EINVALID, 0, "box with name '%s' already exists", o->name);
    return r;
}

/* The handle becomes the op's result. */
static int create_locked(struct CBoxliteRuntime *rt, struct CBoxliteOptions *o, struct bx_op *op,
                         struct bx_err *err)
{
    struct bx_box_row row = {0};
    struct bx_box *b = NULL;
    int r;

    r = insert_row(rt, o, &row, err);
    if (r == 0 && mkdirat(rt->boxes_fd, row.id, 0700) < 0) {
        r = bx_fail(err, BX_ESTORAGE, errno, "make %s/boxes/%s", rt->home, row.id);
        (void)bx_store_box_delete(rt->store, row.id, NULL);
    }
    if (r == 0) {
        b = bx_box_of_row(rt, &row, err);
        op->result = b ? bx_handle_new(b, err) : NULL;
        if (b)
            bx_box_unref(b);
        r = op->result ? 0 : -err->code;
        if (r < 0)
            (void)bx_box_delete(rt, row.id, NULL);
    }
    if (r == 0)
        bx_event_box(rt, "box.created", &row, NULL);
    bx_box_row_done(&row);
    op->flag = r == 0; /* "created" */
    rt->counts.created += r == 0;
    return r;
}

static int get_or_create_locked(struct CBoxliteRuntime *rt, struct CBoxliteOptions *o, struct bx_op *op,
                                struct bx_err *err)
{
    struct bx_box *b;
    int r = -BX_ENOTFOUND;

    /* Twice: between our look and our row another program may have made it. */
    for (int i = 0; i < (o->name ? 2 : 1) && r < 0; i++) {
        b = o->name ? bx_box_find(rt, o->name, err) : NULL;
        if (b && !bx_capabilities_equal(&b->options->advanced.capabilities, &o->advanced.capabilities)) {
            bx_box_unref(b);
            return bx_fail(err, BX_EEXISTS, 0, "box %s is there, with other capabilities", o->name);
        }
        if (b) {
            op->result = bx_handle_new(b, err);
            bx_box_unref(b);
            return op->result ? 0 : -err->code;
        }
        if (o->name && err->code != BX_ENOTFOUND)
            return -err->code;
        r = create_locked(rt, o, op, err);
    }
    return r;
}

/* Both creating calls. Takes the options when it succeeds. */
static BoxliteErrorCode make_box(CBoxliteRuntime *rt, CBoxliteOptions *options, enum bx_op_kind kind,
                                 union bx_op_cb cb, void *user_data, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_op *op;
    int r;

    if (!options->advanced.network_enabled) { /* whatever else was said of it */
        options->network.disabled = true;
        options->network.enabled = false;
    }
    if (bx_options_check(options, &err) < 0 || bx_enter(rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(rt, kind, cb, user_data, &err);
    if (!op)
        r = -err.code;
    else if (kind == BX_OP_BOX_MADE)
        r = get_or_create_locked(rt, options, op, &err);
    else
        r = create_locked(rt, options, op, &err);
    if (op && r < 0)
        bx_op_cancel(op);
    else if (op)
        bx_op_answer(op, NULL);
    bx_leave(rt);
    if (r < 0)
        return bx_api_error(out_error, &err);
    boxlite_options_free(options);
    return Ok;
}

BoxliteErrorCode boxlite_create_box(CBoxliteRuntime *rt, CBoxliteOptions *options, CBoxCreateBoxCb cb,
                                    void *user_data, CBoxliteError *out_error)
{
    if (!rt || !options || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !rt ? "runtime" : !options ? "options" : "cb");
    return make_box(rt, options, BX_OP_BOX, (union bx_op_cb){.box = cb}, user_data, out_error);
}

BoxliteErrorCode boxlite_get_or_create_box(CBoxliteRuntime *rt, CBoxliteOptions *options,
                                           CBoxGetOrCreateBoxCb cb, void *user_data, CBoxliteError *out_error)
{
    if (!rt || !options || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !rt ? "runtime" : !options ? "options" : "cb");
    return make_box(rt, options, BX_OP_BOX_MADE, (union bx_op_cb){.made = cb}, user_data, out_error);
}

BoxliteErrorCode boxlite_get(CBoxliteRuntime *rt, const char *id_or_name, CBoxGetBoxCb cb, void *user_data,
                             CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT, found = BX_ERR_INIT;
    struct bx_op *op;
    struct bx_box *b;

    if (!rt || !id_or_name || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !rt ? "runtime" : !id_or_name ? "id_or_name" : "cb");
    if (bx_enter(rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(rt, BX_OP_BOX, (union bx_op_cb){.box = cb}, user_data, &err);
    if (op) {
        b = bx_box_find(rt, id_or_name, &found);
        if (b) {
            op->result = bx_handle_new(b, &found);
            bx_box_unref(b);
        }
        bx_op_answer(op, op->result ? NULL : &found);
    }
    bx_leave(rt);
    return op ? Ok : bx_api_error(out_error, &err);
}

/* ---- start, stop, remove ---- */

BoxliteErrorCode boxlite_start_box(CBoxHandle *box, CBoxStartBoxCb cb, void *user_data,
                                   CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    struct bx_op *op;
    struct bx_box *b;

    if (!box || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !box ? "box" : "cb");
    if (bx_handle_enter(box, &err) < 0)
        return bx_api_error(out_error, &err);
    b = box->box;
    op = bx_op_new(b->rt, BX_OP_PLAIN, (union bx_op_cb){.plain = cb}, user_data, &err);
    if (op && b->phase == BX_PHASE_UP && !b->down_wanted && !b->main_pending) {
        bx_op_answer(op, bx_pause_refuses(b, &why) ? &why : NULL);
    } else if (op) {
        bx_op_list_add(&b->up_ops, op);
        if (bx_box_want_up(b, false, &why) < 0)
            bx_op_list_answer(&b->up_ops, &why);
    }
    bx_leave(box->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}

BoxliteErrorCode boxlite_stop_box(CBoxHandle *box, CBoxStopBoxCb cb, void *user_data,
                                  CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_op *op;

    if (!box || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !box ? "box" : "cb");
    if (bx_handle_enter(box, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(box->rt, BX_OP_PLAIN, (union bx_op_cb){.plain = cb}, user_data, &err);
    if (op) {
        box->stopped = true;
        bx_op_list_add(&box->box->down_ops, op);
        bx_box_want_down(box->box, false);
    }
    bx_leave(box->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}

BoxliteErrorCode boxlite_restart_box(CBoxHandle *box, CBoxStartBoxCb cb, void *user_data,
                                     CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    struct bx_op *op;

    if (!box || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !box ? "box" : "cb");
    if (bx_handle_enter(box, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(box->rt, BX_OP_PLAIN, (union bx_op_cb){.plain = cb}, user_data, &err);
    if (op && bx_box_restart(box->box, op, &why) < 0)
        bx_op_answer(op, &why);
    bx_leave(box->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}

static bool at_work(const struct bx_box *b, int state)
{
    return bx_state_active(state) || b->phase == BX_PHASE_STARTING || b->phase == BX_PHASE_CONNECTING;
}

/* Refuses a box that is at work, unless forced; then sees to it that it goes. */
static int remove_locked(struct CBoxliteRuntime *rt, const char *id_or_name, bool force, struct bx_op *op,
                         struct bx_err *err)
{
    struct bx_box_row row = {0};
    struct bx_box *b;
    int state, r = bx_row_get(rt, id_or_name, &row, err);

    if (r < 0)
        return r;
    b = bx_box_of_row(rt, &row, err);
    state = row.state;
    bx_box_row_done(&row);
    if (!b)
        return -err->code;
    if (!force && at_work(b, state)) {
        r = bx_fail(err, BX_ESTATE, 0, "box %.100s is running: stop it first, or remove it with force",
                    id_or_name);
    } else {
        b->remove = true;
        bx_op_list_add(&b->down_ops, op);
        bx_box_want_down(b, force);
    }
    bx_box_unref(b);
    return r;
}

BoxliteErrorCode boxlite_remove(CBoxliteRuntime *rt, const char *id_or_name, int force, CBoxRemoveBoxCb cb,
                                void *user_data, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    struct bx_op *op;

    if (!rt || !id_or_name || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !rt ? "runtime" : !id_or_name ? "id_or_name" : "cb");
    if (bx_enter(rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(rt, BX_OP_PLAIN, (union bx_op_cb){.plain = cb}, user_data, &err);
    if (op && remove_locked(rt, id_or_name, force != 0, op, &why) < 0)
        bx_op_answer(op, &why);
    bx_leave(rt);
    return op ? Ok : bx_api_error(out_error, &err);
}
