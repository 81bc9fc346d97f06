#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "raftctl/lease.h"

static struct lease l;

static int begin(void **state)
{
    (void)state;
    lease_init(&l, 2000);
    return 0;
}

/* Asked at one time, answered at another. */
static enum lease_verdict ask(uint64_t asked, uint64_t answered, bool leads, uint64_t fence,
                              uint64_t remaining)
{
    struct lease_answer a = {.is_leader = leads, .fence = fence, .remaining_ms = remaining};

    lease_asked(&l, asked);
    return lease_answered(&l, &a, answered);
}

static void counts_from_when_it_was_asked(void **state)
{
    (void)state;
    assert_int_equal(ask(1000, 1090, true, 7, 400), LEASE_BEGINS);
    assert_int_equal(l.ends_at, 1400);
    assert_int_equal(lease_kill_at(&l), 1360);
    assert_int_equal(lease_term_at(&l), 1260);
    assert_int_equal(lease_due(&l), 1100);
}

static void asks_only_when_woken_while_it_does_not_lead(void **state)
{
    (void)state;
    assert_true(lease_due(&l) == UINT64_MAX);
    lease_wake(&l);
    assert_int_equal(lease_due(&l), 0);
    assert_int_equal(ask(1000, 1001, false, 6, 0), LEASE_NONE);
    assert_true(lease_due(&l) == UINT64_MAX);
    assert_int_equal(ask(1000, 1001, true, 0, 300), LEASE_NONE); /* no fence, no leadership */
    assert_true(lease_due(&l) == UINT64_MAX);
}

/* It would be told to end as soon as it began. */
static void does_not_begin_with_the_rest_of_a_lease(void **state)
{
    (void)state;
    assert_int_equal(ask(1000, 1300, true, 7, 400), LEASE_NONE);
    assert_int_equal(lease_due(&l), 1305);
    assert_int_equal(l.fence, 0);
    assert_int_equal(ask(1305, 1306, true, 7, 8), LEASE_NONE);
    assert_int_equal(ask(1400, 1401, true, 7, 200), LEASE_BEGINS);
    assert_int_equal(l.ends_at, 1600);
    assert_int_equal(lease_margin_ms(&l), 20); /* nothing of the tries before counts */
}

static void goes_on_with_each_answer(void **state)
{
    (void)state;
    assert_int_equal(ask(1000, 1001, true, 7, 300), LEASE_BEGINS);
    assert_int_equal(ask(1075, 1076, true, 7, 400), LEASE_GOES_ON);
    assert_int_equal(l.ends_at, 1475);
    assert_int_equal(lease_kill_at(&l), 1435);
    assert_int_equal(ask(1175, 1176, true, 7, 100), LEASE_GOES_ON);
    assert_int_equal(l.ends_at, 1475); /* what was told before stays good */
    assert_int_equal(lease_margin_ms(&l), 40);
    assert_int_equal(lease_due(&l), 1200);
}

static void keeps_a_pace(void **state)
{
    (void)state;
    assert_int_equal(ask(1000, 1001, true, 7, 400), LEASE_BEGINS);
    assert_int_equal(ask(1100, 1390, true, 7, 400), LEASE_GOES_ON);
    assert_int_equal(lease_due(&l), 1395);
    assert_int_equal(ask(1395, 1396, true, 7, 4), LEASE_GOES_ON);
    assert_int_equal(lease_due(&l), 1401);
}

/* One question at a time, and who wakes us in between hears of a later one. */
static void is_woken_while_it_asks(void **state)
{
    (void)state;
    assert_int_equal(ask(1000, 1001, true, 7, 400), LEASE_BEGINS);
    lease_asked(&l, 1100);
    assert_true(lease_due(&l) == UINT64_MAX);
    lease_wake(&l);
    assert_true(lease_due(&l) == UINT64_MAX);
    assert_int_equal(lease_answered(&l, &(struct lease_answer){true, 7, 400}, 1101), LEASE_GOES_ON);
    assert_int_equal(lease_due(&l), 0);
}

static void is_lost(void **state)
{
    static const struct lease_answer bad[] = {{false, 7, 0}, {true, 8, 400}, {true, 0, 400}};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)begin(state);
        assert_int_equal(ask(1000, 1001, true, 7, 400), LEASE_BEGINS);
        lease_asked(&l, 1100);
        assert_int_equal(lease_answered(&l, &bad[i], 1101), LEASE_LOST);
        assert_true(lease_due(&l) == UINT64_MAX);
        assert_int_equal(l.ends_at, 1400); /* until then it may stop */
        assert_int_equal(ask(1200, 1201, true, 7, 400), LEASE_LOST);
    }
    (void)begin(state);
    assert_int_equal(ask(1000, 1001, true, 7, 400), LEASE_BEGINS);
    lease_lose(&l);
    lease_wake(&l);
    assert_true(lease_due(&l) == UINT64_MAX);
}

static void small_and_large_leases(void **state)
{
    (void)state;
    assert_int_equal(ask(1000, 1001, true, 7, 24), LEASE_BEGINS);
    assert_int_equal(lease_kill_at(&l), 1000 + 24 - LEASE_MARGIN_MIN_MS);
    assert_int_equal(lease_term_at(&l), 1000 + 24 - LEASE_MARGIN_MIN_MS - 6);
    (void)begin(state);
    assert_int_equal(ask(0, 1, true, 7, 80000), LEASE_BEGINS);
    assert_int_equal(lease_kill_at(&l), 72000);
    assert_int_equal(lease_term_at(&l), 70000); /* it wants no more than its grace */
    (void)begin(state);
    assert_int_equal(ask(0, 0, true, 7, 3), LEASE_NONE); /* nothing is left below zero */
    assert_int_equal(lease_kill_at(&l), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(counts_from_when_it_was_asked, begin),
        cmocka_unit_test_setup(asks_only_when_woken_while_it_does_not_lead, begin),
        cmocka_unit_test_setup(does_not_begin_with_the_rest_of_a_lease, begin),
        cmocka_unit_test_setup(goes_on_with_each_answer, begin),
        cmocka_unit_test_setup(keeps_a_pace, begin),
        cmocka_unit_test_setup(is_woken_while_it_asks, begin),
        cmocka_unit_test_setup(is_lost, begin),
        cmocka_unit_test_setup(small_and_large_leases, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
