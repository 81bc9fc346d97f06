#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "build.h"
#include "state/window.h"

#define GOLDEN_WINDOW_DIGEST 0x338a29ee29c70759U

static struct request_id request(uint32_t node, uint64_t incarnation, uint64_t seq, uint64_t floor)
{
    return (struct request_id){node, incarnation, seq, floor};
}

/* A result that can be told from every other. */
static struct state_result result_of(uint64_t n)
{
    return (struct state_result){.succeeded = true,
                                 .revision = n,
                                 .index = 1000 + n,
                                 .term = 7,
                                 .actual = 3000 + n,
                                 .deleted = (uint32_t)n};
}

static enum window_verdict check(const struct window_set *set, struct request_id id)
{
    struct state_result unused;

    return window_check(set, &id, &unused);
}

static uint64_t add(struct window_set *set, struct request_id id)
{
    struct state_result result = result_of(id.seq);

    return window_add(set, &id, &result);
}

static void first_result_is_given_again(void **unused)
{
    struct window_set set;
    struct request_id id = request(1, 1, 5, 5);
    struct state_result r = {0};

    (void)unused;
    window_set_init(&set);
    assert_int_equal(window_check(&set, &id, &r), WINDOW_NEW);
    assert_false(r.repeated); /* untouched */
    assert_int_equal(add(&set, id), 5);
    assert_int_equal(window_check(&set, &id, &r), WINDOW_REPEATED);
    assert_true(r.repeated);
    assert_true(r.succeeded);
    assert_int_equal(r.revision, 5);
    assert_int_equal(r.index, 1005);
    assert_int_equal(r.term, 7);
    assert_int_equal(r.actual, 3005);
    assert_int_equal(r.deleted, 5);
    window_set_done(&set);
}

static void below_the_floor_is_dropped_and_forgotten(void **unused)
{
    struct window_set set;

    (void)unused;
    window_set_init(&set);
    add(&set, request(1, 1, 1, 1));
    add(&set, request(1, 1, 2, 1));
    add(&set, request(1, 1, 3, 1));
    assert_int_equal(check(&set, request(1, 1, 2, 1)), WINDOW_REPEATED);
    assert_int_equal(add(&set, request(1, 1, 4, 3)), 3);
    assert_int_equal(check(&set, request(1, 1, 1, 1)), WINDOW_DROPPED);
    assert_int_equal(check(&set, request(1, 1, 2, 1)), WINDOW_DROPPED);
    assert_int_equal(check(&set, request(1, 1, 3, 1)), WINDOW_REPEATED);
    assert_int_equal(check(&set, request(1, 1, 4, 3)), WINDOW_REPEATED);
    /* a floor of its own above it says the same */
    assert_int_equal(check(&set, request(1, 1, 5, 6)), WINDOW_DROPPED);
    assert_int_equal(check(&set, request(9, 1, 5, 6)), WINDOW_DROPPED);
    window_set_done(&set);
}

static void late_requests_do_not_move_the_floor_back(void **unused)
{
    struct window_set set;

    (void)unused;
    window_set_init(&set);
    assert_int_equal(add(&set, request(1, 1, 10, 8)), 8);
    assert_int_equal(add(&set, request(1, 1, 9, 2)), 8);
    assert_int_equal(check(&set, request(1, 1, 7, 2)), WINDOW_DROPPED);
    assert_int_equal(check(&set, request(1, 1, 8, 2)), WINDOW_NEW);
    window_set_done(&set);
}

static void incarnations_reset_and_are_left_behind(void **unused)
{
    struct window_set set;

    (void)unused;
    window_set_init(&set);
    add(&set, request(1, 4, 100, 90));
    assert_int_equal(check(&set, request(1, 3, 101, 90)), WINDOW_DROPPED);
    assert_int_equal(check(&set, request(1, 3, 100, 90)), WINDOW_DROPPED);
    assert_int_equal(check(&set, request(1, 5, 1, 1)), WINDOW_NEW);
    assert_int_equal(add(&set, request(1, 5, 1, 1)), 1); /* the floor starts afresh */
    assert_int_equal(check(&set, request(1, 5, 1, 1)), WINDOW_REPEATED);
    assert_int_equal(check(&set, request(1, 5, 100, 90)), WINDOW_NEW); /* not that of before */
    assert_int_equal(check(&set, request(1, 4, 100, 90)), WINDOW_DROPPED);
    window_set_done(&set);
}

