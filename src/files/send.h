/* SPDX-License-Identifier: Apache-2.0 */
/* send.h - a tree as records. */
#ifndef BX_FILES_SEND_H
#define BX_FILES_SEND_H

#include <sys/stat.h>

#include "files/out.h"
#include "files/place.h"

/*
 * Sends what `path` is, with what is in it. BX_FILE_FOLLOW, BX_FILE_RECURSIVE. Only files, folders and links
 * are sent; of the rest in a tree, and of proc, sysfs and their like that are mounted in it, is counted in
 * left_out; at `path` itself they are an error. Blocking. 0 or negative with err; not even then END
 * (bx_rec_out_end).
 */
int bx_send_tree(const struct bx_place *p, const char *path, unsigned flags, struct bx_rec_out *out,
                 struct bx_rec_counts *counts, struct bx_err *err);

/* Sends what comes from an open descriptor as one file without a name: ENTRY, DATA, CLOSE. */
int bx_send_stream(int fd, struct bx_rec_out *out, struct bx_rec_counts *counts, struct bx_err *err);

/* One entry from what fstatat said; `link` is its target when it is a link. 0 or -errno. */
int bx_send_entry(struct bx_rec_out *out, const struct stat *st, const char *name, const char *link);

/* Failure of a system call about a path: not found, exists, or the file system's. */
int bx_files_fail(struct bx_err *err, int error, const char *what, const char *path);

#endif
