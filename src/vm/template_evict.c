/* SPDX-License-Identifier: Apache-2.0 */
/* template_evict.c - see template_evict.h. */
#include "vm/template_evict.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "vm/template.h"

#define TEMPLATES_MAX 4096
#define FILES_MAX     64 /* of one template; it has five */
#define KEY_MAX       65536

/* --- looking --- */

/* Copies the value of "\n<name>=" in a key's text; "" when it has none or a value that does not fit. */
static void key_value(const char *text, const char *name, char *dst, size_t size)
{
    const char *at = strstr(text, name);
    size_t n = at ? strcspn(at + strlen(name), "\n") : 0;

    dst[0] = '\0';
    if (!at || n >= size)
        return;
    memcpy(dst, at + strlen(name), n);
    dst[n] = '\0';
}

static uint64_t allocated(int dir)
{
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    uint64_t bytes = 0;
    struct dirent *e;
    struct stat st;

    if (!d) {
        bx_close(copy);
        return 0;
    }
    for (int i = 0; i < FILES_MAX && (e = readdir(d)); i++)
        if (fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            bytes += (uint64_t)st.st_blocks * 512;
    closedir(d);
    return bytes;
}

/* Is there a template of this name? */
static bool look(int templates_fd, const char *name, struct bx_template_use *ret)
{
    bx_cleanup_close int dir = -1;
    bx_cleanup_free char *key = NULL;
    struct stat st;
    const size_t len = strlen(name);

    if (name[0] == '.' || len >= sizeof(ret->name))
        return false;
    dir = openat(templates_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0 || fstat(dir, &st))
        return false;
    *ret = (struct bx_template_use){.used_ns = (int64_t)st.st_mtim.tv_sec * BX_SEC + st.st_mtim.tv_nsec};
    memcpy(ret->name, name, len + 1);
    ret->bytes = allocated(dir);
    if (bx_read_file(dir, "key", KEY_MAX, &key, NULL) == 0) {
        key_value(key, "\ndisk=", ret->disk, sizeof(ret->disk));
        key_value(key, "\ndisk-id=", ret->disk_id, sizeof(ret->disk_id));
    }
    return true;
}

int bx_templates_list(int templates_fd, struct bx_template_use **ret, size_t *ret_n, struct bx_err *err)
{
    int copy = openat(templates_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    struct bx_template_use *v = NULL, *more, one;
    size_t n = 0, room = 0;
    struct dirent *e;

    if (!d) {
        bx_close(copy);
        return bx_fail(err, BX_ESTORAGE, errno, "list the templates");
    }
    while (n < TEMPLATES_MAX && (e = readdir(d))) {
        if (!look(templates_fd, e->d_name, &one))
            continue;
        if (n == room) {
            room = room ? room * 2 : 16;
            more = reallocarray(v, room, sizeof(*v));
            if (!more) {
                closedir(d);
                free(v);
                return bx_fail(err, BX_ERESOURCE, ENOMEM, "list the templates");
            }
            v = more;
        }
        v[n++] = one;
    }
    closedir(d);
    *ret = v;
    *ret_n = n;
    return 0;
}

/* --- choosing --- */

/* Of the same engine, CPUs, memory and disk, whatever it is made of? The name's last part is the key's hash.
 */
static bool same_shape(const struct bx_template_use *a, const struct bx_template_use *b)
{
    const char *end_a = strrchr(a->name, '-'), *end_b = strrchr(b->name, '-');

    return end_a && end_b && end_a - a->name == end_b - b->name &&
           strncmp(a->name, b->name, (size_t)(end_a - a->name)) == 0 && bx_streq(a->disk, b->disk);
}

static bool superseded(const struct bx_template_use *v, size_t n, size_t i)
{
    for (size_t k = 0; k < n; k++)
        if (k != i && !v[k].evict && v[k].used_ns > v[i].used_ns && same_shape(&v[k], &v[i]))
            return true;
    return false;
}

/* The one that is used longest ago and may still go; n when there is none. */
static size_t oldest(const struct bx_template_use *v, size_t n, const struct bx_template_limits *l,
                     int64_t now, const char *spare)
{
    size_t best = n;

    for (size_t i = 0; i < n; i++)
        if (!v[i].evict && now - v[i].used_ns >= l->recent_ns && !(spare && bx_streq(v[i].name, spare)) &&
            (best == n || v[i].used_ns < v[best].used_ns))
            best = i;
    return best;
}

void bx_templates_choose(struct bx_template_use *v, size_t n, const struct bx_template_limits *l, int64_t now,
                         const char *spare)
{
    uint64_t total = 0;

    for (size_t i = 0; i < n; i++) {
        int64_t unused = now - v[i].used_ns;

        if (unused >= l->recent_ns && !(spare && bx_streq(v[i].name, spare)) &&
            (unused >= l->idle_ns || (unused >= l->superseded_ns && superseded(v, n, i))))
            v[i].evict = true;
    }
    for (size_t i = 0; i < n; i++)
        total += v[i].evict ? 0 : v[i].bytes;
    while (total > l->bytes) {
        size_t i = oldest(v, n, l, now, spare);

        if (i == n)
            return;
        v[i].evict = true;
        total -= v[i].bytes;
    }
}

/* --- the end --- */

int bx_template_evict(int templates_fd, const char *name, struct bx_err *err)
{
    bx_cleanup_free char *file = bx_strf("%s.lock", name);
    bx_cleanup_close int lock = -1;
    int r;

    if (!file)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "template %s", name);
    lock = openat(templates_fd, file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "open %s", file);
    if (flock(lock, LOCK_EX | LOCK_NB))
        return bx_fail(err, errno == EWOULDBLOCK ? BX_ESTATE : BX_ESTORAGE, errno, "lock %s", file);
    r = bx_template_remove(templates_fd, name, err);
    if (r == 0) /* while it is ours: bx_template_lock */
        (void)unlinkat(templates_fd, file, 0);
    return r;
}

int bx_templates_evict(int templates_fd, const struct bx_template_limits *limits, const char *spare,
                       unsigned max, struct bx_err *err)
{
    struct bx_template_use *v = NULL;
    size_t n = 0, i;
    unsigned gone = 0;
    int r = bx_templates_list(templates_fd, &v, &n, err);

    if (r < 0)
        return r;
    bx_templates_choose(v, n, limits, bx_realtime(), spare);
    for (i = 0; i < n && gone < max; i++)
        if (v[i].evict && bx_template_evict(templates_fd, v[i].name, NULL) == 0)
            gone++;
    free(v);
    return (int)gone;
}
