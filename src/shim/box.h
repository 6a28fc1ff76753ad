/* SPDX-License-Identifier: Apache-2.0 */
/*
 * box.h - one running box, as the files of the shim share it.
 *
 *   box.c      start: lock, template, QEMU, Hello, disk size, Start, Ready
 *   ending.c   stop, failure, exit record, farewell to the clients
 *   vcpus.c    paused and resumed, by whoever asks or because nothing runs
 *   idle.c     does anything run in it
 *   clients.c  the socket, who may connect, messages about the box
 *   health.c   is the agent alive; the guest's clock
 *   figures.c  what the box takes, as the agent counts it
 *   checkup.c  the health check that its creator asked for
 *   events.c   what happens to it, told to who listens
 *   net.c      boxlite-net: started, ready, what it reports
 *   net_rules.c   the rules of the network change
 *   refusals.c    what the network has refused
 *   mux.c      streams
 *
 * Phases go forward only:
 *
 *   STARTING ──Ready──▶ RUNNING ──▶ ENDING ──QEMU dead──▶ GONE ──clients have read all──▶ exit
 *      └──────────── failure, stop ────▲
 *
 * In ENDING the outcome is decided (the first reason wins) or will be when the agent has answered Stop. In
 * GONE there is no machine and no lock any more: only bytes that clients have still to read.
 */
#ifndef BX_SHIM_BOX_H
#define BX_SHIM_BOX_H

#include "host/box_log.h"
#include "host/event_log.h"
#include "host/shim_plan.h"
#include "relay/conn.h"
#include "shim/check_rule.h"
#include "shim/mux.h"
#include "vm/qemu.h"

enum box_phase { BOX_STARTING, BOX_RUNNING, BOX_ENDING, BOX_GONE };

/* Does the machine run? As far as QEMU has said; between, it was told to. */
enum vcpus { VCPUS_RUN, VCPUS_STOPPING, VCPUS_STOPPED, VCPUS_RESUMING };

#define CLIENT_STOPS_MAX 4
#define CLIENT_PAUSES_MAX 16
#define GONE_MESSAGE_MAX 2048

struct client {
    struct client *next;
    struct box *b;
    struct bx_mux_client *mc;
    struct bx_conn conn;
    bool hello;                       /* it has said Hello */
    bool starter;                     /* the program that started the box */
    const char *drop;                 /* to be removed, and why */
    uint32_t stops[CLIENT_STOPS_MAX]; /* its BoxStop requests, answered at the end */
    unsigned n_stops;
    struct {
        uint32_t request;
        bool pause; /* else resume */
    } pauses[CLIENT_PAUSES_MAX]; /* its requests that QEMU has not carried out yet */
    unsigned n_pauses;
    unsigned asks; /* BoxInfoGet requests that wait for the agent's figures */
};

struct box {
    const struct bx_shim_plan *plan;
    struct bx_loop *loop;
    struct bx_mux *mux;
    struct bx_qemu *qemu;
    struct bx_conn guest;
    struct client *clients;
    enum box_phase phase;
    struct bx_box_log log; /* of the main process */
    struct bx_event_log events;

    int dir_fd, lock_fd, listen_fd, smaps_fd;
    struct bx_source *settle;   /* end of round: write, read on, remove, arm */
    struct bx_source *deadline; /* of the phase: start, stop, farewell */
    struct bx_source *health;
    struct bx_source *listener;
    struct bx_source *sigterm;
    struct bx_source *clock_set;
    struct bx_source *clock_tick;
    int clock_fd;

    /* start */
    uint64_t epoch;
    uint64_t disk_size;
    bool start_sent;
    bool guest_hello;
    bool guest_eof;                    /* the port was closed from QEMU's side */
    int64_t t_begin, t_hello, t_ready; /* bx_now() */
    int64_t start_realtime;
    char kernel[128];

    /* pause */
    enum vcpus vcpus;
    bool paused; /* wanted */
    bool marked, told_paused;
    char paused_text[256];
    struct bx_source *vcpus_late;
    bool hold; /* nothing is written to the guest until its machine runs and has the time */

