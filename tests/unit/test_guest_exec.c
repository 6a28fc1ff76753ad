/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands of the agent on this machine, without namespaces: the agent's table at one end of a link, a client
 * at the other, real processes. Plain files stand for the cgroups.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "guest/exec.h"

#define GROUPS   8
#define LINK_MAX (1024 * 1024)
#define STREAMS  16

/* What the client has seen of a stream. */
struct seen {
    char order[64]; /* S started, X exit, E error, 1 2 data of a lane (once per run), e eof, T truncated, o
                       ok, c credit */
    size_t n;
    struct bx_buf out[3];
    boxlite_Exit exit;
    boxlite_Error error;
    boxlite_Truncated truncated;
    boxlite_Started started;
    uint64_t credit;
};

struct world {
    struct bx_loop *loop;
    struct bx_link agent, client;
    struct bx_cgroups cgroups;
    struct bx_box box;
    struct bx_execs xs;
    struct seen seen[STREAMS];
    char dir[32];
};

static void note(struct seen *s, char c)
{
    if (s->n > 0 && s->order[s->n - 1] == c && (c == '1' || c == '2' || c == 'c'))
        return;
    assert_true(s->n + 1 < sizeof(s->order));
    s->order[s->n++] = c;
}

static int agent_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *p, size_t n,
                         struct bx_err *err)
{
    struct world *w = l->ud;

    bx_execs_message(&w->xs, type, stream, p, n);
    return 0;
}

static int agent_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *p, size_t n,
                      struct bx_err *err)
{
    struct world *w = l->ud;

    bx_execs_data(&w->xs, stream, lane, p, n);
    return 0;
}

static int agent_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    struct world *w = l->ud;

    bx_execs_eof(&w->xs, stream, lane);
    return 0;
}

static int client_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *p, size_t n,
                          struct bx_err *err)
{
    struct world *w = l->ud;
    struct seen *s = &w->seen[stream % STREAMS];
    boxlite_Credit credit = boxlite_Credit_init_zero;

    switch (type) {
    case BX_MSG_STARTED:
        note(s, 'S');
        return bx_msg_decode(type, p, n, &s->started, err);
    case BX_MSG_EXIT:
        note(s, 'X');
        return bx_msg_decode(type, p, n, &s->exit, err);
    case BX_MSG_ERROR:
        note(s, 'E');
        return bx_msg_decode(type, p, n, &s->error, err);
    case BX_MSG_TRUNCATED:
        note(s, 'T');
        return bx_msg_decode(type, p, n, &s->truncated, err);
    case BX_MSG_CREDIT:
        note(s, 'c');
        assert_int_equal(bx_msg_decode(type, p, n, &credit, err), 0);
        s->credit += credit.bytes;
        return 0;
    default:
        note(s, 'o');
        return 0;
    }
}

static int client_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *p, size_t n,
                       struct bx_err *err)
{
    struct seen *s = &((struct world *)l->ud)->seen[stream % STREAMS];

    note(s, lane == BX_LANE_STDOUT ? '1' : '2');
    assert_int_equal(bx_buf_add(&s->out[lane], p, n), 0);
    return 0;
}

static int client_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    note(&((struct world *)l->ud)->seen[stream % STREAMS], 'e');
    return 0;
}

static const struct bx_link_ops agent_ops = {agent_message, agent_data, agent_eof};
static const struct bx_link_ops client_ops = {client_message, client_data, client_eof};

static void carry(struct bx_link *from, struct bx_link *to)
{
    const uint8_t *data;
    size_t len;

    while (bx_link_output(from, &data, &len)) {
        struct bx_err err;
        size_t n = BX_MIN(len, (size_t)32768);

        assert_int_equal(bx_link_input(to, data, n, &err), 0);
        bx_link_sent(from, n);
    }
}

/* One exchange; waits at most `ms` for something to happen. */
static void turn(struct world *w, int ms)
{
    carry(&w->client, &w->agent);
    assert_true(bx_loop_dispatch(w->loop, ms) >= 0);
    carry(&w->agent, &w->client);
    if (w->xs.starved)
        bx_execs_resume(&w->xs);
    carry(&w->agent, &w->client);
}

static bool has(struct world *w, uint32_t stream, char c)
{
    return memchr(w->seen[stream].order, c, w->seen[stream].n) != NULL;
}

