/* SPDX-License-Identifier: Apache-2.0 */
/* pull_progress.c - see pull_progress.h. */
#include "runtime/pull_progress.h"

#include <stdio.h>
#include <string.h>

#include "image/manifest.h"
#include "image/reference.h"
#include "runtime/members.h"

#define PAUSE (100 * BX_MSEC)

/* ---- events ---- */

struct pull_event {
    struct bx_ev ev;
    CPullProgress p;
    char box_id[BX_ID_LEN + 1], reference[512], registry[272], digest[72], message[200];
};

static void event_drop(struct CBoxliteRuntime *rt, struct bx_ev *ev)
{
    (void)rt;
    free(BX_CONTAINER_OF(ev, struct pull_event, ev));
}

static bool event_deliver(struct CBoxliteRuntime *rt, struct bx_ev *ev)
{
    struct pull_event *e = BX_CONTAINER_OF(ev, struct pull_event, ev);
    CPullProgressCb cb = rt->pull_progress_cb;
    void *ud = rt->pull_progress_ud;

    if (cb) {
        bx_user_begin(rt);
        cb(&e->p, ud);
        bx_user_end(rt);
    }
    free(e);
    return cb != NULL;
}

static void tell(struct bx_pull_progress *g, BoxlitePullState state, int layer, uint64_t done, uint64_t total,
                 const char *message)
{
    struct pull_event *e;

    if (!g->rt->pull_progress_cb || g->rt->ev_count >= QUEUE_CAPACITY)
        return;
    e = calloc(1, sizeof(*e));
    if (!e)
        return; /* the pull goes on without */
    e->ev.deliver = event_deliver;
    e->ev.drop = event_drop;
    snprintf(e->box_id, sizeof(e->box_id), "%s", g->box_id);
    snprintf(e->reference, sizeof(e->reference), "%s", g->reference);
    snprintf(e->registry, sizeof(e->registry), "%s", g->host);
    snprintf(e->digest, sizeof(e->digest), "%s", layer >= 0 ? g->layers[layer].digest : "");
    snprintf(e->message, sizeof(e->message), "%s", message);
    e->p = (CPullProgress){.size = sizeof(e->p),
                           .box_id = e->box_id,
                           .reference = e->reference,
                           .registry = e->registry,
                           .digest = e->digest,
                           .message = e->message,
                           .state = (int32_t)state,
                           .layer = layer,
                           .layers = (int32_t)g->n,
                           .done = done,
                           .total = total};
    bx_queue_event(g->rt, &e->ev);
}

static uint64_t all_done(const struct bx_pull_progress *g)
{
    uint64_t done = 0;
    size_t i;

    for (i = 0; i < g->n; i++)
        if (g->layers[i].fetch)
            done += g->layers[i].done;
    return done;
}

/* Of the image as a whole: to both kinds of listeners. */
static void tell_image(struct bx_pull_progress *g, BoxlitePullState state, const char *message)
{
    uint64_t done = all_done(g);

    g->told = bx_now();
    tell(g, state, -1, done, g->total, message);
    bx_progress(g->rt, g->box_id, "pull the image", done, g->total);
}

static void tell_layer(struct bx_pull_progress *g, size_t i, BoxlitePullState state, const char *message)
{
    struct bx_pull_layer *l = &g->layers[i];

    l->told = bx_now();
    tell(g, state, (int)i, l->done, l->size, message);
}

void bx_pull_progress_init(struct bx_pull_progress *g, struct CBoxliteRuntime *rt, const char *box_id,
                           const char *reference)
{
    char id[BX_ID_LEN + 1];

    snprintf(id, sizeof(id), "%s", box_id);
    *g = (struct bx_pull_progress){.rt = rt};
    snprintf(g->box_id, sizeof(g->box_id), "%s", id);
    snprintf(g->reference, sizeof(g->reference), "%s", reference);
    tell_image(g, BoxlitePullStateAsking, "");
}

void bx_pull_progress_done(struct bx_pull_progress *g)
{
    free(g->layers);
    g->layers = NULL;
    g->n = 0;
}

void bx_pull_progress_end(struct bx_pull_progress *g)
{
    size_t i;

    for (i = 0; i < g->n; i++)
        g->layers[i].done = g->layers[i].size;
    tell_image(g, BoxlitePullStateDone, "");
}

/* ---- lines ---- */

static bool take_number(char **rest, uint64_t max, uint64_t *ret)
{
    return bx_parse_u64(bx_word(rest), 0, max, ret) == 0;
}

