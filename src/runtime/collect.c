/* SPDX-License-Identifier: Apache-2.0 */
/*
 * collect.c - the end of images, and of blobs, disks, templates and temporary files that nobody needs.
 *
 * Theory of operation
 *
 *  Many programs use one home, and any of them may be loading an image, starting a box or collecting garbage at
 *  any moment; any may be killed. So a file goes in two steps. First it is taken out of sight, by a rename into a
 *  directory of ours under tmp, while nobody can begin to need it; then, with nobody waiting, it is removed.
 *
 *    NAMES   rows of images: chosen and deleted in one transaction, which is on the disk before any file goes
 *
 *    DISKS   in a transaction too. A box pins its disk (bx_store_box_pin) before it looks for the file: it either
 *            pinned it before the transaction, and the disk stays, or finds it gone after it and has it made
 *            anew. Templates go along with them and need no care: a start that finds none makes one
 *
 *    BLOBS   under the exclusive image lease: whoever adds blobs holds a shared one until the row is written.
 *            When it cannot be had, blobs stay for the next time, and the result says so
 *
 *    STALE   what killed programs left in tmp, blobs/partial and templates: what nobody holds locked
 *
 *    EMPTY   the directory, one file for each turn of the loop
 *
 *  A collector that is killed leaves garbage, never a row without its files. What it took lies in tmp, unlocked:
 *  the next prune removes it, or, after ten minutes, the next program that opens the home. A dry run goes the same
 *  way, counts as if the chosen rows were deleted, and takes nothing.
 */
#include "runtime/collect.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/census.h"
#include "runtime/events.h"
#include "runtime/job.h"
#include "runtime/lease.h"

#define TREE_DEPTH_MAX 8
#define BIN_PREFIX     "gc-"
#define BIN_TRIES      8
/* Younger files without a lock may be just being made. */
#define STALE_AGE_S 600
/* An unfinished blob is kept for a pull that resumes it. */
#define PARTIAL_AGE_S 86400
#define MS_PER_S      1000

enum phase { NAMES, DISKS, BLOBS, STALE, EMPTY };

struct collect {
    struct collect *next; /* in collects of the runtime */
    struct CBoxliteRuntime *rt;
    struct bx_op *op;
    struct bx_source *turn;
    enum phase phase;
    struct bx_collect_plan plan;
    char *remove; /* plan.remove */
    char **gone;  /* references that were deleted, or would be */
    char bin[32]; /* in tmp; "" until something went into it */
    int bin_fd;
    DIR *bin_dir;
    unsigned serial;
    CImagePruneResult result;
    struct bx_err err; /* the first; what was taken is removed all the same */
};

/* ---- taking out of sight ---- */

