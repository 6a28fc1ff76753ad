/* SPDX-License-Identifier: Apache-2.0 */
/* The tree that layers make together: whiteouts, replaced types, hard links, links on the way, limits. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "unpack/index.h"
#include "../lib/tool.h"

static struct bx_index *ix;
static struct bx_err err;
static uint64_t released_blocks;

static void release(void *user, const struct bx_ext4_extent *extents, size_t n)
{
    (void)user;
    for (size_t i = 0; i < n; i++)
        released_blocks += extents[i].count;
}

static void start(uint32_t max, uint64_t memory, int scratch)
{
    struct bx_index_options o = {
        .max_entries = max,
        .memory_limit = memory,
        .scratch_limit = scratch >= 0 ? 1ULL << 30 : 0,
        .scratch_fd = scratch,
        .release = release,
    };
    released_blocks = 0;
    err = BX_ERR_INIT;
    assert_int_equal(bx_index_new(&o, &ix, &err), 0);
    assert_int_equal(bx_index_begin_layer(ix, &err), 0);
}

static int setup(void **state)
{
    (void)state;
    start(100000, 64 << 20, -1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bool ok = bx_index_check(ix);
    bx_index_free(ix);
    ix = NULL;
    return ok ? 0 : -1;
}

static void layer(void)
{
    assert_int_equal(bx_index_begin_layer(ix, &err), 0);
}

/* uid marks where an entry came from. */
static int try_add(const char *path, uint16_t mode, uint32_t uid, const char *target, bool hardlink)
{
    uint32_t file = 0;
    struct bx_index_item item = { .path = path, .mode = mode, .uid = uid, .target = target, .hardlink = hardlink };
    err = BX_ERR_INIT;
    int r = bx_index_add(ix, &item, &file, &err);
    if (r >= 0 && file) {
        struct bx_ext4_extent e = { .physical = 1000, .count = 1 };
        r = bx_index_set_data(ix, file, 10, &e, 1, &err);
    }
    assert_int_equal(r, -err.code);
    return r;
}

static void add(const char *path, uint16_t mode, uint32_t uid, const char *target, bool hardlink)
{
    if (try_add(path, mode, uid, target, hardlink) < 0)
        fail_msg("%s: %s", path, err.msg);
}

static void file(const char *path, uint32_t uid)
{
    add(path, S_IFREG | 0644, uid, NULL, false);
}

static void dir(const char *path, uint32_t uid)
{
    add(path, S_IFDIR | 0755, uid, NULL, false);
}

static void symlink_to(const char *path, const char *target)
{
    add(path, S_IFLNK | 0777, 0, target, false);
}

static void hardlink_to(const char *path, const char *target)
{
    add(path, S_IFREG | 0644, 0, target, true);
}

static void refused(const char *path, uint16_t mode, const char *target, bool hardlink, const char *words)
{
    assert_int_equal(try_add(path, mode, 0, target, hardlink), -BX_EIMAGE);
    if (!strstr(err.msg, words))
        fail_msg("\"%s\" lacks \"%s\"", err.msg, words);
}

/* "name:uid " for each name, directories as "name/uid{...} ", symbolic links as "name>target ". */
static void list_into(struct bx_buf *b, uint32_t object)
{
    struct bx_index_object o;
    bx_index_get(ix, object, &o);
    struct bx_ext4_dirent *children = calloc(o.n_children + 1, sizeof(*children));
    bx_index_get_children(ix, object, children);
    for (uint32_t i = 0; i < o.n_children; i++) {
        /* children are found by name: numbers are not given yet */
        char name[256];
        memcpy(name, children[i].name, children[i].name_len);
        name[children[i].name_len] = 0;
        bx_buf_addf(b, "%s", name);
        bx_buf_addstr(b, S_ISDIR(children[i].mode) ? "/ " : S_ISLNK(children[i].mode) ? "> " : " ");
    }
    free(children);
}

