/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_qemu_jail.c - what a captured QEMU could do: the probe runs in QEMU's place, started by the same code with the same plan,
 * and every attempt must be refused.
 *
 * The program that QEMU's configuration names is the probe under the name of the attempt; template memory, state and disk are files
 * of the kinds QEMU gets. Before and (for all attempts again) after the second system call filter.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "vm/qemu.h"

static const char *const refused[] = {
    "open_passwd", "open_proc", "open_sys", "open_dev", "open_dotdot", "create_file", "write_self", "unlink_self", "make_dir",
    "mem_write", "disk_grow", "mem_truncate", "mem_punch", "mem_map_shared", "mem_chmod", "mem_remap_writable", "sock_inet", "sock_unix",
    "sock_netlink", "sock_pair", "sock_connect", "sock_accept", "exec_shell", "exec_memfd", "fork_child", "vfork_child",
    "clone_userns", "clone3_child", "ptrace_me", "ptrace_init", "kill_init", "kill_all", "pidfd_init", "peek_init", "limit_init",
    "mount_tmpfs", "umount_root", "new_mount_api", "unshare_user", "unshare_fs", "set_ns", "do_chroot", "set_uid_0", "set_host_name", "do_bpf",
    "do_perf", "do_keyctl", "do_userfaultfd", "do_io_uring", "do_module", "do_reboot", "do_personality", "do_open_by_handle",
    "shm_get", "is_root", "has_caps",
};
/* Needed to start, forbidden once it runs. */
static const char *const refused_locked[] = { "read_self", "exec_self", "do_prctl" };

static struct {
    struct bx_loop *loop;
    char dir[64];
    char *probe;
    struct bx_vm_parts parts;
    int mem_fd;
    int other_fd;
    bool exited;
    int status;
    char out[4096];
    size_t out_len;
    unsigned applied;   /* layers of the jail */
    bool root_replaced; /* the jail has a root of its own (not so where namespaces are refused) */
} t;

static int failures;

static void on_exit_status(void *ud, int status)
{
    (void)ud;
    t.exited = true;
    t.status = status;
}

static const struct bx_qemu_events events = { .on_exit = on_exit_status };

/* The probe under the attempt's name. */
static void place_probe(const char *attempt)
{
    (void)snprintf(t.parts.qemu, sizeof(t.parts.qemu), "%s/probe-%s", t.dir, attempt);
    (void)unlink(t.parts.qemu);
    if (link(t.probe, t.parts.qemu)) {
        bx_cleanup_free char *data = NULL;
        size_t len;
        int fd = open(t.parts.qemu, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);

        if (fd < 0 || bx_read_file(AT_FDCWD, t.probe, 64 << 20, &data, &len) || bx_write_full(fd, data, len)) {
            perror(t.parts.qemu);
            exit(1);
        }
        bx_close(fd);
    }
}

static int run(const char *attempt)
{
    char *files[] = { t.parts.qemu, NULL };
    struct bx_qemu_config cfg = {
        .mode = BX_QEMU_RESTORE,
        .shape = { .engine = BX_ENGINE_TCG, .cpus = 1, .memory_mib = 128, .tsc_khz = 1000000 },
        .parts = &t.parts,
        .name = "jailtest",
        .mem_fd = t.mem_fd,
        .state_fd = t.other_fd,
        .disk_fd = t.other_fd,
        .disk_max = 1 << 20,
        .base_fd = -1,
        .log_fd = -1,
        .files = files,
        .uid = 65534,
        .gid = 65534,
        .layers = BX_JAIL_ALL,
        .required_layers = BX_JAIL_FLOOR,
        .events = &events,
    };
    struct bx_err err = BX_ERR_INIT;
    int64_t deadline = bx_now() + 20 * BX_SEC;
    struct bx_qemu *q;

    place_probe(attempt);
    t.exited = false;
    q = bx_qemu_start(t.loop, &cfg, &err);
    if (!q) {
        fprintf(stderr, "%s: %s\n", attempt, err.msg);
        exit(1);
    }
    t.applied = bx_qemu_report(q)->applied;
    t.root_replaced = bx_qemu_report(q)->applied & BX_JAIL_ROOT;
    while (!t.exited && bx_now() < deadline)
        (void)bx_loop_dispatch(t.loop, 1000);
    bx_qemu_console_tail(q, t.out, sizeof(t.out));
    (void)bx_qemu_free(q);
    (void)unlink(t.parts.qemu);
    return t.exited ? t.status : -1;
}

