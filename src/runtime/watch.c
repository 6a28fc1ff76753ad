/* SPDX-License-Identifier: Apache-2.0 */
/* watch.c - see watch.h. */
#include "runtime/watch.h"

#include <errno.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

#define MASK       (IN_MODIFY | IN_CREATE | IN_MOVED_TO)
#define READS_MAX  16 /* in one turn of the loop */

struct bx_watch {
    struct bx_watch *next;
    struct bx_watcher *all;
    int wd; /* several of one file share it */
    bx_watch_fn *fn;
    void *ud;
    bool told; /* in this round */
};

struct bx_watcher {
    struct CBoxliteRuntime *rt;
    int fd;
    struct bx_source *source;
    struct bx_watch *first;
};

/* Events of one read: who watches the file is told, once. */
static void mark(struct bx_watcher *all, const char *buf, size_t len)
{
    for (size_t at = 0; at + sizeof(struct inotify_event) <= len;) {
        const struct inotify_event *e = (const void *)(buf + at);

        for (struct bx_watch *w = all->first; w; w = w->next)
            w->told = w->told || w->wd == e->wd || (e->mask & IN_Q_OVERFLOW);
        at += sizeof(*e) + e->len;
    }
}

static void on_readable(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    struct bx_watcher *all = ud;
    ssize_t n;

    (void)s;
    (void)events;
    for (int i = 0; i < READS_MAX && (n = read(fd, buf, sizeof(buf))) > 0; i++)
        mark(all, buf, (size_t)n);
    for (struct bx_watch *w = all->first; w; w = w->next) {
        if (!w->told)
            continue;
        w->told = false;
        w->fn(w->ud);
    }
}

static void watcher_free(struct bx_watcher *all)
{
    all->rt->watcher = NULL;
    bx_source_remove(all->source);
    bx_close(all->fd);
    free(all);
}

static struct bx_watcher *watcher_get(struct CBoxliteRuntime *rt, struct bx_err *err)
{
    struct bx_watcher *all = rt->watcher;

    if (all)
        return all;
    all = calloc(1, sizeof(*all));
    if (!all) {
        bx_fail(err, BX_ERESOURCE, ENOMEM, "watch files");
        return NULL;
    }
    rt->watcher = all;
    all->rt = rt;
    all->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (all->fd >= 0)
        all->source = bx_loop_add_fd(rt->loop, all->fd, BX_READ, on_readable, all);
    if (all->source)
        return all;
    bx_fail(err, BX_ERESOURCE, errno, "watch files (fs.inotify.max_user_instances bounds how many programs of a user may)");
    watcher_free(all);
    return NULL;
}

struct bx_watch *bx_watch_add(struct CBoxliteRuntime *rt, int fd, bx_watch_fn *fn, void *ud, struct bx_err *err)
{
    struct bx_watcher *all = watcher_get(rt, err);
    struct bx_watch *w = all ? calloc(1, sizeof(*w)) : NULL;
    char path[40];

    if (!all)
        return NULL;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (w)
        w->wd = inotify_add_watch(all->fd, path, MASK);
    if (!w || w->wd < 0) {
        bx_fail(err, BX_ERESOURCE, w ? errno : ENOMEM, "watch files (fs.inotify.max_user_watches bounds how many a user may)");
        free(w);
        if (!all->first)
            watcher_free(all);
        return NULL;
    }
    w->all = all;
    w->fn = fn;
    w->ud = ud;
    w->next = all->first;
    all->first = w;
    return w;
}

struct bx_watch *bx_watch_remove(struct bx_watch *w)
{
    struct bx_watch **p, *other;

    if (!w)
        return NULL;
    for (p = &w->all->first; *p != w; p = &(*p)->next)
        ;
    *p = w->next;
    for (other = w->all->first; other && other->wd != w->wd; other = other->next)
        ;
    if (!w->all->first)
        watcher_free(w->all);
    else if (!other)
        (void)inotify_rm_watch(w->all->fd, w->wd); /* it is gone already when the file is */
    free(w);
    return NULL;
}
