/* Changing the membership: what is asked on any node comes about, once, or the
 * answer says why not. */
#include "asking.h"

#include <stdio.h>
#include <string.h>

/* ---- Adding ---- */

static void one_becomes_three_through_each_kind_of_node(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 4, 1);
    const struct node_answer *a = add(&g, 1, 2); /* the leader, alone */
    assert_code(a, 0);
    assert_int_equal(a->change->step, PEER_CHANGE_DONE);
    assert_int_equal(a->change->role, RAFT_VOTER);
    assert_int_equal(a->change->index, committed(&g, 1));
    assert_code(add_learner(&g, 1, 4), 0);
    assert_int_equal(rig_member(&g, 1, 4)->role, RAFT_LEARNER);
    rig_run(&g, 300);
    a = add(&g, 4, 3); /* a learner */
    assert_code(a, 0);
    assert_int_equal(a->change->role, RAFT_VOTER);
    a = promote(&g, 2, 4, false); /* a follower */
    assert_code(a, 0);
    assert_int_equal(a->change->index, committed(&g, 1));
    rig_run(&g, 300);
    for (raft_id at = 1; at <= 4; at++) {
        assert_int_equal(raft_membership(node_raft(g.nodes[at]))->members_count, 4);
        assert_int_equal(membership_voters(raft_membership(node_raft(g.nodes[at]))), 4);
        assert_int_equal(rig_public(&g, at).leader, 1);
    }
    rig_write(&g, 3, 1, "k", "v", 1000);
    assert_code(rig_wait(&g, 1), 0);
    rig_done(&g);
}

static void who_does_not_wait_is_answered_when_it_is_a_learner(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = rig_add(2);

    rig_grow(&g, 2, 1);
    fill(&g, 1, 20);
    c.no_wait = true;
    starved = 2;
    g.drop = drop_appends;
    const struct node_answer *a = rig_do(&g, 1, &c);
    assert_code(a, 0);
    assert_int_equal(a->change->role, RAFT_LEARNER);
    assert_true(rig_member(&g, 1, 2)->auto_promote);
    assert_code(rig_do(&g, 1, &c), 0); /* the same again */
    g.drop = NULL;
    rig_run(&g, 1000);
    assert_int_equal(rig_member(&g, 1, 2)->role, RAFT_VOTER); /* by itself */
    rig_done(&g);
}

static void a_learner_stays_one_until_it_is_promoted(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 2, 1);
    const struct node_answer *a = add_learner(&g, 1, 2);
    assert_code(a, 0);
    assert_int_equal(a->change->role, RAFT_LEARNER);
    assert_int_equal(a->change->index, committed(&g, 1));
    rig_run(&g, 2000);
    assert_int_equal(rig_member(&g, 1, 2)->role, RAFT_LEARNER);
    assert_int_equal(rig_public(&g, 2).role, RAFT_LEARNER);
    assert_int_equal(rig_public(&g, 2).state, NODE_LEARNER);
    assert_code(promote(&g, 2, 2, false), 0); /* asked through itself */
    assert_int_equal(rig_member(&g, 1, 2)->role, RAFT_VOTER);
    assert_code(promote(&g, 1, 2, false), 0); /* it is so already */
    a = demote(&g, 2, 2);
    assert_code(a, 0);
    assert_int_equal(a->change->role, RAFT_LEARNER);
    rig_run(&g, 2000);
    assert_int_equal(rig_member(&g, 1, 2)->role, RAFT_LEARNER); /* demoted for good */
    assert_code(demote(&g, 1, 2), 0);
    rig_done(&g);
}

static void it_is_told_how_far_it_is_but_not_too_often(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = rig_add(3);

    rig_grow(&g, 3, 2);
    fill(&g, 1, 60);
    starved = 3;
    g.drop = drop_appends;
    rig_kill(&g, 3);
    rig_change(&g, 2, 1, &c, 20000);
    rig_run(&g, 300);
    assert_int_equal(rig_told(&g, 1, PEER_CHANGE_DIALLING), 1);
    rig_empty(&g, 3);
    rig_wait_step(&g, 1, PEER_CHANGE_CATCHING_UP);
    assert_in_range(rig_told(&g, 1, PEER_CHANGE_COMMITTING), 0, 1);
    rig_run(&g, 2000); /* nothing moves: nothing is told */
    assert_int_equal(rig_told(&g, 1, PEER_CHANGE_CATCHING_UP), 1);
    assert_null(rig_answer(&g, 1));
    g.drop = NULL;
    const struct node_answer *a = rig_wait(&g, 1);
    assert_code(a, 0);
    assert_int_equal(a->change->role, RAFT_VOTER);
    assert_in_range(rig_told(&g, 1, (enum peer_change_step)0), 2, 8);
    for (uint32_t i = 0; i < g.answers_count; i++) {
        const struct peer_change_reply *r = g.answers[i].change;
        if (g.answers[i].token == 1 && r->step == PEER_CHANGE_CATCHING_UP) {
            assert_true(r->match <= r->last && r->last > 60);
        }
    }
    rig_done(&g);
}

