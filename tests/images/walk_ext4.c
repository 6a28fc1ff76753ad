/* SPDX-License-Identifier: Apache-2.0 */
/*
 * walk_ext4.c - lists the tree of an ext4 file system from its blocks (walk.h): walk_ext4 FILE. Needs no mount and no rights; libext2fs's
 * reader shares nothing with the writer in src/disk but the library.
 */
#include "walk.h"

#include <ext2fs/ext2fs.h>

struct dir {
    ext2_filsys fs;
    const char *path;
};

static int failed;

static void complain(const char *what, const char *path, errcode_t e)
{
    fprintf(stderr, "walk_ext4: %s %s: %s\n", what, path, error_message(e));
    failed = 1;
}

/* Gives the whole content to sha, or its first `size` bytes to target. */
static void read_content(ext2_filsys fs, ext2_ino_t ino, const char *path, struct walk_sha *sha, char *target, size_t size)
{
    static uint8_t buf[1 << 20];
    ext2_file_t f = NULL;
    errcode_t e = ext2fs_file_open(fs, ino, 0, &f);
    unsigned n = 1;
    while (!e && n > 0) {
        e = ext2fs_file_read(f, sha ? (void *)buf : (void *)target, sha ? sizeof(buf) : (unsigned)size, &n);
        if (!e && sha)
            walk_sha_add(sha, buf, n);
        if (!sha)
            break;
    }
    if (e)
        complain("read", path, e);
    if (f)
        ext2fs_file_close(f);
}

/* ACLs are shown as getxattr(2) gives them; on disk an id is there only where the tag needs one. */
static int take_acl(const char *name, const uint8_t *disk, size_t len, struct walk_xattrs *all)
{
    uint8_t acl[2 * EXT2_MAX_BLOCK_SIZE] = { 2 };
    size_t n = 4;
    for (size_t at = 4; at + 4 <= len && n + 8 <= sizeof(acl); n += 8) {
        int named = disk[at] == 2 || disk[at] == 8;
        memcpy(acl + n, disk + at, 4);
        if (named && at + 8 <= len)
            memcpy(acl + n + 4, disk + at + 4, 4);
        else
            memset(acl + n + 4, 0xff, 4);
        at += named ? 8 : 4;
    }
    return walk_xattr_add(all, name, acl, n);
}

static int take_xattr(char *name, char *value, size_t len, void *user)
{
    if (strncmp(name, "system.posix_acl_", 17) == 0 && len >= 4 && value[0] == 1)
        return take_acl(name, (const uint8_t *)value, len, user) < 0 ? XATTR_ABORT : 0;
    return walk_xattr_add(user, name, value, len) < 0 ? XATTR_ABORT : 0;
}

static char *read_xattrs(ext2_filsys fs, ext2_ino_t ino, const char *path)
{
    struct walk_xattrs all = { 0 };
    struct ext2_xattr_handle *h = NULL;
    errcode_t e = ext2fs_xattrs_open(fs, ino, &h);
    if (!e)
        e = ext2fs_xattrs_read(h);
    if (!e)
        e = ext2fs_xattrs_iterate(h, take_xattr, &all);
    if (e)
        complain("attributes of", path, e);
    if (h)
        ext2fs_xattrs_close(&h);
    return walk_xattrs_join(&all);
}

static void take_device(const struct ext2_inode_large *in, struct walk_entry *e)
{
    uint32_t small = in->i_block[0], large = in->i_block[1];
    e->major = small ? small >> 8 & 0xff : large >> 8 & 0xfff;
    e->minor = small ? small & 0xff : (large & 0xff) | (large >> 12 & 0xfff00);
}

static void visit(ext2_filsys fs, ext2_ino_t ino, const char *path);

static int take_name(ext2_ino_t dir, int entry, struct ext2_dir_entry *de, int offset, int blocksize, char *buf, void *user)
{
    const struct dir *d = user;
    int len = ext2fs_dirent_name_len(de);
    char *child = NULL;
    (void)dir, (void)offset, (void)blocksize, (void)buf;
    if (entry != DIRENT_OTHER_FILE)
        return 0;
    if (asprintf(&child, "%s/%.*s", strcmp(d->path, "/") == 0 ? "" : d->path, len, de->name) < 0)
        abort();
    visit(d->fs, de->inode, child);
    free(child);
    return 0;
}

static void visit(ext2_filsys fs, ext2_ino_t ino, const char *path)
{
    struct ext2_inode_large in = { 0 };
    static char target[EXT2_MAX_BLOCK_SIZE]; /* used up before the next level */
    struct walk_sha sha;
    errcode_t e = ext2fs_read_inode_full(fs, ino, (void *)&in, sizeof(in));
    if (e) {
        complain("inode of", path, e);
        return;
    }
    struct walk_entry w = {
        .path = path,
        .mode = in.i_mode,
        .uid = in.i_uid | (uint32_t)in.osd2.linux2.l_i_uid_high << 16,
        .gid = in.i_gid | (uint32_t)in.osd2.linux2.l_i_gid_high << 16,
        .sec = (int64_t)(int32_t)in.i_mtime + ((int64_t)(in.i_mtime_extra & 3) << 32),
        .nsec = in.i_mtime_extra >> 2,
        .size = in.i_size | (uint64_t)in.i_size_high << 32,
        .links = in.i_links_count,
        .ino = ino,
        .target = target,
    };
    if (LINUX_S_ISCHR(in.i_mode) || LINUX_S_ISBLK(in.i_mode))
        take_device(&in, &w);
    memset(target, 0, sizeof(target));
    if (LINUX_S_ISLNK(in.i_mode) && ext2fs_is_fast_symlink((void *)&in))
        memcpy(target, in.i_block, w.size < sizeof(in.i_block) ? w.size : sizeof(in.i_block));
    else if (LINUX_S_ISLNK(in.i_mode))
        read_content(fs, ino, path, NULL, target, sizeof(target) - 1);
    if (LINUX_S_ISREG(in.i_mode)) {
        walk_sha_begin(&sha);
        read_content(fs, ino, path, &sha, NULL, 0);
        walk_sha_end(&sha, w.sha256);
    }
    char *xattrs = read_xattrs(fs, ino, path);
    w.xattrs = xattrs;
    walk_print(&w);
    free(xattrs);
    if (LINUX_S_ISDIR(in.i_mode)) {
        struct dir d = { fs, path };
        e = ext2fs_dir_iterate2(fs, ino, 0, NULL, take_name, &d);
        if (e)
            complain("directory", path, e);
    }
}

int main(int argc, char **argv)
{
    ext2_filsys fs = NULL;
    initialize_ext2_error_table();
    errcode_t e = argc == 2 ? ext2fs_open(argv[1], EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &fs) : EXT2_ET_INVALID_ARGUMENT;
    if (!e)
        e = ext2fs_read_bitmaps(fs);
    if (e) {
        fprintf(stderr, "walk_ext4: %s: %s\n", argc == 2 ? argv[1] : "usage: walk_ext4 FILE", error_message(e));
        return 2;
    }
    visit(fs, EXT2_ROOT_INO, "/");
    ext2fs_close(fs);
    return fflush(stdout) != 0 || failed;
}
