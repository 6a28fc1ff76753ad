/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credentials.c - see credentials.h.
 *
 * Docker names its own registry https://index.docker.io/v1/, others HOST; older versions wrote
 * https://HOST/v1/. Podman and others also write HOST/PATH for a part of a registry: the longest that fits
 * goes first. An entry may be empty: docker leaves it when a helper keeps the password.
 */
#include "runtime/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "host/json.h"
#include "runtime/job.h"

#define CONFIG_MAX      (1024 * 1024)
#define SECRET_MAX      (64 * 1024)
#define NAME_LEN_MAX    4096
#define ANSWER_MAX      (64 * 1024)
#define HELPER_DEADLINE (60 * BX_SEC) /* it may ask a person */
#define HELPER_NAME_MAX 64
#define ANSWER_FD       1
#define DOCKER          "docker.io"
#define DOCKER_KEY      "https://index.docker.io/v1/"

struct bx_credentials {
    struct CBoxliteRuntime *rt;
    struct bx_pull_endpoint *into;
    struct bx_docker_login login; /* what the file has, for when the helper has nothing */
    char *file;
    char host[272];
    struct bx_job *job;
    struct bx_source *deadline;
    bx_credentials_fn *fn;
    void *ud;
};

static void free_secret(char *s)
{
    if (s)
        explicit_bzero(s, strlen(s));
    free(s);
}

void bx_docker_login_done(struct bx_docker_login *l)
{
    free(l->username);
    free_secret(l->password);
    free_secret(l->identity_token);
    free_secret(l->bearer_token);
    free(l->helper);
    *l = (struct bx_docker_login){0};
}

/* ---- base64 (RFC 4648), as docker writes it ---- */

static int sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Heap text; NULL when it is no base64 of text. */
static char *decode(const char *s)
{
    size_t n = strcspn(s, "="), i, len = 0;
    char *out = calloc(1, n / 4 * 3 + 4);
    uint32_t bits = 0;

    if (!out || n % 4 == 1 || strspn(s + n, "=") != strlen(s + n) || strlen(s + n) > 2)
        goto fail;
    for (i = 0; i < n; i++) {
        int v = sextet(s[i]);

        if (v < 0)
            goto fail;
        bits = bits << 6 | (uint32_t)v;
        if (i % 4 > 0)
            out[len++] = (char)(bits >> (6 - 2 * (i % 4)) & 0xff);
    }
    while (len > 0 && out[len - 1] == '\0') /* docker of old padded with them */
        len--;
    if (strlen(out) == len)
        return out;
fail:
    free(out);
    return NULL;
}

/* ---- the file ---- */

static int keep(char **ret, const char *s, struct bx_err *err)
{
    if (!s || !*s)
        return 0;
    free_secret(*ret);
    *ret = strdup(s);
    return *ret ? 0 : bx_fail(err, BX_ERESOURCE, ENOMEM, "credentials");
}

static int take_auth(const struct bx_json *o, const char *auth, struct bx_docker_login *l, struct bx_err *err)
{
    char *text = decode(auth), *colon = text ? strchr(text, ':') : NULL;
    int r = 0;

    if (!colon || colon == text) {
        r = bx_json_fail(o, err, "auth must be USER:PASSWORD in base64");
    } else {
        *colon = '\0';
        r = keep(&l->username, text, err);
        if (r == 0)
            r = keep(&l->password, colon + 1, err);
        *colon = ':';
    }
    free_secret(text);
    return r;
}

