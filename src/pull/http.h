/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - one exchange with one server: libcurl's multi interface in our loop.
 *
 * No redirect is followed, no credential is known, nothing is tried again here (fetch.h does): a request goes
 * out as it was given, its answer is bounded and watched for stalls.
 */
#ifndef BX_PULL_HTTP_H
#define BX_PULL_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "loop/loop.h"
#include "pull/parse.h"

#define BX_HTTP_UNKNOWN UINT64_MAX

struct bx_http_head {
    int status;
    uint64_t length; /* of the body; BX_HTTP_UNKNOWN */
    char *location;  /* heap or NULL, likewise below */
    char *content_range;
    char *retry_after;
    char *digest; /* Docker-Content-Digest */
    struct bx_challenge challenge;
};

enum bx_http_end {
    BX_HTTP_COMPLETE,
    BX_HTTP_STOPPED,     /* by head or body */
    BX_HTTP_BROKEN,      /* it may go better another time */
    BX_HTTP_UNREACHABLE, /* the same, and no connection came about */
    BX_HTTP_REFUSED,     /* certificates, protocol: it will not */
};

struct bx_http_ops {
    int (*head)(void *ud, const struct bx_http_head *head); /* negative: stop. head lives until done */
    int (*body)(void *ud, const uint8_t *data, size_t len); /* negative: stop */
    void (*done)(void *ud, enum bx_http_end end,
                 const struct bx_err *err); /* last; err when not COMPLETE or STOPPED */
};

struct bx_http_request {
    const char *url;
    const char *accept;        /* NULL: anything */
    const char *authorization; /* value of the header, or NULL */
    const char *post;          /* form to be posted; NULL: GET */
    uint64_t offset;           /* > 0: the bytes from here on */
    const char *ca_pem;        /* trusted in addition to the system's; borrowed until done */
    bool skip_verify;
};

struct bx_http_config {
    struct bx_loop *loop;
    unsigned stall_ms;
    const char *http_proxy, *https_proxy, *no_proxy; /* borrowed for ever; NULL: none */
};

struct bx_http;
struct bx_http_xfer;

struct bx_http *bx_http_new(const struct bx_http_config *config, struct bx_err *err);
/* Everything but ca_pem is copied. Callbacks come from the loop, never from within. NULL with err. */
struct bx_http_xfer *bx_http_start(struct bx_http *h, const struct bx_http_request *req,
                                   const struct bx_http_ops *ops, void *ud, struct bx_err *err);

#endif
