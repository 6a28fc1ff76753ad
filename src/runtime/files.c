/* SPDX-License-Identifier: Apache-2.0 */
/* files.c - a piece of work on a box's files: its stream. How it works is told in files.h. */
#include "runtime/files.h"

#include <errno.h>
#include <string.h>

#include "runtime/conn.h"

/* ---- life ---- */

struct bx_files *bx_files_new(struct bx_box *b, struct bx_op *op, const boxlite_FileOp *msg,
                              struct bx_err *err)
{
    struct bx_files *f = calloc(1, sizeof(*f)), **p;

    if (!f) {
        bx_fail(err, BX_ERESOURCE, ENOMEM, "work on files");
        return NULL;
    }
    f->rt = b->rt;
    f->box = b;
    f->op = op;
    f->msg = *msg;
    f->host_fd = f->pipe_fd = -1;
    bx_lane_init(&f->in_lane, BX_WINDOW);
    bx_lane_init(&f->out_lane, BX_WINDOW);
    bx_buf_init(&f->in, BX_FILES_DATA_MAX + BX_FILES_DATA_MAX / 1024);
    bx_buf_init(&f->out, 2 * BX_WINDOW);
    bx_buf_init(&f->data, BX_FILES_DATA_MAX);
    bx_box_ref(b);
    for (p = &b->files; *p; p = &(*p)->next) /* they are sent in the order in which they were asked for */
        ;
    *p = f;
    return f;
}

static void unlink_files(struct bx_files *f)
{
    struct bx_files **p;

    for (p = &f->box->files; *p != f; p = &(*p)->next)
        ;
    *p = f->next;
}

static void close_stream(struct bx_files *f)
{
    boxlite_Close m = boxlite_Close_init_zero;
    struct bx_conn *c = f->box->conn;

    if (!c || f->stream == 0)
        return;
    (void)bx_msg_send(&c->link, BX_MSG_CLOSE, f->stream, &m, NULL);
    bx_conn_flush(c);
}

void bx_files_end(struct bx_files *f, const struct bx_err *err)
{
    struct bx_err why = err ? *err : BX_ERR_INIT;

    close_stream(f);
    unlink_files(f);
    bx_copy_stop(f);
    if (why.code == 0)
        (void)bx_files_result(f, &why);
    bx_op_answer(f->op, &why);
    bx_box_unref(f->box);
    bx_buf_done(&f->in);
    bx_buf_done(&f->out);
    bx_buf_done(&f->data);
    bx_file_list_free(f->list);
    bx_close(f->host_fd);
    free(f->host_path);
    free(f);
}

static void send_it(struct bx_files *f)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_conn *c = f->box->conn;
    int r = 0;

    if (!c->has_files)
        r = bx_fail(&err, BX_EUNSUPPORTED, 0,
                    "the box was started by an older version, which knows nothing of files: stop it and "
                    "start it again");
    if (r == 0 && f->side != BX_FILES_CALL)
        r = bx_copy_start(f, &err);
    if (r == 0) {
        f->stream = bx_conn_stream(c);
        r = bx_msg_send(&c->link, BX_MSG_FILE_OP, f->stream, &f->msg, &err);
    }
    if (r < 0)
        bx_files_end(f, &err);
}

void bx_files_launch(struct bx_files *f)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_box *b = f->box;

    if (b->phase == BX_PHASE_UP && !b->down_wanted) {
        send_it(f);
        bx_conn_flush(b->conn);
    } else if (bx_box_want_up(b, true, &err) < 0) {
        bx_files_end(f, &err);
    }
}

void bx_files_send_waiting(struct bx_box *b)
{
    struct bx_files *f, *next;

    for (f = b->files; f; f = next) {
        next = f->next;
        if (f->stream == 0)
            send_it(f);
    }
}

void bx_files_fail(struct bx_box *b, unsigned which, const struct bx_err *err)
{
    struct bx_files *f, *next;

    for (f = b->files; f; f = next) {
        next = f->next;
        if (which & (f->stream == 0 ? BX_FILES_WAITING : BX_FILES_SENT))
            bx_files_end(f, err);
    }
}

bool bx_files_wait(const struct bx_box *b)
{
    const struct bx_files *f;

    for (f = b->files; f && f->stream != 0; f = f->next)
        ;
    return f != NULL;
}

struct bx_files *bx_files_of(struct bx_box *b, uint32_t stream)
{
    struct bx_files *f;

    for (f = b->files; f && f->stream != stream; f = f->next)
        ;
    return f;
}

/* ---- to the box ---- */

int bx_files_give(struct bx_files *f, const uint8_t *data, size_t len, struct bx_err *err)
{
    for (size_t at = 0; at < len;) {
        size_t n = BX_MIN(len - at, (size_t)BX_REC_DATA_MAX);
        uint8_t *p = bx_buf_reserve(&f->in, BX_REC_DATA_HEAD + n);

        if (!p)
            return bx_fail(err, BX_ERESOURCE, ENOMEM, "write a file");
        bx_rec_data_head(p, at, n);
        memcpy(p + BX_REC_DATA_HEAD, data + at, n);
        bx_buf_commit(&f->in, BX_REC_DATA_HEAD + n);
        at += n;
    }
    f->in_over = true;
    return bx_rec_put_close(&f->in, len) < 0 ? bx_fail(err, BX_ERESOURCE, ENOMEM, "write a file") : 0;
}

