/* SPDX-License-Identifier: Apache-2.0 */
/* The ext4 writer: what e2fsck and debugfs say about file systems made of every kind of entry. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "disk/ext4.h"
#include "../lib/tool.h"

#define TIME 1700000000

struct image {
    char path[128];
    int fd;
    struct bx_ext4 *w;
    struct bx_err err;
};

static const struct bx_ext4_attr dir_attr = { .mode = S_IFDIR | 0755, .links = 2, .mtime = { TIME, 0 } };
static const struct bx_ext4_attr file_attr = { .mode = S_IFREG | 0644, .links = 1, .mtime = { TIME, 0 } };

static void image_open(struct image *im, uint64_t size, uint32_t inodes, uint64_t limit)
{
    memset(im, 0, sizeof(*im));
    im->fd = bx_test_file(im->path, sizeof(im->path));
    assert_true(im->fd >= 0);
    struct bx_ext4_options o = { .fd = im->fd, .size = size, .inodes = inodes, .time = TIME, .write_limit = limit };
    memcpy(o.uuid, "boxlite-test-id!", 16);
    if (bx_ext4_new(&o, &im->w, &im->err) < 0)
        fail_msg("%s", im->err.msg);
}

#define OK(im, call)                                                                                \
    do {                                                                                            \
        if ((call) < 0)                                                                             \
            fail_msg("%s: %s", #call, (im)->err.msg);                                               \
    } while (0)

static void image_close(struct image *im)
{
    bx_ext4_free(im->w);
    close(im->fd);
    unlink(im->path);
}

static void assert_clean(struct image *im)
{
    static char out[65536];
    const char *const fsck[] = { "e2fsck", "-fn", im->path, NULL };
    int code = bx_tool(out, sizeof(out), fsck);
    if (code != 0)
        fail_msg("e2fsck says %d: %s", code, out);
}

static char debug_out[65536];

static const char *debugfs(struct image *im, const char *request)
{
    const char *const cmd[] = { "debugfs", "-R", request, im->path, NULL };
    assert_int_equal(bx_tool(debug_out, sizeof(debug_out), cmd), 0);
    return debug_out;
}

static void assert_says(struct image *im, const char *request, const char *expected)
{
    if (!strstr(debugfs(im, request), expected))
        fail_msg("%s: no \"%s\" in: %s", request, expected, debug_out);
}

/* Root and lost+found around the caller's entries. `subdirs` of them are directories. */
static void put_root(struct image *im, const struct bx_ext4_dirent *entries, size_t n, uint32_t subdirs)
{
    struct bx_ext4_dirent *all = calloc(n + 1, sizeof(*all));
    if (n)
        memcpy(all, entries, n * sizeof(*all));
    all[n] = (struct bx_ext4_dirent){ .name = "lost+found", .name_len = 10, .ino = 11, .mode = S_IFDIR };
    struct bx_ext4_attr a = dir_attr;
    a.links = 3 + subdirs;
    OK(im, bx_ext4_put_dir(im->w, BX_EXT4_ROOT_INO, BX_EXT4_ROOT_INO, &a, all, n + 1, &im->err));
    a = dir_attr;
    a.mode = S_IFDIR | 0700;
    OK(im, bx_ext4_put_dir(im->w, BX_EXT4_LOST_INO, BX_EXT4_ROOT_INO, &a, NULL, 0, &im->err));
    free(all);
}

static struct bx_ext4_dirent entry(const char *name, uint32_t ino, uint16_t mode)
{
    return (struct bx_ext4_dirent){ .name = name, .name_len = (uint8_t)strlen(name), .ino = ino, .mode = mode };
}

static void put_big_directory(struct image *im, size_t n, size_t name_len)
{
    char *names = calloc(n, name_len + 1);
    struct bx_ext4_dirent *d = calloc(n, sizeof(*d));
    for (size_t i = 0; i < n; i++) {
        char *name = names + i * (name_len + 1);
        memset(name, 'x', name_len);
        char number[32];
        int digits = snprintf(number, sizeof(number), "%07zu", i);
        memcpy(name + name_len - (size_t)digits, number, (size_t)digits);
        d[i] = entry(name, (uint32_t)(13 + i), S_IFREG);
        d[i].name_len = (uint8_t)name_len;
    }
    struct bx_ext4_dirent root[] = { entry("big", 12, S_IFDIR) };
    put_root(im, root, 1, 1);
    OK(im, bx_ext4_put_dir(im->w, 12, 2, &dir_attr, d, n, &im->err));
    for (size_t i = 0; i < n; i++)
        OK(im, bx_ext4_put_file(im->w, (uint32_t)(13 + i), &file_attr, 0, NULL, 0, &im->err));
    OK(im, bx_ext4_finish(im->w, &im->err));
    free(d);
    free(names);
}

