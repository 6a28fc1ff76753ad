/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work on files as a program sees it, with a box that lies. Whatever it says costs the one call; the box and
 * the program go on. What the box does is told by the path.
 */
#include "fake_box.h"

#include "wire/record.h"

/* ---- the box's side ---- */

#define SENDERS 16

/* What a stream has still to send, as credit allows. */
static struct sender {
    uint32_t stream;
    struct bx_buf lane;
    uint64_t endless; /* so many bytes more of one file */
    uint64_t at;
    bool no_exit, exited;
} senders[SENDERS];
static int n_senders;

static void add_entry(struct bx_buf *b, enum bx_file_type type, const char *name, const char *link)
{
    struct bx_rec_entry e = {
        .type = type, .name = name, .link = link, .mode = 0644, .size = 5, .mtime_s = 7, .mtime_ns = 9};

    if (bx_rec_put_entry(b, &e) < 0)
        _exit(40);
}

static void add_data(struct bx_buf *b, uint64_t at, const void *data, size_t len)
{
    uint8_t head[BX_REC_DATA_HEAD];

    bx_rec_data_head(head, at, len);
    (void)bx_buf_add(b, head, sizeof(head));
    (void)bx_buf_add(b, data, len);
}

static void add_end(struct bx_buf *b, int code, const char *text)
{
    struct bx_rec_end end = {
        .code = (uint32_t)code, .text = text, .counts = {.files = 1, .bytes = 5, .left_out = 2}};

    (void)bx_rec_put_end(b, &end);
}

static void read_records(struct bx_buf *b)
{
    add_entry(b, BX_FILE_REGULAR, "read", "");
    add_data(b, 0, "hello", 5);
    (void)bx_rec_put_close(b, 5);
    add_end(b, 0, "");
}

static void garbage(struct bx_buf *b)
{
    for (int i = 0; i < 3000; i++)
        (void)bx_buf_add(b, "\xff", 1);
}

static void hole(struct bx_buf *b)
{
    add_entry(b, BX_FILE_REGULAR, "f", "");
    add_data(b, 1ULL << 40, "x", 1);
}

static void again(struct bx_buf *b)
{
    add_entry(b, BX_FILE_REGULAR, "f", "");
    add_entry(b, BX_FILE_REGULAR, "f", "");
}

static void nameless(struct bx_buf *b)
{
    add_entry(b, BX_FILE_REGULAR, "", "");
}

static void behind_end(struct bx_buf *b)
{
    add_end(b, 0, "");
    (void)bx_rec_put_up(b);
}

static void refused(struct bx_buf *b)
{
    add_end(b, BX_ESTORAGE, "write /x: \x1b[31mNo space left on device");
}

static void odd_code(struct bx_buf *b)
{
    add_end(b, 4711, "?");
}

static void nothing(struct bx_buf *b)
{
    (void)b;
}

static void list_records(struct bx_buf *b)
{
    add_entry(b, BX_FILE_LINK, "z", "target");
    add_entry(b, BX_FILE_FOLDER, "a", "");
    add_entry(b, BX_FILE_OTHER, "m", "");
    add_end(b, 0, "");
}

static void long_list(struct bx_buf *b)
{
    char name[16];

    for (int i = 0; i < 70000; i++) {
        snprintf(name, sizeof(name), "%d", i);
        add_entry(b, BX_FILE_REGULAR, name, "");
    }
}

static void bad_tree(struct bx_buf *b)
{
    add_entry(b, BX_FILE_FOLDER, "t", "");
    add_entry(b, BX_FILE_LINK, "l", "/etc");
    (void)bx_rec_put_up(b);
    add_entry(b, BX_FILE_REGULAR, "outside", "");
}

static void good_tree(struct bx_buf *b)
{
    add_entry(b, BX_FILE_FOLDER, "t", "");
    add_entry(b, BX_FILE_LINK, "l", "/etc");
    add_entry(b, BX_FILE_REGULAR, "f", "");
    add_data(b, 0, "hello", 5);
    (void)bx_rec_put_close(b, 5);
    (void)bx_rec_put_up(b);
    add_end(b, 0, "");
}

