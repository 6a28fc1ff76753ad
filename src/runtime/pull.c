/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pull.c - fetching an image from a registry.
 *
 * Theory of operation
 *
 *  A name means one reference, or for a name without a registry one at each registry that is searched. For
 * each in turn:
 *
 *      LOCK         tmp/pull-<hash of the reference>.lock is ours: of those who want one image at the same
 *                   time one does the work. Whoever waited finds a row younger than his wish, and is done.
 *      CREDENTIALS  of each endpoint, from docker's configuration, where nothing else was said
 *      FETCH        boxlite-pull does it, in its jail, and tells in lines how far it is (host/pull_plan.h)
 *      ADOPT        what it brought is read from the store, and gets its row
 *
 *  The next reference is tried only when no endpoint of this one has the image: an answer that is broken, or
 * none at all, ends the pull, so that nobody gets another image because a registry was down for a moment.
 *
 *  boxlite-pull has read what strangers wrote: its lines are checked like theirs.
 */
#include "runtime/pull.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "host/pull_plan.h"
#include "image/reference.h"
#include "runtime/adopt.h"
#include "runtime/credentials.h"
#include "runtime/engine.h"
#include "runtime/events.h"
#include "runtime/job.h"
#include "runtime/lease.h"
#include "runtime/members.h"
#include "runtime/pull_progress.h"
#include "runtime/registries.h"

#define PLAN_FD    3
#define BLOBS_FD   4
#define STATUS_FD  5
#define CONCURRENT 6
#define MAX_BYTES  (128ULL << 30)
#define STALL_MS   30000
#define RETRIES    5

struct bx_pull {
    struct CBoxliteRuntime *rt;
    char *name;        /* as it was asked for */
    char **candidates; /* canonical references */
    size_t candidate;
    int64_t began_ms;                /* wall clock */
    char complaints[BX_ERR_MSG_MAX]; /* of the candidates before */

    /* The candidate that is tried now. */
    struct bx_lock_wait *wait;
    char lock_name[48];
    int lock_fd, lease_fd;
    struct bx_pull_plan plan;
    struct bx_credential_key keys[BX_PULL_ENDPOINTS_MAX];
    size_t asked; /* endpoints whose credentials are known */
    struct bx_credentials *credentials;
    struct bx_job *job;
    struct bx_pull_progress progress;
    bool found;             /* an endpoint has it */
    bool said;              /* the last word was said: */
    struct bx_err said_err; /* code 0: ok, and */
    char top[72], digest[72];

    bx_pull_fn *fn;
    void *ud;
    struct bx_pull *next;
};

static int try_candidate(struct bx_pull *p, struct bx_err *err);

/* ---- end ---- */

static void candidate_done(struct bx_pull *p)
{
    p->wait = bx_lock_wait_free(p->wait);
    p->credentials = bx_credentials_free(p->credentials);
    p->job = bx_job_kill(p->job);
    bx_pull_plan_done(&p->plan);
    bx_pull_progress_done(&p->progress);
    p->lease_fd = bx_close(p->lease_fd);
    if (p->lock_fd >= 0) /* while it is ours: whoever waits for it makes another */
        (void)unlinkat(p->rt->tmp_fd, p->lock_name, 0);
    p->lock_fd = bx_close(p->lock_fd);
    p->asked = 0;
    p->found = p->said = false;
    p->said_err = BX_ERR_INIT;
}

static void pull_unlink(struct bx_pull *p)
{
    struct bx_pull **at;

    for (at = &p->rt->pulls; *at; at = &(*at)->next)
        if (*at == p) {
            *at = p->next;
            return;
        }
}

struct bx_pull *bx_pull_free(struct bx_pull *p)
{
    if (!p)
        return NULL;
    pull_unlink(p);
    candidate_done(p);
    bx_strv_free(p->candidates);
    free(p->name);
    free(p);
    return NULL;
}

static void pull_end(struct bx_pull *p, CImagePullResult *result, const struct bx_err *err)
{
    struct bx_err why = err ? *err : BX_ERR_INIT;
    bx_pull_fn *fn = p->fn;
    void *ud = p->ud;

    bx_pull_free(p);
    fn(ud, result, err ? &why : NULL);
}

