/* SPDX-License-Identifier: Apache-2.0 */
/*
 * help.c - the table of verbs as help: for people, and as JSON for what makes the manual pages.
 */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "host/config.h"
#include "host/json.h"

#define OUTPUT_MAX (4u * 1024 * 1024)

/* --- finding --- */

/* Is `text` one of the names with '|' between? */
static bool names_have(const char *names, const char *text)
{
    size_t len = text ? strlen(text) : 0;
    for (const char *p = len ? names : NULL; p && *p; p += strcspn(p, "|"), p += *p == '|') {
        if (strcspn(p, "|") == len && memcmp(p, text, len) == 0)
            return true;
    }
    return false;
}

static const struct bx_verb *find_name(const char *name)
{
    for (const struct bx_verb *v = bx_verbs; v->name; v++) {
        if (v->run && (bx_streq(v->name, name) || names_have(v->alias, name)))
            return v;
    }
    return NULL;
}

const struct bx_verb *bx_cli_find_verb(int n, char *const *words, int *ret_used)
{
    if (n > 1) {
        bx_cleanup_free char *two = bx_strf("%s %s", words[0], words[1]);
        const struct bx_verb *v = two ? find_name(two) : NULL;
        /* What `docker image` calls verbs that have names of their own here. */
        if (!v && bx_streq(words[0], "image"))
            v = find_name(words[1]);
        *ret_used = 2;
        if (v && (strchr(v->name, ' ') || names_have(v->alias, two) || v->of_images))
            return v;
    }
    *ret_used = 1;
    return n > 0 ? find_name(words[0]) : NULL;
}

int bx_cli_unknown_verb(const char *name)
{
    bx_cleanup_strv char **names = NULL;
    for (const struct bx_verb *v = bx_verbs; v->name; v++) {
        if (v->run && v->summary)
            bx_strv_add(&names, v->name);
    }
    const char *near = names ? bx_opt_nearest(name, (const char *const *)names) : NULL;
    if (near)
        bx_cli_error("there is no verb '%s': did you mean '%s'?", name, near);
    else
        bx_cli_error("there is no verb '%s': `boxlite help` lists them", name);
    return BX_EXIT_USAGE;
}

/* --- for people --- */

/* Verbs that begin with `prefix`. */
static void list_verbs(FILE *out, const char *prefix)
{
    int width = 0;
    for (const struct bx_verb *v = bx_verbs; v->name; v++)
        width = BX_MAX(width, v->summary && v->run ? (int)strlen(v->name) : 0);
    for (const struct bx_verb *v = bx_verbs; v->name; v++) {
        if (!v->run && !*prefix)
            fprintf(out, "\n%s:\n", v->summary);
        else if (v->run && v->summary && bx_starts_with(v->name, prefix))
            fprintf(out, "  %-*s  %s\n", width, v->name, v->summary);
    }
}

void bx_cli_overview(FILE *out)
{
    fprintf(out, "Usage: boxlite [--home DIR] VERB [OPTIONS] ...\n\n"
                 "Runs programs you do not trust in small virtual machines, from any OCI image.\n");
    list_verbs(out, "");
    bx_opt_help(bx_cli_global_opts, out);
    fprintf(out, "\n`boxlite VERB --help` shows a verb's options.\n");
}

static void print_usage(FILE *out, const struct bx_verb *v)
{
    fprintf(out, "Usage: boxlite %s%s%s\n", v->name, *v->args ? " " : "", v->args);
}

static void print_help(const struct bx_verb *v, const struct bx_opt *opts)
{
    print_usage(stdout, v);
    if (v->summary)
        printf("\n%s\n", v->summary);
    if (v->alias) {
        printf("\nAlso: boxlite ");
        for (const char *p = v->alias; *p; p++)
            fputs(*p == '|' ? ", boxlite " : (char[]){ *p, '\0' }, stdout);
        putchar('\n');
    }
    /* A heading brings its empty line. */
    if (opts->kind != BX_OPT_KIND_GROUP && opts->kind != BX_OPT_KIND_INCLUDE)
        putchar('\n');
    bx_opt_help(opts, stdout);
}

int bx_cli_usage(const char *verb, const char *fmt, ...)
{
    va_list ap;
    const struct bx_verb *v = find_name(verb);
    bx_cli_error_begin();
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    print_usage(stderr, v);
    fprintf(stderr, "`boxlite %s --help` shows its options.\n", v->name);
    return BX_EXIT_USAGE;
}

/* --- options --- */

/* Who wants to know a verb's options, while it is asked for them. */
static struct {
    bx_verb_opts_fn *fn;
    void *ud;
} asked;

void bx_cli_describe(const struct bx_verb *v, bx_verb_opts_fn *fn, void *ud)
{
    char *argv[] = { (char *)(uintptr_t)v->name, NULL };
    asked.fn = fn;
    asked.ud = ud;
    v->run(1, argv);
    asked.fn = NULL;
}

int bx_cli_parse(const char *verb, const struct bx_opt *opts, unsigned flags, int argc, char **argv, int *ret_exit)
{
    struct bx_err err = BX_ERR_INIT;
    const struct bx_verb *v = find_name(verb);
    if (asked.fn) {
        asked.fn(asked.ud, v, opts, flags);
        *ret_exit = 0;
        return -1;
    }
    int n = bx_opt_parse(opts, flags, argc - 1, argv + 1, &err);
    if (n == BX_OPT_HELP_ASKED) {
        print_help(v, opts);
        *ret_exit = bx_cli_finish(0);
        return -1;
    }
    if (n < 0) {
        *ret_exit = bx_cli_usage(verb, "%s", err.msg);
        return -1;
    }
    return bx_cli_version_asked(ret_exit) ? -1 : n;
}

