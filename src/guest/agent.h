/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.h - the agent: process 1 of a box's machine.
 *
 *   boot ──▶ PARKED ──Start──▶ STARTING ──▶ READY ──Stop──▶ STOPPING ──▶ STOPPED
 *                                  └──▶ FAILED (Error was sent)
 *
 *  PARKED is what a template holds: ports watched by edges, no timer, nothing to do. One Start, one Stop in a
 * machine's life. Exec is served in READY only.
 */
#ifndef BX_GUEST_AGENT_H
#define BX_GUEST_AGENT_H

#include "guest/catch.h"
#include "guest/container.h"
#include "guest/exec.h"
#include "guest/port.h"

enum bx_agent_state {
    BX_AGENT_PARKED,
    BX_AGENT_STARTING,
    BX_AGENT_READY,
    BX_AGENT_STOPPING,
    BX_AGENT_STOPPED,
    BX_AGENT_FAILED,
};

struct bx_agent {
    struct bx_loop *loop;
    struct bx_port control; /* the box and its commands */
    struct bx_port bulk;    /* connections */
    enum bx_agent_state state;
    bool network; /* brought up before parking */
    struct bx_cgroups cgroups;
    struct bx_container container;
    struct bx_box box;
    struct bx_execs execs;
    struct bx_connections conns;   /* of the port bulk */
    struct bx_connections tunnels; /* of the port control: Dial of programs */
    struct bx_catch catch;
    int uevent_fd;
    int disk_fd;

    /* start.c */
    struct bx_msg_start start;
    struct bx_source *start_uevents;
    struct bx_source *start_deadline;
    int64_t start_ns;

    /* rest.c */
    uint64_t rest_token; /* asked; 0: nobody wants to know */
    uint64_t rest_writing; /* the token that what is being written is for */
    bool rest_written;
    struct bx_source *rest_events;
    struct bx_source *rest_child;

    /* stop.c */
    struct bx_source *stop_events;
    struct bx_source *stop_timer;
    bool stop_forced;
};

/* boot.c: mounts, modules, settings, ports. */
int bx_agent_boot(int ret_ports[2], int *ret_uevents, struct bx_err *err);

/* agent.c */
int bx_agent_init(struct bx_agent *a, const int ports[2], int uevent_fd, struct bx_err *err);
int bx_agent_run(struct bx_agent *a);
void bx_agent_send(struct bx_agent *a, uint16_t type, const void *msg);
void bx_agent_figures(const struct bx_agent *a, boxlite_Figures *ret);

/* start.c: Start, Clock. */
/* In an image's template: mounts the root and enters it, before anything of a box is known. */
int bx_agent_mount_early(struct bx_agent *a, struct bx_err *err);
void bx_agent_start(struct bx_agent *a, const uint8_t *payload, size_t len);
int bx_agent_set_clock(int64_t realtime_ns, struct bx_err *err);

/* rest.c */
void bx_agent_rest_asked(struct bx_agent *a, const uint8_t *payload, size_t len);
/* After each round: is there nothing to do? */
void bx_agent_rest_check(struct bx_agent *a);
/* Nobody wants to know any more. */
void bx_agent_rest_end(struct bx_agent *a);

/* stop.c */
void bx_agent_stop(struct bx_agent *a, const uint8_t *payload, size_t len);
/* Is any process of the box left, whoever has started it? */
bool bx_agent_box_runs(struct bx_agent *a);
/* Something has ended that a stop may wait for. */
void bx_agent_stop_check(struct bx_agent *a);

#endif
