/* SPDX-License-Identifier: Apache-2.0 */
/* members.c - the members of an archive: lines to a table, and looking things up in it. */
#include "runtime/members.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "image/manifest.h"
#include "image/reference.h"

char *bx_word(char **line)
{
    char *word = *line, *space = strchr(word, ' ');

    if (space)
        *space++ = '\0';
    *line = space ? space : word + strlen(word);
    return word;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* %XX back to bytes, in place. */
static void decode_name(char *s)
{
    char *out = s;

    for (; *s; s++) {
        int high = s[0] == '%' ? hex_value(s[1]) : -1, low = high >= 0 ? hex_value(s[2]) : -1;

        if (low >= 0 && (high || low)) {
            *out++ = (char)(high << 4 | low);
            s += 2;
        } else {
            *out++ = *s;
        }
    }
    *out = '\0';
}

static struct bx_member *member_add(struct bx_members *m)
{
    struct bx_member *grown;
    size_t cap;

    if (m->count == m->cap) {
        cap = m->cap ? 2 * m->cap : 64;
        grown = realloc(m->items, cap * sizeof(*grown));
        if (!grown)
            return NULL;
        m->items = grown;
        m->cap = cap;
    }
    m->items[m->count] = (struct bx_member){0};
    return &m->items[m->count++];
}

/* OFFSET SIZE SHA256 NAME */
static int take_member(struct bx_members *m, char *rest, struct bx_err *err)
{
    struct bx_member *new = member_add(m);

    if (!new)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "the members of an archive");
    if (bx_parse_u64(bx_word(&rest), 0, INT64_MAX, &new->at) < 0 ||
        bx_parse_u64(bx_word(&rest), 0, INT64_MAX, &new->size) < 0)
        return bx_fail(err, BX_ERPC, 0, "boxlite-unpack told of a member without its place");
    snprintf(new->digest, sizeof(new->digest), "sha256:%.64s", bx_word(&rest));
    if (!bx_digest_valid(new->digest))
        return bx_fail(err, BX_ERPC, 0, "boxlite-unpack told of a member without its digest");
    new->name = bx_strf("%s", rest);
    if (!new->name)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "the members of an archive");
    decode_name(new->name);
    return 0;
}

/* NAME TARGET */
static int take_link(struct bx_members *m, char *rest, struct bx_err *err)
{
    struct bx_member *new = member_add(m);

    if (new) {
        new->name = bx_strf("%s", bx_word(&rest));
        new->link = bx_strf("%s", rest);
    }
    if (!new || !new->name || !new->link)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "the members of an archive");
    decode_name(new->name);
    decode_name(new->link);
    return 0;
}

int bx_members_parse(struct bx_members *m, const char *text, size_t len, struct bx_err *err)
{
    bx_cleanup_free char *copy = strndup(text, len);
    char *line, *next, *kind;
    int r = copy ? 0 : bx_fail(err, BX_ERESOURCE, ENOMEM, "the members of an archive");

    for (line = copy; r == 0 && line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        kind = bx_word(&line);
        if (bx_streq(kind, "member"))
            r = take_member(m, line, err);
        else if (bx_streq(kind, "link"))
            r = take_link(m, line, err);
    }
    return r;
}

void bx_members_done(struct bx_members *m)
{
    size_t i;

    for (i = 0; i < m->count; i++) {
        free(m->items[i].name);
        free(m->items[i].link);
    }
    free(m->items);
    *m = (struct bx_members){0};
}

const struct bx_member *bx_members_by_digest(const struct bx_members *m, const char *digest)
{
    size_t i;

    for (i = 0; i < m->count; i++)
        if (!m->items[i].link && bx_streq(m->items[i].digest, digest))
            return &m->items[i];
    return NULL;
}

static const char *plain_name(const char *name)
{
    while (name[0] == '.' && name[1] == '/')
        name += 2;
    return name;
}

const struct bx_member *bx_members_by_name(const struct bx_members *m, const char *name, bool through_link)
{
    const char *target;
    size_t i;

    for (i = 0; i < m->count; i++) {
        const struct bx_member *found = &m->items[i];

        if (!found->name || !bx_streq(plain_name(found->name), plain_name(name)))
            continue;
        if (!found->link)
            return found;
        if (!through_link)
            return NULL;
        target = found->link; /* of "<id>/layer.tar" it is "../<other id>/layer.tar" */
        if (bx_starts_with(target, "../") && strchr(found->name, '/'))
            target += 3;
        return bx_members_by_name(m, target, false);
    }
    return NULL;
}

int bx_members_read(int spool_fd, const struct bx_member *m, char **ret, struct bx_err *err)
{
    bx_cleanup_free char *text = NULL;
    int r;

    if (m->size > BX_IMAGE_JSON_MAX)
        return bx_fail(err, BX_EIMAGE, 0, "%.100s is larger than %u bytes", m->name, BX_IMAGE_JSON_MAX);
    text = malloc(m->size + 1);
    if (!text)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "read %.100s", m->name);
    r = bx_pread_full(spool_fd, text, m->size, (off_t)m->at);
    if (r < 0)
        return bx_fail(err, BX_ESTORAGE, -r, "read what was copied out of the archive");
    text[m->size] = '\0';
    *ret = BX_TAKE_PTR(text);
    return 0;
}
