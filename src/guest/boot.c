/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot.c - the first second of a machine's life, once per template: file systems, drivers, settings, ports.
 *
 * There is no udev: devices come from devtmpfs, ports are found by the name they have in sysfs. A port gets
 * its name some time after its driver was loaded: kernel events say when to look again.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/netlink.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "guest/agent.h"
#include "guest/cgroup.h"

#define MODULES      "/lib/modules"
#define PORTS        "/sys/class/virtio-ports"
#define PORT_WAIT_NS (10 * BX_SEC)
#define MODULES_MAX  64

static int mount_systems(struct bx_err *err)
{
    static const struct {
        const char *type, *target, *data;
        unsigned long flags;
    } table[] = {
        {"proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"devtmpfs", "/dev", "mode=755", MS_NOSUID},
        {"cgroup2", BX_CGROUP_ROOT, NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"tmpfs", "/run", "mode=755,size=4m", MS_NOSUID | MS_NODEV},
    };

    for (size_t i = 0; i < BX_ARRAY_SIZE(table); i++) {
        if (mkdir(table[i].target, 0755) < 0 && errno != EEXIST)
            return bx_fail(err, BX_EENGINE, errno, "make %s", table[i].target);
        /* EBUSY: the kernel has mounted it itself. */
        if (mount(table[i].type, table[i].target, table[i].type, table[i].flags, table[i].data) < 0 &&
            errno != EBUSY)
            return bx_fail(err, BX_EENGINE, errno, "mount %s", table[i].target);
    }
    return 0;
}

static void open_console(void)
{
    int fd = open("/dev/console", O_RDWR | O_NOCTTY);

    if (fd < 0)
        return; /* no console, no lines; the box works without */
    for (int i = 0; i < 3; i++)
        dup2(fd, i);
    if (fd > 2)
        close(fd);
}

static int is_module(const struct dirent *d)
{
    return bx_ends_with(d->d_name, ".ko");
}

/* Makes no interface by itself: that is for Start to say. */
static const char *module_options(const char *name)
{
    return bx_ends_with(name, "-dummy.ko") ? "numdummies=0" : "";
}

static int load_module(const char *name, struct bx_err *err)
{
    char path[512];
    int fd, r = 0;

    snprintf(path, sizeof(path), MODULES "/%s", name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return bx_fail(err, BX_EENGINE, errno, "open %s", path);
    if (syscall(SYS_finit_module, fd, module_options(name), 0) < 0 && errno != EEXIST)
        r = bx_fail(err, BX_EENGINE, errno, "load %s", path);
    bx_close(fd);
    return r;
}

static int load_modules(struct bx_err *err)
{
    struct dirent **names = NULL;
    int n = scandir(MODULES, &names, is_module, alphasort), r = 0;

    if (n < 0)
        return errno == ENOENT
                   ? 0
                   : bx_fail(err, BX_EENGINE, errno, "read " MODULES); /* a kernel that has all built in */
    if (n > MODULES_MAX)
        r = bx_fail(err, BX_EENGINE, 0, "%d modules in " MODULES, n);
    for (int i = 0; i < n; i++) {
        if (r >= 0)
            r = load_module(names[i]->d_name, err);
        free(names[i]);
    }
    free(names);
    return r;
}

static const struct {
    const char *path, *value;
} settings[] = {
    {"/proc/sys/vm/overcommit_memory", "1"}, /* too much memory is an OOM kill, not a failed malloc */
    {"/proc/sys/vm/panic_on_oom", "0"},
    {"/proc/sys/vm/max_map_count", "262144"},
    {"/proc/sys/kernel/panic", "-1"}, /* a dead machine is one that ends */
    {"/proc/sys/kernel/panic_on_oops", "1"},
    {"/proc/sys/kernel/pid_max",
     "4194304"}, /* the box's pids.max is the limit, so that the agent has some left */
    {"/proc/sys/kernel/threads-max", "1048576"},
    {"/proc/sys/kernel/dmesg_restrict", "1"},
    {"/proc/sys/kernel/printk", "3 4 1 3"},
    {"/proc/sys/kernel/modules_disabled", "1"}, /* ours are loaded; nobody loads another, whatever his capabilities */
    {"/proc/sys/kernel/kexec_load_disabled", "1"},
    {"/proc/sys/net/ipv4/ping_group_range", "0 2147483647"},
    {"/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"},
    {"/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"}, /* of eth0, which comes later; loopback has it */
};

static void apply_settings(void)
{
    for (size_t i = 0; i < BX_ARRAY_SIZE(settings); i++) {
        int fd = open(settings[i].path, O_WRONLY | O_CLOEXEC);

        if (fd < 0 || write(fd, settings[i].value, strlen(settings[i].value)) < 0)
            bx_warn("set %s: %m", settings[i].path);
        bx_close(fd);
    }
}

/*
 * The kernel boots on one CPU under emulation (maxcpus=1): with all of them about one boot in forty hung on a
 * loaded host, in a rendezvous that never ended, while drivers and code patching started (tried: 4 of 160
 * against 0 of 320). Here all is quiet.
 */
static int start_cpus(struct bx_err *err)
{
    for (unsigned cpu = 1;; cpu++) {
        char path[64];
        int fd, r = 0;

        snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
            return errno == ENOENT ? 0 : bx_fail(err, BX_EENGINE, errno, "open %s", path);
        if (write(fd, "1", 1) < 0)
            r = bx_fail(err, BX_EENGINE, errno, "start CPU %u", cpu);
        bx_close(fd);
        if (r < 0)
            return r;
    }
}

static int set_own_limits(struct bx_err *err)
{
    struct rlimit files = {1048576, 1048576};
    struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};

    /* Inherited by every command, as Docker has them. */
    if (setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_NPROC, &none) < 0 ||
        setrlimit(RLIMIT_CORE, &none) < 0)
        return bx_fail(err, BX_EENGINE, errno, "set resource limits");
    prctl(PR_SET_DUMPABLE, 0);
    umask(022);
    return 0;
}

