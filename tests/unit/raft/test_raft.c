/* The core through its header: events that are refused, saves, restart, and the bounds on what a
 * peer may say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "raft/membership.h"
#include "raft/raft.h"
#include "rig.h"

static void a_single_voter_elects_itself_after_its_own_fsync(void **state)
{
    (void)state;
    struct raft_view v;
    struct rig g;

    rig_found(&g, 1);
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_TICK});
    raft_view_get(g.r, &v);
    assert_int_equal(v.state, RAFT_CANDIDATE); /* its own vote is not durable yet */
    rig_save(&g);
    raft_view_get(g.r, &v);
    assert_int_equal(v.state, RAFT_LEADER);
    assert_int_equal(v.commit, 2); /* membership and no-op, counted when saved (traps 16, 47) */
    assert_true(v.leader_committed);
    assert_true(raft_claim_remaining(g.r, g.now) > 0);
    rig_done(&g);
}

static void proposals_are_appended_by_leaders_only(void **state)
{
    (void)state;
    struct blob *data = blob_copy("x", 1);
    struct raft_event propose = {.type = RAFT_EV_PROPOSE, .propose = {.data = data}};
    struct rig g;

    rig_found(&g, 1);
    rig_step(&g, &propose);
    assert_int_equal(g.fx.propose_code, -RD_ENOT_LEADER);
    rig_done(&g);
    rig_lead_alone(&g);
    rig_step(&g, &propose);
    assert_int_equal(g.fx.propose_code, 0);
    assert_int_equal(g.fx.propose_index, 3);
    assert_int_equal(g.fx.propose_term, 2);
    blob_unref(data);
    rig_done(&g);
}

static void events_that_make_no_sense_change_nothing(void **state)
{
    (void)state;
    struct raft_view before;
    struct raft_view after;
    struct rig g;

    rig_lead_alone(&g);
    raft_view_get(g.r, &before);
    struct blob *huge = blob_new(RAFT_PAYLOAD_MAX + 1);
    const struct raft_event bad[] = {
        {.type = (enum raft_event_type)0},
        {.type = RAFT_EV_COUNT},
        {.type = RAFT_EV_MESSAGE},
        {.type = RAFT_EV_PROPOSE},
        {.type = RAFT_EV_PROPOSE, .propose = {.data = huge}},
        {.type = RAFT_EV_PERSISTED},
        {.type = RAFT_EV_FOUND, .found = {.cluster = &rig_cluster}},
        {.type = RAFT_EV_ADOPT, .found = {.cluster = &rig_cluster}},
        {.type = RAFT_EV_CHANGE},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(raft_step(g.r, g.now, &bad[i], &g.fx), -RD_EINVALID);
    }
    raft_view_get(g.r, &after);
    assert_int_equal(after.state, before.state);
    assert_int_equal(after.term, before.term);
    assert_int_equal(after.last, before.last);
    assert_int_equal(after.commit, before.commit);
    assert_int_equal(after.saved, before.saved);
    blob_unref(huge);
    rig_done(&g);
}

static void saves_come_in_bounded_parts(void **state)
{
    (void)state;
    struct raft_save save;
    struct rig g;

    rig_lead_alone(&g);
    for (int i = 0; i < 5; i++) {
        struct blob *data = blob_new(100);
        memset(data->data, i, 100);
        rig_step(&g, &(struct raft_event){.type = RAFT_EV_PROPOSE, .propose = {.data = data}});
        blob_unref(data);
    }
    assert_true(raft_save_take(g.r, 250, &save));
    assert_int_equal(save.entries_count, 2);
    assert_int_equal(save.first, 3);
    assert_int_equal(save.last, 4);
    assert_false(save.hard_set);
    raft_save_done(&save);
    assert_true(raft_save_wanted(g.r));
    rig_done(&g);
}

static struct raft_msg append(raft_term term, raft_index prev, raft_term prev_term)
{
    return (struct raft_msg){.type = RAFT_MSG_APPEND,
                             .cluster = rig_cluster,
                             .from = 2,
                             .to = 1,
                             .term = term,
                             .index = prev,
                             .log_term = prev_term};
}

