/* SPDX-License-Identifier: Apache-2.0 */
/* lease.c - the image lease: see lease.h. */
#include "runtime/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <unistd.h>

#define LEASE_NAME     "lease"
#define LEASE_DEADLINE (5 * BX_SEC)
/* A lock is let go of a moment after the close that inotify tells of. */
#define LEASE_RETRY_MS 5

static int open_lease(struct CBoxliteRuntime *rt, struct bx_err *err)
{
    int fd = openat(rt->blobs_fd, LEASE_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    return fd < 0 ? bx_fail(err, BX_ESTORAGE, errno, "open %s/blobs/" LEASE_NAME, rt->home) : fd;
}

/* Waits until a collector has closed the lease, or for the deadline. 0, or negative. */
static int wait_for_collector(struct CBoxliteRuntime *rt, int fd, struct bx_err *err)
{
    bx_cleanup_close int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    int64_t deadline = bx_now() + LEASE_DEADLINE, left;
    struct pollfd p = {.fd = watch, .events = POLLIN};
    char path[32], buf[4096];
    bool closed = false;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (watch < 0 || inotify_add_watch(watch, path, IN_CLOSE) < 0)
        return bx_fail(err, BX_ERESOURCE, errno, "watch %s/blobs/" LEASE_NAME, rt->home);
    while (flock(fd, LOCK_SH | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return bx_fail(err, BX_ESTORAGE, errno, "lock %s/blobs/" LEASE_NAME, rt->home);
        left = deadline - bx_now();
        if (left <= 0)
            return bx_fail(err, BX_ESTATE, 0,
                           "another program has been collecting the garbage of %s for too long", rt->home);
        if (poll(&p, 1, closed ? LEASE_RETRY_MS : (int)(left / BX_MSEC) + 1) < 0 && errno != EINTR)
            return bx_fail(err, BX_EINTERNAL, errno, "wait for %s/blobs/" LEASE_NAME, rt->home);
        closed = read(watch, buf, sizeof(buf)) > 0 || closed;
    }
    return 0;
}

int bx_image_lease(struct CBoxliteRuntime *rt, struct bx_err *err)
{
    bx_cleanup_close int fd = open_lease(rt, err);
    int r;

    if (fd < 0)
        return fd;
    if (flock(fd, LOCK_SH | LOCK_NB) < 0) {
        r = wait_for_collector(rt, fd, err);
        if (r < 0)
            return r;
    }
    return BX_TAKE_FD(fd);
}

int bx_image_lease_exclusive(struct CBoxliteRuntime *rt, struct bx_err *err)
{
    bx_cleanup_close int fd = open_lease(rt, err);

    if (fd < 0)
        return fd;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return BX_TAKE_FD(fd);
    if (errno == EWOULDBLOCK)
        return bx_fail(err, BX_ESTATE, 0, "an image is being added");
    return bx_fail(err, BX_ESTORAGE, errno, "lock %s/blobs/" LEASE_NAME, rt->home);
}
