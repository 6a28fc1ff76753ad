/* SPDX-License-Identifier: Apache-2.0 */
/* work.c - see work.h. The thread writes the address of its piece of work into a pipe: smaller than PIPE_BUF,
 * so whole. */
#include "pull/work.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"

#define STACK_SIZE (256 * 1024)

struct bx_work_pool {
    int read_fd;
    int write_fd;
    struct bx_source *source;
    pthread_attr_t attr;
};

struct work {
    struct bx_work_pool *pool;
    bx_work_fn *fn;
    bx_work_fn *done;
    void *ud;
};

static void *run(void *arg)
{
    struct work *w = arg;

    w->fn(w->ud);
    /* never full: fewer pieces of work than the pipe has room for */
    bx_assert(bx_write_full(w->pool->write_fd, &w, sizeof(w)) == 0);
    return NULL;
}

static void on_pipe(struct bx_source *source, int fd, uint32_t events, void *ud)
{
    struct work *w;

    (void)source;
    (void)events;
    (void)ud;
    while (read(fd, &w, sizeof(w)) == (ssize_t)sizeof(w)) {
        w->done(w->ud);
        free(w);
    }
}

struct bx_work_pool *bx_work_pool_new(struct bx_loop *loop)
{
    struct bx_work_pool *p = calloc(1, sizeof(*p));
    int ends[2];

    if (!p || pipe2(ends, O_CLOEXEC) < 0) {
        free(p);
        return NULL;
    }
    p->read_fd = ends[0];
    p->write_fd = ends[1];
    if (bx_fd_nonblock(p->read_fd, true) == 0 && pthread_attr_init(&p->attr) == 0 &&
        pthread_attr_setdetachstate(&p->attr, PTHREAD_CREATE_DETACHED) == 0 &&
        pthread_attr_setstacksize(&p->attr, STACK_SIZE) == 0)
        p->source = bx_loop_add_fd(loop, p->read_fd, BX_READ, on_pipe, p);
    if (p->source)
        return p;
    bx_close(ends[0]);
    bx_close(ends[1]);
    free(p);
    return NULL;
}

int bx_work_start(struct bx_work_pool *p, bx_work_fn *fn, bx_work_fn *done, void *ud, struct bx_err *err)
{
    struct work *w = calloc(1, sizeof(*w));
    pthread_t thread;
    int e;

    if (!w)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "start a thread");
    *w = (struct work){.pool = p, .fn = fn, .done = done, .ud = ud};
    e = pthread_create(&thread, &p->attr, run, w);
    if (e)
        free(w);
    return e ? bx_fail(err, BX_ERESOURCE, e, "start a thread") : 0;
}
