/* SPDX-License-Identifier: Apache-2.0 */
/* json.c - strict reading over jansson, and a small writer. See json.h. */
#include "host/json.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

/* --- where a value is, for messages --- */

#define PATH_DEPTH 16

static void path_of(const struct bx_json *j, char *dst, size_t size, const char **ret_what)
{
    const struct bx_json *chain[PATH_DEPTH];
    size_t n = 0, used = 0;

    for (; j->up; j = j->up)
        if (n < PATH_DEPTH)
            chain[n++] = j;
    *ret_what = j->key ? j->key : "JSON";
    dst[0] = '\0';
    while (n-- > 0 && used < size) {
        int r;

        if (chain[n]->key) {
            char key[64];

            bx_str_printable(key, sizeof(key), chain[n]->key, strlen(chain[n]->key));
            r = snprintf(dst + used, size - used, "%s%s", used ? "." : "", key);
        } else {
            r = snprintf(dst + used, size - used, "[%zu]", chain[n]->index);
        }
        if (r < 0)
            return;
        used += (size_t)r;
    }
}

int bx_json_fail(const struct bx_json *j, struct bx_err *err, const char *fmt, ...)
{
    char path[200], text[200];
    const char *what;
    va_list ap;

    path_of(j, path, sizeof(path), &what);
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return bx_fail(err, BX_EINVALID, 0, "%s:%s%s %s", what, path[0] ? " " : "", path, text);
}

/* --- parsing --- */

/* Bounds what jansson will build, before it builds anything: brackets, commas and colons outside strings. */
static int prescan(const char *text, size_t len, const struct bx_json_limits *lim, const char *what,
                   struct bx_err *err)
{
    unsigned depth = 0;
    size_t values = 1;
    bool in_string = false;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
            continue;
        }
        switch (c) {
        case '"':
            in_string = true;
            break;
        case '{':
        case '[':
            if (++depth > lim->depth)
                return bx_fail(err, BX_EINVALID, 0, "%s: nested deeper than %u", what, lim->depth);
            values++;
            break;
        case '}':
        case ']':
            if (depth > 0)
                depth--;
            break;
        case ',':
        case ':':
            values++;
            break;
        default:
            break;
        }
    }
    if (values > lim->values)
        return bx_fail(err, BX_EINVALID, 0, "%s: more than %zu values", what, lim->values);
    return 0;
}

int bx_json_parse(const char *text, size_t len, const struct bx_json_limits *limits, const char *what,
                  struct bx_json *ret, struct bx_err *err)
{
    struct bx_json_limits lim = limits ? *limits : BX_JSON_LIMITS;
    json_error_t je;
    json_t *v;

    if (len > lim.bytes)
        return bx_fail(err, BX_EINVALID, 0, "%s: %zu bytes, more than %zu", what, len, lim.bytes);
    int r = prescan(text, len, &lim, what, err);
    if (r < 0)
        return r;
    v = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
    if (!v) {
        char why[sizeof(je.text)];

        bx_str_printable(why, sizeof(why), je.text, strnlen(je.text, sizeof(je.text)));
        return bx_fail(err, BX_EINVALID, 0, "%s: line %d: %s", what, je.line, why);
    }
    *ret = (struct bx_json){.v = v, .key = what};
    return 0;
}

void bx_json_done(struct bx_json *root)
{
    json_decref(root->v);
    root->v = NULL;
}

/* --- one value --- */

bool bx_json_is_str(const struct bx_json *j)
{
    return json_is_string(j->v);
}
bool bx_json_is_obj(const struct bx_json *j)
{
    return json_is_object(j->v);
}
bool bx_json_is_arr(const struct bx_json *j)
{
    return json_is_array(j->v);
}

int bx_json_as_obj(const struct bx_json *j, struct bx_err *err)
{
    return json_is_object(j->v) ? 0 : bx_json_fail(j, err, "must be an object");
}

int bx_json_as_str(const struct bx_json *j, size_t max, const char **ret, struct bx_err *err)
{
    if (!json_is_string(j->v))
        return bx_json_fail(j, err, "must be a string");
    if (json_string_length(j->v) > max)
        return bx_json_fail(j, err, "is longer than %zu bytes", max);
    *ret = json_string_value(j->v);
    return 0;
}