static void strangers_words_are_bounded(void **state)
{
    (void)state;
    struct raft_view v;
    struct rig g;

    rig_found(&g, 3);
    rig_save(&g);
    struct raft_msg m = append(9, 50, 3);
    const struct raft_event e = {.type = RAFT_EV_MESSAGE, .message = &m};
    m.cluster.bytes[0] ^= 1; /* another cluster */
    rig_step(&g, &e);
    m.cluster = rig_cluster;
    m.to = 2; /* not for us */
    rig_step(&g, &e);
    m.to = 1;
    m.from = 1; /* from ourselves */
    rig_step(&g, &e);
    m.from = 77; /* a stranger's reply raises nobody's term */
    m.type = RAFT_MSG_APPEND_REPLY;
    rig_step(&g, &e);
    raft_view_get(g.r, &v);
    assert_int_equal(v.term, 1);
    assert_int_equal(g.fx.msgs_count, 0);
    struct raft_entry wild = {.index = 7, .term = 12, .type = RAFT_ENTRY_NOOP};
    m = append(9, 1, 1);
    m.entries = &wild; /* does not follow its previous entry, and is newer than its leader */
    m.entries_count = 1;
    rig_step(&g, &e);
    raft_view_get(g.r, &v);
    assert_int_equal(v.last, 1);
    rig_done(&g);
}

static void a_restarted_voter_keeps_the_lease_it_granted(void **state)
{
    (void)state;
    struct raft_msg ask = {.type = RAFT_MSG_VOTE,
                           .cluster = rig_cluster,
                           .from = 2,
                           .to = 1,
                           .term = 9,
                           .index = 100,
                           .log_term = 8};
    const struct raft_event e = {.type = RAFT_EV_MESSAGE, .message = &ask};
    struct rig g = {.r = rig_core(1), .now = 1000};

    raft_restore_hard(g.r, &rig_cluster, 7, 3, 500);
    raft_start(g.r, g.now); /* an empty log, but a term: it has heard somebody (trap 52) */
    g.now += 499;
    rig_step(&g, &e);
    assert_int_equal(g.fx.msgs_count, 1);
    assert_true(g.fx.msgs[0].msg.reject);
    assert_int_equal(g.fx.msgs[0].msg.term, 7);
    g.now += 1;
    rig_step(&g, &e);
    assert_false(g.fx.msgs[0].msg.reject);
    assert_true(g.fx.msgs[0].after_save); /* term and vote first (trap 28) */
    rig_done(&g);
}

static struct raft_msg vote_request(raft_id from, raft_term term)
{
    return (struct raft_msg){
        .type = RAFT_MSG_VOTE, .from = from, .term = term, .index = 100, .log_term = term - 1};
}

/* The lease may have been granted under a longer election timeout than today's configuration says.
 */
static void a_shorter_timeout_does_not_shorten_an_old_promise(void **state)
{
    (void)state;
    struct raft_save save;
    struct rig g = {.r = rig_core(1), .now = 1000};

    raft_restore_hard(g.r, &rig_cluster, 7, 3, 2000);
    raft_start(g.r, g.now);
    g.now += 1999;
    rig_hear(&g, vote_request(2, 9));
    assert_true(g.fx.msgs[0].msg.reject);
    g.now += 1;
    rig_hear(&g, vote_request(2, 9));
    assert_false(g.fx.msgs[0].msg.reject);
    assert_true(raft_save_take(g.r, UINT64_MAX, &save));
    assert_int_equal(save.loyal_ms, 500); /* nothing older is alive */
    raft_save_done(&save);
    rig_done(&g);
}

static void a_longer_timeout_is_durable_before_it_is_acknowledged(void **state)
{
    (void)state;
    struct raft_msg heartbeat = {.type = RAFT_MSG_APPEND, .from = 2, .term = 7, .session = 1};
    struct raft_save save;
    struct rig g = {.r = rig_core(1), .now = 1000};

    raft_restore_hard(g.r, &rig_cluster, 7, 0, 300);
    raft_start(g.r, g.now);
    rig_hear(&g, heartbeat);
    assert_true(g.fx.msgs[0].after_save);
    assert_true(raft_save_take(g.r, UINT64_MAX, &save));
    assert_int_equal(save.loyal_ms, 500);
    raft_save_done(&save);
    rig_done(&g);
}

/* What it told others under its lease outlives its leadership: its own vote waits for the end of
 * it. */
