/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands as a program sees them: claims, credit, kept output, stdin, the order of events, the end of a box.
 *
 * The box is a child process of this test that speaks the box protocol on boxes/<id>/box.sock and holds the
 * box's lock, as boxlite-shim does; what a "command" does is told by its first word.
 */
#include "api_help.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/path.h"
#include "base/str.h"
#include "store/store.h"
#include "wire/messages.h"

/* ---- the box's side ---- */

#define FAKE_STREAMS 64

enum { FLOOD = 1, CAT, SLEEP, DONE, ATTACHED };

struct fake_stream {
    uint32_t id;
    int what;
    unsigned claim;
    struct bx_lane out[3];
    uint64_t left; /* of a flood */
    bool in_eof;
};

struct fake {
    int fd;
    struct bx_link link;
    struct fake_stream streams[FAKE_STREAMS];
    int count;
    bool die;
    bool stuck; /* it has more to send than it may */
    struct bx_buf echo;
};

/* Each time it gets stuck, a byte for the test. */
static int stuck_pipe[2] = {-1, -1};

static struct fake_stream *fake_find(struct fake *f, uint32_t id)
{
    for (int i = 0; i < f->count; i++)
        if (f->streams[i].id == id)
            return &f->streams[i];
    return NULL;
}

static void fake_exit(struct fake *f, uint32_t stream, int code, int signo)
{
    boxlite_Exit e = {
        .code = code, .signal = (uint32_t)signo, .usage = {.user_us = 1234, .max_rss_bytes = 4096}};
    struct fake_stream *s = fake_find(f, stream);

    if (s && s->what == DONE)
        return;
    if (s)
        s->what = DONE;
    for (unsigned lane = 1; s && lane < 3; lane++)
        if (s->claim & 1u << lane)
            bx_link_send_eof(&f->link, stream, lane);
    bx_msg_send_ordered(&f->link, BX_MSG_EXIT, stream, &e, NULL);
}

static void fake_exec(struct fake *f, uint32_t stream, const uint8_t *p, size_t len)
{
    bx_cleanup_buf struct bx_buf arena = BX_BUF_INIT(BX_MESSAGE_MAX);
    struct bx_err err = BX_ERR_INIT;
    struct bx_msg_exec m;
    boxlite_Started started = {.pid = 7};
    struct fake_stream *s;
    const char *verb, *word;

    if (bx_msg_decode_exec(p, len, &arena, &m, &err) < 0)
        _exit(30);
    verb = bx_strs_first(&m.args);
    word = bx_strs_next(&m.args, verb);
    if (bx_streq(verb, "nosuch")) {
        bx_fail(&err, BX_EEXEC, ENOENT, "nosuch");
        bx_msg_send_error(&f->link, stream, 0, &err);
        return;
    }
    s = &f->streams[f->count++];
    *s = (struct fake_stream){.id = stream, .claim = m.pb.claim};
    bx_lane_init(&s->out[1], BX_WINDOW);
    bx_lane_init(&s->out[2], BX_WINDOW);
    snprintf(started.exec_id, sizeof(started.exec_id), "%s", m.pb.exec_id);
    bx_msg_send(&f->link, BX_MSG_STARTED, stream, &started, NULL);
    if (bx_streq(verb, "echo")) {
        bx_link_send_data(&f->link, stream, 1, word, strlen(word));
        bx_link_send_data(&f->link, stream, 2, "err", 3);
        fake_exit(f, stream, 3, 0);
    } else if (bx_streq(verb, "flood")) {
        s->what = FLOOD;
        bx_parse_u64(word, 0, UINT64_MAX, &s->left);
    } else if (bx_streq(verb, "cat")) {
        s->what = CAT;
    } else if (bx_streq(verb, "die")) {
        f->die = true;
    } else if (bx_streq(verb, "env")) {
        const char *v = bx_strs_first(&m.env);

        for (; v; v = bx_strs_next(&m.env, v)) {
            bx_link_send_data(&f->link, stream, 1, v, strlen(v));
            bx_link_send_data(&f->link, stream, 1, "\n", 1);
        }
        fake_exit(f, stream, m.pb.tty, 0);
    } else {
        s->what = SLEEP;
    }
}