void bx_files_pump(struct bx_files *f)
{
    struct bx_conn *c = f->box->conn;
    size_t n;

    if (!c || f->stream == 0)
        return;
    if (f->side != BX_FILES_CALL)
        bx_copy_pump(f);
    while ((n = bx_buf_len(&f->in)) > 0) {
        n = BX_MIN(n, BX_MIN((size_t)f->in_lane.credit, (size_t)BX_FRAME_PAYLOAD_MAX));
        n = BX_MIN(n, bx_link_data_room(&c->link));
        if (n == 0 || bx_link_send_data(&c->link, f->stream, BX_LANE_STDIN, bx_buf_data(&f->in), n) < 0)
            break;
        bx_lane_spend(&f->in_lane, n);
        bx_buf_consume(&f->in, n);
    }
    if (bx_buf_len(&f->in) == 0 && f->in_over && !f->in_eof_sent)
        f->in_eof_sent = bx_link_send_eof(&c->link, f->stream, BX_LANE_STDIN) == 0;
}

void bx_files_pump_all(struct bx_box *b)
{
    struct bx_files *f;

    for (f = b->files; f; f = f->next)
        bx_files_pump(f);
}

/* ---- from the box ---- */

void bx_files_used(struct bx_files *f, size_t n)
{
    uint32_t credit = bx_lane_consume(&f->out_lane, n);
    struct bx_conn *c = f->box->conn;

    if (credit > 0 && c && f->stream != 0) /* a full link is dead anyway */
        (void)bx_msg_send_credit(&c->link, f->stream, BX_LANE_STDOUT, credit);
}

/* Whole records of what came. What is wrong with them is the work's matter, not the link's: the box can lie
 * as much as it likes. Negative: the work has ended. */
static int parse_out(struct bx_files *f)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_rec rec;
    int r;

    while ((r = bx_rec_parse(bx_buf_data(&f->out), bx_buf_len(&f->out), &rec, &err)) > 0) {
        int taken = f->has_end ? bx_fail(&err, BX_ERPC, 0, "records of files behind the last one")
                               : bx_files_take_record(f, &rec, &err);

        if (taken < 0) {
            r = taken;
            break;
        }
        bx_buf_consume(&f->out, (size_t)r);
        bx_files_used(f, (size_t)r);
    }
    if (r < 0)
        bx_files_end(f, &err);
    return r;
}

int bx_files_data(struct bx_files *f, unsigned lane, const uint8_t *data, size_t len, struct bx_err *err)
{
    if (lane != BX_LANE_STDOUT || bx_lane_receive(&f->out_lane, len) < 0)
        return bx_fail(err, BX_ERPC, 0, "the box sent more of a file than it was allowed to");
    if (bx_buf_add(&f->out, data, len) < 0)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "a file's data");
    if (f->side == BX_FILES_COPY_OUT)
        bx_copy_pump(f);
    else
        (void)parse_out(f);
    return 0;
}

int bx_files_eof(struct bx_files *f, unsigned lane)
{
    if (lane != BX_LANE_STDOUT)
        return 0;
    f->out_eof = true;
    if (f->side == BX_FILES_COPY_OUT)
        bx_copy_pump(f);
    return 0;
}

/* The work in the box is over. A copy out is, when its process has said so. */
static void on_exit_message(struct bx_files *f, const boxlite_Exit *m)
{
    struct bx_err why = BX_ERR_INIT;

    if (f->has_end) {
        why = f->end;
    } else if (m->oom) {
        bx_fail(&why, BX_ERESOURCE, 0, "the box ran out of memory while it worked on %.200s", f->msg.path);
    } else {
        bx_fail(&why, BX_EPORTAL, 0, "the work on %.200s was ended in the box (exit code %d)", f->msg.path,
                m->code);
    }
    if (f->side != BX_FILES_COPY_OUT)
        bx_files_end(f, &why);
    else if (m->code != 0)
        f->end = why; /* for when the process finds that something is missing */
}

int bx_files_message(struct bx_files *f, uint16_t type, const uint8_t *payload, size_t len,
                     struct bx_err *err)
{
    union {
        boxlite_Error error;
        boxlite_Credit credit;
        boxlite_Exit exit;
    } m;
    struct bx_err why;
    int r;

    switch (type) {
    case BX_MSG_STARTED:
        bx_files_pump(f);
        return 0;
    case BX_MSG_ERROR:
        r = bx_msg_decode(type, payload, len, &m.error, err);
        if (r < 0 || m.error.request != 0)
            return r;
        bx_conn_error(&m.error, &why);
        f->stream = 0; /* it is closed */
        bx_files_end(f, &why);
        return 0;
    case BX_MSG_EXIT:
        r = bx_msg_decode(type, payload, len, &m.exit, err);
        if (r == 0)
            on_exit_message(f, &m.exit);
        return r;
    case BX_MSG_CREDIT:
        r = bx_msg_decode(type, payload, len, &m.credit, err);
        if (r < 0 || m.credit.lane != BX_LANE_STDIN)
            return r;
        if (bx_lane_grant(&f->in_lane, m.credit.bytes) < 0)
            return bx_fail(err, BX_ERPC, 0, "the box gave too much credit");
        bx_files_pump(f);
        return 0;
    default:
        return 0;
    }
}
