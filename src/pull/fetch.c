/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch.c - see fetch.h.
 *
 * Theory of operation
 *
 *      send ─▶ head ─▶ body ... ─▶ done ─┬─ complete ───▶ ops.end ─▶ ops.done(OK)
 *       ▲                               ├─ redirect ───▶ send (elsewhere, without login)
 *       │                               ├─ challenge ──▶ wait for the endpoint's login ─▶ send
 *       │                               ├─ passing ────▶ wait ─▶ send (from the start again)
 *       │                               └─ otherwise ──▶ ops.done(NEXT or FATAL)
 *       └────────────────────────────────────┘
 *
 *  Every attempt starts at the endpoint again: an address that a redirect gave may have expired. An attempt
 *  that brought much sets the count of attempts back, so that a large layer over a bad line is not given up
 *  while it gets on.
 */
#include "pull/fetch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "pull/url.h"

#define REDIRECTS_MAX    10
#define LOGINS_MAX       2 /* in a row, without success */
#define ERROR_BODY_MAX   8192
#define IGNORED_BODY_MAX (64 * 1024)
#define STRANGER_RETRIES 1 /* of what was never reached */
#define BACKOFF_FIRST_MS 250
#define BACKOFF_MAX_MS   15000
#define RETRY_AFTER_MAX  300           /* seconds; who asks for more is not waited for */
#define PROGRESS         (1024 * 1024) /* bytes that make an attempt count as progress */

enum verdict { V_NONE, V_BODY, V_REDIRECT, V_CHALLENGE, V_ERROR };

struct bx_fetch {
    struct bx_fetcher *f;
    struct bx_fetch_ops ops;
    void *ud;
    struct bx_endpoint *endpoint;
    struct bx_fetch *next_waiting;
    char *url, *accept, *authorization, *post;
    bool no_login;
    unsigned retries;
    int index;
    unsigned attempts;
    unsigned logins;
    struct bx_source *timer;

    /* this exchange */
    char *at; /* where a redirect led; NULL: url */
    unsigned redirects;
    unsigned generation;
    uint64_t offset;
    enum verdict verdict;
    int status;
    char *location;
    struct bx_challenge *challenge;
    uint64_t retry_after; /* seconds */
    uint64_t received;
    struct bx_buf error_body;
    int sink; /* what the sink returned when it stopped */
    struct bx_err err;
};

static void fetch_free(struct bx_fetch *t)
{
    bx_source_remove(t->timer);
    bx_buf_done(&t->error_body);
    free(t->url);
    free(t->accept);
    if (t->authorization)
        explicit_bzero(t->authorization, strlen(t->authorization));
    free(t->authorization);
    if (t->post)
        explicit_bzero(t->post, strlen(t->post));
    free(t->post);
    free(t->at);
    free(t->location);
    free(t->challenge);
    free(t);
}

static void give(struct bx_fetch *t, enum bx_fetch_result result)
{
    t->ops.done(t->ud, result, &t->err);
    fetch_free(t);
}

static const char *where(const struct bx_fetch *t)
{
    return t->at ? t->at : t->url;
}

/* --- one exchange --- */

static int on_head(void *ud, const struct bx_http_head *head);
static int on_body(void *ud, const uint8_t *data, size_t len);
static void on_done(void *ud, enum bx_http_end end, const struct bx_err *err);

static void send_request(struct bx_fetch *t)
{
    static const struct bx_http_ops ops = {.head = on_head, .body = on_body, .done = on_done};
    const struct bx_pull_endpoint *conf = t->endpoint->conf;
    bool home = !t->at || bx_url_same_origin(t->at, t->url);
    struct bx_http_request req = {
        .url = where(t),
        .accept = t->accept,
        .post = t->post,
        .ca_pem = conf->ca_pem,
        .skip_verify = conf->skip_verify,
    };

    if (home)
        req.authorization = t->no_login ? t->authorization : t->endpoint->authorization;
    t->generation = t->endpoint->generation;
    t->verdict = V_NONE;
    t->status = 0;
    t->received = 0;
    t->retry_after = 0;
    t->sink = 0;
    t->err = BX_ERR_INIT;
    bx_buf_clear(&t->error_body);
    t->offset = t->ops.offset ? t->ops.offset(t->ud) : 0;
    req.offset = t->offset;
    if (!bx_http_start(t->f->http, &req, &ops, t, &t->err))
        give(t, BX_FETCH_FATAL);
}

