/* SPDX-License-Identifier: Apache-2.0 */
/* boxes.c - rows of boxes. */
#include "store/priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

void bx_box_row_done(struct bx_box_row *row)
{
    char **strings[] = { &row->id, &row->name, &row->image, &row->disk, &row->options,
                         &row->message, &row->boot_id, &row->engine };
    for (size_t i = 0; i < BX_ARRAY_SIZE(strings); i++)
        free(*strings[i]);
    memset(row, 0, sizeof(*row));
}

void bx_box_rows_free(struct bx_box_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bx_box_row_done(&rows[i]);
    free(rows);
}

static void read_box(sqlite3_stmt *st, struct bx_box_row *row)
{
    *row = (struct bx_box_row){
        .number = sqlite3_column_int64(st, 0),
        .id = store_column_text(st, 1),
        .name = store_column_text(st, 2),
        .image = store_column_text(st, 3),
        .disk = store_column_text(st, 4),
        .options = store_column_text(st, 5),
        .state = sqlite3_column_int(st, 6),
        .pid = sqlite3_column_int(st, 7),
        .detached = sqlite3_column_int(st, 8) != 0,
        .created_ms = sqlite3_column_int64(st, 9),
        .started_ms = sqlite3_column_int64(st, 10),
        .stopped_ms = sqlite3_column_int64(st, 11),
        .has_exit = sqlite3_column_type(st, 12) != SQLITE_NULL,
        .exit_code = sqlite3_column_int(st, 12),
        .message = store_column_text(st, 13),
        .boot_id = store_column_text(st, 14),
        .engine = store_column_text(st, 15),
    };
}

int bx_store_box_insert(struct bx_store *s, struct bx_box_row *row, struct bx_err *err)
{
    sqlite3_stmt *st = store_prepare(s, BOX_INSERT, err);
    if (!st)
        return -BX_EDATABASE;
    store_bind_text(st, 1, row->id);
    store_bind_text(st, 2, row->name);
    store_bind_text(st, 3, row->image);
    store_bind_text(st, 4, row->disk);
    store_bind_text(st, 5, row->options);
    sqlite3_bind_int(st, 6, row->state);
    sqlite3_bind_int(st, 7, row->pid);
    sqlite3_bind_int(st, 8, row->detached);
    sqlite3_bind_int64(st, 9, row->created_ms);
    store_bind_text(st, 10, row->boot_id);
    int rc = sqlite3_step(st);
    int r = 0;
    if (rc == SQLITE_CONSTRAINT_UNIQUE)
        r = bx_fail(err, BX_EEXISTS, 0, "box with name '%s' already exists", row->name ? row->name : row->id);
    else if (rc != SQLITE_DONE)
        r = store_fail(s, err, "create a box");
    else
        row->number = sqlite3_last_insert_rowid(s->db);
    sqlite3_reset(st);
    return r;
}

static int box_by_prefix(struct bx_store *s, const char *prefix, struct bx_box_row *ret, struct bx_err *err)
{
    if (strlen(prefix) < 4)
        return bx_fail(err, BX_ENOTFOUND, 0, "no such box: %s", prefix);
    sqlite3_stmt *st = store_prepare(s, BOX_BY_PREFIX, err);
    if (!st)
        return -BX_EDATABASE;
    store_bind_text(st, 1, prefix);
    int r;
    int rc = sqlite3_step(st);
    if (rc == SQLITE_DONE) {
        r = bx_fail(err, BX_ENOTFOUND, 0, "no such box: %s", prefix);
    } else if (rc != SQLITE_ROW) {
        r = store_fail(s, err, "look up a box");
    } else {
        struct bx_box_row row;
        read_box(st, &row);
        r = sqlite3_step(st) == SQLITE_ROW
                ? bx_fail(err, BX_ENOTFOUND, 0, "%s is the start of more than one box's id: give more of it", prefix)
                : 0;
        if (r == 0)
            *ret = row;
        else
            bx_box_row_done(&row);
    }
    sqlite3_reset(st);
    return r;
}

int bx_store_box_get(struct bx_store *s, const char *id_or_name, struct bx_box_row *ret, struct bx_err *err)
{
    sqlite3_stmt *st = store_prepare(s, BOX_GET, err);
    if (!st)
        return -BX_EDATABASE;
    store_bind_text(st, 1, id_or_name);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        read_box(st, ret);
    sqlite3_reset(st);
    if (rc == SQLITE_ROW)
        return 0;
    return rc == SQLITE_DONE ? box_by_prefix(s, id_or_name, ret, err) : store_fail(s, err, "look up a box");
}

int bx_store_box_list(struct bx_store *s, struct bx_box_row **ret, size_t *ret_n, struct bx_err *err)
{
    sqlite3_stmt *st = store_prepare(s, BOX_LIST, err);
    if (!st)
        return -BX_EDATABASE;
    struct bx_box_row *rows = NULL;
    size_t n = 0, cap = 0;
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW && n < ROWS_MAX) {
        if (n == cap) {
            cap = cap ? cap * 2 : 16;
            struct bx_box_row *more = reallocarray(rows, cap, sizeof(*rows));
            if (!more) {
                rc = SQLITE_NOMEM;
                break;
            }
            rows = more;
        }
        read_box(st, &rows[n++]);
    }
    sqlite3_reset(st);
    if (rc != SQLITE_DONE) {
        bx_box_rows_free(rows, n);
        return rc == SQLITE_NOMEM ? bx_fail(err, BX_EINTERNAL, ENOMEM, "list boxes") : store_fail(s, err, "list boxes");
    }
    *ret = rows;
    *ret_n = n;
    return 0;
}

