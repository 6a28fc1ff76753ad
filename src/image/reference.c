/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reference.c - parsing of image references. Grammar: the distribution project's `reference` package; defaults as Docker's
 * command has them (docker.io, library/, latest).
 */
#include "image/reference.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

#define DEFAULT_DOMAIN "docker.io"
#define NAME_MAX_LEN 255

/* 64 hexadecimal digits. */
static bool looks_like_id(const char *s)
{
    return strspn(s, "0123456789abcdef") == 64 && s[64] == '\0';
}

bool bx_digest_valid(const char *digest)
{
    if (!bx_starts_with(digest, "sha256:"))
        return false;
    return looks_like_id(digest + strlen("sha256:"));
}

static bool lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* One path component: alphanumerics with single separators (. _ __ or any number of -) between them. */
static bool component_valid(const char *s, size_t len)
{
    size_t i = 0;
    if (len == 0 || !lower_alnum(s[0]) || !lower_alnum(s[len - 1]))
        return false;
    while (i < len) {
        if (lower_alnum(s[i])) {
            i++;
        } else if (s[i] == '-') {
            while (i < len && s[i] == '-')
                i++;
            if (i < len && !lower_alnum(s[i]))
                return false;
        } else if (s[i] == '.') {
            if (!lower_alnum(s[i + 1]))
                return false;
            i++;
        } else if (s[i] == '_') {
            i += s[i + 1] == '_' ? 2 : 1;
            if (!lower_alnum(s[i]))
                return false;
        } else {
            return false;
        }
    }
    return true;
}

static bool path_valid(const char *path)
{
    for (const char *p = path;;) {
        size_t n = strcspn(p, "/");
        if (!component_valid(p, n))
            return false;
        if (p[n] == '\0')
            return true;
        p += n + 1;
    }
}

static bool tag_valid(const char *tag)
{
    size_t n = strlen(tag);
    if (n == 0 || n > 128 || tag[0] == '.' || tag[0] == '-')
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!isalnum((unsigned char)tag[i]) && !strchr("_.-", tag[i]))
            return false;
    }
    return true;
}

/* host or [v6] with an optional port. */
static bool domain_valid(const char *d)
{
    size_t n;
    if (d[0] == '[') {
        n = strspn(d + 1, "0123456789abcdefABCDEF:") + 1;
        if (n < 3 || d[n] != ']')
            return false;
        n++;
    } else {
        for (n = 0; d[n] && d[n] != ':'; n++) {
            bool edge = n == 0 || d[n - 1] == '.' || d[n + 1] == '\0' || d[n + 1] == ':' || d[n + 1] == '.';
            if (!isalnum((unsigned char)d[n]) && (edge || (d[n] != '-' && d[n] != '.')))
                return false;
        }
    }
    if (n == 0 || (d[n] != '\0' && d[n] != ':'))
        return false;
    uint64_t port;
    return d[n] == '\0' || bx_parse_u64(d + n + 1, 1, 65535, &port) == 0;
}

/* Does the part before the first slash name a registry? As Docker decides it. */
static bool looks_like_domain(const char *s, size_t len)
{
    if (len == strlen("localhost") && memcmp(s, "localhost", len) == 0)
        return true;
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '.' || s[i] == ':' || isupper((unsigned char)s[i]))
            return true;
    }
    return false;
}

static int split_suffixes(char *name, const char *text, struct bx_reference *ret, struct bx_err *err)
{
    char *at = strchr(name, '@');
    if (at) {
        *at = '\0';
        if (!bx_digest_valid(at + 1))
            return bx_fail(err, BX_EINVALID, 0, "invalid image reference '%s': the digest must be sha256: and 64 hexadecimal digits", text);
        snprintf(ret->digest, sizeof(ret->digest), "%s", at + 1);
    }
    char *slash = strrchr(name, '/');
    char *colon = strchr(slash ? slash : name, ':');
    if (colon) {
        *colon = '\0';
        if (!tag_valid(colon + 1))
            return bx_fail(err, BX_EINVALID, 0, "invalid image reference '%s': bad tag '%s'", text, colon + 1);
        snprintf(ret->tag, sizeof(ret->tag), "%s", colon + 1);
    } else if (!at) {
        snprintf(ret->tag, sizeof(ret->tag), "latest");
    }
    return 0;
}