static bool take_index(struct bx_pull_progress *g, char **rest, size_t *ret)
{
    uint64_t n;

    if (g->n == 0 || !take_number(rest, g->n - 1, &n))
        return false;
    *ret = (size_t)n;
    return true;
}

/* DIGEST SIZE */
static bool take_blob(char **rest, char digest[72], uint64_t *ret_size)
{
    snprintf(digest, 72, "%s", bx_word(rest));
    return bx_digest_valid(digest) && take_number(rest, INT64_MAX, ret_size);
}

/* INDEX DIGEST SIZE have|fetch, in order */
static bool take_layer(struct bx_pull_progress *g, char *rest)
{
    struct bx_pull_layer l = {0}, *more;
    uint64_t index;

    if (!take_number(&rest, BX_IMAGE_LAYERS_MAX - 1, &index) || index != g->n ||
        !take_blob(&rest, l.digest, &l.size) || (!bx_streq(rest, "have") && !bx_streq(rest, "fetch")))
        return false;
    l.fetch = bx_streq(rest, "fetch");
    if (l.fetch && bx_add_overflow(g->total, l.size, &g->total))
        return false;
    l.done = l.fetch ? 0 : l.size;
    more = reallocarray(g->layers, g->n + 1, sizeof(l));
    if (!more)
        return false;
    g->layers = more;
    g->layers[g->n++] = l;
    return true;
}

/* After the last `layer` line: what there is to do. */
static bool take_config(struct bx_pull_progress *g, char *rest)
{
    char digest[72];
    uint64_t size;
    size_t i;

    if (!take_blob(&rest, digest, &size) || (!bx_streq(rest, "have") && !bx_streq(rest, "fetch")))
        return false;
    tell_image(g, BoxlitePullStateFetching, "");
    for (i = 0; i < g->n; i++)
        tell_layer(g, i, g->layers[i].fetch ? BoxlitePullStateFetching : BoxlitePullStateDone, "");
    return true;
}

/* INDEX DONE, or for `done` INDEX */
static bool take_progress(struct bx_pull_progress *g, char *rest, bool complete)
{
    struct bx_pull_layer *l;
    size_t i;

    if (!take_index(g, &rest, &i))
        return false;
    l = &g->layers[i];
    if (complete)
        l->done = l->size;
    else if (!take_number(&rest, INT64_MAX, &l->done))
        return false;
    l->done = BX_MIN(l->done, l->size);
    if (complete || bx_now() - l->told >= PAUSE)
        tell_layer(g, i, complete ? BoxlitePullStateDone : BoxlitePullStateFetching, "");
    if (complete || bx_now() - g->told >= PAUSE)
        tell_image(g, BoxlitePullStateFetching, "");
    return true;
}

/* INDEX|- WAIT_MS TEXT */
static bool take_retry(struct bx_pull_progress *g, char *rest)
{
    char *of = bx_word(&rest), text[200];
    uint64_t index = 0, wait;
    bool image = bx_streq(of, "-");

    if (!image && (g->n == 0 || bx_parse_u64(of, 0, g->n - 1, &index) < 0))
        return false;
    if (!take_number(&rest, INT64_MAX, &wait))
        return false;
    bx_str_printable(text, sizeof(text), rest, strlen(rest));
    if (image)
        tell_image(g, BoxlitePullStateRetrying, text);
    else
        tell_layer(g, (size_t)index, BoxlitePullStateRetrying, text);
    return true;
}

static bool take_wait(struct bx_pull_progress *g, char *rest)
{
    size_t i;

    if (!take_index(g, &rest, &i))
        return false;
    tell_layer(g, i, BoxlitePullStateWaiting, "");
    return true;
}

static bool take_from(struct bx_pull_progress *g, char *rest)
{
    bx_str_printable(g->host, sizeof(g->host), rest, strlen(rest));
    tell_image(g, BoxlitePullStateAsking, "");
    return true;
}

bool bx_pull_progress_line(struct bx_pull_progress *g, const char *word, char *rest)
{
    char digest[72];
    uint64_t size;

    if (bx_streq(word, "progress") || bx_streq(word, "done"))
        return take_progress(g, rest, bx_streq(word, "done"));
    if (bx_streq(word, "layer"))
        return take_layer(g, rest);
    if (bx_streq(word, "config"))
        return take_config(g, rest);
    if (bx_streq(word, "retry"))
        return take_retry(g, rest);
    if (bx_streq(word, "wait"))
        return take_wait(g, rest);
    if (bx_streq(word, "from"))
        return take_from(g, rest);
    return bx_streq(word, "manifest") && take_blob(&rest, digest, &size);
}