static int take_entry(const struct bx_json *o, struct bx_docker_login *l, struct bx_err *err)
{
    const char *auth = NULL, *username = NULL, *password = NULL, *identity = NULL, *token = NULL;
    int r;

    if ((r = bx_json_as_obj(o, err)) < 0 || (r = bx_json_opt_str(o, "auth", SECRET_MAX, &auth, err)) < 0 ||
        (r = bx_json_opt_str(o, "username", NAME_LEN_MAX, &username, err)) < 0 ||
        (r = bx_json_opt_str(o, "password", SECRET_MAX, &password, err)) < 0 ||
        (r = bx_json_opt_str(o, "identitytoken", SECRET_MAX, &identity, err)) < 0 ||
        (r = bx_json_opt_str(o, "registrytoken", SECRET_MAX, &token, err)) < 0)
        return r;
    if ((r = keep(&l->identity_token, identity, err)) < 0 || (r = keep(&l->bearer_token, token, err)) < 0 ||
        l->identity_token || l->bearer_token)
        return r;
    if (auth && *auth)
        return take_auth(o, auth, l, err);
    r = keep(&l->username, username, err);
    return r < 0 ? r : keep(&l->password, password, err);
}

/* Of a key of `auths`: "https://HOST/v1/", "HOST/PATH", "HOST". How much of host and path it names: 0 nothing
 * of ours. */
static size_t key_fits(const char *name, const struct bx_credential_key *key)
{
    const char *p = strstr(name, "://");
    size_t host_len, path_len;

    p = p && p - name <= 5 ? p + 3 : name;
    host_len = strcspn(p, "/");
    if (host_len != strlen(key->host) || strncasecmp(p, key->host, host_len) != 0) {
        static const char hub[] = "index.docker.io";

        if (!bx_streq(key->host, DOCKER) || host_len != strlen(hub) || strncasecmp(p, hub, host_len) != 0)
            return 0;
    }
    p += host_len;
    while (*p == '/')
        p++;
    path_len = strlen(p);
    while (path_len > 0 && p[path_len - 1] == '/')
        path_len--;
    if (path_len == 0 || (path_len == 2 && (memcmp(p, "v1", 2) == 0 || memcmp(p, "v2", 2) == 0)))
        return 1;
    if (strncmp(p, key->path, path_len) == 0 && (key->path[path_len] == '/' || key->path[path_len] == '\0'))
        return 1 + path_len;
    return 0;
}

static bool helper_name_valid(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    return n > 0 && n <= HELPER_NAME_MAX && s[n] == '\0';
}

/* The best entry of an object of names, or v NULL. */
static int best_entry(const struct bx_json *o, const char *member, const struct bx_credential_key *key,
                      struct bx_json *list, struct bx_json *ret, struct bx_err *err)
{
    struct bx_json value;
    size_t best = 0, fits;
    void *it = NULL;
    int r = bx_json_opt_obj(o, member, list, err);

    ret->v = NULL;
    while (r > 0 && bx_json_next(list, &it, &value)) {
        fits = key_fits(value.key, key);
        if (fits > best) {
            best = fits;
            *ret = value;
        }
    }
    return r < 0 ? r : 0;
}

static int take_helper(const struct bx_json *o, const struct bx_credential_key *key,
                       struct bx_docker_login *l, struct bx_err *err)
{
    struct bx_json helpers, entry;
    char shown[HELPER_NAME_MAX + 1];
    const char *name = NULL;
    int r = best_entry(o, "credHelpers", key, &helpers, &entry, err);

    if (r == 0 && entry.v)
        r = bx_json_as_str(&entry, HELPER_NAME_MAX, &name, err);
    else if (r == 0)
        r = bx_json_opt_str(o, "credsStore", HELPER_NAME_MAX, &name, err);
    if (r < 0 || !name || !*name)
        return r < 0 ? r : 0;
    bx_str_printable(shown, sizeof(shown), name, strlen(name));
    if (!helper_name_valid(name))
        return bx_json_fail(o, err, "'%s' cannot be the name of a credential helper", shown);
    return keep(&l->helper, name, err);
}

int bx_docker_config_parse(const char *text, size_t len, const char *what,
                           const struct bx_credential_key *key, struct bx_docker_login *ret,
                           struct bx_err *err)
{
    bx_cleanup_docker_login struct bx_docker_login l = {0};
    bx_cleanup_json struct bx_json o = {0};
    struct bx_json auths, entry;
    struct bx_err why = BX_ERR_INIT;
    int r;

