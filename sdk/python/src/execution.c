/* SPDX-License-Identifier: Apache-2.0 */
/*
 * execution.c - the type _Execution: a command in a box. See native.h.
 *
 * The library kills a command whose handle is freed. In Python a command goes on when its object is
 * collected, so what the library needs (struct command) lives apart from the object: it is kept, in the
 * runtime's list, until the command has ended.
 */
#include "native.h"

#include <stdlib.h>
#include <string.h>

struct command {
    struct command *prev, *next; /* in the runtime's list */
    struct runtime *runtime;     /* not a reference: the list is the runtime's, the object holds one */
    CExecutionHandle *handle;
    PyObject *output[2]; /* who gets stdout and stderr: output(bytes) */
    PyObject *writable;  /* who is told of room: writable() */
    bool held;           /* by its object */
    bool loose;          /* freeing its handle does not end it: attached to, or detached */
    bool ended;          /* on_exit was called: the library will not call again */
};

struct execution {
    PyObject_HEAD struct runtime *runtime;
    struct command *command;
};

/* ---- the command ---- */

static void command_drop_callables(struct command *m)
{
    int i;

    for (i = 0; i < 2; i++)
        Py_CLEAR(m->output[i]);
    Py_CLEAR(m->writable);
}

/* Nobody holds it and the library will not call any more (or its runtime is going). */
static void command_free(struct command *m)
{
    if (m->prev)
        m->prev->next = m->next;
    else
        m->runtime->commands = m->next;
    if (m->next)
        m->next->prev = m->prev;
    boxlite_execution_free(m->handle);
    free(m);
}

void bxpy_commands_closed(struct runtime *r)
{
    struct command *m, *next;

    for (m = r->commands; m; m = next) {
        next = m->next;
        m->ended = true; /* what was due is dropped */
        if (!m->held)
            command_free(m);
    }
}

static void deliver(struct command *m, int i, const uint8_t *data, size_t len)
{
    PyObject *bytes, *returned = NULL, *to;

    bxpy_enter(m->runtime);
    to = m->output[i];
    if (to) {
        struct runtime *r = m->runtime;

        Py_INCREF(to);
        bytes = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)len);
        if (bytes)
            returned = PyObject_CallFunctionObjArgs(to, bytes, NULL);
        if (!returned)
            PyErr_WriteUnraisable(to);
        Py_XDECREF(returned);
        Py_XDECREF(bytes);
        Py_DECREF(to);
        bxpy_leave(r); /* the command may be gone by now */
    } else {
        bxpy_leave(m->runtime);
    }
}

static void on_stdout(const uint8_t *data, size_t len, void *ud)
{
    deliver(ud, 0, data, len);
}

static void on_stderr(const uint8_t *data, size_t len, void *ud)
{
    deliver(ud, 1, data, len);
}

static void on_writable(size_t room, void *ud)
{
    struct command *m = ud;
    struct runtime *r = m->runtime;
    PyObject *returned, *to;

    (void)room;
    bxpy_enter(r);
    to = m->writable;
    if (to) {
        Py_INCREF(to);
        returned = PyObject_CallFunctionObjArgs(to, NULL);
        if (!returned)
            PyErr_WriteUnraisable(to);
        Py_XDECREF(returned);
        Py_DECREF(to);
    }
    bxpy_leave(r);
}

static void on_exit_code(int code, void *ud)
{
    struct command *m = ud;
    struct runtime *r = m->runtime;

    (void)code; /* boxlite_execution_result has it */
    bxpy_enter(r);
    m->ended = true; /* its callables stay: output that another thread asks for just now is delivered behind this */
    if (!m->held)
        command_free(m);
    bxpy_leave(r);
}

/* ---- the object ---- */

