/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.h - the lines that boxlite-unpack writes for the program that started it.
 *
 *   progress DONE TOTAL                        bytes read of the compressed input
 *   member OFFSET SIZE SHA256 NAME             scan: a regular file of the archive, copied to the spool
 *   link NAME TARGET                           scan: a hard or symbolic link
 *   file SIZE SHA256                           hash, import
 *   content SIZE SHA256                        import: of the tar in it
 *   tar PACKING ENTRIES NEWEST                 import: plain, gzip or zstd; latest time of an entry, seconds since 1970
 *   ok ...                                     last line, see each mode
 *   error CODE MESSAGE                         last line; CODE is enum bx_code
 *
 * Names are percent-encoded: every byte that is not [A-Za-z0-9._/-] as %XX.
 */
#ifndef BX_UNPACK_STATUS_H
#define BX_UNPACK_STATUS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* One line; the program ends when nobody reads it any more. */
void bx_status_line(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void bx_status_error(int fd, const struct bx_err *err);

/* Progress lines, not more than a few hundred over the whole input. */
struct bx_progress {
    int fd;
    uint64_t done;
    uint64_t total;
    uint64_t told;
};
void bx_progress_add(struct bx_progress *p, uint64_t bytes);

/* dst has room for 3 * strlen(name) + 1 bytes. */
void bx_status_encode(char *dst, const char *name);

#endif
