/* SPDX-License-Identifier: Apache-2.0 */
/* runtime.c - opening a home, draining, ending. How it fits together is told in runtime.h. */
#include "runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/box.h"
#include "runtime/collect.h"
#include "runtime/doctor.h"
#include "runtime/engine.h"
#include "runtime/events.h"
#include "runtime/import.h"
#include "runtime/job.h"
#include "runtime/load.h"
#include "runtime/logs.h"
#include "runtime/pull.h"
#include "runtime/registries.h"
#include "runtime/save.h"
#include "runtime/tunnel.h"
#include "runtime/warm.h"

/* ---- references and the lock ---- */

void bx_rt_ref(struct CBoxliteRuntime *rt)
{
    rt->refs++;
}

/* Memory only: loop and store went in boxlite_runtime_free. */
static void rt_destroy(struct CBoxliteRuntime *rt)
{
    pthread_mutex_unlock(&rt->lock);
    pthread_mutex_destroy(&rt->lock);
    if (rt->registries)
        bx_registries_done(rt->registries);
    free(rt->registries);
    free(rt->home);
    free(rt->libexec);
    free(rt->engine_default);
    free(rt);
}

bool bx_rt_unref(struct CBoxliteRuntime *rt)
{
    if (--rt->refs > 0)
        return false;
    rt_destroy(rt);
    return true;
}

int bx_enter(struct CBoxliteRuntime *rt, struct bx_err *err)
{
    pthread_mutex_lock(&rt->lock);
    if (!rt->closing && !rt->freed)
        return 0;
    pthread_mutex_unlock(&rt->lock);
    return bx_fail(err, BX_ESTOPPED, 0, "the runtime was shut down");
}

/* The eventfd is readable exactly while events wait that nobody is about to deliver. */
static void wake_sync(struct CBoxliteRuntime *rt)
{
    uint64_t value = 1;

    if (rt->freed)
        return;
    if (rt->ev_count > 0 && !rt->wake_set) {
        rt->wake_set = true;
        (void)!write(rt->wake_fd, &value, sizeof(value));
    } else if (rt->ev_count == 0 && rt->wake_set) {
        rt->wake_set = false;
        (void)!read(rt->wake_fd, &value, sizeof(value));
    }
}

void bx_leave(struct CBoxliteRuntime *rt)
{
    /* Inside a callback the drain that made it goes on with the queue by itself. */
    if (!(rt->delivering && pthread_equal(rt->drainer, pthread_self())))
        wake_sync(rt);
    pthread_mutex_unlock(&rt->lock);
}

void bx_user_begin(struct CBoxliteRuntime *rt)
{
    rt->delivering = true;
    pthread_mutex_unlock(&rt->lock);
}

void bx_user_end(struct CBoxliteRuntime *rt)
{
    pthread_mutex_lock(&rt->lock);
    rt->delivering = false;
}

/* ---- draining ---- */

static int deliver_events(struct CBoxliteRuntime *rt)
{
    size_t n = rt->ev_count; /* what callbacks add is for the next round */
    int made = 0;

    while (n-- > 0 && rt->ev_first && !rt->freed) {
        struct bx_ev *ev = rt->ev_first;

        rt->ev_first = ev->next;
        if (!rt->ev_first)
            rt->ev_tail = &rt->ev_first;
        rt->ev_count--;
        ev->queued = false;
        made += ev->deliver(rt, ev);
    }
    return made;
}

static int ms_left(int64_t deadline)
{
    int64_t left = deadline - bx_now();

    return left <= 0 ? 0 : (int)BX_MIN((left + BX_MSEC - 1) / BX_MSEC, (int64_t)INT32_MAX);
}

static int wait_readable(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, timeout_ms) < 0 && errno != EINTR ? -errno : 0;
}

static int drain_locked(struct CBoxliteRuntime *rt, int timeout_ms, struct bx_err *err)
{
    int64_t deadline = bx_now() + timeout_ms * BX_MSEC;
    int r, n, wait;

    for (;;) {
        if (rt->freed) /* by another thread, while this one waited */
            return bx_fail(err, BX_ESTOPPED, 0, "the runtime was freed");
        r = bx_loop_dispatch(rt->loop, 0);
        if (r < 0)
            return bx_fail(err, BX_EINTERNAL, -r, "wait for events");
        n = deliver_events(rt);
        wait = timeout_ms < 0 ? -1 : ms_left(deadline);
        if (n > 0 || wait == 0 || rt->freed)
            return n;
        wake_sync(rt);
        pthread_mutex_unlock(&rt->lock);
        r = wait_readable(rt->poll_fd, wait);
        pthread_mutex_lock(&rt->lock);
        if (r < 0)
            return bx_fail(err, BX_EINTERNAL, -r, "wait for events");
    }
}

