/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.c - see image.h.
 *
 * Theory of operation
 *
 *  1. The document that the tag or digest names: asked of one endpoint after the other until one has it. A
 *     document that is known by its digest comes from the store and nobody is asked, so a second pull by tag
 *     is one request.
 *  2. An index leads to the document for the platform, at most NESTED_MAX levels deep.
 *  3. The manifest is checked before the first byte of a layer is fetched: kinds, sizes, room on the disk.
 *     What it has is told.
 *  4. Configuration and layers are fetched, `concurrent` at a time; those that another program fetches are
 *     waited for beside that.
 *
 *  Every document is hashed and kept under its digest. By digest it must be that; by tag it must be what
 *  Docker-Content-Digest says. No address in a document is ever used.
 */
#include "pull/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "host/json.h"
#include "image/manifest.h"
#include "image/reference.h"
#include "pull/blob.h"
#include "pull/fetch.h"
#include "pull/parse.h"

#define NESTED_MAX    3           /* indexes on the way to a manifest */
#define WAITING_MAX   16          /* blobs whose lock is waited for: a thread each */
#define SPARE         (16u << 20) /* bytes that are left on the disk */
#define QUICK_RETRIES 1           /* while another endpoint can be asked */

#define ACCEPT                                                                                               \
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "                  \
    "application/vnd.docker.distribution.manifest.list.v2+json, "                                            \
    "application/vnd.docker.distribution.manifest.v2+json, "                                                 \
    "application/vnd.docker.distribution.manifest.v1+prettyjws;q=0.1"

struct pull {
    const struct bx_pull_plan *plan;
    struct bx_loop *loop;
    struct bx_status *status;
    struct bx_fetcher fetcher;
    struct bx_endpoint *endpoints;
    struct bx_blob_place place;
    struct bx_source *timeout;
    struct bx_source *next; /* deferred: starts blobs */
    bool ended;

    /* the document that is wanted now */
    char want[BX_DIGEST_SIZE]; /* "" by tag */
    uint64_t want_size;        /* UINT64_MAX: not known */
    size_t endpoint;
    unsigned depth;
    char complaints[BX_ERR_MSG_MAX]; /* of the endpoints before */
    bool told_from;

    char top[BX_DIGEST_SIZE];
    char digest[BX_DIGEST_SIZE]; /* of the manifest */
    struct bx_manifest manifest;
    struct bx_blob *blobs; /* that are missing, each once */
    size_t n_blobs;
    size_t started, running, waiting, finished;
};

static void end(struct pull *p, int code)
{
    if (p->ended)
        return;
    p->ended = true;
    bx_status_end(p->status);
    bx_loop_quit(p->loop, code);
}

static void fail(struct pull *p, struct bx_err *err)
{
    if (p->ended)
        return;
    bx_prefix(err, "%s", p->plan->name);
    bx_status_error(p->status, err);
    end(p, 1);
}

/* --- blobs --- */

/* The lines of every layer that this blob is. */
static void tell_done(struct pull *p, const struct bx_blob *b)
{
    for (size_t i = 0; i < p->manifest.layer_count; i++) {
        if (bx_streq(p->manifest.layers[i].digest, b->digest))
            bx_status_line(p->status, "done %zu", i);
    }
}

/* A configuration that nobody can use, or of another platform, ends the pull before its layers are here. */
static int check_config(struct pull *p, struct bx_err *err)
{
    struct bx_image_config c = {0};
    bx_cleanup_free char *text = NULL;
    size_t len = 0;
    size_t n;
    int r = bx_blob_read(p->place.blobs_fd, p->manifest.config.digest, BX_IMAGE_JSON_MAX, &text, &len, err);

    if (r == 0)
        r = bx_image_config_parse(text, len, &c, err);
    if (r < 0)
        return r;
    n = bx_strv_len(c.diff_ids);
    if (c.diff_ids && n != p->manifest.layer_count)
        r = bx_fail(err, BX_EIMAGE, 0, "the manifest has %zu layers, the configuration tells of %zu",
                    p->manifest.layer_count, n);
    else if ((c.os[0] && !bx_streq(c.os, p->plan->os)) || (c.arch[0] && !bx_streq(c.arch, p->plan->arch)))
        r = bx_fail(err, BX_EIMAGE, 0, "the image is for %.31s/%.31s, not for %s/%s", c.os, c.arch,
                    p->plan->os, p->plan->arch);
    bx_image_config_done(&c);
    return r;
}

static void finish_if_complete(struct pull *p)
{
    if (p->finished < p->n_blobs)
        return;
    bx_status_line(p->status, "ok %s %s", p->top, p->digest);
    end(p, 0);
}

