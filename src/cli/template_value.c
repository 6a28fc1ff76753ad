/* SPDX-License-Identifier: Apache-2.0 */
/* template_value.c - see template_value.h. */
#include "cli/template_value.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define STR_MAX   (16u * 1024 * 1024)
#define DEPTH_MAX 32
#define WIDTH_MAX 1000

/* ---- values ---- */

void bx_values_done(struct bx_values *vs)
{
    bx_strv_free(vs->strings);
    for (size_t i = 0; i < vs->n_docs; i++)
        bx_json_done(&vs->docs[i]);
    free(vs->docs);
    *vs = (struct bx_values){0};
}

int bx_values_keep(struct bx_values *vs, const struct bx_json *doc)
{
    struct bx_json *more = vs->n_docs < BX_VALUES_DOCS_MAX ? realloc(vs->docs, (vs->n_docs + 1) * sizeof(*more)) : NULL;

    if (!more)
        return -ENOMEM;
    vs->docs = more;
    vs->docs[vs->n_docs++] = *doc;
    return 0;
}

int bx_value_str(struct bx_values *vs, const char *s, struct bx_value *ret)
{
    if (bx_strv_add(&vs->strings, s) < 0)
        return -ENOMEM;
    *ret = (struct bx_value){.kind = BX_VALUE_STR, .str = vs->strings[bx_strv_len(vs->strings) - 1]};
    return 0;
}

void bx_value_of(const struct bx_json *j, struct bx_value *ret)
{
    bool yes = false;

    *ret = (struct bx_value){.kind = BX_VALUE_JSON, .json = {.v = j->v, .key = "value"}};
    if (bx_json_is_obj(j) || bx_json_is_arr(j))
        return;
    if (bx_json_as_str(&ret->json, SIZE_MAX, &ret->str, NULL) == 0)
        ret->kind = BX_VALUE_STR;
    else if (bx_json_as_i64(&ret->json, INT64_MIN, INT64_MAX, &ret->num, NULL) == 0)
        ret->kind = BX_VALUE_INT;
    else if (bx_json_as_bool(&ret->json, &yes, NULL) == 0)
        ret->kind = BX_VALUE_BOOL;
    else {
        bx_cleanup_free char *text = bx_json_dump(&ret->json);

        if (bx_streq(text, "null"))
            ret->kind = BX_VALUE_NIL;
    }
    ret->num = ret->kind == BX_VALUE_BOOL ? yes : ret->num;
}

const char *bx_value_kind(const struct bx_value *v)
{
    static const char *const names[] = {"nothing", "true or false", "a number", "a string"};

    if (v->kind != BX_VALUE_JSON)
        return names[v->kind];
    return bx_json_is_obj(&v->json) ? "an object" : bx_json_is_arr(&v->json) ? "a list" : "a number";
}

bool bx_value_true(const struct bx_value *v)
{
    switch (v->kind) {
    case BX_VALUE_NIL:
        return false;
    case BX_VALUE_STR:
        return *v->str;
    case BX_VALUE_JSON:
        return (!bx_json_is_obj(&v->json) && !bx_json_is_arr(&v->json)) || bx_json_len(&v->json) > 0;
    default:
        return v->num != 0;
    }
}

