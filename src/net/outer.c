/* SPDX-License-Identifier: Apache-2.0 */
/* outer.c - see outer.h. */
#include "net/outer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <limits.h>
#include <link.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "jail/apply.h"
#include "net/net.h"

#define BACKLOG       128
#define RESOLV_CONF   "/etc/resolv.conf"
#define RESOLV_MAX    65535
#define DESCRIPTORS   (NET_FLOWS_MAX + BX_LOOKUPS_MAX + 128)
#define ADDRESS_SPACE (512ull << 20)
#define FILE_SIZE     (64ull << 20) /* the log, and the memfd that a filter is compiled into */
#define RESTARTS_MAX  10 /* in a minute: what dies at once, again and again, is given up */
#define RESTARTS_NS   (60 * BX_SEC)

struct outer {
    struct bx_loop *loop;
    struct bx_net_plan plan;
    int plan_fd; /* for the jailed program */
    int ports[BX_NET_PORTS_MAX];
    int resolv_out, resolv_in;
    int inotify;
    struct bx_source *child, *changes;
    struct bx_jail_child jailed;
    char self[PATH_MAX];
    char *libraries[64];
    size_t n_libraries;
    char *resolv; /* as last sent */
    int64_t first_restart;
    unsigned restarts;
    bool again; /* the rules of the plan may be old (net.h) */
};

/* --- published ports --- */

static int bind_port(const struct bx_net_port *p, struct bx_err *err)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(p->host_port), .sin_addr.s_addr = htonl(p->host_ip)};
    bool udp = p->protocol == IPPROTO_UDP;
    int fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, e;
    char ip[BX_IPV4_TEXT_MAX];

    /* A TCP port that was just left may be taken again; two sockets on one UDP port would steal from each other. */
    if (fd >= 0 && (udp || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0) &&
        bind(fd, (struct sockaddr *)&here, sizeof(here)) == 0 && (udp || listen(fd, BACKLOG) == 0))
        return fd;
    e = errno;
    bx_close(fd);
    bx_ipv4_format(p->host_ip, ip);
    return bx_fail(err, BX_ENETWORK, e, "port %u/%s of the box cannot be published at %s:%u", p->box_port, udp ? "udp" : "tcp", ip,
                   p->host_port);
}

/* --- the plan of the jailed program --- */

static bool is_private(uint32_t addr)
{
    return addr >> 24 == 10 || addr >> 20 == 0xac1 || addr >> 16 == 0xc0a8 || addr >> 22 == 0x191; /* RFC 1918, RFC 6598 */
}

/* Whoever reaches an address of the host, or its private networks, may be trusted by something there. */
static void add_guards(struct bx_buf *plan)
{
    struct ifaddrs *list = NULL;

    if (getifaddrs(&list) < 0) {
        bx_warn("addresses of the host: %m; all private networks are closed");
        bx_buf_addstr(plan, "guard network 10.0.0.0/8\nguard network 172.16.0.0/12\nguard network 192.168.0.0/16\n");
        return;
    }
    for (struct ifaddrs *i = list; i; i = i->ifa_next) {
        uint32_t addr, mask;
        char text[BX_IPV4_TEXT_MAX];

        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || !i->ifa_netmask)
            continue;
        addr = ntohl(((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr.s_addr);
        mask = ntohl(((struct sockaddr_in *)(void *)i->ifa_netmask)->sin_addr.s_addr);
        bx_ipv4_format(addr, text);
        bx_buf_addf(plan, "guard host %s/32\n", text);
        bx_ipv4_format(addr & mask, text);
        if (is_private(addr))
            bx_buf_addf(plan, "guard network %s/%d\n", text, __builtin_popcount(mask));
    }
    freeifaddrs(list);
}

static int make_plan(struct outer *o, struct bx_err *err)
{
    bx_cleanup_buf struct bx_buf text = BX_BUF_INIT(BX_NET_PLAN_MAX);
    char line[BX_RULE_TEXT_MAX], ip[BX_IPV4_TEXT_MAX];

    bx_buf_addstr(&text, BX_NET_PLAN_HEAD "\n");
    for (size_t i = 0; i < o->plan.policy.n_rules; i++) {
        bx_rule_format(&o->plan.policy.rules[i], line);
        bx_buf_addf(&text, "rule %s\n", line);
    }
    for (size_t i = 0; i < o->plan.n_ports; i++) {
        const struct bx_net_port *p = &o->plan.ports[i];

        bx_ipv4_format(p->host_ip, ip);
        bx_buf_addf(&text, "port %s %s %u %u\n", p->protocol == IPPROTO_UDP ? "udp" : "tcp", ip, p->host_port, p->box_port);
    }
    add_guards(&text);
    if (bx_buf_failed(&text))
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "plan of boxlite-net");
    o->plan_fd = bx_memfd_sealed("boxlite-net", bx_buf_data(&text), bx_buf_len(&text));
    return o->plan_fd < 0 ? bx_fail(err, BX_EINTERNAL, -o->plan_fd, "plan of boxlite-net") : 0;
}

