/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c - the verdict about KVM, by running a guest; the frequency of the TSC.
 *
 * Theory of operation
 *
 *  /dev/kvm proves nothing: under some hosts it opens, makes virtual CPUs, and runs real-mode code, while a kernel's first
 *  breakpoint ends in an internal error, or everything is interpreted a hundred times too slowly. So one virtual CPU is put into
 *  long mode, with an interrupt table, and runs what such hosts were seen to fail at:
 *
 *      mark 1; int3 (handler: mark 2); lock cmpxchg16b; mark 3; ten million rounds of a loop; mark 4; hlt
 *
 *  A mark is a byte written to port 0x80: each leaves the guest, so we know how far it came. A timer whose signal sets
 *  immediate_exit ends it after 100 ms; sound hardware needs 3.
 */
#include "vm/probe.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"

#define KVM_PATH "/dev/kvm"
#define DEADLINE_US 100000
#define GUEST_SIZE 0x10000u
#define MARK_PORT 0x80
#define MARK_LAST 4
#define EXITS_MAX 64 /* a sound guest has five */

/* Where things are in the guest's 64 KiB. */
enum { AT_CODE = 0x1000, AT_HANDLER = 0x1800, AT_DATA = 0x2000, AT_IDT = 0x3000, AT_PML4 = 0x4000, AT_PDPT = 0x5000,
       AT_PD = 0x6000, AT_STACK = 0x8000, AT_GDT = 0x9000 };

static const uint8_t guest_code[] = {
    0xb0, 0x01, 0xe6, MARK_PORT,                    /* mov $1,%al; out %al,$0x80 */
    0xcc,                                           /* int3 */
    0x31, 0xc0, 0x31, 0xd2, 0x31, 0xdb, 0x31, 0xc9, /* xor eax, edx, ebx, ecx */
    0xf0, 0x48, 0x0f, 0xc7, 0x0e,                   /* lock cmpxchg16b (%rsi) */
    0xb0, 0x03, 0xe6, MARK_PORT,                    /* mark 3 */
    0xb9, 0x80, 0x96, 0x98, 0x00,                   /* mov $10000000,%ecx */
    0xff, 0xc9, 0x75, 0xfc,                         /* 1: dec %ecx; jnz 1b */
    0xb0, 0x04, 0xe6, MARK_PORT,                    /* mark 4 */
    0xf4,                                           /* hlt */
};
static const uint8_t guest_handler[] = { 0xb0, 0x02, 0xe6, MARK_PORT, 0x48, 0xcf }; /* mark 2; iretq */

static const char *const result_names[] = { "ok", "no_device", "no_permission", "no_guest", "timeout" };
_Static_assert(BX_ARRAY_SIZE(result_names) == BX_PROBE_RESULTS, "a result has no name");

const char *bx_probe_result_name(enum bx_probe_result r)
{
    return r < BX_PROBE_RESULTS ? result_names[r] : "?";
}

struct probe {
    int kvm;
    int vm;
    int vcpu;
    uint8_t *mem;
    struct kvm_run *run;
    size_t run_size;
    int mark; /* the last one seen */
};

static struct kvm_run *volatile alarm_run; /* for the signal handler: one probe at a time */

static void on_alarm(int signo)
{
    struct kvm_run *run = alarm_run;

    (void)signo;
    if (run)
        run->immediate_exit = 1;
}

static void probe_done(struct probe *p)
{
    alarm_run = NULL;
    if (p->run)
        (void)munmap(p->run, p->run_size);
    bx_close(p->vcpu);
    bx_close(p->vm);
    if (p->mem)
        (void)munmap(p->mem, GUEST_SIZE);
    bx_close(p->kvm);
}

static void verdict(struct bx_engine_verdict *v, enum bx_probe_result result, const char *reason, const char *remedy)
{
    v->result = result;
    v->cacheable = result != BX_PROBE_TIMEOUT;
    (void)snprintf(v->reason, sizeof(v->reason), "%s", reason);
    (void)snprintf(v->remedy, sizeof(v->remedy), "%s", remedy);
}

static void verdict_errno(struct bx_engine_verdict *v, const char *what)
{
    char reason[160];

    (void)snprintf(reason, sizeof(reason), KVM_PATH " exists, but %s failed: %s", what, strerror(errno));
    verdict(v, BX_PROBE_NO_GUEST, reason, "");
}