PyObject *bxpy_execution_new(struct runtime *r, CExecutionHandle *handle, bool loose)
{
    allocfunc allocate = (allocfunc)(uintptr_t)PyType_GetSlot(bxpy_execution_type, Py_tp_alloc);
    struct execution *x = (struct execution *)allocate(bxpy_execution_type, 0);
    struct command *m = calloc(1, sizeof(*m));

    if (x && !m)
        PyErr_NoMemory();
    if (!x || !m) {
        boxlite_execution_free(handle);
        free(m);
        if (x)
            bxpy_free((PyObject *)x);
        return NULL;
    }
    m->runtime = r;
    m->handle = handle;
    m->held = true;
    m->loose = loose;
    m->next = r->commands;
    if (m->next)
        m->next->prev = m;
    r->commands = m;
    m->ended = boxlite_execution_on_exit(handle, on_exit_code, m, NULL) != Ok;
    Py_INCREF(r);
    x->runtime = r;
    x->command = m;
    return (PyObject *)x;
}

static void execution_dealloc(PyObject *self)
{
    struct execution *x = (struct execution *)self;
    struct command *m = x->command;

    if (bxpy_ours(x->runtime)) {
        command_drop_callables(m); /* runs Python code: the command is held meanwhile */
        m->held = false;
        if (m->ended || !x->runtime->rt) {
            command_free(m);
        } else if (m->loose) { /* on_exit will come, and say that it was given up */
            boxlite_execution_free(m->handle);
            m->handle = NULL;
        } else { /* it goes on: nothing that it writes may stop it */
            (void)boxlite_execution_pause(m->handle, 1, 0, NULL);
            (void)boxlite_execution_pause(m->handle, 2, 0, NULL);
        }
    }
    Py_DECREF(x->runtime);
    bxpy_free(self);
}

/* The handle, if the library may be called. */
static CExecutionHandle *usable(struct execution *x)
{
    return bxpy_usable(x->runtime) ? x->command->handle : NULL;
}

static PyObject *execution_id(PyObject *self, PyObject *unused)
{
    struct execution *x = (struct execution *)self;
    PyObject *text;
    char *id;

    (void)unused;
    if (!bxpy_ours(x->runtime)) {
        (void)bxpy_usable(x->runtime); /* says why */
        return NULL;
    }
    id = boxlite_execution_id(x->command->handle);
    text = bxpy_text(id);
    boxlite_free_string(id);
    return text;
}

/* ---- output ---- */

static bool take_stream(int stream)
{
    if (stream == 1 || stream == 2)
        return true;
    PyErr_SetString(PyExc_ValueError, "stream must be 1 (stdout) or 2 (stderr)");
    return false;
}

static PyObject *execution_on_output(PyObject *self, PyObject *args)
{
    struct execution *x = (struct execution *)self;
    CBoxliteError e = {Ok, NULL};
    CExecutionHandle *handle;
    BoxliteErrorCode rc;
    PyObject *to;
    int stream;

    if (!PyArg_ParseTuple(args, "iO:on_output", &stream, &to) || !take_stream(stream) ||
        !(handle = usable(x)))
        return NULL;
    if (!PyCallable_Check(to)) {
        PyErr_SetString(PyExc_TypeError, "who gets the output must be callable");
        return NULL;
    }
    if (stream == 1)
        rc = boxlite_execution_on_stdout(handle, on_stdout, x->command, &e);
    else
        rc = boxlite_execution_on_stderr(handle, on_stderr, x->command, &e);
    if (rc != Ok)
        return bxpy_raise(&e);
    Py_INCREF(to);
    x->command->output[stream - 1] = to;
    Py_RETURN_NONE;
}

static PyObject *execution_pause(PyObject *self, PyObject *args)
{
    struct execution *x = (struct execution *)self;
    CBoxliteError e = {Ok, NULL};
    CExecutionHandle *handle;
    int stream, paused;

    if (!PyArg_ParseTuple(args, "ip:pause", &stream, &paused) || !(handle = usable(x)))
        return NULL;
    if (boxlite_execution_pause(handle, stream, paused, &e) != Ok)
        return bxpy_raise(&e);
    Py_RETURN_NONE;
}

