/* SPDX-License-Identifier: Apache-2.0 */
/*
 * save.c - images as an OCI layout: oci-layout, index.json and the blobs, each once.
 *
 * Blobs are copied as they are, a few MiB per turn of the loop; they are named by their content and never change, and the
 * image lease keeps garbage collection away from them. Media types stay what they were: an image in Docker's schema 2 stays
 * one, and its digest with it. The same images give the same bytes.
 *
 * An image's name in index.json: io.containerd.image.name is the reference in full; org.opencontainers.image.ref.name the
 * tag, by which skopeo finds it, unless another of the images has the same tag: then the reference too.
 */
#include "runtime/save.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/json.h"
#include "image/reference.h"
#include "runtime/adopt.h"
#include "runtime/blobs.h"
#include "runtime/census.h"
#include "runtime/lease.h"
#include "runtime/save_out.h"

#define INDEX_MAX      (4u * 1024 * 1024)
#define IMAGES_MAX     256 /* in an index, as many as are read back */
#define LAYOUT_TEXT    "{\"imageLayoutVersion\":\"1.0.0\"}"
#define DOCKER_TYPE    "application/vnd.docker.distribution.manifest.v2+json"
#define DOCKER_CONFIG  "application/vnd.docker.container.image.v1+json"

struct saved_image {
    char *reference;
    char tag[129];
    char digest[72], media_type[128];
    uint64_t size;
};

struct saved_blob {
    char digest[72];
    uint64_t size;
};

struct save {
    struct save *next; /* in saves of the runtime */
    struct CBoxliteRuntime *rt;
    struct bx_op *op;
    int lease_fd;
    struct bx_source *turn, *writable;
    struct bx_job *job; /* waits for the disk */
    struct saved_image *images;
    size_t n_images;
    struct saved_blob *blobs;
    size_t n_blobs, cap_blobs;
    struct bx_buf index;
    uint64_t total, done;

    struct bx_save_out *out;
    size_t part;  /* 0 oci-layout, 1 index.json, then the blobs, then the end */
    bool open;    /* a part is being written */
    int in_fd;    /* its blob, or -1 */
    uint64_t at, size;
};

/* ---- what is saved ---- */

static int add_blob(struct save *s, const char *digest, uint64_t size, struct bx_err *err)
{
    size_t i;

    for (i = 0; i < s->n_blobs; i++)
        if (bx_streq(s->blobs[i].digest, digest))
            return 0;
    if (s->n_blobs == s->cap_blobs) {
        size_t cap = s->cap_blobs ? 2 * s->cap_blobs : 64;
        struct saved_blob *grown = realloc(s->blobs, cap * sizeof(*grown));

        if (!grown)
            return bx_fail(err, BX_ERESOURCE, ENOMEM, "save an image");
        s->blobs = grown;
        s->cap_blobs = cap;
    }
    snprintf(s->blobs[s->n_blobs].digest, sizeof(s->blobs[0].digest), "%s", digest);
    s->blobs[s->n_blobs++].size = size;
    s->total += size;
    return 0;
}

static int add_image(struct save *s, const struct bx_image_row *row, struct bx_err *err)
{
    struct saved_image *image = &s->images[s->n_images];
    bx_cleanup_adopt struct bx_adopt a = {0};
    struct bx_reference ref;
    size_t i;
    int r;

    for (i = 0; i < s->n_images; i++)
        if (bx_streq(s->images[i].reference, row->reference))
            return 0;
    if ((r = bx_adopt_manifest(s->rt, row->manifest_digest, &a, err)) < 0 ||
        (r = bx_reference_parse(row->reference, &ref, err)) < 0)
        return r;
    image->reference = bx_strf("%s", row->reference);
    if (!image->reference)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "save an image");
    s->n_images++;
    image->size = strlen(a.text);
    snprintf(image->tag, sizeof(image->tag), "%s", ref.tag);
    snprintf(image->digest, sizeof(image->digest), "%s", a.digest);
    if (a.manifest.media_type[0])
        snprintf(image->media_type, sizeof(image->media_type), "%s", a.manifest.media_type);
    else
        snprintf(image->media_type, sizeof(image->media_type), "%s",
                 bx_streq(a.manifest.config.media_type, DOCKER_CONFIG) ? DOCKER_TYPE : BX_OCI_MANIFEST);
    if ((r = add_blob(s, a.digest, image->size, err)) < 0)
        return r;
    r = add_blob(s, a.manifest.config.digest, a.manifest.config.size, err);
    for (i = 0; i < a.manifest.layer_count && r == 0; i++)
        r = add_blob(s, a.manifest.layers[i].digest, a.manifest.layers[i].size, err);
    return r;
}

