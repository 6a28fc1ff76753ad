/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.h - a process in the container, without ever waiting for it.
 *
 * Theory of operation
 *
 *  A spawn must be fast (no copy of the agent's memory) and must not let the workload hold the agent. vfork
 * gives the first only: the child is visible in the container from birth, and a workload that sends SIGSTOP
 * to every process it sees would stop it before exec, and with it the agent that waits. So the child shares
 * our memory (CLONE_VM), has a stack of its own inside struct bx_spawn, and we go on. It speaks by two means:
 * fields of the struct, and the end of a pipe whose only write end it holds, close-on-exec: readable (at its
 * end) means that it has exec'd or gone. Until then struct bx_spawn and everything it points to must stay
 * where it is.
 *
 *  Since memory is shared, the child may call nothing of libc: errno and locks are ours. It makes raw system
 * calls and touches only the struct. Until exec it holds more capabilities than any process of the container,
 * so none can trace it; the capabilities of the container are our own bounding set (container.c), which exec
 * as uid 0 takes over.
 */
#ifndef BX_GUEST_SPAWN_H
#define BX_GUEST_SPAWN_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

enum bx_spawn_step {
    BX_SPAWN_RUNNING = 0,
    BX_SPAWN_NAMESPACES,
    BX_SPAWN_TERMINAL,
    BX_SPAWN_LIMIT,
    BX_SPAWN_CWD,
    BX_SPAWN_FILTER,
    BX_SPAWN_USER,
    BX_SPAWN_COMMAND,
};

struct bx_spawn_limit {
    uint32_t resource; /* RLIMIT_* */
    uint64_t value;    /* soft and hard */
};
#define BX_SPAWN_LIMITS 8
#define BX_SPAWN_STACK  16384

struct bx_spawn {
    /* What to do. Strings and arrays are borrowed. */
    int stdio[3];  /* >= 3 */
    bool tty;      /* stdio[0] becomes the controlling terminal */
    int ns_pidfd;  /* its mount, ipc, uts and cgroup namespaces are joined; -1: none */
    int cgroup_fd; /* -1: the caller's */
    uint32_t uid, gid;
    const uint32_t *groups;
    size_t ngroups;
    struct bx_spawn_limit limits[BX_SPAWN_LIMITS];
    size_t nlimits;
    const struct sock_fprog *filter; /* of system calls, installed in a container; NULL: none */
    const char *cwd;      /* NULL: as is */
    const char *programs; /* paths to try, "a\0b\0\0" */
    char *const *argv;
    char *const *envp;

    /* What came of it; valid when report is at its end. */
    int report;             /* our end of the pipe, non-blocking */
    volatile int32_t pid;   /* as the child sees itself */
    volatile int32_t step;  /* enum bx_spawn_step: where it failed */
    volatile int32_t error; /* errno of that */

    int child_report; /* the child's end: a number in its table, closed in ours */
    uint8_t *stack;
};

/* Starts it. 0 with report set, *ret_pidfd and *ret_pid (in our namespace); or -errno and nothing to undo. */
int bx_spawn_start(struct bx_spawn *s, int *ret_pidfd, pid_t *ret_pid);
/* Frees stack and pipe. Only when the child has exec'd or is gone. */
void bx_spawn_done(struct bx_spawn *s);

/* Has it exec'd (0), failed (-BX_EEXEC, err) or not said yet (-EAGAIN)? `what` names the command in messages.
 */
int bx_spawn_result(struct bx_spawn *s, const char *what, struct bx_err *err);

/* Pure: the candidates for a command: itself when it has a slash, else one per element of PATH. Heap,
 * "a\0b\0\0"; NULL with errno: ENOENT when there is none, E2BIG when they are too many, ENOMEM. */
char *bx_spawn_programs(const char *command, const char *path);

/* clone3 whose child runs fn(arg) on `stack` (NULL: on a copy of ours, without CLONE_VM) and must not return.
 * -errno. */
struct clone_args;
long bx_clone3(struct clone_args *ca, int (*fn)(void *), void *arg);

#endif
