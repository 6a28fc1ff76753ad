/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registries.h - where images come from: what the program gave and what the configuration file says, made one
 * (private).
 *
 * The program's word on a host goes before the file's; what it cannot say (mirrors, certificates) or has not
 * said (credentials) is the file's. A mirror is reached as the entry with the mirror's own host says, and
 * gets the credentials of that host only.
 */
#ifndef BX_RUNTIME_REGISTRIES_H
#define BX_RUNTIME_REGISTRIES_H

#include <boxlite.h>

#include "base/err.h"
#include "host/config.h"
#include "host/pull_plan.h"
#include "image/reference.h"

struct bx_registries {
    struct bx_registry *items; /* the program's first: the order of search */
    size_t n;
};
void bx_registries_done(struct bx_registries *g);

/* -BX_ECONFIG. Takes the file's entries out of `file`. */
int bx_registries_make(const BoxliteImageRegistry *given, size_t n, struct bx_config *file,
                       struct bx_registries *ret, struct bx_err *err);

/* NULL when nothing was said about the host. */
const struct bx_registry *bx_registry_find(const struct bx_registries *g, const char *host);

/*
 * The canonical references that a name may mean, in the order in which registries are asked: one, or for a
 * name without a registry one of each that is searched (docker.io when there is none). A list.
 */
int bx_registries_candidates(const struct bx_registries *g, const char *name, char ***ret,
                             struct bx_err *err);

/* Whether docker's configuration is to be asked for an endpoint's credentials, and as what. */
struct bx_credential_key {
    char host[272]; /* "": they are given, or there shall be none */
    char path[544]; /* repository there */
};

/* Mirrors, then the registry itself: into plan->endpoints, certificates read. keys: BX_PULL_ENDPOINTS_MAX of
 * them. */
int bx_registries_endpoints(const struct bx_registries *g, const struct bx_reference *ref,
                            struct bx_pull_plan *plan, struct bx_credential_key *keys, struct bx_err *err);

#endif
