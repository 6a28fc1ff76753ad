/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index_table.c - names and objects of the layer index: a hash table over (directory, name), sibling lists, removal.
 *
 * The hash is SipHash-1-3 with a random key: names come from strangers, and equal buckets would make a million names
 * quadratic. Nothing depends on the hash but the speed; order is always the order in which names came.
 */
#include "unpack/index_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/str.h"

#define FIRST_BUCKETS 4096

static uint64_t rotl(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1], v[1] = rotl(v[1], 13) ^ v[0], v[0] = rotl(v[0], 32);
    v[2] += v[3], v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = rotl(v[1], 17) ^ v[2], v[2] = rotl(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t m)
{
    v[3] ^= m;
    sip_round(v);
    v[0] ^= m;
}

static uint64_t hash_name(const uint64_t key[2], uint32_t dir, const char *name, size_t len)
{
    uint64_t v[4] = { key[0] ^ 0x736f6d6570736575ULL, key[1] ^ 0x646f72616e646f6dULL, key[0] ^ 0x6c7967656e657261ULL,
                      key[1] ^ 0x7465646279746573ULL };
    sip_word(v, (uint64_t)dir << 32 | (uint32_t)len);
    for (size_t at = 0; at < len; at += 8) {
        uint64_t m = 0;
        memcpy(&m, name + at, BX_MIN(len - at, (size_t)8));
        sip_word(v, m);
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint32_t *bucket_of(const struct bx_index *ix, uint32_t dir, const char *name, size_t len)
{
    return &ix->buckets[hash_name(ix->key, dir, name, len) & (ix->n_buckets - 1)];
}

static const char *name_of(const struct bx_index *ix, const struct entry *e)
{
    return bx_arena_at(&ix->bytes, e->name);
}

static int grow_buckets(struct bx_index *ix, struct bx_err *err)
{
    uint32_t n = ix->n_buckets ? ix->n_buckets * 2 : FIRST_BUCKETS;
    uint32_t *old = ix->buckets, old_n = ix->n_buckets;
    uint32_t *grown = calloc(n, sizeof(*grown));
    if (!grown)
        return bx_fail(err, BX_ERESOURCE, ENOMEM, "layer index");
    ix->buckets = grown;
    ix->n_buckets = n;
    for (uint32_t i = 0; i < old_n; i++) {
        for (uint32_t id = old[i], next; id; id = next) {
            struct entry *e = bx_entry(ix, id);
            next = e->chain;
            uint32_t *b = bucket_of(ix, e->parent, name_of(ix, e), e->name_len);
            e->chain = *b;
            *b = id;
        }
    }
    free(old);
    return 0;
}

int bx_index_table_init(struct bx_index *ix, struct bx_err *err)
{
    size_t max = (size_t)ix->opt.max_entries + 2;
    int r = bx_arena_init(&ix->entries, &ix->pool, max * sizeof(struct entry), err);
    if (r >= 0)
        r = bx_arena_init(&ix->objects, &ix->pool, max * sizeof(struct object), err);
    if (r >= 0) /* offsets are 32 bits; a name takes 255 bytes at most, attributes a few KiB now and then */
        r = bx_arena_init(&ix->bytes, &ix->pool, BX_MIN(max * 512 + (64U << 20), (size_t)3 << 30), err);
    if (r >= 0)
        r = grow_buckets(ix, err);
    if (r < 0)
        return r;
    /* ids count in units of the structures; unit 0 stays unused */
    ix->entries.used = sizeof(struct entry);
    ix->objects.used = sizeof(struct object);
    bx_random(ix->key, sizeof(ix->key));
    return 0;
}

bool bx_entry_is_dir(const struct bx_index *ix, uint32_t entry)
{
    return S_ISDIR(bx_entry_object(ix, entry)->mode);
}

uint32_t bx_index_lookup(const struct bx_index *ix, uint32_t dir, const char *name, size_t len)
{
    for (uint32_t id = *bucket_of(ix, dir, name, len); id; id = bx_entry(ix, id)->chain) {
        const struct entry *e = bx_entry(ix, id);
        if (e->parent == dir && e->name_len == len && memcmp(name_of(ix, e), name, len) == 0)
            return id;
    }
    return 0;
}

/* A unit of an arena that holds only these. */
static int take_unit(struct bx_arena *a, size_t size, uint32_t *ret, struct bx_err *err)
{
    size_t offset = 0;
    int r = bx_arena_alloc(a, size, 1, &offset, err);
    if (r >= 0)
        *ret = (uint32_t)(offset / size);
    return r;
}

int bx_index_new_object(struct bx_index *ix, uint32_t *ret, struct bx_err *err)
{
    uint32_t id = ix->free_object;
    if (id) {
        ix->free_object = bx_object(ix, id)->order;
        memset(bx_object(ix, id), 0, sizeof(struct object));
    } else {
        int r = take_unit(&ix->objects, sizeof(struct object), &id, err);
        if (r < 0)
            return r;
    }
    ix->n_objects++;
    *ret = id;
    return 0;
}

void bx_index_drop_new(struct bx_index *ix, uint32_t id)
{
    struct object *o = bx_object(ix, id);
    bx_assert(o->links == 0);
    o->order = ix->free_object;
    ix->free_object = id;
    ix->n_objects--;
}

static void append_sibling(struct bx_index *ix, uint32_t id)
{
    struct entry *e = bx_entry(ix, id);
    struct object *dir = bx_entry_object(ix, e->parent);
    e->prev = dir->u.dir.last;
    e->next = 0;
    if (e->prev)
        bx_entry(ix, e->prev)->next = id;
    else
        dir->u.dir.first = id;
    dir->u.dir.last = id;
    dir->u.dir.count++;
}

static void remove_sibling(struct bx_index *ix, uint32_t id)
{
    struct entry *e = bx_entry(ix, id);
    struct object *dir = bx_entry_object(ix, e->parent);
    if (e->prev)
        bx_entry(ix, e->prev)->next = e->next;
    else
        dir->u.dir.first = e->next;
    if (e->next)
        bx_entry(ix, e->next)->prev = e->prev;
    else
        dir->u.dir.last = e->prev;
    dir->u.dir.count--;
}

static int new_entry(struct bx_index *ix, const char *name, size_t len, uint32_t *ret, struct bx_err *err)
{
    size_t offset = 0;
    if (ix->n_names >= ix->opt.max_entries)
        return bx_fail(err, BX_EIMAGE, 0, "the image has more than %u files", ix->opt.max_entries);
    int r = ix->n_names >= ix->n_buckets ? grow_buckets(ix, err) : 0;
    if (r >= 0)
        r = bx_arena_alloc(&ix->bytes, len, 1, &offset, err);
    if (r < 0)
        return r;
    uint32_t id = ix->free_entry;
    if (id) {
        ix->free_entry = bx_entry(ix, id)->next;
        memset(bx_entry(ix, id), 0, sizeof(struct entry));
    } else {
        r = take_unit(&ix->entries, sizeof(struct entry), &id, err);
        if (r < 0)
            return r;
    }
    memcpy(bx_arena_at(&ix->bytes, offset), name, len);
    bx_entry(ix, id)->name = (uint32_t)offset;
    bx_entry(ix, id)->name_len = (uint8_t)len;
    *ret = id;
    return 0;
}

int bx_index_link(struct bx_index *ix, uint32_t dir, const char *name, size_t len, uint32_t object, uint32_t *ret,
                  struct bx_err *err)
{
    uint32_t id = 0;
    int r = new_entry(ix, name, len, &id, err);
    if (r < 0)
        return r;
    struct entry *e = bx_entry(ix, id);
    struct object *o = bx_object(ix, object);
    e->parent = dir;
    e->object = object;
    o->links++;
    ix->n_names++;
    if (S_ISDIR(o->mode)) {
        o->entry = id;
        o->depth = (uint16_t)(bx_entry_object(ix, dir)->depth + 1);
        bx_entry_object(ix, dir)->u.dir.subdirs++;
    }
    uint32_t *bucket = bucket_of(ix, dir, name, len);
    e->chain = *bucket;
    *bucket = id;
    append_sibling(ix, id);
    *ret = id;
    return 0;
}

static void drop_object(struct bx_index *ix, uint32_t id)
{
    struct object *o = bx_object(ix, id);
    if (--o->links > 0)
        return;
    if (S_ISREG(o->mode) && o->u.file.n_extents && ix->opt.release)
        ix->opt.release(ix->opt.user, bx_arena_at(&ix->bytes, o->u.file.extents), o->u.file.n_extents);
    bx_index_drop_new(ix, id);
}

/* Depth is bounded by BX_INDEX_DEPTH_MAX, so is the recursion. */
void bx_index_unlink(struct bx_index *ix, uint32_t id)
{
    struct entry *e = bx_entry(ix, id);
    if (bx_entry_is_dir(ix, id)) {
        for (uint32_t child = bx_entry_object(ix, id)->u.dir.first, next; child; child = next) {
            next = bx_entry(ix, child)->next;
            bx_index_unlink(ix, child);
        }
        bx_entry_object(ix, e->parent)->u.dir.subdirs--;
    }
    uint32_t *at = bucket_of(ix, e->parent, name_of(ix, e), e->name_len);
    while (*at != id)
        at = &bx_entry(ix, *at)->chain;
    *at = e->chain;
    remove_sibling(ix, id);
    drop_object(ix, e->object);
    memset(e, 0, sizeof(*e));
    e->next = ix->free_entry;
    ix->free_entry = id;
    ix->n_names--;
}

void bx_index_hide_lower(struct bx_index *ix, uint32_t id)
{
    if (!bx_entry_is_dir(ix, id))
        return;
    for (uint32_t child = bx_entry_object(ix, id)->u.dir.first, next; child; child = next) {
        next = bx_entry(ix, child)->next;
        if (bx_entry(ix, child)->touched != ix->layer)
            bx_index_unlink(ix, child);
        else
            bx_index_hide_lower(ix, child);
    }
}

void bx_index_touch(struct bx_index *ix, uint32_t id)
{
    while (bx_entry(ix, id)->touched != ix->layer) {
        bx_entry(ix, id)->touched = ix->layer;
        if (id == ROOT_ENTRY)
            break;
        id = bx_entry(ix, id)->parent;
    }
}
