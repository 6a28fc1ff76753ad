/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - boxlite-files: reads and writes the host's files for a copy, so that no slow disk holds up the
 * program that asked for it, and what a box sends is parsed where there is little to win.
 *
 *   boxlite-files send    DATA STATUS FLAGS PATH|-              the tree at PATH, or what comes from
 * descriptor 0, as records on DATA boxlite-files receive DATA STATUS FLAGS MAX-BYTES PATH|-    records from
 * DATA to PATH, or one file's bytes to descriptor 1
 *
 * DATA and STATUS are numbers of inherited descriptors, FLAGS those of record.h. The last line on STATUS is
 *
 *   ok FILES FOLDERS LINKS BYTES LEFT-OUT
 *   error CODE ERRNO MESSAGE              CODE is enum bx_code
 *
 * It has the rights of the program that started it and nothing more: no network, no other program. The end of
 * DATA, and SIGTERM, end it; it leaves no half of a file.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "files/newfile.h"
#include "files/receive.h"
#include "files/send.h"
#include "jail/seccomp.h"

struct order {
    int data, status;
    unsigned flags;
    uint64_t max_bytes;
    const char *path; /* NULL: the descriptor that was given */
};

static const struct bx_place host = {.root = -1};

static void on_term(int signo)
{
    (void)signo;
    bx_newfile_interrupted();
    _exit(1);
}

static void say(int status, const char *line, int n)
{
    if (n > 0)
        (void)bx_write_full(status, line, (size_t)n); /* nobody may be there to hear it */
}

static void say_outcome(int status, int r, const struct bx_rec_counts *c, const struct bx_err *err)
{
    char line[BX_ERR_MSG_MAX + 64], text[BX_ERR_MSG_MAX];

    if (r >= 0) {
        say(status, line,
            snprintf(line, sizeof(line), "ok %llu %llu %llu %llu %llu\n", (unsigned long long)c->files,
                     (unsigned long long)c->folders, (unsigned long long)c->links,
                     (unsigned long long)c->bytes, (unsigned long long)c->left_out));
        return;
    }
    bx_str_printable(text, sizeof(text), err->msg, strlen(err->msg));
    say(status, line, snprintf(line, sizeof(line), "error %d %d %s\n", err->code, err->sys_errno, text));
}

static int lock_down(struct bx_err *err)
{
    const struct rlimit none = {0, 0};

    if (setrlimit(RLIMIT_CORE, &none) < 0)
        return bx_fail(err, BX_EINTERNAL, errno, "setrlimit");
#ifdef BX_SANITIZED /* the check at the end of the program needs more */
    return 0;
#else
    return bx_seccomp_install(BX_SECCOMP_FILES, err);
#endif
}

/* A copy has two ends, and people want to know at which one it failed. */
static int here(int r, struct bx_err *err)
{
    if (r < 0)
        bx_err_append(err, " (on the host)");
    return r;
}

static int run_send(const struct order *o, struct bx_rec_counts *counts, struct bx_err *err)
{
    struct bx_err told = BX_ERR_INIT;
    struct bx_rec_out out;
    int r;

    bx_rec_out_init(&out, o->data);
    r = here(o->path ? bx_send_tree(&host, o->path, o->flags, &out, counts, err)
                     : bx_send_stream(0, &out, counts, err),
             err);
    if (r < 0)
        told = *err;
    if (out.failed == 0 && bx_rec_out_end(&out, &told, counts) < 0 && r == 0)
        r = bx_fail(err, BX_ETRANSPORT, EPIPE, "send to the box");
    bx_rec_out_done(&out);
    return r;
}

/* A pipe or a device that is there is written to, as it takes it. */
static int open_stream(const char *path)
{
    struct stat st;

    if (!path)
        return 1;
    if (stat(path, &st) < 0 || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
        return -1;
    return open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
}

static int run_receive(const struct order *o, struct bx_rec_counts *counts, struct bx_err *err)
{
    struct bx_receive_plan plan = {
        .place = &host,
        .path = o->path ? o->path : "what was given",
        .stream_fd = open_stream(o->path),
        .flags = o->flags,
        .max_bytes = o->max_bytes,
        .sync = true,
    };
    bool told = false;
    int r = bx_receive_tree(&plan, o->data, counts, &told, err);

    return told ? r : here(r, err);
}

static bool parse_number(const char *s, uint64_t max, uint64_t *ret)
{
    return bx_parse_u64(s, 0, max, ret) == 0;
}

static bool parse_order(int argc, char **argv, bool receive, struct order *o)
{
    uint64_t data, status, flags;

    if (argc != (receive ? 7 : 6) || !parse_number(argv[2], 1 << 20, &data) ||
        !parse_number(argv[3], 1 << 20, &status) || !parse_number(argv[4], 0xffff, &flags) ||
        (receive && !parse_number(argv[5], UINT64_MAX, &o->max_bytes)))
        return false;
    o->data = (int)data;
    o->status = (int)status;
    o->flags = (unsigned)flags;
    o->path = bx_streq(argv[argc - 1], "-") ? NULL : argv[argc - 1];
    return true;
}

int main(int argc, char **argv)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN}, term = {.sa_handler = on_term};
    bool receive = argc > 1 && bx_streq(argv[1], "receive");
    struct bx_rec_counts counts = {0};
    struct bx_err err = BX_ERR_INIT;
    struct order o = {0};
    int r;

    if (argc < 2 || (!receive && !bx_streq(argv[1], "send")) || !parse_order(argc, argv, receive, &o)) {
        fprintf(stderr, "boxlite-files is run by libboxlite\n");
        return 2;
    }
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGTERM, &term, NULL);
    (void)bx_fd_cloexec(o.data, true);
    r = lock_down(&err);
    if (r == 0)
        r = receive ? run_receive(&o, &counts, &err) : run_send(&o, &counts, &err);
    say_outcome(o.status, r, &counts, &err);
    return r < 0 ? 1 : 0;
}
