/* SPDX-License-Identifier: Apache-2.0 */
/*
 * box.c - a box from its plan to Ready, and the wiring of everything else.
 *
 * Theory of operation
 *
 *  QEMU takes most of a start, so it is started first: before it only what decides whether it may start (the
 * box's lock) and what it is handed (template, disks). While it loads, the rest is set up. Hello is written
 * to the agent's port at once and is read when the machine runs again; the disk's size is set by QMP while
 * QEMU is still loading, and its answer releases Start, so that no message waits for the round trip of the
 * one before it. Clients are read from Ready on: what the starter asked for before lies in its socket and
 * goes to the agent in the same round.
 *
 *  Everything the guest sends is hostile. A frame that breaks the protocol ends the machine, not the shim.
 */
#include "shim/box.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/path.h"
#include "base/str.h"
#include "host/json.h"
#include "jail/seccomp.h"
#include "vm/template.h"

#define CLOCK_SLACK (100 * BX_MSEC)
#define QCOW2_MAGIC 0x514649fbu
#define CONSOLE_LOG "console.log"
#define DISK        "disk.qcow2"

/* --- the guest --- */

/* What the guest sent breaks the protocol, or cannot be handled. */
static void guest_broke(struct box *b, const struct bx_err *why)
{
    struct bx_err err = *why;

    bx_conn_done(&b->guest);
    if (b->guest_hello && why->code == BX_ERPC)
        bx_prefix(&err, "the agent in the box broke the protocol");
    box_fail(b, &err);
}

/* The port is closed: QEMU is about to be reported dead, with a better reason than this. If it is not, the
 * box has failed. */
static void guest_closed(struct box *b)
{
    bx_conn_done(&b->guest);
    b->guest_eof = true;
    if (!b->qemu_dead)
        bx_timer_after(b->deadline, BX_SEC);
}

/* Takes what has come. `all`: until there is nothing more. */
static void read_guest(struct box *b, bool all)
{
    struct bx_err err = BX_ERR_INIT;
    int r;

    do {
        r = bx_conn_read(&b->guest, &err);
        if (r > 0)
            health_heard(b);
    } while (r > 0 && all && b->guest.fd >= 0);
    if (r < 0 && err.code == BX_ETRANSPORT)
        guest_closed(b);
    else if (r < 0)
        guest_broke(b, &err);
}

void box_drain_guest(struct box *b)
{
    if (b->guest.fd >= 0)
        read_guest(b, true);
}

static void on_guest_io(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct box *b = ud;

    (void)s;
    (void)fd;
    box_touch(b);
    if (events & (BX_READ | BX_HUP))
        read_guest(b, false);
}

static int guest_hello(struct box *b, const uint8_t *p, size_t len, struct bx_err *err)
{
    bx_cleanup_buf struct bx_buf arena = BX_BUF_INIT(64 * 1024);
    struct bx_msg_hello hello;
    int r = bx_msg_decode_hello(p, len, &arena, &hello, err);

    if (r < 0)
        return r;
    if (hello.pb.epoch != b->epoch)
        return 0; /* of a time before this start */
    if (b->guest_hello)
        return bx_fail(err, BX_ERPC, 0, "a second Hello");
    if (hello.pb.version < 1) /* a later agent speaks ours too */
        return bx_fail(err, BX_ERPC, 0,
                       "the agent speaks version %u of the box protocol, this shim version %d",
                       hello.pb.version, BX_WIRE_VERSION);
    for (const char *f = bx_strs_first(&hello.features); f; f = bx_strs_next(&hello.features, f)) {
        b->guest_has_figures = b->guest_has_figures || bx_streq(f, "figures");
        b->guest_has_idle = b->guest_has_idle || bx_streq(f, "idle");
    }
    b->guest_hello = true;
    b->t_hello = bx_now();
    return 0;
}

