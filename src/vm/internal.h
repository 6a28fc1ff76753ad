/* SPDX-License-Identifier: Apache-2.0 */
/* internal.h - between the files of this room. */
#ifndef BX_VM_INTERNAL_H
#define BX_VM_INTERNAL_H

#include <stdbool.h>

#include "base/err.h"
#include "vm/qemu.h"
#include "vm/shape.h"

/* The numbers under which QEMU finds what it inherits. Part of its command line and so of every key. */
enum bx_qemu_fd {
    BX_QFD_MEM = 3,
    BX_QFD_CONTROL,
    BX_QFD_BULK,
    BX_QFD_QMP,
    BX_QFD_LOCK,
    BX_QFD_STATE,
    BX_QFD_DISK,
    BX_QFD_BASE,
    BX_QFD_KVM,
};

/* The command line of a machine. Pure. `kernel` and `initramfs` are used by MAKE only. Heap, or NULL. */
struct bx_vm_args {
    enum bx_qemu_mode mode;
    const struct bx_vm_shape *shape;
    const char *qemu;
    const char *kernel;
    const char *initramfs;
    bool disk; /* MAKE: a real disk, not a placeholder: the agent mounts it before it parks */
    bool base; /* there is an image under the overlay */
    bool unfiltered; /* without a filter of system calls of QEMU's own */
};
char **bx_vm_args_build(const struct bx_vm_args *a);

/* Files of a QEMU installation beside the program: the emulator's module ("" when it is built in) and the firmware. */
int bx_vm_find_module(const char *qemu, enum bx_engine engine, char *dst, size_t size);
int bx_vm_find_firmware(const char *qemu, char *dst, size_t size);

/*
 * All files that QEMU opens by itself: the program, its module and firmware, and the shared libraries of these and of the
 * hook, as the dynamic linker finds them. Takes some 15 ms (it runs the linker): the result is kept in the template.
 * A heap list for bx_strv_free.
 */
int bx_vm_list_files(const struct bx_vm_parts *parts, enum bx_engine engine, char ***ret, struct bx_err *err);

#define BX_VM_FILES_MAX 160

#endif
