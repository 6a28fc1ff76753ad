/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - see config.h. */
#include "host/config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <strings.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "host/json.h"

#define CONFIG_MAX   (1024 * 1024)
#define HOST_MAX     270
#define PREFIX_MAX   255
#define NAME_MAX_LEN 4096
#define SECRET_MAX   (64 * 1024)
#define DOCKER       "docker.io"

/* ---- hosts ---- */

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool bx_registry_host_valid(const char *host)
{
    const char *p = host;
    uint64_t port;

    if (strlen(host) > HOST_MAX)
        return false;
    if (*p == '[') {
        p += 1 + strspn(p + 1, "0123456789abcdefABCDEF:.");
        if (*p++ != ']' || p - host < 4)
            return false;
    } else {
        while (is_alnum(*p) || ((*p == '.' || *p == '-' || *p == '_') && p > host))
            p++;
    }
    return p > host && (*p == '\0' || (*p == ':' && bx_parse_u64(p + 1, 1, 65535, &port) == 0));
}

static const char *usual_host(const char *host)
{
    return strcasecmp(host, "index.docker.io") == 0 ? DOCKER : host;
}

bool bx_registry_host_same(const char *a, const char *b)
{
    return strcasecmp(usual_host(a), usual_host(b)) == 0;
}

/* HOST[:PORT][/PATH], the path as that of a repository. */
static bool mirror_valid(const char *mirror)
{
    const char *slash = strchr(mirror, '/'), *p;
    bx_cleanup_free char *host = slash ? strndup(mirror, (size_t)(slash - mirror)) : NULL;

    if (!bx_registry_host_valid(slash ? (host ? host : "") : mirror))
        return false;
    if (!slash)
        return true;
    for (p = slash + 1; *p; p++)
        if (!is_alnum(*p) && (p[-1] == '/' || !strchr("._-/", *p)))
            return false;
    return p[-1] != '/' && strlen(slash + 1) <= PREFIX_MAX;
}

/* ---- freeing ---- */

static void free_secret(char *s)
{
    if (s)
        explicit_bzero(s, strlen(s));
    free(s);
}

void bx_registry_done(struct bx_registry *r)
{
    free(r->host);
    bx_strv_free(r->mirrors);
    free(r->ca_file);
    free(r->username);
    free_secret(r->password);
    free_secret(r->token);
    *r = (struct bx_registry){0};
}

void bx_config_done(struct bx_config *c)
{
    size_t i;

    for (i = 0; i < c->n_registries; i++)
        bx_registry_done(&c->registries[i]);
    free(c->registries);
    free(c->home_dir);
    *c = (struct bx_config){0};
}

/* ---- keys ---- */

const struct bx_config_key bx_config_keys[] = {
    {"", "home_dir", "absolute path",
     "Where boxes and images are kept. Only in a file that was named by --config or BOXLITE_CONFIG: config.json lies in the home itself."},
    {"", "image_registries", "list of objects", "Registries that are not reached in the usual way, at most 64."},
    {"", "templates", "object", "How much room the machines may take that boxes begin with."},
    {"image_registries", "host", "HOST[:PORT]", "Which registry this is, without scheme and path. Needed; each host has one entry."},
    {"image_registries", "transport", "https or http", "How it is spoken to (https)."},
    {"image_registries", "skip_verify", "true or false", "Its certificate is not checked (false)."},
    {"image_registries", "search", "true or false",
     "It is asked, in the order of the list, for images whose name has no registry (false). When no entry has it, docker.io is asked."},
    {"image_registries", "mirrors", "list of HOST[:PORT][/PATH]",
     "Asked before the registry itself, in order, at most 15; the next one when one is down or has not the image. How one is reached is said by an "
     "entry with its host. A mirror never gets another registry's password."},
    {"image_registries", "ca_file", "absolute path", "Certificates of the authorities that its certificate is checked with (the system's)."},
    {"image_registries", "auth", "object", "How to log in; without it docker's configuration and its credential helpers are asked."},
    {"auth", "type", "anonymous, basic or bearer", "anonymous: no login. basic: username and password. bearer: token. Needed."},
    {"auth", "username", "string", "With type basic."},
    {"auth", "password", "string", "With type basic."},
    {"auth", "token", "string", "With type bearer."},
    {"templates", "limit", "bytes, such as 512m or 2g", "What all of them together may take (2g); the longest unused go first."},
    {"templates", "days", "number", "How many days one is kept that is not used (30)."},
    {NULL, NULL, NULL, NULL},
};

#define KEYS_MAX 16

static int only_keys_of(const struct bx_json *o, const char *object, struct bx_err *err)
{
    const char *known[KEYS_MAX + 1];
    size_t n = 0;

    for (const struct bx_config_key *k = bx_config_keys; k->key; k++)
        if (bx_streq(k->object, object)) {
            bx_assert(n < KEYS_MAX);
            known[n++] = k->key;
        }
    known[n] = NULL;
    return bx_json_only_keys(o, known, err);
}

/* ---- reading ---- */

