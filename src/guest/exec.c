/* SPDX-License-Identifier: Apache-2.0 */
/* exec.c - the table of execs, their streams, their lives. exec.h tells the theory; requests.c reads the
 * messages. */
#include "guest/exec.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

static void maybe_free(struct bx_exec *x);
static void finish(struct bx_exec *x);

void bx_execs_init(struct bx_execs *xs, struct bx_loop *loop, struct bx_link *link,
                   struct bx_cgroups *cgroups)
{
    *xs = (struct bx_execs){.loop = loop, .link = link, .cgroups = cgroups, .kept_max = 64 * 1024 * 1024};
}

void bx_execs_told(struct bx_execs *xs, int r)
{
    if (r < 0)
        xs->link_failed = true;
}

static void send_msg(struct bx_execs *xs, uint16_t type, uint32_t stream, const void *msg)
{
    bx_execs_told(xs, bx_msg_send(xs->link, type, stream, msg, NULL));
}

void bx_execs_send_error(struct bx_execs *xs, uint32_t stream, uint32_t request, const struct bx_err *why)
{
    bx_execs_told(xs, bx_msg_send_error(xs->link, stream, request, why));
}

/* --- streams --- */

struct bx_attach *bx_attach_find(struct bx_execs *xs, uint32_t stream)
{
    struct bx_attach *a = xs->buckets[stream % BX_STREAM_BUCKETS];

    while (a && a->stream != stream)
        a = a->chain;
    return a;
}

int bx_attach_new(struct bx_exec *x, uint32_t stream, bool opener, struct bx_attach **ret, struct bx_err *err)
{
    struct bx_execs *xs = x->all;
    struct bx_attach **bucket = &xs->buckets[stream % BX_STREAM_BUCKETS];
    struct bx_attach *a;

    if (xs->streams >= BX_STREAMS_MAX)
        return bx_fail(err, BX_ERESOURCE, 0, "more than %d streams", BX_STREAMS_MAX);
    a = calloc(1, sizeof(*a));
    if (!a)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "open a stream");
    a->exec = x;
    a->stream = stream;
    a->opener = opener;
    a->chain = *bucket;
    *bucket = a;
    a->next = x->attaches;
    x->attaches = a;
    xs->streams++;
    *ret = a;
    return 0;
}

static void attach_free(struct bx_attach *a)
{
    struct bx_exec *x = a->exec;
    struct bx_execs *xs = x->all;
    struct bx_attach **p = &xs->buckets[a->stream % BX_STREAM_BUCKETS];

    while (*p != a)
        p = &(*p)->chain;
    *p = a->chain;
    for (p = &x->attaches; *p != a; p = &(*p)->next)
        ;
    *p = a->next;
    xs->streams--;
    for (int i = 0; i < 2; i++) {
        if (x->out[i].claimer == a)
            bx_out_unclaim(&x->out[i]);
    }
    if (x->in.owner == a) {
        x->in.owner = NULL;
        x->in.foreign = bx_buf_len(&x->in.pending);
    }
    free(a);
}

/* The stream has ended for its client; what that means for the exec. May free the exec. */
void bx_attach_close(struct bx_attach *a)
{
    struct bx_exec *x = a->exec;
    bool kills = a->opener && !x->detached && !x->main && x->state < BX_EXEC_DRAINING;

    attach_free(a);
    if (kills) {
        x->killed = true;
        bx_exec_kill(x);
    }
    maybe_free(x);
}

/* An error of a stream, after which it does not exist any more. */
void bx_attach_refuse(struct bx_attach *a, const struct bx_err *why)
{
    bx_execs_send_error(a->exec->all, a->stream, 0, why);
    bx_attach_close(a);
}

/* --- the table --- */

struct bx_exec *bx_exec_find(struct bx_execs *xs, const char *id)
{
    for (struct bx_exec *x = *id ? xs->first : NULL; x; x = x->next) { /* those without an id are nobody else's */
        /* Hidden ones (see maybe_free) count as gone. */
        if (strcmp(x->id, id) == 0 && x->state != BX_EXEC_FAILED && (x->attaches || x->detached || x->main))
            return x;
    }
    return NULL;
}

static struct bx_exec *exec_new(struct bx_execs *xs)
{
    struct bx_exec *x = calloc(1, sizeof(*x));

