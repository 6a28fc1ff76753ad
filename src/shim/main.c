/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - boxlite-shim: one process per box, started by the library as `boxlite-shim --plan-fd N`.
 *
 * It takes its whole task from the plan (host/shim_plan.h), leaves the session of its parent, so that the
 * terminal's signals are not for it, and writes what it has to say to the box's shim.log.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "shim/box.h"
#include "shim/oneshot.h"

#define EXIT_USAGE 2
#define LOG_KEEP   (1024 * 1024) /* a log longer than this is begun anew */

static int usage(const char *why)
{
    dprintf(2, "boxlite-shim %s: %s\nIt is started by libboxlite, as boxlite-shim --plan-fd N.\n", BX_VERSION,
            why);
    return EXIT_USAGE;
}

static int read_plan(int argc, char **argv, struct bx_shim_plan *plan, struct bx_err *err)
{
    bx_cleanup_free char *text = NULL;
    uint64_t fd;
    size_t len;
    int r;

    if (argc != 3 || !bx_streq(argv[1], "--plan-fd") || bx_parse_u64(argv[2], 3, 1 << 20, &fd) < 0)
        return bx_fail(err, BX_EINVALID, 0, "wrong arguments");
    r = bx_read_fd((int)fd, BX_SHIM_PLAN_MAX, &text, &len);
    if (r < 0)
        return bx_fail(err, BX_EINVALID, -r, "read the plan from descriptor %d", (int)fd);
    bx_close((int)fd);
    r = bx_shim_plan_parse(text, len, plan, err);
    if (r == 0 && fcntl(plan->fd, F_SETFD, FD_CLOEXEC) < 0)
        r = bx_fail(err, BX_EINVALID, errno, "descriptor %d of the plan", plan->fd);
    return r;
}

static void open_log(const struct bx_shim_plan *plan)
{
    bx_cleanup_free char *path = bx_strf("%s/shim.log", plan->box_dir);
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    struct stat st;

    if (fd < 0)
        return; /* the directory is missing: the box will say so */
    if (fstat(fd, &st) == 0 && st.st_size > LOG_KEEP && ftruncate(fd, 0) < 0)
        st.st_size = 0; /* then it grows: no reason not to run the box */
    bx_log_setup(fd, "boxlite-shim", BX_LOG_INFO);
}

int main(int argc, char **argv)
{
    bx_cleanup_shim_plan struct bx_shim_plan plan = BX_SHIM_PLAN_INIT;
    struct bx_err err = BX_ERR_INIT;

    if (read_plan(argc, argv, &plan, &err) < 0)
        return usage(err.msg);
    umask(022);     /* files say their mode; what a jail makes must be readable in it */
    (void)setsid(); /* fails when it leads one already */
    signal(SIGPIPE, SIG_IGN);
    bx_log_setup(2, "boxlite-shim", BX_LOG_WARN);
    switch (plan.kind) {
    case BX_SHIM_PROBE:
        return shim_probe(&plan);
    case BX_SHIM_TEMPLATE:
        return shim_template(&plan);
    case BX_SHIM_CHECK:
        return shim_check(&plan);
    case BX_SHIM_BOX:
        open_log(&plan);
        return box_run(&plan);
    }
    return EXIT_USAGE;
}
