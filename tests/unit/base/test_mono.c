#include "fixture.h"

#include <time.h>

#include "base/mono.h"

static uint64_t system_us(clockid_t id)
{
    struct timespec ts;

    assert_int_equal(clock_gettime(id, &ts), 0);
    return (uint64_t)ts.tv_sec * 1000000U + (uint64_t)ts.tv_nsec / 1000U;
}

/* Between two readings of the same clock of the system. */
static void follows_the_boot_clock(void **state)
{
    (void)state;
    uint64_t before = system_us(CLOCK_BOOTTIME);
    uint64_t us = mono_now_us();
    mono_ms ms = mono_now_ms();
    uint64_t after = system_us(CLOCK_BOOTTIME);
    assert_in_range(us, before, after);
    assert_in_range(ms, before / 1000, after / 1000);
}

static void the_wall_clock_is_apart(void **state)
{
    (void)state;
    uint64_t before = system_us(CLOCK_REALTIME) / 1000;
    uint64_t wall = mono_wall_ms();
    uint64_t after = system_us(CLOCK_REALTIME) / 1000;
    assert_in_range(wall, before, after);
}

static void a_wait_ends_so_much_later(void **state)
{
    static const uint32_t waits[] = {0, 1, 999, 1000, 1001, UINT32_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        uint64_t before = system_us(CLOCK_MONOTONIC);
        struct timespec until = mono_wait_until(waits[i]);
        uint64_t after = system_us(CLOCK_MONOTONIC);
        uint64_t us = (uint64_t)until.tv_sec * 1000000 + (uint64_t)until.tv_nsec / 1000;
        assert_in_range(until.tv_nsec, 0, 999999999);
        assert_in_range(us, before + waits[i] * UINT64_C(1000), after + waits[i] * UINT64_C(1000));
    }
}

static void never_goes_back(void **state)
{
    uint64_t last = mono_now_us();

    (void)state;
    for (int i = 0; i < 10000; i++) {
        uint64_t now = mono_now_us();
        assert_true(now >= last);
        last = now;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_boot_clock),
        cmocka_unit_test(the_wall_clock_is_apart),
        cmocka_unit_test(a_wait_ends_so_much_later),
        cmocka_unit_test(never_goes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
