/* SPDX-License-Identifier: Apache-2.0 */
/* api.c - the border: errors as users see them, strings, named facts, what is freed. */
#include "runtime/network.h"
#include "runtime/runtime.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "host/json.h"

#define INFO_LIST_MAX (8 * 1024 * 1024)

_Static_assert((int)Ok == BX_OK && (int)Internal == BX_EINTERNAL && (int)NotFound == BX_ENOTFOUND &&
                   (int)AlreadyExists == BX_EEXISTS && (int)InvalidState == BX_ESTATE &&
                   (int)InvalidArgument == BX_EINVALID && (int)Config == BX_ECONFIG &&
                   (int)Storage == BX_ESTORAGE && (int)Image == BX_EIMAGE && (int)Network == BX_ENETWORK &&
                   (int)Execution == BX_EEXEC,
               "the codes inside are the codes outside");
_Static_assert((int)Stopped == BX_ESTOPPED && (int)Engine == BX_EENGINE &&
                   (int)Unsupported == BX_EUNSUPPORTED && (int)Database == BX_EDATABASE &&
                   (int)Portal == BX_EPORTAL && (int)Rpc == BX_ERPC && (int)RpcTransport == BX_ETRANSPORT &&
                   (int)Metadata == BX_EMETADATA && (int)UnsupportedEngine == BX_EENGINEKIND &&
                   (int)ResourceExhausted == BX_ERESOURCE && (int)SessionReaped == BX_EREAPED,
               "the codes inside are the codes outside");

char *bx_api_message(const struct bx_err *err)
{
    const char *prefix = bx_code_info(err->code)->prefix;
    bool unsaid = err->code == BX_EEXEC && err->sys_errno == ENOENT && !strstr(err->msg, "not found");

    if (err->code == BX_ENOTFOUND && err->sys_errno == ENOENT)
        prefix = "not found: "; /* a file, no box */
    if (!prefix || bx_starts_with(err->msg, prefix))
        prefix = "";
    return bx_strf("%s%s%s", prefix, err->msg, unsaid ? " (not found)" : "");
}

BoxliteErrorCode bx_api_error(CBoxliteError *out, const struct bx_err *err)
{
    int code = err->code > 0 && err->code < BX_ECODE_MAX ? err->code : BX_EINTERNAL;

    if (out) {
        out->code = (BoxliteErrorCode)code;
        out->message = bx_api_message(err);
    }
    return (BoxliteErrorCode)code;
}

int bx_api_options(void *dst, size_t known, const void *given, struct bx_err *err)
{
    size_t size;

    if (!given)
        return 0;
    memcpy(&size, given, sizeof(size));
    if (size < sizeof(size_t))
        return bx_fail(err, BX_EINVALID, 0, "options: size is not set");
    for (size_t i = known; i < size; i++) /* of a newer program: harmless as long as it is not used */
        if (((const unsigned char *)given)[i] != 0)
            return bx_fail(err, BX_EINVALID, 0, "options: has a field that this library (%s) does not know", BX_VERSION);
    memcpy(dst, given, BX_MIN(size, known));
    return 0;
}

BoxliteErrorCode bx_api_invalid(CBoxliteError *out, const char *fmt, ...)
{
    struct bx_err err = {.code = BX_EINVALID};
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(err.msg, sizeof(err.msg), fmt, ap);
    va_end(ap);
    return bx_api_error(out, &err);
}

BoxliteErrorCode bx_api_result(CBoxliteError *out, int r, const struct bx_err *err)
{
    return r < 0 ? bx_api_error(out, err) : Ok;
}

void boxlite_error_free(CBoxliteError *error)
{
    if (!error)
        return;
    free(error->message);
    *error = (CBoxliteError){Ok, NULL};
}

void boxlite_free_string(char *str)
{
    free(str);
}

const char *boxlite_version(void)
{
    return BX_VERSION;
}

int boxlite_has_feature(const char *name)
{
    static const char *const features[] = {
        "runtime_fd",
        "exec_post",
        "attach",
        "stdin_writable",
        "image_load",
        "image_store",
        "image_save",
        "image_pull",
        "image_import",
        "image_warm",
        "rootfs_path",
        "info",
        "engine",
        "progress",
        "pull_progress",
        "metrics",
        "restart",
        "security",
        "exec_limits",
        "output_pause",
        "wait",
        "processes",
        "doctor",
        "files",
        "logs",
        "events",
        "pause",
    };
    size_t i;

    for (i = 0; name && i < BX_ARRAY_SIZE(features); i++)
        if (bx_streq(features[i], name))
            return 1;
    return 0;
}

/* ---- facts ---- */

struct CBoxliteInfo {
    char **items; /* name, value, name, value ... NULL */
};

struct CBoxliteInfo *bx_info_new(void)
{
    return calloc(1, sizeof(struct CBoxliteInfo));
}

int bx_info_add(struct CBoxliteInfo *info, const char *key, const char *value)
{
    int r;

    if (!value)
        return 0;
    r = bx_strv_add(&info->items, key);
    return r < 0 ? r : bx_strv_add(&info->items, value);
}

int bx_info_addf(struct CBoxliteInfo *info, const char *key, const char *fmt, ...)
{
    char value[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(value, sizeof(value), fmt, ap);
    va_end(ap);
    return bx_info_add(info, key, value);
}

int bx_info_add_list(struct CBoxliteInfo *info, const char *key, char *const *list)
{
    bx_cleanup_buf struct bx_buf text = BX_BUF_INIT(INFO_LIST_MAX);
    struct bx_jw w;

    if (!list)
        return 0;
    bx_jw_init(&w, &text, false);
    bx_jw_strv(&w, NULL, list);
    if (bx_jw_finish(&w, NULL) < 0 || bx_buf_add(&text, "", 1) < 0)
        return -ENOMEM;
    return bx_info_add(info, key, (const char *)bx_buf_data(&text));
}

const char *boxlite_info_get(const CBoxliteInfo *info, const char *key)
{
    size_t i;

    for (i = 0; info && key && info->items && info->items[i] && info->items[i + 1]; i += 2)
        if (bx_streq(info->items[i], key))
            return info->items[i + 1];
    return NULL;
}

const char *boxlite_info_key(const CBoxliteInfo *info, int index)
{
    size_t n = info && info->items ? bx_strv_len(info->items) / 2 : 0;

    return index >= 0 && (size_t)index < n ? info->items[2 * index] : NULL;
}

void boxlite_info_free(CBoxliteInfo *info)
{
    if (!info)
        return;
    bx_strv_free(info->items);
    free(info);
}

/* ---- what callbacks were given ---- */

static void box_info_done(CBoxInfo *i)
{
    free(i->id);
    free(i->name);
    free(i->image);
    free(i->status);
    bx_network_info_free(i->network);
}

void boxlite_free_box_info(CBoxInfo *info)
{
    if (!info)
        return;
    box_info_done(info);
    free(info);
}

void boxlite_free_box_info_list(CBoxInfoList *list)
{
    int i;

    if (!list)
        return;
    for (i = 0; i < list->count; i++)
        box_info_done(&list->items[i]);
    free(list->items);
    free(list);
}

void boxlite_free_image_info_list(CImageInfoList *list)
{
    int i;

    if (!list)
        return;
    for (i = 0; i < list->count; i++) {
        free(list->items[i].reference);
        free(list->items[i].repository);
        free(list->items[i].tag);
        free(list->items[i].id);
    }
    free(list->items);
    free(list);
}

void boxlite_free_image_pull_result(CImagePullResult *result)
{
    if (!result)
        return;
    free(result->reference);
    free(result->config_digest);
    free(result);
}
