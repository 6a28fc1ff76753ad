/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.c - an image from an OCI layout folder, an archive of one, or a `docker save` archive into blob store
 * and rows.
 *
 * Theory of operation
 *
 *  An archive is first taken apart by boxlite-unpack: its members lie one after another in a spool file
 *  without a name, and a list says where each is and what its SHA-256 is. A folder is read as it is.
 *
 *  Then a chain of documents is followed from the top: index.json names manifests or further indexes; each is
 *  fetched by its digest, read, and followed to the manifest for this platform; that names configuration and
 *  layers, which are fetched. To fetch a blob is to have it in the blob store: it is there already; or it is
 *  the member of the archive with that SHA-256, copied a few MiB per turn of the loop; or it is the folder's
 *  file of that name, hashed and copied by boxlite-unpack and refused when its SHA-256 is another. A `docker
 *  save` archive without index.json gets a manifest written here from its manifest.json. So nothing is used
 *  that was not verified, but the names in index.json.
 */
#include "runtime/load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/compose.h"
#include "image/manifest.h"
#include "image/reference.h"
#include "runtime/adopt.h"
#include "runtime/blobs.h"
#include "runtime/events.h"
#include "runtime/lease.h"
#include "runtime/members.h"

#define INDEX_DEPTH_MAX 4
#define COPY_STEP       (4u * 1024 * 1024)

struct bx_load {
    struct bx_load *next; /* in loads of the runtime, when it is a call's */
    struct CBoxliteRuntime *rt;
    bx_load_fn *fn;
    void *ud;
    char *path;
    char *name;   /* NULL: the image's own */
    bx_load_take_fn *take; /* of the image of a folder that gets no name */
    int dir_fd;   /* folder, or -1 */
    int spool_fd; /* archive, or -1 */
    int lease_fd; /* what we add is nobody's garbage */
    struct bx_members members;
    struct bx_job *job;
    struct bx_source *turn;

    char *own_name; /* what the image calls itself */
    unsigned depth;
    char want[72]; /* blob being fetched */
    struct bx_new_blob blob;
    struct bx_made_blob *made;
    const struct bx_member *from;
    uint64_t copied;
    void (*then)(struct bx_load *l); /* when it is in the store */

    struct bx_adopt image;
    size_t next_blob; /* 0 = configuration, then layers */
};

static void follow(struct bx_load *l);

/* ---- end ---- */

struct bx_load *bx_load_free(struct bx_load *l)
{
    struct bx_load **p;

    if (!l)
        return NULL;
    for (p = &l->rt->loads; *p; p = &(*p)->next)
        if (*p == l) {
            *p = l->next;
            break;
        }
    bx_job_kill(l->job);
    bx_made_blob_free(l->made);
    bx_source_remove(l->turn);
    bx_new_blob_drop(&l->blob);
    bx_close(l->dir_fd);
    bx_close(l->spool_fd);
    bx_close(l->lease_fd);
    bx_members_done(&l->members);
    bx_adopt_done(&l->image);
    free(l->own_name);
    free(l->path);
    free(l->name);
    free(l);
    return NULL;
}

static void answer(struct bx_load *l, CImagePullResult *result, const struct bx_err *err)
{
    bx_load_fn *fn = l->fn;
    void *ud = l->ud;
    struct bx_err why;

    if (err) {
        why = *err;
        bx_prefix(&why, "%s %.200s", l->take ? "root file system" : "load", l->path);
    }
    bx_load_free(l);
    fn(ud, result, err ? &why : NULL);
}

static void load_end(struct bx_load *l, const struct bx_err *err)
{
    answer(l, NULL, err);
}

void bx_loads_end(struct CBoxliteRuntime *rt)
{
    struct bx_err why = BX_ERR_INIT;

    bx_fail(&why, BX_ESTOPPED, 0, "the runtime was freed");
    while (rt->loads)
        load_end(rt->loads, &why);
}

/* ---- fetching one blob ---- */

static void fetched(struct bx_load *l, int r, const struct bx_err *err)
{
    if (r < 0)
        load_end(l, err);
    else
        l->then(l);
}

