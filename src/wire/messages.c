/* SPDX-License-Identifier: Apache-2.0 */
/*
 * messages.c - control messages to and from their structs.
 *
 * nanopb does the fields with static maxima. Lists of strings are read here, straight from the payload,
 * because a list must be contiguous in the arena while a peer may mix the entries of two lists; so nanopb's
 * callbacks for them stay unset when decoding (it skips such fields) and are used for encoding only. Before
 * nanopb sees a payload, the strings in it are checked: it would cut one at an embedded NUL without a word.
 */
#include "wire/messages.h"

#include <errno.h>
#include <pb_common.h>
#include <pb_decode.h>
#include <pb_encode.h>
#include <string.h>

/* The largest message without lists; all of these are encoded on the stack. */
#define PLAIN_MAX 24576
_Static_assert(boxlite_BoxGone_size <= PLAIN_MAX && boxlite_BoxInfo_size <= PLAIN_MAX &&
                   boxlite_Error_size <= PLAIN_MAX && boxlite_Exit_size <= PLAIN_MAX &&
                   boxlite_Ready_size <= PLAIN_MAX && boxlite_FileOp_size <= PLAIN_MAX,
               "PLAIN_MAX is too small");

struct plain {
    uint16_t type;
    const pb_msgdesc_t *fields;
};

static const pb_msgdesc_t *plain_fields(uint16_t type)
{
    static const struct plain plain[] = {
        { BX_MSG_PING, boxlite_Ping_fields },
        { BX_MSG_PONG, boxlite_Pong_fields },
        { BX_MSG_OK, boxlite_Ok_fields },
        { BX_MSG_ERROR, boxlite_Error_fields },
        { BX_MSG_READY, boxlite_Ready_fields },
        { BX_MSG_CLOCK, boxlite_Clock_fields },
        { BX_MSG_STOP, boxlite_Stop_fields },
        { BX_MSG_STOPPED, boxlite_Stopped_fields },
        { BX_MSG_STARTED, boxlite_Started_fields },
        { BX_MSG_EXIT, boxlite_Exit_fields },
        { BX_MSG_SIGNAL, boxlite_Signal_fields },
        { BX_MSG_RESIZE, boxlite_Resize_fields },
        { BX_MSG_ATTACH, boxlite_Attach_fields },
        { BX_MSG_FILE_OP, boxlite_FileOp_fields },
        { BX_MSG_CREDIT, boxlite_Credit_fields },
        { BX_MSG_CLAIM, boxlite_Claim_fields },
        { BX_MSG_CLOSE, boxlite_Close_fields },
        { BX_MSG_TRUNCATED, boxlite_Truncated_fields },
        { BX_MSG_BOX_INFO, boxlite_BoxInfo_fields },
        { BX_MSG_BOX_INFO_GET, boxlite_BoxInfoGet_fields },
        { BX_MSG_BOX_STOP, boxlite_BoxStop_fields },
        { BX_MSG_BOX_GONE, boxlite_BoxGone_fields },
        { BX_MSG_BOX_PAUSE, boxlite_BoxPause_fields },
        { BX_MSG_BOX_RESUME, boxlite_BoxResume_fields },
        { BX_MSG_GUEST_IDLE, boxlite_GuestIdle_fields },
        { BX_MSG_CONNECT, boxlite_Connect_fields },
        { BX_MSG_CONNECTED, boxlite_Connected_fields },
        { BX_MSG_DIAL, boxlite_Dial_fields },
        { BX_MSG_NET_READY, boxlite_NetReady_fields },
        { BX_MSG_NET_REFUSED, boxlite_NetRefused_fields },
        { BX_MSG_NET_REPORT, boxlite_NetReport_fields },
        { BX_MSG_NET_REPORT_GET, boxlite_NetReportGet_fields },
        { BX_MSG_NET_WAKE, boxlite_NetWake_fields },
    };

    for (size_t i = 0; i < BX_ARRAY_SIZE(plain); i++)
        if (plain[i].type == type)
            return plain[i].fields;
    return NULL;
}

