/* Handing over: one leadership ends, the next begins, writes wait for a moment, and nobody may act
 * twice. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

static struct peer_change transfer(raft_id to)
{
    return (struct peer_change){.kind = PEER_CHANGE_TRANSFER, .id = to};
}

static const struct node_answer *hand_over(struct rig *g, raft_id via, raft_id to)
{
    struct peer_change c = transfer(to);

    return rig_do(g, via, &c);
}

static void settle(struct rig *g, uint32_t count, uint32_t voters)
{
    rig_grow(g, count, voters);
    rig_run(g, 300);
}

static void retire(struct rig *g, raft_id id, mono_ms timeout)
{
    node_begin(g->nodes[id], g->now, 0);
    node_retire(g->nodes[id], g->now + timeout);
    rig_run(g, 1);
}

static bool drop_timeout_now(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    (void)g, (void)from, (void)to;
    return msg->type == PEER_RAFT && msg->raft.type == RAFT_MSG_TIMEOUT_NOW;
}

static bool drop_change_replies(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    (void)g, (void)from, (void)to;
    return msg->type == PEER_CHANGE_REPLY;
}

static bool drop_both(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    return drop_change_replies(g, from, to, msg) || drop_timeout_now(g, from, to, msg);
}

static bool drop_appends_to_2(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    return drop_timeout_now(g, from, to, msg) ||
           (to == 2 && msg->type == PEER_RAFT && msg->raft.type == RAFT_MSG_APPEND &&
            msg->raft.entries_count > 0);
}

/* ---- It works ---- */

static void the_best_voter_takes_over(void **state)
{
    (void)state;
    struct rig g;

    settle(&g, 3, 3);
    raft_term term = rig_view(&g, 1).term;
    rig_write(&g, 2, 1, "k", "v", 1000);
    const struct node_answer *a = hand_over(&g, 1, 0);
    assert_code(a, 0);
    assert_int_equal(a->change->from, 1);
    assert_in_range(a->change->to, 2, 3);
    assert_int_equal(a->change->term, term + 1);
    assert_in_range(a->change->gap_ms, 0, 50);
    assert_int_equal(rig_leader(&g), a->change->to);
    assert_int_equal(rig_view(&g, 1).term, term + 1);
    assert_code(rig_wait(&g, 1), 0);
    rig_done(&g);
}

static void a_named_voter_takes_over_whoever_is_asked(void **state)
{
    (void)state;
    struct rig g;

    settle(&g, 4, 4);
    assert_code(hand_over(&g, 1, 3), 0);
    assert_int_equal(rig_leader(&g), 3);
    rig_run(&g, 300);
    const struct node_answer *a = hand_over(&g, 2, 4); /* a follower is asked */
    assert_code(a, 0);
    assert_int_equal(a->change->from, 3);
    assert_int_equal(a->change->to, 4);
    assert_int_equal(rig_leader(&g), 4);
    rig_run(&g, 300);
    assert_code(hand_over(&g, 2, 2), 0); /* the target itself is asked */
    assert_int_equal(rig_leader(&g), 2);
    a = hand_over(&g, 1, 2); /* it leads already */
    assert_code(a, 0);
    assert_int_equal(a->change->to, 2);
    rig_done(&g);
}

static void who_does_not_wait_is_answered_when_it_has_begun(void **state)
{
    (void)state;
    struct peer_change c = transfer(2);
    struct rig g;

    settle(&g, 3, 3);
    c.no_wait = true;
    g.disk_held[2] = true; /* it cannot vote for itself yet */
    const struct node_answer *a = rig_do(&g, 3, &c);
    assert_code(a, 0);
    assert_int_equal(a->change->from, 1);
    assert_int_equal(a->change->to, 2);
    assert_int_equal(a->change->term, 0);
    assert_int_equal(rig_public(&g, 1).state, NODE_HANDING_OVER);
    g.disk_held[2] = false;
    assert_int_equal(rig_leader(&g), 2);
    rig_done(&g);
}