static void fake_attach(struct fake *f, uint32_t stream)
{
    boxlite_Started started = {.pid = 8, .exec_id = "main"};
    struct fake_stream *s = &f->streams[f->count++];

    *s = (struct fake_stream){.id = stream, .what = ATTACHED};
    bx_msg_send(&f->link, BX_MSG_STARTED, stream, &started, NULL);
    fake_exit(f, stream, 5, 0); /* it has ended long ago; its output is still there */
}

static int fake_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *p, size_t len,
                        struct bx_err *err)
{
    struct bx_msg_hello hello = {.pb = {.version = BX_WIRE_VERSION, .program = "fake"}};
    boxlite_BoxInfo info = {
        .state = BX_BOX_RUNNING, .engine = "tcg", .kernel = "6.1", .jail = "none\x1b[31m", .execs_total = 9};
    struct fake *f = l->ud;
    struct fake_stream *s = fake_find(f, stream);
    union {
        boxlite_Credit credit;
        boxlite_Signal signal;
        boxlite_Resize resize;
        boxlite_Claim claim;
        boxlite_BoxStop stop;
    } m;
    boxlite_BoxGone gone = {.state = BX_BOX_STOPPED, .message = "stopped"};

    info.shim_pid = (uint32_t)getpid();
    switch (type) {
    case BX_MSG_HELLO:
        return bx_msg_send_hello(l, &hello, err);
    case BX_MSG_BOX_INFO_GET:
        return bx_msg_send(l, BX_MSG_BOX_INFO, 0, &info, err);
    case BX_MSG_EXEC:
        fake_exec(f, stream, p, len);
        return 0;
    case BX_MSG_ATTACH:
        fake_attach(f, stream);
        return 0;
    case BX_MSG_CREDIT:
        bx_msg_decode(type, p, len, &m.credit, err);
        return s ? bx_lane_grant(&s->out[m.credit.lane], m.credit.bytes) : 0;
    case BX_MSG_CLAIM:
        bx_msg_decode(type, p, len, &m.claim, err);
        bx_link_send_data(l, stream, m.claim.lane, "kept in the box", 15);
        bx_link_send_eof(l, stream, m.claim.lane);
        return 0;
    case BX_MSG_SIGNAL:
        bx_msg_decode(type, p, len, &m.signal, err);
        bx_msg_send_ok(l, stream, m.signal.request);
        if (s && m.signal.signo == 9)
            fake_exit(f, stream, 137, 9);
        return 0;
    case BX_MSG_RESIZE:
        bx_msg_decode(type, p, len, &m.resize, err);
        return bx_msg_send_ok(l, stream, m.resize.request);
    case BX_MSG_CLOSE:
        return 0;
    case BX_MSG_BOX_STOP:
        bx_msg_decode(type, p, len, &m.stop, err);
        bx_msg_send_ok(l, 0, m.stop.request);
        bx_msg_send_ordered(l, BX_MSG_BOX_GONE, 0, &gone, err);
        f->die = true;
        return 0;
    default:
        return bx_fail(err, BX_ERPC, 0, "%s", bx_msg_type_name(type));
    }
}

static int fake_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *data, size_t len,
                     struct bx_err *err)
{
    struct fake *f = l->ud;
    struct fake_stream *s = fake_find(f, stream);

    (void)lane, (void)err;
    if (!s || s->what != CAT)
        return 0;
    if (bx_buf_add(&f->echo, data, len) < 0)
        _exit(31); /* more than the credit it has */
    return 0;
}

/* Echoes as credit allows, and gives as much back. */
static void fake_echo(struct fake *f)
{
    for (int i = 0; i < f->count; i++) {
        struct fake_stream *s = &f->streams[i];
        size_t n = 1, sum = 0;

        while (s->what == CAT && bx_buf_len(&f->echo) > 0 && n > 0) {
            n = BX_MIN(bx_buf_len(&f->echo), (size_t)s->out[1].credit);
            n = BX_MIN(BX_MIN(n, bx_link_data_room(&f->link)), (size_t)BX_FRAME_PAYLOAD_MAX);
            if (n == 0 || bx_link_send_data(&f->link, s->id, 1, bx_buf_data(&f->echo), n) < 0)
                break;
            bx_lane_spend(&s->out[1], n);
            bx_buf_consume(&f->echo, n);
            sum += n;
        }
        if (sum > 0)
            bx_msg_send_credit(&f->link, s->id, BX_LANE_STDIN, (uint32_t)sum);
        if (s->what == CAT && s->in_eof && bx_buf_len(&f->echo) == 0)
            fake_exit(f, s->id, 0, 0);
    }
}

