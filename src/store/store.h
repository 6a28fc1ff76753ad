/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - the rows: boxes and images, in <home>/db/boxlite.db (SQLite, WAL). Many programs use one home at once.
 *
 * Every call is one transaction (unless it stands between bx_store_begin and its end), waits at most 5 s for another program's, and returns -BX_EDATABASE (or the code named) with
 * words. Strings in rows are heap copies freed by the _done functions. A database written by a newer library is opened when its
 * major version (user_version / 100) is ours, else refused with both versions named.
 */
#ifndef BX_STORE_STORE_H
#define BX_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

struct bx_store;

/* Opens (and makes, and migrates) <home>/db/boxlite.db; <home>/db must exist. */
int bx_store_open(const char *home, struct bx_store **ret, struct bx_err *err);
struct bx_store *bx_store_close(struct bx_store *s);
BX_DEFINE_CLEANUP(struct bx_store *, bx_store_close)

/* Is the file sound? Calls fn with each complaint of SQLite's integrity check, at most 20. How many, or negative. Reads all of it. */
int bx_store_check(struct bx_store *s, void (*fn)(void *ud, const char *complaint), void *ud, struct bx_err *err);
/* Makes the indexes anew: what mends the complaints that are about them. */
int bx_store_reindex(struct bx_store *s, struct bx_err *err);

/* Several calls as one transaction, which has the database for writing from the start: what is read in it stays true until its end.
 * A commit that fails has rolled back. */
int bx_store_begin(struct bx_store *s, struct bx_err *err);
/* Its commit returns when it is on the disk, so that files whose rows it deletes may go: others may be undone by a power failure. */
int bx_store_begin_durable(struct bx_store *s, struct bx_err *err);
int bx_store_commit(struct bx_store *s, struct bx_err *err);
void bx_store_rollback(struct bx_store *s);

struct bx_box_row {
    int64_t number;       /* rowid: never used twice in one home; distinct uids come from it */
    char *id;             /* 12 Base62 characters */
    char *name;           /* NULL when unnamed; unique */
    char *image;          /* reference as the user gave it, or the absolute path of an OCI layout */
    char *disk;           /* file name under disks/ the box stands on, pinned at its first start; NULL before */
    char *options;        /* JSON: everything the box was created with (src/runtime/options.c) */
    int state;            /* enum bx_box_state of wire/frame.h, as a number */
    int pid;              /* of the shim, 0 = none */
    bool detached;
    int64_t created_ms;   /* unix time */
    int64_t started_ms;   /* 0 = never */
    int64_t stopped_ms;   /* 0 = never */
    bool has_exit;
    int exit_code;        /* of the main process, when has_exit */
    char *message;        /* why it failed, NULL */
    char *boot_id;        /* host boot in which state was written */
    char *engine;         /* of the last start, NULL */
};
void bx_box_row_done(struct bx_box_row *row);

/* -BX_EEXISTS when the id or name is taken. Sets row->number. */
int bx_store_box_insert(struct bx_store *s, struct bx_box_row *row, struct bx_err *err);
/* By id, name, or unique prefix (>= 4 characters) of an id. -BX_ENOTFOUND "no such box: X". */
int bx_store_box_get(struct bx_store *s, const char *id_or_name, struct bx_box_row *ret, struct bx_err *err);
/* Newest first. Array of *ret_n rows, freed by bx_box_rows_free. */
int bx_store_box_list(struct bx_store *s, struct bx_box_row **ret, size_t *ret_n, struct bx_err *err);
void bx_box_rows_free(struct bx_box_row *rows, size_t n);

/* What changes about a box; written in one transaction when its state is one of `from` (bit mask of 1u << state), else
 * -BX_ESTATE naming the state it has. */
struct bx_box_change {
    int state;            /* 0 = as it is */
    int pid;              /* -1 = as it is */
    int64_t started_ms;   /* -1 = as it is */
    int64_t stopped_ms;   /* -1 = as it is */
    bool set_exit;
    bool has_exit;
    int exit_code;
    const char *disk;     /* NULL = as it is */
    const char *message;  /* NULL = as it is, "" = none */
    const char *boot_id;  /* NULL = as it is */
    const char *engine;   /* NULL = as it is */
};
#define BX_BOX_CHANGE_INIT ((struct bx_box_change){ .pid = -1, .started_ms = -1, .stopped_ms = -1 })
int bx_store_box_change(struct bx_store *s, const char *id, unsigned from, const struct bx_box_change *change, struct bx_err *err);
/*
 * Pins the disk a box stands on, and notes that its image is used now. Before the disk is looked for: from then on it is not garbage.
 * -BX_EIMAGE when no image has this manifest (it was removed meanwhile), unless the box is pinned to this disk already;
 * -BX_ENOTFOUND without the box. manifest_digest NULL: no image is asked for (then its blobs are there by a lease).
 */
int bx_store_box_pin(struct bx_store *s, const char *id, const char *disk, const char *manifest_digest, int64_t now_ms,
                     struct bx_err *err);
/* What the box was created with is to be this from its next start on. -BX_ENOTFOUND without the box. */
int bx_store_box_options(struct bx_store *s, const char *id, const char *options, struct bx_err *err);
/* -BX_ENOTFOUND when it is gone already. */
int bx_store_box_delete(struct bx_store *s, const char *id, struct bx_err *err);

struct bx_image_row {
    char *reference;       /* canonical: docker.io/library/python:slim */
    char *manifest_digest; /* sha256:... */
    char *config_digest;   /* sha256:... : the image id */
    char *disk;            /* file name under disks/, NULL until converted; whether it is there, the file tells */
    char *manifest;        /* JSON as stored in blobs (for listing layers without files) */
    int layer_count;
    int64_t cached_ms;
    uint64_t size;         /* bytes of its blobs */
    int64_t used_ms;       /* last start of a box of it, or when it was stored; not written by image_put */
};
void bx_image_row_done(struct bx_image_row *row);
int bx_store_image_put(struct bx_store *s, const struct bx_image_row *row, struct bx_err *err); /* replaces the reference */
int bx_store_image_get(struct bx_store *s, const char *reference, struct bx_image_row *ret, struct bx_err *err);
int bx_store_image_list(struct bx_store *s, struct bx_image_row **ret, size_t *ret_n, struct bx_err *err); /* newest first */
void bx_image_rows_free(struct bx_image_row *rows, size_t n);
int bx_store_image_set_disk(struct bx_store *s, const char *manifest_digest, const char *disk, struct bx_err *err);
/* All names of the image. -BX_ENOTFOUND when it has none. */
int bx_store_image_used(struct bx_store *s, const char *manifest_digest, int64_t now_ms, struct bx_err *err);
/* The image of reference `source` is also called `target`, which may have been another one's name. */
int bx_store_image_tag(struct bx_store *s, const char *source, const char *target, struct bx_err *err);
int bx_store_image_delete(struct bx_store *s, const char *reference, struct bx_err *err);

#endif
