/* SPDX-License-Identifier: Apache-2.0 */
/* test_shim.c - boxlite-shim with real machines. With an argument N it measures N starts instead. */
#include "shim_help.h"

/* --- tests --- */

static void a_command_runs_and_the_box_stops_in_order(void **state)
{
    struct box b;
    struct bx_exit_record r;

    box_up(&b);
    assert_int_equal(b.c->info.state, BX_BOX_RUNNING);
    assert_string_equal(b.c->info.engine, "tcg");
    assert_true(alive(b.c->info.qemu_pid) && (pid_t)b.c->info.shim_pid == b.pid);
    run_ok(b.c, 1, "echo $(hostname) $PWD; echo kept > file; sync", "testbox /root\n");
    stop(b.c, 9, false);
    WAIT(b.c, b.c->gone_seen);
    assert_int_equal(b.c->oks, 1);
    assert_int_equal(b.c->gone.state, BX_BOX_STOPPED);
    read_record(&b, &r);
    assert_false(r.failed);
    assert_false(alive(b.c->info.qemu_pid));
    /* a clean disk: the next start finds the file */
    uint32_t qemu = b.c->info.qemu_pid;
    peer_free(b.c);
    assert_int_equal(bx_spawn_wait(b.pidfd), 0);
    close(b.pidfd);
    box_spawn(&b);
    WAIT(b.c, b.c->up);
    assert_int_not_equal(b.c->info.qemu_pid, qemu);
    run_ok(b.c, 1, "cat file", "kept\n");
    stop(b.c, 9, true);
    WAIT(b.c, b.c->gone_seen);
    assert_int_equal(box_wait(&b), 0);
}

static void what_is_asked_before_the_box_is_up_is_answered_when_it_is(void **state)
{
    struct box b;

    box_make(&b);
    box_spawn(&b);
    send_run(b.c, 1, &(struct run){.script = "echo early"});
    WAIT(b.c, b.c->exits == 1);
    assert_true(b.c->up);
    assert_string_equal(b.c->out, "early\n");
    stop(b.c, 0, true);
    WAIT(b.c, b.c->gone_seen);
    assert_int_equal(box_wait(&b), 0);
}

static void another_program_connects_and_streams_stdin(void **state)
{
    struct box b;
    struct peer *c;
    char *data = malloc(3000000);
    size_t sent = 0;
    uint32_t window = BX_WINDOW;

    bx_random(data, 3000000);
    box_up(&b);
    c = box_connect(&b);
    WAIT(c, c->up);
    assert_int_equal(c->info.clients, 2);
    send_run(c, 3, &(struct run){.script = "cat", .in = true});
    while (sent < 3000000) {
        size_t n = 3000000 - sent;

        n = n < 50000 ? n : 50000;
        n = n < window ? n : window;
        if (n > 0) {
            assert_int_equal(bx_link_send_data(&c->link, 3, 0, data + sent, n), 0);
            sent += n;
            window -= (uint32_t)n;
        } else {
            WAIT(c, c->credit[3] > 0);
            window += c->credit[3];
            c->credit[3] = 0;
        }
    }
    assert_int_equal(bx_link_send_eof(&c->link, 3, 0), 0);
    WAIT(c, c->exits == 1);
    assert_int_equal(c->out_len, 3000000);
    assert_true(c->out_hash == bx_fnv1a(BX_FNV1A_SEED, data, 3000000));
    free(data);
    /* it leaves, and the box goes on */
    peer_free(c);
    run_ok(b.c, 1, "echo still here", "still here\n");
    stop(b.c, 0, true);
    WAIT(b.c, b.c->gone_seen);
    assert_int_equal(box_wait(&b), 0);
}

static void the_box_ends_with_its_main_process(void **state)
{
    struct box b;
    struct bx_exit_record r;

    box_up(&b);
    send_run(b.c, 1, &(struct run){.script = "echo bye; exit 42", .main = true});
    WAIT(b.c, b.c->gone_seen);
    assert_string_equal(b.c->out, "bye\n");
    assert_int_equal(b.c->exit.code, 42);
    assert_int_equal(b.c->gone.exit_code, 42);
    read_record(&b, &r);
    assert_true(r.has_exit_code && r.exit_code == 42 && !r.failed);
    assert_int_equal(box_wait(&b), 0);
}

