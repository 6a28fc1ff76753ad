/* SPDX-License-Identifier: Apache-2.0 */
/* acl.h - POSIX ACLs of archive entries, in the form of getxattr(2), checked as the kernel checks what setxattr(2) gives it. */
#ifndef BX_UNPACK_ACL_H
#define BX_UNPACK_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define BX_ACL_BYTES_MAX 4096 /* more than ext4 holds with anything else */

/* *ret_mode: the permissions that the ACL stands for; *ret_needed: whether it says more than these. */
bool bx_acl_valid(const uint8_t *acl, size_t len, uint16_t *ret_mode, bool *ret_needed);

/* The ACL that an archive gives as text (SCHILY.acl.*), which libarchive has parsed; *ret_len 0 when there is none. */
struct archive_entry;
int bx_acl_from_entry(struct archive_entry *e, bool is_default, uint8_t acl[BX_ACL_BYTES_MAX], size_t *ret_len,
                      struct bx_err *err);

#endif
