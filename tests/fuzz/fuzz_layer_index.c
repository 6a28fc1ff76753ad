/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layer index under any sequence of entries. The input is a program: each operation is a byte, its names are made of a
 * small alphabet (so that they meet) or are raw bytes. Afterwards the tree must be consistent, and all data that was
 * given must either belong to a file or have been released.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "unpack/index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ENTRIES_MAX 60

struct input {
    const uint8_t *p;
    size_t left;
};

static uint8_t take(struct input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->p++;
}

static const char *const words[] = { "a", "b", "c", "d", "lib", ".", "..", "", ".wh.a", ".wh.b", ".wh.", ".wh..", ".wh..wh..opq",
                                     ".wh..wh.plnk", "lost+found", "e" };

/* A path of up to eight words, or raw bytes. */
static void make_path(struct input *in, char *ret, size_t size)
{
    uint8_t how = take(in);
    size_t n = 0, count = how & 7;
    if (how & 0x80)
        ret[n++] = '/';
    if (how & 0x40) {
        count = take(in);
        while (n + 1 < size && count-- > 0) {
            uint8_t c = take(in);
            ret[n++] = (char)(c ? c : '/');
        }
    } else {
        for (size_t i = 0; i <= count; i++) {
            const char *word = words[take(in) % BX_ARRAY_SIZE(words)];
            size_t len = strlen(word);
            if (n + len + 2 > size)
                break;
            memcpy(ret + n, word, len);
            n += len;
            if (i < count)
                ret[n++] = '/';
        }
    }
    ret[n] = 0;
}

static void count_released(void *user, const struct bx_ext4_extent *extents, size_t n)
{
    uint64_t *released = user;
    for (size_t i = 0; i < n; i++)
        *released += extents[i].count;
}

static int apply(struct bx_index *ix, struct input *in, uint64_t *given)
{
    static const uint16_t types[] = { S_IFREG, S_IFDIR, S_IFLNK, S_IFREG, S_IFIFO, S_IFCHR, 0, S_IFDIR };
    char path[300], target[300];
    uint8_t op = take(in);
    uint32_t file = 0;
    if ((op & 0x38) == 0x38)
        return bx_index_begin_layer(ix, NULL);
    struct bx_ext4_xattr x = { "user.a", 6, "value", 5 };
    struct bx_index_item item = {
        .path = path,
        .mode = types[op & 7] | (op >> 3),
        .hardlink = (op & 7) == 3,
        .xattrs = &x,
        .n_xattrs = op >> 7,
    };
    make_path(in, path, sizeof(path));
    if ((op & 7) == 2 || item.hardlink) {
        make_path(in, target, sizeof(target));
        item.target = target;
    }
    struct bx_err err = BX_ERR_INIT;
    int r = bx_index_add(ix, &item, &file, &err);
    if (r < 0 && (r != -err.code || !err.msg[0]))
        abort(); /* every refusal has its words */
    if (r >= 0 && file) {
        struct bx_ext4_extent e[2] = { { 0, 1, 7 }, { 3, 2, 9 } };
        size_t n = op >> 6;
        n = n > 2 ? 2 : n;
        if (bx_index_set_data(ix, file, 5 * 4096, e, n, NULL) < 0)
            abort();
        for (size_t i = 0; i < n; i++)
            *given += e[i].count;
    }
    return r;
}

/* Data that belongs to files of the finished tree. */
static uint64_t walk(struct bx_index *ix)
{
    uint64_t held = 0;
    uint32_t last = 0, objects = 0;
    static struct bx_ext4_dirent children[ENTRIES_MAX + 8];
    struct bx_ext4_xattr xattrs[2];
    for (uint32_t o = bx_index_first(ix); o; o = bx_index_next(ix, o)) {
        struct bx_index_object x;
        bx_index_get(ix, o, &x);
        bx_index_get_xattrs(ix, o, xattrs);
        if (x.ino <= last)
            abort();
        last = x.ino;
        objects++;
        for (size_t i = 0; i < x.n_extents; i++)
            held += x.extents[i].count;
        if (x.n_children) {
            bx_index_get_children(ix, o, children);
            for (uint32_t i = 0; i < x.n_children; i++)
                if (children[i].ino == 0 || children[i].name_len == 0 || memchr(children[i].name, '/', children[i].name_len))
                    abort();
        }
    }
    if (objects != bx_index_objects(ix))
        abort();
    return held;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = { data, size };
    struct bx_index *ix = NULL;
    uint64_t released = 0, given = 0;
    struct bx_index_options o = {
        .max_entries = ENTRIES_MAX,
        .memory_limit = 16 << 20,
        .scratch_fd = -1,
        .release = count_released,
        .user = &released,
    };
    if (bx_index_new(&o, &ix, NULL) < 0)
        abort();
    bx_index_begin_layer(ix, NULL);
    while (in.left > 0)
        apply(ix, &in, &given);
    if (!bx_index_check(ix))
        abort();
    if (bx_index_number(ix, NULL) >= 0 && walk(ix) + released != given)
        abort();
    bx_index_free(ix);
    return 0;
}
