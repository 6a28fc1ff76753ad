/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.c - what the command does, as lines for who looks for the cause of a trouble: on stderr with --debug, in the file that
 * BOXLITE_LOG_FILE names. stdout is a result's alone.
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

static bool on;

bool bx_cli_trace_open(void)
{
    const char *path = getenv("BOXLITE_LOG_FILE");
    int fd = STDERR_FILENO;
    if (on || (!bx_cli_debug && !(path && *path)))
        return true;
    if (path && *path)
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0) {
        bx_cli_error("BOXLITE_LOG_FILE: %s: %s", path, strerror(errno));
        return false;
    }
    bx_log_setup(fd, "boxlite", bx_cli_debug ? BX_LOG_DEBUG : BX_LOG_INFO);
    on = true;
    return true;
}

bool bx_cli_traces(void)
{
    return on;
}

void bx_cli_trace(enum bx_log_level level, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    if (!on)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    bx_log(level, "%s", text);
}