/* The image is there, under the reference that is tried now. */
static void succeed(struct bx_pull *p, const char *config_digest, size_t layers)
{
    CImagePullResult *result = bx_pull_result(p->name, config_digest, (int)layers);
    struct bx_err err = BX_ERR_INIT;

    if (!result)
        bx_fail(&err, BX_ERESOURCE, ENOMEM, "pull an image");
    else
        bx_pull_progress_end(&p->progress);
    pull_end(p, result, result ? NULL : &err);
}

/* Whoever has no way to the default registry may not know that there are others. */
static void hint(const struct bx_pull *p, struct bx_err *why)
{
    if (why->code == BX_ENETWORK && !p->found && p->plan.n_endpoints == 1 &&
        bx_starts_with(p->candidates[p->candidate], "docker.io/"))
        bx_err_append(
            why, "; an image may also come from a mirror of docker.io (config.json) or from a file (`boxlite "
                 "load`)");
}

/* "box not found" would be the class of its message: what is missing is an image. */
static void fail(struct bx_pull *p, struct bx_err *why)
{
    bool absent = !p->found && (why->code == BX_ENOTFOUND || why->code == BX_EIMAGE);

    if (why->code == BX_ENOTFOUND)
        why->code = BX_EIMAGE;
    hint(p, why);
    if (p->complaints[0])
        bx_fail(why, (enum bx_code)why->code, 0, "%s; %s", p->complaints, why->msg);
    if (absent && p->candidates[p->candidate + 1]) {
        snprintf(p->complaints, sizeof(p->complaints), "%s", why->msg);
        candidate_done(p);
        p->candidate++;
        if (try_candidate(p, why) == 0)
            return;
    }
    if (absent && p->candidates[1])
        bx_prefix(why, "%s is at none of the registries that are searched", p->name);
    pull_end(p, NULL, why);
}

/* ---- ADOPT ---- */

static int adopt(struct bx_pull *p, struct bx_adopt *a, struct bx_err *err)
{
    const char *reference = p->candidates[p->candidate];
    int r;

    if (p->plan.digest && !bx_streq(p->plan.digest, p->top))
        return bx_fail(err, BX_EIMAGE, 0, "%s was asked for, and %s fetched", p->plan.digest, p->top);
    if ((r = bx_adopt_manifest(p->rt, p->digest, a, err)) < 0 || (r = bx_adopt_check(p->rt, a, err)) < 0)
        return r;
    r = bx_adopt_put(p->rt, a, reference, err);
    if (r == 0)
        bx_event_image(p->rt, "image.pulled", reference);
    return r;
}

static void on_ended(void *ud, const char *text, size_t len)
{
    bx_cleanup_adopt struct bx_adopt image = {0};
    struct bx_pull *p = ud;
    struct bx_err err = p->said_err;

    (void)text, (void)len;
    p->job = NULL;
    if (!p->said)
        bx_fail(&err, BX_EIMAGE, 0, "%s: boxlite-pull ended without a word: it crashed, or was killed",
                p->name);
    else if (!err.code && adopt(p, &image, &err) < 0)
        bx_prefix(&err, "%s", p->name);
    if (err.code)
        fail(p, &err);
    else
        succeed(p, image.manifest.config.digest, image.manifest.layer_count);
}

/* ---- FETCH ---- */

static bool take_ok(struct bx_pull *p, char *rest)
{
    snprintf(p->top, sizeof(p->top), "%s", bx_word(&rest));
    snprintf(p->digest, sizeof(p->digest), "%s", rest);
    p->said = bx_digest_valid(p->top) && bx_digest_valid(p->digest);
    return p->said;
}

static bool take_error(struct bx_pull *p, char *rest)
{
    char msg[BX_ERR_MSG_MAX];
    uint64_t code;

    if (bx_parse_u64(bx_word(&rest), 1, BX_ECODE_MAX - 1, &code) < 0)
        return false;
    bx_str_printable(msg, sizeof(msg), rest, strlen(rest));
    bx_fail(&p->said_err, (enum bx_code)code, 0, "%s", msg);
    p->said = true;
    return true;
}

static bool on_line(void *ud, char *line)
{
    struct bx_pull *p = ud;
    char shown[80], *rest = line, *word;
    bool good;

    bx_str_printable(shown, sizeof(shown), line, strlen(line));
    if (p->said)
        return true;
    word = bx_word(&rest);
    if (bx_streq(word, "ok"))
        good = take_ok(p, rest);
    else if (bx_streq(word, "error"))
        good = take_error(p, rest);
    else
        good = bx_pull_progress_line(&p->progress, word, rest);
    p->found = p->found || bx_streq(word, "from");
    if (good)
        return true;
    bx_fail(&p->said_err, BX_ERPC, 0, "%s: boxlite-pull said what makes no sense: %s", p->name, shown);
    p->said = true;
    return false;
}

