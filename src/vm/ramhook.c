/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ramhook.c - the library preloaded into QEMU that hands it template memory it cannot write.
 *
 * Theory of operation
 *
 *  QEMU before 8.2 opens the file behind guest memory read-write even when it maps it private, and its RAM discard
 *  punches holes into that file. Either would let a captured QEMU, or a guest with a balloon, change the memory of every
 *  other box. So QEMU is given no path at all: `mem-path=/@ram/N` is answered here, from inherited descriptor N.
 *
 *   open "/@ram/N"      a duplicate of N. If N was opened read-only, QEMU holds nothing that could write.
 *   mmap of it, private anonymous memory, and over it private maps of only those parts of the file that hold data:
 *                       touching a hole then allocates nothing in the template.
 *   fallocate of it     success, and nothing happens (read-only descriptors only).
 *   open "/dev/kvm"     a duplicate of the descriptor named by BX_HOOK_KVM, if set.
 *   open "/@lock"       installs the seccomp program found on descriptor BX_HOOK_LOCK on all threads, for good. The
 *                       shim asks for it (a character device on that file) once the guest runs.
 *
 *  A descriptor that was opened read-write (making a template) is passed through untouched: shared, as QEMU asks.
 *  Everything else goes straight to the kernel. None of this is a wall by itself: the walls are the read-only descriptor
 *  and the jail. The hook only teaches an old QEMU to live with them.
 *
 *  It runs inside QEMU before main, in any thread: no allocation, no locks, no stdio.
 */
#undef _FILE_OFFSET_BITS /* with it, open would be an alias of open64: both names are wanted here */

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HOOK_EXPORT __attribute__((visibility("default")))
#define RAM_MAX 8        /* memory files of one machine */
#define LOCK_INSNS 1024u /* longest seccomp program: the kernel takes 4096 */

/* Read-only memory files QEMU has open. Filled while QEMU is single-threaded (machine creation). */
static int ram_fds[RAM_MAX];
static unsigned n_ram_fds;
static int lock_fd = -1;
static int kvm_fd = -1;
static struct sock_filter lock_insns[LOCK_INSNS];

/* The interposed names; declared here because <fcntl.h> may make macros or inlines of them. */
HOOK_EXPORT int open(const char *path, int flags, ...);
HOOK_EXPORT int open64(const char *path, int flags, ...);
HOOK_EXPORT int openat(int dirfd, const char *path, int flags, ...);
HOOK_EXPORT int openat64(int dirfd, const char *path, int flags, ...);
HOOK_EXPORT int __open_2(const char *path, int flags);
HOOK_EXPORT int __open64_2(const char *path, int flags);
HOOK_EXPORT void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off);
HOOK_EXPORT void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off64_t off);
HOOK_EXPORT int fallocate(int fd, int mode, off_t off, off_t len);
HOOK_EXPORT int fallocate64(int fd, int mode, off64_t off, off64_t len);

/* A decimal number that is the whole string; -1 otherwise. */
static int number(const char *s)
{
    int n = 0;

    if (!s || !*s)
        return -1;
    for (; *s; s++) {
        if (*s < '0' || *s > '9' || n > 100000)
            return -1;
        n = n * 10 + (*s - '0');
    }
    return n;
}

/* What follows prefix in s, or NULL. */
static const char *after(const char *s, const char *prefix)
{
    while (*prefix) {
        if (*s++ != *prefix++)
            return NULL;
    }
    return s;
}

__attribute__((constructor)) static void hook_init(void)
{
    lock_fd = number(getenv("BX_HOOK_LOCK"));
    kvm_fd = number(getenv("BX_HOOK_KVM"));
}

static int open_ram(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    int dup_fd;

    if (flags < 0)
        return -1;
    dup_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (dup_fd < 0 || (flags & O_ACCMODE) != O_RDONLY)
        return dup_fd;
    if (n_ram_fds == RAM_MAX) {
        close(dup_fd);
        errno = EMFILE;
        return -1;
    }
    ram_fds[n_ram_fds++] = dup_fd;
    return dup_fd;
}

