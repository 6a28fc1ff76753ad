/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper of unread output, checked against a plain model of the whole stream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/keep.h"

/* Reads everything, in pieces of at most `step`. */
static size_t read_all(struct bx_keep *k, uint8_t *out, size_t step)
{
    const uint8_t *p;
    size_t n, len = 0;

    while ((n = bx_keep_peek(k, &p)) > 0) {
        n = n < step ? n : step;
        memcpy(out + len, p, n);
        len += n;
        bx_keep_consume(k, n);
    }
    return len;
}

static void all_is_kept_while_it_fits(void **state)
{
    bx_cleanup_keep struct bx_keep k;
    uint8_t out[300];

    bx_keep_init(&k, 100, 200);
    assert_int_equal(bx_keep_len(&k), 0);
    for (int i = 0; i < 300; i++) {
        uint8_t c = (uint8_t)i;

        bx_keep_add(&k, &c, 1);
    }
    assert_int_equal(bx_keep_len(&k), 300);
    assert_false(k.truncated);
    assert_int_equal(read_all(&k, out, 7), 300);
    for (int i = 0; i < 300; i++)
        assert_int_equal(out[i], (uint8_t)i);
}

static void middle_is_dropped_and_counted(void **state)
{
    uint8_t *stream = malloc(50000), out[2000];

    for (size_t i = 0; i < 50000; i++)
        stream[i] = (uint8_t)(i * 2654435761u >> 13);
    /* Every piece size from one byte to more than all that is kept. */
    for (size_t piece = 1; piece < 4000; piece = piece * 3 / 2 + 1) {
        bx_cleanup_keep struct bx_keep k;
        size_t at = 0;

        bx_keep_init(&k, 500, 700);
        while (at < 50000) {
            size_t n = piece < 50000 - at ? piece : 50000 - at;

            bx_keep_add(&k, stream + at, n);
            at += n;
        }
        assert_true(k.truncated);
        assert_int_equal(k.dropped, 50000 - 1200);
        assert_int_equal(bx_keep_len(&k), 1200);
        assert_int_equal(read_all(&k, out, 333), 1200);
        assert_memory_equal(out, stream, 500);
        assert_memory_equal(out + 500, stream + 50000 - 700, 700);
    }
    free(stream);
}

static void adding_goes_on_while_it_is_read(void **state)
{
    bx_cleanup_keep struct bx_keep k;
    const uint8_t *p;
    uint8_t out[64];

    bx_keep_init(&k, 4, 8);
    bx_keep_add(&k, "abcdef", 6);
    assert_int_equal(bx_keep_peek(&k, &p), 4);
    bx_keep_consume(&k, 3);
    bx_keep_add(&k, "gh", 2); /* behind the tail, though the head has room again */
    assert_int_equal(read_all(&k, out, 1), 5);
    assert_memory_equal(out, "defgh", 5);
    assert_int_equal(bx_keep_peek(&k, &p), 0);
    bx_keep_add(&k, "ijkl", 4); /* anew: the head takes it */
    assert_int_equal(bx_keep_peek(&k, &p), 4);
    assert_memory_equal(p, "ijkl", 4);
    assert_false(k.truncated);
}

static void ring_grows_after_it_was_partly_read(void **state)
{
    bx_cleanup_keep struct bx_keep k;
    uint8_t block[3000], out[20000];
    size_t got;

    bx_keep_init(&k, 0, 16384);
    for (int i = 0; i < 5; i++) {
        memset(block, 'a' + i, sizeof(block));
        bx_keep_add(&k, block, sizeof(block));
        if (i < 3)
            bx_keep_consume(&k, 1000); /* moves the start, so that the content wraps when it grows */
    }
    got = read_all(&k, out, 20000);
    assert_int_equal(got, 12000);
    assert_int_equal(out[0], 'b');
    for (size_t i = 1; i < got; i++)
        assert_true(out[i] >= out[i - 1]);
    assert_false(k.truncated);
}

static void keeper_of_nothing_counts(void **state)
{
    bx_cleanup_keep struct bx_keep k;
    const uint8_t *p;

    bx_keep_init(&k, 0, 0);
    bx_keep_add(&k, "abc", 3);
    assert_int_equal(k.dropped, 3);
    assert_true(k.truncated);
    assert_int_equal(bx_keep_peek(&k, &p), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_kept_while_it_fits),
        cmocka_unit_test(middle_is_dropped_and_counted),
        cmocka_unit_test(adding_goes_on_while_it_is_read),
        cmocka_unit_test(ring_grows_after_it_was_partly_read),
        cmocka_unit_test(keeper_of_nothing_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
