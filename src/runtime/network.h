/* SPDX-License-Identifier: Apache-2.0 */
/* network.h - the network of a box, as its options have it (private). */
#ifndef BX_RUNTIME_NETWORK_H
#define BX_RUNTIME_NETWORK_H

#include <boxlite.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "host/json.h"
#include "wire/messages.h"

#define BX_PORTS_MAX 64

struct bx_port {
    uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
    uint32_t host_ip; /* host byte order */
    uint16_t host_port, guest_port;
};

struct bx_network {
    bool enabled, disabled; /* as was said; neither: enabled */
    char **allow;           /* rules (policy/policy.h) */
    struct bx_port ports[BX_PORTS_MAX];
    size_t n_ports;
};

static inline bool bx_network_on(const struct bx_network *n)
{
    return !n->disabled;
}
void bx_network_done(struct bx_network *n);
/* Every rule and port makes sense, and nothing contradicts? -BX_EINVALID. */
int bx_network_check(const struct bx_network *n, struct bx_err *err);

/* The rules as the options of a row have them now. */
int bx_network_refresh(struct bx_network *n, const char *options, struct bx_err *err);
/* What the box has told of refusals, as the fact network_refusals. */
void bx_network_refusals(const boxlite_BoxInfo *i, struct CBoxliteInfo *d);

void bx_network_to_json(const struct bx_network *n, struct bx_jw *w);
int bx_network_from_json(const struct bx_json *j, struct bx_network *ret, struct bx_err *err);

/* What boxlite-net is told (net/plan.h); heap, NULL when out of memory. */
char *bx_network_plan(const struct bx_network *n);

/* For CBoxInfo. bound: the host's ports as the shim has told, or NULL. NULL when out of memory. */
CNetworkInfo *bx_network_info(const struct bx_network *n, const uint32_t *bound, size_t n_bound);
void bx_network_info_free(CNetworkInfo *info);

#endif
