/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parse.h - what registries say outside of image documents: challenges, ranges, waiting times, tokens,
 * errors, media types.
 *
 * Pure functions over hostile text: bounded, no allocation but where said, nothing is believed beyond its
 * grammar.
 */
#ifndef BX_PULL_PARSE_H
#define BX_PULL_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* WWW-Authenticate (RFC 9110 section 11, distribution token specification). */
struct bx_challenge {
    bool basic;
    bool bearer; /* with a realm */
    bool cut;    /* a value was longer than its field: the challenge cannot be answered */
    char realm[1024];
    char service[512];
    char scope[2048];
};
/* Adds what one header says; schemes that are not known and broken parts are passed over. The first Bearer
 * wins. */
void bx_challenge_add(struct bx_challenge *c, const char *value);

/* "30" or an HTTP date (RFC 9110 section 5.6.7, the preferred form): seconds from `now` (Unix time), 0 when
 * past. False when it is neither. */
bool bx_retry_after_parse(const char *value, int64_t now, uint64_t *ret_seconds);

/* "bytes FIRST-LAST/TOTAL"; TOTAL may be "*": UINT64_MAX. False when it is not this or FIRST > LAST or LAST
 * >= TOTAL. */
struct bx_content_range {
    uint64_t first, last, total;
};
bool bx_content_range_parse(const char *value, struct bx_content_range *ret);

/* The token of a token service's answer ({"token": ...} or {"access_token": ...}): heap, fit for a header. */
#define BX_TOKEN_MAX (32 * 1024)
int bx_token_parse(const char *json, size_t len, char **ret, struct bx_err *err);

/* What an error's body says ({"errors": [{"code", "message"}]}), printable; "" when it says nothing. */
void bx_error_text(const char *body, size_t len, char *dst, size_t size);

/* May a layer or configuration of this media type be fetched? Negative with the reason when not. */
int bx_layer_type_check(const char *media_type, struct bx_err *err);
int bx_config_type_check(const char *media_type, struct bx_err *err);

#endif
