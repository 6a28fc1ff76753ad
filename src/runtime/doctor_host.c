/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_host.c - what this host gives: programs, an engine, a jail; and the disks of boxes, which need its tools. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/shim_plan.h"
#include "jail/plan.h"
#include "runtime/box.h"
#include "runtime/doctor.h"
#include "runtime/engine.h"

#define ANSWER_FD     4
#define E2FSCK_FAILED 16 /* from here on it says nothing of the file system; 100: of shim/check.c */

/* ---- programs ---- */

bool bx_doctor_programs(struct bx_doctor *d)
{
    static const char *const names[] = {"boxlite-shim", "boxlite-pull", "boxlite-unpack", "boxlite-files", "boxlite-net"};
    const char *dir = bx_libexec(d->rt, NULL);
    struct bx_vm_parts parts;
    struct bx_err err;
    unsigned bad = 0;

    for (size_t i = 0; i < BX_ARRAY_SIZE(names); i++) {
        bx_cleanup_free char *path = dir ? bx_path_join(dir, names[i]) : NULL;

        if (path && access(path, X_OK) == 0)
            continue;
        bad++;
        bx_doctor_say(d, "programs", BoxliteFindingProblem, names[i], "install BoxLite anew, or set BOXLITE_LIBEXEC", "is missing in %s",
                      dir ? dir : "every place it could be");
    }
    if (dir && bx_vm_parts_find(dir, BX_ENGINE_TCG, &parts, &err) < 0) {
        bad++;
        bx_doctor_say(d, "programs", BoxliteFindingProblem, "", "", "%s", err.msg);
    }
    if (bad == 0)
        bx_doctor_say(d, "programs", BoxliteFindingFine, "", "", "all are there, with QEMU as %s", parts.qemu);
    return true;
}

/* ---- the engine ---- */

static void on_facts(void *ud, const struct bx_host_facts *facts, const struct bx_err *err)
{
    struct bx_doctor *d = ud;
    enum bx_engine engine = BX_ENGINE_TCG;
    struct bx_err why;
    bool was_auto;

    if (err)
        bx_doctor_say(d, "engine", BoxliteFindingProblem, "", "", "%s", err->msg);
    else if (bx_engine_choose(d->rt, "auto", facts, &engine, &was_auto, &why) < 0)
        bx_doctor_say(d, "engine", BoxliteFindingProblem, "", "unset BOXLITE_ENGINE", "%s", why.msg);
    else if (engine == BX_ENGINE_KVM || facts->verdict.result == BX_PROBE_OK)
        bx_doctor_say(d, "engine", BoxliteFindingFine, "", "", "is %s; a guest runs with kvm", bx_engine_name(engine));
    else
        bx_doctor_say(d, "engine", BoxliteFindingNote, "", facts->verdict.remedy, "is tcg, which is slower and no security boundary of its own: %s",
                      facts->verdict.reason);
    bx_doctor_next(d);
}

bool bx_doctor_engine(struct bx_doctor *d)
{
    struct bx_err err;

    if (bx_facts_get(d->rt, true, on_facts, d, &err) >= 0)
        return false;
    bx_doctor_say(d, "engine", BoxliteFindingProblem, "", "", "%s", err.msg);
    return true;
}

/* ---- the jail ---- */

/* "a b c; without d (why), e (why)" */
static void tell_jail(struct bx_doctor *d, char *text)
{
    char *without = strstr(text, "; without ");
    bool root = strstr(text, "root") && (!without || strstr(text, "root") < without);
    unsigned missing = 0;

    if (without)
        *without = '\0';
    for (char *layer = without ? without + strlen("; without ") : NULL; layer && *layer;) {
        char *open = strstr(layer, " ("), *close = open ? strchr(open, ')') : NULL;

        if (!close)
            break;
        *open = *close = '\0';
        if (!(root && bx_streq(layer, "landlock"))) { /* it stands in for the other */
            missing++;
            bx_doctor_say(d, "jail", BoxliteFindingNote, layer, bx_jail_remedy(layer), "is refused by this host: %s", open + 2);
        }
        layer = close + 1;
        layer += strspn(layer, ", ");
    }
    if (missing == 0)
        bx_doctor_say(d, "jail", BoxliteFindingFine, "", "", "has every layer: %s", text);
    else
        bx_doctor_say(d, "jail", BoxliteFindingNote, "", "", "holds with the other layers: %s", text);
}

/* The shim's answer; -1 after having told what went wrong. */
static int take_answer(struct bx_doctor *d, const char *check, const char *subject, const char *text, size_t len, char *jail, size_t jail_size,
                       char *output, size_t size)
{
    struct bx_err err;
    int status = -1;

    d->job = NULL;
    if (bx_shim_check_parse(text, len, jail, jail_size, &status, output, size, &err) == 0)
        return status;
    bx_doctor_say(d, check, BoxliteFindingProblem, subject, "", "%s", err.msg);
    jail[0] = '\0';
    return -2;
}

static int start_check(struct bx_doctor *d, const struct bx_shim_plan *plan, bx_job_fn *fn, struct bx_err *err)
{
    BX_CLEANUP(bx_shim_spawn_done) struct bx_shim_spawn s = {.plan_fd = -1};
    int r = bx_shim_spawn_make(d->rt, plan, &s, err);

    if (r < 0)
        return r;
    d->job = bx_job_start(d->rt, &s.spawn, ANSWER_FD, fn, d, err);
    return d->job ? 0 : -err->code;
}

