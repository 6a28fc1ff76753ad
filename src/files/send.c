/* SPDX-License-Identifier: Apache-2.0 */
/*
 * send.c - see send.h.
 *
 * The tree is walked by descriptors: a folder that is exchanged for a link meanwhile is not followed. Nothing
 * but regular files is opened for reading, so that no pipe or device holds us up or acts; what is exchanged
 * for one between the look and the open is caught by O_NONBLOCK and a second look.
 */
#include "files/send.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"

/* Files of proc and sysfs say that they have no bytes and give some: at most so many. */
#define UNSIZED_MAX (64u * 1024 * 1024)
#define FILE_FLAGS  (O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

/* A folder that is being sent, and those it is in: what links may not lead back to. */
struct level {
    const struct level *up;
    dev_t dev;
    ino_t ino;
    unsigned depth;
};

struct send {
    const struct bx_place *place;
    unsigned flags;
    struct bx_rec_out *out;
    struct bx_rec_counts *counts;
    char path[PATH_MAX]; /* of what is being sent, for messages and to follow links by */
    size_t path_len;
};

int bx_files_fail(struct bx_err *err, int error, const char *what, const char *path)
{
    static const struct {
        int error;
        enum bx_code code;
    } codes[] = {
        {ENOENT, BX_ENOTFOUND}, {EEXIST, BX_EEXISTS}, {ENAMETOOLONG, BX_EINVALID}, {ENOMEM, BX_ERESOURCE}};

    for (size_t i = 0; i < BX_ARRAY_SIZE(codes); i++)
        if (codes[i].error == error)
            return bx_fail(err, codes[i].code, error, "%.300s", path);
    return bx_fail(err, BX_ESTORAGE, error, "%s %.300s", what, path);
}

static int fail(const struct send *s, int error, struct bx_err *err)
{
    if (s->out->failed) /* the one who reads tells more */
        return bx_fail(err, BX_ETRANSPORT, -s->out->failed, "send %.300s", s->path);
    return bx_files_fail(err, error, "read", s->path);
}

/* ---- entries ---- */

int bx_send_entry(struct bx_rec_out *out, const struct stat *st, const char *name, const char *link)
{
    struct bx_rec_entry e = {
        .type = S_ISREG(st->st_mode)   ? BX_FILE_REGULAR
                : S_ISDIR(st->st_mode) ? BX_FILE_FOLDER
                : S_ISLNK(st->st_mode) ? BX_FILE_LINK
                                       : BX_FILE_OTHER,
        .mode = st->st_mode & 07777,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0,
        .mtime_s = st->st_mtim.tv_sec,
        .mtime_ns = (uint32_t)st->st_mtim.tv_nsec,
        .name = name,
        .link = link,
    };

    return bx_rec_out_entry(out, &e);
}

/* ---- files ---- */

static int send_dense(struct send *s, int fd, uint64_t at, uint64_t max, uint64_t *ret_end)
{
    while (max > 0) {
        ssize_t n =
            bx_rec_out_data(s->out, fd, (int64_t)at, at, (size_t)BX_MIN(max, (uint64_t)BX_REC_DATA_MAX));

        if (n < 0)
            return (int)n;
        if (n == 0)
            break; /* it was cut meanwhile */
        at += (uint64_t)n;
        max -= (uint64_t)n;
        s->counts->bytes += (uint64_t)n;
    }
    *ret_end = at;
    return 0;
}

/* Only what is there; what a file system says is a hole is one. */
static int send_sparse(struct send *s, int fd, uint64_t size)
{
    off_t data = 0, hole;
    uint64_t end;
    int r = 0;

    while (r == 0 && (uint64_t)data < size) {
        data = lseek(fd, data, SEEK_DATA);
        if (data < 0)
            return errno == ENXIO ? 0 : -errno;
        hole = lseek(fd, data, SEEK_HOLE);
        if (hole < 0)
            return -errno;
        if ((uint64_t)data >= size)
            break;
        r = send_dense(s, fd, (uint64_t)data, BX_MIN((uint64_t)hole, size) - (uint64_t)data, &end);
        data = hole;
    }
    return r;
}

static int send_content(struct send *s, int fd, const struct stat *st)
{
    uint64_t size = (uint64_t)st->st_size, end = 0;
    char byte;
    int r;

    if (size > 0 && (uint64_t)st->st_blocks * 512 < size && lseek(fd, 0, SEEK_HOLE) >= 0) {
        end = size;
        r = send_sparse(s, fd, size);
    } else {
        r = send_dense(s, fd, 0, size > 0 ? size : UNSIZED_MAX, &end);
    }
    if (r == 0 && size == 0 && end == UNSIZED_MAX && pread(fd, &byte, 1, (off_t)end) > 0)
        r = -EFBIG;
    return r < 0 ? r : bx_rec_out_close(s->out, end);
}

/* Opens an entry; in a container a link that is to be followed is looked up by its whole path, from the root.
 */
