/* SPDX-License-Identifier: Apache-2.0 */
/* files_api.c - the calls about files of boxes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime/files.h"
#include "runtime/given.h"

/* What a call has in common with the others. */
struct call {
    CBoxHandle *box;
    enum bx_op_kind kind;
    union bx_op_cb cb;
    void *ud;
    boxlite_FileOp msg;
};

/* ---- options ---- */

/* From the container's root, whether it says so or not. */
static int take_path(char *dst, size_t size, const char *field, const char *path, struct bx_err *err)
{
    if (!*path)
        return bx_fail(err, BX_EINVALID, 0, "%s: is empty", field);
    if ((size_t)snprintf(dst, size, "%s%s", path[0] == '/' ? "" : "/", path) >= size)
        return bx_fail(err, BX_EINVALID, ENAMETOOLONG, "%s", field);
    return 0;
}

static int take_user(boxlite_FileOp *m, const char *user, struct bx_err *err)
{
    if (user && strlen(user) >= sizeof(m->user))
        return bx_fail(err, BX_EINVALID, 0, "user: longer than %zu bytes", sizeof(m->user) - 1);
    snprintf(m->user, sizeof(m->user), "%s", user ? user : "");
    return 0;
}

static int take_file_options(boxlite_FileOp *m, const BoxliteFileOptions *given, struct bx_err *err)
{
    BoxliteFileOptions o = BOXLITE_FILE_OPTIONS_INIT;
    int r = bx_api_options(&o, sizeof(o), given, err);

    if (r < 0)
        return r;
    if (o.mode > 07777)
        return bx_fail(err, BX_EINVALID, 0, "mode: must be at most 07777");
    if (o.offset > INT64_MAX || o.length > INT64_MAX)
        return bx_fail(err, BX_EINVALID, 0, "offset and length: too large");
    m->flags = (o.no_overwrite ? 0 : BX_FILE_OVERWRITE) | (o.parents ? BX_FILE_PARENTS : 0) |
               (o.recursive ? BX_FILE_RECURSIVE : 0) | (o.follow_symlinks ? BX_FILE_FOLLOW : 0);
    m->mode = o.mode;
    m->offset = o.offset;
    m->length = o.length;
    return take_user(m, o.user, err);
}

/* ---- posting ---- */

/* Enters and makes the work. With the lock on success, without it and NULL on failure. */
static struct bx_files *begin(struct call *c, struct bx_err *err)
{
    struct bx_files *f = NULL;
    struct bx_op *op;

    if (bx_handle_enter(c->box, err) < 0)
        return NULL;
    op = bx_op_new(c->box->rt, c->kind, c->cb, c->ud, err);
    if (op)
        f = bx_files_new(c->box->box, op, &c->msg, err);
    if (f)
        return f;
    if (op)
        bx_op_cancel(op);
    bx_leave(c->box->rt);
    return NULL;
}

static BoxliteErrorCode post(struct call *c, const char *path, const BoxliteFileOptions *options,
                             CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT;
    struct bx_files *f;

    if (take_path(c->msg.path, sizeof(c->msg.path), "path", path, &err) < 0 ||
        take_file_options(&c->msg, options, &err) < 0 || !(f = begin(c, &err)))
        return bx_api_error(out_error, &err);
    bx_files_launch(f);
    bx_leave(c->box->rt);
    return Ok;
}

static const char *missing(const CBoxHandle *box, const char *path, bool has_cb)
{
    return !box ? "box" : !path ? "path" : !has_cb ? "cb" : NULL;
}

/* ---- copies ---- */

struct copy {
    enum bx_files_side side;
    const char *host, *guest;
    BoxliteCopyOptions o;
};

static int take_copy(struct copy *copy, const BoxliteCopyOptions *given, boxlite_FileOp *m,
                     struct bx_err *err)
{
    int r = bx_api_options(&copy->o, sizeof(copy->o), given, err);