/* A new directory that is ours. 0, 1 when another collector took it before it was locked, or negative. */
static int try_bin(struct collect *c, struct bx_err *err)
{
    bx_cleanup_close int fd = -1;
    char id[BX_ID_LEN + 1];
    struct stat st;

    bx_random_id(id);
    snprintf(c->bin, sizeof(c->bin), BIN_PREFIX "%s", id);
    if (mkdirat(c->rt->tmp_fd, c->bin, 0700) < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "write in %s/tmp", c->rt->home);
    fd = openat(c->rt->tmp_fd, c->bin, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 1 : bx_fail(err, BX_ESTORAGE, errno, "open %s/tmp/%s", c->rt->home, c->bin);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0 || fstatat(c->rt->tmp_fd, c->bin, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 1;
    c->bin_fd = BX_TAKE_FD(fd);
    return 0;
}

static int open_bin(struct collect *c, struct bx_err *err)
{
    int r = c->bin_fd < 0 ? 1 : 0, tries;

    for (tries = 0; r > 0 && tries < BIN_TRIES; tries++)
        r = try_bin(c, err);
    return r > 0 ? bx_fail(err, BX_ESTORAGE, 0, "write in %s/tmp: other programs empty it", c->rt->home) : r;
}

/* 1 when it went (or would go), 0 when it was gone already, or negative. */
static int take(struct collect *c, int dirfd, const char *name, uint64_t bytes, struct bx_err *err)
{
    char as[32];
    int r;

    if (!c->plan.dry_run) {
        r = open_bin(c, err);
        if (r < 0)
            return r;
        snprintf(as, sizeof(as), "%u", c->serial++);
        r = renameat(dirfd, name, c->bin_fd, as) < 0 ? -errno : 0;
        if (r == -EXDEV) /* a folder of the home is a mount of its own */
            r = bx_rm_rf(dirfd, name);
        if (r == -ENOENT)
            return 0;
        if (r < 0)
            return bx_fail(err, BX_ESTORAGE, -r, "remove %s", name);
    }
    c->result.bytes += bytes;
    return 1;
}

/* Allocated bytes of a file or tree. */
static uint64_t tree_bytes(int dirfd, const char *name, unsigned depth)
{
    struct stat st;
    uint64_t bytes = 0;
    struct dirent *e;
    DIR *d;
    int fd;

    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    if (!S_ISDIR(st.st_mode))
        return (uint64_t)st.st_blocks * 512;
    fd = depth < TREE_DEPTH_MAX ? openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        bx_close(fd);
        return 0;
    }
    while ((e = readdir(d)))
        if (!bx_streq(e->d_name, ".") && !bx_streq(e->d_name, ".."))
            bytes += tree_bytes(fd, e->d_name, depth + 1);
    closedir(d);
    return bytes;
}

/* ---- NAMES ---- */

static int mark_name(struct collect *c, struct bx_census *s, size_t i, struct bx_err *err)
{
    s->names[i].gone = true;
    return bx_strv_add(&c->gone, s->rows[i].reference) < 0
               ? bx_fail(err, BX_ERESOURCE, ENOMEM, "remove images")
               : 0;
}

static int mark_image(struct collect *c, struct bx_census *s, const struct bx_census_image *image,
                      struct bx_err *err)
{
    size_t i;
    int r = 0;

    for (i = 0; i < s->n_rows && r == 0; i++)
        if (s->names[i].image == image)
            r = mark_name(c, s, i, err);
    return r;
}

static int refuse_several(const struct bx_census *s, const struct bx_census_image *image, const char *text,
                          struct bx_err *err)
{
    const char *before = "";
    size_t i;

    bx_fail(err, BX_ESTATE, 0, "image %.80s has %u names: remove them one by one, or use force:", text,
            image->names);
    for (i = 0; i < s->n_rows; i++)
        if (s->names[i].image == image) {
            if (err)
                bx_err_append(err, "%s %s", before, s->rows[i].reference);
            before = ",";
        }
    return -BX_ESTATE;
}

/* Somebody needs it: who? */
static int refuse_used(const struct bx_census *s, const struct bx_census_image *image, const char *text,
                       struct bx_err *err)
{
    const struct bx_box_row *first = NULL;
    unsigned more = 0;
    size_t i;

    for (i = 0; i < s->n_boxes; i++)
        if (bx_census_box_needs(s, &s->boxes[i], image)) {
            more += first != NULL;
            if (!first)
                first = &s->boxes[i];
        }
    bx_fail(err, BX_ESTATE, 0, "image %.200s is used by box %s", text,
            !first        ? "?"
            : first->name ? first->name
                          : first->id);
    if (more && err)
        bx_err_append(err, " and %u more", more);
    if (err)
        bx_err_append(err, ": remove the box first, or use force (the box keeps its disk)");
    return -BX_ESTATE;
}

static int choose_removed(struct collect *c, struct bx_census *s, struct bx_err *err)
{
    struct bx_census_image *image;
    bool by_id = false;
    size_t i = 0;
    int r = bx_image_resolve(s->rows, s->n_rows, c->remove, &i, &by_id, err);

    if (r < 0)
        return r;
    image = s->names[i].image;
    if (by_id && image->names > 1 && !c->plan.force)
        return refuse_several(s, image, c->remove, err);
    /* The last name is the image. One of several is only what boxes that were not started yet know it by. */
    if (!c->plan.force && (s->names[i].waiting > 0 || (image->names == 1 && image->boxes > 0)))
        return refuse_used(s, image, c->remove, err);
    return by_id ? mark_image(c, s, image, err) : mark_name(c, s, i, err);
}

/* Is the disk that is mounted in this template still the same file? One that was made again is not: no box will begin there. */
static bool disk_is_there(const struct collect *c, const struct bx_template_use *t)
{
    bx_cleanup_free char *now = bx_vm_disk_id(c->rt->disks_fd, t->disk, NULL);

    return now && t->disk_id[0] && strstr(now, t->disk_id);
}

/* Templates that are to go, given the names that are; returns the bytes of the others. */
static uint64_t mark_templates(const struct collect *c, struct bx_census *s, uint64_t room)
{
    struct bx_template_limits limits = c->rt->template_limits;
    uint64_t bytes = 0;
    size_t i, k;

    for (i = 0; i < s->n_templates; i++) {
        struct bx_template_use *t = &s->templates[i];
        bool wanted = t->disk[0] == '\0';

        for (k = 0; !wanted && k < s->n_images; k++)
            wanted = s->images[k].names > 0 && bx_streq(s->images[k].disk, t->disk) &&
                     bx_census_find_disk(s, t->disk) && disk_is_there(c, t);
        t->evict = !wanted;
    }
    limits.superseded_ns = limits.recent_ns;
    limits.bytes = BX_MIN(limits.bytes, room);
    if (!c->remove)
        bx_templates_choose(s->templates, s->n_templates, &limits, bx_realtime(), NULL);
    for (i = 0; i < s->n_templates; i++)
        bytes += s->templates[i].evict ? 0 : s->templates[i].bytes;
    return bytes;
}

static bool too_much(const struct collect *c, struct bx_census *s)
{
    return bx_census_needed(s) + mark_templates(c, s, UINT64_MAX) > c->plan.keep;
}

/* The image that was not used longest, of those that may go; NULL when there is none. */
static struct bx_census_image *oldest_unused(const struct collect *c, struct bx_census *s)
{
    int64_t now = bx_realtime() / BX_MSEC;
    struct bx_census_image *best = NULL, *i;

    for (i = s->images; i < s->images + s->n_images; i++)
        if (i->names > 0 && i->boxes == 0 && i->waiting == 0 &&
            (c->plan.older_ms == 0 || now - i->used_ms >= c->plan.older_ms) &&
            (!best || i->used_ms < best->used_ms))
            best = i;
    return best;
}

static int choose_unused(struct collect *c, struct bx_census *s, struct bx_err *err)
{
    struct bx_census_image *image;
    int r = 0;

    while (r == 0 && (!c->plan.keep || too_much(c, s)) && (image = oldest_unused(c, s))) {
        r = mark_image(c, s, image, err);
        if (r == 0)
            r = bx_census_count(s, err);
    }
    return r;
}

static int delete_marked(struct collect *c, const struct bx_census *s, struct bx_err *err)
{
    size_t i;
    int r = 0;

    for (i = 0; i < s->n_rows && r == 0; i++)
        if (s->names[i].gone)
            r = bx_store_image_delete(c->rt->store, s->rows[i].reference, err);
    return r;
}

static int names(struct collect *c, struct bx_err *err)
{
    bx_cleanup_census struct bx_census s = {0};
    struct bx_store *store = c->rt->store;
    int r;

    if (!c->remove && !c->plan.all)
        return 0;
    r = bx_store_begin_durable(store, err);
    if (r < 0)
        return r;
    r = bx_census_take(c->rt, &s, err);
    if (r == 0)
        r = c->remove ? choose_removed(c, &s, err) : choose_unused(c, &s, err);
    if (r == 0 && !c->plan.dry_run)
        r = delete_marked(c, &s, err);
    if (r == 0 && !c->plan.dry_run)
        r = bx_store_commit(store, err);
    else
        bx_store_rollback(store);
    c->result.images = r == 0 ? (int)bx_strv_len(c->gone) : 0;
    for (int i = 0; i < c->result.images && !c->plan.dry_run; i++)
        bx_event_image(c->rt, "image.removed", c->gone[i]);
    return r;
}

/* As the home is now; in a dry run, as it would be without the chosen names. */
static int take_census(struct collect *c, struct bx_census *s, struct bx_err *err)
{
    size_t i, k;
    int r = bx_census_take(c->rt, s, err);

    if (r < 0 || !c->plan.dry_run)
        return r;
    for (i = 0; i < s->n_rows; i++)
        for (k = 0; c->gone && c->gone[k]; k++)
            if (bx_streq(s->rows[i].reference, c->gone[k]))
                s->names[i].gone = true;
    return bx_census_count(s, err);
}

/* ---- DISKS, TEMPLATES ---- */

static int take_disks(struct collect *c, const struct bx_census *s, struct bx_err *err)
{
    size_t i;
    int r = 0;

    for (i = 0; i < s->n_disks && r >= 0; i++) {
        if (s->disks[i].images || s->disks[i].boxes)
            continue;
        r = take(c, c->rt->disks_fd, s->disks[i].name, s->disks[i].allocated, err);
        c->result.disks += r > 0;
    }
    return r < 0 ? r : 0;
}

static int take_template(struct collect *c, const struct bx_template_use *t, struct bx_err *err)
{
    bx_cleanup_close int lock = -1;
    char name[BX_VM_NAME_MAX + 8];
    int r;

    snprintf(name, sizeof(name), "%s.lock", t->name);
    lock = bx_lock_try(c->rt->templates_fd, name);
    if (lock < 0)
        return 0; /* it is being made */
    r = take(c, c->rt->templates_fd, t->name, t->bytes, err);
    c->result.templates += r > 0;
    if (r > 0 && !c->plan.dry_run) /* while it is ours: template.c */
        (void)unlinkat(c->rt->templates_fd, name, 0);
    return r;
}

static int take_templates(struct collect *c, struct bx_census *s, struct bx_err *err)
{
    uint64_t needed = bx_census_needed(s), room = UINT64_MAX;
    size_t i;
    int r = 0;

    if (c->plan.keep)
        room = c->plan.keep > needed ? c->plan.keep - needed : 0;
    mark_templates(c, s, room);
    for (i = 0; i < s->n_templates && r >= 0; i++)
        if (s->templates[i].evict)
            r = take_template(c, &s->templates[i], err);
    return r < 0 ? r : 0;
}

static int disks(struct collect *c, struct bx_err *err)
{
    bx_cleanup_census struct bx_census s = {0};
    int r = bx_store_begin(c->rt->store, err);

    if (r < 0)
        return r;
    r = take_census(c, &s, err);
    if (r == 0)
        r = take_disks(c, &s, err);
    if (r == 0)
        r = take_templates(c, &s, err);
    bx_store_rollback(c->rt->store); /* nothing was written */
    return r;
}

/* ---- BLOBS ---- */

/* Is the file without a lock, and older than this? Then the lock is ours until the file was taken: its maker,
 * who may be about to lock it, sees that it is too late. */
static bool stale(int dirfd, const char *name, int64_t age_s, int *ret_lock)
{
    int fd;
    struct stat st;

    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_mtime + age_s > bx_realtime() / BX_SEC)
        return false;
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return true;
    fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno != ENOENT;
    *ret_lock = fd;
    return flock(fd, LOCK_EX | LOCK_NB) == 0;
}

