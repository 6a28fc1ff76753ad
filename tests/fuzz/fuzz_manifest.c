/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON of images, as a stranger may write it: index, manifest, configuration, docker save's list. Refused as the image's fault and
 * with words, or read into something that keeps every bound that the rest of the program counts on.
 */
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "image/manifest.h"
#include "image/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void refused(int r, const struct bx_err *err)
{
    bx_assert(r == -BX_EIMAGE && err->code == BX_EIMAGE && err->msg[0]);
    for (const char *p = err->msg; *p; p++)
        bx_assert((unsigned char)*p >= 0x20 && *p != 0x7f);
}

static void check_descriptor(const struct bx_descriptor *d)
{
    bx_assert(bx_digest_valid(d->digest) && d->size <= 1ull << 42);
    bx_assert(strlen(d->media_type) < sizeof(d->media_type) && (!d->ref_name || d->ref_name[0]));
}

static void index_of(const char *json, size_t len)
{
    struct bx_index i;
    struct bx_err err = BX_ERR_INIT;
    const struct bx_descriptor *d;
    int r = bx_index_parse(json, len, &i, &err);

    if (r < 0) {
        refused(r, &err);
        return;
    }
    bx_assert(i.count <= BX_IMAGE_MANIFESTS_MAX);
    for (size_t k = 0; k < i.count; k++)
        check_descriptor(&i.items[k]);
    d = bx_index_select(&i, "linux", "amd64", "");
    bx_assert(!d || (d >= i.items && d < i.items + i.count));
    bx_index_done(&i);
}

static void manifest(const char *json, size_t len)
{
    struct bx_manifest m;
    struct bx_err err = BX_ERR_INIT;
    int r = bx_manifest_parse(json, len, &m, &err);

    if (r < 0) {
        refused(r, &err);
        return;
    }
    bx_assert(m.layer_count <= BX_IMAGE_LAYERS_MAX);
    check_descriptor(&m.config);
    for (size_t k = 0; k < m.layer_count; k++)
        check_descriptor(&m.layers[k]);
    bx_manifest_done(&m);
}

static void config(const char *json, size_t len)
{
    struct bx_image_config c;
    struct bx_err err = BX_ERR_INIT;
    int r = bx_image_config_parse(json, len, &c, &err);

    if (r < 0) {
        refused(r, &err);
        return;
    }
    bx_assert(bx_strv_len(c.diff_ids) <= BX_IMAGE_LAYERS_MAX);
    for (char **d = c.diff_ids; d && *d; d++)
        bx_assert(bx_digest_valid(*d));
    bx_image_config_done(&c);
}

static void docker_save(const char *json, size_t len)
{
    struct bx_docker_save d;
    struct bx_err err = BX_ERR_INIT;
    int r = bx_docker_save_parse(json, len, &d, &err);

    if (r < 0) {
        refused(r, &err);
        return;
    }
    bx_assert(d.count <= BX_IMAGE_MANIFESTS_MAX);
    for (size_t k = 0; k < d.count; k++)
        bx_assert(d.items[k].config && d.items[k].layers && bx_strv_len(d.items[k].layers) <= BX_IMAGE_LAYERS_MAX);
    bx_docker_save_done(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *json = (const char *)data;

    (void)bx_doc_kind(json, size);
    index_of(json, size);
    manifest(json, size);
    config(json, size);
    docker_save(json, size);
    return 0;
}
