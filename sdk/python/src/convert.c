/* SPDX-License-Identifier: Apache-2.0 */
/* convert.c - results of the library as Python objects: dictionaries whose keys are the fields of
 * boxlite/_records.py. */
#include "native.h"

#include <stdlib.h>
#include <string.h>

PyObject *bxpy_text(const char *s)
{
    if (!s)
        Py_RETURN_NONE;
    return PyUnicode_DecodeUTF8(s, (Py_ssize_t)strlen(s), "replace");
}

/* A name that a box gave to a file: bytes, as os.fsdecode reads them. */
static PyObject *file_name(const char *s)
{
    return PyUnicode_DecodeFSDefault(s);
}

/* ---- lists ---- */

/* A list of n objects made by make(items + i * size). */
static PyObject *list_of(const void *items, int n, size_t size, PyObject *(*make)(const void *))
{
    PyObject *list = PyList_New(n);
    int i;

    for (i = 0; list && i < n; i++) {
        PyObject *item = make((const char *)items + (size_t)i * size);

        if (!item || PyList_SetItem(list, i, item) < 0)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *text_at(const void *item)
{
    return bxpy_text(*(const char *const *)item);
}

/* ---- boxes ---- */

static PyObject *port_at(const void *item)
{
    const CPublishedPort *p = item;

    return Py_BuildValue("{s:i,s:N,s:i,s:s}", "guest_port", (int)p->guest_port, "host_ip",
                         bxpy_text(p->host_ip), "host_port", (int)p->host_port, "protocol",
                         p->protocol == BoxlitePortProtocolUdp ? "udp" : "tcp");
}

static PyObject *network_info(const CNetworkInfo *n)
{
    PyObject *ports;

    if (!n)
        Py_RETURN_NONE;
    if (n->published_ports) {
        ports =
            list_of(n->published_ports->items, n->published_ports->count, sizeof(CPublishedPort), port_at);
    } else {
        Py_INCREF(Py_None);
        ports = Py_None;
    }
    return Py_BuildValue(
        "{s:s,s:N,s:N}", "mode", n->mode == BoxliteNetworkModeDisabled ? "disabled" : "enabled", "allow_net",
        list_of(n->allow_net, n->allow_net_count, sizeof(char *), text_at), "published_ports", ports);
}

static PyObject *box_info_at(const void *item)
{
    const CBoxInfo *i = item;

    return Py_BuildValue("{s:N,s:N,s:N,s:N,s:N,s:i,s:L,s:L,s:i,s:i,s:N,s:k,s:k,s:N}", "id", bxpy_text(i->id),
                         "name", bxpy_text(i->name), "image", bxpy_text(i->image), "status",
                         bxpy_text(i->status), "running", PyBool_FromLong(i->running), "pid", i->pid,
                         "created_at", (long long)i->created_at, "started_at", (long long)i->started_at,
                         "cpus", i->cpus, "memory_mib", i->memory_mib, "network", network_info(i->network),
                         "auto_stop", (unsigned long)i->auto_stop, "auto_delete",
                         (unsigned long)i->auto_delete, "auto_resume", PyBool_FromLong(i->auto_resume));
}

PyObject *bxpy_box_info(const CBoxInfo *info)
{
    return box_info_at(info);
}

PyObject *bxpy_box_list(const CBoxInfoList *list)
{
    return list_of(list->items, list->count, sizeof(CBoxInfo), box_info_at);
}

PyObject *bxpy_box_metrics(const CBoxMetrics *m)
{
    return Py_BuildValue(
        "{s:d,s:L,s:i,s:i,s:L,s:L,s:L,s:L,s:L,s:L,s:i,s:i}", "cpu_percent", m->cpu_percent, "memory_bytes",
        (long long)m->memory_bytes, "commands_executed_total", m->commands_executed, "exec_errors_total",
        m->exec_errors, "bytes_sent_total", (long long)m->bytes_sent, "bytes_received_total",
        (long long)m->bytes_received, "total_create_duration_ms", (long long)m->create_duration_ms,
        "guest_boot_duration_ms", (long long)m->boot_duration_ms, "network_bytes_sent",
        (long long)m->network_bytes_sent, "network_bytes_received", (long long)m->network_bytes_received,
        "network_tcp_connections", m->network_tcp_connections, "network_tcp_errors", m->network_tcp_errors);
}

PyObject *bxpy_runtime_metrics(const CRuntimeMetrics *m)
{
    return Py_BuildValue("{s:i,s:i,s:i,s:i,s:i}", "boxes_created_total", m->boxes_created_total,
                         "boxes_failed_total", m->boxes_failed_total, "num_running_boxes",
                         m->num_running_boxes, "total_commands_executed", m->total_commands_executed,
                         "total_exec_errors", m->total_exec_errors);
}

PyObject *bxpy_facts(const CBoxliteInfo *info)
{
    PyObject *facts = PyDict_New();
    const char *key;
    int i, r;

    for (i = 0; facts && (key = boxlite_info_key(info, i)); i++) {
        PyObject *value = bxpy_text(boxlite_info_get(info, key));

        r = value ? PyDict_SetItemString(facts, key, value) : -1;
        Py_XDECREF(value);
        if (r < 0)
            Py_CLEAR(facts);
    }
    return facts;
}

static PyObject *process_at(const void *item)
{
    const CBoxProcess *p = *(const CBoxProcess *const *)item;

    return Py_BuildValue("{s:i,s:i,s:k,s:C,s:i,s:K,s:K,s:K,s:N,s:N}", "pid", (int)p->pid, "parent",
                         (int)p->parent, "uid", (unsigned long)p->uid, "state",
                         p->state > 0 && p->state < 128 ? (int)p->state : '?', "threads", (int)p->threads,
                         "cpu_us", (unsigned long long)p->cpu_us, "memory_bytes",
                         (unsigned long long)p->memory_bytes, "age_ms", (unsigned long long)p->age_ms, "name",
                         bxpy_text(p->name), "command", bxpy_text(p->command));
}

PyObject *bxpy_processes(const CBoxProcessList *list)
{
    return list_of(list->items, list->count, sizeof(list->items[0]), process_at);
}

PyObject *bxpy_event(const CBoxliteEvent *e)
{
    PyObject *code = Py_None;

    if (e->has_exit_code)
        code = PyLong_FromLong(e->exit_code);
    else
        Py_INCREF(code);
    return Py_BuildValue("{s:N,s:d,s:N,s:N,s:N,s:N,s:N,s:N,s:N,s:N,s:N}", "type", bxpy_text(e->type), "time",
                         (double)e->time_ns / 1e9, "box_id", bxpy_text(e->box_id), "box_name",
                         bxpy_text(e->box_name), "image", bxpy_text(e->image), "execution_id",
                         bxpy_text(e->execution_id), "program", bxpy_text(e->program), "health",
                         bxpy_text(e->health), "message", bxpy_text(e->message), "exit_code", code,
                         "oom_killed", PyBool_FromLong(e->oom));
}

/* ---- images ---- */

PyObject *bxpy_pulled(const CImagePullResult *r)
{
    return Py_BuildValue("{s:N,s:N,s:i}", "reference", bxpy_text(r->reference), "config_digest",
                         bxpy_text(r->config_digest), "layer_count", r->layer_count);
}

static PyObject *image_at(const void *item)
{
    const CImageInfo *i = item;
    PyObject *size = Py_None;

    if (i->has_size)
        size = PyLong_FromUnsignedLongLong(i->size);
    else
        Py_INCREF(size);
    return Py_BuildValue("{s:N,s:N,s:N,s:N,s:L,s:N}", "reference", bxpy_text(i->reference), "repository",
                         bxpy_text(i->repository), "tag", bxpy_text(i->tag), "id", bxpy_text(i->id),
                         "cached_at", (long long)i->cached_at, "size_bytes", size);
}

PyObject *bxpy_images(const CImageInfoList *list)
{
    return list_of(list->items, list->count, sizeof(CImageInfo), image_at);
}

PyObject *bxpy_pruned(const CImagePruneResult *r)
{
    int n = 0;

    while (r->references && r->references[n])
        n++;
    return Py_BuildValue("{s:K,s:i,s:i,s:i,s:i,s:i,s:N}", "bytes", (unsigned long long)r->bytes, "images",
                         r->images, "blobs", r->blobs, "disks", r->disks, "templates", r->templates,
                         "blobs_kept", r->blobs_kept, "references",
                         list_of(r->references, n, sizeof(char *), text_at));
}

/* ---- files ---- */

PyObject *bxpy_copied(const CBoxCopyResult *r)
{
    return Py_BuildValue("{s:K,s:K,s:K,s:K,s:K}", "files", (unsigned long long)r->files, "folders",
                         (unsigned long long)r->folders, "links", (unsigned long long)r->links, "bytes",
                         (unsigned long long)r->bytes, "left_out", (unsigned long long)r->left_out);
}

PyObject *bxpy_file(const CBoxFileInfo *i)
{
    static const char *const types[] = {
        [0] = "other",
        [BoxliteFileTypeFile] = "file",
        [BoxliteFileTypeFolder] = "folder",
        [BoxliteFileTypeLink] = "link",
        [BoxliteFileTypeOther] = "other",
    };
    int type = i->type >= 0 && i->type <= BoxliteFileTypeOther ? i->type : 0;

    return Py_BuildValue("{s:N,s:N,s:s,s:k,s:k,s:k,s:K,s:L}", "name", file_name(i->name), "link_target",
                         file_name(i->link_target), "type", types[type], "mode", (unsigned long)i->mode,
                         "uid", (unsigned long)i->uid, "gid", (unsigned long)i->gid, "size",
                         (unsigned long long)i->bytes, "mtime_ns", (long long)i->mtime_ns);
}

static PyObject *file_at(const void *item)
{
    return bxpy_file(*(const CBoxFileInfo *const *)item);
}

PyObject *bxpy_files(const CBoxFileInfoList *list)
{
    return list_of(list->items, list->count, sizeof(list->items[0]), file_at);
}

/* ---- the other way: strings for the library ---- */

static bool string_at(PyObject *sequence, Py_ssize_t i, const char *what, struct strings *s)
{
    PyObject *item = PySequence_GetItem(sequence, i), *bytes = NULL;
    char *data;

    if (item && !PyUnicode_Check(item))
        PyErr_Format(PyExc_TypeError, "%s: number %zd must be str", what, i);
    else if (item)
        bytes = PyUnicode_AsEncodedString(item, "utf-8", "surrogateescape");
    Py_XDECREF(item);
    if (!bytes)
        return false;
    if (PyList_SetItem(s->owner, i, bytes) < 0 || PyBytes_AsStringAndSize(bytes, &data, NULL) < 0)
        return false; /* a NUL inside: ValueError */
    s->items[i] = data;
    return true;
}

bool bxpy_strings(PyObject *sequence, const char *what, struct strings *ret)
{
    struct strings s = {0};
    Py_ssize_t i, n;

    if (PyUnicode_Check(sequence) || !PySequence_Check(sequence)) {
        PyErr_Format(PyExc_TypeError, "%s must be a list of str", what);
        return false;
    }
    n = PySequence_Size(sequence);
    if (n < 0)
        return false;
    if (n > INT32_MAX / 16) {
        PyErr_Format(PyExc_ValueError, "%s: too many", what);
        return false;
    }
    s.count = (int)n;
    s.owner = PyList_New(n);
    s.items = calloc((size_t)n + 1, sizeof(*s.items));
    if (s.owner && !s.items)
        PyErr_NoMemory();
    for (i = 0; s.owner && s.items && i < n; i++)
        if (!string_at(sequence, i, what, &s))
            break;
    if (!s.owner || !s.items || i < n) {
        bxpy_strings_done(&s);
        return false;
    }
    *ret = s;
    return true;
}

void bxpy_strings_done(struct strings *s)
{
    Py_XDECREF(s->owner);
    free(s->items);
    *s = (struct strings){0};
}
