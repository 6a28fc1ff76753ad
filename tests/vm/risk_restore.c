/* SPDX-License-Identifier: Apache-2.0 */
/*
 * risk_restore.c - a jailed QEMU restores from a template it holds read-only and shares it with others; the template stays as it was.
 *
 * Run as root, as an ordinary user, and under `unshare -r`: the caller's identity is the test's parameter.
 * BX_TEST_RESTORES sets how many boxes are restored one after another (default 3). How long that takes is bench's affair.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "risk_lib.h"

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

static void restore_once(struct rig *r)
{
    struct box b;

    start_answered(r, &b);
    if (!box_wait_locked(&b, 5000))
        rig_fail("QEMU did not lock itself: %s", bx_qemu_why(b.qemu));
    box_done(&b);
}

/* Several boxes at once share the template: one that had copied it would weigh more than it. */
static void check_memory_is_shared(struct rig *r)
{
    struct box boxes[BOXES];
    uint64_t memory = 0, whole;
    char path[256], report[600];
    struct stat st;

    rig_template_path(r, "mem", path, sizeof(path));
    if (stat(path, &st))
        rig_fail("%s", path);
    whole = (uint64_t)st.st_blocks * 512;
    for (int i = 0; i < BOXES; i++) {
        start_answered(r, &boxes[i]);
        box_qmp(&boxes[i], "block_resize", "{\"node-name\":\"d0\",\"size\":1073741824}");
    }
    bx_jail_report_str(bx_qemu_report(boxes[0].qemu), report, sizeof(report));
    printf("# jail: %s\n", report);
    for (int i = 0; i < BOXES; i++) {
        uint64_t cpu, m;

        bx_qemu_usage(boxes[i].qemu, &cpu, &m);
        memory += m;
    }
    printf("# PSS of each of %d: %.1f MB; template: %.1f MB\n", BOXES, (double)memory / BOXES / 1e6, (double)whole / 1e6);
    if (memory == 0 || memory / BOXES > whole / 2)
        rig_fail("a box does not share its template");
    for (int i = 0; i < BOXES; i++)
        box_done(&boxes[i]);
}

int main(void)
{
    const char *count = getenv("BX_TEST_RESTORES");
    struct rig r;
    uint64_t n = 3;
    char before[65];
    char after[65];

    if (count && bx_parse_u64(count, 1, 10000, &n))
        rig_fail("BX_TEST_RESTORES");
    rig_init(&r, 2, 512);
    rig_make_template(&r);
    check_template_is_read_only(&r);
    check_damage_is_noticed(&r);
    rig_hash_memory(&r, before);
    for (size_t i = 0; i < n; i++)
        restore_once(&r);
    check_memory_is_shared(&r);
    rig_hash_memory(&r, after);
    if (strcmp(before, after) != 0)
        rig_fail("the template's memory has changed: %s -> %s", before, after);
    rig_done(&r);
    printf("ok\n");
    return 0;
}
