/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every decoder on anybody's bytes. The first byte is the message's type. What is accepted can be sent,
 * arrives as bytes that decode again, and those, sent again, are the same bytes.
 */
#include <string.h>

#include "wire/messages.h"

#define DATA_MAX (128 * 1024)
#define ARENA_MAX (256 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

union any {
    struct bx_msg_hello hello;
    struct bx_msg_start start;
    struct bx_msg_exec exec;
    boxlite_Error error;
    boxlite_Ready ready;
    boxlite_Exit exit;
    boxlite_BoxInfo info;
    boxlite_BoxGone gone;
    boxlite_FileOp file_op; /* the others are smaller */
};

static int decode(uint16_t type, const void *p, size_t n, struct bx_buf *arena, union any *ret,
                  struct bx_err *err)
{
    switch (type) {
    case BX_MSG_HELLO:
        return bx_msg_decode_hello(p, n, arena, &ret->hello, err);
    case BX_MSG_START:
        return bx_msg_decode_start(p, n, arena, &ret->start, err);
    case BX_MSG_EXEC:
        return bx_msg_decode_exec(p, n, arena, &ret->exec, err);
    default:
        return bx_msg_decode(type, p, n, ret, err);
    }
}

static int send(struct bx_link *l, uint16_t type, const union any *msg, struct bx_err *err)
{
    switch (type) {
    case BX_MSG_HELLO:
        return bx_msg_send_hello(l, &msg->hello, err);
    case BX_MSG_START:
        return bx_msg_send_start(l, &msg->start, err);
    case BX_MSG_EXEC:
        return bx_msg_send_exec(l, 1, &msg->exec, err);
    default:
        return bx_msg_send(l, type, 1, msg, err);
    }
}

/* A list's strings are inside it, as many as it says. */
static void check_list(const struct bx_strs *l)
{
    size_t count = 0, len = 0;

    for (const char *s = bx_strs_first(l); s; s = bx_strs_next(l, s)) {
        count++;
        len += strlen(s) + 1;
        bx_assert(strlen(s) < BX_ARG_MAX);
    }
    bx_assert(count == l->count && len == l->len && count <= BX_ARGS_MAX && (l->data != NULL) == (len > 0));
}

/* The payload of the one message that a link holds, which is shorter than a frame here. */
static struct bx_frame queued(struct bx_link *l)
{
    struct bx_frame f;
    const uint8_t *p;
    size_t n;

    bx_assert(bx_link_output(l, &p, &n) && bx_frame_parse(p, n, &f, NULL) == (int)n);
    return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static union any first, second;
    struct bx_err err = BX_ERR_INIT;
    struct bx_buf arena = BX_BUF_INIT(ARENA_MAX);
    struct bx_link a, b;
    struct bx_frame once, twice;
    uint16_t type;
    int r;

    if (size < 1 || size > BX_FRAME_PAYLOAD_MAX / 4)
        return 0;
    type = data[0];
    memset(&first, 0, sizeof(first));
    memset(&second, 0, sizeof(second));
    r = decode(type, data + 1, size - 1, &arena, &first, &err);
    if (r < 0) {
        bx_assert((r == -BX_ERPC || r == -BX_EINVALID) && err.code == -r && err.msg[0]);
        bx_buf_done(&arena);
        return 0;
    }
    if (type == BX_MSG_EXEC) {
        check_list(&first.exec.args);
        check_list(&first.exec.env);
    } else if (type == BX_MSG_START) {
        check_list(&first.start.env);
    } else if (type == BX_MSG_HELLO) {
        check_list(&first.hello.features);
    }
    bx_link_init(&a, NULL, NULL, DATA_MAX);
    bx_link_init(&b, NULL, NULL, DATA_MAX);
    bx_assert(send(&a, type, &first, &err) == 0);
    once = queued(&a);
    bx_assert(decode(type, once.payload, once.length, &arena, &second, &err) == 0);
    bx_assert(send(&b, type, &second, &err) == 0);
    twice = queued(&b);
    bx_assert(once.length == twice.length && memcmp(once.payload, twice.payload, once.length) == 0);
    bx_link_done(&a);
    bx_link_done(&b);
    bx_buf_done(&arena);
    return 0;
}
