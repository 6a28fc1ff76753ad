/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.c - what runs between clone and exec.
 *
 * Theory of operation
 *
 *  The child is a copy of a program that may have threads and any locks held: only system calls here, no allocation, no
 *  stdio, no C library function that takes a lock. Identity is changed by raw system calls, because the library's versions
 *  would wait for threads that do not exist in the copy.
 *
 *      parent ──clone──▶ supervisor (PID 1 of the pid namespace, if plan.init)
 *                          maps, session, host name, root, bounding set, ids, capabilities, no_new_privs
 *                          └─clone─▶ program: limits, descriptors, parent-death signal, Landlock, seccomp, exec
 *
 *  The order matters: the bounding set is dropped before setuid (after it, that silently fails); the parent-death signal
 *  is set after it (setuid clears it); seccomp is last, its list allows what exec needs.
 *
 *  Failures travel as one datagram. READY is sent right before exec; when the socket then closes without FAILED,
 *  exec has happened.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "jail/internal.h"
#include "jail/landlock.h"

#define EXIT_SETUP 125 /* of a child that reported FAILED; nobody looks at it */

struct child {
    const struct bx_jail_job *job;
    struct bx_jail_note note;
    int report_fd;
    int groups[BX_CGROUP_DIRS]; /* cgroup.procs of the groups still to be joined */
    unsigned n_groups;
};

static void add_text(char *dst, size_t size, const char *s)
{
    size_t n = strnlen(dst, size);

    while (s && *s && n + 1 < size)
        dst[n++] = *s++;
    dst[n] = '\0';
}

static _Noreturn void fail(struct child *c, enum bx_jail_step step, int sys_errno, const char *what, const char *detail)
{
    c->note.word = BX_JAIL_FAILED;
    c->note.step = step;
    c->note.sys_errno = sys_errno;
    c->note.what[0] = '\0';
    add_text(c->note.what, sizeof(c->note.what), what);
    if (detail) {
        add_text(c->note.what, sizeof(c->note.what), " ");
        add_text(c->note.what, sizeof(c->note.what), detail);
    }
    (void)!send(c->report_fd, &c->note, sizeof(c->note), MSG_NOSIGNAL);
    _exit(EXIT_SETUP);
}

static bool wants(const struct child *c, unsigned layer)
{
    return c->job->layers & layer;
}

/* A layer was applied, or could not be (sys_errno): required ones end the child. */
static void settle(struct child *c, unsigned layer, int sys_errno, const char *what)
{
    if (sys_errno == 0) {
        c->note.applied |= layer;
        return;
    }
    c->note.why[__builtin_ctz(layer)] = sys_errno;
    if (c->job->plan->required & layer)
        fail(c, BX_STEP_OTHER, sys_errno, what, NULL);
}

/* Default action for all signals, none blocked. */
static void reset_signals(void)
{
    const unsigned long all_default[4] = { 0 }; /* the kernel's struct, all of it */
    sigset_t none;

    for (int sig = 1; sig < NSIG; sig++)
        (void)syscall(SYS_rt_sigaction, sig, all_default, NULL, sizeof(all_default[3])); /* libc's own two as well */
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * Control groups. v2: clone3 has put us there. v1: joining means waiting for an RCU grace period (10 ms and more), so the supervisor
 * does it while the program starts; if the group is required, it ends the program when it cannot. Without a supervisor there is
 * nobody else to wait.
 */
static int join_groups(const struct child *c, const char *pid)
{
    for (unsigned i = 0; i < c->n_groups; i++) {
        if (write(c->groups[i], pid, strlen(pid)) < 0)
            return errno;
    }
    return 0;
}

static void join_cgroup(struct child *c)
{
    const struct bx_cgroup *cg = c->job->plan->cgroup;
    int e = 0;

    if (!cg || cg->version == 0) {
        settle(c, BX_JAIL_CGROUP, cg && cg->why ? cg->why : ENOENT, "control group");
        return;
    }
    for (unsigned i = 0; i < cg->n && !c->job->in_cgroup; i++)
        c->groups[c->n_groups++] = cg->procs[i];
    if (!c->job->plan->init)
        e = join_groups(c, "0");
    settle(c, BX_JAIL_CGROUP, e, "join the control group");
}

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int e = 0;

    if (fd < 0)
        return errno;
    if (write(fd, text, strlen(text)) < 0)
        e = errno;
    close(fd);
    return e;
}

