/* SPDX-License-Identifier: Apache-2.0 */
/* landlock.h - file system rules without namespaces (internal to the jail). */
#ifndef BX_JAIL_LANDLOCK_H
#define BX_JAIL_LANDLOCK_H

#include "base/err.h"
#include "jail/plan.h"

/* ABI version of the running kernel, 0 when there is none. */
int bx_landlock_abi(void);

/*
 * A rule set that allows the plan's mounts (their sources, since nothing is mounted) and nothing else. Descriptor, or -errno.
 */
int bx_landlock_ruleset(const struct bx_jail_plan *plan);

/* Puts the calling thread under it. Needs no_new_privs. 0 or -errno. Async-signal-safe. */
int bx_landlock_restrict(int ruleset_fd);

#endif
