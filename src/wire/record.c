/* SPDX-License-Identifier: Apache-2.0 */
/* record.c - see record.h. */
#include "wire/record.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

#define ENTRY_FIXED 40
#define END_FIXED   48
#define NSEC_MAX    999999999u

static uint64_t get_le64(const uint8_t *p)
{
    return (uint64_t)bx_get_le32(p + 4) << 32 | bx_get_le32(p);
}

static void put_le64(uint8_t *p, uint64_t v)
{
    bx_put_le32(p, (uint32_t)v);
    bx_put_le32(p + 4, (uint32_t)(v >> 32));
}

static int malformed(const char *why, struct bx_err *err)
{
    return bx_fail(err, BX_ERPC, 0, "malformed record of a file: %s", why);
}

bool bx_rec_name_valid(const char *name)
{
    size_t len = strnlen(name, BX_REC_NAME_MAX + 1);

    return len > 0 && len <= BX_REC_NAME_MAX && !memchr(name, '/', len) && !bx_streq(name, ".") &&
           !bx_streq(name, "..");
}

static const char *entry_wrong(const struct bx_rec_entry *e)
{
    if (e->type < BX_FILE_REGULAR || e->type > BX_FILE_OTHER)
        return "type";
    if (e->mode > 07777)
        return "mode";
    if (e->size > INT64_MAX)
        return "size";
    if (e->mtime_ns > NSEC_MAX)
        return "time";
    if (*e->name && !bx_rec_name_valid(e->name))
        return "name";
    if (strnlen(e->link, BX_REC_LINK_MAX + 1) > BX_REC_LINK_MAX ||
        (e->type == BX_FILE_LINK) != (*e->link != '\0'))
        return "link";
    return NULL;
}

/* ---- reading ---- */

/* A text with its NUL at the front of *at; NULL when there is none. */
static const char *take_text(const uint8_t **at, const uint8_t *end)
{
    const uint8_t *start = *at, *nul = memchr(start, '\0', (size_t)(end - start));

    if (!nul)
        return NULL;
    *at = nul + 1;
    return (const char *)start;
}

static int parse_entry(const uint8_t *p, size_t len, struct bx_rec_entry *e, struct bx_err *err)
{
    const uint8_t *at = p + ENTRY_FIXED, *end = p + len;
    const char *wrong;

    if (len < ENTRY_FIXED + 2)
        return malformed("it is too short", err);
    if (p[1] || p[2] || p[3] || bx_get_le32(p + 36))
        return malformed("reserved bytes", err);
    *e = (struct bx_rec_entry){
        .type = (enum bx_file_type)p[0],
        .mode = bx_get_le32(p + 4),
        .uid = bx_get_le32(p + 8),
        .gid = bx_get_le32(p + 12),
        .size = get_le64(p + 16),
        .mtime_s = (int64_t)get_le64(p + 24),
        .mtime_ns = bx_get_le32(p + 32),
        .name = take_text(&at, end),
    };
    e->link = e->name ? take_text(&at, end) : NULL;
    if (!e->link || at != end)
        return malformed("its texts", err);
    wrong = entry_wrong(e);
    return wrong ? malformed(wrong, err) : 0;
}

static int parse_end(const uint8_t *p, size_t len, struct bx_rec_end *e, struct bx_err *err)
{
    const uint8_t *at = p + END_FIXED, *end = p + len;

    if (len < END_FIXED + 1)
        return malformed("it is too short", err);
    *e = (struct bx_rec_end){
        .code = bx_get_le32(p),
        .sys_errno = bx_get_le32(p + 4),
        .counts = {.files = get_le64(p + 8),
                   .folders = get_le64(p + 16),
                   .links = get_le64(p + 24),
                   .bytes = get_le64(p + 32),
                   .left_out = get_le64(p + 40)},
        .text = take_text(&at, end),
    };
    if (!e->text || at != end || strlen(e->text) >= BX_ERR_MSG_MAX)
        return malformed("its text", err);
    return 0;
}

static int parse_data(const uint8_t *p, size_t len, struct bx_rec *r, struct bx_err *err)
{
    if (len < 9)
        return malformed("data without data", err);
    r->data.offset = get_le64(p);
    r->data.bytes = p + 8;
    r->data.len = len - 8;
    if (r->data.offset > INT64_MAX - r->data.len)
        return malformed("offset", err);
    return 0;
}

static int parse_close(const uint8_t *p, size_t len, struct bx_rec *r, struct bx_err *err)
{
    if (len != 8 || get_le64(p) > INT64_MAX)
        return malformed("size", err);
    r->size = get_le64(p);
    return 0;
}

