/* SPDX-License-Identifier: Apache-2.0 */
/*
 * start.c - Start: from a parked machine, a copy of a template as thousands are, to this box.
 *
 * Randomness first, before anything of the box can ask for it; then time and names; then the disk. The host
 * has resized it before it sent Start, but the kernel may learn of that after us: its size is waited for, by
 * event. Ready goes out when every part holds, else Error.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/random.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/path.h"
#include "base/str.h"
#include "guest/agent.h"
#include "guest/warm.h"

#define DISK           "/dev/vda"
#define DISK_WAIT_NS   (5 * BX_SEC)
#define UEVENTS_A_TURN 64
#define RESOLV_CONF    "nameserver 192.168.127.1\n" /* BX_NET_GATEWAY */
#ifndef EXT4_IOC_RESIZE_FS
#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t)
#endif

int bx_agent_set_clock(int64_t realtime_ns, struct bx_err *err)
{
    struct timespec ts = {.tv_sec = realtime_ns / BX_SEC, .tv_nsec = realtime_ns % BX_SEC};

    if (realtime_ns <= 0)
        return bx_fail(err, BX_EINVALID, 0, "a wall clock before 1970");
    if (clock_settime(CLOCK_REALTIME, &ts) < 0)
        return bx_fail(err, BX_EENGINE, errno, "set the clock");
    return 0;
}

static int seed(boxlite_Start *pb, struct bx_err *err)
{
    struct {
        int entropy_count;
        int buf_size;
        uint8_t buf[64];
    } pool = {.entropy_count = 512, .buf_size = 64};
    int fd, r = 0;

    if (pb->entropy.size != sizeof(pool.buf))
        return bx_fail(err, BX_EINVALID, 0, "%u bytes of entropy, not %zu", (unsigned)pb->entropy.size,
                       sizeof(pool.buf));
    memcpy(pool.buf, pb->entropy.bytes, sizeof(pool.buf));
    fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) < 0 || ioctl(fd, RNDRESEEDCRNG, NULL) < 0)
        r = bx_fail(err, BX_EENGINE, errno, "reseed the random generator");
    bx_close(fd);
    explicit_bzero(&pool, sizeof(pool));
    explicit_bzero(pb->entropy.bytes, sizeof(pb->entropy.bytes));
    return r;
}

static int write_names(struct bx_agent *a, struct bx_err *err)
{
    const boxlite_Start *pb = &a->start.pb;
    char text[512], hex[2 * sizeof(pb->machine_id.bytes) + 1];
    int r;

    if (pb->machine_id.size != sizeof(pb->machine_id.bytes))
        return bx_fail(err, BX_EINVALID, 0, "a machine id of %u bytes", (unsigned)pb->machine_id.size);
    if (sethostname(a->box.hostname, strlen(a->box.hostname)) < 0)
        return bx_fail(err, BX_EENGINE, errno, "set the host name");
    snprintf(text, sizeof(text), "%s\n", a->box.hostname);
    r = bx_container_write(&a->container, BX_ETC_HOSTNAME, text, err);
    if (r >= 0) {
        snprintf(text, sizeof(text),
                 "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t%s\n",
                 a->box.hostname);
        r = bx_container_write(&a->container, BX_ETC_HOSTS, text, err);
    }
    if (r >= 0 && pb->network)
        r = bx_container_write(&a->container, BX_ETC_RESOLV, RESOLV_CONF, err);
    if (r >= 0) {
        bx_hex(hex, pb->machine_id.bytes, sizeof(pb->machine_id.bytes));
        snprintf(text, sizeof(text), "%s\n", hex);
        r = bx_container_write(&a->container, BX_ETC_MACHINE_ID, text, err);
    }
    return r;
}

/* The template's is everybody's. The interface leads nowhere, but programs take it for an identity. */
static int set_hardware_address(const boxlite_Start *pb, struct bx_err *err)
{
    bx_cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq req = {.ifr_name = "eth0", .ifr_hwaddr = {.sa_family = ARPHRD_ETHER}};

    memcpy(req.ifr_hwaddr.sa_data, pb->machine_id.bytes, 6);
    req.ifr_hwaddr.sa_data[0] = (char)((req.ifr_hwaddr.sa_data[0] & 0xfc) | 0x02); /* one station's, given by us */
    if (fd < 0 || ioctl(fd, SIOCSIFHWADDR, &req) < 0)
        return bx_fail(err, BX_EENGINE, errno, "set the hardware address of eth0");
    return 0;
}

