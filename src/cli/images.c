/* SPDX-License-Identifier: Apache-2.0 */
/*
 * images.c - `boxlite load`, `images` and `info`.
 */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"

static void keep_pulled(CImagePullResult *result, CBoxliteError *error, void *ud)
{
    bx_call_answer(ud, result, error);
}

static void keep_images(CImageInfoList *list, CBoxliteError *error, void *ud)
{
    bx_call_answer(ud, list, error);
}

static CBoxliteImageHandle *open_images(CBoxliteRuntime *rt, int *ret_exit)
{
    CBoxliteImageHandle *images = NULL;
    CBoxliteError error = { Ok, NULL };
    if (boxlite_runtime_images(rt, &images, &error) == Ok)
        return images;
    *ret_exit = bx_cli_fail(&error, NULL);
    return NULL;
}

static int load(CBoxliteRuntime *rt, CBoxliteImageHandle *images, const char *path, const char *name, bool quiet)
{
    struct bx_call call = BX_CALL_INIT;
    if (!bx_call_wait(rt, &call, boxlite_image_load(images, path, name, keep_pulled, &call, &call.error)))
        return bx_cli_fail(&call.error, NULL);
    CImagePullResult *r = call.result;
    bx_cli_progress_clear();
    if (quiet)
        printf("%s\n", r->config_digest);
    else
        printf("Loaded: %s\nDigest: %s\nLayers: %d\n", r->reference, r->config_digest, r->layer_count);
    boxlite_free_image_pull_result(r);
    return 0;
}

