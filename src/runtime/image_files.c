/* SPDX-License-Identifier: Apache-2.0 */
/* image_files.c - the calls that write images to files, and that make one of an archive. */
#include <errno.h>
#include <string.h>

#include "runtime/convert.h"
#include "runtime/import.h"
#include "runtime/options.h"
#include "runtime/save.h"

static bool format_valid(const char *format)
{
    return !format || bx_streq(format, "oci-dir") || bx_streq(format, "oci-archive");
}

BoxliteErrorCode boxlite_image_save(CBoxliteImageHandle *images, const char *const *references, int count,
                                    const char *path, const char *format, CImageDoneCb cb, void *user_data,
                                    CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    struct bx_op *op;
    int i;

    if (!images || !references || !path || !cb)
        return bx_api_invalid(out_error, "%s is NULL",
                              !images       ? "images"
                              : !references ? "references"
                              : !path       ? "path"
                                            : "cb");
    if (count < 1 || !*path)
        return bx_api_invalid(out_error, "%s", *path ? "count: there must be an image to save" : "path is empty");
    for (i = 0; i < count; i++)
        if (!references[i])
            return bx_api_invalid(out_error, "references[%d] is NULL", i);
    if (!format_valid(format))
        return bx_api_invalid(out_error, "format: \"%.40s\" is none of oci-dir, oci-archive", format);
    if (bx_enter(images->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(images->rt, BX_OP_PLAIN, (union bx_op_cb){.plain = cb}, user_data, &err);
    if (op && bx_save_begin(images->rt, references, (size_t)count, path, format, op, &why) < 0)
        bx_op_answer(op, &why);
    bx_leave(images->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}

/* ---- import ---- */

/* Does each name a variable and its value? */
static int check_env(const BoxliteImageImport *o, struct bx_err *err)
{
    int i;

    for (i = 0; i < o->env_count; i++)
        if (!strchr(o->env[i], '='))
            return bx_fail(err, BX_EINVALID, 0, "env: \"%.100s\" is not NAME=VALUE", o->env[i]);
    return 0;
}

static int check_list(const char *field, const char *const *list, int count, struct bx_err *err)
{
    int i;

    if (count < 0 || (count > 0 && !list))
        return bx_fail(err, BX_EINVALID, 0, "%s: %d strings without a list", field, count);
    for (i = 0; i < count; i++)
        if (!list[i])
            return bx_fail(err, BX_EINVALID, 0, "%s[%d] is NULL", field, i);
    return 0;
}

/* What the image shall say of its command is checked and kept as what a box is told of its own. */
static int import_config(const char *name, const BoxliteImageImport *o, struct CBoxliteOptions **ret, struct bx_err *err)
{
    BX_CLEANUP(boxlite_options_free_p) struct CBoxliteOptions *config = NULL;
    int r;

    if ((r = check_list("cmd", o->cmd, o->cmd_count, err)) < 0 ||
        (r = check_list("entrypoint", o->entrypoint, o->entrypoint_count, err)) < 0 ||
        (r = check_list("env", o->env, o->env_count, err)) < 0 || (r = check_env(o, err)) < 0)
        return r;
    if (boxlite_options_new(name, &config, NULL) != Ok)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "import an image");
    boxlite_options_set_cmd(config, o->cmd, o->cmd_count);
    boxlite_options_set_entrypoint(config, o->entrypoint, o->entrypoint_count);
    boxlite_options_set_workdir(config, o->workdir);
    boxlite_options_set_user(config, o->user);
    config->env = bx_strv_copy(o->env, (size_t)o->env_count);
    config->no_memory = config->no_memory || !config->env;
    r = bx_options_check(config, err);
    if (r == 0)
        *ret = BX_TAKE_PTR(config);
    return r;
}

BoxliteErrorCode boxlite_image_import(CBoxliteImageHandle *images, const char *path, const char *reference,
                                      const BoxliteImageImport *options, CBoxImagePullCb cb, void *user_data,
                                      CBoxliteError *out_error)
{
    BX_CLEANUP(boxlite_options_free_p) struct CBoxliteOptions *config = NULL;
    BoxliteImageImport o = BOXLITE_IMAGE_IMPORT_INIT;
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    bx_cleanup_free char *name = NULL;
    struct bx_op *op;

    if (!images || !path || !reference || !cb)
        return bx_api_invalid(out_error, "%s is NULL",
                              !images      ? "images"
                              : !path      ? "path"
                              : !reference ? "reference"
                                           : "cb");
    if (options) {
        if (options->size < sizeof(options->size))
            return bx_api_invalid(out_error, "options: size is not set");
        memcpy(&o, options, BX_MIN(options->size, sizeof(o)));
    }
    if (bx_image_new_name(reference, &name, &err) < 0) {
        bx_prefix(&err, "reference");
        return bx_api_error(out_error, &err);
    }
    if (import_config(name, &o, &config, &err) < 0 || bx_enter(images->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(images->rt, BX_OP_PULLED, (union bx_op_cb){.pulled = cb}, user_data, &err);
    if (op && bx_import_begin(images->rt, path, name, BX_TAKE_PTR(config), op, &why) < 0)
        bx_op_answer(op, &why);
    bx_leave(images->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}
