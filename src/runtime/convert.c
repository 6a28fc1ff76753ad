/* SPDX-License-Identifier: Apache-2.0 */
/*
 * convert.c - the images of a home, and their disks.
 *
 * A disk is made in tmp by boxlite-unpack, which is handed the layers as descriptors and opens nothing, and
 * then renamed to disks/<hex>.ext4, read-only. Whoever makes it holds disks/<hex>.lock; others wait for that
 * lock and find the disk there, or, when its maker died, make it themselves.
 */
#include "runtime/convert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "image/reference.h"
#include "runtime/engine.h"
#include "runtime/job.h"
#include "runtime/registries.h"

#define OUTPUT_FD     3
#define SCRATCH_FD    4
#define REQUEST_FD    5
#define STATUS_FD     6
#define LAYER_FD      7
#define DISK_SIZE     (10ULL << 30)
#define DISK_SIZE_MAX (256ULL << 30)
/* What is to be left on the host's disk. */
#define SPACE_LEFT    (64ULL << 20)
#define LOCK_DEADLINE (600 * BX_SEC)

struct bx_convert {
    struct CBoxliteRuntime *rt;
    char box_id[BX_ID_LEN + 1];
    char digest[80];
    char disk[BX_DISK_NAME_MAX];
    char tmp[64]; /* in rt->tmp_fd; "" = none */
    int lock_fd, out_fd;
    int folder_fd; /* also has layers; -1: none */
    struct bx_lock_wait *wait;
    struct bx_job *job;
    bx_convert_fn *fn;
    void *ud;
};

/* ---- names ---- */

void bx_disk_name(char dst[BX_DISK_NAME_MAX], const char *manifest_digest)
{
    const char *hex = strchr(manifest_digest, ':');

    snprintf(dst, BX_DISK_NAME_MAX, "%.64s.ext4", hex ? hex + 1 : manifest_digest);
}

bool bx_disk_digest(const char *disk_name, char *dst, size_t size)
{
    if (strlen(disk_name) != 64 + 5 || !bx_ends_with(disk_name, ".ext4"))
        return false;
    snprintf(dst, size, "sha256:%.64s", disk_name);
    return bx_digest_valid(dst);
}

