/* SPDX-License-Identifier: Apache-2.0 */
/* Anybody's bytes as a question and as an answer: what is read is canonical and within bounds, and can be answered. */
#include <string.h>

#include "base/err.h"
#include "net/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t addrs[BX_DNS_ADDRS_MAX];
    uint8_t out[BX_DNS_MAX];
    char again[BX_HOST_NAME_MAX + 1];
    struct bx_dns_question q;
    struct bx_dns_answer a;
    size_t n;
    int r = bx_dns_read_question(data, size, &q);

    if (r >= 0) {
        bx_assert(q.end >= BX_DNS_HEADER && q.end <= size);
        n = bx_dns_write_code(data, &q, (unsigned)r, out);
        bx_assert(n == q.end);
    }
    if (r == 0) {
        n = bx_dns_write_addrs(data, &q, addrs, BX_DNS_ADDRS_MAX, 1, out);
        bx_assert(n <= BX_DNS_MAX && bx_dns_truncate(&q, out, n) <= n);
        if (q.name[0])
            bx_assert(bx_name_canonical(q.name, strlen(q.name), again) == 0 && strcmp(q.name, again) == 0);
    }
    if (bx_dns_read_answer(data, size, "a.de", BX_DNS_A, 0, &a) == 0)
        bx_assert(a.n <= BX_DNS_ADDRS_MAX);
    return 0;
}
