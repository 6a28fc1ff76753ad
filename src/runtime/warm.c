/* SPDX-License-Identifier: Apache-2.0 */
/*
 * warm.c - an image's template, made before anybody needs it.
 *
 * Theory of operation
 *
 *  The first start of a box makes what is missing (start.c) and has the image's template made behind it, at idle
 *  priority. A warm makes all of that at once, for somebody who waits, and starts no box:
 *
 *      LOOK      the image's row; with its disk there, the engine and the machine: is there its template, that is all
 *      TURN      one of this runtime's warms makes something at a time, so that a host that is to be warm for many
 *                images does not boot as many machines at once; the others wait in the order of their calls
 *      CONVERT   disks/<hex>.ext4 exists (convert.c)
 *      BLANK     the template without a root, at which boxes of other disk sizes and restarts begin, is there. A kvm
 *                that was not asked for and whose template does not come up is given up for tcg, as at a start
 *      IMAGE     the image's template is there
 *
 *  Whoever waited for his turn looks again first: another one's may have been the same. Of several programs one makes a
 *  disk or a template, and the others wait for its lock (convert.c, vm/template.c). A template that could not be made a
 *  moment ago is tried again at once: somebody asks for it by name.
 */
#include "runtime/warm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image/reference.h"
#include "runtime/convert.h"
#include "runtime/engine.h"
#include "runtime/options.h"
#include "runtime/templates.h"

struct bx_warm {
    struct bx_warm *next; /* in warms of the runtime */
    struct CBoxliteRuntime *rt;
    struct bx_op *op;
    struct bx_source *go; /* deferred: the next step */
    char *reference;
    char digest[80], disk[BX_DISK_NAME_MAX];
    unsigned cpus, memory_mib;
    enum { WARM_LOOK, WARM_WAIT, WARM_TURN } phase;
    struct bx_convert *convert;
    struct bx_job *job;
    bool engine_auto;
    uint64_t tsc_khz;
    struct bx_machine blank, image;
};

/* ---- end ---- */

static void warm_free(struct bx_warm *w)
{
    struct bx_warm **at;

    for (at = &w->rt->warms; *at; at = &(*at)->next)
        if (*at == w) {
            *at = w->next;
            break;
        }
    bx_facts_forget(w->rt, w);
    bx_source_remove(w->go);
    bx_convert_free(w->convert);
    bx_job_leave(w->job);
    bx_vm_key_done(&w->blank.key);
    bx_vm_key_done(&w->image.key);
    free(w->reference);
    free(w);
}

/* The longest waiting one has its turn, when nobody has it. */
static void next_turn(struct CBoxliteRuntime *rt)
{
    struct bx_warm *w, *first = NULL;

    for (w = rt->warms; w; w = w->next) {
        if (w->phase == WARM_TURN)
            return;
        if (w->phase == WARM_WAIT && !first)
            first = w;
    }
    if (!first)
        return;
    first->phase = WARM_TURN;
    bx_defer_set(first->go);
}

static void end(struct bx_warm *w, const struct bx_err *err)
{
    struct CBoxliteRuntime *rt = w->rt;
    struct bx_op *op = w->op;
    struct bx_err why = err ? *err : BX_ERR_INIT;

    warm_free(w);
    bx_op_answer(op, &why);
    next_turn(rt);
}

/* Is the image still there? When it is not, that is why. */
static void fail(struct bx_warm *w, const struct bx_err *err)
{
    struct bx_err why = *err, gone = BX_ERR_INIT;
    struct bx_image_row row = {0};

    if (bx_image_find(w->rt, w->reference, &row, &gone) == -BX_EIMAGE)
        bx_fail(&why, BX_EIMAGE, 0, "image %s was removed while it was warmed (%s)", w->reference, err->msg);
    bx_image_row_done(&row);
    end(w, &why);
}

/* ---- IMAGE ---- */

static void on_image_template(void *ud, const char *text, size_t len)
{
    struct bx_warm *w = ud;
    struct bx_err err = BX_ERR_INIT;

    w->job = NULL;
    if (bx_template_made(w->rt, &w->image, text, len, &err) < 0)
        fail(w, &err);
    else
        end(w, NULL);
}

