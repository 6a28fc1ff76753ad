/* SPDX-License-Identifier: Apache-2.0 */
/* str.c - text: numbers, UTF-8, string lists, identities. */
#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/err.h"
#include "base/mem.h"

/* Digits up to the first other character; *ret_end says where. */
static int parse_digits(const char *s, uint64_t *ret, const char **ret_end)
{
    uint64_t v = 0;
    const char *p = s;

    for (; *p >= '0' && *p <= '9'; p++)
        if (bx_mul_overflow(v, (uint64_t)10, &v) || bx_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return -ERANGE;
    if (p == s)
        return -EINVAL;
    *ret = v;
    *ret_end = p;
    return 0;
}

int bx_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret)
{
    const char *end;
    uint64_t v;
    int r;

    /* A word with a stray character is no number, however many digits precede it. */
    if (s[strspn(s, "0123456789")] != '\0')
        return -EINVAL;
    r = parse_digits(s, &v, &end);
    if (r < 0)
        return r;
    if (v < min || v > max)
        return -ERANGE;
    *ret = v;
    return 0;
}

int bx_parse_i64(const char *s, int64_t min, int64_t max, int64_t *ret)
{
    bool negative = *s == '-';
    uint64_t u;
    int64_t v;
    int r;

    r = bx_parse_u64(s + negative, 0, negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX, &u);
    if (r < 0)
        return r;
    v = negative ? (int64_t)(0 - u) : (int64_t)u;
    if (v < min || v > max)
        return -ERANGE;
    *ret = v;
    return 0;
}

int bx_parse_size(const char *s, uint64_t *ret)
{
    static const char suffixes[] = "kmgt";
    const char *end, *which;
    unsigned shift = 0;
    uint64_t v;
    int r;

    r = parse_digits(s, &v, &end);
    if (r < 0)
        return r;
    which = *end ? strchr(suffixes, *end | 0x20) : NULL;
    if (which) {
        shift = 10 * (unsigned)(which - suffixes + 1);
        end++;
    }
    if (*end == 'b' || *end == 'B')
        end++;
    if (*end)
        return -EINVAL;
    if (v > UINT64_MAX >> shift)
        return -ERANGE;
    *ret = v << shift;
    return 0;
}

char *bx_strf(const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&s, fmt, ap);
    va_end(ap);
    return n < 0 ? NULL : s;
}

bool bx_ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);

    return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

/* Length of the valid character at p, 0 when there is none; its number in ret. */
static size_t utf8_char(const uint8_t *p, size_t len, uint32_t *ret)
{
    static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
    uint32_t c;
    size_t n;

    if (p[0] < 0x80) {
        *ret = p[0];
        return 1;
    }
    if (p[0] >= 0xc2 && p[0] <= 0xdf)
        n = 2, c = p[0] & 0x1f;
    else if (p[0] >= 0xe0 && p[0] <= 0xef)
        n = 3, c = p[0] & 0x0f;
    else if (p[0] >= 0xf0 && p[0] <= 0xf4)
        n = 4, c = p[0] & 0x07;
    else
        return 0;
    if (n > len)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    if (c < smallest[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    *ret = c;
    return n;
}

bool bx_utf8_valid(const void *data, size_t len)
{
    const uint8_t *p = data;

    while (len > 0) {
        uint32_t c;
        size_t n = utf8_char(p, len, &c);

        if (n == 0 || c == 0)
            return false;
        p += n;
        len -= n;
    }
    return true;
}

/* Would this character move the cursor, break the line or turn the direction of what is read? */
static bool is_unprintable(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

void bx_str_printable(char *dst, size_t size, const void *data, size_t len)
{
    const uint8_t *p = data;
    size_t at = 0;

    if (size == 0)
        return;
    while (len > 0) {
        uint32_t c = 0;
        size_t n = utf8_char(p, len, &c);
        bool plain = n > 0 && !is_unprintable(c);

        if (n == 0)
            n = 1;
        if (size - at <= (plain ? n : 4 * n))
            break;
        if (plain) {
            memcpy(dst + at, p, n);
            at += n;
        }
        for (size_t i = 0; !plain && i < n; i++, at += 4)
            snprintf(dst + at, 5, "\\x%02x", p[i]);
        p += n;
        len -= n;
    }
    dst[at] = '\0';
}

size_t bx_strv_len(char *const *v)
{
    size_t n = 0;

    while (v && v[n])
        n++;
    return n;
}

void bx_strv_free(char **v)
{
    for (size_t i = 0; v && v[i]; i++)
        free(v[i]);
    free(v);
}

char **bx_strv_copy(const char *const *v, size_t n)
{
    bx_cleanup_strv char **copy = n < SIZE_MAX / sizeof(char *) ? calloc(n + 1, sizeof(char *)) : NULL;

    if (!copy)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        copy[i] = strdup(v[i]);
        if (!copy[i])
            return NULL;
    }
    return BX_TAKE_PTR(copy);
}

int bx_strv_add(char ***v, const char *s)
{
    size_t n = bx_strv_len(*v);
    char *copy = strdup(s), **bigger;

    if (!copy)
        return -ENOMEM;
    bigger = realloc(*v, (n + 2) * sizeof(char *));
    if (!bigger) {
        free(copy);
        return -ENOMEM;
    }
    bigger[n] = copy;
    bigger[n + 1] = NULL;
    *v = bigger;
    return 0;
}

void bx_hex(char *dst, const void *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++) {
        *dst++ = digits[p[i] >> 4];
        *dst++ = digits[p[i] & 15];
    }
    *dst = '\0';
}

uint64_t bx_fnv1a(uint64_t seed, const void *data, size_t len)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++)
        seed = (seed ^ p[i]) * 0x100000001b3ULL;
    return seed;
}

void bx_random(void *data, size_t len)
{
    uint8_t *p = data;

    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);

        if (n < 0 && errno == EINTR)
            continue;
        bx_assert(n > 0);
        p += n;
        len -= (size_t)n;
    }
}

void bx_random_id(char ret_id[BX_ID_LEN + 1])
{
    static const char base62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    size_t n = 0;

    while (n < BX_ID_LEN) {
        uint8_t bytes[BX_ID_LEN + 4];

        bx_random(bytes, sizeof(bytes));
        for (size_t i = 0; i < sizeof(bytes) && n < BX_ID_LEN; i++)
            if (bytes[i] < 248) /* 4 * 62: every character equally likely */
                ret_id[n++] = base62[bytes[i] % 62];
    }
    ret_id[BX_ID_LEN] = '\0';
}