static void bind_change(sqlite3_stmt *st, const char *id, unsigned from, const struct bx_box_change *c)
{
    store_bind_text(st, 1, id);
    sqlite3_bind_int(st, 2, c->state);
    sqlite3_bind_int(st, 3, c->pid);
    sqlite3_bind_int64(st, 4, c->started_ms);
    sqlite3_bind_int64(st, 5, c->stopped_ms);
    sqlite3_bind_int(st, 6, c->set_exit);
    if (c->has_exit)
        sqlite3_bind_int(st, 7, c->exit_code);
    store_bind_text(st, 8, c->disk);
    store_bind_text(st, 9, c->message);
    store_bind_text(st, 10, c->boot_id);
    store_bind_text(st, 11, c->engine);
    sqlite3_bind_int64(st, 12, from);
}

int bx_store_box_change(struct bx_store *s, const char *id, unsigned from, const struct bx_box_change *change,
                        struct bx_err *err)
{
    sqlite3_stmt *st = store_prepare(s, BOX_CHANGE, err);
    if (!st)
        return -BX_EDATABASE;
    bind_change(st, id, from, change);
    int r = store_finish(s, st, "change a box", err);
    if (r < 0)
        return r;
    if (sqlite3_changes(s->db) > 0)
        return 0;
    struct bx_box_row row = {0};
    r = bx_store_box_get(s, id, &row, err);
    if (r < 0)
        return r;
    int state = row.state;
    bx_box_row_done(&row);
    return bx_fail(err, BX_ESTATE, 0, "box %s is in state %d, which does not allow this", id, state);
}

int bx_store_box_options(struct bx_store *s, const char *id, const char *options, struct bx_err *err)
{
    sqlite3_stmt *st = store_prepare(s, BOX_OPTIONS, err);
    if (!st)
        return -BX_EDATABASE;
    store_bind_text(st, 1, id);
    store_bind_text(st, 2, options);
    int r = store_finish(s, st, "change a box", err);
    if (r == 0 && sqlite3_changes(s->db) == 0)
        return bx_fail(err, BX_ENOTFOUND, 0, "no such box: %s", id);
    return r;
}

int bx_store_box_delete(struct bx_store *s, const char *id, struct bx_err *err)
{
    sqlite3_stmt *st = store_prepare(s, BOX_DELETE, err);
    if (!st)
        return -BX_EDATABASE;
    store_bind_text(st, 1, id);
    int r = store_finish(s, st, "remove a box", err);
    if (r == 0 && sqlite3_changes(s->db) == 0)
        return bx_fail(err, BX_ENOTFOUND, 0, "no such box: %s", id);
    return r;
}

static int set_pin(struct bx_store *s, const char *id, const char *disk, struct bx_err *err)
{
    sqlite3_stmt *st = store_prepare(s, BOX_PIN, err);
    if (!st)
        return -BX_EDATABASE;
    store_bind_text(st, 1, id);
    store_bind_text(st, 2, disk);
    int r = store_finish(s, st, "note a box's disk", err);
    if (r == 0 && sqlite3_changes(s->db) == 0)
        return bx_fail(err, BX_ENOTFOUND, 0, "no such box: %s", id);
    return r;
}

static int pin_in_transaction(struct bx_store *s, const char *id, const char *disk, const char *manifest_digest,
                              int64_t now_ms, struct bx_err *err)
{
    struct bx_box_row row = { 0 };
    int r = bx_store_box_get(s, id, &row, err);
    bool pinned = r == 0 && row.disk && bx_streq(row.disk, disk);
    bx_box_row_done(&row);
    struct bx_err why = BX_ERR_INIT;
    if (r < 0)
        return r;
    if (manifest_digest)
        r = bx_store_image_used(s, manifest_digest, now_ms, &why);
    if (pinned && (r == 0 || r == -BX_ENOTFOUND)) /* it stands on its disk, named by an image or not */
        return 0;
    if (r == 0)
        return set_pin(s, id, disk, err);
    if (err)
        *err = why;
    return r == -BX_ENOTFOUND ? bx_fail(err, BX_EIMAGE, 0, "the image was removed meanwhile: %s", manifest_digest) : r;
}

int bx_store_box_pin(struct bx_store *s, const char *id, const char *disk, const char *manifest_digest, int64_t now_ms,
                     struct bx_err *err)
{
    int r = bx_store_begin(s, err);
    if (r < 0)
        return r;
    r = pin_in_transaction(s, id, disk, manifest_digest, now_ms, err);
    if (r == 0)
        return bx_store_commit(s, err);
    bx_store_rollback(s);
    return r;
}