static int find_images(struct save *s, const char *const *references, size_t count, struct bx_err *err)
{
    struct bx_image_row *rows = NULL;
    size_t n = 0, i, at = 0;
    bool by_id;
    int r = bx_store_image_list(s->rt->store, &rows, &n, err);

    s->images = calloc(count, sizeof(s->images[0]));
    if (r == 0 && !s->images)
        r = bx_fail(err, BX_ERESOURCE, ENOMEM, "save an image");
    for (i = 0; i < count && r == 0; i++) {
        r = bx_image_resolve(rows, n, references[i], &at, &by_id, err);
        if (r == 0 && (r = add_image(s, &rows[at], err)) < 0)
            bx_prefix(err, "image %.200s", references[i]);
    }
    bx_image_rows_free(rows, n);
    return r;
}

/* ---- index.json ---- */

static bool tag_is_unique(const struct save *s, const struct saved_image *image)
{
    size_t i, n = 0;

    for (i = 0; i < s->n_images; i++)
        n += bx_streq(s->images[i].tag, image->tag);
    return n == 1 && image->tag[0];
}

static int write_index(struct save *s, struct bx_err *err)
{
    struct bx_jw w;
    size_t i;

    bx_jw_init(&w, &s->index, false);
    bx_jw_obj(&w, NULL);
    bx_jw_u64(&w, "schemaVersion", 2);
    bx_jw_str(&w, "mediaType", BX_OCI_INDEX);
    bx_jw_arr(&w, "manifests");
    for (i = 0; i < s->n_images; i++) {
        const struct saved_image *image = &s->images[i];

        bx_jw_obj(&w, NULL);
        bx_jw_str(&w, "mediaType", image->media_type);
        bx_jw_str(&w, "digest", image->digest);
        bx_jw_u64(&w, "size", image->size);
        bx_jw_obj(&w, "annotations");
        bx_jw_str(&w, "io.containerd.image.name", image->reference);
        bx_jw_str(&w, "org.opencontainers.image.ref.name", tag_is_unique(s, image) ? image->tag : image->reference);
        bx_jw_end(&w);
        bx_jw_obj(&w, "platform");
        bx_jw_str(&w, "architecture", BX_IMAGE_ARCH);
        bx_jw_str(&w, "os", BX_IMAGE_OS);
        bx_jw_end(&w);
        bx_jw_end(&w);
    }
    bx_jw_end(&w);
    bx_jw_end(&w);
    return bx_jw_finish(&w, err);
}

/* ---- end ---- */

static void save_free(struct save *s)
{
    struct save **p = &s->rt->saves;
    size_t i;

    for (; *p; p = &(*p)->next)
        if (*p == s) {
            *p = s->next;
            break;
        }
    bx_job_kill(s->job);
    bx_source_remove(s->turn);
    bx_source_remove(s->writable);
    bx_save_out_free(s->out);
    bx_close(s->in_fd);
    bx_close(s->lease_fd);
    for (i = 0; i < s->n_images; i++)
        free(s->images[i].reference);
    free(s->images);
    free(s->blobs);
    bx_buf_done(&s->index);
    free(s);
}

static void save_end(struct save *s, const struct bx_err *err)
{
    struct bx_op *op = s->op;

    save_free(s);
    bx_op_answer(op, err);
}

void bx_saves_end(struct CBoxliteRuntime *rt)
{
    struct bx_err why = BX_ERR_INIT;

    bx_fail(&why, BX_ESTOPPED, 0, "the runtime was freed");
    while (rt->saves)
        save_end(rt->saves, &why);
}

/* ---- writing ---- */

static int begin_blob(struct save *s, const struct saved_blob *blob, struct bx_err *err)
{
    char name[80];
    struct stat st;

    s->in_fd = bx_blob_open(s->rt->blobs_fd, blob->digest, err);
    if (s->in_fd < 0)
        return bx_prefix(err, "the image is not complete");
    if (fstat(s->in_fd, &st) < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "read %s", blob->digest);
    if ((uint64_t)st.st_size != blob->size)
        return bx_fail(err, BX_ESTORAGE, 0, "the store is damaged: %s has %lld bytes, not %llu", blob->digest,
                       (long long)st.st_size, (unsigned long long)blob->size);
    s->at = 0;
    s->size = blob->size;
    snprintf(name, sizeof(name), "blobs/sha256/%s", blob->digest + 7);
    return bx_save_out_begin(s->out, name, blob->size, err);
}

static int begin_text(struct save *s, const char *name, const void *text, size_t len, struct bx_err *err)
{
    int r = bx_save_out_begin(s->out, name, len, err);

    return r < 0 ? r : bx_save_out_add(s->out, text, len, err);
}