static void assert_names(const char *path, const char *expected)
{
    bx_cleanup_buf struct bx_buf b = BX_BUF_INIT(65536);
    uint32_t object = bx_index_find(ix, path);
    if (!object)
        fail_msg("no %s", path);
    list_into(&b, object);
    assert_string_equal(bx_buf_str(&b), expected);
}

static struct bx_index_object get(const char *path)
{
    struct bx_index_object o = { 0 };
    uint32_t object = bx_index_find(ix, path);
    if (!object)
        fail_msg("no %s", path);
    bx_index_get(ix, object, &o);
    return o;
}

static void upper_layers_add_and_replace(void **state)
{
    (void)state;
    dir("etc", 1);
    file("etc/a", 1);
    file("./etc/b", 1);
    layer();
    file("/etc//a", 2);
    file("etc/c", 2);
    assert_names("", "etc/ ");
    assert_names("etc", "b a c ");
    assert_int_equal(get("etc/a").uid, 2);
    assert_int_equal(get("etc/b").uid, 1);
    assert_int_equal(released_blocks, 1);
}

static void a_directory_over_a_directory_keeps_its_content(void **state)
{
    (void)state;
    dir("d", 1);
    file("d/a", 1);
    layer();
    add("d", S_IFDIR | 01777, 7, NULL, false);
    assert_names("d", "a ");
    assert_int_equal(get("d").uid, 7);
    assert_int_equal(get("d").mode, S_IFDIR | 01777);
}

static void another_type_replaces_the_whole_tree(void **state)
{
    (void)state;
    dir("d", 1);
    dir("d/e", 1);
    file("d/e/a", 1);
    file("f", 1);
    layer();
    file("d", 2);
    dir("f", 2);
    file("f/x", 2);
    assert_names("", "d f/ ");
    assert_names("f", "x ");
    assert_int_equal(released_blocks, 2);
    assert_int_equal(bx_index_names(ix), 3);
}

static void a_whiteout_hides_what_lower_layers_gave(void **state)
{
    (void)state;
    dir("d", 1);
    file("d/a", 1);
    file("d/b", 1);
    dir("d/sub", 1);
    file("d/sub/x", 1);
    layer();
    file("d/.wh.a", 0);
    file("d/.wh.sub", 0);
    file("d/.wh.nothing", 0);
    file("none/.wh.nothing", 0);
    assert_names("d", "b ");
    assert_int_equal(bx_index_find(ix, "none"), 0);
    assert_int_equal(released_blocks, 2);
}

static void a_whiteout_spares_its_own_layer_in_any_order(void **state)
{
    (void)state;
    dir("d", 1);
    file("d/old", 1);
    file("a", 1);
    file("b", 1);
    layer();
    file("a", 2);
    file(".wh.a", 0);
    file(".wh.b", 0);
    file("b", 2);
    dir("d", 2);
    file("d/new", 2);
    file(".wh.d", 0);
    assert_int_equal(get("a").uid, 2);
    assert_int_equal(get("b").uid, 2);
    assert_names("d", "new ");
}

static void an_opaque_directory_hides_all_lower_names(void **state)
{
    (void)state;
    dir("d", 1);
    file("d/a", 1);
    dir("d/keep", 1);
    file("d/keep/old", 1);
    dir("d/gone", 1);
    file("d/gone/x", 1);
    layer();
    file("d/keep/new", 2); /* before the mark, and without entries for its directories */
    file("d/.wh..wh..opq", 0);
    file("d/later", 2);
    assert_names("d", "keep/ later ");
    assert_names("d/keep", "new ");
    layer();
    file(".wh..wh..opq", 0);
    assert_names("", "");
}

static void aufs_metadata_is_ignored(void **state)
{
    (void)state;
    dir(".wh..wh.plnk", 0);
    file(".wh..wh.plnk/12.34", 0);
    file(".wh..wh.aufs", 0);
    assert_names("", "");
}