static void writes_wait_and_are_not_lost(void **state)
{
    (void)state;
    struct rig g;
    uint64_t token = 0;

    settle(&g, 3, 3);
    struct peer_change c = transfer(0);
    for (int i = 0; i < 20; i++) {
        rig_write(&g, (raft_id)(i % 3 + 1), ++token, "k", "v", 2000);
        if (i == 5) {
            rig_change(&g, 2, 1000, &c, 2000);
        }
        rig_run(&g, 1);
    }
    assert_code(rig_wait(&g, 1000), 0);
    rig_run(&g, 500);
    for (uint64_t t = 1; t <= token; t++) {
        assert_code(rig_answer(&g, t), 0);
    }
    for (raft_id id = 1; id <= 3; id++) {
        assert_int_equal(state_revision(node_state(g.nodes[id])), token);
    }
    rig_done(&g);
}

static bool drop_read_indexes(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    (void)g, (void)to;
    return from == 1 && msg->type == PEER_RAFT && msg->raft.type == RAFT_MSG_READ_INDEX_REPLY;
}

/* A read index that the old leader told is lost: the new one is asked at once, not after T. */
static void reads_are_asked_again_when_the_leader_changes(void **state)
{
    (void)state;
    struct rig g;

    settle(&g, 3, 3);
    g.drop = drop_read_indexes;
    rig_read(&g, 3, 2, 3000);
    rig_run(&g, 50);
    assert_null(rig_answer(&g, 2));
    assert_code(hand_over(&g, 1, 2), 0);
    rig_run(&g, 20);
    assert_code(rig_answer(&g, 2), 0);
    rig_done(&g);
}

/* ---- What is shown ---- */

static void a_leader_that_hands_over_says_so(void **state)
{
    (void)state;
    struct rig g;

    settle(&g, 3, 3);
    g.disk_held[2] = true;
    struct peer_change c = transfer(2);
    rig_change(&g, 1, 1, &c, 3000);
    rig_run(&g, 10);
    struct node_public p = rig_public(&g, 1);
    assert_int_equal(p.state, NODE_HANDING_OVER);
    assert_string_equal(node_state_text(p.state), "handing_over");
    assert_string_equal(p.reason, "hands over to node 2");
    assert_false(p.is_leader); /* the target may be elected any moment */
    assert_int_equal(rig_told(&g, 1, PEER_CHANGE_HANDING_OVER), 1);
    g.disk_held[2] = false;
    assert_code(rig_wait(&g, 1), 0);
    assert_int_equal(rig_public(&g, 1).state, NODE_FOLLOWER);
    rig_done(&g);
}

static void claims_that_were_told_delay_the_successors(void **state)
{
    (void)state;
    struct rig g;

    settle(&g, 3, 3);
    struct node_public p = rig_public(&g, 1);
    assert_true(p.is_leader);
    mono_ms until = g.now + p.lease_remaining_ms;
    node_claim_told(g.nodes[1]);
    assert_code(hand_over(&g, 1, 2), 0);
    mono_ms took = g.now;
    p = rig_public(&g, 2);
    assert_int_equal(p.state, NODE_LEADER);
    assert_false(p.is_leader);
    assert_int_equal(p.leader, 2); /* it serves */
    assert_non_null(strstr(p.reason, "may not claim it yet: what its predecessor told lapses in "));
    unsigned left = (unsigned)strtoul(strstr(p.reason, "lapses in ") + 10, NULL, 10);
    assert_in_range(g.now + left, until,
                    until + 101); /* as a clock that is a quarter fast counts */
    rig_run(&g, 20);
    assert_int_equal(rig_public(&g, 3).leader, 2);
    rig_write(&g, 3, 1, "k", "v", 1000);
    assert_code(rig_wait(&g, 1), 0);
    while (g.now < took + left - 1) {
        rig_run(&g, 1);
        assert_false(rig_public(&g, 2).is_leader);
    }
    rig_run(&g, 2);
    assert_true(rig_public(&g, 2).is_leader);
    assert_true(g.now >= until);
    rig_done(&g);
}

static void without_a_claim_told_the_successor_claims_at_once(void **state)
{
    (void)state;
    struct rig g;

    settle(&g, 3, 3);
    assert_code(hand_over(&g, 1, 2), 0);
    assert_true(rig_public(&g, 2).is_leader);
    assert_string_equal(rig_public(&g, 2).reason, "");
    rig_done(&g);
}