/* Opens the device; false when the verdict has been given. */
static bool open_device(struct probe *p, struct bx_engine_verdict *v)
{
    p->kvm = open(KVM_PATH, O_RDWR | O_CLOEXEC);
    if (p->kvm >= 0) {
        if (ioctl(p->kvm, KVM_GET_API_VERSION, 0) == KVM_API_VERSION)
            return true;
        verdict(v, BX_PROBE_NO_GUEST, KVM_PATH " speaks another version", "");
    } else if (errno == EACCES || errno == EPERM) {
        verdict(v, BX_PROBE_NO_PERMISSION, KVM_PATH " exists, but this user may not open it",
                "add the user to the group kvm and log in again");
    } else if (errno == ENOENT || errno == ENXIO || errno == ENODEV) {
        verdict(v, BX_PROBE_NO_DEVICE, "there is no " KVM_PATH,
                "enable virtualisation in the firmware (on a virtual machine: nested virtualisation) and load kvm_intel or "
                "kvm_amd");
    } else {
        verdict_errno(v, "opening it");
    }
    return false;
}

static void put64(uint8_t *at, uint64_t value)
{
    memcpy(at, &value, sizeof(value));
}

static void fill_memory(uint8_t *mem)
{
    uint64_t gate = 0x8e00ull << 32 | 0x08ull << 16 | AT_HANDLER; /* present interrupt gate, selector 8 */

    memcpy(mem + AT_CODE, guest_code, sizeof(guest_code));
    memcpy(mem + AT_HANDLER, guest_handler, sizeof(guest_handler));
    put64(mem + AT_GDT + 8, 0x00209b0000000000ull);  /* 64-bit code */
    put64(mem + AT_GDT + 16, 0x0000930000000000ull); /* data */
    put64(mem + AT_IDT + 3 * 16, gate);
    put64(mem + AT_PML4, AT_PDPT | 3);
    put64(mem + AT_PDPT, AT_PD | 3);
    put64(mem + AT_PD, 0x83); /* the first 2 MiB, one large page */
}

static bool make_guest(struct probe *p, struct bx_engine_verdict *v)
{
    struct kvm_userspace_memory_region region = { .memory_size = GUEST_SIZE };
    int size;

    p->vm = ioctl(p->kvm, KVM_CREATE_VM, 0);
    if (p->vm < 0) {
        verdict_errno(v, "making a machine");
        return false;
    }
    p->mem = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p->mem == MAP_FAILED) {
        p->mem = NULL;
        verdict_errno(v, "giving it memory");
        return false;
    }
    fill_memory(p->mem);
    region.userspace_addr = (uint64_t)(uintptr_t)p->mem;
    size = ioctl(p->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (ioctl(p->vm, KVM_SET_USER_MEMORY_REGION, &region) || size < (int)sizeof(*p->run) ||
        (p->vcpu = ioctl(p->vm, KVM_CREATE_VCPU, 0)) < 0) {
        verdict_errno(v, "making a virtual CPU");
        return false;
    }
    p->run_size = (size_t)size;
    p->run = mmap(NULL, p->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu, 0);
    if (p->run == MAP_FAILED) {
        p->run = NULL;
        verdict_errno(v, "making a virtual CPU");
        return false;
    }
    return true;
}

/* The guest sees the CPU that KVM can offer: long mode is refused to one that claims to have none. */
static bool set_cpuid(struct probe *p)
{
    union {
        struct kvm_cpuid2 head;
        uint8_t space[sizeof(struct kvm_cpuid2) + 256 * sizeof(struct kvm_cpuid_entry2)];
    } id = { .head = { .nent = 256 } };

    return ioctl(p->kvm, KVM_GET_SUPPORTED_CPUID, &id) == 0 && ioctl(p->vcpu, KVM_SET_CPUID2, &id) == 0;
}

static bool set_registers(struct probe *p, struct bx_engine_verdict *v)
{
    struct kvm_segment code = { .limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1 };
    struct kvm_segment data = { .limit = 0xffffffff, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1 };
    struct kvm_regs regs = { .rip = AT_CODE, .rsp = AT_STACK, .rsi = AT_DATA, .rflags = 2 };
    struct kvm_sregs sregs;

    if (!set_cpuid(p) || ioctl(p->vcpu, KVM_GET_SREGS, &sregs))
        goto fail;
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.gdt = (struct kvm_dtable){ .base = AT_GDT, .limit = 23 };
    sregs.idt = (struct kvm_dtable){ .base = AT_IDT, .limit = 16 * 16 - 1 };
    sregs.cr0 = 0x80000011; /* paging, protected mode, extension type */
    sregs.cr3 = AT_PML4;
    sregs.cr4 = 0x20;     /* PAE */
    sregs.efer = 0x500;   /* LME, LMA */
    if (ioctl(p->vcpu, KVM_SET_SREGS, &sregs) || ioctl(p->vcpu, KVM_SET_REGS, &regs))
        goto fail;
    return true;
fail:
    verdict_errno(v, "setting up a virtual CPU");
    return false;
}