static char *environment(const char *lower, const char *upper, const char *otherwise)
{
    const char *value = getenv(lower);

    if (!value || !*value)
        value = getenv(upper);
    if (!value || !*value)
        value = otherwise;
    return value && *value ? bx_strf("%s", value) : NULL;
}

static void plan_proxies(struct bx_pull_plan *plan)
{
    const char *all = getenv("all_proxy");

    if (!all || !*all)
        all = getenv("ALL_PROXY");
    plan->http_proxy = environment("http_proxy", "HTTP_PROXY", all);
    plan->https_proxy = environment("https_proxy", "HTTPS_PROXY", all);
    plan->no_proxy = environment("no_proxy", "NO_PROXY", NULL);
}

static int plan_text(const struct bx_pull *p, struct bx_buf *out, struct bx_err *err)
{
    int r = bx_pull_plan_write(&p->plan, out, err);

    if (r < 0 &&
        err->code == BX_EINVALID) /* proxies, user names: what is written there was said by somebody */
        err->code = BX_ECONFIG;
    return r < 0 ? -err->code : 0;
}

static int start_program(struct bx_pull *p, struct bx_err *err)
{
    static char program[] = "boxlite-pull", option[] = "--plan-fd", fd_text[] = "3";
    char *argv[] = {program, option, fd_text, NULL}, *envp[] = {NULL};
    bx_cleanup_buf struct bx_buf text = BX_BUF_INIT(BX_PULL_PLAN_MAX);
    const char *libexec = bx_libexec(p->rt, err);
    bx_cleanup_free char *path = libexec ? bx_path_join(libexec, program) : NULL;
    bx_cleanup_close int plan_fd = -1;
    struct bx_spawn_fd fds[] = {{-1, PLAN_FD}, {p->rt->blobs_fd, BLOBS_FD}};
    struct bx_spawn s = {
        .path = path, .argv = argv, .envp = envp, .fds = fds, .n_fds = 2, .cwd = "/", .new_session = true};

    if (!path)
        return libexec ? bx_fail(err, BX_ERESOURCE, ENOMEM, "pull an image") : -err->code;
    if (plan_text(p, &text, err) < 0)
        return -err->code;
    plan_fd = fds[0].src = bx_memfd_sealed("pull", bx_buf_data(&text), bx_buf_len(&text));
    explicit_bzero(text.data + text.start, bx_buf_len(&text)); /* passwords */
    if (plan_fd < 0)
        return bx_fail(err, BX_ERESOURCE, -plan_fd, "pull an image");
    p->job = bx_job_start(p->rt, &s, STATUS_FD, on_ended, p, err);
    if (!p->job)
        return -err->code;
    bx_job_on_line(p->job, on_line, BX_PULL_LINE_MAX);
    return 0;
}

/* ---- CREDENTIALS ---- */

static void next_credentials(struct bx_pull *p);

static void on_credentials(void *ud, const struct bx_err *err)
{
    struct bx_pull *p = ud;
    struct bx_err why = err ? *err : BX_ERR_INIT;

    p->credentials = NULL;
    if (err)
        fail(p, &why);
    else
        next_credentials(p);
}

static void next_credentials(struct bx_pull *p)
{
    struct bx_err err = BX_ERR_INIT;
    int r = 1;

    while (r > 0 && p->asked < p->plan.n_endpoints) {
        size_t i = p->asked++;

        if (p->keys[i].host[0])
            r = bx_credentials_get(p->rt, &p->keys[i], &p->plan.endpoints[i], on_credentials, p,
                                   &p->credentials, &err);
    }
    if (r > 0 && start_program(p, &err) < 0)
        r = bx_prefix(&err, "%s", p->name);
    if (r < 0)
        fail(p, &err);
}

/* ---- LOCK ---- */

/* Somebody did it while we waited. */
static bool done_meanwhile(struct bx_pull *p)
{
    struct bx_image_row row = {0};
    bool done = bx_store_image_get(p->rt->store, p->candidates[p->candidate], &row, NULL) == 0 &&
                row.cached_ms >= p->began_ms;

    if (done)
        succeed(p, row.config_digest, (size_t)row.layer_count);
    bx_image_row_done(&row);
    return done;
}

