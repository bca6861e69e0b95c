/* rng.c - random bytes come from the kernel, and ids are made of them. A thread fetches the bytes
 * of 32 UUIDs at once, because every request gets one; a byte is wiped when it is given out. */
#include "base/rng.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

void rng_bytes(void *out, size_t len)
{
    char *p = out;
    while (len) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            abort();
        }
        p += n;
        len -= (size_t)n;
    }
}

uint64_t rng_u64(void)
{
    uint64_t v;
    rng_bytes(&v, sizeof v);
    return v;
}

static char *put_hex(char *out, const unsigned char *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    return out;
}

void rng_hex32(char out[33])
{
    unsigned char b[16];
    rng_bytes(b, sizeof b);
    *put_hex(out, b, 16) = 0;
}

/* Every request gets a name: random bytes for 32 of them are fetched at once, by each thread. */
static void uuid_bytes(unsigned char out[16])
{
    static _Thread_local unsigned char pool[512];
    static _Thread_local size_t left;
    if (left == 0) {
        rng_bytes(pool, sizeof pool);
        left = sizeof pool;
    }
    left -= 16;
    memcpy(out, pool + left, 16);
    memset(pool + left, 0, 16);
}

void rng_uuid(char out[37])
{
    unsigned char b[16];
    uuid_bytes(b);
    b[6] = (unsigned char)((b[6] & 0x0F) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3F) | 0x80);
    char *p = put_hex(out, b, 4);
    *p++ = '-';
    p = put_hex(p, b + 4, 2);
    *p++ = '-';
    p = put_hex(p, b + 6, 2);
    *p++ = '-';
    p = put_hex(p, b + 8, 2);
    *p++ = '-';
    *put_hex(p, b + 10, 6) = 0;
}
