/* SPDX-License-Identifier: Apache-2.0 */
/*
 * landlock.c - the jail's root where namespaces are refused: only the files of the plan can be opened.
 *
 * The kernel's rights grow with its ABI version. All rights the running kernel knows are handled (so: denied unless a rule
 * grants them); what an older kernel does not know it does not deny, with these consequences:
 *   ABI 1  moving files between directories is always denied      ABI 3  before it, files can be truncated
 *   ABI 4  before it, TCP is not restricted (seccomp forbids sockets)   ABI 5  before it, ioctl of devices is not
 *   ABI 6  before it, abstract sockets of others are not restricted (seccomp forbids sockets), and neither are
 *          signals: the filter forbids kill, but QEMU needs tgkill, which names any process of its user
 */
#include "jail/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

/* The build host's headers may be older than the running kernel. */
struct ruleset_attr {
    uint64_t handled_access_fs;
    uint64_t handled_access_net;
    uint64_t scoped;
};
struct path_beneath_attr {
    uint64_t allowed_access;
    int32_t parent_fd;
} __attribute__((packed));

#define LL_CREATE_VERSION 1u
#define LL_RULE_PATH_BENEATH 1
#define FS_EXECUTE (1ull << 0)
#define FS_WRITE_FILE (1ull << 1)
#define FS_READ_FILE (1ull << 2)
#define FS_READ_DIR (1ull << 3)
#define FS_REMOVE_FILE (1ull << 5)
#define FS_MAKE_DIR (1ull << 7)
#define FS_MAKE_REG (1ull << 8)
#define FS_ALL_1 ((1ull << 13) - 1)
#define FS_REFER (1ull << 13)
#define FS_TRUNCATE (1ull << 14)
#define FS_IOCTL_DEV (1ull << 15)
#define NET_BIND 1ull
#define NET_ALL 3ull
#define SCOPE_ALL 3ull

int bx_landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LL_CREATE_VERSION);

    return abi < 0 ? 0 : (int)abi;
}

static int add_path(int ruleset, uint64_t handled, const struct bx_jail_mount *m)
{
    struct path_beneath_attr rule = { .allowed_access = FS_READ_FILE };
    bx_cleanup_close int fd = open(m->source, O_PATH | O_CLOEXEC);
    struct stat st;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st))
        return -errno;
    if (m->exec)
        rule.allowed_access |= FS_EXECUTE;
    if (m->writable)
        rule.allowed_access |= FS_WRITE_FILE;
    if (S_ISDIR(st.st_mode))
        rule.allowed_access |= FS_READ_DIR;
    if (S_ISDIR(st.st_mode) && m->writable) /* files are made, renamed and removed in it */
        rule.allowed_access |= FS_REMOVE_FILE | FS_MAKE_DIR | FS_MAKE_REG | FS_REFER;
    if (m->writable)
        rule.allowed_access |= FS_TRUNCATE;
    rule.allowed_access &= handled; /* the kernel refuses what it does not know */
    rule.parent_fd = fd;
    return syscall(SYS_landlock_add_rule, ruleset, LL_RULE_PATH_BENEATH, &rule, 0) ? -errno : 0;
}

/* ABI 1 cannot let files be moved between two directories. */
static bool writes_directories(const struct bx_jail_plan *plan)
{
    struct stat st;

    for (size_t i = 0; i < plan->n_mounts; i++) {
        if (plan->mounts[i].writable && stat(plan->mounts[i].source, &st) == 0 && S_ISDIR(st.st_mode))
            return true;
    }
    return false;
}

int bx_landlock_ruleset(const struct bx_jail_plan *plan)
{
    struct ruleset_attr attr = { .handled_access_fs = FS_ALL_1 };
    size_t size = offsetof(struct ruleset_attr, handled_access_net);
    int abi = bx_landlock_abi();
    bx_cleanup_close int fd = -1;

    if (abi < 1 || (abi < 2 && writes_directories(plan)))
        return -EOPNOTSUPP;
    if (abi >= 2)
        attr.handled_access_fs |= FS_REFER;
    if (abi >= 3)
        attr.handled_access_fs |= FS_TRUNCATE;
    if (abi >= 4) {
        /* who has the host's network dials out, and listens nowhere */
        attr.handled_access_net = (plan->layers & BX_JAIL_NET_NS) ? NET_ALL : NET_BIND;
        size = offsetof(struct ruleset_attr, scoped);
    }
    if (abi >= 5)
        attr.handled_access_fs |= FS_IOCTL_DEV;
    if (abi >= 6) {
        attr.scoped = SCOPE_ALL;
        size = sizeof(attr);
    }
    fd = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    if (fd < 0)
        return -errno;
    for (size_t i = 0; i < plan->n_mounts; i++) {
        int r = plan->mounts[i].kind == BX_JAIL_BIND ? add_path(fd, attr.handled_access_fs, &plan->mounts[i]) : 0;

        if (r)
            return r;
    }
    return BX_TAKE_FD(fd);
}

int bx_landlock_restrict(int ruleset_fd)
{
    return syscall(SYS_landlock_restrict_self, ruleset_fd, 0) ? -errno : 0;
}
