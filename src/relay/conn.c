/* SPDX-License-Identifier: Apache-2.0 */
/* conn.c - see conn.h. */
#include "relay/conn.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

static void update(struct bx_conn *c)
{
    /* Cannot fail: the descriptor is in the set. */
    (void)bx_source_set_events(c->source, (c->reading ? BX_READ : 0) | (c->blocked ? BX_WRITE : 0));
}

int bx_conn_init(struct bx_conn *c, struct bx_loop *loop, int fd, struct bx_link *link, bx_fd_fn *fn,
                 void *ud)
{
    int r = bx_fd_nonblock(fd, true);

    *c = (struct bx_conn){.fd = fd, .link = link};
    if (r == 0) {
        c->source = bx_loop_add_fd(loop, fd, 0, fn, ud);
        if (!c->source)
            r = -errno;
    }
    if (r < 0)
        bx_conn_done(c);
    return r;
}

void bx_conn_done(struct bx_conn *c)
{
    c->source = bx_source_remove(c->source);
    c->fd = bx_close(c->fd);
}

void bx_conn_want_read(struct bx_conn *c, bool on)
{
    if (c->reading == on)
        return;
    c->reading = on;
    update(c);
}

int bx_conn_read(struct bx_conn *c, struct bx_err *err)
{
    size_t room;
    uint8_t *dst = bx_link_rx_reserve(c->link, &room);
    ssize_t n;
    int r;

    if (!dst)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "receive buffer");
    do {
        n = read(c->fd, dst, room);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n < 0)
        return bx_fail(err, BX_ETRANSPORT, errno, "read");
    if (n == 0)
        return bx_fail(err, BX_ETRANSPORT, 0, "closed by the other side");
    r = bx_link_rx_commit(c->link, (size_t)n, err);
    return r < 0 ? r : 1;
}

int bx_conn_flush(struct bx_conn *c, struct bx_err *err)
{
    const uint8_t *data;
    size_t len;

    while (bx_link_output(c->link, &data, &len)) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            c->blocked = true;
            update(c);
            return 0;
        }
        if (n < 0)
            return bx_fail(err, BX_ETRANSPORT, errno, "write");
        bx_link_sent(c->link, (size_t)n);
    }
    if (c->blocked) {
        c->blocked = false;
        update(c);
    }
    return 0;
}
