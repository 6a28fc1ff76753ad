/* SPDX-License-Identifier: Apache-2.0 */
/*
 * risk_hostile.c - a hostile guest root drives every device it has; the template and a bystander restored from it stay as they were.
 *
 * BX_TEST_ATTACKS sets the number of attackers (default 4), each with another seed. What happens to the attacker itself does not matter,
 * but that its QEMU never makes a forbidden system call (that would be a hole in our list, or a captured QEMU).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "risk_lib.h"

#define ATTACK_TIMEOUT_MS 60000

static void ask_sum(struct box *b, char *sum, size_t size)
{
    if (!box_ask(b, b->control, "C", 1, sum, size, 30000) || !bx_starts_with(sum, "sum "))
        rig_fail("no checksum: '%s' (exited %d, status %d)", sum, b->exited, b->status);
}

/* Runs until the attacker ends, says that it is over, or the time is up (a guest that hangs itself is fine). */
static void let_rage(struct box *b, char *tail, size_t size)
{
    int64_t deadline = bx_now() + ATTACK_TIMEOUT_MS * BX_MSEC;

    do {
        (void)bx_loop_dispatch(b->rig->loop, 500);
        bx_qemu_console_tail(b->qemu, tail, size);
    } while (!b->exited && bx_now() < deadline && !strstr(tail, "attack: over"));
}

static void attack(struct rig *r, unsigned seed)
{
    char command[5] = { 'A' };
    char answer[512];
    char tail[4000];
    struct box b;

    box_start(r, &b);
    command[1] = (char)(seed * 37);
    command[2] = (char)seed;
    command[3] = (char)(seed * 5 + 1);
    command[4] = 0x5a;
    if (!box_ask(&b, b.control, command, sizeof(command), answer, sizeof(answer), 60000))
        rig_fail("the attacker did not start (exited %d, status %d)", b.exited, b.status);
    let_rage(&b, tail, sizeof(tail));
    printf("# attacker %u: %s, status %d; %s\n", seed, b.exited ? "its machine ended" : "it lives", b.status,
           strstr(tail, "attack: over")        ? "over"
           : strstr(tail, "attack: ports")     ? "reached the I/O ports"
           : strstr(tail, "attack: firmware")  ? "reached the firmware device"
           : strstr(tail, "attack: registers") ? "reached the registers"
                                               : "did not reach the registers");
    if (b.exited && b.status == 128 + 31)
        rig_fail("QEMU made a forbidden system call: %s", tail);
    if (!strstr(tail, "attack: registers"))
        rig_fail("the attack did not get to the devices: %s", tail);
    box_done(&b);
}

int main(void)
{
    const char *count = getenv("BX_TEST_ATTACKS");
    struct rig r;
    struct box bystander;
    struct box fresh;
    uint64_t n = 4;
    char hash_before[65];
    char hash_after[65];
    char sum_before[64];
    char sum_after[64];

    if (count && bx_parse_u64(count, 1, 10000, &n))
        rig_fail("BX_TEST_ATTACKS");
    rig_init(&r, 2, 512);
    (void)rig_make_template(&r);
    rig_hash_memory(&r, hash_before);
    box_start(&r, &bystander);
    ask_sum(&bystander, sum_before, sizeof(sum_before));
    for (unsigned i = 0; i < n; i++)
        attack(&r, i + 1);
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
