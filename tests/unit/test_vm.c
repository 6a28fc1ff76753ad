/* SPDX-License-Identifier: Apache-2.0 */
/* Shapes, parts, keys, command lines of both engines, the engine's verdict. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "vm/probe.h"
#include "vm/qemu.h"
#include "vm/shape.h"
#include "vm/template.h"

static struct bx_vm_parts parts(void)
{
    struct bx_vm_parts p = { .qemu = "/usr/bin/qemu", .qemu_id = "1", .kernel = "/a/vmlinux", .initramfs = "/a/initramfs.cpio",
                             .hook = "/a/hook.so", .boot_id = "k i", .hook_hash = 7 };

    return p;
}

static struct bx_vm_shape shape(enum bx_engine e)
{
    return (struct bx_vm_shape){ .engine = e, .cpus = 2, .memory_mib = 512, .tsc_khz = e == BX_ENGINE_TCG ? 2900000 : 0 };
}

static void a_shape_is_rounded_up_and_checked(void **state)
{
    struct bx_vm_shape s = shape(BX_ENGINE_TCG);
    struct bx_err err = BX_ERR_INIT;

    (void)state;
    s.memory_mib = 513;
    assert_int_equal(bx_vm_shape_round(&s, &err), 0);
    assert_int_equal(s.memory_mib, 576);
    s.cpus = 0;
    assert_int_equal(bx_vm_shape_round(&s, &err), -BX_EINVALID);
    s.cpus = 33;
    assert_int_equal(bx_vm_shape_round(&s, &err), -BX_EINVALID);
    s = shape(BX_ENGINE_TCG);
    s.memory_mib = 127;
    assert_int_equal(bx_vm_shape_round(&s, &err), -BX_EINVALID);
    s = shape(BX_ENGINE_TCG);
    s.tsc_khz = 0;
    assert_int_equal(bx_vm_shape_round(&s, &err), -BX_EINVALID);
    s = shape(BX_ENGINE_KVM);
    s.tsc_khz = 5;
    assert_int_equal(bx_vm_shape_round(&s, &err), 0);
    assert_int_equal(s.tsc_khz, 0);
}

/* The argument after `option`, or the option's presence. */
static const char *value_of(char *const *argv, const char *option)
{
    for (size_t i = 0; argv[i]; i++) {
        if (bx_streq(argv[i], option))
            return argv[i + 1] ? argv[i + 1] : "";
    }
    return NULL;
}

static bool has(char *const *argv, const char *part)
{
    for (size_t i = 0; argv[i]; i++) {
        if (strstr(argv[i], part))
            return true;
    }
    return false;
}

static char **argv_of(enum bx_engine e, enum bx_qemu_mode mode, int base_fd)
{
    struct bx_vm_parts p = parts();
    struct bx_qemu_config c = {
        .mode = mode, .shape = shape(e), .parts = &p, .base_fd = base_fd, .layers = BX_JAIL_ALL
    };
    struct bx_err err = BX_ERR_INIT;
    char **v = NULL;

    assert_int_equal(bx_qemu_argv(&c, &v, &err), 0);
    return v;
}

