/* SPDX-License-Identifier: Apache-2.0 */
/* Jail plans and their interpreter: checks, status, descriptors, errors of the child, death with the caller. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "jail/apply.h"
#include "../lib/must_run.h"

static char *const sh_env[] = { (char *)"PATH=/usr/bin:/bin", NULL };

static const struct bx_jail_mount host_root[] = {
    { .kind = BX_JAIL_BIND, .source = "/usr", .exec = true },
    { .kind = BX_JAIL_BIND, .source = "/usr/bin", .target = "/bin", .exec = true },
    { .kind = BX_JAIL_BIND, .source = "/usr/lib", .target = "/lib", .exec = true },
    { .kind = BX_JAIL_BIND, .source = "/lib64", .exec = true },
    { .kind = BX_JAIL_TMPFS, .target = "/tmp", .size = 65536 },
    { .kind = BX_JAIL_PROC, .target = "/proc" },
};

static struct bx_jail_plan shell_plan(char *const *argv)
{
    struct bx_jail_plan p = {
        .name = "test",
        .layers = (BX_JAIL_ALL & ~(unsigned)(BX_JAIL_SECCOMP | BX_JAIL_CGROUP)),
        .mounts = host_root,
        .n_mounts = BX_ARRAY_SIZE(host_root),
        .init = true,
        .path = "/bin/sh",
        .argv = argv,
        .envp = sh_env,
    };

    bx_jail_plan_identity(&p, 65534, 65534);
    return p;
}

/* Runs a script in a full jail; its output in out. The exit status. */
static int run_script(struct bx_jail_plan *plan, const char *script, char *out, size_t size)
{
    char *argv[] = { (char *)"/bin/sh", (char *)"-c", (char *)script, NULL };
    struct bx_jail_fd pass = { .dst = 1 };
    struct bx_jail_child c = BX_JAIL_CHILD_INIT;
    struct bx_err err = BX_ERR_INIT;
    bx_cleanup_free char *text = NULL;
    int ends[2];
    int status;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pass.src = ends[1];
    plan->argv = argv;
    plan->fds = &pass;
    plan->n_fds = 1;
    if (bx_jail_spawn(plan, &c, &err))
        fail_msg("%s", err.msg);
    close(ends[1]);
    assert_int_equal(bx_read_fd(ends[0], size - 1, &text, NULL), 0);
    close(ends[0]);
    (void)snprintf(out, size, "%s", text);
    status = bx_jail_child_wait(&c);
    bx_close(c.pidfd);
    bx_close(c.liveness);
    return status;
}

static void exit_code_and_signal_are_passed_on(void **state)
{
    struct bx_jail_plan p = shell_plan(NULL);
    char out[256];

    (void)state;
    assert_int_equal(run_script(&p, "exit 42", out, sizeof(out)), 42);
    assert_int_equal(run_script(&p, "kill -9 $$", out, sizeof(out)), 128 + 9);
    assert_int_equal(run_script(&p, "true", out, sizeof(out)), 0);
}

static void the_root_has_only_what_the_plan_names(void **state)
{
    struct bx_jail_plan p = shell_plan(NULL);
    char out[1024];

    (void)state;
    p.required = BX_JAIL_ROOT | BX_JAIL_PID_NS;
    assert_int_equal(run_script(&p, "cd /; echo *; id -u; touch /x; echo $?; touch /usr/x; echo $?; "
                                    "echo hi > /tmp/x && cat /tmp/x; set -- /proc/[0-9]*; echo $#; uname -n; " /* the supervisor and the shell */
                                    "grep -E 'CapEff|NoNewPrivs' /proc/self/status | tr -d '\\t\\n'",
                                out, sizeof(out)),
                     0);
    assert_string_equal(out, "bin lib lib64 proc tmp usr\n65534\n1\n1\nhi\n2\njail\nCapEff:0000000000000000NoNewPrivs:1");
}

static void no_descriptor_leaks(void **state)
{
    struct bx_jail_plan p = shell_plan(NULL);
    int leak = open("/dev/null", O_RDONLY); /* without O_CLOEXEC, as a careless embedder may have it */
    char out[256];

    (void)state;
    assert_true(leak >= 0);
    assert_int_equal(run_script(&p, "ls -C /proc/self/fd | tr -s ' \\n' ' '", out, sizeof(out)), 0);
    close(leak);
    assert_string_equal(out, "0 1 2 3 "); /* 3 is the directory itself */
}

static void limits_hold(void **state)
{
    static const struct bx_jail_rlimit limits[] = { { RLIMIT_NOFILE, 17 }, { RLIMIT_FSIZE, 4096 } };
    struct bx_jail_plan p = shell_plan(NULL);
    char out[256];

    (void)state;
    p.rlimits = limits;
    p.n_rlimits = 2;
    assert_int_equal(run_script(&p, "ulimit -n; ulimit -c; (printf '%05000d' 0 > /tmp/x); wc -c < /tmp/x", out,
                                sizeof(out)),
                     0);
    assert_string_equal(out, "17\n0\n4096\n");
}

