/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop: order, removal within a round, timers, children, signals, nesting. */
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
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "loop/loop.h"

static struct bx_loop *loop;
static char trace[512]; /* one letter per callback */

#define LETTER(c) ((void *)(intptr_t)(c))

static void note(char c)
{
    size_t n = strlen(trace);

    assert_true(n + 1 < sizeof(trace));
    trace[n] = c;
    trace[n + 1] = '\0';
}

static int open_loop(void **state)
{
    trace[0] = '\0';
    loop = bx_loop_new();
    return loop == NULL;
}

static int close_loop(void **state)
{
    loop = bx_loop_free(loop);
    return 0;
}

static bool readable(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };

    return poll(&p, 1, 0) == 1;
}

/* Waits for it, for a bounded time. */
static bool becomes_readable(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };

    return poll(&p, 1, 5000) == 1;
}

static void note_fd(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    note((char)(intptr_t)ud);
}

static void note_timer(struct bx_source *s, void *ud)
{
    note((char)(intptr_t)ud);
}

/* ---- descriptors ---- */

static void readable_descriptor_is_reported_until_read(void **state)
{
    int p[2];
    struct bx_source *s;

    assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
    s = bx_loop_add_fd(loop, p[0], BX_READ, note_fd, LETTER('r'));
    assert_non_null(s);
    assert_int_equal(bx_loop_dispatch(loop, 0), 0);
    assert_int_equal(write(p[1], "x", 1), 1);
    assert_int_equal(bx_loop_dispatch(loop, 0), 1);
    assert_int_equal(bx_loop_dispatch(loop, 0), 1);
    assert_int_equal(bx_source_set_events(s, 0), 0);
    assert_int_equal(bx_source_events(s), 0);
    assert_int_equal(bx_loop_dispatch(loop, 0), 0);
    assert_int_equal(bx_source_set_events(s, BX_READ | BX_EDGE), 0);
    assert_int_equal(bx_loop_dispatch(loop, 0), 1);
    assert_int_equal(bx_loop_dispatch(loop, 0), 0); /* the edge is past */
    assert_int_equal(write(p[1], "x", 1), 1);
    assert_int_equal(bx_loop_dispatch(loop, 0), 1);
    s = bx_source_remove(s);
    assert_null(s);
    assert_null(bx_source_remove(NULL));
    assert_int_equal(bx_loop_dispatch(loop, 0), 0);
    close(p[0]);
    close(p[1]);
}

static void see_events(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    *(uint32_t *)ud = events;
    note('e');
}

static void hangup_is_told_once_to_who_waits_for_nothing(void **state)
{
    int p[2];
    uint32_t seen = 0;
    struct bx_source *s;

    assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(write(p[1], "x", 1), 1);
    s = bx_loop_add_fd(loop, p[0], 0, see_events, &seen);
    assert_int_equal(bx_loop_dispatch(loop, 0), 0);
    close(p[1]);
    assert_int_equal(bx_loop_dispatch(loop, 0), 1);
    assert_int_equal(seen, BX_HUP);
    assert_int_equal(bx_loop_dispatch(loop, 0), 0); /* no spinning */
    assert_int_equal(bx_source_set_events(s, BX_READ), 0);
    assert_int_equal(bx_loop_dispatch(loop, 0), 1);
    assert_int_equal(seen, BX_READ | BX_HUP);
    bx_source_remove(s);
    close(p[0]);
}

static void half_closed_peer_can_still_be_written_to(void **state)
{
    int p[2];
    uint32_t seen = 0;
    struct bx_source *s;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), 0);
    s = bx_loop_add_fd(loop, p[0], BX_READ, see_events, &seen);
    shutdown(p[1], SHUT_WR);
    assert_int_equal(bx_loop_dispatch(loop, 0), 1);
    assert_int_equal(seen, BX_READ | BX_HUP);
    bx_source_set_events(s, BX_WRITE);
    assert_int_equal(bx_loop_dispatch(loop, 0), 1);
    assert_int_equal(seen, BX_WRITE);
    bx_source_remove(s);
    close(p[0]);
    close(p[1]);
}

static void descriptor_that_cannot_be_watched_is_refused(void **state)
{
    bx_cleanup_close int file = memfd_create("f", MFD_CLOEXEC);

    assert_null(bx_loop_add_fd(loop, file, BX_READ, note_fd, LETTER('x')));
    assert_int_equal(errno, EPERM);
    assert_null(bx_loop_add_fd(loop, -1, BX_READ, note_fd, LETTER('x')));
    assert_int_equal(errno, EBADF);
}

