/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime.h - what the files of libboxlite share (private).
 *
 * Theory of operation
 *
 *  A runtime is an event loop, a store and a list of live boxes under one mutex. Every public function takes
 *  the mutex, does what can be done without waiting, and leaves. boxlite_runtime_drain dispatches the loop
 *  (under the mutex) and then delivers events: an event's `deliver` lets go of the mutex round the user's
 *  callback and for nothing else. While drain waits it does not hold the mutex, so other threads may post;
 *  what they queue wakes it through an eventfd. boxlite_runtime_fd is an epoll over the loop and that
 *  eventfd.
 *
 *  A posted call is a bx_op: a callback, its argument, and the answer to come. At most QUEUE_CAPACITY ops are
 *  unanswered; an event of anything else (output, exit, writable) is embedded in its execution, so the queue
 *  is bounded by what exists. The one call that blocks (boxlite_box_exec) dispatches the same loop itself,
 *  and is woken by its own eventfd when another thread was faster.
 *
 *  Lifetimes: a handle holds a reference on its object and objects hold one on the runtime, so handles stay
 *  valid memory after boxlite_runtime_free; `freed` then answers every call with Stopped. References are
 *  counted under the mutex.
 */
#ifndef BX_RUNTIME_RUNTIME_H
#define BX_RUNTIME_RUNTIME_H

#include <boxlite.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "host/event_log.h"
#include "loop/loop.h"
#include "store/store.h"
#include "vm/template_evict.h"
#include "wire/frame.h"

struct bx_box;
struct bx_conn;

/* ---- events and posted calls (queue.c) ---- */

struct bx_ev {
    struct bx_ev *next;
    bool queued;
    /* Called in drain, lock held; not queued any more. Lets go of the lock round user code. True when it
     * called any. */
    bool (*deliver)(struct CBoxliteRuntime *rt, struct bx_ev *ev);
    /* The runtime is freed with the event still queued: release what it holds. Lock held. */
    void (*drop)(struct CBoxliteRuntime *rt, struct bx_ev *ev);
};

/* Which callback an op has: the shape of its call. */
enum bx_op_kind {
    BX_OP_PLAIN,      /* (error, ud) */
    BX_OP_PAUSE,      /* likewise */
    BX_OP_RESUME,
    BX_OP_BOX,        /* (box, error, ud) */
    BX_OP_BOX_MADE,   /* (box, created, error, ud) */
    BX_OP_BOX_INFO,   /* (info, error, ud) */
    BX_OP_BOX_LIST,   /* (list, error, ud) */
    BX_OP_EXEC,       /* (execution, error, ud) */
    BX_OP_WAIT,       /* (code, error, ud) */
    BX_OP_PULLED,     /* (result, error, ud) */
    BX_OP_IMAGE_LIST, /* (list, error, ud) */
    BX_OP_INFO,       /* (facts, error, ud) */
    BX_OP_PRUNED,     /* (result, error, ud): the result is borrowed */
    BX_OP_BOX_METRICS, /* (metrics, error, ud): borrowed, likewise below */
    BX_OP_RUNTIME_METRICS,
    BX_OP_COPIED,     /* (result, error, ud): borrowed, likewise below */
    BX_OP_FILE_DATA,  /* (data, len, error, ud) */
    BX_OP_FILE_INFO,  /* (info, error, ud) */
    BX_OP_FILE_LIST,  /* (list, error, ud) */
    BX_OP_PROCESSES,  /* (list, error, ud) */
    BX_OP_DOCTOR,     /* (report, error, ud) */
    BX_OP_RULES,      /* (error, ud): the result are the rules that it brings, a list of strings */
    BX_OP_SYNC,       /* none: somebody waits for `done` */
};

union bx_op_cb {
    void (*plain)(CBoxliteError *, void *);
    CBoxCreateBoxCb box;
    CBoxGetOrCreateBoxCb made;
    CBoxInfoCb box_info;
    CBoxInfoListCb box_list;
    CBoxExecCb exec;
    CExecutionWaitCb wait;
    CBoxImagePullCb pulled;
    CBoxImageListCb image_list;
    CBoxliteInfoCb info;
    CImagePruneCb pruned;
    CBoxCopyResultCb copied;
    CBoxFileDataCb file_data;
    CBoxFileInfoCb file_info;
    CBoxFileListCb file_list;
    CBoxProcessListCb processes;
    CDoctorCb doctor;
    CBoxMetricsCb box_metrics;
    CRuntimeMetricsCb runtime_metrics;
};

struct bx_op {
    struct bx_ev ev;
    enum bx_op_kind kind;
    union bx_op_cb cb;
    void *ud;
    struct CBoxliteRuntime *rt;
    struct bx_op *next; /* in a list of whoever will answer it */
    struct bx_err err;  /* the answer: code 0 is success ... */
    void *result;       /* ... with this */
    int code;
    bool flag;
    bool done;   /* BX_OP_SYNC */
    int wake_fd; /* BX_OP_SYNC: eventfd of the one who waits */
    /* What it is about, for who answers it; references are theirs. */
    struct CExecutionHandle *exec;
    struct CBoxHandle *handle;
    bool force;
    bool no_sync;
};

struct bx_op_list {
    struct bx_op *first, **tail;
};

void bx_queue_event(struct CBoxliteRuntime *rt, struct bx_ev *ev);
bool bx_unqueue_event(struct CBoxliteRuntime *rt, struct bx_ev *ev); /* was it queued? */

/* NULL with err when the queue is full or memory is short. */
struct bx_op *bx_op_new(struct CBoxliteRuntime *rt, enum bx_op_kind kind, union bx_op_cb cb, void *ud,
                        struct bx_err *err);
