/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_help.h - boxlite-shim spoken to as the library does: a plan on a memfd, the box protocol on a socket; a home with a
 * template and a disk.
 *
 * The directory with boxlite-shim and the boot files is $BX_TEST_LIBEXEC. Every wait has a deadline.
 */
#ifndef BX_TESTS_SHIM_HELP_H
#define BX_TESTS_SHIM_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "disk/qcow2.h"
#include "host/shim_plan.h"
#include "host/spawn.h"
#include "jail/plan.h"
#include "vm/probe.h"
#include "vm/shape.h"
#include "wire/messages.h"

#define DEADLINE  (60 * BX_SEC)
#define DISK_SIZE (1ull << 30)

static struct {
    char home[64], libexec[4096], base[128], templates[128], shim[4200];
    struct bx_vm_shape shape;
    struct bx_vm_parts parts;
    struct bx_vm_key key;
} g;

static struct bx_err err;
#define OK(call)                                                                                             \
    do {                                                                                                     \
        if ((call) < 0)                                                                                      \
            fail_msg("%s: %s", #call, err.msg);                                                              \
    } while (0)

/* --- the far end of a link --- */

struct peer {
    int fd;
    struct bx_link link;
    bool closed;
    bool up, gone_seen; /* BoxInfo, BoxGone */
    boxlite_BoxInfo info;
    boxlite_BoxGone gone;
    unsigned started, exits, oks;
    boxlite_Exit exit;
    boxlite_Error error;
    bool error_seen;
    char out[256];
    size_t out_len; /* all of it; the start is in out */
    uint64_t out_hash;
    uint32_t credit[8]; /* stdin, by stream */
};

static inline int on_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *p, size_t len,
                      struct bx_err *e)
{
    struct peer *c = l->ud;
    boxlite_Credit credit;

    switch (type) {
    case BX_MSG_BOX_INFO:
        c->up = true;
        return bx_msg_decode(type, p, len, &c->info, e);
    case BX_MSG_BOX_GONE:
        c->gone_seen = true;
        return bx_msg_decode(type, p, len, &c->gone, e);
    case BX_MSG_STARTED:
        c->started++;
        return 0;
    case BX_MSG_EXIT:
        c->exits++;
        return bx_msg_decode(type, p, len, &c->exit, e);
    case BX_MSG_ERROR:
        c->error_seen = true;
        return bx_msg_decode(type, p, len, &c->error, e);
    case BX_MSG_OK:
        c->oks++;
        return 0;
    case BX_MSG_CREDIT:
        if (bx_msg_decode(type, p, len, &credit, e) == 0 && stream < 8)
            c->credit[stream] += credit.bytes;
        return 0;
    default:
        return 0;
    }
}

static inline int on_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *data, size_t len,
                   struct bx_err *e)
{
    struct peer *c = l->ud;

    (void)e;
    for (size_t i = 0; i < len && c->out_len + i < sizeof(c->out) - 1; i++)
        c->out[c->out_len + i] = (char)data[i];
    c->out_len += len;
    c->out_hash = bx_fnv1a(c->out_hash, data, len);
    return bx_msg_send_credit(l, stream, lane, (uint32_t)len);
}

static inline int on_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *e)
{
    (void)l;
    (void)stream;
    (void)lane;
    (void)e;
    return 0;
}

static const struct bx_link_ops ops = {on_message, on_data, on_eof};

static inline struct peer *peer_new(int fd)
{
    struct peer *c = calloc(1, sizeof(*c));
    struct bx_msg_hello hello = {.pb = {.version = BX_WIRE_VERSION, .program = "test"}};

    c->fd = fd;
    c->out_hash = BX_FNV1A_SEED;
    bx_fd_nonblock(fd, true);
    bx_link_init(&c->link, &ops, c, 4 * 1024 * 1024);
    OK(bx_msg_send_hello(&c->link, &hello, &err));
    return c;
}

