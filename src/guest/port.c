/* SPDX-License-Identifier: Apache-2.0 */
/* port.c - see port.h. */
#include "guest/port.h"

#include <errno.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

#define READS_A_TURN 32 /* of 4 KiB each */

void bx_port_reset(struct bx_port *p)
{
    bx_link_reset(&p->link);
    p->blocked = false;
    p->lost(p, p->ud);
}

/* False when the port was not emptied: come back. */
static bool read_port(struct bx_port *p)
{
    struct bx_err err;

    for (int i = 0; i < READS_A_TURN; i++) {
        size_t room;
        uint8_t *dst = bx_link_rx_reserve(&p->link, &room);
        ssize_t n;

        if (!dst)
            return false;
        n = read(p->fd, dst, room);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return true; /* empty, or nobody on the other side */
        if (bx_link_rx_commit(&p->link, (size_t)n, &err) < 0) {
            bx_error("%s: %s", p->name, err.msg);
            bx_port_reset(p);
            return true;
        }
    }
    return false;
}

static void read_all(struct bx_port *p)
{
    if (!read_port(p))
        bx_defer_set(p->more);
}

static void on_more(struct bx_source *s, void *ud)
{
    (void)s;
    read_all(ud);
}

static void on_edge(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct bx_port *p = ud;

    (void)s;
    (void)fd;
    p->blocked = false;
    if (events & BX_HUP)
        bx_port_reset(p);
    read_all(p);
}

int bx_port_init(struct bx_port *p, struct bx_loop *loop, const char *name, int fd,
                 const struct bx_link_ops *ops, void (*lost)(struct bx_port *, void *), void *ud,
                 struct bx_err *err)
{
    *p = (struct bx_port){.name = name, .fd = fd, .lost = lost, .ud = ud};
    bx_link_init(&p->link, ops, p, BX_PORT_DATA_MAX);
    p->more = bx_loop_add_defer(loop, on_more, p);
    p->source = bx_loop_add_fd(loop, fd, BX_READ | BX_WRITE | BX_EDGE, on_edge, p);
    if (p->more && p->source)
        return 0;
    bx_fail(err, BX_EENGINE, errno, "watch port %s", name);
    bx_port_done(p);
    return -BX_EENGINE;
}

void bx_port_done(struct bx_port *p)
{
    p->source = bx_source_remove(p->source);
    p->more = bx_source_remove(p->more);
    p->fd = bx_close(p->fd);
    bx_link_done(&p->link);
}

void bx_port_flush(struct bx_port *p)
{
    const uint8_t *data;
    size_t len;

    while (!p->blocked && bx_link_output(&p->link, &data, &len)) {
        ssize_t n = write(p->fd, data, BX_MIN(len, (size_t)BX_PORT_WRITE_MAX));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            p->blocked = true; /* full, or nobody there: the next edge says more */
            return;
        }
        bx_link_sent(&p->link, (size_t)n);
    }
}
