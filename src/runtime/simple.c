/* SPDX-License-Identifier: Apache-2.0 */
/* simple.c - one box, used without callbacks: the posted calls on a runtime of its own, each waited for. */
#include <errno.h>
#include <string.h>

#include "runtime/options.h"
#include "runtime/runtime.h"

#define TEXT_MAX   (64 * 1024 * 1024) /* of one stream */
#define REMOVE_MAX (30 * BX_SEC)

struct CBoxliteSimple {
    CBoxliteRuntime *rt;
    char *image;
    int cpus, memory_mib;
    CBoxHandle *box; /* NULL: not made yet */
};

/* The answer of a posted call. */
struct waited {
    bool done;
    struct bx_err err;
    void *result;
};

static void take(struct waited *w, const CBoxliteError *e)
{
    w->done = true;
    if (e)
        bx_fail(&w->err, (enum bx_code)e->code, 0, "%s", e->message ? e->message : "");
}

static void on_plain(CBoxliteError *e, void *ud)
{
    take(ud, e);
}

static void on_box(CBoxHandle *box, CBoxliteError *e, void *ud)
{
    take(ud, e);
    ((struct waited *)ud)->result = box;
}

static void on_exec(CExecutionHandle *execution, CBoxliteError *e, void *ud)
{
    take(ud, e);
    ((struct waited *)ud)->result = execution;
}

/* Drains until it is answered (deadline 0: however long that takes). */
static BoxliteErrorCode wait_for(struct CBoxliteSimple *s, struct waited *w, int64_t deadline, CBoxliteError *out_error)
{
    while (!w->done && (deadline == 0 || bx_now() < deadline))
        if (boxlite_runtime_drain(s->rt, deadline ? 100 : -1, out_error) < 0)
            return out_error ? out_error->code : Internal;
    return bx_api_result(out_error, w->err.code ? -w->err.code : 0, &w->err);
}

static CBoxliteOptions *options_of(const struct CBoxliteSimple *s, CBoxliteError *out_error)
{
    CBoxliteOptions *o = NULL;

    if (boxlite_options_new(s->image, &o, out_error) != Ok)
        return NULL;
    boxlite_options_set_cpus(o, s->cpus);
    boxlite_options_set_memory(o, s->memory_mib);
    return o;
}

BoxliteErrorCode boxlite_simple_new(const char *image, int cpus, int memory_mib, CBoxliteSimple **out_simple,
                                    CBoxliteError *out_error)
{
    BX_CLEANUP(boxlite_options_free_p) CBoxliteOptions *o = NULL;
    struct CBoxliteSimple *s;
    struct bx_err err = BX_ERR_INIT;
    BoxliteErrorCode rc;

    if (!out_simple)
        return bx_api_invalid(out_error, "out_simple is NULL");
    *out_simple = NULL;
    if (cpus < 0 || memory_mib < 0)
        return bx_api_invalid(out_error, "%s: must not be negative", cpus < 0 ? "cpus" : "memory");
    s = calloc(1, sizeof(*s));
    if (s)
        s->image = bx_strf("%s", image && *image ? image : BX_DEFAULT_IMAGE);
    if (!s || !s->image) {
        free(s);
        bx_fail(&err, BX_ERESOURCE, ENOMEM, "make a box");
        return bx_api_error(out_error, &err);
    }
    s->cpus = cpus;
    s->memory_mib = memory_mib;
    o = options_of(s, out_error);
    rc = !o ? ResourceExhausted : bx_api_result(out_error, bx_options_check(o, &err), &err);
    if (rc == Ok)
        rc = boxlite_runtime_new(NULL, NULL, 0, &s->rt, out_error);
    if (rc != Ok) {
        boxlite_simple_free(s);
        return rc;
    }
    *out_simple = s;
    return Ok;
}

static BoxliteErrorCode make_box(struct CBoxliteSimple *s, CBoxliteError *out_error)
{
    struct waited w = {0};
    CBoxliteOptions *o;
    BoxliteErrorCode rc;

    if (s->box)
        return Ok;
    o = options_of(s, out_error);
    if (!o)
        return ResourceExhausted;
    rc = boxlite_create_box(s->rt, o, on_box, &w, out_error);
    if (rc != Ok) {
        boxlite_options_free(o);
        return rc;
    }
    rc = wait_for(s, &w, 0, out_error);
    s->box = w.result;
    return rc;
}

/* ---- a command ---- */

struct text {
    struct bx_buf buf;
    bool full;
};

struct run {
    struct text out, err;
    struct waited ended;
    bool posted; /* `ended` will be called */
    int code;
};

static void add(struct text *t, const uint8_t *data, size_t len)
{
    t->full = t->full || bx_buf_add(&t->buf, data, len) < 0;
}

static void on_stdout(const uint8_t *data, size_t len, void *ud)
{
    add(&((struct run *)ud)->out, data, len);
}

