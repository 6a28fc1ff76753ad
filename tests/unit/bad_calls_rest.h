/* SPDX-License-Identifier: Apache-2.0 */
/* bad_calls_rest.h - functions about files and images, and those without callbacks, called wrongly. */
#ifndef BX_TESTS_BAD_CALLS_REST_H
#define BX_TESTS_BAD_CALLS_REST_H

#include "bad_calls.h"

/* ---- files ---- */

#define COPY(name)                                                                                           \
    ROW(name)                                                                                                \
    {                                                                                                        \
        BAD(name(NULL, "/a", "/b", no_plain, NULL, E));                                                      \
        BAD(name(b->box, NULL, "/b", no_plain, NULL, E));                                                    \
        BAD(name(b->box, "/a", NULL, no_plain, NULL, E));                                                    \
        BAD(name(b->box, "/a", "/b", NULL, NULL, E));                                                        \
        BAD(name(b->box, "", "/b", no_plain, NULL, E));                                                      \
        STALE(name(b->stopped_box, "/a", "/b", no_plain, NULL, E));                                          \
        STALE(name(b->stale_box, "/a", "/b", no_plain, NULL, E));                                            \
    }
#define COPY_WITH(name)                                                                                      \
    ROW(name)                                                                                                \
    {                                                                                                        \
        BoxliteCopyOptions unset = {0};                                                                      \
                                                                                                             \
        BAD(name(NULL, "/a", "/b", NULL, no_copy, NULL, E));                                                 \
        BAD(name(b->box, NULL, "/b", NULL, no_copy, NULL, E));                                               \
        BAD(name(b->box, "/a", NULL, NULL, no_copy, NULL, E));                                               \
        BAD(name(b->box, "/a", "/b", NULL, NULL, NULL, E));                                                  \
        BAD(name(b->box, "/a", "/b", &unset, no_copy, NULL, E));                                             \
        STALE(name(b->stale_box, "/a", "/b", NULL, no_copy, NULL, E));                                       \
    }
COPY(boxlite_copy_into)
COPY(boxlite_copy_out)
COPY_WITH(boxlite_box_copy_in)
COPY_WITH(boxlite_box_copy_out)

#define FILE_CALL(name, cb)                                                                                  \
    ROW(name)                                                                                                \
    {                                                                                                        \
        BoxliteFileOptions unset = {0};                                                                      \
                                                                                                             \
        BAD(name(NULL, "/a", NULL, cb, NULL, E));                                                            \
        BAD(name(b->box, NULL, NULL, cb, NULL, E));                                                          \
        BAD(name(b->box, "/a", NULL, NULL, NULL, E));                                                        \
        BAD(name(b->box, "/a", &unset, cb, NULL, E));                                                        \
        BAD(name(b->box, long_text, NULL, cb, NULL, E));                                                     \
        STALE(name(b->stale_box, "/a", NULL, cb, NULL, E));                                                  \
    }
FILE_CALL(boxlite_box_read_file, no_data)
FILE_CALL(boxlite_box_list_dir, no_files)
FILE_CALL(boxlite_box_stat, no_file)
FILE_CALL(boxlite_box_mkdir, no_plain)
FILE_CALL(boxlite_box_remove_file, no_plain)
ROW(boxlite_box_write_file)
{
    BAD(boxlite_box_write_file(NULL, "/a", (const uint8_t *)"x", 1, NULL, no_plain, NULL, E));
    BAD(boxlite_box_write_file(b->box, NULL, (const uint8_t *)"x", 1, NULL, no_plain, NULL, E));
    BAD(boxlite_box_write_file(b->box, "/a", NULL, 1, NULL, no_plain, NULL, E));
    BAD(boxlite_box_write_file(b->box, "/a", (const uint8_t *)"x", 1, NULL, NULL, NULL, E));
    STALE(boxlite_box_write_file(b->stale_box, "/a", (const uint8_t *)"x", 1, NULL, no_plain, NULL, E));
}
ROW(boxlite_box_rename)
{
    BAD(boxlite_box_rename(NULL, "/a", "/b", NULL, no_plain, NULL, E));
    BAD(boxlite_box_rename(b->box, NULL, "/b", NULL, no_plain, NULL, E));
    BAD(boxlite_box_rename(b->box, "/a", NULL, NULL, no_plain, NULL, E));
    BAD(boxlite_box_rename(b->box, "/a", "/b", NULL, NULL, NULL, E));
    STALE(boxlite_box_rename(b->stale_box, "/a", "/b", NULL, no_plain, NULL, E));
}
ROW(boxlite_runtime_on_event)
{
    BAD(boxlite_runtime_on_event(NULL, no_event, NULL, E));
    STALE(boxlite_runtime_on_event(b->closed, no_event, NULL, E));
    assert_int_equal(boxlite_runtime_on_event(b->rt, NULL, NULL, NULL), Ok); /* nobody listened: nothing happens */
}
ROW(boxlite_runtime_on_event_since)
{
    BAD(boxlite_runtime_on_event_since(NULL, 0, no_event, NULL, E));
    BAD(boxlite_runtime_on_event_since(b->rt, -1, no_event, NULL, E));
    BAD(boxlite_runtime_on_event_since(b->rt, INT64_MAX, no_event, NULL, E));
    STALE(boxlite_runtime_on_event_since(b->closed, 0, no_event, NULL, E));
}
ROW(boxlite_box_logs)
{
    struct {
        BoxliteLogOptions known;
        uint64_t later;
    } newer = {.known = {.size = sizeof(newer)}, .later = 1};

    BAD(boxlite_box_logs(NULL, NULL, no_log, no_plain, NULL, E));
    BAD(boxlite_box_logs(b->box, NULL, NULL, no_plain, NULL, E));
    BAD(boxlite_box_logs(b->box, NULL, no_log, NULL, NULL, E));
    BAD(boxlite_box_logs(b->box, &((BoxliteLogOptions){.size = 0}), no_log, no_plain, NULL, E));
    BAD(boxlite_box_logs(b->box, &newer.known, no_log, no_plain, NULL, E));
#define LOG_WITH(...) BAD(boxlite_box_logs(b->box, &((BoxliteLogOptions){.size = sizeof(BoxliteLogOptions), __VA_ARGS__}), no_log, no_plain, NULL, E))
    LOG_WITH(.since_ms = -1);
    LOG_WITH(.since_ms = INT64_MAX);
    LOG_WITH(.since_ms = 1, .console = 1);
    STALE(boxlite_box_logs(b->stopped_box, NULL, no_log, no_plain, NULL, E));
    STALE(boxlite_box_logs(b->stale_box, NULL, no_log, no_plain, NULL, E));
}
ROW(boxlite_box_cancel_logs)
{
    BAD(boxlite_box_cancel_logs(NULL, b, E));
    STALE(boxlite_box_cancel_logs(b->stale_box, b, E));
}
ROW(boxlite_box_cancel_files)
{
    BAD(boxlite_box_cancel_files(NULL, b, E));
    STALE(boxlite_box_cancel_files(b->stale_box, b, E));
}