    /* idle */
    bool guest_has_idle;
    bool idle; /* nothing runs in it: the machine need not */
    uint64_t idle_token; /* of the question that is open; 0: none */
    struct bx_source *idle_timer;
    boxlite_Figures idle_figures; /* when it became so */

    /* health */
    int64_t last_rx;
    bool ping_sent;
    uint64_t ping_token;

    /* health check */
    struct bx_check check;
    struct bx_source *check_timer; /* the next check, or the end of one that takes too long */
    int64_t check_due;             /* when it fires, bx_now() */
    bool check_held;               /* it is held back, and has so long to go: */
    int64_t check_left;
    uint32_t check_stream;         /* of the check that runs; 0: none */
    uint64_t check_token;          /* of the Ping that is one */
    int64_t checked_at;            /* bx_realtime() of the last; 0: none yet */
    char check_output[1024];       /* its beginning, as it came */
    size_t check_output_len;

    /* figures */
    bool guest_has_figures;
    uint64_t figures_token; /* of the Ping that was not answered yet; 0: none */
    bool figures_net;       /* boxlite-net was asked, and has not answered */
    struct bx_source *figures_late;
    boxlite_Figures guest_figures;

    /* network; of a box that has one */
    struct bx_link net_link;
    struct bx_conn net_conn;
    struct bx_source *net_child, *net_late;
    bool net_ready;
    bool guest_ready; /* Ready has come, but the network is not there yet */
    boxlite_NetReady net_ports;
    boxlite_NetReport net_report;
    struct bx_buf net_rules, net_next; /* that hold; that boxlite-net was told and has not acknowledged. One after the other, with NULs */
    size_t n_net_rules, n_net_next;
    uint32_t net_change, net_changes;  /* the number of what it was told, 0: nothing; the last number used */
    struct client *net_changer;        /* who waits for that, and his request; NULL: he has gone */
    uint32_t net_changer_request;
    struct bx_source *net_change_late;

    /* refusals.c */
    boxlite_NetRefused refused[32]; /* different ones, the newest last */
    unsigned n_refused;
    int64_t refused_refill; /* when refused_events had its last one */
    unsigned refused_events, refused_untold;

    /* end */
    bool qemu_dead;
    int qemu_status;
    bool stop_sent;
    bool decided; /* the outcome: */
    bool failed;
    int code;
    bool template_suspect;
    char message[GONE_MESSAGE_MAX];
    bool has_exit_code;
    int exit_code;
    bool oom;
    size_t farewell_left; /* bytes that waited for clients when the deadline was armed */
};

/* box.c */
/* Runs the box of a plan to its end. Exit status: 0 when it ran and stopped, 1 when it failed. */
int box_run(const struct bx_shim_plan *plan);
/* Something happened: the end of this round looks after it. */
static inline void box_touch(struct box *b)
{
    bx_defer_set(b->settle);
}
/* Takes what QEMU left in the agent's port when it died. */
void box_drain_guest(struct box *b);
/* The machine's parts, shape and key as the plan has them; key->text stays the plan's. -BX_EINVALID for an
 * unknown engine. */
int box_plan_parts(const struct bx_shim_plan *p, struct bx_vm_parts *parts, struct bx_vm_shape *shape,
                   struct bx_vm_key *key, struct bx_err *err);

/* The machine and its network are there: the box runs. */
int box_ready(struct box *b, struct bx_err *err);

/* net.c */
/* Starts boxlite-net, when the plan has one, with the guest's port for connections. */
int net_start(struct box *b, struct bx_err *err);
void net_done(struct box *b);
/* QEMU is dead: has boxlite-net, which sees that too, let go of the published ports? Otherwise it will be touched. */
bool net_ended(struct box *b);
/* End of round: writes what waits. */
void net_settle(struct box *b);
/* Asks boxlite-net for its counts, which figures_counted is told of. False: there is nobody to ask. */
bool net_ask(struct box *b);

/* net_rules.c */
int net_rules_init(struct box *b, struct bx_err *err);
void net_rules_done(struct box *b);
/* NetPolicy of a client. */
int net_rules_change(struct client *c, const uint8_t *p, size_t len, struct bx_err *err);
void net_rules_client_gone(struct client *c);
/* boxlite-net was started again, and waits for the rules that hold. */
void net_rules_again(struct box *b);
/* Its answer: Ok (why NULL) or Error. */
void net_rules_answered(struct box *b, uint32_t request, const struct bx_err *why);
/* There will be none. */
void net_rules_lost(struct box *b, const struct bx_err *why);

