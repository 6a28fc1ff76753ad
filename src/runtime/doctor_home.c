/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_home.c - the home itself: its files, its rows, and whether they belong together. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "runtime/box.h"
#include "runtime/collect.h"
#include "runtime/doctor.h"

#define ROOM_LOW     (1ULL << 30)
#define NEW_MS       10000 /* a row this young may not have its folder yet */
#define TMP_YOUNG_S  60    /* a file this young may not be locked yet */

/* ---- names of a folder ---- */

static char **names_in(int dirfd)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;
    char **names = NULL;

    if (!dir) {
        bx_close(fd);
        return NULL;
    }
    while ((e = readdir(dir)))
        if (!bx_streq(e->d_name, ".") && !bx_streq(e->d_name, "..") && bx_strv_add(&names, e->d_name) < 0)
            break;
    closedir(dir);
    return names;
}

/* ---- the home ---- */

bool bx_doctor_home(struct bx_doctor *d)
{
    struct CBoxliteRuntime *rt = d->rt;
    struct statvfs fs;
    struct stat st;
    unsigned long long room = 0;

    if (fstat(rt->home_fd, &st) < 0 || fstatvfs(rt->home_fd, &fs) < 0) {
        bx_doctor_say(d, "home", BoxliteFindingProblem, rt->home, "", "cannot be looked at: %s", strerror(errno));
        return true;
    }
    room = (unsigned long long)fs.f_bavail * fs.f_frsize;
    if (st.st_uid != geteuid())
        bx_doctor_say(d, "home", BoxliteFindingProblem, rt->home, "use a home of your own: BOXLITE_HOME or --home", "belongs to user %u, not %u",
                      st.st_uid, geteuid());
    if ((st.st_mode & 022) == 0)
        bx_doctor_say(d, "home", BoxliteFindingFine, rt->home, "", "nobody else may write in it");
    else if (d->repair && fchmod(rt->home_fd, 0700) == 0)
        bx_doctor_say(d, "home", BoxliteFindingRepaired, rt->home, "", "others could write in it");
    else
        bx_doctor_say(d, "home", BoxliteFindingProblem, rt->home, "chmod 700, or doctor --repair", "others may write in it");
    if (faccessat(rt->tmp_fd, ".", W_OK, AT_EACCESS) < 0)
        bx_doctor_say(d, "home", BoxliteFindingProblem, rt->home, "", "cannot be written in: %s", strerror(errno));
    if (room < ROOM_LOW)
        bx_doctor_say(d, "home", BoxliteFindingNote, rt->home, "boxlite prune -a removes unused images", "has only %llu MiB of room left",
                      room >> 20);
    return true;
}

/* ---- the database ---- */

static void say_complaint(void *ud, const char *complaint)
{
    bx_doctor_say(ud, "database", BoxliteFindingProblem, "", "doctor --repair mends indexes; else move db/boxlite.db away, or sqlite3 .recover it",
                  "%s", complaint);
}

static void count_complaint(void *ud, const char *complaint)
{
    (void)ud, (void)complaint;
}

bool bx_doctor_database(struct bx_doctor *d)
{
    struct bx_err err;
    int n = bx_store_check(d->rt->store, count_complaint, NULL, &err);

    if (n > 0 && d->repair && bx_store_reindex(d->rt->store, &err) == 0 && bx_store_check(d->rt->store, count_complaint, NULL, &err) == 0) {
        bx_doctor_say(d, "database", BoxliteFindingRepaired, "", "", "its indexes were damaged (%d complaints)", n);
        return true;
    }
    if (n == 0)
        bx_doctor_say(d, "database", BoxliteFindingFine, "", "", "is sound");
    else if (n < 0)
        bx_doctor_say(d, "database", BoxliteFindingProblem, "", "", "%s", err.msg);
    else
        (void)bx_store_check(d->rt->store, say_complaint, d, NULL);
    return true;
}

/* ---- rows ---- */

