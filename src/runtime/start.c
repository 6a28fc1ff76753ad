/* SPDX-License-Identifier: Apache-2.0 */
/*
 * start.c - from a row to a running box.
 *
 * Theory of operation
 *
 *  One start goes through these steps; each either goes on to the next at once or waits for an event of the
 *  loop:
 *
 *      LOCK      boxes/<id>/start.lock is ours (another program may be starting it); runs it already? then
 *      connect
 *      IMAGE     which disk it stands on; pinned in the row, so that it is nobody's garbage. An
 *                image that is not there is pulled first; one in a folder is looked for there (rootfs.c)
 *      CONVERT   disks/<hex>.ext4 exists (convert.c)
 *      ENGINE    what the host can do (engine.c); kvm that is demanded and not to be had ends here
 *      TEMPLATE  templates/<name> exists, or boxlite-shim is making it
 *      SPAWN     overlay, plan, socketpair, boxlite-shim; from here on the link tells
 *
 *  Two failures are worth another try, each once: a template under suspicion is thrown away and made anew; a
 *  kvm that was not asked for and whose template does not come up is given up for tcg, with a word to the
 *  program. A template that could not be made is not tried again by anyone for 10 s
 *  (templates/<name>.failed).
 *
 *  A new box begins at its image's template where there is one: the root is mounted in it. The first box of an image
 *  does not wait for that: it begins at the blank one, and once it runs the other is made behind it, by a shim that
 *  nobody waits for.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/qcow2.h"
#include "host/companion.h"
#include "host/shim_plan.h"
#include "jail/plan.h"
#include "runtime/box.h"
#include "runtime/conn.h"
#include "runtime/convert.h"
#include "runtime/engine.h"
#include "runtime/job.h"
#include "runtime/pull.h"
#include "runtime/rootfs.h"
#include "runtime/templates.h"

#define LINK_FD              4
#define STEPS_DEADLINE       (600 * BX_SEC) /* for another program's start, conversion included */
#define CONNECT_DEADLINE     (10 * BX_SEC)
#define DEFAULT_PATH         "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct bx_start {
    struct bx_box *box;
    bool implicit; /* for a command, not by start */
    int lock_fd;
    struct bx_lock_wait *wait;
    struct bx_convert *convert;
    struct bx_pull *pull;
    struct bx_rootfs *rootfs;
    bool pulled;
    struct bx_job *template_job;
    unsigned looks; /* how often its shim was there and did not listen */
    int64_t number;
    char *disk; /* file name under disks/ */
    uint64_t base_size;
    struct bx_image_config config;
    enum bx_engine engine;
    bool engine_auto, kvm_given_up, template_remade;
    uint64_t tsc_khz;
    struct bx_machine machine;
    bool rooted;        /* it begins at its image's template */
    int64_t began, at_image, at_engine, at_spawn; /* bx_now() of the first step of each stage */
    bool image_refused; /* ... which did not do */
    bool image_wanted;  /* ... which is not there yet */
};

static void step_image(struct bx_start *s);
static void step_engine(struct bx_start *s);
static void step_template(struct bx_start *s);
static void step_spawn(struct bx_start *s);

void bx_start_free(struct bx_start *s)
{
    if (!s)
        return;
    bx_facts_forget(s->box->rt, s);
    bx_lock_wait_free(s->wait);
    bx_convert_free(s->convert);
    bx_pull_free(s->pull);
    bx_rootfs_free(s->rootfs);
    bx_job_leave(s->template_job);
    bx_vm_key_done(&s->machine.key);
    bx_image_config_done(&s->config);
    bx_close(s->lock_fd);
    free(s->disk);
    free(s);
}

static void first(int64_t *at)
{
    if (*at == 0)
        *at = bx_now();
}

static unsigned us_between(int64_t from, int64_t to)
{
    return (unsigned)BX_MIN((to - from) / 1000, (int64_t)UINT32_MAX);
}

void bx_start_explicit(struct bx_box *b)
{
    if (b->start)
        b->start->implicit = false;
}

/* ---- LOCK ---- */

static int look(struct bx_start *s, struct bx_err *err);