bool bx_disk_exists(struct CBoxliteRuntime *rt, const char *disk_name)
{
    return faccessat(rt->disks_fd, disk_name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- images ---- */

int bx_image_find(struct CBoxliteRuntime *rt, const char *reference, struct bx_image_row *ret,
                  struct bx_err *err)
{
    bx_cleanup_strv char **names = NULL;
    bx_cleanup_free char *canonical = NULL;
    struct bx_reference ref;
    size_t i;
    int r = bx_registries_candidates(rt->registries, reference, &names, err);

    if (r < 0 || bx_reference_parse(reference, &ref, err) < 0)
        return bx_prefix(err, "image");
    canonical = bx_reference_canonical(&ref); /* what is loaded from a file is called so */
    if (!canonical || bx_strv_add(&names, canonical) < 0)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "image %s", reference);
    for (i = 0; names[i]; i++) {
        r = bx_store_image_get(rt->store, names[i], ret, err);
        if (r != -BX_ENOTFOUND)
            return r;
    }
    return bx_fail(err, BX_EIMAGE, 0, "no such image: %s", reference);
}

int bx_image_new_name(const char *text, char **ret, struct bx_err *err)
{
    struct bx_reference ref;
    int r = bx_reference_parse(text, &ref, err);

    if (r < 0)
        return r;
    if (ref.digest[0])
        return bx_fail(err, BX_EINVALID, 0, "a name that is given has no digest: %.200s", text);
    *ret = bx_reference_canonical(&ref);
    return *ret ? 0 : bx_fail(err, BX_ERESOURCE, ENOMEM, "name an image");
}

int bx_image_manifest(struct CBoxliteRuntime *rt, const char *digest, struct bx_manifest *ret,
                      struct bx_err *err)
{
    bx_cleanup_free char *text = NULL;
    size_t len;
    int r = bx_blob_read(rt->blobs_fd, digest, BX_IMAGE_JSON_MAX, &text, &len, err);

    return r < 0 ? r : bx_manifest_parse(text, len, ret, err);
}

int bx_image_config(struct CBoxliteRuntime *rt, const char *manifest_digest, struct bx_image_config *ret,
                    struct bx_err *err)
{
    bx_cleanup_free char *text = NULL;
    struct bx_manifest m = {0};
    size_t len;
    int r;

    r = bx_image_manifest(rt, manifest_digest, &m, err);
    if (r >= 0)
        r = bx_blob_read(rt->blobs_fd, m.config.digest, BX_IMAGE_JSON_MAX, &text, &len, err);
    if (r >= 0)
        r = bx_image_config_parse(text, len, ret, err);
    bx_manifest_done(&m);
    return r;
}

/* ---- making a disk ---- */

struct bx_convert *bx_convert_free(struct bx_convert *c)
{
    if (!c)
        return NULL;
    bx_lock_wait_free(c->wait);
    bx_job_kill(c->job);
    if (c->tmp[0])
        (void)unlinkat(c->rt->tmp_fd, c->tmp, 0);
    bx_close(c->out_fd);
    bx_close(c->folder_fd);
    bx_close(c->lock_fd);
    free(c);
    return NULL;
}

static void convert_end(struct bx_convert *c, const struct bx_err *err)
{
    bx_convert_fn *fn = c->fn;
    void *ud = c->ud;

    bx_convert_free(c);
    fn(ud, err);
}

static uint64_t free_space(struct CBoxliteRuntime *rt)
{
    struct statvfs v;
    uint64_t bytes;

    if (fstatvfs(rt->tmp_fd, &v) < 0)
        return 0;
    bytes = (uint64_t)v.f_bavail * v.f_frsize;
    return bytes > SPACE_LEFT ? bytes - SPACE_LEFT : 0;
}

/* Content and mode are on the disk: boxlite-unpack has seen to it. Now it gets its name. */
static int publish(struct bx_convert *c, struct bx_err *err)
{
    if (renameat(c->rt->tmp_fd, c->tmp, c->rt->disks_fd, c->disk) < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "write %s/disks/%s", c->rt->home, c->disk);
    c->tmp[0] = '\0';
    (void)bx_fsync_dir(c->rt->disks_fd); /* a name that a crash loses is made anew */
    return bx_store_image_set_disk(c->rt->store, c->digest, c->disk, err);
}

static void on_progress(void *ud, uint64_t done, uint64_t total)
{
    struct bx_convert *c = ud;

    bx_progress(c->rt, c->box_id, "convert the image", done, total);
}

static void on_unpacked(void *ud, const char *text, size_t len)
{
    struct bx_convert *c = ud;
    struct bx_err err = BX_ERR_INIT;
    int r;

    c->job = NULL;
    r = bx_job_unpack_result(text, len, &err);
    if (r == 0)
        r = publish(c, &err);
    convert_end(c, r < 0 ? &err : NULL);
}

static int open_in_folder(struct bx_convert *c, const struct bx_descriptor *layer, struct bx_err *err)
{
    bx_cleanup_close int fd = -1;
    struct stat st;
    char name[96];

    snprintf(name, sizeof(name), "blobs/sha256/%.64s", layer->digest + 7);
    fd = bx_open_in_root(c->folder_fd, name, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0)
        return bx_fail(err, BX_EIMAGE, -fd, "the folder lacks %s", name);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != layer->size)
        return bx_fail(err, BX_EIMAGE, 0, "the folder's %s is no file of %llu bytes, as the manifest says", name,
                       (unsigned long long)layer->size);
    return BX_TAKE_FD(fd);
}

