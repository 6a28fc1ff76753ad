/* SPDX-License-Identifier: Apache-2.0 */
/* container.c - see container.h. */
#include "guest/container.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/path.h"
#include "guest/cgroup.h"
#include "guest/spawn.h"

/* <sys/mount.h> and <linux/mount.h> exclude each other here; these are the few flags of mount(2) we use. */
int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);
#define M_RDONLY      1ul
#define M_NOSUID      2ul
#define M_NODEV       4ul
#define M_NOEXEC      8ul
#define M_REMOUNT     32ul
#define M_BIND        4096ul
#define M_REC         16384ul
#define M_PRIVATE     (1ul << 18)
#define M_STRICTATIME (1ul << 24)
#define U_DETACH      2

#define STAGE "/stage"

struct child {
    int control;
};

/* --- the first step: everything but the root, under STAGE --- */

struct mount_entry {
    const char *type, *target, *data;
    unsigned long flags;
    bool optional; /* a kernel without this file system is fine */
};

static const struct mount_entry mounts[] = {
    {"proc", STAGE "/proc", NULL, M_NOSUID | M_NODEV | M_NOEXEC, false},
    {"tmpfs", STAGE "/dev", "mode=755,size=65536k", M_NOSUID | M_STRICTATIME, false},
    {"devpts", STAGE "/dev/pts", "newinstance,ptmxmode=0666,mode=0620,gid=5", M_NOSUID | M_NOEXEC, false},
    {"tmpfs", STAGE "/dev/shm", "mode=1777,size=65536k", M_NOSUID | M_NODEV | M_NOEXEC, false},
    {"mqueue", STAGE "/dev/mqueue", NULL, M_NOSUID | M_NODEV | M_NOEXEC, true},
    {"sysfs", STAGE "/sys", NULL, M_RDONLY | M_NOSUID | M_NODEV | M_NOEXEC, false},
    {"cgroup2", STAGE "/sys/fs/cgroup", NULL, M_RDONLY | M_NOSUID | M_NODEV | M_NOEXEC, false},
    {"tmpfs", STAGE "/tmp", "mode=1777,size=50%", M_NOSUID | M_NODEV, false},
};

/* The mounts that are moved, with those below them. */
static const char *const staged[] = {"/proc", "/dev", "/sys", "/tmp"};

static int mount_all(struct bx_err *err)
{
    if (mkdir(STAGE, 0755) < 0 && errno != EEXIST)
        return bx_fail(err, BX_EENGINE, errno, "make " STAGE);
    for (size_t i = 0; i < BX_ARRAY_SIZE(mounts); i++) {
        const struct mount_entry *m = &mounts[i];

        if (mkdir(m->target, 0755) < 0 && errno != EEXIST)
            return bx_fail(err, BX_EENGINE, errno, "make %s", m->target);
        if (mount(m->type, m->target, m->type, m->flags, m->data) == 0)
            continue;
        if (m->optional && errno == ENODEV) {
            rmdir(m->target);
            continue;
        }
        return bx_fail(err, BX_EENGINE, errno, "mount %s", m->target);
    }
    return 0;
}

static const struct {
    const char *path;
    unsigned major, minor;
} nodes[] = {
    {STAGE "/dev/null", 1, 3},   {STAGE "/dev/zero", 1, 5},    {STAGE "/dev/full", 1, 7},
    {STAGE "/dev/random", 1, 8}, {STAGE "/dev/urandom", 1, 9}, {STAGE "/dev/tty", 5, 0},
};

static const struct {
    const char *target, *path;
} links[] = {
    {"/proc/self/fd", STAGE "/dev/fd"},       {"/proc/self/fd/0", STAGE "/dev/stdin"},
    {"/proc/self/fd/1", STAGE "/dev/stdout"}, {"/proc/self/fd/2", STAGE "/dev/stderr"},
    {"pts/ptmx", STAGE "/dev/ptmx"},          {"/proc/kcore", STAGE "/dev/core"},
};

static int make_nodes(struct bx_err *err)
{
    for (size_t i = 0; i < BX_ARRAY_SIZE(nodes); i++) {
        if (mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)) < 0)
            return bx_fail(err, BX_EENGINE, errno, "make %s", nodes[i].path);
    }
    for (size_t i = 0; i < BX_ARRAY_SIZE(links); i++) {
        if (symlink(links[i].target, links[i].path) < 0)
            return bx_fail(err, BX_EENGINE, errno, "make %s", links[i].path);
    }
    return 0;
}

