#include "fixture.h"

#include <string.h>

#include "base/similar.h"

static void assert_distance(const char *a, const char *b, uint32_t expected)
{
    assert_int_equal(similar_distance(a, b), expected);
    assert_int_equal(similar_distance(b, a), expected);
}

static void slips(void **state)
{
    (void)state;
    assert_distance("", "", 0);
    assert_distance("", "abc", 3);
    assert_distance("status", "status", 0);
    assert_distance("status", "statu", 1);
    assert_distance("status", "sttatus", 1);
    assert_distance("status", "stutus", 1);
    assert_distance("status", "sattus", 1); /* neighbours swapped */
    assert_distance("ca", "abc", 3);        /* no letter takes part in two slips */
    assert_distance("kitten", "sitting", 3);
    assert_distance("Status", "status", 1);
    assert_distance("abc", "xyz", 3);
}

static void long_words(void **state)
{
    char a[3 * SIMILAR_WORD_MAX + 1], b[3 * SIMILAR_WORD_MAX + 1];

    (void)state;
    memset(a, 'a', sizeof a - 1);
    a[sizeof a - 1] = 0;
    memcpy(b, a, sizeof b);
    b[SIMILAR_WORD_MAX] = 0;
    assert_distance(b, b, 0);
    assert_distance(a, b, 2 * SIMILAR_WORD_MAX);
    b[SIMILAR_WORD_MAX] = 'a';
    b[SIMILAR_WORD_MAX + 1] = 0;
    b[SIMILAR_WORD_MAX - 1] = 'b';
    assert_distance(b, "", SIMILAR_WORD_MAX + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slips),
        cmocka_unit_test(long_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
