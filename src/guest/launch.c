/* SPDX-License-Identifier: Apache-2.0 */
/* launch.c - from an Exec message to a process: what runs, as whom, with which descriptors and limits. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "guest/exec.h"

struct bx_launch *bx_launch_free(struct bx_launch *ln)
{
    if (!ln)
        return NULL;
    bx_spawn_done(&ln->spawn);
    for (int i = 0; i < 3; i++)
        bx_close(ln->child_fds[i]);
    bx_buf_done(&ln->strings);
    bx_env_done(&ln->env);
    free(ln->argv);
    free(ln->programs);
    free(ln);
    return NULL;
}

static void add_limit(struct bx_spawn *s, uint32_t resource, uint64_t own, uint64_t box)
{
    if (own || box)
        s->limits[s->nlimits++] = (struct bx_spawn_limit){.resource = resource, .value = own ? own : box};
}

static int make_argv(struct bx_launch *ln)
{
    const struct bx_strs *args = &ln->msg.args;
    size_t n = 0;

    ln->argv = calloc(args->count + 1, sizeof(*ln->argv));
    if (!ln->argv)
        return -ENOMEM;
    for (const char *s = bx_strs_first(args); s && n < args->count; s = bx_strs_next(args, s))
        ln->argv[n++] = (char *)s;
    return 0;
}

static int make_programs(struct bx_launch *ln, struct bx_err *err)
{
    const char *path = bx_env_get(&ln->env, "PATH");

    ln->programs = bx_spawn_programs(ln->argv[0], path ? path : BX_ENV_PATH);
    if (ln->programs)
        return 0;
    if (errno == ENOENT)
        return bx_fail(err, BX_EEXEC, ENOENT, "spawn_failed: the command is empty");
    return bx_fail(err, BX_EEXEC, errno, "spawn_failed: %s", ln->argv[0]);
}

static int prepare(struct bx_execs *xs, struct bx_launch *ln, struct bx_err *err)
{
    const boxlite_Exec *pb = &ln->msg.pb;
    const char *user = pb->user[0] ? pb->user : xs->box->user;
    struct bx_spawn *s = &ln->spawn;
    int r;

    if (ln->msg.args.count == 0)
        return bx_fail(err, BX_EINVALID, 0, "spawn_failed: no command");
    if (xs->box->ns_pidfd >= 0) {
        r = bx_user_resolve(xs->box->root_fd, user, &ln->user, err);
        if (r < 0)
            return r;
    }
    if (make_argv(ln) < 0 ||
        bx_env_make(xs->box->env.data, xs->box->env.count, ln->msg.env.data, ln->msg.env.count, ln->user.home,
                    xs->box->hostname, pb->tty, &ln->env) < 0)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "spawn_failed: arguments");
    r = make_programs(ln, err);
    if (r < 0)
        return r;
    s->tty = pb->tty;
    s->ns_pidfd = xs->box->ns_pidfd;
    s->cgroup_fd = -1;
    s->uid = ln->user.uid;
    s->gid = ln->user.gid;
    s->groups = ln->user.groups;
    s->ngroups = ln->user.ngroups;
    s->cwd = pb->cwd[0] ? pb->cwd : xs->box->cwd[0] ? xs->box->cwd : NULL;
    s->filter = xs->box->filter.n ? &xs->box->program : NULL;
    s->programs = ln->programs;
    s->argv = ln->argv;
    s->envp = ln->env.v;
    add_limit(s, RLIMIT_NOFILE, pb->limits.nofile, xs->box->limits.nofile);
    add_limit(s, RLIMIT_FSIZE, pb->limits.fsize, xs->box->limits.fsize);
    add_limit(s, RLIMIT_AS, pb->limits.as, xs->box->limits.as);
    add_limit(s, RLIMIT_CPU, pb->limits.cpu_seconds, xs->box->limits.cpu_seconds);
    return 0;
}

int bx_launch_new(struct bx_execs *xs, const uint8_t *payload, size_t len, struct bx_launch **ret,
                  struct bx_err *err)
{
    struct bx_launch *ln = calloc(1, sizeof(*ln));
    int r;

    if (!ln)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "start a command");
    ln->spawn.report = -1;
    for (int i = 0; i < 3; i++)
        ln->child_fds[i] = -1;
    bx_buf_init(&ln->strings, BX_MESSAGE_MAX);
    memcpy(ln->user.home, "/", 2);
    r = bx_msg_decode_exec(payload, len, &ln->strings, &ln->msg, err);
    if (r >= 0)
        r = prepare(xs, ln, err);
    if (r < 0) {
        bx_launch_free(ln);
        return r;
    }
    *ret = ln;
    return 0;
}

int bx_launch_pipe(bool to_child, int *ret_ours, int *ret_theirs)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    *ret_ours = ends[to_child ? 1 : 0];
    *ret_theirs = ends[to_child ? 0 : 1];
    return bx_fd_nonblock(*ret_ours, true);
}

/* The workload's end belongs to its user, so that /dev/stdout can be opened. */
static int make_pipe(struct bx_launch *ln, bool to_child, int *ret_ours, int *ret_theirs)
{
    int r = bx_launch_pipe(to_child, ret_ours, ret_theirs);

    if (r == 0 && ln->spawn.ns_pidfd >= 0 && ln->spawn.uid != 0 &&
        fchown(*ret_theirs, ln->spawn.uid, ln->spawn.gid) < 0)
        r = -errno;
    return r;
}

