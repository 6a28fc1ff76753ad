/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - leveled lines for programs (shim, unpack, agent, command). The library never logs: it returns errors.
 *
 * A line is "LEVEL time program: text". Control characters of the text are escaped: a guest cannot forge lines.
 * bx_log_ratelimited() is for anything a guest or a client can trigger.
 */
#ifndef BX_BASE_LOG_H
#define BX_BASE_LOG_H

#include "base/err.h"

enum bx_log_level { BX_LOG_ERROR, BX_LOG_WARN, BX_LOG_INFO, BX_LOG_DEBUG };

/* Where lines go (default: descriptor 2), who writes them, and the highest level that is written. */
void bx_log_setup(int fd, const char *program, enum bx_log_level level);
/* Where the lines go, for a program that is started to write there too. */
int bx_log_fd(void);

void bx_log(enum bx_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define bx_error(...) bx_log(BX_LOG_ERROR, __VA_ARGS__)
#define bx_warn(...) bx_log(BX_LOG_WARN, __VA_ARGS__)
#define bx_info(...) bx_log(BX_LOG_INFO, __VA_ARGS__)
#define bx_debug(...) bx_log(BX_LOG_DEBUG, __VA_ARGS__)

/* At most 10 lines a second per call site; what was dropped is counted in the next line that passes. */
struct bx_ratelimit {
    long long window_start_ms;
    unsigned passed;
    unsigned dropped;
};
void bx_log_ratelimited(struct bx_ratelimit *rl, enum bx_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
