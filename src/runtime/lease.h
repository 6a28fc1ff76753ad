/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lease.h - the image lease: blobs that no row names yet are nobody's garbage while their adder lives
 * (private).
 *
 * Blobs come before the row that names them. Whoever adds some (load, pull, import) holds a shared flock on
 * <home>/blobs/lease from before its first look for blobs that are there already until its row is written;
 * whoever reads the blobs of an image one after another (save) may hold one too. Garbage collection takes it
 * exclusive, looks and takes the garbage out of sight, and gives it up again: milliseconds. A lease ends with
 * its descriptor, so also with its program.
 */
#ifndef BX_RUNTIME_LEASE_H
#define BX_RUNTIME_LEASE_H

#include "runtime/runtime.h"

/* A shared one: a descriptor, to be closed with bx_close when the row is written or the adding has failed.
 * While garbage is being collected it waits, at most as long as for a row (5 s); then -BX_ESTATE. */
int bx_image_lease(struct CBoxliteRuntime *rt, struct bx_err *err);

/* The exclusive one, without waiting: a descriptor, or -BX_ESTATE when somebody adds an image now, or
 * -BX_ESTORAGE. */
int bx_image_lease_exclusive(struct CBoxliteRuntime *rt, struct bx_err *err);

#endif
