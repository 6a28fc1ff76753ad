/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.c - what a program that embeds libboxlite sees: one measurement a run, samples as one line of JSON.
 *
 *     bxbench MEASURE IMAGE N       (home: BOXLITE_HOME)
 *
 * bench.py runs it, adds whole commands and the peers, and prints the table.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "boxlite.h"

#define CHUNK (256 * 1024)

static CBoxliteRuntime *rt;

static double now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static _Noreturn void die(const char *what, const CBoxliteError *e)
{
    fprintf(stderr, "bxbench: %s: %s\n", what, e && e->message ? e->message : "failed");
    exit(1);
}

static void must(const char *what, BoxliteErrorCode rc, CBoxliteError *e)
{
    if (rc != Ok)
        die(what, e);
}

/* One answer of a posted call; a failed one ends the benchmark. */
struct answer {
    const char *what;
    bool done;
    void *result;
};

static void take(struct answer *a, void *result, CBoxliteError *error)
{
    if (error)
        die(a->what, error);
    a->done = true;
    a->result = result;
}

static void on_plain(CBoxliteError *error, void *ud)
{
    take(ud, NULL, error);
}
static void on_box(CBoxHandle *box, CBoxliteError *error, void *ud)
{
    take(ud, box, error);
}
static void on_exec(CExecutionHandle *execution, CBoxliteError *error, void *ud)
{
    take(ud, execution, error);
}
static void on_info(CBoxliteInfo *info, CBoxliteError *error, void *ud)
{
    take(ud, info, error);
}
static void on_code(int code, CBoxliteError *error, void *ud)
{
    take(ud, (void *)(intptr_t)code, error);
}

static void drain_until(const bool *done)
{
    while (!*done) {
        CBoxliteError e = { Ok, NULL };
        if (boxlite_runtime_drain(rt, -1, &e) < 0)
            die("drain", &e);
    }
}

static void *wait_for(struct answer *a)
{
    drain_until(&a->done);
    return a->result;
}

static CBoxHandle *create_with(const char *image, const char *preset)
{
    CBoxliteError e = { Ok, NULL };
    CBoxliteOptions *o = NULL;
    CAdvancedBoxOptions *advanced = NULL;
    must("options", boxlite_options_new(image, &o, &e), &e);
    must("options", boxlite_advanced_options_new(&advanced, &e), &e);
    must("preset", boxlite_advanced_options_set_security_preset(advanced, preset, &e), &e);
    boxlite_options_set_advanced(o, advanced);
    boxlite_advanced_options_free(advanced);
    boxlite_options_set_memory(o, 512);
    boxlite_options_set_auto_delete_interval(o, 0);
    struct answer a = { .what = "create" };
    must("create", boxlite_create_box(rt, o, on_box, &a, &e), &e);
    return wait_for(&a);
}

static CBoxHandle *create(const char *image)
{
    return create_with(image, "standard");
}

static void post_start(CBoxHandle *box, struct answer *a)
{
    CBoxliteError e = { Ok, NULL };
    a->what = "start";
    must("start", boxlite_start_box(box, on_plain, a, &e), &e);
}

static void start(CBoxHandle *box)
{
    struct answer a = { 0 };
    post_start(box, &a);
    wait_for(&a);
}

static void stop(CBoxHandle *box)
{
    CBoxliteError e = { Ok, NULL };
    struct answer a = { .what = "stop" };
    must("stop", boxlite_stop_box(box, on_plain, &a, &e), &e);
    wait_for(&a);
}

static void remove_forced(CBoxHandle *box)
{
    CBoxliteError e = { Ok, NULL };
    struct answer a = { .what = "remove" };
    char *id = boxlite_box_id(box);
    must("remove", boxlite_remove(rt, id, 1, on_plain, &a, &e), &e);
    wait_for(&a);
    boxlite_free_string(id);
    boxlite_box_free(box);
}

static void post_exec(CBoxHandle *box, const char *const *argv, bool with_stdin, struct answer *a)
{
    CBoxliteError e = { Ok, NULL };
    int argc = 0;
    while (argv[argc + 1])
        argc++;
    BoxliteCommand c = { .command = argv[0], .args = argv + 1, .argc = argc };
    BoxliteExecOptions options = BOXLITE_EXEC_OPTIONS_INIT;
    options.stdin_closed = !with_stdin;
    a->what = argv[0];
    must("exec", boxlite_box_exec_post(box, &c, &options, on_exec, a, &e), &e);
}

