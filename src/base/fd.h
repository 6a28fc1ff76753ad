/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fd.h - descriptors: close-on-exec at birth, whole reads and writes, files that appear at once.
 *
 * All functions return 0 (or what they say) or -errno.
 */
#ifndef BX_BASE_FD_H
#define BX_BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/mem.h"

/* Closes fd when >= 0, keeps errno, returns -1: `fd = bx_close(fd);`. */
int bx_close(int fd);

static inline void bx_close_p(int *fd)
{
    bx_close(*fd);
}
#define bx_cleanup_close BX_CLEANUP(bx_close_p)

/* Sets or clears O_NONBLOCK / FD_CLOEXEC. */
int bx_fd_nonblock(int fd, bool on);
int bx_fd_cloexec(int fd, bool on);

/* Writes all of buf, through EINTR and short writes (blocking descriptors). 0 or -errno. */
int bx_write_full(int fd, const void *buf, size_t len);
int bx_pwrite_full(int fd, const void *buf, size_t len, off_t off);

/* Reads exactly len bytes; -EPIPE when the end comes first. */
int bx_read_full(int fd, void *buf, size_t len);
int bx_pread_full(int fd, void *buf, size_t len, off_t off);
/* All of a regular file into an empty one, sharing blocks where the file system can. 0 or -errno. */
int bx_copy_file(int from, int to);

/* Reads the whole file `name` under dirfd into a new NUL-terminated buffer; refuses more than `max` bytes
 * with -EFBIG. Caller frees *ret_data. ret_len may be NULL. */
int bx_read_file(int dirfd, const char *name, size_t max, char **ret_data, size_t *ret_len);

/* Same from an open descriptor, from its current position. */
int bx_read_fd(int fd, size_t max, char **ret_data, size_t *ret_len);

/* Replaces `name` under dirfd with data, atomically: temporary file, fsync, rename. */
int bx_write_file_atomic(int dirfd, const char *name, const void *data, size_t len, mode_t mode);

/* fsync of a directory, so that names created in it survive a crash. */
int bx_fsync_dir(int dirfd);

/* A sealed memfd (no write, no resize) with this content, offset 0. Returns the descriptor or -errno. */
int bx_memfd_sealed(const char *name, const void *data, size_t len);

/* Closes every descriptor >= first. Uses close_range where there is one. */
int bx_close_from(int first);

#endif