static void hundred_thousand_files_in_one_directory_take_a_second(void **state)
{
    (void)state;
    struct image im;
    int64_t start = bx_now();
    image_open(&im, 10ULL << 30, 0, 0);
    put_big_directory(&im, 100000, 20);
    int64_t took = bx_now() - start;
    print_message("# 100,000 files in one directory: %lld ms\n", (long long)(took / BX_MSEC));
    assert_clean(&im);
    assert_says(&im, "htree_dump /big", "Indirect levels: 1");
    assert_says(&im, "stat /big/xxxxxxxxxxxxx0099999", "Type: regular");
    assert_true(took < 10 * BX_SEC); /* about 0.1 s; the naive way takes 150 s */
    image_close(&im);
}

static void index_is_right_at_every_size(void **state)
{
    (void)state;
    /* one block, two, the smallest index, both sides of the root's limit of 507 leaves (15 names in each) */
    static const struct {
        size_t n;
        size_t name_len;
    } cases[] = { { 0, 12 },   { 1, 12 },    { 202, 12 },  { 203, 12 },   { 406, 12 },
                  { 407, 12 }, { 500, 255 }, { 2000, 7 },  { 7600, 255 }, { 7700, 255 } };
    for (size_t i = 0; i < BX_ARRAY_SIZE(cases); i++) {
        struct image im;
        image_open(&im, 256 << 20, 0, 0);
        put_big_directory(&im, cases[i].n, cases[i].name_len);
        print_message("# %zu names of %zu bytes\n", cases[i].n, cases[i].name_len);
        assert_clean(&im);
        image_close(&im);
    }
}

static void put_data(struct image *im, const void *data, size_t len, uint64_t offset,
                     const struct bx_ext4_extent **ret, size_t *n)
{
    bx_ext4_file_begin(im->w);
    OK(im, bx_ext4_file_write(im->w, offset, data, len, &im->err));
    OK(im, bx_ext4_file_end(im->w, ret, n, &im->err));
}

#define CAP_VALUE "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

