/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpf.h - small programs for the guest's kernel, written by hand as tables: one line is one instruction.
 *
 * A jump names a label, any small number, and BX_BPF_LABEL(number) stands where it leads: the distance is found when the
 * program is loaded.
 */
#ifndef BX_GUEST_BPF_H
#define BX_GUEST_BPF_H

#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* clang-format off */
#define BX_BPF_LOAD(dst, src, at) { .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = (dst), .src_reg = (src), .off = (at) }
#define BX_BPF_LOAD_BYTE(dst, src, at) \
    { .code = BPF_LDX | BPF_MEM | BPF_B, .dst_reg = (dst), .src_reg = (src), .off = (at) }
#define BX_BPF_STORE(dst, at, value) { .code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = (dst), .off = (at), .imm = (value) }
#define BX_BPF_STORE_8(dst, at, value) \
    { .code = BPF_ST | BPF_MEM | BPF_DW, .dst_reg = (dst), .off = (at), .imm = (value) }
#define BX_BPF_MOV(dst, src) { .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = (dst), .src_reg = (src) }
#define BX_BPF_OP(op, dst, value) { .code = BPF_ALU64 | (op) | BPF_K, .dst_reg = (dst), .imm = (value) }
#define BX_BPF_OP_32(op, dst, value) { .code = BPF_ALU | (op) | BPF_K, .dst_reg = (dst), .imm = (value) }
#define BX_BPF_JUMP(op, reg, value, label) \
    { .code = BPF_JMP | (op) | BPF_K, .dst_reg = (reg), .imm = (value), .off = (label) }
#define BX_BPF_GO(label) { .code = BPF_JMP | BPF_JA, .off = (label) }
#define BX_BPF_LABEL_CODE 0xff /* no instruction */
#define BX_BPF_LABEL(label) { .code = BX_BPF_LABEL_CODE, .off = (label) }
/* Compares the lower half only: for values whose highest bit may be set. */
#define BX_BPF_JUMP_32(op, reg, value, label) \
    { .code = BPF_JMP32 | (op) | BPF_K, .dst_reg = (reg), .imm = (int32_t)(value), .off = (label) }
#define BX_BPF_CALL(function) { .code = BPF_JMP | BPF_CALL, .imm = (function) }
/* The program's map; two instructions. */
#define BX_BPF_MAP(dst) { .code = BPF_LD | BPF_DW, /* and BPF_IMM, 0 */ .dst_reg = (dst), .src_reg = BPF_PSEUDO_MAP_FD }, { .code = 0 }
#define BX_BPF_EXIT { .code = BPF_JMP | BPF_EXIT }
/* clang-format on */

#define BX_BPF_MAX 128 /* instructions and labels of a program */

/* The table as the kernel reads it, without labels and with the map (-1: none); ret has BX_BPF_MAX places. Their number. */
size_t bx_bpf_assemble(const struct bpf_insn *table, size_t n, int map, struct bpf_insn *ret);
/* Loads a program (license GPL: some of the helpers ask for it). name is for errors. Descriptor or -BX_EENGINE. */
int bx_bpf_load(const char *name, enum bpf_prog_type type, enum bpf_attach_type attach, const struct bpf_insn *table,
                size_t n, int map, struct bx_err *err);
int bx_bpf_map(enum bpf_map_type type, uint32_t key_size, uint32_t value_size, uint32_t entries, struct bx_err *err);
int bx_bpf_map_set(int map, uint32_t key, uint64_t value, struct bx_err *err);
/* To a cgroup, for as long as that exists. */
int bx_bpf_attach(int prog, int cgroup, enum bpf_attach_type type, struct bx_err *err);
/* To a network namespace, for as long as the descriptor that is returned is open. */
int bx_bpf_link(int prog, int target, enum bpf_attach_type type, struct bx_err *err);
#endif
