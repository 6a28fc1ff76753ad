/* SPDX-License-Identifier: Apache-2.0 */
/* The public calls as far as they go without a machine: misuse, options, boxes as rows, drain from several
 * threads, the end. */
#include "api_help.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>

static void misuse_is_refused_and_never_crashes(void **state)
{
    struct home *h = *state;
    CBoxliteRuntime *rt = h->rt;
    CBoxliteOptions *o = options_of("busybox", NULL);
    CExecutionHandle *x = NULL;
    CBoxliteImageHandle *images = NULL;
    BoxliteCommand c = {.command = "true"};
    BoxliteExecutionResult result = BOXLITE_EXECUTION_RESULT_INIT;
    CBoxliteError e = {Ok, NULL};
    char *data;
    size_t len;
    CBoxHandle *box;

    assert_int_equal(boxlite_runtime_new(h->path, NULL, 0, NULL, &e), InvalidArgument);
    assert_string_equal(e.message, "invalid argument: out_runtime is NULL");
    boxlite_error_free(&e);
    assert_int_equal(e.code, Ok);
    assert_null(e.message);
    assert_int_equal(boxlite_runtime_drain(NULL, 0, NULL), -1);
    assert_int_equal(boxlite_runtime_fd(NULL), -1);
    assert_int_equal(boxlite_runtime_shutdown(NULL, 0, on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_runtime_shutdown(rt, 0, NULL, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_runtime_info(rt, NULL, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_options_new("x", NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_create_box(rt, o, NULL, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_create_box(rt, NULL, on_box, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_create_box(NULL, o, on_box, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_get_or_create_box(rt, NULL, on_made, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_get(rt, NULL, on_box, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_get(rt, "x", NULL, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_remove(rt, NULL, 0, on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_get_info(rt, NULL, on_box_info, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_list_info(rt, NULL, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_start_box(NULL, on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_stop_box(NULL, on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_box_info(NULL, on_box_info, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_box_details(NULL, on_info, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_box_set_detached(NULL, 1, NULL), InvalidArgument);
    assert_int_equal(boxlite_box_exec(NULL, &c, &x, NULL), InvalidArgument);
    assert_int_equal(boxlite_runtime_images(rt, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_list(NULL, on_images, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_execution_on_stdout(NULL, NULL, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_execution_on_exit(NULL, on_exit_code, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_execution_on_writable(NULL, NULL, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_execution_stdin_write(NULL, NULL, 0, NULL), InvalidArgument);
    assert_int_equal(boxlite_execution_stdin_close(NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_execution_stdin_room(NULL), 0);
    assert_int_equal(boxlite_execution_wait(NULL, on_wait, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_execution_kill(NULL, on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_execution_signal(NULL, 65, on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_execution_tty_resize(NULL, 0, 0, on_plain, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_execution_result(NULL, &result, NULL), InvalidArgument);
    assert_int_equal(boxlite_execution_kept(NULL, 1, &data, &len, NULL), InvalidArgument);
    assert_null(boxlite_execution_id(NULL));
    assert_null(boxlite_box_id(NULL));
    assert_null(boxlite_box_name(NULL));
    assert_null(boxlite_box_engine(NULL));
    assert_null(boxlite_info_get(NULL, "x"));
    assert_null(boxlite_info_key(NULL, 0));
    assert_int_equal(boxlite_has_feature(NULL), 0);
    assert_int_equal(boxlite_has_feature("runtime_fd"), 1);
    assert_int_equal(boxlite_has_feature("time_travel"), 0);

    box = make_box(rt, o);
    assert_int_equal(boxlite_box_exec(box, NULL, &x, NULL), InvalidArgument);
    assert_int_equal(boxlite_box_exec(box, &c, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_box_exec_post(box, &c, NULL, NULL, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_box_attach_execution(box, "", on_exec, NULL, NULL), InvalidArgument);
    boxlite_box_free(box);
    assert_int_equal(boxlite_runtime_images(rt, &images, NULL), Ok);
    assert_int_equal(boxlite_image_load(images, NULL, NULL, on_pulled, NULL, NULL), InvalidArgument);
    assert_int_equal(boxlite_image_load(images, "/", "bad//name", on_pulled, NULL, NULL), InvalidArgument);
    boxlite_image_free(images);

    boxlite_runtime_free(NULL);
    boxlite_options_free(NULL);
    boxlite_box_free(NULL);
    boxlite_execution_free(NULL);
    boxlite_image_free(NULL);
    boxlite_info_free(NULL);
    boxlite_free_string(NULL);
    boxlite_free_box_info(NULL);
    boxlite_free_box_info_list(NULL);
    boxlite_free_image_info_list(NULL);
    boxlite_free_image_pull_result(NULL);
    boxlite_error_free(NULL);
    boxlite_options_set_name(NULL, "x");
    boxlite_options_set_cmd(NULL, NULL, 3);
    boxlite_options_add_env(NULL, "a", "b");
}

static void commands_that_make_no_sense_name_their_field(void **state)
{
    struct home *h = *state;
    CBoxHandle *box = make_box(h->rt, options_of("busybox", NULL));
    BoxliteExecOptions unset = {0};
    struct {
        BoxliteExecOptions known;
        uint64_t newer;
    } future = {BOXLITE_EXEC_OPTIONS_INIT, 1};
    const char *args[] = {"a", NULL}, *pairs[] = {"k", "v", "odd"}, *bad_name[] = {"a=b", "v"};
    char *huge = malloc(200 * 1024);
    struct answer a = {0};
    struct {
        BoxliteCommand c;
        const char *needle;
    } cases[] = {
        {{.command = ""}, "command"},
        {{.command = "x", .args = args, .argc = -1}, "args"},
        {{.command = "x", .args = args, .argc = 2}, "args"},
        {{.command = "x", .args = NULL, .argc = 1}, "args"},
        {{.command = "x", .env_pairs = pairs, .env_count = 3}, "env_pairs"},
        {{.command = "x", .env_pairs = bad_name, .env_count = 2}, "env_pairs"},
        {{.command = "x", .workdir = "relative"}, "workdir"},
        {{.command = "x", .timeout_secs = -1}, "timeout_secs"},
        {{.command = "x", .timeout_secs = 0.0 / 0.0}, "timeout_secs"},
        {{.command = huge}, "Argument list too long"},
    };
    size_t i;

    memset(huge, 'x', 200 * 1024 - 1);
    huge[200 * 1024 - 1] = '\0';
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CBoxliteError e = {Ok, NULL};

        assert_int_equal(boxlite_box_exec_post(box, &cases[i].c, NULL, on_exec, &a, &e), InvalidArgument);
        if (!strstr(e.message, cases[i].needle))
            fail_msg("case %zu: %s", i, e.message);
        boxlite_error_free(&e);
    }
    future.known.size = sizeof(future);
    assert_int_equal(boxlite_box_exec_post(box, &(BoxliteCommand){.command = "x"}, &unset, on_exec, &a, NULL),
                     InvalidArgument);
    assert_int_equal(
        boxlite_box_exec_post(box, &(BoxliteCommand){.command = "x"}, &future.known, on_exec, &a, NULL),
        InvalidArgument);
    assert_int_equal(boxlite_runtime_drain(h->rt, 0, NULL), 0);
    assert_int_equal(a.done, 0);
    free(huge);
    boxlite_box_free(box);
}

static void options_out_of_range_are_refused_by_name(void **state)
{
    struct home *h = *state;
    static const struct {
        int cpus, memory, disk;
        const char *name, *workdir, *engine, *image, *needle;
    } cases[] = {
        {.cpus = 33, .needle = "cpus"},
        {.memory = 64, .needle = "memory"},
        {.memory = INT_MAX, .needle = "memory"},
        {.disk = 1025, .needle = "disk_size_gb"},
        {.name = "-bad", .needle = "name"},
        {.name = "with space", .needle = "name"},
        {.name = "x234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901"
                 "23456789012345678901234567890123456789",
         .needle = "name"},
        {.workdir = "relative", .needle = "workdir"},
        {.engine = "xen", .needle = "engine"},
        {.image = "bad//name", .needle = "image"},
    };
    struct answer a = {0};
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CBoxliteOptions *o = options_of(cases[i].image, cases[i].name);
        CBoxliteError e = {Ok, NULL};

        boxlite_options_set_cpus(o, cases[i].cpus);
        boxlite_options_set_memory(o, cases[i].memory);
        boxlite_options_set_disk_size_gb(o, cases[i].disk);
        boxlite_options_set_workdir(o, cases[i].workdir);
        boxlite_options_set_engine(o, cases[i].engine);
        assert_int_equal(boxlite_create_box(h->rt, o, on_box, &a, &e), InvalidArgument);
        if (!strstr(e.message, cases[i].needle))
            fail_msg("case %zu: %s", i, e.message);
        boxlite_error_free(&e);
        boxlite_options_free(o); /* still ours */
    }
    assert_int_equal(a.done, 0);
}

static void remove_on_stop_and_detach_exclude_each_other(void **state)
{
    struct home *h = *state;
    CBoxliteOptions *o = options_of("busybox", NULL);
    CBoxliteError e = {Ok, NULL};
    struct answer a = {0};

    boxlite_options_set_auto_remove(o, 1);
    boxlite_options_set_detach(o, 1);
    assert_int_not_equal(boxlite_create_box(h->rt, o, on_box, &a, &e), Ok);
    assert_non_null(strstr(e.message, "remove-on-stop is incompatible"));
    boxlite_error_free(&e);
    boxlite_options_set_auto_remove(o, 0);
    boxlite_box_free(make_box(h->rt, o));
}

static CBoxInfoList *list(CBoxliteRuntime *rt)
{
    struct answer a = {0};

    assert_int_equal(boxlite_list_info(rt, on_box_list, &a, NULL), Ok);
    DRAIN_UNTIL(rt, a.done);
    ASSERT_ANSWER(a, Ok);
    return a.result;
}

static void a_box_is_made_found_listed_and_removed(void **state)
{
    struct home *h = *state;
    CBoxliteOptions *o = options_of("python:slim", "one");
    struct answer a = {0};
    struct stat st;
    CBoxHandle *box, *again;
    CBoxInfo *info;
    char *id, *id2, path[128];
    CBoxInfoList *l;

    boxlite_options_set_cpus(o, 2);
    boxlite_options_set_memory(o, 700);
    box = make_box(h->rt, o);
    id = boxlite_box_id(box);
    assert_int_equal(strlen(id), 12);
    snprintf(path, sizeof(path), "%s/boxes/%s", h->path, id);
    assert_int_equal(stat(path, &st), 0);
    assert_null(boxlite_box_engine(box));
    again = make_box(h->rt, options_of("busybox", "two"));
    boxlite_box_free(again);

    assert_int_equal(boxlite_get(h->rt, "one", on_box, &a, NULL), Ok);
    DRAIN_UNTIL(h->rt, a.done);
    ASSERT_ANSWER(a, Ok);
    id2 = boxlite_box_id(a.result);
    assert_string_equal(id, id2);
    boxlite_free_string(id2);
    boxlite_box_free(a.result);

    a = (struct answer){0};
    assert_int_equal(boxlite_box_info(box, on_box_info, &a, NULL), Ok);
    DRAIN_UNTIL(h->rt, a.done);
    info = a.result;
    assert_string_equal(info->name, "one");
    assert_string_equal(info->image, "python:slim");
    assert_string_equal(info->status, "configured");
    assert_int_equal(info->cpus, 2);
    assert_int_equal(info->memory_mib, 700);
    assert_int_equal(info->running, 0);
    assert_int_equal(info->network->mode, BoxliteNetworkModeEnabled);
    assert_int_equal(info->started_at, 0);
    assert_true(info->created_at > 1600000000);
    boxlite_free_box_info(info);

    l = list(h->rt);
    assert_int_equal(l->count, 2);
    assert_string_equal(l->items[0].name, "two"); /* newest first */
    assert_string_equal(l->items[1].name, "one");
    boxlite_free_box_info_list(l);

    a = (struct answer){0};
    assert_int_equal(boxlite_remove(h->rt, id, 0, on_plain, &a, NULL), Ok);
    DRAIN_UNTIL(h->rt, a.done);
    ASSERT_ANSWER(a, Ok);
    assert_int_equal(stat(path, &st), -1);
    a = (struct answer){0};
    boxlite_get(h->rt, "one", on_box, &a, NULL);
    DRAIN_UNTIL(h->rt, a.done);
    ASSERT_ANSWER(a, NotFound);
    assert_string_equal(a.message, "box not found: one");
    /* The handle of a box that is gone says so. */
    a = (struct answer){0};
    boxlite_start_box(box, on_plain, &a, NULL);
    DRAIN_UNTIL(h->rt, a.done);
    ASSERT_ANSWER(a, NotFound);
    boxlite_box_free(box);
    boxlite_free_string(id);
}

static void a_name_is_taken_once_and_get_or_create_finds_it(void **state)
{
    struct home *h = *state;
    CBoxliteOptions *o = options_of("busybox", "same");
    CBoxliteError e = {Ok, NULL};
    struct answer a = {0};
    char *id, *id2;

    boxlite_get_or_create_box(h->rt, o, on_made, &a, NULL);
    DRAIN_UNTIL(h->rt, a.done);
    assert_true(a.flag);
    id = boxlite_box_id(a.result);
    boxlite_box_free(a.result);

    o = options_of("busybox", "same");
    assert_int_equal(boxlite_create_box(h->rt, o, on_box, &a, &e), InvalidArgument);
    assert_string_equal(e.message, "invalid argument: box with name 'same' already exists");
    boxlite_error_free(&e);

    a = (struct answer){0};
    boxlite_get_or_create_box(h->rt, o, on_made, &a, NULL);
    DRAIN_UNTIL(h->rt, a.done);
    assert_false(a.flag);
    id2 = boxlite_box_id(a.result);
    assert_string_equal(id, id2);
    boxlite_box_free(a.result);
    boxlite_free_string(id);
    boxlite_free_string(id2);
}

static void the_descriptor_is_readable_exactly_while_there_is_something_to_do(void **state)
{
    struct home *h = *state;
    struct pollfd p = {.fd = boxlite_runtime_fd(h->rt), .events = POLLIN};
    struct answer a = {0};

    assert_int_equal(poll(&p, 1, 0), 0);
    boxlite_list_info(h->rt, on_box_list, &a, NULL);
    assert_int_equal(poll(&p, 1, 0), 1);
    assert_int_equal(boxlite_runtime_drain(h->rt, 0, NULL), 1);
    assert_int_equal(a.done, 1);
    boxlite_free_box_info_list(a.result);
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_int_equal(boxlite_runtime_drain(h->rt, 0, NULL), 0);
    assert_int_equal(boxlite_runtime_drain(h->rt, 20, NULL), 0);
}

static void a_full_queue_refuses_and_does_not_block(void **state)
{
    struct home *h = *state;
    CBoxliteError e = {Ok, NULL};
    struct answer a = {0};
    int i;

    for (i = 0; i < QUEUE_CAPACITY; i++)
        assert_int_equal(boxlite_get(h->rt, "none", on_box, &a, NULL), Ok);
    assert_int_equal(boxlite_get(h->rt, "none", on_box, &a, &e), ResourceExhausted);
    assert_non_null(e.message);
    boxlite_error_free(&e);
    assert_int_equal(boxlite_runtime_drain(h->rt, 0, NULL), QUEUE_CAPACITY);
    assert_int_equal(a.done, QUEUE_CAPACITY);
    assert_int_equal(boxlite_get(h->rt, "none", on_box, &a, NULL), Ok);
}

struct nested {
    CBoxliteRuntime *rt;
    int drain;
    struct answer inner;
    int done;
};

static void on_outer(CBoxInfoList *l, CBoxliteError *e, void *ud)
{
    struct nested *n = ud;
    CBoxliteError why = {Ok, NULL};

    (void)e;
    boxlite_free_box_info_list(l);
    n->done++;
    n->drain = boxlite_runtime_drain(n->rt, 0, &why);
    assert_int_equal(why.code, InvalidState);
    boxlite_error_free(&why);
    boxlite_list_info(n->rt, on_box_list, &n->inner, NULL); /* posting is allowed */
}

static void a_callback_may_post_but_not_drain(void **state)
{
    struct home *h = *state;
    struct nested n = {.rt = h->rt};

    boxlite_list_info(h->rt, on_outer, &n, NULL);
    DRAIN_UNTIL(h->rt, n.inner.done);
    assert_int_equal(n.drain, -1);
    assert_int_equal(n.done, 1);
    boxlite_free_box_info_list(n.inner.result);
}

struct poster {
    CBoxliteRuntime *rt;
    struct answer answers[200];
};

static void *post_many(void *ud)
{
    struct poster *p = ud;
    int i;

    for (i = 0; i < 200; i++)
        if (boxlite_get(p->rt, "none", on_box, &p->answers[i], NULL) != Ok)
            return p;
    return NULL;
}

static void other_threads_post_while_one_drains(void **state)
{
    struct home *h = *state;
    struct poster p[4] = {0};
    pthread_t t[4];
    int i, j, got = 0;
    void *bad;

    for (i = 0; i < 4; i++) {
        p[i].rt = h->rt;
        assert_int_equal(pthread_create(&t[i], NULL, post_many, &p[i]), 0);
    }
    while (got < 800) {
        int n = boxlite_runtime_drain(h->rt, 10000, NULL);

        assert_true(n > 0);
        got += n;
    }
    for (i = 0; i < 4; i++) {
        pthread_join(t[i], &bad);
        assert_null(bad);
        for (j = 0; j < 200; j++)
            assert_int_equal(p[i].answers[j].done, 1);
    }
}

/* On the one processor that is left, an idle thread runs when all others wait. */
static void *late_post(void *ud)
{
    struct poster *p = ud;
    struct sched_param idle = {0};

    pthread_setschedparam(pthread_self(), SCHED_IDLE, &idle);
    sched_yield();
    boxlite_get(p->rt, "none", on_box, &p->answers[0], NULL);
    return NULL;
}

static void a_post_wakes_a_drain_that_waits_without_end(void **state)
{
    struct home *h = *state;
    struct poster p = {.rt = h->rt};
    cpu_set_t all, one;
    pthread_t t;

    assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    pthread_create(&t, NULL, late_post, &p);
    assert_int_equal(boxlite_runtime_drain(h->rt, -1, NULL), 1);
    pthread_join(t, NULL);
    assert_int_equal(p.answers[0].done, 1);
    assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
}

static void after_shutdown_everything_says_stopped(void **state)
{
    struct home *h = *state;
    CBoxHandle *box = make_box(h->rt, options_of("busybox", NULL));
    CBoxliteOptions *o = options_of("busybox", NULL);
    CBoxliteError e = {Ok, NULL};
    struct answer a = {0}, b = {0};
    char *id;

    assert_int_equal(boxlite_runtime_shutdown(h->rt, 0, on_plain, &a, NULL), Ok);
    assert_int_equal(boxlite_list_info(h->rt, on_box_list, &b, &e), Stopped);
    assert_non_null(strstr(e.message, "shut down"));
    boxlite_error_free(&e);
    assert_int_equal(boxlite_create_box(h->rt, o, on_box, &b, NULL), Stopped);
    boxlite_options_free(o);
    assert_int_equal(boxlite_start_box(box, on_plain, &b, NULL), Stopped);
    DRAIN_UNTIL(h->rt, a.done);
    ASSERT_ANSWER(a, Ok);
    a = (struct answer){0};
    assert_int_equal(boxlite_runtime_shutdown(h->rt, 0, on_plain, &a, NULL), Ok); /* again */
    DRAIN_UNTIL(h->rt, a.done);
    id = boxlite_box_id(box);
    assert_non_null(id);
    boxlite_free_string(id);
    boxlite_box_free(box);
}

static void handles_outlive_the_runtime(void **state)
{
    struct home *h = *state;
    CBoxHandle *box = make_box(h->rt, options_of("busybox", NULL));
    CBoxliteImageHandle *images = NULL;
    struct answer dropped = {0}, a = {0};
    char *id;

    assert_int_equal(boxlite_runtime_images(h->rt, &images, NULL), Ok);
    boxlite_list_info(h->rt, on_box_list, &dropped, NULL); /* its result goes with the runtime */
    boxlite_runtime_free(h->rt);
    h->rt = NULL;
    assert_int_equal(dropped.done, 0);
    assert_int_equal(boxlite_start_box(box, on_plain, &a, NULL), Stopped);
    assert_int_equal(boxlite_image_list(images, on_images, &a, NULL), Stopped);
    id = boxlite_box_id(box);
    assert_non_null(id);
    boxlite_free_string(id);
    boxlite_box_free(box);
    boxlite_image_free(images);
}

static void on_counts(CRuntimeMetrics *m, CBoxliteError *e, void *ud)
{
    assert_null(e);
    *(CRuntimeMetrics *)ud = *m;
}

static void a_start_without_its_image_says_which(void **state)
{
    struct home *h = *state;
    CBoxHandle *box = make_box(h->rt, options_of("nosuch:1", NULL));
    CExecutionHandle *x = NULL;
    CBoxliteError e = {Ok, NULL};
    CRuntimeMetrics m = {.num_running_boxes = -1};
    struct answer a = {0};

    boxlite_start_box(box, on_plain, &a, NULL);
    assert_int_equal(a.done, 0);
    DRAIN_UNTIL(h->rt, a.done);
    ASSERT_ANSWER(a, Image);
    assert_non_null(strstr(a.message, "nosuch:1"));
    /* The blocking form gives the same error, and a stop of a box that never ran is no error. */
    assert_int_equal(boxlite_box_exec(box, &(BoxliteCommand){.command = "true"}, &x, &e), Image);
    assert_null(x);
    boxlite_error_free(&e);
    a = (struct answer){0};
    boxlite_stop_box(box, on_plain, &a, NULL);
    DRAIN_UNTIL(h->rt, a.done);
    ASSERT_ANSWER(a, Ok);
    a = (struct answer){0};
    assert_int_equal(boxlite_start_box(box, on_plain, &a, &e), Stopped);
    assert_non_null(strstr(e.message, "Handle invalidated after stop()"));
    boxlite_error_free(&e);
    boxlite_runtime_metrics(h->rt, on_counts, &m, NULL);
    DRAIN_UNTIL(h->rt, m.num_running_boxes >= 0);
    assert_int_equal(m.boxes_created_total, 1);
    assert_int_equal(m.boxes_failed_total, 2);
    assert_int_equal(m.num_running_boxes, 0);
    assert_int_equal(m.total_commands_executed, 0);
    boxlite_box_free(box);
}

static void a_box_with_a_main_process_is_not_started_by_a_command(void **state)
{
    struct home *h = *state;
    CBoxliteOptions *o = options_of("nosuch:1", NULL);
    const char *cmd[] = {"sleep", "1"};
    struct answer a = {0}, b = {0};
    CBoxHandle *box;

    boxlite_options_set_cmd(o, cmd, 2);
    box = make_box(h->rt, o);
    boxlite_box_exec_post(box, &(BoxliteCommand){.command = "true"}, NULL, on_exec, &a, NULL);
    DRAIN_UNTIL(h->rt, a.done);
    ASSERT_ANSWER(a, InvalidState);
    /* Attaching before the start takes hold of what is to come, once; an unstarted box has no other
     * commands. */
    a = (struct answer){0};
    boxlite_box_attach_execution(box, NULL, on_exec, &a, NULL);
    boxlite_box_attach_execution(box, "main", on_exec, &b, NULL);
    DRAIN_UNTIL(h->rt, a.done && b.done);
    ASSERT_ANSWER(a, Ok);
    ASSERT_ANSWER(b, InvalidState);
    b = (struct answer){0};
    boxlite_box_attach_execution(box, "0123456789ab", on_exec, &b, NULL);
    DRAIN_UNTIL(h->rt, b.done);
    ASSERT_ANSWER(b, InvalidState);
    /* The start fails, and so does who waits for the main process. */
    CExecutionHandle *x = a.result;
    struct answer start = {0}, wait = {0}, exit = {0};
    boxlite_execution_on_exit(x, on_exit_code, &exit, NULL);
    boxlite_execution_wait(x, on_wait, &wait, NULL);
    boxlite_start_box(box, on_plain, &start, NULL);
    DRAIN_UNTIL(h->rt, start.done && wait.done && exit.done);
    ASSERT_ANSWER(start, Image);
    ASSERT_ANSWER(wait, Image);
    assert_int_equal(exit.number, -1);
    boxlite_execution_free(x);
    boxlite_box_free(box);
}

static void environment_and_registries_are_checked_when_a_runtime_opens(void **state)
{
    struct home *h = *state;
    const BoxliteImageRegistry bad[] = {
        {.host = NULL},
        {.host = "https://x"},
        {.host = "x", .username = "u"},
        {.host = "x", .transport = (BoxliteRegistryTransport)7},
    };
    BoxliteImageRegistry good = {.host = "localhost:5000", .transport = BoxliteRegistryTransportHttp};
    CBoxliteRuntime *rt = NULL;
    CBoxliteError e = {Ok, NULL};
    size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(boxlite_runtime_new(h->path, &bad[i], 1, &rt, NULL), Config);
    assert_int_equal(boxlite_runtime_new(h->path, &good, 1, &rt, NULL), Ok);
    boxlite_runtime_free(rt);
    assert_int_equal(boxlite_runtime_new("relative/path", NULL, 0, &rt, &e), Config);
    assert_non_null(strstr(e.message, "relative/path"));
    boxlite_error_free(&e);
    assert_int_equal(boxlite_runtime_new("/proc/nothing", NULL, 0, &rt, &e), Storage);
    assert_non_null(strstr(e.message, "/proc/nothing"));
    boxlite_error_free(&e);
    setenv("BOXLITE_ENGINE", "xen", 1);
    assert_int_equal(boxlite_runtime_new(h->path, NULL, 0, &rt, NULL), Config);
    unsetenv("BOXLITE_ENGINE");
    setenv("BOXLITE_START_TIMEOUT", "soon", 1);
    assert_int_equal(boxlite_runtime_new(h->path, NULL, 0, &rt, NULL), Config);
    unsetenv("BOXLITE_START_TIMEOUT");
    assert_null(rt);
}

static void two_runtimes_share_one_home(void **state)
{
    struct home *h = *state;
    CBoxliteRuntime *other = open_runtime(h->path);
    CBoxHandle *box = make_box(h->rt, options_of("busybox", "shared"));
    struct answer a = {0};

    boxlite_get(other, "shared", on_box, &a, NULL);
    DRAIN_UNTIL(other, a.done);
    ASSERT_ANSWER(a, Ok);
    boxlite_box_free(a.result);
    a = (struct answer){0};
    boxlite_remove(other, "shared", 0, on_plain, &a, NULL);
    DRAIN_UNTIL(other, a.done);
    ASSERT_ANSWER(a, Ok);
    a = (struct answer){0};
    boxlite_start_box(box, on_plain, &a, NULL);
    DRAIN_UNTIL(h->rt, a.done);
    ASSERT_ANSWER(a, NotFound);
    boxlite_box_free(box);
    boxlite_runtime_free(other);
}

static void the_library_leaves_signals_children_and_descriptors_of_its_host_alone(void **state)
{
    struct home *h = *state;
    CBoxliteRuntime *rt = open_runtime(h->path);
    struct sigaction sa;
    int fd, sig;

    for (sig = 1; sig < 32; sig++)
        if (sigaction(sig, NULL, &sa) == 0 && sig != SIGSEGV && sig != SIGBUS &&
            sig != SIGFPE) /* ASan has those */
            assert_true(sa.sa_handler == SIG_DFL || sa.sa_handler == SIG_IGN || sig == SIGABRT ||
                        sig == SIGILL || sig == SIGSYS);
    for (fd = 3; fd < 256; fd++) {
        int flags = fcntl(fd, F_GETFD);
        char path[64], target[128] = "";

        if (flags < 0)
            continue;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (readlink(path, target, sizeof(target) - 1) > 0 &&
            (strstr(target, h->path) || strstr(target, "anon_inode")))
            assert_true(flags & FD_CLOEXEC);
    }
    boxlite_runtime_free(rt);
}

static void opening_a_home_is_quick(void **state)
{
    struct home *h = *state;
    double best = 1, t;
    int i;

    for (i = 0; i < 20; i++) {
        t = seconds();
        boxlite_runtime_free(open_runtime(h->path));
        t = seconds() - t;
        best = t < best ? t : best;
    }
    assert_true(best < 0.02); /* the aim is 5 ms; sanitizers and loaded machines cost */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, home_setup, home_teardown)
    const struct CMUnitTest tests[] = {
        T(misuse_is_refused_and_never_crashes),
        T(commands_that_make_no_sense_name_their_field),
        T(options_out_of_range_are_refused_by_name),
        T(remove_on_stop_and_detach_exclude_each_other),
        T(a_box_is_made_found_listed_and_removed),
        T(a_name_is_taken_once_and_get_or_create_finds_it),
        T(the_descriptor_is_readable_exactly_while_there_is_something_to_do),
        T(a_full_queue_refuses_and_does_not_block),
        T(a_callback_may_post_but_not_drain),
        T(other_threads_post_while_one_drains),
        T(a_post_wakes_a_drain_that_waits_without_end),
        T(after_shutdown_everything_says_stopped),
        T(handles_outlive_the_runtime),
        T(a_start_without_its_image_says_which),
        T(a_box_with_a_main_process_is_not_started_by_a_command),
        T(environment_and_registries_are_checked_when_a_runtime_opens),
        T(two_runtimes_share_one_home),
        T(the_library_leaves_signals_children_and_descriptors_of_its_host_alone),
        T(opening_a_home_is_quick),
    };

    setenv("BOXLITE_LIBEXEC", "/nonexistent", 1); /* no program of ours: nobody is asked for an image */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
