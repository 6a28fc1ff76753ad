/* SPDX-License-Identifier: Apache-2.0 */
/* References: Docker's defaults, every part, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "image/reference.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct {
    const char *text, *canonical, *familiar;
} good[] = {
    { "alpine", "docker.io/library/alpine:latest", "alpine:latest" },
    { "python:slim-debian", "docker.io/library/python:slim-debian", "python:slim-debian" },
    { "user/app", "docker.io/user/app:latest", "user/app:latest" },
    { "docker.io/alpine:3", "docker.io/library/alpine:3", "alpine:3" },
    { "index.docker.io/library/alpine:3", "docker.io/library/alpine:3", "alpine:3" },
    { "localhost/app", "localhost/app:latest", "localhost/app:latest" },
    { "localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1" },
    { "127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c:latest", "127.0.0.1:5000/a/b/c:latest" },
    { "[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest" },
    { "ghcr.io/o/app@sha256:" HEX64, "ghcr.io/o/app@sha256:" HEX64, "ghcr.io/o/app@sha256:" HEX64 },
    { "app:v1@sha256:" HEX64, "docker.io/library/app:v1@sha256:" HEX64, "app:v1@sha256:" HEX64 },
    { "index.docker.io/quay.io/app:3", "docker.io/quay.io/app:3", "docker.io/quay.io/app:3" },
    { "docker.io/library/x/y", "docker.io/library/x/y:latest", "library/x/y:latest" },
    { "library/" HEX64, "docker.io/library/" HEX64 ":latest", "library/" HEX64 ":latest" },
    { "a__b/c-d--e.f", "docker.io/a__b/c-d--e.f:latest", "a__b/c-d--e.f:latest" },
};

static const struct {
    const char *text, *why;
} bad[] = {
    { "", "empty" },
    { "UPPER", "lower case" },
    { "lower/CASE", "lower case" },
    { "a:", "bad tag" },
    { "a:-x", "bad tag" },
    { "a//b", "bad name" },
    { "a/../b", "bad name" },
    { ".a", "bad name" },
    { "a___b", "bad name" },
    { "a b", "bad name" },
    { "host:99999/a", "bad registry" },
    { "-host.com/a", "bad registry" },
    { "a@sha256:123", "digest" },
    { "a@md5:" HEX64, "digest" },
    { HEX64, "id" },
    { "a:\033[2J", "no reference has" },
    { "a/\302\233x", "no reference has" },
};

static void every_part_is_read_as_docker_reads_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct bx_reference ref;
        struct bx_err err = BX_ERR_INIT;
        if (bx_reference_parse(good[i].text, &ref, &err) < 0)
            fail_msg("%s: %s", good[i].text, err.msg);
        char *canonical = bx_reference_canonical(&ref);
        char *familiar = bx_reference_familiar(&ref);
        assert_string_equal(canonical, good[i].canonical);
        assert_string_equal(familiar, good[i].familiar);
        free(canonical);
        free(familiar);
    }
}

static void what_is_no_reference_is_refused_with_the_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct bx_reference ref;
        struct bx_err err = BX_ERR_INIT;
        if (bx_reference_parse(bad[i].text, &ref, &err) != -BX_EINVALID)
            fail_msg("'%s' was taken", bad[i].text);
        if (!strstr(err.msg, bad[i].why))
            fail_msg("'%s': %s does not say %s", bad[i].text, err.msg, bad[i].why);
    }
    char long_name[2000];
    memset(long_name, 'a', sizeof(long_name));
    long_name[sizeof(long_name) - 1] = '\0';
    struct bx_reference ref;
    assert_int_equal(bx_reference_parse(long_name, &ref, NULL), -BX_EINVALID);
    long_name[300] = '\0';
    assert_int_equal(bx_reference_parse(long_name, &ref, NULL), -BX_EINVALID);
}

/* What is written in full has the same limit as what is read: a stored name can be looked up again. */
static void the_longest_name_can_be_read_again(void **state)
{
    (void)state;
    char text[256] = { 0 };
    for (size_t n = 230; n < 255; n++) {
        struct bx_reference ref;
        struct bx_err err = BX_ERR_INIT;
        memset(text, 'a', n);
        if (bx_reference_parse(text, &ref, &err) < 0) {
            assert_non_null(strstr(err.msg, "too long"));
            assert_true(n > 255 - strlen("docker.io/library/"));
            continue;
        }
        char *canonical = bx_reference_canonical(&ref);
        if (bx_reference_parse(canonical, &ref, &err) < 0)
            fail_msg("%zu: %s", n, err.msg);
        free(canonical);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_part_is_read_as_docker_reads_it),
        cmocka_unit_test(what_is_no_reference_is_refused_with_the_reason),
        cmocka_unit_test(the_longest_name_can_be_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
