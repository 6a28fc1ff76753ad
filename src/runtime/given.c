/* SPDX-License-Identifier: Apache-2.0 */
/* given.c - see given.h. */
#include "runtime/given.h"

#include <limits.h>
#include <stdint.h>

#include "base/str.h"

int bx_given_number(const char *path)
{
    uint64_t n;

    if (bx_streq(path, "/dev/stdin"))
        return 0;
    if (bx_streq(path, "/dev/stdout"))
        return 1;
    if (!bx_starts_with(path, "/dev/fd/") || bx_parse_u64(path + sizeof("/dev/fd/") - 1, 0, INT_MAX, &n) < 0)
        return -1;
    return (int)n;
}