int boxlite_runtime_drain(CBoxliteRuntime *rt, int timeout_ms, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    bool last = false;
    int r;

    if (!rt) {
        bx_api_invalid(out_error, "runtime is NULL");
        return -1;
    }
    pthread_mutex_lock(&rt->lock);
    if (rt->freed) {
        r = bx_fail(&err, BX_ESTOPPED, 0, "the runtime was freed");
    } else if (rt->draining) {
        r = bx_fail(&err, BX_ESTATE, 0, "the runtime is being drained already");
    } else {
        rt->draining = true;
        rt->drainer = pthread_self();
        bx_rt_ref(rt);
        r = drain_locked(rt, timeout_ms, &err);
        rt->draining = false;
        wake_sync(rt);
        last = bx_rt_unref(rt);
    }
    if (!last)
        pthread_mutex_unlock(&rt->lock);
    if (r >= 0)
        return r;
    bx_api_error(out_error, &err);
    return -1;
}

int boxlite_runtime_fd(CBoxliteRuntime *rt)
{
    return rt && !rt->freed ? rt->poll_fd : -1;
}

int bx_wait_op(struct CBoxliteRuntime *rt, struct bx_op *op, struct bx_err *err)
{
    struct pollfd p[2] = {{.fd = bx_loop_fd(rt->loop), .events = POLLIN},
                          {.fd = op->wake_fd, .events = POLLIN}};
    bool done;
    int r = 0;

    for (;;) {
        pthread_mutex_lock(&rt->lock);
        if (!op->done && !rt->freed)
            r = bx_loop_dispatch(rt->loop, 0);
        done = op->done || rt->freed;
        bx_leave(rt); /* what was queued on the way is for drain */
        if (r < 0)
            return bx_fail(err, BX_EINTERNAL, -r, "wait for events");
        if (done)
            return 0;
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return bx_fail(err, BX_EINTERNAL, errno, "wait for events");
    }
}

/* ---- opening ---- */

static const char *const home_dirs[] = {"db",    "blobs", "blobs/sha256", "disks", "templates",
                                        "boxes", "cache", "tmp",          BX_EVENT_DIR};

