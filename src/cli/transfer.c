/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfer.c - images in and out: `boxlite pull`, `load`, `import` and `save`.
 */
#include "cli/cli.h"

#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/str.h"

struct transfer {
    const char *name; /* load */
    bool quiet, warm;
    int64_t cpus, memory; /* of the boxes it is to be warm for; 0: the default */
    BoxliteImageImport import;
    const char *output, *format; /* save */
    char **words;
    int n_words;
};

typedef bool transfer_fn(CBoxliteRuntime *rt, CBoxliteImageHandle *images, const struct transfer *t, struct bx_call *call);

/* On a signal: what was begun is cleared away, not only left. */
static void give_up(void *rt)
{
    boxlite_runtime_free(rt);
}

static int transfer(transfer_fn *fn, const struct transfer *t)
{
    CBoxliteRuntime *rt = bx_cli_open();
    struct bx_call call = BX_CALL_INIT;
    int code = 0;
    if (!rt)
        return BX_EXIT_FAILURE;
    bx_cli_progress(rt);
    bx_cli_on_leave(give_up, rt);
    CBoxliteImageHandle *images = bx_cli_images(rt, &code);
    if (images && !fn(rt, images, t, &call))
        code = bx_cli_fail(&call.error, NULL);
    bx_cli_progress_clear();
    bx_cli_on_leave(NULL, NULL);
    boxlite_image_free(images);
    boxlite_runtime_free(rt);
    return bx_cli_finish(code);
}

/* --- in --- */

static void keep_result(CImagePullResult *result, CBoxliteError *error, void *ud)
{
    bx_call_answer(ud, result, error);
}

void bx_cli_show_image(const char *did, CImagePullResult *r, bool quiet)
{
    bx_cli_progress_clear();
    if (quiet)
        printf("%s\n", r->config_digest);
    else
        printf("%s: %s\nDigest: %s\nLayers: %d\n", did, r->reference, r->config_digest, r->layer_count);
    boxlite_free_image_pull_result(r);
}

/* What came is told first: it is there, whatever becomes of the rest. */
static bool finish_in(CBoxliteRuntime *rt, CBoxliteImageHandle *images, const struct transfer *t, const char *did,
                      struct bx_call *call)
{
    CImagePullResult *r = call->result;
    const BoxliteImageWarm options = { sizeof(options), (int32_t)t->cpus, (int32_t)t->memory };
    bx_cleanup_free char *reference = bx_strf("%s", r->reference);
    bx_cli_show_image(did, r, t->quiet);
    if (!t->warm)
        return true;
    fflush(stdout);
    *call = BX_CALL_INIT;
    if (!bx_call_wait(rt, call, boxlite_image_warm(images, reference, &options, bx_call_plain, call, &call->error)))
        return false;
    bx_cli_progress_clear();
    if (!t->quiet)
        printf("Warm: yes\n");
    return true;
}

/* Which boxes it is to be warm for is nothing to say when it is not to be warm. */
static int check_warm(const char *verb, const struct transfer *t)
{
    if (t->warm || (!t->cpus && !t->memory))
        return 0;
    return bx_cli_usage(verb, "--%s is of --warm", t->cpus ? "cpus" : "memory");
}

#define WARM_OPTS(t)                                                                                                        \
    BX_OPT_FLAG(0, "warm", &(t).warm, "make its template too: the first box starts as fast as the next"),                   \
    BX_OPT_INT(0, "cpus", &(t).cpus, 1, BX_CPUS_MAX, "N", "warm for boxes of so many processors (1)"),                      \
    BX_OPT_INT(0, "memory", &(t).memory, BX_MEMORY_MIN_MIB, BX_MEMORY_MAX_MIB, "MiB", "warm for boxes of this memory (1024)")

static bool pull(CBoxliteRuntime *rt, CBoxliteImageHandle *images, const struct transfer *t, struct bx_call *call)
{
    if (!bx_call_wait(rt, call, boxlite_image_pull(images, t->words[0], keep_result, call, &call->error)))
        return false;
    return finish_in(rt, images, t, "Pulled", call);
}

