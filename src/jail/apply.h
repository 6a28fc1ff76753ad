/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply.h - the interpreter of jail plans.
 */
#ifndef BX_JAIL_APPLY_H
#define BX_JAIL_APPLY_H

#include "base/err.h"
#include "jail/plan.h"

struct bx_jail_report {
    unsigned wanted;
    unsigned applied;
    int why[BX_JAIL_LAYERS]; /* errno for each wanted layer that was not applied, by bit number */
};

struct bx_jail_child {
    pid_t pid;    /* the supervisor (plan.init) or the program itself, as the caller sees it */
    pid_t target; /* the program itself as the caller sees it; for /proc only, never a target of kill */
    int pidfd;    /* of pid. No exit signal: wait with waitid(P_PIDFD, ..., WEXITED | __WALL). Exit status: that of the
                     program; 128+N when signal N ended it */
    int liveness; /* plan.init: closing it ends the program. Otherwise -1 */
    struct bx_jail_report report;
};
#define BX_JAIL_CHILD_INIT ((struct bx_jail_child){ .pid = -1, .target = -1, .pidfd = -1, .liveness = -1 })

/*
 * Spawns plan->path in its jail. Returns after the program's exec has succeeded, or with the error of the step that failed in
 * the child. Safe in a program with threads, takes no signal, leaves no zombie on failure. Caller owns pidfd and liveness.
 *
 * Where the host refuses namespaces (and plan->required does not name them), the program runs without them: Landlock
 * where there is one, seccomp, no_new_privs, limits, and the report says so.
 */
int bx_jail_spawn(const struct bx_jail_plan *plan, struct bx_jail_child *ret, struct bx_err *err);

/* Kills (SIGKILL by pidfd) and reaps; closes the descriptors. For callers without a loop, and for tests. */
void bx_jail_child_done(struct bx_jail_child *c);
/* Waits for its end (blocks). The status as above, or -errno. pidfd stays open. */
int bx_jail_child_wait(struct bx_jail_child *c);

/* "user_ns pid_ns root net_ns ...; without cgroup (Permission denied)" for a person; always terminated. */
void bx_jail_report_str(const struct bx_jail_report *r, char *dst, size_t size);

#endif
