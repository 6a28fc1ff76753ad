/* SPDX-License-Identifier: Apache-2.0 */
/* calls.c - posted calls and the callbacks that answer them. See native.h. */
#include "native.h"

#include <stdlib.h>

/* ---- a call's life ---- */

struct call *bxpy_call_new(struct runtime *r, PyObject *done)
{
    struct call *c;

    if (!PyCallable_Check(done)) {
        PyErr_SetString(PyExc_TypeError, "done must be callable");
        return NULL;
    }
    if (!bxpy_usable(r))
        return NULL;
    c = calloc(1, sizeof(*c));
    if (!c) {
        PyErr_NoMemory();
        return NULL;
    }
    Py_INCREF(done);
    c->done = done;
    Py_INCREF(r);
    c->runtime = r;
    c->next = r->calls;
    if (c->next)
        c->next->prev = c;
    r->calls = c;
    return c;
}

/* Out of the list and gone; what it referred to is the caller's: release them last, for that runs Python
 * code. */
static void forget(struct call *c)
{
    struct runtime *r = c->runtime;

    if (c->prev)
        c->prev->next = c->next;
    else
        r->calls = c->next;
    if (c->next)
        c->next->prev = c->prev;
    free(c);
}

PyObject *bxpy_posted(struct call *c, BoxliteErrorCode rc, CBoxliteError *e)
{
    struct runtime *r = c->runtime;
    PyObject *done = c->done, *piece = c->piece;

    if (rc == Ok)
        Py_RETURN_NONE;
    forget(c);
    Py_XDECREF(piece);
    Py_DECREF(done);
    Py_DECREF(r);
    return bxpy_raise(e);
}

/* Steals both; one of them is NULL. Exceptions of `done` are reported, not lost. */
static void answer(struct call *c, PyObject *result, PyObject *error)
{
    struct runtime *r = c->runtime;
    PyObject *done = c->done, *piece = c->piece, *r0 = result ? result : Py_None,
             *e0 = error ? error : Py_None, *returned;

    forget(c);
    returned = PyObject_CallFunctionObjArgs(done, r0, e0, NULL);
    if (!returned)
        PyErr_WriteUnraisable(done);
    Py_XDECREF(returned);
    Py_XDECREF(result);
    Py_XDECREF(error);
    Py_XDECREF(piece);
    Py_DECREF(done);
    Py_DECREF(r);
}

/* The exception that is set, as an object. */
static PyObject *caught(void)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    if (value)
        return value;
    Py_INCREF(Py_None);
    return Py_None;
}

void bxpy_call_fail(struct call *c, PyObject *error)
{
    Py_INCREF(error);
    answer(c, NULL, error);
}

/* ---- from the library ---- */

void bxpy_enter(struct runtime *r)
{
    PyEval_RestoreThread(r->drainer);
}

void bxpy_leave(struct runtime *r)
{
    r->drainer = PyEval_SaveThread();
}

/* The answer to a call: `result` (stolen) unless there was an error; NULL with an exception is one as well.
 */
static void finish(struct call *c, PyObject *result, const CBoxliteError *e)
{
    PyObject *error = NULL;

    if (e) {
        Py_CLEAR(result);
        error = bxpy_error(e);
    }
    if (!result && !error)
        error = caught();
    answer(c, result, error);
}

static PyObject *none(void)
{
    Py_INCREF(Py_None);
    return Py_None;
}

/* Callbacks with one result: it is made into an object, then released. The runtime lives: drain stands on it.
 */
#define ON_RESULT(name, type, make, release)                                                                 \
    void name(type result, CBoxliteError *e, void *ud)                                                       \
    {                                                                                                        \
        struct call *c = ud;                                                                                 \
        struct runtime *r = c->runtime;                                                                      \
                                                                                                             \
        bxpy_enter(r);                                                                                       \
        finish(c, e ? NULL : make(result), e);                                                               \
        release(result);                                                                                     \
        bxpy_leave(r);                                                                                       \
    }
#define BORROWED(result) ((void)(result))

