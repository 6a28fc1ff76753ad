/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anybody's records become a tree in a folder of ours. The first byte has the flags. Whatever comes, nothing
 * is made beside that folder, nothing in it is setuid or a device, and (unless all links are asked for) no
 * link in it leads out.
 *
 * So that inputs get somewhere, the rest is not records but what they are made of: one byte for the kind, one
 * for the name. Input of the first form ("raw", flag 0x80) is records as they are.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "files/receive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_BYTES (256u * 1024)

static char top[40], inside[64];
static int top_fd = -1;

static void remove_top(void)
{
    (void)bx_rm_rf(AT_FDCWD, top);
}

static void prepare(void)
{
    struct stat st;

    if (top_fd < 0) {
        memcpy(top, "/tmp/bx-fuzz-receive-XXXXXX", 28);
        bx_assert(mkdtemp(top));
        atexit(remove_top);
        top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        snprintf(inside, sizeof(inside), "%s/in", top);
        umask(022);
    }
    (void)bx_rm_rf(top_fd, "in");
    bx_assert(fstatat(top_fd, "in", &st, 0) < 0 && mkdirat(top_fd, "in", 0755) == 0);
}

static void add_entry(struct bx_buf *b, uint8_t kind, uint8_t value)
{
    static const char *const names[] = {"a", "b", "c", "", "a long name with spaces", "\xff\n"};
    static const char *const links[] = {"a", "..", "/etc", "../..", "b/c", "a/../../..", "./../a", "c/.."};
    struct bx_rec_entry e = {.type = (enum bx_file_type)(kind + 1),
                             .name = names[value % BX_ARRAY_SIZE(names)],
                             .link = kind == 2 ? links[value / 8 % BX_ARRAY_SIZE(links)] : "",
                             .mode = (uint32_t)value * 16,
                             .mtime_s = value};

    (void)bx_rec_put_entry(b, &e);
}

static void compose(struct bx_buf *b, const uint8_t *data, size_t size)
{
    const struct bx_err fine = BX_ERR_INIT;
    const struct bx_rec_counts none = {0};
    uint8_t head[BX_REC_DATA_HEAD + 4] = "";

    for (size_t i = 0; i + 1 < size; i += 2) {
        switch (data[i] % 8) {
        case 0:
        case 1:
        case 2:
        case 3:
            add_entry(b, data[i] % 8, data[i + 1]);
            break;
        case 4:
            bx_rec_data_head(head, data[i + 1], 4);
            (void)bx_buf_add(b, head, sizeof(head));
            break;
        case 5:
            (void)bx_rec_put_close(b, data[i + 1]);
            break;
        case 6:
            (void)bx_rec_put_up(b);
            break;
        default:
            (void)bx_rec_put_outcome(b, &fine, &none);
            break;
        }
    }
}

static int lane(const struct bx_buf *b)
{
    int fd = memfd_create("lane", MFD_CLOEXEC);

    bx_assert(fd >= 0 && bx_write_full(fd, bx_buf_data(b), bx_buf_len(b)) == 0 &&
              lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

/* Every link, followed to its end, ends inside. */
static void check(int dir, const char *path, bool all_links, unsigned depth)
{
    DIR *d = fdopendir(dir);
    struct dirent *e;

    bx_assert(d && depth <= BX_REC_DEPTH_MAX + 1);
    while ((e = readdir(d))) {
        bx_cleanup_free char *name = bx_strf("%s/%s", path, e->d_name);
        char real[PATH_MAX];
        struct stat st;

        if (bx_streq(e->d_name, ".") || bx_streq(e->d_name, ".."))
            continue;
        bx_assert(name && fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0);
        bx_assert((S_ISREG(st.st_mode) && !(st.st_mode & 07000)) ||
                  (S_ISDIR(st.st_mode) && !(st.st_mode & 07000)) || S_ISLNK(st.st_mode));
        if (S_ISLNK(st.st_mode) && !all_links && realpath(name, real))
            bx_assert(bx_starts_with(real, inside) &&
                      (real[strlen(inside)] == '/' || real[strlen(inside)] == '\0'));
        if (S_ISDIR(st.st_mode)) {
            bx_assert(fchmodat(dir, e->d_name, 0700, 0) == 0);
            int sub = openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

            bx_assert(sub >= 0);
            check(sub, name, all_links, depth + 1);
        }
    }
    closedir(d);
}

/* Nothing else in `top`. */
static void check_top(void)
{
    struct stat st;

    bx_assert(fstat(top_fd, &st) == 0 && st.st_nlink == 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct bx_place host = {.root = -1};
    struct bx_buf b = BX_BUF_INIT(1 << 20);
    struct bx_rec_counts counts = {0};
    struct bx_err err = BX_ERR_INIT;
    bool told;
    int fd;

    if (size < 1 || size > 4096)
        return 0;
    prepare();
    if (data[0] & 0x80)
        (void)bx_buf_add(&b, data + 1, size - 1);
    else
        compose(&b, data + 1, size - 1);
    struct bx_receive_plan plan = {
        .place = &host,
        .path = inside,
        .stream_fd = -1,
        .flags = (data[0] & (BX_FILE_OVERWRITE | BX_FILE_PARENT | BX_FILE_ALL_LINKS)) | BX_FILE_SAFE_MODE,
        .max_bytes = MAX_BYTES,
    };
    fd = lane(&b);
    if (bx_receive_tree(&plan, fd, &counts, &told, &err) < 0)
        bx_assert(err.code > 0 && err.code < BX_ECODE_MAX);
    bx_assert(counts.bytes <= MAX_BYTES);
    close(fd);
    bx_buf_done(&b);
    check(openat(top_fd, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC), inside, data[0] & BX_FILE_ALL_LINKS, 0);
    check_top();
    return 0;
}
