/* SPDX-License-Identifier: Apache-2.0 */
/* Anybody's text as an image reference: refused with printable words, or read; its canonical and its familiar form mean the same again. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "image/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_again(const struct bx_reference *ref, char *text)
{
    bx_cleanup_free char *owned = text;
    bx_cleanup_free char *canonical = bx_reference_canonical(ref);
    bx_cleanup_free char *back = NULL;
    struct bx_reference again;
    struct bx_err err = BX_ERR_INIT;

    bx_assert(owned && canonical);
    bx_assert(bx_reference_parse(owned, &again, &err) == 0);
    back = bx_reference_canonical(&again);
    bx_assert(back && bx_streq(back, canonical));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bx_cleanup_free char *text = malloc(size + 1);
    struct bx_reference ref;
    struct bx_err err = BX_ERR_INIT;
    int r;

    if (!text)
        return 0;
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    r = bx_reference_parse(text, &ref, &err);
    if (r < 0) {
        bx_assert(r == -err.code && err.msg[0]);
        for (const char *p = err.msg; *p; p++)
            bx_assert((unsigned char)*p >= 0x20 && *p != 0x7f);
        return 0;
    }
    bx_assert(ref.domain[0] && ref.path[0] && (ref.tag[0] || ref.digest[0]) && !strstr(ref.path, ".."));
    same_again(&ref, bx_reference_canonical(&ref));
    same_again(&ref, bx_reference_familiar(&ref));
    return 0;
}
