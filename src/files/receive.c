/* SPDX-License-Identifier: Apache-2.0 */
/* receive.c - see receive.h. The sender is hostile. */
#include "files/receive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "files/newfile.h"
#include "files/send.h"

#define IN_PIECE   (256 * 1024)
#define ENTRY_COST 512

/* A folder that is being filled. */
struct folder {
    int fd;
    bool made; /* by us: then it gets what its ENTRY says when it is complete */
    uint32_t mode, uid, gid;
    struct timespec mtime;
    size_t path_len; /* of what it is in */
};

struct receive {
    const struct bx_receive_plan *plan;
    struct bx_rec_counts *counts;
    struct folder stack[BX_REC_DEPTH_MAX];
    unsigned depth;
    bool begun, complete, told;
    uint64_t spent;

    /* the file that is being written */
    bool in_file;
    struct bx_where top; /* of a file that is the whole tree */
    struct bx_newfile file;
    struct folder meta; /* fd unused */
    char name[BX_REC_NAME_MAX + 1];
    uint64_t at;

    char path[PATH_MAX]; /* for messages; what does not fit is left out */
    size_t path_len;
};

/* ---- records ---- */

void bx_rec_in_init(struct bx_rec_in *in, int fd)
{
    *in = (struct bx_rec_in){.fd = fd};
    bx_buf_init(&in->buf, IN_PIECE + BX_REC_HEAD + BX_REC_PAYLOAD_MAX);
}

void bx_rec_in_done(struct bx_rec_in *in)
{
    bx_buf_done(&in->buf);
}

int bx_rec_in_next(struct bx_rec_in *in, struct bx_rec *ret, struct bx_err *err)
{
    bx_buf_consume(&in->buf, in->used);
    in->used = 0;
    for (;;) {
        int r = bx_rec_parse(bx_buf_data(&in->buf), bx_buf_len(&in->buf), ret, err);
        uint8_t *room;
        ssize_t n;

        if (r != 0) {
            in->used = r > 0 ? (size_t)r : 0;
            return r > 0 ? 1 : r;
        }
        room = bx_buf_reserve(&in->buf, IN_PIECE);
        if (!room)
            return bx_fail(err, BX_ERESOURCE, ENOMEM, "read records");
        n = read(in->fd, room, IN_PIECE);
        if (n < 0 && errno != EINTR)
            return bx_fail(err, BX_ETRANSPORT, errno, "read records");
        if (n == 0)
            return 0;
        if (n > 0)
            bx_buf_commit(&in->buf, (size_t)n);
    }
}

/* ---- paths for messages ---- */

static size_t push_name(struct receive *s, const char *name)
{
    size_t before = s->path_len;
    bool slash = s->path_len > 0 && s->path[s->path_len - 1] != '/';
    int n = snprintf(s->path + s->path_len, sizeof(s->path) - s->path_len, "%s%s", slash ? "/" : "", name);

    if (n > 0)
        s->path_len = BX_MIN(s->path_len + (size_t)n, sizeof(s->path) - 1);
    return before;
}

static void pop_name(struct receive *s, size_t len)
{
    s->path_len = len;
    s->path[len] = '\0';
}

static int fail(struct receive *s, int error, struct bx_err *err)
{
    if (error == EEXIST && !(s->plan->flags & BX_FILE_OVERWRITE))
        return bx_fail(err, BX_EEXISTS, 0, "%.300s is there, and is not to be overwritten", s->path);
    if (error == EISDIR)
        return bx_fail(err, BX_EEXISTS, 0, "%.300s is a folder, and is not replaced by a file", s->path);
    return bx_files_fail(err, error, "write", s->path);
}

static int out_of_order(const char *what, struct bx_err *err)
{
    return bx_fail(err, BX_ERPC, 0, "records of files out of order: %s", what);
}

static int spend(struct receive *s, uint64_t n, struct bx_err *err)
{
    if (bx_add_overflow(s->spent, n, &s->spent))
        s->spent = UINT64_MAX;
    if (s->plan->max_bytes == 0 || s->spent <= s->plan->max_bytes)
        return 0;
    return bx_fail(err, BX_ERESOURCE, 0, "%.300s: more than the %llu bytes that are allowed", s->path,
                   (unsigned long long)s->plan->max_bytes);
}

/* ---- what an entry says ---- */

