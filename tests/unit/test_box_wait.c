/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for a box's end, and its processes, also of a box that lies about them. */
#include "fake_box.h"

#include "runtime/processes.h"
#include "wire/record.h"

/* ---- the end ---- */

static void who_waits_for_a_box_that_does_not_run_is_answered_at_once(void **state)
{
    struct world *w = *state;
    CBoxHandle *idle = make_box(w->home.rt, options_of("busybox", "idle"));
    struct answer a = {.number = -5};

    assert_int_equal(boxlite_box_wait(idle, on_wait, &a, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Ok);
    assert_int_equal(a.number, 0);
    boxlite_box_free(idle);
}

static void everybody_who_waits_hears_of_a_stop(void **state)
{
    struct world *w = *state;
    struct answer a = {0}, b = {0}, stop = {0};

    assert_int_equal(boxlite_box_wait(w->box, on_wait, &a, NULL), Ok);
    boxlite_runtime_drain(w->home.rt, 0, NULL);
    assert_int_equal(a.done, 0);
    assert_int_equal(boxlite_box_wait(w->box, on_wait, &b, NULL), Ok);
    assert_int_equal(boxlite_stop_box(w->box, on_plain, &stop, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done && b.done && stop.done);
    /* The test's box leaves no record of its end, so it counts as one that failed. */
    ASSERT_ANSWER(a, Engine);
    ASSERT_ANSWER(b, Engine);
    assert_non_null(strstr(a.message, "box fake failed: the box's supervisor was killed"));
}

static void the_end_is_told_with_its_record(void **state)
{
    static const char record[] = "{\"state\": \"stopped\", \"oom\": false, \"code\": 0, \"time_ns\": 5000000000, \"exit_code\": 42, \"message\": \"\"}";
    struct world *w = *state;
    struct answer a = {0}, stop = {0};
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/boxes/%s/exit.json", w->home.path, w->id);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, record, strlen(record)), strlen(record));
    close(fd);
    assert_int_equal(boxlite_box_wait(w->box, on_wait, &a, NULL), Ok);
    assert_int_equal(boxlite_stop_box(w->box, on_plain, &stop, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done && stop.done);
    ASSERT_ANSWER(a, Ok);
    assert_int_equal(a.number, 42);
    /* And afterwards, also by a handle that is void for other calls. */
    a = (struct answer){0};
    assert_int_equal(boxlite_box_wait(w->box, on_wait, &a, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Ok);
    assert_int_equal(a.number, 42);
}

static void who_waits_hears_of_a_removal(void **state)
{
    struct world *w = *state;
    struct answer a = {0}, rm = {0};

    assert_int_equal(boxlite_box_wait(w->box, on_wait, &a, NULL), Ok);
    assert_int_equal(boxlite_remove(w->home.rt, "fake", 1, on_plain, &rm, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done && rm.done);
    ASSERT_ANSWER(rm, Ok);
    ASSERT_ANSWER(a, Engine);
    a = (struct answer){0};
    assert_int_equal(boxlite_box_wait(w->box, on_wait, &a, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, NotFound);
}

static void who_waits_hears_that_the_box_died(void **state)
{
    struct world *w = *state;
    struct answer a = {0};

    assert_int_equal(boxlite_box_wait(w->box, on_wait, &a, NULL), Ok);
    boxlite_runtime_drain(w->home.rt, 0, NULL);
    kill(w->pid, SIGKILL);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Engine);
}

static void a_runtime_freed_meanwhile_drops_who_waits(void **state)
{
    struct world *w = *state;
    struct answer a = {0};

    assert_int_equal(boxlite_box_wait(w->box, on_wait, &a, NULL), Ok);
    boxlite_runtime_free(w->home.rt);
    w->home.rt = NULL;
    assert_int_equal(a.done, 0);
}

/* ---- processes ---- */

static const char *processes; /* what the box says */

static void send_processes(struct fake *f, uint32_t stream, const uint8_t *p, size_t len)
{
    struct bx_rec_entry e = {.type = BX_FILE_REGULAR, .name = "processes", .link = ""};
    struct bx_rec_end end = {.text = "", .counts = {.left_out = 3}};
    bx_cleanup_buf struct bx_buf b = BX_BUF_INIT(1 << 20);
    boxlite_Started started = boxlite_Started_init_zero;
    boxlite_Exit ended = boxlite_Exit_init_zero;
    uint8_t head[BX_REC_DATA_HEAD];
    boxlite_FileOp op;

    if (bx_msg_decode(BX_MSG_FILE_OP, p, len, &op, NULL) < 0 || op.op != BX_FILE_PROCESSES)
        _exit(50);
    bx_rec_put_entry(&b, &e);
    bx_rec_data_head(head, 0, strlen(processes));
    bx_buf_add(&b, head, sizeof(head));
    bx_buf_addstr(&b, processes);
    bx_rec_put_close(&b, strlen(processes));
    bx_rec_put_end(&b, &end);
    bx_msg_send(&f->link, BX_MSG_STARTED, stream, &started, NULL);
    bx_link_send_data(&f->link, stream, BX_LANE_STDOUT, bx_buf_data(&b), bx_buf_len(&b));
    bx_link_send_eof(&f->link, stream, BX_LANE_STDOUT);
    bx_msg_send_ordered(&f->link, BX_MSG_EXIT, stream, &ended, NULL);
}

static void on_processes(const CBoxProcessList *list, CBoxliteError *e, void *ud)
{
    struct answer *a = ud;

    answer_take(a, e);
    if (!list)
        return;
    assert_int_equal(list->size, sizeof(*list));
    assert_int_equal(list->count, 2);
    assert_int_equal(list->left_out, 3);
    assert_int_equal(list->items[0]->pid, 1);
    assert_int_equal(list->items[0]->state, 'S');
    assert_string_equal(list->items[0]->name, "init");
    assert_string_equal(list->items[0]->command, "");
    assert_int_equal(list->items[1]->parent, 1);
    assert_int_equal(list->items[1]->uid, 1000);
    assert_int_equal(list->items[1]->threads, 2);
    assert_int_equal(list->items[1]->cpu_us, 30000);
    assert_int_equal(list->items[1]->memory_bytes, 4096);
    assert_int_equal(list->items[1]->age_ms, 77);
    assert_string_equal(list->items[1]->command, "a b\\x1b");
}

#define TWO "1 0 0 S 1 0 0 99\tinit\t\n20 1 1000 R 2 30000 4096 77\ta\ta b\\x1b\n"

static int processes_setup(void **state)
{
    processes = TWO;
    fake_file_op = send_processes;
    return world_setup(state);
}

static int processes_teardown(void **state)
{
    fake_file_op = NULL;
    return world_teardown(state);
}

static void processes_of_a_box_are_listed(void **state)
{
    struct world *w = *state;
    struct answer a = {0};

    assert_int_equal(boxlite_box_processes(w->box, on_processes, &a, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Ok);
}

static void a_box_that_does_not_run_is_not_started_for_its_processes(void **state)
{
    struct world *w = *state;
    CBoxHandle *idle = make_box(w->home.rt, options_of("busybox", "idle"));
    struct answer a = {0};

    assert_int_equal(boxlite_box_processes(idle, on_processes, &a, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, InvalidState);
    assert_non_null(strstr(a.message, "box idle does not run"));
    boxlite_box_free(idle);
}

static void an_older_box_says_that_it_cannot(void **state)
{
    struct world *w = *state;
    struct answer a = {0};

    assert_int_equal(boxlite_box_processes(w->box, on_processes, &a, NULL), Ok);
    DRAIN_UNTIL(w->home.rt, a.done);
    ASSERT_ANSWER(a, Unsupported);
}

static void lies_about_processes_are_refused(void **state)
{
    static const char *const lies[] = {
        "\n",
        "1 0 0 S 1 0 0 0\n",
        "1 0 0 S 1 0 0 0\tname\n",
        "1 0 0 S 1 0 0\tname\tcommand\n",
        "1 0 0 S 1 0 0 0 0\tname\tcommand\n",
        "x 0 0 S 1 0 0 0\tname\tcommand\n",
        "1 0 0 SS 1 0 0 0\tname\tcommand\n",
        "1 0 0 \x1b 1 0 0 0\tname\tcommand\n",
        "1 0 0 S -1 0 0 0\tname\tcommand\n",
        "2147483648 0 0 S 1 0 0 0\tname\tcommand\n",
        "1 0 4294967296 S 1 0 0 0\tname\tcommand\n",
        "1 0 0 S 1 99999999999999999999 0 0\tname\tcommand\n",
        "1 0 0 S 1 0 0 0\tname\tcommand",
        "1 0 0 S 1 0 0 0\tname\tcomm\xff\n",
        "1 0 0 S 1 0 0 0\tname\t\x1b[31mcommand\n",
        "1 0 0 S 1 0 0 0\tna\x7fme\tcommand\n",
        "1 0 0 S 1 0 0 0\tname\tcommand\n1",
    };
    CBoxProcessList *list = NULL;
    struct bx_err err;

    for (size_t i = 0; i < BX_ARRAY_SIZE(lies); i++) {
        bx_cleanup_free char *text = strdup(lies[i]);

        if (bx_processes_parse(text, 0, &list, &err) != -BX_ERPC)
            fail_msg("lie %zu was believed", i);
    }
    assert_int_equal(bx_processes_parse((char[]){""}, UINT64_MAX, &list, &err), 0);
    assert_int_equal(list->count, 0);
    assert_int_equal(list->left_out, INT32_MAX);
    bx_processes_free(list);
}

int main(void)
{
#define W(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
#define P(f) cmocka_unit_test_setup_teardown(f, processes_setup, processes_teardown)
    const struct CMUnitTest tests[] = {
        W(who_waits_for_a_box_that_does_not_run_is_answered_at_once),
        W(everybody_who_waits_hears_of_a_stop),
        W(the_end_is_told_with_its_record),
        W(who_waits_hears_of_a_removal),
        W(who_waits_hears_that_the_box_died),
        W(a_runtime_freed_meanwhile_drops_who_waits),
        P(processes_of_a_box_are_listed),
        P(a_box_that_does_not_run_is_not_started_for_its_processes),
        W(an_older_box_says_that_it_cannot),
        cmocka_unit_test(lies_about_processes_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
