/* SPDX-License-Identifier: Apache-2.0 */
/* blobs.c - see blobs.h. */
#include "runtime/blobs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "image/manifest.h"
#include "image/reference.h"
#include "runtime/engine.h"
#include "runtime/members.h"

#define IN_FD     3
#define OUT_FD    4
#define STATUS_FD 5

int bx_new_blob_open(struct CBoxliteRuntime *rt, struct bx_new_blob *b, struct bx_err *err)
{
    b->fd = bx_tmpfile_at(rt->tmp_fd, "blob", 0600, b->tmp, sizeof(b->tmp));
    if (b->fd < 0) {
        int r = b->fd;

        *b = (struct bx_new_blob)BX_NEW_BLOB_INIT;
        return bx_fail(err, BX_ESTORAGE, -r, "write in %s/tmp", rt->home);
    }
    (void)flock(b->fd, LOCK_EX | LOCK_NB); /* nobody else's garbage while we live */
    return 0;
}

int bx_new_blob_publish(struct CBoxliteRuntime *rt, struct bx_new_blob *b, const char *digest, struct bx_err *err)
{
    int r = bx_blob_publish(rt->blobs_fd, rt->tmp_fd, b->tmp, digest, err);

    if (r == 0)
        b->tmp[0] = '\0';
    b->fd = bx_close(b->fd);
    return r;
}

void bx_new_blob_drop(struct CBoxliteRuntime *rt, struct bx_new_blob *b)
{
    if (b->tmp[0])
        (void)unlinkat(rt->tmp_fd, b->tmp, 0);
    bx_close(b->fd);
    *b = (struct bx_new_blob)BX_NEW_BLOB_INIT;
}

struct bx_job *bx_unpack_start(struct CBoxliteRuntime *rt, const char *mode, int in, int out, uint64_t max,
                               bx_job_fn *fn, void *ud, struct bx_err *err)
{
    char limit[32], in_text[8], out_text[8], status_text[8], program[] = "boxlite-unpack", mode_text[16];
    char *argv[] = {program, mode_text, in_text, out_text, status_text, limit, NULL}, *envp[] = {NULL};
    struct bx_spawn_fd fds[2] = {{in, IN_FD}, {out, OUT_FD}};
    const char *libexec = bx_libexec(rt, err);
    bx_cleanup_free char *path = libexec ? bx_path_join(libexec, program) : NULL;
    struct bx_spawn s = {.path = path,
                         .argv = argv,
                         .envp = envp,
                         .fds = fds,
                         .n_fds = out >= 0 ? 2 : 1,
                         .cwd = "/",
                         .new_session = true};

    if (!path) {
        if (libexec)
            bx_fail(err, BX_ERESOURCE, ENOMEM, "start boxlite-unpack");
        return NULL;
    }
    snprintf(mode_text, sizeof(mode_text), "%s", mode);
    snprintf(in_text, sizeof(in_text), "%d", IN_FD);
    snprintf(out_text, sizeof(out_text), "%d", out >= 0 ? OUT_FD : -1);
    snprintf(status_text, sizeof(status_text), "%d", STATUS_FD);
    snprintf(limit, sizeof(limit), "%llu", (unsigned long long)max);
    return bx_job_start(rt, &s, STATUS_FD, fn, ud, err);
}

int bx_unpack_digest(const char *text, size_t len, const char *word, char ret_digest[72], uint64_t *ret_size,
                     struct bx_err *err)
{
    bx_cleanup_free char *copy = strndup(text, len);
    char *line = copy, *next;
    uint64_t size;

    if (bx_job_unpack_result(text, len, err) < 0)
        return -err->code;
    for (; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        if (!bx_streq(bx_word(&line), word) || bx_parse_u64(bx_word(&line), 0, UINT64_MAX, &size) < 0)
            continue;
        snprintf(ret_digest, 72, "sha256:%.64s", line);
        if (ret_size)
            *ret_size = size;
        if (bx_digest_valid(ret_digest))
            return 0;
    }
    return bx_fail(err, BX_EINTERNAL, 0, "boxlite-unpack did not say what the file's digest is");
}
