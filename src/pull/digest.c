/* SPDX-License-Identifier: Apache-2.0 */
/* digest.c - see digest.h. SHA-256 over memory fails only when OpenSSL is broken: that is a broken rule, not
 * an error. */
#include "pull/digest.h"

#include <openssl/evp.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"

struct bx_sha {
    EVP_MD_CTX *ctx;
};

struct bx_sha *bx_sha_new(void)
{
    struct bx_sha *s = calloc(1, sizeof(*s));

    if (s)
        s->ctx = EVP_MD_CTX_new();
    if (!s || !s->ctx)
        return bx_sha_free(s);
    bx_sha_reset(s);
    return s;
}

struct bx_sha *bx_sha_free(struct bx_sha *s)
{
    if (s)
        EVP_MD_CTX_free(s->ctx);
    free(s);
    return NULL;
}

void bx_sha_reset(struct bx_sha *s)
{
    bx_assert(EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL) == 1);
}

void bx_sha_add(struct bx_sha *s, const void *data, size_t len)
{
    bx_assert(EVP_DigestUpdate(s->ctx, data, len) == 1);
}

void bx_sha_end(struct bx_sha *s, char ret[BX_DIGEST_SIZE])
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned len = 0;

    bx_assert(EVP_DigestFinal_ex(s->ctx, sum, &len) == 1 && len == 32);
    memcpy(ret, "sha256:", 7);
    bx_hex(ret + 7, sum, len);
}

bool bx_digest_of(const void *data, size_t len, char ret[BX_DIGEST_SIZE])
{
    struct bx_sha *s = bx_sha_new();

    if (!s)
        return false;
    bx_sha_add(s, data, len);
    bx_sha_end(s, ret);
    bx_sha_free(s);
    return true;
}
