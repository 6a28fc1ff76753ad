/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_plan.c - see shim_plan.h. One table says for each field: its key, its type, its range, for which kinds
 * of plan it is, and whether it may be absent; writing, parsing, checking and freeing all run over that
 * table.
 */
#include "host/shim_plan.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/path.h"
#include "base/str.h"
#include "host/json.h"

enum field_type { F_STR, F_STRV, F_U64, F_UINT, F_INT, F_I64, F_BOOL };
enum { K_BOX = 1u << BX_SHIM_BOX, K_TEMPLATE = 1u << BX_SHIM_TEMPLATE, K_PROBE = 1u << BX_SHIM_PROBE, K_CHECK = 1u << BX_SHIM_CHECK };
#define K_VM  (K_BOX | K_TEMPLATE)
#define K_ALL (K_VM | K_PROBE | K_CHECK)

struct field {
    const char *key;
    enum field_type type;
    unsigned kinds;
    bool optional; /* strings: may be NULL */
    size_t offset;
    int64_t min;
    uint64_t max; /* strings: bytes; lists: bytes of one item */
};

#define FIELD(name, type, kinds, optional, min, max)                                                         \
    {                                                                                                        \
#name, type, kinds, optional, offsetof(struct bx_shim_plan, name), min, max                          \
    }
#define LIMIT(name)                                                                                          \
    {                                                                                                        \
        "limit_" #name, F_U64, K_BOX, false, offsetof(struct bx_shim_plan, limits.name), 0, INT64_MAX        \
    }
#define ID_MAX 64

static const struct field fields[] = {
    FIELD(fd, F_INT, K_ALL, false, 0, INT_MAX),
    FIELD(engine, F_STR, K_VM, false, 0, 8),
    FIELD(cpus, F_UINT, K_VM, false, 1, BX_CPUS_MAX),
    FIELD(memory_mib, F_UINT, K_VM, false, BX_MEMORY_MIN_MIB, BX_MEMORY_MAX_MIB),
    FIELD(tsc_khz, F_U64, K_VM, false, 0, 100000000),
    FIELD(network, F_BOOL, K_VM, false, 0, 1),
    FIELD(qemu, F_STR, K_VM, false, 0, PATH_MAX),
    FIELD(qemu_id, F_STR, K_VM, false, 0, 256),
    FIELD(kernel, F_STR, K_VM, false, 0, PATH_MAX),
    FIELD(initramfs, F_STR, K_VM, false, 0, PATH_MAX),
    FIELD(hook, F_STR, K_VM, false, 0, PATH_MAX),
    FIELD(boot_id, F_STR, K_VM, false, 0, 256),
    FIELD(templates_dir, F_STR, K_VM, false, 0, PATH_MAX),
    FIELD(template_name, F_STR, K_VM, false, 0, 128),
    FIELD(template_key, F_STR, K_VM, false, 0, 16384),
    FIELD(uid, F_I64, K_VM, false, -1, UINT32_MAX - 1),
    FIELD(gid, F_I64, K_VM, false, -1, UINT32_MAX - 1),
    FIELD(jail_layers, F_UINT, K_VM, false, 0, UINT32_MAX),
    FIELD(jail_required, F_UINT, K_VM, false, 0, UINT32_MAX),
    FIELD(jail_any, F_UINT, K_VM, false, 0, UINT32_MAX),
    FIELD(timeout_ms, F_UINT, K_VM, false, 1, 3600 * 1000),
    FIELD(base_disk, F_STR, K_VM | K_CHECK, true, 0, PATH_MAX),
    FIELD(check_disk, F_STR, K_CHECK, true, 0, PATH_MAX),
    FIELD(check_scratch, F_STR, K_CHECK, true, 0, PATH_MAX),
    FIELD(background, F_BOOL, K_TEMPLATE, false, 0, 1),
    FIELD(templates_bytes, F_U64, K_TEMPLATE, false, 1, INT64_MAX),
    FIELD(templates_idle_s, F_UINT, K_TEMPLATE, false, 1, UINT32_MAX),
    FIELD(box_id, F_STR, K_BOX, false, 0, ID_MAX),
    FIELD(box_dir, F_STR, K_BOX, false, 0, PATH_MAX),
    FIELD(detached, F_BOOL, K_BOX, false, 0, 1),
    FIELD(disk_size, F_U64, K_BOX, false, 1, (uint64_t)BX_DISK_MAX_GB << 30),
    FIELD(grow, F_BOOL, K_BOX, false, 0, 1),
    FIELD(hostname, F_STR, K_BOX, false, 0, 255),
    FIELD(working_dir, F_STR, K_BOX, true, 0, PATH_MAX),
    FIELD(user, F_STR, K_BOX, true, 0, 255),
    FIELD(env, F_STRV, K_BOX, true, 0, BX_ARG_MAX),
    FIELD(capabilities, F_U64, K_BOX, false, 0, INT64_MAX),
    LIMIT(nofile),
    LIMIT(fsize),
    LIMIT(as),
    LIMIT(cpu_seconds),
    LIMIT(pids),
    FIELD(readonly_proc, F_BOOL, K_BOX, false, 0, 1),
    FIELD(syscall_filter, F_BOOL, K_BOX, false, 0, 1),
    FIELD(box_name, F_STR, K_BOX, true, 0, BX_NAME_MAX),
    FIELD(image, F_STR, K_BOX, true, 0, PATH_MAX),
    FIELD(events_dir, F_STR, K_BOX, true, 0, PATH_MAX),
    FIELD(health_cmd, F_STRV, K_BOX, true, 0, BX_ARG_MAX),
    FIELD(health_interval_ms, F_UINT, K_BOX, false, 0, UINT32_MAX),
    FIELD(health_timeout_ms, F_UINT, K_BOX, false, 0, UINT32_MAX),
    FIELD(health_start_period_ms, F_UINT, K_BOX, false, 0, UINT32_MAX),
    FIELD(health_retries, F_UINT, K_BOX, false, 0, UINT32_MAX),
    FIELD(net_program, F_STR, K_BOX, true, 0, PATH_MAX),
    FIELD(net_plan, F_STR, K_BOX, true, 0, 2 << 20),
    FIELD(setup_us, F_UINT, K_BOX, false, 0, UINT32_MAX),
    FIELD(image_us, F_UINT, K_BOX, false, 0, UINT32_MAX),
    FIELD(template_us, F_UINT, K_BOX, false, 0, UINT32_MAX),
    FIELD(config_us, F_UINT, K_BOX, false, 0, UINT32_MAX),
};

