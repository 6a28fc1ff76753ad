/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shim.c - boxlite-shim with real machines, spoken to as the library does: a plan on a memfd, the box
 * protocol on a socket. With an argument N it measures N starts instead.
 *
 * The directory with boxlite-shim and the boot files is $BX_TEST_LIBEXEC. Every wait has a deadline.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "disk/qcow2.h"
#include "host/shim_plan.h"
#include "host/spawn.h"
#include "vm/probe.h"
#include "vm/shape.h"
#include "wire/messages.h"

#define DEADLINE  (60 * BX_SEC)
#define DISK_SIZE (1ull << 30)

static struct {
    char home[64], libexec[4096], base[128], templates[128], shim[4200];
    struct bx_vm_shape shape;
    struct bx_vm_parts parts;
    struct bx_vm_key key;
} g;

static struct bx_err err;
#define OK(call)                                                                                             \
    do {                                                                                                     \
        if ((call) < 0)                                                                                      \
            fail_msg("%s: %s", #call, err.msg);                                                              \
    } while (0)

/* --- the far end of a link --- */

struct peer {
    int fd;
    struct bx_link link;
    bool closed;
    bool up, gone_seen; /* BoxInfo, BoxGone */
    boxlite_BoxInfo info;
    boxlite_BoxGone gone;
    unsigned started, exits, oks;
    boxlite_Exit exit;
    boxlite_Error error;
    bool error_seen;
    char out[256];
    size_t out_len; /* all of it; the start is in out */
    uint64_t out_hash;
    uint32_t credit[8]; /* stdin, by stream */
};

static int on_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *p, size_t len,
                      struct bx_err *e)
{
    struct peer *c = l->ud;
    boxlite_Credit credit;

    switch (type) {
    case BX_MSG_BOX_INFO:
        c->up = true;
        return bx_msg_decode(type, p, len, &c->info, e);
    case BX_MSG_BOX_GONE:
        c->gone_seen = true;
        return bx_msg_decode(type, p, len, &c->gone, e);
    case BX_MSG_STARTED:
        c->started++;
        return 0;
    case BX_MSG_EXIT:
        c->exits++;
        return bx_msg_decode(type, p, len, &c->exit, e);
    case BX_MSG_ERROR:
        c->error_seen = true;
        return bx_msg_decode(type, p, len, &c->error, e);
    case BX_MSG_OK:
        c->oks++;
        return 0;
    case BX_MSG_CREDIT:
        if (bx_msg_decode(type, p, len, &credit, e) == 0 && stream < 8)
            c->credit[stream] += credit.bytes;
        return 0;
    default:
        return 0;
    }
}

static int on_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *data, size_t len,
                   struct bx_err *e)
{
    struct peer *c = l->ud;

    (void)e;
    for (size_t i = 0; i < len && c->out_len + i < sizeof(c->out) - 1; i++)
        c->out[c->out_len + i] = (char)data[i];
    c->out_len += len;
    c->out_hash = bx_fnv1a(c->out_hash, data, len);
    return bx_msg_send_credit(l, stream, lane, (uint32_t)len);
}

static int on_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *e)
{
    (void)l;
    (void)stream;
    (void)lane;
    (void)e;
    return 0;
}

static const struct bx_link_ops ops = {on_message, on_data, on_eof};

static struct peer *peer_new(int fd)
{
    struct peer *c = calloc(1, sizeof(*c));
    struct bx_msg_hello hello = {.pb = {.version = BX_WIRE_VERSION, .program = "test"}};

    c->fd = fd;
    c->out_hash = BX_FNV1A_SEED;
    bx_fd_nonblock(fd, true);
    bx_link_init(&c->link, &ops, c, 4 * 1024 * 1024);
    OK(bx_msg_send_hello(&c->link, &hello, &err));
    return c;
}

static void peer_free(struct peer *c)
{
    close(c->fd);
    bx_link_done(&c->link);
    free(c);
}