/* Ready must speak for this very start: the clock we gave, a generator that was reseeded. */
static int check_ready(const struct box *b, const boxlite_Ready *ready, struct bx_err *err)
{
    static const uint8_t zero[16];

    if (b->phase != BOX_STARTING || !b->start_sent || !b->guest_hello || b->guest_ready)
        return bx_fail(err, BX_ERPC, 0, "Ready out of place");
    if (!bx_qemu_locked(b->qemu)) /* its answer came before that to the disk's size, which released Start */
        return bx_fail(err, BX_EENGINE, 0, "QEMU is not locked down");
    if (ready->realtime_ns < b->start_realtime - CLOCK_SLACK ||
        ready->realtime_ns > bx_realtime() + CLOCK_SLACK)
        return bx_fail(err, BX_EENGINE, 0, "the guest's clock is off by %lld ms after it was set",
                       (long long)((ready->realtime_ns - bx_realtime()) / BX_MSEC));
    if (ready->entropy_check.size != sizeof(zero) ||
        memcmp(ready->entropy_check.bytes, zero, sizeof(zero)) == 0)
        return bx_fail(err, BX_EENGINE, 0, "the guest's random generator was not reseeded");
    if (b->plan->syscall_filter && !ready->syscall_filter)
        return bx_fail(err, BX_EENGINE, 0, "the agent has no filter of system calls: it is of another version (make the boot files anew)");
    return 0;
}

static int guest_ready(struct box *b, const uint8_t *p, size_t len, struct bx_err *err)
{
    boxlite_Ready ready;
    int r = bx_msg_decode(BX_MSG_READY, p, len, &ready, err);

    if (r == 0)
        r = check_ready(b, &ready, err);
    if (r < 0)
        return r;
    b->t_ready = bx_now();
    bx_str_printable(b->kernel, sizeof(b->kernel), ready.kernel, strlen(ready.kernel));
    bx_info("ready from %s: spawn %lld us, restore %lld us, start %lld us (in the guest: root %u us, all %u us)", b->plan->template_name,
            (long long)(bx_qemu_exec_time(b->qemu) - b->t_begin) / 1000,
            (long long)(b->t_hello - bx_qemu_exec_time(b->qemu)) / 1000,
            (long long)(b->t_ready - b->t_hello) / 1000, ready.mount_us, ready.total_us);
    b->guest_ready = true;
    return b->net_ready || !b->plan->net_plan ? box_ready(b, err) : 0;
}

int box_ready(struct box *b, struct bx_err *err)
{
    int r;

    b->phase = BOX_RUNNING;
    bx_timer_set(b->deadline, 0);
    bx_box_log_add(&b->log, BX_BOX_LOG_START, NULL, 0);
    r = clients_accept(b, err);
    if (r < 0)
        return r;
    health_started(b);
    check_started(b);
    events_tell(b, (struct bx_event){.type = "box.started"});
    for (struct client *c = b->clients; c; c = c->next)
        clients_send_info(b, c, false);
    return 0;
}

static int guest_error(const uint8_t *p, size_t len, struct bx_err *err)
{
    static struct bx_ratelimit rl;
    boxlite_Error e;
    char text[BX_ERR_MSG_MAX];
    int r = bx_msg_decode(BX_MSG_ERROR, p, len, &e, err);

    if (r < 0)
        return r;
    bx_str_printable(text, sizeof(text), e.message, strlen(e.message));
    if (e.request != 0) { /* of Clock: there is no other request of ours */
        bx_log_ratelimited(&rl, BX_LOG_WARN, "the agent refused a request: %s", text);
        return 0;
    }
    return bx_fail(err, e.code > 0 && e.code < BX_ECODE_MAX ? (enum bx_code)e.code : BX_EENGINE, 0, "%s",
                   text);
}