static void a_tcg_machine_is_made_with_the_measured_options(void **state)
{
    bx_cleanup_strv char **v = argv_of(BX_ENGINE_TCG, BX_QEMU_MAKE, -1);

    (void)state;
    assert_string_equal(v[0], "/usr/bin/qemu");
    assert_string_equal(value_of(v, "-accel"), "tcg,tb-size=64");
    assert_string_equal(value_of(v, "-cpu"), "max,erms=off,fsrm=off,svm=off");
    assert_string_equal(value_of(v, "-kernel"), "/a/vmlinux");
    assert_non_null(strstr(value_of(v, "-append"), "tsc_early_khz=2900000 tsc=reliable"));
    assert_non_null(strstr(value_of(v, "-append"), "mitigations=off"));
    assert_true(has(v, "share=on"));
    assert_null(value_of(v, "-incoming"));
    assert_string_equal(value_of(v, "-sandbox"), "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
}

static void a_kvm_machine_keeps_its_mitigations(void **state)
{
    bx_cleanup_strv char **v = argv_of(BX_ENGINE_KVM, BX_QEMU_MAKE, -1);

    (void)state;
    assert_string_equal(value_of(v, "-accel"), "kvm");
    assert_string_equal(value_of(v, "-cpu"), "host,vmx=off,svm=off"); /* the guest has no nested virtualisation */
    assert_null(strstr(value_of(v, "-append"), "mitigations"));
    assert_null(strstr(value_of(v, "-append"), "tsc"));
    assert_false(has(v, "tcg"));
    assert_null(value_of(v, "-sandbox")); /* the KVM-only binary does not know it */
}

static void a_restored_machine_gets_descriptors_and_no_paths(void **state)
{
    bx_cleanup_strv char **v = argv_of(BX_ENGINE_TCG, BX_QEMU_RESTORE, 9);
    bx_cleanup_strv char **bare = argv_of(BX_ENGINE_TCG, BX_QEMU_RESTORE, -1);

    (void)state;
    assert_string_equal(value_of(v, "-incoming"), "fd:8");
    assert_null(value_of(v, "-kernel"));
    assert_true(has(v, "mem-path=/@ram/3,share=off"));
    assert_true(has(v, "backing=b0"));
    assert_false(has(bare, "backing="));
    for (size_t i = 1; v[i]; i++)
        assert_true(!strchr(v[i], '/') || strstr(v[i], "/@ram/3") || strstr(v[i], "/dev/fdset/"));
}

static void no_machine_has_a_device_that_reaches_the_template(void **state)
{
    (void)state;
    for (int e = BX_ENGINE_TCG; e <= BX_ENGINE_KVM; e++) {
        for (int mode = BX_QEMU_MAKE; mode <= BX_QEMU_RESTORE; mode++) {
            bx_cleanup_strv char **v = argv_of((enum bx_engine)e, (enum bx_qemu_mode)mode, -1);

            assert_false(has(v, "balloon") || has(v, "virtio-mem") || has(v, "-netdev") || has(v, "virtio-net"));
        }
    }
}

static void whatever_decides_the_memory_is_in_the_key(void **state)
{
    struct bx_vm_parts p = parts();
    struct bx_vm_shape s = shape(BX_ENGINE_TCG);
    struct bx_vm_key key[7] = { { 0 } };
    struct bx_err err = BX_ERR_INIT;

    (void)state;
    assert_int_equal(bx_vm_key_make(&s, &p, NULL, &key[0], &err), 0);
    assert_true(bx_starts_with(key[0].name, "tcg-c2-m512-"));
    assert_int_equal(strlen(key[0].name), strlen("tcg-c2-m512-") + 16);
    s.tsc_khz++;
    assert_int_equal(bx_vm_key_make(&s, &p, NULL, &key[1], &err), 0);
    s = shape(BX_ENGINE_TCG);
    s.cpus = 3;
    assert_int_equal(bx_vm_key_make(&s, &p, NULL, &key[2], &err), 0);
    s = shape(BX_ENGINE_KVM);
    assert_int_equal(bx_vm_key_make(&s, &p, NULL, &key[3], &err), 0);
    s = shape(BX_ENGINE_TCG);
    p.hook_hash++;
    assert_int_equal(bx_vm_key_make(&s, &p, NULL, &key[4], &err), 0);
    p = parts();
    p.boot_id[0] = 'x';
    assert_int_equal(bx_vm_key_make(&s, &p, NULL, &key[5], &err), 0);
    p = parts();
    p.qemu_id[0] = '2';
    assert_int_equal(bx_vm_key_make(&s, &p, NULL, &key[6], &err), 0);
    for (size_t i = 0; i < 7; i++) {
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(key[i].text, key[j].text);
            assert_string_not_equal(key[i].name, key[j].name);
        }
    }
    /* where the files lie does not */
    bx_vm_key_done(&key[1]);
    p = parts();
    p.kernel[1] = p.initramfs[1] = p.hook[1] = 'z';
    assert_int_equal(bx_vm_key_make(&s, &p, NULL, &key[1], &err), 0);
    assert_string_equal(key[0].text, key[1].text);
    for (size_t i = 0; i < 7; i++)
        bx_vm_key_done(&key[i]);
}

