/* SPDX-License-Identifier: Apache-2.0 */
/* env.c - see env.h. Sorting finds the doubles: the number of variables is the caller's choice, so no pairs
 * are compared. */
#include "guest/env.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

struct entry {
    char *s;
    size_t name_len;
    size_t order;
};

static int by_name(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int r = memcmp(x->s, y->s, BX_MIN(x->name_len, y->name_len));

    if (r == 0 && x->name_len != y->name_len)
        return x->name_len < y->name_len ? -1 : 1;
    if (r == 0)
        return x->order < y->order ? -1 : 1;
    return r;
}

static size_t add(struct entry *e, size_t n, const char *s)
{
    const char *eq = strchr(s, '=');

    if (!eq || eq == s)
        return n;
    e[n] = (struct entry){.s = (char *)s, .name_len = (size_t)(eq - s), .order = n};
    return n + 1;
}

static size_t add_list(struct entry *e, size_t n, const char *list, size_t count)
{
    for (size_t i = 0; i < count; i++, list += strlen(list) + 1)
        n = add(e, n, list);
    return n;
}

int bx_env_make(const char *base, size_t base_n, const char *own, size_t own_n, const char *home,
                const char *hostname, bool tty, struct bx_env *ret)
{
    bx_cleanup_free struct entry *e = calloc(base_n + own_n + 4, sizeof(*e));
    struct bx_env env = {0};
    size_t n = 0, out = 0;

    env.v = calloc(base_n + own_n + 5, sizeof(*env.v));
    env.home = bx_strf("HOME=%s", home);
    env.hostname = bx_strf("HOSTNAME=%s", hostname);
    if (!e || !env.v || !env.home || !env.hostname) {
        bx_env_done(&env);
        return -ENOMEM;
    }
    /* Defaults come first, so that anything given wins over them. */
    n = add(e, n, "PATH=" BX_ENV_PATH);
    n = add(e, n, env.home);
    n = add(e, n, env.hostname);
    if (tty)
        n = add(e, n, "TERM=xterm");
    n = add_list(e, n, base, base_n);
    n = add_list(e, n, own, own_n);
    qsort(e, n, sizeof(*e), by_name);
    for (size_t i = 0; i < n; i++) {
        bool last = i + 1 == n || e[i].name_len != e[i + 1].name_len ||
                    memcmp(e[i].s, e[i + 1].s, e[i].name_len) != 0;

        if (last)
            env.v[out++] = e[i].s;
    }
    env.n = out;
    *ret = env;
    return 0;
}

void bx_env_done(struct bx_env *e)
{
    free(e->v);
    free(e->home);
    free(e->hostname);
    *e = (struct bx_env){0};
}

const char *bx_env_get(const struct bx_env *e, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < e->n; i++) {
        if (strncmp(e->v[i], name, len) == 0 && e->v[i][len] == '=')
            return e->v[i] + len + 1;
    }
    return NULL;
}
