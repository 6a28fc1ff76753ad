/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - the table of verbs, options that all of them take, help.
 */
#include "cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "host/config.h"

const struct bx_verb bx_verbs[] = {
    { "run", NULL, "[OPTIONS] IMAGE|--rootfs DIR [COMMAND...]", "make a box and run a command in it", bx_verb_run },
    { "exec", NULL, "[OPTIONS] BOX -- COMMAND...", "run another command in a box", bx_verb_exec },
    { "cp", NULL, "[OPTIONS] BOX:PATH PATH | PATH BOX:PATH", "copy files and folders out of a box, or into one", bx_verb_cp },
    { "ps", "ls", "[OPTIONS]", "list boxes", bx_verb_ps },
    { "start", NULL, "BOX...", "start boxes that were stopped", bx_verb_start },
    { "stop", NULL, "BOX...", "stop boxes; their disks stay", bx_verb_stop },
    { "rm", NULL, "[OPTIONS] BOX...", "remove boxes and their disks", bx_verb_rm },
    { "pull", NULL, "[OPTIONS] IMAGE", "fetch an image from its registry", bx_verb_pull, true },
    { "load", NULL, "[OPTIONS] PATH", "take an image from an OCI layout, an OCI archive or `docker save`", bx_verb_load, true },
    { "import", NULL, "[OPTIONS] FILE|- NAME [-- COMMAND...]", "make an image of a root file system in a tar", bx_verb_import, true },
    { "bootstrap", NULL, "[OPTIONS] debian", "make an image of this host's distribution packages", bx_verb_bootstrap, true },
    { "save", NULL, "[OPTIONS] IMAGE...", "write images as an OCI layout, a folder or an archive", bx_verb_save, true },
    { "images", NULL, "[OPTIONS]", "list images", bx_verb_images, true },
    { "tag", NULL, "IMAGE NAME", "give an image a further name", bx_verb_tag, true },
    { "rmi", NULL, "[OPTIONS] IMAGE...", "remove images", bx_verb_rmi, true },
    { "prune", NULL, "[OPTIONS]", "remove what nothing needs: layers, disks, templates, and unused images", bx_verb_prune, true },
    { "image", NULL, "inspect IMAGE... | VERB ...", "show what an image is; or one of the verbs above", bx_verb_image },
    { "info", NULL, "[OPTIONS]", "show the engine and why, versions and paths", bx_verb_info },
    { "version", NULL, "", "show the version", bx_verb_version },
    { "help", NULL, "[VERB]", "show this, or how a verb is used", bx_verb_help },
    { 0 },
};

static const char *home_option;
static const char *config_option;
static char **registry_options;

const struct bx_opt bx_cli_global_opts[] = {
    BX_OPT_GROUP("Everywhere"),
    BX_OPT_STRING(0, "home", &home_option, "DIR", "where boxes and images are kept (BOXLITE_HOME, ~/.boxlite)"),
    BX_OPT_STRING(0, "config", &config_option, "FILE", "registries and more (BOXLITE_CONFIG, config.json where boxes are kept)"),
    BX_OPT_LIST(0, "registry", &registry_options, "HOST", "look here for images whose name has no registry (again: and there)"),
    BX_OPT_HELP('h', "help"),
    BX_OPT_END,
};

static const struct bx_verb *find_verb(const char *name)
{
    /* "list" is what the existing command calls it too. */
    if (bx_streq(name, "list"))
        name = "ps";
    for (const struct bx_verb *v = bx_verbs; v->name; v++) {
        if (bx_streq(v->name, name) || bx_streq(v->alias, name))
            return v;
    }
    return NULL;
}

static void print_overview(FILE *out)
{
    fprintf(out, "Usage: boxlite [--home DIR] VERB [OPTIONS] ...\n\n"
                 "Runs programs you do not trust in small virtual machines, from any OCI image.\n\n");
    for (const struct bx_verb *v = bx_verbs; v->name; v++)
        fprintf(out, "  %-9s %s\n", v->name, v->summary);
    fprintf(out, "\n`boxlite VERB --help` shows a verb's options.\n");
}

static void print_usage(FILE *out, const char *verb)
{
    const struct bx_verb *v = find_verb(verb);
    fprintf(out, "Usage: boxlite %s %s\n", v->name, v->args);
}

