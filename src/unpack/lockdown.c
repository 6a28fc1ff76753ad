/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lockdown.c - a seccomp filter written by hand, resource limits, no new privileges, not dumpable.
 *
 * Theory of operation
 *
 * What parses layers must not be worth attacking: everything it needs is open before the first hostile byte is read, so
 * the list of system calls is memory, reading and writing of descriptors, and little else; any other call kills
 * the process. No call on the list takes a path, makes a descriptor, or reaches another process. Memory cannot be made
 * executable.
 */
#include "unpack/lockdown.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "the seccomp filter does not know this architecture"
#endif

#define CPU_SECONDS 7200

static const unsigned allowed[] = {
    SYS_read,          SYS_write,           SYS_pread64,       SYS_pwrite64,     SYS_readv,
    SYS_writev,        SYS_lseek,           SYS_fallocate,     SYS_ftruncate,    SYS_fsync,
    SYS_fdatasync,     SYS_fstat,           SYS_close,         SYS_munmap,       SYS_mremap,
    SYS_madvise,       SYS_brk,             SYS_futex,         SYS_getrandom,    SYS_clock_gettime,
    SYS_gettimeofday,  SYS_rt_sigreturn,    SYS_rt_sigaction,  SYS_rt_sigprocmask, SYS_exit,
    SYS_exit_group,    SYS_restart_syscall, SYS_sync_file_range, SYS_ppoll,
#if defined(__SANITIZE_ADDRESS__) || defined(BX_SANITIZED)
    SYS_sigaltstack,   SYS_gettid,          SYS_getpid,        SYS_sched_yield,
#endif
};

/* Allowed unless they ask for executable memory (third argument). */
static const unsigned without_exec[] = { SYS_mmap, SYS_mprotect };

/* libext2fs looks for the file behind its device's name, which is empty: answered without looking. */
static const unsigned answered_enoent[] = { SYS_newfstatat };

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, (what))

static size_t build_filter(struct sock_filter *f)
{
    size_t n = 0;
    f[n++] = (struct sock_filter)LOAD(arch);
    f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
    f[n++] = (struct sock_filter)RETURN(SECCOMP_RET_KILL_PROCESS);
    f[n++] = (struct sock_filter)LOAD(nr); /* x32's numbers are none of these */
    for (size_t i = 0; i < BX_ARRAY_SIZE(allowed); i++) {
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], 0, 1);
        f[n++] = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
    }
    for (size_t i = 0; i < BX_ARRAY_SIZE(answered_enoent); i++) {
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, answered_enoent[i], 0, 1);
        f[n++] = (struct sock_filter)RETURN(SECCOMP_RET_ERRNO | ENOENT);
    }
    for (size_t i = 0; i < BX_ARRAY_SIZE(without_exec); i++) {
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, without_exec[i], 0, 4);
        f[n++] = (struct sock_filter)LOAD(args[2]); /* little-endian: the lower half comes first */
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1);
        f[n++] = (struct sock_filter)RETURN(SECCOMP_RET_KILL_PROCESS);
        f[n++] = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
    }
    f[n++] = (struct sock_filter)RETURN(SECCOMP_RET_KILL_PROCESS);
    return n;
}

static int limit(int resource, rlim_t most, struct bx_err *err)
{
    struct rlimit now;
    if (getrlimit(resource, &now) < 0)
        return bx_fail(err, BX_EINTERNAL, errno, "getrlimit");
    rlim_t value = now.rlim_max < most ? now.rlim_max : most;
    struct rlimit want = { .rlim_cur = value, .rlim_max = value };
    if (setrlimit(resource, &want) < 0)
        return bx_fail(err, BX_EINTERNAL, errno, "setrlimit");
    return 0;
}

static int limit_most(const struct bx_lockdown_limits *l, struct bx_err *err)
{
    const struct {
        int resource;
        uint64_t most;
        bool set;
    } all[] = {
        { RLIMIT_CORE, 0, true },
        { RLIMIT_CPU, CPU_SECONDS, true },
        { RLIMIT_NOFILE, l->polled, true }, /* those that are open stay usable; only poll asks for no more than this */
        { RLIMIT_FSIZE, l->file_size, l->file_size != 0 },
#if !defined(__SANITIZE_ADDRESS__) && !defined(BX_SANITIZED) /* whose shadow memory takes terabytes */
        { RLIMIT_AS, l->address_space, l->address_space != 0 },
        { RLIMIT_DATA, l->memory, l->memory != 0 },
#endif
    };
    int r = 0;
    for (size_t i = 0; i < BX_ARRAY_SIZE(all) && r >= 0; i++)
        if (all[i].set)
            r = limit(all[i].resource, all[i].most, err);
    return r;
}

int bx_lockdown(const struct bx_lockdown_limits *limits, struct bx_err *err)
{
    struct sock_filter filter[16 + 2 * BX_ARRAY_SIZE(allowed) + 2 * BX_ARRAY_SIZE(answered_enoent) + 5 * BX_ARRAY_SIZE(without_exec)];
    struct sock_fprog program = { .len = (unsigned short)build_filter(filter), .filter = filter };
    int r = limit_most(limits, err);
    if (r < 0)
        return r;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return bx_fail(err, BX_EINTERNAL, errno, "prctl");
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        return bx_fail(err, BX_EUNSUPPORTED, errno, "install the seccomp filter");
    return 0;
}
