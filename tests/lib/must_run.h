/* SPDX-License-Identifier: Apache-2.0 */
/* must_run.h - a test that this machine cannot run is skipped, but a failure where BOXLITE_TEST_MUST_RUN is 1. For cmocka. */
#ifndef BX_TESTS_MUST_RUN_H
#define BX_TESTS_MUST_RUN_H

#include <stdlib.h>
#include <string.h>

#define CANNOT_RUN(why)                                                                                      \
    do {                                                                                                     \
        const char *must_ = getenv("BOXLITE_TEST_MUST_RUN");                                                 \
        if (must_ && strcmp(must_, "1") == 0)                                                                \
            fail_msg("it must run here, but: %s", (why));                                                    \
        skip();                                                                                              \
    } while (0)

#endif
