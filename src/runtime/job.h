/* SPDX-License-Identifier: Apache-2.0 */
/* job.h - a helper program that runs to its end, and what it said; locks that are waited for without blocking
 * (private). */
#ifndef BX_RUNTIME_JOB_H
#define BX_RUNTIME_JOB_H

#include "host/spawn.h"
#include "runtime/runtime.h"

#define BX_JOB_TEXT_MAX (32 * 1024 * 1024) /* ten thousand members of an archive, with long names */

struct bx_job;

/* It has ended, or at least closed its answer pipe; text is what it wrote to it. Our programs say there how
 * it went: an orphan has no exit status (host/spawn.h tells why it is one). The job is freed after the
 * call. */
typedef void bx_job_fn(void *ud, const char *text, size_t len);

/* Spawns s with one more descriptor, answer_fd, the write end of the answer pipe. */
struct bx_job *bx_job_start(struct CBoxliteRuntime *rt, const struct bx_spawn *s, int answer_fd,
                            bx_job_fn *fn, void *ud, struct bx_err *err);
/* Calls fn(ud, done, total) for each "progress DONE TOTAL" line as it comes. */
typedef void bx_job_progress_fn(void *ud, uint64_t done, uint64_t total);
void bx_job_on_progress(struct bx_job *j, bx_job_progress_fn *fn);
/* For a program of which every line matters as it comes: fn is called with each one (its own to write in), and none is
 * kept. False ends the job at once, as does a line longer than line_max: its bx_job_fn is called without text. */
typedef bool bx_job_line_fn(void *ud, char *line);
void bx_job_on_line(struct bx_job *j, bx_job_line_fn *fn, size_t line_max);
/* No more than this of its answer is kept. */
void bx_job_text_max(struct bx_job *j, size_t max);
/* What boxlite-unpack said in its last line: 0 for "ok ...", else the error. */
int bx_job_unpack_result(const char *text, size_t len, struct bx_err *err);
/* Kills it; fn is not called. Accepts NULL; returns NULL. */
struct bx_job *bx_job_kill(struct bx_job *j);
/* The same with SIGTERM, for one that cleans up behind itself. */
struct bx_job *bx_job_terminate(struct bx_job *j);
/* Lets it find its pipe closed, for a program that ends by that and clears away what it has begun; fn is not called.
 * Accepts NULL; returns NULL. */
struct bx_job *bx_job_leave(struct bx_job *j);
void bx_jobs_end(struct CBoxliteRuntime *rt);

/*
 * flock, exclusive, on dirfd/name (made when missing), waiting without blocking until `deadline` (bx_now; 0 =
 * without end). fn gets the descriptor (its own now), or -1 and the error; always from the loop, never from
 * within bx_lock_wait. Whoever has the lock may remove its file: the next one makes another. dirfd stays open.
 */
struct bx_lock_wait;
typedef void bx_lock_fn(void *ud, int fd, const struct bx_err *err);
struct bx_lock_wait *bx_lock_wait(struct CBoxliteRuntime *rt, int dirfd, const char *name, int64_t deadline,
                                  bx_lock_fn *fn, void *ud, struct bx_err *err);
/* Gives up. Accepts NULL; returns NULL. */
struct bx_lock_wait *bx_lock_wait_free(struct bx_lock_wait *w);

/* Without waiting: descriptor, -EWOULDBLOCK or another -errno. */
int bx_lock_try(int dirfd, const char *name);

#endif
