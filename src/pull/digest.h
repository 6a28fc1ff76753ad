/* SPDX-License-Identifier: Apache-2.0 */
/* digest.h - SHA-256 by OpenSSL, and digests as images write them. */
#ifndef BX_PULL_DIGEST_H
#define BX_PULL_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BX_DIGEST_SIZE 72 /* "sha256:", 64 digits, NUL */

struct bx_sha;
/* NULL when out of memory. */
struct bx_sha *bx_sha_new(void);
struct bx_sha *bx_sha_free(struct bx_sha *s);
void bx_sha_reset(struct bx_sha *s);
void bx_sha_add(struct bx_sha *s, const void *data, size_t len);
/* The digest of what was added; the hash must be reset before more is. */
void bx_sha_end(struct bx_sha *s, char ret[BX_DIGEST_SIZE]);

/* Of a whole text. False when out of memory. */
bool bx_digest_of(const void *data, size_t len, char ret[BX_DIGEST_SIZE]);

#endif