static void on_blob(void *ud, struct bx_blob *b, enum bx_blob_event event, const struct bx_err *err)
{
    struct pull *p = ud;
    struct bx_err why = BX_ERR_INIT;

    if (p->ended)
        return;
    switch (event) {
    case BX_BLOB_WAITS:
        p->running--;
        p->waiting++;
        if (b->index >= 0)
            bx_status_line(p->status, "wait %d", b->index);
        break;
    case BX_BLOB_RUNS:
        p->waiting--;
        p->running++;
        break;
    case BX_BLOB_DONE:
        p->running--;
        p->finished++;
        tell_done(p, b);
        if (bx_streq(b->digest, p->manifest.config.digest) && check_config(p, &why) < 0) {
            fail(p, &why);
            return;
        }
        break;
    case BX_BLOB_FAILED:
        why = *err;
        fail(p, &why);
        return;
    }
    bx_defer_set(p->next);
}

static void on_next(struct bx_source *s, void *ud)
{
    struct pull *p = ud;

    (void)s;
    while (!p->ended && p->started < p->n_blobs && p->running < p->plan->concurrent &&
           p->waiting < WAITING_MAX) {
        struct bx_blob *b = &p->blobs[p->started++];

        p->running++;
        bx_blob_start(b, &p->place, on_blob, p);
    }
    if (!p->ended)
        finish_if_complete(p);
}

/* Room for what is to be fetched, some to spare. */
static int check_room(struct pull *p, struct bx_err *err)
{
    struct statvfs vfs;
    uint64_t need = 0;
    uint64_t room;

    for (size_t i = 0; i < p->n_blobs; i++) {
        uint64_t have = BX_MIN(bx_blob_partial(p->place.partial_fd, p->blobs[i].digest), p->blobs[i].size);

        need += p->blobs[i].size - have;
    }
    if (need == 0 || fstatvfs(p->place.blobs_fd, &vfs) < 0 ||
        bx_mul_overflow((uint64_t)vfs.f_bavail, (uint64_t)vfs.f_frsize, &room))
        return 0;
    if (room >= need && room - need >= SPARE)
        return 0;
    return bx_fail(err, BX_ESTORAGE, 0,
                   "%" PRIu64 " MiB are to be fetched, and where images are kept %" PRIu64
                   " MiB are free, of which %u stay free",
                   (need >> 20) + ((need & 0xfffff) != 0), room >> 20, SPARE >> 20);
}

static bool add_blob(struct pull *p, const struct bx_descriptor *d, int index)
{
    for (size_t i = 0; i < p->n_blobs; i++) {
        if (bx_streq(p->blobs[i].digest, d->digest)) {
            if (p->blobs[i].index < 0)
                p->blobs[i].index = index;
            return p->blobs[i].size == d->size;
        }
    }
    p->blobs[p->n_blobs] = (struct bx_blob){.size = d->size, .index = index, .fd = -1};
    memcpy(p->blobs[p->n_blobs++].digest, d->digest, BX_DIGEST_SIZE);
    return true;
}

/* What the manifest names, told; what is missing, in p->blobs. */
static int list_blobs(struct pull *p, struct bx_err *err)
{
    const struct bx_manifest *m = &p->manifest;
    size_t kept = 0;

    p->blobs = calloc(m->layer_count + 1, sizeof(*p->blobs));
    if (!p->blobs)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "list the layers");
    (void)add_blob(p, &m->config, -1);
    for (size_t i = 0; i < m->layer_count; i++) {
        if (!add_blob(p, &m->layers[i], (int)i))
            return bx_fail(err, BX_EIMAGE, 0, "the manifest names %.19s twice, with two sizes",
                           m->layers[i].digest);
    }
    for (size_t i = 0; i < m->layer_count; i++)
        bx_status_line(p->status, "layer %zu %s %" PRIu64 " %s", i, m->layers[i].digest, m->layers[i].size,
                       bx_blob_have(p->place.sha256_fd, m->layers[i].digest, m->layers[i].size) ? "have"
                                                                                                : "fetch");
    bx_status_line(p->status, "config %s %" PRIu64 " %s", m->config.digest, m->config.size,
                   bx_blob_have(p->place.sha256_fd, m->config.digest, m->config.size) ? "have" : "fetch");
    for (size_t i = 0; i < p->n_blobs; i++) {
        if (!bx_blob_have(p->place.sha256_fd, p->blobs[i].digest, p->blobs[i].size)) {
            p->blobs[kept++] = p->blobs[i];
            continue;
        }
        if (i == 0 && check_config(p, err) < 0)
            return -err->code;
    }
    p->n_blobs = kept;
    return 0;
}