static int fake_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    struct fake_stream *s = fake_find(l->ud, stream);

    (void)lane, (void)err;
    if (s)
        s->in_eof = true;
    return 0;
}

static void fake_flood(struct fake *f)
{
    static uint8_t piece[32768];

    memset(piece, 'x', sizeof(piece));
    for (int i = 0; i < f->count; i++) {
        struct fake_stream *s = &f->streams[i];
        size_t n = 1;

        while (s->what == FLOOD && s->left > 0 && n > 0) {
            n = BX_MIN(BX_MIN((uint64_t)sizeof(piece), s->left), (uint64_t)s->out[1].credit);
            n = BX_MIN(n, bx_link_data_room(&f->link));
            if (n == 0 || bx_link_send_data(&f->link, s->id, 1, piece, n) < 0)
                break;
            bx_lane_spend(&s->out[1], n);
            s->left -= n;
        }
        if (s->what == FLOOD && s->left == 0)
            fake_exit(f, s->id, 0, 0);
    }
}

static void fake_tell_stuck(struct fake *f)
{
    bool stuck = bx_link_wants_write(&f->link);

    for (int i = 0; i < f->count; i++)
        stuck = stuck || (f->streams[i].what == FLOOD && f->streams[i].out[1].credit == 0);
    if (stuck && !f->stuck)
        (void)!write(stuck_pipe[1], "s", 1);
    f->stuck = stuck;
}

static void fake_serve(int fd)
{
    static const struct bx_link_ops ops = {fake_message, fake_data, fake_eof};
    static struct fake f;
    struct bx_err err = BX_ERR_INIT;
    static uint8_t buf[65536];

    f.fd = fd;
    bx_buf_init(&f.echo, BX_WINDOW);
    bx_fd_nonblock(fd, true);
    bx_link_init(&f.link, &ops, &f, 4 * 1024 * 1024);
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        const uint8_t *out;
        size_t len;
        ssize_t n;

        fake_flood(&f);
        fake_echo(&f);
        while (bx_link_output(&f.link, &out, &len) && (n = send(fd, out, len, MSG_NOSIGNAL)) > 0)
            bx_link_sent(&f.link, (size_t)n);
        if (f.die && !bx_link_wants_write(&f.link))
            _exit(0);
        fake_tell_stuck(&f);
        p.events |= bx_link_wants_write(&f.link) ? POLLOUT : 0;
        poll(&p, 1, -1);
        n = read(fd, buf, sizeof(buf));
        if (n == 0)
            _exit(0);
        if (n > 0 && bx_link_input(&f.link, buf, (size_t)n, &err) < 0) {
            fprintf(stderr, "fake box: %s\n", err.msg);
            _exit(32);
        }
    }
}

/* ---- a home with such a box ---- */

struct world {
    struct home home;
    CBoxHandle *box;
    char *id;
    pid_t pid;
};

static void fake_main(int dir, int ready)
{
    int lock = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600), listener, fd;
    struct pollfd p;

    if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) < 0)
        _exit(33);
    listener = bx_unix_listen(dir, "box.sock", 8);
    if (listener < 0 || write(ready, "r", 1) != 1)
        _exit(34);
    p = (struct pollfd){.fd = listener, .events = POLLIN};
    poll(&p, 1, -1);
    fd = accept(listener, NULL, NULL);
    close(listener);
    fake_serve(fd);
}

static void mark_running(const char *home, const char *id, pid_t pid)
{
    struct bx_box_change change = BX_BOX_CHANGE_INIT;
    struct bx_store *store = NULL;
    struct bx_err err = BX_ERR_INIT;
    bx_cleanup_free char *boot = NULL;

    assert_int_equal(bx_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &boot, NULL), 0);
    boot[36] = '\0';
    assert_int_equal(bx_store_open(home, &store, &err), 0);
    change.state = BX_BOX_RUNNING;
    change.pid = (int)pid;
    change.boot_id = boot;
    assert_int_equal(bx_store_box_change(store, id, ~0u, &change, &err), 0);
    bx_store_close(store);
}

