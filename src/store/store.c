/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - the database: opening, migrations, and the statements of boxes and images.
 *
 * Theory of operation
 *
 *  One file in WAL mode, shared by every program that uses the home. A call is one transaction; writers queue for at most
 *  BUSY_MS. user_version is MAJOR*100 + MINOR: a newer minor only added columns or tables and can be used by us, a newer
 *  major cannot. Each migration is one string in a table; they run under a lock file, in one transaction, after the version
 *  was read again, so that programs that open an old database at once migrate it once.
 *
 *  Statements are prepared when needed and kept; each reads its row through one function, so the list of columns stands in one
 *  place per table.
 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "base/fd.h"
#include "base/str.h"

#define SCHEMA_MAJOR 1
#define BUSY_MS 5000
#define ROWS_MAX 1000000

static const char *const migrations[] = {
    "CREATE TABLE box ("
    " number INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id TEXT NOT NULL UNIQUE,"
    " name TEXT UNIQUE,"
    " image TEXT,"
    " disk TEXT,"
    " options TEXT NOT NULL,"
    " state INTEGER NOT NULL,"
    " pid INTEGER NOT NULL DEFAULT 0,"
    " detached INTEGER NOT NULL DEFAULT 0,"
    " created_ms INTEGER NOT NULL,"
    " started_ms INTEGER NOT NULL DEFAULT 0,"
    " stopped_ms INTEGER NOT NULL DEFAULT 0,"
    " exit_code INTEGER,"
    " message TEXT,"
    " boot_id TEXT,"
    " engine TEXT"
    ") STRICT;"
    "CREATE TABLE image ("
    " reference TEXT PRIMARY KEY,"
    " manifest_digest TEXT NOT NULL,"
    " config_digest TEXT NOT NULL,"
    " disk TEXT,"
    " manifest TEXT NOT NULL,"
    " layer_count INTEGER NOT NULL,"
    " cached_ms INTEGER NOT NULL,"
    " size INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX image_by_manifest ON image(manifest_digest);",
    "ALTER TABLE image ADD COLUMN used_ms INTEGER NOT NULL DEFAULT 0;",
};

#define SCHEMA_VERSION (SCHEMA_MAJOR * 100 + (int)BX_ARRAY_SIZE(migrations))

enum stmt {
    BOX_INSERT,
    BOX_GET,
    BOX_BY_PREFIX,
    BOX_LIST,
    BOX_CHANGE,
    BOX_DELETE,
    BOX_PIN,
    IMAGE_PUT,
    IMAGE_GET,
    IMAGE_LIST,
    IMAGE_SET_DISK,
    IMAGE_USED,
    IMAGE_TAG,
    IMAGE_DELETE,
    STMT_COUNT
};

#define BOX_COLUMNS                                                                                          \
    "number, id, name, image, disk, options, state, pid, detached, created_ms, started_ms, stopped_ms,"     \
    " exit_code, message, boot_id, engine"
#define IMAGE_COLUMNS "reference, manifest_digest, config_digest, disk, manifest, layer_count, cached_ms, size"

