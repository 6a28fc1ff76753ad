/* SPDX-License-Identifier: Apache-2.0 */
/* risk_lib.c - see risk_lib.h. */
#include "risk_lib.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdarg.h>
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
#include "vm/probe.h"

_Noreturn void rig_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fprintf(stderr, "FAILED: ");
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    exit(1);
}

_Noreturn void rig_skip(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fprintf(stderr, "skipped: ");
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    exit(getenv("BOXLITE_TEST_MUST_RUN") ? 1 : 77);
}

void rig_init(struct rig *r, unsigned cpus, unsigned memory_mib)
{
    const char *libexec = getenv("BX_TEST_LIBEXEC");
    const char *tmp = getenv("TMPDIR");
    struct bx_err err = BX_ERR_INIT;
    char *log;

    if (!libexec)
        rig_skip("BX_TEST_LIBEXEC is not set");
    *r = (struct rig){ .shape = { .engine = BX_ENGINE_TCG, .cpus = cpus, .memory_mib = memory_mib } };
    r->shape.tsc_khz = bx_probe_tsc_khz();
    r->loop = bx_loop_new();
    (void)snprintf(r->home, sizeof(r->home), "%s/bxrisk-XXXXXX", tmp && *tmp && strlen(tmp) < 30 ? tmp : "/tmp");
    if (!r->loop || !mkdtemp(r->home))
        rig_fail("home %s: %s", r->home, strerror(errno));
    r->home_fd = open(r->home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    log = bx_path_join(r->home, "console.log");
    r->log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    free(log);
    if (r->home_fd < 0 || r->log_fd < 0)
        rig_fail("home: %s", strerror(errno));
    if (bx_vm_parts_find(libexec, BX_ENGINE_TCG, &r->parts, &err) || bx_vm_shape_round(&r->shape, &err) ||
        bx_vm_key_make(&r->shape, &r->parts, NULL, &r->key, &err))
        rig_fail("%s", err.msg);
}

void rig_done(struct rig *r)
{
    bx_vm_key_done(&r->key);
    bx_close(r->log_fd);
    bx_close(r->home_fd);
    (void)bx_loop_free(r->loop);
    (void)bx_rm_rf(AT_FDCWD, r->home);
}

struct making {
    bool done;
    struct bx_err err;
};

static void on_made(void *ud, const struct bx_err *err)
{
    struct making *m = ud;

    m->done = true;
    if (err)
        m->err = *err;
}

void rig_make_template(struct rig *r)
{
    struct bx_template_config cfg = {
        .templates_fd = r->home_fd,
        .key = &r->key,
        .shape = r->shape,
        .parts = &r->parts,
        .uid = 65534,
        .gid = 65534,
        .base_fd = -1,
        .log_fd = r->log_fd,
    };
    struct making m = { 0 };
    struct bx_err err = BX_ERR_INIT;
    struct bx_template_maker *maker = bx_template_make(r->loop, &cfg, on_made, &m, &err);

    if (!maker)
        rig_fail("template: %s", err.msg);
    while (!m.done) {
        if (bx_loop_dispatch(r->loop, -1) < 0)
            rig_fail("loop");
    }
    (void)bx_template_maker_free(maker);
    if (m.err.code)
        rig_fail("%s", m.err.msg);
}

void rig_template_path(const struct rig *r, const char *part, char *dst, size_t size)
{
    (void)snprintf(dst, size, "%s/%s/%s", r->home, r->key.name, part);
}

void rig_hash_memory(struct rig *r, char ret[65])
{
    static uint8_t buf[1 << 20];
    char path[256];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t digest[32];
    unsigned len = sizeof(digest);
    ssize_t n;
    int fd;

    rig_template_path(r, "mem", path, sizeof(path));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || !ctx || !EVP_DigestInit_ex(ctx, EVP_sha256(), NULL))
        rig_fail("%s: %s", path, strerror(errno));
    while ((n = read(fd, buf, sizeof(buf))) > 0)
        (void)EVP_DigestUpdate(ctx, buf, (size_t)n);
    (void)EVP_DigestFinal_ex(ctx, digest, &len);
    EVP_MD_CTX_free(ctx);
    bx_close(fd);
    bx_hex(ret, digest, sizeof(digest));
}

static void on_box_exit(void *ud, int status)
{
    struct box *b = ud;

    b->exited = true;
    b->status = status;
}

static const struct bx_qemu_events box_events = { .on_exit = on_box_exit };