static void a_template_with_a_disk_mounted_is_another_for_every_disk(void **state)
{
    static const char *const roots[] = {NULL, "disk=a.ext4\ndisk-id=0000000000000001\n", "disk=a.ext4\ndisk-id=0000000000000002\n",
                                        "disk=b.ext4\ndisk-id=0000000000000001\n"};
    struct bx_vm_parts p = parts();
    struct bx_vm_shape s = shape(BX_ENGINE_TCG);
    struct bx_vm_key key[4] = { { 0 } };
    struct bx_err err = BX_ERR_INIT;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(bx_vm_key_make(&s, &p, roots[i], &key[i], &err), 0);
        assert_int_equal(bx_vm_key_has_root(&key[i]), roots[i] != NULL);
        assert_int_equal(bx_starts_with(key[i].name, "tcg-c2-m512-i"), roots[i] != NULL);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(key[i].name, key[j].name);
    }
    for (size_t i = 0; i < 4; i++)
        bx_vm_key_done(&key[i]);
}

static void a_missing_qemu_is_named_with_its_package(void **state)
{
    const char *path = getenv("PATH");
    bx_cleanup_free char *saved = bx_strf("%s", path ? path : "");
    struct bx_vm_parts p;
    struct bx_err err = BX_ERR_INIT;

    (void)state;
    setenv("BOXLITE_QEMU", "/no/such/qemu", 1);
    assert_int_equal(bx_vm_parts_find("/tmp", BX_ENGINE_TCG, &p, &err), -BX_EENGINE);
    assert_non_null(strstr(err.msg, "BOXLITE_QEMU=/no/such/qemu"));
    unsetenv("BOXLITE_QEMU");
    if (access("/usr/bin/qemu-system-x86_64", X_OK) == 0) {
        assert_int_equal(bx_vm_parts_find("/no/such/dir", BX_ENGINE_TCG, &p, &err), -BX_EENGINE);
        assert_non_null(strstr(err.msg, "/no/such/dir/vmlinux"));
    } else {
        assert_int_equal(bx_vm_parts_find("/tmp", BX_ENGINE_TCG, &p, &err), -BX_EENGINE);
        assert_non_null(strstr(err.msg, "qemu-system-x86"));
    }
    setenv("PATH", saved, 1);
}

static void the_verdict_is_firm_and_quick(void **state)
{
    struct bx_engine_verdict v;
    struct bx_engine_verdict back;
    struct bx_err err = BX_ERR_INIT;
    char line[512];

    (void)state;
    bx_probe_kvm(&v);
    assert_true(v.result < BX_PROBE_RESULTS);
    assert_true(v.reason[0] != '\0');
    assert_true(v.probe_us < 1000000);
    if (access("/dev/kvm", F_OK))
        assert_int_equal(v.result, BX_PROBE_NO_DEVICE);
    else if (access("/dev/kvm", R_OK | W_OK))
        assert_int_equal(v.result, BX_PROBE_NO_PERMISSION);
    print_message("# kvm: %s, %s, %u us\n", bx_probe_result_name(v.result), v.reason, v.probe_us);
    assert_int_equal(bx_probe_format(&v, line, sizeof(line)), 0);
    assert_int_equal(bx_probe_parse(line, &back, &err), 0);
    assert_int_equal(back.result, v.result);
    assert_string_equal(back.reason, v.reason);
    assert_string_equal(back.remedy, v.remedy);
    assert_int_equal(back.probe_us, v.probe_us);
}

static void a_line_that_is_no_verdict_is_refused(void **state)
{
    static const char *const bad[] = { "", "x", "0 1\ta\tb\n", "9 1 5\ta\tb\n", "0 2 5\ta\tb\n", "0 1 5\ta\n", "0 1 5\ta\tb\nmore" };
    struct bx_engine_verdict v;
    struct bx_err err = BX_ERR_INIT;

    (void)state;
    for (size_t i = 0; i < BX_ARRAY_SIZE(bad); i++)
        assert_int_equal(bx_probe_parse(bad[i], &v, &err), -BX_ERPC);
}

static void the_tsc_is_measured_alike_twice(void **state)
{
    uint64_t a = bx_probe_tsc_khz();
    uint64_t b = bx_probe_tsc_khz();

    (void)state;
    assert_true(a > 100000 && a < 20000000);
    assert_true((a > b ? a - b : b - a) * 1000 < a);
}