    if (!x)
        return NULL;
    x->all = xs;
    x->pidfd = -1;
    bx_in_init(&x->in);
    for (unsigned i = 0; i < 2; i++)
        bx_out_init(&x->out[i], x, BX_LANE_STDOUT + i);
    x->prev = xs->last;
    if (xs->last)
        xs->last->next = x;
    else
        xs->first = x;
    xs->last = x;
    xs->count++;
    xs->active++;
    return x;
}

static void exec_free(struct bx_exec *x)
{
    struct bx_execs *xs = x->all;

    while (x->attaches)
        attach_free(x->attaches);
    if (x->state != BX_EXEC_EXITED)
        xs->active--;
    x->exit_source = bx_source_remove(x->exit_source);
    x->report_source = bx_source_remove(x->report_source);
    x->deadline = bx_source_remove(x->deadline);
    x->drain = bx_source_remove(x->drain);
    x->pidfd = bx_close(x->pidfd);
    bx_in_done(&x->in);
    for (int i = 0; i < 2; i++)
        bx_out_done(&x->out[i]);
    bx_launch_free(x->launch);
    bx_cgroup_put(xs->cgroups, x->cgroup);
    if (x->prev)
        x->prev->next = x->next;
    else
        xs->first = x->next;
    if (x->next)
        x->next->prev = x->prev;
    else
        xs->last = x->prev;
    xs->count--;
    free(x);
}

void bx_execs_done(struct bx_execs *xs)
{
    while (xs->first)
        exec_free(xs->first);
}

static bool survivors_write(const struct bx_exec *x)
{
    return x->out[0].fd >= 0 || x->out[1].fd >= 0;
}

/* Ended, and nobody's any more: gone at once, unless it is kept for later or survivors still write into its
 * pipes. */
static void maybe_free(struct bx_exec *x)
{
    if (x->state != BX_EXEC_EXITED || x->attaches || x->detached || x->main || survivors_write(x) ||
        (x->deadline && bx_timer_armed(x->deadline)))
        return;
    exec_free(x);
}

/*
 * Makes room: finished detached execs beyond their number or the budget of kept output go, oldest first; when
 * the table is full, also hidden ones (their survivors will find their pipes closed).
 */
static void evict(struct bx_execs *xs)
{
    unsigned finished = 0;
    struct bx_exec *next;

    for (struct bx_exec *x = xs->first; x; x = x->next)
        finished += x->state == BX_EXEC_EXITED && x->detached && !x->main && !x->attaches;
    for (struct bx_exec *x = xs->first; x; x = next) {
        bool idle = x->state == BX_EXEC_EXITED && !x->main && !x->attaches;

        next = x->next;
        if (!idle)
            continue;
        if (x->detached ? finished > BX_FINISHED_MAX || xs->kept > xs->kept_max : xs->count >= BX_EXECS_MAX) {
            finished -= x->detached;
            exec_free(x);
        }
    }
}

/* --- ending --- */

int bx_exec_kill(struct bx_exec *x)
{
    struct sched_param first = {.sched_priority = 1};
    bool alive = x->pidfd >= 0 && x->state < BX_EXEC_DRAINING;
    int r = 0;

    if (alive)
        r = syscall(SYS_pidfd_send_signal, x->pidfd, SIGKILL, NULL, 0) < 0 ? -errno : 0;
    if (x->cgroup && bx_cgroup_kill(x->cgroup) < 0 && r == 0)
        r = -EIO;
    /* Dying takes processor time. The one whose end is waited for need not queue behind thousands of its
     * tree. */
    if (alive)
        sched_setscheduler(x->pid, SCHED_FIFO, &first);
    return r;
}

static const char *exit_text(const struct bx_exec *x)
{
    if (x->timed_out)
        return "Killed: the time limit of the command is up";
    if (x->oom)
        return x->signo == SIGKILL ? "Killed: out of memory; give the box more (memory_mib)"
                                   : "a process of the command was killed: out of memory";
    return "";
}

