/* Removing, demoting and replacing servers, the leader and the one who is asked among them. */
#include "asking.h"

#include <stdio.h>
#include <string.h>

/* ---- Removing ---- */

static void a_follower_is_removed(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 4, 3);
    const struct node_answer *a = remove_server(&g, 2, 3, false);
    assert_code(a, 0);
    assert_int_equal(a->change->index, committed(&g, 1));
    assert_int_equal(a->change->role, 0);
    rig_run(&g, 1000);
    struct node_public p = rig_public(&g, 3);
    assert_int_equal(p.state, NODE_REMOVED);
    assert_non_null(strstr(p.reason, "removed from the cluster at index "));
    assert_non_null(
        strstr(p.reason, "empty its data directory (raftctl reset), start it, and add-server it"));
    assert_int_equal(g.targets_count[3], 0);
    node_begin(g.nodes[3], g.now, 0);
    node_bootstrap(g.nodes[3], 99, g.now + 1000);
    assert_code(rig_wait(&g, 99), -RD_EREMOVED);
    assert_code(add_learner(&g, 1, 4), 0);
    assert_code(remove_server(&g, 4, 4, false), 0); /* a learner, asked through itself */
    rig_run(&g, 1000);
    assert_int_equal(rig_public(&g, 4).state, NODE_REMOVED);
    assert_int_equal(rig_public(&g, 1).state, NODE_LEADER);
    assert_int_equal(rig_public(&g, 2).state, NODE_FOLLOWER);
    rig_done(&g);
}

static void who_is_removed_hears_it_when_asked_through_itself(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = change_of(PEER_CHANGE_REMOVE, 3);

    rig_grow(&g, 3, 3);
    mono_ms since = g.now;
    rig_change(&g, 3, 1, &c, 10000);
    const struct node_answer *a = rig_wait(&g, 1);
    assert_code(a, 0);
    assert_int_equal(a->change->index, committed(&g, 1));
    assert_in_range(g.now, since, since + 100);
    rig_run(&g, 300);
    rig_change(&g, 3, 2, &c, 10000);
    assert_code(rig_wait(&g, 2), -RD_EREMOVED);
    assert_says(rig_answer(&g, 2), "ask another member");
    rig_write(&g, 3, 3, "k", "v", 1000);
    assert_code(rig_wait(&g, 3), -RD_EREMOVED);
    rig_done(&g);
}

/* The leader hands over, and whoever leads then removes it. */
static void remove_leader_through(raft_id via)
{
    struct rig g;
    struct peer_change c = change_of(PEER_CHANGE_REMOVE, 1);

    rig_grow(&g, 3, 3);
    rig_run(&g, 300);
    mono_ms since = g.now;
    rig_change(&g, via, 1, &c, 10000);
    const struct node_answer *a = rig_wait(&g, 1);
    assert_code(a, 0);
    assert_in_range(g.now, since, since + 600);
    assert_int_equal(rig_told(&g, 1, PEER_CHANGE_HANDING_OVER), 1);
    raft_id leader = rig_leader(&g);
    assert_int_not_equal(leader, 1);
    assert_null(rig_member(&g, leader, 1));
    assert_int_equal(a->change->index, committed(&g, leader));
    rig_run(&g, 1000);
    assert_int_equal(rig_public(&g, 1).state, NODE_REMOVED);
    assert_int_equal(rig_leader(&g), leader); /* who left disturbs nobody */
    rig_done(&g);
}

static void the_leader_is_removed_through_itself(void **state)
{
    (void)state;
    remove_leader_through(1);
}

static void the_leader_is_removed_through_another(void **state)
{
    (void)state;
    remove_leader_through(2);
}

static void the_leader_is_demoted_by_its_successor(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 3, 3);
    rig_run(&g, 300);
    assert_code(demote(&g, 1, 1), 0);
    raft_id leader = rig_leader(&g);
    assert_int_not_equal(leader, 1);
    assert_int_equal(rig_member(&g, leader, 1)->role, RAFT_LEARNER);
    rig_done(&g);
}

static bool drop_timeout_now(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    (void)g, (void)from, (void)to;
    return msg->type == PEER_RAFT && msg->raft.type == RAFT_MSG_TIMEOUT_NOW;
}

/* Nothing of the removal itself has begun. */
static void a_leader_whose_hand_over_fails_says_so(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 3, 3);
    rig_run(&g, 300);
    g.drop = drop_timeout_now;
    const struct node_answer *a = remove_server(&g, 1, 1, false);
    assert_code(a, -RD_ETRANSFER_FAILED);
    assert_says(a, "node 1 leads and did not hand over: ");
    g.drop = NULL;
    rig_done(&g);
}

