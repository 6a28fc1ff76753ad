/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compose.h - the documents of an image that is made here: OCI configuration and manifest. The same facts give the same bytes, and so the
 * same digests. Source: OCI image-spec 1.1 (manifest.md, config.md).
 */
#ifndef BX_IMAGE_COMPOSE_H
#define BX_IMAGE_COMPOSE_H

#include "base/buf.h"
#include "image/manifest.h"

/* An image of one layer. */
struct bx_compose {
    const char *os, *arch;
    int64_t created;       /* unix time, seconds: what has no four digits for its year is cut to what has */
    const char *created_by;
    const char *diff_id;   /* of the layer: "sha256:..." */
    char *const *env;      /* NULL-terminated lists, or NULL */
    char *const *entrypoint;
    char *const *cmd;
    const char *working_dir; /* NULL: not said */
    const char *user;
};

/* Adds the document to `out`. -BX_EINVALID: a string is not UTF-8; -BX_ERESOURCE: larger than out may become. */
int bx_compose_config(const struct bx_compose *c, struct bx_buf *out, struct bx_err *err);
/* Of a descriptor digest, media_type and size count. */
int bx_compose_manifest(const struct bx_descriptor *config, const struct bx_descriptor *layers, size_t n_layers, struct bx_buf *out,
                        struct bx_err *err);

#endif
