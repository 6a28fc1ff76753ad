/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.c - helper programs and file locks, without blocking.
 *
 * A lock that somebody else holds is waited for with inotify: when its holder closes the file (or dies) an
 * event comes and the lock is tried again. The kernel reports the close a moment before it lets go of the
 * lock, so after an event the lock is tried once more a little later, with growing pauses, a bounded number
 * of times.
 */
#include "runtime/job.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/members.h"

#define JOB_CHUNK 8192

struct bx_job {
    struct bx_job *next;
    struct CBoxliteRuntime *rt;
    int pidfd;
    int out_fd;
    struct bx_source *out;
    struct bx_buf text;
    size_t seen; /* of text, by progress */
    bx_job_progress_fn *progress;
    bx_job_line_fn *line;
    size_t line_max;
    bx_job_fn *fn;
    void *ud;
};

static void job_unlink(struct bx_job *j)
{
    struct bx_job **p;

    for (p = &j->rt->jobs; *p; p = &(*p)->next)
        if (*p == j) {
            *p = j->next;
            return;
        }
}

static void job_signal(const struct bx_job *j, int signo)
{
    if (j->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, j->pidfd, signo, NULL, 0);
}

static void job_free(struct bx_job *j)
{
    job_unlink(j);
    bx_source_remove(j->out);
    bx_close(j->out_fd);
    bx_close(j->pidfd);
    bx_buf_done(&j->text);
    free(j);
}

void bx_job_on_progress(struct bx_job *j, bx_job_progress_fn *fn)
{
    j->progress = fn;
}

void bx_job_on_line(struct bx_job *j, bx_job_line_fn *fn, size_t line_max)
{
    j->line = fn;
    j->line_max = line_max;
    j->text.max = line_max + JOB_CHUNK;
}

void bx_job_text_max(struct bx_job *j, size_t max)
{
    j->text.max = max;
}

/* Gives the whole lines away. */
static bool job_lines(struct bx_job *j)
{
    uint8_t *text, *end;
    bool goes_on = true;

    while (goes_on && bx_buf_len(&j->text) > 0) {
        text = j->text.data + j->text.start;
        end = memchr(text, '\n', bx_buf_len(&j->text));
        if (!end)
            return bx_buf_len(&j->text) <= j->line_max;
        *end = '\0';
        goes_on = (size_t)(end - text) <= j->line_max && j->line(j->ud, (char *)text);
        bx_buf_consume(&j->text, (size_t)(end - text) + 1);
    }
    return goes_on;
}

/* Looks at the lines that are whole and new. */
static void job_progress(struct bx_job *j)
{
    const char *text = (const char *)bx_buf_data(&j->text), *end;
    uint64_t done, total;
    char line[64], *rest;
    size_t len;

    while (j->progress && (end = memchr(text + j->seen, '\n', bx_buf_len(&j->text) - j->seen))) {
        len = BX_MIN((size_t)(end - text) - j->seen, sizeof(line) - 1);
        memcpy(line, text + j->seen, len);
        line[len] = '\0';
        rest = line;
        j->seen = (size_t)(end - text) + 1;
        if (bx_streq(bx_word(&rest), "progress") && bx_parse_u64(bx_word(&rest), 0, UINT64_MAX, &done) == 0 &&
            bx_parse_u64(rest, 0, UINT64_MAX, &total) == 0)
            j->progress(j->ud, done, total);
    }
}

int bx_job_unpack_result(const char *text, size_t len, struct bx_err *err)
{
    char line[BX_ERR_MSG_MAX + 32], msg[BX_ERR_MSG_MAX], *rest = line;
    size_t start = len > 0 ? len - 1 : 0; /* before the last end of line */
    uint64_t code = 0;
    const char *kind;

    while (start > 0 && text[start - 1] != '\n')
        start--;
    snprintf(line, sizeof(line), "%.*s", (int)BX_MIN(len - start, sizeof(line) - 1),
             len > 0 ? text + start : "");
    line[strcspn(line, "\n")] = '\0';
    kind = bx_word(&rest);
    if (bx_streq(kind, "ok"))
        return 0;
    if (bx_streq(kind, "error") && bx_parse_u64(bx_word(&rest), 1, BX_ECODE_MAX - 1, &code) == 0) {
        bx_str_printable(msg, sizeof(msg), rest, strlen(rest));
        return bx_fail(err, (enum bx_code)code, 0, "%s", msg[0] ? msg : "boxlite-unpack failed and gave no reason");
    }
    return bx_fail(err, BX_EIMAGE, 0, "boxlite-unpack ended without a word: it crashed, or was killed");
}

