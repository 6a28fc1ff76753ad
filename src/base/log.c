/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c - log lines of programs, the only state in base that is not its caller's.
 *
 * A line is composed on the stack and goes out in one write, so that lines of several processes on one file do
 * not mix. A line that cannot be written is lost: there is nowhere to say so.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"

#define LINE_MAX_BYTES 2048
#define RATE_PER_SECOND 10

static struct {
    int fd;
    enum bx_log_level level;
    char program[32];
} logger = { .fd = STDERR_FILENO, .level = BX_LOG_INFO, .program = "boxlite" };

static const char *const level_names[] = { "ERROR", "WARN", "INFO", "DEBUG" };

void bx_log_setup(int fd, const char *program, enum bx_log_level level)
{
    logger.fd = fd;
    logger.level = level;
    snprintf(logger.program, sizeof(logger.program), "%s", program);
}

int bx_log_fd(void)
{
    return logger.fd;
}

static void log_text(enum bx_log_level level, unsigned dropped, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

static void log_text(enum bx_log_level level, unsigned dropped, const char *fmt, va_list ap)
{
    char text[LINE_MAX_BYTES / 2], line[LINE_MAX_BYTES];
    int64_t now = bx_realtime();
    time_t secs = (time_t)(now / BX_SEC);
    struct tm tm = { 0 };
    size_t at;
    int n;

    if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
        return;
    gmtime_r(&secs, &tm);
    n = snprintf(line, 256, "%s %04d-%02d-%02dT%02d:%02d:%02d.%03dZ %s: ", level_names[level], tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(now % BX_SEC / BX_MSEC),
                 logger.program);
    if (n < 0 || n >= 256)
        return;
    at = (size_t)n;
    bx_str_printable(line + at, sizeof(line) - at - 64, text, strlen(text));
    at += strlen(line + at);
    if (dropped > 0) {
        n = snprintf(line + at, 63, " (%u more like it dropped)", dropped);
        at += n > 0 ? (size_t)n : 0;
    }
    line[at++] = '\n';
    bx_write_full(logger.fd, line, at);
}

void bx_log(enum bx_log_level level, const char *fmt, ...)
{
    int saved = errno;
    va_list ap;

    if (level > logger.level)
        return;
    va_start(ap, fmt);
    log_text(level, 0, fmt, ap);
    va_end(ap);
    errno = saved;
}

void bx_log_ratelimited(struct bx_ratelimit *rl, enum bx_log_level level, const char *fmt, ...)
{
    long long now_ms = bx_now() / BX_MSEC;
    int saved = errno;
    unsigned dropped;
    va_list ap;

    if (level > logger.level)
        return;
    if (rl->window_start_ms == 0 || now_ms - rl->window_start_ms >= 1000) {
        rl->window_start_ms = now_ms;
        rl->passed = 0;
    }
    if (rl->passed >= RATE_PER_SECOND) {
        if (rl->dropped < ~0u)
            rl->dropped++;
        return;
    }
    rl->passed++;
    dropped = rl->dropped;
    rl->dropped = 0;
    va_start(ap, fmt);
    log_text(level, dropped, fmt, ap);
    va_end(ap);
    errno = saved;
}
