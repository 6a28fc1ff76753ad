/* SPDX-License-Identifier: Apache-2.0 */
/* What the library writes into a plan is what the shim reads; anything else is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "host/shim_plan.h"

#define S(text) ((char *)(uintptr_t)(text))

static char *env[] = {S("PATH=/bin"), S("EURO=\xe2\x82\xac \"quoted\"\n"), S("EMPTY="), NULL};

static struct bx_shim_plan box_plan(void)
{
    return (struct bx_shim_plan){
        .kind = BX_SHIM_BOX,
        .fd = 7,
        .engine = S("tcg"),
        .cpus = 2,
        .memory_mib = 512,
        .tsc_khz = 2400000,
        .qemu = S("/usr/bin/qemu-system-x86_64"),
        .qemu_id = S("1 2 3"),
        .kernel = S("/l/vmlinux"),
        .initramfs = S("/l/initramfs.cpio"),
        .hook = S("/l/libbxramhook.so"),
        .boot_id = S("aa bb"),
        .hook_hash = 0xfedcba9876543210u,
        .templates_dir = S("/h/templates"),
        .template_name = S("tcg-c2-m512-0123"),
        .template_key = S("a 1\nb 2\n"),
        .uid = -1,
        .gid = -1,
        .jail_layers = 0x1f00,
        .jail_required = 0x700,
        .jail_any = 0x1004,
        .timeout_ms = 30000,
        .templates_bytes = 2ull << 30,
        .templates_idle_s = 36500u * 86400,
        .box_id = S("AbCdEf012345"),
        .box_dir = S("/h/boxes/AbCdEf012345"),
        .detached = true,
        .base_disk = S("/h/disks/x.ext4"),
        .disk_size = 10ull << 30,
        .grow = true,
        .hostname = S("box"),
        .box_name = S("web"),
        .image = S("alpine:latest"),
        .events_dir = S("/h/events"),
        .health_cmd = env,
        .health_interval_ms = 30000,
        .health_timeout_ms = 1000,
        .health_retries = 3,
        .working_dir = S("/root"),
        .user = NULL,
        .env = env,
        .capabilities = 0xa80425fb,
        .limits = {1024, 0, 1ull << 40, 5, 4096},
        .readonly_proc = true,
        .syscall_filter = true,
    };
}

static void a_plan_survives_writing_and_reading(void **state)
{
    struct bx_shim_plan p = box_plan();
    bx_cleanup_shim_plan struct bx_shim_plan q = BX_SHIM_PLAN_INIT;
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(BX_SHIM_PLAN_MAX);
    bx_cleanup_buf struct bx_buf again = BX_BUF_INIT(BX_SHIM_PLAN_MAX);
    struct bx_err err = BX_ERR_INIT;

    if (bx_shim_plan_write(&p, &out, &err) < 0 ||
        bx_shim_plan_parse((const char *)bx_buf_data(&out), bx_buf_len(&out), &q, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(q.kind, BX_SHIM_BOX);
    assert_int_equal(q.fd, 7);
    assert_true(q.hook_hash == 0xfedcba9876543210u);
    assert_string_equal(q.template_key, "a 1\nb 2\n");
    assert_string_equal(q.env[1], env[1]);
    assert_null(q.env[3]);
    assert_null(q.user);
    assert_true(q.detached && q.grow && q.readonly_proc && q.syscall_filter);
    assert_true(q.limits.as == 1ull << 40 && q.limits.pids == 4096 && q.disk_size == 10ull << 30);
    /* and so does every field: the text is the same */
    assert_int_equal(bx_shim_plan_write(&q, &again, &err), 0);
    assert_int_equal(bx_buf_len(&again), bx_buf_len(&out));
    assert_memory_equal(bx_buf_data(&again), bx_buf_data(&out), bx_buf_len(&out));
}

