/* SPDX-License-Identifier: Apache-2.0 */
/* convert.h - layers become one ext4 file system. */
#ifndef BX_UNPACK_CONVERT_H
#define BX_UNPACK_CONVERT_H

#include "unpack/lockdown.h"
#include "unpack/request.h"
#include "unpack/status.h"

struct bx_convert_result {
    uint32_t entries;
    uint64_t bytes; /* written into the image */
    uint64_t size;  /* of the file system */
};

/* Refuses what cannot fit, before anything is written. */
int bx_convert_check_space(const struct bx_request *req, struct bx_err *err);

int bx_convert(const struct bx_request *req, struct bx_progress *progress, struct bx_convert_result *ret,
               struct bx_err *err);

/* What bx_convert may need. */
void bx_convert_limits(const struct bx_request *req, struct bx_lockdown_limits *ret);

#endif
