/* SPDX-License-Identifier: Apache-2.0 */
/* The events of a home: lines of many writers, files that are full, text that is hostile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/path.h"
#include "host/event_log.h"
#include "host/numbered.h"
#include "temp_dir.h"

static void open_log(struct dir *d, struct bx_event_log *l)
{
    bx_event_log_open(l, fcntl(d->fd, F_DUPFD_CLOEXEC, 3));
}

static void read_number(struct dir *d, uint32_t number, char **ret)
{
    char name[BX_NUMBERED_NAME_MAX];

    bx_numbered_name(name, BX_EVENT_PREFIX, number);
    assert_int_equal(bx_read_file(d->fd, name, BX_EVENT_FILE_MAX + 64 * BX_EVENT_LINE_MAX, ret, NULL), 0);
}

static void an_event_comes_back_as_it_was_written(void **state)
{
    struct dir *d = *state;
    struct bx_event_log l;
    struct bx_event e = {.type = "exec.ended", .box = "abcdefghijkl", .name = "web", .image = "alpine:latest", .exec = "x1",
                         .program = "sh", .health = "healthy", .message = "why \"so\"", .has_exit = true, .exit_code = 137, .oom = true};
    struct bx_event none = {.type = "box.created", .name = ""}, got;
    bx_cleanup_free char *text = NULL;
    bx_cleanup_json struct bx_json doc = {0}, second = {0};
    struct bx_err err = BX_ERR_INIT;
    char *nl;

    open_log(d, &l);
    assert_int_equal(bx_event_log_add(&l, &e), 0);
    assert_int_equal(bx_event_log_add(&l, &none), 0);
    bx_event_log_close(&l);
    read_number(d, 1, &text);
    nl = strchr(text, '\n');
    assert_int_equal(bx_event_parse(text, (size_t)(nl - text), &doc, &got, &err), 0);
    assert_true(got.time_ns > 1700000000000000000);
    assert_string_equal(got.type, e.type);
    assert_string_equal(got.box, e.box);
    assert_string_equal(got.name, e.name);
    assert_string_equal(got.image, e.image);
    assert_string_equal(got.exec, e.exec);
    assert_string_equal(got.program, e.program);
    assert_string_equal(got.health, e.health);
    assert_string_equal(got.message, e.message);
    assert_true(got.has_exit && got.exit_code == 137 && got.oom);
    assert_int_equal(bx_event_parse(nl + 1, strcspn(nl + 1, "\n"), &second, &got, &err), 0);
    assert_string_equal(got.type, "box.created");
    assert_null(got.name);
    assert_true(!got.has_exit && !got.oom);
}

static void hostile_text_makes_one_line_that_can_be_read(void **state)
{
    struct dir *d = *state;
    char longest[5000], quotes[5000], raw[5000];
    struct bx_event_log l;
    struct bx_event e = {.type = "box.failed", .box = longest, .name = quotes, .image = raw, .exec = raw, .program = "\n\x1b[31m\xff", .message = quotes},
                    got;
    bx_cleanup_free char *text = NULL;
    bx_cleanup_json struct bx_json doc = {0};
    struct bx_err err = BX_ERR_INIT;

    memset(longest, 'x', sizeof(longest) - 1);
    memset(quotes, '"', sizeof(quotes) - 1);
    memset(raw, '\xfe', sizeof(raw) - 1);
    longest[4999] = quotes[4999] = raw[4999] = '\0';
    open_log(d, &l);
    assert_int_equal(bx_event_log_add(&l, &e), 0);
    bx_event_log_close(&l);
    read_number(d, 1, &text);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    if (bx_event_parse(text, strlen(text) - 1, &doc, &got, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(strlen(got.box), 64);
    assert_int_equal(strlen(got.message), 512);
    assert_string_equal(got.program, "\\x0a\\x1b[31m\\xff");
}

static void what_is_no_event_is_refused(void **state)
{
    static const char *const bad[] = {"", "{}", "x", "{\"time\":1}", "{\"time\":-1,\"type\":\"x\"}", "{\"time\":1,\"type\":7}",
                                      "{\"time\":1,\"type\":\"x\",\"exit_code\":\"1\"}", "[]", "{\"time\":1,\"type\":\"x\"} y"};
    struct bx_event got;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        bx_cleanup_json struct bx_json doc = {0};

        if (bx_event_parse(bad[i], strlen(bad[i]), &doc, &got, NULL) == 0)
            fail_msg("taken: %s", bad[i]);
    }
    bx_cleanup_json struct bx_json doc = {0};
    const char *later = "{\"time\":1,\"type\":\"x\",\"of_a_later_version\":{\"a\":[1]}}";

    assert_int_equal(bx_event_parse(later, strlen(later), &doc, &got, NULL), 0);
}

#define WRITERS 4
#define EACH    12000

/* More than the files may hold, by several at once: no line is torn, the newest are there, and of each writer in order. */
static void many_writers_share_bounded_files(void **state)
{
    struct dir *d = *state;
    unsigned last[WRITERS] = {0}, lines = 0;
    pid_t pids[WRITERS];
    int status;

    for (int w = 0; w < WRITERS; w++) {
        pids[w] = fork();
        if (pids[w] == 0) {
            struct bx_event_log l;
            char id[16], number[16];
            struct bx_event e = {.type = "exec.started", .box = id, .exec = number, .image = "docker.io/library/some-image-with-a-name:latest"};

            open_log(d, &l);
            snprintf(id, sizeof(id), "%d", w);
            for (unsigned i = 1; i <= EACH; i++) {
                snprintf(number, sizeof(number), "%u", i);
                if (bx_event_log_add(&l, &e) < 0)
                    _exit(1);
            }
            _exit(0);
        }
    }
    for (int w = 0; w < WRITERS; w++) {
        assert_int_equal(waitpid(pids[w], &status, 0), pids[w]);
        assert_int_equal(status, 0);
    }
    assert_true(bx_numbered_last(d->fd, BX_EVENT_PREFIX) > BX_EVENT_FILES);
    for (int64_t n = 0, files = 0; (n = bx_numbered_next(d->fd, BX_EVENT_PREFIX, (uint32_t)n)) > 0;) {
        bx_cleanup_free char *text = NULL;

        assert_true(++files <= BX_EVENT_FILES);
        read_number(d, (uint32_t)n, &text);
        for (char *p = text, *nl; (nl = strchr(p, '\n')); p = nl + 1) {
            bx_cleanup_json struct bx_json doc = {0};
            struct bx_event e;
            unsigned writer, number;

            assert_int_equal(bx_event_parse(p, (size_t)(nl - p), &doc, &e, NULL), 0);
            writer = (unsigned)atoi(e.box);
            number = (unsigned)atoi(e.exec);
            assert_true(writer < WRITERS && (lines == 0 || last[writer] == 0 || number == last[writer] + 1));
            last[writer] = number;
            lines++;
        }
    }
    for (int w = 0; w < WRITERS; w++)
        assert_int_equal(last[w], EACH);
    assert_true(lines > 15000);
}

static void a_full_disk_leaves_no_half_line_in_the_way(void **state)
{
    struct dir *d = *state;
    struct rlimit old, small = {.rlim_cur = 30};
    struct bx_event e = {.type = "box.started", .box = "abcdefghijkl"};
    struct bx_event_log l;
    bx_cleanup_free char *text = NULL;

    open_log(d, &l);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_true(bx_event_log_add(&l, &e) < 0);
    assert_true(bx_event_log_add(&l, &e) < 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(bx_event_log_add(&l, &e), 0);
    bx_event_log_close(&l);
    read_number(d, 1, &text);
    assert_non_null(strstr(text, "box.started\",\"box\":\"abcdefghijkl\"}\n"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_event_comes_back_as_it_was_written),
        T(hostile_text_makes_one_line_that_can_be_read),
        T(what_is_no_event_is_refused),
        T(many_writers_share_bounded_files),
        T(a_full_disk_leaves_no_half_line_in_the_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