static int open_pipes(struct bx_exec *x, struct bx_launch *ln)
{
    int r;

    if (ln->msg.pb.stdin)
        r = make_pipe(ln, true, &x->in.fd, &ln->child_fds[0]);
    else
        r = (ln->child_fds[0] = fcntl(x->all->box->null_fd, F_DUPFD_CLOEXEC, 3)) < 0 ? -errno : 0;
    for (int i = 0; r >= 0 && i < 2; i++)
        r = make_pipe(ln, false, &x->out[i].fd, &ln->child_fds[i + 1]);
    /* A window each: two sides in a hurry take fewer, longer turns. Where this is refused the default will
     * do. */
    if (r >= 0)
        fcntl(x->out[0].fd, F_SETPIPE_SZ, BX_WINDOW);
    if (r >= 0 && x->in.fd >= 0)
        fcntl(x->in.fd, F_SETPIPE_SZ, BX_WINDOW);
    return r;
}

static int open_terminal(struct bx_exec *x, struct bx_launch *ln)
{
    const boxlite_Exec *pb = &ln->msg.pb;
    struct winsize ws = {.ws_row = (unsigned short)pb->rows, .ws_col = (unsigned short)pb->cols};
    int unlock = 0, slave, r;

    x->out[0].fd = openat(x->all->box->pts_fd, "ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (x->out[0].fd < 0 || ioctl(x->out[0].fd, TIOCSPTLCK, &unlock) < 0)
        return -errno;
    slave = ioctl(x->out[0].fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        return -errno;
    ln->child_fds[0] = slave;
    if (ws.ws_row && ws.ws_col && ioctl(slave, TIOCSWINSZ, &ws) < 0)
        return -errno;
    if (ln->spawn.ns_pidfd >= 0 && fchown(slave, ln->spawn.uid, (gid_t)-1) < 0)
        return -errno;
    for (int i = 1; i < 3; i++) {
        r = fcntl(slave, F_DUPFD_CLOEXEC, 3);
        if (r < 0)
            return -errno;
        ln->child_fds[i] = r;
    }
    x->in.fd = fcntl(x->out[0].fd, F_DUPFD_CLOEXEC, 3);
    return x->in.fd < 0 ? -errno : 0;
}

int bx_launch_go(struct bx_exec *x, struct bx_launch *ln, struct bx_err *err)
{
    struct bx_spawn *s = &ln->spawn;
    int r = ln->msg.pb.tty ? open_terminal(x, ln) : open_pipes(x, ln);

    if (r < 0)
        return bx_fail(err, BX_ERESOURCE, -r, "spawn_failed: make its %s",
                       ln->msg.pb.tty ? "terminal" : "pipes");
    x->cgroup = bx_cgroup_get(x->all->cgroups, err);
    if (!x->cgroup || bx_cgroup_set_pids(x->cgroup, ln->msg.pb.limits.pids, err) < 0)
        return bx_prefix(err, "spawn_failed");
    if (s->ns_pidfd >= 0)
        s->cgroup_fd = x->cgroup->dir;
    memcpy(s->stdio, ln->child_fds, sizeof(s->stdio));
    r = bx_spawn_start(s, &x->pidfd, &x->pid);
    if (r == -EAGAIN)
        return bx_fail(err, BX_ERESOURCE, 0, "spawn_failed: the box has as many processes as it may have");
    if (r < 0)
        return bx_fail(err, BX_ERESOURCE, -r, "spawn_failed: make a process");
    for (int i = 0; i < 3; i++)
        ln->child_fds[i] = bx_close(ln->child_fds[i]);
    return 0;
}