static void peer_io(struct peer *c, int timeout_ms)
{
    struct pollfd p = {.fd = c->fd,
                       .events = (short)(POLLIN | (bx_link_wants_write(&c->link) ? POLLOUT : 0))};
    const uint8_t *data;
    size_t len;
    ssize_t n;

    if (bx_link_output(&c->link, &data, &len) && (n = send(c->fd, data, len, MSG_NOSIGNAL)) > 0) {
        bx_link_sent(&c->link, (size_t)n);
        return;
    }
    poll(&p, 1, timeout_ms);
    if (!(p.revents & (POLLIN | POLLHUP)))
        return;
    uint8_t *dst = bx_link_rx_reserve(&c->link, &len);
    n = read(c->fd, dst, len);
    if (n > 0)
        OK(bx_link_rx_commit(&c->link, (size_t)n, &err));
    else if (n == 0 || errno != EAGAIN)
        c->closed = true;
}

/* Until `cond` holds for peer c. */
#define WAIT(c, cond)                                                                                        \
    do {                                                                                                     \
        int64_t until_ = bx_now() + DEADLINE;                                                                \
        while (!(cond)) {                                                                                    \
            if ((c)->closed || bx_now() > until_)                                                            \
                fail_msg("waited for %s: %s; gone: %s; error: %s; out: %s", #cond,                           \
                         (c)->closed ? "closed" : "deadline", (c)->gone.message, (c)->error.message,         \
                         (c)->out);                                                                          \
            peer_io((c), 1000);                                                                              \
        }                                                                                                    \
    } while (0)

/* --- boxes --- */

struct box {
    char id[BX_ID_LEN + 1], dir[256];
    struct bx_shim_plan plan;
    int pidfd;
    pid_t pid;
    struct peer *c; /* the starter's link */
};

static void fill_plan(struct bx_shim_plan *p, enum bx_shim_kind kind)
{
    static char *env[] = {(char *)"PATH=/bin:/usr/bin", NULL};

    *p = (struct bx_shim_plan){
        .kind = kind,
        .fd = 4,
        .engine = (char *)"tcg",
        .cpus = g.shape.cpus,
        .memory_mib = g.shape.memory_mib,
        .tsc_khz = g.shape.tsc_khz,
        .qemu = g.parts.qemu,
        .qemu_id = g.parts.qemu_id,
        .kernel = g.parts.kernel,
        .initramfs = g.parts.initramfs,
        .hook = g.parts.hook,
        .boot_id = g.parts.boot_id,
        .hook_hash = g.parts.hook_hash,
        .templates_dir = g.templates,
        .template_name = g.key.name,
        .template_key = g.key.text,
        .uid = geteuid() == 0 ? 20001 : -1,
        .gid = geteuid() == 0 ? 20001 : -1,
        .timeout_ms = 60000,
        .disk_size = DISK_SIZE,
        .base_disk = kind == BX_SHIM_BOX ? g.base : NULL, /* of a template: it would be mounted in it */
        .hostname = (char *)"testbox",
        .working_dir = (char *)"/root",
        .user = (char *)"0:0",
        .env = env,
        .capabilities = 0xa80425fb,
        .readonly_proc = true,
    };
}

/* Spawns a shim. theirs: its descriptor 4. */
static int spawn_shim(const struct bx_shim_plan *p, int theirs, pid_t *ret_pid)
{
    char *argv[] = {g.shim, (char *)"--plan-fd", (char *)"3", NULL};
    bx_cleanup_buf struct bx_buf text = BX_BUF_INIT(BX_SHIM_PLAN_MAX);

    OK(bx_shim_plan_write(p, &text, &err));
    bx_cleanup_close int memfd = bx_memfd_sealed("plan", bx_buf_data(&text), bx_buf_len(&text));
    struct bx_spawn_fd fds[] = {{memfd, 3}, {theirs, 4}, {2, 2}};
    struct bx_spawn s = {.path = g.shim, .argv = argv, .fds = fds, .n_fds = 3, .new_session = true};
    int pidfd = bx_spawn(&s, ret_pid, &err);

    if (pidfd < 0)
        fail_msg("%s", err.msg);
    return pidfd;
}

