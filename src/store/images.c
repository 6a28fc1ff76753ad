/* SPDX-License-Identifier: Apache-2.0 */
/* images.c - rows of images. */
#include "store/priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

void bx_image_row_done(struct bx_image_row *row)
{
    free(row->reference);
    free(row->manifest_digest);
    free(row->config_digest);
    free(row->disk);
    free(row->manifest);
    memset(row, 0, sizeof(*row));
}

void bx_image_rows_free(struct bx_image_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bx_image_row_done(&rows[i]);
    free(rows);
}

static void read_image(sqlite3_stmt *st, struct bx_image_row *row)
{
    *row = (struct bx_image_row){
        .reference = store_column_text(st, 0),
        .manifest_digest = store_column_text(st, 1),
        .config_digest = store_column_text(st, 2),
        .disk = store_column_text(st, 3),
        .manifest = store_column_text(st, 4),
        .layer_count = sqlite3_column_int(st, 5),
        .cached_ms = sqlite3_column_int64(st, 6),
        .size = (uint64_t)sqlite3_column_int64(st, 7),
        .used_ms = BX_MAX(sqlite3_column_int64(st, 6), sqlite3_column_int64(st, 8)),
    };
}

int bx_store_image_put(struct bx_store *s, const struct bx_image_row *row, struct bx_err *err)
{
    sqlite3_stmt *st = store_prepare(s, IMAGE_PUT, err);
    if (!st)
        return -BX_EDATABASE;
    store_bind_text(st, 1, row->reference);
    store_bind_text(st, 2, row->manifest_digest);
    store_bind_text(st, 3, row->config_digest);
    store_bind_text(st, 4, row->disk);
    store_bind_text(st, 5, row->manifest);
    sqlite3_bind_int(st, 6, row->layer_count);
    sqlite3_bind_int64(st, 7, row->cached_ms);
    sqlite3_bind_int64(st, 8, (sqlite3_int64)row->size);
    return store_finish(s, st, "store an image", err);
}

int bx_store_image_get(struct bx_store *s, const char *reference, struct bx_image_row *ret, struct bx_err *err)
{
    sqlite3_stmt *st = store_prepare(s, IMAGE_GET, err);
    if (!st)
        return -BX_EDATABASE;
    store_bind_text(st, 1, reference);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        read_image(st, ret);
    sqlite3_reset(st);
    if (rc == SQLITE_ROW)
        return 0;
    return rc == SQLITE_DONE ? bx_fail(err, BX_ENOTFOUND, 0, "no such image: %s", reference)
                             : store_fail(s, err, "look up an image");
}

int bx_store_image_list(struct bx_store *s, struct bx_image_row **ret, size_t *ret_n, struct bx_err *err)
{
    sqlite3_stmt *st = store_prepare(s, IMAGE_LIST, err);
    if (!st)
        return -BX_EDATABASE;
    struct bx_image_row *rows = NULL;
    size_t n = 0;
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW && n < ROWS_MAX) {
        struct bx_image_row *more = reallocarray(rows, n + 1, sizeof(*rows));
        if (!more) {
            rc = SQLITE_NOMEM;
            break;
        }
        rows = more;
        read_image(st, &rows[n++]);
    }
    sqlite3_reset(st);
    if (rc != SQLITE_DONE) {
        bx_image_rows_free(rows, n);
        return rc == SQLITE_NOMEM ? bx_fail(err, BX_EINTERNAL, ENOMEM, "list images") : store_fail(s, err, "list images");
    }
    *ret = rows;
    *ret_n = n;
    return 0;
}

int bx_store_image_set_disk(struct bx_store *s, const char *manifest_digest, const char *disk, struct bx_err *err)
{
    sqlite3_stmt *st = store_prepare(s, IMAGE_SET_DISK, err);
    if (!st)
        return -BX_EDATABASE;
    store_bind_text(st, 1, manifest_digest);
    store_bind_text(st, 2, disk);
    return store_finish(s, st, "note an image's disk", err);
}

int bx_store_image_used(struct bx_store *s, const char *manifest_digest, int64_t now_ms, struct bx_err *err)
{
    sqlite3_stmt *st = store_prepare(s, IMAGE_USED, err);
    if (!st)
        return -BX_EDATABASE;
    store_bind_text(st, 1, manifest_digest);
    sqlite3_bind_int64(st, 2, now_ms);
    int r = store_finish(s, st, "note an image's use", err);
    if (r == 0 && sqlite3_changes(s->db) == 0)
        return bx_fail(err, BX_ENOTFOUND, 0, "no image is %s any more", manifest_digest);
    return r;
}

int bx_store_image_tag(struct bx_store *s, const char *source, const char *target, struct bx_err *err)
{
    if (bx_streq(source, target)) {
        struct bx_image_row row = {0};
        int r = bx_store_image_get(s, source, &row, err);
        if (r == 0)
            bx_image_row_done(&row);
        return r;
    }
    sqlite3_stmt *st = store_prepare(s, IMAGE_TAG, err);
    if (!st)
        return -BX_EDATABASE;
    store_bind_text(st, 1, source);
    store_bind_text(st, 2, target);
    int r = store_finish(s, st, "name an image", err);
    if (r == 0 && sqlite3_changes(s->db) == 0)
        return bx_fail(err, BX_ENOTFOUND, 0, "no such image: %s", source);
    return r;
}

int bx_store_image_delete(struct bx_store *s, const char *reference, struct bx_err *err)
{
    sqlite3_stmt *st = store_prepare(s, IMAGE_DELETE, err);
    if (!st)
        return -BX_EDATABASE;
    store_bind_text(st, 1, reference);
    int r = store_finish(s, st, "remove an image", err);
    if (r == 0 && sqlite3_changes(s->db) == 0)
        return bx_fail(err, BX_ENOTFOUND, 0, "no such image: %s", reference);
    return r;
}
