/* SPDX-License-Identifier: Apache-2.0 */
/* events.c - see events.h. */
#include "runtime/events.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/numbered.h"
#include "runtime/watch.h"

#define SLICE (64 * 1024) /* of a file, read in one turn */

/* ---- telling ---- */

void bx_event_tell(struct CBoxliteRuntime *rt, const struct bx_event *e)
{
    (void)bx_event_log_add(&rt->event_log, e);
}

void bx_event_box(struct CBoxliteRuntime *rt, const char *type, const struct bx_box_row *row, const char *message)
{
    bx_event_tell(rt, &(struct bx_event){.type = type, .box = row->id, .name = row->name, .image = row->image, .message = message});
}

void bx_event_image(struct CBoxliteRuntime *rt, const char *type, const char *reference)
{
    bx_event_tell(rt, &(struct bx_event){.type = type, .image = reference});
}

/* ---- listening ---- */

/* A file that is being read. */
struct place {
    int fd; /* -1: none */
    uint32_t number;
    off_t at;
    struct bx_buf buf; /* less than a line, between turns */
};

struct bx_events {
    struct bx_ev ev;
    struct CBoxliteRuntime *rt;
    CRuntimeEventCb cb;
    void *ud;
    int64_t since_ns;
    bool wants_current; /* to be told when it has heard all there was */
    struct place last, before; /* the one that grows, and the one that may still get a line of a slow writer */
    struct bx_watch *watch;
    bool delivering, dead;
};

static void place_close(struct place *p)
{
    p->fd = bx_close(p->fd);
    bx_buf_done(&p->buf);
}

static void events_free(struct bx_events *e)
{
    place_close(&e->last);
    place_close(&e->before);
    free(e);
}

void bx_events_end(struct CBoxliteRuntime *rt)
{
    struct bx_events *e = BX_TAKE_PTR(rt->events);

    if (!e)
        return;
    e->watch = bx_watch_remove(e->watch);
    (void)bx_unqueue_event(rt, &e->ev);
    e->dead = true;
    if (!e->delivering)
        events_free(e);
}

static void wake(void *ud)
{
    struct bx_events *e = ud;

    bx_queue_event(e->rt, &e->ev);
}

static void events_drop(struct CBoxliteRuntime *rt, struct bx_ev *ev)
{
    (void)rt, (void)ev; /* bx_events_end comes first */
}