static void box_make(struct box *b)
{
    memset(b, 0, sizeof(*b));
    bx_random_id(b->id);
    snprintf(b->dir, sizeof(b->dir), "%s/boxes/%s", g.home, b->id);
    assert_int_equal(bx_mkdir_p(b->dir, 0700), 0);
    bx_cleanup_free char *disk = bx_strf("%s/disk.qcow2", b->dir);
    bx_cleanup_close int fd = open(disk, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    OK(bx_qcow2_create(fd, DISK_SIZE, &err));
    fill_plan(&b->plan, BX_SHIM_BOX);
    b->plan.box_id = b->id;
    b->plan.box_dir = b->dir;
}

static void box_spawn(struct box *b)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    b->pidfd = spawn_shim(&b->plan, pair[1], &b->pid);
    close(pair[1]);
    b->c = peer_new(pair[0]);
}

static void box_up(struct box *b)
{
    box_make(b);
    box_spawn(b);
    WAIT(b->c, b->c->up);
}

/* The shim has to end by itself. Gives its exit status. */
static int box_wait(struct box *b)
{
    struct pollfd p = {.fd = b->pidfd, .events = POLLIN};
    int status;

    if (poll(&p, 1, (int)(DEADLINE / BX_MSEC)) != 1)
        fail_msg("the shim does not end");
    status = bx_spawn_wait(b->pidfd);
    close(b->pidfd);
    if (b->c)
        peer_free(b->c);
    b->c = NULL;
    assert_int_equal(bx_rm_rf(AT_FDCWD, b->dir), 0);
    return status;
}

static void read_record(const struct box *b, struct bx_exit_record *ret)
{
    bx_cleanup_close int dir = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    OK(bx_exit_record_read(dir, ret, &err));
}

static struct peer *box_connect(const struct box *b)
{
    bx_cleanup_close int dir = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = bx_unix_connect(dir, "box.sock");

    assert_true(fd >= 0);
    return peer_new(fd);
}

struct run {
    const char *script;
    bool in, main, detached;
};

static void send_run(struct peer *c, uint32_t stream, const struct run *r)
{
    char args[4096];
    int n = snprintf(args, sizeof(args), "sh%c-c%c%s", 0, 0, r->script);
    struct bx_msg_exec e = {.args = {args, (size_t)n + 1, 3},
                            .pb = {.stdin = r->in, .main = r->main, .detached = r->detached, .claim = 6}};

    snprintf(e.pb.exec_id, sizeof(e.pb.exec_id), "%s", r->main ? "main" : "execid123456");
    if (!r->main)
        bx_random_id(e.pb.exec_id);
    OK(bx_msg_send_exec(&c->link, stream, &e, &err));
}

static void run_ok(struct peer *c, uint32_t stream, const char *script, const char *out)
{
    unsigned before = c->exits;

    c->out_len = 0;
    memset(c->out, 0, sizeof(c->out));
    send_run(c, stream, &(struct run){.script = script});
    WAIT(c, c->exits > before || c->error_seen);
    assert_string_equal(c->error.message, "");
    assert_string_equal(c->out, out);
    assert_int_equal(c->exit.code, 0);
    OK(bx_link_send(&c->link, BX_MSG_CLOSE, stream, NULL, 0));
}

static void stop(struct peer *c, uint32_t request, bool force)
{
    boxlite_BoxStop m = {.request = request, .grace_ms = 2000, .force = force};

    OK(bx_msg_send(&c->link, BX_MSG_BOX_STOP, 0, &m, &err));
}

static bool alive(uint32_t pid)
{
    return kill((pid_t)pid, 0) == 0;
}

/* --- tests --- */

