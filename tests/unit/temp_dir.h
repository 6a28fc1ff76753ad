/* SPDX-License-Identifier: Apache-2.0 */
/* temp_dir.h - a directory of a test's own, as its state: made before it and removed behind it. For cmocka. */
#ifndef BX_TESTS_TEMP_DIR_H
#define BX_TESTS_TEMP_DIR_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/path.h"

struct dir {
    char path[64];
    int fd;
};

static int setup(void **state)
{
    struct dir *d = calloc(1, sizeof(*d));

    assert_non_null(d);
    snprintf(d->path, sizeof(d->path), "/tmp/bx-dir-XXXXXX");
    assert_non_null(mkdtemp(d->path));
    d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(d->fd >= 0);
    *state = d;
    return 0;
}

static int teardown(void **state)
{
    struct dir *d = *state;

    bx_close(d->fd);
    assert_int_equal(bx_rm_rf(AT_FDCWD, d->path), 0);
    free(d);
    return 0;
}

#endif
