/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_list.c - `boxlite images` and `boxlite image inspect`: what is stored, and what one image is.
 */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "host/json.h"

#define INSPECT_MAX (64u * 1024 * 1024)

CBoxliteImageHandle *bx_cli_images(CBoxliteRuntime *rt, int *ret_exit)
{
    CBoxliteImageHandle *images = NULL;
    CBoxliteError error = {Ok, NULL};
    if (boxlite_runtime_images(rt, &images, &error) == Ok)
        return images;
    *ret_exit = bx_cli_fail(&error, NULL);
    return NULL;
}

static long long number(const CBoxliteInfo *info, const char *key)
{
    const char *text = info ? boxlite_info_get(info, key) : NULL;
    uint64_t n = 0;
    return text && bx_parse_u64(text, 0, INT64_MAX, &n) == 0 ? (long long)n : 0;
}

/* --- images --- */

static void keep_images(CImageInfoList *list, CBoxliteError *error, void *ud)
{
    bx_call_answer(ud, list, error);
}

static CBoxliteInfo *inspect(CBoxliteRuntime *rt, CBoxliteImageHandle *images, const char *name,
                             CBoxliteError *error)
{
    struct bx_call call = BX_CALL_INIT;
    if (bx_call_wait(rt, &call, boxlite_image_inspect(images, name, bx_call_info, &call, &call.error)))
        return call.result;
    *error = call.error;
    return NULL;
}

struct image_text {
    char id[16], created[32];
    char sizes[5][BX_CLI_BYTES_LEN]; /* as in size_keys */
};

static const char *const size_keys[5] = {"size", "shared_size", "unique_size", "disk_bytes",
                                         "template_bytes"};

enum { IMAGE_FIELDS = 15 };

/* Bytes are numbers for programs and short for people: each size is two fields. With `more`, what only
 * inspect knows. */
static void fill_image(const CImageInfo *image, const CBoxliteInfo *more, bool wide, struct bx_field *f,
                       struct image_text *t)
{
    const char *hex = image->id ? strchr(image->id, ':') : NULL;
    snprintf(t->id, sizeof(t->id), "%.12s", hex ? hex + 1 : "");
    bx_cli_time(t->created, sizeof(t->created), image->cached_at * 1000);
    for (size_t i = 0; i < BX_ARRAY_SIZE(size_keys); i++)
        bx_cli_bytes(t->sizes[i], (unsigned long long)number(more, size_keys[i]));
    if (!more)
        bx_cli_bytes(t->sizes[0], image->size);
#define WIDE(title) (wide ? (title) : NULL)
    const struct bx_field row[IMAGE_FIELDS] = {
        {"Repository", "REPOSITORY", BX_FIELD_STR, image->repository, 0},
        {"Tag", "TAG", BX_FIELD_STR, image->tag, 0},
        {"ID", "ID", BX_FIELD_STR, t->id, 0},
        {"CreatedAt", "CREATED", BX_FIELD_STR, t->created, 0},
        {"Size", NULL, BX_FIELD_INT, NULL, (long long)image->size},
        {NULL, "SIZE", BX_FIELD_STR, t->sizes[0], 0},
        {"Reference", NULL, BX_FIELD_STR, image->reference, 0},
        {"SharedSize", NULL, BX_FIELD_INT, NULL, number(more, "shared_size")},
        {NULL, WIDE("SHARED"), BX_FIELD_STR, t->sizes[1], 0},
        {"UniqueSize", NULL, BX_FIELD_INT, NULL, number(more, "unique_size")},
        {NULL, WIDE("UNIQUE"), BX_FIELD_STR, t->sizes[2], 0},
        {"DiskBytes", NULL, BX_FIELD_INT, NULL, number(more, "disk_bytes")},
        {NULL, WIDE("DISK"), BX_FIELD_STR, t->sizes[3], 0},
        {"TemplateBytes", NULL, BX_FIELD_INT, NULL, number(more, "template_bytes")},
        {NULL, WIDE("TEMPLATES"), BX_FIELD_STR, t->sizes[4], 0},
    };
    memcpy(f, row, sizeof(row));
}

struct images_options {
    bool quiet, wide;
    enum bx_format format;
};

static int print_images(CBoxliteRuntime *rt, CBoxliteImageHandle *images, const CImageInfoList *list,
                        const struct images_options *o)
{
    struct bx_field *fields = calloc((size_t)list->count + 1, IMAGE_FIELDS * sizeof(*fields));
    struct image_text *texts = calloc((size_t)list->count + 1, sizeof(*texts));
    if (!fields || !texts)
        abort();
    CImageInfo nothing = {0};
    size_t rows = 0;
    fill_image(&nothing, NULL, o->wide, fields, texts);
    for (int i = 0; i < list->count; i++) {
        CBoxliteError error = {Ok, NULL};
        CBoxliteInfo *more = NULL;
        if (!o->quiet && (o->wide || o->format != BX_FORMAT_TABLE)) {
            more = inspect(rt, images, list->items[i].reference, &error);
            boxlite_error_free(&error);
            if (!more)
                continue; /* removed meanwhile */
        }
        fill_image(&list->items[i], more, o->wide, fields + rows * IMAGE_FIELDS, &texts[rows]);
        boxlite_info_free(more);
        if (o->quiet)
            printf("%s\n", texts[rows].id);
        rows++;
    }
    int code = o->quiet ? 0 : bx_print_records(o->format, fields, IMAGE_FIELDS, rows, false);
    free(fields);
    free(texts);
    return code;
}

