/* SPDX-License-Identifier: Apache-2.0 */
/* Records of files from anybody's bytes. What is accepted keeps the rules, and written again it is the same
 * bytes. */
#include <string.h>

#include "wire/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_entry(const struct bx_rec_entry *e)
{
    bx_assert(!*e->name || bx_rec_name_valid(e->name));
    bx_assert(!strchr(e->name, '/') && strlen(e->name) <= BX_REC_NAME_MAX &&
              strlen(e->link) <= BX_REC_LINK_MAX);
    bx_assert(e->mode <= 07777 && e->size <= INT64_MAX && e->mtime_ns < 1000000000);
    bx_assert((*e->link != '\0') == (e->type == BX_FILE_LINK));
}

static int put(struct bx_buf *b, const struct bx_rec *r)
{
    uint8_t head[BX_REC_DATA_HEAD];

    switch (r->kind) {
    case BX_REC_ENTRY:
        check_entry(&r->entry);
        return bx_rec_put_entry(b, &r->entry);
    case BX_REC_DATA:
        bx_assert(r->data.len > 0 && r->data.len <= BX_REC_DATA_MAX &&
                  r->data.offset + r->data.len <= INT64_MAX);
        bx_rec_data_head(head, r->data.offset, r->data.len);
        return bx_buf_add(b, head, sizeof(head)) | bx_buf_add(b, r->data.bytes, r->data.len);
    case BX_REC_CLOSE:
        return bx_rec_put_close(b, r->size);
    case BX_REC_UP:
        return bx_rec_put_up(b);
    default:
        (void)bx_rec_outcome(&r->end, NULL);
        return bx_rec_put_end(b, &r->end);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bx_buf b = BX_BUF_INIT(2 * BX_REC_PAYLOAD_MAX);
    struct bx_err err = BX_ERR_INIT;
    struct bx_rec r;
    int n;

    while ((n = bx_rec_parse(data, size, &r, &err)) > 0) {
        bx_assert((size_t)n <= size);
        bx_buf_clear(&b);
        bx_assert(put(&b, &r) == 0);
        bx_assert(bx_buf_len(&b) == (size_t)n && memcmp(bx_buf_data(&b), data, (size_t)n) == 0);
        data += n;
        size -= (size_t)n;
    }
    bx_assert(n == 0 || (n == -BX_ERPC && err.code == BX_ERPC && err.msg[0]));
    bx_buf_done(&b);
    return 0;
}
