/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.c - a command in a box on our own terminal or pipes.
 *
 * Theory of operation
 *
 *  One poll loop over the runtime's descriptor, our stdin and a signalfd. Output is written inside the library's callbacks: while we
 *  wait for a slow reader there the library gets no further, its credit ends, and the writer in the box stops; signals are read
 *  there too, so that Ctrl-C works behind a reader that is stuck.
 *
 *  stdout and stderr are written without blocking through descriptions of our own (re-opened pipes and terminals, MSG_DONTWAIT for
 *  sockets): O_NONBLOCK on the inherited ones would change them for every program that shares them.
 *
 *  Signals: without a terminal in the box SIGINT, SIGTERM, SIGQUIT and SIGHUP are passed on, and the second of them kills
 *  the command's whole tree. With one, Ctrl-C is a byte like any other; SIGWINCH resizes.
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/mem.h"

#define STDIN_CHUNK 65536

struct sink {
    int fd;
    bool socket;
    bool dead; /* its reader is gone */
};

static struct {
    struct bx_process *p;
    struct sink out[3];
    bool ended;
    int exit_code;
    int interrupts; /* deadly signals so far */
    bool stdin_open;
    bool broken_pipe;
    struct termios saved;
    bool raw;
} io;

static void open_sink(struct sink *s, int fd)
{
    struct stat st;
    *s = (struct sink){ .fd = fd };
    if (fstat(fd, &st) < 0)
        return;
    s->socket = S_ISSOCK(st.st_mode);
    if (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
        return;
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int own = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (own >= 0)
        s->fd = own;
}

bool bx_terminal_size(unsigned *ret_rows, unsigned *ret_cols)
{
    struct winsize ws;
    for (int fd = 0; fd < 3; fd++) {
        if (ioctl(fd, TIOCGWINSZ, &ws) == 0 && ws.ws_row && ws.ws_col) {
            *ret_rows = ws.ws_row;
            *ret_cols = ws.ws_col;
            return true;
        }
    }
    return false;
}

static void restore_terminal(void)
{
    if (io.raw)
        tcsetattr(0, TCSADRAIN, &io.saved);
    io.raw = false;
}

static void make_terminal_raw(void)
{
    struct termios t;
    if (!isatty(0) || tcgetattr(0, &io.saved) < 0)
        return;
    t = io.saved;
    cfmakeraw(&t);
    io.raw = tcsetattr(0, TCSADRAIN, &t) == 0;
    atexit(restore_terminal);
}

static void ignore_answer(CBoxliteError *error, void *ud)
{
    (void)error;
    (void)ud;
}

static void kill_command(void)
{
    boxlite_execution_kill(io.p->execution, ignore_answer, NULL, NULL);
}

static void resize(void)
{
    unsigned rows, cols;
    if (io.p->tty && bx_terminal_size(&rows, &cols))
        boxlite_execution_tty_resize(io.p->execution, (int)rows, (int)cols, ignore_answer, NULL, NULL);
}

static void read_signals(void)
{
    struct signalfd_siginfo si;
    while (read(bx_signals_open(), &si, sizeof(si)) == (ssize_t)sizeof(si)) {
        if (si.ssi_signo == SIGWINCH) {
            resize();
        } else if (++io.interrupts == 1) {
            boxlite_execution_signal(io.p->execution, (int)si.ssi_signo, ignore_answer, NULL, NULL);
        } else {
            kill_command();
        }
    }
}

static ssize_t write_some(const struct sink *s, const uint8_t *data, size_t len)
{
    return s->socket ? send(s->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL) : write(s->fd, data, len);
}

/* Waits until the sink takes more; a signal that kills the command ends the wait. */
static bool wait_writable(const struct sink *s)
{
    struct pollfd fds[] = { { .fd = s->fd, .events = POLLOUT }, { .fd = bx_signals_open(), .events = POLLIN } };
    if (poll(fds, BX_ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
        return false;
    if (fds[1].revents)
        read_signals();
    return io.interrupts < 2;
}

static void write_out(int which, const uint8_t *data, size_t len)
{
    struct sink *s = &io.out[which];
    while (len > 0 && !s->dead) {
        ssize_t n = write_some(s, data, len);
        if (n >= 0) {
            data += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN) {
            s->dead = !wait_writable(s);
        } else if (errno != EINTR) {
            /* Nobody reads any more: the command is told so the way a pipe would tell it. */
            io.broken_pipe = errno == EPIPE;
            if (!io.broken_pipe)
                bx_cli_error("cannot write output: %s", strerror(errno));
            s->dead = true;
            kill_command();
        }
    }
}

static void on_stdout(const uint8_t *data, size_t len, void *ud)
{
    (void)ud;
    write_out(1, data, len);
}

static void on_stderr(const uint8_t *data, size_t len, void *ud)
{
    (void)ud;
    write_out(2, data, len);
}

static void on_exit_code(int code, void *ud)
{
    (void)ud;
    io.ended = true;
    io.exit_code = code;
}

static void on_writable(size_t room, void *ud)
{
    (void)room;
    (void)ud; /* the loop asks for the room itself */
}

bool bx_process_begin(struct bx_process *p)
{
    CBoxliteError error = { Ok, NULL };
    memset(&io, 0, sizeof(io));
    io.p = p;
    for (int fd = 1; fd <= 2; fd++)
        open_sink(&io.out[fd], fd);
    CExecutionHandle *e = p->execution;
    if (boxlite_execution_on_stdout(e, on_stdout, NULL, &error) == Ok &&
        boxlite_execution_on_stderr(e, on_stderr, NULL, &error) == Ok &&
        boxlite_execution_on_exit(e, on_exit_code, NULL, &error) == Ok &&
        (!p->interactive || boxlite_execution_on_writable(e, on_writable, NULL, &error) == Ok))
        return true;
    bx_cli_fail(&error, NULL);
    return false;
}

static void close_stdin(void)
{
    io.stdin_open = false;
    boxlite_execution_stdin_close(io.p->execution, NULL);
}

static void forward_stdin(void)
{
    static uint8_t chunk[STDIN_CHUNK];
    size_t room = boxlite_execution_stdin_room(io.p->execution);
    if (room == 0)
        return;
    ssize_t n = read(0, chunk, BX_MIN(room, sizeof(chunk)));
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0)
        close_stdin();
    else if (boxlite_execution_stdin_write(io.p->execution, chunk, (size_t)n, NULL) != Ok)
        io.stdin_open = false; /* the command has closed its end */
}

/* Why a command ended is worth a line when it was not the command's own doing. */
static void explain_end(void)
{
    BoxliteExecutionResult r = BOXLITE_EXECUTION_RESULT_INIT;
    if (boxlite_execution_result(io.p->execution, &r, NULL) != Ok)
        return;
    if (r.oom)
        bx_cli_error("Killed: the box ran out of memory");
    else if (r.timed_out)
        bx_cli_error("the command ran into its time limit");
}

static void keep_error(int exit_code, CBoxliteError *error, void *ud)
{
    (void)exit_code;
    bx_call_answer(ud, NULL, error);
}

/* The exit code, or why there is none: the box failed under the command. */
static int final_code(void)
{
    if (io.broken_pipe)
        return 128 + SIGPIPE;
    if (io.exit_code >= 0) {
        explain_end();
        return io.exit_code;
    }
    struct bx_call call = BX_CALL_INIT;
    if (bx_call_wait(io.p->rt, &call, boxlite_execution_wait(io.p->execution, keep_error, &call, &call.error)))
        return BX_EXIT_FAILURE;
    return bx_cli_fail(&call.error, NULL);
}

int bx_process_run(struct bx_process *p)
{
    io.stdin_open = p->interactive;
    if (p->tty && p->interactive)
        make_terminal_raw();
    resize();
    while (!io.ended) {
        if (boxlite_runtime_drain(p->rt, 0, NULL) < 0 || io.ended)
            break;
        bool read_stdin = io.stdin_open && boxlite_execution_stdin_room(p->execution) > 0;
        struct pollfd fds[] = { { .fd = boxlite_runtime_fd(p->rt), .events = POLLIN },
                                { .fd = bx_signals_open(), .events = POLLIN },
                                { .fd = read_stdin ? 0 : -1, .events = POLLIN } };
        if (poll(fds, BX_ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
            break;
        if (fds[1].revents)
            read_signals();
        if (fds[2].revents)
            forward_stdin();
    }
    restore_terminal();
    return io.ended ? final_code() : BX_EXIT_FAILURE;
}
