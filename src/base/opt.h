/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opt.h - command line options from a table, and the help text from the same table.
 *
 *     struct bx_opt opts[] = {
 *         BX_OPT_FLAG('d', "detach", &o.detach, "leave the box running"),
 *         BX_OPT_LIST('e', "env", &o.env, "NAME=VALUE", "set a variable"),
 *         BX_OPT_INT('c', "cpus", &o.cpus, 1, BX_CPUS_MAX, "N", "processors"),
 *         BX_OPT_INCLUDE(global_opts),
 *         BX_OPT_END,
 *     };
 *     r = bx_opt_parse(opts, BX_OPT_STOP_AT_ARG, argc - 1, argv + 1, &err);
 *
 * Accepted: --name=value, --name value, -n value, -nvalue, -n=value, flags in one cluster (-it), --no-name for
 * flags declared so, "--" as the end of options. Names are matched whole. Rows without help are not shown.
 */
#ifndef BX_BASE_OPT_H
#define BX_BASE_OPT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

enum bx_opt_kind {
    BX_OPT_KIND_END,
    BX_OPT_KIND_FLAG,      /* bool */
    BX_OPT_KIND_NEGATABLE, /* bool; --no-name clears it */
    BX_OPT_KIND_STRING,    /* const char *, into argv */
    BX_OPT_KIND_LIST,      /* char **, a strv on the heap, one more at each use */
    BX_OPT_KIND_INT,       /* int64_t within [min, max] */
    BX_OPT_KIND_SIZE,      /* uint64_t, as bx_parse_size */
    BX_OPT_KIND_CALL,      /* a function; takes a value if the row has `arg` */
    BX_OPT_KIND_HELP,      /* stops parsing: bx_opt_parse returns BX_OPT_HELP_ASKED */
    BX_OPT_KIND_GROUP,     /* a heading in the help */
    BX_OPT_KIND_INCLUDE,   /* another table, at target */
};

/* 0 or -code with err set (the parser puts the option's name before the message). value is NULL without `arg`. */
typedef int bx_opt_fn(void *target, const char *value, struct bx_err *err);

struct bx_opt {
    enum bx_opt_kind kind;
    char short_name; /* 0: none */
    const char *name; /* NULL: none */
    void *target;
    const char *arg; /* name of the value in the help */
    const char *help;
    int64_t min, max;
    bx_opt_fn *call;
};

#define BX_OPT_END { .kind = BX_OPT_KIND_END }
#define BX_OPT_GROUP(text) { .kind = BX_OPT_KIND_GROUP, .help = (text) }
#define BX_OPT_INCLUDE(table) { .kind = BX_OPT_KIND_INCLUDE, .target = (void *)(table) }
#define BX_OPT_HELP(c, n) { .kind = BX_OPT_KIND_HELP, .short_name = (c), .name = (n), .help = "show this help" }
#define BX_OPT_ROW_(k, c, n, t, a, h)                                                                     \
    .kind = (k), .short_name = (c), .name = (n), .target = (t), .arg = (a), .help = (h)
#define BX_OPT_FLAG(c, n, t, h) { BX_OPT_ROW_(BX_OPT_KIND_FLAG, c, n, t, NULL, h) }
#define BX_OPT_NEGATABLE(c, n, t, h) { BX_OPT_ROW_(BX_OPT_KIND_NEGATABLE, c, n, t, NULL, h) }
#define BX_OPT_STRING(c, n, t, a, h) { BX_OPT_ROW_(BX_OPT_KIND_STRING, c, n, t, a, h) }
#define BX_OPT_LIST(c, n, t, a, h) { BX_OPT_ROW_(BX_OPT_KIND_LIST, c, n, t, a, h) }
#define BX_OPT_INT(c, n, t, lo, hi, a, h) { BX_OPT_ROW_(BX_OPT_KIND_INT, c, n, t, a, h), .min = (lo), .max = (hi) }
#define BX_OPT_SIZE(c, n, t, a, h) { BX_OPT_ROW_(BX_OPT_KIND_SIZE, c, n, t, a, h) }
#define BX_OPT_CALL(c, n, t, f, a, h) { BX_OPT_ROW_(BX_OPT_KIND_CALL, c, n, t, a, h), .call = (f) }

#define BX_OPT_STOP_AT_ARG 0x1u /* the first argument ends the options: the rest belongs to another command */

#define BX_OPT_HELP_ASKED 0x7fffffff

/*
 * Parses argv[0..argc), which does not include the program's name. The arguments that are no options are moved to
 * the front, in order, and (if any option was removed) a NULL is put after them. Returns their number,
 * BX_OPT_HELP_ASKED, or -BX_EINVALID with a message that names the option.
 */
int bx_opt_parse(const struct bx_opt *table, unsigned flags, int argc, char **argv, struct bx_err *err);

/* Writes the table's help, one option a line. */
void bx_opt_help(const struct bx_opt *table, FILE *out);

/* Calls fn for each row that the help shows, headings too, rows of included tables in their place. */
typedef void bx_opt_row_fn(void *ud, const struct bx_opt *row);
void bx_opt_each(const struct bx_opt *table, bx_opt_row_fn *fn, void *ud);

/* Of the NULL-terminated names, the one that `word` was probably meant to be, or NULL. For verbs. */
const char *bx_opt_nearest(const char *word, const char *const *names);

#endif
