/* SPDX-License-Identifier: Apache-2.0 */
/* files_result.c - what calls about files bring: a file's bytes, what is in a folder, the sums of a copy. */
#include <errno.h>
#include <string.h>

#include "runtime/files.h"
#include "runtime/processes.h"

struct bx_file_list {
    CBoxFileInfoList pub;
    CBoxFileInfo **items;
    size_t n, cap;
};

struct file_data {
    uint8_t *bytes;
    size_t len;
};

/* ---- one after another ---- */

static int64_t nanoseconds(const struct bx_rec_entry *e)
{
    int64_t ns;

    if (bx_mul_overflow(e->mtime_s, (int64_t)BX_SEC, &ns) || bx_add_overflow(ns, (int64_t)e->mtime_ns, &ns))
        return e->mtime_s < 0 ? INT64_MIN : INT64_MAX;
    return ns;
}

/* With its texts behind it, in one piece. */
static CBoxFileInfo *new_info(const struct bx_rec_entry *e)
{
    size_t name = strlen(e->name) + 1, link = strlen(e->link) + 1;
    CBoxFileInfo *info = calloc(1, sizeof(*info) + name + link);
    char *text = info ? (char *)(info + 1) : NULL;

    if (!info)
        return NULL;
    memcpy(text, e->name, name);
    memcpy(text + name, e->link, link);
    info->size = sizeof(*info);
    info->name = text;
    info->link_target = text + name;
    info->type = (int32_t)e->type;
    info->mode = e->mode;
    info->uid = e->uid;
    info->gid = e->gid;
    info->bytes = e->size;
    info->mtime_ns = nanoseconds(e);
    return info;
}

static int add_info(struct bx_files *f, const struct bx_rec_entry *e, struct bx_err *err)
{
    struct bx_file_list *l = f->list ? f->list : calloc(1, sizeof(*l));

    f->list = l;
    if (l && l->n == BX_FILES_LIST_MAX)
        return bx_fail(err, BX_ERESOURCE, 0,
                       "%.300s has more than %d entries: list it with a command in the box", f->msg.path,
                       BX_FILES_LIST_MAX);
    if (l && l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 64;
        CBoxFileInfo **grown = realloc(l->items, cap * sizeof(CBoxFileInfo *));

        if (!grown)
            return bx_fail(err, BX_ERESOURCE, ENOMEM, "list files");
        l->items = grown;
        l->cap = cap;
    }
    if (!l || !(l->items[l->n] = new_info(e)))
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "list files");
    l->n++;
    return 0;
}

static int add_data(struct bx_files *f, const struct bx_rec *rec, struct bx_err *err)
{
    if (rec->data.offset != f->msg.offset + bx_buf_len(&f->data))
        return bx_fail(err, BX_ERPC, 0, "the box sent a file with holes");
    if (bx_buf_add(&f->data, rec->data.bytes, rec->data.len) < 0)
        return bx_fail(err, BX_ERESOURCE, 0,
                       "%.300s has more than the %u bytes that a call brings: copy it, or read it in parts",
                       f->msg.path, BX_FILES_DATA_MAX);
    return 0;
}

/* Brings ENTRY DATA* CLOSE? */
static bool reads(uint32_t op)
{
    return op == BX_FILE_READ || op == BX_FILE_PROCESSES;
}

int bx_files_take_record(struct bx_files *f, const struct bx_rec *rec, struct bx_err *err)
{
    uint32_t op = f->msg.op;
    bool wanted = false;

    switch (rec->kind) {
    case BX_REC_ENTRY:
        wanted = reads(op) || ((op == BX_FILE_LIST || op == BX_FILE_STAT) &&
                                        (op == BX_FILE_LIST ? *rec->entry.name != '\0' : !f->list));
        if (wanted && !reads(op))
            return add_info(f, &rec->entry, err);
        break;
    case BX_REC_DATA:
        if (reads(op))
            return add_data(f, rec, err);
        break;
    case BX_REC_CLOSE:
        wanted = reads(op);
        break;
    case BX_REC_END:
        f->has_end = true;
        f->counts = rec->end.counts;
        (void)bx_rec_outcome(&rec->end, &f->end);
        return 0;
    case BX_REC_UP:
    default:
        break;
    }
    return wanted ? 0 : bx_fail(err, BX_ERPC, 0, "the box sent what was not asked for");
}

