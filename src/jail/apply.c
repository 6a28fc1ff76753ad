/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply.c - the parent's half of the interpreter: prepares, clones, listens, falls back.
 *
 * Theory of operation
 *
 *  Everything that allocates happens here, before clone; the child (child.c) only makes system calls. clone(2) is what
 *  always works: some containers' filters answer clone3 with ENOSYS because they cannot look into its argument; it is used for what only it
 *  can do. There is no exit signal: the embedding program's SIGCHLD handler and wait() never see our children.
 *
 *  Attempts, until one gets past its namespaces:
 *    1. as planned: as root without a user namespace and with a uid of its own, otherwise inside one;
 *    2. without any namespace: Landlock instead of a private root.
 *  Only a failure of the namespaces themselves leads from one to the next, and only when the plan does not require them.
 */
#include "jail/apply.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "jail/internal.h"
#include "jail/landlock.h"

#define SETUP_TIMEOUT_MS 10000 /* of the child's set-up; it takes 2 */

struct attempt {
    const struct bx_jail_plan *plan;
    unsigned layers;
    int report_fd;   /* our end */
    int liveness_fd; /* our end, or -1 */
    pid_t pid;
    int pidfd;
};

static void attempt_done(struct attempt *a)
{
    bx_close(a->report_fd);
    bx_close(a->liveness_fd);
    bx_close(a->pidfd);
}

static int reap(int pidfd)
{
    siginfo_t si = { 0 };
    int r;

    do
        r = waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED | __WALL);
    while (r && errno == EINTR);
    if (r)
        return -errno;
    return si.si_code == CLD_EXITED ? si.si_status : 128 + si.si_status;
}

static void kill_and_reap(int pidfd)
{
    (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    (void)reap(pidfd);
}

static unsigned long clone_flags(unsigned layers)
{
    static const struct {
        unsigned layer;
        unsigned long flag;
    } map[] = {
        { BX_JAIL_USER_NS, CLONE_NEWUSER }, { BX_JAIL_PID_NS, CLONE_NEWPID }, { BX_JAIL_ROOT, CLONE_NEWNS },
        { BX_JAIL_NET_NS, CLONE_NEWNET },   { BX_JAIL_IPC_NS, CLONE_NEWIPC }, { BX_JAIL_UTS_NS, CLONE_NEWUTS },
    };
    unsigned long flags = CLONE_PIDFD;

    for (size_t i = 0; i < BX_ARRAY_SIZE(map); i++) {
        if (layers & map[i].layer)
            flags |= map[i].flag;
    }
    return flags;
}

/* clone3 right into a v2 control group: free, where joining later costs an RCU grace period. -1 with errno. */
static long clone_into(struct bx_jail_job *job, int *ret_pidfd)
{
    const struct bx_cgroup *cg = job->plan->cgroup;
    struct clone_args args = { .flags = clone_flags(job->layers) | CLONE_INTO_CGROUP };
    bx_cleanup_close int dir = open(cg->dirs[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    long pid;

    if (dir < 0)
        return -1;
    args.cgroup = (uint64_t)dir;
    args.pidfd = (uint64_t)(uintptr_t)ret_pidfd;
    job->in_cgroup = true;
    pid = syscall(SYS_clone3, &args, sizeof(args));
    if (pid < 0)
        job->in_cgroup = false;
    return pid;
}

/* Our handlers must not run in the child: it starts with all signals blocked. */
static long clone_child(struct bx_jail_job *job, int *ret_pidfd)
{
    const struct bx_cgroup *cg = (job->layers & BX_JAIL_CGROUP) ? job->plan->cgroup : NULL;
    sigset_t all;
    sigset_t old;
    long pid = -1;
    int e;

    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    if (cg && cg->version == 2)
        pid = clone_into(job, ret_pidfd);
    if (pid < 0)
        pid = syscall(SYS_clone, clone_flags(job->layers), NULL, ret_pidfd, NULL, NULL);
    e = errno;
    if (pid == 0)
        bx_jail_child_main(job);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    errno = e;
    return pid;
}

/* Receives one note with its sender's pid. 1, 0 at the end, or -errno. */
static int receive_note(int fd, struct bx_jail_note *ret, pid_t *ret_pid)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct iovec iov = { .iov_base = ret, .iov_len = sizeof(*ret) };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
    struct pollfd pfd = { .fd = fd, .events = POLLIN };
    int64_t deadline = bx_now() + SETUP_TIMEOUT_MS * BX_MSEC;
    ssize_t n;
    int r;

    do
        r = poll(&pfd, 1, (int)BX_MAX((deadline - bx_now()) / BX_MSEC, 0));
    while (r < 0 && errno == EINTR);
    if (r <= 0)
        return r ? -errno : -ETIMEDOUT;
    n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
    if (n < 0)
        return errno == ECONNRESET ? 0 : -errno;
    if (n == 0)
        return 0;
    if (n != (ssize_t)sizeof(*ret))
        return -EPROTO;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        struct ucred cred;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS || c->cmsg_len < CMSG_LEN(sizeof(cred)))
            continue;
        memcpy(&cred, CMSG_DATA(c), sizeof(cred));
        *ret_pid = cred.pid;
    }
    return 1;
}

