/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.c - the event loop. See loop.h for what it promises; here is how.
 *
 *  Lifetime. A removed source leaves everything at once (epoll, heap, lists) but its memory goes to a graveyard that
 *  is emptied after the round: the batch from epoll_wait may still point to it. A descriptor number that is closed
 *  and reused within a round cannot be confused, since events carry the source and not the number.
 *
 *  Timers. Due timers are moved from the heap to a list before the first is called. One that is set again, even in the
 *  past, is back in the heap: it runs in the next round, so a round ends.
 *
 *  The timerfd is also what makes the loop's descriptor readable for deferred work: it is set to the past as long as
 *  there is some. It is set only when the value changes, and within a round once, at its end. It is never read: once
 *  expired it stays readable until it is set anew, which the next value brings about.
 */
#include "loop/loop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"

#define BATCH 64  /* events taken in one round */
#define SIGNALS_A_ROUND 64
#define SIGNAL_MAX 64
#define DUE_NOW 1 /* a time in the past that is not 0 */

enum kind { KIND_FD, KIND_TIMER, KIND_CHILD, KIND_SIGNAL, KIND_DEFER };

struct list {
    struct list *prev, *next;
};

struct bx_source {
    struct list all;  /* in loop->sources or loop->graveyard */
    struct list wait; /* timer: in loop->due; defer: in loop->deferred; else alone */
    struct bx_loop *loop;
    enum kind kind;
    bool removed;
    void *ud;
    union {
        struct {
            bx_fd_fn *fn;
            int fd;
            uint32_t events;
        } io;
        struct {
            bx_timer_fn *fn;
            int64_t deadline;
            uint64_t order; /* equal deadlines fire in the order they were set */
            size_t index;   /* in the heap, from 1; 0: not there */
        } timer;
        struct {
            bx_child_fn *fn;
            int pidfd; /* -1 once it has fired */
        } child;
        struct {
            bx_signal_fn *fn;
            int signo;
        } signal;
        bx_defer_fn *defer;
    } u;
};

struct bx_loop {
    int epfd, timerfd, sigfd;
    struct list sources, graveyard, due, deferred;
    struct bx_source **heap; /* from 1 */
    size_t heap_len, heap_cap, timers;
    uint64_t order;
    int64_t armed; /* what timerfd is set to */
    sigset_t sigmask;
    struct bx_source *signals[SIGNAL_MAX + 1];
    bool dispatching, quit;
    int quit_code;
};

/* epoll data of the two descriptors that are no source */
static char timer_tag, signal_tag;

static void list_init(struct list *l)
{
    l->prev = l->next = l;
}

static bool list_empty(const struct list *l)
{
    return l->next == l;
}

static void list_del(struct list *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    list_init(l);
}

static void list_append(struct list *head, struct list *l)
{
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}

/* Moves everything of `from` to the end of the empty list `to`. */
static void list_move(struct list *from, struct list *to)
{
    list_init(to);
    if (list_empty(from))
        return;
    *to = *from;
    to->next->prev = to;
    to->prev->next = to;
    list_init(from);
}

/* ---- the heap of timers ---- */

static bool sooner(const struct bx_source *a, const struct bx_source *b)
{
    if (a->u.timer.deadline != b->u.timer.deadline)
        return a->u.timer.deadline < b->u.timer.deadline;
    return a->u.timer.order < b->u.timer.order;
}

static void heap_put(struct bx_loop *l, size_t i, struct bx_source *s)
{
    l->heap[i] = s;
    s->u.timer.index = i;
}

static void heap_up(struct bx_loop *l, size_t i)
{
    struct bx_source *s = l->heap[i];

    for (; i > 1 && sooner(s, l->heap[i / 2]); i /= 2)
        heap_put(l, i, l->heap[i / 2]);
    heap_put(l, i, s);
}

static void heap_down(struct bx_loop *l, size_t i)
{
    struct bx_source *s = l->heap[i];

    for (;;) {
        size_t child = 2 * i;

        if (child > l->heap_len)
            break;
        if (child < l->heap_len && sooner(l->heap[child + 1], l->heap[child]))
            child++;
        if (!sooner(l->heap[child], s))
            break;
        heap_put(l, i, l->heap[child]);
        i = child;
    }
    heap_put(l, i, s);
}