/* Docker's lists. */
static const char *const masked[] = {
    STAGE "/proc/asound",
    STAGE "/proc/acpi",
    STAGE "/proc/kcore",
    STAGE "/proc/keys",
    STAGE "/proc/latency_stats",
    STAGE "/proc/timer_list",
    STAGE "/proc/timer_stats",
    STAGE "/proc/sched_debug",
    STAGE "/proc/scsi",
    STAGE "/sys/firmware",
    STAGE "/sys/devices/virtual/powercap",
};
static const char *const protected[] = {STAGE "/proc/bus", STAGE "/proc/fs", STAGE "/proc/irq",
                                        STAGE "/proc/sys", STAGE "/proc/sysrq-trigger"};

/* Undone for a box that is to see everything. */
static void unmask_paths(void)
{
    for (size_t i = 0; i < BX_ARRAY_SIZE(masked); i++)
        umount2(masked[i] + strlen(STAGE), U_DETACH);
    for (size_t i = 0; i < BX_ARRAY_SIZE(protected); i++)
        umount2(protected[i] + strlen(STAGE), U_DETACH);
}

static int mask_paths(struct bx_err *err)
{
    struct stat st;
    int r;

    for (size_t i = 0; i < BX_ARRAY_SIZE(masked); i++) {
        if (lstat(masked[i], &st) < 0)
            continue; /* not in this kernel */
        if (S_ISDIR(st.st_mode))
            r = mount("tmpfs", masked[i], "tmpfs", M_RDONLY | M_NOSUID | M_NODEV | M_NOEXEC,
                      "size=0,nr_inodes=1");
        else
            r = mount(STAGE "/dev/null", masked[i], NULL, M_BIND, NULL);
        if (r < 0)
            return bx_fail(err, BX_EENGINE, errno, "mask %s", masked[i]);
    }
    for (size_t i = 0; i < BX_ARRAY_SIZE(protected); i++) {
        if (lstat(protected[i], &st) < 0)
            continue;
        if (mount(protected[i], protected[i], NULL, M_BIND | M_REC, NULL) < 0 ||
            mount(NULL, protected[i], NULL, M_REMOUNT | M_BIND | M_RDONLY | M_NOSUID | M_NODEV | M_NOEXEC,
                  NULL) < 0)
            return bx_fail(err, BX_EENGINE, errno, "protect %s", protected[i]);
    }
    return 0;
}

/* --- the second step: the root --- */

/* Generated files over those of the image: the disk is not written unless it lacks the name. */
static const struct {
    const char *name;
    bool only_if_there; /* an image without it does without it */
} etc_files[BX_ETC_FILES] = {
    [BX_ETC_HOSTNAME] = {"hostname", false},
    [BX_ETC_HOSTS] = {"hosts", false},
    [BX_ETC_RESOLV] = {"resolv.conf", false},
    [BX_ETC_MACHINE_ID] = {"machine-id", true},
};

/* Does a link of the image lead into the kernel's own files? What is mounted there would hide a setting or lie about one. */
static bool leads_to_kernel(const char *path)
{
    struct statfs fs;

    return statfs(path, &fs) == 0 &&
           (fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC || fs.f_type == CGROUP2_SUPER_MAGIC);
}

