/* SPDX-License-Identifier: Apache-2.0 */
/* rawsys.h - system calls without libc: nothing but registers is touched. For a child that shares its
 * parent's memory. */
#ifndef BX_GUEST_RAWSYS_H
#define BX_GUEST_RAWSYS_H

#include <stdint.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
static inline long bx_raw(long nr, long a, long b, long c, long d, long e)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    long ret;

    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return ret;
}
#elif defined(__aarch64__)
static inline long bx_raw(long nr, long a, long b, long c, long d, long e)
{
    register long x8 __asm__("x8") = nr;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;

    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    return x0;
}
#else
#error "raw system calls are not written for this processor"
#endif

#define bx_raw5(nr, a, b, c, d, e) bx_raw(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))
#define bx_raw4(nr, a, b, c, d)    bx_raw5(nr, a, b, c, d, 0)
#define bx_raw3(nr, a, b, c)       bx_raw5(nr, a, b, c, 0, 0)
#define bx_raw2(nr, a, b)          bx_raw5(nr, a, b, 0, 0, 0)
#define bx_raw1(nr, a)             bx_raw5(nr, a, 0, 0, 0, 0)
#define bx_raw0(nr)                bx_raw5(nr, 0, 0, 0, 0, 0)

#endif