static const char *const kind_names[] = {
    [BX_SHIM_BOX] = "box", [BX_SHIM_TEMPLATE] = "template", [BX_SHIM_PROBE] = "probe", [BX_SHIM_CHECK] = "check"};
#define HOOK_HASH_KEY "hook_hash" /* 64 bits do not fit a JSON number: 16 hexadecimal digits */

static void *at(const struct bx_shim_plan *p, const struct field *f)
{
    return (char *)(uintptr_t)p + f->offset;
}

void bx_shim_plan_done(struct bx_shim_plan *p)
{
    for (size_t i = 0; i < BX_ARRAY_SIZE(fields); i++) {
        if (fields[i].type == F_STR)
            free(*(char **)at(p, &fields[i]));
        else if (fields[i].type == F_STRV)
            bx_strv_free(*(char ***)at(p, &fields[i]));
    }
    *p = BX_SHIM_PLAN_INIT;
}

/* --- writing --- */

static void write_field(struct bx_jw *w, const struct bx_shim_plan *p, const struct field *f)
{
    switch (f->type) {
    case F_STR:
        if (!f->optional || *(char **)at(p, f))
            bx_jw_str(w, f->key, *(char **)at(p, f));
        break;
    case F_STRV:
        bx_jw_strv(w, f->key, *(char ***)at(p, f));
        break;
    case F_U64:
        bx_jw_u64(w, f->key, *(uint64_t *)at(p, f));
        break;
    case F_UINT:
        bx_jw_u64(w, f->key, *(unsigned *)at(p, f));
        break;
    case F_INT:
        bx_jw_i64(w, f->key, *(int *)at(p, f));
        break;
    case F_I64:
        bx_jw_i64(w, f->key, *(int64_t *)at(p, f));
        break;
    case F_BOOL:
        bx_jw_bool(w, f->key, *(bool *)at(p, f));
        break;
    }
}

