/* SPDX-License-Identifier: Apache-2.0 */
/* qcow2.h - the empty overlay a box writes to: a qcow2 version 3 header without a backing name. */
#ifndef BX_DISK_QCOW2_H
#define BX_DISK_QCOW2_H

#include <stdint.h>

#include "base/err.h"

/* More than any box may ask for (BX_DISK_MAX_GB); bounds the L1 table. */
#define BX_QCOW2_SIZE_MAX (64ULL << 40)

/*
 * Writes an empty image of virtual_size bytes (rounded up to 512) into fd, a regular file open for writing, whose
 * former content is lost. The backing file is not named in it: it is given to QEMU as a node (`backing=NODE`), so
 * nothing is probed and the file holds no path.
 */
int bx_qcow2_create(int fd, uint64_t virtual_size, struct bx_err *err);

/* The virtual size that the header of the image in fd states. A header that asks for more than bx_qcow2_create
 * writes (another file, encryption, other features) is refused. */
int bx_qcow2_size(int fd, uint64_t *ret_size, struct bx_err *err);

#endif