static int on_guest_message(void *ud, uint16_t type, const uint8_t *p, size_t len, struct bx_err *err)
{
    struct box *b = ud;
    struct bx_err why = BX_ERR_INIT;
    boxlite_Stopped stopped;
    boxlite_Pong pong;
    boxlite_GuestIdle idle;
    int r;

    if (!b->guest_hello && type != BX_MSG_HELLO)
        return 0; /* of a time before this start */
    switch (type) {
    case BX_MSG_HELLO:
        return guest_hello(b, p, len, err);
    case BX_MSG_READY:
        return guest_ready(b, p, len, err);
    case BX_MSG_ERROR:
        return guest_error(p, len, err);
    case BX_MSG_STOPPED:
        r = bx_msg_decode(type, p, len, &stopped, err);
        if (r == 0)
            box_stopped(b, stopped.forced);
        return r;
    case BX_MSG_PONG:
        r = bx_msg_decode(type, p, len, &pong, err);
        if (r == 0) {
            figures_pong(b, &pong);
            check_pong(b, &pong);
        }
        return r;
    case BX_MSG_GUEST_IDLE:
        r = bx_msg_decode(type, p, len, &idle, err);
        if (r == 0)
            idle_guest(b, &idle);
        return r;
    case BX_MSG_OK: /* that something came is what counts */
        return 0;
    default:
        bx_fail(&why, BX_EUNSUPPORTED, 0, "message %s is not known here", bx_msg_type_name(type));
        return bx_msg_send_error(bx_mux_guest(b->mux), 0, 0, &why);
    }
}

static int on_client_message(void *ud, struct bx_mux_client *mc, uint16_t type, const uint8_t *p, size_t len,
                             struct bx_err *err)
{
    (void)ud;
    return clients_message(bx_mux_client_ud(mc), type, p, len, err);
}

static void on_main_exit(void *ud, const boxlite_Exit *e)
{
    box_main_exit(ud, e);
}

static void on_main_output(void *ud, unsigned lane, const uint8_t *data, size_t len)
{
    struct box *b = ud;

    bx_box_log_add(&b->log, lane == BX_LANE_STDOUT ? BX_BOX_LOG_STDOUT : BX_BOX_LOG_STDERR, data, len);
}

static void on_main_hole(void *ud, uint64_t dropped)
{
    struct box *b = ud;

    bx_box_log_lost(&b->log, dropped);
}

static void on_exec_started(void *ud, const char *id, const char *program)
{
    events_exec_started(ud, id, program);
}

static void on_exec_ended(void *ud, const char *id, const char *program, const boxlite_Exit *exit)
{
    events_exec_ended(ud, id, program, exit);
}

static const struct bx_mux_ops mux_ops = {
    .guest = on_guest_message,
    .client = on_client_message,
    .main_exit = on_main_exit,
    .main_output = on_main_output,
    .main_hole = on_main_hole,
    .exec_started = on_exec_started,
    .exec_ended = on_exec_ended,
};

/* --- QEMU --- */

static void on_qemu_exit(void *ud, int status)
{
    struct box *b = ud;

    b->qemu_dead = true;
    b->qemu_status = status;
    box_touch(b);
}

/* QEMU stops a machine whose writes find no room on the host. It would stand still, and nobody would know why. */
static void on_qemu_event(void *ud, const char *name, const char *data)
{
    struct box *b = ud;
    bx_cleanup_json struct bx_json root = {0};
    struct bx_err err = BX_ERR_INIT;
    bool full = false;

    if (!bx_streq(name, "BLOCK_IO_ERROR") || bx_json_parse(data, strlen(data), NULL, name, &root, NULL) < 0 ||
        bx_json_opt_bool(&root, "nospace", &full, NULL) < 0 || !full)
        return;
    bx_fail(&err, BX_ESTORAGE, 0,
            "no space is left on the host for what the box writes; free space and start it again");
    box_fail(b, &err);
}

static const struct bx_qemu_events qemu_events = {.on_exit = on_qemu_exit, .on_event = on_qemu_event};

/* --- start --- */

/* Stable across restarts of a box, different between boxes. */
static void machine_id(const char *box_id, uint8_t dst[16])
{
    uint64_t a = bx_fnv1a(BX_FNV1A_SEED, box_id, strlen(box_id));
    uint64_t c = bx_fnv1a(a ^ 0x9e3779b97f4a7c15ULL, box_id, strlen(box_id));

    memcpy(dst, &a, 8);
    memcpy(dst + 8, &c, 8);
    dst[6] = (uint8_t)((dst[6] & 0x0f) | 0x40); /* as systemd wants it: the form of a random UUID */
    dst[8] = (uint8_t)((dst[8] & 0x3f) | 0x80);
}