/* A descriptor, or negative. What is in it is verified as it is read. */
static int open_layer(struct bx_convert *c, const struct bx_descriptor *layer, struct bx_err *err)
{
    struct bx_err why = BX_ERR_INIT;
    int fd = bx_blob_open(c->rt->blobs_fd, layer->digest, &why);

    if (fd == -BX_ENOTFOUND && c->folder_fd >= 0)
        return open_in_folder(c, layer, err);
    if (fd < 0)
        *err = why;
    return fd;
}

/* The lines of unpack/request.h, and the descriptors they name. */
static int make_request(struct bx_convert *c, const struct bx_manifest *m,
                        const struct bx_image_config *config, struct bx_buf *out, struct bx_spawn_fd *fds,
                        size_t *n_fds, struct bx_err *err)
{
    size_t i;
    int fd;

    if (config->diff_ids && bx_strv_len(config->diff_ids) != m->layer_count)
        return bx_fail(err, BX_EIMAGE, 0, "the image has %zu layers, its configuration names %zu",
                       m->layer_count, bx_strv_len(config->diff_ids));
    if (m->layer_count == 0)
        return bx_fail(err, BX_EIMAGE, 0, "the image has no layers: there is nothing in it to run");
    if (m->layer_count + LAYER_FD > BX_SPAWN_FDS_MAX)
        return bx_fail(err, BX_EIMAGE, 0, "the image has %zu layers, more than %d cannot be converted", m->layer_count,
                       BX_SPAWN_FDS_MAX - LAYER_FD);
    bx_buf_addf(
        out,
        "boxlite-unpack 1\noutput %d\nscratch %d\nsize %llu\nmax-size %llu\nfree %llu\nuuid %.32s\ntime 0\n",
        OUTPUT_FD, SCRATCH_FD, DISK_SIZE, DISK_SIZE_MAX, (unsigned long long)free_space(c->rt),
        c->digest + 7);
    for (i = 0; i < m->layer_count; i++) {
        const char *diff = config->diff_ids ? strchr(config->diff_ids[i], ':') : NULL;

        fd = open_layer(c, &m->layers[i], err);
        if (fd < 0)
            return fd;
        fds[*n_fds] = (struct bx_spawn_fd){fd, LAYER_FD + (int)i};
        (*n_fds)++;
        bx_buf_addf(out, "layer %d %s %s\n", LAYER_FD + (int)i, m->layers[i].digest + 7,
                    diff ? diff + 1 : "-");
    }
    bx_buf_addstr(out, "end\n");
    return bx_buf_failed(out) ? bx_fail(err, BX_ERESOURCE, 0, "an image of %zu layers", m->layer_count) : 0;
}