static void add_number(char *dst, size_t size, unsigned n)
{
    char digits[12];
    int i = (int)sizeof(digits) - 1;

    digits[i] = '\0';
    do {
        digits[--i] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    add_text(dst, size, digits + i);
}

/* "65534 <id> 1": the caller's own id is the only one there is. */
static void map_line(char *dst, size_t size, unsigned id)
{
    dst[0] = '\0';
    add_text(dst, size, "65534 ");
    add_number(dst, size, id);
    add_text(dst, size, " 1");
}
_Static_assert(BX_JAIL_INNER_ID == 65534, "map_line has the number in it");

static void map_ids(struct child *c)
{
    char line[48];
    int e;

    /* /proc/self belongs to us only while we are dumpable; our copy of the memory is our own */
    (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    e = write_file("/proc/self/setgroups", "deny");
    if (e && e != ENOENT)
        fail(c, BX_STEP_NAMESPACE, e, "user namespace: setgroups", NULL);
    map_line(line, sizeof(line), c->job->outer_uid);
    e = write_file("/proc/self/uid_map", line);
    if (e)
        fail(c, BX_STEP_NAMESPACE, e, "user namespace: uid_map", NULL);
    map_line(line, sizeof(line), c->job->outer_gid);
    e = write_file("/proc/self/gid_map", line);
    if (e)
        fail(c, BX_STEP_NAMESPACE, e, "user namespace: gid_map", NULL);
    c->note.applied |= BX_JAIL_USER_NS;
}

static void enter_namespaces(struct child *c)
{
    const struct bx_jail_plan *plan = c->job->plan;
    const char *name = plan->hostname ? plan->hostname : "jail";
    const char *what;
    const char *path;
    int r;

    if (wants(c, BX_JAIL_USER_NS))
        map_ids(c);
    c->note.applied |= c->job->layers & (BX_JAIL_PID_NS | BX_JAIL_NET_NS | BX_JAIL_IPC_NS); /* by clone itself */
    if (wants(c, BX_JAIL_UTS_NS)) {
        if (sethostname(name, strlen(name)) || setdomainname("", 0))
            fail(c, BX_STEP_NAMESPACE, errno, "set the host name", NULL);
        c->note.applied |= BX_JAIL_UTS_NS;
    }
    if (wants(c, BX_JAIL_ROOT)) {
        r = bx_jail_enter_root(plan, &what, &path);
        if (r)
            fail(c, BX_STEP_NAMESPACE, -r, what, path);
        c->note.applied |= BX_JAIL_ROOT;
    }
}

static int drop_bounding_set(void)
{
    for (int cap = 0; cap < 64; cap++) {
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) && errno != EINVAL)
            return errno;
    }
    return 0;
}

static void become(struct child *c)
{
    const struct bx_jail_plan *plan = c->job->plan;

    if (!wants(c, BX_JAIL_UID) || plan->uid == BX_JAIL_KEEP)
        return;
    if (syscall(SYS_setgroups, 0, NULL) || syscall(SYS_setresgid, plan->gid, plan->gid, plan->gid) ||
        syscall(SYS_setresuid, plan->uid, plan->uid, plan->uid))
        fail(c, BX_STEP_OTHER, errno, "change the user", NULL); /* required or not: never on as root */
    c->note.applied |= BX_JAIL_UID;
}

static void drop_capabilities(struct child *c)
{
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[2] = { { 0 } };
    /* an ordinary user cannot touch the bounding set; no_new_privs makes it moot */
    int e = drop_bounding_set();

    become(c);
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (wants(c, BX_JAIL_NNP))
        settle(c, BX_JAIL_NNP, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? errno : 0, "no_new_privs");
    if (!wants(c, BX_JAIL_CAPS))
        return;
    if (e == EPERM && (c->note.applied & BX_JAIL_NNP))
        e = 0;
    if (e == 0 && syscall(SYS_capset, &head, none))
        e = errno;
    settle(c, BX_JAIL_CAPS, e, "drop capabilities");
}

