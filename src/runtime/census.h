/* SPDX-License-Identifier: Apache-2.0 */
/*
 * census.h - what a home holds of images, and who needs it (private).
 *
 * An image is a manifest; it has one or more names (rows). It needs its blobs and its disk. A box needs the
 * disk it is pinned to, and the manifest and configuration of that image for its next start; where the disk
 * is not there yet, also the layers. A box that was not started yet needs the name that it was made with. Who
 * counts in a transaction (bx_store_begin) counts what stays true until its end.
 */
#ifndef BX_RUNTIME_CENSUS_H
#define BX_RUNTIME_CENSUS_H

#include "image/manifest.h"
#include "runtime/convert.h"
#include "runtime/runtime.h"
#include "vm/template_evict.h"

struct bx_census_blob {
    char hex[65];
    uint64_t size, allocated;
    unsigned images, boxes; /* that need it */
};

struct bx_census_disk {
    char name[BX_DISK_NAME_MAX];
    uint64_t allocated;
    unsigned images, boxes;
};

struct bx_census_image {
    const char *digest; /* of the manifest, in a row */
    struct bx_manifest manifest;
    char disk[BX_DISK_NAME_MAX];
    struct bx_census_blob **blobs; /* those that are there, each once */
    size_t n_blobs;
    uint64_t size;    /* of the blobs */
    int64_t used_ms;  /* latest of its names */
    unsigned boxes;   /* pinned to its disk */
    unsigned waiting; /* not started yet, made with one of its names */
    unsigned names;   /* that are not gone */
};

struct bx_census_name {
    struct bx_census_image *image;
    unsigned waiting; /* boxes that were not started yet, made with this name */
    bool gone;        /* the caller's: counts as if its row were not there */
};

struct bx_census {
    struct CBoxliteRuntime *rt;
    struct bx_image_row *rows; /* names[i] is of rows[i] */
    struct bx_census_name *names;
    size_t n_rows;
    struct bx_census_image *images;
    size_t n_images;
    struct bx_box_row *boxes;
    size_t n_boxes;
    struct bx_census_blob *blobs; /* sorted by hex */
    size_t n_blobs;
    struct bx_census_disk *disks; /* sorted by name */
    size_t n_disks;
    struct bx_template_use *templates;
    size_t n_templates;
};

/* Reads rows and directories and counts. Fails, naming it, on an image whose row cannot be read: what it
 * needs is not known then. */
int bx_census_take(struct CBoxliteRuntime *rt, struct bx_census *ret, struct bx_err *err);
void bx_census_done(struct bx_census *c);
#define bx_cleanup_census BX_CLEANUP(bx_census_done)

/* Counts anew, after names were marked as gone. */
int bx_census_count(struct bx_census *c, struct bx_err *err);

struct bx_census_disk *bx_census_find_disk(struct bx_census *c, const char *name);
/* Does the box stand on the image, or wait for one of its names? */
bool bx_census_box_needs(const struct bx_census *c, const struct bx_box_row *box,
                         const struct bx_census_image *image);
/* Allocated bytes of blobs and disks that somebody needs. */
uint64_t bx_census_needed(const struct bx_census *c);
/* Of the image's templates: allocated bytes. */
uint64_t bx_census_template_bytes(const struct bx_census *c, const struct bx_census_image *image);

/*
 * Which row a user means by `text`: a name; name@digest; or manifest digest, image id, or at least four first
 * digits of one of these (then the first of the image's rows, and *ret_by_id). -BX_EIMAGE: none, or more than
 * one image.
 */
int bx_image_resolve(const struct bx_image_row *rows, size_t n, const char *text, size_t *ret,
                     bool *ret_by_id, struct bx_err *err);

#endif
