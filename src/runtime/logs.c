/* SPDX-License-Identifier: Apache-2.0 */
/* logs.c - see logs.h; the files are told of in host/box_log.h. */
#include "runtime/logs.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/box_log.h"
#include "host/numbered.h"
#include "runtime/live.h"
#include "runtime/watch.h"

#define SLICE   (256 * 1024) /* of a file, read in one turn */
#define CONSOLE "console.log"

enum phase { COUNTING, GIVING };

struct bx_logs {
    struct bx_ev ev;
    struct bx_logs *next; /* in rt->logs */
    struct CBoxliteRuntime *rt;
    struct bx_box *box;
    struct bx_op *op; /* answered at the end */
    CBoxLogCb cb;
    void *ud;
    bool console, follow;
    int64_t since_ns;
    int64_t tail; /* lines; INT64_MAX: all */

    enum phase phase;
    int dir_fd, fd;
    uint32_t number; /* of the file that is open */
    off_t at;        /* in it, behind what buf has */
    struct bx_buf buf;
    bool last_look; /* there is a next file: this one does not grow any more, but may have grown since we looked */
    struct bx_watch *watch;
    bool stopped; /* the box has: what is there now is all */

    uint64_t lines; /* COUNTING: ends of lines so far; GIVING: to be left out */
    bool open_line; /* the last byte was no end of a line */
    bool delivering, dead;
};

/* ---- life ---- */

static void unlink_logs(struct bx_logs *l)
{
    struct bx_logs **p;

    for (p = &l->rt->logs; *p != l; p = &(*p)->next)
        ;
    *p = l->next;
}

/* Answers and forgets it; within a delivery, when that is over. */
static void logs_finish(struct bx_logs *l, const struct bx_err *err)
{
    if (l->op) {
        unlink_logs(l);
        bx_op_answer(BX_TAKE_PTR(l->op), err);
    }
    l->dead = true;
    l->watch = bx_watch_remove(l->watch);
    if (l->delivering)
        return;
    (void)bx_unqueue_event(l->rt, &l->ev);
    bx_close(l->fd);
    bx_close(l->dir_fd);
    bx_buf_done(&l->buf);
    bx_box_unref(l->box);
    free(l);
}

static void logs_drop(struct CBoxliteRuntime *rt, struct bx_ev *ev)
{
    (void)rt, (void)ev; /* bx_logs_end comes first */
}

void bx_logs_end(struct CBoxliteRuntime *rt)
{
    struct bx_err why = BX_ERR_INIT;

    bx_fail(&why, BX_ESTOPPED, 0, "the runtime was shut down");
    while (rt->logs)
        logs_finish(rt->logs, &why);
}

static void wake(void *ud)
{
    struct bx_logs *l = ud;

    bx_queue_event(l->rt, &l->ev);
}

void bx_logs_down(struct bx_box *b)
{
    for (struct bx_logs *l = b->rt->logs; l; l = l->next) {
        if (l->box != b || l->stopped)
            continue;
        l->stopped = true;
        wake(l);
    }
}

/* ---- files ---- */

static int open_number(struct bx_logs *l, uint32_t number, struct bx_err *err)
{
    char name[BX_NUMBERED_NAME_MAX];

    bx_numbered_name(name, BX_BOX_LOG_PREFIX, number);
    bx_close(l->fd);
    l->fd = openat(l->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    l->number = number;
    l->at = 0;
    l->last_look = false;
    bx_buf_clear(&l->buf);
    if (l->fd >= 0 || errno == ENOENT) /* it has just been let go: the next one is there */
        return 0;
    return bx_fail(err, BX_ESTORAGE, errno, "open the log of box %s", l->box->id);
}

/* Reads on. More than 0, 0 at the end of what there is. */
static ssize_t read_slice(struct bx_logs *l, struct bx_err *err)
{
    uint8_t *room = bx_buf_reserve(&l->buf, SLICE);
    struct stat st;
    ssize_t n;

    if (!room)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "read a log");
    if (l->console && l->fd >= 0 && fstat(l->fd, &st) == 0 && st.st_size < l->at)
        l->at = 0; /* the box was started anew */
    n = l->fd < 0 ? 0 : pread(l->fd, room, SLICE, l->at);
    if (n < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "read the log of box %s", l->box->id);
    bx_buf_commit(&l->buf, (size_t)n);
    l->at += n;
    return n;
}

/* At the end of a file. 1: goes on with this or another one; 0: that was all there is. */
static int next_file(struct bx_logs *l, struct bx_err *err)
{
    int64_t next;
    int r;

    if (l->console || l->dir_fd < 0)
        return 0;
    next = bx_numbered_next(l->dir_fd, BX_BOX_LOG_PREFIX, l->number);
    if (next < 0)
        return bx_fail(err, BX_ESTORAGE, (int)-next, "read the log of box %s", l->box->id);
    if (next == 0)
        return 0;
    if (l->fd >= 0 && !l->last_look) {
        l->last_look = true;
        return 1;
    }
    r = open_number(l, (uint32_t)next, err);
    return r < 0 ? r : 1;
}

