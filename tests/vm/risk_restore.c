/* SPDX-License-Identifier: Apache-2.0 */
/*
 * risk_restore.c - a jailed QEMU restores from a template it holds read-only, small and quiet; the template stays as it was.
 * Times are printed, not judged: they say more of the machine than of the program.
 *
 * Run as root, as an ordinary user, and under `unshare -r`: the caller's identity is the test's parameter.
 * BX_TEST_RESTORES sets how many boxes are measured (default 10).
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "host/spawn.h"
#include "risk_lib.h"

#define PSS_LIMIT (40u << 20) /* goal: 24 MB */
#define BOXES 8

static void check_template_is_read_only(struct rig *r)
{
    static const char *const parts[] = { "mem", "state", "files", "key" };

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        char path[256];
        struct stat st;

        rig_template_path(r, parts[i], path, sizeof(path));
        if (stat(path, &st) || (st.st_mode & 0777) != 0444)
            rig_fail("%s: not there, or not 0444", path);
    }
}

static void check_damage_is_noticed(struct rig *r)
{
    struct bx_template t = BX_TEMPLATE_INIT;
    struct bx_err err = BX_ERR_INIT;
    struct bx_vm_key other = r->key;
    struct bx_vm_shape bigger = r->shape;

    other.text = (char *)"another key";
    if (bx_template_open(r->home_fd, &other, &r->shape, &t, &err) != -BX_ENOTFOUND)
        rig_fail("a template with another key text was opened");
    bigger.memory_mib += 64;
    if (bx_template_open(r->home_fd, &r->key, &bigger, &t, &err) != -BX_ENOTFOUND)
        rig_fail("a template with memory of another size was opened");
}

static void start_answered(struct rig *r, struct box *b)
{
    char tail[2000];

    box_start(r, b);
    if (box_hello(b, 10000))
        return;
    bx_qemu_console_tail(b->qemu, tail, sizeof(tail));
    rig_fail("no answer (exited %d, status %d, %s); console: %s", b->exited, b->status, bx_qemu_why(b->qemu), tail);
}