static int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    CBoxliteOptions *o;
    const char *cmd[] = {"main"};
    char path[128];
    int dir, fds[2];
    char c;

    snprintf(w->home.path, sizeof(w->home.path), "/tmp/bx-exec-XXXXXX");
    assert_non_null(mkdtemp(w->home.path));
    w->home.rt = open_runtime(w->home.path);
    o = options_of("busybox", "fake");
    boxlite_options_set_auto_remove(o, 0);
    boxlite_options_set_cmd(o, cmd, 1);
    w->box = make_box(w->home.rt, o);
    w->id = boxlite_box_id(w->box);
    snprintf(path, sizeof(path), "%s/boxes/%s", w->home.path, w->id);
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(pipe2(stuck_pipe, O_CLOEXEC), 0);
    assert_int_equal(bx_fd_nonblock(stuck_pipe[1], true), 0);
    w->pid = fork();
    if (w->pid == 0) {
        close(fds[0]);
        fake_main(dir, fds[1]);
    }
    close(fds[1]);
    assert_int_equal(read(fds[0], &c, 1), 1);
    close(fds[0]);
    close(dir);
    mark_running(w->home.path, w->id, w->pid);
    *state = w;
    return 0;
}

static int world_teardown(void **state)
{
    struct world *w = *state;
    int status = 0;

    boxlite_box_free(w->box);
    boxlite_free_string(w->id);
    boxlite_runtime_free(w->home.rt);
    kill(w->pid, SIGTERM);
    waitpid(w->pid, &status, 0);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0); /* it saw nothing against the protocol */
    pid_t rm = fork();
    if (rm == 0)
        execl("/bin/rm", "rm", "-rf", w->home.path, (char *)NULL);
    waitpid(rm, NULL, 0);
    close(stuck_pipe[0]);
    close(stuck_pipe[1]);
    free(w);
    return 0;
}

/* ---- what callbacks saw ---- */

struct seen {
    char out[64], err[64];
    size_t out_len, err_len;
    int exits, code, waits, wait_code;
    char order[64];
    CExecutionHandle *free_in_stdout;
};

static void note(struct seen *s, char c)
{
    size_t n = strlen(s->order);

    if (n + 1 < sizeof(s->order) && (n == 0 || s->order[n - 1] != c))
        s->order[n] = c;
}
static void on_out(const uint8_t *data, size_t len, void *ud)
{
    struct seen *s = ud;

    if (s->out_len < sizeof(s->out) - 1)
        memcpy(s->out + s->out_len, data,
               len < sizeof(s->out) - 1 - s->out_len ? len : sizeof(s->out) - 1 - s->out_len);
    s->out_len += len;
    note(s, 'o');
    if (s->free_in_stdout)
        boxlite_execution_free(s->free_in_stdout);
    s->free_in_stdout = NULL;
}
static void on_err(const uint8_t *data, size_t len, void *ud)
{
    struct seen *s = ud;

    memcpy(s->err, data, len < 63 ? len : 63);
    s->err_len += len;
    note(s, 'e');
}
static void on_exit_seen(int code, void *ud)
{
    struct seen *s = ud;

    s->exits++;
    s->code = code;
    note(s, 'x');
}
static void on_wait_seen(int code, CBoxliteError *e, void *ud)
{
    struct seen *s = ud;

    (void)e;
    s->waits++;
    s->wait_code = code;
    note(s, 'w');
}

static CExecutionHandle *run(struct world *w, const char *verb, const char *word)
{
    const char *args[] = {word};
    BoxliteCommand c = {.command = verb, .args = args, .argc = word ? 1 : 0};
    CExecutionHandle *x = NULL;
    CBoxliteError e = {Ok, NULL};

    if (boxlite_box_exec(w->box, &c, &x, &e) != Ok)
        fail_msg("%s", e.message);
    return x;
}