/* ---- lines ---- */

static void count_lines(struct bx_logs *l, const uint8_t *data, size_t len)
{
    const uint8_t *end = data + len, *p = data;

    while ((p = memchr(p, '\n', (size_t)(end - p)))) {
        l->lines++;
        p++;
    }
    if (len > 0)
        l->open_line = end[-1] != '\n';
}

/* How many of these bytes are not wanted. */
static size_t skip_lines(struct bx_logs *l, const uint8_t *data, size_t len)
{
    const uint8_t *end = data + len, *p = data;

    while (l->lines > 0 && (p = memchr(p, '\n', (size_t)(end - p)))) {
        l->lines--;
        p++;
    }
    return l->lines > 0 ? len : (size_t)(p - data);
}

static int begin_giving(struct bx_logs *l, struct bx_err *err)
{
    uint64_t total = l->lines + l->open_line;

    l->phase = GIVING;
    l->lines = total > (uint64_t)l->tail ? total - (uint64_t)l->tail : 0;
    l->at = 0;
    l->last_look = false;
    bx_buf_clear(&l->buf);
    return l->console ? 0 : open_number(l, 0, err);
}

/* ---- records ---- */

/* Calls the program. False when the reading is over by it. */
static bool give(struct bx_logs *l, int stream, int64_t time_ns, const uint8_t *data, size_t len)
{
    bx_user_begin(l->rt);
    l->cb(stream, time_ns, data, len, l->ud);
    bx_user_end(l->rt);
    return !l->dead;
}

static bool take_bytes(struct bx_logs *l, int stream, int64_t time_ns, const uint8_t *data, size_t len, bool *called)
{
    size_t skip;

    if (l->phase == COUNTING) {
        count_lines(l, data, len);
        return true;
    }
    skip = skip_lines(l, data, len);
    if (skip == len)
        return true;
    *called = true;
    return give(l, stream, time_ns, data + skip, len - skip);
}

static bool take_record(struct bx_logs *l, const struct bx_box_log_record *rec, bool *called)
{
    char text[80];
    uint64_t lost;

    if (rec->time_ns < l->since_ns)
        return true;
    if (rec->kind == BX_BOX_LOG_STDOUT || rec->kind == BX_BOX_LOG_STDERR)
        return take_bytes(l, rec->kind == BX_BOX_LOG_STDOUT ? BoxliteLogStdout : BoxliteLogStderr, rec->time_ns, rec->data, rec->len, called);
    if (rec->kind != BX_BOX_LOG_LOST || rec->len != sizeof(lost) || l->phase == COUNTING || l->lines > 0)
        return true;
    memcpy(&lost, rec->data, sizeof(lost));
    snprintf(text, sizeof(text), "%llu bytes of output are missing here\n", (unsigned long long)le64toh(lost));
    *called = true;
    return give(l, BoxliteLogNotice, rec->time_ns, (const uint8_t *)text, strlen(text));
}

/* Everything whole that is in the buffer. 0 or negative. */
static int take_all(struct bx_logs *l, bool *called, struct bx_err *err)
{
    struct bx_box_log_record rec;
    int r;

    if (l->console) {
        take_bytes(l, BoxliteLogConsole, 0, bx_buf_data(&l->buf), bx_buf_len(&l->buf), called);
        bx_buf_clear(&l->buf);
        return 0;
    }
    while ((r = bx_box_log_parse(bx_buf_data(&l->buf), bx_buf_len(&l->buf), &rec, err)) > 0) {
        if (!take_record(l, &rec, called))
            return 0;
        bx_buf_consume(&l->buf, (size_t)r);
    }
    return r;
}

/* ---- delivery ---- */

/* One slice. 1: there is more to do; 0: nothing now. */
static int turn(struct bx_logs *l, bool *called, struct bx_err *err)
{
    ssize_t n = read_slice(l, err);
    int r;

    if (n < 0)
        return (int)n;
    if (n > 0) {
        r = take_all(l, called, err);
        return r < 0 ? r : 1;
    }
    r = next_file(l, err);
    if (r != 0 || l->phase == GIVING)
        return r;
    r = begin_giving(l, err);
    return r < 0 ? r : 1;
}

static bool logs_deliver(struct CBoxliteRuntime *rt, struct bx_ev *ev)
{
    struct bx_logs *l = BX_CONTAINER_OF(ev, struct bx_logs, ev);
    struct bx_err err = BX_ERR_INIT;
    bool called = false, stopped = l->stopped; /* before we look: what it wrote last is then there */
    int r;

    bx_rt_ref(rt);
    l->delivering = true;
    r = turn(l, &called, &err);
    l->delivering = false;
    if (l->dead || r < 0 || (r == 0 && (!l->follow || stopped)))
        logs_finish(l, r < 0 ? &err : NULL);
    else if (r > 0)
        wake(l);
    bx_assert(rt->refs > 1); /* drain holds one */
    rt->refs--;
    return called;
}

