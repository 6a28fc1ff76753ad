/* SPDX-License-Identifier: Apache-2.0 */
/* requests.c - what a client asks of execs, message by message. Errors of a stream end at most that stream.
 */
#include <errno.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest/exec.h"

static void on_exec(struct bx_execs *xs, uint32_t stream, const uint8_t *payload, size_t len)
{
    struct bx_attach *a = bx_attach_find(xs, stream);
    struct bx_err err;

    if (a) {
        bx_fail(&err, BX_ERPC, 0, "stream %u is open already", stream);
        bx_attach_refuse(a, &err);
    } else if (stream == 0) {
        bx_fail(&err, BX_ERPC, 0, "an exec needs a stream");
        bx_execs_send_error(xs, 0, 0, &err);
    } else if (bx_exec_open(xs, stream, payload, len, &err) < 0) {
        bx_execs_send_error(xs, stream, 0, &err);
    }
}

static void on_file_op(struct bx_execs *xs, uint32_t stream, const uint8_t *payload, size_t len)
{
    struct bx_attach *a = bx_attach_find(xs, stream);
    struct bx_err err;

    if (a) {
        bx_fail(&err, BX_ERPC, 0, "stream %u is open already", stream);
        bx_attach_refuse(a, &err);
    } else if (stream == 0) {
        bx_fail(&err, BX_ERPC, 0, "work on files needs a stream");
        bx_execs_send_error(xs, 0, 0, &err);
    } else if (bx_exec_open_files(xs, stream, payload, len, &err) < 0) {
        bx_execs_send_error(xs, stream, 0, &err);
    }
}

static int open_attach(struct bx_execs *xs, uint32_t stream, const char *id, struct bx_err *err)
{
    struct bx_exec *x = bx_exec_find(xs, id);
    struct bx_attach *a;
    int r;

    if (!x)
        return bx_fail(err, BX_ENOTFOUND, 0, "no exec %s", id);
    r = bx_attach_new(x, stream, false, &a, err);
    if (r < 0)
        return r;
    if (x->state != BX_EXEC_STARTING)
        bx_exec_send_started(x, stream);
    bx_exec_try_exit(x);
    return 0;
}

static void on_attach(struct bx_execs *xs, uint32_t stream, const uint8_t *payload, size_t len)
{
    boxlite_Attach msg = boxlite_Attach_init_zero;
    struct bx_attach *a = bx_attach_find(xs, stream);
    struct bx_err err;
    int r;

    if (a || stream == 0) {
        bx_fail(&err, BX_ERPC, 0, "stream %u cannot be opened", stream);
        if (a)
            bx_attach_refuse(a, &err);
        else
            bx_execs_send_error(xs, 0, 0, &err);
        return;
    }
    r = bx_msg_decode(BX_MSG_ATTACH, payload, len, &msg, &err);
    if (r >= 0)
        r = open_attach(xs, stream, msg.exec_id, &err);
    if (r < 0)
        bx_execs_send_error(xs, stream, 0, &err);
}

/* What a terminal sends goes to the foreground group, as from a terminal; the rest to the main process alone.
 */
static int signal_main(struct bx_exec *x, int signo)
{
    pid_t group = 0;

    if (x->pidfd < 0)
        return -ESRCH;
    if (signo == SIGINT || signo == SIGQUIT || signo == SIGTSTP) {
        if (!x->tty || ioctl(x->out[0].fd, TIOCGPGRP, &group) < 0 || group <= 1)
            group = x->pid; /* it leads its session, so its group has its number */
        if (kill(-group, signo) == 0)
            return 0;
    }
    return syscall(SYS_pidfd_send_signal, x->pidfd, signo, NULL, 0) < 0 ? -errno : 0;
}

static int do_signal(struct bx_exec *x, const boxlite_Signal *msg, struct bx_err *err)
{
    int signo = (int)msg->signo, r;

    if (msg->signo < 1 || msg->signo > 64)
        return bx_fail(err, BX_EINVALID, 0, "no signal %u", msg->signo);
    if (x->state == BX_EXEC_STARTING && !(msg->tree && signo == SIGKILL))
        return bx_fail(err, BX_ESTATE, 0, "exec %s has not started yet", x->id);
    if (x->state >= BX_EXEC_DRAINING && !(msg->tree && x->cgroup && bx_cgroup_populated(x->cgroup)))
        return bx_fail(err, BX_ESTATE, 0, "exec %s has ended", x->id);
    if (msg->tree && signo == SIGKILL) {
        x->killed = x->killed || x->state < BX_EXEC_DRAINING;
        r = bx_exec_kill(x);
    } else if (msg->tree) {
        r = bx_cgroup_signal(x->cgroup, signo);
    } else {
        x->killed = x->killed || signo == SIGKILL;
        r = signal_main(x, signo);
    }
    if (r < 0)
        return bx_fail(err, BX_EEXEC, -r, "signal %d to exec %s", signo, x->id);
    return 0;
}