static void until(struct world *w, uint32_t stream, char c)
{
    int64_t deadline = bx_now() + 20 * BX_SEC;

    while (!has(w, stream, c)) {
        turn(w, 200);
        if (bx_now() > deadline)
            fail_msg("stream %u: no '%c' in \"%.*s\"", stream, c, (int)w->seen[stream].n,
                     w->seen[stream].order);
    }
}

static void until_bytes(struct world *w, uint32_t stream, size_t n)
{
    int64_t deadline = bx_now() + 20 * BX_SEC;

    while (bx_buf_len(&w->seen[stream].out[1]) < n) {
        turn(w, 200);
        assert_true(bx_now() < deadline);
    }
}

static void until_idle(struct world *w)
{
    int64_t deadline = bx_now() + 20 * BX_SEC;

    while (w->xs.active > 0) {
        turn(w, 200);
        assert_true(bx_now() < deadline);
    }
}

static void write_at(int dir, const char *name, const char *text)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(bx_write_full(fd, text, strlen(text)), 0);
    close(fd);
}

static void on_pipe(int signo)
{
    (void)signo;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    int box;

    signal(SIGPIPE, on_pipe);
    memcpy(w->dir, "/tmp/bx-exec-XXXXXX", 20);
    assert_non_null(mkdtemp(w->dir));
    box = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    write_at(box, "cgroup.kill", "");
    write_at(box, "cgroup.events", "populated 0\n");
    for (int i = 0; i < GROUPS; i++) {
        char name[64];

        snprintf(name, sizeof(name), "e%d", i);
        assert_int_equal(mkdirat(box, name, 0755), 0);
        snprintf(name, sizeof(name), "e%d/cgroup.kill", i);
        write_at(box, name, "");
        snprintf(name, sizeof(name), "e%d/cgroup.procs", i);
        write_at(box, name, "");
        snprintf(name, sizeof(name), "e%d/cgroup.events", i);
        write_at(box, name, "populated 0\nfrozen 0\n");
        snprintf(name, sizeof(name), "e%d/memory.events", i);
        write_at(box, name, "oom 0\noom_kill 0\n");
    }
    assert_int_equal(bx_cgroups_open(&w->cgroups, box, NULL), 0);
    w->loop = bx_loop_new();
    bx_link_init(&w->agent, &agent_ops, w, LINK_MAX);
    bx_link_init(&w->client, &client_ops, w, LINK_MAX);
    bx_execs_init(&w->xs, w->loop, &w->agent, &w->cgroups);
    w->box = (struct bx_box){.root_fd = -1, .pts_fd = -1, .ns_pidfd = -1, .hostname = "unit"};
    w->box.null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    w->xs.box = &w->box;
    for (int i = 0; i < STREAMS; i++) {
        for (int lane = 0; lane < 3; lane++)
            bx_buf_init(&w->seen[i].out[lane], 8 * 1024 * 1024);
    }
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    /* Whatever a test left running. */
    bx_execs_drop_streams(&w->xs);
    for (struct bx_exec *x = w->xs.first; x; x = x->next)
        bx_exec_kill(x);
    for (int i = 0; w->xs.active > 0 && i < 100; i++)
        turn(w, 200);
    bx_execs_done(&w->xs);
    bx_link_done(&w->agent);
    bx_link_done(&w->client);
    bx_loop_free(w->loop);
    bx_cgroups_done(&w->cgroups);
    close(w->box.null_fd);
    for (int i = 0; i < STREAMS; i++) {
        for (int lane = 0; lane < 3; lane++)
            bx_buf_done(&w->seen[i].out[lane]);
    }
    bx_rm_rf(AT_FDCWD, w->dir);
    free(w);
    return 0;
}

struct run {
    const char *id;
    const char *command; /* of sh -c; or NULL with argv */
    const char *argv0;
    const char *cwd;
    unsigned claim;
    bool in, detached;
    unsigned timeout_ms;
};