static void release(struct rig *g, raft_id id)
{
    node_begin(g->nodes[id], g->now, 0);
    node_claims_released(g->nodes[id]);
    rig_run(g, 1);
}

static void holders_that_have_stopped_are_not_waited_for(void **state)
{
    (void)state;
    struct rig g;

    settle(&g, 3, 3);
    node_claim_held(g.nodes[1]);
    release(&g, 1);
    assert_code(hand_over(&g, 1, 2), 0);
    assert_true(rig_public(&g, 2).is_leader);
    node_claim_held(g.nodes[1]); /* it claims nothing: so there is nothing to hold */
    assert_code(hand_over(&g, 1, 1), 0);
    assert_true(rig_public(&g, 1).is_leader);
    rig_done(&g);
}

/* As long as the child of the old leader takes to stop, the new one waits, and no longer. */
static void holders_that_stop_end_the_wait(void **state)
{
    (void)state;
    struct rig g;

    settle(&g, 3, 3);
    node_claim_held(g.nodes[1]);
    assert_code(hand_over(&g, 1, 2), 0);
    rig_run(&g, 30);
    assert_int_equal(rig_public(&g, 2).state, NODE_LEADER);
    assert_false(rig_public(&g, 2).is_leader);
    release(&g, 1);
    rig_run(&g, 2);
    assert_true(rig_public(&g, 2).is_leader);
    assert_string_equal(rig_public(&g, 2).reason, "");
    assert_int_equal(rig_view(&g, 1).term, rig_view(&g, 2).term);
    rig_done(&g);
}

static void what_was_told_as_well_is_waited_for(void **state)
{
    (void)state;
    struct rig g;

    settle(&g, 3, 3);
    mono_ms until = g.now + rig_public(&g, 1).lease_remaining_ms;
    node_claim_told(g.nodes[1]);
    node_claim_held(g.nodes[1]);
    assert_code(hand_over(&g, 1, 2), 0);
    release(&g, 1);
    while (g.now < until) {
        assert_false(rig_public(&g, 2).is_leader);
        rig_run(&g, 1);
    }
    rig_run(&g, 150);
    assert_true(rig_public(&g, 2).is_leader);
    rig_done(&g);
}

/* Both processes of a claim may be others by the time its holder stops. */
static void a_word_that_comes_after_a_restart_counts_for_nobody(void **state)
{
    (void)state;
    struct rig g;

    settle(&g, 3, 3);
    node_claim_held(g.nodes[1]);
    assert_code(hand_over(&g, 1, 2), 0);
    rig_kill(&g, 1);
    rig_restart(&g, 1);
    rig_run(&g, 20);
    release(&g, 1);
    rig_run(&g, 2);
    assert_false(rig_public(&g, 2).is_leader);
    rig_run(&g, 600);
    assert_true(rig_public(&g, 2).is_leader);
    rig_done(&g);
}

/* Old claims go with each hand-over until they lapse. */
static void claims_are_handed_on(void **state)
{
    (void)state;
    struct rig g;

    settle(&g, 3, 3);
    mono_ms until = g.now + rig_public(&g, 1).lease_remaining_ms;
    node_claim_told(g.nodes[1]);
    assert_code(hand_over(&g, 1, 2), 0);
    assert_code(hand_over(&g, 1, 3), 0);
    assert_true(g.now < until);
    while (g.now < until) {
        assert_false(rig_public(&g, 2).is_leader || rig_public(&g, 3).is_leader);
        rig_run(&g, 1);
    }
    rig_run(&g, 300);
    assert_true(rig_public(&g, 3).is_leader);
    rig_done(&g);
}

