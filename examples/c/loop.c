/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library in an event loop of the program's own: one descriptor to watch, one call when it is readable. Beside a box this
 * loop serves a timer, as a server would serve its sockets.
 */
#include "example.h"

#include <poll.h>
#include <sys/timerfd.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct itimerspec every = {{0, 100 * 1000 * 1000}, {0, 100 * 1000 * 1000}};
    struct pollfd watched[2];
    struct ended ended = {0, 0};
    CExecutionHandle *execution;
    unsigned long long ticks = 0, n;
    CBoxHandle *box;

    open_runtime();
    box = make_box(options_of(argc > 1 ? argv[1] : NULL));
    execution = start_script(box, "for i in 1 2 3; do echo line $i; sleep 1; done", 0);
    CHECK(boxlite_execution_on_stdout(execution, print_output, NULL, &error));
    CHECK(boxlite_execution_on_exit(execution, on_exit_code, &ended, &error));

    watched[0].fd = boxlite_runtime_fd(runtime);
    watched[1].fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    watched[0].events = watched[1].events = POLLIN;
    timerfd_settime(watched[1].fd, 0, &every, NULL);
    while (!ended.done) {
        poll(watched, 2, -1);
        if (watched[0].revents)
            boxlite_runtime_drain(runtime, 0, NULL); /* never waits */
        if (watched[1].revents && read(watched[1].fd, &n, sizeof(n)) == sizeof(n))
            ticks += n;
    }
    printf("exit code %d; the loop did other things meanwhile: %s\n", ended.code, ticks >= 20 ? "yes" : "no");
    close(watched[1].fd);
    boxlite_execution_free(execution);
    remove_box(box);
    boxlite_runtime_free(runtime);
    return 0;
}
