/* SPDX-License-Identifier: Apache-2.0 */
/* members.h - what `boxlite-unpack scan` found in an archive (private). */
#ifndef BX_RUNTIME_MEMBERS_H
#define BX_RUNTIME_MEMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct bx_member {
    char *name;
    char *link;        /* target of a link, else NULL */
    uint64_t at, size; /* in the spool file */
    char digest[72];
};

struct bx_members {
    struct bx_member *items;
    size_t count, cap;
};

/* Reads the lines (unpack/status.h). */
int bx_members_parse(struct bx_members *m, const char *text, size_t len, struct bx_err *err);
void bx_members_done(struct bx_members *m);

/* A file by its content, or NULL. */
const struct bx_member *bx_members_by_digest(const struct bx_members *m, const char *digest);
/* A file by name; through one link where through_link (old `docker save` links layers that are alike).
 * NULL. */
const struct bx_member *bx_members_by_name(const struct bx_members *m, const char *name, bool through_link);
/* The content of a small file: heap, NUL-terminated. */
int bx_members_read(int spool_fd, const struct bx_member *m, char **ret, struct bx_err *err);

/* The next word of a line, cut off at its space; "" at the end. For lines of our own programs. */
char *bx_word(char **line);

#endif