static const char *after_mark(int mark)
{
    static const char *const next[] = { "at its first instruction", "at its first breakpoint (int3)",
                                        "at cmpxchg16b", "in a plain loop", "at hlt" };

    return next[mark];
}

/* One exit of the guest. True: go on. */
static bool handle_exit(struct probe *p, struct bx_engine_verdict *v)
{
    char reason[160];
    struct kvm_run *run = p->run;

    if (run->exit_reason == KVM_EXIT_IO && run->io.direction == KVM_EXIT_IO_OUT && run->io.port == MARK_PORT &&
        run->io.size == 1 && run->io.data_offset < p->run_size) {
        int mark = ((const uint8_t *)run)[run->io.data_offset];

        if (mark == p->mark + 1 && mark <= MARK_LAST) {
            p->mark = mark;
            return true;
        }
    }
    if (run->exit_reason == KVM_EXIT_HLT && p->mark == MARK_LAST) {
        verdict(v, BX_PROBE_OK, "a guest runs", "");
        return false;
    }
    if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
        (void)snprintf(reason, sizeof(reason), KVM_PATH " exists, but a guest ends %s (internal error %u)",
                       after_mark(p->mark), run->internal.suberror);
    else
        (void)snprintf(reason, sizeof(reason), KVM_PATH " exists, but a guest ends %s (exit %u)", after_mark(p->mark),
                       run->exit_reason);
    verdict(v, BX_PROBE_NO_GUEST, reason,
            "this is a virtual machine without working nested virtualisation: enable it on its host, or use engine tcg");
    return false;
}

static void run_guest(struct probe *p, struct bx_engine_verdict *v)
{
    for (int i = 0; i < EXITS_MAX; i++) {
        if (ioctl(p->vcpu, KVM_RUN, 0) == 0) {
            if (!handle_exit(p, v))
                return;
        } else if (errno != EINTR && errno != EAGAIN) {
            verdict_errno(v, "running a guest");
            return;
        }
        if (p->run->immediate_exit) {
            char reason[160];

            (void)snprintf(reason, sizeof(reason), KVM_PATH " exists, but a guest of a few instructions was not done in %d ms (it was "
                           "%s)", DEADLINE_US / 1000, after_mark(p->mark));
            verdict(v, BX_PROBE_TIMEOUT, reason, "use engine tcg, or try again when the host is less busy");
            return;
        }
    }
    verdict(v, BX_PROBE_NO_GUEST, KVM_PATH " exists, but a guest makes no progress", "");
}

static void run_with_deadline(struct probe *p, struct bx_engine_verdict *v)
{
    struct sigaction sa = { .sa_handler = on_alarm };
    /* again and again: one that falls between two runs would be lost on a kernel without immediate_exit */
    struct itimerval on = { .it_value = { .tv_usec = DEADLINE_US }, .it_interval = { .tv_usec = 5000 } };
    struct itimerval off = { 0 };
    struct sigaction old;
    sigset_t alrm;
    sigset_t old_mask;

    alarm_run = p->run;
    sigemptyset(&alrm);
    sigaddset(&alrm, SIGALRM);
    (void)sigaction(SIGALRM, &sa, &old);
    (void)sigprocmask(SIG_UNBLOCK, &alrm, &old_mask);
    (void)setitimer(ITIMER_REAL, &on, NULL);
    run_guest(p, v);
    (void)setitimer(ITIMER_REAL, &off, NULL);
    alarm_run = NULL;
    (void)sigprocmask(SIG_SETMASK, &old_mask, NULL);
    (void)sigaction(SIGALRM, &old, NULL);
}

void bx_probe_kvm(struct bx_engine_verdict *ret)
{
    struct probe p = { .kvm = -1, .vm = -1, .vcpu = -1 };
    int64_t start = bx_now();

    *ret = (struct bx_engine_verdict){ 0 };
    if (open_device(&p, ret) && make_guest(&p, ret) && set_registers(&p, ret))
        run_with_deadline(&p, ret);
    probe_done(&p);
    ret->probe_us = (unsigned)((bx_now() - start) / 1000);
}

