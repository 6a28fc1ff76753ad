/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest.c - reading the JSON of images.
 *
 * Everything here comes from strangers. Unknown keys are allowed (the specifications say so); whatever is used is checked for type,
 * length and form, and the error names the document and the path in it. Media types may be missing in OCI documents: the
 * shape then decides what a document is.
 */
#include "image/manifest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "host/json.h"
#include "image/reference.h"

#define NAME_LEN_MAX 1024
#define TEXT_MAX (128 * 1024)
#define LIST_MAX 4096
#define BLOB_SIZE_MAX (1ull << 42)

static const struct bx_json_limits image_limits = { .bytes = BX_IMAGE_JSON_MAX, .depth = 32, .values = 131072 };

/* Errors of these documents are the image's. */
static int as_image_error(struct bx_err *err, int r)
{
    if (r < 0 && err)
        err->code = BX_EIMAGE;
    return r < 0 ? -BX_EIMAGE : r;
}

static int copy_opt(const struct bx_json *o, const char *key, char *dst, size_t size, struct bx_err *err)
{
    const char *s = NULL;
    dst[0] = '\0';
    int r = bx_json_opt_str(o, key, size - 1, &s, err);
    if (r > 0)
        snprintf(dst, size, "%s", s);
    return r < 0 ? r : 0;
}

static int dup_opt(const struct bx_json *o, const char *key, size_t max, char **ret, struct bx_err *err)
{
    const char *s = NULL;
    int r = bx_json_opt_str(o, key, max, &s, err);
    if (r <= 0 || s[0] == '\0')
        return r < 0 ? r : 0;
    *ret = strdup(s);
    return *ret ? 0 : bx_fail(err, BX_EINTERNAL, ENOMEM, "read an image");
}

static int parse_platform(const struct bx_json *o, struct bx_descriptor *ret, struct bx_err *err)
{
    struct bx_json p;
    int r = bx_json_opt_obj(o, "platform", &p, err);
    if (r <= 0)
        return r;
    r = copy_opt(&p, "os", ret->os, sizeof(ret->os), err);
    if (r == 0)
        r = copy_opt(&p, "architecture", ret->arch, sizeof(ret->arch), err);
    if (r == 0)
        r = copy_opt(&p, "variant", ret->variant, sizeof(ret->variant), err);
    return r;
}

