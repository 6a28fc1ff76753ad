/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - boxlite-net: the network of one box (net.h).
 *
 *   boxlite-net             started by the shim with the descriptors of net.h: the outer process (outer.h)
 *   boxlite-net --jailed    started by that
 *   boxlite-net --jailed-again    the same, after one that has died
 */
#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "jail/seccomp.h"
#include "net/net.h"
#include "net/outer.h"

#ifdef BX_SANITIZED
/* The leak checker needs what the filter forbids; handlers of signals are libc's. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0:handle_segv=0:handle_abort=0";
}
#endif

static int run_jailed(bool again)
{
    struct bx_err err = BX_ERR_INIT;

    if (bx_seccomp_install(BX_SECCOMP_NET_LOCKED, &err) < 0) {
        bx_error("%s", err.msg);
        return 1;
    }
    return net_run(again);
}

int main(int argc, char **argv)
{
    bx_log_setup(2, "boxlite-net", BX_LOG_INFO);
    if (argc == 1)
        return outer_run();
    if (argc == 2 && bx_streq(argv[1], "--jailed"))
        return run_jailed(false);
    if (argc == 2 && bx_streq(argv[1], "--jailed-again"))
        return run_jailed(true);
    fputs("boxlite-net is started by boxlite-shim\n", stderr);
    return 2;
}
