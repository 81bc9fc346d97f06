#include "base/mono.h"

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

struct timespec mono_wait_until(uint32_t ms)
{
    struct timespec t;

    rd_assert(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
    uint64_t ns = (uint64_t)t.tv_nsec + (uint64_t)ms * 1000000;
    t.tv_sec += (time_t)(ns / 1000000000);
    t.tv_nsec = (long)(ns % 1000000000);
    return t;
}
