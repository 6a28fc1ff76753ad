/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.c - `boxlite wait`.
 */
#include "cli/cli.h"

#include <stdlib.h>

struct waited {
    struct bx_call call;
    BoxliteErrorCode rc;
    CBoxHandle *box;
    int exit_code;
};

static void keep_code(int exit_code, CBoxliteError *error, void *ud)
{
    struct waited *w = ud;
    w->exit_code = exit_code;
    bx_call_answer(&w->call, NULL, error);
}

/* All at once, and then in the order of their names. */
static int wait_all(CBoxliteRuntime *rt, int n, char **names, struct waited *waits)
{
    int code = 0;
    for (int i = 0; i < n; i++) {
        struct waited *w = &waits[i];
        w->box = bx_cli_box(rt, names[i], &code);
        if (w->box)
            w->rc = boxlite_box_wait(w->box, keep_code, w, &w->call.error);
    }
    for (int i = 0; i < n; i++) {
        struct waited *w = &waits[i];
        if (!w->box)
            continue;
        if (bx_call_wait(rt, &w->call, w->rc)) {
            printf("%d\n", w->exit_code);
            fflush(stdout);
        } else {
            code = bx_cli_fail(&w->call.error, NULL);
        }
    }
    return code;
}

int bx_verb_wait(int argc, char **argv)
{
    int code = 0;
    int n = bx_cli_parse("wait", bx_cli_global_opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (n == 0)
        return bx_cli_usage("wait", "for which box?");
    CBoxliteRuntime *rt = bx_cli_open();
    struct waited *waits = calloc((size_t)n, sizeof(*waits));
    if (!rt || !waits) {
        free(waits);
        boxlite_runtime_free(rt);
        return BX_EXIT_FAILURE;
    }
    code = wait_all(rt, n, argv + 1, waits);
    for (int i = 0; i < n; i++)
        boxlite_box_free(waits[i].box);
    boxlite_runtime_free(rt);
    free(waits);
    return bx_cli_finish(code);
}
