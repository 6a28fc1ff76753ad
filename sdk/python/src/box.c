/* SPDX-License-Identifier: Apache-2.0 */
/* box.c - the type _Box: a handle on a box, its calls, its files. See native.h. */
#include "native.h"

#include <string.h>

/* ---- the object ---- */

PyObject *bxpy_box_new(struct runtime *r, CBoxHandle *handle)
{
    allocfunc allocate = (allocfunc)(uintptr_t)PyType_GetSlot(bxpy_box_type, Py_tp_alloc);
    struct box *b = (struct box *)allocate(bxpy_box_type, 0);
    char *id, *name;

    if (!b) {
        boxlite_box_free(handle);
        return NULL;
    }
    Py_INCREF(r);
    b->runtime = r;
    b->handle = handle;
    id = boxlite_box_id(handle);
    name = boxlite_box_name(handle);
    b->id = bxpy_text(id);
    b->name = bxpy_text(name);
    boxlite_free_string(id);
    boxlite_free_string(name);
    if (!b->id || !b->name)
        Py_CLEAR(b);
    return (PyObject *)b;
}

static void box_dealloc(PyObject *self)
{
    struct box *b = (struct box *)self;

    if (bxpy_ours(b->runtime))
        boxlite_box_free(b->handle);
    Py_XDECREF(b->id);
    Py_XDECREF(b->name);
    Py_DECREF(b->runtime);
    bxpy_free(self);
}

static PyObject *get_text(PyObject *self, void *offset)
{
    PyObject *text = *(PyObject **)((char *)self + (size_t)(uintptr_t)offset);

    Py_INCREF(text);
    return text;
}

static PyObject *get_engine(PyObject *self, void *unused)
{
    struct box *b = (struct box *)self;
    PyObject *text;
    char *engine;

    (void)unused;
    if (!bxpy_usable(b->runtime))
        return NULL;
    engine = boxlite_box_engine(b->handle);
    text = bxpy_text(engine);
    boxlite_free_string(engine);
    return text;
}

/* ---- its life ---- */

/* A posted call that has no argument but the callback. */
#define SIMPLE_CALL(name, function, callback)                                                                \
    static PyObject *name(PyObject *self, PyObject *done)                                                    \
    {                                                                                                        \
        struct box *b = (struct box *)self;                                                                  \
        struct call *c = bxpy_call_new(b->runtime, done);                                                    \
        CBoxliteError e = {Ok, NULL};                                                                        \
                                                                                                             \
        return c ? bxpy_posted(c, function(b->handle, callback, c, &e), &e) : NULL;                          \
    }

SIMPLE_CALL(box_start, boxlite_start_box, bxpy_on_plain)
SIMPLE_CALL(box_stop, boxlite_stop_box, bxpy_on_plain)
SIMPLE_CALL(box_restart, boxlite_restart_box, bxpy_on_plain)
SIMPLE_CALL(box_pause, boxlite_box_pause, bxpy_on_plain)
SIMPLE_CALL(box_resume, boxlite_box_resume, bxpy_on_plain)
SIMPLE_CALL(box_info, boxlite_box_info, bxpy_on_box_info)
SIMPLE_CALL(box_details, boxlite_box_details, bxpy_on_info)
SIMPLE_CALL(box_processes, boxlite_box_processes, bxpy_on_processes)
SIMPLE_CALL(box_wait, boxlite_box_wait, bxpy_on_wait)
SIMPLE_CALL(box_metrics, boxlite_box_metrics, bxpy_on_box_metrics)

/* ---- commands ---- */

/* What exec was given, and the objects that hold it. */
struct order {
    PyObject *done;
    BoxliteCommand command;
    BoxliteExecOptions options;
    struct strings args, env;
};

