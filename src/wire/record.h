/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - files as bytes: what goes over the lanes of a stream that FileOp opened.
 *
 * Theory of operation
 *
 *  A lane is a row of records, each a head of 8 bytes (u8 kind, 3 bytes 0, u32 length of the payload) and its
 * payload, all numbers little-endian:
 *
 *   ENTRY  a file, folder or link: u8 type, 3 bytes 0, u32 mode (07777), u32 uid, u32 gid, u64 size, i64
 * seconds and u32 nanoseconds of its last change, u32 0, name NUL, target of a link NUL (else empty) DATA of
 * the file of the ENTRY before: u64 offset, then bytes. What no DATA covers is a hole, and reads as 0 CLOSE
 * of that file: u64 size UP     the folder is complete: back to the one it is in END    how it went: u32 enum
 * bx_code (0: well), u32 errno, u64 files, folders, links, bytes, left out, text NUL. The last record of its
 * lane
 *
 *      tree   = file | link | folder        folder = ENTRY tree* UP      file = ENTRY DATA* CLOSE      link =
 * ENTRY lane   = tree END                    (other lanes: enum bx_file_op)
 *
 *  A name is one component, never a path, so nothing a sender writes can name what lies elsewhere; the top
 * one may be empty ("/" has no name). Offsets of one file never go back.
 *
 *  Pure: bytes in, records out; programs, agent, tests and fuzzers run the same file.
 */
#ifndef BX_WIRE_RECORD_H
#define BX_WIRE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define BX_REC_HEAD        8
#define BX_REC_PAYLOAD_MAX 65536
#define BX_REC_DATA_HEAD   (BX_REC_HEAD + 8) /* what comes before the bytes of DATA */
#define BX_REC_DATA_MAX    (BX_REC_PAYLOAD_MAX - 8)
#define BX_REC_NAME_MAX    255
#define BX_REC_LINK_MAX    4095
#define BX_REC_DEPTH_MAX   256 /* folders in folders: a receiver holds a descriptor for each */

enum bx_rec_kind { BX_REC_ENTRY = 1, BX_REC_DATA = 2, BX_REC_CLOSE = 3, BX_REC_UP = 4, BX_REC_END = 5 };

/* What FileOp asks for, and the lanes: in = stdin, out = stdout. An out lane always ends with END. */
enum bx_file_op {
    BX_FILE_PUT = 1,   /* in: a tree that is to be at `path` */
    BX_FILE_GET = 2,   /* out: the tree at `path` */
    BX_FILE_READ = 3,  /* out: ENTRY DATA* CLOSE of a file, from `offset`, at most `length` (0: all) */
    BX_FILE_WRITE = 4, /* in: DATA* CLOSE */
    BX_FILE_LIST = 5,  /* out: an ENTRY for each that is in the folder */
    BX_FILE_STAT = 6,  /* out: one ENTRY */
    BX_FILE_MKDIR = 7,
    BX_FILE_RENAME = 8, /* to `to` */
    BX_FILE_REMOVE = 9,
    BX_FILE_PROCESSES = 10, /* out: as READ of a text with a line for each process; `path` is of no use */
    BX_FILE_OPS
};

/* Flags of FileOp. */
#define BX_FILE_OVERWRITE 0x01u /* what is there already may be replaced */
#define BX_FILE_FOLLOW    0x02u /* links stand for what they lead to */
#define BX_FILE_PARENT    0x04u /* a folder comes to be in `path` under its own name, else its content does */
#define BX_FILE_RECURSIVE 0x08u
#define BX_FILE_OWNER     0x10u /* owners are kept, as numbers */
#define BX_FILE_PARENTS   0x20u /* folders that lead to it are made */
#define BX_FILE_ALL_LINKS 0x40u /* of a receiver: also links that lead out of the tree */
#define BX_FILE_SAFE_MODE 0x80u /* of a receiver: no setuid, setgid, sticky bits, whatever the sender says   \
                                 */

enum bx_file_type { BX_FILE_REGULAR = 1, BX_FILE_FOLDER = 2, BX_FILE_LINK = 3, BX_FILE_OTHER = 4 };

struct bx_rec_entry {
    enum bx_file_type type;
    uint32_t mode;
    uint32_t uid, gid;
    uint64_t size;
    int64_t mtime_s;
    uint32_t mtime_ns;
    const char *name;
    const char *link; /* never NULL */
};

/* The counts of END; both sides keep theirs. */
struct bx_rec_counts {
    uint64_t files, folders, links;
    uint64_t bytes;
    uint64_t
        left_out; /* pipes, sockets, devices; links that would lead out; what is no file system of the disk */
};

struct bx_rec_end {
    uint32_t code;
    uint32_t sys_errno;
    struct bx_rec_counts counts;
    const char *text;
};

struct bx_rec {
    enum bx_rec_kind kind;
    union {
        struct bx_rec_entry entry;
        struct {
            uint64_t offset;
            const uint8_t *bytes;
            size_t len; /* > 0 */
        } data;
        uint64_t size; /* CLOSE */
        struct bx_rec_end end;
    };
};

/*
 * Parses one record from the front of data; what it points to lies in data. Bytes it takes, 0 when more are
 * needed, or -BX_ERPC with err. What is accepted keeps every rule above that concerns one record alone.
 */
int bx_rec_parse(const uint8_t *data, size_t len, struct bx_rec *ret, struct bx_err *err);

/* One component of a path, and no way back: not "", ".", "..", no slash, at most BX_REC_NAME_MAX bytes? */
bool bx_rec_name_valid(const char *name);

/* Writers, at the end of a buffer. 0 or -errno of the buffer; -EINVAL when it would not be a record. */
int bx_rec_put_entry(struct bx_buf *b, const struct bx_rec_entry *e);
int bx_rec_put_close(struct bx_buf *b, uint64_t size);
int bx_rec_put_up(struct bx_buf *b);
int bx_rec_put_end(struct bx_buf *b, const struct bx_rec_end *end);
/* The head of DATA whose `len` bytes follow it. */
void bx_rec_data_head(uint8_t dst[BX_REC_DATA_HEAD], uint64_t offset, size_t len);

/* END of an outcome: err with code 0 for success. */
int bx_rec_put_outcome(struct bx_buf *b, const struct bx_err *err, const struct bx_rec_counts *counts);
/* The error that END tells of, made printable; 0 when it tells of success. Returns -code. */
int bx_rec_outcome(const struct bx_rec_end *end, struct bx_err *err);

#endif
