/* prng.h - seeded random numbers (xoshiro256**, Blackman and Vigna 2018): one seed, one sequence.
 * Not for secrets. Threads: one generator, one thread. */
#ifndef RAFTD_BASE_PRNG_H
#define RAFTD_BASE_PRNG_H

#include <stdbool.h>
#include <stdint.h>

struct prng {
    uint64_t s[4];
};

void prng_seed(struct prng *p, uint64_t seed);
uint64_t prng_next(struct prng *p);
uint64_t prng_range(struct prng *p, uint64_t low, uint64_t high); /* low <= result < high */
bool prng_chance(struct prng *p, uint32_t per_million);

#endif