/* Listens until exec has happened. 0, or an error; *ret_step says what kind. */
static int listen_to_child(struct attempt *a, struct bx_jail_child *ret, enum bx_jail_step *ret_step,
                           struct bx_err *err)
{
    struct bx_jail_note note = { 0 };
    bool ready = false;
    pid_t pid = -1;
    int r;

    *ret_step = BX_STEP_OTHER;
    while ((r = receive_note(a->report_fd, &note, &pid)) > 0) {
        note.what[sizeof(note.what) - 1] = '\0';
        if (note.word == BX_JAIL_FAILED) {
            *ret_step = note.step == BX_STEP_NAMESPACE ? BX_STEP_NAMESPACE : BX_STEP_OTHER;
            return bx_fail(err, BX_EINTERNAL, note.sys_errno, "jail %s: %s", a->plan->name, note.what);
        }
        ready = true;
        ret->target = pid;
        ret->report.applied = note.applied;
        memcpy(ret->report.why, note.why, sizeof(ret->report.why));
    }
    if (r < 0)
        return bx_fail(err, BX_EINTERNAL, -r, "jail %s: no word from the child", a->plan->name);
    return ready ? 0 : bx_fail(err, BX_EINTERNAL, 0, "jail %s: the child ended during its set-up", a->plan->name);
}

static int open_channels(struct attempt *a, struct bx_jail_job *job, struct bx_err *err)
{
    int report[2];
    int live[2];
    int one = 1;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, report))
        return bx_fail(err, BX_ERESOURCE, errno, "jail %s: socketpair", a->plan->name);
    a->report_fd = report[0];
    job->report_fd = report[1];
    if (setsockopt(report[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)))
        return bx_fail(err, BX_EINTERNAL, errno, "jail %s: SO_PASSCRED", a->plan->name);
    if (!a->plan->init)
        return 0;
    if (pipe2(live, O_CLOEXEC))
        return bx_fail(err, BX_ERESOURCE, errno, "jail %s: pipe", a->plan->name);
    job->liveness_fd = live[0];
    a->liveness_fd = live[1];
    return 0;
}

static int prepare_job(struct attempt *a, struct bx_jail_job *job, int *landlock_errno, struct bx_err *err)
{
    int r = open_channels(a, job, err);

    if (r)
        return r;
    job->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (job->null_fd < 0)
        return bx_fail(err, BX_EINTERNAL, errno, "open /dev/null");
    if ((a->layers & BX_JAIL_SECCOMP) && a->plan->seccomp != BX_SECCOMP_NONE) {
        r = bx_seccomp_compile(a->plan->seccomp, &job->bpf, err);
        if (r)
            return r;
    }
    if (a->layers & BX_JAIL_LANDLOCK) {
        r = bx_landlock_ruleset(a->plan);
        if (r >= 0)
            job->landlock_fd = r;
        else if (a->plan->required & BX_JAIL_LANDLOCK)
            return bx_fail(err, BX_EINTERNAL, -r, "jail %s: Landlock", a->plan->name);
        else
            *landlock_errno = -r;
    }
    return 0;
}

static void job_done(struct bx_jail_job *job)
{
    bx_bpf_done(&job->bpf);
    bx_close(job->report_fd);
    bx_close(job->liveness_fd);
    bx_close(job->null_fd);
    bx_close(job->landlock_fd);
}

/* One attempt with these layers. On success *ret is filled (but report.wanted). */
static int try_spawn(const struct bx_jail_plan *plan, unsigned layers, struct bx_jail_child *ret,
                     enum bx_jail_step *ret_step, struct bx_err *err)
{
    struct attempt a = { .plan = plan, .layers = layers, .report_fd = -1, .liveness_fd = -1, .pid = -1, .pidfd = -1 };
    struct bx_jail_job job = {
        .plan = plan,
        .layers = layers,
        .outer_uid = geteuid(),
        .outer_gid = getegid(),
        .report_fd = -1,
        .liveness_fd = -1,
        .null_fd = -1,
        .landlock_fd = -1,
    };
    int landlock_errno = 0;
    long pid;
    int r = prepare_job(&a, &job, &landlock_errno, err);

