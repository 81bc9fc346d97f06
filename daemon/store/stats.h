/* stats.h - numbers about commits. Pure. Threads: one at a time (loop thread). */
#ifndef RAFTD_STORE_STATS_H
#define RAFTD_STORE_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mono.h"

enum { STORE_LATENCY_KEPT = 1000 };

struct store_latency { /* of the last commits; all zero is empty */
    uint32_t us[STORE_LATENCY_KEPT];
    uint32_t count; /* in use */
    uint32_t next;  /* position of the oldest, once all are in use */
};

void store_latency_add(struct store_latency *l, uint64_t us);

/* Nearest rank: the smallest kept value that is not below `percent` (1..100) of them; 0: none. */
uint32_t store_latency_percentile(const struct store_latency *l, uint32_t percent);

/* How long the batch in flight has been, 0 when there is none. */
uint64_t store_outstanding_ms(bool in_flight, mono_ms submitted, mono_ms now);
bool store_is_stalled(uint64_t outstanding_ms, uint64_t timeout_ms);

#endif
