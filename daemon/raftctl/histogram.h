/* histogram.h - latencies in log-linear buckets: each is at most 1/64 (1.6 %) wide, none is lost.
 * Threads: one. Plain data, zero-initialised is empty; 19 KiB. */
#ifndef RAFTD_RAFTCTL_HISTOGRAM_H
#define RAFTD_RAFTCTL_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_STEPS = 64, HISTOGRAM_BUCKETS = 38 * HISTOGRAM_STEPS };

struct histogram {
    uint64_t count;
    uint64_t max; /* exact */
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t value);

/* The smallest value that at least `per_mille` of a thousand values do not exceed, rounded up to
 * its bucket's end and never above the largest value seen. 0 when empty. */
uint64_t histogram_at(const struct histogram *h, uint32_t per_mille);

#endif
