/* SPDX-License-Identifier: Apache-2.0 */
/*
 * numbered.h - files of a folder that are begun one after another: "main.00000001", "main.00000002" and so on.
 *
 * Numbers only grow, so that who reads knows by the name which one comes next, however many were removed meanwhile.
 */
#ifndef BX_HOST_NUMBERED_H
#define BX_HOST_NUMBERED_H

#include <stddef.h>
#include <stdint.h>

#define BX_NUMBERED_MAX      99999999u
#define BX_NUMBERED_NAME_MAX 24

void bx_numbered_name(char dst[BX_NUMBERED_NAME_MAX], const char *prefix, uint32_t number);
/* 0 when it is no such name. */
uint32_t bx_numbered_parse(const char *name, const char *prefix);
/* The lowest number above `after`, the highest of all; 0 when there is none. Negative: -errno. */
int64_t bx_numbered_next(int dir_fd, const char *prefix, uint32_t after);
int64_t bx_numbered_last(int dir_fd, const char *prefix);
/* Removes those below a number, as far as that can be done. */
void bx_numbered_reap(int dir_fd, const char *prefix, uint32_t below);

#endif
