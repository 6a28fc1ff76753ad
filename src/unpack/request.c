/* SPDX-License-Identifier: Apache-2.0 */
/* request.c - see request.h. */
#include "unpack/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"

#define REQUEST_MAX (256 * 1024)

static int unhex(const char *s, uint8_t *ret, size_t len)
{
    if (strlen(s) != 2 * len)
        return -EINVAL;
    for (size_t i = 0; i < 2 * len; i++) {
        char c = s[i];
        int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (v < 0)
            return -EINVAL;
        ret[i / 2] = (uint8_t)(ret[i / 2] << 4 | v);
    }
    return 0;
}

static int take_fd(const char *s, int *ret)
{
    uint64_t v = 0;
    int r = bx_parse_u64(s, 0, 1 << 20, &v);
    if (r >= 0)
        *ret = (int)v;
    return r;
}

/* value: "FD SHA256 DIFF_ID" */
static int take_layer(struct bx_request *req, char *value)
{
    struct bx_layer *l = &req->layers[req->n_layers];
    char *digest = strchr(value, ' ');
    char *diff_id = digest ? strchr(digest + 1, ' ') : NULL;
    if (!diff_id || req->n_layers == BX_INDEX_LAYERS_MAX)
        return -EINVAL;
    *digest++ = 0;
    *diff_id++ = 0;
    l->has_diff_id = strcmp(diff_id, "-") != 0;
    if (take_fd(value, &l->fd) < 0 || unhex(digest, l->digest, sizeof(l->digest)) < 0)
        return -EINVAL;
    if (l->has_diff_id && unhex(diff_id, l->diff_id, sizeof(l->diff_id)) < 0)
        return -EINVAL;
    req->n_layers++;
    return 0;
}

static int take_line(struct bx_request *req, const char *key, char *value)
{
    const struct {
        const char *key;
        uint64_t *to;
        uint64_t max;
    } numbers[] = {
        { "size", &req->size, BX_EXT4_SIZE_MAX },
        { "max-size", &req->max_size, BX_EXT4_SIZE_MAX },
        { "free", &req->free, UINT64_MAX },
        { "memory", &req->memory, 1ULL << 40 },
        { "max-entries", &req->max_entries, 16000000 }, /* the arenas of this many still fit 32-bit offsets */
        { "max-bytes", &req->max_bytes, UINT64_MAX },
        { "max-ratio", &req->max_ratio, UINT64_MAX },
    };
    for (size_t i = 0; i < BX_ARRAY_SIZE(numbers); i++)
        if (bx_streq(key, numbers[i].key))
            return bx_parse_u64(value, 0, numbers[i].max, numbers[i].to);
    if (bx_streq(key, "output"))
        return take_fd(value, &req->output);
    if (bx_streq(key, "scratch"))
        return take_fd(value, &req->scratch);
    if (bx_streq(key, "time"))
        return bx_parse_i64(value, 0, INT64_MAX, &req->time);
    if (bx_streq(key, "layer"))
        return take_layer(req, value);
    if (bx_streq(key, "uuid")) {
        req->has_uuid = true;
        return unhex(value, req->uuid, sizeof(req->uuid));
    }
    return -EINVAL;
}

static int take_lines(struct bx_request *req, char *text, struct bx_err *err)
{
    bool first = true;
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        if (first && strcmp(line, "boxlite-unpack 1") != 0)
            return bx_fail(err, BX_EINVALID, 0, "request of an unknown version");
        if (strcmp(line, "end") == 0)
            return 0;
        char *value = strchr(line, ' ');
        if (!first && value)
            *value++ = 0;
        if (!first && (!value || take_line(req, line, value) < 0))
            return bx_fail(err, BX_EINVALID, 0, "request: a wrong line \"%.60s\"", line);
        first = false;
    }
    return bx_fail(err, BX_EINVALID, 0, "request: it has no end");
}

static int check_file(int fd, const char *what, uint64_t *ret_size, struct bx_err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return bx_fail(err, BX_EINVALID, errno, "request: %s is no descriptor (%d)", what, fd);
    if (!S_ISREG(st.st_mode))
        return bx_fail(err, BX_EINVALID, 0, "request: %s is not a regular file", what);
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

static int check(struct bx_request *req, struct bx_err *err)
{
    uint64_t size = 0;
    if (!req->has_uuid || req->n_layers == 0)
        return bx_fail(err, BX_EINVALID, 0, "request: uuid or layers are missing");
    if (req->max_size == 0)
        req->max_size = req->size;
    if (req->max_bytes == 0)
        req->max_bytes = req->max_size;
    req->size = BX_ALIGN_UP(req->size, (uint64_t)BX_EXT4_BLOCK);
    if (req->size < BX_EXT4_SIZE_MIN || req->size > req->max_size)
        return bx_fail(err, BX_EINVALID, 0, "request: size is not between 16 MiB and max-size");
    int r = check_file(req->output, "output", &size, err);
    if (r >= 0 && req->scratch >= 0)
        r = check_file(req->scratch, "scratch", &size, err);
    for (size_t i = 0; i < req->n_layers && r >= 0; i++)
        r = check_file(req->layers[i].fd, "layer", &req->layers[i].size, err);
    return r;
}

int bx_request_read(int fd, struct bx_request *ret, struct bx_err *err)
{
    bx_cleanup_free char *text = NULL;
    *ret = (struct bx_request){
        .output = -1,
        .scratch = -1,
        .memory = BX_INDEX_MEMORY,
        .max_entries = BX_MAX_ENTRIES,
        .max_ratio = BX_MAX_RATIO,
        .layers = calloc(BX_INDEX_LAYERS_MAX, sizeof(struct bx_layer)),
    };
    if (!ret->layers)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "read the request");
    int r = bx_read_fd(fd, REQUEST_MAX, &text, NULL);
    if (r < 0)
        return bx_fail(err, BX_EINVALID, -r, "read the request");
    r = take_lines(ret, text, err);
    return r < 0 ? r : check(ret, err);
}

void bx_request_done(struct bx_request *req)
{
    free(req->layers);
    req->layers = NULL;
}