static void on_synced(void *ud, const char *text, size_t len)
{
    struct bx_load *l = ud;
    struct bx_err err = BX_ERR_INIT;
    int r;

    l->job = NULL;
    r = bx_job_unpack_result(text, len, &err);
    if (r == 0)
        r = bx_new_blob_publish(l->rt, &l->blob, l->want, &err);
    fetched(l, r, &err);
}

/* A member was copied. What takes the disk longer than a row is waited for by boxlite-unpack, not by the loop. */
static void copied(struct bx_load *l, uint64_t size)
{
    struct bx_err err = BX_ERR_INIT;

    if (size > BX_SYNC_HERE_MAX) {
        l->job = bx_unpack_start(l->rt, "sync", l->blob.fd, -1, 0, on_synced, l, &err);
        if (!l->job)
            load_end(l, &err);
        return;
    }
    if (fsync(l->blob.fd) < 0) {
        bx_fail(&err, BX_ESTORAGE, errno, "write %s/blobs", l->rt->home);
        load_end(l, &err);
        return;
    }
    fetched(l, bx_new_blob_publish(l->rt, &l->blob, l->want, &err), &err);
}

/* One turn of copying a member of the archive. */
static void on_turn(struct bx_source *s, void *ud)
{
    struct bx_load *l = ud;
    const struct bx_member *m = l->from;
    struct bx_err err = BX_ERR_INIT;
    off_t in = (off_t)(m->at + l->copied), out = (off_t)l->copied;
    size_t step = (size_t)BX_MIN(m->size - l->copied, (uint64_t)COPY_STEP);
    ssize_t n = step ? copy_file_range(l->spool_fd, &in, l->blob.fd, &out, step, 0) : 0;

    if (n < 0 || (n == 0 && step > 0)) {
        bx_fail(&err, BX_ESTORAGE, n < 0 ? errno : EIO, "copy out of the archive");
        fetched(l, -err.code, &err);
        return;
    }
    l->copied += (uint64_t)n;
    bx_progress(l->rt, "", "load layers", l->copied, m->size);
    if (l->copied < m->size) {
        bx_defer_set(s);
        return;
    }
    l->from = NULL;
    copied(l, m->size);
}

static int start_copy(struct bx_load *l, struct bx_err *err)
{
    int r;

    l->from = bx_members_by_digest(&l->members, l->want);
    if (!l->from)
        return bx_fail(err, BX_EIMAGE, 0,
                       "the archive has nothing with digest %s: it is incomplete, or a file was altered",
                       l->want);
    r = bx_new_blob_open(l->rt, &l->blob, err);
    if (r < 0)
        return r;
    l->copied = 0;
    bx_defer_set(l->turn);
    return 0;
}

static void on_hashed(void *ud, const char *text, size_t len)
{
    struct bx_load *l = ud;
    struct bx_err err = BX_ERR_INIT;
    char digest[72];
    int r;

    l->job = NULL;
    r = bx_unpack_digest(text, len, "file", digest, NULL, &err);
    if (r == 0 && !bx_streq(digest, l->want))
        r = bx_fail(&err, BX_EIMAGE, 0, "wrong digest: the file for %s has %s", l->want, digest);
    if (r == 0)
        r = bx_new_blob_publish(l->rt, &l->blob, l->want, &err);
    fetched(l, r, &err);
}

static int start_hash(struct bx_load *l, struct bx_err *err)
{
    bx_cleanup_close int in = -1;
    char name[96];
    int r;

    snprintf(name, sizeof(name), "blobs/sha256/%s", l->want + 7);
    in = bx_open_in_root(l->dir_fd, name, O_RDONLY | O_NONBLOCK, 0);
    if (in < 0)
        return bx_fail(err, BX_EIMAGE, -in, "the folder lacks %s", name);
    r = bx_new_blob_open(l->rt, &l->blob, err);
    if (r < 0)
        return r;
    l->job = bx_unpack_start(l->rt, "hash", in, l->blob.fd, BX_BLOB_SIZE_MAX, on_hashed, l, err);
    return l->job ? 0 : -err->code;
}