static void job_on_out(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct bx_job *j = ud;
    char chunk[JOB_CHUNK];
    ssize_t n;

    (void)events;
    n = read(fd, chunk, sizeof(chunk));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        (void)bx_buf_add(&j->text, chunk, (size_t)n); /* what is beyond the maximum is of no use */
        if (!j->line) {
            job_progress(j);
            return;
        }
        if (job_lines(j))
            return;
        job_signal(j, SIGKILL);
        bx_buf_clear(&j->text);
    }
    (void)s;
    job_unlink(j);
    j->fn(j->ud, (const char *)bx_buf_data(&j->text), bx_buf_len(&j->text));
    job_free(j);
}

struct bx_job *bx_job_start(struct CBoxliteRuntime *rt, const struct bx_spawn *s, int answer_fd,
                            bx_job_fn *fn, void *ud, struct bx_err *err)
{
    struct bx_spawn_fd fds[BX_SPAWN_FDS_MAX];
    struct bx_spawn spawn = *s;
    bx_cleanup_close int write_end = -1;
    int pipe_fds[2];
    struct bx_job *j = calloc(1, sizeof(*j));

    if (!j || s->n_fds + 1 > BX_SPAWN_FDS_MAX || pipe2(pipe_fds, O_CLOEXEC) < 0) {
        bx_fail(err, BX_ERESOURCE, errno, "start %s", s->argv[0]);
        free(j);
        return NULL;
    }
    j->rt = rt;
    j->fn = fn;
    j->ud = ud;
    j->out_fd = pipe_fds[0];
    write_end = pipe_fds[1];
    bx_buf_init(&j->text, BX_JOB_TEXT_MAX);
    bx_fd_nonblock(j->out_fd, true);
    if (s->n_fds > 0)
        memcpy(fds, s->fds, s->n_fds * sizeof(fds[0]));
    fds[spawn.n_fds++] = (struct bx_spawn_fd){write_end, answer_fd};
    spawn.fds = fds;
    spawn.orphan = true;
    j->next = rt->jobs;
    rt->jobs = j;
    j->pidfd = bx_spawn(&spawn, NULL, err);
    if (j->pidfd >= 0) {
        j->out = bx_loop_add_fd(rt->loop, j->out_fd, BX_READ, job_on_out, j);
        if (j->out)
            return j;
        bx_fail(err, BX_ERESOURCE, errno, "watch %s", s->argv[0]);
    }
    bx_job_kill(j);
    return NULL;
}

struct bx_job *bx_job_kill(struct bx_job *j)
{
    if (!j)
        return NULL;
    job_signal(j, SIGKILL);
    job_free(j);
    return NULL;
}

struct bx_job *bx_job_terminate(struct bx_job *j)
{
    if (!j)
        return NULL;
    job_signal(j, SIGTERM);
    job_free(j);
    return NULL;
}

struct bx_job *bx_job_leave(struct bx_job *j)
{
    if (j)
        job_free(j);
    return NULL;
}

void bx_jobs_end(struct CBoxliteRuntime *rt)
{
    while (rt->jobs)
        bx_job_kill(rt->jobs);
}

/* ---- locks ---- */

static const int64_t retry_pauses[] = {1 * BX_MSEC, 5 * BX_MSEC, 20 * BX_MSEC, 100 * BX_MSEC};

struct bx_lock_wait {
    struct CBoxliteRuntime *rt;
    int dirfd, fd;
    int inotify_fd;
    struct bx_source *watch, *first, *retry, *deadline;
    unsigned retries;
    char name[96];
    bx_lock_fn *fn;
    void *ud;
};

/* Who removes what a lock is for may remove the lock's file too, while he holds it: whoever had it open then has a lock
 * of nothing, and begins anew. */
