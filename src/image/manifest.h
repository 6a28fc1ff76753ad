/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest.h - the JSON of images: index, manifest and config of OCI and of Docker (schema 2), and docker save's manifest.json.
 *
 * All of it is hostile: sizes, counts, digests and media types are checked here, once. Source: OCI image-spec 1.1 (manifest.md,
 * image-index.md, config.md), Docker image v1.2 (docker save).
 */
#ifndef BX_IMAGE_MANIFEST_H
#define BX_IMAGE_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define BX_IMAGE_JSON_MAX (4u * 1024 * 1024)
#define BX_IMAGE_LAYERS_MAX 512
#define BX_IMAGE_MANIFESTS_MAX 256

/* Media types of documents that are written here. */
#define BX_OCI_INDEX    "application/vnd.oci.image.index.v1+json"
#define BX_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define BX_OCI_CONFIG   "application/vnd.oci.image.config.v1+json"
#define BX_OCI_LAYER    "application/vnd.oci.image.layer.v1.tar" /* and "+gzip", "+zstd" */

struct bx_descriptor {
    char digest[72];
    char media_type[128];
    uint64_t size;
    char *ref_name;        /* org.opencontainers.image.ref.name or io.containerd.image.name; NULL */
    char os[32], arch[32], variant[32]; /* "" when not said */
};

struct bx_index {
    struct bx_descriptor *items;
    size_t count;
};
int bx_index_parse(const char *json, size_t len, struct bx_index *ret, struct bx_err *err);
void bx_index_done(struct bx_index *i);
/*
 * The entry for this platform, or NULL. Of several variants the exact one, otherwise the highest that the wanted one runs ("v7" runs v6,
 * not v8); variant "" takes the one that every processor runs. Without any, the first entry that names no platform: it may be an index
 * again.
 */
const struct bx_descriptor *bx_index_select(const struct bx_index *i, const char *os, const char *arch, const char *variant);

struct bx_manifest {
    char media_type[128]; /* "" when it does not say */
    struct bx_descriptor config;
    struct bx_descriptor *layers;
    size_t layer_count;
};
/* Refuses schema 1 and anything that is not a manifest, naming what it found. */
int bx_manifest_parse(const char *json, size_t len, struct bx_manifest *ret, struct bx_err *err);
void bx_manifest_done(struct bx_manifest *m);
/* Is this document an index, a manifest, or neither? */
enum bx_doc_kind { BX_DOC_UNKNOWN, BX_DOC_INDEX, BX_DOC_MANIFEST };
enum bx_doc_kind bx_doc_kind(const char *json, size_t len);

struct bx_image_config {
    char os[32], arch[32], variant[32];
    char **env;         /* NULL-terminated lists; NULL = not given */
    char **entrypoint;
    char **cmd;
    char *working_dir;  /* NULL = not given */
    char *user;
    char *stop_signal;
    char **diff_ids;    /* "sha256:..." one per layer */
};
int bx_image_config_parse(const char *json, size_t len, struct bx_image_config *ret, struct bx_err *err);
void bx_image_config_done(struct bx_image_config *c);

/* docker save: manifest.json = [{Config, RepoTags, Layers}] */
struct bx_docker_save {
    struct bx_docker_save_item {
        char *config;      /* member names in the archive */
        char **repo_tags;
        char **layers;
    } *items;
    size_t count;
};
int bx_docker_save_parse(const char *json, size_t len, struct bx_docker_save *ret, struct bx_err *err);
void bx_docker_save_done(struct bx_docker_save *d);

/* Blob store: <home>/blobs/sha256/<hex>. */
/* Opens a blob for reading; -BX_ENOTFOUND. Descriptor. */
int bx_blob_open(int blobs_dirfd, const char *digest, struct bx_err *err);
bool bx_blob_exists(int blobs_dirfd, const char *digest);
/* Publishes the file `tmp_name` of `tmp_dirfd` (content already verified and fsynced) under its digest, mode 0444. An existing blob wins. */
int bx_blob_publish(int blobs_dirfd, int tmp_dirfd, const char *tmp_name, const char *digest, struct bx_err *err);
int bx_blob_read(int blobs_dirfd, const char *digest, size_t max, char **ret_data, size_t *ret_len, struct bx_err *err);

#endif