static int open_dir(struct CBoxliteRuntime *rt, const char *name, int *ret, struct bx_err *err)
{
    *ret = openat(rt->home_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *ret < 0 ? bx_fail(err, BX_ESTORAGE, errno, "open %s/%s", rt->home, name) : 0;
}

static int open_home(struct CBoxliteRuntime *rt, struct bx_err *err)
{
    int r, events_fd;
    size_t i;

    r = bx_mkdir_p(rt->home, 0700);
    if (r < 0)
        return bx_fail(err, BX_ESTORAGE, -r, "make %s", rt->home);
    rt->home_fd = open(rt->home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (rt->home_fd < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "open %s", rt->home);
    for (i = 0; i < BX_ARRAY_SIZE(home_dirs); i++)
        if (mkdirat(rt->home_fd, home_dirs[i], 0700) < 0 && errno != EEXIST)
            return bx_fail(err, BX_ESTORAGE, errno, "make %s/%s", rt->home, home_dirs[i]);
    if ((r = open_dir(rt, "boxes", &rt->boxes_fd, err)) < 0 ||
        (r = open_dir(rt, "disks", &rt->disks_fd, err)) < 0 ||
        (r = open_dir(rt, "blobs", &rt->blobs_fd, err)) < 0 ||
        (r = open_dir(rt, "tmp", &rt->tmp_fd, err)) < 0 ||
        (r = open_dir(rt, "templates", &rt->templates_fd, err)) < 0 ||
        (r = open_dir(rt, "cache", &rt->cache_fd, err)) < 0 || (r = open_dir(rt, BX_EVENT_DIR, &events_fd, err)) < 0)
        return r;
    bx_event_log_open(&rt->event_log, events_fd);
    return bx_store_open(rt->home, &rt->store, err);
}

static int read_environment(struct CBoxliteRuntime *rt, struct bx_err *err)
{
    const char *engine = getenv("BOXLITE_ENGINE"), *timeout = getenv("BOXLITE_START_TIMEOUT");
    const char *images = getenv("BOXLITE_IMAGE_TEMPLATES");
    uint64_t seconds = BX_START_TIMEOUT_DEFAULT_S;

    if (!engine || !*engine)
        engine = "auto";
    if (!bx_engine_choice_valid(engine))
        return bx_fail(err, BX_ECONFIG, 0, "BOXLITE_ENGINE=%s: must be auto, kvm or tcg", engine);
    rt->engine_default = bx_strf("%s", engine);
    rt->image_templates = !bx_streq(images, "off");
    if (images && *images && rt->image_templates && !bx_streq(images, "auto"))
        return bx_fail(err, BX_ECONFIG, 0, "BOXLITE_IMAGE_TEMPLATES=%s: must be auto or off", images);
    if (timeout && *timeout && bx_parse_u64(timeout, 1, 3600, &seconds) < 0)
        return bx_fail(err, BX_ECONFIG, 0, "BOXLITE_START_TIMEOUT=%s: must be 1 to 3600 seconds", timeout);
    rt->start_timeout_ns = (int64_t)seconds * BX_SEC;
    return rt->engine_default ? 0 : bx_fail(err, BX_ERESOURCE, ENOMEM, "open the runtime");
}

static int open_loop(struct CBoxliteRuntime *rt, struct bx_err *err)
{
    struct epoll_event ev = {.events = EPOLLIN};

    rt->loop = bx_loop_new();
    rt->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rt->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!rt->loop || rt->wake_fd < 0 || rt->poll_fd < 0 ||
        epoll_ctl(rt->poll_fd, EPOLL_CTL_ADD, rt->wake_fd, &ev) < 0 ||
        epoll_ctl(rt->poll_fd, EPOLL_CTL_ADD, bx_loop_fd(rt->loop), &ev) < 0)
        return bx_fail(err, BX_ERESOURCE, errno, "make an event loop");
    rt->sweep = bx_loop_add_defer(rt->loop, bx_sweep, rt);
    return rt->sweep ? 0 : bx_fail(err, BX_ERESOURCE, errno, "make an event loop");
}

static void read_boot_id(struct CBoxliteRuntime *rt)
{
    bx_cleanup_free char *text = NULL;
    size_t len = 0;

    if (bx_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text, &len) < 0)
        return; /* then every start looks like another boot: rows are judged by their locks anyway */
    if (len >= 36)
        memcpy(rt->boot_id, text, 36);
}

static void close_fds(struct CBoxliteRuntime *rt)
{
    int *const fds[] = {&rt->home_fd,      &rt->boxes_fd, &rt->disks_fd, &rt->blobs_fd, &rt->tmp_fd,
                        &rt->templates_fd, &rt->cache_fd, &rt->wake_fd,  &rt->poll_fd};
    size_t i;

    for (i = 0; i < BX_ARRAY_SIZE(fds); i++)
        *fds[i] = bx_close(*fds[i]);
    bx_event_log_close(&rt->event_log);
}

static struct CBoxliteRuntime *rt_alloc(void)
{
    struct CBoxliteRuntime *rt = calloc(1, sizeof(*rt));

    if (!rt)
        return NULL;
    pthread_mutex_init(&rt->lock, NULL);
    rt->refs = 1;
    rt->ev_tail = &rt->ev_first;
    rt->home_fd = rt->boxes_fd = rt->disks_fd = rt->blobs_fd = rt->tmp_fd = -1;
    rt->templates_fd = rt->cache_fd = rt->wake_fd = rt->poll_fd = -1;
    rt->event_log = BX_EVENT_LOG_INIT;
    return rt;
}

static struct bx_template_limits limits_of(const struct bx_config *c)
{
    struct bx_template_limits l = BX_TEMPLATE_LIMITS_DEFAULT;

    if (c->templates_bytes)
        l.bytes = c->templates_bytes;
    if (c->templates_days)
        l.idle_ns = (int64_t)c->templates_days * 86400 * BX_SEC;
    return l;
}

static int configure(struct CBoxliteRuntime *rt, const char *home_dir, const BoxliteImageRegistry *registries,
                     size_t count, struct bx_err *err)
{
    bx_cleanup_config struct bx_config config = {0};
    int r = bx_config_load(home_dir, &config, &rt->home, err);

    rt->registries = calloc(1, sizeof(*rt->registries));
    if (r == 0 && !rt->registries)
        r = bx_fail(err, BX_ERESOURCE, ENOMEM, "open the runtime");
    rt->template_limits = limits_of(&config);
    return r < 0 ? r : bx_registries_make(registries, count, &config, rt->registries, err);
}

