/* SPDX-License-Identifier: Apache-2.0 */
/*
 * walk.h - what a tree has, in lines that can be compared: written by walk.c (through a kernel: on a host, in a box) and by
 * walk_ext4.c (straight from a file system's blocks).
 *
 *   PATH TYPE MODE UID:GID SEC.NSEC SIZE LINKS INODE MAJOR:MINOR CONTENT XATTRS
 *
 * separated by tabs. PATH, and CONTENT of a symbolic link, with %XX for all but plain letters; CONTENT of a file is its SHA-256; "-" for
 * what a type does not have. XATTRS are NAME=HEX, sorted, separated by commas. Order is that of the directory.
 */
#ifndef BX_TESTS_IMAGES_WALK_H
#define BX_TESTS_IMAGES_WALK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct walk_entry {
    const char *path;
    uint16_t mode;
    uint32_t uid;
    uint32_t gid;
    int64_t sec;
    uint32_t nsec;
    uint64_t size;
    uint32_t links;
    uint64_t ino;
    uint32_t major;
    uint32_t minor;
    char sha256[65];
    const char *target;
    const char *xattrs; /* as printed */
};

/* ---- text ---- */

static inline void walk_put_encoded(FILE *f, const char *s, size_t len)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-+:@~,=()[]{}#!$&'*;<>?^`|";
    for (size_t i = 0; i < len; i++) {
        if (s[i] && strchr(plain, s[i]))
            fputc(s[i], f);
        else
            fprintf(f, "%%%02X", (unsigned char)s[i]);
    }
}

static inline const char *walk_type(uint16_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "file";
    case S_IFDIR:
        return "dir";
    case S_IFLNK:
        return "link";
    case S_IFCHR:
        return "char";
    case S_IFBLK:
        return "block";
    case S_IFIFO:
        return "fifo";
    case S_IFSOCK:
        return "socket";
    default:
        return "unknown";
    }
}

static inline void walk_print(const struct walk_entry *e)
{
    uint16_t type = e->mode & S_IFMT;
    walk_put_encoded(stdout, e->path, strlen(e->path));
    printf("\t%s\t%04o\t%u:%u\t%lld.%09u\t", walk_type(e->mode), e->mode & 07777, e->uid, e->gid, (long long)e->sec, e->nsec);
    if (type == S_IFREG)
        printf("%llu", (unsigned long long)e->size);
    else
        putchar('-');
    printf("\t%u\t%llu\t%u:%u\t", e->links, (unsigned long long)e->ino, e->major, e->minor);
    if (type == S_IFREG)
        fputs(e->sha256, stdout);
    else if (type == S_IFLNK)
        walk_put_encoded(stdout, e->target, strlen(e->target));
    else
        putchar('-');
    printf("\t%s\n", e->xattrs && *e->xattrs ? e->xattrs : "-");
}

/* ---- extended attributes: collected, sorted, joined ---- */

struct walk_xattrs {
    char **items;
    size_t n;
};

static inline int walk_xattr_add(struct walk_xattrs *x, const char *name, const void *value, size_t len)
{
    char *text = NULL;
    size_t size = 0;
    char **grown = realloc(x->items, (x->n + 1) * sizeof(*grown));
    FILE *f = grown ? open_memstream(&text, &size) : NULL;
    if (grown)
        x->items = grown;
    if (!f)
        return -1;
    walk_put_encoded(f, name, strlen(name));
    fputc('=', f);
    for (size_t i = 0; i < len; i++)
        fprintf(f, "%02x", ((const unsigned char *)value)[i]);
    fclose(f);
    x->items[x->n++] = text;
    return 0;
}

static inline int walk_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Ends the collection; the caller frees. */
static inline char *walk_xattrs_join(struct walk_xattrs *x)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (x->n)
        qsort(x->items, x->n, sizeof(*x->items), walk_compare);
    for (size_t i = 0; i < x->n; i++) {
        if (f)
            fprintf(f, "%s%s", i ? "," : "", x->items[i]);
        free(x->items[i]);
    }
    free(x->items);
    *x = (struct walk_xattrs){ 0 };
    if (f)
        fclose(f);
    return text;
}