static int send_start(struct box *b, struct bx_err *err)
{
    const struct bx_shim_plan *p = b->plan;
    bx_cleanup_buf struct bx_buf env = BX_BUF_INIT(BX_MESSAGE_MAX);
    struct bx_msg_start s = {.pb = {.capabilities = p->capabilities,
                                    .disk_size = b->disk_size,
                                    .grow = p->grow,
                                    .readonly_proc = p->readonly_proc,
                                    .syscall_filter = p->syscall_filter,
                                    .network = p->network}};

    for (char **e = p->env; e && *e; e++) {
        bx_buf_add(&env, *e, strlen(*e) + 1);
        s.env.count++;
    }
    if (bx_buf_failed(&env))
        return bx_fail(err, BX_EINVALID, E2BIG, "environment of the box");
    s.env.data = s.env.count ? (const char *)bx_buf_data(&env) : NULL;
    s.env.len = bx_buf_len(&env);
    snprintf(s.pb.box_id, sizeof(s.pb.box_id), "%s", p->box_id);
    snprintf(s.pb.hostname, sizeof(s.pb.hostname), "%s", p->hostname);
    snprintf(s.pb.working_dir, sizeof(s.pb.working_dir), "%s", p->working_dir ? p->working_dir : "");
    snprintf(s.pb.user, sizeof(s.pb.user), "%s", p->user ? p->user : "");
    machine_id(p->box_id, s.pb.machine_id.bytes);
    s.pb.machine_id.size = 16;
    bx_random(s.pb.entropy.bytes, 64);
    s.pb.entropy.size = 64;
    s.pb.limits = (boxlite_Limits){.nofile = p->limits.nofile,
                                   .fsize = p->limits.fsize,
                                   .as = p->limits.as,
                                   .cpu_seconds = p->limits.cpu_seconds,
                                   .pids = p->limits.pids};
    b->start_realtime = s.pb.realtime_ns = bx_realtime();
    b->start_sent = true;
    return bx_msg_send_start(bx_mux_guest(b->mux), &s, err);
}

static void on_resized(void *ud, const char *text, const struct bx_err *failure)
{
    struct box *b = ud;
    struct bx_err err = BX_ERR_INIT;

    (void)text;
    box_touch(b);
    if (b->phase != BOX_STARTING)
        return;
    if (failure) {
        err = *failure;
        bx_prefix(&err, "setting the size of the disk");
        box_fail(b, &err);
    } else if (send_start(b, &err) < 0) {
        box_fail(b, &err);
    }
}

static int greet_guest(struct box *b, struct bx_err *err)
{
    struct bx_msg_hello hello = {.pb = {.version = BX_WIRE_VERSION, .program = "boxlite-shim " BX_VERSION}};
    int fd = bx_qemu_take_control(b->qemu), r;

    r = bx_conn_init(&b->guest, b->loop, fd, bx_mux_guest(b->mux), on_guest_io, b);
    if (r < 0)
        return bx_fail(err, BX_EINTERNAL, -r, "the agent's port");
    bx_conn_want_read(&b->guest, true);
    bx_random(&b->epoch, sizeof(b->epoch));
    hello.pb.epoch = b->epoch;
    r = bx_msg_send_hello(bx_mux_guest(b->mux), &hello, err);
    if (r == 0)
        r = bx_conn_flush(&b->guest, err);
    if (r < 0)
        return r;
    if (b->disk_size == BX_QEMU_TEMPLATE_DISK) /* what the guest knows already */
        return send_start(b, err);
    return bx_qemu_resize_disk(b->qemu, b->disk_size, on_resized, b, err);
}

