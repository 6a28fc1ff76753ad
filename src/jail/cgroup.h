/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.h - a control group for one box, where the host lets us have one (v2, or the v1 hierarchies, or none).
 */
#ifndef BX_JAIL_CGROUP_H
#define BX_JAIL_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

struct bx_err;

struct bx_cgroup_limits {
    uint64_t memory_max; /* bytes, 0 = none */
    uint64_t pids_max;   /* 0 = none */
    unsigned cpus;       /* whole CPUs of bandwidth, 0 = none */
};

#define BX_CGROUP_DIRS 3 /* v1: memory, pids, cpu; v2: one */

struct bx_cgroup {
    int version; /* 2, 1, or 0 = none */
    unsigned n;
    char *dirs[BX_CGROUP_DIRS]; /* absolute, heap */
    int procs[BX_CGROUP_DIRS];  /* cgroup.procs, write-only */
    int why;                    /* errno, when version is 0 */
    unsigned limits;            /* bit 0 memory, 1 pids, 2 cpu: those that hold */
};
#define BX_CGROUP_INIT ((struct bx_cgroup){ .procs = { -1, -1, -1 } })

/* Makes "boxlite-<name>" below our own cgroup. Never fails for want of rights: version is 0 then and `why` says why.
 * Negative only when out of memory. */
int bx_cgroup_make(const char *name, const struct bx_cgroup_limits *limits, struct bx_cgroup *ret, struct bx_err *err);

/* Removes the groups (best effort: they must be empty) and frees. */
void bx_cgroup_done(struct bx_cgroup *c);

/* Is there a process in each of its groups? A v1 group is joined a little after the spawn (jail/child.c). */
bool bx_cgroup_joined(const struct bx_cgroup *c);

/* CPU time of the group in ns and its present memory in bytes; -errno when not to be had. */
int bx_cgroup_usage(const struct bx_cgroup *c, uint64_t *ret_cpu_ns, uint64_t *ret_memory);

#endif
