/* SPDX-License-Identifier: Apache-2.0 */
/* oneshot.h - what boxlite-shim does besides running a box. All answer on plan->fd and give the exit status. */
#ifndef BX_SHIM_ONESHOT_H
#define BX_SHIM_ONESHOT_H

#include "host/shim_plan.h"

/* The engine's verdict and the frequency of the TSC. Uses a timer signal: a process of its own. */
int shim_probe(const struct bx_shim_plan *plan);
/* Makes the template unless it is there already. Waits while another one makes it. */
int shim_template(const struct bx_shim_plan *plan);
/* check.c: what a jail gets here, and whether a box's file system is sound. */
int shim_check(const struct bx_shim_plan *plan);

#endif
