/* SPDX-License-Identifier: Apache-2.0 */
/* security.c - the advanced options: presets, limits, capabilities by name. */
#include "runtime/security.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/str.h"
#include "jail/plan.h"
#include "runtime/options.h"
#include "runtime/runtime.h"

#define OPEN_FILES_MAX 1048576 /* what the machine's kernel allows */
#define PROCESSES_MAX  4194304
#define CPU_TIME_MAX   (10u * 365 * 86400)

/* By their numbers. */
static const char *const capability_names[] = {
    "CHOWN",        "DAC_OVERRIDE",     "DAC_READ_SEARCH", "FOWNER",           "FSETID",         "KILL",
    "SETGID",       "SETUID",           "SETPCAP",         "LINUX_IMMUTABLE",  "NET_BIND_SERVICE", "NET_BROADCAST",
    "NET_ADMIN",    "NET_RAW",          "IPC_LOCK",        "IPC_OWNER",        "SYS_MODULE",     "SYS_RAWIO",
    "SYS_CHROOT",   "SYS_PTRACE",       "SYS_PACCT",       "SYS_ADMIN",        "SYS_BOOT",       "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME",         "SYS_TTY_CONFIG",  "MKNOD",            "LEASE",          "AUDIT_WRITE",
    "AUDIT_CONTROL", "SETFCAP",         "MAC_OVERRIDE",    "MAC_ADMIN",        "SYSLOG",         "WAKE_ALARM",
    "BLOCK_SUSPEND", "AUDIT_READ",      "PERFMON",         "BPF",              "CHECKPOINT_RESTORE",
};
_Static_assert(BX_ARRAY_SIZE(capability_names) == 41, "CAP_LAST_CAP is 40");
#define ALL_CAPABILITIES ((1ULL << BX_ARRAY_SIZE(capability_names)) - 1)

/* Docker's: CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD
 * AUDIT_WRITE SETFCAP. */
#define DEFAULT_CAPABILITIES                                                                                 \
    (1ULL << 0 | 1ULL << 1 | 1ULL << 3 | 1ULL << 4 | 1ULL << 5 | 1ULL << 6 | 1ULL << 7 | 1ULL << 8 |         \
     1ULL << 10 | 1ULL << 13 | 1ULL << 18 | 1ULL << 27 | 1ULL << 29 | 1ULL << 31)

struct limit {
    const char *key;
    size_t offset;
    uint64_t max;
};
#define LIMIT(name, max) {#name, offsetof(struct CAdvancedBoxOptions, name), max}
static const struct limit limits[] = {
    LIMIT(max_open_files, OPEN_FILES_MAX), LIMIT(max_file_size, INT64_MAX),   LIMIT(max_processes, PROCESSES_MAX),
    LIMIT(max_memory, INT64_MAX),          LIMIT(max_cpu_time, CPU_TIME_MAX),
};

struct flag {
    const char *key;
    size_t offset;
};
#define FLAG(name) {#name, offsetof(struct CAdvancedBoxOptions, name)}
static const struct flag flags[] = {FLAG(jailer_enabled), FLAG(seccomp_enabled), FLAG(network_enabled),
                                    FLAG(close_fds)};

static uint64_t *limit_at(const struct CAdvancedBoxOptions *a, const struct limit *l)
{
    return (uint64_t *)((char *)(uintptr_t)a + l->offset);
}

static bool *flag_at(const struct CAdvancedBoxOptions *a, const struct flag *f)
{
    return (bool *)((char *)(uintptr_t)a + f->offset);
}

/* ---- capabilities ---- */

/* Its number, -1 for ALL, -2 for none. */
static int capability_number(const char *name)
{
    if (strncasecmp(name, "CAP_", 4) == 0)
        name += 4;
    if (strcasecmp(name, "ALL") == 0)
        return -1;
    for (size_t i = 0; i < BX_ARRAY_SIZE(capability_names); i++)
        if (strcasecmp(name, capability_names[i]) == 0)
            return (int)i;
    return -2;
}