static void place_open(struct bx_events *e, struct place *p, uint32_t number)
{
    char name[BX_NUMBERED_NAME_MAX];

    bx_numbered_name(name, BX_EVENT_PREFIX, number);
    *p = (struct place){.number = number};
    p->fd = openat(e->rt->event_log.dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    bx_buf_init(&p->buf, SLICE + BX_EVENT_LINE_MAX);
}

/* ---- delivery ---- */

static void call(struct bx_events *e, const struct bx_event *event)
{
    CBoxliteEvent out = {.size = sizeof(out),
                         .time_ns = event->time_ns,
                         .type = event->type,
                         .box_id = event->box ? event->box : "",
                         .box_name = event->name ? event->name : "",
                         .image = event->image ? event->image : "",
                         .execution_id = event->exec ? event->exec : "",
                         .program = event->program ? event->program : "",
                         .health = event->health ? event->health : "",
                         .message = event->message ? event->message : "",
                         .has_exit_code = event->has_exit,
                         .exit_code = event->exit_code,
                         .oom = event->oom};

    bx_user_begin(e->rt);
    e->cb(&out, e->ud);
    bx_user_end(e->rt);
}

/* A line that is none, or of a writer that was killed in the middle of it, is passed over. */
static bool take_line(struct bx_events *e, const uint8_t *line, size_t len)
{
    bx_cleanup_json struct bx_json doc = {0};
    struct bx_event event;

    if (len == 0 || len > BX_EVENT_LINE_MAX || bx_event_parse((const char *)line, len, &doc, &event, NULL) < 0 ||
        event.time_ns < e->since_ns)
        return false;
    call(e, &event);
    return true;
}

/* Whole lines of what was read. True when somebody was called. */
static bool take_lines(struct bx_events *e, struct place *p)
{
    bool called = false;

    while (!e->dead) {
        const uint8_t *data = bx_buf_data(&p->buf), *nl = memchr(data, '\n', bx_buf_len(&p->buf));
        size_t len = nl ? (size_t)(nl - data) : bx_buf_len(&p->buf);

        if (!nl && len <= BX_EVENT_LINE_MAX)
            break;
        called |= nl && take_line(e, data, len);
        if (!e->dead)
            bx_buf_consume(&p->buf, len + (nl ? 1 : 0));
    }
    return called;
}

/* More than 0: something was read. */
static ssize_t read_on(struct bx_events *e, struct place *p, bool *called)
{
    uint8_t *room = p->fd >= 0 ? bx_buf_reserve(&p->buf, SLICE) : NULL;
    ssize_t n = room ? pread(p->fd, room, SLICE, p->at) : 0;

    if (n <= 0)
        return 0;
    bx_buf_commit(&p->buf, (size_t)n);
    p->at += n;
    *called |= take_lines(e, p);
    return n;
}

/* The next file, if there is one. */
static bool move_on(struct bx_events *e, bool *called)
{
    int64_t next = bx_numbered_next(e->rt->event_log.dir_fd, BX_EVENT_PREFIX, e->last.number);
    bool lost = e->last.number > 0 && next > (int64_t)e->last.number + 1;

    if (next <= 0)
        return false;
    place_close(&e->before);
    e->before = e->last;
    place_open(e, &e->last, (uint32_t)next);
    if (lost) {
        *called = true;
        call(e, &(struct bx_event){.type = "events.lost", .time_ns = bx_realtime(), .message = "the program was too slow: older events are gone"});
    }
    return true;
}

/* One slice. True: there may be more to do. */
static bool turn(struct bx_events *e, bool *called)
{
    if (read_on(e, &e->before, called) > 0 || (!e->dead && read_on(e, &e->last, called) > 0))
        return true;
    if (e->dead || move_on(e, called))
        return true;
    if (!e->wants_current)
        return false;
    e->wants_current = false;
    *called = true;
    call(e, &(struct bx_event){.type = "events.current", .time_ns = bx_realtime()});
    return true;
}

static bool events_deliver(struct CBoxliteRuntime *rt, struct bx_ev *ev)
{
    struct bx_events *e = BX_CONTAINER_OF(ev, struct bx_events, ev);
    bool called = false, more;

    e->delivering = true;
    more = turn(e, &called);
    e->delivering = false;
    if (e->dead)
        events_free(e);
    else if (more)
        bx_queue_event(rt, ev);
    return called;
}

/* ---- the calls ---- */

/* From where on it listens: the end of what is there now, or the beginning. */
static void find_place(struct bx_events *e, bool history)
{
    int64_t last = history ? 0 : bx_numbered_last(e->rt->event_log.dir_fd, BX_EVENT_PREFIX);
    struct stat st;

    e->last = e->before = (struct place){.fd = -1};
    if (last <= 0)
        return;
    place_open(e, &e->last, (uint32_t)last);
    if (e->last.fd >= 0 && fstat(e->last.fd, &st) == 0)
        e->last.at = st.st_size;
}

static int listen_to(struct CBoxliteRuntime *rt, const int64_t *since_ns, CRuntimeEventCb cb, void *ud, struct bx_err *err)
{
    struct bx_events *e = calloc(1, sizeof(*e));

    if (!e)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "listen to events");
    *e = (struct bx_events){.ev = {.deliver = events_deliver, .drop = events_drop}, .rt = rt, .cb = cb, .ud = ud};
    e->watch = bx_watch_add(rt, rt->event_log.dir_fd, wake, e, err);
    if (!e->watch) {
        free(e);
        return -err->code;
    }
    find_place(e, since_ns != NULL);
    e->since_ns = since_ns ? *since_ns : 0;
    e->wants_current = since_ns != NULL;
    rt->events = e;
    wake(e);
    return 0;
}

static BoxliteErrorCode set_listener(CBoxliteRuntime *rt, const int64_t *since_ns, CRuntimeEventCb cb, void *user_data,
                                     CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    int r = 0;

    if (!rt)
        return bx_api_invalid(out_error, "runtime is NULL");
    if (bx_enter(rt, &err) < 0)
        return bx_api_error(out_error, &err);
    bx_events_end(rt);
    if (cb)
        r = listen_to(rt, since_ns, cb, user_data, &err);
    bx_leave(rt);
    return bx_api_result(out_error, r, &err);
}

BoxliteErrorCode boxlite_runtime_on_event(CBoxliteRuntime *rt, CRuntimeEventCb cb, void *user_data, CBoxliteError *out_error)
{
    return set_listener(rt, NULL, cb, user_data, out_error);
}

BoxliteErrorCode boxlite_runtime_on_event_since(CBoxliteRuntime *rt, int64_t since_ms, CRuntimeEventCb cb, void *user_data,
                                                CBoxliteError *out_error)
{
    int64_t since_ns;

    if (since_ms < 0 || since_ms > INT64_MAX / BX_MSEC)
        return bx_api_invalid(out_error, "since_ms: must be a time after 1970");
    since_ns = since_ms * BX_MSEC;
    return set_listener(rt, &since_ns, cb, user_data, out_error);
}
