/* SPDX-License-Identifier: Apache-2.0 */
/*
 * native.h - what the files of the Python extension boxlite.boxlite share.
 *
 * Theory of operation
 *
 *  The extension is a thin one: it posts calls of <boxlite.h> and hands their answers to Python callables.
 * Everything about event loops, futures and blocking is Python (boxlite/_pump.py). Each posted call is a
 * `struct call`, which holds a reference on its runtime and on `done`; done(result, error) is called exactly
 * once, inside Runtime.drain on the draining thread, or by Runtime.close for what is then unanswered.
 *
 *  GIL     Posts keep it: they do not block, and nobody who holds the library's lock waits for the GIL (the
 * library lets go of its lock round callbacks). Runtime.drain lets go of it; callbacks take it back with the
 *          thread state that drain left in the runtime. All fields here are touched with the GIL held.
 *  Close   boxlite_runtime_free must not meet another call on the same runtime. Posts hold the GIL; a drain
 * that runs (or a close from inside one) makes close wait for that drain's end: close_wanted. Fork    A child
 * has copies of descriptors and locks that belong to its parent's boxes. After a fork every call is refused,
 * and nothing is freed: see bxpy_usable.
 */
#ifndef BXPY_NATIVE_H
#define BXPY_NATIVE_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x03090000
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include <boxlite.h>

/* ---- types
 * -------------------------------------------------------------------------------------------------- */

struct call;
struct command;

struct runtime {
    PyObject_HEAD CBoxliteRuntime *rt; /* NULL: closed */
    CBoxliteImageHandle *images;
    PyThreadState *drainer; /* while drain is in the library */
    int wake_fd;            /* eventfd: close wants a waiting drain to end */
    bool draining, close_wanted;
    unsigned forks;           /* bxpy_forks when it was opened */
    struct call *calls;       /* unanswered */
    struct command *commands; /* all that are known */
    PyObject *event;          /* who is told what happens in the home, or NULL */
};

struct box {
    PyObject_HEAD struct runtime *runtime;
    CBoxHandle *handle;
    PyObject *id, *name;
};

/* A posted call, and its place in the runtime's list. */
struct call {
    struct call *prev, *next;
    struct runtime *runtime;
    PyObject *done;
    PyObject *piece; /* of a log: who gets its pieces */
};

extern PyTypeObject *bxpy_runtime_type, *bxpy_box_type, *bxpy_execution_type;
extern unsigned bxpy_forks; /* how many forks this process is away from the one that loaded us */

/* ---- module.c
 * ----------------------------------------------------------------------------------------------- */

/* Raises *e as NativeError and frees its message; NULL, for `return`. */
PyObject *bxpy_raise(CBoxliteError *e);
/* The same from a code and a text; the prefix of its class is put before it. */
PyObject *bxpy_raise_text(BoxliteErrorCode code, const char *text);
/* A new NativeError, not raised; *e stays. NULL with an exception. */
PyObject *bxpy_error(const CBoxliteError *e);
/* May the library be called? Raises when not: closed, or this is a forked child. */
bool bxpy_usable(struct runtime *r);
/* False in a forked child: what is freed there belongs to the parent. */
bool bxpy_ours(const struct runtime *r);
/* Frees an object of a type of ours. */
void bxpy_free(PyObject *self);
/* A Python object's wish to be made by calling its type, refused. */
PyObject *bxpy_no_new(PyTypeObject *type, PyObject *args, PyObject *kw);

/* ---- calls.c
 * ------------------------------------------------------------------------------------------------ */

/* A call to be posted. NULL with an exception: `done` cannot be called, or the runtime is not usable. */
struct call *bxpy_call_new(struct runtime *r, PyObject *done);
/* After the post: None, or the error (the call is gone then). */
PyObject *bxpy_posted(struct call *c, BoxliteErrorCode rc, CBoxliteError *e);
/* Answers with an error and forgets it; GIL held. */
void bxpy_call_fail(struct call *c, PyObject *error);