static void fetch(struct bx_load *l, const char *digest, void (*then)(struct bx_load *l))
{
    struct bx_err err = BX_ERR_INIT;
    int r;

    snprintf(l->want, sizeof(l->want), "%s", digest);
    l->then = then;
    if (bx_blob_exists(l->rt->blobs_fd, l->want)) {
        then(l);
        return;
    }
    r = l->dir_fd >= 0 ? start_hash(l, &err) : start_copy(l, &err);
    if (r < 0)
        load_end(l, &err);
}

/* ---- the image ---- */

static int choose_name(struct bx_load *l, char **ret, struct bx_err *err)
{
    const char *text = l->name ? l->name : l->own_name;
    struct bx_reference ref;
    int r;

    if (!text)
        return bx_fail(err, BX_EIMAGE, 0, "the image carries no name: give one");
    r = bx_reference_parse(text, &ref, err);
    if (r < 0)
        return bx_prefix(err, "the image's name");
    *ret = bx_reference_canonical(&ref);
    return *ret ? 0 : bx_fail(err, BX_ERESOURCE, ENOMEM, "load an image");
}

/* Everything is in the store: the image gets its row. */
static void complete(struct bx_load *l)
{
    bx_cleanup_free char *reference = NULL;
    CImagePullResult *result = NULL;
    struct bx_err err = BX_ERR_INIT;
    int r;

    if ((r = choose_name(l, &reference, &err)) == 0)
        r = bx_adopt_put(l->rt, &l->image, reference, &err);
    if (r == 0) {
        bx_event_image(l->rt, "image.loaded", reference);
        result = bx_pull_result(reference, l->image.manifest.config.digest, (int)l->image.manifest.layer_count);
        if (!result)
            r = bx_fail(&err, BX_ERESOURCE, ENOMEM, "load an image");
    }
    answer(l, result, r < 0 ? &err : NULL);
}

/* Configuration first: what it says about the platform decides before the layers are copied. */
static void next_blob(struct bx_load *l)
{
    struct bx_err err = BX_ERR_INIT;

    if (l->next_blob == 1 && bx_adopt_check(l->rt, &l->image, &err) < 0) {
        load_end(l, &err);
        return;
    }
    if (l->next_blob == 1 && l->take) {
        load_end(l, l->take(l->ud, &l->image, l->dir_fd, &err) < 0 ? &err : NULL);
        return;
    }
    if (l->next_blob > l->image.manifest.layer_count) {
        complete(l);
        return;
    }
    l->next_blob++;
    fetch(l,
          l->next_blob == 1 ? l->image.manifest.config.digest : l->image.manifest.layers[l->next_blob - 2].digest,
          next_blob);
}

static int take_own_name(struct bx_load *l, const char *name, struct bx_err *err)
{
    if (!name || l->own_name)
        return 0;
    l->own_name = bx_strf("%s", name);
    return l->own_name ? 0 : bx_fail(err, BX_ERESOURCE, ENOMEM, "load an image");
}

/* Names in full are compared: python:3 is docker.io/library/python:3. */
static bool same_name(const char *a, const char *b)
{
    bx_cleanup_free char *full_a = NULL, *full_b = NULL;
    struct bx_reference ref;

    if (!a || !b || bx_streq(a, b))
        return a && b;
    if (bx_reference_parse(a, &ref, NULL) == 0)
        full_a = bx_reference_canonical(&ref);
    if (bx_reference_parse(b, &ref, NULL) == 0)
        full_b = bx_reference_canonical(&ref);
    return full_a && full_b && bx_streq(full_a, full_b);
}

/* Of several images with names of their own none is taken by chance. */
static int check_single(const struct bx_load *l, const struct bx_index *index, struct bx_err *err)
{
    const struct bx_descriptor *first = NULL, *d;

    for (d = index->items; d < index->items + index->count; d++) {
        if (!d->ref_name)
            continue;
        if (!first)
            first = d;
        if (!same_name(d->ref_name, first->ref_name) && !bx_streq(d->digest, first->digest))
            return bx_fail(err, BX_EIMAGE, 0, "there are several images, %.100s and %.100s among them%s%.100s: %s",
                           first->ref_name, d->ref_name, l->name ? ", but no " : "", l->name ? l->name : "",
                           l->take ? "load them, and make the box of one by its name" : "the name says which one to load");
    }
    return 0;
}

