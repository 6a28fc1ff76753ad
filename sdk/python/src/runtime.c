/* SPDX-License-Identifier: Apache-2.0 */
/* runtime.c - the type _Runtime: a home that is open, its drain, its calls. See native.h. */
#include "native.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* ---- opening and closing ---- */

/* (host, http?, skip_verify, search, username, password, bearer_token); strings stay the tuple's. */
static bool take_registry(PyObject *row, BoxliteImageRegistry *r)
{
    int http;

    if (!PyTuple_Check(row)) {
        PyErr_SetString(PyExc_TypeError, "registries must be a list of tuples");
        return false;
    }
    if (!PyArg_ParseTuple(row, "sppizzz", &r->host, &http, &r->skip_verify, &r->search, &r->username,
                          &r->password, &r->bearer_token))
        return false;
    r->transport = http ? BoxliteRegistryTransportHttp : BoxliteRegistryTransportHttps;
    return true;
}

/* An open library runtime; NULL with an exception. `rows` is a tuple, so that its strings stay where they
 * are. */
static CBoxliteRuntime *open_library(const char *home, PyObject *rows)
{
    Py_ssize_t i, n = PyTuple_Size(rows);
    BoxliteImageRegistry *registries = calloc((size_t)n + 1, sizeof(*registries));
    CBoxliteError e = {Ok, NULL};
    CBoxliteRuntime *rt = NULL;
    BoxliteErrorCode rc = Ok;

    if (!registries) {
        PyErr_NoMemory();
        return NULL;
    }
    for (i = 0; i < n && take_registry(PyTuple_GetItem(rows, i), &registries[i]); i++)
        ;
    if (i == n) {
        PyThreadState *thread = PyEval_SaveThread();

        rc = boxlite_runtime_new(home, registries, (int)n, &rt, &e);
        PyEval_RestoreThread(thread);
    }
    free(registries);
    if (rc != Ok)
        bxpy_raise(&e);
    return rt;
}