static void missing_directories_are_made(void **state)
{
    (void)state;
    file("a/b/c", 1);
    assert_int_equal(get("a").mode, S_IFDIR | 0755);
    assert_int_equal(get("a/b").uid, 0);
    add("a", S_IFDIR | 0700, 5, NULL, false);
    assert_int_equal(get("a").mode, S_IFDIR | 0700);
    assert_names("a/b", "c ");
}

static void hard_links_reach_across_layers(void **state)
{
    (void)state;
    file("a", 1);
    hardlink_to("b", "a");
    assert_int_equal(get("b").links, 2);
    layer();
    hardlink_to("d/c", "/b");
    assert_int_equal(get("a").links, 3);
    hardlink_to("a", "b"); /* itself */
    assert_int_equal(get("a").links, 3);
    file("a", 2); /* the others keep the old content */
    assert_int_equal(get("b").links, 2);
    assert_int_equal(get("b").uid, 1);
    assert_int_equal(released_blocks, 0);
    file(".wh.b", 0);
    assert_int_equal(get("d/c").links, 1);
    layer();
    file(".wh.d", 0);
    assert_int_equal(released_blocks, 1);
    assert_names("", "a ");
}

static void a_hard_link_may_replace_the_tree_that_holds_its_target(void **state)
{
    (void)state;
    dir("d", 1);
    file("d/a", 9);
    layer();
    hardlink_to("d", "d/a");
    assert_int_equal(get("d").uid, 9);
    assert_int_equal(get("d").links, 1);
    assert_int_equal(released_blocks, 0);
}

static void links_on_the_way_are_followed_inside_the_tree(void **state)
{
    (void)state;
    dir("usr/lib", 1);
    symlink_to("lib", "usr/lib");
    symlink_to("abs", "/usr/lib");
    symlink_to("up", "../../../../usr");
    symlink_to("usr/back", "../usr/./lib//");
    symlink_to("dangling", "made/here");
    layer();
    file("lib/a", 2);
    file("abs/b", 2);
    file("up/lib/c", 2);
    file("usr/back/d", 2);
    file("dangling/e", 2);
    hardlink_to("lib/f", "abs/a");
    assert_names("usr/lib", "a b c d f ");
    assert_names("made/here", "e ");
    assert_int_equal(get("usr/lib/a").links, 2);
    file("lib/.wh.a", 0);
    file("abs/.wh.b", 0);
    layer();
    file("lib/.wh.c", 0);
    assert_names("usr/lib", "a b d f ");
    dir("lib", 3); /* a directory in the link's place is a new one */
    assert_names("lib", "");
}