int bx_json_as_u64(const struct bx_json *j, uint64_t min, uint64_t max, uint64_t *ret, struct bx_err *err)
{
    json_int_t n;

    if (!json_is_integer(j->v))
        return bx_json_fail(j, err, "must be a whole number");
    n = json_integer_value(j->v);
    if (n < 0 || (uint64_t)n < min || (uint64_t)n > max)
        return bx_json_fail(j, err, "must be %" PRIu64 " to %" PRIu64 ", not %lld", min, max, (long long)n);
    *ret = (uint64_t)n;
    return 0;
}

int bx_json_as_i64(const struct bx_json *j, int64_t min, int64_t max, int64_t *ret, struct bx_err *err)
{
    json_int_t n;

    if (!json_is_integer(j->v))
        return bx_json_fail(j, err, "must be a whole number");
    n = json_integer_value(j->v);
    if (n < min || n > max)
        return bx_json_fail(j, err, "must be %" PRId64 " to %" PRId64 ", not %lld", min, max, (long long)n);
    *ret = n;
    return 0;
}

int bx_json_as_bool(const struct bx_json *j, bool *ret, struct bx_err *err)
{
    if (!json_is_boolean(j->v))
        return bx_json_fail(j, err, "must be true or false");
    *ret = json_is_true(j->v);
    return 0;
}

static int as_arr(const struct bx_json *j, size_t max_items, size_t *ret_n, struct bx_err *err)
{
    if (!json_is_array(j->v))
        return bx_json_fail(j, err, "must be an array");
    if (json_array_size(j->v) > max_items)
        return bx_json_fail(j, err, "has more than %zu items", max_items);
    *ret_n = json_array_size(j->v);
    return 0;
}

/* --- by key --- */

/* The value of a key: 1, or 0 when missing or null, or negative when o is no object. */
static int find(const struct bx_json *o, const char *key, struct bx_json *ret, struct bx_err *err)
{
    *ret = (struct bx_json){.up = o, .key = key};
    if (!json_is_object(o->v))
        return bx_json_fail(o, err, "must be an object");
    ret->v = json_object_get(o->v, key);
    if (!ret->v || json_is_null(ret->v)) {
        ret->v = NULL;
        return 0;
    }
    return 1;
}

static int need(const struct bx_json *o, const char *key, struct bx_json *ret, struct bx_err *err)
{
    int r = find(o, key, ret, err);

    return r == 0 ? bx_json_fail(ret, err, "is missing") : r;
}

/* Both forms of each getter differ only in what a missing value means. */
#define BOTH(type, params, call)                                                                             \
    int bx_json_##type params                                                                                \
    {                                                                                                        \
        struct bx_json j;                                                                                    \
        int r = need(o, key, &j, err);                                                                       \
                                                                                                             \
        return r < 0 ? r : call;                                                                             \
    }                                                                                                        \
    int bx_json_opt_##type params                                                                            \
    {                                                                                                        \
        struct bx_json j;                                                                                    \
        int r = find(o, key, &j, err);                                                                       \
                                                                                                             \
        if (r <= 0)                                                                                          \
            return r;                                                                                        \
        r = call;                                                                                            \
        return r < 0 ? r : 1;                                                                                \
    }

BOTH(u64,
     (const struct bx_json *o, const char *key, uint64_t min, uint64_t max, uint64_t *ret,
      struct bx_err *err),
     bx_json_as_u64(&j, min, max, ret, err))
BOTH(i64,
     (const struct bx_json *o, const char *key, int64_t min, int64_t max, int64_t *ret, struct bx_err *err),
     bx_json_as_i64(&j, min, max, ret, err))
BOTH(bool, (const struct bx_json *o, const char *key, bool *ret, struct bx_err *err),
     bx_json_as_bool(&j, ret, err))

int bx_json_str(const struct bx_json *o, const char *key, size_t max, const char **ret, struct bx_err *err)
{
    struct bx_json j;
    int r = need(o, key, &j, err);

    return r < 0 ? r : bx_json_as_str(&j, max, ret, err);
}