static void a_command_runs_and_the_box_stops_in_order(void **state)
{
    struct box b;
    struct bx_exit_record r;

    box_up(&b);
    assert_int_equal(b.c->info.state, BX_BOX_RUNNING);
    assert_string_equal(b.c->info.engine, "tcg");
    assert_true(alive(b.c->info.qemu_pid) && (pid_t)b.c->info.shim_pid == b.pid);
    run_ok(b.c, 1, "echo $(hostname) $PWD; echo kept > file; sync", "testbox /root\n");
    stop(b.c, 9, false);
    WAIT(b.c, b.c->gone_seen);
    assert_int_equal(b.c->oks, 1);
    assert_int_equal(b.c->gone.state, BX_BOX_STOPPED);
    read_record(&b, &r);
    assert_false(r.failed);
    assert_false(alive(b.c->info.qemu_pid));
    /* a clean disk: the next start finds the file */
    uint32_t qemu = b.c->info.qemu_pid;
    peer_free(b.c);
    assert_int_equal(bx_spawn_wait(b.pidfd), 0);
    close(b.pidfd);
    box_spawn(&b);
    WAIT(b.c, b.c->up);
    assert_int_not_equal(b.c->info.qemu_pid, qemu);
    run_ok(b.c, 1, "cat file", "kept\n");
    stop(b.c, 9, true);
    WAIT(b.c, b.c->gone_seen);
    assert_int_equal(box_wait(&b), 0);
}

static void what_is_asked_before_the_box_is_up_is_answered_when_it_is(void **state)
{
    struct box b;

    box_make(&b);
    box_spawn(&b);
    send_run(b.c, 1, &(struct run){.script = "echo early"});
    WAIT(b.c, b.c->exits == 1);
    assert_true(b.c->up);
    assert_string_equal(b.c->out, "early\n");
    stop(b.c, 0, true);
    WAIT(b.c, b.c->gone_seen);
    assert_int_equal(box_wait(&b), 0);
}

static void another_program_connects_and_streams_stdin(void **state)
{
    struct box b;
    struct peer *c;
    char *data = malloc(3000000);
    size_t sent = 0;
    uint32_t window = BX_WINDOW;

    bx_random(data, 3000000);
    box_up(&b);
    c = box_connect(&b);
    WAIT(c, c->up);
    assert_int_equal(c->info.clients, 2);
    send_run(c, 3, &(struct run){.script = "cat", .in = true});
    while (sent < 3000000) {
        size_t n = 3000000 - sent;

        n = n < 50000 ? n : 50000;
        n = n < window ? n : window;
        if (n > 0) {
            assert_int_equal(bx_link_send_data(&c->link, 3, 0, data + sent, n), 0);
            sent += n;
            window -= (uint32_t)n;
        } else {
            WAIT(c, c->credit[3] > 0);
            window += c->credit[3];
            c->credit[3] = 0;
        }
    }
    assert_int_equal(bx_link_send_eof(&c->link, 3, 0), 0);
    WAIT(c, c->exits == 1);
    assert_int_equal(c->out_len, 3000000);
    assert_true(c->out_hash == bx_fnv1a(BX_FNV1A_SEED, data, 3000000));
    free(data);
    /* it leaves, and the box goes on */
    peer_free(c);
    run_ok(b.c, 1, "echo still here", "still here\n");
    stop(b.c, 0, true);
    WAIT(b.c, b.c->gone_seen);
    assert_int_equal(box_wait(&b), 0);
}

static void the_box_ends_with_its_main_process(void **state)
{
    struct box b;
    struct bx_exit_record r;

    box_up(&b);
    send_run(b.c, 1, &(struct run){.script = "echo bye; exit 42", .main = true});
    WAIT(b.c, b.c->gone_seen);
    assert_string_equal(b.c->out, "bye\n");
    assert_int_equal(b.c->exit.code, 42);
    assert_int_equal(b.c->gone.exit_code, 42);
    read_record(&b, &r);
    assert_true(r.has_exit_code && r.exit_code == 42 && !r.failed);
    assert_int_equal(box_wait(&b), 0);
}

