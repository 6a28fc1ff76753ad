/* SPDX-License-Identifier: Apache-2.0 */
/* Inside libboxlite: locks that are waited for without blocking, helper programs, members of archives,
 * options in rows. */
#include "api_help.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "runtime/job.h"
#include "runtime/members.h"
#include "runtime/options.h"

struct bench {
    char path[64];
    int dir;
    struct CBoxliteRuntime rt; /* only its loop and its jobs are used */
};

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));

    snprintf(b->path, sizeof(b->path), "/tmp/bx-lock-XXXXXX");
    assert_non_null(mkdtemp(b->path));
    b->dir = open(b->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    b->rt.loop = bx_loop_new();
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    bx_jobs_end(&b->rt);
    bx_loop_free(b->rt.loop);
    bx_rm_rf(AT_FDCWD, b->path);
    close(b->dir);
    free(b);
    return 0;
}

struct got {
    int done, fd, code;
};

static void on_lock(void *ud, int fd, const struct bx_err *err)
{
    struct got *g = ud;

    g->done++;
    g->fd = fd;
    g->code = err ? err->code : 0;
}

static void turn(struct bench *b, int *done, double limit)
{
    double end = seconds() + limit;

    while (!*done && seconds() < end)
        assert_true(bx_loop_dispatch(b->rt.loop, 100) >= 0);
    assert_true(*done);
}

static void a_free_lock_is_given_from_the_loop(void **state)
{
    struct bench *b = *state;
    struct got g = {.fd = -1};

    assert_non_null(bx_lock_wait(&b->rt, b->dir, "l", 0, on_lock, &g, NULL));
    assert_int_equal(g.done, 0);
    turn(b, &g.done, 5);
    assert_true(g.fd >= 0);
    assert_int_equal(bx_lock_try(b->dir, "l"), -EWOULDBLOCK);
    close(g.fd);
    g.fd = bx_lock_try(b->dir, "l");
    assert_true(g.fd >= 0);
    close(g.fd);
}

static void many_wait_for_one_lock_and_each_gets_it_once(void **state)
{
    struct bench *b = *state;
    struct got g[8];
    int held = bx_lock_try(b->dir, "l"), i, given = 0;

    for (i = 0; i < 8; i++) {
        g[i] = (struct got){.fd = -1};
        assert_non_null(bx_lock_wait(&b->rt, b->dir, "l", 0, on_lock, &g[i], NULL));
    }
    for (i = 0; i < 5; i++)
        bx_loop_dispatch(b->rt.loop, 20);
    for (i = 0; i < 8; i++)
        assert_int_equal(g[i].done, 0);
    close(held);
    for (given = 0; given < 8; given++) {
        double end = seconds() + 10;
        int who = -1;

        while (who < 0) {
            bx_loop_dispatch(b->rt.loop, 100);
            assert_true(seconds() < end);
            for (i = 0; i < 8; i++)
                if (g[i].done && g[i].fd >= 0)
                    who = i;
        }
        for (i = 0; i < 8; i++)
            assert_true(i == who || g[i].fd < 0); /* never two at a time */
        close(g[who].fd);
        g[who].fd = -1;
    }
}

