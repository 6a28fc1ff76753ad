/* SPDX-License-Identifier: Apache-2.0 */
/* when.h - points in time and lengths of time as people write them. */
#ifndef BX_BASE_WHEN_H
#define BX_BASE_WHEN_H

#include <stddef.h>
#include <stdint.h>

/* "90s", "1h30m", "250ms", "2d", or a number of seconds, which may have a fraction: ns. Units, each at most once and
 * from large to small: d h m s ms. 0, -EINVAL, or -ERANGE (more than a hundred years). */
int bx_parse_duration(const char *s, int64_t *ret_ns);

/*
 * A point in time, as ns since 1970: "2025-11-29T15:04:05Z", with a fraction, with an offset ("+01:00"), without seconds,
 * or only the date (all UTC unless it has an offset); "1764428645" and "1764428645.25", seconds since 1970; or a length of
 * time ("10m"), counted back from `now_ns`. A bare number below 10^9 is a length of time. 0, -EINVAL or -ERANGE.
 */
int bx_parse_when(const char *s, int64_t now_ns, int64_t *ret_ns);

/* "2025-11-29T15:04:05.123456789Z" */
#define BX_WHEN_LEN 40
void bx_format_when(char dst[BX_WHEN_LEN], int64_t ns);

#endif
