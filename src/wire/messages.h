/* SPDX-License-Identifier: Apache-2.0 */
/*
 * messages.h - control messages as structs: encode onto a link, decode from a payload.
 *
 * The structs are nanopb's (box.pb.h, boxlite_Exec and so on, static maxima in box.options). Repeated strings
 * (args, env, features) are `struct bx_strs`: an arena of NUL-terminated strings one after another, bounded
 * in bytes and number. A string with an embedded NUL, an argument over BX_ARG_MAX, or too many of them is
 * refused with words (E2BIG in them).
 */
#ifndef BX_WIRE_MESSAGES_H
#define BX_WIRE_MESSAGES_H

#include "wire/box.pb.h"
#include "wire/link.h"

/* A list of strings: "a\0b\0". data is NULL when empty. */
struct bx_strs {
    const char *data;
    size_t len; /* with the NULs */
    size_t count;
};

/* Next string of the list, or NULL: for (s = bx_strs_first(l); s; s = bx_strs_next(l, s)). */
const char *bx_strs_first(const struct bx_strs *l);
const char *bx_strs_next(const struct bx_strs *l, const char *s);

/* Messages with repeated strings, wrapped: pb has everything else. To send, fill both. */
struct bx_msg_hello {
    boxlite_Hello pb;
    struct bx_strs features;
};
struct bx_msg_start {
    boxlite_Start pb;
    struct bx_strs env;
};
struct bx_msg_exec {
    boxlite_Exec pb;
    struct bx_strs args;
    struct bx_strs env;
};

struct bx_msg_net_policy {
    boxlite_NetPolicy pb;
    struct bx_strs allow;
};

/*
 * Decoders. `arena` receives the strings (cleared first; its maximum bounds them); the lists point into it.
 * 0, or -BX_ERPC / -BX_EINVALID with err.
 */
int bx_msg_decode_hello(const void *data, size_t len, struct bx_buf *arena, struct bx_msg_hello *ret,
                        struct bx_err *err);
int bx_msg_decode_start(const void *data, size_t len, struct bx_buf *arena, struct bx_msg_start *ret,
                        struct bx_err *err);
int bx_msg_decode_exec(const void *data, size_t len, struct bx_buf *arena, struct bx_msg_exec *ret,
                       struct bx_err *err);

int bx_msg_decode_net_policy(const void *data, size_t len, struct bx_buf *arena, struct bx_msg_net_policy *ret,
                             struct bx_err *err);

/* All other messages, by type: `ret` is the nanopb struct of that type (boxlite_Exit for BX_MSG_EXIT,
 * ...). */
int bx_msg_decode(uint16_t type, const void *data, size_t len, void *ret, struct bx_err *err);

/* Encode and queue. `msg` is the nanopb struct of the type. 0 or negative with err. */
int bx_msg_send(struct bx_link *l, uint16_t type, uint32_t stream, const void *msg, struct bx_err *err);
/* Same through the data queue (Exit, Truncated). */
int bx_msg_send_ordered(struct bx_link *l, uint16_t type, uint32_t stream, const void *msg,
                        struct bx_err *err);
/* A message about the link, ahead of all that waits (bx_link_send_first). */
int bx_msg_send_first(struct bx_link *l, uint16_t type, const void *msg, struct bx_err *err);
int bx_msg_send_hello(struct bx_link *l, const struct bx_msg_hello *msg, struct bx_err *err);
int bx_msg_send_start(struct bx_link *l, const struct bx_msg_start *msg, struct bx_err *err);
int bx_msg_send_exec(struct bx_link *l, uint32_t stream, const struct bx_msg_exec *msg, struct bx_err *err);
int bx_msg_send_net_policy(struct bx_link *l, const struct bx_msg_net_policy *msg, struct bx_err *err);

/* Short forms. */
int bx_msg_send_ok(struct bx_link *l, uint32_t stream, uint32_t request);
int bx_msg_send_error(struct bx_link *l, uint32_t stream, uint32_t request, const struct bx_err *why);
int bx_msg_send_credit(struct bx_link *l, uint32_t stream, unsigned lane, uint32_t bytes);

#endif
