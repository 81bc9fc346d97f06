/* Tests of holders.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "raftd/holders.h"

static void test_the_last_one_releases_all(void **state)
{
    struct holders h = {0};

    (void)state;
    assert_true(holders_hold(&h, 1, 100, 500));
    assert_true(holders_hold(&h, 2, 100, 500));
    assert_false(holders_release(&h, 1, 200));
    assert_true(holders_release(&h, 2, 200));
    holders_done(&h);
}

/* A stranger's word says nothing of what others hold. */
static void test_who_holds_nothing_releases_nothing(void **state)
{
    struct holders h = {0};

    (void)state;
    assert_true(holders_hold(&h, 1, 100, 500));
    assert_false(holders_release(&h, 7, 200));
    assert_false(holders_release(&h, 7, 499));
    assert_false(holders_release(&h, 7, 500));
    assert_true(holders_release(&h, 7, 501)); /* it has lapsed */
    holders_done(&h);
}

/* Each answer counts until it lapses, whatever the next one says. */
static void test_the_youngest_claim_counts(void **state)
{
    struct holders h = {0};

    (void)state;
    assert_true(holders_hold(&h, 1, 100, 500));
    assert_true(holders_hold(&h, 1, 150, 400));
    assert_false(holders_release(&h, 2, 450));
    assert_true(holders_hold(&h, 1, 300, 600));
    assert_false(holders_release(&h, 2, 599));
    holders_done(&h);
}

static void test_too_many_are_told_apart_from_holders(void **state)
{
    struct holders h = {0};

    (void)state;
    for (uint64_t i = 1; i <= HOLDERS_MAX; i++) {
        assert_true(holders_hold(&h, i, 100, 500));
    }
    assert_false(holders_hold(&h, HOLDERS_MAX + 1, 499, 800));
    assert_true(holders_hold(&h, 3, 499, 800));                /* a known one goes on */
    assert_false(holders_hold(&h, HOLDERS_MAX + 1, 500, 800)); /* within the last millisecond */
    assert_true(holders_hold(&h, HOLDERS_MAX + 1, 501, 800));  /* the others have lapsed */
    assert_int_equal(h.count, 2);
    holders_done(&h);
}

static void test_until_the_last_millisecond(void **state)
{
    struct holders h = {0};

    (void)state;
    assert_int_equal(holders_due(&h, 100), UINT64_MAX);
    assert_true(holders_hold(&h, 1, 100, 500));
    assert_true(holders_hold(&h, 2, 100, 300));
    assert_true(holders_is_holding(&h, 2, 300));
    assert_int_equal(holders_due(&h, 300), 301);
    assert_int_equal(holders_alive(&h, 300), 2);
    assert_int_equal(holders_alive(&h, 301), 1);
    assert_false(holders_is_holding(&h, 2, 301));
    assert_int_equal(holders_due(&h, 301), 501);
    assert_false(holders_release(&h, 2, 301));
    assert_true(holders_is_holding(&h, 1, 500));
    assert_false(holders_is_holding(&h, 2, 100));
    assert_true(holders_release(&h, 1, 400));
    assert_int_equal(holders_due(&h, 400), UINT64_MAX);
    holders_done(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_last_one_releases_all),
        cmocka_unit_test(test_who_holds_nothing_releases_nothing),
        cmocka_unit_test(test_the_youngest_claim_counts),
        cmocka_unit_test(test_until_the_last_millisecond),
        cmocka_unit_test(test_too_many_are_told_apart_from_holders),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