/* ---- one box without callbacks ---- */

ROW(boxlite_simple_new)
{
    CBoxliteSimple *s = NULL;

    UNUSED(b);
    BAD(boxlite_simple_new("x", 0, 0, NULL, E));
    BAD(boxlite_simple_new("x", -1, 0, &s, E));
    BAD(boxlite_simple_new("x", 0, -1, &s, E));
    BAD(boxlite_simple_new("x", 1000, 0, &s, E));
    BAD(boxlite_simple_new("x", 0, 1, &s, E));
    assert_null(s);
}
ROW(boxlite_simple_run)
{
    CBoxliteExecResult *r = NULL;
    CBoxliteSimple *s = NULL;

    assert_int_equal(setenv("BOXLITE_HOME", b->w->home.path, 1), 0);
    assert_int_equal(boxlite_simple_new("x", 0, 0, &s, NULL), Ok);
    BAD(boxlite_simple_run(NULL, "x", NULL, 0, &r, E));
    BAD(boxlite_simple_run(s, NULL, NULL, 0, &r, E));
    BAD(boxlite_simple_run(s, "x", NULL, 0, NULL, E));
    BAD(boxlite_simple_run(s, "x", NULL, 1, &r, E));
    BAD(boxlite_simple_run(s, "x", holes, 2, &r, E));
    BAD(boxlite_simple_run(s, "", NULL, 0, &r, E));
    assert_null(r);
    boxlite_simple_free(s);
}
ROW(boxlite_result_free)
{
    UNUSED(b);
    boxlite_result_free(NULL);
}
ROW(boxlite_simple_free)
{
    UNUSED(b);
    boxlite_simple_free(NULL);
}

/* ---- images ---- */