static const char *const statements[] = {
    [BOX_INSERT] = "INSERT INTO box (id, name, image, disk, options, state, pid, detached, created_ms, boot_id)"
                   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    [BOX_GET] = "SELECT " BOX_COLUMNS " FROM box WHERE id = ?1 OR name = ?1 ORDER BY name IS NOT ?1 LIMIT 1",
    [BOX_BY_PREFIX] = "SELECT " BOX_COLUMNS " FROM box WHERE substr(id, 1, length(?1)) = ?1 LIMIT 2",
    [BOX_LIST] = "SELECT " BOX_COLUMNS " FROM box ORDER BY created_ms DESC, number DESC",
    [BOX_CHANGE] = "UPDATE box SET"
                   " state = CASE WHEN ?2 = 0 THEN state ELSE ?2 END,"
                   " pid = CASE WHEN ?3 < 0 THEN pid ELSE ?3 END,"
                   " started_ms = CASE WHEN ?4 < 0 THEN started_ms ELSE ?4 END,"
                   " stopped_ms = CASE WHEN ?5 < 0 THEN stopped_ms ELSE ?5 END,"
                   " exit_code = CASE WHEN ?6 THEN ?7 ELSE exit_code END,"
                   " disk = coalesce(?8, disk),"
                   " message = CASE WHEN ?9 IS NULL THEN message ELSE nullif(?9, '') END,"
                   " boot_id = coalesce(?10, boot_id),"
                   " engine = coalesce(?11, engine)"
                   " WHERE id = ?1 AND (?12 >> state) & 1",
    [BOX_DELETE] = "DELETE FROM box WHERE id = ?1",
    [BOX_PIN] = "UPDATE box SET disk = ?2 WHERE id = ?1",
    [IMAGE_PUT] = "INSERT OR REPLACE INTO image (" IMAGE_COLUMNS ") VALUES (?1, ?2, ?3,"
                  " coalesce(?4, (SELECT disk FROM image WHERE manifest_digest = ?2 AND disk IS NOT NULL LIMIT 1)),"
                  " ?5, ?6, ?7, ?8)",
    [IMAGE_GET] = "SELECT " IMAGE_COLUMNS ", used_ms FROM image WHERE reference = ?1",
    [IMAGE_LIST] = "SELECT " IMAGE_COLUMNS ", used_ms FROM image ORDER BY cached_ms DESC, reference",
    [IMAGE_SET_DISK] = "UPDATE image SET disk = ?2 WHERE manifest_digest = ?1",
    [IMAGE_USED] = "UPDATE image SET used_ms = ?2 WHERE manifest_digest = ?1",
    [IMAGE_TAG] = "INSERT OR REPLACE INTO image (" IMAGE_COLUMNS ", used_ms) SELECT ?2, manifest_digest, config_digest, disk,"
                  " manifest, layer_count, cached_ms, size, used_ms FROM image WHERE reference = ?1",
    [IMAGE_DELETE] = "DELETE FROM image WHERE reference = ?1",
};
_Static_assert(BX_ARRAY_SIZE(statements) == STMT_COUNT, "one statement for each name");

struct bx_store {
    sqlite3 *db;
    sqlite3_stmt *prepared[STMT_COUNT];
    char *path;
    bool durable; /* the transaction that is open */
};

/* A failing statement as an error: which file, what SQLite says, and what to do where that is known. */
static int fail_db(struct bx_store *s, struct bx_err *err, const char *what)
{
    int rc = sqlite3_extended_errcode(s->db);
    const char *hint = "";
    switch (rc & 0xff) {
    case SQLITE_BUSY:
        hint = " (another program holds the database; try again)";
        break;
    case SQLITE_FULL:
        hint = " (no space left on the device)";
        break;
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
        hint = " (is the home directory writable?)";
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        hint = " (the file is damaged; move it away to start with an empty one)";
        break;
    default:
        break;
    }
    return bx_fail(err, BX_EDATABASE, 0, "%s: %s: %s%s", s->path, what, sqlite3_errmsg(s->db), hint);
}