static void heap_add(struct bx_loop *l, struct bx_source *s)
{
    heap_put(l, ++l->heap_len, s);
    heap_up(l, l->heap_len);
}

static void heap_del(struct bx_loop *l, struct bx_source *s)
{
    size_t i = s->u.timer.index;
    struct bx_source *last = l->heap[l->heap_len--];

    s->u.timer.index = 0;
    if (last == s)
        return;
    heap_put(l, i, last);
    heap_up(l, i);
    heap_down(l, last->u.timer.index);
}

/* Room for one more timer, so that arming cannot fail. */
static int heap_reserve(struct bx_loop *l)
{
    struct bx_source **heap;
    size_t cap;

    if (l->timers + 1 < l->heap_cap)
        return 0;
    cap = BX_MAX(l->heap_cap * 2, (size_t)16);
    heap = reallocarray(l->heap, cap, sizeof(*heap));
    if (!heap)
        return -ENOMEM;
    l->heap = heap;
    l->heap_cap = cap;
    return 0;
}

/* Sets the timerfd to the next thing to do. Within a round only its end does so. */
static void rearm(struct bx_loop *l)
{
    int64_t next = l->heap_len > 0 ? l->heap[1]->u.timer.deadline : 0;
    struct itimerspec its = { 0 };

    if (l->dispatching)
        return;
    if (!list_empty(&l->deferred) || !list_empty(&l->due))
        next = DUE_NOW;
    if (next == l->armed)
        return;
    its.it_value.tv_sec = next / BX_SEC;
    its.it_value.tv_nsec = next % BX_SEC;
    /* Fails only for a bad descriptor or value, and both are ours. */
    bx_assert(timerfd_settime(l->timerfd, TFD_TIMER_ABSTIME, &its, NULL) == 0);
    l->armed = next;
}

/* ---- making and freeing ---- */

static int epoll_add(struct bx_loop *l, int fd, uint32_t events, void *tag)
{
    struct epoll_event ev = { .events = events, .data.ptr = tag };

    return epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

struct bx_loop *bx_loop_new(void)
{
    struct bx_loop *l = calloc(1, sizeof(*l));
    int saved;

    if (!l)
        return NULL;
    list_init(&l->sources);
    list_init(&l->graveyard);
    list_init(&l->due);
    list_init(&l->deferred);
    sigemptyset(&l->sigmask);
    l->sigfd = l->timerfd = -1;
    l->epfd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epfd < 0)
        goto fail;
    l->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (l->timerfd < 0 || epoll_add(l, l->timerfd, EPOLLIN, &timer_tag) < 0)
        goto fail;
    return l;
fail:
    saved = errno;
    bx_loop_free(l);
    errno = saved;
    return NULL;
}

static void bury(struct bx_loop *l)
{
    while (!list_empty(&l->graveyard)) {
        struct bx_source *s = BX_CONTAINER_OF(l->graveyard.next, struct bx_source, all);

        list_del(&s->all);
        free(s);
    }
}

struct bx_loop *bx_loop_free(struct bx_loop *l)
{
    if (!l)
        return NULL;
    bx_assert(!l->dispatching);
    while (!list_empty(&l->sources))
        bx_source_remove(BX_CONTAINER_OF(l->sources.next, struct bx_source, all));
    bury(l);
    bx_close(l->sigfd);
    bx_close(l->timerfd);
    bx_close(l->epfd);
    free(l->heap);
    free(l);
    return NULL;
}

int bx_loop_fd(struct bx_loop *l)
{
    return l->epfd;
}

static struct bx_source *source_new(struct bx_loop *l, enum kind kind, void *ud)
{
    struct bx_source *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->loop = l;
    s->kind = kind;
    s->ud = ud;
    list_init(&s->wait);
    list_append(&l->sources, &s->all);
    return s;
}

/* Undoes source_new; for adders that fail later. Sets errno. */
static struct bx_source *source_fail(struct bx_source *s, int r)
{
    list_del(&s->all);
    free(s);
    errno = -r;
    return NULL;
}

