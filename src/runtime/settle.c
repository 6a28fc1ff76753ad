/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settle.c - bringing row and directory of a box in line with what happened: after its end, for removal, and
 * when a row says that a box runs whose shim is dead.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host/shim_plan.h"
#include "runtime/box.h"
#include "runtime/conn.h"
#include "runtime/events.h"
#include "runtime/job.h"
#include "runtime/live.h"

/* A shim that has closed its link has nothing left to do but to exit. */
#define SHIM_END_DEADLINE (5 * BX_SEC)
#define CONNECT_DEADLINE  (10 * BX_SEC)
/* Of a shim that nobody reaches: after 10, 20, 40 ms and so on, 18 s in all. */
#define LOOK_AGAIN     (10 * BX_MSEC)
#define LOOK_SHIFT_MAX 7u
#define LOOKS_MAX      20
/* What is left in tmp by a program that died; younger things may be just being made. */
#define TMP_AGE_S 600

struct bx_settle {
    struct bx_box *box;
    int start_fd, lock_fd;
    struct bx_lock_wait *wait;
    bool after_loss, killed;
    unsigned looks; /* how often nobody listened */
};

int bx_settle_row(struct CBoxliteRuntime *rt, struct bx_box_row *row, int dir_fd, struct bx_err *err)
{
    struct bx_box_change change = BX_BOX_CHANGE_INIT;
    struct bx_exit_record record;
    bool unrecorded = false; /* else its shim has told of its end */
    int r;

    if (!bx_state_active(row->state))
        return 0;
    change.state = BX_BOX_STOPPED;
    change.pid = 0;
    change.stopped_ms = bx_realtime() / BX_MSEC;
    change.message = "";
    change.set_exit = true;
    if (dir_fd >= 0 && bx_exit_record_read(dir_fd, &record, NULL) == 0) {
        change.state = record.failed ? BX_BOX_FAILED : BX_BOX_STOPPED;
        change.stopped_ms = record.time_ns / BX_MSEC;
        change.has_exit = record.has_exit_code;
        change.exit_code = record.exit_code;
        change.message = record.message;
    } else {
        unrecorded = true;
        if (bx_streq(row->boot_id, rt->boot_id))
            change.state = BX_BOX_FAILED;
        change.message = change.state == BX_BOX_FAILED ? "the box's supervisor was killed" : "the host was restarted";
    }
    r = bx_store_box_change(rt->store, row->id, bx_state_before(change.state), &change, err);
    if (r < 0)
        return r;
    row->state = change.state;
    if (unrecorded)
        bx_event_box(rt, change.state == BX_BOX_FAILED ? "box.failed" : "box.stopped", row, change.message);
    return r;
}

int bx_box_delete(struct CBoxliteRuntime *rt, const char *id, struct bx_err *err)
{
    struct bx_box_row row = {0};
    char away[64], suffix[BX_ID_LEN + 1];
    int r;

    bx_random_id(suffix);
    snprintf(away, sizeof(away), "box-%s-%s", id, suffix);
    if (renameat(rt->boxes_fd, id, rt->tmp_fd, away) < 0 && errno != ENOENT)
        return bx_fail(err, BX_ESTORAGE, errno, "remove %s/boxes/%s", rt->home, id);
    r = bx_store_box_get(rt->store, id, &row, err);
    if (r == 0)
        r = bx_store_box_delete(rt->store, id, err);
    if (r == 0)
        bx_event_box(rt, "box.removed", &row, NULL);
    bx_box_row_done(&row);
    if (r == -BX_ENOTFOUND)
        r = 0; /* another program was faster */
    if (bx_rm_rf(rt->tmp_fd, away) < 0 && r == 0)
        r = bx_fail(err, BX_ESTORAGE, errno, "remove %s/tmp/%s", rt->home, away);
    return r;
}

/* ---- rows that lie ---- */

