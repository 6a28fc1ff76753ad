/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h - does KVM work here? Found out by running a guest, never by looking at /dev/kvm; and the TSC's frequency.
 */
#ifndef BX_VM_PROBE_H
#define BX_VM_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum bx_probe_result {
    BX_PROBE_OK = 0,
    BX_PROBE_NO_DEVICE,     /* no /dev/kvm */
    BX_PROBE_NO_PERMISSION, /* it may not be opened */
    BX_PROBE_NO_GUEST,      /* it opens, but a guest does not run */
    BX_PROBE_TIMEOUT,       /* a guest runs a hundred times too slowly, or the host is loaded: do not cache */
    BX_PROBE_RESULTS
};

struct bx_engine_verdict {
    enum bx_probe_result result;
    bool cacheable;    /* false for TIMEOUT and for failures of the probe itself */
    char reason[200];  /* "/dev/kvm exists, but a guest ends at its first int3 (internal error 1)" */
    char remedy[200];  /* what a person can do; may be empty */
    unsigned probe_us; /* how long it took */
};

/*
 * Runs a guest of a few instructions with a deadline of 100 ms. Blocks for that long at most; uses a timer signal, so
 * it belongs into a process of its own (boxlite-shim --probe, which prints bx_probe_print and exits).
 * Always gives a verdict.
 */
void bx_probe_kvm(struct bx_engine_verdict *ret);

/* One line of a verdict, and back: "result cacheable us\treason\tremedy\n". 0 or -BX_ERPC. */
int bx_probe_format(const struct bx_engine_verdict *v, char *dst, size_t size);
int bx_probe_parse(const char *line, struct bx_engine_verdict *ret, struct bx_err *err);

const char *bx_probe_result_name(enum bx_probe_result r); /* "ok", "no_device", ... */

/* device and inode of /dev/kvm as "major:minor", "none" when there is none: part of the cache key of a verdict. */
void bx_probe_device_id(char *dst, size_t size);

/*
 * The host's TSC frequency in kHz: from CPUID leaf 0x15 or the hypervisor's leaf, exactly; else measured against
 * CLOCK_MONOTONIC_RAW for 20 ms and rounded to 100 kHz. A measurement can differ from the next: cache it by boot id.
 */
uint64_t bx_probe_tsc_khz(void);

#endif
