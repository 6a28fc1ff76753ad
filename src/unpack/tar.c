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
#include "base/str.h"
#include "unpack/acl.h"

#define XATTRS_MAX 256

#define ACL_ACCESS  "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"
#define CAPABILITY  "security.capability"

struct bx_tar {
    struct archive *a;
    struct bx_stream *stream;
    bool failed; /* in the stream; err says how */
    struct bx_err err;
    struct bx_ext4_xattr xattrs[XATTRS_MAX];
    uint8_t acls[2][BX_ACL_BYTES_MAX]; /* those that came as text: access, default */
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
    if (archive_errno(t->a) == ENOMEM)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "read a tar archive");
    return bx_fail(err, BX_EIMAGE, 0, "damaged tar archive: %s", why ? why : "no reason given");
}

static int open_tar(struct bx_tar *t, struct bx_err *err)
{
    t->a = archive_read_new();
    if (!t->a || archive_read_support_format_tar(t->a) != ARCHIVE_OK)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "read a tar archive");
    if (archive_read_open(t->a, t, NULL, read_callback, NULL) == ARCHIVE_OK)
        return 0;
    if (!t->failed && archive_errno(t->a) == EILSEQ) /* "file format": libarchive keeps its own name of it to itself */
        return bx_fail(err, BX_EIMAGE, 0, "not a tar archive, neither plain nor packed with gzip or zstd");
    return fail_tar(t, err);
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

static bool is_named(const struct bx_ext4_xattr *x, const char *name)
{
    return x->name_len == strlen(name) && memcmp(x->name, name, x->name_len) == 0;
}

/* vfs_cap_data of revision 2, or 3 with the owner of a user namespace: what execve(2) would otherwise stumble over. */
static bool is_capability(const uint8_t *value, size_t len)
{
    uint32_t magic = len >= 4 ? bx_get_le32(value) >> 24 : 0;
    return (magic == 2 && len == 20) || (magic == 3 && len == 24);
}

/* What the kernel would not take at setxattr(2) is refused here: it would fail at use. *ret_keep: false for what says nothing. */
static int check_xattr(const struct bx_ext4_xattr *x, struct bx_index_item *item, bool *ret_keep, struct bx_err *err)
{
    bool access = is_named(x, ACL_ACCESS);
    uint16_t mode = 0;
    *ret_keep = true;
    if (is_named(x, CAPABILITY) && !is_capability(x->value, x->value_len))
        return bx_fail(err, BX_EIMAGE, 0, "not valid file capabilities");
    if (!access && !is_named(x, ACL_DEFAULT)) {
        /* where Linux has no user attributes, extraction as root leaves them out too */
        *ret_keep = S_ISREG(item->mode) || S_ISDIR(item->mode) || x->name_len < 5 || memcmp(x->name, "user.", 5) != 0;
        return 0;
    }
    if (S_ISLNK(item->mode))
        return bx_fail(err, BX_EIMAGE, 0, "a POSIX ACL on a symbolic link");
    if (!access && !S_ISDIR(item->mode))
        return bx_fail(err, BX_EIMAGE, 0, "a default ACL on what is not a directory");
    if (!bx_acl_valid(x->value, x->value_len, &mode, ret_keep))
        return bx_fail(err, BX_EIMAGE, 0, "not a valid POSIX ACL");
    if (access)
        item->mode = (uint16_t)((item->mode & ~0777) | mode);
    return 0;
}

static int add_xattr(struct bx_tar *t, const struct bx_ext4_xattr *x, struct bx_index_item *item, struct bx_err *err)
{
    bool keep = true;
    if (!bx_ext4_xattr_known(x->name, x->name_len) || seen(t, item->n_xattrs, x->name, x->name_len))
        return 0;
    int r = check_xattr(x, item, &keep, err);
    if (r < 0 || !keep)
        return r;
    if (item->n_xattrs == XATTRS_MAX)
        return bx_fail(err, BX_EIMAGE, 0, "more than %d extended attributes on one file", XATTRS_MAX);
    t->xattrs[item->n_xattrs++] = *x;
    return 0;
}

/* ACLs given as text come after those given as attributes, so they count only where these are missing. */
static int add_acls(struct bx_tar *t, struct archive_entry *e, struct bx_index_item *item, struct bx_err *err)
{
    static const char *const names[] = { ACL_ACCESS, ACL_DEFAULT };
    for (size_t i = 0; i < BX_ARRAY_SIZE(names); i++) {
        struct bx_ext4_xattr x = { .name = names[i], .name_len = strlen(names[i]), .value = t->acls[i] };
        int r = bx_acl_from_entry(e, i == 1, t->acls[i], &x.value_len, err);
        if (r >= 0 && x.value_len)
            r = add_xattr(t, &x, item, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Attributes in namespaces that Linux has; others (macOS's) mean nothing to it, as container engines see it too. */
static int take_xattrs(struct bx_tar *t, struct archive_entry *e, struct bx_index_item *item, struct bx_err *err)
{
    struct bx_ext4_xattr x = { 0 };
    char shown[BX_SHOWN_MAX];
    struct bx_err why = BX_ERR_INIT;
    int r = 0;
    archive_entry_xattr_reset(e);
    /* libarchive gives the last one first, so of two with one name the later one wins */
    while (r >= 0 && archive_entry_xattr_next(e, &x.name, &x.value, &x.value_len) == ARCHIVE_OK) {
        if (!x.name)
            continue;
        x.name_len = strlen(x.name);
        r = add_xattr(t, &x, item, &why);
    }
    if (r >= 0)
        r = add_acls(t, e, item, &why);
    item->xattrs = t->xattrs;
    if (r >= 0 && item->n_xattrs)
        r = bx_ext4_xattr_check(t->xattrs, item->n_xattrs, &why);
    if (r >= 0)
        return 0;
    return bx_fail(err, BX_EIMAGE, 0, "%s: %s", why.msg, bx_index_shown(shown, item->path));
}

/* libarchive takes the sign of "-1.5" for the seconds only. (That of "-0.5" is lost in it.) */
static struct bx_ext4_time mtime_of(struct archive_entry *e)
{
    struct bx_ext4_time t = { .sec = archive_entry_mtime(e), .nsec = (uint32_t)archive_entry_mtime_nsec(e) };
    if (t.sec < 0 && t.nsec > 0 && t.sec > INT64_MIN) {
        t.sec--;
        t.nsec = 1000000000U - t.nsec;
    }
    return t;
}

static uint32_t device_part(dev_t part)
{
    return part > UINT32_MAX ? UINT32_MAX : (uint32_t)part; /* refused by the index as it is */
}

int bx_tar_next(struct bx_tar *t, struct bx_tar_entry *ret, struct bx_err *err)
{
    struct archive_entry *e = NULL;
    int r = archive_read_next_header(t->a, &e);
    if (r == ARCHIVE_EOF && !t->failed)
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
            .mtime = mtime_of(e),
            .major = device_part(archive_entry_rdevmajor(e)),
            .minor = device_part(archive_entry_rdevminor(e)),
        },
        .size = (uint64_t)size,
    };
    r = hardlink ? 0 : take_xattrs(t, e, &ret->item, err); /* a link has those of its file */
    return r < 0 ? r : 1;
}

uint64_t bx_tar_position(const struct bx_tar *t)
{
    return (uint64_t)archive_read_header_position(t->a);
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