    *ret_step = BX_STEP_OTHER;
    if (r == 0) {
        pid = clone_child(&job, &a.pidfd);
        if (pid < 0) {
            *ret_step = BX_STEP_NAMESPACE;
            r = bx_fail(err, BX_ERESOURCE, errno, "jail %s: clone", plan->name);
        }
        a.pid = (pid_t)pid;
    }
    job_done(&job); /* our copies of the child's ends: the end of the report socket is now exec */
    if (r == 0) {
        r = listen_to_child(&a, ret, ret_step, err);
        if (r)
            kill_and_reap(a.pidfd);
    }
    if (r == 0) {
        ret->pid = a.pid;
        ret->pidfd = BX_TAKE_FD(a.pidfd);
        ret->liveness = BX_TAKE_FD(a.liveness_fd);
        if (landlock_errno)
            ret->report.why[__builtin_ctz(BX_JAIL_LANDLOCK)] = landlock_errno;
    }
    attempt_done(&a);
    return r;
}

/* The layers of the first attempt. */
static unsigned planned_layers(const struct bx_jail_plan *plan)
{
    unsigned layers = plan->layers & ~(unsigned)BX_JAIL_USER_NS;

    if (plan->uid == BX_JAIL_KEEP) {
        layers &= ~(unsigned)BX_JAIL_UID;
        if (layers & BX_JAIL_NAMESPACES)
            layers |= BX_JAIL_USER_NS;
    }
    if (layers & BX_JAIL_ROOT)
        layers &= ~(unsigned)BX_JAIL_LANDLOCK; /* it takes the place of the root */
    return layers;
}

/* Of the layers of which one is required: is it there? A child without is ended before it is anybody's. */
static int check_any(const struct bx_jail_plan *plan, struct bx_jail_child *child, struct bx_err *err)
{
    struct bx_jail_report missing = { .wanted = plan->required_any };
    char text[600];

    if (!plan->required_any || (child->report.applied & plan->required_any))
        return 0;
    memcpy(missing.why, child->report.why, sizeof(missing.why));
    bx_jail_child_done(child);
    bx_jail_report_str(&missing, text, sizeof(text));
    return bx_fail(err, BX_EENGINE, 0, "jail %s: namespaces or Landlock are required, and this host gives neither%s. To do: %s", plan->name,
                   text, bx_jail_remedy("root"));
}

int bx_jail_spawn(const struct bx_jail_plan *plan, struct bx_jail_child *ret, struct bx_err *err)
{
    struct bx_jail_child child = BX_JAIL_CHILD_INIT;
    struct bx_err first = BX_ERR_INIT;
    const unsigned spaces = BX_JAIL_NAMESPACES | BX_JAIL_USER_NS;
    enum bx_jail_step step;
    unsigned layers;
    int r = bx_jail_plan_check(plan, err);

    if (r)
        return r;
    layers = planned_layers(plan);
    r = try_spawn(plan, layers, &child, &step, &first);
    if (r && step == BX_STEP_NAMESPACE && (layers & spaces) && !(plan->required & spaces)) {
        unsigned rest = (layers & ~spaces) | (plan->layers & BX_JAIL_LANDLOCK);
        struct bx_jail_plan bare = *plan;

        if (plan->bare_uid && plan->bare_gid) {
            bare.uid = plan->bare_uid;
            bare.gid = plan->bare_gid;
            rest |= plan->layers & BX_JAIL_UID;
        }
        child = BX_JAIL_CHILD_INIT;
        r = try_spawn(&bare, rest, &child, &step, err);
        for (unsigned i = 0; r == 0 && i < BX_JAIL_LAYERS; i++) {
            if ((layers & spaces) & (1u << i))
                child.report.why[i] = first.sys_errno ? first.sys_errno : EPERM;
        }
        layers |= rest;
    } else if (r && err) {
        *err = first;
    }
    if (r)
        return r;
    child.report.wanted = layers;
    r = check_any(plan, &child, err);
    if (r)
        return r;
    *ret = child;
    return 0;
}

void bx_jail_child_done(struct bx_jail_child *c)
{
    if (c->pidfd >= 0)
        kill_and_reap(c->pidfd);
    bx_close(c->pidfd);
    bx_close(c->liveness);
    *c = BX_JAIL_CHILD_INIT;
}

int bx_jail_child_wait(struct bx_jail_child *c)
{
    return reap(c->pidfd);
}

static void append(char *dst, size_t size, const char *a, const char *b, const char *c)
{
    size_t n = strlen(dst);

    (void)snprintf(dst + n, size - n, "%s%s%s", a, b, c);
}

void bx_jail_report_str(const struct bx_jail_report *r, char *dst, size_t size)
{
    const char *sep = "";

    if (size == 0)
        return;
    dst[0] = '\0';
    for (unsigned i = 0; i < BX_JAIL_LAYERS; i++) {
        if (r->applied & 1u << i) {
            append(dst, size, sep, bx_jail_layer_name(1u << i), "");
            sep = " ";
        }
    }
    sep = "; without ";
    for (unsigned i = 0; i < BX_JAIL_LAYERS; i++) {
        if (!(r->wanted & ~r->applied & 1u << i))
            continue;
        append(dst, size, sep, bx_jail_layer_name(1u << i), " (");
        append(dst, size, strerror(r->why[i] ? r->why[i] : ENOENT), ")", "");
        sep = ", ";
    }
}