int bx_verb_pull(int argc, char **argv)
{
    struct transfer t = {.words = argv + 1};
    const struct bx_opt opts[] = {
        BX_OPT_FLAG('q', "quiet", &t.quiet, "print its id only"),
        WARM_OPTS(t),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("pull", opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (n != 1)
        return bx_cli_usage("pull", n == 0 ? "which image?" : "one image at a time");
    code = check_warm("pull", &t);
    return code ? code : transfer(pull, &t);
}

static bool load(CBoxliteRuntime *rt, CBoxliteImageHandle *images, const struct transfer *t, struct bx_call *call)
{
    if (!bx_call_wait(rt, call, boxlite_image_load(images, t->words[0], t->name, keep_result, call, &call->error)))
        return false;
    return finish_in(rt, images, t, "Loaded", call);
}

int bx_verb_load(int argc, char **argv)
{
    struct transfer t = {.words = argv + 1};
    const struct bx_opt opts[] = {
        BX_OPT_STRING(0, "name", &t.name, "NAME", "call the image this (the name it carries)"),
        BX_OPT_FLAG('q', "quiet", &t.quiet, "print its id only"),
        WARM_OPTS(t),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("load", opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (n != 1)
        return bx_cli_usage("load", n == 0 ? "load what?" : "one path at a time");
    code = check_warm("load", &t);
    return code ? code : transfer(load, &t);
}

static bool import(CBoxliteRuntime *rt, CBoxliteImageHandle *images, const struct transfer *t, struct bx_call *call)
{
    const char *path = bx_streq(t->words[0], "-") ? "/dev/stdin" : t->words[0];
    if (!bx_call_wait(rt, call, boxlite_image_import(images, path, t->words[1], &t->import, keep_result, call, &call->error)))
        return false;
    return finish_in(rt, images, t, "Imported", call);
}

int bx_verb_import(int argc, char **argv)
{
    struct transfer t = {.words = argv + 1, .import = BOXLITE_IMAGE_IMPORT_INIT};
    const char *entrypoint = NULL;
    char **env = NULL;
    const struct bx_opt opts[] = {
        BX_OPT_STRING(0, "entrypoint", &entrypoint, "PROGRAM", "what the command is given to"),
        BX_OPT_LIST('e', "env", &env, "NAME=VALUE", "a variable of every command"),
        BX_OPT_STRING('w', "workdir", &t.import.workdir, "FOLDER", "directory that commands start in (/)"),
        BX_OPT_STRING('u', "user", &t.import.user, "USER[:GROUP]", "user that commands run as (root)"),
        BX_OPT_FLAG('q', "quiet", &t.quiet, "print its id only"),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("import", opts, 0, argc, argv, &code);
    if (n >= 0 && n < 2)
        code = bx_cli_usage("import", n == 0 ? "which archive, and by which name?" : "by which name?");
    else if (n > 0 && bx_streq(argv[1], "-") && isatty(STDIN_FILENO))
        code = bx_cli_usage("import", "an archive does not come from a terminal: `tar -c . | boxlite import - NAME`");
    if (n > 0 && code == 0) {
        t.import.cmd = (const char *const *)(argv + 3);
        t.import.cmd_count = n - 2;
        t.import.entrypoint = &entrypoint;
        t.import.entrypoint_count = entrypoint ? 1 : 0;
        t.import.env = (const char *const *)env;
        t.import.env_count = (int32_t)bx_strv_len(env);
        code = transfer(import, &t);
    }
    bx_strv_free(env);
    return code;
}

/* --- out --- */

static bool save(CBoxliteRuntime *rt, CBoxliteImageHandle *images, const struct transfer *t, struct bx_call *call)
{
    const char *path = !t->output || bx_streq(t->output, "-") ? "/dev/stdout" : t->output;
    return bx_call_wait(rt, call,
                        boxlite_image_save(images, (const char *const *)t->words, t->n_words, path, t->format,
                                           bx_call_plain, call, &call->error));
}

int bx_verb_save(int argc, char **argv)
{
    struct transfer t = {.words = argv + 1};
    const struct bx_opt opts[] = {
        BX_OPT_STRING('o', "output", &t.output, "PATH", "write to this file, or with / at its end to this folder (stdout)"),
        BX_OPT_STRING(0, "format", &t.format, "FORMAT", "oci-dir or oci-archive (what PATH tells)"),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("save", opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (n == 0)
        return bx_cli_usage("save", "which image?");
    if ((!t.output || bx_streq(t.output, "-")) && isatty(STDOUT_FILENO))
        return bx_cli_usage("save", "an archive is not for a terminal: say where with -o");
    t.n_words = n;
    return transfer(save, &t);
}
