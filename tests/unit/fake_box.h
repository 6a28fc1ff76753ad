/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_box.h - a home with one box that runs, whose other side is a child process of the test: it speaks the box protocol
 * on boxes/<id>/box.sock and holds the box's lock, as boxlite-shim does. What a "command" does is told by its first word.
 */
#ifndef BX_TESTS_FAKE_BOX_H
#define BX_TESTS_FAKE_BOX_H

#include "api_help.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
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
    bool drop; /* this client, and goes on */
    bool paused;
    bool stuck; /* it has more to send than it may */
    struct bx_buf echo;
};

/* Work on files, and what is left to send of it each time round: of tests that have some. */
static void (*fake_file_op)(struct fake *f, uint32_t stream, const uint8_t *p, size_t len);
static void (*fake_file_pump)(struct fake *f);

/* It knows BoxPause; else it is of an older version. */
static bool fake_pauses;

/* Each time it gets stuck, a byte for the test. */
static int stuck_pipe[2] = {-1, -1};

static inline struct fake_stream *fake_find(struct fake *f, uint32_t id)
{
    for (int i = 0; i < f->count; i++)
        if (f->streams[i].id == id)
            return &f->streams[i];
    return NULL;
}

static inline void fake_exit(struct fake *f, uint32_t stream, int code, int signo)
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

static inline void fake_exec(struct fake *f, uint32_t stream, const uint8_t *p, size_t len)
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
    } else if (bx_streq(verb, "drop")) {
        f->drop = true;
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

static inline void fake_attach(struct fake *f, uint32_t stream)
{
    boxlite_Started started = {.pid = 8, .exec_id = "main"};
    struct fake_stream *s = &f->streams[f->count++];

    *s = (struct fake_stream){.id = stream, .what = ATTACHED};
    bx_msg_send(&f->link, BX_MSG_STARTED, stream, &started, NULL);
    fake_exit(f, stream, 5, 0); /* it has ended long ago; its output is still there */
}

static inline int fake_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *p, size_t len,
                        struct bx_err *err)
{
    struct bx_msg_hello hello = {.pb = {.version = BX_WIRE_VERSION, .program = "fake"}};
    boxlite_BoxInfo info = {
        .state = BX_BOX_RUNNING,
        .engine = "tcg",
        .kernel = "6.1",
        .jail = "none\x1b[31m",
        .execs_total = 9,
        .exec_errors = 2,
        .bytes_sent = 1000,
        .bytes_received = 5000000000,
        .memory_bytes = 50 << 20,
        .cpu_ns = 2000000000,
        .uptime_ms = 8000,
        .setup_us = 1000,
        .image_us = 2000,
        .template_us = 3000,
        .config_us = 4000,
        .spawn_us = 10000,
        .restore_us = 20000,
        .start_us = 30000,
        .network = true,
        .net = {.bytes_sent = 70, .bytes_received = 80, .connections = 2, .connections_total = 9, .refused = 3, .failed = 4},
        .guest = {.memory_bytes = 1 << 20, .memory_max = 200 << 20, .processes = 3},
    };
    struct fake *f = l->ud;
    struct fake_stream *s = fake_find(f, stream);
    union {
        boxlite_Credit credit;
        boxlite_Signal signal;
        boxlite_Resize resize;
        boxlite_Claim claim;
        boxlite_BoxStop stop;
        boxlite_BoxPause pause;
        boxlite_BoxResume resume;
    } m;
    boxlite_BoxGone gone = {.state = BX_BOX_STOPPED, .message = "stopped"};

    info.shim_pid = (uint32_t)getpid();
    info.state = f->paused ? BX_BOX_PAUSED : BX_BOX_RUNNING;
    if (fake_file_op)
        hello.features = (struct bx_strs){"files", sizeof("files"), 1};
    else if (fake_pauses)
        hello.features = (struct bx_strs){"pause", sizeof("pause"), 1};
    if (type == BX_MSG_FILE_OP && fake_file_op) {
        fake_file_op(f, stream, p, len);
        return 0;
    }
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
    case BX_MSG_BOX_PAUSE:
    case BX_MSG_BOX_RESUME:
        bx_msg_decode(type, p, len, &m, err);
        f->paused = type == BX_MSG_BOX_PAUSE;
        info.state = f->paused ? BX_BOX_PAUSED : BX_BOX_RUNNING;
        bx_msg_send(l, BX_MSG_BOX_INFO, 0, &info, err);
        return bx_msg_send_ok(l, 0, f->paused ? m.pause.request : m.resume.request);
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

static inline int fake_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *data, size_t len,
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
static inline void fake_echo(struct fake *f)
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

static inline int fake_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    struct fake_stream *s = fake_find(l->ud, stream);

    (void)lane, (void)err;
    if (s)
        s->in_eof = true;
    return 0;
}

static inline void fake_flood(struct fake *f)
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

static inline void fake_tell_stuck(struct fake *f)
{
    bool stuck = bx_link_wants_write(&f->link);

    for (int i = 0; i < f->count; i++)
        stuck = stuck || (f->streams[i].what == FLOOD && f->streams[i].out[1].credit == 0);
    if (stuck && !f->stuck)
        (void)!write(stuck_pipe[1], "s", 1);
    f->stuck = stuck;
}

static inline void fake_serve(int fd)
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

        if (fake_file_pump)
            fake_file_pump(&f);
        fake_flood(&f);
        fake_echo(&f);
        while (bx_link_output(&f.link, &out, &len) && (n = send(fd, out, len, MSG_NOSIGNAL)) > 0)
            bx_link_sent(&f.link, (size_t)n);
        if (f.die && !bx_link_wants_write(&f.link))
            _exit(0);
        if (f.drop && !bx_link_wants_write(&f.link)) {
            prctl(PR_SET_NAME, "boxlite-shim"); /* to be mistaken for one that hangs */
            close(fd);
            for (;;)
                pause();
        }
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

static inline void fake_main(int dir, int ready)
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

static inline void mark_running(const char *home, const char *id, pid_t pid)
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

static inline int world_setup(void **state)
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

static inline int world_teardown(void **state)
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

static inline void note(struct seen *s, char c)
{
    size_t n = strlen(s->order);

    if (n + 1 < sizeof(s->order) && (n == 0 || s->order[n - 1] != c))
        s->order[n] = c;
}
static inline void on_out(const uint8_t *data, size_t len, void *ud)
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
static inline void on_err(const uint8_t *data, size_t len, void *ud)
{
    struct seen *s = ud;

    memcpy(s->err, data, len < 63 ? len : 63);
    s->err_len += len;
    note(s, 'e');
}
static inline void on_exit_seen(int code, void *ud)
{
    struct seen *s = ud;

    s->exits++;
    s->code = code;
    note(s, 'x');
}
static inline void on_wait_seen(int code, CBoxliteError *e, void *ud)
{
    struct seen *s = ud;

    (void)e;
    s->waits++;
    s->wait_code = code;
    note(s, 'w');
}

static inline CExecutionHandle *run(struct world *w, const char *verb, const char *word)
{
    const char *args[] = {word};
    BoxliteCommand c = {.command = verb, .args = args, .argc = word ? 1 : 0};
    CExecutionHandle *x = NULL;
    CBoxliteError e = {Ok, NULL};

    if (boxlite_box_exec(w->box, &c, &x, &e) != Ok)
        fail_msg("%s", e.message);
    return x;
}

#endif