static void a_detached_box_survives_its_starter_and_still_ends_with_its_main_process(void **state)
{
    struct box b;
    struct peer *c;

    box_make(&b);
    b.plan.detached = true;
    box_spawn(&b);
    WAIT(b.c, b.c->up);
    send_run(b.c, 1,
             &(struct run){.script = "while [ ! -e /root/end ]; do sleep 0.1; done; exit 7",
                           .main = true,
                           .detached = true});
    WAIT(b.c, b.c->started == 1);
    peer_free(b.c);
    b.c = NULL;
    c = box_connect(&b);
    run_ok(c, 1, "touch /root/end", "");
    WAIT(c, c->gone_seen);
    assert_int_equal(c->gone.exit_code, 7);
    peer_free(c);
    assert_int_equal(box_wait(&b), 0);
}

static void a_box_that_is_not_detached_ends_with_its_starter(void **state)
{
    struct box b;
    struct peer *c;
    uint32_t qemu;

    box_up(&b);
    qemu = b.c->info.qemu_pid;
    c = box_connect(&b);
    send_run(c, 1, &(struct run){.script = "sleep 1000"});
    WAIT(c, c->started == 1);
    peer_free(b.c);
    b.c = NULL;
    WAIT(c, c->gone_seen);
    assert_int_equal(c->gone.state, BX_BOX_STOPPED);
    peer_free(c);
    assert_int_equal(box_wait(&b), 0);
    assert_false(alive(qemu));
}

static void a_killed_qemu_fails_the_box_and_all_that_wait_for_it(void **state)
{
    struct box b;
    struct bx_exit_record r;

    box_up(&b);
    send_run(b.c, 1, &(struct run){.script = "echo up; sleep 1000"});
    WAIT(b.c, b.c->out_len > 0);
    kill((pid_t)b.c->info.qemu_pid, SIGKILL);
    WAIT(b.c, b.c->gone_seen);
    assert_true(b.c->error_seen);
    assert_int_equal(b.c->gone.state, BX_BOX_FAILED);
    assert_non_null(strstr(b.c->gone.message, "signal 9"));
    assert_false(b.c->gone.template_suspect);
    read_record(&b, &r);
    assert_true(r.failed && r.code == BX_EENGINE);
    assert_int_equal(box_wait(&b), 1);
}

static void a_killed_shim_takes_its_machine_along(void **state)
{
    struct box b;
    uint32_t qemu;
    int64_t until = bx_now() + DEADLINE;

    box_up(&b);
    qemu = b.c->info.qemu_pid;
    kill(b.pid, SIGKILL);
    assert_int_equal(box_wait(&b), 128 + SIGKILL);
    while (alive(qemu) && bx_now() < until)
        poll(NULL, 0, 5);
    assert_false(alive(qemu));
}

static void a_hung_machine_is_found_out(void **state)
{
    struct box b;
    uint32_t qemu;

    box_up(&b);
    qemu = b.c->info.qemu_pid;
    run_ok(b.c, 1, "true", "");
    kill((pid_t)qemu, SIGSTOP);
    send_run(b.c, 2, &(struct run){.script = "true"});
    WAIT(b.c, b.c->gone_seen);
    assert_int_equal(b.c->gone.state, BX_BOX_FAILED);
    assert_non_null(strstr(b.c->gone.message, "does not answer"));
    assert_int_equal(box_wait(&b), 1);
    assert_false(alive(qemu));
}

static void a_box_runs_once_at_a_time(void **state)
{
    struct box b, second;

    box_up(&b);
    second = b;
    box_spawn(&second);
    WAIT(second.c, second.c->gone_seen);
    assert_int_equal(second.c->gone.code, BX_ESTATE);
    assert_non_null(strstr(second.c->gone.message, "running already"));
    peer_free(second.c);
    assert_int_equal(bx_spawn_wait(second.pidfd), 1);
    close(second.pidfd);
    run_ok(b.c, 1, "echo first", "first\n");
    stop(b.c, 0, true);
    WAIT(b.c, b.c->gone_seen);
    assert_int_equal(box_wait(&b), 0);
}

