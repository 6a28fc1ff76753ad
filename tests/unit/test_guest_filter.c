/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filter of the workload's system calls: the verdict on every number by an interpreter of our own, against a list of what Docker's
 * default profile allows that was written apart from the filter's; and the kernel's, by a process that has it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/filter.h"

#define DOCKER 0xa80425fbULL /* what `docker run` gives */
#define ALL    ((1ULL << 41) - 1)
#define BIT(cap) (1ULL << CAP_##cap)

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE AUDIT_ARCH_AARCH64
#endif

#define EPERM_ANSWER  (SECCOMP_RET_ERRNO | EPERM)
#define ENOSYS_ANSWER (SECCOMP_RET_ERRNO | ENOSYS)

/* Runs the program as the kernel would; fails the test where the kernel would refuse to load it. */
static uint32_t verdict(const struct bx_filter *f, uint32_t arch, uint32_t nr, uint64_t arg)
{
    const struct seccomp_data data = {.nr = (int)nr, .arch = arch, .args = {arg}};
    uint32_t a = 0;

    for (size_t at = 0; at < f->n; at++) {
        const struct sock_filter *i = &f->insns[at];

        switch (i->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            assert_true(i->k % 4 == 0 && i->k + 4 <= sizeof(data));
            memcpy(&a, (const char *)&data + i->k, 4);
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            at += a == i->k ? i->jt : i->jf;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            at += a >= i->k ? i->jt : i->jf;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            at += a > i->k ? i->jt : i->jf;
            break;
        case BPF_JMP | BPF_JSET | BPF_K:
            at += a & i->k ? i->jt : i->jf;
            break;
        case BPF_RET | BPF_K:
            return i->k;
        default:
            fail_msg("instruction %zu: code %#x", at, i->code);
        }
    }
    fail_msg("ran out of the program");
    return 0;
}

static uint32_t native(uint64_t capabilities, long nr, uint64_t arg)
{
    struct bx_filter f;

    bx_filter_make(capabilities, &f);
    return verdict(&f, NATIVE, (uint32_t)nr, arg);
}