static void take_meta(const struct receive *s, const struct bx_rec_entry *e, struct folder *f)
{
    unsigned mask = s->plan->flags & BX_FILE_SAFE_MODE ? 0777
                    : s->plan->flags & BX_FILE_OWNER   ? 07777
                                                       : 01777;

    f->mode = e->mode & mask;
    f->uid = e->uid;
    f->gid = e->gid;
    f->mtime = (struct timespec){.tv_sec = e->mtime_s, .tv_nsec = e->mtime_ns};
}

/* Owner first: a change of it takes mode bits away. */
static int apply_meta(const struct receive *s, int fd, const struct folder *f)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, f->mtime};

    if (s->plan->flags & BX_FILE_OWNER && fchown(fd, f->uid, f->gid) < 0)
        return -errno;
    if (fchmod(fd, f->mode) < 0)
        return -errno;
    /* EINVAL: a time that the file system cannot tell. */
    return futimens(fd, times) < 0 && errno != EINVAL ? -errno : 0;
}

/* ---- folders ---- */

static int enter_folder(struct receive *s, int dir, const char *name, const struct bx_rec_entry *e,
                        struct bx_err *err)
{
    struct folder *f = &s->stack[s->depth];
    size_t len = *name ? push_name(s, name) : s->path_len;

    if (s->depth == BX_REC_DEPTH_MAX)
        return bx_fail(err, BX_EINVALID, 0, "%.300s: more than %d folders in one another", s->path,
                       BX_REC_DEPTH_MAX);
    *f = (struct folder){.path_len = len};
    take_meta(s, e, f);
    f->made = *name && mkdirat(dir, name, 0700) == 0;
    if (*name && !f->made && errno != EEXIST)
        return fail(s, errno, err);
    f->fd =
        openat(dir, *name ? name : ".", (f->made ? O_RDONLY : O_PATH) | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (f->fd < 0 && (errno == ENOTDIR || errno == ELOOP))
        return bx_fail(err, BX_EEXISTS, 0, "%.300s is there, and is no folder", s->path);
    if (f->fd < 0)
        return fail(s, errno, err);
    s->depth++;
    s->counts->folders++;
    return 0;
}

static int leave_folder(struct receive *s, struct bx_err *err)
{
    struct folder *f;
    int r;

    if (s->depth == 0 || s->in_file)
        return out_of_order("up", err);
    f = &s->stack[--s->depth];
    r = f->made ? apply_meta(s, f->fd, f) : 0;
    f->fd = bx_close(f->fd);
    if (r < 0)
        return fail(s, -r, err);
    pop_name(s, f->path_len);
    s->complete = s->depth == 0;
    return 0;
}

/* ---- links ---- */

bool bx_link_stays(const char *target, unsigned depth)
{
    bool down = false;

    if (target[0] == '/')
        return false;
    for (const char *p = target; *p;) {
        size_t n = strcspn(p, "/");

        if (n == 2 && p[0] == '.' && p[1] == '.') {
            /* After a step down it could be undone by a link on the way. */
            if (down || depth-- == 0)
                return false;
        } else if (n > 0 && !(n == 1 && p[0] == '.')) {
            down = true;
        }
        p += n + (p[n] == '/');
    }
    return true;
}

static int make_link(struct receive *s, int dir, const char *name, const struct bx_rec_entry *e,
                     struct bx_err *err)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                      {.tv_sec = e->mtime_s, .tv_nsec = e->mtime_ns}};
    unsigned depth = s->depth > 0 ? s->depth - 1 : 0;
    size_t len = push_name(s, name);
    int r;

    if (!(s->plan->flags & BX_FILE_ALL_LINKS) && !bx_link_stays(e->link, depth)) {
        s->counts->left_out++;
        pop_name(s, len);
        return 0;
    }
    r = bx_newlink(dir, name, e->link, s->plan->flags & BX_FILE_OVERWRITE);
    if (r == 0 && s->plan->flags & BX_FILE_OWNER &&
        fchownat(dir, name, e->uid, e->gid, AT_SYMLINK_NOFOLLOW) < 0)
        r = -errno;
    if (r < 0)
        return fail(s, -r, err);
    (void)utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW); /* some file systems keep none of links */
    s->counts->links++;
    pop_name(s, len);
    return 0;
}

/* ---- files ---- */

static int begin_file(struct receive *s, int dir, const char *name, const struct bx_rec_entry *e,
                      struct bx_err *err)
{
    int r;