static void send_from_start(struct bx_fetch *t)
{
    free(BX_TAKE_PTR(t->at));
    t->redirects = 0;
    send_request(t);
}

static bool is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static int note_head(struct bx_fetch *t, const struct bx_http_head *head)
{
    bool home = !t->at || bx_url_same_origin(t->at, t->url);

    if (is_redirect(head->status) && head->location) {
        t->verdict = V_REDIRECT;
        free(t->location);
        t->location = strdup(head->location);
        return t->location ? 0 : -ENOMEM;
    }
    if (head->status == 401 && home && !t->no_login) {
        t->verdict = V_CHALLENGE;
        if (!t->challenge)
            t->challenge = calloc(1, sizeof(*t->challenge));
        if (!t->challenge)
            return -ENOMEM;
        *t->challenge = head->challenge;
        return 0;
    }
    t->verdict = V_ERROR;
    if (head->retry_after)
        (void)bx_retry_after_parse(head->retry_after, bx_realtime() / BX_SEC, &t->retry_after);
    return 0;
}

static int on_head(void *ud, const struct bx_http_head *head)
{
    struct bx_fetch *t = ud;

    t->status = head->status;
    if (head->status == 200 || head->status == 206 || (head->status == 416 && t->offset > 0)) {
        t->verdict = V_BODY;
        t->logins = 0;
        t->sink = t->ops.head(t->ud, head, t->offset, &t->err);
        return t->sink ? -1 : 0;
    }
    if (note_head(t, head) == 0)
        return 0;
    t->verdict = V_BODY;
    t->sink = bx_fail(&t->err, BX_ERESOURCE, ENOMEM, "fetch");
    return -1;
}

static int on_body(void *ud, const uint8_t *data, size_t len)
{
    struct bx_fetch *t = ud;

    t->received += len;
    if (t->verdict == V_BODY) {
        t->sink = t->ops.body(t->ud, data, len, &t->err);
        return t->sink ? -1 : 0;
    }
    /* the connection is worth reading a short body for */
    (void)bx_buf_add(&t->error_body, data, BX_MIN(len, bx_buf_room(&t->error_body)));
    return t->received > IGNORED_BODY_MAX ? -1 : 0;
}

/* --- what comes of it --- */

/* A code of the endpoint, in words. */
static void explain_status(struct bx_fetch *t)
{
    char host[256];
    char said[200];
    const char *what = "";
    bool passing = t->status == 408 || t->status == 425 || t->status == 429 || t->status >= 500;

    bx_url_host(where(t), host, sizeof(host));
    bx_error_text((const char *)bx_buf_data(&t->error_body), bx_buf_len(&t->error_body), said, sizeof(said));
    switch (t->status) {
    case 401:
        what = ": a login is needed, or the login is wrong";
        break;
    case 403:
        what = ": not allowed";
        break;
    case 404:
        what = ": not found";
        break;
    case 429:
        what = ": too many requests";
        break;
    default:
        break;
    }
    bx_fail(&t->err, passing ? BX_ENETWORK : BX_EIMAGE, 0, "%s answers %d%s%s%s%s", host, t->status, what,
            said[0] ? " (" : "", said, said[0] ? ")" : "");
}

static void on_timer(struct bx_source *s, void *ud)
{
    (void)s;
    send_from_start(ud);
}

/* Half of the wait is fixed and half is by chance: many clients do not come back at once. */
static uint64_t backoff_ms(unsigned attempt)
{
    uint64_t ms = BACKOFF_FIRST_MS;
    uint32_t chance;

    for (unsigned i = 1; i < attempt && ms < BACKOFF_MAX_MS; i++)
        ms *= 2;
    ms = BX_MIN(ms, (uint64_t)BACKOFF_MAX_MS);
    bx_random(&chance, sizeof(chance));
    return ms / 2 + chance % (ms / 2 + 1);
}