/* Installs the second stage. Returns a descriptor to be open as the file, or -1. */
static int open_lock(void)
{
    struct sock_fprog prog = { .filter = lock_insns };
    ssize_t len = pread(lock_fd, lock_insns, sizeof(lock_insns), 0);
    int fd;

    if (len <= 0 || (size_t)len % sizeof(lock_insns[0]) || (size_t)len == sizeof(lock_insns)) {
        errno = EINVAL;
        return -1;
    }
    prog.len = (unsigned short)((size_t)len / sizeof(lock_insns[0]));
    fd = fcntl(lock_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog)) {
        int e = errno;

        close(fd);
        errno = e ? e : ESRCH; /* a positive result names a thread that could not follow */
        return -1;
    }
    return fd;
}

static int open_any(int dirfd, const char *path, int flags, mode_t mode)
{
    const char *rest;

    if (path && path[0] == '/') {
        if ((rest = after(path, "/@ram/")))
            return open_ram(number(rest));
        if ((rest = after(path, "/@lock")) && !*rest)
            return open_lock();
        if (kvm_fd >= 0 && (rest = after(path, "/dev/kvm")) && !*rest)
            return fcntl(kvm_fd, F_DUPFD_CLOEXEC, 0);
    }
    return (int)syscall(SYS_openat, dirfd, path, flags, mode);
}

static mode_t mode_arg(int flags, va_list ap)
{
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
}

#define OPEN_BODY(dirfd)                                                                                    \
    va_list ap;                                                                                             \
    mode_t mode;                                                                                            \
    va_start(ap, flags);                                                                                    \
    mode = mode_arg(flags, ap);                                                                             \
    va_end(ap);                                                                                             \
    return open_any(dirfd, path, flags, mode)

int open(const char *path, int flags, ...)
{
    OPEN_BODY(AT_FDCWD);
}

int open64(const char *path, int flags, ...)
{
    OPEN_BODY(AT_FDCWD);
}

int openat(int dirfd, const char *path, int flags, ...)
{
    OPEN_BODY(dirfd);
}

int openat64(int dirfd, const char *path, int flags, ...)
{
    OPEN_BODY(dirfd);
}

/* What _FORTIFY_SOURCE makes of open with flags it cannot see through. */
int __open_2(const char *path, int flags)
{
    return open_any(AT_FDCWD, path, flags, 0);
}

int __open64_2(const char *path, int flags)
{
    return open_any(AT_FDCWD, path, flags, 0);
}

static bool is_ram(int fd)
{
    for (unsigned i = 0; fd >= 0 && i < n_ram_fds; i++) {
        if (ram_fds[i] == fd)
            return true;
    }
    return false;
}

static void *raw_mmap(void *addr, size_t len, int prot, int flags, int fd, off64_t off)
{
    return (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, off);
}

/* Maps what the file holds of [off, off+len) over the anonymous memory at base. */
static int map_extents(char *base, size_t len, int prot, int fd, off64_t off)
{
    off64_t end = off + (off64_t)len;
    off64_t pos = off;

    while (pos < end) {
        off64_t data = lseek64(fd, pos, SEEK_DATA);
        off64_t hole;

        if (data < 0)
            return errno == ENXIO ? 0 : -1; /* only a hole is left */
        hole = lseek64(fd, data, SEEK_HOLE);
        if (hole < 0)
            return -1;
        data &= ~(off64_t)4095;
        hole = (hole + 4095) & ~(off64_t)4095;
        if (data >= end)
            return 0;
        if (hole > end)
            hole = end;
        if (raw_mmap(base + (data - off), (size_t)(hole - data), prot, MAP_PRIVATE | MAP_FIXED, fd, data) ==
            MAP_FAILED)
            return -1;
        pos = hole;
    }
    return 0;
}

static void *map_any(void *addr, size_t len, int prot, int flags, int fd, off64_t off)
{
    char *base;

    if (!is_ram(fd))
        return raw_mmap(addr, len, prot, flags, fd, off);
    if (flags & MAP_SHARED) {
        errno = EACCES;
        return MAP_FAILED;
    }
    base = raw_mmap(addr, len, prot, (flags & ~MAP_SYNC) | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED || map_extents(base, len, prot, fd, off) == 0)
        return base;
    return MAP_FAILED; /* QEMU exits; what was laid stays until then */
}

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
    return map_any(addr, len, prot, flags, fd, off);
}

void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off64_t off)
{
    return map_any(addr, len, prot, flags, fd, off);
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
    return is_ram(fd) ? 0 : (int)syscall(SYS_fallocate, fd, mode, off, len);
}

int fallocate64(int fd, int mode, off64_t off, off64_t len)
{
    return is_ram(fd) ? 0 : (int)syscall(SYS_fallocate, fd, mode, off, len);
}
