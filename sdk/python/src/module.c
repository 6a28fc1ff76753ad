/* SPDX-License-Identifier: Apache-2.0 */
/* module.c - the module boxlite.boxlite: its types, its errors, and what a fork means. See native.h. */
#include "native.h"

#include <pthread.h>
#include <string.h>

PyTypeObject *bxpy_runtime_type, *bxpy_box_type, *bxpy_execution_type;
unsigned bxpy_forks;

static PyObject *native_error;

/* ---- errors ---- */

/* Names of codes, and how their texts begin (also of those that the library did not write). */
static const struct {
    const char *name, *prefix;
} codes[] = {
    [Ok] = {"ok", ""},
    [Internal] = {"internal", "internal error: "},
    [NotFound] = {"not_found", ""},
    [AlreadyExists] = {"already_exists", "already exists: "},
    [InvalidState] = {"invalid_state", "invalid state: "},
    [InvalidArgument] = {"invalid_argument", "invalid argument: "},
    [Config] = {"config", "configuration error: "},
    [Storage] = {"storage", "storage error: "},
    [Image] = {"image", "images error: "},
    [Network] = {"network", "network error: "},
    [Execution] = {"execution", "Execution error: "},
    [Stopped] = {"stopped", "stopped: "},
    [Engine] = {"engine", "engine reported an error: "},
    [Unsupported] = {"unsupported", "unsupported: "},
    [Database] = {"database", "database error: "},
    [Portal] = {"portal", "portal error: "},
    [Rpc] = {"rpc", "gRPC/tonic error: "},
    [RpcTransport] = {"rpc_transport", "gRPC transport error: "},
    [Metadata] = {"metadata", "metadata error: "},
    [UnsupportedEngine] = {"unsupported_engine", "unsupported engine kind: "},
    [ResourceExhausted] = {"resource_exhausted", "resource exhausted: "},
    [SessionReaped] = {"session_reaped", "session reaped: "},
};
#define N_CODES (sizeof(codes) / sizeof(codes[0]))

static PyObject *error_new(int code, const char *prefix, const char *text)
{
    PyObject *message = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace"), *whole,
             *error = NULL;
    PyObject *number = PyLong_FromLong(code);
    PyObject *kind = PyUnicode_FromString(code >= 0 && (size_t)code < N_CODES ? codes[code].name : "unknown");

    whole = message ? PyUnicode_FromFormat("%s%U", prefix, message) : NULL;
    if (whole && number && kind)
        error = PyObject_CallFunctionObjArgs(native_error, whole, NULL);
    if (error && (PyObject_SetAttrString(error, "code", number) < 0 ||
                  PyObject_SetAttrString(error, "kind", kind) < 0))
        Py_CLEAR(error);
    Py_XDECREF(message);
    Py_XDECREF(whole);
    Py_XDECREF(number);
    Py_XDECREF(kind);
    return error;
}

PyObject *bxpy_error(const CBoxliteError *e)
{
    return error_new((int)e->code, "", e->message ? e->message : "internal error: out of memory");
}

static PyObject *raise_object(PyObject *error)
{
    if (error)
        PyErr_SetObject(native_error, error);
    Py_XDECREF(error);
    return NULL;
}

PyObject *bxpy_raise(CBoxliteError *e)
{
    PyObject *error = bxpy_error(e);

    boxlite_error_free(e);
    return raise_object(error);
}

PyObject *bxpy_raise_text(BoxliteErrorCode code, const char *text)
{
    return raise_object(error_new((int)code, codes[code].prefix, text));
}

/* ---- fork ---- */

static void in_child(void)
{
    bxpy_forks++;
}

bool bxpy_ours(const struct runtime *r)
{
    return r->forks == bxpy_forks;
}

bool bxpy_usable(struct runtime *r)
{
    if (!bxpy_ours(r))
        bxpy_raise_text(
            InvalidState,
            "this runtime belongs to the process that opened it, and this one was forked from it: "
            "open a runtime after the fork (multiprocessing: use the start method spawn)");
    else if (!r->rt || r->close_wanted)
        bxpy_raise_text(Stopped, "the runtime was closed");
    else
        return true;
    return false;
}

/* ---- objects ---- */

void bxpy_free(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)(uintptr_t)PyType_GetSlot(type, Py_tp_free);

    release(self);
    Py_DECREF(type);
}

PyObject *bxpy_no_new(PyTypeObject *type, PyObject *args, PyObject *kw)
{
    (void)type;
    (void)args;
    (void)kw;
    PyErr_SetString(PyExc_TypeError, "boxes and commands are made by calls, not by their types");
    return NULL;
}