static void a_deposed_leader_is_bound_by_its_own_lease(void **state)
{
    (void)state;
    struct rig g;

    rig_lead(&g);
    rig_hear(
        &g, (struct raft_msg){
                .type = RAFT_MSG_APPEND_REPLY, .from = 3, .term = 5, .session = 1, .reject = true});
    assert_int_equal(raft_claim_remaining(g.r, g.now), 0);
    rig_save(&g);
    g.now += 399;
    rig_hear(&g, vote_request(3, 6));
    assert_true(g.fx.msgs[0].msg.reject);
    g.now += 1;
    rig_hear(&g, vote_request(3, 6));
    assert_false(g.fx.msgs[0].msg.reject);
    rig_done(&g);
}

/* A term can be learnt from anybody; the lease this voter granted does not end by it. */
static void a_known_term_does_not_free_the_vote(void **state)
{
    (void)state;
    struct raft_msg heartbeat = {.type = RAFT_MSG_APPEND, .from = 2, .term = 3, .session = 1};
    struct rig g;

    rig_found(&g, 3);
    rig_save(&g);
    rig_hear(&g, heartbeat);
    rig_save(&g);
    rig_hear(&g, (struct raft_msg){.type = RAFT_MSG_READ_INDEX, .from = 3, .term = 7});
    rig_save(&g);
    g.now += 499;
    rig_hear(&g, vote_request(3, 7));
    assert_true(g.fx.msgs[0].msg.reject);
    g.now += 1;
    rig_hear(&g, vote_request(3, 7));
    assert_false(g.fx.msgs[0].msg.reject);
    rig_done(&g);
}

/* A grant of an earlier round must not make a candidate of a follower that hears its leader (trap
 * 27). */
static void an_answer_to_an_earlier_round_does_not_count(void **state)
{
    (void)state;
    struct raft_view v;
    struct rig g;

    rig_found(&g, 3);
    rig_save(&g);
    g.now = raft_deadline(g.r);
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_TICK});
    uint64_t old = g.fx.msgs[0].msg.seq;
    g.now = raft_deadline(g.r);
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_TICK}); /* the next round, of the same term */
    rig_hear(&g,
             (struct raft_msg){.type = RAFT_MSG_PRE_VOTE_REPLY, .from = 2, .term = 2, .seq = old});
    raft_view_get(g.r, &v);
    assert_int_equal(v.state, RAFT_PRE_CANDIDATE);
    rig_hear(&g, (struct raft_msg){
                     .type = RAFT_MSG_PRE_VOTE_REPLY, .from = 2, .term = 2, .seq = old + 2});
    raft_view_get(g.r, &v);
    assert_int_equal(v.state, RAFT_CANDIDATE);
    /* Nor does an answer to a question that has not left: our own vote is not durable. */
    rig_hear(&g,
             (struct raft_msg){.type = RAFT_MSG_VOTE_REPLY, .from = 2, .term = 2, .seq = old + 4});
    rig_hear(&g,
             (struct raft_msg){.type = RAFT_MSG_VOTE_REPLY, .from = 3, .term = 2, .seq = old + 5});
    raft_view_get(g.r, &v);
    assert_int_equal(v.state, RAFT_CANDIDATE);
    rig_done(&g);
}

/* Two disks in a row are in the way of a vote: it gets T, or slow disks would never elect anybody.
 */
static void a_vote_is_given_time_for_two_disks(void **state)
{
    (void)state;
    struct rig g;

    for (int i = 0; i < 50; i++) {
        rig_found(&g, 3);
        rig_save(&g);
        g.now = raft_deadline(g.r) + (mono_ms)i;
        rig_step(&g, &(struct raft_event){.type = RAFT_EV_TICK});
        rig_hear(&g, (struct raft_msg){.type = RAFT_MSG_PRE_VOTE_REPLY,
                                       .from = 2,
                                       .term = 2,
                                       .seq = g.fx.msgs[0].msg.seq});
        assert_in_range(raft_deadline(g.r) - g.now, 500, 750);
        rig_done(&g);
    }
}

/* The slowest follower hears of a commit within milliseconds, not at the next heartbeat. */
static void a_late_acknowledgement_still_hears_of_the_commit(void **state)
{
    (void)state;
    struct rig g;

    rig_lead(&g);
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_FLUSH});
    g.now += 20; /* node 3 was slow; the commit is old news by now */
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_TICK});
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_FLUSH});
    rig_hear(&g, (struct raft_msg){.type = RAFT_MSG_APPEND_REPLY,
                                   .from = 3,
                                   .term = 2,
                                   .stamp = g.now,
                                   .session = 1,
                                   .index = 2});
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_FLUSH});
    assert_in_range(raft_deadline(g.r) - g.now, 1, 5);
    g.now = raft_deadline(g.r);
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_FLUSH});
    assert_int_equal(g.fx.msgs_count, 1);
    assert_int_equal(g.fx.msgs[0].msg.to, 3);
    assert_int_equal(g.fx.msgs[0].msg.commit, 2);
    rig_done(&g);
}

