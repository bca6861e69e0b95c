/* crc64.c - two CRC-64 side by side, by isa-l. */
#include "codec/hash.h"

#include <isa-l/crc64.h>

void hash_crc64_pair(uint64_t crc[2], sv bytes)
{
    const unsigned char *p = (const unsigned char *)bytes.ptr;
    crc[0] = crc64_ecma_refl(crc[0], p, bytes.len);
    crc[1] = crc64_jones_refl(crc[1], p, bytes.len);
}