/* The machine of a template knows a disk of the usual size: boxes of a larger image have a larger one. */
static int check_size(const struct bx_warm *w, struct bx_err *err)
{
    struct stat st;

    if (fstatat(w->rt->disks_fd, w->disk, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "open %s/disks/%s", w->rt->home, w->disk);
    if ((uint64_t)st.st_size > BX_TEMPLATE_DISK)
        return bx_fail(err, BX_EUNSUPPORTED, 0,
                       "%s is larger than %d GiB as a disk: there is no template of such an image. All else is made, and its "
                       "boxes begin at the blank template",
                       w->reference, BX_DISK_DEFAULT_GB);
    return 0;
}

static void step_image_template(struct bx_warm *w)
{
    struct bx_err err = BX_ERR_INIT;

    if (check_size(w, &err) == 0)
        w->job = bx_template_start(w->rt, &w->image, w->disk, on_image_template, w, &err);
    if (w->job)
        bx_progress(w->rt, "", "make the image's template", 0, 0);
    else
        fail(w, &err);
}

/* ---- BLANK ---- */

static void step_blank(struct bx_warm *w);

static int find_machines(struct bx_warm *w, enum bx_engine engine, struct bx_err *err)
{
    int r;

    w->blank.shape = (struct bx_vm_shape){
        .engine = engine, .cpus = w->cpus, .memory_mib = w->memory_mib, .tsc_khz = w->tsc_khz, .network = true};
    r = bx_machine_find(w->rt, &w->blank, err);
    if (r < 0)
        return r;
    bx_vm_key_done(&w->image.key);
    w->image = w->blank;
    w->image.key = (struct bx_vm_key){0};
    return bx_machine_key(w->rt, &w->image, w->disk, err);
}

/* True when it is there: then it is used from now on. */
static bool is_warm(const struct bx_warm *w)
{
    if (!bx_template_exists(w->rt, &w->image))
        return false;
    (void)utimensat(w->rt->templates_fd, w->image.key.name, NULL, AT_SYMLINK_NOFOLLOW);
    return true;
}

static void on_blank(void *ud, const char *text, size_t len)
{
    struct bx_warm *w = ud;
    struct bx_err err = BX_ERR_INIT;

    w->job = NULL;
    if (bx_template_made(w->rt, &w->blank, text, len, &err) == 0) {
        step_image_template(w);
        return;
    }
    if (w->blank.shape.engine == BX_ENGINE_KVM && w->engine_auto) {
        bx_progress(w->rt, "", "kvm does not run our machine: going on with tcg", 0, 0);
        err = BX_ERR_INIT;
        if (find_machines(w, BX_ENGINE_TCG, &err) == 0) {
            step_blank(w);
            return;
        }
    }
    fail(w, &err);
}

static void step_blank(struct bx_warm *w)
{
    struct bx_err err = BX_ERR_INIT;

    if (is_warm(w)) {
        end(w, NULL);
    } else if (bx_template_exists(w->rt, &w->blank)) {
        step_image_template(w);
    } else {
        w->job = bx_template_start(w->rt, &w->blank, NULL, on_blank, w, &err);
        if (w->job)
            bx_progress(w->rt, "", "make the machine's template", 0, 0);
        else
            fail(w, &err);
    }
}

/* ---- LOOK, CONVERT ---- */

static void want_turn(struct bx_warm *w)
{
    w->phase = WARM_WAIT;
    next_turn(w->rt);
}

static void on_facts(void *ud, const struct bx_host_facts *facts, const struct bx_err *err)
{
    struct bx_warm *w = ud;
    struct bx_err why = err ? *err : BX_ERR_INIT;
    enum bx_engine engine = BX_ENGINE_TCG;
    int r = err ? -err->code : bx_engine_choose(w->rt, NULL, facts, &engine, &w->engine_auto, &why);

    if (r == 0) {
        w->tsc_khz = facts->tsc_khz;
        r = find_machines(w, engine, &why);
    }
    if (r < 0)
        fail(w, &why);
    else if (w->phase == WARM_TURN)
        step_blank(w);
    else if (is_warm(w))
        end(w, NULL);
    else
        want_turn(w);
}

static void step_engine(struct bx_warm *w)
{
    struct bx_err err = BX_ERR_INIT;

    if (bx_facts_get(w->rt, !bx_streq(w->rt->engine_default, "tcg"), on_facts, w, &err) < 0)
        fail(w, &err);
}

static void on_converted(void *ud, const struct bx_err *err)
{
    struct bx_warm *w = ud;

    w->convert = NULL;
    if (err)
        fail(w, err);
    else
        step_engine(w);
}

static int find_image(struct bx_warm *w, struct bx_err *err)
{
    struct bx_image_row row = {0};
    int r = bx_image_find(w->rt, w->reference, &row, err);

    if (r == -BX_EIMAGE)
        bx_err_append(err, ": fetch it with `boxlite pull %s` (boxlite_image_pull)", w->reference);
    if (r < 0)
        return r;
    snprintf(w->digest, sizeof(w->digest), "%s", row.manifest_digest);
    bx_disk_name(w->disk, w->digest);
    bx_image_row_done(&row);
    r = bx_store_image_used(w->rt->store, w->digest, bx_realtime() / BX_MSEC, err);
    return r == -BX_ENOTFOUND ? bx_fail(err, BX_EIMAGE, 0, "no such image any more: %s", w->reference) : r;
}

static void on_go(struct bx_source *s, void *ud)
{
    struct bx_warm *w = ud;
    struct bx_err err = BX_ERR_INIT;

    (void)s;
    if (find_image(w, &err) < 0) { /* also at its turn: the name may be another image's by now, or nobody's */
        end(w, &err);
    } else if (bx_disk_exists(w->rt, w->disk)) {
        step_engine(w);
    } else if (w->phase == WARM_LOOK) {
        want_turn(w);
    } else {
        w->convert = bx_convert_start(w->rt, "", w->digest, on_converted, w, &err);
        if (!w->convert)
            fail(w, &err);
    }
}

/* ---- the call ---- */

static int warm_begin(struct CBoxliteRuntime *rt, const char *reference, const BoxliteImageWarm *o, struct bx_op *op,
                      struct bx_err *err)
{
    struct bx_warm *w, **at;

    if (!rt->image_templates)
        return bx_fail(err, BX_ECONFIG, 0, "BOXLITE_IMAGE_TEMPLATES=off: no box would begin at the image's template");
    w = calloc(1, sizeof(*w));
    if (!w)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "warm an image");
    w->rt = rt;
    w->op = op;
    w->cpus = (unsigned)o->cpus;
    w->memory_mib = (unsigned)o->memory_mib;
    w->reference = bx_strf("%s", reference);
    w->go = bx_loop_add_defer(rt->loop, on_go, w);
    for (at = &rt->warms; *at; at = &(*at)->next)
        ;
    *at = w;
    if (!w->reference || !w->go) {
        warm_free(w);
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "warm an image");
    }
    bx_defer_set(w->go);
    return 0;
}

