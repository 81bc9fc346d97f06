#include "base/crc.h"

#include <endian.h>
#include <string.h>

/* For processors without the instruction: four bits at a time, in a table small enough to be read
 * here. Reflected polynomial 0x82f63b78; row n is n shifted out through it. */
static uint32_t crc_table(uint32_t crc, const uint8_t *p, size_t size)
{
    static const uint32_t table[16] = {0x00000000U, 0x105ec76fU, 0x20bd8edeU, 0x30e349b1U,
                                       0x417b1dbcU, 0x5125dad3U, 0x61c69362U, 0x7198540dU,
                                       0x82f63b78U, 0x92a8fc17U, 0xa24bb5a6U, 0xb21572c9U,
                                       0xc38d26c4U, 0xd3d3e1abU, 0xe330a81aU, 0xf36e6f75U};

    while (size--) {
        crc ^= *p++;
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t crc, const uint8_t *p,
                                                            size_t size)
{
    uint64_t c = crc;

    for (; size >= 8; size -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        c = __builtin_ia32_crc32di(c, word);
    }
    crc = (uint32_t)c;
    while (size--) {
        crc = __builtin_ia32_crc32qi(crc, *p++);
    }
    return crc;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) {
        return ~crc_sse42(~crc, data, size);
    }
#endif
    return ~crc_table(~crc, data, size);
}

/* The finalizer of MurmurHash3 (Appleby): every bit of the input reaches every bit of the output.
 */
static uint64_t avalanche(uint64_t h)
{
    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdU;
    h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53U;
    return h ^ (h >> 33);
}

uint64_t hash64_mix(uint64_t hash, uint64_t value)
{
    return avalanche(hash ^ avalanche(value + 0x9e3779b97f4a7c15U)) + 0x165667b19e3779f9U;
}

uint64_t hash64(uint64_t seed, const void *data, size_t size)
{
    const uint8_t *p = data;
    uint64_t h = hash64_mix(seed, size);

    for (; size >= 8; size -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        h = hash64_mix(h, le64toh(word));
    }
    if (size) {
        uint64_t word = 0;
        memcpy(&word, p, size);
        h = hash64_mix(h, le64toh(word));
    }
    return h;
}
