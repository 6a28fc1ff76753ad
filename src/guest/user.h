/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user.h - "name|uid[:group|gid]" against the passwd and group files of the container.
 *
 * The files belong to the workload: whatever they hold, the parser is bounded and never leaves them.
 */
#ifndef BX_GUEST_USER_H
#define BX_GUEST_USER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define BX_USER_GROUPS_MAX 256 /* supplementary groups taken; more are left out */
#define BX_USER_HOME_MAX   1024
#define BX_USER_FILE_MAX   (1024 * 1024) /* a larger passwd or group file is refused */

struct bx_user {
    uint32_t uid;
    uint32_t gid;
    uint32_t groups[BX_USER_GROUPS_MAX];
    size_t ngroups;
    char home[BX_USER_HOME_MAX];
};

/*
 * Pure part. "" is uid 0. A name must be in passwd; a number need not (then gid 0, home "/"). With an
 * explicit group there are no supplementary ones, else those that list the user. 0 or -BX_EEXEC.
 */
int bx_user_lookup(const char *spec, const char *passwd, size_t passwd_len, const char *group,
                   size_t group_len, struct bx_user *ret, struct bx_err *err);

/* The same with /etc/passwd and /etc/group below rootfd; a file that is missing counts as empty. */
int bx_user_resolve(int rootfd, const char *spec, struct bx_user *ret, struct bx_err *err);

#endif