static void expect_refused(const char *attempt)
{
    int status = run(attempt);

    /* uid 0 that can become nobody else: an ordinary user outside of the user namespace it plays root in */
    if (status == 0 && strncmp(attempt, "is_root", 7) == 0 && geteuid() == 0 &&
        !(t.applied & (BX_JAIL_UID | BX_JAIL_USER_NS)) && (t.applied & BX_JAIL_CAPS))
        return;
    if (status == 1 || status == 128 + 31 /* SIGSYS */)
        return;
    printf("not ok %s: status %d: %s\n", attempt, status, t.out);
    failures++;
}

static void expect_output(const char *attempt, const char *want)
{
    (void)run(attempt);
    if (strncmp(t.out, want, strlen(want)) == 0)
        return;
    printf("not ok %s: expected %s, got %s\n", attempt, want, t.out);
    failures++;
}

static void set_up(const char *probe)
{
    const char *tmp = getenv("TMPDIR");
    char path[256];

    t.probe = realpath(probe, NULL);
    if (!t.probe) {
        perror(probe);
        exit(1);
    }
    t.loop = bx_loop_new();
    (void)snprintf(t.dir, sizeof(t.dir), "%s/bxjail-XXXXXX", tmp && *tmp && strlen(tmp) < 30 ? tmp : "/tmp");
    if (!t.loop || !mkdtemp(t.dir) || chmod(t.dir, 0755)) {
        perror(t.dir);
        exit(1);
    }
    (void)snprintf(path, sizeof(path), "%s/mem", t.dir);
    t.other_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (t.other_fd < 0 || ftruncate(t.other_fd, 1 << 20) || fchmod(t.other_fd, 0444)) {
        perror(path);
        exit(1);
    }
    t.mem_fd = open(path, O_RDONLY | O_CLOEXEC);
    (void)snprintf(t.parts.hook, sizeof(t.parts.hook), "%s", t.probe); /* any file: the probe is static */
}

int main(int argc, char **argv)
{
    char name[64];

    if (argc != 2) {
        fprintf(stderr, "usage: test_qemu_jail PROBE\n");
        return 2;
    }
    set_up(argv[1]);
    if (run("succeed") != 0) { /* else nothing below would mean anything */
        printf("not ok: the probe does not run: %d %s\n", t.status, t.out);
        failures++;
    }
    for (size_t i = 0; i < BX_ARRAY_SIZE(refused); i++) {
        expect_refused(refused[i]);
        (void)snprintf(name, sizeof(name), "%s+locked", refused[i]);
        expect_refused(name);
    }
    for (size_t i = 0; i < BX_ARRAY_SIZE(refused_locked); i++) {
        (void)snprintf(name, sizeof(name), "%s+locked", refused_locked[i]);
        expect_refused(name);
    }
    expect_output("list_fds", "fds: 0 1 2 3 4 5 6 7 8 9\n");
    if (t.root_replaced) { /* two directories: that of the probe, that of the "hook" */
        char want[128];
        const char *second = strchr(t.probe + 1, '/');
        int first_len = (int)strcspn(t.dir + 1, "/");
        int second_len = second ? (int)(second - t.probe) - 1 : 0;

        if (strncmp(t.dir + 1, t.probe + 1, (size_t)BX_MAX(first_len, second_len)) == 0) {
            (void)snprintf(want, sizeof(want), "root: %.*s\n", first_len, t.dir + 1);
            expect_output("list_root", want);
        }
    }
    bx_close(t.mem_fd);
    bx_close(t.other_fd);
    (void)bx_loop_free(t.loop);
    (void)bx_rm_rf(AT_FDCWD, t.dir);
    free(t.probe);
    printf("%s: %zu attempts before and after the lock, %d succeeded\n", failures ? "FAILED" : "ok",
           BX_ARRAY_SIZE(refused), failures);
    return failures != 0;
}
