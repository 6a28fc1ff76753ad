/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices.c - which devices the box may open: those of Docker's default list and no other.
 *
 * Root in the container may make nodes (CAP_MKNOD is among the default capabilities), so names alone would
 * not keep it from the disk, the console or the ports. The kernel asks this small program at each open.
 * Making nodes stays allowed, as it is in Docker: archives unpack.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "guest/cgroup.h"

/* clang-format off */
#define LOAD(dst, at) { .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = (dst), .src_reg = BPF_REG_1, .off = (at) }
#define MOV(dst, src) { .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = (dst), .src_reg = (src) }
#define OP(op, dst, value) { .code = BPF_ALU64 | (op) | BPF_K, .dst_reg = (dst), .imm = (value) }
#define JUMP(op, reg, value, skip) \
    { .code = BPF_JMP | (op) | BPF_K, .dst_reg = (reg), .imm = (value), .off = (skip) }
#define EXIT { .code = BPF_JMP | BPF_EXIT }
/* clang-format on */

#define R0     BPF_REG_0
#define TYPE   BPF_REG_2
#define ACCESS BPF_REG_3
#define MAJOR  BPF_REG_4
#define MINOR  BPF_REG_5

static const struct bpf_insn program[] = {
    LOAD(TYPE, 0),
    LOAD(MAJOR, 4),
    LOAD(MINOR, 8),
    MOV(ACCESS, TYPE),
    OP(BPF_RSH, ACCESS, 16),
    OP(BPF_AND, TYPE, 0xffff),
    OP(BPF_MOV, R0, 1), /* allowed, until shown otherwise */
    JUMP(BPF_JEQ, ACCESS, BPF_DEVCG_ACC_MKNOD, 13),
    JUMP(BPF_JNE, TYPE, BPF_DEVCG_DEV_CHAR, 11),
    JUMP(BPF_JEQ, MAJOR, 136, 11), /* terminals of devpts */
    JUMP(BPF_JEQ, MAJOR, 5, 7),
    JUMP(BPF_JNE, MAJOR, 1, 8),
    JUMP(BPF_JEQ, MINOR, 3, 8), /* null */
    JUMP(BPF_JEQ, MINOR, 5, 7), /* zero */
    JUMP(BPF_JEQ, MINOR, 7, 6), /* full */
    JUMP(BPF_JEQ, MINOR, 8, 5), /* random */
    JUMP(BPF_JEQ, MINOR, 9, 4), /* urandom */
    JUMP(BPF_JA, 0, 0, 2),
    JUMP(BPF_JEQ, MINOR, 0, 2), /* tty */
    JUMP(BPF_JEQ, MINOR, 2, 1), /* ptmx */
    OP(BPF_MOV, R0, 0),
    EXIT,
};

int bx_cgroups_guard_devices(struct bx_cgroups *cs, struct bx_err *err)
{
    union bpf_attr attr;
    int fd, r;

    memset(&attr, 0, sizeof(attr));
    attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attr.insns = (uint64_t)(uintptr_t)program;
    attr.insn_cnt = BX_ARRAY_SIZE(program);
    attr.license = (uint64_t)(uintptr_t) "Apache-2.0";
    fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
    if (fd < 0)
        return bx_fail(err, BX_EENGINE, errno, "load the program that guards devices");
    memset(&attr, 0, sizeof(attr));
    attr.target_fd = (uint32_t)cs->box;
    attr.attach_bpf_fd = (uint32_t)fd;
    attr.attach_type = BPF_CGROUP_DEVICE;
    r = (int)syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof(attr));
    r = r < 0 ? bx_fail(err, BX_EENGINE, errno, "attach the program that guards devices") : 0;
    bx_close(fd);
    return r;
}