static int check_sizes(const struct pull *p, size_t document, struct bx_err *err)
{
    const struct bx_manifest *m = &p->manifest;
    uint64_t sum = document;

    if (m->config.size > BX_IMAGE_JSON_MAX)
        return bx_fail(err, BX_EIMAGE, 0, "its configuration has %" PRIu64 " bytes, more than %u",
                       m->config.size, BX_IMAGE_JSON_MAX);
    if (bx_add_overflow(sum, m->config.size, &sum))
        sum = UINT64_MAX;
    for (size_t i = 0; i < m->layer_count; i++) {
        if (bx_add_overflow(sum, m->layers[i].size, &sum))
            sum = UINT64_MAX;
    }
    if (sum > p->plan->max_bytes)
        return bx_fail(err, BX_ERESOURCE, 0,
                       "the image has %" PRIu64 " bytes, more than the %" PRIu64 " that are allowed", sum,
                       p->plan->max_bytes);
    return 0;
}

static int take_manifest(struct pull *p, const char *text, size_t len, struct bx_err *err)
{
    int r = bx_manifest_parse(text, len, &p->manifest, err);

    if (r == 0)
        r = bx_config_type_check(p->manifest.config.media_type, err);
    if (r == 0 && p->manifest.layer_count == 0)
        r = bx_fail(err, BX_EIMAGE, 0, "the image has no layers, so there is nothing in it to run");
    for (size_t i = 0; r == 0 && i < p->manifest.layer_count; i++)
        r = bx_layer_type_check(p->manifest.layers[i].media_type, err);
    if (r == 0)
        r = check_sizes(p, len, err);
    if (r < 0)
        return r;
    bx_status_line(p->status, "manifest %s %zu", p->digest, len);
    p->place.first = p->endpoint;
    r = list_blobs(p, err);
    if (r == 0)
        r = check_room(p, err);
    if (r == 0)
        bx_defer_set(p->next);
    return r;
}

/* --- documents --- */

static int want_document(struct pull *p, struct bx_err *err);

/* "linux/amd64, linux/arm64/v8": what an index has, as far as it fits. */
static void list_platforms(const struct bx_index *x, char *dst, size_t size)
{
    size_t at = 0;

    dst[0] = '\0';
    for (size_t i = 0; i < x->count && at + 1 < size; i++) {
        const struct bx_descriptor *d = &x->items[i];
        int n;

        if (!d->os[0] || bx_streq(d->os, "unknown"))
            continue;
        n = snprintf(dst + at, size - at, "%s%s/%s%s%s", at ? ", " : "", d->os, d->arch,
                     d->variant[0] ? "/" : "", d->variant);
        at = n < 0 ? size : at + (size_t)n;
    }
}

static int take_index(struct pull *p, const char *text, size_t len, struct bx_err *err)
{
    const struct bx_pull_plan *plan = p->plan;
    const struct bx_descriptor *d;
    struct bx_index x = {0};
    char has[240];
    int r = bx_index_parse(text, len, &x, err);

    if (r < 0)
        return r;
    d = bx_index_select(&x, plan->os, plan->arch, plan->variant);
    list_platforms(&x, has, sizeof(has));
    if (!d)
        r = bx_fail(err, BX_EIMAGE, 0, "there is nothing for %s/%s%s%s; it has %s", plan->os, plan->arch,
                    plan->variant[0] ? "/" : "", plan->variant, has[0] ? has : "no platform at all");
    else if (++p->depth > NESTED_MAX)
        r = bx_fail(err, BX_EIMAGE, 0, "an index of an index of an index: more than %d levels", NESTED_MAX);
    else if (d->size > BX_IMAGE_JSON_MAX)
        r = bx_fail(err, BX_EIMAGE, 0, "a manifest has %" PRIu64 " bytes, more than %u", d->size,
                    BX_IMAGE_JSON_MAX);
    if (r == 0) {
        memcpy(p->want, d->digest, BX_DIGEST_SIZE);
        p->want_size = d->size;
    }
    bx_index_done(&x);
    return r < 0 ? r : want_document(p, err);
}

