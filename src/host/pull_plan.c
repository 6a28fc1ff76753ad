/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pull_plan.c - see pull_plan.h. Two tables say for each field of a plan and of an endpoint: its key, its
 * type, its range, what characters it may hold and whether it may be absent; writing, parsing, checking and
 * freeing all run over them. What ends up in a URL or a header is checked here, so that nothing of a plan can
 * add a path, a header or a request of its own.
 */
#include "host/pull_plan.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "host/json.h"

enum field_type { F_STR, F_U64, F_UINT, F_INT, F_BOOL };

struct field {
    const char *key;
    enum field_type type;
    bool optional; /* strings: may be NULL */
    size_t offset;
    uint64_t min;
    uint64_t max; /* strings: bytes */
    bool (*valid)(const char *s);
    const char *must; /* what a string must be, for the message */
};

#define TOKEN_MAX (64 * 1024)
#define TEXT_MAX  4096
#define CA_MAX    (1024 * 1024)

static bool is_text(const char *s)
{
    for (; *s; s++) {
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return false;
    }
    return true;
}

/* Basic authentication splits at the first colon. */
static bool is_username(const char *s)
{
    return *s && is_text(s) && !strchr(s, ':');
}

static bool is_token(const char *s)
{
    const char *p = s;

    while (*p > 0x20 && *p < 0x7f)
        p++;
    return *p == '\0' && p > s;
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Characters of a repository; no component is empty or begins with a dot. */
static bool is_repository(const char *s)
{
    bool start = true;

    for (; *s; s++) {
        if (*s == '/') {
            if (start)
                return false;
            start = true;
            continue;
        }
        if (!is_alnum(*s) && (start || !strchr("._-", *s)))
            return false;
        start = false;
    }
    return !start;
}

static bool is_tag(const char *s)
{
    if (!is_alnum(*s) && *s != '_')
        return false;
    while (is_alnum(*s) || (*s && strchr("._-", *s)))
        s++;
    return *s == '\0';
}

static bool is_digest(const char *s)
{
    return bx_starts_with(s, "sha256:") && strlen(s) == 71 && strspn(s + 7, "0123456789abcdef") == 64;
}

/* "registry.example:5000", "[::1]:5000" */
static bool is_host(const char *s)
{
    const char *p = s;

    if (*p == '[')
        p += 1 + strspn(p + 1, "0123456789abcdefABCDEF:.");
    else
        while (is_alnum(*p) || (*p && strchr(".-_", *p)))
            p++;
    if (*s == '[' && *p++ != ']')
        return false;
    if (p == s)
        return false;
    if (*p == ':') {
        uint64_t port;

        return bx_parse_u64(p + 1, 1, 65535, &port) == 0;
    }
    return *p == '\0';
}

static bool is_word(const char *s)
{
    return *s && is_tag(s);
}

static bool is_word_or_empty(const char *s)
{
    return !*s || is_tag(s);
}

#define STR(strct, name, optional, max, ...)                                                                 \
    {                                                                                                        \
#name, F_STR, optional, offsetof(struct strct, name), 0, max, __VA_ARGS__                            \
    }
#define NUM(strct, name, type, min, max)                                                                     \
    {                                                                                                        \
#name, type, false, offsetof(struct strct, name), min, max, NULL, NULL                               \
    }
#define TEXT_RULE is_text, "text without control characters"

static const struct field plan_fields[] = {
    NUM(bx_pull_plan, blobs_fd, F_INT, 0, INT_MAX),
    NUM(bx_pull_plan, status_fd, F_INT, 0, INT_MAX),
    STR(bx_pull_plan, name, false, 1024, TEXT_RULE),
    STR(bx_pull_plan, repository, false, 255, is_repository, "the path of a repository"),
    STR(bx_pull_plan, tag, true, 128, is_tag, "a tag"),
    STR(bx_pull_plan, digest, true, 71, is_digest, "sha256: and 64 hexadecimal digits"),
    STR(bx_pull_plan, os, false, 31, is_word, "an operating system"),
    STR(bx_pull_plan, arch, false, 31, is_word, "an architecture"),
    STR(bx_pull_plan, variant, false, 31, is_word_or_empty, "a variant or empty"),
    STR(bx_pull_plan, http_proxy, true, TEXT_MAX, TEXT_RULE),
    STR(bx_pull_plan, https_proxy, true, TEXT_MAX, TEXT_RULE),
    STR(bx_pull_plan, no_proxy, true, TEXT_MAX, TEXT_RULE),
    NUM(bx_pull_plan, concurrent, F_UINT, 1, BX_PULL_CONCURRENT_MAX),
    NUM(bx_pull_plan, max_bytes, F_U64, 1, INT64_MAX),
    NUM(bx_pull_plan, stall_ms, F_UINT, 1, 24 * 3600 * 1000),
    NUM(bx_pull_plan, timeout_ms, F_UINT, 0, UINT_MAX),
    NUM(bx_pull_plan, retries, F_UINT, 0, 100),
};

static const struct field endpoint_fields[] = {
    STR(bx_pull_endpoint, host, false, 270, is_host, "HOST or HOST:PORT"),
    STR(bx_pull_endpoint, prefix, true, 255, is_repository, "the path of a repository"),
    NUM(bx_pull_endpoint, plain_http, F_BOOL, 0, 1),
    NUM(bx_pull_endpoint, skip_verify, F_BOOL, 0, 1),
    STR(bx_pull_endpoint, ca_pem, true, CA_MAX, NULL, NULL),
    STR(bx_pull_endpoint, username, true, TEXT_MAX, is_username,
        "text without colons and control characters"),
    STR(bx_pull_endpoint, password, true, TOKEN_MAX, TEXT_RULE),
    STR(bx_pull_endpoint, identity_token, true, TOKEN_MAX, TEXT_RULE),
    STR(bx_pull_endpoint, bearer_token, true, TOKEN_MAX, is_token, "printable ASCII without spaces"),
};

static const char *const plan_keys[] = {
    "version",   "blobs_fd", "status_fd",  "name",       "repository",  "tag",      "digest",
    "os",        "arch",     "variant",    "http_proxy", "https_proxy", "no_proxy", "concurrent",
    "max_bytes", "stall_ms", "timeout_ms", "retries",    "endpoints",   NULL,
};
_Static_assert(BX_ARRAY_SIZE(plan_keys) == BX_ARRAY_SIZE(plan_fields) + 3, "version, endpoints and the end");

static const char *const endpoint_keys[] = {
    "host",     "prefix",   "plain_http",     "skip_verify",  "ca_pem",
    "username", "password", "identity_token", "bearer_token", NULL,
};
_Static_assert(BX_ARRAY_SIZE(endpoint_keys) == BX_ARRAY_SIZE(endpoint_fields) + 1, "the end");

static void *at(const void *base, const struct field *f)
{
    return (char *)(uintptr_t)base + f->offset;
}

/* Secrets do not stay in freed memory. */
static void free_fields(void *base, const struct field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char **s = at(base, &fields[i]);

        if (fields[i].type != F_STR || !*s)
            continue;
        explicit_bzero(*s, strlen(*s));
        free(*s);
        *s = NULL;
    }
}