static int do_resize(struct bx_exec *x, const boxlite_Resize *msg, struct bx_err *err)
{
    struct winsize ws = {.ws_row = (unsigned short)msg->rows, .ws_col = (unsigned short)msg->cols};

    if (!x->tty)
        return bx_fail(err, BX_ESTATE, 0, "exec %s has no terminal", x->id);
    if (msg->rows == 0 || msg->rows > 65535 || msg->cols == 0 || msg->cols > 65535)
        return bx_fail(err, BX_EINVALID, 0, "terminal of %u rows and %u columns", msg->rows, msg->cols);
    if (x->out[0].fd < 0)
        return bx_fail(err, BX_ESTATE, 0, "exec %s has ended", x->id);
    if (ioctl(x->out[0].fd, TIOCSWINSZ, &ws) < 0)
        return bx_fail(err, BX_EEXEC, errno, "resize the terminal of exec %s", x->id);
    return 0;
}

/* Signal and Resize: answered by their number, also when the stream has just gone; not at all without one. */
static void on_request(struct bx_execs *xs, uint16_t type, uint32_t stream, const uint8_t *payload,
                       size_t len)
{
    struct bx_attach *a = bx_attach_find(xs, stream);
    boxlite_Signal sig = boxlite_Signal_init_zero;
    boxlite_Resize size = boxlite_Resize_init_zero;
    struct bx_err err;
    uint32_t request;
    int r;

    r = bx_msg_decode(type, payload, len, type == BX_MSG_SIGNAL ? (void *)&sig : (void *)&size, &err);
    if (r < 0) {
        if (a)
            bx_attach_refuse(a, &err);
        return;
    }
    request = type == BX_MSG_SIGNAL ? sig.request : size.request;
    if (!a)
        r = bx_fail(&err, BX_ENOTFOUND, 0, "stream %u is not open", stream);
    else if (type == BX_MSG_SIGNAL)
        r = do_signal(a->exec, &sig, &err);
    else
        r = do_resize(a->exec, &size, &err);
    if (request == 0)
        return; /* an Error without a number would end the stream */
    if (r < 0)
        bx_execs_send_error(xs, stream, request, &err);
    else
        bx_execs_told(xs, bx_msg_send_ok(xs->link, stream, request));
}

static struct bx_out *lane_out(struct bx_exec *x, uint32_t lane)
{
    return lane == BX_LANE_STDOUT || lane == BX_LANE_STDERR ? &x->out[lane - BX_LANE_STDOUT] : NULL;
}

static void on_credit(struct bx_execs *xs, uint32_t stream, const uint8_t *payload, size_t len)
{
    boxlite_Credit msg = boxlite_Credit_init_zero;
    struct bx_attach *a = bx_attach_find(xs, stream);
    struct bx_out *o;

    if (!a || bx_msg_decode(BX_MSG_CREDIT, payload, len, &msg, NULL) < 0)
        return;
    o = lane_out(a->exec, msg.lane);
    if (o && o->claimer == a)
        bx_out_grant(o, msg.bytes);
}

static void on_claim(struct bx_execs *xs, uint32_t stream, const uint8_t *payload, size_t len)
{
    boxlite_Claim msg = boxlite_Claim_init_zero;
    struct bx_attach *a = bx_attach_find(xs, stream);
    struct bx_out *o;
    struct bx_err err;

    if (!a)
        return; /* closed meanwhile */
    if (bx_msg_decode(BX_MSG_CLAIM, payload, len, &msg, &err) < 0) {
        bx_attach_refuse(a, &err);
        return;
    }
    o = lane_out(a->exec, msg.lane);
    if (o && o->claimer == a)
        return;
    if (!o || o->claimer) {
        bx_fail(&err, o ? BX_ESTATE : BX_EINVALID, 0, "lane %u of exec %s %s", msg.lane, a->exec->id,
                o ? "is another client's" : "cannot be claimed");
        bx_attach_refuse(a, &err);
        return;
    }
    bx_out_claim(o, a);
}

void bx_execs_message(struct bx_execs *xs, uint16_t type, uint32_t stream, const uint8_t *payload, size_t len)
{
    struct bx_attach *a;

    switch (type) {
    case BX_MSG_EXEC:
        on_exec(xs, stream, payload, len);
        break;
    case BX_MSG_ATTACH:
        on_attach(xs, stream, payload, len);
        break;
    case BX_MSG_FILE_OP:
        on_file_op(xs, stream, payload, len);
        break;
    case BX_MSG_SIGNAL:
    case BX_MSG_RESIZE:
        on_request(xs, type, stream, payload, len);
        break;
    case BX_MSG_CREDIT:
        on_credit(xs, stream, payload, len);
        break;
    case BX_MSG_CLAIM:
        on_claim(xs, stream, payload, len);
        break;
    case BX_MSG_CLOSE:
        a = bx_attach_find(xs, stream);
        if (a)
            bx_attach_close(a);
        break;
    default:
        break;
    }
}

void bx_execs_data(struct bx_execs *xs, uint32_t stream, unsigned lane, const uint8_t *data, size_t len)
{
    struct bx_attach *a = bx_attach_find(xs, stream);
    struct bx_err refused = BX_ERR_INIT;

    if (!a)
        return;
    if (lane == BX_LANE_STDIN)
        bx_in_data(a->exec, a, data, len, &refused);
    else
        bx_fail(&refused, BX_ERPC, 0, "data on lane %u", lane);
    if (refused.code)
        bx_attach_refuse(a, &refused);
}

void bx_execs_eof(struct bx_execs *xs, uint32_t stream, unsigned lane)
{
    struct bx_attach *a = bx_attach_find(xs, stream);

    if (a && lane == BX_LANE_STDIN && (a->exec->in.owner == a || !a->exec->in.owner))
        bx_in_eof(a->exec);
}
