/* SPDX-License-Identifier: Apache-2.0 */
/* adopt.c - see adopt.h. */
#include "runtime/adopt.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/convert.h"

void bx_adopt_done(struct bx_adopt *a)
{
    bx_manifest_done(&a->manifest);
    free(a->text);
    *a = (struct bx_adopt){0};
}

int bx_adopt_manifest(struct CBoxliteRuntime *rt, const char *digest, struct bx_adopt *ret,
                      struct bx_err *err)
{
    bx_cleanup_adopt struct bx_adopt a = {0};
    size_t len = 0;
    int r = bx_blob_read(rt->blobs_fd, digest, BX_IMAGE_JSON_MAX, &a.text, &len, err);

    if (r == 0)
        r = bx_manifest_parse(a.text, len, &a.manifest, err);
    if (r == 0 && a.manifest.layer_count == 0)
        r = bx_fail(err, BX_EIMAGE, 0, "the image has no layers: there is nothing in it to run");
    if (r < 0)
        return r;
    snprintf(a.digest, sizeof(a.digest), "%s", digest);
    *ret = a;
    memset(&a, 0, sizeof(a)); /* it is theirs now */
    return 0;
}

int bx_adopt_check(struct CBoxliteRuntime *rt, const struct bx_adopt *a, struct bx_err *err)
{
    bx_cleanup_free char *text = NULL;
    struct bx_image_config config = {0};
    size_t len = 0;
    int r = bx_blob_read(rt->blobs_fd, a->manifest.config.digest, BX_IMAGE_JSON_MAX, &text, &len, err);

    if (r == 0)
        r = bx_image_config_parse(text, len, &config, err);
    if (r == 0 && (!bx_streq(config.os, BX_IMAGE_OS) || !bx_streq(config.arch, BX_IMAGE_ARCH)))
        r = bx_fail(err, BX_EIMAGE, 0, "the image is for %s/%s, not for " BX_IMAGE_OS "/" BX_IMAGE_ARCH,
                    config.os, config.arch);
    if (r == 0 && config.diff_ids && bx_strv_len(config.diff_ids) != a->manifest.layer_count)
        r = bx_fail(err, BX_EIMAGE, 0, "the image has %zu layers, its configuration names %zu",
                    a->manifest.layer_count, bx_strv_len(config.diff_ids));
    bx_image_config_done(&config);
    return r;
}

static int check_blob(struct CBoxliteRuntime *rt, const struct bx_descriptor *d, struct bx_err *err)
{
    bx_cleanup_close int fd = bx_blob_open(rt->blobs_fd, d->digest, err);
    struct stat st;

    if (fd < 0)
        return bx_prefix(err, "the image is not complete");
    if (fstat(fd, &st) < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "read %s", d->digest);
    if ((uint64_t)st.st_size != d->size)
        return bx_fail(err, BX_EIMAGE, 0, "%s has %llu bytes, the manifest says %llu", d->digest,
                       (unsigned long long)st.st_size, (unsigned long long)d->size);
    return 0;
}

int bx_adopt_put(struct CBoxliteRuntime *rt, const struct bx_adopt *a, const char *reference,
                 struct bx_err *err)
{
    const struct bx_manifest *m = &a->manifest;
    struct bx_image_row row = {.reference = (char *)(uintptr_t)reference,
                               .manifest_digest = (char *)(uintptr_t)a->digest,
                               .config_digest = (char *)(uintptr_t)m->config.digest,
                               .manifest = a->text,
                               .layer_count = (int)m->layer_count,
                               .cached_ms = bx_realtime() / BX_MSEC,
                               .size = m->config.size};
    char disk[BX_DISK_NAME_MAX];
    size_t i;
    int r = check_blob(rt, &m->config, err);

    for (i = 0; i < m->layer_count && r == 0; i++) {
        r = check_blob(rt, &m->layers[i], err);
        row.size += m->layers[i].size;
    }
    if (r < 0)
        return r;
    bx_disk_name(disk, a->digest);
    if (bx_disk_exists(rt, disk))
        row.disk = disk;
    return bx_store_image_put(rt->store, &row, err);
}

CImagePullResult *bx_pull_result(const char *reference, const char *config_digest, int layer_count)
{
    CImagePullResult *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    r->reference = bx_strf("%s", reference);
    r->config_digest = bx_strf("%s", config_digest);
    r->layer_count = layer_count;
    if (r->reference && r->config_digest)
        return r;
    boxlite_free_image_pull_result(r);
    return NULL;
}
