/* SPDX-License-Identifier: Apache-2.0 */
/* warm.h - an image's template, made before anybody needs it: boxlite_image_warm (private). */
#ifndef BX_RUNTIME_WARM_H
#define BX_RUNTIME_WARM_H

#include "runtime/runtime.h"

/* Ends all that are under way, which are answered with Stopped and `why`. */
void bx_warms_end(struct CBoxliteRuntime *rt, const char *why);

#endif
