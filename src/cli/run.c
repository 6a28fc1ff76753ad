/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - `boxlite run`, `create` and `exec`: boxes are made, commands run in them.
 */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/str.h"

/* Options that run and exec have in common. */
struct process_opts {
    bool interactive, tty, detach;
    char **env;
    const char *workdir, *user;
};

#define TERMINAL_OPTS(o)                                                                                     \
    BX_OPT_FLAG('i', "interactive", &(o).interactive, "pass our stdin to the command"),                      \
        BX_OPT_FLAG('t', "tty", &(o).tty, "give the command a terminal")
#define PROCESS_OPTS(o)                                                                                      \
    BX_OPT_LIST('e', "env", &(o).env, "NAME[=VALUE]", "set a variable (NAME alone: from our environment)"), \
        BX_OPT_STRING('w', "workdir", &(o).workdir, "FOLDER", "directory the command starts in"),               \
        BX_OPT_STRING('u', "user", &(o).user, "USER[:GROUP]", "user to run as, by name or number")

struct run_opts {
    struct process_opts process;
    bool rm, image_command;
    const char *verb;
    const char *name, *engine, *entrypoint, *rootfs;
    int64_t cpus, memory, disk_size;
    struct bx_network_opts network;
    struct bx_security_opts security;
    struct bx_health_opts health;
};

#define BOX_OPTS(o)                                                                                             \
    BX_OPT_STRING(0, "name", &(o).name, "NAME", "give the box a name"),                                         \
        BX_OPT_STRING(0, "rootfs", &(o).rootfs, "DIR", "in place of an image: a folder in OCI layout"),         \
        BX_OPT_INT(0, "cpus", &(o).cpus, 1, BX_CPUS_MAX, "N", "processors (1)"),                                \
        BX_OPT_INT(0, "memory", &(o).memory, BX_MEMORY_MIN_MIB, BX_MEMORY_MAX_MIB, "MiB", "memory (1024)"),     \
        BX_OPT_INT(0, "disk-size", &(o).disk_size, 1, BX_DISK_MAX_GB, "GB",                                     \
                   "size of the disk (10); space is taken as it is used"),                                      \
        BX_OPT_STRING(0, "engine", &(o).engine, "auto|kvm|tcg", "what runs the machine (auto)")

/* "NAME=VALUE" or "NAME": name and value on the heap; false when the variable is not set here (it is then left out). */
static int split_env(const char *text, char **ret_name, char **ret_value)
{
    const char *eq = strchr(text, '=');
    size_t n = eq ? (size_t)(eq - text) : strlen(text);
    const char *value = eq ? eq + 1 : getenv(text);
    if (n == 0)
        return -1;
    if (!value)
        return 0;
    *ret_name = strndup(text, n);
    *ret_value = strdup(value);
    return 1;
}

static int add_env(CBoxliteOptions *options, const char *verb, char **env)
{
    for (char **e = env; e && *e; e++) {
        bx_cleanup_free char *name = NULL, *value = NULL;
        int r = split_env(*e, &name, &value);
        if (r < 0)
            return bx_cli_usage(verb, "--env: '%s' has no name", *e);
        if (r > 0)
            boxlite_options_add_env(options, name, value);
    }
    return 0;
}

/* An entrypoint given here replaces the image's, and its cmd with it, as with Docker. */
static void set_command(CBoxliteOptions *options, const struct run_opts *o, int argc, char **argv)
{
    boxlite_options_set_main(options, o->image_command);
    if (o->entrypoint)
        boxlite_options_set_entrypoint(options, &o->entrypoint, *o->entrypoint ? 1 : 0);
    if (argc > 0 || o->entrypoint)
        boxlite_options_set_cmd(options, (const char *const *)argv, argc);
}

