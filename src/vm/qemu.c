/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qemu.c - one QEMU process.
 *
 * Theory of operation
 *
 *  start:  sockets and pipes are made, the jail plan is written (only the files of the list, only the descriptors of
 *          enum bx_qemu_fd), the child spawned, its end and its console watched.
 *  lock:   RESTORE sends the lock command right behind the capabilities; QEMU answers it from its main loop, where
 *          everything that needs files has been loaded. No answer, or a refusal, is fatal for the process.
 *  end:    the supervisor in the jail dies with QEMU and QEMU with it; on_exit comes after the console has been read to its end.
 *
 *  The console is written by the guest: bounded ring in memory, bounded log on disk, printable when shown.
 */
#include "vm/qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/str.h"
#include "vm/internal.h"

#define RING_SIZE 16384
#define LOG_MAX (4 * 1024 * 1024)
#define CONSOLE_ROUNDS 8
#define GONE_GRACE_NS (2 * BX_SEC) /* from the end of the control connection to the end of the process */
#define DISK_ROOM (256ull << 20) /* of the disk's file beyond the disk: tables, and clusters that a kill has leaked */
#define OVERHEAD_MIB 384 /* of QEMU itself, in its control group: code buffer, heap, disk cache */

struct bx_qemu {
    struct bx_loop *loop;
    const struct bx_qemu_events *events;
    void *ud;
    struct bx_jail_child child;
    int pidfd; /* our own, for kill; the loop has the other */
    struct bx_source *exit_source;
    int console_fd;
    struct bx_source *console_source;
    int control_fd;
    int bulk_fd;
    struct bx_qmp *qmp;
    struct bx_source *gone_timer;
    struct bx_cgroup cgroup;
    int64_t exec_time;
    int log_fd; /* own duplicate, or -1 */
    size_t logged;
    bool locked;
    bool exited;
    char why[BX_ERR_MSG_MAX];
    char ring[RING_SIZE];
    size_t ring_total; /* bytes ever written */
};

/* --- console --- */

static void keep_console(struct bx_qemu *q, const char *data, size_t len)
{
    if (q->log_fd >= 0 && q->logged < LOG_MAX) {
        size_t n = BX_MIN(len, LOG_MAX - q->logged);

        q->logged += n;
        if (bx_write_full(q->log_fd, data, n)) /* a full disk must not end the box */
            q->log_fd = bx_close(q->log_fd);
    }
    for (size_t i = 0; i < len; i++)
        q->ring[q->ring_total++ % RING_SIZE] = data[i];
}

/* Reads a bounded number of pieces. True when there may be more. */
static bool read_console(struct bx_qemu *q, bool tell)
{
    char buf[4096];

    for (int i = 0; i < CONSOLE_ROUNDS; i++) {
        ssize_t n = read(q->console_fd, buf, sizeof(buf));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        if (n == 0) {
            q->console_source = bx_source_remove(q->console_source);
            return false;
        }
        keep_console(q, buf, (size_t)n);
        if (tell && q->events->on_console) {
            q->events->on_console(q->ud, buf, (size_t)n);
            return false; /* it may have freed q; the source is level-triggered */
        }
    }
    return true;
}

static void on_console(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    (void)s;
    (void)fd;
    (void)events;
    (void)read_console(ud, true);
}

void bx_qemu_console_tail(const struct bx_qemu *q, char *dst, size_t size)
{
    size_t n = BX_MIN(q->ring_total, (size_t)RING_SIZE);
    size_t out = 0;

    if (size == 0)
        return;
    n = BX_MIN(n, size - 1);
    for (size_t i = q->ring_total - n; i < q->ring_total; i++) {
        unsigned char c = (unsigned char)q->ring[i % RING_SIZE];

        if (c == '\n' || c == '\t' || (c >= 0x20 && c < 0x7f))
            dst[out++] = (char)c;
        else if (c != '\r')
            dst[out++] = '?';
    }
    dst[out] = '\0';
}

/* --- end --- */

void bx_qemu_kill(struct bx_qemu *q)
{
    if (!q->exited)
        (void)syscall(SYS_pidfd_send_signal, q->pidfd, SIGKILL, NULL, 0);
}

static void give_up(struct bx_qemu *q, const char *why)
{
    if (!q->why[0])
        (void)snprintf(q->why, sizeof(q->why), "%s", why);
    bx_qemu_kill(q);
}