static int open_entry(struct send *s, int dir, const char *name, int flags)
{
    int fd;

    if (s->flags & BX_FILE_FOLLOW && s->place->root >= 0)
        return bx_open_in_root(s->place->root, s->path, flags, 0);
    fd = openat(dir, *name ? name : ".", flags | (s->flags & BX_FILE_FOLLOW ? 0 : O_NOFOLLOW));
    return fd < 0 ? -errno : fd;
}

static int send_file(struct send *s, int dir, const char *name, const char *as, const struct level *up,
                     struct bx_err *err)
{
    bx_cleanup_close int fd = open_entry(s, dir, name, FILE_FLAGS);
    struct stat st;
    int r;

    if (fd == -ENOENT && up)
        return 0; /* gone meanwhile */
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail(s, fd < 0 ? -fd : errno, err);
    if (!S_ISREG(st.st_mode)) {
        s->counts->left_out++;
        return 0;
    }
    r = bx_send_entry(s->out, &st, as, "");
    if (r == 0)
        r = send_content(s, fd, &st);
    if (r < 0)
        return fail(s, -r, err);
    s->counts->files++;
    return 0;
}

static int send_link(struct send *s, int dir, const char *name, const char *as, const struct stat *st,
                     struct bx_err *err)
{
    char target[BX_REC_LINK_MAX + 1];
    ssize_t n = readlinkat(dir, name, target, sizeof(target));
    int r;

    if (n <= 0 || (size_t)n == sizeof(target))
        return fail(s, n < 0 ? errno : ENAMETOOLONG, err);
    target[n] = '\0';
    r = bx_send_entry(s->out, st, as, target);
    if (r < 0)
        return fail(s, -r, err);
    s->counts->links++;
    return 0;
}

/* ---- folders ---- */

static int send_one(struct send *s, int dir, const char *name, const char *as, const struct level *up,
                    struct bx_err *err);

/* What is mounted in a tree and has no files of its own. */
static bool is_pseudo(int fd)
{
    static const unsigned long magics[] = {PROC_SUPER_MAGIC,    SYSFS_MAGIC,        CGROUP_SUPER_MAGIC,
                                           CGROUP2_SUPER_MAGIC, DEVPTS_SUPER_MAGIC, DEBUGFS_MAGIC,
                                           TRACEFS_MAGIC,       SECURITYFS_MAGIC,   BPF_FS_MAGIC};
    struct statfs fs;

    if (fstatfs(fd, &fs) < 0)
        return false;
    for (size_t i = 0; i < BX_ARRAY_SIZE(magics); i++)
        if ((unsigned long)fs.f_type == magics[i])
            return true;
    return false;
}

static int push_name(struct send *s, const char *name, struct bx_err *err)
{
    size_t len = strlen(name), slash = s->path_len > 0 && s->path[s->path_len - 1] != '/';

    if (s->path_len + slash + len >= sizeof(s->path))
        return fail(s, ENAMETOOLONG, err);
    if (slash)
        s->path[s->path_len++] = '/';
    memcpy(s->path + s->path_len, name, len + 1);
    s->path_len += len;
    return 0;
}

static int send_children(struct send *s, DIR *d, const struct level *up, struct bx_err *err)
{
    size_t len = s->path_len;
    struct dirent *e;
    int r = 0;

    while (r == 0 && (errno = 0, e = readdir(d))) {
        if (bx_streq(e->d_name, ".") || bx_streq(e->d_name, ".."))
            continue;
        r = push_name(s, e->d_name, err);
        if (r == 0)
            r = send_one(s, dirfd(d), e->d_name, e->d_name, up, err);
        if (r == 0) /* of a failure the path is told */
            s->path[s->path_len = len] = '\0';
    }
    return r == 0 && errno ? fail(s, errno, err) : r;
}

static int leads_back(const struct send *s, const struct level *l, struct bx_err *err)
{
    for (const struct level *up = l->up; up; up = up->up)
        if (up->dev == l->dev && up->ino == l->ino)
            return bx_fail(err, BX_EINVALID, 0, "%.300s leads back to a folder that it is in", s->path);
    if (l->depth > BX_REC_DEPTH_MAX)
        return bx_fail(err, BX_EINVALID, 0, "%.300s: more than %d folders in one another", s->path,
                       BX_REC_DEPTH_MAX);
    return 0;
}

static int send_folder(struct send *s, int dir, const char *name, const char *as, const struct level *up,
                       struct bx_err *err)
{
    int fd = open_entry(s, dir, name, FILE_FLAGS | O_DIRECTORY), r;
    struct level here = {.up = up, .depth = up ? up->depth + 1 : 1};
    struct stat st;
    DIR *d;