static PyObject *execution_kept(PyObject *self, PyObject *args)
{
    struct execution *x = (struct execution *)self;
    CBoxliteError e = {Ok, NULL};
    CExecutionHandle *handle;
    PyObject *bytes;
    char *data;
    size_t len;
    int stream;

    if (!PyArg_ParseTuple(args, "i:kept", &stream) || !(handle = usable(x)))
        return NULL;
    if (boxlite_execution_kept(handle, stream, &data, &len, &e) != Ok)
        return bxpy_raise(&e);
    bytes = PyBytes_FromStringAndSize(data, (Py_ssize_t)len);
    boxlite_free_string(data);
    return bytes;
}

/* ---- stdin ---- */

/* How many of the bytes were taken: as many as there is room for. */
static PyObject *execution_stdin_write(PyObject *self, PyObject *args)
{
    struct execution *x = (struct execution *)self;
    CBoxliteError e = {Ok, NULL};
    CExecutionHandle *handle;
    Py_ssize_t offset, len;
    const char *data;
    size_t room, n;

    if (!PyArg_ParseTuple(args, "y#n:stdin_write", &data, &len, &offset) || !(handle = usable(x)))
        return NULL;
    if (offset < 0 || offset > len) {
        PyErr_SetString(PyExc_ValueError, "offset is not within the data");
        return NULL;
    }
    n = (size_t)(len - offset);
    room = boxlite_execution_stdin_room(handle);
    if (n > room && room > 0)
        n = room;
    /* Without any room the library says why, and will tell when there is some. */
    if (boxlite_execution_stdin_write(handle, (const uint8_t *)data + offset, n, &e) == Ok)
        return PyLong_FromSize_t(n);
    if (e.code != ResourceExhausted)
        return bxpy_raise(&e);
    boxlite_error_free(&e);
    return PyLong_FromLong(0);
}

static PyObject *execution_stdin_close(PyObject *self, PyObject *unused)
{
    struct execution *x = (struct execution *)self;
    CExecutionHandle *handle = usable(x);
    CBoxliteError e = {Ok, NULL};

    (void)unused;
    if (!handle)
        return NULL;
    if (boxlite_execution_stdin_close(handle, &e) != Ok)
        return bxpy_raise(&e);
    Py_RETURN_NONE;
}

static PyObject *execution_on_writable(PyObject *self, PyObject *to)
{
    struct execution *x = (struct execution *)self;
    CExecutionHandle *handle = usable(x);
    CBoxliteError e = {Ok, NULL};
    PyObject *old;

    if (!handle)
        return NULL;
    if (!PyCallable_Check(to)) {
        PyErr_SetString(PyExc_TypeError, "who is told must be callable");
        return NULL;
    }
    if (boxlite_execution_on_writable(handle, on_writable, x->command, &e) != Ok)
        return bxpy_raise(&e);
    old = x->command->writable;
    Py_INCREF(to);
    x->command->writable = to;
    Py_XDECREF(old);
    Py_RETURN_NONE;
}

/* ---- its end ---- */

static PyObject *execution_wait(PyObject *self, PyObject *done)
{
    struct execution *x = (struct execution *)self;
    struct call *c = bxpy_call_new(x->runtime, done);
    CBoxliteError e = {Ok, NULL};

    return c ? bxpy_posted(c, boxlite_execution_wait(x->command->handle, bxpy_on_wait, c, &e), &e) : NULL;
}

static PyObject *execution_kill(PyObject *self, PyObject *done)
{
    struct execution *x = (struct execution *)self;
    struct call *c = bxpy_call_new(x->runtime, done);
    CBoxliteError e = {Ok, NULL};

    return c ? bxpy_posted(c, boxlite_execution_kill(x->command->handle, bxpy_on_plain, c, &e), &e) : NULL;
}

static PyObject *execution_signal(PyObject *self, PyObject *args)
{
    struct execution *x = (struct execution *)self;
    CBoxliteError e = {Ok, NULL};
    PyObject *done;
    struct call *c;
    int number;

    if (!PyArg_ParseTuple(args, "Oi:signal", &done, &number) || !(c = bxpy_call_new(x->runtime, done)))
        return NULL;
    return bxpy_posted(c, boxlite_execution_signal(x->command->handle, number, bxpy_on_plain, c, &e), &e);
}

