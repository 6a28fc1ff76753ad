/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seccomp.c - the allow-lists, as tables, and their compilation by libseccomp.
 *
 * Theory of operation
 *
 *  A profile is a list of rows {call, condition, answer}. What no row names kills the process (not the thread: a
 *  thread that vanishes would leave locks behind). The lists were found by running QEMU through template making, restore,
 *  I/O, trim, resize and exit, and are kept small on purpose: an allowed call is an argument to win with a kernel bug.
 *
 *  Conditions look only at scalar arguments; what a pointer points to can change after the check.
 */
#include "jail/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"

enum rule_kind {
    R_ALLOW,
    R_ENOSYS,      /* "this kernel has none": libraries fall back */
    R_EACCES,
    R_SELF,        /* prlimit64: only the caller's own limits */
    R_THREAD,      /* clone: only a thread of this process, no namespace */
    R_OPEN_READ,   /* openat: read-only, creates nothing; else EACCES */
    R_NO_EXEC_MAP, /* mmap, mprotect: never executable */
    R_NO_EXEC_MAP_EACCES, /* the same with an answer: who loads modules goes on without */
    R_SOCKET_INET, /* socket: IPv4 and IPv6; else EAFNOSUPPORT */
    R_SOCKET_PAIR, /* socketpair: a pair of our own; else EAFNOSUPPORT */
    R_IOCTL_COUNT, /* ioctl: how much can be read; else ENOTTY */
};

struct rule {
    int nr;
    enum rule_kind kind;
};

#define A(name) { SCMP_SYS(name), R_ALLOW }

/* What every program needs to compute, wait and end. */
static const struct rule rules_core[] = {
    A(read), A(write), A(readv), A(writev), A(pread64), A(pwrite64), A(preadv), A(pwritev), A(close), A(lseek), A(fcntl),
    A(fstat), A(munmap), A(mremap), A(madvise), A(brk), A(poll), A(ppoll), A(futex), A(set_robust_list), A(rseq),
    A(gettid), A(getpid), A(exit), A(exit_group), A(clock_nanosleep), A(nanosleep), A(clock_gettime), A(gettimeofday),
    A(rt_sigprocmask), A(rt_sigreturn), A(getrandom), A(sched_yield), A(restart_syscall), A(fsync), A(fdatasync),
    A(ftruncate), A(getuid), A(getgid), A(geteuid), A(getegid),
    { SCMP_SYS(prlimit64), R_SELF },
    { SCMP_SYS(clone3), R_ENOSYS },
    { SCMP_SYS(io_uring_setup), R_ENOSYS },
};

/* QEMU running: files it holds, its sockets, its threads. */
static const struct rule rules_qemu_run[] = {
    A(newfstatat), A(fallocate), A(fadvise64), A(fstatfs), A(mmap), A(mprotect), A(eventfd2), A(dup), A(sendmsg),
    A(recvmsg), A(sendto), A(recvfrom), A(getsockopt), A(getppid), A(sched_getaffinity), A(tgkill), A(ioctl),
    A(copy_file_range), A(epoll_wait), A(epoll_pwait), A(epoll_ctl), A(shutdown),
    /* KVM: kicking and draining the signal of a virtual CPU */
    A(rt_sigtimedwait), A(rt_sigpending), A(membarrier), A(sync_file_range),
    { SCMP_SYS(clone), R_THREAD },
};

/* QEMU from its exec on, on top of the above. */
static const struct rule rules_qemu_start[] = {
    { SCMP_SYS(openat), R_OPEN_READ }, { SCMP_SYS(open), R_EACCES },
    A(access), A(faccessat), A(faccessat2), A(readlink), A(readlinkat), A(getdents64), A(fchdir), A(statfs), A(memfd_create),
    A(signalfd4), A(setsockopt), A(getsockname), A(getpeername), A(set_tid_address), A(rt_sigaction),
    A(sysinfo), A(arch_prctl), A(prctl), A(seccomp), A(get_mempolicy), A(set_mempolicy), A(execve), A(epoll_create1),
    A(uname), A(sigaltstack), A(getcwd), A(statx), A(pipe2), A(umask),
};

