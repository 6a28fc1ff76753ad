/* SPDX-License-Identifier: Apache-2.0 */
/* scan.h - an archive's members, copied into a spool file and listed; and plain files, copied and hashed. */
#ifndef BX_UNPACK_SCAN_H
#define BX_UNPACK_SCAN_H

#include "unpack/status.h"

/*
 * in: an OCI archive or `docker save` archive (tar, plain or compressed). Each regular member's bytes are appended to
 * spool, at a multiple of 4096, and told in a `member` line. max_bytes bounds the spool.
 */
int bx_scan(int in, uint64_t size, int spool, uint64_t max_bytes, struct bx_progress *progress, uint64_t *ret_members,
            uint64_t *ret_bytes, struct bx_err *err);

/* in: any regular file; copied to out (-1: only read). */
int bx_hash_file(int in, int out, uint64_t max_bytes, struct bx_progress *progress, uint64_t *ret_size,
                 char ret_hex[65], struct bx_err *err);

#endif
