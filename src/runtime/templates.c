/* SPDX-License-Identifier: Apache-2.0 */
/* templates.c - see templates.h. A failure is remembered in templates/<name>.failed, whose time says when. */
#include "runtime/templates.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jail/plan.h"
#include "runtime/engine.h"

#define LINK_FD       4
#define REST          (10 * BX_SEC)
#define REST_BEHIND   (3600 * BX_SEC)
#define BEHIND_MS     (600u * 1000) /* it may get next to no CPU for a while */
/* As root, each box's machine runs under a uid of its own, far from those of people and of user
 * namespaces. */
#define UID_BASE  1900000000
#define UID_COUNT 100000000

int bx_machine_find(struct CBoxliteRuntime *rt, struct bx_machine *m, struct bx_err *err)
{
    const char *libexec = bx_libexec(rt, err);
    int r;

    bx_vm_key_done(&m->key);
    if (!libexec)
        return -err->code;
    r = bx_vm_shape_round(&m->shape, err);
    if (r == 0)
        r = bx_vm_parts_find(libexec, m->shape.engine, &m->parts, err);
    return r < 0 ? r : bx_vm_key_make(&m->shape, &m->parts, NULL, &m->key, err);
}

int bx_machine_key(struct CBoxliteRuntime *rt, struct bx_machine *m, const char *disk, struct bx_err *err)
{
    bx_cleanup_free char *root = bx_vm_disk_id(rt->disks_fd, disk, err);

    return root ? bx_vm_key_make(&m->shape, &m->parts, root, &m->key, err) : -BX_ESTORAGE;
}

int bx_plan_text(char **field, const char *value)
{
    *field = bx_strf("%s", value);
    return *field ? 0 : -1;
}

int bx_machine_plan(const struct CBoxliteRuntime *rt, const struct bx_machine *m, struct bx_shim_plan *p,
                    struct bx_err *err)
{
    const struct bx_vm_parts *v = &m->parts;

    p->cpus = m->shape.cpus;
    p->memory_mib = m->shape.memory_mib;
    p->tsc_khz = m->shape.tsc_khz;
    p->network = m->shape.network;
    p->hook_hash = v->hook_hash;
    p->timeout_ms = (unsigned)(rt->start_timeout_ns / BX_MSEC);
    p->jail_layers = BX_JAIL_ALL;
    p->jail_required = BX_JAIL_FLOOR;
    if (geteuid() == 0)
        p->uid = p->gid = UID_BASE + m->number % UID_COUNT;
    p->templates_dir = bx_path_join(rt->home, "templates");
    if (!p->templates_dir || bx_plan_text(&p->engine, bx_engine_name(m->shape.engine)) ||
        bx_plan_text(&p->qemu, v->qemu) || bx_plan_text(&p->qemu_id, v->qemu_id) || bx_plan_text(&p->kernel, v->kernel) ||
        bx_plan_text(&p->initramfs, v->initramfs) || bx_plan_text(&p->hook, v->hook) ||
        bx_plan_text(&p->boot_id, v->boot_id) || bx_plan_text(&p->template_name, m->key.name) ||
        bx_plan_text(&p->template_key, m->key.text))
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "plan the machine");
    return 0;
}