void bx_pull_plan_done(struct bx_pull_plan *p)
{
    for (size_t i = 0; i < p->n_endpoints; i++)
        free_fields(&p->endpoints[i], endpoint_fields, BX_ARRAY_SIZE(endpoint_fields));
    free(p->endpoints);
    free_fields(p, plan_fields, BX_ARRAY_SIZE(plan_fields));
    *p = BX_PULL_PLAN_INIT;
}

/* --- writing --- */

static void write_fields(struct bx_jw *w, const void *base, const struct field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct field *f = &fields[i];
        void *value = at(base, f);

        switch (f->type) {
        case F_STR:
            if (!f->optional || *(char **)value)
                bx_jw_str(w, f->key, *(char **)value);
            break;
        case F_U64:
            bx_jw_u64(w, f->key, *(uint64_t *)value);
            break;
        case F_UINT:
            bx_jw_u64(w, f->key, *(unsigned *)value);
            break;
        case F_INT:
            bx_jw_i64(w, f->key, *(int *)value);
            break;
        case F_BOOL:
            bx_jw_bool(w, f->key, *(bool *)value);
            break;
        }
    }
}

int bx_pull_plan_write(const struct bx_pull_plan *p, struct bx_buf *out, struct bx_err *err)
{
    bx_cleanup_pull_plan struct bx_pull_plan check = BX_PULL_PLAN_INIT;
    size_t before = bx_buf_len(out);
    struct bx_jw w;
    int r;

    bx_jw_init(&w, out, false);
    bx_jw_obj(&w, NULL);
    bx_jw_u64(&w, "version", BX_PULL_PLAN_VERSION);
    write_fields(&w, p, plan_fields, BX_ARRAY_SIZE(plan_fields));
    bx_jw_arr(&w, "endpoints");
    for (size_t i = 0; i < p->n_endpoints; i++) {
        bx_jw_obj(&w, NULL);
        write_fields(&w, &p->endpoints[i], endpoint_fields, BX_ARRAY_SIZE(endpoint_fields));
        bx_jw_end(&w);
    }
    bx_jw_end(&w);
    bx_jw_end(&w);
    r = bx_jw_finish(&w, err);
    if (r < 0)
        return bx_prefix(err, "pull plan");
    /* One set of checks: those of the reader. */
    return bx_pull_plan_parse((const char *)bx_buf_data(out) + before, bx_buf_len(out) - before, &check, err);
}

