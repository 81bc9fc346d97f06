#include "base/mono.h"

#include <time.h>

#include "base/check.h"

static uint64_t clock_us(clockid_t id)
{
    struct timespec ts;

    rd_assert(clock_gettime(id, &ts) == 0);
    return (uint64_t)ts.tv_sec * 1000000U + (uint64_t)ts.tv_nsec / 1000U;
}

mono_ms mono_now_ms(void)
{
    return clock_us(CLOCK_BOOTTIME) / 1000U;
}

uint64_t mono_now_us(void)
{
    return clock_us(CLOCK_BOOTTIME);
}

uint64_t mono_wall_ms(void)
{
    return clock_us(CLOCK_REALTIME) / 1000U;
}