static void who_waits_no_longer_is_told_how_far_it_is(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = rig_add(3);

    rig_grow(&g, 3, 2);
    fill(&g, 1, 60);
    starved = 3;
    g.drop = drop_appends;
    rig_change(&g, 2, 1, &c, 1000);
    const struct node_answer *a = rig_wait(&g, 1);
    assert_code(a, -RD_ETIMEOUT);
    assert_says(a, "node 3 is a learner and has 0 of ");
    g.drop = NULL;
    assert_code(rig_do(&g, 2, &c), 0); /* as the message says */
    rig_done(&g);
}

/* Writes go on: the numbers grow, and are told five times a second at most. */
static void growing_numbers_are_told_now_and_then(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = rig_add(3);

    rig_grow(&g, 3, 2);
    fill(&g, 1, 150);
    g.disk_held[3] = true;
    rig_change(&g, 1, 1, &c, 20000);
    rig_wait_step(&g, 1, PEER_CHANGE_CATCHING_UP);
    mono_ms since = g.now;
    for (int i = 0; i < 1000 && !rig_answer(&g, 1); i++) { /* a disk that takes 50 ms */
        g.disk_held[3] = i % 50 != 0;
        rig_run(&g, 1);
    }
    g.disk_held[3] = false;
    assert_in_range(rig_told(&g, 1, PEER_CHANGE_CATCHING_UP), 1, (g.now - since) / 200 + 2);
    assert_code(rig_wait(&g, 1), 0);
    rig_done(&g);
}

static void a_member_is_not_added_twice(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change elsewhere = rig_add(2);
    struct peer_change own = rig_add(1);

    rig_grow(&g, 4, 2);
    raft_index index = committed(&g, 1);
    assert_code(add(&g, 2, 2), 0); /* it is so already */
    assert_code(rig_do(&g, 2, &own), 0);
    (void)snprintf(elsewhere.address, sizeof elsewhere.address, "h4:7400");
    const struct node_answer *a = rig_do(&g, 1, &elsewhere);
    assert_code(a, -RD_EALREADY_MEMBER);
    assert_says(a, "node 2 is a member already, at h2:7400: use another id");
    (void)snprintf(own.address, sizeof own.address, "h4:7400");
    assert_code(rig_do(&g, 2, &own), -RD_EALREADY_MEMBER);
    a = add_learner(&g, 1, 2);
    assert_code(a, -RD_EALREADY_MEMBER);
    assert_says(a, "as a voter: demote it");
    assert_int_equal(committed(&g, 1), index); /* nothing was logged */

    assert_code(add_learner(&g, 1, 3), 0);
    assert_code(add_learner(&g, 1, 3), 0);
    a = add(&g, 1, 3);
    assert_code(a, -RD_EALREADY_MEMBER);
    assert_says(a, "as a learner: promote it");

    struct peer_change soon = rig_add(4);
    soon.no_wait = true;
    starved = 4;
    g.drop = drop_appends;
    assert_code(rig_do(&g, 1, &soon), 0);
    a = add_learner(&g, 1, 4);
    assert_code(a, -RD_EALREADY_MEMBER);
    assert_says(a, "becomes a voter once it has caught up: demote it to keep it a learner");
    assert_code(demote(&g, 1, 4), 0);
    assert_code(add_learner(&g, 1, 4), 0); /* now it is one that stays */
    rig_done(&g);
}

