/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.c - errors by value, and the one table of what users see of them.
 *
 * Nothing here allocates or translates, and errno is left as it was: a failing branch may still look at it.
 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Texts that programs compare are those of the existing system: prefixes of its Python errors, statuses and
 * types of its HTTP envelope. Own failures of the command end it with 125, as docker's do; for BX_EEXEC the
 * command itself picks 127 when the program was not found. */
static const struct bx_code_info code_table[BX_ECODE_MAX] = {
    [BX_OK] = { BX_OK, "ok", "", 0, 200, "Ok", "ok" },
    [BX_EINTERNAL] = { BX_EINTERNAL, "internal", "internal error: ", 125, 500, "InternalError", "internal" },
    [BX_ENOTFOUND] = { BX_ENOTFOUND, "not_found", "box not found: ", 125, 404, "NotFoundError", "not_found" },
    [BX_EEXISTS] = { BX_EEXISTS, "already_exists", "already exists: ", 125, 409, "AlreadyExistsError",
                     "already_exists" },
    [BX_ESTATE] = { BX_ESTATE, "invalid_state", "invalid state: ", 125, 409, "InvalidStateError",
                    "invalid_state" },
    [BX_EINVALID] = { BX_EINVALID, "invalid_argument", "invalid argument: ", 125, 400, "InvalidArgumentError",
                      "invalid_argument" },
    [BX_ECONFIG] = { BX_ECONFIG, "config", "configuration error: ", 125, 500, "ConfigError", "config" },
    [BX_ESTORAGE] = { BX_ESTORAGE, "storage", "storage error: ", 125, 500, "StorageError", "storage_error" },
    [BX_EIMAGE] = { BX_EIMAGE, "image", "images error: ", 125, 422, "ImageError", "image_pull_failed" },
    [BX_ENETWORK] = { BX_ENETWORK, "network", "network error: ", 125, 503, "NetworkError",
                      "network_unavailable" },
    [BX_EEXEC] = { BX_EEXEC, "execution", "Execution error: ", 126, 422, "ExecutionError", "execution_failed" },
    [BX_ESTOPPED] = { BX_ESTOPPED, "stopped", "stopped: ", 125, 409, "StoppedError", "stopped" },
    [BX_EENGINE] = { BX_EENGINE, "engine", "engine reported an error: ", 125, 503, "EngineError",
                     "engine_unavailable" },
    [BX_EUNSUPPORTED] = { BX_EUNSUPPORTED, "unsupported", "unsupported: ", 125, 400, "UnsupportedError",
                          "unsupported" },
    [BX_EDATABASE] = { BX_EDATABASE, "database", "database error: ", 125, 500, "DatabaseError",
                       "database_error" },
    [BX_EPORTAL] = { BX_EPORTAL, "portal", "portal error: ", 125, 503, "UpstreamUnavailableError",
                     "upstream_unavailable" },
    [BX_ERPC] = { BX_ERPC, "rpc", "gRPC/tonic error: ", 125, 503, "UpstreamUnavailableError",
                  "upstream_unavailable" },
    [BX_ETRANSPORT] = { BX_ETRANSPORT, "rpc_transport", "gRPC transport error: ", 125, 503,
                        "UpstreamUnavailableError", "upstream_unavailable" },
    [BX_EMETADATA] = { BX_EMETADATA, "metadata", "metadata error: ", 125, 500, "MetadataError",
                       "metadata_error" },
    [BX_EENGINEKIND] = { BX_EENGINEKIND, "unsupported_engine", "unsupported engine kind: ", 125, 400,
                         "UnsupportedError", "unsupported" },
    [BX_ERESOURCE] = { BX_ERESOURCE, "resource_exhausted", "resource exhausted: ", 125, 429,
                       "ResourceExhaustedError", "resource_exhausted" },
    [BX_EREAPED] = { BX_EREAPED, "session_reaped", "session reaped: ", 125, 410, "SessionReapedError",
                     "session_reaped" },
};

const struct bx_code_info *bx_code_info(int code)
{
    if (code < 0 || code >= BX_ECODE_MAX)
        code = BX_EINTERNAL;
    return &code_table[code];
}

