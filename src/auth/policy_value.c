/* policy_value.c - values of conditions that are no text: ranges of addresses, and times.
 *
 * A range is read once, when the policy is. An IPv4 address counts as the IPv6 address that holds
 * it (::ffff:0:0/96), so a caller who comes over either is found by both forms.
 * Source: IAM User Guide, "IP address condition operators" and "Date condition operators". */
#include "auth/policy_private.h"

#include "codec/instant.h"

#include <arpa/inet.h>

#define V4_BITS 96u /* of ::ffff:0:0/96 */

/* *bits: how many an address of this kind has, and where they begin. */
static bool address_read(sv text, unsigned char out[16], unsigned *bits)
{
    static const unsigned char v4_in_v6[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF };
    char c[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof c || memchr(text.ptr, 0, text.len))
        return false;
    memcpy(c, text.ptr, text.len);
    c[text.len] = 0;
    if (inet_pton(AF_INET6, c, out) == 1) {
        *bits = 128;
        return true;
    }
    memcpy(out, v4_in_v6, sizeof v4_in_v6);
    *bits = 32;
    return inet_pton(AF_INET, c, out + sizeof v4_in_v6) == 1;
}

bool policy_net_read(sv text, struct policy_net *out)
{
    size_t slash = sv_find(text, '/');
    unsigned all;
    uint64_t n;
    struct policy_net net;
    if (!address_read(sv_head(text, slash), net.address, &all))
        return false;
    n = all;
    if (slash < text.len && (!sv_to_u64(sv_tail(text, slash + 1), &n) || n > all))
        return false;
    net.bits = (unsigned)n + (all == 32 ? V4_BITS : 0);
    *out = net;
    return true;
}

bool policy_is_address(sv text)
{
    struct policy_net net;
    return policy_net_read(text, &net);
}

bool policy_net_holds(const struct policy_net *net, const struct policy_net *address)
{
    unsigned whole = net->bits / 8, rest = net->bits % 8;
    if (memcmp(net->address, address->address, whole) != 0)
        return false;
    unsigned mask = 0xFFu << (8 - rest) & 0xFF;
    return rest == 0 || ((net->address[whole] ^ address->address[whole]) & mask) == 0;
}

bool policy_time_read(sv text, int64_t *out_ms)
{
    char whole[20];
    uint64_t s;
    /* seconds since 1970 */
    if (text.len <= 12 && sv_to_u64(text, &s)) {
        *out_ms = (int64_t)s * 1000;
        return true;
    }
    if (text.len != 10)
        return instant_parse(text, out_ms);
    /* a day is its begin */
    memcpy(whole, text.ptr, 10);
    memcpy(whole + 10, "T00:00:00Z", 10);
    return instant_parse(sv_make(whole, sizeof whole), out_ms);
}
