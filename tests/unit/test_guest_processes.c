/* SPDX-License-Identifier: Apache-2.0 */
/* The list of processes from a proc: a made-up one, and this machine's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/path.h"
#include "guest/processes.h"

struct world {
    char path[32];
    int dir;
};

static int setup(void **state)
{
    static struct world w;

    snprintf(w.path, sizeof(w.path), "/tmp/bx-proc-XXXXXX");
    assert_non_null(mkdtemp(w.path));
    w.dir = open(w.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    close(w->dir);
    return bx_rm_rf(AT_FDCWD, w->path);
}

static void put(struct world *w, const char *name, const char *text, size_t len)
{
    bx_cleanup_close int fd = openat(w->dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_int_equal(write(fd, text, len), len);
}

static void put_process(struct world *w, const char *pid, const char *name, const char *command, size_t command_len)
{
    char path[32], stat[300];

    assert_int_equal(mkdirat(w->dir, pid, 0755), 0);
    snprintf(path, sizeof(path), "%s/stat", pid);
    snprintf(stat, sizeof(stat), "%s (%s) S 7 1 1 0 -1 4194560 1 2 3 4 100 50 5 6 20 0 3 0 1000 8192 2 18446744073709551615 0 0", pid, name);
    put(w, path, stat, strlen(stat));
    snprintf(path, sizeof(path), "%s/status", pid);
    snprintf(stat, sizeof(stat), "Name:\t%s\nUid:\t33\t0\t0\t0\nGid:\t0\n", name);
    put(w, path, stat, strlen(stat));
    snprintf(path, sizeof(path), "%s/cmdline", pid);
    put(w, path, command, command_len);
}

static const char *list(struct world *w, uint64_t *listed, uint64_t *left_out)
{
    static struct bx_buf out = BX_BUF_INIT(1 << 20);
    struct bx_err err;

    bx_buf_clear(&out);
    assert_int_equal(bx_processes_list(w->dir, &out, listed, left_out, &err), 0);
    return bx_buf_str(&out);
}

static void a_process_is_a_line(void **state)
{
    struct world *w = *state;
    uint64_t listed, left_out;
    long page = sysconf(_SC_PAGESIZE), hz = sysconf(_SC_CLK_TCK);
    char want[300];

    put(w, "uptime", "20.50 3.00\n", 11);
    put_process(w, "20", "sh", "sh\0-c\0true\0", 11);
    put_process(w, "3", "evil) S 1 (\n\t", "\x1b[31m", 5);
    put_process(w, "900", "kernel", "", 0);
    assert_int_equal(mkdirat(w->dir, "sys", 0755), 0);
    assert_int_equal(mkdirat(w->dir, "77", 0755), 0); /* it has just ended: nothing can be read of it */
    snprintf(want, sizeof(want),
             "3 7 33 S 3 %ld %ld %ld\tevil) S 1 (\\x0a\\x09\t\\x1b[31m\n"
             "20 7 33 S 3 %ld %ld %ld\tsh\tsh -c true\n"
             "900 7 33 S 3 %ld %ld %ld\tkernel\t\n",
             150 * 1000000 / hz, 2 * page, 20500 - 1000 * 1000 / hz, 150 * 1000000 / hz, 2 * page, 20500 - 1000 * 1000 / hz,
             150 * 1000000 / hz, 2 * page, 20500 - 1000 * 1000 / hz);
    assert_string_equal(list(w, &listed, &left_out), want);
    assert_int_equal(listed, 3);
    assert_int_equal(left_out, 0);
}

static void a_long_command_line_is_cut(void **state)
{
    struct world *w = *state;
    uint64_t listed, left_out;
    char command[5000];
    const char *text;

    memset(command, '\1', sizeof(command));
    put_process(w, "5", "x", command, sizeof(command));
    text = list(w, &listed, &left_out);
    assert_int_equal(listed, 1);
    assert_in_range(strlen(text), 4000, 4200);
    assert_int_equal(text[strlen(text) - 1], '\n');
}

static void what_is_no_process_is_passed_over(void **state)
{
    static const char *const stats[] = {"", "12", "12 (x", "12 (x) S", ") 1 (x"};
    struct world *w = *state;
    uint64_t listed, left_out;

    for (size_t i = 0; i < BX_ARRAY_SIZE(stats); i++) {
        char name[16];

        snprintf(name, sizeof(name), "%zu", 100 + i);
        put_process(w, name, "x", "x", 1);
        snprintf(name, sizeof(name), "%zu/stat", 100 + i);
        put(w, name, stats[i], strlen(stats[i]));
    }
    assert_string_equal(list(w, &listed, &left_out), "");
    assert_int_equal(listed, 0);
}

static void more_than_the_limit_are_counted(void **state)
{
    struct world *w = *state;
    uint64_t listed, left_out;
    char name[16];

    for (int i = 1; i <= BX_PROCESSES_MAX + 10; i++) {
        snprintf(name, sizeof(name), "%d", i);
        assert_int_equal(mkdirat(w->dir, name, 0755), 0);
    }
    list(w, &listed, &left_out);
    assert_in_range(left_out, 9, 10); /* this test's own number is none of them */
}

static void this_machines_processes_are_listed_without_ourselves(void **state)
{
    struct world *w = *state;
    bx_cleanup_close int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(32 << 20);
    uint64_t listed, left_out;
    struct bx_err err;
    char me[32];

    (void)w;
    assert_int_equal(bx_processes_list(proc, &out, &listed, &left_out, &err), 0);
    assert_true(listed > 0);
    snprintf(me, sizeof(me), "\n%d ", getpid());
    assert_null(strstr(bx_buf_str(&out), me));
    snprintf(me, sizeof(me), "%d ", getppid());
    assert_non_null(strstr(bx_buf_str(&out), me));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_process_is_a_line),
        T(a_long_command_line_is_cut),
        T(what_is_no_process_is_passed_over),
        T(more_than_the_limit_are_counted),
        T(this_machines_processes_are_listed_without_ourselves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