/* One claim, and leadership goes round faster than it lapses. */
static void claims_that_are_handed_on_do_not_grow(void **state)
{
    (void)state;
    struct rig g;
    raft_id leader = 1;

    settle(&g, 3, 3);
    mono_ms until = g.now + rig_public(&g, 1).lease_remaining_ms * 10 / 8 + 1;
    node_claim_told(g.nodes[1]);
    for (int i = 0; i < 20; i++) {
        raft_id next = leader % 3 + 1;
        assert_code(hand_over(&g, leader, next), 0);
        leader = next;
        assert_true(rig_view(&g, leader).claims_after <=
                    until + 2 * (mono_ms)(i + 1)); /* on its way */
    }
    rig_run(&g, until + 100 - g.now);
    assert_true(rig_public(&g, leader).is_leader);
    rig_done(&g);
}

/* ---- Refused ---- */

static void a_target_has_to_be_a_voter_that_is_heard(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change learner = rig_add(4);

    settle(&g, 4, 3);
    learner.learner = true;
    assert_code(rig_do(&g, 1, &learner), 0);
    const struct node_answer *a = hand_over(&g, 2, 4);
    assert_code(a, -RD_ENO_TARGET);
    assert_says(a, "node 4 is a learner: only voters can lead");
    a = hand_over(&g, 2, 9);
    assert_code(a, -RD_ENOT_FOUND);
    assert_says(a, "node 9 is no member");
    rig_kill(&g, 3);
    rig_run(&g, 400);
    a = hand_over(&g, 2, 3);
    assert_code(a, -RD_EUNREACHABLE);
    assert_says(a, "the link to node 3 is down, it was last heard ");
    g.stopped[2] = true;
    rig_run(&g, 310);
    a = hand_over(&g, 1, 0);
    assert_code(a, -RD_ENO_TARGET);
    assert_says(a, "0 of 2 other voters were heard within 300 ms");
    assert_int_equal(rig_view(&g, 1).state, RAFT_LEADER);
    rig_done(&g);
}

static void one_hand_over_at_a_time(void **state)
{
    (void)state;
    struct rig g;

    settle(&g, 3, 3);
    g.disk_held[2] = true;
    struct peer_change c = transfer(2);
    struct peer_change any = transfer(0);
    struct peer_change other = transfer(3);
    struct peer_change demote = {.kind = PEER_CHANGE_DEMOTE, .id = 3};
    rig_change(&g, 1, 1, &c, 3000);
    rig_run(&g, 10);
    rig_change(&g, 3, 2, &other, 3000);
    assert_code(rig_wait(&g, 2), -RD_ETRANSFER);
    assert_says(rig_answer(&g, 2), "leadership is being handed over to node 2: try again");
    rig_change(&g, 3, 3, &any, 3000);     /* joins it */
    rig_change(&g, 3, 4, &demote, 10000); /* waits for the next leader */
    rig_run(&g, 50);
    assert_null(rig_answer(&g, 3));
    assert_null(rig_answer(&g, 4));
    g.disk_held[2] = false;
    assert_code(rig_wait(&g, 1), 0);
    assert_code(rig_wait(&g, 3), 0);
    assert_int_equal(rig_answer(&g, 3)->change->to, 2);
    assert_code(rig_wait(&g, 4), 0);
    rig_done(&g);
}

static void a_membership_that_is_not_committed_comes_first(void **state)
{
    (void)state;
    struct rig g;

    settle(&g, 3, 3);
    g.disk_held[2] = g.disk_held[3] = true;
    struct peer_change demote = {.kind = PEER_CHANGE_DEMOTE, .id = 3};
    rig_change(&g, 1, 1, &demote, 10000);
    rig_run(&g, 5);
    assert_code(hand_over(&g, 1, 2), -RD_ECHANGE_PENDING);
    g.disk_held[2] = g.disk_held[3] = false;
    assert_code(rig_wait(&g, 1), 0);
    rig_done(&g);
}

/* ---- It comes to nothing ---- */

static void a_target_that_never_stands_is_answered(void **state)
{
    (void)state;
    struct rig g;

    settle(&g, 3, 3);
    g.drop = drop_timeout_now;
    mono_ms since = g.now;
    const struct node_answer *a = hand_over(&g, 3, 2);
    assert_code(a, -RD_ETRANSFER_FAILED);
    assert_says(a, "node 2 did not take over within 500 ms");
    assert_in_range(g.now, since + 500, since + 520);
    g.drop = NULL;
    raft_id leader = rig_leader(&g);
    assert_code(hand_over(&g, 3, leader % 3 + 1), 0);
    rig_done(&g);
}

