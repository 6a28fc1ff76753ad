/* SPDX-License-Identifier: Apache-2.0 */
/* What boxlite-pull may still do behind its filters, and Landlock where there is no root of its own: tried in
 * children. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "jail/landlock.h"
#include "jail/seccomp.h"
#include "../lib/must_run.h"

/* Runs fn in a child: its exit code, or 128 + the signal that ended it. */
static int in_child(int (*fn)(void *ud), void *ud)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit(fn(ud));
    assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void lock(void)
{
    struct bx_err err = BX_ERR_INIT;

    if (bx_seccomp_install(BX_SECCOMP_PULL, &err) < 0 || bx_seccomp_install(BX_SECCOMP_PULL_LOCKED, &err) < 0)
        _exit(120);
}

/* errno of a call that failed, 0 when it did not */
#define TRY(call) ((call) < 0 ? errno : 0)

static int families(void *ud)
{
    (void)ud;
    lock();
    if (TRY(socket(AF_INET, SOCK_STREAM, 0)) || TRY(socket(AF_INET6, SOCK_DGRAM, 0)))
        return 1;
    if (TRY(socket(AF_UNIX, SOCK_STREAM, 0)) != EAFNOSUPPORT ||
        TRY(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)) != EAFNOSUPPORT)
        return 2;
    if (TRY(socket(AF_PACKET, SOCK_RAW, 0)) != EAFNOSUPPORT ||
        TRY(socket(AF_VSOCK, SOCK_STREAM, 0)) != EAFNOSUPPORT ||
        TRY(socket(AF_ALG, SOCK_SEQPACKET, 0)) != EAFNOSUPPORT)
        return 3;
    return 0;
}

static int executable_memory(void *ud)
{
    void *p;

    (void)ud;
    lock();
    if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED ||
        errno != EACCES)
        return 1;
    p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return 2;
    return mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0 || errno != EACCES ? 3 : 0;
}

static int run_program(void *ud)
{
    char *argv[] = {(char *)ud, NULL};

    lock();
    execv(argv[0], argv);
    return 1;
}

static int listen_on_port(void *ud)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    int fd;

    (void)ud;
    lock();
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)bind(fd, (struct sockaddr *)&any, sizeof(any));
    return 1;
}

static int make_process(void *ud)
{
    (void)ud;
    lock();
    return fork() == 0 ? 0 : 1;
}

static int kill_somebody(void *ud)
{
    (void)ud;
    lock();
    return kill(getppid(), 0) ? 1 : 2;
}

static int write_terminal(void *ud)
{
    (void)ud;
    lock();
    return TRY(ioctl(0, 0x5412 /* TIOCSTI */, "x")) == ENOTTY ? 0 : 1;
}

static void sockets_are_of_the_internet_only(void **state)
{
    assert_int_equal(in_child(families, NULL), 0);
}

static void memory_cannot_be_made_executable(void **state)
{
    assert_int_equal(in_child(executable_memory, NULL), 0);
}

static void programs_ports_processes_and_signals_end_it(void **state)
{
    assert_int_equal(in_child(run_program, (char *)(uintptr_t) "/bin/true"), 128 + SIGSYS);
    assert_int_equal(in_child(listen_on_port, NULL), 128 + SIGSYS);
    assert_int_equal(in_child(make_process, NULL), 128 + SIGSYS);
    assert_int_equal(in_child(kill_somebody, NULL), 128 + SIGSYS);
    assert_int_equal(in_child(write_terminal, NULL), 0);
}

/* --- Landlock --- */

struct place {
    char dir[64];
    int fd; /* of dir/blobs */
    int ruleset;
};

static int work_in_the_store(void *ud)
{
    struct place *p = ud;
    int fd;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || bx_landlock_restrict(p->ruleset))
        return 120;
    if (mkdirat(p->fd, "partial", 0700) || mkdirat(p->fd, "sha256", 0700))
        return 1;
    fd = openat(p->fd, "partial/a", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, "abc", 3) != 3 || ftruncate(fd, 1))
        return 2;
    if (renameat(p->fd, "partial/a", p->fd, "sha256/a") || fchmod(fd, 0444))
        return 3;
    if (openat(p->fd, "sha256/a", O_RDONLY | O_CLOEXEC) < 0 || unlinkat(p->fd, "sha256/a", 0))
        return 4;
    return 0;
}

static int look_outside(void *ud)
{
    struct place *p = ud;
    struct sockaddr_in port = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || bx_landlock_restrict(p->ruleset))
        return 120;
    if (TRY(openat(p->fd, "../secret", O_RDONLY | O_CLOEXEC)) != EACCES ||
        TRY(openat(p->fd, "../../../etc/passwd", O_RDONLY | O_CLOEXEC)) != EACCES)
        return 1;
    if (TRY(openat(p->fd, "../new", O_RDWR | O_CREAT | O_CLOEXEC, 0600)) != EACCES ||
        TRY(symlinkat("x", p->fd, "link")) != EACCES)
        return 2;
    port.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bx_landlock_abi() >= 4 && TRY(bind(fd, (struct sockaddr *)&port, sizeof(port))) != EACCES)
        return 3;
    port.sin_port = htons(1); /* nobody listens: refused by the network and not by a rule */
    return TRY(connect(fd, (struct sockaddr *)&port, sizeof(port))) == ECONNREFUSED ? 0 : 4;
}

static void without_namespaces_the_store_is_all_there_is(void **state)
{
    char blobs[80];
    char secret[80];
    const struct bx_jail_mount mounts[] = {
        {.kind = BX_JAIL_BIND, .source = "/etc/hosts"},
        {.kind = BX_JAIL_BIND, .source = blobs, .target = "/blobs", .writable = true}};
    struct bx_jail_plan plan = {.layers = BX_JAIL_LANDLOCK, .mounts = mounts, .n_mounts = 2};
    struct place p = {.dir = "/tmp/bx-pull-jail-XXXXXX"};

    if (bx_landlock_abi() < 2)
        CANNOT_RUN("this kernel has no Landlock");
    assert_non_null(mkdtemp(p.dir));
    (void)snprintf(blobs, sizeof(blobs), "%s/blobs", p.dir);
    (void)snprintf(secret, sizeof(secret), "%s/secret", p.dir);
    assert_int_equal(mkdir(blobs, 0700), 0);
    assert_int_equal(bx_close(open(secret, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)), -1);
    p.fd = open(blobs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    p.ruleset = bx_landlock_ruleset(&plan);
    assert_true(p.fd >= 0 && p.ruleset >= 0);
    assert_int_equal(in_child(work_in_the_store, &p), 0);
    assert_int_equal(in_child(look_outside, &p), 0);
    bx_close(p.fd);
    bx_close(p.ruleset);
    assert_int_equal(bx_rm_rf(AT_FDCWD, p.dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sockets_are_of_the_internet_only),
        cmocka_unit_test(memory_cannot_be_made_executable),
        cmocka_unit_test(programs_ports_processes_and_signals_end_it),
        cmocka_unit_test(without_namespaces_the_store_is_all_there_is),
    };

    return cmocka_run_group_tests_name("pull_jail", tests, NULL, NULL);
}
