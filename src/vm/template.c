/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template.c - opening and making templates.
 *
 * Theory of operation
 *
 *  A template is a directory that appears by rename and is never changed afterwards: mem (the guest's memory, sparse, mode
 *  0444), state (device state), files (what QEMU opens by itself), key (the key's text); of an image also disk (the overlay). One maker
 *  at a time, by flock. An image's agent mounts the disk before it parks; what was written until the machine stopped is in the overlay:
 *  QEMU drains and flushes it when it stops the machine.
 *
 *      BOOTING ──agent parked──▶ QUIET ──no console for 0.5 s──▶ SAVING ──state written──▶ ENDING ──exit──▶ published
 *         └──────────── exit, timeout, refusal: failed, the temporary directory is removed ────────────┘
 *
 *  The state is saved by xen-save-devices-state, which writes devices only, while the machine is stopped but counts as running: the
 *  restored machine starts by itself, there is no resume to lose. Quiet first: what the guest still does at the moment of saving,
 *  every box does again after its restore.
 */
#include "vm/template.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "disk/qcow2.h"
#include "vm/internal.h"

#define QUIET_NS (500 * BX_MSEC)
#define BOOT_TIMEOUT_NS (60 * BX_SEC)
#define STATE_MAX (4 * 1024 * 1024)
#define DISK_MAX (256 * 1024 * 1024) /* of what mounting writes; a box's start copies it */
#define KEY_MAX 65536
#define FILES_TEXT_MAX 65536
#define MIB (1024ull * 1024)
#define SWEEP_MAX 1024 /* entries looked at */

void bx_template_done(struct bx_template *t)
{
    bx_close(t->mem_fd);
    bx_close(t->state_fd);
    bx_close(t->disk_fd);
    bx_strv_free(t->files);
    *t = BX_TEMPLATE_INIT;
}

/* --- opening --- */

static int check_key(int dir, const struct bx_vm_key *key, struct bx_err *err)
{
    bx_cleanup_free char *text = NULL;
    int r = bx_read_file(dir, "key", KEY_MAX, &text, NULL);

    if (r)
        return bx_fail(err, BX_ENOTFOUND, -r, "template %s: its key", key->name);
    return bx_streq(text, key->text) ? 0 : bx_fail(err, BX_ENOTFOUND, 0, "template %s is of another machine", key->name);
}

static int open_part(int dir, const char *part, const char *name, off_t min, off_t max, struct bx_err *err)
{
    bx_cleanup_close int fd = openat(dir, part, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;

    if (fd < 0 || fstat(fd, &st))
        return bx_fail(err, BX_ENOTFOUND, errno, "template %s: its %s", name, part);
    if (!S_ISREG(st.st_mode) || (st.st_mode & 0222))
        return bx_fail(err, BX_ENOTFOUND, 0, "template %s: its %s is not read-only", name, part);
    if (st.st_size < min || st.st_size > max)
        return bx_fail(err, BX_ENOTFOUND, 0, "template %s: its %s has the wrong size", name, part);
    return BX_TAKE_FD(fd);
}

static int read_files(int dir, const char *name, char ***ret, struct bx_err *err)
{
    bx_cleanup_free char *text = NULL;
    bx_cleanup_strv char **v = NULL;
    int r = bx_read_file(dir, "files", FILES_TEXT_MAX, &text, NULL);

    if (r)
        return bx_fail(err, BX_ENOTFOUND, -r, "template %s: its list of files", name);
    for (char *p = text, *next; *p; p = next) {
        next = p + strcspn(p, "\n");
        if (*next)
            *next++ = '\0';
        if (bx_strv_len(v) == BX_VM_FILES_MAX || p[0] != '/' || access(p, F_OK))
            return bx_fail(err, BX_ENOTFOUND, 0, "template %s: QEMU's files have changed", name);
        if (bx_strv_add(&v, p))
            return bx_fail(err, BX_EINTERNAL, ENOMEM, "template %s", name);
    }
    if (!v)
        return bx_fail(err, BX_ENOTFOUND, 0, "template %s: its list of files is empty", name);
    *ret = BX_TAKE_PTR(v);
    return 0;
}

int bx_template_open(int templates_fd, const struct bx_vm_key *key, const struct bx_vm_shape *shape,
                     struct bx_template *ret, struct bx_err *err)
{
    struct bx_template t = BX_TEMPLATE_INIT;
    off_t size = (off_t)(shape->memory_mib * MIB);
    bx_cleanup_close int dir = openat(templates_fd, key->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int r;

    if (dir < 0)
        return bx_fail(err, errno == ENOENT ? BX_ENOTFOUND : BX_ESTORAGE, errno, "template %s", key->name);
    r = check_key(dir, key, err);
    if (r == 0)
        r = t.mem_fd = open_part(dir, "mem", key->name, size, size, err);
    if (r >= 0)
        r = t.state_fd = open_part(dir, "state", key->name, 1, STATE_MAX, err);
    if (r >= 0 && bx_vm_key_has_root(key))
        r = t.disk_fd = open_part(dir, "disk", key->name, 1, DISK_MAX, err);
    if (r >= 0)
        r = read_files(dir, key->name, &t.files, err);
    if (r >= 0)
        (void)futimens(dir, NULL); /* used now: what is not used longest is evicted first */
    if (r < 0) {
        bx_template_done(&t);
        return r;
    }
    *ret = t;
    return 0;
}

int bx_template_remove(int templates_fd, const char *name, struct bx_err *err)
{
    char id[BX_ID_LEN + 1];
    bx_cleanup_free char *away = NULL;
    int r;

    /* First out of sight, at once; then removed piece by piece. */
    bx_random_id(id);
    away = bx_strf(".%s.%s.old", name, id);
    if (!away)
        return bx_fail(err, BX_EINTERNAL, ENOMEM, "template %s", name);
    if (renameat(templates_fd, name, templates_fd, away))
        return errno == ENOENT ? 0 : bx_fail(err, BX_ESTORAGE, errno, "remove template %s", name);
    r = bx_rm_rf(templates_fd, away);
    return r ? bx_fail(err, BX_ESTORAGE, -r, "remove template %s", name) : 0;
}

/* Who removes a template removes its lock while he holds it: who waited for that one has a lock of nothing. */
static bool lock_is_current(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

int bx_template_lock(int templates_fd, const char *name, bool wait, struct bx_err *err)
{
    bx_cleanup_free char *file = bx_strf("%s.lock", name);
    bx_cleanup_close int fd = -1;
    int r;

    if (!file)
        return bx_fail(err, BX_EINTERNAL, ENOMEM, "template %s", name);
    do {
        bx_close(fd);
        fd = openat(templates_fd, file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
            return bx_fail(err, BX_ESTORAGE, errno, "open %s", file);
        r = flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB));
    } while (r ? errno == EINTR : !lock_is_current(fd));
    if (r && errno == EWOULDBLOCK)
        return bx_fail(err, BX_ESTATE, 0, "template %s is being made", name);
    return r ? bx_fail(err, BX_ESTORAGE, errno, "lock %s", file) : BX_TAKE_FD(fd);
}

/* ".NAME.new", of a maker that was killed; not of one that is at work: it holds the lock. */
static void remove_unfinished(int templates_fd, const char *entry)
{
    bx_cleanup_free char *lock = bx_strf("%.*s.lock", (int)strlen(entry) - 5, entry + 1);
    bx_cleanup_close int fd = lock ? openat(templates_fd, lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;

    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && lock_is_current(fd))
        (void)bx_rm_rf(templates_fd, entry);
}

void bx_template_sweep(int templates_fd)
{
    int fd = openat(templates_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;

    if (!d) {
        bx_close(fd);
        return;
    }
    for (int i = 0; i < SWEEP_MAX && (e = readdir(d)); i++) {
        if (e->d_name[0] != '.' || strlen(e->d_name) < 6)
            continue;
        if (bx_ends_with(e->d_name, ".new"))
            remove_unfinished(templates_fd, e->d_name);
        else if (bx_ends_with(e->d_name, ".old"))
            (void)bx_rm_rf(templates_fd, e->d_name);
    }
    closedir(d);
}

/* --- making --- */

enum maker_state { MAKER_BOOTING, MAKER_QUIET, MAKER_SAVING, MAKER_ENDING, MAKER_DONE };

struct bx_template_maker {
    struct bx_loop *loop;
    struct bx_template_config cfg;
    bx_template_done_fn *fn;
    void *ud;
    enum maker_state state;
    struct bx_qemu *qemu;
    struct bx_source *timer;   /* the whole boot's deadline, or what is left of the quiet */
    struct bx_source *failing; /* deferred: failures are told from the loop, never from inside a callback of qemu */
    struct bx_err why;
    int64_t deadline;
    char **files;
    char *tmp_name;
    int dir_fd;
    int mem_fd;
    int state_fd;
    int disk_fd;
    char line[256]; /* of the console, to find the agent's word */
    size_t line_len;
};

static void finish(struct bx_template_maker *m, const struct bx_err *err)
{
    struct bx_err copy = err ? *err : BX_ERR_INIT;

    m->state = MAKER_DONE;
    m->qemu = bx_qemu_free(m->qemu);
    bx_timer_set(m->timer, 0);
    if (err)
        (void)bx_rm_rf(m->cfg.templates_fd, m->tmp_name);
    m->fn(m->ud, err ? &copy : NULL); /* may free m */
}

/* Puts the failure off to the end of the round. The first one counts. */
static void fail_later(struct bx_template_maker *m, const struct bx_err *err)
{
    if (m->state == MAKER_DONE || m->why.code)
        return;
    m->why = *err;
    bx_defer_set(m->failing);
}

static void on_failing(struct bx_source *s, void *ud)
{
    struct bx_template_maker *m = ud;

    (void)s;
    if (m->state != MAKER_DONE)
        finish(m, &m->why);
}

static void fail_with_console(struct bx_template_maker *m, const char *what)
{
    struct bx_err err = BX_ERR_INIT;
    char tail[300];

    bx_qemu_console_tail(m->qemu, tail, sizeof(tail));
    (void)bx_fail(&err, BX_EENGINE, 0, "template %s: %s", m->cfg.key->name, what);
    bx_err_append(&err, "; console: %s", *tail ? tail : "(nothing)");
    fail_later(m, &err);
}

static int sync_file(int fd, const char *what, struct bx_err *err)
{
    if (fchmod(fd, 0444) || fsync(fd))
        return bx_fail(err, BX_ESTORAGE, errno, "template: %s", what);
    return 0;
}

static int write_list(struct bx_template_maker *m, struct bx_err *err)
{
    bx_cleanup_buf struct bx_buf b = BX_BUF_INIT(FILES_TEXT_MAX);
    int r;

    for (size_t i = 0; m->files[i]; i++)
        (void)bx_buf_addf(&b, "%s\n", m->files[i]);
    if (bx_buf_failed(&b))
        return bx_fail(err, BX_EENGINE, ENOBUFS, "template: list of files");
    r = bx_write_file_atomic(m->dir_fd, "files", bx_buf_data(&b), bx_buf_len(&b), 0444);
    return r ? bx_fail(err, BX_ESTORAGE, -r, "template: list of files") : 0;
}

static int publish(struct bx_template_maker *m, struct bx_err *err)
{
    const char *name = m->cfg.key->name;
    const char *key = m->cfg.key->text;
    int r = sync_file(m->mem_fd, "memory", err);

    if (r == 0)
        r = sync_file(m->state_fd, "state", err);
    if (r == 0 && m->disk_fd >= 0)
        r = sync_file(m->disk_fd, "disk", err);
    if (r == 0)
        r = write_list(m, err);
    if (r)
        return r;
    r = bx_write_file_atomic(m->dir_fd, "key", key, strlen(key), 0444);
    if (r == 0)
        r = bx_fsync_dir(m->dir_fd);
    if (r)
        return bx_fail(err, BX_ESTORAGE, -r, "template: key");
    r = bx_template_remove(m->cfg.templates_fd, name, err);
    if (r)
        return r;
    if (renameat(m->cfg.templates_fd, m->tmp_name, m->cfg.templates_fd, name))
        return bx_fail(err, BX_ESTORAGE, errno, "publish template %s", name);
    r = bx_fsync_dir(m->cfg.templates_fd);
    return r ? bx_fail(err, BX_ESTORAGE, -r, "publish template %s", name) : 0;
}

static void on_exit_status(void *ud, int status)
{
    struct bx_template_maker *m = ud;
    struct bx_err err = BX_ERR_INIT;
    const char *why = bx_qemu_why(m->qemu);
    char what[BX_ERR_MSG_MAX];

    if (m->state == MAKER_ENDING && !m->why.code) {
        int r = publish(m, &err);

        finish(m, r ? &err : NULL);
        return;
    }
    (void)snprintf(what, sizeof(what), "the machine ended with status %d %s%s%s%s", status,
                   m->state == MAKER_BOOTING ? "before its agent was there" : "while it was saved", *why ? ": " : "", why,
                   status == 128 + SIGBUS ? " (its memory could not be written: is the disk full?)" : "");
    fail_with_console(m, what);
}

static void on_saved(void *ud, const char *text, const struct bx_err *err)
{
    struct bx_template_maker *m = ud;

    (void)text;
    if (m->state != MAKER_SAVING)
        return;
    if (err) {
        fail_later(m, err);
        return;
    }
    m->state = MAKER_ENDING;
    bx_qemu_kill(m->qemu); /* its memory is the file's, nothing is left in it */
}

static void on_step(void *ud, const char *text, const struct bx_err *err)
{
    (void)text;
    if (err)
        fail_later(ud, err);
}

static void save(struct bx_template_maker *m)
{
    struct bx_qmp *qmp = bx_qemu_qmp(m->qemu);
    struct bx_err err = BX_ERR_INIT;
    int fd = openat(m->dir_fd, "state", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int r;

    m->state = MAKER_SAVING;
    m->state_fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (m->state_fd < 0) {
        (void)bx_fail(&err, BX_ESTORAGE, errno, "template: state file");
        bx_close(fd);
        fail_later(m, &err);
        return;
    }
    r = bx_qmp_send(qmp, "stop", NULL, -1, on_step, m, &err);
    if (r == 0)
        r = bx_qmp_send(qmp, "add-fd", "{\"fdset-id\":9}", BX_TAKE_FD(fd), on_step, m, &err);
    if (r == 0)
        r = bx_qmp_send(qmp, "xen-save-devices-state", "{\"filename\":\"/dev/fdset/9\"}", -1, on_saved, m, &err);
    bx_close(fd);
    if (r)
        fail_later(m, &err);
}

static void on_timer(struct bx_source *s, void *ud)
{
    struct bx_template_maker *m = ud;

    (void)s;
    if (m->state == MAKER_QUIET && bx_now() < m->deadline) {
        bx_timer_set(m->timer, m->deadline);
        save(m);
    } else {
        fail_with_console(m, m->state == MAKER_BOOTING ? "the machine did not come up in time"
                                                        : "the machine was not saved in time");
    }
}

static void parked_or_noise(struct bx_template_maker *m)
{
    if (m->state == MAKER_BOOTING && strstr(m->line, BX_PARKED_LINE))
        m->state = MAKER_QUIET;
    if (m->state == MAKER_QUIET) /* every console byte starts the quiet anew */
        bx_timer_set(m->timer, BX_MIN(bx_now() + QUIET_NS, m->deadline));
}

static void on_console_bytes(void *ud, const void *data, size_t len)
{
    struct bx_template_maker *m = ud;
    const char *p = data;

    for (size_t i = 0; i < len; i++) {
        if (p[i] != '\n' && p[i] != '\r' && m->line_len + 1 < sizeof(m->line)) {
            m->line[m->line_len++] = p[i];
            continue;
        }
        m->line[m->line_len] = '\0';
        parked_or_noise(m);
        m->line_len = 0;
    }
    if (m->state == MAKER_QUIET)
        parked_or_noise(m);
}

static const struct bx_qemu_events maker_events = { .on_exit = on_exit_status, .on_console = on_console_bytes };

/* The temporary directory and the memory file. Only the lock's holder uses this name. */
static int make_files(struct bx_template_maker *m, struct bx_err *err)
{
    const struct bx_template_config *c = &m->cfg;

    m->tmp_name = bx_strf(".%s.new", c->key->name);
    if (!m->tmp_name)
        return bx_fail(err, BX_EINTERNAL, ENOMEM, "template");
    (void)bx_rm_rf(c->templates_fd, m->tmp_name);
    bx_template_sweep(c->templates_fd);
    if (mkdirat(c->templates_fd, m->tmp_name, 0700))
        return bx_fail(err, BX_ESTORAGE, errno, "make template %s", c->key->name);
    m->dir_fd = openat(c->templates_fd, m->tmp_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (m->dir_fd < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "make template %s", c->key->name);
    m->mem_fd = openat(m->dir_fd, "mem", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (m->mem_fd < 0 || ftruncate(m->mem_fd, (off_t)(c->shape.memory_mib * MIB)))
        return bx_fail(err, BX_ESTORAGE, errno, "make template %s: memory file", c->key->name);
    if (c->base_fd >= 0) {
        m->disk_fd = openat(m->dir_fd, "disk", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (m->disk_fd < 0)
            return bx_fail(err, BX_ESTORAGE, errno, "make template %s: disk", c->key->name);
        if (bx_qcow2_create(m->disk_fd, BX_QEMU_TEMPLATE_DISK, err) < 0)
            return -BX_ESTORAGE;
    }
    return bx_vm_list_files(c->parts, c->shape.engine, &m->files, err);
}

static int start_machine(struct bx_template_maker *m, struct bx_err *err)
{
    const struct bx_template_config *c = &m->cfg;
    const struct bx_qemu_config qc = {
        .mode = BX_QEMU_MAKE,
        .shape = c->shape,
        .parts = c->parts,
        .name = c->key->name,
        .mem_fd = m->mem_fd,
        .state_fd = -1,
        .disk_fd = m->disk_fd,
        .disk_max = c->base_fd >= 0 ? BX_QEMU_TEMPLATE_DISK : 0,
        .base_fd = c->base_fd,
        .log_fd = c->log_fd,
        .files = m->files,
        .uid = c->uid,
        .gid = c->gid,
        .layers = BX_JAIL_ALL,
        .required_layers = BX_JAIL_FLOOR,
        .events = &maker_events,
        .ud = m,
    };

    m->timer = bx_loop_add_timer(m->loop, on_timer, m);
    m->failing = bx_loop_add_defer(m->loop, on_failing, m);
    if (!m->timer || !m->failing)
        return bx_fail(err, BX_ERESOURCE, errno, "make template %s", c->key->name);
    m->qemu = bx_qemu_start(m->loop, &qc, err);
    if (!m->qemu)
        return -BX_EENGINE;
    m->deadline = bx_now() + (c->timeout_ns ? c->timeout_ns : BOOT_TIMEOUT_NS);
    bx_timer_set(m->timer, m->deadline);
    return 0;
}

struct bx_template_maker *bx_template_make(struct bx_loop *loop, const struct bx_template_config *cfg,
                                           bx_template_done_fn *fn, void *ud, struct bx_err *err)
{
    struct bx_template_maker *m = calloc(1, sizeof(*m));
    int r;

    if (!m) {
        (void)bx_fail(err, BX_EINTERNAL, ENOMEM, "make template");
        return NULL;
    }
    m->loop = loop;
    m->cfg = *cfg;
    m->fn = fn;
    m->ud = ud;
    m->dir_fd = m->mem_fd = m->state_fd = m->disk_fd = -1;
    r = make_files(m, err);
    if (r == 0)
        r = start_machine(m, err);
    if (r == 0)
        return m;
    if (m->tmp_name)
        (void)bx_rm_rf(cfg->templates_fd, m->tmp_name);
    return bx_template_maker_free(m);
}

struct bx_template_maker *bx_template_maker_free(struct bx_template_maker *m)
{
    if (!m)
        return NULL;
    (void)bx_qemu_free(m->qemu);
    if (m->state != MAKER_DONE && m->tmp_name)
        (void)bx_rm_rf(m->cfg.templates_fd, m->tmp_name);
    (void)bx_source_remove(m->timer);
    (void)bx_source_remove(m->failing);
    bx_strv_free(m->files);
    free(m->tmp_name);
    bx_close(m->dir_fd);
    bx_close(m->mem_fd);
    bx_close(m->state_fd);
    bx_close(m->disk_fd);
    free(m);
    return NULL;
}
