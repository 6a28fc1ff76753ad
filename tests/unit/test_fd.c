/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors: whole transfers, bounded reads, files that appear at once, sealed memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/path.h"

static int dir_fd;
static char dir_name[] = "/tmp/bx-test-fd-XXXXXX";

static int make_dir(void **state)
{
    if (!mkdtemp(dir_name))
        return -1;
    dir_fd = open(dir_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dir_fd < 0;
}

static int remove_dir(void **state)
{
    bx_close(dir_fd);
    return bx_rm_rf(AT_FDCWD, dir_name);
}

static void closing_keeps_errno(void **state)
{
    int fd = dup(0);

    errno = EBUSY;
    assert_int_equal(bx_close(fd), -1);
    assert_int_equal(bx_close(fd), -1); /* already closed: EBADF stays inside */
    assert_int_equal(bx_close(-1), -1);
    assert_int_equal(errno, EBUSY);
}

static void flags_go_on_and_off(void **state)
{
    bx_cleanup_close int fd = open("/dev/null", O_RDWR);

    assert_int_equal(bx_fd_nonblock(fd, true), 0);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_int_equal(bx_fd_nonblock(fd, false), 0);
    assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_int_equal(bx_fd_cloexec(fd, true), 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(bx_fd_cloexec(-1, true), -EBADF);
}

static void *write_much(void *arg)
{
    static char block[300000];

    memset(block, 'p', sizeof(block));
    return (void *)(intptr_t)bx_write_full(*(int *)arg, block, sizeof(block));
}

static void whole_transfers_pass_a_small_pipe(void **state)
{
    int p[2];
    pthread_t writer;
    void *result;
    char *got = malloc(300000);

    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    pthread_create(&writer, NULL, write_much, &p[1]);
    assert_int_equal(bx_read_full(p[0], got, 300000), 0);
    pthread_join(writer, &result);
    assert_null(result);
    assert_int_equal(got[299999], 'p');
    close(p[1]);
    assert_int_equal(bx_read_full(p[0], got, 1), -EPIPE);
    close(p[0]);
    free(got);
}

static void positioned_transfers_stop_at_the_end(void **state)
{
    bx_cleanup_close int fd = openat(dir_fd, "pos", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    char got[4];

    assert_int_equal(bx_pwrite_full(fd, "abcd", 4, 100), 0);
    assert_int_equal(bx_pread_full(fd, got, 4, 100), 0);
    assert_memory_equal(got, "abcd", 4);
    assert_int_equal(bx_pread_full(fd, got, 4, 101), -EPIPE);
}

static void reading_a_file_refuses_one_byte_too_much(void **state)
{
    char *data = NULL;
    size_t len;

    assert_int_equal(bx_write_file_atomic(dir_fd, "f", "0123456789", 10, 0600), 0);
    assert_int_equal(bx_read_file(dir_fd, "f", 10, &data, &len), 0);
    assert_int_equal(len, 10);
    assert_string_equal(data, "0123456789");
    free(data);
    data = NULL;
    assert_int_equal(bx_read_file(dir_fd, "f", 9, &data, NULL), -EFBIG);
    assert_null(data);
    assert_int_equal(bx_read_file(dir_fd, "none", 9, &data, NULL), -ENOENT);
    /* Files of unknown size, too. */
    assert_int_equal(bx_read_file(AT_FDCWD, "/proc/self/status", 1 << 20, &data, &len), 0);
    assert_true(len > 500 && strlen(data) == len);
    free(data);
    data = NULL;
    assert_int_equal(bx_read_file(AT_FDCWD, "/proc/self/status", 100, &data, NULL), -EFBIG);
    assert_int_equal(bx_read_file(AT_FDCWD, "/dev/zero", 100000, &data, NULL), -EFBIG);
    assert_int_equal(bx_read_file(AT_FDCWD, "/dev/null", 0, &data, &len), 0);
    assert_int_equal(len, 0);
    free(data);
}

static void atomic_write_replaces_and_leaves_nothing_behind(void **state)
{
    bx_cleanup_free char *data = NULL;
    struct stat before, after;

    umask(077);
    assert_int_equal(bx_write_file_atomic(dir_fd, "a", "old", 3, 0644), 0);
    assert_int_equal(fstatat(dir_fd, "a", &before, 0), 0);
    assert_int_equal(before.st_mode & 07777, 0644);
    assert_int_equal(bx_write_file_atomic(dir_fd, "a", "new!", 4, 0444), 0);
    assert_int_equal(fstatat(dir_fd, "a", &after, 0), 0);
    assert_true(before.st_ino != after.st_ino);
    assert_int_equal(after.st_mode & 07777, 0444);
    assert_int_equal(bx_read_file(dir_fd, "a", 100, &data, NULL), 0);
    assert_string_equal(data, "new!");
    assert_int_equal(bx_fsync_dir(dir_fd), 0);
}

static void failed_atomic_write_keeps_the_old_file(void **state)
{
    struct rlimit old, small = { 4, 4 };
    bx_cleanup_free char *data = NULL;
    pid_t pid;
    int status;

    assert_int_equal(mkdirat(dir_fd, "sub", 0700), 0);
    assert_int_equal(bx_write_file_atomic(dir_fd, "sub/keep", "good", 4, 0600), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    pid = fork();
    if (pid == 0) { /* the file size limit plays the full disk */
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &small);
        _exit(bx_write_file_atomic(dir_fd, "sub/keep", "half of it is lost", 18, 0600) == -EFBIG ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(bx_read_file(dir_fd, "sub/keep", 100, &data, NULL), 0);
    assert_string_equal(data, "good");
    assert_int_equal(unlinkat(dir_fd, "sub/keep", 0), 0);
    assert_int_equal(unlinkat(dir_fd, "sub", AT_REMOVEDIR), 0); /* empty: no temporary file remained */
}

static void sealed_memory_cannot_be_changed(void **state)
{
    bx_cleanup_close int fd = bx_memfd_sealed("plan", "content", 7);
    bx_cleanup_free char *data = NULL;

    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(write(fd, "x", 1), -1);
    assert_int_equal(ftruncate(fd, 3), -1);
    assert_int_equal(ftruncate(fd, 30), -1);
    assert_int_equal(bx_read_fd(fd, 7, &data, NULL), 0);
    assert_string_equal(data, "content");
}

static void everything_from_a_number_on_is_closed(void **state)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        int keep = dup2(0, 40);

        dup2(0, 41);
        dup2(0, 900);
        if (bx_close_from(41) != 0)
            _exit(1);
        _exit(fcntl(keep, F_GETFD) >= 0 && fcntl(41, F_GETFD) < 0 && fcntl(900, F_GETFD) < 0 ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closing_keeps_errno),
        cmocka_unit_test(flags_go_on_and_off),
        cmocka_unit_test(whole_transfers_pass_a_small_pipe),
        cmocka_unit_test(positioned_transfers_stop_at_the_end),
        cmocka_unit_test(reading_a_file_refuses_one_byte_too_much),
        cmocka_unit_test(atomic_write_replaces_and_leaves_nothing_behind),
        cmocka_unit_test(failed_atomic_write_keeps_the_old_file),
        cmocka_unit_test(sealed_memory_cannot_be_changed),
        cmocka_unit_test(everything_from_a_number_on_is_closed),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