static void send_exit(struct bx_exec *x, struct bx_attach *a)
{
    boxlite_Exit msg = {
        .code = x->code,
        .signal = (uint32_t)x->signo,
        .oom = x->oom,
        .timed_out = x->timed_out,
        .killed = x->killed,
        .usage =
            {
                .user_us = (uint64_t)x->usage.ru_utime.tv_sec * 1000000 + (uint64_t)x->usage.ru_utime.tv_usec,
                .system_us =
                    (uint64_t)x->usage.ru_stime.tv_sec * 1000000 + (uint64_t)x->usage.ru_stime.tv_usec,
                .max_rss_bytes = (uint64_t)x->usage.ru_maxrss * 1024,
                .wall_us = (uint64_t)(x->ended_ns - x->started_ns) / 1000,
            },
    };

    snprintf(msg.message, sizeof(msg.message), "%s", exit_text(x));
    a->exit_sent = true;
    bx_execs_told(x->all, bx_msg_send_ordered(x->all->link, BX_MSG_EXIT, a->stream, &msg, NULL));
}

void bx_exec_try_exit(struct bx_exec *x)
{
    if (x->state != BX_EXEC_EXITED)
        return;
    for (struct bx_attach *a = x->attaches; a; a = a->next) {
        bool waits = false;

        for (int i = 0; i < 2; i++)
            waits = waits || (x->out[i].claimer == a && !x->out[i].eof_sent);
        if (!waits && !a->exit_sent)
            send_exit(x, a);
    }
}

void bx_exec_lane_ended(struct bx_exec *x)
{
    if (x->held)
        return;
    if (x->state == BX_EXEC_DRAINING && !survivors_write(x))
        finish(x);
    else
        maybe_free(x);
}

/* The pipes are empty, or have had their time. */
static void finish(struct bx_exec *x)
{
    struct bx_execs *xs = x->all;

    x->drain = bx_source_remove(x->drain);
    x->state = BX_EXEC_EXITED;
    xs->active--;
    if (!bx_cgroup_populated(x->cgroup)) /* no survivors: others may have it */
        x->cgroup = bx_cgroup_put(xs->cgroups, x->cgroup);
    for (int i = 0; i < 2; i++)
        bx_out_rest(&x->out[i]);
    bx_exec_try_exit(x);
    if (x->detached)
        evict(xs);
    else
        maybe_free(x);
    if (xs->ended)
        xs->ended(xs, xs->ud);
}

static void drain_over(struct bx_source *s, void *ud)
{
    (void)s;
    finish(ud);
}

/* Takes the status. The process has ended: a zombie of ours, or nothing if the kernel has lost it. */
static void reap(struct bx_exec *x)
{
    siginfo_t si = {0};

    x->exit_source = bx_source_remove(x->exit_source);
    if (syscall(SYS_waitid, P_PIDFD, x->pidfd, &si, WEXITED | WNOHANG | __WALL, &x->usage) < 0)
        si.si_code = CLD_KILLED, si.si_status = SIGKILL;
    x->signo = si.si_code == CLD_EXITED ? 0 : si.si_status;
    x->code = si.si_code == CLD_EXITED ? si.si_status : 128 + si.si_status;
    x->ended_ns = bx_now();
    x->oom = x->cgroup && bx_cgroup_oom_kills(x->cgroup) > 0;
    x->pidfd = bx_close(x->pidfd);
}

static void ended(struct bx_exec *x)
{
    reap(x);
    x->state = BX_EXEC_DRAINING;
    if (!x->timed_out)
        x->deadline = bx_source_remove(x->deadline);
    bx_in_done(&x->in);
    /* Lanes that end now do not finish (and free) the exec under our feet. */
    x->held = true;
    for (int i = 0; i < 2; i++)
        bx_out_drain(&x->out[i]);
    x->held = false;
    x->drain = survivors_write(x) ? bx_loop_add_timer(x->all->loop, drain_over, x) : NULL;
    if (x->drain)
        bx_timer_after(x->drain, BX_DRAIN_NS);
    else
        finish(x);
}

/* --- starting --- */

static void deadline_over(struct bx_source *s, void *ud)
{
    struct bx_exec *x = ud;

    if (!x->timed_out) {
        x->timed_out = true;
        bx_cgroup_signal(x->cgroup, SIGTERM);
        if (x->pidfd >= 0)
            syscall(SYS_pidfd_send_signal, x->pidfd, SIGTERM, NULL, 0);
        bx_timer_after(s, BX_TERM_GRACE_NS);
        return;
    }
    bx_exec_kill(x);
    maybe_free(x);
}

