/* SPDX-License-Identifier: Apache-2.0 */
#include "net/resolver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"

#define DNS_PORT   53
#define TRIES      3
#define TRY_NS     (2 * BX_SEC)
#define TTL_MIN    1
#define TTL_MAX    3600
#define UDP_READS  16 /* answers that are not ours, read in one turn */

struct bx_lookup {
    struct bx_lookup *prev, *next;
    struct bx_resolver *r;
    char name[BX_HOST_NAME_MAX + 1];
    uint16_t type, id;
    unsigned tries;
    bool tcp;
    int fd;
    struct bx_source *source, *timer;
    uint8_t out[2 + BX_DNS_MAX], in[2 + BX_DNS_MAX]; /* over TCP with their length before them */
    size_t out_len, out_sent, in_len;
    bx_lookup_fn *fn;
    void *ud;
};

static void try_next(struct bx_lookup *l);

/* --- names --- */

static struct bx_resolved **bucket(struct bx_resolver *r, const char *name)
{
    return &r->names[bx_fnv1a(BX_FNV1A_SEED, name, strlen(name)) % BX_ARRAY_SIZE(r->names)];
}

static struct bx_resolved *find(struct bx_resolver *r, const char *name)
{
    struct bx_resolved *e = *bucket(r, name);

    while (e && !bx_streq(e->name, name))
        e = e->chain;
    return e;
}

static void forget_oldest(struct bx_resolver *r)
{
    struct bx_resolved **oldest = NULL, *e;

    for (size_t i = 0; i < BX_ARRAY_SIZE(r->names); i++)
        for (struct bx_resolved **p = &r->names[i]; *p; p = &(*p)->chain)
            if (!oldest || (*p)->used < (*oldest)->used)
                oldest = p;
    if (!oldest)
        return;
    e = *oldest;
    *oldest = e->chain;
    free(e);
    r->n_names--;
}

static void remember(struct bx_resolver *r, const char *name, const struct bx_dns_answer *a)
{
    struct bx_resolved *e = find(r, name);
    uint32_t ttl = BX_MIN(BX_MAX(a->ttl, (uint32_t)TTL_MIN), (uint32_t)TTL_MAX);

    if (!e) {
        if (r->n_names == BX_RESOLVER_NAMES)
            forget_oldest(r);
        e = calloc(1, sizeof(*e));
        if (!e)
            return;
        memcpy(e->name, name, strlen(name) + 1);
        e->chain = *bucket(r, name);
        *bucket(r, name) = e;
        r->n_names++;
    }
    e->expires = bx_now() + (int64_t)ttl * BX_SEC;
    e->ttl = ttl;
    e->used = ++r->clock;
    e->n = a->n;
    memcpy(e->addrs, a->addrs, a->n * sizeof(a->addrs[0]));
}

const struct bx_resolved *bx_resolver_fresh(struct bx_resolver *r, const char *name)
{
    struct bx_resolved *e = find(r, name);

    if (!e || e->expires <= bx_now())
        return NULL;
    e->used = ++r->clock;
    return e;
}

static bool has_addr(const struct bx_resolved *e, uint32_t addr)
{
    for (size_t i = 0; i < e->n; i++)
        if (e->addrs[i] == addr)
            return true;
    return false;
}

bool bx_resolver_names_of(struct bx_resolver *r, uint32_t addr, bool (*fn)(const char *name, void *ud), void *ud)
{
    for (size_t i = 0; i < BX_ARRAY_SIZE(r->names); i++)
        for (struct bx_resolved *e = r->names[i]; e; e = e->chain)
            if (has_addr(e, addr) && fn(e->name, ud)) {
                e->used = ++r->clock;
                return true;
            }
    return false;
}

bool bx_resolver_led_to(struct bx_resolver *r, const char *name, uint32_t addr)
{
    struct bx_resolved *e = find(r, name);

    return e && has_addr(e, addr);
}

/* --- lookups --- */

static void close_socket(struct bx_lookup *l)
{
    l->source = bx_source_remove(l->source);
    l->fd = bx_close(l->fd);
}

void bx_lookup_cancel(struct bx_lookup *l)
{
    if (!l)
        return;
    close_socket(l);
    l->timer = bx_source_remove(l->timer);
    if (l->prev)
        l->prev->next = l->next;
    else
        l->r->lookups = l->next;
    if (l->next)
        l->next->prev = l->prev;
    l->r->n_lookups--;
    free(l);
}

static void finish(struct bx_lookup *l, const struct bx_dns_answer *a, size_t at, size_t len)
{
    uint8_t raw[BX_DNS_MAX];
    bx_lookup_fn *fn = l->fn;
    void *ud = l->ud;

    memcpy(raw, l->in + at, len);
    if (a && a->rcode == BX_DNS_OK && a->n > 0)
        remember(l->r, l->name, a);
    bx_lookup_cancel(l);
    fn(ud, a, raw, len);
}

/* False when the message is no answer to this question: somebody guesses, or it came late. */
static bool take_answer(struct bx_lookup *l, size_t at, size_t len)
{
    struct bx_dns_answer a;

    if (bx_dns_read_answer(l->in + at, len, l->name, l->type, l->id, &a) < 0)
        return false;
    if (a.truncated && !l->tcp) {
        l->tcp = true;
        l->tries--; /* the same server again */
        try_next(l);
    } else if (a.rcode == BX_DNS_OK || a.rcode == BX_DNS_NXDOMAIN) {
        finish(l, &a, at, len);
    } else {
        try_next(l); /* this server cannot tell */
    }
    return true;
}