static int open_files(struct bx_convert *c, int *ret_scratch, struct bx_err *err)
{
    c->out_fd = bx_tmpfile_at(c->rt->tmp_fd, "disk-", 0600, c->tmp, sizeof(c->tmp));
    if (c->out_fd < 0) {
        c->tmp[0] = '\0';
        return bx_fail(err, BX_ESTORAGE, -c->out_fd, "write in %s/tmp", c->rt->home);
    }
    (void)flock(c->out_fd, LOCK_EX | LOCK_NB); /* nobody else's garbage while we live */
    if (fchmod(c->out_fd, 0444) < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "write in %s/tmp", c->rt->home);
    *ret_scratch = openat(c->rt->tmp_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return *ret_scratch < 0 ? bx_fail(err, BX_ESTORAGE, errno, "write in %s/tmp", c->rt->home) : 0;
}

static int spawn_unpack(struct bx_convert *c, struct bx_spawn_fd *fds, size_t n_fds, struct bx_err *err)
{
    static char name[] = "boxlite-unpack", mode[] = "convert", request[] = "5", status[] = "6";
    char *argv[] = {name, mode, request, status, NULL}, *envp[] = {NULL};
    const char *libexec = bx_libexec(c->rt, err);
    bx_cleanup_free char *path = libexec ? bx_path_join(libexec, name) : NULL;
    struct bx_spawn s = {.path = path,
                         .argv = argv,
                         .envp = envp,
                         .fds = fds,
                         .n_fds = n_fds,
                         .cwd = "/",
                         .new_session = true};

    if (!path)
        return libexec ? bx_fail(err, BX_ERESOURCE, ENOMEM, "convert the image") : -err->code;
    c->job = bx_job_start(c->rt, &s, STATUS_FD, on_unpacked, c, err);
    if (!c->job)
        return -err->code;
    bx_job_on_progress(c->job, on_progress);
    bx_progress(c->rt, c->box_id, "convert the image", 0, 0);
    return 0;
}

static int unpack(struct bx_convert *c, struct bx_err *err)
{
    bx_cleanup_buf struct bx_buf text = BX_BUF_INIT(256 * 1024);
    bx_cleanup_close int scratch = -1, request = -1;
    struct bx_spawn_fd fds[BX_SPAWN_FDS_MAX];
    struct bx_image_config config = {0};
    struct bx_manifest m = {0};
    size_t n = 0, layers_at;
    int r;

    if ((r = bx_image_manifest(c->rt, c->digest, &m, err)) == 0 &&
        (r = bx_image_config(c->rt, c->digest, &config, err)) == 0)
        r = open_files(c, &scratch, err);
    if (r == 0) {
        fds[n++] = (struct bx_spawn_fd){c->out_fd, OUTPUT_FD};
        fds[n++] = (struct bx_spawn_fd){scratch, SCRATCH_FD};
        layers_at = n;
        r = make_request(c, &m, &config, &text, fds, &n, err);
        if (r == 0)
            request = bx_memfd_sealed("request", bx_buf_data(&text), bx_buf_len(&text));
        if (r == 0 && request < 0)
            r = bx_fail(err, BX_ERESOURCE, -request, "convert the image");
        fds[n] = (struct bx_spawn_fd){request, REQUEST_FD};
        if (r == 0)
            r = spawn_unpack(c, fds, n + 1, err);
        while (n-- > layers_at)
            bx_close(fds[n].src);
    }
    bx_image_config_done(&config);
    bx_manifest_done(&m);
    return r;
}

static void on_lock(void *ud, int fd, const struct bx_err *err)
{
    struct bx_convert *c = ud;
    struct bx_err why = err ? *err : BX_ERR_INIT;

    c->wait = NULL;
    c->lock_fd = fd;
    if (fd >= 0 && bx_disk_exists(c->rt, c->disk)) /* somebody made it meanwhile */
        convert_end(c, NULL);
    else if (fd < 0 || unpack(c, &why) < 0)
        convert_end(c, &why);
}

struct bx_convert *bx_convert_start(struct CBoxliteRuntime *rt, const char *box_id,
                                    const char *manifest_digest, bx_convert_fn *fn, void *ud,
                                    struct bx_err *err)
{
    struct bx_convert *c = calloc(1, sizeof(*c));
    char lock[BX_DISK_NAME_MAX + 8];

    if (!c) {
        bx_fail(err, BX_ERESOURCE, ENOMEM, "convert the image");
        return NULL;
    }
    c->rt = rt;
    c->fn = fn;
    c->ud = ud;
    c->lock_fd = c->out_fd = c->folder_fd = -1;
    snprintf(c->box_id, sizeof(c->box_id), "%s", box_id);
    snprintf(c->digest, sizeof(c->digest), "%s", manifest_digest);
    bx_disk_name(c->disk, manifest_digest);
    snprintf(lock, sizeof(lock), "%.64s.lock", c->disk);
    c->wait = bx_lock_wait(rt, rt->disks_fd, lock, bx_now() + LOCK_DEADLINE, on_lock, c, err);
    return c->wait ? c : bx_convert_free(c);
}

int bx_convert_from(struct bx_convert *c, int folder, struct bx_err *err)
{
    c->folder_fd = fcntl(folder, F_DUPFD_CLOEXEC, 3);
    return c->folder_fd < 0 ? bx_fail(err, BX_ERESOURCE, errno, "convert the image") : 0;
}