static int rt_open(struct CBoxliteRuntime *rt, struct bx_err *err)
{
    int r;

    if ((r = read_environment(rt, err)) < 0 || (r = open_home(rt, err)) < 0 || (r = open_loop(rt, err)) < 0)
        return r;
    read_boot_id(rt);
    rt->found_rows = bx_repair_all(rt);
    rt->found_tmp = bx_clean_tmp(rt);
    return 0;
}

BoxliteErrorCode boxlite_runtime_new(const char *home_dir, const BoxliteImageRegistry *registries,
                                     int registries_count, CBoxliteRuntime **out_runtime,
                                     CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    struct CBoxliteRuntime *rt;

    if (!out_runtime)
        return bx_api_invalid(out_error, "out_runtime is NULL");
    *out_runtime = NULL;
    if (registries_count < 0 || (registries_count > 0 && !registries))
        return bx_api_invalid(out_error, "registries: %d of them, but the list is NULL", registries_count);
    rt = rt_alloc();
    if (!rt) {
        bx_fail(&err, BX_ERESOURCE, ENOMEM, "open the runtime");
        return bx_api_error(out_error, &err);
    }
    if (configure(rt, home_dir, registries, (size_t)registries_count, &err) < 0 || rt_open(rt, &err) < 0) {
        boxlite_runtime_free(rt);
        return bx_api_error(out_error, &err);
    }
    *out_runtime = rt;
    return Ok;
}

/* ---- ending ---- */

void boxlite_runtime_free(CBoxliteRuntime *rt)
{
    if (!rt)
        return;
    pthread_mutex_lock(&rt->lock);
    if (rt->delivering && pthread_equal(rt->drainer, pthread_self())) { /* drain stands on it */
        pthread_mutex_unlock(&rt->lock);
        return;
    }
    rt->closing = true;
    bx_logs_end(rt);
    bx_events_end(rt);
    bx_loads_end(rt);
    bx_saves_end(rt);
    bx_imports_end(rt);
    bx_pulls_end(rt, "the runtime was freed");
    bx_warms_end(rt, "the runtime was freed");
    bx_doctors_end(rt);
    bx_collects_end(rt);
    bx_forwarders_end(rt);
    bx_boxes_end(rt); /* connections close: boxes that are not detached end by it */
    bx_jobs_end(rt);  /* what is left of them: the probe */
    rt->freed = true;
    while (rt->ev_first) {
        struct bx_ev *ev = rt->ev_first;

        bx_unqueue_event(rt, ev);
        ev->drop(rt, ev);
    }
    if (rt->shutdown_op)
        bx_op_answer(BX_TAKE_PTR(rt->shutdown_op), NULL);
    rt->shutdown_timer = bx_source_remove(rt->shutdown_timer);
    rt->sweep = bx_source_remove(rt->sweep);
    bx_verdict_free(rt);
    if (rt->loop)
        rt->loop = bx_loop_free(rt->loop);
    if (rt->store)
        rt->store = bx_store_close(rt->store);
    if (rt->draining)
        (void)!write(rt->wake_fd, &(uint64_t){1}, sizeof(uint64_t)); /* whoever waits looks, and leaves */
    close_fds(rt);
    if (!bx_rt_unref(rt))
        pthread_mutex_unlock(&rt->lock);
}

void bx_shutdown_check(struct CBoxliteRuntime *rt)
{
    if (!rt->shutdown_op || bx_boxes_owned(rt) > 0)
        return;
    rt->shutdown_timer = bx_source_remove(rt->shutdown_timer);
    bx_op_answer(BX_TAKE_PTR(rt->shutdown_op), NULL);
}

/* First time: what still runs is killed; second: it does not even die. */
static void on_shutdown_late(struct bx_source *s, void *ud)
{
    struct CBoxliteRuntime *rt = ud;
    struct bx_err err = BX_ERR_INIT;

    if (!rt->shutdown_forced) {
        rt->shutdown_forced = true;
        bx_boxes_stop_owned(rt, true);
        bx_timer_after(s, 5 * BX_SEC);
        return;
    }
    bx_fail(&err, BX_EENGINE, 0, "%u boxes did not end", bx_boxes_owned(rt));
    rt->shutdown_timer = bx_source_remove(rt->shutdown_timer);
    bx_op_answer(BX_TAKE_PTR(rt->shutdown_op), &err);
}

