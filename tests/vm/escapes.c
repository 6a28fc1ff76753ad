/* SPDX-License-Identifier: Apache-2.0 */
/*
 * escapes.c - runs in a box as root and tries what it must not: `escapes NAME...`, all of them without names (--who: user and effective user instead). One line for each,
 * "NAME refused (reason)", "NAME killed (signal)" or "NAME SUCCEEDED"; test_escapes.py says which is right. Static, no library of ours.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <sys/io.h>
#endif

/* A node made for the purpose, in the one place that is not mounted nodev. */
static long open_node(mode_t type, unsigned major, unsigned minor)
{
    const char *path = "/dev/node";
    int fd, e;

    unlink(path);
    if (mknod(path, type | 0600, makedev(major, minor)) < 0)
        return -1;
    fd = open(path, O_RDONLY | O_NONBLOCK);
    e = errno;
    unlink(path);
    errno = e;
    return fd;
}

static long open_for_writing(const char *path) { return open(path, O_WRONLY); }

static long raw_disk(void)
{
    for (unsigned major = 1; major < 512; major++) /* whatever number the disk has */
        if (open_node(S_IFBLK, major, 0) >= 0)
            return 0;
    return errno == ENXIO || errno == ENODEV ? (errno = EPERM, -1) : -1;
}
static long agents_ports(void)
{
    for (unsigned major = 229; major < 256; major++)
        for (unsigned minor = 0; minor < 4; minor++)
            if (open_node(S_IFCHR, major, minor) >= 0)
                return 0;
    return -1;
}
static long kernel_memory(void) { return open_node(S_IFCHR, 1, 1); }
static long io_port_device(void) { return open_node(S_IFCHR, 1, 4); }
static long kernel_log(void) { return open_node(S_IFCHR, 1, 11); }
static long console(void) { return open_node(S_IFCHR, 5, 1); }
static long serial_line(void) { return open_node(S_IFCHR, 4, 64); }

static long mount_tmpfs(void) { return mount("none", "/root", "tmpfs", 0, NULL); }
static long remount_proc_writable(void) { return mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL); }
static long remount_sys_writable(void) { return mount(NULL, "/sys", NULL, MS_REMOUNT, NULL); }
static long unmount_masks(void) { return umount2("/proc/kcore", MNT_DETACH); }
static long new_mount_interface(void) { return syscall(SYS_fsopen, "tmpfs", 0); }
static long copy_of_mounts(void) { return syscall(SYS_open_tree, AT_FDCWD, "/", 1); }
static long pivot(void) { return syscall(SYS_pivot_root, "/", "/root"); }
static long user_namespace(void) { return unshare(CLONE_NEWUSER); }
static long mount_namespace(void) { return unshare(CLONE_NEWNS); }
static long namespace_by_clone(void) { return syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL); }
static long namespaces_of_init(void) { int fd = open("/proc/1/ns/mnt", O_RDONLY); return fd < 0 ? -1 : setns(fd, 0); }
static long file_handles(void) { return syscall(SYS_open_by_handle_at, AT_FDCWD, NULL, 0); }

static long load_module(void) { return syscall(SYS_init_module, "x", 1, ""); }
static long load_module_file(void) { return syscall(SYS_finit_module, open("/proc/self/exe", O_RDONLY), "", 0); }
static long unload_module(void) { return syscall(SYS_delete_module, "virtio_blk", O_NONBLOCK); }
static long kexec(void) { return syscall(SYS_kexec_load, 0, 0, NULL, 0); }
static long kexec_file(void) { return syscall(SYS_kexec_file_load, open("/proc/self/exe", O_RDONLY), -1, 1, "", 0); }
static long restart_machine(void) { return syscall(SYS_reboot, 0xfee1dead, 672274793, 0x1234567, NULL); }
static long swap_on(void) { return swapon("/root/escapes", 0); }
static long set_clock(void) { struct timeval tv = {1, 0}; return settimeofday(&tv, NULL); }
#if defined(__x86_64__)
static long io_ports(void) { return ioperm(0x80, 1, 1); }
static long all_io_ports(void) { return iopl(3); }
#endif