static PyObject *runtime_new(PyTypeObject *type, PyObject *args, PyObject *kw)
{
    allocfunc allocate = (allocfunc)(uintptr_t)PyType_GetSlot(type, Py_tp_alloc);
    CBoxliteError e = {Ok, NULL};
    struct runtime *r;
    const char *home;
    PyObject *rows;

    if (kw && PyDict_Size(kw) > 0) {
        PyErr_SetString(PyExc_TypeError, "_Runtime takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "zO!:_Runtime", &home, &PyTuple_Type, &rows))
        return NULL;
    r = (struct runtime *)allocate(type, 0);
    if (!r)
        return NULL;
    r->forks = bxpy_forks;
    r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->wake_fd < 0)
        PyErr_SetFromErrno(PyExc_OSError);
    else
        r->rt = open_library(home, rows);
    if (r->rt && boxlite_runtime_images(r->rt, &r->images, &e) != Ok)
        bxpy_raise(&e);
    if (PyErr_Occurred()) {
        Py_DECREF(r);
        return NULL;
    }
    return (PyObject *)r;
}

/* Frees the library's runtime. What is unanswered stays unanswered: see fail_calls. */
static void close_library(struct runtime *r)
{
    PyObject *event = r->event;

    r->close_wanted = false;
    if (!r->rt)
        return;
    r->event = NULL;
    boxlite_image_free(r->images);
    r->images = NULL;
    bxpy_commands_closed(r);
    boxlite_runtime_free(r->rt);
    r->rt = NULL;
    close(r->wake_fd);
    r->wake_fd = -1;
    Py_XDECREF(event);
}

static void fail_calls(struct runtime *r)
{
    PyObject *error = NULL, *type, *value, *traceback;

    if (!r->calls)
        return;
    bxpy_raise_text(Stopped, "the runtime was closed");
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    error = value;
    while (error && r->calls)
        bxpy_call_fail(r->calls, error);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

static PyObject *runtime_close(PyObject *self, PyObject *unused)
{
    struct runtime *r = (struct runtime *)self;

    (void)unused;
    if (!bxpy_ours(r) || !r->rt)
        Py_RETURN_NONE;
    if (r->draining) { /* another thread, or this one inside a callback: that drain's end is the runtime's */
        r->close_wanted = true;
        (void)!write(r->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
    } else {
        close_library(r);
        fail_calls(r);
    }
    Py_RETURN_NONE;
}

static void runtime_dealloc(PyObject *self)
{
    struct runtime *r = (struct runtime *)self;

    if (bxpy_ours(r)) {
        close_library(r); /* no call is left: each holds a reference */
        if (r->wake_fd >= 0)
            close(r->wake_fd);
    }
    bxpy_free(self);
}

/* ---- draining ---- */

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* One round without waiting: callbacks made, or -1 with an exception. */
static int drain_once(struct runtime *r)
{
    CBoxliteError e = {Ok, NULL};
    int n;

    r->drainer = PyEval_SaveThread();
    n = boxlite_runtime_drain(r->rt, 0, &e);
    PyEval_RestoreThread(r->drainer);
    r->drainer = NULL;
    if (n < 0)
        bxpy_raise(&e);
    return n;
}

/* Waits for the runtime, for close, for what `also` says, or for a signal of this process. False with an
 * exception, of a signal's handler. */
static bool wait_for_events(struct runtime *r, int timeout_ms, struct pollfd *also)
{
    struct pollfd p[3] = {
        {.fd = boxlite_runtime_fd(r->rt), .events = POLLIN}, {.fd = r->wake_fd, .events = POLLIN}, *also};
    PyThreadState *thread = PyEval_SaveThread();
    int n = poll(p, 3, timeout_ms), error = errno;

    PyEval_RestoreThread(thread);
    also->revents = p[2].revents;
    errno = error;
    if (n < 0 && errno == EINTR)
        return PyErr_CheckSignals() == 0;
    if (n < 0)
        PyErr_SetFromErrno(PyExc_OSError);
    return n >= 0;
}

/* Until a callback was made, the time is over, `also` is ready, close was wanted, or it failed. */
static int drain(struct runtime *r, int timeout_ms, struct pollfd *also)
{
    int64_t deadline = now_ms() + timeout_ms, left = timeout_ms;
    int n;

    for (;;) {
        n = drain_once(r);
        if (n != 0 || r->close_wanted || left == 0 || also->revents ||
            !wait_for_events(r, left < 0 ? -1 : (int)left, also))
            break;
        if (timeout_ms >= 0) {
            left = deadline - now_ms();
            left = left > 0 ? left : 0;
        }
    }
    return PyErr_Occurred() ? -1 : n;
}

static PyObject *runtime_drain(PyObject *self, PyObject *args)
{
    struct runtime *r = (struct runtime *)self;
    struct pollfd also = {.fd = -1};
    int timeout_ms, write = 0, n;

    if (!PyArg_ParseTuple(args, "i|ip:drain", &timeout_ms, &also.fd, &write) || !bxpy_usable(r))
        return NULL;
    if (r->draining)
        return bxpy_raise_text(InvalidState, "the runtime is being drained already");
    also.events = write ? POLLOUT : POLLIN;
    r->draining = true;
    n = drain(r, timeout_ms, &also);
    r->draining = false;
    if (r->close_wanted) {
        PyObject *type, *value, *traceback;

        PyErr_Fetch(&type, &value, &traceback);
        close_library(r);
        fail_calls(r);
        PyErr_Restore(type, value, traceback);
    }
    return n < 0 ? NULL : PyLong_FromLong(n);
}

static PyObject *runtime_fd(PyObject *self, PyObject *unused)
{
    struct runtime *r = (struct runtime *)self;

    (void)unused;
    return bxpy_usable(r) ? PyLong_FromLong(boxlite_runtime_fd(r->rt)) : NULL;
}

static PyObject *runtime_closed(PyObject *self, void *unused)
{
    struct runtime *r = (struct runtime *)self;

    (void)unused;
    return PyBool_FromLong(!bxpy_ours(r) || !r->rt || r->close_wanted);
}

/* ---- calls about boxes ---- */

static PyObject *runtime_create(PyObject *self, PyObject *args)
{
    struct runtime *r = (struct runtime *)self;
    CBoxliteError e = {Ok, NULL};
    CBoxliteOptions *options;
    PyObject *done, *settings;
    BoxliteErrorCode rc;
    const char *image;
    struct call *c;
    int reuse;

    if (!PyArg_ParseTuple(args, "OzOp:create", &done, &image, &settings, &reuse))
        return NULL;
    options = bxpy_options(image, settings);
    c = options ? bxpy_call_new(r, done) : NULL;
    if (!c) {
        boxlite_options_free(options);
        return NULL;
    }
    if (reuse)
        rc = boxlite_get_or_create_box(r->rt, options, bxpy_on_made, c, &e);
    else
        rc = boxlite_create_box(r->rt, options, bxpy_on_box, c, &e);
    if (rc != Ok)
        boxlite_options_free(options);
    return bxpy_posted(c, rc, &e);
}

static PyObject *runtime_get(PyObject *self, PyObject *args)
{
    struct runtime *r = (struct runtime *)self;
    CBoxliteError e = {Ok, NULL};
    const char *id;
    PyObject *done;
    struct call *c;

    if (!PyArg_ParseTuple(args, "Os:get", &done, &id) || !(c = bxpy_call_new(r, done)))
        return NULL;
    return bxpy_posted(c, boxlite_get(r->rt, id, bxpy_on_box, c, &e), &e);
}

static PyObject *runtime_get_info(PyObject *self, PyObject *args)
{
    struct runtime *r = (struct runtime *)self;
    CBoxliteError e = {Ok, NULL};
    const char *id;
    PyObject *done;
    struct call *c;

    if (!PyArg_ParseTuple(args, "Os:get_info", &done, &id) || !(c = bxpy_call_new(r, done)))
        return NULL;
    return bxpy_posted(c, boxlite_get_info(r->rt, id, bxpy_on_box_info, c, &e), &e);
}

static PyObject *runtime_remove(PyObject *self, PyObject *args)
{
    struct runtime *r = (struct runtime *)self;
    CBoxliteError e = {Ok, NULL};
    const char *id;
    PyObject *done;
    struct call *c;
    int force;

    if (!PyArg_ParseTuple(args, "Osp:remove", &done, &id, &force) || !(c = bxpy_call_new(r, done)))
        return NULL;
    return bxpy_posted(c, boxlite_remove(r->rt, id, force, bxpy_on_plain, c, &e), &e);
}

static PyObject *runtime_list_info(PyObject *self, PyObject *done)
{
    struct runtime *r = (struct runtime *)self;
    struct call *c = bxpy_call_new(r, done);
    CBoxliteError e = {Ok, NULL};

    return c ? bxpy_posted(c, boxlite_list_info(r->rt, bxpy_on_box_list, c, &e), &e) : NULL;
}

static PyObject *runtime_metrics(PyObject *self, PyObject *done)
{
    struct runtime *r = (struct runtime *)self;
    struct call *c = bxpy_call_new(r, done);
    CBoxliteError e = {Ok, NULL};

    return c ? bxpy_posted(c, boxlite_runtime_metrics(r->rt, bxpy_on_runtime_metrics, c, &e), &e) : NULL;
}

static PyObject *runtime_info(PyObject *self, PyObject *done)
{
    struct runtime *r = (struct runtime *)self;
    struct call *c = bxpy_call_new(r, done);
    CBoxliteError e = {Ok, NULL};

    return c ? bxpy_posted(c, boxlite_runtime_info(r->rt, bxpy_on_info, c, &e), &e) : NULL;
}

static PyObject *runtime_shutdown(PyObject *self, PyObject *args)
{
    struct runtime *r = (struct runtime *)self;
    CBoxliteError e = {Ok, NULL};
    PyObject *done;
    struct call *c;
    int timeout;

    if (!PyArg_ParseTuple(args, "Oi:shutdown", &done, &timeout) || !(c = bxpy_call_new(r, done)))
        return NULL;
    return bxpy_posted(c, boxlite_runtime_shutdown(r->rt, timeout, bxpy_on_plain, c, &e), &e);
}

/* ---- events ---- */

static void on_event(const CBoxliteEvent *e, void *ud)
{
    struct runtime *r = ud;
    PyObject *event, *returned = NULL, *to;

    bxpy_enter(r);
    to = r->event;
    if (to) {
        Py_INCREF(to);
        event = bxpy_event(e);
        if (event)
            returned = PyObject_CallFunctionObjArgs(to, event, NULL);
        if (!returned)
            PyErr_WriteUnraisable(to);
        Py_XDECREF(returned);
        Py_XDECREF(event);
        Py_DECREF(to);
    }
    bxpy_leave(r);
}

/* on_event(callable, ms): from that time on; less than 0: from now on. on_event(None, 0) ends it. */
static PyObject *runtime_on_event(PyObject *self, PyObject *args)
{
    struct runtime *r = (struct runtime *)self;
    CBoxliteError e = {Ok, NULL};
    PyObject *to, *old = r->event;
    long long since_ms;
    BoxliteErrorCode rc;

    if (!PyArg_ParseTuple(args, "OL:on_event", &to, &since_ms) || !bxpy_usable(r))
        return NULL;
    if (to != Py_None && !PyCallable_Check(to)) {
        PyErr_SetString(PyExc_TypeError, "who is told must be callable");
        return NULL;
    }
    if (to == Py_None || since_ms < 0)
        rc = boxlite_runtime_on_event(r->rt, to == Py_None ? NULL : on_event, r, &e);
    else
        rc = boxlite_runtime_on_event_since(r->rt, since_ms, on_event, r, &e);
    if (rc != Ok)
        return bxpy_raise(&e);
    r->event = to == Py_None ? NULL : to;
    Py_XINCREF(r->event);
    Py_XDECREF(old);
    Py_RETURN_NONE;
}

/* ---- calls about images ---- */

static PyObject *image_pull(PyObject *self, PyObject *args)
{
    struct runtime *r = (struct runtime *)self;
    CBoxliteError e = {Ok, NULL};
    const char *reference;
    PyObject *done;
    struct call *c;

    if (!PyArg_ParseTuple(args, "Os:pull", &done, &reference) || !(c = bxpy_call_new(r, done)))
        return NULL;
    return bxpy_posted(c, boxlite_image_pull(r->images, reference, bxpy_on_pulled, c, &e), &e);
}

static PyObject *image_list(PyObject *self, PyObject *done)
{
    struct runtime *r = (struct runtime *)self;
    struct call *c = bxpy_call_new(r, done);
    CBoxliteError e = {Ok, NULL};

    return c ? bxpy_posted(c, boxlite_image_list(r->images, bxpy_on_images, c, &e), &e) : NULL;
}

static PyObject *image_load(PyObject *self, PyObject *args)
{
    struct runtime *r = (struct runtime *)self;
    CBoxliteError e = {Ok, NULL};
    const char *path, *name;
    PyObject *done;
    struct call *c;

    if (!PyArg_ParseTuple(args, "Oyz:load", &done, &path, &name) || !(c = bxpy_call_new(r, done)))
        return NULL;
    return bxpy_posted(c, boxlite_image_load(r->images, path, name, bxpy_on_pulled, c, &e), &e);
}

static PyObject *image_save(PyObject *self, PyObject *args)
{
    struct runtime *r = (struct runtime *)self;
    CBoxliteError e = {Ok, NULL};
    const char *path, *format;
    PyObject *done, *sequence, *posted = NULL;
    struct strings references;
    struct call *c;

    if (!PyArg_ParseTuple(args, "OOyz:save", &done, &sequence, &path, &format) ||
        !bxpy_strings(sequence, "references", &references))
        return NULL;
    c = bxpy_call_new(r, done);
    if (c)
        posted = bxpy_posted(c,
                             boxlite_image_save(r->images, references.items, references.count, path, format,
                                                bxpy_on_plain, c, &e),
                             &e);
    bxpy_strings_done(&references);
    return posted;
}

static PyObject *image_tag(PyObject *self, PyObject *args)
{
    struct runtime *r = (struct runtime *)self;
    CBoxliteError e = {Ok, NULL};
    const char *source, *target;
    PyObject *done;
    struct call *c;

    if (!PyArg_ParseTuple(args, "Oss:tag", &done, &source, &target) || !(c = bxpy_call_new(r, done)))
        return NULL;
    return bxpy_posted(c, boxlite_image_tag(r->images, source, target, bxpy_on_plain, c, &e), &e);
}

static PyObject *image_remove(PyObject *self, PyObject *args)
{
    struct runtime *r = (struct runtime *)self;
    CBoxliteError e = {Ok, NULL};
    const char *reference;
    PyObject *done;
    struct call *c;
    int force;

    if (!PyArg_ParseTuple(args, "Osp:remove", &done, &reference, &force) || !(c = bxpy_call_new(r, done)))
        return NULL;
    return bxpy_posted(c, boxlite_image_remove(r->images, reference, force, bxpy_on_pruned, c, &e), &e);
}

static PyObject *image_prune(PyObject *self, PyObject *args)
{
    struct runtime *r = (struct runtime *)self;
    BoxliteImagePrune how = BOXLITE_IMAGE_PRUNE_INIT;
    unsigned long long older_than, keep;
    CBoxliteError e = {Ok, NULL};
    PyObject *done;
    struct call *c;
    int all, dry_run;

    if (!PyArg_ParseTuple(args, "OppKK:prune", &done, &all, &dry_run, &older_than, &keep) ||
        !(c = bxpy_call_new(r, done)))
        return NULL;
    how.all = all;
    how.dry_run = dry_run;
    how.older_than_secs = older_than;
    how.keep_bytes = keep;
    return bxpy_posted(c, boxlite_image_prune(r->images, &how, bxpy_on_pruned, c, &e), &e);
}

static PyObject *image_inspect(PyObject *self, PyObject *args)
{
    struct runtime *r = (struct runtime *)self;
    CBoxliteError e = {Ok, NULL};
    const char *reference;
    PyObject *done;
    struct call *c;

    if (!PyArg_ParseTuple(args, "Os:inspect", &done, &reference) || !(c = bxpy_call_new(r, done)))
        return NULL;
    return bxpy_posted(c, boxlite_image_inspect(r->images, reference, bxpy_on_info, c, &e), &e);
}

static PyObject *image_warm(PyObject *self, PyObject *args)
{
    struct runtime *r = (struct runtime *)self;
    BoxliteImageWarm how = BOXLITE_IMAGE_WARM_INIT;
    CBoxliteError e = {Ok, NULL};
    const char *reference;
    PyObject *done;
    struct call *c;

    if (!PyArg_ParseTuple(args, "Osii:warm", &done, &reference, &how.cpus, &how.memory_mib) ||
        !(c = bxpy_call_new(r, done)))
        return NULL;
    return bxpy_posted(c, boxlite_image_warm(r->images, reference, &how, bxpy_on_plain, c, &e), &e);
}

/* ---- the type ---- */

PyTypeObject *bxpy_make_runtime_type(void)
{
    static PyMethodDef methods[] = {
        {"drain", runtime_drain, METH_VARARGS,
         "drain(timeout_ms[, fd, write]): does what is due; how many callbacks were made."},
        {"fd", runtime_fd, METH_NOARGS, "The descriptor that is readable when drain(0) would do something."},
        {"close", runtime_close, METH_NOARGS,
         "Frees the runtime; what is unanswered is answered with `stopped`."},
        {"create", runtime_create, METH_VARARGS, "create(done, image, settings, reuse)"},
        {"get", runtime_get, METH_VARARGS, "get(done, id_or_name)"},
        {"get_info", runtime_get_info, METH_VARARGS, "get_info(done, id_or_name)"},
        {"list_info", runtime_list_info, METH_O, "list_info(done)"},
        {"remove", runtime_remove, METH_VARARGS, "remove(done, id_or_name, force)"},
        {"metrics", runtime_metrics, METH_O, "metrics(done)"},
        {"info", runtime_info, METH_O, "info(done)"},
        {"shutdown", runtime_shutdown, METH_VARARGS, "shutdown(done, timeout_secs)"},
        {"on_event", runtime_on_event, METH_VARARGS,
         "on_event(callable or None, since_ms): tells what happens in the home."},
        {"image_pull", image_pull, METH_VARARGS, "image_pull(done, reference)"},
        {"image_list", image_list, METH_O, "image_list(done)"},
        {"image_load", image_load, METH_VARARGS, "image_load(done, path, name)"},
        {"image_save", image_save, METH_VARARGS, "image_save(done, references, path, format)"},
        {"image_tag", image_tag, METH_VARARGS, "image_tag(done, source, target)"},
        {"image_remove", image_remove, METH_VARARGS, "image_remove(done, reference, force)"},
        {"image_prune", image_prune, METH_VARARGS,
         "image_prune(done, all, dry_run, older_than_secs, keep_bytes)"},
        {"image_warm", image_warm, METH_VARARGS, "image_warm(done, reference, cpus, memory_mib)"},
        {"image_inspect", image_inspect, METH_VARARGS, "image_inspect(done, reference)"},
        {NULL, NULL, 0, NULL},
    };
    static PyGetSetDef attributes[] = {
        {"closed", runtime_closed, NULL, "Was it closed?", NULL},
        {NULL, NULL, NULL, NULL, NULL},
    };
    static char doc[] = "A home directory, open: _Runtime(home or None, registries).";
    static PyType_Slot slots[] = {
        {Py_tp_doc, doc},         {Py_tp_new, runtime_new},   {Py_tp_dealloc, runtime_dealloc},
        {Py_tp_methods, methods}, {Py_tp_getset, attributes}, {0, NULL},
    };
    static PyType_Spec spec = {"boxlite.boxlite._Runtime", sizeof(struct runtime), 0, Py_TPFLAGS_DEFAULT,
                               slots};

    return (PyTypeObject *)PyType_FromSpec(&spec);
}
