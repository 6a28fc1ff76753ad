/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reference.h - image references as Docker and the distribution spec read them: [host[:port]/]path[:tag][@digest].
 */
#ifndef BX_IMAGE_REFERENCE_H
#define BX_IMAGE_REFERENCE_H

#include <stdbool.h>

#include "base/err.h"

struct bx_reference {
    char domain[256];     /* "docker.io", "localhost:5000" */
    char path[256];       /* "library/python" */
    char tag[129];        /* "slim"; "latest" when neither tag nor digest was given; "" with a digest only */
    char digest[72];      /* "sha256:<64 hex>" or "" */
    bool domain_given;    /* the user named it */
};

/* -BX_EINVALID with what is wrong about it. */
int bx_reference_parse(const char *text, struct bx_reference *ret, struct bx_err *err);
/* docker.io/library/python:slim[@sha256:..]; heap. */
char *bx_reference_canonical(const struct bx_reference *ref);
/* What a user would type: python:slim; heap. */
char *bx_reference_familiar(const struct bx_reference *ref);

/* "sha256:" and 64 lower-case hex digits? */
bool bx_digest_valid(const char *digest);

#endif
