/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tar.c - libarchive's tar reader over a decompressed stream.
 *
 * Names are bytes. libarchive converts the UTF-8 names of pax headers to the locale's character set and, in a UTF-8
 * locale, normalises them on the way, which would rename files. The program therefore stays in the "C" locale, where the
 * conversion of anything but ASCII fails and libarchive keeps the bytes as they are, with a warning that is ignored.
 */
#include "unpack/tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"

#define XATTRS_MAX 256

struct bx_tar {
    struct archive *a;
    struct bx_stream *stream;
    bool failed; /* in the stream; err says how */
    struct bx_err err;
    struct bx_ext4_xattr xattrs[XATTRS_MAX];
    const void *memory; /* instead of the stream, for the warm-up */
    size_t memory_len;
};

static la_ssize_t read_callback(struct archive *a, void *user, const void **ret)
{
    struct bx_tar *t = user;
    if (!t->stream) {
        size_t len = t->memory_len;
        *ret = t->memory;
        t->memory_len = 0;
        return (la_ssize_t)len;
    }
    ssize_t n = bx_stream_read(t->stream, ret, &t->err);
    if (n >= 0)
        return n;
    t->failed = true;
    archive_set_error(a, EIO, "%s", t->err.msg);
    return -1;
}

static int fail_tar(struct bx_tar *t, struct bx_err *err)
{
    if (t->failed) {
        if (err)
            *err = t->err;
        return -t->err.code;
    }
    const char *why = archive_error_string(t->a);
    return bx_fail(err, BX_EIMAGE, 0, "damaged tar archive: %s", why ? why : "no reason given");
}

static int open_tar(struct bx_tar *t, struct bx_err *err)
{
    t->a = archive_read_new();
    if (!t->a || archive_read_support_format_tar(t->a) != ARCHIVE_OK)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "read a tar archive");
    if (archive_read_open(t->a, t, NULL, read_callback, NULL) != ARCHIVE_OK)
        return fail_tar(t, err);
    return 0;
}

