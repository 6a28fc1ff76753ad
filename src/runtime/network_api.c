/* SPDX-License-Identifier: Apache-2.0 */
/* network_api.c - the calls about a running box's network: tunnels to its ports, and forwarders on this host. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "runtime/runtime.h"
#include "runtime/tunnel.h"

#define BACKLOG     128
#define ACCEPT_TURN 16

struct CBoxNetworkHandle {
    struct CBoxHandle *box; /* its own */
};

struct CBoxTunnelHandle {
    struct CBoxHandle *box; /* its own */
    uint16_t port;
};

struct CTunnelForwarderHandle {
    struct CTunnelForwarderHandle *next; /* in rt->forwarders, while it listens */
    struct CBoxliteRuntime *rt;
    struct CBoxHandle *box; /* its own */
    uint16_t port;
    int fd; /* listens; -1: closed */
    struct bx_source *source;
    char *address; /* "127.0.0.1:8080", or a path */
    dev_t dev;     /* of the socket's file */
    ino_t ino;
    bool is_path;
    struct bx_op_list waiting;
};

/* --- handles --- */

static struct CBoxHandle *own_handle(struct CBoxHandle *box, struct bx_err *err)
{
    struct CBoxHandle *h;

    if (bx_handle_enter(box, err) < 0)
        return NULL;
    h = bx_handle_new(box->box, err);
    bx_leave(box->rt);
    return h;
}

BoxliteErrorCode boxlite_box_network(CBoxHandle *box, CBoxNetworkHandle **out_network, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    struct CBoxNetworkHandle *n;

    if (!box || !out_network)
        return bx_api_invalid(out_error, "%s is NULL", !box ? "box" : "out_network");
    *out_network = NULL;
    n = calloc(1, sizeof(*n));
    if (!n)
        bx_fail(&err, BX_ERESOURCE, ENOMEM, "network of a box");
    else
        n->box = own_handle(box, &err);
    if (!n || !n->box) {
        free(n);
        return bx_api_error(out_error, &err);
    }
    *out_network = n;
    return Ok;
}

void boxlite_network_free(CBoxNetworkHandle *network)
{
    if (!network)
        return;
    boxlite_box_free(network->box);
    free(network);
}

BoxliteErrorCode boxlite_network_tunnel(CBoxNetworkHandle *network, uint16_t port, CBoxTunnelHandle **out_tunnel,
                                        CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    struct CBoxTunnelHandle *t;

    if (!network || !out_tunnel)
        return bx_api_invalid(out_error, "%s is NULL", !network ? "network" : "out_tunnel");
    *out_tunnel = NULL;
    if (port == 0)
        return bx_api_invalid(out_error, "port: must be 1 to 65535");
    t = calloc(1, sizeof(*t));
    if (!t)
        bx_fail(&err, BX_ERESOURCE, ENOMEM, "tunnel");
    else
        t->box = own_handle(network->box, &err);
    if (!t || !t->box) {
        free(t);
        return bx_api_error(out_error, &err);
    }
    t->port = port;
    *out_tunnel = t;
    return Ok;
}

void boxlite_tunnel_free(CBoxTunnelHandle *tunnel)
{
    if (!tunnel)
        return;
    boxlite_box_free(tunnel->box);
    free(tunnel);
}

BoxliteErrorCode boxlite_tunnel_uri(CBoxTunnelHandle *tunnel, char **out_uri, CBoxliteError *out_error)
{
    if (!tunnel || !out_uri)
        return bx_api_invalid(out_error, "%s is NULL", !tunnel ? "tunnel" : "out_uri");
    *out_uri = NULL; /* a box of this host has none */
    return Ok;
}

BoxliteErrorCode boxlite_tunnel_connect(CBoxTunnelHandle *tunnel, int32_t *out_fd, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    int pair[2], r;

    if (!tunnel || !out_fd)
        return bx_api_invalid(out_error, "%s is NULL", !tunnel ? "tunnel" : "out_fd");
    *out_fd = -1;
    if (bx_handle_enter(tunnel->box, &err) < 0)
        return bx_api_error(out_error, &err);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        r = bx_fail(&err, BX_ERESOURCE, errno, "tunnel");
    } else {
        (void)fcntl(pair[1], F_SETFL, O_NONBLOCK);
        r = bx_tunnel_dial(tunnel->box->box, tunnel->port, pair[1], &err);
        if (r < 0)
            bx_close(pair[0]);
        else
            *out_fd = pair[0];
    }
    bx_leave(tunnel->box->rt);
    return r < 0 ? bx_api_error(out_error, &err) : Ok;
}

