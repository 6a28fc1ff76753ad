/* SPDX-License-Identifier: Apache-2.0 */
/* files_ops.c - the operations on files, one function each. What they find may change under their hands at
 * any time. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "files/newfile.h"
#include "files/receive.h"
#include "files/send.h"
#include "guest/files.h"
#include "guest/processes.h"

#define READ_FLAGS (O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
#define PROCESSES_MAX_BYTES (32u * 1024 * 1024)
#define LOOK_FLAGS (AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)

struct work {
    const struct bx_place *place;
    const boxlite_FileOp *op;
    int in;
    struct bx_rec_out out;
    struct bx_rec_counts counts;
};

static bool flag(const struct work *w, uint32_t f)
{
    return (w->op->flags & f) != 0;
}

static int fail(const struct work *w, int error, const char *what, struct bx_err *err)
{
    return bx_files_fail(err, error, what, w->op->path);
}

/* ---- trees ---- */

/* A copy has two ends, and people want to know at which one it failed. */
static int here(int r, struct bx_err *err)
{
    if (r < 0)
        bx_err_append(err, " (in the box)");
    return r;
}

static int do_put(struct work *w, struct bx_err *err)
{
    struct bx_receive_plan plan = {
        .place = w->place,
        .path = w->op->path,
        .stream_fd = -1,
        .flags = w->op->flags | BX_FILE_ALL_LINKS, /* where a link leads is the container's own matter */
    };

    bool told = false;
    int r = bx_receive_tree(&plan, w->in, &w->counts, &told, err);

    return told ? r : here(r, err);
}

static int do_get(struct work *w, struct bx_err *err)
{
    return here(bx_send_tree(w->place, w->op->path, w->op->flags, &w->out, &w->counts, err), err);
}

/* ---- one file ---- */

static int read_range(struct work *w, int fd, const struct stat *st, struct bx_err *err)
{
    uint64_t at = w->op->offset, end = UINT64_MAX;
    ssize_t n = 1;
    int r;

    /* What grows while it is read has an end all the same; files of proc say that they have no bytes. */
    if (st->st_size > 0)
        end = (uint64_t)st->st_size;
    if (w->op->length && !bx_add_overflow(at, w->op->length, &at))
        end = BX_MIN(end, at);
    for (at = w->op->offset; n > 0 && at < end; at += (uint64_t)n) {
        n = bx_rec_out_data(&w->out, fd, (int64_t)at, at,
                            (size_t)BX_MIN(end - at, (uint64_t)BX_REC_DATA_MAX));
        if (n < 0)
            return fail(w, (int)-n, "read", err);
        w->counts.bytes += (uint64_t)n;
    }
    r = bx_rec_out_close(&w->out, at);
    return r < 0 ? fail(w, -r, "read", err) : 0;
}

static int do_read(struct work *w, struct bx_err *err)
{
    bx_cleanup_close int fd = bx_place_open(w->place, w->op->path, READ_FLAGS);
    char name[BX_REC_NAME_MAX + 1];
    struct stat st;
    int r;

    if (fd < 0 || fstat(fd, &st) < 0)
        return fail(w, fd < 0 ? -fd : errno, "read", err);
    if (!S_ISREG(st.st_mode))
        return bx_fail(err, BX_EINVALID, S_ISDIR(st.st_mode) ? EISDIR : 0, "%.300s is no file", w->op->path);
    if (w->op->offset > INT64_MAX)
        return fail(w, EINVAL, "read", err);
    r = bx_place_name(w->op->path, name);
    if (r == 0)
        r = bx_send_entry(&w->out, &st, name, "");
    if (r < 0)
        return fail(w, -r, "read", err);
    w->counts.files = 1;
    return read_range(w, fd, &st, err);
}