    if (fd == -ENOENT && up)
        return 0;
    if (fd < 0 || fstat(fd, &st) < 0) {
        r = fd < 0 ? -fd : errno;
        bx_close(fd);
        return fail(s, r, err);
    }
    if (up && st.st_dev != up->dev && is_pseudo(fd)) {
        bx_close(fd);
        s->counts->left_out++;
        return 0;
    }
    d = fdopendir(fd);
    if (!d) {
        bx_close(fd);
        return fail(s, ENOMEM, err);
    }
    here.dev = st.st_dev;
    here.ino = st.st_ino;
    r = leads_back(s, &here, err);
    if (r == 0 && (r = bx_send_entry(s->out, &st, as, "")) < 0)
        r = fail(s, -r, err);
    if (r == 0)
        r = send_children(s, d, &here, err);
    if (r == 0 && (r = bx_rec_out_up(s->out)) < 0)
        r = fail(s, -r, err);
    s->counts->folders += r == 0;
    closedir(d);
    return r;
}

/* What an entry is, or with BX_FILE_FOLLOW what it leads to. 1; 0 when there is nothing to send; negative
 * with err. */
static int look(struct send *s, int dir, const char *name, const struct level *up, struct stat *st,
                struct bx_err *err)
{
    bx_cleanup_close int fd = -1;

    if (fstatat(dir, name, st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT && up ? 0 : fail(s, errno, err);
    if (!S_ISLNK(st->st_mode) || !(s->flags & BX_FILE_FOLLOW))
        return 1;
    fd = open_entry(s, dir, name, O_PATH | O_CLOEXEC);
    if (fd >= 0)
        return fstat(fd, st) < 0 ? fail(s, errno, err) : 1;
    if (!up || (fd != -ENOENT && fd != -ELOOP))
        return fail(s, -fd, err);
    s->counts->left_out++; /* it leads nowhere */
    return 0;
}

/* One entry of a folder, whatever it is; gone meanwhile is no failure. */
static int send_one(struct send *s, int dir, const char *name, const char *as, const struct level *up,
                    struct bx_err *err)
{
    struct stat st;
    int r = look(s, dir, name, up, &st, err);

    if (r <= 0)
        return r;
    if (S_ISDIR(st.st_mode) && !(s->flags & BX_FILE_RECURSIVE))
        return bx_fail(err, BX_EINVALID, 0,
                       "%.300s is a folder: it is copied only when that is asked for (recursive)", s->path);
    if (S_ISDIR(st.st_mode))
        return send_folder(s, dir, name, as, up, err);
    if (S_ISLNK(st.st_mode))
        return send_link(s, dir, name, as, &st, err);
    if (S_ISREG(st.st_mode))
        return send_file(s, dir, name, as, up, err);
    if (!up)
        return bx_fail(err, BX_EINVALID, 0,
                       "%.300s is a pipe, a socket or a device: only files, folders and links are copied",
                       s->path);
    s->counts->left_out++;
    return 0;
}

int bx_send_tree(const struct bx_place *p, const char *path, unsigned flags, struct bx_rec_out *out,
                 struct bx_rec_counts *counts, struct bx_err *err)
{
    struct send s = {.place = p, .flags = flags, .out = out, .counts = counts};
    struct bx_where w = BX_WHERE_INIT;
    char as[BX_REC_NAME_MAX + 1];
    bool dir = bx_place_means_dir(path);
    int r = bx_place_name(path, as);

    if (r == 0)
        r = bx_place_find(p, path, dir ? BX_WHERE_FOLLOW : 0, &w);
    if (r == 0 && strlen(path) >= sizeof(s.path))
        r = -ENAMETOOLONG;
    if (r == 0 && dir) { /* nothing but a folder will do */
        struct stat st;

        r = fstatat(w.dir, w.name, &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno
            : S_ISDIR(st.st_mode)                                                ? 0
                                                                                 : -ENOTDIR;
    }
    if (r < 0) {
        bx_where_done(&w);
        return bx_files_fail(err, -r, "read", path);
    }
    s.path_len = strlen(path);
    memcpy(s.path, path, s.path_len + 1);
    r = send_one(&s, w.dir, w.name, as, NULL, err);
    bx_where_done(&w);
    return r;
}

int bx_send_stream(int fd, struct bx_rec_out *out, struct bx_rec_counts *counts, struct bx_err *err)
{
    struct stat st = {.st_mode = S_IFREG | 0644};
    uint64_t at = 0;
    ssize_t n;
    int r;

    (void)clock_gettime(CLOCK_REALTIME, &st.st_mtim);
    r = bx_send_entry(out, &st, "", "");
    while (r == 0 && (n = bx_rec_out_data(out, fd, -1, at, BX_REC_DATA_MAX)) != 0) {
        if (n < 0)
            r = (int)n;
        else
            at += (uint64_t)n;
    }
    counts->bytes += at;
    if (r == 0)
        r = bx_rec_out_close(out, at);
    counts->files += r == 0;
    return r < 0 ? bx_files_fail(err, -r, "read", "what was given") : 0;
}