    memcpy(s->name, name, strlen(name) + 1);
    take_meta(s, e, &s->meta);
    s->meta.path_len = s->plan->stream_fd < 0 ? push_name(s, name) : s->path_len;
    s->at = 0;
    s->in_file = true;
    r = s->plan->stream_fd < 0 ? bx_newfile_open(&s->file, dir) : 0;
    return r < 0 ? fail(s, -r, err) : 0;
}

/* A stream has no holes: they are written. */
static int fill_hole(struct receive *s, uint64_t to, struct bx_err *err)
{
    static const uint8_t zeros[65536];

    while (s->at < to) {
        size_t n = (size_t)BX_MIN(to - s->at, (uint64_t)sizeof(zeros));
        int r = spend(s, n, err);

        if (r < 0)
            return r;
        r = bx_write_full(s->plan->stream_fd, zeros, n);
        if (r < 0)
            return fail(s, -r, err);
        s->at += n;
    }
    return 0;
}

static int write_data(struct receive *s, const struct bx_rec *rec, struct bx_err *err)
{
    int r;

    if (!s->in_file || rec->data.offset < s->at)
        return out_of_order("data", err);
    r = spend(s, rec->data.len, err);
    if (r == 0 && s->plan->stream_fd >= 0)
        r = fill_hole(s, rec->data.offset, err);
    if (r < 0)
        return r;
    if (s->plan->stream_fd >= 0)
        r = bx_write_full(s->plan->stream_fd, rec->data.bytes, rec->data.len);
    else
        r = bx_pwrite_full(s->file.fd, rec->data.bytes, rec->data.len, (off_t)rec->data.offset);
    if (r < 0)
        return fail(s, -r, err);
    s->at = rec->data.offset + rec->data.len;
    s->counts->bytes += rec->data.len;
    return 0;
}

static int finish_file(struct receive *s, uint64_t size)
{
    int r = 0;

    if (size > s->at && ftruncate(s->file.fd, (off_t)size) < 0)
        return -errno;
    r = apply_meta(s, s->file.fd, &s->meta);
    if (r == 0 && s->plan->sync && s->depth == 0 && fsync(s->file.fd) < 0)
        r = -errno;
    if (r == 0)
        r = bx_newfile_publish(&s->file, s->name, s->plan->flags & BX_FILE_OVERWRITE);
    return r;
}

static int close_file(struct receive *s, uint64_t size, struct bx_err *err)
{
    int r;

    if (!s->in_file || size < s->at)
        return out_of_order("end of a file", err);
    if (s->plan->stream_fd >= 0) {
        r = fill_hole(s, size, err);
        if (r < 0)
            return r;
    } else {
        r = finish_file(s, size);
        if (r < 0)
            return fail(s, -r, err);
        bx_newfile_done(&s->file);
    }
    s->in_file = false;
    s->counts->files++;
    pop_name(s, s->meta.path_len);
    s->complete = s->depth == 0;
    return 0;
}

/* ---- the first entry decides where everything goes ---- */

static int make_top(struct receive *s, const char *path, bool folder, const struct bx_rec_entry *e,
                    struct bx_err *err)
{
    int r;

    r = bx_place_find(s->plan->place, path,
                      BX_WHERE_PARENTS | (e->type == BX_FILE_LINK ? 0 : BX_WHERE_FOLLOW), &s->top);
    if (r < 0)
        return fail(s, -r, err);
    if (!*s->top.name && !folder)
        return fail(s, EISDIR, err);
    if (*s->top.name) { /* who makes it adds its name */
        const char *slash = strrchr(s->path, '/');

        pop_name(s, slash ? (size_t)(slash - s->path) : 0);
    }
    return folder ? enter_folder(s, s->top.dir, s->top.name, e, err) : 0;
}

/* In the folder `path`, under its own name. */
static int into_dir(struct receive *s, const struct bx_rec_entry *e, struct bx_err *err)
{
    int r = bx_place_make_dir(s->plan->place, s->plan->path);

    if (r == -ENOTDIR)
        return bx_fail(err, BX_EEXISTS, 0, "%.300s is there, and is no folder", s->path);
    if (r < 0)
        return fail(s, -r, err);
    s->top = (struct bx_where){.dir = r};
    memcpy(s->top.name, e->name, strlen(e->name) + 1);
    return *e->name ? 0 : fail(s, EISDIR, err);
}

static bool is_dir(const struct bx_receive_plan *plan)
{
    int fd =
        bx_place_means_dir(plan->path) ? 0 : bx_place_open(plan->place, plan->path, O_PATH | O_DIRECTORY);

    if (fd > 0)
        bx_close(fd);
    return fd >= 0;
}

