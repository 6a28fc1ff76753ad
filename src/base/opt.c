/* SPDX-License-Identifier: Apache-2.0 */
/* opt.c - reads a command line by a table of options; prints the table as help. */
#include "base/opt.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

#define WORD_MAX 48  /* longer words get no suggestion */
#define DISTANCE_MAX 2
#define HELP_COLUMN 30

/* Number of single-character edits (neighbours swapped count once) from a to b; DISTANCE_MAX + 1 if it is more. */
static unsigned distance(const char *a, const char *b)
{
    unsigned rows[3][WORD_MAX + 1], *before = rows[0], *last = rows[1], *row = rows[2];
    size_t n = strlen(a), m = strlen(b);

    if (n > WORD_MAX || m > WORD_MAX)
        return DISTANCE_MAX + 1;
    for (size_t j = 0; j <= m; j++)
        last[j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned *oldest = before;

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned best = last[j - 1] + (a[i - 1] != b[j - 1]);

            best = BX_MIN(best, BX_MIN(last[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = BX_MIN(best, before[j - 2] + 1);
            row[j] = best;
        }
        before = last;
        last = row;
        row = oldest;
    }
    return BX_MIN(last[m], (unsigned)DISTANCE_MAX + 1);
}

/* Keeps `name` in *best if it is nearer to word than what is there. */
static void consider(const char *word, const char *name, const char **best, unsigned *best_distance)
{
    unsigned d = distance(word, name);

    if (strlen(word) >= 3 && bx_starts_with(name, word))
        d = BX_MIN(d, 1u); /* an abbreviation */
    if (d > 1 && (d >= strlen(word) || strlen(word) < 4))
        return; /* a short word is near to everything */
    if (d <= DISTANCE_MAX && d < *best_distance) {
        *best = name;
        *best_distance = d;
    }
}

const char *bx_opt_nearest(const char *word, const char *const *names)
{
    unsigned best_distance = DISTANCE_MAX + 1;
    const char *best = NULL;

    for (; *names; names++)
        consider(word, *names, &best, &best_distance);
    return best;
}

static void nearest_in(const struct bx_opt *o, const char *word, const char **best, unsigned *best_distance)
{
    for (; o->kind != BX_OPT_KIND_END; o++) {
        if (o->kind == BX_OPT_KIND_INCLUDE)
            nearest_in(o->target, word, best, best_distance);
        else if (o->name && o->help)
            consider(word, o->name, best, best_distance);
    }
}

static const struct bx_opt *find_short(const struct bx_opt *o, char c)
{
    for (; o->kind != BX_OPT_KIND_END; o++) {
        const struct bx_opt *in = o->kind == BX_OPT_KIND_INCLUDE ? find_short(o->target, c) : NULL;

        if (in)
            return in;
        if (o->short_name && o->short_name == c)
            return o;
    }
    return NULL;
}

/* The row named by the first len characters of word. */
static const struct bx_opt *find_long(const struct bx_opt *o, const char *word, size_t len)
{
    for (; o->kind != BX_OPT_KIND_END; o++) {
        const struct bx_opt *in = o->kind == BX_OPT_KIND_INCLUDE ? find_long(o->target, word, len) : NULL;

        if (in)
            return in;
        if (o->name && strlen(o->name) == len && memcmp(o->name, word, len) == 0)
            return o;
    }
    return NULL;
}

/* `shown` is the option as the user wrote it. */
static int apply(const struct bx_opt *o, const char *shown, const char *value, struct bx_err *err)
{
    int r;

    switch (o->kind) {
    case BX_OPT_KIND_FLAG:
    case BX_OPT_KIND_NEGATABLE:
        *(bool *)o->target = true;
        return 0;
    case BX_OPT_KIND_STRING:
        *(const char **)o->target = value;
        return 0;
    case BX_OPT_KIND_LIST:
        if (bx_strv_add(o->target, value) < 0)
            return bx_fail(err, BX_ERESOURCE, ENOMEM, "%s", shown);
        return 0;
    case BX_OPT_KIND_INT:
        r = bx_parse_i64(value, o->min, o->max, o->target);
        if (r == -ERANGE)
            return bx_fail(err, BX_EINVALID, 0, "%s must lie between %lld and %lld, not %s", shown,
                           (long long)o->min, (long long)o->max, value);
        if (r < 0)
            return bx_fail(err, BX_EINVALID, 0, "%s needs a number, not \"%s\"", shown, value);
        return 0;
    case BX_OPT_KIND_SIZE:
        if (bx_parse_size(value, o->target) < 0)
            return bx_fail(err, BX_EINVALID, 0, "%s needs a size such as 512m or 10g, not \"%s\"", shown, value);
        return 0;
    case BX_OPT_KIND_CALL:
        r = o->call(o->target, value, err);
        return r < 0 ? bx_prefix(err, "%s", shown) : 0;
    case BX_OPT_KIND_HELP:
        return BX_OPT_HELP_ASKED;
    default:
        bx_assert(!"row cannot be used");
    }
}

/* Parses argv[*at], a long option; *at moves on to its value when that stands apart. */
static int parse_long(const struct bx_opt *table, int argc, char **argv, int *at, struct bx_err *err)
{
    const char *word = argv[*at] + 2, *eq = strchr(word, '='), *near = NULL;
    size_t len = eq ? (size_t)(eq - word) : strlen(word);
    const struct bx_opt *o = find_long(table, word, len);
    unsigned best = DISTANCE_MAX + 1;
    char shown[WORD_MAX + 16];

    snprintf(shown, sizeof(shown), "--%.*s", (int)BX_MIN(len, (size_t)WORD_MAX), word);
    if (!o && !eq && bx_starts_with(word, "no-")) {
        o = find_long(table, word + 3, len - 3);
        if (o && o->kind == BX_OPT_KIND_NEGATABLE) {
            *(bool *)o->target = false;
            return 0;
        }
        o = NULL;
    }
    if (!o) {
        nearest_in(table, shown + 2, &near, &best);
        return near ? bx_fail(err, BX_EINVALID, 0, "unknown option %s (did you mean --%s?)", shown, near)
                    : bx_fail(err, BX_EINVALID, 0, "unknown option %s", shown);
    }
    if (!o->arg)
        return eq ? bx_fail(err, BX_EINVALID, 0, "%s takes no value", shown) : apply(o, shown, NULL, err);
    if (eq)
        return apply(o, shown, eq + 1, err);
    if (*at + 1 >= argc)
        return bx_fail(err, BX_EINVALID, 0, "%s needs a value (%s)", shown, o->arg);
    return apply(o, shown, argv[++*at], err);
}

/* Parses argv[*at], a cluster of short options, the last of which may take a value. */
static int parse_short(const struct bx_opt *table, int argc, char **argv, int *at, struct bx_err *err)
{
    for (const char *p = argv[*at] + 1; *p; p++) {
        const struct bx_opt *o = find_short(table, *p);
        char shown[8];
        int r;

        bx_str_printable(shown + 1, sizeof(shown) - 1, p, 1);
        shown[0] = '-';
        if (!o)
            return bx_fail(err, BX_EINVALID, 0, "unknown option %s in %s", shown, argv[*at]);
        if (!o->arg) {
            r = apply(o, shown, NULL, err);
            if (r != 0)
                return r;
            continue;
        }
        if (p[1])
            return apply(o, shown, p + 1 + (p[1] == '='), err);
        if (*at + 1 >= argc)
            return bx_fail(err, BX_EINVALID, 0, "%s needs a value (%s)", shown, o->arg);
        return apply(o, shown, argv[++*at], err);
    }
    return 0;
}

int bx_opt_parse(const struct bx_opt *table, unsigned flags, int argc, char **argv, struct bx_err *err)
{
    int kept = 0, at;

    for (at = 0; at < argc; at++) {
        int r;

        if (argv[at][0] != '-' || !argv[at][1]) {
            if (flags & BX_OPT_STOP_AT_ARG)
                break;
            argv[kept++] = argv[at];
            continue;
        }
        if (bx_streq(argv[at], "--")) {
            at++;
            break;
        }
        r = argv[at][1] == '-' ? parse_long(table, argc, argv, &at, err)
                               : parse_short(table, argc, argv, &at, err);
        if (r != 0)
            return r;
    }
    while (at < argc)
        argv[kept++] = argv[at++];
    if (kept < argc)
        argv[kept] = NULL;
    return kept;
}

void bx_opt_each(const struct bx_opt *o, bx_opt_row_fn *fn, void *ud)
{
    for (; o->kind != BX_OPT_KIND_END; o++) {
        if (o->kind == BX_OPT_KIND_INCLUDE)
            bx_opt_each(o->target, fn, ud);
        else if (o->help)
            fn(ud, o);
    }
}

static void print_row(void *ud, const struct bx_opt *o)
{
    FILE *out = ud;
    int column;

    if (o->kind == BX_OPT_KIND_GROUP) {
        fprintf(out, "\n%s:\n", o->help);
        return;
    }
    column = o->short_name ? fprintf(out, "  -%c%s", o->short_name, o->name ? ", " : "") : fprintf(out, "      ");
    if (o->name)
        column += fprintf(out, "--%s%s", o->kind == BX_OPT_KIND_NEGATABLE ? "[no-]" : "", o->name);
    if (o->arg)
        column += fprintf(out, " %s", o->arg);
    if (column > HELP_COLUMN - 2)
        column = fprintf(out, "\n") - 1;
    fprintf(out, "%*s%s\n", HELP_COLUMN - column, "", o->help);
}

void bx_opt_help(const struct bx_opt *o, FILE *out)
{
    bx_opt_each(o, print_row, out);
}