static void put_every_kind(struct image *im)
{
    static char longname[256], target150[151], big[3000];
    memset(longname, 'n', 255);
    memset(target150, 't', 150);
    memset(big, 'v', sizeof(big));
    const struct bx_ext4_extent *e;
    size_t n;
    struct bx_ext4_extent text = { 0 }, sparse = { 0 };
    put_data(im, "hello, box\n", 11, 0, &e, &n);
    assert_int_equal(n, 1);
    text = e[0];
    put_data(im, "end", 3, 1 << 20, &e, &n);
    assert_int_equal(n, 1);
    sparse = e[0];
    assert_int_equal(sparse.logical, 256);

    struct bx_ext4_dirent root[] = {
        entry("file", 12, S_IFREG),       entry("hard", 12, S_IFREG),    entry("sparse", 13, S_IFREG),
        entry("fast", 14, S_IFLNK),       entry("slow", 15, S_IFLNK),    entry("null", 16, S_IFCHR),
        entry("bigdev", 17, S_IFBLK),     entry("fifo", 18, S_IFIFO),    entry("sock", 19, S_IFSOCK),
        entry(longname, 20, S_IFREG),     entry("secret", 21, S_IFREG),  entry("future", 22, S_IFREG),
        entry("past", 23, S_IFREG),       entry("xattrs", 24, S_IFREG),  entry("tmp", 25, S_IFDIR),
        entry("m\xc3\xbc\xff\n", 26, S_IFREG), entry("slow59", 27, S_IFLNK), entry("slow60", 28, S_IFLNK),
    };
    put_root(im, root, BX_ARRAY_SIZE(root), 1);
    struct bx_err *err = &im->err;
    struct bx_ext4_attr a = file_attr;
    a.mode = S_IFREG | 04755;
    a.links = 2;
    a.uid = 100000;
    a.gid = 200000;
    a.mtime = (struct bx_ext4_time){ TIME, 123456789 };
    OK(im, bx_ext4_put_file(im->w, 12, &a, 11, &text, 1, err));
    OK(im, bx_ext4_put_file(im->w, 13, &file_attr, (1 << 20) + 3, &sparse, 1, err));
    a = file_attr;
    a.mode = S_IFLNK | 0777;
    OK(im, bx_ext4_put_symlink(im->w, 14, &a, "usr/bin", 7, err));
    OK(im, bx_ext4_put_symlink(im->w, 15, &a, target150, 150, err));
    a.mode = S_IFCHR | 0666;
    OK(im, bx_ext4_put_special(im->w, 16, &a, 1, 3, err));
    a.mode = S_IFBLK | 0660;
    OK(im, bx_ext4_put_special(im->w, 17, &a, 300, 70000, err));
    a.mode = S_IFIFO | 0600;
    OK(im, bx_ext4_put_special(im->w, 18, &a, 0, 0, err));
    a.mode = S_IFSOCK | 0600;
    OK(im, bx_ext4_put_special(im->w, 19, &a, 0, 0, err));
    OK(im, bx_ext4_put_file(im->w, 20, &file_attr, 0, NULL, 0, err));
    a.mode = S_IFREG;
    OK(im, bx_ext4_put_file(im->w, 21, &a, 0, NULL, 0, err));
    a = file_attr;
    a.mtime = (struct bx_ext4_time){ 4102444800LL, 999999999 }; /* 2100 */
    OK(im, bx_ext4_put_file(im->w, 22, &a, 0, NULL, 0, err));
    a.mtime = (struct bx_ext4_time){ -86400, 5 }; /* 1969 */
    OK(im, bx_ext4_put_file(im->w, 23, &a, 0, NULL, 0, err));
    struct bx_ext4_xattr x[] = {
        { "user.note", 9, "small", 5 },
        { "security.capability", 19, CAP_VALUE, 20 },
        { "user.big", 8, big, sizeof(big) },
        { "trusted.overlay.opaque", 22, "y", 1 },
        { "user.empty", 10, "", 0 },
        { "system.posix_acl_access", 23,
          "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\xe8\x03\x00\x00"
          "\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x04\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff", 44 },
    };
    a = file_attr;
    a.xattrs = x;
    a.n_xattrs = BX_ARRAY_SIZE(x);
    OK(im, bx_ext4_put_file(im->w, 24, &a, 0, NULL, 0, err));
    a = dir_attr;
    a.mode = S_IFDIR | 01777;
    OK(im, bx_ext4_put_dir(im->w, 25, 2, &a, NULL, 0, err));
    OK(im, bx_ext4_put_file(im->w, 26, &file_attr, 0, NULL, 0, err));
    a = file_attr;
    a.mode = S_IFLNK | 0777;
    OK(im, bx_ext4_put_symlink(im->w, 27, &a, target150, 59, err));
    OK(im, bx_ext4_put_symlink(im->w, 28, &a, target150, 60, err));
    OK(im, bx_ext4_finish(im->w, err));
}

static void every_kind_of_entry_is_as_given(void **state)
{
    (void)state;
    struct image im;
    image_open(&im, 10ULL << 30, 0, 0);
    put_every_kind(&im);
    assert_clean(&im);
    assert_says(&im, "stat /file", "Mode:  04755");
    assert_says(&im, "stat /hard", "Inode: 12");
    assert_says(&im, "stat /hard", "Links: 2");
    assert_says(&im, "stat /file", "User: 100000   Group: 200000");
    assert_says(&im, "stat /file", ":1d6f3454"); /* 123456789 ns << 2 */
    assert_says(&im, "cat /file", "hello, box\n");
    assert_says(&im, "stat /sparse", "Size: 1048579");
    assert_says(&im, "stat /sparse", "(256):");
    assert_says(&im, "stat /fast", "Fast link dest: \"usr/bin\"");
    assert_says(&im, "stat /slow", "Size: 150");
    assert_says(&im, "stat /null", "Device major/minor number: 01:03");
    assert_says(&im, "stat /bigdev", "Device major/minor number: 300:70000");
    assert_says(&im, "stat /fifo", "Type: FIFO");
    assert_says(&im, "stat /sock", "Type: socket");
    assert_says(&im, "stat /secret", "Mode:  0000");
    assert_says(&im, "stat /tmp", "Mode:  01777");
    assert_says(&im, "stat /future", "2100");
    assert_says(&im, "stat /past", "1969");
    assert_says(&im, "ea_list /xattrs", "security.capability (20)");
    assert_says(&im, "ea_list /xattrs", "user.big (3000)");
    assert_says(&im, "ea_list /xattrs", "trusted.overlay.opaque (1)");
    assert_says(&im, "ea_list /xattrs", "user.empty (0)");
    assert_says(&im, "ea_list /xattrs", "system.posix_acl_access");
    assert_says(&im, "stat <8>", "Size: 16777216");
    assert_null(strstr(debugfs(&im, "stats"), "resize_inode"));
    struct stat st;
    assert_int_equal(fstat(im.fd, &st), 0);
    assert_int_equal(st.st_size, 10ULL << 30);
    assert_true(st.st_blocks * 512 < 2 << 20);
    image_close(&im);
}

