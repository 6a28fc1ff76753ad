/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user.c - who a command runs as. The rules are those of Docker and runc, so that images behave alike.
 *
 * Entries are read where they lie; a field is a pointer and a length. Lines that are malformed are skipped,
 * as libc skips them.
 */
#include "guest/user.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/path.h"

#define NAME_MAX_LEN 256
#define ID_MAX       4294967294u /* (uid_t)-1 means "leave it" to the kernel */

struct field {
    const char *at;
    size_t len;
};

/* The next line of *pos, without its end; false at the end of the text. */
static bool next_line(const char **pos, const char *end, struct field *ret)
{
    const char *nl;

    if (*pos >= end)
        return false;
    nl = memchr(*pos, '\n', (size_t)(end - *pos));
    ret->at = *pos;
    ret->len = (size_t)((nl ? nl : end) - *pos);
    *pos = nl ? nl + 1 : end;
    return true;
}

/* Cuts a line at colons into exactly n fields; false if it has fewer. The last takes the rest. */
static bool split(struct field line, struct field *ret, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *colon = i + 1 < n ? memchr(line.at, ':', line.len) : NULL;

        if (i + 1 < n && !colon)
            return false;
        ret[i].at = line.at;
        ret[i].len = colon ? (size_t)(colon - line.at) : line.len;
        if (colon) {
            line.len -= ret[i].len + 1;
            line.at = colon + 1;
        }
    }
    return true;
}

static bool parse_id(struct field f, uint32_t *ret)
{
    uint64_t v = 0;

    if (f.len == 0 || f.len > 10)
        return false;
    for (size_t i = 0; i < f.len; i++) {
        if (f.at[i] < '0' || f.at[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(f.at[i] - '0');
    }
    if (v > ID_MAX)
        return false;
    *ret = (uint32_t)v;
    return true;
}

static bool field_is(struct field f, struct field s)
{
    return f.len == s.len && memcmp(f.at, s.at, s.len) == 0;
}

static void set_home(struct bx_user *u, struct field home)
{
    if (home.len == 0 || home.len >= sizeof(u->home) || memchr(home.at, '\0', home.len))
        return;
    memcpy(u->home, home.at, home.len);
    u->home[home.len] = '\0';
}

/* Finds the entry by name, or by number when `number` is given. name:passwd:uid:gid:gecos:home:shell */
static bool find_passwd(const char *text, size_t len, struct field name, const uint32_t *number,
                        struct bx_user *u, struct field *ret_name)
{
    const char *pos = text;
    struct field line, f[7];
    uint32_t uid, gid;

    while (next_line(&pos, text + len, &line)) {
        if (!split(line, f, 7) || f[0].len == 0 || !parse_id(f[2], &uid) || !parse_id(f[3], &gid))
            continue;
        if (number ? uid != *number : !field_is(f[0], name))
            continue;
        u->uid = uid;
        u->gid = gid;
        set_home(u, f[5]);
        *ret_name = f[0];
        return true;
    }
    return false;
}

/* name:passwd:gid:members */
static bool find_group(const char *text, size_t len, struct field name, uint32_t *ret)
{
    const char *pos = text;
    struct field line, f[4];
    uint32_t gid;

    while (next_line(&pos, text + len, &line)) {
        if (!split(line, f, 4) || !parse_id(f[2], &gid) || !field_is(f[0], name))
            continue;
        *ret = gid;
        return true;
    }
    return false;
}

static bool lists_member(struct field members, struct field name)
{
    const char *end = members.at + members.len;

    for (const char *p = members.at; p < end;) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        struct field one = {p, (size_t)((comma ? comma : end) - p)};

        if (field_is(one, name))
            return true;
        p = comma ? comma + 1 : end;
    }
    return false;
}

static void collect_groups(const char *text, size_t len, struct field name, struct bx_user *u)
{
    const char *pos = text;
    struct field line, f[4];
    uint32_t gid;

    while (u->ngroups < BX_USER_GROUPS_MAX && next_line(&pos, text + len, &line)) {
        if (split(line, f, 4) && parse_id(f[2], &gid) && lists_member(f[3], name))
            u->groups[u->ngroups++] = gid;
    }
}

int bx_user_lookup(const char *spec, const char *passwd, size_t passwd_len, const char *group,
                   size_t group_len, struct bx_user *ret, struct bx_err *err)
{
    const char *colon = strchr(spec, ':');
    struct field name = {spec, colon ? (size_t)(colon - spec) : strlen(spec)};
    struct field gname = {colon ? colon + 1 : "", colon ? strlen(colon + 1) : 0};
    struct field found = {"", 0};
    struct bx_user u = {.home = "/"};
    uint32_t uid = 0;
    bool numeric = name.len == 0 || parse_id(name, &uid);

    if (name.len > NAME_MAX_LEN || gname.len > NAME_MAX_LEN)
        return bx_fail(err, BX_EEXEC, 0, "spawn_failed: user name of more than %d characters", NAME_MAX_LEN);
    if (!(name.len && find_passwd(passwd, passwd_len, name, NULL, &u, &found))) {
        if (!numeric)
            return bx_fail(err, BX_EEXEC, 0, "spawn_failed: no user \"%.*s\" in the container's /etc/passwd",
                           (int)name.len, name.at);
        u.uid = uid;
        find_passwd(passwd, passwd_len, name, &uid, &u, &found);
    }
    if (gname.len > 0) {
        if (!find_group(group, group_len, gname, &u.gid) && !parse_id(gname, &u.gid))
            return bx_fail(err, BX_EEXEC, 0, "spawn_failed: no group \"%.*s\" in the container's /etc/group",
                           (int)gname.len, gname.at);
    } else if (found.len > 0) {
        collect_groups(group, group_len, found, &u);
    }
    *ret = u;
    return 0;
}

/* Only files of real file systems: reading one of /proc could block or act. */
static bool plain_file(int fd)
{
    struct stat st;
    struct statfs fs;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || fstatfs(fd, &fs) < 0)
        return false;
    return (unsigned long)fs.f_type == EXT4_SUPER_MAGIC || (unsigned long)fs.f_type == TMPFS_MAGIC ||
           (unsigned long)fs.f_type == OVERLAYFS_SUPER_MAGIC;
}

static int read_db(int rootfd, const char *path, char **ret, size_t *ret_len, struct bx_err *err)
{
    bx_cleanup_close int fd = bx_open_in_root(rootfd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    int r;

    *ret = NULL;
    *ret_len = 0;
    if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
        return 0;
    if (fd < 0)
        return bx_fail(err, BX_EEXEC, -fd, "spawn_failed: open /%s", path);
    if (!plain_file(fd))
        return bx_fail(err, BX_EEXEC, 0, "spawn_failed: /%s is not a plain file", path);
    r = bx_read_fd(fd, BX_USER_FILE_MAX, ret, ret_len);
    if (r < 0)
        return bx_fail(err, BX_EEXEC, -r, "spawn_failed: read /%s", path);
    return 0;
}

int bx_user_resolve(int rootfd, const char *spec, struct bx_user *ret, struct bx_err *err)
{
    bx_cleanup_free char *passwd = NULL;
    bx_cleanup_free char *group = NULL;
    size_t passwd_len, group_len;
    int r;

    r = read_db(rootfd, "etc/passwd", &passwd, &passwd_len, err);
    if (r < 0)
        return r;
    r = read_db(rootfd, "etc/group", &group, &group_len, err);
    if (r < 0)
        return r;
    return bx_user_lookup(spec, passwd ? passwd : "", passwd_len, group ? group : "", group_len, ret, err);
}
