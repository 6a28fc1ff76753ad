/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/bpf.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int bpf(int command, union bpf_attr *attr)
{
    return (int)syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static uint64_t pointer(const void *p)
{
    return (uint64_t)(uintptr_t)p;
}

size_t bx_bpf_assemble(const struct bpf_insn *table, size_t n, int map, struct bpf_insn *ret)
{
    int16_t labels[BX_BPF_MAX] = {0};
    size_t out = 0;

    bx_assert(n <= BX_BPF_MAX);
    for (size_t i = 0; i < n; i++)
        if (table[i].code == BX_BPF_LABEL_CODE)
            labels[table[i].off] = (int16_t)out;
        else
            out++;
    out = 0;
    for (size_t i = 0; i < n; i++) {
        struct bpf_insn insn = table[i];
        uint8_t class = insn.code & 0x07, op = insn.code & 0xf0;

        if (insn.code == BX_BPF_LABEL_CODE)
            continue;
        if ((class == BPF_JMP || class == BPF_JMP32) && op != BPF_CALL && op != BPF_EXIT)
            insn.off = (int16_t)(labels[insn.off] - (int16_t)(out + 1));
        if (insn.code == (BPF_LD | BPF_DW) && insn.src_reg == BPF_PSEUDO_MAP_FD)
            insn.imm = map;
        ret[out++] = insn;
    }
    return out;
}

int bx_bpf_load(const char *name, enum bpf_prog_type type, enum bpf_attach_type attach, const struct bpf_insn *table,
                size_t n, int map, struct bx_err *err)
{
    static char log[16384]; /* what the verifier says; single thread */
    struct bpf_insn insns[BX_BPF_MAX];
    union bpf_attr attr;
    int fd;

    memset(&attr, 0, sizeof(attr));
    attr.prog_type = type;
    attr.expected_attach_type = attach;
    attr.insns = pointer(insns);
    attr.insn_cnt = (uint32_t)bx_bpf_assemble(table, n, map, insns);
    attr.license = pointer("GPL");
    fd = bpf(BPF_PROG_LOAD, &attr);
    if (fd >= 0)
        return fd;
    bx_fail(err, BX_EENGINE, errno, "load the program %s", name);
    attr.log_buf = pointer(log);
    attr.log_size = sizeof(log);
    attr.log_level = 1;
    fd = bpf(BPF_PROG_LOAD, &attr);
    if (fd >= 0)
        return fd;
    bx_err_append(err, "\n%s", log);
    return -BX_EENGINE;
}

int bx_bpf_map(enum bpf_map_type type, uint32_t key_size, uint32_t value_size, uint32_t entries, struct bx_err *err)
{
    union bpf_attr attr;
    int fd;

    memset(&attr, 0, sizeof(attr));
    attr.map_type = type;
    attr.key_size = key_size;
    attr.value_size = value_size;
    attr.max_entries = entries;
    fd = bpf(BPF_MAP_CREATE, &attr);
    return fd >= 0 ? fd : bx_fail(err, BX_EENGINE, errno, "make a map of type %d", (int)type);
}

int bx_bpf_map_set(int map, uint32_t key, uint64_t value, struct bx_err *err)
{
    union bpf_attr attr;

    memset(&attr, 0, sizeof(attr));
    attr.map_fd = (uint32_t)map;
    attr.key = pointer(&key);
    attr.value = pointer(&value);
    return bpf(BPF_MAP_UPDATE_ELEM, &attr) < 0 ? bx_fail(err, BX_EENGINE, errno, "set entry %u of a map", key) : 0;
}

int bx_bpf_attach(int prog, int cgroup, enum bpf_attach_type type, struct bx_err *err)
{
    union bpf_attr attr;

    memset(&attr, 0, sizeof(attr));
    attr.target_fd = (uint32_t)cgroup;
    attr.attach_bpf_fd = (uint32_t)prog;
    attr.attach_type = type;
    return bpf(BPF_PROG_ATTACH, &attr) < 0 ? bx_fail(err, BX_EENGINE, errno, "attach a program to a cgroup") : 0;
}

int bx_bpf_link(int prog, int target, enum bpf_attach_type type, struct bx_err *err)
{
    union bpf_attr attr;
    int fd;

    memset(&attr, 0, sizeof(attr));
    attr.link_create.prog_fd = (uint32_t)prog;
    attr.link_create.target_fd = (uint32_t)target;
    attr.link_create.attach_type = type;
    fd = bpf(BPF_LINK_CREATE, &attr);
    return fd >= 0 ? fd : bx_fail(err, BX_EENGINE, errno, "attach a program to a network namespace");
}