static int loopback_up(struct bx_err *err)
{
    bx_cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq req = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};

    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &req) < 0)
        return bx_fail(err, BX_EENGINE, errno, "bring up the loopback interface");
    return 0;
}

static int open_uevents(struct bx_err *err)
{
    struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_groups = 1};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

    if (fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
        return fd;
    bx_close(fd);
    return bx_fail(err, BX_EENGINE, errno, "listen for kernel events");
}

/* Node of the port called `name`, by sysfs; false when there is none (yet). */
static bool find_port(const char *name, char *ret_node, size_t size)
{
    DIR *d = opendir(PORTS);
    struct dirent *e;
    bool found = false;

    while (d && !found && (e = readdir(d))) {
        bx_cleanup_free char *text = NULL;
        char path[512];

        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), PORTS "/%s/name", e->d_name);
        if (bx_read_file(AT_FDCWD, path, 4096, &text, NULL) < 0)
            continue;
        text[strcspn(text, "\n")] = '\0';
        if (bx_streq(text, name)) {
            snprintf(ret_node, size, "%s", e->d_name);
            found = true;
        }
    }
    if (d)
        closedir(d);
    return found;
}

/* devtmpfs lacks it: made from what sysfs says, "major:minor". */
static int make_node(const char *node, struct bx_err *err)
{
    bx_cleanup_free char *dev = NULL;
    uint64_t major, minor;
    char path[512], *colon;

    snprintf(path, sizeof(path), PORTS "/%s/dev", node);
    if (bx_read_file(AT_FDCWD, path, 64, &dev, NULL) < 0)
        return bx_fail(err, BX_EENGINE, 0, "no device number of port %s", node);
    dev[strcspn(dev, "\n")] = '\0';
    colon = strchr(dev, ':');
    if (colon)
        *colon = '\0';
    if (!colon || bx_parse_u64(dev, 0, 4095, &major) < 0 || bx_parse_u64(colon + 1, 0, 1048575, &minor) < 0)
        return bx_fail(err, BX_EENGINE, 0, "no device number of port %s", node);
    snprintf(path, sizeof(path), "/dev/%s", node);
    if (mknod(path, S_IFCHR | 0600, makedev((unsigned)major, (unsigned)minor)) < 0)
        return bx_fail(err, BX_EENGINE, errno, "make %s", path);
    return 0;
}

static int open_node(const char *node, struct bx_err *err)
{
    char path[512];
    int fd, r;

    snprintf(path, sizeof(path), "/dev/%s", node);
    fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        r = make_node(node, err);
        if (r < 0)
            return r;
        fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    }
    return fd >= 0 ? fd : bx_fail(err, BX_EENGINE, errno, "open %s", path);
}

static int wait_port(const char *name, int uevents, struct bx_err *err)
{
    int64_t deadline = bx_now() + PORT_WAIT_NS, left;
    char node[256], drop[4096];

    while (!find_port(name, node, sizeof(node))) {
        struct pollfd p = {.fd = uevents, .events = POLLIN};

        left = deadline - bx_now();
        if (left <= 0)
            return bx_fail(err, BX_EENGINE, 0, "the machine has no port %s", name);
        poll(&p, 1, (int)(left / BX_MSEC) + 1);
        while (read(uevents, drop, sizeof(drop)) > 0)
            ;
    }
    return open_node(node, err);
}

int bx_agent_boot(int ret_ports[2], int *ret_uevents, struct bx_err *err)
{
    static const char *const names[2] = {"boxlite.control", "boxlite.bulk"};
    int uevents, r;

    r = mount_systems(err);
    open_console();
    if (r < 0)
        return r;
    uevents = open_uevents(err);
    if (uevents < 0)
        return uevents;
    r = load_modules(err);
    if (r >= 0)
        r = set_own_limits(err);
    if (r >= 0)
        r = loopback_up(err);
    if (r < 0)
        return r;
    apply_settings();
    for (int i = 0; i < 2; i++) {
        ret_ports[i] = wait_port(names[i], uevents, err);
        if (ret_ports[i] < 0)
            return ret_ports[i];
    }
    *ret_uevents = uevents;
    return start_cpus(err);
}