int bx_json_opt_str(const struct bx_json *o, const char *key, size_t max, const char **ret,
                    struct bx_err *err)
{
    struct bx_json j;
    int r = find(o, key, &j, err);

    if (r > 0) {
        r = bx_json_as_str(&j, max, ret, err);
        return r < 0 ? r : 1;
    }
    if (r == 0)
        *ret = NULL;
    return r;
}

int bx_json_opt_obj(const struct bx_json *o, const char *key, struct bx_json *ret, struct bx_err *err)
{
    int r = find(o, key, ret, err);

    if (r > 0)
        r = bx_json_as_obj(ret, err) < 0 ? -BX_EINVALID : 1;
    return r;
}

int bx_json_obj(const struct bx_json *o, const char *key, struct bx_json *ret, struct bx_err *err)
{
    int r = need(o, key, ret, err);

    return r < 0 ? r : bx_json_as_obj(ret, err);
}

int bx_json_opt_arr(const struct bx_json *o, const char *key, size_t max_items, struct bx_json *ret,
                    size_t *ret_n, struct bx_err *err)
{
    int r = find(o, key, ret, err);

    if (r > 0)
        return as_arr(ret, max_items, ret_n, err) < 0 ? -BX_EINVALID : 1;
    if (r == 0)
        *ret_n = 0;
    return r;
}

int bx_json_arr(const struct bx_json *o, const char *key, size_t max_items, struct bx_json *ret,
                size_t *ret_n, struct bx_err *err)
{
    int r = need(o, key, ret, err);

    return r < 0 ? r : as_arr(ret, max_items, ret_n, err);
}

int bx_json_opt_strv(const struct bx_json *o, const char *key, size_t max_items, size_t max_len, char ***ret,
                     struct bx_err *err)
{
    struct bx_json arr;
    bx_cleanup_strv char **list = NULL;
    size_t n = 0;
    int r = bx_json_opt_arr(o, key, max_items, &arr, &n, err);

    if (r <= 0) {
        if (r == 0)
            *ret = NULL;
        return r;
    }
    list = calloc(n + 1, sizeof(*list));
    if (!list)
        return bx_fail(err, BX_ERESOURCE, 0, "out of memory");
    for (size_t i = 0; i < n; i++) {
        struct bx_json item = bx_json_item(&arr, i);
        const char *s = "";

        r = bx_json_as_str(&item, max_len, &s, err);
        if (r < 0)
            return r;
        list[i] = strdup(s);
        if (!list[i])
            return bx_fail(err, BX_ERESOURCE, 0, "out of memory");
    }
    *ret = BX_TAKE_PTR(list);
    return 1;
}

struct bx_json bx_json_item(const struct bx_json *arr, size_t i)
{
    return (struct bx_json){.v = json_array_get(arr->v, i), .up = arr, .index = i};
}

size_t bx_json_len(const struct bx_json *j)
{
    return json_is_array(j->v) ? json_array_size(j->v) : json_object_size(j->v);
}

bool bx_json_next(const struct bx_json *o, void **it, struct bx_json *ret)
{
    *it = *it ? json_object_iter_next(o->v, *it) : json_object_iter(o->v);
    if (!*it)
        return false;
    *ret = (struct bx_json){.v = json_object_iter_value(*it), .up = o, .key = json_object_iter_key(*it)};
    return true;
}

int bx_json_only_keys(const struct bx_json *o, const char *const *known, struct bx_err *err)
{
    struct bx_json value;
    void *it = NULL;
    int r = bx_json_as_obj(o, err);

    if (r < 0)
        return r;
    while (bx_json_next(o, &it, &value)) {
        const char *const *k = known;

        while (*k && !bx_streq(*k, value.key))
            k++;
        if (!*k)
            return bx_json_fail(&value, err, "is not known");
    }
    return 0;
}

char *bx_json_dump(const struct bx_json *j)
{
    return json_dumps(j->v, JSON_COMPACT | JSON_ENCODE_ANY);
}

/* --- writing --- */