static void start_deadline(struct bx_exec *x, uint64_t timeout_ms)
{
    if (timeout_ms == 0 || x->killed)
        return;
    x->deadline = bx_loop_add_timer(x->all->loop, deadline_over, x);
    if (x->deadline)
        bx_timer_after(x->deadline, (int64_t)BX_MIN(timeout_ms, (uint64_t)INT32_MAX) * BX_MSEC);
}

void bx_exec_send_started(struct bx_exec *x, uint32_t stream)
{
    boxlite_Started msg = {.pid = (uint32_t)x->inner_pid};

    memcpy(msg.exec_id, x->id, sizeof(msg.exec_id));
    send_msg(x->all, BX_MSG_STARTED, stream, &msg);
}

static void started(struct bx_exec *x)
{
    struct bx_launch *ln = x->launch;

    x->state = BX_EXEC_RUNNING;
    x->inner_pid = ln->spawn.pid;
    for (struct bx_attach *a = x->attaches; a; a = a->next)
        bx_exec_send_started(x, a->stream);
    start_deadline(x, ln->msg.pb.timeout_ms);
    if (!ln->msg.pb.stdin)
        bx_in_eof(x);
    x->launch = bx_launch_free(ln);
    for (int i = 0; i < 2; i++)
        bx_out_pump(&x->out[i]);
}

/* The child has said what came of it: 0 when it runs, -EAGAIN when it has not, else it could not be run. */
static int launch_over(struct bx_exec *x)
{
    struct bx_err why;
    int r = bx_spawn_result(&x->launch->spawn, x->launch->argv[0], &why);

    if (r == -EAGAIN)
        return r;
    x->report_source = bx_source_remove(x->report_source);
    if (r == 0) {
        started(x);
        return 0;
    }
    x->launch = bx_launch_free(x->launch);
    x->state = BX_EXEC_FAILED;
    while (x->attaches) {
        bx_execs_send_error(x->all, x->attaches->stream, 0, &why);
        attach_free(x->attaches);
    }
    return r;
}

static void on_report(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    (void)s;
    (void)fd;
    (void)events;
    launch_over(ud);
}

static void on_exit_event(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct bx_exec *x = ud;
    struct bx_execs *xs = x->all;

    (void)s;
    (void)fd;
    (void)events;
    if (x->state == BX_EXEC_STARTING)
        launch_over(x);
    if (x->state == BX_EXEC_FAILED) {
        reap(x);
        exec_free(x);
        if (xs->ended)
            xs->ended(xs, xs->ud);
        return;
    }
    ended(x);
}

static int watch(struct bx_exec *x)
{
    x->report_source = bx_loop_add_fd(x->all->loop, x->launch->spawn.report, BX_READ, on_report, x);
    x->exit_source = bx_loop_add_fd(x->all->loop, x->pidfd, BX_READ, on_exit_event, x);
    return x->report_source && x->exit_source ? 0 : -errno;
}

static int make_room(struct bx_execs *xs, struct bx_err *err)
{
    if (xs->count >= BX_EXECS_MAX)
        evict(xs);
    if (xs->count >= BX_EXECS_MAX)
        return bx_fail(err, BX_ERESOURCE, 0, "more than %d commands at a time", BX_EXECS_MAX);
    return 0;
}

static int admit(struct bx_execs *xs, const boxlite_Exec *pb, struct bx_err *err)
{
    if (pb->exec_id[0] == '\0')
        return bx_fail(err, BX_EINVALID, 0, "an exec without an id");
    if (bx_exec_find(xs, pb->exec_id))
        return bx_fail(err, BX_EEXISTS, 0, "exec %s exists already", pb->exec_id);
    return make_room(xs, err);
}

/* Undoes an exec whose process never came to be, or can be forgotten for having been killed. */
static int exec_abort(struct bx_exec *x, int r)
{
    if (x->pidfd >= 0) {
        siginfo_t si;

        /* Only for want of memory: wait, the child still uses ours. It cannot refuse to die. */
        bx_exec_kill(x);
        syscall(SYS_waitid, P_PIDFD, x->pidfd, &si, WEXITED | __WALL, NULL);
    }
    exec_free(x);
    return r;
}

