/* SPDX-License-Identifier: Apache-2.0 */
/* internal.h - between the parent's half of the interpreter (apply.c) and the child's (child.c, root.c). */
#ifndef BX_JAIL_INTERNAL_H
#define BX_JAIL_INTERNAL_H

#include <stdint.h>
#include <sys/types.h>

#include "jail/apply.h"

/* The uid and gid an ordinary user's jail has inside its user namespace. */
#define BX_JAIL_INNER_ID 65534

/* Everything the child needs, made before clone: the child allocates nothing. */
struct bx_jail_job {
    const struct bx_jail_plan *plan;
    unsigned layers;      /* of this attempt */
    uid_t outer_uid;      /* effective ids of the caller, for the maps */
    gid_t outer_gid;
    struct bx_bpf bpf;
    int report_fd;        /* child's end, SEQPACKET */
    int liveness_fd;      /* read end, or -1 */
    int null_fd;
    int landlock_fd;      /* or -1 */
    bool in_cgroup;       /* clone has put the child into its (v2) group */
};

/* What the child says. One datagram each; the end of the socket after READY means that exec succeeded. */
enum bx_jail_word {
    BX_JAIL_READY = 1, /* about to exec */
    BX_JAIL_FAILED,
};

enum bx_jail_step {
    BX_STEP_NONE,
    BX_STEP_NAMESPACE, /* identity maps and mounts: what a host that refuses namespaces refuses */
    BX_STEP_OTHER,
};

struct bx_jail_note {
    uint32_t word;
    uint32_t step;
    int32_t sys_errno;
    uint32_t applied;
    int32_t why[BX_JAIL_LAYERS];
    char what[160];
};

/* The whole child, from clone to exec. */
_Noreturn void bx_jail_child_main(const struct bx_jail_job *job);

/* Builds the private root and enters it. 0, or -errno with *ret_what pointing to a static or plan string. */
int bx_jail_enter_root(const struct bx_jail_plan *plan, const char **ret_what, const char **ret_path);

#endif