/* --- lists of strings --- */

const char *bx_strs_first(const struct bx_strs *l)
{
    return l->len > 0 ? l->data : NULL;
}

const char *bx_strs_next(const struct bx_strs *l, const char *s)
{
    const char *next = s + strlen(s) + 1;

    return next < l->data + l->len ? next : NULL;
}

static int check_entry(const char *what, size_t number, size_t len, struct bx_err *err)
{
    if (number > BX_ARGS_MAX)
        return bx_fail(err, BX_EINVALID, E2BIG, "E2BIG: more than %d %ss", BX_ARGS_MAX, what);
    if (len >= BX_ARG_MAX)
        return bx_fail(err, BX_EINVALID, E2BIG, "E2BIG: %s %zu has %zu bytes, at most %d", what, number, len,
                       BX_ARG_MAX - 1);
    return 0;
}

/* --- decoding --- */

static int malformed(uint16_t type, const char *why, struct bx_err *err)
{
    return bx_fail(err, BX_ERPC, 0, "malformed %s: %s", bx_msg_type_name(type), why);
}

/* One field of a payload: its number, and its bytes when it is of the length-delimited kind. */
struct field {
    uint32_t tag;
    pb_wire_type_t wire_type;
    const uint8_t *data;
    size_t len;
};

/* Next field. 1, 0 at the end, negative when the payload is none. */
static int next_field(pb_istream_t *s, struct field *ret)
{
    uint64_t len;
    bool eof;

    if (!pb_decode_tag(s, &ret->wire_type, &ret->tag, &eof))
        return eof ? 0 : -BX_ERPC;
    ret->data = NULL;
    ret->len = 0;
    if (ret->wire_type != PB_WT_STRING)
        return pb_skip_field(s, ret->wire_type) ? 1 : -BX_ERPC;
    if (!pb_decode_varint(s, &len) || len > s->bytes_left)
        return -BX_ERPC;
    ret->data = s->state; /* of a stream from a buffer: the next byte */
    ret->len = (size_t)len;
    return pb_read(s, NULL, (size_t)len) ? 1 : -BX_ERPC;
}

/* Every string field: no NUL, and not longer than the struct takes. (Those of a message nested in
 * another, the refusals of BoxInfo, are left to nanopb, which refuses the whole when one is too long.) */
static int check_strings(uint16_t type, const pb_msgdesc_t *fields, void *msg, const void *data, size_t len,
                         struct bx_err *err)
{
    pb_istream_t s = pb_istream_from_buffer(data, len);
    pb_field_iter_t it;
    struct field f;
    int r;

    if (!pb_field_iter_begin(&it, fields, msg))
        return 0; /* a message without fields */
    while ((r = next_field(&s, &f)) > 0) {
        if (!pb_field_iter_find(&it, f.tag) || PB_LTYPE(it.type) != PB_LTYPE_STRING ||
            f.wire_type != PB_WT_STRING)
            continue;
        if (memchr(f.data, '\0', f.len))
            return bx_fail(err, BX_EINVALID, 0, "%s: NUL byte in text (field %u)", bx_msg_type_name(type),
                           f.tag);
        if (PB_ATYPE(it.type) == PB_ATYPE_STATIC && f.len >= it.data_size)
            return bx_fail(err, BX_EINVALID, ENAMETOOLONG, "%s: text of %zu bytes, at most %u (field %u)",
                           bx_msg_type_name(type), f.len, (unsigned)it.data_size - 1, f.tag);
    }
    return r < 0 ? malformed(type, PB_GET_ERROR(&s), err) : 0;
}

static int decode_struct(uint16_t type, const pb_msgdesc_t *fields, const void *data, size_t len, void *ret,
                         struct bx_err *err)
{
    pb_istream_t s = pb_istream_from_buffer(data, len);
    int r = check_strings(type, fields, ret, data, len, err);

    if (r < 0)
        return r;
    if (!pb_decode(&s, fields, ret))
        return malformed(type, PB_GET_ERROR(&s), err);
    return 0;
}