static void a_missing_or_damaged_template_is_told_as_such(void **state)
{
    struct box b;

    box_make(&b);
    b.plan.template_name = (char *)"none";
    box_spawn(&b);
    WAIT(b.c, b.c->gone_seen);
    assert_int_equal(b.c->gone.state, BX_BOX_FAILED);
    assert_true(b.c->gone.template_suspect);
    assert_int_equal(box_wait(&b), 1);
}

static void sigterm_stops_it_in_order(void **state)
{
    struct box b;

    box_up(&b);
    kill(b.pid, SIGTERM);
    WAIT(b.c, b.c->gone_seen);
    assert_int_equal(b.c->gone.state, BX_BOX_STOPPED);
    assert_int_equal(box_wait(&b), 0);
}

static void bytes_that_are_no_protocol_end_that_client_only(void **state)
{
    struct box b;
    struct peer *c;
    char junk[100];

    box_up(&b);
    c = box_connect(&b);
    memset(junk, 0xff, sizeof(junk));
    assert_int_equal(send(c->fd, junk, sizeof(junk), MSG_NOSIGNAL), sizeof(junk));
    for (int64_t until = bx_now() + DEADLINE; !c->closed && bx_now() < until;)
        peer_io(c, 1000);
    assert_true(c->closed && c->error_seen);
    peer_free(c);
    run_ok(b.c, 1, "echo fine", "fine\n");
    stop(b.c, 0, true);
    WAIT(b.c, b.c->gone_seen);
    assert_int_equal(box_wait(&b), 0);
}

static void the_probe_answers_in_one_line(void **state)
{
    struct bx_shim_plan p = {.kind = BX_SHIM_PROBE, .fd = 4};
    struct bx_engine_verdict v;
    char line[512];
    bx_cleanup_free char *text = NULL;
    uint64_t tsc = 0;
    size_t len;
    int fds[2], pidfd;

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pidfd = spawn_shim(&p, fds[1], NULL);
    close(fds[1]);
    assert_int_equal(bx_read_fd(fds[0], 65536, &text, &len), 0);
    close(fds[0]);
    assert_int_equal(bx_spawn_wait(pidfd), 0);
    close(pidfd);
    OK(bx_shim_probe_parse(text, len, line, sizeof(line) - 1, &tsc, &err));
    assert_true(tsc > 100000);
    strcat(line, "\n");
    OK(bx_probe_parse(line, &v, &err));
}

/* The process below `pid` whose name begins with `name`, or 0. */
static pid_t descendant(pid_t pid, const char *name)
{
    bx_cleanup_free char *path = bx_strf("/proc/%d/task/%d/children", (int)pid, (int)pid), *text = NULL;
    char *save = NULL;

    if (bx_read_file(AT_FDCWD, path, 4096, &text, NULL) < 0)
        return 0;
    for (char *w = strtok_r(text, " \n", &save); w; w = strtok_r(NULL, " \n", &save)) {
        bx_cleanup_free char *comm_path = bx_strf("/proc/%s/comm", w), *comm = NULL;
        uint64_t child;
        pid_t found;

        if (bx_parse_u64(w, 1, INT32_MAX, &child) < 0 ||
            bx_read_file(AT_FDCWD, comm_path, 64, &comm, NULL) < 0)
            continue;
        if (bx_starts_with(comm, name))
            return (pid_t)child;
        found = descendant((pid_t)child, name);
        if (found)
            return found;
    }
    return 0;
}

static int wait_template(int pidfd, int answer)
{
    bx_cleanup_free char *text = NULL;
    size_t len;
    int status;

    assert_int_equal(bx_read_fd(answer, 65536, &text, &len), 0);
    close(answer);
    status = bx_spawn_wait(pidfd);
    close(pidfd);
    if (status != 0)
        bx_shim_error_parse(text, len, &err);
    return status;
}