static void a_target_that_is_about_to_stop_declines(void **state)
{
    (void)state;
    struct rig g;

    settle(&g, 3, 3);
    retire(&g, 2, 10000);
    assert_true(node_is_retired(g.nodes[2])); /* it has nothing to do */
    mono_ms since = g.now;
    const struct node_answer *a = hand_over(&g, 1, 2);
    assert_code(a, -RD_ETRANSFER_FAILED);
    assert_says(a, "node 2 declined: it is about to stop");
    assert_in_range(g.now, since, since + 50);
    assert_int_equal(rig_leader(&g), 1); /* in a new term */
    rig_done(&g);
}

static void a_target_that_does_not_catch_up_costs_nothing(void **state)
{
    (void)state;
    struct rig g;

    settle(&g, 3, 3);
    raft_term term = rig_view(&g, 1).term;
    g.drop = drop_appends_to_2;
    rig_write(&g, 1, 1, "k", "v", 1000);
    rig_run(&g, 50);
    const struct node_answer *a = hand_over(&g, 3, 2);
    assert_code(a, -RD_ENOT_CAUGHT_UP);
    assert_says(a, "entries, and did not catch up within one election timeout");
    assert_int_equal(rig_view(&g, 1).state, RAFT_LEADER);
    assert_int_equal(rig_view(&g, 1).term, term);
    assert_true(rig_public(&g, 1).is_leader);
    rig_done(&g);
}

/* The answer of the old leader is lost: who asked sees for itself that another leads. */
static void a_lost_answer_is_made_up_for_by_what_is_seen(void **state)
{
    (void)state;
    struct rig g;

    settle(&g, 3, 3);
    g.drop = drop_change_replies;
    mono_ms since = g.now;
    const struct node_answer *a = hand_over(&g, 3, 2);
    assert_code(a, 0);
    assert_true(g.dropped > 0);
    assert_int_equal(a->change->from, 1);
    assert_int_equal(a->change->to, 2);
    assert_int_equal(a->change->term, rig_view(&g, 2).term);
    assert_in_range(g.now, since, since + 300);
    rig_done(&g);
}

static void the_old_leader_dies_meanwhile(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = transfer(0);

    settle(&g, 3, 3);
    g.drop = drop_timeout_now;
    rig_change(&g, 3, 1, &c, 10000);
    rig_wait_step(&g, 1, PEER_CHANGE_HANDING_OVER);
    rig_kill(&g, 1);
    const struct node_answer *a = rig_wait(&g, 1);
    assert_code(a, 0); /* its leadership is over, and another leads */
    assert_int_equal(a->change->from, 1);
    assert_int_equal(a->change->to, rig_leader(&g));
    rig_done(&g);
}

static void another_than_the_named_one_wins(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = transfer(2);

    settle(&g, 5, 5);
    g.drop = drop_timeout_now;
    rig_change(&g, 3, 1, &c, 10000);
    rig_wait_step(&g, 1, PEER_CHANGE_HANDING_OVER);
    rig_kill(&g, 1);
    g.stopped[2] = true;
    const struct node_answer *a = rig_wait(&g, 1);
    assert_code(a, -RD_ETRANSFER_FAILED);
    assert_says(a, " leads now, in term ");
    assert_in_range(rig_leader(&g), 3, 5);
    rig_done(&g);
}

/* The old leader was elected again: that its leadership ended is no success. */
static void the_same_leader_again_is_a_failure(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = transfer(0);

    settle(&g, 3, 3);
    raft_term term = rig_view(&g, 1).term;
    g.drop = drop_both;
    rig_change(&g, 3, 1, &c, 10000);
    rig_run(&g, 510);
    assert_int_equal(rig_leader(&g), 1);
    assert_true(rig_view(&g, 1).term > term);
    const struct node_answer *a = rig_wait(&g, 1);
    assert_code(a, -RD_ETRANSFER_FAILED);
    assert_says(a, "node 1 leads again, in term ");
    rig_done(&g);
}

