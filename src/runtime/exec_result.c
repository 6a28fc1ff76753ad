/* SPDX-License-Identifier: Apache-2.0 */
/* exec_result.c - the calls about commands that have ended: how, and the output that was kept. */
#include <errno.h>
#include <string.h>

#include "runtime/exec.h"

static void result_of(const struct CExecutionHandle *x, BoxliteExecutionResult *r)
{
    r->exit_code = x->exit_code;
    r->stdout_truncated = x->out[0].truncated;
    r->stderr_truncated = x->out[1].truncated;
    if (x->state != BX_EXEC_ENDED) {
        r->message = x->err.msg;
        return;
    }
    r->message = x->exit.message;
    r->signal = (int32_t)x->exit.signal;
    r->oom = x->exit.oom;
    r->timed_out = x->exit.timed_out;
    r->killed = x->exit.killed;
    r->user_us = x->exit.usage.user_us;
    r->system_us = x->exit.usage.system_us;
    r->wall_us = x->exit.usage.wall_us;
    r->max_rss_bytes = x->exit.usage.max_rss_bytes;
}

BoxliteErrorCode boxlite_execution_result(CExecutionHandle *execution, BoxliteExecutionResult *result,
                                          CBoxliteError *out_error)
{
    BoxliteExecutionResult full = BOXLITE_EXECUTION_RESULT_INIT;
    struct bx_err err = BX_ERR_INIT;
    bool known;

    if (!execution || !result || result->size < sizeof(size_t))
        return bx_api_invalid(out_error, "%s",
                              !execution ? "execution is NULL" : "result: NULL, or its size is not set");
    pthread_mutex_lock(&execution->rt->lock); /* also after the runtime's end: it is known already */
    known = execution->exit_known;
    if (known)
        result_of(execution, &full);
    bx_leave(execution->rt);
    if (!known) {
        bx_fail(&err, BX_ESTATE, 0, "the command has not ended");
        return bx_api_error(out_error, &err);
    }
    full.size = result->size;
    memcpy(result, &full, BX_MIN(result->size, sizeof(full)));
    return Ok;
}

static int copy_kept(struct bx_out *o, char **ret, size_t *ret_len, struct bx_err *err)
{
    size_t len = bx_buf_len(&o->pending) + bx_keep_len(&o->keep), at = 0, n;
    const uint8_t *piece;
    char *copy = malloc(len + 1);

    if (!copy)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "kept output");
    while ((n = bx_keep_peek(&o->keep, &piece)) > 0) {
        memcpy(copy + at, piece, n);
        at += n;
        bx_keep_consume(&o->keep, n);
    }
    memcpy(copy + at, bx_buf_data(&o->pending), bx_buf_len(&o->pending));
    bx_buf_clear(&o->pending);
    copy[len] = '\0';
    *ret = copy;
    *ret_len = len;
    return 0;
}

BoxliteErrorCode boxlite_execution_kept(CExecutionHandle *execution, int stream, char **out_data,
                                        size_t *out_len, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_out *o;
    int r;

    if (!execution || !out_data || !out_len || (stream != 1 && stream != 2))
        return bx_api_invalid(out_error, "%s",
                              !execution              ? "execution is NULL"
                              : !out_data || !out_len ? "out is NULL"
                                                      : "stream: must be 1 or 2");
    if (bx_enter(execution->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    o = &execution->out[stream - 1];
    if (!execution->exit_known)
        r = bx_fail(&err, BX_ESTATE, 0, "the command has not ended");
    else if (o->mode == BX_OUT_UNCLAIMED)
        r = bx_fail(&err, BX_ESTATE, 0, "the output is kept in the box: register for it");
    else if (o->cb)
        r = bx_fail(&err, BX_ESTATE, 0, "the output goes to a callback");
    else
        r = copy_kept(o, out_data, out_len, &err);
    bx_leave(execution->rt);
    return bx_api_result(out_error, r, &err);
}