/* Out of epoll by hand: closing does not do it while a fork of another thread still holds a copy. */
static void child_close(struct bx_source *s)
{
    if (s->u.child.pidfd >= 0)
        epoll_ctl(s->loop->epfd, EPOLL_CTL_DEL, s->u.child.pidfd, NULL);
    s->u.child.pidfd = bx_close(s->u.child.pidfd);
}

static void signal_forget(struct bx_loop *l, int signo)
{
    l->signals[signo] = NULL;
    sigdelset(&l->sigmask, signo);
    signalfd(l->sigfd, &l->sigmask, 0); /* of a descriptor of ours: cannot fail */
}

struct bx_source *bx_source_remove(struct bx_source *s)
{
    struct bx_loop *l;
    int saved = errno;

    if (!s)
        return NULL;
    bx_assert(!s->removed);
    l = s->loop;
    s->removed = true;
    list_del(&s->wait);
    switch (s->kind) {
    case KIND_FD:
        epoll_ctl(l->epfd, EPOLL_CTL_DEL, s->u.io.fd, NULL);
        break;
    case KIND_TIMER:
        l->timers--;
        if (s->u.timer.index > 0)
            heap_del(l, s);
        break;
    case KIND_CHILD:
        child_close(s);
        break;
    case KIND_SIGNAL:
        signal_forget(l, s->u.signal.signo);
        break;
    case KIND_DEFER:
        break;
    }
    list_del(&s->all);
    list_append(&l->graveyard, &s->all);
    if (!l->dispatching) {
        bury(l);
        rearm(l);
    }
    errno = saved;
    return NULL;
}

/* ---- descriptors ---- */

/*
 * HUP and ERR cannot be masked in epoll. A source that waits for nothing gets them edge-triggered, so that they are
 * told once; level-triggered they would spin until its owner wants to read again. RDHUP (the peer has sent all it
 * will) comes with BX_READ only, for the same reason: a half-closed connection may still be written to for hours.
 */
static uint32_t to_epoll(uint32_t events)
{
    uint32_t e = 0;

    if (events & BX_READ)
        e |= EPOLLIN | EPOLLRDHUP;
    if (events & BX_WRITE)
        e |= EPOLLOUT;
    if (events & BX_EDGE || !(events & (BX_READ | BX_WRITE)))
        e |= EPOLLET;
    return e;
}

static uint32_t from_epoll(uint32_t e)
{
    return (e & EPOLLIN ? BX_READ : 0) | (e & EPOLLOUT ? BX_WRITE : 0) |
           (e & (EPOLLHUP | EPOLLERR | EPOLLRDHUP) ? BX_HUP : 0);
}

struct bx_source *bx_loop_add_fd(struct bx_loop *l, int fd, uint32_t events, bx_fd_fn *fn, void *ud)
{
    struct bx_source *s = source_new(l, KIND_FD, ud);
    int r;

    if (!s)
        return NULL;
    s->u.io.fn = fn;
    s->u.io.fd = fd;
    s->u.io.events = events;
    r = epoll_add(l, fd, to_epoll(events), s);
    return r < 0 ? source_fail(s, r) : s;
}

int bx_source_set_events(struct bx_source *s, uint32_t events)
{
    struct epoll_event ev = { .events = to_epoll(events), .data.ptr = s };

    bx_assert(s->kind == KIND_FD && !s->removed);
    if (events == s->u.io.events)
        return 0;
    if (epoll_ctl(s->loop->epfd, EPOLL_CTL_MOD, s->u.io.fd, &ev) < 0)
        return -errno;
    s->u.io.events = events;
    return 0;
}

uint32_t bx_source_events(const struct bx_source *s)
{
    bx_assert(s->kind == KIND_FD);
    return s->u.io.events;
}

static int dispatch_fd(struct bx_source *s, uint32_t epoll_events)
{
    /* An earlier callback of the round may have lost interest in what is pending. */
    uint32_t events = from_epoll(epoll_events) & (s->u.io.events | BX_HUP);

    if (events == 0)
        return 0;
    s->u.io.fn(s, s->u.io.fd, events, s->ud);
    return 1;
}

