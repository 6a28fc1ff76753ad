/* SPDX-License-Identifier: Apache-2.0 */
/*
 * save_out.c - writing a saved image.
 *
 * A folder or archive is made beside its place under a name of ours and renamed when it is whole and on the disk. An empty
 * folder that is there already is filled: what was made inside it moves up, index.json last. A stream (a descriptor of the
 * host program, a pipe or device with a name) is written as it comes, never more than the reader takes: pipes are asked
 * before each piece of PIPE_BUF bytes, so that nothing is changed about a descriptor that is somebody else's.
 */
#include "runtime/save_out.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "image/tar_head.h"
#include "runtime/given.h"

#define PENDING_MAX (8u * 1024 * 1024)
#define COPY_STEP   (4u * 1024 * 1024)
#define READ_STEP   (256u * 1024)

enum kind { FOLDER, ARCHIVE, STREAM };

struct bx_save_out {
    enum kind kind;
    char *path;    /* as it was given */
    int parent_fd; /* where tmp is made: beside the place, or in the folder that is there */
    char *base;    /* name of the place in it; NULL: the folder itself is the place */
    char tmp[40];  /* "": none */
    int top_fd;    /* FOLDER: tmp */
    int fd;        /* what is written */
    bool is_socket, is_pipe;
    bool no_range; /* copy_file_range does not do here */
    bool unsynced;
    uint64_t size; /* of the file that was begun */
    struct bx_buf pending;
};

/* ---- opening ---- */

static int fail_write(const struct bx_save_out *o, int error, struct bx_err *err)
{
    if (error == EPIPE)
        return bx_fail(err, BX_ESTORAGE, 0, "nobody reads %.200s any more", o->path);
    return bx_fail(err, BX_ESTORAGE, error, "write %.200s", o->path);
}

