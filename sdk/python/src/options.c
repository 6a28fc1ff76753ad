/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - what a new box shall be: a sequence of (setting, value...) from boxlite/_options.py, one table
 * row each. */
#include "native.h"

#include <stdlib.h>
#include <string.h>

struct target {
    CBoxliteOptions *options;
    CAdvancedBoxOptions *advanced; /* made at the first setting that is for it */
};

/* What a setting's values are, and the setter that takes them. */
enum kind {
    KIND_FLAG,         /* () */
    KIND_INT,          /* (int) */
    KIND_U32,          /* (int) */
    KIND_TEXT,         /* (str) */
    KIND_PAIR,         /* (str, str) */
    KIND_LIST,         /* (sequence of str) */
    KIND_PORT,         /* (host port, guest port, udp?, address or None) */
    KIND_VOLUME,       /* (host, guest, read only?) */
    KIND_SECRET,       /* (name, value, placeholder or None, sequence of str) */
    KIND_HEALTH,       /* (sequence of str or None, interval, timeout, start period in ms, retries) */
    KIND_SWITCH,       /* (int), an advanced option */
    KIND_LIMIT,        /* (int), likewise */
    KIND_CAPABILITIES, /* (sequence of str), likewise */
};

struct setting {
    const char *name;
    enum kind kind;
    union {
        void (*flag)(CBoxliteOptions *);
        void (*number)(CBoxliteOptions *, int);
        void (*u32)(CBoxliteOptions *, uint32_t);
        void (*text)(CBoxliteOptions *, const char *);
        void (*pair)(CBoxliteOptions *, const char *, const char *);
        void (*list)(CBoxliteOptions *, const char *const *, int);
        void (*turn)(CAdvancedBoxOptions *, int);
        void (*limit)(CAdvancedBoxOptions *, uint64_t);
        BoxliteErrorCode (*capabilities)(CAdvancedBoxOptions *, const char *const *, int);
    } set;
};

static const struct setting settings[] = {
    {"name", KIND_TEXT, {.text = boxlite_options_set_name}},
    {"rootfs_path", KIND_TEXT, {.text = boxlite_options_set_rootfs_path}},
    {"cpus", KIND_INT, {.number = boxlite_options_set_cpus}},
    {"memory_mib", KIND_INT, {.number = boxlite_options_set_memory}},
    {"disk_size_gb", KIND_INT, {.number = boxlite_options_set_disk_size_gb}},
    {"working_dir", KIND_TEXT, {.text = boxlite_options_set_workdir}},
    {"env", KIND_PAIR, {.pair = boxlite_options_add_env}},
    {"user", KIND_TEXT, {.text = boxlite_options_set_user}},
    {"network_enabled", KIND_FLAG, {.flag = boxlite_options_set_network_enabled}},
    {"network_disabled", KIND_FLAG, {.flag = boxlite_options_set_network_disabled}},
    {"allow_net", KIND_TEXT, {.text = boxlite_options_add_network_allow}},
    {"port", KIND_PORT, {NULL}},
    {"volume", KIND_VOLUME, {NULL}},
    {"secret", KIND_SECRET, {NULL}},
    {"health_check", KIND_HEALTH, {NULL}},
    {"auto_stop", KIND_U32, {.u32 = boxlite_options_set_auto_stop_interval}},
    {"auto_delete", KIND_U32, {.u32 = boxlite_options_set_auto_delete_interval}},
    {"auto_resume", KIND_INT, {.number = boxlite_options_set_auto_resume_enabled}},
    {"auto_remove", KIND_INT, {.number = boxlite_options_set_auto_remove}},
    {"detach", KIND_INT, {.number = boxlite_options_set_detach}},
    {"entrypoint", KIND_LIST, {.list = boxlite_options_set_entrypoint}},
    {"cmd", KIND_LIST, {.list = boxlite_options_set_cmd}},
    {"engine", KIND_TEXT, {.text = boxlite_options_set_engine}},
    {"jailer_enabled", KIND_SWITCH, {.turn = boxlite_advanced_options_set_jailer_enabled}},
    {"seccomp_enabled", KIND_SWITCH, {.turn = boxlite_advanced_options_set_seccomp_enabled}},
    {"security_network_enabled", KIND_SWITCH, {.turn = boxlite_advanced_options_set_network_enabled}},
    {"close_fds", KIND_SWITCH, {.turn = boxlite_advanced_options_set_close_fds}},
    {"max_open_files", KIND_LIMIT, {.limit = boxlite_advanced_options_set_max_open_files}},
    {"max_file_size", KIND_LIMIT, {.limit = boxlite_advanced_options_set_max_file_size}},
    {"max_processes", KIND_LIMIT, {.limit = boxlite_advanced_options_set_max_processes}},
    {"max_memory", KIND_LIMIT, {.limit = boxlite_advanced_options_set_max_memory}},
    {"max_cpu_time", KIND_LIMIT, {.limit = boxlite_advanced_options_set_max_cpu_time}},
    {"capabilities_add", KIND_CAPABILITIES, {.capabilities = boxlite_advanced_options_set_capabilities_add}},
    {"capabilities_drop",
     KIND_CAPABILITIES,
     {.capabilities = boxlite_advanced_options_set_capabilities_drop}},
};

