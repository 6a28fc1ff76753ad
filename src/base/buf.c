/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.c - the bounded byte buffer.
 *
 * Content lies in data[start..end). When the end of the allocation is reached, content is moved to the front if
 * it fills at most half of it (so that moving costs less than what was consumed), else the allocation doubles,
 * at most to max + 1: the one byte more is for bx_buf_str's NUL.
 */
#include "base/buf.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

void bx_buf_init(struct bx_buf *b, size_t max)
{
    *b = BX_BUF_INIT(max);
}

void bx_buf_done(struct bx_buf *b)
{
    free(b->data);
    bx_buf_init(b, b->max);
}

void bx_buf_clear(struct bx_buf *b)
{
    b->start = b->end = 0;
    b->failed = false;
}

size_t bx_buf_room(const struct bx_buf *b)
{
    return b->failed ? 0 : b->max - bx_buf_len(b);
}

static void compact(struct bx_buf *b)
{
    if (b->start == 0)
        return;
    memmove(b->data, b->data + b->start, bx_buf_len(b));
    b->end -= b->start;
    b->start = 0;
}

/* Makes sure that `extra` bytes lie free after end. Does not look at max: callers have. */
static int make_space(struct bx_buf *b, size_t extra)
{
    size_t len = bx_buf_len(b), need, cap;
    uint8_t *data;

    if (b->data && b->cap - b->end >= extra)
        return 0;
    if (bx_add_overflow(len, extra, &need))
        return -ENOMEM;
    if (b->data && need <= b->cap && len <= b->cap / 2) {
        compact(b);
        return 0;
    }
    cap = b->cap > SIZE_MAX / 2 ? SIZE_MAX : BX_MAX(b->cap * 2, (size_t)256);
    if (b->max < SIZE_MAX)
        cap = BX_MIN(cap, b->max + 1);
    cap = BX_MAX(cap, need);
    if (cap == 0)
        cap = 1;
    if (b->data)
        compact(b);
    if (b->data && cap <= b->cap)
        return 0;
    data = realloc(b->data, cap);
    if (!data)
        return -ENOMEM;
    b->data = data;
    b->cap = cap;
    return 0;
}

/* Same, within max; on failure the buffer is marked. */
static int want(struct bx_buf *b, size_t len)
{
    int r;

    if (b->failed || len > bx_buf_room(b))
        r = -ENOBUFS;
    else
        r = make_space(b, len);
    if (r < 0)
        b->failed = true;
    return r;
}

int bx_buf_add(struct bx_buf *b, const void *data, size_t len)
{
    int r = want(b, len);

    if (r < 0)
        return r;
    if (len > 0)
        memcpy(b->data + b->end, data, len);
    b->end += len;
    return 0;
}

int bx_buf_addstr(struct bx_buf *b, const char *s)
{
    return bx_buf_add(b, s, strlen(s));
}

int bx_buf_addf(struct bx_buf *b, const char *fmt, ...)
{
    va_list ap;
    int r;

    va_start(ap, fmt);
    r = bx_buf_addvf(b, fmt, ap);
    va_end(ap);
    return r;
}

int bx_buf_addvf(struct bx_buf *b, const char *fmt, va_list ap)
{
    va_list again;
    size_t space;
    int n, r;

    r = want(b, 0);
    if (r < 0)
        return r;
    space = b->cap - b->end;
    va_copy(again, ap);
    n = vsnprintf((char *)b->data + b->end, space, fmt, again);
    va_end(again);
    if (n < 0) {
        b->failed = true;
        return -ENOMEM;
    }
    r = want(b, (size_t)n);
    if (r < 0)
        return r;
    if ((size_t)n >= space) { /* did not fit with its NUL: once more, with space for both */
        r = make_space(b, (size_t)n + 1);
        if (r < 0) {
            b->failed = true;
            return r;
        }
        vsnprintf((char *)b->data + b->end, (size_t)n + 1, fmt, ap);
    }
    b->end += (size_t)n;
    return 0;
}

uint8_t *bx_buf_reserve(struct bx_buf *b, size_t len)
{
    return want(b, len) < 0 ? NULL : b->data + b->end;
}

void bx_buf_commit(struct bx_buf *b, size_t len)
{
    bx_assert(len <= b->cap - b->end && len <= b->max - bx_buf_len(b));
    b->end += len;
}

void bx_buf_consume(struct bx_buf *b, size_t len)
{
    bx_assert(len <= bx_buf_len(b));
    b->start += len;
    if (b->start == b->end)
        b->start = b->end = 0;
}

const char *bx_buf_str(struct bx_buf *b)
{
    if (b->failed)
        return NULL;
    if (make_space(b, 1) < 0) {
        b->failed = true;
        return NULL;
    }
    b->data[b->end] = '\0';
    return (const char *)b->data + b->start;
}

char *bx_buf_take_str(struct bx_buf *b)
{
    char *s;

    if (!bx_buf_str(b))
        return NULL;
    compact(b);
    b->data[b->end] = '\0';
    s = (char *)b->data;
    bx_buf_init(b, b->max);
    return s;
}
