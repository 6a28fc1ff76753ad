/* SPDX-License-Identifier: Apache-2.0 */
#include "net/dns.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"

#define FLAG_QR     0x8000u
#define FLAG_OPCODE 0x7800u
#define FLAG_AA     0x0400u
#define FLAG_TC     0x0200u
#define FLAG_RD     0x0100u
#define FLAG_RA     0x0080u
#define CLASS_IN    1
#define TYPE_CNAME  5
#define LABELS_MAX  128
#define UDP_PLAIN   512
#define POINTER     0xc0

static unsigned get16(const uint8_t *p)
{
    return (unsigned)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xffff);
}

/*
 * Reads the name at *at as text; *at goes behind it. Labels with a dot or a NUL in them have no text: *ret_host is false
 * then. -EINVAL when it is no name. Pointers lead backwards only (RFC 1035 section 4.1.4), so it ends.
 */
static int read_name(const uint8_t *msg, size_t len, size_t *at, char ret[256], bool *ret_host)
{
    size_t pos = *at, out = 0, limit = len;
    bool jumped = false;

    *ret_host = true;
    for (;;) {
        uint8_t n;

        if (pos >= limit)
            return -EINVAL;
        n = msg[pos];
        if ((n & POINTER) == POINTER) {
            size_t target;

            if (pos + 1 >= limit)
                return -EINVAL;
            target = (size_t)(n & 0x3f) << 8 | msg[pos + 1];
            if (!jumped)
                *at = pos + 2;
            jumped = true;
            if (target >= pos)
                return -EINVAL;
            limit = pos; /* whatever comes ends before what led to it */
            pos = target;
            continue;
        }
        if (n & POINTER)
            return -EINVAL;
        pos++;
        if (n == 0)
            break;
        if (pos + n > limit || out + n + 1 > 254)
            return -EINVAL;
        for (size_t i = 0; i < n; i++)
            if (msg[pos + i] == '.' || msg[pos + i] == 0)
                *ret_host = false;
        if (out > 0)
            ret[out++] = '.';
        memcpy(ret + out, msg + pos, n);
        out += n;
        pos += n;
    }
    ret[out] = '\0';
    if (!jumped)
        *at = pos;
    return 0;
}

/* A record: its fixed part. *at goes behind it. */
struct record {
    char name[256];
    bool host;
    unsigned type, class;
    uint32_t ttl;
    size_t data, len; /* in the message */
};

static int read_record(const uint8_t *msg, size_t len, size_t *at, struct record *ret)
{
    if (read_name(msg, len, at, ret->name, &ret->host) < 0 || *at + 10 > len)
        return -EINVAL;
    ret->type = get16(msg + *at);
    ret->class = get16(msg + *at + 2);
    ret->ttl = get32(msg + *at + 4);
    ret->len = get16(msg + *at + 8);
    ret->data = *at + 10;
    if (ret->data + ret->len > len)
        return -EINVAL;
    *at = ret->data + ret->len;
    return 0;
}

/* What an OPT record says the client takes (RFC 6891). */
static size_t udp_size(const uint8_t *msg, size_t len, size_t at, unsigned records)
{
    struct record r;

    for (unsigned i = 0; i < records && read_record(msg, len, &at, &r) == 0; i++)
        if (r.type == BX_DNS_OPT)
            return BX_MIN(BX_MAX((size_t)r.class, (size_t)UDP_PLAIN), (size_t)BX_DNS_UDP_MAX);
    return UDP_PLAIN;
}

int bx_dns_read_question(const uint8_t *msg, size_t len, struct bx_dns_question *ret)
{
    size_t at = BX_DNS_HEADER;
    char name[256];
    unsigned flags;
    bool host;

    memset(ret, 0, sizeof(*ret));
    if (len < BX_DNS_HEADER || len > BX_DNS_MAX)
        return -EINVAL;
    flags = get16(msg + 2);
    if (flags & FLAG_QR)
        return -EINVAL;
    ret->id = (uint16_t)get16(msg);
    ret->recursion = flags & FLAG_RD;
    ret->end = BX_DNS_HEADER;
    ret->udp_size = UDP_PLAIN;
    if (flags & FLAG_OPCODE)
        return BX_DNS_NOTIMP;
    if (get16(msg + 4) != 1 || read_name(msg, len, &at, name, &host) < 0 || at + 4 > len)
        return BX_DNS_FORMERR;
    ret->type = (uint16_t)get16(msg + at);
    ret->class = (uint16_t)get16(msg + at + 2);
    ret->end = at + 4;
    ret->udp_size = udp_size(msg, len, ret->end, get16(msg + 6) + get16(msg + 8) + get16(msg + 10));
    if (ret->class != CLASS_IN)
        return BX_DNS_REFUSED;
    if (!host || bx_name_canonical(name, strlen(name), ret->name) < 0)
        ret->name[0] = '\0';
    return 0;
}

