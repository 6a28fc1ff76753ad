/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seccomp.h - system call allow-lists, one profile per kind of program.
 *
 * A call that is not on the list kills the process. clone3 and io_uring_setup answer ENOSYS, so that libraries fall back.
 */
#ifndef BX_JAIL_SECCOMP_H
#define BX_JAIL_SECCOMP_H

#include <stddef.h>
#include <stdint.h>

struct bx_err;
struct sock_filter;

enum bx_seccomp_profile {
    BX_SECCOMP_NONE = 0,
    BX_SECCOMP_QEMU,        /* from its exec on */
    BX_SECCOMP_QEMU_LOCKED, /* once it runs: no open, exec, socket, prctl, seccomp at all (second stage, on top) */
    BX_SECCOMP_SHIM,        /* the shim once its box runs: no new process, no socket, no exec. Installed by itself */
    BX_SECCOMP_PULL,        /* boxlite-pull from its exec on: sockets of the Internet only, files, threads */
    BX_SECCOMP_PULL_LOCKED, /* before it speaks to anybody: no exec, no executable memory. Installed by itself, on top */
    BX_SECCOMP_NET,         /* boxlite-net from its exec on: the libraries, then what follows */
    BX_SECCOMP_NET_LOCKED,  /* before it reads a byte of the box: sockets of the Internet only, no files, no exec, no listening */
    BX_SECCOMP_FILES,       /* boxlite-files: no socket, no process, no executable memory. Installed by itself */
    BX_SECCOMP_PROFILES
};

struct bx_bpf {
    struct sock_filter *insns; /* heap */
    size_t n;
};
void bx_bpf_done(struct bx_bpf *b);

/* The program of a profile (not NONE). */
int bx_seccomp_compile(enum bx_seccomp_profile profile, struct bx_bpf *ret, struct bx_err *err);

/* The same on a sealed memfd, for a process that installs it itself: raw struct sock_filter[]. Descriptor or negative. */
int bx_seccomp_memfd(enum bx_seccomp_profile profile, struct bx_err *err);

/* Sets no_new_privs and installs the profile on all threads of the calling process, for good. */
int bx_seccomp_install(enum bx_seccomp_profile profile, struct bx_err *err);

const char *bx_seccomp_profile_name(enum bx_seccomp_profile profile);

#endif