static bool take_order(PyObject *tuple, struct order *o)
{
    unsigned long long files, size, processes, memory, cpu;
    PyObject *args, *env;
    int tty, stdin_closed, detached;

    o->options = (BoxliteExecOptions)BOXLITE_EXEC_OPTIONS_INIT;
    if (!PyArg_ParseTuple(tuple, "OsOOzzdppp(ii)(KKKKK):exec", &o->done, &o->command.command, &args, &env,
                          &o->command.workdir, &o->command.user, &o->command.timeout_secs, &tty,
                          &stdin_closed, &detached, &o->options.rows, &o->options.cols, &files, &size,
                          &processes, &memory, &cpu))
        return false;
    o->command.tty = tty;
    o->options.stdin_closed = stdin_closed;
    o->options.detached = detached;
    o->options.max_open_files = files;
    o->options.max_file_size = size;
    o->options.max_processes = processes;
    o->options.max_memory = memory;
    o->options.max_cpu_time = cpu;
    if (!bxpy_strings(args, "args", &o->args))
        return false;
    if (!bxpy_strings(env, "env", &o->env)) {
        bxpy_strings_done(&o->args);
        return false;
    }
    o->command.args = o->args.items;
    o->command.argc = o->args.count;
    o->command.env_pairs = o->env.items;
    o->command.env_count = o->env.count;
    return true;
}

static PyObject *box_exec(PyObject *self, PyObject *tuple)
{
    struct box *b = (struct box *)self;
    CBoxliteError e = {Ok, NULL};
    PyObject *posted = NULL;
    struct order o = {0};
    struct call *c;

    if (!take_order(tuple, &o))
        return NULL;
    c = bxpy_call_new(b->runtime, o.done);
    if (c)
        posted =
            bxpy_posted(c,
                        boxlite_box_exec_post(b->handle, &o.command, &o.options,
                                              o.options.detached ? bxpy_on_loose : bxpy_on_execution, c, &e),
                        &e);
    bxpy_strings_done(&o.args);
    bxpy_strings_done(&o.env);
    return posted;
}

static PyObject *box_attach(PyObject *self, PyObject *args)
{
    struct box *b = (struct box *)self;
    CBoxliteError e = {Ok, NULL};
    PyObject *done;
    const char *id;
    struct call *c;

    if (!PyArg_ParseTuple(args, "Oz:attach", &done, &id) || !(c = bxpy_call_new(b->runtime, done)))
        return NULL;
    return bxpy_posted(c, boxlite_box_attach_execution(b->handle, id, bxpy_on_loose, c, &e), &e);
}

static PyObject *box_set_detached(PyObject *self, PyObject *args)
{
    struct box *b = (struct box *)self;
    CBoxliteError e = {Ok, NULL};
    int detached;

    if (!PyArg_ParseTuple(args, "p:set_detached", &detached) || !bxpy_usable(b->runtime))
        return NULL;
    if (boxlite_box_set_detached(b->handle, detached, &e) != Ok)
        return bxpy_raise(&e);
    Py_RETURN_NONE;
}

/* ---- files ---- */

static PyObject *copy(PyObject *self, PyObject *args, bool in)
{
    struct box *b = (struct box *)self;
    BoxliteCopyOptions how = BOXLITE_COPY_OPTIONS_INIT;
    CBoxliteError e = {Ok, NULL};
    unsigned long long max_bytes;
    const char *from, *to;
    BoxliteErrorCode rc;
    PyObject *done;
    struct call *c;

    if (!PyArg_ParseTuple(args, "OyyppppppzK:copy", &done, &from, &to, &how.recursive, &how.overwrite,
                          &how.follow_symlinks, &how.include_parent, &how.keep_owner, &how.all_links,
                          &how.user, &max_bytes) ||
        !(c = bxpy_call_new(b->runtime, done)))
        return NULL;
    how.max_bytes = max_bytes;
    if (in)
        rc = boxlite_box_copy_in(b->handle, from, to, &how, bxpy_on_copied, c, &e);
    else
        rc = boxlite_box_copy_out(b->handle, from, to, &how, bxpy_on_copied, c, &e);
    return bxpy_posted(c, rc, &e);
}