static void a_detached_box_survives_its_starter_and_still_ends_with_its_main_process(void **state)
{
    struct box b;
    struct peer *c;

    box_make(&b);
    b.plan.detached = true;
    box_spawn(&b);
    WAIT(b.c, b.c->up);
    send_run(b.c, 1,
             &(struct run){.script = "while [ ! -e /root/end ]; do sleep 0.1; done; exit 7",
                           .main = true,
                           .detached = true});
    WAIT(b.c, b.c->started == 1);
    peer_free(b.c);
    b.c = NULL;
    c = box_connect(&b);
    run_ok(c, 1, "touch /root/end", "");
    WAIT(c, c->gone_seen);
    assert_int_equal(c->gone.exit_code, 7);
    peer_free(c);
    assert_int_equal(box_wait(&b), 0);
}

static void a_box_that_is_not_detached_ends_with_its_starter(void **state)
{
    struct box b;
    struct peer *c;
    uint32_t qemu;

    box_up(&b);
    qemu = b.c->info.qemu_pid;
    c = box_connect(&b);
    send_run(c, 1, &(struct run){.script = "sleep 1000"});
    WAIT(c, c->started == 1);
    peer_free(b.c);
    b.c = NULL;
    WAIT(c, c->gone_seen);
    assert_int_equal(c->gone.state, BX_BOX_STOPPED);
    peer_free(c);
    assert_int_equal(box_wait(&b), 0);
    assert_false(alive(qemu));
}

static void a_killed_qemu_fails_the_box_and_all_that_wait_for_it(void **state)
{
    struct box b;
    struct bx_exit_record r;

    box_up(&b);
    send_run(b.c, 1, &(struct run){.script = "echo up; sleep 1000"});
    WAIT(b.c, b.c->out_len > 0);
    kill((pid_t)b.c->info.qemu_pid, SIGKILL);
    WAIT(b.c, b.c->gone_seen);
    assert_true(b.c->error_seen);
    assert_int_equal(b.c->gone.state, BX_BOX_FAILED);
    assert_non_null(strstr(b.c->gone.message, "signal 9"));
    assert_false(b.c->gone.template_suspect);
    read_record(&b, &r);
    assert_true(r.failed && r.code == BX_EENGINE);
    assert_int_equal(box_wait(&b), 1);
}

static void a_killed_shim_takes_its_machine_along(void **state)
{
    struct box b;
    uint32_t qemu;
    int64_t until = bx_now() + DEADLINE;

    box_up(&b);
    qemu = b.c->info.qemu_pid;
    kill(b.pid, SIGKILL);
    assert_int_equal(box_wait(&b), 128 + SIGKILL);
    while (alive(qemu) && bx_now() < until)
        poll(NULL, 0, 5);
    assert_false(alive(qemu));
}

static void a_hung_machine_is_found_out(void **state)
{
    struct box b;
    uint32_t qemu;

    box_up(&b);
    qemu = b.c->info.qemu_pid;
    run_ok(b.c, 1, "true", "");
    kill((pid_t)qemu, SIGSTOP);
    send_run(b.c, 2, &(struct run){.script = "true"});
    WAIT(b.c, b.c->gone_seen);
    assert_int_equal(b.c->gone.state, BX_BOX_FAILED);
    assert_non_null(strstr(b.c->gone.message, "does not answer"));
    assert_int_equal(box_wait(&b), 1);
    assert_false(alive(qemu));
}

static void a_box_runs_once_at_a_time(void **state)
{
    struct box b, second;

    box_up(&b);
    second = b;
    box_spawn(&second);
    WAIT(second.c, second.c->gone_seen);
    assert_int_equal(second.c->gone.code, BX_ESTATE);
    assert_non_null(strstr(second.c->gone.message, "running already"));
    peer_free(second.c);
    assert_int_equal(bx_spawn_wait(second.pidfd), 1);
    close(second.pidfd);
    run_ok(b.c, 1, "echo first", "first\n");
    stop(b.c, 0, true);
    WAIT(b.c, b.c->gone_seen);
    assert_int_equal(box_wait(&b), 0);
}

