/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - the options of a box: setters, checks, JSON. */
#include "runtime/options.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/path.h"
#include "base/str.h"
#include "host/json.h"
#include "image/reference.h"
#include "runtime/engine.h"
#include "runtime/runtime.h"

#define OPTIONS_JSON_MAX (8 * 1024 * 1024)
#define ROOTFS_PATH_MAX  4095

static const struct bx_json_limits options_limits = {.bytes = OPTIONS_JSON_MAX, .depth = 8, .values = 65536};

BoxliteErrorCode boxlite_options_new(const char *image, CBoxliteOptions **out_options,
                                     CBoxliteError *out_error)
{
    struct CBoxliteOptions *o;
    struct bx_err err = BX_ERR_INIT;

    if (!out_options)
        return bx_api_invalid(out_error, "out_options is NULL");
    *out_options = NULL;
    o = calloc(1, sizeof(*o));
    if (o) {
        o->auto_remove = -1;
        bx_advanced_init(&o->advanced);
        o->image = bx_strf("%s", image && *image ? image : BX_DEFAULT_IMAGE);
    }
    if (!o || !o->image) {
        boxlite_options_free(o);
        bx_fail(&err, BX_ERESOURCE, ENOMEM, "make options");
        return bx_api_error(out_error, &err);
    }
    *out_options = o;
    return Ok;
}

void boxlite_options_free(CBoxliteOptions *o)
{
    if (!o)
        return;
    free(o->image);
    free(o->rootfs_path);
    free(o->name);
    free(o->workdir);
    free(o->user);
    free(o->engine);
    bx_strv_free(o->env);
    bx_strv_free(o->entrypoint);
    bx_strv_free(o->cmd);
    bx_network_done(&o->network);
    bx_health_done(&o->health);
    free(o);
}

static void set_text(struct CBoxliteOptions *o, char **field, const char *value)
{
    char *copy;

    if (!o || !value)
        return;
    copy = bx_strf("%s", value);
    if (!copy) {
        o->no_memory = true;
        return;
    }
    free(*field);
    *field = copy;
}

static void set_list(struct CBoxliteOptions *o, char ***field, const char *const *args, int count)
{
    char **copy;
    int i;

    if (!o || count < 0 || (count > 0 && !args))
        return;
    for (i = 0; i < count; i++)
        if (!args[i])
            return;
    copy = bx_strv_copy(args, (size_t)count);
    if (!copy) {
        o->no_memory = true;
        return;
    }
    bx_strv_free(*field);
    *field = copy;
}

void boxlite_options_set_name(CBoxliteOptions *options, const char *name)
{
    set_text(options, options ? &options->name : NULL, name);
}

void boxlite_options_set_rootfs_path(CBoxliteOptions *options, const char *path)
{
    bx_cleanup_free char *cwd = path && *path && path[0] != '/' ? getcwd(NULL, 0) : NULL;
    bx_cleanup_free char *absolute = cwd ? bx_path_join(cwd, path) : NULL;

    if (options && cwd && !absolute)
        options->no_memory = true;
    set_text(options, options ? &options->rootfs_path : NULL, absolute ? absolute : path);
}

void boxlite_options_set_cpus(CBoxliteOptions *options, int cpus)
{
    if (options && cpus > 0)
        options->cpus = cpus;
}

void boxlite_options_set_memory(CBoxliteOptions *options, int memory_mib)
{
    if (options && memory_mib > 0)
        options->memory_mib = memory_mib;
}

void boxlite_options_set_disk_size_gb(CBoxliteOptions *options, int disk_size_gb)
{
    if (options && disk_size_gb > 0)
        options->disk_size_gb = disk_size_gb;
}

void boxlite_options_set_workdir(CBoxliteOptions *options, const char *workdir)
{
    set_text(options, options ? &options->workdir : NULL, workdir);
}

void boxlite_options_set_user(CBoxliteOptions *options, const char *user)
{
    set_text(options, options ? &options->user : NULL, user);
}

void boxlite_options_set_engine(CBoxliteOptions *options, const char *engine)
{
    set_text(options, options ? &options->engine : NULL, engine);
}

void boxlite_options_add_env(CBoxliteOptions *options, const char *key, const char *value)
{
    bx_cleanup_free char *pair = NULL;

    if (!options || !key || !*key || !value)
        return;
    pair = bx_strf("%s=%s", key, value);
    if (!pair || bx_strv_add(&options->env, pair) < 0)
        options->no_memory = true;
}

/* What cannot be given is refused by name when the box is made. */
static void not_supported(struct CBoxliteOptions *o, const char *what)
{
    if (o && !o->unsupported)
        o->unsupported = what;
}

