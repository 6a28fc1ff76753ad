/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/peek.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define TLS_RECORD_HANDSHAKE 22
#define TLS_CLIENT_HELLO     1
#define TLS_EXT_SERVER_NAME  0

/* What is left to read of some bytes. */
struct cursor {
    const uint8_t *at;
    size_t len;
};

static bool take(struct cursor *c, size_t n, struct cursor *ret)
{
    if (n > c->len)
        return false;
    *ret = (struct cursor){c->at, n};
    c->at += n;
    c->len -= n;
    return true;
}

static bool number(struct cursor *c, unsigned bytes, size_t *ret)
{
    struct cursor n;

    if (!take(c, bytes, &n))
        return false;
    *ret = 0;
    for (unsigned i = 0; i < bytes; i++)
        *ret = *ret << 8 | n.at[i];
    return true;
}

/* A vector of TLS: its length in so many bytes, then its content. */
static bool vector(struct cursor *c, unsigned bytes, struct cursor *ret)
{
    size_t n;

    return number(c, bytes, &n) && take(c, n, ret);
}

static enum bx_peek name_of(const char *text, size_t len, char ret[BX_HOST_NAME_MAX + 1])
{
    uint32_t addr;

    if (bx_ipv4_parse(text, len, &addr) == 0) {
        bx_ipv4_format(addr, ret);
        return BX_PEEK_NAME;
    }
    return bx_name_canonical(text, len, ret) == 0 ? BX_PEEK_NAME : BX_PEEK_BAD;
}

/* --- TLS --- */

static enum bx_peek server_name(struct cursor ext, char ret[BX_HOST_NAME_MAX + 1])
{
    struct cursor list, name;
    size_t type;

    if (!vector(&ext, 2, &list) || !number(&list, 1, &type) || !vector(&list, 2, &name) || type != 0)
        return BX_PEEK_BAD;
    return list.len == 0 ? name_of((const char *)name.at, name.len, ret) : BX_PEEK_BAD;
}

static enum bx_peek client_hello(struct cursor hello, char ret[BX_HOST_NAME_MAX + 1])
{
    struct cursor skipped, extensions, ext;
    enum bx_peek found = BX_PEEK_NONE;
    size_t type;

    if (!take(&hello, 2 + 32, &skipped) || !vector(&hello, 1, &skipped) || !vector(&hello, 2, &skipped) ||
        !vector(&hello, 1, &skipped))
        return BX_PEEK_BAD;
    if (hello.len == 0)
        return BX_PEEK_NONE; /* no extensions */
    if (!vector(&hello, 2, &extensions))
        return BX_PEEK_BAD;
    while (extensions.len > 0) {
        if (!number(&extensions, 2, &type) || !vector(&extensions, 2, &ext))
            return BX_PEEK_BAD;
        if (type != TLS_EXT_SERVER_NAME)
            continue;
        if (found != BX_PEEK_NONE)
            return BX_PEEK_BAD;
        found = server_name(ext, ret);
    }
    return found;
}

/* Puts the pieces of the first handshake message together: it may span records. */
static enum bx_peek peek_tls(const uint8_t *data, size_t len, char ret[BX_HOST_NAME_MAX + 1])
{
    uint8_t message[BX_PEEK_MAX];
    struct cursor in = {data, len}, record, head;
    size_t have = 0, type, version, want;

    for (;;) {
        if (!number(&in, 1, &type))
            break;
        if (type != TLS_RECORD_HANDSHAKE)
            return BX_PEEK_BAD; /* in the middle of a ClientHello */
        if (!number(&in, 2, &version) || !number(&in, 2, &want))
            break;
        if (version >> 8 != 3 || want == 0 || want > sizeof(message))
            return BX_PEEK_BAD;
        if (!take(&in, want, &record))
            take(&in, in.len, &record);
        if (record.len > sizeof(message) - have)
            return BX_PEEK_BAD;
        memcpy(message + have, record.at, record.len);
        have += record.len;
        head = (struct cursor){message, have};
        if (number(&head, 1, &type) && type != TLS_CLIENT_HELLO)
            return BX_PEEK_BAD;
        if (have < 4 || !number(&head, 3, &want))
            continue;
        if (want > sizeof(message) - 4)
            return BX_PEEK_BAD;
        if (head.len >= want)
            return client_hello((struct cursor){head.at, want}, ret);
    }
    return BX_PEEK_MORE;
}

/* --- HTTP --- */

static enum bx_peek authority(const char *text, size_t len, char ret[BX_HOST_NAME_MAX + 1])
{
    const char *colon = memchr(text, ':', len);