static void a_deadline_that_passes_says_what_is_known(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = transfer(2);

    settle(&g, 3, 3);
    g.drop = drop_change_replies;
    for (uint64_t token = 1; token <= 40; token++) { /* before, while it is seen, and after */
        rig_change(&g, 3, token, &c, 5 * token);
    }
    rig_run(&g, 300);
    bool known = false;
    for (uint64_t token = 1; token <= 40; token++) {
        const struct node_answer *a = rig_answer(&g, token);
        known = known || a->code == 0; /* from then on all know */
        assert_code(a, known ? 0 : -RD_EUNKNOWN_OUTCOME);
    }
    assert_true(known && rig_answer(&g, 1)->code != 0);
    rig_done(&g);
}

/* Another leads, its answer is waited for, and it is gone again: no reason to be busy. */
static void a_successor_that_is_lost_at_once_is_waited_for_in_peace(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = transfer(2);
    struct peer_change back = transfer(1);

    settle(&g, 3, 3);
    g.drop = drop_change_replies;
    rig_change(&g, 3, 1, &c, 4000);
    while (rig_public(&g, 3).leader != 2) {
        rig_run(&g, 1);
    }
    rig_change(&g, 2, 2, &back, 4000);
    while (rig_view(&g, 3).leader != 0) {
        rig_run(&g, 1);
    }
    assert_null(rig_answer(&g, 1));
    rig_cut(&g, 3, true);
    rig_run(&g, 1000); /* the fixture fails when it spins */
    assert_null(rig_answer(&g, 1));
    rig_cut(&g, 3, false);
    assert_non_null(rig_wait(&g, 1));
    rig_done(&g);
}

/* Who asked is gone, and the hand-over takes longer than it would have waited. */
static void a_task_without_an_asker_waits_in_peace(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = transfer(2);

    settle(&g, 3, 3);
    g.drop = drop_appends_to_2;
    rig_write(&g, 1, 1, "k", "v", 1000);
    rig_change(&g, 1, 2, &c, 10000);
    node_cancel(g.nodes[1], 2);
    rig_run(&g, 400);
    g.drop = drop_timeout_now;
    rig_run(&g, 40);
    assert_int_equal(rig_public(&g, 1).state, NODE_HANDING_OVER);
    rig_cut(&g, 1, true);
    rig_run(&g, 3000); /* the fixture fails when it spins */
    rig_cut(&g, 1, false);
    g.drop = NULL;
    (void)rig_leader(&g);
    assert_null(rig_answer(&g, 2));
    rig_done(&g);
}

static void a_process_may_end_in_the_midst_of_it(void **state)
{
    (void)state;
    struct rig g;

    settle(&g, 3, 3);
    g.disk_held[2] = true;
    struct peer_change c = transfer(2);
    rig_change(&g, 1, 1, &c, 3000);
    rig_run(&g, 10);
    assert_int_equal(rig_public(&g, 1).state, NODE_HANDING_OVER);
    rig_done(&g);
}

/* ---- About to stop ---- */

static void a_leader_hands_over_before_it_stops(void **state)
{
    (void)state;
    struct rig g;

    settle(&g, 3, 3);
    rig_write(&g, 1, 1, "k", "v", 5000);
    rig_write(&g, 2, 2, "k", "v", 5000);
    retire(&g, 1, 5000);
    mono_ms since = g.now;
    while (!node_is_retired(g.nodes[1])) {
        rig_run(&g, 1);
        assert_true(g.now < since + 200);
    }
    assert_code(rig_answer(&g, 1), 0);
    assert_int_not_equal(rig_leader(&g), 1);
    assert_code(rig_wait(&g, 2), 0);
    rig_kill(&g, 1);
    rig_run(&g, 100);
    assert_int_not_equal(rig_leader(&g), 1);
    rig_done(&g);
}