uint64_t bx_capabilities_mask(const struct bx_capabilities *c)
{
    if (c->add_all)
        return ALL_CAPABILITIES & ~c->drop;
    if (c->drop_all)
        return c->add;
    return (DEFAULT_CAPABILITIES & ~c->drop) | c->add;
}

char **bx_capabilities_names(uint64_t mask)
{
    char **names = bx_strv_copy(NULL, 0);

    for (size_t i = 0; names && i < BX_ARRAY_SIZE(capability_names); i++) {
        if ((mask >> i & 1) && bx_strv_add(&names, capability_names[i]) < 0) {
            bx_strv_free(names);
            return NULL;
        }
    }
    return names;
}

bool bx_capabilities_equal(const struct bx_capabilities *a, const struct bx_capabilities *b)
{
    return bx_capabilities_mask(a) == bx_capabilities_mask(b);
}

/* All of the list, or none and the name that is none in `refused`. */
static int take_names(const char *what, const char *const *names, int count, uint64_t *mask, bool *all,
                      char *refused, size_t size)
{
    uint64_t found = 0;
    bool every = false;

    if (count < 0 || (count > 0 && !names)) {
        snprintf(refused, size, "%s: there is no list", what);
        return -BX_EINVALID;
    }
    for (int i = 0; i < count; i++) {
        int n = names[i] ? capability_number(names[i]) : -2;

        if (n == -2) {
            snprintf(refused, size, "%s: number %d, \"%.60s\", is no capability", what, i,
                     names[i] ? names[i] : "");
            return -BX_EINVALID;
        }
        if (n == -1)
            every = true;
        else
            found |= 1ULL << n;
    }
    *mask = found;
    *all = every;
    return 0;
}

/* ---- the object ---- */

void bx_advanced_init(struct CAdvancedBoxOptions *a)
{
    *a = (struct CAdvancedBoxOptions){
        .jailer_enabled = true, .seccomp_enabled = true, .network_enabled = true, .close_fds = true};
}

BoxliteErrorCode boxlite_advanced_options_new(CAdvancedBoxOptions **out_options, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;

    if (!out_options)
        return bx_api_invalid(out_error, "out_options is NULL");
    *out_options = calloc(1, sizeof(**out_options));
    if (!*out_options) {
        bx_fail(&err, BX_ERESOURCE, ENOMEM, "make options");
        return bx_api_error(out_error, &err);
    }
    bx_advanced_init(*out_options);
    return Ok;
}

void boxlite_advanced_options_free(CAdvancedBoxOptions *options)
{
    free(options);
}

static void set_walls(struct CAdvancedBoxOptions *a, bool on)
{
    a->jailer_enabled = a->seccomp_enabled = a->close_fds = on;
}

void boxlite_advanced_options_set_security_enabled(CAdvancedBoxOptions *options, int enabled)
{
    if (options)
        set_walls(options, enabled != 0);
}

BoxliteErrorCode boxlite_advanced_options_set_security_preset(CAdvancedBoxOptions *options, const char *preset,
                                                              CBoxliteError *out_error)
{
    static const struct {
        const char *name;
        bool walls;
        uint64_t files, size, processes;
    } presets[] = {
        {"development", false, 0, 0, 0},
        {"standard", true, 0, 0, 0},
        {"maximum", true, 1024, 1ULL << 30, 100},
    };

    if (!options || !preset)
        return bx_api_invalid(out_error, "%s is NULL", !options ? "options" : "preset");
    for (size_t i = 0; i < BX_ARRAY_SIZE(presets); i++) {
        if (!bx_streq(presets[i].name, preset))
            continue;
        set_walls(options, presets[i].walls);
        options->network_enabled = true;
        options->max_open_files = presets[i].files;
        options->max_file_size = presets[i].size;
        options->max_processes = presets[i].processes;
        options->max_memory = options->max_cpu_time = 0;
        return Ok;
    }
    return bx_api_invalid(out_error, "preset: must be development, standard or maximum, is \"%.60s\"", preset);
}

