/* SPDX-License-Identifier: Apache-2.0 */
/* The overlay header written by hand is what qemu-img and QEMU's block layer take for a qcow2 image. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/fd.h"
#include "disk/qcow2.h"
#include "../lib/tool.h"

static void created_images_pass_qemu_img_check(void **state)
{
    (void)state;
    static const uint64_t sizes[] = { 0, 1, 512, 64ULL << 20, 20ULL << 30, 2ULL << 40 };
    for (size_t i = 0; i < BX_ARRAY_SIZE(sizes); i++) {
        char path[128], out[4096];
        struct bx_err err = BX_ERR_INIT;
        int fd = bx_test_file(path, sizeof(path));
        assert_true(fd >= 0);
        assert_int_equal(bx_qcow2_create(fd, sizes[i], &err), 0);
        uint64_t size = 99;
        assert_int_equal(bx_qcow2_size(fd, &size, &err), 0);
        assert_int_equal(size, (sizes[i] + 511) / 512 * 512);
        const char *const check[] = { "qemu-img", "check", "-f", "qcow2", path, NULL };
        int code = bx_tool(out, sizeof(out), check);
        if (code != 0)
            fail_msg("size %llu: %s", (unsigned long long)sizes[i], out);
        assert_non_null(strstr(out, "No errors were found"));
        close(fd);
        unlink(path);
    }
}

/* The way a box's disk is attached: the base is a node of its own, not named in the overlay. */
static void overlay_reads_its_base_and_keeps_writes(void **state)
{
    (void)state;
    char base[128], over[128], out[8192], spec[1024];
    struct bx_err err = BX_ERR_INIT;
    int base_fd = bx_test_file(base, sizeof(base)), fd = bx_test_file(over, sizeof(over));
    static uint8_t pattern[4096];
    memset(pattern, 0x5a, sizeof(pattern));
    assert_int_equal(ftruncate(base_fd, 1 << 20), 0);
    assert_int_equal(bx_pwrite_full(base_fd, pattern, sizeof(pattern), 8192), 0);
    assert_int_equal(bx_qcow2_create(fd, 64 << 20, &err), 0);
    snprintf(spec, sizeof(spec),
             "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"%s\"},"
             "\"backing\":{\"driver\":\"raw\",\"read-only\":true,\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}}}",
             over, base);
    const char *const io[] = { "qemu-io",
                               "-c", "read -P 0x5a 8192 4096",
                               "-c", "write -P 0x77 12288 65536",
                               "-c", "read -P 0x77 12288 65536",
                               "-c", "write -P 0x11 50M 4096",
                               "-c", "read -P 0 40M 4096",
                               spec, NULL };
    int code = bx_tool(out, sizeof(out), io);
    if (code != 0 || strstr(out, "Pattern verification failed"))
        fail_msg("%s", out);
    const char *const check[] = { "qemu-img", "check", "-f", "qcow2", over, NULL };
    code = bx_tool(out, sizeof(out), check);
    if (code != 0)
        fail_msg("%s", out);
    uint8_t back[4096];
    assert_int_equal(bx_pread_full(base_fd, back, sizeof(back), 8192), 0);
    assert_memory_equal(back, pattern, sizeof(back));
    close(fd);
    close(base_fd);
    unlink(over);
    unlink(base);
}

static void other_files_are_refused(void **state)
{
    (void)state;
    char path[128];
    struct bx_err err = BX_ERR_INIT;
    uint64_t size;
    int fd = bx_test_file(path, sizeof(path));
    assert_int_equal(bx_qcow2_size(fd, &size, &err), -BX_ESTORAGE);
    assert_int_equal(ftruncate(fd, 65536), 0);
    assert_int_equal(bx_qcow2_size(fd, &size, &err), -BX_ESTORAGE);
    assert_string_equal(err.msg, "not a qcow2 image");
    assert_int_equal(bx_qcow2_create(fd, ~0ULL, &err), -BX_EINVALID);
    close(fd);
    unlink(path);
}

/* What a QEMU that was taken over may leave behind for its next start. */
static void a_header_that_asks_for_more_than_ours_is_refused(void **state)
{
    (void)state;
    static const struct {
        off_t at;
        const char *what;
    } bad[] = { { 15, "a backing file" }, { 8, "a backing file" }, { 35, "encryption" }, { 79, "a feature" }, { 72, "a feature" } };
    char path[128];
    uint64_t size;
    int fd = bx_test_file(path, sizeof(path));
    for (size_t i = 0; i < BX_ARRAY_SIZE(bad); i++) {
        struct bx_err err = BX_ERR_INIT;
        assert_int_equal(bx_qcow2_create(fd, 1 << 20, &err), 0);
        assert_int_equal(bx_pwrite_full(fd, "\4", 1, bad[i].at), 0);
        assert_int_equal(bx_qcow2_size(fd, &size, &err), -BX_ESTORAGE);
        if (!strstr(err.msg, bad[i].what))
            fail_msg("%s, not %s", err.msg, bad[i].what);
    }
    struct bx_err err = BX_ERR_INIT;
    assert_int_equal(bx_qcow2_create(fd, 1 << 20, &err), 0);
    assert_int_equal(bx_pwrite_full(fd, "\3", 1, 79), 0); /* dirty and corrupt: what QEMU notes by itself */
    assert_int_equal(bx_qcow2_size(fd, &size, &err), 0);
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(created_images_pass_qemu_img_check),
        cmocka_unit_test(overlay_reads_its_base_and_keeps_writes),
        cmocka_unit_test(other_files_are_refused),
        cmocka_unit_test(a_header_that_asks_for_more_than_ours_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
