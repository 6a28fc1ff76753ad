/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans for boxlite-pull. A plan is refused with words, or read; what was read, written and read again is
 * written alike, and nothing of it can leave its place in a URL or a header.
 */
#include <string.h>

#include "base/err.h"
#include "host/pull_plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_plan(const struct bx_pull_plan *p)
{
    bx_assert(p->blobs_fd >= 0 && p->status_fd >= 0 && !p->tag != !p->digest && p->n_endpoints >= 1 &&
              p->n_endpoints <= BX_PULL_ENDPOINTS_MAX && p->concurrent >= 1 &&
              p->concurrent <= BX_PULL_CONCURRENT_MAX && p->stall_ms > 0 && p->max_bytes > 0);
    bx_assert(!strpbrk(p->repository, "?#:@%\\ \r\n") && !strstr(p->repository, "/.") &&
              p->repository[0] != '/' && p->repository[0] != '.');
    bx_assert(!p->tag || !strpbrk(p->tag, "/?#:@%\\ \r\n"));
    for (size_t i = 0; i < p->n_endpoints; i++) {
        const struct bx_pull_endpoint *e = &p->endpoints[i];

        bx_assert(e->host[0] && !strpbrk(e->host, "/?#@%\\ \r\n"));
        bx_assert(!e->bearer_token || !strpbrk(e->bearer_token, " \r\n"));
        bx_assert(!e->username || !strpbrk(e->username, ":\r\n"));
        bx_assert(!e->password || !strpbrk(e->password, "\r\n"));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bx_cleanup_pull_plan struct bx_pull_plan p = BX_PULL_PLAN_INIT;
    bx_cleanup_pull_plan struct bx_pull_plan again = BX_PULL_PLAN_INIT;
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(2 * BX_PULL_PLAN_MAX);
    bx_cleanup_buf struct bx_buf second = BX_BUF_INIT(2 * BX_PULL_PLAN_MAX);
    struct bx_err err = BX_ERR_INIT;
    int r = bx_pull_plan_parse((const char *)data, size, &p, &err);

    if (r < 0) {
        bx_assert(r == -err.code && err.msg[0]);
        return 0;
    }
    check_plan(&p);
    bx_assert(bx_pull_plan_write(&p, &out, &err) == 0);
    bx_assert(bx_pull_plan_parse((const char *)bx_buf_data(&out), bx_buf_len(&out), &again, &err) == 0);
    bx_assert(bx_pull_plan_write(&again, &second, &err) == 0);
    bx_assert(bx_buf_len(&out) == bx_buf_len(&second) &&
              memcmp(bx_buf_data(&out), bx_buf_data(&second), bx_buf_len(&out)) == 0);
    return 0;
}