int bx_shim_plan_write(const struct bx_shim_plan *p, struct bx_buf *out, struct bx_err *err)
{
    struct bx_shim_plan check;
    size_t before = bx_buf_len(out);
    struct bx_jw w;
    char hash[17];
    int r;

    if (p->kind < BX_SHIM_BOX || p->kind > BX_SHIM_CHECK)
        return bx_fail(err, BX_EINTERNAL, 0, "plan of no kind");
    bx_jw_init(&w, out, false);
    bx_jw_obj(&w, NULL);
    bx_jw_u64(&w, "version", BX_SHIM_PLAN_VERSION);
    bx_jw_str(&w, "kind", kind_names[p->kind]);
    for (size_t i = 0; i < BX_ARRAY_SIZE(fields); i++)
        if (fields[i].kinds & (1u << p->kind))
            write_field(&w, p, &fields[i]);
    if (K_VM & (1u << p->kind)) {
        snprintf(hash, sizeof(hash), "%016llx", (unsigned long long)p->hook_hash);
        bx_jw_str(&w, HOOK_HASH_KEY, hash);
    }
    bx_jw_end(&w);
    r = bx_jw_finish(&w, err);
    if (r < 0)
        return bx_prefix(err, "plan");
    /* One set of checks: those of the reader. */
    r = bx_shim_plan_parse((const char *)bx_buf_data(out) + before, bx_buf_len(out) - before, &check, err);
    if (r == 0)
        bx_shim_plan_done(&check);
    return r;
}

/* --- parsing --- */

static int read_str(const struct bx_json *o, const struct field *f, char **ret, struct bx_err *err)
{
    const char *s = NULL;
    int r =
        f->optional ? bx_json_opt_str(o, f->key, f->max, &s, err) : bx_json_str(o, f->key, f->max, &s, err);

    if (r < 0 || !s)
        return r;
    *ret = strdup(s);
    return *ret ? 0 : bx_fail(err, BX_ERESOURCE, 0, "out of memory");
}

static int read_field(const struct bx_json *o, const struct field *f, struct bx_shim_plan *p,
                      struct bx_err *err)
{
    int64_t i = 0;
    uint64_t u = 0;
    int r;

    switch (f->type) {
    case F_STR:
        return read_str(o, f, at(p, f), err);
    case F_STRV:
        return bx_json_opt_strv(o, f->key, BX_ARGS_MAX, f->max, at(p, f), err);
    case F_BOOL:
        return bx_json_bool(o, f->key, at(p, f), err);
    case F_U64:
        return bx_json_u64(o, f->key, (uint64_t)f->min, f->max, at(p, f), err);
    case F_UINT:
        r = bx_json_u64(o, f->key, (uint64_t)f->min, f->max, &u, err);
        if (r == 0)
            *(unsigned *)at(p, f) = (unsigned)u;
        return r;
    case F_INT:
        r = bx_json_i64(o, f->key, f->min, (int64_t)f->max, &i, err);
        if (r == 0)
            *(int *)at(p, f) = (int)i;
        return r;
    case F_I64:
        return bx_json_i64(o, f->key, f->min, (int64_t)f->max, at(p, f), err);
    }
    return bx_fail(err, BX_EINTERNAL, 0, "plan field %s", f->key);
}

static int read_hook_hash(const struct bx_json *o, uint64_t *ret, struct bx_err *err)
{
    const char *s;
    int r = bx_json_str(o, HOOK_HASH_KEY, 16, &s, err);

    if (r < 0)
        return r;
    *ret = 0;
    if (strlen(s) != 16 || strspn(s, "0123456789abcdef") != 16)
        return bx_json_fail(o, err, HOOK_HASH_KEY " must be 16 hexadecimal digits");
    for (; *s; s++)
        *ret = *ret << 4 | (uint64_t)(*s <= '9' ? *s - '0' : *s - 'a' + 10);
    return 0;
}

static bool is_plain_name(const char *s)
{
    return *s && s[0] != '.' && !strchr(s, '/');
}