static int exec_sql(struct bx_store *s, const char *sql, const char *what, struct bx_err *err)
{
    if (sqlite3_exec(s->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return fail_db(s, err, what);
    return 0;
}

static int read_version(struct bx_store *s, int *ret, struct bx_err *err)
{
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(s->db, "PRAGMA user_version", -1, &st, NULL) != SQLITE_OK)
        return fail_db(s, err, "read the schema version");
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        *ret = sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    if (rc != SQLITE_ROW)
        return fail_db(s, err, "read the schema version");
    if (*ret / 100 > SCHEMA_MAJOR)
        return bx_fail(err, BX_EDATABASE, 0,
                       "%s: written by a newer BoxLite (schema %d, this library reads up to %d.x): use that version, or "
                       "another home", s->path, *ret, SCHEMA_MAJOR);
    return 0;
}

static int apply_migrations(struct bx_store *s, struct bx_err *err)
{
    int version = 0;
    int r = read_version(s, &version, err);
    if (r < 0)
        return r;
    int done = version % 100;
    for (int i = done; i < (int)BX_ARRAY_SIZE(migrations); i++) {
        r = exec_sql(s, migrations[i], "change the schema", err);
        if (r < 0)
            return r;
    }
    if (done >= (int)BX_ARRAY_SIZE(migrations))
        return 0;
    char pragma[64];
    snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %d", SCHEMA_VERSION);
    return exec_sql(s, pragma, "write the schema version", err);
}

/* Makes the schema current. The first one in does it: the others wait for its lock and find nothing left to do. A lock of our own,
 * because SQLite answers BUSY at once to a second program that switches a new file to WAL. */
static int migrate(struct bx_store *s, struct bx_err *err)
{
    int version = 0;
    int r = read_version(s, &version, err);
    if (r < 0 || version >= SCHEMA_VERSION)
        return r;
    bx_cleanup_free char *name = bx_strf("%s.lock", s->path);
    bx_cleanup_close int lock = name ? open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (lock < 0 || flock(lock, LOCK_EX) < 0)
        return bx_fail(err, BX_EDATABASE, errno, "%s: lock", s->path);
    r = exec_sql(s, "PRAGMA journal_mode = WAL; BEGIN IMMEDIATE", "lock", err);
    if (r < 0)
        return r;
    r = apply_migrations(s, err);
    if (r < 0) {
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
        return r;
    }
    return exec_sql(s, "COMMIT", "change the schema", err);
}

int bx_store_open(const char *home, struct bx_store **ret, struct bx_err *err)
{
    BX_CLEANUP(bx_store_close_p) struct bx_store *s = calloc(1, sizeof(*s));
    if (!s)
        return bx_fail(err, BX_EINTERNAL, ENOMEM, "open the database");
    s->path = bx_strf("%s/db/boxlite.db", home);
    if (!s->path)
        return bx_fail(err, BX_EINTERNAL, ENOMEM, "open the database");
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(s->path, &s->db, flags, NULL) != SQLITE_OK)
        return fail_db(s, err, "open");
    sqlite3_busy_timeout(s->db, BUSY_MS);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    /* The last program to close would copy the log into the database and delete it, with two or three syncs, and the next one
     * would make it anew with two more: most programs write three rows. The log is copied when it is 1000 pages long. */
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    int r = exec_sql(s, "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;", "open", err);
    if (r == 0)
        r = migrate(s, err);
    if (r < 0)
        return r;
    *ret = BX_TAKE_PTR(s);
    return 0;
}

struct bx_store *bx_store_close(struct bx_store *s)
{
    if (!s)
        return NULL;
    for (size_t i = 0; i < STMT_COUNT; i++)
        sqlite3_finalize(s->prepared[i]);
    sqlite3_close(s->db);
    free(s->path);
    free(s);
    return NULL;
}

int bx_store_begin(struct bx_store *s, struct bx_err *err)
{
    return exec_sql(s, "BEGIN IMMEDIATE", "begin", err);
}

int bx_store_begin_durable(struct bx_store *s, struct bx_err *err)
{
    int r = exec_sql(s, "PRAGMA synchronous = FULL", "begin", err);
    if (r < 0)
        return r;
    s->durable = true;
    r = bx_store_begin(s, err);
    if (r < 0)
        bx_store_rollback(s);
    return r;
}

int bx_store_commit(struct bx_store *s, struct bx_err *err)
{
    int r = exec_sql(s, "COMMIT", "commit", err);
    bx_store_rollback(s); /* a failed one; and what else belongs to the end */
    return r;
}

void bx_store_rollback(struct bx_store *s)
{
    if (!sqlite3_get_autocommit(s->db)) /* some errors have rolled it back already */
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    if (s->durable)
        sqlite3_exec(s->db, "PRAGMA synchronous = NORMAL", NULL, NULL, NULL);
    s->durable = false;
}

