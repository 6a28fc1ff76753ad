/* SPDX-License-Identifier: Apache-2.0 */
/* api_boxes.h - what tests of real boxes through <boxlite.h> share: a home with one image, boxes, commands and their output. */
#ifndef BX_TESTS_API_BOXES_H
#define BX_TESTS_API_BOXES_H

#include "../unit/api_help.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>

#define IMAGE "busybox:api"

static char home_path[64];

static inline void run_program(const char *const argv[])
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    if (status != 0) {
        fprintf(stderr, "%s: status %x\n", argv[0], status);
        exit(77);
    }
}

/* One home with one image for all tests: its template is made once. */
static inline int group_setup(void **state)
{
    const char *mkimage = getenv("BX_TEST_MKIMAGE");
    CBoxliteImageHandle *images = NULL;
    struct answer a = {0};
    CBoxliteRuntime *rt;
    char layout[96];

    (void)state;
    snprintf(home_path, sizeof(home_path), "/tmp/bx-boxes-XXXXXX");
    assert_non_null(mkdtemp(home_path));
    snprintf(layout, sizeof(layout), "%s/layout", home_path);
    run_program((const char *const[]){"python3", mkimage ? mkimage : "mkimage.py", "busybox", layout, NULL});
    rt = open_runtime(home_path);
    assert_int_equal(boxlite_runtime_images(rt, &images, NULL), Ok);
    assert_int_equal(boxlite_image_load(images, layout, IMAGE, on_pulled, &a, NULL), Ok);
    DRAIN_UNTIL(rt, a.done);
    ASSERT_ANSWER(a, Ok);
    boxlite_free_image_pull_result(a.result);
    a = (struct answer){0};
    boxlite_image_list(images, on_images, &a, NULL);
    DRAIN_UNTIL(rt, a.done);
    assert_int_equal(((CImageInfoList *)a.result)->count, 1);
    assert_string_equal(((CImageInfoList *)a.result)->items[0].repository, "busybox");
    boxlite_free_image_info_list(a.result);
    boxlite_image_free(images);
    boxlite_runtime_free(rt);
    return 0;
}

static inline int group_teardown(void **state)
{
    (void)state;
    run_program((const char *const[]){"rm", "-rf", home_path, NULL});
    return 0;
}

static inline int setup(void **state)
{
    *state = open_runtime(home_path);
    return 0;
}

static inline int count_entries(const char *dir)
{
    char path[128];
    struct dirent *d;
    int n = 0;

    snprintf(path, sizeof(path), "%s/%s", home_path, dir);
    DIR *f = opendir(path);
    while ((d = readdir(f)))
        n += d->d_name[0] != '.';
    closedir(f);
    return n;
}

/* Nothing is left: no box, no file in tmp, no child of ours. */
static inline int teardown(void **state)
{
    CBoxliteRuntime *rt = *state;
    struct answer a = {0};

    boxlite_list_info(rt, on_box_list, &a, NULL);
    DRAIN_UNTIL(rt, a.done);
    CBoxInfoList *l = a.result;
    for (int i = 0; i < l->count; i++) {
        struct answer r = {0};

        boxlite_remove(rt, l->items[i].id, 1, on_plain, &r, NULL);
        DRAIN_UNTIL(rt, r.done);
        ASSERT_ANSWER(r, Ok);
    }
    boxlite_free_box_info_list(l);
    assert_int_equal(count_entries("boxes"), 0);
    assert_int_equal(count_entries("tmp"), 0);
    boxlite_runtime_shutdown(rt, 20, on_plain, &(struct answer){0}, NULL);
    boxlite_runtime_drain(rt, 100, NULL);
    boxlite_runtime_free(rt);
    return 0;
}

/* ---- helpers ---- */

static inline CBoxHandle *idle_box(CBoxliteRuntime *rt, const char *name)
{
    CBoxliteOptions *o = options_of(IMAGE, name);

    boxlite_options_set_auto_remove(o, 0);
    boxlite_options_set_memory(o, 256);
    return make_box(rt, o);
}

struct output {
    char *data;
    size_t len;
    int exits, code;
};

static inline void collect(const uint8_t *data, size_t len, void *ud)
{
    struct output *o = ud;

    o->data = realloc(o->data, o->len + len + 1);
    memcpy(o->data + o->len, data, len);
    o->len += len;
    o->data[o->len] = '\0';
}

static inline void ended(int code, void *ud)
{
    ((struct output *)ud)->exits++;
    ((struct output *)ud)->code = code;
}

static inline CExecutionHandle *sh_start(CBoxHandle *box, const char *script)
{
    const char *args[] = {"-c", script};
    BoxliteCommand c = {.command = "sh", .args = args, .argc = 2};
    CExecutionHandle *x = NULL;
    CBoxliteError e = {Ok, NULL};

    if (boxlite_box_exec(box, &c, &x, &e) != Ok)
        fail_msg("%s", e.message);
    return x;
}

/* Runs a script and gives its output; the code must be `code`. */
static inline char *sh(CBoxliteRuntime *rt, CBoxHandle *box, const char *script, int code)
{
    CExecutionHandle *x = sh_start(box, script);
    struct output o = {0};

    boxlite_execution_stdin_close(x, NULL);
    boxlite_execution_on_stdout(x, collect, &o, NULL);
    boxlite_execution_on_exit(x, ended, &o, NULL);
    DRAIN_UNTIL(rt, o.exits);
    boxlite_execution_free(x);
    if (o.code != code)
        fail_msg("%s: exit %d, expected %d", script, o.code, code);
    return o.data ? o.data : calloc(1, 1);
}

static inline void expect(CBoxliteRuntime *rt, CBoxHandle *box, const char *script, const char *want)
{
    char *got = sh(rt, box, script, 0);

    assert_string_equal(got, want);
    free(got);
}

static inline void plain(CBoxliteRuntime *rt, BoxliteErrorCode rc, struct answer *a, BoxliteErrorCode want)
{
    assert_int_equal(rc, Ok);
    DRAIN_UNTIL(rt, a->done);
    ASSERT_ANSWER(*a, want);
    *a = (struct answer){0};
}

static inline CBoxHandle *again(CBoxliteRuntime *rt, const char *name)
{
    struct answer a = {0};

    boxlite_get(rt, name, on_box, &a, NULL);
    DRAIN_UNTIL(rt, a.done);
    ASSERT_ANSWER(a, Ok);
    return a.result;
}

static inline char *fact(CBoxliteRuntime *rt, CBoxHandle *box, const char *key)
{
    struct answer a = {0};
    char *copy = NULL;

    boxlite_box_details(box, on_info, &a, NULL);
    DRAIN_UNTIL(rt, a.done);
    ASSERT_ANSWER(a, Ok);
    if (boxlite_info_get(a.result, key))
        copy = strdup(boxlite_info_get(a.result, key));
    boxlite_info_free(a.result);
    return copy;
}

static inline long number(CBoxliteRuntime *rt, CBoxHandle *box, const char *key)
{
    char *text = fact(rt, box, key);
    long n = text ? atol(text) : -1;

    free(text);
    return n;
}

static inline void assert_fact(CBoxliteRuntime *rt, CBoxHandle *box, const char *key, const char *want)
{
    char *got = fact(rt, box, key);

    if (!got || strcmp(got, want) != 0)
        fail_msg("%s is %s, expected %s", key, got ? got : "not there", want);
    free(got);
}

#endif
