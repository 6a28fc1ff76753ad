/* SPDX-License-Identifier: Apache-2.0 */
/* doctor.c - see doctor.h: the steps, one after another, and what they found. */
#include "runtime/doctor.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/engine.h"

#define FINDINGS_MAX 1000

/* ---- findings ---- */

struct doctor_report {
    CDoctorReport pub;
    CDoctorFinding **items;
    size_t n, cap;
};

void bx_doctor_report_free(CDoctorReport *report)
{
    struct doctor_report *r = (struct doctor_report *)report;

    if (!r)
        return;
    for (size_t i = 0; i < r->n; i++)
        free(r->items[i]);
    free(r->items);
    free(r);
}

/* With its texts behind it, in one piece. */
static CDoctorFinding *new_finding(BoxliteFindingState state, const char *const texts[4])
{
    size_t len = 0;
    CDoctorFinding *f;
    char *at;

    for (size_t i = 0; i < 4; i++)
        len += strlen(texts[i]) + 1;
    f = calloc(1, sizeof(*f) + len);
    if (!f)
        return NULL;
    at = (char *)(f + 1);
    const char **const members[] = {&f->check, &f->subject, &f->text, &f->remedy};
    for (size_t i = 0; i < 4; i++) {
        *members[i] = at;
        memcpy(at, texts[i], strlen(texts[i]) + 1);
        at += strlen(texts[i]) + 1;
    }
    f->size = sizeof(*f);
    f->state = (int32_t)state;
    return f;
}

void bx_doctor_say(struct bx_doctor *d, const char *check, BoxliteFindingState state, const char *subject, const char *remedy,
                   const char *fmt, ...)
{
    struct doctor_report *r = d->report;
    char raw[1024], text[4096];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(raw, sizeof(raw), fmt, ap);
    va_end(ap);
    bx_str_printable(text, sizeof(text), raw, strlen(raw));
    r->pub.problems += state == BoxliteFindingProblem;
    r->pub.repaired += state == BoxliteFindingRepaired;
    if (r->n == FINDINGS_MAX)
        return; /* counted all the same */
    if (r->n == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 32;
        CDoctorFinding **grown = realloc(r->items, cap * sizeof(CDoctorFinding *));

        if (!grown) {
            d->failed = true;
            return;
        }
        r->items = grown;
        r->cap = cap;
    }
    r->items[r->n] = new_finding(state, (const char *const[]){check, subject, text, remedy});
    if (r->items[r->n])
        r->n++;
    else
        d->failed = true;
}

/* ---- steps ---- */

static bx_doctor_step *const steps[] = {
    bx_doctor_home,   bx_doctor_database, bx_doctor_rows, bx_doctor_folders, bx_doctor_temporary,
    bx_doctor_images, bx_doctor_programs, bx_doctor_engine, bx_doctor_jail,  bx_doctor_disks,
};

static void doctor_free(struct bx_doctor *d)
{
    struct bx_doctor **p;

    for (p = &d->rt->doctors; *p && *p != d; p = &(*p)->next)
        ;
    if (*p)
        *p = d->next;
    d->job = bx_job_kill(d->job);
    bx_doctor_disks_stop(d);
    bx_facts_forget(d->rt, d);
    bx_source_remove(d->turn);
    bx_strv_free(d->boxes);
    if (d->report)
        bx_doctor_report_free(&d->report->pub);
    free(d);
}

static void finish(struct bx_doctor *d)
{
    struct doctor_report *r = BX_TAKE_PTR(d->report);
    struct bx_err err = BX_ERR_INIT;
    struct bx_op *op = d->op;

    r->pub.size = sizeof(r->pub);
    r->pub.items = (const CDoctorFinding *const *)r->items;
    r->pub.count = (int32_t)r->n;
    op->result = &r->pub;
    if (d->failed)
        bx_fail(&err, BX_ERESOURCE, ENOMEM, "examine the home");
    doctor_free(d);
    bx_op_answer(op, err.code ? &err : NULL);
}

static void on_turn(struct bx_source *s, void *ud)
{
    struct bx_doctor *d = ud;

    (void)s;
    if (d->step == BX_ARRAY_SIZE(steps))
        finish(d);
    else if (steps[d->step](d))
        bx_doctor_next(d);
}

void bx_doctor_next(struct bx_doctor *d)
{
    d->step++;
    bx_defer_set(d->turn);
}

/* ---- the call ---- */

static int begin(struct CBoxliteRuntime *rt, const BoxliteDoctorOptions *o, struct bx_op *op, struct bx_err *err)
{
    struct bx_doctor *d = calloc(1, sizeof(*d));

    if (!d)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "examine the home");
    d->rt = rt;
    d->op = op;
    d->repair = o->repair != 0;
    d->quick = o->quick != 0;
    d->lock_fd = d->scratch_fd = -1;
    d->report = calloc(1, sizeof(*d->report));
    d->turn = bx_loop_add_defer(rt->loop, on_turn, d);
    d->next = rt->doctors;
    rt->doctors = d;
    if (!d->report || !d->turn) {
        doctor_free(d);
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "examine the home");
    }
    bx_defer_set(d->turn);
    return 0;
}

void bx_doctors_end(struct CBoxliteRuntime *rt)
{
    struct bx_err why = BX_ERR_INIT;

    bx_fail(&why, BX_ESTOPPED, 0, "the runtime was freed");
    while (rt->doctors) {
        struct bx_op *op = rt->doctors->op;

        doctor_free(rt->doctors);
        bx_op_answer(op, &why);
    }
}

BoxliteErrorCode boxlite_runtime_doctor(CBoxliteRuntime *rt, const BoxliteDoctorOptions *options, CDoctorCb cb, void *user_data,
                                        CBoxliteError *out_error)
{
    BoxliteDoctorOptions o = BOXLITE_DOCTOR_OPTIONS_INIT;
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    struct bx_op *op;

    if (!rt || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !rt ? "runtime" : "cb");
    if (options && options->size < sizeof(size_t))
        return bx_api_invalid(out_error, "options: size is not set");
    if (options)
        memcpy(&o, options, BX_MIN(options->size, sizeof(o)));
    if (bx_enter(rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(rt, BX_OP_DOCTOR, (union bx_op_cb){.doctor = cb}, user_data, &err);
    if (op && begin(rt, &o, op, &why) < 0)
        bx_op_answer(op, &why);
    bx_leave(rt);
    return op ? Ok : bx_api_error(out_error, &err);
}
