/* SPDX-License-Identifier: Apache-2.0 */
/* processes.h - the processes of the box, as its own proc shows them. */
#ifndef BX_GUEST_PROCESSES_H
#define BX_GUEST_PROCESSES_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define BX_PROCESSES_MAX 4096 /* more are counted, not listed */

/*
 * Adds a line for each process that the open directory `proc` (a procfs) shows, sorted by number: "pid parent uid state threads
 * cpu_us memory_bytes age_ms", a tab, its name, a tab, its command line with a space between arguments, all bytes that are not
 * printable written as \xNN. Processes that end meanwhile are left out, and the caller. *ret_listed, *ret_left_out: how many. Blocks (a process can hold its
 * own command line back): for a process that may be killed.
 */
int bx_processes_list(int proc, struct bx_buf *out, uint64_t *ret_listed, uint64_t *ret_left_out, struct bx_err *err);

#endif
