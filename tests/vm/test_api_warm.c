/* SPDX-License-Identifier: Apache-2.0 */
/* boxlite_image_warm, as a program that embeds the library sees it: what it makes, how often, and what becomes of it when the
 * runtime ends first. */
#include "api_boxes.h"

#include <poll.h>

#define MEMORY 256

/* Several machines boot, one after another, beside other tests. */
#define WAIT(rt, condition)                                                                                  \
    do {                                                                                                     \
        double end_ = seconds() + 300;                                                                       \
        while (!(condition)) {                                                                               \
            if (seconds() > end_)                                                                            \
                fail_msg("no answer in time: %s", #condition);                                               \
            assert_true(boxlite_runtime_drain(rt, 1000, NULL) >= 0);                                         \
        }                                                                                                    \
    } while (0)

struct told {
    int converting, blank, image; /* how often each began */
};

static void on_progress(const char *box_id, const char *what, uint64_t done, uint64_t total, void *ud)
{
    struct told *t = ud;

    assert_string_equal(box_id, "");
    if (done > 0 || total > 0)
        return;
    t->converting += strcmp(what, "convert the image") == 0;
    t->blank += strcmp(what, "make the machine's template") == 0;
    t->image += strcmp(what, "make the image's template") == 0;
}

static CBoxliteImageHandle *images_of(CBoxliteRuntime *rt)
{
    CBoxliteImageHandle *images = NULL;

    assert_int_equal(boxlite_runtime_images(rt, &images, NULL), Ok);
    return images;
}

static BoxliteImageWarm with_memory(int mib)
{
    BoxliteImageWarm o = BOXLITE_IMAGE_WARM_INIT;

    o.memory_mib = mib;
    return o;
}

/* How many directories of templates that are being made have this in their name? */
static int being_made(const char *part)
{
    char path[128];
    struct dirent *d;
    int n = 0;
    DIR *f;

    snprintf(path, sizeof(path), "%s/templates", home_path);
    f = opendir(path);
    assert_non_null(f);
    while ((d = readdir(f))) {
        const char *dot = strrchr(d->d_name, '.');

        n += dot && strcmp(dot, ".new") == 0 && strstr(d->d_name, part) != NULL;
    }
    closedir(f);
    return n;
}

static bool begins_at_its_image(CBoxliteRuntime *rt, int memory_mib)
{
    CBoxliteOptions *o = options_of(IMAGE, NULL);
    char *dir, path[256], line[1024];
    bool image = false;
    CBoxHandle *box;
    FILE *log;

    boxlite_options_set_auto_remove(o, 0);
    boxlite_options_set_memory(o, memory_mib);
    box = make_box(rt, o);
    expect(rt, box, "echo here", "here\n");
    dir = fact(rt, box, "dir");
    snprintf(path, sizeof(path), "%s/shim.log", dir);
    free(dir);
    log = fopen(path, "r");
    assert_non_null(log);
    while (fgets(line, sizeof(line), log)) {
        char *at = strstr(line, "ready from ");

        if (at)
            image = strstr(at, "-i") != NULL;
    }
    fclose(log);
    boxlite_box_free(box);
    return image;
}

static void many_calls_make_each_thing_once(void **state)
{
    CBoxliteRuntime *rt = *state;
    CBoxliteImageHandle *images = images_of(rt);
    BoxliteImageWarm usual = with_memory(MEMORY), other = with_memory(MEMORY + 1); /* is rounded up */
    struct answer a[6] = {0};
    struct told told = {0};
    int i;

    assert_int_equal(boxlite_runtime_on_progress(rt, on_progress, &told, NULL), Ok);
    for (i = 0; i < 6; i++)
        assert_int_equal(boxlite_image_warm(images, IMAGE, i == 3 ? &other : &usual, on_plain, &a[i], NULL), Ok);
    for (i = 0; i < 6; i++)
        assert_int_equal(a[i].done, 0); /* never from inside the call */
    for (i = 0; i < 6; i++) {
        WAIT(rt, a[i].done);
        ASSERT_ANSWER(a[i], Ok);
    }
    assert_int_equal(told.converting, 1);
    assert_int_equal(told.blank, 2);
    assert_int_equal(told.image, 2);
    for (i = 0; i < 2; i++) { /* and now there is nothing to do */
        plain(rt, boxlite_image_warm(images, IMAGE, i ? &other : &usual, on_plain, &a[i], NULL), &a[i], Ok);
        assert_int_equal(told.converting + told.blank + told.image, 5);
    }
    boxlite_runtime_on_progress(rt, NULL, NULL, NULL);
    assert_true(begins_at_its_image(rt, MEMORY));
    boxlite_image_free(images);
}

static void refused(CBoxliteRuntime *rt, const char *name, BoxliteErrorCode code, const char *why)
{
    CBoxliteImageHandle *images = images_of(rt);
    struct answer a = {0};

    assert_int_equal(boxlite_image_warm(images, name, NULL, on_plain, &a, NULL), Ok);
    DRAIN_UNTIL(rt, a.done);
    ASSERT_ANSWER(a, code);
    if (!strstr(a.message, why))
        fail_msg("no '%s' in '%s'", why, a.message);
    boxlite_image_free(images);
}

static void what_cannot_be_warmed_is_told(void **state)
{
    CBoxliteRuntime *off;

    refused(*state, "nobody/knows:1", Image, "no such image: nobody/knows:1: fetch it with `boxlite pull nobody/knows:1`");
    setenv("BOXLITE_IMAGE_TEMPLATES", "off", 1);
    off = open_runtime(home_path);
    setenv("BOXLITE_IMAGE_TEMPLATES", "auto", 1);
    refused(off, IMAGE, Config, "BOXLITE_IMAGE_TEMPLATES=off");
    boxlite_runtime_free(off);
}

/* A warm that is at work, of a shape that nothing is there of, and another one that waits for its turn. */
static void begin_two(CBoxliteRuntime *rt, int memory_mib, struct answer a[2])
{
    CBoxliteImageHandle *images = images_of(rt);
    BoxliteImageWarm first = with_memory(memory_mib), second = with_memory(memory_mib + 64);
    char name[32];
    double until = seconds() + 60;

    assert_int_equal(boxlite_image_warm(images, IMAGE, &first, on_plain, &a[0], NULL), Ok);
    assert_int_equal(boxlite_image_warm(images, IMAGE, &second, on_plain, &a[1], NULL), Ok);
    boxlite_image_free(images);
    snprintf(name, sizeof(name), "-c1-m%dn-", memory_mib);
    while (!being_made(name) && seconds() < until)
        assert_true(boxlite_runtime_drain(rt, 20, NULL) >= 0);
    assert_int_equal(being_made(name), 1);
    assert_int_equal(being_made(""), 1); /* the other waits */
    assert_int_equal(a[0].done + a[1].done, 0);
}

static void wait_cleared(void)
{
    double until = seconds() + 60;

    while (being_made("") && seconds() < until)
        poll(NULL, 0, 10);
    assert_int_equal(being_made(""), 0);
}

static void a_runtime_that_is_freed_leaves_nothing_half_made(void **state)
{
    CBoxliteRuntime *rt = open_runtime(home_path);
    struct answer a[2] = {0};

    (void)state;
    begin_two(rt, 512, a);
    boxlite_runtime_free(rt);
    assert_int_equal(a[0].done + a[1].done, 0); /* nobody is called behind its end */
    wait_cleared();
}

static void a_start_that_is_given_up_leaves_nothing_half_made(void **state)
{
    CBoxliteRuntime *rt = open_runtime(home_path);
    CBoxliteOptions *o = options_of(IMAGE, NULL);
    double until = seconds() + 60;
    struct answer a = {0};
    CBoxHandle *box;

    (void)state;
    boxlite_options_set_memory(o, 640);
    box = make_box(rt, o);
    assert_int_equal(boxlite_start_box(box, on_plain, &a, NULL), Ok);
    while (!being_made("-c1-m640n-") && seconds() < until)
        assert_true(boxlite_runtime_drain(rt, 20, NULL) >= 0);
    assert_int_equal(being_made("-c1-m640n-"), 1);
    boxlite_box_free(box);
    boxlite_runtime_free(rt);
    wait_cleared();
}

static void a_runtime_that_is_shut_down_answers_and_leaves_nothing_half_made(void **state)
{
    CBoxliteRuntime *rt = open_runtime(home_path);
    CBoxliteImageHandle *images = images_of(rt);
    struct answer a[2] = {0}, down = {0}, again = {0};
    BoxliteImageWarm usual = with_memory(512);
    CBoxliteError e = {Ok, NULL};

    begin_two(rt, 512, a);
    plain(rt, boxlite_runtime_shutdown(rt, 20, on_plain, &down, NULL), &down, Ok);
    ASSERT_ANSWER(a[0], Stopped);
    ASSERT_ANSWER(a[1], Stopped);
    assert_int_equal(boxlite_image_warm(images, IMAGE, NULL, on_plain, &again, &e), Stopped);
    boxlite_error_free(&e);
    boxlite_image_free(images);
    boxlite_runtime_free(rt);
    wait_cleared();
    /* and what was given up is made by the next one */
    images = images_of(*state);
    again = (struct answer){0};
    assert_int_equal(boxlite_image_warm(images, IMAGE, &usual, on_plain, &again, NULL), Ok);
    WAIT(*state, again.done);
    ASSERT_ANSWER(again, Ok);
    boxlite_image_free(images);
    assert_true(begins_at_its_image(*state, 512));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(many_calls_make_each_thing_once),
        T(what_cannot_be_warmed_is_told),
        T(a_runtime_that_is_freed_leaves_nothing_half_made),
        T(a_start_that_is_given_up_leaves_nothing_half_made),
        T(a_runtime_that_is_shut_down_answers_and_leaves_nothing_half_made),
    };

    setenv("BOXLITE_IMAGE_TEMPLATES", "auto", 1);
    setenv("BOXLITE_START_TIMEOUT", "100", 1);
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