bool bx_template_exists(const struct CBoxliteRuntime *rt, const struct bx_machine *m)
{
    char path[BX_VM_NAME_MAX + 8];

    snprintf(path, sizeof(path), "%s/key", m->key.name);
    return faccessat(rt->templates_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* --- failures --- */

static void failed_name(const struct bx_machine *m, char dst[BX_VM_NAME_MAX + 16])
{
    snprintf(dst, BX_VM_NAME_MAX + 16, "%s.failed", m->key.name);
}

/* How long ago was it that making it failed? Negative: not known of. */
static int64_t failed_ago(const struct CBoxliteRuntime *rt, const struct bx_machine *m)
{
    char name[BX_VM_NAME_MAX + 16];
    struct stat st;

    failed_name(m, name);
    if (fstatat(rt->templates_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    return bx_realtime() - ((int64_t)st.st_mtim.tv_sec * BX_SEC + st.st_mtim.tv_nsec);
}

bool bx_template_failed_lately(const struct CBoxliteRuntime *rt, const struct bx_machine *m, struct bx_err *err)
{
    bx_cleanup_free char *text = NULL;
    char name[BX_VM_NAME_MAX + 16];
    int64_t age = failed_ago(rt, m);

    failed_name(m, name);
    if (age < 0 || age > REST || bx_read_file(rt->templates_fd, name, 4096, &text, NULL) < 0)
        return false;
    bx_fail(err, BX_EENGINE, 0, "%s (a moment ago; tried again in %lld s)", text,
            (long long)((REST - age) / BX_SEC + 1));
    return true;
}

int bx_template_made(struct CBoxliteRuntime *rt, const struct bx_machine *m, const char *text, size_t len,
                     struct bx_err *err)
{
    char name[BX_VM_NAME_MAX + 16];

    failed_name(m, name);
    if (len == 0 && bx_template_exists(rt, m)) {
        (void)unlinkat(rt->templates_fd, name, 0);
        return 0;
    }
    if (len > 0)
        bx_shim_error_parse(text, len, err);
    else
        bx_fail(err, BX_EENGINE, 0, "boxlite-shim ended without a word while it made the template");
    (void)bx_write_file_atomic(rt->templates_fd, name, err->msg, strlen(err->msg), 0600);
    return -err->code;
}

/* --- making --- */

static int plan_template(struct CBoxliteRuntime *rt, const struct bx_machine *m, const char *disk,
                         struct bx_shim_plan *p, struct bx_err *err)
{
    int r = bx_machine_plan(rt, m, p, err);

    p->kind = BX_SHIM_TEMPLATE;
    p->fd = LINK_FD;
    p->templates_bytes = rt->template_limits.bytes;
    p->templates_idle_s = (unsigned)(rt->template_limits.idle_ns / BX_SEC);
    if (r < 0 || !disk)
        return r;
    p->base_disk = bx_strf("%s/disks/%s", rt->home, disk);
    return p->base_disk ? 0 : bx_fail(err, BX_ERESOURCE, ENOMEM, "plan the machine");
}

struct bx_job *bx_template_start(struct CBoxliteRuntime *rt, const struct bx_machine *m, const char *disk, bx_job_fn *fn,
                                 void *ud, struct bx_err *err)
{
    BX_CLEANUP(bx_shim_spawn_done) struct bx_shim_spawn spawn = {.plan_fd = -1};
    bx_cleanup_shim_plan struct bx_shim_plan plan = BX_SHIM_PLAN_INIT;

    if (plan_template(rt, m, disk, &plan, err) < 0 || bx_shim_spawn_make(rt, &plan, &spawn, err) < 0)
        return NULL;
    return bx_job_start(rt, &spawn.spawn, LINK_FD, fn, ud, err);
}

static int spawn_behind(struct CBoxliteRuntime *rt, const struct bx_machine *m, const char *disk, struct bx_err *err)
{
    BX_CLEANUP(bx_shim_spawn_done) struct bx_shim_spawn spawn = {.plan_fd = -1};
    bx_cleanup_shim_plan struct bx_shim_plan plan = BX_SHIM_PLAN_INIT;
    bx_cleanup_close int null = open("/dev/null", O_RDWR | O_CLOEXEC), pidfd = -1;
    int r;

    if (null < 0)
        return bx_fail(err, BX_ERESOURCE, errno, "open /dev/null");
    r = plan_template(rt, m, disk, &plan, err);
    plan.background = true;
    plan.timeout_ms = BEHIND_MS;
    if (r == 0)
        r = bx_shim_spawn_make(rt, &plan, &spawn, err);
    if (r < 0)
        return r;
    spawn.spawn.orphan = true;
    spawn.fds[spawn.spawn.n_fds++] = (struct bx_spawn_fd){null, LINK_FD};
    pidfd = bx_spawn(&spawn.spawn, NULL, err);
    return pidfd < 0 ? pidfd : 0;
}

void bx_template_behind(struct CBoxliteRuntime *rt, const struct bx_machine *m, const char *disk)
{
    struct bx_machine image = *m;
    struct bx_err err = BX_ERR_INIT;
    char name[BX_VM_NAME_MAX + 16];
    int64_t age;

    image.key = (struct bx_vm_key){0};
    image.number = 0; /* it may outlive the box */
    if (bx_machine_key(rt, &image, disk, NULL) < 0)
        return;
    age = failed_ago(rt, &image);
    if ((age < 0 || age > REST_BEHIND) && !bx_template_exists(rt, &image) && spawn_behind(rt, &image, disk, &err) < 0) {
        failed_name(&image, name);
        (void)bx_write_file_atomic(rt->templates_fd, name, err.msg, strlen(err.msg), 0600);
    }
    bx_vm_key_done(&image.key);
}