static int make_tmp(struct bx_save_out *o, struct bx_err *err)
{
    char id[BX_ID_LEN + 1];

    bx_random_id(id);
    snprintf(o->tmp, sizeof(o->tmp), ".boxlite-save-%s", id);
    if (o->kind == ARCHIVE) {
        o->fd = openat(o->parent_fd, o->tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (o->fd >= 0)
            return 0;
    } else if (mkdirat(o->parent_fd, o->tmp, 0777) == 0) {
        o->top_fd = openat(o->parent_fd, o->tmp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (o->top_fd >= 0 && mkdirat(o->top_fd, "blobs", 0777) == 0 && mkdirat(o->top_fd, "blobs/sha256", 0777) == 0)
            return 0;
    }
    return fail_write(o, errno, err);
}

/* Where the place is, and what it is called there. A link to a file leads to the file. */
static int find_place(struct bx_save_out *o, struct bx_err *err)
{
    bx_cleanup_free char *real = realpath(o->path, NULL), *parent = NULL;
    char *slash;
    size_t len;

    parent = bx_strf("%s", real ? real : o->path);
    if (!parent)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "save an image");
    for (len = strlen(parent); len > 1 && parent[len - 1] == '/'; len--)
        parent[len - 1] = '\0';
    slash = strrchr(parent, '/');
    o->base = bx_strf("%s", slash ? slash + 1 : parent);
    if (!o->base)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "save an image");
    if (!*o->base || bx_streq(o->base, ".") || bx_streq(o->base, ".."))
        return bx_fail(err, BX_EINVALID, 0, "%.200s is no name for a new file", o->path);
    if (slash)
        slash[slash == parent] = '\0';
    o->parent_fd = open(slash ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return o->parent_fd < 0 ? bx_fail(err, BX_ESTORAGE, errno, "open %.200s", slash ? parent : ".") : 0;
}

static int open_stream(struct bx_save_out *o, int fd, struct bx_err *err)
{
    struct stat st;

    o->kind = STREAM;
    o->fd = fd;
    if (fd < 0 || fstat(fd, &st) < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "open %.200s", o->path);
    if (S_ISDIR(st.st_mode) || (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY)
        return bx_fail(err, BX_EINVALID, 0, "%.200s cannot be written to", o->path);
    o->is_socket = S_ISSOCK(st.st_mode);
    o->is_pipe = S_ISFIFO(st.st_mode);
    return 0;
}

/* 1: nothing is in it, 0: something. */
static int is_empty(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *e;
    int r = 1;

    if (!d)
        return -errno;
    while (r == 1 && (errno = 0, e = readdir(d)))
        r = bx_streq(e->d_name, ".") || bx_streq(e->d_name, "..");
    if (r == 1 && errno)
        r = -errno;
    closedir(d);
    return r;
}

static int open_folder(struct bx_save_out *o, struct bx_err *err)
{
    int r = is_empty(o->path);

    o->kind = FOLDER;
    if (r == 0)
        return bx_fail(err, BX_EEXISTS, 0, "%.200s is not empty: save into a new folder, or an empty one", o->path);
    if (r > 0)
        o->parent_fd = open(o->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r < 0 || o->parent_fd < 0)
        return bx_fail(err, BX_ESTORAGE, r < 0 ? -r : errno, "open %.200s", o->path);
    return 0;
}

static int open_place(struct bx_save_out *o, const char *format, struct bx_err *err)
{
    bool want_folder = bx_streq(format, "oci-dir"), want_archive = bx_streq(format, "oci-archive");
    struct stat st;

    if (bx_given_number(o->path) >= 0) {
        if (want_folder)
            return bx_fail(err, BX_EINVALID, 0, "%s is no folder", o->path);
        return open_stream(o, fcntl(bx_given_number(o->path), F_DUPFD_CLOEXEC, 3), err);
    }
    if (stat(o->path, &st) < 0) {
        if (errno != ENOENT)
            return bx_fail(err, BX_ESTORAGE, errno, "%.200s", o->path);
        o->kind = want_folder || (!want_archive && bx_ends_with(o->path, "/")) ? FOLDER : ARCHIVE;
        return find_place(o, err);
    }
    if (S_ISDIR(st.st_mode))
        return want_archive ? bx_fail(err, BX_EINVALID, 0, "%.200s is a folder", o->path) : open_folder(o, err);
    if (want_folder)
        return bx_fail(err, BX_EEXISTS, 0, "%.200s is there already, and no folder", o->path);
    if (!S_ISREG(st.st_mode))
        return open_stream(o, open(o->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC), err);
    o->kind = ARCHIVE;
    return find_place(o, err);
}

int bx_save_out_open(const char *path, const char *format, struct bx_save_out **ret, struct bx_err *err)
{
    struct bx_save_out *o = calloc(1, sizeof(*o));
    int r = 0;

    if (!o)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "save an image");
    o->parent_fd = o->top_fd = o->fd = -1;
    bx_buf_init(&o->pending, PENDING_MAX);
    o->path = bx_strf("%s", path);
    if (!o->path)
        r = bx_fail(err, BX_ERESOURCE, ENOMEM, "save an image");
    else if ((r = open_place(o, format, err)) == 0 && o->kind != STREAM)
        r = make_tmp(o, err);
    if (r < 0) {
        bx_save_out_free(o);
        return r;
    }
    *ret = o;
    return 0;
}

void bx_save_out_free(struct bx_save_out *o)
{
    if (!o)
        return;
    bx_close(o->fd);
    bx_close(o->top_fd);
    if (o->tmp[0])
        (void)bx_rm_rf(o->parent_fd, o->tmp);
    bx_close(o->parent_fd);
    bx_buf_done(&o->pending);
    free(o->base);
    free(o->path);
    free(o);
}

/* ---- writing ---- */

/* A pipe whose reader has gone costs an error, not the host program's life. */
static ssize_t write_pipe(int fd, const void *data, size_t len)
{
    const struct timespec now = {0};
    sigset_t pipe_set, old, pending;
    bool was_pending;
    ssize_t n;
    int error;

    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    sigpending(&pending);
    was_pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_set, &old);
    n = write(fd, data, len);
    error = errno;
    if (n < 0 && error == EPIPE && !was_pending)
        while (sigtimedwait(&pipe_set, NULL, &now) < 0 && errno == EINTR)
            ;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    errno = error;
    return n;
}

