/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor.c - `boxlite doctor`: what a crash has left, what this host lacks, and what to do.
 */
#include "cli/cli.h"

#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "host/json.h"

#define OUTPUT_MAX (16u * 1024 * 1024)

#define EXIT_PROBLEMS 1

struct doctor {
    struct bx_call call;
    enum bx_format format;
    int code;
};

static const char *const state_names[] = { "fine", "note", "problem", "repaired" };
static const enum bx_color state_colors[] = { BX_COLOR_GOOD, BX_COLOR_MIDDLE, BX_COLOR_BAD, BX_COLOR_GOOD };

static void print_finding(int state, const char *check, const char *subject, const char *text, const char *remedy)
{
    printf("%s%-8s%s  %s%s%s: %s\n", bx_color_begin(stdout, state_colors[state]), state_names[state],
           bx_color_end(stdout, state_colors[state]), check, *subject ? " " : "", subject, text);
    if (*remedy && state != BoxliteFindingFine)
        printf("%-8s  -> %s\n", "", remedy);
}

static void write_finding(struct bx_jw *w, int state, const char *check, const char *subject, const char *text, const char *remedy)
{
    bx_jw_obj(w, NULL);
    bx_jw_str(w, "Check", check);
    bx_jw_str(w, "State", state_names[state]);
    bx_jw_str(w, "Subject", subject);
    bx_jw_str(w, "Text", text);
    bx_jw_str(w, "Remedy", remedy);
    bx_jw_end(w);
}

/* One object: {"Problems": N, "Repaired": N, "Findings": [...]}. */
static int print_json(enum bx_format format, const CDoctorReport *r)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(OUTPUT_MAX);
    struct bx_jw w;
    bx_jw_init(&w, &out, true);
    bx_jw_obj(&w, NULL);
    bx_jw_i64(&w, "Problems", r->problems);
    bx_jw_i64(&w, "Repaired", r->repaired);
    bx_jw_arr(&w, "Findings");
    for (int i = 0; i < r->count; i++) {
        const CDoctorFinding *f = r->items[i];
        write_finding(&w, f->state, f->check, f->subject, f->text, f->remedy);
    }
    bx_jw_end(&w);
    bx_jw_end(&w);
    return bx_print_json(format, &w);
}

static void print_text(const CDoctorReport *r)
{
    for (int i = 0; i < r->count; i++) {
        const CDoctorFinding *f = r->items[i];
        print_finding(f->state, f->check, f->subject, f->text, f->remedy);
    }
    if (r->problems || r->repaired)
        printf("\n%d problem%s, %d repaired\n", r->problems, r->problems == 1 ? "" : "s", r->repaired);
}

static int print_report(enum bx_format format, const CDoctorReport *r)
{
    int code = 0;
    if (format == BX_FORMAT_TABLE)
        print_text(r);
    else
        code = print_json(format, r);
    return code ? code : r->problems ? EXIT_PROBLEMS : 0;
}

/* The report is borrowed: it is printed here. */
static void on_report(const CDoctorReport *r, CBoxliteError *error, void *ud)
{
    struct doctor *d = ud;
    bx_call_answer(&d->call, NULL, error);
    if (r)
        d->code = print_report(d->format, r);
}

/* A home that cannot even be opened is a finding, too. */
static int report_unopened(enum bx_format format, const char *why)
{
    CDoctorFinding f = { .state = BoxliteFindingProblem, .check = "home", .subject = "", .text = why, .remedy = "" };
    const CDoctorFinding *items[] = { &f };
    CDoctorReport r = { .items = items, .count = 1, .problems = 1 };
    return print_report(format, &r);
}

int bx_verb_doctor(int argc, char **argv)
{
    struct doctor d = { .call = BX_CALL_INIT, .format = BX_FORMAT_TABLE };
    bool repair = false, quick = false;
    const struct bx_opt opts[] = {
        BX_OPT_FLAG('r', "repair", &repair, "mend what can be mended without losing anything of use"),
        BX_OPT_FLAG('q', "quick", &quick, "leave out the file systems of boxes"),
        BX_FORMAT_OPT(0, "format", d.format),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("doctor", opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (n > 0)
        return bx_cli_usage("doctor", "it takes no arguments: '%s'", argv[1]);
    CBoxliteError why = { Ok, NULL };
    CBoxliteRuntime *rt = bx_cli_try_open(&why);
    if (!rt) {
        code = report_unopened(d.format, why.message ? why.message : bx_code_info(why.code)->name);
        boxlite_error_free(&why);
        return bx_cli_finish(code);
    }
    bx_cli_progress(rt);
    const BoxliteDoctorOptions options = { sizeof(options), repair, quick };
    if (bx_call_wait(rt, &d.call, boxlite_runtime_doctor(rt, &options, on_report, &d, &d.call.error)))
        code = d.code;
    else
        code = bx_cli_fail(&d.call.error, NULL);
    boxlite_runtime_free(rt);
    return bx_cli_finish(code);
}
