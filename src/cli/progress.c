/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.c - what takes long, shown on a terminal: one line for a step, a line for each layer of a pull that is on its way and one for
 * all of them. Nothing before half a second has passed, then rewritten at most ten times a second.
 */
#include "cli/cli.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

#define FIRST (500 * BX_MSEC)
#define PAUSE (100 * BX_MSEC)
#define LAYERS_MAX 512
#define LINE_MAX_LEN 256

static unsigned lines_shown;
static bool show;
static int64_t due; /* a step that may not say another word is to be shown then; 0: none */

void bx_cli_progress_clear(void)
{
    due = 0;
    if (lines_shown == 0)
        return;
    fputc('\r', stderr);
    for (; lines_shown > 1; lines_shown--)
        fputs("\033[A", stderr);
    fputs("\033[J", stderr);
    fflush(stderr);
    lines_shown = 0;
}

/* A line that does not wrap. */
static void put_line(const char *text)
{
    unsigned rows, cols;
    if (!bx_terminal_size(&rows, &cols) || cols < 2)
        cols = 80;
    fprintf(stderr, "%s%.*s", lines_shown++ ? "\r\n" : "", (int)cols - 1, text);
}

/* --- numbers */

/* The last seconds count, not what was fast or slow before. */
struct pace {
    int64_t at[2]; /* when ... 0: not begun */
    uint64_t done[2]; /* ... so much had come */
};
#define PACE (3 * BX_SEC)

static void pace_mark(struct pace *p, uint64_t done)
{
    int64_t now = bx_now();
    if (!p->at[0] || done < p->done[1])
        *p = (struct pace){ { now, now }, { done, done } };
    if (now - p->at[1] < PACE)
        return;
    p->at[0] = p->at[1];
    p->done[0] = p->done[1];
    p->at[1] = now;
    p->done[1] = done;
}

/* How fast, and how long still. Empty when nothing can be said. */
static void rate_text(char *dst, size_t size, uint64_t done, uint64_t total, const struct pace *p)
{
    double seconds = (double)(bx_now() - p->at[0]) / (double)BX_SEC;
    double rate = p->at[0] && done > p->done[0] && seconds > 0 ? (double)(done - p->done[0]) / seconds : 0;
    dst[0] = '\0';
    if (rate <= 0 || total < done)
        return;
    double left = (double)(total - done) / rate;
    if (left < 90)
        snprintf(dst, size, "  %.1f MB/s  %.0f s left", rate / 1e6, left);
    else if (left < 100 * 3600)
        snprintf(dst, size, "  %.1f MB/s  %.0f min left", rate / 1e6, left / 60);
    else
        snprintf(dst, size, "  %.1f MB/s", rate / 1e6);
}

/* --- steps */

static struct {
    int64_t began, last;
    struct pace pace;
    char what[64];
    uint64_t done, total;
} step;

static void draw_step(void)
{
    char line[LINE_MAX_LEN], rate[64];
    rate_text(rate, sizeof(rate), step.done, step.total, &step.pace);
    if (step.total)
        snprintf(line, sizeof(line), "%s: %llu %%%s", step.what,
                 (unsigned long long)(step.done * 100 / step.total), rate);
    else
        snprintf(line, sizeof(line), "%s ...", step.what);
    bx_cli_progress_clear();
    put_line(line);
    fflush(stderr);
}

static void show_step(const char *box_id, const char *what, uint64_t done, uint64_t total, void *ud)
{
    (void)ud;
    int64_t now = bx_now();
    bool other = strcmp(step.what, what) != 0;
    if (other)
        bx_cli_trace(BX_LOG_INFO, "%s%s%s%s", *box_id ? "box " : "", box_id, *box_id ? ": " : "", what);
    if (other) {
        snprintf(step.what, sizeof(step.what), "%s", what);
        step.began = now;
        step.last = 0;
        due = show && !bx_streq(what, "pull the image") ? now + FIRST : 0;
        step.pace = (struct pace){ 0 };
    }
    if (bx_streq(what, "pull the image")) /* in detail below */
        return;
    pace_mark(&step.pace, done);
    step.done = done;
    step.total = total;
    if (!show || now - step.began < FIRST || now - step.last < PAUSE)
        return;
    step.last = now;
    draw_step();
}

int bx_cli_progress_wait(void)
{
    if (due == 0)
        return -1;
    int64_t left = due - bx_now();
    if (left > 0)
        return (int)(left / BX_MSEC) + 1;
    draw_step();
    return -1;
}