int bx_verb_group(int argc, char **argv)
{
    bx_cleanup_free char *verb = strdup(argv[0]), *prefix = bx_strf("%s ", argv[0]);
    int code = 0;
    int n = verb && prefix ? bx_cli_parse(verb, bx_cli_global_opts, 0, argc, argv, &code) : -1;
    if (n < 0)
        return code;
    code = n > 0 ? bx_cli_usage(verb, "there is no '%s %s'", verb, argv[1]) : bx_cli_usage(verb, "which of its verbs?");
    list_verbs(stderr, prefix);
    return code;
}

/* --- for programs --- */

static const char *const kind_names[] = {
    [BX_OPT_KIND_FLAG] = "flag",   [BX_OPT_KIND_NEGATABLE] = "negatable", [BX_OPT_KIND_STRING] = "value",
    [BX_OPT_KIND_LIST] = "list",   [BX_OPT_KIND_INT] = "number",          [BX_OPT_KIND_SIZE] = "size",
    [BX_OPT_KIND_CALL] = "value",  [BX_OPT_KIND_HELP] = "flag",           [BX_OPT_KIND_GROUP] = "group",
};

static void write_option(void *ud, const struct bx_opt *o)
{
    struct bx_jw *w = ud;
    char letter[2] = { o->short_name, '\0' };
    bx_jw_obj(w, NULL);
    bx_jw_str(w, "kind", o->kind == BX_OPT_KIND_CALL && !o->arg ? "flag" : kind_names[o->kind]);
    bx_jw_str(w, "short", o->short_name ? letter : NULL);
    bx_jw_str(w, "long", o->name);
    bx_jw_str(w, "value", o->arg);
    bx_jw_str(w, "help", o->help);
    bx_jw_end(w);
}

static void write_options(void *ud, const struct bx_verb *v, const struct bx_opt *opts, unsigned flags)
{
    (void)v;
    struct bx_jw *w = ud;
    bx_jw_bool(w, "options_first", flags & BX_OPT_STOP_AT_ARG);
    bx_jw_arr(w, "options");
    for (const struct bx_opt *o = opts; o != bx_cli_global_opts && o->kind != BX_OPT_KIND_END; o++) {
        if (o->kind == BX_OPT_KIND_INCLUDE && o->target != bx_cli_global_opts)
            bx_opt_each(o->target, write_option, w);
        else if (o->kind != BX_OPT_KIND_INCLUDE && o->help)
            write_option(w, o);
    }
    bx_jw_end(w);
}

static void write_verb(struct bx_jw *w, const struct bx_verb *v, const char *group)
{
    bx_jw_obj(w, NULL);
    bx_jw_str(w, "name", v->name);
    bx_jw_arr(w, "aliases");
    for (const char *p = v->alias; p && *p; p += strcspn(p, "|"), p += *p == '|')
        bx_jw_strn(w, NULL, p, strcspn(p, "|"));
    bx_jw_end(w);
    bx_jw_str(w, "group", group);
    bx_jw_str(w, "args", v->args);
    bx_jw_str(w, "summary", v->summary);
    bx_jw_bool(w, "of_images", v->of_images);
    bx_cli_describe(v, write_options, w);
    bx_jw_end(w);
}

static void write_config(struct bx_jw *w)
{
    bx_jw_arr(w, "config");
    for (const struct bx_config_key *k = bx_config_keys; k->key; k++) {
        bx_jw_obj(w, NULL);
        bx_jw_str(w, "object", k->object);
        bx_jw_str(w, "key", k->key);
        bx_jw_str(w, "value", k->value);
        bx_jw_str(w, "help", k->help);
        bx_jw_end(w);
    }
    bx_jw_end(w);
}

static int print_json(void)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(OUTPUT_MAX);
    struct bx_err err = BX_ERR_INIT;
    const char *group = NULL;
    struct bx_jw w;
    bx_jw_init(&w, &out, true);
    bx_jw_obj(&w, NULL);
    bx_jw_str(&w, "version", boxlite_version());
    bx_jw_arr(&w, "options");
    bx_opt_each(bx_cli_global_opts, write_option, &w);
    bx_jw_end(&w);
    bx_jw_arr(&w, "verbs");
    for (const struct bx_verb *v = bx_verbs; v->name; v++) {
        if (!v->run)
            group = v->summary;
        else if (v->summary)
            write_verb(&w, v, group);
    }
    bx_jw_end(&w);
    write_config(&w);
    bx_jw_end(&w);
    if (bx_jw_finish(&w, &err) < 0) {
        bx_cli_error("%s", err.msg);
        return BX_EXIT_FAILURE;
    }
    printf("%s\n", bx_buf_str(&out));
    return bx_cli_finish(0);
}

int bx_verb_help(int argc, char **argv)
{
    enum bx_format format = BX_FORMAT_TABLE;
    const struct bx_opt opts[] = {
        BX_OPT_CALL(0, "format", &format, bx_format_parse, "table|json", "json: every verb and option, for programs"),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0, used = 0;
    int n = bx_cli_parse("help", opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (format == BX_FORMAT_JSON)
        return n ? bx_cli_usage("help", "as json it is of all verbs") : print_json();
    if (format != BX_FORMAT_TABLE)
        return bx_cli_usage("help", "--format is table or json");
    if (n == 0) {
        bx_cli_overview(stdout);
        return bx_cli_finish(0);
    }
    const struct bx_verb *v = bx_cli_find_verb(n, argv + 1, &used);
    char *again[] = { argv[used], (char *)(uintptr_t) "--help", NULL };
    return v ? v->run(2, again) : bx_cli_unknown_verb(argv[1]);
}