/* Answers it: queues its callback. err NULL or code 0 is success. `op` is not the caller's any more. */
void bx_op_answer(struct bx_op *op, const struct bx_err *err);
void bx_op_cancel(struct bx_op *op); /* without a callback: the post itself failed */

void bx_op_list_init(struct bx_op_list *l);
void bx_op_list_add(struct bx_op_list *l, struct bx_op *op);
struct bx_op *bx_op_list_take(struct bx_op_list *l); /* the first, or NULL */
void bx_op_list_answer(struct bx_op_list *l, const struct bx_err *err);

/* ---- runtime (runtime.c) ---- */

#define BX_START_TIMEOUT_DEFAULT_S 60

struct CBoxliteRuntime {
    pthread_mutex_t lock;
    unsigned refs;
    bool closing; /* shutdown was called: no new work */
    bool freed;   /* boxlite_runtime_free was called: no loop, no store */
    bool draining;
    bool delivering;
    pthread_t drainer;

    struct bx_loop *loop;
    int wake_fd; /* eventfd: readable while events wait that nobody is about to deliver */
    bool wake_set;
    int poll_fd;             /* epoll over loop and wake_fd: boxlite_runtime_fd */
    struct bx_source *sweep; /* deferred: frees boxes that nobody needs */
    struct bx_ev *ev_first, **ev_tail;
    size_t ev_count;
    unsigned ops;

    char *home;
    int home_fd, boxes_fd, disks_fd, blobs_fd, tmp_fd, templates_fd, cache_fd;
    struct bx_store *store;
    char boot_id[40];
    char *libexec;        /* where our programs are; NULL until asked for */
    char *engine_default; /* of BOXLITE_ENGINE, or "auto" */
    int64_t start_timeout_ns;
    bool image_templates; /* made and used, unless BOXLITE_IMAGE_TEMPLATES=off */
    struct bx_template_limits template_limits;

    struct bx_box *boxes; /* live ones */
    struct bx_job *jobs;  /* conversions, loads, probes that run */
    struct bx_verdict *verdict;
    struct bx_load *loads; /* images that are being loaded, for calls */
    struct bx_pull *pulls; /* ... and pulled, for calls */
    struct save *saves;    /* ... and saved */
    struct import *imports; /* ... and imported */
    struct bx_warm *warms; /* ... and warmed */
    struct bx_registries *registries;
    struct collect *collects; /* what is being removed */
    struct bx_doctor *doctors;
    unsigned found_rows, found_tmp; /* when it was opened: rows that lied, files that were left over */
    struct bx_watcher *watcher; /* NULL: nobody watches files */
    struct bx_logs *logs;       /* that are being read */
    struct bx_events *events;   /* who listens to the home's; NULL: nobody */
    struct bx_event_log event_log; /* to write */
    struct CTunnelForwarderHandle *forwarders; /* that listen */
    struct bx_op *shutdown_op;
    struct bx_source *shutdown_timer;
    bool shutdown_forced;
    struct { /* since it was opened */
        uint64_t created, failed;       /* boxes */
        uint64_t commands, exec_errors; /* that it ran, or could not */
    } counts;

    CRuntimeProgressCb progress_cb;
    void *progress_ud;
    CPullProgressCb pull_progress_cb;
    void *pull_progress_ud;
};

struct CBoxliteImageHandle {
    struct CBoxliteRuntime *rt;
};

void bx_rt_ref(struct CBoxliteRuntime *rt);
/* Lock held; the last one frees the runtime: then the lock is gone, and true is returned. */
bool bx_rt_unref(struct CBoxliteRuntime *rt);

/* Takes the lock; -BX_ESTOPPED (lock not held) when the runtime was shut down or freed. */
int bx_enter(struct CBoxliteRuntime *rt, struct bx_err *err);
/* Lets go of the lock, and wakes whoever drains when something was queued. */
void bx_leave(struct CBoxliteRuntime *rt);

/* One round of the loop for somebody who waits for `op` outside drain; not lock held. 0 or negative. */
int bx_wait_op(struct CBoxliteRuntime *rt, struct bx_op *op, struct bx_err *err);

/* Dispatching user code: the lock is let go between the two. */
void bx_user_begin(struct CBoxliteRuntime *rt);
void bx_user_end(struct CBoxliteRuntime *rt);

void bx_shutdown_check(struct CBoxliteRuntime *rt); /* answers shutdown when the last box has ended */
void bx_progress(struct CBoxliteRuntime *rt, const char *box_id, const char *what, uint64_t done,
                 uint64_t total);

/* ---- the border (api.c) ---- */

/* Writes err to *out (may be NULL) with the text of its class before it; returns the code. */
BoxliteErrorCode bx_api_error(CBoxliteError *out, const struct bx_err *err);
BoxliteErrorCode bx_api_invalid(CBoxliteError *out, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* 0 -> Ok, negative -> bx_api_error. */
BoxliteErrorCode bx_api_result(CBoxliteError *out, int r, const struct bx_err *err);
/* Message as users see it; heap, or NULL. */
char *bx_api_message(const struct bx_err *err);

/* What the caller's size-first struct has, into one of `known` bytes that holds the defaults; `given` may be NULL. A field
 * of a later version that is used is refused. 0 or -BX_EINVALID. */
int bx_api_options(void *dst, size_t known, const void *given, struct bx_err *err);

/* Facts. */
struct CBoxliteInfo *bx_info_new(void);
int bx_info_add(struct CBoxliteInfo *info, const char *key,
                const char *value); /* 0 or -ENOMEM; NULL value: skipped */
/* A list of strings in UTF-8 as a JSON array; nothing for NULL. 0 or -ENOMEM. */
int bx_info_add_list(struct CBoxliteInfo *info, const char *key, char *const *list);
int bx_info_addf(struct CBoxliteInfo *info, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
