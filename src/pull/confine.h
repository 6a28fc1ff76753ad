/* SPDX-License-Identifier: Apache-2.0 */
/* confine.h - the jail of boxlite-pull: what the part that talks to registries has, and starting it there. */
#ifndef BX_PULL_CONFINE_H
#define BX_PULL_CONFINE_H

#include "host/pull_plan.h"

/* Descriptors of the jailed program. */
#define BX_PULL_PLAN_FD   3
#define BX_PULL_STATUS_FD 4
#define BX_PULL_BLOBS_FD  5        /* only where namespaces are refused */
#define BX_PULL_BLOBS_DIR "/blobs" /* in a root of its own */

/* Its argument: where the blobs are. */
#define BX_PULL_IN_ROOT "root"
#define BX_PULL_BARE    "bare"

/* Starts this program again in its jail and waits for its end: exit code, or 128+N for death by signal N.
 * Negative with err when it could not be started. */
int bx_confine_run(const struct bx_pull_plan *plan, int plan_fd, struct bx_err *err);

#endif
