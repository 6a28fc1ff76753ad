/* SPDX-License-Identifier: Apache-2.0 */
/*
 * walk.c - lists a tree through the running kernel (walk.h): walk ROOT. Static, so that it runs in a box of any image. Keeps to one file
 * system: what is mounted below is left out.
 */
#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static dev_t device;
static int failed;

static void complain(const char *what, const char *path)
{
    fprintf(stderr, "walk: %s %s: %s\n", what, path, strerror(errno));
    failed = 1;
}

static void hash_file(int dir, const char *name, struct walk_entry *e)
{
    static uint8_t buf[1 << 20];
    struct walk_sha sha;
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : 0;
    walk_sha_begin(&sha);
    while (fd >= 0 && (n = read(fd, buf, sizeof(buf))) > 0)
        walk_sha_add(&sha, buf, (size_t)n);
    if (n < 0)
        complain("read", e->path);
    if (fd >= 0)
        close(fd);
    walk_sha_end(&sha, e->sha256);
}

/* Through /proc/self/fd, or "." when it is the root: there is no lgetxattrat. */
static char *read_xattrs(int dir, const char *name, const char *path)
{
    static char names[65536], value[65536];
    struct walk_xattrs all = { 0 };
    char at[64 + NAME_MAX];
    snprintf(at, sizeof(at), "/proc/self/fd/%d/%s", dir, name);
    ssize_t n = llistxattr(at, names, sizeof(names));
    if (n < 0 && errno != ENOTSUP)
        complain("list attributes of", path);
    for (ssize_t i = 0; i < n; i += (ssize_t)strlen(names + i) + 1) {
        ssize_t len = lgetxattr(at, names + i, value, sizeof(value));
        if (len < 0)
            complain(names + i, path);
        else if (walk_xattr_add(&all, names + i, value, (size_t)len) < 0)
            complain("attributes of", path);
    }
    return walk_xattrs_join(&all);
}

static void visit(int dir, const char *name, const char *path);

static void visit_children(int dir, const char *name, const char *path)
{
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *de;
    if (!d) {
        complain("open", path);
        return;
    }
    while ((de = readdir(d))) {
        char *child = NULL;
        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
            continue;
        if (asprintf(&child, "%s/%s", strcmp(path, "/") == 0 ? "" : path, de->d_name) < 0)
            abort();
        visit(fd, de->d_name, child);
        free(child);
    }
    closedir(d);
}

static void visit(int dir, const char *name, const char *path)
{
    struct stat st;
    static char target[PATH_MAX]; /* used up before the next level */
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        complain("stat", path);
        return;
    }
    if (!device)
        device = st.st_dev;
    if (st.st_dev != device)
        return;
    struct walk_entry e = {
        .path = path,
        .mode = (uint16_t)st.st_mode,
        .uid = st.st_uid,
        .gid = st.st_gid,
        .sec = st.st_mtim.tv_sec,
        .nsec = (uint32_t)st.st_mtim.tv_nsec,
        .size = (uint64_t)st.st_size,
        .links = (uint32_t)st.st_nlink,
        .ino = st.st_ino,
        .major = S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode) ? major(st.st_rdev) : 0,
        .minor = S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode) ? minor(st.st_rdev) : 0,
        .target = target,
    };
    memset(target, 0, sizeof(target));
    if (S_ISLNK(st.st_mode) && readlinkat(dir, name, target, sizeof(target) - 1) < 0)
        complain("read link", path);
    if (S_ISREG(st.st_mode))
        hash_file(dir, name, &e);
    char *xattrs = read_xattrs(dir, name, path);
    e.xattrs = xattrs;
    walk_print(&e);
    free(xattrs);
    if (S_ISDIR(st.st_mode))
        visit_children(dir, name, path);
}

int main(int argc, char **argv)
{
    int root = argc == 2 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (root < 0) {
        fprintf(stderr, "usage: walk ROOT\n");
        return 2;
    }
    visit(root, ".", "/");
    return fflush(stdout) != 0 || failed;
}