/* What QEMU alone needs from its spawn to its QMP greeting: the same machine, no jail, nothing restored. */
static double greeting_once(struct rig *r)
{
    char *const argv[] = { r->parts.qemu, (char *)"-M", (char *)"microvm,x-option-roms=off,isa-serial=on,rtc=on,pit=off,pic=off",
                           (char *)"-accel", (char *)"tcg,tb-size=32", (char *)"-cpu", (char *)"max", (char *)"-m", (char *)"512",
                           (char *)"-smp", (char *)"2", (char *)"-nodefaults", (char *)"-no-user-config", (char *)"-display",
                           (char *)"none", (char *)"-S", (char *)"-qmp", (char *)"stdio", NULL };
    struct bx_spawn_fd out = { .dst = 1 };
    struct bx_spawn s = { .path = r->parts.qemu, .argv = argv, .fds = &out, .n_fds = 1 };
    struct bx_err err = BX_ERR_INIT;
    int64_t start = bx_now();
    int ends[2];
    double ms;
    char c;
    int pidfd;

    if (pipe2(ends, O_CLOEXEC))
        rig_fail("pipe");
    out.src = ends[1];
    pidfd = bx_spawn(&s, NULL, &err);
    close(ends[1]);
    if (pidfd < 0 || read(ends[0], &c, 1) != 1)
        rig_fail("QEMU gives no greeting: %s", err.msg);
    ms = (double)(bx_now() - start) / 1e6;
    (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    (void)bx_spawn_wait(pidfd);
    close(pidfd);
    close(ends[0]);
    return ms;
}

/* Spawn to first answer, in ms. */
static double restore_once(struct rig *r, double *ret_exec)
{
    struct box b;
    double ms;

    start_answered(r, &b);
    ms = (double)(bx_now() - b.spawn_time) / 1e6;
    *ret_exec = (double)(bx_qemu_exec_time(b.qemu) - b.spawn_time) / 1e6;
    if (!box_wait_locked(&b, 5000))
        rig_fail("QEMU did not lock itself: %s", bx_qemu_why(b.qemu));
    box_done(&b);
    return ms;
}

/* Several boxes at once: what one more costs, since they share the template and QEMU's libraries. */
static void measure_idle(struct rig *r)
{
    struct box boxes[BOXES];
    char report[600];
    uint64_t cpu0 = 0;
    uint64_t cpu1 = 0;
    uint64_t memory = 0;
    int64_t t0 = bx_now();
    double share;

    for (int i = 0; i < BOXES; i++) {
        start_answered(r, &boxes[i]);
        box_qmp(&boxes[i], "block_resize", "{\"node-name\":\"d0\",\"size\":1073741824}");
    }
    printf("# %d boxes in %.0f ms\n", BOXES, (double)(bx_now() - t0) / 1e6);
    bx_jail_report_str(bx_qemu_report(boxes[0].qemu), report, sizeof(report));
    printf("# jail: %s\n", report);
    for (int round = 0; round < 2; round++) {
        uint64_t *cpu = round ? &cpu1 : &cpu0;

        memory = 0;
        for (int i = 0; i < BOXES; i++) {
            uint64_t c, m;

            bx_qemu_usage(boxes[i].qemu, &c, &m);
            *cpu += c;
            memory += m;
        }
        t0 = round ? t0 : bx_now();
        while (round == 0 && bx_now() < t0 + 4 * BX_SEC)
            (void)bx_loop_dispatch(r->loop, 500);
    }
    share = (double)(cpu1 - cpu0) / (double)(bx_now() - t0) / BOXES;
    printf("# idle, each of %d: %.2f %% of a core, PSS %.1f MB\n", BOXES, share * 100, (double)memory / BOXES / 1e6);
    if (memory == 0 || memory / BOXES > PSS_LIMIT)
        rig_fail("an idle box takes too much memory");
    if (share > 0.05)
        rig_fail("an idle box is not idle");
    for (int i = 0; i < BOXES; i++)
        box_done(&boxes[i]);
}

int main(void)
{
    const char *count = getenv("BX_TEST_RESTORES");
    struct rig r;
    uint64_t n = 10;
    double *ms;
    double *greeting;
    double *exec;
    double mid;
    double alone;
    char before[65];
    char after[65];

    if (count && bx_parse_u64(count, 1, 10000, &n))
        rig_fail("BX_TEST_RESTORES");
    ms = calloc(n, sizeof(*ms));
    greeting = calloc(n, sizeof(*ms));
    exec = calloc(n, sizeof(*ms));
    if (!ms || !greeting || !exec)
        rig_fail("memory");
    rig_init(&r, 2, 512);
    printf("# template %s made in %.0f ms\n", r.key.name, rig_make_template(&r));
    check_template_is_read_only(&r);
    check_damage_is_noticed(&r);
    rig_hash_memory(&r, before);
    for (size_t i = 0; i < n; i++)
        greeting[i] = greeting_once(&r), ms[i] = restore_once(&r, &exec[i]);
    measure_idle(&r);
    rig_hash_memory(&r, after);
    if (strcmp(before, after) != 0)
        rig_fail("the template's memory has changed: %s -> %s", before, after);
    mid = median(ms, n);
    alone = median(greeting, n);
    printf("# spawn to first answer: median %.1f ms (min %.1f, max %.1f, n %zu), of it %.1f ms up to QEMU's exec\n", mid, ms[0],
           ms[n - 1], (size_t)n, median(exec, n));
    printf("# QEMU alone to its greeting: median %.1f ms (min %.1f); ratio %.2f (goal: 2.2)\n", alone, greeting[0], mid / alone);
    free(ms);
    free(greeting);
    free(exec);
    rig_done(&r);
    printf("ok\n");
    return 0;
}
