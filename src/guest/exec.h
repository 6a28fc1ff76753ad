/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec.h - the commands of a box and the streams that stand on them.
 *
 * Theory of operation
 *
 *   Exec ─▶ STARTING ─exec'd─▶ RUNNING ─its process ended─▶ DRAINING ─pipes empty, at most 100 ms─▶ EXITED
 *              └─cannot be run─▶ FAILED (Error was sent; waits to be reaped)       kept until Close
 *
 *  An exec is opened by a stream (the opener) and may have more by Attach; each is a struct bx_attach. Lanes
 * 1 and 2 are read by at most one stream, the claimer. While nobody has claimed one, the agent reads it into
 * a bx_keep, so that its writer never stops; a claimed one is read only as credit and the link's queue allow,
 * straight into that queue. Exit goes to a stream behind the last byte of what it has claimed.
 *
 *  Survivors, processes of an exec that outlive its main process, keep the pipes open: those are read on and
 * the bytes dropped, until they end or the box does. An exec with survivors whose streams are gone stays in
 * the table for that, hidden.
 *
 *  Bounds: BX_EXECS_MAX execs in all, BX_STREAMS_MAX streams, kept output of all execs kept_max, finished
 * detached execs BX_FINISHED_MAX.
 */
#ifndef BX_GUEST_EXEC_H
#define BX_GUEST_EXEC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/keep.h"
#include "guest/cgroup.h"
#include "guest/env.h"
#include "guest/filter.h"
#include "guest/spawn.h"
#include "guest/user.h"
#include "loop/loop.h"
#include "wire/messages.h"

#define BX_EXECS_MAX      1024
#define BX_FINISHED_MAX   64
#define BX_DRAIN_NS       (100 * BX_MSEC)
#define BX_TERM_GRACE_NS  (2 * BX_SEC) /* between TERM and KILL of a command whose time is up */
#define BX_STREAM_BUCKETS 256

enum bx_exec_state {
    BX_EXEC_STARTING,
    BX_EXEC_RUNNING,
    BX_EXEC_DRAINING,
    BX_EXEC_EXITED,
    BX_EXEC_FAILED,
};

struct bx_exec;
struct bx_execs;

struct bx_attach {
    struct bx_attach *chain; /* same bucket */
    struct bx_attach *next;  /* same exec */
    struct bx_exec *exec;
    uint32_t stream;
    bool opener;
    bool exit_sent;
};

/* An output lane: a pipe, or the terminal. */
struct bx_out {
    struct bx_exec *exec;
    unsigned id;              /* enum bx_lane_id */
    int fd;                   /* our end; -1 when it has ended */
    struct bx_source *source; /* only while it is to be read: a closed pipe would wake us for ever */
    struct bx_source *gather; /* timer: what is written in small pieces is read together (lanes.c) */
    int64_t read_ns;          /* when it was last read */
    struct bx_attach *claimer;
    struct bx_lane lane; /* credit of the claimer */
    struct bx_keep keep;
    bool resting;  /* only `rest` more bytes count */
    bool dropping; /* none counts any more */
    size_t rest;
    bool eof_sent;
    uint64_t told; /* of keep.dropped: bytes of holes that a claimer has read across */
    bool waiting; /* for room on the link, in the queue of its table */
    struct bx_out *next_waiting;
};

/* The input lane. */
struct bx_in {
    int fd;                   /* -1: closed, what comes is dropped */
    struct bx_source *source; /* only while something waits to be written */
    struct bx_attach *owner;
    struct bx_lane lane;
    struct bx_buf pending;
    size_t foreign; /* of pending: bytes of an earlier owner, nobody gets credit for them */
    bool eof;       /* close, or send VEOF, behind what is pending */
};

/* What is needed until the child has exec'd. */
struct bx_launch {
    struct bx_spawn spawn;
    struct bx_buf strings;
    struct bx_msg_exec msg;
    struct bx_user user;
    struct bx_env env;
    char **argv;
    char *programs;
    int child_fds[3];
};

struct bx_exec {
    struct bx_exec *prev, *next; /* in the order of their start */
    struct bx_execs *all;
    char id[64];
    enum bx_exec_state state;
    bool main, detached, tty;
    bool killed, timed_out, oom;
    bool held; /* in the middle of something: lanes that end leave it alone */
    struct bx_attach *attaches;
    struct bx_cgroup *cgroup; /* NULL: ended without survivors */
    struct bx_launch *launch;
    struct bx_source *report_source;
    pid_t pid;         /* as the agent sees it */
    int32_t inner_pid; /* as the container sees it */
    int pidfd;
    struct bx_source *exit_source;
    struct bx_source *deadline; /* of the command: TERM, then KILL */
    struct bx_source *drain;
    struct bx_in in;
    struct bx_out out[2];
    int64_t started_ns, ended_ns;
    int code;  /* 0-255 */
    int signo; /* that ended it, or 0 */
    struct rusage usage;
};

/* What every exec of a box has in common: from Start and the container. */
struct bx_box {
    int root_fd; /* the container's root, for passwd and group */
    int pts_fd;  /* its devpts */
    int null_fd;
    int ns_pidfd; /* a process in its namespaces; -1: none (tests), then nothing of users or cgroups is
                     applied */
    char hostname[65];
    char user[256];
    char cwd[4096];
    struct bx_buf strings;
    struct bx_strs env;
    boxlite_Limits limits;
    struct bx_filter filter;   /* of system calls; empty: none */
    struct sock_fprog program; /* the same, as the kernel takes it */
};

