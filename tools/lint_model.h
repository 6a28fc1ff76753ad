/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lint_model.h - what the analyzer cannot see across files: failing gives a negative number. Included before every file that clang-tidy
 * looks at (but err.c, which defines these), never in a build.
 */
#include "../src/base/err.h"

#define bx_fail(...) (bx_fail(__VA_ARGS__), -1)
#define bx_prefix(...) (bx_prefix(__VA_ARGS__), -1)
