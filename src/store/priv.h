/* SPDX-License-Identifier: Apache-2.0 */
/* priv.h - between the files of the store: the database, and its statements by name. */
#ifndef BX_STORE_PRIV_H
#define BX_STORE_PRIV_H

#include <sqlite3.h>

#include "store/store.h"

#define ROWS_MAX 1000000

enum stmt {
    BOX_INSERT,
    BOX_GET,
    BOX_BY_PREFIX,
    BOX_LIST,
    BOX_CHANGE,
    BOX_DELETE,
    BOX_PIN,
    BOX_OPTIONS,
    IMAGE_PUT,
    IMAGE_GET,
    IMAGE_LIST,
    IMAGE_SET_DISK,
    IMAGE_USED,
    IMAGE_TAG,
    IMAGE_DELETE,
    STMT_COUNT
};

struct bx_store {
    sqlite3 *db;
    sqlite3_stmt *prepared[STMT_COUNT];
    char *path;
    bool durable; /* the transaction that is open */
};

/* A failing statement as an error: which file, what SQLite says, and what to do where that is known. */
int store_fail(struct bx_store *s, struct bx_err *err, const char *what);
/* Ready for bindings; NULL with err. */
sqlite3_stmt *store_prepare(struct bx_store *s, enum stmt which, struct bx_err *err);
/* Strings are copied by nobody: they outlive the step, and bindings are cleared before the next use. NULL stays NULL. */
void store_bind_text(sqlite3_stmt *st, int i, const char *s);
char *store_column_text(sqlite3_stmt *st, int i);
/* Ends a statement that gives no rows. */
int store_finish(struct bx_store *s, sqlite3_stmt *st, const char *what, struct bx_err *err);

#endif