static bool row_removes_on_stop(const struct bx_box_row *row)
{
    BX_CLEANUP(boxlite_options_free_p) struct CBoxliteOptions *o = NULL;

    return bx_options_from_json(row->options, &o, NULL) == 0 && bx_options_remove_on_stop(o);
}

static bool has_ended(const struct bx_box_row *row)
{
    return row->state == BX_BOX_STOPPED || row->state == BX_BOX_FAILED;
}

/* ended: also one that has ended and was to go with that: its program was killed between the two. */
static bool repair_row(struct CBoxliteRuntime *rt, struct bx_box_row *row, bool ended)
{
    bx_cleanup_close int dir_fd = -1, start_fd = -1, lock_fd = -1;

    if (!bx_state_active(row->state) && !(ended && has_ended(row) && row_removes_on_stop(row)))
        return false;
    dir_fd = openat(rt->boxes_fd, row->id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd >= 0) {
        start_fd = bx_lock_try(dir_fd, "start.lock");
        if (start_fd < 0)
            return false; /* somebody is at work on it */
        lock_fd = bx_lock_try(dir_fd, "lock");
        if (lock_fd < 0)
            return false; /* it runs */
    } else if (errno != ENOENT) {
        return false;
    }
    if (bx_settle_row(rt, row, dir_fd, NULL) < 0)
        return false;
    if (row_removes_on_stop(row) && bx_box_delete(rt, row->id, NULL) == 0)
        row->state = 0;
    return true;
}

bool bx_repair_row(struct CBoxliteRuntime *rt, struct bx_box_row *row)
{
    return repair_row(rt, row, false);
}

unsigned bx_repair_all(struct CBoxliteRuntime *rt)
{
    struct bx_box_row *rows = NULL;
    unsigned repaired = 0;
    size_t n = 0, i;

    if (bx_store_box_list(rt->store, &rows, &n, NULL) < 0)
        return 0; /* what is wrong with the store, the next call tells */
    for (i = 0; i < n; i++)
        repaired += repair_row(rt, &rows[i], true);
    bx_box_rows_free(rows, n);
    return repaired;
}

static bool clean_one(struct CBoxliteRuntime *rt, const char *name)
{
    bx_cleanup_close int fd = -1;
    struct stat st;

    if (fstatat(rt->tmp_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        st.st_mtime + TMP_AGE_S > bx_realtime() / BX_SEC)
        return false;
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
        fd = openat(rt->tmp_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0)
            return false; /* its maker lives */
    }
    return bx_rm_rf(rt->tmp_fd, name) == 0; /* garbage: if it stays, the next program tries again */
}