static void a_killed_holder_lets_go(void **state)
{
    struct bench *b = *state;
    struct got g = {.fd = -1};
    int fds[2];
    char c;
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        if (bx_lock_try(b->dir, "l") < 0 || write(fds[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    assert_int_equal(read(fds[0], &c, 1), 1);
    assert_non_null(bx_lock_wait(&b->rt, b->dir, "l", 0, on_lock, &g, NULL));
    bx_loop_dispatch(b->rt.loop, 50);
    assert_int_equal(g.done, 0);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    turn(b, &g.done, 5);
    assert_true(g.fd >= 0);
    close(g.fd);
    close(fds[0]);
    close(fds[1]);
}

/* Whoever cleans up removes a lock's file while he holds it. Those who wait meet at the next file, not at the old one. */
static void a_lock_whose_file_is_removed_is_waited_for_anew(void **state)
{
    struct bench *b = *state;
    struct got g[3];
    int held = bx_lock_try(b->dir, "l"), i, round, have;

    for (i = 0; i < 3; i++) {
        g[i] = (struct got){.fd = -1};
        assert_non_null(bx_lock_wait(&b->rt, b->dir, "l", 0, on_lock, &g[i], NULL));
    }
    for (i = 0; i < 5; i++)
        bx_loop_dispatch(b->rt.loop, 20);
    assert_int_equal(unlinkat(b->dir, "l", 0), 0);
    close(held);
    for (round = 0; round < 3; round++) {
        struct stat mine, named;
        double end = seconds() + 10;

        for (have = -1; have < 0;) {
            bx_loop_dispatch(b->rt.loop, 100);
            assert_true(seconds() < end);
            for (i = 0; i < 3; i++)
                if (g[i].fd >= 0)
                    have = i;
        }
        assert_int_equal(fstat(g[have].fd, &mine), 0);
        assert_int_equal(fstatat(b->dir, "l", &named, 0), 0);
        assert_int_equal(mine.st_ino, named.st_ino);
        assert_int_equal(bx_lock_try(b->dir, "l"), -EWOULDBLOCK);
        for (i = 0; i < 3; i++)
            assert_true(i == have || g[i].fd < 0);
        if (round == 1) /* again */
            assert_int_equal(unlinkat(b->dir, "l", 0), 0);
        close(g[have].fd);
        g[have].fd = -1;
    }
}

static void a_deadline_ends_the_wait(void **state)
{
    struct bench *b = *state;
    struct got g = {.fd = -1};
    int held = bx_lock_try(b->dir, "l");

    assert_non_null(bx_lock_wait(&b->rt, b->dir, "l", bx_now() + 50 * BX_MSEC, on_lock, &g, NULL));
    turn(b, &g.done, 5);
    assert_int_equal(g.fd, -1);
    assert_int_equal(g.code, BX_ESTORAGE);
    close(held);
    /* Giving up leaves nothing behind. */
    bx_lock_wait_free(bx_lock_wait(&b->rt, b->dir, "l", 0, on_lock, &g, NULL));
    bx_loop_dispatch(b->rt.loop, 20);
    assert_int_equal(g.done, 1);
}

struct said {
    int done;
    char text[256];
    uint64_t progress;
};

static void on_job(void *ud, const char *text, size_t len)
{
    struct said *s = ud;

    s->done++;
    snprintf(s->text, sizeof(s->text), "%.*s", (int)len, text);
}

static void on_progress(void *ud, uint64_t done, uint64_t total)
{
    ((struct said *)ud)->progress = done * 1000 + total;
}

static struct bx_job *shell(struct bench *b, const char *script, struct said *s)
{
    char name[] = "sh", option[] = "-c", text[256], *argv[] = {name, option, text, NULL};
    struct bx_spawn spawn = {.path = "/bin/sh", .argv = argv};
    struct bx_err err = BX_ERR_INIT;
    struct bx_job *j;

    snprintf(text, sizeof(text), "%s", script);
    j = bx_job_start(&b->rt, &spawn, 5, on_job, s, &err);

    if (!j)
        fail_msg("%s", err.msg);
    return j;
}

static void a_helper_is_heard_to_its_end_and_is_no_child_of_ours(void **state)
{
    struct bench *b = *state;
    struct said s = {0};
    struct bx_err err = BX_ERR_INIT;

    bx_job_on_progress(shell(b, "echo progress 3 4 >&5; echo error 8 bad\x1bthing >&5; exit 1", &s),
                       on_progress);
    turn(b, &s.done, 10);
    assert_int_equal(s.progress, 3004);
    assert_int_equal(bx_job_unpack_result(s.text, strlen(s.text), &err), -BX_EIMAGE);
    assert_non_null(strstr(err.msg, "bad"));
    assert_null(strchr(err.msg, 0x1b));
    assert_int_equal(bx_job_unpack_result("progress 1 2\nok 1 2\n", 20, &err), 0);
    assert_int_equal(bx_job_unpack_result("", 0, &err), -BX_EIMAGE);
    assert_int_equal(bx_job_unpack_result("okay\n", 5, &err), -BX_EIMAGE);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void a_killed_helper_is_not_heard_of_again(void **state)
{
    struct bench *b = *state;
    struct said s = {0};

    assert_null(bx_job_kill(shell(b, "sleep 100", &s)));
    bx_loop_dispatch(b->rt.loop, 50);
    assert_int_equal(s.done, 0);
    assert_null(b->rt.jobs);
}

static void members_are_found_by_name_content_and_link(void **state)
{
#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    static const char text[] =
        "progress 1 2\nmember 4096 10 " HEX " ./a%20b/layer.tar\nlink c/layer.tar ../a%20b/layer.tar\n"
        "link loop loop\nok 1 10\n";
    struct bx_members m = {0};
    const struct bx_member *found;

    (void)state;
    assert_int_equal(bx_members_parse(&m, text, strlen(text), NULL), 0);
    assert_int_equal(m.count, 3);
    found = bx_members_by_name(&m, "a b/layer.tar", false);
    assert_non_null(found);
    assert_int_equal(found->at, 4096);
    assert_ptr_equal(bx_members_by_name(&m, "c/layer.tar", true), found);
    assert_null(bx_members_by_name(&m, "c/layer.tar", false));
    assert_null(bx_members_by_name(&m, "loop", true));
    assert_ptr_equal(bx_members_by_digest(&m, "sha256:" HEX), found);
    assert_null(bx_members_by_digest(&m, "sha256:1"));
    bx_members_done(&m);
    assert_int_equal(bx_members_parse(&m, "member x y z\n", 13, NULL), -BX_ERPC);
    bx_members_done(&m);
}

static void options_survive_their_row(void **state)
{
    CBoxliteOptions *o = NULL, *back = NULL;
    const char *args[] = {"a", "", "c d"};
    char *json = NULL;

    (void)state;
    boxlite_options_new("python:slim", &o, NULL);
    boxlite_options_set_cpus(o, 3);
    boxlite_options_set_cpus(o, -1); /* ignored */
    boxlite_options_add_env(o, "K", "v=\xc3\xa4\n");
    boxlite_options_set_cmd(o, args, 3);
    boxlite_options_set_entrypoint(o, NULL, 0); /* empty, and given */
    boxlite_options_set_auto_delete_interval(o, 0);
    boxlite_options_set_detach(o, 1);
    boxlite_options_set_engine(o, "tcg");
    assert_int_equal(bx_options_check(o, NULL), 0);
    assert_int_equal(bx_options_to_json(o, &json, NULL), 0);
    assert_int_equal(bx_options_from_json(json, &back, NULL), 0);
    assert_string_equal(back->image, "python:slim");
    assert_int_equal(back->cpus, 3);
    assert_int_equal(back->memory_mib, 1024);
    assert_string_equal(back->env[0], "K=v=\xc3\xa4\n");
    assert_int_equal(bx_strv_len(back->cmd), 3);
    assert_string_equal(back->cmd[1], "");
    assert_non_null(back->entrypoint);
    assert_null(back->entrypoint[0]);
    assert_true(bx_options_main(back));
    assert_false(bx_options_remove_on_stop(back));
    assert_string_equal(back->engine, "tcg");
    boxlite_options_free(back);
    back = NULL;
    /* Of a newer library: what is not known is left out; what is wrong is an error of the row. */
    assert_int_equal(bx_options_from_json("{\"image\":\"x\",\"hologram\":[1,2]}", &back, NULL), 0);
    assert_false(bx_options_remove_on_stop(back)); /* kept, as nothing was said */
    assert_false(bx_options_main(back));
    boxlite_options_free(back);
    assert_int_equal(bx_options_from_json("{\"cpus\":\"many\"}", &back, NULL), -BX_EDATABASE);
    assert_int_equal(bx_options_from_json("{", &back, NULL), -BX_EDATABASE);
    free(json);
    boxlite_options_free(o);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_free_lock_is_given_from_the_loop),
        T(many_wait_for_one_lock_and_each_gets_it_once),
        T(a_killed_holder_lets_go),
        T(a_lock_whose_file_is_removed_is_waited_for_anew),
        T(a_deadline_ends_the_wait),
        T(a_helper_is_heard_to_its_end_and_is_no_child_of_ours),
        T(a_killed_helper_is_not_heard_of_again),
        cmocka_unit_test(members_are_found_by_name_content_and_link),
        cmocka_unit_test(options_survive_their_row),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