#if defined(__x86_64__)
#define A(name) [SYS_##name] = true
/* Whatever the capabilities. The last rows are of kernels later than the headers may be. */
static const bool always[512] = {
    A(accept), A(accept4), A(access), A(adjtimex), A(alarm), A(bind), A(brk), A(capget), A(capset), A(chdir),
    A(chmod), A(chown), A(clock_adjtime), A(clock_getres), A(clock_gettime), A(clock_nanosleep), A(close),
    A(close_range), A(connect), A(copy_file_range), A(creat), A(dup), A(dup2), A(dup3), A(epoll_create),
    A(epoll_create1), A(epoll_ctl), A(epoll_ctl_old), A(epoll_pwait), A(epoll_pwait2), A(epoll_wait),
    A(epoll_wait_old), A(eventfd), A(eventfd2), A(execve), A(execveat), A(exit), A(exit_group), A(faccessat),
    A(faccessat2), A(fadvise64), A(fallocate), A(fanotify_mark), A(fchdir), A(fchmod), A(fchmodat), A(fchown),
    A(fchownat), A(fcntl), A(fdatasync), A(fgetxattr), A(flistxattr), A(flock), A(fork), A(fremovexattr),
    A(fsetxattr), A(fstat), A(fstatfs), A(fsync), A(ftruncate), A(futex), A(futex_waitv), A(futimesat), A(getcpu),
    A(getcwd), A(getdents), A(getdents64), A(getegid), A(geteuid), A(getgid), A(getgroups), A(getitimer),
    A(getpeername), A(getpgid), A(getpgrp), A(getpid), A(getppid), A(getpriority), A(getrandom), A(getresgid),
    A(getresuid), A(getrlimit), A(get_robust_list), A(getrusage), A(getsid), A(getsockname), A(getsockopt),
    A(get_thread_area), A(gettid), A(gettimeofday), A(getuid), A(getxattr), A(inotify_add_watch), A(inotify_init),
    A(inotify_init1), A(inotify_rm_watch), A(io_cancel), A(ioctl), A(io_destroy), A(io_getevents), A(io_pgetevents),
    A(ioprio_get), A(ioprio_set), A(io_setup), A(io_submit), A(kill), A(landlock_add_rule),
    A(landlock_create_ruleset), A(landlock_restrict_self), A(lchown), A(lgetxattr), A(link), A(linkat), A(listen),
    A(listxattr), A(llistxattr), A(lremovexattr), A(lseek), A(lsetxattr), A(lstat), A(madvise), A(membarrier),
    A(memfd_create), A(memfd_secret), A(mincore), A(mkdir), A(mkdirat), A(mknod), A(mknodat), A(mlock), A(mlock2),
    A(mlockall), A(mmap), A(mprotect), A(mq_getsetattr), A(mq_notify), A(mq_open), A(mq_timedreceive),
    A(mq_timedsend), A(mq_unlink), A(mremap), A(msgctl), A(msgget), A(msgrcv), A(msgsnd), A(msync), A(munlock),
    A(munlockall), A(munmap), A(name_to_handle_at), A(nanosleep), A(newfstatat), A(open), A(openat), A(openat2),
    A(pause), A(pidfd_open), A(pidfd_send_signal), A(pipe), A(pipe2), A(pkey_alloc), A(pkey_free), A(pkey_mprotect),
    A(poll), A(ppoll), A(prctl), A(pread64), A(preadv), A(preadv2), A(prlimit64), A(process_mrelease), A(pselect6),
    A(pwrite64), A(pwritev), A(pwritev2), A(read), A(readahead), A(readlink), A(readlinkat), A(readv), A(recvfrom),
    A(recvmmsg), A(recvmsg), A(remap_file_pages), A(removexattr), A(rename), A(renameat), A(renameat2),
    A(restart_syscall), A(rmdir), A(rseq), A(rt_sigaction), A(rt_sigpending), A(rt_sigprocmask), A(rt_sigqueueinfo),
    A(rt_sigreturn), A(rt_sigsuspend), A(rt_sigtimedwait), A(rt_tgsigqueueinfo), A(sched_getaffinity),
    A(sched_getattr), A(sched_getparam), A(sched_get_priority_max), A(sched_get_priority_min), A(sched_getscheduler),
    A(sched_rr_get_interval), A(sched_setaffinity), A(sched_setattr), A(sched_setparam), A(sched_setscheduler),
    A(sched_yield), A(seccomp), A(select), A(semctl), A(semget), A(semop), A(semtimedop), A(sendfile), A(sendmmsg),
    A(sendmsg), A(sendto), A(setfsgid), A(setfsuid), A(setgid), A(setgroups), A(setitimer), A(setpgid),
    A(setpriority), A(setregid), A(setresgid), A(setresuid), A(setreuid), A(setrlimit), A(set_robust_list), A(setsid),
    A(setsockopt), A(set_thread_area), A(set_tid_address), A(setuid), A(setxattr), A(shmat), A(shmctl), A(shmdt),
    A(shmget), A(shutdown), A(sigaltstack), A(signalfd), A(signalfd4), A(socketpair), A(splice), A(stat), A(statfs),
    A(statx), A(symlink), A(symlinkat), A(sync), A(sync_file_range), A(syncfs), A(sysinfo), A(tee), A(tgkill),
    A(time), A(timer_create), A(timer_delete), A(timer_getoverrun), A(timer_gettime), A(timer_settime),
    A(timerfd_create), A(timerfd_gettime), A(timerfd_settime), A(times), A(tkill), A(truncate), A(umask), A(uname),
    A(unlink), A(unlinkat), A(utime), A(utimensat), A(utimes), A(vfork), A(vmsplice), A(wait4), A(waitid), A(write),
    A(writev), A(process_vm_readv), A(process_vm_writev), A(ptrace), A(arch_prctl), A(modify_ldt),
    [335] = true /* uretprobe */, [451] = true /* cachestat */, [452] = true /* fchmodat2 */, [453] = true /* map_shadow_stack */,
    [454] = true /* futex_wake */, [455] = true /* futex_wait */, [456] = true /* futex_requeue */, [457] = true /* statmount */,
    [458] = true /* listmount */, [462] = true /* mseal */, [463] = true /* setxattrat */, [464] = true /* getxattrat */,
    [465] = true /* listxattrat */, [466] = true /* removexattrat */,
};

/* With Docker's capabilities and a first argument of 0 besides: chroot is CAP_SYS_CHROOT's. */
static bool with_conditions(unsigned nr)
{
    return nr == SYS_chroot || nr == SYS_clone || nr == SYS_socket || nr == SYS_personality;
}

static void every_number_has_the_verdict_of_dockers_profile(void **state)
{
    (void)state;
    for (unsigned nr = 0; nr < 512; nr++) {
        bool known = nr <= 334 || (nr >= 424 && nr <= 466) || nr == 335;
        uint32_t want = always[nr] || with_conditions(nr) ? SECCOMP_RET_ALLOW : known ? EPERM_ANSWER : ENOSYS_ANSWER;
        uint32_t got = native(DOCKER, nr, 0);

        if (nr == SYS_clone3)
            want = ENOSYS_ANSWER;
        if (got != want)
            fail_msg("call %u: %#x, not %#x", nr, got, want);
        if (always[nr] && native(0, nr, 0) != SECCOMP_RET_ALLOW)
            fail_msg("call %u is not allowed without capabilities", nr);
    }
    for (uint32_t nr = 512; nr > 0; nr <<= 1)
        assert_int_equal(native(ALL, nr, 0), ENOSYS_ANSWER); /* the last ones are those of x32 */
    assert_int_equal(native(ALL, UINT32_MAX, 0), ENOSYS_ANSWER);
}
#endif