static void on_stderr(const uint8_t *data, size_t len, void *ud)
{
    add(&((struct run *)ud)->err, data, len);
}

static void on_wait(int code, CBoxliteError *e, void *ud)
{
    take(&((struct run *)ud)->ended, e);
    ((struct run *)ud)->code = code;
}

static BoxliteErrorCode start(struct CBoxliteSimple *s, const BoxliteCommand *command, CExecutionHandle **ret,
                              CBoxliteError *out_error)
{
    BoxliteExecOptions options = BOXLITE_EXEC_OPTIONS_INIT;
    struct waited w = {0};
    BoxliteErrorCode rc;

    options.stdin_closed = 1;
    rc = boxlite_box_exec_post(s->box, command, &options, on_exec, &w, out_error);
    if (rc == Ok)
        rc = wait_for(s, &w, 0, out_error);
    *ret = w.result;
    return rc;
}

/* Until it has ended, or has said more than is taken. */
static BoxliteErrorCode collect(struct CBoxliteSimple *s, CExecutionHandle *x, struct run *r, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    BoxliteErrorCode rc;

    if ((rc = boxlite_execution_on_stdout(x, on_stdout, r, out_error)) != Ok ||
        (rc = boxlite_execution_on_stderr(x, on_stderr, r, out_error)) != Ok ||
        (rc = boxlite_execution_wait(x, on_wait, r, out_error)) != Ok)
        return rc;
    r->posted = true;
    while (!r->ended.done && !r->out.full && !r->err.full)
        if (boxlite_runtime_drain(s->rt, -1, out_error) < 0)
            return out_error ? out_error->code : Internal;
    if (r->ended.done && r->ended.err.code)
        return bx_api_error(out_error, &r->ended.err);
    if (!r->out.full && !r->err.full)
        return Ok;
    bx_fail(&err, BX_ERESOURCE, 0, "the command was killed: it wrote more than %d bytes to %s (an execution takes "
            "any amount as it comes)", TEXT_MAX, r->out.full ? "stdout" : "stderr");
    return bx_api_error(out_error, &err);
}

static BoxliteErrorCode make_result(struct run *r, CBoxliteExecResult **ret, CBoxliteError *out_error)
{
    CBoxliteExecResult *result = calloc(1, sizeof(*result));
    struct bx_err err = BX_ERR_INIT;

    if (result) {
        result->exit_code = r->code;
        result->stdout_text = bx_buf_take_str(&r->out.buf);
        result->stderr_text = bx_buf_take_str(&r->err.buf);
    }
    if (!result || !result->stdout_text || !result->stderr_text) {
        boxlite_result_free(result);
        bx_fail(&err, BX_ERESOURCE, ENOMEM, "the command's output");
        return bx_api_error(out_error, &err);
    }
    *ret = result;
    return Ok;
}

BoxliteErrorCode boxlite_simple_run(CBoxliteSimple *simple, const char *command, const char *const *args, int argc,
                                    CBoxliteExecResult **out_result, CBoxliteError *out_error)
{
    struct run r = {.out = {.buf = BX_BUF_INIT(TEXT_MAX)}, .err = {.buf = BX_BUF_INIT(TEXT_MAX)}};
    BoxliteCommand c = {.command = command, .args = args, .argc = argc};
    CExecutionHandle *x = NULL;
    BoxliteErrorCode rc;

    if (!simple || !command || !out_result)
        return bx_api_invalid(out_error, "%s is NULL", !simple ? "simple" : !command ? "command" : "out_result");
    *out_result = NULL;
    rc = make_box(simple, out_error);
    if (rc == Ok)
        rc = start(simple, &c, &x, out_error);
    if (rc == Ok)
        rc = collect(simple, x, &r, out_error);
    if (rc == Ok)
        rc = make_result(&r, out_result, out_error);
    boxlite_execution_free(x);
    while (r.posted && !r.ended.done && boxlite_runtime_drain(simple->rt, -1, NULL) >= 0) /* r goes */
        ;
    bx_buf_done(&r.out.buf);
    bx_buf_done(&r.err.buf);
    return rc;
}

void boxlite_result_free(CBoxliteExecResult *result)
{
    if (!result)
        return;
    free(result->stdout_text);
    free(result->stderr_text);
    free(result);
}

void boxlite_simple_free(CBoxliteSimple *simple)
{
    struct waited w = {0};
    char *id;

    if (!simple)
        return;
    id = boxlite_box_id(simple->box);
    if (id && boxlite_remove(simple->rt, id, 1, on_plain, &w, NULL) == Ok)
        (void)wait_for(simple, &w, bx_now() + REMOVE_MAX, NULL); /* or it ends with the runtime, and stays as a row */
    boxlite_free_string(id);
    boxlite_box_free(simple->box);
    boxlite_runtime_free(simple->rt);
    free(simple->image);
    free(simple);
}