static void write_header(const struct bx_dns_question *q, bool question, unsigned answers, unsigned rcode, uint8_t *ret)
{
    put16(ret, q->id);
    put16(ret + 2, FLAG_QR | FLAG_RA | (q->recursion ? FLAG_RD : 0) | rcode);
    put16(ret + 4, question);
    put16(ret + 6, answers);
    put32(ret + 8, 0);
}

size_t bx_dns_write_code(const uint8_t *msg, const struct bx_dns_question *q, unsigned rcode, uint8_t *ret)
{
    write_header(q, q->end > BX_DNS_HEADER, 0, rcode, ret);
    memcpy(ret + BX_DNS_HEADER, msg + BX_DNS_HEADER, q->end - BX_DNS_HEADER);
    return q->end;
}

size_t bx_dns_write_addrs(const uint8_t *msg, const struct bx_dns_question *q, const uint32_t *addrs, size_t n, uint32_t ttl,
                          uint8_t *ret)
{
    size_t at = bx_dns_write_code(msg, q, BX_DNS_OK, ret);

    n = BX_MIN(n, (size_t)BX_DNS_ADDRS_MAX);
    put16(ret + 6, (unsigned)n);
    for (size_t i = 0; i < n; i++, at += 16) {
        put16(ret + at, POINTER << 8 | BX_DNS_HEADER); /* the name of the question */
        put16(ret + at + 2, BX_DNS_A);
        put16(ret + at + 4, CLASS_IN);
        put32(ret + at + 6, ttl);
        put16(ret + at + 10, 4);
        put32(ret + at + 12, addrs[i]);
    }
    return at;
}

size_t bx_dns_truncate(const struct bx_dns_question *q, uint8_t *msg, size_t len)
{
    if (len <= q->udp_size)
        return len;
    put16(msg + 2, get16(msg + 2) | FLAG_TC);
    memset(msg + 6, 0, 6);
    return q->end;
}

size_t bx_dns_write_question(const char *name, uint16_t type, uint16_t id, uint8_t *ret)
{
    size_t at = BX_DNS_HEADER;

    memset(ret, 0, BX_DNS_HEADER);
    put16(ret, id);
    put16(ret + 2, FLAG_RD);
    put16(ret + 4, 1);
    while (*name) {
        size_t n = strcspn(name, ".");

        ret[at] = (uint8_t)n;
        memcpy(ret + at + 1, name, n);
        at += n + 1;
        name += n + (name[n] == '.');
    }
    ret[at] = 0;
    put16(ret + at + 1, type);
    put16(ret + at + 3, CLASS_IN);
    return at + 5;
}

static int check_header(const uint8_t *msg, size_t len, const char *name, uint16_t type, uint16_t id, size_t *ret_at)
{
    char asked[256];
    bool host;

    *ret_at = BX_DNS_HEADER;
    if (len < BX_DNS_HEADER || get16(msg) != id || !(get16(msg + 2) & FLAG_QR) || (get16(msg + 2) & FLAG_OPCODE) ||
        get16(msg + 4) != 1)
        return -EINVAL;
    if (read_name(msg, len, ret_at, asked, &host) < 0 || !host || strcasecmp(asked, name) != 0 || *ret_at + 4 > len ||
        get16(msg + *ret_at) != type || get16(msg + *ret_at + 2) != CLASS_IN)
        return -EINVAL;
    *ret_at += 4;
    return 0;
}

static void take_addr(const uint8_t *msg, const struct record *r, struct bx_dns_answer *ret)
{
    if (r->len != 4 || ret->n == BX_DNS_ADDRS_MAX)
        return;
    ret->addrs[ret->n++] = get32(msg + r->data);
    ret->ttl = BX_MIN(ret->ttl, r->ttl);
}

int bx_dns_read_answer(const uint8_t *msg, size_t len, const char *name, uint16_t type, uint16_t id,
                       struct bx_dns_answer *ret)
{
    char owner[256]; /* whose addresses count: the name, then what it is an alias of */
    size_t at;
    unsigned n;

    memset(ret, 0, sizeof(*ret));
    if (check_header(msg, len, name, type, id, &at) < 0)
        return -EINVAL;
    ret->rcode = get16(msg + 2) & 0x0f;
    ret->truncated = get16(msg + 2) & FLAG_TC;
    ret->ttl = UINT32_MAX;
    n = get16(msg + 6);
    memcpy(owner, name, strlen(name) + 1);
    for (unsigned i = 0; i < n; i++) {
        struct record r;

        if (read_record(msg, len, &at, &r) < 0)
            return ret->truncated ? 0 : -EINVAL;
        if (!r.host || r.class != CLASS_IN || strcasecmp(r.name, owner) != 0)
            continue;
        if (r.type == BX_DNS_A) {
            take_addr(msg, &r, ret);
        } else if (r.type == TYPE_CNAME) {
            size_t data = r.data;
            bool host;

            if (read_name(msg, r.data + r.len, &data, owner, &host) < 0 || !host)
                return -EINVAL;
            ret->ttl = BX_MIN(ret->ttl, r.ttl);
        }
    }
    return 0;
}
