/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans for boxlite-shim, and what a shim answers. A plan is refused with words, or read; what was read, written and read again is written
 * alike, and keeps what the shim counts on: absolute paths, names that are no paths, numbers in range. An exit record in a box's directory
 * is another program's file.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/path.h"
#include "base/mem.h"
#include "base/str.h"
#include "host/shim_plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_plan(const struct bx_shim_plan *p)
{
    bx_assert(p->kind >= BX_SHIM_BOX && p->kind <= BX_SHIM_CHECK && p->fd >= 0);
    if (p->kind == BX_SHIM_CHECK)
        bx_assert(!p->check_disk || (p->check_disk[0] == '/' && p->check_scratch[0] == '/' && p->base_disk[0] == '/'));
    if (p->kind >= BX_SHIM_PROBE)
        return;
    bx_assert(p->cpus >= 1 && p->cpus <= BX_CPUS_MAX && p->memory_mib >= BX_MEMORY_MIN_MIB && p->memory_mib <= BX_MEMORY_MAX_MIB);
    bx_assert(p->qemu[0] == '/' && p->kernel[0] == '/' && p->initramfs[0] == '/' && p->hook[0] == '/' && p->templates_dir[0] == '/');
    bx_assert(p->template_name[0] && p->template_name[0] != '.' && !strchr(p->template_name, '/'));
    if (p->kind != BX_SHIM_BOX)
        return;
    bx_assert(p->box_dir[0] == '/' && p->box_id[0] && p->box_id[0] != '.' && !strchr(p->box_id, '/'));
    for (char **e = p->env; e && *e; e++)
        bx_assert(strchr(*e, '=') > *e);
}

static void plan(const char *text, size_t size)
{
    bx_cleanup_shim_plan struct bx_shim_plan p = BX_SHIM_PLAN_INIT, again = BX_SHIM_PLAN_INIT;
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(BX_SHIM_PLAN_MAX), second = BX_BUF_INIT(BX_SHIM_PLAN_MAX);
    struct bx_err err = BX_ERR_INIT;
    int r = bx_shim_plan_parse(text, size, &p, &err);

    if (r < 0) {
        bx_assert(r == -err.code && err.msg[0]);
        return;
    }
    check_plan(&p);
    bx_assert(bx_shim_plan_write(&p, &out, &err) == 0);
    bx_assert(bx_shim_plan_parse((const char *)bx_buf_data(&out), bx_buf_len(&out), &again, &err) == 0);
    bx_assert(bx_shim_plan_write(&again, &second, &err) == 0);
    bx_assert(bx_buf_len(&out) == bx_buf_len(&second) && memcmp(bx_buf_data(&out), bx_buf_data(&second), bx_buf_len(&out)) == 0);
}

static void answers(const char *text, size_t size)
{
    struct bx_err err = BX_ERR_INIT;
    uint64_t khz = 0;
    char line[512];

    bx_assert(bx_shim_error_parse(text, size, &err) < 0 && err.code > 0 && err.code < BX_ECODE_MAX);
    if (bx_shim_probe_parse(text, size, line, sizeof(line), &khz, &err) == 0)
        bx_assert(strlen(line) < sizeof(line));
}

static char box_dir[] = "/tmp/bx-fuzz-XXXXXX";

static void remove_box_dir(void)
{
    (void)bx_rm_rf(AT_FDCWD, box_dir);
}

/* One directory for the whole run. */
static int open_box_dir(void)
{
    static int dir = -1;

    if (dir < 0) {
        bx_assert(mkdtemp(box_dir) && atexit(remove_box_dir) == 0);
        dir = open(box_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        bx_assert(dir >= 0);
    }
    return dir;
}

static void exit_record(const void *data, size_t size)
{
    struct bx_exit_record rec;
    struct bx_err err = BX_ERR_INIT;
    int dir = open_box_dir();
    int fd = openat(dir, "exit.json", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    (void)bx_write_full(fd, data, size);
    close(fd);
    if (bx_exit_record_read(dir, &rec, &err) == 0)
        bx_assert(strlen(rec.message) < sizeof(rec.message) && rec.exit_code >= 0 && rec.exit_code <= 255);
    else
        bx_assert(err.msg[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    plan((const char *)data, size);
    answers((const char *)data, size);
    exit_record(data, size);
    return 0;
}
