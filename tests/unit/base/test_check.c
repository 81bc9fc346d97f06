#include "fixture.h"

#include "base/check.h"
#include "base/err.h"

static void add_term(void *arg, char *text, unsigned text_size)
{
    (void)snprintf(text, text_size, "term=%d", *(int *)arg);
}

static void fail_too(void *arg, char *text, unsigned text_size)
{
    (void)arg;
    (void)snprintf(text, text_size, "once");
    rd_assert(text_size == 0);
}

static void run_false(void *arg)
{
    int zero = 0;

    (void)arg;
    rd_assert(zero == 1);
}

static void run_with_context(void *arg)
{
    int term = 7;

    check_set_context(add_term, &term);
    run_false(arg);
}

static void run_with_failing_context(void *arg)
{
    check_set_context(fail_too, NULL);
    run_false(arg);
}

static void run_with_removed_context(void *arg)
{
    int term = 7;

    check_set_context(add_term, &term);
    check_set_context(NULL, NULL);
    run_false(arg);
}

static void true_is_silent(void **state)
{
    int evaluated = 0;

    (void)state;
    rd_assert(++evaluated == 1);
    assert_int_equal(evaluated, 1); /* once */
}

static void false_ends_the_process(void **state)
{
    struct child child;

    (void)state;
    child_run(&child, run_false, NULL);
    assert_int_equal(child.status, RD_EXIT_BUG);
    assert_non_null(strstr(child.text, "raftd: bug: assertion failed: zero == 1 at "));
    assert_non_null(strstr(child.text, "test_check.c:"));
    assert_non_null(strstr(child.text, " in run_false "));
    assert_int_equal(child.text[child.size - 1], '\n');
    child_run(&child, run_with_context, NULL);
    assert_int_equal(child.status, RD_EXIT_BUG);
    assert_non_null(strstr(child.text, " in run_false term=7\n"));
    child_run(&child, run_with_removed_context, NULL);
    assert_null(strstr(child.text, "term=7"));
}

static void a_failing_context_ends_it_too(void **state)
{
    struct child child;

    (void)state;
    child_run(&child, run_with_failing_context, NULL);
    assert_int_equal(child.status, RD_EXIT_BUG);
    assert_non_null(strstr(child.text, "text_size == 0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(true_is_silent),
        cmocka_unit_test(false_ends_the_process),
        cmocka_unit_test(a_failing_context_ends_it_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