static void hostile_paths_are_refused(void **state)
{
    (void)state;
    file("f", 0);
    dir("d", 0);
    symlink_to("loop1", "loop2");
    symlink_to("loop2", "loop1");
    refused("../etc/passwd", S_IFREG, NULL, false, "leads out of the image: ../etc/passwd");
    refused("a/../../b", S_IFREG, NULL, false, "leads out");
    refused("..", S_IFDIR, NULL, false, "leads out");
    refused("f/x", S_IFREG, NULL, false, "f is not a directory");
    refused("loop1/x", S_IFREG, NULL, false, "too many symbolic links");
    refused("l", S_IFREG, "../../etc/shadow", true, "leads out");
    refused("l", S_IFREG, "nothing", true, "does not exist: nothing");
    refused("l", S_IFREG, "f/x", true, "does not exist");
    refused("l", S_IFREG, "d", true, "to a directory");
    refused("l", S_IFREG, "/", true, "does not exist");
    refused("s", S_IFLNK, "", false, "without a target");
    refused("dev", 0, NULL, false, "unknown type");
    refused("/", S_IFREG, NULL, false, "root of the image");
    refused("./", S_IFREG, "f", true, "root of the image");
    refused(".wh.", S_IFREG, NULL, false, "not a valid whiteout");
    refused("d/.wh..", S_IFREG, NULL, false, "not a valid whiteout");
    refused("d/.wh...", S_IFREG, NULL, false, "not a valid whiteout");
    refused(".wh.d/x", S_IFREG, NULL, false, "not a valid whiteout");
    refused("bell\a\x1b[2J/..", S_IFREG, NULL, false, "leads out");
    assert_null(strchr(err.msg, '\a'));
    assert_null(strchr(err.msg, '\x1b'));
    char longname[300], target[5000], deep[2 * 300];
    memset(longname, 'n', sizeof(longname));
    longname[255] = 0;
    file(longname, 0);
    longname[255] = 'n';
    longname[256] = 0;
    refused(longname, S_IFREG, NULL, false, "longer than 255");
    memset(target, 't', sizeof(target));
    target[4095] = 0;
    symlink_to("long", target);
    target[4095] = 't';
    target[4096] = 0;
    refused("s", S_IFLNK, target, false, "without a target, or");
    refused(target, S_IFREG, NULL, false, "path is longer");
    refused("long/x", S_IFREG, NULL, false, "name is longer than 255");
    for (size_t i = 0; i < sizeof(deep); i++)
        deep[i] = i % 2 ? '/' : 'd';
    deep[2 * 256 - 1] = 0;
    dir(deep, 0);
    deep[2 * 256 - 1] = '/';
    deep[2 * 257 - 1] = 0;
    refused(deep, S_IFDIR, NULL, false, "deeper than 256");
    deep[2 * 200 - 1] = 0;
    symlink_to("s200", deep); /* not deeper through a link either */
    deep[2 * 100 - 1] = 0;
    char through[700];
    snprintf(through, sizeof(through), "s200/%s", deep);
    refused(through, S_IFDIR, NULL, false, "nested deeper");
}

static void limits_hold(void **state)
{
    (void)state;
    bx_index_free(ix);
    start(10, 64 << 20, -1);
    char name[32];
    int r = 0;
    for (int i = 0; i < 20 && r >= 0; i++) {
        snprintf(name, sizeof(name), "d%d/f", i);
        r = try_add(name, S_IFREG, 0, NULL, false);
    }
    assert_int_equal(r, -BX_EIMAGE);
    assert_string_equal(err.msg, "the image has more than 10 files");
    bx_index_free(ix);
    start(10, 64 << 20, -1);
    for (int i = 0; i < 10; i++)
        file("same", 0);
    refused("same", S_IFREG, NULL, false, "more than 10 entries");
    bx_index_free(ix);
    start(4000000, 4 << 20, -1);
    r = 0;
    for (int i = 0; i < 1000000 && r >= 0; i++) {
        snprintf(name, sizeof(name), "file%d", i);
        r = try_add(name, S_IFREG, 0, NULL, false);
    }
    assert_int_equal(r, -BX_ERESOURCE);
    assert_non_null(strstr(err.msg, "4 MiB of memory"));
    for (int i = 1; i < BX_INDEX_LAYERS_MAX; i++)
        layer();
    assert_int_equal(bx_index_begin_layer(ix, &err), -BX_EIMAGE);
}

static void beyond_the_memory_limit_it_continues_in_the_scratch_file(void **state)
{
    (void)state;
    bx_index_free(ix);
    int scratch = memfd_create("scratch", MFD_CLOEXEC);
    start(4000000, 4 << 20, scratch);
    char name[32];
    for (int i = 0; i < 300000; i++) {
        snprintf(name, sizeof(name), "d%d/file%d", i % 10, i);
        file(name, (uint32_t)i);
    }
    struct stat st;
    assert_int_equal(fstat(scratch, &st), 0);
    assert_true(st.st_size > 0);
    assert_int_equal(get("d7/file299997").uid, 299997);
    assert_int_equal(get("d3/file3").uid, 3);
    close(scratch);
}