struct group {
    struct bx_source *s[8];
    int pipes[8][2];
    unsigned calls;
};

/* The first to be called ends all of them, itself included, and closes their descriptors. */
static void end_all(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct group *g = ud;

    g->calls++;
    for (int i = 0; i < 8; i++) {
        g->s[i] = bx_source_remove(g->s[i]);
        close(g->pipes[i][0]);
        close(g->pipes[i][1]);
    }
    /* Reuse of the numbers within the round: the new sources must not be given the old events. */
    for (int i = 0; i < 8; i++) {
        assert_int_equal(pipe2(g->pipes[i], O_CLOEXEC | O_NONBLOCK), 0);
        g->s[i] = bx_loop_add_fd(loop, g->pipes[i][0], BX_READ, note_fd, LETTER('!'));
        assert_non_null(g->s[i]);
    }
}

static void pending_sources_can_be_removed_within_the_round(void **state)
{
    struct group g = { 0 };

    for (int i = 0; i < 8; i++) {
        assert_int_equal(pipe2(g.pipes[i], O_CLOEXEC | O_NONBLOCK), 0);
        g.s[i] = bx_loop_add_fd(loop, g.pipes[i][0], BX_READ, end_all, &g);
        assert_int_equal(write(g.pipes[i][1], "x", 1), 1);
    }
    assert_int_equal(bx_loop_dispatch(loop, 0), 1);
    assert_int_equal(g.calls, 1);
    assert_int_equal(bx_loop_dispatch(loop, 0), 0);
    assert_string_equal(trace, "");
    for (int i = 0; i < 8; i++) {
        bx_source_remove(g.s[i]);
        close(g.pipes[i][0]);
        close(g.pipes[i][1]);
    }
}

static void lose_interest(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct group *g = ud;

    g->calls++;
    for (int i = 0; i < 2; i++)
        bx_source_set_events(g->s[i], 0);
}

static void lost_interest_counts_within_the_round(void **state)
{
    struct group g = { 0 };

    for (int i = 0; i < 2; i++) {
        assert_int_equal(pipe2(g.pipes[i], O_CLOEXEC | O_NONBLOCK), 0);
        g.s[i] = bx_loop_add_fd(loop, g.pipes[i][0], BX_READ, lose_interest, &g);
        assert_int_equal(write(g.pipes[i][1], "x", 1), 1);
    }
    assert_int_equal(bx_loop_dispatch(loop, 0), 1);
    assert_int_equal(g.calls, 1);
    for (int i = 0; i < 2; i++) {
        bx_source_remove(g.s[i]);
        close(g.pipes[i][0]);
        close(g.pipes[i][1]);
    }
}

/* ---- timers ---- */

static void timers_fire_by_deadline_then_by_order_of_setting(void **state)
{
    static const char names[] = "abcdefgh";
    /* Deadlines in the past, so that one round sees them all. */
    static const int64_t deadlines[] = { 500, 300, 300, 900, 100, 300, 900, 2 };
    struct bx_source *t[8];

    for (int i = 0; i < 8; i++)
        t[i] = bx_loop_add_timer(loop, note_timer, LETTER(names[i]));
    for (int i = 0; i < 8; i++)
        bx_timer_set(t[i], deadlines[i]);
    bx_timer_set(t[5], 0); /* f disarmed */
    bx_timer_set(t[0], 300); /* a set anew, behind b and c */
    assert_true(bx_timer_armed(t[0]));
    assert_false(bx_timer_armed(t[5]));
    assert_int_equal(bx_loop_dispatch(loop, -1), 7);
    assert_string_equal(trace, "hebcadg");
    assert_false(bx_timer_armed(t[0]));
    assert_int_equal(bx_loop_dispatch(loop, 0), 0);
}

static int64_t last_deadline, deadline_of[300];
static unsigned fired;

static void check_order(struct bx_source *s, void *ud)
{
    int64_t mine = deadline_of[(intptr_t)ud];

    assert_true(mine != 0 && mine >= last_deadline);
    last_deadline = mine;
    fired++;
}