void boxlite_options_add_volume(CBoxliteOptions *options, const char *host_path, const char *guest_path, int read_only)
{
    (void)read_only;
    if (host_path && guest_path)
        not_supported(options, "volume");
}

void boxlite_options_add_secret(CBoxliteOptions *options, const char *name, const char *value, const char *placeholder,
                                const char *const *hosts, int hosts_count)
{
    (void)placeholder, (void)hosts, (void)hosts_count;
    if (name && value)
        not_supported(options, "secret");
}

void boxlite_options_set_auto_stop_interval(CBoxliteOptions *options, uint32_t seconds)
{
    if (seconds > 0)
        not_supported(options, "auto_stop_interval");
}

void boxlite_options_set_auto_resume_enabled(CBoxliteOptions *options, int enabled)
{
    if (options)
        options->no_auto_resume = !enabled;
}

void boxlite_options_set_auto_remove(CBoxliteOptions *options, int auto_remove)
{
    if (options)
        options->auto_remove = auto_remove != 0;
}

void boxlite_options_set_auto_delete_interval(CBoxliteOptions *options, uint32_t seconds)
{
    if (!options)
        return;
    options->has_auto_delete = true;
    options->auto_delete = seconds;
}

void boxlite_options_set_detach(CBoxliteOptions *options, int detach)
{
    if (options)
        options->detach = detach != 0;
}

void boxlite_options_set_entrypoint(CBoxliteOptions *options, const char *const *args, int count)
{
    set_list(options, options ? &options->entrypoint : NULL, args, count);
}

void boxlite_options_set_cmd(CBoxliteOptions *options, const char *const *args, int count)
{
    set_list(options, options ? &options->cmd : NULL, args, count);
}

void boxlite_options_set_main(CBoxliteOptions *options, int enabled)
{
    if (options)
        options->run_main = enabled != 0;
}

void boxlite_options_set_tty(CBoxliteOptions *options, int enabled)
{
    if (options)
        options->tty = enabled != 0;
}

void boxlite_options_set_stdin_open(CBoxliteOptions *options, int enabled)
{
    if (options)
        options->stdin_open = enabled != 0;
}

bool bx_options_main(const struct CBoxliteOptions *o)
{
    return o->run_main || o->entrypoint || o->cmd;
}

bool bx_options_remove_on_stop(const struct CBoxliteOptions *o)
{
    return o->has_auto_delete ? o->auto_delete > 0 : o->auto_remove > 0;
}

/* ---- checks ---- */

static bool name_valid(const char *name)
{
    size_t i, len = strlen(name);

    if (len == 0 || len > BX_NAME_MAX)
        return false;
    for (i = 0; i < len; i++) {
        char c = name[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

        if (!alnum && (i == 0 || !strchr("._-", c)))
            return false;
    }
    return true;
}

static int check_text(const char *field, const char *value, size_t max, struct bx_err *err)
{
    if (!value)
        return 0;
    if (strlen(value) > max)
        return bx_fail(err, BX_EINVALID, 0, "%s: longer than %zu bytes", field, max);
    if (!bx_utf8_valid(value, strlen(value)))
        return bx_fail(err, BX_EINVALID, 0, "%s: is not UTF-8", field);
    return 0;
}

static int check_list(const char *field, char *const *list, struct bx_err *err)
{
    size_t i, total = 0;
    int r;

    for (i = 0; list && list[i]; i++) {
        if (i >= BX_ARGS_MAX)
            return bx_fail(err, BX_EINVALID, 0, "%s: more than %d strings", field, BX_ARGS_MAX);
        r = check_text(field, list[i], BX_ARG_MAX - 1, err);
        if (r < 0)
            return r;
        total += strlen(list[i]) + 1;
        if (total > BX_MESSAGE_MAX / 2)
            return bx_fail(err, BX_EINVALID, 0, "%s: more than %d bytes in all", field, BX_MESSAGE_MAX / 2);
    }
    return 0;
}

static int check_range(const char *field, int value, int min, int max, struct bx_err *err)
{
    if (value == 0 || (value >= min && value <= max))
        return 0;
    return bx_fail(err, BX_EINVALID, 0, "%s: must be %d to %d, is %d", field, min, max, value);
}

static int check_env(char *const *env, struct bx_err *err)
{
    size_t i;

    for (i = 0; env && env[i]; i++)
        if (env[i][0] == '=')
            return bx_fail(err, BX_EINVALID, 0, "env: a variable needs a name");
    return check_list("env", env, err);
}

int bx_options_check(const struct CBoxliteOptions *o, struct bx_err *err)
{
    struct bx_reference ref;
    int r;

    if (o->no_memory)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "options");
    r = o->rootfs_path ? 0 : bx_reference_parse(o->image, &ref, err);
    if (r < 0)
        return bx_prefix(err, "image");
    if (o->rootfs_path && o->rootfs_path[0] != '/')
        return bx_fail(err, BX_EINVALID, 0, "rootfs_path: must be the path of a folder, is \"%.100s\"", o->rootfs_path);
    if (o->name && !name_valid(o->name))
        return bx_fail(err, BX_EINVALID, 0,
                       "name: must be a letter or digit, then at most %d of a-z A-Z 0-9 . _ -; is \"%.140s\"",
                       BX_NAME_MAX - 1, o->name);
    if (o->engine && !bx_engine_choice_valid(o->engine))
        return bx_fail(err, BX_EINVALID, 0, "engine: must be auto, kvm or tcg, is \"%.40s\"", o->engine);
    if (o->workdir && o->workdir[0] != '/')
        return bx_fail(err, BX_EINVALID, 0, "workdir: must be absolute, is \"%.100s\"", o->workdir);
    if ((r = check_range("cpus", o->cpus, 1, BX_CPUS_MAX, err)) < 0 ||
        (r = check_range("memory", o->memory_mib, BX_MEMORY_MIN_MIB, BX_MEMORY_MAX_MIB, err)) < 0 ||
        (r = check_range("disk_size_gb", o->disk_size_gb, 1, BX_DISK_MAX_GB, err)) < 0 ||
        (r = check_text("rootfs_path", o->rootfs_path, ROOTFS_PATH_MAX, err)) < 0 ||
        (r = check_text("workdir", o->workdir, 4095, err)) < 0 ||
        (r = check_text("user", o->user, 255, err)) < 0 || (r = check_env(o->env, err)) < 0 ||
        (r = check_list("entrypoint", o->entrypoint, err)) < 0 || (r = check_list("cmd", o->cmd, err)) < 0 ||
        (r = bx_network_check(&o->network, err)) < 0)
        return r;
    if (o->unsupported)
        return bx_fail(err, BX_EUNSUPPORTED, 0, "%s: this version (%s) has none for local boxes", o->unsupported,
                       BX_VERSION);
    r = bx_advanced_check(&o->advanced, err);
    if (r < 0)
        return r;
    if (o->detach && bx_options_remove_on_stop(o))
        return bx_fail(err, BX_EINVALID, 0,
                       "remove-on-stop is incompatible with detach: set auto_remove to 0");
    return 0;
}