static int wait_exit(CExecutionHandle *execution)
{
    CBoxliteError e = { Ok, NULL };
    struct answer a = { .what = "wait" };
    must("wait", boxlite_execution_wait(execution, on_code, &a, &e), &e);
    int code = (int)(intptr_t)wait_for(&a);
    boxlite_execution_free(execution);
    return code;
}

static void run(CBoxHandle *box, const char *const *argv)
{
    struct answer a = { 0 };
    post_exec(box, argv, false, &a);
    int code = wait_exit(wait_for(&a));
    if (code != 0) {
        fprintf(stderr, "bxbench: %s ended with %d\n", argv[0], code);
        exit(1);
    }
}

static const char *const true_argv[] = { "true", NULL };

/* --- output: {"name": [samples]} lines */

static void print_samples(const char *name, const double *v, int n)
{
    printf("{\"%s\": [", name);
    for (int i = 0; i < n; i++)
        printf("%s%.4f", i ? ", " : "", v[i]);
    printf("]}\n");
    fflush(stdout);
}

static double fact_ms(CBoxHandle *box, const char *const *keys)
{
    CBoxliteError e = { Ok, NULL };
    struct answer a = { .what = "details" };
    must("details", boxlite_box_details(box, on_info, &a, &e), &e);
    CBoxliteInfo *info = wait_for(&a);
    double sum = 0;
    for (; *keys; keys++) {
        const char *v = boxlite_info_get(info, *keys);
        sum += v ? strtod(v, NULL) / 1e3 : 0;
    }
    boxlite_info_free(info);
    return sum;
}

static double *samples(int n)
{
    double *v = calloc((size_t)n + 1, sizeof(*v));
    if (!v)
        abort();
    return v;
}

/* --- measures */

static void measure_start(const char *image, int n)
{
    static const char *const answer[] = { "spawn_us", "restore_us", NULL };
    static const char *const ready[] = { "spawn_us", "restore_us", "start_us", NULL };
    double *whole = samples(n), *first = samples(n), *usable = samples(n), *stopped = samples(n), *removed = samples(n);
    for (int i = 0; i < n; i++) {
        CBoxHandle *box = create(image);
        double t = now_ms();
        start(box);
        whole[i] = now_ms() - t;
        first[i] = fact_ms(box, answer);
        usable[i] = fact_ms(box, ready);
        t = now_ms();
        stop(box);
        stopped[i] = now_ms() - t;
        remove_forced(box);
        box = create(image);
        start(box);
        t = now_ms();
        remove_forced(box);
        removed[i] = now_ms() - t;
    }
    print_samples("start: spawn of the shim to first answer", first, n);
    print_samples("start: spawn of the shim to ready", usable, n);
    print_samples("start: call to answer", whole, n);
    print_samples("stop", stopped, n);
    print_samples("rm -f of a running box", removed, n);
}

static void measure_exec(const char *image, int n)
{
    double *v = samples(n);
    CBoxHandle *box = create(image);
    start(box);
    for (int i = 0; i < 5; i++)
        run(box, true_argv);
    for (int i = 0; i < n; i++) {
        double t = now_ms();
        run(box, true_argv);
        v[i] = now_ms() - t;
    }
    print_samples("exec of a static binary", v, n);
    remove_forced(box);
}

static void rest_ms(int ms)
{
    struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };
    nanosleep(&ts, NULL);
}

/* A second after the last command the machine of a box in which nothing runs is stopped: what does the next one pay? */
static void measure_rested(const char *image, int n)
{
    double *running = samples(n), *stopped = samples(n);
    CBoxHandle *box = create(image);
    start(box);
    for (int i = 0; i < 2 * n; i++) {
        run(box, true_argv);
        rest_ms(i % 2 ? 500 : 2000);
        double t = now_ms();
        run(box, true_argv);
        (i % 2 ? running : stopped)[i / 2] = now_ms() - t;
    }
    print_samples("exec after half a second, machine running", running, n);
    print_samples("exec after two seconds, machine stopped", stopped, n);
    remove_forced(box);
}

struct slot {
    struct answer exec, code;
    bool waiting;
};

static void burst_exit(int code, CBoxliteError *error, void *ud)
{
    struct slot *s = ud;
    take(&s->code, (void *)(intptr_t)code, error);
}