static void set_limits(struct child *c)
{
    const struct bx_jail_plan *plan = c->job->plan;
    struct rlimit lim;
    int e = 0;

    for (size_t i = 0; i < plan->n_rlimits && e == 0; i++) {
        const struct bx_jail_rlimit *want = &plan->rlimits[i];

        if (getrlimit((__rlimit_resource_t)want->resource, &lim)) {
            e = errno;
            break;
        }
        lim.rlim_max = BX_MIN(lim.rlim_max, (rlim_t)want->value);
        lim.rlim_cur = lim.rlim_max;
        if (setrlimit((__rlimit_resource_t)want->resource, &lim))
            e = errno;
    }
    if (!plan->core && e == 0) {
        lim = (struct rlimit){ 0, 0 };
        e = setrlimit(RLIMIT_CORE, &lim) ? errno : 0;
    }
    if (wants(c, BX_JAIL_RLIMITS))
        settle(c, BX_JAIL_RLIMITS, e, "set resource limits");
}

/* Moves a descriptor above everything that the plan names. */
static int lift(struct child *c, int fd, int floor)
{
    int up = fcntl(fd, F_DUPFD_CLOEXEC, floor);

    if (up < 0)
        fail(c, BX_STEP_OTHER, errno, "pass descriptors", NULL);
    return up;
}

static void pass_descriptors(struct child *c, int *ret_landlock)
{
    const struct bx_jail_plan *plan = c->job->plan;
    int up[BX_JAIL_FDS_MAX];
    int floor = 3;
    int null_up;

    for (size_t i = 0; i < plan->n_fds; i++)
        floor = BX_MAX(floor, plan->fds[i].dst + 1);
    c->report_fd = lift(c, c->report_fd, floor);
    null_up = lift(c, c->job->null_fd, floor);
    if (c->job->landlock_fd >= 0)
        *ret_landlock = lift(c, c->job->landlock_fd, floor);
    for (size_t i = 0; i < plan->n_fds; i++)
        up[i] = lift(c, plan->fds[i].src, floor);
    if (syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC))
        fail(c, BX_STEP_OTHER, errno, "close descriptors", NULL);
    for (int fd = 0; fd < 3; fd++) {
        if (dup2(null_up, fd) < 0)
            fail(c, BX_STEP_OTHER, errno, "pass descriptors", NULL);
    }
    for (size_t i = 0; i < plan->n_fds; i++) {
        if (dup2(up[i], plan->fds[i].dst) < 0)
            fail(c, BX_STEP_OTHER, errno, "pass descriptors", NULL);
    }
}

static void filter(struct child *c, int landlock_fd)
{
    struct sock_fprog prog = { .len = (unsigned short)c->job->bpf.n, .filter = c->job->bpf.insns };

    if (wants(c, BX_JAIL_LANDLOCK) && landlock_fd >= 0)
        settle(c, BX_JAIL_LANDLOCK, -bx_landlock_restrict(landlock_fd), "Landlock");
    if (!wants(c, BX_JAIL_SECCOMP) || c->job->plan->seccomp == BX_SECCOMP_NONE)
        return;
    /* the note goes out before the filter is on: it may not allow send */
    c->note.applied |= BX_JAIL_SECCOMP;
    c->note.word = BX_JAIL_READY;
    if (send(c->report_fd, &c->note, sizeof(c->note), MSG_NOSIGNAL) < 0)
        _exit(EXIT_SETUP);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
        fail(c, BX_STEP_OTHER, errno, "install the system call filter", NULL);
}

