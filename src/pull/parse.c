/* SPDX-License-Identifier: Apache-2.0 */
/* parse.c - see parse.h. */
#include "pull/parse.h"

#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/str.h"
#include "host/json.h"

/* --- challenges --- */

#define SPACE " \t"

static size_t token_len(const char *s)
{
    return strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~/");
}

static bool word_is(const char *s, size_t len, const char *word)
{
    return strlen(word) == len && strncasecmp(s, word, len) == 0;
}

/* Reads a token or a quoted string at *s into dst (NULL: away with it). False when it does not fit. */
static bool take_value(const char **s, char *dst, size_t size)
{
    const char *p = *s;
    bool quoted = *p == '"';
    size_t n = 0;
    bool fits = true;

    for (p += quoted; *p; p++) {
        if (quoted ? *p == '"' : strchr(", \t", *p) != NULL)
            break;
        if (quoted && *p == '\\' && p[1])
            p++;
        if (n + 1 < size)
            dst[n++] = *p;
        else
            fits = false;
    }
    if (size)
        dst[n] = '\0';
    *s = p + (quoted && *p == '"');
    return fits || !size;
}

/* One "name = value" of the scheme we are in. */
static void take_parameter(struct bx_challenge *c, bool bearer, const char *name, size_t len, const char **s)
{
    char *dst = NULL;
    size_t size = 0;

    if (bearer && word_is(name, len, "realm")) {
        dst = c->realm;
        size = sizeof(c->realm);
    } else if (bearer && word_is(name, len, "service")) {
        dst = c->service;
        size = sizeof(c->service);
    } else if (bearer && word_is(name, len, "scope")) {
        dst = c->scope;
        size = sizeof(c->scope);
    }
    if (!take_value(s, dst, size))
        c->cut = true;
}

void bx_challenge_add(struct bx_challenge *c, const char *value)
{
    bool had_bearer = c->bearer;
    bool in_bearer = false;
    const char *s = value;

    while (*(s += strspn(s, SPACE ","))) {
        const char *word = s;
        size_t len = token_len(s);
        const char *next = s + len + strspn(s + len, SPACE);

        if (len == 0) {
            s += 1 + strcspn(s + 1, ","); /* no word of ours begins so */
            continue;
        }
        if (*next == '=') {
            s = next + 1;
            s += strspn(s, SPACE);
            take_parameter(c, in_bearer, word, len, &s);
            continue;
        }
        s = next;
        in_bearer = !had_bearer && word_is(word, len, "Bearer");
        had_bearer = had_bearer || in_bearer;
        if (word_is(word, len, "Basic"))
            c->basic = true;
    }
    c->bearer = c->realm[0] != '\0';
}

/* --- numbers in headers --- */

/* Digits at *s; false when there are none or too many. */
static bool take_number(const char **s, uint64_t *ret)
{
    const char *p = *s;
    uint64_t n = 0;

    for (; *p >= '0' && *p <= '9'; p++) {
        if (bx_mul_overflow(n, (uint64_t)10, &n) || bx_add_overflow(n, (uint64_t)(*p - '0'), &n))
            return false;
    }
    if (p == *s)
        return false;
    *s = p;
    *ret = n;
    return true;
}