static void a_follower_waits_for_its_open_requests(void **state)
{
    (void)state;
    struct rig g;

    settle(&g, 3, 3);
    g.disk_held[1] = g.disk_held[3] = true;
    rig_write(&g, 2, 1, "k", "v", 5000);
    retire(&g, 2, 3000);
    rig_run(&g, 300);
    assert_false(node_is_retired(g.nodes[2]));
    g.disk_held[1] = g.disk_held[3] = false;
    rig_run(&g, 20);
    assert_code(rig_answer(&g, 1), 0);
    assert_true(node_is_retired(g.nodes[2]));
    rig_kill(&g, 1);
    rig_run(&g, 3000);
    assert_int_equal(rig_view(&g, 2).state, RAFT_FOLLOWER); /* it stands no more */
    rig_done(&g);
}

static void a_pending_change_is_waited_for(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change demote = {.kind = PEER_CHANGE_DEMOTE, .id = 3};

    settle(&g, 3, 3);
    g.disk_held[2] = g.disk_held[3] = true;
    rig_change(&g, 2, 1, &demote, 10000);
    rig_run(&g, 10);
    retire(&g, 1, 5000);
    rig_run(&g, 100);
    assert_false(node_is_retired(g.nodes[1]));
    g.disk_held[2] = g.disk_held[3] = false;
    rig_run(&g, 200);
    assert_true(node_is_retired(g.nodes[1]));
    assert_int_equal(rig_leader(&g), 2);
    rig_done(&g);
}

static void the_last_voter_stops_at_once(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change learner = rig_add(2);

    settle(&g, 2, 1);
    learner.learner = true;
    assert_code(rig_do(&g, 1, &learner), 0);
    retire(&g, 1, 5000);
    assert_true(node_is_retired(g.nodes[1]));
    rig_done(&g);
    rig_init(&g, 1, 0); /* in no cluster */
    retire(&g, 1, 5000);
    assert_true(node_is_retired(g.nodes[1]));
    rig_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_voter_takes_over),
        cmocka_unit_test(a_named_voter_takes_over_whoever_is_asked),
        cmocka_unit_test(who_does_not_wait_is_answered_when_it_has_begun),
        cmocka_unit_test(writes_wait_and_are_not_lost),
        cmocka_unit_test(reads_are_asked_again_when_the_leader_changes),
        cmocka_unit_test(a_leader_that_hands_over_says_so),
        cmocka_unit_test(claims_that_were_told_delay_the_successors),
        cmocka_unit_test(without_a_claim_told_the_successor_claims_at_once),
        cmocka_unit_test(holders_that_have_stopped_are_not_waited_for),
        cmocka_unit_test(holders_that_stop_end_the_wait),
        cmocka_unit_test(what_was_told_as_well_is_waited_for),
        cmocka_unit_test(a_word_that_comes_after_a_restart_counts_for_nobody),
        cmocka_unit_test(claims_are_handed_on),
        cmocka_unit_test(claims_that_are_handed_on_do_not_grow),
        cmocka_unit_test(a_target_has_to_be_a_voter_that_is_heard),
        cmocka_unit_test(one_hand_over_at_a_time),
        cmocka_unit_test(a_membership_that_is_not_committed_comes_first),
        cmocka_unit_test(a_target_that_never_stands_is_answered),
        cmocka_unit_test(a_target_that_is_about_to_stop_declines),
        cmocka_unit_test(a_target_that_does_not_catch_up_costs_nothing),
        cmocka_unit_test(a_lost_answer_is_made_up_for_by_what_is_seen),
        cmocka_unit_test(the_old_leader_dies_meanwhile),
        cmocka_unit_test(another_than_the_named_one_wins),
        cmocka_unit_test(the_same_leader_again_is_a_failure),
        cmocka_unit_test(a_deadline_that_passes_says_what_is_known),
        cmocka_unit_test(a_successor_that_is_lost_at_once_is_waited_for_in_peace),
        cmocka_unit_test(a_task_without_an_asker_waits_in_peace),
        cmocka_unit_test(a_process_may_end_in_the_midst_of_it),
        cmocka_unit_test(a_leader_hands_over_before_it_stops),
        cmocka_unit_test(a_follower_waits_for_its_open_requests),
        cmocka_unit_test(a_pending_change_is_waited_for),
        cmocka_unit_test(the_last_voter_stops_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