/* ---- one function for each kind ---- */

static bool set_text(const struct setting *s, CBoxliteOptions *o, PyObject *values)
{
    const char *text;

    if (!PyArg_ParseTuple(values, "s", &text))
        return false;
    s->set.text(o, text);
    return true;
}

static bool set_pair(const struct setting *s, CBoxliteOptions *o, PyObject *values)
{
    const char *first, *second;

    if (!PyArg_ParseTuple(values, "ss", &first, &second))
        return false;
    s->set.pair(o, first, second);
    return true;
}

static bool set_number(const struct setting *s, CBoxliteOptions *o, PyObject *values)
{
    unsigned long u32;
    int number;

    if (s->kind == KIND_INT) {
        if (!PyArg_ParseTuple(values, "i", &number))
            return false;
        s->set.number(o, number);
        return true;
    }
    if (!PyArg_ParseTuple(values, "k", &u32))
        return false;
    s->set.u32(o, (uint32_t)u32);
    return true;
}

static bool set_list(const struct setting *s, CBoxliteOptions *o, PyObject *values)
{
    struct strings list;
    PyObject *sequence;

    if (!PyArg_ParseTuple(values, "O", &sequence) || !bxpy_strings(sequence, s->name, &list))
        return false;
    s->set.list(o, list.items, list.count);
    bxpy_strings_done(&list);
    return true;
}

static bool set_port(CBoxliteOptions *o, PyObject *values)
{
    unsigned short host, guest;
    CBoxliteError e = {Ok, NULL};
    const char *ip;
    int udp;

    if (!PyArg_ParseTuple(values, "HHpz", &host, &guest, &udp, &ip))
        return false;
    if (boxlite_options_add_port(o, host, guest, udp ? BoxlitePortProtocolUdp : BoxlitePortProtocolTcp, ip,
                                 &e) == Ok)
        return true;
    bxpy_raise(&e);
    return false;
}

static bool set_volume(CBoxliteOptions *o, PyObject *values)
{
    const char *host, *guest;
    int read_only;

    if (!PyArg_ParseTuple(values, "ssp", &host, &guest, &read_only))
        return false;
    boxlite_options_add_volume(o, host, guest, read_only);
    return true;
}

static bool set_secret(CBoxliteOptions *o, PyObject *values)
{
    const char *name, *value, *placeholder;
    struct strings hosts;
    PyObject *sequence;

    if (!PyArg_ParseTuple(values, "sszO", &name, &value, &placeholder, &sequence) ||
        !bxpy_strings(sequence, "hosts", &hosts))
        return false;
    boxlite_options_add_secret(o, name, value, placeholder, hosts.items, hosts.count);
    bxpy_strings_done(&hosts);
    return true;
}

static bool set_health(CBoxliteOptions *o, PyObject *values)
{
    BoxliteHealthCheck check = BOXLITE_HEALTH_CHECK_INIT;
    long long interval, timeout, start_period, retries;
    struct strings cmd = {0};
    CBoxliteError e = {Ok, NULL};
    BoxliteErrorCode rc;
    PyObject *sequence;

    if (!PyArg_ParseTuple(values, "OLLLL", &sequence, &interval, &timeout, &start_period, &retries) ||
        (sequence != Py_None && !bxpy_strings(sequence, "cmd", &cmd)))
        return false;
    check.cmd = cmd.items;
    check.cmd_count = cmd.count;
    check.interval_ms = interval;
    check.timeout_ms = timeout;
    check.start_period_ms = start_period;
    check.retries = retries;
    rc = boxlite_options_set_health_check(o, &check, &e);
    bxpy_strings_done(&cmd);
    if (rc != Ok)
        bxpy_raise(&e);
    return rc == Ok;
}