static int check_strings(const struct bx_json *o, const struct bx_shim_plan *p, struct bx_err *err)
{
    const char *const paths[] = {p->qemu,          p->kernel,  p->initramfs, p->hook,
                                 p->templates_dir, p->box_dir, p->base_disk, p->net_program,
                                 p->check_disk,    p->check_scratch, p->events_dir};

    for (size_t i = 0; i < BX_ARRAY_SIZE(paths); i++)
        if (paths[i] && paths[i][0] != '/')
            return bx_json_fail(o, err, "path %s must be absolute", paths[i]);
    if (p->template_name && !is_plain_name(p->template_name))
        return bx_json_fail(o, err, "template_name must be a plain name");
    if (p->box_id && !is_plain_name(p->box_id)) /* also the name of a control group */
        return bx_json_fail(o, err, "box_id must be a plain name");
    if (p->kind == BX_SHIM_CHECK && (!p->check_disk != !p->check_scratch || !p->check_disk != !p->base_disk))
        return bx_json_fail(o, err, "check_disk, check_scratch and base_disk come together");
    if (p->health_interval_ms && (!p->health_timeout_ms || !p->health_retries))
        return bx_json_fail(o, err, "a health check has a timeout and retries");
    if (!p->net_program != !p->net_plan)
        return bx_json_fail(o, err, "net_program and net_plan come together");
    for (char **e = p->env; e && *e; e++)
        if ((*e)[0] == '=' || !strchr(*e, '='))
            return bx_json_fail(o, err, "env must be NAME=VALUE");
    return 0;
}

static int read_plan(const struct bx_json *o, struct bx_shim_plan *p, struct bx_err *err)
{
    const char *known[BX_ARRAY_SIZE(fields) + 4], *kind;
    size_t n = 0;
    uint64_t version;
    int r;

    r = bx_json_u64(o, "version", 0, INT64_MAX, &version, err);
    if (r < 0)
        return r;
    if (version != BX_SHIM_PLAN_VERSION)
        return bx_fail(err, BX_EUNSUPPORTED, 0,
                       "plan of version %llu, this boxlite-shim reads version %d: library and shim "
                       "are of different installations",
                       (unsigned long long)version, BX_SHIM_PLAN_VERSION);
    r = bx_json_str(o, "kind", 16, &kind, err);
    if (r < 0)
        return r;
    for (unsigned k = BX_SHIM_BOX; k <= BX_SHIM_CHECK; k++)
        if (bx_streq(kind, kind_names[k]))
            p->kind = (enum bx_shim_kind)k;
    if (!p->kind)
        return bx_json_fail(o, err, "kind is not known");

    known[n++] = "version";
    known[n++] = "kind";
    for (size_t i = 0; i < BX_ARRAY_SIZE(fields); i++)
        if (fields[i].kinds & (1u << p->kind))
            known[n++] = fields[i].key;
    if (K_VM & (1u << p->kind))
        known[n++] = HOOK_HASH_KEY;
    known[n] = NULL;
    r = bx_json_only_keys(o, known, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < BX_ARRAY_SIZE(fields); i++)
        if (fields[i].kinds & (1u << p->kind)) {
            r = read_field(o, &fields[i], p, err);
            if (r < 0)
                return r;
        }
    if (K_VM & (1u << p->kind)) {
        r = read_hook_hash(o, &p->hook_hash, err);
        if (r < 0)
            return r;
    }
    return check_strings(o, p, err);
}

int bx_shim_plan_parse(const char *text, size_t len, struct bx_shim_plan *ret, struct bx_err *err)
{
    const struct bx_json_limits limits = {.bytes = BX_SHIM_PLAN_MAX, .depth = 3, .values = BX_ARGS_MAX + 256};
    bx_cleanup_json struct bx_json o = {0};
    bx_cleanup_shim_plan struct bx_shim_plan p = BX_SHIM_PLAN_INIT;
    int r = bx_json_parse(text, len, &limits, "plan", &o, err);

    if (r == 0)
        r = read_plan(&o, &p, err);
    if (r < 0)
        return r;
    *ret = p;
    p = BX_SHIM_PLAN_INIT;
    return 0;
}

/* --- answers --- */

