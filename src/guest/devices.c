/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices.c - which devices the box may open: those of Docker's default list and no other.
 *
 * Root in the container may make nodes (CAP_MKNOD is among the default capabilities), so names alone would
 * not keep it from the disk, the console or the ports. The kernel asks this small program at each open.
 * Making nodes stays allowed, as it is in Docker: archives unpack.
 */
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "guest/bpf.h"
#include "guest/cgroup.h"

#define R0     BPF_REG_0
#define CTX    BPF_REG_1
#define TYPE   BPF_REG_2
#define ACCESS BPF_REG_3
#define MAJOR  BPF_REG_4
#define MINOR  BPF_REG_5

enum { DENY = 1, ALLOW, TERMINAL };

static const struct bpf_insn program[] = {
    BX_BPF_LOAD(TYPE, CTX, offsetof(struct bpf_cgroup_dev_ctx, access_type)),
    BX_BPF_LOAD(MAJOR, CTX, offsetof(struct bpf_cgroup_dev_ctx, major)),
    BX_BPF_LOAD(MINOR, CTX, offsetof(struct bpf_cgroup_dev_ctx, minor)),
    BX_BPF_MOV(ACCESS, TYPE),
    BX_BPF_OP(BPF_RSH, ACCESS, 16),
    BX_BPF_OP(BPF_AND, TYPE, 0xffff),
    BX_BPF_JUMP(BPF_JEQ, ACCESS, BPF_DEVCG_ACC_MKNOD, ALLOW),
    BX_BPF_JUMP(BPF_JNE, TYPE, BPF_DEVCG_DEV_CHAR, DENY),
    BX_BPF_JUMP(BPF_JEQ, MAJOR, 136, ALLOW), /* terminals of devpts */
    BX_BPF_JUMP(BPF_JEQ, MAJOR, 5, TERMINAL),
    BX_BPF_JUMP(BPF_JNE, MAJOR, 1, DENY),
    BX_BPF_JUMP(BPF_JEQ, MINOR, 3, ALLOW), /* null */
    BX_BPF_JUMP(BPF_JEQ, MINOR, 5, ALLOW), /* zero */
    BX_BPF_JUMP(BPF_JEQ, MINOR, 7, ALLOW), /* full */
    BX_BPF_JUMP(BPF_JEQ, MINOR, 8, ALLOW), /* random */
    BX_BPF_JUMP(BPF_JEQ, MINOR, 9, ALLOW), /* urandom */
    BX_BPF_GO(DENY),
    BX_BPF_LABEL(TERMINAL),
    BX_BPF_JUMP(BPF_JEQ, MINOR, 0, ALLOW), /* tty */
    BX_BPF_JUMP(BPF_JEQ, MINOR, 2, ALLOW), /* ptmx */
    BX_BPF_LABEL(DENY),
    BX_BPF_OP(BPF_MOV, R0, 0),
    BX_BPF_EXIT,
    BX_BPF_LABEL(ALLOW),
    BX_BPF_OP(BPF_MOV, R0, 1),
    BX_BPF_EXIT,
};

int bx_cgroups_guard_devices(struct bx_cgroups *cs, struct bx_err *err)
{
    bx_cleanup_close int fd = bx_bpf_load("that guards devices", BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE, program,
                                          BX_ARRAY_SIZE(program), -1, err);

    return fd < 0 ? fd : bx_bpf_attach(fd, cs->box, BPF_CGROUP_DEVICE, err);
}