static const struct {
    const char *path;
    void (*make)(struct bx_buf *b);
    int exit_code; /* -1: none comes */
} scripts[] = {
    {"/read", read_records, 0}, {"/garbage", garbage, 0},   {"/hole", hole, 0},
    {"/again", again, 0},       {"/nameless", nameless, 0}, {"/behind", behind_end, 0},
    {"/refused", refused, 0},   {"/odd", odd_code, 0},      {"/nothing", nothing, 0},
    {"/killed", nothing, 137},  {"/list", list_records, 0}, {"/long", long_list, 0},
    {"/badtree", bad_tree, 0},  {"/tree", good_tree, 0},    {"/silent", nothing, -1},
    {"/endless", hole, -1},     {"/flood", nothing, -1},
};

static void box_file_op(struct fake *f, uint32_t stream, const uint8_t *p, size_t len)
{
    boxlite_Started started = {.pid = 3};
    struct sender *s = &senders[n_senders++];
    struct fake_stream *fs = &f->streams[f->count++];
    struct bx_err err = BX_ERR_INIT;
    boxlite_FileOp op;

    if (n_senders > SENDERS || bx_msg_decode(BX_MSG_FILE_OP, p, len, &op, &err) < 0)
        _exit(41);
    *s = (struct sender){.stream = stream};
    *fs = (struct fake_stream){.id = stream, .what = SLEEP};
    bx_lane_init(&fs->out[1], BX_WINDOW);
    bx_buf_init(&s->lane, 16 << 20);
    if (bx_streq(op.path, "/error")) {
        bx_fail(&err, BX_ERESOURCE, 0, "as many processes as it may have");
        bx_msg_send_error(&f->link, stream, 0, &err);
        s->no_exit = true;
        return;
    }
    bx_msg_send(&f->link, BX_MSG_STARTED, stream, &started, NULL);
    for (size_t i = 0; i < BX_ARRAY_SIZE(scripts); i++) {
        if (!bx_streq(scripts[i].path, op.path))
            continue;
        scripts[i].make(&s->lane);
        s->no_exit = scripts[i].exit_code < 0;
        fs->claim = (unsigned)scripts[i].exit_code << 8; /* kept here until then */
    }
    if (bx_streq(op.path, "/endless")) {
        bx_buf_clear(&s->lane);
        add_entry(&s->lane, BX_FILE_REGULAR, "f", "");
        s->endless = UINT64_MAX;
    }
    if (bx_streq(op.path, "/flood")) /* more than it may */
        for (int i = 0; i < 20; i++) {
            static uint8_t piece[BX_FRAME_PAYLOAD_MAX];

            (void)bx_link_send_data(&f->link, stream, 1, piece, sizeof(piece));
        }
}

static void refill(struct sender *s)
{
    static const uint8_t zeros[BX_REC_DATA_MAX];

    if (s->endless == 0 || bx_buf_len(&s->lane) > 100000)
        return;
    add_data(&s->lane, s->at, zeros, sizeof(zeros));
    s->at += sizeof(zeros);
}

static void box_file_pump(struct fake *f)
{
    for (int i = 0; i < n_senders; i++) {
        struct sender *s = &senders[i];
        struct fake_stream *fs = fake_find(f, s->stream);
        size_t n = 1;

        refill(s);
        while (n > 0 && bx_buf_len(&s->lane) > 0) {
            n = BX_MIN(bx_buf_len(&s->lane), (size_t)fs->out[1].credit);
            n = BX_MIN(BX_MIN(n, bx_link_data_room(&f->link)), (size_t)BX_FRAME_PAYLOAD_MAX);
            if (n == 0 || bx_link_send_data(&f->link, s->stream, 1, bx_buf_data(&s->lane), n) < 0)
                break;
            bx_lane_spend(&fs->out[1], n);
            bx_buf_consume(&s->lane, n);
            refill(s);
        }
        if (bx_buf_len(&s->lane) == 0 && !s->no_exit && !s->exited) {
            int code = (int)(fs->claim >> 8);

            s->exited = true;
            fs->claim = 2;
            fake_exit(f, s->stream, code, code > 128 ? code - 128 : 0);
        }
    }
}

