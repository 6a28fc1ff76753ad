/* SPDX-License-Identifier: Apache-2.0 */
/* url.c - see url.h. */
#include "pull/url.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

BX_DEFINE_CLEANUP(CURLU *, curl_url_cleanup)

static inline void curl_free_p(char **p)
{
    curl_free(*p);
}

#define CLEANUP_URL  BX_CLEANUP(curl_url_cleanup_p)
#define CLEANUP_PART BX_CLEANUP(curl_free_p)

static CURLU *parse(const char *url)
{
    CURLU *u = curl_url();

    if (u && curl_url_set(u, CURLUPART_URL, url, CURLU_DISALLOW_USER)) {
        curl_url_cleanup(u);
        return NULL;
    }
    return u;
}

static char *part(CURLU *u, CURLUPart what)
{
    char *s = NULL;

    return curl_url_get(u, what, &s, CURLU_DEFAULT_PORT) ? NULL : s;
}

static bool is_https(CURLU *u)
{
    CLEANUP_PART char *scheme = part(u, CURLUPART_SCHEME);

    return bx_streq(scheme, "https");
}

static bool is_web(CURLU *u)
{
    CLEANUP_PART char *scheme = part(u, CURLUPART_SCHEME);

    return bx_streq(scheme, "https") || bx_streq(scheme, "http");
}

static int take_url(CURLU *u, char **ret, struct bx_err *err)
{
    char *s = NULL;

    (void)curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
    if (curl_url_get(u, CURLUPART_URL, &s, 0))
        return bx_fail(err, BX_ERESOURCE, 0, "out of memory");
    *ret = strlen(s) <= BX_URL_MAX ? strdup(s) : NULL;
    curl_free(s);
    return *ret ? 0 : bx_fail(err, BX_ENETWORK, 0, "an address is longer than %d bytes", BX_URL_MAX);
}

static bool plain_ascii(const char *s)
{
    size_t n = strlen(s);

    if (n == 0 || n > BX_URL_MAX)
        return false;
    for (; *s; s++) {
        if (*s < 0x20 || *s == 0x7f)
            return false;
    }
    return true;
}

/* libcurl lets some addresses in that it does not take back, and decodes bytes of a host into it. */
static bool reads_back(CURLU *u)
{
    char *s = NULL;
    CURLU *again;

    if (curl_url_get(u, CURLUPART_URL, &s, 0))
        return false;
    again = plain_ascii(s) ? parse(s) : NULL;
    curl_free(s);
    curl_url_cleanup(again);
    return again != NULL;
}

/* u is at `base` and is moved to `to`. */
static int move(CURLU *u, const char *base, const char *to, const char *what, char **ret, struct bx_err *err)
{
    bool was_https = is_https(u);
    char host[256];
    char shown[128];

    bx_url_host(base, host, sizeof(host));
    bx_str_printable(shown, sizeof(shown), to, strcspn(to, "?#")); /* what follows may be a secret */
    if (!plain_ascii(to) ||
        curl_url_set(u, CURLUPART_URL, to, CURLU_DISALLOW_USER | CURLU_ALLOW_SPACE | CURLU_URLENCODE) ||
        !is_web(u) || !reads_back(u))
        return bx_fail(err, BX_ENETWORK, 0, "%s %s an address that is not followed: %s", host, what, shown);
    if (was_https && !is_https(u))
        return bx_fail(err, BX_ENETWORK, 0,
                       "%s, reached by https, %s an address without encryption, which is not followed: %s",
                       host, what, shown);
    return take_url(u, ret, err);
}

int bx_url_follow(const char *base, const char *location, char **ret, struct bx_err *err)
{
    CLEANUP_URL CURLU *u = parse(base);

    if (!u)
        return bx_fail(err, BX_EINTERNAL, 0, "no address: %.100s", base);
    return move(u, base, location, "redirects to", ret, err);
}

int bx_url_realm(const char *base, const char *realm, char **ret, struct bx_err *err)
{
    CLEANUP_URL CURLU *u = parse(base);

    if (!u)
        return bx_fail(err, BX_EINTERNAL, 0, "no address: %.100s", base);
    if (!strstr(realm, "://"))
        realm = "";
    return move(u, base, realm, "names as its token service", ret, err);
}

bool bx_url_same_origin(const char *a, const char *b)
{
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
    CLEANUP_URL CURLU *ua = parse(a);
    CLEANUP_URL CURLU *ub = parse(b);

    if (!ua || !ub)
        return false;
    for (size_t i = 0; i < BX_ARRAY_SIZE(parts); i++) {
        CLEANUP_PART char *pa = part(ua, parts[i]);
        CLEANUP_PART char *pb = part(ub, parts[i]);

        if (!pa || !pb || strcasecmp(pa, pb) != 0)
            return false;
    }
    return true;
}

void bx_url_host(const char *url, char *dst, size_t size)
{
    const char *host = strstr(url, "://");
    size_t len;

    host = host ? host + 3 : url;
    len = strcspn(host, "/?#");
    bx_str_printable(dst, size, host, len);
}

bool bx_url_is_loopback(const char *url)
{
    CLEANUP_URL CURLU *u = parse(url);
    CLEANUP_PART char *host = u ? part(u, CURLUPART_HOST) : NULL;

    return host &&
           (strcasecmp(host, "localhost") == 0 || bx_starts_with(host, "127.") || bx_streq(host, "[::1]"));
}

char *bx_url_add_query(char *url, const char *name, const char *value)
{
    char *encoded = curl_easy_escape(NULL, value, 0);
    char *more = NULL;

    if (url && encoded)
        more = bx_strf("%s%c%s=%s", url, strchr(url, '?') ? '&' : '?', name, encoded);
    curl_free(encoded);
    free(url);
    return more;
}
