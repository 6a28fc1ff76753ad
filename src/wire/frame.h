/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame.h - frames of the box protocol: 16-byte little-endian header and at most 64 KiB of payload.
 *
 *   offset 0  u32 length    payload bytes, <= BX_FRAME_PAYLOAD_MAX
 *          4  u16 type      enum bx_msg_type
 *          6  u16 flags     bit 0 MORE: the message goes on in the next frame of this type and stream;
 *                           bits 8-9 lane of DATA and EOF; all others 0
 *          8  u32 stream    0 = the link itself
 *         12  u32 reserved  0
 *
 * Pure: bytes in, frames out; the same file runs in programs, shim, agent, tests and fuzzers.
 */
#ifndef BX_WIRE_FRAME_H
#define BX_WIRE_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/mem.h"

#define BX_WIRE_VERSION 1
#define BX_FRAME_HEADER 16
#define BX_FRAME_MORE 0x1u
#define BX_FRAME_LANE_SHIFT 8

enum bx_msg_type {
    BX_MSG_HELLO = 0x01,
    BX_MSG_PING = 0x02,
    BX_MSG_PONG = 0x03,
    BX_MSG_OK = 0x04,
    BX_MSG_ERROR = 0x05,

    BX_MSG_START = 0x10,
    BX_MSG_READY = 0x11,
    BX_MSG_CLOCK = 0x12,
    BX_MSG_STOP = 0x13,
    BX_MSG_STOPPED = 0x14,

    BX_MSG_EXEC = 0x20,
    BX_MSG_STARTED = 0x21,
    BX_MSG_EXIT = 0x22,
    BX_MSG_SIGNAL = 0x23,
    BX_MSG_RESIZE = 0x24,
    BX_MSG_ATTACH = 0x25,
    BX_MSG_FILE_OP = 0x26,

    BX_MSG_DATA = 0x30, /* raw bytes of a lane */
    BX_MSG_EOF = 0x31,  /* no more bytes on this lane (half-close); empty payload */
    BX_MSG_CREDIT = 0x32,
    BX_MSG_CLAIM = 0x33,
    BX_MSG_CLOSE = 0x34,
    BX_MSG_TRUNCATED = 0x35,

    BX_MSG_BOX_INFO = 0x40,
    BX_MSG_BOX_INFO_GET = 0x41,
    BX_MSG_BOX_STOP = 0x42,
    BX_MSG_BOX_GONE = 0x43,

    BX_MSG_BOX_PAUSE = 0x50,
    BX_MSG_BOX_RESUME = 0x51,
    BX_MSG_GUEST_IDLE = 0x52,

    BX_MSG_CONNECT = 0x60,
    BX_MSG_CONNECTED = 0x61,
    BX_MSG_DIAL = 0x62,

    BX_MSG_NET_READY = 0x68,
    BX_MSG_NET_REFUSED = 0x69,
    BX_MSG_NET_REPORT = 0x6a,
    BX_MSG_NET_REPORT_GET = 0x6b,
    BX_MSG_NET_WAKE = 0x6c,
    BX_MSG_NET_POLICY = 0x6d,
};

/* Lanes carry the number of the descriptor they stand for. */
enum bx_lane_id { BX_LANE_STDIN = 0, BX_LANE_STDOUT = 1, BX_LANE_STDERR = 2, BX_LANES = 3 };

enum bx_box_state {
    BX_BOX_CONFIGURED = 1,
    BX_BOX_RUNNING = 2,
    BX_BOX_STOPPING = 3,
    BX_BOX_STOPPED = 4,
    BX_BOX_PAUSED = 5,
    BX_BOX_FAILED = 6,
};

/* What a box's health check says. */
enum bx_health_state { BX_HEALTH_NONE = 0, BX_HEALTH_STARTING = 1, BX_HEALTH_HEALTHY = 2, BX_HEALTH_UNHEALTHY = 3 };
/* "starting" ...; "none" for what is none. */
const char *bx_health_name(unsigned state);

struct bx_frame {
    uint32_t length;
    uint16_t type;
    uint16_t flags;
    uint32_t stream;
    const uint8_t *payload; /* inside the buffer that was parsed */
};

static inline unsigned bx_frame_lane(const struct bx_frame *f)
{
    return (f->flags >> BX_FRAME_LANE_SHIFT) & 3u;
}

/* Writes a header. */
void bx_frame_put_header(uint8_t dst[BX_FRAME_HEADER], uint16_t type, uint16_t flags, uint32_t stream,
                         uint32_t length);

/*
 * Parses one frame from the front of data. Returns the bytes it takes (header and payload), 0 when more bytes
 * are needed, or -BX_ERPC with err set when it is none (length, flags, lane, reserved or type 0): the link is
 * then dead. Types that are not known pass: the caller answers them with Error.
 */
int bx_frame_parse(const uint8_t *data, size_t len, struct bx_frame *ret, struct bx_err *err);

/* "EXEC", or "type 0x99" in a static buffer per thread. For messages and traces. */
const char *bx_msg_type_name(uint16_t type);

#endif