enum bx_code bx_code_from_errno(int sys_errno, enum bx_code otherwise)
{
    switch (sys_errno) {
    case ENOENT:
        return BX_ENOTFOUND;
    case EEXIST:
        return BX_EEXISTS;
    case EINVAL:
        return BX_EINVALID;
    default:
        return otherwise;
    }
}

/* A text that filled its field may end inside a UTF-8 character: drop that part. */
static void trim_partial_char(char *s, size_t size)
{
    size_t len = strlen(s), lead, want;

    if (len + 1 < size || len == 0)
        return;
    lead = len - 1;
    while (lead > 0 && len - lead < 4 && ((unsigned char)s[lead] & 0xc0) == 0x80)
        lead--;
    if ((unsigned char)s[lead] >= 0xf0)
        want = 4;
    else if ((unsigned char)s[lead] >= 0xe0)
        want = 3;
    else if ((unsigned char)s[lead] >= 0xc0)
        want = 2;
    else
        return;
    if (len - lead < want)
        s[lead] = '\0';
}

/* Puts ": text" after msg, as far as it fits. */
static void add_part(char msg[BX_ERR_MSG_MAX], const char *text)
{
    size_t at = strlen(msg);

    for (const char *sep = ": "; *sep && at < BX_ERR_MSG_MAX - 1; sep++)
        msg[at++] = *sep;
    for (; *text && at < BX_ERR_MSG_MAX - 1; text++)
        msg[at++] = *text;
    msg[at] = '\0';
}

static const char *errno_text(int sys_errno, char buf[32])
{
#ifdef __GLIBC__
    const char *text = strerrordesc_np(sys_errno); /* no locale, no lock */
#else
    const char *text = strerror(sys_errno);
#endif
    if (text)
        return text;
    snprintf(buf, 32, "errno %d", sys_errno);
    return buf;
}

int bx_fail(struct bx_err *err, enum bx_code code, int sys_errno, const char *fmt, ...)
{
    int saved = errno;
    char msg[BX_ERR_MSG_MAX], num[32]; /* not in place: the arguments may point into err->msg */
    va_list ap;

    bx_assert(code > BX_OK && code < BX_ECODE_MAX);
    if (!err)
        return -(int)code;
    va_start(ap, fmt);
    if (vsnprintf(msg, sizeof(msg), fmt, ap) < 0)
        msg[0] = '\0';
    va_end(ap);
    if (sys_errno != 0)
        add_part(msg, errno_text(sys_errno, num));
    trim_partial_char(msg, sizeof(msg));
    memcpy(err->msg, msg, sizeof(msg));
    err->code = code;
    err->sys_errno = sys_errno;
    errno = saved;
    return -(int)code;
}

int bx_prefix(struct bx_err *err, const char *fmt, ...)
{
    int saved = errno;
    char msg[BX_ERR_MSG_MAX];
    va_list ap;

    if (!err)
        return -BX_EINTERNAL;
    if (err->code <= BX_OK || err->code >= BX_ECODE_MAX)
        err->code = BX_EINTERNAL;
    va_start(ap, fmt);
    if (vsnprintf(msg, sizeof(msg), fmt, ap) < 0)
        msg[0] = '\0';
    va_end(ap);
    add_part(msg, err->msg);
    trim_partial_char(msg, sizeof(msg));
    memcpy(err->msg, msg, sizeof(msg));
    errno = saved;
    return -err->code;
}

void bx_err_append(struct bx_err *err, const char *fmt, ...)
{
    int saved = errno;
    char msg[BX_ERR_MSG_MAX];
    size_t len;
    va_list ap;

    if (!err)
        return;
    va_start(ap, fmt);
    if (vsnprintf(msg, sizeof(msg), fmt, ap) < 0)
        msg[0] = '\0';
    va_end(ap);
    len = strnlen(err->msg, sizeof(err->msg) - 1);
    snprintf(err->msg + len, sizeof(err->msg) - len, "%s", msg);
    trim_partial_char(err->msg, sizeof(err->msg));
    errno = saved;
}

_Noreturn void bx_assert_failed(const char *expr, const char *file, int line)
{
    fprintf(stderr, "%s:%d: broken rule: %s\n", file, line, expr);
    abort();
}
