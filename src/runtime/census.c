/* SPDX-License-Identifier: Apache-2.0 */
/* census.c - counting what images and boxes need: see census.h. */
#include "runtime/census.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/reference.h"

#define FILES_MAX     1000000
#define HEX_LEN       64
#define ID_PREFIX_MIN 4

/* ---- directories ---- */

/* Calls fn for each entry of at/name; a missing directory is an empty one. 0 or negative. */
static int each_entry(int at, const char *name, int (*fn)(void *ud, int fd, const char *entry), void *ud,
                      struct bx_err *err)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;

    if (!d) {
        r = errno == ENOENT ? 0 : bx_fail(err, BX_ESTORAGE, errno, "list %s", name);
        bx_close(fd);
        return r;
    }
    while (r == 0 && (e = readdir(d)))
        if (fn(ud, dirfd(d), e->d_name) < 0)
            r = bx_fail(err, BX_ERESOURCE, ENOMEM, "list %s", name);
    closedir(d);
    return r;
}

/* Room for one more of an array: at powers of two it grows. */
static void *grow(void *v, size_t n, size_t size)
{
    if (n >= FILES_MAX)
        return NULL;
    return n & (n - 1) ? v : reallocarray(v, n ? n * 2 : 1, size);
}

static int add_blob(void *ud, int fd, const char *entry)
{
    struct bx_census *c = ud;
    struct bx_census_blob *more;
    struct stat st;

    if (strlen(entry) != HEX_LEN || fstatat(fd, entry, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return 0;
    more = grow(c->blobs, c->n_blobs, sizeof(*more));
    if (!more)
        return -1;
    c->blobs = more;
    more += c->n_blobs++;
    *more = (struct bx_census_blob){.size = (uint64_t)st.st_size, .allocated = (uint64_t)st.st_blocks * 512};
    snprintf(more->hex, sizeof(more->hex), "%s", entry);
    return 0;
}

static int add_disk(void *ud, int fd, const char *entry)
{
    struct bx_census *c = ud;
    struct bx_census_disk *more;
    struct stat st;
    char digest[80];

    if (!bx_disk_digest(entry, digest, sizeof(digest)) || fstatat(fd, entry, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    more = grow(c->disks, c->n_disks, sizeof(*more));
    if (!more)
        return -1;
    c->disks = more;
    more += c->n_disks++;
    *more = (struct bx_census_disk){.allocated = (uint64_t)st.st_blocks * 512};
    snprintf(more->name, sizeof(more->name), "%s", entry);
    return 0;
}

/* The hex digits and the name come first in their structs. */
static int by_first_string(const void *a, const void *b)
{
    return strcmp(a, b);
}

static struct bx_census_blob *find_blob(struct bx_census *c, const char *digest)
{
    return c->n_blobs && bx_digest_valid(digest) ? bsearch(digest + sizeof("sha256:") - 1, c->blobs,
                                                           c->n_blobs, sizeof(c->blobs[0]), by_first_string)
                                                 : NULL;
}

struct bx_census_disk *bx_census_find_disk(struct bx_census *c, const char *name)
{
    return c->n_disks ? bsearch(name, c->disks, c->n_disks, sizeof(c->disks[0]), by_first_string) : NULL;
}

/* ---- images ---- */

static struct bx_census_image *find_image(struct bx_census *c, const char *digest)
{
    size_t i;

    for (i = 0; i < c->n_images; i++)
        if (bx_streq(c->images[i].digest, digest))
            return &c->images[i];
    return NULL;
}

static void image_blob(struct bx_census *c, struct bx_census_image *image, const char *digest)
{
    struct bx_census_blob *b = find_blob(c, digest);
    size_t i;

    for (i = 0; b && i < image->n_blobs; i++)
        if (image->blobs[i] == b)
            return;
    if (!b)
        return;
    image->blobs[image->n_blobs++] = b;
    image->size += b->size;
}

static int add_image(struct bx_census *c, const struct bx_image_row *row, struct bx_census_image **ret,
                     struct bx_err *err)
{
    struct bx_census_image *image = &c->images[c->n_images];
    size_t i;

    image->digest = row->manifest_digest;
    bx_disk_name(image->disk, row->manifest_digest);
    if (bx_manifest_parse(row->manifest, strlen(row->manifest), &image->manifest, err) < 0)
        return bx_prefix(err, "image %s", row->reference);
    c->n_images++;
    image->blobs = calloc(image->manifest.layer_count + 2, sizeof(image->blobs[0]));
    if (!image->blobs)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "count images");
    image_blob(c, image, image->digest);
    image_blob(c, image, image->manifest.config.digest);
    for (i = 0; i < image->manifest.layer_count; i++)
        image_blob(c, image, image->manifest.layers[i].digest);
    *ret = image;
    return 0;
}

static int take_images(struct bx_census *c, struct bx_err *err)
{
    size_t i;
    int r;

    c->names = calloc(c->n_rows + 1, sizeof(c->names[0]));
    c->images = calloc(c->n_rows + 1, sizeof(c->images[0]));
    if (!c->names || !c->images)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "count images");
    for (i = 0; i < c->n_rows; i++) {
        struct bx_census_image *image = find_image(c, c->rows[i].manifest_digest);

        if (!image && (r = add_image(c, &c->rows[i], &image, err)) < 0)
            return r;
        c->names[i].image = image;
        image->used_ms = BX_MAX(image->used_ms, c->rows[i].used_ms);
    }
    return 0;
}

/* ---- boxes ---- */

static bool pinned(const struct bx_box_row *box, const char *disk)
{
    return box->disk && bx_streq(box->disk, disk);
}

/* A box that never ran takes its image by the name it was made with; one without a registry may mean any. */
static bool waits_for(const struct bx_box_row *box, const char *reference)
{
    struct bx_reference want, have;
    const char *want_path, *have_path;

    if (box->started_ms != 0 || !box->image || bx_reference_parse(box->image, &want, NULL) < 0 ||
        bx_reference_parse(reference, &have, NULL) < 0 || !bx_streq(want.tag, have.tag) ||
        !bx_streq(want.digest, have.digest))
        return false;
    if (want.domain_given)
        return bx_streq(want.domain, have.domain) && bx_streq(want.path, have.path);
    want_path = bx_starts_with(want.path, "library/") ? want.path + 8 : want.path;
    have_path = bx_starts_with(have.path, "library/") ? have.path + 8 : have.path;
    return bx_streq(want_path, have_path);
}

bool bx_census_box_needs(const struct bx_census *c, const struct bx_box_row *box,
                         const struct bx_census_image *image)
{
    size_t i;

    if (pinned(box, image->disk))
        return true;
    for (i = 0; i < c->n_rows; i++)
        if (c->names[i].image == image && waits_for(box, c->rows[i].reference))
            return true;
    return false;
}

static void need(struct bx_census *c, const char *digest)
{
    struct bx_census_blob *b = find_blob(c, digest);

    if (b)
        b->boxes++;
}

/* What a box needs of an image, whether that still has a name or not. */
static void count_pin(struct bx_census *c, const char *digest, const struct bx_manifest *m, bool layers)
{
    size_t i;

    need(c, digest);
    need(c, m->config.digest);
    for (i = 0; layers && i < m->layer_count; i++)
        need(c, m->layers[i].digest);
}

static int count_box(struct bx_census *c, const struct bx_box_row *box, struct bx_err *err)
{
    struct bx_census_disk *disk = box->disk ? bx_census_find_disk(c, box->disk) : NULL;
    struct bx_census_image *image = NULL;
    struct bx_manifest m = {0};
    struct bx_err why = BX_ERR_INIT;
    char digest[80];
    size_t i;
    int r;

    for (i = 0; i < c->n_rows; i++)
        if (waits_for(box, c->rows[i].reference)) {
            c->names[i].waiting++;
            c->names[i].image->waiting++;
        }
    if (disk)
        disk->boxes++;
    if (!box->disk || !bx_disk_digest(box->disk, digest, sizeof(digest)))
        return 0;
    image = find_image(c, digest);
    if (image) {
        image->boxes++;
        count_pin(c, digest, &image->manifest, !disk);
        return 0;
    }
    r = bx_image_manifest(c->rt, digest, &m, &why);
    if (r == 0)
        count_pin(c, digest, &m, !disk);
    bx_manifest_done(&m);
    if (r == 0 || r == -BX_ENOTFOUND) /* without its manifest nothing else of it can be used */
        return 0;
    bx_prefix(&why, "the image of box %s", box->id);
    if (err)
        *err = why;
    return r;
}

int bx_census_count(struct bx_census *c, struct bx_err *err)
{
    size_t i, b;
    int r = 0;

    for (i = 0; i < c->n_blobs; i++)
        c->blobs[i].images = c->blobs[i].boxes = 0;
    for (i = 0; i < c->n_disks; i++)
        c->disks[i].images = c->disks[i].boxes = 0;
    for (i = 0; i < c->n_images; i++)
        c->images[i].names = c->images[i].boxes = c->images[i].waiting = 0;
    for (i = 0; i < c->n_rows; i++) {
        c->names[i].waiting = 0;
        c->names[i].image->names += !c->names[i].gone;
    }
    for (i = 0; i < c->n_images; i++) {
        struct bx_census_disk *disk = bx_census_find_disk(c, c->images[i].disk);

        if (c->images[i].names == 0)
            continue;
        if (disk)
            disk->images++;
        for (b = 0; b < c->images[i].n_blobs; b++)
            c->images[i].blobs[b]->images++;
    }
    for (i = 0; i < c->n_boxes && r == 0; i++)
        r = count_box(c, &c->boxes[i], err);
    return r;
}

/* ---- all of it ---- */

int bx_census_take(struct CBoxliteRuntime *rt, struct bx_census *ret, struct bx_err *err)
{
    struct bx_census c = {.rt = rt};
    int r;

    /* Files before rows: what is published meanwhile is not among them, or has its row already. */
    r = each_entry(rt->blobs_fd, "sha256", add_blob, &c, err);
    if (r >= 0)
        r = each_entry(rt->disks_fd, ".", add_disk, &c, err);
    if (r >= 0)
        r = bx_templates_list(rt->templates_fd, &c.templates, &c.n_templates, err);
    if (r >= 0)
        r = bx_store_image_list(rt->store, &c.rows, &c.n_rows, err);
    if (r >= 0)
        r = bx_store_box_list(rt->store, &c.boxes, &c.n_boxes, err);
    if (c.n_blobs)
        qsort(c.blobs, c.n_blobs, sizeof(c.blobs[0]), by_first_string);
    if (c.n_disks)
        qsort(c.disks, c.n_disks, sizeof(c.disks[0]), by_first_string);
    if (r >= 0)
        r = take_images(&c, err);
    if (r >= 0)
        r = bx_census_count(&c, err);
    if (r < 0)
        bx_census_done(&c);
    else
        *ret = c;
    return r < 0 ? r : 0;
}

void bx_census_done(struct bx_census *c)
{
    size_t i;

    for (i = 0; i < c->n_images; i++) {
        bx_manifest_done(&c->images[i].manifest);
        free(c->images[i].blobs);
    }
    free(c->images);
    free(c->names);
    bx_image_rows_free(c->rows, c->n_rows);
    bx_box_rows_free(c->boxes, c->n_boxes);
    free(c->blobs);
    free(c->disks);
    free(c->templates);
    memset(c, 0, sizeof(*c));
}

uint64_t bx_census_needed(const struct bx_census *c)
{
    uint64_t bytes = 0;
    size_t i;

    for (i = 0; i < c->n_blobs; i++)
        bytes += c->blobs[i].images || c->blobs[i].boxes ? c->blobs[i].allocated : 0;
    for (i = 0; i < c->n_disks; i++)
        bytes += c->disks[i].images || c->disks[i].boxes ? c->disks[i].allocated : 0;
    return bytes;
}

uint64_t bx_census_template_bytes(const struct bx_census *c, const struct bx_census_image *image)
{
    uint64_t bytes = 0;
    size_t i;

    for (i = 0; i < c->n_templates; i++)
        bytes += bx_streq(c->templates[i].disk, image->disk) ? c->templates[i].bytes : 0;
    return bytes;
}

/* ---- what a user calls an image ---- */

static bool is_hex(const char *s)
{
    return s[strspn(s, "0123456789abcdef")] == '\0';
}

static bool has_id(const struct bx_image_row *row, const char *hex)
{
    const char *config = strchr(row->config_digest, ':'), *manifest = strchr(row->manifest_digest, ':');

    return (config && bx_starts_with(config + 1, hex)) || (manifest && bx_starts_with(manifest + 1, hex));
}

static bool has_name(const struct bx_image_row *row, const struct bx_reference *ref, const char *canonical)
{
    struct bx_reference own;

    if (bx_streq(row->reference, canonical))
        return true;
    /* name@digest of an image that is stored by its tag */
    return ref->digest[0] && bx_streq(row->manifest_digest, ref->digest) &&
           bx_reference_parse(row->reference, &own, NULL) == 0 && bx_streq(own.domain, ref->domain) &&
           bx_streq(own.path, ref->path) && (!ref->tag[0] || bx_streq(own.tag, ref->tag));
}

static int resolve_name(const struct bx_image_row *rows, size_t n, const char *text, size_t *ret,
                        struct bx_err *err)
{
    bx_cleanup_free char *canonical = NULL;
    struct bx_reference ref;
    size_t i;

    if (bx_reference_parse(text, &ref, err) < 0)
        return -BX_EIMAGE;
    canonical = bx_reference_canonical(&ref);
    for (i = 0; canonical && i < n; i++)
        if (has_name(&rows[i], &ref, canonical)) {
            *ret = i;
            return 0;
        }
    return -BX_EIMAGE;
}

int bx_image_resolve(const struct bx_image_row *rows, size_t n, const char *text, size_t *ret,
                     bool *ret_by_id, struct bx_err *err)
{
    const char *hex = bx_starts_with(text, "sha256:") ? text + 7 : text;
    struct bx_err why = BX_ERR_INIT;
    size_t i, found = n;

    *ret_by_id = false;
    if (resolve_name(rows, n, text, ret, &why) == 0)
        return 0;
    for (i = 0; strlen(hex) >= ID_PREFIX_MIN && is_hex(hex) && i < n; i++) {
        if (!has_id(&rows[i], hex))
            continue;
        if (found < n && !bx_streq(rows[found].manifest_digest, rows[i].manifest_digest))
            return bx_fail(err, BX_EIMAGE, 0,
                           "%.80s is the start of more than one image's id: give more of it", text);
        if (found == n)
            found = i;
    }
    if (found == n)
        return why.code && !is_hex(hex) ? bx_fail(err, BX_EIMAGE, 0, "%s", why.msg)
                                        : bx_fail(err, BX_EIMAGE, 0, "no such image: %.300s", text);
    *ret = found;
    *ret_by_id = true;
    return 0;
}