void bx_cli_error(const char *fmt, ...)
{
    va_list ap;
    bx_cli_progress_clear();
    fputs("Error: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

int bx_cli_usage(const char *verb, const char *fmt, ...)
{
    va_list ap;
    fputs("Error: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    print_usage(stderr, verb);
    fprintf(stderr, "`boxlite %s --help` shows its options.\n", verb);
    return BX_EXIT_USAGE;
}

int bx_cli_parse(const char *verb, const struct bx_opt *opts, unsigned flags, int argc, char **argv, int *ret_exit)
{
    struct bx_err err = BX_ERR_INIT;
    int n = bx_opt_parse(opts, flags, argc - 1, argv + 1, &err);
    if (n == BX_OPT_HELP_ASKED) {
        print_usage(stdout, verb);
        printf("\n%s\n\n", find_verb(verb)->summary);
        bx_opt_help(opts, stdout);
        *ret_exit = bx_cli_finish(0);
        return -1;
    }
    if (n < 0) {
        *ret_exit = bx_cli_usage(verb, "%s", err.msg);
        return -1;
    }
    return n;
}

int bx_cli_finish(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    if (errno != EPIPE)
        bx_cli_error("cannot write the result: %s", strerror(errno));
    return code ? code : BX_EXIT_FAILURE;
}

/* Hosts to search: reached as the configuration says. NULL after having printed why. */
static BoxliteImageRegistry *make_registries(const char *home, size_t *ret_n)
{
    bx_cleanup_config struct bx_config config = { 0 };
    bx_cleanup_free char *unused = NULL;
    struct bx_err err = BX_ERR_INIT;
    size_t n = bx_strv_len(registry_options);
    BoxliteImageRegistry *list = calloc(n + 1, sizeof(*list));
    if (!list || (n > 0 && bx_config_load(home, &config, &unused, &err) < 0)) {
        bx_cli_error("%s", list ? err.msg : "out of memory");
        free(list);
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        list[i] = (BoxliteImageRegistry){ .host = registry_options[i], .search = 1 };
        for (size_t k = 0; k < config.n_registries; k++) {
            if (!bx_registry_host_same(config.registries[k].host, registry_options[i]))
                continue;
            if (config.registries[k].plain_http)
                list[i].transport = BoxliteRegistryTransportHttp;
            list[i].skip_verify = config.registries[k].skip_verify;
        }
    }
    *ret_n = n;
    return list;
}

CBoxliteRuntime *bx_cli_open(void)
{
    CBoxliteRuntime *rt = NULL;
    CBoxliteError error = { Ok, NULL };
    if (config_option)
        setenv("BOXLITE_CONFIG", config_option, 1);
    char *absolute = NULL;
    if (home_option && home_option[0] != '/') {
        bx_cleanup_free char *cwd = getcwd(NULL, 0);
        absolute = cwd ? bx_strf("%s/%s", cwd, home_option) : NULL;
    }
    size_t n = 0;
    BoxliteImageRegistry *registries = make_registries(absolute ? absolute : home_option, &n);
    if (!registries) {
        free(absolute);
        return NULL;
    }
    BoxliteErrorCode rc = boxlite_runtime_new(absolute ? absolute : home_option, registries, (int)n, &rt, &error);
    free(absolute);
    free(registries);
    bx_strv_free(registry_options);
    registry_options = NULL;
    if (rc != Ok) {
        bx_cli_fail(&error, NULL);
        return NULL;
    }
    return rt;
}

int bx_verb_version(int argc, char **argv)
{
    int code = 0;
    if (bx_cli_parse("version", bx_cli_global_opts, 0, argc, argv, &code) < 0)
        return code;
    printf("boxlite %s\n", boxlite_version());
    return bx_cli_finish(0);
}

int bx_verb_help(int argc, char **argv)
{
    if (argc < 2) {
        print_overview(stdout);
        return bx_cli_finish(0);
    }
    const struct bx_verb *v = find_verb(argv[1]);
    if (!v || v->run == bx_verb_help) {
        print_overview(v ? stdout : stderr);
        return v ? bx_cli_finish(0) : BX_EXIT_USAGE;
    }
    char *again[] = { argv[1], (char *)(uintptr_t) "--help", NULL };
    return v->run(2, again);
}

static int unknown_verb(const char *name)
{
    const char *names[BX_ARRAY_SIZE(bx_verbs)] = { 0 };
    for (size_t i = 0; bx_verbs[i].name; i++)
        names[i] = bx_verbs[i].name;
    const char *near = bx_opt_nearest(name, names);
    if (near)
        bx_cli_error("there is no verb '%s': did you mean '%s'?", name, near);
    else
        bx_cli_error("there is no verb '%s': `boxlite help` lists them", name);
    return BX_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    bool version = false;
    const struct bx_opt opts[] = {
        BX_OPT_FLAG(0, "version", &version, "show the version"),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    struct bx_err err = BX_ERR_INIT;
    int n = bx_opt_parse(opts, BX_OPT_STOP_AT_ARG, argc - 1, argv + 1, &err);
    if (n == BX_OPT_HELP_ASKED) {
        print_overview(stdout);
        return bx_cli_finish(0);
    }
    if (n < 0) {
        bx_cli_error("%s", err.msg);
        return BX_EXIT_USAGE;
    }
    if (version)
        return bx_verb_version(1, argv);
    if (n == 0) {
        print_overview(stderr);
        return BX_EXIT_USAGE;
    }
    const struct bx_verb *v = find_verb(argv[1]);
    return v ? v->run(n, argv + 1) : unknown_verb(argv[1]);
}