/* ---- the whole ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp((*(CBoxFileInfo *const *)a)->name, (*(CBoxFileInfo *const *)b)->name);
}

static void *list_result(struct bx_files *f)
{
    struct bx_file_list *l = f->list ? BX_TAKE_PTR(f->list) : calloc(1, sizeof(*l));

    if (!l)
        return NULL;
    if (l->n > 1)
        qsort(l->items, l->n, sizeof(CBoxFileInfo *), by_name);
    l->pub.items = (const CBoxFileInfo *const *)l->items;
    l->pub.count = (int)l->n;
    return l;
}

static void *data_result(struct bx_files *f)
{
    struct file_data *d = calloc(1, sizeof(*d));

    if (!d)
        return NULL;
    d->len = bx_buf_len(&f->data);
    d->bytes = malloc(d->len + 1);
    if (!d->bytes) {
        free(d);
        return NULL;
    }
    memcpy(d->bytes, bx_buf_data(&f->data), d->len);
    d->bytes[d->len] = '\0';
    return d;
}

static void *copy_result(const struct bx_files *f)
{
    CBoxCopyResult *r = calloc(1, sizeof(*r));

    if (r)
        *r = (CBoxCopyResult){.size = sizeof(*r),
                              .files = f->counts.files,
                              .folders = f->counts.folders,
                              .links = f->counts.links,
                              .bytes = f->counts.bytes,
                              .left_out = f->counts.left_out};
    return r;
}

static int processes_result(struct bx_files *f, struct bx_err *err)
{
    CBoxProcessList *list = NULL;
    char *text = bx_buf_take_str(&f->data);
    int r = text ? bx_processes_parse(text, f->counts.left_out, &list, err) : bx_fail(err, BX_ERESOURCE, ENOMEM, "list processes");

    free(text);
    f->op->result = list;
    return r;
}

int bx_files_result(struct bx_files *f, struct bx_err *err)
{
    struct bx_op *op = f->op;

    switch (op->kind) {
    case BX_OP_COPIED:
        op->result = copy_result(f);
        break;
    case BX_OP_FILE_DATA:
        op->result = data_result(f);
        break;
    case BX_OP_FILE_INFO:
        if (!f->list)
            return bx_fail(err, BX_ERPC, 0, "the box did not say what %.300s is", f->msg.path);
        op->result = BX_TAKE_PTR(f->list->items[0]);
        f->list->n = 0;
        break;
    case BX_OP_FILE_LIST:
        op->result = list_result(f);
        break;
    case BX_OP_PROCESSES:
        return processes_result(f, err);
    default:
        return 0;
    }
    return op->result ? 0 : bx_fail(err, BX_ERESOURCE, ENOMEM, "work on files");
}

void bx_file_list_free(struct bx_file_list *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i]);
    free(l->items);
    free(l);
}

void bx_files_result_free(enum bx_op_kind kind, void *result)
{
    struct file_data *d = result;

    if (kind == BX_OP_FILE_LIST) {
        bx_file_list_free(result);
        return;
    }
    if (kind == BX_OP_FILE_DATA && d)
        free(d->bytes);
    free(result);
}

void bx_files_call(struct bx_op *op, CBoxliteError *e)
{
    const struct file_data *d = op->result;

    switch (op->kind) {
    case BX_OP_FILE_DATA:
        op->cb.file_data(d ? d->bytes : NULL, d ? d->len : 0, e, op->ud);
        break;
    case BX_OP_FILE_INFO:
        op->cb.file_info(op->result, e, op->ud);
        break;
    case BX_OP_FILE_LIST:
        op->cb.file_list(op->result, e, op->ud);
        break;
    default:
        op->cb.copied(op->result, e, op->ud);
        break;
    }
    bx_files_result_free(op->kind, op->result);
}