/* The callbacks: user_data is the struct call. */
void bxpy_on_plain(CBoxliteError *e, void *ud);                               /* None */
void bxpy_on_box(CBoxHandle *box, CBoxliteError *e, void *ud);                /* Box */
void bxpy_on_made(CBoxHandle *box, bool created, CBoxliteError *e, void *ud); /* (Box, created) */
void bxpy_on_box_info(CBoxInfo *info, CBoxliteError *e, void *ud);            /* dict */
void bxpy_on_box_list(CBoxInfoList *list, CBoxliteError *e, void *ud);        /* list of dict */
void bxpy_on_execution(CExecutionHandle *x, CBoxliteError *e, void *ud);      /* Execution */
void bxpy_on_loose(CExecutionHandle *x, CBoxliteError *e, void *ud); /* likewise, attached or detached */
void bxpy_on_processes(const CBoxProcessList *list, CBoxliteError *e, void *ud);
/* A piece of a log: piece(stream, time in ns, bytes). */
void bxpy_on_log(int stream, int64_t time_ns, const uint8_t *data, size_t len, void *ud);
void bxpy_on_wait(int code, CBoxliteError *e, void *ud);                   /* int */
void bxpy_on_pulled(CImagePullResult *result, CBoxliteError *e, void *ud); /* dict */
void bxpy_on_images(CImageInfoList *list, CBoxliteError *e, void *ud);     /* list of dict */
void bxpy_on_pruned(const CImagePruneResult *result, CBoxliteError *e, void *ud);
void bxpy_on_info(CBoxliteInfo *info, CBoxliteError *e, void *ud); /* dict of str */
void bxpy_on_box_metrics(CBoxMetrics *m, CBoxliteError *e, void *ud);
void bxpy_on_runtime_metrics(CRuntimeMetrics *m, CBoxliteError *e, void *ud);
void bxpy_on_copied(const CBoxCopyResult *result, CBoxliteError *e, void *ud);
void bxpy_on_data(const uint8_t *data, size_t len, CBoxliteError *e, void *ud); /* bytes */
void bxpy_on_file(const CBoxFileInfo *info, CBoxliteError *e, void *ud);
void bxpy_on_files(const CBoxFileInfoList *list, CBoxliteError *e, void *ud);

/* Round a callback of the library: takes the GIL of the draining thread, and gives it back. */
void bxpy_enter(struct runtime *r);
void bxpy_leave(struct runtime *r);

/* ---- convert.c: results as Python objects (NULL with an exception)
 * ------------------------------------------ */

PyObject *bxpy_text(const char *s); /* None for NULL; what is no UTF-8 is replaced */
PyObject *bxpy_box_info(const CBoxInfo *info);
PyObject *bxpy_box_list(const CBoxInfoList *list);
PyObject *bxpy_pulled(const CImagePullResult *result);
PyObject *bxpy_images(const CImageInfoList *list);
PyObject *bxpy_pruned(const CImagePruneResult *result);
PyObject *bxpy_facts(const CBoxliteInfo *info);
PyObject *bxpy_box_metrics(const CBoxMetrics *m);
PyObject *bxpy_runtime_metrics(const CRuntimeMetrics *m);
PyObject *bxpy_copied(const CBoxCopyResult *r);
PyObject *bxpy_file(const CBoxFileInfo *info);
PyObject *bxpy_files(const CBoxFileInfoList *list);
PyObject *bxpy_processes(const CBoxProcessList *list);
PyObject *bxpy_event(const CBoxliteEvent *event);

/* A list of strings for the library: the objects that own the bytes, and pointers into them. */
struct strings {
    PyObject *owner;
    const char **items;
    int count;
};
/* From any sequence of str; false with an exception (`what` names it). */
bool bxpy_strings(PyObject *sequence, const char *what, struct strings *ret);
void bxpy_strings_done(struct strings *s);

/* ---- options.c
 * ---------------------------------------------------------------------------------------------- */

/* The options of an image and a sequence of (setting, value...). NULL with an exception. */
CBoxliteOptions *bxpy_options(const char *image, PyObject *settings);

/* ---- the other files: the types
 * --------------------------------------------------------------- */

PyTypeObject *bxpy_make_runtime_type(void);
PyTypeObject *bxpy_make_box_type(void);
PyTypeObject *bxpy_make_execution_type(void);
PyTypeObject *bxpy_make_tunnel_type(void);
PyTypeObject *bxpy_make_forwarder_type(void);

/* Take the handle, also on failure (NULL with an exception). loose: freeing it does not end the command. */
PyObject *bxpy_box_new(struct runtime *r, CBoxHandle *handle);
PyObject *bxpy_execution_new(struct runtime *r, CExecutionHandle *handle, bool loose);
/* A tunnel to a port of a box. NULL with an exception. */
PyObject *bxpy_tunnel_new(struct runtime *r, CBoxHandle *box, unsigned short port);
/* The runtime is closed: commands that nobody holds are given up. */
void bxpy_commands_closed(struct runtime *r);

#endif