/* It may come to nothing: who asks is answered when it is decided. */
static void a_removal_that_is_not_committed_is_no_fact(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = change_of(PEER_CHANGE_REMOVE, 4);

    rig_grow(&g, 4, 4);
    rig_run(&g, 300);
    g.drop = drop_all_appends;
    rig_change(&g, 1, 1, &c, 20000);
    rig_run(&g, 10);
    assert_null(rig_member(&g, 1, 4));
    struct peer_change ask = change_of(PEER_CHANGE_DEMOTE, 3);
    rig_write(&g, 4, 2, "k", "v", 5000);
    rig_change(&g, 4, 3, &ask, 5000);
    rig_run(&g, 300);
    assert_null(rig_answer(&g, 2));
    assert_null(rig_answer(&g, 3));
    g.drop = NULL;
    assert_code(rig_wait(&g, 1), 0);
    assert_code(rig_wait(&g, 2), -RD_EREMOVED);
    assert_code(rig_wait(&g, 3), -RD_EUNKNOWN_OUTCOME); /* it was asked, after all */
    rig_done(&g);
}

/* To the leader and the learner only. */
static bool drop_to_followers(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    return (to == 2 || to == 3) && from == 1 && drop_all_appends(g, from, to, msg);
}

/* A learner hears of its removal before that is committed. Nothing comes of it, and it restarts. */
static void a_learner_is_not_removed_by_its_log_alone(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = change_of(PEER_CHANGE_REMOVE, 4);

    rig_grow(&g, 4, 3);
    assert_code(add_learner(&g, 1, 4), 0);
    rig_run(&g, 300);
    raft_index before = committed(&g, 4);
    g.drop = drop_to_followers;
    rig_change(&g, 1, 1, &c, 20000);
    rig_run(&g, 50);
    assert_null(rig_member(&g, 4, 4));
    rig_kill(&g, 1);
    rig_restart(&g, 4);
    rig_run(&g, 3000);
    assert_int_equal(rig_public(&g, 4).state, NODE_LEARNER);
    assert_int_equal(committed(&g, 4), before);
    rig_write(&g, 4, 2, "k", "v", 3000);
    assert_code(rig_wait(&g, 2), 0);
    rig_done(&g);
}

/* A member proves it: the log that decides what was handed over may be on its way still. */
static void a_proof_ends_only_what_was_handed_to_nobody(void **state)
{
    (void)state;
    struct rig g;
    struct peer_refusal proof = {.code = -RD_EREMOVED, .index = 9};

    rig_grow(&g, 3, 3);
    rig_run(&g, 300);
    g.forwards_dropped = 1;
    g.drop = drop_all_appends;
    rig_write(&g, 3, 1, "k", "v", 5000); /* handed to the leader */
    rig_run(&g, 5);
    rig_cut(&g, 3, true);
    rig_write(&g, 3, 2, "l", "v", 5000); /* to nobody */
    proof.cluster = rig_view(&g, 3).cluster;
    node_begin(g.nodes[3], g.now, 0);
    node_refused(g.nodes[3], 1, &proof);
    rig_run(&g, 5);
    assert_code(rig_answer(&g, 2), -RD_EREMOVED);
    assert_null(rig_answer(&g, 1));
    assert_int_equal(rig_public(&g, 3).state, NODE_REMOVED);
    assert_int_equal(rig_public(&g, 3).role, 0);
    assert_int_equal(rig_member(&g, 3, 3)->role,
                     RAFT_VOTER); /* in its own log, as after a recover */
    rig_done(&g);
}

static struct request_id forwarded;

static bool lose_forwards(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    (void)g, (void)from, (void)to;
    if (msg->type == PEER_FORWARD) {
        forwarded = msg->forward.request;
    }
    return msg->type == PEER_FORWARD;
}

/* The leader's word, which says that it did not take it, comes after the proof: nobody else will. */
static void a_refusal_after_the_proof_is_the_end(void **state)
{
    (void)state;
    struct peer_refusal proof = {.code = -RD_EREMOVED, .index = 9};
    struct rig g;

    rig_grow(&g, 3, 3);
    rig_run(&g, 300);
    g.drop = lose_forwards;
    rig_write(&g, 3, 1, "k", "v", 5000);
    rig_run(&g, 5);
    rig_cut(&g, 3, true);
    proof.cluster = rig_view(&g, 3).cluster;
    struct peer_msg reply = {.type = PEER_FORWARD_REPLY,
                             .forward_reply = {.incarnation = forwarded.incarnation,
                                               .seq = forwarded.seq,
                                               .result.code = -RD_ENOT_READY}};
    node_begin(g.nodes[3], g.now, 0);
    node_refused(g.nodes[3], 1, &proof);
    assert_true(node_message(g.nodes[3], 1, &reply));
    rig_run(&g, 5);
    assert_code(rig_answer(&g, 1), -RD_EREMOVED);
    rig_done(&g);
}