void box_start(struct rig *r, struct box *b)
{
    char name[32];
    struct bx_err err = BX_ERR_INIT;
    struct bx_qemu_config cfg = {
        .mode = BX_QEMU_RESTORE,
        .shape = r->shape,
        .parts = &r->parts,
        .base_fd = -1,
        .log_fd = r->log_fd,
        .uid = 65534,
        .gid = 65534,
        .layers = BX_JAIL_ALL,
        .required_layers = BX_JAIL_FLOOR,
        .events = &box_events,
        .ud = b,
    };

    *b = (struct box){ .rig = r, .tpl = BX_TEMPLATE_INIT };
    b->spawn_time = bx_now();
    if (bx_template_open(r->home_fd, &r->key, &r->shape, &b->tpl, &err))
        rig_fail("%s", err.msg);
    b->disk_fd = bx_tmpfile_at(r->home_fd, "disk", 0600, name, sizeof(name));
    if (b->disk_fd < 0 || bx_qcow2_create(b->disk_fd, DISK_SIZE, &err))
        rig_fail("disk: %s", err.msg);
    cfg.name = "risk";
    cfg.mem_fd = b->tpl.mem_fd;
    cfg.state_fd = b->tpl.state_fd;
    cfg.files = b->tpl.files;
    cfg.disk_fd = b->disk_fd;
    b->qemu = bx_qemu_start(r->loop, &cfg, &err);
    if (!b->qemu)
        rig_fail("%s", err.msg);
    b->control = bx_qemu_take_control(b->qemu);
    b->bulk = bx_qemu_take_bulk(b->qemu);
}

/* Runs the loop until *flag or the deadline. */
static bool wait_flag(struct box *b, const bool *flag, int timeout_ms)
{
    int64_t deadline = bx_now() + timeout_ms * BX_MSEC;

    while (!*flag && !b->exited) {
        int64_t left = (deadline - bx_now()) / BX_MSEC;

        if (left <= 0)
            break;
        if (bx_loop_dispatch(b->rig->loop, (int)left) < 0)
            rig_fail("loop");
    }
    return *flag;
}

struct ask {
    bool readable;
};

static void on_port(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    (void)s;
    (void)fd;
    (void)events;
    ((struct ask *)ud)->readable = true;
}

bool box_ask(struct box *b, int port, const void *data, size_t len, char *answer, size_t size, int timeout_ms)
{
    struct ask a = { 0 };
    struct bx_source *s;
    ssize_t n = -1;

    if (send(port, data, len, MSG_NOSIGNAL) != (ssize_t)len)
        return false;
    s = bx_loop_add_fd(b->rig->loop, port, BX_READ, on_port, &a);
    if (!s)
        rig_fail("loop");
    if (wait_flag(b, &a.readable, timeout_ms))
        n = recv(port, answer, size - 1, 0);
    (void)bx_source_remove(s);
    answer[n > 0 ? n : 0] = '\0';
    return n > 0;
}

bool box_hello(struct box *b, int timeout_ms)
{
    /* length 2, type HELLO, flags 0, stream 0, reserved 0; field 1 (version) = 1 */
    static const uint8_t hello[] = { 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 0x01 };
    char answer[512];

    return box_ask(b, b->control, hello, sizeof(hello), answer, sizeof(answer), timeout_ms);
}

static void on_reply(void *ud, const char *text, const struct bx_err *err)
{
    struct box *b = ud;

    b->replied = true;
    b->reply_failed = err != NULL;
    if (err)
        fprintf(stderr, "QMP: %s %s\n", err->msg, text);
}

void box_qmp(struct box *b, const char *command, const char *args)
{
    struct bx_err err = BX_ERR_INIT;

    b->replied = b->reply_failed = false;
    if (bx_qmp_send(bx_qemu_qmp(b->qemu), command, args, -1, on_reply, b, &err))
        rig_fail("%s: %s", command, err.msg);
    if (!wait_flag(b, &b->replied, 10000) || b->reply_failed)
        rig_fail("%s: refused or unanswered", command);
}

bool box_wait_locked(struct box *b, int timeout_ms)
{
    int64_t deadline = bx_now() + timeout_ms * BX_MSEC;

    while (!bx_qemu_locked(b->qemu) && !b->exited && bx_now() < deadline)
        (void)bx_loop_dispatch(b->rig->loop, (int)((deadline - bx_now()) / BX_MSEC) + 1);
    return bx_qemu_locked(b->qemu);
}

bool box_wait_exit(struct box *b, int timeout_ms)
{
    return wait_flag(b, &b->exited, timeout_ms);
}

void box_done(struct box *b)
{
    b->qemu = bx_qemu_free(b->qemu);
    bx_template_done(&b->tpl);
    bx_close(b->disk_fd);
    bx_close(b->control);
    bx_close(b->bulk);
}
