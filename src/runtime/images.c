/* SPDX-License-Identifier: Apache-2.0 */
/* images.c - the calls about images. */
#include <errno.h>
#include <string.h>

#include "image/manifest.h"
#include "image/reference.h"
#include "runtime/load.h"
#include "runtime/pull.h"
#include "runtime/runtime.h"

BoxliteErrorCode boxlite_runtime_images(CBoxliteRuntime *rt, CBoxliteImageHandle **out_images,
                                        CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    struct CBoxliteImageHandle *h;

    if (!rt || !out_images)
        return bx_api_invalid(out_error, "%s is NULL", !rt ? "runtime" : "out_images");
    *out_images = NULL;
    if (bx_enter(rt, &err) < 0)
        return bx_api_error(out_error, &err);
    h = calloc(1, sizeof(*h));
    if (h) {
        h->rt = rt;
        bx_rt_ref(rt);
    } else {
        bx_fail(&err, BX_ERESOURCE, ENOMEM, "images");
    }
    bx_leave(rt);
    *out_images = h;
    return h ? Ok : bx_api_error(out_error, &err);
}

void boxlite_image_free(CBoxliteImageHandle *images)
{
    struct CBoxliteRuntime *rt;

    if (!images)
        return;
    rt = images->rt;
    free(images);
    pthread_mutex_lock(&rt->lock);
    if (!bx_rt_unref(rt))
        bx_leave(rt);
}

/* Of its blobs, each counted once; of a row that cannot be read, what whoever wrote it thought. */
static uint64_t size_of_row(const struct bx_image_row *row)
{
    struct bx_manifest m = {0};
    uint64_t size = strlen(row->manifest);
    size_t i, k;

    if (bx_manifest_parse(row->manifest, strlen(row->manifest), &m, NULL) < 0)
        return row->size;
    size += m.config.size;
    for (i = 0; i < m.layer_count; i++) {
        for (k = 0; k < i && !bx_streq(m.layers[k].digest, m.layers[i].digest); k++)
            ;
        size += k == i ? m.layers[i].size : 0;
    }
    bx_manifest_done(&m);
    return size;
}

/* Repository and tag as a user would type them. */
static int info_of_row(const struct bx_image_row *row, CImageInfo *ret, struct bx_err *err)
{
    struct bx_reference ref;
    int r = bx_reference_parse(row->reference, &ref, err);

    if (r < 0)
        return bx_prefix(err, "image row");
    ret->tag = bx_strf("%s", ref.tag[0] ? ref.tag : "<none>");
    ref.tag[0] = ref.digest[0] = '\0';
    ret->repository = bx_reference_familiar(&ref);
    ret->reference = bx_strf("%s", row->reference);
    ret->id = bx_strf("%s", row->config_digest);
    ret->cached_at = row->cached_ms / 1000;
    ret->size = size_of_row(row);
    ret->has_size = 1;
    if (!ret->tag || !ret->repository || !ret->reference || !ret->id)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "list images");
    return 0;
}

static int list_locked(struct CBoxliteRuntime *rt, CImageInfoList *list, struct bx_err *err)
{
    struct bx_image_row *rows = NULL;
    size_t n = 0, i;
    int r = bx_store_image_list(rt->store, &rows, &n, err);

    if (r < 0)
        return r;
    list->items = calloc(n ? n : 1, sizeof(list->items[0]));
    if (!list->items) {
        bx_image_rows_free(rows, n);
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "list images");
    }
    for (i = 0; i < n && r >= 0; i++) {
        list->count++; /* also half filled: it is freed with the list */
        r = info_of_row(&rows[i], &list->items[i], err);
    }
    bx_image_rows_free(rows, n);
    return r;
}

BoxliteErrorCode boxlite_image_list(CBoxliteImageHandle *images, CBoxImageListCb cb, void *user_data,
                                    CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    CImageInfoList *list;
    struct bx_op *op;
    int r;

    if (!images || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !images ? "images" : "cb");
    if (bx_enter(images->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(images->rt, BX_OP_IMAGE_LIST, (union bx_op_cb){.image_list = cb}, user_data, &err);
    if (op) {
        list = calloc(1, sizeof(*list));
        r = list ? list_locked(images->rt, list, &why) : bx_fail(&why, BX_ERESOURCE, ENOMEM, "list images");
        op->result = list;
        bx_op_answer(op, r < 0 ? &why : NULL);
    }
    bx_leave(images->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}

BoxliteErrorCode boxlite_image_pull(CBoxliteImageHandle *images, const char *reference, CBoxImagePullCb cb,
                                    void *user_data, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    struct bx_reference ref;
    struct bx_op *op;

    if (!images || !reference || !cb)
        return bx_api_invalid(out_error, "%s is NULL",
                              !images      ? "images"
                              : !reference ? "reference"
                                           : "cb");
    if (bx_reference_parse(reference, &ref, &err) < 0 || bx_enter(images->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(images->rt, BX_OP_PULLED, (union bx_op_cb){.pulled = cb}, user_data, &err);
    if (op && bx_pull_begin(images->rt, reference, op, &why) < 0)
        bx_op_answer(op, &why);
    bx_leave(images->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}

BoxliteErrorCode boxlite_image_load(CBoxliteImageHandle *images, const char *path, const char *name,
                                    CBoxImagePullCb cb, void *user_data, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_reference ref;
    struct bx_op *op;

    if (!images || !path || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !images ? "images" : !path ? "path" : "cb");
    if (name && bx_reference_parse(name, &ref, &err) < 0) {
        bx_prefix(&err, "name");
        return bx_api_error(out_error, &err);
    }
    if (bx_enter(images->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(images->rt, BX_OP_PULLED, (union bx_op_cb){.pulled = cb}, user_data, &err);
    if (op) {
        struct bx_err why = BX_ERR_INIT;

        if (bx_load_begin(images->rt, path, name, op, &why) < 0)
            bx_op_answer(op, &why);
    }
    bx_leave(images->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}
