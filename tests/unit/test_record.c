/* SPDX-License-Identifier: Apache-2.0 */
/* Records of files: what is written is read, and what is none is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "wire/record.h"

static const struct bx_rec_entry file = {
    .type = BX_FILE_REGULAR,
    .mode = 0640,
    .uid = 1000,
    .gid = 100,
    .size = 1ULL << 40,
    .mtime_s = -5,
    .mtime_ns = 999999999,
    .name = "a name\n\xff",
    .link = "",
};

/* Writes an entry and reads it. */
static int passes(const struct bx_rec_entry *e, struct bx_rec *ret, struct bx_buf *b)
{
    struct bx_err err = BX_ERR_INIT;

    bx_buf_clear(b);
    if (bx_rec_put_entry(b, e) < 0)
        return -EINVAL;
    assert_int_equal(bx_rec_parse(bx_buf_data(b), bx_buf_len(b), ret, &err), bx_buf_len(b));
    return 0;
}

static void an_entry_arrives_as_it_was(void **state)
{
    bx_cleanup_buf struct bx_buf b = BX_BUF_INIT(65536);
    struct bx_rec r;

    (void)state;
    assert_int_equal(passes(&file, &r, &b), 0);
    assert_int_equal(r.kind, BX_REC_ENTRY);
    assert_int_equal(r.entry.type, BX_FILE_REGULAR);
    assert_int_equal(r.entry.mode, 0640);
    assert_int_equal(r.entry.uid, 1000);
    assert_int_equal(r.entry.gid, 100);
    assert_true(r.entry.size == file.size);
    assert_int_equal(r.entry.mtime_s, -5);
    assert_int_equal(r.entry.mtime_ns, 999999999);
    assert_string_equal(r.entry.name, file.name);
    assert_string_equal(r.entry.link, "");
}

static void a_name_is_one_component(void **state)
{
    static const char *const bad[] = {".", "..", "/", "a/b", "/etc", "../x"};
    bx_cleanup_buf struct bx_buf b = BX_BUF_INIT(65536);
    char name[BX_REC_NAME_MAX + 2];
    struct bx_rec_entry e = file;
    struct bx_rec r;

    (void)state;
    for (size_t i = 0; i < BX_ARRAY_SIZE(bad); i++) {
        e.name = bad[i];
        assert_int_equal(passes(&e, &r, &b), -EINVAL);
        assert_false(bx_rec_name_valid(bad[i]));
    }
    memset(name, 'n', sizeof(name));
    name[BX_REC_NAME_MAX + 1] = '\0';
    e.name = name;
    assert_int_equal(passes(&e, &r, &b), -EINVAL);
    name[BX_REC_NAME_MAX] = '\0';
    assert_int_equal(passes(&e, &r, &b), 0);
    e.name = ""; /* the top of a tree may have none */
    assert_int_equal(passes(&e, &r, &b), 0);
    assert_false(bx_rec_name_valid(""));
}

static void only_a_link_has_a_target(void **state)
{
    bx_cleanup_buf struct bx_buf b = BX_BUF_INIT(65536);
    struct bx_rec_entry e = file;
    struct bx_rec r;

    (void)state;
    e.link = "x";
    assert_int_equal(passes(&e, &r, &b), -EINVAL);
    e.type = BX_FILE_LINK;
    assert_int_equal(passes(&e, &r, &b), 0);
    assert_string_equal(r.entry.link, "x");
    e.link = "";
    assert_int_equal(passes(&e, &r, &b), -EINVAL);
}

static void data_close_up_and_end_arrive(void **state)
{
    bx_cleanup_buf struct bx_buf b = BX_BUF_INIT(65536);
    const struct bx_rec_counts counts = {1, 2, 3, 4, 5};
    struct bx_err err = BX_ERR_INIT, told = BX_ERR_INIT;
    uint8_t head[BX_REC_DATA_HEAD];
    struct bx_rec r;
    int n;

    (void)state;
    bx_rec_data_head(head, 1ULL << 33, 3);
    bx_buf_add(&b, head, sizeof(head));
    bx_buf_add(&b, "abc", 3);
    assert_int_equal(bx_rec_put_close(&b, 7), 0);
    assert_int_equal(bx_rec_put_up(&b), 0);
    bx_fail(&err, BX_ESTORAGE, ENOSPC, "write /x");
    assert_int_equal(bx_rec_put_outcome(&b, &err, &counts), 0);

    n = bx_rec_parse(bx_buf_data(&b), bx_buf_len(&b), &r, &err);
    assert_int_equal(n, BX_REC_DATA_HEAD + 3);
    assert_int_equal(r.kind, BX_REC_DATA);
    assert_true(r.data.offset == 1ULL << 33 && r.data.len == 3);
    assert_memory_equal(r.data.bytes, "abc", 3);
    bx_buf_consume(&b, (size_t)n);
    n = bx_rec_parse(bx_buf_data(&b), bx_buf_len(&b), &r, &err);
    assert_int_equal(r.kind, BX_REC_CLOSE);
    assert_int_equal(r.size, 7);
    bx_buf_consume(&b, (size_t)n);
    n = bx_rec_parse(bx_buf_data(&b), bx_buf_len(&b), &r, &err);
    assert_int_equal(r.kind, BX_REC_UP);
    bx_buf_consume(&b, (size_t)n);
    for (size_t cut = 0; cut < bx_buf_len(&b); cut++) /* in parts, however it is cut */
        assert_int_equal(bx_rec_parse(bx_buf_data(&b), cut, &r, &err), 0);
    n = bx_rec_parse(bx_buf_data(&b), bx_buf_len(&b), &r, &err);
    assert_int_equal(n, bx_buf_len(&b));
    assert_int_equal(r.kind, BX_REC_END);
    assert_memory_equal(&r.end.counts, &counts, sizeof(counts));
    assert_int_equal(bx_rec_outcome(&r.end, &told), -BX_ESTORAGE);
    assert_int_equal(told.sys_errno, ENOSPC);
    assert_string_equal(told.msg, "write /x: No space left on device");
}