/* ---- the module ---- */

static PyObject *version(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyUnicode_FromString(boxlite_version());
}

static PyObject *has_feature(PyObject *module, PyObject *args)
{
    const char *name;

    (void)module;
    if (!PyArg_ParseTuple(args, "s:has_feature", &name))
        return NULL;
    return PyBool_FromLong(boxlite_has_feature(name));
}

static PyObject *fork_count(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromUnsignedLong(bxpy_forks);
}

static PyObject *error_of(PyObject *module, PyObject *args)
{
    const char *kind, *text;
    size_t i;

    (void)module;
    if (!PyArg_ParseTuple(args, "ss:_native_error", &kind, &text))
        return NULL;
    for (i = 1; i < N_CODES; i++)
        if (strcmp(codes[i].name, kind) == 0)
            return error_new((int)i, codes[i].prefix, text);
    PyErr_Format(PyExc_ValueError, "%s is no kind of error", kind);
    return NULL;
}

/* What is written in Python is reached here too: from boxlite.boxlite import SecurityOptions. */
static PyObject *module_getattr(PyObject *module, PyObject *name)
{
    PyObject *package, *public, *value = NULL;
    int known = 0;

    (void)module;
    if (!PyUnicode_Check(name)) {
        PyErr_SetString(PyExc_TypeError, "a name must be str");
        return NULL;
    }
    package = PyImport_ImportModule("boxlite");
    public = package ? PyObject_GetAttrString(package, "_NATIVE_NAMES") : NULL;
    if (public)
        known = PySequence_Contains(public, name);
    if (known > 0)
        value = PyObject_GetAttr(package, name);
    else if (public && known == 0)
        PyErr_Format(PyExc_AttributeError, "module 'boxlite.boxlite' has no attribute '%U'", name);
    Py_XDECREF(public);
    Py_XDECREF(package);
    return value;
}

static PyMethodDef functions[] = {
    {"version", version, METH_NOARGS, "The version of libboxlite."},
    {"has_feature", has_feature, METH_VARARGS, "Does libboxlite have the named part?"},
    {"_fork_count", fork_count, METH_NOARGS, "How many forks away the process is that loaded this module."},
    {"_native_error", error_of, METH_VARARGS, "A NativeError of this kind and text."},
    {"__getattr__", module_getattr, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "boxlite.boxlite",
    .m_doc = "libboxlite as Python sees it: calls are posted, answers come in Runtime.drain. Use the package "
             "boxlite.",
    .m_size = -1, /* one per process, as the library's boxes are */
    .m_methods = functions,
};

/* Steals `object`. */
static bool add(PyObject *module, const char *name, PyObject *object)
{
    if (!object)
        return false;
    if (PyModule_AddObject(module, name, object) == 0)
        return true;
    Py_DECREF(object);
    return false;
}

static bool fill(PyObject *module)
{
    static const char doc[] =
        "A failure that libboxlite reported. Its text begins with its class (\"box not found: web\"); "
        "`code` is the number of <boxlite.h>, `kind` its name.";
    static PyTypeObject *(*const make[])(void) = {bxpy_make_runtime_type, bxpy_make_box_type,
                                                  bxpy_make_execution_type, bxpy_make_tunnel_type,
                                                  bxpy_make_forwarder_type};
    static PyTypeObject *tunnel, *forwarder;
    static PyTypeObject **const types[] = {&bxpy_runtime_type, &bxpy_box_type, &bxpy_execution_type, &tunnel,
                                           &forwarder};
    static const char *const names[] = {"_Runtime", "_Box", "_Execution", "_Tunnel", "_Forwarder"};
    size_t i;

    native_error = PyErr_NewExceptionWithDoc("boxlite.boxlite.NativeError", doc, PyExc_RuntimeError, NULL);
    Py_XINCREF(native_error);
    if (!add(module, "NativeError", native_error))
        return false;
    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        *types[i] = make[i]();
        Py_XINCREF(*types[i]);
        if (!add(module, names[i], (PyObject *)*types[i]))
            return false;
    }
    return true;
}

PyMODINIT_FUNC PyInit_boxlite(void);
PyMODINIT_FUNC PyInit_boxlite(void)
{
    static bool hooked;
    PyObject *module = PyModule_Create(&definition);

    if (!module)
        return NULL;
    if (!hooked && pthread_atfork(NULL, NULL, in_child) != 0) {
        Py_DECREF(module);
        return PyErr_NoMemory();
    }
    hooked = true;
    if (!fill(module))
        Py_CLEAR(module);
    return module;
}