static int touch(const char *path)
{
    const bool away = leads_to_kernel(path);
    int fd = away ? -1 : open(path, O_RDONLY | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0644);

    if (fd < 0 && (away || errno == ENOENT) && unlink(path) == 0) /* a link to nowhere */
        fd = open(path, O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    bx_close(fd);
    return 0;
}

static int place_etc(const int fds[BX_ETC_FILES], struct bx_err *err)
{
    struct stat st;
    char path[64];
    int r;

    if (mkdir("/etc", 0755) < 0 && errno != EEXIST)
        return bx_fail(err, BX_EENGINE, errno, "make /etc in the container");
    for (size_t i = 0; i < BX_ETC_FILES; i++) {
        snprintf(path, sizeof(path), "/etc/%s", etc_files[i].name);
        if (stat(path, &st) < 0 || leads_to_kernel(path)) {
            if (etc_files[i].only_if_there)
                continue;
            r = touch(path);
            if (r < 0)
                return bx_fail(err, BX_EENGINE, -r, "make %s in the container", path);
        }
        if (syscall(SYS_move_mount, fds[i], "", AT_FDCWD, path,
                    MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS) < 0)
            return bx_fail(err, BX_EENGINE, errno, "mount %s in the container", path);
    }
    return 0;
}

/* Root over "/", then what was prepared to its places. */
static int enter_root(int root, const int prepared[BX_ARRAY_SIZE(staged)], struct bx_err *err)
{
    if (syscall(SYS_move_mount, root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0 || fchdir(root) < 0 ||
        chroot(".") < 0 || chdir("/") < 0)
        return bx_fail(err, BX_EENGINE, errno, "enter the root of the container");
    for (size_t i = 0; i < BX_ARRAY_SIZE(staged); i++) {
        if (mkdir(staged[i], 0755) < 0 && errno != EEXIST)
            return bx_fail(err, BX_EENGINE, errno, "make %s in the container", staged[i]);
        if (syscall(SYS_move_mount, prepared[i], "", AT_FDCWD, staged[i],
                    MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS) < 0)
            return bx_fail(err, BX_EENGINE, errno, "mount %s in the container", staged[i]);
    }
    return 0;
}

/* Each part of the path that has to be made belongs to the user. */
static int make_working_dir(const char *path, uint32_t uid, uint32_t gid, struct bx_err *err)
{
    char part[4096];
    size_t len = strlen(path);

    if (path[0] != '/' || len >= sizeof(part))
        return bx_fail(err, BX_EINVALID, 0, "working directory \"%s\": not an absolute path", path);
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0755) == 0) {
            if (lchown(part, uid, gid) < 0)
                return bx_fail(err, BX_EENGINE, errno, "working directory %s", path);
        } else if (errno != EEXIST) {
            return bx_fail(err, BX_EENGINE, errno, "working directory %s", path);
        }
    }
    return 0;
}

/* --- the reaper --- */

static int write_file(const char *path, const char *value)
{
    bx_cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

    return fd < 0 ? -errno : bx_write_full(fd, value, strlen(value));
}

/* In the agent's view still: the kernel is not to kill it, the cgroup namespace starts at the box, but it
 * lives outside. */
static int settle(struct bx_err *err)
{
    static const char *const agents[] = {"/run", "/dev", "/sys/fs/cgroup", "/sys", "/proc"};
    int r = write_file("/proc/self/oom_score_adj", "-1000");

    if (r < 0)
        return bx_fail(err, BX_EENGINE, -r, "reaper: oom_score_adj");
    if (unshare(CLONE_NEWCGROUP) < 0)
        return bx_fail(err, BX_EENGINE, errno, "reaper: new cgroup namespace");
    r = write_file(BX_CGROUP_ROOT "/agent/cgroup.procs", "0");
    if (r < 0)
        return bx_fail(err, BX_EENGINE, -r, "reaper: move into the agent's cgroup");
    if (mount(NULL, "/", NULL, M_REC | M_PRIVATE, NULL) < 0)
        return bx_fail(err, BX_EENGINE, errno, "make mounts private");
    for (size_t i = 0; i < BX_ARRAY_SIZE(agents); i++)
        umount2(agents[i], U_DETACH);
    return 0;
}

static int prepare(int prepared[BX_ARRAY_SIZE(staged)], struct bx_err *err)
{
    char path[64];
    int r;

    umask(0);
    r = settle(err);
    if (r >= 0)
        r = mount_all(err);
    if (r >= 0)
        r = make_nodes(err);
    if (r >= 0)
        r = mask_paths(err);
    for (size_t i = 0; r >= 0 && i < BX_ARRAY_SIZE(staged); i++) {
        snprintf(path, sizeof(path), STAGE "%s", staged[i]);
        prepared[i] = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (prepared[i] < 0)
            r = bx_fail(err, BX_EENGINE, errno, "open %s", path);
    }
    return r;
}

/* The last step: this box. */
static int become(const struct bx_container_plan *plan, struct bx_err *err)
{
    if (sethostname(plan->hostname, strlen(plan->hostname)) < 0)
        return bx_fail(err, BX_EENGINE, errno, "set the host name");
    if (!plan->protect)
        unmask_paths();
    return plan->working_dir[0] ? make_working_dir(plan->working_dir, plan->uid, plan->gid, err) : 0;
}

static int drop_everything(struct bx_err *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}, {0}};

    prctl(PR_SET_NAME, "boxlite-init");
    if (prctl(PR_SET_DUMPABLE, 0) < 0 || syscall(SYS_capset, &head, none) < 0)
        return bx_fail(err, BX_EENGINE, errno, "reaper: drop capabilities");
    return 0;
}

static _Noreturn void reap_for_ever(void)
{
    sigset_t set;
    int signo;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (;;) {
        while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
            ;
        sigwait(&set, &signo);
    }
}

