/* SPDX-License-Identifier: Apache-2.0 */
/* security.c - --security, --cap-add, --cap-drop and --ulimit. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

/* What --ulimit names, as setrlimit does, and where it goes. */
struct limit {
    const char *name;
    bool size; /* may be written as 64m */
    void (*set)(CAdvancedBoxOptions *options, uint64_t value);
    size_t offset; /* in BoxliteExecOptions */
};

static const struct limit limits[] = {
    { "nofile", false, boxlite_advanced_options_set_max_open_files, offsetof(BoxliteExecOptions, max_open_files) },
    { "nproc", false, boxlite_advanced_options_set_max_processes, offsetof(BoxliteExecOptions, max_processes) },
    { "fsize", true, boxlite_advanced_options_set_max_file_size, offsetof(BoxliteExecOptions, max_file_size) },
    { "as", true, boxlite_advanced_options_set_max_memory, offsetof(BoxliteExecOptions, max_memory) },
    { "cpu", false, boxlite_advanced_options_set_max_cpu_time, offsetof(BoxliteExecOptions, max_cpu_time) },
};

/* "nofile=1024". NULL: the mistake was told. */
static const struct limit *parse_limit(const char *verb, const char *text, uint64_t *ret)
{
    const char *eq = strchr(text, '=');
    for (size_t i = 0; eq && i < BX_ARRAY_SIZE(limits); i++) {
        if (strlen(limits[i].name) != (size_t)(eq - text) || !bx_starts_with(text, limits[i].name))
            continue;
        int r = limits[i].size ? bx_parse_size(eq + 1, ret) : bx_parse_u64(eq + 1, 0, INT64_MAX, ret);
        if (r == 0 && *ret > 0)
            return &limits[i];
        bx_cli_usage(verb, "--ulimit %s: '%s' is no number above 0", limits[i].name, eq + 1);
        return NULL;
    }
    bx_cli_usage(verb, "--ulimit: '%s' is none of nofile=N, nproc=N, fsize=SIZE, as=SIZE, cpu=SECONDS", text);
    return NULL;
}

int bx_cli_exec_limits(BoxliteExecOptions *options, const char *verb, char **ulimits)
{
    for (char **u = ulimits; u && *u; u++) {
        uint64_t n = 0;
        const struct limit *l = parse_limit(verb, *u, &n);
        if (!l)
            return BX_EXIT_USAGE;
        memcpy((char *)options + l->offset, &n, sizeof(n));
    }
    return 0;
}

/* "enable" and "disable" are what the existing command says. */
static int set_preset(CAdvancedBoxOptions *a, const char *verb, const char *preset)
{
    CBoxliteError error = { Ok, NULL };
    if (bx_streq(preset, "enable") || bx_streq(preset, "disable")) {
        boxlite_advanced_options_set_security_enabled(a, bx_streq(preset, "enable"));
        return 0;
    }
    if (boxlite_advanced_options_set_security_preset(a, preset, &error) == Ok)
        return 0;
    boxlite_error_free(&error);
    return bx_cli_usage(verb, "--security: '%s' is none of enable, disable, development, standard, maximum", preset);
}

static int fill(CAdvancedBoxOptions *a, const char *verb, const struct bx_security_opts *o)
{
    const char *preset = o->preset ? o->preset : getenv("BOXLITE_SECURITY");
    int code = preset && *preset ? set_preset(a, verb, preset) : 0;
    for (char **u = o->ulimits; u && *u && code == 0; u++) {
        uint64_t n = 0;
        const struct limit *l = parse_limit(verb, *u, &n);
        if (!l)
            return BX_EXIT_USAGE;
        l->set(a, n);
    }
    if (code)
        return code;
    for (char **c = o->cap_add; c && *c; c++)
        if (boxlite_advanced_options_set_capabilities_add(a, (const char *const *)c, 1) != Ok)
            return bx_cli_usage(verb, "--cap-add: '%s' is no capability", *c);
    for (char **c = o->cap_drop; c && *c; c++)
        if (boxlite_advanced_options_set_capabilities_drop(a, (const char *const *)c, 1) != Ok)
            return bx_cli_usage(verb, "--cap-drop: '%s' is no capability", *c);
    /* Each call replaces the list: now all of it. */
    boxlite_advanced_options_set_capabilities_add(a, (const char *const *)o->cap_add, (int)bx_strv_len(o->cap_add));
    boxlite_advanced_options_set_capabilities_drop(a, (const char *const *)o->cap_drop, (int)bx_strv_len(o->cap_drop));
    return 0;
}

int bx_cli_security(CBoxliteOptions *options, const char *verb, const struct bx_security_opts *o)
{
    CAdvancedBoxOptions *a = NULL;
    CBoxliteError error = { Ok, NULL };
    if (boxlite_advanced_options_new(&a, &error) != Ok)
        return bx_cli_fail(&error, NULL);
    int code = fill(a, verb, o);
    if (code == 0)
        boxlite_options_set_advanced(options, a);
    boxlite_advanced_options_free(a);
    return code;
}

void bx_security_opts_done(struct bx_security_opts *o)
{
    bx_strv_free(o->cap_add);
    bx_strv_free(o->cap_drop);
    bx_strv_free(o->ulimits);
    *o = (struct bx_security_opts){ 0 };
}
