/* progress: probing, the window, and answers that come late. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "raft/internal.h"

enum { WINDOW = 4 };

static const struct raft_member peer = {.id = 2, .role = RAFT_VOTER, .session = 1};

static void an_answer_at_the_probe_starts_the_pipeline(void **state)
{
    (void)state;
    struct progress p;

    progress_init(&p, &peer, 11, WINDOW, 100);
    p.probe_sent = true;
    assert_true(progress_acked(&p, 5, WINDOW, 101)); /* a heartbeat's answer: less than the probe */
    assert_int_equal(p.state, PROGRESS_PROBE);
    assert_int_equal(p.match, 5);
    assert_true(progress_acked(&p, 10, WINDOW, 102));
    assert_int_equal(p.state, PROGRESS_REPLICATE);
    assert_int_equal(p.next, 11);
    assert_int_equal(p.moved, 102);
    progress_done(&p);
}

static void the_window_counts_what_is_on_its_way(void **state)
{
    (void)state;
    struct progress p;

    progress_init(&p, &peer, 1, WINDOW, 0);
    (void)progress_acked(&p, 0, WINDOW, 0);
    for (raft_index i = 1; i <= WINDOW; i++) {
        progress_sent(&p, i * 10, 100, WINDOW, 0);
    }
    assert_int_equal(p.window_bytes, 400);
    assert_int_equal(p.next, 41);
    assert_true(progress_acked(&p, 25, WINDOW, 1)); /* frees 10 and 20, not 30 */
    assert_int_equal(p.window_count, 2);
    assert_int_equal(p.window_bytes, 200);
    progress_sent(&p, 50, 7, WINDOW, 0); /* wraps */
    progress_sent(&p, 60, 7, WINDOW, 0);
    assert_int_equal(p.window_count, 4);
    assert_true(progress_acked(&p, 60, WINDOW, 2));
    assert_int_equal(p.window_count, 0);
    assert_int_equal(p.window_bytes, 0);
    progress_done(&p);
}

static void match_never_goes_back(void **state)
{
    (void)state;
    struct progress p;

    progress_init(&p, &peer, 1, WINDOW, 0);
    assert_true(progress_acked(&p, 30, WINDOW, 5));
    assert_false(progress_acked(&p, 20, WINDOW, 6));
    assert_int_equal(p.match, 30);
    assert_int_equal(p.moved, 5);
    assert_int_equal(p.next, 31);
    progress_done(&p);
}

static void probing_forgets_the_window(void **state)
{
    (void)state;
    struct progress p;

    progress_init(&p, &peer, 1, WINDOW, 0);
    (void)progress_acked(&p, 8, WINDOW, 0);
    progress_sent(&p, 20, 100, WINDOW, 0);
    progress_probe(&p);
    assert_int_equal(p.state, PROGRESS_PROBE);
    assert_int_equal(p.next, 9);
    assert_int_equal(p.window_count, 0);
    assert_int_equal(p.window_bytes, 0);
    assert_false(p.probe_sent);
    progress_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_at_the_probe_starts_the_pipeline),
        cmocka_unit_test(the_window_counts_what_is_on_its_way),
        cmocka_unit_test(match_never_goes_back),
        cmocka_unit_test(probing_forgets_the_window),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