void bx_jw_init(struct bx_jw *w, struct bx_buf *out, bool pretty)
{
    *w = (struct bx_jw){.out = out, .pretty = pretty, .first = true};
}

static void newline(struct bx_jw *w)
{
    if (!w->pretty)
        return;
    bx_buf_addstr(w->out, "\n");
    for (unsigned i = 0; i < w->depth; i++)
        bx_buf_addstr(w->out, "  ");
}

static void quote(struct bx_jw *w, const char *s, size_t len)
{
    size_t from = 0;

    if (!bx_utf8_valid(s, len)) {
        w->bad_utf8 = true;
        return;
    }
    bx_buf_addstr(w->out, "\"");
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
            continue;
        bx_buf_add(w->out, s + from, i - from);
        from = i + 1;
        if (c == '"' || c == '\\')
            bx_buf_addf(w->out, "\\%c", c);
        else if (c == '\n')
            bx_buf_addstr(w->out, "\\n");
        else if (c == '\t')
            bx_buf_addstr(w->out, "\\t");
        else
            bx_buf_addf(w->out, "\\u%04x", c);
    }
    bx_buf_add(w->out, s + from, len - from);
    bx_buf_addstr(w->out, "\"");
}

static void begin(struct bx_jw *w, const char *key)
{
    if (!w->first)
        bx_buf_addstr(w->out, ",");
    if (w->depth > 0)
        newline(w);
    w->first = false;
    if (key) {
        quote(w, key, strlen(key));
        bx_buf_addstr(w->out, w->pretty ? ": " : ":");
    }
}

static void open_bracket(struct bx_jw *w, const char *key, char close)
{
    begin(w, key);
    bx_buf_addstr(w->out, close == '}' ? "{" : "[");
    bx_assert(w->depth < sizeof(w->open));
    w->open[w->depth++] = close;
    w->first = true;
}

void bx_jw_obj(struct bx_jw *w, const char *key)
{
    open_bracket(w, key, '}');
}

void bx_jw_arr(struct bx_jw *w, const char *key)
{
    open_bracket(w, key, ']');
}

void bx_jw_end(struct bx_jw *w)
{
    bx_assert(w->depth > 0);
    char close[2] = {w->open[--w->depth], '\0'};

    if (!w->first)
        newline(w);
    bx_buf_addstr(w->out, close);
    w->first = false;
}

void bx_jw_strn(struct bx_jw *w, const char *key, const char *value, size_t len)
{
    begin(w, key);
    quote(w, value, len);
}

void bx_jw_str(struct bx_jw *w, const char *key, const char *value)
{
    if (value)
        bx_jw_strn(w, key, value, strlen(value));
    else
        bx_jw_null(w, key);
}

void bx_jw_u64(struct bx_jw *w, const char *key, uint64_t value)
{
    begin(w, key);
    bx_buf_addf(w->out, "%" PRIu64, value);
}

void bx_jw_i64(struct bx_jw *w, const char *key, int64_t value)
{
    begin(w, key);
    bx_buf_addf(w->out, "%" PRId64, value);
}

void bx_jw_bool(struct bx_jw *w, const char *key, bool value)
{
    bx_jw_raw(w, key, value ? "true" : "false");
}

void bx_jw_null(struct bx_jw *w, const char *key)
{
    bx_jw_raw(w, key, "null");
}

void bx_jw_strv(struct bx_jw *w, const char *key, char *const *list)
{
    bx_jw_arr(w, key);
    for (; list && *list; list++)
        bx_jw_str(w, NULL, *list);
    bx_jw_end(w);
}

void bx_jw_raw(struct bx_jw *w, const char *key, const char *json)
{
    begin(w, key);
    bx_buf_addstr(w->out, json);
}

int bx_jw_finish(struct bx_jw *w, struct bx_err *err)
{
    bx_assert(w->depth == 0);
    if (w->bad_utf8)
        return bx_fail(err, BX_EINVALID, 0, "a string is not UTF-8");
    if (bx_buf_failed(w->out))
        return bx_fail(err, BX_ERESOURCE, 0, "JSON is larger than %zu bytes", w->out->max);
    return 0;
}