static void start(struct world *w, uint32_t stream, struct run r)
{
    struct bx_msg_exec msg = {.pb = boxlite_Exec_init_zero};
    char args[512];
    int n;

    snprintf(msg.pb.exec_id, sizeof(msg.pb.exec_id), "%s", r.id ? r.id : "x");
    if (!r.id)
        snprintf(msg.pb.exec_id, sizeof(msg.pb.exec_id), "x%u", stream);
    snprintf(msg.pb.cwd, sizeof(msg.pb.cwd), "%s", r.cwd ? r.cwd : "");
    msg.pb.claim = r.claim;
    msg.pb.stdin = r.in;
    msg.pb.detached = r.detached;
    msg.pb.timeout_ms = r.timeout_ms;
    n = snprintf(args, sizeof(args), "%s%c-c%c%s", r.argv0 ? r.argv0 : "sh", 0, 0,
                 r.command ? r.command : "") +
        1;
    msg.args = (struct bx_strs){.data = args, .len = (size_t)n, .count = 3};
    assert_int_equal(bx_msg_send_exec(&w->client, stream, &msg, NULL), 0);
}

static void send_close(struct world *w, uint32_t stream)
{
    boxlite_Close msg = boxlite_Close_init_zero;

    assert_int_equal(bx_msg_send(&w->client, BX_MSG_CLOSE, stream, &msg, NULL), 0);
}

static void send_claim(struct world *w, uint32_t stream, unsigned lane)
{
    boxlite_Claim msg = {.lane = lane};

    assert_int_equal(bx_msg_send(&w->client, BX_MSG_CLAIM, stream, &msg, NULL), 0);
}

static void assert_out(struct world *w, uint32_t stream, unsigned lane, const char *want)
{
    assert_string_equal(bx_buf_str(&w->seen[stream].out[lane]), want);
}

static void assert_order(struct world *w, uint32_t stream, const char *want)
{
    w->seen[stream].order[w->seen[stream].n] = '\0';
    assert_string_equal(w->seen[stream].order, want);
}

static void output_comes_first_and_exit_last(void **state)
{
    struct world *w = *state;

    start(w, 1, (struct run){.command = "echo out; exit 7", .claim = 2});
    until(w, 1, 'X');
    assert_order(w, 1, "S1eX");
    assert_out(w, 1, 1, "out\n");
    assert_int_equal(w->seen[1].exit.code, 7);
    assert_int_equal(w->seen[1].exit.signal, 0);
    assert_string_equal(w->seen[1].started.exec_id, "x1");
    assert_true(w->seen[1].started.pid > 0);
    assert_true(w->seen[1].exit.usage.wall_us > 0);
}

static void both_lanes_are_kept_apart(void **state)
{
    struct world *w = *state;

    start(w, 1, (struct run){.command = "echo a; echo b >&2; echo c", .claim = 6});
    until(w, 1, 'X');
    assert_out(w, 1, 1, "a\nc\n");
    assert_out(w, 1, 2, "b\n");
}

static void environment_and_directory_are_set(void **state)
{
    struct world *w = *state;

    start(w, 1, (struct run){.command = "pwd; echo $HOME $HOSTNAME", .cwd = "/usr", .claim = 2});
    until(w, 1, 'X');
    assert_out(w, 1, 1, "/usr\n/ unit\n");
}

static void a_command_that_cannot_be_run_is_an_error_of_the_stream(void **state)
{
    struct world *w = *state;

    start(w, 1, (struct run){.argv0 = "no-such-command", .command = ""});
    until(w, 1, 'E');
    assert_order(w, 1, "E");
    assert_int_equal(w->seen[1].error.code, BX_EEXEC);
    assert_int_equal(w->seen[1].error.sys_errno, ENOENT);
    assert_non_null(strstr(w->seen[1].error.message, "spawn_failed"));
    start(w, 2, (struct run){.argv0 = "/etc/passwd", .command = ""});
    until(w, 2, 'E');
    assert_int_equal(w->seen[2].error.sys_errno, EACCES);
    start(w, 3, (struct run){.command = "true", .cwd = "/no/such"});
    until(w, 3, 'E');
    assert_int_equal(w->seen[3].error.sys_errno, 0);
    assert_non_null(strstr(w->seen[3].error.message, "/no/such"));
    while (w->xs.count > 0)
        turn(w, 200);
}

static void death_by_signal_is_128_and_more(void **state)
{
    struct world *w = *state;

    start(w, 1, (struct run){.command = "kill -9 $$"});
    until(w, 1, 'X');
    assert_int_equal(w->seen[1].exit.code, 137);
    assert_int_equal(w->seen[1].exit.signal, 9);
    assert_false(w->seen[1].exit.killed);
}

