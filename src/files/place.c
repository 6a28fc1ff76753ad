/* SPDX-License-Identifier: Apache-2.0 */
/* place.c - see place.h. */
#include "files/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/path.h"
#include "base/str.h"

#define LINKS_MAX 40 /* as the kernel */

void bx_where_done(struct bx_where *w)
{
    w->dir = bx_close(w->dir);
}

/* An absolute path starts at the root; the empty one is the folder that everything starts from. */
static int open_at(const struct bx_place *p, const char *path, int flags)
{
    int fd;

    if (!*path)
        path = p->root >= 0 ? "/" : ".";
    if (p->root >= 0)
        return bx_open_in_root(p->root, path, flags, 0);
    fd = open(path, flags | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int bx_place_open(const struct bx_place *p, const char *path, int flags)
{
    return *path ? open_at(p, path, flags) : -ENOENT;
}

/* Cuts at the last component: the length of what comes before it (with its slash), and where it begins and
 * how long it is. Slashes at the end do not count. */
static size_t split(const char *path, const char **ret_name, size_t *ret_len)
{
    size_t end = strlen(path), start;

    while (end > 0 && path[end - 1] == '/')
        end--;
    for (start = end; start > 0 && path[start - 1] != '/'; start--)
        ;
    *ret_name = path + start;
    *ret_len = end - start;
    return start;
}

static bool is_step(const char *name, size_t len)
{
    return len == 0 || (len <= 2 && name[0] == '.' && name[len - 1] == '.');
}

int bx_place_name(const char *path, char ret[BX_REC_NAME_MAX + 1])
{
    const char *name;
    size_t len;

    split(path, &name, &len);
    if (is_step(name, len))
        len = 0;
    if (len > BX_REC_NAME_MAX)
        return -ENAMETOOLONG;
    memcpy(ret, name, len);
    ret[len] = '\0';
    return 0;
}

bool bx_place_means_dir(const char *path)
{
    const char *name;
    size_t len;

    split(path, &name, &len);
    return is_step(name, len) || name[len] == '/';
}

int bx_place_make_dir(const struct bx_place *p, const char *path)
{
    char part[PATH_MAX];
    size_t len = strlen(path);
    int fd = open_at(p, path, O_PATH | O_DIRECTORY);

    if (fd != -ENOENT)
        return fd;
    if (len >= sizeof(part))
        return -ENAMETOOLONG;
    /* From the front, component by component: what is there is entered, what is not is made in what was
     * entered. */
    for (size_t i = 1; i <= len; i++) {
        struct bx_where w = BX_WHERE_INIT;
        int r;

        if ((path[i] != '/' && path[i] != '\0') || path[i - 1] == '/')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        fd = open_at(p, part, O_PATH | O_DIRECTORY);
        if (fd == -ENOENT) {
            r = bx_place_find(p, part, BX_WHERE_FOLLOW, &w);
            if (r == 0 && mkdirat(w.dir, w.name, 0755) < 0 && errno != EEXIST)
                r = -errno;
            bx_where_done(&w);
            fd = r < 0 ? r : open_at(p, part, O_PATH | O_DIRECTORY);
        }
        if (fd < 0)
            return fd;
        bx_close(fd);
    }
    return open_at(p, path, O_PATH | O_DIRECTORY);
}

/* The folder that holds the last component of path. */
static int find_once(const struct bx_place *p, const char *path, bool parents, struct bx_where *ret)
{
    char before[PATH_MAX];
    const char *name;
    size_t len, start = split(path, &name, &len);

    if (len > BX_REC_NAME_MAX || strlen(path) >= sizeof(before))
        return -ENAMETOOLONG;
    if (is_step(name, len)) {
        start = strlen(path);
        len = 0;
    }
    memcpy(before, path, start);
    before[start] = '\0';
    memcpy(ret->name, name, len);
    ret->name[len] = '\0';
    ret->dir = parents ? bx_place_make_dir(p, before) : open_at(p, before, O_PATH | O_DIRECTORY);
    return ret->dir < 0 ? ret->dir : 0;
}

/* Replaces path by what the link at its end says. 1: done; 0: there is no link. */
static int follow(char path[PATH_MAX], const struct bx_where *w)
{
    char target[PATH_MAX], *next;
    const char *name;
    size_t len, start;
    ssize_t n;

    n = *w->name ? readlinkat(w->dir, w->name, target, sizeof(target) - 1) : -1;
    if (n < 0)
        return !*w->name || errno == EINVAL || errno == ENOENT ? 0 : -errno;
    target[n] = '\0';
    start = target[0] == '/' ? 0 : split(path, &name, &len);
    next = bx_strf("%.*s%s", (int)start, path, target);
    if (!next)
        return -ENOMEM;
    len = strlen(next);
    if (len < PATH_MAX)
        memcpy(path, next, len + 1);
    free(next);
    return len < PATH_MAX ? 1 : -ENAMETOOLONG;
}

int bx_place_find(const struct bx_place *p, const char *path, unsigned flags, struct bx_where *ret)
{
    struct bx_where w = BX_WHERE_INIT;
    char now[PATH_MAX];
    int r = *path ? 0 : -ENOENT;

    if (r == 0 && strlen(path) >= sizeof(now))
        r = -ENAMETOOLONG;
    if (r == 0)
        memcpy(now, path, strlen(path) + 1);
    for (int links = 0; r == 0; links++) {
        r = links > LINKS_MAX ? -ELOOP : find_once(p, now, flags & BX_WHERE_PARENTS, &w);
        if (r == 0 && flags & BX_WHERE_FOLLOW)
            r = follow(now, &w);
        if (r <= 0)
            break;
        bx_where_done(&w);
        r = 0;
    }
    if (r < 0) {
        bx_where_done(&w);
        return r;
    }
    *ret = w;
    return 0;
}
