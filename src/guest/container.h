/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container.h - the container: a root, namespaces, and a reaper as its process 1.
 *
 * Theory of operation
 *
 *  The reaper is a copy of the agent in new pid, mount, ipc, uts and cgroup namespaces. It makes the container's view: its
 *  root is moved over "/" (the initramfs cannot be pivoted away from; nothing of it is reachable after that), then
 *  everything is mounted with paths that the new root itself resolves, so that no link in an image leads out.
 *  Then it drops all capabilities, lets go of all descriptors and reaps. Processes are put beside it by the agent, which joins the
 *  pid namespace for its children only; each child joins the other namespaces itself (spawn.c).
 *
 *  Capabilities: the agent cuts its own bounding set to what the container may have. That takes nothing from the agent,
 *  whose sets are as they were, and everything from what it execs.
 */
#ifndef BX_GUEST_CONTAINER_H
#define BX_GUEST_CONTAINER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define BX_CONTAINER_ROOT "/newroot" /* where the agent has the root mounted */
#define BX_CONTAINER_ETC "/run/etc"  /* generated files, on a tmpfs of the agent */

struct bx_container_plan {
    const char *hostname;
    const char *working_dir; /* "" = none; made if missing, owned by uid and gid */
    uint32_t uid, gid;
    uint64_t capabilities;
    bool protect;            /* mask and protect the usual paths of /proc and /sys */
    int cgroup_fd;           /* the box's cgroup: root of the cgroup namespace */
};

struct bx_container {
    int pidfd;   /* of the reaper; also names the namespaces */
    pid_t pid;
    int root_fd; /* its root, as O_PATH */
    int pts_fd;  /* its devpts */
};

#define BX_CONTAINER_INIT ((struct bx_container){ .pidfd = -1, .root_fd = -1, .pts_fd = -1 })

/* The root is mounted at BX_CONTAINER_ROOT, the generated files lie in BX_CONTAINER_ETC. */
int bx_container_start(struct bx_container *c, const struct bx_container_plan *plan, struct bx_err *err);
/* Ends the reaper and whatever is still in its pid namespace. */
void bx_container_stop(struct bx_container *c);

#endif