static void look_again(void *ud, int fd, const struct bx_err *err)
{
    struct bx_start *s = ud;
    struct bx_box *b = s->box;
    struct bx_err why = BX_ERR_INIT;

    (void)err;
    s->wait = NULL;
    bx_close(fd);
    if (look(s, &why) < 0)
        bx_box_start_failed(b, &why);
}

/* The lock is ours. Does its shim live, or is it to be started? */
static int look(struct bx_start *s, struct bx_err *err)
{
    struct bx_box *b = s->box;
    struct bx_box_row row = {0};
    int fd, r;

    r = bx_store_box_get(b->rt->store, b->id, &row, err);
    if (r == -BX_ENOTFOUND) {
        b->gone = true;
        return bx_fail(err, BX_ENOTFOUND, 0, "%s", b->id);
    }
    if (r < 0)
        return r;
    fd = bx_lock_try(b->dir_fd, "lock");
    if (fd == -EWOULDBLOCK) {
        bx_box_row_done(&row);
        fd = bx_box_dial(b, err);
        if (fd < 0 && (s->wait = bx_box_look_again(b, &s->looks, look_again, s, err)))
            return 0;
        bx_start_free(s);
        b->start = NULL;
        return fd < 0 ? fd : bx_conn_open(b, fd, false, bx_now() + CONNECT_DEADLINE, err);
    }
    if (fd < 0)
        r = bx_fail(err, BX_ESTORAGE, -fd, "lock %s/boxes/%s", b->rt->home, b->id);
    else
        r = bx_settle_row(b->rt, &row, b->dir_fd, err);
    bx_close(fd);
    if (r >= 0)
        r = bx_network_refresh(&b->options->network, row.options, err); /* another program may have changed them */
    if (r >= 0 && s->implicit && b->options->no_auto_resume && row.started_ms)
        r = bx_fail(err, BX_ESTATE, 0, "box %s does not run, and was made not to be resumed by commands: start it first",
                    b->id);
    if (r >= 0 && s->implicit && bx_options_main(b->options))
        r = bx_fail(err, BX_ESTATE, 0, "box %s has a main process and does not run: start it first", b->id);
    s->number = row.number;
    s->disk = row.disk ? bx_strf("%s", row.disk) : NULL;
    bx_box_row_done(&row);
    if (r >= 0)
        step_image(s);
    return r;
}

static void on_lock(void *ud, int fd, const struct bx_err *err)
{
    struct bx_start *s = ud;
    struct bx_box *b = s->box;
    struct bx_err why = err ? *err : BX_ERR_INIT;

    s->wait = NULL;
    s->lock_fd = fd;
    if (fd < 0 || look(s, &why) < 0)
        bx_box_start_failed(b, &why);
}

int bx_start_begin(struct bx_box *b, bool implicit, struct bx_err *err)
{
    struct bx_start *s;
    int r;

    r = bx_box_dir(b, err);
    if (r < 0)
        return r;
    s = calloc(1, sizeof(*s));
    if (!s)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "start box %s", b->id);
    s->box = b;
    s->implicit = implicit;
    s->began = bx_now();
    s->lock_fd = -1;
    /* Through the loop also when the lock is free: whoever asked is told by an event, never from within its
     * call. */
    s->wait = bx_lock_wait(b->rt, b->dir_fd, "start.lock", bx_now() + STEPS_DEADLINE, on_lock, s, err);
    if (!s->wait) {
        free(s);
        return -err->code;
    }
    b->start = s;
    b->phase = BX_PHASE_STARTING;
    return 0;
}

/* ---- IMAGE, CONVERT ---- */

/* Does the box stand on the disk it is pinned to? A pin whose disk was not made by the end of that start binds nobody:
 * the image's name may mean another one by now. */