static void on_udp(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct bx_lookup *l = ud;

    (void)s, (void)events;
    for (int i = 0; i < UDP_READS; i++) {
        ssize_t n = recv(fd, l->in, BX_DNS_MAX, 0);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) {
            try_next(l); /* refused */
            return;
        }
        if (take_answer(l, 0, (size_t)n))
            return;
    }
}

static void on_tcp(struct bx_source *s, int fd, uint32_t events, void *ud)
{
    struct bx_lookup *l = ud;
    ssize_t n;

    (void)events;
    if (l->out_sent < l->out_len) {
        n = send(fd, l->out + l->out_sent, l->out_len - l->out_sent, MSG_NOSIGNAL);
        if (n > 0)
            l->out_sent += (size_t)n;
        if (l->out_sent == l->out_len)
            bx_source_set_events(s, BX_READ);
    } else {
        n = recv(fd, l->in + l->in_len, sizeof(l->in) - l->in_len, 0);
        if (n > 0)
            l->in_len += (size_t)n;
        if (n > 0 && l->in_len >= 2 && l->in_len - 2 >= (size_t)(l->in[0] << 8 | l->in[1])) {
            if (!take_answer(l, 2, (size_t)(l->in[0] << 8 | l->in[1])))
                try_next(l);
            return;
        }
        if (n > 0 && l->in_len == sizeof(l->in))
            n = 0; /* longer than what we read */
    }
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        try_next(l);
}

static void on_late(struct bx_source *s, void *ud)
{
    (void)s;
    try_next(ud);
}

static socklen_t addr_len(const struct sockaddr_storage *a)
{
    return a->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

/* The question to one server. False: it cannot be reached. */
static bool ask(struct bx_lookup *l, const struct sockaddr_storage *server)
{
    size_t n;

    close_socket(l);
    bx_random(&l->id, sizeof(l->id));
    n = bx_dns_write_question(l->name, l->type, l->id, l->out + 2);
    l->out[0] = (uint8_t)(n >> 8);
    l->out[1] = (uint8_t)n;
    l->out_len = n + 2;
    l->out_sent = l->in_len = 0;
    l->fd = socket(server->ss_family, (l->tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0 || (connect(l->fd, (const struct sockaddr *)server, addr_len(server)) < 0 && errno != EINPROGRESS))
        return false;
    if (!l->tcp && send(l->fd, l->out + 2, n, MSG_NOSIGNAL) != (ssize_t)n)
        return false;
    l->source = bx_loop_add_fd(l->r->loop, l->fd, l->tcp ? BX_WRITE : BX_READ, l->tcp ? on_tcp : on_udp, l);
    bx_timer_after(l->timer, TRY_NS);
    return l->source != NULL;
}

static void try_next(struct bx_lookup *l)
{
    struct bx_resolver *r = l->r;

    while (l->tries < TRIES) {
        if (ask(l, &r->servers[l->tries++ % r->n_servers]))
            return;
    }
    finish(l, NULL, 0, 0);
}

static void on_begin(struct bx_source *s, void *ud)
{
    struct bx_lookup *l = ud;

    bx_source_remove(s);
    l->timer = bx_loop_add_timer(l->r->loop, on_late, l);
    if (l->timer)
        try_next(l);
    else
        finish(l, NULL, 0, 0);
}

struct bx_lookup *bx_resolver_ask(struct bx_resolver *r, const char *name, uint16_t type, bx_lookup_fn *fn, void *ud)
{
    struct bx_lookup *l;

    if (r->n_lookups == BX_LOOKUPS_MAX)
        return NULL;
    l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    *l = (struct bx_lookup){.r = r, .type = type, .fd = -1, .fn = fn, .ud = ud, .next = r->lookups};
    memcpy(l->name, name, strlen(name) + 1);
    /* In its own turn, so that fn is never called from here. */
    l->timer = bx_loop_add_timer(r->loop, on_begin, l);
    if (!l->timer) {
        free(l);
        return NULL;
    }
    bx_timer_set(l->timer, 1);
    if (r->lookups)
        r->lookups->prev = l;
    r->lookups = l;
    r->n_lookups++;
    return l;
}

/* --- configuration --- */

static bool parse_server(const char *text, struct sockaddr_storage *ret)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

    memset(ret, 0, sizeof(*ret));
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(DNS_PORT);
        return true;
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1)
        return false; /* with a scope, say: not supported, the others are asked */
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(DNS_PORT);
    return true;
}

void bx_resolver_config(struct bx_resolver *r, char *text)
{
    char *lines = NULL, *words;

    r->n_servers = 0;
    for (char *line = strtok_r(text, "\n", &lines); line; line = strtok_r(NULL, "\n", &lines)) {
        char *word = strtok_r(line, " \t\r", &words), *value = word ? strtok_r(NULL, " \t\r", &words) : NULL;

        if (value && bx_streq(word, "nameserver") && r->n_servers < BX_RESOLVER_SERVERS &&
            parse_server(value, &r->servers[r->n_servers]))
            r->n_servers++;
    }
    if (r->n_servers == 0) {
        parse_server("127.0.0.1", &r->servers[0]);
        r->n_servers = 1;
    }
}

void bx_resolver_init(struct bx_resolver *r, struct bx_loop *loop)
{
    char nothing[] = "";

    *r = (struct bx_resolver){.loop = loop};
    bx_resolver_config(r, nothing);
}

void bx_resolver_done(struct bx_resolver *r)
{
    while (r->lookups)
        bx_lookup_cancel(r->lookups);
    while (r->n_names > 0)
        forget_oldest(r);
}
