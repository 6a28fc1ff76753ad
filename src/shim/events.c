/* SPDX-License-Identifier: Apache-2.0 */
/* events.c - what happens to the box, in the home's events (host/event_log.h). Nothing waits for that, or fails by it. */
#include <fcntl.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "shim/box.h"

void events_init(struct box *b)
{
    int fd = b->plan->events_dir ? open(b->plan->events_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (fd >= 0)
        bx_event_log_open(&b->events, fd);
    else if (b->plan->events_dir)
        bx_warn("events are not told: %s: %m", b->plan->events_dir);
}

void events_tell(struct box *b, struct bx_event e)
{
    static struct bx_ratelimit rl;
    int r;

    if (b->events.dir_fd < 0)
        return;
    e.box = b->plan->box_id;
    e.name = b->plan->box_name;
    e.image = b->plan->image;
    r = bx_event_log_add(&b->events, &e);
    if (r < 0)
        bx_log_ratelimited(&rl, BX_LOG_WARN, "an event was not told: %s", strerror(-r));
}

void events_exec_started(struct box *b, const char *id, const char *program)
{
    events_tell(b, (struct bx_event){.type = "exec.started", .exec = id, .program = program});
}

void events_exec_ended(struct box *b, const char *id, const char *program, const boxlite_Exit *exit)
{
    if (exit && exit->oom)
        events_tell(b, (struct bx_event){.type = "box.oom", .exec = id, .program = program});
    events_tell(b, (struct bx_event){.type = "exec.ended",
                                     .exec = id,
                                     .program = program,
                                     .has_exit = exit != NULL,
                                     .exit_code = exit ? exit->code & 255 : 0,
                                     .oom = exit && exit->oom,
                                     .message = exit ? exit->message : "its client has gone: it was killed"});
}

void events_end(struct box *b)
{
    if (b->oom)
        events_tell(b, (struct bx_event){.type = "box.oom", .exec = "main"});
    events_tell(b, (struct bx_event){.type = b->failed ? "box.failed" : "box.stopped",
                                     .has_exit = b->has_exit_code,
                                     .exit_code = b->exit_code,
                                     .message = b->message});
}

void events_done(struct box *b)
{
    bx_event_log_close(&b->events);
}