static void the_other_kinds_carry_only_their_fields(void **state)
{
    struct bx_shim_plan p = box_plan(), probe = BX_SHIM_PLAN_INIT;
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(65536);
    bx_cleanup_shim_plan struct bx_shim_plan q = BX_SHIM_PLAN_INIT;

    p.kind = BX_SHIM_TEMPLATE;
    assert_int_equal(bx_shim_plan_write(&p, &out, NULL), 0);
    assert_null(strstr(bx_buf_str(&out), "hostname"));
    assert_int_equal(bx_shim_plan_parse(bx_buf_str(&out), bx_buf_len(&out), &q, NULL), 0);
    assert_null(q.box_id);
    assert_true(q.templates_bytes == 2ull << 30 && q.templates_idle_s == 36500u * 86400);
    bx_buf_clear(&out);
    probe.kind = BX_SHIM_PROBE;
    probe.fd = 3;
    assert_int_equal(bx_shim_plan_write(&probe, &out, NULL), 0);
    assert_string_equal(bx_buf_str(&out), "{\"version\":1,\"kind\":\"probe\",\"fd\":3}");
}

static void a_check_names_all_of_a_disk_or_nothing(void **state)
{
    struct bx_shim_plan p = BX_SHIM_PLAN_INIT;
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(65536);
    bx_cleanup_shim_plan struct bx_shim_plan q = BX_SHIM_PLAN_INIT;
    struct bx_err err = BX_ERR_INIT;

    p.kind = BX_SHIM_CHECK;
    p.fd = 4;
    assert_int_equal(bx_shim_plan_write(&p, &out, NULL), 0);
    assert_string_equal(bx_buf_str(&out), "{\"version\":1,\"kind\":\"check\",\"fd\":4}");
    p.check_disk = S("/home/disk.qcow2");
    p.base_disk = S("/home/base.ext4");
    bx_buf_clear(&out);
    assert_int_equal(bx_shim_plan_write(&p, &out, &err), -BX_EINVALID);
    assert_non_null(strstr(err.msg, "come together"));
    p.check_scratch = S("/home/tmp/scratch");
    bx_buf_clear(&out);
    assert_int_equal(bx_shim_plan_write(&p, &out, &err), 0);
    assert_int_equal(bx_shim_plan_parse(bx_buf_str(&out), bx_buf_len(&out), &q, NULL), 0);
    assert_string_equal(q.check_scratch, "/home/tmp/scratch");
}

static void a_checks_answer_comes_back(void **state)
{
    char jail[64], output[64], text[512];
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    int p[2], status = 0;
    ssize_t n;

    assert_int_equal(pipe(p), 0);
    assert_int_equal(bx_shim_check_write(p[1], "pid_ns root", 4, "damaged"), 0);
    n = read(p[0], text, sizeof(text));
    assert_int_equal(bx_shim_check_parse(text, (size_t)n, jail, sizeof(jail), &status, output, sizeof(output), &err), 0);
    assert_string_equal(jail, "pid_ns root");
    assert_string_equal(output, "damaged");
    assert_int_equal(status, 4);
    assert_true(bx_shim_check_parse(text, (size_t)n, jail, 5, &status, output, sizeof(output), &err) < 0); /* too long */
    bx_fail(&why, BX_ESTORAGE, 0, "no room");
    assert_int_equal(bx_shim_error_write(p[1], &why), 0);
    n = read(p[0], text, sizeof(text));
    assert_int_equal(bx_shim_check_parse(text, (size_t)n, jail, sizeof(jail), &status, output, sizeof(output), &err), -BX_ESTORAGE);
    assert_string_equal(err.msg, "no room");
    assert_true(bx_shim_check_parse("", 0, jail, sizeof(jail), &status, output, sizeof(output), &err) < 0);
    close(p[0]);
    close(p[1]);
}

static void refuse_plan(const char *text, const char *needle)
{
    struct bx_shim_plan q = BX_SHIM_PLAN_INIT;
    struct bx_err err = BX_ERR_INIT;

    assert_true(bx_shim_plan_parse(text, strlen(text), &q, &err) < 0);
    if (!strstr(err.msg, needle))
        fail_msg("no '%s' in '%s'", needle, err.msg);
}

