/* SPDX-License-Identifier: Apache-2.0 */
/* one_frame.h - for tests: room for one frame of data in a link. */
#ifndef BX_TESTS_ONE_FRAME_H
#define BX_TESTS_ONE_FRAME_H

#include "wire/link.h"

/* NULL when there is none for `want` bytes. */
static inline uint8_t *one_frame(struct bx_link *l, size_t want)
{
    struct iovec place;

    return bx_link_data_reserve(l, want, &place, 1) == 1 && place.iov_len == want ? place.iov_base : NULL;
}

#endif
