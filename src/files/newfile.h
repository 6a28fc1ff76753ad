/* SPDX-License-Identifier: Apache-2.0 */
/*
 * newfile.h - a file that gets its name when it is whole.
 *
 * Until then it has none (O_TMPFILE), so that nothing is left of it however its writer ends; where the file
 * system knows no such files it has one of ours, which bx_newfile_done and bx_newfile_interrupted remove.
 */
#ifndef BX_FILES_NEWFILE_H
#define BX_FILES_NEWFILE_H

#include <stdbool.h>

#include "base/err.h"

struct bx_newfile {
    int dir;      /* borrowed */
    int fd;       /* for reading and writing */
    char tmp[40]; /* its name meanwhile, "" for none */
};
#define BX_NEWFILE_INIT ((struct bx_newfile){.dir = -1, .fd = -1})

/* In the folder `dir` (O_PATH will do). Mode 0600. 0 or -errno. */
int bx_newfile_open(struct bx_newfile *f, int dir);
/*
 * Gives it the name `name` in its folder. What has that name already is replaced (overwrite) or stays,
 * -EEXIST. -EISDIR: it is a folder. A name that cannot be replaced because something is mounted on it gets
 * the new content instead.
 */
int bx_newfile_publish(struct bx_newfile *f, const char *name, bool overwrite);
void bx_newfile_done(struct bx_newfile *f);

/* A link that appears or replaces at once. -EEXIST, -EISDIR as above. */
int bx_newlink(int dir, const char *name, const char *target, bool overwrite);

/* Of a signal handler: removes the one that is being written, if it has a name. */
void bx_newfile_interrupted(void);

#endif
