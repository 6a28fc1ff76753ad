/* SPDX-License-Identifier: Apache-2.0 */
/* image_files.c - the call that writes images to files. */
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
