/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pull_plan.h - what the library tells boxlite-pull to do, and what boxlite-pull answers.
 *
 * The program is started as `boxlite-pull --plan-fd N`; the plan is one JSON document on a sealed memfd, strict
 * and versioned as the shim's (shim_plan.h). It reads no file of the user: registries, credentials and
 * certificates are in the plan, and what it writes goes through the directory descriptor that the plan names.
 */
#ifndef BX_HOST_PULL_PLAN_H
#define BX_HOST_PULL_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define BX_PULL_PLAN_VERSION   1
#define BX_PULL_PLAN_MAX       (4 * 1024 * 1024)
#define BX_PULL_ENDPOINTS_MAX  16
#define BX_PULL_CONCURRENT_MAX 16

/* One place to fetch from. Strings are heap, NULL when they do not apply. */
struct bx_pull_endpoint {
    char *host;   /* host[:port] to connect to: "registry-1.docker.io", "127.0.0.1:5000" */
    char *prefix; /* path put before the repository on a mirror that keeps several registries; NULL: none */
    bool plain_http;
    bool skip_verify;   /* TLS certificates are not checked */
    char *ca_pem;       /* certificates trusted in addition to the system's, PEM text */
    char *username;     /* basic authentication, or the login at a token service ... */
    char *password;
    char *identity_token; /* ... or an OAuth2 refresh token for it (docker's "identitytoken") */
    char *bearer_token; /* sent as it is */
};

struct bx_pull_plan {
    int blobs_fd;  /* directory descriptor: <home>/blobs. Blobs are sha256/<hex>, unfinished ones partial/<hex> */
    int status_fd; /* write end of a pipe: lines, see below */
    char *name;    /* the image as the user wrote it, for messages */
    char *repository; /* "library/python" */
    char *tag;     /* NULL when digest is given */
    char *digest;  /* NULL: by tag */
    char *os, *arch, *variant; /* the platform wanted; variant "" = any */
    /* Tried in order; the next one only when one cannot be reached, has not the image (404) or refuses us
     * (401, 403): mirrors first, the registry itself last. */
    struct bx_pull_endpoint *endpoints;
    size_t n_endpoints;
    char *http_proxy, *https_proxy, *no_proxy; /* as the environment of the user has them */
    unsigned concurrent;      /* blobs at a time, 1..BX_PULL_CONCURRENT_MAX */
    uint64_t max_bytes;       /* of the whole image, compressed */
    unsigned stall_ms;        /* a transfer that brings nothing for so long is broken off and tried again */
    unsigned timeout_ms;      /* for all of it; 0 = none */
    unsigned retries;         /* of each request */
};

#define BX_PULL_PLAN_INIT ((struct bx_pull_plan){.blobs_fd = -1, .status_fd = -1})
void bx_pull_plan_done(struct bx_pull_plan *p);
#define bx_cleanup_pull_plan BX_CLEANUP(bx_pull_plan_done)
int bx_pull_plan_write(const struct bx_pull_plan *p, struct bx_buf *out, struct bx_err *err);
int bx_pull_plan_parse(const char *text, size_t len, struct bx_pull_plan *ret, struct bx_err *err);

/*
 * The answer on status_fd: lines of words, the last of which is `ok` or `error`. Numbers are decimal bytes.
 *
 *   from HOST                      this endpoint has the image; not said when nobody had to be asked
 *   manifest DIGEST SIZE           the manifest for the platform (in the blob store)
 *   layer INDEX DIGEST SIZE have|fetch     one for each layer, INDEX from 0, before the first byte of any is fetched
 *   config DIGEST SIZE have|fetch
 *   progress INDEX DONE            of a layer, at most some 20 a second for each
 *   done INDEX                     the layer is in the blob store; not said of those it had
 *   retry INDEX|- WAIT_MS TEXT     something failed and is tried again; with less, when the host refused namespaces for the jail
 *   wait INDEX                     another program fetches this blob now
 *   ok TOP_DIGEST MANIFEST_DIGEST  TOP_DIGEST: what the tag named (an index or the manifest itself)
 *   error CODE TEXT                CODE: enum bx_code
 *
 * Everything between is data of a stranger made printable, each line at most BX_PULL_LINE_MAX bytes.
 */
#define BX_PULL_LINE_MAX 1024

#endif