static int files_setup(void **state)
{
    fake_file_op = box_file_op;
    fake_file_pump = box_file_pump;
    n_senders = 0;
    return world_setup(state);
}

static int old_setup(void **state)
{
    fake_file_op = NULL;
    fake_file_pump = NULL;
    return world_setup(state);
}

/* ---- the program's side ---- */

static void on_data(const uint8_t *data, size_t len, CBoxliteError *e, void *ud)
{
    struct answer *a = ud;

    answer_take(a, e);
    a->number = (int)len;
    a->flag = data && len == 5 && memcmp(data, "hello", 5) == 0;
}

static void on_info_seen(const CBoxFileInfo *info, CBoxliteError *e, void *ud)
{
    answer_take(ud, e);
    assert_int_equal(info == NULL, e != NULL);
}

static char listed[256];

static void on_list(const CBoxFileInfoList *l, CBoxliteError *e, void *ud)
{
    struct answer *a = ud;

    answer_take(a, e);
    listed[0] = '\0';
    for (int i = 0; l && i < l->count; i++) {
        size_t n = strlen(listed);

        snprintf(listed + n, sizeof(listed) - n, "%s>%s %d;", l->items[i]->name, l->items[i]->link_target,
                 l->items[i]->type);
    }
}

static void on_copied(const CBoxCopyResult *r, CBoxliteError *e, void *ud)
{
    struct answer *a = ud;

    answer_take(a, e);
    a->number = r ? (int)r->left_out : -1;
}

static struct answer read_it(struct world *w, const char *path)
{
    struct answer a = {0};

