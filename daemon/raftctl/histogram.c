#include "raftctl/histogram.h"

/* Below 64 each value has its bucket; from there each power of two is cut in 64 steps. */
static uint32_t bucket_of(uint64_t value)
{
    if (value < HISTOGRAM_STEPS) {
        return (uint32_t)value;
    }
    uint32_t shift = 63U - 6U - (uint32_t)__builtin_clzll(value);
    uint64_t bucket = (uint64_t)HISTOGRAM_STEPS * shift + (value >> shift);
    return bucket < HISTOGRAM_BUCKETS ? (uint32_t)bucket : HISTOGRAM_BUCKETS - 1;
}

static uint64_t bucket_end(uint32_t bucket)
{
    if (bucket < HISTOGRAM_STEPS) {
        return bucket;
    }
    uint32_t shift = bucket / HISTOGRAM_STEPS - 1;
    uint64_t step = bucket - HISTOGRAM_STEPS * shift;
    return ((step + 1) << shift) - 1;
}

void histogram_add(struct histogram *h, uint64_t value)
{
    h->count++;
    h->buckets[bucket_of(value)]++;
    if (value > h->max) {
        h->max = value;
    }
}

uint64_t histogram_at(const struct histogram *h, uint32_t per_mille)
{
    uint64_t wanted = h->count / 1000 * per_mille + (h->count % 1000 * per_mille + 999) / 1000;
    uint64_t seen = 0;

    if (wanted == 0) {
        wanted = 1; /* the smallest value */
    }
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= wanted) {
            /* The last bucket also holds what is beyond its end. */
            uint64_t end = i + 1 < HISTOGRAM_BUCKETS ? bucket_end(i) : h->max;
            return end < h->max ? end : h->max;
        }
    }
    return h->max;
}