static void a_boot_that_hangs_is_tried_once_more(void **state)
{
    bx_cleanup_free char *templates = bx_strf("%s/templates2", g.home);
    struct bx_shim_plan p;
    int64_t until = bx_now() + DEADLINE;
    int fds[2], pidfd;
    pid_t shim, qemu;

    assert_int_equal(mkdir(templates, 0700), 0);
    fill_plan(&p, BX_SHIM_TEMPLATE);
    p.templates_dir = templates;
    p.timeout_ms = 45000;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pidfd = spawn_shim(&p, fds[1], &shim);
    close(fds[1]);
    while (!(qemu = descendant(shim, "qemu-system")) && bx_now() < until)
        poll(NULL, 0, 5);
    assert_true(qemu > 0);
    assert_int_equal(kill(qemu, SIGSTOP), 0);
    if (wait_template(pidfd, fds[0]) != 0)
        fail_msg("%s", err.msg);
    assert_false(alive((uint32_t)qemu));
    /* and one that nobody waits for any more is given up */
    p.template_name = (char *)"tcg-other";
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pidfd = spawn_shim(&p, fds[1], &shim);
    close(fds[1]);
    close(fds[0]);
    assert_int_equal(bx_spawn_wait(pidfd), 1);
    close(pidfd);
}

/* --- set-up --- */

static void run_tool(const char *path, char *const *argv)
{
    struct bx_spawn_fd fds[] = {{2, 2}};
    struct bx_spawn s = {.path = path, .argv = argv, .fds = fds, .n_fds = 1};
    int pidfd = bx_spawn(&s, NULL, &err);

    if (pidfd < 0 || bx_spawn_wait(pidfd) != 0)
        fail_msg("%s: %s", path, err.msg);
    close(pidfd);
}

static void make_base(void)
{
    static const char script[] = "cd \"$0\" && mkdir -p root/bin root/usr/bin root/etc root/root root/tmp "
                                 "root/proc root/sys root/dev && "
                                 "cp /bin/busybox root/bin/ && for a in $(/bin/busybox --list); do [ $a = "
                                 "busybox ] || ln -s busybox root/bin/$a; done && "
                                 "PATH=$PATH:/sbin:/usr/sbin mke2fs -q -F -t ext4 -d root base.ext4 64M && "
                                 "rm -rf root && chmod 444 base.ext4";
    char *argv[] = {(char *)"sh", (char *)"-ec", (char *)(uintptr_t)script, g.home, NULL};

    run_tool("/bin/sh", argv);
}

static void make_template(void)
{
    struct bx_shim_plan p;
    int fds[2], pidfd;

    fill_plan(&p, BX_SHIM_TEMPLATE);
    p.timeout_ms = 120000;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pidfd = spawn_shim(&p, fds[1], NULL);
    close(fds[1]);
    if (wait_template(pidfd, fds[0]) != 0)
        fail_msg("template: %s", err.msg);
}

