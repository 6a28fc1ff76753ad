/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ext4_xattr.c - lays out extended attributes: first what fits behind the inode's fields, then one block.
 *
 * Entries grow from the front, values from the end; in a block entries are sorted, as the kernel's search expects.
 * POSIX ACLs arrive in the form of the system call and are stored in ext4's shorter form.
 */
#include "disk/ext4_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define IN_INODE_AT (128 + BX_EXT4_EXTRA_ISIZE) /* the magic; entries follow it */
#define VALUE_MAX   BX_EXT4_BLOCK
#define COUNT_MAX   512 /* more cannot fit: an entry takes at least 20 bytes */

#define ACL_XATTR_VERSION 2
#define ACL_EXT4_VERSION  1
#define ACL_USER          0x02
#define ACL_GROUP         0x08

static const struct {
    const char *prefix;
    uint8_t index;
    bool whole;
} namespaces[] = {
    { "user.", 1, false },    { "system.posix_acl_access", 2, true }, { "system.posix_acl_default", 3, true },
    { "trusted.", 4, false }, { "security.", 6, false },
};

/* One attribute in its on-disk form. */
struct item {
    uint8_t index;
    uint8_t name_len;
    const char *name;
    const uint8_t *value;
    size_t value_len;
};

static bool find_namespace(const char *name, size_t len, uint8_t *ret_index, size_t *ret_prefix)
{
    for (size_t i = 0; i < BX_ARRAY_SIZE(namespaces); i++) {
        size_t n = strlen(namespaces[i].prefix);
        if (len < n || memcmp(name, namespaces[i].prefix, n) != 0)
            continue;
        if (namespaces[i].whole ? len != n : len == n)
            continue;
        *ret_index = namespaces[i].index;
        *ret_prefix = n;
        return true;
    }
    return false;
}

bool bx_ext4_xattr_known(const char *name, size_t name_len)
{
    uint8_t index;
    size_t prefix;
    return find_namespace(name, name_len, &index, &prefix);
}

/* From the form of getxattr(2) to the form on disk: an id only where the tag needs one. */
static int convert_acl(const uint8_t *in, size_t len, uint8_t *acl, struct item *it, struct bx_err *err)
{
    if (len < 4 || (len - 4) % 8 != 0 || len > VALUE_MAX || bx_get_le32(in) != ACL_XATTR_VERSION)
        return bx_fail(err, BX_EINVALID, 0, "malformed POSIX ACL");
    size_t n = 4;
    bx_put_le32(acl, ACL_EXT4_VERSION);
    for (size_t at = 4; at < len; at += 8) {
        uint16_t tag = bx_get_le16(in + at);
        memcpy(acl + n, in + at, 4);
        n += 4;
        if (tag == ACL_USER || tag == ACL_GROUP) {
            memcpy(acl + n, in + at + 4, 4);
            n += 4;
        }
    }
    it->value = acl;
    it->value_len = n;
    return 0;
}

/* acl: VALUE_MAX bytes of memory for each of the two kinds of ACL. */
static int make_item(const struct bx_ext4_xattr *x, uint8_t *acl, struct item *it, struct bx_err *err)
{
    size_t prefix = 0;
    if (!find_namespace(x->name, x->name_len, &it->index, &prefix))
        return bx_fail(err, BX_EINVALID, 0, "extended attribute in an unknown namespace");
    if (x->name_len > 255)
        return bx_fail(err, BX_EINVALID, 0, "the name of an extended attribute is longer than 255 bytes");
    if (x->value_len > VALUE_MAX)
        return bx_fail(err, BX_EINVALID, 0, "an extended attribute has %zu bytes; ext4 holds 4 KiB in all", x->value_len);
    it->name = x->name + prefix;
    it->name_len = (uint8_t)(x->name_len - prefix);
    it->value = x->value;
    it->value_len = x->value_len;
    if (it->index != 2 && it->index != 3)
        return 0;
    return convert_acl(x->value, x->value_len, acl + (it->index - 2) * VALUE_MAX, it, err);
}

static size_t entry_size(const struct item *it)
{
    return EXT2_EXT_ATTR_LEN(it->name_len);
}

static size_t value_size(const struct item *it)
{
    return EXT2_EXT_ATTR_SIZE(it->value_len);
}

static int compare(const struct item *a, const struct item *b)
{
    if (a->index != b->index)
        return a->index < b->index ? -1 : 1;
    if (a->name_len != b->name_len)
        return a->name_len < b->name_len ? -1 : 1;
    return memcmp(a->name, b->name, a->name_len);
}

