/* SPDX-License-Identifier: Apache-2.0 */
/*
 * login.c - what answers a challenge of a registry: the user's name and password, or a token of the service
 * that the registry names.
 *
 * The credentials of an endpoint go to that endpoint and to the token service it names, and only with as much
 * encryption as the endpoint itself. The token that comes back goes to the endpoint alone. (Distribution
 * specification, "Token Authentication" and "OAuth2 Token Authentication".)
 */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "pull/fetch.h"
#include "pull/url.h"

#define TOKEN_ANSWER_MAX (64 * 1024)
#define CLIENT_ID        "boxlite"

/* "Basic ...": heap. */
static char *basic_header(const struct bx_pull_endpoint *conf)
{
    bx_cleanup_free char *plain = bx_strf("%s:%s", conf->username, conf->password ? conf->password : "");
    size_t len = plain ? strlen(plain) : 0;
    bx_cleanup_free char *encoded = plain ? malloc(len / 3 * 4 + 5) : NULL;
    char *header;

    if (!encoded)
        return NULL;
    (void)EVP_EncodeBlock((unsigned char *)encoded, (const unsigned char *)plain, (int)len);
    header = bx_strf("Basic %s", encoded);
    explicit_bzero(plain, len);
    explicit_bzero(encoded, strlen(encoded));
    return header;
}

static void set_authorization(struct bx_endpoint *e, char *header)
{
    if (e->authorization)
        explicit_bzero(e->authorization, strlen(e->authorization));
    free(e->authorization);
    e->authorization = header;
}

/* --- tokens --- */

static void on_token(void *ud, enum bx_fetch_result result, struct bx_buf *text, const char *digest,
                     const struct bx_err *err)
{
    struct bx_endpoint *e = ud;
    struct bx_err why = *err;
    bx_cleanup_free char *token = NULL;
    char *header = NULL;

    (void)digest;
    if (result == BX_FETCH_OK &&
        bx_token_parse((const char *)bx_buf_data(text), bx_buf_len(text), &token, &why) == 0) {
        header = bx_strf("Bearer %s", token);
        if (!header)
            bx_fail(&why, BX_ERESOURCE, ENOMEM, "log in");
    }
    if (header) {
        set_authorization(e, header);
        bx_login_done(e, NULL);
        return;
    }
    bx_prefix(&why, "log in to %s%s", e->conf->host,
              e->conf->username || e->conf->identity_token ? "" : " without a user name (its token service)");
    bx_login_done(e, &why);
}

/* Each scope as a parameter of its own. */
static char *add_scopes(char *url, const struct bx_endpoint *e, const struct bx_challenge *c)
{
    bx_cleanup_free char *scopes =
        c->scope[0] ? strdup(c->scope) : bx_strf("repository:%s:pull", e->repository);
    char *save = NULL;

    if (!scopes) {
        free(url);
        return NULL;
    }
    for (char *s = strtok_r(scopes, " ", &save); s && url; s = strtok_r(NULL, " ", &save))
        url = bx_url_add_query(url, "scope", s);
    return url;
}

static int get_token(struct bx_fetcher *f, struct bx_endpoint *e, const struct bx_challenge *c, char *realm,
                     unsigned retries, struct bx_err *err)
{
    bx_cleanup_free char *authorization = e->conf->username ? basic_header(e->conf) : NULL;
    bx_cleanup_free char *url = realm;
    struct bx_fetch_spec spec = {.endpoint = e, .no_login = true, .retries = retries, .index = -1};

    if (c->service[0])
        url = bx_url_add_query(url, "service", c->service);
    if (url)
        url = add_scopes(url, e, c);
    if (url && e->conf->username)
        url = bx_url_add_query(url, "account", e->conf->username);
    if (!url || (e->conf->username && !authorization))
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "log in");
    spec.url = url;
    spec.authorization = authorization;
    return bx_fetch_text(f, &spec, "the token service's answer", TOKEN_ANSWER_MAX, on_token, e, err);
}

/* A form is a query without the question mark. */
static int post_token(struct bx_fetcher *f, struct bx_endpoint *e, const struct bx_challenge *c, char *realm,
                      unsigned retries, struct bx_err *err)
{
    bx_cleanup_free char *url = realm;
    bx_cleanup_free char *form = strdup("");
    bx_cleanup_free char *scope =
        c->scope[0] ? strdup(c->scope) : bx_strf("repository:%s:pull", e->repository);
    struct bx_fetch_spec spec = {.endpoint = e, .no_login = true, .retries = retries, .index = -1};
    const char *const fields[][2] = {{"grant_type", "refresh_token"},
                                     {"service", c->service},
                                     {"client_id", CLIENT_ID},
                                     {"scope", scope},
                                     {"refresh_token", e->conf->identity_token}};
    int r;

    for (size_t i = 0; form && scope && i < BX_ARRAY_SIZE(fields); i++)
        form = bx_url_add_query(form, fields[i][0], fields[i][1]);
    if (!form || !scope)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "log in");
    spec.url = url;
    spec.post = form + 1;
    r = bx_fetch_text(f, &spec, "the token service's answer", TOKEN_ANSWER_MAX, on_token, e, err);
    explicit_bzero(form, strlen(form));
    return r;
}

static int start_token(struct bx_fetcher *f, struct bx_endpoint *e, const struct bx_challenge *c,
                       unsigned retries, struct bx_err *err)
{
    char *realm = NULL;
    int r;

    if (c->cut)
        return bx_fail(err, BX_ENETWORK, 0, "%s asks for a login with parameters that are too long",
                       e->conf->host);
    r = bx_url_realm(e->base, c->realm, &realm, err);
    if (r < 0)
        return r;
    return e->conf->identity_token ? post_token(f, e, c, realm, retries, err)
                                   : get_token(f, e, c, realm, retries, err);
}

/* --- deciding --- */

static void on_later(struct bx_source *s, void *ud)
{
    struct bx_endpoint *e = ud;

    bx_source_remove(s);
    bx_login_done(e, NULL);
}

static int start_basic(struct bx_fetcher *f, struct bx_endpoint *e, struct bx_err *err)
{
    char *header = basic_header(e->conf);
    struct bx_source *later = bx_loop_add_defer(f->loop, on_later, e);

    if (!header || !later) {
        free(header);
        bx_source_remove(later);
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "log in");
    }
    set_authorization(e, header);
    bx_defer_set(later);
    return 0;
}

int bx_login_start(struct bx_fetcher *f, struct bx_endpoint *e, const struct bx_challenge *c,
                   unsigned retries, struct bx_err *err)
{
    const struct bx_pull_endpoint *conf = e->conf;

    if (conf->bearer_token)
        return bx_fail(err, BX_EIMAGE, 0, "%s does not accept the token that was given for it", conf->host);
    if (c->bearer)
        return start_token(f, e, c, retries, err);
    if (!c->basic)
        return bx_fail(err, BX_EIMAGE, 0, "%s asks for a login of a kind that is not known", conf->host);
    if (!conf->username)
        return bx_fail(err, BX_EIMAGE, 0, "%s asks for a user name and password, and none was given for it",
                       conf->host);
    if (e->authorization && e->generation > 0)
        return bx_fail(err, BX_EIMAGE, 0,
                       "%s does not accept the user name and password that were given for it", conf->host);
    return start_basic(f, e, err);
}
