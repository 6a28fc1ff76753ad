/* SPDX-License-Identifier: Apache-2.0 */
/* bad_calls_network.h - wrong calls about a box's network: tunnels and forwarders. */
#ifndef BX_TESTS_BAD_CALLS_NETWORK_H
#define BX_TESTS_BAD_CALLS_NETWORK_H

#include "bad_calls.h"

NEVER(no_forwarder, CBoxliteError *e, void *ud)

static CBoxNetworkHandle *good_network(struct bad *b)
{
    CBoxNetworkHandle *n = NULL;

    assert_int_equal(boxlite_box_network(b->box, &n, NULL), Ok);
    return n;
}

static CBoxTunnelHandle *good_tunnel(struct bad *b)
{
    CBoxNetworkHandle *n = good_network(b);
    CBoxTunnelHandle *t = NULL;

    assert_int_equal(boxlite_network_tunnel(n, 80, &t, NULL), Ok);
    boxlite_network_free(n);
    return t;
}

static CTunnelForwarderHandle *good_forwarder(struct bad *b)
{
    CBoxTunnelHandle *t = good_tunnel(b);
    BoxliteSocketAddress at = {.kind = BoxliteSocketTcp};
    CTunnelForwarderHandle *f = NULL;

    assert_int_equal(boxlite_tunnel_forward(t, &at, &f, NULL), Ok);
    boxlite_tunnel_free(t);
    return f;
}

ROW(boxlite_box_network)
{
    CBoxNetworkHandle *n = NULL;

    BAD(boxlite_box_network(NULL, &n, E));
    BAD(boxlite_box_network(b->box, NULL, E));
    STALE(boxlite_box_network(b->stopped_box, &n, E));
    STALE(boxlite_box_network(b->stale_box, &n, E));
    assert_null(n);
}
ROW(boxlite_box_set_allow_net)
{
    const char *fine[] = {"a.example"}, *wrong[] = {"a.example", "a b"}, *hole[] = {"a.example", NULL};

    BAD(boxlite_box_set_allow_net(NULL, fine, 1, no_forwarder, NULL, E));
    BAD(boxlite_box_set_allow_net(b->box, NULL, 1, no_forwarder, NULL, E));
    BAD(boxlite_box_set_allow_net(b->box, fine, 1, NULL, NULL, E));
    BAD(boxlite_box_set_allow_net(b->box, fine, -1, no_forwarder, NULL, E));
    BAD(boxlite_box_set_allow_net(b->box, fine, INT32_MAX, no_forwarder, NULL, E));
    BAD(boxlite_box_set_allow_net(b->box, wrong, 2, no_forwarder, NULL, E));
    BAD(boxlite_box_set_allow_net(b->box, hole, 2, no_forwarder, NULL, E));
    STALE(boxlite_box_set_allow_net(b->stale_box, fine, 1, no_forwarder, NULL, E));
}
ROW(boxlite_network_free)
{
    UNUSED(b);
    boxlite_network_free(NULL);
}
ROW(boxlite_network_tunnel)
{
    CBoxNetworkHandle *n = good_network(b);
    CBoxTunnelHandle *t = NULL;

    BAD(boxlite_network_tunnel(NULL, 80, &t, E));
    BAD(boxlite_network_tunnel(n, 80, NULL, E));
    BAD(boxlite_network_tunnel(n, 0, &t, E));
    assert_null(t);
    boxlite_network_free(n);
}
ROW(boxlite_tunnel_free)
{
    UNUSED(b);
    boxlite_tunnel_free(NULL);
}
ROW(boxlite_tunnel_uri)
{
    CBoxTunnelHandle *t = good_tunnel(b);
    char *uri = NULL;

    BAD(boxlite_tunnel_uri(NULL, &uri, E));
    BAD(boxlite_tunnel_uri(t, NULL, E));
    assert_int_equal(boxlite_tunnel_uri(t, &uri, NULL), Ok);
    assert_null(uri);
    boxlite_tunnel_free(t);
}
ROW(boxlite_tunnel_connect)
{
    CBoxTunnelHandle *t = good_tunnel(b);
    int32_t fd = 7;

    BAD(boxlite_tunnel_connect(NULL, &fd, E));
    BAD(boxlite_tunnel_connect(t, NULL, E));
    assert_int_equal(fd, 7);
    boxlite_tunnel_free(t);
}
ROW(boxlite_tunnel_forward)
{
    CBoxTunnelHandle *t = good_tunnel(b);
    BoxliteSocketAddress tcp = {.kind = BoxliteSocketTcp, .host = "nowhere"}, odd = {.kind = 9};
    BoxliteSocketAddress unnamed = {.kind = BoxliteSocketUnix}, taken = {.kind = BoxliteSocketUnix, .path = "/nowhere/at/all"};
    CTunnelForwarderHandle *f = NULL;

    BAD(boxlite_tunnel_forward(NULL, &tcp, &f, E));
    BAD(boxlite_tunnel_forward(t, NULL, &f, E));
    BAD(boxlite_tunnel_forward(t, &tcp, NULL, E));
    BAD(boxlite_tunnel_forward(t, &tcp, &f, E));
    BAD(boxlite_tunnel_forward(t, &odd, &f, E));
    BAD(boxlite_tunnel_forward(t, &unnamed, &f, E));
    REFUSED(Network, boxlite_tunnel_forward(t, &taken, &f, E));
    assert_null(f);
    boxlite_tunnel_free(t);
}
ROW(boxlite_tunnel_forwarder_address)
{
    CTunnelForwarderHandle *f = good_forwarder(b);
    char *address = NULL;

    BAD(boxlite_tunnel_forwarder_address(NULL, &address, E));
    BAD(boxlite_tunnel_forwarder_address(f, NULL, E));
    assert_null(address);
    boxlite_tunnel_forwarder_free(f);
}
ROW(boxlite_tunnel_forwarder_wait)
{
    CTunnelForwarderHandle *f = good_forwarder(b);

    BAD(boxlite_tunnel_forwarder_wait(NULL, no_forwarder, NULL, E));
    BAD(boxlite_tunnel_forwarder_wait(f, NULL, NULL, E));
    boxlite_tunnel_forwarder_free(f);
}
ROW(boxlite_tunnel_forwarder_close)
{
    CTunnelForwarderHandle *f = good_forwarder(b);

    BAD(boxlite_tunnel_forwarder_close(NULL, no_forwarder, NULL, E));
    BAD(boxlite_tunnel_forwarder_close(f, NULL, NULL, E));
    boxlite_tunnel_forwarder_free(f);
}
ROW(boxlite_tunnel_forwarder_free)
{
    UNUSED(b);
    boxlite_tunnel_forwarder_free(NULL);
}

#endif
