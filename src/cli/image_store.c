/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_store.c - `boxlite tag`, `rmi` and `prune`.
 */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "host/json.h"

#define RESULT_MAX (64u * 1024 * 1024)

int bx_verb_tag(int argc, char **argv)
{
    int code = 0;
    int n = bx_cli_parse("tag", bx_cli_global_opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (n != 2)
        return bx_cli_usage("tag", "it takes an image and a name");
    CBoxliteRuntime *rt = bx_cli_open();
    if (!rt)
        return BX_EXIT_FAILURE;
    CBoxliteImageHandle *images = bx_cli_images(rt, &code);
    struct bx_call call = BX_CALL_INIT;
    if (images &&
        !bx_call_wait(rt, &call,
                      boxlite_image_tag(images, argv[1], argv[2], bx_call_plain, &call, &call.error)))
        code = bx_cli_fail(&call.error, NULL);
    boxlite_image_free(images);
    boxlite_runtime_free(rt);
    return bx_cli_finish(code);
}

/* --- what was removed --- */

/* The result is borrowed: what is told of it is told in the callback. */
struct removal {
    struct bx_call call;
    bool counts; /* of everything, not only names */
    bool dry_run;
    enum bx_format format;
};

static void count_of(char *dst, size_t size, int n, const char *what)
{
    size_t used = strlen(dst);
    if (n > 0)
        snprintf(dst + used, size - used, "%s%d %s%s", used ? ", " : "", n, what, n == 1 ? "" : "s");
}

static void tell_json(const CImagePruneResult *r)
{
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(RESULT_MAX);
    struct bx_err err = BX_ERR_INIT;
    struct bx_jw w;
    bx_jw_init(&w, &out, true);
    bx_jw_obj(&w, NULL);
    bx_jw_i64(&w, "Bytes", (int64_t)r->bytes);
    bx_jw_strv(&w, "Images", (char *const *)r->references);
    bx_jw_i64(&w, "Blobs", r->blobs);
    bx_jw_i64(&w, "Disks", r->disks);
    bx_jw_i64(&w, "Templates", r->templates);
    bx_jw_i64(&w, "BlobsKept", r->blobs_kept);
    bx_jw_end(&w);
    if (bx_jw_finish(&w, &err) < 0)
        bx_cli_error("%s", err.msg);
    else
        printf("%s\n", bx_buf_str(&out));
}

static void tell(const CImagePruneResult *r, CBoxliteError *error, void *ud)
{
    struct removal *removal = ud;
    char counts[160] = "", bytes[BX_CLI_BYTES_LEN];
    if (error) {
        bx_call_answer(&removal->call, NULL, error);
        return;
    }
    bx_cli_progress_clear();
    if (removal->format == BX_FORMAT_JSON) {
        tell_json(r);
        bx_call_answer(&removal->call, NULL, NULL);
        return;
    }
    for (int i = 0; r->references && r->references[i]; i++)
        printf("%s\n", r->references[i]);
    if (removal->counts) {
        bx_cli_bytes(bytes, r->bytes);
        count_of(counts, sizeof(counts), r->images, "image name");
        count_of(counts, sizeof(counts), r->blobs, "blob");
        count_of(counts, sizeof(counts), r->disks, "disk");
        count_of(counts, sizeof(counts), r->templates, "template");
        printf("%s: %s%s%s\n", removal->dry_run ? "Would free" : "Freed", bytes, *counts ? ", " : "", counts);
    }
    if (r->blobs_kept > 0)
        fprintf(stderr,
                "Kept %d blob%s: an image is being added; `boxlite prune` removes what is left over\n",
                r->blobs_kept, r->blobs_kept == 1 ? "" : "s");
    bx_call_answer(&removal->call, NULL, NULL);
}

int bx_verb_rmi(int argc, char **argv)
{
    bool force = false;
    const struct bx_opt opts[] = {
        BX_OPT_FLAG('f', "force", &force,
                    "also when boxes stand on it (they keep their disks), under all its names"),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("rmi", opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (n == 0)
        return bx_cli_usage("rmi", "which image?");
    CBoxliteRuntime *rt = bx_cli_open();
    if (!rt)
        return BX_EXIT_FAILURE;
    CBoxliteImageHandle *images = bx_cli_images(rt, &code);
    for (int i = 1; images && i <= n; i++) {
        struct removal r = {.call = BX_CALL_INIT};
        if (!bx_call_wait(rt, &r.call, boxlite_image_remove(images, argv[i], force, tell, &r, &r.call.error)))
            code = bx_cli_fail(&r.call.error, NULL);
    }
    boxlite_image_free(images);
    boxlite_runtime_free(rt);
    return bx_cli_finish(code);
}

/* "30s", "12h", "7d": a number and a unit; without one seconds. */
static int parse_duration(void *target, const char *value, struct bx_err *err)
{
    static const struct {
        char unit;
        uint64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 7 * 86400}};
    size_t len = strlen(value);
    uint64_t n = 0, scale = 1;
    char digits[24];
    for (size_t i = 0; len > 1 && i < BX_ARRAY_SIZE(units); i++) {
        if (value[len - 1] == units[i].unit) {
            scale = units[i].seconds;
            len--;
            break;
        }
    }
    snprintf(digits, sizeof(digits), "%.*s", (int)BX_MIN(len, sizeof(digits) - 1), value);
    if (len >= sizeof(digits) || bx_parse_u64(digits, 1, 1000000000, &n) < 0)
        return bx_fail(err, BX_EINVALID, 0, "'%s' is no time: a number and s, m, h, d or w", value);
    *(uint64_t *)target = n * scale;
    return 0;
}

int bx_verb_prune(int argc, char **argv)
{
    BoxliteImagePrune o = BOXLITE_IMAGE_PRUNE_INIT;
    uint64_t keep = UINT64_MAX; /* not given */
    enum bx_format format = BX_FORMAT_TABLE;
    bool all = false, dry_run = false;
    const struct bx_opt opts[] = {
        BX_OPT_FLAG('a', "all", &all, "images that no box stands on, too"),
        BX_OPT_CALL(0, "older-than", &o.older_than_secs, parse_duration, "TIME",
                    "... only those not used for 30m, 12h, 7d (implies --all)"),
        BX_OPT_SIZE(
            0, "keep", &keep, "SIZE",
            "... longest unused first, until everything holds no more than 500m, 20g (implies --all)"),
        BX_OPT_SIZE(0, "max-size", &keep, "SIZE", NULL), /* another name of --keep */
        BX_OPT_FLAG('n', "dry-run", &dry_run, "remove nothing, say what would go"),
        BX_OPT_CALL(0, "format", &format, bx_format_parse, "table|json", "how to print"),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("prune", opts, 0, argc, argv, &code);
    if (n > 0)
        return bx_cli_usage("prune", "it takes no arguments: '%s'", argv[1]);
    if (n < 0)
        return code;
    if (format != BX_FORMAT_TABLE && format != BX_FORMAT_JSON)
        return bx_cli_usage("prune", "it prints table or json");
    if (keep == 0)
        return bx_cli_usage("prune", "to keep nothing, give --all without --keep");
    o.keep_bytes = keep == UINT64_MAX ? 0 : keep;
    o.all = all || o.older_than_secs || o.keep_bytes;
    o.dry_run = dry_run;
    CBoxliteRuntime *rt = bx_cli_open();
    if (!rt)
        return BX_EXIT_FAILURE;
    CBoxliteImageHandle *images = bx_cli_images(rt, &code);
    struct removal r = {.call = BX_CALL_INIT, .counts = true, .dry_run = dry_run, .format = format};
    if (images && !bx_call_wait(rt, &r.call, boxlite_image_prune(images, &o, tell, &r, &r.call.error)))
        code = bx_cli_fail(&r.call.error, NULL);
    boxlite_image_free(images);
    boxlite_runtime_free(rt);
    return bx_cli_finish(code);
}
