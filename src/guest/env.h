/* SPDX-License-Identifier: Apache-2.0 */
/* env.h - the environment of a command: the box's, then the command's own, then what is missing. Pure. */
#ifndef BX_GUEST_ENV_H
#define BX_GUEST_ENV_H

#include <stdbool.h>
#include <stddef.h>

#define BX_ENV_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct bx_env {
    char **v; /* "K=V", sorted by name, NULL at the end; the strings are borrowed, but extra's */
    size_t n;
    char *home;     /* "HOME=..." when it was added */
    char *hostname; /* "HOSTNAME=..." likewise */
};

/*
 * Later entries win over earlier ones of the same name: base, then own. Then defaults for what nobody gave:
 * PATH, HOME (home), HOSTNAME (hostname), with a terminal TERM=xterm. Entries without '=' or with an empty
 * name are left out. base and own are lists "a\0b\0" of base_n and own_n strings that must outlive ret. 0 or
 * -ENOMEM.
 */
int bx_env_make(const char *base, size_t base_n, const char *own, size_t own_n, const char *home,
                const char *hostname, bool tty, struct bx_env *ret);
void bx_env_done(struct bx_env *e);

/* The value of a name, or NULL. */
const char *bx_env_get(const struct bx_env *e, const char *name);

#endif
