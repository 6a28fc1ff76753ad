/* SPDX-License-Identifier: Apache-2.0 */
/* tar_head.c - see tar_head.h. POSIX.1-2017, pax, "ustar Interchange Format" and "pax Interchange Format". */
#include "image/tar_head.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"

#define SIZE_MAX_USTAR ((1ULL << 33) - 1) /* eleven octal digits */

static void fill(uint8_t *h, const char *name, char type, unsigned mode, uint64_t size)
{
    unsigned sum = 0;
    size_t len = strlen(name);

    bx_assert(len <= BX_TAR_NAME_MAX && size <= SIZE_MAX_USTAR);
    memset(h, 0, BX_TAR_BLOCK);
    memcpy(h, name, len);
    snprintf((char *)h + 100, 8, "%07o", mode);
    snprintf((char *)h + 108, 8, "%07o", 0U);
    snprintf((char *)h + 116, 8, "%07o", 0U);
    snprintf((char *)h + 124, 12, "%011llo", (unsigned long long)size);
    snprintf((char *)h + 136, 12, "%011o", 0U);
    memset(h + 148, ' ', 8);
    h[156] = (uint8_t)type;
    memcpy(h + 257, "ustar\00000", 8);
    snprintf((char *)h + 329, 8, "%07o", 0U);
    snprintf((char *)h + 337, 8, "%07o", 0U);
    for (size_t i = 0; i < BX_TAR_BLOCK; i++)
        sum += h[i];
    snprintf((char *)h + 148, 8, "%06o", sum);
    h[155] = ' ';
}

/* "LEN size=N\n", where LEN counts its own digits too. */
static size_t size_record(char dst[64], uint64_t size)
{
    size_t len = 0, said;

    do {
        said = len;
        len = (size_t)snprintf(dst, 64, "%zu size=%llu\n", said, (unsigned long long)size);
    } while (len != said);
    return len;
}

size_t bx_tar_head(uint8_t dst[BX_TAR_HEAD_MAX], const char *name, uint64_t size)
{
    size_t len = strlen(name), at = 0;

    if (len > 0 && name[len - 1] == '/') {
        fill(dst, name, '5', 0755, 0);
        return BX_TAR_BLOCK;
    }
    if (size > SIZE_MAX_USTAR) {
        char record[64];
        size_t n = size_record(record, size);

        fill(dst, "pax", 'x', 0644, n);
        memset(dst + BX_TAR_BLOCK, 0, BX_TAR_BLOCK);
        memcpy(dst + BX_TAR_BLOCK, record, n);
        at = 2 * BX_TAR_BLOCK;
    }
    fill(dst + at, name, '0', 0644, at ? 0 : size);
    return at + BX_TAR_BLOCK;
}

size_t bx_tar_padding(uint64_t size)
{
    return (size_t)(-size % BX_TAR_BLOCK);
}
