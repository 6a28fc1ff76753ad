/* SPDX-License-Identifier: Apache-2.0 */
/*
 * files.c - a FileOp becomes a process of the agent's own, with the stream's lanes as its stdin and stdout.
 *
 * Theory of operation
 *
 *  Work on files can take long and can block (a disk, a file of proc), so it is never done in the agent's
 * loop. The process is a copy of the agent that lets go of all it has, enters the container's mounts, becomes
 * the user who asks, and then works through descriptors below the container's root. It is an exec as far as
 * streams go: credit stops it, Close kills it, its memory counts as the box's. As root it keeps the agent's
 * capabilities, also where the container has few: no process of the container can trace it, and it does only
 * what the host asked for.
 */
#include "guest/files.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "guest/exec.h"

struct work {
    const struct bx_box *box;
    boxlite_FileOp op;
    struct bx_user user;
    bool as_user;
    int fds[2]; /* the child's stdin and stdout */
};

/* ---- the child ---- */

/* In, out, the root: nothing else of the agent's. Returns the root, or -1. The agent has 0 to 2 in use, so
 * that none of these is among them. */
static int enter(const struct work *w)
{
    int where = w->box->ns_pidfd >= 0 ? w->box->ns_pidfd : w->box->root_fd;

    if (dup2(w->fds[0], 0) < 0 || dup2(w->fds[1], 1) < 0 || dup2(w->box->null_fd, 2) < 0 ||
        dup2(where, 3) < 0)
        return -1;
    bx_close_from(4);
    if (w->box->ns_pidfd < 0)
        return 3;
    if (setns(3, CLONE_NEWNS) < 0 || chdir("/") < 0)
        return -1;
    bx_close(3);
    return open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static bool become(const struct work *w)
{
    const struct bx_user *u = &w->user;

    if (!w->as_user)
        return true;
    return setgroups(u->ngroups, u->groups) == 0 && setresgid(u->gid, u->gid, u->gid) == 0 &&
           setresuid(u->uid, u->uid, u->uid) == 0;
}

static int child_main(void *arg)
{
    const struct work *w = arg;
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct bx_place place;
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    prctl(PR_SET_NAME, "boxlite-files");
    prctl(PR_SET_DUMPABLE, 0);
    umask(0);
    place.root = enter(w);
    if (place.root < 0 || !become(w))
        _exit(1); /* the client hears that there was no END */
    bx_files_work(&place, &w->op, 0, 1);
    _exit(0);
}

/* ---- the agent ---- */

static bool reads(uint32_t op)
{
    return op == BX_FILE_PUT || op == BX_FILE_WRITE;
}

static int open_pipes(struct bx_exec *x, struct work *w)
{
    int r = bx_launch_pipe(false, &x->out[0].fd, &w->fds[1]);

    if (r >= 0 && reads(w->op.op))
        r = bx_launch_pipe(true, &x->in.fd, &w->fds[0]);
    else if (r >= 0)
        r = (w->fds[0] = fcntl(x->all->box->null_fd, F_DUPFD_CLOEXEC, 3)) < 0 ? -errno : 0;
    if (r < 0)
        return r;
    fcntl(x->out[0].fd, F_SETPIPE_SZ, BX_WINDOW); /* where this is refused the default will do */
    if (x->in.fd >= 0)
        fcntl(x->in.fd, F_SETPIPE_SZ, BX_WINDOW);
    return 0;
}

static int start(struct bx_exec *x, void *ud, struct bx_err *err)
{
    struct work *w = ud;
    struct clone_args ca = {.flags = CLONE_PIDFD, .exit_signal = SIGCHLD};
    int pidfd = -1, r;
    long pid;

    r = open_pipes(x, w);
    if (r < 0)
        return bx_fail(err, BX_ERESOURCE, -r, "work on files: make pipes");
    x->cgroup = bx_cgroup_get(x->all->cgroups, err);
    if (!x->cgroup)
        return bx_prefix(err, "work on files");
    if (x->all->box->ns_pidfd >= 0) {
        ca.flags |= CLONE_INTO_CGROUP;
        ca.cgroup = (uint64_t)x->cgroup->dir;
    }
    ca.pidfd = (uint64_t)(uintptr_t)&pidfd;
    pid = bx_clone3(&ca, child_main, w);
    if (pid == -EAGAIN)
        return bx_fail(err, BX_ERESOURCE, 0, "work on files: the box has as many processes as it may have");
    if (pid < 0)
        return bx_fail(err, BX_ERESOURCE, (int)-pid, "work on files: make a process");
    x->pidfd = pidfd;
    x->pid = (pid_t)pid;
    return 0;
}

static int prepare(struct bx_execs *xs, struct work *w, const uint8_t *payload, size_t len,
                   struct bx_err *err)
{
    int r = bx_msg_decode(BX_MSG_FILE_OP, payload, len, &w->op, err);

    if (r < 0)
        return r;
    if (w->op.op < BX_FILE_PUT || w->op.op >= BX_FILE_OPS)
        return bx_fail(err, BX_EUNSUPPORTED, 0, "the agent does not know file operation %u", w->op.op);
    if (w->op.mode > 07777)
        return bx_fail(err, BX_EINVALID, 0, "mode %o", w->op.mode);
    w->as_user = w->op.user[0] && xs->box->ns_pidfd >= 0;
    return w->as_user ? bx_user_resolve(xs->box->root_fd, w->op.user, &w->user, err) : 0;
}

int bx_exec_open_files(struct bx_execs *xs, uint32_t stream, const uint8_t *payload, size_t len,
                       struct bx_err *err)
{
    struct work *w = calloc(1, sizeof(*w));
    int r;

    if (!w)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "work on files");
    w->box = xs->box;
    w->fds[0] = w->fds[1] = -1;
    r = xs->box ? prepare(xs, w, payload, len, err) : bx_fail(err, BX_ESTOPPED, 0, "the box is not running");
    if (r >= 0)
        r = bx_exec_open_own(xs, stream, start, w, err);
    bx_close(w->fds[0]);
    bx_close(w->fds[1]);
    free(w); /* the child has a copy */
    return r;
}