static void signals_reach_it_and_dispositions_are_default(void **state)
{
    struct world *w = *state;

    /* SIGPIPE has a handler here: it must be deadly again in the child. */
    start(w, 1, (struct run){.command = "kill -PIPE $$; echo alive", .claim = 2});
    until(w, 1, 'X');
    assert_int_equal(w->seen[1].exit.signal, SIGPIPE);
    start(w, 2, (struct run){.command = "exec sleep 100", .claim = 0});
    until(w, 2, 'S');
    {
        boxlite_Signal sig = {.request = 4, .signo = SIGTERM};

        assert_int_equal(bx_msg_send(&w->client, BX_MSG_SIGNAL, 2, &sig, NULL), 0);
        until(w, 2, 'X');
        assert_true(has(w, 2, 'o'));
        assert_int_equal(w->seen[2].exit.code, 128 + SIGTERM);
        assert_int_equal(bx_msg_send(&w->client, BX_MSG_SIGNAL, 2, &sig, NULL), 0);
        until(w, 2, 'E');
        assert_int_equal(w->seen[2].error.code, BX_ESTATE);
        assert_int_equal(w->seen[2].error.request, 4);
    }
}

static void resizing_a_pipe_is_an_error(void **state)
{
    struct world *w = *state;
    boxlite_Resize msg = {.request = 9, .rows = 1, .cols = 1};

    start(w, 1, (struct run){.command = "exec sleep 100"});
    until(w, 1, 'S');
    assert_int_equal(bx_msg_send(&w->client, BX_MSG_RESIZE, 1, &msg, NULL), 0);
    until(w, 1, 'E');
    assert_int_equal(w->seen[1].error.code, BX_ESTATE);
    assert_int_equal(w->seen[1].error.request, 9);
}

static void input_is_passed_on_and_ends(void **state)
{
    struct world *w = *state;

    start(w, 1, (struct run){.command = "cat; echo end", .claim = 2, .in = true});
    assert_int_equal(bx_link_send_data(&w->client, 1, 0, "hello ", 6), 0);
    assert_int_equal(bx_link_send_data(&w->client, 1, 0, "world\n", 6), 0);
    assert_int_equal(bx_link_send_eof(&w->client, 1, 0), 0);
    until(w, 1, 'X');
    assert_out(w, 1, 1, "hello world\nend\n");
}

static void without_input_a_command_reads_the_end(void **state)
{
    struct world *w = *state;

    start(w, 1, (struct run){.command = "cat; echo end", .claim = 2});
    until(w, 1, 'X');
    assert_out(w, 1, 1, "end\n");
}

static void input_gets_credit_as_it_is_read(void **state)
{
    struct world *w = *state;
    static uint8_t block[65536];
    size_t sent = 0;

    start(w, 1, (struct run){.command = "read x; wc -c", .claim = 2, .in = true});
    until(w, 1, 'S');
    /* All that may be sent, to a reader that waits for a line: the pipe takes some, then credit ends. */
    kill(w->xs.first->pid, SIGSTOP);
    for (int i = 0; i < 200; i++) {
        if (sent + sizeof(block) <= BX_WINDOW + w->seen[1].credit) {
            assert_int_equal(bx_link_send_data(&w->client, 1, 0, block, sizeof(block)), 0);
            sent += sizeof(block);
        }
        turn(w, 1);
    }
    assert_true(sent >= BX_WINDOW && sent <= 2 * BX_WINDOW + BX_WINDOW / 4);
    assert_false(has(w, 1, 'E'));
    kill(w->xs.first->pid, SIGCONT);
    assert_int_equal(bx_link_send_eof(&w->client, 1, 0), 0);
    until(w, 1, 'X'); /* "read" goes through it all, as no line ends */
    assert_out(w, 1, 1, "0\n");
}

static void more_input_than_credit_closes_the_stream(void **state)
{
    struct world *w = *state;
    static uint8_t block[65536];

    start(w, 1, (struct run){.command = "exec sleep 100", .in = true});
    until(w, 1, 'S');
    for (int i = 0; i < 64 && !has(w, 1, 'E'); i++) {
        assert_int_equal(bx_link_send_data(&w->client, 1, 0, block, sizeof(block)), 0);
        turn(w, 0);
    }
    until(w, 1, 'E');
    assert_int_equal(w->seen[1].error.code, BX_ERPC);
    while (w->xs.count > 0) /* and the command is killed */
        turn(w, 200);
}