static void span_is_bounded(void **unused)
{
    struct window_set set;
    const uint64_t max = STATE_WINDOW_MAX;

    (void)unused;
    window_set_init(&set);
    assert_int_equal(check(&set, request(1, 1, 0, 0)), WINDOW_INVALID);
    assert_int_equal(check(&set, request(1, 1, max + 1, 1)), WINDOW_INVALID);
    assert_int_equal(check(&set, request(1, 1, UINT64_MAX, 1)), WINDOW_INVALID);
    assert_int_equal(check(&set, request(1, 1, max, 1)), WINDOW_NEW);
    add(&set, request(1, 1, max, 1));
    for (uint64_t seq = 1; seq < max; seq++) { /* all of them open at once, last one first */
        assert_int_equal(check(&set, request(1, 1, seq, 1)), WINDOW_NEW);
        add(&set, request(1, 1, seq, 1));
    }
    for (uint64_t seq = 1; seq <= max; seq++) {
        struct request_id id = request(1, 1, seq, 1);
        struct state_result r;
        assert_int_equal(window_check(&set, &id, &r), WINDOW_REPEATED);
        assert_int_equal(r.revision, seq);
    }
    assert_int_equal(check(&set, request(1, 1, max + 1, 1)), WINDOW_INVALID);
    assert_int_equal(check(&set, request(1, 1, max + 1, 2)), WINDOW_NEW);
    assert_int_equal(add(&set, request(1, 1, max + 1, 2)), 2);
    assert_int_equal(check(&set, request(1, 1, UINT64_MAX, UINT64_MAX)), WINDOW_NEW);
    assert_true(add(&set, request(1, 1, UINT64_MAX, UINT64_MAX)) == UINT64_MAX);
    assert_int_equal(check(&set, request(1, 1, UINT64_MAX, UINT64_MAX)), WINDOW_REPEATED);
    assert_int_equal(check(&set, request(1, 1, max, 1)), WINDOW_DROPPED);
    window_set_done(&set);
}

static void origins_do_not_see_each_other(void **unused)
{
    static const uint32_t nodes[] = {7, 1, UINT32_MAX, 3, 5, 2, 100};
    struct window_set set;

    (void)unused;
    window_set_init(&set);
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        assert_int_equal(check(&set, request(nodes[i], 1, 1, 1)), WINDOW_NEW);
        add(&set, request(nodes[i], 1, 1, 1));
    }
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        assert_int_equal(check(&set, request(nodes[i], 1, 1, 1)), WINDOW_REPEATED);
        assert_int_equal(check(&set, request(nodes[i], 1, 2, 1)), WINDOW_NEW);
    }
    assert_int_equal(check(&set, request(4, 1, 1, 1)), WINDOW_NEW);
    window_set_done(&set);
}

/* What a set would be that never knew more than this one does now. */
static void digest_is_of_what_is_remembered(void **unused)
{
    struct window_set set, direct;
    struct request_id id;
    struct state_result r;

    (void)unused;
    window_set_init(&set);
    for (uint64_t seq = 1; seq <= 300; seq++) {
        add(&set, request(1, 1, seq, seq > 20 ? seq - 20 : 1));
    }
    window_set_init(&direct);
    for (uint64_t seq = 300; seq >= 280; seq--) { /* in another order */
        id = request(1, 1, seq, 280);
        r = result_of(seq);
        assert_int_equal(window_restore(&direct, &id, &r), 0);
    }
    assert_true(set.digest == direct.digest);
    add(&set, request(1, 2, 1, 1));
    window_set_done(&direct);
    add(&direct, request(1, 2, 1, 1));
    assert_true(set.digest == direct.digest);
    window_set_done(&set);
    window_set_done(&direct);
}

