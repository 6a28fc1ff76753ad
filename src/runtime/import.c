/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import.c - an archive of a root file system becomes an image of one layer.
 *
 * Theory of operation
 *
 *  The archive goes to boxlite-unpack as a descriptor: a file, or a pipe whose writer may take its time. It is copied into tmp and hashed
 *  there, read as a tar, and is then the layer, as it came: a packed archive stays packed. Here configuration and manifest are written
 *  round it; "created" is the latest time in the archive, so that the same archive and the same options give the same image, everywhere.
 *
 *  The image lease is taken when the archive is whole: until then there is no blob, and a slow pipe keeps no collector waiting.
 */
#include "runtime/import.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/compose.h"
#include "runtime/adopt.h"
#include "runtime/blobs.h"
#include "runtime/events.h"
#include "runtime/given.h"
#include "runtime/lease.h"
#include "runtime/options.h"

struct import {
    struct import *next; /* in imports of the runtime */
    struct CBoxliteRuntime *rt;
    struct bx_op *op;
    char *path, *reference;
    struct CBoxliteOptions *config;
    int lease_fd;
    struct bx_job *job;
    struct bx_new_blob blob;
    struct bx_made_blob *made;
    struct bx_imported archive;
    struct bx_descriptor config_blob;
};

/* ---- end ---- */

static void import_free(struct import *i)
{
    struct import **p;

    for (p = &i->rt->imports; *p; p = &(*p)->next)
        if (*p == i) {
            *p = i->next;
            break;
        }
    bx_job_kill(i->job);
    bx_made_blob_free(i->made);
    bx_new_blob_drop(&i->blob);
    bx_close(i->lease_fd);
    boxlite_options_free(i->config);
    free(i->reference);
    free(i->path);
    free(i);
}

static void import_end(struct import *i, CImagePullResult *result, const struct bx_err *err)
{
    struct bx_op *op = i->op;
    struct bx_err why = err ? *err : BX_ERR_INIT;

    if (err)
        bx_prefix(&why, "import %.200s", i->path);
    op->result = result;
    import_free(i);
    bx_op_answer(op, &why);
}

void bx_imports_end(struct CBoxliteRuntime *rt)
{
    struct bx_err why = BX_ERR_INIT;

    bx_fail(&why, BX_ESTOPPED, 0, "the runtime was freed");
    while (rt->imports)
        import_end(rt->imports, NULL, &why);
}

/* ---- the documents ---- */

static int adopt(struct import *i, const char *manifest, CImagePullResult **ret, struct bx_err *err)
{
    bx_cleanup_adopt struct bx_adopt image = {0};
    int r = bx_adopt_manifest(i->rt, manifest, &image, err);

    if (r == 0)
        r = bx_adopt_check(i->rt, &image, err);
    if (r == 0)
        r = bx_adopt_put(i->rt, &image, i->reference, err);
    if (r < 0)
        return r;
    bx_event_image(i->rt, "image.imported", i->reference);
    *ret = bx_pull_result(i->reference, image.manifest.config.digest, (int)image.manifest.layer_count);
    return *ret ? 0 : bx_fail(err, BX_ERESOURCE, ENOMEM, "import an image");
}

static void on_manifest(void *ud, const char *digest, const struct bx_err *err)
{
    struct import *i = ud;
    struct bx_err why = err ? *err : BX_ERR_INIT;
    CImagePullResult *result = NULL;

    i->made = NULL;
    if (!err)
        (void)adopt(i, digest, &result, &why);
    import_end(i, result, result ? NULL : &why);
}

static int start_manifest(struct import *i, struct bx_err *err)
{
    bx_cleanup_buf struct bx_buf text = BX_BUF_INIT(BX_IMAGE_JSON_MAX);
    struct bx_descriptor layer = {.size = i->archive.size};
    int r;

    snprintf(layer.digest, sizeof(layer.digest), "%s", i->archive.layer);
    snprintf(layer.media_type, sizeof(layer.media_type), BX_OCI_LAYER "%s%s", i->archive.packing[0] ? "+" : "", i->archive.packing);
    r = bx_compose_manifest(&i->config_blob, &layer, 1, &text, err);
    if (r < 0)
        return r;
    i->made = bx_made_blob_start(i->rt, bx_buf_data(&text), bx_buf_len(&text), on_manifest, i, err);
    return i->made ? 0 : -err->code;
}

