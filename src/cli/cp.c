/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cp.c - `boxlite cp`: files and folders into a box and out of it, by docker's rules.
 *
 * The library's one rule about folders (include_parent) becomes docker's here: a folder becomes the destination when that
 * is not there, and comes to be in it when it is a folder.
 */
#include "cli/cli.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"

struct cp {
    bool archive, follow, no_overwrite, all_links, quiet;
    const char *user;
    uint64_t max_bytes;
};

/* One side of it. */
struct side {
    char *box; /* NULL: this machine */
    const char *path;
};

/* "BOX:PATH"; what has a slash before its colon is a path of this machine. */
static struct side parse_side(const char *arg)
{
    const char *colon = strchr(arg, ':');
    struct side s = { .path = arg };
    if (!colon || memchr(arg, '/', (size_t)(colon - arg)) || arg[0] == '.' || colon == arg)
        return s;
    s.box = bx_strf("%.*s", (int)(colon - arg), arg);
    s.path = colon[1] ? colon + 1 : "/";
    return s;
}

/* ---- is the destination a folder that is there? ---- */

static void keep_is_dir(const CBoxFileInfo *info, CBoxliteError *error, void *ud)
{
    static int yes;
    bx_call_answer(ud, info && info->type == BoxliteFileTypeFolder ? &yes : NULL, error);
}

/* 1, 0, or -1 with the error in call. */
static int box_has_dir(CBoxliteRuntime *rt, CBoxHandle *box, const char *path, const struct cp *o, struct bx_call *call)
{
    BoxliteFileOptions f = BOXLITE_FILE_OPTIONS_INIT;
    f.follow_symlinks = 1;
    f.user = o->user;
    if (bx_call_wait(rt, call, boxlite_box_stat(box, path, &f, keep_is_dir, call, &call->error)))
        return call->result != NULL;
    if (call->error.code != NotFound)
        return -1;
    boxlite_error_free(&call->error);
    return 0;
}

static int host_has_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* ---- the copy ---- */

static uint64_t left_out;

static void keep_result(const CBoxCopyResult *result, CBoxliteError *error, void *ud)
{
    left_out = result ? result->left_out : 0;
    bx_call_answer(ud, NULL, error);
}

static bool copy(CBoxliteRuntime *rt, CBoxHandle *box, const struct side *from, const struct side *to, const struct cp *o,
                 struct bx_call *call)
{
    BoxliteCopyOptions c = BOXLITE_COPY_OPTIONS_INIT;
    int dir = to->box ? box_has_dir(rt, box, to->path, o, call) : host_has_dir(to->path);
    if (dir < 0)
        return false;
    *call = BX_CALL_INIT;
    c.include_parent = dir;
    c.overwrite = !o->no_overwrite;
    c.follow_symlinks = o->follow;
    c.keep_owner = o->archive;
    c.all_links = o->all_links;
    c.user = o->user;
    c.max_bytes = to->box ? 0 : o->max_bytes;
    return bx_call_wait(rt, call,
                        to->box ? boxlite_box_copy_in(box, from->path, to->path, &c, keep_result, call, &call->error)
                                : boxlite_box_copy_out(box, from->path, to->path, &c, keep_result, call, &call->error));
}

/* A box that was started for this stops again, and its disk is whole when we are gone. */
static void stop_what_we_started(CBoxliteRuntime *rt)
{
    struct bx_call call = BX_CALL_INIT;
    if (!bx_call_wait(rt, &call, boxlite_runtime_shutdown(rt, 0, bx_call_plain, &call, &call.error)))
        boxlite_error_free(&call.error);
}

static int run(const struct side *from, const struct side *to, const struct cp *o)
{
    CBoxliteRuntime *rt = bx_cli_open();
    struct bx_call call = BX_CALL_INIT;
    int code = 0;
    if (!rt)
        return BX_EXIT_FAILURE;
    bx_cli_progress(rt);
    CBoxHandle *box = bx_cli_box(rt, from->box ? from->box : to->box, &code);
    if (box) {
        if (!copy(rt, box, from, to, o, &call))
            code = bx_cli_fail(&call.error, NULL);
        else if (left_out > 0 && !o->quiet)
            fprintf(stderr, "Left out: %llu (pipes, sockets, devices; links that lead out of what is copied)\n",
                    (unsigned long long)left_out);
        stop_what_we_started(rt);
    }
    bx_cli_progress_clear();
    boxlite_box_free(box);
    boxlite_runtime_free(rt);
    return bx_cli_finish(code);
}

static int check_sides(const struct side *from, const struct side *to)
{
    if (!from->box && !to->box)
        return bx_cli_usage("cp", "one side must be in a box: BOX:PATH");
    if (from->box && to->box)
        return bx_cli_usage("cp", "one side must be on this machine, not both in boxes");
    if (bx_streq(from->path, "-") || bx_streq(to->path, "-"))
        return bx_cli_usage("cp", "archives are not copied: /dev/stdin and /dev/stdout stand for the bytes of one file");
    return 0;
}

int bx_verb_cp(int argc, char **argv)
{
    struct cp o = { 0 };
    const struct bx_opt opts[] = {
        BX_OPT_FLAG('a', "archive", &o.archive, "keep owner and group, as numbers"),
        BX_OPT_FLAG('L', "follow-link", &o.follow, "copy what links lead to"),
        BX_OPT_FLAG('n', "no-overwrite", &o.no_overwrite, "a file that is there already is an error"),
        BX_OPT_FLAG(0, "all-links", &o.all_links, "out of a box: also links that lead out of what is copied"),
        BX_OPT_SIZE(0, "max-size", &o.max_bytes, "SIZE", "out of a box: no more than this"),
        BX_OPT_STRING('u', "user", &o.user, "USER", "who reads or writes in the box (root)"),
        BX_OPT_FLAG('q', "quiet", &o.quiet, "do not say what was left out"),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("cp", opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (n != 2)
        return bx_cli_usage("cp", n < 2 ? "from where to where?" : "one source and one destination");
    struct side from = parse_side(argv[1]), to = parse_side(argv[2]);
    code = check_sides(&from, &to);
    if (code == 0)
        code = run(&from, &to, &o);
    free(from.box);
    free(to.box);
    return code;
}