/* After the lock, questions that libraries ask are answered with a refusal instead of death. */
static const struct rule rules_qemu_locked[] = {
    { SCMP_SYS(openat), R_EACCES }, { SCMP_SYS(open), R_EACCES }, { SCMP_SYS(access), R_EACCES },
    { SCMP_SYS(faccessat), R_EACCES }, { SCMP_SYS(faccessat2), R_EACCES }, { SCMP_SYS(readlink), R_EACCES },
    { SCMP_SYS(readlinkat), R_EACCES }, A(getsockname), A(getpeername), A(rt_sigaction), A(sysinfo),
};

/* The shim: its sockets, its box's directory, its children's end. */
static const struct rule rules_shim[] = {
    A(newfstatat), A(fallocate), A(fadvise64), A(fstatfs), A(eventfd2), A(dup), A(dup2), A(dup3), A(sendmsg), A(recvmsg),
    A(sendto), A(recvfrom), A(getsockopt), A(setsockopt), A(getsockname), A(getpeername), A(accept4), A(shutdown),
    A(socketpair), A(getppid), A(tgkill), A(epoll_create1), A(epoll_wait), A(epoll_pwait), A(epoll_pwait2), A(epoll_ctl),
    A(timerfd_create), A(timerfd_settime), A(timerfd_gettime), A(signalfd4), A(rt_sigaction), A(rt_sigtimedwait),
    A(waitid), A(wait4), A(pidfd_send_signal), A(pidfd_open), A(kill), A(pipe2), A(openat), A(openat2), A(unlinkat),
    A(unlink), A(renameat), A(renameat2), A(rename), A(mkdirat), A(fchmod), A(fchmodat), A(flock), A(getdents64), A(access),
    A(faccessat), A(faccessat2), A(readlink), A(readlinkat), A(statx), A(stat), A(lstat), A(sysinfo), A(uname),
    A(getrusage), A(times), A(clock_getres), A(umask), A(memfd_create), A(sched_getaffinity),
    A(rmdir), A(close_range), A(statfs), A(getcwd), A(prctl), A(sigaltstack),
    { SCMP_SYS(ioctl), R_ALLOW },
    { SCMP_SYS(mmap), R_NO_EXEC_MAP }, { SCMP_SYS(mprotect), R_NO_EXEC_MAP },
    { SCMP_SYS(open), R_ALLOW },
};

/* boxlite-pull: the network, files below one directory (of its root, or by Landlock), threads that wait. No bind, no listen. */
static const struct rule rules_pull_run[] = {
    A(newfstatat), A(statx), A(fstatfs), A(statfs), A(fadvise64), A(openat), A(openat2), A(getdents64), A(unlinkat), A(renameat),
    A(renameat2), A(mkdirat), A(fchmod), A(fchmodat), A(flock), A(sync_file_range), A(fallocate), A(access), A(faccessat), A(faccessat2),
    A(readlink), A(readlinkat), A(eventfd2), A(pipe2), A(epoll_create1), A(epoll_wait), A(epoll_pwait), A(epoll_pwait2), A(epoll_ctl),
    A(timerfd_create), A(timerfd_settime), A(connect), A(getsockopt), A(setsockopt), A(getsockname), A(getpeername), A(sendto),
    A(recvfrom), A(sendmsg), A(recvmsg), A(sendmmsg), A(recvmmsg), A(shutdown), A(sysinfo), A(uname), A(sched_getaffinity),
    A(rt_sigaction), A(sigaltstack), A(getppid), A(membarrier),
    { SCMP_SYS(socket), R_SOCKET_INET }, { SCMP_SYS(socketpair), R_SOCKET_PAIR }, { SCMP_SYS(ioctl), R_IOCTL_COUNT },
    { SCMP_SYS(clone), R_THREAD },
};
/* boxlite-files: the user's files, and nothing else. */
static const struct rule rules_files[] = {
    A(newfstatat), A(statx), A(fstatfs), A(statfs), A(openat), A(openat2), A(getdents64), A(mkdirat), A(linkat), A(symlinkat),
    A(renameat), A(renameat2), A(unlinkat), A(readlinkat), A(fchmod), A(fchown), A(fchownat), A(utimensat), A(rt_sigaction),
    { SCMP_SYS(mmap), R_NO_EXEC_MAP }, { SCMP_SYS(mprotect), R_NO_EXEC_MAP },
};
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define JAIL_SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(JAIL_SANITIZED)
/* What the sanitizers of a test build ask for in the program they are in. */
static const struct rule rules_sanitizers[] = { A(open), A(stat), A(prctl), A(tgkill), A(sched_getaffinity), A(set_tid_address) };
#define SANITIZERS PART(rules_sanitizers)
#else
#define SANITIZERS { NULL, 0 }
#endif
static const struct rule rules_pull_start[] = {
    A(mmap), A(mprotect), A(execve), A(prctl), A(seccomp), A(arch_prctl), A(set_tid_address), A(getcwd), A(memfd_create),
};
static const struct rule rules_pull_locked[] = {
    { SCMP_SYS(mmap), R_NO_EXEC_MAP_EACCES }, { SCMP_SYS(mprotect), R_NO_EXEC_MAP_EACCES },
};

