/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - the configuration file: which registries images come from, and how; how much templates may take.
 *
 * Strict JSON: a key that is not known is refused by its name and place. The file is $BOXLITE_CONFIG, which the
 * command sets for --config, else config.json in the home directory when it is there:
 *
 *     {"home_dir": "/var/lib/boxlite",
 *      "image_registries": [
 *        {"host": "docker.io", "mirrors": ["127.0.0.1:5000", "harbor.example/dockerhub"]},
 *        {"host": "127.0.0.1:5000", "transport": "http", "search": true},
 *        {"host": "harbor.example", "ca_file": "/etc/ssl/harbor.pem",
 *         "auth": {"type": "basic", "username": "robot", "password": "..."}}],
 *      "templates": {"limit": "2g", "days": 30}}
 *
 * All is optional but an entry's host. transport: https (default) or http. skip_verify: the certificate is
 * not checked. search: tried, in order, for names without a registry. mirrors: asked before the registry
 * itself, in order, HOST[:PORT][/PATH]; how to reach one is said by the entry with its host. auth: anonymous,
 * basic (username, password) or bearer (token); without it docker's configuration is asked. home_dir: only in
 * a file that was named. templates: what all of them together may take (bytes; k, m, g, t are powers of 1024), and
 * how many days one is kept that is not used (vm/template_evict.h).
 */
#ifndef BX_HOST_CONFIG_H
#define BX_HOST_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

#define BX_CONFIG_REGISTRIES_MAX 64
#define BX_CONFIG_MIRRORS_MAX    15 /* with the registry itself BX_PULL_ENDPOINTS_MAX */
#define BX_CONFIG_DAYS_MAX       36500

enum bx_auth {
    BX_AUTH_UNSAID, /* whatever docker's configuration says */
    BX_AUTH_ANONYMOUS,
    BX_AUTH_BASIC,
    BX_AUTH_BEARER,
};

/* Strings are heap. */
struct bx_registry {
    char *host; /* host[:port]; docker's is docker.io, whatever it was called */
    bool plain_http, skip_verify, search;
    char **mirrors; /* list; NULL: none */
    char *ca_file;  /* absolute; NULL: the system's */
    enum bx_auth auth;
    char *username, *password; /* BX_AUTH_BASIC */
    char *token;               /* BX_AUTH_BEARER */
};
/* Secrets do not stay in freed memory. */
void bx_registry_done(struct bx_registry *r);

struct bx_config {
    char *home_dir; /* NULL: not said */
    struct bx_registry *registries;
    size_t n_registries;
    uint64_t templates_bytes; /* 0: not said */
    unsigned templates_days;  /* 0: not said */
};
void bx_config_done(struct bx_config *c);
#define bx_cleanup_config BX_CLEANUP(bx_config_done)

/* Every key that may stand in the file: what is not here is refused. The manual page boxlite-config(5) is made of it. */
struct bx_config_key {
    const char *object; /* that has it: "" is the file itself */
    const char *key;
    const char *value; /* what it is, for a person */
    const char *help;
};
extern const struct bx_config_key bx_config_keys[]; /* ends with a key that is NULL */

/* `what` begins every message: the file's name. All errors are -BX_ECONFIG. */
int bx_config_parse(const char *text, size_t len, const char *what, struct bx_config *ret,
                    struct bx_err *err);

/*
 * Where the home is and what is configured there. Home: `given`, else $BOXLITE_HOME, else home_dir of the
 * named file, else ~/.boxlite; absolute, heap.
 */
int bx_config_load(const char *given, struct bx_config *ret, char **ret_home, struct bx_err *err);

/* host[:port] as a registry may have it, without scheme and path? */
bool bx_registry_host_valid(const char *host);
/* Are both names of the same registry? Case does not matter; index.docker.io is docker.io. */
bool bx_registry_host_same(const char *a, const char *b);

#endif
