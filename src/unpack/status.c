/* SPDX-License-Identifier: Apache-2.0 */
/* status.c - see status.h. */
#include "unpack/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

#define LINE_MAX_BYTES (32 * 1024) /* two encoded names of 4 KiB each, and numbers */

void bx_status_line(int fd, const char *fmt, ...)
{
    static char line[LINE_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
    va_end(ap);
    bx_assert(n >= 0 && (size_t)n < sizeof(line) - 1);
    line[n++] = '\n';
    if (bx_write_full(fd, line, (size_t)n) < 0)
        _exit(3);
}

void bx_status_error(int fd, const struct bx_err *err)
{
    char msg[BX_ERR_MSG_MAX];
    size_t i = 0;
    for (; i + 1 < sizeof(msg) && err->msg[i]; i++)
        msg[i] = (unsigned char)err->msg[i] < 0x20 ? ' ' : err->msg[i];
    msg[i] = 0;
    bx_status_line(fd, "error %d %s", err->code, msg);
}

void bx_progress_add(struct bx_progress *p, uint64_t bytes)
{
    p->done += bytes;
    uint64_t step = BX_MAX(p->total, p->done) / 200 + 256 * 1024; /* the total of a pipe is not known */
    if (p->fd < 0 || (p->done < p->told + step && p->done != p->total))
        return;
    p->told = p->done;
    bx_status_line(p->fd, "progress %llu %llu", (unsigned long long)p->done, (unsigned long long)p->total);
}

void bx_status_encode(char *dst, const char *name)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-";
    static const char hex[] = "0123456789ABCDEF";
    for (; *name; name++) {
        unsigned char c = (unsigned char)*name;
        if (strchr(plain, c)) {
            *dst++ = (char)c;
        } else {
            *dst++ = '%';
            *dst++ = hex[c >> 4];
            *dst++ = hex[c & 15];
        }
    }
    *dst = 0;
}
