/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.c - the engine's verdict and the TSC's frequency, found out by `boxlite-shim` in a process of its
 * own.
 *
 * <home>/cache/host.json holds them for one boot of the host and one identity of /dev/kvm (a container
 * without the device, or with another, gets another verdict). A verdict that load may have caused is not
 * kept.
 */
#include "runtime/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "host/companion.h"
#include "host/json.h"
#include "host/shim_plan.h"
#include "runtime/job.h"

#define CACHE_FILE  "host.json"
#define CACHE_MAX   8192
#define TSC_KHZ_MAX 100000000ULL
#define VERDICT_MAX 512
#define PLAN_FD     3
#define ANSWER_FD   4

struct facts_waiter {
    struct facts_waiter *next;
    bx_facts_fn *fn;
    void *ud;
};

struct bx_verdict {
    bool read; /* of the cache, in this runtime */
    bool has_tsc, has_verdict;
    struct bx_host_facts facts;
    struct bx_job *probe;
    struct facts_waiter *waiters;
};

bool bx_engine_choice_valid(const char *s)
{
    return bx_streq(s, "auto") || bx_streq(s, "kvm") || bx_streq(s, "tcg");
}

const char *bx_libexec(struct CBoxliteRuntime *rt, struct bx_err *err)
{
    char dir[4096];

    if (rt->libexec)
        return rt->libexec;
    if (bx_companion_dir(dir, sizeof(dir), err) < 0)
        return NULL;
    rt->libexec = bx_strf("%s", dir);
    if (!rt->libexec)
        bx_fail(err, BX_ERESOURCE, ENOMEM, "find our programs");
    return rt->libexec;
}

/* ---- starting the shim ---- */

int bx_shim_spawn_make(struct CBoxliteRuntime *rt, const struct bx_shim_plan *plan, struct bx_shim_spawn *ret,
                       struct bx_err *err)
{
    bx_cleanup_buf struct bx_buf text = BX_BUF_INIT(BX_SHIM_PLAN_MAX);
    const char *dir = bx_libexec(rt, err);
    static char name[] = "boxlite-shim", option[] = "--plan-fd", number[] = "3";
    int r;

    memset(ret, 0, sizeof(*ret));
    ret->plan_fd = -1;
    if (!dir)
        return err ? -err->code : -BX_ENOTFOUND;
    r = bx_shim_plan_write(plan, &text, err);
    if (r < 0)
        return r;
    if ((size_t)snprintf(ret->path, sizeof(ret->path), "%s/boxlite-shim", dir) >= sizeof(ret->path))
        return bx_fail(err, BX_ECONFIG, ENAMETOOLONG, "%s", dir);
    ret->plan_fd = bx_memfd_sealed("plan", bx_buf_data(&text), bx_buf_len(&text));
    if (ret->plan_fd < 0)
        return bx_fail(err, BX_ERESOURCE, -ret->plan_fd, "hand the plan to boxlite-shim");
    ret->argv[0] = name;
    ret->argv[1] = option;
    ret->argv[2] = number;
    ret->fds[0] = (struct bx_spawn_fd){ret->plan_fd, PLAN_FD};
    ret->spawn = (struct bx_spawn){
        .path = ret->path, .argv = ret->argv, .fds = ret->fds, .n_fds = 1, .cwd = "/", .new_session = true};
    return 0;
}

void bx_shim_spawn_done(struct bx_shim_spawn *s)
{
    s->plan_fd = bx_close(s->plan_fd);
}

/* ---- the cache ---- */

static int verdict_parse(const char *line, struct bx_engine_verdict *ret, struct bx_err *err)
{
    char whole[VERDICT_MAX + 2];

    snprintf(whole, sizeof(whole), "%s\n", line);
    return bx_probe_parse(whole, ret, err);
}

static int cache_parse(struct CBoxliteRuntime *rt, const struct bx_json *j)
{
    struct bx_verdict *v = rt->verdict;
    const char *boot, *device, *line;
    char now[64];
    int r;

    if (bx_json_str(j, "boot_id", 64, &boot, NULL) < 0 ||
        bx_json_str(j, "kvm_device", 64, &device, NULL) < 0 ||
        bx_json_u64(j, "tsc_khz", 1, TSC_KHZ_MAX, &v->facts.tsc_khz, NULL) < 0 ||
        !bx_streq(boot, rt->boot_id) || !*boot)
        return -1;
    v->has_tsc = true;
    bx_probe_device_id(now, sizeof(now));
    r = bx_json_opt_str(j, "verdict", VERDICT_MAX, &line, NULL);
    if (r > 0 && bx_streq(device, now) && verdict_parse(line, &v->facts.verdict, NULL) == 0)
        v->has_verdict = true;
    return 0;
}

static void cache_read(struct CBoxliteRuntime *rt)
{
    bx_cleanup_free char *text = NULL;
    bx_cleanup_json struct bx_json j = {0};
    size_t len;

    rt->verdict->read = true;
    if (bx_read_file(rt->cache_fd, CACHE_FILE, CACHE_MAX, &text, &len) == 0 &&
        bx_json_parse(text, len, NULL, CACHE_FILE, &j, NULL) == 0)
        (void)cache_parse(rt, &j); /* a cache that cannot be read is made anew */
}

