/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template_evict.h - which templates are worth their space, and the end of those that are not.
 *
 * A template is a cache of some seconds of work and of tens to hundreds of MiB, so any of them may go at any
 * time: boxes that run on it hold it open, a start that wanted it makes it anew. When it was used last is the
 * time of its directory (bx_template_open sets it). What goes, first to last:
 *
 *  - superseded: made of another kernel, initramfs, QEMU or library (or for a disk that was made again) than a
 *    template of the same shape and disk that was used later, and not used for a day: two versions that share a
 *    home keep theirs;
 *  - idle: not used for 30 days (`days` of the configuration);
 *  - too much: all together hold more than 2 GiB (`limit`): the ones that were not used longest.
 *
 * One that was used within the last minute stays: a start may be on its way to it.
 */
#ifndef BX_VM_TEMPLATE_EVICT_H
#define BX_VM_TEMPLATE_EVICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "vm/shape.h"

struct bx_template_use {
    char name[BX_VM_NAME_MAX];
    char disk[96];    /* file name under disks/ that is mounted in it, "" = blank */
    char disk_id[24]; /* of that file when it was made */
    uint64_t bytes;   /* allocated */
    int64_t used_ns;  /* unix time */
    bool evict;       /* bx_templates_choose: it is to go */
};

struct bx_template_limits {
    uint64_t bytes;
    int64_t idle_ns;
    int64_t superseded_ns; /* how long one of these is kept unused */
    int64_t recent_ns;
};
#define BX_TEMPLATES_BYTES (2ull << 30)
#define BX_TEMPLATE_LIMITS_DEFAULT                                                                           \
    ((struct bx_template_limits){BX_TEMPLATES_BYTES, 30 * 86400 * 1000000000ll, 86400 * 1000000000ll,        \
                                 60 * 1000000000ll})

/* All templates of a directory; *ret is freed with free. At most 4096 are looked at. 0 or negative. */
int bx_templates_list(int templates_fd, struct bx_template_use **ret, size_t *ret_n, struct bx_err *err);

/* Marks those that are to go, besides those marked already. `spare` (NULL: none) stays. Pure. */
void bx_templates_choose(struct bx_template_use *v, size_t n, const struct bx_template_limits *limits,
                         int64_t now_ns, const char *spare);

/* Removes one unless it is being made just now (-BX_ESTATE). Missing is fine. */
int bx_template_evict(int templates_fd, const char *name, struct bx_err *err);

/* All of it: at most `max` are removed. How many were, or negative. For whoever has published a template and
 * whom nobody waits for any more. */
int bx_templates_evict(int templates_fd, const struct bx_template_limits *limits, const char *spare,
                       unsigned max, struct bx_err *err);

#endif
