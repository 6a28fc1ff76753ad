/* SPDX-License-Identifier: Apache-2.0 */
/* The log of a box's main process: records, files that are let go, torn ends, disks that are full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/path.h"
#include "host/box_log.h"
#include "host/numbered.h"
#include "temp_dir.h"

static void open_log(struct dir *d, struct bx_box_log *l)
{
    struct bx_err err = BX_ERR_INIT;

    if (bx_box_log_open(l, d->fd, &err) < 0)
        fail_msg("%s", err.msg);
}

/* Text of all records of a file, "o:bytes;" and so on; how many there are. */
static int read_file(struct dir *d, uint32_t number, char *dst, size_t size)
{
    char name[BX_NUMBERED_NAME_MAX], path[64];
    bx_cleanup_free char *data = NULL;
    struct bx_box_log_record rec;
    size_t len, at = 0, n = 0;
    int count = 0, r;

    dst[0] = '\0';
    bx_numbered_name(name, BX_BOX_LOG_PREFIX, number);
    snprintf(path, sizeof(path), "logs/%s", name);
    if (bx_read_file(d->fd, path, BX_BOX_LOG_FILE_MAX, &data, &len) < 0)
        return -1;
    while ((r = bx_box_log_parse((uint8_t *)data + at, len - at, &rec, NULL)) > 0) {
        uint64_t lost = 0;

        if (rec.kind == BX_BOX_LOG_LOST)
            memcpy(&lost, rec.data, 8);
        if (rec.kind == BX_BOX_LOG_LOST)
            n += (size_t)snprintf(dst + n, size - n, "lost %u;", (unsigned)lost);
        else if (rec.len < 100)
            n += (size_t)snprintf(dst + n, size - n, "%d:%.*s;", rec.kind, (int)rec.len, (const char *)rec.data);
        assert_true(rec.time_ns > 1700000000000000000);
        at += (size_t)r;
        count++;
    }
    return count;
}

static off_t size_of(struct dir *d, uint32_t number)
{
    char name[BX_NUMBERED_NAME_MAX], path[64];
    struct stat st;

    bx_numbered_name(name, BX_BOX_LOG_PREFIX, number);
    snprintf(path, sizeof(path), "logs/%s", name);
    return fstatat(d->fd, path, &st, 0) < 0 ? -1 : st.st_size;
}

static void records_come_back_as_they_were_written(void **state)
{
    struct dir *d = *state;
    struct bx_box_log l;
    char text[256];

    open_log(d, &l);
    bx_box_log_add(&l, BX_BOX_LOG_START, NULL, 0);
    bx_box_log_add(&l, BX_BOX_LOG_STDOUT, "out", 3);
    bx_box_log_add(&l, BX_BOX_LOG_STDERR, "err\n", 4);
    bx_box_log_close(&l);
    open_log(d, &l); /* a later start goes on with it */
    bx_box_log_add(&l, BX_BOX_LOG_STDOUT, "more", 4);
    bx_box_log_close(&l);
    assert_int_equal(read_file(d, 1, text, sizeof(text)), 4);
    assert_string_equal(text, "4:;1:out;2:err\n;1:more;");
}

static void files_and_their_number_are_bounded(void **state)
{
    struct dir *d = *state;
    struct bx_box_log l;
    static uint8_t piece[BX_BOX_LOG_RECORD_MAX];
    uint64_t per_file = BX_BOX_LOG_FILE_MAX / (sizeof(piece) + BX_BOX_LOG_HEAD), total = 0;

    open_log(d, &l);
    for (uint64_t i = 0; i < per_file * (BX_BOX_LOG_FILES + 2) + 1; i++)
        bx_box_log_add(&l, BX_BOX_LOG_STDOUT, piece, sizeof(piece));
    assert_int_equal(bx_numbered_next(l.dir_fd, BX_BOX_LOG_PREFIX, 0), 4);
    assert_int_equal(bx_numbered_next(l.dir_fd, BX_BOX_LOG_PREFIX, 4), 5);
    assert_int_equal(bx_numbered_next(l.dir_fd, BX_BOX_LOG_PREFIX, 7), 0);
    for (uint32_t n = 1; n < 20; n++) {
        off_t size = size_of(d, n);

        assert_true(size <= BX_BOX_LOG_FILE_MAX);
        total += size > 0 ? (uint64_t)size : 0;
    }
    assert_true(total > BX_BOX_LOG_FILE_MAX * (BX_BOX_LOG_FILES - 1) - BX_BOX_LOG_FILE_MAX / 4);
    bx_box_log_close(&l);
    open_log(d, &l); /* it goes on with the last one */
    assert_int_equal(l.number, 7);
    bx_box_log_close(&l);
}

