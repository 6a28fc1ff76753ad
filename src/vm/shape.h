/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shape.h - which machine: engine, CPUs, memory; the installed parts it is made of; and the key of its template.
 *
 * Two boxes share a template when their key texts are equal, byte for byte. The text names everything that decides what is
 * in the template's memory and device state.
 */
#ifndef BX_VM_SHAPE_H
#define BX_VM_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum bx_engine { BX_ENGINE_TCG = 1, BX_ENGINE_KVM = 2 };

const char *bx_engine_name(enum bx_engine e); /* "tcg", "kvm" */
int bx_engine_parse(const char *s, enum bx_engine *ret); /* 0 or -EINVAL */

struct bx_vm_shape {
    enum bx_engine engine;
    unsigned cpus;       /* 1..BX_CPUS_MAX */
    unsigned memory_mib; /* as asked; bx_vm_shape_round makes it a multiple of BX_MEMORY_STEP_MIB */
    uint64_t tsc_khz;    /* of the host (probe.h); used by tcg, 0 for kvm */
    bool network;        /* parked with its interface up: making it takes a start too long */
};

/* Rounds memory up and checks the ranges. 0 or -BX_EINVALID. */
int bx_vm_shape_round(struct bx_vm_shape *s, struct bx_err *err);

#define BX_VM_PATH_MAX 512

/* The installed files of a machine. */
struct bx_vm_parts {
    char qemu[BX_VM_PATH_MAX];      /* resolved path of the QEMU program for this engine */
    char qemu_id[64];               /* size, mtime, inode: its identity */
    char kernel[BX_VM_PATH_MAX];    /* <libexec>/vmlinux */
    char initramfs[BX_VM_PATH_MAX]; /* <libexec>/initramfs.cpio */
    char hook[BX_VM_PATH_MAX];      /* <libexec>/libbxramhook.so */
    char boot_id[160];              /* sha256 of kernel and initramfs, from boot.json, in hex, one space between */
    uint64_t hook_hash;             /* FNV of the hook's content */
};

/*
 * Finds them. QEMU: $BOXLITE_QEMU, else PATH and the usual places: qemu-system-x86_64, for kvm
 * qemu-system-x86_64-microvm when there is one. Missing QEMU: -BX_EENGINE, the message names the Debian package.
 */
int bx_vm_parts_find(const char *libexec, enum bx_engine engine, struct bx_vm_parts *ret, struct bx_err *err);

#define BX_VM_NAME_MAX 64

struct bx_vm_key {
    char *text;                  /* lines "name value\n" */
    char name[BX_VM_NAME_MAX];   /* <engine>-c<cpus>-m<mib>-[i]<16 hex digits of the text's FNV> */
};

/*
 * Key of a (rounded) shape made of these parts. `root` NULL: of the blank template. Otherwise of the one in which this disk
 * (a bx_vm_disk_id) is mounted.
 */
int bx_vm_key_make(const struct bx_vm_shape *s, const struct bx_vm_parts *p, const char *root, struct bx_vm_key *ret,
                   struct bx_err *err);

/*
 * Name and identity of an image's disk, two lines: "disk=<name>\ndisk-id=<16 hex digits>\n". A disk that was made again has
 * another identity: what a template remembers of its blocks need not be true of it. Heap; NULL with err.
 */
char *bx_vm_disk_id(int disks_fd, const char *name, struct bx_err *err);
void bx_vm_key_done(struct bx_vm_key *k);
bool bx_vm_key_has_root(const struct bx_vm_key *k); /* an image's? */

#endif
