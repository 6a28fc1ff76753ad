/* SPDX-License-Identifier: Apache-2.0 */
/* network.c - the types _Tunnel and _Forwarder: ways to a port of a box. See native.h. */
#include "native.h"

struct tunnel {
    PyObject_HEAD struct runtime *runtime;
    CBoxTunnelHandle *handle;
};

struct forwarder {
    PyObject_HEAD struct runtime *runtime;
    CTunnelForwarderHandle *handle;
};

static PyTypeObject *tunnel_type, *forwarder_type;

/* ---- a tunnel ---- */

PyObject *bxpy_tunnel_new(struct runtime *r, CBoxHandle *box, unsigned short port)
{
    allocfunc allocate = (allocfunc)(uintptr_t)PyType_GetSlot(tunnel_type, Py_tp_alloc);
    CBoxNetworkHandle *network = NULL;
    CBoxliteError e = {Ok, NULL};
    struct tunnel *t;
    BoxliteErrorCode rc;

    if (!bxpy_usable(r))
        return NULL;
    t = (struct tunnel *)allocate(tunnel_type, 0);
    if (!t)
        return NULL;
    Py_INCREF(r);
    t->runtime = r;
    rc = boxlite_box_network(box, &network, &e);
    if (rc == Ok)
        rc = boxlite_network_tunnel(network, port, &t->handle, &e);
    boxlite_network_free(network);
    if (rc == Ok)
        return (PyObject *)t;
    Py_DECREF(t);
    return bxpy_raise(&e);
}

static void tunnel_dealloc(PyObject *self)
{
    struct tunnel *t = (struct tunnel *)self;

    if (bxpy_ours(t->runtime))
        boxlite_tunnel_free(t->handle);
    Py_DECREF(t->runtime);
    bxpy_free(self);
}

static PyObject *tunnel_uri(PyObject *self, PyObject *unused)
{
    struct tunnel *t = (struct tunnel *)self;
    CBoxliteError e = {Ok, NULL};
    PyObject *text;
    char *uri;

    (void)unused;
    if (!bxpy_usable(t->runtime))
        return NULL;
    if (boxlite_tunnel_uri(t->handle, &uri, &e) != Ok)
        return bxpy_raise(&e);
    text = bxpy_text(uri);
    boxlite_free_string(uri);
    return text;
}

static PyObject *tunnel_connect(PyObject *self, PyObject *unused)
{
    struct tunnel *t = (struct tunnel *)self;
    CBoxliteError e = {Ok, NULL};
    int32_t fd;

    (void)unused;
    if (!bxpy_usable(t->runtime))
        return NULL;
    if (boxlite_tunnel_connect(t->handle, &fd, &e) != Ok)
        return bxpy_raise(&e);
    return PyLong_FromLong(fd);
}

static PyObject *tunnel_forward(PyObject *self, PyObject *args)
{
    allocfunc allocate = (allocfunc)(uintptr_t)PyType_GetSlot(forwarder_type, Py_tp_alloc);
    struct tunnel *t = (struct tunnel *)self;
    BoxliteSocketAddress address = {0};
    CBoxliteError e = {Ok, NULL};
    struct forwarder *f;

    if (!PyArg_ParseTuple(args, "zHz:forward", &address.host, &address.port, &address.path) ||
        !bxpy_usable(t->runtime))
        return NULL;
    address.kind = address.path ? BoxliteSocketUnix : BoxliteSocketTcp;
    f = (struct forwarder *)allocate(forwarder_type, 0);
    if (!f)
        return NULL;
    Py_INCREF(t->runtime);
    f->runtime = t->runtime;
    if (boxlite_tunnel_forward(t->handle, &address, &f->handle, &e) == Ok)
        return (PyObject *)f;
    Py_DECREF(f);
    return bxpy_raise(&e);
}

/* ---- who listens for one ---- */

static void forwarder_dealloc(PyObject *self)
{
    struct forwarder *f = (struct forwarder *)self;

    if (bxpy_ours(f->runtime))
        boxlite_tunnel_forwarder_free(f->handle);
    Py_DECREF(f->runtime);
    bxpy_free(self);
}

static PyObject *forwarder_address(PyObject *self, PyObject *unused)
{
    struct forwarder *f = (struct forwarder *)self;
    CBoxliteError e = {Ok, NULL};
    PyObject *text;
    char *address;

    (void)unused;
    if (!bxpy_usable(f->runtime))
        return NULL;
    if (boxlite_tunnel_forwarder_address(f->handle, &address, &e) != Ok)
        return bxpy_raise(&e);
    text = bxpy_text(address);
    boxlite_free_string(address);
    return text;
}

static PyObject *forwarder_wait(PyObject *self, PyObject *done)
{
    struct forwarder *f = (struct forwarder *)self;
    struct call *c = bxpy_call_new(f->runtime, done);
    CBoxliteError e = {Ok, NULL};

    return c ? bxpy_posted(c, boxlite_tunnel_forwarder_wait(f->handle, bxpy_on_plain, c, &e), &e) : NULL;
}

static PyObject *forwarder_close(PyObject *self, PyObject *done)
{
    struct forwarder *f = (struct forwarder *)self;
    struct call *c = bxpy_call_new(f->runtime, done);
    CBoxliteError e = {Ok, NULL};

    return c ? bxpy_posted(c, boxlite_tunnel_forwarder_close(f->handle, bxpy_on_plain, c, &e), &e) : NULL;
}

/* ---- the types ---- */

PyTypeObject *bxpy_make_tunnel_type(void)
{
    static PyMethodDef methods[] = {
        {"uri", tunnel_uri, METH_NOARGS, "Where others reach it, or None."},
        {"connect", tunnel_connect, METH_NOARGS, "A socket's descriptor, the caller's."},
        {"forward", tunnel_forward, METH_VARARGS, "forward(host, port, path)"},
        {NULL, NULL, 0, NULL},
    };
    static char doc[] = "A way to a port of a box.";
    static PyType_Slot slots[] = {
        {Py_tp_doc, doc}, {Py_tp_new, bxpy_no_new}, {Py_tp_dealloc, tunnel_dealloc}, {Py_tp_methods, methods},
        {0, NULL},
    };
    static PyType_Spec spec = {"boxlite.boxlite._Tunnel", sizeof(struct tunnel), 0, Py_TPFLAGS_DEFAULT,
                               slots};

    tunnel_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return tunnel_type;
}

PyTypeObject *bxpy_make_forwarder_type(void)
{
    static PyMethodDef methods[] = {
        {"address", forwarder_address, METH_NOARGS, "Where it listens."},
        {"wait", forwarder_wait, METH_O, "wait(done)"},
        {"close", forwarder_close, METH_O, "close(done)"},
        {NULL, NULL, 0, NULL},
    };
    static char doc[] = "What listens on this host for a tunnel.";
    static PyType_Slot slots[] = {
        {Py_tp_doc, doc},
        {Py_tp_new, bxpy_no_new},
        {Py_tp_dealloc, forwarder_dealloc},
        {Py_tp_methods, methods},
        {0, NULL},
    };
    static PyType_Spec spec = {"boxlite.boxlite._Forwarder", sizeof(struct forwarder), 0, Py_TPFLAGS_DEFAULT,
                               slots};

    forwarder_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return forwarder_type;
}
