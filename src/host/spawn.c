/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.c - see spawn.h.
 *
 * Theory of operation: the child shares our memory and runs on a stack of its own while we are suspended (CLONE_VFORK) until
 * its exec or exit. It has its own descriptor table and its own signal dispositions, so it may close and reset what it likes;
 * it must not allocate, and must not touch our memory but the one word in which it leaves errno. All signals are blocked
 * from before the clone, so no handler of the host program ever runs in the child.
 */
#include "host/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

#define STACK_SIZE (64 * 1024)

/* AddressSanitizer keeps its notes about the stack in the memory that parent and child share. */
#define ON_CHILD_STACK __attribute__((no_sanitize_address, noinline))

struct child {
    const struct bx_spawn *s;
    char *const *envp;
    int null;  /* /dev/null */
    int above; /* one more than the highest descriptor the program gets */
    char *stack; /* orphans: of the second child */
    /* the child's answer */
    int error;
    const char *step;
    int pid, pidfd; /* orphans */
};

static ON_CHILD_STACK int child_fail(struct child *c, const char *step)
{
    c->error = errno ? errno : EINVAL;
    c->step = step;
    _exit(127);
}

/* First out of the way of all numbers that are to be set, then into place: no source is overwritten before its turn. */
static ON_CHILD_STACK int child_fds(struct child *c)
{
    int moved[BX_SPAWN_FDS_MAX];

    if (syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) < 0 && errno != ENOSYS && errno != EINVAL)
        return -1;
    for (size_t i = 0; i < c->s->n_fds; i++) {
        moved[i] = fcntl(c->s->fds[i].src, F_DUPFD_CLOEXEC, c->above);
        if (moved[i] < 0)
            return -1;
    }
    int null = fcntl(c->null, F_DUPFD_CLOEXEC, c->above);
    if (null < 0)
        return -1;
    for (int fd = 0; fd < 3; fd++)
        if (dup2(null, fd) < 0)
            return -1;
    for (size_t i = 0; i < c->s->n_fds; i++)
        if (dup2(moved[i], c->s->fds[i].dst) < 0)
            return -1;
    return 0;
}

static ON_CHILD_STACK int child_main(void *arg)
{
    struct child *c = arg;
    const unsigned long all_default[4] = { 0 }; /* the kernel's struct: handler, flags, restorer, mask of 64 signals */
    sigset_t none;

    /* Not by libc's function, which refuses its own two signals: they too may have been inherited as ignored. */
    for (int sig = 1; sig < NSIG; sig++)
        (void)syscall(SYS_rt_sigaction, sig, all_default, NULL, sizeof(all_default[3])); /* SIGKILL and SIGSTOP refuse */
    if (c->s->new_session && setsid() < 0)
        return child_fail(c, "setsid");
    if (c->s->cwd && chdir(c->s->cwd) < 0)
        return child_fail(c, "chdir");
    if (child_fds(c) < 0)
        return child_fail(c, "descriptors of");
    sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        return child_fail(c, "signal mask of");
    execve(c->s->path, c->s->argv, c->envp);
    return child_fail(c, "run");
}

/*
 * Between us and an orphan: starts it and ends. It shares our descriptor table, so the orphan's pidfd is ours; it is cloned without an
 * exit signal and never execs, so nobody else sees it come or go.
 */
static ON_CHILD_STACK int between_main(void *arg)
{
    struct child *c = arg;

    c->pid = clone(child_main, c->stack, CLONE_VM | CLONE_VFORK | CLONE_PIDFD, c, &c->pidfd);
    if (c->pid < 0)
        return child_fail(c, "start");
    _exit(0);
}

/* Runs fn on a stack of its own until it execs or exits. Its pid, or negative errno. */
static int clone_child(struct child *c, int (*fn)(void *), char *stack, int flags, int *ret_pidfd)
{
    sigset_t all, old;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    int pid = clone(fn, stack, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | flags, c, ret_pidfd);
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return pid < 0 ? -error : pid;
}

int bx_spawn_wait(int pidfd)
{
    siginfo_t si = { 0 };

    while (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &si, WEXITED | __WALL) < 0)
        if (errno != EINTR)
            return -errno;
    return si.si_code == CLD_EXITED ? si.si_status : 128 + si.si_status;
}

int bx_spawn(const struct bx_spawn *s, pid_t *ret_pid, struct bx_err *err)
{
    struct child c = { .s = s, .envp = s->envp ? s->envp : environ, .above = 3 };
    bx_cleanup_close int null = -1;
    int pidfd = -1, pid;

    if (s->n_fds > BX_SPAWN_FDS_MAX)
        return bx_fail(err, BX_EINTERNAL, 0, "spawn %s: %zu descriptors", s->path, s->n_fds);
    for (size_t i = 0; i < s->n_fds; i++)
        if (s->fds[i].dst >= c.above)
            c.above = s->fds[i].dst + 1;
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return bx_fail(err, BX_ERESOURCE, errno, "open /dev/null");
    c.null = null;
    char *stack = mmap(NULL, 2 * STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED)
        return bx_fail(err, BX_ERESOURCE, errno, "spawn %s", s->path);
    c.stack = stack + STACK_SIZE;
    c.pidfd = -1;
    pid = clone_child(&c, s->orphan ? between_main : child_main, stack + 2 * STACK_SIZE, s->orphan ? CLONE_FILES : 0, &pidfd);
    (void)munmap(stack, 2 * STACK_SIZE);

    if (pid < 0)
        return bx_fail(err, BX_ERESOURCE, -pid, "spawn %s", s->path);
    if (s->orphan || c.error) {
        (void)bx_spawn_wait(pidfd);
        bx_close(pidfd);
    }
    if (s->orphan) {
        pid = c.pid;
        pidfd = c.pidfd;
    }
    if (c.error) {
        if (s->orphan)
            bx_close(pidfd);
        return bx_fail(err, c.error == ENOENT ? BX_ENOTFOUND : BX_EINTERNAL, c.error, "%s %s", c.step, s->path);
    }
    if (ret_pid)
        *ret_pid = pid;
    return pidfd;
}