static inline void peer_free(struct peer *c)
{
    close(c->fd);
    bx_link_done(&c->link);
    free(c);
}

static inline void peer_io(struct peer *c, int timeout_ms)
{
    struct pollfd p = {.fd = c->fd,
                       .events = (short)(POLLIN | (bx_link_wants_write(&c->link) ? POLLOUT : 0))};
    const uint8_t *data;
    size_t len;
    ssize_t n;

    if (bx_link_output(&c->link, &data, &len) && (n = send(c->fd, data, len, MSG_NOSIGNAL)) > 0) {
        bx_link_sent(&c->link, (size_t)n);
        return;
    }
    poll(&p, 1, timeout_ms);
    if (!(p.revents & (POLLIN | POLLHUP)))
        return;
    uint8_t *dst = bx_link_rx_reserve(&c->link, &len);
    n = read(c->fd, dst, len);
    if (n > 0)
        OK(bx_link_rx_commit(&c->link, (size_t)n, &err));
    else if (n == 0 || errno != EAGAIN)
        c->closed = true;
}

/* Until `cond` holds for peer c. */
#define WAIT(c, cond)                                                                                        \
    do {                                                                                                     \
        int64_t until_ = bx_now() + DEADLINE;                                                                \
        while (!(cond)) {                                                                                    \
            if ((c)->closed || bx_now() > until_)                                                            \
                fail_msg("waited for %s: %s; gone: %s; error: %s; out: %s", #cond,                           \
                         (c)->closed ? "closed" : "deadline", (c)->gone.message, (c)->error.message,         \
                         (c)->out);                                                                          \
            peer_io((c), 1000);                                                                              \
        }                                                                                                    \
    } while (0)

/* --- boxes --- */

struct box {
    char id[BX_ID_LEN + 1], dir[256];
    struct bx_shim_plan plan;
    int pidfd;
    pid_t pid;
    struct peer *c; /* the starter's link */
};

static inline void fill_plan(struct bx_shim_plan *p, enum bx_shim_kind kind)
{
    static char *env[] = {(char *)"PATH=/bin:/usr/bin", NULL};

    *p = (struct bx_shim_plan){
        .kind = kind,
        .fd = 4,
        .engine = (char *)"tcg",
        .cpus = g.shape.cpus,
        .memory_mib = g.shape.memory_mib,
        .tsc_khz = g.shape.tsc_khz,
        .qemu = g.parts.qemu,
        .qemu_id = g.parts.qemu_id,
        .kernel = g.parts.kernel,
        .initramfs = g.parts.initramfs,
        .hook = g.parts.hook,
        .boot_id = g.parts.boot_id,
        .hook_hash = g.parts.hook_hash,
        .templates_dir = g.templates,
        .template_name = g.key.name,
        .template_key = g.key.text,
        .uid = geteuid() == 0 ? 20001 : -1,
        .gid = geteuid() == 0 ? 20001 : -1,
        .timeout_ms = 60000,
        .templates_bytes = 1ull << 40,
        .templates_idle_s = 86400,
        .disk_size = DISK_SIZE,
        .base_disk = kind == BX_SHIM_BOX ? g.base : NULL, /* of a template: it would be mounted in it */
        .hostname = (char *)"testbox",
        .working_dir = (char *)"/root",
        .user = (char *)"0:0",
        .env = env,
        .jail_layers = BX_JAIL_ALL,
        .capabilities = 0xa80425fb,
        .readonly_proc = true,
        .syscall_filter = true,
    };
}