/* ---- JSON ---- */

int bx_options_to_json(const struct CBoxliteOptions *o, char **ret, struct bx_err *err)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(OPTIONS_JSON_MAX);
    struct bx_jw w;
    int r;

    bx_jw_init(&w, &out, false);
    bx_jw_obj(&w, NULL);
    if (o->rootfs_path)
        bx_jw_str(&w, "rootfs_path", o->rootfs_path);
    else
        bx_jw_str(&w, "image", o->image);
    bx_jw_u64(&w, "cpus", (uint64_t)(o->cpus ? o->cpus : 1));
    bx_jw_u64(&w, "memory_mib", (uint64_t)(o->memory_mib ? o->memory_mib : BX_DEFAULT_MEMORY_MIB));
    bx_jw_u64(&w, "disk_size_gb", (uint64_t)(o->disk_size_gb ? o->disk_size_gb : BX_DISK_DEFAULT_GB));
    if (o->workdir)
        bx_jw_str(&w, "workdir", o->workdir);
    if (o->user)
        bx_jw_str(&w, "user", o->user);
    if (o->engine)
        bx_jw_str(&w, "engine", o->engine);
    if (o->env)
        bx_jw_strv(&w, "env", o->env);
    if (o->entrypoint)
        bx_jw_strv(&w, "entrypoint", o->entrypoint);
    if (o->cmd)
        bx_jw_strv(&w, "cmd", o->cmd);
    bx_jw_bool(&w, "main", o->run_main);
    bx_jw_bool(&w, "tty", o->tty);
    bx_jw_bool(&w, "stdin_open", o->stdin_open);
    bx_jw_bool(&w, "auto_remove", o->auto_remove > 0);
    if (o->has_auto_delete)
        bx_jw_u64(&w, "auto_delete", o->auto_delete);
    bx_jw_bool(&w, "detach", o->detach);
    bx_network_to_json(&o->network, &w);
    if (o->no_auto_resume)
        bx_jw_bool(&w, "auto_resume", false);
    if (o->health.enabled) {
        bx_jw_obj(&w, "health_check");
        bx_health_write(&o->health, &w);
        bx_jw_end(&w);
    }
    if (bx_advanced_given(&o->advanced)) {
        bx_jw_obj(&w, "advanced");
        bx_advanced_write(&o->advanced, &w);
        bx_jw_end(&w);
    }
    bx_jw_end(&w);
    r = bx_jw_finish(&w, err);
    if (r < 0)
        return r;
    *ret = bx_buf_take_str(&out);
    return *ret ? 0 : bx_fail(err, BX_ERESOURCE, ENOMEM, "options");
}

