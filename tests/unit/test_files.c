/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trees as records and back: what arrives, and that nothing a sender says makes anything outside of its
 * place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "files/newfile.h"
#include "files/receive.h"
#include "files/send.h"

static char top[64];
static int top_fd;

static int make_top(void **state)
{
    (void)state;
    memcpy(top, "/tmp/bx-files-XXXXXX", 21);
    if (!mkdtemp(top))
        return -1;
    top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return top_fd < 0 || mkdirat(top_fd, "root", 0755) < 0 || mkdirat(top_fd, "outside", 0755) < 0;
}

static int remove_top(void **state)
{
    (void)state;
    bx_close(top_fd);
    return bx_rm_rf(AT_FDCWD, top);
}

/* ---- helpers ---- */

static void put(const char *name, const char *text)
{
    int fd = openat(top_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(bx_write_full(fd, text, strlen(text)), 0);
    close(fd);
}

static void put_dir(const char *name)
{
    assert_int_equal(mkdirat(top_fd, name, 0755), 0);
}

static void assert_text(const char *name, const char *text)
{
    bx_cleanup_free char *data = NULL;

    assert_int_equal(bx_read_file(top_fd, name, 1 << 20, &data, NULL), 0);
    assert_string_equal(data, text);
}

static bool there(const char *name)
{
    struct stat st;

    return fstatat(top_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void assert_link(const char *name, const char *target)
{
    char got[256];
    ssize_t n = readlinkat(top_fd, name, got, sizeof(got) - 1);

    assert_true(n > 0);
    got[n] = '\0';
    assert_string_equal(got, target);
}

/* How many entries a folder has, "." and ".." not counted: nothing of a half is left in it. */
static int entries(const char *name)
{
    bx_cleanup_free char *path = bx_strf("%s/%s", top, name);
    struct bx_place host = {.root = -1};
    struct bx_rec_counts counts = {0};
    struct bx_err err = BX_ERR_INIT;
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    struct bx_rec_out out;

    bx_rec_out_init(&out, fd);
    assert_int_equal(bx_send_tree(&host, path, BX_FILE_RECURSIVE, &out, &counts, &err), 0);
    bx_rec_out_done(&out);
    close(fd);
    return (int)(counts.files + counts.folders + counts.links + counts.left_out) - 1;
}

/* Records in a file, as a lane would bring them. */
struct lane {
    struct bx_buf b;
};

static void lane_init(struct lane *l)
{
    bx_buf_init(&l->b, 64 << 20);
}

static void add_entry(struct lane *l, enum bx_file_type type, const char *name, const char *link,
                      uint32_t mode)
{
    struct bx_rec_entry e = {.type = type, .name = name, .link = link, .mode = mode, .mtime_s = 1000000000};

    assert_int_equal(bx_rec_put_entry(&l->b, &e), 0);
}

static void add_data(struct lane *l, uint64_t at, const char *text)
{
    uint8_t head[BX_REC_DATA_HEAD];

    bx_rec_data_head(head, at, strlen(text));
    assert_int_equal(bx_buf_add(&l->b, head, sizeof(head)), 0);
    assert_int_equal(bx_buf_add(&l->b, text, strlen(text)), 0);
}

static void add_file(struct lane *l, const char *name, const char *text)
{
    add_entry(l, BX_FILE_REGULAR, name, "", 0644);
    add_data(l, 0, text);
    assert_int_equal(bx_rec_put_close(&l->b, strlen(text)), 0);
}

static void add_up(struct lane *l)
{
    assert_int_equal(bx_rec_put_up(&l->b), 0);
}

static void add_end(struct lane *l)
{
    const struct bx_rec_counts none = {0};
    const struct bx_err fine = BX_ERR_INIT;

    assert_int_equal(bx_rec_put_outcome(&l->b, &fine, &none), 0);
}

static int lane_fd(struct lane *l)
{
    int fd = openat(top_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(bx_write_full(fd, bx_buf_data(&l->b), bx_buf_len(&l->b)), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    bx_buf_done(&l->b);
    return fd;
}

static struct bx_err last;
static struct bx_rec_counts sums;

/* Receives a lane at `name`. With `in_root`, as the agent would: name is in the folder "root". */
static int receive_at(struct lane *l, const char *name, unsigned flags, bool in_root, uint64_t max)
{
    bx_cleanup_close int root = openat(top_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    bx_cleanup_close int in = lane_fd(l);
    bx_cleanup_free char *path = in_root ? bx_strf("%s", name) : bx_strf("%s/%s", top, name);
    struct bx_place place = {.root = in_root ? root : -1};
    struct bx_receive_plan plan = {
        .place = &place, .path = path, .stream_fd = -1, .flags = flags, .max_bytes = max};
    bool told;

    last = BX_ERR_INIT;
    memset(&sums, 0, sizeof(sums));
    return bx_receive_tree(&plan, in, &sums, &told, &last);
}

static int receive(struct lane *l, const char *name, unsigned flags)
{
    return receive_at(l, name, flags, false, 0);
}

#define USUAL (BX_FILE_OVERWRITE | BX_FILE_PARENT | BX_FILE_SAFE_MODE)

/* From one place to another, in one go. */
static int copy(const char *from, const char *to, unsigned send_flags, unsigned receive_flags)
{
    bx_cleanup_free char *path = bx_strf("%s/%s", top, from);
    struct bx_place host = {.root = -1};
    bx_cleanup_close int fd = openat(top_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    bx_cleanup_free char *dst = bx_strf("%s/%s", top, to);
    struct bx_receive_plan plan = {.place = &host, .path = dst, .stream_fd = -1, .flags = receive_flags};
    struct bx_rec_counts counts = {0};
    struct bx_err told = BX_ERR_INIT;
    struct bx_rec_out out;
    bool theirs;
    int r;

    last = BX_ERR_INIT;
    memset(&sums, 0, sizeof(sums));
    bx_rec_out_init(&out, fd);
    r = bx_send_tree(&host, path, send_flags, &out, &counts, &last);
    if (r < 0)
        told = last;
    assert_int_equal(bx_rec_out_end(&out, &told, &counts), 0);
    bx_rec_out_done(&out);
    if (r < 0)
        return r;
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return bx_receive_tree(&plan, fd, &sums, &theirs, &last);
}

/* ---- what arrives ---- */

static void a_tree_arrives_as_it_was(void **state)
{
    const struct timespec times[2] = {{.tv_sec = 1234567890, .tv_nsec = 123456789},
                                      {.tv_sec = 1234567890, .tv_nsec = 123456789}};
    struct stat st;

    (void)state;
    put_dir("src");
    put_dir("src/empty");
    put_dir("src/deep");
    put_dir("src/deep/er");
    put("src/deep/er/f", "content\n");
    put("src/none", "");
    assert_int_equal(symlinkat("deep/er/f", top_fd, "src/l"), 0);
    assert_int_equal(fchmodat(top_fd, "src/none", 06751, 0), 0);
    assert_int_equal(fchmodat(top_fd, "src/deep", 0511, 0), 0);
    assert_int_equal(utimensat(top_fd, "src/none", times, 0), 0);
    assert_int_equal(utimensat(top_fd, "src/deep", times, 0), 0);

    assert_int_equal(copy("src", "dst", BX_FILE_RECURSIVE, USUAL), 0);
    assert_int_equal(sums.files, 2);
    assert_int_equal(sums.folders, 4);
    assert_int_equal(sums.links, 1);
    assert_int_equal(sums.bytes, 8);
    assert_int_equal(sums.left_out, 0);
    assert_text("dst/src/deep/er/f", "content\n");
    assert_link("dst/src/l", "deep/er/f");
    assert_true(there("dst/src/empty"));
    assert_int_equal(fstatat(top_fd, "dst/src/none", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0751); /* never setuid or setgid on the host */
    assert_int_equal(st.st_mtim.tv_sec, 1234567890);
    assert_int_equal(st.st_mtim.tv_nsec, 123456789);
    assert_int_equal(fstatat(top_fd, "dst/src/deep", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0511);
    assert_int_equal(st.st_mtim.tv_sec, 1234567890);
    /* So that whoever is not root can remove them. */
    assert_int_equal(fchmodat(top_fd, "src/deep", 0755, 0) | fchmodat(top_fd, "dst/src/deep", 0755, 0), 0);
}

static void holes_stay_holes(void **state)
{
    struct stat st;
    int fd;

    (void)state;
    fd = openat(top_fd, "sparse", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(ftruncate(fd, 1LL << 40), 0);
    assert_int_equal(pwrite(fd, "middle", 6, 1LL << 35), 6);
    close(fd);
    assert_int_equal(copy("sparse", "copy", 0, USUAL), 0);
    assert_int_equal(fstatat(top_fd, "copy", &st, 0), 0);
    assert_true(st.st_size == 1LL << 40 && st.st_blocks < 1024);
    fd = openat(top_fd, "copy", O_RDONLY | O_CLOEXEC);
    char got[7] = "";
    assert_int_equal(pread(fd, got, 6, 1LL << 35), 6);
    assert_string_equal(got, "middle");
    close(fd);
    assert_true(sums.bytes < 1 << 20);
}

static void destinations_follow_the_rules(void **state)
{
    (void)state;
    put("f", "f");
    put_dir("d");
    put("d/in", "in");
    put_dir("there");
    assert_int_equal(copy("f", "there", 0, USUAL), 0); /* into a folder */
    assert_text("there/f", "f");
    assert_int_equal(copy("f", "new/", 0, USUAL), 0); /* one that is to be */
    assert_text("new/f", "f");
    assert_int_equal(copy("f", "way/to/g", 0, USUAL), 0); /* under a new name, with its parents */
    assert_text("way/to/g", "f");
    assert_int_equal(copy("d", "x", BX_FILE_RECURSIVE, USUAL), 0);
    assert_text("x/d/in", "in");
    assert_int_equal(copy("d", "y", BX_FILE_RECURSIVE, BX_FILE_OVERWRITE), 0); /* the content alone */
    assert_text("y/in", "in");
    assert_int_equal(copy("d/.", "z", BX_FILE_RECURSIVE, USUAL), 0); /* "." has no name of its own */
    assert_text("z/in", "in");
    assert_int_equal(copy("d", "y", BX_FILE_RECURSIVE, BX_FILE_OVERWRITE), 0); /* again, over it */
    assert_int_equal(entries("y"), 1);
}

static void what_cannot_be_is_said(void **state)
{
    (void)state;
    put("f", "old");
    put("g", "new");
    put_dir("d");
    put_dir("dir-in-the-way");
    put_dir("dir-in-the-way/f");
    assert_int_equal(copy("nothing", "x", 0, USUAL), -BX_ENOTFOUND);
    assert_int_equal(last.sys_errno, ENOENT);
    assert_int_equal(copy("d", "x", 0, USUAL), -BX_EINVALID); /* a folder, not recursive */
    assert_int_equal(copy("g", "f", 0, BX_FILE_PARENT), -BX_EEXISTS);
    assert_text("f", "old");
    assert_int_equal(copy("f", "dir-in-the-way", 0, USUAL),
                     -BX_EEXISTS); /* a folder is not replaced by a file */
    assert_int_equal(copy("d", "f", BX_FILE_RECURSIVE, USUAL), -BX_EEXISTS);
    assert_int_equal(copy("f/", "x", 0, USUAL), -BX_ESTORAGE);
    assert_false(there("x"));
}

static void special_files_are_counted_not_copied(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    put_dir("d");
    put("d/f", "f");
    assert_int_equal(mkfifoat(top_fd, "d/pipe", 0644), 0);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/d/socket", top);
    assert_int_equal(bind(s, (struct sockaddr *)&addr, sizeof(addr)), 0);
    close(s);
    assert_int_equal(copy("d", "x", BX_FILE_RECURSIVE, USUAL), 0);
    assert_int_equal(sums.left_out, 2);
    assert_int_equal(entries("x/d"), 1);
    assert_int_equal(copy("d/pipe", "y", 0, USUAL), -BX_EINVALID);
}

static void links_are_followed_when_that_is_asked_for(void **state)
{
    (void)state;
    put_dir("d");
    put("elsewhere", "content");
    put_dir("folder");
    put("folder/f", "f");
    assert_int_equal(symlinkat("../elsewhere", top_fd, "d/l"), 0);
    assert_int_equal(symlinkat("../folder", top_fd, "d/m"), 0);
    assert_int_equal(symlinkat("nowhere", top_fd, "d/n"), 0);
    assert_int_equal(copy("d", "x", BX_FILE_RECURSIVE | BX_FILE_FOLLOW, USUAL), 0);
    assert_text("x/d/l", "content");
    assert_text("x/d/m/f", "f");
    assert_int_equal(sums.left_out, 1);
    assert_int_equal(symlinkat("..", top_fd, "folder/back"), 0);
    assert_int_equal(copy("d", "y", BX_FILE_RECURSIVE | BX_FILE_FOLLOW, USUAL), -BX_EINVALID);
    assert_non_null(strstr(last.msg, "leads back"));
}

static void a_tree_that_is_too_deep_is_refused(void **state)
{
    int dir = dup(top_fd), next;
    struct lane l;

    (void)state;
    for (int i = 0; i < BX_REC_DEPTH_MAX + 1; i++) {
        assert_int_equal(mkdirat(dir, "d", 0755), 0);
        next = openat(dir, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(dir);
        dir = next;
    }
    close(dir);
    assert_int_equal(copy("d", "x", BX_FILE_RECURSIVE, USUAL), -BX_EINVALID);
    lane_init(&l);
    for (int i = 0; i < BX_REC_DEPTH_MAX + 1; i++)
        add_entry(&l, BX_FILE_FOLDER, "e", "", 0700);
    assert_int_equal(receive(&l, "y", USUAL), -BX_EINVALID);
}

/* ---- what a hostile sender tries ---- */

static void a_link_is_not_written_through(void **state)
{
    struct lane l;

    (void)state;
    put("outside/victim", "safe");
    /* A link of its own in the tree, then a file and a folder under the same name. */
    lane_init(&l);
    add_entry(&l, BX_FILE_FOLDER, "t", "", 0755);
    add_entry(&l, BX_FILE_LINK, "l", "../../outside/victim", 0777);
    add_file(&l, "l", "hacked");
    add_entry(&l, BX_FILE_LINK, "m", "../../outside", 0777);
    add_entry(&l, BX_FILE_FOLDER, "m", "", 0755);
    add_file(&l, "victim", "hacked");
    assert_int_equal(receive(&l, "dst", USUAL | BX_FILE_ALL_LINKS), -BX_EEXISTS);
    assert_text("outside/victim", "safe");
    assert_text("dst/t/l", "hacked"); /* the link was replaced */
    assert_int_equal(entries("outside"), 1);
}

static void links_that_lead_out_are_left_out(void **state)
{
    static const char *const out[] = {"/etc/passwd",     "..",  "../x", "d/../../..", "./../..",
                                      "d/e/../../../..", "d/.."};
    static const char *const in[] = {"x", "d/e", "./x", "a//b", "d/./e"};
    struct lane l;

    (void)state;
    lane_init(&l);
    add_entry(&l, BX_FILE_FOLDER, "t", "", 0755);
    for (size_t i = 0; i < BX_ARRAY_SIZE(out); i++) {
        bx_cleanup_free char *name = bx_strf("out%zu", i);

        add_entry(&l, BX_FILE_LINK, name, out[i], 0777);
    }
    for (size_t i = 0; i < BX_ARRAY_SIZE(in); i++) {
        bx_cleanup_free char *name = bx_strf("in%zu", i);

        add_entry(&l, BX_FILE_LINK, name, in[i], 0777);
    }
    add_entry(&l, BX_FILE_FOLDER, "deeper", "", 0755);
    add_entry(&l, BX_FILE_LINK, "up", "../in0", 0777);
    add_entry(&l, BX_FILE_LINK, "upup", "../../in0", 0777);
    add_up(&l);
    add_up(&l);
    add_end(&l);
    assert_int_equal(receive(&l, "dst", USUAL), 0);
    assert_int_equal(sums.left_out, BX_ARRAY_SIZE(out) + 1);
    assert_int_equal(sums.links, BX_ARRAY_SIZE(in) + 1);
    assert_link("dst/t/deeper/up", "../in0");
    assert_int_equal(entries("dst/t"), BX_ARRAY_SIZE(in) + 2);
}

/* Whatever links of a tree are put together, one that stays never helps another out. */
static void links_that_stay_never_lead_out_together(void **state)
{
    static const char *const parts[] = {"..", "a", "b", "l", "."};
    char target[32], real[PATH_MAX];
    size_t made = 0;

    (void)state;
    assert_int_equal(bx_mkdirat_p(top_fd, "root/a/b/a/b", 0755), 0);
    for (unsigned n = 0; n < 5 * 5 * 5 * 5; n++) {
        unsigned v = n;
        static const char *const dirs[] = {"root", "root/a", "root/a/b"};

        snprintf(target, sizeof(target), "%s/%s/%s/%s", parts[v % 5], parts[v / 5 % 5], parts[v / 25 % 5],
                 parts[v / 125]);
        for (unsigned depth = 0; depth < BX_ARRAY_SIZE(dirs); depth++) {
            bx_cleanup_free char *link = bx_strf("%s/%s", dirs[depth], made % 7 ? "l" : "b");

            if (!bx_link_stays(target, depth))
                continue;
            made++;
            (void)unlinkat(top_fd, link, 0);
            assert_true(symlinkat(target, top_fd, link) == 0 || errno == EEXIST || errno == ENOENT ||
                        errno == ELOOP || errno == ENOTDIR);
        }
        /* All links there are now, followed to their ends. */
        for (unsigned depth = 0; depth < BX_ARRAY_SIZE(dirs); depth++) {
            bx_cleanup_free char *path = bx_strf("%s/%s/l", top, dirs[depth]),
                                 *root = bx_strf("%s/root", top);

            if (realpath(path, real))
                assert_true(bx_starts_with(real, root));
        }
    }
    assert_true(made > 100);
}

static void records_out_of_order_are_refused(void **state)
{
    struct lane l;

    (void)state;
    lane_init(&l); /* data before any file */
    add_data(&l, 0, "x");
    assert_int_equal(receive(&l, "a", USUAL), -BX_ERPC);
    lane_init(&l); /* up from nowhere */
    add_up(&l);
    assert_int_equal(receive(&l, "a", USUAL), -BX_ERPC);
    lane_init(&l); /* up out of the tree, then a file */
    add_entry(&l, BX_FILE_FOLDER, "t", "", 0755);
    add_up(&l);
    add_up(&l);
    assert_int_equal(receive(&l, "a", USUAL), -BX_ERPC);
    lane_init(&l); /* two tops */
    add_file(&l, "x", "x");
    add_file(&l, "y", "y");
    assert_int_equal(receive(&l, "b/", USUAL), -BX_ERPC);
    assert_false(there("b/y"));
    lane_init(&l); /* a file in a file */
    add_entry(&l, BX_FILE_FOLDER, "t", "", 0755);
    add_entry(&l, BX_FILE_REGULAR, "f", "", 0644);
    add_file(&l, "g", "g");
    assert_int_equal(receive(&l, "c", USUAL), -BX_ERPC);
    lane_init(&l); /* back in a file */
    add_entry(&l, BX_FILE_REGULAR, "f", "", 0644);
    add_data(&l, 10, "x");
    add_data(&l, 5, "x");
    assert_int_equal(receive(&l, "e", USUAL), -BX_ERPC);
    lane_init(&l); /* a size that cuts */
    add_entry(&l, BX_FILE_REGULAR, "f", "", 0644);
    add_data(&l, 10, "x");
    assert_int_equal(bx_rec_put_close(&l.b, 3), 0);
    assert_int_equal(receive(&l, "e", USUAL), -BX_ERPC);
    lane_init(&l); /* a device */
    add_entry(&l, BX_FILE_OTHER, "f", "", 0644);
    assert_int_equal(receive(&l, "e", USUAL), -BX_ERPC);
    lane_init(&l); /* an end in the middle */
    add_entry(&l, BX_FILE_FOLDER, "t", "", 0755);
    add_end(&l);
    assert_int_equal(receive(&l, "g", USUAL), -BX_ERPC);
    lane_init(&l); /* a nameless entry in a folder */
    add_entry(&l, BX_FILE_FOLDER, "t", "", 0755);
    add_file(&l, "", "x");
    assert_int_equal(receive(&l, "h", USUAL), -BX_ERPC);
    assert_false(there("e"));
}

static void half_a_file_leaves_nothing(void **state)
{
    struct lane l;

    (void)state;
    put_dir("d");
    put("d/f", "old");
    lane_init(&l);
    add_entry(&l, BX_FILE_REGULAR, "f", "", 0644);
    add_data(&l, 0, "new, but not all of it");
    assert_int_equal(receive(&l, "d", USUAL), -BX_ETRANSPORT);
    assert_text("d/f", "old");
    assert_int_equal(entries("d"), 1);
    lane_init(&l); /* nor does an error that the sender tells of */
    add_entry(&l, BX_FILE_REGULAR, "f", "", 0644);
    add_data(&l, 0, "new");
    bx_fail(&last, BX_ESTORAGE, EIO, "read /x");
    assert_int_equal(bx_rec_put_outcome(&l.b, &last, &(struct bx_rec_counts){0}), 0);
    assert_int_equal(receive(&l, "d", USUAL), -BX_ESTORAGE);
    assert_non_null(strstr(last.msg, "/x"));
    assert_text("d/f", "old");
    assert_int_equal(entries("d"), 1);
}

static void more_bytes_than_allowed_are_not_written(void **state)
{
    struct lane l;

    (void)state;
    put_dir("d");
    lane_init(&l);
    add_entry(&l, BX_FILE_REGULAR, "f", "", 0644);
    for (int i = 0; i < 100; i++)
        add_data(&l, (uint64_t)i * 100, "0123456789012345678901234567890123456789");
    assert_int_equal(receive_at(&l, "d", USUAL, false, 2000), -BX_ERESOURCE);
    assert_int_equal(entries("d"), 0);
    lane_init(&l); /* empty files cost too */
    add_entry(&l, BX_FILE_FOLDER, "t", "", 0755);
    for (int i = 0; i < 100; i++) {
        bx_cleanup_free char *name = bx_strf("%d", i);

        add_entry(&l, BX_FILE_REGULAR, name, "", 0644);
        assert_int_equal(bx_rec_put_close(&l.b, 0), 0);
    }
    assert_int_equal(receive_at(&l, "d", USUAL, false, 10000), -BX_ERESOURCE);
    assert_true(entries("d") < 25);
}

/* Somebody exchanges a folder that is being filled for a link to elsewhere. */
static void *swapper(void *ud)
{
    volatile bool *stop = ud;

    while (!*stop) {
        (void)renameat(top_fd, "dst/t/sub", top_fd, "dst/t/hidden");
        if (symlinkat("../../outside", top_fd, "dst/t/sub") == 0)
            sched_yield();
        (void)unlinkat(top_fd, "dst/t/sub", 0);
        (void)renameat(top_fd, "dst/t/hidden", top_fd, "dst/t/sub");
    }
    return NULL;
}

static void a_folder_that_becomes_a_link_leads_nowhere(void **state)
{
    volatile bool stop = false;
    pthread_t thread;

    (void)state;
    assert_int_equal(bx_mkdirat_p(top_fd, "dst/t/sub", 0755), 0);
    assert_int_equal(pthread_create(&thread, NULL, swapper, (void *)&stop), 0);
    for (int i = 0; i < 300; i++) {
        struct lane l;

        lane_init(&l);
        add_entry(&l, BX_FILE_FOLDER, "t", "", 0755);
        add_entry(&l, BX_FILE_FOLDER, "sub", "", 0755);
        add_file(&l, "f", "x");
        add_up(&l);
        add_up(&l);
        add_end(&l);
        (void)receive(&l, "dst", USUAL); /* may fail, must not lead out */
    }
    stop = true;
    pthread_join(thread, NULL);
    assert_int_equal(entries("outside"), 0);
}

/* ---- in a root ---- */

static void nothing_leads_out_of_a_root(void **state)
{
    static const char *const ways[] = {"/abs/f", "/up/f", "/l", "../../f", "/a/../../f", "/abs"};
    bx_cleanup_close int root = -1;
    struct bx_place place;

    (void)state;
    assert_int_equal(bx_mkdirat_p(top_fd, "root/a", 0755), 0);
    bx_cleanup_free char *outside = bx_strf("%s/outside", top), *victim = bx_strf("%s/outside/f", top);
    put("outside/f", "safe");
    assert_int_equal(symlinkat(outside, top_fd, "root/abs"), 0);
    assert_int_equal(symlinkat("../../../../../../../..", top_fd, "root/up"), 0);
    assert_int_equal(symlinkat(victim, top_fd, "root/l"), 0);
    root = openat(top_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    place.root = root;
    for (size_t i = 0; i < BX_ARRAY_SIZE(ways); i++) {
        struct lane l;

        lane_init(&l);
        add_file(&l, "f", "written");
        add_end(&l);
        (void)receive_at(&l, ways[i], USUAL | BX_FILE_ALL_LINKS, true, 0); /* where to is the root's matter */
        assert_text("outside/f", "safe");
        assert_int_equal(entries("outside"), 1);
    }
    assert_int_equal(bx_place_open(&place, "/proc/self/root/etc/passwd", O_RDONLY), -ENOENT);
    assert_true(there("root/f")); /* what "../../f" and "/up/f" mean in there */
}

static void a_link_at_the_end_stands_for_what_it_leads_to(void **state)
{
    struct bx_where w = BX_WHERE_INIT;
    bx_cleanup_close int root = openat(top_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct bx_place place = {.root = root};
    struct lane l;

    (void)state;
    assert_int_equal(bx_mkdirat_p(top_fd, "root/etc", 0755), 0);
    assert_int_equal(symlinkat("/etc/real", top_fd, "root/l"), 0);
    assert_int_equal(symlinkat("l", top_fd, "root/m"), 0);
    assert_int_equal(symlinkat("loop", top_fd, "root/loop"), 0);
    lane_init(&l);
    add_file(&l, "x", "through");
    add_end(&l);
    assert_int_equal(receive_at(&l, "/m", USUAL, true, 0), 0);
    assert_text("root/etc/real", "through");
    assert_link("root/m", "l");
    assert_int_equal(bx_place_find(&place, "/loop", BX_WHERE_FOLLOW, &w), -ELOOP);
    assert_int_equal(bx_place_find(&place, "/loop", 0, &w), 0);
    assert_string_equal(w.name, "loop");
    bx_where_done(&w);
}

static void names_of_copies(void **state)
{
    static const struct {
        const char *path, *name;
        bool dir;
    } all[] = {{"/a/b", "b", false},  {"a", "a", false},    {"a/", "a", true},  {"a//", "a", true},
               {"/", "", true},       {".", "", true},      {"a/..", "", true}, {"a/.", "", true},
               {"..a", "..a", false}, {"...", "...", false}};
    char name[BX_REC_NAME_MAX + 1], longer[BX_REC_NAME_MAX + 2];

    (void)state;
    for (size_t i = 0; i < BX_ARRAY_SIZE(all); i++) {
        assert_int_equal(bx_place_name(all[i].path, name), 0);
        assert_string_equal(name, all[i].name);
        assert_int_equal(bx_place_means_dir(all[i].path), all[i].dir);
    }
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(bx_place_name(longer, name), -ENAMETOOLONG);
}

/* ---- new files ---- */

static void a_new_file_appears_at_once(void **state)
{
    struct bx_newfile f;

    (void)state;
    put_dir("d");
    int dir = openat(top_fd, "d", O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(bx_newfile_open(&f, dir), 0);
    assert_int_equal(bx_write_full(f.fd, "one", 3), 0);
    assert_int_equal(entries("d"), f.tmp[0] ? 1 : 0);
    assert_int_equal(bx_newfile_publish(&f, "n", false), 0);
    bx_newfile_done(&f);
    assert_text("d/n", "one");
    assert_int_equal(bx_newfile_open(&f, dir), 0);
    assert_int_equal(bx_write_full(f.fd, "two", 3), 0);
    assert_int_equal(bx_newfile_publish(&f, "n", false), -EEXIST);
    assert_text("d/n", "one");
    assert_int_equal(bx_newfile_publish(&f, "n", true), 0);
    bx_newfile_done(&f);
    assert_text("d/n", "two");
    assert_int_equal(mkdirat(dir, "sub", 0755), 0);
    assert_int_equal(bx_newfile_open(&f, dir), 0);
    assert_int_equal(bx_newfile_publish(&f, "sub", true), -EISDIR);
    bx_newfile_done(&f);
    assert_int_equal(entries("d"), 2);
    assert_int_equal(bx_newlink(dir, "n", "target", false), -EEXIST);
    assert_int_equal(bx_newlink(dir, "n", "target", true), 0);
    assert_link("d/n", "target");
    assert_int_equal(bx_newlink(dir, "sub", "target", true), -EISDIR);
    assert_int_equal(entries("d"), 2);
    close(dir);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, make_top, remove_top)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_tree_arrives_as_it_was),
        T(holes_stay_holes),
        T(destinations_follow_the_rules),
        T(what_cannot_be_is_said),
        T(special_files_are_counted_not_copied),
        T(links_are_followed_when_that_is_asked_for),
        T(a_tree_that_is_too_deep_is_refused),
        T(a_link_is_not_written_through),
        T(links_that_lead_out_are_left_out),
        T(links_that_stay_never_lead_out_together),
        T(records_out_of_order_are_refused),
        T(half_a_file_leaves_nothing),
        T(more_bytes_than_allowed_are_not_written),
        T(a_folder_that_becomes_a_link_leads_nowhere),
        T(nothing_leads_out_of_a_root),
        T(a_link_at_the_end_stands_for_what_it_leads_to),
        T(names_of_copies),
        T(a_new_file_appears_at_once),
    };

    umask(022);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