static int split_name(const char *name, const char *text, struct bx_reference *ret, struct bx_err *err)
{
    const char *slash = strchr(name, '/');
    const char *path = name;
    if (slash && looks_like_domain(name, (size_t)(slash - name))) {
        snprintf(ret->domain, sizeof(ret->domain), "%.*s", (int)(slash - name), name);
        ret->domain_given = true;
        path = slash + 1;
        if (!domain_valid(ret->domain))
            return bx_fail(err, BX_EINVALID, 0, "invalid image reference '%s': bad registry '%s'", text, ret->domain);
        if (bx_streq(ret->domain, "index.docker.io"))
            snprintf(ret->domain, sizeof(ret->domain), DEFAULT_DOMAIN);
    } else {
        snprintf(ret->domain, sizeof(ret->domain), DEFAULT_DOMAIN);
    }
    bool official = bx_streq(ret->domain, DEFAULT_DOMAIN) && !strchr(path, '/');
    int n = snprintf(ret->path, sizeof(ret->path), "%s%s", official ? "library/" : "", path);
    /* in full: what is stored can be read again */
    if (n < 0 || strlen(ret->domain) + 1 + (size_t)n > NAME_MAX_LEN)
        return bx_fail(err, BX_EINVALID, 0, "invalid image reference '%s': the name is too long", text);
    if (looks_like_id(path))
        return bx_fail(err, BX_EINVALID, 0, "invalid image reference '%s': 64 hexadecimal digits are an id, not a name", text);
    if (path_valid(ret->path))
        return 0;
    for (const char *p = path; *p; p++) {
        if (isupper((unsigned char)*p))
            return bx_fail(err, BX_EINVALID, 0, "invalid image reference '%s': the name must be lower case", text);
    }
    return bx_fail(err, BX_EINVALID, 0, "invalid image reference '%s': bad name '%s'", text, path);
}

int bx_reference_parse(const char *text, struct bx_reference *ret, struct bx_err *err)
{
    struct bx_reference ref = { 0 };
    char name[NAME_MAX_LEN + 1 + 128 + 1 + 80];
    char shown[128];
    bx_str_printable(shown, sizeof(shown), text, strlen(text));
    if (text[0] == '\0')
        return bx_fail(err, BX_EINVALID, 0, "invalid image reference: it is empty");
    if (strlen(text) >= sizeof(name))
        return bx_fail(err, BX_EINVALID, 0, "invalid image reference '%s': too long", shown);
    /* the messages below say parts of it: none may move a terminal's cursor */
    for (const char *p = text; *p; p++) {
        if (*p < 0x20 || *p > 0x7e)
            return bx_fail(err, BX_EINVALID, 0,
                           "invalid image reference '%s': a character that no reference has", shown);
    }
    snprintf(name, sizeof(name), "%s", text);
    int r = split_suffixes(name, shown, &ref, err);
    if (r < 0)
        return r;
    if (strlen(name) > NAME_MAX_LEN)
        return bx_fail(err, BX_EINVALID, 0, "invalid image reference '%s': the name is longer than %d characters", shown,
                       NAME_MAX_LEN);
    r = split_name(name, shown, &ref, err);
    if (r < 0)
        return r;
    *ret = ref;
    return 0;
}

static char *format_reference(const struct bx_reference *ref, const char *domain, const char *slash,
                              const char *path)
{
    return bx_strf("%s%s%s%s%s%s%s", domain, slash, path, *ref->tag ? ":" : "", ref->tag,
                   *ref->digest ? "@" : "", ref->digest);
}

char *bx_reference_canonical(const struct bx_reference *ref)
{
    return format_reference(ref, ref->domain, "/", ref->path);
}

/* The short form must mean the same image when it is typed: no path may be taken for a registry, or for an id. */
char *bx_reference_familiar(const struct bx_reference *ref)
{
    const char *path = ref->path;
    const char *slash = strchr(path, '/');
    if (!bx_streq(ref->domain, DEFAULT_DOMAIN) || (slash && looks_like_domain(path, (size_t)(slash - path))))
        return bx_reference_canonical(ref);
    const char *rest = bx_starts_with(path, "library/") ? slash + 1 : NULL;
    if (rest && !strchr(rest, '/') && !looks_like_id(rest))
        path = rest;
    return format_reference(ref, "", "", path);
}