/* --- the verdict as a line --- */

int bx_probe_format(const struct bx_engine_verdict *v, char *dst, size_t size)
{
    int n = snprintf(dst, size, "%d %d %u\t%s\t%s\n", (int)v->result, v->cacheable, v->probe_us, v->reason, v->remedy);

    return n < 0 || (size_t)n >= size ? -ENOBUFS : 0;
}

/* Copies up to `stop` into dst and moves on. */
static bool take_field(const char **p, char stop, char *dst, size_t size)
{
    const char *end = strchrnul(*p, stop);
    size_t n = (size_t)(end - *p);

    if (n >= size || (stop != '\n' && !*end))
        return false;
    memcpy(dst, *p, n);
    dst[n] = '\0';
    *p = *end ? end + 1 : end;
    return true;
}

int bx_probe_parse(const char *line, struct bx_engine_verdict *ret, struct bx_err *err)
{
    struct bx_engine_verdict v = { 0 };
    const char *p = line;
    char number[3][16];
    uint64_t result;
    uint64_t cacheable;
    uint64_t us;

    if (!take_field(&p, ' ', number[0], 16) || !take_field(&p, ' ', number[1], 16) ||
        !take_field(&p, '\t', number[2], 16) || !take_field(&p, '\t', v.reason, sizeof(v.reason)) ||
        !take_field(&p, '\n', v.remedy, sizeof(v.remedy)) || *p ||
        bx_parse_u64(number[0], 0, BX_PROBE_RESULTS - 1, &result) || bx_parse_u64(number[1], 0, 1, &cacheable) ||
        bx_parse_u64(number[2], 0, UINT32_MAX, &us))
        return bx_fail(err, BX_ERPC, 0, "the engine probe's answer cannot be read");
    v.result = (enum bx_probe_result)result;
    v.cacheable = cacheable;
    v.probe_us = (unsigned)us;
    *ret = v;
    return 0;
}

void bx_probe_device_id(char *dst, size_t size)
{
    struct stat st;

    if (stat(KVM_PATH, &st))
        (void)snprintf(dst, size, "none");
    else
        (void)snprintf(dst, size, "%u:%u", major(st.st_rdev), minor(st.st_rdev));
}

/* --- TSC --- */

static uint64_t tsc_khz_by_cpuid(void)
{
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;

    /* a hypervisor that says its timing (VMware's leaf, also KVM's and others') */
    if (__get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 31))) {
        __cpuid(0x40000000, a, b, c, d);
        if (a >= 0x40000010 && a < 0x40010000) {
            __cpuid(0x40000010, a, b, c, d);
            if (a > 100000 && a < 20000000)
                return a;
        }
        return 0; /* leaf 0x15 is the host's, not what we see */
    }
    if (__get_cpuid_max(0, NULL) >= 0x15) {
        __cpuid_count(0x15, 0, a, b, c, d);
        if (a && b && c)
            return (uint64_t)c * b / a / 1000;
    }
    return 0;
}

static int64_t raw_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
    return ts.tv_sec * BX_SEC + ts.tv_nsec;
}

/* A clock reading with the TSC just beside it: the tightest of several, for a reading may be interrupted. */
static void read_both(int64_t *ret_ns, uint64_t *ret_tsc)
{
    uint64_t best = UINT64_MAX;

    for (int i = 0; i < 16; i++) {
        uint64_t before = __rdtsc();
        int64_t ns = raw_ns();
        uint64_t after = __rdtsc();

        if (after - before < best) {
            best = after - before;
            *ret_ns = ns;
            *ret_tsc = before + (after - before) / 2;
        }
    }
}

uint64_t bx_probe_tsc_khz(void)
{
    uint64_t khz = tsc_khz_by_cpuid();
    int64_t ns0 = 0;
    int64_t ns1 = 0;
    uint64_t tsc0 = 0;
    uint64_t tsc1 = 0;

    if (khz)
        return khz;
    read_both(&ns0, &tsc0);
    while (raw_ns() - ns0 < 20 * BX_MSEC)
        _mm_pause();
    read_both(&ns1, &tsc1);
    khz = (tsc1 - tsc0) * 1000000 / (uint64_t)(ns1 - ns0);
    return (khz + 50) / 100 * 100;
}