static void try_again(struct bx_fetch *t)
{
    uint64_t wait;
    char index[16] = "-";

    if (t->verdict == V_BODY && t->received >= PROGRESS)
        t->attempts = 0;
    if (t->retry_after > RETRY_AFTER_MAX) {
        bx_err_append(&t->err, "; it asks to come back in %" PRIu64 " s", t->retry_after);
        give(t, BX_FETCH_NEXT);
        return;
    }
    if (t->attempts >= t->retries) {
        if (t->attempts)
            bx_err_append(&t->err, " (tried %u times)", t->attempts + 1);
        give(t, BX_FETCH_NEXT);
        return;
    }
    t->attempts++;
    wait = BX_MAX(backoff_ms(t->attempts), t->retry_after * 1000);
    if (t->index >= 0)
        (void)snprintf(index, sizeof(index), "%d", t->index);
    bx_status_line(t->f->status, "retry %s %" PRIu64 " %s", index, wait, t->err.msg);
    if (!t->timer)
        t->timer = bx_loop_add_timer(t->f->loop, on_timer, t);
    if (!t->timer) {
        bx_fail(&t->err, BX_ERESOURCE, errno, "wait");
        give(t, BX_FETCH_FATAL);
        return;
    }
    bx_timer_after(t->timer, (int64_t)wait * BX_MSEC);
}

static void follow(struct bx_fetch *t)
{
    char *to = NULL;
    char host[256];

    if (++t->redirects > REDIRECTS_MAX || t->post) {
        bx_url_host(t->url, host, sizeof(host));
        bx_fail(&t->err, BX_ENETWORK, 0,
                t->post ? "%s redirects a login, which is not followed" : "%s redirects without end", host);
        give(t, BX_FETCH_NEXT);
        return;
    }
    if (bx_url_follow(where(t), t->location, &to, &t->err) < 0) {
        give(t, BX_FETCH_NEXT);
        return;
    }
    free(t->at);
    t->at = to;
    send_request(t);
}

static void answer_challenge(struct bx_fetch *t)
{
    struct bx_endpoint *e = t->endpoint;

    if (t->generation != e->generation) { /* another fetch has logged in meanwhile */
        send_from_start(t);
        return;
    }
    if (++t->logins > LOGINS_MAX) {
        explain_status(t);
        give(t, BX_FETCH_NEXT);
        return;
    }
    if (!e->logging_in) {
        if (bx_login_start(t->f, e, t->challenge, t->retries, &t->err) < 0) {
            give(t, BX_FETCH_NEXT);
            return;
        }
        e->logging_in = true;
    }
    t->next_waiting = e->waiting;
    e->waiting = t;
}

void bx_login_done(struct bx_endpoint *e, const struct bx_err *err)
{
    struct bx_fetch *t = e->waiting;

    e->logging_in = false;
    e->waiting = NULL;
    e->generation++;
    while (t) {
        struct bx_fetch *next = t->next_waiting;

        if (err) {
            t->err = *err;
            give(t, BX_FETCH_NEXT);
        } else {
            send_from_start(t);
        }
        t = next;
    }
}

static void finish_body(struct bx_fetch *t, bool complete)
{
    if (complete)
        t->sink = t->ops.end(t->ud, &t->err);
    if (t->sink == 0)
        give(t, BX_FETCH_OK);
    else if (t->sink == BX_FETCH_AGAIN)
        try_again(t);
    else
        give(t, BX_FETCH_FATAL);
}

static void on_done(void *ud, enum bx_http_end end, const struct bx_err *err)
{
    struct bx_fetch *t = ud;
    bool told = t->verdict != V_NONE && t->verdict != V_BODY;

    if (end == BX_HTTP_REFUSED) {
        t->err = *err;
        give(t, BX_FETCH_NEXT);
        return;
    }
    if (end != BX_HTTP_UNREACHABLE)
        t->endpoint->reached = true;
    if ((end == BX_HTTP_BROKEN || end == BX_HTTP_UNREACHABLE) && !told) {
        t->err = *err;
        if (!t->endpoint->reached) /* more likely there is no way to it than that it is busy */
            t->retries = BX_MIN(t->retries, (unsigned)STRANGER_RETRIES);
        try_again(t);
        return;
    }
    switch (t->verdict) {
    case V_BODY:
        finish_body(t, end == BX_HTTP_COMPLETE);
        break;
    case V_REDIRECT:
        follow(t);
        break;
    case V_CHALLENGE:
        answer_challenge(t);
        break;
    default:
        explain_status(t);
        if (t->err.code == BX_ENETWORK)
            try_again(t);
        else
            give(t, BX_FETCH_NEXT);
        break;
    }
}

static char *copy(const char *s, bool *failed)
{
    char *c = s ? strdup(s) : NULL;

    *failed = *failed || (s && !c);
    return c;
}