/* A document that is an index to one reader and a manifest to another is neither. */
static int check_kind(const char *text, size_t len, struct bx_err *err)
{
    const struct bx_json_limits limits = {.bytes = BX_IMAGE_JSON_MAX, .depth = 32, .values = 131072};
    bx_cleanup_json struct bx_json root = {0};
    struct bx_json value;
    void *it = NULL;
    bool index = false;
    bool manifest = false;

    if (bx_json_parse(text, len, &limits, "manifest", &root, err) < 0 || bx_json_as_obj(&root, err) < 0) {
        if (err)
            err->code = BX_EIMAGE;
        return -BX_EIMAGE;
    }
    while (bx_json_next(&root, &it, &value)) {
        index = index || bx_streq(value.key, "manifests");
        manifest = manifest || bx_streq(value.key, "layers") || bx_streq(value.key, "fsLayers") ||
                   bx_streq(value.key, "config");
    }
    return index && manifest ? bx_fail(err, BX_EIMAGE, 0, "a document is both index and manifest") : 0;
}

static int take_document(struct pull *p, const char *text, size_t len, struct bx_err *err)
{
    int r = check_kind(text, len, err);

    if (r == 0)
        r = bx_blob_put(&p->place, p->digest, text, len, err);
    if (r < 0)
        return r;
    if (!p->top[0])
        memcpy(p->top, p->digest, BX_DIGEST_SIZE);
    return bx_doc_kind(text, len) == BX_DOC_INDEX ? take_index(p, text, len, err)
                                                  : take_manifest(p, text, len, err);
}

/* Is what came what was asked for? Its digest to p->digest. */
static int verify_document(struct pull *p, const struct bx_buf *text, const char *header, struct bx_err *err)
{
    const char *host = p->endpoints[p->endpoint].conf->host;
    size_t len = bx_buf_len(text);

    if (!bx_digest_of(bx_buf_data(text), len, p->digest))
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "hash the manifest");
    if (p->want[0] && strcmp(p->want, p->digest) != 0)
        return bx_fail(err, BX_EIMAGE, 0, "%s sent another manifest (%.19s) than was asked for (%.19s)", host,
                       p->digest, p->want);
    if (p->want_size != UINT64_MAX && p->want_size != len)
        return bx_fail(err, BX_EIMAGE, 0, "a manifest has %zu bytes, the index says %" PRIu64, len,
                       p->want_size);
    if (!p->want[0] && header && bx_digest_valid(header) && strcmp(header, p->digest) != 0)
        return bx_fail(err, BX_EIMAGE, 0,
                       "%s sent a manifest whose digest (%.19s) is not the one it tells (%.19s)", host,
                       p->digest, header);
    return 0;
}

/* The next endpoint, or none is left: all of them say why. */
static void try_next(struct pull *p, const struct bx_err *err)
{
    struct bx_err why = *err;

    if (p->complaints[0])
        bx_fail(&why, (enum bx_code)err->code, 0, "%s; %s", p->complaints, err->msg);
    if (p->endpoint + 1 < p->plan->n_endpoints) {
        p->endpoint++;
        memcpy(p->complaints, why.msg, sizeof(p->complaints));
        if (want_document(p, &why) == 0)
            return;
    }
    fail(p, &why);
}

static void on_document(void *ud, enum bx_fetch_result result, struct bx_buf *text, const char *digest,
                        const struct bx_err *err)
{
    struct pull *p = ud;
    struct bx_err why = *err;

    if (p->ended)
        return;
    if (result == BX_FETCH_NEXT) {
        try_next(p, err);
        return;
    }
    if (result == BX_FETCH_OK) {
        if (!p->told_from)
            bx_status_line(p->status, "from %s", p->endpoints[p->endpoint].conf->host);
        p->told_from = true;
        p->complaints[0] = '\0';
        if (verify_document(p, text, digest, &why) == 0 &&
            take_document(p, (const char *)bx_buf_data(text), bx_buf_len(text), &why) == 0)
            return;
    }
    fail(p, &why);
}

static int fetch_document(struct pull *p, struct bx_err *err)
{
    struct bx_endpoint *e = &p->endpoints[p->endpoint];
    bx_cleanup_free char *url = bx_endpoint_url(e, "manifests", p->want[0] ? p->want : p->plan->tag);
    struct bx_fetch_spec spec = {
        .endpoint = e, .url = url, .accept = ACCEPT, .retries = p->plan->retries, .index = -1};

    if (!url)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "fetch");
    if (p->endpoint + 1 < p->plan->n_endpoints)
        spec.retries = BX_MIN(spec.retries, (unsigned)QUICK_RETRIES);
    return bx_fetch_text(&p->fetcher, &spec, "the manifest", BX_IMAGE_JSON_MAX, on_document, p, err);
}