static bool lock_is_current(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

int bx_lock_try(int dirfd, const char *name)
{
    int fd = -1, saved;

    do {
        bx_close(fd);
        fd = openat(dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
            return -errno;
        saved = flock(fd, LOCK_EX | LOCK_NB) < 0 ? errno : 0;
    } while (!saved && !lock_is_current(fd));
    if (!saved)
        return fd;
    bx_close(fd);
    return -saved;
}

static void lock_answer(struct bx_lock_wait *w, int fd, const struct bx_err *err)
{
    bx_lock_fn *fn = w->fn;
    void *ud = w->ud;

    bx_lock_wait_free(w);
    fn(ud, fd, err);
}

static void lock_on_close(struct bx_source *s, int fd, uint32_t events, void *ud);

/* Only for a lock that is held: to close an inotify descriptor takes the kernel 10 to 20 ms. */
static int lock_watch(struct bx_lock_wait *w)
{
    char path[32];

    w->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (w->inotify_fd < 0)
        return -errno;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", w->fd);
    if (inotify_add_watch(w->inotify_fd, path, IN_CLOSE) < 0)
        return -errno;
    w->watch = bx_loop_add_fd(w->rt->loop, w->inotify_fd, BX_READ, lock_on_close, w);
    return w->watch ? 0 : -errno;
}

/* Was the file of the lock that is ours now removed? Then on to the one that has its name. Not when its directory was
 * removed with it: then there is no other, and whoever waited finds out what happened. */
static bool lock_anew(struct bx_lock_wait *w)
{
    int fd;

    if (lock_is_current(w->fd))
        return false;
    fd = openat(w->dirfd, w->name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return false;
    w->watch = bx_source_remove(w->watch);
    w->inotify_fd = bx_close(w->inotify_fd);
    bx_close(w->fd);
    w->fd = fd;
    bx_defer_set(w->first);
    return true;
}

static void lock_attempt(struct bx_lock_wait *w)
{
    struct bx_err err = BX_ERR_INIT;
    int r;

    if (flock(w->fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK && w->inotify_fd < 0) {
        r = lock_watch(w);
        if (r < 0) {
            bx_fail(&err, BX_ESTORAGE, -r, "watch lock %s", w->name);
            lock_answer(w, -1, &err);
            return;
        }
    }
    /* Once more: it may have been given up before it was watched. */
    if (flock(w->fd, LOCK_EX | LOCK_NB) == 0) {
        if (!lock_anew(w))
            lock_answer(w, BX_TAKE_FD(w->fd), NULL);
    } else if (errno != EWOULDBLOCK && errno != EINTR) {
        bx_fail(&err, BX_ESTORAGE, errno, "lock %s", w->name);
        lock_answer(w, -1, &err);
    } else if (w->retries < BX_ARRAY_SIZE(retry_pauses)) {
        bx_timer_after(w->retry, retry_pauses[w->retries++]);
    }
}

static void lock_on_first(struct bx_source *s, void *ud)
{
    (void)s;
    lock_attempt(ud);
}

static void lock_on_close(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct bx_lock_wait *w = ud;
    char buf[4096];

    (void)s, (void)events;
    while (read(fd, buf, sizeof(buf)) > 0)
        ;
    w->retries = 0;
    lock_attempt(w);
}

static void lock_on_late(struct bx_source *s, void *ud)
{
    struct bx_lock_wait *w = ud;
    struct bx_err err = BX_ERR_INIT;

    (void)s;
    bx_fail(&err, BX_ESTORAGE, 0, "%s: another program held the lock for too long", w->name);
    lock_answer(w, -1, &err);
}

/* Names the lock as a person finds it. */
static void fail_at(struct bx_err *err, int why, int dirfd, const char *name)
{
    char link[64], dir[PATH_MAX] = "?";
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", dirfd);
    n = readlink(link, dir, sizeof(dir) - 1);
    if (n > 0)
        dir[n] = '\0';
    bx_fail(err, BX_ESTORAGE, why, "lock %s/%s", dir, name);
}

struct bx_lock_wait *bx_lock_wait(struct CBoxliteRuntime *rt, int dirfd, const char *name, int64_t deadline,
                                  bx_lock_fn *fn, void *ud, struct bx_err *err)
{
    struct bx_lock_wait *w = calloc(1, sizeof(*w));

    if (!w) {
        bx_fail(err, BX_ERESOURCE, ENOMEM, "lock %s", name);
        return NULL;
    }
    w->rt = rt;
    w->fn = fn;
    w->ud = ud;
    snprintf(w->name, sizeof(w->name), "%s", name);
    w->inotify_fd = -1;
    w->dirfd = dirfd;
    w->fd = openat(dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (w->fd < 0)
        goto fail;
    w->first = bx_loop_add_defer(rt->loop, lock_on_first, w);
    w->retry = bx_loop_add_timer(rt->loop, lock_on_first, w);
    w->deadline = bx_loop_add_timer(rt->loop, lock_on_late, w);
    if (!w->first || !w->retry || !w->deadline)
        goto fail;
    bx_defer_set(w->first);
    if (deadline)
        bx_timer_set(w->deadline, deadline);
    return w;
fail:
    fail_at(err, errno, dirfd, name);
    bx_lock_wait_free(w);
    return NULL;
}

struct bx_lock_wait *bx_lock_wait_free(struct bx_lock_wait *w)
{
    if (!w)
        return NULL;
    bx_source_remove(w->watch);
    bx_source_remove(w->first);
    bx_source_remove(w->retry);
    bx_source_remove(w->deadline);
    bx_close(w->fd);
    bx_close(w->inotify_fd);
    free(w);
    return NULL;
}
