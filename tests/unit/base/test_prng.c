#include "fixture.h"

#include "base/err.h"
#include "base/prng.h"

/* Failing simulations are repeated from their seed: these sequences must never change. */
static void sequences_are_golden(void **state)
{
    static const struct {
        uint64_t seed, numbers[4];
    } golden[] = {
        {0, {0x99ec5f36cb75f2b4U, 0xbf6e1f784956452aU, 0x1a5f849d4933e6e0U, 0x6aa594f1262d2d2cU}},
        {1, {0xb3f2af6d0fc710c5U, 0x853b559647364ceaU, 0x92f89756082a4514U, 0x642e1c7bc266a3a7U}},
        {UINT64_MAX,
         {0x8f5520d52a7ead08U, 0xc476a018caa1802dU, 0x81de31c0d260469eU, 0xbf658d7e065f3c2fU}}};
    struct prng p;

    (void)state;
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        prng_seed(&p, golden[i].seed);
        for (size_t n = 0; n < 4; n++) {
            assert_int_equal(prng_next(&p), golden[i].numbers[n]);
        }
    }
}

static void a_range_is_kept_and_filled(void **state)
{
    static const uint64_t golden[] = {12, 12, 19, 13, 16, 14};
    uint32_t seen[10] = {0};
    struct prng p;

    (void)state;
    prng_seed(&p, 42);
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        assert_int_equal(prng_range(&p, 10, 20), golden[i]);
    }
    for (int i = 0; i < 10000; i++) {
        uint64_t v = prng_range(&p, 10, 20);
        assert_in_range(v, 10, 19);
        seen[v - 10]++;
    }
    for (size_t i = 0; i < 10; i++) {
        assert_in_range(seen[i], 850, 1150);
    }
    assert_int_equal(prng_range(&p, 5, 6), 5);
    assert_true(prng_range(&p, UINT64_MAX - 1, UINT64_MAX) == UINT64_MAX - 1);
}

static void empty_range(void *arg)
{
    struct prng p;

    (void)arg;
    prng_seed(&p, 1);
    (void)prng_range(&p, 5, 5);
}

static void an_empty_range_is_a_bug(void **state)
{
    struct child child;

    (void)state;
    child_run(&child, empty_range, NULL);
    assert_int_equal(child.status, RD_EXIT_BUG);
}

static void chances_are_per_million(void **state)
{
    struct prng p;
    uint32_t hits = 0;

    (void)state;
    prng_seed(&p, 3);
    for (int i = 0; i < 100000; i++) {
        assert_false(prng_chance(&p, 0));
        assert_true(prng_chance(&p, 1000000));
        hits += prng_chance(&p, 250000);
    }
    assert_in_range(hits, 24000, 26000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_are_golden),
        cmocka_unit_test(a_range_is_kept_and_filled),
        cmocka_unit_test(an_empty_range_is_a_bug),
        cmocka_unit_test(chances_are_per_million),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
