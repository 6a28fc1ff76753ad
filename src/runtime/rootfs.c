/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rootfs.c - see rootfs.h.
 *
 * The image is known by what it contains, its manifest, and has no row: what it needs is kept by the boxes that are pinned to its disk,
 * as for an image that was removed. Each new box looks into the folder: an image that is there as before has its disk already, another one
 * gets another disk. Layers go from the folder into the disk, verified on the way, and not into the blob store.
 */
#include "runtime/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "runtime/adopt.h"
#include "runtime/convert.h"
#include "runtime/load.h"

struct bx_rootfs {
    struct CBoxliteRuntime *rt;
    char box_id[BX_ID_LEN + 1];
    char must_be[80]; /* "": any */
    char digest[80], disk[BX_DISK_NAME_MAX];
    struct bx_load *load;
    int folder_fd;
    struct bx_convert *convert;
    bx_rootfs_fn *fn;
    void *ud;
};

struct bx_rootfs *bx_rootfs_free(struct bx_rootfs *f)
{
    if (!f)
        return NULL;
    bx_load_free(f->load);
    bx_convert_free(f->convert);
    bx_close(f->folder_fd);
    free(f);
    return NULL;
}

static void rootfs_end(struct bx_rootfs *f, const struct bx_err *err)
{
    struct bx_rootfs copy = *f;

    free(f); /* what it held has ended */
    bx_close(copy.folder_fd);
    copy.fn(copy.ud, copy.digest, copy.disk, err);
}

/* From here on manifest and configuration are needed by the box. */
static int take(void *ud, const struct bx_adopt *image, int folder, struct bx_err *err)
{
    struct bx_rootfs *f = ud;

    if (f->must_be[0] && !bx_streq(f->must_be, image->digest))
        return bx_fail(err, BX_EIMAGE, 0, "the disk that box %s stands on is gone, and the folder has another image now: %s", f->box_id,
                       image->digest);
    f->folder_fd = fcntl(folder, F_DUPFD_CLOEXEC, 3);
    if (f->folder_fd < 0)
        return bx_fail(err, BX_ERESOURCE, errno, "keep the folder open");
    snprintf(f->digest, sizeof(f->digest), "%s", image->digest);
    bx_disk_name(f->disk, f->digest);
    return bx_store_box_pin(f->rt->store, f->box_id, f->disk, NULL, bx_realtime() / BX_MSEC, err);
}

static void on_converted(void *ud, const struct bx_err *err)
{
    struct bx_rootfs *f = ud;

    f->convert = NULL;
    rootfs_end(f, err);
}

static void on_loaded(void *ud, CImagePullResult *result, const struct bx_err *err)
{
    struct bx_rootfs *f = ud;
    struct bx_err why = err ? *err : BX_ERR_INIT;

    (void)result; /* it has no name to tell of */
    f->load = NULL;
    if (err || bx_disk_exists(f->rt, f->disk)) {
        rootfs_end(f, err);
        return;
    }
    f->convert = bx_convert_start(f->rt, f->box_id, f->digest, on_converted, f, &why);
    if (f->convert && bx_convert_from(f->convert, f->folder_fd, &why) < 0)
        f->convert = bx_convert_free(f->convert);
    if (!f->convert)
        rootfs_end(f, &why);
}

struct bx_rootfs *bx_rootfs_start(struct CBoxliteRuntime *rt, const char *box_id, const char *path, const char *must_be,
                                  bx_rootfs_fn *fn, void *ud, struct bx_err *err)
{
    struct bx_rootfs *f = calloc(1, sizeof(*f));

    if (!f) {
        bx_fail(err, BX_ERESOURCE, ENOMEM, "start box %s", box_id);
        return NULL;
    }
    *f = (struct bx_rootfs){.rt = rt, .folder_fd = -1, .fn = fn, .ud = ud};
    snprintf(f->box_id, sizeof(f->box_id), "%s", box_id);
    snprintf(f->must_be, sizeof(f->must_be), "%s", must_be ? must_be : "");
    f->load = bx_load_folder(rt, path, on_loaded, f, err);
    if (!f->load)
        return bx_rootfs_free(f);
    bx_load_on_take(f->load, take);
    return f;
}
