/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - boxlite-guest: /init of the machine. Boots, parks, serves. It never returns: without it the
 * machine is dead. */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "guest/agent.h"

static struct bx_agent agent;

/* Not SIG_IGN: that would be inherited by every command. */
static void on_sigpipe(int signo)
{
    (void)signo;
}

static _Noreturn void die(const char *why)
{
    bx_error("%s", why);
    sync();
    reboot(RB_AUTOBOOT); /* the host sees its machine end, and this line on the console */
    for (;;)
        pause();
}

int main(void)
{
    struct sigaction sa = {.sa_handler = on_sigpipe};
    const bool early = getenv(BX_GUEST_ROOT_WORD) != NULL; /* said on the kernel's command line */
    int ports[2], uevents, r;
    struct bx_err err;

    if (getpid() != 1) {
        fprintf(stderr, "boxlite-guest is the first process of a box's machine and runs nowhere else\n");
        return 2;
    }
    sigaction(SIGPIPE, &sa, NULL);
    bx_log_setup(2, "boxlite-guest", BX_LOG_INFO);
    if (bx_agent_boot(ports, &uevents, &err) < 0 || bx_agent_init(&agent, ports, uevents, &err) < 0 ||
        (early && bx_agent_mount_early(&agent, &err) < 0))
        die(err.msg);
    dprintf(2, "boxlite-guest: parked\n");
    r = bx_agent_run(&agent);
    bx_fail(&err, BX_EINTERNAL, -r, "the event loop ended");
    die(err.msg);
}
