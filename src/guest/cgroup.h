/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.h - the control groups of a machine.
 *
 *   /sys/fs/cgroup/agent      the agent and the container's reaper, their memory reserved (memory.min)
 *   /sys/fs/cgroup/box        everything else: memory.max = RAM less the reserve, pids.max
 *   /sys/fs/cgroup/box/eN     one per exec: cgroup.kill ends its tree, memory.events tells of OOM kills
 *
 * An exec's group goes back to a pool when nothing lives in it any more: making one is the dearest step of a
 * spawn.
 */
#ifndef BX_GUEST_CGROUP_H
#define BX_GUEST_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define BX_CGROUP_ROOT  "/sys/fs/cgroup"
#define BX_PIDS_MAX 32768      /* of a box that did not ask for a number, or less: ... */
#define BX_PIDS_PER_MIB 4      /* ... so many per MiB of memory, so that a fork bomb meets this limit first */
#define BX_CGROUPS_MAX  4096 /* groups of execs at a time, those with survivors of a finished exec included  \
                              */

struct bx_cgroup {
    struct bx_cgroup *next;
    unsigned nr;
    int dir;           /* for CLONE_INTO_CGROUP */
    int kill;          /* cgroup.kill */
    int procs;         /* cgroup.procs */
    int events;        /* cgroup.events */
    int memory;        /* memory.events */
    bool limited;      /* its pids.max was set */
    uint64_t oom_base; /* OOM kills of earlier users */
};

struct bx_cgroups {
    int box;    /* directory, -1 before set-up */
    int kill;   /* cgroup.kill of the box */
    int events; /* cgroup.events of the box: an error event in epoll when it changes */
    unsigned made;
    struct bx_cgroup *idle;      /* empty, ready for use */
    struct bx_cgroup *lingering; /* given back with processes still in it */
};

#define BX_CGROUPS_INIT ((struct bx_cgroups){.box = -1, .kill = -1, .events = -1})

/* Makes agent and box under the mounted hierarchy and moves the caller into agent. Done once, before parking.
 */
int bx_cgroups_boot(struct bx_cgroups *cs, struct bx_err *err);
/* devices.c: lets the box's processes open Docker's default devices only. After bx_cgroups_boot. */
int bx_cgroups_guard_devices(struct bx_cgroups *cs, struct bx_err *err);
/* Limits of the box: all memory but `reserve`, the default number of processes; and lets it have sub-groups:
 * from then on no process can be in `box` itself. Before parking. */
int bx_cgroups_limit(struct bx_cgroups *cs, uint64_t reserve, struct bx_err *err);
/* Another number of processes. */
int bx_cgroups_set_pids(struct bx_cgroups *cs, uint64_t pids, struct bx_err *err);
/* Uses an open directory as the box (tests, with plain files instead of a hierarchy). */
int bx_cgroups_open(struct bx_cgroups *cs, int box_fd, struct bx_err *err);
void bx_cgroups_done(struct bx_cgroups *cs);

/* Is there any process in the box? -errno on failure. */
int bx_cgroups_populated(struct bx_cgroups *cs);
/* SIGKILL to every process of the box. */
int bx_cgroups_kill(struct bx_cgroups *cs);
/* Makes one group ahead of need, if there is none. */
void bx_cgroups_prepare(struct bx_cgroups *cs);
/* Sends signo to every process of the box's groups, those of finished execs included. */
void bx_cgroups_signal(struct bx_cgroups *cs, int signo);

struct bx_cgroup *bx_cgroup_get(struct bx_cgroups *cs, struct bx_err *err);
/* Gives it back; what lives in it stays. NULL is fine. Returns NULL. */
struct bx_cgroup *bx_cgroup_put(struct bx_cgroups *cs, struct bx_cgroup *cg);
int bx_cgroup_kill(struct bx_cgroup *cg);
/* At most so many processes in it; 0: only the box's limit. */
int bx_cgroup_set_pids(struct bx_cgroup *cg, uint64_t pids, struct bx_err *err);
/* Signals every process in it, once. Number of processes signalled, or -errno. */
int bx_cgroup_signal(struct bx_cgroup *cg, int signo);
bool bx_cgroup_populated(struct bx_cgroup *cg);
/* OOM kills since bx_cgroup_get. */
uint64_t bx_cgroup_oom_kills(struct bx_cgroup *cg);

/* What all processes of the box take; 0 where the kernel does not say. */
struct bx_cgroup_usage {
    uint64_t memory;     /* bytes, less the file cache that is not in use */
    uint64_t memory_max; /* of the box */
    uint64_t cpu_us;
    uint64_t processes;
};
void bx_cgroups_usage(const struct bx_cgroups *cs, struct bx_cgroup_usage *ret);

/* Pure: the number behind `key` in a flat keyed file ("key 12\n..."). False when it is not there. */
bool bx_cgroup_parse_key(const char *text, const char *key, uint64_t *ret);
/* Pure: takes numbers from a list "1\n22\n", calling fn for each; `carry` holds a number cut at the end of a
 * piece (0 at first, and to be flushed with an empty piece at the end). Returns how many. */
size_t bx_cgroup_parse_pids(const char *text, size_t len, uint32_t *carry, void (*fn)(int pid, void *ud),
                            void *ud);

#endif
