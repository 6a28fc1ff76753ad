/* SPDX-License-Identifier: Apache-2.0 */
/*
 * port.h - one end of the box protocol on a virtio-serial port.
 *
 * Facts about these ports (measured): reads give at most 4096 bytes, writes take at most 32 KiB; only
 * edge-triggered epoll is usable, since a port without a host side is readable for ever and gives 0; a quick
 * disconnect and connect may be one event without HUP, so a new peer begins with HELLO; what was written and
 * not read is lost then.
 */
#ifndef BX_GUEST_PORT_H
#define BX_GUEST_PORT_H

#include <stdbool.h>

#include "loop/loop.h"
#include "wire/link.h"

#define BX_PORT_DATA_MAX  (1024 * 1024) /* data queued for the host */
#define BX_PORT_WRITE_MAX 32768

struct bx_port {
    const char *name;
    int fd;
    struct bx_source *source;
    struct bx_source *more; /* reading stopped before the port was empty */
    struct bx_link link;
    bool blocked; /* the port took no more: the next edge says when */
    void (*lost)(struct bx_port *p,
                 void *ud); /* the peer has gone, or broke the protocol: its streams are void */
    void *ud;
};

/* Takes fd (non-blocking). ops' link->ud is the port. */
int bx_port_init(struct bx_port *p, struct bx_loop *loop, const char *name, int fd,
                 const struct bx_link_ops *ops, void (*lost)(struct bx_port *, void *), void *ud,
                 struct bx_err *err);
void bx_port_done(struct bx_port *p);

/* Writes what is queued, as much as the port takes. After every round of the loop. */
void bx_port_flush(struct bx_port *p);
/* Gives the present peer up. */
void bx_port_reset(struct bx_port *p);

#endif