static int get_text(const struct bx_json *j, const char *key, size_t max, char **ret, struct bx_err *err)
{
    const char *s;
    int r = bx_json_opt_str(j, key, max, &s, err);

    if (r <= 0)
        return r;
    free(*ret);
    *ret = bx_strf("%s", s);
    return *ret ? 0 : bx_fail(err, BX_ERESOURCE, ENOMEM, "options");
}

static int get_int(const struct bx_json *j, const char *key, uint64_t max, int *ret, struct bx_err *err)
{
    uint64_t v = 0;
    int r = bx_json_opt_u64(j, key, 0, max, &v, err);

    if (r > 0)
        *ret = (int)v;
    return r;
}

static int options_read(const struct bx_json *j, struct CBoxliteOptions *o, struct bx_err *err)
{
    bool auto_remove = false, auto_resume = true;
    struct bx_json advanced, health;
    uint64_t auto_delete = 0;
    int r;

    if ((r = get_text(j, "image", 1024, &o->image, err)) < 0 ||
        (r = get_text(j, "rootfs_path", ROOTFS_PATH_MAX, &o->rootfs_path, err)) < 0 ||
        (r = get_int(j, "cpus", BX_CPUS_MAX, &o->cpus, err)) < 0 ||
        (r = get_int(j, "memory_mib", BX_MEMORY_MAX_MIB, &o->memory_mib, err)) < 0 ||
        (r = get_int(j, "disk_size_gb", BX_DISK_MAX_GB, &o->disk_size_gb, err)) < 0 ||
        (r = get_text(j, "workdir", 4096, &o->workdir, err)) < 0 ||
        (r = get_text(j, "user", 256, &o->user, err)) < 0 ||
        (r = get_text(j, "engine", 16, &o->engine, err)) < 0 ||
        (r = bx_json_opt_strv(j, "env", BX_ARGS_MAX, BX_ARG_MAX, &o->env, err)) < 0 ||
        (r = bx_json_opt_strv(j, "entrypoint", BX_ARGS_MAX, BX_ARG_MAX, &o->entrypoint, err)) < 0 ||
        (r = bx_json_opt_strv(j, "cmd", BX_ARGS_MAX, BX_ARG_MAX, &o->cmd, err)) < 0 ||
        (r = bx_json_opt_bool(j, "main", &o->run_main, err)) < 0 ||
        (r = bx_json_opt_bool(j, "tty", &o->tty, err)) < 0 ||
        (r = bx_json_opt_bool(j, "stdin_open", &o->stdin_open, err)) < 0 ||
        (r = bx_json_opt_bool(j, "auto_remove", &auto_remove, err)) < 0 ||
        (r = bx_json_opt_bool(j, "detach", &o->detach, err)) < 0 ||
        (r = bx_json_opt_bool(j, "auto_resume", &auto_resume, err)) < 0 ||
        (r = bx_json_opt_obj(j, "advanced", &advanced, err)) < 0 ||
        (r > 0 && (r = bx_advanced_read(&advanced, &o->advanced, err)) < 0) ||
        (r = bx_network_from_json(j, &o->network, err)) < 0 ||
        (r = bx_json_opt_obj(j, "health_check", &health, err)) < 0 ||
        (r > 0 && (r = bx_health_read(&health, &o->health, err)) < 0))
        return r;
    o->auto_remove = auto_remove;
    o->no_auto_resume = !auto_resume;
    r = bx_json_opt_u64(j, "auto_delete", 0, UINT32_MAX, &auto_delete, err);
    o->has_auto_delete = r > 0;
    o->auto_delete = (uint32_t)auto_delete;
    return r < 0 ? r : 0;
}

int bx_options_from_json(const char *text, struct CBoxliteOptions **ret, struct bx_err *err)
{
    BX_CLEANUP(boxlite_options_free_p) struct CBoxliteOptions *o = NULL;
    bx_cleanup_json struct bx_json root = {0};
    int r;

    o = calloc(1, sizeof(*o));
    if (!o)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "options");
    bx_advanced_init(&o->advanced);
    r = bx_json_parse(text, strlen(text), &options_limits, "box options", &root, err);
    if (r == 0)
        r = options_read(&root, o, err);
    if (r < 0) {
        if (err)
            err->code = BX_EDATABASE; /* it is the row that is wrong */
        return -BX_EDATABASE;
    }
    if (!o->image && !(o->image = bx_strf("%s", BX_DEFAULT_IMAGE)))
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "options");
    *ret = BX_TAKE_PTR(o);
    return 0;
}
