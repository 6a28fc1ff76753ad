/* SPDX-License-Identifier: Apache-2.0 */
/* spawn.c - see spawn.h. Everything below child_main's own comment runs in the child. */
#include "guest/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/str.h"
#include "guest/rawsys.h"

/* The child runs on a stack that tools know nothing of. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NO_ASAN __attribute__((no_sanitize("address")))
#endif
#endif
#if !defined(NO_ASAN) && defined(__SANITIZE_ADDRESS__)
#define NO_ASAN __attribute__((no_sanitize_address))
#endif
#ifndef NO_ASAN
#define NO_ASAN
#endif

#if defined(__x86_64__)
NO_ASAN long bx_clone3(struct clone_args *ca, int (*fn)(void *), void *arg)
{
    register int (*r8)(void *) __asm__("r8") = fn;
    register void *r9 __asm__("r9") = arg;
    long ret;

    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "and $-16, %%rsp\n\t"
                     "mov %%r9, %%rdi\n\t"
                     "call *%%r8\n\t"
                     "ud2\n"
                     "1:"
                     : "=a"(ret)
                     : "a"(SYS_clone3), "D"(ca), "S"(sizeof(*ca)), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}
#elif defined(__aarch64__)
NO_ASAN long bx_clone3(struct clone_args *ca, int (*fn)(void *), void *arg)
{
    register long x8 __asm__("x8") = SYS_clone3;
    register long x0 __asm__("x0") = (long)ca;
    register long x1 __asm__("x1") = sizeof(*ca);
    register int (*x2)(void *) __asm__("x2") = fn;
    register void *x3 __asm__("x3") = arg;

    __asm__ volatile("svc 0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, #0\n\t"
                     "mov x0, x3\n\t"
                     "blr x2\n\t"
                     "brk #1\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3)
                     : "x30", "memory");
    return x0;
}
#endif

static NO_ASAN _Noreturn void child_fail(struct bx_spawn *s, enum bx_spawn_step step, long error)
{
    s->error = (int32_t)-error;
    s->step = step;
    for (;;)
        bx_raw1(SYS_exit_group, 127);
}

/*
 * Lets go of everything but stdio and two descriptors, first of all: a child that is held up must not hold
 * the ends of other commands' pipes.
 */
static NO_ASAN void child_descriptors(struct bx_spawn *s)
{
    int a = BX_MIN(s->ns_pidfd, s->child_report);
    int b = BX_MAX(s->ns_pidfd, s->child_report);
    long r;

    for (int i = 0; i < 3; i++) {
        r = bx_raw3(SYS_dup3, s->stdio[i], i, 0);
        if (r < 0)
            child_fail(s, BX_SPAWN_NAMESPACES, r);
    }
    if (a > 3)
        bx_raw3(SYS_close_range, 3, a - 1, 0);
    if (b > BX_MAX(a, 2) + 1)
        bx_raw3(SYS_close_range, BX_MAX(a, 2) + 1, b - 1, 0);
    bx_raw3(SYS_close_range, b + 1, ~0u, 0);
}

static NO_ASAN void child_identity(struct bx_spawn *s)
{
    long r;

    for (size_t i = 0; i < s->nlimits; i++) {
        struct {
            uint64_t soft, hard;
        } lim = {s->limits[i].value, s->limits[i].value};

        r = bx_raw4(SYS_prlimit64, 0, s->limits[i].resource, &lim, NULL);
        if (r < 0)
            child_fail(s, BX_SPAWN_LIMIT, r);
    }
    if (s->cwd) {
        r = bx_raw1(SYS_chdir, s->cwd);
        if (r < 0)
            child_fail(s, BX_SPAWN_CWD, r);
    }
    if (s->ns_pidfd < 0)
        return; /* outside a container there is nobody to become */
    if (s->filter) {
        r = bx_raw3(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, s->filter); /* while we have the capability for it */
        if (r < 0)
            child_fail(s, BX_SPAWN_FILTER, r);
    }
    r = bx_raw2(SYS_setgroups, s->ngroups, s->groups);
    if (r >= 0)
        r = bx_raw3(SYS_setresgid, s->gid, s->gid, s->gid);
    if (r >= 0)
        r = bx_raw3(SYS_setresuid, s->uid, s->uid, s->uid);
    if (r < 0)
        child_fail(s, BX_SPAWN_USER, r);
}

static NO_ASAN _Noreturn void child_exec(struct bx_spawn *s)
{
    long r, worst = -ENOENT;

    for (const char *p = s->programs; *p;) {
        r = bx_raw3(SYS_execve, p, s->argv, s->envp);
        if (r != -ENOENT && r != -ENOTDIR && r != -EACCES && r != -ELOOP && r != -ENAMETOOLONG)
            child_fail(s, BX_SPAWN_COMMAND, r);
        if (r == -EACCES || r == -ELOOP)
            worst = r; /* found, not to be run: looked for further, but said if nothing better comes */
        while (*p)
            p++;
        p++;
    }
    child_fail(s, BX_SPAWN_COMMAND, worst);
}