int bx_rec_parse(const uint8_t *data, size_t len, struct bx_rec *ret, struct bx_err *err)
{
    const uint8_t *p = data + BX_REC_HEAD;
    struct bx_rec r;
    uint32_t n;
    int failed;

    if (len < BX_REC_HEAD)
        return 0;
    n = bx_get_le32(data + 4);
    if (data[1] || data[2] || data[3] || n > BX_REC_PAYLOAD_MAX)
        return malformed("head", err);
    if (data[0] < BX_REC_ENTRY || data[0] > BX_REC_END)
        return malformed("kind", err);
    if (len - BX_REC_HEAD < n)
        return 0;
    r.kind = (enum bx_rec_kind)data[0];
    switch (r.kind) {
    case BX_REC_ENTRY:
        failed = parse_entry(p, n, &r.entry, err);
        break;
    case BX_REC_DATA:
        failed = parse_data(p, n, &r, err);
        break;
    case BX_REC_CLOSE:
        failed = parse_close(p, n, &r, err);
        break;
    case BX_REC_END:
        failed = parse_end(p, n, &r.end, err);
        break;
    case BX_REC_UP:
    default:
        failed = n > 0 ? malformed("payload", err) : 0;
        break;
    }
    if (failed)
        return failed;
    *ret = r;
    return (int)(BX_REC_HEAD + n);
}

/* ---- writing ---- */

static uint8_t *begin(struct bx_buf *b, enum bx_rec_kind kind, size_t len)
{
    uint8_t *p = bx_buf_reserve(b, BX_REC_HEAD + len);

    if (!p)
        return NULL;
    memset(p, 0, BX_REC_HEAD + len);
    p[0] = (uint8_t)kind;
    bx_put_le32(p + 4, (uint32_t)len);
    return p + BX_REC_HEAD;
}

static int commit(struct bx_buf *b, size_t len)
{
    bx_buf_commit(b, BX_REC_HEAD + len);
    return 0;
}

int bx_rec_put_entry(struct bx_buf *b, const struct bx_rec_entry *e)
{
    size_t name = strlen(e->name) + 1, link = strlen(e->link) + 1, len = ENTRY_FIXED + name + link;
    uint8_t *p;

    if (entry_wrong(e))
        return -EINVAL;
    p = begin(b, BX_REC_ENTRY, len);
    if (!p)
        return -ENOMEM;
    p[0] = (uint8_t)e->type;
    bx_put_le32(p + 4, e->mode);
    bx_put_le32(p + 8, e->uid);
    bx_put_le32(p + 12, e->gid);
    put_le64(p + 16, e->size);
    put_le64(p + 24, (uint64_t)e->mtime_s);
    bx_put_le32(p + 32, e->mtime_ns);
    memcpy(p + ENTRY_FIXED, e->name, name);
    memcpy(p + ENTRY_FIXED + name, e->link, link);
    return commit(b, len);
}

int bx_rec_put_close(struct bx_buf *b, uint64_t size)
{
    uint8_t *p = begin(b, BX_REC_CLOSE, 8);

    if (!p)
        return -ENOMEM;
    put_le64(p, size);
    return commit(b, 8);
}

int bx_rec_put_up(struct bx_buf *b)
{
    return begin(b, BX_REC_UP, 0) ? commit(b, 0) : -ENOMEM;
}

int bx_rec_put_end(struct bx_buf *b, const struct bx_rec_end *end)
{
    size_t text = strnlen(end->text, BX_ERR_MSG_MAX - 1), len = END_FIXED + text + 1;
    uint8_t *p = begin(b, BX_REC_END, len);

    if (!p)
        return -ENOMEM;
    bx_put_le32(p, end->code);
    bx_put_le32(p + 4, end->sys_errno);
    put_le64(p + 8, end->counts.files);
    put_le64(p + 16, end->counts.folders);
    put_le64(p + 24, end->counts.links);
    put_le64(p + 32, end->counts.bytes);
    put_le64(p + 40, end->counts.left_out);
    memcpy(p + END_FIXED, end->text, text);
    return commit(b, len);
}

void bx_rec_data_head(uint8_t dst[BX_REC_DATA_HEAD], uint64_t offset, size_t len)
{
    memset(dst, 0, BX_REC_HEAD);
    dst[0] = BX_REC_DATA;
    bx_put_le32(dst + 4, (uint32_t)(len + 8));
    put_le64(dst + BX_REC_HEAD, offset);
}

int bx_rec_put_outcome(struct bx_buf *b, const struct bx_err *err, const struct bx_rec_counts *counts)
{
    struct bx_rec_end end = {.code = (uint32_t)err->code,
                             .sys_errno = (uint32_t)err->sys_errno,
                             .counts = *counts,
                             .text = err->msg};

    return bx_rec_put_end(b, &end);
}

int bx_rec_outcome(const struct bx_rec_end *end, struct bx_err *err)
{
    int code = end->code < BX_ECODE_MAX ? (int)end->code : BX_ERPC;

    if (code == 0)
        return 0;
    if (err) {
        *err = (struct bx_err){.code = code, .sys_errno = end->sys_errno <= 4095 ? (int)end->sys_errno : 0};
        bx_str_printable(err->msg, sizeof(err->msg), end->text, strlen(end->text));
    }
    return -code;
}