/* Objects as map[a:1 b:2], lists as [1 2]. */
static int print_at(const struct bx_value *v, struct bx_buf *out, unsigned depth)
{
    bx_cleanup_free char *text = NULL;
    struct bx_json item;
    void *it = NULL;
    size_t n = 0;

    if (depth > DEPTH_MAX)
        return -ENOBUFS;
    switch (v->kind) {
    case BX_VALUE_NIL:
        return bx_buf_addstr(out, "<no value>");
    case BX_VALUE_BOOL:
        return bx_buf_addstr(out, v->num ? "true" : "false");
    case BX_VALUE_INT:
        return bx_buf_addf(out, "%lld", (long long)v->num);
    case BX_VALUE_STR:
        return bx_buf_addstr(out, v->str);
    case BX_VALUE_JSON:
        break;
    }
    if (!bx_json_is_obj(&v->json) && !bx_json_is_arr(&v->json)) {
        text = bx_json_dump(&v->json);
        return text ? bx_buf_addstr(out, text) : -ENOMEM;
    }
    bx_buf_addstr(out, bx_json_is_obj(&v->json) ? "map[" : "[");
    if (bx_json_is_obj(&v->json)) {
        while (bx_json_next(&v->json, &it, &item)) {
            struct bx_value member;

            bx_value_of(&item, &member);
            bx_buf_addf(out, "%s%s:", n++ ? " " : "", item.key);
            print_at(&member, out, depth + 1);
        }
    } else {
        for (; n < bx_json_len(&v->json); n++) {
            struct bx_value member;

            bx_value_item(v, n, &member);
            bx_buf_addstr(out, n ? " " : "");
            print_at(&member, out, depth + 1);
        }
    }
    bx_buf_addstr(out, "]");
    return bx_buf_failed(out) ? -ENOBUFS : 0;
}

int bx_value_print(const struct bx_value *v, struct bx_buf *out)
{
    return print_at(v, out, 0);
}

bool bx_value_field(const struct bx_value *v, const char *name, struct bx_value *ret, char *known, size_t size)
{
    struct bx_json item;
    void *it = NULL;
    size_t at = 0;

    known[0] = '\0';
    if (v->kind != BX_VALUE_JSON || !bx_json_is_obj(&v->json))
        return false;
    while (bx_json_next(&v->json, &it, &item)) {
        if (bx_streq(item.key, name)) {
            bx_value_of(&item, ret);
            return true;
        }
        if (at < size)
            at += (size_t)snprintf(known + at, size - at, "%s.%s", at ? ", " : "", item.key);
    }
    if (at >= size)
        snprintf(known + size - 5, 5, " ...");
    return false;
}

bool bx_value_items(const struct bx_value *v, size_t *ret_n)
{
    bool many = v->kind == BX_VALUE_JSON && (bx_json_is_obj(&v->json) || bx_json_is_arr(&v->json));

    *ret_n = many ? bx_json_len(&v->json) : 0;
    return many || v->kind == BX_VALUE_NIL;
}

void bx_value_item(const struct bx_value *v, size_t i, struct bx_value *ret)
{
    struct bx_json item;
    void *it = NULL;

    if (bx_json_is_arr(&v->json))
        item = bx_json_item(&v->json, i);
    else
        for (size_t k = 0; bx_json_next(&v->json, &it, &item) && k < i; k++)
            ;
    bx_value_of(&item, ret);
}

/* ---- functions ---- */

struct call {
    struct bx_values *vs;
    const char *name;
    const struct bx_value *args;
    size_t n;
    struct bx_value *ret;
    char *why;
    size_t size;
};

static int refuse(const struct call *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int refuse(const struct call *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(c->why, c->size, fmt, ap);
    va_end(ap);
    return -BX_EINVALID;
}

static int give_str(const struct call *c, const char *s)
{
    return s && bx_value_str(c->vs, s, c->ret) == 0 ? 0 : refuse(c, "out of memory");
}

static int give_bool(const struct call *c, bool yes)
{
    *c->ret = (struct bx_value){.kind = BX_VALUE_BOOL, .num = yes};
    return 0;
}

static int give_int(const struct call *c, size_t n)
{
    *c->ret = (struct bx_value){.kind = BX_VALUE_INT, .num = (int64_t)n};
    return 0;
}

static int need_str(const struct call *c, size_t i)
{
    return c->args[i].kind == BX_VALUE_STR ? 0 : refuse(c, "%s is no string", bx_value_kind(&c->args[i]));
}

static int do_json(const struct call *c)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(STR_MAX);
    bx_cleanup_free char *text = NULL;
    const struct bx_value *v = c->args;
    struct bx_jw w;

    if (v->kind == BX_VALUE_JSON) {
        text = bx_json_dump(&v->json);
        return give_str(c, text);
    }
    bx_jw_init(&w, &out, false);
    if (v->kind == BX_VALUE_STR)
        bx_jw_str(&w, NULL, v->str);
    else if (v->kind == BX_VALUE_INT)
        bx_jw_i64(&w, NULL, v->num);
    else if (v->kind == BX_VALUE_BOOL)
        bx_jw_bool(&w, NULL, v->num != 0);
    else
        bx_jw_null(&w, NULL);
    return bx_jw_finish(&w, NULL) < 0 ? refuse(c, "not UTF-8, or too long") : give_str(c, bx_buf_str(&out));
}