/* Spawns a shim. theirs: its descriptor 4. */
static inline int spawn_shim(const struct bx_shim_plan *p, int theirs, pid_t *ret_pid)
{
    char *argv[] = {g.shim, (char *)"--plan-fd", (char *)"3", NULL};
    bx_cleanup_buf struct bx_buf text = BX_BUF_INIT(BX_SHIM_PLAN_MAX);

    OK(bx_shim_plan_write(p, &text, &err));
    bx_cleanup_close int memfd = bx_memfd_sealed("plan", bx_buf_data(&text), bx_buf_len(&text));
    struct bx_spawn_fd fds[] = {{memfd, 3}, {theirs, 4}, {2, 2}};
    struct bx_spawn s = {.path = g.shim, .argv = argv, .fds = fds, .n_fds = 3, .new_session = true};
    int pidfd = bx_spawn(&s, ret_pid, &err);

    if (pidfd < 0)
        fail_msg("%s", err.msg);
    return pidfd;
}

static inline void box_make(struct box *b)
{
    memset(b, 0, sizeof(*b));
    bx_random_id(b->id);
    snprintf(b->dir, sizeof(b->dir), "%s/boxes/%s", g.home, b->id);
    assert_int_equal(bx_mkdir_p(b->dir, 0700), 0);
    bx_cleanup_free char *disk = bx_strf("%s/disk.qcow2", b->dir);
    bx_cleanup_close int fd = open(disk, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    OK(bx_qcow2_create(fd, DISK_SIZE, &err));
    fill_plan(&b->plan, BX_SHIM_BOX);
    b->plan.box_id = b->id;
    b->plan.box_dir = b->dir;
}

static inline void box_spawn(struct box *b)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    b->pidfd = spawn_shim(&b->plan, pair[1], &b->pid);
    close(pair[1]);
    b->c = peer_new(pair[0]);
}

static inline void box_up(struct box *b)
{
    box_make(b);
    box_spawn(b);
    WAIT(b->c, b->c->up);
}

/* The shim has to end by itself. Gives its exit status. */
static inline int box_wait(struct box *b)
{
    struct pollfd p = {.fd = b->pidfd, .events = POLLIN};
    int status;

    if (poll(&p, 1, (int)(DEADLINE / BX_MSEC)) != 1)
        fail_msg("the shim does not end");
    status = bx_spawn_wait(b->pidfd);
    close(b->pidfd);
    if (b->c)
        peer_free(b->c);
    b->c = NULL;
    assert_int_equal(bx_rm_rf(AT_FDCWD, b->dir), 0);
    return status;
}

static inline void read_record(const struct box *b, struct bx_exit_record *ret)
{
    bx_cleanup_close int dir = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    OK(bx_exit_record_read(dir, ret, &err));
}

static inline struct peer *box_connect(const struct box *b)
{
    bx_cleanup_close int dir = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = bx_unix_connect(dir, "box.sock");

    assert_true(fd >= 0);
    return peer_new(fd);
}

struct run {
    const char *script;
    bool in, main, detached;
};

static inline void send_run(struct peer *c, uint32_t stream, const struct run *r)
{
    char args[4096];
    int n = snprintf(args, sizeof(args), "sh%c-c%c%s", 0, 0, r->script);
    struct bx_msg_exec e = {.args = {args, (size_t)n + 1, 3},
                            .pb = {.stdin = r->in, .main = r->main, .detached = r->detached, .claim = 6}};

    snprintf(e.pb.exec_id, sizeof(e.pb.exec_id), "%s", r->main ? "main" : "execid123456");
    if (!r->main)
        bx_random_id(e.pb.exec_id);
    OK(bx_msg_send_exec(&c->link, stream, &e, &err));
}

static inline void run_ok(struct peer *c, uint32_t stream, const char *script, const char *out)
{
    unsigned before = c->exits;

    c->out_len = 0;
    memset(c->out, 0, sizeof(c->out));
    send_run(c, stream, &(struct run){.script = script});
    WAIT(c, c->exits > before || c->error_seen);
    assert_string_equal(c->error.message, "");
    assert_string_equal(c->out, out);
    assert_int_equal(c->exit.code, 0);
    OK(bx_link_send(&c->link, BX_MSG_CLOSE, stream, NULL, 0));
}