static void on_child(struct bx_source *s, int status, void *ud)
{
    struct bx_qemu *q = ud;

    (void)s;
    q->exited = true;
    q->exit_source = bx_source_remove(q->exit_source);
    while (q->console_source && read_console(q, false))
        ;
    q->console_source = bx_source_remove(q->console_source);
    if (q->events->on_exit)
        q->events->on_exit(q->ud, status); /* may free q */
}

static void on_qmp_event(void *ud, const char *name, const char *data)
{
    struct bx_qemu *q = ud;

    if (q->events->on_event)
        q->events->on_event(q->ud, name, data);
}

static void on_gone_timer(struct bx_source *s, void *ud)
{
    (void)s;
    give_up(ud, "QEMU closed its control connection and went on");
}

static void on_qmp_gone(void *ud, const struct bx_err *why)
{
    struct bx_qemu *q = ud;

    /* Closed: it is ending by itself, and its exit says how. Broken rules: it is not ours any more. */
    if (why->code == BX_ETRANSPORT)
        bx_timer_after(q->gone_timer, GONE_GRACE_NS);
    else
        give_up(q, why->msg);
}

/* --- start --- */

struct start {
    struct bx_qemu *q;
    const struct bx_qemu_config *cfg;
    char **argv;
    char **envp;
    char **files;
    int lock_fd;
    int kvm_fd;
    int console_in;  /* QEMU's ends */
    int control_in;
    int bulk_in;
    int qmp_in;
    int qmp_fd;      /* ours, until the client takes it */
    struct bx_jail_mount mounts[BX_JAIL_MOUNTS_MAX];
    size_t n_mounts;
    struct bx_jail_fd fds[BX_JAIL_FDS_MAX];
    size_t n_fds;
};

static void start_done(struct start *s)
{
    bx_strv_free(s->argv);
    bx_strv_free(s->envp);
    bx_strv_free(s->files);
    bx_close(s->lock_fd);
    bx_close(s->kvm_fd);
    bx_close(s->console_in);
    bx_close(s->control_in);
    bx_close(s->bulk_in);
    bx_close(s->qmp_in);
    bx_close(s->qmp_fd);
}

/* Ours non-blocking. QEMU makes its own ends so. */
static int socket_pair(int *ret_ours, int *ret_theirs, struct bx_err *err)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return bx_fail(err, BX_ERESOURCE, errno, "socketpair");
    *ret_ours = pair[0];
    *ret_theirs = pair[1];
    return bx_fd_nonblock(pair[0], true) ? bx_fail(err, BX_EINTERNAL, errno, "socketpair") : 0;
}

static int open_channels(struct start *s, struct bx_err *err)
{
    struct bx_qemu *q = s->q;
    int ends[2];
    int r;

    /* Non-blocking on both sides: a full console pipe must not stop the machine, the serial port retries. */
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
        return bx_fail(err, BX_ERESOURCE, errno, "pipe");
    q->console_fd = ends[0];
    s->console_in = ends[1];
    r = socket_pair(&q->control_fd, &s->control_in, err);
    if (r == 0)
        r = socket_pair(&q->bulk_fd, &s->bulk_in, err);
    if (r == 0)
        r = socket_pair(&s->qmp_fd, &s->qmp_in, err);
    if (r)
        return r;
    s->lock_fd = bx_seccomp_memfd(BX_SECCOMP_QEMU_LOCKED, err);
    if (s->lock_fd < 0)
        return s->lock_fd;
    if (s->cfg->log_fd >= 0) {
        q->log_fd = fcntl(s->cfg->log_fd, F_DUPFD_CLOEXEC, 3);
        if (q->log_fd < 0)
            return bx_fail(err, BX_ERESOURCE, errno, "console log");
    }
    if (s->cfg->shape.engine != BX_ENGINE_KVM)
        return 0;
    s->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    return s->kvm_fd < 0 ? bx_fail(err, BX_EENGINEKIND, errno, "open /dev/kvm") : 0;
}

static void pass(struct start *s, int src, int dst)
{
    if (src >= 0)
        s->fds[s->n_fds++] = (struct bx_jail_fd){ .src = src, .dst = dst };
}

static void name_descriptors(struct start *s)
{
    const struct bx_qemu_config *c = s->cfg;

    pass(s, s->console_in, 1);
    pass(s, s->console_in, 2); /* QEMU's own complaints stand beside the guest's */
    pass(s, c->mem_fd, BX_QFD_MEM);
    pass(s, s->control_in, BX_QFD_CONTROL);
    pass(s, s->bulk_in, BX_QFD_BULK);
    pass(s, s->qmp_in, BX_QFD_QMP);
    pass(s, s->lock_fd, BX_QFD_LOCK);
    pass(s, s->kvm_fd, BX_QFD_KVM);
    pass(s, c->mode == BX_QEMU_MAKE ? -1 : c->state_fd, BX_QFD_STATE);
    pass(s, c->disk_fd, BX_QFD_DISK);
    pass(s, c->base_fd, BX_QFD_BASE);
}