int bx_msg_decode(uint16_t type, const void *data, size_t len, void *ret, struct bx_err *err)
{
    const pb_msgdesc_t *fields = plain_fields(type);

    if (!fields)
        return bx_fail(err, BX_ERPC, 0, "unexpected message %s", bx_msg_type_name(type));
    return decode_struct(type, fields, data, len, ret, err);
}

/* A list that is being read: where it begins in the arena is an offset, because the arena moves while it
 * grows. */
struct list {
    uint32_t tag;
    const char *what;
    struct bx_strs *ret;
    size_t at;
};

/* The entries of field list->tag, copied to the arena. The payload has been checked. */
static int collect(uint16_t type, struct list *list, struct bx_buf *arena, const void *data, size_t len,
                   struct bx_err *err)
{
    pb_istream_t s = pb_istream_from_buffer(data, len);
    struct bx_strs *strs = list->ret;
    struct field f;
    int r;

    *strs = (struct bx_strs){ 0 };
    list->at = bx_buf_len(arena);
    while (next_field(&s, &f) > 0) {
        if (f.tag != list->tag)
            continue;
        if (f.wire_type != PB_WT_STRING)
            return malformed(type, "wrong wire type", err);
        r = check_entry(list->what, ++strs->count, f.len, err);
        if (r < 0)
            return r;
        bx_buf_add(arena, f.data, f.len);
        bx_buf_add(arena, "", 1);
        if (bx_buf_failed(arena))
            return bx_fail(err, BX_EINVALID, E2BIG, "E2BIG: arguments and variables take more than %zu bytes",
                           arena->max);
    }
    strs->len = bx_buf_len(arena) - list->at;
    return 0;
}

static int decode_lists(uint16_t type, struct list *lists, size_t n, struct bx_buf *arena, const void *data,
                        size_t len, struct bx_err *err)
{
    bx_buf_clear(arena);
    for (size_t i = 0; i < n; i++) {
        int r = collect(type, &lists[i], arena, data, len, err);

        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < n; i++)
        lists[i].ret->data = lists[i].ret->len > 0 ? (const char *)bx_buf_data(arena) + lists[i].at : NULL;
    return 0;
}

int bx_msg_decode_hello(const void *data, size_t len, struct bx_buf *arena, struct bx_msg_hello *ret,
                        struct bx_err *err)
{
    struct list lists[] = { { boxlite_Hello_features_tag, "feature", &ret->features, 0 } };
    int r;

    memset(ret, 0, sizeof(*ret));
    r = decode_struct(BX_MSG_HELLO, boxlite_Hello_fields, data, len, &ret->pb, err);
    return r < 0 ? r : decode_lists(BX_MSG_HELLO, lists, BX_ARRAY_SIZE(lists), arena, data, len, err);
}

int bx_msg_decode_start(const void *data, size_t len, struct bx_buf *arena, struct bx_msg_start *ret,
                        struct bx_err *err)
{
    struct list lists[] = { { boxlite_Start_env_tag, "variable", &ret->env, 0 } };
    int r;

    memset(ret, 0, sizeof(*ret));
    r = decode_struct(BX_MSG_START, boxlite_Start_fields, data, len, &ret->pb, err);
    return r < 0 ? r : decode_lists(BX_MSG_START, lists, BX_ARRAY_SIZE(lists), arena, data, len, err);
}

int bx_msg_decode_exec(const void *data, size_t len, struct bx_buf *arena, struct bx_msg_exec *ret,
                       struct bx_err *err)
{
    struct list lists[] = { { boxlite_Exec_args_tag, "argument", &ret->args, 0 },
                            { boxlite_Exec_env_tag, "variable", &ret->env, 0 } };
    int r;

    memset(ret, 0, sizeof(*ret));
    r = decode_struct(BX_MSG_EXEC, boxlite_Exec_fields, data, len, &ret->pb, err);
    return r < 0 ? r : decode_lists(BX_MSG_EXEC, lists, BX_ARRAY_SIZE(lists), arena, data, len, err);
}