/* refusals.c */
/* NetRefused of boxlite-net. */
int refusals_take(struct box *b, const uint8_t *p, size_t len, struct bx_err *err);
void refusals_info(const struct box *b, boxlite_BoxInfo *i);

/* ending.c */
/* The box has failed: the first reason wins, the machine is ended. The console's tail is added. */
void box_fail(struct box *b, const struct bx_err *why);
/* Ends it in order: grace for its processes, sync, then QEMU. force: at once, also when it is stopping
 * already. */
void box_stop(struct box *b, unsigned grace_ms, bool force, const char *why);
/* The agent has answered Stop. */
void box_stopped(struct box *b, bool forced);
/* The main process has ended: its exit code is the box's. */
void box_main_exit(struct box *b, const boxlite_Exit *e);
/* QEMU is dead (or was never started): record, farewell. */
void box_finish(struct box *b);
void box_deadline(struct box *b);
/* GONE: nothing is left to be read by anyone? */
bool box_farewell_done(struct box *b);

/* clients.c */
int client_add(struct box *b, int fd, bool starter, struct bx_err *err);
void client_remove(struct client *c, const char *why);
int clients_listen(struct box *b, struct bx_err *err); /* makes the socket; clients_accept starts it */
int clients_accept(struct box *b, struct bx_err *err);
void clients_settle(struct box *b);
int clients_message(struct client *c, uint16_t type, const uint8_t *p, size_t len, struct bx_err *err);
/* figures: CPU and memory too, which takes the kernel 1 to 2 ms while QEMU waits. */
void clients_send_info(struct box *b, struct client *c, bool figures);

/* vcpus.c */
int vcpus_init(struct box *b, struct bx_err *err);
/* A client wants the machine to stand still, or to go on: answered when it does. */
void vcpus_ask(struct client *c, uint32_t request, bool pause);
/* End of round: leads the machine to what is wanted. */
void vcpus_settle(struct box *b);
void vcpus_done(struct box *b);

/* idle.c */
int idle_init(struct box *b, struct bx_err *err);
/* The guest says that nothing runs. */
void idle_guest(struct box *b, const boxlite_GuestIdle *msg);
/* Somebody needs the machine. */
void idle_wake(struct box *b);
/* End of round, when what waited for the guest was written. */
void idle_settle(struct box *b);
void idle_done(struct box *b);

/* health.c */
int health_init(struct box *b, struct bx_err *err);
void health_started(struct box *b); /* Ready: from now on the clock is kept */
void health_settle(struct box *b);
void health_heard(struct box *b); /* something came from the guest */
/* The machine stood still, and its clock is behind. first: nothing of what waits for the guest was written yet, and this goes before it. */
void health_resumed(struct box *b, bool first);
void health_done(struct box *b);

/* checkup.c */
int check_init(struct box *b, struct bx_err *err);
void check_started(struct box *b); /* Ready */
void check_pong(struct box *b, const boxlite_Pong *pong);
/* The machine stands still, and so does the time of its checks; or they go on. */
void check_hold(struct box *b, bool hold);
void check_info(const struct box *b, boxlite_BoxInfo *i);
void check_done(struct box *b);

/* events.c */
void events_init(struct box *b);
/* The box's id, name and image are added. */
void events_tell(struct box *b, struct bx_event e);
void events_exec_started(struct box *b, const char *id, const char *program);
void events_exec_ended(struct box *b, const char *id, const char *program, const boxlite_Exit *exit);
void events_end(struct box *b); /* as ending.c has decided */
void events_done(struct box *b);

/* figures.c */
int figures_init(struct box *b, struct bx_err *err);
/* Answers a BoxInfoGet, with the agent's figures if it gives them soon. */
void figures_ask(struct client *c);
void figures_pong(struct box *b, const boxlite_Pong *pong);
/* boxlite-net has told its counts, or will not. */
void figures_counted(struct box *b);
/* The agent will not say: who waits is answered without. */
void figures_give_up(struct box *b);
void figures_done(struct box *b);

#endif