static int add_mount(struct start *s, const char *path, bool exec, struct bx_err *err)
{
    if (s->n_mounts == BX_JAIL_MOUNTS_MAX)
        return bx_fail(err, BX_EENGINE, 0, "QEMU needs more than %d files", BX_JAIL_MOUNTS_MAX);
    s->mounts[s->n_mounts++] = (struct bx_jail_mount){ .kind = BX_JAIL_BIND, .source = path, .exec = exec };
    return 0;
}

static int name_files(struct start *s, struct bx_err *err)
{
    const struct bx_qemu_config *c = s->cfg;
    char *const *files = c->files;
    int r = 0;

    if (!files) {
        r = bx_vm_list_files(c->parts, c->shape.engine, &s->files, err);
        files = s->files;
    }
    for (size_t i = 0; r == 0 && files[i]; i++)
        r = add_mount(s, files[i], !bx_ends_with(files[i], ".bin") && !bx_ends_with(files[i], ".cache"), err);
    if (r == 0)
        r = add_mount(s, c->parts->hook, true, err);
    if (r == 0 && c->mode == BX_QEMU_MAKE)
        r = add_mount(s, c->parts->kernel, false, err);
    if (r == 0 && c->mode == BX_QEMU_MAKE)
        r = add_mount(s, c->parts->initramfs, false, err);
    return r;
}

static int add_env(char ***v, char *entry, struct bx_err *err)
{
    bx_cleanup_free char *owned = entry;

    return !owned || bx_strv_add(v, owned) ? bx_fail(err, BX_EINTERNAL, ENOMEM, "environment of QEMU") : 0;
}

static int make_environment(struct start *s, struct bx_err *err)
{
    int r = add_env(&s->envp, bx_strf("LD_PRELOAD=%s", s->cfg->parts->hook), err);

    if (r == 0)
        r = add_env(&s->envp, bx_strf("BX_HOOK_LOCK=%d", BX_QFD_LOCK), err);
    if (r == 0)
        r = add_env(&s->envp, bx_strf("MALLOC_ARENA_MAX=1"), err); /* with more, threads look into /sys and /proc */
    if (r == 0)
        r = add_env(&s->envp, bx_strf("LC_ALL=C"), err);
    if (r == 0 && s->kvm_fd >= 0)
        r = add_env(&s->envp, bx_strf("BX_HOOK_KVM=%d", BX_QFD_KVM), err);
    return r;
}

int bx_qemu_argv(const struct bx_qemu_config *cfg, char ***ret, struct bx_err *err)
{
    const struct bx_vm_args args = {
        .mode = cfg->mode,
        .shape = &cfg->shape,
        .qemu = cfg->parts->qemu,
        .kernel = cfg->parts->kernel,
        .initramfs = cfg->parts->initramfs,
        .disk = cfg->mode == BX_QEMU_MAKE && cfg->disk_fd >= 0,
        .base = cfg->disk_fd >= 0 && cfg->base_fd >= 0,
        .unfiltered = !(cfg->layers & BX_JAIL_SECCOMP),
    };
    char **v = bx_vm_args_build(&args);

    if (!v)
        return bx_fail(err, BX_EINTERNAL, ENOMEM, "command line of QEMU");
    *ret = v;
    return 0;
}

static int spawn(struct start *s, struct bx_err *err)
{
    const struct bx_qemu_config *c = s->cfg;
    const struct bx_jail_rlimit limits[] = {
        { RLIMIT_NOFILE, 256 },
        { RLIMIT_MEMLOCK, 65536 },
        { RLIMIT_MSGQUEUE, 0 },
        { RLIMIT_FSIZE, c->disk_max + c->disk_max / 8 + DISK_ROOM }, /* last: only with a bound */
    };
    const struct bx_cgroup_limits group = {
        .memory_max = (uint64_t)(c->shape.memory_mib + OVERHEAD_MIB) * 1024 * 1024,
        .pids_max = c->shape.cpus + 96, /* QEMU's pool has up to 64 threads */
        .cpus = c->shape.cpus + 1,
    };
    struct bx_jail_plan plan = {
        .name = "qemu",
        .layers = c->layers,
        .required = c->required_layers,
        .required_any = c->any_layers,
        .mounts = s->mounts,
        .n_mounts = s->n_mounts,
        .fds = s->fds,
        .n_fds = s->n_fds,
        .rlimits = limits,
        .n_rlimits = BX_ARRAY_SIZE(limits) - (c->disk_max ? 0 : 1),
        .cgroup = &s->q->cgroup,
        .seccomp = BX_SECCOMP_QEMU,
        .init = true,
        .no_thp = true,
        .hostname = "box",
        .path = c->parts->qemu,
        .argv = s->argv,
        .envp = s->envp,
    };
    int r = bx_cgroup_make(c->name, &group, &s->q->cgroup, err);

    if (r)
        return r;
    bx_jail_plan_identity(&plan, c->uid, c->gid);
    r = bx_jail_spawn(&plan, &s->q->child, err);
    s->q->exec_time = bx_now();
    return r;
}

