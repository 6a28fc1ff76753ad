/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - the table of verbs, and the options that all of them take.
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
    BX_VERB_GROUP("Boxes"),
    { "run", NULL, "[OPTIONS] IMAGE|--rootfs DIR [COMMAND...]", "make a box and run a command in it", bx_verb_run },
    { "create", NULL, "[OPTIONS] IMAGE|--rootfs DIR [COMMAND...]", "make a box, to be started later", bx_verb_create },
    { "exec", NULL, "[OPTIONS] BOX -- COMMAND...", "run another command in a box", bx_verb_exec },
    { "cp", NULL, "[OPTIONS] BOX:PATH PATH | PATH BOX:PATH", "copy files and folders out of a box, or into one", bx_verb_cp },
    { "logs", NULL, "[OPTIONS] BOX", "show what a box's main process has written", bx_verb_logs },
    { "ps", "ls|list", "[OPTIONS]", "list boxes", bx_verb_ps },
    { "inspect", NULL, "[OPTIONS] BOX...", "show all there is to know of boxes", bx_verb_inspect },
    { "top", NULL, "[OPTIONS] BOX", "show the processes of a box", bx_verb_top },
    { "stats", NULL, "[OPTIONS] BOX", "show what a box takes", bx_verb_stats },
    { "start", NULL, "[OPTIONS] BOX...", "start boxes that do not run", bx_verb_start },
    { "stop", NULL, "[OPTIONS] BOX...", "stop boxes; their disks stay", bx_verb_stop },
    { "restart", NULL, "[OPTIONS] BOX...", "stop boxes and start them again", bx_verb_restart },
    { "pause", NULL, "[OPTIONS] BOX...", "make boxes stand still; their memory stays", bx_verb_pause },
    { "unpause", NULL, "[OPTIONS] BOX...", "let paused boxes go on", bx_verb_unpause },
    { "wait", NULL, "[OPTIONS] BOX...", "wait until boxes stop, and print their exit codes", bx_verb_wait },
    { "rm", NULL, "[OPTIONS] BOX...", "remove boxes and their disks", bx_verb_rm },
    { "network tunnel", NULL, "[OPTIONS] BOX PORT", "reach a port of a box at an address of this host", bx_verb_network_tunnel },
    { "network policy", NULL, "[OPTIONS] BOX", "show or replace the rules of a box's network", bx_verb_network_policy },
    { "network", NULL, "VERB ...", NULL, bx_verb_group },
    BX_VERB_GROUP("Images"),
    { "pull", NULL, "[OPTIONS] IMAGE", "fetch an image from its registry", bx_verb_pull, true },
    { "load", NULL, "[OPTIONS] PATH", "take an image from an OCI layout, an OCI archive or `docker save`", bx_verb_load, true },
    { "import", NULL, "[OPTIONS] FILE|- NAME [-- COMMAND...]", "make an image of a root file system in a tar", bx_verb_import, true },
    { "bootstrap", NULL, "[OPTIONS] debian", "make an image of this host's distribution packages", bx_verb_bootstrap, true },
    { "save", NULL, "[OPTIONS] IMAGE...", "write images as an OCI layout, a folder or an archive", bx_verb_save, true },
    { "images", "image ls|image list", "[OPTIONS]", "list images", bx_verb_images, true },
    { "tag", NULL, "IMAGE NAME", "give an image a further name", bx_verb_tag, true },
    { "rmi", "image rm|image remove", "[OPTIONS] IMAGE...", "remove images", bx_verb_rmi, true },
    { "prune", NULL, "[OPTIONS]", "remove what nothing needs, and unused images", bx_verb_prune, true },
    { "image inspect", NULL, "IMAGE...", "show what an image is", bx_verb_image_inspect },
    { "image", NULL, "VERB ...", NULL, bx_verb_group },
    BX_VERB_GROUP("This installation"),
    { "doctor", NULL, "[OPTIONS]", "find, and repair, what a crash has left and what this host lacks", bx_verb_doctor },
    { "events", NULL, "[OPTIONS]", "show what happens: boxes, commands, images", bx_verb_events },
    { "info", NULL, "[OPTIONS]", "show the engine and why, versions and paths", bx_verb_info },
    { "version", NULL, "", "show the version", bx_verb_version },
    { "completion", NULL, "bash|zsh|fish", "print what makes a shell complete words of a line", bx_verb_completion },
    { "__complete", NULL, "-- WORD...", NULL, bx_verb_complete }, /* what the scripts ask */
    { "help", NULL, "[OPTIONS] [VERB]", "show this, or how a verb is used", bx_verb_help },
    { 0 },
};

static const char *home_option;
static const char *config_option;
static char **registry_options;
static bool version_option;
bool bx_cli_debug;