static void many_timers_keep_the_heap_in_order(void **state)
{
    static struct bx_source *t[300];
    unsigned seed = 12345, armed = 0;

    for (int i = 0; i < 300; i++)
        t[i] = bx_loop_add_timer(loop, check_order, (void *)(intptr_t)i);
    /* Set, set again, disarm and remove at random; then the armed ones must come, in order, and no other. */
    for (int step = 0; step < 5000; step++) {
        int i;

        seed = seed * 1103515245 + 12345;
        i = (int)(seed >> 16) % 300;
        if (!t[i])
            continue;
        deadline_of[i] = seed % 4 == 0 ? 0 : 1 + (seed >> 8 & 0xfff);
        if (seed >> 24 < 3)
            t[i] = bx_source_remove(t[i]);
        else
            bx_timer_set(t[i], deadline_of[i]);
    }
    for (int i = 0; i < 300; i++)
        armed += t[i] && bx_timer_armed(t[i]);
    assert_true(armed > 100 && armed < 280);
    assert_int_equal(bx_loop_dispatch(loop, 0), armed);
    assert_int_equal(fired, armed);
}

static void set_again_in_the_past(struct bx_source *s, void *ud)
{
    note('p');
    bx_timer_set(s, 1);
}

static void timer_set_in_its_callback_waits_for_the_next_round(void **state)
{
    struct bx_source *t = bx_loop_add_timer(loop, set_again_in_the_past, NULL);

    bx_timer_set(t, 1);
    assert_int_equal(bx_loop_dispatch(loop, -1), 1);
    assert_int_equal(bx_loop_dispatch(loop, -1), 1);
    assert_true(becomes_readable(bx_loop_fd(loop)));
    assert_string_equal(trace, "pp");
}

static struct bx_source *victim;

static void remove_victim(struct bx_source *s, void *ud)
{
    note('k');
    victim = bx_source_remove(victim);
}

static void due_timer_can_be_removed_by_an_earlier_one(void **state)
{
    struct bx_source *killer = bx_loop_add_timer(loop, remove_victim, NULL);

    victim = bx_loop_add_timer(loop, note_timer, LETTER('!'));
    bx_timer_set(killer, 1);
    bx_timer_set(victim, 2);
    assert_int_equal(bx_loop_dispatch(loop, -1), 1);
    assert_string_equal(trace, "k");
}

static void timer_waits_for_its_time(void **state)
{
    struct bx_source *t = bx_loop_add_timer(loop, note_timer, LETTER('t'));
    int64_t start = bx_now();

    bx_timer_after(t, 30 * BX_MSEC);
    assert_int_equal(bx_loop_dispatch(loop, 0), 0);
    while (trace[0] == '\0')
        assert_true(bx_loop_dispatch(loop, -1) >= 0);
    assert_true(bx_now() - start >= 30 * BX_MSEC);
    bx_timer_after(t, INT64_MAX);
    assert_true(bx_timer_armed(t));
    assert_int_equal(bx_loop_dispatch(loop, 1), 0);
    bx_timer_after(t, INT64_MIN);
    assert_int_equal(bx_loop_dispatch(loop, -1), 1);
}

/* ---- children ---- */

/* A child without exit signal, as bx_spawn makes them; its pidfd. */
static int clone_child(int exit_code, int by_signal)
{
    int pidfd = -1;
    long pid = syscall(SYS_clone, CLONE_PIDFD, NULL, &pidfd, NULL, 0);

    assert_true(pid >= 0);
    if (pid == 0) {
        if (by_signal) {
            signal(by_signal, SIG_DFL);
            raise(by_signal);
        }
        _exit(exit_code);
    }
    return pidfd;
}

static void see_status(struct bx_source *s, int status, void *ud)
{
    *(int *)ud = status;
    bx_source_remove(s);
}

static int status_of(int pidfd)
{
    int status = -100;

    assert_non_null(bx_loop_add_child(loop, pidfd, see_status, &status));
    while (status == -100)
        assert_true(bx_loop_dispatch(loop, -1) >= 0);
    assert_int_equal(fcntl(pidfd, F_GETFD), -1); /* closed */
    return status;
}