/* Of the container's own /proc, whatever it has mounted there. */
static int do_processes(struct work *w, struct bx_err *err)
{
    bx_cleanup_buf struct bx_buf text = BX_BUF_INIT(PROCESSES_MAX_BYTES);
    bx_cleanup_close int proc = openat(w->place->root, "proc", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bx_cleanup_close int fd = memfd_create("processes", MFD_CLOEXEC);
    struct statfs fs;
    struct stat st;
    int r;

    if (proc < 0 || fd < 0 || fstatfs(proc, &fs) < 0)
        return bx_fail(err, BX_EENGINE, errno, "read the box's /proc");
    if (fs.f_type != PROC_SUPER_MAGIC)
        return bx_fail(err, BX_EENGINE, 0, "the box has something else mounted at /proc");
    r = bx_processes_list(proc, &text, &w->counts.files, &w->counts.left_out, err);
    if (r < 0)
        return r;
    r = bx_write_full(fd, bx_buf_data(&text), bx_buf_len(&text));
    if (r < 0 || fstat(fd, &st) < 0)
        return bx_fail(err, BX_ERESOURCE, r < 0 ? -r : errno, "list processes");
    r = bx_send_entry(&w->out, &st, "processes", "");
    return r < 0 ? fail(w, -r, "read", err) : read_range(w, fd, &st, err);
}

/* What is to be written, until its CLOSE. */
static int take_data(struct work *w, int fd, struct bx_err *err)
{
    struct bx_rec_in in;
    struct bx_rec rec;
    int r;

    bx_rec_in_init(&in, w->in);
    while ((r = bx_rec_in_next(&in, &rec, err)) > 0 && rec.kind == BX_REC_DATA) {
        r = bx_pwrite_full(fd, rec.data.bytes, rec.data.len, (off_t)rec.data.offset);
        if (r < 0) {
            r = fail(w, -r, "write", err);
            break;
        }
        w->counts.bytes += rec.data.len;
    }
    if (r == 0)
        r = bx_fail(err, BX_ETRANSPORT, 0, "%.300s: the transfer was broken off", w->op->path);
    else if (r > 0 && rec.kind != BX_REC_CLOSE)
        r = bx_fail(err, BX_ERPC, 0, "%.300s: records of files out of order", w->op->path);
    else if (r > 0)
        r = ftruncate(fd, (off_t)rec.size) < 0 ? fail(w, errno, "write", err) : 0;
    bx_rec_in_done(&in);
    return r;
}

/* A file that is replaced leaves its owner and mode to the new one. */
static int dress(const struct work *w, const struct bx_where *at, int fd)
{
    mode_t mode = w->op->mode ? w->op->mode : 0644;
    struct stat st;

    if (fstatat(at->dir, at->name, &st, LOOK_FLAGS) == 0 && S_ISREG(st.st_mode)) {
        if (fchown(fd, st.st_uid, st.st_gid) < 0 && errno != EPERM)
            return -errno;
        if (!w->op->mode)
            mode = st.st_mode & 07777;
    }
    return fchmod(fd, mode) < 0 ? -errno : 0;
}

static int write_at(struct work *w, const struct bx_where *at, struct bx_err *err)
{
    struct bx_newfile f = BX_NEWFILE_INIT;
    struct stat st;
    int r = 0;

    if (!*at->name || (fstatat(at->dir, at->name, &st, LOOK_FLAGS) == 0 && S_ISDIR(st.st_mode)))
        return bx_fail(err, BX_EINVALID, EISDIR, "%.300s is no file", w->op->path);
    if (!flag(w, BX_FILE_OVERWRITE) && fstatat(at->dir, at->name, &st, LOOK_FLAGS) == 0)
        return fail(w, EEXIST, "write", err);
    r = bx_newfile_open(&f, at->dir);
    if (r < 0)
        return fail(w, -r, "write", err);
    r = take_data(w, f.fd, err);
    if (r == 0 && ((r = dress(w, at, f.fd)) < 0 ||
                   (r = bx_newfile_publish(&f, at->name, flag(w, BX_FILE_OVERWRITE))) < 0))
        r = fail(w, -r, "write", err);
    bx_newfile_done(&f);
    w->counts.files = r == 0;
    return r;
}

static unsigned find_flags(const struct work *w, unsigned more)
{
    return more | (flag(w, BX_FILE_PARENTS) ? BX_WHERE_PARENTS : 0);
}

static int do_write(struct work *w, struct bx_err *err)
{
    struct bx_where at = BX_WHERE_INIT;
    int r = bx_place_find(w->place, w->op->path, find_flags(w, BX_WHERE_FOLLOW), &at);

    if (r < 0)
        return fail(w, -r, "write", err);
    r = write_at(w, &at, err);
    bx_where_done(&at);
    return r;
}

/* ---- what is there ---- */

static int show(struct work *w, int dir, const char *name, const char *as)
{
    char target[BX_REC_LINK_MAX + 1] = "";
    struct stat st;
    ssize_t n;

    if (fstatat(dir, name, &st, LOOK_FLAGS) < 0)
        return -errno;
    if (S_ISLNK(st.st_mode)) {
        n = readlinkat(dir, name, target, sizeof(target));
        if (n <= 0 || (size_t)n == sizeof(target))
            return n < 0 ? -errno : -ENAMETOOLONG;
        target[n] = '\0';
    }
    return bx_send_entry(&w->out, &st, as, target);
}

static int do_list(struct work *w, struct bx_err *err)
{
    int fd = bx_place_open(w->place, w->op->path, READ_FLAGS | O_DIRECTORY), r = 0;
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;

    if (!d) {
        r = fd < 0 ? -fd : errno;
        bx_close(fd);
        return fail(w, r, "list", err);
    }
    while (r == 0 && (errno = 0, e = readdir(d))) {
        if (bx_streq(e->d_name, ".") || bx_streq(e->d_name, ".."))
            continue;
        r = show(w, fd, e->d_name, e->d_name);
        if (r == -ENOENT)
            r = 0; /* gone meanwhile */
    }
    if (r == 0)
        r = -errno;
    closedir(d);
    return r < 0 ? fail(w, -r, "list", err) : 0;
}

static int do_stat(struct work *w, struct bx_err *err)
{
    bool follow = flag(w, BX_FILE_FOLLOW) || bx_place_means_dir(w->op->path);
    struct bx_where at = BX_WHERE_INIT;
    char name[BX_REC_NAME_MAX + 1];
    int r = bx_place_name(w->op->path, name);

    if (r == 0)
        r = bx_place_find(w->place, w->op->path, follow ? BX_WHERE_FOLLOW : 0, &at);
    if (r == 0)
        r = show(w, at.dir, at.name, name);
    bx_where_done(&at);
    return r < 0 ? fail(w, -r, "look at", err) : 0;
}

/* ---- changes ---- */

static int do_mkdir(struct work *w, struct bx_err *err)
{
    struct bx_where at = BX_WHERE_INIT;
    struct stat st;
    int r = bx_place_find(w->place, w->op->path, find_flags(w, 0), &at);

    if (r == 0 && mkdirat(at.dir, *at.name ? at.name : ".", w->op->mode ? w->op->mode : 0755) < 0)
        r = -errno;
    /* With its parents: it shall be there. */
    if (r == -EEXIST && flag(w, BX_FILE_PARENTS) && fstatat(at.dir, at.name, &st, AT_EMPTY_PATH) == 0 &&
        S_ISDIR(st.st_mode))
        r = 0;
    bx_where_done(&at);
    return r < 0 ? fail(w, -r, "make", err) : 0;
}

static int copy_bytes(int from, int to)
{
    static char piece[65536];
    ssize_t n;

    while ((n = read(from, piece, sizeof(piece))) > 0) {
        int r = bx_write_full(to, piece, (size_t)n);

        if (r < 0)
            return r;
    }
    return n < 0 ? -errno : 0;
}

/* To another file system: the file is made anew there, with all that it is, and then goes here. */
static int carry_file(const struct bx_where *from, const struct bx_where *to, bool overwrite)
{
    bx_cleanup_close int fd = openat(from->dir, from->name, READ_FLAGS | O_NOFOLLOW);
    struct bx_newfile f = BX_NEWFILE_INIT;
    struct timespec times[2];
    struct stat st;
    int r;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EXDEV;
    r = bx_newfile_open(&f, to->dir);
    if (r == 0)
        r = copy_bytes(fd, f.fd);
    times[0] = st.st_atim;
    times[1] = st.st_mtim;
    if (r == 0 && ((fchown(f.fd, st.st_uid, st.st_gid) < 0 && errno != EPERM) ||
                   fchmod(f.fd, st.st_mode & 07777) < 0 || futimens(f.fd, times) < 0))
        r = -errno;
    if (r == 0)
        r = bx_newfile_publish(&f, to->name, overwrite);
    bx_newfile_done(&f);
    return r < 0 ? r : unlinkat(from->dir, from->name, 0) < 0 ? -errno : 0;
}

static int move(const struct work *w, const struct bx_where *from, const struct bx_where *to,
                struct bx_err *err)
{
    bool overwrite = flag(w, BX_FILE_OVERWRITE);
    int r;

    if (!*from->name || !*to->name)
        return bx_fail(err, BX_EINVALID, 0, "%.200s cannot be moved to %.200s", w->op->path, w->op->to);
    r = renameat2(from->dir, from->name, to->dir, to->name, overwrite ? 0 : RENAME_NOREPLACE) < 0 ? -errno
                                                                                                  : 0;
    if (r == -EXDEV)
        r = carry_file(from, to, overwrite);
    if (r == -EXDEV)
        return bx_fail(err, BX_EUNSUPPORTED, 0,
                       "%.200s and %.200s are on two file systems, and only files are moved between them: "
                       "copy it, then remove it",
                       w->op->path, w->op->to);
    if (r == -EEXIST || r == -EISDIR || r == -ENOTEMPTY)
        return bx_fail(err, BX_EEXISTS, -r, "%.300s", w->op->to);
    return r < 0 ? fail(w, -r, "move", err) : 0;
}

static int do_rename(struct work *w, struct bx_err *err)
{
    struct bx_where from = BX_WHERE_INIT, to = BX_WHERE_INIT;
    int r = bx_place_find(w->place, w->op->path, 0, &from);

    if (r < 0)
        return fail(w, -r, "move", err);
    r = bx_place_find(w->place, w->op->to, find_flags(w, 0), &to);
    r = r < 0 ? bx_files_fail(err, -r, "move to", w->op->to) : move(w, &from, &to, err);
    bx_where_done(&from);
    bx_where_done(&to);
    return r;
}

static int remove_at(const struct work *w, const struct bx_where *at, struct bx_err *err)
{
    struct stat st;
    int r;

    if (!*at->name)
        return bx_fail(err, BX_EINVALID, 0, "%.300s cannot be removed", w->op->path);
    if (fstatat(at->dir, at->name, &st, LOOK_FLAGS) < 0)
        return fail(w, errno, "remove", err);
    if (flag(w, BX_FILE_RECURSIVE))
        r = bx_rm_rf(at->dir, at->name);
    else
        r = unlinkat(at->dir, at->name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0 ? -errno : 0;
    if (r == -ENOTEMPTY)
        return bx_fail(
            err, BX_ESTATE, 0,
            "%.300s is a folder with something in it: it is removed only when that is asked for (recursive)",
            w->op->path);
    return r < 0 ? fail(w, -r, "remove", err) : 0;
}

static int do_remove(struct work *w, struct bx_err *err)
{
    struct bx_where at = BX_WHERE_INIT;
    int r = bx_place_find(w->place, w->op->path, 0, &at);

    if (r < 0)
        return fail(w, -r, "remove", err);
    r = remove_at(w, &at, err);
    bx_where_done(&at);
    return r;
}

/* ---- all of them ---- */

void bx_files_work(const struct bx_place *place, const boxlite_FileOp *op, int in, int out)
{
    static int (*const table[BX_FILE_OPS])(struct work *, struct bx_err *) = {
        [BX_FILE_PUT] = do_put,     [BX_FILE_GET] = do_get,       [BX_FILE_READ] = do_read,
        [BX_FILE_WRITE] = do_write, [BX_FILE_LIST] = do_list,     [BX_FILE_STAT] = do_stat,
        [BX_FILE_MKDIR] = do_mkdir, [BX_FILE_RENAME] = do_rename, [BX_FILE_REMOVE] = do_remove,
        [BX_FILE_PROCESSES] = do_processes,
    };
    struct work w = {.place = place, .op = op, .in = in};
    struct bx_err err = BX_ERR_INIT;

    bx_rec_out_init(&w.out, out);
    if (table[op->op](&w, &err) >= 0)
        err = BX_ERR_INIT;
    if (w.out.failed == 0)
        (void)bx_rec_out_end(&w.out, &err, &w.counts); /* nobody may be there to hear it */
    bx_rec_out_done(&w.out);
}