/* --- forwarders --- */

static void on_accept(struct bx_source *s, int listener, uint32_t events, void *ud)
{
    struct CTunnelForwarderHandle *f = ud;
    struct bx_err ignored;

    (void)s;
    (void)events;
    for (int i = 0; i < ACCEPT_TURN; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0)
            return;
        (void)bx_tunnel_dial(f->box->box, f->port, fd, &ignored); /* the client sees its connection closed */
    }
}

/* The file is ours still, and nobody else's. */
static void unlink_socket(const struct CTunnelForwarderHandle *f)
{
    struct stat st;

    if (lstat(f->address, &st) == 0 && st.st_dev == f->dev && st.st_ino == f->ino)
        (void)unlink(f->address);
}

static int listen_path(struct CTunnelForwarderHandle *f, const char *path, struct bx_err *err)
{
    const char *slash = strrchr(path, '/');
    bx_cleanup_free char *parent = slash ? bx_strf("%.*s", slash == path ? 1 : (int)(slash - path), path) : bx_strf(".");
    bx_cleanup_close int dir = parent ? open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    struct stat st;

    if (dir < 0)
        return bx_fail(err, BX_ENETWORK, errno, "listen on %s", path);
    f->fd = bx_unix_listen(dir, slash ? slash + 1 : path, BACKLOG);
    if (f->fd < 0)
        return bx_fail(err, BX_ENETWORK, -f->fd, "listen on %s", path);
    f->address = bx_strf("%s", path);
    if (!f->address || lstat(path, &st) < 0)
        return bx_fail(err, BX_ERESOURCE, errno, "listen on %s", path);
    f->is_path = true;
    f->dev = st.st_dev;
    f->ino = st.st_ino;
    return 0;
}