static void an_error_in_the_child_is_an_ordinary_error(void **state)
{
    char *argv[] = { (char *)"/bin/nothing", NULL };
    struct bx_jail_plan p = shell_plan(argv);
    struct bx_jail_child c = BX_JAIL_CHILD_INIT;
    struct bx_jail_mount missing = { .kind = BX_JAIL_BIND, .source = "/no/such/file" };
    struct bx_err err = BX_ERR_INIT;

    (void)state;
    p.path = "/bin/nothing";
    assert_true(bx_jail_spawn(&p, &c, &err) < 0);
    assert_int_equal(err.sys_errno, ENOENT);
    assert_non_null(strstr(err.msg, "run /bin/nothing"));
    p = shell_plan(argv);
    p.mounts = &missing;
    p.n_mounts = 1;
    p.required = BX_JAIL_ROOT;
    assert_true(bx_jail_spawn(&p, &c, &err) < 0);
    assert_non_null(strstr(err.msg, "/no/such/file"));
    assert_int_equal(c.pidfd, -1);
    assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1); /* nobody was left behind */
    assert_int_equal(errno, ECHILD);
}

static bool ends_within(int pidfd, int ms)
{
    struct pollfd p = { .fd = pidfd, .events = POLLIN };

    return poll(&p, 1, ms) == 1;
}

static void closing_the_liveness_pipe_ends_the_program(void **state)
{
    char *argv[] = { (char *)"/bin/sh", (char *)"-c", (char *)"trap '' TERM INT HUP; while :; do sleep 100; done", NULL };
    struct bx_jail_plan p = shell_plan(argv);
    struct bx_jail_child c = BX_JAIL_CHILD_INIT;
    struct bx_err err = BX_ERR_INIT;
    int target;

    (void)state;
    if (bx_jail_spawn(&p, &c, &err))
        fail_msg("%s", err.msg);
    target = (int)syscall(SYS_pidfd_open, c.target, 0); /* the program itself, as we see it */
    assert_true(target >= 0);
    assert_false(ends_within(c.pidfd, 50));
    c.liveness = bx_close(c.liveness);
    assert_true(ends_within(c.pidfd, 5000));
    assert_true(ends_within(target, 5000));
    close(target);
    bx_jail_child_done(&c);
}

static void killing_the_supervisor_ends_the_program_without_a_pid_namespace_too(void **state)
{
    char *argv[] = { (char *)"/bin/sh", (char *)"-c", (char *)"exec sleep 1000", NULL };
    struct bx_jail_plan p = shell_plan(argv);
    struct bx_jail_child c = BX_JAIL_CHILD_INIT;
    struct bx_err err = BX_ERR_INIT;
    int target;

    (void)state;
    p.layers = BX_JAIL_NNP | BX_JAIL_CAPS;
    if (bx_jail_spawn(&p, &c, &err))
        fail_msg("%s", err.msg);
    target = (int)syscall(SYS_pidfd_open, c.target, 0);
    assert_true(target >= 0 && c.target != c.pid);
    bx_jail_child_done(&c);
    assert_true(ends_within(target, 5000));
    close(target);
}

static void a_bad_plan_is_refused(void **state)
{
    char *argv[] = { (char *)"/bin/true", NULL };
    static const struct bx_jail_mount bad[] = {
        { .kind = BX_JAIL_BIND, .source = "relative" },
        { .kind = BX_JAIL_BIND, .source = "/usr/../etc" },
        { .kind = BX_JAIL_BIND, .source = "/usr", .target = "/a/./b" },
        { .kind = BX_JAIL_BIND, .source = "/usr", .target = "/" },
        { .kind = BX_JAIL_TMPFS, .target = "/tmp" },
        { .kind = BX_JAIL_PROC },
    };
    static const struct bx_jail_fd twice[] = { { 0, 5 }, { 1, 5 } };
    struct bx_jail_plan p;
    struct bx_err err = BX_ERR_INIT;

    (void)state;
    for (size_t i = 0; i < BX_ARRAY_SIZE(bad); i++) {
        p = shell_plan(argv);
        p.mounts = &bad[i];
        p.n_mounts = 1;
        assert_int_equal(bx_jail_plan_check(&p, &err), -BX_EINVALID);
    }
    p = shell_plan(argv);
    p.fds = twice;
    p.n_fds = 2;
    assert_int_equal(bx_jail_plan_check(&p, &err), -BX_EINVALID);
    p = shell_plan(argv);
    p.uid = 0;
    assert_int_equal(bx_jail_plan_check(&p, &err), -BX_EINVALID);
    p = shell_plan(argv);
    p.required = BX_JAIL_CGROUP; /* not wanted at all */
    assert_int_equal(bx_jail_plan_check(&p, &err), -BX_EINVALID);
    p = shell_plan(argv);
    assert_int_equal(bx_jail_plan_check(&p, &err), 0);
}

