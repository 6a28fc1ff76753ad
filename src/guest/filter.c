/* SPDX-License-Identifier: Apache-2.0 */
/* filter.c - see filter.h. */
#include "guest/filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "base/err.h"
#include "base/mem.h"

#define CAP(name) (1ULL << CAP_##name)
#define NOBODY    0ULL

/* Refused, unless the box has one of these capabilities. */
static const struct refusal {
    int nr;
    uint64_t unless;
} refused[] = {
    {SYS_add_key, NOBODY},
    {SYS_io_uring_enter, NOBODY},
    {SYS_io_uring_register, NOBODY},
    {SYS_io_uring_setup, NOBODY},
    {SYS_kexec_file_load, NOBODY},
    {SYS_kexec_load, NOBODY},
    {SYS_keyctl, NOBODY},
    {SYS_migrate_pages, NOBODY},
    {SYS_move_pages, NOBODY},
    {SYS_nfsservctl, NOBODY},
    {SYS_pivot_root, NOBODY},
    {SYS_request_key, NOBODY},
    {SYS_swapoff, NOBODY},
    {SYS_swapon, NOBODY},
    {SYS_userfaultfd, NOBODY},
    {SYS_fanotify_init, CAP(SYS_ADMIN)},
    {SYS_fsconfig, CAP(SYS_ADMIN)},
    {SYS_fsmount, CAP(SYS_ADMIN)},
    {SYS_fsopen, CAP(SYS_ADMIN)},
    {SYS_fspick, CAP(SYS_ADMIN)},
#ifdef SYS_lookup_dcookie /* not in later kernels */
    {SYS_lookup_dcookie, CAP(SYS_ADMIN)},
#endif
    {SYS_mount, CAP(SYS_ADMIN)},
    {SYS_mount_setattr, CAP(SYS_ADMIN)},
    {SYS_move_mount, CAP(SYS_ADMIN)},
    {SYS_open_tree, CAP(SYS_ADMIN)},
    {SYS_quotactl, CAP(SYS_ADMIN)},
    {SYS_quotactl_fd, CAP(SYS_ADMIN)},
    {SYS_setdomainname, CAP(SYS_ADMIN)},
    {SYS_sethostname, CAP(SYS_ADMIN)},
    {SYS_setns, CAP(SYS_ADMIN)},
    {SYS_umount2, CAP(SYS_ADMIN)},
    {SYS_unshare, CAP(SYS_ADMIN)},
    {459, CAP(SYS_ADMIN)}, /* lsm_get_self_attr; the build host's headers may end before it */
    {460, CAP(SYS_ADMIN)}, /* lsm_set_self_attr */
    {461, CAP(SYS_ADMIN)}, /* lsm_list_modules */
    {SYS_bpf, CAP(SYS_ADMIN) | CAP(BPF)},
    {SYS_perf_event_open, CAP(SYS_ADMIN) | CAP(PERFMON)},
    {SYS_syslog, CAP(SYS_ADMIN) | CAP(SYSLOG)},
    {SYS_acct, CAP(SYS_PACCT)},
    {SYS_chroot, CAP(SYS_CHROOT)},
    {SYS_clock_settime, CAP(SYS_TIME)},
    {SYS_settimeofday, CAP(SYS_TIME)},
    {SYS_delete_module, CAP(SYS_MODULE)},
    {SYS_finit_module, CAP(SYS_MODULE)},
    {SYS_init_module, CAP(SYS_MODULE)},
    {SYS_get_mempolicy, CAP(SYS_NICE)},
    {SYS_mbind, CAP(SYS_NICE)},
    {SYS_set_mempolicy, CAP(SYS_NICE)},
    {SYS_set_mempolicy_home_node, CAP(SYS_NICE)},
    {SYS_kcmp, CAP(SYS_PTRACE)},
    {SYS_pidfd_getfd, CAP(SYS_PTRACE)},
    {SYS_process_madvise, CAP(SYS_PTRACE)},
    {SYS_open_by_handle_at, CAP(DAC_READ_SEARCH)},
    {SYS_reboot, CAP(SYS_BOOT)},
    {SYS_vhangup, CAP(SYS_TTY_CONFIG)},
#ifdef __x86_64__
    {SYS_ioperm, CAP(SYS_RAWIO)},
    {SYS_iopl, CAP(SYS_RAWIO)},
    {SYS__sysctl, NOBODY},
    {SYS_afs_syscall, NOBODY},
    {SYS_create_module, NOBODY},
    {SYS_get_kernel_syms, NOBODY},
    {SYS_getpmsg, NOBODY},
    {SYS_putpmsg, NOBODY},
    {SYS_query_module, NOBODY},
    {SYS_security, NOBODY},
    {SYS_sysfs, NOBODY},
    {SYS_tuxcall, NOBODY},
    {SYS_uselib, NOBODY},
    {SYS_ustat, NOBODY},
    {SYS_vserver, NOBODY},
#endif
};

/* Numbers with a meaning, first and last. */
static const struct {
    unsigned first, last;
} known[] = {
#if defined(__x86_64__)
    {0, 335},
#elif defined(__aarch64__)
    {0, 243},
    {260, 294},
#endif
    {424, 466}, /* removexattrat, Linux 6.13 */
};
#define CALLS 467

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE AUDIT_ARCH_AARCH64
#endif

#define NEW_NAMESPACES                                                                                       \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)
#define FAMILY_LAST 45 /* AF_MCTP */
/* Those that no kernel has any more, and the two that reach parts nobody in a box needs: the kernel's ciphers, the machine's host. */
static const uint32_t refused_families[] = {AF_DECnet, AF_ECONET, AF_ATMSVC, AF_IRDA, AF_WANPIPE, AF_ISDN, AF_CAIF, AF_ALG, AF_VSOCK};
/* Linux, 32 bits, uname as of Linux 2.6, both; and to ask. */
static const uint32_t personalities[] = {0, 0x8, 0x20000, 0x20008, 0xffffffff};

