/* SPDX-License-Identifier: Apache-2.0 */
/* clock.h - time: monotonic deadlines and wall clock, in nanoseconds. */
#ifndef BX_BASE_CLOCK_H
#define BX_BASE_CLOCK_H

#include <stdint.h>

#define BX_MSEC 1000000LL
#define BX_SEC 1000000000LL

int64_t bx_now(void);      /* CLOCK_MONOTONIC */
int64_t bx_realtime(void); /* CLOCK_REALTIME */

#endif