static int shutdown_locked(struct CBoxliteRuntime *rt, int timeout_secs, struct bx_op *op, struct bx_err *err)
{
    rt->shutdown_timer = bx_loop_add_timer(rt->loop, on_shutdown_late, rt);
    if (!rt->shutdown_timer)
        return bx_fail(err, BX_ERESOURCE, errno, "shut down");
    if (timeout_secs >= 0)
        bx_timer_after(rt->shutdown_timer, (timeout_secs ? timeout_secs : 10) * BX_SEC);
    rt->closing = true;
    rt->shutdown_op = op;
    bx_pulls_end(rt, "the runtime was shut down");
    bx_logs_end(rt);
    bx_warms_end(rt, "the runtime was shut down");
    bx_boxes_stop_owned(rt, false);
    bx_shutdown_check(rt);
    return 0;
}

BoxliteErrorCode boxlite_runtime_shutdown(CBoxliteRuntime *rt, int timeout_secs, CRuntimeShutdownCb cb,
                                          void *user_data, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_op *op;
    int r = 0;

    if (!rt || !cb)
        return bx_api_invalid(out_error, "%s is NULL", rt ? "cb" : "runtime");
    pthread_mutex_lock(&rt->lock);
    if (rt->freed) {
        r = bx_fail(&err, BX_ESTOPPED, 0, "the runtime was freed");
    } else if (!(op = bx_op_new(rt, BX_OP_PLAIN, (union bx_op_cb){.plain = cb}, user_data, &err))) {
        r = -err.code;
    } else if (rt->closing) { /* again: nothing more to do, and no harm */
        bx_op_answer(op, NULL);
    } else if ((r = shutdown_locked(rt, timeout_secs, op, &err)) < 0) {
        bx_op_cancel(op);
    }
    bx_leave(rt);
    return bx_api_result(out_error, r, &err);
}

/* ---- progress ---- */

struct progress {
    struct bx_ev ev;
    char box_id[BX_ID_LEN + 1];
    char what[64];
    uint64_t done, total;
};

static void progress_drop(struct CBoxliteRuntime *rt, struct bx_ev *ev)
{
    (void)rt;
    free(BX_CONTAINER_OF(ev, struct progress, ev));
}

static bool progress_deliver(struct CBoxliteRuntime *rt, struct bx_ev *ev)
{
    struct progress *p = BX_CONTAINER_OF(ev, struct progress, ev);
    CRuntimeProgressCb cb = rt->progress_cb;
    void *ud = rt->progress_ud;

    if (cb) {
        bx_user_begin(rt);
        cb(p->box_id, p->what, p->done, p->total, ud);
        bx_user_end(rt);
    }
    free(p);
    return cb != NULL;
}

void bx_progress(struct CBoxliteRuntime *rt, const char *box_id, const char *what, uint64_t done,
                 uint64_t total)
{
    struct progress *p;

    if (!rt->progress_cb || rt->ev_count >= QUEUE_CAPACITY)
        return;
    p = calloc(1, sizeof(*p));
    if (!p)
        return;
    p->ev.deliver = progress_deliver;
    p->ev.drop = progress_drop;
    snprintf(p->box_id, sizeof(p->box_id), "%s", box_id);
    snprintf(p->what, sizeof(p->what), "%s", what);
    p->done = done;
    p->total = total;
    bx_queue_event(rt, &p->ev);
}

BoxliteErrorCode boxlite_runtime_on_progress(CBoxliteRuntime *rt, CRuntimeProgressCb cb, void *user_data,
                                             CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;

    if (!rt)
        return bx_api_invalid(out_error, "runtime is NULL");
    if (bx_enter(rt, &err) < 0)
        return bx_api_error(out_error, &err);
    rt->progress_cb = cb;
    rt->progress_ud = user_data;
    bx_leave(rt);
    return Ok;
}

BoxliteErrorCode boxlite_runtime_on_pull_progress(CBoxliteRuntime *rt, CPullProgressCb cb, void *user_data,
                                                  CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;

    if (!rt)
        return bx_api_invalid(out_error, "runtime is NULL");
    if (bx_enter(rt, &err) < 0)
        return bx_api_error(out_error, &err);
    rt->pull_progress_cb = cb;
    rt->pull_progress_ud = user_data;
    bx_leave(rt);
    return Ok;
}