static void two_addresses_for_one_id_are_not_mixed_up(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change here = rig_add(3);
    struct peer_change there = rig_add(3);

    rig_grow(&g, 4, 2);
    (void)snprintf(there.address, sizeof there.address, "h4:7400");
    rig_kill(&g, 3);
    rig_change(&g, 1, 1, &here, 20000);
    rig_run(&g, 10);
    rig_change(&g, 1, 2, &there, 20000);
    rig_run(&g, 10);
    rig_empty(&g, 3);
    assert_code(rig_wait(&g, 1), 0);
    assert_string_equal(rig_member(&g, 1, 3)->address, "h3:7400");
    assert_code(rig_wait(&g, 2), -RD_EALREADY_MEMBER);
    rig_done(&g);
}

/* ---- Dialling ---- */

static void a_refused_connection_is_tried_for_a_second(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = rig_add(3);

    rig_grow(&g, 3, 2);
    raft_index index = committed(&g, 1);
    rig_kill(&g, 3);
    mono_ms since = g.now;
    rig_change(&g, 2, 1, &c, 20000);
    const struct node_answer *a = rig_wait(&g, 1);
    assert_code(a, -RD_EUNREACHABLE);
    assert_says(a, "node 3 cannot be added: connection refused by h3:7400");
    assert_in_range(g.now, since + 1000, since + 1100);
    rig_run(&g, 500);
    assert_int_equal(g.targets_count[1], 1); /* it is not dialled any more */
    rig_change(&g, 2, 2, &c, 20000);
    rig_run(&g, 500);
    rig_empty(&g, 3); /* it starts late, but not too late */
    assert_code(rig_wait(&g, 2), 0);
    assert_true(committed(&g, 1) > index);
    rig_done(&g);
}

static void a_silent_address_is_given_up_after_a_while(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = rig_add(3);

    rig_grow(&g, 3, 2);
    rig_cut(&g, 3, true);
    mono_ms since = g.now;
    rig_change(&g, 1, 1, &c, 20000);
    const struct node_answer *a = rig_wait(&g, 1);
    assert_code(a, -RD_EUNREACHABLE);
    assert_says(a, "node 3 does not answer at h3:7400 within 3500 ms");
    assert_in_range(g.now, since + 3500, since + 3510);
    rig_done(&g);
}

static void whoever_answers_with_another_id_is_not_added(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = rig_add(3);
    mono_ms since;

    rig_grow(&g, 4, 2);
    since = g.now;
    (void)snprintf(c.address, sizeof c.address, "h4:7400");
    const struct node_answer *a = rig_do(&g, 1, &c);
    assert_code(a, -RD_EINVALID);
    assert_says(a, "node 3 cannot be added: h4:7400 answers as node 4, not as node 3");
    (void)snprintf(c.address, sizeof c.address, "h2:7400"); /* a member's address */
    assert_code(rig_do(&g, 1, &c), -RD_EINVALID);
    assert_in_range(g.now, since, since + 200); /* at once */
    rig_done(&g);
}

static void another_clusters_member_is_not_added(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 3, 2);
    node_begin(g.nodes[3], g.now, 0);
    node_bootstrap(g.nodes[3], 5, g.now + 1000);
    assert_code(rig_wait(&g, 5), 0);
    raft_index index = committed(&g, 1);
    const struct node_answer *a = add(&g, 1, 3);
    assert_code(a, -RD_EWRONG_CLUSTER);
    assert_int_equal(committed(&g, 1), index);
    rig_done(&g);
}

static void a_removed_members_data_are_not_added(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 3, 3);
    assert_code(remove_server(&g, 1, 3, false), 0);
    raft_index index = committed(&g, 1);
    const struct node_answer *a = add(&g, 1, 3); /* at once: its link is still up */
    assert_code(a, -RD_ENOT_EMPTY);
    assert_says(a, "node 3 at h3:7400 has the data of a removed member");
    rig_run(&g, 8000);
    a = add(&g, 2, 3);
    assert_code(a, -RD_ENOT_EMPTY);
    assert_says(a, "empty its data directory (raftctl reset), start it");
    assert_int_equal(committed(&g, 1), index);
    rig_empty(&g, 3);
    assert_code(add(&g, 2, 3), 0);
    assert_int_equal(rig_member(&g, 1, 3)->role, RAFT_VOTER);
    rig_done(&g);
}

/* Removed, emptied, added again, all while its predecessor is still being told.
 */