/* boxlite-net: sockets it connects, and those it was handed. No file, no bind, no listen, no thread. */
static const struct rule rules_net_run[] = {
    A(epoll_create1), A(epoll_wait), A(epoll_pwait), A(epoll_pwait2), A(epoll_ctl), A(timerfd_create), A(timerfd_settime), A(connect),
    A(accept4), A(getsockopt), A(setsockopt), A(getsockname), A(sendto), A(recvfrom), A(sendmsg), A(recvmsg), A(shutdown),
    A(rt_sigaction), A(sigaltstack), A(getppid), A(eventfd2), A(newfstatat),
    { SCMP_SYS(socket), R_SOCKET_INET },
};
static const struct rule rules_net_start[] = {
    A(mmap), A(mprotect), A(execve), A(prctl), A(seccomp), A(arch_prctl), A(set_tid_address), A(memfd_create), A(access),
    A(faccessat), A(faccessat2), A(readlink), A(readlinkat), A(getcwd), A(statx), A(sysinfo), A(uname), A(bind), A(fadvise64),
    { SCMP_SYS(openat), R_OPEN_READ },
};
static const struct rule rules_net_locked[] = {
    { SCMP_SYS(mmap), R_NO_EXEC_MAP_EACCES }, { SCMP_SYS(mprotect), R_NO_EXEC_MAP_EACCES },
    { SCMP_SYS(openat), R_EACCES }, { SCMP_SYS(readlink), R_EACCES }, { SCMP_SYS(readlinkat), R_EACCES },
};

struct part {
    const struct rule *rules;
    size_t n;
};
#define PART(t) { t, BX_ARRAY_SIZE(t) }
#define PARTS_MAX 4

static const struct profile {
    const char *name;
    struct part parts[PARTS_MAX];
} profiles[] = {
    [BX_SECCOMP_NONE] = { "none", { { NULL, 0 } } },
    [BX_SECCOMP_QEMU] = { "qemu", { PART(rules_core), PART(rules_qemu_run), PART(rules_qemu_start) } },
    [BX_SECCOMP_QEMU_LOCKED] = { "qemu-locked", { PART(rules_core), PART(rules_qemu_run), PART(rules_qemu_locked) } },
    [BX_SECCOMP_SHIM] = { "shim", { PART(rules_core), PART(rules_shim) } },
    [BX_SECCOMP_PULL] = { "pull", { PART(rules_core), PART(rules_pull_run), PART(rules_pull_start), SANITIZERS } },
    [BX_SECCOMP_NET] = { "net", { PART(rules_core), PART(rules_net_run), PART(rules_net_start), SANITIZERS } },
    [BX_SECCOMP_NET_LOCKED] = { "net-locked", { PART(rules_core), PART(rules_net_run), PART(rules_net_locked), SANITIZERS } },
    [BX_SECCOMP_PULL_LOCKED] = { "pull-locked", { PART(rules_core), PART(rules_pull_run), PART(rules_pull_locked), SANITIZERS } },
    [BX_SECCOMP_FILES] = { "files", { PART(rules_core), PART(rules_files), SANITIZERS } },
};
_Static_assert(BX_ARRAY_SIZE(profiles) == BX_SECCOMP_PROFILES, "a profile has no list");