bool bx_retry_after_parse(const char *value, int64_t now, uint64_t *ret_seconds)
{
    const char *s = value + strspn(value, SPACE);
    struct tm tm = {0};
    uint64_t n;
    const char *end;
    int64_t then;

    if (*s >= '0' && *s <= '9') {
        if (!take_number(&s, &n))
            n = UINT64_MAX; /* for ever */
        else if (s[strspn(s, SPACE)] != '\0')
            return false;
        *ret_seconds = n;
        return true;
    }
    end = strptime(s, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (!end || end[strspn(end, SPACE)] != '\0')
        return false;
    then = (int64_t)timegm(&tm);
    *ret_seconds = then > now ? (uint64_t)then - (uint64_t)now : 0;
    return true;
}

bool bx_content_range_parse(const char *value, struct bx_content_range *ret)
{
    struct bx_content_range r;
    const char *s = value + strspn(value, SPACE);

    if (strncasecmp(s, "bytes", 5) != 0)
        return false;
    s += 5 + strspn(s + 5, SPACE);
    if (!take_number(&s, &r.first) || *s++ != '-' || !take_number(&s, &r.last) || *s++ != '/')
        return false;
    if (*s == '*') {
        r.total = UINT64_MAX;
        s++;
    } else if (!take_number(&s, &r.total)) {
        return false;
    }
    if (s[strspn(s, SPACE)] != '\0' || r.first > r.last || r.last >= r.total)
        return false;
    *ret = r;
    return true;
}

/* --- bodies --- */

static bool fits_header(const char *s)
{
    const char *p = s;

    while (*p > 0x20 && *p < 0x7f)
        p++;
    return *p == '\0' && p > s;
}

int bx_token_parse(const char *json, size_t len, char **ret, struct bx_err *err)
{
    const struct bx_json_limits limits = {.bytes = 64 * 1024, .depth = 8, .values = 1024};
    bx_cleanup_json struct bx_json root = {0};
    const char *token = NULL;
    int r = bx_json_parse(json, len, &limits, "token", &root, err);

    if (r == 0)
        r = bx_json_opt_str(&root, "token", BX_TOKEN_MAX, &token, err);
    if (r >= 0 && (!token || !*token))
        r = bx_json_opt_str(&root, "access_token", BX_TOKEN_MAX, &token, err);
    if (r < 0)
        return r;
    if (!token || !fits_header(token))
        return bx_json_fail(&root, err,
                            token && *token ? "has characters that no header may hold" : "is missing");
    *ret = strdup(token);
    return *ret ? 0 : bx_fail(err, BX_ERESOURCE, 0, "out of memory");
}

void bx_error_text(const char *body, size_t len, char *dst, size_t size)
{
    bx_cleanup_json struct bx_json root = {0};
    struct bx_json errors;
    const char *text = NULL;
    size_t n = 0;

    dst[0] = '\0';
    if (bx_json_parse(body, len, NULL, "error", &root, NULL) < 0 || !bx_json_is_obj(&root))
        return;
    if (bx_json_opt_arr(&root, "errors", 64, &errors, &n, NULL) > 0 && n > 0) {
        struct bx_json first = bx_json_item(&errors, 0);

        if (!bx_json_is_obj(&first))
            return;
        if (bx_json_opt_str(&first, "message", 4096, &text, NULL) < 0 || !text || !*text)
            (void)bx_json_opt_str(&first, "code", 4096, &text, NULL);
    } else if (bx_json_opt_str(&root, "details", 4096, &text, NULL) < 0 || !text) {
        (void)bx_json_opt_str(&root, "message", 4096, &text, NULL);
    }
    if (text)
        bx_str_printable(dst, size, text, strlen(text));
}

/* --- media types --- */

static bool one_of(const char *s, const char *const *list)
{
    for (; *list; list++) {
        if (bx_streq(s, *list))
            return true;
    }
    return false;
}

static int refuse_type(const char *what, const char *media_type, const char *why, struct bx_err *err)
{
    char shown[128];

    bx_str_printable(shown, sizeof(shown), media_type, strlen(media_type));
    return bx_fail(err, BX_EIMAGE, 0, "%s is of type %s: %s", what, shown, why);
}

int bx_layer_type_check(const char *media_type, struct bx_err *err)
{
    static const char *const types[] = {
        "",
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        "application/vnd.docker.image.rootfs.diff.tar+zstd",
        NULL,
    };

    if (one_of(media_type, types))
        return 0;
    if (strstr(media_type, "foreign") || strstr(media_type, "nondistributable"))
        return refuse_type("a layer", media_type,
                           "it would have to be fetched from an address that the image names, and only the "
                           "registry that was "
                           "named is asked",
                           err);
    return refuse_type("a layer", media_type, "this is no layer of files in a packing that is known", err);
}

int bx_config_type_check(const char *media_type, struct bx_err *err)
{
    static const char *const types[] = {
        "",
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
        "application/octet-stream", /* some old tools */
        NULL,
    };

    return one_of(media_type, types)
               ? 0
               : refuse_type("its configuration", media_type, "this is an artifact, not an image", err);
}