unsigned bx_clean_tmp(struct CBoxliteRuntime *rt)
{
    int fd = openat(rt->tmp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct dirent *d;
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    unsigned cleaned = 0;

    if (!dir) {
        bx_close(fd);
        return 0;
    }
    while ((d = readdir(dir)))
        if (!bx_streq(d->d_name, ".") && !bx_streq(d->d_name, ".."))
            cleaned += clean_one(rt, d->d_name);
    closedir(dir);
    return cleaned;
}

/* ---- a box of this runtime ---- */

int bx_box_dial(struct bx_box *b, struct bx_err *err)
{
    int dir_fd = bx_box_dir(b, err), fd;

    if (dir_fd < 0)
        return dir_fd;
    fd = bx_unix_connect(dir_fd, "box.sock");
    return fd < 0 ? bx_fail(err, BX_EPORTAL, -fd, "connect to box %s", b->id) : fd;
}

int bx_box_connect(struct bx_box *b, int64_t deadline, struct bx_err *err)
{
    int fd = bx_box_dial(b, err);

    return fd < 0 ? fd : bx_conn_open(b, fd, false, deadline, err);
}

struct bx_lock_wait *bx_box_look_again(struct bx_box *b, unsigned *times, bx_lock_fn *fn, void *ud, struct bx_err *err)
{
    if ((err->sys_errno != ENOENT && err->sys_errno != ECONNREFUSED) || *times == LOOKS_MAX)
        return NULL;
    return bx_lock_wait(b->rt, b->dir_fd, "lock", bx_now() + (LOOK_AGAIN << BX_MIN((*times)++, LOOK_SHIFT_MAX)), fn, ud, err);
}

void bx_settle_free(struct bx_settle *s)
{
    if (!s)
        return;
    bx_lock_wait_free(s->wait);
    bx_close(s->lock_fd);
    bx_close(s->start_fd);
    free(s);
}

static void settle_end(struct bx_settle *s, const struct bx_err *err)
{
    struct bx_box *b = s->box;

    bx_settle_free(s);
    b->settle = NULL;
    bx_box_is_down(b, err);
}

/* Both locks are ours. */
static void settle_finish(struct bx_settle *s)
{
    struct bx_box *b = s->box;
    struct bx_box_row row = {0};
    struct bx_err err = BX_ERR_INIT;
    bool remove = b->remove;
    int r;

    r = bx_store_box_get(b->rt->store, b->id, &row, &err);
    if (r == -BX_ENOTFOUND) { /* another program removed it */
        b->gone = true;
        settle_end(s, NULL);
        return;
    }
    if (r == 0) {
        remove = remove || (bx_state_active(row.state) && !b->restart_ops.first &&
                            bx_options_remove_on_stop(b->options));
        r = bx_settle_row(b->rt, &row, b->dir_fd, &err);
    }
    bx_wait_check(b); /* before the row goes */
    if (r >= 0 && remove) {
        r = bx_box_delete(b->rt, b->id, &err);
        b->gone = r >= 0;
    }
    bx_box_row_done(&row);
    settle_end(s, r < 0 ? &err : NULL);
}

/* The supervisor hangs: it holds its lock, so its pid is still its own; its name is checked all the same. */
static void kill_shim(struct bx_settle *s)
{
    bx_cleanup_free char *comm = NULL;
    bx_cleanup_close int pidfd = -1;
    char path[64];
    struct bx_box_row row = {0};
    pid_t pid = (pid_t)s->box->info.shim_pid;

    if (pid == 0 && bx_store_box_get(s->box->rt->store, s->box->id, &row, NULL) >= 0)
        pid = row.pid;
    bx_box_row_done(&row);
    if (pid <= 1)
        return;
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    if (pidfd < 0 || bx_read_file(AT_FDCWD, path, 64, &comm, NULL) < 0 ||
        !bx_starts_with(comm, "boxlite-shim"))
        return;
    syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
}

static void settle_on_lock(void *ud, int fd, const struct bx_err *err)
{
    struct bx_settle *s = ud;
    struct bx_box *b = s->box;
    struct bx_err why;

    s->wait = NULL;
    if (fd >= 0) {
        s->lock_fd = fd;
        settle_finish(s);
        return;
    }
    if (!b->down_wanted && !b->restart_ops.first) {
        /* Nobody wants it to end: it has closed the connection of this program, and others use it. */
        bx_fail(&why, BX_ETRANSPORT, 0, "the connection to box %s was closed; the box runs on", b->id);
        settle_end(s, &why);
        return;
    }
    if (!s->killed) {
        s->killed = true;
        kill_shim(s);
        s->wait =
            bx_lock_wait(b->rt, b->dir_fd, "lock", bx_now() + SHIM_END_DEADLINE, settle_on_lock, s, &why);
        if (s->wait)
            return;
    } else {
        why = *err;
    }
    settle_end(s, &why);
}

/* Does another supervisor hold the lock than the one we lost? Then somebody has started the box again since. */
static bool another_run(struct bx_box *b)
{
    struct bx_box_row row = {0};
    bool other = bx_store_box_get(b->rt->store, b->id, &row, NULL) >= 0 && bx_state_active(row.state) &&
                 row.pid != 0 && b->info.shim_pid != 0 && (uint32_t)row.pid != b->info.shim_pid;

    bx_box_row_done(&row);
    return other;
}

static int settle_look(struct bx_settle *s, struct bx_err *err);

static void settle_look_again(void *ud, int fd, const struct bx_err *err)
{
    struct bx_settle *s = ud;
    struct bx_box *b = s->box;
    struct bx_err why = BX_ERR_INIT;

    (void)err;
    s->wait = NULL;
    bx_close(fd);
    if (settle_look(s, &why) < 0)
        bx_box_is_down(b, &why);
}

/* start.lock is ours: nobody starts it. Does it run? */
static int settle_look(struct bx_settle *s, struct bx_err *err)
{
    struct bx_box *b = s->box;
    int fd = bx_lock_try(b->dir_fd, "lock"), r;

    if (fd >= 0) {
        s->lock_fd = fd;
        settle_finish(s);
        return 0;
    }
    if (fd == -ENOENT) { /* its directory is gone */
        settle_finish(s);
        return 0;
    }
    if (fd != -EWOULDBLOCK)
        return bx_fail(err, BX_ESTORAGE, -fd, "lock %s/boxes/%s", b->rt->home, b->id);
    if (s->after_loss && another_run(b)) {
        s->after_loss = false;
        if (!b->remove) { /* ours has ended, and was settled by who started the next */
            settle_end(s, NULL);
            return 0;
        }
    }
    if (s->after_loss) {
        s->wait =
            bx_lock_wait(b->rt, b->dir_fd, "lock", bx_now() + SHIM_END_DEADLINE, settle_on_lock, s, err);
        return s->wait ? 0 : -err->code;
    }
    fd = bx_box_dial(b, err);
    if (fd < 0 && (s->wait = bx_box_look_again(b, &s->looks, settle_look_again, s, err)))
        return 0;
    b->settle = NULL;
    bx_settle_free(s);
    r = fd < 0 ? fd : bx_conn_open(b, fd, false, bx_now() + CONNECT_DEADLINE, err);
    if (r < 0)
        b->phase = BX_PHASE_IDLE;
    return r;
}

static void settle_on_start_lock(void *ud, int fd, const struct bx_err *err)
{
    struct bx_settle *s = ud;
    struct bx_box *b = s->box;
    struct bx_err why = err ? *err : BX_ERR_INIT;

    s->wait = NULL;
    s->start_fd = fd;
    if (fd < 0 || settle_look(s, &why) < 0)
        bx_box_is_down(b, &why);
}

int bx_settle_start(struct bx_box *b, bool after_loss, struct bx_err *err)
{
    struct bx_settle *s;
    int r;

    b->phase = BX_PHASE_ENDING;
    s = calloc(1, sizeof(*s));
    if (!s)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "stop box %s", b->id);
    s->box = b;
    s->start_fd = s->lock_fd = -1;
    s->after_loss = after_loss;
    b->settle = s;
    if (bx_box_dir(b, NULL) < 0) { /* created, never started; or half removed */
        settle_finish(s);
        return 0;
    }
    r = b->restart_fd >= 0 ? b->restart_fd : bx_lock_try(b->dir_fd, "start.lock");
    b->restart_fd = -1;
    if (r >= 0) {
        s->start_fd = r;
        r = settle_look(s, err);
    } else if (r == -EWOULDBLOCK) {
        s->wait = bx_lock_wait(b->rt, b->dir_fd, "start.lock", bx_now() + b->rt->start_timeout_ns,
                               settle_on_start_lock, s, err);
        r = s->wait ? 0 : -err->code;
    } else if (r == -ENOENT) { /* removed since we opened its directory: when it failed, or by another program */
        settle_finish(s);
        return 0;
    } else {
        r = bx_fail(err, BX_ESTORAGE, -r, "lock %s/boxes/%s", b->rt->home, b->id);
    }
    if (r < 0 && b->settle) {
        bx_settle_free(b->settle);
        b->settle = NULL;
    }
    return r;
}