static void same_calls_give_the_same_bytes(void **state)
{
    (void)state;
    static char sum[2][4096];
    for (int i = 0; i < 2; i++) {
        struct image im;
        image_open(&im, 64 << 20, 0, 0);
        put_every_kind(&im);
        const char *const cmd[] = { "sh", "-c", "sha256sum < \"$0\"", im.path, NULL };
        assert_int_equal(bx_tool(sum[i], sizeof(sum[i]), cmd), 0);
        image_close(&im);
    }
    assert_string_equal(sum[0], sum[1]);
}

/* Every second stretch of blocks is a hole: extent trees of one and two levels. */
static void a_file_with_many_extents_reads_back(void **state)
{
    (void)state;
    static const size_t counts[] = { 4, 5, 340, 341, 1360, 1361, 4000 };
    static uint8_t block[4096];
    for (size_t c = 0; c < BX_ARRAY_SIZE(counts); c++) {
        struct image im;
        image_open(&im, 256 << 20, 0, 0);
        bx_ext4_file_begin(im.w);
        for (size_t i = 0; i < counts[c]; i++) {
            memset(block, (int)(i % 255 + 1), sizeof(block));
            OK(&im, bx_ext4_file_write(im.w, i * 16 * 4096, block, sizeof(block), &im.err));
        }
        const struct bx_ext4_extent *e;
        size_t n;
        OK(&im, bx_ext4_file_end(im.w, &e, &n, &im.err));
        assert_int_equal(n, counts[c]);
        struct bx_ext4_extent *kept = calloc(n, sizeof(*kept));
        memcpy(kept, e, n * sizeof(*kept));
        struct bx_ext4_dirent root[] = { entry("f", 12, S_IFREG) };
        put_root(&im, root, 1, 0);
        uint64_t size = ((n - 1) * 16 + 1) * 4096;
        OK(&im, bx_ext4_put_file(im.w, 12, &file_attr, size, kept, n, &im.err));
        free(kept);
        OK(&im, bx_ext4_finish(im.w, &im.err));
        assert_clean(&im);
        char copy[128], request[256];
        int fd = bx_test_file(copy, sizeof(copy));
        snprintf(request, sizeof(request), "dump /f %s", copy);
        debugfs(&im, request);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(bx_pread_full(fd, block, sizeof(block), (off_t)(i * 16 * 4096)), 0);
            assert_int_equal(block[0], i % 255 + 1);
            assert_int_equal(block[4095], i % 255 + 1);
        }
        close(fd);
        unlink(copy);
        image_close(&im);
    }
}