/* *ret_lock is closed when the entry was taken, or is not. */
typedef bool wanted_fn(struct collect *c, int dirfd, const char *name, int *ret_lock);

/* Takes every entry of a directory that `wanted` says yes to. */
static int take_entries(struct collect *c, int dirfd, const char *dir, wanted_fn *wanted, struct bx_err *err)
{
    int fd = openat(dirfd, dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r = 0;
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;

    if (!d) {
        bx_close(fd);
        return 0;
    }
    while (r >= 0 && (e = readdir(d))) {
        bx_cleanup_close int lock = -1;

        if (!bx_streq(e->d_name, ".") && !bx_streq(e->d_name, "..") && wanted(c, fd, e->d_name, &lock))
            r = take(c, fd, e->d_name, tree_bytes(fd, e->d_name, 0), err);
    }
    closedir(d);
    return r < 0 ? r : 0;
}

/* What has a blob's name is unfinished, and the next pull goes on with it. Anything else was to be a manifest: nobody does. */
static bool partial_is_stale(struct collect *c, int fd, const char *name, int *ret_lock)
{
    int64_t age = strlen(name) == 64 ? PARTIAL_AGE_S : STALE_AGE_S;

    return stale(fd, name, c->plan.all ? 0 : age, ret_lock);
}

static int take_blobs(struct collect *c, const struct bx_census *s, bool leased, struct bx_err *err)
{
    char name[80];
    size_t i;
    int r = 0;

    for (i = 0; i < s->n_blobs && r >= 0; i++) {
        if (s->blobs[i].images || s->blobs[i].boxes)
            continue;
        if (!leased) {
            c->result.blobs_kept++;
            continue;
        }
        snprintf(name, sizeof(name), "sha256/%s", s->blobs[i].hex);
        r = take(c, c->rt->blobs_fd, name, s->blobs[i].allocated, err);
        c->result.blobs += r > 0;
    }
    return r < 0 ? r : 0;
}

static int blobs(struct collect *c, struct bx_err *err)
{
    bx_cleanup_census struct bx_census s = {0};
    struct bx_err why = BX_ERR_INIT;
    bx_cleanup_close int lease = bx_image_lease_exclusive(c->rt, &why);
    int r;

    if (lease < 0 && lease != -BX_ESTATE) {
        if (err)
            *err = why;
        return lease;
    }
    r = take_census(c, &s, err);
    if (r == 0)
        r = take_blobs(c, &s, lease >= 0, err);
    if (r == 0 && lease >= 0 && !c->remove)
        r = take_entries(c, c->rt->blobs_fd, "partial", partial_is_stale, err);
    return r;
}

/* ---- STALE ---- */

/* What a collector has left is known by its name: it locks it, and looks whether it still has it then. */
static bool tmp_is_stale(struct collect *c, int fd, const char *name, int *ret_lock)
{
    int64_t age = bx_starts_with(name, BIN_PREFIX) ? 0 : STALE_AGE_S;

    return !bx_streq(name, c->bin) && stale(fd, name, age, ret_lock);
}

/* ".NAME.new" of a maker that was killed (one that lives holds NAME.lock), ".NAME.ID.old" of a remover. */
static bool template_is_stale(struct collect *c, int fd, const char *name, int *ret_lock)
{
    char lock_name[BX_VM_NAME_MAX + 16];
    size_t len = strlen(name);

    (void)c;
    if (name[0] != '.' || len < 6 || len > BX_VM_NAME_MAX + 4)
        return false;
    if (bx_ends_with(name, ".old"))
        return true;
    if (!bx_ends_with(name, ".new"))
        return false;
    snprintf(lock_name, sizeof(lock_name), "%.*s.lock", (int)len - 5, name + 1);
    *ret_lock = bx_lock_try(fd, lock_name);
    return *ret_lock >= 0;
}

/* "HEX.lock": nobody makes the disk, so nobody needs the lock's file; whoever waits for it makes another. It
 * goes while the lock is ours, not later by way of the bin. */
static bool drop_disk_lock(struct collect *c, int fd, const char *name, int *ret_lock)
{
    char disk[BX_DISK_NAME_MAX], digest[80];

    if (!bx_ends_with(name, ".lock") || strlen(name) != 64 + 5)
        return false;
    snprintf(disk, sizeof(disk), "%.64s.ext4", name);
    if (!bx_disk_digest(disk, digest, sizeof(digest)) || bx_disk_exists(c->rt, disk))
        return false;
    *ret_lock = bx_lock_try(fd, name);
    if (*ret_lock >= 0 && !c->plan.dry_run)
        (void)unlinkat(fd, name, 0);
    return false;
}

static int stale_files(struct collect *c, struct bx_err *err)
{
    int r;

    if (c->remove)
        return take_entries(c, c->rt->disks_fd, ".", drop_disk_lock, err);
    r = take_entries(c, c->rt->tmp_fd, ".", tmp_is_stale, err);
    if (r == 0)
        r = take_entries(c, c->rt->templates_fd, ".", template_is_stale, err);
    return r < 0 ? r : take_entries(c, c->rt->disks_fd, ".", drop_disk_lock, err);
}

/* ---- EMPTY, and the end ---- */

static void collect_free(struct collect *c)
{
    struct collect **p = &c->rt->collects;

    for (; *p; p = &(*p)->next)
        if (*p == c) {
            *p = c->next;
            break;
        }
    bx_source_remove(c->turn);
    if (c->bin_dir)
        closedir(c->bin_dir);
    bx_close(c->bin_fd);
    bx_strv_free(c->gone);
    free(c->remove);
    free(c);
}

static void collect_end(struct collect *c, const struct bx_err *err)
{
    struct bx_op *op = c->op;
    struct bx_err why = err ? *err : BX_ERR_INIT;
    CImagePruneResult *result;

    if (!err) {
        result = calloc(1, sizeof(*result));
        if (result) {
            *result = c->result;
            result->size = sizeof(*result);
            result->references = (const char *const *)BX_TAKE_PTR(c->gone);
            op->result = result;
        } else {
            bx_fail(&why, BX_ERESOURCE, ENOMEM, "remove images");
        }
    }
    collect_free(c);
    bx_op_answer(op, &why);
}

void bx_prune_result_free(CImagePruneResult *result)
{
    if (!result)
        return;
    bx_strv_free((char **)(uintptr_t)result->references);
    free(result);
}

/* One file. True when there is none left. */
static bool empty_one(struct collect *c)
{
    struct dirent *e;
    int fd;

    if (c->bin_fd < 0)
        return true;
    if (!c->bin_dir) {
        fd = openat(c->bin_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        c->bin_dir = fd >= 0 ? fdopendir(fd) : NULL;
        if (!c->bin_dir) {
            bx_close(fd);
            return true; /* then it is the next program's garbage */
        }
    }
    do
        e = readdir(c->bin_dir);
    while (e && (bx_streq(e->d_name, ".") || bx_streq(e->d_name, "..")));
    if (e) {
        (void)bx_rm_rf(c->bin_fd, e->d_name);
        return false;
    }
    (void)unlinkat(c->rt->tmp_fd, c->bin, AT_REMOVEDIR);
    return true;
}

static void on_turn(struct bx_source *s, void *ud)
{
    static int (*const phases[])(struct collect *, struct bx_err *) = {
        [NAMES] = names,
        [DISKS] = disks,
        [BLOBS] = blobs,
        [STALE] = stale_files,
    };
    struct collect *c = ud;

    if (c->phase == EMPTY) {
        if (empty_one(c)) {
            collect_end(c, c->err.code ? &c->err : NULL);
            return;
        }
    } else if (phases[c->phase](c, &c->err) < 0) {
        c->phase = EMPTY;
    } else {
        c->phase++;
    }
    bx_defer_set(s);
}

int bx_collect_begin(struct CBoxliteRuntime *rt, const struct bx_collect_plan *plan, struct bx_op *op,
                     struct bx_err *err)
{
    struct collect *c = calloc(1, sizeof(*c));

    if (!c)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "remove images");
    c->rt = rt;
    c->op = op;
    c->plan = *plan;
    c->bin_fd = -1;
    c->remove = plan->remove ? bx_strf("%s", plan->remove) : NULL;
    c->turn = bx_loop_add_defer(rt->loop, on_turn, c);
    c->next = rt->collects;
    rt->collects = c;
    if (!c->turn || (plan->remove && !c->remove)) {
        collect_free(c);
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "remove images");
    }
    bx_defer_set(c->turn);
    return 0;
}

void bx_collects_end(struct CBoxliteRuntime *rt)
{
    struct bx_err why = BX_ERR_INIT;

    bx_fail(&why, BX_ESTOPPED, 0, "the runtime was freed");
    while (rt->collects)
        collect_end(rt->collects, &why);
}
