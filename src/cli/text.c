/* SPDX-License-Identifier: Apache-2.0 */
/* text.c - numbers and times for people. */
#include "cli/cli.h"

#include <ctype.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

void bx_cli_bytes(char dst[BX_CLI_BYTES_LEN], unsigned long long bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double n = (double)bytes;
    size_t u = 0;
    for (; n >= 1024 && u + 1 < BX_ARRAY_SIZE(units); u++)
        n /= 1024;
    snprintf(dst, BX_CLI_BYTES_LEN, u == 0 ? "%.0f %s" : "%.1f %s", n, units[u]);
}

void bx_cli_time(char *dst, size_t size, int64_t ms)
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm;
    dst[0] = '\0';
    if (!gmtime_r(&t, &tm) || strftime(dst, size, ms % 1000 ? "%Y-%m-%dT%H:%M:%S" : "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        return;
    size_t n = strlen(dst);
    if (ms % 1000)
        snprintf(dst + n, size - n, ".%03dZ", (int)(ms % 1000));
}

void bx_cli_status(char *dst, size_t size, const char *status)
{
    snprintf(dst, size, "%s", status);
    dst[0] = (char)toupper((unsigned char)dst[0]);
}