const char *bx_seccomp_profile_name(enum bx_seccomp_profile profile)
{
    return profile < BX_SECCOMP_PROFILES ? profiles[profile].name : "?";
}

void bx_bpf_done(struct bx_bpf *b)
{
    free(b->insns);
    *b = (struct bx_bpf){ 0 };
}

#define CLONE_CHECKED                                                                                       \
    ((scmp_datum_t)(unsigned)(CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS |    \
                              CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_PTRACE))
#define OPEN_TMPFILE 020000000u /* the bit alone: O_TMPFILE has O_DIRECTORY's too */
#define OPEN_CHECKED ((scmp_datum_t)((unsigned)(O_ACCMODE | O_CREAT | O_TRUNC) | OPEN_TMPFILE))

/* All accesses of openat that are not plain reading, as separate rows: libseccomp ORs rules of one call. */
static int add_open_read(scmp_filter_ctx ctx, int nr)
{
    int r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 1, SCMP_A2(SCMP_CMP_MASKED_EQ, OPEN_CHECKED, O_RDONLY));
    const unsigned refused[] = { O_WRONLY, O_RDWR, O_CREAT, O_TRUNC };

    for (size_t i = 0; r == 0 && i < BX_ARRAY_SIZE(refused); i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), nr, 1,
                             SCMP_A2(SCMP_CMP_MASKED_EQ, refused[i], refused[i]));
    return r;
}

/* socket or socketpair: the families of the list, others with an answer. AF_INET6 is the highest one on any list. */
static int add_families(scmp_filter_ctx ctx, int nr, const int *allowed, size_t n)
{
    int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), nr, 1, SCMP_A0(SCMP_CMP_GT, AF_INET6));

    for (int family = 0; r == 0 && family <= AF_INET6; family++) {
        bool listed = false;

        for (size_t i = 0; i < n; i++)
            listed = listed || allowed[i] == family;
        r = seccomp_rule_add(ctx, listed ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EAFNOSUPPORT), nr, 1,
                             SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)family));
    }
    return r;
}

static int add_no_exec_map(scmp_filter_ctx ctx, int nr, bool answer)
{
    int r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));

    if (r || !answer)
        return r;
    return seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), nr, 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC));
}

static int add_ioctl_count(scmp_filter_ctx ctx, int nr)
{
    int r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 1, SCMP_A1(SCMP_CMP_EQ, FIONREAD));

    return r ? r : seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOTTY), nr, 1, SCMP_A1(SCMP_CMP_NE, FIONREAD));
}

static int add_rule(scmp_filter_ctx ctx, const struct rule *rule)
{
    static const int inet[] = { AF_INET, AF_INET6 };
    static const int pair[] = { AF_UNIX };

    switch (rule->kind) {
    case R_ALLOW:
        return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, rule->nr, 0);
    case R_ENOSYS:
        return seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), rule->nr, 0);
    case R_EACCES:
        return seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), rule->nr, 0);
    case R_SELF: /* 0 is the caller; the kernel looks at the lower half of a pid */
        return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, rule->nr, 1,
                                SCMP_A0(SCMP_CMP_MASKED_EQ, 0xffffffffu, 0));
    case R_THREAD:
        return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, rule->nr, 1,
                                SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_CHECKED, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND));
    case R_OPEN_READ:
        return add_open_read(ctx, rule->nr);
    case R_NO_EXEC_MAP:
    case R_NO_EXEC_MAP_EACCES:
        return add_no_exec_map(ctx, rule->nr, rule->kind == R_NO_EXEC_MAP_EACCES);
    case R_SOCKET_INET:
        return add_families(ctx, rule->nr, inet, BX_ARRAY_SIZE(inet));
    case R_SOCKET_PAIR:
        return add_families(ctx, rule->nr, pair, BX_ARRAY_SIZE(pair));
    case R_IOCTL_COUNT:
        return add_ioctl_count(ctx, rule->nr);
    }
    return -EINVAL;
}