static bool stands(const struct bx_start *s)
{
    return bx_disk_exists(s->box->rt, s->disk) ||
           faccessat(s->box->dir_fd, "disk.qcow2", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int find_disk(struct bx_start *s, char *digest, size_t size, struct bx_err *err)
{
    struct CBoxliteRuntime *rt = s->box->rt;
    struct bx_image_row image = {0};
    struct bx_err why = BX_ERR_INIT;
    char name[BX_DISK_NAME_MAX];
    int r;

    if (s->disk && !bx_disk_digest(s->disk, digest, size))
        return bx_fail(err, BX_EDATABASE, 0, "box %s: disk %s", s->box->id, s->disk);
    if (s->disk && stands(s))
        return 0;
    r = bx_image_find(rt, s->box->options->image, &image, &why);
    if (r < 0 && s->disk) /* what it was pinned to is kept for it */
        return 0;
    if (r < 0) {
        *err = why;
        return r;
    }
    snprintf(digest, size, "%s", image.manifest_digest);
    bx_image_row_done(&image);
    bx_disk_name(name, digest);
    free(s->disk);
    s->disk = bx_strf("%s", name);
    return s->disk ? 0 : bx_fail(err, BX_ERESOURCE, ENOMEM, "start box %s", s->box->id);
}

/* Before anything of the image is looked for: from now on none of it is garbage. */
static int pin_disk(struct bx_start *s, const char *digest, struct bx_err *err)
{
    return bx_store_box_pin(s->box->rt->store, s->box->id, s->disk, digest, bx_realtime() / BX_MSEC, err);
}

static void disk_ready(struct bx_start *s)
{
    struct CBoxliteRuntime *rt = s->box->rt;
    struct bx_err err = BX_ERR_INIT;
    struct stat st;

    if (fstatat(rt->disks_fd, s->disk, &st, 0) < 0) {
        bx_fail(&err, BX_ESTORAGE, errno, "open %s/disks/%s", rt->home, s->disk);
        bx_box_start_failed(s->box, &err);
        return;
    }
    s->base_size = (uint64_t)st.st_size;
    step_engine(s);
}

static void on_converted(void *ud, const struct bx_err *err)
{
    struct bx_start *s = ud;

    s->convert = NULL;
    if (err)
        bx_box_start_failed(s->box, err);
    else
        disk_ready(s);
}

static void on_pulled(void *ud, CImagePullResult *result, const struct bx_err *err)
{
    struct bx_start *s = ud;

    s->pull = NULL;
    boxlite_free_image_pull_result(result);
    if (err)
        bx_box_start_failed(s->box, err);
    else
        step_image(s);
}

/* Once: what is gone again right after it was pulled is somebody's wish. */
static bool pull_image(struct bx_start *s, struct bx_err *err)
{
    if (err->code != BX_EIMAGE || s->pulled)
        return false;
    s->pulled = true;
    *err = BX_ERR_INIT;
    s->pull = bx_pull_start(s->box->rt, s->box->id, s->box->options->image, on_pulled, s, err);
    return s->pull != NULL;
}

static void on_rootfs(void *ud, const char *digest, const char *disk, const struct bx_err *err)
{
    struct bx_start *s = ud;
    struct bx_err why = err ? *err : BX_ERR_INIT;

    s->rootfs = NULL;
    if (!err) {
        free(s->disk);
        s->disk = bx_strf("%s", disk);
        if (!s->disk)
            bx_fail(&why, BX_ERESOURCE, ENOMEM, "start box %s", s->box->id);
    }
    if (why.code || bx_image_config(s->box->rt, digest, &s->config, &why) < 0)
        bx_box_start_failed(s->box, &why);
    else
        disk_ready(s);
}

/* The image of a folder, for a box whose disk is not there. */
static void step_rootfs(struct bx_start *s)
{
    struct bx_err err = BX_ERR_INIT;
    char digest[80];
    bool written = s->disk && stands(s) && bx_disk_digest(s->disk, digest, sizeof(digest));

    s->rootfs = bx_rootfs_start(s->box->rt, s->box->id, s->box->options->rootfs_path, written ? digest : NULL, on_rootfs, s, &err);
    if (!s->rootfs)
        bx_box_start_failed(s->box, &err);
}

static void step_image(struct bx_start *s)
{
    struct CBoxliteRuntime *rt = s->box->rt;
    struct bx_err err = BX_ERR_INIT;
    char digest[80];

    first(&s->at_image);
    if (s->box->options->rootfs_path && !(s->disk && bx_disk_exists(rt, s->disk))) {
        step_rootfs(s);
        return;
    }
    if (find_disk(s, digest, sizeof(digest), &err) < 0) {
        if (!pull_image(s, &err))
            bx_box_start_failed(s->box, &err);
        return;
    }
    if (pin_disk(s, digest, &err) < 0 ||
        bx_image_config(rt, digest, &s->config, &err) < 0) {
        bx_box_start_failed(s->box, &err);
        return;
    }
    if (bx_disk_exists(rt, s->disk)) {
        disk_ready(s);
        return;
    }
    s->convert = bx_convert_start(rt, s->box->id, digest, on_converted, s, &err);
    if (!s->convert)
        bx_box_start_failed(s->box, &err);
}

/* ---- ENGINE ---- */

static int make_key(struct bx_start *s, struct bx_err *err)
{
    const struct CBoxliteOptions *o = s->box->options;
    s->machine.shape = (struct bx_vm_shape){.engine = s->engine,
                                            .cpus = (unsigned)o->cpus,
                                            .memory_mib = (unsigned)o->memory_mib,
                                            .tsc_khz = s->tsc_khz,
                                            .network = bx_network_on(&o->network)};
    s->machine.number = s->number;
    return bx_machine_find(s->box->rt, &s->machine, err);
}

static void on_facts(void *ud, const struct bx_host_facts *facts, const struct bx_err *err)
{
    struct bx_start *s = ud;
    struct bx_err why = err ? *err : BX_ERR_INIT;
    int r = err ? -err->code : 0;

    if (r == 0)
        r = bx_engine_choose(s->box->rt, s->box->options->engine, facts, &s->engine, &s->engine_auto, &why);
    if (r == 0) {
        s->tsc_khz = facts->tsc_khz;
        r = make_key(s, &why);
    }
    if (r < 0)
        bx_box_start_failed(s->box, &why);
    else
        step_template(s);
}

static void step_engine(struct bx_start *s)
{
    const char *choice = s->box->options->engine, *usual = s->box->rt->engine_default;
    struct bx_err err = BX_ERR_INIT;
    bool tcg;

    first(&s->at_engine);
    if (!choice || bx_streq(choice, "auto"))
        choice = usual;
    tcg = bx_streq(choice, "tcg");
    if (bx_facts_get(s->box->rt, !tcg, on_facts, s, &err) < 0)
        bx_box_start_failed(s->box, &err);
}

/* ---- TEMPLATE ---- */

static uint64_t disk_size(const struct bx_start *s)
{
    uint64_t asked = (uint64_t)s->box->options->disk_size_gb << 30;

    return BX_MAX(asked, s->base_size);
}

/* Nobody asked for kvm, and it does not do: go on with tcg, loudly. */
static bool give_up_kvm(struct bx_start *s)
{
    struct bx_err err = BX_ERR_INIT;

    if (s->engine != BX_ENGINE_KVM || !s->engine_auto || s->kvm_given_up)
        return false;
    s->kvm_given_up = true;
    s->engine = BX_ENGINE_TCG;
    bx_progress(s->box->rt, s->box->id, "kvm does not run our machine: going on with tcg", 0, 0);
    if (make_key(s, &err) < 0)
        bx_box_start_failed(s->box, &err);
    else
        step_template(s);
    return true;
}

static void on_template(void *ud, const char *text, size_t len)
{
    struct bx_start *s = ud;
    struct bx_err err = BX_ERR_INIT;

    s->template_job = NULL;
    if (bx_template_made(s->box->rt, &s->machine, text, len, &err) == 0)
        step_spawn(s);
    else if (!give_up_kvm(s))
        bx_box_start_failed(s->box, &err);
}

/* A new box of the usual size may begin where the image's template stands. Without one it begins at the blank one, and the
 * image's is made behind it, for the next. */
static bool use_image_template(struct bx_start *s)
{
    struct CBoxliteRuntime *rt = s->box->rt;
    struct bx_machine image;

    if (!rt->image_templates || s->image_refused || disk_size(s) != BX_TEMPLATE_DISK ||
        faccessat(s->box->dir_fd, "disk.qcow2", F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
        return false;
    image = s->machine;
    image.key = (struct bx_vm_key){0};
    if (bx_machine_key(rt, &image, s->disk, NULL) < 0)
        return false;
    if (bx_template_exists(rt, &image)) {
        bx_vm_key_done(&s->machine.key);
        s->machine.key = image.key;
        s->rooted = true;
        return true;
    }
    bx_vm_key_done(&image.key);
    s->image_wanted = true;
    return false;
}

static void step_template(struct bx_start *s)
{
    struct CBoxliteRuntime *rt = s->box->rt;
    struct bx_err err = BX_ERR_INIT;

    if (use_image_template(s) || bx_template_exists(rt, &s->machine)) {
        step_spawn(s);
        return;
    }
    if (bx_template_failed_lately(rt, &s->machine, &err)) {
        if (!give_up_kvm(s))
            bx_box_start_failed(s->box, &err);
        return;
    }
    s->template_job = bx_template_start(rt, &s->machine, NULL, on_template, s, &err);
    if (s->template_job)
        bx_progress(rt, s->box->id, "make the machine's template", 0, 0);
    else
        bx_box_start_failed(s->box, &err);
}

/* ---- SPAWN ---- */

/* The box's own layer, empty, at the first start; the size of the one that is there later. */
static int overlay(struct bx_start *s, uint64_t *ret_size, struct bx_err *err)
{
    bx_cleanup_close int fd = -1;
    int r;

    fd = openat(s->box->dir_fd, "disk.qcow2", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0) {
        r = bx_qcow2_size(fd, ret_size, err);
        if (r == 0 && *ret_size > disk_size(s))
            r = bx_fail(err, BX_ESTORAGE, 0, "the disk of box %s has been tampered with: it claims %llu bytes, the box was made with %llu",
                        s->box->id, (unsigned long long)*ret_size, (unsigned long long)disk_size(s));
        return r;
    }
    if (errno != ENOENT)
        return bx_fail(err, BX_ESTORAGE, errno, "open the disk of box %s", s->box->id);
    *ret_size = disk_size(s);
    if (s->rooted) /* the shim takes that of the template, which it opens once for all its parts */
        return 0;
    fd = openat(s->box->dir_fd, "disk.new", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "make the disk of box %s", s->box->id);
    r = bx_qcow2_create(fd, *ret_size, err);
    if (r == 0 && renameat(s->box->dir_fd, "disk.new", s->box->dir_fd, "disk.qcow2") < 0)
        r = bx_fail(err, BX_ESTORAGE, errno, "make the disk of box %s", s->box->id);
    return r;
}

static bool has_name(char *const *env, const char *pair)
{
    size_t i, n = strcspn(pair, "=");

    for (i = 0; env && env[i]; i++)
        if (strncmp(env[i], pair, n) == 0 && (env[i][n] == '=' || !env[i][n]))
            return true;
    return false;
}

/* The image's variables, then the box's over them; PATH when neither has it. A later one of a name wins in
 * the list too. */
static int merge_env(char ***ret, char *const *image, char *const *own)
{
    size_t i;

    if (!has_name(image, "PATH=") && !has_name(own, "PATH=") && bx_strv_add(ret, DEFAULT_PATH) < 0)
        return -1;
    for (i = 0; image && image[i]; i++)
        if (!has_name(own, image[i]) && strchr(image[i], '=') && bx_strv_add(ret, image[i]) < 0)
            return -1;
    for (i = 0; own && own[i]; i++)
        if (!has_name(own + i + 1, own[i]) && bx_strv_add(ret, own[i]) < 0)
            return -1;
    return 0;
}

static int add_all(char ***ret, char *const *list)
{
    size_t i;

    for (i = 0; list && list[i]; i++)
        if (bx_strv_add(ret, list[i]) < 0)
            return -1;
    return 0;
}

/* Entrypoint, then command: an entrypoint of the box's own drops the image's command. NULL: the box idles. */
static int main_argv(struct bx_start *s, struct bx_err *err)
{
    const struct CBoxliteOptions *o = s->box->options;
    char *const *cmd = o->cmd ? o->cmd : o->entrypoint ? NULL : s->config.cmd;
    char **argv = NULL;

    bx_strv_free(s->box->main_argv);
    s->box->main_argv = NULL;
    if (!bx_options_main(o))
        return 0;
    if (add_all(&argv, o->entrypoint ? o->entrypoint : s->config.entrypoint) < 0 || add_all(&argv, cmd) < 0) {
        bx_strv_free(argv);
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "the main process");
    }
    if (!argv || !argv[0]) {
        bx_strv_free(argv);
        return bx_fail(err, BX_EINVALID, 0, "no command was given, and image %s has none", o->rootfs_path ? o->rootfs_path : o->image);
    }
    s->box->main_argv = argv;
    return 0;
}

/* A host name of the box's name, as far as it is one, else of its id. */
static void hostname_of(const struct bx_box *b, char dst[64])
{
    size_t i;

    snprintf(dst, 64, "%s", b->name ? b->name : b->id);
    for (i = 0; dst[i]; i++)
        if (dst[i] == '_' || dst[i] == '.')
            dst[i] = '-';
    while (i > 0 && dst[i - 1] == '-')
        dst[--i] = '\0';
}

static int plan_network(const struct bx_network *n, struct bx_shim_plan *p, struct bx_err *err)
{
    char path[PATH_MAX];
    int r = bx_companion_path("boxlite-net", path, sizeof(path), err);

    if (r < 0)
        return r;
    p->net_plan = bx_network_plan(n);
    if (!p->net_plan || bx_plan_text(&p->net_program, path))
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "plan the network");
    return 0;
}

/* What its supervisor says of it to who listens. */
static int plan_events(const struct bx_box *b, struct bx_shim_plan *p)
{
    const struct CBoxliteOptions *o = b->options;

    p->events_dir = bx_strf("%s/" BX_EVENT_DIR, b->rt->home);
    if (b->name && !(p->box_name = bx_strf("%s", b->name)))
        return -ENOMEM;
    return !p->events_dir || bx_plan_text(&p->image, o->rootfs_path ? o->rootfs_path : o->image) ? -ENOMEM : 0;
}

static int plan_box(struct bx_start *s, struct bx_shim_plan *p, struct bx_err *err)
{
    const struct CBoxliteOptions *o = s->box->options;
    struct CBoxliteRuntime *rt = s->box->rt;
    const char *dir = s->config.working_dir, *user = s->config.user;
    char hostname[64];
    int r;

    p->kind = BX_SHIM_BOX;
    p->fd = LINK_FD;
    if ((r = bx_machine_plan(s->box->rt, &s->machine, p, err)) < 0 || (r = overlay(s, &p->disk_size, err)) < 0)
        return r;
    hostname_of(s->box, hostname);
    p->detached = s->box->detach;
    p->grow = p->disk_size > s->base_size;
    bx_advanced_plan(&o->advanced, p);
    p->readonly_proc = true;
    p->setup_us = us_between(s->began, s->at_image);
    p->image_us = us_between(s->at_image, s->at_engine);
    p->template_us = us_between(s->at_engine, s->at_spawn);
    p->box_dir = bx_strf("%s/boxes/%s", rt->home, s->box->id);
    p->base_disk = bx_strf("%s/disks/%s", rt->home, s->disk);
    if (!p->box_dir || !p->base_disk || bx_plan_text(&p->box_id, s->box->id) ||
        bx_plan_text(&p->hostname, hostname) ||
        bx_plan_text(&p->working_dir, o->workdir    ? o->workdir
                                  : dir && *dir ? dir
                                                : "/") ||
        bx_plan_text(&p->user, o->user ? o->user
                           : user  ? user
                                   : "") ||
        merge_env(&p->env, s->config.env, o->env) < 0 || plan_events(s->box, p) < 0 || bx_health_plan(&o->health, p) < 0)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "plan the box");
    return bx_network_on(&o->network) ? plan_network(&o->network, p, err) : 0;
}

static int spawn_shim(struct bx_start *s, const struct bx_shim_plan *plan, int fds[2], struct bx_err *err)
{
    BX_CLEANUP(bx_shim_spawn_done) struct bx_shim_spawn spawn = {.plan_fd = -1};
    struct bx_box *b = s->box;
    int pidfd, r;

    r = bx_shim_spawn_make(b->rt, plan, &spawn, err);
    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
        return bx_fail(err, BX_ERESOURCE, errno, "connect to the box");
    spawn.spawn.orphan = true; /* it may outlive us; its end is told by its link and its lock */
    spawn.fds[spawn.spawn.n_fds++] = (struct bx_spawn_fd){fds[1], LINK_FD};
    pidfd = bx_spawn(&spawn.spawn, NULL, err);
    fds[1] = bx_close(fds[1]);
    bx_close(pidfd);
    return pidfd < 0 ? pidfd : 0;
}

static int launch(struct bx_start *s, struct bx_err *err)
{
    bx_cleanup_shim_plan struct bx_shim_plan plan = BX_SHIM_PLAN_INIT;
    struct bx_box *b = s->box;
    int fds[2] = {-1, -1}, r;

    if ((r = main_argv(s, err)) < 0 || (r = plan_box(s, &plan, err)) < 0)
        return r;
    plan.config_us = us_between(s->at_spawn, bx_now());
    if (unlinkat(b->dir_fd, "exit.json", 0) < 0 && errno != ENOENT)
        return bx_fail(err, BX_ESTORAGE, errno, "start box %s", b->id);
    r = spawn_shim(s, &plan, fds, err);
    if (r < 0) {
        bx_close(fds[0]);
        return r;
    }
    b->owned = !b->detach;
    /* The shim has its own deadline and tells better what was missing: ours is behind it. */
    return bx_conn_open(b, fds[0], true, bx_now() + b->rt->start_timeout_ns + 10 * BX_SEC, err);
}

static void step_spawn(struct bx_start *s)
{
    struct bx_err err = BX_ERR_INIT;

    s->at_spawn = bx_now(); /* the last time: a template that had to be made again is part of its stage */

    if (launch(s, &err) < 0)
        bx_box_start_failed(s->box, &err);
}

void bx_start_link_failed(struct bx_box *b, const struct bx_err *why, bool template_suspect)
{
    struct bx_start *s = b->start;
    char away[BX_VM_NAME_MAX + 32], id[BX_ID_LEN + 1];
    struct bx_err err = BX_ERR_INIT;

    b->phase = BX_PHASE_STARTING;
    b->owned = false;
    if (template_suspect && s->rooted && unlinkat(b->dir_fd, "disk.qcow2", 0) < 0 && errno != ENOENT)
        template_suspect = false; /* the box never ran; but where its disk cannot be begun anew, nothing else is tried */
    if (b->down_wanted || !template_suspect || s->template_remade) {
        bx_box_start_failed(b, why);
        return;
    }
    s->image_refused = true;
    s->image_wanted = s->rooted; /* anew, behind this start */
    s->template_remade = !s->rooted; /* boxes that run on it are not disturbed: they hold it open */
    bx_random_id(id);
    snprintf(away, sizeof(away), "template-%s", id);
    if (renameat(b->rt->templates_fd, s->machine.key.name, b->rt->tmp_fd, away) == 0)
        (void)bx_rm_rf(b->rt->tmp_fd, away);
    bx_progress(b->rt, b->id, "the template is damaged: making it anew", 0, 0);
    if (s->rooted && make_key(s, &err) < 0) {
        bx_box_start_failed(b, &err);
        return;
    }
    s->rooted = false;
    step_template(s);
}

int bx_start_done(struct bx_box *b, struct bx_err *err)
{
    struct bx_box_change change = BX_BOX_CHANGE_INIT;
    int r;

    change.state = BX_BOX_RUNNING;
    change.pid = (int)b->info.shim_pid;
    change.started_ms = bx_realtime() / BX_MSEC;
    change.stopped_ms = 0;
    change.set_exit = true;
    change.message = "";
    change.boot_id = b->rt->boot_id;
    change.engine = b->info.engine;
    r = bx_store_box_change(b->rt->store, b->id, bx_state_before(BX_BOX_RUNNING), &change, err);
    if (b->start->image_wanted)
        bx_template_behind(b->rt, &b->start->machine, b->start->disk);
    bx_start_free(b->start);
    b->start = NULL;
    return r;
}