static void a_missing_or_damaged_template_is_told_as_such(void **state)
{
    struct box b;

    box_make(&b);
    b.plan.template_name = (char *)"none";
    box_spawn(&b);
    WAIT(b.c, b.c->gone_seen);
    assert_int_equal(b.c->gone.state, BX_BOX_FAILED);
    assert_true(b.c->gone.template_suspect);
    assert_int_equal(box_wait(&b), 1);
}

static void sigterm_stops_it_in_order(void **state)
{
    struct box b;

    box_up(&b);
    kill(b.pid, SIGTERM);
    WAIT(b.c, b.c->gone_seen);
    assert_int_equal(b.c->gone.state, BX_BOX_STOPPED);
    assert_int_equal(box_wait(&b), 0);
}

static void figures_come_with_the_agents_and_without_them_when_it_is_slow(void **state)
{
    struct box b;
    struct peer *c;
    boxlite_BoxInfoGet get = {.request = 1};

    box_up(&b);
    c = box_connect(&b);
    WAIT(c, c->up);
    assert_int_equal(c->info.guest.memory_max, 0); /* nobody asked */
    c->up = false;
    OK(bx_msg_send(&c->link, BX_MSG_BOX_INFO_GET, 0, &get, &err));
    WAIT(c, c->up);
    assert_true(c->info.memory_bytes > 0 && c->info.guest.memory_max > 0);
    assert_int_equal(kill((pid_t)c->info.qemu_pid, SIGSTOP), 0);
    for (int i = 0; i < 3; i++)
        OK(bx_msg_send(&c->link, BX_MSG_BOX_INFO_GET, 0, &get, &err));
    c->up = false;
    WAIT(c, c->up);
    assert_true(c->info.memory_bytes > 0);
    assert_int_equal(c->info.guest.memory_max, 0);
    assert_int_equal(kill((pid_t)c->info.qemu_pid, SIGCONT), 0);
    run_ok(c, 1, "echo fine", "fine\n"); /* the late Pong harms nobody */
    peer_free(c);
    stop(b.c, 0, true);
    WAIT(b.c, b.c->gone_seen);
    assert_int_equal(box_wait(&b), 0);
}

/* Seccomp filters of a process; the test itself may run under some. */
static uint64_t filters(int pid)
{
    bx_cleanup_free char *path = bx_strf("/proc/%d/status", pid), *status = NULL;
    uint64_t n = 0;
    char *at;

    assert_int_equal(bx_read_file(AT_FDCWD, path, 65536, &status, NULL), 0);
    at = strstr(status, "\nSeccomp_filters:");
    assert_non_null(at);
    at += strcspn(at, "0123456789");
    at[strspn(at, "0123456789")] = '\0';
    assert_int_equal(bx_parse_u64(at, 0, 1000, &n), 0);
    return n;
}

static void walls_that_were_switched_off_are_not_there_and_said_so(void **state)
{
    static const struct {
        unsigned layers;
        const char *said, *there, *missing;
    } cases[] = {
        {BX_JAIL_NNP | BX_JAIL_RLIMITS | BX_JAIL_SECCOMP, "switched off: jailer", "seccomp", "caps"},
        {BX_JAIL_ALL & ~BX_JAIL_SECCOMP, "switched off: seccomp", "caps", " seccomp "},
        {BX_JAIL_NNP | BX_JAIL_RLIMITS, "switched off: jailer seccomp", "rlimits", "caps"},
    };

    for (size_t i = 0; i < BX_ARRAY_SIZE(cases); i++) {
        bool filtered = cases[i].layers & BX_JAIL_SECCOMP;
        struct box b;

        box_make(&b);
        b.plan.jail_layers = cases[i].layers;
        box_spawn(&b);
        WAIT(b.c, b.c->up);
        run_ok(b.c, 1, "echo runs", "runs\n");
        if (!strstr(b.c->info.jail, cases[i].said) || !strstr(b.c->info.jail, cases[i].there) ||
            strstr(b.c->info.jail, cases[i].missing) != NULL)
            fail_msg("jail: %s", b.c->info.jail);
        assert_int_equal(filters((int)b.c->info.qemu_pid) > filters(getpid()), filtered);
        stop(b.c, 0, true);
        WAIT(b.c, b.c->gone_seen);
        assert_int_equal(box_wait(&b), 0);
    }
}