/* The child: no libc, no return. */
static NO_ASAN int child_main(void *arg)
{
    struct bx_spawn *s = arg;
    long r;

    s->pid = (int32_t)bx_raw0(SYS_getpid);
    child_descriptors(s);
    if (s->ns_pidfd >= 0) {
        r = bx_raw2(SYS_setns, s->ns_pidfd, CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP);
        if (r < 0)
            child_fail(s, BX_SPAWN_NAMESPACES, r);
        bx_raw1(SYS_close, s->ns_pidfd);
    }
    bx_raw0(SYS_setsid);
    if (s->tty) {
        r = bx_raw3(SYS_ioctl, 0, TIOCSCTTY, 0);
        if (r < 0)
            child_fail(s, BX_SPAWN_TERMINAL, r);
    }
    child_identity(s);
    child_exec(s);
}

int bx_spawn_start(struct bx_spawn *s, int *ret_pidfd, pid_t *ret_pid)
{
    struct clone_args ca = {0};
    int pidfd = -1, ends[2], r;
    long pid;

    s->report = -1;
    s->pid = s->step = s->error = 0;
    s->stack = malloc(BX_SPAWN_STACK);
    if (!s->stack)
        return -ENOMEM;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        r = -errno;
        bx_spawn_done(s);
        return r;
    }
    s->report = ends[0];
    s->child_report = ends[1];
    ca.flags = CLONE_VM | CLONE_PIDFD | (s->cgroup_fd >= 0 ? CLONE_INTO_CGROUP : 0);
    ca.pidfd = (uint64_t)(uintptr_t)&pidfd;
    ca.exit_signal = SIGCHLD;
    ca.stack = (uint64_t)(uintptr_t)s->stack;
    ca.stack_size = BX_SPAWN_STACK;
    ca.cgroup = s->cgroup_fd >= 0 ? (uint64_t)s->cgroup_fd : 0;
    pid = bx_clone3(&ca, child_main, s);
    bx_close(ends[1]); /* but the field stays: the child reads it */
    if (pid < 0) {
        bx_spawn_done(s);
        return (int)pid;
    }
    *ret_pidfd = pidfd;
    *ret_pid = (pid_t)pid;
    return 0;
}

void bx_spawn_done(struct bx_spawn *s)
{
    s->report = bx_close(s->report);
    free(s->stack);
    s->stack = NULL;
}

static int explain(struct bx_spawn *s, const char *what, struct bx_err *err)
{
    switch ((enum bx_spawn_step)s->step) {
    case BX_SPAWN_COMMAND:
        if (s->error == ENOENT && !strchr(what, '/')) {
            bx_fail(err, BX_EEXEC, 0, "spawn_failed: \"%s\" is not in PATH", what);
            if (err)
                err->sys_errno = ENOENT;
            return -BX_EEXEC;
        }
        return bx_fail(err, BX_EEXEC, s->error, "spawn_failed: %s", what);
    case BX_SPAWN_CWD:
        /* No errno goes with it: ENOENT would say that the command was not found. */
        return bx_fail(err, BX_EEXEC, 0, "spawn_failed: working directory %s: %s", s->cwd,
                       strerror(s->error));
    case BX_SPAWN_LIMIT:
        return bx_fail(err, BX_EEXEC, s->error, "spawn_failed: set resource limits");
    case BX_SPAWN_FILTER:
        return bx_fail(err, BX_EEXEC, s->error, "spawn_failed: install the filter of system calls");
    case BX_SPAWN_USER:
        return bx_fail(err, BX_EEXEC, s->error, "spawn_failed: become uid %u, gid %u", s->uid, s->gid);
    case BX_SPAWN_TERMINAL:
        return bx_fail(err, BX_EEXEC, s->error, "spawn_failed: take the terminal");
    case BX_SPAWN_NAMESPACES:
    case BX_SPAWN_RUNNING:
        break;
    }
    return bx_fail(err, BX_EEXEC, s->error, "spawn_failed: enter the container");
}

int bx_spawn_result(struct bx_spawn *s, const char *what, struct bx_err *err)
{
    char byte;
    ssize_t n = read(s->report, &byte, 1);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return -EAGAIN;
    return s->step == BX_SPAWN_RUNNING ? 0 : explain(s, what, err);
}

char *bx_spawn_programs(const char *command, const char *path)
{
    size_t len = strlen(command), size, at = 0;
    char *list;

    if (len == 0) {
        errno = ENOENT;
        return NULL;
    }
    if (strchr(command, '/')) {
        list = calloc(1, len + 2);
        if (list)
            memcpy(list, command, len);
        return list;
    }
    /* Each element of PATH is at most itself, "./", the command and a NUL. */
    size = 1;
    for (const char *p = path; *p; p++)
        size += *p == ':';
    if (bx_mul_overflow(size, len + 4, &size) || bx_add_overflow(size, strlen(path) + 1, &size) ||
        size > BX_MESSAGE_MAX) {
        errno = E2BIG;
        return NULL;
    }
    list = malloc(size);
    if (!list)
        return NULL;
    for (const char *p = path;; p++) {
        size_t n = strcspn(p, ":");

        memcpy(list + at, n ? p : ".", n ? n : 1);
        at += n ? n : 1;
        list[at++] = '/';
        memcpy(list + at, command, len + 1);
        at += len + 1;
        p += n;
        if (!*p)
            break;
    }
    list[at] = '\0';
    return list;
}