    if ((r = bx_json_parse(text, len, NULL, what, &o, &why)) == 0 && (r = bx_json_as_obj(&o, &why)) == 0 &&
        (r = take_helper(&o, key, &l, &why)) == 0 &&
        (r = best_entry(&o, "auths", key, &auths, &entry, &why)) == 0 && entry.v)
        r = take_entry(&entry, &l, &why);
    if (r < 0)
        return bx_fail(err, BX_ECONFIG, 0, "%s", why.msg);
    *ret = l;
    l = (struct bx_docker_login){0};
    return 0;
}

/* ---- the helper ---- */

/* It says in words what went wrong, and we do not learn its exit code. */
int bx_docker_helper_parse(const char *text, size_t len, struct bx_docker_login *ret, struct bx_err *err)
{
    bx_cleanup_json struct bx_json o = {0};
    bx_cleanup_free char *said = strndup(text, len);
    const char *username, *secret, *first;
    char shown[200];
    int r;

    if (!said)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "credentials");
    if (strstr(said, "credentials not found")) {
        explicit_bzero(said, strlen(said));
        return 0;
    }
    first = said + strspn(said, " \t\r\n");
    if (!*first)
        return bx_fail(err, BX_ECONFIG, 0, "it said nothing");
    if (*first != '{') {
        bx_str_printable(shown, sizeof(shown), first, strcspn(first, "\r\n"));
        return bx_fail(err, BX_ECONFIG, 0, "%s", shown);
    }
    explicit_bzero(said, strlen(said));
    r = bx_json_parse(text, len, NULL, "its answer", &o, err);
    if (r == 0 && (r = bx_json_str(&o, "Username", NAME_LEN_MAX, &username, err)) == 0 &&
        (r = bx_json_str(&o, "Secret", SECRET_MAX, &secret, err)) == 0) {
        bool token = bx_streq(username, "<token>");

        r = keep(token ? &ret->identity_token : &ret->password, secret, err);
        if (r == 0 && !token)
            r = keep(&ret->username, username, err);
    }
    if (r < 0 && err)
        err->code = BX_ECONFIG;
    return r < 0 ? -BX_ECONFIG : ret->identity_token || ret->username ? 1 : 0;
}

/* A name without a password says nothing, and the other way round. */
static void hand_over(struct bx_docker_login *l, struct bx_pull_endpoint *into)
{
    if (l->bearer_token) {
        into->bearer_token = BX_TAKE_PTR(l->bearer_token);
    } else if (l->identity_token) {
        into->identity_token = BX_TAKE_PTR(l->identity_token);
    } else if (l->username && l->password) {
        into->username = BX_TAKE_PTR(l->username);
        into->password = BX_TAKE_PTR(l->password);
    }
}

struct bx_credentials *bx_credentials_free(struct bx_credentials *c)
{
    if (!c)
        return NULL;
    bx_job_kill(c->job);
    bx_source_remove(c->deadline);
    bx_docker_login_done(&c->login);
    free(c->file);
    free(c);
    return NULL;
}

static void answer(struct bx_credentials *c, struct bx_err *why)
{
    bx_credentials_fn *fn = c->fn;
    void *ud = c->ud;

    if (why)
        bx_prefix(why, "credentials for %s: docker-credential-%s (named in %s)", c->host, c->login.helper,
                  c->file);
    bx_credentials_free(c);
    fn(ud, why);
}

static void on_answer(void *ud, const char *text, size_t len)
{
    bx_cleanup_docker_login struct bx_docker_login l = {0};
    struct bx_credentials *c = ud;
    struct bx_err err = BX_ERR_INIT;
    int r = bx_docker_helper_parse(text, len, &l, &err);

    c->job = NULL;
    if (r >= 0)
        hand_over(r > 0 ? &l : &c->login, c->into);
    answer(c, r < 0 ? &err : NULL);
}

static void on_deadline(struct bx_source *s, void *ud)
{
    struct bx_credentials *c = ud;
    struct bx_err err = BX_ERR_INIT;

    (void)s;
    bx_fail(&err, BX_ECONFIG, 0, "no answer within %d s", (int)(HELPER_DEADLINE / BX_SEC));
    answer(c, &err);
}