static void bytes_that_are_no_protocol_end_that_client_only(void **state)
{
    struct box b;
    struct peer *c;
    char junk[100];

    box_up(&b);
    c = box_connect(&b);
    memset(junk, 0xff, sizeof(junk));
    assert_int_equal(send(c->fd, junk, sizeof(junk), MSG_NOSIGNAL), sizeof(junk));
    for (int64_t until = bx_now() + DEADLINE; !c->closed && bx_now() < until;)
        peer_io(c, 1000);
    assert_true(c->closed && c->error_seen);
    peer_free(c);
    run_ok(b.c, 1, "echo fine", "fine\n");
    stop(b.c, 0, true);
    WAIT(b.c, b.c->gone_seen);
    assert_int_equal(box_wait(&b), 0);
}

static void the_probe_answers_in_one_line(void **state)
{
    struct bx_shim_plan p = {.kind = BX_SHIM_PROBE, .fd = 4};
    struct bx_engine_verdict v;
    char line[512];
    bx_cleanup_free char *text = NULL;
    uint64_t tsc = 0;
    size_t len;
    int fds[2], pidfd;

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pidfd = spawn_shim(&p, fds[1], NULL);
    close(fds[1]);
    assert_int_equal(bx_read_fd(fds[0], 65536, &text, &len), 0);
    close(fds[0]);
    assert_int_equal(bx_spawn_wait(pidfd), 0);
    close(pidfd);
    OK(bx_shim_probe_parse(text, len, line, sizeof(line) - 1, &tsc, &err));
    assert_true(tsc > 100000);
    strcat(line, "\n");
    OK(bx_probe_parse(line, &v, &err));
}

/* The process below `pid` whose name begins with `name`, or 0. */
static pid_t descendant(pid_t pid, const char *name)
{
    bx_cleanup_free char *path = bx_strf("/proc/%d/task/%d/children", (int)pid, (int)pid), *text = NULL;
    char *save = NULL;

    if (bx_read_file(AT_FDCWD, path, 4096, &text, NULL) < 0)
        return 0;
    for (char *w = strtok_r(text, " \n", &save); w; w = strtok_r(NULL, " \n", &save)) {
        bx_cleanup_free char *comm_path = bx_strf("/proc/%s/comm", w), *comm = NULL;
        uint64_t child;
        pid_t found;

        if (bx_parse_u64(w, 1, INT32_MAX, &child) < 0 ||
            bx_read_file(AT_FDCWD, comm_path, 64, &comm, NULL) < 0)
            continue;
        if (bx_starts_with(comm, name))
            return (pid_t)child;
        found = descendant((pid_t)child, name);
        if (found)
            return found;
    }
    return 0;
}

static void a_boot_that_hangs_is_tried_once_more(void **state)
{
    bx_cleanup_free char *templates = bx_strf("%s/templates2", g.home);
    struct bx_shim_plan p;
    int64_t until = bx_now() + DEADLINE;
    int fds[2], pidfd;
    pid_t shim, qemu;

    assert_int_equal(mkdir(templates, 0700), 0);
    fill_plan(&p, BX_SHIM_TEMPLATE);
    p.templates_dir = templates;
    p.timeout_ms = 45000;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pidfd = spawn_shim(&p, fds[1], &shim);
    close(fds[1]);
    while (!(qemu = descendant(shim, "qemu-system")) && bx_now() < until)
        poll(NULL, 0, 5);
    assert_true(qemu > 0);
    assert_int_equal(kill(qemu, SIGSTOP), 0);
    if (wait_template(pidfd, fds[0]) != 0)
        fail_msg("%s", err.msg);
    assert_false(alive((uint32_t)qemu));
    /* and one that nobody waits for any more is given up */
    p.template_name = (char *)"tcg-other";
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pidfd = spawn_shim(&p, fds[1], &shim);
    close(fds[1]);
    close(fds[0]);
    assert_int_equal(bx_spawn_wait(pidfd), 1);
    close(pidfd);
}

