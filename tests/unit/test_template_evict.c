/* SPDX-License-Identifier: Apache-2.0 */
/* Which templates go, by name, disk, size and last use; and that they go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include <fcntl.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "vm/template_evict.h"

#define MIB (1024ull * 1024)
#define DAY (86400 * BX_SEC)
#define NOW (1000 * DAY)

static const struct bx_template_limits usual = BX_TEMPLATE_LIMITS_DEFAULT;

static struct bx_template_use use(const char *name, const char *disk, uint64_t mib, int64_t ago)
{
    struct bx_template_use u = {.bytes = mib * MIB, .used_ns = NOW - ago};

    snprintf(u.name, sizeof(u.name), "%s", name);
    snprintf(u.disk, sizeof(u.disk), "%s", disk);
    return u;
}

static void of_one_shape_the_one_used_last_stays(void **state)
{
    struct bx_template_use v[] = {
        use("tcg-c1-m1024-0000000000000001", "", 100, 2 * DAY),
        use("tcg-c1-m1024-0000000000000002", "", 100, 3600 * BX_SEC),
        use("tcg-c1-m1024-0000000000000003", "", 100, DAY / 2), /* superseded, but used today */
        use("tcg-c2-m1024-0000000000000001", "", 100, 2 * DAY), /* of another shape */
        use("tcg-c1-m1024-i0000000000000001", "a.ext4", 100, 2 * DAY),
        use("tcg-c1-m1024-i0000000000000002", "b.ext4", 100, 1 * DAY), /* of another disk */
        use("tcg-c1-m1024-i0000000000000003", "a.ext4", 100, 3 * DAY),
        use("kvm-c1-m1024-0000000000000001", "", 100, 31 * DAY), /* idle */
    };

    (void)state;
    bx_templates_choose(v, BX_ARRAY_SIZE(v), &usual, NOW, NULL);
    assert_true(v[0].evict);
    assert_false(v[1].evict);
    assert_false(v[2].evict);
    assert_false(v[3].evict);
    assert_false(v[4].evict);
    assert_false(v[5].evict);
    assert_true(v[6].evict);
    assert_true(v[7].evict);
}

static void the_longest_unused_go_until_the_rest_fits(void **state)
{
    struct bx_template_use v[] = {
        use("tcg-c1-m1024-0000000000000001", "", 900, 5000 * BX_SEC),
        use("tcg-c2-m1024-0000000000000001", "", 700, 9000 * BX_SEC),
        use("tcg-c3-m1024-0000000000000001", "", 600, 7000 * BX_SEC),
        use("tcg-c4-m1024-0000000000000001", "", 500, 8000 * BX_SEC),
    };

    (void)state;
    bx_templates_choose(v, BX_ARRAY_SIZE(v), &usual, NOW, NULL); /* 2700 MiB, 2048 are allowed */
    assert_false(v[0].evict || v[2].evict || v[3].evict);
    assert_true(v[1].evict);
    v[1].evict = false;
    bx_templates_choose(v, BX_ARRAY_SIZE(v), &usual, NOW, v[1].name); /* that one was just made */
    assert_false(v[0].evict || v[1].evict);
    assert_true(v[3].evict);
    assert_true(v[2].evict);
}

static void one_that_was_used_a_moment_ago_stays(void **state)
{
    struct bx_template_use v[] = {
        use("tcg-c1-m1024-0000000000000001", "", 3000, 59 * BX_SEC),
        use("tcg-c2-m1024-0000000000000001", "", 3000, -DAY), /* the clock was set back */
    };

    (void)state;
    bx_templates_choose(v, BX_ARRAY_SIZE(v), &usual, NOW, NULL);
    assert_false(v[0].evict || v[1].evict);
}

static void write_file(int dir, const char *name, const void *data, size_t len)
{
    assert_int_equal(bx_write_file_atomic(dir, name, data, len, 0444), 0);
}

static uint64_t make(int templates, const char *name, const char *key, int64_t used)
{
    static char memory[MIB];
    struct timespec t[2] = {{.tv_sec = used / BX_SEC}, {.tv_sec = used / BX_SEC}};
    struct stat st;
    uint64_t bytes = 0;
    int dir;

    assert_int_equal(mkdirat(templates, name, 0700), 0);
    dir = openat(templates, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    memset(memory, 'x', sizeof(memory));
    write_file(dir, "mem", memory, sizeof(memory));
    write_file(dir, "key", key, strlen(key));
    assert_int_equal(fstatat(dir, "mem", &st, 0), 0);
    bytes += (uint64_t)st.st_blocks * 512;
    assert_int_equal(fstatat(dir, "key", &st, 0), 0);
    bytes += (uint64_t)st.st_blocks * 512;
    assert_int_equal(futimens(dir, t), 0);
    bx_close(dir);
    return bytes;
}

static void what_is_listed_is_what_is_there(void **state)
{
    char home[] = "/tmp/bx-evict-XXXXXX";
    struct bx_template_use *v = NULL;
    struct bx_template_limits none = {0, 0, 0, 0};
    int64_t now = bx_realtime();
    uint64_t bytes;
    size_t n = 0;
    int dir, lock;

    (void)state;
    assert_non_null(mkdtemp(home));
    dir = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bytes = make(dir, "tcg-c1-m1024-i0000000000000001", "version 2\ndisk=a.ext4\ndisk-id=12\n",
                 now - 90 * BX_SEC);
    make(dir, "tcg-c1-m1024-0000000000000002", "version 2\n", now - 80 * BX_SEC);
    assert_int_equal(mkdirat(dir, ".tcg-c1-m1024-0000000000000003.new", 0700), 0);
    write_file(dir, "tcg-c1-m1024-0000000000000002.lock", "", 0);
    assert_int_equal(bx_templates_list(dir, &v, &n, NULL), 0);
    assert_int_equal(n, 2);
    if (v[0].disk[0] == '\0') {
        struct bx_template_use t = v[0];

        v[0] = v[1];
        v[1] = t;
    }
    assert_string_equal(v[0].disk, "a.ext4");
    assert_string_equal(v[0].disk_id, "12");
    assert_int_equal(v[0].bytes, bytes);
    assert_string_equal(v[1].disk, "");
    free(v);

    /* One that is being made anew just now stays, and so does the one that is spared. */
    assert_int_equal(bx_templates_evict(dir, &none, "tcg-c1-m1024-0000000000000002", 8, NULL), 1);
    assert_int_equal(faccessat(dir, "tcg-c1-m1024-i0000000000000001", F_OK, 0), -1);
    lock = openat(dir, "tcg-c1-m1024-0000000000000002.lock", O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(lock, LOCK_EX), 0);
    assert_int_equal(bx_templates_evict(dir, &none, NULL, 8, NULL), 0);
    bx_close(lock);
    assert_int_equal(bx_templates_evict(dir, &none, NULL, 0, NULL), 0);
    assert_int_equal(bx_templates_evict(dir, &none, NULL, 8, NULL), 1);
    assert_int_equal(faccessat(dir, ".tcg-c1-m1024-0000000000000003.new", F_OK, 0), 0);
    assert_int_equal(faccessat(dir, "tcg-c1-m1024-0000000000000002.lock", F_OK, 0), -1);
    assert_int_equal(bx_template_evict(dir, "nothing", NULL), 0);
    bx_close(dir);
    bx_rm_rf(AT_FDCWD, home);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_one_shape_the_one_used_last_stays),
        cmocka_unit_test(the_longest_unused_go_until_the_rest_fits),
        cmocka_unit_test(one_that_was_used_a_moment_ago_stays),
        cmocka_unit_test(what_is_listed_is_what_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
