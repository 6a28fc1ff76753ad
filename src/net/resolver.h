/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resolver.h - asks the host's name servers, and remembers which names led to which addresses.
 *
 * Each question goes out from a socket and with a number of its own, to one server after the other, over UDP, and over TCP
 * when the answer does not fit. Addresses of names are remembered for their time to live as answers, and longer (the last
 * BX_RESOLVER_NAMES names) for the question which names an address stands for: programs dial what they have looked up.
 *
 * Bounds: BX_LOOKUPS_MAX questions under way, BX_RESOLVER_NAMES names.
 */
#ifndef BX_NET_RESOLVER_H
#define BX_NET_RESOLVER_H

#include <sys/socket.h>

#include "loop/loop.h"
#include "net/dns.h"

#define BX_LOOKUPS_MAX      256
#define BX_RESOLVER_NAMES   1024
#define BX_RESOLVER_SERVERS 3

struct bx_lookup;

struct bx_resolved {
    struct bx_resolved *chain;
    char name[BX_HOST_NAME_MAX + 1];
    int64_t expires; /* bx_now() */
    uint64_t used;   /* order of last use */
    uint32_t ttl;
    size_t n;
    uint32_t addrs[BX_DNS_ADDRS_MAX];
};

struct bx_resolver {
    struct bx_loop *loop;
    struct sockaddr_storage servers[BX_RESOLVER_SERVERS];
    size_t n_servers;
    struct bx_resolved *names[256];
    unsigned n_names;
    uint64_t clock; /* counts uses */
    struct bx_lookup *lookups;
    unsigned n_lookups;
};

/* The answer, or NULL when no server gave one (then the lookup has ended all the same). raw is the message as it came. */
typedef void bx_lookup_fn(void *ud, const struct bx_dns_answer *answer, const uint8_t *raw, size_t len);

void bx_resolver_init(struct bx_resolver *r, struct bx_loop *loop);
void bx_resolver_done(struct bx_resolver *r);
/* The content of resolv.conf (5): its nameservers; text is cut up. Without any, the one on this host is asked. */
void bx_resolver_config(struct bx_resolver *r, char *text);

/* Asks. fn is called later, once, unless it is cancelled. NULL when too much is under way. */
struct bx_lookup *bx_resolver_ask(struct bx_resolver *r, const char *name, uint16_t type, bx_lookup_fn *fn, void *ud);
void bx_lookup_cancel(struct bx_lookup *l);

/* Addresses that hold now, or NULL. */
const struct bx_resolved *bx_resolver_fresh(struct bx_resolver *r, const char *name);
/* Calls fn for each name that has led to addr, until it returns true; then that. */
bool bx_resolver_names_of(struct bx_resolver *r, uint32_t addr, bool (*fn)(const char *name, void *ud), void *ud);
/* Has this name led to this address? */
bool bx_resolver_led_to(struct bx_resolver *r, const char *name, uint32_t addr);

#endif
