/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credentials.h - what docker's configuration says about who we are at a registry (private).
 *
 * $DOCKER_CONFIG/config.json, else ~/.docker/config.json, read each time: auths, credHelpers, credsStore. A
 * helper is a program of the user's, docker-credential-NAME of the PATH; it runs as one of our jobs, with a
 * deadline, and what it says is bounded. Where nothing is said nothing is sent.
 */
#ifndef BX_RUNTIME_CREDENTIALS_H
#define BX_RUNTIME_CREDENTIALS_H

#include "host/pull_plan.h"
#include "runtime/registries.h"
#include "runtime/runtime.h"

struct bx_credentials;
/* err NULL: into holds what there is, perhaps nothing. */
typedef void bx_credentials_fn(void *ud, const struct bx_err *err);

/*
 * Fills username and password, identity_token or bearer_token of `into`, which stays valid. 1: done; 0: *ret
 * was made, and fn will be called from the loop; negative: -BX_ECONFIG, with the file's name.
 */
int bx_credentials_get(struct CBoxliteRuntime *rt, const struct bx_credential_key *key,
                       struct bx_pull_endpoint *into, bx_credentials_fn *fn, void *ud,
                       struct bx_credentials **ret, struct bx_err *err);
/* fn is not called. Accepts NULL; returns NULL. */
struct bx_credentials *bx_credentials_free(struct bx_credentials *c);

/* What the file says about one registry: for tests, and for bx_credentials_get. */
struct bx_docker_login {
    char *username, *password, *identity_token, *bearer_token;
    char *helper; /* to be asked; NULL: none */
};
void bx_docker_login_done(struct bx_docker_login *l);
#define bx_cleanup_docker_login BX_CLEANUP(bx_docker_login_done)
int bx_docker_config_parse(const char *text, size_t len, const char *what,
                           const struct bx_credential_key *key, struct bx_docker_login *ret,
                           struct bx_err *err);
/* What a helper answered: 1, or 0 when it has nothing, or -BX_ECONFIG. */
int bx_docker_helper_parse(const char *text, size_t len, struct bx_docker_login *ret, struct bx_err *err);

#endif
