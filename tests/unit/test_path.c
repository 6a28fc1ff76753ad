/* SPDX-License-Identifier: Apache-2.0 */
/* Paths: nothing leads out of a root, trees go without following links, sockets under long paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"

static int top;
static char top_name[] = "/tmp/bx-test-path-XXXXXX";

static void put(const char *name, const char *text)
{
    assert_int_equal(bx_write_file_atomic(top, name, text, strlen(text), 0600), 0);
}

static int make_dir(void **state)
{
    if (!mkdtemp(top_name))
        return -1;
    top = open(top_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return top < 0;
}

static int remove_dir(void **state)
{
    bx_close(top);
    return bx_rm_rf(AT_FDCWD, top_name);
}

/* First character of the file, or -errno of opening it. */
static int first_char(int fd)
{
    bx_cleanup_close int owned = fd;
    char c;

    if (fd < 0)
        return fd;
    return read(owned, &c, 1) == 1 ? c : -EIO;
}

static void nothing_leads_out_of_a_root(void **state)
{
    bx_cleanup_close int root = -1;

    assert_int_equal(bx_mkdirat_p(top, "root/etc", 0755), 0);
    put("secret", "S");
    put("root/etc/inside", "i");
    put("root/secret", "o"); /* what an escape attempt finds instead */
    assert_int_equal(symlinkat("../../secret", top, "root/etc/up"), 0);
    assert_int_equal(symlinkat("/secret", top, "root/etc/abs"), 0);
    assert_int_equal(symlinkat("/etc", top, "root/dirlink"), 0);
    assert_int_equal(symlinkat("/proc/self/root", top, "root/magic"), 0);
    root = openat(top, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);

    assert_int_equal(first_char(bx_open_in_root(root, "etc/inside", O_RDONLY, 0)), 'i');
    assert_int_equal(first_char(bx_open_in_root(root, "/etc/inside", O_RDONLY, 0)), 'i');
    assert_int_equal(first_char(bx_open_in_root(root, "dirlink/inside", O_RDONLY, 0)), 'i');
    assert_int_equal(first_char(bx_open_in_root(root, "../secret", O_RDONLY, 0)), 'o');
    assert_int_equal(first_char(bx_open_in_root(root, "../../../../secret", O_RDONLY, 0)), 'o');
    assert_int_equal(first_char(bx_open_in_root(root, "etc/up", O_RDONLY, 0)), 'o');
    assert_int_equal(first_char(bx_open_in_root(root, "etc/abs", O_RDONLY, 0)), 'o');
    assert_int_equal(bx_open_in_root(root, "magic/etc/passwd", O_RDONLY, 0), -ENOENT); /* no /proc in there */
}

static void magic_links_are_refused(void **state)
{
    bx_cleanup_close int proc = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);

    assert_int_equal(bx_open_in_root(proc, "root/etc", O_RDONLY | O_DIRECTORY, 0), -ELOOP);
    assert_int_equal(bx_open_in_root(proc, "cwd", O_RDONLY | O_DIRECTORY, 0), -ELOOP);
}

static void our_own_trees_allow_no_link_at_all(void **state)
{
    assert_int_equal(bx_mkdirat_p(top, "own/a", 0755), 0);
    put("own/a/f", "f");
    assert_int_equal(symlinkat("a", top, "own/link"), 0);
    assert_int_equal(symlinkat("f", top, "own/a/g"), 0);
    assert_int_equal(first_char(bx_open_beneath(top, "own/a/f", O_RDONLY, 0)), 'f');
    assert_int_equal(bx_open_beneath(top, "own/link/f", O_RDONLY, 0), -ELOOP);
    assert_int_equal(bx_open_beneath(top, "own/a/g", O_RDONLY, 0), -ELOOP);
    assert_int_equal(bx_open_beneath(top, "../etc/passwd", O_RDONLY, 0), -EXDEV);
    assert_int_equal(bx_open_beneath(top, "/etc/passwd", O_RDONLY, 0), -EXDEV);
}

static void opening_may_create(void **state)
{
    bx_cleanup_close int fd = bx_open_in_root(top, "made", O_WRONLY | O_CREAT | O_EXCL, 0640);
    struct stat st;

    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 0707, 0600);
}

static void directories_are_made_with_their_parents(void **state)
{
    bx_cleanup_free char *path = bx_path_join(top_name, "/p/q//r/");
    struct stat st;

    assert_int_equal(bx_mkdir_p(path, 0700), 0);
    assert_int_equal(bx_mkdir_p(path, 0700), 0);
    assert_int_equal(fstatat(top, "p/q/r", &st, 0), 0);
    put("p/file", "x");
    assert_int_equal(bx_mkdirat_p(top, "p/file", 0700), -ENOTDIR);
    assert_int_equal(bx_mkdirat_p(top, "p/file/below", 0700), -ENOTDIR);
    assert_int_equal(bx_mkdirat_p(top, "", 0700), -ENOENT);
}

