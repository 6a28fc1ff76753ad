/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acl.c - see acl.h.
 *
 * An ACL comes in one of two ways: as the extended attribute that Linux has (SCHILY.xattr.system.posix_acl_access), or as text
 * (SCHILY.acl.access, what GNU tar and bsdtar write). Text may name users; which numbers they have is the matter of an /etc/passwd, so an
 * ACL with names only is refused.
 */
#include "unpack/acl.h"

#include <archive.h>
#include <archive_entry.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

#define VERSION    2
#define ENTRIES_MAX ((BX_ACL_BYTES_MAX - 4) / 8)
#define NO_ID      UINT32_MAX

enum tag { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHER = 32 };

struct entry {
    uint16_t tag;
    uint16_t perm;
    uint32_t id;
};

static struct entry entry_at(const uint8_t *acl, size_t at)
{
    return (struct entry){ bx_get_le16(acl + at), bx_get_le16(acl + at + 2), bx_get_le32(acl + at + 4) };
}

/* The order that the kernel demands (posix_acl_valid): owner, users, group, groups, mask, others. A mask must be there with users or groups. */
bool bx_acl_valid(const uint8_t *acl, size_t len, uint16_t *ret_mode, bool *ret_needed)
{
    unsigned seen = 0;
    uint16_t mode = 0, before = 0;
    if (len < 4 || len > BX_ACL_BYTES_MAX || (len - 4) % 8 != 0 || bx_get_le32(acl) != VERSION)
        return false;
    for (size_t at = 4; at < len; at += 8) {
        struct entry e = entry_at(acl, at);
        bool named = e.tag == USER || e.tag == GROUP;
        bool known = named || e.tag == USER_OBJ || e.tag == GROUP_OBJ || e.tag == MASK || e.tag == OTHER;
        if (!known || e.perm > 7 || e.tag < before || (e.tag == before && !named) || (named && e.id == NO_ID))
            return false;
        before = e.tag;
        seen |= e.tag;
        if (e.tag == USER_OBJ)
            mode |= (uint16_t)(e.perm << 6);
        else if (e.tag == MASK)
            mode = (uint16_t)((mode & 0700) | e.perm << 3);
        else if (e.tag == GROUP_OBJ)
            mode |= (uint16_t)(e.perm << 3);
        else if (e.tag == OTHER)
            mode |= e.perm;
    }
    *ret_mode = mode;
    *ret_needed = seen & (USER | GROUP | MASK);
    return (seen & USER_OBJ) && (seen & GROUP_OBJ) && (seen & OTHER) && (!(seen & (USER | GROUP)) || (seen & MASK));
}

static uint16_t linux_tag(int tag)
{
    switch (tag) {
    case ARCHIVE_ENTRY_ACL_USER_OBJ:
        return USER_OBJ;
    case ARCHIVE_ENTRY_ACL_USER:
        return USER;
    case ARCHIVE_ENTRY_ACL_GROUP_OBJ:
        return GROUP_OBJ;
    case ARCHIVE_ENTRY_ACL_GROUP:
        return GROUP;
    case ARCHIVE_ENTRY_ACL_MASK:
        return MASK;
    default:
        return OTHER;
    }
}

static bool before(struct entry a, struct entry b)
{
    return a.tag != b.tag ? a.tag < b.tag : a.id < b.id;
}

/* Text may have any order. */
static void insert(uint8_t *acl, size_t len, struct entry e)
{
    size_t at = len;
    for (; at > 4 && before(e, entry_at(acl, at - 8)); at -= 8)
        memcpy(acl + at, acl + at - 8, 8);
    bx_put_le16(acl + at, e.tag);
    bx_put_le16(acl + at + 2, e.perm);
    bx_put_le32(acl + at + 4, e.id);
}

int bx_acl_from_entry(struct archive_entry *e, bool is_default, uint8_t acl[BX_ACL_BYTES_MAX], size_t *ret_len,
                      struct bx_err *err)
{
    int want = is_default ? ARCHIVE_ENTRY_ACL_TYPE_DEFAULT : ARCHIVE_ENTRY_ACL_TYPE_ACCESS;
    int type = 0, perm = 0, tag = 0, id = 0;
    const char *name = NULL;
    size_t len = 4;
    *ret_len = 0;
    if (archive_entry_acl_reset(e, want) == 0)
        return 0;
    bx_put_le32(acl, VERSION);
    while (archive_entry_acl_next(e, want, &type, &perm, &tag, &id, &name) == ARCHIVE_OK) {
        bool named = tag == ARCHIVE_ENTRY_ACL_USER || tag == ARCHIVE_ENTRY_ACL_GROUP;
        if (named && id < 0) {
            char shown[64];
            bx_str_printable(shown, sizeof(shown), name ? name : "", name ? strlen(name) : 0);
            return bx_fail(err, BX_EIMAGE, 0, "a POSIX ACL that names \"%s\" without a number", shown);
        }
        if (len + 8 > BX_ACL_BYTES_MAX)
            return bx_fail(err, BX_EIMAGE, 0, "a POSIX ACL of more than %d entries", ENTRIES_MAX);
        insert(acl, len, (struct entry){ linux_tag(tag), (uint16_t)(perm & 7), named ? (uint32_t)id : NO_ID });
        len += 8;
    }
    *ret_len = len;
    return 0;
}
