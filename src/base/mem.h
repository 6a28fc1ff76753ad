/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mem.h - ownership helpers: cleanup attributes, taking, checked arithmetic, array sizes.
 *
 * A variable with a cleanup attribute is initialised at its declaration (pointers NULL,
 * descriptors -1); ownership leaves through BX_TAKE_PTR / BX_TAKE_FD.
 */
#ifndef BX_BASE_MEM_H
#define BX_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define BX_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define BX_CLEANUP(fn) __attribute__((cleanup(fn)))

/* Defines `fn_p(type *p)` which calls `fn(*p)` when *p is set, for BX_CLEANUP(fn_p). */
#define BX_DEFINE_CLEANUP(type, fn)                                                                 \
    static inline void fn##_p(type *p)                                                              \
    {                                                                                               \
        if (*p)                                                                                     \
            fn(*p);                                                                                 \
    }

static inline void bx_free_p(void *p)
{
    free(*(void **)p);
}

#define bx_cleanup_free BX_CLEANUP(bx_free_p)

#define BX_TAKE_PTR(p)                                                                              \
    ({                                                                                              \
        __typeof__(p) bx_taken_ = (p);                                                              \
        (p) = NULL;                                                                                 \
        bx_taken_;                                                                                  \
    })

#define BX_TAKE_FD(fd)                                                                              \
    ({                                                                                              \
        int bx_taken_ = (fd);                                                                       \
        (fd) = -1;                                                                                  \
        bx_taken_;                                                                                  \
    })

#define BX_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

/* Each use has names of its own, so that uses can nest without shadowing. */
#define BX_CAT_(a, b) a##b
#define BX_CAT(a, b) BX_CAT_(a, b)
#define BX_PICK_(a, op, b, x, y)                                                                    \
    ({                                                                                              \
        __typeof__(a) x = (a);                                                                      \
        __typeof__(b) y = (b);                                                                      \
        x op y ? x : y;                                                                             \
    })
#define BX_MIN(a, b) BX_PICK_(a, <, b, BX_CAT(bx_a_, __COUNTER__), BX_CAT(bx_b_, __COUNTER__))
#define BX_MAX(a, b) BX_PICK_(a, >, b, BX_CAT(bx_a_, __COUNTER__), BX_CAT(bx_b_, __COUNTER__))

/* Checked arithmetic for sizes that come from outside: true on overflow. */
#define bx_add_overflow(a, b, ret) __builtin_add_overflow((a), (b), (ret))
#define bx_mul_overflow(a, b, ret) __builtin_mul_overflow((a), (b), (ret))

#define BX_ALIGN_UP(n, a) ((((n) + (a)-1) / (a)) * (a))

/* Little-endian access at any alignment. */
static inline uint16_t bx_get_le16(const void *p)
{
    const uint8_t *b = p;
    return (uint16_t)(b[0] | b[1] << 8);
}
static inline uint32_t bx_get_le32(const void *p)
{
    const uint8_t *b = p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}
static inline void bx_put_le16(void *p, uint16_t v)
{
    uint8_t *b = p;
    b[0] = (uint8_t)v;
    b[1] = (uint8_t)(v >> 8);
}
static inline void bx_put_le32(void *p, uint32_t v)
{
    uint8_t *b = p;
    b[0] = (uint8_t)v;
    b[1] = (uint8_t)(v >> 8);
    b[2] = (uint8_t)(v >> 16);
    b[3] = (uint8_t)(v >> 24);
}

#endif
