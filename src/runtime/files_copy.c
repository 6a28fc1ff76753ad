/* SPDX-License-Identifier: Apache-2.0 */
/* files_copy.c - boxlite-files at the host's end of a copy, and the bytes between it and the stream. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "runtime/conn.h"
#include "runtime/engine.h"
#include "runtime/files.h"
#include "runtime/members.h"

#define DATA_FD     3
#define STATUS_FD   4
#define ANSWER_MAX  1024
#define PIPE_FRAMES 8 /* read from the pipe at a time */
#define TURN_READS  4

static void on_pipe(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct bx_files *f = ud;

    (void)s, (void)fd, (void)events;
    bx_files_pump(f);
    if (f->box->conn)
        bx_conn_flush(f->box->conn);
}

static void close_pipe(struct bx_files *f)
{
    f->pipe = bx_source_remove(f->pipe);
    f->pipe_fd = bx_close(f->pipe_fd);
}

/* ---- what it said ---- */

static int parse_counts(char *rest, struct bx_rec_counts *c)
{
    uint64_t *const all[] = {&c->files, &c->folders, &c->links, &c->bytes, &c->left_out};

    for (size_t i = 0; i < BX_ARRAY_SIZE(all); i++)
        if (bx_parse_u64(bx_word(&rest), 0, UINT64_MAX, all[i]) < 0)
            return -EINVAL;
    return 0;
}

static int parse_answer(struct bx_files *f, const char *text, size_t len, struct bx_err *err)
{
    char line[ANSWER_MAX + 1], *rest = line;
    uint64_t code, sys;
    const char *kind;

    snprintf(line, sizeof(line), "%.*s", (int)BX_MIN(len, sizeof(line) - 1), len > 0 ? text : "");
    line[strcspn(line, "\n")] = '\0';
    kind = bx_word(&rest);
    if (bx_streq(kind, "ok") && parse_counts(rest, &f->counts) == 0)
        return 0;
    if (bx_streq(kind, "error") && bx_parse_u64(bx_word(&rest), 1, BX_ECODE_MAX - 1, &code) == 0 &&
        bx_parse_u64(bx_word(&rest), 0, 4095, &sys) == 0) {
        bx_fail(err, (enum bx_code)code, 0, "%s", rest);
        err->sys_errno = (int)sys;
        return -(int)code;
    }
    return bx_fail(err, BX_EINTERNAL, 0, "boxlite-files ended without a word: it crashed, or was killed");
}

static void on_answer(void *ud, const char *text, size_t len)
{
    struct bx_files *f = ud;
    struct bx_err err = BX_ERR_INIT;
    int r;

    f->job = NULL;
    r = parse_answer(f, text, len, &err);
    if (r == 0 && f->side == BX_FILES_COPY_IN)
        return;                             /* the box has the last word */
    if (r == -BX_ETRANSPORT && f->end.code) /* it saw the end of a stream of which we know more */
        err = f->end;
    bx_files_end(f, &err);
}

/* ---- starting, ending ---- */

static int spawn_it(struct bx_files *f, const char *path, int theirs, struct bx_err *err)
{
    static const char *const modes[] = {[BX_FILES_COPY_IN] = "send", [BX_FILES_COPY_OUT] = "receive"};
    bool in = f->side == BX_FILES_COPY_IN;
    char flags[16], max[24], data[16], status[16], *argv[8];
    struct bx_spawn_fd fds[2] = {{theirs, DATA_FD}, {f->host_fd, in ? 0 : 1}};
    struct bx_spawn s = {
        .path = path, .argv = argv, .fds = fds, .n_fds = f->host_path ? 1 : 2, .new_session = true};
    size_t n = 0;

    snprintf(flags, sizeof(flags), "%u", f->host_flags);
    snprintf(max, sizeof(max), "%llu", (unsigned long long)f->max_bytes);
    snprintf(data, sizeof(data), "%d", DATA_FD);
    snprintf(status, sizeof(status), "%d", STATUS_FD);
    argv[n++] = (char *)path;
    argv[n++] = (char *)modes[f->side];
    argv[n++] = data;
    argv[n++] = status;
    argv[n++] = flags;
    if (!in)
        argv[n++] = max;
    argv[n++] = f->host_path ? f->host_path : (char *)"-";
    argv[n] = NULL;
    f->job = bx_job_start(f->rt, &s, STATUS_FD, on_answer, f, err);
    if (!f->job)
        return -err->code;
    bx_job_text_max(f->job, ANSWER_MAX);
    return 0;
}