    if (r == 0 && !*copy->host)
        r = bx_fail(err, BX_EINVALID, 0, "the path on the host is empty");
    if (r == 0 && copy->side == BX_FILES_COPY_IN && copy->o.max_bytes)
        r = bx_fail(err, BX_EINVALID, 0, "max_bytes: is for what comes out of a box");
    if (r == 0)
        r = take_path(m->path, sizeof(m->path), "the path in the box", copy->guest, err);
    return r < 0 ? r : take_user(m, copy->o.user, err);
}

/* The flags of who sends, and of who receives. */
static void split_flags(const struct copy *copy, uint32_t *ret_send, uint32_t *ret_receive)
{
    const BoxliteCopyOptions *o = &copy->o;

    *ret_send = (o->follow_symlinks ? BX_FILE_FOLLOW : 0) | (o->recursive ? BX_FILE_RECURSIVE : 0);
    *ret_receive = (o->overwrite ? BX_FILE_OVERWRITE : 0) | (o->include_parent ? BX_FILE_PARENT : 0) |
                   (o->keep_owner ? BX_FILE_OWNER : 0) | (o->all_links ? BX_FILE_ALL_LINKS : 0);
}

/* The host's end: a path, or a descriptor of the program, which is ours from now on. */
static int take_host(struct bx_files *f, const struct copy *copy, struct bx_err *err)
{
    int given = bx_given_number(copy->host);

    if (given >= 0) {
        f->host_fd = fcntl(given, F_DUPFD_CLOEXEC, 3);
        return f->host_fd < 0 ? bx_fail(err, BX_EINVALID, errno, "%s", copy->host) : 0;
    }
    /* Better known before a box is started for it. */
    if (copy->side == BX_FILES_COPY_IN && faccessat(AT_FDCWD, copy->host, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        return bx_fail(err, bx_code_from_errno(errno, BX_ESTORAGE), errno, "%.300s (on the host)",
                       copy->host);
    f->host_path = bx_strf("%s%s", bx_streq(copy->host, "-") ? "./" : "", copy->host);
    return f->host_path ? 0 : bx_fail(err, BX_ERESOURCE, ENOMEM, "copy files");
}

static BoxliteErrorCode post_copy(struct call *c, struct copy *copy, const BoxliteCopyOptions *options,
                                  CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    bool in = copy->side == BX_FILES_COPY_IN;
    uint32_t send, receive;
    struct bx_files *f;

    if (take_copy(copy, options, &c->msg, &err) < 0)
        return bx_api_error(out_error, &err);
    split_flags(copy, &send, &receive);
    c->msg.op = in ? BX_FILE_PUT : BX_FILE_GET;
    c->msg.flags = in ? receive : send;
    f = begin(c, &err);
    if (!f)
        return bx_api_error(out_error, &err);
    f->side = copy->side;
    f->host_flags = in ? send : receive | BX_FILE_SAFE_MODE;
    f->max_bytes = copy->o.max_bytes;
    if (take_host(f, copy, &why) < 0)
        bx_files_end(f, &why);
    else
        bx_files_launch(f);
    bx_leave(c->box->rt);
    return Ok;
}

static BoxliteErrorCode copy(struct call *c, enum bx_files_side side, const char *host, const char *guest,
                             bool has_cb, const BoxliteCopyOptions *options, CBoxliteError *out_error)
{
    struct copy copy = {.side = side, .host = host, .guest = guest, .o = BOXLITE_COPY_OPTIONS_INIT};
    bool in = side == BX_FILES_COPY_IN;

    if (!c->box || !host || !guest || !has_cb)
        return bx_api_invalid(out_error, "%s is NULL",
                              !c->box  ? "box"
                              : !host  ? (in ? "host_src" : "host_dst")
                              : !guest ? (in ? "guest_dst" : "guest_src")
                                       : "cb");
    return post_copy(c, &copy, options, out_error);
}

BoxliteErrorCode boxlite_copy_into(CBoxHandle *box, const char *host_src, const char *guest_dst,
                                   CBoxCopyCb cb, void *user_data, CBoxliteError *out_error)
{
    struct call c = {.box = box, .kind = BX_OP_PLAIN, .cb.plain = cb, .ud = user_data};

    return copy(&c, BX_FILES_COPY_IN, host_src, guest_dst, cb != NULL, NULL, out_error);
}

BoxliteErrorCode boxlite_copy_out(CBoxHandle *box, const char *guest_src, const char *host_dst, CBoxCopyCb cb,
                                  void *user_data, CBoxliteError *out_error)
{
    struct call c = {.box = box, .kind = BX_OP_PLAIN, .cb.plain = cb, .ud = user_data};

    return copy(&c, BX_FILES_COPY_OUT, host_dst, guest_src, cb != NULL, NULL, out_error);
}

BoxliteErrorCode boxlite_box_copy_in(CBoxHandle *box, const char *host_src, const char *guest_dst,
                                     const BoxliteCopyOptions *options, CBoxCopyResultCb cb, void *user_data,
                                     CBoxliteError *out_error)
{
    struct call c = {.box = box, .kind = BX_OP_COPIED, .cb.copied = cb, .ud = user_data};

    return copy(&c, BX_FILES_COPY_IN, host_src, guest_dst, cb != NULL, options, out_error);
}

BoxliteErrorCode boxlite_box_copy_out(CBoxHandle *box, const char *guest_src, const char *host_dst,
                                      const BoxliteCopyOptions *options, CBoxCopyResultCb cb, void *user_data,
                                      CBoxliteError *out_error)
{
    struct call c = {.box = box, .kind = BX_OP_COPIED, .cb.copied = cb, .ud = user_data};

    return copy(&c, BX_FILES_COPY_OUT, host_dst, guest_src, cb != NULL, options, out_error);
}

/* ---- one file ---- */

BoxliteErrorCode boxlite_box_read_file(CBoxHandle *box, const char *path, const BoxliteFileOptions *options,
                                       CBoxFileDataCb cb, void *user_data, CBoxliteError *out_error)
{
    struct call c = {
        .box = box, .kind = BX_OP_FILE_DATA, .cb.file_data = cb, .ud = user_data, .msg.op = BX_FILE_READ};
    const char *null = missing(box, path, cb != NULL);

    return null ? bx_api_invalid(out_error, "%s is NULL", null) : post(&c, path, options, out_error);
}

BoxliteErrorCode boxlite_box_write_file(CBoxHandle *box, const char *path, const uint8_t *data, size_t len,
                                        const BoxliteFileOptions *options, CBoxFileDoneCb cb, void *user_data,
                                        CBoxliteError *out_error)
{
    struct call c = {
        .box = box, .kind = BX_OP_PLAIN, .cb.plain = cb, .ud = user_data, .msg.op = BX_FILE_WRITE};
    const char *null = missing(box, path, cb != NULL);
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    struct bx_files *f;

    if (!null && !data && len > 0)
        null = "data";
    if (null)
        return bx_api_invalid(out_error, "%s is NULL", null);
    if (len > BX_FILES_DATA_MAX) {
        bx_fail(&err, BX_ERESOURCE, 0, "data: %zu bytes, a call takes at most %u: copy a file instead", len,
                BX_FILES_DATA_MAX);
        return bx_api_error(out_error, &err);
    }
    if (take_path(c.msg.path, sizeof(c.msg.path), "path", path, &err) < 0 ||
        take_file_options(&c.msg, options, &err) < 0 || !(f = begin(&c, &err)))
        return bx_api_error(out_error, &err);
    if (bx_files_give(f, data, len, &why) < 0)
        bx_files_end(f, &why);
    else
        bx_files_launch(f);
    bx_leave(box->rt);
    return Ok;
}

BoxliteErrorCode boxlite_box_list_dir(CBoxHandle *box, const char *path, const BoxliteFileOptions *options,
                                      CBoxFileListCb cb, void *user_data, CBoxliteError *out_error)
{
    struct call c = {
        .box = box, .kind = BX_OP_FILE_LIST, .cb.file_list = cb, .ud = user_data, .msg.op = BX_FILE_LIST};
    const char *null = missing(box, path, cb != NULL);

    return null ? bx_api_invalid(out_error, "%s is NULL", null) : post(&c, path, options, out_error);
}

BoxliteErrorCode boxlite_box_stat(CBoxHandle *box, const char *path, const BoxliteFileOptions *options,
                                  CBoxFileInfoCb cb, void *user_data, CBoxliteError *out_error)
{
    struct call c = {
        .box = box, .kind = BX_OP_FILE_INFO, .cb.file_info = cb, .ud = user_data, .msg.op = BX_FILE_STAT};
    const char *null = missing(box, path, cb != NULL);

    return null ? bx_api_invalid(out_error, "%s is NULL", null) : post(&c, path, options, out_error);
}

static BoxliteErrorCode change(uint32_t op, CBoxHandle *box, const char *path,
                               const BoxliteFileOptions *options, CBoxFileDoneCb cb, void *user_data,
                               CBoxliteError *out_error)
{
    struct call c = {.box = box, .kind = BX_OP_PLAIN, .cb.plain = cb, .ud = user_data, .msg.op = op};
    const char *null = missing(box, path, cb != NULL);

    return null ? bx_api_invalid(out_error, "%s is NULL", null) : post(&c, path, options, out_error);
}

BoxliteErrorCode boxlite_box_mkdir(CBoxHandle *box, const char *path, const BoxliteFileOptions *options,
                                   CBoxFileDoneCb cb, void *user_data, CBoxliteError *out_error)
{
    return change(BX_FILE_MKDIR, box, path, options, cb, user_data, out_error);
}

BoxliteErrorCode boxlite_box_remove_file(CBoxHandle *box, const char *path, const BoxliteFileOptions *options,
                                         CBoxFileDoneCb cb, void *user_data, CBoxliteError *out_error)
{
    return change(BX_FILE_REMOVE, box, path, options, cb, user_data, out_error);
}

BoxliteErrorCode boxlite_box_rename(CBoxHandle *box, const char *path, const char *to,
                                    const BoxliteFileOptions *options, CBoxFileDoneCb cb, void *user_data,
                                    CBoxliteError *out_error)
{
    struct call c = {
        .box = box, .kind = BX_OP_PLAIN, .cb.plain = cb, .ud = user_data, .msg.op = BX_FILE_RENAME};
    const char *null = missing(box, path, cb != NULL);
    struct bx_err err = BX_ERR_INIT;

    if (!null && !to)
        null = "to";
    if (null)
        return bx_api_invalid(out_error, "%s is NULL", null);
    if (take_path(c.msg.to, sizeof(c.msg.to), "to", to, &err) < 0)
        return bx_api_error(out_error, &err);
    return post(&c, path, options, out_error);
}

/* ---- giving up ---- */

BoxliteErrorCode boxlite_box_cancel_files(CBoxHandle *box, const void *user_data, CBoxliteError *out_error)
{
    struct bx_err err = BX_ERR_INIT, why = BX_ERR_INIT;
    struct bx_files *f, *next;

    if (!box)
        return bx_api_invalid(out_error, "box is NULL");
    if (bx_handle_enter(box, &err) < 0)
        return bx_api_error(out_error, &err);
    bx_fail(&why, BX_ESTOPPED, 0, "cancelled");
    for (f = box->box->files; f; f = next) {
        next = f->next;
        if (f->op->ud == user_data)
            bx_files_end(f, &why);
    }
    bx_leave(box->rt);
    return Ok;
}