/* How many bytes; 0 when it takes none now. */
static ssize_t write_some(struct bx_save_out *o, const void *data, size_t len)
{
    struct pollfd p = {.fd = o->fd, .events = POLLOUT};
    ssize_t n;

    if (o->kind == STREAM && poll(&p, 1, 0) == 0)
        return 0;
    if (o->is_socket)
        n = send(o->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    else if (o->kind == STREAM)
        n = write_pipe(o->fd, data, o->is_pipe ? BX_MIN(len, (size_t)PIPE_BUF) : len);
    else
        n = write(o->fd, data, len);
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : n;
}

int bx_save_out_push(struct bx_save_out *o, struct bx_err *err)
{
    while (bx_buf_len(&o->pending) > 0) {
        ssize_t n = write_some(o, bx_buf_data(&o->pending), bx_buf_len(&o->pending));

        if (n < 0)
            return fail_write(o, errno, err);
        if (n == 0)
            return 0;
        bx_buf_consume(&o->pending, (size_t)n);
    }
    return 1;
}

int bx_save_out_add(struct bx_save_out *o, const void *data, size_t len, struct bx_err *err)
{
    return bx_buf_add(&o->pending, data, len) < 0 ? bx_fail(err, BX_ERESOURCE, ENOMEM, "save an image") : 0;
}

int bx_save_out_begin(struct bx_save_out *o, const char *name, uint64_t size, struct bx_err *err)
{
    uint8_t head[BX_TAR_HEAD_MAX];

    o->size = size;
    if (o->kind != FOLDER)
        return bx_save_out_add(o, head, bx_tar_head(head, name, size), err);
    o->fd = openat(o->top_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    return o->fd < 0 ? fail_write(o, errno, err) : 0;
}

static ssize_t copy_range(struct bx_save_out *o, int in, uint64_t at, uint64_t len)
{
    off_t from = (off_t)at;
    ssize_t n = -1;

    if (o->kind == STREAM || o->no_range)
        return 0;
    do {
        n = copy_file_range(in, &from, o->fd, NULL, (size_t)BX_MIN(len, (uint64_t)COPY_STEP), 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS)) {
        o->no_range = true; /* between file systems of two kinds */
        return 0;
    }
    return n;
}

ssize_t bx_save_out_copy(struct bx_save_out *o, int in, uint64_t at, uint64_t len, struct bx_err *err)
{
    ssize_t n = copy_range(o, in, at, len);
    uint8_t *room;

    if (n < 0)
        return fail_write(o, errno, err);
    if (n > 0)
        return n;
    room = bx_buf_reserve(&o->pending, READ_STEP);
    if (!room)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "save an image");
    n = pread(in, room, (size_t)BX_MIN(len, (uint64_t)READ_STEP), (off_t)at);
    if (n <= 0)
        return bx_fail(err, BX_ESTORAGE, n < 0 ? errno : EIO, "read what is to be saved");
    bx_buf_commit(&o->pending, (size_t)n);
    return n;
}

int bx_save_out_end(struct bx_save_out *o, struct bx_err *err)
{
    static const uint8_t zeros[BX_TAR_BLOCK];

    if (o->kind != FOLDER)
        return bx_save_out_add(o, zeros, bx_tar_padding(o->size), err);
    o->unsynced = true;
    return 0;
}

int bx_save_out_finish(struct bx_save_out *o, struct bx_err *err)
{
    static const uint8_t zeros[BX_TAR_END];

    o->unsynced = o->kind == ARCHIVE;
    return o->kind == FOLDER ? 0 : bx_save_out_add(o, zeros, sizeof(zeros), err);
}

int bx_save_out_fd(const struct bx_save_out *o)
{
    return o->fd;
}

bool bx_save_out_unsynced(const struct bx_save_out *o)
{
    return o->unsynced;
}

void bx_save_out_synced(struct bx_save_out *o)
{
    o->unsynced = false;
    if (o->kind == FOLDER)
        o->fd = bx_close(o->fd);
}

/* ---- its name ---- */

static int sync_folder(struct bx_save_out *o)
{
    static const char *const names[] = {"blobs/sha256", "blobs", "."};
    int r = 0;

    for (size_t i = 0; i < BX_ARRAY_SIZE(names) && r == 0; i++) {
        bx_cleanup_close int fd = openat(o->top_fd, names[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        r = fd < 0 ? -errno : bx_fsync_dir(fd);
    }
    return r;
}

static int fill_folder(struct bx_save_out *o)
{
    static const char *const names[] = {"blobs", "oci-layout", "index.json"};

    for (size_t i = 0; i < BX_ARRAY_SIZE(names); i++)
        if (renameat(o->top_fd, names[i], o->parent_fd, names[i]) < 0)
            return -errno;
    return 0;
}

int bx_save_out_publish(struct bx_save_out *o, struct bx_err *err)
{
    int r = 0;

    if (o->kind == STREAM)
        return 0;
    if (o->kind == FOLDER)
        r = sync_folder(o);
    if (r == 0 && o->base)
        r = renameat(o->parent_fd, o->tmp, o->parent_fd, o->base) < 0 ? -errno : 0;
    else if (r == 0)
        r = fill_folder(o);
    if (r == 0 && o->base)
        o->tmp[0] = '\0';
    if (r == 0)
        r = bx_fsync_dir(o->parent_fd);
    return r < 0 ? fail_write(o, -r, err) : 0;
}
