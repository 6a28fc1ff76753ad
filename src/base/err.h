/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.h - the one error model.
 *
 * An error is a code and a message, by value, on the caller's stack: nothing to free, usable
 * after an allocation failure, in a freshly cloned child and under seccomp.
 *
 * Rules:
 *  - a function that can fail returns int: 0 or positive is success, negative is -BX_E*;
 *  - `struct bx_err *err` is its last argument and may be NULL;
 *  - on success err is not touched; on failure code and message are both set, and the returned
 *    value is -err->code;
 *  - a failing branch is one line: `return bx_fail(err, BX_ESTORAGE, errno, "open %s", path);`
 *  - report an error or return it, never both;
 *  - leaf helpers with a single kind of failure return -errno and take no err (each says so).
 *
 * The numeric codes are those of BoxliteErrorCode in <boxlite.h> (a static assertion in the runtime
 * keeps them equal), so that no translation table exists between inside and outside.
 */
#ifndef BX_BASE_ERR_H
#define BX_BASE_ERR_H

#include <stddef.h>

enum bx_code {
    BX_OK = 0,
    BX_EINTERNAL = 1,
    BX_ENOTFOUND = 2,
    BX_EEXISTS = 3,
    BX_ESTATE = 4,       /* not in this state */
    BX_EINVALID = 5,     /* bad argument */
    BX_ECONFIG = 6,
    BX_ESTORAGE = 7,     /* host files, disk space */
    BX_EIMAGE = 8,
    BX_ENETWORK = 9,
    BX_EEXEC = 10,       /* a command could not be run */
    BX_ESTOPPED = 11,
    BX_EENGINE = 12,     /* the machine failed */
    BX_EUNSUPPORTED = 13,
    BX_EDATABASE = 14,
    BX_EPORTAL = 15,     /* no connection to the shim or the agent */
    BX_ERPC = 16,        /* the peer answered against the protocol */
    BX_ETRANSPORT = 17,  /* the link broke */
    BX_EMETADATA = 18,
    BX_EENGINEKIND = 19, /* the engine that was asked for is not to be had */
    BX_ERESOURCE = 20,   /* a stated limit is exhausted */
    BX_EREAPED = 21,
    BX_ECODE_MAX
};

#define BX_ERR_MSG_MAX 480

struct bx_err {
    int code;      /* enum bx_code */
    int sys_errno; /* 0 when no system call is the cause */
    char msg[BX_ERR_MSG_MAX];
};

#define BX_ERR_INIT ((struct bx_err){ 0 })

/*
 * Sets err (may be NULL) from a format; when sys_errno is not 0, ": <strerror>" is appended.
 * A message longer than the field is cut at a character boundary. Returns -code.
 */
int bx_fail(struct bx_err *err, enum bx_code code, int sys_errno, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts "<formatted>: " before the message, on the way up. err may be NULL. Returns -err->code
 * (-BX_EINTERNAL if err is NULL), so that `return bx_prefix(err, ...)` is a failing branch. */
int bx_prefix(struct bx_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Appends text to the message, for a hint or the tail of a console; cut at the limit. */
void bx_err_append(struct bx_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The code that fits an errno when nothing better is known: ENOENT -> BX_ENOTFOUND,
 * EEXIST -> BX_EEXISTS, EINVAL -> BX_EINVALID, others `otherwise`. */
enum bx_code bx_code_from_errno(int sys_errno, enum bx_code otherwise);

/*
 * The one table from error to everything a user sees.
 */
struct bx_code_info {
    enum bx_code code;
    const char *name;        /* "not_found" */
    const char *prefix;      /* text before the message in SDKs: "box not found: " */
    int exit_code;           /* of the command, for our own failures */
    int http_status;
    const char *http_type;   /* "NotFoundError" */
    const char *http_code;   /* "not_found" */
};

/* Never NULL: an unknown code gives the row of BX_EINTERNAL. */
const struct bx_code_info *bx_code_info(int code);

/* Aborts with file, line and text when a rule of our own is broken. Stays on in release builds.
 * Never reachable from guest, image, network or user input. */
#define bx_assert(cond) ((cond) ? (void)0 : bx_assert_failed(#cond, __FILE__, __LINE__))
_Noreturn void bx_assert_failed(const char *expr, const char *file, int line);

#endif