static PyObject *box_copy_in(PyObject *self, PyObject *args)
{
    return copy(self, args, true);
}

static PyObject *box_copy_out(PyObject *self, PyObject *args)
{
    return copy(self, args, false);
}

static PyObject *box_read_file(PyObject *self, PyObject *args)
{
    struct box *b = (struct box *)self;
    BoxliteFileOptions how = BOXLITE_FILE_OPTIONS_INIT;
    unsigned long long offset, length;
    CBoxliteError e = {Ok, NULL};
    const char *path;
    PyObject *done;
    struct call *c;

    if (!PyArg_ParseTuple(args, "OyKKz:read_file", &done, &path, &offset, &length, &how.user) ||
        !(c = bxpy_call_new(b->runtime, done)))
        return NULL;
    how.offset = offset;
    how.length = length;
    return bxpy_posted(c, boxlite_box_read_file(b->handle, path, &how, bxpy_on_data, c, &e), &e);
}

static PyObject *box_write_file(PyObject *self, PyObject *args)
{
    struct box *b = (struct box *)self;
    BoxliteFileOptions how = BOXLITE_FILE_OPTIONS_INIT;
    CBoxliteError e = {Ok, NULL};
    const char *path, *data;
    unsigned long mode;
    Py_ssize_t len;
    PyObject *done;
    struct call *c;

    if (!PyArg_ParseTuple(args, "Oyy#kppz:write_file", &done, &path, &data, &len, &mode, &how.parents,
                          &how.no_overwrite, &how.user) ||
        !(c = bxpy_call_new(b->runtime, done)))
        return NULL;
    how.mode = (uint32_t)mode;
    return bxpy_posted(c,
                       boxlite_box_write_file(b->handle, path, (const uint8_t *)data, (size_t)len, &how,
                                              bxpy_on_plain, c, &e),
                       &e);
}

/* What has a path, a user and one switch: its place in BoxliteFileOptions is the caller's. */
struct place {
    PyObject *done;
    const char *path, *user;
    int on;
};

static struct call *take_place(struct box *b, PyObject *args, struct place *p)
{
    if (!PyArg_ParseTuple(args, "Oypz", &p->done, &p->path, &p->on, &p->user))
        return NULL;
    return bxpy_call_new(b->runtime, p->done);
}

static PyObject *box_list_dir(PyObject *self, PyObject *args)
{
    struct box *b = (struct box *)self;
    BoxliteFileOptions how = BOXLITE_FILE_OPTIONS_INIT;
    CBoxliteError e = {Ok, NULL};
    struct place p;
    struct call *c = take_place(b, args, &p);

    if (!c)
        return NULL;
    how.user = p.user;
    return bxpy_posted(c, boxlite_box_list_dir(b->handle, p.path, &how, bxpy_on_files, c, &e), &e);
}

static PyObject *box_stat(PyObject *self, PyObject *args)
{
    struct box *b = (struct box *)self;
    BoxliteFileOptions how = BOXLITE_FILE_OPTIONS_INIT;
    CBoxliteError e = {Ok, NULL};
    struct place p;
    struct call *c = take_place(b, args, &p);

    if (!c)
        return NULL;
    how.user = p.user;
    how.follow_symlinks = p.on;
    return bxpy_posted(c, boxlite_box_stat(b->handle, p.path, &how, bxpy_on_file, c, &e), &e);
}

static PyObject *box_mkdir(PyObject *self, PyObject *args)
{
    struct box *b = (struct box *)self;
    BoxliteFileOptions how = BOXLITE_FILE_OPTIONS_INIT;
    CBoxliteError e = {Ok, NULL};
    struct place p;
    struct call *c = take_place(b, args, &p);

    if (!c)
        return NULL;
    how.user = p.user;
    how.parents = p.on;
    return bxpy_posted(c, boxlite_box_mkdir(b->handle, p.path, &how, bxpy_on_plain, c, &e), &e);
}