static _Noreturn void run_program(struct child *c, pid_t parent)
{
    const struct bx_jail_plan *plan = c->job->plan;
    char *const none[] = { NULL };
    int landlock_fd = -1;

    pass_descriptors(c, &landlock_fd);
    set_limits(c); /* after: it may leave room for fewer descriptors than passing them takes */
    if (plan->no_thp)
        (void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* an optimisation */
    if (plan->init) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
            fail(c, BX_STEP_OTHER, errno, "parent-death signal", NULL);
        if (getppid() != parent) /* it died before */
            _exit(EXIT_SETUP);
    }
    if (plan->cwd && chdir(plan->cwd))
        fail(c, BX_STEP_OTHER, errno, "enter the directory", plan->cwd);
    filter(c, landlock_fd);
    if (!(c->note.applied & BX_JAIL_SECCOMP)) {
        c->note.word = BX_JAIL_READY;
        if (send(c->report_fd, &c->note, sizeof(c->note), MSG_NOSIGNAL) < 0)
            _exit(EXIT_SETUP);
    }
    execve(plan->path, plan->argv, plan->envp ? plan->envp : none);
    fail(c, BX_STEP_OTHER, errno, "run", plan->path);
}

static int status_of(const siginfo_t *si)
{
    return si->si_code == CLD_EXITED ? si->si_status : 128 + si->si_status;
}

/* Until the program ends or the caller is gone. Everything else in a pid namespace dies with us. */
static _Noreturn void supervise(int liveness_fd, pid_t program, int pidfd)
{
    struct pollfd fds[2] = { { .fd = pidfd, .events = POLLIN }, { .fd = liveness_fd, .events = POLLIN } };
    siginfo_t si = { 0 };

    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if (fds[1].revents)
            break;
        if (!fds[0].revents)
            continue;
        if (waitid(P_PID, (id_t)program, &si, WEXITED | __WALL) == 0)
            _exit(status_of(&si));
        break;
    }
    (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    _exit(128 + SIGKILL);
}

static void join_or_end(struct child *c, pid_t program, int pidfd)
{
    char pid[12] = "";

    add_number(pid, sizeof(pid), (unsigned)program);
    if (join_groups(c, pid) == 0 && join_groups(c, "0") == 0)
        return;
    if (!(c->job->plan->required & BX_JAIL_CGROUP))
        return; /* the caller sees it by bx_cgroup_joined */
    (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    _exit(EXIT_SETUP);
}

/* Closes all descriptors but these, which it moves to the front. */
static void shed(struct child *c, int *liveness, int *pidfd)
{
    int keep[2 + BX_CGROUP_DIRS] = { *liveness, *pidfd };
    int n = 2;
    int floor = 0;

    for (unsigned i = 0; i < c->n_groups; i++)
        keep[n++] = c->groups[i];
    /* first above everything we have, then down to 0, 1, ...: nothing is overwritten on the way */
    for (int i = 0; i < n; i++)
        floor = BX_MAX(floor, keep[i] + 1);
    floor = BX_MAX(floor, n);
    for (int i = 0; i < n; i++) {
        keep[i] = fcntl(keep[i], F_DUPFD_CLOEXEC, floor);
        if (keep[i] < 0)
            _exit(EXIT_SETUP);
    }
    for (int i = 0; i < n; i++) {
        if (dup3(keep[i], i, O_CLOEXEC) < 0)
            _exit(EXIT_SETUP);
    }
    (void)syscall(SYS_close_range, (unsigned)n, ~0u, 0);
    *liveness = 0;
    *pidfd = 1;
    c->report_fd = -1;
    for (int i = 2; i < n; i++)
        c->groups[i - 2] = i;
}

void bx_jail_child_main(const struct bx_jail_job *job)
{
    struct child c = { .job = job, .report_fd = job->report_fd };
    int liveness = job->liveness_fd;
    int pidfd = -1;
    pid_t self;
    long pid;

    reset_signals();
    if (wants(&c, BX_JAIL_CGROUP))
        join_cgroup(&c);
    (void)setsid();
    enter_namespaces(&c);
    drop_capabilities(&c);
    if (!job->plan->init)
        run_program(&c, 0);

    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    self = getpid();
    pid = syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, NULL, &pidfd, NULL, NULL);
    if (pid < 0)
        fail(&c, BX_STEP_OTHER, errno, "clone the program", NULL);
    if (pid == 0)
        run_program(&c, self);
    shed(&c, &liveness, &pidfd);
    if (c.n_groups)
        join_or_end(&c, (pid_t)pid, pidfd);
    supervise(liveness, (pid_t)pid, pidfd);
}