/* Keeps 50 commands in flight until n were run; all must end with 0. */
static void measure_burst(const char *image, int n)
{
    enum { FLIGHT = 50 };
    struct slot slots[FLIGHT] = { 0 };
    CBoxHandle *box = create(image);
    start(box);
    run(box, true_argv);
    int begun = 0, ended = 0, lost = 0;
    double t = now_ms();
    while (ended < n) {
        for (int i = 0; i < FLIGHT; i++) {
            struct slot *s = &slots[i];
            if (s->code.done) {
                lost += s->code.result != NULL;
                boxlite_execution_free(s->exec.result);
                *s = (struct slot){ 0 };
                ended++;
            }
            if (s->exec.what == NULL && begun < n) {
                post_exec(box, true_argv, false, &s->exec);
                begun++;
            } else if (s->exec.done && !s->waiting) {
                s->waiting = true;
                s->code.what = "wait";
                boxlite_execution_wait(s->exec.result, burst_exit, s, NULL);
            }
        }
        if (ended < n && boxlite_runtime_drain(rt, -1, NULL) < 0)
            die("drain", NULL);
    }
    double rate = n / ((now_ms() - t) / 1e3);
    print_samples("execs a second, 50 at once", &rate, 1);
    double lost_sample = lost;
    print_samples("execs lost", &lost_sample, 1);
    remove_forced(box);
}

static size_t received;

static void count_bytes(const uint8_t *data, size_t len, void *ud)
{
    (void)data;
    (void)ud;
    received += len;
}

static void measure_stdout(const char *image, int n)
{
    double *v = samples(n);
    const char *const argv[] = { "dd", "if=/dev/zero", "bs=64k", "count=4096", NULL };
    CBoxHandle *box = create(image);
    start(box);
    for (int i = 0; i < n; i++) {
        received = 0;
        struct answer a = { 0 };
        double t = now_ms();
        post_exec(box, argv, false, &a);
        CExecutionHandle *x = wait_for(&a);
        boxlite_execution_on_stdout(x, count_bytes, NULL, NULL);
        wait_exit(x);
        v[i] = (double)received / 1e6 / ((now_ms() - t) / 1e3);
        if (received != 4096u * 65536u)
            die("stdout: bytes are missing", NULL);
    }
    print_samples("stdout, MB/s", v, n);
    remove_forced(box);
}

static void no_op(size_t room, void *ud)
{
    (void)room;
    (void)ud;
}

static void measure_stdin(const char *image, int n)
{
    static uint8_t chunk[CHUNK];
    const size_t total = 256u << 20;
    double *v = samples(n);
    const char *const argv[] = { "dd", "of=/dev/null", "bs=64k", NULL };
    CBoxHandle *box = create(image);
    start(box);
    for (int i = 0; i < n; i++) {
        struct answer a = { 0 };
        double t = now_ms();
        post_exec(box, argv, true, &a);
        CExecutionHandle *x = wait_for(&a);
        boxlite_execution_on_writable(x, no_op, NULL, NULL);
        for (size_t sent = 0; sent < total;) {
            size_t room = boxlite_execution_stdin_room(x);
            size_t len = room < CHUNK ? room : CHUNK;
            if (len > total - sent)
                len = total - sent;
            if (len == 0)
                boxlite_runtime_drain(rt, -1, NULL);
            else if (boxlite_execution_stdin_write(x, chunk, len, NULL) == Ok)
                sent += len;
            boxlite_runtime_drain(rt, 0, NULL);
        }
        boxlite_execution_stdin_close(x, NULL);
        if (wait_exit(x) != 0)
            die("stdin: the reader failed", NULL);
        v[i] = (double)total / 1e6 / ((now_ms() - t) / 1e3);
    }
    print_samples("stdin, MB/s", v, n);
    remove_forced(box);
}

static void measure_python(const char *image, int n)
{
    const char *const argv[] = { "python3", "-c", "print(1)", NULL };
    double *first = samples(n), *tenth = samples(n);
    for (int i = 0; i < n; i++) {
        CBoxHandle *box = create(image);
        start(box);
        for (int k = 1; k <= 10; k++) {
            double t = now_ms();
            run(box, argv);
            t = now_ms() - t;
            if (k == 1)
                first[i] = t;
            if (k == 10)
                tenth[i] = t;
        }
        remove_forced(box);
    }
    print_samples("python -c print, first in a new box", first, n);
    print_samples("python -c print, tenth", tenth, n);
}

static void print_pid(CBoxHandle *box)
{
    CBoxliteError e = { Ok, NULL };
    struct answer a = { .what = "details" };
    must("details", boxlite_box_details(box, on_info, &a, &e), &e);
    CBoxliteInfo *info = wait_for(&a);
    printf("{\"shim\": %s}\n", boxlite_info_get(info, "pid"));
    boxlite_info_free(info);
}