#define SETTER_FLAG(name)                                                                                    \
    void boxlite_advanced_options_set_##name(CAdvancedBoxOptions *options, int enabled)                      \
    {                                                                                                        \
        if (options)                                                                                         \
            options->name = enabled != 0;                                                                    \
    }
#define SETTER_LIMIT(name)                                                                                   \
    void boxlite_advanced_options_set_##name(CAdvancedBoxOptions *options, uint64_t value)                   \
    {                                                                                                        \
        if (options)                                                                                         \
            options->name = value;                                                                           \
    }

SETTER_FLAG(jailer_enabled)
SETTER_FLAG(seccomp_enabled)
SETTER_FLAG(network_enabled)
SETTER_FLAG(close_fds)
SETTER_LIMIT(max_open_files)
SETTER_LIMIT(max_file_size)
SETTER_LIMIT(max_processes)
SETTER_LIMIT(max_memory)
SETTER_LIMIT(max_cpu_time)

BoxliteErrorCode boxlite_advanced_options_set_capabilities_add(CAdvancedBoxOptions *options,
                                                               const char *const *names, int count)
{
    struct bx_capabilities *c = options ? &options->capabilities : NULL;

    if (!c || take_names("capabilities_add", names, count, &c->add, &c->add_all, options->refused,
                         sizeof(options->refused)) < 0)
        return InvalidArgument;
    return Ok;
}

BoxliteErrorCode boxlite_advanced_options_set_capabilities_drop(CAdvancedBoxOptions *options,
                                                                const char *const *names, int count)
{
    struct bx_capabilities *c = options ? &options->capabilities : NULL;

    if (!c || take_names("capabilities_drop", names, count, &c->drop, &c->drop_all, options->refused,
                         sizeof(options->refused)) < 0)
        return InvalidArgument;
    return Ok;
}

void boxlite_options_set_advanced(CBoxliteOptions *options, const CAdvancedBoxOptions *advanced)
{
    if (options && advanced)
        options->advanced = *advanced;
}

int bx_advanced_check(const struct CAdvancedBoxOptions *a, struct bx_err *err)
{
    if (a->refused[0])
        return bx_fail(err, BX_EINVALID, 0, "%s", a->refused);
    if (a->capabilities.add_all && a->capabilities.drop_all)
        return bx_fail(err, BX_EINVALID, 0, "capabilities: ALL is both added and dropped");
    for (size_t i = 0; i < BX_ARRAY_SIZE(limits); i++)
        if (*limit_at(a, &limits[i]) > limits[i].max)
            return bx_fail(err, BX_EINVALID, 0, "%s: must be at most %llu, is %llu", limits[i].key,
                           (unsigned long long)limits[i].max, (unsigned long long)*limit_at(a, &limits[i]));
    return 0;
}

/* ---- to the shim ---- */

/* Both walls, and all that the preset maximum limits limited, whatever the numbers: who asks for that much is not to get less. */
static bool strict(const struct CAdvancedBoxOptions *a)
{
    return a->jailer_enabled && a->seccomp_enabled && a->max_open_files && a->max_file_size && a->max_processes;
}

void bx_advanced_plan(const struct CAdvancedBoxOptions *a, struct bx_shim_plan *p)
{
    /* What costs nothing and takes nothing away is kept also without the jailer. */
    const unsigned always = BX_JAIL_NNP | BX_JAIL_RLIMITS;

    if (!a->jailer_enabled)
        p->jail_layers &= always | BX_JAIL_SECCOMP;
    if (!a->seccomp_enabled)
        p->jail_layers &= ~(unsigned)BX_JAIL_SECCOMP;
    p->jail_required &= p->jail_layers;
    p->jail_any = strict(a) ? BX_JAIL_ROOT | BX_JAIL_LANDLOCK : 0;
    p->syscall_filter = a->seccomp_enabled;
    p->capabilities = bx_capabilities_mask(&a->capabilities);
    p->limits = (struct bx_shim_limits){.nofile = a->max_open_files,
                                        .fsize = a->max_file_size,
                                        .as = a->max_memory,
                                        .cpu_seconds = a->max_cpu_time,
                                        .pids = a->max_processes};
}

