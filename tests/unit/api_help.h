/* SPDX-License-Identifier: Apache-2.0 */
/* api_help.h - what tests of <boxlite.h> share: a home of their own, and waiting for the answer of a posted
 * call. */
#ifndef BX_TESTS_API_HELP_H
#define BX_TESTS_API_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include <boxlite.h>

/* One answer: what the callback was given. */
struct answer {
    int done;
    BoxliteErrorCode code;
    char message[512];
    void *result;
    int number;
    bool flag;
};

static inline void answer_take(struct answer *a, CBoxliteError *e)
{
    a->done++;
    a->code = e ? e->code : Ok;
    snprintf(a->message, sizeof(a->message), "%s", e && e->message ? e->message : "");
}
static inline void on_plain(CBoxliteError *e, void *ud)
{
    answer_take(ud, e);
}
static inline void on_box(CBoxHandle *box, CBoxliteError *e, void *ud)
{
    answer_take(ud, e);
    ((struct answer *)ud)->result = box;
}
static inline void on_made(CBoxHandle *box, bool created, CBoxliteError *e, void *ud)
{
    on_box(box, e, ud);
    ((struct answer *)ud)->flag = created;
}
static inline void on_box_info(CBoxInfo *info, CBoxliteError *e, void *ud)
{
    answer_take(ud, e);
    ((struct answer *)ud)->result = info;
}
static inline void on_box_list(CBoxInfoList *list, CBoxliteError *e, void *ud)
{
    answer_take(ud, e);
    ((struct answer *)ud)->result = list;
}
static inline void on_exec(CExecutionHandle *x, CBoxliteError *e, void *ud)
{
    answer_take(ud, e);
    ((struct answer *)ud)->result = x;
}
static inline void on_wait(int code, CBoxliteError *e, void *ud)
{
    answer_take(ud, e);
    ((struct answer *)ud)->number = code;
}
static inline void on_pulled(CImagePullResult *r, CBoxliteError *e, void *ud)
{
    answer_take(ud, e);
    ((struct answer *)ud)->result = r;
}
static inline void on_images(CImageInfoList *l, CBoxliteError *e, void *ud)
{
    answer_take(ud, e);
    ((struct answer *)ud)->result = l;
}
static inline void on_info(CBoxliteInfo *i, CBoxliteError *e, void *ud)
{
    answer_take(ud, e);
    ((struct answer *)ud)->result = i;
}
static inline void on_exit_code(int code, void *ud)
{
    ((struct answer *)ud)->done++;
    ((struct answer *)ud)->number = code;
}

static inline double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Drains until the answer is there; fails the test after a minute. */
#define DRAIN_UNTIL(rt, condition)                                                                           \
    do {                                                                                                     \
        double end_ = seconds() + 60;                                                                        \
        while (!(condition)) {                                                                               \
            if (seconds() > end_)                                                                            \
                fail_msg("no answer within a minute: %s", #condition);                                       \
            assert_true(boxlite_runtime_drain(rt, 1000, NULL) >= 0);                                         \
        }                                                                                                    \
    } while (0)

#define ASSERT_ANSWER(a, want)                                                                               \
    do {                                                                                                     \
        if ((a).code != (want))                                                                              \
            fail_msg("code %d (%s), expected %d", (int)(a).code, (a).message, (int)(want));                  \
    } while (0)

struct home {
    char path[64];
    CBoxliteRuntime *rt;
};

static inline CBoxliteRuntime *open_runtime(const char *path)
{
    CBoxliteRuntime *rt = NULL;
    CBoxliteError e = {Ok, NULL};

    if (boxlite_runtime_new(path, NULL, 0, &rt, &e) != Ok)
        fail_msg("%s", e.message);
    return rt;
}

static inline int home_setup(void **state)
{
    struct home *h = calloc(1, sizeof(*h));

    snprintf(h->path, sizeof(h->path), "/tmp/bx-api-XXXXXX");
    assert_non_null(mkdtemp(h->path));
    h->rt = open_runtime(h->path);
    *state = h;
    return 0;
}

static inline int home_teardown(void **state)
{
    struct home *h = *state;
    pid_t pid;

    boxlite_runtime_free(h->rt);
    pid = fork();
    if (pid == 0)
        execl("/bin/rm", "rm", "-rf", h->path, (char *)NULL);
    waitpid(pid, NULL, 0);
    free(h);
    return 0;
}

static inline CBoxliteOptions *options_of(const char *image, const char *name)
{
    CBoxliteOptions *o = NULL;

    assert_int_equal(boxlite_options_new(image, &o, NULL), Ok);
    boxlite_options_set_name(o, name);
    return o;
}

static inline CBoxHandle *make_box(CBoxliteRuntime *rt, CBoxliteOptions *o)
{
    struct answer a = {0};
    CBoxliteError e = {Ok, NULL};

    if (boxlite_create_box(rt, o, on_box, &a, &e) != Ok)
        fail_msg("%s", e.message);
    DRAIN_UNTIL(rt, a.done);
    ASSERT_ANSWER(a, Ok);
    return a.result;
}

#endif
