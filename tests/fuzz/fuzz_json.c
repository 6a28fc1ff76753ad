/* SPDX-License-Identifier: Apache-2.0 */
/* Anybody's text as JSON, and as a plan: refused with words, or read; what is read can be written and read
 * again. */
#include <stdlib.h>
#include <string.h>

#include "host/json.h"
#include "host/shim_plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct bx_json *j, unsigned depth)
{
    struct bx_json child;
    struct bx_err err = BX_ERR_INIT;
    const char *s;
    void *it = NULL;
    uint64_t u;

    bx_assert(depth <= 34);
    if (bx_json_as_str(j, 10, &s, &err) < 0)
        bx_assert(err.code == BX_EINVALID && err.msg[0]);
    (void)bx_json_as_u64(j, 1, 5, &u, &err);
    if (bx_json_is_arr(j))
        for (size_t i = 0; i < bx_json_len(j); i++) {
            child = bx_json_item(j, i);
            walk(&child, depth + 1);
        }
    else if (bx_json_is_obj(j))
        while (bx_json_next(j, &it, &child))
            walk(&child, depth + 1);
}

static void generic(const char *text, size_t size)
{
    bx_cleanup_json struct bx_json j = {0}, again = {0};
    bx_cleanup_free char *dump = NULL;
    struct bx_err err = BX_ERR_INIT;
    int r = bx_json_parse(text, size, NULL, "fuzz", &j, &err);

    if (r < 0) {
        bx_assert(r == -err.code && err.msg[0]);
        return;
    }
    walk(&j, 0);
    dump = bx_json_dump(&j);
    bx_assert(dump && bx_json_parse(dump, strlen(dump), NULL, "fuzz", &again, NULL) == 0);
}

static void plan(const char *text, size_t size)
{
    bx_cleanup_shim_plan struct bx_shim_plan p = BX_SHIM_PLAN_INIT;
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(BX_SHIM_PLAN_MAX);
    struct bx_err err = BX_ERR_INIT;
    int r = bx_shim_plan_parse(text, size, &p, &err);

    if (r < 0)
        bx_assert(r == -err.code && err.msg[0]);
    else
        bx_assert(bx_shim_plan_write(&p, &out, &err) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t tsc;
    char line[512];

    generic((const char *)data, size);
    plan((const char *)data, size);
    (void)bx_shim_error_parse((const char *)data, size, NULL);
    (void)bx_shim_probe_parse((const char *)data, size, line, sizeof(line), &tsc, NULL);
    return 0;
}
