/* SPDX-License-Identifier: Apache-2.0 */
/* registries.c - see registries.h. */
#include "runtime/registries.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/fd.h"
#include "base/str.h"

#define CA_MAX          (1024 * 1024)
#define DOCKER          "docker.io"
#define DOCKER_ENDPOINT "registry-1.docker.io"

void bx_registries_done(struct bx_registries *g)
{
    size_t i;

    for (i = 0; i < g->n; i++)
        bx_registry_done(&g->items[i]);
    free(g->items);
    *g = (struct bx_registries){0};
}

static struct bx_registry *find(struct bx_registry *items, size_t n, const char *host)
{
    size_t i;

    for (i = 0; i < n; i++)
        if (items[i].host && bx_registry_host_same(items[i].host, host))
            return &items[i];
    return NULL;
}

const struct bx_registry *bx_registry_find(const struct bx_registries *g, const char *host)
{
    return find(g->items, g->n, host);
}

/* ---- both made one ---- */

/* The reference's words. */
static int check_given(const BoxliteImageRegistry *g, struct bx_err *err)
{
    if (!g->host || !*g->host)
        return bx_fail(err, BX_ECONFIG, 0, "image registry: host is required");
    if (!bx_registry_host_valid(g->host))
        return bx_fail(err, BX_ECONFIG, 0,
                       "image registry %.200s: must be host[:port], without scheme or path", g->host);
    if (g->transport != BoxliteRegistryTransportHttps && g->transport != BoxliteRegistryTransportHttp)
        return bx_fail(err, BX_ECONFIG, 0, "image registry %s: unsupported registry transport", g->host);
    if (!g->username != !g->password)
        return bx_fail(err, BX_ECONFIG, 0,
                       "image registry %s: username and password must be provided together", g->host);
    if (g->username && g->bearer_token)
        return bx_fail(err, BX_ECONFIG, 0, "image registry %s: either a username or a bearer token", g->host);
    return 0;
}

/* What is searched becomes the beginning of a name, which must be read as a registry there. */
static int check_search(const struct bx_registry *g, struct bx_err *err)
{
    bx_cleanup_free char *name = bx_strf("%s/a", g->host);
    struct bx_reference ref;

    if (!name)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "image registry %s", g->host);
    if (bx_reference_parse(name, &ref, NULL) < 0 || strcasecmp(ref.domain, g->host) != 0)
        return bx_fail(
            err, BX_ECONFIG, 0,
            "image registry %s: cannot be searched, since %s means an image of docker.io: give it a domain "
            "or a port",
            g->host, name);
    return 0;
}

static int keep(char **ret, const char *s)
{
    if (!s)
        return 0;
    *ret = bx_strf("%s", s);
    return *ret ? 0 : -1;
}

static int take_given(const BoxliteImageRegistry *g, struct bx_registry *ret, struct bx_err *err)
{
    ret->plain_http = g->transport == BoxliteRegistryTransportHttp;
    ret->skip_verify = g->skip_verify != 0;
    ret->search = g->search != 0;
    ret->auth = g->username ? BX_AUTH_BASIC : g->bearer_token ? BX_AUTH_BEARER : BX_AUTH_UNSAID;
    if (keep(&ret->host, bx_registry_host_same(g->host, DOCKER) ? DOCKER : g->host) < 0 ||
        keep(&ret->username, g->username) < 0 || keep(&ret->password, g->password) < 0 ||
        keep(&ret->token, g->bearer_token) < 0)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "image registry %s", g->host);
    return 0;
}

static void merge(struct bx_registries *all, struct bx_registry *from_file)
{
    struct bx_registry *given = find(all->items, all->n, from_file->host);

    if (!given) {
        all->items[all->n++] = *from_file;
        *from_file = (struct bx_registry){0};
        return;
    }
    given->mirrors = BX_TAKE_PTR(from_file->mirrors);
    given->ca_file = BX_TAKE_PTR(from_file->ca_file);
    if (given->auth == BX_AUTH_UNSAID) {
        given->auth = from_file->auth;
        given->username = BX_TAKE_PTR(from_file->username);
        given->password = BX_TAKE_PTR(from_file->password);
        given->token = BX_TAKE_PTR(from_file->token);
    }
}

int bx_registries_make(const BoxliteImageRegistry *given, size_t n, struct bx_config *file,
                       struct bx_registries *ret, struct bx_err *err)
{
    struct bx_registries all = {0};
    size_t i;
    int r = 0;

    all.items = calloc(n + file->n_registries + 1, sizeof(all.items[0]));
    if (!all.items)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "image registries");
    for (i = 0; i < n && r == 0; i++) {
        r = check_given(&given[i], err);
        if (r == 0 && find(all.items, all.n, given[i].host))
            r = bx_fail(err, BX_ECONFIG, 0, "image registry %s: given twice", given[i].host);
        if (r == 0)
            r = take_given(&given[i], &all.items[all.n++], err);
    }
    for (i = 0; i < file->n_registries && r == 0; i++)
        merge(&all, &file->registries[i]);
    for (i = 0; i < all.n && r == 0; i++)
        if (all.items[i].search)
            r = check_search(&all.items[i], err);
    if (r < 0)
        bx_registries_done(&all);
    else
        *ret = all;
    return r;
}

