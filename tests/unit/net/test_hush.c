#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "net/hush.h"

static void once_a_minute_with_a_count(void **state)
{
    struct hush h = {0};
    uint64_t key = hush_key(2, "", -1);
    uint32_t suppressed = 99;

    (void)state;
    assert_true(hush_allows(&h, key, 1000, &suppressed));
    assert_int_equal(suppressed, 0);
    assert_false(hush_allows(&h, key, 1001, &suppressed));
    assert_false(hush_allows(&h, key, 1000 + HUSH_INTERVAL_MS - 1, &suppressed));
    assert_int_equal(suppressed, 0);
    assert_true(hush_allows(&h, key, 1000 + HUSH_INTERVAL_MS, &suppressed));
    assert_int_equal(suppressed, 2);
    assert_false(hush_allows(&h, key, 1000 + HUSH_INTERVAL_MS + 1, &suppressed));
}

static void keys_differ_by_peer_and_code(void **state)
{
    (void)state;
    assert_true(hush_key(1, "", -1) != hush_key(2, "", -1));
    assert_true(hush_key(1, "", -1) != hush_key(1, "", -2));
    assert_true(hush_key(0, "10.0.0.1", -1) != hush_key(0, "10.0.0.2", -1));
    assert_true(hush_key(1, "10.0.0.1", -1) == hush_key(1, "10.0.0.2", -1));
}

static void full_table_forgets_the_quietest(void **state)
{
    struct hush h = {0};
    uint32_t suppressed;

    (void)state;
    for (uint32_t i = 0; i < HUSH_ROWS; i++) {
        assert_true(hush_allows(&h, 1000 + i, i, &suppressed));
    }
    assert_false(hush_allows(&h, 1000, HUSH_ROWS, &suppressed)); /* now the second is quietest */
    assert_true(hush_allows(&h, 5000, HUSH_ROWS + 1, &suppressed));
    assert_false(hush_allows(&h, 1000, HUSH_ROWS + 2, &suppressed));
    assert_true(hush_allows(&h, 1001, HUSH_ROWS + 3, &suppressed));
    assert_int_equal(suppressed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(once_a_minute_with_a_count),
        cmocka_unit_test(keys_differ_by_peer_and_code),
        cmocka_unit_test(full_table_forgets_the_quietest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
