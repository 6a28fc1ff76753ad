/* SPDX-License-Identifier: Apache-2.0 */
/* status.c - see status.h. */
#include "pull/status.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "host/pull_plan.h"

#define WAITING_MAX (2 * BX_PULL_LINE_MAX * 1024) /* a line for each of 512 layers, twice over */
#define FLUSH_MS    10000

struct bx_status {
    int fd;
    struct bx_source *source;
    struct bx_buf waiting;
    bool ended; /* the last line has been said */
};

static void push(struct bx_status *s)
{
    while (bx_buf_len(&s->waiting)) {
        ssize_t n = write(s->fd, bx_buf_data(&s->waiting), bx_buf_len(&s->waiting));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            _exit(BX_PULL_EXIT_UNREAD);
        bx_buf_consume(&s->waiting, (size_t)n);
    }
    if (s->source)
        (void)bx_source_set_events(s->source, bx_buf_len(&s->waiting) ? BX_WRITE : 0);
}

static void on_fd(struct bx_source *source, int fd, uint32_t events, void *ud)
{
    (void)source;
    (void)fd;
    if (events & BX_HUP) /* the reading end is closed */
        _exit(BX_PULL_EXIT_UNREAD);
    push(ud);
}

struct bx_status *bx_status_new(struct bx_loop *loop, int fd)
{
    struct bx_status *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->fd = fd;
    bx_buf_init(&s->waiting, WAITING_MAX);
    if (bx_fd_nonblock(fd, true) == 0)
        s->source = bx_loop_add_fd(loop, fd, 0, on_fd, s);
    if (s->source)
        return s;
    free(s);
    return NULL;
}

static void add_line(struct bx_status *s, const char *text)
{
    char line[BX_PULL_LINE_MAX - 1]; /* and the newline */

    if (s->ended)
        return;
    bx_str_printable(line, sizeof(line), text, strlen(text));
    if (bx_buf_addf(&s->waiting, "%s\n", line) < 0)
        _exit(BX_PULL_EXIT_UNREAD); /* the library has not read for megabytes */
    push(s);
}

void bx_status_line(struct bx_status *s, const char *fmt, ...)
{
    char text[BX_PULL_LINE_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    add_line(s, text);
}

void bx_status_progress(struct bx_status *s, size_t index, uint64_t done)
{
    if (bx_buf_len(&s->waiting) == 0)
        bx_status_line(s, "progress %zu %" PRIu64, index, done);
}

void bx_status_error(struct bx_status *s, const struct bx_err *err)
{
    bx_status_line(s, "error %d %s", err->code, err->msg);
}

void bx_status_end(struct bx_status *s)
{
    int64_t deadline = bx_now() + FLUSH_MS * BX_MSEC;
    struct pollfd p = {.fd = s->fd, .events = POLLOUT};

    s->ended = true;
    push(s);
    while (bx_buf_len(&s->waiting) && bx_now() < deadline) {
        if (poll(&p, 1, (int)((deadline - bx_now()) / BX_MSEC) + 1) > 0)
            push(s);
    }
}