static void digest_sees_every_field(void **unused)
{
    uint64_t seen[13];

    (void)unused;
    for (int i = 0; i < 13; i++) {
        struct window_set set;
        struct request_id id = request(1, 1, 3, 2);
        struct state_result r = result_of(3);

        id.node += i == 1;
        id.incarnation += i == 2;
        id.seq += i == 3;
        id.floor += i == 4;
        r.code = i == 5 ? -RD_ECONFLICT : 0;
        r.succeeded = i != 6;
        r.revision += i == 7;
        r.index += i == 8;
        r.term += i == 9;
        r.actual += i == 10;
        r.deleted += i == 11;
        r.deleted |= i == 12 ? 1U << 31 : 0;
        window_set_init(&set);
        window_add(&set, &id, &r);
        seen[i] = set.digest;
        window_set_done(&set);
        for (int earlier = 0; earlier < i; earlier++) {
            assert_true(seen[earlier] != seen[i]);
        }
    }
}

/* The digest stands on disk. */
static void digest_is_stable(void **unused)
{
    struct window_set set;

    (void)unused;
    window_set_init(&set);
    add(&set, request(1, 2, 3, 2));
    add(&set, request(2, 1, 1, 1));
    print_message("digest %#llx\n", (unsigned long long)set.digest);
    assert_true(set.digest == GOLDEN_WINDOW_DIGEST);
    window_set_done(&set);
}

static int restore(struct window_set *set, struct request_id id)
{
    struct state_result r = result_of(id.seq);

    return window_restore(set, &id, &r);
}

static void restore_passes_over_the_outdated(void **unused)
{
    struct window_set set;

    (void)unused;
    window_set_init(&set);
    assert_int_equal(restore(&set, request(1, 2, 5000, 4990)), 0);
    uint64_t digest = set.digest;
    assert_int_equal(restore(&set, request(1, 2, 4989, 4000)), 0); /* below the floor */
    assert_int_equal(restore(&set, request(1, 1, 6000, 6000)), 0); /* earlier incarnation */
    assert_true(set.digest == digest);
    assert_int_equal(restore(&set, request(1, 3, 1, 1)), 0); /* the youngest comes last */
    assert_int_equal(check(&set, request(1, 2, 5000, 4990)), WINDOW_DROPPED);
    assert_int_equal(check(&set, request(1, 3, 1, 1)), WINDOW_REPEATED);
    window_set_done(&set);
}

static void restore_refuses_what_was_never_added(void **unused)
{
    struct window_set set;

    (void)unused;
    window_set_init(&set);
    assert_int_equal(restore(&set, request(1, 1, 0, 0)), -RD_ECORRUPT);
    assert_int_equal(restore(&set, request(1, 1, 5, 6)), -RD_ECORRUPT);
    assert_int_equal(restore(&set, request(1, 1, 1 + STATE_WINDOW_MAX, 1)), -RD_ECORRUPT);
    assert_int_equal(set.count, 0);
    assert_int_equal(restore(&set, request(1, 1, 5, 5)), 0);
    assert_int_equal(restore(&set, request(1, 1, 5, 5)), -RD_ECORRUPT);
    window_set_done(&set);
}

static void add_twice(void *arg)
{
    add(arg, request(1, 1, 1, 1));
}

static void add_below_floor(void *arg)
{
    add(arg, request(1, 1, 2, 3));
}

static void add_of_earlier_incarnation(void *arg)
{
    add(arg, request(1, 0, 5, 1));
}

static void add_asserts_that_it_is_new(void **unused)
{
    struct window_set set;

    (void)unused;
    window_set_init(&set);
    add(&set, request(1, 1, 1, 1));
    assert_int_equal(exit_status_of(add_twice, &set), RD_EXIT_BUG);
    assert_int_equal(exit_status_of(add_below_floor, &set), RD_EXIT_BUG);
    assert_int_equal(exit_status_of(add_of_earlier_incarnation, &set), RD_EXIT_BUG);
    window_set_done(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_result_is_given_again),
        cmocka_unit_test(below_the_floor_is_dropped_and_forgotten),
        cmocka_unit_test(late_requests_do_not_move_the_floor_back),
        cmocka_unit_test(incarnations_reset_and_are_left_behind),
        cmocka_unit_test(span_is_bounded),
        cmocka_unit_test(origins_do_not_see_each_other),
        cmocka_unit_test(digest_is_of_what_is_remembered),
        cmocka_unit_test(digest_sees_every_field),
        cmocka_unit_test(digest_is_stable),
        cmocka_unit_test(restore_passes_over_the_outdated),
        cmocka_unit_test(restore_refuses_what_was_never_added),
        cmocka_unit_test(add_asserts_that_it_is_new),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