/* ---- the calls ---- */

static int open_files(struct bx_logs *l, struct bx_err *err)
{
    int box_fd = bx_box_dir(l->box, err);

    if (box_fd < 0)
        return box_fd;
    if (l->console) {
        l->fd = openat(box_fd, CONSOLE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    } else {
        /* A box that was never started has none, and one that is just being started may have none yet. */
        if (l->follow && mkdirat(box_fd, BX_BOX_LOG_DIR, 0700) < 0 && errno != EEXIST)
            return bx_fail(err, BX_ESTORAGE, errno, "make the folder of the box's log");
        l->dir_fd = openat(box_fd, BX_BOX_LOG_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    }
    if (l->fd < 0 && l->dir_fd < 0)
        return errno == ENOENT ? 0 : bx_fail(err, BX_ESTORAGE, errno, "open the log of box %s", l->box->id);
    if (l->follow)
        l->watch = bx_watch_add(l->rt, l->console ? l->fd : l->dir_fd, wake, l, err);
    return l->follow && !l->watch ? -err->code : 0;
}

static int take_options(struct bx_logs *l, const BoxliteLogOptions *given, struct bx_err *err)
{
    BoxliteLogOptions o = BOXLITE_LOG_OPTIONS_INIT;
    int r = bx_api_options(&o, sizeof(o), given, err);

    if (r < 0)
        return r;
    if (o.since_ms < 0 || o.since_ms > INT64_MAX / BX_MSEC)
        return bx_fail(err, BX_EINVALID, 0, "since_ms: must be a time after 1970");
    if (o.console && o.since_ms)
        return bx_fail(err, BX_EINVALID, 0, "since_ms: the console has no times");
    l->console = o.console != 0;
    l->follow = o.follow != 0;
    l->since_ns = o.since_ms * BX_MSEC;
    l->tail = o.tail == 0 ? INT64_MAX : BX_MAX(o.tail, (int64_t)0);
    l->phase = o.tail == 0 ? GIVING : COUNTING;
    return 0;
}

static int logs_start(struct bx_logs *l, CBoxHandle *box, CBoxLogDoneCb done, struct bx_err *err)
{
    struct bx_err ignored;
    int r;

    l->rt = box->rt;
    l->box = box->box;
    r = open_files(l, err);
    if (r < 0)
        return r;
    l->op = bx_op_new(l->rt, BX_OP_PLAIN, (union bx_op_cb){.plain = done}, l->ud, err);
    if (!l->op)
        return -err->code;
    bx_box_ref(l->box);
    l->next = l->rt->logs;
    l->rt->logs = l;
    l->stopped = !l->follow || bx_live_connect(l->box, &ignored) < 0;
    wake(l);
    return 0;
}

BoxliteErrorCode boxlite_box_logs(CBoxHandle *box, const BoxliteLogOptions *options, CBoxLogCb on_chunk,
                                  CBoxLogDoneCb on_done, void *user_data, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_logs *l;
    int r;

    if (!box || !on_chunk || !on_done)
        return bx_api_invalid(out_error, "%s is NULL", !box ? "box" : !on_chunk ? "on_chunk" : "on_done");
    l = calloc(1, sizeof(*l));
    if (!l) {
        bx_fail(&err, BX_ERESOURCE, ENOMEM, "read a log");
        return bx_api_error(out_error, &err);
    }
    *l = (struct bx_logs){.ev = {.deliver = logs_deliver, .drop = logs_drop}, .cb = on_chunk, .ud = user_data, .dir_fd = -1, .fd = -1};
    bx_buf_init(&l->buf, SLICE + BX_BOX_LOG_HEAD + BX_BOX_LOG_RECORD_MAX);
    r = take_options(l, options, &err);
    if (r == 0)
        r = bx_handle_enter(box, &err);
    if (r == 0) {
        r = logs_start(l, box, on_done, &err);
        if (r < 0)
            bx_watch_remove(l->watch);
        bx_leave(box->rt);
    }
    if (r == 0)
        return Ok;
    bx_close(l->fd);
    bx_close(l->dir_fd);
    free(l);
    return bx_api_error(out_error, &err);
}

BoxliteErrorCode boxlite_box_cancel_logs(CBoxHandle *box, const void *user_data, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    struct bx_logs *l, *next;

    if (!box)
        return bx_api_invalid(out_error, "box is NULL");
    if (bx_handle_enter(box, &err) < 0)
        return bx_api_error(out_error, &err);
    bx_fail(&why, BX_ESTOPPED, 0, "cancelled");
    for (l = box->rt->logs; l; l = next) {
        next = l->next;
        if (l->box == box->box && l->ud == user_data)
            logs_finish(l, &why);
    }
    bx_leave(box->rt);
    return Ok;
}