static int do_len(const struct call *c)
{
    size_t n;

    if (c->args->kind == BX_VALUE_STR)
        return give_int(c, strlen(c->args->str));
    if (c->args->kind == BX_VALUE_NIL || !bx_value_items(c->args, &n))
        return refuse(c, "%s has no length", bx_value_kind(c->args));
    return give_int(c, n);
}

static int do_index(const struct call *c)
{
    struct bx_value v = c->args[0];
    char known[4];
    size_t n;

    for (size_t i = 1; i < c->n; i++) {
        const struct bx_value *key = &c->args[i];
        struct bx_value next = {.kind = BX_VALUE_NIL};

        if (key->kind == BX_VALUE_STR && v.kind == BX_VALUE_JSON && bx_json_is_obj(&v.json)) {
            (void)bx_value_field(&v, key->str, &next, known, sizeof(known));
        } else if (key->kind == BX_VALUE_INT && v.kind == BX_VALUE_JSON && bx_json_is_arr(&v.json)) {
            n = bx_json_len(&v.json);
            if (key->num < 0 || (size_t)key->num >= n)
                return refuse(c, "there is no item %lld: there are %zu", (long long)key->num, n);
            bx_value_item(&v, (size_t)key->num, &next);
        } else {
            return refuse(c, "%s has no item named by %s", bx_value_kind(&v), bx_value_kind(key));
        }
        v = next;
    }
    *c->ret = v;
    return 0;
}

static int do_case(const struct call *c)
{
    bx_cleanup_free char *text = NULL;
    bool start = true;

    if (need_str(c, 0) < 0)
        return -BX_EINVALID;
    text = strdup(c->args->str);
    if (!text)
        return refuse(c, "out of memory");
    for (char *p = text; *p; p++) {
        bool up = *c->name == 'u' || (*c->name == 't' && start);

        start = !isalnum((unsigned char)*p);
        if (up)
            *p = (char)toupper((unsigned char)*p);
        else if (*c->name == 'l')
            *p = (char)tolower((unsigned char)*p);
    }
    return give_str(c, text);
}

static int do_join(const struct call *c)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(STR_MAX);
    size_t n;

    if (!bx_value_items(&c->args[0], &n) || need_str(c, 1) < 0)
        return refuse(c, "it takes a list and a string");
    for (size_t i = 0; i < n; i++) {
        struct bx_value item;

        bx_value_item(&c->args[0], i, &item);
        if (i > 0)
            bx_buf_addstr(&out, c->args[1].str);
        bx_value_print(&item, &out);
    }
    return bx_buf_failed(&out) ? refuse(c, "too long") : give_str(c, bx_buf_str(&out));
}

static int do_truncate(const struct call *c)
{
    bx_cleanup_free char *text = NULL;
    const char *s = c->args[0].str;
    size_t n = 0;

    if (need_str(c, 0) < 0 || c->args[1].kind != BX_VALUE_INT || c->args[1].num < 0)
        return refuse(c, "it takes a string and a length");
    for (int64_t left = c->args[1].num; s[n] && left > 0; left--) /* whole characters */
        for (n++; (s[n] & 0xc0) == 0x80; n++)
            ;
    text = strndup(s, n);
    return give_str(c, text);
}

