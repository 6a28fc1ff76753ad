/* SPDX-License-Identifier: Apache-2.0 */
/* mux_priv.h - between the files of the mux: its tables, and who calls whom. */
#ifndef BX_SHIM_MUX_PRIV_H
#define BX_SHIM_MUX_PRIV_H

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
    const char *condemned;
};

struct stream {
    struct stream *next;     /* in its bucket */
    struct bx_mux_client *c; /* NULL: the mux's own watch of the main process */
    uint32_t cs, gs;
    struct bx_lane lanes[BX_LANES]; /* stdin: what the client may send; others: what the guest may send */
    uint32_t held[BX_LANES];        /* granted by the client, not yet relayed */
    unsigned requests;              /* not answered */
    bool opening;                   /* not answered */
    bool exec;                      /* opened by Exec */
    bool dial;                      /* opened by Dial */
    bool exited;
    unsigned truncated;             /* mask of lanes */
    bool running;
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
    uint32_t main_gs; /* stream that will bring the main process's Exit, open or just closed; 0 = none */
    bool main_over;
    const char *gate;
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
/* Says Close to the guest; the main process is watched on. */
void mux_stream_close(struct bx_mux *m, struct stream *s);
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

/* mux_client.c, mux_guest.c: handlers of the links. */
extern const struct bx_link_ops mux_client_ops;
extern const struct bx_link_ops mux_guest_ops;

#endif