static void what_cannot_be_had_is_reported(void **state)
{
    char *argv[] = { (char *)"/bin/sh", (char *)"-c", (char *)"exit 0", NULL };
    struct bx_jail_plan p = shell_plan(argv);
    struct bx_cgroup none = BX_CGROUP_INIT;
    struct bx_jail_child c = BX_JAIL_CHILD_INIT;
    struct bx_err err = BX_ERR_INIT;
    char text[600];

    (void)state;
    none.why = EACCES;
    p.layers |= BX_JAIL_CGROUP;
    p.cgroup = &none;
    if (bx_jail_spawn(&p, &c, &err))
        fail_msg("%s", err.msg);
    assert_false(c.report.applied & BX_JAIL_CGROUP);
    bx_jail_report_str(&c.report, text, sizeof(text));
    assert_non_null(strstr(text, "root"));
    assert_non_null(strstr(text, "; without cgroup (Permission denied)"));
    bx_jail_child_done(&c);
    p.required = BX_JAIL_CGROUP;
    assert_true(bx_jail_spawn(&p, &c, &err) < 0);
    assert_non_null(strstr(err.msg, "control group"));
}

/* In a user namespace without that user: an error, not a program that goes on as root. */
static void one_of_several_layers_is_enough_and_none_is_an_error(void **state)
{
    char *argv[] = { (char *)"/bin/sh", (char *)"-c", (char *)"exit 0", NULL };
    struct bx_jail_plan p = shell_plan(argv);
    struct bx_cgroup none = { .why = EACCES };
    struct bx_jail_child c = BX_JAIL_CHILD_INIT;
    struct bx_err err = BX_ERR_INIT;

    (void)state;
    p.layers |= BX_JAIL_CGROUP;
    p.cgroup = &none;
    p.required_any = BX_JAIL_CGROUP | BX_JAIL_NNP;
    if (bx_jail_spawn(&p, &c, &err))
        fail_msg("%s", err.msg);
    assert_false(c.report.applied & BX_JAIL_CGROUP);
    bx_jail_child_done(&c);
    p.required_any = BX_JAIL_CGROUP;
    assert_true(bx_jail_spawn(&p, &c, &err) < 0);
    assert_non_null(strstr(err.msg, "cgroup (Permission denied)"));
    assert_int_equal(c.pidfd, -1);
    assert_true(waitpid(-1, NULL, WNOHANG | __WALL) < 0 && errno == ECHILD);
    p.required_any = BX_JAIL_SECCOMP; /* not wanted at all */
    assert_int_equal(bx_jail_spawn(&p, &c, &err), -BX_EINVALID);
}

static void a_user_that_cannot_be_become_is_an_error(void **state)
{
    char *argv[] = { (char *)"/bin/sh", (char *)"-c", (char *)"exit 0", NULL };
    struct bx_jail_plan p = shell_plan(argv);
    struct bx_jail_child c = BX_JAIL_CHILD_INIT;
    struct bx_err err = BX_ERR_INIT;
    int status = 0;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        if (syscall(SYS_unshare, CLONE_NEWUSER))
            _exit(77);
        p.layers = BX_JAIL_NNP | BX_JAIL_CAPS | BX_JAIL_UID;
        p.required = 0;
        p.uid = p.gid = 12345;
        _exit(bx_jail_spawn(&p, &c, &err) < 0 && strstr(err.msg, "change the user") ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WEXITSTATUS(status) == 77)
        CANNOT_RUN("no user namespaces");
    assert_int_equal(status, 0);
}

/* The program and its supervisor are in the group, and the group is gone with them. */
static void check_group(struct bx_cgroup *cg)
{
    char *argv[] = { (char *)"/bin/sh", (char *)"-c", (char *)"sleep 1000", NULL };
    struct bx_jail_plan p = shell_plan(argv);
    struct bx_jail_child c = BX_JAIL_CHILD_INIT;
    struct bx_err err = BX_ERR_INIT;
    bx_cleanup_free char *dir = bx_strf("%s", cg->dirs[0]);
    bx_cleanup_free char *procs = bx_strf("%s/cgroup.procs", dir);
    size_t lines = 0;

    p.layers |= BX_JAIL_CGROUP;
    p.required = BX_JAIL_CGROUP;
    p.cgroup = cg;
    if (bx_jail_spawn(&p, &c, &err))
        fail_msg("%s", err.msg);
    for (int i = 0; i < 5000 && lines < 2; i++) { /* v1: the supervisor joins while the program starts */
        bx_cleanup_free char *text = NULL;

        assert_int_equal(bx_read_file(AT_FDCWD, procs, 65536, &text, NULL), 0);
        lines = 0;
        for (const char *s = text; (s = strchr(s, '\n')); s++)
            lines++;
        (void)ends_within(c.pidfd, 1);
    }
    assert_in_range(lines, 2, 3); /* supervisor, shell, perhaps sleep */
    assert_false(ends_within(c.pidfd, 0));
    bx_jail_child_done(&c);
    bx_cgroup_done(cg);
    assert_int_equal(access(dir, F_OK), -1);
}

