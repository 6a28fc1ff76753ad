/* SPDX-License-Identifier: Apache-2.0 */
/* tunnel.c - `boxlite network tunnel`: a port of a box, reached at an address of this host. */
#include "cli/cli.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

/* "8080", "127.0.0.1:8080" or "unix:PATH". The host's text is on the heap. */
static bool parse_listen(const char *text, BoxliteSocketAddress *ret, char **ret_host)
{
    const char *colon = text ? strrchr(text, ':') : NULL;
    uint64_t port = 0;
    *ret = (BoxliteSocketAddress){ .kind = BoxliteSocketTcp };
    if (!text)
        return true;
    if (bx_starts_with(text, "unix:")) {
        ret->kind = BoxliteSocketUnix;
        ret->path = text + 5;
        return *ret->path != '\0';
    }
    if (bx_parse_u64(colon ? colon + 1 : text, 0, 65535, &port) < 0)
        return false;
    ret->port = (uint16_t)port;
    if (colon)
        ret->host = *ret_host = strndup(text, (size_t)(colon - text));
    return true;
}

static void free_forwarder(void *ud)
{
    boxlite_tunnel_forwarder_free(ud);
}

static int forward(CBoxliteRuntime *rt, CBoxTunnelHandle *tunnel, const BoxliteSocketAddress *at)
{
    struct bx_call call = BX_CALL_INIT;
    CTunnelForwarderHandle *f = NULL;
    char *address = NULL;
    if (boxlite_tunnel_forward(tunnel, at, &f, &call.error) != Ok ||
        boxlite_tunnel_forwarder_address(f, &address, &call.error) != Ok) {
        boxlite_tunnel_forwarder_free(f);
        return bx_cli_fail(&call.error, NULL);
    }
    printf("%s\n", address);
    boxlite_free_string(address);
    fflush(stdout);
    bx_cli_on_leave(free_forwarder, f); /* Ctrl-C is how it ends */
    bool ended = bx_call_wait(rt, &call, boxlite_tunnel_forwarder_wait(f, bx_call_plain, &call, &call.error));
    bx_cli_on_leave(NULL, NULL);
    boxlite_tunnel_forwarder_free(f);
    return ended ? 0 : bx_cli_fail(&call.error, NULL);
}

static int tunnel_to(CBoxliteRuntime *rt, CBoxHandle *box, uint16_t port, const BoxliteSocketAddress *at)
{
    CBoxNetworkHandle *network = NULL;
    CBoxTunnelHandle *tunnel = NULL;
    CBoxliteError error = { Ok, NULL };
    int code;
    if (boxlite_box_network(box, &network, &error) != Ok || boxlite_network_tunnel(network, port, &tunnel, &error) != Ok)
        code = bx_cli_fail(&error, NULL);
    else
        code = forward(rt, tunnel, at);
    boxlite_tunnel_free(tunnel);
    boxlite_network_free(network);
    return code;
}

int bx_verb_network_tunnel(int argc, char **argv)
{
    const char *listen = NULL;
    const struct bx_opt opts[] = {
        BX_OPT_STRING(0, "listen", &listen, "[IP:]PORT|unix:PATH", "where on this host (127.0.0.1, a port that is free)"),
        BX_OPT_INCLUDE(bx_cli_global_opts),
        BX_OPT_END,
    };
    BoxliteSocketAddress at = { 0 };
    bx_cleanup_free char *host = NULL;
    uint64_t port = 0;
    int code = 0;
    int n = bx_cli_parse("network tunnel", opts, 0, argc, argv, &code);
    if (n < 0)
        return code;
    if (n != 2)
        return bx_cli_usage("network tunnel", n == 0 ? "to which box?" : n == 1 ? "to which port?" : "one box and one port");
    if (bx_parse_u64(argv[2], 1, 65535, &port) < 0)
        return bx_cli_usage("network tunnel", "a port is 1 to 65535, not '%s'", argv[2]);
    if (!parse_listen(listen, &at, &host))
        return bx_cli_usage("network tunnel", "--listen: '%s' is not [IP:]PORT or unix:PATH", listen);
    CBoxliteRuntime *rt = bx_cli_open();
    if (!rt)
        return BX_EXIT_FAILURE;
    CBoxHandle *box = bx_cli_box(rt, argv[1], &code);
    if (box)
        code = tunnel_to(rt, box, (uint16_t)port, &at);
    boxlite_box_free(box);
    boxlite_runtime_free(rt);
    return code;
}
