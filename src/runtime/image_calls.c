/* SPDX-License-Identifier: Apache-2.0 */
/* image_calls.c - the calls that name, remove and describe stored images. */
#include <errno.h>
#include <string.h>

#include "host/json.h"
#include "image/reference.h"
#include "runtime/census.h"
#include "runtime/collect.h"
#include "runtime/events.h"

#define OLDER_MAX     (INT64_MAX / 1000)

/* ---- tag ---- */

static int tag_locked(struct CBoxliteRuntime *rt, const char *source, const char *target, struct bx_err *err)
{
    struct bx_image_row *rows = NULL;
    size_t n = 0, i = 0;
    bool by_id;
    int r = bx_store_begin(rt->store, err);

    if (r < 0)
        return r;
    r = bx_store_image_list(rt->store, &rows, &n, err);
    if (r == 0)
        r = bx_image_resolve(rows, n, source, &i, &by_id, err);
    if (r == 0)
        r = bx_store_image_tag(rt->store, rows[i].reference, target, err);
    bx_image_rows_free(rows, n);
    if (r == 0)
        return bx_store_commit(rt->store, err);
    bx_store_rollback(rt->store);
    return r;
}

BoxliteErrorCode boxlite_image_tag(CBoxliteImageHandle *images, const char *source, const char *target,
                                   CImageDoneCb cb, void *user_data, CBoxliteError *out_error)
{
    bx_cleanup_free char *canonical = NULL;
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    struct bx_op *op;

    if (!images || !source || !target || !cb)
        return bx_api_invalid(out_error, "%s is NULL",
                              !images   ? "images"
                              : !source ? "source"
                              : !target ? "target"
                                        : "cb");
    if (bx_image_new_name(target, &canonical, &err) < 0) {
        bx_prefix(&err, "target");
        return bx_api_error(out_error, &err);
    }
    if (bx_enter(images->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(images->rt, BX_OP_PLAIN, (union bx_op_cb){.plain = cb}, user_data, &err);
    if (op) {
        if (tag_locked(images->rt, source, canonical, &why) == 0)
            bx_event_image(images->rt, "image.tagged", canonical);
        bx_op_answer(op, &why);
    }
    bx_leave(images->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}

/* ---- remove, prune ---- */

static BoxliteErrorCode collect(CBoxliteImageHandle *images, const struct bx_collect_plan *plan,
                                CImagePruneCb cb, void *user_data, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    struct bx_op *op;

    if (bx_enter(images->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(images->rt, BX_OP_PRUNED, (union bx_op_cb){.pruned = cb}, user_data, &err);
    if (op && bx_collect_begin(images->rt, plan, op, &why) < 0)
        bx_op_answer(op, &why);
    bx_leave(images->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}

BoxliteErrorCode boxlite_image_remove(CBoxliteImageHandle *images, const char *reference_or_id, int force,
                                      CImagePruneCb cb, void *user_data, CBoxliteError *out_error)
{
    struct bx_collect_plan plan = {.remove = reference_or_id, .force = force != 0};

    if (!images || !reference_or_id || !cb)
        return bx_api_invalid(out_error, "%s is NULL",
                              !images            ? "images"
                              : !reference_or_id ? "reference_or_id"
                                                 : "cb");
    return collect(images, &plan, cb, user_data, out_error);
}

BoxliteErrorCode boxlite_image_prune(CBoxliteImageHandle *images, const BoxliteImagePrune *options,
                                     CImagePruneCb cb, void *user_data, CBoxliteError *out_error)
{
    BoxliteImagePrune o = BOXLITE_IMAGE_PRUNE_INIT;
    struct bx_collect_plan plan = {0};

    if (!images || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !images ? "images" : "cb");
    if (options) {
        if (options->size < sizeof(options->size))
            return bx_api_invalid(out_error, "options: size is not set");
        memcpy(&o, options, BX_MIN(options->size, sizeof(o)));
    }
    if (!o.all && (o.older_than_secs || o.keep_bytes))
        return bx_api_invalid(out_error, "%s says which unused images to remove: set `all` too",
                              o.older_than_secs ? "older_than_secs" : "keep_bytes");
    if (o.older_than_secs > OLDER_MAX)
        return bx_api_invalid(out_error, "older_than_secs: more than time has");
    plan.all = o.all != 0;
    plan.dry_run = o.dry_run != 0;
    plan.older_ms = (int64_t)o.older_than_secs * 1000;
    plan.keep = o.keep_bytes;
    return collect(images, &plan, cb, user_data, out_error);
}

/* ---- inspect ---- */

/* A list of strings as a JSON array; nothing for a list that is not there. */
static int add_list(struct CBoxliteInfo *info, const char *key, char *const *list, struct bx_err *err)
{
    for (size_t i = 0; list && list[i]; i++)
        if (!bx_utf8_valid(list[i], strlen(list[i])))
            return bx_fail(err, BX_EIMAGE, 0, "the image's %s is not UTF-8", key);
    if (bx_info_add_list(info, key, list) < 0)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "inspect an image");
    return 0;
}

static int add_names(struct CBoxliteInfo *info, const struct bx_census *c,
                     const struct bx_census_image *image, struct bx_err *err)
{
    bx_cleanup_strv char **names = NULL, **layers = NULL;
    size_t i;
    int r = 0;

    for (i = 0; i < c->n_rows && r == 0; i++)
        if (c->names[i].image == image)
            r = bx_strv_add(&names, c->rows[i].reference);
    for (i = 0; i < image->manifest.layer_count && r == 0; i++)
        r = bx_strv_add(&layers, image->manifest.layers[i].digest);
    if (r < 0)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "inspect an image");
    r = add_list(info, "names", names, err);
    return r < 0 ? r : add_list(info, "layer_digests", layers, err);
}

static unsigned boxes_of(const struct bx_census *c, const struct bx_census_image *image)
{
    unsigned boxes = 0;
    size_t i;

    for (i = 0; i < c->n_boxes; i++)
        boxes += bx_census_box_needs(c, &c->boxes[i], image);
    return boxes;
}

static int add_sizes(struct CBoxliteInfo *info, struct bx_census *c, const struct bx_census_image *image)
{
    const struct bx_census_disk *disk = bx_census_find_disk(c, image->disk);
    uint64_t shared = 0;
    size_t i;

    for (i = 0; i < image->n_blobs; i++)
        shared += image->blobs[i]->images > 1 ? image->blobs[i]->size : 0;
    return bx_info_addf(info, "size", "%llu", (unsigned long long)image->size) < 0 ||
                   bx_info_addf(info, "shared_size", "%llu", (unsigned long long)shared) < 0 ||
                   bx_info_addf(info, "unique_size", "%llu", (unsigned long long)(image->size - shared)) <
                       0 ||
                   bx_info_add(info, "disk", image->disk) < 0 ||
                   bx_info_addf(info, "disk_bytes", "%llu",
                                (unsigned long long)(disk ? disk->allocated : 0)) < 0 ||
                   bx_info_addf(info, "template_bytes", "%llu",
                                (unsigned long long)bx_census_template_bytes(c, image)) < 0 ||
                   bx_info_addf(info, "boxes", "%u", boxes_of(c, image)) < 0
               ? -1
               : 0;
}

static int add_config(struct CBoxliteInfo *info, const struct bx_image_config *config, struct bx_err *err)
{
    const struct {
        const char *key, *text;
    } texts[] = {{"os", config->os},
                 {"arch", config->arch},
                 {"variant", config->variant[0] ? config->variant : NULL},
                 {"working_dir", config->working_dir},
                 {"user", config->user},
                 {"stop_signal", config->stop_signal}};
    size_t i;
    int r;

    for (i = 0; i < BX_ARRAY_SIZE(texts); i++)
        if (bx_info_add(info, texts[i].key, texts[i].text) < 0)
            return bx_fail(err, BX_ERESOURCE, ENOMEM, "inspect an image");
    if ((r = add_list(info, "entrypoint", config->entrypoint, err)) < 0 ||
        (r = add_list(info, "cmd", config->cmd, err)) < 0)
        return r;
    return add_list(info, "env", config->env, err);
}

static int describe(struct CBoxliteRuntime *rt, const char *text, struct CBoxliteInfo *info,
                    struct bx_err *err)
{
    bx_cleanup_census struct bx_census c = {0};
    struct bx_image_config config = {0};
    const struct bx_census_image *image;
    const struct bx_image_row *row;
    size_t i = 0;
    bool by_id;
    int r;

    if ((r = bx_census_take(rt, &c, err)) < 0 ||
        (r = bx_image_resolve(c.rows, c.n_rows, text, &i, &by_id, err)) < 0)
        return r;
    row = &c.rows[i];
    image = c.names[i].image;
    if (bx_info_add(info, "reference", row->reference) < 0 ||
        bx_info_add(info, "id", row->config_digest) < 0 ||
        bx_info_add(info, "manifest", row->manifest_digest) < 0 ||
        bx_info_addf(info, "layers", "%zu", image->manifest.layer_count) < 0 ||
        bx_info_addf(info, "cached_at", "%lld", (long long)row->cached_ms / 1000) < 0 ||
        bx_info_addf(info, "used_at", "%lld", (long long)image->used_ms / 1000) < 0 ||
        add_sizes(info, &c, image) < 0)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "inspect an image");
    r = add_names(info, &c, image, err);
    if (r == 0)
        r = bx_image_config(rt, row->manifest_digest, &config, err);
    if (r == 0)
        r = add_config(info, &config, err);
    bx_image_config_done(&config);
    return r;
}

BoxliteErrorCode boxlite_image_inspect(CBoxliteImageHandle *images, const char *reference, CBoxliteInfoCb cb,
                                       void *user_data, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    struct CBoxliteInfo *info;
    struct bx_op *op;
    int r;

    if (!images || !reference || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !images ? "images" : !reference ? "reference" : "cb");
    if (bx_enter(images->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(images->rt, BX_OP_INFO, (union bx_op_cb){.info = cb}, user_data, &err);
    if (op) {
        info = bx_info_new();
        r = info ? describe(images->rt, reference, info, &why)
                 : bx_fail(&why, BX_ERESOURCE, ENOMEM, "inspect an image");
        op->result = info;
        bx_op_answer(op, r < 0 ? &why : NULL);
    }
    bx_leave(images->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}