static int keep(char **ret, const char *s, struct bx_err *err)
{
    if (!s)
        return 0;
    *ret = strdup(s);
    return *ret ? 0 : bx_fail(err, BX_ERESOURCE, 0, "out of memory");
}

static int opt_bool(const struct bx_json *o, const char *key, bool *ret, struct bx_err *err)
{
    int r = bx_json_opt_bool(o, key, ret, err);

    return r < 0 ? r : 0;
}

static int opt_str(const struct bx_json *o, const char *key, size_t max, char **ret, struct bx_err *err)
{
    const char *s = NULL;
    int r = bx_json_opt_str(o, key, max, &s, err);

    return r < 0 ? r : keep(ret, s, err);
}

static int read_auth(const struct bx_json *o, struct bx_registry *g, struct bx_err *err)
{
    struct bx_json auth;
    const char *type;
    bool basic, bearer;
    int r = bx_json_opt_obj(o, "auth", &auth, err);

    if (r <= 0)
        return r;
    if ((r = only_keys_of(&auth, "auth", err)) < 0 ||
        (r = bx_json_str(&auth, "type", 16, &type, err)) < 0 ||
        (r = opt_str(&auth, "username", NAME_MAX_LEN, &g->username, err)) < 0 ||
        (r = opt_str(&auth, "password", SECRET_MAX, &g->password, err)) < 0 ||
        (r = opt_str(&auth, "token", SECRET_MAX, &g->token, err)) < 0)
        return r;
    basic = bx_streq(type, "basic");
    bearer = bx_streq(type, "bearer");
    if (!basic && !bearer && !bx_streq(type, "anonymous"))
        return bx_json_fail(&auth, err, "type must be anonymous, basic or bearer");
    if (basic != (g->username != NULL) || basic != (g->password != NULL) || bearer != (g->token != NULL))
        return bx_json_fail(&auth, err, "of type %s must have %s", type,
                            basic    ? "username and password, and nothing else"
                            : bearer ? "a token, and nothing else"
                                     : "nothing else");
    g->auth = basic ? BX_AUTH_BASIC : bearer ? BX_AUTH_BEARER : BX_AUTH_ANONYMOUS;
    return 0;
}

static int read_transport(const struct bx_json *o, struct bx_registry *g, struct bx_err *err)
{
    const char *s = NULL;
    int r = bx_json_opt_str(o, "transport", 16, &s, err);

    if (r <= 0)
        return r;
    g->plain_http = bx_streq(s, "http");
    return g->plain_http || bx_streq(s, "https") ? 0
                                                 : bx_json_fail(o, err, "transport must be https or http");
}

static int read_mirrors(const struct bx_json *o, struct bx_registry *g, struct bx_err *err)
{
    int r =
        bx_json_opt_strv(o, "mirrors", BX_CONFIG_MIRRORS_MAX, HOST_MAX + 1 + PREFIX_MAX, &g->mirrors, err);
    char **m, shown[64];

    for (m = g->mirrors; r >= 0 && m && *m; m++) {
        bx_str_printable(shown, sizeof(shown), *m, strlen(*m));
        if (!mirror_valid(*m))
            r = bx_json_fail(o, err, "mirrors: '%s' must be HOST[:PORT][/PATH], without scheme", shown);
    }
    return r < 0 ? r : 0;
}

static int read_registry(const struct bx_json *o, struct bx_registry *g, struct bx_err *err)
{
    const char *host;
    int r;

    if ((r = only_keys_of(o, "image_registries", err)) < 0 || (r = bx_json_str(o, "host", HOST_MAX, &host, err)) < 0)
        return r;
    if (!bx_registry_host_valid(host))
        return bx_json_fail(o, err, "host must be host[:port], without scheme or path");
    if ((r = keep(&g->host, usual_host(host), err)) < 0 || (r = read_transport(o, g, err)) < 0 ||
        (r = opt_bool(o, "skip_verify", &g->skip_verify, err)) < 0 ||
        (r = opt_bool(o, "search", &g->search, err)) < 0 || (r = read_mirrors(o, g, err)) < 0 ||
        (r = opt_str(o, "ca_file", PATH_MAX, &g->ca_file, err)) < 0)
        return r;
    if (g->ca_file && g->ca_file[0] != '/')
        return bx_json_fail(o, err, "ca_file must be an absolute path");
    return read_auth(o, g, err);
}

static int read_registries(const struct bx_json *o, struct bx_config *c, struct bx_err *err)
{
    struct bx_json list;
    size_t n = 0, i, k;
    int r = bx_json_opt_arr(o, "image_registries", BX_CONFIG_REGISTRIES_MAX, &list, &n, err);

    if (r < 0 || n == 0)
        return r < 0 ? r : 0;
    c->registries = calloc(n, sizeof(c->registries[0]));
    if (!c->registries)
        return bx_fail(err, BX_ERESOURCE, 0, "out of memory");
    for (i = 0, r = 0; i < n && r >= 0; i++) {
        struct bx_json item = bx_json_item(&list, i);

        c->n_registries = i + 1;
        r = read_registry(&item, &c->registries[i], err);
        for (k = 0; r >= 0 && k < i; k++)
            if (bx_registry_host_same(c->registries[k].host, c->registries[i].host))
                r = bx_json_fail(&item, err, "host: %s has an entry already", c->registries[i].host);
    }
    return r;
}

