/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event_log.h - what happens in a home: <home>/events, written by every program and shim of it, read by who wants to know
 * (docs/decisions/0008-events-in-files.md).
 *
 * Theory of operation
 *
 *  Files are numbered (numbered.h). The last one is appended to: one event is one line of JSON, written by one call, so
 *  that lines of several writers never mix. A file that has BX_EVENT_FILE_MAX bytes is full: the next line begins the next
 *  number, and whoever begins it removes those that are too old. A writer that has looked at a file just before it
 *  became full may still add a line to it: who reads looks at the last two.
 *
 *  Nobody waits for anybody, and an event that cannot be written (a full disk) is no reason for anything to fail.
 */
#ifndef BX_HOST_EVENT_LOG_H
#define BX_HOST_EVENT_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "host/json.h"

#define BX_EVENT_DIR      "events"
#define BX_EVENT_PREFIX   ""
#define BX_EVENT_LINE_MAX 4096
#define BX_EVENT_FILE_MAX (1024 * 1024)
#define BX_EVENT_FILES    4

/* NULL and "" say nothing. */
struct bx_event {
    int64_t time_ns; /* to write: 0 = now */
    const char *type;
    const char *box, *name, *image; /* id and name of the box, reference of the image */
    const char *exec, *program;     /* id of the command, its first word */
    const char *health;
    const char *message;
    bool has_exit;
    int exit_code;
    bool oom;
};

struct bx_event_log {
    int dir_fd, fd; /* -1: not open */
    uint32_t number;
};
#define BX_EVENT_LOG_INIT ((struct bx_event_log){.dir_fd = -1, .fd = -1})

/* Takes dir_fd: <home>/events. */
void bx_event_log_open(struct bx_event_log *l, int dir_fd);
void bx_event_log_close(struct bx_event_log *l);
/* 0 or -errno. Text that is not UTF-8 is made printable, what is too long cut. */
int bx_event_log_add(struct bx_event_log *l, const struct bx_event *e);

/* One line, without its end. Strings are borrowed from `doc`, which the caller frees (bx_json_done). */
int bx_event_parse(const char *line, size_t len, struct bx_json *doc, struct bx_event *ret, struct bx_err *err);

#endif
