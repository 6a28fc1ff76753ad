/* SPDX-License-Identifier: Apache-2.0 */
/* clock.c - the two clocks, as nanoseconds. */
#include "base/clock.h"

#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec ts = { 0 };

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * BX_SEC + ts.tv_nsec;
}

int64_t bx_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t bx_realtime(void)
{
    return read_clock(CLOCK_REALTIME);
}