int bx_msg_decode_net_policy(const void *data, size_t len, struct bx_buf *arena, struct bx_msg_net_policy *ret,
                             struct bx_err *err)
{
    struct list lists[] = { { boxlite_NetPolicy_allow_tag, "rule", &ret->allow, 0 } };
    int r;

    memset(ret, 0, sizeof(*ret));
    r = decode_struct(BX_MSG_NET_POLICY, boxlite_NetPolicy_fields, data, len, &ret->pb, err);
    return r < 0 ? r : decode_lists(BX_MSG_NET_POLICY, lists, BX_ARRAY_SIZE(lists), arena, data, len, err);
}

/* --- encoding --- */

static int send_failed(uint16_t type, int code, struct bx_err *err)
{
    if (code == -BX_ERESOURCE)
        return bx_fail(err, BX_ERESOURCE, 0, "%s: the peer does not read, its queue is full",
                       bx_msg_type_name(type));
    return bx_fail(err, BX_EINVALID, E2BIG, "E2BIG: %s is larger than %d bytes", bx_msg_type_name(type),
                   BX_MESSAGE_MAX);
}

typedef int queue_fn(struct bx_link *l, uint16_t type, uint32_t stream, const void *payload, size_t len);

static int send_plain(struct bx_link *l, uint16_t type, uint32_t stream, const void *msg, queue_fn *queue,
                      struct bx_err *err)
{
    const pb_msgdesc_t *fields = plain_fields(type);
    uint8_t payload[PLAIN_MAX];
    pb_ostream_t s = pb_ostream_from_buffer(payload, sizeof(payload));
    int r;

    if (!fields)
        return bx_fail(err, BX_EINVALID, 0, "%s is not a message without lists", bx_msg_type_name(type));
    if (!pb_encode(&s, fields, msg))
        return bx_fail(err, BX_EINVALID, 0, "encode %s: %s", bx_msg_type_name(type), PB_GET_ERROR(&s));
    r = queue(l, type, stream, payload, s.bytes_written);
    return r < 0 ? send_failed(type, r, err) : 0;
}

int bx_msg_send(struct bx_link *l, uint16_t type, uint32_t stream, const void *msg, struct bx_err *err)
{
    return send_plain(l, type, stream, msg, bx_link_send, err);
}

int bx_msg_send_ordered(struct bx_link *l, uint16_t type, uint32_t stream, const void *msg,
                        struct bx_err *err)
{
    return send_plain(l, type, stream, msg, bx_link_send_ordered, err);
}

int bx_msg_send_first(struct bx_link *l, uint16_t type, const void *msg, struct bx_err *err)
{
    return send_plain(l, type, 0, msg, bx_link_send_first, err);
}

/* nanopb's callback for a list: arg is its struct bx_strs. */
static bool encode_list(pb_ostream_t *s, const pb_field_t *field, void *const *arg)
{
    const struct bx_strs *l = *arg;

    for (const char *p = bx_strs_first(l); p; p = bx_strs_next(l, p))
        if (!pb_encode_tag_for_field(s, field) || !pb_encode_string(s, (const pb_byte_t *)p, strlen(p)))
            return false;
    return true;
}

static pb_callback_t list_callback(const struct bx_strs *l)
{
    return (pb_callback_t){ .funcs.encode = encode_list, .arg = (void *)l };
}

/* What the peer would refuse is refused here, where the words reach the caller. */
static int check_list(const struct bx_strs *l, const char *what, struct bx_err *err)
{
    size_t number = 0;

    if (l->len > 0 && l->data[l->len - 1] != '\0')
        return bx_fail(err, BX_EINVALID, 0, "%s list does not end with a NUL", what);
    for (const char *p = bx_strs_first(l); p; p = bx_strs_next(l, p)) {
        int r = check_entry(what, ++number, strlen(p), err);

        if (r < 0)
            return r;
    }
    return 0;
}