static int write_line(int fd, struct bx_jw *w)
{
    if (bx_jw_finish(w, NULL) < 0 || bx_buf_addstr(w->out, "\n") < 0)
        return -EINVAL;
    return bx_write_full(fd, bx_buf_data(w->out), bx_buf_len(w->out));
}

int bx_shim_error_write(int fd, const struct bx_err *why)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(8192);
    char text[BX_ERR_MSG_MAX];
    struct bx_jw w;

    bx_str_printable(text, sizeof(text), why->msg, strlen(why->msg));
    bx_jw_init(&w, &out, false);
    bx_jw_obj(&w, NULL);
    bx_jw_i64(&w, "code", why->code);
    bx_jw_i64(&w, "errno", why->sys_errno);
    bx_jw_str(&w, "message", text);
    bx_jw_end(&w);
    return write_line(fd, &w);
}

int bx_shim_error_parse(const char *text, size_t len, struct bx_err *err)
{
    static const char *const known[] = {"code", "errno", "message", NULL};
    bx_cleanup_json struct bx_json o = {0};
    struct bx_err why = BX_ERR_INIT;
    const char *message;
    int64_t code, sys_errno;

    if (bx_json_parse(text, len, NULL, "boxlite-shim", &o, &why) < 0 ||
        bx_json_only_keys(&o, known, &why) < 0 ||
        bx_json_i64(&o, "code", 1, BX_ECODE_MAX - 1, &code, &why) < 0 ||
        bx_json_i64(&o, "errno", 0, 4095, &sys_errno, &why) < 0 ||
        bx_json_str(&o, "message", BX_ERR_MSG_MAX, &message, &why) < 0)
        return bx_fail(err, BX_ERPC, 0, "boxlite-shim ended without saying why (%s)", why.msg);
    bx_fail(err, (enum bx_code)code, 0, "%s", message);
    if (err)
        err->sys_errno = (int)sys_errno;
    return -(int)code;
}

int bx_shim_probe_write(int fd, const char *verdict_line, uint64_t tsc_khz)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(8192);
    struct bx_jw w;

    bx_jw_init(&w, &out, false);
    bx_jw_obj(&w, NULL);
    bx_jw_str(&w, "verdict", verdict_line);
    bx_jw_u64(&w, "tsc_khz", tsc_khz);
    bx_jw_end(&w);
    return write_line(fd, &w);
}

int bx_shim_probe_parse(const char *text, size_t len, char *verdict_line, size_t size, uint64_t *ret_tsc_khz,
                        struct bx_err *err)
{
    static const char *const known[] = {"verdict", "tsc_khz", NULL};
    bx_cleanup_json struct bx_json o = {0};
    const char *line = "";
    int r = bx_json_parse(text, len, NULL, "probe", &o, err);

    if (r == 0)
        r = bx_json_only_keys(&o, known, err);
    if (r == 0)
        r = bx_json_str(&o, "verdict", size - 1, &line, err);
    if (r == 0)
        r = bx_json_u64(&o, "tsc_khz", 0, INT64_MAX, ret_tsc_khz, err);
    if (r < 0)
        return r;
    memcpy(verdict_line, line, strlen(line) + 1);
    return 0;
}

int bx_shim_check_write(int fd, const char *jail, int status, const char *output)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(65536);
    struct bx_jw w;

    bx_jw_init(&w, &out, false);
    bx_jw_obj(&w, NULL);
    bx_jw_str(&w, "jail", jail);
    bx_jw_i64(&w, "status", status);
    bx_jw_str(&w, "output", output);
    bx_jw_end(&w);
    return write_line(fd, &w);
}

int bx_shim_check_parse(const char *text, size_t len, char *jail, size_t jail_size, int *ret_status, char *output, size_t size,
                        struct bx_err *err)
{
    static const char *const known[] = {"jail", "status", "output", NULL};
    bx_cleanup_json struct bx_json o = {0};
    const char *held = "", *said = "";
    int64_t status = 0;
    int r = bx_json_parse(text, len, NULL, "check", &o, err);