static int compare(const void *a, const void *b)
{
    return (*(const int64_t *)a > *(const int64_t *)b) - (*(const int64_t *)a < *(const int64_t *)b);
}

static void measure(int n)
{
    int64_t *up = calloc((size_t)n, sizeof(*up)), *first = calloc((size_t)n, sizeof(*first)),
            *end = calloc((size_t)n, sizeof(*end));

    for (int i = 0; i < n; i++) {
        struct box b;
        int64_t t;

        box_make(&b);
        t = bx_now();
        box_spawn(&b);
        send_run(b.c, 1, &(struct run){.script = ":"});
        WAIT(b.c, b.c->up);
        up[i] = bx_now() - t;
        WAIT(b.c, b.c->exits == 1);
        first[i] = bx_now() - t;
        if (i == n - 1) {
            boxlite_BoxInfoGet get = {.request = 1};

            OK(bx_msg_send(&b.c->link, BX_MSG_BOX_INFO_GET, 0, &get, &err));
            WAIT(b.c, b.c->info.memory_bytes > 0);
            printf("spawn %u us, restore %u us, start %u us, CPU %llu us, memory %llu KiB, jail: %s\n",
                   b.c->info.spawn_us, b.c->info.restore_us, b.c->info.start_us,
                   (unsigned long long)b.c->info.cpu_ns / 1000,
                   (unsigned long long)b.c->info.memory_bytes / 1024, b.c->info.jail);
        }
        t = bx_now();
        stop(b.c, 1, i % 2);
        WAIT(b.c, b.c->gone_seen);
        end[i] = bx_now() - t;
        if (i % 2)
            end[i] = 0;
        if (i == n - 1) {
            bx_cleanup_free char *log = bx_strf("%s/shim.log", b.dir), *text = NULL;

            if (bx_read_file(AT_FDCWD, log, 65536, &text, NULL) == 0)
                printf("%s", text);
        }
        box_wait(&b);
    }
    qsort(up, (size_t)n, sizeof(*up), compare);
    qsort(first, (size_t)n, sizeof(*first), compare);
    qsort(end, (size_t)n, sizeof(*end), compare);
    printf("n %d: BoxInfo median %.1f p95 %.1f ms; first command's exit median %.1f p95 %.1f ms; stop median "
           "%.1f ms\n",
           n, (double)up[n / 2] / 1e6, (double)up[n * 95 / 100] / 1e6, (double)first[n / 2] / 1e6,
           (double)first[n * 95 / 100] / 1e6, (double)end[n * 3 / 4] / 1e6);
    free(up);
    free(first);
    free(end);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_probe_answers_in_one_line),
        cmocka_unit_test(a_command_runs_and_the_box_stops_in_order),
        cmocka_unit_test(what_is_asked_before_the_box_is_up_is_answered_when_it_is),
        cmocka_unit_test(another_program_connects_and_streams_stdin),
        cmocka_unit_test(the_box_ends_with_its_main_process),
        cmocka_unit_test(a_detached_box_survives_its_starter_and_still_ends_with_its_main_process),
        cmocka_unit_test(a_box_that_is_not_detached_ends_with_its_starter),
        cmocka_unit_test(a_killed_qemu_fails_the_box_and_all_that_wait_for_it),
        cmocka_unit_test(a_killed_shim_takes_its_machine_along),
        cmocka_unit_test(a_hung_machine_is_found_out),
        cmocka_unit_test(a_box_runs_once_at_a_time),
        cmocka_unit_test(a_missing_or_damaged_template_is_told_as_such),
        cmocka_unit_test(sigterm_stops_it_in_order),
        cmocka_unit_test(bytes_that_are_no_protocol_end_that_client_only),
        cmocka_unit_test(figures_come_with_the_agents_and_without_them_when_it_is_slow),
        cmocka_unit_test(walls_that_were_switched_off_are_not_there_and_said_so),
        cmocka_unit_test(a_boot_that_hangs_is_tried_once_more),
    };

    if (argc == 2) {
        group_setup(NULL);
        measure(atoi(argv[1]));
        return group_teardown(NULL);
    }
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