static bool set_capabilities(const struct setting *s, CAdvancedBoxOptions *a, PyObject *values)
{
    struct strings list;
    PyObject *sequence;

    if (!PyArg_ParseTuple(values, "O", &sequence) || !bxpy_strings(sequence, s->name, &list))
        return false;
    (void)s->set.capabilities(a, list.items,
                              list.count); /* no box is made with a name that is none: that says which */
    bxpy_strings_done(&list);
    return true;
}

static bool set_advanced(const struct setting *s, struct target *t, PyObject *values)
{
    CBoxliteError e = {Ok, NULL};
    unsigned long long limit;
    int on;

    if (!t->advanced && boxlite_advanced_options_new(&t->advanced, &e) != Ok) {
        bxpy_raise(&e);
        return false;
    }
    switch (s->kind) {
    case KIND_SWITCH:
        if (!PyArg_ParseTuple(values, "p", &on))
            return false;
        s->set.turn(t->advanced, on);
        return true;
    case KIND_LIMIT:
        if (!PyArg_ParseTuple(values, "K", &limit))
            return false;
        s->set.limit(t->advanced, limit);
        return true;
    default:
        return set_capabilities(s, t->advanced, values);
    }
}

static bool set_one(const struct setting *s, struct target *t, PyObject *values)
{
    switch (s->kind) {
    case KIND_FLAG:
        s->set.flag(t->options);
        return true;
    case KIND_INT:
    case KIND_U32:
        return set_number(s, t->options, values);
    case KIND_TEXT:
        return set_text(s, t->options, values);
    case KIND_PAIR:
        return set_pair(s, t->options, values);
    case KIND_LIST:
        return set_list(s, t->options, values);
    case KIND_PORT:
        return set_port(t->options, values);
    case KIND_VOLUME:
        return set_volume(t->options, values);
    case KIND_SECRET:
        return set_secret(t->options, values);
    case KIND_HEALTH:
        return set_health(t->options, values);
    case KIND_SWITCH:
    case KIND_LIMIT:
    case KIND_CAPABILITIES:
        break;
    }
    return set_advanced(s, t, values);
}

/* ---- all of them ---- */

static const struct setting *find(PyObject *row)
{
    PyObject *name = PyTuple_Check(row) && PyTuple_Size(row) > 0 ? PyTuple_GetItem(row, 0) : NULL;
    size_t i;

    for (i = 0; name && PyUnicode_Check(name) && i < sizeof(settings) / sizeof(settings[0]); i++)
        if (PyUnicode_CompareWithASCIIString(name, settings[i].name) == 0)
            return &settings[i];
    PyErr_Format(PyExc_ValueError, "%R is no setting of a box", row);
    return NULL;
}

static bool set_row(struct target *t, PyObject *row)
{
    const struct setting *s = row ? find(row) : NULL;
    PyObject *values = s ? PyTuple_GetSlice(row, 1, PyTuple_Size(row)) : NULL;
    bool ok = values && set_one(s, t, values);

    Py_XDECREF(values);
    return ok;
}

CBoxliteOptions *bxpy_options(const char *image, PyObject *rows)
{
    CBoxliteError e = {Ok, NULL};
    struct target t = {0};
    Py_ssize_t i, n = PySequence_Check(rows) ? PySequence_Size(rows) : -1;

    if (n < 0) {
        PyErr_SetString(PyExc_TypeError, "settings must be a list of tuples");
        return NULL;
    }
    if (boxlite_options_new(image, &t.options, &e) != Ok) {
        bxpy_raise(&e);
        return NULL;
    }
    for (i = 0; i < n; i++) {
        PyObject *row = PySequence_GetItem(rows, i);
        bool ok = set_row(&t, row);

        Py_XDECREF(row);
        if (!ok)
            break;
    }
    if (i == n && t.advanced)
        boxlite_options_set_advanced(t.options, t.advanced);
    boxlite_advanced_options_free(t.advanced);
    if (i < n) {
        boxlite_options_free(t.options);
        return NULL;
    }
    return t.options;
}