    assert_int_equal(boxlite_box_read_file(w->box, path, NULL, on_data, &a, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done);
    return a;
}

static void it_still_works(struct world *w)
{
    struct answer a = read_it(w, "/read");

    ASSERT_ANSWER(a, Ok);
    assert_true(a.flag);
}

static void lies_cost_the_call_alone(void **state)
{
    static const struct {
        const char *path;
        BoxliteErrorCode code;
    } lies[] = {
        {"/garbage", Rpc},    {"/hole", Rpc},      {"/behind", Rpc},      {"/odd", Rpc},
        {"/nothing", Portal}, {"/killed", Portal}, {"/refused", Storage}, {"/error", ResourceExhausted}};
    struct world *w = *state;

    for (size_t i = 0; i < BX_ARRAY_SIZE(lies); i++) {
        struct answer a = read_it(w, lies[i].path);

        if (a.code != lies[i].code)
            fail_msg("%s: %d, %s", lies[i].path, a.code, a.message);
        assert_null(strchr(a.message, '\x1b'));
    }
    it_still_works(w);
}

static void what_is_there_is_as_the_box_says_and_no_more(void **state)
{
    struct world *w = *state;
    struct answer a = {0};

    assert_int_equal(boxlite_box_list_dir(w->box, "/list", NULL, on_list, &a, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Ok);
    assert_string_equal(listed, "a> 2;m> 4;z>target 3;");
    a = (struct answer){0};
    assert_int_equal(boxlite_box_list_dir(w->box, "/nameless", NULL, on_list, &a, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Rpc);
    a = (struct answer){0};
    assert_int_equal(boxlite_box_list_dir(w->box, "/long", NULL, on_list, &a, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, ResourceExhausted);
    a = (struct answer){0};
    assert_int_equal(boxlite_box_stat(w->box, "/again", NULL, on_info_seen, &a, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Rpc);
    a = (struct answer){0};
    assert_int_equal(boxlite_box_stat(w->box, "/behind", NULL, on_info_seen, &a, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Rpc);
    it_still_works(w);
}

static void a_file_without_end_is_cut(void **state)
{
    struct world *w = *state;
    struct answer a = read_it(w, "/endless");

    ASSERT_ANSWER(a, ResourceExhausted);
    assert_non_null(strstr(a.message, "67108864"));
    it_still_works(w);
}

static void more_than_its_credit_ends_the_link(void **state)
{
    struct world *w = *state;
    struct answer a = read_it(w, "/flood");

    assert_int_equal(a.code, Rpc);
}

static void an_older_box_is_told_apart(void **state)
{
    struct world *w = *state;
    struct answer a = read_it(w, "/read");

    ASSERT_ANSWER(a, Unsupported);
    assert_non_null(strstr(a.message, "older version"));
}

static void a_call_that_is_given_up_is_answered_at_once(void **state)
{
    struct world *w = *state;
    struct answer a = {0}, b = {0};

    assert_int_equal(boxlite_box_read_file(w->box, "/silent", NULL, on_data, &a, NULL), Ok);
    assert_int_equal(boxlite_box_read_file(w->box, "/silent", NULL, on_data, &b, NULL), Ok);
    it_still_works(w);
    assert_int_equal(a.done, 0);
    assert_int_equal(boxlite_box_cancel_files(w->box, &a, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Stopped);
    assert_int_equal(b.done, 0);
    boxlite_runtime_drain(w->home.rt, 0, NULL);
    /* The other one goes with the runtime: no callback, nothing leaks. */
}

static void copies_from_a_box_that_lies_stay_where_they_belong(void **state)
{
    struct world *w = *state;
    bx_cleanup_free char *dst = bx_strf("%s/out", w->home.path), *t = bx_strf("%s/out/t", w->home.path),
                         *outside = bx_strf("%s/out/outside", w->home.path),
                         *file = bx_strf("%s/out/t/f", w->home.path),
                         *link = bx_strf("%s/out/t/l", w->home.path);
    struct answer a = {0};
    struct stat st;

    assert_int_equal(boxlite_box_copy_out(w->box, "/tree", dst, NULL, on_copied, &a, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Ok);
    assert_int_equal(a.number, 3); /* the link that leads out, and what the box says of its own */
    assert_true(lstat(file, &st) == 0 && st.st_size == 5);
    assert_int_equal(lstat(link, &st), -1);
    a = (struct answer){0};
    assert_int_equal(boxlite_copy_out(w->box, "/badtree", dst, on_plain, &a, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Rpc);
    assert_int_equal(lstat(outside, &st), -1);
    a = (struct answer){0};
    assert_int_equal(boxlite_copy_out(w->box, "/killed", dst, on_plain, &a, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Portal); /* not "broken off": we know why */
    a = (struct answer){0};
    assert_int_equal(boxlite_copy_out(w->box, "/refused", dst, on_plain, &a, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Storage);
    assert_null(strchr(a.message, '\x1b'));
    it_still_works(w);
    assert_true(lstat(t, &st) == 0);
}

static void a_copy_into_a_box_that_refuses_ends_at_once(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    char path[64];
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    snprintf(path, sizeof(path), "/dev/fd/%d", ends[0]); /* from which nothing comes */
    assert_int_equal(boxlite_copy_into(w->box, path, "/refused", on_plain, &a, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Storage);
    close(ends[0]);
    close(ends[1]);
    it_still_works(w);
}

int main(void)
{
#define F(f) cmocka_unit_test_setup_teardown(f, files_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        F(lies_cost_the_call_alone),
        F(what_is_there_is_as_the_box_says_and_no_more),
        F(a_file_without_end_is_cut),
        F(more_than_its_credit_ends_the_link),
        cmocka_unit_test_setup_teardown(an_older_box_is_told_apart, old_setup, world_teardown),
        F(a_call_that_is_given_up_is_answered_at_once),
        F(copies_from_a_box_that_lies_stay_where_they_belong),
        F(a_copy_into_a_box_that_refuses_ends_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