int bx_exec_open(struct bx_execs *xs, uint32_t stream, const uint8_t *payload, size_t len, struct bx_err *err)
{
    struct bx_launch *ln = NULL;
    struct bx_attach *a = NULL;
    struct bx_exec *x;
    int r;

    if (!xs->box)
        return bx_fail(err, BX_ESTOPPED, 0, "the box is not running");
    r = bx_launch_new(xs, payload, len, &ln, err);
    if (r < 0)
        return r;
    r = admit(xs, &ln->msg.pb, err);
    x = r < 0 ? NULL : exec_new(xs);
    if (!x) {
        bx_launch_free(ln);
        return r < 0 ? r : bx_fail(err, BX_ERESOURCE, ENOMEM, "start a command");
    }
    x->launch = ln;
    memcpy(x->id, ln->msg.pb.exec_id, sizeof(x->id));
    x->main = ln->msg.pb.main;
    x->detached = ln->msg.pb.detached;
    x->tty = ln->msg.pb.tty;
    r = bx_attach_new(x, stream, true, &a, err);
    if (r >= 0)
        r = bx_launch_go(x, ln, err);
    if (r >= 0 && watch(x) < 0)
        r = bx_fail(err, BX_ERESOURCE, errno, "spawn_failed: watch the process");
    if (r < 0)
        return exec_abort(x, r);
    x->started_ns = bx_now();
    if (ln->msg.pb.stdin)
        x->in.owner = a;
    for (unsigned i = 0; i < 2; i++) {
        if (ln->msg.pb.claim & (2u << i))
            bx_out_claim(&x->out[i], a);
    }
    return 0;
}

int bx_exec_open_own(struct bx_execs *xs, uint32_t stream, bx_exec_own_fn *start, void *ud, struct bx_err *err)
{
    struct bx_attach *a = NULL;
    struct bx_exec *x;
    int r;

    if (!xs->box)
        return bx_fail(err, BX_ESTOPPED, 0, "the box is not running");
    r = make_room(xs, err);
    x = r < 0 ? NULL : exec_new(xs);
    if (!x)
        return r < 0 ? r : bx_fail(err, BX_ERESOURCE, ENOMEM, "start a process");
    r = bx_attach_new(x, stream, true, &a, err);
    if (r >= 0)
        r = start(x, ud, err);
    if (r >= 0) {
        x->exit_source = bx_loop_add_fd(xs->loop, x->pidfd, BX_READ, on_exit_event, x);
        if (!x->exit_source)
            r = bx_fail(err, BX_ERESOURCE, errno, "watch a process");
    }
    if (r < 0)
        return exec_abort(x, r);
    x->started_ns = bx_now();
    x->state = BX_EXEC_RUNNING;
    x->in.owner = a;
    bx_exec_send_started(x, stream);
    bx_out_claim(&x->out[0], a);
    return 0;
}

void bx_execs_resume(struct bx_execs *xs)
{
    struct bx_out *last = xs->last_waiting, *o;

    /* Once through those that wait now; who finds no room again has joined behind them. */
    do {
        o = xs->first_waiting;
        if (!o)
            break;
        bx_out_forget_wait(o);
        bx_out_pump(o);
    } while (o != last);
}

void bx_execs_drop_streams(struct bx_execs *xs)
{
    for (unsigned i = 0; i < BX_STREAM_BUCKETS; i++) {
        while (xs->buckets[i])
            bx_attach_close(xs->buckets[i]);
    }
    xs->link_failed = false;
}

void bx_execs_terminate(struct bx_execs *xs, int signo)
{
    for (struct bx_exec *x = xs->first; x; x = x->next) {
        if (!x->cgroup)
            continue;
        bx_cgroup_signal(x->cgroup, SIGTERM);
        if (x->main && signo && signo != SIGTERM && x->pidfd >= 0)
            syscall(SYS_pidfd_send_signal, x->pidfd, signo, NULL, 0);
    }
    bx_cgroups_signal(xs->cgroups, SIGTERM);
}

void bx_execs_mark_killed(struct bx_execs *xs)
{
    for (struct bx_exec *x = xs->first; x; x = x->next) {
        if (x->state < BX_EXEC_DRAINING)
            x->killed = true;
    }
}
