/* SPDX-License-Identifier: Apache-2.0 */
/* tar_head.h - the headers of a tar archive of plain files and directories, as bytes: no I/O. */
#ifndef BX_IMAGE_TAR_HEAD_H
#define BX_IMAGE_TAR_HEAD_H

#include <stddef.h>
#include <stdint.h>

#define BX_TAR_BLOCK    512u
#define BX_TAR_HEAD_MAX (3 * BX_TAR_BLOCK) /* a pax header, its record, and the header itself */
#define BX_TAR_NAME_MAX 100
#define BX_TAR_END      (2 * BX_TAR_BLOCK) /* so many zeros end an archive */

/*
 * Writes the header of a regular file, or with a name that ends in '/' of a directory (size 0): owned by root, of 1970, mode 0644 or
 * 0755. Same arguments, same bytes. The name is ASCII, at most BX_TAR_NAME_MAX bytes. Sizes that ustar cannot say (8 GiB) are said in a
 * pax header. How many bytes were written.
 */
size_t bx_tar_head(uint8_t dst[BX_TAR_HEAD_MAX], const char *name, uint64_t size);

/* How many zeros follow the data of a file. */
size_t bx_tar_padding(uint64_t size);

#endif
