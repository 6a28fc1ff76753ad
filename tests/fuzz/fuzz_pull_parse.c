/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a registry says outside of documents. The first byte says what the rest is: a challenge (several
 * headers, by line), a Content-Range, a Retry-After, a token, an error, a media type, a redirect (base and
 * location, by line). What is taken keeps its promises: fields that fit, ranges that make sense, tokens
 * without a byte that no header holds, addresses that are never less encrypted than before.
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "pull/parse.h"
#include "pull/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void challenge(char *text)
{
    struct bx_challenge c = {0};
    char *save = NULL;

    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        bx_challenge_add(&c, line);
    bx_assert(memchr(c.realm, 0, sizeof(c.realm)) && memchr(c.service, 0, sizeof(c.service)) &&
              memchr(c.scope, 0, sizeof(c.scope)));
    bx_assert(c.bearer == (c.realm[0] != '\0'));
}

static void numbers(const char *text)
{
    struct bx_content_range r;
    uint64_t seconds = 0;

    if (bx_content_range_parse(text, &r))
        bx_assert(r.first <= r.last && r.last < r.total);
    (void)bx_retry_after_parse(text, 784111767, &seconds);
}

static void token(const char *text, size_t len)
{
    bx_cleanup_free char *found = NULL;
    struct bx_err err = BX_ERR_INIT;
    int r = bx_token_parse(text, len, &found, &err);

    if (r < 0) {
        bx_assert(r == -err.code && err.msg[0] && !found);
        return;
    }
    bx_assert(found[0] && strlen(found) <= BX_TOKEN_MAX);
    for (const char *p = found; *p; p++)
        bx_assert(*p > 0x20 && *p < 0x7f);
}

static void error_text(const char *text, size_t len)
{
    char said[100];

    bx_error_text(text, len, said, sizeof(said));
    for (const char *p = said; *p; p++)
        bx_assert((unsigned char)*p >= 0x20 && *p != 0x7f);
}

static void media_type(const char *text)
{
    struct bx_err err = BX_ERR_INIT;
    int r = bx_layer_type_check(text, &err);

    bx_assert(r == 0 || (r == -err.code && err.msg[0]));
    r = bx_config_type_check(text, &err);
    bx_assert(r == 0 || (r == -err.code && err.msg[0]));
}

static void address(const char *location)
{
    static const char *const bases[] = {"https://registry.example/v2/a/blobs/sha256:0",
                                        "http://127.0.0.1:5000/v2/"};

    for (size_t i = 0; i < BX_ARRAY_SIZE(bases); i++) {
        bx_cleanup_free char *to = NULL;
        bx_cleanup_free char *again = NULL;
        struct bx_err err = BX_ERR_INIT;
        char host[64];

        if (bx_url_follow(bases[i], location, &to, &err) < 0) {
            bx_assert(err.msg[0]);
            continue;
        }
        bx_assert(strlen(to) <= BX_URL_MAX);
        bx_assert(bx_starts_with(to, "https://") || (i == 1 && bx_starts_with(to, "http://")));
        bx_assert(bx_url_same_origin(to, to));
        bx_url_host(to, host, sizeof(host));
        (void)bx_url_is_loopback(to);
        bx_assert(bx_url_follow(to, to, &again, &err) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bx_cleanup_free char *text = size ? strndup((const char *)data + 1, size - 1) : NULL;

    if (!text)
        return 0;
    switch (data[0]) {
    case 'c':
        challenge(text);
        break;
    case 'n':
        numbers(text);
        break;
    case 't':
        token((const char *)data + 1, size - 1);
        break;
    case 'e':
        error_text((const char *)data + 1, size - 1);
        break;
    case 'm':
        media_type(text);
        break;
    case 'l':
        address(text);
        break;
    default:
        break;
    }
    return 0;
}
