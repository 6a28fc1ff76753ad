/* SPDX-License-Identifier: Apache-2.0 */
/* blobs.c - see blobs.h. */
#include "runtime/blobs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "image/manifest.h"
#include "image/reference.h"
#include "runtime/engine.h"
#include "runtime/members.h"

#define IN_FD      3
#define OUT_FD     4
#define STATUS_FD  5
#define SCRATCH_FD 6

int bx_new_blob_open(struct CBoxliteRuntime *rt, struct bx_new_blob *b, struct bx_err *err)
{
    b->fd = openat(rt->tmp_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return b->fd < 0 ? bx_fail(err, BX_ESTORAGE, errno, "write in %s/tmp", rt->home) : 0;
}

/* For the moment before it has its digest for a name. */
static int name_in_tmp(struct CBoxliteRuntime *rt, int fd, char *name, size_t size, struct bx_err *err)
{
    char id[BX_ID_LEN + 1], path[32];

    (void)flock(fd, LOCK_EX | LOCK_NB); /* nobody else's garbage */
    bx_random_id(id);
    snprintf(name, size, "blob.%s.tmp", id);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (linkat(AT_FDCWD, path, rt->tmp_fd, name, AT_SYMLINK_FOLLOW) < 0)
        return bx_fail(err, BX_ESTORAGE, errno, "write in %s/tmp", rt->home);
    return 0;
}

int bx_new_blob_publish(struct CBoxliteRuntime *rt, struct bx_new_blob *b, const char *digest, struct bx_err *err)
{
    char name[64];
    int r = name_in_tmp(rt, b->fd, name, sizeof(name), err);

    if (r == 0 && (r = bx_blob_publish(rt->blobs_fd, rt->tmp_fd, name, digest, err)) < 0)
        (void)unlinkat(rt->tmp_fd, name, 0);
    bx_new_blob_drop(b);
    return r;
}

void bx_new_blob_drop(struct bx_new_blob *b)
{
    b->fd = bx_close(b->fd);
}

/* ---- boxlite-unpack ---- */

struct unpack {
    const char *mode;
    int in, out, scratch; /* borrowed; -1: none */
    uint64_t max;
};

static struct bx_job *start_unpack(struct CBoxliteRuntime *rt, const struct unpack *u, bx_job_fn *fn, void *ud, struct bx_err *err)
{
    char limit[32], in[8], out[8], status[8], scratch[8], program[] = "boxlite-unpack", mode[16];
    char *argv[] = {program, mode, in, out, status, limit, u->scratch >= 0 ? scratch : NULL, NULL}, *envp[] = {NULL};
    struct bx_spawn_fd fds[3] = {{u->in, IN_FD}};
    const char *libexec = bx_libexec(rt, err);
    bx_cleanup_free char *path = libexec ? bx_path_join(libexec, program) : NULL;
    struct bx_spawn s = {.path = path, .argv = argv, .envp = envp, .fds = fds, .n_fds = 1, .cwd = "/", .new_session = true};

    if (!path) {
        if (libexec)
            bx_fail(err, BX_ERESOURCE, ENOMEM, "start boxlite-unpack");
        return NULL;
    }
    if (u->out >= 0)
        fds[s.n_fds++] = (struct bx_spawn_fd){u->out, OUT_FD};
    if (u->scratch >= 0)
        fds[s.n_fds++] = (struct bx_spawn_fd){u->scratch, SCRATCH_FD};
    snprintf(mode, sizeof(mode), "%s", u->mode);
    snprintf(in, sizeof(in), "%d", IN_FD);
    snprintf(out, sizeof(out), "%d", u->out >= 0 ? OUT_FD : -1);
    snprintf(status, sizeof(status), "%d", STATUS_FD);
    snprintf(scratch, sizeof(scratch), "%d", SCRATCH_FD);
    snprintf(limit, sizeof(limit), "%llu", (unsigned long long)u->max);
    return bx_job_start(rt, &s, STATUS_FD, fn, ud, err);
}

struct bx_job *bx_unpack_start(struct CBoxliteRuntime *rt, const char *mode, int in, int out, uint64_t max,
                               bx_job_fn *fn, void *ud, struct bx_err *err)
{
    const struct unpack u = {.mode = mode, .in = in, .out = out, .scratch = -1, .max = max};

    return start_unpack(rt, &u, fn, ud, err);
}

struct bx_job *bx_unpack_import(struct CBoxliteRuntime *rt, int in, int out, bx_job_fn *fn, void *ud, struct bx_err *err)
{
    bx_cleanup_close int scratch = openat(rt->tmp_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    const struct unpack u = {.mode = "import", .in = in, .out = out, .scratch = scratch, .max = BX_BLOB_SIZE_MAX};

    if (scratch < 0) {
        bx_fail(err, BX_ESTORAGE, errno, "write in %s/tmp", rt->home);
        return NULL;
    }
    return start_unpack(rt, &u, fn, ud, err);
}

/* The first line of this word; *text then is behind it. NULL: there is none. */
static char *find_line(char **text, const char *word)
{
    char *line, *next;

    for (line = *text; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        *text = next;
        if (bx_streq(bx_word(&line), word))
            return line;
    }
    return NULL;
}

int bx_unpack_digest(const char *text, size_t len, const char *word, char ret_digest[72], uint64_t *ret_size,
                     struct bx_err *err)
{
    bx_cleanup_free char *copy = strndup(text, len);
    char *at = copy, *line;
    uint64_t size;

    if (bx_job_unpack_result(text, len, err) < 0)
        return -err->code;
    while ((line = find_line(&at, word))) {
        if (bx_parse_u64(bx_word(&line), 0, UINT64_MAX, &size) < 0)
            continue;
        snprintf(ret_digest, 72, "sha256:%.64s", line);
        if (ret_size)
            *ret_size = size;
        if (bx_digest_valid(ret_digest))
            return 0;
    }
    return bx_fail(err, BX_EINTERNAL, 0, "boxlite-unpack did not say what the file's digest is");
}

int bx_unpack_imported(const char *text, size_t len, struct bx_imported *ret, struct bx_err *err)
{
    bx_cleanup_free char *copy = strndup(text, len);
    char *at = copy, *line;
    const char *packing;
    int r = bx_unpack_digest(text, len, "file", ret->layer, &ret->size, err);

    if (r == 0)
        r = bx_unpack_digest(text, len, "content", ret->diff_id, NULL, err);
    if (r < 0)
        return r;
    line = find_line(&at, "tar");
    packing = line ? bx_word(&line) : "";
    if (!bx_streq(packing, "plain") && !bx_streq(packing, "gzip") && !bx_streq(packing, "zstd"))
        return bx_fail(err, BX_EINTERNAL, 0, "boxlite-unpack did not say how the archive is packed");
    snprintf(ret->packing, sizeof(ret->packing), "%s", bx_streq(packing, "plain") ? "" : packing);
    bx_word(&line); /* how many entries */
    if (bx_parse_i64(bx_word(&line), 0, INT64_MAX, &ret->newest) < 0)
        return bx_fail(err, BX_EINTERNAL, 0, "boxlite-unpack did not say how old the archive is");
    return 0;
}

/* ---- documents ---- */

struct bx_made_blob {
    struct CBoxliteRuntime *rt;
    struct bx_new_blob blob;
    struct bx_job *job;
    bx_made_blob_fn *fn;
    void *ud;
};

struct bx_made_blob *bx_made_blob_free(struct bx_made_blob *b)
{
    if (!b)
        return NULL;
    bx_job_kill(b->job);
    bx_new_blob_drop(&b->blob);
    free(b);
    return NULL;
}

static void on_made_hashed(void *ud, const char *text, size_t len)
{
    struct bx_made_blob *b = ud;
    bx_made_blob_fn *fn = b->fn;
    struct bx_err err = BX_ERR_INIT;
    char digest[72];
    int r;

    b->job = NULL;
    ud = b->ud;
    r = bx_unpack_digest(text, len, "file", digest, NULL, &err);
    if (r == 0)
        r = bx_new_blob_publish(b->rt, &b->blob, digest, &err);
    bx_made_blob_free(b);
    fn(ud, digest, r < 0 ? &err : NULL);
}

static int start_made(struct bx_made_blob *b, const void *text, size_t len, struct bx_err *err)
{
    bx_cleanup_close int in = bx_memfd_sealed("document", text, len);
    int r;

    if (in < 0)
        return bx_fail(err, BX_ERESOURCE, -in, "a document of an image");
    r = bx_new_blob_open(b->rt, &b->blob, err);
    if (r < 0)
        return r;
    b->job = bx_unpack_start(b->rt, "hash", in, b->blob.fd, BX_IMAGE_JSON_MAX, on_made_hashed, b, err);
    return b->job ? 0 : -err->code;
}

struct bx_made_blob *bx_made_blob_start(struct CBoxliteRuntime *rt, const void *text, size_t len, bx_made_blob_fn *fn, void *ud,
                                        struct bx_err *err)
{
    struct bx_made_blob *b = calloc(1, sizeof(*b));

    if (!b) {
        bx_fail(err, BX_ERESOURCE, ENOMEM, "a document of an image");
        return NULL;
    }
    *b = (struct bx_made_blob){.rt = rt, .blob = BX_NEW_BLOB_INIT, .fn = fn, .ud = ud};
    return start_made(b, text, len, err) < 0 ? bx_made_blob_free(b) : b;
}