/* The next part, or the end: *ret_last. */
static int next_part(struct save *s, bool *ret_last, struct bx_err *err)
{
    size_t part = s->part++;

    *ret_last = part == s->n_blobs + 2;
    if (*ret_last)
        return bx_save_out_finish(s->out, err);
    s->open = true;
    if (part == 0)
        return begin_text(s, "oci-layout", LAYOUT_TEXT, strlen(LAYOUT_TEXT), err);
    if (part == 1)
        return begin_text(s, "index.json", bx_buf_data(&s->index), bx_buf_len(&s->index), err);
    return begin_blob(s, &s->blobs[part - 2], err);
}

static void on_synced(void *ud, const char *text, size_t len)
{
    struct save *s = ud;
    struct bx_err err = BX_ERR_INIT;

    s->job = NULL;
    if (bx_job_unpack_result(text, len, &err) < 0) {
        save_end(s, &err);
        return;
    }
    bx_save_out_synced(s->out);
    bx_defer_set(s->turn);
}

/* To the disk: of more than a little boxlite-unpack waits for it. 1: done, 0: on_synced will tell. */
static int sync_out(struct save *s, struct bx_err *err)
{
    struct stat st;

    if (fstat(bx_save_out_fd(s->out), &st) < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "save an image");
    if ((uint64_t)st.st_size > BX_SYNC_HERE_MAX) {
        s->job = bx_unpack_start(s->rt, "sync", bx_save_out_fd(s->out), -1, 0, on_synced, s, err);
        return s->job ? 0 : -err->code;
    }
    if (fsync(bx_save_out_fd(s->out)) < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "save an image");
    bx_save_out_synced(s->out);
    return 1;
}

static int copy_some(struct save *s, struct bx_err *err)
{
    ssize_t n = bx_save_out_copy(s->out, s->in_fd, s->at, s->size - s->at, err);

    if (n < 0)
        return (int)n;
    s->at += (uint64_t)n;
    s->done += (uint64_t)n;
    bx_progress(s->rt, "", "save", s->done, s->total);
    return 0;
}

static int end_part(struct save *s, struct bx_err *err)
{
    s->open = false;
    s->in_fd = bx_close(s->in_fd);
    s->at = s->size = 0;
    return bx_save_out_end(s->out, err);
}

/* One bounded step. 1: go on, 0: something is waited for, 2: all is done. */
static int step(struct save *s, struct bx_err *err)
{
    bool last = false;
    int r = bx_save_out_push(s->out, err);

    if (r <= 0)
        return r;
    if (bx_save_out_unsynced(s->out))
        return sync_out(s, err);
    if (s->at < s->size)
        r = copy_some(s, err);
    else if (s->open)
        r = end_part(s, err);
    else if (s->part > s->n_blobs + 2)
        return 2;
    else
        r = next_part(s, &last, err);
    return r < 0 ? r : 1;
}

static void on_writable(struct bx_source *w, int fd, uint32_t events, void *ud)
{
    struct save *s = ud;

    (void)w, (void)fd, (void)events;
    s->writable = bx_source_remove(s->writable);
    bx_defer_set(s->turn);
}

static void on_turn(struct bx_source *turn, void *ud)
{
    struct save *s = ud;
    struct bx_err err = BX_ERR_INIT;
    int r = step(s, &err);

    if (r == 2)
        r = bx_save_out_publish(s->out, &err) < 0 ? -err.code : 2;
    if (r == 0 && !s->job) {
        s->writable = bx_loop_add_fd(s->rt->loop, bx_save_out_fd(s->out), BX_WRITE, on_writable, s);
        if (!s->writable)
            r = bx_fail(&err, BX_ERESOURCE, errno, "save an image");
    }
    if (r < 0 || r == 2)
        save_end(s, r < 0 ? &err : NULL);
    else if (r == 1)
        bx_defer_set(turn);
}

int bx_save_begin(struct CBoxliteRuntime *rt, const char *const *references, size_t count, const char *path,
                  const char *format, struct bx_op *op, struct bx_err *err)
{
    struct save *s;
    int r;

    if (count == 0 || count > IMAGES_MAX)
        return bx_fail(err, BX_EINVALID, 0, "between 1 and %d images are saved at a time", IMAGES_MAX);
    s = calloc(1, sizeof(*s));
    if (!s)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "save an image");
    s->rt = rt;
    s->op = op;
    s->in_fd = -1;
    bx_buf_init(&s->index, INDEX_MAX);
    s->next = rt->saves;
    rt->saves = s;
    s->lease_fd = r = bx_image_lease(rt, err);
    if (r >= 0 && (r = find_images(s, references, count, err)) == 0 && (r = write_index(s, err)) == 0 &&
        (r = bx_save_out_open(path, format, &s->out, err)) == 0) {
        s->turn = bx_loop_add_defer(rt->loop, on_turn, s);
        if (!s->turn)
            r = bx_fail(err, BX_ERESOURCE, errno, "save an image");
    }
    if (r < 0)
        save_free(s);
    else
        bx_defer_set(s->turn);
    return r < 0 ? r : 0;
}