/* ---- SHA-256 (FIPS 180-4): the walker in a box is static and has no library ---- */

struct walk_sha {
    uint32_t h[8];
    uint8_t block[64];
    size_t have;
    uint64_t total;
};

static inline void walk_sha_block(struct walk_sha *s, const uint8_t *p)
{
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
        0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
        0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
        0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
        0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
        0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    };
    uint32_t w[64], a = s->h[0], b = s->h[1], c = s->h[2], d = s->h[3], e = s->h[4], f = s->h[5], g = s->h[6], h = s->h[7], t;
#define WALK_ROR(x, n) ((x) >> (n) | (x) << (32 - (n)))
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + (WALK_ROR(w[i - 15], 7) ^ WALK_ROR(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
               (WALK_ROR(w[i - 2], 17) ^ WALK_ROR(w[i - 2], 19) ^ w[i - 2] >> 10);
    /* Eight rounds after each other bring every variable back to its place: nothing is moved. */
#define WALK_ROUND(a, b, c, d, e, f, g, h, i)                                                                     \
    t = (h) + (WALK_ROR(e, 6) ^ WALK_ROR(e, 11) ^ WALK_ROR(e, 25)) + ((g) ^ ((e) & ((f) ^ (g)))) + k[i] + w[i];   \
    (d) += t;                                                                                                     \
    (h) = t + (WALK_ROR(a, 2) ^ WALK_ROR(a, 13) ^ WALK_ROR(a, 22)) + (((a) & (b)) | ((c) & ((a) | (b))))
    for (int i = 0; i < 64; i += 8) {
        WALK_ROUND(a, b, c, d, e, f, g, h, i);
        WALK_ROUND(h, a, b, c, d, e, f, g, i + 1);
        WALK_ROUND(g, h, a, b, c, d, e, f, i + 2);
        WALK_ROUND(f, g, h, a, b, c, d, e, i + 3);
        WALK_ROUND(e, f, g, h, a, b, c, d, i + 4);
        WALK_ROUND(d, e, f, g, h, a, b, c, i + 5);
        WALK_ROUND(c, d, e, f, g, h, a, b, i + 6);
        WALK_ROUND(b, c, d, e, f, g, h, a, i + 7);
    }
#undef WALK_ROUND
#undef WALK_ROR
    const uint32_t add[8] = { a, b, c, d, e, f, g, h };
    for (int i = 0; i < 8; i++)
        s->h[i] += add[i];
}

static inline void walk_sha_begin(struct walk_sha *s)
{
    static const uint32_t h[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
    memcpy(s->h, h, sizeof(h));
    s->have = 0;
    s->total = 0;
}

static inline void walk_sha_add(struct walk_sha *s, const void *data, size_t len)
{
    const uint8_t *p = data;
    s->total += len;
    while (len > 0) {
        if (s->have == 0 && len >= 64) {
            walk_sha_block(s, p);
            p += 64;
            len -= 64;
            continue;
        }
        size_t n = 64 - s->have < len ? 64 - s->have : len;
        memcpy(s->block + s->have, p, n);
        s->have += n;
        p += n;
        len -= n;
        if (s->have == 64) {
            walk_sha_block(s, s->block);
            s->have = 0;
        }
    }
}

static inline void walk_sha_end(struct walk_sha *s, char ret[65])
{
    uint64_t bits = s->total * 8;
    uint8_t pad[72] = { 0x80 }, size[8];
    size_t n = s->have < 56 ? 56 - s->have : 120 - s->have;
    for (int i = 0; i < 8; i++)
        size[i] = (uint8_t)(bits >> (56 - 8 * i));
    walk_sha_add(s, pad, n);
    walk_sha_add(s, size, 8);
    for (int i = 0; i < 8; i++)
        snprintf(ret + (size_t)(8 * i), 9, "%08x", s->h[i]);
}

#endif
