/* Tests of stats.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/stats.h"

static void percentiles_of_nothing_and_of_one(void **state)
{
    struct store_latency l = {0};

    (void)state;
    assert_int_equal(store_latency_percentile(&l, 50), 0);
    store_latency_add(&l, 7);
    assert_int_equal(store_latency_percentile(&l, 1), 7);
    assert_int_equal(store_latency_percentile(&l, 99), 7);
    assert_int_equal(store_latency_percentile(&l, 100), 7);
}

static void percentiles_by_nearest_rank(void **state)
{
    struct store_latency l = {0};

    (void)state;
    for (uint32_t us = 200; us > 0; us--) { /* the order does not matter */
        store_latency_add(&l, us);
    }
    assert_int_equal(store_latency_percentile(&l, 50), 100);
    assert_int_equal(store_latency_percentile(&l, 99), 198);
    assert_int_equal(store_latency_percentile(&l, 100), 200);
}

static void old_values_leave(void **state)
{
    struct store_latency l = {0};

    (void)state;
    for (uint32_t i = 0; i < STORE_LATENCY_KEPT; i++) {
        store_latency_add(&l, 1000000);
    }
    for (uint32_t i = 1; i < STORE_LATENCY_KEPT; i++) {
        store_latency_add(&l, 5);
    }
    assert_int_equal(l.count, STORE_LATENCY_KEPT);
    assert_int_equal(store_latency_percentile(&l, 99), 5);
    assert_int_equal(store_latency_percentile(&l, 100), 1000000);
    store_latency_add(&l, 6);
    assert_int_equal(store_latency_percentile(&l, 100), 6);
}

static void huge_values_are_capped(void **state)
{
    struct store_latency l = {0};

    (void)state;
    store_latency_add(&l, UINT64_MAX);
    assert_int_equal(store_latency_percentile(&l, 50), UINT32_MAX);
}

static void outstanding_counts_only_in_flight(void **state)
{
    (void)state;
    assert_int_equal(store_outstanding_ms(false, 100, 5000), 0);
    assert_int_equal(store_outstanding_ms(true, 100, 5000), 4900);
    assert_int_equal(store_outstanding_ms(true, 100, 100), 0);
    assert_int_equal(store_outstanding_ms(true, 101, 100), 0); /* never wraps */
}

static void stalled_is_longer_than_the_timeout(void **state)
{
    (void)state;
    assert_false(store_is_stalled(0, 2000));
    assert_false(store_is_stalled(2000, 2000));
    assert_true(store_is_stalled(2001, 2000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_of_nothing_and_of_one),
        cmocka_unit_test(percentiles_by_nearest_rank),
        cmocka_unit_test(old_values_leave),
        cmocka_unit_test(huge_values_are_capped),
        cmocka_unit_test(outstanding_counts_only_in_flight),
        cmocka_unit_test(stalled_is_longer_than_the_timeout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
