/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of boxes and images, on a real database, by one program and by several at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/path.h"
#include "base/str.h"
#include "store/store.h"

#include <fcntl.h>

enum { CONFIGURED = 1, RUNNING = 2 };

struct fixture {
    char home[64];
    struct bx_store *store;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    snprintf(f->home, sizeof(f->home), "/tmp/bx-store-XXXXXX");
    assert_non_null(mkdtemp(f->home));
    char *db = bx_path_join(f->home, "db");
    assert_int_equal(mkdir(db, 0700), 0);
    free(db);
    struct bx_err err = BX_ERR_INIT;
    if (bx_store_open(f->home, &f->store, &err) < 0)
        fail_msg("%s", err.msg);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    bx_store_close(f->store);
    bx_rm_rf(AT_FDCWD, f->home);
    free(f);
    return 0;
}

static int insert(struct bx_store *s, const char *id, const char *name, int64_t created, struct bx_err *err)
{
    struct bx_box_row row = { .id = (char *)(uintptr_t)id,
                              .name = (char *)(uintptr_t)name,
                              .options = (char *)(uintptr_t) "{}",
                              .state = CONFIGURED,
                              .created_ms = created };
    return bx_store_box_insert(s, &row, err);
}

static void a_box_is_found_by_id_name_and_unique_prefix(void **state)
{
    struct fixture *f = *state;
    struct bx_err err = BX_ERR_INIT;
    struct bx_box_row row;
    assert_int_equal(insert(f->store, "abcd00000001", "first", 1, &err), 0);
    assert_int_equal(insert(f->store, "abcd00000002", NULL, 2, &err), 0);
    assert_int_equal(insert(f->store, "efgh00000003", NULL, 3, &err), 0);
    const char *const ways[] = { "abcd00000001", "first", "abcd00000001" };
    for (size_t i = 0; i < BX_ARRAY_SIZE(ways); i++) {
        assert_int_equal(bx_store_box_get(f->store, ways[i], &row, &err), 0);
        assert_string_equal(row.id, "abcd00000001");
        assert_string_equal(row.name, "first");
        bx_box_row_done(&row);
    }
    assert_int_equal(bx_store_box_get(f->store, "efgh", &row, &err), 0);
    assert_string_equal(row.id, "efgh00000003");
    assert_null(row.name);
    bx_box_row_done(&row);
    assert_int_equal(bx_store_box_get(f->store, "abcd", &row, &err), -BX_ENOTFOUND);
    assert_non_null(strstr(err.msg, "more than one"));
    assert_int_equal(bx_store_box_get(f->store, "efg", &row, &err), -BX_ENOTFOUND);
    assert_int_equal(bx_store_box_get(f->store, "", &row, &err), -BX_ENOTFOUND);
    assert_int_equal(bx_store_box_get(f->store, "%", &row, &err), -BX_ENOTFOUND);
}

static void ids_and_names_are_taken_once(void **state)
{
    struct fixture *f = *state;
    struct bx_err err = BX_ERR_INIT;
    assert_int_equal(insert(f->store, "aaaaaaaaaaaa", "one", 1, &err), 0);
    assert_int_equal(insert(f->store, "aaaaaaaaaaaa", "two", 1, &err), -BX_EEXISTS);
    assert_int_equal(insert(f->store, "bbbbbbbbbbbb", "one", 1, &err), -BX_EEXISTS);
    assert_non_null(strstr(err.msg, "'one' already exists"));
    assert_int_equal(bx_store_box_delete(f->store, "aaaaaaaaaaaa", &err), 0);
    assert_int_equal(insert(f->store, "bbbbbbbbbbbb", "one", 1, &err), 0);
    assert_int_equal(bx_store_box_delete(f->store, "aaaaaaaaaaaa", &err), -BX_ENOTFOUND);
}

static void numbers_are_never_used_twice(void **state)
{
    struct fixture *f = *state;
    struct bx_box_row row = { .id = (char *)(uintptr_t) "aaaaaaaaaaaa", .options = (char *)(uintptr_t) "{}", .state = 1 };
    assert_int_equal(bx_store_box_insert(f->store, &row, NULL), 0);
    int64_t first = row.number;
    assert_int_equal(bx_store_box_delete(f->store, row.id, NULL), 0);
    assert_int_equal(bx_store_box_insert(f->store, &row, NULL), 0);
    assert_true(row.number > first);
}

static void the_newest_box_is_listed_first(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(insert(f->store, "a00000000000", NULL, 10, NULL), 0);
    assert_int_equal(insert(f->store, "b00000000000", NULL, 30, NULL), 0);
    assert_int_equal(insert(f->store, "c00000000000", NULL, 20, NULL), 0);
    struct bx_box_row *rows = NULL;
    size_t n = 0;
    assert_int_equal(bx_store_box_list(f->store, &rows, &n, NULL), 0);
    assert_int_equal(n, 3);
    assert_string_equal(rows[0].id, "b00000000000");
    assert_string_equal(rows[1].id, "c00000000000");
    assert_string_equal(rows[2].id, "a00000000000");
    bx_box_rows_free(rows, n);
}