static int begin_folder(struct receive *s, const struct bx_rec_entry *e, struct bx_err *err)
{
    int r;

    if (!(s->plan->flags & BX_FILE_PARENT) || !*e->name)
        return make_top(s, s->plan->path, true, e, err);
    r = into_dir(s, e, err);
    return r < 0 ? r : enter_folder(s, s->top.dir, s->top.name, e, err);
}

static int begin_tree(struct receive *s, const struct bx_rec_entry *e, struct bx_err *err)
{
    bool dir;
    int r;

    s->begun = true;
    if (s->plan->stream_fd >= 0) {
        if (e->type != BX_FILE_REGULAR)
            return bx_fail(err, BX_EINVALID, 0,
                           "only a file can be written to %.300s, not a folder or a link", s->path);
        return begin_file(s, -1, "", e, err);
    }
    if (e->type == BX_FILE_FOLDER)
        return begin_folder(s, e, err);
    dir = is_dir(s->plan);
    r = dir ? into_dir(s, e, err) : make_top(s, s->plan->path, false, e, err);
    if (r < 0)
        return r;
    if (e->type == BX_FILE_REGULAR)
        return begin_file(s, s->top.dir, s->top.name, e, err);
    r = make_link(s, s->top.dir, s->top.name, e, err);
    s->complete = r == 0;
    return r;
}

/* ---- all of it ---- */

static int on_entry(struct receive *s, const struct bx_rec_entry *e, struct bx_err *err)
{
    int dir = s->depth > 0 ? s->stack[s->depth - 1].fd : -1;
    int r;

    if (s->in_file || s->complete || (s->begun && dir < 0) || e->type == BX_FILE_OTHER ||
        (s->begun && !*e->name))
        return out_of_order("entry", err);
    r = spend(s, ENTRY_COST, err);
    if (r < 0)
        return r;
    if (!s->begun)
        return begin_tree(s, e, err);
    switch (e->type) {
    case BX_FILE_FOLDER:
        return enter_folder(s, dir, e->name, e, err);
    case BX_FILE_LINK:
        return make_link(s, dir, e->name, e, err);
    default:
        return begin_file(s, dir, e->name, e, err);
    }
}

/* 1: END has come. */
static int on_record(struct receive *s, const struct bx_rec *rec, struct bx_err *err)
{
    int r;

    switch (rec->kind) {
    case BX_REC_ENTRY:
        return on_entry(s, &rec->entry, err);
    case BX_REC_DATA:
        return write_data(s, rec, err);
    case BX_REC_CLOSE:
        return close_file(s, rec->size, err);
    case BX_REC_UP:
        return leave_folder(s, err);
    case BX_REC_END:
    default:
        r = bx_rec_outcome(&rec->end, err);
        s->told = r < 0;
        if (r < 0)
            return r;
        s->counts->left_out += rec->end.counts.left_out;
        return s->complete ? 1 : out_of_order("end", err);
    }
}

static void receive_done(struct receive *s)
{
    while (s->depth > 0) {
        struct folder *f = &s->stack[--s->depth];

        if (f->made) /* unfinished, but no secret kept from its owner */
            (void)apply_meta(s, f->fd, f);
        bx_close(f->fd);
    }
    bx_newfile_done(&s->file);
    bx_where_done(&s->top);
    free(s);
}

int bx_receive_tree(const struct bx_receive_plan *plan, int in, struct bx_rec_counts *counts, bool *ret_told,
                    struct bx_err *err)
{
    struct receive *s = calloc(1, sizeof(*s));
    struct bx_rec_in records;
    struct bx_rec rec;
    int r;

    if (!s)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "write %.300s", plan->path);
    s->plan = plan;
    s->counts = counts;
    s->top = BX_WHERE_INIT;
    s->file = BX_NEWFILE_INIT;
    s->path_len = BX_MIN(strlen(plan->path), sizeof(s->path) - 1);
    memcpy(s->path, plan->path, s->path_len);
    bx_rec_in_init(&records, in);
    do {
        r = bx_rec_in_next(&records, &rec, err);
        if (r == 0)
            r = bx_fail(err, BX_ETRANSPORT, 0, "%.300s: the transfer was broken off", s->path);
        else if (r > 0)
            r = on_record(s, &rec, err);
    } while (r == 0);
    *ret_told = s->told;
    bx_rec_in_done(&records);
    receive_done(s);
    return r < 0 ? r : 0;
}