int bx_verb_images(int argc, char **argv)
{
    struct images_options o = {.format = BX_FORMAT_TABLE};
    bool all = false;
    const struct bx_opt opts[] = {
        BX_OPT_FLAG('a', "all", &all, "all images (always so)"),
        BX_OPT_FLAG('q', "quiet", &o.quiet, "ids only"),
        BX_OPT_FLAG('s', "size", &o.wide,
                    "also what is shared with other images, and what disk and templates take"),
        BX_FORMAT_OPT(0, "format", o.format),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("images", opts, 0, argc, argv, &code);
    if (n > 0)
        return bx_cli_usage("images", "it takes no arguments: '%s'", argv[1]);
    if (n < 0)
        return code;
    CBoxliteRuntime *rt = bx_cli_open();
    if (!rt)
        return BX_EXIT_FAILURE;
    CBoxliteImageHandle *images = bx_cli_images(rt, &code);
    struct bx_call call = BX_CALL_INIT;
    if (images && bx_call_wait(rt, &call, boxlite_image_list(images, keep_images, &call, &call.error)))
        code = print_images(rt, images, call.result, &o);
    else if (images)
        code = bx_cli_fail(&call.error, NULL);
    boxlite_free_image_info_list(call.result);
    boxlite_image_free(images);
    boxlite_runtime_free(rt);
    return bx_cli_finish(code);
}

/* --- image inspect --- */

static void write_text(struct bx_jw *w, const char *key, const CBoxliteInfo *info, const char *fact)
{
    const char *text = boxlite_info_get(info, fact);
    if (text)
        bx_jw_str(w, key, text);
}

static void write_list(struct bx_jw *w, const char *key, const CBoxliteInfo *info, const char *fact)
{
    const char *text = boxlite_info_get(info, fact);
    if (text)
        bx_jw_raw(w, key, text);
    else
        bx_jw_null(w, key);
}

static void write_time(struct bx_jw *w, const char *key, const CBoxliteInfo *info, const char *fact)
{
    char text[32];
    bx_cli_time(text, sizeof(text), number(info, fact) * 1000);
    bx_jw_str(w, key, text);
}

static void write_image(struct bx_jw *w, const CBoxliteInfo *info)
{
    bx_jw_obj(w, NULL);
    write_text(w, "Id", info, "id");
    write_text(w, "Reference", info, "reference");
    write_list(w, "Names", info, "names");
    write_text(w, "Manifest", info, "manifest");
    write_text(w, "Os", info, "os");
    write_text(w, "Architecture", info, "arch");
    write_text(w, "Variant", info, "variant");
    bx_jw_obj(w, "Config");
    write_list(w, "Entrypoint", info, "entrypoint");
    write_list(w, "Cmd", info, "cmd");
    write_list(w, "Env", info, "env");
    write_text(w, "WorkingDir", info, "working_dir");
    write_text(w, "User", info, "user");
    write_text(w, "StopSignal", info, "stop_signal");
    bx_jw_end(w);
    write_list(w, "Layers", info, "layer_digests");
    bx_jw_i64(w, "Size", number(info, "size"));
    bx_jw_i64(w, "SharedSize", number(info, "shared_size"));
    bx_jw_i64(w, "UniqueSize", number(info, "unique_size"));
    write_text(w, "Disk", info, "disk");
    bx_jw_i64(w, "DiskBytes", number(info, "disk_bytes"));
    bx_jw_i64(w, "TemplateBytes", number(info, "template_bytes"));
    write_time(w, "CachedAt", info, "cached_at");
    write_time(w, "UsedAt", info, "used_at");
    bx_jw_i64(w, "Boxes", number(info, "boxes"));
    bx_jw_end(w);
}

static int inspect_all(CBoxliteRuntime *rt, CBoxliteImageHandle *images, int n, char **names)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(INSPECT_MAX);
    struct bx_err err = BX_ERR_INIT;
    struct bx_jw w;
    int code = 0;
    bx_jw_init(&w, &out, true);
    bx_jw_arr(&w, NULL);
    for (int i = 0; i < n; i++) {
        CBoxliteError error = {Ok, NULL};
        CBoxliteInfo *info = inspect(rt, images, names[i], &error);
        if (info)
            write_image(&w, info);
        else
            code = bx_cli_fail(&error, NULL);
        boxlite_info_free(info);
    }
    bx_jw_end(&w);
    if (bx_jw_finish(&w, &err) < 0) {
        bx_cli_error("%s", err.msg);
        return BX_EXIT_FAILURE;
    }
    printf("%s\n", bx_buf_str(&out));
    return code;
}

int bx_verb_image_inspect(int argc, char **argv)
{
    int code = 0;
    int n = bx_cli_parse("image inspect", bx_cli_global_opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (n == 0)
        return bx_cli_usage("image inspect", "which image?");
    CBoxliteRuntime *rt = bx_cli_open();
    if (!rt)
        return BX_EXIT_FAILURE;
    CBoxliteImageHandle *images = bx_cli_images(rt, &code);
    if (images)
        code = inspect_all(rt, images, n, argv + 1);
    boxlite_image_free(images);
    boxlite_runtime_free(rt);
    return bx_cli_finish(code);
}
