/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work on files by the agent on this machine, without namespaces: the agent's table at one end of a link, a
 * client at the other, real processes, a folder as the container's root.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "guest/exec.h"
#include "wire/record.h"

#define LINK_MAX (1024 * 1024)

struct world {
    struct bx_loop *loop;
    struct bx_link agent, client;
    struct bx_cgroups cgroups;
    struct bx_box box;
    struct bx_execs xs;
    char dir[40];
    int top, root;

    /* stream 1, as the client has seen it */
    char order[16];
    struct bx_buf out;
    boxlite_Exit exit;
    boxlite_Error error;
    uint64_t credit;
    bool stingy; /* gives no credit back */
};

static void note(struct world *w, char c)
{
    size_t n = strlen(w->order);

    if (n > 0 && w->order[n - 1] == c)
        return;
    assert_true(n + 1 < sizeof(w->order));
    w->order[n] = c;
}

static int agent_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *p, size_t n,
                         struct bx_err *err)
{
    bx_execs_message(&((struct world *)l->ud)->xs, type, stream, p, n);
    return 0;
}

static int agent_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *p, size_t n,
                      struct bx_err *err)
{
    bx_execs_data(&((struct world *)l->ud)->xs, stream, lane, p, n);
    return 0;
}

static int agent_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    bx_execs_eof(&((struct world *)l->ud)->xs, stream, lane);
    return 0;
}

static int client_message(struct bx_link *l, uint16_t type, uint32_t stream, const uint8_t *p, size_t n,
                          struct bx_err *err)
{
    struct world *w = l->ud;
    boxlite_Credit credit = boxlite_Credit_init_zero;

    switch (type) {
    case BX_MSG_STARTED:
        note(w, 'S');
        return 0;
    case BX_MSG_EXIT:
        note(w, 'X');
        return bx_msg_decode(type, p, n, &w->exit, err);
    case BX_MSG_ERROR:
        note(w, 'E');
        return bx_msg_decode(type, p, n, &w->error, err);
    case BX_MSG_CREDIT:
        assert_int_equal(bx_msg_decode(type, p, n, &credit, err), 0);
        w->credit += credit.bytes;
        return 0;
    default:
        fail_msg("message %s", bx_msg_type_name(type));
        return 0;
    }
}

static int client_data(struct bx_link *l, uint32_t stream, unsigned lane, const uint8_t *p, size_t n,
                       struct bx_err *err)
{
    struct world *w = l->ud;

    assert_int_equal(lane, BX_LANE_STDOUT);
    note(w, '1');
    assert_int_equal(bx_buf_add(&w->out, p, n), 0);
    return w->stingy ? 0 : bx_msg_send_credit(&w->client, stream, lane, (uint32_t)n);
}