/* The entry of an index to go on with. Entries that carry the wanted name come first, then the platform's. */
static int choose_entry(struct bx_load *l, const char *text, size_t len, struct bx_err *err)
{
    const struct bx_descriptor *d = NULL;
    struct bx_index index = {0};
    size_t i;
    int r = bx_index_parse(text, len, &index, err);

    if (r < 0)
        return r;
    for (i = 0; l->name && i < index.count && !d; i++)
        if (same_name(index.items[i].ref_name, l->name))
            d = &index.items[i];
    if (!d) {
        d = bx_index_select(&index, BX_IMAGE_OS, BX_IMAGE_ARCH, "");
        r = check_single(l, &index, err);
    }
    if (!d && index.count == 1 &&
        !index.items[0].arch[0]) /* one manifest or nested index, not said for what */
        d = &index.items[0];
    if (r == 0 && !d)
        r = bx_fail(err, BX_EIMAGE, 0, "no image for " BX_IMAGE_OS "/" BX_IMAGE_ARCH " among %zu", index.count);
    if (r == 0) {
        r = take_own_name(l, d->ref_name, err);
        snprintf(l->want, sizeof(l->want), "%s", d->digest);
    }
    bx_index_done(&index);
    return r;
}

/* A document that the chain led to is in the store. */
static void follow(struct bx_load *l)
{
    bx_cleanup_free char *text = NULL;
    struct bx_err err = BX_ERR_INIT;
    size_t len = 0;
    int r = bx_blob_read(l->rt->blobs_fd, l->want, BX_IMAGE_JSON_MAX, &text, &len, &err);

    if (r == 0 && ++l->depth > INDEX_DEPTH_MAX)
        r = bx_fail(&err, BX_EIMAGE, 0, "indexes nest deeper than %d", INDEX_DEPTH_MAX);
    if (r == 0 && bx_doc_kind(text, len) == BX_DOC_INDEX) {
        r = choose_entry(l, text, len, &err);
        if (r == 0) {
            char digest[72];

            snprintf(digest, sizeof(digest), "%s", l->want);
            fetch(l, digest, follow);
            return;
        }
    } else if (r == 0) {
        r = bx_adopt_manifest(l->rt, l->want, &l->image, &err);
        if (r == 0) {
            next_blob(l);
            return;
        }
    }
    load_end(l, &err);
}

/* index.json is at hand. */
static void begin_index(struct bx_load *l, const char *text, size_t len)
{
    struct bx_err err = BX_ERR_INIT;
    char digest[72];

    if (choose_entry(l, text, len, &err) < 0) {
        load_end(l, &err);
        return;
    }
    snprintf(digest, sizeof(digest), "%s", l->want);
    fetch(l, digest, follow);
}

/* ---- docker save without an index: the manifest it lacks ---- */

/* A member as a blob of the manifest. Compression of layers is recognised by content. */
static int describe(const struct bx_load *l, const char *name, const char *media_type, struct bx_descriptor *ret, struct bx_err *err)
{
    const struct bx_member *m = bx_members_by_name(&l->members, name, true);

    if (!m)
        return bx_fail(err, BX_EIMAGE, 0, "the archive lacks %.200s", name);
    *ret = (struct bx_descriptor){.size = m->size};
    snprintf(ret->media_type, sizeof(ret->media_type), "%s", media_type);
    snprintf(ret->digest, sizeof(ret->digest), "%s", m->digest);
    return 0;
}

static int write_manifest(struct bx_load *l, const struct bx_docker_save_item *item, struct bx_buf *out,
                          struct bx_err *err)
{
    size_t n = bx_strv_len(item->layers), i;
    bx_cleanup_free struct bx_descriptor *layers = calloc(n + 1, sizeof(*layers));
    struct bx_descriptor config;
    int r;