static PyObject *execution_resize(PyObject *self, PyObject *args)
{
    struct execution *x = (struct execution *)self;
    CBoxliteError e = {Ok, NULL};
    PyObject *done;
    struct call *c;
    int rows, cols;

    if (!PyArg_ParseTuple(args, "Oii:resize", &done, &rows, &cols) || !(c = bxpy_call_new(x->runtime, done)))
        return NULL;
    return bxpy_posted(c, boxlite_execution_tty_resize(x->command->handle, rows, cols, bxpy_on_plain, c, &e),
                       &e);
}

/* How it ended, or None as long as it has not. */
static PyObject *execution_result(PyObject *self, PyObject *unused)
{
    struct execution *x = (struct execution *)self;
    BoxliteExecutionResult r = BOXLITE_EXECUTION_RESULT_INIT;
    CBoxliteError e = {Ok, NULL};

    (void)unused;
    if (!bxpy_ours(x->runtime)) {
        (void)bxpy_usable(x->runtime); /* says why */
        return NULL;
    }
    if (boxlite_execution_result(x->command->handle, &r, &e) != Ok) {
        if (e.code != InvalidState)
            return bxpy_raise(&e);
        boxlite_error_free(&e);
        Py_RETURN_NONE;
    }
    return Py_BuildValue(
        "{s:i,s:i,s:N,s:N,s:N,s:N,s:N,s:K,s:K,s:K,s:K,s:N}", "exit_code", (int)r.exit_code, "signal",
        (int)r.signal, "oom_killed", PyBool_FromLong(r.oom), "timed_out", PyBool_FromLong(r.timed_out),
        "killed", PyBool_FromLong(r.killed), "stdout_truncated", PyBool_FromLong(r.stdout_truncated),
        "stderr_truncated", PyBool_FromLong(r.stderr_truncated), "user_us", (unsigned long long)r.user_us,
        "system_us", (unsigned long long)r.system_us, "wall_us", (unsigned long long)r.wall_us,
        "max_rss_bytes", (unsigned long long)r.max_rss_bytes, "message", bxpy_text(r.message));
}

/* ---- the type ---- */

PyTypeObject *bxpy_make_execution_type(void)
{
    static PyMethodDef methods[] = {
        {"id", execution_id, METH_NOARGS, "Its id."},
        {"on_output", execution_on_output, METH_VARARGS,
         "on_output(1 or 2, callable): calls it with bytes, once registered."},
        {"pause", execution_pause, METH_VARARGS, "pause(1 or 2, bool): stops or resumes delivery."},
        {"kept", execution_kept, METH_VARARGS, "kept(1 or 2): what nobody registered for."},
        {"stdin_write", execution_stdin_write, METH_VARARGS,
         "stdin_write(data, offset): how many bytes it took."},
        {"stdin_close", execution_stdin_close, METH_NOARGS, "Ends stdin behind what was written."},
        {"on_writable", execution_on_writable, METH_O,
         "on_writable(callable): calls it when there is room again."},
        {"wait", execution_wait, METH_O, "wait(done)"},
        {"kill", execution_kill, METH_O, "kill(done)"},
        {"signal", execution_signal, METH_VARARGS, "signal(done, number)"},
        {"resize", execution_resize, METH_VARARGS, "resize(done, rows, cols)"},
        {"result", execution_result, METH_NOARGS, "How it ended, or None."},
        {NULL, NULL, 0, NULL},
    };
    static char doc[] = "A command in a box.";
    static PyType_Slot slots[] = {
        {Py_tp_doc, doc},
        {Py_tp_new, bxpy_no_new},
        {Py_tp_dealloc, execution_dealloc},
        {Py_tp_methods, methods},
        {0, NULL},
    };
    static PyType_Spec spec = {"boxlite.boxlite._Execution", sizeof(struct execution), 0, Py_TPFLAGS_DEFAULT,
                               slots};

    return (PyTypeObject *)PyType_FromSpec(&spec);
}
