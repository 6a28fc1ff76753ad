/* SPDX-License-Identifier: Apache-2.0 */
/* fd.c - descriptors: whole transfers, whole files, sealed memory. */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/path.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

int bx_close(int fd)
{
    int saved = errno;

    if (fd >= 0)
        close(fd); /* never retried: on Linux the number is free even after EINTR */
    errno = saved;
    return -1;
}

static int change_flag(int fd, int get, int set, int flag, bool on)
{
    int old = fcntl(fd, get), new;

    if (old < 0)
        return -errno;
    new = on ? old | flag : old & ~flag;
    if (new != old && fcntl(fd, set, new) < 0)
        return -errno;
    return 0;
}

int bx_fd_nonblock(int fd, bool on)
{
    return change_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on);
}

int bx_fd_cloexec(int fd, bool on)
{
    return change_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on);
}

/* One step of a transfer: what the system call returns. */
typedef ssize_t step_fn(int fd, void *p, size_t len, off_t off);

static ssize_t step_write(int fd, void *p, size_t len, off_t off)
{
    (void)off;
    return write(fd, p, len);
}

static ssize_t step_read(int fd, void *p, size_t len, off_t off)
{
    (void)off;
    return read(fd, p, len);
}

static ssize_t step_pwrite(int fd, void *p, size_t len, off_t off)
{
    return pwrite(fd, p, len, off);
}

static ssize_t step_pread(int fd, void *p, size_t len, off_t off)
{
    return pread(fd, p, len, off);
}

/* All of it; a step of nothing is the failure `at_nothing`. */
static int transfer(step_fn *step, int fd, char *p, size_t len, off_t off, int at_nothing)
{
    while (len > 0) {
        ssize_t n = step(fd, p, len, off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return at_nothing;
        p += n;
        off += n;
        len -= (size_t)n;
    }
    return 0;
}

int bx_write_full(int fd, const void *buf, size_t len)
{
    return transfer(step_write, fd, (char *)buf, len, 0, -EIO);
}

int bx_pwrite_full(int fd, const void *buf, size_t len, off_t off)
{
    return transfer(step_pwrite, fd, (char *)buf, len, off, -EIO);
}

int bx_read_full(int fd, void *buf, size_t len)
{
    return transfer(step_read, fd, buf, len, 0, -EPIPE);
}

int bx_pread_full(int fd, void *buf, size_t len, off_t off)
{
    return transfer(step_pread, fd, buf, len, off, -EPIPE);
}

int bx_read_file(int dirfd, const char *name, size_t max, char **ret_data, size_t *ret_len)
{
    bx_cleanup_close int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return -errno;
    return bx_read_fd(fd, max, ret_data, ret_len);
}

int bx_read_fd(int fd, size_t max, char **ret_data, size_t *ret_len)
{
    bx_cleanup_free char *data = NULL;
    size_t len = 0, cap = 4096;
    size_t limit = max > SIZE_MAX - 2 ? SIZE_MAX : max + 2; /* one byte to notice too much, one for the NUL */
    struct stat st;

    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
        if ((uintmax_t)st.st_size > max)
            return -EFBIG;
        cap = (size_t)st.st_size + 2; /* a hint: the file may grow, and files of /proc say 0 */
    }
    for (;;) {
        char *bigger = realloc(data, cap = BX_MIN(cap, limit));
        ssize_t n;

        if (!bigger)
            return -ENOMEM;
        data = bigger;
        while (len < cap - 1) {
            n = read(fd, data + len, cap - 1 - len);
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0)
                return -errno;
            if (n == 0) {
                data[len] = '\0';
                *ret_data = BX_TAKE_PTR(data);
                if (ret_len)
                    *ret_len = len;
                return 0;
            }
            len += (size_t)n;
            if (len > max)
                return -EFBIG;
        }
        if (bx_mul_overflow(cap, (size_t)2, &cap))
            cap = SIZE_MAX;
    }
}

int bx_write_file_atomic(int dirfd, const char *name, const void *data, size_t len, mode_t mode)
{
    bx_cleanup_close int fd = -1;
    bx_cleanup_free char *tmp = NULL;
    size_t size = strlen(name) + 32;
    int r;

    tmp = malloc(size);
    if (!tmp)
        return -ENOMEM;
    fd = bx_tmpfile_at(dirfd, name, mode, tmp, size);
    if (fd < 0)
        return fd;
    r = bx_write_full(fd, data, len);
    if (r == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0 || renameat(dirfd, tmp, dirfd, name) < 0))
        r = -errno;
    if (r < 0)
        unlinkat(dirfd, tmp, 0);
    return r;
}

int bx_fsync_dir(int dirfd)
{
    /* Through a new descriptor: the caller's may be O_PATH. */
    bx_cleanup_close int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    return fsync(fd) < 0 ? -errno : 0;
}

int bx_memfd_sealed(const char *name, const void *data, size_t len)
{
    bx_cleanup_close int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int r;

    if (fd < 0)
        return -errno;
    r = bx_pwrite_full(fd, data, len, 0); /* pwrite: the offset stays 0 for the reader */
    if (r < 0)
        return r;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
        return -errno;
    return BX_TAKE_FD(fd);
}

/* Layout of the kernel's directory entries; read by hand because opendir allocates, and this runs in children
 * cloned from a program whose heap we know nothing of. */
struct raw_dirent {
    uint64_t ino;
    int64_t off;
    unsigned short reclen;
    unsigned char type;
    char name[];
};

/* One pass over /proc/self/fd; number of descriptors closed, or -errno. */
static int close_listed(int first)
{
    bx_cleanup_close int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _Alignas(struct raw_dirent) char buf[4096];
    int closed = 0;

    if (dir < 0)
        return -errno;
    for (;;) {
        long n = syscall(SYS_getdents64, dir, buf, sizeof(buf));

        if (n < 0)
            return -errno;
        if (n == 0)
            return closed;
        for (long at = 0; at < n;) {
            const struct raw_dirent *e = (const void *)(buf + at);
            int fd = 0;

            at += e->reclen;
            if (e->name[0] < '0' || e->name[0] > '9')
                continue;
            for (const char *p = e->name; *p; p++)
                fd = fd * 10 + (*p - '0');
            if (fd >= first && fd != dir && close(fd) == 0)
                closed++;
        }
    }
}

int bx_close_from(int first)
{
    int n;

    if (syscall(SYS_close_range, (unsigned)first, ~0U, 0) == 0)
        return 0;
    if (errno != ENOSYS && errno != EPERM) /* older container filters answer EPERM */
        return -errno;
    /* Closing may make the listing skip entries: until a pass finds none. */
    do
        n = close_listed(first);
    while (n > 0);
    return n;
}

int bx_copy_file(int from, int to)
{
    off_t in = 0, out = 0;
    ssize_t n;

    if (ioctl(to, FICLONE, from) == 0)
        return 0;
    do {
        n = copy_file_range(from, &in, to, &out, 1u << 30, 0);
    } while (n > 0 || (n < 0 && errno == EINTR));
    return n < 0 ? -errno : 0;
}