/* Its folder is missing: with it went its disk. Looked at twice: it may be in the middle of its removal. */
static bool without_folder(struct CBoxliteRuntime *rt, const struct bx_box_row *row)
{
    struct bx_box_row again = {0};
    bool there;

    if (row->created_ms + NEW_MS > bx_realtime() / BX_MSEC || faccessat(rt->boxes_fd, row->id, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return false;
    there = bx_store_box_get(rt->store, row->id, &again, NULL) >= 0;
    bx_box_row_done(&again);
    return there && faccessat(rt->boxes_fd, row->id, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
}

static void look_at_row(struct bx_doctor *d, struct bx_box_row *row, unsigned *bad)
{
    BX_CLEANUP(boxlite_options_free_p) struct CBoxliteOptions *o = NULL;
    const char *name = row->name ? row->name : row->id;
    struct bx_err err;

    if (bx_state_active(row->state) && bx_repair_row(d->rt, row)) {
        bx_doctor_say(d, "boxes", BoxliteFindingRepaired, name, "", "was said to run, but its supervisor was gone");
        if (row->state == 0)
            return; /* removed by that */
    }
    if (bx_options_from_json(row->options, &o, &err) < 0) {
        (*bad)++;
        bx_doctor_say(d, "boxes", BoxliteFindingProblem, name, "remove its row from db/boxlite.db, and its folder from boxes", "what it was made with cannot be read: %s",
                      err.msg);
    }
    if (!without_folder(d->rt, row))
        return;
    (*bad)++;
    if (!d->repair)
        bx_doctor_say(d, "boxes", BoxliteFindingProblem, name, "doctor --repair removes it", "has no folder any more, and so no disk");
    else if (bx_box_delete(d->rt, row->id, &err) < 0)
        bx_doctor_say(d, "boxes", BoxliteFindingProblem, name, "", "%s", err.msg);
    else
        bx_doctor_say(d, "boxes", BoxliteFindingRepaired, name, "", "was removed: it had no folder any more, and so no disk");
}

bool bx_doctor_rows(struct bx_doctor *d)
{
    struct bx_box_row *rows = NULL;
    struct bx_err err;
    size_t n = 0, i;
    unsigned bad = 0;

    if (d->rt->found_rows > 0)
        bx_doctor_say(d, "boxes", BoxliteFindingRepaired, "", "",
                      "%u %s said to run whose supervisor was gone: put right when the home was opened", d->rt->found_rows,
                      d->rt->found_rows == 1 ? "box was" : "boxes were");
    d->rt->found_rows = 0;
    if (bx_store_box_list(d->rt->store, &rows, &n, &err) < 0) {
        bx_doctor_say(d, "boxes", BoxliteFindingProblem, "", "", "%s", err.msg);
        return true;
    }
    for (i = 0; i < n; i++)
        look_at_row(d, &rows[i], &bad);
    if (bad == 0)
        bx_doctor_say(d, "boxes", BoxliteFindingFine, "", "", "each of %zu has its folder", n);
    bx_box_rows_free(rows, n);
    return true;
}

/* ---- folders ---- */

static bool has_row(struct CBoxliteRuntime *rt, const char *id)
{
    struct bx_box_row row = {0};
    int r = bx_store_box_get(rt->store, id, &row, NULL);
    bool same = r >= 0 && bx_streq(row.id, id);

    bx_box_row_done(&row);
    return same || (r < 0 && r != -BX_ENOTFOUND); /* not known: nothing is done to it */
}

static bool is_id(const char *name)
{
    return strlen(name) == BX_ID_LEN && strspn(name, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == BX_ID_LEN;
}

static void orphan(struct bx_doctor *d, const char *name, bool running)
{
    struct bx_err err;

    if (running)
        bx_doctor_say(d, "folders", BoxliteFindingProblem, name, "end the process boxlite-shim that holds boxes/*/lock, then doctor --repair",
                      "a machine runs there that no row knows");
    else if (!d->repair)
        bx_doctor_say(d, "folders", BoxliteFindingProblem, name, "doctor --repair removes it", "belongs to no box");
    else if (bx_box_delete(d->rt, name, &err) < 0)
        bx_doctor_say(d, "folders", BoxliteFindingProblem, name, "", "%s", err.msg);
    else
        bx_doctor_say(d, "folders", BoxliteFindingRepaired, name, "", "was removed: it belonged to no box");
}

/* The socket of a supervisor that was killed: nobody listens. */
static bool dead_socket(struct bx_doctor *d, const char *name, int dir)
{
    struct stat st;

    if (fstatat(dir, "box.sock", &st, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    if (!d->repair)
        bx_doctor_say(d, "folders", BoxliteFindingProblem, name, "doctor --repair, or the box's next start, removes it", "has a socket at which nobody listens");
    else if (unlinkat(dir, "box.sock", 0) < 0)
        bx_doctor_say(d, "folders", BoxliteFindingProblem, name, "", "remove its box.sock: %s", strerror(errno));
    else
        bx_doctor_say(d, "folders", BoxliteFindingRepaired, name, "", "a socket at which nobody listened was removed");
    return true;
}

/* True when all is well. Rows are made before their folders and removed after them, so a folder without a row is nobody's. */
static bool look_at_folder(struct bx_doctor *d, const char *name)
{
    bx_cleanup_close int dir = openat(d->rt->boxes_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    bx_cleanup_close int start = -1, lock = -1;

    if (dir < 0 || !is_id(name)) {
        if (dir < 0 && errno == ENOENT)
            return true;
        bx_doctor_say(d, "folders", BoxliteFindingNote, name, "", "is no folder of a box");
        return true;
    }
    start = bx_lock_try(dir, "start.lock");
    if (start < 0)
        return true; /* somebody is at work on it */
    lock = bx_lock_try(dir, "lock");
    if (!has_row(d->rt, name)) {
        orphan(d, name, lock < 0);
        return false;
    }
    return lock < 0 || !dead_socket(d, name, dir);
}

bool bx_doctor_folders(struct bx_doctor *d)
{
    bx_cleanup_strv char **names = names_in(d->rt->boxes_fd);
    unsigned bad = 0;

    for (char **n = names; n && *n; n++)
        bad += !look_at_folder(d, *n);
    if (bad == 0)
        bx_doctor_say(d, "folders", BoxliteFindingFine, "", "", "each of %zu belongs to a box", bx_strv_len(names));
    return true;
}

/* ---- files being made ---- */

static bool look_at_tmp(struct bx_doctor *d, const char *name)
{
    bx_cleanup_close int fd = -1;
    struct stat st;

    if (fstatat(d->rt->tmp_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_mtime + TMP_YOUNG_S > bx_realtime() / BX_SEC)
        return true;
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
        fd = openat(d->rt->tmp_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0)
            return true; /* its maker lives */
    }
    if (!d->repair)
        bx_doctor_say(d, "tmp", BoxliteFindingProblem, name, "doctor --repair removes it", "was left by a program that was killed");
    else if (bx_rm_rf(d->rt->tmp_fd, name) < 0)
        bx_doctor_say(d, "tmp", BoxliteFindingProblem, name, "", "cannot be removed: %s", strerror(errno));
    else
        bx_doctor_say(d, "tmp", BoxliteFindingRepaired, name, "", "was removed: left by a program that was killed");
    return false;
}

bool bx_doctor_temporary(struct bx_doctor *d)
{
    bx_cleanup_strv char **names = names_in(d->rt->tmp_fd);
    unsigned bad = 0;

    if (d->rt->found_tmp > 0)
        bx_doctor_say(d, "tmp", BoxliteFindingRepaired, "", "", "%u left-over files were removed when the home was opened", d->rt->found_tmp);
    d->rt->found_tmp = 0;
    for (char **n = names; n && *n; n++)
        bad += !look_at_tmp(d, *n);
    if (bad == 0)
        bx_doctor_say(d, "tmp", BoxliteFindingFine, "", "", "nothing is left over");
    return true;
}

/* ---- images, disks, templates ---- */

static void tell_images(struct bx_doctor *d, const CImagePruneResult *r)
{
    const int n = r->blobs + r->disks + r->templates;
    const unsigned long long mib = (r->bytes + (1 << 20) - 1) >> 20;

    if (n == 0)
        bx_doctor_say(d, "images", BoxliteFindingFine, "", "", "every blob, disk and template is needed");
    else if (d->repair)
        bx_doctor_say(d, "images", BoxliteFindingRepaired, "", "", "%d blobs, %d disks and %d templates that nothing needed were removed (%llu MiB)",
                      r->blobs, r->disks, r->templates, mib);
    else
        bx_doctor_say(d, "images", BoxliteFindingNote, "", "doctor --repair, or boxlite prune, removes them",
                      "%d blobs, %d disks and %d templates are needed by nothing (%llu MiB)", r->blobs, r->disks, r->templates, mib);
}

/* Instead of the user's callback: lock held. The doctor is still there, or the op would have been dropped with the runtime. */
static bool on_collected(struct CBoxliteRuntime *rt, struct bx_ev *ev)
{
    struct bx_op *op = BX_CONTAINER_OF(ev, struct bx_op, ev);
    struct bx_doctor *d = op->ud;

    rt->ops--;
    if (op->err.code)
        bx_doctor_say(d, "images", BoxliteFindingProblem, "", "remove the image and pull or load it again", "%s", op->err.msg);
    else
        tell_images(d, op->result);
    bx_prune_result_free(op->result);
    free(op);
    bx_doctor_next(d);
    return false;
}

static void unused(const CImagePruneResult *r, CBoxliteError *e, void *ud)
{
    (void)r, (void)e, (void)ud;
}

bool bx_doctor_images(struct bx_doctor *d)
{
    const struct bx_collect_plan plan = {.dry_run = !d->repair};
    struct bx_err err;
    struct bx_op *op = bx_op_new(d->rt, BX_OP_PRUNED, (union bx_op_cb){.pruned = unused}, d, &err);

    if (op && bx_collect_begin(d->rt, &plan, op, &err) == 0) {
        op->ev.deliver = on_collected;
        return false;
    }
    if (op)
        bx_op_cancel(op);
    bx_doctor_say(d, "images", BoxliteFindingProblem, "", "", "%s", err.msg);
    return true;
}