static int plan_pull(struct bx_pull *p, struct bx_err *err)
{
    const char *reference = p->candidates[p->candidate];
    struct bx_pull_plan *plan = &p->plan;
    struct bx_reference ref;
    int r = bx_reference_parse(reference, &ref, err);

    if (r < 0)
        return r;
    plan->blobs_fd = BLOBS_FD;
    plan->status_fd = STATUS_FD;
    plan->name = bx_strf("%s", p->candidates[1] ? reference : p->name);
    plan->repository = bx_strf("%s", ref.path);
    if (ref.digest[0]) /* a tag beside it only decorates, as with Docker */
        plan->digest = bx_strf("%s", ref.digest);
    else
        plan->tag = bx_strf("%s", ref.tag);
    plan->os = bx_strf("%s", BX_IMAGE_OS);
    plan->arch = bx_strf("%s", BX_IMAGE_ARCH);
    plan->variant = bx_strf("%s", "");
    if (!plan->name || !plan->repository || !(plan->digest || plan->tag) || !plan->os || !plan->arch ||
        !plan->variant)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "plan a pull");
    plan->concurrent = CONCURRENT;
    plan->max_bytes = MAX_BYTES;
    plan->stall_ms = STALL_MS;
    plan->retries = RETRIES;
    plan_proxies(plan);
    return bx_registries_endpoints(p->rt->registries, &ref, plan, p->keys, err);
}

static void on_lock(void *ud, int fd, const struct bx_err *err)
{
    struct bx_pull *p = ud;
    struct bx_err why = err ? *err : BX_ERR_INIT;

    p->wait = NULL;
    p->lock_fd = fd;
    if (fd >= 0 && done_meanwhile(p))
        return;
    if (fd < 0 || (p->lease_fd = bx_image_lease(p->rt, &why)) < 0 || plan_pull(p, &why) < 0)
        fail(p, &why);
    else
        next_credentials(p);
}

/* Failures that have nothing to do with registries. */
static int try_candidate(struct bx_pull *p, struct bx_err *err)
{
    const char *reference = p->candidates[p->candidate];

    bx_pull_progress_init(&p->progress, p->rt, p->progress.box_id, reference);
    snprintf(p->lock_name, sizeof(p->lock_name), "pull-%016llx.lock",
             (unsigned long long)bx_fnv1a(BX_FNV1A_SEED, reference, strlen(reference)));
    p->wait = bx_lock_wait(p->rt, p->rt->tmp_fd, p->lock_name, 0, on_lock, p, err);
    return p->wait ? 0 : -err->code;
}

struct bx_pull *bx_pull_start(struct CBoxliteRuntime *rt, const char *box_id, const char *name,
                              bx_pull_fn *fn, void *ud, struct bx_err *err)
{
    struct bx_pull *p = calloc(1, sizeof(*p));

    if (!p) {
        bx_fail(err, BX_ERESOURCE, ENOMEM, "pull an image");
        return NULL;
    }
    p->rt = rt;
    p->fn = fn;
    p->ud = ud;
    p->lock_fd = p->lease_fd = -1;
    p->plan = BX_PULL_PLAN_INIT;
    p->began_ms = bx_realtime() / BX_MSEC;
    snprintf(p->progress.box_id, sizeof(p->progress.box_id), "%s", box_id);
    p->name = bx_strf("%s", name);
    if (!p->name)
        bx_fail(err, BX_ERESOURCE, ENOMEM, "pull an image");
    else if (bx_registries_candidates(rt->registries, name, &p->candidates, err) == 0 &&
             try_candidate(p, err) == 0)
        return p;
    return bx_pull_free(p);
}

/* ---- calls ---- */

static void on_pulled(void *ud, CImagePullResult *result, const struct bx_err *err)
{
    struct bx_op *op = ud;

    op->result = result;
    bx_op_answer(op, err);
}

int bx_pull_begin(struct CBoxliteRuntime *rt, const char *name, struct bx_op *op, struct bx_err *err)
{
    struct bx_pull *p = bx_pull_start(rt, "", name, on_pulled, op, err);

    if (!p)
        return -err->code;
    p->next = rt->pulls;
    rt->pulls = p;
    return 0;
}

void bx_pulls_end(struct CBoxliteRuntime *rt, const char *why)
{
    struct bx_err err = BX_ERR_INIT;

    bx_fail(&err, BX_ESTOPPED, 0, "%s", why);
    while (rt->pulls)
        pull_end(rt->pulls, NULL, &err);
}
