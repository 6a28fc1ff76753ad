/* SPDX-License-Identifier: Apache-2.0 */
/*
 * risk_hostile.c - a hostile guest root drives every device it has; the template and a bystander restored from it stay as they were.
 *
 * BX_TEST_ATTACKS sets the number of attackers (default 2), each with another seed. What happens to the attacker itself does not matter,
 * but that its QEMU never makes a forbidden system call (that would be a hole in our list, or a captured QEMU).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "risk_lib.h"

#define ATTACK_TIMEOUT_MS 60000

static void ask_sum(struct box *b, char *sum, size_t size)
{
    if (!box_ask(b, b->control, "C", 1, sum, size, 30000) || !bx_starts_with(sum, "sum "))
        rig_fail("no checksum: '%s' (exited %d, status %d)", sum, b->exited, b->status);
}

struct attacker {
    unsigned seed;
    struct box box;
    char tail[4000]; /* of its console */
};

static void attack_begin(struct rig *r, struct attacker *a)
{
    char command[5] = { 'A', (char)(a->seed * 37), (char)a->seed, (char)(a->seed * 5 + 1), 0x5a };
    char answer[512];

    box_start(r, &a->box);
    if (!box_ask(&a->box, a->box.control, command, sizeof(command), answer, sizeof(answer), 60000))
        rig_fail("the attacker did not start (exited %d, status %d)", a->box.exited, a->box.status);
}

/* Until each has ended or says that it is over, or the time is up (a guest that hangs itself is fine). */
static void let_rage(struct rig *r, struct attacker *a, unsigned n)
{
    int64_t deadline = bx_now() + ATTACK_TIMEOUT_MS * BX_MSEC;
    unsigned busy;

    do {
        (void)bx_loop_dispatch(r->loop, 500);
        busy = 0;
        for (unsigned i = 0; i < n; i++) {
            bx_qemu_console_tail(a[i].box.qemu, a[i].tail, sizeof(a[i].tail));
            busy += !a[i].box.exited && !strstr(a[i].tail, "attack: over");
        }
    } while (busy > 0 && bx_now() < deadline);
}

static void attack_end(struct attacker *a)
{
    printf("# attacker %u: %s, status %d; %s\n", a->seed, a->box.exited ? "its machine ended" : "it lives", a->box.status,
           strstr(a->tail, "attack: over")        ? "over"
           : strstr(a->tail, "attack: ports")     ? "reached the I/O ports"
           : strstr(a->tail, "attack: firmware")  ? "reached the firmware device"
           : strstr(a->tail, "attack: registers") ? "reached the registers"
                                                  : "did not reach the registers");
    if (a->box.exited && a->box.status == 128 + 31)
        rig_fail("QEMU made a forbidden system call: %s", a->tail);
    if (!strstr(a->tail, "attack: registers"))
        rig_fail("the attack did not get to the devices: %s", a->tail);
    box_done(&a->box);
}

/* Two at a time: each has one busy processor, and they are neighbours besides. */
static void attack(struct rig *r, unsigned seed, uint64_t n)
{
    struct attacker pair[2];

    for (uint64_t done = 0; done < n; done += 2) {
        unsigned k = (unsigned)BX_MIN(n - done, (uint64_t)2);

        for (unsigned i = 0; i < k; i++) {
            pair[i] = (struct attacker){ .seed = seed++ };
            attack_begin(r, &pair[i]);
        }
        let_rage(r, pair, k);
        for (unsigned i = 0; i < k; i++)
            attack_end(&pair[i]);
    }
}

int main(void)
{
    const char *count = getenv("BX_TEST_ATTACKS");
    struct rig r;
    struct box bystander;
    struct box fresh;
    uint64_t n = 2;
    char hash_before[65];
    char hash_after[65];
    char sum_before[64];
    char sum_after[64];

    if (count && bx_parse_u64(count, 1, 10000, &n))
        rig_fail("BX_TEST_ATTACKS");
    rig_init(&r, 2, 512);
    rig_make_template(&r);
    rig_hash_memory(&r, hash_before);
    box_start(&r, &bystander);
    ask_sum(&bystander, sum_before, sizeof(sum_before));
    attack(&r, geteuid() == 0 ? 1 : 1001, n); /* others try what root does not */
    ask_sum(&bystander, sum_after, sizeof(sum_after));
    if (strcmp(sum_before, sum_after) != 0)
        rig_fail("a bystander's memory has changed: %s -> %s", sum_before, sum_after);
    box_done(&bystander);
    rig_hash_memory(&r, hash_after);
    if (strcmp(hash_before, hash_after) != 0)
        rig_fail("the template has changed: %s -> %s", hash_before, hash_after);
    box_start(&r, &fresh);
    ask_sum(&fresh, sum_after, sizeof(sum_after));
    if (strcmp(sum_before, sum_after) != 0)
        rig_fail("a new box has other memory: %s -> %s", sum_before, sum_after);
    box_done(&fresh);
    rig_done(&r);
    printf("ok\n");
    return 0;
}