static PyObject *box_remove_file(PyObject *self, PyObject *args)
{
    struct box *b = (struct box *)self;
    BoxliteFileOptions how = BOXLITE_FILE_OPTIONS_INIT;
    CBoxliteError e = {Ok, NULL};
    struct place p;
    struct call *c = take_place(b, args, &p);

    if (!c)
        return NULL;
    how.user = p.user;
    how.recursive = p.on;
    return bxpy_posted(c, boxlite_box_remove_file(b->handle, p.path, &how, bxpy_on_plain, c, &e), &e);
}

static PyObject *box_rename(PyObject *self, PyObject *args)
{
    struct box *b = (struct box *)self;
    BoxliteFileOptions how = BOXLITE_FILE_OPTIONS_INIT;
    CBoxliteError e = {Ok, NULL};
    const char *path, *to;
    PyObject *done;
    struct call *c;

    if (!PyArg_ParseTuple(args, "Oyypz:rename", &done, &path, &to, &how.no_overwrite, &how.user) ||
        !(c = bxpy_call_new(b->runtime, done)))
        return NULL;
    return bxpy_posted(c, boxlite_box_rename(b->handle, path, to, &how, bxpy_on_plain, c, &e), &e);
}

/* ---- logs, the network ---- */

/* Gives a number that cancel_logs takes. */
static PyObject *box_logs(PyObject *self, PyObject *args)
{
    struct box *b = (struct box *)self;
    BoxliteLogOptions how = BOXLITE_LOG_OPTIONS_INIT;
    CBoxliteError e = {Ok, NULL};
    PyObject *done, *piece, *posted;
    long long tail, since_ms;
    struct call *c;

    if (!PyArg_ParseTuple(args, "OOLLpp:logs", &done, &piece, &tail, &since_ms, &how.follow, &how.console))
        return NULL;
    if (!PyCallable_Check(piece)) {
        PyErr_SetString(PyExc_TypeError, "who gets the pieces must be callable");
        return NULL;
    }
    c = bxpy_call_new(b->runtime, done);
    if (!c)
        return NULL;
    how.tail = tail;
    how.since_ms = since_ms;
    Py_INCREF(piece);
    c->piece = piece;
    posted = bxpy_posted(c, boxlite_box_logs(b->handle, &how, bxpy_on_log, bxpy_on_plain, c, &e), &e);
    if (!posted)
        return NULL;
    Py_DECREF(posted);
    return PyLong_FromVoidPtr(c);
}

static PyObject *box_cancel_logs(PyObject *self, PyObject *number)
{
    struct box *b = (struct box *)self;
    CBoxliteError e = {Ok, NULL};
    void *c = PyLong_AsVoidPtr(number); /* compared, never followed */

    if ((!c && PyErr_Occurred()) || !bxpy_usable(b->runtime))
        return NULL;
    if (boxlite_box_cancel_logs(b->handle, c, &e) != Ok)
        return bxpy_raise(&e);
    Py_RETURN_NONE;
}

static PyObject *box_set_allow_net(PyObject *self, PyObject *args)
{
    struct box *b = (struct box *)self;
    CBoxliteError e = {Ok, NULL};
    PyObject *done, *list, *posted = NULL;
    struct strings rules = {0};
    struct call *c;

    if (!PyArg_ParseTuple(args, "OO:set_allow_net", &done, &list) || !bxpy_strings(list, "allow_net", &rules))
        return NULL;
    c = bxpy_call_new(b->runtime, done);
    if (c)
        posted = bxpy_posted(c, boxlite_box_set_allow_net(b->handle, rules.items, rules.count, bxpy_on_plain, c, &e), &e);
    bxpy_strings_done(&rules);
    return posted;
}

