/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blob.c - the blob store: <home>/blobs/sha256/<hex>, files named by their content and never written again.
 *
 * Whoever makes a blob writes and verifies it in a temporary file; publishing links it under its name, which is atomic and leaves an
 * existing blob alone. So no lock is needed, and a crash leaves only a temporary file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/path.h"
#include "image/manifest.h"
#include "image/reference.h"

/* "sha256/<hex>" of a digest; false when it is none. */
static bool blob_name(const char *digest, char *dst, size_t size)
{
    if (!bx_digest_valid(digest))
        return false;
    snprintf(dst, size, "sha256/%s", digest + sizeof("sha256:") - 1);
    return true;
}

int bx_blob_open(int blobs_dirfd, const char *digest, struct bx_err *err)
{
    char name[80];
    if (!blob_name(digest, name, sizeof(name)))
        return bx_fail(err, BX_EINVALID, 0, "not a digest: %.80s", digest);
    int fd = bx_open_beneath(blobs_dirfd, name, O_RDONLY, 0);
    if (fd == -ENOENT)
        return bx_fail(err, BX_ENOTFOUND, 0, "blob %s is not in the store", digest);
    if (fd < 0)
        return bx_fail(err, BX_ESTORAGE, -fd, "open blob %s", digest);
    return fd;
}

bool bx_blob_exists(int blobs_dirfd, const char *digest)
{
    char name[80];
    return blob_name(digest, name, sizeof(name)) && faccessat(blobs_dirfd, name, F_OK, 0) == 0;
}

int bx_blob_publish(int blobs_dirfd, int tmp_dirfd, const char *tmp_name, const char *digest, struct bx_err *err)
{
    char name[80];
    if (!blob_name(digest, name, sizeof(name)))
        return bx_fail(err, BX_EINVALID, 0, "not a digest: %.80s", digest);
    int r = bx_mkdirat_p(blobs_dirfd, "sha256", 0755);
    if (r < 0)
        return bx_fail(err, BX_ESTORAGE, -r, "make the blob store's directory");
    if (fchmodat(tmp_dirfd, tmp_name, 0444, 0) < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "publish blob %s", digest);
    if (linkat(tmp_dirfd, tmp_name, blobs_dirfd, name, 0) < 0 && errno != EEXIST)
        return bx_fail(err, BX_ESTORAGE, errno, "publish blob %s", digest);
    unlinkat(tmp_dirfd, tmp_name, 0);
    bx_cleanup_close int dir = openat(blobs_dirfd, "sha256", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r = dir < 0 ? -errno : bx_fsync_dir(dir);
    return r < 0 ? bx_fail(err, BX_ESTORAGE, -r, "publish blob %s", digest) : 0;
}

int bx_blob_read(int blobs_dirfd, const char *digest, size_t max, char **ret_data, size_t *ret_len, struct bx_err *err)
{
    bx_cleanup_close int fd = bx_blob_open(blobs_dirfd, digest, err);
    if (fd < 0)
        return fd;
    int r = bx_read_fd(fd, max, ret_data, ret_len);
    if (r == -EFBIG)
        return bx_fail(err, BX_EIMAGE, 0, "blob %s is larger than the %zu bytes allowed for what it is", digest, max);
    return r < 0 ? bx_fail(err, BX_ESTORAGE, -r, "read blob %s", digest) : 0;
}
