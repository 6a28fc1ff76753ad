/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path.h - paths: opening inside a root, making directories, joining. -errno on failure.
 */
#ifndef BX_BASE_PATH_H
#define BX_BASE_PATH_H

#include <sys/stat.h>
#include <sys/types.h>

/* openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS): links and ".." cannot leave rootfd. Descriptor or -errno.
 * O_CLOEXEC is added. */
int bx_open_in_root(int rootfd, const char *path, int flags, mode_t mode);

/* openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS): our own trees, no link at all. */
int bx_open_beneath(int dirfd, const char *path, int flags, mode_t mode);

/* mkdir of `path` and its missing parents, mode as given; existing directories are fine. 0 or -errno. */
int bx_mkdir_p(const char *path, mode_t mode);
int bx_mkdirat_p(int dirfd, const char *path, mode_t mode);

/* Removes a tree under dirfd without following links; missing is fine. */
int bx_rm_rf(int dirfd, const char *name);

/* Heap: "a/b" from "a", "b" (no double slash). NULL when out of memory. */
char *bx_path_join(const char *a, const char *b);

/* Creates and opens an unnamed or uniquely named temporary file in dirfd; name in ret_name (size >= 32). */
int bx_tmpfile_at(int dirfd, const char *prefix, mode_t mode, char *ret_name, size_t size);

/* AF_UNIX stream sockets at paths of any length (through /proc/self/fd). Non-blocking, close-on-exec. fd or -errno. */
int bx_unix_listen(int dirfd, const char *name, int backlog);
int bx_unix_connect(int dirfd, const char *name);

#endif