/* ---- timers ---- */

struct bx_source *bx_loop_add_timer(struct bx_loop *l, bx_timer_fn *fn, void *ud)
{
    struct bx_source *s;

    if (heap_reserve(l) < 0) {
        errno = ENOMEM;
        return NULL;
    }
    s = source_new(l, KIND_TIMER, ud);
    if (!s)
        return NULL;
    s->u.timer.fn = fn;
    l->timers++;
    return s;
}

void bx_timer_set(struct bx_source *s, int64_t deadline_ns)
{
    struct bx_loop *l = s->loop;

    bx_assert(s->kind == KIND_TIMER && !s->removed);
    list_del(&s->wait);
    if (s->u.timer.index > 0)
        heap_del(l, s);
    if (deadline_ns != 0) {
        s->u.timer.deadline = BX_MAX(deadline_ns, (int64_t)DUE_NOW);
        s->u.timer.order = l->order++;
        heap_add(l, s);
    }
    rearm(l);
}

void bx_timer_after(struct bx_source *s, int64_t delay_ns)
{
    int64_t deadline;

    if (bx_add_overflow(bx_now(), delay_ns, &deadline))
        deadline = delay_ns < 0 ? DUE_NOW : INT64_MAX;
    bx_timer_set(s, BX_MAX(deadline, (int64_t)DUE_NOW));
}

bool bx_timer_armed(const struct bx_source *s)
{
    bx_assert(s->kind == KIND_TIMER);
    return s->u.timer.index > 0 || !list_empty(&s->wait);
}

static int dispatch_timers(struct bx_loop *l)
{
    int64_t now = l->heap_len > 0 ? bx_now() : 0;
    int calls = 0;

    while (l->heap_len > 0 && l->heap[1]->u.timer.deadline <= now) {
        struct bx_source *s = l->heap[1];

        heap_del(l, s);
        list_append(&l->due, &s->wait);
    }
    while (!list_empty(&l->due)) {
        struct bx_source *s = BX_CONTAINER_OF(l->due.next, struct bx_source, wait);

        list_del(&s->wait);
        s->u.timer.fn(s, s->ud);
        calls++;
    }
    return calls;
}

/* ---- children ---- */

struct bx_source *bx_loop_add_child(struct bx_loop *l, int pidfd, bx_child_fn *fn, void *ud)
{
    struct bx_source *s = source_new(l, KIND_CHILD, ud);
    int r;

    if (!s) {
        bx_close(pidfd);
        return NULL;
    }
    s->u.child.fn = fn;
    s->u.child.pidfd = pidfd;
    r = epoll_add(l, pidfd, EPOLLIN, s);
    if (r < 0) {
        bx_close(pidfd);
        return source_fail(s, r);
    }
    return s;
}

static int dispatch_child(struct bx_source *s)
{
    siginfo_t si;
    int status;

    memset(&si, 0, sizeof(si));
    /* __WALL: also children that were cloned without a signal to send at their end. */
    if (waitid(P_PIDFD, (id_t)s->u.child.pidfd, &si, WEXITED | WNOHANG | __WALL) < 0)
        status = -1; /* no child of ours, or somebody else has waited for it */
    else if (si.si_pid == 0)
        return 0;
    else
        status = si.si_code == CLD_EXITED ? si.si_status : 128 + si.si_status;
    child_close(s);
    s->u.child.fn(s, status, s->ud);
    return 1;
}

/* ---- signals ---- */

struct bx_source *bx_loop_add_signal(struct bx_loop *l, int signo, bx_signal_fn *fn, void *ud)
{
    struct bx_source *s;
    sigset_t mask = l->sigmask;
    int fd, r = 0;