/* Data in odd pieces, with gaps and zeros, comes out as it went in. */
static void data_in_pieces_reads_back(void **state)
{
    (void)state;
    static uint8_t want[3 << 20];
    uint32_t seed = 12345;
    for (size_t i = 0; i < sizeof(want); i++) {
        seed = seed * 1664525 + 1013904223;
        bool zero = (i / 20000) % 3 == 1 || (i > 1500000 && i < 1900000);
        want[i] = zero ? 0 : (uint8_t)(seed >> 24);
    }
    size_t len = sizeof(want) - 1234;
    struct image im;
    image_open(&im, 64 << 20, 0, 0);
    bx_ext4_file_begin(im.w);
    for (size_t at = 0; at < len;) {
        seed = seed * 1664525 + 1013904223;
        size_t n = (seed >> 8) % 30000 + 1;
        n = BX_MIN(n, len - at);
        bool zero = true;
        for (size_t i = 0; i < n && zero; i++)
            zero = want[at + i] == 0;
        if (!zero) /* else a gap */
            OK(&im, bx_ext4_file_write(im.w, at, want + at, n, &im.err));
        at += n;
    }
    const struct bx_ext4_extent *e;
    size_t n;
    OK(&im, bx_ext4_file_end(im.w, &e, &n, &im.err));
    assert_true(n > 1);
    struct bx_ext4_extent kept[512];
    assert_true(n < BX_ARRAY_SIZE(kept));
    memcpy(kept, e, n * sizeof(*e));
    struct bx_ext4_dirent root[] = { entry("f", 12, S_IFREG) };
    put_root(&im, root, 1, 0);
    OK(&im, bx_ext4_put_file(im.w, 12, &file_attr, len, kept, n, &im.err));
    OK(&im, bx_ext4_finish(im.w, &im.err));
    assert_clean(&im);
    char copy[128], request[256];
    int fd = bx_test_file(copy, sizeof(copy));
    snprintf(request, sizeof(request), "dump /f %s", copy);
    debugfs(&im, request);
    uint8_t *got = malloc(len);
    assert_int_equal(bx_pread_full(fd, got, len, 0), 0);
    assert_memory_equal(got, want, len);
    free(got);
    close(fd);
    unlink(copy);
    image_close(&im);
}

static void released_data_becomes_free_space(void **state)
{
    (void)state;
    static uint8_t data[8 << 20];
    memset(data, 7, sizeof(data));
    struct image im;
    image_open(&im, 64 << 20, 0, 0);
    const struct bx_ext4_extent *e;
    size_t n;
    /* ten times 8 MiB do not fit at once: the places of released files are used again */
    for (int i = 0; i < 10; i++) {
        put_data(&im, data, sizeof(data), 0, &e, &n);
        bx_ext4_release(im.w, e, n);
    }
    put_root(&im, NULL, 0, 0);
    OK(&im, bx_ext4_finish(im.w, &im.err));
    assert_clean(&im);
    struct stat st;
    assert_int_equal(fstat(im.fd, &st), 0);
    assert_true(st.st_blocks * 512 < 1 << 20);
    image_close(&im);
}

static void a_full_file_system_says_so(void **state)
{
    (void)state;
    static uint8_t data[8 << 20];
    memset(data, 7, sizeof(data));
    struct image im;
    image_open(&im, 32 << 20, 0, 0);
    const struct bx_ext4_extent *e;
    size_t n;
    int r = 0;
    for (int i = 0; i < 10 && r >= 0; i++) {
        bx_ext4_file_begin(im.w);
        r = bx_ext4_file_write(im.w, 0, data, sizeof(data), &im.err);
        if (r >= 0)
            r = bx_ext4_file_end(im.w, &e, &n, &im.err);
    }
    assert_int_equal(r, -BX_ERESOURCE);
    assert_true(bx_ext4_is_full(im.w));
    assert_string_equal(im.err.msg, "the file system of 33554432 bytes is full");
    image_close(&im);
}

static void the_limit_of_written_bytes_holds(void **state)
{
    (void)state;
    static uint8_t data[8 << 20];
    memset(data, 7, sizeof(data));
    struct image im;
    image_open(&im, 64 << 20, 0, 4 << 20);
    bx_ext4_file_begin(im.w);
    assert_int_equal(bx_ext4_file_write(im.w, 0, data, sizeof(data), &im.err), -BX_ERESOURCE);
    assert_false(bx_ext4_is_full(im.w));
    assert_non_null(strstr(im.err.msg, "may be written"));
    assert_true(bx_ext4_bytes_written(im.w) <= 4 << 20);
    image_close(&im);
}