int bx_fetch_start(struct bx_fetcher *f, const struct bx_fetch_spec *spec, const struct bx_fetch_ops *ops,
                   void *ud, struct bx_err *err)
{
    struct bx_fetch *t = calloc(1, sizeof(*t));
    bool failed = false;

    if (!t)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "fetch");
    t->f = f;
    t->ops = *ops;
    t->ud = ud;
    t->endpoint = spec->endpoint;
    t->url = copy(spec->url, &failed);
    t->accept = copy(spec->accept, &failed);
    t->authorization = copy(spec->authorization, &failed);
    t->post = copy(spec->post, &failed);
    t->no_login = spec->no_login;
    t->retries = spec->retries;
    t->index = spec->index;
    bx_buf_init(&t->error_body, ERROR_BODY_MAX);
    /* from a timer: ops.done never comes from within */
    t->timer = bx_loop_add_timer(f->loop, on_timer, t);
    if (failed || !t->timer || !t->url) {
        fetch_free(t);
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "fetch");
    }
    bx_timer_after(t->timer, 1);
    return 0;
}

/* --- endpoints --- */

int bx_endpoint_init(struct bx_endpoint *e, const struct bx_pull_endpoint *conf, const char *repository,
                     struct bx_err *err)
{
    *e = (struct bx_endpoint){.conf = conf};
    e->base = bx_strf("%s://%s", conf->plain_http ? "http" : "https", conf->host);
    e->repository = conf->prefix ? bx_strf("%s/%s", conf->prefix, repository) : strdup(repository);
    if (conf->bearer_token)
        e->authorization = bx_strf("Bearer %s", conf->bearer_token);
    if (!e->base || !e->repository || (conf->bearer_token && !e->authorization))
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "endpoints");
    return 0;
}

char *bx_endpoint_url(const struct bx_endpoint *e, const char *what, const char *id)
{
    return bx_strf("%s/v2/%s/%s/%s", e->base, e->repository, what, id);
}

/* --- documents --- */

struct text {
    struct bx_buf buf;
    char digest[160];
    bool has_digest;
    const char *what;
    size_t max;
    bx_text_fn *fn;
    void *ud;
};

static int text_head(void *ud, const struct bx_http_head *head, uint64_t offset, struct bx_err *err)
{
    struct text *x = ud;

    (void)offset;
    bx_buf_clear(&x->buf);
    x->has_digest = head->digest && strlen(head->digest) < sizeof(x->digest);
    if (x->has_digest)
        memcpy(x->digest, head->digest, strlen(head->digest) + 1);
    if (head->status != 200)
        return bx_fail(err, BX_ENETWORK, 0, "%s: a part was sent, and none was asked for", x->what);
    if (head->length != BX_HTTP_UNKNOWN && head->length > x->max)
        return bx_fail(err, BX_EIMAGE, 0, "%s has %" PRIu64 " bytes, more than %zu", x->what, head->length,
                       x->max);
    return 0;
}

static int text_body(void *ud, const uint8_t *data, size_t len, struct bx_err *err)
{
    struct text *x = ud;
    int r = bx_buf_add(&x->buf, data, len);

    if (r == -ENOBUFS)
        return bx_fail(err, BX_EIMAGE, 0, "%s has more than %zu bytes", x->what, x->max);
    return r ? bx_fail(err, BX_ERESOURCE, -r, "%s", x->what) : 0;
}

static int text_end(void *ud, struct bx_err *err)
{
    (void)ud;
    (void)err;
    return 0;
}

static void text_done(void *ud, enum bx_fetch_result result, const struct bx_err *err)
{
    struct text *x = ud;

    x->fn(x->ud, result, &x->buf, x->has_digest ? x->digest : NULL, err);
    bx_buf_done(&x->buf);
    free(x);
}

int bx_fetch_text(struct bx_fetcher *f, const struct bx_fetch_spec *spec, const char *what, size_t max,
                  bx_text_fn *fn, void *ud, struct bx_err *err)
{
    static const struct bx_fetch_ops ops = {
        .head = text_head, .body = text_body, .end = text_end, .done = text_done};
    struct text *x = calloc(1, sizeof(*x));
    int r;

    if (!x)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "fetch");
    *x = (struct text){.what = what, .max = max, .fn = fn, .ud = ud};
    bx_buf_init(&x->buf, max);
    r = bx_fetch_start(f, spec, &ops, x, err);
    if (r < 0)
        free(x);
    return r;
}