/* Absolute, of the PATH. NULL: it is not there. */
static char *find_program(const char *name)
{
    const char *p = getenv("PATH");
    size_t n;

    for (; p && *p; p += n + (p[n] == ':')) {
        bx_cleanup_free char *path = NULL;

        n = strcspn(p, ":");
        if (p[0] != '/')
            continue;
        path = bx_strf("%.*s/%s", (int)n, p, name);
        if (path && access(path, X_OK) == 0)
            return BX_TAKE_PTR(path);
    }
    return NULL;
}

static int start_helper(struct bx_credentials *c, struct bx_err *err)
{
    char program[HELPER_NAME_MAX + 32], verb[] = "get", *argv[] = {program, verb, NULL};
    const char *server = strcmp(c->host, DOCKER) == 0 ? DOCKER_KEY : c->host;
    bx_cleanup_free char *path = NULL;
    bx_cleanup_close int in = bx_memfd_sealed("server", server, strlen(server));
    struct bx_spawn_fd fds[] = {{in, 0}};
    struct bx_spawn s = {.argv = argv, .fds = fds, .n_fds = 1};

    snprintf(program, sizeof(program), "docker-credential-%s", c->login.helper);
    s.path = path = find_program(program);
    if (!path)
        return bx_fail(err, BX_ECONFIG, 0,
                       "credentials for %s: %s is not in the PATH, and %s names it; install it, or give this "
                       "registry an "
                       "\"auth\" of its own in config.json",
                       c->host, program, c->file);
    if (in < 0)
        return bx_fail(err, BX_ERESOURCE, -in, "ask %s", program);
    c->deadline = bx_loop_add_timer(c->rt->loop, on_deadline, c);
    if (!c->deadline)
        return bx_fail(err, BX_ERESOURCE, errno, "ask %s", program);
    bx_timer_after(c->deadline, HELPER_DEADLINE);
    c->job = bx_job_start(c->rt, &s, ANSWER_FD, on_answer, c, err);
    if (!c->job)
        return bx_prefix(err, "credentials for %s", c->host);
    bx_job_text_max(c->job, ANSWER_MAX);
    return 0;
}

/* NULL: there is nowhere to look. */
static char *config_path(void)
{
    const char *dir = getenv("DOCKER_CONFIG"), *home = getenv("HOME");

    if (dir && *dir)
        return bx_path_join(dir, "config.json");
    return home && *home ? bx_path_join(home, ".docker/config.json") : NULL;
}

int bx_credentials_get(struct CBoxliteRuntime *rt, const struct bx_credential_key *key,
                       struct bx_pull_endpoint *into, bx_credentials_fn *fn, void *ud,
                       struct bx_credentials **ret, struct bx_err *err)
{
    bx_cleanup_docker_login struct bx_docker_login l = {0};
    bx_cleanup_free char *path = config_path(), *text = NULL;
    struct bx_credentials *c;
    size_t len = 0;
    int r;

    if (!path)
        return 1;
    r = bx_read_file(AT_FDCWD, path, CONFIG_MAX, &text, &len);
    if (r == -ENOENT || r == -ENOTDIR)
        return 1;
    if (r < 0)
        return bx_fail(err, BX_ECONFIG, -r, "credentials for %s: read %s", key->host, path);
    r = bx_docker_config_parse(text, len, path, key, &l, err);
    explicit_bzero(text, len);
    if (r < 0)
        return bx_prefix(err, "credentials for %s", key->host);
    if (!l.helper) {
        hand_over(&l, into);
        return 1;
    }
    c = calloc(1, sizeof(*c));
    if (!c)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "credentials");
    *c = (struct bx_credentials){.rt = rt, .into = into, .login = l, .fn = fn, .ud = ud};
    l = (struct bx_docker_login){0};
    c->file = BX_TAKE_PTR(path);
    snprintf(c->host, sizeof(c->host), "%s", key->host);
    r = start_helper(c, err);
    if (r < 0) {
        bx_credentials_free(c);
        return r;
    }
    *ret = c;
    return 0;
}