static void a_change_needs_the_state_it_names(void **state)
{
    struct fixture *f = *state;
    struct bx_err err = BX_ERR_INIT;
    assert_int_equal(insert(f->store, "a00000000000", "box", 10, NULL), 0);
    struct bx_box_change c = BX_BOX_CHANGE_INIT;
    c.state = RUNNING;
    c.pid = 77;
    c.started_ms = 99;
    c.engine = "tcg";
    assert_int_equal(bx_store_box_change(f->store, "a00000000000", 1u << RUNNING, &c, &err), -BX_ESTATE);
    assert_int_equal(bx_store_box_change(f->store, "a00000000000", 1u << CONFIGURED, &c, &err), 0);
    struct bx_box_change e = BX_BOX_CHANGE_INIT;
    e.set_exit = e.has_exit = true;
    e.exit_code = 137;
    e.message = "killed";
    assert_int_equal(bx_store_box_change(f->store, "a00000000000", 1u << RUNNING, &e, &err), 0);
    struct bx_box_row row;
    assert_int_equal(bx_store_box_get(f->store, "box", &row, &err), 0);
    assert_int_equal(row.state, RUNNING);
    assert_int_equal(row.pid, 77);
    assert_int_equal(row.started_ms, 99);
    assert_true(row.has_exit);
    assert_int_equal(row.exit_code, 137);
    assert_string_equal(row.message, "killed");
    assert_string_equal(row.engine, "tcg");
    bx_box_row_done(&row);
    assert_int_equal(bx_store_box_change(f->store, "missing00000", ~0u, &e, &err), -BX_ENOTFOUND);
}

