/* crc.h - checksums: CRC32C for bytes on disk, a 64-bit hash for chains and digests.
 * Neither resists an adversary. Threads: any. */
#ifndef RAFTD_BASE_CRC_H
#define RAFTD_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

/* CRC32C (Castagnoli) of bytes, continuing from `crc` (0 to begin). "123456789" -> e3069283. */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);

/* 64-bit hash of bytes under a seed. Stable: it is stored on disk. */
uint64_t hash64(uint64_t seed, const void *data, size_t size);

/* Mix one number into a hash. Stable. */
uint64_t hash64_mix(uint64_t hash, uint64_t value);

#endif