static void wrong_plans_are_refused_by_name(void **state)
{
    struct bx_shim_plan p;
    struct bx_err err = BX_ERR_INIT;
    bx_cleanup_buf struct bx_buf out = BX_BUF_INIT(65536);

    refuse_plan("{\"version\":1,\"kind\":\"probe\"}", "fd is missing");
    refuse_plan("{\"version\":1,\"kind\":\"probe\",\"fd\":3,\"extra\":1}", "extra is not known");
    refuse_plan("{\"version\":1,\"kind\":\"other\",\"fd\":3}", "kind");
    refuse_plan("{\"version\":2,\"kind\":\"probe\",\"fd\":3}", "version 2");
    refuse_plan("{\"version\":1,\"kind\":\"box\",\"fd\":3}", "engine is missing");
#define REFUSED(change, needle)                                                                              \
    do {                                                                                                     \
        p = box_plan();                                                                                      \
        change;                                                                                              \
        bx_buf_clear(&out);                                                                                  \
        assert_true(bx_shim_plan_write(&p, &out, &err) < 0);                                                 \
        assert_non_null(strstr(err.msg, needle));                                                            \
    } while (0)
    REFUSED(p.cpus = 0, "cpus");
    REFUSED(p.health_retries = 0, "retries");
    REFUSED(p.events_dir = S("relative"), "relative");
    REFUSED(p.memory_mib = 1, "memory_mib");
    REFUSED(p.box_dir = S("relative"), "relative");
    REFUSED(p.template_name = S("../up"), "template_name");
    REFUSED(p.hostname = NULL, "hostname");
    REFUSED(p.working_dir = S("/\xff"), "UTF-8");
    REFUSED(p.env = ((char *[]){S("NOVALUE"), NULL}), "env");
    REFUSED((p.kind = BX_SHIM_TEMPLATE, p.templates_bytes = 0), "templates_bytes");
}

static void an_error_comes_back_as_it_was(void **state)
{
    struct bx_err why = BX_ERR_INIT, got = BX_ERR_INIT;
    bx_cleanup_free char *text = NULL;
    size_t len;
    int p[2];

    bx_fail(&why, BX_EENGINE, 2, "no \"QEMU\"\n");
    assert_int_equal(pipe(p), 0);
    assert_int_equal(bx_shim_error_write(p[1], &why), 0);
    close(p[1]);
    assert_int_equal(bx_read_fd(p[0], 65536, &text, &len), 0);
    close(p[0]);
    assert_int_equal(bx_shim_error_parse(text, len, &got), -BX_EENGINE);
    assert_int_equal(got.sys_errno, 2);
    assert_non_null(strstr(got.msg, "no \"QEMU\""));
    assert_int_equal(bx_shim_error_parse("", 0, &got), -BX_ERPC);
    assert_int_equal(bx_shim_error_parse("{\"code\":99}", 11, &got), -BX_ERPC);
}

static void the_exit_record_comes_back_as_it_was(void **state)
{
    char dir[] = "/tmp/bxt-exit-XXXXXX";
    struct bx_exit_record r = {.failed = true,
                               .has_exit_code = true,
                               .exit_code = 137,
                               .oom = true,
                               .code = BX_EENGINE,
                               .time_ns = 1234567890123456789,
                               .message = "the machine\nended"},
                          q = {0};
    struct bx_err err = BX_ERR_INIT;
    int fd;

    assert_non_null(mkdtemp(dir));
    fd = open(dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(bx_exit_record_read(fd, &q, &err), -BX_ENOTFOUND);
    assert_int_equal(bx_exit_record_write(fd, &r, &err), 0);
    assert_int_equal(bx_exit_record_read(fd, &q, &err), 0);
    assert_true(q.failed && q.has_exit_code && q.oom && q.exit_code == 137 && q.code == BX_EENGINE);
    assert_true(q.time_ns == r.time_ns);
    assert_non_null(strstr(q.message, "the machine"));
    close(fd);
    assert_int_equal(bx_rm_rf(AT_FDCWD, dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_survives_writing_and_reading),
        cmocka_unit_test(the_other_kinds_carry_only_their_fields),
        cmocka_unit_test(a_check_names_all_of_a_disk_or_nothing),
        cmocka_unit_test(a_checks_answer_comes_back),
        cmocka_unit_test(wrong_plans_are_refused_by_name),
        cmocka_unit_test(an_error_comes_back_as_it_was),
        cmocka_unit_test(the_exit_record_comes_back_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