    if (signo < 1 || signo > SIGNAL_MAX || l->signals[signo]) {
        errno = signo < 1 || signo > SIGNAL_MAX ? EINVAL : EEXIST;
        return NULL;
    }
    s = source_new(l, KIND_SIGNAL, ud);
    if (!s)
        return NULL;
    sigaddset(&mask, signo);
    fd = signalfd(l->sigfd, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return source_fail(s, -errno);
    if (l->sigfd < 0) {
        r = epoll_add(l, fd, EPOLLIN, &signal_tag);
        if (r < 0) {
            bx_close(fd);
            return source_fail(s, r);
        }
        l->sigfd = fd;
    }
    l->sigmask = mask;
    s->u.signal.fn = fn;
    s->u.signal.signo = signo;
    l->signals[signo] = s;
    return s;
}

static int dispatch_signals(struct bx_loop *l)
{
    int calls = 0;

    while (calls < SIGNALS_A_ROUND) {
        struct signalfd_siginfo si;
        struct bx_source *s;

        if (read(l->sigfd, &si, sizeof(si)) != (ssize_t)sizeof(si))
            break;
        s = si.ssi_signo <= SIGNAL_MAX ? l->signals[si.ssi_signo] : NULL;
        if (!s)
            continue; /* removed after it was sent */
        s->u.signal.fn(s, (int)si.ssi_signo, s->ud);
        calls++;
    }
    return calls;
}

/* ---- deferred work ---- */

struct bx_source *bx_loop_add_defer(struct bx_loop *l, bx_defer_fn *fn, void *ud)
{
    struct bx_source *s = source_new(l, KIND_DEFER, ud);

    if (s)
        s->u.defer = fn;
    return s;
}

void bx_defer_set(struct bx_source *s)
{
    bx_assert(s->kind == KIND_DEFER && !s->removed);
    if (!list_empty(&s->wait))
        return;
    list_append(&s->loop->deferred, &s->wait);
    rearm(s->loop);
}

/* What is deferred again meanwhile waits for the next round. */
static int dispatch_deferred(struct bx_loop *l)
{
    struct list now;
    int calls = 0;

    list_move(&l->deferred, &now);
    while (!list_empty(&now)) {
        struct bx_source *s = BX_CONTAINER_OF(now.next, struct bx_source, wait);

        list_del(&s->wait);
        s->u.defer(s, s->ud);
        calls++;
    }
    return calls;
}

/* ---- the round ---- */

static int dispatch_batch(struct bx_loop *l, const struct epoll_event *ev, int n)
{
    int calls = 0;
    bool signals = false;

    for (int i = 0; i < n; i++) {
        struct bx_source *s = ev[i].data.ptr;

        if (ev[i].data.ptr == &timer_tag)
            continue;
        if (ev[i].data.ptr == &signal_tag)
            signals = true;
        else if (s->kind == KIND_FD && !s->removed)
            calls += dispatch_fd(s, ev[i].events);
    }
    for (int i = 0; i < n; i++) {
        struct bx_source *s = ev[i].data.ptr;

        if (ev[i].data.ptr == &timer_tag || ev[i].data.ptr == &signal_tag)
            continue;
        if (s->kind == KIND_CHILD && !s->removed)
            calls += dispatch_child(s);
    }
    return signals ? calls + dispatch_signals(l) : calls;
}

int bx_loop_dispatch(struct bx_loop *l, int timeout_ms)
{
    struct epoll_event ev[BATCH];
    int n, calls;

    if (l->dispatching)
        return -EBUSY;
    if (!list_empty(&l->deferred)) /* the timerfd says so too, but perhaps some microseconds late */
        timeout_ms = 0;
    n = epoll_wait(l->epfd, ev, BATCH, timeout_ms);
    if (n < 0 && errno != EINTR)
        return -errno;
    l->dispatching = true;
    calls = dispatch_timers(l);
    calls += dispatch_batch(l, ev, BX_MAX(n, 0));
    calls += dispatch_deferred(l);
    l->dispatching = false;
    bury(l);
    rearm(l);
    return calls;
}

int bx_loop_run(struct bx_loop *l)
{
    while (!l->quit) {
        int r = bx_loop_dispatch(l, -1);

        if (r < 0)
            return r;
    }
    l->quit = false;
    return l->quit_code;
}

void bx_loop_quit(struct bx_loop *l, int code)
{
    l->quit = true;
    l->quit_code = code;
}