/* As Go's Print: a space between two that are both no strings; println: always, and a newline. */
static int do_print(const struct call *c)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(STR_MAX);
    bool line = bx_streq(c->name, "println");

    for (size_t i = 0; i < c->n; i++) {
        if (i > 0 && (line || (c->args[i].kind != BX_VALUE_STR && c->args[i - 1].kind != BX_VALUE_STR)))
            bx_buf_addstr(&out, " ");
        bx_value_print(&c->args[i], &out);
    }
    if (line)
        bx_buf_addstr(&out, "\n");
    return bx_buf_failed(&out) ? refuse(c, "too long") : give_str(c, bx_buf_str(&out));
}

/* One "%-10s": its length in the format, or negative. */
static int format_one(const struct call *c, const char *f, const struct bx_value *arg, struct bx_buf *out)
{
    bx_cleanup_buf struct bx_buf text = BX_BUF_INIT(STR_MAX);
    bool left = f[1] == '-';
    const char *p = f + 1 + left;
    int width = 0, shown = 0;

    for (; isdigit((unsigned char)*p) && width <= WIDTH_MAX; p++)
        width = width * 10 + (*p - '0');
    if (width > WIDTH_MAX || !*p || !strchr("vsdtq", *p))
        return refuse(c, "of formats there are %%v %%s %%d %%t %%q, with a width up to %d", WIDTH_MAX);
    if ((*p == 'd' && arg->kind != BX_VALUE_INT) || (*p == 't' && arg->kind != BX_VALUE_BOOL))
        return refuse(c, "%%%c does not print %s", *p, bx_value_kind(arg));
    if (*p == 'q') {
        struct bx_value quoted;
        struct call json = *c;

        json.args = arg;
        json.ret = &quoted;
        if (do_json(&json) < 0)
            return -BX_EINVALID;
        bx_value_print(&quoted, &text);
    } else {
        bx_value_print(arg, &text);
    }
    for (const char *s = bx_buf_str(&text); *s; s++)
        shown += (*s & 0xc0) != 0x80;
    bx_buf_addf(out, "%*s%s%*s", left ? 0 : BX_MAX(width - shown, 0), "", bx_buf_str(&text), left ? BX_MAX(width - shown, 0) : 0, "");
    return (int)(p - f) + 1;
}

static int do_printf(const struct call *c)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(STR_MAX);
    size_t at = 1;

    if (need_str(c, 0) < 0)
        return -BX_EINVALID;
    for (const char *f = c->args[0].str; *f;) {
        size_t n = strcspn(f, "%");

        bx_buf_add(&out, f, n);
        f += n;
        if (!*f)
            break;
        if (f[1] == '%') {
            bx_buf_addstr(&out, "%");
            f += 2;
            continue;
        }
        if (at == c->n)
            return refuse(c, "more formats than values");
        int used = format_one(c, f, &c->args[at++], &out);
        if (used < 0)
            return used;
        f += used;
    }
    if (at < c->n)
        return refuse(c, "more values than formats");
    return bx_buf_failed(&out) ? refuse(c, "too long") : give_str(c, bx_buf_str(&out));
}

/* <0, 0, >0; *ok is false for what cannot be compared. */
static int compare(const struct bx_value *a, const struct bx_value *b, bool *ok)
{
    *ok = a->kind == b->kind && a->kind != BX_VALUE_JSON;
    if (!*ok)
        return 1;
    if (a->kind == BX_VALUE_STR)
        return strcmp(a->str, b->str);
    return a->kind == BX_VALUE_NIL ? 0 : (a->num > b->num) - (a->num < b->num);
}

