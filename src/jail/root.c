/* SPDX-License-Identifier: Apache-2.0 */
/*
 * root.c - the private root: a read-only tmpfs that holds the plan's mounts and nothing else.
 *
 * Theory of operation (runs in the cloned child: no allocation, no stdio)
 *
 *  1. every bind source is cloned as a detached mount (open_tree) while the host's tree is still in sight, and made
 *     read-only, nosuid, nodev there, before anyone can reach it;
 *  2. a tmpfs is mounted over a directory that every system has, the mount points are made in it, the clones moved there;
 *  3. the tmpfs is made read-only; pivot_root(".", ".") puts it on top of the old root, which is then detached.
 *
 *  Descriptors that were opened before stay: they are what the plan passes on, the rest is closed before exec.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jail/internal.h"

/* From <linux/mount.h>, which cannot be included beside <sys/mount.h> of every C library. */
#define JAIL_OPEN_TREE_CLONE 1u
#define JAIL_MOVE_MOUNT_F_EMPTY_PATH 0x4u
#define JAIL_FSCONFIG_SET_STRING 1u
#define JAIL_FSCONFIG_CMD_CREATE 6u
#define JAIL_ATTR_RDONLY 0x1ull
#define JAIL_ATTR_NOSUID 0x2ull
#define JAIL_ATTR_NODEV 0x4ull
#define JAIL_ATTR_NOEXEC 0x8ull
#define JAIL_AT_RECURSIVE 0x8000u

struct jail_mount_attr {
    uint64_t attr_set;
    uint64_t attr_clr;
    uint64_t propagation;
    uint64_t userns_fd;
};

static int set_attr(int fd, uint64_t attr)
{
    struct jail_mount_attr a = { .attr_set = attr };

    return syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | JAIL_AT_RECURSIVE, &a, sizeof(a)) ? -errno : 0;
}

static int move_to(int fd, int dirfd, const char *path)
{
    return syscall(SYS_move_mount, fd, "", dirfd, path, JAIL_MOVE_MOUNT_F_EMPTY_PATH) ? -errno : 0;
}

/* A detached mount of a new file system. */
static int new_fs(const char *type, const char *size, const char *mode, uint64_t attr)
{
    int fs = (int)syscall(SYS_fsopen, type, 1 /* FSOPEN_CLOEXEC */);
    int fd = -1;
    int e;

    if (fs < 0)
        return -errno;
    if (size && (syscall(SYS_fsconfig, fs, JAIL_FSCONFIG_SET_STRING, "size", size, 0) ||
                 syscall(SYS_fsconfig, fs, JAIL_FSCONFIG_SET_STRING, "mode", mode, 0)))
        goto out;
    if (syscall(SYS_fsconfig, fs, JAIL_FSCONFIG_CMD_CREATE, NULL, NULL, 0))
        goto out;
    fd = (int)syscall(SYS_fsmount, fs, 1 /* FSMOUNT_CLOEXEC */, attr);
out:
    e = errno;
    close(fs);
    return fd < 0 ? -e : fd;
}