static sqlite3_stmt *prepare(struct bx_store *s, enum stmt which, struct bx_err *err)
{
    sqlite3_stmt **st = &s->prepared[which];
    if (*st) {
        sqlite3_reset(*st);
        sqlite3_clear_bindings(*st);
        return *st;
    }
    if (sqlite3_prepare_v3(s->db, statements[which], -1, SQLITE_PREPARE_PERSISTENT, st, NULL) != SQLITE_OK) {
        fail_db(s, err, "prepare");
        return NULL;
    }
    return *st;
}

/* Strings are copied by nobody: they outlive the step, and bindings are cleared before the next use. */
static void bind_text(sqlite3_stmt *st, int i, const char *s)
{
    if (s)
        sqlite3_bind_text(st, i, s, -1, SQLITE_STATIC);
}

static char *column_text(sqlite3_stmt *st, int i)
{
    const unsigned char *t = sqlite3_column_text(st, i);
    return t ? strdup((const char *)t) : NULL;
}

/* Ends a statement that gives no rows. */
static int finish(struct bx_store *s, sqlite3_stmt *st, const char *what, struct bx_err *err)
{
    int rc = sqlite3_step(st);
    int r = rc == SQLITE_DONE ? 0 : fail_db(s, err, what);
    sqlite3_reset(st);
    return r;
}

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
        .id = column_text(st, 1),
        .name = column_text(st, 2),
        .image = column_text(st, 3),
        .disk = column_text(st, 4),
        .options = column_text(st, 5),
        .state = sqlite3_column_int(st, 6),
        .pid = sqlite3_column_int(st, 7),
        .detached = sqlite3_column_int(st, 8) != 0,
        .created_ms = sqlite3_column_int64(st, 9),
        .started_ms = sqlite3_column_int64(st, 10),
        .stopped_ms = sqlite3_column_int64(st, 11),
        .has_exit = sqlite3_column_type(st, 12) != SQLITE_NULL,
        .exit_code = sqlite3_column_int(st, 12),
        .message = column_text(st, 13),
        .boot_id = column_text(st, 14),
        .engine = column_text(st, 15),
    };
}

int bx_store_box_insert(struct bx_store *s, struct bx_box_row *row, struct bx_err *err)
{
    sqlite3_stmt *st = prepare(s, BOX_INSERT, err);
    if (!st)
        return -BX_EDATABASE;
    bind_text(st, 1, row->id);
    bind_text(st, 2, row->name);
    bind_text(st, 3, row->image);
    bind_text(st, 4, row->disk);
    bind_text(st, 5, row->options);
    sqlite3_bind_int(st, 6, row->state);
    sqlite3_bind_int(st, 7, row->pid);
    sqlite3_bind_int(st, 8, row->detached);
    sqlite3_bind_int64(st, 9, row->created_ms);
    bind_text(st, 10, row->boot_id);
    int rc = sqlite3_step(st);
    int r = 0;
    if (rc == SQLITE_CONSTRAINT_UNIQUE)
        r = bx_fail(err, BX_EEXISTS, 0, "box with name '%s' already exists", row->name ? row->name : row->id);
    else if (rc != SQLITE_DONE)
        r = fail_db(s, err, "create a box");
    else
        row->number = sqlite3_last_insert_rowid(s->db);
    sqlite3_reset(st);
    return r;
}

