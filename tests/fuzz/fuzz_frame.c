/* SPDX-License-Identifier: Apache-2.0 */
/* A row of frames from anybody's bytes: never past the end, and a frame that is accepted is written again
 * as the same bytes. */
#include <string.h>

#include "wire/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t at = 0;

    for (;;) {
        uint8_t header[BX_FRAME_HEADER];
        struct bx_err err = BX_ERR_INIT;
        struct bx_frame f;
        int n = bx_frame_parse(data + at, size - at, &f, &err);

        if (n <= 0) {
            bx_assert(n == 0 || (n == -BX_ERPC && err.code == BX_ERPC && err.msg[0]));
            return 0;
        }
        bx_assert((size_t)n <= size - at && f.length <= BX_FRAME_PAYLOAD_MAX &&
                  (size_t)n == BX_FRAME_HEADER + f.length);
        bx_assert(f.payload == data + at + BX_FRAME_HEADER && f.type != 0 && bx_msg_type_name(f.type)[0]);
        bx_frame_put_header(header, f.type, f.flags, f.stream, f.length);
        bx_assert(memcmp(header, data + at, sizeof(header)) == 0);
        at += (size_t)n;
    }
}
