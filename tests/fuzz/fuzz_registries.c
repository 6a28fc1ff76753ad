/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a person's files, a credential helper and boxlite-pull say: refused with printable words, or read within bounds. The first byte
 * chooses who speaks.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "image/manifest.h"
#include "runtime/credentials.h"
#include "runtime/members.h"
#include "runtime/pull_progress.h"
#include "runtime/registries.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(int r, const struct bx_err *err)
{
    bx_assert(r == -err->code && err->msg[0]);
    for (const char *p = err->msg; *p; p++)
        bx_assert((unsigned char)*p >= 0x20 && *p != 0x7f);
}

static void config(const char *text, size_t size)
{
    static const BoxliteImageRegistry given[] = { { .host = "given.example", .search = 1 }, { .host = "docker.io" } };
    bx_cleanup_config struct bx_config c = { 0 };
    bx_cleanup_strv char **names = NULL;
    struct bx_registries g = { 0 };
    struct bx_err err = BX_ERR_INIT;
    int r = bx_config_parse(text, size, "file", &c, &err);

    if (r == 0)
        r = bx_registries_make(given, BX_ARRAY_SIZE(given), &c, &g, &err);
    if (r == 0)
        r = bx_registries_candidates(&g, "team/tool:1", &names, &err);
    if (r < 0)
        check_error(r, &err);
    for (size_t i = 0; names && names[i]; i++) {
        bx_cleanup_pull_plan struct bx_pull_plan plan = BX_PULL_PLAN_INIT;
        struct bx_credential_key keys[BX_PULL_ENDPOINTS_MAX];
        struct bx_reference ref;
        struct bx_err why = BX_ERR_INIT;

        bx_assert(bx_reference_parse(names[i], &ref, &why) == 0);
        plan.repository = bx_strf("%s", ref.path);
        if (bx_registries_endpoints(&g, &ref, &plan, keys, &why) == 0)
            bx_assert(plan.n_endpoints >= 1 && plan.n_endpoints <= BX_PULL_ENDPOINTS_MAX);
    }
    bx_registries_done(&g);
}

static void docker(const char *text, size_t size)
{
    static const struct bx_credential_key keys[] = { { "docker.io", "library/a" }, { "r.example:5000", "team/a" } };

    for (size_t i = 0; i < BX_ARRAY_SIZE(keys); i++) {
        bx_cleanup_docker_login struct bx_docker_login l = { 0 };
        struct bx_err err = BX_ERR_INIT;
        int r = bx_docker_config_parse(text, size, "file", &keys[i], &l, &err);

        if (r < 0)
            check_error(r, &err);
        if (l.helper)
            bx_assert(!strchr(l.helper, '/') && l.helper[0]);
    }
}

static void helper(const char *text, size_t size)
{
    bx_cleanup_docker_login struct bx_docker_login l = { 0 };
    struct bx_err err = BX_ERR_INIT;
    int r = bx_docker_helper_parse(text, size, &l, &err);

    if (r < 0)
        check_error(r, &err);
}

static void lines(char *text)
{
    static struct CBoxliteRuntime rt;
    struct bx_pull_progress g = { 0 };

    bx_pull_progress_init(&g, &rt, "", "r.example/a:1");
    for (char *next, *line = text; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        char *rest = line;
        const char *word = bx_word(&rest);

        if (!bx_pull_progress_line(&g, word, rest))
            break;
        bx_assert(g.n <= BX_IMAGE_LAYERS_MAX);
        for (size_t i = 0; i < g.n; i++)
            bx_assert(g.layers[i].done <= g.layers[i].size);
    }
    bx_pull_progress_done(&g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bx_cleanup_free char *text = malloc(size + 1);

    if (!text || size == 0)
        return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    switch (data[0]) {
    case 'c':
        config(text, size - 1);
        break;
    case 'd':
        docker(text, size - 1);
        break;
    case 'h':
        helper(text, size - 1);
        break;
    default:
        lines(text);
        break;
    }
    return 0;
}
