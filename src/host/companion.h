/* SPDX-License-Identifier: Apache-2.0 */
/*
 * companion.h - where our own programs and files are: boxlite-shim, boxlite-unpack, libbxramhook.so, vmlinux,
 * initramfs.cpio, boot.json.
 *
 * $BOXLITE_LIBEXEC when set (and nothing else then), otherwise the directory of the object this code is part
 * of (libboxlite.so or the program), otherwise libexec/boxlite under the same prefix.
 */
#ifndef BX_HOST_COMPANION_H
#define BX_HOST_COMPANION_H

#include <stddef.h>

#include "base/err.h"

/* Absolute path of a companion. -BX_ENOTFOUND names it, the places that were searched, and the remedy. */
int bx_companion_path(const char *name, char *dst, size_t size, struct bx_err *err);

/* The directory that has the companions (judged by boxlite-shim), for those who look for several. */
int bx_companion_dir(char *dst, size_t size, struct bx_err *err);

#endif