/* --- resolv.conf --- */

static void send_resolv(struct outer *o)
{
    bx_cleanup_free char *text = NULL;
    size_t len = 0;

    if (bx_read_file(AT_FDCWD, RESOLV_CONF, RESOLV_MAX, &text, &len) < 0 || len == 0 || bx_streq(text, o->resolv))
        return;
    if (send(o->resolv_out, text, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return;
    free(o->resolv);
    o->resolv = BX_TAKE_PTR(text);
}

static void on_change(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    char drop[4096];

    (void)s;
    (void)events;
    while (read(fd, drop, sizeof(drop)) > 0)
        ;
    send_resolv(ud);
}

/* The file is replaced rather than written to, or it is a link to one that is: both directories are watched. */
static void watch_resolv(struct outer *o)
{
    char path[PATH_MAX], *slash;
    const uint32_t events = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE;

    o->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (o->inotify < 0)
        return; /* the present one is used until the box ends */
    (void)inotify_add_watch(o->inotify, "/etc", events);
    if (realpath(RESOLV_CONF, path) && (slash = strrchr(path, '/')) && slash != path) {
        *slash = '\0';
        (void)inotify_add_watch(o->inotify, path, events);
    }
    o->changes = bx_loop_add_fd(o->loop, o->inotify, BX_READ, on_change, o);
}

/* --- the jailed program --- */

static int add_library(struct dl_phdr_info *info, size_t size, void *ud)
{
    struct outer *o = ud;

    (void)size;
    if (info->dlpi_name && info->dlpi_name[0] == '/' && o->n_libraries < BX_ARRAY_SIZE(o->libraries)) {
        o->libraries[o->n_libraries] = strdup(info->dlpi_name);
        o->n_libraries += o->libraries[o->n_libraries] != NULL;
    }
    return 0;
}

static int spawn(struct outer *o, bool bare, struct bx_err *err)
{
    char *const argv[] = {o->self, (char *)(o->again ? "--jailed-again" : "--jailed"), NULL};
    const char *libraries = getenv("LD_LIBRARY_PATH");
    bx_cleanup_free char *library_path = libraries ? bx_strf("LD_LIBRARY_PATH=%s", libraries) : NULL;
    bx_cleanup_free char *origin = bx_jail_plan_origin(o->self);
    char *const envp[] = {origin, library_path, NULL};
    const unsigned spaces = BX_JAIL_PID_NS | BX_JAIL_ROOT | BX_JAIL_IPC_NS | BX_JAIL_UTS_NS;
    const struct bx_jail_rlimit limits[] = {
        {RLIMIT_NOFILE, DESCRIPTORS}, {RLIMIT_MEMLOCK, 0}, {RLIMIT_FSIZE, FILE_SIZE},
#ifndef BX_SANITIZED
        {RLIMIT_AS, ADDRESS_SPACE},
#endif
    };
    struct bx_jail_mount mounts[BX_ARRAY_SIZE(o->libraries) + 3];
    struct bx_jail_fd fds[NET_PORTS_FD + BX_NET_PORTS_MAX];
    struct bx_jail_plan jail = {
        .name = "boxlite-net",
        .layers = BX_JAIL_UID | BX_JAIL_FLOOR | (bare ? BX_JAIL_LANDLOCK : spaces),
        .required = BX_JAIL_FLOOR | (bare ? 0 : spaces),
        .mounts = mounts, .fds = fds, .rlimits = limits, .n_rlimits = BX_ARRAY_SIZE(limits),
        .seccomp = BX_SECCOMP_NET, .init = true, .hostname = "net", .path = o->self, .argv = argv, .envp = envp,
    };

    if (!origin)
        return bx_fail(err, BX_EINTERNAL, ENOMEM, "boxlite-net");
    mounts[jail.n_mounts++] = (struct bx_jail_mount){.kind = BX_JAIL_BIND, .source = o->self, .exec = true};
    for (size_t i = 0; i < o->n_libraries; i++)
        mounts[jail.n_mounts++] = (struct bx_jail_mount){.kind = BX_JAIL_BIND, .source = o->libraries[i], .exec = true};
    if (access("/etc/ld.so.cache", F_OK) == 0)
        mounts[jail.n_mounts++] = (struct bx_jail_mount){.kind = BX_JAIL_BIND, .source = "/etc/ld.so.cache"};
#ifdef BX_SANITIZED
    mounts[jail.n_mounts++] = (struct bx_jail_mount){.kind = BX_JAIL_PROC, .target = "/proc"};
#endif
    fds[jail.n_fds++] = (struct bx_jail_fd){2, 2};
    fds[jail.n_fds++] = (struct bx_jail_fd){NET_GUEST_FD, NET_GUEST_FD};
    fds[jail.n_fds++] = (struct bx_jail_fd){NET_SHIM_FD, NET_SHIM_FD};
    fds[jail.n_fds++] = (struct bx_jail_fd){o->plan_fd, NET_PLAN_FD};
    fds[jail.n_fds++] = (struct bx_jail_fd){o->resolv_in, NET_RESOLV_FD};
    for (size_t i = 0; i < o->plan.n_ports; i++)
        fds[jail.n_fds++] = (struct bx_jail_fd){o->ports[i], NET_PORTS_FD + (int)i};
    jail.uid = BX_JAIL_KEEP;
    jail.gid = (gid_t)-1;
    return bx_jail_spawn(&jail, &o->jailed, err);
}

static void on_end(struct bx_source *s, int status, void *ud);

static int start(struct outer *o, struct bx_err *err)
{
    struct bx_err refused = BX_ERR_INIT;
    int r = spawn(o, false, &refused);

    if (r < 0) {
        bx_warn("this host refuses namespaces (%s): boxlite-net goes on in a jail without them", refused.msg);
        r = spawn(o, true, err);
    }
    if (r < 0)
        return r;
    free(o->resolv);
    o->resolv = NULL;
    send_resolv(o);
    o->child = bx_loop_add_child(o->loop, BX_TAKE_FD(o->jailed.pidfd), on_end, o);
    return o->child ? 0 : bx_fail(err, BX_ERESOURCE, errno, "watch boxlite-net");
}

static bool too_often(struct outer *o)
{
    int64_t now = bx_now();

    if (now - o->first_restart > RESTARTS_NS) {
        o->first_restart = now;
        o->restarts = 0;
    }
    return ++o->restarts > RESTARTS_MAX;
}

static void on_end(struct bx_source *s, int status, void *ud)
{
    struct outer *o = ud;
    struct bx_err err = BX_ERR_INIT;

    o->child = bx_source_remove(s);
    o->jailed.liveness = bx_close(o->jailed.liveness);
    if (status == 0) {
        bx_loop_quit(o->loop, 0);
        return;
    }
    bx_error("boxlite-net has ended with status %d: the box's connections are reset", status);
    o->again = true;
    if (too_often(o)) {
        bx_error("boxlite-net ends again and again: the box has no network any more");
        bx_loop_quit(o->loop, 1);
    } else if (start(o, &err) < 0) {
        bx_error("boxlite-net: %s", err.msg);
        bx_loop_quit(o->loop, 1);
    }
}

/* --- the whole --- */

static int set_up(struct outer *o, struct bx_err *err)
{
    int pair[2], r;
    ssize_t n = readlink("/proc/self/exe", o->self, sizeof(o->self) - 1);

    if (n <= 0)
        return bx_fail(err, BX_EINTERNAL, errno, "find boxlite-net");
    r = bx_net_plan_read(NET_PLAN_FD, &o->plan, err);
    for (size_t i = 0; r == 0 && i < o->plan.n_ports; i++) {
        o->ports[i] = bind_port(&o->plan.ports[i], err);
        r = o->ports[i] < 0 ? o->ports[i] : 0;
    }
    if (r == 0)
        r = make_plan(o, err);
    if (r < 0)
        return r;
    o->loop = bx_loop_new();
    if (!o->loop || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return bx_fail(err, BX_ERESOURCE, errno, "boxlite-net");
    o->resolv_out = pair[0];
    o->resolv_in = pair[1];
    dl_iterate_phdr(add_library, o);
    watch_resolv(o);
    return start(o, err);
}

/* The shim waits for one message, from the jailed program or from us. */
static void tell_failure(const struct bx_err *why)
{
    boxlite_NetReady ready = {.code = (uint32_t)why->code};
    struct bx_link link;
    const uint8_t *data;
    size_t len;

    bx_str_printable(ready.message, sizeof(ready.message), why->msg, strlen(why->msg));
    bx_link_init(&link, NULL, NULL, 2 * BX_FRAME_PAYLOAD_MAX);
    if (bx_msg_send(&link, BX_MSG_NET_READY, 0, &ready, NULL) == 0 && bx_link_output(&link, &data, &len))
        (void)bx_write_full(NET_SHIM_FD, data, len);
    bx_link_done(&link);
}

int outer_run(void)
{
    struct outer o = {.plan_fd = -1, .resolv_out = -1, .resolv_in = -1, .inotify = -1, .jailed = BX_JAIL_CHILD_INIT};
    struct bx_err err = BX_ERR_INIT;
    int status = 1;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (size_t i = 0; i < BX_NET_PORTS_MAX; i++)
        o.ports[i] = -1;
    if (set_up(&o, &err) == 0)
        status = bx_loop_run(o.loop);
    else
        tell_failure(&err);
    o.child = bx_source_remove(o.child);
    o.changes = bx_source_remove(o.changes);
    bx_close(o.jailed.liveness);
    o.loop = bx_loop_free(o.loop);
    for (size_t i = 0; i < BX_NET_PORTS_MAX; i++)
        bx_close(o.ports[i]);
    for (size_t i = 0; i < o.n_libraries; i++)
        free(o.libraries[i]);
    free(o.resolv);
    bx_close(o.plan_fd);
    bx_close(o.resolv_out);
    bx_close(o.resolv_in);
    bx_close(o.inotify);
    bx_net_plan_done(&o.plan);
    return status;
}
