/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame.c - reads and writes frame headers. Every rule about a header that can be told from the frame alone
 * is checked here, so that the layers above see only frames that are one.
 */
#include "wire/frame.h"

#include <stdio.h>

#define LANE_MASK (3u << BX_FRAME_LANE_SHIFT)

void bx_frame_put_header(uint8_t dst[BX_FRAME_HEADER], uint16_t type, uint16_t flags, uint32_t stream,
                         uint32_t length)
{
    bx_put_le32(dst, length);
    bx_put_le16(dst + 4, type);
    bx_put_le16(dst + 6, flags);
    bx_put_le32(dst + 8, stream);
    bx_put_le32(dst + 12, 0);
}

/* DATA and EOF: bytes of a lane. */
static int check_lane_frame(const struct bx_frame *f, struct bx_err *err)
{
    const char *name = bx_msg_type_name(f->type);

    if (f->flags & BX_FRAME_MORE)
        return bx_fail(err, BX_ERPC, 0, "frame %s: flag MORE is for control messages", name);
    if (bx_frame_lane(f) >= BX_LANES)
        return bx_fail(err, BX_ERPC, 0, "frame %s: no lane %u", name, bx_frame_lane(f));
    if (f->stream == 0)
        return bx_fail(err, BX_ERPC, 0, "frame %s: stream 0 carries no data", name);
    if ((f->type == BX_MSG_DATA) != (f->length > 0))
        return bx_fail(err, BX_ERPC, 0, "frame %s: %u bytes of payload", name, f->length);
    return 0;
}

static int check_header(const struct bx_frame *f, uint32_t reserved, struct bx_err *err)
{
    if (f->type == 0)
        return bx_fail(err, BX_ERPC, 0, "frame without a type");
    if (f->length > BX_FRAME_PAYLOAD_MAX)
        return bx_fail(err, BX_ERPC, 0, "frame %s: %u bytes of payload, at most %d",
                       bx_msg_type_name(f->type), f->length, BX_FRAME_PAYLOAD_MAX);
    if (reserved != 0 || (f->flags & ~(BX_FRAME_MORE | LANE_MASK)))
        return bx_fail(err, BX_ERPC, 0, "frame %s: reserved bits set (flags 0x%04x, reserved 0x%08x)",
                       bx_msg_type_name(f->type), f->flags, reserved);
    if (f->type == BX_MSG_DATA || f->type == BX_MSG_EOF)
        return check_lane_frame(f, err);
    if (f->flags & LANE_MASK)
        return bx_fail(err, BX_ERPC, 0, "frame %s: lane bits on a control message",
                       bx_msg_type_name(f->type));
    /* Otherwise a message could go on for ever without growing. */
    if ((f->flags & BX_FRAME_MORE) && f->length == 0)
        return bx_fail(err, BX_ERPC, 0, "frame %s: empty part of a message", bx_msg_type_name(f->type));
    return 0;
}

int bx_frame_parse(const uint8_t *data, size_t len, struct bx_frame *ret, struct bx_err *err)
{
    struct bx_frame f;
    int r;

    if (len < BX_FRAME_HEADER)
        return 0;
    f.length = bx_get_le32(data);
    f.type = bx_get_le16(data + 4);
    f.flags = bx_get_le16(data + 6);
    f.stream = bx_get_le32(data + 8);
    f.payload = data + BX_FRAME_HEADER;
    r = check_header(&f, bx_get_le32(data + 12), err);
    if (r < 0)
        return r;
    if (len - BX_FRAME_HEADER < f.length)
        return 0;
    *ret = f;
    return (int)(BX_FRAME_HEADER + f.length);
}

const char *bx_msg_type_name(uint16_t type)
{
    static const struct {
        uint16_t type;
        const char *name;
    } names[] = {
        { BX_MSG_HELLO, "HELLO" },       { BX_MSG_PING, "PING" },
        { BX_MSG_PONG, "PONG" },         { BX_MSG_OK, "OK" },
        { BX_MSG_ERROR, "ERROR" },       { BX_MSG_START, "START" },
        { BX_MSG_READY, "READY" },       { BX_MSG_CLOCK, "CLOCK" },
        { BX_MSG_STOP, "STOP" },         { BX_MSG_STOPPED, "STOPPED" },
        { BX_MSG_EXEC, "EXEC" },         { BX_MSG_STARTED, "STARTED" },
        { BX_MSG_EXIT, "EXIT" },         { BX_MSG_SIGNAL, "SIGNAL" },
        { BX_MSG_RESIZE, "RESIZE" },     { BX_MSG_ATTACH, "ATTACH" },
        { BX_MSG_FILE_OP, "FILE_OP" },
        { BX_MSG_DATA, "DATA" },         { BX_MSG_EOF, "EOF" },
        { BX_MSG_CREDIT, "CREDIT" },     { BX_MSG_CLAIM, "CLAIM" },
        { BX_MSG_CLOSE, "CLOSE" },       { BX_MSG_TRUNCATED, "TRUNCATED" },
        { BX_MSG_BOX_INFO, "BOX_INFO" }, { BX_MSG_BOX_INFO_GET, "BOX_INFO_GET" },
        { BX_MSG_BOX_STOP, "BOX_STOP" }, { BX_MSG_BOX_GONE, "BOX_GONE" },
        { BX_MSG_BOX_PAUSE, "BOX_PAUSE" }, { BX_MSG_BOX_RESUME, "BOX_RESUME" },
        { BX_MSG_GUEST_IDLE, "GUEST_IDLE" },
        { BX_MSG_CONNECT, "CONNECT" },   { BX_MSG_CONNECTED, "CONNECTED" },
        { BX_MSG_DIAL, "DIAL" },         { BX_MSG_NET_READY, "NET_READY" },
        { BX_MSG_NET_REFUSED, "NET_REFUSED" }, { BX_MSG_NET_REPORT, "NET_REPORT" },
        { BX_MSG_NET_REPORT_GET, "NET_REPORT_GET" }, { BX_MSG_NET_WAKE, "NET_WAKE" },
        { BX_MSG_NET_POLICY, "NET_POLICY" },
    };
    static _Thread_local char unknown[16];

    for (size_t i = 0; i < BX_ARRAY_SIZE(names); i++)
        if (names[i].type == type)
            return names[i].name;
    snprintf(unknown, sizeof(unknown), "type 0x%02x", type);
    return unknown;
}

const char *bx_health_name(unsigned state)
{
    static const char *const names[] = {"none", "starting", "healthy", "unhealthy"};

    return names[state < BX_ARRAY_SIZE(names) ? state : BX_HEALTH_NONE];
}