static long keyring(void) { return syscall(SYS_keyctl, 0, -3, 1, 0, 0); }
static long add_key(void) { return syscall(SYS_add_key, "user", "x", "y", 1, -3); }
static long kernel_programs(void) { char attr[128] = {0}; return syscall(SYS_bpf, 0, attr, sizeof(attr)); }
static long performance_counters(void) { struct perf_event_attr a = {.size = sizeof(a)}; return syscall(SYS_perf_event_open, &a, 0, -1, -1, 0); }
static long user_faults(void) { return syscall(SYS_userfaultfd, 0); }
static long io_uring(void) { struct io_uring_params p = {0}; return syscall(SYS_io_uring_setup, 1, &p); }
static long host_socket(void) { return socket(40 /* AF_VSOCK */, SOCK_STREAM, 0); }
static long kernel_ciphers(void) { return socket(38 /* AF_ALG */, SOCK_SEQPACKET, 0); }
static long kernel_messages(void) { char text[64]; return syscall(SYS_syslog, 3, text, sizeof(text)); }
#if defined(__x86_64__)
static long call_of_32_bits(void)
{
    long nr = 20; /* getpid */

    __asm__ volatile("int $0x80" : "+a"(nr) : : "memory", "r8", "r9", "r10", "r11");
    errno = ENOSYS;
    return nr;
}
#endif

static long write_sysrq(void) { return open_for_writing("/proc/sysrq-trigger"); }
static long write_core_pattern(void) { return open_for_writing("/proc/sys/kernel/core_pattern"); }
static long write_modprobe(void) { return open_for_writing("/proc/sys/kernel/modprobe"); }
static long write_own_limits(void) { return open_for_writing("/sys/fs/cgroup/pids.max"); }
static long make_cgroup(void) { return mkdir("/sys/fs/cgroup/mine", 0755); }

static long memory_of_init(void) { return open("/proc/1/mem", O_RDONLY); }
static long root_of_init(void) { return open("/proc/1/root/", O_RDONLY | O_DIRECTORY); }
static long program_of_init(void) { return open("/proc/1/exe", O_RDONLY); }
static long trace_init(void) { return ptrace(PTRACE_ATTACH, 1, NULL, NULL); }
static long read_init(void)
{
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *)0x400000, 1};

    return syscall(SYS_process_vm_readv, 1, &here, 1, &there, 1, 0);
}

#define T(name) {#name, name}
static const struct {
    const char *name;
    long (*attempt)(void);
} attempts[] = {
    T(raw_disk), T(agents_ports), T(kernel_memory), T(io_port_device), T(kernel_log), T(console), T(serial_line),
    T(mount_tmpfs), T(remount_proc_writable), T(remount_sys_writable), T(unmount_masks), T(new_mount_interface), T(copy_of_mounts),
    T(pivot), T(user_namespace), T(mount_namespace), T(namespace_by_clone), T(namespaces_of_init), T(file_handles),
    T(load_module), T(load_module_file), T(unload_module), T(kexec), T(kexec_file), T(restart_machine), T(swap_on), T(set_clock),
#if defined(__x86_64__)
    T(io_ports), T(all_io_ports), T(call_of_32_bits),
#endif
    T(keyring), T(add_key), T(kernel_programs), T(performance_counters), T(user_faults), T(io_uring), T(host_socket),
    T(kernel_ciphers), T(kernel_messages), T(write_sysrq), T(write_core_pattern), T(write_modprobe),
    T(write_own_limits), T(make_cgroup), T(memory_of_init), T(root_of_init), T(program_of_init), T(trace_init),
    T(read_init),
};

static int try_one(size_t i)
{
    int status = 0;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        long r = attempts[i].attempt();

        if (r >= 0) {
            printf("%s SUCCEEDED\n", attempts[i].name);
        } else {
            printf("%s refused (%s)\n", attempts[i].name, strerror(errno));
        }
        fflush(stdout);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return 2;
    if (WIFSIGNALED(status))
        printf("%s killed (%s)\n", attempts[i].name, strsignal(WTERMSIG(status)));
    return 0;
}

int main(int argc, char **argv)
{
    int tried = 0;

    if (argc == 2 && strcmp(argv[1], "--who") == 0) {
        printf("%u %u\n", getuid(), geteuid());
        return 0;
    }
    for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
        int wanted = argc == 1;

        for (int k = 1; k < argc; k++)
            wanted |= strcmp(argv[k], attempts[i].name) == 0;
        if (!wanted)
            continue;
        if (try_one(i))
            return 2;
        tried++;
    }
    return argc > 1 && tried != argc - 1 ? 2 : 0;
}
