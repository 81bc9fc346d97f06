/* progress: probing, the window, catch-up rounds, and answers that come late. */
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

/* Catch-up rounds (thesis 4.2.1): a round is over when it has all that there was at its beginning. */
static void a_round_counts_from_its_beginning(void **state)
{
    (void)state;
    struct progress p;

    progress_init(&p, &peer, 11, WINDOW, 100); /* there are ten entries */
    (void)progress_acked(&p, 9, WINDOW, 150);
    progress_round(&p, 20, 150);
    assert_int_equal(p.had_all_at, 0); /* not yet */
    (void)progress_acked(&p, 10, WINDOW, 200);
    progress_round(&p, 30, 200); /* meanwhile there are thirty */
    assert_int_equal(p.had_all_at, 100);
    (void)progress_acked(&p, 29, WINDOW, 300);
    progress_round(&p, 40, 300);
    assert_int_equal(p.had_all_at, 100); /* the second round is not over */
    (void)progress_acked(&p, 40, WINDOW, 350);
    progress_round(&p, 40, 350);
    assert_int_equal(p.had_all_at, 200);
    progress_round(&p, 40, 360); /* nothing is written: each answer is a round */
    assert_int_equal(p.had_all_at, 350);
    progress_done(&p);
}

/* What is behind may be sent again; what was acknowledged stays so. */
static void probing_does_not_undo_a_round(void **state)
{
    (void)state;
    struct progress p;

    progress_init(&p, &peer, 11, WINDOW, 100);
    (void)progress_acked(&p, 10, WINDOW, 200);
    progress_round(&p, 12, 200);
    progress_probe(&p);
    assert_int_equal(p.had_all_at, 100);
    progress_round(&p, 12, 250); /* an answer that brings nothing */
    assert_int_equal(p.had_all_at, 100);
    (void)progress_acked(&p, 12, WINDOW, 260);
    progress_round(&p, 12, 260);
    assert_int_equal(p.had_all_at, 200);
    progress_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_at_the_probe_starts_the_pipeline),
        cmocka_unit_test(the_window_counts_what_is_on_its_way),
        cmocka_unit_test(match_never_goes_back),
        cmocka_unit_test(probing_forgets_the_window),
        cmocka_unit_test(a_round_counts_from_its_beginning),
        cmocka_unit_test(probing_does_not_undo_a_round),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