static int client_eof(struct bx_link *l, uint32_t stream, unsigned lane, struct bx_err *err)
{
    note(l->ud, 'e');
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

static void turn(struct world *w, int ms)
{
    carry(&w->client, &w->agent);
    assert_true(bx_loop_dispatch(w->loop, ms) >= 0);
    carry(&w->agent, &w->client);
    if (w->xs.starved)
        bx_execs_resume(&w->xs);
    carry(&w->agent, &w->client);
}

static void until_over(struct world *w)
{
    int64_t deadline = bx_now() + 20 * BX_SEC;

    while (!strpbrk(w->order, "XE")) {
        turn(w, 200);
        assert_true(bx_now() < deadline);
    }
}

static void put(struct world *w, const char *name, const char *text)
{
    int fd = openat(w->top, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(bx_write_full(fd, text, strlen(text)), 0);
    close(fd);
}

static void assert_text(struct world *w, const char *name, const char *text)
{
    bx_cleanup_free char *data = NULL;

    assert_int_equal(bx_read_file(w->top, name, 1 << 20, &data, NULL), 0);
    assert_string_equal(data, text);
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
    memcpy(w->dir, "/tmp/bx-guest-files-XXXXXX", 27);
    assert_non_null(mkdtemp(w->dir));
    w->top = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(bx_mkdirat_p(w->top, "box/e0", 0755), 0);
    assert_int_equal(bx_mkdirat_p(w->top, "root/tmp", 0755), 0);
    put(w, "box/cgroup.kill", "");
    put(w, "box/cgroup.events", "populated 0\n");
    put(w, "box/e0/cgroup.kill", "");
    put(w, "box/e0/cgroup.procs", "");
    put(w, "box/e0/cgroup.events", "populated 0\nfrozen 0\n");
    put(w, "box/e0/memory.events", "oom 0\noom_kill 0\n");
    put(w, "outside", "secret");
    box = openat(w->top, "box", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(bx_cgroups_open(&w->cgroups, box, NULL), 0);
    w->root = openat(w->top, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    w->loop = bx_loop_new();
    bx_link_init(&w->agent, &agent_ops, w, LINK_MAX);
    bx_link_init(&w->client, &client_ops, w, LINK_MAX);
    bx_execs_init(&w->xs, w->loop, &w->agent, &w->cgroups);
    w->box = (struct bx_box){.root_fd = w->root, .pts_fd = -1, .ns_pidfd = -1};
    w->box.null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    w->xs.box = &w->box;
    bx_buf_init(&w->out, 64 * 1024 * 1024);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    bx_execs_drop_streams(&w->xs);
    for (int i = 0; w->xs.active > 0 && i < 100; i++)
        turn(w, 100);
    assert_int_equal(w->xs.count, 0);
    bx_execs_done(&w->xs);
    bx_link_done(&w->agent);
    bx_link_done(&w->client);
    bx_cgroups_done(&w->cgroups);
    bx_loop_free(w->loop);
    bx_close(w->box.null_fd);
    bx_close(w->root);
    bx_close(w->top);
    bx_buf_done(&w->out);
    assert_int_equal(bx_rm_rf(AT_FDCWD, w->dir), 0);
    free(w);
    return 0;
}

/* ---- asking ---- */

static void ask(struct world *w, uint32_t op, const char *path, uint32_t flags)
{
    boxlite_FileOp m = {.op = op, .flags = flags};

    snprintf(m.path, sizeof(m.path), "%s", path);
    memset(w->order, 0, sizeof(w->order));
    bx_buf_clear(&w->out);
    assert_int_equal(bx_msg_send(&w->client, BX_MSG_FILE_OP, 1, &m, NULL), 0);
}

static void done(struct world *w)
{
    boxlite_Close m = boxlite_Close_init_zero;

    until_over(w);
    assert_int_equal(bx_msg_send(&w->client, BX_MSG_CLOSE, 1, &m, NULL), 0);
    turn(w, 0);
}

/* The next record of what came. */
static struct bx_rec next(struct world *w)
{
    struct bx_rec r;
    struct bx_err err;
    int n = bx_rec_parse(bx_buf_data(&w->out), bx_buf_len(&w->out), &r, &err);

    assert_true(n > 0);
    bx_buf_consume(&w->out, (size_t)n); /* what it points to stays until more comes */
    return r;
}

/* The last one: its code. */
static uint32_t end(struct world *w)
{
    struct bx_rec r = next(w);

    assert_int_equal(r.kind, BX_REC_END);
    assert_int_equal(bx_buf_len(&w->out), 0);
    return r.end.code;
}

static uint32_t asked(struct world *w, uint32_t op, const char *path, uint32_t flags)
{
    ask(w, op, path, flags);
    done(w);
    assert_string_equal(w->order, "S1eX");
    assert_int_equal(w->exit.code, 0);
    return end(w);
}

static void give(struct world *w, struct bx_buf *b)
{
    size_t room = BX_WINDOW;

    while (bx_buf_len(b) > 0) {
        size_t n = BX_MIN(BX_MIN(bx_buf_len(b), room), (size_t)BX_FRAME_PAYLOAD_MAX);

        if (n > 0 && bx_link_send_data(&w->client, 1, BX_LANE_STDIN, bx_buf_data(b), n) == 0) {
            room -= n;
            bx_buf_consume(b, n);
        }
        turn(w, n > 0 ? 0 : 100);
        room += w->credit;
        w->credit = 0;
        if (strpbrk(w->order, "XE"))
            break;
    }
    assert_int_equal(bx_link_send_eof(&w->client, 1, BX_LANE_STDIN), 0);
}

static void add_data(struct bx_buf *b, uint64_t at, const void *data, size_t len)
{
    uint8_t head[BX_REC_DATA_HEAD];

    bx_rec_data_head(head, at, len);
    assert_int_equal(bx_buf_add(b, head, sizeof(head)), 0);
    assert_int_equal(bx_buf_add(b, data, len), 0);
}

/* ---- tests ---- */

static void a_file_is_read_in_whole_and_in_part(void **state)
{
    struct world *w = *state;
    boxlite_FileOp m = {.op = BX_FILE_READ, .path = "/f", .offset = 2, .length = 3};
    struct bx_rec r;

    put(w, "root/f", "0123456789");
    ask(w, BX_FILE_READ, "/f", 0);
    done(w);
    r = next(w);
    assert_int_equal(r.kind, BX_REC_ENTRY);
    assert_string_equal(r.entry.name, "f");
    assert_int_equal(r.entry.size, 10);
    r = next(w);
    assert_int_equal(r.kind, BX_REC_DATA);
    assert_int_equal(r.data.len, 10);
    assert_memory_equal(r.data.bytes, "0123456789", 10);
    assert_int_equal(next(w).kind, BX_REC_CLOSE);
    assert_int_equal(end(w), 0);

    ask(w, BX_FILE_READ, "/f", 0);
    done(w);
    memset(w->order, 0, sizeof(w->order));
    bx_buf_clear(&w->out);
    assert_int_equal(bx_msg_send(&w->client, BX_MSG_FILE_OP, 1, &m, NULL), 0);
    done(w);
    assert_int_equal(next(w).kind, BX_REC_ENTRY);
    r = next(w);
    assert_int_equal(r.data.offset, 2);
    assert_int_equal(r.data.len, 3);
    assert_memory_equal(r.data.bytes, "234", 3);
    assert_int_equal(next(w).size, 5);
    assert_int_equal(end(w), 0);
    assert_int_equal(asked(w, BX_FILE_READ, "/tmp", 0), BX_EINVALID);
    assert_int_equal(asked(w, BX_FILE_READ, "/none", 0), BX_ENOTFOUND);
}

static void a_file_is_written_at_once_or_not_at_all(void **state)
{
    struct world *w = *state;
    bx_cleanup_buf struct bx_buf b = BX_BUF_INIT(1 << 20);
    struct stat st;

    put(w, "root/f", "old");
    assert_int_equal(fchmodat(w->top, "root/f", 0600, 0), 0);
    ask(w, BX_FILE_WRITE, "/f", BX_FILE_OVERWRITE);
    add_data(&b, 0, "new", 3);
    assert_int_equal(bx_rec_put_close(&b, 3), 0);
    give(w, &b);
    done(w);
    assert_int_equal(end(w), 0);
    assert_text(w, "root/f", "new");
    assert_int_equal(fstatat(w->top, "root/f", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600); /* as before */

    ask(w, BX_FILE_WRITE, "/f", 0); /* it is there */
    done(w);
    assert_int_equal(end(w), BX_EEXISTS);
    ask(w, BX_FILE_WRITE, "/f", BX_FILE_OVERWRITE);
    add_data(&b, 0, "half", 4);
    give(w, &b); /* and then nothing */
    done(w);
    assert_int_equal(end(w), BX_ETRANSPORT);
    assert_text(w, "root/f", "new");
    ask(w, BX_FILE_WRITE, "/a/b/f", 0);
    done(w);
    assert_int_equal(end(w), BX_ENOTFOUND);
    ask(w, BX_FILE_WRITE, "/a/b/f", BX_FILE_PARENTS);
    assert_int_equal(bx_rec_put_close(&b, 0), 0);
    give(w, &b);
    done(w);
    assert_int_equal(end(w), 0);
    assert_text(w, "root/a/b/f", "");
}

static void folders_are_listed_made_and_removed(void **state)
{
    struct world *w = *state;
    struct bx_rec r;
    unsigned seen = 0;

    put(w, "root/tmp/f", "x");
    assert_int_equal(symlinkat("f", w->top, "root/tmp/l"), 0);
    assert_int_equal(asked(w, BX_FILE_MKDIR, "/tmp/d", 0), 0);
    assert_int_equal(asked(w, BX_FILE_MKDIR, "/tmp/d", 0), BX_EEXISTS);
    assert_int_equal(asked(w, BX_FILE_MKDIR, "/tmp/d", BX_FILE_PARENTS), 0);
    assert_int_equal(asked(w, BX_FILE_MKDIR, "/x/y/z", 0), BX_ENOTFOUND);
    assert_int_equal(asked(w, BX_FILE_MKDIR, "/x/y/z", BX_FILE_PARENTS), 0);
    ask(w, BX_FILE_LIST, "/tmp", 0);
    done(w);
    while ((r = next(w)).kind == BX_REC_ENTRY) {
        if (bx_streq(r.entry.name, "f"))
            seen |= r.entry.type == BX_FILE_REGULAR && r.entry.size == 1 ? 1 : 0;
        else if (bx_streq(r.entry.name, "l"))
            seen |= r.entry.type == BX_FILE_LINK && bx_streq(r.entry.link, "f") ? 2 : 0;
        else if (bx_streq(r.entry.name, "d"))
            seen |= r.entry.type == BX_FILE_FOLDER ? 4 : 0;
        else
            seen |= 128;
    }
    assert_int_equal(seen, 7);
    assert_int_equal(asked(w, BX_FILE_LIST, "/tmp/f", 0), BX_ESTORAGE);
    assert_int_equal(asked(w, BX_FILE_REMOVE, "/tmp", 0), BX_ESTATE);
    assert_int_equal(asked(w, BX_FILE_REMOVE, "/tmp/l", 0), 0);
    assert_text(w, "root/tmp/f", "x"); /* the link went, not what it led to */
    assert_int_equal(asked(w, BX_FILE_REMOVE, "/tmp/d", 0), 0);
    assert_int_equal(asked(w, BX_FILE_REMOVE, "/tmp/d", 0), BX_ENOTFOUND);
    assert_int_equal(asked(w, BX_FILE_REMOVE, "/tmp", BX_FILE_RECURSIVE), 0);
    assert_int_equal(asked(w, BX_FILE_REMOVE, "/tmp", BX_FILE_RECURSIVE), BX_ENOTFOUND);
    assert_int_equal(asked(w, BX_FILE_REMOVE, "/", BX_FILE_RECURSIVE), BX_EINVALID);
    assert_int_equal(asked(w, BX_FILE_REMOVE, "/x/y/..", BX_FILE_RECURSIVE), BX_EINVALID);
    assert_text(w, "outside", "secret");
}

static void a_link_is_looked_at_or_through(void **state)
{
    struct world *w = *state;
    struct bx_rec r;

    put(w, "root/tmp/f", "xyz");
    assert_int_equal(symlinkat("/tmp/f", w->top, "root/l"), 0);
    ask(w, BX_FILE_STAT, "/l", 0);
    done(w);
    r = next(w);
    assert_int_equal(r.entry.type, BX_FILE_LINK);
    assert_string_equal(r.entry.link, "/tmp/f");
    assert_int_equal(end(w), 0);
    ask(w, BX_FILE_STAT, "/l", BX_FILE_FOLLOW);
    done(w);
    r = next(w);
    assert_int_equal(r.entry.type, BX_FILE_REGULAR);
    assert_int_equal(r.entry.size, 3);
    assert_string_equal(r.entry.name, "l");
    assert_int_equal(end(w), 0);
}

static void files_move(void **state)
{
    struct world *w = *state;
    boxlite_FileOp m = {.op = BX_FILE_RENAME, .path = "/f", .to = "/tmp/g"};

    put(w, "root/f", "f");
    put(w, "root/tmp/g", "g");
    assert_int_equal(bx_msg_send(&w->client, BX_MSG_FILE_OP, 1, &m, NULL), 0);
    done(w);
    assert_int_equal(end(w), BX_EEXISTS);
    assert_text(w, "root/tmp/g", "g");
    m.flags = BX_FILE_OVERWRITE;
    memset(w->order, 0, sizeof(w->order));
    assert_int_equal(bx_msg_send(&w->client, BX_MSG_FILE_OP, 1, &m, NULL), 0);
    done(w);
    assert_int_equal(end(w), 0);
    assert_text(w, "root/tmp/g", "f");
    assert_int_equal(faccessat(w->top, "root/f", F_OK, 0), -1);
}

static void nothing_leads_out_of_the_root(void **state)
{
    static const char *const ways[] = {"/out", "../outside", "/tmp/../../outside", "/abs",
                                       "/proc/self/root/etc/passwd"};
    struct world *w = *state;
    bx_cleanup_free char *abs = bx_strf("%s/outside", w->dir);

    assert_int_equal(symlinkat("../outside", w->top, "root/out"), 0);
    assert_int_equal(symlinkat(abs, w->top, "root/abs"), 0);
    for (size_t i = 0; i < BX_ARRAY_SIZE(ways); i++)
        assert_int_equal(asked(w, BX_FILE_READ, ways[i], 0), BX_ENOTFOUND);
    assert_int_equal(asked(w, BX_FILE_REMOVE, "/abs/../outside", 0), BX_ENOTFOUND);
    assert_text(w, "outside", "secret");
}

/* Larger than all windows and pipes on the way, in both directions. */
static void a_tree_goes_in_and_comes_out(void **state)
{
    struct world *w = *state;
    bx_cleanup_buf struct bx_buf b = BX_BUF_INIT(32 << 20);
    struct bx_rec_entry folder = {.type = BX_FILE_FOLDER, .name = "t", .link = "", .mode = 0755};
    struct bx_rec_entry file = {.type = BX_FILE_REGULAR, .name = "big", .link = "", .mode = 0644};
    bx_cleanup_free uint8_t *piece = malloc(BX_REC_DATA_MAX);
    const struct bx_err fine = BX_ERR_INIT;
    struct bx_rec r;
    uint64_t at = 0;

    assert_int_equal(bx_rec_put_entry(&b, &folder), 0);
    assert_int_equal(bx_rec_put_entry(&b, &file), 0);
    for (int i = 0; i < 160; i++, at += BX_REC_DATA_MAX) {
        memset(piece, i, BX_REC_DATA_MAX);
        add_data(&b, at, piece, BX_REC_DATA_MAX);
    }
    assert_int_equal(bx_rec_put_close(&b, at), 0);
    assert_int_equal(bx_rec_put_up(&b), 0);
    assert_int_equal(bx_rec_put_outcome(&b, &fine, &(struct bx_rec_counts){0}), 0);
    ask(w, BX_FILE_PUT, "/in", BX_FILE_PARENT | BX_FILE_RECURSIVE);
    give(w, &b);
    done(w);
    r = next(w);
    assert_int_equal(r.kind, BX_REC_END);
    assert_int_equal(r.end.code, 0);
    assert_int_equal(r.end.counts.files, 1);
    assert_int_equal(r.end.counts.bytes, at);

    ask(w, BX_FILE_GET, "/in/t", BX_FILE_RECURSIVE);
    done(w);
    assert_int_equal(next(w).kind, BX_REC_ENTRY);
    assert_string_equal(next(w).entry.name, "big");
    for (at = 0; (r = next(w)).kind == BX_REC_DATA; at += r.data.len) {
        assert_int_equal(r.data.offset, at);
        for (size_t k = 0; k < r.data.len; k += 997)
            assert_int_equal(r.data.bytes[k], (at + k) / BX_REC_DATA_MAX);
    }
    assert_int_equal(r.kind, BX_REC_CLOSE);
    assert_int_equal(r.size, at);
    assert_int_equal(next(w).kind, BX_REC_UP);
    assert_int_equal(end(w), 0);
}

static void who_does_not_read_stops_the_work_and_close_ends_it(void **state)
{
    struct world *w = *state;
    boxlite_Close m = boxlite_Close_init_zero;
    int fd = openat(w->top, "root/f", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    int64_t deadline = bx_now() + 20 * BX_SEC;

    for (int i = 0; i < 64; i++) {
        char piece[65536];

        memset(piece, 'x', sizeof(piece));
        assert_int_equal(bx_write_full(fd, piece, sizeof(piece)), 0);
    }
    close(fd);
    w->stingy = true;
    ask(w, BX_FILE_GET, "/f", 0);
    while (bx_buf_len(&w->out) < BX_WINDOW) {
        turn(w, 100);
        assert_true(bx_now() < deadline);
    }
    turn(w, 20);
    assert_int_equal(bx_buf_len(&w->out), BX_WINDOW); /* and not a byte more */
    assert_int_equal(bx_msg_send(&w->client, BX_MSG_CLOSE, 1, &m, NULL), 0);
    while (w->xs.count > 0) {
        turn(w, 100);
        assert_true(bx_now() < deadline);
    }
}

static void a_cancelled_write_leaves_nothing(void **state)
{
    struct world *w = *state;
    bx_cleanup_buf struct bx_buf b = BX_BUF_INIT(1 << 20);
    boxlite_Close m = boxlite_Close_init_zero;
    int64_t deadline = bx_now() + 20 * BX_SEC;
    struct bx_rec_entry file = {.type = BX_FILE_REGULAR, .name = "f", .link = "", .mode = 0644};

    assert_int_equal(bx_rec_put_entry(&b, &file), 0);
    for (int i = 0; i < 12; i++)
        add_data(&b, (uint64_t)i * 60000, "half of it", 10);
    ask(w, BX_FILE_PUT, "/tmp/f", 0);
    while (bx_buf_len(&b) > 0) {
        assert_int_equal(bx_link_send_data(&w->client, 1, BX_LANE_STDIN, bx_buf_data(&b), bx_buf_len(&b)), 0);
        bx_buf_clear(&b);
    }
    turn(w, 100);
    turn(w, 100);
    assert_int_equal(bx_msg_send(&w->client, BX_MSG_CLOSE, 1, &m, NULL), 0);
    while (w->xs.count > 0) {
        turn(w, 100);
        assert_true(bx_now() < deadline);
    }
    assert_int_equal(unlinkat(w->top, "root/tmp", AT_REMOVEDIR), 0); /* it is empty */
}

static void what_makes_no_sense_is_answered(void **state)
{
    struct world *w = *state;

    ask(w, 99, "/", 0);
    until_over(w);
    assert_string_equal(w->order, "E");
    assert_int_equal(w->error.code, BX_EUNSUPPORTED);
    w->xs.box = NULL;
    ask(w, BX_FILE_LIST, "/", 0);
    until_over(w);
    assert_int_equal(w->error.code, BX_ESTOPPED);
    w->xs.box = &w->box;
    assert_int_equal(asked(w, BX_FILE_STAT, "", 0), BX_ENOTFOUND);
}

static void nobody_attaches_to_it(void **state)
{
    struct world *w = *state;
    boxlite_Attach m = {.exec_id = ""};

    w->stingy = true;
    put(w, "root/f", "x");
    ask(w, BX_FILE_PUT, "/x", 0); /* waits for records */
    turn(w, 20);
    assert_string_equal(w->order, "S");
    assert_int_equal(bx_msg_send(&w->client, BX_MSG_ATTACH, 2, &m, NULL), 0);
    turn(w, 20);
    assert_string_equal(w->order, "SE"); /* of stream 2: there is no such command */
    assert_int_equal(w->error.code, BX_ENOTFOUND);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_file_is_read_in_whole_and_in_part),
        T(a_file_is_written_at_once_or_not_at_all),
        T(folders_are_listed_made_and_removed),
        T(a_link_is_looked_at_or_through),
        T(files_move),
        T(nothing_leads_out_of_the_root),
        T(a_tree_goes_in_and_comes_out),
        T(who_does_not_read_stops_the_work_and_close_ends_it),
        T(a_cancelled_write_leaves_nothing),
        T(what_makes_no_sense_is_answered),
        T(nobody_attaches_to_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