static int listen_tcp(struct CTunnelForwarderHandle *f, const char *host, uint16_t port, struct bx_err *err)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    char ip[INET_ADDRSTRLEN];
    int on = 1;

    if (host && *host && strcmp(host, "localhost") != 0 && inet_pton(AF_INET, host, &a.sin_addr) != 1)
        return bx_fail(err, BX_EINVALID, 0, "host: must be an IPv4 address of this host, is \"%.40s\"", host);
    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    inet_ntop(AF_INET, &a.sin_addr, ip, sizeof(ip));
    if (f->fd < 0 || setsockopt(f->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(f->fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(f->fd, BACKLOG) < 0 ||
        getsockname(f->fd, (struct sockaddr *)&a, &len) < 0)
        return bx_fail(err, BX_ENETWORK, errno, "listen on %s:%u", ip, port);
    f->address = bx_strf("%s:%u", ip, ntohs(a.sin_port));
    return f->address ? 0 : bx_fail(err, BX_ERESOURCE, ENOMEM, "forwarder");
}

/* Listens no more; who waits is told. Connections go on. */
static void close_listener(struct CTunnelForwarderHandle *f)
{
    struct CTunnelForwarderHandle **p;

    if (f->fd < 0)
        return;
    for (p = &f->rt->forwarders; *p && *p != f; p = &(*p)->next)
        ;
    if (*p)
        *p = f->next;
    f->source = bx_source_remove(f->source);
    f->fd = bx_close(f->fd);
    if (f->is_path)
        unlink_socket(f);
    bx_op_list_answer(&f->waiting, NULL);
}

void bx_forwarders_end(struct CBoxliteRuntime *rt)
{
    while (rt->forwarders)
        close_listener(rt->forwarders);
}

static int begin(struct CTunnelForwarderHandle *f, const BoxliteSocketAddress *to, struct bx_err *err)
{
    int r = to->kind == BoxliteSocketUnix ? listen_path(f, to->path, err) : listen_tcp(f, to->host, to->port, err);

    if (r < 0)
        return r;
    f->source = bx_loop_add_fd(f->rt->loop, f->fd, BX_READ, on_accept, f);
    if (!f->source)
        return bx_fail(err, BX_ERESOURCE, errno, "forwarder");
    f->next = f->rt->forwarders;
    f->rt->forwarders = f;
    return 0;
}

BoxliteErrorCode boxlite_tunnel_forward(CBoxTunnelHandle *tunnel, const BoxliteSocketAddress *address,
                                        CTunnelForwarderHandle **out_forwarder, CBoxliteError *out_error)
{
    struct CTunnelForwarderHandle *f;
    struct bx_err err = BX_ERR_INIT;
    int r;

    if (!tunnel || !address || !out_forwarder)
        return bx_api_invalid(out_error, "%s is NULL", !tunnel ? "tunnel" : !address ? "address" : "out_forwarder");
    *out_forwarder = NULL;
    if (address->kind > BoxliteSocketUnix || (address->kind == BoxliteSocketUnix && (!address->path || !*address->path)))
        return bx_api_invalid(out_error, "address: a kind that is not known, or a unix socket without a path");
    if (bx_handle_enter(tunnel->box, &err) < 0)
        return bx_api_error(out_error, &err);
    f = calloc(1, sizeof(*f));
    if (!f) {
        r = bx_fail(&err, BX_ERESOURCE, ENOMEM, "forwarder");
    } else {
        f->fd = -1;
        f->rt = tunnel->box->rt;
        f->port = tunnel->port;
        bx_op_list_init(&f->waiting);
        f->box = bx_handle_new(tunnel->box->box, &err);
        r = f->box ? begin(f, address, &err) : -err.code;
    }
    if (f && r < 0) {
        close_listener(f);
        if (f->box)
            bx_handle_free_locked(f->box);
        free(f->address);
        free(f);
    }
    bx_leave(tunnel->box->rt);
    if (r < 0)
        return bx_api_error(out_error, &err);
    *out_forwarder = f;
    return Ok;
}

BoxliteErrorCode boxlite_tunnel_forwarder_address(CTunnelForwarderHandle *forwarder, char **out_address,
                                                  CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;

    if (!forwarder || !out_address)
        return bx_api_invalid(out_error, "%s is NULL", !forwarder ? "forwarder" : "out_address");
    *out_address = bx_strf("%s", forwarder->address);
    if (*out_address)
        return Ok;
    bx_fail(&err, BX_ERESOURCE, ENOMEM, "forwarder");
    return bx_api_error(out_error, &err);
}

static BoxliteErrorCode post(CTunnelForwarderHandle *f, bool and_close, CTunnelForwarderWaitCb cb, void *ud,
                             CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_op *op;

    if (!f || !cb)
        return bx_api_invalid(out_error, "%s is NULL", !f ? "forwarder" : "cb");
    if (bx_enter(f->rt, &err) < 0)
        return bx_api_error(out_error, &err);
    op = bx_op_new(f->rt, BX_OP_PLAIN, (union bx_op_cb){.plain = cb}, ud, &err);
    if (op && f->fd < 0)
        bx_op_answer(op, NULL);
    else if (op)
        bx_op_list_add(&f->waiting, op);
    if (op && and_close)
        close_listener(f);
    bx_leave(f->rt);
    return op ? Ok : bx_api_error(out_error, &err);
}

BoxliteErrorCode boxlite_tunnel_forwarder_wait(CTunnelForwarderHandle *forwarder, CTunnelForwarderWaitCb cb, void *user_data,
                                               CBoxliteError *out_error)
{
    return post(forwarder, false, cb, user_data, out_error);
}

BoxliteErrorCode boxlite_tunnel_forwarder_close(CTunnelForwarderHandle *forwarder, CTunnelForwarderCloseCb cb,
                                                void *user_data, CBoxliteError *out_error)
{
    return post(forwarder, true, cb, user_data, out_error);
}

void boxlite_tunnel_forwarder_free(CTunnelForwarderHandle *forwarder)
{
    struct bx_err ignored;

    if (!forwarder)
        return;
    if (bx_enter(forwarder->rt, &ignored) >= 0) {
        close_listener(forwarder);
        bx_leave(forwarder->rt);
    }
    boxlite_box_free(forwarder->box);
    free(forwarder->address);
    free(forwarder);
}