static void what_ext4_cannot_hold_is_refused(void **state)
{
    (void)state;
    static char big[5000];
    struct bx_err err = BX_ERR_INIT;
    struct bx_ext4_xattr too_long = { "user.big", 8, big, 4500 };
    assert_int_equal(bx_ext4_xattr_check(&too_long, 1, &err), -BX_EINVALID);
    struct bx_ext4_xattr many[] = { { "user.a", 6, big, 2000 }, { "user.b", 6, big, 2000 }, { "user.c", 6, big, 2000 } };
    assert_int_equal(bx_ext4_xattr_check(many, 2, &err), 0);
    assert_int_equal(bx_ext4_xattr_check(many, 3, &err), -BX_EINVALID);
    struct bx_ext4_xattr twice[] = { { "user.a", 6, "1", 1 }, { "user.a", 6, "2", 1 } };
    assert_int_equal(bx_ext4_xattr_check(twice, 2, &err), -BX_EINVALID);
    struct bx_ext4_xattr acl = { "system.posix_acl_access", 23, "\x02\x00\x00\x00\x01", 5 };
    assert_int_equal(bx_ext4_xattr_check(&acl, 1, &err), -BX_EINVALID);
    assert_false(bx_ext4_xattr_known("com.apple.x", 11));
    assert_false(bx_ext4_xattr_known("user.", 5));
    assert_true(bx_ext4_xattr_known("user.a", 6));
    struct image im;
    image_open(&im, 64 << 20, 0, 0);
    bx_ext4_file_begin(im.w);
    assert_int_equal(bx_ext4_file_write(im.w, 1ULL << 62, "x", 1, &err), -BX_EINVALID);
    bx_ext4_file_begin(im.w);
    assert_int_equal(bx_ext4_file_write(im.w, 4096, "x", 1, &err), 0);
    assert_int_equal(bx_ext4_file_write(im.w, 0, "x", 1, &err), -BX_EINVALID);
    image_close(&im);
}

static void large_files_are_written_fast(void **state)
{
    (void)state;
    static uint8_t data[1 << 20];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7 + 1);
    struct image im;
    image_open(&im, 10ULL << 30, 0, 0);
    int64_t start = bx_now();
    bx_ext4_file_begin(im.w);
    for (int i = 0; i < 512; i++)
        OK(&im, bx_ext4_file_write(im.w, (uint64_t)i << 20, data, sizeof(data), &im.err));
    const struct bx_ext4_extent *e;
    size_t n;
    OK(&im, bx_ext4_file_end(im.w, &e, &n, &im.err));
    int64_t took = bx_now() - start;
    print_message("# 512 MiB in one file: %lld ms, %zu extents\n", (long long)(took / BX_MSEC), n);
    assert_true(n <= 6);
    struct bx_ext4_extent kept[8];
    memcpy(kept, e, n * sizeof(*e));
    struct bx_ext4_dirent root[] = { entry("f", 12, S_IFREG) };
    put_root(&im, root, 1, 0);
    OK(&im, bx_ext4_put_file(im.w, 12, &file_attr, 512ULL << 20, kept, n, &im.err));
    OK(&im, bx_ext4_finish(im.w, &im.err));
    assert_clean(&im);
    image_close(&im);
}

static void sizes_from_16_mib_to_2_tib_are_clean(void **state)
{
    (void)state;
    static const uint64_t sizes[] = { 16ULL << 20, 128ULL << 20, (128ULL << 20) + 4096, 1ULL << 30, 2ULL << 40 };
    for (size_t i = 0; i < BX_ARRAY_SIZE(sizes); i++) {
        struct image im;
        image_open(&im, sizes[i], sizes[i] >= 1ULL << 40 ? 100000 : 0, 0);
        put_root(&im, NULL, 0, 0);
        OK(&im, bx_ext4_finish(im.w, &im.err));
        assert_clean(&im);
        image_close(&im);
    }
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hundred_thousand_files_in_one_directory_take_a_second),
        cmocka_unit_test(index_is_right_at_every_size),
        cmocka_unit_test(every_kind_of_entry_is_as_given),
        cmocka_unit_test(same_calls_give_the_same_bytes),
        cmocka_unit_test(a_file_with_many_extents_reads_back),
        cmocka_unit_test(data_in_pieces_reads_back),
        cmocka_unit_test(released_data_becomes_free_space),
        cmocka_unit_test(a_full_file_system_says_so),
        cmocka_unit_test(the_limit_of_written_bytes_holds),
        cmocka_unit_test(what_ext4_cannot_hold_is_refused),
        cmocka_unit_test(large_files_are_written_fast),
        cmocka_unit_test(sizes_from_16_mib_to_2_tib_are_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
