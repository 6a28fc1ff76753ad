/* SPDX-License-Identifier: Apache-2.0 */
/* The states of a box: which moves there are, and that the store makes no other. */
#include <setjmp.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/path.h"
#include "base/str.h"
#include "runtime/state.h"
#include "store/store.h"

/* From, to: every pair that is not here is no move. */
static const int moves[][2] = {
    {BX_BOX_CONFIGURED, BX_BOX_RUNNING}, {BX_BOX_STOPPED, BX_BOX_RUNNING},   {BX_BOX_FAILED, BX_BOX_RUNNING},
    {BX_BOX_PAUSED, BX_BOX_RUNNING},     {BX_BOX_RUNNING, BX_BOX_PAUSED},    {BX_BOX_RUNNING, BX_BOX_STOPPING},
    {BX_BOX_PAUSED, BX_BOX_STOPPING},    {BX_BOX_RUNNING, BX_BOX_STOPPED},   {BX_BOX_PAUSED, BX_BOX_STOPPED},
    {BX_BOX_STOPPING, BX_BOX_STOPPED},   {BX_BOX_RUNNING, BX_BOX_FAILED},    {BX_BOX_PAUSED, BX_BOX_FAILED},
    {BX_BOX_STOPPING, BX_BOX_FAILED},
};

static bool expected(int from, int to)
{
    for (size_t i = 0; i < sizeof(moves) / sizeof(moves[0]); i++)
        if (moves[i][0] == from && moves[i][1] == to)
            return true;
    return false;
}

static void the_table_has_these_moves_and_no_other(void **state)
{
    (void)state;
    for (int from = -1; from < 10; from++)
        for (int to = -1; to < 10; to++) {
            if (bx_state_may(from, to) != expected(from, to))
                fail_msg("%s to %s", bx_state_name(from), bx_state_name(to));
            if (to >= 0 && from >= 0 && (bx_state_before(to) >> from & 1) != expected(from, to))
                fail_msg("%s before %s", bx_state_name(from), bx_state_name(to));
        }
}

static void every_state_has_its_name(void **state)
{
    (void)state;
    assert_string_equal(bx_state_name(BX_BOX_CONFIGURED), "configured");
    assert_string_equal(bx_state_name(BX_BOX_RUNNING), "running");
    assert_string_equal(bx_state_name(BX_BOX_PAUSED), "paused");
    assert_string_equal(bx_state_name(BX_BOX_STOPPING), "stopping");
    assert_string_equal(bx_state_name(BX_BOX_STOPPED), "stopped");
    assert_string_equal(bx_state_name(BX_BOX_FAILED), "failed");
    assert_string_equal(bx_state_name(0), "unknown");
    assert_string_equal(bx_state_name(99), "unknown");
    assert_string_equal(bx_state_name(-1), "unknown");
    assert_true(bx_state_active(BX_BOX_RUNNING) && bx_state_active(BX_BOX_PAUSED) && bx_state_active(BX_BOX_STOPPING));
    assert_false(bx_state_active(BX_BOX_CONFIGURED) || bx_state_active(BX_BOX_STOPPED) || bx_state_active(BX_BOX_FAILED));
}

/* A row in each state, and each change: the store makes exactly the moves of the table. */
static void the_store_makes_no_other_move(void **state)
{
    char home[] = "/tmp/bx-state-XXXXXX", db[64];
    struct bx_store *s = NULL;
    struct bx_err err = BX_ERR_INIT;
    unsigned n = 0;

    (void)state;
    assert_non_null(mkdtemp(home));
    snprintf(db, sizeof(db), "%s/db", home);
    assert_int_equal(mkdir(db, 0700), 0);
    assert_int_equal(bx_store_open(home, &s, &err), 0);
    for (int from = BX_BOX_CONFIGURED; from <= BX_BOX_FAILED; from++)
        for (int to = BX_BOX_CONFIGURED; to <= BX_BOX_FAILED; to++) {
            char id[BX_ID_LEN + 1];
            struct bx_box_row row = {.id = id, .options = (char *)"{}", .state = from}, read = {0};
            struct bx_box_change change = BX_BOX_CHANGE_INIT;
            int r;

            snprintf(id, sizeof(id), "box%09u", n++);
            change.state = to;
            assert_int_equal(bx_store_box_insert(s, &row, &err), 0);
            r = bx_store_box_change(s, id, bx_state_before(to), &change, &err);
            assert_int_equal(r, expected(from, to) ? 0 : -BX_ESTATE);
            assert_int_equal(bx_store_box_get(s, id, &read, &err), 0);
            assert_int_equal(read.state, expected(from, to) ? to : from);
            bx_box_row_done(&read);
        }
    bx_store_close(s);
    assert_int_equal(bx_rm_rf(AT_FDCWD, home), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_has_these_moves_and_no_other),
        cmocka_unit_test(every_state_has_its_name),
        cmocka_unit_test(the_store_makes_no_other_move),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