static void on_jail(void *ud, const char *text, size_t len)
{
    char jail[1024], output[8200];

    if (take_answer(ud, "jail", "", text, len, jail, sizeof(jail), output, sizeof(output)) != -2)
        tell_jail(ud, jail);
    bx_doctor_next(ud);
}

bool bx_doctor_jail(struct bx_doctor *d)
{
    struct bx_shim_plan plan = BX_SHIM_PLAN_INIT;
    struct bx_err err;

    plan.kind = BX_SHIM_CHECK;
    plan.fd = ANSWER_FD;
    if (start_check(d, &plan, on_jail, &err) == 0)
        return false;
    bx_doctor_say(d, "jail", BoxliteFindingProblem, "", "", "%s", err.msg);
    return true;
}

/* ---- disks ---- */

void bx_doctor_disks_stop(struct bx_doctor *d)
{
    if (d->scratch[0])
        unlinkat(d->rt->tmp_fd, d->scratch, 0);
    d->scratch[0] = '\0';
    d->scratch_fd = bx_close(d->scratch_fd);
    d->lock_fd = bx_close(d->lock_fd);
}

static bool look_at_next_disk(struct bx_doctor *d);

static void on_disk(void *ud, const char *text, size_t len)
{
    struct bx_doctor *d = ud;
    const char *id = d->boxes[d->at - 1];
    char jail[1024], output[8200];
    int status = take_answer(d, "disks", id, text, len, jail, sizeof(jail), output, sizeof(output));

    bx_doctor_disks_stop(d);
    if (status == -1) {
        bx_doctor_say(d, "disks", BoxliteFindingNote, "", "install qemu-utils and e2fsprogs (Debian's names)", "were not looked at: qemu-img or e2fsck is missing");
        bx_doctor_next(d);
        return;
    }
    d->sound += status == 0;
    d->unsound += status != 0;
    if (status >= E2FSCK_FAILED)
        bx_doctor_say(d, "disks", BoxliteFindingNote, id, "", "could not be looked at: %s", output);
    else if (status > 0)
        bx_doctor_say(d, "disks", BoxliteFindingProblem, id, "start the box and copy out what is needed", "its file system is damaged: %s", output);
    if (look_at_next_disk(d))
        bx_doctor_next(d);
}

/* Nobody starts the box while we look, for start.lock is ours. 0: begun; 1: there is nothing to look at. */
static int begin_disk(struct bx_doctor *d, const char *id, struct bx_err *err)
{
    bx_cleanup_close int dir = openat(d->rt->boxes_fd, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC), lock = -1;
    bx_cleanup_free char *disk = bx_strf("%s/boxes/%s/disk.qcow2", d->rt->home, id), *scratch = NULL, *base = NULL;
    struct bx_shim_plan plan = BX_SHIM_PLAN_INIT;
    struct bx_box_row row = {0};

    if (dir < 0 || faccessat(dir, "disk.qcow2", F_OK, 0) < 0 || bx_store_box_get(d->rt->store, id, &row, NULL) < 0)
        return 1;
    base = row.disk ? bx_strf("%s/disks/%s", d->rt->home, row.disk) : NULL;
    bx_box_row_done(&row);
    d->lock_fd = bx_lock_try(dir, "start.lock");
    lock = d->lock_fd < 0 ? -1 : bx_lock_try(dir, "lock");
    if (!base || lock < 0)
        return 1; /* it runs, or somebody is at work on it */
    d->scratch_fd = bx_tmpfile_at(d->rt->tmp_fd, "doctor", 0600, d->scratch, sizeof(d->scratch));
    if (d->scratch_fd < 0 || flock(d->scratch_fd, LOCK_EX | LOCK_NB) < 0)
        return bx_fail(err, BX_ESTORAGE, d->scratch_fd < 0 ? -d->scratch_fd : errno, "make a file in %s/tmp", d->rt->home);
    scratch = bx_strf("%s/tmp/%s", d->rt->home, d->scratch);
    if (!disk || !scratch)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "look at a disk");
    plan.kind = BX_SHIM_CHECK;
    plan.fd = ANSWER_FD;
    plan.check_disk = disk;
    plan.base_disk = base;
    plan.check_scratch = scratch;
    return start_check(d, &plan, on_disk, err);
}

/* True when there is none any more. */
static bool look_at_next_disk(struct bx_doctor *d)
{
    while (d->boxes && d->boxes[d->at]) {
        struct bx_err err;
        const char *id = d->boxes[d->at++];
        int r = begin_disk(d, id, &err);

        if (r == 0)
            return false;
        bx_doctor_disks_stop(d);
        if (r < 0)
            bx_doctor_say(d, "disks", BoxliteFindingProblem, id, "", "%s", err.msg);
    }
    if (d->unsound == 0)
        bx_doctor_say(d, "disks", BoxliteFindingFine, "", "", "%u of boxes that do not run were looked at, and are sound", d->sound);
    return true;
}

bool bx_doctor_disks(struct bx_doctor *d)
{
    struct bx_box_row *rows = NULL;
    size_t n = 0;

    if (d->quick || bx_store_box_list(d->rt->store, &rows, &n, NULL) < 0)
        return true; /* what is wrong with the database has been told */
    for (size_t i = 0; i < n; i++)
        if (!bx_state_active(rows[i].state) && bx_strv_add(&d->boxes, rows[i].id) < 0)
            d->failed = true;
    bx_box_rows_free(rows, n);
    return look_at_next_disk(d);
}