static int parse_ref_name(const struct bx_json *o, struct bx_descriptor *ret, struct bx_err *err)
{
    static const char *const keys[] = { "io.containerd.image.name", "org.opencontainers.image.ref.name" };
    struct bx_json a;
    int r = bx_json_opt_obj(o, "annotations", &a, err);
    if (r <= 0)
        return r;
    for (size_t i = 0; i < BX_ARRAY_SIZE(keys) && !ret->ref_name; i++) {
        r = dup_opt(&a, keys[i], NAME_LEN_MAX, &ret->ref_name, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int parse_descriptor(const struct bx_json *o, struct bx_descriptor *ret, struct bx_err *err)
{
    const char *digest = NULL;
    int r = bx_json_as_obj(o, err);
    if (r == 0)
        r = bx_json_str(o, "digest", sizeof(ret->digest) - 1, &digest, err);
    if (r < 0)
        return r;
    if (!bx_digest_valid(digest))
        return bx_json_fail(o, err, "has a digest that is not sha256: and 64 hexadecimal digits");
    snprintf(ret->digest, sizeof(ret->digest), "%s", digest);
    r = bx_json_u64(o, "size", 0, BLOB_SIZE_MAX, &ret->size, err);
    if (r == 0)
        r = copy_opt(o, "mediaType", ret->media_type, sizeof(ret->media_type), err);
    if (r == 0)
        r = parse_platform(o, ret, err);
    if (r == 0)
        r = parse_ref_name(o, ret, err);
    return r;
}

static int parse_descriptors(const struct bx_json *o, const char *key, size_t max, struct bx_descriptor **ret,
                             size_t *ret_n, struct bx_err *err)
{
    struct bx_json arr;
    size_t n = 0;
    int r = bx_json_arr(o, key, max, &arr, &n, err);
    if (r < 0)
        return r;
    struct bx_descriptor *items = calloc(n ? n : 1, sizeof(*items));
    if (!items)
        return bx_fail(err, BX_EINTERNAL, ENOMEM, "read an image");
    *ret = items;
    *ret_n = n;
    for (size_t i = 0; i < n && r == 0; i++) {
        struct bx_json item = bx_json_item(&arr, i);
        r = parse_descriptor(&item, &items[i], err);
    }
    return r;
}

static void descriptors_free(struct bx_descriptor *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(items[i].ref_name);
    free(items);
}

int bx_index_parse(const char *json, size_t len, struct bx_index *ret, struct bx_err *err)
{
    bx_cleanup_json struct bx_json root = { 0 };
    struct bx_index index = { 0 };
    int r = bx_json_parse(json, len, &image_limits, "image index", &root, err);
    if (r == 0)
        r = parse_descriptors(&root, "manifests", BX_IMAGE_MANIFESTS_MAX, &index.items, &index.count, err);
    if (r < 0) {
        bx_index_done(&index);
        return as_image_error(err, r);
    }
    *ret = index;
    return 0;
}

void bx_index_done(struct bx_index *i)
{
    descriptors_free(i->items, i->count);
    *i = (struct bx_index){ 0 };
}

static bool is_attestation(const struct bx_descriptor *d)
{
    return bx_streq(d->os, "unknown") && bx_streq(d->arch, "unknown");
}

/* "v8" as 8; 0 for none, and for what is written in another way, which fits only itself. */
static unsigned variant_number(const char *arch, const char *variant)
{
    uint64_t n = 0;

    if (variant[0] == '\0' && bx_streq(arch, "arm64"))
        return 8;
    if (variant[0] == '\0' && bx_streq(arch, "amd64"))
        return 1;
    return variant[0] == 'v' && bx_parse_u64(variant + 1, 1, 1000, &n) == 0 ? (unsigned)n : 0;
}

/* How well an entry of this architecture fits the wanted variant: higher is better, 0 is not at all. A processor runs what was made for
 * its predecessors; "" wants what every processor runs. */
static unsigned variant_fit(const char *arch, const char *wanted, const char *has)
{
    unsigned want = variant_number(arch, wanted);
    unsigned have = variant_number(arch, has);

    if (bx_streq(wanted, has))
        return 3000;
    if (wanted[0] == '\0')
        return 1001 - have;
    if (want && have)
        return have <= want ? 1000 + have : 0;
    return has[0] == '\0' ? 1 : 0;
}

const struct bx_descriptor *bx_index_select(const struct bx_index *i, const char *os, const char *arch, const char *variant)
{
    const struct bx_descriptor *best = NULL, *unnamed = NULL;
    unsigned best_fit = 0;

    for (size_t k = 0; k < i->count; k++) {
        const struct bx_descriptor *d = &i->items[k];
        unsigned fit;

        if (is_attestation(d))
            continue;
        if (d->os[0] == '\0' && d->arch[0] == '\0') {
            unnamed = unnamed ? unnamed : d;
            continue;
        }
        if (!bx_streq(d->os, os) || !bx_streq(d->arch, arch))
            continue;
        fit = variant_fit(arch, variant, d->variant);
        if (fit > best_fit) {
            best = d;
            best_fit = fit;
        }
    }
    return best ? best : unnamed;
}

enum bx_doc_kind bx_doc_kind(const char *json, size_t len)
{
    bx_cleanup_json struct bx_json root = { 0 };
    if (bx_json_parse(json, len, &image_limits, "document", &root, NULL) < 0)
        return BX_DOC_UNKNOWN;
    struct bx_json part;
    size_t n = 0;
    if (bx_json_opt_arr(&root, "manifests", BX_IMAGE_MANIFESTS_MAX, &part, &n, NULL) > 0)
        return BX_DOC_INDEX;
    if (bx_json_opt_arr(&root, "layers", BX_IMAGE_LAYERS_MAX, &part, &n, NULL) > 0)
        return BX_DOC_MANIFEST;
    return BX_DOC_UNKNOWN;
}

/* Schema 1 and artifacts look like manifests but hold no image. */
static int check_manifest_kind(const struct bx_json *root, struct bx_err *err)
{
    uint64_t version = 0;
    const char *type = NULL;
    int r = bx_json_u64(root, "schemaVersion", 0, 1000, &version, err);
    if (r < 0)
        return r;
    if (version == 1)
        return bx_fail(err, BX_EIMAGE, 0, "the image is in Docker's schema 1, which has no digests of its content: push it again with a "
                                          "current Docker");
    if (version != 2)
        return bx_fail(err, BX_EIMAGE, 0, "manifest: schemaVersion %llu is not known", (unsigned long long)version);
    r = bx_json_opt_str(root, "artifactType", 256, &type, err);
    if (r > 0) {
        char shown[128];
        bx_str_printable(shown, sizeof(shown), type, strlen(type));
        return bx_fail(err, BX_EIMAGE, 0, "this is an artifact of type %s, not an image", shown);
    }
    return r < 0 ? r : 0;
}

int bx_manifest_parse(const char *json, size_t len, struct bx_manifest *ret, struct bx_err *err)
{
    bx_cleanup_json struct bx_json root = { 0 };
    struct bx_manifest m = { 0 };
    struct bx_json config;
    int r = bx_json_parse(json, len, &image_limits, "image manifest", &root, err);
    if (r == 0)
        r = check_manifest_kind(&root, err);
    if (r == 0)
        r = copy_opt(&root, "mediaType", m.media_type, sizeof(m.media_type), err);
    if (r == 0)
        r = bx_json_obj(&root, "config", &config, err);
    if (r == 0)
        r = parse_descriptor(&config, &m.config, err);
    if (r == 0)
        r = parse_descriptors(&root, "layers", BX_IMAGE_LAYERS_MAX, &m.layers, &m.layer_count, err);
    if (r < 0) {
        bx_manifest_done(&m);
        return as_image_error(err, r);
    }
    *ret = m;
    return 0;
}

void bx_manifest_done(struct bx_manifest *m)
{
    free(m->config.ref_name);
    descriptors_free(m->layers, m->layer_count);
    *m = (struct bx_manifest){ 0 };
}

static int parse_run_config(const struct bx_json *o, struct bx_image_config *ret, struct bx_err *err)
{
    int r = bx_json_opt_strv(o, "Env", LIST_MAX, TEXT_MAX, &ret->env, err);
    if (r >= 0)
        r = bx_json_opt_strv(o, "Entrypoint", LIST_MAX, TEXT_MAX, &ret->entrypoint, err);
    if (r >= 0)
        r = bx_json_opt_strv(o, "Cmd", LIST_MAX, TEXT_MAX, &ret->cmd, err);
    if (r >= 0)
        r = dup_opt(o, "WorkingDir", 4095, &ret->working_dir, err);
    if (r >= 0)
        r = dup_opt(o, "User", 255, &ret->user, err);
    if (r >= 0)
        r = dup_opt(o, "StopSignal", 32, &ret->stop_signal, err);
    return r < 0 ? r : 0;
}

static int parse_diff_ids(const struct bx_json *root, struct bx_image_config *ret, struct bx_err *err)
{
    struct bx_json rootfs;
    int r = bx_json_opt_obj(root, "rootfs", &rootfs, err);
    if (r <= 0)
        return r;
    r = bx_json_opt_strv(&rootfs, "diff_ids", BX_IMAGE_LAYERS_MAX, 71, &ret->diff_ids, err);
    if (r <= 0)
        return r;
    for (char **d = ret->diff_ids; d && *d; d++) {
        if (!bx_digest_valid(*d))
            return bx_json_fail(&rootfs, err, "has a diff_id that is not sha256: and 64 hexadecimal digits");
    }
    return 0;
}

int bx_image_config_parse(const char *json, size_t len, struct bx_image_config *ret, struct bx_err *err)
{
    bx_cleanup_json struct bx_json root = { 0 };
    struct bx_image_config c = { 0 };
    struct bx_json config;
    int r = bx_json_parse(json, len, &image_limits, "image configuration", &root, err);
    if (r == 0)
        r = copy_opt(&root, "os", c.os, sizeof(c.os), err);
    if (r == 0)
        r = copy_opt(&root, "architecture", c.arch, sizeof(c.arch), err);
    if (r == 0)
        r = copy_opt(&root, "variant", c.variant, sizeof(c.variant), err);
    if (r == 0)
        r = parse_diff_ids(&root, &c, err);
    if (r == 0)
        r = bx_json_opt_obj(&root, "config", &config, err);
    if (r > 0)
        r = parse_run_config(&config, &c, err);
    if (r < 0) {
        bx_image_config_done(&c);
        return as_image_error(err, r);
    }
    *ret = c;
    return 0;
}

void bx_image_config_done(struct bx_image_config *c)
{
    bx_strv_free(c->env);
    bx_strv_free(c->entrypoint);
    bx_strv_free(c->cmd);
    bx_strv_free(c->diff_ids);
    free(c->working_dir);
    free(c->user);
    free(c->stop_signal);
    *c = (struct bx_image_config){ 0 };
}

static int parse_save_item(const struct bx_json *o, struct bx_docker_save_item *ret, struct bx_err *err)
{
    int r = bx_json_as_obj(o, err);
    if (r == 0)
        r = dup_opt(o, "Config", NAME_LEN_MAX, &ret->config, err);
    if (r >= 0)
        r = bx_json_opt_strv(o, "RepoTags", 256, NAME_LEN_MAX, &ret->repo_tags, err);
    if (r >= 0)
        r = bx_json_opt_strv(o, "Layers", BX_IMAGE_LAYERS_MAX, NAME_LEN_MAX, &ret->layers, err);
    if (r >= 0 && (!ret->config || !ret->layers))
        r = bx_json_fail(o, err, "lacks Config or Layers");
    return r < 0 ? r : 0;
}

int bx_docker_save_parse(const char *json, size_t len, struct bx_docker_save *ret, struct bx_err *err)
{
    bx_cleanup_json struct bx_json root = { 0 };
    struct bx_docker_save d = { 0 };
    int r = bx_json_parse(json, len, &image_limits, "manifest.json", &root, err);
    if (r == 0 && !bx_json_is_arr(&root))
        r = bx_json_fail(&root, err, "is not a list");
    size_t n = r == 0 ? bx_json_len(&root) : 0;
    if (n > BX_IMAGE_MANIFESTS_MAX)
        r = bx_json_fail(&root, err, "names more than %d images", BX_IMAGE_MANIFESTS_MAX);
    if (r == 0) {
        d.items = calloc(n ? n : 1, sizeof(*d.items));
        if (!d.items)
            r = bx_fail(err, BX_EINTERNAL, ENOMEM, "read an image");
    }
    for (; r == 0 && d.count < n; d.count++) {
        struct bx_json item = bx_json_item(&root, d.count);
        r = parse_save_item(&item, &d.items[d.count], err);
    }
    if (r < 0) {
        d.count = d.items ? n : 0;
        bx_docker_save_done(&d);
        return as_image_error(err, r);
    }
    *ret = d;
    return 0;
}

void bx_docker_save_done(struct bx_docker_save *d)
{
    for (size_t i = 0; i < d->count; i++) {
        free(d->items[i].config);
        bx_strv_free(d->items[i].repo_tags);
        bx_strv_free(d->items[i].layers);
    }
    free(d->items);
    *d = (struct bx_docker_save){ 0 };
}