static void absurd_numbers_do_not_come_in(void **state)
{
    (void)state;
    struct raft_view v;
    struct rig g;

    rig_found(&g, 3);
    rig_save(&g);
    rig_hear(&g, append(RAFT_NUMBER_MAX + 1, 1, 1));
    rig_hear(&g, append(9, RAFT_NUMBER_MAX + 1, 1));
    rig_hear(&g, append(1 + RAFT_AHEAD_MAX + 1, 1, 1));
    for (int bit = 40; bit < 64; bit++) { /* one that was flipped */
        rig_hear(&g, append(1 | UINT64_C(1) << bit, 1, 1));
    }
    raft_view_get(g.r, &v);
    assert_int_equal(v.term, 1);
    rig_hear(&g, append(1 + RAFT_AHEAD_MAX, 1, 1));
    raft_view_get(g.r, &v);
    assert_int_equal(v.term, 1 + RAFT_AHEAD_MAX);
    rig_done(&g);
}

/* A cluster that has lived long, and a new node, or one that was reset. */
static void who_has_nothing_believes_a_long_history(void **state)
{
    (void)state;
    const raft_index there = RAFT_AHEAD_MAX + 9;
    struct rig g = {.r = rig_core(1), .now = 1000};
    struct raft_view v;

    raft_start(g.r, g.now);
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_ADOPT, .found = {.cluster = &rig_cluster}});
    rig_save(&g);
    rig_hear(&g, append(RAFT_NUMBER_MAX + 1, there, there));
    rig_hear(&g, append(there, RAFT_NUMBER_MAX + 1, there));
    raft_view_get(g.r, &v);
    assert_int_equal(v.term, 0);
    rig_hear(&g, append(there, there, there));
    raft_view_get(g.r, &v);
    assert_int_equal(v.term, there);
    rig_save(&g);
    struct raft_msg piece = {.type = RAFT_MSG_SNAPSHOT,
                             .cluster = rig_cluster,
                             .from = 2,
                             .to = 1,
                             .term = there,
                             .index = there,
                             .log_term = there};
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_MESSAGE, .message = &piece});
    assert_ptr_equal(g.fx.snapshot, &piece);
    rig_hear(&g, append(there + RAFT_AHEAD_MAX + 1, there, there)); /* now it has one to go by */
    raft_view_get(g.r, &v);
    assert_int_equal(v.term, there);
    rig_done(&g);
}

static void another_leader_in_our_term_stops_us(void **state)
{
    (void)state;
    struct rig g;

    rig_lead(&g);
    rig_hear(&g, append(2, 1, 1));
    assert_true(g.fx.diverged);
    assert_int_equal(g.fx.msgs_count, 0);
    rig_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_single_voter_elects_itself_after_its_own_fsync),
        cmocka_unit_test(proposals_are_appended_by_leaders_only),
        cmocka_unit_test(events_that_make_no_sense_change_nothing),
        cmocka_unit_test(saves_come_in_bounded_parts),
        cmocka_unit_test(strangers_words_are_bounded),
        cmocka_unit_test(a_restarted_voter_keeps_the_lease_it_granted),
        cmocka_unit_test(a_shorter_timeout_does_not_shorten_an_old_promise),
        cmocka_unit_test(a_longer_timeout_is_durable_before_it_is_acknowledged),
        cmocka_unit_test(a_deposed_leader_is_bound_by_its_own_lease),
        cmocka_unit_test(a_known_term_does_not_free_the_vote),
        cmocka_unit_test(an_answer_to_an_earlier_round_does_not_count),
        cmocka_unit_test(a_vote_is_given_time_for_two_disks),
        cmocka_unit_test(a_late_acknowledgement_still_hears_of_the_commit),
        cmocka_unit_test(absurd_numbers_do_not_come_in),
        cmocka_unit_test(who_has_nothing_believes_a_long_history),
        cmocka_unit_test(another_leader_in_our_term_stops_us),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