struct bx_execs {
    struct bx_loop *loop;
    struct bx_link *link;
    struct bx_cgroups *cgroups;
    struct bx_box *box; /* NULL: no box yet, or no longer */
    struct bx_exec *first, *last;
    unsigned count;
    unsigned active; /* not yet EXITED */
    unsigned streams;
    struct bx_attach *buckets[BX_STREAM_BUCKETS];
    size_t kept, kept_max;
    bool starved;     /* lanes wait for room on the link: these, the one that has waited longest first */
    struct bx_out *first_waiting, *last_waiting;
    bool link_failed; /* the peer reads too little: the owner drops the link */
    void (*ended)(struct bx_execs *xs,
                  void *ud); /* an exec has become EXITED or FAILED and was reaped; may be NULL */
    void *ud;
};

void bx_execs_init(struct bx_execs *xs, struct bx_loop *loop, struct bx_link *link,
                   struct bx_cgroups *cgroups);
/* Forgets everything (processes are not ended). */
void bx_execs_done(struct bx_execs *xs);

/* Messages and bytes of streams. They answer by themselves; errors of a stream are not errors of the link. */
void bx_execs_message(struct bx_execs *xs, uint16_t type, uint32_t stream, const uint8_t *payload,
                      size_t len);
void bx_execs_data(struct bx_execs *xs, uint32_t stream, unsigned lane, const uint8_t *data, size_t len);
void bx_execs_eof(struct bx_execs *xs, uint32_t stream, unsigned lane);

/* The link has room again: lanes that wait for it go on, in turn. */
void bx_execs_resume(struct bx_execs *xs);
/* The peer is gone: as if it had closed every stream. */
void bx_execs_drop_streams(struct bx_execs *xs);
/* For stopping: signo (0: TERM) to the main process, TERM to all others. */
void bx_execs_terminate(struct bx_execs *xs, int signo);
/* For stopping: what runs counts as killed by us. */
void bx_execs_mark_killed(struct bx_execs *xs);

/* --- between exec.c, requests.c, launch.c and lanes.c --- */

struct bx_attach *bx_attach_find(struct bx_execs *xs, uint32_t stream);
int bx_attach_new(struct bx_exec *x, uint32_t stream, bool opener, struct bx_attach **ret,
                  struct bx_err *err);
/* The stream has ended for its client; what that means for the exec. May free the exec. */
void bx_attach_close(struct bx_attach *a);
/* An error of a stream, after which it does not exist any more. */
void bx_attach_refuse(struct bx_attach *a, const struct bx_err *why);
struct bx_exec *bx_exec_find(struct bx_execs *xs, const char *id);
int bx_exec_open(struct bx_execs *xs, uint32_t stream, const uint8_t *payload, size_t len,
                 struct bx_err *err);
/* A process of our own instead of a command: `start` makes x's pipes, cgroup and process (x->pidfd, x->pid); it runs from
 * then on. Its output is claimed, and nobody can attach to it. */
typedef int bx_exec_own_fn(struct bx_exec *x, void *ud, struct bx_err *err);
int bx_exec_open_own(struct bx_execs *xs, uint32_t stream, bx_exec_own_fn *start, void *ud, struct bx_err *err);
void bx_exec_send_started(struct bx_exec *x, uint32_t stream);
void bx_execs_send_error(struct bx_execs *xs, uint32_t stream, uint32_t request, const struct bx_err *why);

void bx_execs_told(struct bx_execs *xs, int r); /* takes the result of a send */
void bx_exec_lane_ended(struct bx_exec *x);
void bx_exec_try_exit(struct bx_exec *x);
int bx_exec_kill(struct bx_exec *x);

/* files.c: FileOp. */
int bx_exec_open_files(struct bx_execs *xs, uint32_t stream, const uint8_t *payload, size_t len, struct bx_err *err);

/* launch.c */
/* A pipe; *ret_ours is non-blocking, both are close-on-exec. 0 or -errno, with what was made. */
int bx_launch_pipe(bool to_child, int *ret_ours, int *ret_theirs);
int bx_launch_new(struct bx_execs *xs, const uint8_t *payload, size_t len, struct bx_launch **ret,
                  struct bx_err *err);
struct bx_launch *bx_launch_free(struct bx_launch *ln);
/* Makes pipes or terminal for x and starts the process. */
int bx_launch_go(struct bx_exec *x, struct bx_launch *ln, struct bx_err *err);

/* lanes.c */
void bx_out_init(struct bx_out *o, struct bx_exec *x, unsigned id);
void bx_out_done(struct bx_out *o);
void bx_out_claim(struct bx_out *o, struct bx_attach *a);
void bx_out_unclaim(struct bx_out *o);
void bx_out_grant(struct bx_out *o, uint32_t bytes);
/* Sends what is kept, then its end if it has ended; starts or stops reading as credit and room are. */
void bx_out_pump(struct bx_out *o);
/* Is it waiting for room? Then it does not any more. */
void bx_out_forget_wait(struct bx_out *o);
/* Reads what there is without waiting, a bounded amount. */
void bx_out_drain(struct bx_out *o);
/* The exec has ended: what lies in the pipe now is all that counts. */
void bx_out_rest(struct bx_out *o);

void bx_in_init(struct bx_in *in);
void bx_in_done(struct bx_in *in);
void bx_in_data(struct bx_exec *x, struct bx_attach *a, const uint8_t *data, size_t len,
                struct bx_err *ret_refused);
void bx_in_eof(struct bx_exec *x);
void bx_in_flush(struct bx_exec *x);

#endif
