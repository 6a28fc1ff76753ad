/* SPDX-License-Identifier: Apache-2.0 */
/* given.h - paths that mean a descriptor of the host program (private). */
#ifndef BX_RUNTIME_GIVEN_H
#define BX_RUNTIME_GIVEN_H

/* /dev/stdin, /dev/stdout and /dev/fd/N mean the descriptor itself, from where it stands: also a socket, which cannot be
 * opened anew. Its number, or -1. */
int bx_given_number(const char *path);

#endif