/* Encodes a message with lists into one allocation of the size it needs, at most BX_MESSAGE_MAX. */
static int send_with_lists(struct bx_link *l, uint16_t type, uint32_t stream, const pb_msgdesc_t *fields,
                           const void *msg, struct bx_err *err)
{
    bx_cleanup_buf struct bx_buf payload = BX_BUF_INIT(BX_MESSAGE_MAX);
    pb_ostream_t s;
    uint8_t *dst;
    size_t size;
    int r;

    if (!pb_get_encoded_size(&size, fields, msg))
        return bx_fail(err, BX_EINVALID, 0, "%s: a text does not end", bx_msg_type_name(type));
    if (size > BX_MESSAGE_MAX)
        return send_failed(type, -BX_EINVALID, err);
    dst = bx_buf_reserve(&payload, size);
    if (!dst)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "%s of %zu bytes", bx_msg_type_name(type), size);
    s = pb_ostream_from_buffer(dst, size);
    if (!pb_encode(&s, fields, msg))
        return bx_fail(err, BX_EINVALID, 0, "encode %s: %s", bx_msg_type_name(type), PB_GET_ERROR(&s));
    r = bx_link_send(l, type, stream, dst, s.bytes_written);
    return r < 0 ? send_failed(type, r, err) : 0;
}

int bx_msg_send_hello(struct bx_link *l, const struct bx_msg_hello *msg, struct bx_err *err)
{
    boxlite_Hello pb = msg->pb;
    int r = check_list(&msg->features, "feature", err);

    if (r < 0)
        return r;
    pb.features = list_callback(&msg->features);
    return send_with_lists(l, BX_MSG_HELLO, 0, boxlite_Hello_fields, &pb, err);
}

int bx_msg_send_start(struct bx_link *l, const struct bx_msg_start *msg, struct bx_err *err)
{
    boxlite_Start pb = msg->pb;
    int r = check_list(&msg->env, "variable", err);

    if (r < 0)
        return r;
    pb.env = list_callback(&msg->env);
    return send_with_lists(l, BX_MSG_START, 0, boxlite_Start_fields, &pb, err);
}

int bx_msg_send_exec(struct bx_link *l, uint32_t stream, const struct bx_msg_exec *msg, struct bx_err *err)
{
    boxlite_Exec pb = msg->pb;
    int r = check_list(&msg->args, "argument", err);

    if (r == 0)
        r = check_list(&msg->env, "variable", err);
    if (r < 0)
        return r;
    pb.args = list_callback(&msg->args);
    pb.env = list_callback(&msg->env);
    return send_with_lists(l, BX_MSG_EXEC, stream, boxlite_Exec_fields, &pb, err);
}

int bx_msg_send_net_policy(struct bx_link *l, const struct bx_msg_net_policy *msg, struct bx_err *err)
{
    boxlite_NetPolicy pb = msg->pb;
    int r = check_list(&msg->allow, "rule", err);

    if (r < 0)
        return r;
    pb.allow = list_callback(&msg->allow);
    return send_with_lists(l, BX_MSG_NET_POLICY, 0, boxlite_NetPolicy_fields, &pb, err);
}

/* --- short forms --- */

int bx_msg_send_ok(struct bx_link *l, uint32_t stream, uint32_t request)
{
    boxlite_Ok msg = { .request = request };

    return bx_msg_send(l, BX_MSG_OK, stream, &msg, NULL);
}

int bx_msg_send_error(struct bx_link *l, uint32_t stream, uint32_t request, const struct bx_err *why)
{
    boxlite_Error msg = { .request = request,
                          .code = (uint32_t)why->code,
                          .sys_errno = (uint32_t)why->sys_errno };

    _Static_assert(sizeof(msg.message) >= sizeof(why->msg), "an error's text fits its message");
    memcpy(msg.message, why->msg, strnlen(why->msg, sizeof(why->msg) - 1));
    return bx_msg_send(l, BX_MSG_ERROR, stream, &msg, NULL);
}

int bx_msg_send_credit(struct bx_link *l, uint32_t stream, unsigned lane, uint32_t bytes)
{
    boxlite_Credit msg = { .lane = lane, .bytes = bytes };

    return bx_msg_send(l, BX_MSG_CREDIT, stream, &msg, NULL);
}
