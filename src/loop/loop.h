/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h - one epoll descriptor for everything a program waits for.
 *
 * Theory of operation
 *
 *  A loop owns sources: descriptors, timers, child processes, signals, and work put off to the end of the round.
 *  bx_loop_dispatch waits (or not) and calls what is ready, in this order: timers, descriptors, children and signals,
 *  deferred work. The loop is one descriptor (bx_loop_fd) and can nest in any other loop: it is readable whenever a
 *  dispatch with timeout 0 would do something.
 *
 *  Single thread per loop. Callbacks never block. A callback may remove any source, its own included, also one that is
 *  still pending in the same round: removal takes effect at once (no callback after bx_source_remove returns) and the
 *  memory is freed after the round. A source's owner removes it in one place.
 *
 *  All timers share one timerfd and a heap. No SIGCHLD: children are watched by pidfd.
 */
#ifndef BX_LOOP_LOOP_H
#define BX_LOOP_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/mem.h"

struct bx_loop;
struct bx_source;

/* BX_HUP is always reported; what only the reading side means (RDHUP) along with BX_READ. A source that waits for
 * nothing is told of it once; any other for as long as it lasts, until it is removed. */
#define BX_READ 0x1u  /* EPOLLIN */
#define BX_WRITE 0x2u /* EPOLLOUT */
#define BX_HUP 0x4u   /* EPOLLHUP or EPOLLERR or EPOLLRDHUP */
#define BX_EDGE 0x8u  /* edge-triggered (virtio ports) */

typedef void bx_fd_fn(struct bx_source *s, int fd, uint32_t events, void *ud);
typedef void bx_timer_fn(struct bx_source *s, void *ud);
/* status: as of waitid: exit code, or 128+N for death by signal N; -1 when somebody else has waited for it. The pidfd is reaped and closed by the loop. */
typedef void bx_child_fn(struct bx_source *s, int status, void *ud);
typedef void bx_signal_fn(struct bx_source *s, int signo, void *ud);
typedef void bx_defer_fn(struct bx_source *s, void *ud);

/* New loop, or NULL with errno. */
struct bx_loop *bx_loop_new(void);
/* Frees the loop and the sources still in it (their callbacks are not called). */
struct bx_loop *bx_loop_free(struct bx_loop *l);
BX_DEFINE_CLEANUP(struct bx_loop *, bx_loop_free)

/* The epoll descriptor; owned by the loop. */
int bx_loop_fd(struct bx_loop *l);

/* One round: waits at most timeout_ms (0 = not, -1 = without end) and dispatches. Number of callbacks made, or -errno. */
int bx_loop_dispatch(struct bx_loop *l, int timeout_ms);

/* Rounds until bx_loop_quit; returns the code given there, or -errno. */
int bx_loop_run(struct bx_loop *l);
void bx_loop_quit(struct bx_loop *l, int code);

/* All adders return NULL with errno on failure. The descriptor stays the caller's; it must be removed here before it is closed. */
struct bx_source *bx_loop_add_fd(struct bx_loop *l, int fd, uint32_t events, bx_fd_fn *fn, void *ud);
/* Changes what a descriptor source waits for (0 = nothing but HUP). 0 or -errno. No system call if unchanged. */
int bx_source_set_events(struct bx_source *s, uint32_t events);
uint32_t bx_source_events(const struct bx_source *s);

/* A timer, made unarmed. Armed at an absolute CLOCK_MONOTONIC time in ns; fires once per arming. */
struct bx_source *bx_loop_add_timer(struct bx_loop *l, bx_timer_fn *fn, void *ud);
void bx_timer_set(struct bx_source *s, int64_t deadline_ns); /* 0 disarms */
void bx_timer_after(struct bx_source *s, int64_t delay_ns);
bool bx_timer_armed(const struct bx_source *s);

/* Watches a child by its pidfd (ownership taken also on failure); fires once, after which the source is dead and must still be removed. */
struct bx_source *bx_loop_add_child(struct bx_loop *l, int pidfd, bx_child_fn *fn, void *ud);

/* A blocked signal through a signalfd (programs only, never the library). The caller has blocked it. */
struct bx_source *bx_loop_add_signal(struct bx_loop *l, int signo, bx_signal_fn *fn, void *ud);

/* Runs once at the end of the current (or next) round each time bx_defer_set is called. */
struct bx_source *bx_loop_add_defer(struct bx_loop *l, bx_defer_fn *fn, void *ud);
void bx_defer_set(struct bx_source *s);

/* Removes a source; accepts NULL; returns NULL. */
struct bx_source *bx_source_remove(struct bx_source *s);

#endif