static void a_capability_allows_what_it_is_for_and_nothing_else_does(void **state)
{
    static const struct {
        long nr;
        uint64_t any_of;
    } cases[] = {
        {SYS_mount, BIT(SYS_ADMIN)}, {SYS_unshare, BIT(SYS_ADMIN)}, {SYS_setns, BIT(SYS_ADMIN)}, {SYS_clone3, BIT(SYS_ADMIN)},
        {SYS_fsopen, BIT(SYS_ADMIN)}, {SYS_sethostname, BIT(SYS_ADMIN)}, {SYS_bpf, BIT(SYS_ADMIN) | BIT(BPF)},
        {SYS_perf_event_open, BIT(SYS_ADMIN) | BIT(PERFMON)}, {SYS_syslog, BIT(SYS_ADMIN) | BIT(SYSLOG)}, {SYS_chroot, BIT(SYS_CHROOT)},
        {SYS_init_module, BIT(SYS_MODULE)}, {SYS_finit_module, BIT(SYS_MODULE)}, {SYS_delete_module, BIT(SYS_MODULE)},
        {SYS_reboot, BIT(SYS_BOOT)}, {SYS_settimeofday, BIT(SYS_TIME)}, {SYS_clock_settime, BIT(SYS_TIME)}, {SYS_acct, BIT(SYS_PACCT)},
        {SYS_mbind, BIT(SYS_NICE)}, {SYS_kcmp, BIT(SYS_PTRACE)}, {SYS_pidfd_getfd, BIT(SYS_PTRACE)},
        {SYS_open_by_handle_at, BIT(DAC_READ_SEARCH)}, {SYS_vhangup, BIT(SYS_TTY_CONFIG)},
#if defined(__x86_64__)
        {SYS_iopl, BIT(SYS_RAWIO)}, {SYS_ioperm, BIT(SYS_RAWIO)},
#endif
        {SYS_keyctl, 0}, {SYS_add_key, 0}, {SYS_request_key, 0}, {SYS_kexec_load, 0}, {SYS_kexec_file_load, 0}, {SYS_userfaultfd, 0},
        {SYS_io_uring_setup, 0}, {SYS_pivot_root, 0}, {SYS_swapon, 0}, {SYS_move_pages, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t refusal = cases[i].nr == SYS_clone3 ? ENOSYS_ANSWER : EPERM_ANSWER;

        for (unsigned cap = 0; cap < 41; cap++) {
            uint64_t bit = 1ULL << cap;

            if (native(bit, cases[i].nr, 0) != (cases[i].any_of & bit ? SECCOMP_RET_ALLOW : refusal))
                fail_msg("call %ld with capability %u alone", cases[i].nr, cap);
        }
        assert_int_equal(native(ALL, cases[i].nr, 0), cases[i].any_of ? SECCOMP_RET_ALLOW : refusal);
    }
}

static void arguments_are_looked_at(void **state)
{
    static const uint64_t spaces[] = {CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP};
    static const int refused[] = {12, 19, 20, 23, 25, 34, 37, AF_ALG, AF_VSOCK, 46, 47, 255, -1};
    static const int allowed[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_BLUETOOTH, 45};
    static const uint64_t odd[] = {1, 0x40000 /* no randomization */, 0x20000 | 0x40000, 0xfffffffe};

    (void)state;
    assert_int_equal(native(DOCKER, SYS_clone, SIGCHLD), SECCOMP_RET_ALLOW);
    assert_int_equal(native(DOCKER, SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | CLONE_SETTLS), SECCOMP_RET_ALLOW);
    for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
        assert_int_equal(native(DOCKER, SYS_clone, spaces[i] | SIGCHLD), EPERM_ANSWER);
        assert_int_equal(native(BIT(SYS_ADMIN), SYS_clone, spaces[i] | SIGCHLD), SECCOMP_RET_ALLOW);
    }
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        assert_int_equal(native(ALL, SYS_socket, (uint64_t)(int64_t)refused[i]), EPERM_ANSWER);
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
        assert_int_equal(native(0, SYS_socket, (uint64_t)allowed[i]), SECCOMP_RET_ALLOW);
    /* The kernel reads an int: what stands above it does not hide the family. */
    assert_int_equal(native(DOCKER, SYS_socket, 1ULL << 32 | AF_VSOCK), EPERM_ANSWER);
    assert_int_equal(native(DOCKER, SYS_clone, 1ULL << 32 | CLONE_NEWUSER), EPERM_ANSWER);
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        assert_int_equal(native(ALL, SYS_personality, odd[i]), EPERM_ANSWER);
    assert_int_equal(native(0, SYS_personality, 0xffffffff), SECCOMP_RET_ALLOW);
    assert_int_equal(native(0, SYS_personality, 0x20008), SECCOMP_RET_ALLOW);
}

