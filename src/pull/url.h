/* SPDX-License-Identifier: Apache-2.0 */
/* url.h - addresses: where a redirect leads, whether two are at one place. libcurl's own parser, so that
 * nobody reads an address in another way than the one who connects. */
#ifndef BX_PULL_URL_H
#define BX_PULL_URL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define BX_URL_MAX 16384

/*
 * The address that `location` means when it is seen at `base`: heap. Only http and https, no user in it, and
 * never from https to http: refused with the reason.
 */
int bx_url_follow(const char *base, const char *location, char **ret, struct bx_err *err);

/* A token service's address: the same rules, and absolute. */
int bx_url_realm(const char *base, const char *realm, char **ret, struct bx_err *err);

/* Same scheme, host and port? Credentials go nowhere else. */
bool bx_url_same_origin(const char *a, const char *b);

/* "host[:port]" of an address, printable, for messages. */
void bx_url_host(const char *url, char *dst, size_t size);

/* Is it this machine, by name or number? It is not reached through a proxy. */
bool bx_url_is_loopback(const char *url);

/* Adds "name=value", encoded, after '?' or '&': heap, frees url. NULL when out of memory. */
char *bx_url_add_query(char *url, const char *name, const char *value);

#endif