int bx_copy_start(struct bx_files *f, struct bx_err *err)
{
    const char *libexec = bx_libexec(f->rt, err);
    bx_cleanup_free char *path = NULL;
    bx_cleanup_close int theirs = -1;
    bool in = f->side == BX_FILES_COPY_IN;
    int ends[2];

    if (!libexec)
        return -err->code;
    path = bx_path_join(libexec, "boxlite-files");
    /* A socket where we write: a pipe could cost the host program its life (SIGPIPE). */
    if (!path || (in ? pipe2(ends, O_CLOEXEC) : socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) < 0)
        return bx_fail(err, BX_ERESOURCE, path ? errno : ENOMEM, "copy files");
    f->pipe_fd = ends[0];
    theirs = ends[1];
    if (in)
        (void)fcntl(f->pipe_fd, F_SETPIPE_SZ, BX_WINDOW); /* where this is refused the default will do */
    bx_fd_nonblock(f->pipe_fd, true);
    f->pipe = bx_loop_add_fd(f->rt->loop, f->pipe_fd, 0, on_pipe, f);
    if (!f->pipe)
        return bx_fail(err, BX_ERESOURCE, errno, "copy files");
    return spawn_it(f, path, theirs, err);
}

void bx_copy_stop(struct bx_files *f)
{
    close_pipe(f);
    f->job = bx_job_terminate(f->job);
}

/* ---- bytes ---- */

/* From the pipe straight into the link, as far as credit and room go. 1: more may come. */
static int read_once(struct bx_files *f, struct bx_conn *c)
{
    struct iovec places[PIPE_FRAMES];
    size_t want = BX_MIN((size_t)f->in_lane.credit, (size_t)PIPE_FRAMES * BX_FRAME_PAYLOAD_MAX);
    unsigned n =
        bx_link_data_reserve(&c->link, BX_MIN(want, bx_link_data_room(&c->link)), places, PIPE_FRAMES);
    ssize_t got;

    if (n == 0)
        return 0; /* Credit, or room on the link, brings us back */
    got = readv(f->pipe_fd, places, (int)n);
    bx_link_data_commit(&c->link, f->stream, BX_LANE_STDIN, got > 0 ? (size_t)got : 0);
    if (got > 0) {
        bx_lane_spend(&f->in_lane, (size_t)got);
        return 1;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        bx_source_set_events(f->pipe, BX_READ);
        return -1;
    }
    close_pipe(f);
    f->in_over = true;
    return -1;
}

static void pump_in(struct bx_files *f, struct bx_conn *c)
{
    int r = 1;

    for (int i = 0; f->pipe && r > 0 && i < TURN_READS; i++)
        r = read_once(f, c);
    if (f->pipe &&
        r >= 0) /* waiting for the pipe would wake us for nothing, unless this turn was too short */
        bx_source_set_events(f->pipe, r > 0 ? BX_READ : 0);
}

static void pump_out(struct bx_files *f)
{
    while (f->pipe && bx_buf_len(&f->out) > 0) {
        ssize_t n = send(f->pipe_fd, bx_buf_data(&f->out), bx_buf_len(&f->out), MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            bx_source_set_events(f->pipe, BX_WRITE);
            return;
        }
        if (n < 0) { /* it has ended, and says why */
            close_pipe(f);
            break;
        }
        bx_buf_consume(&f->out, (size_t)n);
        bx_files_used(f, (size_t)n);
    }
    if (f->pipe)
        bx_source_set_events(f->pipe, 0);
    if (!f->pipe) {
        bx_files_used(f, bx_buf_len(&f->out));
        bx_buf_clear(&f->out);
    } else if (f->out_eof) {
        close_pipe(f);
    }
}

void bx_copy_pump(struct bx_files *f)
{
    if (f->side == BX_FILES_COPY_OUT)
        pump_out(f);
    else if (f->box->conn)
        pump_in(f, f->box->conn);
}