static int read_options(const BoxliteImageWarm *options, BoxliteImageWarm *ret, struct bx_err *err)
{
    BoxliteImageWarm o = BOXLITE_IMAGE_WARM_INIT;
    struct bx_vm_shape shape = {.engine = BX_ENGINE_TCG, .tsc_khz = 1};

    if (options && options->size < sizeof(options->size))
        return bx_fail(err, BX_EINVALID, 0, "options: size is not set");
    if (options)
        memcpy(&o, options, BX_MIN(options->size, sizeof(o)));
    if (o.cpus < 0 || o.memory_mib < 0)
        return bx_fail(err, BX_EINVALID, 0, "options: %s is negative", o.cpus < 0 ? "cpus" : "memory_mib");
    o.cpus = o.cpus ? o.cpus : 1;
    o.memory_mib = o.memory_mib ? o.memory_mib : BX_DEFAULT_MEMORY_MIB;
    shape.cpus = (unsigned)o.cpus;
    shape.memory_mib = (unsigned)o.memory_mib;
    *ret = o;
    return bx_vm_shape_round(&shape, err); /* the ranges; it is rounded when the engine is known */
}

BoxliteErrorCode boxlite_image_warm(CBoxliteImageHandle *images, const char *reference, const BoxliteImageWarm *options,
                                    CImageDoneCb cb, void *user_data, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    struct bx_reference ref;
    BoxliteImageWarm o = BOXLITE_IMAGE_WARM_INIT;
    struct bx_op *op;

    if (!images || !reference || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !images ? "images" : !reference ? "reference" : "cb");
    if (read_options(options, &o, &err) < 0 || bx_reference_parse(reference, &ref, &err) < 0 ||
        bx_enter(images->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(images->rt, BX_OP_PLAIN, (union bx_op_cb){.plain = cb}, user_data, &err);
    if (op && warm_begin(images->rt, reference, &o, op, &why) < 0)
        bx_op_answer(op, &why);
    bx_leave(images->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}

void bx_warms_end(struct CBoxliteRuntime *rt, const char *why)
{
    struct bx_err err = BX_ERR_INIT;

    bx_fail(&err, BX_ESTOPPED, 0, "%s", why);
    while (rt->warms)
        end(rt->warms, &err);
}
