/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ext4_io.c - libext2fs's view of one inherited descriptor: it opens nothing, and counts what it writes.
 *
 * libext2fs opens its device by name. The writer has no names (its program may open nothing), so the "open" here
 * takes the struct bx_ext4_io that bx_ext4_new has put into bx_ext4_io_next.
 */
#include "disk/ext4_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

#define WRITE_BEHIND (8U << 20)

_Thread_local struct bx_ext4_io *bx_ext4_io_next;

/* Lets the host's disk begin with what is written, so that little is left for the caller's fsync. Only a hint. */
static void write_behind(struct bx_ext4_io *io, size_t len, uint64_t offset)
{
    if (io->behind_len == 0 || offset < io->behind_at)
        io->behind_at = offset;
    io->behind_len += len;
    if (io->behind_len < WRITE_BEHIND)
        return;
    (void)sync_file_range(io->fd, (off_t)io->behind_at, (off_t)(offset + len - io->behind_at), SYNC_FILE_RANGE_WRITE);
    io->behind_len = 0;
}

int bx_ext4_io_write(struct bx_ext4_io *io, const void *data, size_t len, uint64_t offset)
{
    if (io->limit && (len > io->limit || io->written > io->limit - len)) {
        io->limit_hit = true;
        return -EDQUOT;
    }
    io->written += len;
    int r = bx_pwrite_full(io->fd, data, len, (off_t)offset);
    if (r >= 0)
        write_behind(io, len, offset);
    return r;
}

int bx_ext4_io_punch(struct bx_ext4_io *io, uint64_t offset, uint64_t len)
{
    if (fallocate(io->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len) == 0)
        return 0;
    if (errno != EOPNOTSUPP)
        return -errno;
    static const uint8_t zeros[BX_EXT4_BLOCK];
    while (len > 0) { /* the home's file system cannot punch: the same content, at the cost of space */
        size_t n = len < sizeof(zeros) ? (size_t)len : sizeof(zeros);
        int r = bx_pwrite_full(io->fd, zeros, n, (off_t)offset);
        if (r < 0)
            return r;
        offset += n;
        len -= n;
    }
    return 0;
}

static struct bx_ext4_io *io_of(io_channel channel)
{
    return channel->private_data;
}

static errcode_t io_open(const char *name, int flags, io_channel *ret)
{
    (void)name;
    (void)flags;
    io_channel c = calloc(1, sizeof(*c));
    if (!c)
        return EXT2_ET_NO_MEMORY;
    c->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    c->manager = &bx_ext4_io_manager;
    c->block_size = 1024;
    c->refcount = 1;
    c->private_data = bx_ext4_io_next;
    *ret = c;
    return 0;
}

static errcode_t io_close(io_channel channel)
{
    if (--channel->refcount > 0)
        return 0;
    free(channel);
    return 0;
}

static errcode_t io_set_blksize(io_channel channel, int blksize)
{
    channel->block_size = blksize;
    return 0;
}

/* A negative count is a number of bytes. */
static size_t io_bytes(io_channel channel, int count)
{
    return count < 0 ? (size_t) - (long)count : (size_t)count * (size_t)channel->block_size;
}

static errcode_t io_read_blk64(io_channel channel, unsigned long long block, int count, void *data)
{
    size_t len = io_bytes(channel, count);
    int r = bx_pread_full(io_of(channel)->fd, data, len, (off_t)(block * (unsigned)channel->block_size));
    return r == -EPIPE ? EXT2_ET_SHORT_READ : (errcode_t)-r;
}

static errcode_t io_write_blk64(io_channel channel, unsigned long long block, int count, const void *data)
{
    size_t len = io_bytes(channel, count);
    return -bx_ext4_io_write(io_of(channel), data, len, block * (unsigned)channel->block_size);
}

static errcode_t io_read_blk(io_channel channel, unsigned long block, int count, void *data)
{
    return io_read_blk64(channel, block, count, data);
}

static errcode_t io_write_blk(io_channel channel, unsigned long block, int count, const void *data)
{
    return io_write_blk64(channel, block, count, data);
}

static errcode_t io_write_byte(io_channel channel, unsigned long offset, int count, const void *data)
{
    return -bx_ext4_io_write(io_of(channel), data, (size_t)count, offset);
}

static errcode_t io_flush(io_channel channel)
{
    (void)channel;
    return 0;
}

static errcode_t io_zeroout(io_channel channel, unsigned long long block, unsigned long long count)
{
    unsigned size = (unsigned)channel->block_size;
    return -bx_ext4_io_punch(io_of(channel), block * size, count * size);
}

struct struct_io_manager bx_ext4_io_manager = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "bx_ext4_io",
    .open = io_open,
    .close = io_close,
    .set_blksize = io_set_blksize,
    .read_blk = io_read_blk,
    .write_blk = io_write_blk,
    .read_blk64 = io_read_blk64,
    .write_blk64 = io_write_blk64,
    .write_byte = io_write_byte,
    .flush = io_flush,
    .discard = io_zeroout,
    .zeroout = io_zeroout,
};