/* --- parsing --- */

static int read_str(const struct bx_json *o, const struct field *f, char **ret, struct bx_err *err)
{
    const char *s = NULL;
    int r =
        f->optional ? bx_json_opt_str(o, f->key, f->max, &s, err) : bx_json_str(o, f->key, f->max, &s, err);

    if (r < 0 || !s)
        return r;
    if (f->valid && !f->valid(s))
        return bx_json_fail(o, err, "%s must be %s", f->key, f->must);
    *ret = strdup(s);
    return *ret ? 0 : bx_fail(err, BX_ERESOURCE, 0, "out of memory");
}

static int read_field(const struct bx_json *o, const struct field *f, void *value, struct bx_err *err)
{
    uint64_t u = 0;
    int r;

    if (f->type == F_STR)
        return read_str(o, f, value, err);
    if (f->type == F_BOOL)
        return bx_json_bool(o, f->key, value, err);
    r = bx_json_u64(o, f->key, f->min, f->max, &u, err);
    if (r < 0)
        return r;
    if (f->type == F_U64)
        *(uint64_t *)value = u;
    else if (f->type == F_UINT)
        *(unsigned *)value = (unsigned)u;
    else
        *(int *)value = (int)u;
    return 0;
}

static int read_fields(const struct bx_json *o, void *base, const struct field *fields, size_t n,
                       struct bx_err *err)
{
    int r = 0;

    for (size_t i = 0; r >= 0 && i < n; i++)
        r = read_field(o, &fields[i], at(base, &fields[i]), err);
    return r < 0 ? r : 0;
}

static int read_endpoints(const struct bx_json *o, struct bx_pull_plan *p, struct bx_err *err)
{
    struct bx_json arr;
    size_t n = 0;
    int r = bx_json_arr(o, "endpoints", BX_PULL_ENDPOINTS_MAX, &arr, &n, err);

    if (r < 0)
        return r;
    if (n == 0)
        return bx_json_fail(o, err, "endpoints must not be empty");
    p->endpoints = calloc(n, sizeof(*p->endpoints));
    if (!p->endpoints)
        return bx_fail(err, BX_ERESOURCE, 0, "out of memory");
    for (p->n_endpoints = 0; r == 0 && p->n_endpoints < n; p->n_endpoints++) {
        struct bx_json item = bx_json_item(&arr, p->n_endpoints);

        r = bx_json_only_keys(&item, endpoint_keys, err);
        if (r == 0)
            r = read_fields(&item, &p->endpoints[p->n_endpoints], endpoint_fields,
                            BX_ARRAY_SIZE(endpoint_fields), err);
    }
    return r;
}

static int read_plan(const struct bx_json *o, struct bx_pull_plan *p, struct bx_err *err)
{
    uint64_t version;
    int r = bx_json_u64(o, "version", 0, INT64_MAX, &version, err);

    if (r < 0)
        return r;
    if (version != BX_PULL_PLAN_VERSION)
        return bx_fail(err, BX_EUNSUPPORTED, 0,
                       "pull plan of version %llu, this boxlite-pull reads version %d: library and program "
                       "are of different "
                       "installations",
                       (unsigned long long)version, BX_PULL_PLAN_VERSION);
    r = bx_json_only_keys(o, plan_keys, err);
    if (r == 0)
        r = read_fields(o, p, plan_fields, BX_ARRAY_SIZE(plan_fields), err);
    if (r == 0 && !p->tag == !p->digest)
        r = bx_json_fail(o, err, "either tag or digest must be given");
    return r == 0 ? read_endpoints(o, p, err) : r;
}

int bx_pull_plan_parse(const char *text, size_t len, struct bx_pull_plan *ret, struct bx_err *err)
{
    const struct bx_json_limits limits = {.bytes = BX_PULL_PLAN_MAX, .depth = 3, .values = 1024};
    bx_cleanup_json struct bx_json o = {0};
    bx_cleanup_pull_plan struct bx_pull_plan p = BX_PULL_PLAN_INIT;
    int r = bx_json_parse(text, len, &limits, "pull plan", &o, err);

    if (r == 0)
        r = read_plan(&o, &p, err);
    if (r < 0)
        return r;
    *ret = p;
    p = BX_PULL_PLAN_INIT;
    return 0;
}
