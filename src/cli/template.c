/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template.c - see template.h.
 *
 * There is no tree: the text is read and done at once, and what is not to be done (the branch of an `if` that was not taken) is read
 * all the same, with `skip` set, so that a mistake is found wherever it stands. A loop reads its body again for each item.
 */
#include "cli/template.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "cli/template_value.h"

#define DEPTH_MAX 32
#define WORD_MAX  64
#define ARGS_MAX  16

enum stop { STOP_END, STOP_ELSE, STOP_EOF };

struct run {
    const char *text, *p;
    struct bx_buf *out;
    struct bx_values values;
    struct bx_value root;
    unsigned depth;
    bool skip;
    struct bx_err *err;
};

static int fail(const struct run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int fail(const struct run *r, const char *fmt, ...)
{
    char text[300];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return bx_fail(r->err, BX_EINVALID, 0, "template, character %zu: %s", (size_t)(r->p - r->text) + 1, text);
}

static int put(struct run *r, const char *s, size_t n)
{
    if (r->skip || bx_buf_add(r->out, s, n) == 0)
        return 0;
    return bx_fail(r->err, BX_EINVALID, 0, "template: its text becomes too long");
}

/* ---- words ---- */

static void skip_space(struct run *r)
{
    while (isspace((unsigned char)*r->p))
        r->p++;
}

/* Are we at the end of an action, "}}" or "-}}"? */
static bool at_close(struct run *r)
{
    skip_space(r);
    return bx_starts_with(r->p, "}}") || bx_starts_with(r->p, "-}}");
}

static int take_close(struct run *r)
{
    if (!at_close(r))
        return *r->p ? fail(r, "'%.10s' is not expected here", r->p) : fail(r, "an action has no }}");
    if (*r->p == '-') {
        r->p += 3;
        skip_space(r);
    } else {
        r->p += 2;
    }
    return 0;
}

/* An identifier; empty when there is none. */
static void take_word(struct run *r, char word[WORD_MAX])
{
    size_t n = 0;

    while ((isalnum((unsigned char)*r->p) || *r->p == '_') && n + 1 < WORD_MAX)
        word[n++] = *r->p++;
    word[n] = '\0';
}

static bool take_keyword(struct run *r, const char *word)
{
    size_t n = strlen(word);

    skip_space(r);
    if (strncmp(r->p, word, n) != 0 || isalnum((unsigned char)r->p[n]) || r->p[n] == '_')
        return false;
    r->p += n;
    return true;
}

/* ---- operands ---- */

static int pipeline(struct run *r, const struct bx_value *dot, struct bx_value *ret);

/* ".a.b" behind a value. */
static int fields(struct run *r, struct bx_value *v)
{
    char word[WORD_MAX], known[160];

    while (*r->p == '.' && (isalpha((unsigned char)r->p[1]) || r->p[1] == '_')) {
        struct bx_value next;

        r->p++;
        take_word(r, word);
        if (r->skip || v->kind == BX_VALUE_NIL)
            continue;
        if (!bx_value_field(v, word, &next, known, sizeof(known)))
            return *known ? fail(r, "there is no .%s, but %s", word, known) : fail(r, "there is no .%s in %s", word, bx_value_kind(v));
        *v = next;
    }
    return 0;
}

static int take_string(struct run *r, struct bx_value *ret)
{
    static const char escapes[] = "n\nt\tr\r\"\"\\\\''";
    char quote = *r->p++;
    bx_cleanup_buf struct bx_buf text = BX_BUF_INIT(65536);

    for (; *r->p != quote; r->p++) {
        char c = *r->p;

        if (!c || (c == '\n' && quote == '"'))
            return fail(r, "a string has no end");
        if (c == '\\' && quote == '"') {
            const char *e = r->p[1] ? strchr(escapes, r->p[1]) : NULL;

            if (!e || (e - escapes) % 2)
                return fail(r, "\\%c in a string is not known", r->p[1]);
            c = e[1];
            r->p++;
        }
        if (bx_buf_add(&text, &c, 1) < 0)
            return fail(r, "a string is too long");
    }
    r->p++;
    return bx_value_str(&r->values, bx_buf_str(&text), ret) < 0 ? fail(r, "out of memory") : 0;
}

static int take_number(struct run *r, struct bx_value *ret)
{
    char digits[24];
    size_t n = strspn(r->p + 1, "0123456789") + 1;

    snprintf(digits, sizeof(digits), "%.*s", (int)BX_MIN(n, sizeof(digits) - 1), r->p);
    *ret = (struct bx_value){.kind = BX_VALUE_INT};
    if (n >= sizeof(digits) || bx_parse_i64(digits, INT64_MIN, INT64_MAX, &ret->num) < 0)
        return fail(r, "'%s' is no number", digits);
    r->p += n;
    return 0;
}

static int operand(struct run *r, const struct bx_value *dot, struct bx_value *ret)
{
    if (*r->p == '"' || *r->p == '`')
        return take_string(r, ret);
    if (isdigit((unsigned char)*r->p) || (*r->p == '-' && isdigit((unsigned char)r->p[1])))
        return take_number(r, ret);
    if (*r->p == '(') {
        int e;

        r->p++;
        if (++r->depth > DEPTH_MAX)
            return fail(r, "too many brackets in one another");
        e = pipeline(r, dot, ret);
        r->depth--;
        if (e < 0)
            return e;
        skip_space(r);
        if (*r->p != ')')
            return fail(r, "a ')' is missing");
        r->p++;
        return fields(r, ret);
    }
    if (*r->p == '.' || *r->p == '$') {
        *ret = *r->p == '$' ? r->root : *dot;
        if (*r->p == '$' || !(isalpha((unsigned char)r->p[1]) || r->p[1] == '_'))
            r->p++;
        if (r->p[-1] == '$' && (isalpha((unsigned char)*r->p) || *r->p == '_'))
            return fail(r, "there are no variables but $");
        return fields(r, ret);
    }
    return fail(r, "a field, a value or a function is missing");
}

/* true, false, nil: words that are values. */
static bool constant(const char *word, struct bx_value *ret)
{
    if (bx_streq(word, "nil"))
        *ret = (struct bx_value){.kind = BX_VALUE_NIL};
    else if (bx_streq(word, "true") || bx_streq(word, "false"))
        *ret = (struct bx_value){.kind = BX_VALUE_BOOL, .num = *word == 't'};
    else
        return false;
    return true;
}

/* ---- pipelines ---- */

/* What goes on until '|', ')' or the end. */
static int arguments(struct run *r, const struct bx_value *dot, struct bx_value *args, size_t *n)
{
    for (;;) {
        char word[WORD_MAX];
        int e = 0;

        if (at_close(r) || *r->p == '|' || *r->p == ')' || !*r->p)
            return 0;
        if (*n == ARGS_MAX)
            return fail(r, "too many arguments");
        if (isalpha((unsigned char)*r->p)) {
            take_word(r, word);
            if (!constant(word, &args[*n]))
                return fail(r, "a function's result as an argument needs brackets: (%s ...)", word);
        } else {
            e = operand(r, dot, &args[*n]);
        }
        if (e < 0)
            return e;
        (*n)++;
    }
}

/* One command; `piped` (or NULL) is its last argument. */
static int command(struct run *r, const struct bx_value *dot, const struct bx_value *piped, struct bx_value *ret)
{
    struct bx_value args[ARGS_MAX + 1];
    char word[WORD_MAX];
    size_t n = 0;
    int e;

    skip_space(r);
    if (!isalpha((unsigned char)*r->p)) {
        if (piped)
            return fail(r, "a function must follow |");
        e = operand(r, dot, ret);
        if (e == 0 && !at_close(r) && *r->p && *r->p != '|' && *r->p != ')')
            return fail(r, "'%.10s' is not expected here: only functions have arguments", r->p);
        return e;
    }
    take_word(r, word);
    if (!piped && constant(word, ret))
        return 0;
    e = arguments(r, dot, args, &n);
    if (e < 0)
        return e;
    if (piped)
        args[n++] = *piped;
    if (!bx_value_function(word))
        return fail(r, "there is no function '%s'", word);
    if (r->skip) {
        *ret = (struct bx_value){.kind = BX_VALUE_NIL};
        return 0;
    }
    char why[200];
    return bx_value_call(&r->values, word, args, n, ret, why, sizeof(why)) < 0 ? fail(r, "%s: %s", word, why) : 0;
}

static int pipeline(struct run *r, const struct bx_value *dot, struct bx_value *ret)
{
    int e = command(r, dot, NULL, ret);

    for (skip_space(r); e == 0 && *r->p == '|'; skip_space(r)) {
        struct bx_value piped = *ret;

        r->p++;
        e = command(r, dot, &piped, ret);
    }
    return e;
}

/* ---- actions ---- */

static int list(struct run *r, const struct bx_value *dot, enum stop *ret);

/* A branch that is done, or only read. */
static int branch(struct run *r, const struct bx_value *dot, bool take, enum stop *stop)
{
    bool skip = r->skip;
    int e;

    r->skip = skip || !take;
    e = list(r, dot, stop);
    r->skip = skip;
    return e;
}

/* "if" or "with", up to its end. */
static int condition(struct run *r, const struct bx_value *dot, bool with)
{
    struct bx_value v = {.kind = BX_VALUE_NIL};
    enum stop stop = STOP_EOF;
    bool done, yes;
    int e = pipeline(r, dot, &v);

    if (e == 0)
        e = take_close(r);
    if (e < 0)
        return e;
    done = yes = bx_value_true(&v);
    e = branch(r, with ? &v : dot, yes, &stop);
    while (e == 0 && stop == STOP_ELSE) {
        bool more = take_keyword(r, with ? "with" : "if");

        v = (struct bx_value){.kind = BX_VALUE_BOOL, .num = 1};
        if (more) {
            bool skip = r->skip;

            r->skip = skip || done;
            e = pipeline(r, dot, &v);
            r->skip = skip;
        }
        if (e == 0)
            e = take_close(r);
        yes = !done && bx_value_true(&v);
        done = done || yes;
        if (e == 0)
            e = branch(r, with && more ? &v : dot, yes, &stop);
        if (e == 0 && !more && stop == STOP_ELSE)
            return fail(r, "a second else");
    }
    return e < 0 ? e : stop == STOP_END ? 0 : fail(r, "an end is missing");
}

static int loop(struct run *r, const struct bx_value *dot)
{
    struct bx_value v = {.kind = BX_VALUE_NIL}, item;
    const char *body;
    enum stop stop = STOP_EOF;
    size_t n = 0;
    int e = pipeline(r, dot, &v);

    if (e == 0)
        e = take_close(r);
    if (e < 0)
        return e;
    if (!r->skip && !bx_value_items(&v, &n))
        return fail(r, "%s cannot be ranged over", bx_value_kind(&v));
    body = r->p;
    for (size_t i = 0; i < n && e == 0; i++) {
        r->p = body;
        bx_value_item(&v, i, &item);
        e = branch(r, &item, true, &stop);
    }
    if (n == 0)
        e = branch(r, dot, false, &stop);
    if (e == 0 && stop == STOP_ELSE) {
        e = take_close(r);
        if (e == 0)
            e = branch(r, dot, n == 0, &stop);
    }
    return e < 0 ? e : stop == STOP_END ? 0 : fail(r, "an end is missing");
}

static int print_action(struct run *r, const struct bx_value *dot)
{
    bx_cleanup_buf struct bx_buf text = BX_BUF_INIT(r->out->max);
    struct bx_value v = {.kind = BX_VALUE_NIL};
    int e = pipeline(r, dot, &v);

    if (e == 0)
        e = take_close(r);
    if (e < 0 || r->skip)
        return e;
    if (bx_value_print(&v, &text) < 0)
        return fail(r, "its text becomes too long");
    return put(r, bx_buf_str(&text), bx_buf_len(&text));
}

static int comment(struct run *r)
{
    const char *end = strstr(r->p, "*/");

    if (!end)
        return fail(r, "a comment has no end");
    r->p = end + 2;
    return take_close(r);
}

/* Text up to the next action; *ret: there is one, and we are in it. */
static int literal(struct run *r, bool *ret)
{
    const char *open = strstr(r->p, "{{");
    size_t n = open ? (size_t)(open - r->p) : strlen(r->p);
    bool trim = open && open[2] == '-' && isspace((unsigned char)open[3]);
    size_t shown = n;

    while (trim && shown > 0 && isspace((unsigned char)r->p[shown - 1]))
        shown--;
    if (put(r, r->p, shown) < 0)
        return -BX_EINVALID;
    r->p += n + (open ? 2 : 0) + (trim ? 1 : 0);
    *ret = open != NULL;
    return 0;
}

static int list_in(struct run *r, const struct bx_value *dot, enum stop *ret)
{
    bool action;
    int e;

    while ((e = literal(r, &action)) == 0) {
        *ret = STOP_EOF;
        if (!action)
            return 0;
        skip_space(r);
        if (bx_starts_with(r->p, "/*")) {
            e = comment(r);
        } else if (take_keyword(r, "end")) {
            *ret = STOP_END;
            return take_close(r);
        } else if (take_keyword(r, "else")) {
            *ret = STOP_ELSE; /* whoever began closes it: there may be an "if" */
            return 0;
        } else if (take_keyword(r, "if")) {
            e = condition(r, dot, false);
        } else if (take_keyword(r, "with")) {
            e = condition(r, dot, true);
        } else if (take_keyword(r, "range")) {
            e = loop(r, dot);
        } else {
            e = print_action(r, dot);
        }
        if (e < 0)
            return e;
    }
    return e;
}

static int list(struct run *r, const struct bx_value *dot, enum stop *ret)
{
    int e;

    if (++r->depth > DEPTH_MAX)
        return fail(r, "too many actions in one another");
    e = list_in(r, dot, ret);
    r->depth--;
    return e;
}

int bx_template_run(const char *template, const struct bx_json *value, struct bx_buf *out, struct bx_err *err)
{
    struct bx_err ignored;
    struct run r = {.text = template, .p = template, .out = out, .err = err ? err : &ignored};
    enum stop stop = STOP_EOF;
    int e;

    bx_value_of(value, &r.root);
    e = list(&r, &r.root, &stop);
    if (e == 0 && stop != STOP_EOF)
        e = fail(&r, "an %s without a beginning", stop == STOP_END ? "end" : "else");
    bx_values_done(&r.values);
    return e;
}
