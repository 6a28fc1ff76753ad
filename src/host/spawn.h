/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.h - starts a program of ours from inside somebody else's process.
 *
 * No fork of a possibly huge parent: clone(CLONE_VM | CLONE_VFORK | CLONE_PIDFD). The caller watches the pidfd
 * (bx_loop_add_child) or waits with waitid(P_PIDFD, ..., WEXITED | __WALL), so it never takes a child of somebody else.
 *
 * The reverse cannot be had: exec makes SIGCHLD the exit signal of any child, so a host program that waits for *any*
 * child may take this one's status. Its end is seen all the same (the pidfd tells); what matters must not hang on the exit
 * status but on what the program answered through a descriptor.
 *
 * The program gets the descriptors it is given and no other, default signal dispositions, an empty signal mask. Safe
 * in a program with threads.
 */
#ifndef BX_HOST_SPAWN_H
#define BX_HOST_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

struct bx_spawn_fd {
    int src; /* in the caller; borrowed */
    int dst; /* number in the program */
};

#define BX_SPAWN_FDS_MAX 600 /* all layers of an image, and a few */

struct bx_spawn {
    const char *path;              /* absolute */
    char *const *argv;             /* NULL-terminated */
    char *const *envp;             /* NULL = the caller's environment */
    const struct bx_spawn_fd *fds; /* 0, 1, 2 are /dev/null unless named here */
    size_t n_fds;
    const char *cwd;               /* NULL = the caller's */
    bool new_session;              /* setsid: it does not get the terminal's signals */
    bool orphan;                   /* it is not our child: init reaps it. Its pidfd can kill it and tells its end, but not its status */
};

/* The new process's pidfd (caller owns), or negative with err: also when its exec failed. ret_pid may be NULL. */
int bx_spawn(const struct bx_spawn *s, pid_t *ret_pid, struct bx_err *err);

/* Waits (blocks) for its end and reaps it: exit code, 128+N for death by signal N, or -errno (-ECHILD:
 * the host program has taken the status). The pidfd stays open. */
int bx_spawn_wait(int pidfd);

#endif
