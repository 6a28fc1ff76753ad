/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter.h - which system calls the workload may make: what Docker's default profile lets a container do.
 *
 * Theory of operation
 *
 *  A machine's kernel serves its own workload, so this is no wall between a box and the host. It keeps the workload from parts
 * of that kernel which it has no use for and from which it could climb to the agent: mounts and namespaces, bpf, perf, keys,
 * io_uring, userfaultfd, modules, kexec, raw ports, odd families of sockets.
 *
 *  A list of what is allowed: every known number has a verdict, those of later kernels get ENOSYS, as if this kernel were
 * older, so that programs fall back. Refused calls get EPERM. What a capability of the box is for is allowed with it. Calls of
 * another architecture (32-bit programs on x86-64) end the process: they would be a second table and a second way round the
 * conditions on arguments.
 *
 *  The agent makes the program once, at Start, and each command's process installs it before it becomes its user (spawn.c): it
 * still has CAP_SYS_ADMIN, so no_new_privs is not needed and setuid programs go on working.
 *
 *  The program is a binary search over runs of numbers with one verdict. The kernel tries it once for each number when it is
 * installed and never runs it again for those that are always allowed; a short path keeps the installation short.
 */
#ifndef BX_GUEST_FILTER_H
#define BX_GUEST_FILTER_H

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>

#define BX_FILTER_MAX 400 /* instructions */

struct bx_filter {
    struct sock_filter insns[BX_FILTER_MAX];
    size_t n;
};

/* Pure. capabilities: those of the box, by their numbers. */
void bx_filter_make(uint64_t capabilities, struct bx_filter *ret);

#endif
