/* SPDX-License-Identifier: Apache-2.0 */
/* color.c - colors, on terminals that have them and whose user has not said NO_COLOR. */
#include "cli/cli.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/str.h"

static bool wanted(FILE *f)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return !(no && *no) && term && !bx_streq(term, "dumb") && isatty(fileno(f));
}

const char *bx_color_begin(FILE *f, enum bx_color color)
{
    static const char *const codes[] = {
        [BX_COLOR_NONE] = "", [BX_COLOR_TITLE] = "\033[1m", [BX_COLOR_GOOD] = "\033[32m", [BX_COLOR_BAD] = "\033[31m", [BX_COLOR_MIDDLE] = "\033[33m",
    };
    return color != BX_COLOR_NONE && wanted(f) ? codes[color] : "";
}

const char *bx_color_end(FILE *f, enum bx_color color)
{
    return color != BX_COLOR_NONE && wanted(f) ? "\033[0m" : "";
}
