/* SPDX-License-Identifier: Apache-2.0 */
/* out.c - see out.h. */
#include "files/out.h"

#include <errno.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

void bx_rec_out_init(struct bx_rec_out *o, int fd)
{
    *o = (struct bx_rec_out){.fd = fd};
    bx_buf_init(&o->buf, BX_OUT_PIECE + BX_REC_HEAD + BX_REC_PAYLOAD_MAX);
}

void bx_rec_out_done(struct bx_rec_out *o)
{
    bx_buf_done(&o->buf);
}

int bx_rec_out_flush(struct bx_rec_out *o)
{
    if (o->failed == 0)
        o->failed = bx_write_full(o->fd, bx_buf_data(&o->buf), bx_buf_len(&o->buf));
    bx_buf_clear(&o->buf);
    return o->failed;
}

static int added(struct bx_rec_out *o, int r)
{
    if (r == 0 && bx_buf_len(&o->buf) >= BX_OUT_PIECE)
        r = bx_rec_out_flush(o);
    return r < 0 ? r : o->failed;
}

int bx_rec_out_entry(struct bx_rec_out *o, const struct bx_rec_entry *e)
{
    return added(o, bx_rec_put_entry(&o->buf, e));
}

int bx_rec_out_close(struct bx_rec_out *o, uint64_t size)
{
    return added(o, bx_rec_put_close(&o->buf, size));
}

int bx_rec_out_up(struct bx_rec_out *o)
{
    return added(o, bx_rec_put_up(&o->buf));
}

ssize_t bx_rec_out_data(struct bx_rec_out *o, int fd, int64_t offset, uint64_t at, size_t max)
{
    size_t want = BX_MIN(max, (size_t)BX_REC_DATA_MAX);
    uint8_t *p = bx_buf_reserve(&o->buf, BX_REC_DATA_HEAD + want);
    ssize_t n;
    int r;

    if (!p)
        return -ENOMEM;
    do {
        n = offset < 0 ? read(fd, p + BX_REC_DATA_HEAD, want) : pread(fd, p + BX_REC_DATA_HEAD, want, offset);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n < 0 ? -errno : 0;
    bx_rec_data_head(p, at, (size_t)n);
    bx_buf_commit(&o->buf, BX_REC_DATA_HEAD + (size_t)n);
    r = added(o, 0);
    return r < 0 ? r : n;
}

int bx_rec_out_end(struct bx_rec_out *o, const struct bx_err *err, const struct bx_rec_counts *counts)
{
    int r = bx_rec_put_outcome(&o->buf, err, counts);

    return r < 0 ? r : bx_rec_out_flush(o);
}
