/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - boxlite-pull: fetches an image from a registry into the blob store, in a jail.
 *
 *   boxlite-pull --plan-fd N      started by libboxlite (host/pull_plan.h): reads its plan, starts itself as
 *   boxlite-pull --jailed WHERE   which does the work: WHERE is "root" or "bare" (confine.h)
 *
 * The outer process never reads a byte of a stranger: it makes the jail, waits, and says how it ended when
 * the jailed one could not. Exit code 0 after `ok`, 1 after `error`, 2 when the arguments make no sense, 3
 * when nobody reads the answer.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "host/pull_plan.h"
#include "jail/seccomp.h"
#include "pull/confine.h"
#include "pull/image.h"
#include "pull/status.h"

#ifdef BX_SANITIZED
/* The leak checker needs what the filter forbids, and a pull ends with everything still in use; handlers of
 * signals are libc's. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0:handle_segv=0:handle_abort=0";
}
#endif

static int usage(void)
{
    fputs("boxlite-pull is started by libboxlite: --plan-fd N\n", stderr);
    return 2;
}

/* Reads from the start, whoever read before. */
static int read_plan(int fd, struct bx_pull_plan *ret, struct bx_err *err)
{
    bx_cleanup_free char *text = NULL;
    struct stat st;
    size_t size;
    int r;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > BX_PULL_PLAN_MAX)
        return bx_fail(err, BX_EINVALID, 0, "pull plan: descriptor %d holds none", fd);
    size = (size_t)st.st_size;
    text = malloc(size);
    if (!text)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "pull plan");
    r = bx_pread_full(fd, text, size, 0);
    r = r < 0 ? bx_fail(err, BX_EINTERNAL, -r, "pull plan") : bx_pull_plan_parse(text, size, ret, err);
    explicit_bzero(text, size);
    return r;
}

/* The last line, by the outer process. */
static void say_error(int fd, const struct bx_err *err)
{
    char text[BX_PULL_LINE_MAX - 32];
    char line[BX_PULL_LINE_MAX];

    bx_str_printable(text, sizeof(text), err->msg, strlen(err->msg));
    (void)snprintf(line, sizeof(line), "error %d %s\n", err->code, text);
    (void)bx_write_full(fd, line, strlen(line));
}

static int run_outer(int plan_fd)
{
    bx_cleanup_pull_plan struct bx_pull_plan plan = BX_PULL_PLAN_INIT;
    struct bx_err err = BX_ERR_INIT;
    int r = read_plan(plan_fd, &plan, &err);

    if (r < 0) { /* nobody to tell but who reads standard error */
        fprintf(stderr, "boxlite-pull: %s\n", err.msg);
        return 2;
    }
    r = bx_confine_run(&plan, plan_fd, &err);
    if (r == 0 || r == 1 || r == BX_PULL_EXIT_UNREAD)
        return r;
    if (r == 128 + SIGSYS)
        bx_fail(&err, BX_EINTERNAL, 0, "%s: the program that pulls was ended: it did what its jail forbids",
                plan.name);
    else if (r > 128)
        bx_fail(&err, BX_EINTERNAL, 0, "%s: the program that pulls was ended by signal %d", plan.name,
                r - 128);
    else if (r > 0)
        bx_fail(&err, BX_EINTERNAL, 0, "%s: the program that pulls ended with code %d", plan.name, r);
    else
        bx_prefix(&err, "%s", plan.name);
    say_error(plan.status_fd, &err);
    return 1;
}

/* Everything that is loaded on first use has been loaded: from here on no program, no executable page. */
static int lock_down(struct bx_err *err)
{
    return bx_seccomp_install(BX_SECCOMP_PULL_LOCKED, err);
}

static int run_jailed(bool in_root)
{
    bx_cleanup_pull_plan struct bx_pull_plan plan = BX_PULL_PLAN_INIT;
    struct bx_err err = BX_ERR_INIT;
    int blobs = BX_PULL_BLOBS_FD;

    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)mallopt(M_ARENA_MAX, 2); /* threads here only wait */
    if (!OPENSSL_init_ssl(0, NULL))
        bx_fail(&err, BX_EINTERNAL, 0, "start OpenSSL");
    if (!err.code && read_plan(BX_PULL_PLAN_FD, &plan, &err) == 0) {
        if (in_root)
            blobs = open(BX_PULL_BLOBS_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (blobs < 0)
            bx_fail(&err, BX_ESTORAGE, errno, "open the directory of blobs");
    }
    bx_close(BX_PULL_PLAN_FD);
    if (!err.code)
        return bx_pull_image(&plan, blobs, BX_PULL_STATUS_FD, lock_down);
    say_error(BX_PULL_STATUS_FD, &err);
    return 1;
}

int main(int argc, char **argv)
{
    uint64_t fd = 0;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* EFBIG is said in words */
    if (argc != 3)
        return usage();
    if (bx_streq(argv[1], "--plan-fd") && bx_parse_u64(argv[2], 0, 1 << 20, &fd) == 0) {
        (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        return run_outer((int)fd);
    }
    if (bx_streq(argv[1], "--jailed") &&
        (bx_streq(argv[2], BX_PULL_IN_ROOT) || bx_streq(argv[2], BX_PULL_BARE)))
        _exit(run_jailed(bx_streq(argv[2], BX_PULL_IN_ROOT))); /* threads may still wait */
    return usage();
}