static int box_by_prefix(struct bx_store *s, const char *prefix, struct bx_box_row *ret, struct bx_err *err)
{
    if (strlen(prefix) < 4)
        return bx_fail(err, BX_ENOTFOUND, 0, "no such box: %s", prefix);
    sqlite3_stmt *st = prepare(s, BOX_BY_PREFIX, err);
    if (!st)
        return -BX_EDATABASE;
    bind_text(st, 1, prefix);
    int r;
    int rc = sqlite3_step(st);
    if (rc == SQLITE_DONE) {
        r = bx_fail(err, BX_ENOTFOUND, 0, "no such box: %s", prefix);
    } else if (rc != SQLITE_ROW) {
        r = fail_db(s, err, "look up a box");
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
    sqlite3_stmt *st = prepare(s, BOX_GET, err);
    if (!st)
        return -BX_EDATABASE;
    bind_text(st, 1, id_or_name);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        read_box(st, ret);
    sqlite3_reset(st);
    if (rc == SQLITE_ROW)
        return 0;
    return rc == SQLITE_DONE ? box_by_prefix(s, id_or_name, ret, err) : fail_db(s, err, "look up a box");
}

int bx_store_box_list(struct bx_store *s, struct bx_box_row **ret, size_t *ret_n, struct bx_err *err)
{
    sqlite3_stmt *st = prepare(s, BOX_LIST, err);
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
        return rc == SQLITE_NOMEM ? bx_fail(err, BX_EINTERNAL, ENOMEM, "list boxes") : fail_db(s, err, "list boxes");
    }
    *ret = rows;
    *ret_n = n;
    return 0;
}

static void bind_change(sqlite3_stmt *st, const char *id, unsigned from, const struct bx_box_change *c)
{
    bind_text(st, 1, id);
    sqlite3_bind_int(st, 2, c->state);
    sqlite3_bind_int(st, 3, c->pid);
    sqlite3_bind_int64(st, 4, c->started_ms);
    sqlite3_bind_int64(st, 5, c->stopped_ms);
    sqlite3_bind_int(st, 6, c->set_exit);
    if (c->has_exit)
        sqlite3_bind_int(st, 7, c->exit_code);
    bind_text(st, 8, c->disk);
    bind_text(st, 9, c->message);
    bind_text(st, 10, c->boot_id);
    bind_text(st, 11, c->engine);
    sqlite3_bind_int64(st, 12, from);
}

int bx_store_box_change(struct bx_store *s, const char *id, unsigned from, const struct bx_box_change *change,
                        struct bx_err *err)
{
    sqlite3_stmt *st = prepare(s, BOX_CHANGE, err);
    if (!st)
        return -BX_EDATABASE;
    bind_change(st, id, from, change);
    int r = finish(s, st, "change a box", err);
    if (r < 0)
        return r;
    if (sqlite3_changes(s->db) > 0)
        return 0;
    struct bx_box_row row;
    r = bx_store_box_get(s, id, &row, err);
    if (r < 0)
        return r;
    int state = row.state;
    bx_box_row_done(&row);
    return bx_fail(err, BX_ESTATE, 0, "box %s is in state %d, which does not allow this", id, state);
}

int bx_store_box_delete(struct bx_store *s, const char *id, struct bx_err *err)
{
    sqlite3_stmt *st = prepare(s, BOX_DELETE, err);
    if (!st)
        return -BX_EDATABASE;
    bind_text(st, 1, id);
    int r = finish(s, st, "remove a box", err);
    if (r == 0 && sqlite3_changes(s->db) == 0)
        return bx_fail(err, BX_ENOTFOUND, 0, "no such box: %s", id);
    return r;
}

static int set_pin(struct bx_store *s, const char *id, const char *disk, struct bx_err *err)
{
    sqlite3_stmt *st = prepare(s, BOX_PIN, err);
    if (!st)
        return -BX_EDATABASE;
    bind_text(st, 1, id);
    bind_text(st, 2, disk);
    int r = finish(s, st, "note a box's disk", err);
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
        .reference = column_text(st, 0),
        .manifest_digest = column_text(st, 1),
        .config_digest = column_text(st, 2),
        .disk = column_text(st, 3),
        .manifest = column_text(st, 4),
        .layer_count = sqlite3_column_int(st, 5),
        .cached_ms = sqlite3_column_int64(st, 6),
        .size = (uint64_t)sqlite3_column_int64(st, 7),
        .used_ms = BX_MAX(sqlite3_column_int64(st, 6), sqlite3_column_int64(st, 8)),
    };
}