static void a_hello_of_an_earlier_life_is_not_taken_for_the_candidates(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 3, 3);
    rig_write(&g, 3, 1, "k", "v", 1000);
    assert_code(rig_wait(&g, 1), 0);
    assert_code(remove_server(&g, 1, 3, false), 0);
    rig_empty(&g, 3);
    assert_code(add(&g, 1, 3), 0);
    const struct uuid now = {.bytes = {0x50, 3, g.stores[3]}};
    assert_true(uuid_equal(&rig_member(&g, 1, 3)->store, &now));
    rig_write(&g, 3, 2, "k", "v", 1000); /* its first request has a number used before */
    assert_code(rig_wait(&g, 2), 0);
    assert_false(rig_answer(&g, 2)->result.repeated);
    rig_run(&g, 200);
    assert_int_equal(state_revision(node_state(g.nodes[1])), 2);
    for (raft_id id = 1; id <= 3; id++) {
        assert_true(state_digest(node_state(g.nodes[id])) == state_digest(node_state(g.nodes[1])));
    }
    rig_done(&g);
}

/* ---- Refused by the numbers ---- */

static void a_learner_that_lags_is_promoted_by_force_only(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 3, 2);
    assert_code(add_learner(&g, 1, 3), 0);
    rig_run(&g, 300);
    starved = 3;
    g.drop = drop_appends;
    fill(&g, 1, 3);
    rig_run(&g, 1000);
    const struct node_answer *a = promote(&g, 2, 3, false);
    assert_code(a, -RD_ENOT_CAUGHT_UP);
    assert_says(a, "entries, and has not caught up within one election timeout");
    assert_code(promote(&g, 2, 3, true), 0);
    assert_int_equal(rig_member(&g, 1, 3)->role, RAFT_VOTER);
    assert_code(promote(&g, 2, 9, false), -RD_ENOT_FOUND);
    assert_code(demote(&g, 2, 9), -RD_ENOT_FOUND);
    assert_code(remove_server(&g, 2, 9, true), -RD_ENOT_FOUND);
    rig_done(&g);
}

static void too_few_live_voters_need_force(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 3, 3);
    rig_kill(&g, 3);
    rig_run(&g, 1000);
    const struct node_answer *a = remove_server(&g, 1, 2, false);
    assert_code(a, -RD_EWOULD_LOSE_QUORUM);
    assert_says(a, "1 of the 2 voters left would answer, 2 are needed");
    assert_code(demote(&g, 2, 2), -RD_EWOULD_LOSE_QUORUM);
    assert_code(remove_server(&g, 2, 3, false), 0); /* the dead one may go */
    assert_code(remove_server(&g, 2, 3, false), 0); /* again: it is so already */
    assert_null(rig_member(&g, 1, 3));
    rig_kill(&g, 2);
    rig_run(&g, 100);
    struct peer_change c = change_of(PEER_CHANGE_REMOVE, 2);
    c.force = true;
    rig_change(&g, 1, 7, &c, 3000); /* alone it needs nobody */
    assert_code(rig_wait(&g, 7), 0);
    a = remove_server(&g, 1, 1, true);
    assert_code(a, -RD_ELAST_VOTER);
    assert_says(a, "node 1 is the last voter");
    assert_code(demote(&g, 1, 1), -RD_ELAST_VOTER);
    rig_done(&g);
}

static void one_change_at_a_time(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change first = change_of(PEER_CHANGE_DEMOTE, 3);
    struct peer_change second = rig_add(4);

    rig_grow(&g, 4, 3);
    rig_run(&g, 300);
    g.drop = drop_all_appends;
    rig_change(&g, 1, 1, &first, 20000);
    rig_run(&g, 10);
    rig_change(&g, 2, 2, &second, 20000);
    assert_code(rig_wait(&g, 2), -RD_ECHANGE_PENDING);
    assert_says(rig_answer(&g, 2), "is not committed yet, the commit index is");
    struct peer_change third = change_of(PEER_CHANGE_REMOVE, 3);
    rig_change(&g, 1, 3, &third, 20000);
    assert_code(rig_wait(&g, 3), -RD_ECHANGE_PENDING);
    rig_change(&g, 3, 4, &first, 20000); /* the same wish waits for the same entry */
    rig_run(&g, 100);
    assert_null(rig_answer(&g, 4));
    g.drop = NULL;
    assert_code(rig_wait(&g, 1), 0);
    assert_code(rig_wait(&g, 4), 0);
    assert_int_equal(rig_answer(&g, 1)->change->index, rig_answer(&g, 4)->change->index);
    rig_done(&g);
}

