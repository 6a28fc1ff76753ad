/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path.c - paths: opening inside a root, trees, temporary files, sockets under long paths.
 *
 * openat2 is called by number: neither C library wraps it, and the static one comes without kernel headers. Where
 * it is missing (kernels before 5.6) the call fails with ENOSYS: no unsafe walk takes its place.
 */
#include "base/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"

#ifndef SYS_openat2
#define SYS_openat2 437
#endif

/* struct open_how and its flags, as <linux/openat2.h> has them. */
struct bx_open_how {
    uint64_t flags;
    uint64_t mode;
    uint64_t resolve;
};
#define BX_RESOLVE_NO_MAGICLINKS 0x02u
#define BX_RESOLVE_NO_SYMLINKS 0x04u
#define BX_RESOLVE_BENEATH 0x08u
#define BX_RESOLVE_IN_ROOT 0x10u

#define RM_DEPTH_MAX 320 /* one descriptor is held per level; more than copies make (BX_REC_DEPTH_MAX) */

static int open_resolved(int dirfd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
    struct bx_open_how how = { .flags = (uint64_t)(unsigned)flags | O_CLOEXEC, .resolve = resolve };

    if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE)
        how.mode = mode; /* the kernel refuses a mode without a reason for one */
    for (int tries = 0;; tries++) {
        long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

        if (fd >= 0)
            return (int)fd;
        /* EAGAIN: a rename elsewhere raced with a ".."; under attack that could go on for ever. */
        if (errno != EINTR && !(errno == EAGAIN && tries < 32))
            return -errno;
    }
}

int bx_open_in_root(int rootfd, const char *path, int flags, mode_t mode)
{
    return open_resolved(rootfd, path, flags, mode, BX_RESOLVE_IN_ROOT | BX_RESOLVE_NO_MAGICLINKS);
}

int bx_open_beneath(int dirfd, const char *path, int flags, mode_t mode)
{
    return open_resolved(dirfd, path, flags, mode,
                         BX_RESOLVE_BENEATH | BX_RESOLVE_NO_SYMLINKS | BX_RESOLVE_NO_MAGICLINKS);
}

static int mkdir_one(int dirfd, const char *path, mode_t mode)
{
    struct stat st;

    if (mkdirat(dirfd, path, mode) == 0)
        return 0;
    if (errno != EEXIST)
        return -errno;
    if (fstatat(dirfd, path, &st, 0) < 0)
        return -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int bx_mkdirat_p(int dirfd, const char *path, mode_t mode)
{
    char copy[PATH_MAX];
    size_t len = strlen(path);
    int r;

    r = mkdir_one(dirfd, path, mode);
    if (r != -ENOENT)
        return r;
    if (len == 0)
        return -ENOENT;
    if (len >= sizeof(copy))
        return -ENAMETOOLONG;
    memcpy(copy, path, len + 1);
    for (char *p = copy + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        r = mkdir_one(dirfd, copy, mode);
        *p = '/';
        if (r < 0)
            return r;
    }
    return mkdir_one(dirfd, path, mode);
}

int bx_mkdir_p(const char *path, mode_t mode)
{
    return bx_mkdirat_p(AT_FDCWD, path, mode);
}

static int rm_tree(int dirfd, const char *name, int depth);

/* Removes what is in the directory `fd` (taken). */
static int rm_content(int fd, int depth)
{
    DIR *dir = fdopendir(fd);
    int first = 0;

    if (!dir) {
        int r = -errno;

        bx_close(fd);
        return r;
    }
    for (;;) {
        struct dirent *e;
        int r;

        errno = 0;
        e = readdir(dir);
        if (!e) {
            if (errno != 0 && first == 0)
                first = -errno;
            break;
        }
        if (bx_streq(e->d_name, ".") || bx_streq(e->d_name, ".."))
            continue;
        r = rm_tree(fd, e->d_name, depth + 1);
        if (r < 0 && first == 0)
            first = r; /* the rest goes nevertheless */
    }
    closedir(dir);
    return first;
}

static int rm_tree(int dirfd, const char *name, int depth)
{
    int fd, r;

    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -errno;
    r = -errno;
    if (depth >= RM_DEPTH_MAX)
        return -ELOOP;
    fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOTDIR || errno == ELOOP ? r : -errno;
    r = rm_content(fd, depth);
    if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT && r == 0)
        r = -errno;
    return r;
}

int bx_rm_rf(int dirfd, const char *name)
{
    return rm_tree(dirfd, name, 0);
}

char *bx_path_join(const char *a, const char *b)
{
    size_t len = strlen(a);

    if (len == 0)
        return strdup(b);
    while (len > 0 && a[len - 1] == '/')
        len--;
    while (*b == '/')
        b++;
    return bx_strf("%.*s/%s", (int)len, a, b);
}

int bx_tmpfile_at(int dirfd, const char *prefix, mode_t mode, char *ret_name, size_t size)
{
    for (int tries = 0; tries < 16; tries++) {
        char id[BX_ID_LEN + 1];
        int n, fd;

        bx_random_id(id);
        n = snprintf(ret_name, size, "%s.%s.tmp", prefix, id);
        if (n < 0 || (size_t)n >= size)
            return -ENAMETOOLONG;
        fd = openat(dirfd, ret_name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
        if (fd >= 0)
            return fd;
        if (errno != EEXIST)
            return -errno;
    }
    return -EEXIST;
}

/*
 * Fills the address for `name` under dirfd. sun_path holds 108 bytes; a longer path is reached through a
 * descriptor of its directory, which must stay open while the address is used: ret_dir, -1 if none is needed.
 */
static int unix_address(int dirfd, const char *name, struct sockaddr_un *ret, int *ret_dir)
{
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
    bx_cleanup_close int dir = -1;
    bx_cleanup_free char *parent = NULL;
    int n;

    *ret_dir = -1;
    memset(ret, 0, sizeof(*ret));
    ret->sun_family = AF_UNIX;
    if (!*base)
        return -EINVAL;
    if ((dirfd == AT_FDCWD || name[0] == '/') && strlen(name) < sizeof(ret->sun_path)) {
        memcpy(ret->sun_path, name, strlen(name) + 1);
        return 0;
    }
    parent = slash ? strndup(name, (size_t)(slash - name) + 1) : strdup(".");
    if (!parent)
        return -ENOMEM;
    dir = openat(dirfd, parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -errno;
    n = snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", dir, base);
    if (n < 0 || (size_t)n >= sizeof(ret->sun_path))
        return -ENAMETOOLONG;
    *ret_dir = BX_TAKE_FD(dir);
    return 0;
}

static int unix_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    return fd < 0 ? -errno : fd;
}

int bx_unix_listen(int dirfd, const char *name, int backlog)
{
    bx_cleanup_close int dir = -1;
    bx_cleanup_close int fd = unix_socket();
    struct sockaddr_un addr;
    int r;

    if (fd < 0)
        return fd;
    r = unix_address(dirfd, name, &addr, &dir);
    if (r < 0)
        return r;
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, backlog) < 0)
        return -errno;
    return BX_TAKE_FD(fd);
}

int bx_unix_connect(int dirfd, const char *name)
{
    bx_cleanup_close int dir = -1;
    bx_cleanup_close int fd = unix_socket();
    struct sockaddr_un addr;
    int r;

    if (fd < 0)
        return fd;
    r = unix_address(dirfd, name, &addr, &dir);
    if (r < 0)
        return r;
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return -errno;
    return BX_TAKE_FD(fd);
}
