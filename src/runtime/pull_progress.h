/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pull_progress.h - how far a pull is: from the lines of boxlite-pull to events of the runtime (private).
 *
 * The lines are checked against each other; events are thinned out to some ten a second for each layer, so
 * that a slow program is not buried. Nothing here decides anything about the pull.
 */
#ifndef BX_RUNTIME_PULL_PROGRESS_H
#define BX_RUNTIME_PULL_PROGRESS_H

#include "runtime/runtime.h"

struct bx_pull_layer {
    char digest[72];
    uint64_t size, done;
    bool fetch;   /* not there when the pull began */
    int64_t told; /* bx_now of its last event */
};

struct bx_pull_progress {
    struct CBoxliteRuntime *rt;
    char box_id[BX_ID_LEN + 1];
    char reference[512];
    char host[272];
    struct bx_pull_layer *layers;
    size_t n;
    uint64_t total; /* of what is to be fetched */
    int64_t told;   /* bx_now of the last event of the image */
};

void bx_pull_progress_init(struct bx_pull_progress *g, struct CBoxliteRuntime *rt, const char *box_id,
                           const char *reference);
void bx_pull_progress_done(struct bx_pull_progress *g);
/* A line but "ok" and "error": its first word, and the rest to write in. False: it makes no sense. */
bool bx_pull_progress_line(struct bx_pull_progress *g, const char *word, char *rest);
/* The image is there. */
void bx_pull_progress_end(struct bx_pull_progress *g);

#endif