    if (r == 0 && bx_json_only_keys(&o, known, NULL) < 0) /* the shim says what went wrong */
        return bx_shim_error_parse(text, len, err);
    if (r == 0)
        r = bx_json_str(&o, "jail", jail_size - 1, &held, err);
    if (r == 0)
        r = bx_json_i64(&o, "status", -1, 255, &status, err);
    if (r == 0)
        r = bx_json_str(&o, "output", size - 1, &said, err);
    if (r < 0)
        return r;
    memcpy(jail, held, strlen(held) + 1);
    memcpy(output, said, strlen(said) + 1);
    *ret_status = (int)status;
    return 0;
}

/* --- exit.json --- */

#define EXIT_FILE "exit.json"

/* At once for every reader, but without fsync: after a crash of the host the record says nothing that the
 * boot id does not, and a stop would wait for the disk. */
static int replace_file(int dirfd, const char *name, const void *data, size_t len)
{
    char tmp[64];
    bx_cleanup_close int fd = bx_tmpfile_at(dirfd, name, 0600, tmp, sizeof(tmp));
    int r;

    if (fd < 0)
        return fd;
    r = bx_write_full(fd, data, len);
    if (r == 0 && renameat(dirfd, tmp, dirfd, name) < 0)
        r = -errno;
    if (r < 0)
        (void)unlinkat(dirfd, tmp, 0);
    return r;
}

int bx_exit_record_write(int dirfd, const struct bx_exit_record *rec, struct bx_err *err)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(16384);
    char text[sizeof(rec->message)];
    struct bx_jw w;
    int r;

    bx_str_printable(text, sizeof(text), rec->message, strnlen(rec->message, sizeof(rec->message)));
    bx_jw_init(&w, &out, false);
    bx_jw_obj(&w, NULL);
    bx_jw_str(&w, "state", rec->failed ? "failed" : "stopped");
    if (rec->has_exit_code)
        bx_jw_i64(&w, "exit_code", rec->exit_code);
    bx_jw_bool(&w, "oom", rec->oom);
    bx_jw_i64(&w, "code", rec->code);
    bx_jw_str(&w, "message", text);
    bx_jw_i64(&w, "time_ns", rec->time_ns);
    bx_jw_end(&w);
    r = bx_jw_finish(&w, err);
    if (r < 0)
        return r;
    bx_buf_addstr(&out, "\n");
    r = replace_file(dirfd, EXIT_FILE, bx_buf_data(&out), bx_buf_len(&out));
    return r < 0 ? bx_fail(err, BX_ESTORAGE, -r, "write " EXIT_FILE) : 0;
}

int bx_exit_record_read(int dirfd, struct bx_exit_record *ret, struct bx_err *err)
{
    bx_cleanup_json struct bx_json o = {0};
    bx_cleanup_free char *text = NULL;
    struct bx_exit_record rec = {0};
    const char *state, *message;
    int64_t exit_code = 0, code = 0;
    size_t len;
    int r = bx_read_file(dirfd, EXIT_FILE, 16384, &text, &len);

    if (r < 0)
        return bx_fail(err, r == -ENOENT ? BX_ENOTFOUND : BX_ESTORAGE, -r, "read " EXIT_FILE);
    if ((r = bx_json_parse(text, len, NULL, EXIT_FILE, &o, err)) < 0 ||
        (r = bx_json_str(&o, "state", 16, &state, err)) < 0 ||
        (r = bx_json_opt_i64(&o, "exit_code", 0, 255, &exit_code, err)) < 0)
        return r;
    rec.has_exit_code = r == 1;
    if ((r = bx_json_bool(&o, "oom", &rec.oom, err)) < 0 ||
        (r = bx_json_i64(&o, "code", 0, BX_ECODE_MAX - 1, &code, err)) < 0 ||
        (r = bx_json_i64(&o, "time_ns", INT64_MIN, INT64_MAX, &rec.time_ns, err)) < 0 ||
        (r = bx_json_str(&o, "message", sizeof(rec.message) - 1, &message, err)) < 0)
        return r;
    rec.failed = bx_streq(state, "failed");
    rec.exit_code = (int)exit_code;
    rec.code = (int)code;
    memcpy(rec.message, message, strlen(message) + 1);
    *ret = rec;
    return 0;
}