static inline void stop(struct peer *c, uint32_t request, bool force)
{
    boxlite_BoxStop m = {.request = request, .grace_ms = 2000, .force = force};

    OK(bx_msg_send(&c->link, BX_MSG_BOX_STOP, 0, &m, &err));
}

static inline bool alive(uint32_t pid)
{
    return kill((pid_t)pid, 0) == 0;
}

static inline int wait_template(int pidfd, int answer)
{
    bx_cleanup_free char *text = NULL;
    size_t len;
    int status;

    assert_int_equal(bx_read_fd(answer, 65536, &text, &len), 0);
    close(answer);
    status = bx_spawn_wait(pidfd);
    close(pidfd);
    if (status != 0)
        bx_shim_error_parse(text, len, &err);
    return status;
}

/* --- set-up --- */

static inline void run_tool(const char *path, char *const *argv)
{
    struct bx_spawn_fd fds[] = {{2, 2}};
    struct bx_spawn s = {.path = path, .argv = argv, .fds = fds, .n_fds = 1};
    int pidfd = bx_spawn(&s, NULL, &err);

    if (pidfd < 0 || bx_spawn_wait(pidfd) != 0)
        fail_msg("%s: %s", path, err.msg);
    close(pidfd);
}

static inline void make_base(void)
{
    static const char script[] = "cd \"$0\" && mkdir -p root/bin root/usr/bin root/etc root/root root/tmp "
                                 "root/proc root/sys root/dev && "
                                 "cp /bin/busybox root/bin/ && for a in $(/bin/busybox --list); do [ $a = "
                                 "busybox ] || ln -s busybox root/bin/$a; done && "
                                 "PATH=$PATH:/sbin:/usr/sbin mke2fs -q -F -t ext4 -d root base.ext4 64M && "
                                 "rm -rf root && chmod 444 base.ext4";
    char *argv[] = {(char *)"sh", (char *)"-ec", (char *)(uintptr_t)script, g.home, NULL};

    run_tool("/bin/sh", argv);
}

static inline void make_template(void)
{
    struct bx_shim_plan p;
    int fds[2], pidfd;

    fill_plan(&p, BX_SHIM_TEMPLATE);
    p.timeout_ms = 120000;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pidfd = spawn_shim(&p, fds[1], NULL);
    close(fds[1]);
    if (wait_template(pidfd, fds[0]) != 0)
        fail_msg("template: %s", err.msg);
}

static inline int group_setup(void **state)
{
    const char *libexec = getenv("BX_TEST_LIBEXEC");
    const char *tmp = getenv("TMPDIR");

    (void)state;
    err = BX_ERR_INIT;
    snprintf(g.home, sizeof(g.home), "%s/bxt-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    assert_non_null(mkdtemp(g.home));
    chmod(g.home, 0755);
    snprintf(g.libexec, sizeof(g.libexec), "%s", libexec ? libexec : ".");
    snprintf(g.shim, sizeof(g.shim), "%s/boxlite-shim", g.libexec);
    snprintf(g.templates, sizeof(g.templates), "%s/templates", g.home);
    snprintf(g.base, sizeof(g.base), "%s/base.ext4", g.home);
    assert_int_equal(mkdir(g.templates, 0700), 0);
    g.shape = (struct bx_vm_shape){
        .engine = BX_ENGINE_TCG, .cpus = 2, .memory_mib = 512, .tsc_khz = bx_probe_tsc_khz()};
    OK(bx_vm_shape_round(&g.shape, &err));
    OK(bx_vm_parts_find(g.libexec, BX_ENGINE_TCG, &g.parts, &err));
    OK(bx_vm_key_make(&g.shape, &g.parts, NULL, &g.key, &err));
    make_base();
    make_template();
    return 0;
}

static inline int group_teardown(void **state)
{
    (void)state;
    bx_vm_key_done(&g.key);
    return bx_rm_rf(AT_FDCWD, g.home);
}

#endif