/* ---- names ---- */

static int add_canonical(char ***list, const char *name, struct bx_err *err)
{
    bx_cleanup_free char *canonical = NULL;
    struct bx_reference ref;
    int r = bx_reference_parse(name, &ref, err);

    if (r < 0)
        return r;
    canonical = bx_reference_canonical(&ref);
    return canonical && bx_strv_add(list, canonical) == 0
               ? 0
               : bx_fail(err, BX_ERESOURCE, ENOMEM, "the names of an image");
}

int bx_registries_candidates(const struct bx_registries *g, const char *name, char ***ret, struct bx_err *err)
{
    bx_cleanup_strv char **list = NULL;
    struct bx_reference ref;
    size_t i;
    int r = bx_reference_parse(name, &ref, err);

    for (i = 0; r == 0 && !ref.domain_given && i < g->n; i++) {
        bx_cleanup_free char *there = g->items[i].search ? bx_strf("%s/%s", g->items[i].host, name) : NULL;

        if (there)
            r = add_canonical(&list, there, err);
        else if (g->items[i].search)
            r = bx_fail(err, BX_ERESOURCE, ENOMEM, "the names of an image");
    }
    if (r == 0 && !list)
        r = add_canonical(&list, name, err);
    if (r == 0)
        *ret = BX_TAKE_PTR(list);
    return r;
}

/* ---- endpoints ---- */

static int read_ca(const struct bx_registry *g, char **ret, struct bx_err *err)
{
    size_t len = 0;
    int r = bx_read_file(AT_FDCWD, g->ca_file, CA_MAX, ret, &len);

    if (r < 0)
        return bx_fail(err, BX_ECONFIG, -r, "ca_file of registry %s: read %s", g->host, g->ca_file);
    if (!bx_utf8_valid(*ret, len) || !strstr(*ret, "-----BEGIN "))
        return bx_fail(err, BX_ECONFIG, 0, "ca_file of registry %s: %s holds no certificate as text (PEM)",
                       g->host, g->ca_file);
    return 0;
}

/* How `host` is reached; g is what was said about it, or NULL. */
static int add_endpoint(struct bx_pull_plan *plan, const struct bx_registry *g, const char *host,
                        const char *prefix, struct bx_credential_key *keys, struct bx_err *err)
{
    size_t i = plan->n_endpoints;
    struct bx_pull_endpoint *e = &plan->endpoints[i];
    bool docker = bx_registry_host_same(host, DOCKER) || strcasecmp(host, DOCKER_ENDPOINT) == 0;

    if (i >= BX_PULL_ENDPOINTS_MAX)
        return bx_fail(err, BX_ECONFIG, 0, "%s has more than %d mirrors", host, BX_CONFIG_MIRRORS_MAX);
    plan->n_endpoints++;
    if (keep(&e->host, bx_registry_host_same(host, DOCKER) ? DOCKER_ENDPOINT : host) < 0 ||
        keep(&e->prefix, prefix) < 0)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "plan a pull");
    if (!g || g->auth == BX_AUTH_UNSAID) {
        snprintf(keys[i].host, sizeof(keys[i].host), "%s", docker ? DOCKER : host);
        snprintf(keys[i].path, sizeof(keys[i].path), "%s%s%s", prefix ? prefix : "", prefix ? "/" : "",
                 plan->repository);
    }
    if (!g)
        return 0;
    e->plain_http = g->plain_http;
    e->skip_verify = g->skip_verify;
    if (keep(&e->username, g->username) < 0 || keep(&e->password, g->password) < 0 ||
        keep(&e->bearer_token, g->token) < 0)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "plan a pull");
    return g->ca_file ? read_ca(g, &e->ca_pem, err) : 0;
}

static int add_mirror(const struct bx_registries *g, const char *mirror, struct bx_pull_plan *plan,
                      struct bx_credential_key *keys, struct bx_err *err)
{
    bx_cleanup_free char *host = bx_strf("%s", mirror);
    char *slash = host ? strchr(host, '/') : NULL;

    if (!host)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "plan a pull");
    if (slash)
        *slash++ = '\0';
    return add_endpoint(plan, bx_registry_find(g, host), host, slash, keys, err);
}

int bx_registries_endpoints(const struct bx_registries *g, const struct bx_reference *ref,
                            struct bx_pull_plan *plan, struct bx_credential_key *keys, struct bx_err *err)
{
    const struct bx_registry *registry = bx_registry_find(g, ref->domain);
    char **m;
    int r = 0;

    memset(keys, 0, BX_PULL_ENDPOINTS_MAX * sizeof(keys[0]));
    plan->endpoints = calloc(BX_PULL_ENDPOINTS_MAX, sizeof(plan->endpoints[0]));
    if (!plan->endpoints)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "plan a pull");
    for (m = registry ? registry->mirrors : NULL; m && *m && r == 0; m++)
        r = add_mirror(g, *m, plan, keys, err);
    return r < 0 ? r : add_endpoint(plan, registry, ref->domain, NULL, keys, err);
}