enum verdict { NOSYS, ALLOW, REFUSE, BY_FLAGS, BY_FAMILY, BY_PERSONALITY };

struct run {
    uint32_t first; /* number; it ends where the next one begins */
    enum verdict verdict;
};

static void decide(uint64_t capabilities, enum verdict verdicts[CALLS])
{
    memset(verdicts, 0, sizeof(*verdicts) * CALLS); /* NOSYS */
    for (size_t i = 0; i < BX_ARRAY_SIZE(known); i++)
        for (unsigned nr = known[i].first; nr <= known[i].last; nr++)
            verdicts[nr] = ALLOW;
    for (size_t i = 0; i < BX_ARRAY_SIZE(refused); i++)
        if (!(capabilities & refused[i].unless))
            verdicts[refused[i].nr] = REFUSE;
    verdicts[SYS_socket] = BY_FAMILY;
    verdicts[SYS_personality] = BY_PERSONALITY;
    if (capabilities & CAP(SYS_ADMIN))
        return;
    verdicts[SYS_clone] = BY_FLAGS;
    verdicts[SYS_clone3] = NOSYS; /* its flags are in memory, where no filter sees them: libraries go back to clone */
}

static size_t make_runs(const enum verdict verdicts[CALLS], struct run runs[CALLS + 1])
{
    size_t n = 0;

    for (uint32_t nr = 0; nr < CALLS; nr++)
        if (n == 0 || runs[n - 1].verdict != verdicts[nr])
            runs[n++] = (struct run){nr, verdicts[nr]};
    if (runs[n - 1].verdict != NOSYS)
        runs[n++] = (struct run){CALLS, NOSYS};
    return n;
}

/* Appends one instruction; where it is. */
static size_t emit(struct bx_filter *f, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
    bx_assert(f->n < BX_FILTER_MAX);
    f->insns[f->n] = (struct sock_filter){code, jt, jf, k};
    return f->n++;
}

static void answer(struct bx_filter *f, uint32_t what)
{
    emit(f, BPF_RET | BPF_K, what, 0, 0);
}

static void load(struct bx_filter *f, size_t at)
{
    emit(f, BPF_LD | BPF_W | BPF_ABS, (uint32_t)at, 0, 0);
}

/* Answers `listed` where the value that is loaded is in the list, `other` where it is not. */
static void answer_list(struct bx_filter *f, const uint32_t *list, size_t n, uint32_t listed, uint32_t other)
{
    for (size_t i = 0; i < n; i++)
        emit(f, BPF_JMP | BPF_JEQ | BPF_K, list[i], (uint8_t)(n - i), 0);
    answer(f, other);
    answer(f, listed);
}

/* The first argument: the kernel reads no more than its lower half in any of these calls. */
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the lower half of an argument is elsewhere"
#endif
#define ARGUMENT offsetof(struct seccomp_data, args[0])
#define REFUSAL  (SECCOMP_RET_ERRNO | EPERM)

static void leaf(struct bx_filter *f, enum verdict verdict)
{
    switch (verdict) {
    case NOSYS:
        answer(f, SECCOMP_RET_ERRNO | ENOSYS);
        break;
    case ALLOW:
        answer(f, SECCOMP_RET_ALLOW);
        break;
    case REFUSE:
        answer(f, REFUSAL);
        break;
    case BY_FLAGS:
        load(f, ARGUMENT);
        emit(f, BPF_JMP | BPF_JSET | BPF_K, NEW_NAMESPACES, 0, 1);
        answer(f, REFUSAL);
        answer(f, SECCOMP_RET_ALLOW);
        break;
    case BY_FAMILY:
        load(f, ARGUMENT);
        emit(f, BPF_JMP | BPF_JGT | BPF_K, FAMILY_LAST, 0, 1);
        answer(f, REFUSAL);
        answer_list(f, refused_families, BX_ARRAY_SIZE(refused_families), REFUSAL, SECCOMP_RET_ALLOW);
        break;
    case BY_PERSONALITY:
        load(f, ARGUMENT);
        answer_list(f, personalities, BX_ARRAY_SIZE(personalities), SECCOMP_RET_ALLOW, REFUSAL);
        break;
    }
}

/* The search among these runs, depth first: as deep as the logarithm of their number. */
static void search(struct bx_filter *f, const struct run *runs, size_t n) /* NOLINT(misc-no-recursion) */
{
    size_t half = n / 2, at;

    if (n == 1) {
        leaf(f, runs[0].verdict);
        return;
    }
    at = emit(f, BPF_JMP | BPF_JGE | BPF_K, runs[half].first, 0, 0);
    search(f, runs, half);
    bx_assert(f->n - at - 1 <= UINT8_MAX);
    f->insns[at].jt = (uint8_t)(f->n - at - 1);
    search(f, runs + half, n - half);
}

void bx_filter_make(uint64_t capabilities, struct bx_filter *ret)
{
    enum verdict verdicts[CALLS];
    struct run runs[CALLS + 1];

    decide(capabilities, verdicts);
    ret->n = 0;
    load(ret, offsetof(struct seccomp_data, arch));
    emit(ret, BPF_JMP | BPF_JEQ | BPF_K, NATIVE, 1, 0);
    answer(ret, SECCOMP_RET_KILL_PROCESS);
    load(ret, offsetof(struct seccomp_data, nr));
    search(ret, runs, make_runs(verdicts, runs));
}