static void a_control_group_holds_the_program_and_its_supervisor(void **state)
{
    const struct bx_cgroup_limits limits = { .memory_max = 64 << 20, .pids_max = 20, .cpus = 1 };
    struct bx_cgroup cg = BX_CGROUP_INIT;
    struct bx_err err = BX_ERR_INIT;

    (void)state;
    assert_int_equal(bx_cgroup_make("unit-test", &limits, &cg, &err), 0);
    if (cg.version == 0) {
        assert_int_not_equal(cg.why, 0);
        print_message("# no control groups for us here: %s\n", strerror(cg.why));
        return;
    }
    print_message("# control groups version %d, limits %#x\n", cg.version, cg.limits);
    check_group(&cg);
}

static void two_of_one_name_do_not_share_a_control_group(void **state)
{
    const struct bx_cgroup_limits limits = { .memory_max = 64 << 20, .pids_max = 20, .cpus = 1 };
    struct bx_cgroup a = BX_CGROUP_INIT, b = BX_CGROUP_INIT;
    struct bx_err err = BX_ERR_INIT;

    (void)state;
    assert_int_equal(bx_cgroup_make("unit-twice", &limits, &a, &err), 0);
    assert_int_equal(bx_cgroup_make("unit-twice", &limits, &b, &err), 0);
    assert_int_equal(a.n, b.n);
    for (unsigned i = 0; i < a.n; i++) {
        assert_string_not_equal(a.dirs[i], b.dirs[i]);
        assert_int_equal(access(b.dirs[i], F_OK), 0);
    }
    bx_cgroup_done(&b);
    if (a.n)
        assert_int_equal(access(a.dirs[0], F_OK), 0);
    bx_cgroup_done(&a);
}

/* On a host with both hierarchies v2 is only tried by hand. */
static void a_v2_control_group_is_entered_by_clone(void **state)
{
    struct bx_cgroup cg = BX_CGROUP_INIT;
    char *dir = bx_strf("/sys/fs/cgroup/unified/boxlite-unit-test");

    (void)state;
    if (mkdir(dir, 0755)) {
        print_message("# no second hierarchy here\n");
        free(dir);
        return;
    }
    cg.version = 2;
    cg.n = 1;
    cg.dirs[0] = dir;
    cg.procs[0] = open("/dev/null", O_WRONLY | O_CLOEXEC); /* not needed */
    check_group(&cg);
}

static void every_profile_compiles(void **state)
{
    (void)state;
    for (int i = BX_SECCOMP_NONE + 1; i < BX_SECCOMP_PROFILES; i++) {
        struct bx_bpf b = { 0 };
        struct bx_err err = BX_ERR_INIT;

        assert_int_equal(bx_seccomp_compile((enum bx_seccomp_profile)i, &b, &err), 0);
        assert_true(b.n > 20 && b.n < 1024); /* the hook's buffer */
        bx_bpf_done(&b);
    }
    for (unsigned i = 0; i < BX_JAIL_LAYERS; i++)
        assert_non_null(bx_jail_layer_name(1u << i));
    assert_null(bx_jail_layer_name(1u << BX_JAIL_LAYERS));
    assert_null(bx_jail_layer_name(3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_code_and_signal_are_passed_on),
        cmocka_unit_test(the_root_has_only_what_the_plan_names),
        cmocka_unit_test(no_descriptor_leaks),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(an_error_in_the_child_is_an_ordinary_error),
        cmocka_unit_test(closing_the_liveness_pipe_ends_the_program),
        cmocka_unit_test(killing_the_supervisor_ends_the_program_without_a_pid_namespace_too),
        cmocka_unit_test(a_bad_plan_is_refused),
        cmocka_unit_test(what_cannot_be_had_is_reported),
        cmocka_unit_test(one_of_several_layers_is_enough_and_none_is_an_error),
        cmocka_unit_test(a_user_that_cannot_be_become_is_an_error),
        cmocka_unit_test(a_control_group_holds_the_program_and_its_supervisor),
        cmocka_unit_test(two_of_one_name_do_not_share_a_control_group),
        cmocka_unit_test(a_v2_control_group_is_entered_by_clone),
        cmocka_unit_test(every_profile_compiles),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