static void a_million_names_take_a_second_or_two(void **state)
{
    (void)state;
    bx_index_free(ix);
    start(4000000, 1 << 30, -1);
    int64_t begin = bx_now();
    char name[32];
    for (int i = 0; i < 1000000; i++) {
        snprintf(name, sizeof(name), "one-directory/file%d", i);
        file(name, 0);
    }
    assert_int_equal(bx_index_number(ix, &err), 0);
    int64_t took = bx_now() - begin;
    print_message("# a million names: %lld ms\n", (long long)(took / BX_MSEC));
    assert_true(took < 30 * BX_SEC);
    layer();
    file(".wh.one-directory", 0);
    assert_int_equal(released_blocks, 1000000);
}

static void numbers_ascend_and_lost_found_is_eleven(void **state)
{
    (void)state;
    file("b/y", 0);
    file("a", 0);
    hardlink_to("b/a2", "a");
    assert_int_equal(bx_index_number(ix, &err), 0);
    uint32_t last = 0, n = 0;
    for (uint32_t o = bx_index_first(ix); o; o = bx_index_next(ix, o)) {
        struct bx_index_object x;
        bx_index_get(ix, o, &x);
        assert_true(x.ino > last);
        last = x.ino;
        n++;
    }
    assert_int_equal(n, bx_index_objects(ix));
    assert_int_equal(get("").ino, 2);
    assert_int_equal(get("lost+found").ino, 11);
    assert_int_equal(get("lost+found").mode, S_IFDIR | 0700);
    assert_int_equal(get("b").ino, 12);
    assert_int_equal(get("b/y").ino, 14);
    assert_int_equal(get("b").parent_ino, 2);
    assert_int_equal(get("").links, 4);
}

static void attributes_are_kept(void **state)
{
    (void)state;
    uint32_t id = 0;
    struct bx_ext4_xattr x[] = { { "user.a", 6, "1", 1 }, { "security.capability", 19, "\0\1\2", 3 } };
    struct bx_index_item item = { .path = "f", .mode = S_IFREG | 06755, .uid = 100000, .gid = 4000000000U,
                                  .mtime = { -5, 7 }, .xattrs = x, .n_xattrs = 2 };
    assert_int_equal(bx_index_add(ix, &item, &id, &err), 0);
    item = (struct bx_index_item){ .path = "dev", .mode = S_IFCHR, .major = 300, .minor = 70000 };
    assert_int_equal(bx_index_add(ix, &item, &id, &err), 0);
    assert_int_equal(id, 0);
    struct bx_index_object o = get("f");
    assert_int_equal(o.mode, S_IFREG | 06755);
    assert_int_equal(o.uid, 100000);
    assert_int_equal(o.gid, 4000000000U);
    assert_int_equal(o.mtime.sec, -5);
    assert_int_equal(o.mtime.nsec, 7);
    assert_int_equal(o.n_xattrs, 2);
    struct bx_ext4_xattr got[2];
    bx_index_get_xattrs(ix, bx_index_find(ix, "f"), got);
    assert_int_equal(got[1].name_len, 19);
    assert_memory_equal(got[1].name, "security.capability", 19);
    assert_memory_equal(got[1].value, "\0\1\2", 3);
    assert_int_equal(get("dev").major, 300);
    assert_int_equal(get("dev").minor, 70000);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(upper_layers_add_and_replace),
        T(a_directory_over_a_directory_keeps_its_content),
        T(another_type_replaces_the_whole_tree),
        T(a_whiteout_hides_what_lower_layers_gave),
        T(a_whiteout_spares_its_own_layer_in_any_order),
        T(an_opaque_directory_hides_all_lower_names),
        T(aufs_metadata_is_ignored),
        T(missing_directories_are_made),
        T(hard_links_reach_across_layers),
        T(a_hard_link_may_replace_the_tree_that_holds_its_target),
        T(links_on_the_way_are_followed_inside_the_tree),
        T(hostile_paths_are_refused),
        T(limits_hold),
        T(beyond_the_memory_limit_it_continues_in_the_scratch_file),
        T(a_million_names_take_a_second_or_two),
        T(numbers_ascend_and_lost_found_is_eleven),
        T(attributes_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
