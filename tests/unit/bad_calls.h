/* SPDX-License-Identifier: Apache-2.0 */
/* bad_calls.h - what the rows of test_bad_calls.c share: handles good and void, what a refusal is, callbacks that nobody may call. */
#ifndef BX_TESTS_BAD_CALLS_H
#define BX_TESTS_BAD_CALLS_H

#include "fake_box.h"

#include <limits.h>

struct bad {
    struct world *w; /* live */
    CBoxliteRuntime *rt;
    CBoxHandle *box;
    CExecutionHandle *exec;
    CBoxliteImageHandle *images;
    CBoxliteOptions *options;
    CAdvancedBoxOptions *advanced;
    CBoxliteRuntime *closed; /* was shut down */
    CBoxHandle *stopped_box; /* void since a stop through it */
    CBoxHandle *stale_box;   /* their runtime was freed */
    CExecutionHandle *stale_exec;
    CBoxliteImageHandle *stale_images;
    struct answer a;
};

/* With and without somebody who wants the error. */
#define REFUSED(want, call)                                                                                  \
    do {                                                                                                     \
        CBoxliteError e_ = {Ok, NULL}, *E = &e_;                                                             \
        int rc_ = (int)(call);                                                                               \
        if (rc_ != (int)(want))                                                                              \
            fail_msg("%s: code %d (%s), expected %d", #call, rc_, e_.message ? e_.message : "", (int)(want)); \
        if (e_.code != (want) || !e_.message || strlen(e_.message) < 10)                                     \
            fail_msg("%s: says \"%s\"", #call, e_.message ? e_.message : "(nothing)");                       \
        boxlite_error_free(&e_);                                                                             \
        E = NULL;                                                                                            \
        assert_int_equal((int)(call), (int)(want));                                                          \
    } while (0)
#define BAD(call)   REFUSED(InvalidArgument, call)
#define STALE(call) REFUSED(Stopped, call)

/* ---- callbacks that nobody may call ---- */

#define NEVER(name, ...)                                                                                     \
    static void name(__VA_ARGS__)                                                                            \
    {                                                                                                        \
        fail_msg("%s was called", #name);                                                                    \
    }
NEVER(no_plain, CBoxliteError *e, void *ud)
NEVER(no_box, CBoxHandle *b, CBoxliteError *e, void *ud)
NEVER(no_made, CBoxHandle *b, bool made, CBoxliteError *e, void *ud)
NEVER(no_box_info, CBoxInfo *i, CBoxliteError *e, void *ud)
NEVER(no_box_list, CBoxInfoList *l, CBoxliteError *e, void *ud)
NEVER(no_info, CBoxliteInfo *i, CBoxliteError *e, void *ud)
NEVER(no_report, const CDoctorReport *r, CBoxliteError *e, void *ud)
NEVER(no_processes, const CBoxProcessList *l, CBoxliteError *e, void *ud)
NEVER(no_box_metrics, CBoxMetrics *m, CBoxliteError *e, void *ud)
NEVER(no_runtime_metrics, CRuntimeMetrics *m, CBoxliteError *e, void *ud)
NEVER(no_exec, CExecutionHandle *x, CBoxliteError *e, void *ud)
NEVER(no_output, const uint8_t *data, size_t len, void *ud)
NEVER(no_log, int stream, int64_t time_ns, const uint8_t *data, size_t len, void *ud)
NEVER(no_event, const CBoxliteEvent *event, void *ud)
NEVER(no_exit, int code, void *ud)
NEVER(no_writable, size_t room, void *ud)
NEVER(no_wait, int code, CBoxliteError *e, void *ud)
NEVER(no_pulled, CImagePullResult *r, CBoxliteError *e, void *ud)
NEVER(no_images, CImageInfoList *l, CBoxliteError *e, void *ud)
NEVER(no_pruned, const CImagePruneResult *r, CBoxliteError *e, void *ud)
NEVER(no_progress, const char *id, const char *what, uint64_t done, uint64_t total, void *ud)
NEVER(no_pull_progress, const CPullProgress *p, void *ud)
NEVER(no_copy, const CBoxCopyResult *r, CBoxliteError *e, void *ud)
NEVER(no_data, const uint8_t *data, size_t len, CBoxliteError *e, void *ud)
NEVER(no_file, const CBoxFileInfo *info, CBoxliteError *e, void *ud)
NEVER(no_files, const CBoxFileInfoList *l, CBoxliteError *e, void *ud)

static char long_text[5000];
static const char *const one[] = {"x"};
static const char *const holes[] = {"x", NULL};
static const BoxliteCommand good = {.command = "echo"};

#define ROW(name) static void bad_##name(struct bad *b)
#define UNUSED(b) (void)(b)

#endif