static void a_template_that_is_not_whole_is_not_opened(void **state)
{
    char dir[] = "/tmp/bxtpl-XXXXXX";
    struct bx_vm_key key = { .text = (char *)"k\n", .name = "t" };
    struct bx_vm_shape s = shape(BX_ENGINE_TCG);
    struct bx_template t = BX_TEMPLATE_INIT;
    struct bx_err err = BX_ERR_INIT;
    int fd;
    int mem;
    int lock;

    (void)state;
    assert_non_null(mkdtemp(dir));
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(bx_template_open(fd, &key, &s, &t, &err), -BX_ENOTFOUND);
    assert_int_equal(mkdirat(fd, "t", 0700), 0);
    assert_int_equal(bx_template_open(fd, &key, &s, &t, &err), -BX_ENOTFOUND); /* no key */
    assert_int_equal(bx_write_file_atomic(fd, "t/key", "k\n", 2, 0444), 0);
    assert_int_equal(bx_template_open(fd, &key, &s, &t, &err), -BX_ENOTFOUND); /* no memory */
    mem = openat(fd, "t/mem", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(mem, 512 << 20), 0);
    assert_int_equal(bx_write_file_atomic(fd, "t/state", "s", 1, 0444), 0);
    assert_int_equal(bx_write_file_atomic(fd, "t/files", "/usr\n", 5, 0444), 0);
    assert_int_equal(bx_template_open(fd, &key, &s, &t, &err), -BX_ENOTFOUND); /* memory is writable */
    assert_int_equal(fchmod(mem, 0444), 0);
    assert_int_equal(bx_template_open(fd, &key, &s, &t, &err), 0);
    assert_int_equal(fcntl(t.mem_fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_string_equal(t.files[0], "/usr");
    bx_template_done(&t);
    assert_int_equal(ftruncate(mem, 511 << 20), 0);
    assert_int_equal(bx_template_open(fd, &key, &s, &t, &err), -BX_ENOTFOUND); /* too short */
    assert_int_equal(bx_template_remove(fd, "t", &err), 0);
    assert_int_equal(bx_template_remove(fd, "t", &err), 0); /* already gone */
    assert_int_equal(bx_template_open(fd, &key, &s, &t, &err), -BX_ENOTFOUND);
    lock = bx_template_lock(fd, "t", true, &err);
    assert_true(lock >= 0);
    close(lock);
    close(mem);
    close(fd);
    assert_int_equal(bx_rm_rf(AT_FDCWD, dir), 0);
}

/* What killed makers left goes; what a living one is at work on stays. */
static void leftovers_of_makers_are_swept(void **state)
{
    char dir[] = "/tmp/bx-vm-XXXXXX";
    struct bx_err err = BX_ERR_INIT;
    int fd;
    int lock;

    (void)state;
    assert_non_null(mkdtemp(dir));
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (const char *const *name = (const char *const[]){ ".dead.new", ".alive.new", ".gone.abc.old", "whole", ".x", NULL }; *name;
         name++)
        assert_int_equal(mkdirat(fd, *name, 0700), 0);
    assert_int_equal(bx_write_file_atomic(fd, ".dead.new/mem", "m", 1, 0600), 0);
    lock = bx_template_lock(fd, "alive", true, &err);
    assert_true(lock >= 0);
    bx_template_sweep(fd);
    assert_int_not_equal(faccessat(fd, ".dead.new", F_OK, 0), 0);
    assert_int_not_equal(faccessat(fd, ".gone.abc.old", F_OK, 0), 0);
    assert_int_equal(faccessat(fd, ".alive.new", F_OK, 0), 0);
    assert_int_equal(faccessat(fd, "whole", F_OK, 0), 0);
    assert_int_equal(faccessat(fd, ".x", F_OK, 0), 0);
    close(lock);
    close(fd);
    assert_int_equal(bx_rm_rf(AT_FDCWD, dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shape_is_rounded_up_and_checked),
        cmocka_unit_test(a_tcg_machine_is_made_with_the_measured_options),
        cmocka_unit_test(a_kvm_machine_keeps_its_mitigations),
        cmocka_unit_test(a_restored_machine_gets_descriptors_and_no_paths),
        cmocka_unit_test(no_machine_has_a_device_that_reaches_the_template),
        cmocka_unit_test(whatever_decides_the_memory_is_in_the_key),
        cmocka_unit_test(a_template_with_a_disk_mounted_is_another_for_every_disk),
        cmocka_unit_test(a_missing_qemu_is_named_with_its_package),
        cmocka_unit_test(the_verdict_is_firm_and_quick),
        cmocka_unit_test(a_line_that_is_no_verdict_is_refused),
        cmocka_unit_test(the_tsc_is_measured_alike_twice),
        cmocka_unit_test(a_template_that_is_not_whole_is_not_opened),
        cmocka_unit_test(leftovers_of_makers_are_swept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