/* n boxes at once: time until all have answered a command; then it prints the pids of their shims and keeps them until stdin ends. */
static void measure_many(const char *image, int n)
{
    CBoxHandle **boxes = calloc((size_t)n, sizeof(*boxes));
    struct answer *a = calloc((size_t)n, sizeof(*a));
    if (!boxes || !a)
        abort();
    for (int i = 0; i < n; i++)
        boxes[i] = create(image);
    double t = now_ms();
    for (int i = 0; i < n; i++)
        post_start(boxes[i], &a[i]);
    for (int i = 0; i < n; i++)
        wait_for(&a[i]);
    memset(a, 0, (size_t)n * sizeof(*a));
    for (int i = 0; i < n; i++)
        post_exec(boxes[i], true_argv, false, &a[i]);
    for (int i = 0; i < n; i++)
        wait_exit(wait_for(&a[i]));
    double ms = now_ms() - t;
    print_samples("boxes at once, all answering", &ms, 1);
    for (int i = 0; i < n; i++)
        print_pid(boxes[i]);
    printf("{\"ready\": []}\n");
    fflush(stdout);
    (void)getchar();
    for (int i = 0; i < n; i++)
        remove_forced(boxes[i]);
}

static void measure_open(const char *image, int n)
{
    (void)image;
    double *v = samples(n);
    for (int i = 0; i < n; i++) {
        CBoxliteRuntime *other = NULL;
        double t = now_ms();
        must("open", boxlite_runtime_new(NULL, NULL, 0, &other, NULL), NULL);
        v[i] = now_ms() - t;
        boxlite_runtime_free(other);
    }
    print_samples("opening a runtime", v, n);
}

static double timed_run(CBoxHandle *box, const char *const *argv)
{
    double t = now_ms();
    run(box, argv);
    return now_ms() - t;
}

/* One command in a box without walls and in one with all of them, in turn; the order changes from pair to pair. */
static void measure_pairs(CBoxHandle *const boxes[2], const char *const *argv, const char *what, int n)
{
    double *v[2] = { samples(n), samples(n) };
    char name[128];
    for (int i = 0; i < 10; i++)
        run(boxes[i % 2], argv);
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < 2; k++)
            v[(i + k) % 2][i] = timed_run(boxes[(i + k) % 2], argv);
    }
    for (int k = 0; k < 2; k++) {
        snprintf(name, sizeof(name), "%s, %s", what, k ? "maximum" : "development");
        print_samples(name, v[k], n);
    }
    for (int i = 0; i < n; i++)
        v[1][i] /= v[0][i];
    snprintf(name, sizeof(name), "%s, maximum / development", what);
    print_samples(name, v[1], n);
}

static void measure_walls(const char *image, int n)
{
    static const char *const python[] = { "python3", "-c", "print(1)", NULL };
    CBoxHandle *boxes[2] = { create_with(image, "development"), create_with(image, "maximum") };
    for (int k = 0; k < 2; k++)
        start(boxes[k]);
    measure_pairs(boxes, true_argv, "exec of true", n);
    measure_pairs(boxes, python, "python -c print", n);
    for (int k = 0; k < 2; k++)
        remove_forced(boxes[k]);
}

static const struct {
    const char *name;
    void (*fn)(const char *image, int n);
} measures[] = {
    { "open", measure_open },     { "start", measure_start }, { "exec", measure_exec },     { "burst", measure_burst },
    { "rested", measure_rested },
    { "stdout", measure_stdout }, { "stdin", measure_stdin }, { "python", measure_python }, { "many", measure_many },
    { "walls", measure_walls },
};

int main(int argc, char **argv)
{
    CBoxliteError e = { Ok, NULL };
    if (argc != 4) {
        fprintf(stderr, "usage: bxbench MEASURE IMAGE N\n");
        return 2;
    }
    must("open the runtime", boxlite_runtime_new(NULL, NULL, 0, &rt, &e), &e);
    for (size_t i = 0; i < sizeof(measures) / sizeof(measures[0]); i++) {
        if (strcmp(measures[i].name, argv[1]) == 0) {
            measures[i].fn(argv[2], (int)strtoul(argv[3], NULL, 10));
            boxlite_runtime_free(rt);
            return 0;
        }
    }
    fprintf(stderr, "bxbench: no measure is called %s\n", argv[1]);
    return 2;
}
