/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container.h - the container: a root, namespaces, and a reaper as its process 1.
 *
 * Theory of operation
 *
 *  Three steps, because making mounts and namespaces is slow and the first step, or the first two, can be in the template.
 *
 *  bx_container_prepare, before parking: the reaper, a copy of the agent in new pid, mount, ipc, uts and
 * cgroup namespaces, mounts everything but the root (proc, dev, sys, tmp, masked and protected paths) under
 * STAGE and waits.
 *
 *  bx_container_enter, before parking in an image's template, else at Start: the agent has mounted the root and
 * hands it over as a detached copy of that mount, with the generated files of /etc. The reaper puts the root
 * over "/" (the initramfs cannot be pivoted away from; nothing of it is reachable after that), enters it, and
 * moves what it has prepared to its places by paths that the new root itself resolves, so that no link in an
 * image leads out.
 *
 *  bx_container_start, at Start: names and the working directory of this box. Then the reaper drops all
 * capabilities, lets go of all descriptors, and reaps.
 *
 *  Processes are put beside it by the agent, which joins the pid namespace for its children only; each child
 * joins the other namespaces itself (spawn.c).
 *
 *  Capabilities: the agent cuts its own bounding set to what the container may have. That takes nothing from
 * the agent, whose sets are as they were, and everything from what it execs.
 */
#ifndef BX_GUEST_CONTAINER_H
#define BX_GUEST_CONTAINER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define BX_CONTAINER_ROOT "/newroot" /* where the agent has the root mounted */
#define BX_CONTAINER_ETC  "/run/etc" /* generated files, on a tmpfs of the agent */

struct bx_container_plan {
    char hostname[65];
    char working_dir[4096]; /* "" = none; made if missing, owned by uid and gid */
    uint32_t uid, gid;
    uint64_t capabilities;
    bool protect; /* mask and protect the usual paths of /proc and /sys */
};

/* Files of /etc that are ours, over those of the image. */
enum bx_etc { BX_ETC_HOSTNAME, BX_ETC_HOSTS, BX_ETC_RESOLV, BX_ETC_MACHINE_ID, BX_ETC_FILES };

struct bx_container {
    int pidfd; /* of the reaper; also names the namespaces */
    pid_t pid;
    int control; /* socket to the reaper, until it has started */
    int root_fd; /* its root, as O_PATH */
    bool entered;
    int pts_fd;  /* its devpts */
    int etc_files[BX_ETC_FILES];  /* for writing, until the start */
    int etc_mounts[BX_ETC_FILES]; /* a detached mount of each, until the root is entered */
};

#define BX_CONTAINER_INIT                                                                                    \
    ((struct bx_container){.pidfd = -1,                                                                       \
                           .control = -1,                                                                     \
                           .root_fd = -1,                                                                     \
                           .pts_fd = -1,                                                                      \
                           .etc_files = {-1, -1, -1, -1},                                                     \
                           .etc_mounts = {-1, -1, -1, -1}})

/* First step. cgroup_fd: the box's cgroup, which becomes the root of the cgroup namespace; no process stays
 * in it. */
int bx_container_prepare(struct bx_container *c, int cgroup_fd, struct bx_err *err);
/* The content of a file of ours, before the last step. */
int bx_container_write(struct bx_container *c, enum bx_etc file, const char *text, struct bx_err *err);
/* Second step. The root is mounted at BX_CONTAINER_ROOT. */
int bx_container_enter(struct bx_container *c, struct bx_err *err);
/* Last step; the second before it when that was not done. */
int bx_container_start(struct bx_container *c, const struct bx_container_plan *plan, struct bx_err *err);
/* Ends the reaper and whatever is still in its pid namespace. */
void bx_container_stop(struct bx_container *c);

#endif
