/* SPDX-License-Identifier: Apache-2.0 */
/*
 * network_rules.c - the rules of a box's network change; what they have refused.
 *
 * A box that runs is told first, and its row is written when it has acknowledged. The row of a box that does not run is
 * written with start.lock held, so that no start that has read the old one is under way.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "policy/policy.h"
#include "runtime/conn.h"
#include "runtime/job.h"
#include "runtime/live.h"
#include "runtime/network.h"

#define REFUSALS_TEXT_MAX (64 * 1024)

/* ---- the row ---- */

int bx_network_refresh(struct bx_network *n, const char *options, struct bx_err *err)
{
    BX_CLEANUP(boxlite_options_free_p) struct CBoxliteOptions *o = NULL;
    int r = bx_options_from_json(options, &o, err);

    if (r < 0)
        return r;
    bx_strv_free(n->allow);
    n->allow = BX_TAKE_PTR(o->network.allow);
    return 0;
}

static int change_options(struct bx_box *b, const struct bx_box_row *row, char *const *rules, struct bx_err *err)
{
    BX_CLEANUP(boxlite_options_free_p) struct CBoxliteOptions *o = NULL;
    bx_cleanup_free char *text = NULL;
    size_t n = bx_strv_len(rules);
    int r = bx_options_from_json(row->options, &o, err);

    if (r < 0)
        return r;
    bx_strv_free(o->network.allow);
    o->network.allow = n > 0 ? bx_strv_copy((const char *const *)rules, n) : NULL;
    if (n > 0 && !o->network.allow)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "rules of box %s", b->id);
    r = bx_options_to_json(o, &text, err);
    return r < 0 ? r : bx_store_box_options(b->rt->store, b->id, text, err);
}

/* idle: only of a box that does not run. */
static int write_row(struct bx_box *b, char *const *rules, bool idle, struct bx_err *err)
{
    struct bx_box_row row = {0};
    int r = bx_store_begin(b->rt->store, err);

    if (r < 0)
        return r;
    r = bx_row_get(b->rt, b->id, &row, err);
    if (r >= 0 && idle && bx_state_active(row.state))
        r = bx_fail(err, BX_ESTATE, 0, "box %s runs, but could not be reached: try again", b->id);
    if (r >= 0)
        r = change_options(b, &row, rules, err);
    if (r >= 0)
        r = bx_store_commit(b->rt->store, err);
    else
        bx_store_rollback(b->rt->store);
    bx_box_row_done(&row);
    return r;
}

static int write_idle(struct bx_op *op, struct bx_box *b, struct bx_err *err)
{
    bx_cleanup_close int fd = -1;
    int r;

    if (b->gone)
        return bx_fail(err, BX_ENOTFOUND, 0, "%s", b->id);
    if (b->phase != BX_PHASE_IDLE)
        return bx_fail(err, BX_ESTATE, 0, "box %s is being stopped: try again", b->id);
    r = bx_box_dir(b, err);
    if (r < 0)
        return r;
    fd = bx_lock_try(b->dir_fd, "start.lock");
    if (fd == -EWOULDBLOCK)
        return bx_fail(err, BX_ESTATE, 0, "box %s is being started or stopped by another program: try again", b->id);
    if (fd < 0)
        return bx_fail(err, BX_ESTORAGE, -fd, "lock box %s", b->id);
    return write_row(b, op->result, true, err);
}

void bx_rules_not_up(struct bx_op *op, struct bx_box *b)
{
    struct bx_err err = BX_ERR_INIT;

    bx_live_finish(op, write_idle(op, b, &err) < 0 ? &err : NULL);
}

/* ---- the box ---- */

static void on_told(void *ud, const struct bx_err *why)
{
    struct bx_op *op = ud;
    struct bx_err err = BX_ERR_INIT;

    if (!why && write_row(op->handle->box, op->result, false, &err) < 0) {
        bx_prefix(&err, "the box follows the new rules, but will have the old ones at its next start");
        why = &err;
    }
    bx_live_finish(op, why);
}