/* One message with the mounts: root, then the files of /etc. */
static int send_root(int control, const int fds[1 + BX_ETC_FILES])
{
    char byte = 0;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * (1 + BX_ETC_FILES))];
    } space = {.bytes = {0}};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &space, .msg_controllen = sizeof(space.bytes)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * (1 + BX_ETC_FILES));
    memcpy(CMSG_DATA(c), fds, sizeof(int) * (1 + BX_ETC_FILES));
    return sendmsg(control, &msg, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

static bool receive_root(int control, int fds[1 + BX_ETC_FILES])
{
    char byte;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * (1 + BX_ETC_FILES))];
    } space;
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &space, .msg_controllen = sizeof(space.bytes)};
    struct cmsghdr *c;

    if (recvmsg(control, &msg, MSG_CMSG_CLOEXEC) != 1)
        return false;
    c = CMSG_FIRSTHDR(&msg);
    if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(int) * (1 + BX_ETC_FILES)))
        return false;
    memcpy(fds, CMSG_DATA(c), sizeof(int) * (1 + BX_ETC_FILES));
    return true;
}

static void report(int control, const struct bx_err *err)
{
    if (send(control, err, sizeof(*err), MSG_NOSIGNAL) < 0 || err->code != 0)
        _exit(1);
}

static int reaper_main(void *arg)
{
    static struct bx_container_plan plan;
    struct child *c = arg;
    struct bx_err err = BX_ERR_INIT;
    int prepared[BX_ARRAY_SIZE(staged)] = {0}, fds[1 + BX_ETC_FILES] = {0};
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    /* The agent's descriptors are none of its business. */
    if (c->control != 3 && dup3(c->control, 3, O_CLOEXEC) < 0)
        _exit(1);
    c->control = 3;
    bx_close_from(4);
    prepare(prepared, &err);
    report(c->control, &err);
    if (!receive_root(c->control, fds))
        _exit(1);
    if (enter_root(fds[0], prepared, &err) >= 0)
        place_etc(fds + 1, &err);
    bx_close_from(4);
    report(c->control, &err);
    if (recv(c->control, &plan, sizeof(plan), 0) != (ssize_t)sizeof(plan))
        _exit(1);
    if (become(&plan, &err) >= 0)
        drop_everything(&err);
    report(c->control, &err);
    bx_close_from(0);
    reap_for_ever();
}

/* --- the agent's side --- */

static int cut_bounding_set(uint64_t keep, struct bx_err *err)
{
    for (unsigned cap = 0; cap < 64; cap++) {
        if ((keep >> cap & 1) == 0 && prctl(PR_CAPBSET_READ, cap) == 1 && prctl(PR_CAPBSET_DROP, cap) < 0)
            return bx_fail(err, BX_EENGINE, errno, "drop capability %u", cap);
    }
    return 0;
}

/* What the reaper says of its step. It is ours, and says it soon or dies. */
static int await_report(struct bx_container *c, struct bx_err *err)
{
    struct bx_err told;
    ssize_t n;

    do {
        n = recv(c->control, &told, sizeof(told), 0);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof(told))
        return bx_fail(err, BX_EENGINE, n < 0 ? errno : 0, "the container's reaper ended");
    if (told.code == 0)
        return 0;
    if (err)
        *err = told;
    return -told.code;
}

static int open_root(const struct bx_container *c, struct bx_err *err)
{
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/root", (int)c->pid);
    fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : bx_fail(err, BX_EENGINE, errno, "open the container's root");
}

static int detached_copy(const char *path, struct bx_err *err)
{
    int fd = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

    return fd >= 0 ? fd : bx_fail(err, BX_EENGINE, errno, "copy the mount of %s", path);
}

/* Empty, open and ready to be moved: what is done here is in the template. */
static int make_etc(struct bx_container *c, struct bx_err *err)
{
    char path[64];

    if (mkdir(BX_CONTAINER_ETC, 0755) < 0 && errno != EEXIST)
        return bx_fail(err, BX_EENGINE, errno, "make " BX_CONTAINER_ETC);
    for (size_t i = 0; i < BX_ETC_FILES; i++) {
        snprintf(path, sizeof(path), BX_CONTAINER_ETC "/%s", etc_files[i].name);
        c->etc_files[i] = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (c->etc_files[i] < 0)
            return bx_fail(err, BX_EENGINE, errno, "make %s", path);
        c->etc_mounts[i] = detached_copy(path, err);
        if (c->etc_mounts[i] < 0)
            return c->etc_mounts[i];
    }
    return bx_container_write(c, BX_ETC_RESOLV, "# This box has no network.\n", err);
}