static void output_comes_before_waits_and_the_exit_is_last(void **state)
{
    struct world *w = *state;
    struct seen s = {0};
    CExecutionHandle *x = run(w, "echo", "hello");
    BoxliteExecutionResult r = BOXLITE_EXECUTION_RESULT_INIT;
    char *id = boxlite_execution_id(x);

    assert_int_equal(strlen(id), 12);
    boxlite_free_string(id);
    /* The exit is there before anybody registered: the order holds all the same. */
    assert_int_equal(boxlite_execution_on_exit(x, on_exit_seen, &s, NULL), Ok);
    assert_int_equal(boxlite_execution_wait(x, on_wait_seen, &s, NULL), Ok);
    assert_int_equal(boxlite_execution_wait(x, on_wait_seen, &s, NULL), Ok);
    assert_int_equal(boxlite_execution_on_stdout(x, on_out, &s, NULL), Ok);
    assert_int_equal(boxlite_execution_on_stderr(x, on_err, &s, NULL), Ok);
    assert_int_equal(boxlite_execution_on_stdout(x, on_out, &s, NULL), InvalidState); /* once */
    assert_int_equal(boxlite_execution_on_exit(x, on_exit_seen, &s, NULL), InvalidState);
    DRAIN_UNTIL(w->home.rt, s.exits);
    assert_string_equal(s.out, "hello");
    assert_string_equal(s.err, "err");
    assert_string_equal(s.order, "oewx");
    assert_int_equal(s.waits, 2);
    assert_int_equal(s.wait_code, 3);
    assert_int_equal(s.code, 3);
    assert_int_equal(boxlite_execution_result(x, &r, NULL), Ok);
    assert_int_equal(r.exit_code, 3);
    assert_int_equal(r.user_us, 1234);
    assert_int_equal(r.max_rss_bytes, 4096);
    /* A wait after the end is answered at once; a kill has nothing to do. */
    struct answer a = {0}, k = {0};
    boxlite_execution_wait(x, on_wait, &a, NULL);
    boxlite_execution_kill(x, on_plain, &k, NULL);
    DRAIN_UNTIL(w->home.rt, a.done && k.done);
    assert_int_equal(a.number, 3);
    ASSERT_ANSWER(k, Ok);
    boxlite_execution_free(x);
    assert_int_equal(boxlite_runtime_drain(w->home.rt, 0, NULL), 0);
    assert_int_equal(s.exits, 1);
}

static void output_nobody_asked_for_can_be_had_at_the_end(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    CExecutionHandle *x = run(w, "echo", "quiet");
    char *data = NULL;
    size_t len = 0;

    boxlite_execution_wait(x, on_wait, &a, NULL);
    DRAIN_UNTIL(w->home.rt, a.done);
    assert_int_equal(boxlite_execution_kept(x, 1, &data, &len, NULL), Ok);
    assert_int_equal(len, 5);
    assert_string_equal(data, "quiet");
    boxlite_free_string(data);
    assert_int_equal(boxlite_execution_kept(x, 3, &data, &len, NULL), InvalidArgument);
    boxlite_execution_free(x);
}

static void a_slow_reader_stops_the_writer_and_loses_nothing(void **state)
{
    struct world *w = *state;
    struct seen s = {0};
    CExecutionHandle *x = run(w, "flood", "20000000");
    char c;

    boxlite_execution_on_stdout(x, on_out, &s, NULL);
    boxlite_execution_on_exit(x, on_exit_seen, &s, NULL);
    /* Only what the window allows is under way before the first drain, however long that comes after. */
    assert_int_equal(read(stuck_pipe[0], &c, 1), 1);
    boxlite_runtime_drain(w->home.rt, 0, NULL);
    assert_true(s.out_len <= 2 * BX_WINDOW);
    DRAIN_UNTIL(w->home.rt, s.exits);
    assert_int_equal(s.out_len, 20000000);
    boxlite_execution_free(x);
}

