/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mux.h - many clients, one guest: maps stream numbers, forwards frames, keeps every queue bounded.
 *
 * Theory of operation
 *
 *  The mux has one link to the guest and one to each client, and does no I/O: its owner feeds the links and
 * writes what they show. A client opens a stream (Exec, Attach) under a number of its own; the guest sees it
 * under a number of ours. All that follows on either side is forwarded under the other number, unread but for
 * what the mux must know: who may send how much, which stream is answered, which is the main process, when a
 * stream is over.
 *
 *  Bounds. The guest may send on a lane what its client allowed (more fails the box: the agent is broken or
 * hostile); that is queued for the client, first in its link, then in a backlog of frames. While a client has
 * more than BX_MUX_HOLD waiting, the credit it grants is held back, so its streams stop; one that lets more
 * than BX_MUX_CLIENT_MAX pile up nevertheless, or all of them together more than BX_MUX_TOTAL_MAX, loses its
 * connection. Nobody else waits for it. Towards the guest: clients are read only while bx_mux_may_read says
 * so, and no client sends more stdin than allowed.
 *
 *  A client that goes away closes its streams; the agent knows which execs die with theirs. The main process has a
 * stream of the mux's own, because the box ends with it and its output is logged (mux_main.c).
 */
#ifndef BX_SHIM_MUX_H
#define BX_SHIM_MUX_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/messages.h"

#define BX_MUX_HOLD        (2u * 1024 * 1024)
#define BX_MUX_CLIENT_MAX  (128u * 1024 * 1024) /* 64 streams with both lanes' windows full */
#define BX_MUX_TOTAL_MAX   (256u * 1024 * 1024)
#define BX_MUX_GUEST_DATA  (2u * 1024 * 1024) /* data queue towards the guest */
#define BX_MUX_PAUSED_DATA (64u * 1024 * 1024) /* ... while it is paused */
#define BX_MUX_CLIENT_DATA (256u * 1024)      /* data queue of a client's link, before the backlog */
#define BX_MUX_LANE_MAX    (4u * 1024 * 1024) /* credit of one lane that is relayed at a time */

struct bx_mux;
struct bx_mux_client;

/* No callback may remove a client. */
struct bx_mux_ops {
    /* A message of the guest about the link itself (stream 0), Ping excepted. A failure is the guest's. */
    int (*guest)(void *ud, uint16_t type, const uint8_t *payload, size_t len, struct bx_err *err);
    /* A message of a client about the link itself, Ping excepted. A failure ends the client. */
    int (*client)(void *ud, struct bx_mux_client *c, uint16_t type, const uint8_t *payload, size_t len,
                  struct bx_err *err);
    /* The main process has ended; or, exit NULL, the guest does not know it any more. Once. */
    void (*main_exit)(void *ud, const boxlite_Exit *exit);
    /* Output of the main process, all of it, whoever reads it; bytes of it that the guest had to drop. May be NULL. */
    void (*main_output)(void *ud, unsigned lane, const uint8_t *data, size_t len);
    void (*main_hole)(void *ud, uint64_t dropped);
    /* A client's command runs, or has ended (exit NULL: killed, its client has gone). Not of the main process. May be
     * NULL. */
    void (*exec_started)(void *ud, const char *id, const char *program);
    void (*exec_ended)(void *ud, const char *id, const char *program, const boxlite_Exit *exit);
};

struct bx_mux *bx_mux_new(const struct bx_mux_ops *ops, void *ud);
struct bx_mux *bx_mux_free(struct bx_mux *m);
BX_DEFINE_CLEANUP(struct bx_mux *, bx_mux_free)

struct bx_link *bx_mux_guest(struct bx_mux *m);

/* A new client; NULL when there are BX_CLIENTS_MAX or no memory. ud: the owner's own, for bx_mux_client_ud.
 */
struct bx_mux_client *bx_mux_client_add(struct bx_mux *m, void *ud);
/* Closes its streams and forgets it. */
void bx_mux_client_remove(struct bx_mux_client *c);
void *bx_mux_client_ud(const struct bx_mux_client *c);
struct bx_link *bx_mux_client_link(struct bx_mux_client *c);
/* Moves waiting frames into its link and releases held credit: call before and after writing. */
void bx_mux_client_refill(struct bx_mux_client *c);
/* Bytes that wait for it. */
size_t bx_mux_client_queued(const struct bx_mux_client *c);
/* A message of our own (nanopb struct) about the link, behind everything that waits for this client. */
void bx_mux_client_send_last(struct bx_mux_client *c, uint16_t type, const void *msg);
/* Not NULL: it has to be removed, and why (too much unread). */
const char *bx_mux_client_condemned(const struct bx_mux_client *c);

/* May clients be read now: is there room towards the guest for all that one read can bring? */
bool bx_mux_may_read(const struct bx_mux *m);
/* May this one: one without streams brings nothing to a guest that is paused, but may want to let it go on. */
bool bx_mux_client_may_read(const struct bx_mux_client *c);

/* The guest stands still: it takes nothing, so there is room for more that waits for it, and it gets no signals. The
 * owner closes the gate. */
void bx_mux_pause(struct bx_mux *m, bool paused);

/* No new streams from now on (the box is stopping): they are answered with Error. why NULL opens it again. */
void bx_mux_close_gate(struct bx_mux *m, enum bx_code code, const char *why);

/* A command of the owner's own. Its output is claimed and never stops its writer. */
struct bx_mux_exec_ops {
    void (*output)(void *ud, const uint8_t *data, size_t len); /* of both lanes */
    /* Last: how it ended, or (exit NULL) why it could not be run. Not after bx_mux_exec_close. */
    void (*ended)(void *ud, const boxlite_Exit *exit, const struct bx_err *err);
};
/* The number of its stream, or 0: too many streams, or no memory. exec->pb.claim is set here. */
uint32_t bx_mux_exec(struct bx_mux *m, struct bx_msg_exec *exec, const struct bx_mux_exec_ops *ops, void *ud);
/* Kills it, if it still runs. */
void bx_mux_exec_close(struct bx_mux *m, uint32_t stream);

/* Ends every stream that is still open with an Error to its client (the guest is gone). */
void bx_mux_fail_streams(struct bx_mux *m, const struct bx_err *why);

/* Requests the guest has not answered. */
unsigned bx_mux_pending(const struct bx_mux *m);

struct bx_mux_counts {
    unsigned clients;
    unsigned streams;       /* those of the mux itself too */
    unsigned execs_total;   /* that were started */
    unsigned execs_running; /* of those with an open stream */
    unsigned exec_errors;   /* that could not be */
    uint64_t bytes_in;      /* stdin of all of them */
    uint64_t bytes_out;     /* their output, as far as somebody has it sent */
};
struct bx_mux_counts bx_mux_counts(const struct bx_mux *m);

#endif
