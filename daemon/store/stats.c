#include "store/stats.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

void store_latency_add(struct store_latency *l, uint64_t us)
{
    l->us[l->next] = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
    l->next = (l->next + 1) % STORE_LATENCY_KEPT;
    if (l->count < STORE_LATENCY_KEPT) {
        l->count++;
    }
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x;
    uint32_t y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

uint32_t store_latency_percentile(const struct store_latency *l, uint32_t percent)
{
    uint32_t sorted[STORE_LATENCY_KEPT];

    rd_assert(percent >= 1 && percent <= 100);
    if (l->count == 0) {
        return 0;
    }
    memcpy(sorted, l->us, l->count * sizeof sorted[0]);
    qsort(sorted, l->count, sizeof sorted[0], compare_u32);
    return sorted[(l->count * percent + 99) / 100 - 1];
}

uint64_t store_outstanding_ms(bool in_flight, mono_ms submitted, mono_ms now)
{
    return in_flight && now > submitted ? now - submitted : 0;
}

bool store_is_stalled(uint64_t outstanding_ms, uint64_t timeout_ms)
{
    return outstanding_ms > timeout_ms;
}