/* Few; and the C library's qsort makes a system call that is forbidden where this runs. */
static void sort_items(struct item **items, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        struct item *it = items[i];
        size_t at = i;
        for (; at > 0 && compare(it, items[at - 1]) < 0; at--)
            items[at] = items[at - 1];
        items[at] = it;
    }
}

/* Writes an entry at `entry` and its value before `end`, whose offset is counted from `base`. Returns the new end. */
static uint8_t *write_item(const struct item *it, uint8_t *base, uint8_t *entry, uint8_t *end)
{
    struct ext2_ext_attr_entry e = {
        .e_name_len = it->name_len,
        .e_name_index = it->index,
        .e_value_size = (uint32_t)it->value_len,
    };
    if (it->value_len) {
        end -= value_size(it);
        memcpy(end, it->value, it->value_len);
        e.e_value_offs = (uint16_t)(end - base);
    }
    memcpy(entry, &e, sizeof(e));
    if (it->name_len) /* an ACL's name is all in its index */
        memcpy(entry + sizeof(e), it->name, it->name_len);
    return end;
}

/* Those that fit go behind the inode's fields; returns how many are left, moved to the front of items. */
static size_t fill_inode(struct item **items, size_t n, uint8_t *inode)
{
    uint8_t *entry = inode + IN_INODE_AT + 4, *base = entry, *end = inode + BX_EXT4_INODE_SIZE;
    size_t left = 0;
    for (size_t i = 0; i < n; i++) {
        size_t room = (size_t)(end - entry); /* a zero word ends the entries */
        if (entry_size(items[i]) + value_size(items[i]) + 4 > room) {
            items[left++] = items[i];
            continue;
        }
        end = write_item(items[i], base, entry, end);
        entry += entry_size(items[i]);
    }
    if (left < n)
        bx_put_le32(inode + IN_INODE_AT, EXT2_EXT_ATTR_MAGIC);
    return left;
}

static int fill_block(struct item **items, size_t n, uint8_t *block, struct bx_err *err)
{
    struct ext2_ext_attr_header *h = (void *)block;
    uint8_t *entry = block + sizeof(*h), *end = block + BX_EXT4_BLOCK;
    uint32_t hash = 0;
    bool no_hash = false;
    for (size_t i = 0; i < n; i++) {
        if (entry_size(items[i]) + value_size(items[i]) + 4 > (size_t)(end - entry))
            return bx_fail(err, BX_EINVALID, 0, "extended attributes of one file exceed the 4 KiB that ext4 holds");
        end = write_item(items[i], block, entry, end);
        struct ext2_ext_attr_entry *e = (void *)entry;
        e->e_hash = ext2fs_ext_attr_hash_entry(e, end);
        no_hash |= e->e_hash == 0;
        hash = (hash << 16 | hash >> 16) ^ e->e_hash;
        entry += entry_size(items[i]);
    }
    h->h_magic = EXT2_EXT_ATTR_MAGIC;
    h->h_refcount = 1;
    h->h_blocks = 1;
    h->h_hash = no_hash ? 0 : hash;
    return 0;
}

int bx_ext4_xattr_layout(const struct bx_ext4_xattr *xattrs, size_t n, uint8_t *inode, uint8_t *block,
                         bool *ret_block_used, struct bx_err *err)
{
    *ret_block_used = false;
    if (n == 0)
        return 0;
    if (n > COUNT_MAX)
        return bx_fail(err, BX_EINVALID, 0, "%zu extended attributes on one file; ext4 holds 4 KiB of them", n);
    bx_cleanup_free struct item *items = calloc(n, sizeof(*items));
    bx_cleanup_free struct item **order = calloc(n, sizeof(*order));
    bx_cleanup_free uint8_t *acl = calloc(2, VALUE_MAX);
    if (!items || !order || !acl)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "extended attributes");
    for (size_t i = 0; i < n; i++) {
        int r = make_item(&xattrs[i], acl, &items[i], err);
        if (r < 0)
            return r;
        order[i] = &items[i];
    }
    sort_items(order, n);
    for (size_t i = 1; i < n; i++)
        if (compare(order[i - 1], order[i]) == 0)
            return bx_fail(err, BX_EINVALID, 0, "an extended attribute is given twice");
    size_t left = fill_inode(order, n, inode);
    if (left == 0)
        return 0;
    *ret_block_used = true;
    return fill_block(order, left, block, err);
}

int bx_ext4_xattr_check(const struct bx_ext4_xattr *xattrs, size_t n, struct bx_err *err)
{
    uint8_t inode[BX_EXT4_INODE_SIZE] = { 0 };
    uint8_t block[BX_EXT4_BLOCK] __attribute__((aligned(8))) = { 0 };
    bool used = false;
    return bx_ext4_xattr_layout(xattrs, n, inode, block, &used, err);
}