    if (len > 0 && text[0] == '[')
        return BX_PEEK_BAD; /* IPv6 */
    return name_of(text, colon ? (size_t)(colon - text) : len, ret);
}

/* One line without its end; the rest goes on behind it. */
static bool line(struct cursor *c, struct cursor *ret)
{
    const uint8_t *end = memchr(c->at, '\n', c->len);
    struct cursor lf;

    if (!end || !take(c, (size_t)(end - c->at), ret))
        return false;
    take(c, 1, &lf);
    if (ret->len > 0 && ret->at[ret->len - 1] == '\r')
        ret->len--;
    return true;
}

static bool method_char(uint8_t c)
{
    return c >= 'A' && c <= 'Z';
}

/* Is this the beginning of a request, "GET /"? */
static enum bx_peek request_begins(const uint8_t *data, size_t len, size_t *ret_target)
{
    size_t n = 0;

    while (n < len && n < 16 && method_char(data[n]))
        n++;
    if (n == len && n < 16)
        return n > 0 ? BX_PEEK_MORE : BX_PEEK_NONE;
    if (n < 2 || n == 16 || data[n] != ' ')
        return BX_PEEK_NONE;
    *ret_target = n + 1;
    return BX_PEEK_NAME;
}

/* A second name must be the first. */
static enum bx_peek one_more(enum bx_peek found, char have[BX_HOST_NAME_MAX + 1], const char *text, size_t len)
{
    char name[BX_HOST_NAME_MAX + 1];

    if (authority(text, len, name) != BX_PEEK_NAME)
        return BX_PEEK_BAD;
    if (found == BX_PEEK_NAME && strcmp(have, name) != 0)
        return BX_PEEK_BAD;
    memcpy(have, name, sizeof(name));
    return BX_PEEK_NAME;
}

/* The target of the request line: "/path", "*", "http://host/path", or "host:443" for CONNECT. */
static enum bx_peek target_name(struct cursor target, bool connect, char ret[BX_HOST_NAME_MAX + 1])
{
    const char *text = (const char *)target.at;
    const uint8_t *space = memchr(target.at, ' ', target.len);
    size_t len = space ? (size_t)(space - target.at) : target.len, host = 0;

    if (connect)
        return one_more(BX_PEEK_NONE, ret, text, len);
    if (len > 7 && strncasecmp(text, "http://", 7) == 0)
        host = 7;
    else if (len > 8 && strncasecmp(text, "https://", 8) == 0)
        host = 8;
    else
        return BX_PEEK_NONE;
    len -= host;
    for (size_t i = 0; i < len; i++)
        if (text[host + i] == '/' || text[host + i] == '?' || text[host + i] == '#')
            len = i;
    return one_more(BX_PEEK_NONE, ret, text + host, len);
}

static enum bx_peek peek_http(const uint8_t *data, size_t len, size_t target, char ret[BX_HOST_NAME_MAX + 1])
{
    struct cursor in = {data + target, len - target}, l;
    bool connect = target == 8 && memcmp(data, "CONNECT ", 8) == 0;
    enum bx_peek found;

    if (!line(&in, &l))
        return BX_PEEK_MORE;
    found = target_name(l, connect, ret);
    while (found != BX_PEEK_BAD) {
        if (!line(&in, &l))
            return BX_PEEK_MORE;
        if (l.len == 0)
            break;
        if (l.len < 5 || strncasecmp((const char *)l.at, "host:", 5) != 0)
            continue;
        for (l.at += 5, l.len -= 5; l.len > 0 && (*l.at == ' ' || *l.at == '\t'); l.at++, l.len--)
            ;
        while (l.len > 0 && (l.at[l.len - 1] == ' ' || l.at[l.len - 1] == '\t'))
            l.len--;
        if (l.len > 0)
            found = one_more(found, ret, (const char *)l.at, l.len);
    }
    return found;
}

enum bx_peek bx_peek_name(const uint8_t *data, size_t len, char ret[BX_HOST_NAME_MAX + 1])
{
    enum bx_peek found;
    size_t target = 0, n = len < BX_PEEK_MAX ? len : BX_PEEK_MAX;

    ret[0] = '\0';
    if (n == 0)
        return BX_PEEK_MORE;
    if (data[0] == TLS_RECORD_HANDSHAKE) {
        found = n == 1 ? BX_PEEK_MORE : data[1] == 3 ? peek_tls(data, n, ret) : BX_PEEK_NONE;
    } else {
        found = request_begins(data, n, &target);
        if (found == BX_PEEK_NAME)
            found = peek_http(data, n, target, ret);
    }
    return found == BX_PEEK_MORE && len >= BX_PEEK_MAX ? BX_PEEK_BAD : found;
}