static void removing_a_tree_spares_what_links_point_to(void **state)
{
    struct stat st;

    assert_int_equal(bx_mkdirat_p(top, "gone/x/y/z", 0755), 0);
    assert_int_equal(bx_mkdirat_p(top, "safe", 0755), 0);
    put("safe/file", "x");
    put("gone/x/file", "x");
    assert_int_equal(symlinkat("../../safe", top, "gone/x/link"), 0);
    assert_int_equal(symlinkat("safe", top, "toplink"), 0);
    assert_int_equal(bx_rm_rf(top, "gone"), 0);
    assert_int_equal(bx_rm_rf(top, "toplink"), 0);
    assert_int_equal(bx_rm_rf(top, "gone"), 0); /* missing is fine */
    assert_int_equal(fstatat(top, "gone", &st, AT_SYMLINK_NOFOLLOW), -1);
    assert_int_equal(fstatat(top, "toplink", &st, AT_SYMLINK_NOFOLLOW), -1);
    assert_int_equal(fstatat(top, "safe/file", &st, 0), 0);
}

static void joining_gives_one_slash(void **state)
{
    static const char *const cases[][3] = {
        { "a", "b", "a/b" }, { "a/", "b", "a/b" }, { "a//", "//b/c", "a/b/c" }, { "/", "b", "/b" }, { "", "b", "b" },
    };

    for (size_t i = 0; i < BX_ARRAY_SIZE(cases); i++) {
        bx_cleanup_free char *got = bx_path_join(cases[i][0], cases[i][1]);

        assert_string_equal(got, cases[i][2]);
    }
}

static void temporary_files_have_their_own_names(void **state)
{
    char a[64], b[64], small[32];
    bx_cleanup_close int fa = bx_tmpfile_at(top, "t", 0600, a, sizeof(a));
    bx_cleanup_close int fb = bx_tmpfile_at(top, "t", 0600, b, sizeof(b));

    assert_true(fa >= 0 && fb >= 0);
    assert_string_not_equal(a, b);
    assert_int_equal(faccessat(top, a, R_OK, 0), 0);
    assert_int_equal(bx_tmpfile_at(top, "a-prefix-that-does-not-fit", 0600, small, sizeof(small)), -ENAMETOOLONG);
}

static void talk(int listener, int client)
{
    bx_cleanup_close int l = listener;
    bx_cleanup_close int c = client;
    bx_cleanup_close int s = -1;
    char got;

    assert_true(l >= 0 && c >= 0);
    assert_int_equal(fcntl(c, F_GETFD), FD_CLOEXEC);
    assert_true(fcntl(c, F_GETFL) & O_NONBLOCK);
    s = accept4(l, NULL, NULL, SOCK_CLOEXEC);
    assert_true(s >= 0);
    assert_int_equal(write(c, "w", 1), 1);
    assert_int_equal(read(s, &got, 1), 1);
    assert_int_equal(got, 'w');
}

static void sockets_work_under_paths_of_any_length(void **state)
{
    char deep[600], name[PATH_MAX];
    bx_cleanup_free char *abs = NULL, *near = bx_path_join(top_name, "s1");
    size_t at = 0;
    int l;

    while (at < 500) {
        memset(deep + at, 'd', 99);
        deep[at + 99] = '/';
        at += 100;
    }
    deep[at - 1] = '\0';
    assert_int_equal(bx_mkdirat_p(top, deep, 0700), 0);
    memcpy(name, deep, at - 1);
    memcpy(name + at - 1, "/box.sock", 10);
    abs = bx_path_join(top_name, name);
    assert_true(strlen(abs) > 500);

    l = bx_unix_listen(top, name, 4);
    talk(l, bx_unix_connect(AT_FDCWD, abs));
    l = bx_unix_listen(AT_FDCWD, near, 4);
    talk(l, bx_unix_connect(top, "s1"));
    assert_int_equal(bx_unix_listen(top, "s1", 4), -EADDRINUSE);
    assert_int_equal(bx_unix_connect(top, "s1"), -ECONNREFUSED);
    assert_int_equal(bx_unix_connect(top, "none"), -ENOENT);
    assert_int_equal(bx_unix_connect(top, "nowhere/none"), -ENOENT);
    assert_int_equal(bx_unix_listen(top, "", 4), -EINVAL);
    memset(deep, 'n', 110);
    deep[110] = '\0';
    assert_int_equal(bx_unix_listen(top, deep, 4), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_leads_out_of_a_root),
        cmocka_unit_test(magic_links_are_refused),
        cmocka_unit_test(our_own_trees_allow_no_link_at_all),
        cmocka_unit_test(opening_may_create),
        cmocka_unit_test(directories_are_made_with_their_parents),
        cmocka_unit_test(removing_a_tree_spares_what_links_point_to),
        cmocka_unit_test(joining_gives_one_slash),
        cmocka_unit_test(temporary_files_have_their_own_names),
        cmocka_unit_test(sockets_work_under_paths_of_any_length),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
