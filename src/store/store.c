/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - the database: opening, migrations, transactions, and all statements (boxes.c and images.c use them).
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
#include "store/priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "base/fd.h"
#include "base/str.h"

#define SCHEMA_MAJOR 1
#define BUSY_MS 5000

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
    [BOX_OPTIONS] = "UPDATE box SET options = ?2 WHERE id = ?1",
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

int store_fail(struct bx_store *s, struct bx_err *err, const char *what)
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
        return store_fail(s, err, what);
    return 0;
}

static int read_version(struct bx_store *s, int *ret, struct bx_err *err)
{
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(s->db, "PRAGMA user_version", -1, &st, NULL) != SQLITE_OK)
        return store_fail(s, err, "read the schema version");
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        *ret = sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    if (rc != SQLITE_ROW)
        return store_fail(s, err, "read the schema version");
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
        return store_fail(s, err, "open");
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

int bx_store_check(struct bx_store *s, void (*fn)(void *ud, const char *complaint), void *ud, struct bx_err *err)
{
    sqlite3_stmt *st = NULL;
    int rc, n = 0;

    if (sqlite3_prepare_v2(s->db, "PRAGMA integrity_check(20)", -1, &st, NULL) != SQLITE_OK)
        return store_fail(s, err, "check");
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(st, 0);

        if (bx_streq(text, "ok"))
            continue;
        n++;
        fn(ud, text ? text : "");
    }
    if (rc != SQLITE_DONE)
        n = store_fail(s, err, "check");
    sqlite3_finalize(st);
    return n;
}

int bx_store_reindex(struct bx_store *s, struct bx_err *err)
{
    return exec_sql(s, "REINDEX", "make the indexes anew", err);
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

sqlite3_stmt *store_prepare(struct bx_store *s, enum stmt which, struct bx_err *err)
{
    sqlite3_stmt **st = &s->prepared[which];
    if (*st) {
        sqlite3_reset(*st);
        sqlite3_clear_bindings(*st);
        return *st;
    }
    if (sqlite3_prepare_v3(s->db, statements[which], -1, SQLITE_PREPARE_PERSISTENT, st, NULL) != SQLITE_OK) {
        store_fail(s, err, "prepare");
        return NULL;
    }
    return *st;
}

void store_bind_text(sqlite3_stmt *st, int i, const char *s)
{
    if (s)
        sqlite3_bind_text(st, i, s, -1, SQLITE_STATIC);
}

char *store_column_text(sqlite3_stmt *st, int i)
{
    const unsigned char *t = sqlite3_column_text(st, i);
    return t ? strdup((const char *)t) : NULL;
}

int store_finish(struct bx_store *s, sqlite3_stmt *st, const char *what, struct bx_err *err)
{
    int rc = sqlite3_step(st);
    int r = rc == SQLITE_DONE ? 0 : store_fail(s, err, what);
    sqlite3_reset(st);
    return r;
}
