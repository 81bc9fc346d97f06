#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "raftctl/histogram.h"

static struct histogram h;

static int clear(void **state)
{
    (void)state;
    memset(&h, 0, sizeof h);
    return 0;
}

static void empty_says_zero(void **state)
{
    (void)state;
    assert_int_equal(histogram_at(&h, 500), 0);
    assert_int_equal(h.count, 0);
}

static void small_values_are_exact(void **state)
{
    (void)state;
    for (uint64_t v = 1; v <= 100; v++) {
        histogram_add(&h, v <= 63 ? v : 63);
    }
    assert_int_equal(histogram_at(&h, 0), 1);
    assert_int_equal(histogram_at(&h, 10), 1);
    assert_int_equal(histogram_at(&h, 500), 50);
    assert_int_equal(histogram_at(&h, 990), 63);
}

static void large_values_are_within_the_step(void **state)
{
    (void)state;
    for (uint64_t v = 1; v <= 100000; v++) {
        histogram_add(&h, v);
    }
    uint64_t p50 = histogram_at(&h, 500);
    uint64_t p99 = histogram_at(&h, 990);
    assert_in_range(p50, 50000, 50000 + 50000 / 63);
    assert_in_range(p99, 99000, 99000 + 99000 / 63);
    assert_int_equal(histogram_at(&h, 1000), 100000);
    assert_int_equal(h.max, 100000);
}

/* Every value counts in a bucket that holds it: alone, each percentile is the value itself. */
static void one_value_is_itself(void **state)
{
    (void)state;
    for (uint32_t bit = 0; bit < 64; bit++) {
        uint64_t v = (1ULL << bit) + (bit > 3 ? 5 : 0);
        memset(&h, 0, sizeof h);
        histogram_add(&h, v);
        assert_true(histogram_at(&h, 500) == v);
    }
}

static void what_is_beyond_the_last_bucket_counts(void **state)
{
    (void)state;
    histogram_add(&h, 10);
    histogram_add(&h, UINT64_MAX);
    assert_int_equal(histogram_at(&h, 500), 10);
    assert_true(histogram_at(&h, 990) == UINT64_MAX);
}

static void one_slow_in_a_thousand_is_beyond_p99(void **state)
{
    (void)state;
    for (int i = 0; i < 999; i++) {
        histogram_add(&h, 20);
    }
    histogram_add(&h, 5000000);
    assert_int_equal(histogram_at(&h, 990), 20);
    assert_int_equal(histogram_at(&h, 999), 20);
    assert_int_equal(h.max, 5000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(empty_says_zero, clear),
        cmocka_unit_test_setup(small_values_are_exact, clear),
        cmocka_unit_test_setup(large_values_are_within_the_step, clear),
        cmocka_unit_test_setup(one_value_is_itself, clear),
        cmocka_unit_test_setup(what_is_beyond_the_last_bucket_counts, clear),
        cmocka_unit_test_setup(one_slow_in_a_thousand_is_beyond_p99, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