static PyObject *box_tunnel(PyObject *self, PyObject *args)
{
    struct box *b = (struct box *)self;
    unsigned short port;

    return PyArg_ParseTuple(args, "H:tunnel", &port) ? bxpy_tunnel_new(b->runtime, b->handle, port) : NULL;
}

/* ---- the type ---- */

PyTypeObject *bxpy_make_box_type(void)
{
    static PyMethodDef methods[] = {
        {"start", box_start, METH_O, "start(done)"},
        {"stop", box_stop, METH_O, "stop(done)"},
        {"restart", box_restart, METH_O, "restart(done)"},
        {"pause", box_pause, METH_O, "pause(done)"},
        {"resume", box_resume, METH_O, "resume(done)"},
        {"info", box_info, METH_O, "info(done)"},
        {"details", box_details, METH_O, "details(done)"},
        {"metrics", box_metrics, METH_O, "metrics(done)"},
        {"processes", box_processes, METH_O, "processes(done)"},
        {"set_allow_net", box_set_allow_net, METH_VARARGS, "set_allow_net(done, rules)"},
        {"wait", box_wait, METH_O, "wait(done)"},
        {"logs", box_logs, METH_VARARGS,
         "logs(done, piece, tail, since_ms, follow, console): a number for cancel_logs"},
        {"cancel_logs", box_cancel_logs, METH_O, "cancel_logs(number)"},
        {"tunnel", box_tunnel, METH_VARARGS, "tunnel(port)"},
        {"exec", box_exec, METH_VARARGS,
         "exec(done, command, args, env, workdir, user, timeout, tty, stdin_closed, detached, (rows, cols), "
         "limits)"},
        {"attach", box_attach, METH_VARARGS, "attach(done, execution_id)"},
        {"set_detached", box_set_detached, METH_VARARGS, "set_detached(bool)"},
        {"copy_in", box_copy_in, METH_VARARGS,
         "copy_in(done, from, to, recursive, overwrite, follow, parent, keep_owner, all_links, user, "
         "max_bytes)"},
        {"copy_out", box_copy_out, METH_VARARGS, "copy_out: as copy_in"},
        {"read_file", box_read_file, METH_VARARGS, "read_file(done, path, offset, length, user)"},
        {"write_file", box_write_file, METH_VARARGS,
         "write_file(done, path, data, mode, parents, no_overwrite, user)"},
        {"list_dir", box_list_dir, METH_VARARGS, "list_dir(done, path, False, user)"},
        {"stat", box_stat, METH_VARARGS, "stat(done, path, follow, user)"},
        {"mkdir", box_mkdir, METH_VARARGS, "mkdir(done, path, parents, user)"},
        {"remove_file", box_remove_file, METH_VARARGS, "remove_file(done, path, recursive, user)"},
        {"rename", box_rename, METH_VARARGS, "rename(done, path, to, no_overwrite, user)"},
        {NULL, NULL, 0, NULL},
    };
    static PyGetSetDef attributes[] = {
        {"id", get_text, NULL, "12 characters.", (void *)offsetof(struct box, id)},
        {"name", get_text, NULL, "Its name, or None.", (void *)offsetof(struct box, name)},
        {"engine", get_engine, NULL, "kvm or tcg; None before the first start.", NULL},
        {NULL, NULL, NULL, NULL, NULL},
    };
    static char doc[] = "A handle on a box.";
    static PyType_Slot slots[] = {
        {Py_tp_doc, doc},         {Py_tp_new, bxpy_no_new},   {Py_tp_dealloc, box_dealloc},
        {Py_tp_methods, methods}, {Py_tp_getset, attributes}, {0, NULL},
    };
    static PyType_Spec spec = {"boxlite.boxlite._Box", sizeof(struct box), 0, Py_TPFLAGS_DEFAULT, slots};

    return (PyTypeObject *)PyType_FromSpec(&spec);
}
