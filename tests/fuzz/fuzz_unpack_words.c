/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What boxlite-unpack says, which parses the archives of strangers and may have become one itself: members and what was imported are read
 * within bounds, or refused with words.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "image/reference.h"
#include "runtime/blobs.h"
#include "runtime/members.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void members(const char *text, size_t size)
{
    struct bx_members m = {0};
    struct bx_err err = BX_ERR_INIT;
    int r = bx_members_parse(&m, text, size, &err);

    bx_assert(r == 0 || (r == -err.code && err.msg[0]));
    for (size_t i = 0; r == 0 && i < m.count; i++) {
        const struct bx_member *found = bx_members_by_name(&m, m.items[i].name, true);

        bx_assert(!found || !found->link);
        bx_assert(m.items[i].link || bx_digest_valid(m.items[i].digest));
        bx_assert(m.items[i].link || bx_members_by_digest(&m, m.items[i].digest));
    }
    bx_members_done(&m);
}

static void imported(const char *text, size_t size)
{
    struct bx_imported i = {0};
    struct bx_err err = BX_ERR_INIT;
    int r = bx_unpack_imported(text, size, &i, &err);

    bx_assert(r == 0 || (r == -err.code && err.msg[0]));
    if (r == 0)
        bx_assert(bx_digest_valid(i.layer) && bx_digest_valid(i.diff_id) && i.newest >= 0 &&
                  (!i.packing[0] || bx_streq(i.packing, "gzip") || bx_streq(i.packing, "zstd")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 64 * 1024)
        return 0;
    members((const char *)data, size);
    imported((const char *)data, size);
    return 0;
}