int bx_container_prepare(struct bx_container *c, int cgroup_fd, struct bx_err *err)
{
    struct clone_args ca = {0};
    struct child child;
    int ends[2], pidfd = -1, root, r;
    long pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return bx_fail(err, BX_EENGINE, errno, "prepare the container");
    child.control = ends[1];
    ca.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_PIDFD | CLONE_INTO_CGROUP;
    ca.pidfd = (uint64_t)(uintptr_t)&pidfd;
    ca.exit_signal = SIGCHLD;
    ca.cgroup = (uint64_t)cgroup_fd;
    pid = bx_clone3(&ca, reaper_main, &child);
    bx_close(ends[1]);
    c->control = ends[0];
    if (pid < 0)
        return bx_fail(err, BX_EENGINE, (int)-pid, "prepare the container");
    c->pid = (pid_t)pid;
    c->pidfd = pidfd;
    r = await_report(c, err);
    if (r < 0)
        return r;
    root = open_root(c, err);
    if (root < 0)
        return root;
    c->pts_fd = bx_open_in_root(root, STAGE "/dev/pts", O_PATH | O_DIRECTORY, 0);
    bx_close(root);
    if (c->pts_fd < 0)
        return bx_fail(err, BX_EENGINE, -c->pts_fd, "open the container's terminals");
    if (setns(c->pidfd, CLONE_NEWPID) < 0)
        return bx_fail(err, BX_EENGINE, errno, "join the container's pid namespace");
    return make_etc(c, err);
}

int bx_container_enter(struct bx_container *c, struct bx_err *err)
{
    int fds[1 + BX_ETC_FILES], r;

    fds[0] = detached_copy(BX_CONTAINER_ROOT, err);
    if (fds[0] < 0)
        return fds[0];
    memcpy(fds + 1, c->etc_mounts, sizeof(c->etc_mounts));
    r = send_root(c->control, fds);
    bx_close(fds[0]);
    if (r < 0)
        return bx_fail(err, BX_EENGINE, -r, "hand the root over to the container");
    r = await_report(c, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < BX_ETC_FILES; i++)
        c->etc_mounts[i] = bx_close(c->etc_mounts[i]);
    c->root_fd = open_root(c, err);
    c->entered = c->root_fd >= 0;
    return c->entered ? 0 : c->root_fd;
}

int bx_container_write(struct bx_container *c, enum bx_etc file, const char *text, struct bx_err *err)
{
    int r;

    if (ftruncate(c->etc_files[file], 0) < 0 || lseek(c->etc_files[file], 0, SEEK_SET) < 0)
        return bx_fail(err, BX_EENGINE, errno, "write " BX_CONTAINER_ETC "/%s", etc_files[file].name);
    r = bx_write_full(c->etc_files[file], text, strlen(text));
    return r < 0 ? bx_fail(err, BX_EENGINE, -r, "write " BX_CONTAINER_ETC "/%s", etc_files[file].name) : 0;
}

static void close_etc(struct bx_container *c)
{
    for (size_t i = 0; i < BX_ETC_FILES; i++) {
        c->etc_files[i] = bx_close(c->etc_files[i]);
        c->etc_mounts[i] = bx_close(c->etc_mounts[i]);
    }
}

int bx_container_start(struct bx_container *c, const struct bx_container_plan *plan, struct bx_err *err)
{
    int r = c->entered ? 0 : bx_container_enter(c, err);

    if (r >= 0 && send(c->control, plan, sizeof(*plan), MSG_NOSIGNAL) != (ssize_t)sizeof(*plan))
        r = bx_fail(err, BX_EENGINE, errno, "tell the container what it is");
    if (r >= 0)
        r = await_report(c, err);
    close_etc(c);
    c->control = bx_close(c->control);
    return r < 0 ? r : cut_bounding_set(plan->capabilities, err);
}

void bx_container_stop(struct bx_container *c)
{
    c->root_fd = bx_close(c->root_fd);
    c->pts_fd = bx_close(c->pts_fd);
    c->control = bx_close(c->control);
    close_etc(c);
    if (c->pidfd >= 0) {
        siginfo_t si;

        syscall(SYS_pidfd_send_signal, c->pidfd, SIGKILL, NULL, 0);
        syscall(SYS_waitid, P_PIDFD, c->pidfd, &si, WEXITED | __WALL, NULL);
    }
    c->pidfd = bx_close(c->pidfd);
}