static void cache_write(struct CBoxliteRuntime *rt, const char *line)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(CACHE_MAX);
    char device[64];
    struct bx_jw w;

    bx_probe_device_id(device, sizeof(device));
    bx_jw_init(&w, &out, true);
    bx_jw_obj(&w, NULL);
    bx_jw_str(&w, "boot_id", rt->boot_id);
    bx_jw_str(&w, "kvm_device", device);
    bx_jw_u64(&w, "tsc_khz", rt->verdict->facts.tsc_khz);
    if (rt->verdict->facts.verdict.cacheable)
        bx_jw_str(&w, "verdict", line);
    bx_jw_end(&w);
    if (bx_jw_finish(&w, NULL) == 0) /* failing to keep it costs 100 ms next time */
        (void)bx_write_file_atomic(rt->cache_fd, CACHE_FILE, bx_buf_data(&out), bx_buf_len(&out), 0600);
}

/* ---- asking ---- */

static void tell(struct CBoxliteRuntime *rt, const struct bx_host_facts *facts, const struct bx_err *err)
{
    struct facts_waiter *w;

    while ((w = rt->verdict->waiters)) {
        bx_facts_fn *fn = w->fn;
        void *ud = w->ud;

        rt->verdict->waiters = w->next;
        free(w);
        fn(ud, facts, err);
    }
}

static void on_probe(void *ud, const char *text, size_t len)
{
    struct CBoxliteRuntime *rt = ud;
    struct bx_verdict *v = rt->verdict;
    struct bx_err err = BX_ERR_INIT;
    char line[VERDICT_MAX];
    int r;

    v->probe = NULL;
    r = len > 0
            ? bx_shim_probe_parse(text, len, line, sizeof(line), &v->facts.tsc_khz, &err)
            : bx_fail(&err, BX_EENGINE, 0, "boxlite-shim ended without a word while it judged the engine");
    if (r >= 0)
        r = verdict_parse(line, &v->facts.verdict, &err);
    if (r < 0) {
        tell(rt, NULL, &err);
        return;
    }
    v->has_tsc = v->has_verdict = true;
    cache_write(rt, line);
    tell(rt, &v->facts, NULL);
}

static int probe(struct CBoxliteRuntime *rt, struct bx_err *err)
{
    BX_CLEANUP(bx_shim_spawn_done) struct bx_shim_spawn s = {.plan_fd = -1};
    struct bx_shim_plan plan = BX_SHIM_PLAN_INIT;
    int r;

    plan.kind = BX_SHIM_PROBE;
    plan.fd = ANSWER_FD;
    r = bx_shim_spawn_make(rt, &plan, &s, err);
    if (r < 0)
        return r;
    rt->verdict->probe = bx_job_start(rt, &s.spawn, ANSWER_FD, on_probe, rt, err);
    if (!rt->verdict->probe)
        return -err->code;
    bx_progress(rt, "", "judge the engine", 0, 0);
    return 0;
}

int bx_facts_get(struct CBoxliteRuntime *rt, bool need_verdict, bx_facts_fn *fn, void *ud, struct bx_err *err)
{
    struct bx_verdict *v = rt->verdict;
    struct facts_waiter *w;
    struct bx_err why;
    int r = 0;

    if (!v)
        v = rt->verdict = calloc(1, sizeof(*v));
    w = v ? calloc(1, sizeof(*w)) : NULL;
    if (!w)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "judge the engine");
    if (!v->read)
        cache_read(rt);
    if (v->has_tsc && (v->has_verdict || !need_verdict)) {
        free(w);
        fn(ud, &v->facts, NULL);
        return 0;
    }
    if (!v->probe)
        r = probe(rt, &why);
    if (r < 0) {
        free(w);
        if (err)
            *err = why;
        return r;
    }
    w->fn = fn;
    w->ud = ud;
    w->next = v->waiters;
    v->waiters = w;
    return 0;
}

void bx_facts_forget(struct CBoxliteRuntime *rt, void *ud)
{
    struct facts_waiter **p, *w;

    if (!rt->verdict)
        return;
    for (p = &rt->verdict->waiters; (w = *p);) {
        if (w->ud != ud) {
            p = &w->next;
            continue;
        }
        *p = w->next;
        free(w);
    }
}

void bx_verdict_free(struct CBoxliteRuntime *rt)
{
    struct bx_err why = BX_ERR_INIT;

    if (!rt->verdict)
        return;
    bx_fail(&why, BX_ESTOPPED, 0, "the runtime was freed");
    tell(rt, NULL, &why);
    free(rt->verdict);
    rt->verdict = NULL;
}

int bx_engine_choose(struct CBoxliteRuntime *rt, const char *choice, const struct bx_host_facts *facts,
                     enum bx_engine *ret, bool *ret_was_auto, struct bx_err *err)
{
    const struct bx_engine_verdict *v = &facts->verdict;

    if (!choice || bx_streq(choice, "auto"))
        choice = rt->engine_default;
    *ret_was_auto = bx_streq(choice, "auto");
    if (bx_streq(choice, "tcg") || (*ret_was_auto && v->result != BX_PROBE_OK)) {
        *ret = BX_ENGINE_TCG;
        return 0;
    }
    if (v->result != BX_PROBE_OK)
        return bx_fail(err, BX_EENGINEKIND, 0, "kvm cannot be used here: %s%s%s", v->reason,
                       v->remedy[0] ? "; " : "", v->remedy);
    *ret = BX_ENGINE_KVM;
    return 0;
}
