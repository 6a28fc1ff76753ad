/* SPDX-License-Identifier: Apache-2.0 */
/*
 * risk_kvm.c - the machine of engine kvm starts in its jail, with /dev/kvm as a descriptor only.
 *
 * Whether a guest runs there is another question (the probe's); this is about the command line, the hook and the filters, so it
 * runs wherever /dev/kvm can be opened, also where a guest would not.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "risk_lib.h"

static bool enabled;
static bool answered;

static void on_kvm(void *ud, const char *text, const struct bx_err *err)
{
    (void)ud;
    answered = true;
    enabled = !err && strstr(text, "\"enabled\":true");
}

static void on_exit_status(void *ud, int status)
{
    *(int *)ud = status;
}

int main(void)
{
    static const struct bx_qemu_events events = { .on_exit = on_exit_status };
    struct rig r;
    struct bx_vm_parts parts;
    struct bx_err err = BX_ERR_INIT;
    struct bx_qemu *q;
    struct bx_qemu_config cfg = { .mode = BX_QEMU_MAKE, .parts = &parts, .name = "kvm", .state_fd = -1, .disk_fd = -1,
                                  .base_fd = -1, .uid = 65534, .gid = 65534, .layers = BX_JAIL_ALL, .required_layers = BX_JAIL_FLOOR,
                                  .events = &events };
    int64_t deadline = bx_now() + 10 * BX_SEC;
    int status = -1;
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (kvm < 0) {
        printf("ok # no /dev/kvm for us here\n");
        return 0;
    }
    bx_close(kvm);
    rig_init(&r, 2, 256);
    if (bx_vm_parts_find(getenv("BX_TEST_LIBEXEC"), BX_ENGINE_KVM, &parts, &err))
        rig_fail("%s", err.msg);
    cfg.shape = r.shape;
    cfg.shape.engine = BX_ENGINE_KVM;
    cfg.shape.tsc_khz = 0;
    cfg.log_fd = r.log_fd;
    cfg.ud = &status;
    cfg.mem_fd = openat(r.home_fd, "mem", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (cfg.mem_fd < 0 || ftruncate(cfg.mem_fd, 256 << 20))
        rig_fail("memory file");
    q = bx_qemu_start(r.loop, &cfg, &err);
    if (!q)
        rig_fail("%s", err.msg);
    if (bx_qmp_send(bx_qemu_qmp(q), "query-kvm", NULL, -1, on_kvm, NULL, &err))
        rig_fail("%s", err.msg);
    while (!answered && bx_now() < deadline)
        (void)bx_loop_dispatch(r.loop, 500);
    if (!enabled) {
        char tail[2000];

        bx_qemu_console_tail(q, tail, sizeof(tail));
        /* It is in its jail and has made machine and processor by then; the rest is between it and this host's KVM. */
        if (strstr(tail, "failed to set MSR")) {
            (void)bx_qemu_free(q);
            bx_close(cfg.mem_fd);
            printf("ok # %s; this host's KVM refuses a register of its processor\n", parts.qemu);
            rig_done(&r);
            return 0;
        }
        rig_fail("%s: kvm is not enabled (answered %d, status %d): %s", parts.qemu, answered, status, tail);
    }
    for (deadline = bx_now() + 2 * BX_SEC; status < 0 && bx_now() < deadline;) /* let its virtual CPUs run */
        (void)bx_loop_dispatch(r.loop, 200);
    if (status == 128 + 31)
        rig_fail("QEMU made a forbidden system call");
    (void)bx_qemu_free(q);
    bx_close(cfg.mem_fd);
    printf("ok # %s, %s\n", parts.qemu, status < 0 ? "it runs" : "its guest ended");
    rig_done(&r);
    return 0;
}
