/* SPDX-License-Identifier: Apache-2.0 */
/*
 * warm.c - see warm.h.
 *
 * The pages are shared by all boxes of the image and given back by the kernel when a box needs the memory. Names and
 * inodes of what was opened stay in the kernel's caches too, which is the larger half of the gain for programs that
 * open many small files. Directories are the image's: depth, entries and bytes are bounded, links are not followed.
 */
#include "guest/warm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

#define SHARE        8 /* of memory */
#define ENTRIES_MAX  40000
#define DEPTH_MAX    16
#define FILE_MAX     (64ull << 20)
#define CHUNK        (128 << 10) /* of more the kernel reads the beginning only (force_page_cache_ra) */

struct warming {
    uint64_t bytes_left;
    unsigned entries_left;
    dev_t dev;
};

/* Of an image that is larger than what may be filled, in this order. */
static const char *const places[] = {"bin", "lib", "lib64", "usr/bin", "usr/lib", "usr/local/bin", "usr/local/lib",
                                     "sbin", "usr/sbin", "etc", "app", "opt"};

static void warm_file(struct warming *w, int dir, const char *name)
{
    bx_cleanup_close int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0)
        return;
    if ((uint64_t)st.st_size > FILE_MAX || (uint64_t)st.st_size > w->bytes_left)
        return;
    w->bytes_left -= (uint64_t)st.st_size;
    for (off_t at = 0; at < st.st_size; at += CHUNK)
        (void)readahead(fd, at, CHUNK);
}

static void warm_dir(struct warming *w, int parent, const char *name, unsigned depth)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct dirent *e;
    struct stat st;
    DIR *d;

    if (fd < 0)
        return;
    if (fstat(fd, &st) < 0 || st.st_dev != w->dev || !(d = fdopendir(fd))) {
        bx_close(fd);
        return;
    }
    while (w->entries_left > 0 && (e = readdir(d))) {
        if (e->d_name[0] == '.' && (!e->d_name[1] || (e->d_name[1] == '.' && !e->d_name[2])))
            continue;
        w->entries_left--;
        if (e->d_type == DT_REG)
            warm_file(w, dirfd(d), e->d_name);
        else if (e->d_type == DT_DIR && depth < DEPTH_MAX)
            warm_dir(w, dirfd(d), e->d_name, depth + 1);
    }
    closedir(d);
}

void bx_warm(int root)
{
    struct warming w = {.entries_left = ENTRIES_MAX};
    struct statfs fs;
    struct sysinfo si;
    struct stat st;

    if (sysinfo(&si) < 0 || fstat(root, &st) < 0 || fstatfs(root, &fs) < 0)
        return;
    w.dev = st.st_dev;
    w.bytes_left = (uint64_t)si.totalram * si.mem_unit / SHARE;
    if ((uint64_t)(fs.f_blocks - fs.f_bfree) * (uint64_t)fs.f_bsize <= w.bytes_left) {
        warm_dir(&w, root, ".", 0);
        return;
    }
    for (size_t i = 0; i < BX_ARRAY_SIZE(places); i++)
        warm_dir(&w, root, places[i], 0);
}
