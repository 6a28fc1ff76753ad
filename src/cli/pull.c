/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pull.c - `boxlite pull`.
 */
#include "cli/cli.h"

static void keep_pulled(CImagePullResult *result, CBoxliteError *error, void *ud)
{
    bx_call_answer(ud, result, error);
}

static int pull(CBoxliteRuntime *rt, CBoxliteImageHandle *images, const char *reference, bool quiet)
{
    struct bx_call call = BX_CALL_INIT;
    if (!bx_call_wait(rt, &call, boxlite_image_pull(images, reference, keep_pulled, &call, &call.error)))
        return bx_cli_fail(&call.error, NULL);
    CImagePullResult *r = call.result;
    bx_cli_progress_clear();
    if (quiet)
        printf("%s\n", r->config_digest);
    else
        printf("Pulled: %s\nDigest: %s\nLayers: %d\n", r->reference, r->config_digest, r->layer_count);
    boxlite_free_image_pull_result(r);
    return 0;
}

int bx_verb_pull(int argc, char **argv)
{
    bool quiet = false;
    const struct bx_opt opts[] = {
        BX_OPT_FLAG('q', "quiet", &quiet, "print its id only"),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    int code = 0;
    int n = bx_cli_parse("pull", opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (n != 1)
        return bx_cli_usage("pull", n == 0 ? "which image?" : "one image at a time");
    CBoxliteRuntime *rt = bx_cli_open();
    if (!rt)
        return BX_EXIT_FAILURE;
    bx_cli_progress(rt);
    CBoxliteImageHandle *images = bx_cli_images(rt, &code);
    if (images)
        code = pull(rt, images, argv[1], quiet);
    boxlite_image_free(images);
    boxlite_runtime_free(rt);
    return bx_cli_finish(code);
}
