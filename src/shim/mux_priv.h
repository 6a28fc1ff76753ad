/* SPDX-License-Identifier: Apache-2.0 */
/* mux_priv.h - between the files of the mux: its tables, and who calls whom. */
#ifndef BX_SHIM_MUX_PRIV_H
#define BX_SHIM_MUX_PRIV_H

#include "base/keep.h"
#include "shim/mux.h"

#define BUCKETS 64

/* A frame that waits for room in its client's link. */
struct waiting {
    struct waiting *next;
    uint16_t type;
    uint8_t lane;
    uint32_t cs;
    size_t len;
    uint8_t data[];
};

struct bx_mux_client {
    struct bx_mux *m;
    struct bx_mux_client *next;
    void *ud;
    struct bx_link link;
    struct stream *buckets[BUCKETS]; /* by client stream number */
    struct waiting *first, **last;
    size_t backlog; /* bytes of the frames that wait, headers included */
    bool holding;   /* credit is held back */
    unsigned n_streams;
    const char *condemned;
};

/* What a stream without a client is for. */
enum own {
    OWN_NONE,
    OWN_MAIN,     /* the watch of the main process */
    OWN_DETACHED, /* of a command whose client has gone on without it */
    OWN_EXEC,     /* a command of the mux's owner */
};

struct stream {
    struct stream *next;     /* in its bucket */
    struct bx_mux_client *c; /* NULL: the mux's own */
    enum own own;
    const struct bx_mux_exec_ops *own_ops; /* of OWN_EXEC */
    void *own_ud;
    uint32_t cs, gs;
    struct bx_lane lanes[BX_LANES]; /* stdin: what the client may send; others: what the guest may send */
    uint32_t held[BX_LANES];        /* granted by the client, not yet relayed */
    unsigned requests;              /* not answered */
    bool opening;                   /* not answered */
    bool started;                   /* answered */
    bool exec;                      /* opened by Exec */
    bool main;                      /* of a client, onto the main process: its output lanes are mux_main.c's */
    bool detached;                  /* Exec said so */
    bool dial;                      /* opened by Dial */
    bool exited;
    unsigned truncated;             /* mask of lanes */
    bool running;
    uint8_t *held_exit; /* Exit that waits for lanes of the main process */
    size_t held_exit_len;
    char id[64], program[64]; /* of an Exec, for who is told of its start and end */
};

/* An output lane of the main process. */
struct main_lane {
    struct bx_keep keep;    /* nobody has claimed it: its ends */
    struct bx_buf pending;  /* somebody has: what he has no credit for yet, behind what was kept */
    struct stream *claimer;
    uint64_t told; /* of keep.dropped: bytes of holes that a claimer has read across */
    bool eof, eof_sent;
};

struct bx_mux {
    const struct bx_mux_ops *ops;
    void *ud;
    struct bx_link guest;
    struct bx_mux_client *clients;
    unsigned n_clients;
    struct stream *streams[BX_STREAMS_MAX]; /* slot: number modulo BX_STREAMS_MAX */
    unsigned n_streams;
    uint32_t next_gs;
    struct stream *watch; /* of the main process; NULL: there is none */
    struct main_lane main[2];
    bool main_exited; /* its Exit has come: */
    boxlite_Exit main_exit;
    bool main_over; /* and the owner knows */
    const char *gate;
    enum bx_code gate_code;
    bool paused;
    unsigned pending;
    unsigned execs_total;
    unsigned execs_running;
    unsigned exec_errors;
    uint64_t bytes_in, bytes_out;
    size_t backlog;
};

/* mux.c: streams. A client's number is its own, the guest's is ours. */
struct stream *mux_client_stream(struct bx_mux_client *c, uint32_t cs);
struct stream *mux_guest_stream(struct bx_mux *m, uint32_t gs);
/* NULL when there are BX_STREAMS_MAX or no memory. c NULL: of the mux itself. */
struct stream *mux_stream_new(struct bx_mux *m, struct bx_mux_client *c, uint32_t cs);
void mux_stream_answered(struct stream *s, struct bx_mux *m);
void mux_stream_stopped(struct stream *s, struct bx_mux *m);
void mux_stream_free(struct bx_mux *m, struct stream *s);
/* Says Close to the guest; a detached command is watched on. */
void mux_stream_close(struct bx_mux *m, struct stream *s);
/* Tells the owner. exit NULL: it is not known how it ended. */
void mux_exec_ended(struct bx_mux *m, const struct stream *s, const boxlite_Exit *exit);
void mux_main_over(struct bx_mux *m, const boxlite_Exit *exit);
int mux_ping(struct bx_link *l, const uint8_t *p, size_t len, struct bx_err *err);

/* mux_queue.c. To a client: control messages ahead of data; the rest keeps its order. A client for which
 * there is no room is condemned. */
void mux_condemn(struct bx_mux_client *c, const char *why);
void mux_control_to_client(struct bx_mux_client *c, uint16_t type, uint32_t cs, const void *p, size_t len);
void mux_ordered_to_client(struct bx_mux_client *c, uint16_t type, unsigned lane, uint32_t cs, const void *p,
                           size_t len);
/* A message of our own (nanopb struct), in order. */
void mux_message_to_client(struct bx_mux_client *c, uint16_t type, uint32_t cs, const void *msg);
/* 0, so that a handler can return it. */
int mux_error_to_client(struct bx_mux_client *c, uint32_t cs, const struct bx_err *why);
void mux_backlog_pop(struct bx_mux_client *c);
void mux_control_to_guest(struct bx_mux *m, uint16_t type, uint32_t gs, const void *p, size_t len);
/* Passes on what the client has granted, as far as a lane may have credit. */
void mux_relay_credit(struct bx_mux *m, struct stream *s, unsigned lane);

/* mux_main.c. */
void mux_main_init(struct bx_mux *m);
void mux_main_done(struct bx_mux *m);
/* Makes the watch for an Exec that is about to be sent; -ENOMEM when there are too many streams. Then, behind it: */
int mux_main_open(struct bx_mux *m);
void mux_main_attach(struct bx_mux *m);
/* A stream of a client onto the main process: wants a lane (false: another has it), gives credit, hears of the end, goes. */
bool mux_main_claim(struct stream *s, unsigned lane);
int mux_main_credit(struct stream *s, unsigned lane, uint32_t bytes, struct bx_err *err);
int mux_main_client_exit(struct bx_mux *m, struct stream *s, const uint8_t *p, size_t len, struct bx_err *err);
void mux_main_leave(struct bx_mux *m, struct stream *s);
/* There is room for this client again. */
void mux_main_release(struct bx_mux_client *c);
/* What its claimer may have now goes to him. */
void mux_main_pump(struct bx_mux *m, unsigned lane);
/* On the watch. */
int mux_main_data(struct bx_mux *m, unsigned lane, const uint8_t *data, size_t len, struct bx_err *err);
void mux_main_eof(struct bx_mux *m, unsigned lane);
void mux_main_hole(struct bx_mux *m, unsigned lane, uint64_t dropped);
void mux_main_exited(struct bx_mux *m, const boxlite_Exit *e);

/* mux_client.c, mux_guest.c: handlers of the links. */
extern const struct bx_link_ops mux_client_ops;
extern const struct bx_link_ops mux_guest_ops;

#endif