static void input_nobody_reads_is_dropped_with_credit(void **state)
{
    struct world *w = *state;
    static uint8_t block[65536];

    start(w, 1, (struct run){.command = "exec <&-; echo closed; exec sleep 100", .claim = 2, .in = true});
    until(w, 1, '1');
    for (int i = 0; i < 16; i++)
        assert_int_equal(bx_link_send_data(&w->client, 1, 0, block, sizeof(block) - 100), 0);
    until(w, 1, 'c');
}

static void no_credit_stops_the_writer_and_credit_lets_it_go_on(void **state)
{
    struct world *w = *state;
    boxlite_Credit credit = {.lane = 1, .bytes = 4 * 1024 * 1024};

    start(w, 1, (struct run){.command = "head -c 3000000 /dev/zero; echo done >&2", .claim = 6});
    until_bytes(w, 1, BX_WINDOW);
    for (int i = 0; i < 5; i++)
        turn(w, 20);
    assert_int_equal(bx_buf_len(&w->seen[1].out[1]), BX_WINDOW);
    assert_false(has(w, 1, '2'));
    assert_int_equal(bx_msg_send(&w->client, BX_MSG_CREDIT, 1, &credit, NULL), 0);
    until(w, 1, 'X');
    assert_int_equal(bx_buf_len(&w->seen[1].out[1]), 3000000);
    assert_out(w, 1, 2, "done\n");
}

static void what_a_pipe_held_at_the_end_waits_for_credit(void **state)
{
    struct world *w = *state;
    boxlite_Credit credit = {.lane = 1, .bytes = 1024 * 1024};

    /* The window and a little: the command ends with bytes in the pipe that may not be sent yet. */
    start(w, 1, (struct run){.command = "head -c 1060000 /dev/zero", .claim = 2});
    until_idle(w);
    assert_false(has(w, 1, 'X'));
    assert_int_equal(bx_msg_send(&w->client, BX_MSG_CREDIT, 1, &credit, NULL), 0);
    until(w, 1, 'X');
    assert_order(w, 1, "S1eX");
    assert_int_equal(bx_buf_len(&w->seen[1].out[1]), 1060000);
}

static void unclaimed_output_never_stops_and_its_ends_are_kept(void **state)
{
    struct world *w = *state;

    start(w, 1, (struct run){.command = "echo first; head -c 5000000 /dev/zero; echo last"});
    until(w, 1, 'X');
    send_claim(w, 1, 1);
    until(w, 1, 'e');
    assert_order(w, 1, "SX1T1e");
    assert_int_equal(bx_buf_len(&w->seen[1].out[1]), BX_KEEP_HEAD + BX_KEEP_TAIL);
    assert_int_equal(w->seen[1].truncated.dropped, 5000011 - BX_KEEP_HEAD - BX_KEEP_TAIL);
    assert_memory_equal(bx_buf_data(&w->seen[1].out[1]), "first\n", 6);
    assert_memory_equal(bx_buf_data(&w->seen[1].out[1]) + BX_KEEP_HEAD + BX_KEEP_TAIL - 5, "last\n", 5);
    assert_int_equal(w->xs.kept, 0);
}

static void a_late_claim_gets_what_was_kept_then_what_comes(void **state)
{
    struct world *w = *state;

    start(w, 1, (struct run){.command = "echo early; read x; echo late", .in = true});
    until(w, 1, 'S');
    while (w->xs.kept < 6)
        turn(w, 200);
    send_claim(w, 1, 1);
    until(w, 1, '1');
    assert_out(w, 1, 1, "early\n");
    assert_int_equal(bx_link_send_data(&w->client, 1, 0, "\n", 1), 0);
    until(w, 1, 'X');
    assert_out(w, 1, 1, "early\nlate\n");
    assert_order(w, 1, "S1eX");
}

static void closing_kills_a_command(void **state)
{
    struct world *w = *state;
    pid_t pid;

    start(w, 1, (struct run){.command = "exec sleep 1000"});
    until(w, 1, 'S');
    pid = w->xs.first->pid;
    send_close(w, 1);
    while (w->xs.count > 0)
        turn(w, 200);
    assert_int_equal(kill(pid, 0), -1);
}