static void format_u64(char dst[24], uint64_t n)
{
    char tmp[24];
    int i = 0;

    do {
        tmp[i++] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    while (i)
        *dst++ = tmp[--i];
    *dst = '\0';
}

static uint64_t bind_attr(const struct bx_jail_mount *m)
{
    uint64_t attr = JAIL_ATTR_NOSUID | JAIL_ATTR_NODEV;

    if (!m->writable)
        attr |= JAIL_ATTR_RDONLY;
    if (!m->exec)
        attr |= JAIL_ATTR_NOEXEC;
    return attr;
}

/* The detached mount of one entry. */
static int make_mount(const struct bx_jail_mount *m)
{
    char size[24];
    int fd;
    int r;

    switch (m->kind) {
    case BX_JAIL_BIND:
        fd = (int)syscall(SYS_open_tree, AT_FDCWD, m->source, JAIL_OPEN_TREE_CLONE | O_CLOEXEC | JAIL_AT_RECURSIVE);
        if (fd < 0)
            return -errno;
        r = set_attr(fd, bind_attr(m));
        if (r == 0)
            return fd;
        close(fd);
        return r;
    case BX_JAIL_TMPFS:
        format_u64(size, m->size);
        return new_fs("tmpfs", size, "1777", JAIL_ATTR_NOSUID | JAIL_ATTR_NODEV | JAIL_ATTR_NOEXEC);
    case BX_JAIL_PROC:
        return new_fs("proc", NULL, NULL, JAIL_ATTR_RDONLY | JAIL_ATTR_NOSUID | JAIL_ATTR_NODEV | JAIL_ATTR_NOEXEC);
    }
    return -EINVAL;
}

/* Makes the mount point (and its parents) of one entry below the new root. */
static int make_point(int rootfd, const char *target, bool dir)
{
    char path[512];
    size_t len = strlen(target);
    int fd;

    if (len < 2 || len > sizeof(path))
        return -EINVAL;
    memcpy(path, target + 1, len); /* relative, with the NUL */
    for (char *p = path; (p = strchr(p, '/')); p++) {
        *p = '\0';
        if (mkdirat(rootfd, path, 0755) && errno != EEXIST)
            return -errno;
        *p = '/';
    }
    if (dir)
        return mkdirat(rootfd, path, 0755) && errno != EEXIST ? -errno : 0;
    fd = openat(rootfd, path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0444);
    if (fd < 0)
        return -errno;
    close(fd);
    return 0;
}

static int place(int rootfd, int fd, const struct bx_jail_mount *m)
{
    const char *target = m->target ? m->target : m->source;
    struct stat st;
    int r;

    if (!target) /* bx_jail_plan_check has seen to it */
        return -EINVAL;
    if (fstat(fd, &st))
        return -errno;
    r = make_point(rootfd, target, S_ISDIR(st.st_mode));
    return r ? r : move_to(fd, rootfd, target + 1);
}

static int mount_all(int rootfd, const struct bx_jail_plan *plan, const int *fds, const char **ret_path)
{
    for (size_t i = 0; i < plan->n_mounts; i++) {
        int r = place(rootfd, fds[i], &plan->mounts[i]);

        *ret_path = plan->mounts[i].target ? plan->mounts[i].target : plan->mounts[i].source;
        if (r)
            return r;
        close(fds[i]);
    }
    return 0;
}

int bx_jail_enter_root(const struct bx_jail_plan *plan, const char **ret_what, const char **ret_path)
{
    int fds[BX_JAIL_MOUNTS_MAX];
    int rootfd;
    int r;

    *ret_path = "/";
    *ret_what = "make mounts private";
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
        return -errno;
    for (size_t i = 0; i < plan->n_mounts; i++) {
        *ret_what = "mount";
        *ret_path = plan->mounts[i].source ? plan->mounts[i].source : plan->mounts[i].target;
        fds[i] = make_mount(&plan->mounts[i]);
        if (fds[i] < 0)
            return fds[i];
    }
    *ret_what = "mount a new root";
    *ret_path = "/";
    rootfd = new_fs("tmpfs", "1m", "0755", JAIL_ATTR_NOSUID | JAIL_ATTR_NODEV | JAIL_ATTR_NOEXEC);
    if (rootfd < 0)
        return rootfd;
    r = move_to(rootfd, AT_FDCWD, "/usr"); /* any directory that every system has */
    if (r)
        return r;
    *ret_what = "mount into the new root";
    r = mount_all(rootfd, plan, fds, ret_path);
    if (r)
        return r;
    *ret_what = "enter the new root";
    *ret_path = "/";
    {
        struct jail_mount_attr a = { .attr_set = JAIL_ATTR_RDONLY }; /* the tmpfs alone, not what is mounted in it */

        if (syscall(SYS_mount_setattr, rootfd, "", AT_EMPTY_PATH, &a, sizeof(a)))
            return -errno;
    }
    if (fchdir(rootfd) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
        return -errno;
    close(rootfd);
    return 0;
}
