/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.h - a byte buffer that cannot grow past the maximum stated when it was made.
 *
 * Reading takes from the front (consume), writing adds at the end. The bytes between are contiguous.
 * When an append fails (maximum or memory), the buffer is unchanged and marked failed; a failed buffer refuses
 * further appends, so a series of appends needs one check at its end (bx_buf_failed).
 */
#ifndef BX_BASE_BUF_H
#define BX_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

struct bx_buf {
    uint8_t *data; /* allocation */
    size_t start;  /* first unread byte */
    size_t end;    /* one after the last byte */
    size_t cap;    /* size of the allocation */
    size_t max;    /* most bytes it may hold */
    bool failed;
};

#define BX_BUF_INIT(maximum) ((struct bx_buf){ .max = (maximum) })

void bx_buf_init(struct bx_buf *b, size_t max);
/* Frees the content; the buffer may be used again (same maximum). */
void bx_buf_done(struct bx_buf *b);
#define bx_cleanup_buf BX_CLEANUP(bx_buf_done)
/* Empties it and clears the failed mark, keeping the allocation. */
void bx_buf_clear(struct bx_buf *b);

static inline size_t bx_buf_len(const struct bx_buf *b)
{
    return b->end - b->start;
}
static inline const uint8_t *bx_buf_data(const struct bx_buf *b)
{
    return b->data ? b->data + b->start : (const uint8_t *)"";
}
static inline bool bx_buf_failed(const struct bx_buf *b)
{
    return b->failed;
}
/* How many bytes may still be added. */
size_t bx_buf_room(const struct bx_buf *b);

/* 0, -ENOBUFS (maximum) or -ENOMEM. */
int bx_buf_add(struct bx_buf *b, const void *data, size_t len);
int bx_buf_addstr(struct bx_buf *b, const char *s);
int bx_buf_addf(struct bx_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int bx_buf_addvf(struct bx_buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/* Makes room for len bytes at the end and gives its address (NULL on failure); then bx_buf_commit says how many
 * were filled. */
uint8_t *bx_buf_reserve(struct bx_buf *b, size_t len);
void bx_buf_commit(struct bx_buf *b, size_t len);

/* Drops len bytes from the front (len <= bx_buf_len). */
void bx_buf_consume(struct bx_buf *b, size_t len);

/* The content as a NUL-terminated string, owned by the buffer; NULL when it failed. */
const char *bx_buf_str(struct bx_buf *b);
/* The same, detached: caller frees. The buffer is empty afterwards. */
char *bx_buf_take_str(struct bx_buf *b);

#endif
