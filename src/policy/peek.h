/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peek.h - the host name that the first bytes of a connection ask for: the SNI of a TLS ClientHello (RFC 8446, RFC 6066
 * section 3), or the Host of an HTTP/1 request (RFC 9112). All bytes are hostile.
 */
#ifndef BX_POLICY_PEEK_H
#define BX_POLICY_PEEK_H

#include "policy/name.h"

#define BX_PEEK_MAX 16384 /* more is not waited for */

enum bx_peek {
    BX_PEEK_MORE, /* these bytes are the beginning of either, and do not tell yet */
    BX_PEEK_NAME, /* it asks for the name given back, canonical */
    BX_PEEK_NONE, /* some other protocol, or one that names nobody */
    BX_PEEK_BAD,  /* it names what is no host name, or two, or does not come to the point within BX_PEEK_MAX */
};

/* An address in the place of a name (HTTP allows it) is given back as it is written. */
enum bx_peek bx_peek_name(const uint8_t *data, size_t len, char ret[BX_HOST_NAME_MAX + 1]);

#endif