/* ---- Not asked ---- */

static void who_is_in_no_cluster_refuses(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 3, 2);
    const struct node_answer *a = add(&g, 3, 3);
    assert_code(a, -RD_EUNCONFIGURED);
    assert_says(a, "bootstrap it, or add it from a member");
    rig_done(&g);
}

static void changes_without_sense_are_refused(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change nowhere = rig_add(3);
    struct peer_change nobody = change_of(PEER_CHANGE_REMOVE, 0);
    struct peer_change unknown = change_of((enum peer_change_kind)17, 2);

    rig_grow(&g, 3, 2);
    nowhere.address[0] = 0;
    assert_code(rig_do(&g, 1, &nowhere), -RD_EINVALID);
    assert_code(rig_do(&g, 2, &nobody), -RD_EINVALID);
    assert_code(rig_do(&g, 2, &unknown), -RD_EINVALID);
    for (int i = 0; i < 3; i++) { /* and from another node, whatever its version */
        struct peer_change *c = mem_dup(i == 0 ? &nowhere : i == 1 ? &nobody : &unknown, sizeof *c);
        struct peer_msg msg = {.type = PEER_CHANGE, .change = c};
        c->incarnation = 1;
        c->seq = (uint64_t)(100 + i);
        node_begin(g.nodes[1], g.now, 0);
        node_message(g.nodes[1], 2, &msg);
        rig_run(&g, 5);
    }
    assert_int_equal(rig_leader(&g), 1);
    rig_done(&g);
}

static void open_changes_are_bounded(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = change_of(PEER_CHANGE_DEMOTE, 3);

    rig_grow(&g, 3, 3);
    rig_run(&g, 300);
    g.drop = drop_all_appends;
    for (uint64_t token = 1; token <= 64; token++) {
        rig_change(&g, 2, token, &c, 60000);
    }
    rig_run(&g, 5);
    rig_change(&g, 2, 65, &c, 60000);
    assert_code(rig_answer(&g, 65), -RD_ENOT_READY);
    assert_says(rig_answer(&g, 65), "64 changes are open on this node");
    node_cancel(g.nodes[2], 7);
    rig_change(&g, 2, 66, &c, 60000);
    for (uint64_t token = 101; token <= 164; token++) { /* more than the leader works on at once */
        rig_change(&g, 3, token, &c, 60000);
        rig_change(&g, 1, 100 + token, &c, 60000);
    }
    rig_run(&g, 300);
    g.drop = NULL;
    rig_run(&g, 1500);
    for (uint64_t token = 1; token <= 64; token++) {
        if (token != 7) {
            assert_code(rig_answer(&g, token), 0);
        }
        assert_code(rig_answer(&g, 100 + token), 0);
        assert_code(rig_answer(&g, 200 + token), 0);
    }
    assert_null(rig_answer(&g, 7));
    assert_code(rig_answer(&g, 66), 0);
    rig_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_becomes_three_through_each_kind_of_node),
        cmocka_unit_test(who_does_not_wait_is_answered_when_it_is_a_learner),
        cmocka_unit_test(a_learner_stays_one_until_it_is_promoted),
        cmocka_unit_test(it_is_told_how_far_it_is_but_not_too_often),
        cmocka_unit_test(who_waits_no_longer_is_told_how_far_it_is),
        cmocka_unit_test(growing_numbers_are_told_now_and_then),
        cmocka_unit_test(a_member_is_not_added_twice),
        cmocka_unit_test(two_addresses_for_one_id_are_not_mixed_up),
        cmocka_unit_test(a_refused_connection_is_tried_for_a_second),
        cmocka_unit_test(a_silent_address_is_given_up_after_a_while),
        cmocka_unit_test(whoever_answers_with_another_id_is_not_added),
        cmocka_unit_test(another_clusters_member_is_not_added),
        cmocka_unit_test(a_removed_members_data_are_not_added),
        cmocka_unit_test(a_hello_of_an_earlier_life_is_not_taken_for_the_candidates),
        cmocka_unit_test(a_learner_that_lags_is_promoted_by_force_only),
        cmocka_unit_test(too_few_live_voters_need_force),
        cmocka_unit_test(one_change_at_a_time),
        cmocka_unit_test(who_is_in_no_cluster_refuses),
        cmocka_unit_test(changes_without_sense_are_refused),
        cmocka_unit_test(open_changes_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