static CBoxliteOptions *make_options(const struct run_opts *o, int argc, char **argv, int *ret_exit)
{
    CBoxliteOptions *options = NULL;
    CBoxliteError error = { Ok, NULL };
    int words = o->rootfs ? 0 : 1; /* the image's name */
    if (boxlite_options_new(words ? argv[0] : NULL, &options, &error) != Ok) {
        *ret_exit = bx_cli_fail(&error, NULL);
        return NULL;
    }
    *ret_exit = add_env(options, o->verb, o->process.env);
    if (!*ret_exit)
        *ret_exit = bx_cli_network(options, o->verb, &o->network);
    if (!*ret_exit)
        *ret_exit = bx_cli_security(options, o->verb, &o->security);
    if (!*ret_exit)
        *ret_exit = bx_cli_health(options, o->verb, &o->health);
    if (*ret_exit) {
        boxlite_options_free(options);
        return NULL;
    }
    set_command(options, o, argc - words, argv + words);
    boxlite_options_set_rootfs_path(options, o->rootfs);
    boxlite_options_set_name(options, o->name);
    boxlite_options_set_cpus(options, (int)o->cpus);
    boxlite_options_set_memory(options, (int)o->memory);
    boxlite_options_set_disk_size_gb(options, (int)o->disk_size);
    boxlite_options_set_workdir(options, o->process.workdir);
    boxlite_options_set_user(options, o->process.user);
    boxlite_options_set_engine(options, o->engine);
    boxlite_options_set_tty(options, o->process.tty);
    boxlite_options_set_stdin_open(options, o->process.interactive);
    boxlite_options_set_detach(options, o->process.detach);
    if (o->rm) /* whoever looks next removes it, should this program be killed */
        boxlite_options_set_auto_remove(options, 1);
    else
        boxlite_options_set_auto_delete_interval(options, 0);
    return options;
}

struct removal {
    CBoxliteRuntime *rt;
    char *id;
};

static void remove_box(void *ud)
{
    struct removal *r = ud;
    struct bx_call call = BX_CALL_INIT;
    if (!bx_call_wait(r->rt, &call, boxlite_remove(r->rt, r->id, 1, bx_call_plain, &call, &call.error)) &&
        call.error.code != NotFound) /* it went with its end */
        bx_cli_fail(&call.error, NULL);
    else
        boxlite_error_free(&call.error);
}

/* Waits until the machine of a box whose main process has ended is down and its disk written. */
static void stop_box(CBoxliteRuntime *rt, CBoxHandle *box)
{
    struct bx_call call = BX_CALL_INIT;
    if (!bx_call_wait(rt, &call, boxlite_stop_box(box, bx_call_plain, &call, &call.error)))
        bx_cli_fail(&call.error, NULL);
}

static int start_detached(CBoxliteRuntime *rt, CBoxHandle *box, const char *id)
{
    struct bx_call call = BX_CALL_INIT;
    if (!bx_call_wait(rt, &call, boxlite_start_box(box, bx_call_plain, &call, &call.error)))
        return bx_process_start_failed(&call.error);
    bx_cli_progress_clear();
    printf("%s\n", id);
    return bx_cli_finish(0);
}

static int run_attached(CBoxliteRuntime *rt, CBoxHandle *box, const struct process_opts *o)
{
    struct bx_call call = BX_CALL_INIT;
    if (!bx_call_wait(rt, &call, boxlite_box_attach_execution(box, NULL, bx_call_exec, &call, &call.error)))
        return bx_process_start_failed(&call.error);
    struct bx_process p = { .rt = rt, .execution = call.result, .interactive = o->interactive, .tty = o->tty };
    int code = BX_EXIT_FAILURE;
    if (bx_process_begin(&p)) {
        call = BX_CALL_INIT;
        if (bx_call_wait(rt, &call, boxlite_start_box(box, bx_call_plain, &call, &call.error))) {
            bx_cli_progress_clear();
            code = bx_process_run(&p);
        } else {
            code = bx_process_start_failed(&call.error);
        }
    }
    boxlite_execution_free(p.execution);
    return code;
}

/* The new box; NULL after having printed why. Takes the options. */
static CBoxHandle *make_box(CBoxliteRuntime *rt, CBoxliteOptions *options, int *ret_exit)
{
    struct bx_call call = BX_CALL_INIT;
    BoxliteErrorCode rc = boxlite_create_box(rt, options, bx_call_box, &call, &call.error);
    if (rc != Ok)
        boxlite_options_free(options);
    if (bx_call_wait(rt, &call, rc))
        return call.result;
    *ret_exit = bx_cli_fail(&call.error, NULL);
    return NULL;
}