static void on_locked(void *ud, const char *text, const struct bx_err *err)
{
    struct bx_qemu *q = ud;

    (void)text;
    if (err && err->code == BX_ETRANSPORT)
        return; /* on_qmp_gone sees to it */
    if (err) {
        give_up(q, "QEMU did not take the second system call filter");
        return;
    }
    q->locked = true;
    if ((q->child.report.applied & BX_JAIL_CGROUP) && !bx_cgroup_joined(&q->cgroup)) {
        q->child.report.applied &= ~(unsigned)BX_JAIL_CGROUP;
        q->child.report.why[__builtin_ctz(BX_JAIL_CGROUP)] = EBUSY;
    }
}

static int watch(struct start *s, struct bx_err *err)
{
    struct bx_qemu *q = s->q;
    int loop_pidfd = fcntl(q->child.pidfd, F_DUPFD_CLOEXEC, 3);

    q->pidfd = BX_TAKE_FD(q->child.pidfd);
    if (loop_pidfd < 0)
        return bx_fail(err, BX_ERESOURCE, errno, "watch QEMU");
    q->exit_source = bx_loop_add_child(q->loop, loop_pidfd, on_child, q);
    q->console_source = bx_loop_add_fd(q->loop, q->console_fd, BX_READ, on_console, q);
    q->gone_timer = bx_loop_add_timer(q->loop, on_gone_timer, q);
    if (!q->exit_source || !q->console_source || !q->gone_timer)
        return bx_fail(err, BX_ERESOURCE, errno, "watch QEMU");
    q->qmp = bx_qmp_new(q->loop, BX_TAKE_FD(s->qmp_fd), on_qmp_event, on_qmp_gone, q, err);
    if (!q->qmp)
        return -BX_EENGINE;
    q->locked = !(s->cfg->layers & BX_JAIL_SECCOMP);
    if (s->cfg->mode == BX_QEMU_MAKE || q->locked)
        return 0;
    return bx_qmp_send(q->qmp, "chardev-add",
                       "{\"id\":\"lock\",\"backend\":{\"type\":\"file\",\"data\":{\"out\":\"/@lock\"}}}", -1, on_locked, q,
                       err);
}

struct bx_qemu *bx_qemu_start(struct bx_loop *loop, const struct bx_qemu_config *cfg, struct bx_err *err)
{
    struct bx_qemu *q = calloc(1, sizeof(*q));
    struct start *s = calloc(1, sizeof(*s));
    int r;

    if (!q || !s) {
        free(q);
        free(s);
        (void)bx_fail(err, BX_EINTERNAL, ENOMEM, "QEMU");
        return NULL;
    }
    q->loop = loop;
    q->events = cfg->events;
    q->ud = cfg->ud;
    q->child = BX_JAIL_CHILD_INIT;
    q->cgroup = BX_CGROUP_INIT;
    q->pidfd = q->console_fd = q->control_fd = q->bulk_fd = q->log_fd = -1;
    s->q = q;
    s->cfg = cfg;
    s->lock_fd = s->kvm_fd = s->console_in = s->control_in = s->bulk_in = s->qmp_in = s->qmp_fd = -1;

    r = open_channels(s, err);
    if (r == 0)
        r = bx_qemu_argv(cfg, &s->argv, err);
    if (r == 0)
        r = make_environment(s, err);
    if (r == 0)
        r = name_files(s, err);
    if (r == 0) {
        name_descriptors(s);
        r = spawn(s, err);
    }
    if (r == 0)
        r = watch(s, err);
    start_done(s);
    free(s);
    if (r) {
        (void)bx_prefix(err, "start QEMU");
        return bx_qemu_free(q);
    }
    return q;
}

