/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch.h - getting something from an endpoint: login, redirects, and trying again.
 *
 * A fetch is one or many exchanges (http.h). Credentials go to the origin (scheme, host, port) that the fetch
 * starts at and to no other; https never leads to http. What a moment can mend is tried again: broken and
 * refused connections, 408, 425, 429, 5xx, after a wait that grows and is spread by chance, and never shorter
 * than Retry-After asks.
 */
#ifndef BX_PULL_FETCH_H
#define BX_PULL_FETCH_H

#include "base/buf.h"
#include "host/pull_plan.h"
#include "pull/http.h"
#include "pull/status.h"

#define BX_FETCH_AGAIN 1

enum bx_fetch_result {
    BX_FETCH_OK,
    BX_FETCH_NEXT,  /* not to be had here: unreachable, missing, refused. Another endpoint may have it */
    BX_FETCH_FATAL, /* what came is wrong */
};

/* What all fetches share. */
struct bx_fetcher {
    struct bx_loop *loop;
    struct bx_http *http;
    struct bx_status *status;
};

/* An endpoint of the plan, and its login as far as it is known. */
struct bx_endpoint {
    const struct bx_pull_endpoint *conf;
    char *base;          /* "https://host" */
    char *repository;    /* with the mirror's prefix */
    char *authorization; /* header value; NULL before the first challenge */
    unsigned generation; /* of authorization */
    bool reached;        /* it has answered once */
    bool logging_in;
    struct bx_fetch *waiting; /* for the login */
};

int bx_endpoint_init(struct bx_endpoint *e, const struct bx_pull_endpoint *conf, const char *repository,
                     struct bx_err *err);
/* "https://host/v2/repository/what/id": heap, NULL when out of memory. */
char *bx_endpoint_url(const struct bx_endpoint *e, const char *what, const char *id);

/* Functions that fill err return negative (the fetch fails for good) or BX_FETCH_AGAIN (it is tried again).
 */
struct bx_fetch_ops {
    uint64_t (*offset)(void *ud); /* before each attempt: from which byte on; NULL: 0 */
    int (*head)(void *ud, const struct bx_http_head *head, uint64_t offset,
                struct bx_err *err); /* 200, 206; 416 when offset > 0 */
    int (*body)(void *ud, const uint8_t *data, size_t len, struct bx_err *err);
    int (*end)(void *ud, struct bx_err *err); /* the body is complete, as far as the transfer knows */
    void (*done)(void *ud, enum bx_fetch_result result, const struct bx_err *err);
};

struct bx_fetch_spec {
    struct bx_endpoint *endpoint;
    const char *url;
    const char *accept;
    const char *authorization; /* fixed, instead of the endpoint's login */
    const char *post;
    bool no_login;
    unsigned retries;
    int index; /* of the layer, for `retry` lines; -1 */
};

/* All is copied. done is called from the loop. 0 or negative: nothing was started. */
int bx_fetch_start(struct bx_fetcher *f, const struct bx_fetch_spec *spec, const struct bx_fetch_ops *ops,
                   void *ud, struct bx_err *err);

/* A whole document of at most max bytes. text and digest (of the registry's header, or NULL) live for the
 * call. */
typedef void bx_text_fn(void *ud, enum bx_fetch_result result, struct bx_buf *text, const char *digest,
                        const struct bx_err *err);
int bx_fetch_text(struct bx_fetcher *f, const struct bx_fetch_spec *spec, const char *what, size_t max,
                  bx_text_fn *fn, void *ud, struct bx_err *err);

/* --- login.c, for fetch.c --- */

/* Answers a challenge; login_done is called later. Negative: refused at once. */
int bx_login_start(struct bx_fetcher *f, struct bx_endpoint *e, const struct bx_challenge *c,
                   unsigned retries, struct bx_err *err);
/* e->authorization is new, or err says why there is none. */
void bx_login_done(struct bx_endpoint *e, const struct bx_err *err);

#endif