static void another_architecture_ends_the_process(void **state)
{
    static const uint32_t others[] = {AUDIT_ARCH_I386, AUDIT_ARCH_ARM, 0, UINT32_MAX};
    struct bx_filter f;

    (void)state;
    bx_filter_make(ALL, &f);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        for (uint32_t nr = 0; nr < 512; nr++)
            assert_int_equal(verdict(&f, others[i], nr, 0), SECCOMP_RET_KILL_PROCESS);
}

/* Jumps are of one byte and the room is fixed: no mixture of capabilities may come to their end. */
static void it_can_be_made_for_any_capabilities(void **state)
{
    struct bx_filter f;
    uint64_t x = 88172645463325252ULL;
    size_t longest = 0;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bx_filter_make(i == 0 ? 0 : i == 1 ? ALL : i == 2 ? UINT64_MAX : x, &f);
        longest = f.n > longest ? f.n : longest;
        assert_int_equal(verdict(&f, NATIVE, SYS_keyctl, 0), EPERM_ANSWER);
        assert_int_equal(verdict(&f, NATIVE, SYS_read, 0), SECCOMP_RET_ALLOW);
        assert_int_equal(verdict(&f, NATIVE, 466, 0), SECCOMP_RET_ALLOW);
    }
    assert_true(longest < BX_FILTER_MAX);
}

/* In a child: gives its wait status. */
static int in_filtered_child(uint64_t capabilities, void (*run)(void))
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        struct bx_filter f;
        struct sock_fprog program;

        bx_filter_make(capabilities, &f);
        program = (struct sock_fprog){(unsigned short)f.n, f.insns};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
            _exit(99);
        run();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void must(bool truth, int code)
{
    if (!truth)
        _exit(code);
}

static void ordinary_work_and_what_is_refused(void)
{
    int ends[2], status;
    char byte;
    pid_t pid;

    must(pipe(ends) == 0, 1);
    pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", "echo x >&$0", ends[1] == 4 ? "4" : "1", (char *)NULL);
        _exit(127);
    }
    must(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0, 2);
    must(ends[1] != 4 || (read(ends[0], &byte, 1) == 1 && byte == 'x'), 3);
    must(syscall(SYS_unshare, CLONE_NEWUSER) == -1 && errno == EPERM, 4);
    must(syscall(SYS_keyctl, 0, 0, 0, 0, 0) == -1 && errno == EPERM, 5);
    must(syscall(SYS_bpf, 0, NULL, 0) == -1 && errno == EPERM, 6);
    must(syscall(SYS_clone3, NULL, 0) == -1 && errno == ENOSYS, 7);
    must(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL) == -1 && errno == EPERM, 8);
    must(socket(AF_VSOCK, SOCK_STREAM, 0) == -1 && errno == EPERM, 9);
    must(syscall(SYS_io_uring_setup, 1, NULL) == -1 && errno == EPERM, 10);
    must(syscall(500) == -1 && errno == ENOSYS, 11);
    must(socket(AF_UNIX, SOCK_STREAM, 0) >= 0, 12);
}

static void the_kernel_takes_it_and_a_program_works_under_it(void **state)
{
    int status;

    (void)state;
    status = in_filtered_child(DOCKER, ordinary_work_and_what_is_refused);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("the child ended with %#x", status);
}

#if defined(__x86_64__)
static void call_as_a_32_bit_program(void)
{
    long nr = 20; /* getpid there, writev here */

    __asm__ volatile("int $0x80" : "+a"(nr) : : "memory", "r8", "r9", "r10", "r11");
}

static void a_32_bit_call_ends_a_64_bit_program(void **state)
{
    int status;

    (void)state;
    status = in_filtered_child(ALL, call_as_a_32_bit_program);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#if defined(__x86_64__)
        cmocka_unit_test(every_number_has_the_verdict_of_dockers_profile),
        cmocka_unit_test(a_32_bit_call_ends_a_64_bit_program),
#endif
        cmocka_unit_test(a_capability_allows_what_it_is_for_and_nothing_else_does),
        cmocka_unit_test(arguments_are_looked_at),
        cmocka_unit_test(another_architecture_ends_the_process),
        cmocka_unit_test(it_can_be_made_for_any_capabilities),
        cmocka_unit_test(the_kernel_takes_it_and_a_program_works_under_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