void bx_cli_step(const char *what)
{
    if (isatty(2))
        show_step("", what, 0, 0, NULL);
}

/* --- pulls */

struct layer {
    char digest[16];
    char message[128];
    uint64_t done, total;
    struct pace pace; /* not begun: nothing came yet */
    int state;
};

static struct {
    char reference[256];
    struct layer layers[LAYERS_MAX];
    struct layer all;
    int count;
    int64_t began, last;
} pull;

static void note(struct layer *l, const CPullProgress *p)
{
    const char *hex = strchr(p->digest, ':');
    snprintf(l->digest, sizeof(l->digest), "%.12s", hex ? hex + 1 : p->digest);
    snprintf(l->message, sizeof(l->message), "%s", p->message);
    if (p->done > 0 && p->state == BoxlitePullStateFetching)
        pace_mark(&l->pace, p->done);
    l->done = p->done;
    l->total = p->total;
    l->state = p->state;
}

static void draw_layer(const struct layer *l)
{
    char line[LINE_MAX_LEN], rate[64];
    rate_text(rate, sizeof(rate), l->done, l->total, &l->pace);
    if (l->state == BoxlitePullStateRetrying)
        snprintf(line, sizeof(line), "  %s  again: %s", l->digest, l->message);
    else if (l->state == BoxlitePullStateWaiting)
        snprintf(line, sizeof(line), "  %s  another program fetches it", l->digest);
    else
        snprintf(line, sizeof(line), "  %s  %.1f of %.1f MB%s", l->digest, (double)l->done / 1e6, (double)l->total / 1e6,
                 rate);
    put_line(line);
}

static void draw_all(const CPullProgress *p)
{
    char line[LINE_MAX_LEN], rate[64];
    const struct layer *l = &pull.all;
    bool elsewhere = !bx_starts_with(p->reference, p->registry);
    rate_text(rate, sizeof(rate), l->done, l->total, &l->pace);
    if (l->state == BoxlitePullStateRetrying)
        snprintf(line, sizeof(line), "%s: again: %s", p->reference, l->message);
    else if (pull.count == 0)
        snprintf(line, sizeof(line), "%s: asking %s ...", p->reference, *p->registry ? p->registry : "its registry");
    else
        snprintf(line, sizeof(line), "%.1f of %.1f MB%s  %s%s%s", (double)l->done / 1e6, (double)l->total / 1e6, rate,
                 p->reference, elsewhere ? " from " : "", elsewhere ? p->registry : "");
    put_line(line);
}

static void draw_pull(const CPullProgress *p)
{
    unsigned rows, cols;
    int room = bx_terminal_size(&rows, &cols) && rows > 8 ? (int)rows - 4 : 4;
    bx_cli_progress_clear();
    for (int i = 0; i < pull.count && i < LAYERS_MAX && room > 0; i++) {
        if (pull.layers[i].state == BoxlitePullStateDone || !pull.layers[i].digest[0] ||
            (pull.layers[i].state == BoxlitePullStateFetching && !pull.layers[i].pace.at[0]))
            continue;
        draw_layer(&pull.layers[i]);
        room--;
    }
    draw_all(p);
    fflush(stderr);
}

static void show_pull(const CPullProgress *p, void *ud)
{
    (void)ud;
    int64_t now = bx_now();
    if (!bx_streq(pull.reference, p->reference)) {
        memset(&pull, 0, sizeof(pull));
        snprintf(pull.reference, sizeof(pull.reference), "%s", p->reference);
        pull.began = now;
    }
    pull.count = p->layers;
    if (p->layer < 0)
        note(&pull.all, p);
    else if (p->layer < LAYERS_MAX)
        note(&pull.layers[p->layer], p);
    if (p->layer < 0 && p->state == BoxlitePullStateDone) {
        bx_cli_progress_clear();
        pull.reference[0] = '\0';
    } else if (show && now - pull.began >= FIRST && now - pull.last >= PAUSE) {
        pull.last = now;
        draw_pull(p);
    }
}

void bx_cli_progress(CBoxliteRuntime *rt)
{
    show = isatty(2) && !bx_cli_debug; /* lines would be in its way */
    if (!show && !bx_cli_traces())
        return;
    boxlite_runtime_on_progress(rt, show_step, NULL, NULL);
    boxlite_runtime_on_pull_progress(rt, show_pull, NULL, NULL);
}