static void an_outcome_that_lies_is_printable_and_has_a_code_of_ours(void **state)
{
    struct bx_rec_end end = {.code = 4711, .sys_errno = 99999, .text = "a\x1b[31mred"};
    struct bx_err err = BX_ERR_INIT;

    (void)state;
    assert_int_equal(bx_rec_outcome(&end, &err), -BX_ERPC);
    assert_int_equal(err.sys_errno, 0);
    assert_null(strchr(err.msg, '\x1b'));
    end.code = 0;
    assert_int_equal(bx_rec_outcome(&end, &err), 0);
}

static void broken_records_are_refused(void **state)
{
    static const struct {
        const char *why, *bytes;
        size_t len;
    } bad[] = {
        {"kind 0", "\0\0\0\0\0\0\0\0", 8},
        {"kind 6", "\6\0\0\0\0\0\0\0", 8},
        {"reserved", "\4\1\0\0\0\0\0\0", 8},
        {"length", "\2\0\0\0\1\0\1\0", 8},
        {"up with payload", "\4\0\0\0\1\0\0\0x", 9},
        {"close too short", "\3\0\0\0\1\0\0\0x", 9},
        {"close too large", "\3\0\0\0\10\0\0\0\0\0\0\0\0\0\0\200", 16},
        {"data without data", "\2\0\0\0\10\0\0\0\0\0\0\0\0\0\0\0", 16},
        {"data beyond the end of all files", "\2\0\0\0\11\0\0\0\377\377\377\377\377\377\377\177x", 17},
        {"entry too short", "\1\0\0\0\1\0\0\0x", 9},
        {"end too short", "\5\0\0\0\1\0\0\0x", 9},
    };
    struct bx_err err;
    struct bx_rec r;

    (void)state;
    for (size_t i = 0; i < BX_ARRAY_SIZE(bad); i++) {
        err = BX_ERR_INIT;
        if (bx_rec_parse((const uint8_t *)bad[i].bytes, bad[i].len, &r, &err) != -BX_ERPC)
            fail_msg("accepted: %s", bad[i].why);
        assert_int_equal(err.code, BX_ERPC);
    }
}

/* Every byte of an entry, changed in every bit: still a record that keeps the rules, or refused. */
static void no_bit_of_an_entry_breaks_the_rules(void **state)
{
    bx_cleanup_buf struct bx_buf b = BX_BUF_INIT(65536);
    struct bx_rec_entry link = file;
    struct bx_err err = BX_ERR_INIT;
    struct bx_rec r;

    (void)state;
    link.type = BX_FILE_LINK;
    link.link = "to";
    assert_int_equal(bx_rec_put_entry(&b, &link), 0);
    for (size_t i = 0; i < 8 * bx_buf_len(&b); i++) {
        uint8_t copy[512];

        memcpy(copy, bx_buf_data(&b), bx_buf_len(&b));
        copy[i / 8] ^= (uint8_t)(1u << i % 8);
        if (bx_rec_parse(copy, bx_buf_len(&b), &r, &err) <= 0 || r.kind != BX_REC_ENTRY)
            continue;
        assert_true(!*r.entry.name || bx_rec_name_valid(r.entry.name));
        assert_true(r.entry.mode <= 07777 && r.entry.size <= INT64_MAX);
        assert_int_equal(*r.entry.link != '\0', r.entry.type == BX_FILE_LINK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_arrives_as_it_was),
        cmocka_unit_test(a_name_is_one_component),
        cmocka_unit_test(only_a_link_has_a_target),
        cmocka_unit_test(data_close_up_and_end_arrive),
        cmocka_unit_test(an_outcome_that_lies_is_printable_and_has_a_code_of_ours),
        cmocka_unit_test(broken_records_are_refused),
        cmocka_unit_test(no_bit_of_an_entry_breaks_the_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