static int read_templates(const struct bx_json *o, struct bx_config *c, struct bx_err *err)
{
    const char *limit = NULL;
    struct bx_json templates;
    uint64_t days = 0;
    int r = bx_json_opt_obj(o, "templates", &templates, err);

    if (r <= 0)
        return r;
    if ((r = only_keys_of(&templates, "templates", err)) < 0 ||
        (r = bx_json_opt_str(&templates, "limit", 24, &limit, err)) < 0 ||
        (r = bx_json_opt_u64(&templates, "days", 1, BX_CONFIG_DAYS_MAX, &days, err)) < 0)
        return r;
    if (limit && (bx_parse_size(limit, &c->templates_bytes) < 0 || c->templates_bytes < 1 ||
                  c->templates_bytes > INT64_MAX))
        return bx_json_fail(&templates, err, "limit must be a number of bytes, such as 512m or 2g");
    c->templates_days = (unsigned)days;
    return 0;
}

static int read_config(const struct bx_json *o, struct bx_config *c, struct bx_err *err)
{
    int r;

    if ((r = only_keys_of(o, "", err)) < 0 ||
        (r = opt_str(o, "home_dir", PATH_MAX, &c->home_dir, err)) < 0)
        return r;
    if (c->home_dir && c->home_dir[0] != '/')
        return bx_json_fail(o, err, "home_dir must be an absolute path");
    r = read_registries(o, c, err);
    return r < 0 ? r : read_templates(o, c, err);
}

int bx_config_parse(const char *text, size_t len, const char *what, struct bx_config *ret, struct bx_err *err)
{
    const struct bx_json_limits limits = {.bytes = CONFIG_MAX, .depth = 8, .values = 8192};
    bx_cleanup_config struct bx_config c = {0};
    bx_cleanup_json struct bx_json o = {0};
    struct bx_err why = BX_ERR_INIT;
    int r = bx_json_parse(text, len, &limits, what, &o, &why);

    if (r == 0)
        r = bx_json_as_obj(&o, &why);
    if (r == 0)
        r = read_config(&o, &c, &why);
    if (r < 0)
        return bx_fail(err, BX_ECONFIG, 0, "%s", why.msg);
    *ret = c;
    c = (struct bx_config){0};
    return 0;
}

/* 1: read; 0: there is none and none was named. */
static int read_file(const char *path, bool named, struct bx_config *ret, struct bx_err *err)
{
    bx_cleanup_free char *text = NULL;
    size_t len = 0;
    int r = bx_read_file(AT_FDCWD, path, CONFIG_MAX, &text, &len);

    if (r == -ENOENT && !named)
        return 0;
    if (r < 0)
        return bx_fail(err, BX_ECONFIG, -r, "read %s", path);
    r = bx_config_parse(text, len, path, ret, err);
    explicit_bzero(text, len); /* passwords */
    return r < 0 ? r : 1;
}

static int choose_home(const char *given, const struct bx_config *c, char **ret, struct bx_err *err)
{
    const char *home = given, *base;

    if (!home || !*home)
        home = getenv("BOXLITE_HOME");
    if ((!home || !*home) && c->home_dir)
        home = c->home_dir;
    if (home && *home) {
        if (home[0] != '/')
            return bx_fail(err, BX_ECONFIG, 0, "home directory %s: must be an absolute path", home);
        *ret = bx_strf("%s", home);
    } else {
        base = getenv("HOME");
        if (!base || base[0] != '/')
            return bx_fail(err, BX_ECONFIG, 0, "no home directory: set BOXLITE_HOME or HOME");
        *ret = bx_path_join(base, ".boxlite");
    }
    return *ret ? 0 : bx_fail(err, BX_ERESOURCE, ENOMEM, "find the home directory");
}

int bx_config_load(const char *given, struct bx_config *ret, char **ret_home, struct bx_err *err)
{
    bx_cleanup_config struct bx_config c = {0};
    bx_cleanup_free char *home = NULL, *path = NULL;
    const char *named = getenv("BOXLITE_CONFIG");
    int r;

    if (named && *named && (r = read_file(named, true, &c, err)) < 0)
        return r;
    r = choose_home(given, &c, &home, err);
    if (r < 0)
        return r;
    if (!named || !*named) {
        path = bx_path_join(home, "config.json");
        if (!path)
            return bx_fail(err, BX_ERESOURCE, ENOMEM, "read the configuration");
        r = read_file(path, false, &c, err);
        if (r < 0)
            return r;
        if (c.home_dir && !bx_streq(c.home_dir, home))
            return bx_fail(
                err, BX_ECONFIG, 0,
                "%s: home_dir says %s, but this is the file of %s: leave it out, or name the file by "
                "BOXLITE_CONFIG",
                path, c.home_dir, home);
    }
    *ret = c;
    c = (struct bx_config){0};
    *ret_home = BX_TAKE_PTR(home);
    return 0;
}