static void a_leader_that_cannot_hand_over_stays(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 2, 2);
    rig_run(&g, 300);
    g.stopped[2] = true;
    rig_run(&g, 350); /* silent for a target, alive as a voter */
    struct peer_change c = change_of(PEER_CHANGE_REMOVE, 1);
    rig_change(&g, 1, 1, &c, 5000);
    rig_run(&g, 2);
    assert_code(rig_answer(&g, 1), -RD_ENO_TARGET);
    assert_says(rig_answer(&g, 1), "node 1 leads and cannot hand over: 0 of 1 other voters");
    g.stopped[2] = false;
    rig_run(&g, 300);
    assert_non_null(rig_member(&g, 1, 1));
    rig_done(&g);
}

/* ---- Replacing ---- */

static const struct node_answer *replace(struct rig *g, raft_id via, raft_id old, raft_id id)
{
    struct peer_change c = rig_add(id);

    c.replaces = old;
    return rig_do(g, via, &c);
}

static void one_server_takes_the_place_of_another(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 5, 3);
    rig_run(&g, 300);
    assert_code(replace(&g, 2, 3, 4), 0);
    assert_null(rig_member(&g, 1, 3));
    assert_int_equal(rig_member(&g, 1, 4)->role, RAFT_VOTER);
    assert_code(replace(&g, 2, 3, 4), 0); /* it is so already: OLD is gone, NEW is there */
    raft_index index = committed(&g, 1);
    const struct node_answer *a = replace(&g, 2, 9, 5);
    assert_code(a, -RD_ENOT_FOUND);
    assert_says(a, "node 9, which is to be replaced, is no member");
    assert_int_equal(committed(&g, 1), index);
    a = replace(&g, 2, 4, 4);
    assert_code(a, -RD_EINVALID);
    assert_non_null(rig_member(&g, 1, 4));
    rig_done(&g);
}

static void a_leader_is_replaced_too(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 4, 3);
    rig_run(&g, 300);
    const struct node_answer *a = replace(&g, 1, 1, 4);
    assert_code(a, 0);
    raft_id leader = rig_leader(&g);
    assert_int_not_equal(leader, 1);
    assert_null(rig_member(&g, leader, 1));
    assert_int_equal(rig_member(&g, leader, 4)->role, RAFT_VOTER);
    assert_int_equal(a->change->index, committed(&g, leader));
    rig_done(&g);
}

static void who_replaces_itself_by_asking_itself(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 4, 3);
    rig_run(&g, 300);
    assert_code(replace(&g, 3, 3, 4), 0);
    rig_run(&g, 500);
    assert_int_equal(rig_public(&g, 3).state, NODE_REMOVED);
    rig_done(&g);
}

static void what_a_failed_replacement_left_is_said(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = rig_add(3);

    rig_grow(&g, 3, 2);
    rig_run(&g, 300);
    c.replaces = 2;
    rig_change(&g, 1, 1, &c, 20000);
    rig_wait_step(&g, 1, PEER_CHANGE_CATCHING_UP);
    held_above = committed(&g, 1);
    g.drop = drop_memberships;
    for (int i = 0; i < 2000 && rig_member(&g, 1, 3)->role != RAFT_VOTER; i++) {
        rig_run(&g, 1);
    }
    g.stopped[3] = true; /* just promoted, and silent from now on */
    rig_run(&g, 700);
    assert_null(rig_answer(&g, 1));
    g.drop = NULL;
    const struct node_answer *a = rig_wait(&g, 1);
    assert_code(a, -RD_EWOULD_LOSE_QUORUM);
    assert_says(a, "node 3 was added; the removal of node 2: 1 of the 2 voters left "
                   "would answer");
    assert_non_null(rig_member(&g, 1, 2));
    rig_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_follower_is_removed),
        cmocka_unit_test(who_is_removed_hears_it_when_asked_through_itself),
        cmocka_unit_test(the_leader_is_removed_through_itself),
        cmocka_unit_test(the_leader_is_removed_through_another),
        cmocka_unit_test(the_leader_is_demoted_by_its_successor),
        cmocka_unit_test(a_leader_whose_hand_over_fails_says_so),
        cmocka_unit_test(a_removal_that_is_not_committed_is_no_fact),
        cmocka_unit_test(a_learner_is_not_removed_by_its_log_alone),
        cmocka_unit_test(a_proof_ends_only_what_was_handed_to_nobody),
        cmocka_unit_test(a_refusal_after_the_proof_is_the_end),
        cmocka_unit_test(a_leader_that_cannot_hand_over_stays),
        cmocka_unit_test(one_server_takes_the_place_of_another),
        cmocka_unit_test(a_leader_is_replaced_too),
        cmocka_unit_test(who_replaces_itself_by_asking_itself),
        cmocka_unit_test(what_a_failed_replacement_left_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