static void children_report_codes_and_signals(void **state)
{
    assert_int_equal(status_of(clone_child(0, 0)), 0);
    assert_int_equal(status_of(clone_child(7, 0)), 7);
    assert_int_equal(status_of(clone_child(255, 0)), 255);
    assert_int_equal(status_of(clone_child(0, SIGKILL)), 128 + 9);
    assert_int_equal(status_of(clone_child(0, SIGTERM)), 128 + 15);
    /* Nothing is left to wait for. */
    assert_int_equal(waitpid(-1, NULL, __WALL | WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void child_waited_for_by_somebody_else_has_no_status(void **state)
{
    int pidfd = clone_child(3, 0);
    siginfo_t si;

    assert_int_equal(waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED | __WALL), 0);
    assert_int_equal(status_of(pidfd), -1);
}

static void unwatched_child_is_left_alone(void **state)
{
    int pidfd = clone_child(0, 0), status = -100, copy = dup(pidfd);
    struct bx_source *s = bx_loop_add_child(loop, pidfd, see_status, &status);
    siginfo_t si;

    bx_source_remove(s);
    assert_true(becomes_readable(copy)); /* it has ended, and a copy of the descriptor is still open */
    assert_int_equal(bx_loop_dispatch(loop, 0), 0);
    assert_int_equal(status, -100);
    assert_int_equal(waitid(P_PIDFD, (id_t)copy, &si, WEXITED | __WALL), 0);
    close(copy);
}

static void refused_child_descriptor_is_closed(void **state)
{
    int fd = memfd_create("f", MFD_CLOEXEC);

    assert_null(bx_loop_add_child(loop, fd, see_status, NULL));
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

/* ---- signals ---- */

static void see_signal(struct bx_source *s, int signo, void *ud)
{
    note(signo == SIGUSR1 ? '1' : signo == SIGUSR2 ? '2' : '?');
}

static void signals_arrive_as_events(void **state)
{
    struct bx_source *one, *two;
    sigset_t mask, old;

    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    sigaddset(&mask, SIGUSR2);
    sigprocmask(SIG_BLOCK, &mask, &old);
    one = bx_loop_add_signal(loop, SIGUSR1, see_signal, NULL);
    two = bx_loop_add_signal(loop, SIGUSR2, see_signal, NULL);
    assert_non_null(one);
    assert_non_null(two);
    assert_null(bx_loop_add_signal(loop, SIGUSR1, see_signal, NULL));
    assert_int_equal(errno, EEXIST);
    assert_null(bx_loop_add_signal(loop, 0, see_signal, NULL));
    raise(SIGUSR2);
    raise(SIGUSR1);
    assert_int_equal(bx_loop_dispatch(loop, -1), 2);
    assert_int_equal(strlen(trace), 2);
    bx_source_remove(two);
    raise(SIGUSR2);
    assert_int_equal(bx_loop_dispatch(loop, 0), 0);
    raise(SIGUSR1);
    assert_int_equal(bx_loop_dispatch(loop, -1), 1);
    assert_int_equal(trace[2], '1');
    bx_source_remove(one);
    signal(SIGUSR2, SIG_IGN); /* takes the pending one away */
    signal(SIGUSR2, SIG_DFL);
    sigprocmask(SIG_SETMASK, &old, NULL);
}

/* ---- deferred work, order, nesting ---- */

static void note_defer(struct bx_source *s, void *ud)
{
    note((char)(intptr_t)ud);
}

static void defer_again(struct bx_source *s, void *ud)
{
    note('d');
    if (strlen(trace) < 3)
        bx_defer_set(s);
}

static void deferred_work_runs_once_per_setting(void **state)
{
    struct bx_source *d = bx_loop_add_defer(loop, defer_again, NULL);

    assert_int_equal(bx_loop_dispatch(loop, 0), 0);
    bx_defer_set(d);
    bx_defer_set(d);
    assert_int_equal(bx_loop_dispatch(loop, -1), 1);
    assert_true(becomes_readable(bx_loop_fd(loop))); /* set again meanwhile */
    assert_int_equal(bx_loop_dispatch(loop, -1), 1);
    assert_int_equal(bx_loop_dispatch(loop, -1), 1);
    assert_false(readable(bx_loop_fd(loop)));
    assert_int_equal(bx_loop_dispatch(loop, 0), 0);
    bx_defer_set(d);
    bx_source_remove(d);
    assert_int_equal(bx_loop_dispatch(loop, 0), 0);
    assert_string_equal(trace, "ddd");
}

static struct bx_source *deferred;

static void defer_from_fd(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    note('f');
    bx_defer_set(deferred);
    bx_source_set_events(s, 0);
}

static void note_child(struct bx_source *s, int status, void *ud)
{
    note('c');
}

static void round_goes_timers_descriptors_children_deferred(void **state)
{
    int p[2], child = clone_child(0, 0);
    struct bx_source *t;

    assert_true(becomes_readable(child));
    bx_loop_add_child(loop, child, note_child, NULL);
    assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(write(p[1], "x", 1), 1);
    bx_loop_add_fd(loop, p[0], BX_READ, defer_from_fd, NULL);
    deferred = bx_loop_add_defer(loop, note_defer, LETTER('d'));
    t = bx_loop_add_timer(loop, note_timer, LETTER('t'));
    bx_timer_set(t, 1);
    assert_int_equal(bx_loop_dispatch(loop, -1), 4);
    assert_string_equal(trace, "tfcd");
    loop = bx_loop_free(loop); /* with its sources in it */
    close(p[0]);
    close(p[1]);
}

static void run_inner(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    note('o');
    assert_true(bx_loop_dispatch(ud, 0) >= 0);
}

static void loop_nests_in_another(void **state)
{
    struct bx_loop *inner = bx_loop_new();
    struct bx_source *t = bx_loop_add_timer(inner, note_timer, LETTER('t'));
    struct bx_source *d = bx_loop_add_defer(inner, note_defer, LETTER('d'));
    struct bx_source *in_outer = bx_loop_add_fd(loop, bx_loop_fd(inner), BX_READ, run_inner, inner);

    assert_false(readable(bx_loop_fd(loop)));
    bx_defer_set(d);
    assert_int_equal(bx_loop_dispatch(loop, 5000), 1);
    assert_string_equal(trace, "od");
    assert_false(readable(bx_loop_fd(loop)));
    bx_timer_after(t, 10 * BX_MSEC);
    assert_false(readable(bx_loop_fd(inner)));
    assert_int_equal(bx_loop_dispatch(loop, 5000), 1);
    assert_string_equal(trace, "odot");
    assert_false(readable(bx_loop_fd(loop)));
    bx_timer_set(t, 1);
    bx_timer_set(t, 0); /* disarmed before anybody looked */
    assert_int_equal(bx_loop_dispatch(inner, 0), 0);
    assert_false(readable(bx_loop_fd(inner)));
    bx_source_remove(in_outer);
    bx_loop_free(inner);
}

static void dispatch_inside(struct bx_source *s, void *ud)
{
    assert_int_equal(bx_loop_dispatch(loop, 0), -EBUSY);
    note('b');
    bx_loop_quit(loop, 42);
}

static void run_ends_with_the_code_given_to_quit(void **state)
{
    struct bx_source *d = bx_loop_add_defer(loop, dispatch_inside, NULL);

    bx_defer_set(d);
    assert_int_equal(bx_loop_run(loop), 42);
    assert_string_equal(trace, "b");
    bx_loop_quit(loop, 3); /* before the run */
    assert_int_equal(bx_loop_run(loop), 3);
    bx_defer_set(d);
    assert_int_equal(bx_loop_run(loop), 42);
}

static int lowest_free_fd(void)
{
    int fd = dup(0);

    close(fd);
    return fd;
}

static void freed_loop_leaves_no_descriptor(void **state)
{
    int before = lowest_free_fd();

    for (int i = 0; i < 3; i++) {
        struct bx_loop *l = bx_loop_new();

        bx_loop_add_signal(l, SIGUSR1, see_signal, NULL);
        bx_loop_add_child(l, clone_child(0, 0), see_status, NULL);
        bx_loop_add_timer(l, note_timer, LETTER('t'));
        bx_loop_free(l);
        assert_true(waitpid(-1, NULL, __WALL) > 0);
    }
    assert_int_equal(lowest_free_fd(), before);
    assert_null(bx_loop_free(NULL));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_loop, close_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(readable_descriptor_is_reported_until_read),
        TEST(hangup_is_told_once_to_who_waits_for_nothing),
        TEST(half_closed_peer_can_still_be_written_to),
        TEST(descriptor_that_cannot_be_watched_is_refused),
        TEST(pending_sources_can_be_removed_within_the_round),
        TEST(lost_interest_counts_within_the_round),
        TEST(timers_fire_by_deadline_then_by_order_of_setting),
        TEST(many_timers_keep_the_heap_in_order),
        TEST(timer_set_in_its_callback_waits_for_the_next_round),
        TEST(due_timer_can_be_removed_by_an_earlier_one),
        TEST(timer_waits_for_its_time),
        TEST(children_report_codes_and_signals),
        TEST(child_waited_for_by_somebody_else_has_no_status),
        TEST(unwatched_child_is_left_alone),
        TEST(refused_child_descriptor_is_closed),
        TEST(signals_arrive_as_events),
        TEST(deferred_work_runs_once_per_setting),
        TEST(round_goes_timers_descriptors_children_deferred),
        TEST(loop_nests_in_another),
        TEST(run_ends_with_the_code_given_to_quit),
        TEST(freed_loop_leaves_no_descriptor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