static void closing_leaves_a_detached_command_and_attach_finds_it(void **state)
{
    struct world *w = *state;
    boxlite_Attach attach = {.exec_id = "det"};

    start(w, 1, (struct run){.id = "det", .command = "echo hello; exit 4", .detached = true});
    until(w, 1, 'S');
    send_close(w, 1);
    while (w->xs.active > 0)
        turn(w, 200);
    assert_int_equal(w->xs.count, 1);
    assert_int_equal(bx_msg_send(&w->client, BX_MSG_ATTACH, 2, &attach, NULL), 0);
    send_claim(w, 2, 1);
    until(w, 2, 'e');
    assert_order(w, 2, "SX1e");
    assert_out(w, 2, 1, "hello\n");
    assert_int_equal(w->seen[2].exit.code, 4);
}

static void a_lane_has_one_reader(void **state)
{
    struct world *w = *state;
    boxlite_Attach attach = {.exec_id = "two"};

    start(w, 1, (struct run){.id = "two", .command = "read x; echo $x", .in = true, .claim = 2});
    until(w, 1, 'S');
    assert_int_equal(bx_msg_send(&w->client, BX_MSG_ATTACH, 2, &attach, NULL), 0);
    until(w, 2, 'S');
    send_claim(w, 2, 1);
    until(w, 2, 'E');
    assert_int_equal(w->seen[2].error.code, BX_ESTATE);
    assert_int_equal(bx_link_send_data(&w->client, 1, 0, "mine\n", 5), 0);
    until(w, 1, 'X');
    assert_out(w, 1, 1, "mine\n");
}

static void attaching_to_nothing_is_an_error(void **state)
{
    struct world *w = *state;
    boxlite_Attach attach = {.exec_id = "none"};

    assert_int_equal(bx_msg_send(&w->client, BX_MSG_ATTACH, 3, &attach, NULL), 0);
    until(w, 3, 'E');
    assert_int_equal(w->seen[3].error.code, BX_ENOTFOUND);
}

static void an_id_is_used_once(void **state)
{
    struct world *w = *state;

    start(w, 1, (struct run){.id = "same", .command = "exec sleep 100"});
    start(w, 2, (struct run){.id = "same", .command = "true"});
    until(w, 2, 'E');
    assert_int_equal(w->seen[2].error.code, BX_EEXISTS);
    assert_false(has(w, 1, 'E'));
}

static void time_up_ends_it(void **state)
{
    struct world *w = *state;
    int64_t before = bx_now();

    start(w, 1, (struct run){.command = "exec sleep 100", .timeout_ms = 100});
    until(w, 1, 'X');
    assert_true(w->seen[1].exit.timed_out);
    assert_int_equal(w->seen[1].exit.code, 128 + SIGTERM);
    assert_true(bx_now() - before < 2 * BX_SEC);
}

static void time_up_kills_what_ignores_term(void **state)
{
    struct world *w = *state;

    start(w, 1, (struct run){.command = "trap '' TERM; while :; do sleep 0.1; done", .timeout_ms = 300});
    until(w, 1, 'X');
    assert_true(w->seen[1].exit.timed_out);
    assert_int_equal(w->seen[1].exit.code, 137);
}

static void survivors_do_not_hold_the_exit_and_live_on(void **state)
{
    struct world *w = *state;
    int64_t before = bx_now();
    struct stat st;
    char path[64], command[256];

    snprintf(path, sizeof(path), "%s/alive", w->dir);
    snprintf(command, sizeof(command), "echo now; (sleep 2; echo later; echo x > %s)& exit 0", path);
    start(w, 1, (struct run){.command = command, .claim = 6});
    until(w, 1, 'X');
    assert_true(bx_now() - before < 1800 * BX_MSEC);
    assert_out(w, 1, 1, "now\n");
    send_close(w, 1);
    while (w->xs.count > 0) /* its pipes are read until it has gone */
        turn(w, 200);
    assert_int_equal(stat(path, &st), 0);
    assert_out(w, 1, 1, "now\n");
}

