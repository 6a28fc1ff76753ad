/* SPDX-License-Identifier: Apache-2.0 */
/* oneshot.c - see oneshot.h. */
#include "shim/oneshot.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "shim/box.h"
#include "vm/probe.h"
#include "vm/template.h"
#include "vm/template_evict.h"

#define EVICT_MAX 16 /* at a time */

int shim_probe(const struct bx_shim_plan *plan)
{
    struct bx_engine_verdict v;
    char line[512];

    bx_probe_kvm(&v);
    if (bx_probe_format(&v, line, sizeof(line)) < 0)
        return 1;
    line[strcspn(line, "\n")] = '\0';
    return bx_shim_probe_write(plan->fd, line, bx_probe_tsc_khz()) < 0 ? 1 : 0;
}

/* --- template --- */

struct making {
    struct bx_loop *loop;
    struct bx_err err;
    bool failed;
    bool orphaned; /* nobody waits for it */
};

static void on_made(void *ud, const struct bx_err *err)
{
    struct making *m = ud;

    if (err) {
        m->failed = true;
        m->err = *err;
    }
    bx_loop_quit(m->loop, 0);
}

/* The program that wants the template has gone: its end of the pipe is closed. */
static void on_orphaned(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct making *m = ud;

    (void)s;
    (void)fd;
    if (!(events & BX_HUP))
        return;
    m->failed = m->orphaned = true;
    bx_fail(&m->err, BX_ESTATE, 0, "nobody waits for the template any more");
    bx_loop_quit(m->loop, 0);
}

/* One boot, which may take timeout_ns. */
static int make(const struct bx_shim_plan *plan, int templates, const struct bx_vm_parts *parts,
                const struct bx_vm_shape *shape, const struct bx_vm_key *key, int64_t timeout_ns,
                bool *ret_orphaned, struct bx_err *err)
{
    bx_cleanup_close int base = plan->base_disk ? open(plan->base_disk, O_RDONLY | O_CLOEXEC) : -1;
    BX_CLEANUP(bx_loop_free_p) struct bx_loop *loop = bx_loop_new();
    struct making m = {.loop = loop};
    struct bx_template_config cfg = {
        .templates_fd = templates,
        .key = key,
        .shape = *shape,
        .parts = parts,
        .uid = plan->uid < 0 ? BX_JAIL_KEEP : (uid_t)plan->uid,
        .gid = plan->gid < 0 ? (gid_t)BX_JAIL_KEEP : (gid_t)plan->gid,
        .base_fd = base,
        .log_fd = -1,
        .timeout_ns = timeout_ns,
    };
    int r;

    if (plan->base_disk && base < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "open %s", plan->base_disk);
    if (!loop || (!plan->background && !bx_loop_add_fd(loop, plan->fd, 0, on_orphaned, &m)))
        return bx_fail(err, BX_ERESOURCE, errno, "event loop");
    BX_CLEANUP(bx_template_maker_free_p)
    struct bx_template_maker *maker = bx_template_make(loop, &cfg, on_made, &m, err);
    if (!maker)
        return -err->code;
    r = bx_loop_run(loop);
    if (r < 0)
        return bx_fail(err, BX_EINTERNAL, -r, "event loop");
    *ret_orphaned = m.orphaned;
    if (m.failed) {
        *err = m.err;
        return -err->code;
    }
    return 0;
}

/*
 * Under TCG with several CPUs about one cold boot in forty hangs on a loaded host (a rendezvous of the
 * guest's CPUs that never ends), so a boot that takes a third of the time there is gets killed and a second
 * one has the rest. A machine that ended by itself is not tried again: it would end the same way.
 */
static int make_with_retry(const struct bx_shim_plan *plan, int templates, const struct bx_vm_parts *parts,
                           const struct bx_vm_shape *shape, const struct bx_vm_key *key, struct bx_err *err)
{
    int64_t begin = bx_now(), all = (int64_t)plan->timeout_ms * BX_MSEC, first = all / 3;
    bool orphaned = false;
    int r = make(plan, templates, parts, shape, key, first, &orphaned, err);

    if (r == 0 || orphaned || bx_now() - begin < first)
        return r;
    return make(plan, templates, parts, shape, key, all - first, &orphaned, err);
}

static int template(const struct bx_shim_plan *plan, struct bx_err *err)
{
    BX_CLEANUP(bx_template_done) struct bx_template t = BX_TEMPLATE_INIT;
    bx_cleanup_close int templates = open(plan->templates_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct bx_vm_parts parts;
    struct bx_vm_shape shape;
    struct bx_vm_key key;
    int r = box_plan_parts(plan, &parts, &shape, &key, err);

    if (r < 0)
        return r;
    if (templates < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "open %s", plan->templates_dir);
    if ((plan->base_disk != NULL) != bx_vm_key_has_root(&key)) /* it would be taken for what it is not */
        return bx_fail(err, BX_EINVALID, 0, "template %s: its key and its disk do not belong together", key.name);
    bx_cleanup_close int lock = bx_template_lock(templates, key.name, !plan->background, err);
    if (lock < 0)
        return lock;
    /* Somebody made it while this one waited. */
    if (bx_template_open(templates, &key, &shape, &t, NULL) == 0)
        return 0;
    return make_with_retry(plan, templates, &parts, &shape, &key, err);
}

/* Behind everything else that runs on this host, its machine too. */
static void step_back(void)
{
    const struct sched_param none = {0};

    (void)sched_setscheduler(0, SCHED_IDLE, &none);
    (void)setpriority(PRIO_PROCESS, 0, 19); /* where the policy is refused */
}

/* Who looks for the template next is to know why it is not there. */
static void leave_word(const struct bx_shim_plan *plan, const struct bx_err *err)
{
    bx_cleanup_close int templates = open(plan->templates_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bx_cleanup_free char *name = bx_strf("%s.failed", plan->template_name);

    if (templates >= 0 && name)
        (void)bx_write_file_atomic(templates, name, err->msg, strlen(err->msg), 0600);
}

/* The new one is told of: nobody waits any more. Then older ones make room. */
static void make_room(const struct bx_shim_plan *plan)
{
    struct bx_template_limits limits = BX_TEMPLATE_LIMITS_DEFAULT;
    bx_cleanup_close int templates = open(plan->templates_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    bx_close(plan->fd);
    limits.bytes = plan->templates_bytes;
    limits.idle_ns = plan->templates_idle_s * BX_SEC;
    if (templates >= 0)
        (void)bx_templates_evict(templates, &limits, plan->template_name, EVICT_MAX, NULL);
}

int shim_template(const struct bx_shim_plan *plan)
{
    struct bx_err err = BX_ERR_INIT;

    if (plan->background)
        step_back();
    if (template(plan, &err) == 0) {
        make_room(plan);
        return 0;
    }
    if (plan->background) {
        if (err.code != BX_ESTATE) /* another maker is at it */
            leave_word(plan, &err);
        return 1;
    }
    (void)bx_shim_error_write(plan->fd, &err);
    return 1;
}