static int take_lock(struct box *b, struct bx_err *err)
{
    b->dir_fd = open(b->plan->box_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (b->dir_fd < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "open %s", b->plan->box_dir);
    b->lock_fd = openat(b->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (b->lock_fd < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "open %s/lock", b->plan->box_dir);
    if (flock(b->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        int why = errno;

        b->lock_fd = bx_close(b->lock_fd);
        if (why == EWOULDBLOCK)
            return bx_fail(err, BX_ESTATE, 0, "box %s is running already", b->plan->box_id);
        return bx_fail(err, BX_ESTORAGE, why, "lock %s/lock", b->plan->box_dir);
    }
    /* What the last run left. */
    (void)unlinkat(b->dir_fd, "exit.json", 0);
    (void)unlinkat(b->dir_fd, "box.sock", 0);
    (void)unlinkat(b->dir_fd, BX_PAUSED_MARK, 0);
    return 0;
}

/* The size QEMU is told comes from the image itself: a smaller one would cut it. */
static int check_disk_size(struct box *b, int disk_fd, struct bx_err *err)
{
    uint8_t h[32];
    uint64_t size = 0;
    int r = bx_pread_full(disk_fd, h, sizeof(h), 0);

    if (r < 0)
        return bx_fail(err, BX_ESTORAGE, -r, "read %s/" DISK, b->plan->box_dir);
    for (int i = 24; i < 32; i++)
        size = size << 8 | h[i];
    if ((uint32_t)(h[0] << 24 | h[1] << 16 | h[2] << 8 | h[3]) != QCOW2_MAGIC || size == 0)
        return bx_fail(err, BX_ESTORAGE, 0, "%s/" DISK " is not a qcow2 image", b->plan->box_dir);
    /* What the header says was in QEMU's hands: it may not make the disk larger than the box was made with. */
    if (size > b->plan->disk_size)
        return bx_fail(err, BX_ESTORAGE, 0, "%s/" DISK " has been tampered with: it claims %llu bytes, the box was made with %llu",
                       b->plan->box_dir, (unsigned long long)size, (unsigned long long)b->plan->disk_size);
    b->disk_size = b->plan->disk_size;
    return 0;
}

/* The overlay of an image's template becomes the box's: only a new box, without a disk, is started from one. */
static int copy_overlay(struct box *b, int from, struct bx_err *err)
{
    bx_cleanup_close int to =
        openat(b->dir_fd, DISK ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int r;

    if (to < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "make %s/" DISK, b->plan->box_dir);
    r = bx_copy_file(from, to);
    if (r == 0 && renameat2(b->dir_fd, DISK ".new", b->dir_fd, DISK, RENAME_NOREPLACE) < 0)
        r = -errno;
    return r < 0 ? bx_fail(err, BX_ESTORAGE, -r, "make %s/" DISK, b->plan->box_dir) : 0;
}

struct handed {
    struct bx_template t;
    int disk_fd, base_fd, log_fd;
};

static void handed_done(struct handed *h)
{
    bx_template_done(&h->t);
    bx_close(h->disk_fd);
    bx_close(h->base_fd);
    bx_close(h->log_fd);
}

static int open_handed(struct box *b, const struct bx_vm_shape *shape, const struct bx_vm_key *key,
                       struct handed *h, struct bx_err *err)
{
    const struct bx_shim_plan *p = b->plan;
    bx_cleanup_close int templates = open(p->templates_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r;

    if (templates < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "open %s", p->templates_dir);
    r = bx_template_open(templates, key, shape, &h->t, err);
    if (r < 0) {
        b->template_suspect = r == -BX_ENOTFOUND;
        return r;
    }
    if (h->t.disk_fd >= 0) {
        r = copy_overlay(b, h->t.disk_fd, err);
        if (r < 0)
            return r;
    }
    h->disk_fd = openat(b->dir_fd, DISK, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (h->disk_fd < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "open %s/" DISK, p->box_dir);
    if (p->base_disk) {
        h->base_fd = open(p->base_disk, O_RDONLY | O_CLOEXEC);
        if (h->base_fd < 0)
            return bx_fail(err, BX_ESTORAGE, errno, "open %s", p->base_disk);
    }
    h->log_fd = openat(b->dir_fd, CONSOLE_LOG,
                       O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (h->log_fd < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "open %s/" CONSOLE_LOG, p->box_dir);
    return check_disk_size(b, h->disk_fd, err);
}

int box_plan_parts(const struct bx_shim_plan *p, struct bx_vm_parts *parts, struct bx_vm_shape *shape,
                   struct bx_vm_key *key, struct bx_err *err)
{
    *parts = (struct bx_vm_parts){.hook_hash = p->hook_hash};
    snprintf(parts->qemu, sizeof(parts->qemu), "%s", p->qemu);
    snprintf(parts->qemu_id, sizeof(parts->qemu_id), "%s", p->qemu_id);
    snprintf(parts->kernel, sizeof(parts->kernel), "%s", p->kernel);
    snprintf(parts->initramfs, sizeof(parts->initramfs), "%s", p->initramfs);
    snprintf(parts->hook, sizeof(parts->hook), "%s", p->hook);
    snprintf(parts->boot_id, sizeof(parts->boot_id), "%s", p->boot_id);
    *shape = (struct bx_vm_shape){
        .cpus = p->cpus, .memory_mib = p->memory_mib, .tsc_khz = p->tsc_khz, .network = p->network};
    *key = (struct bx_vm_key){.text = p->template_key};
    snprintf(key->name, sizeof(key->name), "%s", p->template_name);
    if (bx_engine_parse(p->engine, &shape->engine) < 0)
        return bx_fail(err, BX_EINVALID, 0, "engine %s is not known", p->engine);
    return 0;
}

static int start_qemu(struct box *b, struct bx_err *err)
{
    const struct bx_shim_plan *p = b->plan;
    BX_CLEANUP(handed_done)
    struct handed h = {.t = BX_TEMPLATE_INIT, .disk_fd = -1, .base_fd = -1, .log_fd = -1};
    struct bx_vm_parts parts;
    struct bx_vm_shape shape;
    struct bx_vm_key key;
    int r;

    r = box_plan_parts(p, &parts, &shape, &key, err);
    if (r == 0)
        r = take_lock(b, err);
    if (r == 0)
        r = open_handed(b, &shape, &key, &h, err);
    if (r < 0)
        return r;
    struct bx_qemu_config cfg = {
        .mode = BX_QEMU_RESTORE,
        .shape = shape,
        .parts = &parts,
        .name = p->box_id,
        .mem_fd = h.t.mem_fd,
        .state_fd = h.t.state_fd,
        .disk_fd = h.disk_fd,
        .disk_max = b->plan->disk_size,
        .base_fd = h.base_fd,
        .log_fd = h.log_fd,
        .files = h.t.files,
        .uid = p->uid < 0 ? BX_JAIL_KEEP : (uid_t)p->uid,
        .gid = p->gid < 0 ? (gid_t)BX_JAIL_KEEP : (gid_t)p->gid,
        .layers = p->jail_layers & BX_JAIL_ALL,
        .required_layers = p->jail_required & p->jail_layers & BX_JAIL_ALL,
        .any_layers = p->jail_any & p->jail_layers & BX_JAIL_ALL,
        .events = &qemu_events,
        .ud = b,
    };
    b->qemu = bx_qemu_start(b->loop, &cfg, err);
    return b->qemu ? 0 : -err->code;
}

/* --- the loop --- */

static void on_settle(struct bx_source *s, void *ud)
{
    struct box *b = ud;
    struct bx_err err = BX_ERR_INIT;

    (void)s;
    if (b->guest.fd >= 0 && bx_mux_guest(b->mux)->dead) {
        bx_fail(&err, BX_ERESOURCE, ENOMEM, "queue towards the agent");
        guest_broke(b, &err);
    }
    idle_settle(b);
    vcpus_settle(b);
    if (b->guest.fd >= 0 && !b->hold && bx_conn_flush(&b->guest, &err) < 0) {
        box_drain_guest(b); /* what it still said counts */
        if (b->guest.fd >= 0)
            guest_closed(b);
    }
    if (b->phase != BOX_GONE && (b->qemu_dead || (b->decided && !b->qemu)) && net_ended(b))
        box_finish(b);
    idle_settle(b);
    clients_settle(b);
    net_settle(b);
    health_settle(b);
    if (b->phase == BOX_GONE && box_farewell_done(b))
        bx_loop_quit(b->loop, b->failed ? 1 : 0);
}

static void on_deadline(struct bx_source *s, void *ud)
{
    (void)s;
    box_deadline(ud);
    box_touch(ud);
}

static void on_sigterm(struct bx_source *s, int signo, void *ud)
{
    struct box *b = ud;

    (void)s;
    (void)signo;
    box_stop(b, 10000, b->stop_sent, "the shim was asked to end");
    box_touch(b);
}

static int set_up(struct box *b, struct bx_err *err)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    b->loop = bx_loop_new();
    b->mux = bx_mux_new(&mux_ops, b);
    if (!b->loop || !b->mux)
        return bx_fail(err, BX_ERESOURCE, errno, "event loop");
    b->settle = bx_loop_add_defer(b->loop, on_settle, b);
    b->deadline = bx_loop_add_timer(b->loop, on_deadline, b);
    b->sigterm = bx_loop_add_signal(b->loop, SIGTERM, on_sigterm, b);
    if (!b->settle || !b->deadline || !b->sigterm)
        return bx_fail(err, BX_ERESOURCE, errno, "event loop");
    return 0;
}

/* Everything but QEMU itself, while that is loading. */
static int set_up_rest(struct box *b, struct bx_err *err)
{
    struct bx_err why = BX_ERR_INIT;
    int r = net_start(b, err);

    if (r == 0)
        r = health_init(b, err);

    if (r == 0)
        r = figures_init(b, err);
    if (r == 0)
        r = check_init(b, err);
    if (r == 0)
        r = vcpus_init(b, err);
    if (r == 0)
        r = idle_init(b, err);
    events_init(b);
    /* A full disk is no reason not to run: what is lost is counted. */
    if (b->lock_fd >= 0 && bx_box_log_open(&b->log, b->dir_fd, &why) < 0)
        bx_warn("%s", why.msg);
    if (r == 0)
        r = clients_listen(b, err);
    b->smaps_fd = open("/proc/self/smaps_rollup",
                       O_RDONLY | O_CLOEXEC); /* without it the figure lacks the shim's share */
#ifndef __SANITIZE_ADDRESS__                  /* whose end-of-program check needs more than a shim may do */
    if (r == 0)
        r = bx_seccomp_install(BX_SECCOMP_SHIM, err);
#endif
    return r;
}

static void box_done(struct box *b)
{
    b->qemu = bx_qemu_free(b->qemu);
    while (b->clients)
        client_remove(b->clients, NULL);
    bx_conn_done(&b->guest);
    net_done(b);
    health_done(b);
    figures_done(b);
    check_done(b);
    vcpus_done(b);
    idle_done(b);
    events_done(b);
    bx_box_log_close(&b->log);
    b->listener = bx_source_remove(b->listener);
    b->settle = bx_source_remove(b->settle);
    b->deadline = bx_source_remove(b->deadline);
    b->sigterm = bx_source_remove(b->sigterm);
    b->mux = bx_mux_free(b->mux);
    b->loop = bx_loop_free(b->loop);
    b->listen_fd = bx_close(b->listen_fd);
    b->smaps_fd = bx_close(b->smaps_fd);
    b->lock_fd = bx_close(b->lock_fd);
    b->dir_fd = bx_close(b->dir_fd);
}

int box_run(const struct bx_shim_plan *plan)
{
    struct box b = {.plan = plan,
                    .guest = BX_CONN_INIT,
                    .net_conn = BX_CONN_INIT,
                    .dir_fd = -1,
                    .lock_fd = -1,
                    .listen_fd = -1,
                    .smaps_fd = -1,
                    .clock_fd = -1,
                    .log = BX_BOX_LOG_INIT,
                    .events = BX_EVENT_LOG_INIT,
                    .t_begin = bx_now()};
    struct bx_err err = BX_ERR_INIT, starter_err = BX_ERR_INIT;
    int r = set_up(&b, &err), status = 1;

    if (r == 0) {
        bx_timer_set(b.deadline, b.t_begin + (int64_t)plan->timeout_ms * BX_MSEC);
        r = start_qemu(&b, &err);
        if (r == 0)
            r = greet_guest(&b, &err);
        /* The starter hears of a failure too. */
        if (client_add(&b, plan->fd, true, &starter_err) < 0) {
            bx_error("the starter's connection: %s", starter_err.msg);
            if (r == 0)
                r = -starter_err.code, err = starter_err;
        }
        if (r == 0)
            r = set_up_rest(&b, &err);
        if (r < 0)
            box_fail(&b, &err);
        box_touch(&b);
        status = bx_loop_run(b.loop);
    } else {
        bx_error("%s", err.msg);
    }
    box_done(&b);
    return status == 0 ? 0 : 1;
}