static void an_image_keeps_its_disk_when_it_is_named_again(void **state)
{
    struct fixture *f = *state;
    struct bx_image_row row = { .reference = (char *)(uintptr_t) "docker.io/library/a:1",
                                .manifest_digest = (char *)(uintptr_t) "sha256:m",
                                .config_digest = (char *)(uintptr_t) "sha256:c",
                                .manifest = (char *)(uintptr_t) "{}",
                                .layer_count = 3,
                                .cached_ms = 5,
                                .size = 1000 };
    assert_int_equal(bx_store_image_put(f->store, &row, NULL), 0);
    assert_int_equal(bx_store_image_set_disk(f->store, "sha256:m", "x.ext4", NULL), 0);
    row.reference = (char *)(uintptr_t) "docker.io/library/b:1";
    row.cached_ms = 6;
    assert_int_equal(bx_store_image_put(f->store, &row, NULL), 0);
    struct bx_image_row *rows = NULL;
    size_t n = 0;
    assert_int_equal(bx_store_image_list(f->store, &rows, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_string_equal(rows[0].reference, "docker.io/library/b:1");
    assert_string_equal(rows[0].disk, "x.ext4");
    assert_int_equal(rows[1].layer_count, 3);
    bx_image_rows_free(rows, n);
    struct bx_err err = BX_ERR_INIT;
    assert_int_equal(bx_store_image_delete(f->store, "docker.io/library/a:1", &err), 0);
    assert_int_equal(bx_store_image_delete(f->store, "docker.io/library/a:1", &err), -BX_ENOTFOUND);
}

static void many_programs_open_and_write_one_new_database(void **state)
{
    struct fixture *f = *state;
    char home[] = "/tmp/bx-store-XXXXXX";
    (void)f;
    assert_non_null(mkdtemp(home));
    char *db = bx_path_join(home, "db");
    assert_int_equal(mkdir(db, 0700), 0);
    free(db);
    pid_t pids[8];
    for (int i = 0; i < 8; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            struct bx_store *s = NULL;
            if (bx_store_open(home, &s, NULL) < 0)
                _exit(1);
            for (int k = 0; k < 25; k++) {
                char id[BX_ID_LEN + 1];
                bx_random_id(id);
                if (insert(s, id, NULL, k, NULL) < 0)
                    _exit(2);
            }
            bx_store_close(s);
            _exit(0);
        }
    }
    for (int i = 0; i < 8; i++) {
        int status = 0;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    struct bx_store *s = NULL;
    assert_int_equal(bx_store_open(home, &s, NULL), 0);
    struct bx_box_row *rows = NULL;
    size_t n = 0;
    assert_int_equal(bx_store_box_list(s, &rows, &n, NULL), 0);
    assert_int_equal(n, 200);
    bx_box_rows_free(rows, n);
    bx_store_close(s);
    bx_rm_rf(AT_FDCWD, home);
}

static void a_file_that_is_no_database_is_named(void **state)
{
    (void)state;
    char home[] = "/tmp/bx-store-XXXXXX";
    assert_non_null(mkdtemp(home));
    char *db = bx_path_join(home, "db");
    assert_int_equal(mkdir(db, 0700), 0);
    char *file = bx_path_join(db, "boxlite.db");
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    for (int i = 0; i < 1000; i++)
        fputs("this is not a database. ", out);
    fclose(out);
    struct bx_store *s = NULL;
    struct bx_err err = BX_ERR_INIT;
    assert_int_equal(bx_store_open(home, &s, &err), -BX_EDATABASE);
    assert_non_null(strstr(err.msg, "boxlite.db"));
    assert_non_null(strstr(err.msg, "damaged"));
    free(db);
    free(file);
    bx_rm_rf(AT_FDCWD, home);
}

/* What 0.1.0's first schema (101) wrote. */
static const char first_schema[] =
    "CREATE TABLE box (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT UNIQUE, image TEXT, disk TEXT,"
    " options TEXT NOT NULL, state INTEGER NOT NULL, pid INTEGER NOT NULL DEFAULT 0, detached INTEGER NOT NULL DEFAULT 0,"
    " created_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL DEFAULT 0, stopped_ms INTEGER NOT NULL DEFAULT 0, exit_code INTEGER,"
    " message TEXT, boot_id TEXT, engine TEXT) STRICT;"
    "CREATE TABLE image (reference TEXT PRIMARY KEY, manifest_digest TEXT NOT NULL, config_digest TEXT NOT NULL, disk TEXT,"
    " manifest TEXT NOT NULL, layer_count INTEGER NOT NULL, cached_ms INTEGER NOT NULL, size INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE INDEX image_by_manifest ON image(manifest_digest);"
    "INSERT INTO box (id, options, state, created_ms, disk) VALUES ('AAAAAAAAAAAA', '{}', 1, 5, 'x.ext4');"
    "INSERT INTO image VALUES ('docker.io/library/a:1', 'sha256:m', 'sha256:c', NULL, '{}', 1, 700, 9);"
    "PRAGMA user_version = 101;";

static void put_image(struct bx_store *s, const char *reference, const char *manifest, int64_t cached)
{
    const struct bx_image_row row = { .reference = (char *)(uintptr_t)reference,
                                      .manifest_digest = (char *)(uintptr_t)manifest,
                                      .config_digest = (char *)(uintptr_t) "sha256:c",
                                      .manifest = (char *)(uintptr_t) "{}",
                                      .cached_ms = cached };
    assert_int_equal(bx_store_image_put(s, &row, NULL), 0);
}

static int64_t used(struct bx_store *s, const char *reference)
{
    struct bx_image_row row;
    assert_int_equal(bx_store_image_get(s, reference, &row, NULL), 0);
    int64_t ms = row.used_ms;
    bx_image_row_done(&row);
    return ms;
}

static void a_database_of_the_first_schema_is_taken_over(void **state)
{
    (void)state;
    char home[] = "/tmp/bx-store-XXXXXX", file[64];
    sqlite3 *db = NULL;
    struct bx_store *s = NULL, *again = NULL;
    struct bx_box_row box;
    assert_non_null(mkdtemp(home));
    snprintf(file, sizeof(file), "%s/db", home);
    assert_int_equal(mkdir(file, 0700), 0);
    snprintf(file, sizeof(file), "%s/db/boxlite.db", home);
    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, first_schema, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(bx_store_open(home, &s, NULL), 0);
    assert_int_equal(bx_store_open(home, &again, NULL), 0); /* and a second time */
    assert_int_equal(used(s, "docker.io/library/a:1"), 700);
    assert_int_equal(bx_store_image_used(again, "sha256:m", 800, NULL), 0);
    assert_int_equal(used(s, "docker.io/library/a:1"), 800);
    assert_int_equal(bx_store_box_get(s, "AAAAAAAAAAAA", &box, NULL), 0);
    assert_string_equal(box.disk, "x.ext4");
    bx_box_row_done(&box);
    bx_store_close(s);
    bx_store_close(again);
    bx_rm_rf(AT_FDCWD, home);
}

static void a_box_is_pinned_to_an_image_that_is_there(void **state)
{
    struct fixture *f = *state;
    struct bx_store *s = f->store;
    struct bx_box_row box;
    put_image(s, "docker.io/library/a:1", "sha256:m", 10);
    assert_int_equal(insert(s, "AAAAAAAAAAAA", NULL, 1, NULL), 0);
    assert_int_equal(bx_store_box_pin(s, "AAAAAAAAAAAA", "m.ext4", "sha256:m", 20, NULL), 0);
    assert_int_equal(used(s, "docker.io/library/a:1"), 20);
    assert_int_equal(bx_store_box_get(s, "AAAAAAAAAAAA", &box, NULL), 0);
    assert_string_equal(box.disk, "m.ext4");
    bx_box_row_done(&box);
    /* Not to one that is gone, unless it stands on its disk already. */
    assert_int_equal(bx_store_image_delete(s, "docker.io/library/a:1", NULL), 0);
    assert_int_equal(bx_store_box_pin(s, "AAAAAAAAAAAA", "m.ext4", "sha256:m", 30, NULL), 0);
    assert_int_equal(bx_store_box_pin(s, "AAAAAAAAAAAA", "n.ext4", "sha256:n", 30, NULL), -BX_EIMAGE);
    assert_int_equal(bx_store_box_pin(s, "AAAAAAAAAAAA", "n.ext4", NULL, 30, NULL), 0);
    assert_int_equal(bx_store_box_pin(s, "AAAAAAAAAAAA", "m.ext4", NULL, 30, NULL), 0);
    assert_int_equal(bx_store_box_pin(s, "BBBBBBBBBBBB", "m.ext4", "sha256:m", 30, NULL), -BX_ENOTFOUND);
    assert_int_equal(bx_store_box_get(s, "AAAAAAAAAAAA", &box, NULL), 0);
    assert_string_equal(box.disk, "m.ext4");
    bx_box_row_done(&box);
}

static void a_second_name_has_the_use_of_the_first(void **state)
{
    struct fixture *f = *state;
    struct bx_store *s = f->store;
    put_image(s, "docker.io/library/a:1", "sha256:m", 10);
    put_image(s, "docker.io/library/b:1", "sha256:n", 11);
    assert_int_equal(bx_store_image_used(s, "sha256:m", 50, NULL), 0);
    assert_int_equal(bx_store_image_tag(s, "docker.io/library/a:1", "docker.io/library/b:1", NULL), 0);
    assert_int_equal(used(s, "docker.io/library/b:1"), 50);
    assert_int_equal(bx_store_image_used(s, "sha256:n", 60, NULL), -BX_ENOTFOUND);
    assert_int_equal(bx_store_image_tag(s, "docker.io/library/a:1", "docker.io/library/a:1", NULL), 0);
    assert_int_equal(used(s, "docker.io/library/a:1"), 50);
    assert_int_equal(bx_store_image_tag(s, "docker.io/library/z:1", "docker.io/library/a:1", NULL), -BX_ENOTFOUND);
    assert_int_equal(bx_store_image_tag(s, "docker.io/library/z:1", "docker.io/library/z:1", NULL), -BX_ENOTFOUND);
    assert_int_equal(used(s, "docker.io/library/a:1"), 50);
}

static void what_was_begun_ends_whole_or_not_at_all(void **state)
{
    struct fixture *f = *state;
    struct bx_store *s = f->store;
    put_image(s, "docker.io/library/a:1", "sha256:m", 10);
    assert_int_equal(bx_store_begin(s, NULL), 0);
    assert_int_equal(bx_store_image_delete(s, "docker.io/library/a:1", NULL), 0);
    assert_int_equal(bx_store_begin(s, NULL), -BX_EDATABASE);
    bx_store_rollback(s);
    bx_store_rollback(s);
    assert_int_equal(used(s, "docker.io/library/a:1"), 10);
    assert_int_equal(bx_store_commit(s, NULL), -BX_EDATABASE);
    assert_int_equal(bx_store_begin_durable(s, NULL), 0);
    assert_int_equal(bx_store_image_delete(s, "docker.io/library/a:1", NULL), 0);
    assert_int_equal(bx_store_commit(s, NULL), 0);
    assert_int_equal(bx_store_image_delete(s, "docker.io/library/a:1", NULL), -BX_ENOTFOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_box_is_found_by_id_name_and_unique_prefix, setup, teardown),
        cmocka_unit_test_setup_teardown(ids_and_names_are_taken_once, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_are_never_used_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(the_newest_box_is_listed_first, setup, teardown),
        cmocka_unit_test_setup_teardown(a_change_needs_the_state_it_names, setup, teardown),
        cmocka_unit_test_setup_teardown(an_image_keeps_its_disk_when_it_is_named_again, setup, teardown),
        cmocka_unit_test_setup_teardown(many_programs_open_and_write_one_new_database, setup, teardown),
        cmocka_unit_test(a_file_that_is_no_database_is_named),
        cmocka_unit_test(a_database_of_the_first_schema_is_taken_over),
        cmocka_unit_test_setup_teardown(a_box_is_pinned_to_an_image_that_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_name_has_the_use_of_the_first, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_begun_ends_whole_or_not_at_all, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
