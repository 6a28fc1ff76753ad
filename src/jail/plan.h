/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.h - what a jailed program may have, as plain data.
 *
 * A plan names everything the program gets: its identity, its root, its descriptors, its limits. What a plan does not
 * name, the program does not have. bx_jail_spawn (apply.h) is the only interpreter. All pointers are borrowed until it
 * returns. A zeroed plan with path and argv set is a plain, unjailed spawn with no descriptor but those of `fds`.
 */
#ifndef BX_JAIL_PLAN_H
#define BX_JAIL_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "jail/cgroup.h"
#include "jail/seccomp.h"

/* Layers of a jail: wanted (bit in plan.layers), required (plan.required), applied (report.applied). */
enum bx_jail_layer {
    BX_JAIL_USER_NS = 1u << 0, /* added by itself when namespaces are wanted and plan.uid is BX_JAIL_KEEP */
    BX_JAIL_PID_NS = 1u << 1,
    BX_JAIL_ROOT = 1u << 2, /* mount namespace, pivot_root to a read-only tmpfs with plan.mounts only */
    BX_JAIL_NET_NS = 1u << 3,
    BX_JAIL_IPC_NS = 1u << 4,
    BX_JAIL_UTS_NS = 1u << 5,
    BX_JAIL_UID = 1u << 6,      /* become plan.uid/gid (root only) */
    BX_JAIL_CAPS = 1u << 7,     /* no capability, empty bounding set */
    BX_JAIL_NNP = 1u << 8,      /* no_new_privs */
    BX_JAIL_SECCOMP = 1u << 9,  /* plan.seccomp */
    BX_JAIL_RLIMITS = 1u << 10, /* all of plan.rlimits */
    BX_JAIL_CGROUP = 1u << 11,  /* in plan.cgroup */
    BX_JAIL_LANDLOCK = 1u << 12, /* files of plan.mounts only; used in place of BX_JAIL_ROOT where that is refused */
};
#define BX_JAIL_LAYERS 13
#define BX_JAIL_NAMESPACES \
    (BX_JAIL_PID_NS | BX_JAIL_ROOT | BX_JAIL_NET_NS | BX_JAIL_IPC_NS | BX_JAIL_UTS_NS)
/* Everything: the default for programs that meet hostile bytes. */
#define BX_JAIL_ALL                                                                                         \
    (BX_JAIL_NAMESPACES | BX_JAIL_UID | BX_JAIL_CAPS | BX_JAIL_NNP | BX_JAIL_SECCOMP | BX_JAIL_RLIMITS |     \
     BX_JAIL_CGROUP | BX_JAIL_LANDLOCK)
/* What never has a reason to fail, on any kernel we support. */
#define BX_JAIL_FLOOR (BX_JAIL_CAPS | BX_JAIL_NNP | BX_JAIL_SECCOMP | BX_JAIL_RLIMITS)

#define BX_JAIL_KEEP ((uid_t)-1)

enum bx_jail_mount_kind {
    BX_JAIL_BIND,  /* a file or directory of the host, read-only, nosuid, nodev */
    BX_JAIL_TMPFS, /* an empty writable directory (noexec), at most `size` bytes */
    BX_JAIL_PROC,  /* procfs of the jail's pid namespace, read-only */
};

struct bx_jail_mount {
    enum bx_jail_mount_kind kind;
    const char *source; /* BIND: absolute path on the host, links are followed */
    const char *target; /* absolute path in the jail, without "." and ".."; NULL = source */
    bool exec;          /* may be executed or mapped executable */
    bool writable;      /* BIND only */
    uint64_t size;      /* TMPFS only */
};

struct bx_jail_fd {
    int src; /* in the caller; its close-on-exec flag stays as it is */
    int dst; /* number in the program */
};

struct bx_jail_rlimit {
    int resource; /* RLIMIT_* */
    uint64_t value; /* soft and hard; never raises what the caller has */
};

#define BX_JAIL_MOUNTS_MAX 192
#define BX_JAIL_FDS_MAX 80

struct bx_jail_plan {
    const char *name;  /* for messages */
    unsigned layers;   /* wanted */
    unsigned required; /* without these the spawn fails; others are reported when they cannot be had */
    unsigned required_any; /* without all of these it fails: one of them is enough. 0: none is asked for */

    uid_t uid; /* BX_JAIL_KEEP: as the caller (inside the user namespace it is 65534) */
    gid_t gid;
    uid_t bare_uid; /* to become instead of `uid` where namespaces are refused; 0 = as `uid` */
    gid_t bare_gid;

    const struct bx_jail_mount *mounts;
    size_t n_mounts;
    const struct bx_jail_fd *fds; /* 0, 1, 2 are /dev/null unless named here */
    size_t n_fds;
    const struct bx_jail_rlimit *rlimits;
    size_t n_rlimits;
    const struct bx_cgroup *cgroup; /* NULL or one made by bx_cgroup_make */
    enum bx_seccomp_profile seccomp;

    bool init;             /* a supervisor (PID 1 of the pid namespace) ends the program when the caller dies or closes
                              child.liveness, and passes its status on */
    bool no_thp;           /* no transparent huge pages: smaller processes */
    bool core;             /* may dump core; otherwise never */
    const char *hostname;  /* NULL = "jail" */
    const char *cwd;       /* in the jail; NULL = "/" */
    const char *path;      /* in the jail, absolute */
    char *const *argv;     /* NULL-terminated; argv[0] should be absolute for programs that look for themselves */
    char *const *envp;     /* NULL = empty environment */
};

/*
 * Chooses the identity: as root with a usable uid range the given unprivileged ids, otherwise BX_JAIL_KEEP (an ordinary
 * user, or root of a user namespace in which the uid is not mapped). Root that may change its user but make no namespaces (in a
 * container) gets the ids as the bare ones.
 */
void bx_jail_plan_identity(struct bx_jail_plan *plan, uid_t uid, gid_t gid);

/* Checks a plan without applying it: paths absolute and clean, numbers in range, bounds. 0 or -BX_EINVALID. */
struct bx_err;
int bx_jail_plan_check(const struct bx_jail_plan *plan, struct bx_err *err);

/*
 * LD_ORIGIN_PATH=..., for the environment of a program that is to run in a root without /proc: there the loader cannot find out by
 * itself what $ORIGIN is, by which a program finds the libraries that it brings along. For the caller to free; NULL: no memory.
 */
char *bx_jail_plan_origin(const char *program);

/* "root", "net_ns", ...; NULL for none. */
const char *bx_jail_layer_name(unsigned layer);

/* What to do on this host about a layer of this name that it refuses; "" when there is nothing to say. Static. */
const char *bx_jail_remedy(const char *layer);

#endif