static int add_profile(scmp_filter_ctx ctx, const struct profile *p)
{
    int r = 0;

    for (size_t i = 0; i < PARTS_MAX && p->parts[i].rules; i++) {
        for (size_t j = 0; j < p->parts[i].n; j++) {
            const struct rule *rule = &p->parts[i].rules[j];

            if (rule->nr < 0)
                continue; /* a call this architecture does not have */
            r = add_rule(ctx, rule);
            if (r && r != -EEXIST)
                return r;
        }
    }
    return 0;
}

/* The compiled program comes out through a descriptor: this libseccomp has no other way. */
static int export_program(scmp_filter_ctx ctx, struct bx_bpf *ret, struct bx_err *err)
{
    bx_cleanup_close int fd = memfd_create("seccomp", MFD_CLOEXEC);
    bx_cleanup_free struct sock_filter *insns = NULL;
    struct stat st;
    int r;

    if (fd < 0)
        return bx_fail(err, BX_EINTERNAL, errno, "seccomp: memfd_create");
    r = seccomp_export_bpf(ctx, fd);
    if (r)
        return bx_fail(err, BX_EINTERNAL, -r, "seccomp: export");
    if (fstat(fd, &st) || st.st_size <= 0 || st.st_size % (off_t)sizeof(*insns))
        return bx_fail(err, BX_EINTERNAL, errno, "seccomp: size of the program");
    insns = malloc((size_t)st.st_size);
    if (!insns)
        return bx_fail(err, BX_EINTERNAL, ENOMEM, "seccomp");
    r = bx_pread_full(fd, insns, (size_t)st.st_size, 0);
    if (r)
        return bx_fail(err, BX_EINTERNAL, -r, "seccomp: read the program");
    ret->n = (size_t)st.st_size / sizeof(*insns);
    ret->insns = BX_TAKE_PTR(insns);
    return 0;
}

int bx_seccomp_compile(enum bx_seccomp_profile profile, struct bx_bpf *ret, struct bx_err *err)
{
    scmp_filter_ctx ctx;
    int r;

    if (profile <= BX_SECCOMP_NONE || profile >= BX_SECCOMP_PROFILES)
        return bx_fail(err, BX_EINVALID, 0, "seccomp: no profile %d", (int)profile);
    ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!ctx)
        return bx_fail(err, BX_EINTERNAL, ENOMEM, "seccomp");
    r = add_profile(ctx, &profiles[profile]);
    if (r)
        r = bx_fail(err, BX_EINTERNAL, -r, "seccomp: profile %s", profiles[profile].name);
    else
        r = export_program(ctx, ret, err);
    seccomp_release(ctx);
    return r;
}

int bx_seccomp_memfd(enum bx_seccomp_profile profile, struct bx_err *err)
{
    struct bx_bpf bpf = { 0 };
    int fd = bx_seccomp_compile(profile, &bpf, err);

    if (fd)
        return fd;
    fd = bx_memfd_sealed("seccomp", bpf.insns, bpf.n * sizeof(*bpf.insns));
    bx_bpf_done(&bpf);
    return fd < 0 ? bx_fail(err, BX_EINTERNAL, -fd, "seccomp: memfd") : fd;
}

int bx_seccomp_install(enum bx_seccomp_profile profile, struct bx_err *err)
{
    struct bx_bpf bpf = { 0 };
    struct sock_fprog prog;
    long n = bx_seccomp_compile(profile, &bpf, err);

    if (n)
        return (int)n;
    prog = (struct sock_fprog){ .len = (unsigned short)bpf.n, .filter = bpf.insns };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        n = -1;
    else
        n = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog);
    if (n) /* a positive number is a thread that could not follow */
        n = bx_fail(err, BX_EINTERNAL, n > 0 ? ESRCH : errno, "seccomp: install profile %s", profiles[profile].name);
    bx_bpf_done(&bpf);
    return (int)n;
}