/* eq is true when the first is one of the others. */
static int do_compare(const struct call *c)
{
    bool ok = true;
    int r = 1;

    for (size_t i = 1; i < c->n && r != 0; i++) {
        r = compare(&c->args[0], &c->args[i], &ok);
        if (!ok && c->args[0].kind != BX_VALUE_NIL && c->args[i].kind != BX_VALUE_NIL)
            return refuse(c, "%s and %s cannot be compared", bx_value_kind(&c->args[0]), bx_value_kind(&c->args[i]));
    }
    if (bx_streq(c->name, "eq"))
        return give_bool(c, r == 0);
    if (c->n != 2)
        return refuse(c, "it takes two values");
    if (bx_streq(c->name, "ne"))
        return give_bool(c, r != 0);
    if (!ok)
        return refuse(c, "nothing cannot be compared");
    return give_bool(c, bx_streq(c->name, "lt") ? r < 0 : bx_streq(c->name, "le") ? r <= 0 : bx_streq(c->name, "gt") ? r > 0 : r >= 0);
}

/* The value that decides, as in Go. */
static int do_logic(const struct call *c)
{
    bool stop = *c->name == 'o';

    if (*c->name == 'n')
        return give_bool(c, !bx_value_true(c->args));
    for (size_t i = 0; i < c->n; i++) {
        *c->ret = c->args[i];
        if (bx_value_true(&c->args[i]) == stop)
            break;
    }
    return 0;
}

static int do_split(const struct call *c)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(STR_MAX);
    struct bx_json doc = {0};
    struct bx_jw w;
    const char *s, *next;

    if (need_str(c, 0) < 0 || need_str(c, 1) < 0 || !*c->args[1].str)
        return refuse(c, "it takes two strings");
    bx_jw_init(&w, &out, false);
    bx_jw_arr(&w, NULL);
    for (s = c->args[0].str; s; s = next) {
        next = strstr(s, c->args[1].str);
        bx_jw_strn(&w, NULL, s, next ? (size_t)(next - s) : strlen(s));
        next = next ? next + strlen(c->args[1].str) : NULL;
    }
    bx_jw_end(&w);
    if (bx_jw_finish(&w, NULL) < 0 ||
        bx_json_parse((const char *)bx_buf_data(&out), bx_buf_len(&out), NULL, "split", &doc, NULL) < 0)
        return refuse(c, "too long");
    if (bx_values_keep(c->vs, &doc) < 0) {
        bx_json_done(&doc);
        return refuse(c, "out of memory");
    }
    bx_value_of(&doc, c->ret);
    return 0;
}

static const struct function {
    const char *name;
    size_t min, max;
    int (*fn)(const struct call *c);
} functions[] = {
    {"json", 1, 1, do_json},      {"len", 1, 1, do_len},        {"index", 1, 16, do_index},   {"upper", 1, 1, do_case},
    {"lower", 1, 1, do_case},     {"title", 1, 1, do_case},     {"join", 2, 2, do_join},      {"split", 2, 2, do_split},
    {"truncate", 2, 2, do_truncate}, {"print", 0, 16, do_print}, {"println", 0, 16, do_print}, {"printf", 1, 16, do_printf},
    {"eq", 2, 16, do_compare},    {"ne", 2, 2, do_compare},     {"lt", 2, 2, do_compare},     {"le", 2, 2, do_compare},
    {"gt", 2, 2, do_compare},     {"ge", 2, 2, do_compare},     {"and", 1, 16, do_logic},     {"or", 1, 16, do_logic},
    {"not", 1, 1, do_logic},
};

static const struct function *find(const char *name)
{
    for (size_t i = 0; i < BX_ARRAY_SIZE(functions); i++)
        if (bx_streq(functions[i].name, name))
            return &functions[i];
    return NULL;
}

bool bx_value_function(const char *name)
{
    return find(name) != NULL;
}

int bx_value_call(struct bx_values *vs, const char *name, const struct bx_value *args, size_t n, struct bx_value *ret, char *why,
                  size_t size)
{
    const struct function *f = find(name);
    struct call c = {.vs = vs, .name = name, .args = args, .n = n, .ret = ret, .why = why, .size = size};

    why[0] = '\0';
    if (n >= f->min && n <= f->max)
        return f->fn(&c);
    return refuse(&c, f->min == f->max ? "it takes %zu values, not %zu" : "it takes at least %zu values, not %zu", f->min, n);
}