static int create_box(CBoxliteRuntime *rt, CBoxliteOptions *options)
{
    int code = 0;
    CBoxHandle *box = make_box(rt, options, &code);
    char *id = boxlite_box_id(box);
    if (id)
        printf("%s\n", id);
    boxlite_free_string(id);
    boxlite_box_free(box);
    return bx_cli_finish(code);
}

static int run_box(CBoxliteRuntime *rt, CBoxliteOptions *options, const struct run_opts *o)
{
    int code = 0;
    CBoxHandle *box = make_box(rt, options, &code);
    if (!box)
        return code;
    struct removal removal = { .rt = rt, .id = boxlite_box_id(box) };
    bx_cli_on_leave(remove_box, &removal);
    bool ran = false;
    if (o->process.detach) {
        code = start_detached(rt, box, removal.id);
        ran = code == 0;
    } else {
        code = run_attached(rt, box, &o->process);
        ran = code != BX_EXIT_FAILURE && code != BX_EXIT_CANNOT_RUN && code != BX_EXIT_NOT_FOUND;
    }
    bx_cli_on_leave(NULL, NULL);
    /* A box that never ran anything is of no use to anybody. */
    if (o->rm || !ran)
        remove_box(&removal);
    else if (!o->process.detach)
        stop_box(rt, box);
    boxlite_free_string(removal.id);
    boxlite_box_free(box);
    return code;
}

static int check_terminal(const struct process_opts *o)
{
    if (!o->tty || isatty(0) || (o->detach && !o->interactive))
        return 0;
    bx_cli_error("the input device is not a TTY. Leave out -t, or run this on a terminal");
    return BX_EXIT_FAILURE;
}

/* Makes a box of what remains of the command line, and runs it or not. */
static int with_box(struct run_opts *o, int n, char **args, bool run)
{
    int code = 0;
    if (n == 0 && !o->rootfs)
        return bx_cli_usage(o->verb, "which image?");
    CBoxliteRuntime *rt = bx_cli_open();
    if (!rt)
        return BX_EXIT_FAILURE;
    bx_cli_progress(rt);
    CBoxliteOptions *options = make_options(o, n, args, &code);
    if (options)
        code = run ? run_box(rt, options, o) : create_box(rt, options);
    boxlite_runtime_free(rt);
    return code;
}

static void run_opts_done(struct run_opts *o)
{
    bx_strv_free(o->process.env);
    bx_network_opts_done(&o->network);
    bx_security_opts_done(&o->security);
}

