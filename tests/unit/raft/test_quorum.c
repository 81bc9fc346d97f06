/* quorum: the value a majority has reached, checked against counting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "raft/internal.h"

static void known_cases(void **state)
{
    (void)state;
    uint64_t one[] = {7};
    uint64_t two[] = {7, 3};
    uint64_t three[] = {1, 9, 5};
    uint64_t four[] = {4, 1, 3, 2};
    uint64_t same[] = {6, 6, 6, 6, 6};

    assert_int_equal(quorum_of(one, 1, 1), 7);
    assert_int_equal(quorum_of(two, 2, 2), 3);
    assert_int_equal(quorum_of(three, 3, 2), 5);
    assert_int_equal(quorum_of(four, 4, 3), 2);
    assert_int_equal(quorum_of(same, 5, 3), 6);
}

static void exactly_what_a_majority_reached(void **state)
{
    (void)state;
    struct prng p;

    prng_seed(&p, 4711);
    for (int round = 0; round < 20000; round++) {
        uint64_t values[RAFT_VOTERS_MAX];
        uint64_t sorted[RAFT_VOTERS_MAX];
        uint32_t count = (uint32_t)prng_range(&p, 1, RAFT_VOTERS_MAX + 1);
        uint32_t quorum = count / 2 + 1;
        for (uint32_t i = 0; i < count; i++) {
            values[i] = sorted[i] = prng_range(&p, 0, 6);
        }
        uint64_t reached = quorum_of(sorted, count, quorum);
        uint32_t at_least = 0;
        uint32_t above = 0;
        for (uint32_t i = 0; i < count; i++) {
            at_least += values[i] >= reached;
            above += values[i] > reached;
        }
        assert_true(at_least >= quorum);
        assert_true(above < quorum);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_cases),
        cmocka_unit_test(exactly_what_a_majority_reached),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