static int group_setup(void **state)
{
    const char *libexec = getenv("BX_TEST_LIBEXEC");
    const char *tmp = getenv("TMPDIR");

    (void)state;
    err = BX_ERR_INIT;
    snprintf(g.home, sizeof(g.home), "%s/bxt-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    assert_non_null(mkdtemp(g.home));
    chmod(g.home, 0755);
    snprintf(g.libexec, sizeof(g.libexec), "%s", libexec ? libexec : ".");
    snprintf(g.shim, sizeof(g.shim), "%s/boxlite-shim", g.libexec);
    snprintf(g.templates, sizeof(g.templates), "%s/templates", g.home);
    snprintf(g.base, sizeof(g.base), "%s/base.ext4", g.home);
    assert_int_equal(mkdir(g.templates, 0700), 0);
    g.shape = (struct bx_vm_shape){
        .engine = BX_ENGINE_TCG, .cpus = 2, .memory_mib = 512, .tsc_khz = bx_probe_tsc_khz()};
    OK(bx_vm_shape_round(&g.shape, &err));
    OK(bx_vm_parts_find(g.libexec, BX_ENGINE_TCG, &g.parts, &err));
    OK(bx_vm_key_make(&g.shape, &g.parts, NULL, &g.key, &err));
    make_base();
    make_template();
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    bx_vm_key_done(&g.key);
    return bx_rm_rf(AT_FDCWD, g.home);
}

static int compare(const void *a, const void *b)
{
    return (*(const int64_t *)a > *(const int64_t *)b) - (*(const int64_t *)a < *(const int64_t *)b);
}

static void measure(int n)
{
    int64_t *up = calloc((size_t)n, sizeof(*up)), *first = calloc((size_t)n, sizeof(*first)),
            *end = calloc((size_t)n, sizeof(*end));

    for (int i = 0; i < n; i++) {
        struct box b;
        int64_t t;

        box_make(&b);
        t = bx_now();
        box_spawn(&b);
        send_run(b.c, 1, &(struct run){.script = ":"});
        WAIT(b.c, b.c->up);
        up[i] = bx_now() - t;
        WAIT(b.c, b.c->exits == 1);
        first[i] = bx_now() - t;
        if (i == n - 1) {
            boxlite_BoxInfoGet get = {.request = 1};

            OK(bx_msg_send(&b.c->link, BX_MSG_BOX_INFO_GET, 0, &get, &err));
            WAIT(b.c, b.c->info.memory_bytes > 0);
            printf("spawn %u us, restore %u us, start %u us, CPU %llu us, memory %llu KiB, jail: %s\n",
                   b.c->info.spawn_us, b.c->info.restore_us, b.c->info.start_us,
                   (unsigned long long)b.c->info.cpu_ns / 1000,
                   (unsigned long long)b.c->info.memory_bytes / 1024, b.c->info.jail);
        }
        t = bx_now();
        stop(b.c, 1, i % 2);
        WAIT(b.c, b.c->gone_seen);
        end[i] = bx_now() - t;
        if (i % 2)
            end[i] = 0;
        if (i == n - 1) {
            bx_cleanup_free char *log = bx_strf("%s/shim.log", b.dir), *text = NULL;

            if (bx_read_file(AT_FDCWD, log, 65536, &text, NULL) == 0)
                printf("%s", text);
        }
        box_wait(&b);
    }
    qsort(up, (size_t)n, sizeof(*up), compare);
    qsort(first, (size_t)n, sizeof(*first), compare);
    qsort(end, (size_t)n, sizeof(*end), compare);
    printf("n %d: BoxInfo median %.1f p95 %.1f ms; first command's exit median %.1f p95 %.1f ms; stop median "
           "%.1f ms\n",
           n, (double)up[n / 2] / 1e6, (double)up[n * 95 / 100] / 1e6, (double)first[n / 2] / 1e6,
           (double)first[n * 95 / 100] / 1e6, (double)end[n * 3 / 4] / 1e6);
    free(up);
    free(first);
    free(end);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_probe_answers_in_one_line),
        cmocka_unit_test(a_command_runs_and_the_box_stops_in_order),
        cmocka_unit_test(what_is_asked_before_the_box_is_up_is_answered_when_it_is),
        cmocka_unit_test(another_program_connects_and_streams_stdin),
        cmocka_unit_test(the_box_ends_with_its_main_process),
        cmocka_unit_test(a_detached_box_survives_its_starter_and_still_ends_with_its_main_process),
        cmocka_unit_test(a_box_that_is_not_detached_ends_with_its_starter),
        cmocka_unit_test(a_killed_qemu_fails_the_box_and_all_that_wait_for_it),
        cmocka_unit_test(a_killed_shim_takes_its_machine_along),
        cmocka_unit_test(a_hung_machine_is_found_out),
        cmocka_unit_test(a_box_runs_once_at_a_time),
        cmocka_unit_test(a_missing_or_damaged_template_is_told_as_such),
        cmocka_unit_test(sigterm_stops_it_in_order),
        cmocka_unit_test(bytes_that_are_no_protocol_end_that_client_only),
        cmocka_unit_test(a_boot_that_hangs_is_tried_once_more),
    };

    if (argc == 2) {
        group_setup(NULL);
        measure(atoi(argv[1]));
        return group_teardown(NULL);
    }
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
