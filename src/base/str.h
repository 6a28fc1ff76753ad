/* SPDX-License-Identifier: Apache-2.0 */
/*
 * str.h - text: numbers, UTF-8, string lists, formatted strings. No locale, no partial parses.
 */
#ifndef BX_BASE_STR_H
#define BX_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whole string must be a decimal number within [min, max]. 0, -EINVAL or -ERANGE. */
int bx_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret);
int bx_parse_i64(const char *s, int64_t min, int64_t max, int64_t *ret);

/* "512m", "10g", "4096": bytes, suffixes k m g t (powers of 1024), optional trailing b. 0, -EINVAL, -ERANGE. */
int bx_parse_size(const char *s, uint64_t *ret);

/* Heap copy of a formatted string; NULL when out of memory. */
char *bx_strf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static inline bool bx_streq(const char *a, const char *b)
{
    return a == b || (a && b && __builtin_strcmp(a, b) == 0);
}
static inline bool bx_starts_with(const char *s, const char *prefix)
{
    return __builtin_strncmp(s, prefix, __builtin_strlen(prefix)) == 0;
}
bool bx_ends_with(const char *s, const char *suffix);

/* Valid UTF-8 (no surrogates, no overlong forms, no NUL)? */
bool bx_utf8_valid(const void *data, size_t len);
/* Writes a printable form of len bytes: control characters and invalid UTF-8 become \xNN or '?'. Always terminates. */
void bx_str_printable(char *dst, size_t size, const void *data, size_t len);

/* A NULL-terminated list of heap strings. */
size_t bx_strv_len(char *const *v);
void bx_strv_free(char **v);
char **bx_strv_copy(const char *const *v, size_t n); /* NULL when out of memory */
int bx_strv_add(char ***v, const char *s);           /* 0 or -ENOMEM */
static inline void bx_strv_free_p(char ***v)
{
    bx_strv_free(*v);
}
#define bx_cleanup_strv BX_CLEANUP(bx_strv_free_p)

/* Lower-case hexadecimal of len bytes into dst (2*len+1 bytes). */
void bx_hex(char *dst, const void *data, size_t len);

/* 64-bit FNV-1a, for names and tables that are not attacked. */
uint64_t bx_fnv1a(uint64_t seed, const void *data, size_t len);
#define BX_FNV1A_SEED 0xcbf29ce484222325ULL

/* Fills with kernel randomness; aborts only if the kernel has none (a broken host). */
void bx_random(void *data, size_t len);
/* 12 Base62 characters and a NUL: the identity of boxes and executions. */
#define BX_ID_LEN 12
void bx_random_id(char ret_id[BX_ID_LEN + 1]);

#endif