static void on_config(void *ud, const char *digest, const struct bx_err *err)
{
    struct import *i = ud;
    struct bx_err why = err ? *err : BX_ERR_INIT;

    i->made = NULL;
    if (!err)
        snprintf(i->config_blob.digest, sizeof(i->config_blob.digest), "%s", digest);
    if (err || start_manifest(i, &why) < 0)
        import_end(i, NULL, &why);
}

static int start_config(struct import *i, struct bx_err *err)
{
    bx_cleanup_buf struct bx_buf text = BX_BUF_INIT(BX_IMAGE_JSON_MAX);
    const struct bx_compose c = {.os = BX_IMAGE_OS,
                                 .arch = BX_IMAGE_ARCH,
                                 .created = i->archive.newest,
                                 .created_by = "boxlite import",
                                 .diff_id = i->archive.diff_id,
                                 .env = i->config->env,
                                 .entrypoint = i->config->entrypoint,
                                 .cmd = i->config->cmd,
                                 .working_dir = i->config->workdir,
                                 .user = i->config->user};
    int r = bx_compose_config(&c, &text, err);

    if (r < 0)
        return r;
    i->config_blob = (struct bx_descriptor){.media_type = BX_OCI_CONFIG, .size = bx_buf_len(&text)};
    i->made = bx_made_blob_start(i->rt, bx_buf_data(&text), bx_buf_len(&text), on_config, i, err);
    return i->made ? 0 : -err->code;
}

/* ---- the archive ---- */

static int take_layer(struct import *i, const char *text, size_t len, struct bx_err *err)
{
    int r = bx_unpack_imported(text, len, &i->archive, err);

    if (r == 0)
        i->lease_fd = r = bx_image_lease(i->rt, err);
    if (r < 0)
        return r;
    r = bx_new_blob_publish(i->rt, &i->blob, i->archive.layer, err);
    return r < 0 ? r : start_config(i, err);
}

static void on_read(void *ud, const char *text, size_t len)
{
    struct import *i = ud;
    struct bx_err err = BX_ERR_INIT;

    i->job = NULL;
    if (take_layer(i, text, len, &err) < 0)
        import_end(i, NULL, &err);
}

static void on_progress(void *ud, uint64_t done, uint64_t total)
{
    struct import *i = ud;

    bx_progress(i->rt, "", "read the archive", done, total);
}

/* A descriptor, or negative. A named pipe is opened without waiting for its writer: boxlite-unpack waits. */
static int open_archive(const char *path, struct bx_err *err)
{
    int given = bx_given_number(path);
    bx_cleanup_close int fd = given >= 0 ? fcntl(given, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return bx_fail(err, BX_EIMAGE, errno, "import %.200s", path);
    if (S_ISDIR(st.st_mode))
        return bx_fail(err, BX_EIMAGE, 0, "import %.200s: a folder; `boxlite load` takes an image in OCI layout, `tar` makes an archive of a tree", path);
    if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode))
        return bx_fail(err, BX_EIMAGE, 0, "import %.200s: neither a file nor a pipe", path);
    if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
        return bx_fail(err, BX_EINVALID, 0, "import %.200s: open for writing only", path);
    return BX_TAKE_FD(fd);
}

static int begin(struct import *i, struct bx_err *err)
{
    bx_cleanup_close int in = open_archive(i->path, err);
    int r = in < 0 ? in : bx_new_blob_open(i->rt, &i->blob, err);

    if (r < 0)
        return r;
    i->job = bx_unpack_import(i->rt, in, i->blob.fd, on_read, i, err);
    if (!i->job)
        return -err->code;
    bx_job_on_progress(i->job, on_progress);
    bx_progress(i->rt, "", "read the archive", 0, 0);
    return 0;
}

int bx_import_begin(struct CBoxliteRuntime *rt, const char *path, const char *reference, struct CBoxliteOptions *config, struct bx_op *op,
                    struct bx_err *err)
{
    struct import *i = calloc(1, sizeof(*i));
    int r;

    if (!i) {
        boxlite_options_free(config);
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "import an image");
    }
    *i = (struct import){.rt = rt, .op = op, .config = config, .lease_fd = -1, .blob = BX_NEW_BLOB_INIT};
    i->next = rt->imports;
    rt->imports = i;
    i->path = bx_strf("%s", path);
    i->reference = bx_strf("%s", reference);
    r = i->path && i->reference ? begin(i, err) : bx_fail(err, BX_ERESOURCE, ENOMEM, "import an image");
    if (r < 0)
        import_free(i);
    return r;
}
