/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c - runs in a jail in place of the jailed program and tries one forbidden thing: the one its own name ends with.
 *
 * Static, started as ".../probe-<attempt>[+locked]". With "+locked" it first installs the second system call filter from the
 * descriptor in BX_HOOK_LOCK, as QEMU's hook does. Exit code: 0 the attempt succeeded (the jail leaks), 1 it was refused (errno on
 * stdout), 2 the probe itself is at fault. Being killed by SIGSYS is a refusal too.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define MEM_FD 3 /* template memory, as QEMU has it */
#define DISK_FD 9

static const char *self;

/* What open() of a file that exists outside gives. */
static long try_open(const char *path, int flags)
{
    return syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600);
}

static long open_passwd(void) { return try_open("/etc/passwd", O_RDONLY); }
static long open_proc(void) { return try_open("/proc/self/maps", O_RDONLY); }
static long open_sys(void) { return try_open("/sys/kernel", O_RDONLY | O_DIRECTORY); }
static long open_dev(void) { return try_open("/dev/null", O_RDONLY); }
static long open_dotdot(void) { return try_open("../../../../etc/passwd", O_RDONLY); }
static long create_file(void) { return try_open("/made", O_WRONLY | O_CREAT); }
static long write_self(void) { return try_open(self, O_WRONLY); }
static long read_self(void) { return try_open(self, O_RDONLY); } /* allowed before the lock, not after */
static long unlink_self(void) { return syscall(SYS_unlinkat, AT_FDCWD, self, 0); }
static long make_dir(void) { return syscall(SYS_mkdirat, AT_FDCWD, "/d", 0700); }

static long mem_write(void) { return pwrite(MEM_FD, "x", 1, 0); }
static long mem_truncate(void) { return ftruncate(MEM_FD, 0); }
static long disk_grow(void)
{
    (void)signal(SIGXFSZ, SIG_IGN);
    return ftruncate(DISK_FD, 1ll << 40);
}
static long mem_punch(void)
{
    return syscall(SYS_fallocate, MEM_FD, 3 /* punch, keep size */, 0, 4096);
}
static long mem_map_shared(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, MEM_FD, 0) == MAP_FAILED ? -1 : 0;
}
static long mem_chmod(void) { return syscall(SYS_fchmod, MEM_FD, 0666); }
static long mem_remap_writable(void)
{
    void *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, MEM_FD, 0);

    return p == MAP_FAILED ? -1 : mprotect(p, 4096, PROT_READ | PROT_WRITE);
}

static long sock_inet(void) { return socket(AF_INET, SOCK_STREAM, 0); }
static long sock_unix(void) { return socket(AF_UNIX, SOCK_STREAM, 0); }
static long sock_netlink(void) { return socket(AF_NETLINK, SOCK_RAW, 0); }
static long sock_pair(void)
{
    int v[2];

    return socketpair(AF_UNIX, SOCK_STREAM, 0, v);
}
static long sock_connect(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "/run/x" };

    return connect(4, (struct sockaddr *)&a, sizeof(a));
}
static long sock_accept(void) { return accept(4, NULL, NULL); }

static long exec_shell(void) { return execve("/bin/sh", (char *[]){ (char *)"sh", NULL }, NULL); }
static long exec_self(void) { return execve(self, (char *[]){ (char *)"/probe-succeed", NULL }, NULL); }
static long exec_memfd(void)
{
    int fd = memfd_create("x", 0);

    if (fd < 0)
        return -1;
    return syscall(SYS_execveat, fd, "", (char *[]){ (char *)"x", NULL }, NULL, AT_EMPTY_PATH);
}
static long fork_child(void)
{
    long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

    if (pid == 0)
        _exit(0);
    return pid;
}
static long vfork_child(void)
{
    return syscall(SYS_clone, CLONE_VM | SIGCHLD, NULL, NULL, NULL, NULL);
}
static long clone_userns(void) { return syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL); }
static long clone3_child(void)
{
    unsigned long args[8] = { 0 };

    return syscall(SYS_clone3, args, sizeof(args));
}

static long ptrace_me(void) { return ptrace(PTRACE_TRACEME, 0, NULL, NULL); }
static long ptrace_init(void) { return ptrace(PTRACE_ATTACH, 1, NULL, NULL); }
static long kill_init(void) { return kill(1, SIGKILL); }
static long kill_all(void) { return kill(-1, SIGKILL); }
static long pidfd_init(void) { return syscall(SYS_pidfd_open, 1, 0); }
static long peek_init(void)
{
    return syscall(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0);
}

static long limit_init(void) { return syscall(SYS_prlimit64, 1, 7 /* RLIMIT_NOFILE */, NULL, NULL); }

