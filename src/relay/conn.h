/* SPDX-License-Identifier: Apache-2.0 */
/* conn.h - a socket that carries a link: non-blocking reads into it, writes out of it. */
#ifndef BX_RELAY_CONN_H
#define BX_RELAY_CONN_H

#include "loop/loop.h"
#include "wire/link.h"

struct bx_conn {
    int fd; /* owned */
    struct bx_source *source;
    struct bx_link *link; /* borrowed */
    bool reading;
    bool blocked; /* a write would block: waits for BX_WRITE */
};
#define BX_CONN_INIT ((struct bx_conn){.fd = -1})

/* Takes fd (made non-blocking), also on failure. Reading starts off. 0 or -errno. */
int bx_conn_init(struct bx_conn *c, struct bx_loop *loop, int fd, struct bx_link *link, bx_fd_fn *fn,
                 void *ud);
void bx_conn_done(struct bx_conn *c);

/* Wait for input, or do not. */
void bx_conn_want_read(struct bx_conn *c, bool on);

/* One read. 1 = something came, 0 = nothing now, -BX_ETRANSPORT = closed by the peer (err says so) or broken,
 * other negative = what the link's handlers said. */
int bx_conn_read(struct bx_conn *c, struct bx_err *err);

/* Writes what the link has until it is empty or the socket is full. 0 or -BX_ETRANSPORT. */
int bx_conn_flush(struct bx_conn *c, struct bx_err *err);

#endif