int bx_store_image_put(struct bx_store *s, const struct bx_image_row *row, struct bx_err *err)
{
    sqlite3_stmt *st = prepare(s, IMAGE_PUT, err);
    if (!st)
        return -BX_EDATABASE;
    bind_text(st, 1, row->reference);
    bind_text(st, 2, row->manifest_digest);
    bind_text(st, 3, row->config_digest);
    bind_text(st, 4, row->disk);
    bind_text(st, 5, row->manifest);
    sqlite3_bind_int(st, 6, row->layer_count);
    sqlite3_bind_int64(st, 7, row->cached_ms);
    sqlite3_bind_int64(st, 8, (sqlite3_int64)row->size);
    return finish(s, st, "store an image", err);
}

int bx_store_image_get(struct bx_store *s, const char *reference, struct bx_image_row *ret, struct bx_err *err)
{
    sqlite3_stmt *st = prepare(s, IMAGE_GET, err);
    if (!st)
        return -BX_EDATABASE;
    bind_text(st, 1, reference);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        read_image(st, ret);
    sqlite3_reset(st);
    if (rc == SQLITE_ROW)
        return 0;
    return rc == SQLITE_DONE ? bx_fail(err, BX_ENOTFOUND, 0, "no such image: %s", reference)
                             : fail_db(s, err, "look up an image");
}

int bx_store_image_list(struct bx_store *s, struct bx_image_row **ret, size_t *ret_n, struct bx_err *err)
{
    sqlite3_stmt *st = prepare(s, IMAGE_LIST, err);
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
        return rc == SQLITE_NOMEM ? bx_fail(err, BX_EINTERNAL, ENOMEM, "list images") : fail_db(s, err, "list images");
    }
    *ret = rows;
    *ret_n = n;
    return 0;
}

int bx_store_image_set_disk(struct bx_store *s, const char *manifest_digest, const char *disk, struct bx_err *err)
{
    sqlite3_stmt *st = prepare(s, IMAGE_SET_DISK, err);
    if (!st)
        return -BX_EDATABASE;
    bind_text(st, 1, manifest_digest);
    bind_text(st, 2, disk);
    return finish(s, st, "note an image's disk", err);
}

int bx_store_image_used(struct bx_store *s, const char *manifest_digest, int64_t now_ms, struct bx_err *err)
{
    sqlite3_stmt *st = prepare(s, IMAGE_USED, err);
    if (!st)
        return -BX_EDATABASE;
    bind_text(st, 1, manifest_digest);
    sqlite3_bind_int64(st, 2, now_ms);
    int r = finish(s, st, "note an image's use", err);
    if (r == 0 && sqlite3_changes(s->db) == 0)
        return bx_fail(err, BX_ENOTFOUND, 0, "no image is %s any more", manifest_digest);
    return r;
}

int bx_store_image_tag(struct bx_store *s, const char *source, const char *target, struct bx_err *err)
{
    if (bx_streq(source, target)) {
        struct bx_image_row row;
        int r = bx_store_image_get(s, source, &row, err);
        if (r == 0)
            bx_image_row_done(&row);
        return r;
    }
    sqlite3_stmt *st = prepare(s, IMAGE_TAG, err);
    if (!st)
        return -BX_EDATABASE;
    bind_text(st, 1, source);
    bind_text(st, 2, target);
    int r = finish(s, st, "name an image", err);
    if (r == 0 && sqlite3_changes(s->db) == 0)
        return bx_fail(err, BX_ENOTFOUND, 0, "no such image: %s", source);
    return r;
}

int bx_store_image_delete(struct bx_store *s, const char *reference, struct bx_err *err)
{
    sqlite3_stmt *st = prepare(s, IMAGE_DELETE, err);
    if (!st)
        return -BX_EDATABASE;
    bind_text(st, 1, reference);
    int r = finish(s, st, "remove an image", err);
    if (r == 0 && sqlite3_changes(s->db) == 0)
        return bx_fail(err, BX_ENOTFOUND, 0, "no such image: %s", reference);
    return r;
}