    if (!layers)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "load an image");
    r = describe(l, item->config, BX_OCI_CONFIG, &config, err);
    for (i = 0; i < n && r == 0; i++)
        r = describe(l, item->layers[i], BX_OCI_LAYER, &layers[i], err);
    return r < 0 ? r : bx_compose_manifest(&config, layers, n, out, err);
}

/* The digest of our manifest: it is a blob like any other. */
static void on_manifest_made(void *ud, const char *digest, const struct bx_err *err)
{
    struct bx_load *l = ud;

    l->made = NULL;
    if (err) {
        load_end(l, err);
        return;
    }
    snprintf(l->want, sizeof(l->want), "%s", digest);
    follow(l);
}

static const struct bx_docker_save_item *choose_item(const struct bx_load *l, const struct bx_docker_save *save)
{
    size_t i, t;

    for (i = 0; l->name && i < save->count; i++)
        for (t = 0; save->items[i].repo_tags && save->items[i].repo_tags[t]; t++)
            if (same_name(save->items[i].repo_tags[t], l->name))
                return &save->items[i];
    return save->count > 0 ? &save->items[0] : NULL;
}

static int begin_docker(struct bx_load *l, const char *json, size_t len, bool only_name, struct bx_err *err)
{
    bx_cleanup_buf struct bx_buf text = BX_BUF_INIT(BX_IMAGE_JSON_MAX);
    const struct bx_docker_save_item *item;
    struct bx_docker_save save = {0};
    int r = bx_docker_save_parse(json, len, &save, err);

    if (r < 0)
        return r;
    item = choose_item(l, &save);
    r = item ? take_own_name(l, item->repo_tags ? item->repo_tags[0] : NULL, err)
             : bx_fail(err, BX_EIMAGE, 0, "the archive holds no image");
    if (r == 0 && !only_name)
        r = write_manifest(l, item, &text, err);
    bx_docker_save_done(&save);
    if (r < 0 || only_name)
        return r;
    l->made = bx_made_blob_start(l->rt, bx_buf_data(&text), bx_buf_len(&text), on_manifest_made, l, err);
    return l->made ? 0 : -err->code;
}

static void on_scanned(void *ud, const char *text, size_t len)
{
    bx_cleanup_free char *docker_text = NULL, *index_text = NULL;
    struct bx_load *l = ud;
    const struct bx_member *index, *docker;
    struct bx_err err = BX_ERR_INIT;
    int r;

    l->job = NULL;
    r = bx_job_unpack_result(text, len, &err);
    if (r == 0)
        r = bx_members_parse(&l->members, text, len, &err);
    index = bx_members_by_name(&l->members, "index.json", false);
    docker = bx_members_by_name(&l->members, "manifest.json", false);
    if (r == 0 && docker)
        r = bx_members_read(l->spool_fd, docker, &docker_text, &err);
    if (r == 0 && index)
        r = bx_members_read(l->spool_fd, index, &index_text, &err);
    if (r == 0 && !index && !docker)
        r = bx_fail(&err, BX_EIMAGE, 0,
                    "no image: the archive has neither index.json (OCI) nor manifest.json (docker save)");
    if (r == 0 &&
        docker) /* with an index, it is asked for the name only, which docker's index may not have in full */
        r = begin_docker(l, docker_text, docker->size, index != NULL, &err);
    if (r < 0)
        load_end(l, &err);
    else if (index)
        begin_index(l, index_text, index->size);
}

static void on_scan_progress(void *ud, uint64_t done, uint64_t total)
{
    struct bx_load *l = ud;

    bx_progress(l->rt, "", "read the archive", done, total);
}