/* ---- the row ---- */

static void write_names(struct bx_jw *w, const char *key, uint64_t mask, bool all)
{
    if (!mask && !all)
        return;
    bx_jw_arr(w, key);
    if (all)
        bx_jw_str(w, NULL, "ALL");
    for (size_t i = 0; i < BX_ARRAY_SIZE(capability_names); i++)
        if (mask >> i & 1)
            bx_jw_str(w, NULL, capability_names[i]);
    bx_jw_end(w);
}

bool bx_advanced_given(const struct CAdvancedBoxOptions *a)
{
    const struct bx_capabilities *c = &a->capabilities;
    bool given = c->add || c->drop || c->add_all || c->drop_all;

    for (size_t i = 0; i < BX_ARRAY_SIZE(flags); i++)
        given = given || !*flag_at(a, &flags[i]);
    for (size_t i = 0; i < BX_ARRAY_SIZE(limits); i++)
        given = given || *limit_at(a, &limits[i]);
    return given;
}

void bx_advanced_write(const struct CAdvancedBoxOptions *a, struct bx_jw *w)
{
    for (size_t i = 0; i < BX_ARRAY_SIZE(flags); i++)
        if (!*flag_at(a, &flags[i])) /* all of them are on otherwise */
            bx_jw_bool(w, flags[i].key, false);
    for (size_t i = 0; i < BX_ARRAY_SIZE(limits); i++)
        if (*limit_at(a, &limits[i]) > 0)
            bx_jw_u64(w, limits[i].key, *limit_at(a, &limits[i]));
    write_names(w, "capabilities_add", a->capabilities.add, a->capabilities.add_all);
    write_names(w, "capabilities_drop", a->capabilities.drop, a->capabilities.drop_all);
}

static int read_names(const struct bx_json *j, const char *key, uint64_t *mask, bool *all, struct bx_err *err)
{
    bx_cleanup_strv char **names = NULL;
    char refused[128];
    int r = bx_json_opt_strv(j, key, 2 * BX_ARRAY_SIZE(capability_names), 64, &names, err);

    if (r <= 0)
        return r;
    if (take_names(key, (const char *const *)names, (int)bx_strv_len(names), mask, all, refused, sizeof(refused)) < 0)
        return bx_json_fail(j, err, "%s", refused);
    return 0;
}

int bx_advanced_read(const struct bx_json *j, struct CAdvancedBoxOptions *a, struct bx_err *err)
{
    int r = 0;

    for (size_t i = 0; i < BX_ARRAY_SIZE(flags) && r >= 0; i++)
        r = bx_json_opt_bool(j, flags[i].key, flag_at(a, &flags[i]), err);
    for (size_t i = 0; i < BX_ARRAY_SIZE(limits) && r >= 0; i++)
        r = bx_json_opt_u64(j, limits[i].key, 0, limits[i].max, limit_at(a, &limits[i]), err);
    if (r >= 0)
        r = read_names(j, "capabilities_add", &a->capabilities.add, &a->capabilities.add_all, err);
    if (r >= 0)
        r = read_names(j, "capabilities_drop", &a->capabilities.drop, &a->capabilities.drop_all, err);
    return r < 0 ? r : 0;
}

int bx_advanced_facts(const struct CAdvancedBoxOptions *a, struct CBoxliteInfo *info)
{
    bx_cleanup_strv char **names = bx_capabilities_names(bx_capabilities_mask(&a->capabilities));
    int r = names ? bx_info_add_list(info, "capabilities", names) : -ENOMEM;

    for (size_t i = 0; i < BX_ARRAY_SIZE(flags) && r >= 0; i++)
        r = bx_info_add(info, flags[i].key, *flag_at(a, &flags[i]) ? "1" : "0");
    for (size_t i = 0; i < BX_ARRAY_SIZE(limits) && r >= 0; i++)
        if (*limit_at(a, &limits[i]) > 0)
            r = bx_info_addf(info, limits[i].key, "%llu", (unsigned long long)*limit_at(a, &limits[i]));
    return r;
}
