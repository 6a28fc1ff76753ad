/* SPDX-License-Identifier: Apache-2.0 */
/* newfile.c - see newfile.h. */
#include "files/newfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

/* For the handler: set before the name exists, cleared when it is gone. */
static struct bx_newfile *volatile named;

static void make_name(char tmp[40])
{
    char id[BX_ID_LEN + 1];

    bx_random_id(id);
    snprintf(tmp, 40, ".boxlite-%s.tmp", id);
}

static bool knows_no_tmpfile(int error)
{
    return error == EOPNOTSUPP || error == EISDIR || error == EINVAL || error == ENOENT;
}

int bx_newfile_open(struct bx_newfile *f, int dir)
{
    *f = (struct bx_newfile){.dir = dir};
    f->fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (f->fd >= 0)
        return 0;
    if (!knows_no_tmpfile(errno))
        return -errno;
    make_name(f->tmp);
    named = f;
    f->fd = openat(dir, f->tmp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (f->fd >= 0)
        return 0;
    named = NULL;
    f->tmp[0] = '\0';
    return -errno;
}

/* By its descriptor where we may, else by the name that /proc has for it. */
static int link_as(const struct bx_newfile *f, const char *name)
{
    char path[32];

    if (linkat(f->fd, "", f->dir, name, AT_EMPTY_PATH) == 0)
        return 0;
    if (errno != ENOENT)
        return -errno;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", f->fd);
    return linkat(AT_FDCWD, path, f->dir, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int forget_name(struct bx_newfile *f, int r)
{
    if (r < 0)
        (void)unlinkat(f->dir, f->tmp, 0);
    f->tmp[0] = '\0';
    named = NULL;
    return r;
}

/* The content goes into what is there: a file that something is mounted on has no other way. */
static int fill(const struct bx_newfile *f, const char *name)
{
    bx_cleanup_close int to =
        openat(f->dir, name, O_WRONLY | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    static char piece[65536];
    struct stat st;
    ssize_t n;

    if (to < 0 || fstat(to, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EBUSY;
    if (lseek(f->fd, 0, SEEK_SET) < 0)
        return -errno;
    do {
        n = read(f->fd, piece, sizeof(piece));
        if (n > 0 && bx_write_full(to, piece, (size_t)n) < 0)
            return -EIO;
    } while (n > 0);
    return n < 0 ? -errno : 0;
}

static int replace(struct bx_newfile *f, const char *name)
{
    int r;

    if (!f->tmp[0]) {
        make_name(f->tmp);
        named = f;
        r = link_as(f, f->tmp);
        if (r < 0)
            return forget_name(f, r);
    }
    if (renameat(f->dir, f->tmp, f->dir, name) == 0)
        return forget_name(f, 0);
    r = -errno;
    forget_name(f, r);
    return r == -EBUSY ? fill(f, name) : r;
}

int bx_newfile_publish(struct bx_newfile *f, const char *name, bool overwrite)
{
    int r;

    if (!f->tmp[0])
        r = link_as(f, name);
    else if (renameat2(f->dir, f->tmp, f->dir, name, RENAME_NOREPLACE) == 0)
        return forget_name(f, 0);
    else
        r = errno == EINVAL ? -EEXIST : -errno; /* of a file system without that flag: look no further */
    if (r == -EEXIST && overwrite)
        r = replace(f, name);
    return r;
}

void bx_newfile_done(struct bx_newfile *f)
{
    if (f->tmp[0])
        forget_name(f, -ECANCELED);
    f->fd = bx_close(f->fd);
}

int bx_newlink(int dir, const char *name, const char *target, bool overwrite)
{
    char tmp[40];
    int r;

    if (symlinkat(target, dir, name) == 0)
        return 0;
    if (errno != EEXIST || !overwrite)
        return -errno;
    make_name(tmp);
    if (symlinkat(target, dir, tmp) < 0)
        return -errno;
    r = renameat(dir, tmp, dir, name) < 0 ? -errno : 0;
    if (r < 0)
        (void)unlinkat(dir, tmp, 0);
    return r;
}

void bx_newfile_interrupted(void)
{
    if (named && named->tmp[0])
        (void)unlinkat(named->dir, named->tmp, 0);
}