struct bx_qemu *bx_qemu_free(struct bx_qemu *q)
{
    siginfo_t si;

    if (!q)
        return NULL;
    q->qmp = bx_qmp_free(q->qmp);
    (void)bx_source_remove(q->console_source);
    (void)bx_source_remove(q->exit_source);
    (void)bx_source_remove(q->gone_timer);
    if (q->pidfd >= 0 && !q->exited) {
        bx_qemu_kill(q);
        while (waitid(P_PIDFD, (id_t)q->pidfd, &si, WEXITED | __WALL) && errno == EINTR)
            ;
    }
    bx_close(q->pidfd);
    bx_jail_child_done(&q->child);
    bx_close(q->console_fd);
    bx_close(q->control_fd);
    bx_close(q->bulk_fd);
    bx_close(q->log_fd);
    bx_cgroup_done(&q->cgroup);
    free(q);
    return NULL;
}

int bx_qemu_take_control(struct bx_qemu *q)
{
    return BX_TAKE_FD(q->control_fd);
}

int bx_qemu_take_bulk(struct bx_qemu *q)
{
    return BX_TAKE_FD(q->bulk_fd);
}

struct bx_qmp *bx_qemu_qmp(struct bx_qemu *q)
{
    return q->qmp;
}

pid_t bx_qemu_pid(const struct bx_qemu *q)
{
    return q->child.target;
}

const struct bx_jail_report *bx_qemu_report(const struct bx_qemu *q)
{
    return &q->child.report;
}

int64_t bx_qemu_exec_time(const struct bx_qemu *q)
{
    return q->exec_time;
}

bool bx_qemu_locked(const struct bx_qemu *q)
{
    return q->locked;
}

const char *bx_qemu_why(const struct bx_qemu *q)
{
    return q->why;
}

int bx_qemu_resize_disk(struct bx_qemu *q, uint64_t bytes, bx_qmp_reply_fn *fn, void *ud, struct bx_err *err)
{
    char args[80];

    (void)snprintf(args, sizeof(args), "{\"node-name\":\"d0\",\"size\":%" PRIu64 "}", bytes);
    return bx_qmp_send(q->qmp, "block_resize", args, -1, fn, ud, err);
}

/* --- figures --- */

/* Number after `field` in /proc/<pid>/<file>, 0 when it cannot be read. */
static uint64_t proc_field(pid_t pid, const char *file, const char *field)
{
    char path[64];
    bx_cleanup_free char *text = NULL;
    char *p;
    uint64_t n;

    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    if (bx_read_file(AT_FDCWD, path, 65536, &text, NULL))
        return 0;
    p = strstr(text, field);
    if (!p)
        return 0;
    p += strlen(field);
    p += strspn(p, " \t");
    p[strspn(p, "0123456789")] = '\0';
    return bx_parse_u64(p, 0, UINT64_MAX, &n) ? 0 : n;
}

/* utime + stime, the 14th and 15th field; the name in the second may hold anything, so from the last ')'. */
static uint64_t proc_cpu_ns(pid_t pid)
{
    char path[64];
    bx_cleanup_free char *text = NULL;
    char *p;
    uint64_t ticks = 0;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (bx_read_file(AT_FDCWD, path, 4096, &text, NULL))
        return 0;
    p = strrchr(text, ')');
    for (int field = 2; p && field < 16; field++) {
        uint64_t n;
        char *end;

        p = strchr(p, ' ');
        if (!p)
            return 0;
        p++;
        end = p + strcspn(p, " ");
        if (field + 1 == 14 || field + 1 == 15) {
            char digits[24];

            (void)snprintf(digits, sizeof(digits), "%.*s", (int)BX_MIN(end - p, (ptrdiff_t)20), p);
            if (bx_parse_u64(digits, 0, UINT64_MAX, &n))
                return 0;
            ticks += n;
        }
    }
    return ticks * (uint64_t)(BX_SEC / sysconf(_SC_CLK_TCK));
}

void bx_qemu_usage(const struct bx_qemu *q, uint64_t *ret_cpu_ns, uint64_t *ret_memory)
{
    *ret_cpu_ns = *ret_memory = 0;
    if (q->exited || q->child.target <= 0)
        return;
    *ret_cpu_ns = proc_cpu_ns(q->child.target);
    *ret_memory = proc_field(q->child.target, "smaps_rollup", "\nPss:") * 1024;
    if (*ret_memory == 0)
        *ret_memory = proc_field(q->child.target, "status", "\nVmRSS:") * 1024;
}
