/* SPDX-License-Identifier: Apache-2.0 */
/* receive.h - records become a tree. */
#ifndef BX_FILES_RECEIVE_H
#define BX_FILES_RECEIVE_H

#include "files/place.h"

struct bx_receive_plan {
    const struct bx_place *place;
    const char *path;   /* what it is to be, or be in: see the rules below */
    int stream_fd;      /* not -1: one file's bytes go there, and path is only its name for messages */
    unsigned flags;     /* BX_FILE_OVERWRITE, _PARENT, _OWNER, _ALL_LINKS, _SAFE_MODE */
    uint64_t max_bytes; /* 0: any number; each file, folder and link counts 512 beside its bytes */
    bool sync;          /* a single file is on the disk before it has its name */
};

/*
 * Reads a tree and its END from `in` and makes it. Blocking.
 *
 *  A file or link goes into `path` when that is a folder or ends like one ("a/", which is made), else it
 * becomes `path`. A folder comes to be in `path` under its own name (BX_FILE_PARENT), else its content does.
 * Folders that are missing on the way are made. Folders that are there are filled, and stay as they are
 * otherwise; files are replaced at once, when they are whole, or not at all.
 *
 *  Whoever sent them, records cannot make anything outside of that place: names are single components, and
 * every step is from a descriptor, following no link. Unless BX_FILE_ALL_LINKS, a link that leads out of the
 * tree (is absolute, or goes up further than the tree is deep) is not made but counted in left_out.
 *
 * 0 or negative with err; *ret_told: it is what END told, the sender's. counts: as far as it went.
 */
int bx_receive_tree(const struct bx_receive_plan *plan, int in, struct bx_rec_counts *counts, bool *ret_told,
                    struct bx_err *err);

/* Records from a blocking descriptor. 1, 0 at the end of the lane, negative with err. */
struct bx_rec_in {
    int fd;
    struct bx_buf buf;
    size_t used; /* of buf: the record shown last */
};
void bx_rec_in_init(struct bx_rec_in *in, int fd);
void bx_rec_in_done(struct bx_rec_in *in);
int bx_rec_in_next(struct bx_rec_in *in, struct bx_rec *ret, struct bx_err *err);

/* Pure: does a link in a folder that is `depth` deep in a tree (0: its top) stay in the tree, whatever links
 * like it are on the way? */
bool bx_link_stays(const char *target, unsigned depth);

#endif