static void a_torn_end_is_cut_off_at_the_next_start(void **state)
{
    struct dir *d = *state;
    struct bx_box_log l;
    char text[256];
    int fd;

    open_log(d, &l);
    bx_box_log_add(&l, BX_BOX_LOG_STDOUT, "whole", 5);
    bx_box_log_add(&l, BX_BOX_LOG_STDOUT, "torn", 4);
    bx_box_log_close(&l);
    for (int cut = 1; cut < 20; cut += 6) {
        fd = openat(d->fd, "logs/main.00000001", O_RDWR | O_CLOEXEC);
        assert_int_equal(ftruncate(fd, lseek(fd, 0, SEEK_END) - cut), 0);
        bx_close(fd);
        assert_int_equal(read_file(d, 1, text, sizeof(text)), 1);
        open_log(d, &l);
        bx_box_log_add(&l, BX_BOX_LOG_STDOUT, "next", 4);
        bx_box_log_close(&l);
        assert_int_equal(read_file(d, 1, text, sizeof(text)), 2);
        assert_string_equal(text, "1:whole;1:next;");
    }
}

static void what_does_not_fit_is_counted_and_told(void **state)
{
    struct dir *d = *state;
    struct rlimit old, small = {.rlim_cur = 40};
    struct bx_box_log l;
    char text[256];

    open_log(d, &l);
    bx_box_log_add(&l, BX_BOX_LOG_STDOUT, "fits", 4);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0); /* a write that crosses it is cut short, the next refused */
    for (int i = 0; i < 3; i++)
        bx_box_log_add(&l, BX_BOX_LOG_STDOUT, "0123456789012345678901234567890123456789012345678901234567890123456789012345", 76);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(size_of(d, 1), 20); /* no half of a record */
    bx_box_log_add(&l, BX_BOX_LOG_STDERR, "room", 4);
    bx_box_log_lost(&l, 7);
    bx_box_log_close(&l);
    read_file(d, 1, text, sizeof(text));
    assert_string_equal(text, "1:fits;lost 228;2:room;lost 7;");
}

static void what_is_no_record_is_found_out(void **state)
{
    struct bx_box_log_record rec;
    uint8_t head[BX_BOX_LOG_HEAD + 4] = {4, 0, 0, 0, 1};
    struct bx_err err = BX_ERR_INIT;

    (void)state;
    assert_int_equal(bx_box_log_parse(head, 15, &rec, NULL), 0);
    assert_int_equal(bx_box_log_parse(head, 19, &rec, NULL), 0);
    assert_int_equal(bx_box_log_parse(head, 20, &rec, NULL), 20);
    assert_int_equal(rec.len, 4);
    head[4] = 77; /* of a later version */
    assert_int_equal(bx_box_log_parse(head, 20, &rec, NULL), 20);
    head[4] = 0;
    assert_int_equal(bx_box_log_parse(head, 20, &rec, &err), -BX_ESTORAGE);
    head[4] = 1;
    head[7] = 1;
    assert_int_equal(bx_box_log_parse(head, 20, &rec, &err), -BX_ESTORAGE);
    head[7] = 0;
    head[2] = 1;
    head[0] = 1; /* 65537 */
    assert_int_equal(bx_box_log_parse(head, 20, &rec, &err), -BX_ESTORAGE);
}

static void names_are_numbers(void **state)
{
    char name[BX_NUMBERED_NAME_MAX];

    (void)state;
    bx_numbered_name(name, BX_BOX_LOG_PREFIX, 42);
    assert_string_equal(name, "main.00000042");
    assert_int_equal(bx_numbered_parse(name, BX_BOX_LOG_PREFIX), 42);
    assert_int_equal(bx_numbered_parse("main.0000042", BX_BOX_LOG_PREFIX), 0);
    assert_int_equal(bx_numbered_parse("main.00000042x", BX_BOX_LOG_PREFIX), 0);
    assert_int_equal(bx_numbered_parse("main.log", BX_BOX_LOG_PREFIX), 0);
    assert_int_equal(bx_numbered_parse("mai", BX_BOX_LOG_PREFIX), 0);
    assert_int_equal(bx_numbered_parse("main.99999999", BX_BOX_LOG_PREFIX), 99999999);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(records_come_back_as_they_were_written),
        T(files_and_their_number_are_bounded),
        T(a_torn_end_is_cut_off_at_the_next_start),
        T(what_does_not_fit_is_counted_and_told),
        T(what_is_no_record_is_found_out),
        T(names_are_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