/* From the store, when it is there and what it says it is. 1, 0 when it is not, or negative. */
static int known_document(struct pull *p, struct bx_err *err)
{
    bx_cleanup_free char *text = NULL;
    size_t len = 0;

    if (!p->want[0] || bx_blob_read(p->place.blobs_fd, p->want, BX_IMAGE_JSON_MAX, &text, &len, NULL) < 0)
        return 0;
    if (!bx_digest_of(text, len, p->digest) || strcmp(p->digest, p->want) != 0 ||
        (p->want_size != UINT64_MAX && p->want_size != len)) {
        (void)unlinkat(p->place.sha256_fd, p->want + 7, 0); /* spoilt */
        return 0;
    }
    return take_document(p, text, len, err) < 0 ? -err->code : 1;
}

static int want_document(struct pull *p, struct bx_err *err)
{
    int r = known_document(p, err);

    return r < 0 ? r : r > 0 ? 0 : fetch_document(p, err);
}

/* --- beginning --- */

static int open_directory(int at, const char *name, mode_t mode)
{
    int fd;

    if (mkdirat(at, name, mode) < 0 && errno != EEXIST)
        return -errno;
    fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

static int open_store(struct pull *p, int blobs_fd, struct bx_err *err)
{
    p->place.blobs_fd = blobs_fd;
    p->place.sha256_fd = open_directory(blobs_fd, "sha256", 0755);
    if (p->place.sha256_fd < 0)
        return bx_fail(err, BX_ESTORAGE, -p->place.sha256_fd, "open the directory of blobs");
    p->place.partial_fd = open_directory(blobs_fd, "partial", 0700);
    if (p->place.partial_fd < 0)
        return bx_fail(err, BX_ESTORAGE, -p->place.partial_fd, "open the directory of unfinished blobs");
    return 0;
}

static void on_timeout(struct bx_source *s, void *ud)
{
    struct pull *p = ud;
    struct bx_err err = BX_ERR_INIT;

    (void)s;
    bx_fail(&err, BX_ENETWORK, 0,
            "not here after %u s; what has come is kept, and the next pull goes on from there",
            (p->plan->timeout_ms + 999) / 1000);
    fail(p, &err);
}

static int set_up(struct pull *p, int blobs_fd, struct bx_err *err)
{
    const struct bx_pull_plan *plan = p->plan;
    struct bx_http_config http = {
        .loop = p->loop,
        .stall_ms = plan->stall_ms,
        .http_proxy = plan->http_proxy,
        .https_proxy = plan->https_proxy,
        .no_proxy = plan->no_proxy,
    };
    int r = open_store(p, blobs_fd, err);

    if (r < 0)
        return r;
    p->endpoints = calloc(plan->n_endpoints, sizeof(*p->endpoints));
    p->place.work = bx_work_pool_new(p->loop);
    p->timeout = bx_loop_add_timer(p->loop, on_timeout, p);
    p->next = bx_loop_add_defer(p->loop, on_next, p);
    if (!p->endpoints || !p->place.work || !p->timeout || !p->next)
        return bx_fail(err, BX_ERESOURCE, errno, "begin to pull");
    for (size_t i = 0; r == 0 && i < plan->n_endpoints; i++)
        r = bx_endpoint_init(&p->endpoints[i], &plan->endpoints[i], plan->repository, err);
    if (r < 0)
        return r;
    p->fetcher.http = bx_http_new(&http, err);
    if (!p->fetcher.http)
        return -BX_ERESOURCE;
    p->fetcher.loop = p->loop;
    p->fetcher.status = p->status;
    p->place.fetcher = &p->fetcher;
    p->place.endpoints = p->endpoints;
    p->place.n_endpoints = plan->n_endpoints;
    p->place.retries = plan->retries;
    return 0;
}

int bx_pull_image(const struct bx_pull_plan *plan, int blobs_fd, int status_fd, bx_pull_ready_fn *ready)
{
    struct pull p = {.plan = plan, .want_size = UINT64_MAX};
    struct bx_err err = BX_ERR_INIT;
    int r;

    p.loop = bx_loop_new();
    p.status = p.loop ? bx_status_new(p.loop, status_fd) : NULL;
    if (!p.status)
        return 2;
    r = set_up(&p, blobs_fd, &err);
    if (r == 0)
        r = ready(&err);
    if (r == 0) {
        if (plan->timeout_ms)
            bx_timer_after(p.timeout, (int64_t)plan->timeout_ms * BX_MSEC);
        if (plan->digest)
            memcpy(p.want, plan->digest, BX_DIGEST_SIZE);
        r = want_document(&p, &err);
    }
    if (r < 0)
        fail(&p, &err);
    return bx_loop_run(p.loop);
}