static int grow(uint64_t disk_size, struct bx_err *err)
{
    bx_cleanup_close int fd = open(BX_CONTAINER_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct statfs fs;
    uint64_t blocks;

    if (fd < 0 || fstatfs(fd, &fs) < 0)
        return bx_fail(err, BX_EENGINE, errno, "grow the file system");
    blocks = disk_size / (uint64_t)fs.f_bsize;
    if (ioctl(fd, EXT4_IOC_RESIZE_FS, &blocks) < 0)
        return bx_fail(err, BX_EENGINE, errno, "grow the file system to %llu bytes",
                       (unsigned long long)disk_size);
    return 0;
}

static int mount_root(struct bx_err *err)
{
    if (mkdir(BX_CONTAINER_ROOT, 0755) < 0 && errno != EEXIST)
        return bx_fail(err, BX_EENGINE, errno, "make " BX_CONTAINER_ROOT);
    if (mount(DISK, BX_CONTAINER_ROOT, "ext4", MS_NODEV | MS_RELATIME, "noinit_itable") < 0)
        return bx_fail(err, BX_EENGINE, errno, "mount the root file system");
    return 0;
}

/* The disk that came with Start. */
static int mount_disk(struct bx_agent *a, struct bx_err *err)
{
    const boxlite_Start *pb = &a->start.pb;
    int r;

    /* Whatever was read from the placeholder of the template is not what is there now. */
    if (ioctl(a->disk_fd, BLKFLSBUF, 0) < 0)
        return bx_fail(err, BX_EENGINE, errno, "drop cached blocks of " DISK);
    a->disk_fd = bx_close(a->disk_fd);
    r = mount_root(err);
    return r >= 0 && pb->grow ? grow(pb->disk_size, err) : r;
}

int bx_agent_mount_early(struct bx_agent *a, struct bx_err *err)
{
    bx_cleanup_close int root = -1;
    int r = mount_root(err);

    if (r < 0)
        return r;
    root = open(BX_CONTAINER_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return bx_fail(err, BX_EENGINE, errno, "open " BX_CONTAINER_ROOT);
    r = bx_container_enter(&a->container, err);
    if (r < 0)
        return r;
    bx_warm(root);
    /* What the overlay holds is then what this machine remembers having written. */
    return syncfs(root) < 0 ? bx_fail(err, BX_EENGINE, errno, "write the root file system") : 0;
}

/* A working directory that is missing has to be made (by the container's reaper) and given to the box's user.
 */
static int plan_working_dir(const struct bx_agent *a, struct bx_container_plan *plan, struct bx_err *err)
{
    bx_cleanup_close int root = open(BX_CONTAINER_ROOT, O_PATH | O_DIRECTORY | O_CLOEXEC);
    bx_cleanup_close int dir = -1;
    struct bx_user user;
    int r;

    plan->working_dir[0] = '\0';
    if (!a->box.cwd[0])
        return 0;
    if (root < 0)
        return bx_fail(err, BX_EENGINE, errno, "open " BX_CONTAINER_ROOT);
    dir = bx_open_in_root(root, a->box.cwd, O_PATH | O_DIRECTORY, 0);
    if (dir >= 0)
        return 0;
    r = bx_user_resolve(root, a->box.user, &user, err);
    if (r < 0)
        return bx_prefix(err, "the user of the box");
    snprintf(plan->working_dir, sizeof(plan->working_dir), "%s", a->box.cwd);
    plan->uid = user.uid;
    plan->gid = user.gid;
    return 0;
}

static int start_container(struct bx_agent *a, struct bx_err *err)
{
    static struct bx_container_plan plan;
    const boxlite_Start *pb = &a->start.pb;
    int r;

    snprintf(plan.hostname, sizeof(plan.hostname), "%s", a->box.hostname);
    plan.capabilities = pb->capabilities;
    plan.protect = pb->readonly_proc;
    r = plan_working_dir(a, &plan, err);
    if (r >= 0)
        r = bx_container_start(&a->container, &plan, err);
    if (r >= 0 && pb->limits.pids)
        r = bx_cgroups_set_pids(&a->cgroups, pb->limits.pids, err);
    if (r < 0)
        return r;
    if (pb->syscall_filter) {
        bx_filter_make(pb->capabilities, &a->box.filter);
        a->box.program = (struct sock_fprog){(unsigned short)a->box.filter.n, a->box.filter.insns};
    }
    a->box.root_fd = a->container.root_fd;
    a->box.pts_fd = a->container.pts_fd;
    a->box.ns_pidfd = a->container.pidfd;
    return 0;
}

static int fill_ready(boxlite_Ready *ready, struct bx_err *err)
{
    struct utsname uts;

    if (uname(&uts) < 0)
        return bx_fail(err, BX_EENGINE, errno, "uname");
    snprintf(ready->kernel, sizeof(ready->kernel), "%s", uts.release);
    snprintf(ready->agent, sizeof(ready->agent), "boxlite-guest %s", BX_VERSION);
    ready->entropy_check.size = sizeof(ready->entropy_check.bytes);
    if (getrandom(ready->entropy_check.bytes, sizeof(ready->entropy_check.bytes), 0) !=
        (ssize_t)sizeof(ready->entropy_check.bytes))
        return bx_fail(err, BX_EENGINE, errno, "read randomness");
    ready->realtime_ns = bx_realtime();
    return 0;
}

static void start_failed(struct bx_agent *a, const struct bx_err *err)
{
    bx_error("start: %s", err->msg);
    a->state = BX_AGENT_FAILED;
    a->start_uevents = bx_source_remove(a->start_uevents);
    a->start_deadline = bx_source_remove(a->start_deadline);
    bx_execs_told(&a->execs, bx_msg_send_error(&a->control.link, 0, 0, err));
}

/* The disk has its size: the second half. */
static int finish_start(struct bx_agent *a, struct bx_err *err)
{
    boxlite_Ready ready = boxlite_Ready_init_zero;
    int64_t before = bx_now();
    int r;

    a->start_uevents = bx_source_remove(a->start_uevents);
    a->start_deadline = bx_source_remove(a->start_deadline);
    r = a->container.entered ? 0 : mount_disk(a, err);
    if (r < 0)
        return r;
    ready.mount_us = (uint32_t)((bx_now() - before) / 1000);
    r = start_container(a, err);
    if (r >= 0)
        r = fill_ready(&ready, err);
    if (r < 0)
        return r;
    a->state = BX_AGENT_READY;
    a->execs.box = &a->box;
    ready.syscall_filter = a->box.filter.n > 0;
    ready.total_us = (uint32_t)((bx_now() - a->start_ns) / 1000);
    bx_agent_send(a, BX_MSG_READY, &ready);
    return 0;
}

static uint64_t disk_size(const struct bx_agent *a)
{
    uint64_t size = 0;

    return ioctl(a->disk_fd, BLKGETSIZE64, &size) < 0 ? 0 : size;
}

static void try_disk(struct bx_agent *a)
{
    struct bx_err err;

    if (disk_size(a) == a->start.pb.disk_size && finish_start(a, &err) < 0)
        start_failed(a, &err);
}

static void on_uevent(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    char drop[4096];

    (void)s;
    (void)events;
    /* What it says does not matter, only that something has changed. */
    for (int i = 0; i < UEVENTS_A_TURN && read(fd, drop, sizeof(drop)) > 0; i++)
        ;
    try_disk(ud);
}

static void on_disk_deadline(struct bx_source *s, void *ud)
{
    struct bx_agent *a = ud;
    struct bx_err err;

    (void)s;
    bx_fail(&err, BX_EENGINE, 0, "the disk has %llu bytes, not %llu", (unsigned long long)disk_size(a),
            (unsigned long long)a->start.pb.disk_size);
    start_failed(a, &err);
}

static int wait_for_disk(struct bx_agent *a, struct bx_err *err)
{
    if (a->container.entered) /* mounted in the template, and of its size: the host sees to that */
        return finish_start(a, err);
    a->disk_fd = open(DISK, O_RDONLY | O_CLOEXEC);
    if (a->disk_fd < 0)
        return bx_fail(err, BX_EENGINE, errno, "open " DISK);
    if (disk_size(a) == a->start.pb.disk_size)
        return finish_start(a, err);
    a->start_uevents = bx_loop_add_fd(a->loop, a->uevent_fd, BX_READ, on_uevent, a);
    a->start_deadline = bx_loop_add_timer(a->loop, on_disk_deadline, a);
    if (!a->start_uevents || !a->start_deadline)
        return bx_fail(err, BX_EENGINE, errno, "wait for the disk");
    bx_timer_after(a->start_deadline, DISK_WAIT_NS);
    /* Between the first look and the watch it may have changed: the event waits in the socket then. */
    return 0;
}

static int begin_start(struct bx_agent *a, const uint8_t *payload, size_t len, struct bx_err *err)
{
    boxlite_Start *pb = &a->start.pb;
    int r = bx_msg_decode_start(payload, len, &a->box.strings, &a->start, err);

    if (r < 0)
        return r;
    a->box.env = a->start.env;
    a->box.limits = pb->limits;
    snprintf(a->box.hostname, sizeof(a->box.hostname), "%s", pb->hostname[0] ? pb->hostname : "boxlite");
    snprintf(a->box.user, sizeof(a->box.user), "%s", pb->user);
    snprintf(a->box.cwd, sizeof(a->box.cwd), "%s", pb->working_dir);
    if (pb->network != a->network)
        return bx_fail(err, BX_EINVALID, 0, "a machine that was parked %s a network", a->network ? "with" : "without");
    r = seed(pb, err);
    if (r >= 0)
        r = bx_agent_set_clock(pb->realtime_ns, err);
    if (r >= 0)
        r = write_names(a, err);
    if (r >= 0 && pb->network)
        r = set_hardware_address(pb, err);
    if (r >= 0)
        r = wait_for_disk(a, err);
    return r;
}

void bx_agent_start(struct bx_agent *a, const uint8_t *payload, size_t len)
{
    struct bx_err err;

    if (a->state != BX_AGENT_PARKED) {
        bx_fail(&err, BX_ESTATE, 0, "the box has been started before");
        bx_execs_told(&a->execs, bx_msg_send_error(&a->control.link, 0, 0, &err));
        return;
    }
    a->state = BX_AGENT_STARTING;
    a->start_ns = bx_now();
    if (begin_start(a, payload, len, &err) < 0)
        start_failed(a, &err);
}