static long mount_tmpfs(void) { return mount("none", "/", "tmpfs", 0, NULL); }
static long umount_root(void) { return umount2("/", MNT_DETACH); }
static long new_mount_api(void) { return syscall(SYS_fsopen, "tmpfs", 0); }
static long unshare_user(void) { return unshare(CLONE_NEWUSER); }
static long unshare_fs(void) { return unshare(CLONE_FS); }
static long set_ns(void) { return setns(0, 0); }
static long do_chroot(void) { return chroot("/"); }
static long set_uid_0(void) { return syscall(SYS_setresuid, 0, 0, 0); }
static long set_host_name(void) { return sethostname("x", 1); }
static long do_bpf(void) { return syscall(SYS_bpf, 0, NULL, 0); }
static long do_perf(void) { return syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0); }
static long do_keyctl(void) { return syscall(SYS_keyctl, 0, 0); }
static long do_userfaultfd(void) { return syscall(SYS_userfaultfd, 0); }
static long do_io_uring(void)
{
    struct io_uring_params p = { 0 };

    return syscall(SYS_io_uring_setup, 1, &p);
}
static long do_module(void) { return syscall(SYS_init_module, "", 0, ""); }
static long do_reboot(void) { return syscall(SYS_reboot, 0, 0, 0, 0); }
static long do_personality(void) { return syscall(SYS_personality, 0xffffffff); }
static long do_open_by_handle(void) { return syscall(SYS_open_by_handle_at, 0, NULL, 0); }
static long shm_get(void) { return syscall(SYS_shmget, 0, 4096, 01600); }
static long is_root(void) { return getuid() == 0 || geteuid() == 0 || getgid() == 0 ? 0 : (errno = EPERM, -1); }
static long do_prctl(void) { return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); } /* allowed before the lock */

static long has_caps(void)
{
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct d[2] = { { 0 } };

    if (syscall(SYS_capget, &head, d))
        return -1;
    return d[0].permitted || d[1].permitted || d[0].inheritable ? 0 : (errno = EPERM, -1);
}

/* Not a try: lists what is there, for the test to compare. */
static long list_fds(void)
{
    printf("fds:");
    for (int fd = 0; fd < 256; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            printf(" %d", fd);
    }
    printf("\n");
    fflush(stdout);
    return -1;
}
static long list_root(void)
{
    char buf[4096];
    int fd = (int)try_open("/", O_RDONLY | O_DIRECTORY);
    long n = fd < 0 ? -1 : syscall(SYS_getdents64, fd, buf, sizeof(buf));

    printf("root:");
    for (long at = 0; at < n;) {
        const char *name = buf + at + 19;
        unsigned short len;

        memcpy(&len, buf + at + 16, sizeof(len));
        if (name[0] != '.')
            printf(" %s", name);
        at += len;
    }
    printf("\n");
    fflush(stdout);
    return -1;
}
static long succeed(void) { return 0; } /* proves that success is seen as such */

#define T(name) { #name, name }
static const struct attempt {
    const char *name;
    long (*run)(void);
} attempts[] = {
    T(open_passwd), T(open_proc), T(open_sys), T(open_dev), T(open_dotdot), T(create_file), T(write_self), T(read_self),
    T(unlink_self), T(make_dir), T(mem_write), T(disk_grow), T(mem_truncate), T(mem_punch), T(mem_map_shared), T(mem_chmod),
    T(mem_remap_writable), T(sock_inet), T(sock_unix), T(sock_netlink), T(sock_pair), T(sock_connect), T(sock_accept),
    T(exec_shell), T(exec_self), T(exec_memfd), T(fork_child), T(vfork_child), T(clone_userns), T(clone3_child), T(ptrace_me),
    T(ptrace_init), T(kill_init), T(kill_all), T(pidfd_init), T(peek_init), T(limit_init), T(mount_tmpfs), T(umount_root),
    T(new_mount_api), T(unshare_user), T(unshare_fs), T(set_ns), T(do_chroot), T(set_uid_0), T(set_host_name), T(do_bpf), T(do_perf),
    T(do_keyctl), T(do_userfaultfd), T(do_io_uring), T(do_module), T(do_reboot), T(do_personality), T(do_open_by_handle),
    T(shm_get), T(is_root), T(do_prctl), T(has_caps), T(list_fds), T(list_root), T(succeed),
};

static int install_lock(void)
{
    static struct sock_filter insns[1024];
    struct sock_fprog prog = { .filter = insns };
    const char *fd = getenv("BX_HOOK_LOCK");
    ssize_t n = fd && fd[0] >= '0' && fd[0] <= '9' && !fd[1] ? pread(fd[0] - '0', insns, sizeof(insns), 0) : -1;

    if (n <= 0)
        return -1;
    prog.len = (unsigned short)((size_t)n / sizeof(insns[0]));
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog);
}

int main(int argc, char **argv)
{
    char name[64];
    char *plus;

    self = argc > 0 ? argv[0] : "";
    plus = strrchr(self, '-');
    if (!plus || strlen(plus) >= sizeof(name))
        return 2;
    memcpy(name, plus + 1, strlen(plus));
    plus = strchr(name, '+');
    if (plus) {
        *plus = '\0';
        if (install_lock())
            return 2;
    }
    for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
        if (strcmp(attempts[i].name, name) != 0)
            continue;
        errno = 0;
        if (attempts[i].run() >= 0)
            return 0;
        printf("%s: %s\n", name, strerror(errno));
        return 1;
    }
    return 2;
}
