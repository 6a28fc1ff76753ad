/* SPDX-License-Identifier: Apache-2.0 */
/* numbered.c - see numbered.h. */
#include "host/numbered.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define DIGITS 8

void bx_numbered_name(char dst[BX_NUMBERED_NAME_MAX], const char *prefix, uint32_t number)
{
    snprintf(dst, BX_NUMBERED_NAME_MAX, "%s%0*u", prefix, DIGITS, number % (BX_NUMBERED_MAX + 1));
}

uint32_t bx_numbered_parse(const char *name, const char *prefix)
{
    const char *p;
    uint32_t n = 0;

    if (!bx_starts_with(name, prefix))
        return 0;
    p = name + strlen(prefix);
    if (strspn(p, "0123456789") != DIGITS || p[DIGITS])
        return 0;
    for (; *p; p++)
        n = n * 10 + (uint32_t)(*p - '0');
    return n;
}

/* Calls fn with each number that is there. 0 or -errno. */
static int each(int dir_fd, const char *prefix, void (*fn)(uint32_t number, void *ud), void *ud)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct dirent *d;
    DIR *dir;

    if (fd < 0)
        return -errno;
    dir = fdopendir(fd);
    if (!dir) {
        bx_close(fd);
        return -ENOMEM;
    }
    while ((d = readdir(dir))) {
        uint32_t n = bx_numbered_parse(d->d_name, prefix);

        if (n > 0)
            fn(n, ud);
    }
    closedir(dir);
    return 0;
}

struct next {
    uint32_t after, best;
};

static void nearer(uint32_t number, void *ud)
{
    struct next *n = ud;

    if (number > n->after && (n->best == 0 || number < n->best))
        n->best = number;
}

int64_t bx_numbered_next(int dir_fd, const char *prefix, uint32_t after)
{
    struct next n = {.after = after};
    int r = each(dir_fd, prefix, nearer, &n);

    return r < 0 ? r : (int64_t)n.best;
}

static void higher(uint32_t number, void *ud)
{
    uint32_t *best = ud;

    if (number > *best)
        *best = number;
}

int64_t bx_numbered_last(int dir_fd, const char *prefix)
{
    uint32_t best = 0;
    int r = each(dir_fd, prefix, higher, &best);

    return r < 0 ? r : (int64_t)best;
}

struct reap {
    int dir_fd;
    const char *prefix;
    uint32_t below;
};

static void reap_one(uint32_t number, void *ud)
{
    const struct reap *r = ud;
    char name[BX_NUMBERED_NAME_MAX];

    bx_numbered_name(name, r->prefix, number);
    if (number < r->below)
        (void)unlinkat(r->dir_fd, name, 0);
}

void bx_numbered_reap(int dir_fd, const char *prefix, uint32_t below)
{
    struct reap r = {.dir_fd = dir_fd, .prefix = prefix, .below = below};

    (void)each(dir_fd, prefix, reap_one, &r);
}
