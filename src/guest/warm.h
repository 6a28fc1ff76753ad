/* SPDX-License-Identifier: Apache-2.0 */
/* warm.h - brings an image's files into the page cache, in the template of that image. */
#ifndef BX_GUEST_WARM_H
#define BX_GUEST_WARM_H

/*
 * Reads files under the directory `root` ahead, the usual places of programs and libraries first when it is a large
 * image, until an eighth of the machine's memory is filled or there is no more. Nothing of the image is run, and what cannot be read is passed
 * over: a cold file is only slower.
 */
void bx_warm(int root);

#endif