const struct bx_opt bx_cli_global_opts[] = {
    BX_OPT_GROUP("Everywhere"),
    BX_OPT_STRING(0, "home", &home_option, "DIR", "where boxes and images are kept (BOXLITE_HOME, ~/.boxlite)"),
    BX_OPT_STRING(0, "config", &config_option, "FILE", "registries and more (BOXLITE_CONFIG, config.json where boxes are kept)"),
    BX_OPT_LIST(0, "registry", &registry_options, "HOST", "look here for images whose name has no registry (again: and there)"),
    BX_OPT_FLAG(0, "debug", &bx_cli_debug, "say on stderr what is done, and when"),
    BX_OPT_FLAG(0, "version", &version_option, "show the version"),
    BX_OPT_HELP('h', "help"),
    BX_OPT_END,
};

void bx_cli_error_begin(void)
{
    fprintf(stderr, "%sError:%s ", bx_color_begin(stderr, BX_COLOR_BAD), bx_color_end(stderr, BX_COLOR_BAD));
}

void bx_cli_error(const char *fmt, ...)
{
    va_list ap;
    bx_cli_progress_clear();
    bx_cli_error_begin();
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

int bx_cli_finish(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    if (errno != EPIPE)
        bx_cli_error("cannot write the result: %s", strerror(errno));
    return code ? code : BX_EXIT_FAILURE;
}

/* Hosts to search: reached as the configuration says. NULL with err. */
static BoxliteImageRegistry *make_registries(const char *home, size_t *ret_n, struct bx_err *err)
{
    bx_cleanup_config struct bx_config config = { 0 };
    bx_cleanup_free char *unused = NULL;
    size_t n = bx_strv_len(registry_options);
    BoxliteImageRegistry *list = calloc(n + 1, sizeof(*list));
    if (!list || (n > 0 && bx_config_load(home, &config, &unused, err) < 0)) {
        if (!list)
            bx_fail(err, BX_ERESOURCE, 0, "out of memory");
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

const char *bx_cli_home(void)
{
    static char *absolute;
    if (!home_option || home_option[0] == '/')
        return home_option;
    bx_cleanup_free char *cwd = getcwd(NULL, 0);
    free(absolute);
    absolute = cwd ? bx_strf("%s/%s", cwd, home_option) : NULL;
    return absolute;
}

CBoxliteRuntime *bx_cli_try_open(CBoxliteError *error)
{
    CBoxliteRuntime *rt = NULL;
    struct bx_err err = BX_ERR_INIT;
    size_t n = 0;
    if (config_option)
        setenv("BOXLITE_CONFIG", config_option, 1);
    BoxliteImageRegistry *registries = make_registries(bx_cli_home(), &n, &err);
    if (!registries) {
        *error = (CBoxliteError){ (BoxliteErrorCode)err.code, strdup(err.msg) };
        return NULL;
    }
    if (boxlite_runtime_new(bx_cli_home(), registries, (int)n, &rt, error) != Ok)
        rt = NULL;
    free(registries);
    bx_strv_free(registry_options);
    registry_options = NULL;
    if (rt)
        bx_cli_trace(BX_LOG_DEBUG, "boxlite %s has opened its home%s%s", boxlite_version(), home_option ? " " : "",
                     home_option ? home_option : "");
    return rt;
}

CBoxliteRuntime *bx_cli_open(void)
{
    CBoxliteError error = { Ok, NULL };
    CBoxliteRuntime *rt = bx_cli_trace_open() ? bx_cli_try_open(&error) : NULL;
    if (error.code != Ok)
        bx_cli_fail(&error, NULL);
    return rt;
}

static int print_version(void)
{
    printf("boxlite %s\n", boxlite_version());
    return bx_cli_finish(0);
}

bool bx_cli_version_asked(int *ret_exit)
{
    if (version_option)
        *ret_exit = print_version();
    return version_option;
}

int bx_verb_version(int argc, char **argv)
{
    int code = 0;
    return bx_cli_parse("version", bx_cli_global_opts, 0, argc, argv, &code) < 0 ? code : print_version();
}

int main(int argc, char **argv)
{
    struct bx_err err = BX_ERR_INIT;
    int code = 0, words = 0;
    signal(SIGPIPE, SIG_IGN);
    int n = bx_opt_parse(bx_cli_global_opts, BX_OPT_STOP_AT_ARG, argc - 1, argv + 1, &err);
    if (n == BX_OPT_HELP_ASKED) {
        bx_cli_overview(stdout);
        return bx_cli_finish(0);
    }
    if (n < 0) {
        bx_cli_error("%s", err.msg);
        return BX_EXIT_USAGE;
    }
    if (bx_cli_version_asked(&code))
        return code;
    if (n == 0) {
        bx_cli_overview(stderr);
        return BX_EXIT_USAGE;
    }
    const struct bx_verb *v = bx_cli_find_verb(n, argv + 1, &words);
    return v ? v->run(n - words + 1, argv + words) : bx_cli_unknown_verb(argv[1]);
}