ON_RESULT(bxpy_on_box_info, CBoxInfo *, bxpy_box_info, boxlite_free_box_info)
ON_RESULT(bxpy_on_box_list, CBoxInfoList *, bxpy_box_list, boxlite_free_box_info_list)
ON_RESULT(bxpy_on_pulled, CImagePullResult *, bxpy_pulled, boxlite_free_image_pull_result)
ON_RESULT(bxpy_on_images, CImageInfoList *, bxpy_images, boxlite_free_image_info_list)
ON_RESULT(bxpy_on_info, CBoxliteInfo *, bxpy_facts, boxlite_info_free)
ON_RESULT(bxpy_on_pruned, const CImagePruneResult *, bxpy_pruned, BORROWED)
ON_RESULT(bxpy_on_box_metrics, CBoxMetrics *, bxpy_box_metrics, BORROWED)
ON_RESULT(bxpy_on_runtime_metrics, CRuntimeMetrics *, bxpy_runtime_metrics, BORROWED)
ON_RESULT(bxpy_on_copied, const CBoxCopyResult *, bxpy_copied, BORROWED)
ON_RESULT(bxpy_on_file, const CBoxFileInfo *, bxpy_file, BORROWED)
ON_RESULT(bxpy_on_processes, const CBoxProcessList *, bxpy_processes, BORROWED)
ON_RESULT(bxpy_on_files, const CBoxFileInfoList *, bxpy_files, BORROWED)

void bxpy_on_plain(CBoxliteError *e, void *ud)
{
    struct call *c = ud;
    struct runtime *r = c->runtime;

    bxpy_enter(r);
    finish(c, e ? NULL : none(), e);
    bxpy_leave(r);
}

void bxpy_on_box(CBoxHandle *box, CBoxliteError *e, void *ud)
{
    struct call *c = ud;
    struct runtime *r = c->runtime;

    bxpy_enter(r);
    finish(c, e ? NULL : bxpy_box_new(r, box), e);
    bxpy_leave(r);
}

void bxpy_on_made(CBoxHandle *handle, bool created, CBoxliteError *e, void *ud)
{
    struct call *c = ud;
    struct runtime *r = c->runtime;
    PyObject *box, *pair = NULL;

    bxpy_enter(r);
    box = e ? NULL : bxpy_box_new(r, handle);
    if (box)
        pair = Py_BuildValue("(NN)", box, PyBool_FromLong(created));
    finish(c, pair, e);
    bxpy_leave(r);
}

static void on_execution(CExecutionHandle *x, const CBoxliteError *e, struct call *c, bool loose)
{
    struct runtime *r = c->runtime;

    bxpy_enter(r);
    finish(c, e ? NULL : bxpy_execution_new(r, x, loose), e);
    bxpy_leave(r);
}

void bxpy_on_execution(CExecutionHandle *x, CBoxliteError *e, void *ud)
{
    on_execution(x, e, ud, false);
}

void bxpy_on_loose(CExecutionHandle *x, CBoxliteError *e, void *ud)
{
    on_execution(x, e, ud, true);
}

void bxpy_on_wait(int code, CBoxliteError *e, void *ud)
{
    struct call *c = ud;
    struct runtime *r = c->runtime;

    bxpy_enter(r);
    finish(c, e ? NULL : PyLong_FromLong(code), e);
    bxpy_leave(r);
}

void bxpy_on_data(const uint8_t *data, size_t len, CBoxliteError *e, void *ud)
{
    struct call *c = ud;
    struct runtime *r = c->runtime;

    bxpy_enter(r);
    finish(c, e ? NULL : PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)len), e);
    bxpy_leave(r);
}

void bxpy_on_log(int stream, int64_t time_ns, const uint8_t *data, size_t len, void *ud)
{
    struct call *c = ud;
    struct runtime *r = c->runtime;
    PyObject *returned, *piece;

    bxpy_enter(r);
    piece = c->piece;
    Py_INCREF(piece);
    returned =
        PyObject_CallFunction(piece, "iLy#", stream, (long long)time_ns, (const char *)data, (Py_ssize_t)len);
    if (!returned)
        PyErr_WriteUnraisable(piece);
    Py_XDECREF(returned);
    Py_DECREF(piece);
    bxpy_leave(r);
}