int bx_verb_load(int argc, char **argv)
{
    const char *name = NULL;
    bool quiet = false;
    const struct bx_opt opts[] = {
        BX_OPT_STRING(0, "name", &name, "NAME", "call the image this (the name it carries)"),
        BX_OPT_FLAG('q', "quiet", &quiet, "print its id only"),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("load", opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (n != 1)
        return bx_cli_usage("load", n == 0 ? "load what?" : "one path at a time");
    CBoxliteRuntime *rt = bx_cli_open();
    if (!rt)
        return BX_EXIT_FAILURE;
    bx_cli_progress(rt);
    CBoxliteImageHandle *images = open_images(rt, &code);
    if (images)
        code = load(rt, images, argv[1], name, quiet);
    boxlite_image_free(images);
    boxlite_runtime_free(rt);
    return bx_cli_finish(code);
}

struct image_text {
    char id[16], created[32];
};

enum { IMAGE_FIELDS = 6 };

static void fill_image(const CImageInfo *image, struct bx_field *f, struct image_text *t)
{
    const char *hex = image->id ? strchr(image->id, ':') : NULL;
    struct tm tm;
    time_t when = (time_t)image->cached_at;
    snprintf(t->id, sizeof(t->id), "%.12s", hex ? hex + 1 : "");
    if (!gmtime_r(&when, &tm) || strftime(t->created, sizeof(t->created), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        t->created[0] = '\0';
    const struct bx_field row[IMAGE_FIELDS] = {
        { "Repository", "REPOSITORY", BX_FIELD_STR, image->repository, 0 },
        { "Tag", "TAG", BX_FIELD_STR, image->tag, 0 },
        { "ID", "ID", BX_FIELD_STR, t->id, 0 },
        { "CreatedAt", "CREATED", BX_FIELD_STR, t->created, 0 },
        { "Size", "SIZE", BX_FIELD_INT, NULL, (long long)image->size },
        { "Reference", NULL, BX_FIELD_STR, image->reference, 0 },
    };
    memcpy(f, row, sizeof(row));
}

static int print_images(const CImageInfoList *list, bool quiet, enum bx_format format)
{
    struct bx_field *fields = calloc((size_t)list->count + 1, IMAGE_FIELDS * sizeof(*fields));
    struct image_text *texts = calloc((size_t)list->count + 1, sizeof(*texts));
    if (!fields || !texts)
        abort();
    CImageInfo nothing = { 0 };
    fill_image(&nothing, fields, texts);
    for (int i = 0; i < list->count; i++) {
        fill_image(&list->items[i], fields + (size_t)i * IMAGE_FIELDS, &texts[i]);
        if (quiet)
            printf("%s\n", texts[i].id);
    }
    int code = quiet ? 0 : bx_print_records(format, fields, IMAGE_FIELDS, (size_t)list->count, false);
    free(fields);
    free(texts);
    return code;
}

int bx_verb_images(int argc, char **argv)
{
    bool quiet = false, all = false;
    enum bx_format format = BX_FORMAT_TABLE;
    const struct bx_opt opts[] = {
        BX_OPT_FLAG('a', "all", &all, "all images (always so)"),
        BX_OPT_FLAG('q', "quiet", &quiet, "ids only"),
        BX_OPT_CALL(0, "format", &format, bx_format_parse, "table|json|yaml", "how to print"),
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
    CBoxliteImageHandle *images = open_images(rt, &code);
    struct bx_call call = BX_CALL_INIT;
    if (images && bx_call_wait(rt, &call, boxlite_image_list(images, keep_images, &call, &call.error)))
        code = print_images(call.result, quiet, format);
    else if (images)
        code = bx_cli_fail(&call.error, NULL);
    boxlite_free_image_info_list(call.result);
    boxlite_image_free(images);
    boxlite_runtime_free(rt);
    return bx_cli_finish(code);
}

static long long info_number(const CBoxliteInfo *info, const char *key)
{
    const char *text = boxlite_info_get(info, key);
    uint64_t n = 0;
    return text && bx_parse_u64(text, 0, INT64_MAX, &n) == 0 ? (long long)n : 0;
}

static int print_info(const CBoxliteInfo *info, enum bx_format format)
{
    const char *kvm = boxlite_info_get(info, "kvm");
#define TEXT(key, title, fact) { key, title, BX_FIELD_STR, boxlite_info_get(info, fact), 0 }
#define NUMBER(key, title, fact) { key, title, BX_FIELD_INT, NULL, info_number(info, fact) }
    const struct bx_field fields[] = {
        TEXT("version", "Version", "version"),
        TEXT("engine", "Engine", "engine"),
        { "kvm", NULL, BX_FIELD_OBJECT, NULL, 0 },
        { "usable", "KVM", BX_FIELD_BOOL, NULL, bx_streq(kvm, "yes") },
        TEXT("reason", "  reason", "kvm.reason"),
        TEXT("remedy", "  remedy", "kvm.remedy"),
        { NULL, NULL, BX_FIELD_OBJECT_END, NULL, 0 },
        TEXT("homeDir", "Home", "home"),
        TEXT("programs", "Programs", "libexec"),
        TEXT("qemu", "QEMU", "qemu"),
        TEXT("os", NULL, "os"),
        TEXT("arch", "Machine", "arch"),
        TEXT("protocol", NULL, "protocol"),
        NUMBER("boxesTotal", "Boxes", "boxes"),
        NUMBER("boxesRunning", "  running", "boxes.running"),
        NUMBER("boxesStopped", NULL, "boxes.stopped"),
        NUMBER("boxesConfigured", NULL, "boxes.configured"),
        NUMBER("imagesCount", "Images", "images"),
    };
    return bx_print_records(format, fields, BX_ARRAY_SIZE(fields), 1, true);
}

int bx_verb_info(int argc, char **argv)
{
    enum bx_format format = BX_FORMAT_TABLE;
    const struct bx_opt opts[] = {
        BX_OPT_CALL(0, "format", &format, bx_format_parse, "table|json|yaml", "how to print"),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("info", opts, 0, argc, argv, &code);
    if (n > 0)
        return bx_cli_usage("info", "it takes no arguments: '%s'", argv[1]);
    if (n < 0)
        return code;
    CBoxliteRuntime *rt = bx_cli_open();
    if (!rt)
        return BX_EXIT_FAILURE;
    struct bx_call call = BX_CALL_INIT;
    if (bx_call_wait(rt, &call, boxlite_runtime_info(rt, bx_call_info, &call, &call.error)))
        code = print_info(call.result, format);
    else
        code = bx_cli_fail(&call.error, NULL);
    boxlite_info_free(call.result);
    boxlite_runtime_free(rt);
    return bx_cli_finish(code);
}