static void an_oom_kill_is_told(void **state)
{
    struct world *w = *state;

    start(w, 1, (struct run){.command = "read x; kill -9 $$", .in = true});
    until(w, 1, 'S');
    write_at(w->xs.first->cgroup->dir, "memory.events", "oom 1\noom_kill 1\n");
    assert_int_equal(bx_link_send_data(&w->client, 1, 0, "\n", 1), 0);
    until(w, 1, 'X');
    assert_int_equal(w->seen[1].exit.code, 137);
    assert_true(w->seen[1].exit.oom);
    assert_non_null(strstr(w->seen[1].exit.message, "out of memory"));
}

static void messages_for_streams_that_are_gone_are_harmless(void **state)
{
    struct world *w = *state;
    boxlite_Credit credit = {.lane = 1, .bytes = 100};
    boxlite_Signal sig = {.request = 3, .signo = 9};

    assert_int_equal(bx_link_send_data(&w->client, 5, 0, "x", 1), 0);
    assert_int_equal(bx_link_send_eof(&w->client, 5, 0), 0);
    assert_int_equal(bx_msg_send(&w->client, BX_MSG_CREDIT, 5, &credit, NULL), 0);
    send_claim(w, 5, 1);
    send_close(w, 5);
    turn(w, 0);
    assert_order(w, 5, "");
    assert_int_equal(bx_msg_send(&w->client, BX_MSG_SIGNAL, 5, &sig, NULL), 0);
    until(w, 5, 'E');
    assert_int_equal(w->seen[5].error.request, 3);
}

static void a_box_that_is_not_running_runs_nothing(void **state)
{
    struct world *w = *state;

    w->xs.box = NULL;
    start(w, 1, (struct run){.command = "true"});
    until(w, 1, 'E');
    assert_int_equal(w->seen[1].error.code, BX_ESTOPPED);
}

static void a_lost_peer_kills_what_is_not_detached(void **state)
{
    struct world *w = *state;

    start(w, 1, (struct run){.command = "exec sleep 1000", .claim = 6, .in = true});
    start(w, 2, (struct run){.command = "exec sleep 1000"});
    start(w, 3, (struct run){.command = "exec sleep 1000", .detached = true});
    until(w, 3, 'S');
    bx_execs_drop_streams(&w->xs);
    while (w->xs.count > 1)
        turn(w, 200);
    assert_true(w->xs.first->detached);
}

static void twenty_at_once_all_end(void **state)
{
    struct world *w = *state;

    for (uint32_t i = 1; i < STREAMS; i++)
        start(w, i, (struct run){.command = "echo $$", .claim = 2});
    for (uint32_t i = 1; i < STREAMS; i++) {
        until(w, i, has(w, i, 'E') ? 'E' : 'X');
        /* Only so many groups were made for this test: the rest is refused, in words. */
        if (has(w, i, 'E'))
            assert_int_equal(w->seen[i].error.code, BX_ERESOURCE);
    }
    assert_int_equal(w->seen[1].exit.code, 0);
    assert_true(bx_buf_len(&w->seen[1].out[1]) > 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(output_comes_first_and_exit_last),
        T(both_lanes_are_kept_apart),
        T(environment_and_directory_are_set),
        T(a_command_that_cannot_be_run_is_an_error_of_the_stream),
        T(death_by_signal_is_128_and_more),
        T(signals_reach_it_and_dispositions_are_default),
        T(resizing_a_pipe_is_an_error),
        T(input_is_passed_on_and_ends),
        T(without_input_a_command_reads_the_end),
        T(input_gets_credit_as_it_is_read),
        T(more_input_than_credit_closes_the_stream),
        T(input_nobody_reads_is_dropped_with_credit),
        T(no_credit_stops_the_writer_and_credit_lets_it_go_on),
        T(what_a_pipe_held_at_the_end_waits_for_credit),
        T(unclaimed_output_never_stops_and_its_ends_are_kept),
        T(a_late_claim_gets_what_was_kept_then_what_comes),
        T(closing_kills_a_command),
        T(closing_leaves_a_detached_command_and_attach_finds_it),
        T(a_lane_has_one_reader),
        T(attaching_to_nothing_is_an_error),
        T(an_id_is_used_once),
        T(time_up_ends_it),
        T(time_up_kills_what_ignores_term),
        T(survivors_do_not_hold_the_exit_and_live_on),
        T(an_oom_kill_is_told),
        T(messages_for_streams_that_are_gone_are_harmless),
        T(a_box_that_is_not_running_runs_nothing),
        T(a_lost_peer_kills_what_is_not_detached),
        T(twenty_at_once_all_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