int bx_tar_open(struct bx_stream *stream, struct bx_tar **ret, struct bx_err *err)
{
    struct bx_tar *t = calloc(1, sizeof(*t));
    if (!t)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "read a tar archive");
    t->stream = stream;
    int r = open_tar(t, err);
    if (r < 0) {
        bx_tar_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

void bx_tar_free(struct bx_tar *t)
{
    if (!t)
        return;
    archive_read_free(t->a);
    free(t);
}

static bool seen(const struct bx_tar *t, size_t n, const char *name, size_t len)
{
    for (size_t i = 0; i < n; i++)
        if (t->xattrs[i].name_len == len && memcmp(t->xattrs[i].name, name, len) == 0)
            return true;
    return false;
}

/* Attributes in namespaces that Linux has; others (macOS's) mean nothing to it, as container engines see it too. */
static int take_xattrs(struct bx_tar *t, struct archive_entry *e, struct bx_index_item *item, struct bx_err *err)
{
    const char *name = NULL;
    const void *value = NULL;
    size_t len = 0, n = 0;
    char shown[BX_SHOWN_MAX];
    archive_entry_xattr_reset(e);
    /* libarchive gives the last one first, so of two with one name the later one wins */
    while (archive_entry_xattr_next(e, &name, &value, &len) == ARCHIVE_OK) {
        if (!name)
            continue;
        size_t name_len = strlen(name);
        if (!bx_ext4_xattr_known(name, name_len) || seen(t, n, name, name_len))
            continue;
        if (n == XATTRS_MAX)
            return bx_fail(err, BX_EIMAGE, 0, "more than %d extended attributes on one file", XATTRS_MAX);
        t->xattrs[n++] =
            (struct bx_ext4_xattr){ .name = name, .name_len = name_len, .value = value, .value_len = len };
    }
    item->xattrs = t->xattrs;
    item->n_xattrs = n;
    struct bx_err why = BX_ERR_INIT;
    if (n == 0 || bx_ext4_xattr_check(t->xattrs, n, &why) >= 0)
        return 0;
    bx_index_shown(shown, item->path);
    return bx_fail(err, BX_EIMAGE, 0, "%s: %s", why.msg, shown);
}

int bx_tar_next(struct bx_tar *t, struct bx_tar_entry *ret, struct bx_err *err)
{
    struct archive_entry *e = NULL;
    int r = archive_read_next_header(t->a, &e);
    if (r == ARCHIVE_EOF)
        return 0;
    if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
        return fail_tar(t, err);
    const char *path = archive_entry_pathname(e), *hardlink = archive_entry_hardlink(e);
    if (!path || !*path)
        return bx_fail(err, BX_EIMAGE, 0, "an entry without a name");
    char shown[BX_SHOWN_MAX];
    int64_t size = archive_entry_size_is_set(e) ? archive_entry_size(e) : 0;
    if (size < 0 || (uint64_t)size > BX_EXT4_FILE_MAX)
        return bx_fail(err, BX_EIMAGE, 0, "a file of absurd size (%lld bytes): %s", (long long)size,
                       bx_index_shown(shown, path));
    int64_t uid = archive_entry_uid(e), gid = archive_entry_gid(e);
    if (uid < 0 || uid > UINT32_MAX || gid < 0 || gid > UINT32_MAX)
        return bx_fail(err, BX_EIMAGE, 0, "an owner that Linux does not have (%lld:%lld): %s", (long long)uid,
                       (long long)gid, bx_index_shown(shown, path));
    *ret = (struct bx_tar_entry){
        .item = {
            .path = path,
            .hardlink = hardlink != NULL,
            .target = hardlink ? hardlink : archive_entry_symlink(e),
            .mode = (uint16_t)archive_entry_mode(e),
            .uid = (uint32_t)uid,
            .gid = (uint32_t)gid,
            .mtime = { .sec = archive_entry_mtime(e), .nsec = (uint32_t)archive_entry_mtime_nsec(e) },
            .major = (uint32_t)archive_entry_rdevmajor(e),
            .minor = (uint32_t)archive_entry_rdevminor(e),
        },
        .size = (uint64_t)size,
    };
    r = take_xattrs(t, e, &ret->item, err);
    return r < 0 ? r : 1;
}

int bx_tar_data(struct bx_tar *t, const void **ret, size_t *ret_len, uint64_t *ret_offset, struct bx_err *err)
{
    la_int64_t offset = 0;
    int r = archive_read_data_block(t->a, ret, ret_len, &offset);
    if (r == ARCHIVE_EOF)
        return 0;
    if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
        return fail_tar(t, err);
    if (offset < 0)
        return bx_fail(err, BX_EIMAGE, 0, "damaged tar archive: data before the start of a file");
    *ret_offset = (uint64_t)offset;
    return 1;
}

static void fill_header(char *h, const char *name, char type, unsigned size)
{
    unsigned sum = 0;
    memset(h, 0, 512);
    snprintf(h, 100, "%s", name);
    memcpy(h + 100, "0000644\0000000000\0000000000", 24);
    snprintf(h + 124, 12, "%011o", size);
    snprintf(h + 136, 12, "%011o", 0U);
    memset(h + 148, ' ', 8);
    h[156] = type;
    memcpy(h + 257, "ustar\00000", 8);
    for (int i = 0; i < 512; i++)
        sum += (unsigned char)h[i];
    snprintf(h + 148, 8, "%06o", sum);
}

int bx_tar_warm_up(struct bx_err *err)
{
    /* a pax header that gives a name outside ASCII, and the file it is for */
    static const char record[] = "13 path=\xc3\xa9\xc3\xa9\n";
    char archive[512 * 5] = { 0 };
    struct bx_tar t = { .memory = archive, .memory_len = sizeof(archive) };
    struct bx_tar_entry entry = { .item = { .path = "" } };
    fill_header(archive, "pax", 'x', sizeof(record) - 1);
    memcpy(archive + 512, record, sizeof(record) - 1);
    fill_header(archive + 1024, "file", '0', 0);
    int r = open_tar(&t, err);
    if (r >= 0)
        r = bx_tar_next(&t, &entry, err);
    if (r == 1 && strcmp(entry.item.path, "\xc3\xa9\xc3\xa9") != 0)
        r = bx_fail(err, BX_EINTERNAL, 0, "libarchive does not keep names as they are");
    else if (r == 0)
        r = bx_fail(err, BX_EINTERNAL, 0, "libarchive does not read its first archive");
    archive_read_free(t.a);
    return r < 0 ? r : 0;
}
