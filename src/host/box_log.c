/* SPDX-License-Identifier: Apache-2.0 */
/* box_log.c - see box_log.h. */
#include "host/box_log.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "host/numbered.h"

/* ---- records ---- */

static void put_head(uint8_t dst[BX_BOX_LOG_HEAD], enum bx_box_log_kind kind, size_t len, int64_t time_ns)
{
    uint32_t length = htole32((uint32_t)len);
    uint64_t time = htole64((uint64_t)time_ns);

    memset(dst, 0, BX_BOX_LOG_HEAD);
    memcpy(dst, &length, 4);
    dst[4] = (uint8_t)kind;
    memcpy(dst + 8, &time, 8);
}

int bx_box_log_parse(const uint8_t *data, size_t len, struct bx_box_log_record *ret, struct bx_err *err)
{
    uint32_t length;
    uint64_t time;

    if (len < BX_BOX_LOG_HEAD)
        return 0;
    memcpy(&length, data, 4);
    memcpy(&time, data + 8, 8);
    length = le32toh(length);
    if (length > BX_BOX_LOG_RECORD_MAX || data[4] < BX_BOX_LOG_STDOUT || data[5] || data[6] || data[7])
        return bx_fail(err, BX_ESTORAGE, 0, "the log is damaged");
    if (len - BX_BOX_LOG_HEAD < length)
        return 0;
    *ret = (struct bx_box_log_record){.kind = data[4],
                                      .time_ns = (int64_t)le64toh(time),
                                      .data = data + BX_BOX_LOG_HEAD,
                                      .len = length};
    return (int)(BX_BOX_LOG_HEAD + length);
}

/* ---- writing ---- */

/* Where the last whole record of a file ends. */
static uint64_t whole_end(int fd, uint64_t size)
{
    static uint8_t window[BX_BOX_LOG_RECORD_MAX]; /* once, at the start of a box */
    struct bx_box_log_record rec;
    uint64_t at = 0, from = 0, there = 0;

    while (size - at >= BX_BOX_LOG_HEAD) {
        const uint8_t *head = window + (at - from);
        uint32_t length;

        if (at + BX_BOX_LOG_HEAD > from + there) {
            from = at;
            there = BX_MIN(size - at, (uint64_t)sizeof(window));
            if (bx_pread_full(fd, window, there, (off_t)from) < 0)
                break;
            continue;
        }
        memcpy(&length, head, 4);
        length = le32toh(length);
        if (bx_box_log_parse(head, BX_BOX_LOG_HEAD, &rec, NULL) < 0 || size - at - BX_BOX_LOG_HEAD < length)
            break;
        at += BX_BOX_LOG_HEAD + length;
    }
    return at;
}

static int open_number(struct bx_box_log *l, uint32_t number, int flags)
{
    char name[BX_NUMBERED_NAME_MAX];

    bx_numbered_name(name, BX_BOX_LOG_PREFIX, number);
    return openat(l->dir_fd, name, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
}

/* Begins the next file and lets the oldest go. 0 or -errno. */
static int rotate(struct bx_box_log *l)
{
    int fd;

    if (l->number >= BX_NUMBERED_MAX)
        return -EOVERFLOW;
    /* Something that is there already is not ours to go on with: it is begun anew. */
    fd = open_number(l, l->number + 1, O_CREAT | O_TRUNC);
    if (fd < 0)
        return -errno;
    bx_close(l->fd);
    l->fd = fd;
    l->size = 0;
    l->number++;
    if (l->number > BX_BOX_LOG_FILES)
        bx_numbered_reap(l->dir_fd, BX_BOX_LOG_PREFIX, l->number - BX_BOX_LOG_FILES + 1);
    return 0;
}

/* All of it or nothing. */
static int write_record(struct bx_box_log *l, enum bx_box_log_kind kind, const void *data, size_t len)
{
    uint8_t head[BX_BOX_LOG_HEAD];
    struct iovec iov[2] = {{head, sizeof(head)}, {(void *)(uintptr_t)data, len}};
    ssize_t n;
    int r;

    if (l->size + BX_BOX_LOG_HEAD + len > BX_BOX_LOG_FILE_MAX && (r = rotate(l)) < 0)
        return r;
    put_head(head, kind, len, bx_realtime());
    do {
        n = writev(l->fd, iov, 2);
    } while (n < 0 && errno == EINTR);
    if (n == (ssize_t)(BX_BOX_LOG_HEAD + len)) {
        l->size += (uint64_t)n;
        return 0;
    }
    r = n < 0 ? -errno : -ENOSPC;
    if (n > 0 && ftruncate(l->fd, (off_t)l->size) < 0)
        l->fd = bx_close(l->fd); /* records behind half a one could not be read */
    return r;
}

static void tell_lost(struct bx_box_log *l)
{
    uint64_t lost = htole64(l->lost);

    if (write_record(l, BX_BOX_LOG_LOST, &lost, sizeof(lost)) == 0)
        l->lost = 0;
}

static int go_on(struct bx_box_log *l)
{
    struct stat st;
    int64_t last = bx_numbered_last(l->dir_fd, BX_BOX_LOG_PREFIX);

    if (last < 0)
        return (int)last;
    l->number = (uint32_t)last;
    if (last == 0)
        return rotate(l);
    l->fd = open_number(l, l->number, 0);
    if (l->fd < 0 || fstat(l->fd, &st) < 0)
        return -errno;
    l->size = whole_end(l->fd, (uint64_t)st.st_size);
    return l->size < (uint64_t)st.st_size && ftruncate(l->fd, (off_t)l->size) < 0 ? -errno : 0;
}

int bx_box_log_open(struct bx_box_log *l, int box_fd, struct bx_err *err)
{
    int r;

    *l = BX_BOX_LOG_INIT;
    if (mkdirat(box_fd, BX_BOX_LOG_DIR, 0700) < 0 && errno != EEXIST)
        return bx_fail(err, BX_ESTORAGE, errno, "make the folder of the box's log");
    l->dir_fd = openat(box_fd, BX_BOX_LOG_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (l->dir_fd < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "open the folder of the box's log");
    r = go_on(l);
    if (r < 0) {
        bx_box_log_close(l);
        return bx_fail(err, BX_ESTORAGE, -r, "open the box's log");
    }
    return 0;
}

void bx_box_log_close(struct bx_box_log *l)
{
    if (l->fd >= 0 && l->lost > 0)
        tell_lost(l);
    l->fd = bx_close(l->fd);
    l->dir_fd = bx_close(l->dir_fd);
}

void bx_box_log_add(struct bx_box_log *l, enum bx_box_log_kind kind, const void *data, size_t len)
{
    if (l->fd >= 0 && l->lost > 0)
        tell_lost(l);
    if (l->fd < 0 || l->lost > 0 || write_record(l, kind, data, len) < 0)
        l->lost += len;
}

void bx_box_log_lost(struct bx_box_log *l, uint64_t bytes)
{
    l->lost += bytes;
}