static int send_rules(struct bx_op *op, struct bx_conn *c, struct bx_err *err)
{
    bx_cleanup_buf struct bx_buf arena = BX_BUF_INIT(BX_MESSAGE_MAX);
    struct bx_msg_net_policy msg = {.pb = boxlite_NetPolicy_init_zero};
    char *const *rules = op->result;
    size_t n = bx_strv_len(rules);

    if (!c->has_policy)
        return bx_fail(err, BX_EUNSUPPORTED, 0,
                       "the box was started by an older version of BoxLite, which cannot change the rules of a box that runs: stop it first");
    for (size_t i = 0; i < n; i++)
        bx_buf_add(&arena, rules[i], strlen(rules[i]) + 1);
    msg.allow = (struct bx_strs){.data = (const char *)bx_buf_data(&arena), .len = bx_buf_len(&arena), .count = n};
    if (bx_buf_failed(&arena) || !(msg.pb.request = bx_conn_request(c, on_told, op)))
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "rules of a box");
    return bx_msg_send_net_policy(&c->link, &msg, err);
}

void bx_rules_ask(struct bx_op *op, struct bx_box *b)
{
    struct bx_err err = BX_ERR_INIT;

    if (send_rules(op, b->conn, &err) < 0) {
        bx_conn_forget(b->conn, op);
        bx_live_finish(op, &err);
    }
    bx_conn_flush(b->conn);
}

/* Takes the rules. */
static bool post(CBoxHandle *box, char **rules, CBoxSetAllowNetCb cb, void *user_data, struct bx_err *err)
{
    const struct bx_box *b = box->box;
    struct bx_op *op = NULL;

    if (!bx_network_on(&b->options->network))
        bx_fail(err, BX_ESTATE, 0, "the network of box %s is disabled, and stays so", b->name ? b->name : b->id);
    else
        op = bx_op_new(box->rt, BX_OP_RULES, (union bx_op_cb){.plain = cb}, user_data, err);
    if (!op) {
        bx_strv_free(rules);
        return false;
    }
    op->result = rules;
    return bx_live_begin(op, box, err);
}

BoxliteErrorCode boxlite_box_set_allow_net(CBoxHandle *box, const char *const *rules, int count, CBoxSetAllowNetCb cb, void *user_data,
                                           CBoxliteError *out_error)
{
    struct bx_network wanted = {0};
    struct bx_err err = BX_ERR_INIT;
    bool posted;

    if (!box || !cb || (count > 0 && !rules))
        return bx_api_invalid(out_error, "%s is NULL", !box ? "box" : !cb ? "cb" : "rules");
    if (count < 0 || count > BX_POLICY_RULES_MAX)
        return bx_api_invalid(out_error, "count: must be 0 to %d", BX_POLICY_RULES_MAX);
    for (int i = 0; i < count; i++)
        if (!rules[i])
            return bx_api_invalid(out_error, "rules: entry %d is NULL", i);
    wanted.allow = bx_strv_copy(rules, (size_t)count);
    if (!wanted.allow)
        bx_fail(&err, BX_ERESOURCE, ENOMEM, "rules of a box");
    if (!wanted.allow || bx_network_check(&wanted, &err) < 0 || bx_enter(box->rt, &err) < 0) {
        bx_network_done(&wanted);
        return bx_api_error(out_error, &err);
    }
    posted = post(box, wanted.allow, cb, user_data, &err);
    bx_leave(box->rt);
    return posted ? Ok : bx_api_error(out_error, &err);
}

/* ---- refusals ---- */

static void write_refusal(struct bx_jw *w, const boxlite_NetRefused *m)
{
    char ip[BX_IPV4_TEXT_MAX];

    bx_ipv4_format(m->address, ip);
    bx_jw_obj(w, NULL);
    bx_jw_i64(w, "time_ms", m->time_ms);
    bx_jw_str(w, "protocol", m->protocol == IPPROTO_UDP ? "udp" : m->protocol == IPPROTO_TCP ? "tcp" : "name");
    bx_jw_str(w, "address", m->protocol ? ip : NULL);
    bx_jw_i64(w, "port", m->port);
    bx_jw_str(w, "name", m->name);
    bx_jw_str(w, "reason", m->why);
    bx_jw_i64(w, "times", m->times);
    bx_jw_end(w);
}

void bx_network_refusals(const boxlite_BoxInfo *i, struct CBoxliteInfo *d)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(REFUSALS_TEXT_MAX);
    bx_cleanup_free char *text = NULL;
    struct bx_jw w;

    bx_jw_init(&w, &out, false);
    bx_jw_arr(&w, NULL);
    for (size_t k = 0; k < i->refused_count; k++)
        write_refusal(&w, &i->refused[k]);
    bx_jw_end(&w);
    text = bx_jw_finish(&w, NULL) < 0 ? NULL : bx_buf_take_str(&out);
    if (text)
        bx_info_add(d, "network_refusals", text);
}