static void output_nobody_reads_never_stops_the_writer_and_its_ends_are_kept(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    CExecutionHandle *x = run(w, "flood", "5000000");
    BoxliteExecutionResult r = BOXLITE_EXECUTION_RESULT_INIT;
    char *data = NULL;
    size_t len = 0;

    boxlite_execution_wait(x, on_wait, &a, NULL);
    assert_int_equal(boxlite_execution_kept(x, 1, &data, &len, NULL), InvalidState); /* not over */
    DRAIN_UNTIL(w->home.rt, a.done);
    assert_int_equal(boxlite_execution_result(x, &r, NULL), Ok);
    assert_int_equal(r.stdout_truncated, 1);
    assert_int_equal(r.stderr_truncated, 0);
    assert_int_equal(boxlite_execution_kept(x, 1, &data, &len, NULL), Ok);
    assert_int_equal(len, BX_KEEP_HEAD + BX_KEEP_TAIL);
    boxlite_free_string(data);
    boxlite_execution_free(x);
}

struct writer {
    CExecutionHandle *x;
    size_t sent, total;
    int calls;
};

static void feed(struct writer *wr)
{
    static uint8_t block[65536];
    size_t room;

    while (wr->sent < wr->total && (room = boxlite_execution_stdin_room(wr->x)) > 0) {
        size_t n = room < sizeof(block) ? room : sizeof(block);

        n = n < wr->total - wr->sent ? n : wr->total - wr->sent;
        assert_int_equal(boxlite_execution_stdin_write(wr->x, block, n, NULL), Ok);
        wr->sent += n;
    }
    if (wr->sent == wr->total)
        assert_int_equal(boxlite_execution_stdin_close(wr->x, NULL), Ok);
}

static void on_writable(size_t room, void *ud)
{
    struct writer *wr = ud;

    assert_true(room >= 512 * 1024);
    wr->calls++;
    feed(wr);
}

static void stdin_is_bounded_and_arrives_whole(void **state)
{
    struct world *w = *state;
    static uint8_t big[2 * 1024 * 1024];
    struct writer wr = {.x = run(w, "cat", NULL), .total = 12000000};
    struct seen s = {0};
    CBoxliteError e = {Ok, NULL};

    boxlite_execution_on_stdout(wr.x, on_out, &s, NULL);
    boxlite_execution_on_exit(wr.x, on_exit_seen, &s, NULL);
    boxlite_execution_on_writable(wr.x, on_writable, &wr, NULL);
    assert_int_equal(boxlite_execution_stdin_write(wr.x, big, sizeof(big), &e), ResourceExhausted);
    boxlite_error_free(&e);
    assert_int_equal(boxlite_execution_stdin_write(wr.x, NULL, 0, NULL), Ok);
    feed(&wr);
    assert_true(wr.sent < wr.total);
    DRAIN_UNTIL(w->home.rt, s.exits);
    assert_int_equal(wr.sent, wr.total);
    assert_int_equal(s.out_len, wr.total);
    assert_true(wr.calls > 0);
    assert_int_equal(boxlite_execution_stdin_write(wr.x, big, 1, NULL), InvalidState);
    assert_int_equal(boxlite_execution_stdin_close(wr.x, NULL), Ok);
    assert_int_equal(boxlite_execution_stdin_room(wr.x), 0);
    boxlite_execution_free(wr.x);
}

static void kill_signal_and_resize_are_answered(void **state)
{
    struct world *w = *state;
    struct answer sig = {0}, kill_ = {0}, size = {0};
    struct seen s = {0};
    CExecutionHandle *x = run(w, "sleep", NULL);
    BoxliteExecutionResult r = BOXLITE_EXECUTION_RESULT_INIT;

    boxlite_execution_on_exit(x, on_exit_seen, &s, NULL);
    assert_int_equal(boxlite_execution_result(x, &r, NULL), InvalidState);
    boxlite_execution_signal(x, 10, on_plain, &sig, NULL);
    boxlite_execution_tty_resize(x, 10, 10, on_plain, &size, NULL);
    DRAIN_UNTIL(w->home.rt, sig.done && size.done);
    ASSERT_ANSWER(sig, Ok);
    ASSERT_ANSWER(size, InvalidState); /* no terminal */
    assert_int_equal(s.exits, 0);
    boxlite_execution_kill(x, on_plain, &kill_, NULL);
    DRAIN_UNTIL(w->home.rt, s.exits && kill_.done);
    assert_int_equal(s.code, 137);
    boxlite_execution_result(x, &r, NULL);
    assert_int_equal(r.signal, 9);
    boxlite_execution_free(x);
}