ROW(boxlite_image_free)
{
    UNUSED(b);
    boxlite_image_free(NULL);
}
ROW(boxlite_image_list)
{
    BAD(boxlite_image_list(NULL, no_images, NULL, E));
    BAD(boxlite_image_list(b->images, NULL, NULL, E));
    STALE(boxlite_image_list(b->stale_images, no_images, NULL, E));
}
ROW(boxlite_image_pull)
{
    BAD(boxlite_image_pull(NULL, "x", no_pulled, NULL, E));
    BAD(boxlite_image_pull(b->images, NULL, no_pulled, NULL, E));
    BAD(boxlite_image_pull(b->images, "x", NULL, NULL, E));
    STALE(boxlite_image_pull(b->stale_images, "x", no_pulled, NULL, E));
}
ROW(boxlite_image_load)
{
    BAD(boxlite_image_load(NULL, "/x", NULL, no_pulled, NULL, E));
    BAD(boxlite_image_load(b->images, NULL, NULL, no_pulled, NULL, E));
    BAD(boxlite_image_load(b->images, "/x", NULL, NULL, NULL, E));
    STALE(boxlite_image_load(b->stale_images, "/x", NULL, no_pulled, NULL, E));
}
ROW(boxlite_image_import)
{
    BoxliteImageImport unset = {0};

    BAD(boxlite_image_import(NULL, "/x", "x", NULL, no_pulled, NULL, E));
    BAD(boxlite_image_import(b->images, NULL, "x", NULL, no_pulled, NULL, E));
    BAD(boxlite_image_import(b->images, "/x", NULL, NULL, no_pulled, NULL, E));
    BAD(boxlite_image_import(b->images, "/x", "x", NULL, NULL, NULL, E));
    BAD(boxlite_image_import(b->images, "/x", "x", &unset, no_pulled, NULL, E));
    STALE(boxlite_image_import(b->stale_images, "/x", "x", NULL, no_pulled, NULL, E));
}
ROW(boxlite_image_warm)
{
    BoxliteImageWarm unset = {0}, crowd = BOXLITE_IMAGE_WARM_INIT, tiny = BOXLITE_IMAGE_WARM_INIT;

    crowd.cpus = 1000;
    tiny.memory_mib = -1;
    BAD(boxlite_image_warm(NULL, "x", NULL, no_plain, NULL, E));
    BAD(boxlite_image_warm(b->images, NULL, NULL, no_plain, NULL, E));
    BAD(boxlite_image_warm(b->images, "x", NULL, NULL, NULL, E));
    BAD(boxlite_image_warm(b->images, "x", &unset, no_plain, NULL, E));
    BAD(boxlite_image_warm(b->images, "x", &crowd, no_plain, NULL, E));
    BAD(boxlite_image_warm(b->images, "x", &tiny, no_plain, NULL, E));
    STALE(boxlite_image_warm(b->stale_images, "x", NULL, no_plain, NULL, E));
}
ROW(boxlite_image_save)
{
    BAD(boxlite_image_save(NULL, one, 1, "/x", NULL, no_plain, NULL, E));
    BAD(boxlite_image_save(b->images, NULL, 1, "/x", NULL, no_plain, NULL, E));
    BAD(boxlite_image_save(b->images, one, 0, "/x", NULL, no_plain, NULL, E));
    BAD(boxlite_image_save(b->images, one, -1, "/x", NULL, no_plain, NULL, E));
    BAD(boxlite_image_save(b->images, holes, 2, "/x", NULL, no_plain, NULL, E));
    BAD(boxlite_image_save(b->images, one, 1, NULL, NULL, no_plain, NULL, E));
    BAD(boxlite_image_save(b->images, one, 1, "/x", "zip", no_plain, NULL, E));
    BAD(boxlite_image_save(b->images, one, 1, "/x", NULL, NULL, NULL, E));
    STALE(boxlite_image_save(b->stale_images, one, 1, "/x", NULL, no_plain, NULL, E));
}
ROW(boxlite_image_tag)
{
    BAD(boxlite_image_tag(NULL, "x", "y", no_plain, NULL, E));
    BAD(boxlite_image_tag(b->images, NULL, "y", no_plain, NULL, E));
    BAD(boxlite_image_tag(b->images, "x", NULL, no_plain, NULL, E));
    BAD(boxlite_image_tag(b->images, "x", "y", NULL, NULL, E));
    STALE(boxlite_image_tag(b->stale_images, "x", "y", no_plain, NULL, E));
}
ROW(boxlite_image_remove)
{
    BAD(boxlite_image_remove(NULL, "x", 0, no_pruned, NULL, E));
    BAD(boxlite_image_remove(b->images, NULL, 0, no_pruned, NULL, E));
    BAD(boxlite_image_remove(b->images, "x", 0, NULL, NULL, E));
    STALE(boxlite_image_remove(b->stale_images, "x", 0, no_pruned, NULL, E));
}
ROW(boxlite_image_prune)
{
    BoxliteImagePrune unset = {0}, half = BOXLITE_IMAGE_PRUNE_INIT;

    half.keep_bytes = 1; /* without `all` */
    BAD(boxlite_image_prune(NULL, NULL, no_pruned, NULL, E));
    BAD(boxlite_image_prune(b->images, NULL, NULL, NULL, E));
    BAD(boxlite_image_prune(b->images, &unset, no_pruned, NULL, E));
    BAD(boxlite_image_prune(b->images, &half, no_pruned, NULL, E));
    STALE(boxlite_image_prune(b->stale_images, NULL, no_pruned, NULL, E));
}
ROW(boxlite_image_inspect)
{
    BAD(boxlite_image_inspect(NULL, "x", no_info, NULL, E));
    BAD(boxlite_image_inspect(b->images, NULL, no_info, NULL, E));
    BAD(boxlite_image_inspect(b->images, "x", NULL, NULL, E));
    STALE(boxlite_image_inspect(b->stale_images, "x", no_info, NULL, E));
}
ROW(boxlite_free_image_info_list)
{
    UNUSED(b);
    boxlite_free_image_info_list(NULL);
}
ROW(boxlite_free_image_pull_result)
{
    UNUSED(b);
    boxlite_free_image_pull_result(NULL);
}

#endif
