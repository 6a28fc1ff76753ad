/* SPDX-License-Identifier: Apache-2.0 */
/*
 * box_log.h - what a box's main process has written, kept in boxes/<id>/logs.
 *
 * Theory of operation
 *
 *  The shim writes, any program reads, neither waits for the other. Files are called main.00000001, main.00000002
 *  and so on; only the last one grows, each has at most BX_BOX_LOG_FILE_MAX bytes, and at most BX_BOX_LOG_FILES of
 *  them are kept: the oldest goes when a new one is begun. Who follows goes on from the end of one to the next
 *  number that is there.
 *
 *  A file is a row of records: a head of 16 bytes, little-endian, and `length` bytes.
 *
 *      0  u32 length   of what follows the head, at most 64 KiB
 *      4  u8  kind     enum bx_box_log_kind
 *      5  u8  zero[3]
 *      8  i64 time     wall clock of the host, ns since 1970
 *
 *  Records of output have the bytes as they came, cut anywhere. A record is written by one call, and one that could
 *  not be written whole is cut off again, so that only the last record of a file can be incomplete: when the shim or
 *  the host has died, or because it is just being written. The next start cuts it off.
 *
 *  What does not fit on the disk is counted, and the count stands in the log once there is room again.
 */
#ifndef BX_HOST_BOX_LOG_H
#define BX_HOST_BOX_LOG_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

#include "base/err.h"

#define BX_BOX_LOG_DIR        "logs"
#define BX_BOX_LOG_PREFIX     "main." /* numbered.h */
#define BX_BOX_LOG_HEAD       16
#define BX_BOX_LOG_RECORD_MAX (64 * 1024)
#define BX_BOX_LOG_FILE_MAX   (4 * 1024 * 1024)
#define BX_BOX_LOG_FILES      4

enum bx_box_log_kind {
    BX_BOX_LOG_STDOUT = 1,
    BX_BOX_LOG_STDERR = 2,
    BX_BOX_LOG_LOST = 3,  /* u64: so many bytes of output are missing here */
    BX_BOX_LOG_START = 4, /* a start of the box; no bytes */
};

/* ---- writing ---- */

struct bx_box_log {
    int dir_fd, fd; /* -1: not open */
    uint32_t number;
    uint64_t size;
    uint64_t lost; /* bytes, since the last record that was written */
};
#define BX_BOX_LOG_INIT ((struct bx_box_log){.dir_fd = -1, .fd = -1})

/* Goes on with the log of a box, making it when there is none. box_fd: boxes/<id>. */
int bx_box_log_open(struct bx_box_log *l, int box_fd, struct bx_err *err);
void bx_box_log_close(struct bx_box_log *l);
/* Output (len at most BX_BOX_LOG_RECORD_MAX), or BX_BOX_LOG_START. Cannot fail: see above. */
void bx_box_log_add(struct bx_box_log *l, enum bx_box_log_kind kind, const void *data, size_t len);
/* So many bytes never came to us. */
void bx_box_log_lost(struct bx_box_log *l, uint64_t bytes);

/* ---- reading ---- */

struct bx_box_log_record {
    enum bx_box_log_kind kind;
    int64_t time_ns;
    const uint8_t *data; /* in the buffer that was parsed */
    size_t len;
};

/* One record from the front. Bytes it takes, 0 when there is no whole one, -BX_ESTORAGE when it is none: what
 * follows in this file cannot be read. */
int bx_box_log_parse(const uint8_t *data, size_t len, struct bx_box_log_record *ret, struct bx_err *err);

#endif