static void a_command_that_is_not_there_is_an_execution_error(void **state)
{
    struct world *w = *state;
    CExecutionHandle *x = NULL;
    struct answer a = {0};
    CBoxliteError e = {Ok, NULL};
    BoxliteCommand c = {.command = "nosuch"};

    assert_int_equal(boxlite_box_exec(w->box, &c, &x, &e), Execution);
    assert_true(strncmp(e.message, "Execution error: ", 17) == 0);
    assert_non_null(strstr(e.message, "not found"));
    boxlite_error_free(&e);
    assert_null(x);
    boxlite_box_exec_post(w->box, &c, NULL, on_exec, &a, NULL);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Execution);
    assert_null(a.result);
}

static void environment_and_terminal_are_passed_on(void **state)
{
    struct world *w = *state;
    const char *pairs[] = {"A", "1", "B", "two words"};
    BoxliteCommand c = {.command = "env", .env_pairs = pairs, .env_count = 4, .tty = 1};
    struct seen s = {0};
    CExecutionHandle *x = NULL;

    assert_int_equal(boxlite_box_exec(w->box, &c, &x, NULL), Ok);
    boxlite_execution_on_stdout(x, on_out, &s, NULL);
    boxlite_execution_on_exit(x, on_exit_seen, &s, NULL);
    DRAIN_UNTIL(w->home.rt, s.exits);
    assert_string_equal(s.out, "A=1\nB=two words\nTERM=xterm\n");
    assert_int_equal(s.code, 1);
    boxlite_execution_free(x);
}

static void a_handle_freed_early_kills_the_command_and_says_so(void **state)
{
    struct world *w = *state;
    struct seen s = {0}, t = {0};
    struct answer a = {0};
    CExecutionHandle *x = run(w, "sleep", NULL), *y = run(w, "flood", "3000000");

    boxlite_execution_on_exit(x, on_exit_seen, &s, NULL);
    boxlite_execution_wait(x, on_wait, &a, NULL);
    boxlite_execution_free(x);
    DRAIN_UNTIL(w->home.rt, s.exits && a.done);
    assert_int_equal(s.code, -129);
    ASSERT_ANSWER(a, Stopped);
    /* From inside its own callback, too: no more output after it. */
    t.free_in_stdout = y;
    boxlite_execution_on_stdout(y, on_out, &t, NULL);
    boxlite_execution_on_exit(y, on_exit_seen, &t, NULL);
    DRAIN_UNTIL(w->home.rt, t.exits);
    assert_int_equal(t.code, -129);
    assert_string_equal(t.order, "ox");
}

static void attach_claims_what_was_kept_and_waits_for_its_end(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    struct seen s = {0};
    CExecutionHandle *x;

    boxlite_box_attach_execution(w->box, NULL, on_exec, &a, NULL);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Ok);
    x = a.result;
    boxlite_execution_on_stdout(x, on_out, &s, NULL);
    boxlite_execution_on_exit(x, on_exit_seen, &s, NULL);
    DRAIN_UNTIL(w->home.rt, s.exits);
    assert_string_equal(s.out, "kept in the box");
    assert_string_equal(s.order, "ox");
    assert_int_equal(s.code, 5);
    boxlite_execution_free(x);
}

static void details_of_a_running_box_are_made_printable(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    CExecutionHandle *x = run(w, "echo", "x");

    boxlite_box_details(w->box, on_info, &a, NULL);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Ok);
    assert_string_equal(boxlite_info_get(a.result, "status"), "running");
    assert_string_equal(boxlite_info_get(a.result, "kernel"), "6.1");
    assert_string_equal(boxlite_info_get(a.result, "execs_total"), "9");
    assert_null(strchr(boxlite_info_get(a.result, "jail"), 0x1b));
    assert_string_equal(boxlite_info_key(a.result, 0), "id");
    assert_null(boxlite_info_key(a.result, 1000));
    boxlite_info_free(a.result);
    boxlite_execution_free(x);
}

static CBoxInfo *info_of(struct world *w)
{
    struct answer a = {0};

    boxlite_box_info(w->box, on_box_info, &a, NULL);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Ok);
    return a.result;
}