int bx_verb_run(int argc, char **argv)
{
    struct run_opts o = { .verb = "run", .image_command = true, .health = BX_HEALTH_OPTS_INIT };
    const struct bx_opt opts[] = {
        BX_OPT_GROUP("The command"),
        BX_OPT_FLAG('d', "detach", &o.process.detach, "leave the box running and print its id"),
        TERMINAL_OPTS(o.process),
        PROCESS_OPTS(o.process),
        BX_OPT_STRING(0, "entrypoint", &o.entrypoint, "PROGRAM", "run this in place of the image's entrypoint"),
        BX_OPT_GROUP("The box"),
        BX_OPT_FLAG(0, "rm", &o.rm, "remove the box when the command has ended"),
        BOX_OPTS(o),
        BX_NETWORK_OPTS(o.network),
        BX_SECURITY_OPTS(o.security),
        BX_HEALTH_OPTS(o.health),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("run", opts, BX_OPT_STOP_AT_ARG, argc, argv, &code);
    if (n >= 0 && o.rm && o.process.detach)
        code = bx_cli_usage("run", "--rm and --detach exclude each other: remove the box with `boxlite rm -f`");
    else if (n >= 0)
        code = check_terminal(&o.process);
    if (n >= 0 && code == 0)
        code = with_box(&o, n, argv + 1, true);
    run_opts_done(&o);
    return code;
}

int bx_verb_create(int argc, char **argv)
{
    /* Nobody waits for it: it lives until it is removed. */
    struct run_opts o = { .verb = "create", .process.detach = true, .health = BX_HEALTH_OPTS_INIT };
    const struct bx_opt opts[] = {
        BX_OPT_GROUP("Its commands"),
        PROCESS_OPTS(o.process),
        BX_OPT_STRING(0, "entrypoint", &o.entrypoint, "PROGRAM", "what COMMAND is given to, in place of the image's"),
        BX_OPT_FLAG(0, "image-command", &o.image_command, "without COMMAND: run the image's, not nothing, when it is started"),
        BX_OPT_GROUP("The box"),
        BOX_OPTS(o),
        BX_NETWORK_OPTS(o.network),
        BX_SECURITY_OPTS(o.security),
        BX_HEALTH_OPTS(o.health),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("create", opts, BX_OPT_STOP_AT_ARG, argc, argv, &code);
    if (n >= 0)
        code = with_box(&o, n, argv + 1, false);
    run_opts_done(&o);
    return code;
}

/* --- exec */

/* NAME=VALUE list into the flat pairs of a BoxliteCommand. */
static int make_pairs(char **env, char ***ret)
{
    for (char **e = env; e && *e; e++) {
        bx_cleanup_free char *name = NULL, *value = NULL;
        int r = split_env(*e, &name, &value);
        if (r < 0)
            return bx_cli_usage("exec", "--env: '%s' has no name", *e);
        if (r > 0 && (bx_strv_add(ret, name) < 0 || bx_strv_add(ret, value) < 0))
            return BX_EXIT_FAILURE;
    }
    return 0;
}

static int exec_attached(CBoxliteRuntime *rt, CExecutionHandle *execution, const struct process_opts *o)
{
    struct bx_process p = { .rt = rt, .execution = execution, .interactive = o->interactive, .tty = o->tty };
    return bx_process_begin(&p) ? bx_process_run(&p) : BX_EXIT_FAILURE;
}

static int exec_in(CBoxliteRuntime *rt, CBoxHandle *box, const struct process_opts *o, BoxliteExecOptions *options,
                   int argc, char **argv)
{
    bx_cleanup_strv char **pairs = NULL;
    int code = make_pairs(o->env, &pairs);
    if (code)
        return code;
    BoxliteCommand command = { .command = argv[0],
                               .args = (const char *const *)(argv + 1),
                               .argc = argc - 1,
                               .env_pairs = (const char *const *)pairs,
                               .env_count = (int)bx_strv_len(pairs),
                               .workdir = o->workdir,
                               .user = o->user,
                               .tty = o->tty };
    unsigned rows, cols;
    options->stdin_closed = !o->interactive;
    options->detached = o->detach;
    if (o->tty && bx_terminal_size(&rows, &cols)) {
        options->rows = rows;
        options->cols = cols;
    }
    struct bx_call call = BX_CALL_INIT;
    if (!bx_call_wait(rt, &call, boxlite_box_exec_post(box, &command, options, bx_call_exec, &call, &call.error)))
        return bx_process_start_failed(&call.error);
    CExecutionHandle *execution = call.result;
    bx_cli_progress_clear();
    code = o->detach ? 0 : exec_attached(rt, execution, o);
    boxlite_execution_free(execution);
    return code;
}

int bx_verb_exec(int argc, char **argv)
{
    struct process_opts o = { 0 };
    char **ulimits = NULL;
    BoxliteExecOptions options = BOXLITE_EXEC_OPTIONS_INIT;
    const struct bx_opt opts[] = {
        BX_OPT_FLAG('d', "detach", &o.detach, "leave the command running in the box"),
        TERMINAL_OPTS(o),
        PROCESS_OPTS(o),
        BX_ULIMIT_OPT(ulimits),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("exec", opts, 0, argc, argv, &code);
    char **args = argv + 1;
    if (n >= 0 && n < 2)
        code = bx_cli_usage("exec", n == 0 ? "in which box?" : "which command?");
    else if (n > 0)
        code = check_terminal(&o);
    if (n > 0 && code == 0)
        code = bx_cli_exec_limits(&options, "exec", ulimits);
    CBoxliteRuntime *rt = n > 0 && code == 0 ? bx_cli_open() : NULL;
    if (n > 0 && code == 0 && !rt)
        code = BX_EXIT_FAILURE;
    if (rt) {
        bx_cli_progress(rt);
        CBoxHandle *box = bx_cli_box(rt, args[0], &code);
        if (box)
            code = exec_in(rt, box, &o, &options, n - 1, args + 1);
        boxlite_box_free(box);
        boxlite_runtime_free(rt);
    }
    bx_strv_free(o.env);
    bx_strv_free(ulimits);
    return code;
}
