/* SPDX-License-Identifier: Apache-2.0 */
/*
 * files.h - work on a box's files (private).
 *
 * Theory of operation
 *
 *  One piece of work is one stream, opened by FileOp; records (wire/record.h) go over its lanes. What a call
 * carries or brings itself (a file's bytes, a list) is read and made here, with a bound. What a copy carries
 * is read and written by boxlite-files, a process of its own with a pipe or socket to us: a slow disk then
 * never holds up a drain, and what the box sends is not even parsed in this program. Both pipes stop when
 * credit or the reader does.
 *
 *      copy in     host files ─▶ boxlite-files ─pipe─▶ here ─lane 0─▶ the box; END comes back on lane 1
 *      copy out    the box ─lane 1─▶ here ─pipe─▶ boxlite-files ─▶ host files; its last line tells the
 * outcome
 *
 *  WAITING (for the box to be up) ─▶ SENT ─▶ answered and gone. Whatever fails first ends the other side: the
 * stream is closed, which kills the work in the box, and the process is ended; neither leaves half a file.
 */
#ifndef BX_RUNTIME_FILES_H
#define BX_RUNTIME_FILES_H

#include "runtime/box.h"
#include "runtime/job.h"
#include "wire/link.h"
#include "wire/record.h"

#define BX_FILES_DATA_MAX (64u * 1024 * 1024) /* of a file that a call reads or writes */
#define BX_FILES_LIST_MAX 65536               /* entries of a list */

enum bx_files_side { BX_FILES_CALL, BX_FILES_COPY_IN, BX_FILES_COPY_OUT };

struct bx_files {
    struct bx_files *next; /* in box->files */
    struct CBoxliteRuntime *rt;
    struct bx_box *box; /* holds a reference */
    struct bx_op *op;
    boxlite_FileOp msg;
    enum bx_files_side side;
    uint32_t stream; /* 0: WAITING */

    struct bx_lane in_lane, out_lane;
    struct bx_buf in;  /* for lane 0; records */
    struct bx_buf out; /* of lane 1: records not yet parsed, or not yet taken by the pipe */
    bool in_over;      /* nothing more comes into `in` */
    bool in_eof_sent, out_eof;
    bool has_end;
    struct bx_err end;
    struct bx_rec_counts counts;

    /* what a call brings */
    struct bx_buf data;
    struct bx_file_list *list;

    /* a copy */
    char *host_path; /* NULL: host_fd */
    int host_fd;
    uint64_t max_bytes;
    unsigned host_flags;
    struct bx_job *job;
    int pipe_fd; /* ours; -1: closed */
    struct bx_source *pipe;
};

/* A new one on this box, in its list and waiting; `op` is its own from now on. NULL with err, and op as it
 * was. */
struct bx_files *bx_files_new(struct bx_box *b, struct bx_op *op, const boxlite_FileOp *msg,
                              struct bx_err *err);
/* Sends it, now or when the box is up. */
void bx_files_launch(struct bx_files *f);
/* Ends it with err (NULL: success). */
void bx_files_end(struct bx_files *f, const struct bx_err *err);
/* Bytes for lane 0, all of them at once. */
int bx_files_give(struct bx_files *f, const uint8_t *data, size_t len, struct bx_err *err);

/* From life.c and box.c: the box is up; it is not to be had any more, or yet. */
#define BX_FILES_WAITING 0x1u
#define BX_FILES_SENT    0x2u
void bx_files_send_waiting(struct bx_box *b);
void bx_files_fail(struct bx_box *b, unsigned which, const struct bx_err *err);
bool bx_files_wait(const struct bx_box *b); /* does one? */

/* From the link. Negative ends the link. */
struct bx_files *bx_files_of(struct bx_box *b, uint32_t stream);
int bx_files_message(struct bx_files *f, uint16_t type, const uint8_t *payload, size_t len,
                     struct bx_err *err);
int bx_files_data(struct bx_files *f, unsigned lane, const uint8_t *data, size_t len, struct bx_err *err);
int bx_files_eof(struct bx_files *f, unsigned lane);
/* The link has room again. */
void bx_files_pump_all(struct bx_box *b);
void bx_files_pump(struct bx_files *f);

/* files_copy.c: the process at the host's end. */
int bx_copy_start(struct bx_files *f, struct bx_err *err);
void bx_copy_stop(struct bx_files *f);
/* Reads from its pipe as the link allows; writes to it as it takes. */
void bx_copy_pump(struct bx_files *f);
/* n bytes of lane 1 were used. */
void bx_files_used(struct bx_files *f, size_t n);

/* files_result.c: what calls bring. */
int bx_files_take_record(struct bx_files *f, const struct bx_rec *rec, struct bx_err *err);
/* The op's result, of what came. 0 or negative with err. */
int bx_files_result(struct bx_files *f, struct bx_err *err);
void bx_file_list_free(struct bx_file_list *l);
/* An op's result and its call. */
void bx_files_result_free(enum bx_op_kind kind, void *result);
void bx_files_call(struct bx_op *op, CBoxliteError *e);

#endif
