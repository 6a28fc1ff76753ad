/* SPDX-License-Identifier: Apache-2.0 */
/* Who a command runs as: names, numbers, groups, and passwd files made to confuse. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/path.h"
#include "guest/user.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
                             "# comment\n"
                             "short:x:5\n"
                             "bob:x:1000:1001:Bob,,,:/home/bob:/bin/sh\n"
                             "1000:x:7:8::/seven:/bin/sh\n"
                             "big:x:4294967296:1::/:\n"
                             "minus:x:-1:1::/:\n"
                             "last:x:12:13::/l:/bin/sh";
static const char group[] =
    "root:x:0:\nbob:x:1001:\naudio:x:29:alice,bob\nvideo:x:44:bob\nnot:x:45:bobby,rob\n77:x:88:\n";

static int look(const char *spec, struct bx_user *u, struct bx_err *err)
{
    return bx_user_lookup(spec, passwd, strlen(passwd), group, strlen(group), u, err);
}

static void empty_spec_is_root(void **state)
{
    struct bx_user u;

    assert_int_equal(look("", &u, NULL), 0);
    assert_int_equal(u.uid, 0);
    assert_int_equal(u.gid, 0);
    assert_string_equal(u.home, "/root");
    assert_int_equal(u.ngroups, 0);
}

static void a_name_brings_its_group_home_and_memberships(void **state)
{
    struct bx_user u;

    assert_int_equal(look("bob", &u, NULL), 0);
    assert_int_equal(u.uid, 1000);
    assert_int_equal(u.gid, 1001);
    assert_string_equal(u.home, "/home/bob");
    assert_int_equal(u.ngroups, 2);
    assert_int_equal(u.groups[0], 29);
    assert_int_equal(u.groups[1], 44);
}

static void a_name_of_digits_wins_over_the_number(void **state)
{
    struct bx_user u;

    assert_int_equal(look("1000", &u, NULL), 0);
    assert_int_equal(u.uid, 7);
    assert_string_equal(u.home, "/seven");
}

static void a_number_need_not_be_known(void **state)
{
    struct bx_user u;

    assert_int_equal(look("4242", &u, NULL), 0);
    assert_int_equal(u.uid, 4242);
    assert_int_equal(u.gid, 0);
    assert_string_equal(u.home, "/");
    assert_int_equal(look("12", &u, NULL), 0);
    assert_int_equal(u.gid, 13);
    assert_string_equal(u.home, "/l");
}

static void a_group_replaces_memberships(void **state)
{
    struct bx_user u;

    assert_int_equal(look("bob:audio", &u, NULL), 0);
    assert_int_equal(u.gid, 29);
    assert_int_equal(u.ngroups, 0);
    assert_int_equal(look("bob:555", &u, NULL), 0);
    assert_int_equal(u.gid, 555);
    assert_int_equal(look("bob:77", &u, NULL), 0);
    assert_int_equal(u.gid, 88);
    assert_int_equal(look("12:0", &u, NULL), 0);
    assert_int_equal(u.gid, 0);
}

static void unknown_names_are_refused_in_words(void **state)
{
    struct bx_user u;
    struct bx_err err;

    assert_int_equal(look("nobody", &u, &err), -BX_EEXEC);
    assert_non_null(strstr(err.msg, "spawn_failed: no user \"nobody\""));
    assert_int_equal(err.sys_errno, 0);
    assert_int_equal(look("bob:wheel", &u, &err), -BX_EEXEC);
    assert_non_null(strstr(err.msg, "no group \"wheel\""));
    assert_int_equal(look("big", &u, &err), -BX_EEXEC);
    assert_int_equal(look("minus", &u, &err), -BX_EEXEC);
    assert_int_equal(look("short", &u, &err), -BX_EEXEC);
    assert_int_equal(look("4294967295", &u, &err), -BX_EEXEC);
}

static void groups_beyond_the_limit_are_left_out(void **state)
{
    char *text = calloc(1, 64 * 1024);
    struct bx_user u;
    size_t at = 0;

    for (int i = 0; i < BX_USER_GROUPS_MAX + 50; i++)
        at += (size_t)snprintf(text + at, 64 * 1024 - at, "g%d:x:%d:bob\n", i, 2000 + i);
    assert_int_equal(bx_user_lookup("bob", passwd, strlen(passwd), text, at, &u, NULL), 0);
    assert_int_equal(u.ngroups, BX_USER_GROUPS_MAX);
    free(text);
}

static void a_home_that_does_not_fit_is_not_taken(void **state)
{
    char text[3000] = "x:x:1:1::/";
    struct bx_user u;

    memset(text + 10, 'h', 2000);
    memcpy(text + 2010, ":/bin/sh\n", 10);
    assert_int_equal(bx_user_lookup("x", text, strlen(text), "", 0, &u, NULL), 0);
    assert_string_equal(u.home, "/");
}

/* A root of its own for the file tests. */
static int make_root(char *dir)
{
    assert_non_null(mkdtemp(dir));
    assert_int_equal(bx_mkdir_p(dir, 0755), 0);
    return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void files_are_read_inside_the_root_only(void **state)
{
    char dir[] = "/tmp/bx-user-XXXXXX";
    int root = make_root(dir);
    struct bx_user u;
    struct bx_err err;

    /* No /etc at all: numbers work. */
    assert_int_equal(bx_user_resolve(root, "5:6", &u, NULL), 0);
    assert_int_equal(u.gid, 6);
    assert_int_equal(mkdirat(root, "etc", 0755), 0);
    assert_int_equal(bx_write_file_atomic(root, "etc/passwd", passwd, strlen(passwd), 0644), 0);
    assert_int_equal(bx_user_resolve(root, "bob", &u, NULL), 0);
    assert_int_equal(u.uid, 1000);
    /* A link out of the root stays in it: the file is missing there. */
    assert_int_equal(unlinkat(root, "etc/passwd", 0), 0);
    assert_int_equal(symlinkat("../../../../../../etc/passwd", root, "etc/passwd"), 0);
    assert_int_equal(bx_user_resolve(root, "root:0", &u, &err), -BX_EEXEC);
    /* A pipe does not hold us up, and is refused. */
    assert_int_equal(unlinkat(root, "etc/passwd", 0), 0);
    assert_int_equal(mkfifoat(root, "etc/passwd", 0644), 0);
    assert_int_equal(bx_user_resolve(root, "bob", &u, &err), -BX_EEXEC);
    assert_non_null(strstr(err.msg, "not a plain file"));
    close(root);
    bx_rm_rf(AT_FDCWD, dir);
}

static void a_huge_file_is_refused(void **state)
{
    char dir[] = "/tmp/bx-user-XXXXXX";
    int root = make_root(dir), fd;
    struct bx_user u;
    struct bx_err err;

    assert_int_equal(mkdirat(root, "etc", 0755), 0);
    fd = openat(root, "etc/passwd", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(ftruncate(fd, 64L * 1024 * 1024), 0);
    close(fd);
    assert_int_equal(bx_user_resolve(root, "bob", &u, &err), -BX_EEXEC);
    close(root);
    bx_rm_rf(AT_FDCWD, dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_spec_is_root),
        cmocka_unit_test(a_name_brings_its_group_home_and_memberships),
        cmocka_unit_test(a_name_of_digits_wins_over_the_number),
        cmocka_unit_test(a_number_need_not_be_known),
        cmocka_unit_test(a_group_replaces_memberships),
        cmocka_unit_test(unknown_names_are_refused_in_words),
        cmocka_unit_test(groups_beyond_the_limit_are_left_out),
        cmocka_unit_test(a_home_that_does_not_fit_is_not_taken),
        cmocka_unit_test(files_are_read_inside_the_root_only),
        cmocka_unit_test(a_huge_file_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