static void a_box_that_dies_fails_every_wait_and_its_row(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    struct seen s = {0};
    CExecutionHandle *x = run(w, "sleep", NULL), *y;
    CBoxInfo *info = info_of(w);

    assert_string_equal(info->status, "running");
    assert_int_equal(info->pid, w->pid);
    boxlite_free_box_info(info);
    y = run(w, "die", NULL);
    boxlite_execution_on_exit(x, on_exit_seen, &s, NULL);
    boxlite_execution_wait(x, on_wait, &a, NULL);
    DRAIN_UNTIL(w->home.rt, a.done && s.exits);
    assert_int_not_equal(a.code, Ok);
    assert_int_equal(a.number, -1);
    assert_int_equal(s.code, -1);
    for (info = info_of(w); strcmp(info->status, "stopping") == 0;
         info = info_of(w)) { /* until its end is settled */
        boxlite_free_box_info(info);
        boxlite_runtime_drain(w->home.rt, 1000, NULL);
    }
    assert_string_equal(info->status, "failed");
    assert_int_equal(info->pid, 0);
    boxlite_free_box_info(info);
    boxlite_execution_free(x);
    boxlite_execution_free(y);
}

static void stop_of_another_programs_box_settles_its_row(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    CBoxInfo *info;

    boxlite_stop_box(w->box, on_plain, &a, NULL);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Ok);
    info = info_of(w);
    assert_int_equal(info->running, 0);
    boxlite_free_box_info(info);
}

static void remove_needs_force_while_it_runs(void **state)
{
    struct world *w = *state;
    struct answer a = {0}, b = {0};
    struct stat st;
    char path[128];

    boxlite_remove(w->home.rt, "fake", 0, on_plain, &a, NULL);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, InvalidState);
    boxlite_remove(w->home.rt, "fake", 1, on_plain, &b, NULL);
    DRAIN_UNTIL(w->home.rt, b.done);
    ASSERT_ANSWER(b, Ok);
    snprintf(path, sizeof(path), "%s/boxes/%s", w->home.path, w->id);
    assert_int_equal(stat(path, &st), -1);
}

static void a_runtime_freed_in_the_middle_drops_everything(void **state)
{
    struct world *w = *state;
    struct answer a = {0}, wait = {0};
    struct seen s = {0};
    CExecutionHandle *x = run(w, "flood", "9000000");
    BoxliteExecutionResult r = BOXLITE_EXECUTION_RESULT_INIT;

    boxlite_execution_on_stdout(x, on_out, &s, NULL);
    boxlite_execution_on_exit(x, on_exit_seen, &s, NULL);
    boxlite_execution_wait(x, on_wait, &wait, NULL);
    boxlite_box_exec_post(w->box, &(BoxliteCommand){.command = "sleep"}, NULL, on_exec, &a, NULL);
    boxlite_runtime_drain(w->home.rt, 0, NULL);
    boxlite_runtime_free(w->home.rt);
    w->home.rt = NULL;
    assert_int_equal(boxlite_execution_stdin_write(x, (const uint8_t *)"x", 1, NULL), Stopped);
    assert_int_equal(boxlite_execution_result(x, &r, NULL), Ok);
    assert_int_equal(wait.done, 0);
    assert_int_equal(s.exits, 0);
    if (a.result) /* the box may have been quicker */
        boxlite_execution_free(a.result);
    boxlite_execution_free(x);
}

int main(void)
{
#define W(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        W(output_comes_before_waits_and_the_exit_is_last),
        W(output_nobody_asked_for_can_be_had_at_the_end),
        W(a_slow_reader_stops_the_writer_and_loses_nothing),
        W(output_nobody_reads_never_stops_the_writer_and_its_ends_are_kept),
        W(stdin_is_bounded_and_arrives_whole),
        W(kill_signal_and_resize_are_answered),
        W(a_command_that_is_not_there_is_an_execution_error),
        W(environment_and_terminal_are_passed_on),
        W(a_handle_freed_early_kills_the_command_and_says_so),
        W(attach_claims_what_was_kept_and_waits_for_its_end),
        W(details_of_a_running_box_are_made_printable),
        W(a_box_that_dies_fails_every_wait_and_its_row),
        W(stop_of_another_programs_box_settles_its_row),
        W(remove_needs_force_while_it_runs),
        W(a_runtime_freed_in_the_middle_drops_everything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
