/* SPDX-License-Identifier: Apache-2.0 */
/* Frame headers: what is a frame, what is part of one, what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "wire/frame.h"

static void header_is_little_endian_at_stated_offsets(void **state)
{
    static const uint8_t want[BX_FRAME_HEADER] = { 0x04, 0x03, 0,    0,    0x30, 0, 0, 0x02,
                                                   0x44, 0x33, 0x22, 0x11, 0,    0, 0, 0 };
    uint8_t got[BX_FRAME_HEADER];

    (void)state;
    memset(got, 0xff, sizeof(got));
    bx_frame_put_header(got, BX_MSG_DATA, BX_LANE_STDERR << BX_FRAME_LANE_SHIFT, 0x11223344, 0x304);
    assert_memory_equal(got, want, sizeof(want));
}

static void frame_is_parsed_when_its_last_byte_is_there(void **state)
{
    uint8_t bytes[BX_FRAME_HEADER + 5 + 3];
    struct bx_frame f;
    size_t whole = BX_FRAME_HEADER + 5;

    (void)state;
    memset(bytes, 'x', sizeof(bytes));
    bx_frame_put_header(bytes, BX_MSG_DATA, BX_LANE_STDOUT << BX_FRAME_LANE_SHIFT, 7, 5);
    for (size_t len = 0; len < whole; len++)
        assert_int_equal(bx_frame_parse(bytes, len, &f, NULL), 0);
    for (size_t len = whole; len <= sizeof(bytes); len++) {
        assert_int_equal(bx_frame_parse(bytes, len, &f, NULL), (int)whole);
        assert_int_equal(f.type, BX_MSG_DATA);
        assert_int_equal(f.stream, 7);
        assert_int_equal(f.length, 5);
        assert_int_equal(bx_frame_lane(&f), BX_LANE_STDOUT);
        assert_ptr_equal(f.payload, bytes + BX_FRAME_HEADER);
    }
}

struct bad {
    const char *why;
    uint32_t length;
    uint16_t type, flags;
    uint32_t stream, reserved;
};

static void broken_header_is_refused_before_its_payload_comes(void **state)
{
    static const struct bad bad[] = {
        { "no type", 0, 0, 0, 0, 0 },
        { "payload too large", BX_FRAME_PAYLOAD_MAX + 1, BX_MSG_DATA, 0, 1, 0 },
        { "payload of 4 GiB", UINT32_MAX, BX_MSG_EXEC, 0, 1, 0 },
        { "reserved word", 0, BX_MSG_PING, 0, 0, 1 },
        { "unknown flag 1", 0, BX_MSG_PING, 0x2, 0, 0 },
        { "unknown flag 10", 0, BX_MSG_PING, 0x400, 0, 0 },
        { "unknown flag 15", 1, BX_MSG_DATA, 0x8000, 1, 0 },
        { "lane of a control message", 0, BX_MSG_PING, 0x100, 0, 0 },
        { "lane 3", 1, BX_MSG_DATA, 0x300, 1, 0 },
        { "data in parts", 1, BX_MSG_DATA, BX_FRAME_MORE, 1, 0 },
        { "EOF in parts", 0, BX_MSG_EOF, BX_FRAME_MORE, 1, 0 },
        { "data of the link itself", 1, BX_MSG_DATA, 0, 0, 0 },
        { "EOF of the link itself", 0, BX_MSG_EOF, 0, 0, 0 },
        { "no data", 0, BX_MSG_DATA, 0, 1, 0 },
        { "EOF with a payload", 1, BX_MSG_EOF, 0, 1, 0 },
        { "empty part", 0, BX_MSG_EXEC, BX_FRAME_MORE, 1, 0 },
    };

    (void)state;
    for (size_t i = 0; i < BX_ARRAY_SIZE(bad); i++) {
        uint8_t bytes[BX_FRAME_HEADER];
        struct bx_frame f;
        struct bx_err err = BX_ERR_INIT;

        bx_frame_put_header(bytes, bad[i].type, bad[i].flags, bad[i].stream, bad[i].length);
        bx_put_le32(bytes + 12, bad[i].reserved);
        if (bx_frame_parse(bytes, sizeof(bytes), &f, &err) != -BX_ERPC)
            fail_msg("accepted: %s", bad[i].why);
        assert_int_equal(err.code, BX_ERPC);
        assert_true(err.msg[0] != '\0');
    }
}

static void largest_payload_and_unknown_type_pass(void **state)
{
    uint8_t *bytes = calloc(1, BX_FRAME_HEADER + BX_FRAME_PAYLOAD_MAX);
    struct bx_frame f;

    (void)state;
    bx_frame_put_header(bytes, 0xbeef, BX_FRAME_MORE, UINT32_MAX, BX_FRAME_PAYLOAD_MAX);
    assert_int_equal(bx_frame_parse(bytes, BX_FRAME_HEADER + BX_FRAME_PAYLOAD_MAX, &f, NULL),
                     BX_FRAME_HEADER + BX_FRAME_PAYLOAD_MAX);
    assert_int_equal(f.type, 0xbeef);
    assert_int_equal(f.stream, UINT32_MAX);
    assert_int_equal(f.flags, BX_FRAME_MORE);
    free(bytes);
}

static void types_have_names(void **state)
{
    (void)state;
    assert_string_equal(bx_msg_type_name(BX_MSG_EXEC), "EXEC");
    assert_string_equal(bx_msg_type_name(BX_MSG_BOX_GONE), "BOX_GONE");
    assert_string_equal(bx_msg_type_name(BX_MSG_BOX_RESUME), "BOX_RESUME");
    assert_string_equal(bx_msg_type_name(0x99), "type 0x99");
    assert_string_equal(bx_msg_type_name(0xffff), "type 0xffff");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_is_little_endian_at_stated_offsets),
        cmocka_unit_test(frame_is_parsed_when_its_last_byte_is_there),
        cmocka_unit_test(broken_header_is_refused_before_its_payload_comes),
        cmocka_unit_test(largest_payload_and_unknown_type_pass),
        cmocka_unit_test(types_have_names),
    };

    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
