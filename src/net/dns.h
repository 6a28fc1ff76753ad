/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dns.h - messages of the domain name system (RFC 1035), as far as a forwarder reads and writes them. Pure: no I/O.
 * Questions are the guest's, answers those of the host's name servers: both are hostile.
 */
#ifndef BX_NET_DNS_H
#define BX_NET_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/name.h"

#define BX_DNS_MAX       4096 /* of a message that we read or write */
#define BX_DNS_UDP_MAX   1232 /* of an answer over UDP to a client that asked with EDNS; else 512 */
#define BX_DNS_ADDRS_MAX 32
#define BX_DNS_HEADER    12

enum bx_dns_type { BX_DNS_A = 1, BX_DNS_AAAA = 28, BX_DNS_OPT = 41, BX_DNS_SVCB = 64, BX_DNS_HTTPS = 65 };
enum bx_dns_rcode { BX_DNS_OK = 0, BX_DNS_FORMERR = 1, BX_DNS_SERVFAIL = 2, BX_DNS_NXDOMAIN = 3, BX_DNS_NOTIMP = 4,
                    BX_DNS_REFUSED = 5 };

struct bx_dns_question {
    uint16_t id;
    bool recursion;               /* desired */
    char name[BX_HOST_NAME_MAX + 1]; /* canonical; "" when it is no host name */
    uint16_t type, class;
    size_t end;      /* offset behind the question in the message */
    size_t udp_size; /* what the client takes over UDP */
};

/* Reads a question. 0; or a BX_DNS_* code to answer with (ret->id and end are set); or -EINVAL: not to be answered. */
int bx_dns_read_question(const uint8_t *msg, size_t len, struct bx_dns_question *ret);

/* Answers to the question in msg, which is repeated byte for byte. Length of the answer. ret has BX_DNS_MAX bytes. */
size_t bx_dns_write_addrs(const uint8_t *msg, const struct bx_dns_question *q, const uint32_t *addrs, size_t n, uint32_t ttl,
                          uint8_t *ret);
size_t bx_dns_write_code(const uint8_t *msg, const struct bx_dns_question *q, unsigned rcode, uint8_t *ret);
/* Makes an answer that is longer than the client takes one without records and with the flag that says so. */
size_t bx_dns_truncate(const struct bx_dns_question *q, uint8_t *msg, size_t len);

/* A question of our own. Length; ret has BX_DNS_MAX bytes. */
size_t bx_dns_write_question(const char *name, uint16_t type, uint16_t id, uint8_t *ret);

struct bx_dns_answer {
    unsigned rcode;
    bool truncated;
    uint32_t ttl; /* the least of the records that were followed */
    size_t n;
    uint32_t addrs[BX_DNS_ADDRS_MAX]; /* host byte order */
};

/* Reads the answer to bx_dns_write_question(name, type, id): 0, or -EINVAL when it is none to that. Addresses are those of
 * the name itself or of what it is an alias of, by records of this message. */
int bx_dns_read_answer(const uint8_t *msg, size_t len, const char *name, uint16_t type, uint16_t id,
                       struct bx_dns_answer *ret);

#endif