static int begin_archive(struct bx_load *l, int fd, struct bx_err *err)
{
    l->spool_fd = openat(l->rt->tmp_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (l->spool_fd < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "write in %s/tmp", l->rt->home);
    l->job = bx_unpack_start(l->rt, "scan", fd, l->spool_fd, BX_BLOB_SIZE_MAX, on_scanned, l, err);
    if (!l->job)
        return -err->code;
    bx_job_on_progress(l->job, on_scan_progress);
    return 0;
}

/* A folder begins in the next turn of the loop: whoever asked is told by an event. */
static void on_folder_turn(struct bx_source *s, void *ud)
{
    bx_cleanup_free char *text = NULL;
    struct bx_load *l = ud;
    struct bx_err err = BX_ERR_INIT;
    size_t len = 0;
    int fd, r;

    bx_source_remove(s);
    l->turn = NULL;
    fd = bx_open_in_root(l->dir_fd, "index.json", O_RDONLY | O_NONBLOCK, 0);
    r = fd < 0 ? fd : bx_read_fd(fd, BX_IMAGE_JSON_MAX, &text, &len);
    bx_close(fd);
    if (r < 0) {
        bx_fail(&err, BX_EIMAGE, -r, "not an OCI layout: index.json");
        load_end(l, &err);
        return;
    }
    begin_index(l, text, len);
}

/* The kind of what is at path is known, and it begins; nothing was answered yet. */
static int begin(struct bx_load *l, int *fd, bool folder, struct bx_err *err)
{
    l->turn = bx_loop_add_defer(l->rt->loop, folder ? on_folder_turn : on_turn, l);
    if (!l->turn)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "load an image");
    l->lease_fd = bx_image_lease(l->rt, err);
    if (l->lease_fd < 0)
        return l->lease_fd;
    if (!folder)
        return begin_archive(l, *fd, err);
    l->dir_fd = BX_TAKE_FD(*fd);
    bx_defer_set(l->turn);
    return 0;
}

/* fd is taken over. NULL with err. */
static struct bx_load *start(struct CBoxliteRuntime *rt, const char *path, const char *name, int *fd, bool folder, bx_load_fn *fn,
                             void *ud, struct bx_err *err)
{
    struct bx_load *l = calloc(1, sizeof(*l));

    if (!l) {
        bx_fail(err, BX_ERESOURCE, ENOMEM, "load an image");
        return NULL;
    }
    l->rt = rt;
    l->fn = fn;
    l->ud = ud;
    l->dir_fd = l->spool_fd = l->blob.fd = l->lease_fd = -1;
    l->path = bx_strf("%s", path);
    l->name = name ? bx_strf("%s", name) : NULL;
    if (!l->path || (name && !l->name))
        bx_fail(err, BX_ERESOURCE, ENOMEM, "load an image");
    else if (begin(l, fd, folder, err) == 0)
        return l;
    return bx_load_free(l);
}

struct bx_load *bx_load_start(struct CBoxliteRuntime *rt, const char *path, const char *name,
                              bx_load_fn *fn, void *ud, struct bx_err *err)
{
    bx_cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        bx_fail(err, BX_EIMAGE, errno, "load %.200s", path);
        return NULL;
    }
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) {
        bx_fail(err, BX_EIMAGE, 0, "load %.200s: neither a folder nor a regular file", path);
        return NULL;
    }
    return start(rt, path, name, &fd, S_ISDIR(st.st_mode), fn, ud, err);
}

struct bx_load *bx_load_folder(struct CBoxliteRuntime *rt, const char *path, bx_load_fn *fn, void *ud,
                               struct bx_err *err)
{
    bx_cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) {
        bx_fail(err, BX_EIMAGE, errno, "root file system %.200s", path);
        return NULL;
    }
    return start(rt, path, NULL, &fd, true, fn, ud, err);
}

void bx_load_on_take(struct bx_load *l, bx_load_take_fn *take)
{
    l->take = take;
}

static void on_call_loaded(void *ud, CImagePullResult *result, const struct bx_err *err)
{
    struct bx_op *op = ud;

    op->result = result;
    bx_op_answer(op, err);
}

int bx_load_begin(struct CBoxliteRuntime *rt, const char *path, const char *name, struct bx_op *op,
                  struct bx_err *err)
{
    struct bx_load *l = bx_load_start(rt, path, name, on_call_loaded, op, err);

    if (!l)
        return -err->code;
    l->next = rt->loads;
    rt->loads = l;
    return 0;
}
