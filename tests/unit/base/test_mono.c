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
        cmocka_unit_test(never_goes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
